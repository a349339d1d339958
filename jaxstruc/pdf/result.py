"""The result of a measured PDF: structures with weights, and the sample as a distribution of particles.

`build_result` makes a `PdfResult` of weighted candidates and states whether the best one explains the data.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from jaxstruc.clusters import description, library, structure_type
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import Library
from jaxstruc.io.measurement import Measurement, composition_warnings
from jaxstruc.parameters import FIT_PARAMETERS, UNITS
from jaxstruc.pdf import candidates, distribution, fit, fit_quality
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool, WeightedCandidates
from jaxstruc.pdf.classifier_prior import ClassifierPrior
from jaxstruc.pdf.distribution import Distribution, SampleComparison
from jaxstruc.pdf.fit import Fit
from jaxstruc.pdf.instrument import InferredSetting
from jaxstruc.pdf.screening import DiameterEstimate
from jaxstruc.pdf.site_search import SearchResult
from jaxstruc.pdf.target import Target
from jaxstruc.result import Candidate, Result, Value
from jaxstruc.statistics import Interval, credible_set, discrete_interval

MIN_TYPE_PROBABILITY = 0.7
"""Probability of a type below which the message calls it undecided."""
MAX_LISTED_CANDIDATES, MIN_TYPED_CANDIDATES = 200, 20
"""Largest number of candidates in a result; smallest number of them whose type is found by their atoms."""
MIN_TYPED_WEIGHT = 1e-6
"""Weight from which the type of every candidate is found by its atoms."""
MIN_RESOLVING_QMAX = 18.0
"""1/Å. qmax below which similar distances are hardly resolved."""
BOND_TOLERANCE = 0.025
"""Largest relative difference between a metal's bonds in particles and in bulk."""
ATOM_COUNT_WIDTH_FACTOR = 1.75
"""Factor that widens the random walks' interval of the number of atoms if the scale is free. It was measured on
simulated particles with other seeds than the reported ones, most of which have more atoms than the best candidate.
Longer walks give the same intervals."""
SEARCH_BOUNDED_PARAMETERS = ("stretch", "uiso")
"""Parameters whose bounds are limits of the search and not of physics."""


@dataclass(frozen=True, repr=False)
class PdfResult(Result):
    """The answer for one measured PDF; of the classifier alone without candidates.

    `intervals` has n_atoms, diameter (Å) and, of close-packed layers, hexagonal.
    """

    technique: ClassVar[str] = "pdf"

    ensemble: Distribution | None = None
    """The sample as a distribution of particles; None if that was not asked or is not possible."""
    classifier_prior: ClassifierPrior | None = None
    """Prediction of the classifier before any fit, and how far the fits agree; None if it was not asked."""
    r: np.ndarray | None = None
    """[point] Å, in the range of the fit."""
    observed: np.ndarray | None = None
    """[point] G(r), in 1/Å²."""

    @property
    def sample(self) -> str:
        """The sample by cross-validation: single, distribution or undecided; empty if that was not asked."""
        return self.ensemble.sample if self.ensemble else ""

    @property
    def type(self) -> str:
        """Type of the largest share if the sample is a distribution, else of the most probable structure."""
        if self.ensemble and self.sample == "distribution":
            return next(iter(self.ensemble.type_shares), "")
        return self.candidates[0].type if self.candidates else next(iter(self.types), "")

    @property
    def type_probability(self) -> float | None:
        """Probability of `type`; None if the sample is a distribution, of which only shares are known."""
        return None if self.sample == "distribution" else self.types.get(self.type)

    @property
    def data(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The measured G(r) in the range of the fit."""
        return self.r, self.observed

    @property
    def distribution(self) -> dict[str, np.ndarray]:
        """The distribution of sizes, as columns by name, by volume and by number; empty if there is none."""
        return self.ensemble.table if self.ensemble else {}


class SolvedMeasurement(NamedTuple):
    """A measurement with all that is known of it when its result is built."""

    measurement: Measurement
    """Measurement with the settings as they were given."""
    target: Target
    """Target with the settings as they were used."""
    groups: Sequence[CandidateGroup]
    """Candidates of each source."""
    candidates: WeightedCandidates
    """All candidates that were fitted, best first."""
    free: tuple[str, ...]
    """Names of the fitted parameters."""
    inferred_settings: Mapping[str, InferredSetting]
    """Settings that the data corrected, by name."""
    diameter_estimate: DiameterEstimate
    """Size of the particle by the decay of G(r)."""
    sample_comparison: SampleComparison | str = ""
    """Comparison of one cluster with many, or why there is none."""
    search_result: SearchResult | None = None
    """Particles of a search over lattice sites; None if there was no search."""


def build_result(
    empty_result: PdfResult,
    solved_measurement: SolvedMeasurement,
    *,
    max_written: int,
    further_remarks: Sequence[str] = (),
) -> PdfResult:
    """Return the result of a measurement.

    Args:
        empty_result: the result without candidates, with element, settings and facts.
        solved_measurement: the measurement with its weighted candidates.
        max_written: number of candidates with atoms and curves.
        further_remarks: remarks of earlier stages for the message.
    """
    listed_candidates = _listed_candidates(solved_measurement)
    listed_candidates[:max_written] = _with_atoms_and_curves(
        listed_candidates, solved_measurement, element=empty_result.element, max_written=max_written
    )
    ensemble = (
        distribution.describe_distribution(solved_measurement.sample_comparison, solved_measurement.target)
        if isinstance(solved_measurement.sample_comparison, SampleComparison)
        else None
    )
    result = dataclasses.replace(
        empty_result,
        candidates=tuple(listed_candidates),
        n_fitted=len(solved_measurement.candidates.fits.rw),
        ties=int(credible_set(solved_measurement.candidates.weight).sum()),
        types=_type_probabilities(solved_measurement.candidates, listed_candidates),
        intervals=_credible_intervals(solved_measurement, listed_candidates),
        free=solved_measurement.free,
        ensemble=ensemble,
        r=solved_measurement.target.r,
        observed=solved_measurement.target.g,
        facts=empty_result.facts | _solution_facts(solved_measurement),
    )
    return _with_status(result, solved_measurement, further_remarks)


def _with_status(result: PdfResult, solved_measurement: SolvedMeasurement, further_remarks: Sequence[str]) -> PdfResult:
    """Return the result with its status, and a message that states why it is weak and what else matters."""
    best = result.candidates[0]
    range_remarks = _range_remarks(solved_measurement, result.candidates)
    weak_reasons = _weak_reasons(best, solved_measurement)
    if best.source == "network":
        weak_reasons += range_remarks
    messages = [
        *weak_reasons,
        *_sample_remarks(solved_measurement.sample_comparison, result.ensemble),
        *_type_remark(result.types, best, result.ensemble),
        *further_remarks,
        *([] if best.source == "network" else range_remarks),
        *_data_end_remark(solved_measurement),
        *_setting_remarks(solved_measurement),
        *_fit_remarks(best, solved_measurement, result.element),
        *composition_warnings(solved_measurement.measurement, result.element),
        *solved_measurement.measurement.warnings,
    ]
    return dataclasses.replace(result, status="weak" if weak_reasons else "solved", message="; ".join(messages))


def _listed_candidates(solved_measurement: SolvedMeasurement) -> list[Candidate]:
    """Return the best candidates as a result lists them, without atoms and curves."""
    in_credible_set = credible_set(solved_measurement.candidates.weight)
    n_listed = min(MAX_LISTED_CANDIDATES, len(solved_measurement.candidates.fits.rw))
    return [_result_candidate(solved_measurement, row, in_90=bool(in_credible_set[row])) for row in range(n_listed)]


def _with_atoms_and_curves(
    listed_candidates: Sequence[Candidate], solved_measurement: SolvedMeasurement, *, element: str, max_written: int
) -> list[Candidate]:
    """Return the best few candidates with their atoms, curves, correlations and occupancies."""
    pool, fits, target = (
        solved_measurement.candidates.pool,
        solved_measurement.candidates.fits,
        solved_measurement.target,
    )
    best_fits = candidates.select_rows(fits, slice(0, max_written))
    n_written = len(best_fits.rw)
    cluster_tables = candidates.cluster_tables(pool.select(np.arange(n_written)), target)
    calculated_curves, backgrounds = fit.fitted_curves(best_fits, cluster_tables, target)
    return [
        dataclasses.replace(
            listed_candidates[row],
            atoms=library.candidate_cluster(*pool.entry(row)).to_ase(
                element, target.bond * float(fits.values.stretch[row])
            ),
            calculated=calculated_curves[row],
            background=backgrounds[row],
            correlation=np.asarray(fits.correlation[row], float),
            occupancy=_site_occupancy(pool, row, solved_measurement.search_result),
        )
        for row in range(n_written)
    ]


def _solution_facts(solved_measurement: SolvedMeasurement) -> dict[str, float]:
    """Return numbers that are recorded beside the candidates."""
    facts = {
        "independent": solved_measurement.candidates.effective_points,
        "diameter_estimate": solved_measurement.diameter_estimate.diameter,
    }
    return facts | {f"{name}_error": setting.error for name, setting in solved_measurement.inferred_settings.items()}


def _site_occupancy(pool: CandidatePool, row: int, search_result: SearchResult | None) -> np.ndarray | None:
    """Return the probability of each atom of a searched particle; None if no random walk started from it."""
    group_row = int(pool.group_row[row])
    if (
        search_result is None
        or pool.groups[pool.group_index[row]] is not search_result.group
        or group_row >= len(search_result.occupancy)
    ):
        return None
    return search_result.occupancy[group_row]


def _credible_intervals(
    solved_measurement: SolvedMeasurement, listed_candidates: Sequence[Candidate]
) -> dict[str, Interval]:
    """Return the best's number of atoms, diameter and share of hexagonal layers with 90 % intervals by all candidates.

    The random walks give the number of atoms of searched particles, widened if the scale is free.
    """
    pool, weight, search_result = (
        solved_measurement.candidates.pool,
        solved_measurement.candidates.weight,
        solved_measurement.search_result,
    )
    atom_counts, atom_count_weights = pool.n_atoms.astype(float), weight
    if search_result is not None:
        from_search = np.array([group is search_result.group for group in pool.groups])[pool.group_index]
        atom_counts = np.concatenate([atom_counts[~from_search], search_result.atom_counts])
        atom_count_weights = np.concatenate(
            [weight[~from_search], weight[from_search].sum() * search_result.atom_count_weights]
        )
    listed_weight = weight[: len(listed_candidates)]
    diameter, hexagonal = (
        np.array([getattr(candidate, name) for candidate in listed_candidates], float)
        for name in ("diameter", "hexagonal")
    )
    width_factor = (
        ATOM_COUNT_WIDTH_FACTOR if search_result is not None and not solved_measurement.target.absolute else 1.0
    )
    n_atoms = discrete_interval(
        listed_candidates[0].n_atoms, atom_counts, weight=atom_count_weights, width_factor=width_factor
    )
    intervals = {"n_atoms": n_atoms, "diameter": discrete_interval(diameter[0], diameter, weight=listed_weight)}
    has_layers = np.isfinite(hexagonal)
    if has_layers[0]:
        intervals["hexagonal"] = discrete_interval(
            hexagonal[0], hexagonal[has_layers], weight=listed_weight[has_layers]
        )
    return intervals


def _sample_remarks(sample_comparison: SampleComparison | str, ensemble: Distribution | None) -> list[str]:
    """Return remarks on the sample as one cluster or many."""
    if not isinstance(sample_comparison, SampleComparison) or ensemble is None:
        return [sample_comparison] if isinstance(sample_comparison, str) and sample_comparison else []
    remarks = []
    if ensemble.sample == "distribution":
        remarks.append("this is the most likely member of a distribution of particles")
    elif not ensemble.holdouts:
        remarks.append(
            f"one cluster or many: undecided, the signal ends at {sample_comparison.signal_end:.1f} Å, "
            "too near to predict any"
        )
    elif ensemble.sample == "undecided":
        remarks.append(
            f"one cluster or many: undecided, beyond the fit Rw {ensemble.rw_holdout_single:.2f} and "
            f"{ensemble.rw_holdout_ensemble:.2f}"
        )
    if ensemble.sample != "single" and (size_limit := distribution.size_limit_remark(ensemble)):
        remarks.append(size_limit)
    return remarks


def _type_remark(types: Mapping[str, float], best: Candidate, ensemble: Distribution | None) -> list[str]:
    """Return between which types a single cluster is undecided; empty if its type is probable or not known."""
    other_types = [name for name in types if name and name != best.type]
    is_distribution = ensemble is not None and ensemble.sample == "distribution"
    if is_distribution or not best.type or not other_types or types[best.type] >= MIN_TYPE_PROBABILITY:
        return []
    return [f"type undecided between {best.type} and {other_types[0]}"]


def _type_probabilities(
    weighted_candidates: WeightedCandidates, listed_candidates: Sequence[Candidate]
) -> dict[str, float]:
    """Return the weight of each type: by the atoms of listed candidates, and by the family of the others."""
    type_names = np.array([FAMILY_TYPES.get(family, "") for family in weighted_candidates.pool.families], dtype=object)
    type_names[: len(listed_candidates)] = [candidate.type for candidate in listed_candidates]
    type_weights = {
        str(type_name): float(weighted_candidates.weight[type_names == type_name].sum())
        for type_name in set(type_names)
    }
    return dict(sorted(type_weights.items(), key=lambda item: (-item[1], item[0])))


def _result_candidate(solved_measurement: SolvedMeasurement, row: int, *, in_90: bool) -> Candidate:
    """Return one candidate as a result lists it."""
    pool, fits, weight, _ = solved_measurement.candidates
    group, (cluster_library, library_row) = pool.groups[pool.group_index[row]], pool.entry(row)
    group_row = int(pool.group_row[row])
    family = str(cluster_library.families[library_row])
    invalid_reason = group.invalid_reasons.get(group_row, "")
    type_by_rule = row >= MIN_TYPED_CANDIDATES and weight[row] < MIN_TYPED_WEIGHT and family in FAMILY_TYPES
    observed_type = (
        structure_type.UNKNOWN_TYPE
        if type_by_rule
        else structure_type.identify_structure_type(library.candidate_cluster(cluster_library, library_row).positions)
    )
    bond = solved_measurement.target.bond * float(fits.values.stretch[row])
    type_name = observed_type.name or FAMILY_TYPES.get(family, "")
    bound_remarks = [
        f"{name} at its bound"
        for name, at_bound in zip(solved_measurement.free, fits.at_bound[row], strict=True)
        if at_bound
    ]
    return Candidate(
        source=group.source,
        type=type_name,
        description=_description(
            cluster_library, library_row, type_name, bond, by_atoms=not (type_by_rule or invalid_reason)
        ),
        hexagonal=observed_type.hexagonal_share,
        family=family,
        recipe=str(cluster_library.labels[library_row]),
        n_atoms=int(cluster_library.atoms[library_row]),
        diameter=float(cluster_library.diameter[library_row]) * bond,
        rw=float(fits.rw[row]),
        weight=float(weight[row]),
        in_90=in_90,
        converged=bool(fits.converged[row]),
        remark=", ".join([*([invalid_reason] if invalid_reason else []), *bound_remarks]),
        values=_fitted_values(fits, row, solved_measurement.free),
        notes={name: column[group_row].item() for name, column in group.notes.items()},
    )


def _description(cluster_library: Library, row: int, type_name: str, bond: float, *, by_atoms: bool) -> str:
    """Return the description of a listed cluster by its atoms, which takes some milliseconds, or by its rule alone.

    Args:
        cluster_library: library that lists the cluster.
        row: index of the cluster in the library.
        type_name: structure type of the cluster.
        bond: nearest-neighbour distance of the fit, in Å.
        by_atoms: whether the description is by its atoms.
    """
    family, label = str(cluster_library.families[row]), str(cluster_library.labels[row])
    if by_atoms:
        cluster_description = description.describe_cluster(
            library.candidate_cluster(cluster_library, row).positions, family=family, label=label
        )
        return description.sentence(description.rescale(cluster_description, bond))
    n_atoms, max_distance = int(cluster_library.atoms[row]), float(cluster_library.diameter[row]) * bond
    return description.outline(family, label, type=type_name, atoms=n_atoms, longest=max_distance)


def _fitted_values(fits: Fit, row: int, free: tuple[str, ...]) -> dict[str, Value]:
    """Return the values of one fit, with the standard errors of those that were fitted."""
    errors = {name: float(error) for name, error in zip(free, fits.errors[row], strict=True) if np.isfinite(error)}
    columns = fits.values._asdict()
    return {name: Value(float(columns[name][row]), errors.get(name), UNITS[name]) for name in FIT_PARAMETERS}


def _range_remarks(solved_measurement: SolvedMeasurement, listed_candidates: Sequence[Candidate]) -> list[str]:
    """Return what lies outside the training of a source, in one remark; empty if nothing does.

    The size of the particle is that of the best candidate of the library, or else the estimate from the data.
    """
    diameter = next(
        (candidate.diameter for candidate in listed_candidates if candidate.source != "network"),
        solved_measurement.diameter_estimate.diameter,
    )
    training_warnings = [text for group in solved_measurement.groups for text in group.training_warnings(diameter)]
    return [f"outside training: {', '.join(training_warnings)}"] if training_warnings else []


def _weak_reasons(best: Candidate, solved_measurement: SolvedMeasurement) -> list[str]:
    """Return why the best candidate does not explain the data; empty if it does."""
    measurement, target = solved_measurement.measurement, solved_measurement.target
    assert best.calculated is not None
    n_fitted = sum(value.error is not None for value in best.values.values())
    residual_structure = fit_quality.residual_structure(
        target.g - best.calculated,
        measurement.r,
        measurement.g,
        diameter=best.diameter,
        n_independent=target.n_independent,
        n_parameters=n_fitted,
    )
    return fit_quality.weak_fit_reasons(
        rw=best.rw,
        structure_ratio=residual_structure,
        n_atoms=best.n_atoms,
        max_atoms=max(
            (group.max_atoms for group in solved_measurement.groups if group.source == best.source), default=0
        ),
        at_bound=[name for name in SEARCH_BOUNDED_PARAMETERS if f"{name} at its bound" in best.remark],
    )


def _data_end_remark(solved_measurement: SolvedMeasurement) -> list[str]:
    """Return the remark that the data do not reach the end of the particle; empty if they do."""
    if solved_measurement.diameter_estimate.data_cover_particle:
        return []
    return [f"the data end at {solved_measurement.measurement.r[-1]:g} Å, before the particle does"]


def _setting_remarks(solved_measurement: SolvedMeasurement) -> list[str]:
    """Return how the settings that the data corrected differ from the given ones."""
    given_values = solved_measurement.measurement.settings_by_name
    return [
        _inferred_setting_remark(name, given_values[name], inferred_setting)
        for name, inferred_setting in solved_measurement.inferred_settings.items()
    ]


def _fit_remarks(best: Candidate, solved_measurement: SolvedMeasurement, element: str) -> list[str]:
    """Return remarks on the bonds, the Q range and the convergence of the best fit."""
    remarks, bond = [], solved_measurement.target.bond
    if best.source != "file" and abs((stretch := best.values["stretch"].value) - 1) > BOND_TOLERANCE:
        remarks.append(f"bonds of {stretch * bond:.2f} Å, {element} has {bond:.2f}: check --element")
    if (qmax := solved_measurement.measurement.settings_by_name["qmax"]) < MIN_RESOLVING_QMAX:
        remarks.append(f"qmax {qmax:g} 1/Å is short: near ties say little")
    if best.remark:
        remarks.append(best.remark)
    if not best.converged:
        remarks.append("fit not converged")
    return remarks


def _inferred_setting_remark(name: str, given_value: float, inferred_setting: InferredSetting) -> str:
    """Return how a setting that the data correct differs from the given one."""
    origin = "the header says" if name == "qmin" else "default"
    return f"{name} {inferred_setting.value:.3g} ± {inferred_setting.error:.1g} inferred ({origin} {given_value:g})"
