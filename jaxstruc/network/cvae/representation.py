"""A structure is represented by the distances between its atoms and from its atoms to fixed points, the satellites.

This is the representation of KDD 2020, section 3 (see `model`). The structure is scaled, so that one atom lies at the
origin and the farthest atom lies on the unit sphere. The satellites lie on this sphere. The scaling removes the size of
the particle, and padding hides its number of atoms. The representation therefore includes the radius in Å and the
presence of each atom.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstruc.clusters.cluster import Structure
from jaxstruc.clusters.distances import distances


class Features(NamedTuple):
    """The representation of a structure inside the unit sphere. Rows of padding are zero."""

    pair: Float[Array, "atom atom"]
    """Distances between atoms in units of the particle's radius."""
    satellite: Float[Array, "atom satellite"]
    """Distances from atoms to satellites in units of the particle's radius."""
    presence: Bool[Array, " atom"]
    """True for atoms, False for padding."""
    radius: Float[Array, ""]
    """Distance from the atom at the origin to the farthest atom, in Å."""


def satellites(count: int) -> Float[np.ndarray, "satellite 3"]:
    """Return the positions of satellites on the unit sphere: a tetrahedron for 4 points, a golden spiral for more.

    Raises:
        ValueError: If there are fewer than 4 satellites, because they cannot determine a position in space.
    """
    if count < 4:
        raise ValueError(f"Expected at least 4 satellites, got {count}; fewer do not determine a position in space.")
    if count == 4:
        return np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    k = np.arange(count)
    height = 1 - (2 * k + 1) / count
    azimuth = np.pi * (1 + np.sqrt(5)) * k
    ring_radius = np.sqrt(1 - height**2)
    return np.stack([ring_radius * np.cos(azimuth), ring_radius * np.sin(azimuth), height], axis=1)


def order_atoms(structure: Structure) -> Structure:
    """Return the structure with its most central atom at the origin and its atoms sorted by distance from the origin.

    Rows of padding are last. Atoms of equal distance are sorted by z, then y, then x, so that the order does not depend
    on the order of the input.
    """
    mask = structure.mask
    centre = jnp.sum(structure.positions * mask[:, None], axis=0) / jnp.sum(mask)
    centre_distances = _round_lengths(jnp.linalg.norm(structure.positions - centre, axis=1))
    central_atom = _lexicographic_order(jnp.where(mask, centre_distances, jnp.inf), structure.positions)[0]
    positions = structure.positions - structure.positions[central_atom]
    origin_distances = _round_lengths(jnp.linalg.norm(positions, axis=1))
    order = _lexicographic_order(jnp.where(mask, origin_distances, jnp.inf), positions)
    positions = jnp.where(mask[order][:, None], positions[order], 0.0)
    return Structure(positions, structure.numbers[order], mask[order])


def unit_sphere_features(structure: Structure, anchors: Float[Array, "satellite 3"]) -> Features:
    """Return the representation of a structure, with its atoms sorted by `order_atoms`.

    Args:
        structure: Structure of at least two atoms, in Å.
        anchors: Positions of the satellites on the unit sphere, see `satellites`.
    """
    ordered_structure = order_atoms(structure)
    mask = ordered_structure.mask
    radius = jnp.max(jnp.linalg.norm(ordered_structure.positions, axis=1))
    unit_positions = ordered_structure.positions / radius
    return Features(
        pair=distances(unit_positions) * mask[:, None] * mask[None, :],
        satellite=distances(unit_positions, jnp.asarray(anchors, unit_positions.dtype)) * mask[:, None],
        presence=mask,
        radius=radius,
    )


def upper_triangle(pair: Float[Array, "*batch atom atom"]) -> Float[Array, "*batch pair"]:
    """Return the entries i < j of symmetric matrices, row by row."""
    rows, columns = np.triu_indices(pair.shape[-1], 1)
    return pair[..., rows, columns]


def symmetric_matrix(entries: Float[Array, "*batch pair"], atoms: int) -> Float[Array, "*batch atom atom"]:
    """Return the symmetric matrices with the given entries i < j (row by row) and a zero diagonal."""
    rows, columns = np.triu_indices(atoms, 1)
    index = np.zeros((atoms, atoms), int)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    return entries[..., index] * (1 - np.eye(atoms, dtype=entries.dtype))


def _round_lengths(lengths):
    """Return lengths rounded to 1e-3 Å, so that rounding errors do not change the order of equal lengths."""
    return jnp.round(lengths, 3)


def _lexicographic_order(primary_key, positions):
    x, y, z = _round_lengths(positions).T
    return jnp.lexsort((x, y, z, primary_key))
