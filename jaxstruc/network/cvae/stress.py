r"""This module computes and minimises the stress, which measures how far coordinates disagree with given distances.

$s(x) = \frac{1}{2N} [ \sum_{i<j} w_i w_j \omega_{ij} \rho(|x_i - x_j| - d_{ij})
+ \sum_{i,s} w_i \omega_{is} \rho(|x_i - a_s| - d_{is}) + \sum_i (1 - w_i) |x_i - x_i^0|^2 ]$

Here $x_i$ are the positions of the N atoms, $a_s$ the positions of the satellites (fixed reference points), $d$ the
given distances, $w_i$ the presence of each atom (0 to 1) and $\omega$ the weight of each distance. The loss is
$\rho(e) = e^2$, or Tukey's biweight if outliers are expected. The last term keeps absent atoms ($w_i = 0$) at their
start $x_i^0$.

Sums over pairs are written as products with N by N matrices, because a batch is then fast on a CPU.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
from jax import lax
from jaxtyping import Array, Float

from jaxstruc.clusters.distances import distances, safe_sqrt
from jaxstruc.statistics import rounding_of_squares

MAX_GAUSS_NEWTON_STEPS, MAX_CONJUGATE_STEPS = 8, 5
"""Largest number of Gauss-Newton steps, and number of conjugate gradient steps in each of them. Two or three
Gauss-Newton steps are usually enough."""
MAX_STALLED_STEPS = 8
"""Number of successive L-BFGS steps without a new minimum of the stress or of the norm of its gradient, after which the
descent stops. The remaining changes are then rounding errors."""
N_ANNEALING_STEPS = 8
"""Number of Gauss-Newton steps over which the outlier scale shrinks to the requested value."""


class StressProblem(NamedTuple):
    """The data of the stress. Pair matrices are symmetric with zero diagonals. Distances with the weight 0 are 0."""

    pair: Float[Array, "atom atom"]
    """Target distances between atoms."""
    satellite: Float[Array, "atom satellite"]
    """Target distances from atoms to satellites."""
    pair_weight: Float[Array, "atom atom"]
    """Weight of each pair distance, including the presence of both atoms."""
    satellite_weight: Float[Array, "atom satellite"]
    """Weight of each satellite distance, including the presence of the atom."""
    absence: Float[Array, " atom"]
    """Absence of each atom, 1 - presence."""
    absent_positions: Float[Array, "atom 3"]
    """Positions at which absent atoms stay."""
    anchors: Float[Array, "satellite 3"]
    """Positions of the satellites."""
    outlier_scale: Float[Array, ""] | None
    """Scale of Tukey's biweight. Distances with larger errors do not contribute. If it is None, the loss is the squared
    error."""


@jax.jit  # All callers share one trace.
def value_and_gradient(
    positions: Float[Array, "atom 3"], problem: StressProblem
) -> tuple[Float[Array, ""], Float[Array, "atom 3"]]:
    """Return the stress s(x) and its gradient. The docstring of the module gives the equation."""
    displacement = positions - problem.absent_positions
    value = jnp.sum(problem.absence[:, None] * displacement**2)
    gradient = problem.absence[:, None] * displacement
    for points, distance, weight, fraction in stress_terms(positions, problem):
        separations = distances(positions, points)
        error = separations - distance
        value = value + fraction * matrix_sum(weight * _loss(error, problem.outlier_scale))
        force = weight * _influence(error, problem.outlier_scale) * error / jnp.where(separations > 0, separations, 1.0)
        gradient = gradient + _moment(force, positions, points)
    return value / (2 * len(positions)), gradient / len(positions)


class StressPoint(NamedTuple):
    """Positions with the stress and its gradient there."""

    positions: Float[Array, "atom 3"]
    gradient: Float[Array, "atom 3"]
    error: Float[Array, ""]
    """Norm of the gradient."""
    value: Float[Array, ""]
    """Stress s(x)."""


def evaluate_point(positions: Float[Array, "atom 3"], problem: StressProblem) -> StressPoint:
    """Return positions with the stress and its gradient there."""
    value, gradient = value_and_gradient(positions, problem)
    return StressPoint(positions, gradient, jnp.linalg.norm(gradient), value)


def stress_rounding(value: Float[Array, ""], problem: StressProblem) -> Float[Array, ""]:
    """Return the rounding error of a value of the stress."""
    squares = matrix_sum(problem.pair_weight * problem.pair**2) / 2
    squares = squares + matrix_sum(problem.satellite_weight * problem.satellite**2)
    return rounding_of_squares(value, squares / (2 * len(problem.pair)))


def lower_stress_point(new_point: StressPoint, old_point: StressPoint, problem: StressProblem) -> StressPoint:
    """Return the new point, or the old one if the stress of the new one is higher by more than a rounding error."""
    is_better = new_point.value <= old_point.value + stress_rounding(old_point.value, problem)
    return jax.tree.map(lambda new, old: jnp.where(is_better, new, old), new_point, old_point)


def gauss_newton_minimum(start, problem: StressProblem, tolerance):
    """Return the best point of the Gauss-Newton steps, the number of steps, and whether the start's gradient is finite.

    If there is an outlier scale, the first `N_ANNEALING_STEPS` steps use larger scales, which shrink to it.
    """
    start_point, n_annealing_steps = evaluate_point(start, problem), 0
    annealed_point = start_point
    if problem.outlier_scale is not None:
        annealed_point, n_annealing_steps = evaluate_point(_anneal(start, problem), problem), N_ANNEALING_STEPS

    def step(state):
        count, current, best, _ = state
        trial_point = evaluate_point(
            current.positions + _gauss_newton_step(current.positions, current.gradient, problem), problem
        )
        is_better = (trial_point.error < current.error) & (
            trial_point.value <= current.value + stress_rounding(current.value, problem)
        )
        is_better |= problem.outlier_scale is not None  # Reweighted steps may raise the gradient for a while.
        current = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), trial_point, current)
        return count + 1, current, lower_stress_point(current, best, problem), is_better

    count, _, best, _ = lax.while_loop(
        lambda state: (state[1].error > tolerance) & (state[0] < MAX_GAUSS_NEWTON_STEPS) & state[3],
        step,
        (jnp.asarray(0), annealed_point, lower_stress_point(annealed_point, start_point, problem), jnp.asarray(True)),
    )
    return best, count + n_annealing_steps, jnp.isfinite(start_point.error)


def lbfgs_minimum(start_point, problem: StressProblem, iterations, tolerance):
    """Return the best positions of L-BFGS, the norm of the gradient there, the number of steps, and whether it failed.

    The descent fails if neither the stress nor the norm of its gradient reaches a new minimum in `MAX_STALLED_STEPS`
    steps. Steps without curvature do not contribute to the approximate Hessian (see `_without_flat_pair`). The items of
    a batch run one after another. If all items have converged before, L-BFGS is skipped.
    """
    solver = jaxopt.LBFGS(
        value_and_gradient, value_and_grad=True, stop_if_linesearch_fails=True, maxls=15, implicit_diff=False
    )

    def is_unfinished(carry):
        state = carry[1]
        return (state.error > tolerance) & (state.iter_num < iterations) & ~state.failed_linesearch

    def step(carry, problem):
        positions, state, best_point, (min_value, min_error, n_stalled_steps) = carry
        new_positions, new_state = solver.update(positions, state, problem)
        new_state = _without_flat_pair(state, new_state, new_positions - positions)
        new_point = StressPoint(new_positions, new_state.grad, new_state.error, new_state.value)
        n_stalled_steps = jnp.where(
            (new_state.value < min_value) | (new_state.error < min_error), 0, n_stalled_steps + 1
        )
        new_state = new_state._replace(
            failed_linesearch=new_state.failed_linesearch | (n_stalled_steps >= MAX_STALLED_STEPS)
        )
        progress = jnp.fmin(new_state.value, min_value), jnp.fmin(new_state.error, min_error), n_stalled_steps
        return new_positions, new_state, lower_stress_point(new_point, best_point, problem), progress

    @jax.custom_batching.custom_vmap
    def run(start_point, problem):
        state = solver.init_state(start_point.positions, problem)._replace(error=start_point.error)
        initial_carry = (
            start_point.positions,
            state,
            start_point,
            (start_point.value, start_point.error, jnp.asarray(0)),
        )
        _, state, best_point, _ = lax.while_loop(is_unfinished, lambda carry: step(carry, problem), initial_carry)
        return best_point.positions, best_point.error, state.iter_num, state.failed_linesearch

    @run.def_vmap
    def run_batch(batch_size, batched_flags, *arguments):
        arguments = jax.tree.map(
            lambda x, is_batched: x if is_batched else jnp.broadcast_to(x, (batch_size, *x.shape)),
            arguments,
            tuple(batched_flags),
        )
        counts, failed_flags = jnp.zeros(batch_size, int), jnp.zeros(batch_size, bool)
        start_points = arguments[0]
        any_needed = jnp.any(start_points.error > tolerance)
        _, results = lax.while_loop(
            lambda carry: carry[0],
            lambda carry: (jnp.asarray(False), lax.map(lambda problem_arguments: run(*problem_arguments), arguments)),
            (any_needed, (start_points.positions, start_points.error, counts, failed_flags)),
        )
        return results, (True,) * 4

    return run(start_point, problem)


def _without_flat_pair(state, new_state, step):
    r"""Return the state of L-BFGS after a step, without the pair of this step if the pair shows no curvature.

    The pair (s, y) is the step s and the change y of the gradient. It is used only if $s \cdot y$ exceeds
    $\sqrt{\epsilon} |s| |y|$ and |y| exceeds the rounding error of the gradient, where $\epsilon$ is the machine
    epsilon.
    """
    gradient_change, epsilon = new_state.grad - state.grad, jnp.finfo(step.dtype).eps
    change_norm = jnp.linalg.norm(gradient_change)
    has_curvature = jnp.sum(step * gradient_change) > epsilon**0.5 * jnp.linalg.norm(step) * change_norm
    has_curvature &= change_norm > epsilon * state.error
    row = state.iter_num % len(new_state.rho_history)
    weights = new_state.rho_history.at[row].set(jnp.where(has_curvature, new_state.rho_history[row], 0.0))
    return new_state._replace(rho_history=weights, gamma=jnp.where(has_curvature, new_state.gamma, state.gamma))


def _anneal(start, problem: StressProblem):
    """Return positions after Gauss-Newton steps with an outlier scale that shrinks to that of the problem.

    The first scale is about 4 times the root mean square error at the start, so that few distances are outliers.
    """
    squared_error, total_weight = 0.0, 0.0
    for points, distance, weight, fraction in stress_terms(start, problem):
        squared_error = squared_error + fraction * matrix_sum(weight * (distances(start, points) - distance) ** 2)
        total_weight = total_weight + fraction * matrix_sum(weight)
    start_ratio = jnp.maximum(
        4 * safe_sqrt(squared_error / jnp.maximum(total_weight, 1e-6)) / jnp.asarray(problem.outlier_scale), 1.0
    )

    def step(k, positions):
        annealed_problem = problem._replace(
            outlier_scale=problem.outlier_scale * start_ratio ** (1 - (k + 1) / N_ANNEALING_STEPS)
        )
        return positions + _gauss_newton_step(
            positions, value_and_gradient(positions, annealed_problem)[1], annealed_problem
        )

    return lax.fori_loop(0, N_ANNEALING_STEPS, step, start)


def _gauss_newton_step(positions, gradient, problem: StressProblem):
    """Return the Gauss-Newton step for a gradient of the stress, computed with a few conjugate gradient steps."""
    n_atoms, identity = len(positions), jnp.eye(3, dtype=positions.dtype)
    blocks = problem.absence[:, None, None] * identity
    stiffness = None
    for points, distance, weight, _ in stress_terms(positions, problem):
        separations = distances(positions, points)
        curvature = (
            weight
            * _influence(separations - distance, problem.outlier_scale)
            / jnp.where(separations > 0, separations, 1.0) ** 2
        )
        stiffness = curvature if stiffness is None else stiffness
        sums = curvature @ jnp.concatenate(
            [jnp.ones_like(points[:, :1]), points, outer_products(points, points)], axis=1
        )
        cross_terms = positions[:, :, None] * sums[:, None, 1:4]
        self_terms = outer_products(positions, positions) * sums[:, :1] + sums[:, 4:]
        blocks = blocks + self_terms.reshape(n_atoms, 3, 3) - cross_terms - jnp.swapaxes(cross_terms, 1, 2)
    block_traces = jnp.trace(blocks, axis1=1, axis2=2)[:, None, None]
    inverse = inverse_matrices(blocks + 1e-3 * block_traces * identity)

    def conjugate_step(_, state):
        displacement, residual, direction, residual_product = state
        stiffness_direction = matrix_vector_products(blocks, direction) - _stiffness_product(
            stiffness, positions, direction
        )
        step_length = safe_ratio(residual_product, jnp.vdot(direction, stiffness_direction))
        residual = residual - step_length * stiffness_direction
        preconditioned_residual = matrix_vector_products(inverse, residual)
        new_residual_product = jnp.vdot(residual, preconditioned_residual)
        return (
            displacement + step_length * direction,
            residual,
            preconditioned_residual + safe_ratio(new_residual_product, residual_product) * direction,
            new_residual_product,
        )

    residual = -gradient * n_atoms
    preconditioned_residual = matrix_vector_products(inverse, residual)
    return lax.fori_loop(
        0,
        MAX_CONJUGATE_STEPS,
        conjugate_step,
        (jnp.zeros_like(residual), residual, preconditioned_residual, jnp.vdot(residual, preconditioned_residual)),
    )[0]


def _stiffness_product(stiffness, positions, displacement):
    r"""Return $\sum_j k_{ij} (x_i - x_j) (x_i - x_j) \cdot v_j$ for each atom i.

    The matrix k is the stiffness, x are the positions and v the displacements. The product is expanded, so
    that one product with the matrix k is enough.
    """
    projection = jnp.sum(positions * displacement, axis=1, keepdims=True)
    sums = stiffness @ jnp.concatenate(
        [displacement, projection * positions, outer_products(positions, displacement)], axis=1
    )
    displacement_sums, position_sums, outer_sums = sums[:, :3], sums[:, 3:6], sums[:, 6:].reshape(-1, 3, 3)
    self_terms = jnp.sum(positions * displacement_sums, axis=1) - jnp.trace(outer_sums, axis1=1, axis2=2)
    return positions * self_terms[:, None] - matrix_vector_products(outer_sums, positions) + position_sums


def stress_terms(positions, problem: StressProblem):
    """Return the two sums of the stress, over pairs and over satellites, as tuples.

    A tuple contains the points, the given distances from the atoms to these points, the weights of the distances, and
    the factor of the sum. The factor of the pairs is 0.5, because a sum over the matrix contains each pair twice.
    """
    pairs = (positions, problem.pair, problem.pair_weight, 0.5)
    satellites = (problem.anchors, problem.satellite, problem.satellite_weight, 1.0)
    return (pairs, satellites) if len(problem.anchors) else (pairs,)


def _loss(error, outlier_scale):
    if outlier_scale is None:
        return error**2
    return outlier_scale**2 / 3 * (1 - jnp.maximum(1 - (error / outlier_scale) ** 2, 0.0) ** 3)


def _influence(error, outlier_scale):
    """Return the derivative of the loss, divided by twice the error. It multiplies the weight of a distance."""
    return 1.0 if outlier_scale is None else jnp.maximum(1 - (error / outlier_scale) ** 2, 0.0) ** 2


def _moment(weight, positions, points):
    r"""Return $\sum_j w_{ij} (x_i - y_j)$ for the weights w, the positions x and the points y."""
    sums = weight @ jnp.concatenate([points, jnp.ones_like(points[:, :1])], axis=1)
    return positions * sums[:, 3:] - sums[:, :3]


def matrix_sum(matrix):
    """Return the sum of a matrix, computed as a matrix product, which is twice as fast on a CPU."""
    return jnp.sum(matrix @ jnp.ones(matrix.shape[1:], matrix.dtype))


def outer_products(a, b):
    """Return the nine products of the components of each pair of vectors a and b [vector, 9]."""
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), 9)


def inverse_matrices(matrix):
    """Return the inverses of symmetric 3 by 3 matrices, or zero if the determinant is not positive."""
    a, b, c = matrix[:, 0], matrix[:, 1], matrix[:, 2]
    minors = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    determinant = jnp.sum(a * minors[:, 0], axis=1)
    return safe_ratio(minors, determinant[:, None, None])


def matrix_vector_products(matrix, vector):
    """Return the product of each matrix with its vector."""
    return jnp.sum(matrix * vector[:, None, :], axis=2)


def safe_ratio(numerator, denominator):
    """Return the quotient, or 0 if the denominator is not positive."""
    return jnp.where(denominator > 0, numerator / jnp.where(denominator > 0, denominator, 1.0), 0.0)
