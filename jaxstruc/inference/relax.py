"""Coordinates of a cluster refined against a measured G(r), held back to where they were.

What is minimised, by `optax.lbfgs`: half the misfit in units of its expected noise (as many as there are independent
points), plus half the squared moves in units of the restraint, plus a penalty on distances under `CLOSEST` bonds.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxstruc.inference.target import Basis
from jaxstruc.inference.values import Values, misfit
from jaxstruc.scattering import templates
from jaxstruc.structures.atoms import CLOSEST
from jaxstruc.structures.distances import distances

STIFFNESS = 100.0
"""Cost of a distance one Å too short, squared."""
STEPS = 150
"""Most of the descent."""
ENOUGH = 1e-3
"""What may be left to gain of the cost, of which half a unit is one standard deviation of the noise."""


class Relaxed(NamedTuple):
    """Refined coordinates."""

    positions: Float[Array, "atom 3"]
    """Å"""
    rw: Float[Array, ""]
    moved: Float[Array, ""]
    """Å. Root mean square move of an atom."""


@jax.jit
def relax(positions: Float[Array, "atom 3"], values: Values, basis: Basis, *, restraint: float) -> Relaxed:
    """Return the coordinates that fit the data best without moving far.

    Args:
        positions: where the fit ended, in Å, not stretched.
        values: of that fit; held.
        basis: the data, of a target.
        restraint: move of an atom that costs as much as one standard deviation of the noise, in Å.
    """
    presence = jnp.ones(positions.shape[0], positions.dtype)
    off_diagonal = ~jnp.eye(positions.shape[0], dtype=bool)

    def squares(moved):
        table = templates.of_distances(distances(moved), presence, basis.bond, span=basis.span)
        return misfit(table, values, basis)

    noise = squares(positions) / basis.independent

    def cost(moves):
        moved = positions + restraint * moves
        short = jnp.maximum(CLOSEST * basis.bond - distances(moved), 0.0)
        close = 0.5 * STIFFNESS * jnp.sum(jnp.where(off_diagonal, short, 0.0) ** 2)
        return 0.5 * squares(moved) / noise + 0.5 * jnp.sum(moves**2) + close

    found = positions + restraint * _minimum(cost, jnp.zeros_like(positions))
    return Relaxed(
        positions=found,
        rw=jnp.sqrt(squares(found) / basis.norm),
        moved=jnp.sqrt(jnp.mean(jnp.sum((found - positions) ** 2, axis=1))),
    )


def _minimum(cost: Callable[[Array], Array], start: Array) -> Array:
    """Return where a cost is least, to `ENOUGH`.

    The moves' own term has curvature 1 and the others add to it near a minimum, so that half the squared gradient is at
    least what is left to gain.
    """
    descent = optax.lbfgs()
    slope = optax.value_and_grad_from_state(cost)

    def step(state):
        moves, memory, count = state
        value, gradient = slope(moves, state=memory)
        update, memory = descent.update(gradient, memory, moves, value=value, grad=gradient, value_fn=cost)
        return optax.apply_updates(moves, update), memory, count + 1

    def going(state):
        _, memory, count = state
        left = 0.5 * jnp.sum(optax.tree.get(memory, "grad") ** 2)
        return (count == 0) | ((left > ENOUGH) & (count < STEPS))

    return jax.lax.while_loop(going, step, (start, descent.init(start), jnp.asarray(0)))[0]
