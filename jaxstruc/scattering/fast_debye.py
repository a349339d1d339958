r"""Pair distances spread over equally spaced nodes. A few thousand nodes represent millions of pairs.

A scattering curve is a sum over pairs p of $w_p\, g(d_p)$. Here $w_p$ is the weight of a pair, $d_p$ is its distance,
and g(d) is a sine of Qd with Q up to qmax. Such a band-limited function may be interpolated between nodes $x_n$ at even
distances: $g(d) \approx \sum_n c_n(d)\, g(x_n)$. Only the few nodes around d have $c_n(d) \ne 0$. They are called the
window of d. Then

$$\sum_p w_p\, g(d_p) \approx \sum_n W_n g(x_n), \qquad W_n = \sum_p w_p c_n(d_p)$$

The weights $W_n$ need one addition for each node in the window of each pair, but no sine.

The $c_n$ are the coefficients with the smallest error for all sines up to qmax, as in J. A. Fessler, B. P. Sutton, IEEE
Trans. Signal Process. 51, 560 (2003), doi 10.1109/TSP.2002.807005. The interval between two neighbouring nodes is
called a cell. Here the $c_n$ are polynomials of t, the position in the cell from -1 to 1. It is therefore sufficient to
sum the powers of t, times $w_p$, over all pairs in each cell. These sums are called moments. One small matrix product
gives the weights $W_n$ from the moments.
"""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

WINDOW_WIDTHS = ((1e-7, 8), (1e-10, 12), (0.0, 16))
"""Number of nodes in a window for each range of `SpreadingNodes.accuracy`.

Each entry gives the lower end of the range and the number of nodes. A wider window costs more time for each pair but
needs fewer nodes in total. These numbers gave the shortest times.
"""
MAX_BLOCK_ATOMS = 128
"""Largest number of atoms in a block of `spread_positions`. The pairs of two blocks fit into the processor's cache."""
PADDING_DISTANCE = 1e5
"""Lower limit of the distance in Å between padding and atoms, and between padding and other padding."""


@dataclass(frozen=True)
class SpreadingNodes:
    """Nodes at even distances, which represent all distances up to `max_distance`."""

    max_distance: float
    """Longest pair distance in Å. A longer distance turns the result into NaN."""
    qmax: float
    """Largest Q at which the sum is evaluated, in 1/Å."""
    accuracy: float = 1e-6
    """Largest error of the sine of a pair, relative to the amplitude of the sine."""

    @property
    def window_width(self) -> int:
        """Number of nodes in a window."""
        return next(n_nodes for min_accuracy, n_nodes in WINDOW_WIDTHS if self.accuracy >= min_accuracy)

    @property
    def spacing(self) -> float:
        """Spacing of the nodes in Å. It has twelve binary digits, so that the cells are exact in single precision."""
        mantissa, exponent = math.frexp(_window_kernel(self.window_width, self.accuracy)[0] / self.qmax)
        return math.ldexp(math.floor(mantissa * 4096), exponent - 12)

    @property
    def n_cells(self) -> int:
        """Number of cells (intervals between nodes) from 0 to `max_distance`."""
        return math.ceil(self.max_distance / self.spacing) + 1

    @property
    def distances(self) -> Float[np.ndarray, " node"]:
        """Distances of the nodes in Å. The first few are negative, because windows of short distances begin below 0."""
        return self.spacing * (np.arange(self.n_cells + self.window_width - 1) - (self.window_width // 2 - 1))


def spread_distances(
    distance: Float[Array, " pair"],
    weight: Float[Array, " pair"],
    channel: Int[Array | np.ndarray, "*#pair"] | int,
    nodes: SpreadingNodes,
    *,
    n_channels: int = 1,
) -> Float[Array, "channel node"]:
    """Return the weights of the nodes that represent the pairs.

    Args:
        distance: Distance of each pair, in Å.
        weight: Weight of each pair. It is 0 for padding.
        channel: Channel of each pair, e.g. a pair of elements. Pairs of different channels are summed separately.
        nodes: Nodes that represent the distances.
        n_channels: Number of channels.
    """
    distance = jnp.abs(distance)
    cell = jnp.minimum((distance * (1 / nodes.spacing)).astype(jnp.int32), nodes.n_cells - 1)
    powers = weight[:, None] * _powers(nodes.window_width, _cell_position(distance, cell, nodes))
    moments = jnp.zeros((n_channels * nodes.n_cells, nodes.window_width), distance.dtype)
    moments = moments.at[channel * nodes.n_cells + cell].add(powers, mode="promise_in_bounds")
    has_long_pairs = jnp.any((distance > nodes.max_distance) & (weight != 0))
    return _node_weights(jnp.where(has_long_pairs, jnp.nan, moments), nodes, n_channels)


def spread_rows(
    distance: Float[Array, " pair"], rows: Float[Array, "pair column"], nodes: SpreadingNodes
) -> Float[Array, "node column"]:
    """Return the weights of the nodes for pairs that have several weights each.

    Args:
        distance: Distance of each pair, in Å. It must not exceed `nodes.max_distance`.
        rows: Weights of each pair, one in each column.
        nodes: Nodes that represent the distances.
    """
    cell, window_weights = _window_weights(distance, nodes)
    result = jnp.zeros((nodes.n_cells + nodes.window_width - 1, rows.shape[1]), distance.dtype)
    node_index = cell[:, None] + np.arange(nodes.window_width)
    return result.at[node_index].add(window_weights[:, :, None] * rows[:, None, :], mode="promise_in_bounds")


def interpolate(
    values: Float[Array, "node column"], points: Float[Array, " point"], nodes: SpreadingNodes
) -> tuple[Float[Array, "point column"], Float[Array, "point column"]]:
    """Return functions and their derivatives at some points, interpolated between the nodes.

    This operation is the transpose of `spread_rows`.

    Args:
        values: Values of the functions at the nodes. The functions are band-limited by `nodes.qmax`.
        points: Points at which the functions are interpolated, at most `nodes.max_distance`.
        nodes: Nodes at which the values are given.
    """
    cell, window_weights = _window_weights(points, nodes)
    slopes = jax.jvp(lambda point: _window_weights(point, nodes)[1], (points,), (jnp.ones_like(points),))[1]
    rows = values[cell[:, None] + np.arange(nodes.window_width)]
    return jnp.einsum("pw,pwc->pc", window_weights, rows), jnp.einsum("pw,pwc->pc", slopes, rows)


def spread_positions(
    positions: Float[Array | np.ndarray, "atom 3"],
    mask: Bool[Array | np.ndarray, " atom"],
    atom_kinds: Int[Array, " atom"],
    channel_table: Int[np.ndarray, "kind kind"],
    nodes: SpreadingNodes,
) -> Float[Array, "channel node"]:
    """Return the weights of the nodes for all ordered pairs of atoms.

    The pairs are formed block by block, so that no list of pairs is kept in memory.

    Args:
        positions: Positions of the atoms, in Å.
        mask: True for atoms, False for padding.
        atom_kinds: Kind of each atom.
        channel_table: Channel of each pair of kinds.
        nodes: Nodes that represent the distances.
    """
    n_channels = int(channel_table.max()) + 1
    # Padding lies far from all atoms. Its pairs are added to a row that is dropped, so that no pair needs a weight.
    block_size, n_blocks = _block_sizes(positions.shape[0])
    n_padding = block_size * n_blocks - positions.shape[0]
    atom_kinds = jnp.pad(atom_kinds, (0, n_padding)) if n_channels > 1 else jnp.zeros(block_size * n_blocks, jnp.int32)
    padded_positions = jnp.pad(positions, ((0, n_padding), (0, 0)))
    padding_positions = PADDING_DISTANCE * (1 + jnp.arange(block_size * n_blocks, dtype=positions.dtype))
    padded_positions = jnp.where(jnp.pad(mask, (0, n_padding))[:, None], padded_positions, padding_positions[:, None])
    moments = _position_moments(nodes, channel_table.tobytes(), block_size, padded_positions, atom_kinds)
    channel_moments = moments.reshape(n_channels, nodes.n_cells + 2, nodes.window_width)
    # Each atom was also paired with itself. Such a pair lies at t = -1 in the first cell and is subtracted here.
    self_pairs = jnp.zeros(n_channels, moments.dtype).at[jnp.asarray(channel_table)[atom_kinds, atom_kinds]].add(1.0)
    channel_moments = channel_moments.at[:, 0].add(-self_pairs[:, None] * (-1.0) ** np.arange(nodes.window_width))
    cell_moments = jnp.where(
        jnp.any(channel_moments[:, nodes.n_cells, 0] != 0), jnp.nan, channel_moments[:, : nodes.n_cells]
    )
    return _node_weights(cell_moments, nodes, n_channels)


def _block_sizes(n_atoms: int) -> tuple[int, int]:
    """Return the number of atoms in a block, at most `MAX_BLOCK_ATOMS`, and the number of blocks."""
    n_blocks = -(-n_atoms // MAX_BLOCK_ATOMS)
    return 8 * -(-n_atoms // (8 * n_blocks)), n_blocks


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _position_moments(nodes: SpreadingNodes, table_bytes: bytes, block_size: int, positions, atom_kinds):
    """Return the moments of the cells for all ordered pairs, including the pair of each atom with itself.

    The moments are sums of powers of the position t in the cell. Each channel has two rows in addition to the cells.
    One is for distances that exceed `nodes.max_distance`, and one is for pairs with padding.
    """
    zero_moments = _zero_moments(nodes, table_bytes, positions.dtype)
    coordinates, atom_kinds, block_pairs = _split_into_blocks(positions, atom_kinds, block_size)

    def add_block_pair(moments, block_pair):
        i, j = block_pair
        _, distance = _block_distances(coordinates[i], coordinates[j])
        rows, t = _moment_rows(nodes, table_bytes, distance, atom_kinds[i], atom_kinds[j])
        multiplicity = jnp.where(i == j, 1, 2).astype(t.dtype)
        block_moments = jnp.zeros_like(moments).at[rows].add(_powers(nodes.window_width, t), mode="promise_in_bounds")
        return moments + multiplicity * block_moments, None

    return jax.lax.scan(add_block_pair, zero_moments, block_pairs)[0]


@_position_moments.defjvp
def _position_moments_jvp(nodes, table_bytes, block_size, primals, tangents):
    """Compute the pairs of blocks again, so that no array of pairs is stored for the derivative.

    The reverse-mode derivative reads one row of the moments for each pair.
    """
    positions, atom_kinds = primals
    zero_moments = _zero_moments(nodes, table_bytes, positions.dtype)
    coordinate_tangents = _split_into_blocks(tangents[0], atom_kinds, block_size)[0]
    coordinates, blocked_kinds, block_pairs = _split_into_blocks(positions, atom_kinds, block_size)

    def add_block_pair(moments, block_pair):
        i, j = block_pair

        @jax.checkpoint
        def pair_tangent(first_tangent, second_tangent):
            difference, distance = _block_distances(coordinates[i], coordinates[j])
            rows, t = _moment_rows(nodes, table_bytes, distance, blocked_kinds[i], blocked_kinds[j])
            multiplicity = jnp.where(i == j, 1, 2).astype(t.dtype)
            projection = jnp.sum(difference * (first_tangent[:, :, None] - second_tangent[:, None, :]), axis=0)
            rate = projection * (2 / nodes.spacing) * multiplicity / jnp.where(distance > 0, distance, 1.0)
            powers = _power_slopes(nodes.window_width, t) * rate.ravel()[:, None]
            return jnp.zeros_like(moments).at[rows].add(powers, mode="promise_in_bounds")

        return moments + pair_tangent(coordinate_tangents[i], coordinate_tangents[j]), None

    moments_tangent = jax.lax.scan(add_block_pair, zero_moments, block_pairs)[0]
    return _position_moments(nodes, table_bytes, block_size, positions, atom_kinds), moments_tangent


def _zero_moments(nodes: SpreadingNodes, table_bytes: bytes, dtype):
    n_channels = int(np.frombuffer(table_bytes, np.int32).max()) + 1
    return jnp.zeros((n_channels * (nodes.n_cells + 2), nodes.window_width), dtype)


def _split_into_blocks(positions, atom_kinds, block_size: int):
    """Return the coordinates [block, axis, atom], the kinds [block, atom], and all pairs of block indices [pair, 2]."""
    coordinates = positions.reshape(-1, block_size, 3).transpose(0, 2, 1)
    return (
        coordinates,
        atom_kinds.reshape(-1, block_size),
        jnp.asarray(np.stack(np.triu_indices(len(coordinates)), axis=1)),
    )


def _block_distances(first_block, second_block):
    """Return the vectors and distances between the atoms of two blocks. The gradient is 0 if two atoms coincide."""
    difference = first_block[:, :, None] - second_block[:, None, :]
    squared_distance = jnp.sum(difference**2, axis=0)
    return difference, jnp.sqrt(jnp.where(squared_distance == 0, 1.0, squared_distance)) * (squared_distance != 0)


def _moment_rows(nodes: SpreadingNodes, table_bytes: bytes, distance, first_kinds, second_kinds):
    """Return the row of the moments to which each pair belongs, and the position t of the pair in its cell."""
    distance = jnp.minimum(distance.ravel(), PADDING_DISTANCE / 2)
    cell = (distance * (1 / nodes.spacing)).astype(jnp.int32)
    t = jnp.where(cell < nodes.n_cells, _cell_position(distance, cell, nodes), 0.0)
    cell = jnp.where(distance >= PADDING_DISTANCE / 2, nodes.n_cells + 1, jnp.minimum(cell, nodes.n_cells))
    channel_table = np.frombuffer(table_bytes, np.int32)
    if channel_table.size == 1:
        return cell, t
    n_kinds = math.isqrt(channel_table.size)
    channel = jnp.asarray(channel_table.reshape(n_kinds, n_kinds))[first_kinds[:, None], second_kinds]
    return channel.ravel() * (nodes.n_cells + 2) + cell, t


def _cell_position(distance, cell, nodes: SpreadingNodes):
    """Return the position t of a distance in its cell, from -1 to 1."""
    return (distance - cell * nodes.spacing) * (2 / nodes.spacing) - 1


def _window_weights(distance, nodes: SpreadingNodes):
    """Return the cell of each distance, and the coefficients $c_n$ of the nodes in its window."""
    cell = jnp.minimum((distance * (1 / nodes.spacing)).astype(jnp.int32), nodes.n_cells - 1)
    coefficients = jnp.asarray(_window_kernel(nodes.window_width, nodes.accuracy)[1], distance.dtype)
    powers = _powers(nodes.window_width, _cell_position(distance, cell, nodes))
    return cell, jnp.matmul(powers, coefficients, precision="highest")


def _node_weights(moments, nodes: SpreadingNodes, n_channels: int) -> Float[Array, "channel node"]:
    """Return the weights of the nodes from the moments of the cells.

    The moments are sums of powers of the position t in the cell. A matrix product gives the weights in each window. The
    overlapping windows are then added by a scatter, because the compiler would evaluate a sum of shifted windows again
    for each Q.
    """
    coefficients = jnp.asarray(_window_kernel(nodes.window_width, nodes.accuracy)[1], moments.dtype)
    window_weights = jnp.matmul(moments, coefficients, precision="highest").reshape(
        n_channels, nodes.n_cells, nodes.window_width
    )
    node_index = np.arange(nodes.n_cells)[:, None] + np.arange(nodes.window_width)
    return (
        jnp.zeros((n_channels, nodes.n_cells + nodes.window_width - 1), moments.dtype)
        .at[:, node_index]
        .add(window_weights)
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _powers(n_powers: int, t: Float[Array, " pair"]) -> Float[Array, "pair power"]:
    """Return t⁰ ... tⁿ⁻¹ as products of t, t², t⁴, ..., which vectorise well."""
    return _power_product(np.arange(n_powers), t)


@_powers.defjvp
def _powers_jvp(n_powers, primals, tangents):
    (t,), (t_tangent,) = primals, tangents
    return _power_product(np.arange(n_powers), t), _power_slopes(n_powers, t) * t_tangent[:, None]


def _power_slopes(n_powers, t):
    """Return d(t^k)/dt for k = 0 ... n_powers - 1."""
    orders = np.arange(n_powers)
    return jnp.asarray(orders, t.dtype) * _power_product(np.maximum(orders - 1, 0), t)


def _power_product(orders, t):
    """Return t raised to each of the orders [pair, order]."""
    result, square = jnp.ones((), t.dtype), t[:, None]
    for bit in range(int(orders.max()).bit_length()):
        result = result * jnp.where((orders >> bit) & 1 == 1, square, 1.0)
        square = square * square
    return result


@functools.lru_cache
def _window_kernel(width: int, accuracy: float) -> tuple[float, Float[np.ndarray, "power width"]]:
    """Return the largest product of spacing and qmax at which the error is at most `accuracy`, and the coefficients.

    The coefficients are those of the polynomials of t that give the weights of the nodes in a window.
    """
    low_phase, high_phase = 1e-2, 3.0
    for _ in range(24):
        middle_phase = math.sqrt(low_phase * high_phase)
        low_phase, high_phase = (
            (middle_phase, high_phase) if _window_error(width, middle_phase) <= accuracy else (low_phase, middle_phase)
        )
    return low_phase, _window_coefficients(width, low_phase)


def _window_coefficients(width: int, phase: float) -> Float[np.ndarray, "power width"]:
    """Return the least-squares coefficients of the nodes in a window, as polynomials of t from -1 to 1.

    The variable t is the position in the cell between the two middle nodes of the window. The fitted functions are
    exp(iq(t + 1)/2), whose phase q between neighbouring nodes is at most `phase`. The weights of the fit increase
    towards the largest q, because the error would be largest there. They also contain a factor that decreases as 1/q⁴,
    because the gradients of I(Q) need small errors at small q.
    """
    x, node_weight = np.polynomial.legendre.leggauss(64)
    q_ratio = (x[:, None] + 1) / 2
    root_weight = np.sqrt(node_weight / np.sqrt(1 - x**2))[:, None] / (q_ratio + 0.02) ** 2
    q = q_ratio * phase
    t = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    node_waves = root_weight * np.exp(1j * q * _window_nodes(width))
    target_waves = root_weight * np.exp(1j * q * (t + 1) / 2)
    real_parts, imaginary_parts = (
        [component(wave) for wave in (node_waves, target_waves)] for component in (np.real, np.imag)
    )
    design_matrix, target = (np.concatenate(blocks) for blocks in zip(real_parts, imaginary_parts, strict=True))
    coefficients = np.linalg.lstsq(design_matrix, target, rcond=1e-15)[0]
    chebyshev_series = np.polynomial.chebyshev.chebfit(t, coefficients.T, width - 1)
    return np.stack(
        [_pad_coefficients(np.polynomial.chebyshev.cheb2poly(column), width) for column in chebyshev_series.T], axis=1
    )


def _window_error(width: int, phase: float) -> float:
    """Return the largest error of the interpolation of waves.

    The phases of the waves change by at most `phase` between neighbouring nodes.
    """
    t = np.linspace(-1, 1, 65)
    q = np.linspace(0, phase, 65)[:, None]
    powers = t[:, None] ** np.arange(width)
    interpolated_waves = np.exp(1j * q * _window_nodes(width)) @ (powers @ _window_coefficients(width, phase)).T
    return float(np.abs(interpolated_waves - np.exp(1j * q * (t + 1) / 2)).max())


def _window_nodes(width: int) -> Int[np.ndarray, " width"]:
    """Return the indices of the nodes in a window. Node 0 is the last node below the distance."""
    return np.arange(width) - (width // 2 - 1)


def _pad_coefficients(values, width: int):
    return np.pad(values, (0, width - len(values)))
