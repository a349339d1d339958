"""Coordinates of a cluster refined against a measured G(r), held back to where they were.

What is minimised, by `jaxopt.LBFGS`: half the misfit in units of its expected noise (as many as there are independent
points), plus half the squared moves in units of the restraint, plus a penalty on distances under `CLOSEST` bonds.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
from jaxtyping import Array, Float

from jaxstruc.inference.target import Basis
from jaxstruc.inference.values import Values, misfit
from jaxstruc.scattering import templates
from jaxstruc.structures.atoms import CLOSEST
from jaxstruc.structures.distances import distances

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

    def cost(moved):
        short = jnp.maximum(CLOSEST * basis.bond - distances(moved), 0.0)
        close = 0.5 * STIFFNESS * jnp.sum(jnp.where(off_diagonal, short, 0.0) ** 2)
        away = jnp.sum((moved - positions) ** 2) / restraint**2
        return 0.5 * squares(moved) / noise + 0.5 * away + close

    found = jaxopt.LBFGS(cost, maxiter=STEPS, tol=1e-3).run(positions).params
    return Relaxed(
        positions=found,
        rw=jnp.sqrt(squares(found) / basis.norm),
        moved=jnp.sqrt(jnp.mean(jnp.sum((found - positions) ** 2, axis=1))),
    )
