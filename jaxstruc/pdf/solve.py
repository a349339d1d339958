"""Stages of the analysis of measured PDFs, from the targets and candidates to the results.

`solve_measurement` calls the stages of one measurement in order. Each stage is a function of this module. The
candidates of all sources are fitted with the same functions.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from scipy.spatial.distance import pdist

import jaxstruc
from jaxstruc import statistics
from jaxstruc.blas import with_one_blas_thread
from jaxstruc.clusters import size_classes
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.devices import map_in_order
from jaxstruc.io import reduction
from jaxstruc.io.measurement import Measurement, Setting, resolve_settings
from jaxstruc.options.pdf import SolveOptions
from jaxstruc.parameters import PARAMETERS
from jaxstruc.pdf import (
    candidate_fits,
    candidates,
    classifier_prior,
    distribution,
    instrument,
    intensity,
    intensity_target,
    posterior,
    screening,
    site_search,
)
from jaxstruc.pdf.candidate_fits import (
    ProbableCandidates,
    ScreenedCandidates,
    best_curve,
    inferable_settings,
    rank_by_rw,
    residual_structure,
)
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool, FittedCandidates, WeightedCandidates
from jaxstruc.pdf.classifier_prior import ClassifierPrediction
from jaxstruc.pdf.distribution import HoldoutOptions, LibraryCache, SampleComparison
from jaxstruc.pdf.fit import Fit
from jaxstruc.pdf.instrument import InferredSetting
from jaxstruc.pdf.plan import MeasurementCase, PdfPlan
from jaxstruc.pdf.result import MAX_LISTED_CANDIDATES, PdfResult, SolvedMeasurement, build_result
from jaxstruc.pdf.screening import DiameterEstimate
from jaxstruc.pdf.site_search import SearchResult, SearchSettings
from jaxstruc.pdf.target import (
    STRETCH_BOUNDS,
    ArraySizes,
    Target,
    TargetSettings,
    array_sizes,
    independent_points,
    make_target,
    replace_settings,
)

NO_CANDIDATES = (
    "No candidates: the sources gave no cluster of at least 2 atoms; use --sources network library, or raise --draws."
)
NO_FINITE_FIT = "Expected a finite fit of at least one candidate, got none; check the values and the range of G(r)."
SITES_NOT_SEARCHED = (
    "no search over lattice sites, because a single structure cannot explain so broad a distribution of particles"
)
NO_SEARCH_IN_INTENSITY = "no search over lattice sites, because it needs G(r)"
MAX_EQUAL_RW_DIFFERENCE = 0.1
"""Largest relative difference between the Rw of two fits of the same cluster."""


def prepare_measurement(measurement: Measurement, plan: PdfPlan) -> Measurement:
    """Return a measurement with all settings, after checks. S(Q) and F(Q) are transformed to G(r).

    Raises:
        ValueError: If settings are missing or contradict the data, if there are too few independent points, or if the
            scale of the data is unknown but the plan requires an absolute one.
    """
    if measurement.kind == "iq":
        return prepare_intensity(measurement, plan)
    if plan.fit.absolute and (function := measurement.header.get("converted_from")):
        raise ValueError(
            f"Expected G(r) with --absolute, got {function} in {measurement.name}, which gives G(r) only up to an "
            "unknown factor; drop --absolute, or export G(r)."
        )
    complete = resolve_settings(reduction.reduce_to_pdf(measurement, plan.data), plan.data, bond=plan.bond)
    settings, (r, _) = complete.settings_by_name, complete.curve
    independent_points(r, qmin=settings["qmin"], qmax=settings["qmax"], n_background_terms=plan.fit.background)
    return complete


def prepare_intensity(measurement: Measurement, plan: PdfPlan) -> Measurement:
    """Return an I(Q) in the range of the fit with all settings, after checks.

    Raises:
        ValueError: If options apply to G(r) only, or if the range has too few points.
    """
    path, data = measurement.name, plan.data
    if unusable := [name for name in ("qdamp", "qbroad") if name in plan.fit.free]:
        raise ValueError(
            f"Expected --free without {unusable[0]} for the I(Q) in {path}, got {' '.join(plan.fit.free)}; leave it "
            "out, because its effect is that of the resolution of G(r)."
        )
    if data.rmin is not None or data.rmax is not None:
        raise ValueError(f"Expected no --rmin and --rmax for the I(Q) in {path}; pass --qmin and --qmax.")
    if data.qbroad or plan.fit.absolute:
        name = "--absolute" if plan.fit.absolute else "--qbroad"
        raise ValueError(f"Expected G(r) with {name}, got I(Q) in {path}; drop {name}.")
    if isinstance(plan.options, SolveOptions) and "network" in plan.options.sources:
        raise ValueError(f"Expected G(r), S(Q) or F(Q) for --sources network, got I(Q) in {path}; leave it out.")
    limits = reduction.q_limits(measurement, data)
    resolution = Setting("qdamp", data.qdamp or 0.0, "default" if data.qdamp is None else "command line")
    qmin, qmax = (setting.value for setting in limits)
    fitted = intensity.fitted_points(measurement, qmin=qmin, qmax=qmax)
    return fitted._replace(settings=(*measurement.settings, *limits, resolution))


def solve_measurements(
    measurements: Sequence[Measurement],
    plan: PdfPlan,
    *,
    run_measurements: Sequence[Measurement] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[PdfResult]:
    """Yield the result of each measurement. A measurement that cannot be solved gives a failed result.

    Args:
        measurements: Measurements with all settings, made by `prepare_measurement`.
        plan: Element, sources and options.
        run_measurements: All measurements of the run, if `measurements` are only a part of the run. The results are
            then identical to those of the whole run.
        progress: Function that is called with the number of finished measurements, the number of all measurements, and
            a text about the present step.
    """
    n_measurements, n_done = len(measurements), 0
    candidate_streams = [source.candidates(measurements) for source in plan.sources]
    library_cache = LibraryCache()

    sizes = target_sizes(run_measurements or measurements, plan)

    @with_one_blas_thread
    def solve_inputs(inputs) -> PdfResult:
        start_time, (measurement, prediction, *groups) = time.perf_counter(), inputs

        def report_progress(remark: str) -> None:
            if progress:
                progress(n_done, n_measurements, f"{measurement.name}: {remark}")

        case = MeasurementCase(measurement, padded_target(measurement, plan, sizes), groups, plan, prediction)
        pdf_result = solve_measurement(case, library_cache, report_progress)
        return dataclasses.replace(pdf_result, facts=pdf_result.facts | {"seconds": time.perf_counter() - start_time})

    all_inputs = zip(
        measurements,
        predict_measurements(measurements, plan),
        *candidate_streams,
        strict=True,
    )
    for pdf_result in map_in_order(solve_inputs, all_inputs, n_devices=plan.n_devices):
        n_done += 1
        if n_done in (1, n_measurements):
            save_fields(plan)
        yield pdf_result


def predict_measurements(measurements: Sequence[Measurement], plan: PdfPlan) -> Iterator[ClassifierPrediction | None]:
    """Yield the prediction of the classifier for each G(r), and None for each I(Q)."""
    pdfs = [measurement for measurement in measurements if measurement.kind == "gr"]
    predictions = iter(
        classifier_prior.predict_measurements(pdfs, plan.classifier, bond=plan.bond, type_weights=plan.type_weights)
        if pdfs
        else []
    )
    for measurement in measurements:
        yield next(predictions) if measurement.kind == "gr" else None


def save_fields(plan: PdfPlan) -> None:
    """Write the displacement fields that were computed to the cache folder."""
    for source in plan.sources:
        if source.fields:
            source.fields.save()


def target_sizes(measurements: Sequence[Measurement], plan: PdfPlan) -> ArraySizes | None:
    """Return the array sizes that suffice for the targets of all G(r), so that these share compilations.

    The result is None if there is no G(r).
    """
    pdfs = [measurement for measurement in measurements if measurement.kind == "gr"]
    if not pdfs:
        return None
    settings = [measurement.settings_by_name for measurement in pdfs]
    return array_sizes(
        r_start=min(float(measurement.curve[0][0]) for measurement in pdfs),
        r_end=max(entry["rmax"] for entry in settings),
        qmin=min(_minimum_qmin(measurement) for measurement in pdfs),
        qmax=max(entry["qmax"] for entry in settings),
        diameter=_largest_diameter(plan) * plan.bond,
    )


def padded_target(measurement: Measurement, plan: PdfPlan, sizes: ArraySizes | None) -> Target:
    """Return the target (data and settings of the fit) of a measurement. That of a G(r) has the given array sizes."""
    if sizes is None or measurement.kind == "iq":
        return _intensity_target(measurement, plan)
    entry = measurement.settings_by_name
    settings = TargetSettings(
        qmin=entry["qmin"],
        qmax=entry["qmax"],
        qdamp=entry["qdamp"],
        qbroad=entry["qbroad"],
        bond=plan.bond,
        span=sizes.span,
        n_background_terms=plan.fit.background,
        absolute=plan.fit.absolute,
        element=plan.element if "relaxation" in plan.fit.free else "",
        lowest_qmin=_minimum_qmin(measurement),
        min_q_nodes=sizes.n_q_nodes,
        min_basis_size=sizes.basis_size,
    )
    return make_target(*measurement.curve, settings, sigma=measurement.errors)


def _intensity_target(measurement: Measurement, plan: PdfPlan) -> Target:
    """Return the target of a measured I(Q)."""
    settings = measurement.settings_by_name
    span = intensity_target.intensity_range(qmax=settings["qmax"], diameter=_largest_diameter(plan) * plan.bond)
    curve = intensity.intensity_curve(
        measurement,
        plan.element,
        max_distance=STRETCH_BOUNDS[1] * span.max_distance,
        n_background_terms=plan.fit.background,
        resolution=settings["qdamp"],
    )
    return intensity_target.make_intensity_target(
        curve,
        bond=plan.bond,
        span=span,
        element=plan.element if "relaxation" in plan.fit.free else "",
        absolute=plan.fit.absolute,
    )


def _largest_diameter(plan: PdfPlan) -> float:
    """Return the largest diameter of clusters in bond lengths."""
    return max(size_classes.MAX_CLASS_SIZE, *(source.diameter for source in plan.sources))


@with_one_blas_thread
def solve_measurement(
    case: MeasurementCase, library_cache: LibraryCache, progress: Callable[[str], None] = lambda remark: None
) -> PdfResult:
    """Return the result of one measurement.

    Args:
        case: Measurement with its target, candidates, plan and prediction.
        library_cache: Cache of the run, to which tables of libraries are added.
        progress: Function that is called with a text about the present step.
    """
    if not case.nonempty_groups:
        return _failed_result(case, NO_CANDIDATES)
    fitted_measurement = candidate_fits.fit_measurement(case, library_cache.binned_libraries, progress)
    case, probable_candidates, inferred_settings, screened_candidates, fitted_candidates = fitted_measurement
    if not np.isfinite(fitted_candidates.fits.rw[0]):
        return _failed_result(case, NO_FINITE_FIT, inferred_settings)
    size = estimate_size(case, fitted_candidates)
    sample_comparison = cross_validate_sample(
        case, fitted_candidates, screened_candidates, size.signal_end, library_cache, progress
    )
    search_result = search_lattice_sites(case, fitted_candidates, sample_comparison, progress)
    candidates_with_search = add_searched_particles(case, fitted_candidates, search_result)
    sample_comparison = reconsider_sample(case, candidates_with_search, sample_comparison, search_result)
    if _is_distribution(sample_comparison):
        search_result = None
    else:
        fitted_candidates = candidates_with_search
    weighted_candidates = weight_candidates(case, fitted_candidates, sample_comparison, search_result)
    weighted_candidates = propagate_setting_errors(case, weighted_candidates, inferred_settings)
    solved_measurement = SolvedMeasurement(
        case.measurement,
        case.target,
        case.groups,
        weighted_candidates,
        case.free,
        inferred_settings,
        size,
        sample_comparison,
        search_result,
    )
    return build_result(
        _empty_result(case, inferred_settings, probable_candidates, weighted_candidates),
        solved_measurement,
        max_written=case.plan.max_written,
        further_remarks=_further_remarks(case, sample_comparison),
    )


def estimate_size(case: MeasurementCase, fitted_candidates: FittedCandidates) -> DiameterEstimate:
    """Return the diameter of the particle and the end of the signal, estimated from the decay of G(r).

    For an I(Q) they are the diameter of the best candidate and the end of the Q range.
    """
    if case.target.intensity is not None:
        best_diameter = float(fitted_candidates.pool.diameter[0]) * case.target.bond
        return DiameterEstimate(best_diameter, data_cover_particle=True, signal_end=case.target.qmax)
    return screening.diameter_estimate(
        case.measurement.r, case.measurement.g, bond=case.target.bond, qdamp=case.target.qdamp
    )


def cross_validate_sample(
    case: MeasurementCase,
    fitted_candidates: FittedCandidates,
    screened_candidates: ScreenedCandidates,
    signal_end: float,
    library_cache: LibraryCache,
    progress: Callable[[str], None],
) -> SampleComparison | str:
    """Return the comparison of a single cluster with a distribution, or a remark why there is none.

    The remark is empty if no comparison was requested.
    """
    plan = case.plan
    if plan.ensemble == "none":
        return ""
    progress("comparison of a single cluster with a distribution")
    options = HoldoutOptions(
        case.free,
        plan.ensemble,
        screened_candidates.holdout_rows,
        None if case.target.intensity is not None else _holdout_search(plan),
        plan.type_weights,
    )
    return distribution.cross_validate_sample(
        case.measurement,
        case.target,
        case.groups,
        fitted_candidates,
        signal_end=signal_end,
        options=options,
        library_cache=library_cache,
    )


def search_lattice_sites(
    case: MeasurementCase,
    fitted_candidates: FittedCandidates,
    sample_comparison: SampleComparison | str,
    progress: Callable[[str], None],
) -> SearchResult | None:
    """Return the particles of a search over lattice sites; None if there is no search or if it finds no particle.

    There is no search if the sample is a distribution that is too broad for a single particle. The search starts from
    the candidates and the classifier's prediction.
    """
    plan = case.plan
    if plan.search == "none" or case.target.intensity is not None or _is_broad_distribution(sample_comparison):
        return None
    return site_search.search_lattice_sites(
        case.target,
        fitted_candidates,
        SearchSettings(site_search.SEARCH_LEVELS[plan.search], plan.seed, plan.shape_weight),
        draws_by_packing=classifier_prior.draw_atom_counts(case.prediction, case.nonempty_groups),
        progress=progress,
    )


def reconsider_sample(
    case: MeasurementCase,
    fitted_candidates: FittedCandidates,
    sample_comparison: SampleComparison | str,
    search_result: SearchResult | None,
) -> SampleComparison | str:
    """Return the comparison. A distribution becomes a single cluster if a searched particle explains the data better.

    The particle must explain the data (`candidate_fits.is_weak`). The gain of its likelihood over that of the ensemble
    must exceed the prior cost of its shape by a margin, because a search has many more choices than an ensemble.

    Args:
        case: Measurement with its target and plan.
        fitted_candidates: Candidates and searched particles with their fits, best first.
        sample_comparison: Comparison of a single cluster with a distribution.
        search_result: Result of the search.
    """
    if not isinstance(sample_comparison, SampleComparison) or not sample_comparison.is_distribution:
        return sample_comparison
    if search_result is None or candidate_fits.is_weak(case, fitted_candidates):
        return sample_comparison
    shape_cost = case.plan.shape_weight * _excess_shape_cost(fitted_candidates.pool, search_result)[0]
    return distribution.reconsider_sample(
        sample_comparison,
        case.target,
        rw=float(fitted_candidates.fits.rw[0]),
        n_effective=_effective_points(case, fitted_candidates),
        prior_cost=float(shape_cost),
    )


def add_searched_particles(
    case: MeasurementCase, fitted_candidates: FittedCandidates, search_result: SearchResult | None
) -> FittedCandidates:
    """Return the candidates and the searched particles, best first. A particle that a source also lists is left out."""
    if search_result is None:
        return fitted_candidates
    pool, fits = fitted_candidates
    search_pool = candidates.candidate_pool([search_result.group])
    search_fits = candidates.fit_all(search_pool, case.target, free=case.free)
    if "relaxation" in case.free:
        search_fits = candidates.fit_all(search_pool, case.target, free=case.free, start=search_fits.values)
    is_new = np.array(
        [
            not _is_among(search_pool, row, float(search_fits.rw[row]), fitted_candidates)
            for row in range(len(search_fits.rw))
        ],
        bool,
    )
    group_indices = np.concatenate([pool.group_index, np.full(int(is_new.sum()), len(pool.groups))])
    group_rows = np.concatenate([pool.group_row, np.flatnonzero(is_new)])
    merged_pool = CandidatePool((*pool.groups, search_result.group), group_indices, group_rows)
    merged_fits = candidates.concatenate(fits, candidates.select_rows(search_fits, is_new))
    return rank_by_rw(FittedCandidates(merged_pool, merged_fits))


def _is_among(pool: CandidatePool, row: int, rw: float, fitted_candidates: FittedCandidates) -> bool:
    """Return whether fitted candidates contain a cluster with the same distances as a candidate of another pool.

    Args:
        pool: Pool of the candidate.
        row: Index of the candidate in its pool.
        rw: Rw of the candidate's fit.
        fitted_candidates: Candidates with which it is compared.
    """
    other_pool, fits = fitted_candidates
    is_similar = (other_pool.n_atoms == pool.n_atoms[row]) & (np.abs(fits.rw - rw) < MAX_EQUAL_RW_DIFFERENCE * rw)
    distances = np.sort(pdist(pool.positions(row, 0.0)))
    return any(
        np.allclose(np.sort(pdist(other_pool.positions(int(other), 0.0))), distances, rtol=0, atol=1e-3)
        for other in np.flatnonzero(is_similar)
    )


def weight_candidates(
    case: MeasurementCase,
    fitted_candidates: FittedCandidates,
    sample_comparison: SampleComparison | str,
    search_result: SearchResult | None,
) -> WeightedCandidates:
    """Return the candidates with their weights, best first. The order is that of the weights without tempering.

    A weight is the product of six factors. They are the likelihood of the fit, the prior density of its relaxation, the
    prior weight of the candidate's type and size, the likelihood of the type in the cross-validation, the evidence of
    the classifier on the type, and the prior probability of the shape. The last factor applies only to particles from a
    search. The likelihoods are tempered by the misfit of the best candidate beyond the noise (`posterior.Misfit`).
    """
    pool, fits = fitted_candidates
    effective_points = _effective_points(case, fitted_candidates)
    misfit = posterior.Misfit(effective_points / case.target.n_independent, residual_structure(case, fitted_candidates))
    prior_weights: np.ndarray | float = _relaxation_density(fits, case.free)
    if case.plan.screen_candidates:
        all_candidates = candidates.candidate_pool(case.nonempty_groups)
        prior_weights = prior_weights * posterior.prior_weights(
            *_prior_features(pool),
            listed_candidates=_prior_features(all_candidates),
            type_weights=case.plan.type_weights,
        )
        if case.prediction is not None and np.isfinite(case.prediction.output.novelty_score):
            evidence = posterior.type_evidence(
                case.prediction.output.type_probabilities, case.plan.type_weights, misfit
            )
            prior_weights = prior_weights * np.array(
                [evidence.get(FAMILY_TYPES.get(family, ""), 1.0) for family in pool.families]
            )
        if isinstance(sample_comparison, SampleComparison):
            gain_exponent = misfit.likelihood_exponent * misfit.effective_fraction
            log_gains = [
                gain_exponent * sample_comparison.type_gains.get(FAMILY_TYPES.get(family, ""), 0.0)
                for family in pool.families
            ]
            prior_weights = prior_weights * np.exp(np.maximum(log_gains, -300.0))
    if search_result is not None:
        prior_weights = prior_weights * np.exp(
            -np.minimum(case.plan.shape_weight * _excess_shape_cost(pool, search_result), 300.0)
        )
    usable_rw = np.where(pool.is_invalid, np.nan, fits.rw)
    n_parameters = len(case.free)
    n_freedom = max(effective_points - n_parameters, 1.0)
    weight, tempered_weight = (
        posterior.weights(usable_rw, n_parameters + exponent * n_freedom, n_parameters, prior_weight=prior_weights)
        for exponent in (1.0, misfit.likelihood_exponent)
    )
    order = np.lexsort((np.where(np.isfinite(fits.rw), fits.rw, np.inf), -weight, ~np.isfinite(usable_rw)))
    return WeightedCandidates(
        *candidates.select_fitted(fitted_candidates, order), tempered_weight[order], effective_points
    )


def propagate_setting_errors(
    case: MeasurementCase, weighted_candidates: WeightedCandidates, inferred_settings: Mapping[str, InferredSetting]
) -> WeightedCandidates:
    """Return the candidates with standard errors that include the errors of the estimated settings.

    Each setting is changed by about its standard error, and the candidates that the result lists are fitted again.
    """
    if not inferred_settings:
        return weighted_candidates
    n_candidates = min(MAX_LISTED_CANDIDATES, len(weighted_candidates.fits.rw))
    listed_pool = weighted_candidates.pool.select(np.arange(n_candidates))
    variance = np.asarray(weighted_candidates.fits.errors, float) ** 2
    listed_values = candidates.select_rows(weighted_candidates.fits.values, slice(0, n_candidates))
    start = listed_values if "relaxation" in case.free else None
    for name, setting in inferred_settings.items():
        step = min(setting.error, 0.1 * max(setting.value, 0.01))
        interval_bounds = max(setting.value - step, 1e-3), setting.value + step
        shifted_values = [
            candidates.fit_all(
                listed_pool, replace_settings(case.target, **{name: bound}), free=case.free, start=start
            ).values
            for bound in interval_bounds
        ]
        for column, parameter in enumerate(case.free):
            low, high = (np.asarray(getattr(fitted_values, parameter), float) for fitted_values in shifted_values)
            variance[:n_candidates, column] += (
                (high - low) / (interval_bounds[1] - interval_bounds[0]) * setting.error
            ) ** 2
    return weighted_candidates._replace(fits=weighted_candidates.fits._replace(errors=np.sqrt(variance)))


def _minimum_qmin(measurement: Measurement) -> float:
    """Return the smallest qmin that the models of a measurement may have."""
    qmin = measurement.settings_by_name["qmin"]
    return min(instrument.MIN_TRIAL_QMIN, qmin) if "qmin" in inferable_settings(measurement, ()) else qmin


def _failed_result(
    case: MeasurementCase, message: str, inferred_settings: Mapping[str, InferredSetting] = MappingProxyType({})
) -> PdfResult:
    """Return a failed result without candidates, with the settings that were used."""
    facts: dict[str, Any] = {} if case.plan.search == "none" else {"seed": case.plan.seed}
    for source in case.plan.sources:
        facts |= source.facts
    return PdfResult(
        case.measurement.name,
        case.measurement.sha256,
        case.plan.element,
        "failed",
        message,
        settings=_updated_settings(case.measurement, inferred_settings),
        facts=facts,
        versions={"jaxstruc": jaxstruc.__version__, "jax": jax.__version__, "numpy": np.__version__},
    )


def _holdout_search(plan: PdfPlan) -> Callable[[Target, FittedCandidates], CandidateGroup | None] | None:
    """Return the search function for data up to a cut of the cross-validation; None if there is no search."""
    if plan.search == "none":
        return None
    settings = SearchSettings(site_search.HOLDOUT_LEVEL, plan.seed, plan.shape_weight)

    def search_below_cut(target: Target, fitted_candidates: FittedCandidates) -> CandidateGroup | None:
        search_result = site_search.search_lattice_sites(target, fitted_candidates, settings)
        return search_result.group if search_result else None

    return search_below_cut


def _is_distribution(sample_comparison: SampleComparison | str) -> bool:
    """Return whether the cross-validation finds a distribution of particles."""
    return isinstance(sample_comparison, SampleComparison) and sample_comparison.is_distribution


def _is_broad_distribution(sample_comparison: SampleComparison | str) -> bool:
    """Return whether the sample is a distribution that is too broad for a single particle of any shape."""
    return isinstance(sample_comparison, SampleComparison) and sample_comparison.is_broad_distribution


def _effective_points(case: MeasurementCase, fitted_candidates: FittedCandidates) -> float:
    """Return the effective number of independent points, estimated from the residual of the best fit."""
    target = case.target
    return statistics.effective_points(
        target.weighted(target.g - best_curve(case, fitted_candidates)),
        target.n_independent,
        accuracy=target.accuracy,
    )


def _relaxation_density(fits: Fit, free: tuple[str, ...]) -> np.ndarray | float:
    """Return the prior density of the relaxation of each candidate, relative to its maximum. Rigid clusters have 1."""
    prior, relaxation = PARAMETERS["relaxation"].prior, np.asarray(fits.values.relaxation, float)
    if prior is None or "relaxation" not in free:
        return 1.0
    return np.where(relaxation == 0, 1.0, np.exp(-0.5 * ((relaxation - prior[0]) / prior[1]) ** 2))


def _excess_shape_cost(pool: CandidatePool, search_result: SearchResult) -> np.ndarray:
    """Return the shape cost of searched particles; 0 for other candidates."""
    from_search = np.array([group is search_result.group for group in pool.groups])[pool.group_index]
    return np.where(from_search, search_result.shape_cost[np.where(from_search, pool.group_row, 0)], 0.0)


def _prior_features(pool: CandidatePool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the types, numbers of atoms and diameters of candidates."""
    types = np.array([FAMILY_TYPES.get(family, "") for family in pool.families], object)
    return types, pool.n_atoms, pool.diameter


def _updated_settings(
    measurement: Measurement, inferred_settings: Mapping[str, InferredSetting]
) -> tuple[Setting, ...]:
    """Return all settings. Values that were estimated from the data replace the given values."""
    return tuple(
        Setting(setting.name, inferred_settings[setting.name].value, "inferred")
        if setting.name in inferred_settings
        else setting
        for setting in measurement.settings
    )


def _empty_result(
    case: MeasurementCase,
    inferred_settings: Mapping[str, InferredSetting],
    probable_candidates: ProbableCandidates,
    weighted_candidates: WeightedCandidates,
) -> PdfResult:
    """Return the result without candidates, with the prediction of the classifier for the library."""
    prior = classifier_prior.summarize_prior(
        case.prediction,
        case.nonempty_groups,
        probable_candidates.groups,
        weighted_candidates.pool,
        weighted_candidates.weight,
    )
    return dataclasses.replace(_failed_result(case, "", inferred_settings), classifier_prior=prior)


def _further_remarks(case: MeasurementCase, sample_comparison: SampleComparison | str) -> list[str]:
    """Return remarks on the files of candidates, and on a search or a classifier that was not used."""
    remarks = [remark for group in case.groups for remark in group.remarks]
    if case.plan.search != "none" and case.target.intensity is not None:
        remarks.append(NO_SEARCH_IN_INTENSITY)
    remarks += [SITES_NOT_SEARCHED] if case.plan.search != "none" and _is_broad_distribution(sample_comparison) else []
    if any(group.source == "library" for group in case.groups):
        remarks += classifier_prior.prior_remarks(case.prediction, case.plan.classifier.missing_reason)
    return remarks
