"""The sizes and types of a sample's particles, with 90 % intervals, and the judgement that they rest on.

A sample as one cluster or a distribution of particles: the judge, given what the sources list.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc import statistics
from jaxstruc.clusters import library, size_classes, structure_type
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.size_classes import SizeClasses
from jaxstruc.io.measurement import Measurement
from jaxstruc.pdf import candidates, cross_validation, screening, target
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool
from jaxstruc.pdf.cross_validation import CrossValidation
from jaxstruc.pdf.ensemble_model import EnsembleModel, ensemble_model
from jaxstruc.pdf.fit import Fit
from jaxstruc.pdf.screening import BinnedDistances
from jaxstruc.pdf.target import Target
from jaxstruc.scattering.cluster_tables import TableRange
from jaxstruc.statistics import Interval, interval_about

INTERVAL_FACTORS = {"mean": 1.1, "width": 1.5, "share": 2.2}
"""How much wider than the posterior's the intervals of mean, width and types' shares are: real particles are no means
of classes. Chosen so that 90 % of simulated samples lie within, on others than those that coverage is reported for."""


@dataclass(frozen=True)
class Holdout:
    """How well models that are fitted up to a cut predict the data beyond it."""

    cut: float
    """Å. What is fitted ends, and what is predicted begins."""
    end: float
    """Å"""
    points: float
    """Independent, of what is predicted."""
    single: float
    """Rw there of the best cluster; so for the next."""
    ensemble: float
    gain: float
    """Of the ensemble over the cluster, in the logarithm of the likelihood."""


@dataclass(frozen=True)
class Distribution:
    """A sample as a distribution of particles, and whether it is one."""

    sample: str
    """single, distribution or undecided."""
    method: str
    """parametric: a lognormal for each type; free: smooth in the logarithm of the size."""
    rw: float
    """Of the ensemble, over the range of the single fits."""
    mean_diameter: Interval
    """Å. Of spheres of equal volume, weighted by volume."""
    width: Interval
    """Standard deviation over mean, weighted by volume."""
    shares: dict[str, Interval]
    """Of atoms, by type, the largest first."""
    holdouts: tuple[Holdout, ...]
    """Predictions beyond each cut, from which `sample` is decided."""
    types: tuple[str, ...]
    """Rows of `volume` and `number`."""
    size: np.ndarray
    """[size] Å. Diameters of spheres of equal volume, even in the logarithm."""
    volume: np.ndarray
    """[type, size] shares of atoms; sum 1."""
    volume_low: np.ndarray
    """[size] ends of the 90 % band of the sum over types; so for the next."""
    volume_high: np.ndarray
    number: np.ndarray
    """[type, size] shares of particles; sum 1."""
    number_low: np.ndarray
    number_high: np.ndarray
    r: np.ndarray
    """[point] Å. Data and predictions; G in 1/Å². So for the next three."""
    observed: np.ndarray
    predicted: np.ndarray
    """By the ensemble fitted to the middle cut."""
    predicted_single: np.ndarray
    """By the cluster that fits best to there."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of a later version."""

    @property
    def rw_holdout_ensemble(self) -> float | None:
        """Mean Rw of the ensemble over the ranges that are held out; None if there are none."""
        return float(np.mean([holdout.ensemble for holdout in self.holdouts])) if self.holdouts else None

    @property
    def rw_holdout_single(self) -> float | None:
        """Mean Rw of the best single cluster over the same ranges."""
        return float(np.mean([holdout.single for holdout in self.holdouts])) if self.holdouts else None

    @property
    def rw_holdout(self) -> float | None:
        """Mean Rw over the same ranges of the model that `sample` names; of the better one if it is undecided."""
        if not self.holdouts:
            return None
        each = {"single": self.rw_holdout_single, "distribution": self.rw_holdout_ensemble}
        return each.get(self.sample, min(self.rw_holdout_single, self.rw_holdout_ensemble))  # type: ignore[type-var]

    @property
    def table(self) -> dict[str, np.ndarray]:
        """The distribution as columns by name: diameter in Å, shares by volume and by number, of all and by type."""
        columns = {"diameter": self.size}
        for name in ("volume", "number"):
            columns[name] = getattr(self, name).sum(axis=0)
            columns |= {f"{name}_{bound}": getattr(self, f"{name}_{bound}") for bound in ("low", "high")}
            columns |= {
                f"{name}_{type_name}": fractions
                for type_name, fractions in zip(self.types, getattr(self, name), strict=True)
            }
        return columns


def size_intervals(
    atom_fractions: Float[np.ndarray, " class"],
    fraction_draws: Float[np.ndarray, "draw class"],
    class_sizes: Float[np.ndarray, " class"],
) -> tuple[Interval, Interval]:
    """Return mean and width of the sizes.

    Args:
        atom_fractions: of atoms, of each class.
        fraction_draws: shares from the posterior.
        class_sizes: of each class, in Å.
    """

    def moments(fractions):
        mean = fractions @ class_sizes
        return mean, np.sqrt(np.maximum(fractions @ class_sizes**2 - mean**2, 0.0)) / mean

    mean, width = (
        interval_about(float(value), draws, wider=INTERVAL_FACTORS[name])
        for name, value, draws in zip(("mean", "width"), moments(atom_fractions), moments(fraction_draws), strict=True)
    )
    return mean, width


def type_intervals(
    atom_fractions: Float[np.ndarray, " class"], fraction_draws: Float[np.ndarray, "draw class"], types: np.ndarray
) -> dict[str, Interval]:
    """Return the share of atoms of each type, the largest first; arguments as in `sizes`."""
    intervals = {}
    for name in dict.fromkeys(types.tolist()):
        is_type = types == name
        type_interval = interval_about(
            float(atom_fractions[is_type].sum()),
            fraction_draws[:, is_type].sum(axis=1),
            wider=INTERVAL_FACTORS["share"],
        )
        intervals[name] = Interval(type_interval.value, type_interval.low, min(type_interval.high, 1.0))
    return dict(sorted(intervals.items(), key=lambda entry: -entry[1].value))


def tabulate_fractions(
    atom_fractions: Float[np.ndarray, "*draw class"], classes: SizeClasses, types: tuple[str, ...]
) -> tuple[Float[np.ndarray, "*draw type size"], Float[np.ndarray, "*draw type size"]]:
    """Return shares by volume and by number of each type and size; each sum to 1.

    Args:
        atom_fractions: of atoms, of each class.
        classes: what they are.
        types: rows.
    """
    type_rows = np.array([types.index(name) for name in classes.structure_types])
    volume, number = (np.zeros((*atom_fractions.shape[:-1], len(types), len(classes.size_grid))) for _ in range(2))
    for column in range(len(classes.mean_size)):  # classes of a type and a size may be several packings
        index = (..., type_rows[column], classes.size_index[column])
        volume[index] += atom_fractions[..., column]
        number[index] += atom_fractions[..., column] / classes.mean_size[column] ** 3
    return volume, number / number.sum(axis=(-2, -1), keepdims=True)


MIN_ENSEMBLE_CLUSTERS = 10
"""Compact clusters of which a distribution can be made."""
RIVALS_PER_TYPE = 2
"""Of each type, compared beyond the fit."""
RIVALS_PER_SOURCE = 4
"""Best candidates of each source, compared beyond the fit."""
STRENGTHS_BY_METHOD = {
    "auto": (0.0, *cross_validation.DEPARTURE_STRENGTHS),
    "parametric": (0.0,),
    "free": cross_validation.DEPARTURE_STRENGTHS,
}
"""Strengths tried for each way to ask for an ensemble."""
RANGE_STEP, HOLDOUT_BASIS_MARGIN = 10.0, 20.0
"""Å, in which the reach of the data is rounded up; functions of a basis beyond its independent points."""
QMAX_STEP, Q_POINTS_STEP = 8.0, 128.0
"""Steps in which Q of the templates, and points of Q, are rounded up."""
LARGE_SIZE_FRACTION, MAX_LARGE_SIZE_SHARE = 0.85, 0.2
"""Part of the largest size, and share of the atoms beyond it, from which a distribution reaches the edge."""


class LibraryClasses(NamedTuple):
    """A library as a judge needs it."""

    group: CandidateGroup
    size_classes: SizeClasses
    ensemble_model: EnsembleModel
    binned_distances: BinnedDistances


class LibraryCache(NamedTuple):
    """What files of a run share, by the library's identity and the span of a file."""

    library_classes: dict[tuple[int, TableRange], LibraryClasses | None]


class CrossValidatedSample(NamedTuple):
    """The comparison of one cluster with many, beyond the fit."""

    judged: CrossValidation
    listed: LibraryClasses
    types: dict[str, float]
    """Gain of each type in the logarithm of the likelihood, by what its best say beyond the fit; the best has 0."""
    end: float
    """Å. Of the signal."""


def cross_validate_sample(
    measurement: Measurement,
    target: Target,
    groups: Sequence[CandidateGroup],
    pool: CandidatePool,
    fits: Fit,
    *,
    signal_end: float,
    free: tuple[str, ...],
    holdout_rows: np.ndarray,
    library_cache: LibraryCache,
    method: str,
    holdout_search: cross_validation.ClusterSearch | None = None,
) -> CrossValidatedSample | str:
    """Return the judgement of a sample, or why there is none.

    Args:
        measurement: the data.
        target: the target of the fits.
        groups: candidates of each source, as listed.
        pool: those fitted, best first.
        fits: of these.
        signal_end: of the signal, in Å.
        free: what was fitted.
        holdout_rows: rows of the library that are tried at each cut.
        library_cache: of the run.
        method: auto, parametric or free.
        holdout_search: what finds clusters that are not listed, at each cut anew.
    """
    holdout_data = _holdout_data(measurement, target, min(signal_end, cross_validation.MAX_HOLDOUT_R))
    library_groups = [group for group in groups if group.source != "network"]
    if not library_groups:
        return "no distribution: it takes a library"
    library_classes = _library_classes(library_groups[0], holdout_data, library_cache)
    if library_classes is None:
        return f"no distribution: the library has fewer than {MIN_ENSEMBLE_CLUSTERS} clusters"
    rivals, rival_types = _select_rivals(pool, fits)
    best_library, library_row = pool.entry(0)
    try:
        validation = cross_validation.cross_validate(
            holdout_data,
            library_classes.ensemble_model,
            values=candidates.select_rows(fits.values, 0),
            mean_size=float(size_classes.candidate_sizes(best_library, np.array([library_row]))[0]) * target.bond,
            libraries=[
                (library_classes.group, screening.select_candidates(library_classes.binned_distances, holdout_rows))
            ],
            rivals=rivals,
            free=free,
            strengths=STRENGTHS_BY_METHOD[method],
            search=holdout_search,
        )
    except ValueError as error:  # data too short to be cut
        return f"no distribution: {error}"
    return CrossValidatedSample(
        validation, library_classes, _type_gains(validation, rival_types), holdout_data.signal_end
    )


def sample_distribution(sample_model: CrossValidatedSample, target: Target, ensemble_curve: np.ndarray) -> Distribution:
    """Return what a result says of a judged sample.

    Args:
        sample_model: of `judged`.
        target: the target of the single fits.
        ensemble_curve: [point] G(r) of the ensemble there.
    """
    validation, library_classes = sample_model.judged, sample_model.listed
    share, share_draws = cross_validation.posterior_fractions(validation, library_classes.ensemble_model)
    class_diameters = np.asarray(library_classes.ensemble_model.size, float) * float(
        validation.ensemble_fit.values.stretch
    )
    mean, width = size_intervals(share, share_draws, class_diameters)
    types = tuple(dict.fromkeys(library_classes.size_classes.structure_types.tolist()))
    volume, number = tabulate_fractions(share, library_classes.size_classes, types)
    grid_draws = tabulate_fractions(share_draws, library_classes.size_classes, types)
    bands = [statistics.quantiles(entry.sum(axis=1), statistics.CENTRAL_90) for entry in grid_draws]
    strength_index = validation.strengths.index(validation.strength)
    middle_comparison = validation.comparisons[len(validation.comparisons) // 2] if validation.comparisons else None
    no_points = np.zeros(0)
    return Distribution(
        sample=validation.sample,
        method="free" if validation.strength else "parametric",
        rw=cross_validation.prediction(target.r, target.g, ensemble_curve, background=target.background).rw,
        mean_diameter=mean,
        width=width,
        shares=type_intervals(share, share_draws, library_classes.size_classes.structure_types),
        holdouts=tuple(
            Holdout(
                entry.cut.cut,
                entry.cut.end,
                entry.n_independent,
                entry.single_prediction.rw,
                entry.ensemble_predictions[strength_index].rw,
                cross_validation.gain(
                    entry.single_prediction, entry.ensemble_predictions[strength_index], entry.n_independent
                ),
            )
            for entry in validation.comparisons
        ),
        types=types,
        size=library_classes.size_classes.size_grid * target.bond * float(validation.ensemble_fit.values.stretch),
        volume=volume,
        volume_low=bands[0][0],
        volume_high=bands[0][1],
        number=number,
        number_low=bands[1][0],
        number_high=bands[1][1],
        r=middle_comparison.r if middle_comparison else no_points,
        observed=middle_comparison.g if middle_comparison else no_points,
        predicted=middle_comparison.curves[1 + strength_index] if middle_comparison else no_points,
        predicted_single=middle_comparison.curves[0] if middle_comparison else no_points,
    )


def size_limit_remark(ensemble: Distribution) -> str:
    """Return in words that a distribution reaches the largest sizes known; empty where it does not."""
    is_large = ensemble.size > LARGE_SIZE_FRACTION * ensemble.size[-1]
    if (share := float(ensemble.volume[:, is_large].sum())) < MAX_LARGE_SIZE_SHARE:
        return ""
    return f"{share:.0%} of the atoms lie in particles as large as any known, {ensemble.size[-1]:.0f} Å"


def _holdout_data(measurement: Measurement, fit_target: Target, signal_end: float) -> cross_validation.HoldoutData:
    """Return the data, and sizes padded by the end of their signal in steps, so that few compilations do."""
    in_range = measurement.r >= fit_target.r[0] - 1e-9
    r, g = measurement.r[in_range], measurement.g[in_range]
    r_end = _round_up(max(signal_end, float(fit_target.r[-1])), RANGE_STEP)
    padded_range = target.span(rmax=r_end, qmax=fit_target.qmax, diameter=size_classes.MAX_CLASS_SIZE * fit_target.bond)
    span = TableRange(padded_range.max_distance, _round_up(padded_range.qmax, QMAX_STEP))
    n_q_points = target.n_q_nodes(r_end, fit_target.qmin, fit_target.qmax, span)
    basis_size = (r_end - r[0]) * (fit_target.qmax - fit_target.qmin) / math.pi + HOLDOUT_BASIS_MARGIN
    return cross_validation.HoldoutData(
        r,
        g,
        fit_target,
        signal_end,
        span,
        int(_round_up(n_q_points, Q_POINTS_STEP)),
        int(_round_up(basis_size, Q_POINTS_STEP / 2)),
    )


def _round_up(value: float, step: float) -> float:
    return step * math.ceil(value / step - 1e-9)


def _library_classes(
    group: CandidateGroup, holdout_data: cross_validation.HoldoutData, library_cache: LibraryCache
) -> LibraryClasses | None:
    """Return a library's classes, made once a run and span; None where it has too few clusters."""
    key = id(group.library), holdout_data.span
    if key not in library_cache.library_classes:
        library_cache.library_classes[key] = None
        if len(group.rows) >= MIN_ENSEMBLE_CLUSTERS:
            same_library = (
                entry.size_classes
                for (library_id, _), entry in library_cache.library_classes.items()
                if library_id == key[0] and entry
            )
            library_size_classes = next(same_library, None) or size_classes.build_size_classes(
                group.library, group.rows, _candidate_packings(group)
            )
            bond, span = holdout_data.target.bond, holdout_data.span
            library_cache.library_classes[key] = LibraryClasses(
                group, library_size_classes, ensemble_model(library_size_classes, bond=bond, span=span),
                screening.binned_distances(group.library, group.rows, bond=bond, span=span),
            )  # fmt: skip
    return library_cache.library_classes[key]


def _candidate_packings(group: CandidateGroup) -> np.ndarray:
    """Return the packing of each candidate: by its rule, or by its atoms where the user lists it."""
    if group.source == "library":
        return size_classes.candidate_packings(group.library, group.rows)
    return np.array(
        [
            structure_type.identify_structure_type(library.candidate_cluster(group.library, int(row)).positions).name
            or "other"
            for row in group.rows
        ],
        object,
    )


def _select_rivals(pool: CandidatePool, fits: Fit) -> tuple[CandidatePool, list[str]]:
    """Return the best few candidates of each type and source, and their types."""
    types = np.array([FAMILY_TYPES.get(family, "") for family in pool.families], object)
    usable_rows = np.flatnonzero(np.isfinite(fits.rw) & ~pool.has_fault)
    row_blocks = [
        usable_rows[types[usable_rows] == type_name][:RIVALS_PER_TYPE]
        for type_name in dict.fromkeys(types.tolist())
        if type_name
    ]
    row_blocks += [
        usable_rows[pool.group[usable_rows] == group_index][:RIVALS_PER_SOURCE]
        for group_index in range(len(pool.groups))
    ]
    rows = np.unique(np.concatenate(row_blocks))
    return pool.select(rows), types[rows].tolist()


def _type_gains(validation: CrossValidation, rival_types: Sequence[str]) -> dict[str, float]:
    """Return the mean gain of each type over the best one; only where there are cuts."""
    gains: dict[str, list[float]] = {}
    for comparison in validation.comparisons:
        best_squares = {
            type_name: np.nanmin(
                comparison.rival_squares[[rival_type == type_name for rival_type in rival_types]], initial=np.inf
            )
            for type_name in set(rival_types)
        }
        minimum_squares = min(best_squares.values(), default=np.inf)
        if not np.isfinite(minimum_squares):  # no rival could be fitted there
            continue
        for type_name, squares in best_squares.items():
            gains.setdefault(type_name, []).append(
                0.5 * comparison.n_independent * float(np.log(minimum_squares / squares))
            )
    return {type_name: float(np.mean(values)) for type_name, values in gains.items()}
