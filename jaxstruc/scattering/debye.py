r"""The Debye equation: I(Q), S(Q) and F(Q) from the distances between atoms.

$$I(Q) = \sum_i f_i^2 + \sum_{i \ne j} f_i f_j\, e^{-\sigma_{ij}^2 Q^2/2} \frac{\sin(Q r_{ij})}{Q r_{ij}}$$

Here $f_i$ is the form factor of atom i, $r_{ij}$ the distance between atoms i and j, and $\sigma_{ij}^2$ the variance
of this distance (P. Debye, Ann. Phys. 351, 809 (1915), doi 10.1002/andp.19153510606). The Debye-Waller factor acts on
the pair terms only. The conventions are those of diffpy.srreal (P. Juhas et al., Acta Cryst. A71, 562 (2015),
doi 10.1107/S2053273315014473).

All functions take distances. A PDF can therefore be computed from the distance matrix that a neural network returns,
without coordinates. A "kind" of atoms comprises all atoms with the same form factor, e.g. those of one element or ion.
A "channel" comprises all pairs of two given kinds.

Lengths are in Å, Q is in 1/Å, f in electrons (neutrons: fm), I in the square of the unit of f, and F in 1/Å.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.clusters.distances import safe_sqrt
from jaxstruc.scattering import fast_debye
from jaxstruc.scattering.fast_debye import SpreadingNodes

MAX_TERMS_PER_CHUNK = 4_000_000
"""Largest number of terms (pairs times Q points) that are evaluated at once, to limit the memory of the exact sum."""
MIN_WIDTH_DISTANCE = 1e-3
"""Smallest distance in the formula for the variance of a distance, in Å. It prevents a division by zero."""


class Instrument(NamedTuple):
    """Parameters of the vibrations and of the instrument. All are differentiable.

    The defaults leave the curve unchanged. None means that the effect is absent. None is static under `jit`, so that
    the compiled code is faster than with a parameter that has no effect, e.g. delta1 = 0.
    """

    uiso: Float[Array, "..."] | float = 0.0
    """Isotropic displacement parameter in Å²: a number for all atoms, or an array [kind]."""
    delta1: Float[Array, ""] | float | None = None
    """Coefficient of the term of the correlated motion that is proportional to 1/r, in Å."""
    delta2: Float[Array, ""] | float | None = None
    """Coefficient of the term of the correlated motion that is proportional to 1/r², in Å²."""
    qdamp: Float[Array, ""] | float = 0.0
    """Damping of G(r) by the Q resolution, in 1/Å."""
    qbroad: Float[Array, ""] | float | None = None
    """Broadening of the peaks by the Q resolution, in 1/Å."""
    scale: Float[Array, ""] | float = 1.0
    """Factor on G(r)."""
    stretch: Float[Array, ""] | float | None = None
    """Factor on all distances."""


class Pairs(NamedTuple):
    """Unordered pairs of atoms."""

    distance: Float[Array, " pair"]
    """Distance of each pair, in Å."""
    weight: Float[Array, " pair"]
    """Number of ordered pairs: 2 for a pair of two atoms, 0 for padding."""
    first_kind: Int[Array | np.ndarray, " pair"]
    """Kind of the first atom. This is the index of a row of the form factors and of Uiso."""
    second_kind: Int[Array | np.ndarray, " pair"]
    """Kind of the second atom."""


class SpreadPairs(NamedTuple):
    """Pairs spread over equally spaced distances, called nodes (see `fast_debye`).

    Every sum over pairs in this module accepts them.

    The distances are those before the stretch. The stretch may be at most 1.1 (`pair_distribution.MAX_STRETCH`).
    """

    distance: Float[Array | np.ndarray, " node"]
    """Distance of each node, in Å."""
    weight: Float[Array, "channel node"]
    """Weights $W_n$ of the nodes, as defined in `fast_debye`."""
    first_kind: Int[np.ndarray, " channel"]
    """First kind of each channel."""
    second_kind: Int[np.ndarray, " channel"]
    """Second kind of each channel."""


PairDistances = Pairs | SpreadPairs


def pairs_from_distances(
    distances: Float[Array, "atom atom"],
    presence: Float[Array | np.ndarray, " atom"] | Bool[Array | np.ndarray, " atom"],
    atom_kinds: Int[Array | np.ndarray, " atom"] | None = None,
) -> Pairs:
    """Return the pairs i < j of a distance matrix.

    Args:
        distances: Distances between the atoms, in Å.
        presence: Mask of the atoms, or probability of each atom. The weight of a pair contains the product of the
            values of its two atoms.
        atom_kinds: Kind of each atom. This is the index of a row of the form factors and of Uiso. By default all
            atoms have kind 0.
    """
    first_atoms, second_atoms = np.triu_indices(distances.shape[0], 1)
    return _weighted_pairs(distances[first_atoms, second_atoms], presence, atom_kinds, first_atoms, second_atoms)


def pairs_from_positions(
    positions: Float[Array | np.ndarray, "atom 3"],
    presence: Float[Array | np.ndarray, " atom"] | Bool[Array | np.ndarray, " atom"],
    atom_kinds: Int[Array | np.ndarray, " atom"] | None = None,
) -> Pairs:
    """Return the pairs i < j of atoms at positions in Å. The other arguments are those of `pairs_from_distances`."""
    first_atoms, second_atoms = np.triu_indices(positions.shape[0], 1)
    distance = safe_sqrt(jnp.sum((positions[first_atoms] - positions[second_atoms]) ** 2, axis=-1))
    return _weighted_pairs(distance, presence, atom_kinds, first_atoms, second_atoms)


def composition(
    presence: Float[Array | np.ndarray, " atom"], atom_kinds: Int[Array, " atom"], n_kinds: int
) -> Float[Array, " kind"]:
    """Return the number of atoms of each of `n_kinds` kinds."""
    return jnp.zeros(n_kinds, presence.dtype).at[atom_kinds].add(presence)


def spread_pairs(pairs: Pairs, nodes: SpreadingNodes, *, n_kinds: int = 1) -> SpreadPairs:
    """Return the pairs spread over the nodes. `n_kinds` is the number of kinds of atoms."""
    channel_table, first_kind, second_kind = kind_channels(n_kinds)
    channel = 0 if n_kinds == 1 else jnp.asarray(channel_table)[pairs.first_kind, pairs.second_kind]
    weight = fast_debye.spread_distances(pairs.distance, pairs.weight, channel, nodes, n_channels=len(first_kind))
    return SpreadPairs(nodes.distances, weight, first_kind, second_kind)


def spread_positions(
    positions: Float[Array | np.ndarray, "atom 3"],
    mask: Bool[Array | np.ndarray, " atom"],
    atom_kinds: Int[Array | np.ndarray, " atom"],
    nodes: SpreadingNodes,
    *,
    n_kinds: int,
) -> SpreadPairs:
    """Return all pairs of the atoms spread over the nodes, without a list of pairs in memory.

    Args:
        positions: Positions of the atoms, in Å.
        mask: True for atoms, False for padding.
        atom_kinds: Kind of each atom.
        nodes: Nodes that represent the distances.
        n_kinds: Number of kinds of atoms.
    """
    channel_table, first_kind, second_kind = kind_channels(n_kinds)
    weight = fast_debye.spread_positions(positions, mask, jnp.asarray(atom_kinds), channel_table, nodes)
    return SpreadPairs(nodes.distances, weight, first_kind, second_kind)


def kind_channels(
    n_kinds: int,
) -> tuple[Int[np.ndarray, "kind kind"], Int[np.ndarray, " channel"], Int[np.ndarray, " channel"]]:
    """Return the channel of each pair of kinds, and the first and the second kind of each channel."""
    first_kind, second_kind = np.triu_indices(n_kinds)
    channel_table = np.zeros((n_kinds, n_kinds), np.int32)
    channel_table[first_kind, second_kind] = channel_table[second_kind, first_kind] = np.arange(len(first_kind))
    return channel_table, first_kind, second_kind


def stretch_pairs(pairs: PairDistances, stretch: Float[Array, ""] | float | None):
    """Return the pairs with their distances multiplied by `stretch`."""
    if stretch is None:
        return pairs
    return pairs._replace(distance=pairs.distance * stretch)  # type: ignore[arg-type]


def pair_variance(
    pairs: PairDistances, instrument: Instrument, *, min_variance_factor: float = 0.0
) -> Float[Array, "..."]:
    r"""Return the variances $\sigma_{ij}^2 = (U_i + U_j) b(r_{ij})$ of the pair distances, in Å².

    The shape is [pair] for `Pairs` and [channel, node] or [node] for `SpreadPairs`. The result is a scalar if all
    pairs have the same variance.

    Args:
        pairs: Pairs whose distances include the stretch.
        instrument: Values of Uiso, delta1, delta2 and qbroad.
        min_variance_factor: Smallest value of b(r). It is 0 in diffpy.srreal. A value above 0 keeps a gradient if a
            distance in a predicted structure is too short.
    """
    uiso = jnp.asarray(instrument.uiso, pairs.weight.dtype)
    summed_uiso = 2 * uiso if uiso.ndim == 0 else uiso[pairs.first_kind] + uiso[pairs.second_kind]
    if isinstance(pairs, SpreadPairs) and uiso.ndim:
        summed_uiso = summed_uiso[:, None]
    r = jnp.maximum(jnp.abs(jnp.asarray(pairs.distance, pairs.weight.dtype)), MIN_WIDTH_DISTANCE)
    return summed_uiso * jnp.maximum(variance_factor(instrument, r), min_variance_factor)


def variance_factor(instrument: Instrument, r: Float[Array, "*pair"]) -> Float[Array, "*#pair"]:
    r"""Return the factor b(r) by which correlated motion and the instrument change the variance of a distance r in Å.

    $b = 1 - \delta_1/r - \delta_2/r^2 + q_\mathrm{broad}^2 r^2$ (I.-K. Jeong et al., Phys. Rev. B 67, 104301 (2003),
    doi 10.1103/PhysRevB.67.104301). The result is the scalar 1 if delta1, delta2 and qbroad are None.
    """
    factor = jnp.ones((), r.dtype)
    if instrument.delta1 is not None:
        factor = factor - instrument.delta1 / r
    if instrument.delta2 is not None:
        factor = factor - instrument.delta2 / r**2
    if instrument.qbroad is not None:
        factor = factor + (instrument.qbroad * r) ** 2
    return factor


def partial_sums(
    pairs: PairDistances,
    variance: Float[Array, "..."],
    amplitudes: Float[Array, "kind q"],
    q: Float[Array | np.ndarray, " q"],
) -> Float[Array, "channel q"]:
    r"""Return the contribution of each channel to `debye_sum`, in the order of `kind_channels`.

    The arguments and the unit are those of `debye_sum`.
    """
    n_kinds = amplitudes.shape[0]
    channel_table, first_kind, second_kind = kind_channels(n_kinds)
    if isinstance(pairs, Pairs):
        channel_masks = (
            jnp.asarray(channel_table)[pairs.first_kind, pairs.second_kind] == np.arange(len(first_kind))[:, None]
        )
        masked_sum = jax.vmap(
            lambda mask: debye_sum(pairs._replace(weight=pairs.weight * mask), variance, amplitudes, q)
        )
        return masked_sum(channel_masks.astype(pairs.weight.dtype))
    sinc_matrix = _sinc_matrix(q, pairs.distance, pairs.weight.dtype)
    damping = jnp.exp(-0.5 * variance[..., None] * jnp.asarray(q, pairs.weight.dtype) ** 2)
    if variance.ndim == 0:  # All pairs have one variance, so that the sine matrix stays constant.
        sums = jnp.matmul(pairs.weight, sinc_matrix, precision="highest") * damping
    else:
        subscripts = "cn,nq->cq" if variance.ndim == 1 else "cn,cnq->cq"
        sums = jnp.einsum(subscripts, pairs.weight, damping * sinc_matrix, precision="highest")
    return sums * amplitudes[first_kind] * amplitudes[second_kind]


def debye_sum(
    pairs: PairDistances,
    variance: Float[Array, "..."],
    amplitudes: Float[Array, "kind q"],
    q: Float[Array | np.ndarray, " q"],
) -> Float[Array, " q"]:
    r"""Return $\sum_{i \ne j} f_i f_j e^{-\sigma_{ij}^2 Q^2/2} \sin(Q r_{ij})/(Q r_{ij})$ in the unit of f squared.

    The sum is exact for `Pairs`. For `SpreadPairs` it has the accuracy of the nodes.

    Args:
        pairs: Pairs of atoms, either listed or spread over nodes.
        variance: Variances of the distances in Å², from `pair_variance`.
        amplitudes: Form factors of each kind at each Q. A single row of ones gives the sum of a single element in
            units of f².
        q: Grid of Q in 1/Å. If it is a NumPy array, the sines of `SpreadPairs` are computed in double precision
            before they are rounded.
    """
    if isinstance(pairs, SpreadPairs):
        return jnp.sum(partial_sums(pairs, variance, amplitudes, q), axis=0)
    q = jnp.asarray(q, pairs.distance.dtype)

    def q_term(column):
        q_value, amplitude = column
        weight = pairs.weight * amplitude[pairs.first_kind] * amplitude[pairs.second_kind]
        return jnp.sum(weight * jnp.exp(-0.5 * variance * q_value**2) * _sinc(q_value * pairs.distance))

    columns = (q, amplitudes.T)
    if pairs.distance.size * q.size <= MAX_TERMS_PER_CHUNK:
        return jax.vmap(q_term)(columns)
    return jax.lax.map(jax.checkpoint(q_term), columns, batch_size=max(1, MAX_TERMS_PER_CHUNK // pairs.distance.size))


def intensity(
    pairs: PairDistances,
    instrument: Instrument,
    amplitudes: Float[Array, "kind q"],
    composition: Float[Array | np.ndarray, " kind"],
    q: Float[Array | np.ndarray, " q"],
) -> Float[Array, " q"]:
    """Return I(Q) of the whole cluster, in the square of the unit of the amplitudes.

    Args:
        pairs: Pairs of atoms, either listed or spread over nodes.
        instrument: Parameters of the vibrations and of the instrument.
        amplitudes: Form factors of each kind at each Q.
        composition: Number of atoms of each kind.
        q: Grid of Q in 1/Å.
    """
    self_scattering = jnp.sum(composition[:, None] * amplitudes**2, axis=0)
    return self_scattering + _damped_sum(pairs, instrument, amplitudes, q, 0.0)


def structure_function(
    pairs: PairDistances,
    instrument: Instrument,
    amplitudes: Float[Array, "kind q"],
    composition: Float[Array | np.ndarray, " kind"],
    q: Float[Array | np.ndarray, " q"],
    *,
    min_variance_factor: float = 0.0,
) -> Float[Array, " q"]:
    r"""Return the structure function $S(Q) = 1 + \sum_{i \ne j} \ldots / (N \langle f \rangle^2)$, dimensionless.

    This is the definition of Faber and Ziman. The sum is `debye_sum`, N is the number of atoms, and
    $\langle f \rangle$ is the mean form factor. The arguments are those of `intensity`, and
    `min_variance_factor` is that of `pair_variance`.
    """
    return 1 + _damped_sum(pairs, instrument, amplitudes, q, min_variance_factor) / faber_ziman_norm(
        amplitudes, composition
    )


def reduced_structure_function(
    pairs: PairDistances,
    instrument: Instrument,
    amplitudes: Float[Array, "kind q"],
    composition: Float[Array | np.ndarray, " kind"],
    q: Float[Array | np.ndarray, " q"],
    *,
    min_variance_factor: float = 0.0,
) -> Float[Array, " q"]:
    """Return the reduced structure function F(Q) = Q [S(Q) - 1], in 1/Å.

    The arguments are those of `structure_function`.
    """
    sums = _damped_sum(pairs, instrument, amplitudes, q, min_variance_factor)
    return jnp.asarray(q, sums.dtype) * sums / faber_ziman_norm(amplitudes, composition)


def partials(
    pairs: PairDistances,
    instrument: Instrument,
    amplitudes: Float[Array, "kind q"],
    composition: Float[Array | np.ndarray, " kind"],
    q: Float[Array | np.ndarray, " q"],
) -> Float[Array, "channel q"]:
    """Return the contribution of each channel to F(Q), in 1/Å and in the order of `kind_channels`.

    The sum of the contributions is F(Q). The arguments are those of `intensity`.
    """
    stretched_pairs = stretch_pairs(pairs, instrument.stretch)
    sums = partial_sums(stretched_pairs, pair_variance(stretched_pairs, instrument), amplitudes, q)
    return jnp.asarray(q, sums.dtype) * sums / faber_ziman_norm(amplitudes, composition)


def _weighted_pairs(distance, presence, atom_kinds, first_atoms, second_atoms) -> Pairs:
    atom_presence = jnp.asarray(presence, distance.dtype)
    atom_kinds = np.zeros(atom_presence.size, np.int32) if atom_kinds is None else atom_kinds
    return Pairs(
        distance,
        2 * atom_presence[first_atoms] * atom_presence[second_atoms],
        atom_kinds[first_atoms],
        atom_kinds[second_atoms],
    )


def _damped_sum(pairs, instrument, amplitudes, q, min_variance_factor):
    """Return `debye_sum` of the pairs after the stretch, with the variances from `pair_variance`."""
    stretched_pairs = stretch_pairs(pairs, instrument.stretch)
    return debye_sum(
        stretched_pairs,
        pair_variance(stretched_pairs, instrument, min_variance_factor=min_variance_factor),
        amplitudes,
        q,
    )


def faber_ziman_norm(amplitudes, composition):
    r"""Return $N \langle f \rangle^2$ at each Q, in the unit of f squared. Without atoms the result is 1."""
    n_atoms = jnp.sum(composition)
    safe_n_atoms = jnp.where(n_atoms > 0, n_atoms, 1.0)
    summed_amplitude = jnp.sum(composition[:, None] * amplitudes, axis=0)
    return jnp.where(n_atoms > 0, summed_amplitude**2 / safe_n_atoms, 1.0)


def _sinc_matrix(q, distance, dtype):
    """Return sin(Qr)/(Qr) at each node r and at each Q."""
    return jnp.asarray(apply_to_products(lambda x: np.sinc(x / np.pi), _sinc, distance, q), dtype)


def apply_to_products(host_function, traced_function, rows, columns):
    """Return the values of a function at the products of all elements of `rows` and `columns`, [row, column].

    If both arguments are constants (NumPy arrays), the function is evaluated in double precision, because a large phase
    would lose its digits in single precision.
    """
    if isinstance(rows, np.ndarray) and isinstance(columns, np.ndarray):
        return host_function(rows[:, None].astype(float) * columns)
    return traced_function(jnp.asarray(rows)[:, None] * columns)


def _sinc(x):
    """Return sin(x)/x. At x = 0 the value is 1 and the gradient is 0."""
    is_nonzero = jnp.abs(x) > 1e-4
    safe_x = jnp.where(is_nonzero, x, 1.0)
    return jnp.where(is_nonzero, jnp.sin(safe_x) / safe_x, 1 - x**2 / 6)
