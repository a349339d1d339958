r"""Size distributions as volume fractions of the particles at given radii, for fits and simulations.

Each distribution is defined by its number-weighted mean radius and by `pd`. This is the number-weighted standard
deviation divided by the mean. In the formulas, m is the mean, p is pd, and the argument u is ln R (R in Å).

A distribution is evaluated at nodes that are equally spaced in ln R. The curve of any distribution is then the product
of one matrix with its volume fractions. For a smooth density the sum over the nodes has the relative error
$2 e^{-2 (\pi \sigma / h)^2}$, with the step h and the width $\sigma$ in ln R (L. N. Trefethen, J. A. C. Weideman,
SIAM Rev. 56, 385 (2014), doi 10.1137/130932132).

The Gaussian is truncated at R = 0. This raises its mean by 0.2 % at the largest pd, 0.35, and by less than 1e-6 if pd
is below 0.2.

The program sasmodels defines the lognormal distribution by the median of R and the standard deviation of ln R, and sums
all distributions over a few nodes that are equally spaced in R. `sasmodels_distribution` does the same for comparisons.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MIN_WIDTH = 0.7
"""Smallest width of a smooth distribution in steps between the nodes, for curves that are accurate to 1e-4."""
MAX_WIDTHS_FROM_MEAN, MAX_LOG_RADIUS_FROM_MEAN = 30.0, 9.0
"""Largest distance of a node from the mean in ln R: in units of pd, and absolute."""
N_TRIAL_NODES = 8001
"""Number of trial nodes up to this distance. They determine the range of sizes with a non-negligible weight."""
NEGLIGIBLE_WEIGHT = 1e-14
"""Weight of a size, relative to the largest weight, below which the size gets no node.

Both the weight by number and the weight by squared volume must be below it.
"""
LONGEST_CHORD = 3.3
"""Longest chord of all compact bodies in units of R_eq: the edge of the tetrahedron."""
BANDWIDTH = 9.0
"""Number of standard deviations beyond which the Fourier transform of a distribution is negligible."""
MIN_UNIFORM_NODES = 2000
"""Smallest number of nodes of the uniform distribution, which is not smooth at its ends."""


class SizeFractions(NamedTuple):
    """Volume fractions of particles at given radii."""

    radius: Float[Array | np.ndarray, "*batch node"]
    """Radius in Å, above 0: R of a sphere, R_eq of other bodies."""
    volume_fraction: Float[Array | np.ndarray, "*batch node"]
    """Fractions of the total volume of the particles, which sum to 1."""

    @property
    def number_fraction(self) -> Float[Array, "*batch node"]:
        """Fractions of the number of particles, which sum to 1."""
        number = jnp.asarray(self.volume_fraction / self.radius**3)
        return number / jnp.sum(number, axis=-1, keepdims=True)


class DistributionShape(NamedTuple):
    """A parametric size distribution."""

    n_parameters: int
    """Number of parameters: 2 (mean and pd), or 1 (the radius) for a single size."""
    max_pd: float
    """Largest pd that can be chosen or fitted."""
    volume_shares: Callable[..., Float[Array, " node"]]
    """Function of the mean in Å, pd, and ln R at the nodes. It returns volume fractions that sum to 1."""


class Moments(NamedTuple):
    """Means and widths of size distributions. A radius is that of the sphere of equal volume."""

    mean: Float[np.ndarray, "*batch"]
    """Number-weighted mean radius in Å."""
    width: Float[np.ndarray, "*batch"]
    """Number-weighted standard deviation of the radius divided by the mean (pd)."""
    volume_weighted_mean: Float[np.ndarray, "*batch"]
    """Volume-weighted mean radius in Å."""
    volume_weighted_width: Float[np.ndarray, "*batch"]
    """Volume-weighted standard deviation of the radius divided by the mean."""


def gaussian(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return the volume fractions of the number density $p(R) \propto e^{-(R - m)^2 / 2 (p m)^2}$ at R > 0."""
    return jax.nn.softmax(-0.5 * ((jnp.exp(u) / mean - 1) / pd) ** 2 + 4 * (u - jnp.log(mean)))


def lognormal(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return the volume fractions of the number density $p(R) \propto e^{-(\ln R - \ln c)^2 / 2 s^2} / R$.

    The parameters are $s^2 = \ln(1 + p^2)$ and the median $c = m e^{-s^2/2}$.
    """
    square = jnp.log1p(pd**2)
    x = u - jnp.log(mean)
    return jax.nn.softmax(-0.5 * (x + 0.5 * square) ** 2 / square + 3 * x)


def schulz(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return the volume fractions of the number density $p(R) \propto R^{z} e^{-(z + 1) R / m}$, $z + 1 = 1 / p^2$.

    G. V. Schulz, Z. Phys. Chem. B 43, 25 (1939).
    """
    x = u - jnp.log(mean)
    return jax.nn.softmax((x - jnp.expm1(x)) / pd**2 + 3 * x)


def uniform(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return the volume fractions of a uniform number density from $m (1 - \sqrt 3 p)$ to $m (1 + \sqrt 3 p)$."""
    step, half_width = u[1] - u[0], math.sqrt(3) * pd
    low, high = (jnp.log(mean) + jnp.log1p(end) for end in (-half_width, half_width))
    node_shares = _cubic_integral((high - u) / step) - _cubic_integral((low - u) / step)
    fraction = node_shares * jnp.exp(4 * (u - jnp.log(mean)))
    return fraction / jnp.sum(fraction)


def single(mean, pd, u: Float[Array, " node"]) -> Float[Array, " node"]:
    """Return volume fractions that represent a single size by cubic interpolation between nodes. pd is not used."""
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
"""Parametric distributions with one population, by name."""


def size_distribution(
    name: str, mean: float, pd: float, *, qmax: float, longest_chord: float = LONGEST_CHORD
) -> SizeFractions:
    """Return a distribution at nodes that are close enough for all Q up to `qmax`.

    Args:
        name: Name of the distribution, a key of `DISTRIBUTION_SHAPES`.
        mean: Number-weighted mean radius in Å.
        pd: Number-weighted standard deviation divided by the mean, 0 for a single size.
        qmax: Largest Q in 1/Å.
        longest_chord: Longest chord of the body in units of R_eq.
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


def distribution_by_number(
    radius: Float[Array | np.ndarray, " node"], number: Float[Array | np.ndarray, " node"]
) -> SizeFractions:
    """Return a distribution from the number of particles at each radius, in any unit."""
    volume = number * radius**3
    return SizeFractions(radius, volume / volume.sum(axis=-1, keepdims=True))


def sasmodels_distribution(name: str, centre: float, pd: float) -> SizeFractions:
    """Return a distribution at the nodes that sasmodels 1.1.0 uses by default, in double precision.

    sasmodels truncates distributions at 3 or 8 standard deviations. A Gaussian with pd = 0.2 therefore loses 0.9 % of
    I(0), and a lognormal with pd = 0.5 loses 38 %.

    Args:
        name: Name of the distribution in this module. sasmodels calls the uniform distribution `rectangle`.
        centre: Centre of the distribution in Å. For a lognormal, this is the median.
        pd: Relative standard deviation of R. For a lognormal, this is the standard deviation of ln R.
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
    """Return the median of a lognormal distribution, in the unit of the mean, and the standard deviation of ln R."""
    square = math.log1p(pd**2)
    return mean * math.exp(-square / 2), math.sqrt(square)


def moments(fraction: Float[np.ndarray, "*batch node"], radius: Float[np.ndarray, " node"]) -> Moments:
    """Return number-weighted and volume-weighted means and widths from volume fractions."""
    fraction = np.asarray(fraction, float)

    def mean_and_width(weight):
        weight = weight / weight.sum(axis=-1, keepdims=True)
        mean = weight @ radius
        return mean, np.sqrt(np.maximum(weight @ radius**2 - mean**2, 0.0)) / mean

    return Moments(*mean_and_width(fraction / radius**3), *mean_and_width(fraction))


def _cubic_kernel(x):
    """Return the kernel of cubic convolution at a distance x in steps between the nodes.

    R. G. Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1153 (1981), doi 10.1109/TASSP.1981.1163711.
    """
    distance = jnp.abs(x)
    inner_value, outer_value = (
        1 + distance**2 * (1.5 * distance - 2.5),
        2 + distance * (-4 + distance * (2.5 - 0.5 * distance)),
    )
    return jnp.where(distance < 1, inner_value, jnp.where(distance < 2, outer_value, 0.0))


def _cubic_integral(x):
    """Return the integral of `_cubic_kernel` from minus infinity to x.

    This is the fraction of a node that lies below the edge of a uniform distribution, if the edge is x steps above the
    node.
    """
    distance = jnp.minimum(jnp.abs(x), 2.0)
    inner_value = distance * (1 + distance**2 * (0.375 * distance - 2.5 / 3))
    outer_value = distance * (2 + distance * (-2 + distance * (2.5 / 3 - 0.125 * distance))) - 1 / 6
    return 0.5 + jnp.sign(x) * jnp.where(distance < 1, inner_value, outer_value)
