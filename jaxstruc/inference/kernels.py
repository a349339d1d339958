"""Curves of bodies of each size as a measured pattern sees them, and where to begin fits to it.

Nodes of ln R, even, so that any distribution of size is a column of shares (`size_distributions`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstruc.inference.pattern import Weighted
from jaxstruc.scattering import particle, size_distributions, smearing
from jaxstruc.scattering.particle import Table

NODES = 192
"""Of ln R, about a start."""
FINEST, COARSEST = 0.004, 0.025
"""Steps between them."""
RESOLVED = 5.0
"""Steps in the width of the start."""
ALL, COARSE = 256, 128
"""Nodes over all sizes, and points of Q, where all sizes are tried."""
SMALLEST, LARGEST = 1.0, 6.0
"""Least R times the largest Q, and largest R times the least, that are tried."""
WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.35)
"""Standard deviations over the mean that are tried."""
MEANS = 128
"""That are tried."""
NEAR, BESIDE = 0.2, 17
"""Largest shift of ln R that is tried about a start for each body, and their number."""
PARTS = (0.45, 0.8, 1.2)
"""Of the start's width that are tried likewise."""
APART = 0.04
"""In ln R, between two starts."""
SMEARED = 0.05
"""Largest width of a start where the resolution smears: it hides that the sizes are alike."""
STEP_TWO, REACH_TWO = 0.0125, 1.05
"""Step in ln R where two populations are sought, and how far from the best single one they are tried."""
PLACES, WIDTHS_TWO = 36, (0.03, 0.1)
"""Of the populations that are tried in pairs, and their widths over mean."""


class Window(NamedTuple):
    """Nodes of ln R about a start, and the start."""

    middle: Float[Array, "*batch"]
    """ln R in Å."""
    step: Float[Array, "*batch"]
    width: Float[Array, "*batch"]
    """Of the start, standard deviation over mean."""


class Kernel(NamedTuple):
    """What a pattern sees of a body of each size."""

    u: Float[Array, "*batch node"]
    """ln R in Å."""
    curves: Float[Array, "*batch q node"]
    """V P(QR) over the noise, V in units of the middle's, the background projected out."""
    under: Float[Array, "*batch term node"]
    """What was projected out, in the background's orthonormal terms."""


class Tried(NamedTuple):
    """Spheres of all sizes and widths on some Q."""

    place: Float[Array, "column 2"]
    """ln mean (Å) and width over mean."""
    curves: Float[Array, "q column"]
    """Unweighted, on every so many points."""


def nodes(window: Window, count: int = NODES) -> Float[Array, " node"]:
    """Return ln R at the nodes of a window."""
    return window.middle + window.step * (jnp.arange(count, dtype=jnp.float32) - 0.5 * (count - 1))


def kernel(table: Table, data: Weighted, window: Window, *, count: int = NODES) -> Kernel:
    """Return what a pattern sees of a body at the nodes of a window."""
    u = nodes(window, count)
    curves = sizes(table, data.q, data.dq, u) * data.inverse[:, None]
    under = data.terms.T @ curves
    return Kernel(u, curves - data.terms @ under, under)


def tried(table: Table, q: Float[Array, " q"]) -> Tried:
    """Return the curves of spheres of all sizes that a range of Q can tell."""
    few = q[:: q.shape[0] // min(COARSE, q.shape[0])]
    u = jnp.linspace(jnp.log(SMALLEST / q[-1]), jnp.log(LARGEST / q[0]), ALL)
    step = u[1] - u[0]
    widths = jnp.maximum(jnp.asarray(WIDTHS, u.dtype), size_distributions.MIN_WIDTH * step)
    means = jnp.linspace(u[4], u[-4], MEANS)
    place = jnp.stack(jnp.meshgrid(means, widths, indexing="ij"), axis=-1).reshape(-1, 2)
    columns = jax.vmap(lambda at: size_distributions.gaussian(jnp.exp(at[0]), at[1], u))(place)
    # volumes differ by many orders of magnitude over all sizes, and each column has its own scale anyway
    columns = columns * jnp.exp(3 * (u - place[:, :1]))
    return Tried(place, particle.form_factor(table, few[:, None] * jnp.exp(u)) @ columns.T)


def start(found: Tried, data: Weighted) -> Window:
    """Return where to begin: the nodes about the best of all sizes and widths of spheres."""
    best = found.place[jnp.argmin(misfits(found, data))]
    width = best[1] if data.dq is None else jnp.minimum(best[1], SMEARED)
    return Window(best[0], jnp.clip(width / RESOLVED, FINEST, COARSEST), width)


def misfits(found: Tried, data: Weighted) -> Float[Array, " column"]:
    """Return the share of the data that each column leaves, with its own scale and background."""
    every = data.q.shape[0] // found.curves.shape[0]
    inverse, terms = data.inverse[::every], data.terms[::every]
    basis = jnp.linalg.qr(terms)[0]
    left = data.data[::every] - basis @ (basis.T @ data.data[::every])
    curves = found.curves * inverse[:, None]
    curves = curves - basis @ (basis.T @ curves)
    along = left @ curves
    length = jnp.maximum(jnp.sum(curves**2, axis=0), 1e-30)
    return 1 - jnp.where(along > 0, along**2 / length, 0.0) / jnp.maximum(left @ left, 1e-30)


def starts(of: Kernel, data: Weighted, window: Window, count: int) -> Float[Array, "start 2"]:
    """Return ln mean and ln width of the best places near a window's middle, for its body."""
    step = window.step
    means = window.middle + jnp.linspace(-NEAR, NEAR, BESIDE)
    widths = jnp.maximum(window.width * jnp.asarray(PARTS), 1.2 * size_distributions.MIN_WIDTH * step)
    place = jnp.stack(jnp.meshgrid(means, widths, indexing="ij"), axis=-1).reshape(-1, 2)
    columns = jax.vmap(lambda at: size_distributions.gaussian(jnp.exp(at[0]), at[1], of.u))(place)
    curves = of.curves @ columns.T
    along = data.data @ curves
    gain = jnp.where(along > 0, along**2 / jnp.maximum(jnp.sum(curves**2, axis=0), 1e-30), 0.0)
    chosen = []
    for _ in range(count):
        best = place[jnp.argmax(gain)]
        chosen.append(best)
        gain = jnp.where(jnp.abs(place[:, 0] - best[0]) < APART, -1.0, gain)
    found = jnp.stack(chosen)
    return jnp.stack([found[:, 0], jnp.log(found[:, 1])], axis=1)


def pairs(of: Kernel, data: Weighted, window: Window, count: int) -> Float[Array, "start 2 2"]:
    """Return ln mean and ln width of the best pairs of populations in a window: all pairs of a table are tried."""
    means = window.middle + jnp.linspace(-REACH_TWO, REACH_TWO, PLACES)
    place = jnp.stack(jnp.meshgrid(means, jnp.asarray(WIDTHS_TWO), indexing="ij"), axis=-1).reshape(-1, 2)
    columns = jax.vmap(lambda at: size_distributions.gaussian(jnp.exp(at[0]), at[1], of.u))(place)
    curves = of.curves @ columns.T
    curves = curves / jnp.sqrt(jnp.maximum(jnp.sum(curves**2, axis=0), 1e-30))
    along, cosine = data.data @ curves, curves.T @ curves
    both = jnp.stack(jnp.broadcast_arrays(along[:, None], along[None, :]), axis=-1)
    amounts = two(both, cosine)
    gain = jnp.sum(amounts * both, axis=-1)
    gain = jnp.where(place[:, None, 0] < place[None, :, 0] - 0.5 * APART, gain, -1.0)
    chosen = []
    for _ in range(count):
        first, second = jnp.unravel_index(jnp.argmax(gain), gain.shape)
        chosen.append(jnp.stack([place[first], place[second]]))
        near = jnp.abs(place[:, 0] - place[first, 0])[:, None] + jnp.abs(place[:, 0] - place[second, 0])[None, :]
        gain = jnp.where(near < 4 * APART, -1.0, gain)
    found = jnp.stack(chosen)
    return jnp.stack([found[..., 0], jnp.log(found[..., 1])], axis=-1)


def two(along: Float[Array, "*batch 2"], cosine: Float[Array, "*batch"]) -> Float[Array, "*batch 2"]:
    """Return the best non-negative amounts of two unit columns.

    Args:
        along: products of data and columns.
        cosine: product of the columns.
    """
    rest = jnp.maximum(1 - cosine**2, 1e-6)
    first, other = along[..., 0], along[..., 1]
    both = jnp.stack([first - cosine * other, other - cosine * first], axis=-1) / rest[..., None]
    alone = jnp.where(
        (first > other)[..., None], jnp.stack([first, 0 * other], axis=-1), jnp.stack([0 * first, other], axis=-1)
    )
    return jnp.where(jnp.all(both > 0, axis=-1, keepdims=True), both, jnp.maximum(alone, 0.0))


def sizes(table: Table, q: Float[Array, " q"], dq: Float[Array, " q"] | None, u) -> Float[Array, "q node"]:
    """Return V P(QR) of each size, smeared where dq is given, V in units of the middle's."""

    def curves(at):
        return particle.form_factor(table, at[:, None] * jnp.exp(u))

    volume = jnp.exp(3 * (u - u[u.shape[0] // 2]))
    return volume * (curves(q) if dq is None else smearing.smeared(curves, q, dq))
