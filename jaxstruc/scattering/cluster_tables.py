r"""Tables of a cluster of one element, from which a fit evaluates F(Q) quickly.

A fit multiplies all distances d by a stretch s and changes their variances $\sigma^2 = 2U b(d)$, where U is Uiso and
b(d) is the factor of `debye.variance_factor`. The Debye-Waller factor is interpolated between a few distances $d_j$,
which are called shells here: $e^{-UQ^2 b(d)} = \sum_j L_j(d) e^{-UQ^2 b(d_j)}$ with coefficients $L_j(d)$. The Debye
sum then separates:

$$F(Q) = \frac{1}{s} \sum_j e^{-UQ^2 b(s d_j)} H_j(Qs), \qquad
H_j(x) = \frac{1}{N} \sum_d \frac{w_d}{d} L_j(d) \sin(xd)$$

N is the number of atoms, and $w_d$ is the number of ordered pairs at the distance d. The functions $H_j$ do not depend
on the fitted parameters. One matrix product computes them from a histogram of the distances, on an even grid of x = Qs.
If the atoms may move along given displacements (`clusters.displacement_fields`), the $H_j$ are tabulated for a few
amplitudes of the displacements and interpolated by a polynomial.

A curve then takes a few thousand operations for any number of atoms. The choice of the shells and of the $L_j$ is known
as empirical interpolation (M. Barrault et al., C. R. Acad. Sci. Paris 339, 667 (2004), doi 10.1016/j.crma.2004.08.006).
"""

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from jaxstruc.clusters.distances import Histogram, traced_histogram
from jaxstruc.parameters import PARAMETERS
from jaxstruc.scattering import debye, fast_debye
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.fast_debye import SpreadingNodes

N_SHELLS = 8
MIN_SHELL_DISTANCE = 0.95
"""Smallest distance of the interpolation, in units of the bond length.

Shorter distances have the damping of this distance.
"""
MAX_SHELL_DISTANCE = 20.0
"""Largest distance of the interpolation, in units of the bond length.

Longer distances have the damping of this distance.
"""
MAX_DAMPING_EXPONENT = PARAMETERS["uiso"].maximum * 30.0**2
"""Largest U Q² of the interpolation, dimensionless."""
MAX_RELATIVE_DELTA = PARAMETERS["delta2"].maximum
"""Largest delta1 of the interpolation, in units of the bond length, and largest delta2, in units of its square."""
MAX_RELATIVE_QBROAD = PARAMETERS["qbroad"].maximum
"""Largest product of qbroad and the bond length in the interpolation, dimensionless."""
NODE_ACCURACY = 1e-4
MIN_DISTANCE = 0.5
"""Smallest distance in the factor 1/d, in Å. A structure from a neural network may have two atoms at one place."""
HISTOGRAM_BIN_WIDTH = 0.05
"""Bin width of the histogram that is made from a distance matrix, in Å."""


@dataclass(frozen=True)
class TableRange:
    """Range of distances and Q that a table covers. Clusters and files with equal ranges share compiled code."""

    max_distance: float
    """Longest distance in Å. Longer distances are left out."""
    qmax: float
    """Largest product of Q and stretch, in 1/Å."""

    @property
    def distance_nodes(self) -> SpreadingNodes:
        """Nodes that represent the distances d."""
        return SpreadingNodes(self.max_distance, self.qmax, NODE_ACCURACY)

    @property
    def q_nodes(self) -> SpreadingNodes:
        """Nodes of x = Q s, between which the H_j are interpolated. The roles of distance and Q are exchanged here."""
        return SpreadingNodes(self.qmax, self.max_distance, NODE_ACCURACY)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["shell_functions", "bond", "amplitudes", "has_field"],
    meta_fields=["span"],
)
@dataclass(frozen=True)
class ClusterTable:
    """The table of a cluster, from which a fit computes F(Q).

    The range `span` determines the nodes of the arrays. It is static under `jit`.
    """

    shell_functions: Float[Array | np.ndarray, "*batch amplitude node shell"]
    """Functions H_j at the nodes `span.q_nodes`, in 1/Å."""
    bond: Float[Array | np.ndarray, "*batch"]
    """Nearest-neighbour distance in Å."""
    amplitudes: Float[Array | np.ndarray, "*batch amplitude"]
    """Amplitudes of the displacements for which the H_j are tabulated. A rigid cluster has the amplitude 0 only."""
    has_field: Float[Array | np.ndarray, "*batch"]
    """1 if the cluster has displacements, 0 if it is rigid."""
    span: TableRange
    """Range of distances and of Q that the table covers."""


def tabulate_cluster(histogram: Histogram, bond: Float[Array, ""] | float, *, span: TableRange) -> ClusterTable:
    """Return the table of one rigid cluster.

    Args:
        histogram: Pair distances of the cluster, in Å. Two distances represent each bin. They have the mean and the
            variance of all distances in the bin.
        bond: Nearest-neighbour distance in Å.
        span: Range of distances and of Q that the table covers.
    """
    has_width = histogram.variance > 0
    width = jnp.where(has_width, jnp.sqrt(jnp.where(has_width, histogram.variance, 1.0)), 0.0)
    distance = jnp.concatenate([histogram.mean - width, histogram.mean + width])
    weight = jnp.concatenate([histogram.weight, histogram.weight]) / (2 * histogram.atoms)
    weight = jnp.where(distance < span.max_distance, weight, 0.0)
    distance = jnp.where(weight > 0, distance, bond)
    shell_weights = (weight / jnp.maximum(distance, MIN_DISTANCE))[:, None] * _shell_weights(distance / bond)
    node_weights = fast_debye.spread_rows(distance, shell_weights, span.distance_nodes)
    sine_matrix = np.sin(span.q_nodes.distances[:, None] * span.distance_nodes.distances)
    shell_functions = jnp.matmul(jnp.asarray(sine_matrix, node_weights.dtype), node_weights, precision="highest")
    zero = jnp.zeros((), shell_functions.dtype)
    return ClusterTable(shell_functions[None], jnp.asarray(bond, shell_functions.dtype), zero[None], zero, span)


def join_amplitudes(
    tables: ClusterTable, amplitudes: Float[Array, " amplitude"], has_field: Float[Array, ""]
) -> ClusterTable:
    """Return the table of one cluster whose atoms may move.

    Args:
        tables: Rigid tables for the amplitudes, with a leading axis.
        amplitudes: Amplitudes of the displacements, all different.
        has_field: 1 if the cluster has displacements, 0 if all tables are equal.
    """
    return ClusterTable(tables.shell_functions[:, 0], tables.bond[0], amplitudes, has_field, tables.span)


def tabulate_distances(
    distances: Float[Array, "atom atom"],
    presence: Float[Array, " atom"],
    bond: Float[Array, ""] | float,
    *,
    span: TableRange,
) -> ClusterTable:
    """Return the table of a cluster from its distance matrix.

    The function may be used inside `jit`. If a distance between two atoms is NaN, all functions H_j are NaN.

    Args:
        distances: Distances between the atoms, in Å.
        presence: Mask of the atoms: 1 for an atom, 0 for padding.
        bond: Nearest-neighbour distance in Å.
        span: Range of distances and of Q that the table covers.
    """
    pairs = debye.pairs_from_distances(distances, presence)
    n_atoms = jnp.maximum(jnp.sum(presence), 1)
    binned_distances = traced_histogram(
        pairs.distance, pairs.weight, n_atoms, width=HISTOGRAM_BIN_WIDTH, max_distance=span.max_distance
    )
    has_nan = jnp.any(jnp.isnan(pairs.distance) & (pairs.weight > 0))
    cluster_table = tabulate_cluster(binned_distances, bond, span=span)
    return replace(cluster_table, shell_functions=jnp.where(has_nan, jnp.nan, cluster_table.shell_functions))


def reduced_structure_function(
    cluster_table: ClusterTable,
    instrument: Instrument,
    q: Float[Array, " q"],
    relaxation: Float[Array, ""] | float = 0.0,
) -> Float[Array, " q"]:
    """Return F(Q) of one cluster, in 1/Å.

    Args:
        cluster_table: Table of the cluster.
        instrument: Values of stretch, Uiso, delta1, delta2 and qbroad. The other fields do not enter F.
        q: Grid of Q in 1/Å. The product of Q and stretch must not exceed `span.qmax`.
        relaxation: Amplitude of the displacements. It has no effect on a rigid cluster.
    """
    stretch = jnp.asarray(1.0 if instrument.stretch is None else instrument.stretch, q.dtype)
    distance = jnp.asarray(_shell_interpolation()[0], q.dtype) * cluster_table.bond * stretch
    variance_factor = jnp.maximum(debye.variance_factor(instrument, distance), 0.0)
    half_variance = instrument.uiso * jnp.broadcast_to(variance_factor, distance.shape)
    return _damped_sum(
        cluster_table.span,
        cluster_table.shell_functions,
        cluster_table.amplitudes,
        jnp.asarray(relaxation, q.dtype),
        stretch,
        half_variance,
        q,
    )


def _amplitude_weights(relaxation, amplitudes: Float[Array, " amplitude"]) -> Float[Array, " amplitude"]:
    """Return the weights of the amplitudes in a polynomial interpolation (Lagrange)."""
    is_same = jnp.eye(amplitudes.size, dtype=bool)
    spacing = jnp.where(is_same, 1.0, amplitudes[:, None] - amplitudes[None, :])
    return jnp.prod(jnp.where(is_same, 1.0, (relaxation - amplitudes[None, :]) / spacing), axis=1)


def _combine_amplitudes(weights, shell_functions):
    """Return the weighted sum of the shell functions of all amplitudes."""
    if shell_functions.shape[0] == 1:
        return shell_functions[0] * weights[0]
    return jnp.einsum("k,knj->nj", weights, shell_functions, precision="highest")


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _damped_sum(span: TableRange, shell_functions, amplitudes, relaxation, stretch, half_variance, q):
    r"""Return $\sum_j e^{-Q^2 u_j} H_j(Qs) / s$, where $u_j = U b(s d_j)$ is half of the variance of shell j."""
    combined = _combine_amplitudes(_amplitude_weights(relaxation, amplitudes), shell_functions)
    return _damped_terms(span, combined, stretch, half_variance, q)[0]


@partial(_damped_sum.defjvp, symbolic_zeros=True)
def _damped_sum_jvp(span, primals, tangents):
    """Compute the value and all derivatives from one interpolation.

    The derivative with respect to the variances is a matrix product with one column for each shell.
    """
    shell_functions, amplitudes, relaxation, stretch, half_variance, q = primals
    weights, weight_slopes = jax.jvp(
        lambda relaxation: _amplitude_weights(relaxation, amplitudes), (relaxation,), (jnp.ones_like(relaxation),)
    )
    combined = _combine_amplitudes(weights, shell_functions)
    result, terms, slope = _damped_terms(span, combined, stretch, half_variance, q)
    shell_functions_tangent, _, relaxation_tangent, stretch_tangent, half_variance_tangent, q_tangent = tangents
    result_tangent = jnp.zeros_like(result)
    if not isinstance(shell_functions_tangent, SymbolicZero):
        combined_tangent = _combine_amplitudes(weights, shell_functions_tangent)
        result_tangent += _damped_terms(span, combined_tangent, stretch, half_variance, q)[0]
    if not isinstance(relaxation_tangent, SymbolicZero):
        relaxation_slope = _damped_terms(
            span, _combine_amplitudes(weight_slopes, shell_functions), stretch, half_variance, q
        )[0]
        result_tangent += relaxation_slope * relaxation_tangent
    if not isinstance(stretch_tangent, SymbolicZero):
        result_tangent += (q * slope - result / stretch) * stretch_tangent
    if not isinstance(half_variance_tangent, SymbolicZero):
        result_tangent -= q**2 * (terms @ half_variance_tangent)
    if not isinstance(q_tangent, SymbolicZero):
        result_tangent += (stretch * slope - 2 * q * (terms @ half_variance)) * q_tangent
    return result, result_tangent


def _damped_terms(span: TableRange, shell_functions, stretch, half_variance, q):
    """Return the sum over the shells, its terms [q, shell], and the derivative of the sum with respect to Qs.

    The damping is kept constant in the derivative.
    """
    value, slope = fast_debye.interpolate(shell_functions, q * stretch, span.q_nodes)
    damping = jnp.exp(-half_variance * q[:, None] ** 2) / stretch
    terms = damping * value
    return jnp.sum(terms, axis=-1), terms, jnp.sum(damping * slope, axis=-1)


def _shell_weights(distance: Float[Array, " pair"]) -> Float[Array, "pair shell"]:
    """Return L_j at distances in units of the bond length, by linear interpolation in a fine table."""
    _, table = _shell_interpolation()
    position = (1 - MIN_SHELL_DISTANCE / jnp.maximum(distance, MIN_SHELL_DISTANCE)) * (
        (len(table) - 1) / (1 - MIN_SHELL_DISTANCE / MAX_SHELL_DISTANCE)
    )
    cell = jnp.minimum(position.astype(jnp.int32), len(table) - 2)
    fraction = jnp.minimum(position - cell, 1.0)[:, None]
    rows = jnp.asarray(table, distance.dtype)
    return rows[cell] * (1 - fraction) + rows[cell + 1] * fraction


@lru_cache
def _shell_interpolation() -> tuple[Float[np.ndarray, " shell"], Float[np.ndarray, "point shell"]]:
    """Return the distances of the shells, in units of the bond length, and L_j at distances d.

    The distances d are equally spaced in 1/d.

    A QR decomposition with pivoting selects the shells from the leading singular vectors of many damping curves. The
    parameters of these curves are drawn at random with a fixed seed.
    """
    rng = np.random.default_rng(0)
    distance = MIN_SHELL_DISTANCE / np.linspace(1, MIN_SHELL_DISTANCE / MAX_SHELL_DISTANCE, 1200)
    exponent = MAX_DAMPING_EXPONENT * rng.uniform(0, 1, (3000, 1)) ** 3
    delta_power = rng.integers(0, 2, (3000, 1))
    delta = rng.uniform(0, MAX_RELATIVE_DELTA, (3000, 1))
    variance_factor = 1 - delta / distance ** (1 + delta_power)
    variance_factor += (rng.uniform(0, MAX_RELATIVE_QBROAD, (3000, 1)) * distance) ** 2 * rng.integers(0, 2, (3000, 1))
    damping_curves = np.exp(-exponent * variance_factor)
    eigenvector_range = [len(distance) - N_SHELLS, len(distance) - 1]
    basis = scipy.linalg.eigh(damping_curves.T @ damping_curves, subset_by_index=eigenvector_range)[1].T
    shell_index = np.sort(scipy.linalg.qr(basis, pivoting=True)[2][:N_SHELLS])
    return distance[shell_index], np.linalg.solve(basis[:, shell_index], basis).T
