r"""Bodies that are fitted with one parameter of their shape, e.g. the aspect ratio of a spheroid.

The form factor of a body with two lengths at a fixed ratio depends on x = q R_eq alone, like that of a body with one
length. Each value of the ratio therefore has a table of its own. The same holds for hard spheres that interact: in the
local monodisperse approximation (`structure_factor.local_monodisperse`) their curve is a sum of P(x) S(x) over all
sizes. Only the core-shell sphere has a shell of the same thickness for all sizes and no table.

The coordinate u of a parameter is ln(aspect ratio), the volume fraction, or the thickness of the shell divided by the
radius of the sphere that fits best. The prior of u is uniform between its lowest and highest trial values.
"""

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc.small_angle import form_factors, structure_factor
from jaxstruc.small_angle.form_factors import CoreShellSpheres, FormFactorTable

MAX_FIT_X = 80.0
"""Largest x of the tables that are computed for fits. Porod's law with oscillations replaces them beyond it."""
MAX_ASPECT, N_ASPECTS = 20.0, 37
"""Largest aspect ratio, whose inverse is the smallest one, and number of trial values."""
MAX_SHELL, N_SHELLS = 1.2, 31
"""Largest thickness of the shell, in units of the radius of the sphere that fits best, and number of trial values."""
MAX_VOLUME_FRACTION, N_VOLUME_FRACTIONS = 0.55, 12
"""Largest volume fraction of hard spheres, and number of trial values. Hard spheres freeze at 0.49."""
HARD_SPHERE_STEP = 0.05
"""Step in x of the stored values of P(x) S(x). The maxima of S are narrow at high volume fractions."""
MIN_STEP_VALUE = 0.1
"""Smallest value of a parameter, in its unit, to which the step of a difference is proportional."""


class ShapeParameter(NamedTuple):
    """Parameter of a body's shape that is fitted."""

    name: str
    """Name of the parameter in the results."""
    unit: str
    is_logarithmic: bool
    """Whether the coordinate is the logarithm of the value."""
    trial_coordinates: Float[np.ndarray, " trial"]
    """Coordinates u at which the body is fitted first."""

    def value(self, coordinate: float, radius: float) -> float:
        """Return the value of the parameter.

        Args:
            coordinate: Coordinate u.
            radius: Radius of the sphere that fits best, in Å.
        """
        if self.is_logarithmic:
            return math.exp(coordinate)
        return coordinate * radius if self.unit else coordinate

    def neighbours(self, value: float, relative_step: float) -> tuple[float, float]:
        """Return values below and above a value, for a difference. They are positive or zero."""
        step = relative_step * max(value, MIN_STEP_VALUE)
        return max(value - step, 0.0), value + step


def _aspect_coordinates() -> Float[np.ndarray, " trial"]:
    """Return trial values of ln(aspect ratio), which are closer to each other near the sphere."""
    position = np.linspace(-1, 1, N_ASPECTS)
    return math.log(MAX_ASPECT) * position * (0.6 + 0.4 * np.abs(position))


SHAPE_PARAMETERS = {
    "core-shell": ShapeParameter("shell_thickness", "Å", False, np.linspace(0, MAX_SHELL, N_SHELLS)),
    "spheroid": ShapeParameter("aspect_ratio", "", True, _aspect_coordinates()),
    "cylinder": ShapeParameter("aspect_ratio", "", True, _aspect_coordinates()),
    "hard-sphere": ShapeParameter(
        "volume_fraction", "", False, np.linspace(0, MAX_VOLUME_FRACTION, N_VOLUME_FRACTIONS)
    ),
}
"""Parameter of each body whose shape is fitted."""


def shape_table(body: str, value: float, *, contrast_ratio: float) -> FormFactorTable | CoreShellSpheres:
    """Return the form factor of a body with a given value of its shape parameter.

    Args:
        body: Name of the body, a key of `SHAPE_PARAMETERS`.
        value: Aspect ratio, volume fraction, or thickness of the shell in Å.
        contrast_ratio: Contrast of the shell of a core-shell sphere divided by that of the core.
    """
    if body == "core-shell":
        return CoreShellSpheres(np.asarray(value), np.asarray(contrast_ratio))
    if body == "spheroid":
        return form_factors.spheroid_table(value, max_x=MAX_FIT_X)
    if body == "cylinder":
        return form_factors.cylinder_table(value, max_x=MAX_FIT_X)
    return hard_sphere_table(value)


@functools.lru_cache(maxsize=64)
def hard_sphere_table(volume_fraction: float) -> FormFactorTable:
    """Return the table of P(x) S(x) of hard spheres. S approaches 1 beyond the table."""
    amplitude = form_factors.stored_sphere_amplitude(MAX_FIT_X, HARD_SPHERE_STEP)
    x = jnp.asarray(form_factors.stored_x(MAX_FIT_X, HARD_SPHERE_STEP))
    structure = np.asarray(structure_factor.hard_spheres(x, 1.0, volume_fraction), float)
    tail_waves = form_factors.sphere_waves()
    return form_factors.table_from_values(amplitude**2 * structure, amplitude, tail_waves, step=HARD_SPHERE_STEP)
