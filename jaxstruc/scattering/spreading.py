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

WIDTHS = ((1e-7, 8), (1e-10, 12), (0.0, 16))
"""Nodes in a window, by the least error asked for: more nodes a pair, or more nodes an Å; these measure best."""
BLOCK = 128
"""Most atoms in a block of `spread_positions`: its pairs stay in the processor's cache."""
FAR = 1e5
"""Å. Padding is put so far from all atoms and from each other."""


@dataclass(frozen=True)
class Nodes:
    """Even distances that stand for all others up to `longest`."""

    longest: float
    """Longest pair distance that may come, in Å. A longer one turns the result into NaN."""
    qmax: float
    """Largest Q at which the sum will be taken, in 1/Å."""
    accuracy: float = 1e-6
    """Largest error of a pair's wave, relative to its amplitude."""

    @property
    def width(self) -> int:
        """Nodes in a window."""
        return next(width for least, width in WIDTHS if self.accuracy >= least)

    @property
    def spacing(self) -> float:
        """Between nodes, in Å. Of twelve binary digits, so that in single precision cells begin where they should."""
        mantissa, exponent = math.frexp(_kernel(self.width, self.accuracy)[0] / self.qmax)
        return math.ldexp(math.floor(mantissa * 4096), exponent - 12)

    @property
    def cells(self) -> int:
        """Number of cells from 0 to `longest`."""
        return math.ceil(self.longest / self.spacing) + 1

    @property
    def distance(self) -> Float[np.ndarray, " node"]:
        """The nodes, in Å. The first few are below 0, where each curve continues as an even function."""
        return self.spacing * (np.arange(self.cells + self.width - 1) - (self.width // 2 - 1))


def spread(
    distance: Float[Array, " pair"],
    weight: Float[Array, " pair"],
    channel: Int[Array, " pair"] | np.ndarray | int,
    nodes: Nodes,
    *,
    channels: int = 1,
) -> Float[Array, "channel node"]:
    """Return the weights of the nodes that stand for the pairs.

    Args:
        distance: of each pair, in Å.
        weight: of each pair; 0 for padding.
        channel: of each pair: pairs of unlike kinds stay apart.
        nodes: where to.
        channels: their number.
    """
    distance = jnp.abs(distance)
    cell = jnp.minimum((distance * (1 / nodes.spacing)).astype(jnp.int32), nodes.cells - 1)
    powers = weight[:, None] * _powers(nodes.width, _place(distance, cell, nodes))
    moments = jnp.zeros((channels * nodes.cells, nodes.width), distance.dtype)
    moments = moments.at[channel * nodes.cells + cell].add(powers, mode="promise_in_bounds")
    too_long = jnp.any((distance > nodes.longest) & (weight != 0))
    return _weights(jnp.where(too_long, jnp.nan, moments), nodes, channels)


def spread_rows(
    distance: Float[Array, " pair"], rows: Float[Array, "pair column"], nodes: Nodes
) -> Float[Array, "node column"]:
    """Return what `spread` does for several weights of each pair at once.

    Args:
        distance: of each pair, in Å; none longer than the nodes reach.
        rows: each pair's weights.
        nodes: where to.
    """
    cell, windows = _windows(distance, nodes)
    result = jnp.zeros((nodes.cells + nodes.width - 1, rows.shape[1]), distance.dtype)
    places = cell[:, None] + np.arange(nodes.width)
    return result.at[places].add(windows[:, :, None] * rows[:, None, :], mode="promise_in_bounds")


def interpolate(
    values: Float[Array, "node column"], at: Float[Array, " point"], nodes: Nodes
) -> tuple[Float[Array, "point column"], Float[Array, "point column"]]:
    """Return functions known at the nodes, and their slopes, at other places: the transpose of `spread_rows`.

    Args:
        values: of functions that hold no wave beyond `nodes.qmax`.
        at: where to, at most `nodes.longest`.
        nodes: where the values are known.
    """
    cell, windows = _windows(at, nodes)
    slopes = jax.jvp(lambda place: _windows(place, nodes)[1], (at,), (jnp.ones_like(at),))[1]
    rows = values[cell[:, None] + np.arange(nodes.width)]
    return jnp.einsum("pw,pwc->pc", windows, rows), jnp.einsum("pw,pwc->pc", slopes, rows)


def spread_positions(
    positions: Float[Array, "atom 3"],
    mask: Bool[Array | np.ndarray, " atom"],
    kinds: Int[Array, " atom"],
    table: Int[np.ndarray, "kind kind"],
    nodes: Nodes,
) -> Float[Array, "channel node"]:
    """Return the weights of the nodes for all ordered pairs of atoms, block by block: no list of pairs is kept.

    Args:
        positions: in Å.
        mask: True for atoms, False for padding.
        kinds: of each atom.
        table: channel of each two kinds.
        nodes: where to.
    """
    channels = int(table.max()) + 1
    # Padding is put far from everything; its pairs fall into a row that is dropped, so that no pair needs a weight.
    size, blocks = _blocks(positions.shape[0])
    padding = size * blocks - positions.shape[0]
    kinds = jnp.pad(kinds, (0, padding)) if channels > 1 else jnp.zeros(size * blocks, jnp.int32)
    places = jnp.pad(positions, ((0, padding), (0, 0)))
    apart = FAR * (1 + jnp.arange(size * blocks, dtype=positions.dtype))
    places = jnp.where(jnp.pad(mask, (0, padding))[:, None], places, apart[:, None])
    moments = _position_moments(nodes, table.tobytes(), size, places, kinds)
    rows = moments.reshape(channels, nodes.cells + 2, nodes.width)
    # Each atom was paired with itself, at t = -1 in the first cell.
    own = jnp.zeros(channels, moments.dtype).at[jnp.asarray(table)[kinds, kinds]].add(1.0)
    rows = rows.at[:, 0].add(-own[:, None] * (-1.0) ** np.arange(nodes.width))
    kept = jnp.where(jnp.any(rows[:, nodes.cells, 0] != 0), jnp.nan, rows[:, : nodes.cells])
    return _weights(kept, nodes, channels)


def _blocks(atoms: int) -> tuple[int, int]:
    """Return atoms a block, at most BLOCK, and the number of blocks."""
    blocks = -(-atoms // BLOCK)
    return 8 * -(-atoms // (8 * blocks)), blocks


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _position_moments(nodes: Nodes, table: bytes, size: int, positions, kinds):
    """Return the cells' moments of all ordered pairs, those of an atom with itself included.

    Two more rows a channel: for pairs longer than the nodes reach, and for those with padding.
    """
    start = _no_moments(nodes, table, positions.dtype)
    axes, kinds, numbers = _blocked(positions, kinds, size)

    def step(moments, block):
        i, j = block
        _, distance = _apart(axes[i], axes[j])
        row, t = _rows(nodes, table, distance, kinds[i], kinds[j])
        twice = jnp.where(i == j, 1, 2).astype(t.dtype)
        block_moments = jnp.zeros_like(moments).at[row].add(_powers(nodes.width, t), mode="promise_in_bounds")
        return moments + twice * block_moments, None

    return jax.lax.scan(step, start, numbers)[0]


@_position_moments.defjvp
def _position_moments_jvp(nodes, table, size, primals, tangents):
    """Pair the blocks again: nothing of a pair is kept, and the transpose is a gather of a row for each pair."""
    positions, kinds = primals
    start = _no_moments(nodes, table, positions.dtype)
    changes = _blocked(tangents[0], kinds, size)[0]
    axes, blocked_kinds, numbers = _blocked(positions, kinds, size)

    def step(moments, block):
        i, j = block

        @jax.checkpoint
        def change(one, two):
            difference, distance = _apart(axes[i], axes[j])
            row, t = _rows(nodes, table, distance, blocked_kinds[i], blocked_kinds[j])
            twice = jnp.where(i == j, 1, 2).astype(t.dtype)
            along = jnp.sum(difference * (one[:, :, None] - two[:, None, :]), axis=0)
            rate = along * (2 / nodes.spacing) * twice / jnp.where(distance > 0, distance, 1.0)
            powers = _slopes(nodes.width, t) * rate.ravel()[:, None]
            return jnp.zeros_like(moments).at[row].add(powers, mode="promise_in_bounds")

        return moments + change(changes[i], changes[j]), None

    changed = jax.lax.scan(step, start, numbers)[0]
    return _position_moments(nodes, table, size, positions, kinds), changed


def _no_moments(nodes: Nodes, table: bytes, dtype):
    channels = int(np.frombuffer(table, np.int32).max()) + 1
    return jnp.zeros((channels * (nodes.cells + 2), nodes.width), dtype)


def _blocked(positions, kinds, size: int):
    """Return coordinates and kinds by blocks, and the numbers of each two blocks."""
    axes = positions.reshape(-1, size, 3).transpose(0, 2, 1)
    return axes, kinds.reshape(-1, size), jnp.asarray(np.stack(np.triu_indices(len(axes)), axis=1))


def _apart(one, two):
    """Return the differences and distances of the atoms of two blocks; where they coincide the gradient is 0."""
    difference = one[:, :, None] - two[:, None, :]
    square = jnp.sum(difference**2, axis=0)
    return difference, jnp.sqrt(jnp.where(square == 0, 1.0, square)) * (square != 0)


def _rows(nodes: Nodes, table: bytes, distance, kinds_one, kinds_two):
    """Return each pair's row of the moments and its place t in the cell."""
    distance = jnp.minimum(distance.ravel(), FAR / 2)
    cell = (distance * (1 / nodes.spacing)).astype(jnp.int32)
    t = jnp.where(cell < nodes.cells, _place(distance, cell, nodes), 0.0)
    cell = jnp.where(distance >= FAR / 2, nodes.cells + 1, jnp.minimum(cell, nodes.cells))
    channels = np.frombuffer(table, np.int32)
    if channels.size == 1:
        return cell, t
    kinds = math.isqrt(channels.size)
    channel = jnp.asarray(channels.reshape(kinds, kinds))[kinds_one[:, None], kinds_two]
    return channel.ravel() * (nodes.cells + 2) + cell, t


def _place(distance, cell, nodes: Nodes):
    """Return t, the place within the cell, from -1 to 1."""
    return (distance - cell * nodes.spacing) * (2 / nodes.spacing) - 1


def _windows(distance, nodes: Nodes):
    """Return each place's cell and its weights of the nodes of its window."""
    cell = jnp.minimum((distance * (1 / nodes.spacing)).astype(jnp.int32), nodes.cells - 1)
    coefficients = jnp.asarray(_kernel(nodes.width, nodes.accuracy)[1], distance.dtype)
    powers = _powers(nodes.width, _place(distance, cell, nodes))
    return cell, jnp.matmul(powers, coefficients, precision="highest")


def _weights(moments, nodes: Nodes, channels: int) -> Float[Array, "channel node"]:
    """Return the nodes' weights from the cells' moments: a product, and the windows laid over each other.

    By a scatter, which the compiler does not repeat for each Q as it would a sum of shifted windows.
    """
    coefficients = jnp.asarray(_kernel(nodes.width, nodes.accuracy)[1], moments.dtype)
    windows = jnp.matmul(moments, coefficients, precision="highest").reshape(channels, nodes.cells, nodes.width)
    places = np.arange(nodes.cells)[:, None] + np.arange(nodes.width)
    return jnp.zeros((channels, nodes.cells + nodes.width - 1), moments.dtype).at[:, places].add(windows)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _powers(count: int, t: Float[Array, " pair"]) -> Float[Array, "pair power"]:
    """Return t⁰ ... tⁿ⁻¹, as products of t, t², t⁴, ..., which a processor's lanes do side by side."""
    return _product(np.arange(count), t)


@_powers.defjvp
def _powers_jvp(count, primals, tangents):
    (t,), (change,) = primals, tangents
    return _product(np.arange(count), t), _slopes(count, t) * change[:, None]


def _slopes(count, t):
    """Return the derivatives of the powers."""
    order = np.arange(count)
    return jnp.asarray(order, t.dtype) * _product(np.maximum(order - 1, 0), t)


def _product(order, t):
    """Return t to each of the orders."""
    result, square = jnp.ones((), t.dtype), t[:, None]
    for bit in range(int(order.max()).bit_length()):
        result = result * jnp.where((order >> bit) & 1 == 1, square, 1.0)
        square = square * square
    return result


@functools.lru_cache
def _kernel(width: int, accuracy: float) -> tuple[float, Float[np.ndarray, "power width"]]:
    """Return the widest spacing times qmax that keeps the accuracy, and its coefficients in powers of t."""
    low, high = 1e-2, 3.0
    for _ in range(24):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _error(width, middle) <= accuracy else (low, middle)
    return low, _coefficients(width, low)


def _coefficients(width: int, phase: float) -> Float[np.ndarray, "power width"]:
    """Return the least-squares coefficients for waves up to `phase` a node, as polynomials of t in -1..1.

    t is the place in the cell between the window's two middle nodes. The waves are weighted towards the end of the
    band, where the error would be largest, so that it comes out nearly even; and by 1/Q², so that long waves, whose
    slopes are small, have small errors too: gradients of I(Q) need it.
    """
    x, share = np.polynomial.legendre.leggauss(64)
    place = (x[:, None] + 1) / 2
    root = np.sqrt(share / np.sqrt(1 - x**2))[:, None] / (place + 0.02) ** 2
    q = place * phase
    t = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    waves = root * np.exp(1j * q * _window(width))
    wanted = root * np.exp(1j * q * (t + 1) / 2)
    real, imaginary = ([part(wave) for wave in (waves, wanted)] for part in (np.real, np.imag))
    left, right = (np.concatenate(parts) for parts in zip(real, imaginary, strict=True))
    best = np.linalg.lstsq(left, right, rcond=1e-15)[0]
    series = np.polynomial.chebyshev.chebfit(t, best.T, width - 1)
    return np.stack([_padded(np.polynomial.chebyshev.cheb2poly(column), width) for column in series.T], axis=1)


def _error(width: int, phase: float) -> float:
    """Return the largest error of any wave up to `phase` at any place."""
    t = np.linspace(-1, 1, 65)
    q = np.linspace(0, phase, 65)[:, None]
    powers = t[:, None] ** np.arange(width)
    found = np.exp(1j * q * _window(width)) @ (powers @ _coefficients(width, phase)).T
    return float(np.abs(found - np.exp(1j * q * (t + 1) / 2)).max())


def _window(width: int) -> Int[np.ndarray, " width"]:
    """Return the window's nodes, counted from the node below the pair."""
    return np.arange(width) - (width // 2 - 1)


def _padded(values, width: int):
    return np.pad(values, (0, width - len(values)))
