r"""Comparison of a single cluster with an ensemble of clusters by their predictions of data that were not fitted.

The comparison decides whether the particles of a sample are all alike ("single") or a distribution of sizes and types
("distribution"). Both a single cluster and an ensemble (a mixture of clusters) are fitted to G(r) up to a cut in r. The
fitted values are then kept fixed, and both models predict G(r) beyond the cut. This range of r is called the holdout
range. An ensemble always fits better than its best member, but it predicts better only if the sample is a distribution.

The gain of prediction 2 over prediction 1 is the difference of the logarithms of their likelihoods. For noise of
unknown size, it is $\frac{n}{2} \ln (E_1 / E_2)$. Here $E_1$ and $E_2$ are the sums of the squared residuals of the
predictions, and n is the number of independent points beyond the cut. A smooth background is projected out of data and
predictions, because it is an error of the data and no property of the sample.

The rivals are the best few candidates of each structure type and of each source. Their predictions show which type is
the most probable. The size distributions of an ensemble are lognormals times a smooth factor. The departure strength is
the standard deviation of the logarithm of this factor (`ensemble_model`). It is 0 for a lognormal.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstruc import statistics
from jaxstruc.pdf import candidates, ensemble, fit, relaxed_screening, screening
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool, FittedCandidates
from jaxstruc.pdf.ensemble import EnsembleFit
from jaxstruc.pdf.ensemble_model import EnsembleModel, class_stretches
from jaxstruc.pdf.fit import Fit, FitValues
from jaxstruc.pdf.intensity import IntensityCurve
from jaxstruc.pdf.intensity_target import make_intensity_target
from jaxstruc.pdf.screening import BinnedDistances
from jaxstruc.pdf.target import (
    Target,
    TargetSettings,
    background_terms,
    make_target,
    point_weights,
    sine_transform,
    smooth_background_terms,
)
from jaxstruc.scattering.cluster_tables import ClusterTable, TableRange

CUT_FRACTIONS = (0.6, 0.7, 0.8)
"""Cuts, as fractions of the distance r at which the signal ends."""
MIN_CUT = 8.0
"""Smallest cut, in Å."""
MAX_HOLDOUT_RATIO = 1.5
"""Largest r of a prediction, relative to the cut."""
MIN_HOLDOUT_LENGTH = 2.0
"""Smallest length of the data beyond a cut, in Å."""
MIN_SIGNAL_END = MIN_CUT + MIN_HOLDOUT_LENGTH
"""Smallest end of the signal in Å that allows a comparison."""
MAX_HOLDOUT_R = 50.0
"""Largest r of the data in the comparison, in Å."""
MIN_PREDICTION_RW = 0.01
"""Rw below which predictions are considered equally good, because the simulation itself is no more accurate."""
MIN_CLEAR_GAIN = 2.0
"""Gain of the ensemble over the single cluster, averaged over the cuts, above which the decision is "distribution". The
decision is "single" if the mean gain is below the negative of this value."""
ClusterSearch = Callable[[Target, FittedCandidates], CandidateGroup | None]
"""Function that searches for further clusters that fit a target. It starts from fitted candidates, best first."""
DEPARTURE_STRENGTHS = (0.5, 1.0, 2.0)
"""Departure strengths of free size distributions, which may differ from a lognormal. The strength with the best
predictions is used."""
HOLDOUT_Q_FRACTIONS = ((0.2, 0.35), (0.4, 0.55), (0.6, 0.75))
"""Ranges of Q of an I(Q) that are predicted, as fractions of the range up to `MAX_HOLDOUT_Q`. The models are fitted to
all other points."""
MAX_HOLDOUT_Q = 12.0
"""Largest Q of the predicted ranges in 1/Å. Beyond it, thermal vibrations damp the signal."""
MIN_HOLDOUT_POINTS = 10
"""Smallest number of points of I(Q) in a predicted range."""
N_LISTED_CANDIDATES = 48
"""Number of library clusters that are fitted up to each cut."""
N_ACCURATE_CANDIDATES = 8
"""Number of library clusters whose first fits are repeated with accurate tables, if the relaxation is fitted."""
N_SEARCHED_CANDIDATES = 8
"""Number of clusters from a search that are fitted up to each cut."""
R_STEP_FACTOR = 0.4
"""Step in r of the thinned data, relative to the resolution pi / qmax."""
PREDICTION_BATCH_SIZE = 32
"""Number of clusters whose curves are computed at once."""


class HoldoutCut(NamedTuple):
    """A cut between the fitted range of r and the predicted range, or a range of Q that is not fitted but predicted."""

    fit_end: float
    """End of the fitted range and start of the predicted range in Å, or start of the predicted range in 1/Å."""
    holdout_end: float
    """End of the predicted range, in Å or 1/Å."""


class PredictionMisfit(NamedTuple):
    """Misfit of a model's prediction beyond a cut."""

    squares: float
    """Sum of the squared differences between data and prediction, with the weights of the points."""
    rw: float
    """Rw without weights."""


class HoldoutPoints(NamedTuple):
    """Points at which curves are computed, with the transform from F(Q) to the curve at these points."""

    r: np.ndarray
    """Points of r in Å, or of Q in 1/Å for an I(Q)."""
    q: Float[Array, " q"]
    """Points of Q in 1/Å, padded with zeros to a common size."""
    f_to_g: Float[np.ndarray, "r q"]
    """Matrix that transforms F(Q) to G(r), or to I(Q) divided by its standard error."""
    self_scattering: Float[np.ndarray, " r"] | None = None
    """Scattering of single atoms in I(Q); None for G(r)."""


class HoldoutModels(NamedTuple):
    """The models that are fitted up to each cut."""

    ensemble_model: EnsembleModel
    """Model of the ensemble, a mixture of classes of similar clusters."""
    values: FitValues
    """Fitted values of the best single cluster, from which the fits of ensembles start."""
    mean_size: float
    """Size of the best single cluster in Å, from which the fits of ensembles start."""
    libraries: Sequence[tuple[CandidateGroup, BinnedDistances]]
    """Libraries whose best clusters are fitted up to each cut."""
    rivals: CandidatePool
    """Best few candidates of each type and source, at least one in total. They are fitted up to each cut."""
    free: tuple[str, ...]
    """Names of the fitted parameters."""
    departure_strengths: tuple[float, ...] = (0.0, *DEPARTURE_STRENGTHS)
    """Departure strengths of the compared ensembles; 0 for a lognormal."""
    search: ClusterSearch | None = None
    """Search for clusters that no library lists. It uses the data up to a cut, if the decision needs it."""
    best: FittedCandidates | None = None
    """Best fitted candidate, from which the change of G(r) by the relaxation follows. None leaves the data as they are.
    """

    @property
    def ensemble_names(self) -> tuple[str, ...]:
        """Names of the fitted parameters that all clusters of an ensemble share."""
        return tuple(name for name in self.free if name != "scale")


class HoldoutComparison(NamedTuple):
    """Predictions of all models beyond one cut."""

    cut: HoldoutCut
    n_independent: float
    """Number of independent points beyond the cut."""
    single_prediction: PredictionMisfit
    ensemble_predictions: tuple[PredictionMisfit, ...]
    """[strength] Misfit of the ensemble with each departure strength."""
    rival_squares: np.ndarray
    """[rival] Sum of the squared residuals of each rival's prediction; NaN if the fit failed."""
    r: np.ndarray
    """[point] Points of r in Å, up to the end of the predicted range."""
    g: np.ndarray
    """[point] Measured G(r), in 1/Å²."""
    predicted_curves: tuple[np.ndarray, ...]
    """Calculated G(r) [point] in 1/Å², first of the best single cluster and then of each ensemble."""


class CrossValidation(NamedTuple):
    """Comparison of a single cluster with ensembles, and the ensemble that predicts best."""

    sample: str
    """Decision on the sample: "single", "distribution" or "undecided"."""
    comparisons: tuple[HoldoutComparison, ...]
    departure_strengths: tuple[float, ...]
    departure_strength: float
    """Departure strength of the ensemble that predicts best; 0 for a lognormal."""
    ensemble_fit: EnsembleFit
    """Fit of this ensemble to the whole signal."""
    target: Target
    """Data of this fit, up to the end of the signal or of the fitted range."""


class HoldoutData(NamedTuple):
    """A measured curve, with the settings for the fits up to each cut."""

    r: Float[np.ndarray, " r"]
    """Points of r from rmin to the end of the data in Å, or points of Q in 1/Å."""
    g: Float[np.ndarray, " r"]
    """Measured G(r) in 1/Å², or I(Q) divided by its standard error."""
    target: Target
    """Data of the fits of single clusters, with the settings of the instrument, the bond length and the background."""
    signal_end: float
    """Distance r in Å at which the signal falls below the noise."""
    span: TableRange
    """Range of distances and Q that tables of clusters cover, up to the end of the signal."""
    min_q_nodes: int
    """Smallest number of points of Q in the data of each fit. Shorter arrays are padded with zeros."""
    min_basis_size: int
    """Smallest number of basis functions in the data of each fit. Smaller bases are padded with zeros."""
    sigma: Float[np.ndarray, " r"] | None = None
    """Standard errors of G(r) in 1/Å²; None if they are equal or unknown."""

    @property
    def thinned_data(self) -> "HoldoutData":
        """Data at fewer points of r, little more than the number of independent points. An I(Q) keeps all points."""
        if self.target.intensity is not None:
            return self
        step = (self.r[-1] - self.r[0]) / (len(self.r) - 1)
        stride = max(1, int(R_STEP_FACTOR * np.pi / self.target.qmax / step))
        sigma = None if self.sigma is None else self.sigma[::stride]
        return self._replace(r=self.r[::stride], g=self.g[::stride], sigma=sigma)

    @property
    def all_cuts(self) -> list[HoldoutCut]:
        """Cuts of the data. The list is empty if there is too little signal to predict."""
        if self.target.intensity is not None:
            return holdout_q_ranges(self.r)
        return holdout_cuts(self.r, self.signal_end)

    @property
    def full_target(self) -> Target:
        """Target of the whole signal."""
        if self.target.intensity is not None:
            return self.target
        return self.target_up_to(max(self.signal_end, float(self.target.r[-1])))

    def target_at(self, cut: HoldoutCut) -> Target:
        """Return the target of the points that are fitted at a cut."""
        if self.target.intensity is None:
            return self.target_up_to(cut.fit_end)
        return make_intensity_target(
            self.target.intensity.select(~is_predicted(self.r, cut)),
            bond=self.target.bond,
            span=self.span,
            element=self.target.element,
            absolute=self.target.absolute,
            min_basis_size=self.min_basis_size,
        )

    def points_at(self, cut: HoldoutCut) -> Bool[np.ndarray, " r"]:
        """Return whether each point is fitted or predicted at a cut."""
        return self.r <= cut.holdout_end + 1e-9 if self.target.intensity is None else np.ones(len(self.r), bool)

    def target_up_to(self, rmax: float) -> Target:
        """Return the target (the data of a fit) for the range of r up to `rmax`, in Å.

        It has a smooth background. Without it, an ensemble would use improbable packings to explain smooth errors of
        the data.
        """
        in_range = self.r <= rmax + 1e-9
        target = self.target
        settings = TargetSettings(
            qmin=target.qmin,
            qmax=target.qmax,
            qdamp=target.qdamp,
            qbroad=target.qbroad,
            bond=target.bond,
            element=target.element,
            span=self.span,
            n_background_terms=max(target.n_background_terms, smooth_background_terms(rmax - float(self.r[0]))),
            min_q_nodes=self.min_q_nodes,
            min_basis_size=self.min_basis_size,
        )
        sigma = None if self.sigma is None else self.sigma[in_range]
        return make_target(self.r[in_range], self.g[in_range], settings, sigma=sigma)


class SingleClusterFits(NamedTuple):
    """Fits of single clusters up to a cut. The rivals come first, then library clusters, then clusters of a search."""

    pool: CandidatePool
    """Rivals and library clusters."""
    cluster_tables: ClusterTable
    fits: Fit
    rw: np.ndarray
    """[cluster] Rw of each fit; infinite if the fit failed or the cluster is faulty."""
    best_rows: list[int]
    """Row of the best cluster that is not from a search, followed by the row of the best searched cluster, if any."""
    n_rivals: int


class CutFits(NamedTuple):
    """Fits of all models up to a cut."""

    cut: HoldoutCut
    target: Target
    """Data up to the cut."""
    points: HoldoutPoints
    """Points up to the end of the predicted range."""
    g: np.ndarray
    """[point] Measured G(r) at these points, in 1/Å²."""
    sigma: np.ndarray | None
    """[point] Standard errors of G(r) in 1/Å²; None if they are equal or unknown."""
    single_fits: SingleClusterFits
    ensemble_curves: list[np.ndarray]
    """[strength] Calculated curve [point] of each ensemble."""
    intensity: IntensityCurve | None
    """All points of an I(Q); None for G(r)."""


def holdout_cuts(r: Float[np.ndarray, " r"], signal_end: float) -> list[HoldoutCut]:
    """Return the cuts of the data; an empty list if too little of the signal lies beyond the smallest cut.

    Args:
        r: Points of the data, in Å.
        signal_end: Distance r at which the signal falls below the noise, in Å.
    """
    signal_end = min(signal_end, float(r[-1]), MAX_HOLDOUT_R)
    selected_cuts = []
    for fraction in CUT_FRACTIONS:
        cut = max(MIN_CUT, fraction * signal_end)
        holdout_end = min(signal_end, MAX_HOLDOUT_RATIO * cut)
        if holdout_end - cut >= MIN_HOLDOUT_LENGTH:
            selected_cuts.append(HoldoutCut(cut, holdout_end))
    return list(dict.fromkeys(selected_cuts))


def holdout_q_ranges(q: Float[np.ndarray, " q"]) -> list[HoldoutCut]:
    """Return the ranges of Q of an I(Q) that are predicted; an empty list if one has too few points.

    Args:
        q: Points of the data, in 1/Å.
    """
    length = min(float(q[-1]), MAX_HOLDOUT_Q) - q[0]
    ranges = [HoldoutCut(*(float(q[0] + length * fraction) for fraction in ends)) for ends in HOLDOUT_Q_FRACTIONS]
    has_points = all(is_predicted(q, entry).sum() >= MIN_HOLDOUT_POINTS for entry in ranges)
    return ranges if has_points else []


def is_predicted(r: Float[np.ndarray, " r"], cut: HoldoutCut) -> Bool[np.ndarray, " r"]:
    """Return whether each point lies in the predicted range of a cut."""
    return (r > cut.fit_end) & (r <= cut.holdout_end + 1e-9)


def n_independent_beyond_cut(target: Target, cut: HoldoutCut, r: Float[np.ndarray, " r"]) -> float:
    """Return the number of independent points in the predicted range minus the number of background terms.

    I(Q) has at most one independent point for each step of pi divided by the largest distance.

    Args:
        target: Data to which the models are fitted.
        cut: Cut, or predicted range of Q.
        r: Points of the predicted curves, in Å or 1/Å.
    """
    if target.intensity is not None:
        n_points, q_range = int(is_predicted(r, cut).sum()), cut.holdout_end - cut.fit_end
        return min(n_points, q_range * target.span.max_distance / math.pi) - target.n_background_terms
    return (cut.holdout_end - cut.fit_end) * (target.qmax - target.qmin) / math.pi - _n_holdout_terms(cut)


def make_holdout_points(target: Target, r: Float[np.ndarray, " r"]) -> HoldoutPoints:
    """Return points at which fitted models are computed, with the transform from F(Q) to the curve.

    Args:
        target: Data to which the models are fitted, or all data of an I(Q).
        r: Points of r in Å, which may lie outside the fitted range, or all points of Q of an I(Q).
    """
    if (curve := target.intensity) is not None:
        return HoldoutPoints(r, jnp.asarray(curve.nodes, jnp.float32), curve.f_to_intensity, curve.self_scattering)
    q, f_to_g = sine_transform(r, target.qmin, target.qmax, target.span)
    padding = (0, max(0, len(target.basis.q) - q.size))
    return HoldoutPoints(r, jnp.asarray(np.pad(q, padding), jnp.float32), np.pad(f_to_g, ((0, 0), padding)))


def cluster_curves(
    cluster_tables: ClusterTable, values: FitValues, points: HoldoutPoints
) -> Float[np.ndarray, "cluster r"]:
    """Return the curves of fitted clusters without background, in the unit of the target, as a NumPy array.

    Args:
        cluster_tables: Tables of the clusters, with a leading axis.
        values: Fitted values of the clusters, with a leading axis.
        points: Points at which the curves are computed.
    """
    f, scale = (
        np.asarray(fit.structure_functions(cluster_tables, values, points.q), float),
        np.asarray(values.scale, float)[:, None],
    )
    if points.self_scattering is not None:
        return scale * (f @ points.f_to_g.T + points.self_scattering)
    return scale * _damped_pdf(f, np.asarray(values.qdamp, float)[:, None], points)


def ensemble_curve(
    ensemble_fit: EnsembleFit, ensemble_model: EnsembleModel, points: HoldoutPoints
) -> Float[np.ndarray, " r"]:
    """Return the curve of a fitted ensemble without background, in the unit of the target, as a NumPy array."""
    f = np.asarray(_ensemble_structure_function(ensemble_fit, ensemble_model, points.q), float)
    if points.self_scattering is None:
        return _damped_pdf(f, float(ensemble_fit.values.qdamp), points)
    return points.f_to_g @ f + float(np.sum(np.asarray(ensemble_fit.atom_fractions, float))) * points.self_scattering


def prediction_misfit(
    observed: Float[np.ndarray, " r"],
    calculated: Float[np.ndarray, " r"],
    *,
    terms: Float[np.ndarray, "r term"],
    unstructured_terms: Float[np.ndarray, "r unstructured"] | None = None,
    sigma: Float[np.ndarray, " r"] | None = None,
) -> PredictionMisfit:
    """Return the misfit between a calculated curve and the data.

    Args:
        observed: Measured curve.
        calculated: Curve of the model without background, in the unit of the measured one.
        terms: Orthonormal background terms that are projected out of both curves.
        unstructured_terms: Orthonormal curves that are projected out of the data to which Rw refers. By default they
            are the background terms.
        sigma: Standard errors of the measured curve; None if they are equal or unknown.
    """
    unstructured_terms = terms if unstructured_terms is None else unstructured_terms
    squares, signal_squares = _projected_squares(observed, calculated, terms, unstructured_terms)
    rw = math.sqrt(squares / signal_squares)
    if sigma is not None:
        weight = point_weights(sigma)
        weighted_terms = (np.linalg.qr(columns * weight[:, None])[0] for columns in (terms, unstructured_terms))
        squares, signal_squares = _projected_squares(observed * weight, calculated * weight, *weighted_terms)
    return PredictionMisfit(max(squares, MIN_PREDICTION_RW**2 * signal_squares), rw)


def log_likelihood_gain(reference: PredictionMisfit, alternative: PredictionMisfit, n_independent: float) -> float:
    """Return the difference by which the log-likelihood of an alternative exceeds that of a reference."""
    return 0.5 * n_independent * math.log(reference.squares / alternative.squares)


def decide_sample_kind(gains: Sequence[float]) -> str:
    """Return the decision on the sample: "single", "distribution" or "undecided".

    Args:
        gains: Gain of the ensemble over the single cluster at each cut, in the logarithm of the likelihood.
    """
    mean_gain = float(np.mean(gains)) if len(gains) else 0.0
    return "distribution" if mean_gain > MIN_CLEAR_GAIN else "single" if mean_gain < -MIN_CLEAR_GAIN else "undecided"


def cross_validate(holdout_data: HoldoutData, models: HoldoutModels) -> CrossValidation:
    """Return the comparison of a single cluster with ensembles by their predictions beyond each cut."""
    holdout_data = holdout_data.thinned_data
    full_target = holdout_data.full_target
    lognormal_fit = _fit_lognormal(models, full_target)
    residual = full_target.weighted(
        full_target.g
        - ensemble_curve(lognormal_fit, models.ensemble_model, make_holdout_points(full_target, full_target.r))
    )
    effective_fraction = statistics.effective_points(residual, full_target.n_independent) / full_target.n_independent
    cut_fits = [_fit_at_cut(holdout_data, cut, models, effective_fraction) for cut in holdout_data.all_cuts]
    comparisons = [_compare_at_cut(entry) for entry in cut_fits]
    best_index = int(np.argmin([_mean_rw(comparisons, index) for index in range(len(models.departure_strengths))]))
    ensemble_fit = ensemble.fit_ensemble(
        models.ensemble_model,
        full_target.basis,
        lognormal_fit.parameters,
        names=models.ensemble_names,
        strength=models.departure_strengths[best_index],
        effective_fraction=effective_fraction,
    )
    if models.search is not None:
        comparisons = _search_where_needed(
            comparisons, lambda index: _compare_at_cut(_search_at_cut(cut_fits[index], models)), best_index
        )
    return CrossValidation(
        sample=decide_sample_kind([_ensemble_gain(comparison, best_index) for comparison in comparisons]),
        comparisons=tuple(comparisons),
        departure_strengths=models.departure_strengths,
        departure_strength=models.departure_strengths[best_index],
        ensemble_fit=ensemble_fit,
        target=full_target,
    )


def posterior_fractions(validation: CrossValidation, ensemble_model: EnsembleModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the best fractions of atoms in the classes [class], and draws from their posterior [draw, class].

    The fractions sum to 1 over the classes.
    """
    best_fractions = np.asarray(validation.ensemble_fit.atom_fractions, float)
    fraction_draws = np.asarray(
        jax.device_get(
            ensemble.posterior_fractions(
                validation.ensemble_fit, ensemble_model, strength=validation.departure_strength
            )
        ),
        float,
    )
    return best_fractions / best_fractions.sum(), fraction_draws / fraction_draws.sum(axis=1, keepdims=True)


def unstructured_curves(
    curve: IntensityCurve,
) -> tuple[Float[np.ndarray, "point term"], Float[np.ndarray, "point term"]]:
    """Return orthonormal curves of the background of an I(Q), first alone and then with those of single atoms."""
    with_atoms = np.concatenate([curve.background, curve.self_scattering[:, None]], axis=1)
    return curve.background, np.linalg.qr(with_atoms)[0]


def _projected_squares(
    observed: Float[np.ndarray, " r"],
    calculated: Float[np.ndarray, " r"],
    terms: Float[np.ndarray, "r term"],
    unstructured_terms: Float[np.ndarray, "r unstructured"],
) -> tuple[float, float]:
    """Return the sum of squares of the residual without `terms`, and of the data without `unstructured_terms`."""
    residual, projected_data = (
        curve - columns @ (columns.T @ curve)
        for curve, columns in ((observed - calculated, terms), (observed, unstructured_terms))
    )
    return float(residual @ residual), max(float(projected_data @ projected_data), 1e-300)


def _n_holdout_terms(cut: HoldoutCut) -> int:
    """Return the number of background terms in the predicted range."""
    return smooth_background_terms(cut.holdout_end - cut.fit_end)


def _damped_pdf(f, qdamp, points: HoldoutPoints):
    return np.exp(-0.5 * (points.r * qdamp) ** 2) * (f @ points.f_to_g.T)


@jax.jit
def _ensemble_structure_function(ensemble_fit: EnsembleFit, ensemble_model: EnsembleModel, q) -> Float[Array, " q"]:
    stretch = class_stretches(ensemble_fit.values.stretch, ensemble_fit.values.relaxation, ensemble_model)
    class_values = jax.tree.map(lambda column: jnp.broadcast_to(column, stretch.shape), ensemble_fit.values)
    return ensemble_fit.atom_fractions @ fit.structure_functions(
        ensemble_model.cluster_tables, class_values._replace(stretch=stretch), q
    )


def _fit_lognormal(models: HoldoutModels, target: Target) -> EnsembleFit:
    """Return the fit of a lognormal ensemble to the whole signal."""
    names = models.ensemble_names
    start_parameters = ensemble.start_parameters(
        models.ensemble_model, target.basis, models.values, names, models.mean_size
    )
    return ensemble.fit_ensemble(models.ensemble_model, target.basis, start_parameters, names=names, strength=0.0)


def _mean_rw(comparisons: Sequence[HoldoutComparison], strength_index: int) -> float:
    """Return the Rw of the predictions with one departure strength, averaged over the cuts.

    The result is infinity if the mean is not finite.
    """
    mean_rw = (
        float(np.mean([comparison.ensemble_predictions[strength_index].rw for comparison in comparisons]))
        if comparisons
        else 0.0
    )
    return mean_rw if np.isfinite(mean_rw) else np.inf


def _fit_at_cut(
    holdout_data: HoldoutData, cut: HoldoutCut, models: HoldoutModels, effective_fraction: float
) -> CutFits:
    """Return the fits of single clusters and ensembles up to a cut, without a search."""
    target, in_range = holdout_data.target_at(cut), holdout_data.points_at(cut)
    source = target if target.intensity is None else holdout_data.target
    holdout_points = make_holdout_points(source, holdout_data.r[in_range])
    return CutFits(
        cut,
        target,
        holdout_points,
        holdout_data.g[in_range],
        None if holdout_data.sigma is None else holdout_data.sigma[in_range],
        _fit_single_clusters(target, models),
        _ensemble_curves(target, models, holdout_points, effective_fraction),
        holdout_data.target.intensity,
    )


def _search_at_cut(cut_fits: CutFits, models: HoldoutModels) -> CutFits:
    """Return the fits at a cut, with those of the clusters that a search finds with the data up to the cut."""
    single_fits, target = cut_fits.single_fits, cut_fits.target
    order = np.argsort(single_fits.rw, kind="stable")
    fitted_candidates = FittedCandidates(single_fits.pool, single_fits.fits)
    searched_group = models.search and models.search(target, candidates.select_fitted(fitted_candidates, order))
    if not searched_group:
        return cut_fits
    return cut_fits._replace(single_fits=_append_searched(single_fits, searched_group, target, models.free))


def _compare_at_cut(cut_fits: CutFits) -> HoldoutComparison:
    """Return the predictions of single clusters and ensembles beyond a cut."""
    r, g, target, single_fits = cut_fits.points.r, cut_fits.g, cut_fits.target, cut_fits.single_fits
    beyond_cut = is_predicted(r, cut_fits.cut)
    sigma = None if cut_fits.sigma is None else cut_fits.sigma[beyond_cut]
    if cut_fits.intensity is None:
        terms = unstructured_terms = background_terms(r[beyond_cut], _n_holdout_terms(cut_fits.cut))
    else:
        terms, unstructured_terms = unstructured_curves(cut_fits.intensity.select(beyond_cut))
    cluster_curves_at_r = _single_curves(single_fits, cut_fits.points)
    single_predictions, rival_predictions, ensemble_predictions = (
        [
            prediction_misfit(
                g[beyond_cut], curve[beyond_cut], terms=terms, unstructured_terms=unstructured_terms, sigma=sigma
            )
            for curve in model_curves
        ]
        for model_curves in (
            cluster_curves_at_r[: len(single_fits.best_rows)],
            cluster_curves_at_r[len(single_fits.best_rows) :],
            cut_fits.ensemble_curves,
        )
    )
    # The best library cluster or the best searched cluster is used, whichever predicts better. This is fair, because
    # the departure strength of the ensembles is also chosen by the predictions.
    best_single = int(np.argmin([entry.squares for entry in single_predictions]))
    rival_squares = np.array([entry.squares for entry in rival_predictions])
    return HoldoutComparison(
        cut=cut_fits.cut,
        n_independent=n_independent_beyond_cut(target, cut_fits.cut, r),
        single_prediction=single_predictions[best_single],
        ensemble_predictions=tuple(ensemble_predictions),
        rival_squares=np.where(np.isfinite(single_fits.rw[: single_fits.n_rivals]), rival_squares, np.nan),
        r=r,
        g=g,
        predicted_curves=(cluster_curves_at_r[best_single], *cut_fits.ensemble_curves),
    )


def _search_where_needed(
    comparisons: Sequence[HoldoutComparison], search_at_cut: Callable[[int], HoldoutComparison], strength_index: int
) -> list[HoldoutComparison]:
    """Return the comparisons with the searches that the decision on the sample needs.

    A search can only improve the prediction of the single cluster. There is none if the decision is "single" without
    it. Otherwise, the cut at which the ensemble is best is searched first.

    Args:
        comparisons: Comparisons at all cuts without searches.
        search_at_cut: Function that returns the comparison with a search, for the index of a cut.
        strength_index: Index of the departure strength of the ensemble.
    """
    searched_comparisons = list(comparisons)
    gains = [_ensemble_gain(comparison, strength_index) for comparison in comparisons]
    for index in np.argsort(gains)[::-1]:
        if decide_sample_kind(gains) == "single":
            break
        searched_comparisons[index] = search_at_cut(int(index))
        gains[index] = _ensemble_gain(searched_comparisons[index], strength_index)
    return searched_comparisons


def _ensemble_gain(comparison: HoldoutComparison, strength_index: int) -> float:
    """Return the gain of the ensemble with a departure strength over the single cluster."""
    return log_likelihood_gain(
        comparison.single_prediction, comparison.ensemble_predictions[strength_index], comparison.n_independent
    )


def _fit_single_clusters(target: Target, models: HoldoutModels) -> SingleClusterFits:
    """Return the fits of rivals and library clusters to a target.

    If the relaxation is fitted, only the rivals and the best library clusters are kept, with accurate fits.
    """
    pool, n_rivals = _pool_with_libraries(models, target), len(models.rivals.group_row)
    fits, start = candidates.fit_all(pool, target, free=models.free), None
    if "relaxation" in models.free:
        order = np.argsort(np.where(np.isfinite(fits.rw) & ~pool.is_invalid, fits.rw, np.inf), kind="stable")
        rows = np.concatenate([np.arange(n_rivals), order[order >= n_rivals][:N_ACCURATE_CANDIDATES]])
        pool, start = pool.select(rows), candidates.select_rows(fits.values, rows)
    cluster_tables = candidates.cluster_tables(pool, target, free=models.free, start=start)
    if start is not None:
        accurate_fits = candidates.fit_cluster_tables(cluster_tables, target, free=models.free, start=start)
        fits = candidates.select_rows(accurate_fits, slice(0, len(pool.group_row)))
    rw = np.where(np.isfinite(fits.rw) & ~pool.is_invalid, fits.rw, np.inf)
    return SingleClusterFits(pool, cluster_tables, fits, rw, [int(np.argmin(rw))], n_rivals)


def _single_curves(single_fits: SingleClusterFits, holdout_points: HoldoutPoints) -> np.ndarray:
    """Return G(r) of the best single clusters, followed by G(r) of the rivals."""
    predicted_rows = np.array([*single_fits.best_rows, *range(single_fits.n_rivals)])
    padded_rows = np.pad(predicted_rows, (0, max(0, PREDICTION_BATCH_SIZE - len(predicted_rows))), mode="edge")
    return cluster_curves(
        candidates.select_rows(single_fits.cluster_tables, padded_rows),
        candidates.select_rows(single_fits.fits.values, padded_rows),
        holdout_points,
    )[: len(predicted_rows)]


def _ensemble_curves(
    target: Target, models: HoldoutModels, holdout_points: HoldoutPoints, effective_fraction: float
) -> list[np.ndarray]:
    """Return G(r) of the ensembles that are fitted to a target, one for each departure strength."""
    names = models.ensemble_names
    start_parameters = ensemble.start_parameters(
        models.ensemble_model, target.basis, models.values, names, models.mean_size
    )
    fit_ensemble = partial(
        ensemble.fit_ensemble, models.ensemble_model, target.basis, names=names, effective_fraction=effective_fraction
    )
    ensemble_fits = [fit_ensemble(start_parameters, strength=0.0)]
    ensemble_fits += [
        fit_ensemble(ensemble_fits[0].parameters, strength=strength)
        for strength in models.departure_strengths
        if strength
    ]
    return [
        ensemble_curve(entry, models.ensemble_model, holdout_points)
        for entry in ensemble_fits[0 if 0.0 in models.departure_strengths else 1 :]
    ]


def _pool_with_libraries(models: HoldoutModels, target: Target) -> CandidatePool:
    """Return the rivals, followed by the library clusters that fit a target best.

    The library clusters are compared as rigid clusters. The change by the relaxation of the best candidate is therefore
    subtracted from the data.
    """
    groups = list(models.rivals.groups)
    group_columns, row_columns = [models.rivals.group_index], [models.rivals.group_row]
    basis = target.basis
    if models.best is not None and "relaxation" in models.free:
        (change,) = relaxed_screening.relaxation_curves(models.best, target, free=models.free)
        basis = relaxed_screening.corrected_basis(basis, change)
    for library_group, binned_distances in models.libraries:
        rows = screening.best_rows(
            binned_distances,
            screening.gauss_newton_rw(binned_distances, basis, models.values),
            count=N_LISTED_CANDIDATES // len(models.libraries),
        )
        groups.append(library_group._replace(rows=rows))
        group_columns.append(np.full(len(rows), len(groups) - 1))
        row_columns.append(np.arange(len(rows)))
    return CandidatePool(tuple(groups), np.concatenate(group_columns), np.concatenate(row_columns))


def _append_searched(
    single_fits: SingleClusterFits, searched_group: CandidateGroup, target: Target, free: tuple[str, ...]
) -> SingleClusterFits:
    """Return the fits of single clusters, followed by the fits of the best few clusters of a search."""
    n_listed = len(single_fits.rw)
    searched_pool = candidates.candidate_pool(
        [searched_group._replace(rows=searched_group.rows[:N_SEARCHED_CANDIDATES])]
    )
    n_searched = len(searched_pool.group_row)
    searched_fits = candidates.fit_all(searched_pool, target, free=free)
    start = searched_fits.values if "relaxation" in free else None
    if start is not None:
        searched_fits = candidates.fit_all(searched_pool, target, free=free, start=start)
    searched_tables = candidates.cluster_tables(searched_pool, target, free=free, start=start)
    rw = np.append(single_fits.rw, np.where(np.isfinite(searched_fits.rw), searched_fits.rw, np.inf))
    return SingleClusterFits(
        pool=single_fits.pool,
        cluster_tables=candidates.concatenate(
            candidates.select_rows(single_fits.cluster_tables, slice(0, n_listed)),
            candidates.select_rows(searched_tables, slice(0, n_searched)),
        ),
        fits=candidates.concatenate(single_fits.fits, searched_fits),
        rw=rw,
        best_rows=[*single_fits.best_rows, n_listed + int(np.argmin(rw[n_listed:]))],
        n_rivals=single_fits.n_rivals,
    )
