"""Distribution of the sizes and types of a sample's particles, with 90 % intervals.

The clusters of a library are grouped into classes of equal packing (e.g. bcc) and similar size. An ensemble is a
mixture of these classes, with a fraction of the atoms in each class. `cross_validate_sample` compares a single cluster
with ensembles and decides whether the sample is a distribution of particles. `describe_distribution` summarizes the
best ensemble.

The size of a particle is the diameter of a sphere of equal volume, in Å.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc import statistics
from jaxstruc.clusters import known_phases, library, size_classes, structure_type
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.size_classes import SizeClasses
from jaxstruc.io.measurement import Measurement
from jaxstruc.pdf import candidates, cross_validation, screening
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool, FittedCandidates
from jaxstruc.pdf.cross_validation import CrossValidation, HoldoutModels
from jaxstruc.pdf.ensemble_model import (
    ClassRelaxation,
    EnsembleModel,
    class_stretches,
    ensemble_model,
    relax_classes,
    weight_packings,
)
from jaxstruc.pdf.screening import BinnedDistances, BinnedLibraries
from jaxstruc.pdf.target import (
    ArraySizes,
    Target,
    TooFewPointsError,
    array_sizes,
    background_terms,
    smooth_background_terms,
)
from jaxstruc.scattering.cluster_tables import TableRange
from jaxstruc.statistics import Interval, interval_about

INTERVAL_FACTORS = {"mean": 1.1, "width": 1.5, "share": 2.2}
"""Factors that widen the posterior intervals of the mean size, the relative width and the shares of types. Intervals
without these factors are too narrow, because particles differ from the mean of their class. With the factors, the
intervals contain the true value for 90 % of simulated samples."""
MIN_ENSEMBLE_CLUSTERS = 10
"""Smallest number of clusters in a library for which a distribution is fitted."""
RIVALS_PER_TYPE = 2
"""Number of candidates of each type whose predictions are compared."""
RIVALS_PER_SOURCE = 4
"""Number of candidates of each source whose predictions are compared."""
LARGE_SIZE_FRACTION, MAX_LARGE_SIZE_SHARE = 0.85, 0.2
"""Fraction of the largest size above which a size is called large; smallest share of the atoms in large particles for
which a remark is made."""

MAX_SINGLE_WIDTH = 0.2
"""Largest width of a distribution that a single particle of irregular shape can explain. The width that is fitted to
small irregular particles reaches 0.13, with an interval up to 0.23."""
MIN_RW_RATIO, MIN_PARTICLE_GAIN = 2.0, 10.0
"""Smallest ratio of the ensemble's Rw to that of a particle, and smallest gain in the logarithm of the posterior of the
particle over the ensemble, at which the sample is one particle. A search adapts hundreds of sites, so it often fits
distributions somewhat better than an ensemble."""
MIN_COMPARED_RW = 1e-3
"""Smallest Rw in the comparison of a particle with an ensemble. It is the accuracy of the simulation."""


@dataclass(frozen=True)
class Holdout:
    """Misfits of predictions beyond a cut in r. The models are fitted up to the cut."""

    cut: float
    """End of the fitted range and start of the predicted range, in Å."""
    end: float
    """End of the predicted range, in Å."""
    points: float
    """Number of independent points in the predicted range."""
    single: float
    """Rw of the best single cluster in the predicted range."""
    ensemble: float
    """Rw of the ensemble in the predicted range."""
    gain: float
    """Log-likelihood of the ensemble's prediction minus that of the single cluster's prediction."""


@dataclass(frozen=True)
class Distribution:
    """Sizes and types of a sample's particles, with the decision whether the sample is a distribution."""

    sample: str
    """Decision of the cross-validation: "single", "distribution" or "undecided"."""
    method: str
    """Form of the size distribution: "parametric" is a lognormal for each packing, "free" is any smooth function of the
    logarithm of the size."""
    rw: float
    """Rw of the ensemble with a smooth background, over the range in which single clusters are fitted."""
    mean_diameter: Interval
    """Volume-weighted mean diameter in Å. The diameter of a particle is that of a sphere of equal volume."""
    width: Interval
    """Volume-weighted standard deviation of the diameter, relative to the mean."""
    type_shares: dict[str, Interval]
    """Share of the atoms in particles of each structure type, the largest first."""
    holdouts: tuple[Holdout, ...]
    """Predictions beyond each cut, on which the decision `sample` is based."""
    types: tuple[str, ...]
    """Structure type of each row of `volume` and `number`."""
    size: np.ndarray
    """[size] Diameters of spheres of equal volume in Å, at even steps of their logarithm."""
    volume: np.ndarray
    """[type, size] Volume-weighted distribution: shares of the atoms, with the sum 1."""
    volume_low: np.ndarray
    """[size] Lower end of the 90 % band of `volume`, summed over types."""
    volume_high: np.ndarray
    """[size] Upper end of the 90 % band of `volume`, summed over types."""
    number: np.ndarray
    """[type, size] Number-weighted distribution: shares of the particles, with the sum 1."""
    number_low: np.ndarray
    """[size] Lower end of the 90 % band of `number`, summed over types."""
    number_high: np.ndarray
    """[size] Upper end of the 90 % band of `number`, summed over types."""
    r: np.ndarray
    """[point] Points of r of the data and of the predictions for the middle cut, in Å."""
    observed: np.ndarray
    """[point] Measured G(r), in 1/Å²."""
    predicted: np.ndarray
    """[point] G(r) of the ensemble that is fitted up to the middle cut, in 1/Å²."""
    predicted_single: np.ndarray
    """[point] G(r) of the best single cluster that is fitted up to the middle cut, in 1/Å²."""
    calculated: np.ndarray | None = None
    """[point] G(r) of the ensemble with a smooth background in 1/Å², in the range in which single clusters are fitted.
    None in a result of an earlier version."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Unknown fields of a saved result that a later version of the package wrote, by name."""

    @property
    def rw_holdout_ensemble(self) -> float | None:
        """Rw of the ensemble's predictions, averaged over the cuts; None if there is no cut."""
        return float(np.mean([holdout.ensemble for holdout in self.holdouts])) if self.holdouts else None

    @property
    def rw_holdout_single(self) -> float | None:
        """Rw of the single cluster's predictions, averaged over the cuts; None if there is no cut."""
        return float(np.mean([holdout.single for holdout in self.holdouts])) if self.holdouts else None

    @property
    def rw_holdout(self) -> float | None:
        """Rw of the reported model's predictions, averaged over the cuts; None if there is no cut.

        The reported model is the one that `sample` names, or the better model if the decision is "undecided".
        """
        if not self.holdouts:
            return None
        rw_by_model = {"single": self.rw_holdout_single, "distribution": self.rw_holdout_ensemble}
        return rw_by_model.get(self.sample, min(self.rw_holdout_single, self.rw_holdout_ensemble))  # type: ignore[type-var]

    @property
    def table(self) -> dict[str, np.ndarray]:
        """Columns of the distribution by name: diameter in Å, and shares by volume and by number.

        The shares are given in total (with the ends of their 90 % bands) and for each type.
        """
        columns = {"diameter": self.size}
        for name in ("volume", "number"):
            columns[name] = getattr(self, name).sum(axis=0)
            columns |= {f"{name}_{bound}": getattr(self, f"{name}_{bound}") for bound in ("low", "high")}
            columns |= {
                f"{name}_{type_name}": fractions
                for type_name, fractions in zip(self.types, getattr(self, name), strict=True)
            }
        return columns


class LibraryClasses(NamedTuple):
    """A library with its size classes and its binned distances."""

    group: CandidateGroup
    size_classes: SizeClasses
    relaxation: ClassRelaxation | None
    """Changes of the classes when their particles relax; None if the particles are rigid."""
    ensemble_model: EnsembleModel
    binned_distances: BinnedDistances


@dataclass(frozen=True)
class LibraryCache:
    """Tables of libraries that all measurements of a run share. The keys contain `id(library)`."""

    library_classes: dict[tuple[int, TableRange, bool], LibraryClasses | None] = field(default_factory=dict)
    """Size classes for each library, range of its tables and whether particles relax; None if the library has too few
    clusters."""
    binned_libraries: BinnedLibraries = field(default_factory=BinnedLibraries)
    """Binned distances of whole libraries for the screening."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Lock of the size classes, because several threads share them."""


class HoldoutOptions(NamedTuple):
    """Options of the comparison of a single cluster with a distribution."""

    free: tuple[str, ...]
    """Names of the fitted parameters."""
    method: str
    """Form of the size distribution: "parametric" (lognormal), "free", or "auto" for the form that predicts better."""
    library_rows: np.ndarray
    """Library rows of the clusters for the comparison. The best of them are fitted up to each cut."""
    search: cross_validation.ClusterSearch | None = None
    """Search for clusters that no library lists. It is repeated for each cut."""
    type_weights: Mapping[str, float] = MappingProxyType(known_phases.type_weights())
    """Prior weight of each structure type."""


class SampleComparison(NamedTuple):
    """Comparison of a single cluster with a distribution by predictions beyond the fitted range."""

    validation: CrossValidation
    library_classes: LibraryClasses
    type_gains: dict[str, float]
    """Log-likelihood of the best prediction of each structure type minus that of the best type, averaged over the cuts.
    The difference is 0 or negative."""
    signal_end: float
    """Distance r in Å at which the signal falls below the noise."""

    @property
    def is_distribution(self) -> bool:
        """Whether the decision is "distribution"."""
        return self.validation.sample == "distribution"

    @property
    def width(self) -> float:
        """Relative width of the ensemble that predicts best, weighted by volume."""
        fractions = np.asarray(self.validation.ensemble_fit.atom_fractions, float)
        fractions, sizes = fractions / fractions.sum(), np.asarray(self.library_classes.ensemble_model.size, float)
        mean = fractions @ sizes
        return float(np.sqrt(max(fractions @ sizes**2 - mean**2, 0.0)) / mean)

    @property
    def is_broad_distribution(self) -> bool:
        """Whether the decision is "distribution", and the sizes differ more than a single particle can explain."""
        return self.is_distribution and self.width > MAX_SINGLE_WIDTH


def size_intervals(
    atom_fractions: Float[np.ndarray, " class"],
    fraction_draws: Float[np.ndarray, "draw class"],
    class_sizes: Float[np.ndarray, " class"],
) -> tuple[Interval, Interval]:
    """Return the mean and the relative width of the volume-weighted size distribution, with 90 % intervals.

    Args:
        atom_fractions: Fraction of atoms in each class.
        fraction_draws: Draws of these fractions from the posterior.
        class_sizes: Size of each class, in Å.
    """

    def moments(fractions):
        mean = fractions @ class_sizes
        return mean, np.sqrt(np.maximum(fractions @ class_sizes**2 - mean**2, 0.0)) / mean

    mean, width = (
        interval_about(float(value), draws, width_factor=INTERVAL_FACTORS[name])
        for name, value, draws in zip(("mean", "width"), moments(atom_fractions), moments(fraction_draws), strict=True)
    )
    return mean, width


def type_intervals(
    atom_fractions: Float[np.ndarray, " class"], fraction_draws: Float[np.ndarray, "draw class"], types: np.ndarray
) -> dict[str, Interval]:
    """Return the share of atoms of each type with its 90 % interval, the largest share first.

    Args:
        atom_fractions: Fraction of atoms in each class.
        fraction_draws: Draws of these fractions from the posterior.
        types: Structure type of each class.
    """
    intervals = {}
    for name in dict.fromkeys(types.tolist()):
        is_type = types == name
        type_interval = interval_about(
            float(atom_fractions[is_type].sum()),
            fraction_draws[:, is_type].sum(axis=1),
            width_factor=INTERVAL_FACTORS["share"],
        )
        intervals[name] = Interval(type_interval.value, type_interval.low, min(type_interval.high, 1.0))
    return dict(sorted(intervals.items(), key=lambda entry: -entry[1].value))


def tabulate_fractions(
    atom_fractions: Float[np.ndarray, "*draw class"], classes: SizeClasses, types: tuple[str, ...]
) -> tuple[Float[np.ndarray, "*draw type size"], Float[np.ndarray, "*draw type size"]]:
    """Return the volume fractions and the number fractions of each type and size. Each array sums to 1.

    Args:
        atom_fractions: Fraction of atoms in each class, with the sum 1.
        classes: Size classes.
        types: Structure types in the order of the rows of the result.
    """
    type_rows = np.array([types.index(name) for name in classes.structure_types])
    volume, number = (np.zeros((*atom_fractions.shape[:-1], len(types), len(classes.size_grid))) for _ in range(2))
    for column in range(len(classes.mean_size)):  # classes of several packings may share a type and a size
        index = (..., type_rows[column], classes.size_index[column])
        volume[index] += atom_fractions[..., column]
        number[index] += atom_fractions[..., column] / classes.mean_size[column] ** 3
    return volume, number / number.sum(axis=(-2, -1), keepdims=True)


def cross_validate_sample(
    measurement: Measurement,
    target: Target,
    groups: Sequence[CandidateGroup],
    fitted_candidates: FittedCandidates,
    *,
    signal_end: float,
    options: HoldoutOptions,
    library_cache: LibraryCache,
) -> SampleComparison | str:
    """Return the comparison of a single cluster with a distribution, or a remark why no comparison is possible.

    Args:
        measurement: Measured PDF.
        target: Data of the fits of single clusters.
        groups: All candidates of each source.
        fitted_candidates: Fitted candidates, best first.
        signal_end: Distance r at which the signal falls below the noise, in Å.
        options: Options of the comparison.
        library_cache: Cache of the run, to which the tables of the library are added.
    """
    holdout_data = _holdout_data(measurement, target, min(signal_end, cross_validation.MAX_HOLDOUT_R))
    library_groups = [group for group in groups if group.source != "network"]
    if not library_groups:
        return "no size distribution was fitted, because there is no library: use --sources network library"
    library_classes = _library_classes(
        library_groups[0], holdout_data, library_cache, is_relaxed="relaxation" in options.free
    )
    if library_classes is None:
        return f"no size distribution was fitted, because the library has fewer than {MIN_ENSEMBLE_CLUSTERS} clusters"
    weighted_model = weight_packings(library_classes.ensemble_model, library_classes.size_classes, options.type_weights)
    library_classes = library_classes._replace(ensemble_model=weighted_model)
    rivals, rival_types = _select_rivals(fitted_candidates)
    models = _holdout_models(library_classes, fitted_candidates, rivals, target, options)
    try:
        validation = cross_validation.cross_validate(holdout_data, models)
    except TooFewPointsError:
        return "no size distribution was fitted: the r range or the Q range of the data is too short"
    return SampleComparison(validation, library_classes, _type_gains(validation, rival_types), holdout_data.signal_end)


def reconsider_sample(
    sample_comparison: SampleComparison, target: Target, *, rw: float, n_effective: float, prior_cost: float
) -> SampleComparison:
    """Return the comparison with the decision "single" if a particle explains the data better than the ensemble.

    Args:
        sample_comparison: Comparison with the decision "distribution".
        target: Data of the fits of single clusters.
        rw: Rw of the particle, with the weights of the points.
        n_effective: Effective number of independent points.
        prior_cost: Negative logarithm of the prior probability of the particle.
    """
    _, curve = _ensemble_fit(sample_comparison, target)
    residual, data = (target.weighted(values) for values in (target.g - curve / target.unit, target.g))
    ensemble_rw = math.sqrt(float(residual @ residual) / float(data @ data))
    gain = particle_gain(rw, ensemble_rw, n_effective) - prior_cost
    if ensemble_rw < MIN_RW_RATIO * rw or gain < MIN_PARTICLE_GAIN:
        return sample_comparison
    return sample_comparison._replace(validation=sample_comparison.validation._replace(sample="single"))


def particle_gain(rw: float, ensemble_rw: float, n_effective: float) -> float:
    r"""Return the log-likelihood of a particle minus that of an ensemble, $n \ln (R_w^{ensemble} / R_w)$.

    Args:
        rw: Rw of the particle.
        ensemble_rw: Rw of the ensemble in the same range.
        n_effective: Effective number n of independent points.
    """
    return n_effective * math.log(max(ensemble_rw, MIN_COMPARED_RW) / max(rw, MIN_COMPARED_RW))


def describe_distribution(sample_comparison: SampleComparison, target: Target) -> Distribution:
    """Return the description of the sample as a distribution of particles.

    Args:
        sample_comparison: Comparison of a single cluster with a distribution.
        target: Data of the fits of single clusters.
    """
    validation, classes = sample_comparison.validation, sample_comparison.library_classes.size_classes
    ensemble_model = sample_comparison.library_classes.ensemble_model
    atom_fractions, fraction_draws = cross_validation.posterior_fractions(validation, ensemble_model)
    values, rigid_sizes = validation.ensemble_fit.values, np.asarray(ensemble_model.size, float)
    class_sizes = rigid_sizes * np.asarray(class_stretches(values.stretch, values.relaxation, ensemble_model), float)
    mean, width = size_intervals(atom_fractions, fraction_draws, class_sizes)
    stretch = float(atom_fractions @ class_sizes / (atom_fractions @ rigid_sizes))
    types = tuple(dict.fromkeys(classes.structure_types.tolist()))
    volume, number = tabulate_fractions(atom_fractions, classes, types)
    grid_draws = tabulate_fractions(fraction_draws, classes, types)
    bands = [statistics.quantiles(entry.sum(axis=1), statistics.CENTRAL_90) for entry in grid_draws]
    r, observed, predicted_single, predicted = _middle_prediction(validation)
    rw, calculated = _ensemble_fit(sample_comparison, target)
    return Distribution(
        sample=validation.sample,
        method="free" if validation.departure_strength else "parametric",
        rw=rw,
        mean_diameter=mean,
        width=width,
        type_shares=type_intervals(atom_fractions, fraction_draws, classes.structure_types),
        holdouts=_holdouts(validation),
        types=types,
        size=classes.size_grid * target.bond * stretch,
        volume=volume,
        volume_low=bands[0][0],
        volume_high=bands[0][1],
        number=number,
        number_low=bands[1][0],
        number_high=bands[1][1],
        r=r,
        observed=observed,
        predicted=predicted,
        predicted_single=predicted_single,
        calculated=calculated,
    )


def size_limit_remark(ensemble: Distribution) -> str:
    """Return a remark if a distribution reaches the largest sizes that it can contain; otherwise an empty string."""
    is_large = ensemble.size > LARGE_SIZE_FRACTION * ensemble.size[-1]
    if (share := float(ensemble.volume[:, is_large].sum())) < MAX_LARGE_SIZE_SHARE:
        return ""
    return (
        f"{share:.0%} of the atoms are in particles close to {ensemble.size[-1]:.0f} Å, the largest size that a "
        "distribution can contain: the true sizes may be larger"
    )


def _holdout_models(
    library_classes: LibraryClasses,
    fitted_candidates: FittedCandidates,
    rivals: CandidatePool,
    target: Target,
    options: HoldoutOptions,
) -> HoldoutModels:
    """Return the models that are fitted up to each cut."""
    best_library, best_row = fitted_candidates.pool.entry(0)
    strengths_by_method = {
        "auto": (0.0, *cross_validation.DEPARTURE_STRENGTHS),
        "parametric": (0.0,),
        "free": cross_validation.DEPARTURE_STRENGTHS,
    }
    return HoldoutModels(
        library_classes.ensemble_model,
        values=candidates.select_rows(fitted_candidates.fits.values, 0),
        mean_size=float(size_classes.candidate_sizes(best_library, np.array([best_row]))[0]) * target.bond,
        libraries=[
            (library_classes.group, screening.select_candidates(library_classes.binned_distances, options.library_rows))
        ],
        rivals=rivals,
        free=options.free,
        departure_strengths=strengths_by_method[options.method],
        search=options.search,
        best=candidates.select_fitted(fitted_candidates, np.arange(1)),
    )


def _ensemble_fit(sample_comparison: SampleComparison, target: Target) -> tuple[float, np.ndarray]:
    """Return Rw and G(r) of the ensemble with a smooth background, in the range in which single clusters are fitted."""
    validation = sample_comparison.validation
    holdout_points = cross_validation.make_holdout_points(validation.target, target.r)
    ensemble_curve = cross_validation.ensemble_curve(
        validation.ensemble_fit, sample_comparison.library_classes.ensemble_model, holdout_points
    )
    if target.intensity is None:
        n_terms = max(target.n_background_terms, smooth_background_terms(target.r[-1] - target.r[0]))
        terms = unstructured_terms = background_terms(target.r, n_terms)
    else:
        terms, unstructured_terms = cross_validation.unstructured_curves(target.intensity)
    rw = cross_validation.prediction_misfit(
        target.g, ensemble_curve, terms=terms, unstructured_terms=unstructured_terms
    ).rw
    return rw, (ensemble_curve + terms @ (terms.T @ (target.g - ensemble_curve))) * target.unit


def _holdouts(validation: CrossValidation) -> tuple[Holdout, ...]:
    """Return the predictions of the best single cluster and the best ensemble beyond each cut."""
    strength_index = validation.departure_strengths.index(validation.departure_strength)
    holdouts = []
    for comparison in validation.comparisons:
        single, ensemble = comparison.single_prediction, comparison.ensemble_predictions[strength_index]
        holdouts.append(
            Holdout(
                cut=comparison.cut.fit_end,
                end=comparison.cut.holdout_end,
                points=comparison.n_independent,
                single=single.rw,
                ensemble=ensemble.rw,
                gain=cross_validation.log_likelihood_gain(single, ensemble, comparison.n_independent),
            )
        )
    return tuple(holdouts)


def _middle_prediction(validation: CrossValidation) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return r, the data, and the predictions of the single cluster and the ensemble for the middle cut.

    The arrays are empty if there is no cut.
    """
    if not validation.comparisons:
        no_points = np.zeros(0)
        return no_points, no_points, no_points, no_points
    comparison = validation.comparisons[len(validation.comparisons) // 2]
    strength_index = validation.departure_strengths.index(validation.departure_strength)
    single, ensemble = comparison.predicted_curves[0], comparison.predicted_curves[1 + strength_index]
    if (intensity := validation.target.intensity) is not None:
        projection = intensity.background @ intensity.background.T
        single, ensemble = (curve + projection @ (comparison.g - curve) for curve in (single, ensemble))
    unit = validation.target.unit
    return comparison.r, comparison.g * unit, single * unit, ensemble * unit


def _holdout_data(measurement: Measurement, target: Target, signal_end: float) -> cross_validation.HoldoutData:
    """Return the data for all cuts. The sizes of arrays are rounded up so that similar files share compilations."""
    if target.intensity is not None:
        n_q_nodes, basis_size = target.basis.transform.shape
        return cross_validation.HoldoutData(target.r, target.g, target, signal_end, target.span, n_q_nodes, basis_size)
    in_range = measurement.r >= target.r[0] - 1e-9
    r, g = measurement.r[in_range], measurement.g[in_range]
    sigma = None if measurement.sigma is None else measurement.sigma[in_range]
    sizes = array_sizes(
        r_start=float(r[0]),
        r_end=max(signal_end, float(target.r[-1])),
        qmin=target.qmin,
        qmax=target.qmax,
        diameter=size_classes.MAX_CLASS_SIZE * target.bond,
    )
    target_sizes = ArraySizes(target.span, *target.basis.transform.shape)
    if all(size >= needed_size for size, needed_size in zip(*map(_flat_sizes, (target_sizes, sizes)), strict=True)):
        sizes = target_sizes  # both share compilations
    return cross_validation.HoldoutData(r, g, target, signal_end, *sizes, sigma=sigma)


def _flat_sizes(sizes: ArraySizes) -> tuple[float, ...]:
    """Return all sizes as numbers."""
    return *astuple(sizes.span), sizes.n_q_nodes, sizes.basis_size


def _library_classes(
    group: CandidateGroup, holdout_data: cross_validation.HoldoutData, library_cache: LibraryCache, *, is_relaxed: bool
) -> LibraryClasses | None:
    """Return the size classes of a library; None if it has too few clusters.

    The classes are computed once in a run. Their tables are computed once for each range of distances and Q.

    Args:
        group: Candidates of the library.
        holdout_data: Measured data with the range of the tables.
        library_cache: Cache of the run, to which the classes are added.
        is_relaxed: Whether the relaxation of the particles is fitted.
    """
    key = id(group.library), holdout_data.span, is_relaxed and group.fields is not None
    with library_cache.lock:
        if key not in library_cache.library_classes:
            library_cache.library_classes[key] = (
                _tabulate_classes(group, holdout_data, key, library_cache)
                if len(group.rows) >= MIN_ENSEMBLE_CLUSTERS
                else None
            )
        return library_cache.library_classes[key]


def _tabulate_classes(
    group: CandidateGroup,
    holdout_data: cross_validation.HoldoutData,
    key: tuple[int, TableRange, bool],
    library_cache: LibraryCache,
) -> LibraryClasses:
    """Return the size classes of a library with their tables. Classes of other ranges are used again."""
    bond, span = holdout_data.target.bond, holdout_data.span
    same_library = (
        entry
        for (library_id, _, is_relaxed), entry in library_cache.library_classes.items()
        if (library_id, is_relaxed) == (key[0], key[2]) and entry
    )
    if (known_classes := next(same_library, None)) is not None:
        classes, relaxation = known_classes.size_classes, known_classes.relaxation
    else:
        packings = _candidate_packings(group)
        classes = size_classes.build_size_classes(group.library, group.rows, packings)
        relaxation = relax_classes(classes, group.fields, group.rows, packings) if group.fields and key[2] else None
    return LibraryClasses(
        group,
        classes,
        relaxation,
        ensemble_model(classes, bond=bond, span=span, relaxation=relaxation),
        screening.binned_distances(group.library, group.rows, bond=bond, span=span),
    )


def _candidate_packings(group: CandidateGroup) -> np.ndarray:
    """Return the packing of each candidate, from its family or, for the user's files, from its atoms."""
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


def _select_rivals(fitted_candidates: FittedCandidates) -> tuple[CandidatePool, list[str]]:
    """Return the best few candidates of each structure type and of each source, with their types."""
    pool = fitted_candidates.pool
    types = np.array([FAMILY_TYPES.get(family, "") for family in pool.families], object)
    usable_rows = np.flatnonzero(np.isfinite(fitted_candidates.fits.rw) & ~pool.is_invalid)
    row_blocks = [
        usable_rows[types[usable_rows] == type_name][:RIVALS_PER_TYPE]
        for type_name in dict.fromkeys(types.tolist())
        if type_name
    ]
    row_blocks += [
        usable_rows[pool.group_index[usable_rows] == group_index][:RIVALS_PER_SOURCE]
        for group_index in range(len(pool.groups))
    ]
    rows = np.unique(np.concatenate(row_blocks))
    return pool.select(rows), types[rows].tolist()


def _type_gains(validation: CrossValidation, rival_types: Sequence[str]) -> dict[str, float]:
    """Return `SampleComparison.type_gains`; an empty dictionary if there is no cut."""
    gains: dict[str, list[float]] = {}
    for comparison in validation.comparisons:
        best_squares = {
            type_name: np.nanmin(
                comparison.rival_squares[[rival_type == type_name for rival_type in rival_types]], initial=np.inf
            )
            for type_name in set(rival_types)
        }
        minimum_squares = min(best_squares.values(), default=np.inf)
        if not np.isfinite(minimum_squares):  # no rival could be fitted up to this cut
            continue
        for type_name, squares in best_squares.items():
            gains.setdefault(type_name, []).append(
                0.5 * comparison.n_independent * float(np.log(minimum_squares / squares))
            )
    return {type_name: float(np.mean(values)) for type_name, values in gains.items()}
