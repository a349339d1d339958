r"""What a model says of a range of r that it was not fitted to, and the judgement between one cluster and many.

A fit to r below a cut, all its values held, predicts what lies beyond. A mixture always fits better than its best
member; only if the sample is one it predicts better. With noise of unknown size the gain of one prediction over another
is $\frac{n}{2} \ln (E_1 / E_2)$, E their sums of squares and n the independent points beyond the cut.


Whether a sample is one kind of cluster or a distribution of particles, by what fits say of a range not fitted.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc import statistics
from jaxstruc.pdf import candidates, ensemble, fit, screening
from jaxstruc.pdf import target as targets
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool
from jaxstruc.pdf.ensemble import EnsembleFit
from jaxstruc.pdf.ensemble_model import EnsembleModel, class_stretches
from jaxstruc.pdf.fit import Fit, FitValues
from jaxstruc.pdf.screening import BinnedDistances
from jaxstruc.pdf.target import Target
from jaxstruc.scattering.cluster_tables import ClusterTable, TableRange

CUT_FRACTIONS = (0.6, 0.7, 0.8)
"""Of the signal's end."""
MIN_CUT = 8.0
"""Å. Least cut."""
MAX_HOLDOUT_RATIO = 1.5
"""Of a cut, up to where is predicted at most."""
MIN_HOLDOUT_LENGTH = 2.0
"""Å of data beyond a cut at least."""
MAX_HOLDOUT_R = 50.0
"""Å. Data beyond are not looked at."""
CURVE_ACCURACY = 0.01
"""Rw below which no prediction is better than another: there the simulation's own accuracy counts."""
MIN_CLEAR_GAIN = 2.0
"""Mean gain over the cuts from which the judgement is clear."""


class HoldoutCut(NamedTuple):
    """A range that is fitted, and one beyond that is predicted."""

    cut: float
    """Å. End of the one, start of the other."""
    end: float
    """Å"""


class Prediction(NamedTuple):
    """How well a model predicts beyond a cut."""

    squares: float
    """Sum of squares of data less prediction."""
    rw: float


def holdout_cuts(r: Float[np.ndarray, " r"], signal_end: float) -> list[HoldoutCut]:
    """Return the cuts of data whose signal has an end, in Å; none where too little lies beyond.

    Args:
        r: of the data, in Å.
        signal_end: of the signal, in Å.
    """
    signal_end = min(signal_end, float(r[-1]), MAX_HOLDOUT_R)
    selected_cuts = []
    for fraction in CUT_FRACTIONS:
        cut = max(MIN_CUT, fraction * signal_end)
        holdout_end = min(signal_end, MAX_HOLDOUT_RATIO * cut)
        if holdout_end - cut >= MIN_HOLDOUT_LENGTH:
            selected_cuts.append(HoldoutCut(cut, holdout_end))
    return list(dict.fromkeys(selected_cuts))


def n_independent(target: Target, cut: HoldoutCut) -> float:
    """Return the independent points of the range that is predicted."""
    return (cut.end - cut.cut) * (target.qmax - target.qmin) / math.pi


class HoldoutPoints(NamedTuple):
    """Points of r at which curves are predicted, and what takes F(Q) there."""

    r: np.ndarray
    """Å"""
    q: Float[Array, " q"]
    """1/Å, padded to one size."""
    to_g: Float[np.ndarray, "r q"]


def make_holdout_points(target: Target, r: Float[np.ndarray, " r"]) -> HoldoutPoints:
    """Return the points of a target's models at other r than were fitted, in Å."""
    q, to_g = targets.transform(r, target.qmin, target.qmax, target.span)
    padding = (0, max(0, len(target.basis.q) - q.size))
    return HoldoutPoints(r, jnp.asarray(np.pad(q, padding), jnp.float32), np.pad(to_g, ((0, 0), padding)))


def cluster_curves(
    cluster_tables: ClusterTable, values: FitValues, points: HoldoutPoints
) -> Float[np.ndarray, "cluster r"]:
    """Return G(r) of clusters' fits, without background, on the host.

    Args:
        cluster_tables: of the clusters [cluster].
        values: of their fits [cluster].
        points: where.
    """
    f = np.asarray(fit.structure_functions(cluster_tables, values, points.q), float)
    return np.asarray(values.scale, float)[:, None] * _damped_pdf(f, np.asarray(values.qdamp, float)[:, None], points)


def ensemble_curve(
    ensemble_fit: EnsembleFit, ensemble_model: EnsembleModel, points: HoldoutPoints
) -> Float[np.ndarray, " r"]:
    """Return G(r) of an ensemble's fit, without background, on the host."""
    return _damped_pdf(
        np.asarray(_ensemble_structure_function(ensemble_fit, ensemble_model, points.q), float),
        float(ensemble_fit.values.qdamp),
        points,
    )


def _damped_pdf(f, qdamp, points: HoldoutPoints):
    return np.exp(-0.5 * (points.r * qdamp) ** 2) * (f @ points.to_g.T)


@jax.jit
def _ensemble_structure_function(ensemble_fit: EnsembleFit, ensemble_model: EnsembleModel, q) -> Float[Array, " q"]:
    stretch = class_stretches(ensemble_fit.values.stretch, ensemble_fit.parameters.contraction[0], ensemble_model)
    class_values = jax.tree.map(lambda column: jnp.broadcast_to(column, stretch.shape), ensemble_fit.values)
    return ensemble_fit.atom_fractions @ fit.structure_functions(
        ensemble_model.cluster_tables, class_values._replace(stretch=stretch), q
    )


def prediction(
    r: Float[np.ndarray, " r"],
    observed: Float[np.ndarray, " r"],
    calculated: Float[np.ndarray, " r"],
    *,
    background: int = 0,
) -> Prediction:
    """Return how well a curve predicts data.

    Args:
        r: in Å, even.
        observed: G(r), in 1/Å².
        calculated: the same, without a background.
        background: smooth terms that the data may have beside it.
    """
    terms = targets.background_terms(r, background)
    residual, projected_data = (curve - terms @ (terms.T @ curve) for curve in (observed - calculated, observed))
    squares, signal_squares = float(residual @ residual), max(float(projected_data @ projected_data), 1e-300)
    return Prediction(max(squares, CURVE_ACCURACY**2 * signal_squares), math.sqrt(squares / signal_squares))


def gain(reference: Prediction, alternative: Prediction, n_independent: float) -> float:
    """Return the gain in the logarithm of the likelihood of another prediction over one."""
    return 0.5 * n_independent * math.log(reference.squares / alternative.squares)


def sample_from_gains(gains: Sequence[float]) -> str:
    """Return single, distribution or undecided, of the gains of the ensemble over the single one at each cut."""
    mean_gain = float(np.mean(gains)) if len(gains) else 0.0
    return "distribution" if mean_gain > MIN_CLEAR_GAIN else "single" if mean_gain < -MIN_CLEAR_GAIN else "undecided"


ClusterSearch = Callable[[Target, CandidatePool, Fit], CandidateGroup | None]
"""What finds further clusters that fit a target, given some and their fits, best first."""
DEPARTURE_STRENGTHS = (0.5, 1.0, 2.0)
"""Of free distributions' departures from lognormal; that which predicts best is taken."""
N_LISTED_CANDIDATES = 48
"""Clusters that are fitted to each cut, beside those that are passed."""
N_SEARCHED_CANDIDATES = 8
"""Clusters found by a search that are fitted to each cut."""
R_STEP_FACTOR = 0.4
"""Step in r of what is judged, in parts of that which the Q range can tell."""
PREDICTION_BATCH_SIZE = 32
"""Clusters whose prediction is made at once."""


class HoldoutComparison(NamedTuple):
    """What the models say beyond one cut."""

    cut: HoldoutCut
    n_independent: float
    """Independent, beyond the cut."""
    single_prediction: Prediction
    ensemble_predictions: tuple[Prediction, ...]
    """One a strength."""
    rival_squares: np.ndarray
    """[rival] sums of squares of the clusters passed, NaN for those whose fit failed."""
    r: np.ndarray
    """[point] Å, to the end of what is predicted."""
    g: np.ndarray
    """[point] the data there, in 1/Å²."""
    curves: tuple[np.ndarray, ...]
    """[point] G(r) of the single one and of the ensembles, in 1/Å²."""


class CrossValidation(NamedTuple):
    """A judgement, and the ensemble that describes the sample best."""

    sample: str
    """single, distribution or undecided."""
    comparisons: tuple[HoldoutComparison, ...]
    strengths: tuple[float, ...]
    strength: float
    """Of the ensemble: 0 for a lognormal."""
    ensemble_fit: EnsembleFit
    target: Target
    """What it was fitted to: all of the signal."""


class HoldoutData(NamedTuple):
    """A measured G(r), as a judge sees it."""

    r: Float[np.ndarray, " r"]
    """Å. All data from rmin on."""
    g: Float[np.ndarray, " r"]
    """1/Å²"""
    target: Target
    """Of the fits: settings, bond and background."""
    signal_end: float
    """Å. Of the signal."""
    span: TableRange
    """What templates must cover, to the end of the signal."""
    min_q_nodes: int
    """Points of Q, and functions of the basis, to which all targets are padded."""
    min_basis_size: int

    @property
    def thinned_data(self) -> "HoldoutData":
        """The same with hardly more points than tell something."""
        step = (self.r[-1] - self.r[0]) / (len(self.r) - 1)
        stride = max(1, int(R_STEP_FACTOR * np.pi / self.target.qmax / step))
        return self._replace(r=self.r[::stride], g=self.g[::stride])

    def target_up_to(self, rmax: float) -> Target:
        """Return the target of the data up to an r."""
        in_range = self.r <= rmax + 1e-9
        target = self.target
        return targets.target(
            self.r[in_range],
            self.g[in_range],
            qmin=target.qmin,
            qmax=target.qmax,
            qdamp=target.qdamp,
            qbroad=target.qbroad,
            bond=target.bond,
            span=self.span,
            background=target.background,
            min_q_nodes=self.min_q_nodes,
            min_basis_size=self.min_basis_size,
        )


def cross_validate(
    holdout_data: HoldoutData,
    ensemble_model: EnsembleModel,
    *,
    values: FitValues,
    mean_size: float,
    libraries: Sequence[tuple[CandidateGroup, BinnedDistances]],
    rivals: CandidatePool,
    free: tuple[str, ...],
    strengths: tuple[float, ...] = (0.0, *DEPARTURE_STRENGTHS),
    search: ClusterSearch | None = None,
) -> CrossValidation:
    """Return the judgement of a sample.

    Args:
        holdout_data: the data.
        ensemble_model: classes of clusters.
        values: of the best cluster's fit.
        mean_size: of the best cluster, in Å.
        libraries: libraries that are tried at each cut.
        rivals: further clusters that are fitted to each cut, one at least; the best few of each type and source.
        free: what is fitted.
        strengths: of ensembles that are tried.
        search: what finds clusters that are not listed, at each cut anew.
    """
    names, holdout_data = tuple(name for name in free if name != "scale"), holdout_data.thinned_data
    full_target = holdout_data.target_up_to(max(holdout_data.signal_end, float(holdout_data.target.r[-1])))
    guess = ensemble.start_parameters(ensemble_model, full_target.basis, values, names, mean_size)
    lognormal_fit = ensemble.fit(ensemble_model, full_target.basis, guess, names=names, strength=0.0)
    residual = full_target.g - ensemble_curve(
        lognormal_fit, ensemble_model, make_holdout_points(full_target, full_target.r)
    )
    effective_fraction = statistics.effective_points(residual, full_target.n_independent) / full_target.n_independent
    comparisons = tuple(
        _compare_at_cut(
            holdout_data,
            ensemble_model,
            cut,
            libraries,
            rivals,
            free,
            strengths,
            values,
            mean_size,
            effective_fraction,
            search,
        )
        for cut in holdout_cuts(holdout_data.r, holdout_data.signal_end)
    )
    best_strength = int(np.argmin([_mean_rw(comparisons, index) for index in range(len(strengths))]))
    ensemble_fit = ensemble.fit(
        ensemble_model,
        full_target.basis,
        lognormal_fit.parameters,
        names=names,
        strength=strengths[best_strength],
        effective_fraction=effective_fraction,
    )
    gains = [
        gain(comparison.single_prediction, comparison.ensemble_predictions[best_strength], comparison.n_independent)
        for comparison in comparisons
    ]
    return CrossValidation(
        sample_from_gains(gains), comparisons, strengths, strengths[best_strength], ensemble_fit, full_target
    )


def _mean_rw(comparisons: Sequence[HoldoutComparison], strength_index: int) -> float:
    mean_rw = (
        float(np.mean([comparison.ensemble_predictions[strength_index].rw for comparison in comparisons]))
        if comparisons
        else 0.0
    )
    return mean_rw if np.isfinite(mean_rw) else np.inf


def _compare_at_cut(
    holdout_data: HoldoutData,
    ensemble_model: EnsembleModel,
    cut: HoldoutCut,
    libraries: Sequence[tuple[CandidateGroup, BinnedDistances]],
    rivals: CandidatePool,
    free: tuple[str, ...],
    strengths: tuple[float, ...],
    values: FitValues,
    mean_size: float,
    effective_fraction: float,
    search: ClusterSearch | None,
) -> HoldoutComparison:
    """Return what single clusters and ensembles say beyond a cut."""
    target = holdout_data.target_up_to(cut.cut)
    in_range = holdout_data.r <= cut.end + 1e-9
    r, g = holdout_data.r[in_range], holdout_data.g[in_range]
    beyond_cut = r > cut.cut
    pool, n_rivals = _pool_with_libraries(rivals, libraries, target, values), len(rivals.group_row)
    cluster_tables = candidates.cluster_tables(pool, target)
    fits = candidates.select_rows(
        candidates.fit_cluster_tables(cluster_tables, target, free=free), slice(0, len(pool.group_row))
    )
    rw = np.where(np.isfinite(fits.rw) & ~pool.has_fault, fits.rw, np.inf)
    single_rows = [int(np.argmin(rw))]
    if search is not None:
        order = np.argsort(rw, kind="stable")
        if (searched_group := search(target, pool.select(order), candidates.select_rows(fits, order))) is not None:
            n_listed = len(rw)
            cluster_tables, fits, rw = _append_searched(searched_group, target, free, cluster_tables, fits, rw)
            single_rows.append(n_listed + int(np.argmin(rw[n_listed:])))
    predicted_rows = np.array([*single_rows, *range(n_rivals)])
    padded_rows = np.pad(predicted_rows, (0, max(0, PREDICTION_BATCH_SIZE - len(predicted_rows))), mode="edge")
    tables_and_values = (
        candidates.select_rows(cluster_tables, padded_rows),
        candidates.select_rows(fits.values, padded_rows),
    )
    holdout_points = make_holdout_points(target, r)
    curves = cluster_curves(*tables_and_values, holdout_points)[: len(predicted_rows)]
    names = tuple(name for name in free if name != "scale")
    guess = ensemble.start_parameters(ensemble_model, target.basis, values, names, mean_size)
    fit_ensemble = partial(
        ensemble.fit, ensemble_model, target.basis, names=names, effective_fraction=effective_fraction
    )
    ensemble_fits = [fit_ensemble(guess, strength=0.0)]
    ensemble_fits += [fit_ensemble(ensemble_fits[0].parameters, strength=entry) for entry in strengths if entry]
    ensemble_curves = [
        ensemble_curve(entry, ensemble_model, holdout_points) for entry in ensemble_fits[0 if 0.0 in strengths else 1 :]
    ]
    predictions = [
        prediction(r[beyond_cut], g[beyond_cut], curve[beyond_cut], background=target.background)
        for curve in (*curves, *ensemble_curves)
    ]
    # As of the ensembles' strengths, that which predicts best is taken: of the best listed and the best searched one.
    best_single = int(np.argmin([entry.squares for entry in predictions[: len(single_rows)]]))
    rival_squares = np.array([entry.squares for entry in predictions[len(single_rows) : len(predicted_rows)]])
    return HoldoutComparison(
        cut, n_independent(target, cut), predictions[best_single], tuple(predictions[len(predicted_rows) :]),
        np.where(np.isfinite(rw[:n_rivals]), rival_squares, np.nan), r, g, (curves[best_single], *ensemble_curves),
    )  # fmt: skip


def _pool_with_libraries(
    rivals: CandidatePool,
    libraries: Sequence[tuple[CandidateGroup, BinnedDistances]],
    target: Target,
    values: FitValues,
) -> CandidatePool:
    """Return the rivals, and after them the listed clusters that fit a target best."""
    groups = list(rivals.groups)
    group_columns, row_columns = [rivals.group], [rivals.group_row]
    for library_group, binned_distances in libraries:
        rows = screening.best_rows(
            binned_distances,
            screening.gauss_newton_misfits(binned_distances, target.basis, values),
            count=N_LISTED_CANDIDATES // len(libraries),
        )
        groups.append(library_group._replace(rows=rows))
        group_columns.append(np.full(len(rows), len(groups) - 1))
        row_columns.append(np.arange(len(rows)))
    return CandidatePool(tuple(groups), np.concatenate(group_columns), np.concatenate(row_columns))


def _append_searched(
    searched_group: CandidateGroup, target: Target, free: tuple[str, ...], cluster_tables, fits: Fit, rw: np.ndarray
):
    """Return tables, fits and Rw with those of a few more candidates at their ends."""
    searched_pool = candidates.candidate_pool(
        [searched_group._replace(rows=searched_group.rows[:N_SEARCHED_CANDIDATES])]
    )
    searched_tables = candidates.cluster_tables(searched_pool, target)
    searched_fits = candidates.select_rows(
        candidates.fit_cluster_tables(searched_tables, target, free=free), slice(0, len(searched_pool.group_row))
    )
    joined_tables = candidates.concatenate(
        candidates.select_rows(cluster_tables, slice(0, len(rw))),
        candidates.select_rows(searched_tables, slice(0, len(searched_pool.group_row))),
    )
    return (
        joined_tables,
        candidates.concatenate(fits, searched_fits),
        np.append(rw, np.where(np.isfinite(searched_fits.rw), searched_fits.rw, np.inf)),
    )


def posterior_fractions(validation: CrossValidation, ensemble_model: EnsembleModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of classes, and such drawn from their posterior [draw, class]; each sum to 1."""
    best_fractions = np.asarray(validation.ensemble_fit.atom_fractions, float)
    fraction_draws = np.asarray(
        jax.device_get(
            ensemble.posterior_fractions(validation.ensemble_fit, ensemble_model, strength=validation.strength)
        ),
        float,
    )
    return best_fractions / best_fractions.sum(), fraction_draws / fraction_draws.sum(axis=1, keepdims=True)
