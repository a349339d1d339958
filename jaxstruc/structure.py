"""A cluster as padded arrays; to and from ASE; pair distances."""

from typing import NamedTuple

import ase
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Structure(NamedTuple):
    """A cluster of atoms. Padding rows have number 0, position 0 and mask False, and change nothing."""

    positions: Float[Array, "atom 3"]
    """Cartesian coordinates, in Å."""
    numbers: Int[Array, " atom"]
    """Atomic numbers."""
    mask: Bool[Array, " atom"]
    """True for atoms, False for padding."""


def from_ase(atoms: ase.Atoms, *, size: int | None = None) -> Structure:
    """Return the padded structure of a cluster.

    Args:
        atoms: the cluster; its cell and boundary conditions are not used.
        size: rows of the arrays, at least the number of atoms; by default that number.

    Raises:
        ValueError: where there is no atom, too many of them, or a position that is not finite.
    """
    count = len(atoms)
    size = count if size is None else size
    if not 0 < count <= size:
        raise ValueError(f"Expected 1 to {size} atoms, got {count}; pass a larger size.")
    if not np.isfinite(atoms.positions).all():
        raise ValueError("Expected finite positions, got NaN or infinity; mend the structure file.")
    padding = (0, size - count)
    return Structure(
        positions=jnp.asarray(np.pad(atoms.positions, (padding, (0, 0)))),
        numbers=jnp.asarray(np.pad(atoms.numbers, padding)),
        mask=jnp.arange(size) < count,
    )


def to_ase(structure: Structure) -> ase.Atoms:
    """Return the atoms of a structure, without its padding."""
    mask = np.asarray(structure.mask)
    return ase.Atoms(
        numbers=np.asarray(structure.numbers)[mask], positions=np.asarray(structure.positions, float)[mask]
    )


def distances(positions: Float[Array, "atom 3"]) -> Float[Array, "atom atom"]:
    r"""Return the pair distances $r_{ij} = |x_i - x_j|$, in the positions' unit.

    The gradient at coincident atoms, and on the diagonal, is zero.
    """
    return separation(positions, positions)


def separation(a: Float[Array, "a 3"], b: Float[Array, "b 3"]) -> Float[Array, "a b"]:
    """Return the distances from each point of `a` to each of `b`, with gradient zero where they coincide."""
    squared = jnp.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=-1)
    apart = squared > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)
