r"""Scale, stretch, Uiso, correlated motion and resolution of a cluster of one element, fitted to a measured G(r).

Levenberg-Marquardt inside bounds. The model comes from `templates`, so that an evaluation costs the same for any number
of atoms. Data and model are compared as `observed` has them; the scale is projected out, like the background there.

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

from jaxstruc import observed, templates
from jaxstruc.observed import STRETCH, Target
from jaxstruc.scattering import Instrument
from jaxstruc.templates import Span, Template

USUAL = ("scale", "stretch", "uiso", "delta2")
"""What is fitted where nothing is said."""
UISO = (5e-4, 0.06)
"""Å²"""
QDAMP = 0.1
"""1/Å. Largest that is fitted."""
NEARLY_ZERO = 1e-4
"""1/Å. Least qdamp and qbroad that are fitted: no different from 0 on any data."""
SQUARED = ("qdamp", "qbroad")
"""What enters the model as its square, and is descended in as that: at 0 it has a slope only so."""
TRIED = 1 + 0.01 * np.arange(-4, 5)
"""Stretches tried for the start, about that of the first peak."""
START = {"uiso": 0.012, "delta1": 0.25, "delta2": 0.25}
"""Values at the start; delta1 and delta2 in bonds and squared bonds."""
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


def refine(template: Template, target: Target, *, span: Span, free: tuple[str, ...] = USUAL) -> Fit:
    """Return the fit of one cluster to one measured PDF.

    Args:
        template: the cluster.
        target: the data, from `target`.
        span: what the template covers.
        free: what is fitted, of `PARAMETERS`, the scale among them.
    """
    begun = _begun(template, target, span, free)
    return _ended(_descended(template, target, span, free, begun, STEPS).here.x, template, target, span, free)


def refine_all(templates_: Template, target: Target, *, span: Span, free: tuple[str, ...] = USUAL) -> Fit:
    """Return the fits of a batch of clusters to one measured PDF, as `refine` gives them.

    In a batch all fits step together until the last is done, and most are done early: so the others go on in small
    batches.

    Args:
        templates_: the clusters, with a leading axis.
        target: the data, from `target`.
        span: what the templates cover.
        free: what is fitted, of `PARAMETERS`, the scale among them.
    """
    part = -(-templates_.waves.shape[0] // REST)

    def descended(tables, states, most):
        return jax.vmap(lambda one, state: _descended(one, target, span, free, state, most))(tables, states)

    def go_on(states):
        chosen = jnp.argsort(~_going(states, STEPS))[:part]  # stable: those that go on come first
        some = jax.tree.map(lambda column: column[chosen], (templates_, states))
        return jax.tree.map(lambda column, new: column.at[chosen].set(new), states, descended(*some, STEPS))

    states = jax.vmap(lambda one: _begun(one, target, span, free))(templates_)
    states = descended(templates_, states, EARLY)
    states = jax.lax.while_loop(lambda states: jnp.any(_going(states, STEPS)), go_on, states)
    return jax.vmap(lambda x, one: _ended(x, one, target, span, free))(states.here.x, templates_)


def misfit(template: Template, values: Values, target: Target, *, span: Span) -> Float[Array, ""]:
    """Return the sum of squares between data and model, with the best scale: differentiable in the template."""
    curve = _curve(template, values, target, span)
    return jnp.sum((target.data - _projection(curve, target) * curve) ** 2) + target.rest


def curves(fit: Fit, templates_: Template, target: Target, r, g, *, span: Span, qmin, qmax, background: int = 0):
    """Return G(r) of fits on the data's points, with the background [fit, r], and the backgrounds; on the host.

    Args:
        fit: one or more, with a leading axis.
        templates_: the same clusters.
        target: what was fitted.
        r: as given to `target`; so are the others.
        g: likewise.
        span: what the templates cover.
        qmin: likewise.
        qmax: likewise.
        background: likewise.
    """
    found = _waves(templates_, fit.values, target, span=span)
    q, transform = observed.transform(r, qmin, qmax, span)
    damping = np.exp(-0.5 * (r * np.asarray(fit.values.qdamp)[:, None]) ** 2)
    curve = np.asarray(fit.values.scale)[:, None] * damping * (np.asarray(found[:, : q.size], float) @ transform.T)
    smooth = observed.background_terms(r, background)
    under = (g - curve) @ smooth @ smooth.T
    return curve + under, under


@partial(jax.jit, static_argnames="span")
def _waves(templates_, values, target, *, span):
    one = lambda template, v: _structure_function(template, v, target, span)  # noqa: E731
    return jax.vmap(one)(templates_, values)


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


def _point(template: Template, target: Target, span: Span, free: tuple[str, ...], x) -> _Point:
    inner = _inner(free)

    def residual(x):
        curve = _curve(template, _values(x, inner, target), target, span)
        return (target.data - _projection(curve, target) * curve) / jnp.sqrt(target.norm)

    now, jacobian = residual(x), jax.jacfwd(residual)(x)
    return _Point(x, jnp.sum(now**2), now @ jacobian, jacobian.T @ jacobian)


def _begun(template: Template, target: Target, span: Span, free: tuple[str, ...]) -> _Descent:
    start = _start(template, _inner(free), target, span)
    first = _point(template, target, span, free, start)
    return _Descent(first, jnp.asarray(DAMPING, start.dtype), jnp.asarray(0), jnp.asarray(False))


def _going(state: _Descent, most: int) -> Bool[Array, "*batch"]:
    return ~state.done & (state.steps < most) & (state.damping < 1e4)


def _descended(
    template: Template, target: Target, span: Span, free: tuple[str, ...], state: _Descent, most: int
) -> _Descent:
    """Return a descent taken on by Levenberg and Marquardt, to its end or so many steps; one Jacobian a step.

    Normal equations in place of a library's factorisation of each Jacobian: a handful of parameters, whose scaled
    matrix is well conditioned. Bounds by projection (C. Kanzow, N. Yamashita, M. Fukushima, J. Comput. Appl. Math.
    172, 375 (2004)): what lies at a bound that it would cross is held for the step.
    """

    def step(state):
        here, damping, steps, _ = state
        held = ((here.x <= 0) & (here.slope > 0)) | ((here.x >= 1) & (here.slope < 0))
        slope = jnp.where(held, 0.0, here.slope)
        normal = jnp.where(held[:, None] | held[None, :], 0.0, here.normal)
        diagonal = jnp.where(held, 1.0, damping * jnp.maximum(jnp.diagonal(here.normal), 1e-9))
        move = jnp.linalg.solve(normal + jnp.diag(diagonal), slope)
        there = _point(template, target, span, free, jnp.clip(here.x - jnp.clip(move, -LONGEST, LONGEST), 0.0, 1.0))
        fall, moved = here.squares - there.squares, here.x - there.x
        better = fall > 0
        done = (better & (fall < ENOUGH * here.squares)) | (move @ slope < 0.1 * ENOUGH * here.squares)
        expected = 2 * moved @ slope - moved @ normal @ moved
        change = jnp.where(fall > 0.75 * expected, 1 / 8, jnp.where(fall > 0.25 * expected, 1.0, 6.0))
        change = jnp.where(better & (expected > 0), change, 6.0)
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), there, here)
        return _Descent(kept, damping * change, steps + 1, done)

    return jax.lax.while_loop(lambda state: _going(state, most), step, state)


def _ended(x, template: Template, target: Target, span: Span, free: tuple[str, ...]) -> Fit:
    """Return what a descent found, with errors."""
    values = _values(x, _inner(free), target)
    curve = _curve(template, values, target, span)
    values = values._replace(scale=_projection(curve, target))
    difference = target.data - values.scale * curve
    squares = jnp.sum(difference**2) + target.rest

    def model(chosen):
        changed = values._replace(**dict(zip(free, chosen, strict=True)))
        return changed.scale * _curve(template, changed, target, span)

    now = jnp.stack([getattr(values, name) for name in free])
    slopes = jax.jacfwd(model)(now)
    low, high = _bounds(free, target)
    place = (now - low) / (high - low)
    bounded = jnp.isfinite(high) & ((place < EDGE) | (place > 1 - EDGE))
    covariance = _covariance(slopes, bounded) * squares / jnp.maximum(target.independent - len(free), 1.0)
    errors = jnp.where(bounded, jnp.nan, jnp.sqrt(jnp.diagonal(covariance)))
    rw = jnp.sqrt(squares / target.norm)
    return Fit(
        values=values,
        errors=errors,
        correlation=covariance / (errors[:, None] * errors[None, :]),
        rw=rw,
        converged=_stationary(slopes, difference, bounded, target) & jnp.isfinite(rw),
        bounded=bounded,
    )


def _inner(free: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is descended in: all but the scale, which is projected out."""
    return tuple(name for name in free if name != "scale")


def _structure_function(template, values, target, span):
    return templates.reduced_structure_function(template, values.instrument, target.bond, target.q, span=span)


def _curve(template: Template, values: Values, target: Target, span: Span):
    """Return the model with scale 1, in the basis."""
    curve = _structure_function(template, values, target, span) @ target.design
    curve = curve * jnp.exp(-0.5 * (target.radius * values.qdamp) ** 2)
    return curve - target.smooth @ (target.smooth.T @ curve)


def _projection(curve, target: Target):
    """Return the scale of least squares, at least a little above 0."""
    square = jnp.sum(curve**2)
    return jnp.maximum(jnp.sum(curve * target.data) / jnp.where(square > 0, square, 1.0), 1e-6)


def _start(template: Template, inner: tuple[str, ...], target: Target, span: Span):
    """Return the free parameters of the stretch that fits best with usual vibrations."""
    usual = START | {"delta1": START["delta1"] * target.bond, "delta2": START["delta2"] * target.bond**2}
    usual |= {"qdamp": target.qdamp, "qbroad": target.qbroad}

    def free(stretch):
        now = jnp.stack([jnp.asarray({**usual, "stretch": stretch}[name], jnp.float32) for name in inner])
        return jnp.clip(_within(now, inner, target), 0.02, 0.98)

    def misfit(stretch):
        curve = _curve(template, _values(free(stretch), inner, target), target, span)
        return jnp.sum((target.data - _projection(curve, target) * curve) ** 2)

    tried = jnp.clip(target.stretch * TRIED, STRETCH[0] + 0.005, STRETCH[1] - 0.005)
    misfits = jax.lax.map(misfit, tried)
    return free(tried[jnp.argmin(jnp.where(jnp.isfinite(misfits), misfits, jnp.inf))])


def _bounds(names: tuple[str, ...], target: Target):
    largest = templates.CORRELATED
    table = {
        "scale": (0.0, jnp.inf),
        "stretch": STRETCH,
        "uiso": UISO,
        "delta1": (0.0, largest * target.bond),
        "delta2": (0.0, largest * target.bond**2),
        "qdamp": (NEARLY_ZERO, QDAMP),
        "qbroad": (NEARLY_ZERO, templates.BROADENED / target.bond),
    }
    return tuple(jnp.stack([jnp.asarray(table[name][end], jnp.float32) for name in names]) for end in (0, 1))


def _within(values, inner: tuple[str, ...], target: Target):
    """Return the places of values between the bounds, 0 to 1, as `_values` takes them."""
    power = jnp.asarray([2 if name in SQUARED else 1 for name in inner])
    low, high = (bound**power for bound in _bounds(inner, target))
    return (values**power - low) / (high - low)


def _values(x, inner: tuple[str, ...], target: Target) -> Values:
    """Return the physical values of the free parameters, given as places between the bounds, 0 to 1."""
    now = {}
    for name, place, low, high in zip(inner, x, *_bounds(inner, target), strict=True):
        if name in SQUARED:
            now[name] = jnp.sqrt(low**2 + (high**2 - low**2) * place)
        else:
            now[name] = low + (high - low) * place
    one, zero = jnp.ones((), x.dtype), jnp.zeros((), x.dtype)
    held = Values(one, one, one * START["uiso"], zero, zero, target.qdamp, target.qbroad)
    return held._replace(**now)


def _covariance(slopes, bounded):
    """Return the inverse of the normal matrix, as if values at a bound were held."""
    kept = jnp.where(bounded, 0.0, 1.0)
    lengths = jnp.sqrt(jnp.sum(slopes**2, axis=0))
    unit = kept * slopes / jnp.where(lengths > 0, lengths, 1.0)
    inverse = jnp.linalg.inv(unit.T @ unit + jnp.diag(1 - kept))
    return inverse / (lengths[:, None] * lengths[None, :])


def _stationary(slopes, difference, bounded, target: Target) -> Bool[Array, ""]:
    """Return whether no parameter can lower the misfit by much; below an Rw of 1 % rounding is all that is left."""
    product = jnp.abs(difference @ slopes)
    length = jnp.maximum(jnp.sqrt(jnp.sum(difference**2)), 0.01 * jnp.sqrt(target.norm))
    return jnp.all(bounded | (product <= ORTHOGONAL * jnp.sqrt(jnp.sum(slopes**2, axis=0)) * length))
