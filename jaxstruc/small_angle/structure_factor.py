r"""Structure factor S(Q) of hard spheres, and three approximations that apply it to particles of many sizes.

S(Q) is the solution of M. S. Wertheim, Phys. Rev. Lett. 10, 321 (1963), doi 10.1103/PhysRevLett.10.321, to the equation
of J. K. Percus, G. J. Yevick, Phys. Rev. 110, 1 (1958), doi 10.1103/PhysRev.110.1. With the radius R and the volume
fraction $\phi$ of the spheres, and $x = 2QR$, the solution is

$$1/S = 1 + 24\phi \int_0^1 s^2 \frac{\sin xs}{xs} (\alpha + \beta s + \gamma s^3)\, ds, \quad
\alpha = \frac{(1 + 2\phi)^2}{(1 - \phi)^4},\ \beta = -6\phi \frac{(1 + \phi/2)^2}{(1 - \phi)^4},\
\gamma = \frac{\phi\alpha}{2}$$

`simulate.intensity` takes `effective_radius`, `decoupling` or `local_monodisperse` as its argument `structure`, with
`fraction` bound by `functools.partial`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.scattering.sincos import sine_and_cosine
from jaxstruc.small_angle.form_factors import FormFactor
from jaxstruc.small_angle.size_distributions import SizeFractions

MAX_QUADRATURE_X = 3.0
"""Largest x at which a Gauss quadrature computes the integral. The closed form is used beyond it."""
N_QUADRATURE_NODES = 12
"""Number of Gauss points of this quadrature."""


def hard_spheres(
    q: Float[Array, "*q"], radius: Float[Array | np.ndarray, "*#q"] | float, fraction: Float[Array, ""] | float
) -> Float[Array, "*q"]:
    """Return S(Q) of equal hard spheres with a radius in Å and a volume fraction."""
    x, fraction = 2 * q * radius, jnp.asarray(fraction, q.dtype)
    alpha = (1 + 2 * fraction) ** 2 / (1 - fraction) ** 4
    beta = -6 * fraction * (1 + fraction / 2) ** 2 / (1 - fraction) ** 4
    factors = alpha, beta, fraction * alpha / 2
    integral = jnp.where(
        x < MAX_QUADRATURE_X,
        _quadrature_integral(jnp.minimum(x, MAX_QUADRATURE_X), factors),
        _closed_form_integral(jnp.maximum(x, MAX_QUADRATURE_X), factors),
    )
    return 1 / (1 + 24 * fraction * integral)


def effective_radius(
    q: Float[Array, "*q"], body: FormFactor, sizes: SizeFractions, fraction: Float[Array, ""] | float
) -> Float[Array, "*q"]:
    """Return S(Q) of equal hard spheres with the number-weighted mean radius of the particles.

    The radius of a particle that is no sphere is that of the sphere of equal volume. sasmodels uses this approximation
    by default.
    """
    return hard_spheres(q, jnp.sum(sizes.number_fraction * sizes.radius), fraction)


def decoupling(
    q: Float[Array, "*q"], body: FormFactor, sizes: SizeFractions, fraction: Float[Array, ""] | float
) -> Float[Array, "*q"]:
    r"""Return $1 + \beta (S - 1)$ with $\beta = \langle F \rangle^2 / \langle F^2 \rangle$ and S of `effective_radius`.

    F is the scattering amplitude. The means are over sizes and orientations of the particles. The approximation assumes
    that sizes and positions of the particles are independent. M. Kotlarchyk, S.-H. Chen, J. Chem. Phys. 79, 2461
    (1983), doi 10.1063/1.446055.
    """
    radius = jnp.asarray(sizes.radius)
    volume = radius**3
    mean = body.amplitude(q[..., None], radius) @ (sizes.number_fraction * volume)
    square = body.square(q[..., None], radius) @ (sizes.number_fraction * volume**2)
    return 1 + mean**2 / square * (effective_radius(q, body, sizes, fraction) - 1)


def local_monodisperse(
    q: Float[Array, "*q"], body: FormFactor, sizes: SizeFractions, fraction: Float[Array, ""] | float
) -> Float[Array, "*q"]:
    """Return the mean of S(Q) over the sizes, weighted by the intensity that each size scatters.

    The approximation assumes that each particle is surrounded by particles of its own size.
    J. S. Pedersen, J. Appl. Cryst. 27, 595 (1994), doi 10.1107/S0021889893013810.
    """
    weight = sizes.volume_fraction * sizes.radius**3
    squares = body.square(q[..., None], jnp.asarray(sizes.radius))
    factors = hard_spheres(jnp.broadcast_to(q[..., None], squares.shape), sizes.radius, fraction)
    return (squares * factors) @ weight / (squares @ weight)


def _quadrature_integral(x, factors):
    """Return the integral in 1/S by Gauss quadrature, for small x."""
    node, weight = np.polynomial.legendre.leggauss(N_QUADRATURE_NODES)
    s = (node + 1) / 2
    node_factors = sum(
        factor * jnp.asarray(weight / 2 * s ** (2 + n), x.dtype) for factor, n in zip(factors, (0, 1, 3), strict=True)
    )
    return jnp.sinc(x[..., None] * jnp.asarray(s / np.pi, x.dtype)) @ node_factors


def _closed_form_integral(x, factors):
    """Return the integral in 1/S in closed form, for x that are not small."""
    alpha, beta, gamma = factors
    sine, cosine = sine_and_cosine(x)
    first = (sine - x * cosine) / x**2
    second = (2 * x * sine - (x**2 - 2) * cosine - 2) / x**3
    fourth = ((4 * x**2 - 24) * x * sine - (x**4 - 12 * x**2 + 24) * cosine + 24) / x**5
    return (alpha * first + beta * second + gamma * fourth) / x
