r"""Bodies with curved faces, by their formulas: sphere, core and shell, spheroid, cylinder.

P is the square of the amplitude averaged over orientations, 1 at 0; x = q R_eq, R_eq the radius of the sphere of the
same volume. Pure, differentiable in x and in the shape, in the precision of x.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.scattering.waves import polynomial, sine_and_cosine

ORIENTATIONS = 96
"""Gauss points over the angle to the axis of a spheroid or cylinder: enough for q times the difference of its half
axes below about 70."""
SERIES = 1.5
"""Below this x the sphere's series serves."""
_FACTORS = np.cumprod([1.0, *[-1 / (2 * n * (2 * n + 3)) for n in range(1, 10)]])
_BESSEL = (
    (0.5, -0.56249985, 0.21093573, -0.03954289, 0.00443319, -0.00031761, 0.00001109),
    (0.79788456, 0.00000156, 0.01659667, 0.00017105, -0.00249511, 0.00113653, -0.00020033),
    (-2.35619449, 0.12499612, 0.00005650, -0.00637879, 0.00074348, 0.00079824, -0.00029166),
)
"""Of J1: M. Abramowitz, I. Stegun, Handbook of Mathematical Functions (1964), 9.4.4 and 9.4.6, errors below 1e-7."""


def sphere_amplitude(x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    r"""Return $F = 3 (\sin x - x \cos x) / x^3$, 1 at 0. Lord Rayleigh, Proc. R. Soc. Lond. A 84, 25 (1910)."""
    low, high = jnp.minimum(x, SERIES), jnp.maximum(x, SERIES)
    sine, cosine = sine_and_cosine(high)
    return jnp.where(x < SERIES, polynomial(_FACTORS, low**2), 3 * (sine / high - cosine) / high**2)


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
    x: Float[Array, "*x"], share: Float[Array, "*x"], core: Float[Array, ""], shell: Float[Array, ""]
) -> Float[Array, "*x"]:
    """Return the square of `core_shell_amplitude`, for P times a contrast's square."""
    return core_shell_amplitude(x, share, core, shell) ** 2


def spheroid(x: Float[Array, "*x"], aspect: Float[Array, ""] | float) -> Float[Array, "*x"]:
    r"""Return P of a spheroid, its aspect the axis of revolution over the other.

    $P = \int_0^1 P_\mathrm{sphere}(q a \sqrt{1 + (\epsilon^2 - 1)\mu^2})\, d\mu$, $a = R_{eq} \epsilon^{-1/3}$.
    A. Guinier, Ann. Phys. 11 (12), 161 (1939).
    """
    mu, weight = _angles(x)
    aspect = jnp.asarray(aspect, x.dtype)
    turned = aspect ** (-1 / 3) * jnp.sqrt(1 + (aspect**2 - 1) * mu**2)
    return sphere(x[..., None] * turned) @ weight


def cylinder(x: Float[Array, "*x"], aspect: Float[Array, ""] | float) -> Float[Array, "*x"]:
    r"""Return P of a cylinder, its aspect the length over the diameter.

    $P = \int_0^1 [2 J_1(q r \sqrt{1 - \mu^2}) / (q r \sqrt{1 - \mu^2}) \cdot \mathrm{sinc}(q L \mu / 2)]^2 d\mu$,
    $r = R_{eq} (2/3\epsilon)^{1/3}$, $L = 2 r \epsilon$. G. Fournet, Bull. Soc. Fr. Minéral. 74, 39 (1951).
    """
    mu, weight = _angles(x)
    aspect = jnp.asarray(aspect, x.dtype)
    radius = x[..., None] * (2 / (3 * aspect)) ** (1 / 3)
    along = jnp.sinc(radius * aspect * mu / jnp.pi)
    return (disc_amplitude(radius * jnp.sqrt(1 - mu**2)) * along) ** 2 @ weight


def disc_amplitude(x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return 2 J1(x) / x, 1 at 0, within 2e-7."""
    low, high = jnp.minimum(x, 3.0), jnp.maximum(x, 3.0)
    near, size, phase = _BESSEL
    wave = polynomial(size, 3 / high) * sine_and_cosine(high + polynomial(phase, 3 / high))[1]
    return 2 * jnp.where(x < 3, polynomial(near, (low / 3) ** 2), wave / (high * jnp.sqrt(high)))


def _angles(x):
    """Return cosines of the angle to an axis, and their weights."""
    node, weight = np.polynomial.legendre.leggauss(ORIENTATIONS)
    return jnp.asarray((node + 1) / 2, x.dtype), jnp.asarray(weight / 2, x.dtype)
