"""Distances between atoms, as arrays and as histograms."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.spatial.distance import pdist

DISTANCE_BLOCK_SIZE = 8000
"""Number of distances that `histogram` processes at once. Its arrays then fit into the cache of the processor."""


class Histogram(NamedTuple):
    """A histogram of the pair distances of a cluster in narrow bins. Padding has weight 0."""

    weight: Float[Array | np.ndarray, "*batch bin"]
    """Number of ordered pairs in each bin. Two atoms contribute 2."""
    mean: Float[Array | np.ndarray, "*batch bin"]
    """Mean of the distances in each bin, in the unit of the positions."""
    variance: Float[Array | np.ndarray, "*batch bin"]
    """Variance of the distances in each bin, in the squared unit of the positions."""
    atoms: Float[Array | np.ndarray, "*batch"] | float
    """Number of atoms of the cluster."""


def distances(
    a: Float[Array | np.ndarray, "a 3"], b: Float[Array | np.ndarray, "b 3"] | None = None
) -> Float[Array, "a b"]:
    r"""Return the distances $r_{ij} = |a_i - b_j|$ between all points of `a` and of `b`, in the unit of the points.

    By default, `b` is `a`. If two points coincide, the gradient of their distance is 0. The sum over x, y and z is
    written out, because this is several times faster in a batch.
    """
    b = a if b is None else b
    x, y, z = ((a[:, None, k] - b[None, :, k]) ** 2 for k in range(3))
    return safe_sqrt(x + y + z)


def pair_distances(positions: Float[Array, "atom 3"], mask: Bool[Array, " atom"]) -> tuple[Array, Array]:
    """Return the distances of all pairs [row, atom], and the weights of the pairs [row, atom].

    Row k holds the distances between each atom i and atom i + k + 1 (modulo the number of rows of `positions`). The
    weight of a pair is 1, or 0 if one of its atoms is padding. If the number of rows of `positions` is even, the last
    row holds each pair twice, with half the weight.

    Args:
        positions: Positions of the atoms, in any unit.
        mask: Mask of the rows that hold atoms. It is False for padding.
    """
    n_atoms = mask.size
    n_rows = n_atoms // 2

    def cyclic_shifts(column):  # if the repeated column is cut into rows of n + 1, each row is shifted by one more
        return jnp.tile(column, n_rows + 2)[n_atoms + 1 :][: n_rows * (n_atoms + 1)].reshape(n_rows, n_atoms + 1)[
            :, :n_atoms
        ]

    squared_distance = sum((column - cyclic_shifts(column)) ** 2 for column in positions.T)
    weight = jnp.where(mask & cyclic_shifts(mask), 1.0, 0.0)
    is_counted_twice = (jnp.arange(n_rows) == n_rows - 1) & (n_atoms % 2 == 0)
    return jnp.sqrt(squared_distance), weight * jnp.where(is_counted_twice, 0.5, 1.0)[:, None]


def safe_sqrt(x: Float[Array | np.ndarray, "*any"]) -> Float[Array, "*any"]:
    """Return the square root of x. If x is negative or 0, the value and the gradient are 0. NaN gives NaN."""
    is_not_positive = x <= 0
    return jnp.where(is_not_positive, 0.0, jnp.sqrt(jnp.where(is_not_positive, 1.0, x)))


def longest_distance(positions: Float[np.ndarray, "atom 3"]) -> float:
    """Return the longest distance between two atoms, in the unit of the positions.

    Only atoms far from the centre are compared, because the radii of a pair add up to its distance at least.
    """
    radius = np.linalg.norm(positions - positions.mean(axis=0), axis=1)
    lower_bound = np.max(np.linalg.norm(positions - positions[np.argmax(radius)], axis=1))
    outer_positions = positions[radius + radius.max() >= (1 - 1e-9) * lower_bound]
    return float(pdist(outer_positions).max()) if len(outer_positions) > 1 else 0.0


def histogram(positions: Float[np.ndarray, "atom 3"], *, width: float) -> Histogram:
    """Return the histogram of the pair distances, without its empty bins, as float32 NumPy arrays.

    The bins are centred at multiples of the width, because many distances are whole numbers of bond lengths. Such
    distances would otherwise lie at the edge of a bin, and rounding would distribute them over two bins.

    Args:
        positions: Positions of the atoms, in any unit.
        width: Width of a bin, in the same unit.
    """
    distance = pdist(positions)
    n_bins = round(distance.max() / width) + 2
    moments = np.zeros((3, n_bins))
    for start in range(0, len(distance), DISTANCE_BLOCK_SIZE):
        offset = distance[start : start + DISTANCE_BLOCK_SIZE] / width
        bin_index = np.rint(offset).astype(np.intp)
        offset -= bin_index
        moments[0] += np.bincount(bin_index, minlength=n_bins)
        moments[1:] += [np.bincount(bin_index, power, n_bins) for power in (offset, offset * offset)]
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
    """Return a histogram that is differentiable and may be computed inside `jit`. It holds all bins to `max_distance`.

    Args:
        distance: Distance of each pair, in any unit.
        weight: Weight of each pair: 2 for a pair of two atoms, 0 for padding.
        n_atoms: Number of atoms.
        width: Width of a bin, in the unit of the distances.
        max_distance: Longest distance of the histogram. Longer distances are left out.
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
    """Return a histogram with one bin for each distinct pair distance, as float64 NumPy arrays.

    The distances are rounded to `digits` decimal places. The variances are 0.
    """
    values, counts = np.unique(np.round(pdist(positions), digits), return_counts=True)
    return Histogram(2.0 * counts, values, np.zeros_like(values), len(positions))
