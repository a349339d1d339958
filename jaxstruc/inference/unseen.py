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
from jaxstruc.inference.ensemble import Found
from jaxstruc.inference.mixture import Mixture, stretches
from jaxstruc.inference.target import Target
from jaxstruc.inference.values import Values
from jaxstruc.scattering.templates import Template

CUTS = (0.6, 0.7, 0.8)
"""Of the signal's end."""
LEAST = 8.0
"""Å. Least cut."""
FARTHEST = 1.5
"""Of a cut, up to where is predicted at most."""
ENOUGH = 2.0
"""Å of data beyond a cut at least."""
REACH = 50.0
"""Å. Data beyond are not looked at."""
EXACT = 0.01
"""Rw below which no prediction is better than another: there the simulation's own accuracy counts."""
CLEAR = 2.0
"""Mean gain over the cuts from which the judgement is clear."""


class Cut(NamedTuple):
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


def cuts(r: Float[np.ndarray, " r"], end: float) -> list[Cut]:
    """Return the cuts of data whose signal has an end, in Å; none where too little lies beyond.

    Args:
        r: of the data, in Å.
        end: of the signal, in Å.
    """
    end = min(end, float(r[-1]), REACH)
    found = []
    for share in CUTS:
        cut = max(LEAST, share * end)
        stop = min(end, FARTHEST * cut)
        if stop - cut >= ENOUGH:
            found.append(Cut(cut, stop))
    return list(dict.fromkeys(found))


def independent(goal: Target, cut: Cut) -> float:
    """Return the independent points of the range that is predicted."""
    return (cut.end - cut.cut) * (goal.qmax - goal.qmin) / math.pi


class Points(NamedTuple):
    """Points of r at which curves are predicted, and what takes F(Q) there."""

    r: np.ndarray
    """Å"""
    q: Float[Array, " q"]
    """1/Å, padded to one size."""
    to_g: Float[np.ndarray, "r q"]


def points_of(goal: Target, r: Float[np.ndarray, " r"]) -> Points:
    """Return the points of a target's models at other r than were fitted, in Å."""
    q, to_g = targets.transform(r, goal.qmin, goal.qmax, goal.span)
    padded = (0, max(0, len(goal.basis.q) - q.size))
    return Points(r, jnp.asarray(np.pad(q, padded), jnp.float32), np.pad(to_g, ((0, 0), padded)))


def of_clusters(tables: Template, values: Values, points: Points) -> Float[np.ndarray, "cluster r"]:
    """Return G(r) of clusters' fits, without background, on the host.

    Args:
        tables: of the clusters [cluster].
        values: of their fits [cluster].
        points: where.
    """
    f = np.asarray(fit.structure_functions(tables, values, points.q), float)
    return np.asarray(values.scale, float)[:, None] * _damped(f, np.asarray(values.qdamp, float)[:, None], points)


def of_ensemble(found: Found, mixture: Mixture, points: Points) -> Float[np.ndarray, " r"]:
    """Return G(r) of an ensemble's fit, without background, on the host."""
    return _damped(np.asarray(_mixed(found, mixture, points.q), float), float(found.values.qdamp), points)


def _damped(f, qdamp, points: Points):
    return np.exp(-0.5 * (points.r * qdamp) ** 2) * (f @ points.to_g.T)


@jax.jit
def _mixed(found: Found, mixture: Mixture, q) -> Float[Array, " q"]:
    stretch = stretches(found.values.stretch, found.guess.contraction[0], mixture)
    each = jax.tree.map(lambda column: jnp.broadcast_to(column, stretch.shape), found.values)
    return found.share @ fit.structure_functions(mixture.tables, each._replace(stretch=stretch), q)


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
    left, held = (x - terms @ (terms.T @ x) for x in (observed - calculated, observed))
    squares, signal = float(left @ left), max(float(held @ held), 1e-300)
    return Prediction(max(squares, EXACT**2 * signal), math.sqrt(squares / signal))


def gain(one: Prediction, other: Prediction, points: float) -> float:
    """Return the gain in the logarithm of the likelihood of another prediction over one."""
    return 0.5 * points * math.log(one.squares / other.squares)


def verdict(gains: Sequence[float]) -> str:
    """Return single, distribution or undecided, of the gains of the ensemble over the single one at each cut."""
    mean = float(np.mean(gains)) if len(gains) else 0.0
    return "distribution" if mean > CLEAR else "single" if mean < -CLEAR else "undecided"
