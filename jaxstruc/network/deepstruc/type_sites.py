"""The sites of each structure type, in a canonical order and orientation. A particle is the set of its occupied sites.

The shapes of a type have common axes: the cubic axes along x, y and z, and the hexagonal or five-fold axis along z. The
mean of the atoms lies at the origin, but in hcp the first atom does, because the shapes are blocks of cells that grow
from it. The sites of a type are the positions of all its shapes in the list of DeepStruc. Octahedra have two lattices
of sites, and decahedra two columns, for the two parities of their edges.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.deepstruc_shapes import STRUCTURE_TYPES, deepstruc_family

SITE_TOLERANCE = 0.01
"""Largest distance between an atom and its site, in bond lengths."""


class SiteTable(NamedTuple):
    """The sites of all structure types, those of the first type first."""

    positions: Float[np.ndarray, "site 3"]
    """Positions in bond lengths, sorted by their distance from the origin within each type."""
    structure_type: Int[np.ndarray, " site"]
    """Index of the type in `STRUCTURE_TYPES`."""


def canonical_positions(shape: Cluster) -> Float[np.ndarray, "atom 3"]:
    """Return the positions of a shape with the origin of its type (see the module), in bond lengths."""
    positions = shape.positions
    return positions - (positions[0] if shape.family == "hcp" else positions.mean(axis=0))


@functools.cache
def site_table() -> SiteTable:
    """Return the sites of the list of DeepStruc. The result is cached. Copy it before you change it."""
    positions, structure_types = [], []
    for type_index, structure_type in enumerate(STRUCTURE_TYPES):
        shapes = [shape for shape in deepstruc_family() if shape.family == structure_type]
        rounded = np.round(np.concatenate([canonical_positions(shape) for shape in shapes]), 3) + 0.0
        distinct = np.unique(rounded, axis=0)
        x, y, z = distinct.T
        positions.append(distinct[np.lexsort((x, y, z, np.round(np.linalg.norm(distinct, axis=1), 3)))])
        structure_types.append(np.full(len(distinct), type_index))
    return SiteTable(np.concatenate(positions), np.concatenate(structure_types))


def site_occupancy(shapes: Sequence[Cluster]) -> Bool[np.ndarray, "shape site"]:
    """Return the occupied sites of each shape.

    Raises:
        ValueError: If a shape is of another type, or has an atom that lies on no site.
    """
    table = site_table()
    occupancy = np.zeros((len(shapes), len(table.positions)), bool)
    for row, shape in enumerate(shapes):
        if shape.family not in STRUCTURE_TYPES:
            raise ValueError(
                f"Expected shapes of the types {', '.join(STRUCTURE_TYPES)}, got {shape.family}; use preset deepstruc."
            )
        type_sites = np.flatnonzero(table.structure_type == STRUCTURE_TYPES.index(shape.family))
        separation, nearest = KDTree(table.positions[type_sites]).query(canonical_positions(shape))
        if separation.max() > SITE_TOLERANCE or len(set(nearest)) < len(nearest):
            raise ValueError(
                f"Expected the atoms of {shape.family} {shape.label} on the sites of its type, got a distance of "
                f"{separation.max():.3f} bond lengths; use shapes of preset deepstruc."
            )
        occupancy[row, type_sites[nearest]] = True
    return occupancy
