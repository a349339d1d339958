r"""Pair and satellite distances to coordinates: one problem for all atoms, batched and differentiable.

KDD 2020 section 4.2 places one atom after another. Here all atoms move together, from a closed-form start, to the
minimum of the weighted `stress`. Gauss-Newton steps come first, each solved roughly by conjugate gradients; L-BFGS
takes over what they leave, which is little: at 11 satellites, batch 256 and 2 cores this is about eight times faster
than L-BFGS from the closed-form start, at the same errors.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.network import stress
from jaxstruc.structures.distances import distances, root

REASONS = ("converged", "out of iterations", "line search failed", "negative or NaN distances", "not finite")
"""What the code in `Trilateration.reason` means."""
CONVERGED, EXHAUSTED, STUCK, REFUSED, DIVERGED = range(len(REASONS))

ROUNDS = 6
"""Linear starts where there are outliers, each with less weight on what the one before did not meet."""
REFILLS = 4
"""Times that missing pair distances are filled in from the positions found."""


class Trilateration(NamedTuple):
    """Coordinates and how they were found."""

    positions: Float[Array, "atom 3"]
    """In the distances' unit (radii of the particle); NaN for distances that are refused."""
    stress: Float[Array, ""]
    """Weighted root mean square difference of given and final distances; of a robust solution, root mean loss."""
    iterations: Int[Array, ""]
    """Gauss-Newton and L-BFGS steps together."""
    converged: Bool[Array, ""]
    """True where the gradient fell below the tolerance before the iterations ran out, and all is finite."""
    reason: Int[Array, ""]
    """Index into `REASONS`."""


def trilaterate(
    pair: Float[Array, "atom atom"],
    satellite: Float[Array, "atom satellite"],
    presence: Float[Array, " atom"],
    anchors: Float[Array, "satellite 3"],
    *,
    pair_weight: Float[Array, "atom atom"] | None = None,
    satellite_weight: Float[Array, "atom satellite"] | None = None,
    robust: float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Trilateration:
    """Return the coordinates whose distances agree best with those given.

    Derivatives in distances, weights, presence and satellites come by implicit differentiation at the solution.

    Args:
        pair: distances between atoms, symmetric; the diagonal is not read.
        satellite: distances from atoms to satellites.
        presence: weight of each atom, 0 (padding) to 1.
        anchors: the satellites, at least four that are not coplanar.
        pair_weight: weight of each pair distance, as 1 / variance; 0: missing, not read. All 1 by default, and all 0
            for a solution from satellites alone.
        satellite_weight: weight of each satellite distance, likewise.
        robust: distances that are off by more than this are outliers and count nothing, those off by less count less
            (Tukey's biweight, doi 10.1080/00401706.1974.10489171). 4.7 times the noise loses 5 % of the precision.
        iterations: most L-BFGS steps; what is not converged by then is flagged.
        tolerance: on the norm of the stress's gradient.
    """
    problem = _problem(pair, satellite, presence, anchors, pair_weight, satellite_weight, robust)
    problem = problem._replace(held=linear_start(problem.satellite, anchors, weight=satellite_weight))
    start = problem.held
    if pair_weight is not None or satellite_weight is not None or robust is not None:
        start = _second_start(problem)
    return _solution(start, problem, iterations, tolerance)


def from_pairs(
    pair: Float[Array, "atom atom"],
    presence: Float[Array, " atom"],
    *,
    pair_weight: Float[Array, "atom atom"] | None = None,
    robust: float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Trilateration:
    """Return coordinates from pair distances alone, up to rotation and mirror image, centred on the origin.

    The start is classical multidimensional scaling. Derivatives leave out rotations and shifts of the whole.

    Args:
        pair: as in `trilaterate`, as are the options.
        presence: weight of each atom, 0 (padding) to 1.
        pair_weight: weight of each pair distance; 0: missing.
        robust: scale of outliers, in the distances' unit.
        iterations: most L-BFGS steps.
        tolerance: on the norm of the stress's gradient.
    """
    none = jnp.zeros((presence.size, 0), pair.dtype)
    problem = _problem(pair, none, presence, jnp.zeros((0, 3), pair.dtype), pair_weight, None, robust)
    start = scaled_start(*lax.stop_gradient((problem.pair, problem.pair_weight)))
    found = _solution(start, problem._replace(held=start), iterations, tolerance)
    return found._replace(positions=_without_rigid_motion(found.positions, presence))


def batched(
    pair: Float[Array, "batch atom atom"],
    satellite: Float[Array, "batch atom satellite"],
    presence: Float[Array, "batch atom"],
    anchors: Float[Array, "satellite 3"],
    *,
    pair_weight: Float[Array, "batch atom atom"] | None = None,
    satellite_weight: Float[Array, "batch atom satellite"] | None = None,
    robust: float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Trilateration:
    """Return `trilaterate` of each item of a batch."""

    def one(pair, satellite, presence, weights):
        options = {"robust": robust, "iterations": iterations, "tolerance": tolerance}
        return trilaterate(
            pair, satellite, presence, anchors, pair_weight=weights[0], satellite_weight=weights[1], **options
        )

    return jax.vmap(one)(pair, satellite, presence, (pair_weight, satellite_weight))


def linear_start(
    distance: Float[Array, "atom point"],
    points: Float[Array, "point 3"],
    *,
    weight: Float[Array, "atom point"] | None = None,
) -> Float[Array, "atom 3"]:
    r"""Return the closed-form positions from distances to known points alone.

    $d_{ip}^2 - |a_p|^2 = -2 a_p \cdot x_i + |x_i|^2$ is linear in $x_i$ and $|x_i|^2$: least squares over the points.
    Where those of an atom do not fix it, it stays near the points' mean in the undetermined direction.
    """
    weight = jnp.ones_like(distance) if weight is None else weight
    total = jnp.sum(weight, axis=1, keepdims=True)
    share = weight / jnp.where(total > 0, total, 1.0)
    mean = share @ points
    known = distance**2 - jnp.sum(points**2, axis=1)
    known = known - jnp.sum(share * known, axis=1, keepdims=True)
    spread = (share @ stress.outer(points, points)).reshape(-1, 3, 3) - mean[:, :, None] * mean[:, None, :]
    size = jnp.trace(spread, axis1=1, axis2=2)
    fixed = jnp.linalg.det(spread) > 1e-3 * size**3 / 27
    ridge = jnp.where(fixed, 0.0, 0.01 * size + 1e-6)
    side = -0.5 * ((share * known) @ points)
    centre = jnp.where(fixed[:, None], 0.0, mean)
    side = side - stress.times(spread, centre)
    return centre + stress.times(
        stress.inverse_of(spread + ridge[:, None, None] * jnp.eye(3, dtype=spread.dtype)), side
    )


def scaled_start(pair: Float[Array, "atom atom"], weight: Float[Array, "atom atom"]) -> Float[Array, "atom 3"]:
    r"""Return positions by classical multidimensional scaling, Torgerson (1952), doi 10.1007/BF02288916.

    The three largest eigenvectors of $-\frac{1}{2} J d^2 J$, with J taking the mean out. Missing distances are filled
    in from the means of their rows, then from the positions so found, a few times.
    """
    known = weight > 0
    there = jnp.any(known, axis=1).astype(pair.dtype)
    both = there[:, None] * there[None, :]
    centring = jnp.diag(there) - both / jnp.maximum(jnp.sum(there), 1.0)
    count = jnp.maximum(jnp.sum(known, axis=1), 1)
    mean = jnp.sum(jnp.where(known, pair**2, 0.0), axis=1) / count
    overall = jnp.sum(mean) / jnp.maximum(jnp.sum(there), 1.0)
    guess = jnp.maximum(mean[:, None] + mean[None, :] - overall, 0.0)

    def improved(_, guess):
        guess = guess * both * (1 - jnp.eye(len(pair), dtype=pair.dtype))
        values, vectors = jnp.linalg.eigh(-0.5 * centring @ jnp.where(known, pair**2, guess) @ centring)
        return vectors[:, -3:] * jnp.sqrt(jnp.maximum(values[-3:], 0.0))

    positions = improved(0, guess)
    return lax.fori_loop(0, REFILLS, lambda k, x: improved(k, distances(x, x) ** 2), positions)


def check(pair, satellite, presence, anchors, *, pair_weight=None, satellite_weight=None) -> None:
    """Refuse distances that cannot be trilaterated; for the edge, not inside `jit`. Batches are welcome.

    Raises:
        ValueError: for shapes that disagree, too few or coplanar satellites, distances that are negative, NaN, infinite
            or not symmetric, weights that are negative, NaN or infinite. Distances of weight 0 are not looked at.
    """
    satellite, anchors = np.asarray(satellite), np.asarray(anchors)
    atoms = np.asarray(presence).shape[-1]
    if satellite.shape[-2:] != (atoms, len(anchors)):
        raise ValueError(
            f"Expected satellite distances [{atoms}, {len(anchors)}] for {atoms} atoms and {len(anchors)} satellites, "
            f"got {list(satellite.shape[-2:])}."
        )
    check_pairs(pair, presence, pair_weight=pair_weight)
    if len(anchors) < 4 or np.linalg.matrix_rank(anchors - anchors.mean(axis=0), tol=1e-6) < 3:
        raise ValueError(
            f"Expected at least 4 satellites that are not coplanar, got {len(anchors)}; see representation.satellites."
        )
    _refuse("satellite", satellite, np.asarray(presence)[..., :, None], satellite_weight)


def check_pairs(pair, presence, *, pair_weight=None) -> None:
    """Refuse pair distances as `check` does; for `from_pairs`.

    Raises:
        ValueError: see `check`.
    """
    pair, presence = np.asarray(pair), np.asarray(presence)
    atoms = presence.shape[-1]
    if pair.shape[-2:] != (atoms, atoms):
        raise ValueError(f"Expected pair distances [{atoms}, {atoms}] for {atoms} atoms, got {list(pair.shape[-2:])}.")
    present = presence[..., :, None] * presence[..., None, :] * (1 - np.eye(atoms))
    counted = _refuse("pair", pair, present, pair_weight)
    uneven = np.argwhere(counted & (np.abs(pair - np.swapaxes(pair, -1, -2)) > 1e-3))
    if len(uneven):
        *item, i, j = uneven[0].tolist()
        raise ValueError(
            f"Expected symmetric pair distances, got {pair[(*item, i, j)]} at {[*item, i, j]} and "
            f"{pair[(*item, j, i)]} at {[*item, j, i]}; {len(uneven)} such entries."
        )


def _refuse(name, distance, present, weight):
    """Raise for weights or counted distances that are not finite or negative; return which distances count."""
    weight = np.ones_like(distance) if weight is None else np.asarray(weight)
    if weight.shape != distance.shape:
        raise ValueError(
            f"Expected a weight for each of the {name} distances {list(distance.shape)}, got {list(weight.shape)}."
        )
    counted = np.broadcast_to(present > 0, distance.shape) & (weight != 0)
    for what, given, looked in (("weights", weight, True), ("distances", distance, counted)):
        bad = np.argwhere(looked & ~((given >= 0) & np.isfinite(given)))
        if len(bad):
            raise ValueError(
                f"Expected {name} {what} of at least 0, got {given[tuple(bad[0])]} at {bad[0].tolist()} and "
                f"{len(bad) - 1} more such; give missing distances the weight 0."
            )
    return counted


def _problem(pair, satellite, presence, anchors, pair_weight, satellite_weight, robust):
    """Return the problem, NaN where a distance or weight that counts is negative or NaN."""
    present = presence[:, None] * presence[None, :] * (1 - np.eye(presence.size, dtype=presence.dtype))
    wanted = present if pair_weight is None else present * pair_weight
    seen = jnp.broadcast_to(presence[:, None], satellite.shape)
    seen = seen if satellite_weight is None else seen * satellite_weight
    return stress.Problem(
        pair=_counted(pair, wanted),
        satellite=_counted(satellite, seen),
        pair_weight=_not_negative(wanted),
        satellite_weight=_not_negative(seen),
        hold=1 - presence,
        held=jnp.zeros((presence.size, 3), pair.dtype),
        anchors=anchors,
        scale=None if robust is None else jnp.asarray(robust, pair.dtype),
    )


def _counted(distance, weight):
    return jnp.where(weight == 0, 0.0, _not_negative(distance))


def _not_negative(given):
    return jnp.where(given >= 0, given, jnp.nan)


def _second_start(problem: stress.Problem):
    """Return the positions from satellites and from the atoms that these fixed; with outliers, a few times."""
    fixed = jnp.sum(problem.satellite_weight > 0, axis=1) >= 4
    weight = jnp.concatenate([problem.pair_weight * fixed, problem.satellite_weight], axis=1)
    distance = jnp.concatenate([problem.pair, problem.satellite], axis=1)
    some = jnp.any(weight > 0, axis=1)[:, None]

    def placed(_, state):
        positions, share = state
        points = jnp.concatenate([positions, problem.anchors])
        positions = jnp.where(some, linear_start(distance, points, weight=weight * share), problem.held)
        squared = (distances(positions, jnp.concatenate([positions, problem.anchors])) - distance) ** 2
        mean = stress.ratio(stress.total(weight * share * squared), stress.total(weight * share))
        return positions, stress.ratio(mean, mean + squared) ** 2

    state = placed(0, (problem.held, jnp.ones_like(weight)))
    return state[0] if problem.scale is None else lax.fori_loop(1, ROUNDS, placed, state)[0]


def _solution(start, problem: stress.Problem, iterations, tolerance):
    """Return the minimum of the stress near the start."""

    @jaxopt.implicit_diff.custom_root(
        lambda positions, problem: stress.value_and_gradient(positions, problem)[1],
        has_aux=True,
        solve=partial(jaxopt.linear_solve.solve_cg, maxiter=100),
    )
    def minimum(start, problem):
        near, steps, sound = stress.gauss_newton(start, problem, tolerance)
        positions, error, more, failed = stress.lbfgs(near, problem, iterations, tolerance)
        return positions, (error, steps + more, failed, sound)

    positions, (error, steps, failed, sound) = minimum(lax.stop_gradient(start), problem)
    reason = jnp.where(error <= tolerance, CONVERGED, jnp.where(failed, STUCK, EXHAUSTED))
    reason = jnp.where(sound, jnp.where(jnp.isfinite(error), reason, DIVERGED), REFUSED)
    weights = sum(share * stress.total(weight) for _, _, weight, share in stress.terms(positions, problem))
    loss = stress.value_and_gradient(positions, problem._replace(hold=jnp.zeros_like(problem.hold)))[0]
    return Trilateration(
        positions=jnp.where(sound, positions, jnp.nan),
        stress=jnp.where(sound, root(2 * len(positions) * loss / jnp.maximum(weights, 1e-6)), jnp.nan),
        iterations=steps,
        converged=reason == CONVERGED,
        reason=reason,
    )


def _without_rigid_motion(positions, presence):
    """Return positions about their mean, whose derivatives hold no rotation or shift of the whole."""
    total = jnp.maximum(jnp.sum(presence), 1e-6)

    def centred(x):
        return x - (presence @ x / total)

    fixed = lax.stop_gradient(centred(positions))
    move = centred(positions) - fixed
    weighted = presence[:, None] * fixed
    inertia = jnp.sum(weighted * fixed) * jnp.eye(3, dtype=positions.dtype) - weighted.T @ fixed
    turn = stress.times(stress.inverse_of(inertia[None]), jnp.sum(jnp.cross(weighted, move), axis=0)[None])[0]
    return fixed + move - jnp.cross(turn[None, :], fixed)
