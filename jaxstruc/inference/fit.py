r"""Scale, stretch, Uiso, correlated motion and resolution of a cluster of one element, fitted to a measured G(r).

Levenberg-Marquardt inside bounds. The model comes from `templates`, so that an evaluation costs the same for any number
of atoms. Data and model are compared as `target` has them.

Errors: the covariance is $(J^T J)^{-1} \sum (G_o - G_c)^2 / (n - p)$ with J over all points of the data and n the
number of *independent* points, $(r_{max} - r_{min})(Q_{max} - Q_{min})/\pi$: noise that is white on F(Q) is correlated
over neighbouring points of G(r), and a finer r grid tells nothing more.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.inference import target as targets
from jaxstruc.inference.target import Basis, Target
from jaxstruc.inference.values import Values, bounds, curve, inner, scale_of, start, values_at
from jaxstruc.rounding import rounding_of_squares
from jaxstruc.scattering import templates
from jaxstruc.scattering.parameters import USUAL
from jaxstruc.scattering.templates import Template

STEPS = 25
"""Most Levenberg-Marquardt steps, failed ones among them."""
EARLY, REST = 8, 4
"""After so many steps, the fits of a batch that are not done go on by themselves, this part of the batch at a time."""
LONGEST = 0.3
"""Of a step, in parts of the range between the bounds."""
DAMPING = 1e-2
"""First damping, relative to the diagonal of the normal matrix."""
ENOUGH = 1e-5
"""Relative fall of the sum of squares at which a fit is done."""
ORTHOGONAL = 0.02
"""At a minimum the residual is orthogonal to each derivative; largest cosine that counts as that."""
EDGE = 5e-3
"""Part of the range between the bounds in which a value counts as at its bound."""


class Fit(NamedTuple):
    """What a fit found."""

    values: Values
    errors: Float[Array, "*batch parameter"]
    """Standard errors of the fitted values, in the order of `free`; NaN at a bound."""
    correlation: Float[Array, "*batch parameter parameter"]
    """Of the fitted values; NaN at a bound."""
    rw: Float[Array, "*batch"]
    converged: Bool[Array, "*batch"]
    """True where the residual is orthogonal to the derivatives and the result is finite."""
    bounded: Bool[Array, "*batch parameter"]
    """True where the value is at its bound."""


def refine(template: Template, basis: Basis, *, free: tuple[str, ...] = USUAL) -> Fit:
    """Return the fit of one cluster to one measured PDF.

    Args:
        template: the cluster.
        basis: the data, of a target.
        free: what is fitted, of `parameters.FITTED`, the scale among them.
    """
    begun = _begun(template, basis, free)
    return _ended(_descended(template, basis, free, begun, STEPS).here.x, template, basis, free)


def refine_all(tables: Template, basis: Basis, *, free: tuple[str, ...] = USUAL) -> Fit:
    """Return the fits of a batch of clusters to one measured PDF, as `refine` gives them.

    In a batch all fits step together until the last is done, and most are done early: so the others go on in small
    batches.

    Args:
        tables: the clusters, with a leading axis.
        basis: the data, of a target.
        free: what is fitted, of `parameters.FITTED`, the scale among them.
    """
    part = -(-tables.waves.shape[0] // REST)

    def descended(tables, states, most):
        return jax.vmap(lambda one, state: _descended(one, basis, free, state, most))(tables, states)

    def go_on(states):
        chosen = jnp.argsort(~_going(states, STEPS))[:part]  # stable: those that go on come first
        some = jax.tree.map(lambda column: column[chosen], (tables, states))
        return jax.tree.map(lambda column, new: column.at[chosen].set(new), states, descended(*some, STEPS))

    states = jax.vmap(lambda one: _begun(one, basis, free))(tables)
    states = descended(tables, states, EARLY)
    states = jax.lax.while_loop(lambda states: jnp.any(_going(states, STEPS)), go_on, states)
    return jax.vmap(lambda x, one: _ended(x, one, basis, free))(states.here.x, tables)


def curves(
    fits: Fit, tables: Template, target: Target
) -> tuple[Float[np.ndarray, "fit r"], Float[np.ndarray, "fit r"]]:
    """Return G(r) of fits on the target's points, with the background, and the backgrounds alone; on the host, float64.

    Args:
        fits: one or more, with a leading axis.
        tables: the same clusters; further ones, of padding, are left out.
        target: what was fitted.
    """
    tables = jax.tree.map(lambda column: column[: len(fits.rw)], tables)
    found = np.asarray(structure_functions(tables, fits.values, target.basis.q), float)
    q, transform = targets.transform(target.r, target.qmin, target.qmax, target.span)
    damping = np.exp(-0.5 * (target.r * np.asarray(fits.values.qdamp)[:, None]) ** 2)
    model = np.asarray(fits.values.scale)[:, None] * damping * (found[:, : q.size] @ transform.T)
    smooth = targets.background_terms(target.r, target.background)
    under = (target.g - model) @ smooth @ smooth.T
    return model + under, under


@jax.jit
def structure_functions(tables: Template, values: Values, q: Float[Array, " q"]) -> Float[Array, "fit q"]:
    """Return F(Q) of fits, with scale 1, in 1/Å; Q in 1/Å. Clusters and values have a leading axis."""
    one = lambda template, v: templates.reduced_structure_function(template, v.instrument, q)  # noqa: E731
    return jax.vmap(one)(tables, values)


class _Point(NamedTuple):
    """A point on the way of a descent."""

    x: Float[Array, "*batch parameter"]
    squares: Float[Array, "*batch"]
    slope: Float[Array, "*batch parameter"]
    normal: Float[Array, "*batch parameter parameter"]


class _Descent(NamedTuple):
    """Where a descent stands."""

    here: _Point
    damping: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]
    done: Bool[Array, "*batch"]


@partial(jax.jit, static_argnames="free")  # traced once, for all places that call it
def _point(template: Template, basis: Basis, free: tuple[str, ...], x) -> _Point:
    names = inner(free)

    def residual(x):
        model = curve(template, values_at(x, names, basis), basis)
        return (basis.data - scale_of(model, basis) * model) / jnp.sqrt(basis.norm)

    now, jacobian = residual(x), jax.jacfwd(residual)(x)
    return _Point(x, jnp.sum(now**2), now @ jacobian, jacobian.T @ jacobian)


def _begun(template: Template, basis: Basis, free: tuple[str, ...]) -> _Descent:
    begin = start(template, inner(free), basis)
    first = _point(template, basis, free, begin)
    return _Descent(first, jnp.asarray(DAMPING, begin.dtype), jnp.asarray(0), jnp.asarray(False))


def _going(state: _Descent, most: int) -> Bool[Array, "*batch"]:
    return ~state.done & (state.steps < most) & (state.damping < 1e4)


def _descended(template: Template, basis: Basis, free: tuple[str, ...], state: _Descent, most: int) -> _Descent:
    """Return a descent taken on by Levenberg and Marquardt, to its end or so many steps; one Jacobian a step.

    Normal equations in place of a library's factorisation of each Jacobian: a handful of parameters, whose scaled
    matrix is well conditioned. Bounds by projection (C. Kanzow, N. Yamashita, M. Fukushima, J. Comput. Appl. Math.
    172, 375 (2004)): what lies at a bound that it would cross is held for the step. Only a step that lowers the sum of
    squares is taken, so that the end is the best point evaluated; one that changes it by rounding alone, as expected,
    is the last.
    """

    def step(state):
        here, damping, steps, _ = state
        held = ((here.x <= 0) & (here.slope > 0)) | ((here.x >= 1) & (here.slope < 0))
        slope = jnp.where(held, 0.0, here.slope)
        normal = jnp.where(held[:, None] | held[None, :], 0.0, here.normal)
        diagonal = jnp.where(held, 1.0, damping * jnp.maximum(jnp.diagonal(here.normal), 1e-9))
        move = jnp.linalg.solve(normal + jnp.diag(diagonal), slope)
        there = _point(template, basis, free, jnp.clip(here.x - jnp.clip(move, -LONGEST, LONGEST), 0.0, 1.0))
        fall, moved = here.squares - there.squares, here.x - there.x
        better = fall > 0
        done = (better & (fall < ENOUGH * here.squares)) | (move @ slope < 0.1 * ENOUGH * here.squares)
        expected = 2 * moved @ slope - moved @ normal @ moved
        rounding = rounding_of_squares(here.squares, jnp.ones_like(here.squares))
        done |= (jnp.abs(fall) <= rounding) & (jnp.abs(expected) <= 0.1 * rounding)
        change = jnp.where(fall > 0.75 * expected, 1 / 8, jnp.where(fall > 0.25 * expected, 1.0, 6.0))
        change = jnp.where(better & (expected > 0), change, 6.0)
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), there, here)
        return _Descent(kept, damping * change, steps + 1, done)

    return jax.lax.while_loop(lambda state: _going(state, most), step, state)


def _ended(x, template: Template, basis: Basis, free: tuple[str, ...]) -> Fit:
    """Return what a descent found, with errors."""
    values = values_at(x, inner(free), basis)
    unscaled = curve(template, values, basis)
    values = values._replace(scale=scale_of(unscaled, basis))
    difference = basis.data - values.scale * unscaled
    squares = jnp.sum(difference**2) + basis.rest

    def model(chosen):
        changed = values._replace(**dict(zip(free, chosen, strict=True)))
        return changed.scale * curve(template, changed, basis)

    now = jnp.stack([getattr(values, name) for name in free])
    slopes = jax.jacfwd(model)(now)
    low, high = bounds(free, basis)
    place = (now - low) / (high - low)
    bounded = jnp.isfinite(high) & ((place < EDGE) | (place > 1 - EDGE))
    bounded |= jnp.asarray([name == "scale" for name in free]) & (basis.scales[0] == basis.scales[1])
    covariance = _covariance(slopes, bounded) * squares / jnp.maximum(basis.independent - len(free), 1.0)
    errors = jnp.where(bounded, jnp.nan, jnp.sqrt(jnp.diagonal(covariance)))
    rw = jnp.sqrt(squares / basis.norm)
    return Fit(
        values=values,
        errors=errors,
        correlation=covariance / (errors[:, None] * errors[None, :]),
        rw=rw,
        converged=_stationary(slopes, difference, bounded, basis) & jnp.isfinite(rw),
        bounded=bounded,
    )


def _covariance(slopes, bounded):
    """Return the inverse of the normal matrix, as if values at a bound were held."""
    kept = jnp.where(bounded, 0.0, 1.0)
    lengths = jnp.sqrt(jnp.sum(slopes**2, axis=0))
    unit = kept * slopes / jnp.where(lengths > 0, lengths, 1.0)
    inverse = jnp.linalg.inv(unit.T @ unit + jnp.diag(1 - kept))
    return inverse / (lengths[:, None] * lengths[None, :])


def _stationary(slopes, difference, bounded, basis: Basis) -> Bool[Array, ""]:
    """Return whether no parameter can lower the misfit by much; below an Rw of 1 % rounding is all that is left."""
    product = jnp.abs(difference @ slopes)
    length = jnp.maximum(jnp.sqrt(jnp.sum(difference**2)), 0.01 * jnp.sqrt(basis.norm))
    return jnp.all(bounded | (product <= ORTHOGONAL * jnp.sqrt(jnp.sum(slopes**2, axis=0)) * length))
