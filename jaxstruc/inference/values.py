r"""The values of a fit, the places between their bounds that a descent moves, and the curve that they give.

The curve is in the basis of a target (`target`), so that an evaluation costs the same for any number of points, and is
made of a template (`scattering.templates`), so that it costs the same for any number of atoms. The scale is projected
out, like the background.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstruc.inference.target import STRETCH_BOUNDS, FitBasis
from jaxstruc.scattering import templates
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.parameters import PARAMETERS
from jaxstruc.scattering.templates import ClusterTable

START_STRETCH_FACTORS = tuple(1 + 0.01 * step for step in range(-4, 5))
"""Stretches tried for the start, about that of the first peak."""


class FitValues(NamedTuple):
    """Fitted or held values; units as in `scattering.Instrument`."""

    scale: Float[Array, "*batch"]
    stretch: Float[Array, "*batch"]
    uiso: Float[Array, "*batch"]
    delta1: Float[Array, "*batch"]
    delta2: Float[Array, "*batch"]
    qdamp: Float[Array, "*batch"]
    qbroad: Float[Array, "*batch"]

    @property
    def instrument(self) -> Instrument:
        """The same as the simulator takes it."""
        return Instrument(**self._asdict())


def nonlinear_parameters(free: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is descended in: all but the scale, which is projected out."""
    return tuple(name for name in free if name != "scale")


def model_curve(cluster_table: ClusterTable, values: FitValues, basis: FitBasis) -> Float[Array, " basis"]:
    """Return the model with scale 1, in the basis."""
    curve = templates.reduced_structure_function(cluster_table, values.instrument, basis.q) @ basis.transform
    curve = curve * jnp.exp(-0.5 * (basis.radius * values.qdamp) ** 2)
    return curve - basis.background_basis @ (basis.background_basis.T @ curve)


def best_scale(curve: Float[Array, " basis"], basis: FitBasis) -> Float[Array, ""]:
    """Return the scale of least squares, at least a little above 0; 1 where the data are absolute."""
    squared_norm = jnp.sum(curve**2)
    return jnp.clip(jnp.sum(curve * basis.data) / jnp.where(squared_norm > 0, squared_norm, 1.0), *basis.scale_bounds)


def misfit(cluster_table: ClusterTable, values: FitValues, basis: FitBasis) -> Float[Array, ""]:
    """Return the sum of squares between data and model, with the best scale: differentiable in the template."""
    model = model_curve(cluster_table, values, basis)
    return jnp.sum((basis.data - best_scale(model, basis) * model) ** 2) + basis.unmodelled_squares


def start_point(cluster_table: ClusterTable, names: tuple[str, ...], basis: FitBasis) -> Float[Array, " parameter"]:
    """Return the places of the stretch that fits best with usual vibrations."""
    typical_values = {"qdamp": basis.qdamp, "qbroad": basis.qbroad}
    for name in ("uiso", "delta1", "delta2"):
        typical_values[name] = jnp.asarray(PARAMETERS[name].start) * basis.bond ** PARAMETERS[name].bond_power

    def normalized_start(stretch):
        parameter_values = jnp.stack(
            [jnp.asarray({**typical_values, "stretch": stretch}[name], jnp.float32) for name in names]
        )
        return jnp.clip(normalized_values(parameter_values, names, basis), 0.02, 0.98)

    def residual_squares(stretch):
        model = model_curve(cluster_table, physical_values(normalized_start(stretch), names, basis), basis)
        return jnp.sum((basis.data - best_scale(model, basis) * model) ** 2)

    stretches = jnp.clip(
        basis.stretch * jnp.asarray(START_STRETCH_FACTORS), STRETCH_BOUNDS[0] + 0.005, STRETCH_BOUNDS[1] - 0.005
    )
    misfits = jax.lax.map(residual_squares, stretches)
    return normalized_start(stretches[jnp.argmin(jnp.where(jnp.isfinite(misfits), misfits, jnp.inf))])


def bounds(names: tuple[str, ...], basis: FitBasis) -> tuple[Float[Array, " parameter"], Float[Array, " parameter"]]:
    """Return the least and the largest values."""
    bound_pairs = [PARAMETERS[name].bounds(basis.bond) for name in names]  # type: ignore[arg-type]
    lower_bounds, upper_bounds = (
        jnp.stack([jnp.asarray(bound_pair[side], jnp.float32) for bound_pair in bound_pairs]) for side in (0, 1)
    )
    return lower_bounds, upper_bounds


def normalized_values(
    values: Float[Array, " parameter"], names: tuple[str, ...], basis: FitBasis
) -> Float[Array, " parameter"]:
    """Return the places of values between the bounds, 0 to 1, as `values_at` takes them."""
    powers = jnp.asarray([2 if PARAMETERS[name].fitted_as_square else 1 for name in names])
    lower_bounds, upper_bounds = (bound**powers for bound in bounds(names, basis))
    return (values**powers - lower_bounds) / (upper_bounds - lower_bounds)


def physical_values(
    normalized_values: Float[Array, " parameter"], names: tuple[str, ...], basis: FitBasis
) -> FitValues:
    """Return the physical values of the free parameters, given as places between the bounds, 0 to 1."""
    values_by_name = {}
    for name, fraction, lower_bound, upper_bound in zip(names, normalized_values, *bounds(names, basis), strict=True):
        if PARAMETERS[name].fitted_as_square:
            values_by_name[name] = jnp.sqrt(lower_bound**2 + (upper_bound**2 - lower_bound**2) * fraction)
        else:
            values_by_name[name] = lower_bound + (upper_bound - lower_bound) * fraction
    unit, zero = jnp.ones((), normalized_values.dtype), jnp.zeros((), normalized_values.dtype)
    default_values = FitValues(unit, unit, unit * PARAMETERS["uiso"].start, zero, zero, basis.qdamp, basis.qbroad)
    return default_values._replace(**values_by_name)
