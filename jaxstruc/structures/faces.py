"""Directions of the faces that particles of a packing may have, by families of equivalent ones."""

import itertools
import math

import numpy as np

from jaxstruc.structures import hosts, lattices


def faces(packing: str) -> tuple[np.ndarray, ...]:
    """Return families of directions [face, 3] of length 1.

    Args:
        packing: bcc, sc, icosahedron or decahedron, turned as `hosts.points` does; fcc, hcp or stack, with layers along
            z as in `lattices.stack`.
    """
    if packing in ("bcc", "sc"):
        return cubic()
    if packing == "icosahedron":
        return icosahedral()
    if packing == "decahedron":
        return decahedral(hosts.points("decahedron", 3))
    if packing == "fcc":
        return close_packed()
    if packing == "hcp":
        return hexagonal()
    mirror = np.array([1.0, 1.0, -1.0])
    octahedron, cube, _ = close_packed()
    slopes = [family[abs(family[:, 2]) < 0.9] for family in (octahedron, cube)]
    return *hexagonal(), *(np.concatenate([family, family * mirror]) for family in slopes)


def cubic() -> tuple[np.ndarray, ...]:
    """Return the directions of {100}, {110} and {111} of a cubic lattice along the axes."""
    ways = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))
    length = np.linalg.norm(ways, axis=1)
    return tuple(ways[np.isclose(length**2, k)] / math.sqrt(k) for k in (1, 2, 3))


def close_packed() -> tuple[np.ndarray, ...]:
    """Return the directions of {111}, {100} and {110} of fcc with [111] along z."""
    angles = math.pi / 2 + np.arange(3) * 2 * math.pi / 3
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    octahedron = np.concatenate([[[0, 0, 1]], np.column_stack([around * math.sqrt(8 / 9), np.full(3, 1 / 3)])])
    cube = np.column_stack([around * math.sqrt(2 / 3), np.full(3, -math.sqrt(1 / 3))])
    sixth = np.arange(6) * math.pi / 3
    flat = np.column_stack([np.cos(sixth), np.sin(sixth), np.zeros(6)])
    up = np.column_stack([around * lattices.HOLLOW, np.full(3, lattices.LAYER)])
    both = [np.concatenate([family, -family]) for family in (octahedron, cube, up)]
    return both[0], both[1], np.concatenate([flat, both[2]])


def hexagonal() -> tuple[np.ndarray, ...]:
    """Return the basal, both prismatic and the pyramidal {10-11} directions of hcp along z."""
    around = math.pi / 6 * np.arange(12)
    flat = np.stack([np.cos(around), np.sin(around), np.zeros(12)], axis=1)
    base = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    tilt = math.atan(2 * math.sqrt(8 / 3) / math.sqrt(3))  # of {10-11} against the base
    slopes = math.sin(tilt) * flat[1::2, None] + math.cos(tilt) * base
    return base, flat[1::2], flat[::2], slopes.reshape(-1, 3)


def icosahedral() -> tuple[np.ndarray, ...]:
    """Return the directions of an icosahedron's faces and vertices."""
    golden = (1 + math.sqrt(5)) / 2
    corners = [np.roll([0.0, a, b * golden], turn) for a in (-1, 1) for b in (-1, 1) for turn in range(3)]
    pairs = itertools.combinations
    trios = [trio for trio in pairs(corners, 3) if all(np.linalg.norm(a - b) < 2.1 for a, b in pairs(trio, 2))]
    families = np.array(trios).sum(axis=1), np.array(corners)
    return tuple(ways / np.linalg.norm(ways, axis=1, keepdims=True) for ways in families)


def decahedral(points: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the directions of the caps and sides of a decahedron about z, and those of the edges of its sides.

    Args:
        points: [point, 3] of one about its axis, in bonds.
    """
    ring = points[(abs(points[:, 2] - 0.5) < 0.1) & (np.hypot(*points[:, :2].T) < 1)]
    around = np.arctan2(ring[0, 1], ring[0, 0]) + math.pi / 5 * np.arange(10)
    flat = np.stack([np.cos(around), np.sin(around), np.zeros(10)], axis=1)
    inner = np.linalg.norm(ring[0, :2]) * math.cos(math.pi / 5)  # from the axis to the middle of a ring's side
    caps = [0.5 * side + inner * np.array([0, 0, sign]) for side in flat[1::2] for sign in (-1, 1)]
    return np.array(caps) / math.hypot(0.5, inner), flat[1::2], flat[::2]
