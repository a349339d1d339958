r"""The disagreement of coordinates with distances, and the descent to its minimum.

$s(x) = \frac{1}{2N} [ \sum_{i<j} w_i w_j \omega_{ij} \rho(|x_i - x_j| - d_{ij})
+ \sum_{i,s} w_i \omega_{is} \rho(|x_i - a_s| - d_{is}) + \sum_i (1 - w_i) |x_i - x_i^0|^2 ]$,

with the presence $w_i$ of each atom, the weight $\omega$ of each distance and $\rho(e) = e^2$, or Tukey's biweight
where outliers are expected. The last term keeps absent atoms ($w_i = 0$) at their start.

Sums over pairs are written as products with N by N matrices, which is what makes a batch quick on a CPU.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
from jax import lax
from jaxtyping import Array, Float

from jaxstruc.rounding import rounding_of_squares
from jaxstruc.structures.distances import distances, root

NEWTON, INNER = 8, 5
"""Most Gauss-Newton steps, and conjugate gradient steps in each. Two or three Gauss-Newton steps are the rule."""
PATIENCE = 8
"""Steps of L-BFGS in which neither stress nor gradient reach a new minimum, after which only rounding is left."""
ANNEALING = 8
"""Gauss-Newton steps over which the outlier scale shrinks to the one asked for."""


class Problem(NamedTuple):
    """The arguments of the stress. Distances of weight zero are zero, matrices symmetric, their diagonals zero."""

    pair: Float[Array, "atom atom"]
    satellite: Float[Array, "atom satellite"]
    pair_weight: Float[Array, "atom atom"]
    """Of both atoms' presence and the distance."""
    satellite_weight: Float[Array, "atom satellite"]
    hold: Float[Array, " atom"]
    """Absence of each atom, 1 - presence."""
    held: Float[Array, "atom 3"]
    """Where absent atoms stay."""
    anchors: Float[Array, "satellite 3"]
    scale: Float[Array, ""] | None
    """Distances that are off by more than this count nothing; None: every distance counts."""


@jax.jit  # traced once, for all places that call it
def value_and_gradient(
    positions: Float[Array, "atom 3"], problem: Problem
) -> tuple[Float[Array, ""], Float[Array, "atom 3"]]:
    """Return the stress of the module's docstring, s(x), and its gradient."""
    away = positions - problem.held
    value = jnp.sum(problem.hold[:, None] * away**2)
    gradient = problem.hold[:, None] * away
    for points, distance, weight, share in terms(positions, problem):
        between = distances(positions, points)
        error = between - distance
        value = value + share * total(weight * _loss(error, problem.scale))
        pull = weight * _influence(error, problem.scale) * error / jnp.where(between > 0, between, 1.0)
        gradient = gradient + _moment(pull, positions, points)
    return value / (2 * len(positions)), gradient / len(positions)


class Point(NamedTuple):
    """Positions with what the stress is there."""

    positions: Float[Array, "atom 3"]
    gradient: Float[Array, "atom 3"]
    error: Float[Array, ""]
    """Norm of the gradient."""
    value: Float[Array, ""]


def point(positions: Float[Array, "atom 3"], problem: Problem) -> Point:
    """Return positions with the stress and its gradient there."""
    value, gradient = value_and_gradient(positions, problem)
    return Point(positions, gradient, jnp.linalg.norm(gradient), value)


def rounding(value: Float[Array, ""], problem: Problem) -> Float[Array, ""]:
    """Return the rounding error of a value of the stress."""
    squares = total(problem.pair_weight * problem.pair**2) / 2
    squares = squares + total(problem.satellite_weight * problem.satellite**2)
    return rounding_of_squares(value, squares / (2 * len(problem.pair)))


def lower(last: Point, first: Point, problem: Problem) -> Point:
    """Return the last of two points, but the first if the stress of the last is higher by more than its rounding."""
    better = last.value <= first.value + rounding(first.value, problem)
    return jax.tree.map(lambda new, old: jnp.where(better, new, old), last, first)


def gauss_newton(start, problem: Problem, tolerance):
    """Return the best point that Gauss-Newton steps reach, the steps, and whether the start has a gradient."""
    begin, steps = point(start, problem), 0
    first = begin
    if problem.scale is not None:
        first, steps = point(_annealed(start, problem), problem), ANNEALING

    def step(state):
        count, here, best, _ = state
        trial = point(here.positions + _step(here.positions, here.gradient, problem), problem)
        better = (trial.error < here.error) & (trial.value <= here.value + rounding(here.value, problem))
        better |= problem.scale is not None  # reweighted steps may raise the gradient on their way
        here = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, here)
        return count + 1, here, lower(here, best, problem), better

    count, _, best, _ = lax.while_loop(
        lambda state: (state[1].error > tolerance) & (state[0] < NEWTON) & state[3],
        step,
        (jnp.asarray(0), first, lower(first, begin, problem), jnp.asarray(True)),
    )
    return best, count + steps, jnp.isfinite(begin.error)


def lbfgs(near, problem: Problem, iterations, tolerance):
    """Return where L-BFGS ends; items of a batch that need none cost nothing, the others run one after another.

    The end is the best point evaluated. Pairs of a step and a change of the gradient that show no curvature count
    nothing, and the descent fails if neither stress nor gradient reach a new minimum in `PATIENCE` steps.
    """
    solver = jaxopt.LBFGS(
        value_and_gradient, value_and_grad=True, stop_if_linesearch_fails=True, maxls=15, implicit_diff=False
    )

    def unfinished(now):
        state = now[1]
        return (state.error > tolerance) & (state.iter_num < iterations) & ~state.failed_linesearch

    def step(now, problem):
        positions, before, best, (value, error, waiting) = now
        moved, after = solver.update(positions, before, problem)
        after = _with_curvature(before, after, moved - positions)
        there = Point(moved, after.grad, after.error, after.value)
        waiting = jnp.where((after.value < value) | (after.error < error), 0, waiting + 1)
        after = after._replace(failed_linesearch=after.failed_linesearch | (waiting >= PATIENCE))
        least = jnp.fmin(after.value, value), jnp.fmin(after.error, error), waiting
        return moved, after, lower(there, best, problem), least

    @jax.custom_batching.custom_vmap
    def run(near, problem):
        state = solver.init_state(near.positions, problem)._replace(error=near.error)
        begin = near.positions, state, near, (near.value, near.error, jnp.asarray(0))
        _, state, best, _ = lax.while_loop(unfinished, lambda now: step(now, problem), begin)
        return best.positions, best.error, state.iter_num, state.failed_linesearch

    @run.def_vmap
    def run_each(size, mapped, *given):
        given = jax.tree.map(lambda x, own: x if own else jnp.broadcast_to(x, (size, *x.shape)), given, tuple(mapped))
        counts, done = jnp.zeros(size, int), jnp.zeros(size, bool)
        near = given[0]
        needed = jnp.any(near.error > tolerance)
        _, results = lax.while_loop(
            lambda now: now[0],
            lambda now: (jnp.asarray(False), lax.map(lambda item: run(*item), given)),
            (needed, (near.positions, near.error, counts, done)),
        )
        return results, (True,) * 4

    return run(near, problem)


def _with_curvature(before, after, move):
    r"""Return the state of L-BFGS after a step, without the step's pair where that shows no curvature.

    Of a step s that changes the gradient by y, $s \cdot y$ has to exceed $\sqrt{\epsilon} |s| |y|$, and |y| the
    gradient's rounding; the pair else counts nothing.
    """
    change, epsilon = after.grad - before.grad, jnp.finfo(move.dtype).eps
    size = jnp.linalg.norm(change)
    curved = jnp.sum(move * change) > epsilon**0.5 * jnp.linalg.norm(move) * size
    curved &= size > epsilon * before.error
    row = before.iter_num % len(after.rho_history)
    weights = after.rho_history.at[row].set(jnp.where(curved, after.rho_history[row], 0.0))
    return after._replace(rho_history=weights, gamma=jnp.where(curved, after.gamma, before.gamma))


def _annealed(start, problem: Problem):
    """Return positions under outlier scales that shrink from the errors of the start to the problem's own."""
    errors, weights = 0.0, 0.0
    for points, distance, weight, share in terms(start, problem):
        errors = errors + share * total(weight * (distances(start, points) - distance) ** 2)
        weights = weights + share * total(weight)
    wide = jnp.maximum(4 * root(errors / jnp.maximum(weights, 1e-6)) / jnp.asarray(problem.scale), 1.0)

    def step(k, positions):
        now = problem._replace(scale=problem.scale * wide ** (1 - (k + 1) / ANNEALING))
        return positions + _step(positions, value_and_gradient(positions, now)[1], now)

    return lax.fori_loop(0, ANNEALING, step, start)


def _step(positions, gradient, problem: Problem):
    """Return the Gauss-Newton step for a gradient of the stress, by a few conjugate gradient steps."""
    atoms, identity = len(positions), jnp.eye(3, dtype=positions.dtype)
    blocks = problem.hold[:, None, None] * identity
    stiffness = None
    for points, distance, weight, _ in terms(positions, problem):
        between = distances(positions, points)
        kept = weight * _influence(between - distance, problem.scale) / jnp.where(between > 0, between, 1.0) ** 2
        stiffness = kept if stiffness is None else stiffness
        sums = kept @ jnp.concatenate([jnp.ones_like(points[:, :1]), points, outer(points, points)], axis=1)
        cross = positions[:, :, None] * sums[:, None, 1:4]
        own = outer(positions, positions) * sums[:, :1] + sums[:, 4:]
        blocks = blocks + own.reshape(atoms, 3, 3) - cross - jnp.swapaxes(cross, 1, 2)
    size = jnp.trace(blocks, axis1=1, axis2=2)[:, None, None]
    inverse = inverse_of(blocks + 1e-3 * size * identity)

    def conjugate(_, state):
        move, left, direction, power = state
        force = times(blocks, direction) - _passed_on(stiffness, positions, direction)
        length = ratio(power, jnp.vdot(direction, force))
        left = left - length * force
        eased = times(inverse, left)
        next_power = jnp.vdot(left, eased)
        return move + length * direction, left, eased + ratio(next_power, power) * direction, next_power

    left = -gradient * atoms
    eased = times(inverse, left)
    return lax.fori_loop(0, INNER, conjugate, (jnp.zeros_like(left), left, eased, jnp.vdot(left, eased)))[0]


def _passed_on(stiffness, positions, move):
    r"""Return $\sum_j k_{ij} (x_i - x_j) (x_i - x_j) \cdot v_j$, multiplied out: one product with the matrix k."""
    along = jnp.sum(positions * move, axis=1, keepdims=True)
    sums = stiffness @ jnp.concatenate([move, along * positions, outer(positions, move)], axis=1)
    moved, drawn, crossed = sums[:, :3], sums[:, 3:6], sums[:, 6:].reshape(-1, 3, 3)
    own = jnp.sum(positions * moved, axis=1) - jnp.trace(crossed, axis1=1, axis2=2)
    return positions * own[:, None] - times(crossed, positions) + drawn


def terms(positions, problem: Problem):
    """Return points, distances to them, their weights, and the share of a sum over all that counts."""
    pairs = (positions, problem.pair, problem.pair_weight, 0.5)
    satellites = (problem.anchors, problem.satellite, problem.satellite_weight, 1.0)
    return (pairs, satellites) if len(problem.anchors) else (pairs,)


def _loss(error, scale):
    if scale is None:
        return error**2
    return scale**2 / 3 * (1 - jnp.maximum(1 - (error / scale) ** 2, 0.0) ** 3)


def _influence(error, scale):
    """Return what is left of a distance's weight, half the loss's derivative over the error."""
    return 1.0 if scale is None else jnp.maximum(1 - (error / scale) ** 2, 0.0) ** 2


def _moment(weight, positions, points):
    r"""Return $\sum_j w_{ij} (x_i - y_j)$."""
    sums = weight @ jnp.concatenate([points, jnp.ones_like(points[:, :1])], axis=1)
    return positions * sums[:, 3:] - sums[:, :3]


def total(matrix):
    """Return the sum over a matrix: as a product, twice as fast on CPU."""
    return jnp.sum(matrix @ jnp.ones(matrix.shape[1:], matrix.dtype))


def outer(a, b):
    """Return the nine products of the components of each pair of vectors."""
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), 9)


def inverse_of(matrix):
    """Return the inverses of symmetric 3 by 3 matrices, zero for those of no determinant."""
    a, b, c = matrix[:, 0], matrix[:, 1], matrix[:, 2]
    minors = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    determinant = jnp.sum(a * minors[:, 0], axis=1)
    return ratio(minors, determinant[:, None, None])


def times(matrix, vector):
    """Return the product of each matrix and vector."""
    return jnp.sum(matrix * vector[:, None, :], axis=2)


def ratio(above, below):
    """Return the quotient, 0 where the denominator is not positive."""
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), 0.0)
