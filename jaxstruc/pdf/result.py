"""The result of a measured PDF: structures with weights, and the sample as a distribution of particles.

Ranked candidates and their fits as a `PdfResult`: what is said of each, and whether the best explains the data.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from jaxstruc.clusters import description, library, structure_type
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import Library
from jaxstruc.io import measurement as measurement_settings
from jaxstruc.io.measurement import Measurement
from jaxstruc.parameters import FIT_PARAMETERS, UNITS
from jaxstruc.pdf import candidates, cross_validation, distribution, fit, fit_quality
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool
from jaxstruc.pdf.classifier_prior import ClassifierPrior
from jaxstruc.pdf.distribution import CrossValidatedSample, Distribution
from jaxstruc.pdf.fit import Fit
from jaxstruc.pdf.instrument import InferredSetting
from jaxstruc.pdf.screening import DiameterEstimate
from jaxstruc.pdf.site_search import SearchResult
from jaxstruc.pdf.target import Target
from jaxstruc.result import Candidate, Result, Value
from jaxstruc.statistics import Interval, credible_set, discrete_interval

MIN_TYPE_PROBABILITY = 0.7
"""Probability of a type below which the message calls it undecided."""


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
            return next(iter(self.ensemble.shares), "")
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


MAX_LISTED_CANDIDATES, MIN_TYPED_CANDIDATES = 200, 20
"""Candidates in a result; and how many of them, at least, have their type by their atoms."""
MIN_TYPED_WEIGHT = 1e-6
"""Weight from which all have."""
MIN_DISTINGUISHING_QMAX = 18.0
"""1/Å. Below such a qmax, near distances are hardly told apart."""
BOND_TOLERANCE = 0.025
"""Relative, by which a metal's bonds in particles differ from those in bulk by less."""
ATOM_COUNT_WIDENING = 1.75
"""Times as wide as walks say is the interval of the number of atoms where the scale is free: measured on simulated
particles of other seeds than those reported, which are mostly larger than found. Longer walks say the same."""
SEARCH_BOUNDED_PARAMETERS = ("stretch", "uiso")
"""Values whose bounds are those of the search, not of physics."""


class WeightedCandidates(NamedTuple):
    """What candidates weigh, best first."""

    weight: np.ndarray
    """[candidate]; sum 1."""
    effective_points: float
    """Points that the best fit's residual counts for."""


def build_result(
    empty_result: PdfResult,
    measurement: Measurement,
    target: Target,
    groups: Sequence[CandidateGroup],
    pool: CandidatePool,
    fits: Fit,
    weighted_candidates: WeightedCandidates,
    *,
    free: tuple[str, ...],
    max_written: int,
    inferred_settings: Mapping[str, InferredSetting],
    diameter_estimate: DiameterEstimate,
    sample_model: CrossValidatedSample | str = "",
    search_result: SearchResult | None = None,
    extra_remarks: Sequence[str] = (),
) -> PdfResult:
    """Return the result of ranked candidates and their fits.

    Args:
        empty_result: the result without a candidate.
        measurement: its settings as they were given.
        target: the target, its settings as they were used.
        groups: candidates of each source, as they came.
        pool: all that were fitted, best first.
        fits: of these.
        weighted_candidates: their weights.
        free: what was fitted.
        max_written: candidates with atoms and curves.
        inferred_settings: settings that the data corrected.
        diameter_estimate: the particle's size as the data show it.
        sample_model: the judgement between one cluster and many, or why there is none.
        search_result: what a search over lattice sites found, where there was one.
        extra_remarks: what else is to be said.
    """
    best_fits = candidates.select_rows(fits, slice(0, max_written))
    cluster_tables = candidates.cluster_tables(pool.select(np.arange(len(best_fits.rw))), target)
    curves, backgrounds = fit.curves(best_fits, cluster_tables, target)
    weight, effective_points = weighted_candidates
    in_credible_set = credible_set(weight)
    listed_candidates = [
        _result_candidate(pool, fits, row, target, free, float(weight[row]), bool(in_credible_set[row]))
        for row in range(min(MAX_LISTED_CANDIDATES, len(fits.rw)))
    ]
    for row in range(len(best_fits.rw)):
        atoms = _stretched_atoms(pool, fits, row, target, empty_result.element)
        listed_candidates[row] = dataclasses.replace(
            listed_candidates[row],
            atoms=atoms,
            calculated=curves[row],
            background=backgrounds[row],
            correlation=np.asarray(fits.correlation[row], float),
            occupancy=_site_occupancy(pool, row, search_result),
        )
    ensemble = None
    if isinstance(sample_model, CrossValidatedSample):
        holdout_points = cross_validation.make_holdout_points(sample_model.judged.target, target.r)
        ensemble_curve = cross_validation.ensemble_curve(
            sample_model.judged.ensemble_fit, sample_model.listed.ensemble_model, holdout_points
        )
        ensemble = distribution.sample_distribution(sample_model, target, ensemble_curve)
    range_remarks = _range_remarks(groups, listed_candidates, diameter_estimate.diameter)
    weak_reasons = _weak_reasons(listed_candidates[0], measurement, target, groups, target.g - curves[0], range_remarks)
    remarks = [] if listed_candidates[0].source == "network" else _training_remark(range_remarks)
    types = _type_probabilities(pool, listed_candidates, weight)
    remarks = [
        *_sample_remarks(sample_model, ensemble),
        *_type_remark(types, listed_candidates[0], ensemble),
        *extra_remarks,
        *remarks,
    ]
    remarks += (
        [] if diameter_estimate.is_covered else [f"the data end at {measurement.r[-1]:g} Å, before the particle does"]
    )
    return dataclasses.replace(
        empty_result,
        status="weak" if weak_reasons else "solved",
        message="; ".join(
            [
                *weak_reasons,
                *remarks,
                *_remarks(measurement, listed_candidates[0], empty_result.element, target.bond, inferred_settings),
            ]
        ),
        candidates=tuple(listed_candidates),
        n_fitted=len(fits.rw),
        ties=int(in_credible_set.sum()),
        types=types,
        intervals=_credible_intervals(pool, listed_candidates, weight, search_result, absolute=target.absolute),
        free=free,
        ensemble=ensemble,
        r=target.r,
        observed=target.g,
        facts=empty_result.facts
        | {"independent": effective_points, "diameter_estimate": diameter_estimate.diameter}
        | {f"{name}_error": setting.error for name, setting in inferred_settings.items()},
    )


def _site_occupancy(pool: CandidatePool, row: int, search_result: SearchResult | None) -> np.ndarray | None:
    """Return how sure each atom of a searched particle is; None where no walk began from it."""
    group_row = int(pool.group_row[row])
    if (
        search_result is None
        or pool.groups[pool.group[row]] is not search_result.group
        or group_row >= len(search_result.occupancy)
    ):
        return None
    return search_result.occupancy[group_row]


def _credible_intervals(
    pool: CandidatePool,
    listed_candidates: Sequence[Candidate],
    weight: np.ndarray,
    search_result: SearchResult | None,
    *,
    absolute: bool,
) -> dict[str, Interval]:
    """Return the best's number of atoms, diameter and share of hexagonal layers, with what all candidates say of them.

    Of searched particles the walks tell the number of atoms, `WIDER` where the scale is free.
    """
    atoms, share = pool.atoms.astype(float), weight
    if search_result is not None:
        from_search = np.array([group is search_result.group for group in pool.groups])[pool.group]
        atoms = np.concatenate([atoms[~from_search], search_result.atom_counts])
        share = np.concatenate([weight[~from_search], weight[from_search].sum() * search_result.atom_count_weights])
    listed_weight = weight[: len(listed_candidates)]
    diameter, hexagonal = (
        np.array([getattr(candidate, name) for candidate in listed_candidates], float)
        for name in ("diameter", "hexagonal")
    )
    width_factor = ATOM_COUNT_WIDENING if search_result is not None and not absolute else 1.0
    n_atoms = discrete_interval(listed_candidates[0].n_atoms, atoms, weight=share, wider=width_factor)
    intervals = {"n_atoms": n_atoms, "diameter": discrete_interval(diameter[0], diameter, weight=listed_weight)}
    has_layers = np.isfinite(hexagonal)
    if has_layers[0]:
        intervals["hexagonal"] = discrete_interval(
            hexagonal[0], hexagonal[has_layers], weight=listed_weight[has_layers]
        )
    return intervals


def _sample_remarks(sample_model: CrossValidatedSample | str, ensemble: Distribution | None) -> list[str]:
    """Return what is to be said of the sample as one cluster or many."""
    if not isinstance(sample_model, CrossValidatedSample) or ensemble is None:
        return [sample_model] if isinstance(sample_model, str) and sample_model else []
    remarks = []
    if ensemble.sample == "distribution":
        remarks.append("this is the most likely member of a distribution of particles")
    elif not ensemble.holdouts:
        remarks.append(
            f"one cluster or many: undecided, the signal ends at {sample_model.end:.1f} Å, too near to predict any"
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
    """Return between which types a single cluster is undecided; empty if its type is probable, or not known."""
    rivals = [name for name in types if name and name != best.type]
    many = ensemble is not None and ensemble.sample == "distribution"
    if many or not best.type or not rivals or types[best.type] >= MIN_TYPE_PROBABILITY:
        return []
    return [f"type undecided between {best.type} and {rivals[0]}"]


def _type_probabilities(
    pool: CandidatePool, listed_candidates: Sequence[Candidate], weight: np.ndarray
) -> dict[str, float]:
    """Return the weight of each type: by the atoms of those that weigh something, by the family of the others."""
    type_names = np.array([FAMILY_TYPES.get(family, "") for family in pool.families], dtype=object)
    type_names[: len(listed_candidates)] = [candidate.type for candidate in listed_candidates]
    shares = {str(type_name): float(weight[type_names == type_name].sum()) for type_name in set(type_names)}
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def _result_candidate(
    pool: CandidatePool, fits: Fit, row: int, target: Target, free: tuple[str, ...], weight: float, in_90: bool
) -> Candidate:
    """Return what a result says of one candidate."""
    group, (cluster_library, library_row) = pool.groups[pool.group[row]], pool.entry(row)
    group_row = int(pool.group_row[row])
    family = str(cluster_library.families[library_row])
    bounded_names = [name for name, at_bound in zip(free, fits.at_bound[row], strict=True) if at_bound]
    fault = group.faults.get(group_row, "")
    type_by_rule = row >= MIN_TYPED_CANDIDATES and weight < MIN_TYPED_WEIGHT and family in FAMILY_TYPES
    observed_type = (
        structure_type.UNKNOWN_TYPE
        if type_by_rule
        else structure_type.identify_structure_type(library.candidate_cluster(cluster_library, library_row).positions)
    )
    bond = target.bond * float(fits.values.stretch[row])
    type_ = observed_type.name or FAMILY_TYPES.get(family, "")
    return Candidate(
        source=group.source,
        type=type_,
        description=_description(cluster_library, library_row, type_, bond, in_full=not (type_by_rule or fault)),
        hexagonal=observed_type.hexagonal_share,
        family=family,
        recipe=str(cluster_library.labels[library_row]),
        n_atoms=int(cluster_library.atoms[library_row]),
        diameter=float(cluster_library.diameter[library_row]) * bond,
        rw=float(fits.rw[row]),
        weight=weight,
        in_90=in_90,
        converged=bool(fits.converged[row]),
        remark=", ".join([*([fault] if fault else []), *(f"{name} at its bound" for name in bounded_names)]),
        values=_fitted_values(fits, row, free),
        notes={name: column[group_row].item() for name, column in group.notes.items()},
    )


def _description(own: Library, index: int, type_: str, bond: float, *, in_full: bool) -> str:
    """Return a listed cluster in words: by its atoms, which takes some milliseconds, or by its rule alone.

    Args:
        own: the library that lists it.
        index: of the cluster in it.
        type_: of the cluster.
        bond: nearest-neighbour distance of the fit, in Å.
        in_full: whether its atoms are looked at.
    """
    family, label = str(own.families[index]), str(own.labels[index])
    if in_full:
        words = description.describe_cluster(
            library.candidate_cluster(own, index).positions, family=family, label=label
        )
        return description.sentence(description.rescale(words, bond))
    atoms, longest = int(own.atoms[index]), float(own.diameter[index]) * bond
    return description.outline(family, label, type=type_, atoms=atoms, longest=longest)


def _fitted_values(fits: Fit, row: int, free: tuple[str, ...]) -> dict[str, Value]:
    """Return the values of one fit, with the standard errors of those fitted."""
    errors = {name: float(error) for name, error in zip(free, fits.errors[row], strict=True) if np.isfinite(error)}
    columns = fits.values._asdict()
    return {name: Value(float(columns[name][row]), errors.get(name), UNITS[name]) for name in FIT_PARAMETERS}


def _stretched_atoms(pool: CandidatePool, fits: Fit, row: int, target: Target, element: str):
    """Return the atoms of a candidate, with the fitted stretch."""
    return library.candidate_cluster(*pool.entry(row)).to_ase(element, target.bond * float(fits.values.stretch[row]))


def _range_remarks(
    groups: Sequence[CandidateGroup], listed_candidates: Sequence[Candidate], size_from_data: float
) -> list[str]:
    """Return what lies outside that which a source knows; the particle's size is the library's best's, or read."""
    diameter = next(
        (candidate.diameter for candidate in listed_candidates if candidate.source != "network"), size_from_data
    )
    return [text for group in groups for text in group.range_warnings(diameter)]


def _training_remark(range_remarks: Sequence[str]) -> list[str]:
    return [f"outside training: {', '.join(range_remarks)}"] if range_remarks else []


def _weak_reasons(
    best: Candidate,
    measurement: Measurement,
    target: Target,
    groups: Sequence[CandidateGroup],
    residual: np.ndarray,
    range_remarks: Sequence[str],
) -> list[str]:
    """Return why the best candidate is no good answer."""
    n_fitted = sum(value.error is not None for value in best.values.values())
    residual_structure = fit_quality.residual_structure(
        residual, measurement.r, measurement.g,
        diameter=best.diameter, n_independent=target.n_independent, n_parameters=n_fitted,
    )  # fmt: skip
    return fit_quality.weak_fit_reasons(
        rw=best.rw,
        structure_ratio=residual_structure,
        n_atoms=best.n_atoms,
        max_atoms=max((group.max_atoms for group in groups if group.source == best.source), default=0),
        at_bound=[name for name in SEARCH_BOUNDED_PARAMETERS if f"{name} at its bound" in best.remark],
    ) + (_training_remark(range_remarks) if best.source == "network" else [])


def _remarks(
    measurement: Measurement,
    best: Candidate,
    element: str,
    bond: float,
    inferred_settings: Mapping[str, InferredSetting],
) -> list[str]:
    """Return what else a person should know."""
    remarks = [
        _inferred_setting_remark(name, measurement.settings_by_name[name], inferred_setting)
        for name, inferred_setting in inferred_settings.items()
    ]
    if best.source != "file" and abs((stretch := best.values["stretch"].value) - 1) > BOND_TOLERANCE:
        remarks.append(f"bonds of {stretch * bond:.2f} Å, {element} has {bond:.2f}: check --element")
    if (qmax := measurement.settings_by_name["qmax"]) < MIN_DISTINGUISHING_QMAX:
        remarks.append(f"qmax {qmax:g} 1/Å is short: near ties say little")
    if best.remark:
        remarks.append(best.remark)
    if not best.converged:
        remarks.append("fit not converged")
    remarks += measurement_settings.composition_warnings(measurement, element)
    return [*remarks, *measurement.warnings]


def _inferred_setting_remark(name: str, given_value: float, inferred_setting: InferredSetting) -> str:
    """Return how a setting that the data correct differs from the given one."""
    origin = "the header says" if name == "qmin" else "default"
    return f"{name} {inferred_setting.value:.3g} ± {inferred_setting.error:.1g} inferred ({origin} {given_value:g})"
