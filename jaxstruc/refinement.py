r"""Scale, stretch, Uiso, correlated motion and resolution of a cluster of one element, fitted to a measured G(r).

Levenberg-Marquardt inside bounds; `jax.vmap` makes a batch of it. The model comes from `templates`, so that an
evaluation costs the same for any number of atoms. Data and model are compared in an orthonormal basis of all curves
that a model can make in the data's Q and r range: some 160 numbers for thousands of points. Nothing is lost: the part
of the data outside the basis is a constant of the misfit. Of all such bases it is that in which a product with r² is
diagonal, a discrete variable representation, so that the resolution's envelope acts on each number by itself (J. C.
Light, I. P. Hamilton, J. V. Lill, J. Chem. Phys. 82, 1400 (1985), doi 10.1063/1.448462). A smooth background is
projected out of data and model, and so is the scale.

Errors: the covariance is $(J^T J)^{-1} \sum (G_o - G_c)^2 / (n - p)$ with J over all points of the data and n the
number of *independent* points, $(r_{max} - r_{min})(Q_{max} - Q_{min})/\pi$: noise that is white on F(Q) is correlated
over neighbouring points of G(r), and a finer r grid tells nothing more.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstruc import templates
from jaxstruc.scattering import Instrument
from jaxstruc.templates import Span, Template

PARAMETERS = ("scale", "stretch", "uiso", "delta1", "delta2", "qdamp", "qbroad")
USUAL = ("scale", "stretch", "uiso", "delta2")
"""What is fitted where nothing is said."""
STRETCH = (0.88, 1.12)
UISO = (5e-4, 0.06)
"""Å²"""
QDAMP = 0.1
"""1/Å. Largest that is fitted."""
TRIED = 1 + 0.01 * np.arange(-4, 5)
"""Stretches tried for the start, about that of the first peak."""
START = {"uiso": 0.012, "delta1": 0.25, "delta2": 0.25}
"""Values at the start; delta1 and delta2 in bonds and squared bonds."""
BEYOND = 6.0
"""Å. Distances so far beyond the fit's range count; farther ones do not reach it."""
LOST = 1e-3
"""Curves weaker than this, relative to the strongest, are left out of the basis."""
STEPS = 25
"""Most Levenberg-Marquardt steps, failed ones among them."""
DAMPING = 1e-2
"""First damping, relative to the diagonal of the normal matrix."""
ENOUGH = 1e-5
"""Relative fall of the sum of squares at which a fit is done."""
ORTHOGONAL = 0.02
"""At a minimum the residual is orthogonal to each derivative; largest cosine that counts as that."""
EDGE = 5e-3
"""Part of the range between the bounds in which a value counts as at its bound."""


class Target(NamedTuple):
    """A measured G(r) as a fit needs it."""

    q: Float[Array, " q"]
    """1/Å. Points of the Gauss-Legendre rule over the data's Q range."""
    design: Float[Array, "q basis"]
    """Takes F(Q) to the basis, without the resolution."""
    radius: Float[Array, " basis"]
    """Å. Where each function of the basis sits."""
    smooth: Float[Array, "basis term"]
    """Takes the background out of a curve c: c - smooth smooth' c."""
    data: Float[Array, " basis"]
    """Without its part along the background."""
    norm: Float[Array, ""]
    """Sum of the squared data."""
    rest: Float[Array, ""]
    """Sum of the squares of the part of the data that no model reaches; the background is no part of it."""
    independent: Float[Array, ""]
    """Number of independent points."""
    stretch: Float[Array, ""]
    """Of the data's first peak, relative to the bond: where the fit starts."""
    bond: Float[Array, ""]
    """Å. Nearest-neighbour distance of the templates."""
    qdamp: Float[Array, ""]
    """1/Å. Where it is held, else where the fit starts; so for the next."""
    qbroad: Float[Array, ""]


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


def span(*, rmax: float, qmax: float, diameter: float) -> Span:
    """Return what templates of clusters up to a diameter must cover, for data to rmax and qmax.

    Rounded up, so that like files share compilations.
    """
    longest = min(rmax + BEYOND, diameter + 0.1)
    return Span(longest=4.0 * math.ceil(longest / 4), qmax=4.0 * math.ceil(STRETCH[1] * qmax / 4))


def target(
    r: Float[np.ndarray, " r"],
    g: Float[np.ndarray, " r"],
    *,
    qmin: float,
    qmax: float,
    qdamp: float,
    qbroad: float,
    bond: float,
    span: Span,
    background: int = 0,
) -> Target:
    """Return what `refine` fits. On the host, in double precision.

    Args:
        r: points of the fit, in Å, even and rising.
        g: G(r) there, in 1/Å².
        qmin: of the data, in 1/Å.
        qmax: of the data, in 1/Å.
        qdamp: in 1/Å, held or to start from.
        qbroad: in 1/Å, held or to start from.
        bond: nearest-neighbour distance of the templates, in Å.
        span: what the templates cover.
        background: number of smooth terms, half waves over the range of r.

    Raises:
        ValueError: where there are hardly any independent points.
    """
    independent = independent_points(r, qmin=qmin, qmax=qmax, background=background)
    q, transform = _transform(r, qmin, qmax, span)
    strength, vectors = np.linalg.eigh(transform.T @ transform)
    kept = strength > LOST**2 * strength[-1]
    basis = transform @ (vectors[:, kept] / np.sqrt(strength[kept]))
    square, turned = np.linalg.eigh(basis.T @ (r[:, None] ** 2 * basis))
    padding = (0, -len(square) % 32)
    basis = np.pad(basis @ turned, ((0, 0), padding))
    terms = background_terms(r, background)
    # Least squares over the background: with A = 1 - TT' the misfit is |L^-1 B'Ag - Lc|² and a constant, L² = B'AB.
    across, share, _ = np.linalg.svd(basis.T @ terms, full_matrices=False)
    root = np.sqrt(np.maximum(1 - share**2, 0.0))
    without = g - terms @ (terms.T @ g)
    data = basis.T @ without
    data += across @ (np.where(root > 1e-6, 1 / np.maximum(root, 1e-6) - 1, -1.0) * (across.T @ data))
    rest = without @ without - data @ data
    single = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    return Target(
        q=single(q),
        design=single(transform.T @ basis),
        radius=single(np.pad(np.sqrt(square), padding)),
        smooth=single(across * np.sqrt(1 - root)),
        data=single(data),
        norm=single(g @ g),
        rest=single(max(rest, 0.0)),
        independent=single(independent),
        stretch=single(_first_peak(r, g, bond) / bond),
        bond=single(bond),
        qdamp=single(qdamp),
        qbroad=single(qbroad),
    )


def independent_points(r: Float[np.ndarray, " r"], *, qmin: float, qmax: float, background: int = 0) -> float:
    """Return how many independent points data have, less the terms of the background.

    Raises:
        ValueError: where there are hardly any.
    """
    independent = min(len(r), (r[-1] - r[0]) * (qmax - qmin) / np.pi) - background
    if independent <= len(PARAMETERS):
        raise ValueError(
            f"Expected more than {len(PARAMETERS)} independent points, got {independent:.1f} for r {r[0]:g} to "
            f"{r[-1]:g} Å and Q {qmin:g} to {qmax:g} 1/Å; widen --rmin and --rmax, or fit fewer --background terms."
        )
    return independent


def stacked(targets: Sequence[Target]) -> Target:
    """Return targets with a leading axis, padded to one size with zeros, which change nothing."""

    def together(*columns):
        result = np.zeros((len(columns), *np.max([column.shape for column in columns], axis=0).astype(int)), np.float32)
        for place, column in enumerate(columns):
            result[(place, *map(slice, column.shape))] = column
        return jnp.asarray(result)

    return jax.tree.map(together, *targets)


def apart(targets: Target) -> list[Target]:
    """Return what `stacked` put together, each with the common size."""
    return [jax.tree.map(lambda column, at=at: column[at], targets) for at in range(len(targets.q))]


def refine(template: Template, target: Target, *, span: Span, free: tuple[str, ...] = USUAL) -> Fit:
    """Return the fit of one cluster to one measured PDF.

    Args:
        template: the cluster.
        target: the data, from `target`.
        span: what the template covers.
        free: what is fitted, of `PARAMETERS`, the scale among them.
    """
    inner = tuple(name for name in free if name != "scale")

    def residual(x):
        curve = _curve(template, _values(x, inner, target), target, span)
        return (target.data - _projection(curve, target) * curve) / jnp.sqrt(target.norm)

    values = _values(_descended(residual, _start(template, inner, target, span)), inner, target)
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
    q, transform = _transform(r, qmin, qmax, span)
    damping = np.exp(-0.5 * (r * np.asarray(fit.values.qdamp)[:, None]) ** 2)
    curve = np.asarray(fit.values.scale)[:, None] * damping * (np.asarray(found[:, : q.size], float) @ transform.T)
    smooth = background_terms(r, background)
    under = (g - curve) @ smooth @ smooth.T
    return curve + under, under


def background_terms(r: Float[np.ndarray, " r"], count: int) -> Float[np.ndarray, "r term"]:
    """Return the smooth curves of a background: half waves over the range, 1, cos x, cos 2x, ..., made orthonormal."""
    place = (r - r[0]) / (r[-1] - r[0])
    return np.linalg.qr(np.cos(np.pi * place[:, None] * np.arange(count)))[0]


@partial(jax.jit, static_argnames="span")
def _waves(templates_, values, target, *, span):
    one = lambda template, v: _structure_function(template, v, target, span)  # noqa: E731
    return jax.vmap(one)(templates_, values)


class _Point(NamedTuple):
    """Where a descent stands."""

    x: Float[Array, " parameter"]
    squares: Float[Array, ""]
    slope: Float[Array, " parameter"]
    normal: Float[Array, "parameter parameter"]


def _descended(residual, start) -> Float[Array, " parameter"]:
    """Return the least squares found by Levenberg and Marquardt's steps from a start; one Jacobian a step.

    Normal equations in place of a library's factorisation of each Jacobian: a handful of parameters, whose scaled
    matrix is well conditioned. Within `vmap` all fits step together until the last is done.
    """

    def point(x):
        now, jacobian = residual(x), jax.jacfwd(residual)(x)
        return _Point(x, jnp.sum(now**2), now @ jacobian, jacobian.T @ jacobian)

    def step(state):
        here, damping, count, _ = state
        diagonal = jnp.maximum(jnp.diagonal(here.normal), 1e-9)
        move = jnp.linalg.solve(here.normal + jnp.diag(damping * diagonal), here.slope)
        there = point(here.x - jnp.clip(move, -2.0, 2.0))
        better = there.squares < here.squares
        done = better & (here.squares - there.squares < ENOUGH * here.squares)
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), there, here)
        return kept, jnp.where(better, damping / 8, damping * 6), count + 1, done

    def unfinished(state):
        _, damping, count, done = state
        return ~done & (count < STEPS) & (damping < 1e4)

    first = (point(start), jnp.asarray(DAMPING, start.dtype), 0, jnp.asarray(False))
    return jax.lax.while_loop(unfinished, step, first)[0].x


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
    low, high = _bounds(inner, target)
    usual = START | {"delta1": START["delta1"] * target.bond, "delta2": START["delta2"] * target.bond**2}
    usual |= {"qdamp": target.qdamp, "qbroad": target.qbroad}

    def free(stretch):
        now = jnp.stack([jnp.asarray({**usual, "stretch": stretch}[name], low.dtype) for name in inner])
        place = jnp.clip((now - low) / (high - low), 0.02, 0.98)
        return jnp.log(place / (1 - place))

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
        "qdamp": (0.0, QDAMP),
        "qbroad": (0.0, templates.BROADENED / target.bond),
    }
    return tuple(jnp.stack([jnp.asarray(table[name][end], jnp.float32) for name in names]) for end in (0, 1))


def _values(x, inner: tuple[str, ...], target: Target) -> Values:
    """Return the physical values of the free parameters, which are logits of the place between the bounds."""
    low, high = _bounds(inner, target)
    now = dict(zip(inner, low + (high - low) * jax.nn.sigmoid(x), strict=True))
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


def _transform(r, qmin: float, qmax: float, span: Span):
    """Return Q of a Gauss-Legendre rule, and the sine transform from F there to G(r)."""
    phase = 0.5 * (qmax - qmin) * (STRETCH[1] * span.longest + r[-1])
    x, share = np.polynomial.legendre.leggauss(32 * math.ceil((phase / 2 + 16) / 32))
    q = qmin + (qmax - qmin) * (x + 1) / 2
    return q, (qmax - qmin) / np.pi * share * np.sin(r[:, None] * q)


def _first_peak(r, g, bond: float) -> float:
    """Return the place of the highest point about one bond length."""
    near = (r > 0.88 * bond) & (r < 1.12 * bond)
    return float(r[near][np.argmax(g[near])]) if near.any() else bond
