"""Coordinates of a cluster refined against a measured G(r), held back to where they were.

What is minimised, by L-BFGS (optax's): half the misfit in units of its expected noise (as many as there are independent
points), plus half the squared moves in units of the restraint, plus a penalty on distances under `MIN_ATOM_DISTANCE`
bonds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.clusters.cluster import MIN_ATOM_DISTANCE
from jaxstruc.clusters.distances import distances
from jaxstruc.pdf.fit import FitValues, misfit
from jaxstruc.pdf.target import FitBasis
from jaxstruc.scattering import cluster_tables
from jaxstruc.statistics import rounding_of_squares, squares_floor

OVERLAP_STIFFNESS = 100.0
"""Cost of a distance one Å too short, squared."""
MAX_STEPS = 150
"""Largest number of steps."""
COST_TOLERANCE = 1e-3
"""Remaining decrease of the cost at which the relaxation ends; half a unit is one standard deviation of the noise."""


class RelaxedStructure(NamedTuple):
    """Refined coordinates."""

    positions: Float[Array, "atom 3"]
    """Å"""
    rw: Float[Array, ""]
    rms_displacement: Float[Array, ""]
    """Å. Root mean square move of an atom."""


@jax.jit
def relax(
    positions: Float[Array, "atom 3"], values: FitValues, basis: FitBasis, *, restraint: float
) -> RelaxedStructure:
    """Return the coordinates that fit the data best without moving far.

    Args:
        positions: where the fit ended, in Å, not stretched.
        values: of that fit; held.
        basis: the data, of a target.
        restraint: move of an atom that costs as much as one standard deviation of the noise, in Å.
    """
    site_presence = jnp.ones(positions.shape[0], positions.dtype)
    off_diagonal = ~jnp.eye(positions.shape[0], dtype=bool)

    def squares(displaced_positions):
        cluster_table = cluster_tables.tabulate_distances(
            distances(displaced_positions), site_presence, basis.bond, span=basis.span
        )
        return misfit(cluster_table, values, basis)

    start_squares = squares(positions)
    noise_variance = jnp.maximum(start_squares, squares_floor(basis.norm)) / basis.n_independent

    def cost(displacements):
        displaced_positions = positions + restraint * displacements
        overlap = jnp.maximum(MIN_ATOM_DISTANCE * basis.bond - distances(displaced_positions), 0.0)
        overlap_penalty = 0.5 * OVERLAP_STIFFNESS * jnp.sum(jnp.where(off_diagonal, overlap, 0.0) ** 2)
        return 0.5 * squares(displaced_positions) / noise_variance + 0.5 * jnp.sum(displacements**2) + overlap_penalty

    rounding = 0.5 * rounding_of_squares(start_squares, basis.norm) / noise_variance
    relaxed_positions = positions + restraint * _minimize(cost, jnp.zeros_like(positions), rounding=rounding)
    return RelaxedStructure(
        positions=relaxed_positions,
        rw=jnp.sqrt(squares(relaxed_positions) / basis.norm),
        rms_displacement=jnp.sqrt(jnp.mean(jnp.sum((relaxed_positions - positions) ** 2, axis=1))),
    )


class _RelaxationState(NamedTuple):
    """State of the relaxation after some steps."""

    displacements: Float[Array, "..."]
    """Best displacements that have been evaluated."""
    optimizer_state: optax.OptState
    steps: Int[Array, ""]
    is_stalled: Bool[Array, ""]
    """Whether the last step has lowered the cost by no more than its rounding."""


def _minimize(cost: Callable[[Array], Array], start: Array, *, rounding: Float[Array, ""] | float = 0.0) -> Array:
    """Return the minimum of a cost, to `COST_TOLERANCE` or rounding; never a point of a higher cost than the start.

    The moves' own term has curvature 1 and the others add to it near a minimum, so that half the squared gradient is at
    least what is left to gain.

    Args:
        cost: of moves.
        start: the first moves.
        rounding: error of the cost's data term; that of the cost's own size is added to it.
    """
    # As optax.lbfgs has them, but for pairs without curvature.
    line_search = optax.scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one")
    optimizer = optax.chain(_without_flat_pairs(optax.scale_by_lbfgs()), optax.scale(-1.0), line_search)
    value_and_gradient = optax.value_and_grad_from_state(cost)
    epsilon = jnp.finfo(start.dtype).eps

    def step(state: _RelaxationState) -> _RelaxationState:
        value, gradient = value_and_gradient(state.displacements, state=state.optimizer_state)
        update, optimizer_state = optimizer.update(
            gradient, state.optimizer_state, state.displacements, value=value, grad=gradient, value_fn=cost
        )
        decrease = value - optax.tree.get(optimizer_state, "value")
        new_displacements: Any = optax.apply_updates(state.displacements, update)
        best_displacements = jnp.where(decrease > 0, new_displacements, state.displacements)
        return _RelaxationState(
            best_displacements, optimizer_state, state.steps + 1, ~(decrease > rounding + epsilon * jnp.abs(value))
        )

    def unfinished(state: _RelaxationState) -> Bool[Array, ""]:
        remaining_gain = 0.5 * jnp.sum(optax.tree.get(state.optimizer_state, "grad") ** 2)
        return (state.steps == 0) | ((remaining_gain > COST_TOLERANCE) & (state.steps < MAX_STEPS) & ~state.is_stalled)

    initial_state = _RelaxationState(start, optimizer.init(start), jnp.asarray(0), jnp.asarray(False))
    return jax.lax.while_loop(unfinished, step, initial_state).displacements


def _without_flat_pairs(lbfgs: optax.GradientTransformation) -> optax.GradientTransformation:
    r"""Return an L-BFGS memory in which pairs without curvature count nothing.

    Of a step s that changes the gradient by y, $s \cdot y$ has to exceed $\sqrt{\epsilon} |s| |y|$, and |y| the
    gradient's rounding; the pair is else one of zeros, which optax gives the weight 0.
    """

    def update(updates, state: Any, params: Any = None):
        step, gradient_change = params - state.params, updates - state.updates
        epsilon = jnp.finfo(params.dtype).eps
        change_norm = jnp.linalg.norm(gradient_change)
        has_curvature = jnp.sum(step * gradient_change) > epsilon**0.5 * jnp.linalg.norm(step) * change_norm
        has_curvature &= change_norm > epsilon * jnp.linalg.norm(updates)
        previous = jnp.where(has_curvature, state.params, params), jnp.where(has_curvature, state.updates, updates)
        return lbfgs.update(updates, state._replace(params=previous[0], updates=previous[1]), params)

    return optax.GradientTransformation(lbfgs.init, update)
