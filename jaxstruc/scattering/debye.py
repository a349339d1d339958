r"""The Debye equation: pair distances to I(Q), S(Q) and F(Q).

Everything starts from distances, so that a decoder's distance matrix gives a PDF with no coordinates in between.

$I(Q) = \sum_i f_i^2 + \sum_{i \ne j} f_i f_j\, e^{-\sigma_{ij}^2 Q^2/2} \sin(Q r_{ij}) / (Q r_{ij})$, P. Debye,
Ann. Phys. 351, 809 (1915), doi 10.1002/andp.19153510606. The Debye-Waller factor acts on pair terms only. Conventions
are those of diffpy.srreal (P. Juhas et al., Acta Cryst. A71, 562 (2015), doi 10.1107/S2053273315014473).

Lengths in Å, Q in 1/Å, f in electrons (or fm), I in their square, F in 1/Å.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.scattering import spreading
from jaxstruc.scattering.spreading import Nodes
from jaxstruc.structures.distances import root

CHUNK = 4_000_000
"""Most pair-and-Q terms evaluated at once: bounds the memory of the exact sum."""
SHORT = 1e-3
"""Å. Shorter distances have the width of this one: nothing is divided by zero."""


class Instrument(NamedTuple):
    """Vibrations and instrument, all differentiable. Defaults leave the curve untouched.

    None, which stays constant under `jit`, means that there is no such effect, and costs less than its neutral value.
    """

    uiso: Float[Array, "..."] | float = 0.0
    """Isotropic displacement, in Å²: one for all atoms, or one a kind."""
    delta1: Float[Array, ""] | float | None = None
    """Correlated motion that falls with r, in Å."""
    delta2: Float[Array, ""] | float | None = None
    """Correlated motion that falls with r², in Å²."""
    qdamp: Float[Array, ""] | float = 0.0
    """Damping of G(r) by the resolution, in 1/Å."""
    qbroad: Float[Array, ""] | float | None = None
    """Broadening of peaks by the resolution, in 1/Å."""
    scale: Float[Array, ""] | float = 1.0
    """Factor on G(r)."""
    stretch: Float[Array, ""] | float | None = None
    """Factor on all distances."""


class Pairs(NamedTuple):
    """Unordered pairs of atoms. `weight` counts ordered pairs: 2 for an ordinary pair, 0 for padding."""

    distance: Float[Array, " pair"]
    weight: Float[Array, " pair"]
    first: Int[Array | np.ndarray, " pair"]
    """Kind of the one atom: its row in the amplitudes, its place in Uiso."""
    second: Int[Array | np.ndarray, " pair"]
    """Kind of the other atom."""


class Spread(NamedTuple):
    """Pairs spread over even nodes, see `spreading`. Any sum over pairs below may take these in their stead.

    One channel for each two kinds of atoms. Made for distances before the stretch, which may be up to 1.1.
    """

    distance: Float[Array | np.ndarray, " node"]
    weight: Float[Array, "channel node"]
    first: Int[np.ndarray, " channel"]
    second: Int[np.ndarray, " channel"]


Gathered = Pairs | Spread


def pairs(
    distances: Float[Array, "atom atom"],
    presence: Float[Array | np.ndarray, " atom"],
    kinds: Int[Array | np.ndarray, " atom"] | None = None,
) -> Pairs:
    """Return the pairs i < j of a distance matrix, weighted by both atoms' presence (a mask, or probabilities).

    `kinds`: of each atom, its row in the amplitudes and in Uiso; all are of the first where none are given.
    """
    first, second = np.triu_indices(distances.shape[0], 1)
    return _paired(distances[first, second], presence, kinds, first, second)


def pairs_of(
    positions: Float[Array, "atom 3"],
    presence: Float[Array | np.ndarray, " atom"],
    kinds: Int[Array | np.ndarray, " atom"] | None = None,
) -> Pairs:
    """Return the pairs i < j of positions in Å. Arguments as in `pairs`."""
    first, second = np.triu_indices(positions.shape[0], 1)
    distance = root(jnp.sum((positions[first] - positions[second]) ** 2, axis=-1))
    return _paired(distance, presence, kinds, first, second)


def composition(
    presence: Float[Array | np.ndarray, " atom"], kinds: Int[Array, " atom"], count: int
) -> Float[Array, " kind"]:
    """Return the number of atoms of each of `count` kinds."""
    return jnp.zeros(count, presence.dtype).at[kinds].add(presence)


def spread(pairs: Pairs, nodes: Nodes, *, kinds: int = 1) -> Spread:
    """Return pairs spread over nodes; `kinds` is the number of kinds."""
    table, first, second = channels(kinds)
    channel = 0 if kinds == 1 else jnp.asarray(table)[pairs.first, pairs.second]
    weight = spreading.spread(pairs.distance, pairs.weight, channel, nodes, channels=len(first))
    return Spread(nodes.distance, weight, first, second)


def spread_positions(
    positions: Float[Array, "atom 3"],
    mask: Bool[Array | np.ndarray, " atom"],
    kinds: Int[Array | np.ndarray, " atom"],
    nodes: Nodes,
    *,
    count: int,
) -> Spread:
    """Return all pairs of the atoms spread over nodes, with no list of pairs in memory; `count` is that of kinds."""
    table, first, second = channels(count)
    weight = spreading.spread_positions(positions, mask, jnp.asarray(kinds), table, nodes)
    return Spread(nodes.distance, weight, first, second)


def channels(
    kinds: int,
) -> tuple[Int[np.ndarray, "kind kind"], Int[np.ndarray, " channel"], Int[np.ndarray, " channel"]]:
    """Return the channel of each two kinds, and the two kinds of each channel."""
    first, second = np.triu_indices(kinds)
    table = np.zeros((kinds, kinds), np.int32)
    table[first, second] = table[second, first] = np.arange(len(first))
    return table, first, second


def stretched(pairs: Gathered, stretch: Float[Array, ""] | float | None):
    """Return the pairs with their distances times `stretch`."""
    if stretch is None:
        return pairs
    return pairs._replace(distance=pairs.distance * stretch)  # type: ignore[arg-type]


def pair_variance(pairs: Gathered, instrument: Instrument, *, floor: float = 0.0) -> Float[Array, "..."]:
    r"""Return the variance of each pair distance, or of all where it is the same, in Å²; of each channel and node.

    $\sigma_{ij}^2 = (U_i + U_j) b(r)$, with the bracket at the pair's own distance, kept at or above `floor` (0 as
    diffpy.srreal does; above 0 where a wrong short distance must keep a gradient).
    """
    uiso = jnp.asarray(instrument.uiso, pairs.weight.dtype)
    both = 2 * uiso if uiso.ndim == 0 else uiso[pairs.first] + uiso[pairs.second]
    if isinstance(pairs, Spread) and uiso.ndim:
        both = both[:, None]
    r = jnp.maximum(jnp.abs(jnp.asarray(pairs.distance, pairs.weight.dtype)), SHORT)
    return both * jnp.maximum(width_bracket(instrument, r), floor)


def width_bracket(instrument: Instrument, r: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
    r"""Return by how much correlated motion and the instrument change the variance of a distance r in Å.

    $b = 1 - \delta_1/r - \delta_2/r^2 + q_\mathrm{broad}^2 r^2$; I.-K. Jeong et al., Phys. Rev. B 67, 104301 (2003),
    doi 10.1103/PhysRevB.67.104301. A scalar 1 where none of them is given.
    """
    bracket = jnp.ones((), r.dtype)
    if instrument.delta1 is not None:
        bracket = bracket - instrument.delta1 / r
    if instrument.delta2 is not None:
        bracket = bracket - instrument.delta2 / r**2
    if instrument.qbroad is not None:
        bracket = bracket + (instrument.qbroad * r) ** 2
    return bracket


def partial_sums(
    pairs: Gathered,
    variance: Float[Array, "..."],
    amplitudes: Float[Array, "kind q"],
    q: Float[Array | np.ndarray, " q"],
) -> Float[Array, "channel q"]:
    r"""Return the part of each two kinds of atoms in `debye_sum`, in the order of `channels`."""
    kinds = amplitudes.shape[0]
    table, first, second = channels(kinds)
    if isinstance(pairs, Pairs):
        own = jnp.asarray(table)[pairs.first, pairs.second] == np.arange(len(first))[:, None]
        parts = jax.vmap(lambda mask: debye_sum(pairs._replace(weight=pairs.weight * mask), variance, amplitudes, q))
        return parts(own.astype(pairs.weight.dtype))
    waves = _waves(q, pairs.distance, pairs.weight.dtype)
    damping = jnp.exp(-0.5 * variance[..., None] * jnp.asarray(q, pairs.weight.dtype) ** 2)
    if variance.ndim == 0:  # all pairs alike: the waves stay constants
        sums = jnp.matmul(pairs.weight, waves, precision="highest") * damping
    else:
        shape = "cn,nq->cq" if variance.ndim == 1 else "cn,cnq->cq"
        sums = jnp.einsum(shape, pairs.weight, damping * waves, precision="highest")
    return sums * amplitudes[first] * amplitudes[second]


def debye_sum(
    pairs: Gathered,
    variance: Float[Array, "..."],
    amplitudes: Float[Array, "kind q"],
    q: Float[Array | np.ndarray, " q"],
) -> Float[Array, " q"]:
    r"""Return $\sum_{i \ne j} f_i f_j e^{-\sigma_{ij}^2 Q^2/2} \sin(Q r_{ij})/(Q r_{ij})$.

    Exact for `Pairs`, pair by pair; to the nodes' accuracy for `Spread`.

    Args:
        pairs: the pairs, or what stands for them.
        variance: of each, from `pair_variance`, in Å².
        amplitudes: form factors of each kind at each Q; one row of ones for a single element in units of f.
        q: in 1/Å. A NumPy array gives the waves of `Spread` in double precision, before they are rounded.
    """
    if isinstance(pairs, Spread):
        return jnp.sum(partial_sums(pairs, variance, amplitudes, q), axis=0)
    q = jnp.asarray(q, pairs.distance.dtype)

    def terms(column):
        q_value, amplitude = column
        weight = pairs.weight * amplitude[pairs.first] * amplitude[pairs.second]
        return jnp.sum(weight * jnp.exp(-0.5 * variance * q_value**2) * _sinc(q_value * pairs.distance))

    columns = (q, amplitudes.T)
    if pairs.distance.size * q.size <= CHUNK:
        return jax.vmap(terms)(columns)
    return jax.lax.map(jax.checkpoint(terms), columns, batch_size=max(1, CHUNK // pairs.distance.size))


def intensity(
    pairs: Gathered,
    instrument: Instrument,
    amplitudes: Float[Array, "kind q"],
    composition: Float[Array | np.ndarray, " kind"],
    q: Float[Array | np.ndarray, " q"],
) -> Float[Array, " q"]:
    """Return I(Q) of the whole cluster, in the amplitudes' unit squared.

    Args:
        pairs: the pairs, or what stands for them.
        instrument: vibrations and instrument.
        amplitudes: of each kind at each Q.
        composition: number of atoms of each kind.
        q: in 1/Å.
    """
    own = jnp.sum(composition[:, None] * amplitudes**2, axis=0)
    return own + _damped_sum(pairs, instrument, amplitudes, q, 0.0)


def structure_function(
    pairs: Gathered,
    instrument: Instrument,
    amplitudes: Float[Array, "kind q"],
    composition: Float[Array | np.ndarray, " kind"],
    q: Float[Array | np.ndarray, " q"],
    *,
    floor: float = 0.0,
) -> Float[Array, " q"]:
    r"""Return $S(Q) = 1 + \sum_{i \ne j} \ldots / (N \langle f \rangle^2)$ (Faber-Ziman), dimensionless.

    Arguments as in `intensity`; `floor` as in `pair_variance`.
    """
    return 1 + _damped_sum(pairs, instrument, amplitudes, q, floor) / mean_square(amplitudes, composition)


def reduced_structure_function(
    pairs: Gathered,
    instrument: Instrument,
    amplitudes: Float[Array, "kind q"],
    composition: Float[Array | np.ndarray, " kind"],
    q: Float[Array | np.ndarray, " q"],
    *,
    floor: float = 0.0,
) -> Float[Array, " q"]:
    """Return F(Q) = Q [S(Q) - 1], in 1/Å. Arguments as in `structure_function`."""
    sums = _damped_sum(pairs, instrument, amplitudes, q, floor)
    return jnp.asarray(q, sums.dtype) * sums / mean_square(amplitudes, composition)


def partials(
    pairs: Gathered,
    instrument: Instrument,
    amplitudes: Float[Array, "kind q"],
    composition: Float[Array | np.ndarray, " kind"],
    q: Float[Array | np.ndarray, " q"],
) -> Float[Array, "channel q"]:
    """Return the part of each two kinds in F(Q), in 1/Å and in the order of `channels`; they sum to F(Q)."""
    longer = stretched(pairs, instrument.stretch)
    sums = partial_sums(longer, pair_variance(longer, instrument), amplitudes, q)
    return jnp.asarray(q, sums.dtype) * sums / mean_square(amplitudes, composition)


def _paired(distance, presence, kinds, first, second) -> Pairs:
    present = jnp.asarray(presence, distance.dtype)
    kinds = np.zeros(present.size, np.int32) if kinds is None else kinds
    return Pairs(distance, 2 * present[first] * present[second], kinds[first], kinds[second])


def _damped_sum(pairs, instrument, amplitudes, q, floor):
    """Return the pair sum of the stretched pairs with their widths."""
    longer = stretched(pairs, instrument.stretch)
    return debye_sum(longer, pair_variance(longer, instrument, floor=floor), amplitudes, q)


def mean_square(amplitudes, composition):
    r"""Return $N \langle f \rangle^2$ at each Q, 1 where there is no atom."""
    count = jnp.sum(composition)
    present = jnp.where(count > 0, count, 1.0)
    total = jnp.sum(composition[:, None] * amplitudes, axis=0)
    return jnp.where(count > 0, total**2 / present, 1.0)


def _waves(q, distance, dtype):
    """Return sin(Qr)/(Qr) for each node and Q."""
    return jnp.asarray(of_product(lambda x: np.sinc(x / np.pi), _sinc, distance, q), dtype)


def of_product(on_host, traced, rows, columns):
    """Return a function of all products; of constants in double precision, so that a large phase keeps its digits."""
    if isinstance(rows, np.ndarray) and isinstance(columns, np.ndarray):
        return on_host(rows[:, None].astype(float) * columns)
    return traced(jnp.asarray(rows)[:, None] * columns)


def _sinc(x):
    """Return sin(x)/x, 1 at 0, with a gradient that is 0 there."""
    apart = jnp.abs(x) > 1e-4
    safe = jnp.where(apart, x, 1.0)
    return jnp.where(apart, jnp.sin(safe) / safe, 1 - x**2 / 6)
