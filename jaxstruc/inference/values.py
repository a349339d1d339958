r"""The values of a fit, the places between their bounds that a descent moves, and the curve that they give.

The curve is in the basis of a target (`target`), so that an evaluation costs the same for any number of points, and is
made of a template (`scattering.templates`), so that it costs the same for any number of atoms. The scale is projected
out, like the background.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstruc.inference.target import STRETCH, Basis
from jaxstruc.scattering import templates
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.parameters import PARAMETERS
from jaxstruc.scattering.templates import Template

TRIED = tuple(1 + 0.01 * step for step in range(-4, 5))
"""Stretches tried for the start, about that of the first peak."""


class Values(NamedTuple):
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


def inner(free: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is descended in: all but the scale, which is projected out."""
    return tuple(name for name in free if name != "scale")


def curve(template: Template, values: Values, basis: Basis) -> Float[Array, " basis"]:
    """Return the model with scale 1, in the basis."""
    found = templates.reduced_structure_function(template, values.instrument, basis.q) @ basis.design
    found = found * jnp.exp(-0.5 * (basis.radius * values.qdamp) ** 2)
    return found - basis.smooth @ (basis.smooth.T @ found)


def scale_of(curve: Float[Array, " basis"], basis: Basis) -> Float[Array, ""]:
    """Return the scale of least squares, at least a little above 0; 1 where the data are absolute."""
    square = jnp.sum(curve**2)
    return jnp.clip(jnp.sum(curve * basis.data) / jnp.where(square > 0, square, 1.0), *basis.scales)


def misfit(template: Template, values: Values, basis: Basis) -> Float[Array, ""]:
    """Return the sum of squares between data and model, with the best scale: differentiable in the template."""
    found = curve(template, values, basis)
    return jnp.sum((basis.data - scale_of(found, basis) * found) ** 2) + basis.rest


def start(template: Template, inner: tuple[str, ...], basis: Basis) -> Float[Array, " parameter"]:
    """Return the places of the stretch that fits best with usual vibrations."""
    usual = {"qdamp": basis.qdamp, "qbroad": basis.qbroad}
    for name in ("uiso", "delta1", "delta2"):
        usual[name] = jnp.asarray(PARAMETERS[name].start) * basis.bond ** PARAMETERS[name].bonds

    def free(stretch):
        now = jnp.stack([jnp.asarray({**usual, "stretch": stretch}[name], jnp.float32) for name in inner])
        return jnp.clip(places(now, inner, basis), 0.02, 0.98)

    def squares(stretch):
        found = curve(template, values_at(free(stretch), inner, basis), basis)
        return jnp.sum((basis.data - scale_of(found, basis) * found) ** 2)

    tried = jnp.clip(basis.stretch * jnp.asarray(TRIED), STRETCH[0] + 0.005, STRETCH[1] - 0.005)
    misfits = jax.lax.map(squares, tried)
    return free(tried[jnp.argmin(jnp.where(jnp.isfinite(misfits), misfits, jnp.inf))])


def bounds(names: tuple[str, ...], basis: Basis) -> tuple[Float[Array, " parameter"], Float[Array, " parameter"]]:
    """Return the least and the largest values."""
    each = [PARAMETERS[name].bounds(basis.bond) for name in names]  # type: ignore[arg-type]
    low, high = (jnp.stack([jnp.asarray(one[end], jnp.float32) for one in each]) for end in (0, 1))
    return low, high


def places(values: Float[Array, " parameter"], inner: tuple[str, ...], basis: Basis) -> Float[Array, " parameter"]:
    """Return the places of values between the bounds, 0 to 1, as `values_at` takes them."""
    power = jnp.asarray([2 if PARAMETERS[name].square else 1 for name in inner])
    low, high = (bound**power for bound in bounds(inner, basis))
    return (values**power - low) / (high - low)


def values_at(x: Float[Array, " parameter"], inner: tuple[str, ...], basis: Basis) -> Values:
    """Return the physical values of the free parameters, given as places between the bounds, 0 to 1."""
    now = {}
    for name, place, low, high in zip(inner, x, *bounds(inner, basis), strict=True):
        if PARAMETERS[name].square:
            now[name] = jnp.sqrt(low**2 + (high**2 - low**2) * place)
        else:
            now[name] = low + (high - low) * place
    one, zero = jnp.ones((), x.dtype), jnp.zeros((), x.dtype)
    held = Values(one, one, one * PARAMETERS["uiso"].start, zero, zero, basis.qdamp, basis.qbroad)
    return held._replace(**now)
