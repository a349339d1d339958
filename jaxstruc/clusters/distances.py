"""Distances between atoms, one by one and gathered in bins."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.spatial.distance import pdist

DISTANCE_BLOCK_SIZE = 8000
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


def distances(
    a: Float[Array | np.ndarray, "a 3"], b: Float[Array | np.ndarray, "b 3"] | None = None
) -> Float[Array, "a b"]:
    r"""Return the distances $r_{ij} = |x_i - y_j|$ from each point of `a` to each of `b`, or of `a` without one.

    Axis by axis, which is several times faster in a batch. The gradient is zero where points coincide.
    """
    b = a if b is None else b
    x, y, z = ((a[:, None, k] - b[None, :, k]) ** 2 for k in range(3))
    return safe_sqrt(x + y + z)


def pair_distances(positions: Float[Array, "atom 3"], mask: Bool[Array, " atom"]) -> tuple[Array, Array]:
    """Return the distances of pairs [row, atom], each pair once, and their weights: 1, 0 where an atom is absent.

    Row k has those from each atom to the one k + 1 places on; of an even number of atoms the last row has each twice,
    and weights of 1/2.
    """
    n_atoms = mask.size
    n_rows = n_atoms // 2

    def cyclic_shifts(column):  # a list repeated and cut into rows of one more than its length moves on by one a row
        return jnp.tile(column, n_rows + 2)[n_atoms + 1 :][: n_rows * (n_atoms + 1)].reshape(n_rows, n_atoms + 1)[
            :, :n_atoms
        ]

    squared_distance = sum((column - cyclic_shifts(column)) ** 2 for column in positions.T)
    weight = jnp.where(mask & cyclic_shifts(mask), 1.0, 0.0)
    is_counted_twice = (jnp.arange(n_rows) == n_rows - 1) & (n_atoms % 2 == 0)
    return jnp.sqrt(squared_distance), weight * jnp.where(is_counted_twice, 0.5, 1.0)[:, None]


def safe_sqrt(x: Float[Array | np.ndarray, "*any"]) -> Float[Array, "*any"]:
    """Return the square root, 0 for what is not positive, NaN of NaN, with a gradient that is 0 there."""
    is_not_positive = x <= 0
    return jnp.where(is_not_positive, 0.0, jnp.sqrt(jnp.where(is_not_positive, 1.0, x)))


def histogram(positions: Float[np.ndarray, "atom 3"], *, width: float) -> Histogram:
    """Return the distances of atoms in the bins that have any, centred on multiples of the width; float32, on the host.

    Centred there, since many distances are whole numbers of bonds, which rounding would spread over two bins.
    """
    distance = pdist(positions)
    n_bins = round(distance.max() / width) + 2
    moments = np.zeros((3, n_bins))
    for start in range(0, len(distance), DISTANCE_BLOCK_SIZE):
        offset = distance[start : start + DISTANCE_BLOCK_SIZE] / width
        bin_index = np.rint(offset).astype(np.intp)
        offset -= bin_index
        moments += [
            np.bincount(bin_index, offset_power, n_bins)
            for offset_power in (np.ones_like(offset), offset, offset * offset)
        ]
    occupied_bins = np.flatnonzero(moments[0])
    count, first_moment, second_moment = moments[:, occupied_bins]
    offset = first_moment / count
    variance = np.maximum(second_moment / count - offset**2, 0.0) * width**2
    weight, mean, variance = (
        values.astype(np.float32) for values in (2 * count, (occupied_bins + offset) * width, variance)
    )
    return Histogram(weight, mean, variance, len(positions))


def traced_histogram(
    distance: Float[Array, " pair"],
    weight: Float[Array, " pair"],
    n_atoms: Float[Array, ""],
    *,
    width: float,
    max_distance: float,
) -> Histogram:
    """Return what `histogram` does for given pairs, traced: all bins up to `max_distance`; differentiable.

    Args:
        distance: of each pair; longer ones than `max_distance` are left out.
        weight: of each pair, twice what a pair of atoms counts.
        n_atoms: their number.
        width: of a bin.
        max_distance: distance.
    """
    n_bins = round(max_distance / width) + 1
    is_inside = distance < max_distance
    weight, distance = weight * is_inside, jnp.where(is_inside, distance, 0.0)
    bin_index = jnp.clip(jnp.round(distance / width).astype(jnp.int32), 0, n_bins - 1)
    total_weight = jnp.zeros(n_bins, distance.dtype).at[bin_index].add(weight)
    safe_weight = jnp.where(total_weight > 0, total_weight, 1.0)
    mean = jnp.zeros_like(total_weight).at[bin_index].add(weight * distance) / safe_weight
    variance = jnp.zeros_like(total_weight).at[bin_index].add(weight * (distance - mean[bin_index]) ** 2) / safe_weight
    return Histogram(total_weight, mean, variance, n_atoms)


def distinct_distances(positions: Float[np.ndarray, "atom 3"], *, digits: int = 6) -> Histogram:
    """Return the different distances of atoms, to so many digits, with variance 0; float64, on the host."""
    values, counts = np.unique(np.round(pdist(positions), digits), return_counts=True)
    return Histogram(2.0 * counts, values, np.zeros_like(values), len(positions))
