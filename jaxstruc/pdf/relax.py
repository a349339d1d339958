r"""Refinement of the coordinates of a cluster against a measured G(r), with a restraint to the initial coordinates.

L-BFGS (from optax) minimizes the cost

$$\frac{n}{2} \frac{S(x)}{S(0)} + \frac{1}{2} \sum_i \frac{|x_i|^2}{\rho^2}
+ \frac{k}{2} \sum_{i \neq j} \max(d_0 - d_{ij}, 0)^2.$$

Here $x_i$ is the displacement of atom i, S is the sum of squared residuals, n is the number of independent points, and
$\rho$ is the restraint in Å. The last term is a penalty on distances $d_{ij}$ below $d_0$, which is `MIN_ATOM_DISTANCE`
bond lengths.
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
"""Stiffness k of the penalty on short distances, in 1/Å²."""
MAX_STEPS = 150
"""Largest number of L-BFGS steps."""
COST_TOLERANCE = 1e-3
"""Estimated remaining decrease of the cost below which the minimization ends. A cost of 1/2 corresponds to one standard
deviation of the noise."""


class RelaxedStructure(NamedTuple):
    """Refined coordinates of a cluster."""

    positions: Float[Array, "atom 3"]
    """Refined positions of the atoms, in Å."""
    rw: Float[Array, ""]
    """Rw of the refined structure."""
    rms_displacement: Float[Array, ""]
    """Root mean square displacement of the atoms, in Å."""


@jax.jit
def relax(
    positions: Float[Array, "atom 3"], values: FitValues, basis: FitBasis, *, restraint: float
) -> RelaxedStructure:
    """Return the coordinates that minimize the cost: the misfit and penalties on displacements and short distances.

    Args:
        positions: Initial positions in Å, before the stretch is applied.
        values: Fitted values of the initial structure, which are kept fixed.
        basis: Measured data in their compact basis (`pdf.target`).
        restraint: Standard deviation of the displacements in Å. A displacement of this length costs as much as a misfit
            of one standard deviation.
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
    """Best displacements so far, in units of the restraint."""
    optimizer_state: optax.OptState
    steps: Int[Array, ""]
    is_stalled: Bool[Array, ""]
    """Whether the last step lowered the cost by no more than its rounding error."""


def _minimize(cost: Callable[[Array], Array], start: Array, *, rounding: Float[Array, ""] | float = 0.0) -> Array:
    """Return the displacements with the minimum cost, within `COST_TOLERANCE` or the rounding error of the cost.

    Their cost is never higher than that of the start. The restraint has curvature 1, and the other terms add to it near
    a minimum. Half the squared gradient is therefore an upper limit on the remaining decrease of the cost.

    Args:
        cost: Function that returns the cost of displacements in units of the restraint.
        start: Initial displacements.
        rounding: Rounding error of the misfit term. The rounding error of the sum of all terms is added to it.
    """
    # These are the components of optax.lbfgs, with a filter that ignores pairs without curvature.
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
    r"""Return an L-BFGS transformation that ignores pairs without curvature.

    L-BFGS stores pairs of a step s and the change y of the gradient. With the machine precision $\epsilon$, a pair is
    used only if $s \cdot y$ exceeds $\sqrt{\epsilon}\, |s|\, |y|$ and if |y| exceeds the rounding error of the
    gradient. Otherwise s and y are replaced by zeros, and optax gives the pair the weight 0.
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
