r"""Templates: a cluster of one element as what a fit evaluates, tabulated once.

A fit stretches all distances by s and changes their widths, $\sigma^2 = 2U b(d)$. With the exponential interpolated
between a few distances $d_j$, the shells, $e^{-UQ^2 b(d)} = \sum_j L_j(d) e^{-UQ^2 b(d_j)}$, the Debye sum separates:

$$F(Q) = \frac{1}{Ns} \sum_j e^{-UQ^2 b(s d_j)} H_j(Qs), \qquad H_j(x) = \sum_d \frac{w_d}{d} L_j(d) \sin(xd)$$

The H_j do not depend on what is fitted. They are tabulated over even x, from a histogram of the distances by one matrix
product for all clusters; a curve is then a few thousand operations, however many atoms. The shells and L_j are an
empirical interpolation (M. Barrault et al., C. R. Acad. Sci. Paris 339, 667 (2004), doi 10.1016/j.crma.2004.08.006).
"""

from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from jaxstruc.scattering import debye, spreading
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.parameters import PARAMETERS
from jaxstruc.scattering.spreading import Nodes
from jaxstruc.structures.distances import Histogram, gathered

SHELLS = 8
INNERMOST = 0.95
"""Distances shorter than this many bonds have the width of that one."""
FARTHEST = 20.0
"""In bonds; distances beyond have the width of that one."""
WIDEST = PARAMETERS["uiso"].high * 30.0**2
"""Largest U Q² that the interpolation is made for."""
CORRELATED = PARAMETERS["delta2"].high
"""Largest delta1 and delta2, in bonds and squared bonds."""
BROADENED = PARAMETERS["qbroad"].high
"""Largest qbroad times bond."""
ACCURACY = 1e-4
SHORT = 0.5
"""Å. Shorter distances count as of that one in 1/d: a decoded structure may have atoms at one place."""
BIN = 0.05
"""Å, of a histogram made of a distance matrix."""


@dataclass(frozen=True)
class Span:
    """What a table covers; clusters and files with one span share a compilation."""

    longest: float
    """Å. Longer distances are left out."""
    qmax: float
    """1/Å. Largest Q times stretch."""

    @property
    def distances(self) -> Nodes:
        """Nodes that stand for the distances."""
        return Nodes(self.longest, self.qmax, ACCURACY)

    @property
    def waves(self) -> Nodes:
        """Nodes over x = Q s between which H is interpolated: the same, the other way about."""
        return Nodes(self.qmax, self.longest, ACCURACY)


@partial(jax.tree_util.register_dataclass, data_fields=["waves", "bond"], meta_fields=["span"])
@dataclass(frozen=True)
class Template:
    """A cluster, as a fit needs it. What is static travels with the arrays that mean nothing without it."""

    waves: Float[Array, "*batch node shell"]
    """H_j at the span's nodes, divided by the number of atoms."""
    bond: Float[Array, "*batch"]
    """Å. Nearest-neighbour distance."""
    span: Span
    """What the tables cover."""


def template(histogram: Histogram, bond: Float[Array, ""] | float, *, span: Span) -> Template:
    """Return the tables of one cluster.

    Args:
        histogram: of its distances, in Å. Two distances stand for each bin, which keeps its mean and variance.
        bond: nearest-neighbour distance, in Å.
        span: what the tables cover.
    """
    wide = histogram.variance > 0
    width = jnp.where(wide, jnp.sqrt(jnp.where(wide, histogram.variance, 1.0)), 0.0)
    distance = jnp.concatenate([histogram.mean - width, histogram.mean + width])
    weight = jnp.concatenate([histogram.weight, histogram.weight]) / (2 * histogram.atoms)
    weight = jnp.where(distance < span.longest, weight, 0.0)
    distance = jnp.where(weight > 0, distance, bond)
    shares = (weight / jnp.maximum(distance, SHORT))[:, None] * _shares(distance / bond)
    at_nodes = spreading.spread_rows(distance, shares, span.distances)
    sines = np.sin(span.waves.distance[:, None] * span.distances.distance)
    waves = jnp.matmul(jnp.asarray(sines, at_nodes.dtype), at_nodes, precision="highest")
    return Template(waves, jnp.asarray(bond, waves.dtype), span)


def of_distances(
    distances: Float[Array, "atom atom"],
    presence: Float[Array, " atom"],
    bond: Float[Array, ""] | float,
    *,
    span: Span,
) -> Template:
    """Return the tables of a cluster given by its distance matrix, traced; all NaN where a distance is.

    Args:
        distances: in Å.
        presence: 1 for atoms, 0 for padding.
        bond: nearest-neighbour distance, in Å.
        span: what the tables cover.
    """
    pairs = debye.pairs(distances, presence)
    atoms = jnp.maximum(jnp.sum(presence), 1)
    bins = gathered(pairs.distance, pairs.weight, atoms, width=BIN, longest=span.longest)
    broken = jnp.any(jnp.isnan(pairs.distance) & (pairs.weight > 0))
    found = template(bins, bond, span=span)
    return Template(jnp.where(broken, jnp.nan, found.waves), found.bond, span)


def reduced_structure_function(template: Template, instrument: Instrument, q: Float[Array, " q"]) -> Float[Array, " q"]:
    """Return F(Q) of one cluster, in 1/Å.

    Args:
        template: its tables.
        instrument: stretch, Uiso, delta1, delta2 and qbroad; the rest does not enter F.
        q: in 1/Å; times the stretch at most the span's.
    """
    stretch = jnp.asarray(1.0 if instrument.stretch is None else instrument.stretch, q.dtype)
    distance = jnp.asarray(_interpolation()[0], q.dtype) * template.bond * stretch
    bracket = jnp.maximum(debye.width_bracket(instrument, distance), 0.0)
    width = instrument.uiso * jnp.broadcast_to(bracket, distance.shape)
    return _damped_sum(template.span, template.waves, stretch, width, q)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _damped_sum(span: Span, waves, stretch, width, q):
    r"""Return $\sum_j e^{-Q^2 u_j} H_j(Qs) / s$."""
    return _damped_terms(span, waves, stretch, width, q)[0]


@partial(_damped_sum.defjvp, symbolic_zeros=True)
def _damped_sum_jvp(span, primals, tangents):
    """Interpolate once for all derivatives: one by a width is a product with 8 columns."""
    waves, stretch, width, q = primals
    result, terms, slope = _damped_terms(span, waves, stretch, width, q)
    change_waves, change_stretch, change_width, change_q = tangents
    change = jnp.zeros_like(result)
    if not isinstance(change_waves, SymbolicZero):
        change += _damped_terms(span, change_waves, stretch, width, q)[0]
    if not isinstance(change_stretch, SymbolicZero):
        change += (q * slope - result / stretch) * change_stretch
    if not isinstance(change_width, SymbolicZero):
        change -= q**2 * (terms @ change_width)
    if not isinstance(change_q, SymbolicZero):
        change += (stretch * slope - 2 * q * (terms @ width)) * change_q
    return result, change


def _damped_terms(span: Span, waves, stretch, width, q):
    """Return the sum, its terms [q, shell], and the sum's derivative by Qs at fixed damping."""
    value, slope = spreading.interpolate(waves, q * stretch, span.waves)
    damping = jnp.exp(-width * q[:, None] ** 2) / stretch
    terms = damping * value
    return jnp.sum(terms, axis=-1), terms, jnp.sum(damping * slope, axis=-1)


def _shares(distance: Float[Array, " pair"]) -> Float[Array, "pair shell"]:
    """Return L_j at distances in bonds: linear between the points of a fine table."""
    _, table = _interpolation()
    place = (1 - INNERMOST / jnp.maximum(distance, INNERMOST)) * ((len(table) - 1) / (1 - INNERMOST / FARTHEST))
    cell = jnp.minimum(place.astype(jnp.int32), len(table) - 2)
    part = jnp.minimum(place - cell, 1.0)[:, None]
    rows = jnp.asarray(table, distance.dtype)
    return rows[cell] * (1 - part) + rows[cell + 1] * part


@lru_cache
def _interpolation() -> tuple[Float[np.ndarray, " shell"], Float[np.ndarray, "point shell"]]:
    """Return the shells' distances, in bonds, and L_j at points even in 1/distance.

    The shells are the pivots of the leading singular vectors of many damping curves, drawn at random with a fixed seed.
    """
    rng = np.random.default_rng(0)
    distance = INNERMOST / np.linspace(1, INNERMOST / FARTHEST, 1200)
    exponent = WIDEST * rng.uniform(0, 1, (3000, 1)) ** 3
    kind = rng.integers(0, 2, (3000, 1))
    correlated = rng.uniform(0, CORRELATED, (3000, 1))
    bracket = 1 - correlated / distance ** (1 + kind)
    bracket += (rng.uniform(0, BROADENED, (3000, 1)) * distance) ** 2 * rng.integers(0, 2, (3000, 1))
    curves = np.exp(-exponent * bracket)
    last = [len(distance) - SHELLS, len(distance) - 1]
    basis = scipy.linalg.eigh(curves.T @ curves, subset_by_index=last)[1].T
    chosen = np.sort(scipy.linalg.qr(basis, pivoting=True)[2][:SHELLS])
    return distance[chosen], np.linalg.solve(basis[:, chosen], basis).T
