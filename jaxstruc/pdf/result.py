"""Result of a measured PDF: structures with weights, and the sample as a distribution of particles.

`build_result` converts weighted candidates to a `PdfResult`. The status of the result states whether the best structure
explains the data, and its message gives the reasons.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from jaxstruc.clusters import description, library, structure_type
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import Library
from jaxstruc.clusters.potential import POTENTIALS
from jaxstruc.io.measurement import Measurement, Setting, composition_remark
from jaxstruc.parameters import FIT_PARAMETERS, UNITS
from jaxstruc.pdf import candidates, cross_validation, distribution, fit, fit_quality, intensity_target
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
"""Smallest probability of a structure type at which the type is not called undecided."""
OUTWARD_POTENTIAL_ERROR, INWARD_POTENTIAL_ERROR = 0.35, 0.1
"""Standard deviations of the error of the relaxation that comes from the potential, relative to the relaxation, away
from 0 and towards 0. Particles that are relaxed with another potential (EMT instead of Gupta) have a relaxation of 0.4
to 1.1, depending on the metal."""
ATOM_COUNT_POTENTIAL_ERROR = 0.012
"""Standard deviation of the error of the number of atoms that comes from the potential, relative to this number, for a
searched particle with a relaxation of 1 whose residual is as large as the noise. It was determined on simulated
particles (EMT) that are not used for reported results."""
MAX_LISTED_CANDIDATES, MIN_TYPED_CANDIDATES = 200, 20
"""Largest number of candidates in a result; number of best candidates whose type is always identified from the
atoms."""
MIN_TYPED_WEIGHT = 1e-6
"""Weight above which the type of a candidate is identified from its atoms."""
MIN_RESOLVING_QMAX = 18.0
"""Smallest qmax in 1/Å at which peaks of similar distances are resolved."""
BOND_TOLERANCE = 0.025
"""Largest relative difference between the fitted bond length and that of the bulk metal. A remark is added if the
difference is larger."""
ATOM_COUNT_WIDTH_FACTOR = 1.75
"""Factor that widens the interval of the number of atoms, if the interval comes from the Markov chains of a search and
the scale is free. It was determined on simulated particles that are not used for reported results. Longer chains give
the same intervals."""
MAX_RESIDUAL_RATIO = 5.0
"""Largest ratio of the root mean square residual to the noise that widens this error."""
NORMAL_90 = 1.645
"""Half-width of the central 90 % interval of a normal distribution, in standard deviations."""
MAX_INTENSITY_ENSEMBLE_RW = 0.1
"""Rw of I(Q) above which a distribution does not explain the data. The sizes of a distribution with a larger Rw may be
wrong: they were 37 % too large at an Rw of 0.21 in a simulated sample of Mackay icosahedra."""
SEARCH_BOUNDED_PARAMETERS = ("stretch", "uiso")
"""Parameters whose bounds limit the search and are not physical limits."""


@dataclass(frozen=True, repr=False)
class PdfResult(Result):
    """Answer for one measured PDF. A result of the classifier alone has no candidates.

    `intervals` contains n_atoms, diameter (Å), hexagonal (share of hexagonal layers) for close-packed layers, and
    relaxation for particles that are not rigid.
    """

    technique: ClassVar[str] = "pdf"

    ensemble: Distribution | None = None
    """Description of the sample as a distribution of particles; None if it was not requested or is not possible."""
    classifier_prior: ClassifierPrior | None = None
    """Prediction of the classifier before any fit, and its agreement with the fits; None if no classifier was used."""
    r: np.ndarray | None = None
    """[point] Points in the fitted range: r in Å, or Q in 1/Å for an I(Q)."""
    observed: np.ndarray | None = None
    """[point] Measured G(r) in 1/Å², or I(Q) in the unit of the file."""
    kind: str = "gr"
    """Kind of the fitted curve: gr is G(r), iq is I(Q)."""

    @property
    def sample(self) -> str:
        """Decision of the cross-validation: "single", "distribution" or "undecided"; empty if there is none."""
        return self.ensemble.sample if self.ensemble else ""

    @property
    def type(self) -> str:
        """Structure type with the largest share of a distribution; otherwise the type of the best structure."""
        if self.ensemble and self.sample == "distribution":
            return next(iter(self.ensemble.type_shares), "")
        return self.candidates[0].type if self.candidates else next(iter(self.types), "")

    @property
    def type_probability(self) -> float | None:
        """Probability of `type`; for a distribution, the share of the atoms in particles of this type."""
        if self.ensemble and self.sample == "distribution":
            return self.ensemble.type_shares[self.type].value if self.type else None
        return self.types.get(self.type)

    @property
    def data(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Points r in Å and measured G(r) in the fitted range."""
        return self.r, self.observed

    @property
    def distribution(self) -> dict[str, np.ndarray]:
        """Columns of the size distribution by name (see `Distribution.table`); empty if there is no distribution."""
        return self.ensemble.table if self.ensemble else {}


class SolvedMeasurement(NamedTuple):
    """A measurement with the outcomes of all stages of its analysis, from which the result is built."""

    measurement: Measurement
    """Measurement with the given settings."""
    target: Target
    """Fitted data, with the settings that the fits used."""
    groups: Sequence[CandidateGroup]
    """Candidates of each source."""
    candidates: WeightedCandidates
    """All candidates that were fitted, best first."""
    free: tuple[str, ...]
    """Names of the fitted parameters."""
    inferred_settings: Mapping[str, InferredSetting]
    """Settings that were estimated from the data, by name."""
    diameter_estimate: DiameterEstimate
    """Diameter of the particle, estimated from the decay of G(r)."""
    sample_comparison: SampleComparison | str = ""
    """Comparison of a single cluster with a distribution, or a remark why there is none."""
    search_result: SearchResult | None = None
    """Particles from a search over lattice sites; None if there was no search."""


def build_result(
    empty_result: PdfResult,
    solved_measurement: SolvedMeasurement,
    *,
    max_written: int,
    further_remarks: Sequence[str] = (),
) -> PdfResult:
    """Return the result of a measurement.

    Args:
        empty_result: Result without candidates, but with element, settings and facts.
        solved_measurement: Measurement with its weighted candidates.
        max_written: Number of candidates that the result stores with their atoms and curves.
        further_remarks: Remarks of earlier stages for the message.
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
        types=_type_probabilities(solved_measurement.candidates, listed_candidates, ensemble),
        intervals=_credible_intervals(solved_measurement, listed_candidates),
        free=solved_measurement.free,
        ensemble=ensemble,
        r=solved_measurement.target.r,
        observed=solved_measurement.target.g * solved_measurement.target.unit,
        kind=solved_measurement.measurement.kind,
        facts=empty_result.facts | _solution_facts(solved_measurement),
    )
    return _with_status(result, solved_measurement, further_remarks)


def _with_status(result: PdfResult, solved_measurement: SolvedMeasurement, further_remarks: Sequence[str]) -> PdfResult:
    """Return the result with its status and message. The message starts with the reasons for the status "weak"."""
    best = result.candidates[0]
    range_remarks = _range_remarks(solved_measurement, result.candidates)
    weak_reasons = _weak_reasons(best, solved_measurement)
    if best.source == "network":
        weak_reasons += range_remarks
    composition = composition_remark(solved_measurement.measurement, result.element)
    if composition is not None and composition.is_compound:
        weak_reasons.append(composition.text)
    messages = [
        *weak_reasons,
        *_sample_remarks(solved_measurement.sample_comparison, result.ensemble),
        *_type_remark(result.types, best, result.ensemble),
        *further_remarks,
        *([] if best.source == "network" else range_remarks),
        *_data_end_remark(solved_measurement),
        *_setting_remarks(solved_measurement),
        *_fit_remarks(best, solved_measurement, result.element),
        *([] if composition is None or composition.is_compound else [composition.text]),
        *solved_measurement.measurement.warnings,
    ]
    return dataclasses.replace(result, status="weak" if weak_reasons else "solved", message="; ".join(messages))


def _listed_candidates(solved_measurement: SolvedMeasurement) -> list[Candidate]:
    """Return the best candidates in the form of a result, without atoms and curves."""
    in_credible_set = credible_set(solved_measurement.candidates.weight)
    n_listed = min(MAX_LISTED_CANDIDATES, len(solved_measurement.candidates.fits.rw))
    rw = _unweighted_rw(solved_measurement, n_listed)
    return [
        dataclasses.replace(
            _result_candidate(solved_measurement, row, in_90=bool(in_credible_set[row])), rw=float(rw[row])
        )
        for row in range(n_listed)
    ]


def _unweighted_rw(solved_measurement: SolvedMeasurement, n_candidates: int) -> np.ndarray:
    """Return Rw of the best candidates without weights of the points, also if the data have standard errors."""
    pool, fits, target = (
        solved_measurement.candidates.pool,
        candidates.select_rows(solved_measurement.candidates.fits, slice(0, n_candidates)),
        solved_measurement.target,
    )
    if target.weight is None:
        return fits.rw
    cluster_tables = candidates.cluster_tables(
        pool.select(np.arange(n_candidates)), target, free=solved_measurement.free, start=fits.values
    )
    calculated_curves, _ = fit.fitted_curves(fits, cluster_tables, target)
    return np.linalg.norm(target.g - calculated_curves, axis=1) / np.linalg.norm(target.g)


def _with_atoms_and_curves(
    listed_candidates: Sequence[Candidate], solved_measurement: SolvedMeasurement, *, element: str, max_written: int
) -> list[Candidate]:
    """Return the best few candidates with their atoms, curves, correlations and occupancies."""
    pool, fits, target = (
        solved_measurement.candidates.pool,
        solved_measurement.candidates.fits,
        solved_measurement.target,
    )
    best_fits = candidates.select_rows(fits, slice(0, min(max_written, len(listed_candidates))))
    n_written = len(best_fits.rw)
    written_pool = pool.select(np.arange(n_written))
    cluster_tables = candidates.cluster_tables(
        written_pool, target, free=solved_measurement.free, start=best_fits.values
    )
    calculated_curves, backgrounds = fit.fitted_curves(best_fits, cluster_tables, target)
    return [
        dataclasses.replace(
            listed_candidates[row],
            atoms=_fitted_cluster(pool, fits, row).to_ase(element, target.bond * float(fits.values.stretch[row])),
            calculated=calculated_curves[row] * target.unit,
            background=backgrounds[row] * target.unit,
            correlation=np.asarray(fits.correlation[row], float),
            occupancy=_site_occupancy(pool, row, solved_measurement.search_result),
        )
        for row in range(n_written)
    ]


def _fitted_cluster(pool: CandidatePool, fits: Fit, row: int) -> Cluster:
    """Return a candidate with the fitted displacements of its atoms, in bond lengths."""
    cluster = library.candidate_cluster(*pool.entry(row))
    return cluster._replace(positions=pool.positions(row, float(fits.values.relaxation[row])))


def _solution_facts(solved_measurement: SolvedMeasurement) -> dict[str, float]:
    """Return numbers that the result records in addition to the candidates."""
    facts = {
        "independent": solved_measurement.candidates.effective_points,
        "diameter_estimate": solved_measurement.diameter_estimate.diameter,
    }
    return facts | {f"{name}_error": setting.error for name, setting in solved_measurement.inferred_settings.items()}


def _site_occupancy(pool: CandidatePool, row: int, search_result: SearchResult | None) -> np.ndarray | None:
    """Return the probability that the site of each atom is occupied; None if no Markov chain began at the particle."""
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
    """Return the best candidate's number of atoms, diameter and share of hexagonal layers, with 90 % intervals.

    The intervals are computed from the weights of the candidates. The numbers of atoms of searched particles come from
    Markov chains. Their interval is widened if the scale is free, and by the error of the potential.
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
    if listed_candidates[0].source == "search":
        structure_ratio = _residual_structure(listed_candidates[0], solved_measurement)
        n_atoms = _with_potential_error(n_atoms, listed_candidates[0], structure_ratio)
    intervals = {"n_atoms": n_atoms, "diameter": discrete_interval(diameter[0], diameter, weight=listed_weight)}
    has_layers = np.isfinite(hexagonal)
    if has_layers[0]:
        intervals["hexagonal"] = discrete_interval(
            hexagonal[0], hexagonal[has_layers], weight=listed_weight[has_layers]
        )
    return intervals | _relaxation_interval(listed_candidates[0])


def _relaxation_interval(best: Candidate) -> dict[str, Interval]:
    """Return the 90 % interval of the relaxation of the best candidate; nothing if the candidate is rigid.

    The interval includes the error of the potential, which is proportional to the relaxation and larger away from 0.
    """
    relaxation = best.values.get("relaxation")
    if relaxation is None or relaxation.error is None:
        return {}
    outward, inward = (
        NORMAL_90 * math.hypot(relaxation.error, relative_error * relaxation.value)
        for relative_error in (OUTWARD_POTENTIAL_ERROR, INWARD_POTENTIAL_ERROR)
    )
    below, above = (inward, outward) if relaxation.value >= 0 else (outward, inward)
    return {"relaxation": Interval(relaxation.value, relaxation.value - below, relaxation.value + above)}


def _with_potential_error(n_atoms: Interval, best: Candidate, structure_ratio: float | None) -> Interval:
    """Return the interval of the number of atoms of a searched particle, widened by the error of the potential.

    The error is proportional to the relaxation, up to 1, and to the root mean square residual relative to the noise, up
    to `MAX_RESIDUAL_RATIO`.

    Args:
        n_atoms: Interval without this error.
        best: Searched particle.
        structure_ratio: Mean squared residual divided by the mean squared noise; None if the noise is unknown.
    """
    relaxation = best.values.get("relaxation")
    if relaxation is None or relaxation.error is None:
        return n_atoms
    relative_error = ATOM_COUNT_POTENTIAL_ERROR * min(abs(relaxation.value), 1.0)
    is_negligible = structure_ratio is None or best.rw <= fit_quality.NEGLIGIBLE_RW
    residual_ratio = 1.0 if is_negligible else min(max(math.sqrt(structure_ratio or 0.0), 1.0), MAX_RESIDUAL_RATIO)
    error = NORMAL_90 * relative_error * residual_ratio * n_atoms.value
    low = n_atoms.value - math.hypot(n_atoms.value - n_atoms.low, error)
    high = n_atoms.value + math.hypot(n_atoms.high - n_atoms.value, error)
    return Interval(n_atoms.value, float(math.floor(low)), float(math.ceil(high)))


def _sample_remarks(sample_comparison: SampleComparison | str, ensemble: Distribution | None) -> list[str]:
    """Return remarks on whether the sample is a single structure or a distribution of particles."""
    if not isinstance(sample_comparison, SampleComparison) or ensemble is None:
        return [sample_comparison] if isinstance(sample_comparison, str) and sample_comparison else []
    remarks = []
    if ensemble.sample == "distribution":
        remarks.append(
            "the sample is a distribution of particles: use its mean diameter, width and type shares, because the best "
            "structure is only the most probable single cluster"
        )
    elif not ensemble.holdouts and sample_comparison.validation.target.intensity is not None:
        remarks.append(
            "undecided whether the sample is a single structure or a distribution of particles, because the range of Q "
            "is too short to leave out a part: both are possible"
        )
    elif not ensemble.holdouts:
        remarks.append(
            "undecided whether the sample is a single structure or a distribution of particles, because the signal "
            f"ends at {sample_comparison.signal_end:.1f} Å and a decision needs {cross_validation.MIN_SIGNAL_END:g} Å: "
            "both are possible"
        )
    elif ensemble.sample == "undecided":
        remarks.append(
            "undecided whether the sample is a single structure or a distribution of particles, because both predict "
            f"the data about equally well (Rw {ensemble.rw_holdout_single:.2f} and {ensemble.rw_holdout_ensemble:.2f} "
            "beyond the fitted range): both are possible"
        )
    is_intensity = sample_comparison.validation.target.intensity is not None
    if is_intensity and ensemble.sample != "single" and ensemble.rw > MAX_INTENSITY_ENSEMBLE_RW:
        remarks.append(
            f"no distribution explains I(Q) (Rw {ensemble.rw:.2f}), so its mean diameter, width and shares are not "
            "reliable"
        )
    if ensemble.sample != "single" and (size_limit := distribution.size_limit_remark(ensemble)):
        remarks.append(size_limit)
    return remarks


def _type_remark(types: Mapping[str, float], best: Candidate, ensemble: Distribution | None) -> list[str]:
    """Return a remark if the type of the best structure is undecided between two types; otherwise an empty list."""
    other_types = [name for name in types if name and name != best.type]
    is_distribution = ensemble is not None and ensemble.sample == "distribution"
    if is_distribution or not best.type or not other_types or types[best.type] >= MIN_TYPE_PROBABILITY:
        return []
    return [undecided_type_remark(best.type, other_types[0], types)]


def undecided_type_remark(first: str, second: str, probabilities: Mapping[str, float]) -> str:
    """Return the remark that a type is undecided between two types, with their probabilities."""
    return (
        f"type undecided between {first} and {second} "
        f"(probabilities {probabilities[first]:.2f} and {probabilities[second]:.2f})"
    )


def _type_probabilities(
    weighted_candidates: WeightedCandidates, listed_candidates: Sequence[Candidate], ensemble: Distribution | None
) -> dict[str, float]:
    """Return the total weight of each type, the largest first; for a distribution, the share of the atoms in each type.

    A candidate in `listed_candidates` has the type that is stated there. Every other candidate has the type of its
    family.
    """
    if ensemble is not None and ensemble.sample == "distribution":
        return {name: share.value for name, share in ensemble.type_shares.items()}
    type_names = np.array([FAMILY_TYPES.get(family, "") for family in weighted_candidates.pool.families], dtype=object)
    type_names[: len(listed_candidates)] = [candidate.type for candidate in listed_candidates]
    type_weights = {
        str(type_name): float(weighted_candidates.weight[type_names == type_name].sum())
        for type_name in set(type_names)
    }
    return dict(sorted(type_weights.items(), key=lambda item: (-item[1], item[0])))


def _result_candidate(solved_measurement: SolvedMeasurement, row: int, *, in_90: bool) -> Candidate:
    """Return one candidate in the form of a result, without atoms and curves."""
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
    diameter = pool.longest_distance(row, float(fits.values.relaxation[row])) * bond
    bound_remarks = [
        f"{name} at its bound"
        for name, at_bound in zip(solved_measurement.free, fits.at_bound[row], strict=True)
        if at_bound and not (name == "scale" and solved_measurement.target.absolute)
    ]
    return Candidate(
        source=group.source,
        type=type_name,
        description=_description(
            cluster_library,
            library_row,
            type_name,
            bond,
            diameter=diameter,
            by_atoms=not (type_by_rule or invalid_reason),
        ),
        hexagonal=observed_type.hexagonal_share,
        family=family,
        recipe=str(cluster_library.labels[library_row]),
        n_atoms=int(cluster_library.atoms[library_row]),
        diameter=diameter,
        rw=float(fits.rw[row]),
        weight=float(weight[row]),
        in_90=in_90,
        converged=bool(fits.converged[row]),
        remark=", ".join([*([invalid_reason] if invalid_reason else []), *bound_remarks]),
        values=_fitted_values(fits, row, solved_measurement.free),
        notes={name: column[group_row].item() for name, column in group.notes.items()},
    )


def _description(
    cluster_library: Library, row: int, type_name: str, bond: float, *, diameter: float, by_atoms: bool
) -> str:
    """Return the description of a cluster as one sentence.

    Args:
        cluster_library: Library that contains the cluster.
        row: Index of the cluster in the library.
        type_name: Structure type of the cluster.
        bond: Nearest-neighbour distance of the fit, in Å.
        diameter: Longest distance between two atoms of the fit, in Å.
        by_atoms: Whether the atoms are analysed, which takes some milliseconds. Otherwise the description is derived
            from the family and the recipe of the cluster.
    """
    family, label = str(cluster_library.families[row]), str(cluster_library.labels[row])
    if by_atoms:
        cluster_description = description.describe_cluster(
            library.candidate_cluster(cluster_library, row).positions, family=family, label=label
        )
        return description.sentence(description.rescale(cluster_description, bond)._replace(longest_diameter=diameter))
    return description.outline(family, label, type=type_name, atoms=int(cluster_library.atoms[row]), longest=diameter)


def _fitted_values(fits: Fit, row: int, free: tuple[str, ...]) -> dict[str, Value]:
    """Return all values of one fit. Fitted values have standard errors."""
    errors = {name: float(error) for name, error in zip(free, fits.errors[row], strict=True) if np.isfinite(error)}
    columns = fits.values._asdict()
    return {name: Value(float(columns[name][row]), errors.get(name), UNITS[name]) for name in FIT_PARAMETERS}


def _range_remarks(solved_measurement: SolvedMeasurement, listed_candidates: Sequence[Candidate]) -> list[str]:
    """Return a remark if the data lie outside the range of the network's training; otherwise an empty list.

    The diameter of the particle is the diameter of the best candidate that is not from the network. If there is no such
    candidate, it is estimated from the decay of G(r).
    """
    diameter = next(
        (candidate.diameter for candidate in listed_candidates if candidate.source != "network"),
        solved_measurement.diameter_estimate.diameter,
    )
    training_warnings = [text for group in solved_measurement.groups for text in group.training_warnings(diameter)]
    return [f"outside the range of the network's training: {', '.join(training_warnings)}"] if training_warnings else []


def _weak_reasons(best: Candidate, solved_measurement: SolvedMeasurement) -> list[str]:
    """Return the reasons why the best candidate does not explain the data; an empty list if it does."""
    return fit_quality.weak_fit_reasons(
        rw=best.rw,
        structure_ratio=_residual_structure(best, solved_measurement),
        n_atoms=best.n_atoms,
        max_atoms=max(
            (group.max_atoms for group in solved_measurement.groups if group.source == best.source), default=0
        ),
        at_bound=[name for name in SEARCH_BOUNDED_PARAMETERS if f"{name} at its bound" in best.remark],
    )


def _residual_structure(best: Candidate, solved_measurement: SolvedMeasurement) -> float | None:
    """Return `fit_quality.residual_structure` of the best candidate."""
    measurement, target = solved_measurement.measurement, solved_measurement.target
    assert best.calculated is not None
    residual = target.g - best.calculated / target.unit
    n_parameters = sum(value.error is not None for value in best.values.values())
    if target.intensity is not None:
        return intensity_target.residual_structure(residual, target, n_parameters=n_parameters)
    return fit_quality.residual_structure(
        measurement.relative_to_errors(residual, in_range=True),
        measurement.r,
        measurement.relative_to_errors(measurement.g),
        diameter=best.diameter,
        n_independent=target.n_independent,
        n_parameters=n_parameters,
    )


def _data_end_remark(solved_measurement: SolvedMeasurement) -> list[str]:
    """Return a remark if the data end inside the particle; otherwise an empty list."""
    if solved_measurement.diameter_estimate.data_cover_particle:
        return []
    r_end = solved_measurement.measurement.r[-1]
    return [f"the data end at {r_end:g} Å, probably inside the particle: its size is uncertain"]


def _setting_remarks(solved_measurement: SolvedMeasurement) -> list[str]:
    """Return a remark on each setting that was estimated from the data and replaces the given value."""
    given_settings = {setting.name: setting for setting in solved_measurement.measurement.settings}
    return [
        _inferred_setting_remark(given_settings[name], inferred_setting)
        for name, inferred_setting in solved_measurement.inferred_settings.items()
    ]


def _fit_remarks(best: Candidate, solved_measurement: SolvedMeasurement, element: str) -> list[str]:
    """Return remarks on the bond length, the Q range, the relaxation and the convergence of the best fit."""
    remarks, bond = [], solved_measurement.target.bond
    if best.source != "file" and abs((stretch := best.values["stretch"].value) - 1) > BOND_TOLERANCE:
        remarks.append(
            f"the fitted bond length is {stretch * bond:.2f} Å, that of {element} is {bond:.2f} Å: check --element"
        )
    if (qmax := solved_measurement.measurement.settings_by_name["qmax"]) < MIN_RESOLVING_QMAX:
        remarks.append(
            f"qmax {qmax:g} 1/Å is small: structures with nearly equal Rw cannot be distinguished, so the best one may "
            "be wrong"
        )
    remarks += _relaxation_remarks(solved_measurement, element)
    remarks += _fault_and_bound_remarks(best, solved_measurement.free)
    if not best.converged:
        remarks.append("the best fit did not converge: its values and errors may be wrong")
    return remarks


def _relaxation_remarks(solved_measurement: SolvedMeasurement, element: str) -> list[str]:
    """Return a remark if the best structure stays rigid, or if its metal has no potential of its own."""
    pool = solved_measurement.candidates.pool
    if "relaxation" not in solved_measurement.free or pool.is_invalid[0]:
        return []
    if reason := pool.rigid_reason(0):
        return [f"the structure stays rigid, because {reason}"]
    if pool.field(0) is not None and element not in POTENTIALS:
        return [f"the relaxation of {element} was computed with a generic potential of metals: it is approximate"]
    return []


def _fault_and_bound_remarks(best: Candidate, free: tuple[str, ...]) -> list[str]:
    """Return remarks on a fault of the best candidate and on values at a bound, unless `_weak_reasons` states them."""
    remarks = [text for text in best.remark.split(", ") if text and not text.endswith("at its bound")]
    remarks += [
        f"{name} is at a bound of the fit and has no error"
        for name in free
        if f"{name} at its bound" in best.remark and name not in SEARCH_BOUNDED_PARAMETERS
    ]
    return remarks


def _inferred_setting_remark(given_setting: Setting, inferred_setting: InferredSetting) -> str:
    """Return a remark on a setting that was estimated from the data, with the given value and its origin."""
    origin = {"header": "the header states", "data": "the data start at"}.get(given_setting.origin, "the default is")
    estimate = f"{inferred_setting.value:.3g} ± {inferred_setting.error:.1g} {UNITS[given_setting.name]}"
    return f"{given_setting.name} {estimate} was inferred from the data ({origin} {given_setting.value:g})"
