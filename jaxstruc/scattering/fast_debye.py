r"""Distances spread over even nodes: a few thousand nodes stand for millions of pairs.

A curve that is a sum over pairs of a function of the distance, band-limited in Q, may be interpolated between even
nodes: $g(d) \approx \sum_j c_j(d)\, g(x_j)$ over the few nodes around d. Then $\sum_p w_p\, g(d_p) = \sum_n W_n g(x_n)$
with $W_n = \sum_p w_p c_n(d_p)$, which costs an addition for each pair and node of its window, and no sine. The c_j are
the coefficients with the least error for all waves up to qmax, as in J. A. Fessler, B. P. Sutton, IEEE Trans.
Signal Process. 51, 560 (2003), doi 10.1109/TSP.2002.807005; here they are polynomials of the place within a cell, so
each pair adds only its powers to its cell, and one small product makes weights of them.
"""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

WINDOW_WIDTHS = ((1e-7, 8), (1e-10, 12), (0.0, 16))
"""Nodes in a window, by the least error asked for: more nodes a pair, or more nodes an Å; these measure best."""
MAX_BLOCK_ATOMS = 128
"""Most atoms in a block of `spread_positions`: its pairs stay in the processor's cache."""
PADDING_DISTANCE = 1e5
"""Å. Padding is put so far from all atoms and from each other."""


@dataclass(frozen=True)
class SpreadingNodes:
    """Even distances that stand for all others up to `max_distance`."""

    max_distance: float
    """Longest pair distance that may come, in Å. A longer one turns the result into NaN."""
    qmax: float
    """Largest Q at which the sum will be taken, in 1/Å."""
    accuracy: float = 1e-6
    """Largest error of a pair's wave, relative to its amplitude."""

    @property
    def window_width(self) -> int:
        """Nodes in a window."""
        return next(n_nodes for min_accuracy, n_nodes in WINDOW_WIDTHS if self.accuracy >= min_accuracy)

    @property
    def spacing(self) -> float:
        """Between nodes, in Å. Of twelve binary digits, so that in single precision cells begin where they should."""
        mantissa, exponent = math.frexp(_window_kernel(self.window_width, self.accuracy)[0] / self.qmax)
        return math.ldexp(math.floor(mantissa * 4096), exponent - 12)

    @property
    def n_cells(self) -> int:
        """Number of cells from 0 to `max_distance`."""
        return math.ceil(self.max_distance / self.spacing) + 1

    @property
    def distances(self) -> Float[np.ndarray, " node"]:
        """The nodes, in Å. The first few are below 0, where each curve continues as an even function."""
        return self.spacing * (np.arange(self.n_cells + self.window_width - 1) - (self.window_width // 2 - 1))


def spread_distances(
    distance: Float[Array, " pair"],
    weight: Float[Array, " pair"],
    channel: Int[Array | np.ndarray, "*#pair"] | int,
    nodes: SpreadingNodes,
    *,
    n_channels: int = 1,
) -> Float[Array, "channel node"]:
    """Return the weights of the nodes that stand for the pairs.

    Args:
        distance: of each pair, in Å.
        weight: of each pair; 0 for padding.
        channel: of each pair: pairs of unlike kinds stay apart.
        nodes: where to.
        n_channels: their number.
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
    """Return what `spread_distances` does for several weights of each pair at once.

    Args:
        distance: of each pair, in Å; none longer than the nodes reach.
        rows: each pair's weights.
        nodes: where to.
    """
    cell, window_weights = _window_weights(distance, nodes)
    result = jnp.zeros((nodes.n_cells + nodes.window_width - 1, rows.shape[1]), distance.dtype)
    node_index = cell[:, None] + np.arange(nodes.window_width)
    return result.at[node_index].add(window_weights[:, :, None] * rows[:, None, :], mode="promise_in_bounds")


def interpolate(
    values: Float[Array, "node column"], points: Float[Array, " point"], nodes: SpreadingNodes
) -> tuple[Float[Array, "point column"], Float[Array, "point column"]]:
    """Return functions known at the nodes, and their slopes, at other places: the transpose of `spread_rows`.

    Args:
        values: of functions that hold no wave beyond `nodes.qmax`.
        points: where to, at most `nodes.max_distance`.
        nodes: where the values are known.
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
    """Return the weights of the nodes for all ordered pairs of atoms, block by block: no list of pairs is kept.

    Args:
        positions: in Å.
        mask: True for atoms, False for padding.
        atom_kinds: of each atom.
        channel_table: channel of each two kinds.
        nodes: where to.
    """
    n_channels = int(channel_table.max()) + 1
    # Padding is put far from everything; its pairs fall into a row that is dropped, so that no pair needs a weight.
    block_size, n_blocks = _block_sizes(positions.shape[0])
    n_padding = block_size * n_blocks - positions.shape[0]
    atom_kinds = jnp.pad(atom_kinds, (0, n_padding)) if n_channels > 1 else jnp.zeros(block_size * n_blocks, jnp.int32)
    padded_positions = jnp.pad(positions, ((0, n_padding), (0, 0)))
    padding_positions = PADDING_DISTANCE * (1 + jnp.arange(block_size * n_blocks, dtype=positions.dtype))
    padded_positions = jnp.where(jnp.pad(mask, (0, n_padding))[:, None], padded_positions, padding_positions[:, None])
    moments = _position_moments(nodes, channel_table.tobytes(), block_size, padded_positions, atom_kinds)
    channel_moments = moments.reshape(n_channels, nodes.n_cells + 2, nodes.window_width)
    # Each atom was paired with itself, at t = -1 in the first cell.
    self_pairs = jnp.zeros(n_channels, moments.dtype).at[jnp.asarray(channel_table)[atom_kinds, atom_kinds]].add(1.0)
    channel_moments = channel_moments.at[:, 0].add(-self_pairs[:, None] * (-1.0) ** np.arange(nodes.window_width))
    cell_moments = jnp.where(
        jnp.any(channel_moments[:, nodes.n_cells, 0] != 0), jnp.nan, channel_moments[:, : nodes.n_cells]
    )
    return _node_weights(cell_moments, nodes, n_channels)


def _block_sizes(n_atoms: int) -> tuple[int, int]:
    """Return atoms a block, at most BLOCK, and the number of blocks."""
    n_blocks = -(-n_atoms // MAX_BLOCK_ATOMS)
    return 8 * -(-n_atoms // (8 * n_blocks)), n_blocks


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _position_moments(nodes: SpreadingNodes, table_bytes: bytes, block_size: int, positions, atom_kinds):
    """Return the cells' moments of all ordered pairs, those of an atom with itself included.

    Two more rows a channel: for pairs longer than the nodes reach, and for those with padding.
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
    """Pair the blocks again: nothing of a pair is kept, and the transpose is a gather of a row for each pair."""
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
    """Return coordinates and kinds by blocks, and the numbers of each two blocks."""
    coordinates = positions.reshape(-1, block_size, 3).transpose(0, 2, 1)
    return (
        coordinates,
        atom_kinds.reshape(-1, block_size),
        jnp.asarray(np.stack(np.triu_indices(len(coordinates)), axis=1)),
    )


def _block_distances(first_block, second_block):
    """Return the differences and distances of the atoms of two blocks; where they coincide the gradient is 0."""
    difference = first_block[:, :, None] - second_block[:, None, :]
    squared_distance = jnp.sum(difference**2, axis=0)
    return difference, jnp.sqrt(jnp.where(squared_distance == 0, 1.0, squared_distance)) * (squared_distance != 0)


def _moment_rows(nodes: SpreadingNodes, table_bytes: bytes, distance, first_kinds, second_kinds):
    """Return each pair's row of the moments and its place t in the cell."""
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
    """Return t, the place within the cell, from -1 to 1."""
    return (distance - cell * nodes.spacing) * (2 / nodes.spacing) - 1


def _window_weights(distance, nodes: SpreadingNodes):
    """Return each place's cell and its weights of the nodes of its window."""
    cell = jnp.minimum((distance * (1 / nodes.spacing)).astype(jnp.int32), nodes.n_cells - 1)
    coefficients = jnp.asarray(_window_kernel(nodes.window_width, nodes.accuracy)[1], distance.dtype)
    powers = _powers(nodes.window_width, _cell_position(distance, cell, nodes))
    return cell, jnp.matmul(powers, coefficients, precision="highest")


def _node_weights(moments, nodes: SpreadingNodes, n_channels: int) -> Float[Array, "channel node"]:
    """Return the nodes' weights from the cells' moments: a product, and the windows laid over each other.

    By a scatter, which the compiler does not repeat for each Q as it would a sum of shifted windows.
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
    """Return t⁰ ... tⁿ⁻¹, as products of t, t², t⁴, ..., which a processor's lanes do side by side."""
    return _power_product(np.arange(n_powers), t)


@_powers.defjvp
def _powers_jvp(n_powers, primals, tangents):
    (t,), (t_tangent,) = primals, tangents
    return _power_product(np.arange(n_powers), t), _power_slopes(n_powers, t) * t_tangent[:, None]


def _power_slopes(n_powers, t):
    """Return the derivatives of the powers."""
    orders = np.arange(n_powers)
    return jnp.asarray(orders, t.dtype) * _power_product(np.maximum(orders - 1, 0), t)


def _power_product(orders, t):
    """Return t to each of the orders."""
    result, square = jnp.ones((), t.dtype), t[:, None]
    for bit in range(int(orders.max()).bit_length()):
        result = result * jnp.where((orders >> bit) & 1 == 1, square, 1.0)
        square = square * square
    return result


@functools.lru_cache
def _window_kernel(width: int, accuracy: float) -> tuple[float, Float[np.ndarray, "power width"]]:
    """Return the widest spacing times qmax that keeps the accuracy, and its coefficients in powers of t."""
    low_phase, high_phase = 1e-2, 3.0
    for _ in range(24):
        middle_phase = math.sqrt(low_phase * high_phase)
        low_phase, high_phase = (
            (middle_phase, high_phase) if _window_error(width, middle_phase) <= accuracy else (low_phase, middle_phase)
        )
    return low_phase, _window_coefficients(width, low_phase)


def _window_coefficients(width: int, phase: float) -> Float[np.ndarray, "power width"]:
    """Return the least-squares coefficients for waves up to `phase` a node, as polynomials of t in -1..1.

    t is the place in the cell between the window's two middle nodes. The waves are weighted towards the end of the
    band, where the error would be largest, so that it comes out nearly even; and by 1/Q², so that long waves, whose
    slopes are small, have small errors too: gradients of I(Q) need it.
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
    """Return the largest error of any wave up to `phase` at any place."""
    t = np.linspace(-1, 1, 65)
    q = np.linspace(0, phase, 65)[:, None]
    powers = t[:, None] ** np.arange(width)
    interpolated_waves = np.exp(1j * q * _window_nodes(width)) @ (powers @ _window_coefficients(width, phase)).T
    return float(np.abs(interpolated_waves - np.exp(1j * q * (t + 1) / 2)).max())


def _window_nodes(width: int) -> Int[np.ndarray, " width"]:
    """Return the window's nodes, counted from the node below the pair."""
    return np.arange(width) - (width // 2 - 1)


def _pad_coefficients(values, width: int):
    return np.pad(values, (0, width - len(values)))
