r"""Distributions of sizes as volume fractions of particles over radii, for fits and simulations alike.

Each is given by its mean and by `pd`, the standard deviation over the mean, both by number, and is evaluated at even
nodes of ln R, so that a curve is the product of one matrix with the volume fractions, whatever the distribution. On
smooth densities the sum over even nodes is exact but for $2 e^{-2 (\pi \sigma / h)^2}$, h the step and σ the width in
ln R (L. N. Trefethen, J. A. C. Weideman, SIAM Rev. 56, 385 (2014), doi 10.1137/130932132). The Gaussian is cut at
R = 0: its mean is 0.2 % above the one asked for at the largest pd, 0.35, and within 1e-6 below 0.2.

sasmodels gives the lognormal by the median of R and the standard deviation of ln R, and sums all distributions on few
nodes that are even in R: `sasmodels_distribution` does the same, for comparisons.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MIN_WIDTH = 0.7
"""Steps in ln R: the smallest width of a smooth distribution that the nodes hold, to 1e-4."""
MAX_WIDTHS_FROM_MEAN, MAX_LOG_RADIUS_FROM_MEAN = 30.0, 9.0
"""Largest distance of a node from the mean, in widths and in ln R."""
N_TRIAL_NODES = 8001
"""Nodes over this reach, on which the range with any weight is determined."""
NEGLIGIBLE_WEIGHT = 1e-14
"""Weight, relative to the largest by number and by squared volume, beyond which no nodes are laid."""
LONGEST_CHORD = 3.3
"""R_eq. No compact body of the list is longer: the edge of the tetrahedron."""
BANDWIDTH = 9.0
"""Widths, of the Fourier transform of a distribution, beyond which it is negligible: exp(-9²/2)."""
MIN_UNIFORM_NODES = 2000
"""Least number of nodes of the uniform distribution, whose ends are no smooth function."""


class SizeFractions(NamedTuple):
    """Particles of many sizes."""

    radius: Float[Array | np.ndarray, "*batch node"]
    """Å, above 0. R of spheres, R_eq of other bodies."""
    volume_fraction: Float[Array | np.ndarray, "*batch node"]
    """Fractions of the particles' volume; they sum to 1."""

    @property
    def number_fraction(self) -> Float[Array, "*batch node"]:
        """Fractions of the number of particles; they sum to 1."""
        number = jnp.asarray(self.volume_fraction / self.radius**3)
        return number / jnp.sum(number, axis=-1, keepdims=True)


class DistributionShape(NamedTuple):
    """A distribution of sizes with parameters."""

    n_parameters: int
    """Number of parameters of size: 2 for mean and pd, 1 for one size."""
    max_pd: float
    """Largest pd."""
    volume_shares: Callable[..., Float[Array, " node"]]
    """Function of the mean in Å, pd, and ln R at the nodes; the fractions sum to 1."""


class Moments(NamedTuple):
    """Means and widths of distributions of sizes; radii of spheres of equal volume, in Å."""

    mean: Float[np.ndarray, "*batch"]
    """Mean by number."""
    width: Float[np.ndarray, "*batch"]
    """Standard deviation over mean by number: pd."""
    volume_weighted_mean: Float[np.ndarray, "*batch"]
    """Mean weighted by volume."""
    volume_weighted_width: Float[np.ndarray, "*batch"]
    """Standard deviation over mean weighted by volume."""


def gaussian(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return volume fractions of $p(R) \propto e^{-(R - m)^2 / 2 (p m)^2}$, R > 0."""
    return jax.nn.softmax(-0.5 * ((jnp.exp(u) / mean - 1) / pd) ** 2 + 4 * (u - jnp.log(mean)))


def lognormal(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return volume fractions of $p(R) \propto e^{-(\ln R - \ln c)^2 / 2 s^2} / R$, $s^2 = \ln(1 + p^2)$,
    $c = m e^{-s^2/2}$.
    """  # noqa: D205
    square = jnp.log1p(pd**2)
    x = u - jnp.log(mean)
    return jax.nn.softmax(-0.5 * (x + 0.5 * square) ** 2 / square + 3 * x)


def schulz(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return volume fractions of $p(R) \propto R^{z} e^{-(z + 1) R / m}$, $z + 1 = 1 / p^2$.

    G. V. Schulz, Z. Phys. Chem. B 43, 25 (1939).
    """
    x = u - jnp.log(mean)
    return jax.nn.softmax((x - jnp.expm1(x)) / pd**2 + 3 * x)


def uniform(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return volume fractions of sizes even between $m (1 \pm \sqrt 3 p)$."""
    step, half_width = u[1] - u[0], math.sqrt(3) * pd
    low, high = (jnp.log(mean) + jnp.log1p(end) for end in (-half_width, half_width))
    node_shares = _cubic_integral((high - u) / step) - _cubic_integral((low - u) / step)
    fraction = node_shares * jnp.exp(4 * (u - jnp.log(mean)))
    return fraction / jnp.sum(fraction)


def single(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    """Return volume fractions that stand for one size: cubic interpolation between the nodes; pd is not used."""
    x = (jnp.log(mean) - u) / (u[1] - u[0])
    fraction = _cubic_kernel(x) * jnp.exp(3 * (u - jnp.log(mean)))
    return fraction / jnp.sum(fraction)


DISTRIBUTION_SHAPES = {
    "none": DistributionShape(1, 0.0, single),
    "gaussian": DistributionShape(2, 0.35, gaussian),
    "lognormal": DistributionShape(2, 0.7, lognormal),
    "schulz": DistributionShape(2, 0.6, schulz),
    "uniform": DistributionShape(2, 0.55, uniform),
}
"""Each distribution with one population, by name."""


def size_distribution(
    name: str, mean: float, pd: float, *, qmax: float, longest_chord: float = LONGEST_CHORD
) -> SizeFractions:
    """Return a distribution on nodes that are fine enough for all Q.

    Args:
        name: one of `FAMILIES`.
        mean: in Å, by number.
        pd: standard deviation over mean, by number; 0 is one size.
        qmax: largest Q, in 1/Å.
        longest_chord: longest chord of the body, in R_eq.
    """
    family = DISTRIBUTION_SHAPES[name]
    if family.n_parameters == 1 or pd == 0:
        return SizeFractions(np.array([mean]), np.ones(1))
    reach = min(MAX_WIDTHS_FROM_MEAN * pd, MAX_LOG_RADIUS_FROM_MEAN)
    u = math.log(mean) + np.linspace(-reach, reach, N_TRIAL_NODES)
    fraction = np.asarray(family.volume_shares(mean, pd, jnp.asarray(u)), float)
    relative_radius = np.exp(u) / mean
    weights = [fraction / relative_radius**3, fraction * relative_radius**3]
    has_weight_rows = np.flatnonzero(np.max([weight / weight.max() for weight in weights], axis=0) > NEGLIGIBLE_WEIGHT)
    low, high = u[max(has_weight_rows[0] - 1, 0)], u[min(has_weight_rows[-1] + 1, len(u) - 1)]
    signal = np.cumsum(fraction * relative_radius**3 / (1 + (qmax * np.exp(u)) ** 4))
    largest_radius = math.exp(u[np.searchsorted(signal, (1 - 1e-9) * signal[-1])])
    step = math.pi / (longest_chord * qmax * largest_radius + BANDWIDTH / pd)
    n_nodes = max(math.ceil((high - low) / step) + 1, MIN_UNIFORM_NODES if name == "uniform" else 0)
    u = np.linspace(low, high, n_nodes)
    return SizeFractions(np.exp(u), np.asarray(family.volume_shares(mean, pd, jnp.asarray(u)), float))


def distribution_by_number(radius: Float[np.ndarray, " node"], number: Float[np.ndarray, " node"]) -> SizeFractions:
    """Return a distribution, given the numbers of particles at each radius, in any unit."""
    volume = number * radius**3
    return SizeFractions(radius, volume / volume.sum(axis=-1, keepdims=True))


def sasmodels_distribution(name: str, centre: float, pd: float) -> SizeFractions:
    """Return a distribution as sasmodels 1.1.0 sums it by default, in double precision.

    Its lognormal has the median as its centre, and the standard deviation of ln R as its pd. Its uniform distribution
    is called `rectangle` there. On its few nodes, cut at 3 or 8 standard deviations, a Gaussian loses 0.9 % of I(0) at
    pd = 0.2, and the lognormal 38 % at 0.5.
    """
    count, reach = (35, 3.0) if name == "gaussian" else (35, np.sqrt(3)) if name == "uniform" else (80, 8.0)
    t = np.linspace(-reach, reach, count)
    ratio = 1 + pd * t
    t, ratio = t[ratio > 0], ratio[ratio > 0]
    logarithm = {
        "gaussian": -(t**2) / 2,
        "lognormal": -((np.log(ratio) / pd) ** 2) / 2 - np.log(ratio),
        "schulz": (1 / pd**2 - 1) * np.log(ratio) - (ratio - 1) / pd**2,
        "uniform": np.zeros_like(t),
    }
    return distribution_by_number(centre * ratio, np.exp(logarithm[name]))


def median_and_sigma(mean: float, pd: float) -> tuple[float, float]:
    """Return the median of a lognormal, in the unit of the mean, and the standard deviation of its ln R."""
    square = math.log1p(pd**2)
    return mean * math.exp(-square / 2), math.sqrt(square)


def moments(fraction: Float[np.ndarray, "*batch node"], radius: Float[np.ndarray, " node"]) -> Moments:
    """Return means and widths of volume fractions, by number and by volume."""
    fraction = np.asarray(fraction, float)

    def mean_and_width(weight):
        weight = weight / weight.sum(axis=-1, keepdims=True)
        mean = weight @ radius
        return mean, np.sqrt(np.maximum(weight @ radius**2 - mean**2, 0.0)) / mean

    return Moments(*mean_and_width(fraction / radius**3), *mean_and_width(fraction))


def _cubic_kernel(x):
    """Return the kernel of cubic convolution (R. G. Keys, IEEE Trans. ASSP 29, 1153 (1981))."""
    distance = jnp.abs(x)
    inner_value, outer_value = (
        1 + distance**2 * (1.5 * distance - 2.5),
        2 + distance * (-4 + distance * (2.5 - 0.5 * distance)),
    )
    return jnp.where(distance < 1, inner_value, jnp.where(distance < 2, outer_value, 0.0))


def _cubic_integral(x):
    """Return the integral of that kernel up to x: what of a node's part lies below an edge x steps above it."""
    distance = jnp.minimum(jnp.abs(x), 2.0)
    inner_value = distance * (1 + distance**2 * (0.375 * distance - 2.5 / 3))
    outer_value = distance * (2 + distance * (-2 + distance * (2.5 / 3 - 0.125 * distance))) - 1 / 6
    return 0.5 + jnp.sign(x) * jnp.where(distance < 1, inner_value, outer_value)
