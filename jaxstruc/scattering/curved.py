r"""Bodies with curved faces, by their formulas: sphere, core and shell, spheroid, cylinder.

P is the square of the amplitude averaged over orientations, 1 at 0; x = q R_eq, R_eq the radius of the sphere of the
same volume. Pure, differentiable in x and in the shape, in the precision of x.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.scattering.waves import polynomial, sine_and_cosine

N_ORIENTATIONS = 96
"""Gauss points over the angle to the axis of a spheroid or cylinder: enough for q times the difference of its half
axes below about 70."""
MAX_SERIES_X = 1.5
"""Below this x the sphere's series serves."""
_SERIES_COEFFICIENTS = np.cumprod([1.0, *[-1 / (2 * n * (2 * n + 3)) for n in range(1, 10)]])
_BESSEL_COEFFICIENTS = (
    (0.5, -0.56249985, 0.21093573, -0.03954289, 0.00443319, -0.00031761, 0.00001109),
    (0.79788456, 0.00000156, 0.01659667, 0.00017105, -0.00249511, 0.00113653, -0.00020033),
    (-2.35619449, 0.12499612, 0.00005650, -0.00637879, 0.00074348, 0.00079824, -0.00029166),
)
"""Of J1: M. Abramowitz, I. Stegun, Handbook of Mathematical Functions (1964), 9.4.4 and 9.4.6, errors below 1e-7."""


def sphere_amplitude(x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    r"""Return $F = 3 (\sin x - x \cos x) / x^3$, 1 at 0. Lord Rayleigh, Proc. R. Soc. Lond. A 84, 25 (1910)."""
    small_x, large_x = jnp.minimum(x, MAX_SERIES_X), jnp.maximum(x, MAX_SERIES_X)
    sine, cosine = sine_and_cosine(large_x)
    return jnp.where(
        x < MAX_SERIES_X, polynomial(_SERIES_COEFFICIENTS, small_x**2), 3 * (sine / large_x - cosine) / large_x**2
    )


def sphere(x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return P of a sphere, x = qR."""
    return sphere_amplitude(x) ** 2


def core_shell_amplitude(
    x: Float[Array, "*x"], share: Float[Array, "*x"], core: Float[Array, ""], shell: Float[Array, ""]
) -> Float[Array, "*x"]:
    """Return a core-shell sphere's amplitude over its volume, for F times a contrast.

    Args:
        x: q times the outer radius.
        share: thickness of the shell over the outer radius, from 0 to 1.
        core: scattering length density of the core less the solvent's.
        shell: that of the shell less the solvent's, in the same unit.
    """
    inner = 1 - jnp.asarray(share, x.dtype)
    return shell * sphere_amplitude(x) + (core - shell) * inner**3 * sphere_amplitude(x * inner)


def core_shell(
    x: Float[Array, "*x"],
    thickness_ratio: Float[Array, "*x"],
    core_contrast: Float[Array, ""],
    shell_contrast: Float[Array, ""],
) -> Float[Array, "*x"]:
    """Return the square of `core_shell_amplitude`, for P times a contrast's square."""
    return core_shell_amplitude(x, thickness_ratio, core_contrast, shell_contrast) ** 2


def spheroid(x: Float[Array, "*x"], aspect: Float[Array, ""] | float) -> Float[Array, "*x"]:
    r"""Return P of a spheroid, its aspect the axis of revolution over the other.

    $P = \int_0^1 P_\mathrm{sphere}(q a \sqrt{1 + (\epsilon^2 - 1)\mu^2})\, d\mu$, $a = R_{eq} \epsilon^{-1/3}$.
    A. Guinier, Ann. Phys. 11 (12), 161 (1939).
    """
    mu, weight = _orientation_nodes(x)
    aspect = jnp.asarray(aspect, x.dtype)
    relative_radius = aspect ** (-1 / 3) * jnp.sqrt(1 + (aspect**2 - 1) * mu**2)
    return sphere(x[..., None] * relative_radius) @ weight


def cylinder(x: Float[Array, "*x"], aspect: Float[Array, ""] | float) -> Float[Array, "*x"]:
    r"""Return P of a cylinder, its aspect the length over the diameter.

    $P = \int_0^1 [2 J_1(q r \sqrt{1 - \mu^2}) / (q r \sqrt{1 - \mu^2}) \cdot \mathrm{sinc}(q L \mu / 2)]^2 d\mu$,
    $r = R_{eq} (2/3\epsilon)^{1/3}$, $L = 2 r \epsilon$. G. Fournet, Bull. Soc. Fr. Minéral. 74, 39 (1951).
    """
    mu, weight = _orientation_nodes(x)
    aspect = jnp.asarray(aspect, x.dtype)
    radius = x[..., None] * (2 / (3 * aspect)) ** (1 / 3)
    axial_amplitude = jnp.sinc(radius * aspect * mu / jnp.pi)
    return (disc_amplitude(radius * jnp.sqrt(1 - mu**2)) * axial_amplitude) ** 2 @ weight


def disc_amplitude(x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return 2 J1(x) / x, 1 at 0, within 2e-7."""
    small_x, large_x = jnp.minimum(x, 3.0), jnp.maximum(x, 3.0)
    series_coefficients, modulus_coefficients, phase_coefficients = _BESSEL_COEFFICIENTS
    oscillation = (
        polynomial(modulus_coefficients, 3 / large_x)
        * sine_and_cosine(large_x + polynomial(phase_coefficients, 3 / large_x))[1]
    )
    return 2 * jnp.where(
        x < 3, polynomial(series_coefficients, (small_x / 3) ** 2), oscillation / (large_x * jnp.sqrt(large_x))
    )


def _orientation_nodes(x):
    """Return cosines of the angle to an axis, and their weights."""
    node, weight = np.polynomial.legendre.leggauss(N_ORIENTATIONS)
    return jnp.asarray((node + 1) / 2, x.dtype), jnp.asarray(weight / 2, x.dtype)
