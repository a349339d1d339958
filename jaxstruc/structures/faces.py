"""Directions of the faces that particles of a packing may have, by families of equivalent ones."""

import itertools
import math

import numpy as np

from jaxstruc.structures import hosts, lattices


def face_families(packing: str) -> tuple[np.ndarray, ...]:
    """Return families of directions [face, 3] of length 1.

    Args:
        packing: bcc, sc, icosahedron or decahedron, turned as `hosts.points` does; fcc, hcp or stack, with layers along
            z as in `lattices.stack`.
    """
    if packing in ("bcc", "sc"):
        return cubic_faces()
    if packing == "icosahedron":
        return icosahedron_faces()
    if packing == "decahedron":
        return decahedron_faces(hosts.packing_sites("decahedron", 3))
    if packing == "fcc":
        return fcc_faces()
    if packing == "hcp":
        return hcp_faces()
    mirror = np.array([1.0, 1.0, -1.0])
    octahedron, cube, _ = fcc_faces()
    slopes = [family[abs(family[:, 2]) < 0.9] for family in (octahedron, cube)]
    return *hcp_faces(), *(np.concatenate([family, family * mirror]) for family in slopes)


def cubic_faces() -> tuple[np.ndarray, ...]:
    """Return the directions of {100}, {110} and {111} of a cubic lattice along the axes."""
    directions = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))
    lengths = np.linalg.norm(directions, axis=1)
    return tuple(directions[np.isclose(lengths**2, k)] / math.sqrt(k) for k in (1, 2, 3))


def fcc_faces() -> tuple[np.ndarray, ...]:
    """Return the directions of {111}, {100} and {110} of fcc with [111] along z."""
    angles = math.pi / 2 + np.arange(3) * 2 * math.pi / 3
    in_plane_directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    octahedron = np.concatenate(
        [[[0, 0, 1]], np.column_stack([in_plane_directions * math.sqrt(8 / 9), np.full(3, 1 / 3)])]
    )
    cube = np.column_stack([in_plane_directions * math.sqrt(2 / 3), np.full(3, -math.sqrt(1 / 3))])
    sixth_angles = np.arange(6) * math.pi / 3
    in_plane_110 = np.column_stack([np.cos(sixth_angles), np.sin(sixth_angles), np.zeros(6)])
    tilted_110 = np.column_stack([in_plane_directions * lattices.HOLLOW_DISTANCE, np.full(3, lattices.LAYER_SPACING)])
    centrosymmetric_families = [np.concatenate([family, -family]) for family in (octahedron, cube, tilted_110)]
    return (
        centrosymmetric_families[0],
        centrosymmetric_families[1],
        np.concatenate([in_plane_110, centrosymmetric_families[2]]),
    )


def hcp_faces() -> tuple[np.ndarray, ...]:
    """Return the basal, both prismatic and the pyramidal {10-11} directions of hcp along z."""
    angles = math.pi / 6 * np.arange(12)
    prism_directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(12)], axis=1)
    base = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    tilt = math.atan(2 * math.sqrt(8 / 3) / math.sqrt(3))  # of {10-11} against the base
    slopes = math.sin(tilt) * prism_directions[1::2, None] + math.cos(tilt) * base
    return base, prism_directions[1::2], prism_directions[::2], slopes.reshape(-1, 3)


def icosahedron_faces() -> tuple[np.ndarray, ...]:
    """Return the directions of an icosahedron's faces and vertices."""
    golden_ratio = (1 + math.sqrt(5)) / 2
    vertices = [
        np.roll([0.0, a, b * golden_ratio], rotation) for a in (-1, 1) for b in (-1, 1) for rotation in range(3)
    ]
    combinations = itertools.combinations
    triangles = [
        triangle
        for triangle in combinations(vertices, 3)
        if all(np.linalg.norm(a - b) < 2.1 for a, b in combinations(triangle, 2))
    ]
    families = np.array(triangles).sum(axis=1), np.array(vertices)
    return tuple(directions / np.linalg.norm(directions, axis=1, keepdims=True) for directions in families)


def decahedron_faces(positions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the directions of the caps and sides of a decahedron about z, and those of the edges of its sides.

    Args:
        positions: [point, 3] of one about its axis, in bonds.
    """
    ring = positions[(abs(positions[:, 2] - 0.5) < 0.1) & (np.hypot(*positions[:, :2].T) < 1)]
    angles = np.arctan2(ring[0, 1], ring[0, 0]) + math.pi / 5 * np.arange(10)
    in_plane_directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(10)], axis=1)
    inner_radius = np.linalg.norm(ring[0, :2]) * math.cos(math.pi / 5)  # from the axis to the middle of a ring's side
    caps = [
        0.5 * side + inner_radius * np.array([0, 0, sign]) for side in in_plane_directions[1::2] for sign in (-1, 1)
    ]
    return np.array(caps) / math.hypot(0.5, inner_radius), in_plane_directions[1::2], in_plane_directions[::2]
