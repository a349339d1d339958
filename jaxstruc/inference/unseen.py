r"""What a model says of a range of r that it was not fitted to, and the judgement between one cluster and many.

A fit to r below a cut, all its values held, predicts what lies beyond. A mixture always fits better than its best
member; only if the sample is one it predicts better. With noise of unknown size the gain of one prediction over another
is $\frac{n}{2} \ln (E_1 / E_2)$, E their sums of squares and n the independent points beyond the cut.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.inference import fit
from jaxstruc.inference import target as targets
from jaxstruc.inference.ensemble import EnsembleFit
from jaxstruc.inference.mixture import EnsembleModel, class_stretches
from jaxstruc.inference.target import Target
from jaxstruc.inference.values import FitValues
from jaxstruc.scattering.templates import ClusterTable

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
