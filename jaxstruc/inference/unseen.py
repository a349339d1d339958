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

from jaxstruc.inference import ensemble, screening
from jaxstruc.inference import target as targets
from jaxstruc.inference.ensemble import Found, Mixture
from jaxstruc.inference.target import Target
from jaxstruc.inference.values import Values
from jaxstruc.scattering import templates
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


def points(goal: Target, cut: Cut) -> float:
    """Return the independent points of the range that is predicted."""
    return (cut.end - cut.cut) * (goal.qmax - goal.qmin) / math.pi


def curve(f: Float[Array, " q"], goal: Target, values: Values, r: Float[np.ndarray, " r"]) -> Float[np.ndarray, " r"]:
    """Return G(r) of F(Q) at the points of `grid`, with a scale and the resolution of values, on the host."""
    q, to_g = targets.transform(r, goal.qmin, goal.qmax, goal.span)
    damping = np.exp(-0.5 * (r * float(values.qdamp)) ** 2)
    return float(values.scale) * damping * (to_g @ np.asarray(f, float)[: q.size])


def grid(goal: Target, r: Float[np.ndarray, " r"]) -> Float[Array, " q"]:
    """Return the points of Q, padded to one size, of which `curve` makes G(r)."""
    q, _ = targets.transform(r, goal.qmin, goal.qmax, goal.span)
    return jnp.asarray(np.pad(q, (0, max(0, len(goal.basis.q) - q.size))), jnp.float32)


def of_clusters(tables: Template, values: Values, goal: Target, r: Float[np.ndarray, " r"]) -> list[np.ndarray]:
    """Return G(r) of clusters' fits, on other points than were fitted; no background.

    Args:
        tables: of the clusters [cluster].
        values: of their fits [cluster].
        goal: what was fitted.
        r: in Å.
    """
    found = np.asarray(_structure_functions(tables, values, grid(goal, r)))
    each = [jax.tree.map(lambda column, k=k: column[k], values) for k in range(len(found))]
    return [curve(f, goal, own, r) for f, own in zip(found, each, strict=True)]


def of_ensemble(found: Found, mixture: Mixture, goal: Target, r: Float[np.ndarray, " r"]) -> np.ndarray:
    """Return G(r) of an ensemble's fit, on other points than were fitted; no background.

    Args:
        found: the fit.
        mixture: the classes.
        goal: what was fitted.
        r: in Å.
    """
    f = _mixed(found, mixture, grid(goal, r))
    return curve(f, goal, found.values._replace(scale=np.ones(())), r)


@jax.jit
def _structure_functions(tables: Template, values: Values, q) -> Float[Array, "cluster q"]:
    return jax.vmap(lambda one, v: templates.reduced_structure_function(one, v.instrument, q))(tables, values)


@jax.jit
def _mixed(found: Found, mixture: Mixture, q) -> Float[Array, " q"]:
    stretch = ensemble.stretches(found.values.stretch, found.guess.contraction[0], mixture)
    each = jax.tree.map(lambda column: jnp.broadcast_to(column, stretch.shape), found.values)
    return found.share @ _structure_functions(mixture.tables, each._replace(stretch=stretch), q)


def prediction(observed: Float[np.ndarray, " r"], calculated: Float[np.ndarray, " r"]) -> Prediction:
    """Return how well a curve predicts data."""
    squares, signal = float(np.sum((observed - calculated) ** 2)), max(float(np.sum(observed**2)), 1e-300)
    return Prediction(max(squares, EXACT**2 * signal), math.sqrt(squares / signal))


def gain(one: Prediction, other: Prediction, points: float) -> float:
    """Return the gain in the logarithm of the likelihood of another prediction over one."""
    return 0.5 * points * math.log(one.squares / other.squares)


def verdict(gains: Sequence[float]) -> str:
    """Return single, distribution or undecided, of the gains of the ensemble over the single one at each cut."""
    mean = float(np.mean(gains)) if len(gains) else 0.0
    return "distribution" if mean > CLEAR else "single" if mean < -CLEAR else "undecided"
