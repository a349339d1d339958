"""The way of many measurements to their results: targets, candidates of each source, fits of all, weights.

Measurement -> Target -> candidates -> fits -> posterior -> Result
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxstruc
from jaxstruc import statistics
from jaxstruc.clusters import library
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.io import measurement as measurement_settings
from jaxstruc.io import reduction
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.options.pdf import (
    CurveOptions,
    DataOptions,
    EnsembleName,
    FitOptions,
    RefineOptions,
    RelaxOptions,
    SearchName,
    SolveOptions,
)
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import (
    candidates,
    classifier_prior,
    distribution,
    fit,
    instrument,
    posterior,
    relax,
    result,
    screening,
    site_search,
    sources,
    target,
)
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool
from jaxstruc.pdf.classifier_prior import ClassifierPrediction, ClassifierScreen
from jaxstruc.pdf.distribution import CrossValidatedSample, LibraryCache
from jaxstruc.pdf.fit import Fit
from jaxstruc.pdf.instrument import InferredSetting
from jaxstruc.pdf.result import PdfResult, WeightedCandidates
from jaxstruc.pdf.screening import BinnedDistances
from jaxstruc.pdf.site_search import SHAPE_PRIOR_WEIGHT, SearchResult
from jaxstruc.pdf.sources import CandidateSource
from jaxstruc.pdf.target import Target
from jaxstruc.scattering import form_factors

SITES_NOT_SEARCHED = "sites not searched: one particle would take up what the distribution explains"
MAX_REFINED_CANDIDATES = 200
"""Candidates refined with everything that is asked for: the best of the screening."""
MAX_WRITTEN_CANDIDATES = 5
"""Candidates with atoms and curves in a result."""

BASIS_SIZE_STEP, BASIS_SIZE_MARGIN = 64, 4
"""Step in the functions of a basis for searches, so that few compilations do; functions beyond independent points."""

RankedFits = tuple[CandidatePool, Fit]
"""Candidates, best first, and their fits."""


class PdfPlan(NamedTuple):
    """What is to be done with each measurement."""

    element: str
    sources: tuple[CandidateSource, ...]
    options: SolveOptions | RefineOptions = SolveOptions(search="none", ensemble="none", screen="none")
    screen_candidates: bool = True
    """Whether parameters beyond the usual are freed for the best `REFINED` alone."""
    max_written: int = MAX_WRITTEN_CANDIDATES
    """Candidates with atoms and curves in a result."""
    shape_weight: float = SHAPE_PRIOR_WEIGHT
    """What the search's prior on shape weighs."""
    classifier_screen: ClassifierScreen = ClassifierScreen(None)
    """The classifier that says which candidates are worth trying."""

    @property
    def data(self) -> DataOptions:
        """Settings of the measurements."""
        return self.options.data

    @property
    def curve(self) -> CurveOptions:
        """What files over Q are."""
        return self.options.curve

    @property
    def fit(self) -> FitOptions:
        """How candidates are fitted."""
        return self.options.fit

    @property
    def relax(self) -> RelaxOptions:
        """Whether atoms may move."""
        return self.options.relax if isinstance(self.options, RefineOptions) else RelaxOptions()

    @property
    def ensemble(self) -> EnsembleName:
        """Whether the sample is judged as a distribution of particles, and of which kind."""
        return "none" if isinstance(self.options, RefineOptions) else self.options.ensemble

    @property
    def search(self) -> SearchName:
        """How long lattice sites are searched for a particle that no source lists."""
        return "none" if isinstance(self.options, RefineOptions) else self.options.search

    @property
    def seed(self) -> int:
        """Seed of the search."""
        return 0 if isinstance(self.options, RefineOptions) else self.options.network.seed

    @property
    def bond(self) -> float:
        """Nearest-neighbour distance, in Å."""
        return form_factors.bond_length(self.element)

    @property
    def provenance(self) -> dict[str, Any]:
        """What, beside a file, decides its result; as JSON."""
        network = self.classifier_screen.network
        decisive = {"element": self.element} | self.options.recorded
        decisive |= {"screen": network.card["sha256"] if network else self.classifier_screen.missing_reason or "none"}
        for source in self.sources:
            decisive |= source.provenance
        return decisive | {"version": jaxstruc.__version__}


def prepare_measurement(measurement: Measurement, plan: PdfPlan) -> Measurement:
    """Return a measurement with all settings, checked; S(Q) and F(Q) become G(r).

    Raises:
        ValueError: where settings are missing or contradict the data, or the data are too few.
    """
    resolved_measurement = measurement_settings.resolve_settings(
        reduction.reduce_to_pdf(measurement, plan.data), plan.data, bond=plan.bond
    )
    settings, (r, _) = resolved_measurement.settings_by_name, resolved_measurement.curve
    target.independent_points(r, qmin=settings["qmin"], qmax=settings["qmax"], background=plan.fit.background)
    return resolved_measurement


def solve_measurements(
    measurements: Sequence[Measurement],
    plan: PdfPlan,
    *,
    run_measurements: Sequence[Measurement] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[PdfResult]:
    """Yield the result of each measurement; one that cannot be answered is a result that says so.

    Args:
        measurements: of `prepared`.
        plan: what is to be done.
        run_measurements: all measurements of the run, where these are a part of it: a result is then that of the whole run, to the
            last bit.
        progress: called with measurements done, measurements in all and a remark.
    """
    n_measurements, start_time = len(measurements), time.perf_counter()
    if not n_measurements:
        return
    candidate_streams = [source.candidates(measurements) for source in plan.sources]
    binned_libraries: dict[int, BinnedDistances] = {}
    library_cache = LibraryCache({})
    classifier_predictions = classifier_prior.predict_measurements(measurements, plan.classifier_screen, bond=plan.bond)
    inputs = zip(
        measurements,
        padded_targets(measurements, plan, run_measurements or measurements),
        classifier_predictions,
        *candidate_streams,
        strict=True,
    )
    for n_done, (measurement, target, classifier_prediction, *groups) in enumerate(inputs):

        def report_progress(remark, n_done=n_done, name=measurement.name):
            if progress:
                progress(n_done, n_measurements, f"{name}: {remark}")

        result = solve_measurement(
            measurement,
            target,
            groups,
            plan,
            classifier_prediction=classifier_prediction,
            binned_libraries=binned_libraries,
            library_cache=library_cache,
            progress=report_progress,
        )
        end_time = time.perf_counter()
        yield dataclasses.replace(result, facts=result.facts | {"seconds": end_time - start_time})
        start_time = time.perf_counter()


def padded_targets(
    measurements: Sequence[Measurement], plan: PdfPlan, run_measurements: Sequence[Measurement]
) -> Iterator[Target]:
    """Yield the targets of measurements, all of sizes that serve `run_measurements`, so that few compilations do."""
    run_settings = [measurement.settings_by_name for measurement in run_measurements]
    span = target.span(
        rmax=max(entry["rmax"] for entry in run_settings),
        qmax=max(entry["qmax"] for entry in run_settings),
        diameter=max(source.diameter for source in plan.sources) * plan.bond,
    )
    n_q_points = max(
        target.n_q_nodes(entry.settings_by_name["rmax"], _minimum_qmin(entry), entry.settings_by_name["qmax"], span)
        for entry in run_measurements
    )
    basis_size = (
        BASIS_SIZE_STEP * math.ceil(max(_basis_size(entry, plan) for entry in run_measurements) / BASIS_SIZE_STEP)
        if plan.search != "none"
        else 0
    )
    for measurement in measurements:
        entry = measurement.settings_by_name
        yield target.target(
            *measurement.curve,
            qmin=entry["qmin"],
            qmax=entry["qmax"],
            qdamp=entry["qdamp"],
            qbroad=entry["qbroad"],
            bond=plan.bond,
            span=span,
            background=plan.fit.background,
            min_q_nodes=n_q_points,
            lowest_qmin=_minimum_qmin(measurement),
            min_basis_size=basis_size,
            absolute=plan.fit.absolute,
        )


def _basis_size(measurement: Measurement, plan: PdfPlan) -> float:
    """Return about how many functions the basis of a measurement has."""
    settings, (r, _) = measurement.settings_by_name, measurement.curve
    return (r[-1] - r[0]) * (settings["qmax"] - _minimum_qmin(measurement)) / math.pi + BASIS_SIZE_MARGIN


def _minimum_qmin(measurement: Measurement) -> float:
    """Return the least qmin that the models of a measurement may have."""
    qmin = measurement.settings_by_name["qmin"]
    return min(instrument.MIN_TRIAL_QMIN, qmin) if "qmin" in _inferable_settings(measurement, ()) else qmin


def _inferable_settings(measurement: Measurement, free: tuple[str, ...]) -> tuple[str, ...]:
    """Return the settings that the data may correct: a qmin or a qdamp that no user gave and no fit frees."""
    origins = {setting.name: setting.origin for setting in measurement.settings}
    inferable_origins = {"qmin": ("header", "data"), "qdamp": ("default",)}
    return tuple(
        name
        for name, allowed_origins in inferable_origins.items()
        if origins[name] in allowed_origins and name not in free
    )


def solve_measurement(
    measurement: Measurement,
    target: Target,
    groups: Sequence[CandidateGroup],
    plan: PdfPlan,
    *,
    classifier_prediction: ClassifierPrediction | None = None,
    binned_libraries: dict[int, BinnedDistances] | None = None,
    library_cache: LibraryCache | None = None,
    progress: Callable[[str], None] | None = None,
) -> PdfResult:
    """Return the result of one measurement.

    Args:
        measurement: of `prepared`.
        target: its target.
        groups: candidates of each source.
        plan: what is to be done.
        classifier_prediction: what the classifier says.
        binned_libraries: of libraries by their identity, kept for the next measurement of a span.
        library_cache: what judges share, for the same end.
        progress: called with what is being done.
    """
    report_progress = progress or (lambda remark: None)
    facts: dict[str, Any] = {}
    for source in plan.sources:
        facts |= source.facts
    empty_result = PdfResult(
        measurement.name, measurement.sha256, plan.element, "failed", "Expected a candidate, got none; try others.",
        settings=measurement.settings, facts=facts,
        versions={"jaxstruc": jaxstruc.__version__, "jax": jax.__version__, "numpy": np.__version__},
    )  # fmt: skip
    nonempty_groups = [group for group in groups if len(group.rows)]
    if not nonempty_groups:
        return empty_result
    probable_groups = classifier_prior.select_probable(classifier_prediction, nonempty_groups)
    group_distances: list[BinnedDistances | None] = [None] * len(probable_groups)
    if plan.screen_candidates:  # clusters that a user refines are all fitted
        group_distances = classifier_prior.bin_groups(
            nonempty_groups,
            probable_groups,
            target,
            {} if binned_libraries is None else binned_libraries,
            classifier_prediction=classifier_prediction,
        )
    target, inferred_settings = _infer_settings(measurement, target, probable_groups, group_distances, plan)
    empty_result = dataclasses.replace(empty_result, settings=_updated_settings(measurement, inferred_settings))
    screened_groups = [
        classifier_prior.select_screened(
            group, binned_distances, target, max_candidates=classifier_prior.max_fitted(classifier_prediction, group)
        )
        for group, binned_distances in zip(probable_groups, group_distances, strict=True)
    ]
    holdout_rows = next((rows for group, rows in screened_groups if group.source != "network"), np.zeros(0, int))
    pool, fits = _fit_candidates(
        [group for group, _ in screened_groups],
        target,
        plan,
        lambda n_done, count: report_progress(f"{n_done} of {count} candidates"),
    )
    if not np.isfinite(fits.rw[0]):
        message = "Expected a finite fit of some candidate, got none; check the data's scale and range."
        return dataclasses.replace(empty_result, message=message)
    diameter_estimate = screening.diameter_estimate(measurement.r, measurement.g, bond=target.bond, qdamp=target.qdamp)
    sample_model: CrossValidatedSample | str = ""
    if plan.ensemble != "none":
        report_progress("one cluster or many")
        sample_model = distribution.cross_validate_sample(
            measurement,
            target,
            groups,
            pool,
            fits,
            signal_end=diameter_estimate.signal_end,
            free=plan.fit.free,
            holdout_rows=holdout_rows,
            library_cache=LibraryCache({}) if library_cache is None else library_cache,
            method=plan.ensemble,
            holdout_search=_holdout_search(plan),
        )
    search_result: SearchResult | None = None
    is_distribution = isinstance(sample_model, CrossValidatedSample) and sample_model.judged.sample == "distribution"
    if plan.search != "none" and not is_distribution:
        search_result = _search_sites(
            pool,
            fits,
            target,
            plan,
            classifier_prior.draw_atom_counts(classifier_prediction, nonempty_groups),
            report_progress,
        )
        if search_result is not None:
            pool, fits = _merge_search_result(pool, fits, search_result, target, plan)
    pool, fits, weighted_candidates = _weight_candidates(pool, fits, target, groups, plan, sample_model, search_result)
    fits = _propagate_setting_errors(pool, fits, target, plan.fit.free, inferred_settings)
    empty_result = dataclasses.replace(
        empty_result,
        classifier_prior=classifier_prior.summarize_prior(
            classifier_prediction, nonempty_groups, probable_groups, pool, weighted_candidates.weight
        ),
    )
    has_library = any(group.source == "library" for group in groups)
    classifier_remarks = (
        classifier_prior.prior_remarks(classifier_prediction, plan.classifier_screen.missing_reason)
        if has_library
        else []
    )
    return result.build_result(
        empty_result,
        measurement,
        target,
        groups,
        pool,
        fits,
        weighted_candidates,
        free=plan.fit.free,
        max_written=plan.max_written,
        inferred_settings=inferred_settings,
        diameter_estimate=diameter_estimate,
        sample_model=sample_model,
        search_result=search_result,
        extra_remarks=[SITES_NOT_SEARCHED, *classifier_remarks]
        if is_distribution and plan.search != "none"
        else classifier_remarks,
    )


def _infer_settings(
    measurement: Measurement,
    fit_target: Target,
    groups: Sequence[CandidateGroup],
    group_distances: Sequence[BinnedDistances | None],
    plan: PdfPlan,
) -> tuple[Target, dict[str, InferredSetting]]:
    """Return the target with the settings that the data prefer, and what was found of each."""
    inferred_settings: dict[str, InferredSetting] = {}
    names = _inferable_settings(measurement, plan.fit.free)
    if not names:
        return fit_target, inferred_settings
    groups_with_distances = list(zip(groups, group_distances, strict=True))
    binned_groups = [
        (group, binned_distances) for group, binned_distances in groups_with_distances if binned_distances is not None
    ]
    pool = candidates.candidate_pool(
        [
            classifier_prior.select_for_settings(group, binned_distances, fit_target)
            for group, binned_distances in binned_groups or groups_with_distances
        ]
    )
    pool = pool.select(np.arange(min(instrument.N_PROFILE_CANDIDATES, len(pool.group_row))))
    free = DEFAULT_FREE_PARAMETERS if plan.screen_candidates else plan.fit.free
    for name in names:
        if inferred_setting := instrument.infer_setting(pool, fit_target, name, free=free):
            inferred_settings[name], fit_target = (
                inferred_setting,
                target.replace_settings(fit_target, **{name: inferred_setting.value}),
            )
    return fit_target, inferred_settings


def _fit_candidates(
    groups: Sequence[CandidateGroup], target: Target, plan: PdfPlan, progress: Callable[[int, int], None] | None
) -> RankedFits:
    """Return all candidates with their fits, best first."""
    pool, free = candidates.candidate_pool(groups), plan.fit.free
    in_two_stages = plan.screen_candidates and free != DEFAULT_FREE_PARAMETERS
    fits = candidates.fit_all(pool, target, free=DEFAULT_FREE_PARAMETERS if in_two_stages else free, progress=progress)
    pool, fits = _rank_by_rw(*_drop_duplicate_draws(pool, fits))
    if in_two_stages:
        pool = pool.select(np.arange(min(MAX_REFINED_CANDIDATES, len(fits.rw))))
        pool, fits = _rank_by_rw(pool, candidates.fit_all(pool, target, free=free))
    if plan.relax.coordinates:
        pool = candidates.candidate_pool([_relax_candidates(pool, fits, target, plan.relax.restraint)])
        pool, fits = _rank_by_rw(pool, candidates.fit_all(pool, target, free=free))
    return pool, fits


def _search_sites(
    pool: CandidatePool,
    fits: Fit,
    target: Target,
    plan: PdfPlan,
    draws_by_packing: Mapping[str, np.ndarray] | None,
    progress: Callable[[str], None],
) -> SearchResult | None:
    """Return what a search over lattice sites finds, begun from the candidates and from what is likely at a glance."""
    return site_search.search_sites(
        target,
        pool,
        fits,
        level=site_search.SEARCH_LEVELS[plan.search],
        seed=plan.seed,
        shape_weight=plan.shape_weight,
        draws_by_packing=draws_by_packing,
        progress=progress,
    )


def _holdout_search(plan: PdfPlan) -> Callable[[Target, CandidatePool, Fit], CandidateGroup | None] | None:
    """Return the search on data to a cut, for the judge; None where there is none."""
    if plan.search == "none":
        return None

    def search_below_cut(target: Target, pool: CandidatePool, fits: Fit) -> CandidateGroup | None:
        search_result = site_search.search_sites(
            target, pool, fits, level=site_search.HOLDOUT_LEVEL, seed=plan.seed, shape_weight=plan.shape_weight
        )
        return search_result.group if search_result else None

    return search_below_cut


def _merge_search_result(
    pool: CandidatePool, fits: Fit, search_result: SearchResult, target: Target, plan: PdfPlan
) -> RankedFits:
    """Return candidates and searched particles together, best first; those that a source lists are its own."""
    fit_keys = {(int(atoms), round(float(rw), 5)) for atoms, rw in zip(pool.atoms, fits.rw, strict=True)}
    search_pool = candidates.candidate_pool([search_result.group])
    search_fits = candidates.fit_all(search_pool, target, free=plan.fit.free)
    is_new = np.array(
        [
            (int(n_atoms), round(float(rw), 5)) not in fit_keys
            for n_atoms, rw in zip(search_pool.atoms, search_fits.rw, strict=True)
        ],
        bool,
    )
    group_indices = np.concatenate([pool.group, np.full(int(is_new.sum()), len(pool.groups))])
    group_rows = np.concatenate([pool.group_row, np.flatnonzero(is_new)])
    merged_pool = CandidatePool((*pool.groups, search_result.group), group_indices, group_rows)
    return _rank_by_rw(merged_pool, candidates.concatenate(fits, candidates.select_rows(search_fits, is_new)))


def _drop_duplicate_draws(pool: CandidatePool, fits: Fit) -> RankedFits:
    """Return the candidates without those draws of the network that are like better ones."""
    groups, row_blocks = list(pool.groups), []
    for group_index, group in enumerate(groups):
        group_rows = np.flatnonzero(pool.group == group_index)
        if group.source == "network":
            best_rows, groups[group_index] = sources.merge_duplicates(
                group, np.asarray(fits.rw)[group_rows], np.asarray(fits.values.stretch)[group_rows]
            )
            group_rows = group_rows[best_rows]
        row_blocks.append(group_rows)
    selected_rows = np.concatenate(row_blocks)
    return pool._replace(groups=tuple(groups)).select(selected_rows), jax.tree.map(
        lambda column: column[selected_rows], fits
    )


def _rank_by_rw(pool: CandidatePool, fits: Fit) -> RankedFits:
    """Return candidates by Rw; faulty and failed ones come last."""
    order = np.lexsort((np.where(np.isfinite(fits.rw), fits.rw, np.inf), pool.has_fault))
    return pool.select(order), jax.tree.map(lambda column: column[order], fits)


def _weight_candidates(
    pool: CandidatePool,
    fits: Fit,
    target: Target,
    groups: Sequence[CandidateGroup],
    plan: PdfPlan,
    sample_model: CrossValidatedSample | str,
    search_result: SearchResult | None = None,
) -> tuple[CandidatePool, Fit, WeightedCandidates]:
    """Return candidates by weight: by their fits, their types on equal terms, and what these say beyond the fit."""
    best_fits = candidates.select_rows(fits, slice(0, plan.max_written))  # as many as `told` writes: one compilation
    curves, _ = fit.curves(
        best_fits, candidates.cluster_tables(pool.select(np.arange(len(best_fits.rw))), target), target
    )
    effective_points = statistics.effective_points(target.g - curves[0], target.n_independent, accuracy=target.accuracy)
    prior_weights: np.ndarray | float = 1.0
    if plan.screen_candidates:
        all_candidates = candidates.candidate_pool([group for group in groups if len(group.rows)])
        prior_weights = posterior.prior_weights(
            *_prior_features(pool), listed_candidates=_prior_features(all_candidates)
        )
        if isinstance(sample_model, CrossValidatedSample):
            effective_fraction = effective_points / target.n_independent
            log_gains = [
                effective_fraction * sample_model.types.get(FAMILY_TYPES.get(family, ""), 0.0)
                for family in pool.families
            ]
            prior_weights = prior_weights * np.exp(np.maximum(log_gains, -300.0))
    if search_result is not None:
        prior_weights = prior_weights * np.exp(
            -np.minimum(plan.shape_weight * _excess_shape_cost(pool, search_result), 300.0)
        )
    usable_rw = np.where(pool.has_fault, np.nan, fits.rw)
    weight = posterior.weights(usable_rw, effective_points, len(plan.fit.free), prior_weight=prior_weights)
    order = np.lexsort((np.where(np.isfinite(fits.rw), fits.rw, np.inf), -weight, ~np.isfinite(usable_rw)))
    return pool.select(order), candidates.select_rows(fits, order), WeightedCandidates(weight[order], effective_points)


def _excess_shape_cost(pool: CandidatePool, search_result: SearchResult) -> np.ndarray:
    """Return how much more unusual candidates' shapes are than those of listed ones."""
    from_search = np.array([group is search_result.group for group in pool.groups])[pool.group]
    return np.where(from_search, search_result.shape_cost[np.where(from_search, pool.group_row, 0)], 0.0)


def _prior_features(pool: CandidatePool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return types, atoms and diameters of candidates."""
    types = np.array([FAMILY_TYPES.get(family, "") for family in pool.families], object)
    return types, pool.atoms, pool.diameter


def _relax_candidates(pool: CandidatePool, fits: Fit, target: Target, restraint: float) -> CandidateGroup:
    """Return the candidates with their atoms moved to fit the data."""
    displacements, clusters = [], []
    for row in range(len(fits.rw)):
        cluster = library.candidate_cluster(*pool.entry(row))
        values = jax.tree.map(lambda column, row=row: column[row], fits.values)
        positions = jnp.asarray(cluster.positions * target.bond, jnp.float32)
        relaxation = relax.relax(positions, values, target.basis, restraint=restraint)
        clusters.append(cluster._replace(positions=np.asarray(relaxation.positions, float) / target.bond))
        displacements.append(float(relaxation.moved))
    notes = {"rw_unmoved": np.asarray(fits.rw, float), "moved": np.array(displacements)}
    return CandidateGroup(pool.groups[0].source, library.from_clusters(clusters), np.arange(len(clusters)), notes=notes)


def _updated_settings(
    measurement: Measurement, inferred_settings: Mapping[str, InferredSetting]
) -> tuple[Setting, ...]:
    """Return the settings with what the data prefer."""
    return tuple(
        Setting(setting.name, inferred_settings[setting.name].value, "inferred")
        if setting.name in inferred_settings
        else setting
        for setting in measurement.settings
    )


def _propagate_setting_errors(
    pool: CandidatePool,
    fits: Fit,
    fit_target: Target,
    free: tuple[str, ...],
    inferred_settings: Mapping[str, InferredSetting],
) -> Fit:
    """Return the fits with the errors of inferred settings in theirs: by how much these move what is fitted."""
    n_candidates = min(result.MAX_LISTED_CANDIDATES, len(fits.rw))
    variance = np.asarray(fits.errors, float) ** 2
    for name, setting in inferred_settings.items():
        step = min(setting.error, 0.1 * max(setting.value, 0.01))
        interval_bounds = max(setting.value - step, 1e-3), setting.value + step
        shifted_values = [
            candidates.fit_all(
                pool.select(np.arange(n_candidates)), target.replace_settings(fit_target, **{name: value}), free=free
            ).values
            for value in interval_bounds
        ]
        for column, value in enumerate(free):
            low, high = (np.asarray(getattr(fitted_values, value), float) for fitted_values in shifted_values)
            variance[:n_candidates, column] += (
                (high - low) / (interval_bounds[1] - interval_bounds[0]) * setting.error
            ) ** 2
    return fits._replace(errors=np.sqrt(variance)) if inferred_settings else fits
