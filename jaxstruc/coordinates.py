"""Coordinates of a cluster refined against a measured G(r), held back to where they were.

What is minimised, by `jaxopt.LBFGS`: half the misfit in units of its expected noise (as many as there are independent
points), plus half the squared moves in units of the restraint, plus a penalty on distances under `CLOSEST` bonds.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
from jaxtyping import Array, Float

from jaxstruc import refinement, structure, templates
from jaxstruc.observed import Target
from jaxstruc.refinement import Values
from jaxstruc.templates import Span

CLOSEST = 0.85
"""Bonds. Shorter distances are penalised."""
STIFFNESS = 100.0
"""Cost of a distance one Å too short, squared."""
STEPS = 150


class Relaxed(NamedTuple):
    """Refined coordinates."""

    positions: Float[Array, "atom 3"]
    """Å"""
    rw: Float[Array, ""]
    moved: Float[Array, ""]
    """Å. Root mean square move of an atom."""


@partial(jax.jit, static_argnames="span")
def relax(
    positions: Float[Array, "atom 3"], values: Values, target: Target, *, span: Span, restraint: float
) -> Relaxed:
    """Return the coordinates that fit the data best without moving far.

    Args:
        positions: where the fit ended, in Å, not stretched.
        values: of that fit; held.
        target: the data.
        span: what the target was made for.
        restraint: move of an atom that costs as much as one standard deviation of the noise, in Å.
    """
    presence = jnp.ones(positions.shape[0], positions.dtype)
    off_diagonal = ~jnp.eye(positions.shape[0], dtype=bool)

    def misfit(moved):
        table = templates.of_distances(structure.distances(moved), presence, target.bond, span=span)
        return refinement.misfit(table, values, target, span=span)

    noise = misfit(positions) / target.independent

    def cost(moved):
        short = jnp.maximum(CLOSEST * target.bond - structure.distances(moved), 0.0)
        close = 0.5 * STIFFNESS * jnp.sum(jnp.where(off_diagonal, short, 0.0) ** 2)
        away = jnp.sum((moved - positions) ** 2) / restraint**2
        return 0.5 * misfit(moved) / noise + 0.5 * away + close

    found = jaxopt.LBFGS(cost, maxiter=STEPS, tol=1e-3).run(positions).params
    return Relaxed(
        positions=found,
        rw=jnp.sqrt(misfit(found) / target.norm),
        moved=jnp.sqrt(jnp.mean(jnp.sum((found - positions) ** 2, axis=1))),
    )
