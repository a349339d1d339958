"""Containers for clusters, and their conversion to and from ASE.

A `Structure` holds padded arrays in Å. A `Cluster` has a name and a nearest-neighbour distance of 1.
"""

from typing import NamedTuple

import ase
import ase.io
import ase.io.cif
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

MIN_ATOM_DISTANCE = 0.85
"""Smallest plausible distance between two atoms, in units of the bond length."""


class Structure(NamedTuple):
    """A cluster of atoms as padded arrays. Padding rows have number 0, position 0 and mask False."""

    positions: Float[Array, "atom 3"]
    """Cartesian coordinates in Å."""
    numbers: Int[Array, " atom"]
    """Atomic numbers."""
    mask: Bool[Array, " atom"]
    """Mask of the rows that hold atoms. It is False for padding."""


class Cluster(NamedTuple):
    """A cluster with a nearest-neighbour distance of 1, and the labels that identify it."""

    family: str
    """Name of the family, a key of `families.FAMILIES` for a cluster of the library."""
    label: str
    """Parameters of the cluster within its family, e.g. "layers 2-3-4 of (100)(110)(111)"."""
    positions: np.ndarray
    """Positions [atom, 3] in units of the nearest-neighbour distance."""

    def to_ase(self, symbol: str, bond: float) -> ase.Atoms:
        """Return the cluster as atoms of one element, with the nearest-neighbour distance `bond` in Å."""
        return ase.Atoms([symbol] * len(self.positions), positions=self.positions * bond)


def from_ase(atoms: ase.Atoms, *, n_rows: int | None = None) -> Structure:
    """Return the padded structure of a cluster.

    Args:
        atoms: Cluster with positions in Å. Its unit cell and its boundary conditions are not used.
        n_rows: Number of rows of the arrays, at least the number of atoms. The default is the number of atoms.

    Raises:
        ValueError: If there are no atoms or more than `n_rows`, or if a position is not finite.
    """
    n_atoms = len(atoms)
    n_rows = n_atoms if n_rows is None else n_rows
    if not 0 < n_atoms <= n_rows:
        raise ValueError(f"Expected 1 to {n_rows} atoms, got {n_atoms}; pass a larger n_rows.")
    if not np.isfinite(atoms.positions).all():
        raise ValueError("Expected finite positions, got NaN or infinity; correct the structure.")
    padding = (0, n_rows - n_atoms)
    return Structure(
        positions=jnp.asarray(np.pad(atoms.positions, (padding, (0, 0)))),
        numbers=jnp.asarray(np.pad(atoms.numbers, padding)),
        mask=jnp.arange(n_rows) < n_atoms,
    )


def to_ase(structure: Structure) -> ase.Atoms:
    """Return the atoms of a structure, without the padding."""
    mask = np.asarray(structure.mask)
    return ase.Atoms(
        numbers=np.asarray(structure.numbers)[mask], positions=np.asarray(structure.positions, float)[mask]
    )
