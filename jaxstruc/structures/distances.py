"""Distances between atoms, one by one and gathered in bins."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.spatial.distance import pdist

BLOCK = 8000
"""Distances at a time on the host: their arrays stay in the processor's cache."""


class Histogram(NamedTuple):
    """The pair distances of a cluster, gathered in narrow bins. Padding has weight 0."""

    weight: Float[Array | np.ndarray, "*batch bin"]
    """Ordered pairs: each pair of atoms counts twice."""
    mean: Float[Array | np.ndarray, "*batch bin"]
    """Distance, in the unit of the positions."""
    variance: Float[Array | np.ndarray, "*batch bin"]
    """Of the distances about their mean."""
    atoms: Float[Array | np.ndarray, "*batch"] | float
    """Number of atoms."""


def distances(a: Float[Array, "a 3"], b: Float[Array, "b 3"] | None = None) -> Float[Array, "a b"]:
    r"""Return the distances $r_{ij} = |x_i - y_j|$ from each point of `a` to each of `b`, or of `a` without one.

    Axis by axis, which is several times faster in a batch. The gradient is zero where points coincide.
    """
    b = a if b is None else b
    x, y, z = ((a[:, None, k] - b[None, :, k]) ** 2 for k in range(3))
    return root(x + y + z)


def pairs(positions: Float[Array, "atom 3"], mask: Bool[Array, " atom"]) -> tuple[Array, Array]:
    """Return the distances of pairs [row, atom], each pair once, and their weights: 1, 0 where an atom is absent.

    Row k has those from each atom to the one k + 1 places on; of an even number of atoms the last row has each twice,
    and weights of 1/2.
    """
    atoms = mask.size
    half = atoms // 2

    def on(column):  # a list repeated and cut into rows of one more than its length moves on by one a row
        return jnp.tile(column, half + 2)[atoms + 1 :][: half * (atoms + 1)].reshape(half, atoms + 1)[:, :atoms]

    square = sum((column - on(column)) ** 2 for column in positions.T)
    weight = jnp.where(mask & on(mask), 1.0, 0.0)
    twice = (jnp.arange(half) == half - 1) & (atoms % 2 == 0)
    return jnp.sqrt(square), weight * jnp.where(twice, 0.5, 1.0)[:, None]


def root(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Return the square root, 0 for what is not positive, NaN of NaN, with a gradient that is 0 there."""
    flat = x <= 0
    return jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, x)))


def histogram(positions: Float[np.ndarray, "atom 3"], *, width: float) -> Histogram:
    """Return the distances of atoms in the bins that have any, centred on multiples of the width; float32, on the host.

    Centred there, since many distances are whole numbers of bonds, which rounding would spread over two bins.
    """
    apart = pdist(positions)
    size = round(apart.max() / width) + 2
    sums = np.zeros((3, size))
    for start in range(0, len(apart), BLOCK):
        off = apart[start : start + BLOCK] / width
        place = np.rint(off).astype(np.intp)
        off -= place
        sums += [np.bincount(place, power, size) for power in (np.ones_like(off), off, off * off)]
    occupied = np.flatnonzero(sums[0])
    count, first, second = sums[:, occupied]
    off = first / count
    variance = np.maximum(second / count - off**2, 0.0) * width**2
    weight, mean, variance = (x.astype(np.float32) for x in (2 * count, (occupied + off) * width, variance))
    return Histogram(weight, mean, variance, len(positions))


def gathered(
    distance: Float[Array, " pair"],
    weight: Float[Array, " pair"],
    atoms: Float[Array, ""],
    *,
    width: float,
    longest: float,
) -> Histogram:
    """Return what `histogram` does for given pairs, traced: all bins up to `longest`; differentiable.

    Args:
        distance: of each pair; longer ones than `longest` are left out.
        weight: of each pair, twice what a pair of atoms counts.
        atoms: their number.
        width: of a bin.
        longest: distance.
    """
    bins = round(longest / width) + 1
    inside = distance < longest
    weight, distance = weight * inside, jnp.where(inside, distance, 0.0)
    place = jnp.clip(jnp.round(distance / width).astype(jnp.int32), 0, bins - 1)
    total = jnp.zeros(bins, distance.dtype).at[place].add(weight)
    filled = jnp.where(total > 0, total, 1.0)
    mean = jnp.zeros_like(total).at[place].add(weight * distance) / filled
    variance = jnp.zeros_like(total).at[place].add(weight * (distance - mean[place]) ** 2) / filled
    return Histogram(total, mean, variance, atoms)


def distinct(positions: Float[np.ndarray, "atom 3"], *, digits: int = 6) -> Histogram:
    """Return the different distances of atoms, to so many digits, with variance 0; float64, on the host."""
    values, counts = np.unique(np.round(pdist(positions), digits), return_counts=True)
    return Histogram(2.0 * counts, values, np.zeros_like(values), len(positions))
