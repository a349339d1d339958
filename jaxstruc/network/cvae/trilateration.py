r"""Trilateration computes the positions of atoms from distances, in batches and with derivatives.

The distances are those between atoms and those from atoms to satellites, which are reference points with known
positions. KDD 2020, section 4.2 (see `model`), places one atom after another. Here all atoms move together to the
minimum of the weighted `stress`. The start is a solution of linear equations. Gauss-Newton steps come first. A few
conjugate gradient steps solve each of them approximately. If they do not converge, L-BFGS continues. With 11
satellites, batches of 256 structures and 2 CPU cores, this is about eight times faster than L-BFGS alone from the same
start, and the errors are equal.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.clusters.distances import distances, safe_sqrt
from jaxstruc.network.cvae import stress

REASONS = ("converged", "out of iterations", "line search failed", "negative or NaN distances", "not finite")
"""Reasons for the end of a trilateration. `Trilateration.reason` is an index into them."""
REASON_CONVERGED, REASON_ITERATIONS, REASON_LINE_SEARCH, REASON_BAD_DISTANCES, REASON_NOT_FINITE = range(len(REASONS))

N_ROBUST_STARTS = 6
"""Number of linear solutions for the start if outliers are expected. Each solution reduces the weights of the distances
that had large errors in the previous solution."""
N_REFILLS = 4
"""Number of times that multidimensional scaling replaces missing pair distances by those of its last positions."""


class Trilateration(NamedTuple):
    """The positions of the atoms, the stress there, and the reason why the solver stopped."""

    positions: Float[Array, "atom 3"]
    """Positions in the unit of the distances, e.g. the particle's radius. They are NaN if a distance is invalid."""
    stress: Float[Array, ""]
    """Weighted root mean square difference of given and final distances. If there is an outlier scale, it is the square
    root of the weighted mean loss."""
    iterations: Int[Array, ""]
    """Number of Gauss-Newton and L-BFGS steps."""
    converged: Bool[Array, ""]
    """Whether the norm of the gradient is at most the tolerance, and all values are finite."""
    reason: Int[Array, ""]
    """Reason for the end of the trilateration, as an index into `REASONS`."""


def trilaterate(
    pair: Float[Array, "atom atom"],
    satellite: Float[Array, "atom satellite"],
    presence: Float[Array, " atom"],
    anchors: Float[Array, "satellite 3"],
    *,
    pair_weight: Float[Array, "atom atom"] | None = None,
    satellite_weight: Float[Array, "atom satellite"] | None = None,
    outlier_scale: float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Trilateration:
    """Return the positions of atoms whose distances agree best with the given distances.

    The distances are those between atoms and those from atoms to satellites. A satellite is a fixed reference point
    with a known position. Derivatives with respect to the distances, the weights, the presence and the positions of the
    satellites use implicit differentiation at the solution.

    Args:
        pair: Symmetric distances between atoms. The diagonal is not read.
        satellite: Distances from atoms to satellites, in the unit of `pair`.
        presence: Weight of each atom, from 0 (padding) to 1.
        anchors: Positions of the satellites, at least four that are not coplanar.
        pair_weight: Weight of each pair distance, e.g. 1 / variance, by default 1. A distance of weight 0 is missing
            and not read. If all weights are 0, the solution uses only the distances to the satellites.
        satellite_weight: Weight of each satellite distance, by default 1. A distance of weight 0 is not read.
        outlier_scale: Scale of Tukey's biweight (doi 10.1080/00401706.1974.10489171), in the unit of the distances.
            Distances with larger errors are outliers and do not contribute. The weight of other distances decreases
            with their error. If the errors are Gaussian and there are no outliers, a scale of 4.7 standard deviations
            gives variances of the positions that are about 5 % larger than those of least squares.
        iterations: Largest number of L-BFGS steps. The field `converged` is False if they are not enough.
        tolerance: Norm of the gradient of the stress below which the solution has converged.
    """
    problem = _stress_problem(pair, satellite, presence, anchors, pair_weight, satellite_weight, outlier_scale)
    problem = problem._replace(absent_positions=linear_start(problem.satellite, anchors, weight=satellite_weight))
    start = problem.absent_positions
    if pair_weight is not None or satellite_weight is not None or outlier_scale is not None:
        start = _refined_start(problem)
    return _solution(start, problem, iterations, tolerance)


def trilaterate_pairs(
    pair: Float[Array, "atom atom"],
    presence: Float[Array, " atom"],
    *,
    pair_weight: Float[Array, "atom atom"] | None = None,
    outlier_scale: float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Trilateration:
    """Return positions from pair distances only, with their mean at the origin.

    Pair distances determine positions only up to a shift, a rotation and a mirror image. The start is classical
    multidimensional scaling. Derivatives contain no rotation and no shift of the whole structure.

    Args:
        pair: Symmetric distances between atoms. The diagonal is not read.
        presence: Weight of each atom, from 0 (padding) to 1.
        pair_weight: Weight of each pair distance, by default 1. A distance of weight 0 is missing and not read.
        outlier_scale: Scale of Tukey's biweight in the unit of the distances, see `trilaterate`.
        iterations: Largest number of L-BFGS steps.
        tolerance: Norm of the gradient of the stress below which the solution has converged.
    """
    no_satellites = jnp.zeros((presence.size, 0), pair.dtype)
    problem = _stress_problem(
        pair, no_satellites, presence, jnp.zeros((0, 3), pair.dtype), pair_weight, None, outlier_scale
    )
    start = multidimensional_scaling_start(*lax.stop_gradient((problem.pair, problem.pair_weight)))
    solution = _solution(start, problem._replace(absent_positions=start), iterations, tolerance)
    return solution._replace(positions=_without_rigid_motion(solution.positions, presence))


def trilaterate_batch(
    pair: Float[Array, "batch atom atom"],
    satellite: Float[Array, "batch atom satellite"],
    presence: Float[Array, "batch atom"],
    anchors: Float[Array, "satellite 3"],
    *,
    pair_weight: Float[Array, "batch atom atom"] | None = None,
    satellite_weight: Float[Array, "batch atom satellite"] | None = None,
    outlier_scale: float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Trilateration:
    """Return the result of `trilaterate` for each item of a batch. The arguments are those of `trilaterate`."""

    def trilaterate_item(pair, satellite, presence, weights):
        options = {"outlier_scale": outlier_scale, "iterations": iterations, "tolerance": tolerance}
        return trilaterate(
            pair, satellite, presence, anchors, pair_weight=weights[0], satellite_weight=weights[1], **options
        )

    return jax.vmap(trilaterate_item)(pair, satellite, presence, (pair_weight, satellite_weight))


def linear_start(
    distance: Float[Array, "atom point"],
    points: Float[Array, "point 3"],
    *,
    weight: Float[Array, "atom point"] | None = None,
) -> Float[Array, "atom 3"]:
    r"""Return positions from distances to known points, in closed form.

    The equation $d_{ip}^2 - |a_p|^2 = -2 a_p \cdot x_i + |x_i|^2$ for the distance $d_{ip}$ of atom i to point p at
    $a_p$ is linear in $x_i$ and $|x_i|^2$. The solution is the least-squares solution over the points. If the points
    do not determine an atom's position in some direction, the atom stays near their mean in this direction.
    """
    weight = jnp.ones_like(distance) if weight is None else weight
    total_weight = jnp.sum(weight, axis=1, keepdims=True)
    normalised_weight = weight / jnp.where(total_weight > 0, total_weight, 1.0)
    mean = normalised_weight @ points
    right_side = distance**2 - jnp.sum(points**2, axis=1)
    right_side = right_side - jnp.sum(normalised_weight * right_side, axis=1, keepdims=True)
    covariance = (normalised_weight @ stress.outer_products(points, points)).reshape(-1, 3, 3) - mean[
        :, :, None
    ] * mean[:, None, :]
    trace = jnp.trace(covariance, axis1=1, axis2=2)
    is_determined = jnp.linalg.det(covariance) > 1e-3 * trace**3 / 27
    ridge = jnp.where(is_determined, 0.0, 0.01 * trace + 1e-6)
    moment = -0.5 * ((normalised_weight * right_side) @ points)
    centre = jnp.where(is_determined[:, None], 0.0, mean)
    moment = moment - stress.matrix_vector_products(covariance, centre)
    return centre + stress.matrix_vector_products(
        stress.inverse_matrices(covariance + ridge[:, None, None] * jnp.eye(3, dtype=covariance.dtype)), moment
    )


def multidimensional_scaling_start(
    pair: Float[Array, "atom atom"], weight: Float[Array, "atom atom"]
) -> Float[Array, "atom 3"]:
    r"""Return positions by classical multidimensional scaling (W. S. Torgerson (1952), doi 10.1007/BF02288916).

    The positions are the three eigenvectors of $-\frac{1}{2} J d^2 J$ with the largest eigenvalues, multiplied by the
    square roots of these eigenvalues. Here $d^2$ is the matrix of the squared distances, and the matrix J subtracts the
    mean. Missing distances are first estimated from the means of their rows, and then `N_REFILLS` times from the last
    positions.
    """
    is_known = weight > 0
    is_present = jnp.any(is_known, axis=1).astype(pair.dtype)
    pair_presence = is_present[:, None] * is_present[None, :]
    centring = jnp.diag(is_present) - pair_presence / jnp.maximum(jnp.sum(is_present), 1.0)
    n_known = jnp.maximum(jnp.sum(is_known, axis=1), 1)
    row_mean = jnp.sum(jnp.where(is_known, pair**2, 0.0), axis=1) / n_known
    overall_mean = jnp.sum(row_mean) / jnp.maximum(jnp.sum(is_present), 1.0)
    squared_distances = jnp.maximum(row_mean[:, None] + row_mean[None, :] - overall_mean, 0.0)

    def refill_and_embed(_, squared_distances):
        squared_distances = squared_distances * pair_presence * (1 - jnp.eye(len(pair), dtype=pair.dtype))
        eigenvalues, eigenvectors = jnp.linalg.eigh(
            -0.5 * centring @ jnp.where(is_known, pair**2, squared_distances) @ centring
        )
        return eigenvectors[:, -3:] * jnp.sqrt(jnp.maximum(eigenvalues[-3:], 0.0))

    positions = refill_and_embed(0, squared_distances)
    return lax.fori_loop(0, N_REFILLS, lambda k, x: refill_and_embed(k, distances(x, x) ** 2), positions)


def check_distances(pair, satellite, presence, anchors, *, pair_weight=None, satellite_weight=None) -> None:
    """Refuse distances that `trilaterate` cannot use. The check works on one item or a batch, but not inside `jit`.

    Raises:
        ValueError: If shapes disagree, if satellites are fewer than 4 or coplanar, if distances are negative, NaN,
            infinite or not symmetric, or if weights are negative, NaN or infinite. Distances of weight 0 are not
            checked.
    """
    satellite, anchors = np.asarray(satellite), np.asarray(anchors)
    n_atoms = np.asarray(presence).shape[-1]
    if satellite.shape[-2:] != (n_atoms, len(anchors)):
        raise ValueError(
            f"Expected satellite distances [{n_atoms}, {len(anchors)}] for {n_atoms} atoms and {len(anchors)} "
            "satellites, "
            f"got {list(satellite.shape[-2:])}."
        )
    check_pair_distances(pair, presence, pair_weight=pair_weight)
    if len(anchors) < 4 or np.linalg.matrix_rank(anchors - anchors.mean(axis=0), tol=1e-6) < 3:
        raise ValueError(
            f"Expected at least 4 satellites that are not coplanar, got {len(anchors)}; use representation.satellites."
        )
    _check_nonnegative("satellite", satellite, np.asarray(presence)[..., :, None], satellite_weight)


def check_pair_distances(pair, presence, *, pair_weight=None) -> None:
    """Refuse pair distances that `trilaterate_pairs` cannot use.

    Raises:
        ValueError: If pair distances or their weights are invalid, see `check_distances`.
    """
    pair, presence = np.asarray(pair), np.asarray(presence)
    n_atoms = presence.shape[-1]
    if pair.shape[-2:] != (n_atoms, n_atoms):
        raise ValueError(
            f"Expected pair distances [{n_atoms}, {n_atoms}] for {n_atoms} atoms, got {list(pair.shape[-2:])}."
        )
    pair_presence = presence[..., :, None] * presence[..., None, :] * (1 - np.eye(n_atoms))
    is_counted = _check_nonnegative("pair", pair, pair_presence, pair_weight)
    asymmetric_entries = np.argwhere(is_counted & (np.abs(pair - np.swapaxes(pair, -1, -2)) > 1e-3))
    if len(asymmetric_entries):
        *batch_index, i, j = asymmetric_entries[0].tolist()
        raise ValueError(
            f"Expected symmetric pair distances, got {pair[(*batch_index, i, j)]} at {[*batch_index, i, j]} and "
            f"{pair[(*batch_index, j, i)]} at {[*batch_index, j, i]}; {len(asymmetric_entries)} entries are asymmetric."
        )


def _check_nonnegative(name, distance, presence, weight):
    """Raise an error for invalid weights or distances, and return the mask of the distances that are used."""
    weight = np.ones_like(distance) if weight is None else np.asarray(weight)
    if weight.shape != distance.shape:
        raise ValueError(
            f"Expected a weight for each of the {name} distances {list(distance.shape)}, got {list(weight.shape)}."
        )
    is_counted = np.broadcast_to(presence > 0, distance.shape) & (weight != 0)
    for quantity, array, is_checked in (("weights", weight, True), ("distances", distance, is_counted)):
        bad_entries = np.argwhere(is_checked & ~((array >= 0) & np.isfinite(array)))
        if len(bad_entries):
            raise ValueError(
                f"Expected {name} {quantity} of at least 0, got {array[tuple(bad_entries[0])]} at "
                f"{bad_entries[0].tolist()} and {len(bad_entries) - 1} more such entries; give missing distances the "
                "weight 0."
            )
    return is_counted


def _stress_problem(pair, satellite, presence, anchors, pair_weight, satellite_weight, outlier_scale):
    """Return the stress problem. Negative weights become NaN, and so do negative distances unless their weight is 0."""
    pair_presence = presence[:, None] * presence[None, :] * (1 - np.eye(presence.size, dtype=presence.dtype))
    total_pair_weight = pair_presence if pair_weight is None else pair_presence * pair_weight
    total_satellite_weight = jnp.broadcast_to(presence[:, None], satellite.shape)
    total_satellite_weight = (
        total_satellite_weight if satellite_weight is None else total_satellite_weight * satellite_weight
    )
    symmetric_pair, symmetric_weight = _symmetrize(_zero_unweighted(pair, total_pair_weight), total_pair_weight)
    return stress.StressProblem(
        pair=symmetric_pair,
        satellite=_zero_unweighted(satellite, total_satellite_weight),
        pair_weight=_nan_if_negative(symmetric_weight),
        satellite_weight=_nan_if_negative(total_satellite_weight),
        absence=1 - presence,
        absent_positions=jnp.zeros((presence.size, 3), pair.dtype),
        anchors=anchors,
        outlier_scale=None if outlier_scale is None else jnp.asarray(outlier_scale, pair.dtype),
    )


def _symmetrize(distance, weight):
    """Return symmetric distances and weights whose stress differs from that of the given matrices by a constant.

    The gradient of the stress is written for symmetric matrices. Symmetric input is returned unchanged, bit by bit.
    Derivatives treat the fraction of the transposed weight as constant, because its derivative is infinite at vanishing
    weights.
    """
    total_weight = weight + weight.T
    transposed_fraction = lax.stop_gradient(weight.T / jnp.where(total_weight > 0, total_weight, 1.0))
    return distance + transposed_fraction * (distance.T - distance), total_weight / 2


def _zero_unweighted(distance, weight):
    return jnp.where(weight == 0, 0.0, _nan_if_negative(distance))


def _nan_if_negative(array):
    return jnp.where(array >= 0, array, jnp.nan)


def _refined_start(problem: stress.StressProblem):
    """Return positions from the distances to satellites and to the atoms whose positions the satellites determine.

    If outliers are expected, the solution is repeated with lower weights of distances with large errors (see
    `N_ROBUST_STARTS`).
    """
    is_determined = jnp.sum(problem.satellite_weight > 0, axis=1) >= 4
    weight = jnp.concatenate([problem.pair_weight * is_determined, problem.satellite_weight], axis=1)
    distance = jnp.concatenate([problem.pair, problem.satellite], axis=1)
    has_distances = jnp.any(weight > 0, axis=1)[:, None]

    def refine_positions(_, state):
        positions, robust_weight = state
        points = jnp.concatenate([positions, problem.anchors])
        positions = jnp.where(
            has_distances, linear_start(distance, points, weight=weight * robust_weight), problem.absent_positions
        )
        squared_error = (distances(positions, jnp.concatenate([positions, problem.anchors])) - distance) ** 2
        mean_square = stress.safe_ratio(
            stress.matrix_sum(weight * robust_weight * squared_error), stress.matrix_sum(weight * robust_weight)
        )
        return positions, stress.safe_ratio(mean_square, mean_square + squared_error) ** 2

    state = refine_positions(0, (problem.absent_positions, jnp.ones_like(weight)))
    return state[0] if problem.outlier_scale is None else lax.fori_loop(1, N_ROBUST_STARTS, refine_positions, state)[0]


def _solution(start, problem: stress.StressProblem, iterations, tolerance):
    """Return the minimum of the stress near the start, as a `Trilateration`."""

    @jaxopt.implicit_diff.custom_root(
        lambda positions, problem: stress.value_and_gradient(positions, problem)[1],
        has_aux=True,
        solve=partial(jaxopt.linear_solve.solve_cg, maxiter=100),
    )
    def minimise(start, problem):
        newton_positions, steps, is_finite = stress.gauss_newton_minimum(start, problem, tolerance)
        positions, error, lbfgs_steps, search_failed = stress.lbfgs_minimum(
            newton_positions, problem, iterations, tolerance
        )
        return positions, (error, steps + lbfgs_steps, search_failed, is_finite)

    positions, (error, steps, search_failed, is_finite) = minimise(lax.stop_gradient(start), problem)
    reason = jnp.where(
        error <= tolerance, REASON_CONVERGED, jnp.where(search_failed, REASON_LINE_SEARCH, REASON_ITERATIONS)
    )
    reason = jnp.where(is_finite, jnp.where(jnp.isfinite(error), reason, REASON_NOT_FINITE), REASON_BAD_DISTANCES)
    weights = sum(
        fraction * stress.matrix_sum(weight) for _, _, weight, fraction in stress.stress_terms(positions, problem)
    )
    loss = stress.value_and_gradient(positions, problem._replace(absence=jnp.zeros_like(problem.absence)))[0]
    return Trilateration(
        positions=jnp.where(is_finite, positions, jnp.nan),
        stress=jnp.where(is_finite, safe_sqrt(2 * len(positions) * loss / jnp.maximum(weights, 1e-6)), jnp.nan),
        iterations=steps,
        converged=reason == REASON_CONVERGED,
        reason=reason,
    )


def _without_rigid_motion(positions, presence):
    """Return positions relative to their mean. The derivatives contain no rotation or shift of the structure."""
    total_presence = jnp.maximum(jnp.sum(presence), 1e-6)

    def centre(x):
        return x - (presence @ x / total_presence)

    fixed_positions = lax.stop_gradient(centre(positions))
    displacement = centre(positions) - fixed_positions
    weighted_positions = presence[:, None] * fixed_positions
    inertia = (
        jnp.sum(weighted_positions * fixed_positions) * jnp.eye(3, dtype=positions.dtype)
        - weighted_positions.T @ fixed_positions
    )
    rotation = stress.matrix_vector_products(
        stress.inverse_matrices(inertia[None]), jnp.sum(jnp.cross(weighted_positions, displacement), axis=0)[None]
    )[0]
    return fixed_positions + displacement - jnp.cross(rotation[None, :], fixed_positions)
