r"""A sample as a distribution of particles: shares of atoms over classes of clusters, fitted to a measured G(r).

G(r), normalised to an atom, adds up by shares of atoms, $G = \sum_k \varphi_k G_k$ with $\varphi_k \ge 0$, which
`mixture` has by packing and size. What it takes has a Gaussian prior, and the best is found by Gauss-Newton steps: the
curves are linear in what is shared about the last step, so that a step costs as much as one evaluation of all classes,
and the distribution is descended in between. The covariance at the best gives the intervals (Laplace).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.inference import values as values_
from jaxstruc.inference.mixture import Guess, Mixture, curves, shares, within
from jaxstruc.inference.target import Basis
from jaxstruc.inference.values import Values
from jaxstruc.rounding import rounding_of_squares, squares_floor

WIDTH_PRIOR = (0.2, 0.7)
"""Usual width of a distribution, and how far its logarithm strays."""
APART = (0.3, 0.4)
"""How far the logarithms of the packings' mean sizes, and of their widths, stray from those of all."""
SIZE_PRIOR = 1.0
"""How far the logarithm of the mean size strays from where it is sought first."""
CONTRACTION = 0.15
"""Å. How far the contraction strays from none: 1 % at 15 Å."""
OUTER, AGAIN, INNER = 4, 2, 14
"""Gauss-Newton steps in what is shared; of a free distribution, which starts from the lognormal; and most steps of
Levenberg and Marquardt in the distribution at each."""
ENOUGH = 0.02
"""Fall of twice the negative logarithm of the posterior at which a descent in the distribution is done."""
MEANS = (0.6, 0.75, 0.9, 1.0, 1.15, 1.4, 1.8)
"""Mean sizes tried for the start, relative to the first guess."""
WIDTHS = (0.08, 0.2, 0.4)
"""Widths tried for the start."""
NARROW, WIDE = math.log(0.04), math.log(1.0)
"""Bounds of the logarithm of a width."""
LONGEST = 0.7
"""Of a step in the distribution."""
SHARED = 0.12
"""Of a step in what is shared, in parts of the range between the bounds."""
DRAWS = 800
"""Of the posterior."""
FEW = 0.03
"""Share below which the sizes of a packing are held in draws."""


class Found(NamedTuple):
    """The best ensemble of a strength."""

    guess: Guess
    values: Values
    """Shared; the scale is the sum of the shares."""
    share: Float[Array, " class"]
    """Of atoms; times the scale."""
    squares: Float[Array, ""]
    """Sum of the squares of data less model."""
    rw: Float[Array, ""]
    precision: Float[Array, "parameter parameter"]
    """Of the guess, ravelled: the inverse of its covariance."""


def first(mixture: Mixture, basis: Basis, values: Values, names: tuple[str, ...], size: float) -> Guess:
    """Return where a fit starts: the best of a few means and widths, with the shares of packings that fit them.

    Args:
        mixture: the classes.
        basis: the data.
        values: of a single cluster's fit.
        names: of the shared values.
        size: first guess of the mean size, in Å.
    """
    now = jnp.stack([getattr(values, name) for name in names])
    places = jnp.clip(values_.places(now, names, basis), 0.02, 0.98)
    return _first(mixture, basis, places, jnp.asarray(size, jnp.float32), names=names)


@partial(jax.jit, static_argnames="names")
def _first(mixture: Mixture, basis: Basis, places, size, *, names) -> Guess:
    count = int(mixture.waves.shape[1])
    packings = mixture.packings
    every = curves(mixture, places, 0.0, names, basis)
    low, high = jnp.min(mixture.size), jnp.max(mixture.size)

    def tried(mean, width):
        guess = Guess(
            jnp.ones(packings), jnp.full(packings, jnp.log(mean)), jnp.full(packings, jnp.log(width)),
            jnp.zeros((packings, count)), jnp.stack([jnp.log(mean), jnp.log(width)]), places, jnp.zeros(1),
        )  # fmt: skip
        share = shares(guess, mixture, 0.0)
        pure = jax.ops.segment_sum(share[:, None] * every, mixture.packing, packings)
        level, misfit = _nonnegative(pure, basis.data)
        return misfit, guess._replace(root=jnp.sqrt(level))

    means = jnp.clip(size * jnp.asarray(MEANS), 1.1 * low, 0.9 * high)
    misfits, guesses = jax.vmap(lambda m: jax.vmap(lambda w: tried(m, w))(jnp.asarray(WIDTHS)))(means)
    best = jnp.argmin(misfits.ravel())
    return jax.tree.map(lambda column: column.reshape(-1, *column.shape[2:])[best], guesses)


def _nonnegative(pure: Float[Array, "packing basis"], data) -> tuple[Float[Array, " packing"], Float[Array, ""]]:
    """Return about the non-negative least squares, each at least a little of the sum, and what is left."""
    normal, slope = pure @ pure.T, pure @ data
    diagonal = jnp.maximum(jnp.diagonal(normal), 1e-12)

    def step(level, _):  # coordinate descent
        for place in range(len(slope)):
            rest = slope[place] - normal[place] @ level + diagonal[place] * level[place]
            level = level.at[place].set(jnp.maximum(rest / diagonal[place], 0.0))
        return level, None

    level, _ = jax.lax.scan(step, jnp.zeros_like(slope), None, length=30)
    level = jnp.maximum(level, 0.01 * jnp.sum(level) + 1e-6)
    left = data - level @ pure
    return level, left @ left


def fit(
    mixture: Mixture, basis: Basis, guess: Guess, *, names: tuple[str, ...], strength: float, counted: float = 1.0
) -> Found:
    """Return the best ensemble.

    Args:
        mixture: the classes.
        basis: the data.
        guess: where to start.
        names: of the shared values, all that is fitted but the scale.
        strength: of departures from lognormal.
        counted: share of the independent points that count: a misfit that is no noise varies slowly.
    """
    steps = jnp.asarray(OUTER if strength == 0 else AGAIN)
    own, part = (jnp.asarray(x, jnp.float32) for x in (strength, counted))
    return _fit(mixture, basis, guess, own, steps, part, names=names)


def fit_series(
    mixture: Mixture, bases: Sequence[Basis], guess: Guess, *, names: tuple[str, ...], counted: float = 1.0
) -> Found:
    """Return the best lognormal ensembles of many curves with the same ranges of Q and r, with a leading axis.

    The classes' curves are made twice for all: linear about the guess, and about the middle of what was found.

    Args:
        mixture: the classes.
        bases: the data, alike but for the curve.
        guess: where all start, of one of them; its free part is left out.
        names: of the shared values.
        counted: as in `fit`.
    """
    lean = replace(mixture, waves=mixture.waves[:, :0])
    start = guess._replace(waves=guess.waves[:, :0])
    data, norm, rest = (jnp.stack([getattr(one, name) for one in bases]) for name in ("data", "norm", "rest"))
    return _series(lean, bases[0], data, norm, rest, start, jnp.asarray(counted, jnp.float32), names=names)


class _Prior(NamedTuple):
    """What is usual, and the bounds, of a guess ravelled."""

    total: Float[Array, ""]
    size: Float[Array, ""]
    low: Float[Array, " parameter"]
    high: Float[Array, " parameter"]
    shared: Float[Array, " parameter"]
    """1 for what all packings share: places and contraction."""


class _Linear(NamedTuple):
    """The curves of all classes, linear in what is shared about a guess."""

    about: Guess
    every: Float[Array, "class basis"]
    slopes: Float[Array, "class basis shared"]


class _Best(NamedTuple):
    """The best guess that has been evaluated with its own curves."""

    at: Float[Array, " parameter"]
    normal: Float[Array, "parameter parameter"]
    every: Float[Array, "class basis"]
    cost: Float[Array, ""]


class _State(NamedTuple):
    """Where a descent in the distribution stands."""

    here: Float[Array, " parameter"]
    trial: Float[Array, " parameter"]
    cost: Float[Array, ""]
    slope: Float[Array, " parameter"]
    normal: Float[Array, "parameter parameter"]
    damping: Float[Array, ""]
    steps: Int[Array, ""]
    done: Bool[Array, ""]
    first: tuple[Float[Array, ""], Float[Array, "parameter parameter"]]
    """Cost and normal matrix of the start."""


@partial(jax.jit, static_argnames="names")
def _fit(mixture: Mixture, basis: Basis, guess: Guess, strength, outermost, counted, *, names) -> Found:
    prior = _prior(guess, mixture)
    start, unravel = ravel_pytree(guess)

    def outer(_, state):
        at, _, best = state
        about = unravel(at)
        linear = _linear(mixture, about, names, basis)
        ended = _descended(about, linear, mixture, basis, prior, strength, counted)
        return ended.here, ended.normal, _lower(_Best(at, ended.first[1], linear.every, ended.first[0]), best)

    none = jnp.full((len(mixture.size), len(basis.data)), jnp.nan, start.dtype)
    unit = jnp.eye(len(start), dtype=start.dtype)
    begin = start, unit, _Best(start, unit, none, jnp.asarray(jnp.inf, start.dtype))
    at, normal, best = jax.lax.fori_loop(0, outermost, outer, begin)
    last = unravel(at)
    every = curves(mixture, last.places, last.contraction[0], names, basis)
    cost, rounding = _cost(last, every, mixture, basis, prior, strength, counted)
    best = _lower(_Best(at, normal, every, cost - rounding), best)
    own = unravel(best.at)
    return _found(own, shares(own, mixture, strength), best.every, best.normal, basis, prior, names)


@partial(jax.jit, static_argnames="names")
def _series(mixture: Mixture, basis: Basis, data, norm, rest, guess: Guess, counted, *, names) -> Found:
    """Return the lognormal fits of several curves, linear about what their middle one shares."""
    strength = jnp.zeros(())

    def one(own, data, norm, rest, linear):
        alone = replace(basis, data=data, norm=norm, rest=rest)
        prior = _prior(guess, mixture)

        def cost(begin):
            every = linear.every + linear.slopes @ _moved(begin, linear.about)
            return _cost(begin, every, mixture, alone, prior, strength, counted)[0]

        worse = cost(guess) < cost(own)  # what other curves have found may be worse with these
        own = jax.tree.map(lambda first, last: jnp.where(worse, first, last), guess, own)
        ended = _descended(own, linear, mixture, alone, prior, strength, counted)
        found = ravel_pytree(guess)[1](ended.here)
        every = linear.every + linear.slopes @ _moved(found, linear.about)
        return _found(found, shares(found, mixture, strength), every, ended.normal, alone, prior, names)

    def again(own, about):
        linear = _linear(mixture, about, names, basis)
        return jax.vmap(one, (0, 0, 0, 0, None))(own, data, norm, rest, linear)

    own = jax.tree.map(lambda column: jnp.broadcast_to(column, (len(data), *column.shape)), guess)
    found = again(own, guess)
    middle = jax.tree.map(lambda column: jnp.median(column, axis=0), found.guess)
    return again(found.guess, middle)


def _prior(guess: Guess, mixture: Mixture) -> _Prior:
    low, high = (ravel_pytree(bound)[0] for bound in _bounds(guess, mixture))
    none = jax.tree.map(jnp.zeros_like, guess)
    shared = none._replace(places=none.places + 1, contraction=none.contraction + 1)
    return _Prior(jnp.sum(guess.root**2), guess.common[0], low, high, ravel_pytree(shared)[0])


def _linear(mixture: Mixture, about: Guess, names: tuple[str, ...], basis: Basis) -> _Linear:
    make = lambda x: curves(mixture, x[:-1], x[-1], names, basis)  # noqa: E731
    x = jnp.concatenate([about.places, about.contraction])
    return _Linear(about, make(x), jax.jacfwd(make)(x))


def _moved(own: Guess, about: Guess) -> Float[Array, " shared"]:
    return jnp.concatenate([own.places - about.places, own.contraction - about.contraction])


def _descended(own: Guess, linear: _Linear, mixture: Mixture, basis: Basis, prior: _Prior, strength, counted) -> _State:
    """Return the end, the best guess with linear curves, of a descent by Levenberg and Marquardt."""
    at, unravel = ravel_pytree(own)
    centre = ravel_pytree(linear.about)[0]
    longest = jnp.where(prior.shared > 0, SHARED, LONGEST)
    least = jnp.maximum(prior.low, jnp.where(prior.shared > 0, centre - SHARED, -jnp.inf))
    most = jnp.minimum(prior.high, jnp.where(prior.shared > 0, centre + SHARED, jnp.inf))

    def step(state: _State) -> _State:
        there = _point(state.trial, unravel, linear, mixture, basis, prior, strength, counted)
        cost, slope, normal, rounding = there
        better = cost < state.cost
        done = better & (state.cost - cost < jnp.maximum(ENOUGH, rounding))
        first = jax.tree.map(lambda new, old: jnp.where(state.steps == 0, new, old), (cost, normal), state.first)
        damping = jnp.clip(jnp.where(better, state.damping / 5, state.damping * 6), 1e-6, 1e6)
        pick = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        here, cost = pick(state.trial, state.here), pick(cost, state.cost)
        slope, normal = pick(slope, state.slope), pick(normal, state.normal)
        lead = jnp.diag(damping * jnp.diagonal(normal))
        move = jnp.clip(jnp.linalg.solve(normal + lead, -slope), -longest, longest)
        trial = jnp.clip(here + move, least, most)
        return _State(here, trial, cost, slope, normal, damping, state.steps + 1, done, first)

    infinite, damping = jnp.asarray(jnp.inf, at.dtype), jnp.asarray(0.05, at.dtype)
    none = jnp.zeros_like(at), jnp.eye(len(at), dtype=at.dtype)
    first = infinite, none[1]
    begin = _State(at, at, infinite, *none, damping, jnp.asarray(0), jnp.asarray(False), first)
    return jax.lax.while_loop(lambda state: ~state.done & (state.steps < INNER), step, begin)


def _lower(new: _Best, old: _Best) -> _Best:
    """Return the one of the lower cost."""
    return jax.tree.map(lambda last, first: jnp.where(new.cost < old.cost, last, first), new, old)


def _point(at, unravel, linear: _Linear, mixture: Mixture, basis: Basis, prior: _Prior, strength, counted):
    """Return twice the negative logarithm of the posterior, half its slope, half its curvature, and its rounding."""
    own = unravel(at)
    every = linear.every + linear.slopes @ _moved(own, linear.about)
    sizes = within(own, mixture, strength)
    share = own.root[mixture.packing] ** 2 * sizes
    left = basis.data - share @ every
    squares, points = _squares(left, basis), counted * basis.independent
    weight = points / squares  # the derivative of (points / 2) ln squares
    by = jax.jacfwd(lambda v: shares(unravel(v), mixture, strength))(at)
    jacobian = every.T @ by
    through = jnp.einsum("c,cbx->bx", share, linear.slopes)
    jacobian = jacobian.at[:, -through.shape[1] :].add(through)  # places and contraction come last
    departures = lambda v: _departures(unravel(v), prior.total, prior.size)  # noqa: E731
    off, scale = departures(at), jax.jacfwd(departures)(at)
    normal = weight * jacobian.T @ jacobian + scale.T @ scale
    # A share near 0 has no slope by its root: its curvature is that of the square.
    count = len(own.root)
    pure = jax.ops.segment_sum(sizes[:, None] * every, mixture.packing, count)
    curvature = jnp.maximum(-2 * weight * pure @ left, 0.0)
    normal = normal.at[jnp.arange(count), jnp.arange(count)].add(curvature)
    slope = -weight * jacobian.T @ left + scale.T @ off
    cost, rounding = _posterior(squares, off, basis, counted)
    return cost, slope, normal, rounding


def _cost(own: Guess, every, mixture: Mixture, basis: Basis, prior: _Prior, strength, counted):
    """Return twice the negative logarithm of the posterior of a guess with given curves, and its rounding."""
    left = basis.data - shares(own, mixture, strength) @ every
    return _posterior(_squares(left, basis), _departures(own, prior.total, prior.size), basis, counted)


def _squares(left: Float[Array, " basis"], basis: Basis) -> Float[Array, ""]:
    """Return the sum of squares of what is left of the data, and of what no model reaches."""
    return jnp.maximum(left @ left + basis.rest, squares_floor(basis.norm))


def _posterior(squares, off, basis: Basis, counted) -> tuple[Float[Array, ""], Float[Array, ""]]:
    points = counted * basis.independent
    cost = points * jnp.log(squares) + off @ off
    rounding = points * rounding_of_squares(squares, basis.norm) / squares
    return cost, rounding + jnp.finfo(cost.dtype).eps * jnp.abs(cost)


def _found(own: Guess, share, every, normal, basis: Basis, prior: _Prior, names: tuple[str, ...]) -> Found:
    left = basis.data - share @ every
    squares = left @ left + basis.rest
    values = values_.values_at(own.places, names, basis)._replace(scale=jnp.sum(share))
    return Found(own, values, share, squares, jnp.sqrt(squares / basis.norm), normal)


def _departures(guess: Guess, total, size) -> Float[Array, " departure"]:
    """Return how far a guess is from what is usual, in standard deviations; linear.

    Args:
        guess: what is fitted.
        total: of the shares.
        size: logarithm of the first guess of the mean size.
    """
    return jnp.concatenate([
        guess.root / jnp.sqrt(total),
        (guess.mean - guess.common[0]) / APART[0],
        (guess.spread - guess.common[1]) / APART[1],
        (guess.common - jnp.stack([size, jnp.log(WIDTH_PRIOR[0])])) / jnp.asarray([SIZE_PRIOR, WIDTH_PRIOR[1]]),
        guess.waves.ravel(),
        guess.contraction / CONTRACTION,
        (guess.places - 0.5) * 1e-2,
    ])  # fmt: skip


def _bounds(guess: Guess, mixture: Mixture) -> tuple[Guess, Guess]:
    """Return the least and the largest values."""
    low = jax.tree.map(lambda x: jnp.full_like(x, -jnp.inf), guess)
    high = jax.tree.map(lambda x: jnp.full_like(x, jnp.inf), guess)
    smallest, largest = jnp.log(jnp.min(mixture.size)), jnp.log(jnp.max(mixture.size))
    low = low._replace(
        mean=jnp.full_like(guess.mean, smallest), spread=jnp.full_like(guess.spread, NARROW),
        places=jnp.full_like(guess.places, 1e-3),
    )  # fmt: skip
    high = high._replace(
        mean=jnp.full_like(guess.mean, largest), spread=jnp.full_like(guess.spread, WIDE),
        places=jnp.full_like(guess.places, 1 - 1e-3),
    )  # fmt: skip
    return low, high


def drawn(found: Found, mixture: Mixture, *, strength: float, seed: int = 0) -> Float[Array, "draw class"]:
    """Return shares drawn from the posterior by Laplace, each times its scale.

    The sizes of packings with hardly a share are held: the data say nothing of them.

    Args:
        found: the best.
        mixture: the classes.
        strength: of departures from lognormal.
        seed: of the draws.
    """
    return _drawn(found, mixture, jnp.asarray(strength, jnp.float32), jax.random.key(seed))


@jax.jit
def _drawn(found: Found, mixture: Mixture, strength, key):
    best, unravel = ravel_pytree(found.guess)
    share = found.guess.root**2 / jnp.sum(found.guess.root**2)
    there = share > FEW
    every = jax.tree.map(jnp.ones_like, found.guess)
    free = every._replace(
        mean=every.mean * there, spread=every.spread * there, waves=every.waves * there[:, None] * (strength > 0)
    )
    free = ravel_pytree(free)[0]
    precision = jnp.where(free[:, None] * free > 0, found.precision, 0.0) + jnp.diag(1 - free)
    length = 1 / jnp.sqrt(jnp.diagonal(precision))
    values, vectors = jnp.linalg.eigh(length[:, None] * precision * length)
    root = length[:, None] * vectors / jnp.sqrt(jnp.maximum(values, 1e-5))
    normal = free * (jax.random.normal(key, (DRAWS, len(best))) @ root.T)
    low, high = (ravel_pytree(bound)[0] for bound in _bounds(found.guess, mixture))
    return jax.vmap(lambda one: shares(unravel(jnp.clip(best + one, low, high)), mixture, strength))(normal)
