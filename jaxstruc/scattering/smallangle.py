r"""The one forward function of small angles: bodies and sizes to I(Q).

$$I(Q) = 10^{-4} s\, \Delta\rho^2 \frac{\sum_i w_i V_i^2 P(Q R_i)}{\sum_i w_i V_i} S(Q) + B + A Q^{-m}$$

w: shares of the number of particles (`sizes`), R: R_eq, V = 4/3 pi R³ in Å³, the contrast in 10⁻⁶/Å²; s is then the
volume fraction and I in 1/cm. For a scale of arbitrary units the contrast is 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.scattering import particle, smearing
from jaxstruc.scattering.particle import Table
from jaxstruc.scattering.sizes import Sizes

UNIT = 1e-4
"""1/cm, of (10⁻⁶/Å²)² Å³."""


class Sample(NamedTuple):
    """What a curve depends on beside the particles."""

    scale: Float[Array, "*batch"] | float = 1.0
    """Volume fraction, or a factor."""
    background: Float[Array, "*batch"] | float = 0.0
    """Constant, in the unit of I."""
    power_scale: Float[Array, "*batch"] | float = 0.0
    """I of the power law at 1 1/Å."""
    power: Float[Array, "*batch"] | float = 4.0
    """Its exponent."""
    contrast: Float[Array, "*batch"] | float = 1.0
    """10⁻⁶/Å². Difference of scattering length densities of particle and solvent."""


def intensity(
    q: Float[Array, " q"],
    table: Table,
    sizes: Sizes,
    sample: Sample,
    *,
    dq: Float[Array, " q"] | None = None,
    structure: Callable[[Array, Table, Sizes], Array] | None = None,
) -> Float[Array, " q"]:
    """Return I(Q) of particles of one body.

    Args:
        q: in 1/Å, > 0.
        table: of the body.
        sizes: distribution of R_eq.
        sample: scale, background and contrast.
        dq: in 1/Å, standard deviation of the pinhole's resolution [none].
        structure: one of `repulsion`, its fraction bound: what the correlation of particles multiplies I by [1].
    """
    at = q if dq is None else smearing.places(q, dq)
    values = averaged(particle.form_factor(table, at[..., None] * sizes.radius), sizes)
    values = values if structure is None else values * structure(at, table, sizes)
    values = dressed(at, values, sample)
    return values if dq is None else smearing.smeared(values)


def averaged(squares: Float[Array, "*q node"], sizes: Sizes) -> Float[Array, "*q"]:
    """Return the sum over sizes per volume, in 1/cm for a contrast of 1, of P or another square of F/V."""
    cubes = sizes.weight * sizes.radius**3
    volumes = 4 / 3 * np.pi * cubes * sizes.radius**3
    return UNIT * (squares @ volumes) / jnp.sum(cubes)


def dressed(q: Float[Array, "*q"], values: Float[Array, "*q"], sample: Sample) -> Float[Array, "*q"]:
    """Return a curve with its scale, contrast and background."""
    scaled = sample.scale * jnp.asarray(sample.contrast) ** 2 * values
    return scaled + sample.background + sample.power_scale * q ** -jnp.asarray(sample.power)
