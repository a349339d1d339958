r"""Distributions of sizes as shares of volume over radii that are even in their logarithm.

Each is given by its mean and its standard deviation over the mean, both by number, and made so on nodes of ln R that a
fit holds: whatever the distribution, a curve is one product of the same matrix with its shares. On smooth densities
the sum over even nodes is exact but for $2 e^{-2 (\pi \sigma / h)^2}$, h the step and σ the width in ln R (L. N.
Trefethen, J. A. C. Weideman, SIAM Rev. 56, 385 (2014), doi 10.1137/130932132).

sasmodels' own parameters: the Gaussian's and the Schulz distribution's are mean and width over mean; the lognormal's
are the median and the standard deviation of ln R.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

NARROWEST = 0.7
"""Steps in ln R: the least width of a smooth distribution that the nodes hold, to 1e-4."""


class Family(NamedTuple):
    """A distribution of sizes."""

    parameters: int
    """Of size: mean and width, or the one size."""
    widest: float
    """Largest standard deviation over mean that is fitted."""
    shares: Callable[..., Float[Array, " node"]]
    """Of volume, of (mean in Å, width over mean, ln R at the nodes); sum 1."""


def _softmax(logarithm: Float[Array, " node"]) -> Float[Array, " node"]:
    return jax.nn.softmax(logarithm)


def gaussian(mean, width, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return shares of volume of $p(R) \propto e^{-(R - m)^2 / 2 (w m)^2}$, R > 0."""
    return _softmax(-0.5 * ((jnp.exp(u) / mean - 1) / width) ** 2 + 4 * (u - jnp.log(mean)))


def lognormal(mean, width, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return shares of volume of $p(R) \propto e^{-(\ln R - \ln c)^2 / 2 s^2} / R$, $s^2 = \ln(1 + w^2)$,
    $c = m e^{-s^2/2}$.
    """  # noqa: D205
    square = jnp.log1p(width**2)
    x = u - jnp.log(mean)
    return _softmax(-0.5 * (x + 0.5 * square) ** 2 / square + 3 * x)


def schulz(mean, width, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return shares of volume of $p(R) \propto R^{z} e^{-(z + 1) R / m}$, $z + 1 = 1 / w^2$."""
    x = u - jnp.log(mean)
    return _softmax((x - jnp.expm1(x)) / width**2 + 3 * x)


def uniform(mean, width, u: Float[Array, " node"]) -> Float[Array, " node"]:
    r"""Return shares of volume of sizes even between $m (1 \pm \sqrt 3 w)$."""
    step, half = u[1] - u[0], math.sqrt(3) * width
    low, high = (jnp.log(mean) + jnp.log1p(end) for end in (-half, half))
    held = _below((high - u) / step) - _below((low - u) / step)
    share = held * jnp.exp(4 * (u - jnp.log(mean)))
    return share / jnp.sum(share)


def single(mean, width, u: Float[Array, " node"]) -> Float[Array, " node"]:
    """Return shares that stand for one size: those of cubic interpolation between the nodes; the width is not used."""
    x = (jnp.log(mean) - u) / (u[1] - u[0])
    share = _cubic(x) * jnp.exp(3 * (u - jnp.log(mean)))
    return share / jnp.sum(share)


def _cubic(x):
    """Return the kernel of cubic convolution (R. G. Keys, IEEE Trans. ASSP 29, 1153 (1981))."""
    a = jnp.abs(x)
    near, far = 1 + a**2 * (1.5 * a - 2.5), 2 + a * (-4 + a * (2.5 - 0.5 * a))
    return jnp.where(a < 1, near, jnp.where(a < 2, far, 0.0))


def _below(x):
    """Return the integral of that kernel up to x: what of a node's part lies below an edge x steps above it."""
    a = jnp.minimum(jnp.abs(x), 2.0)
    near = a * (1 + a**2 * (0.375 * a - 2.5 / 3))
    far = a * (2 + a * (-2 + a * (2.5 / 3 - 0.125 * a))) - 1 / 6
    return 0.5 + jnp.sign(x) * jnp.where(a < 1, near, far)


FAMILIES = {
    "none": Family(1, 0.0, single),
    "gaussian": Family(2, 0.35, gaussian),
    "lognormal": Family(2, 0.7, lognormal),
    "schulz": Family(2, 0.6, schulz),
    "uniform": Family(2, 0.55, uniform),
}
"""Each distribution with one population, by name."""


class Sizes(NamedTuple):
    """What shares of volume say of sizes; radii of spheres of equal volume, in Å."""

    mean: Float[np.ndarray, "*batch"]
    """By number; so for the next."""
    width: Float[np.ndarray, "*batch"]
    """Standard deviation over mean."""
    mean_volume: Float[np.ndarray, "*batch"]
    """Weighted by volume; so for the next."""
    width_volume: Float[np.ndarray, "*batch"]


def sizes(share: Float[np.ndarray, "*batch node"], radius: Float[np.ndarray, " node"]) -> Sizes:
    """Return mean and width of shares of volume, by number and by volume."""
    share = np.asarray(share, float)

    def both(weight):
        weight = weight / weight.sum(axis=-1, keepdims=True)
        mean = weight @ radius
        return mean, np.sqrt(np.maximum(weight @ radius**2 - mean**2, 0.0)) / mean

    return Sizes(*both(share / radius**3), *both(share))
