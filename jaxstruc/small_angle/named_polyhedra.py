"""Named polyhedra that occur as shapes of nanocrystals, built from their corners, and their symmetries.

Polyhedra with equal edges have the edge length 1. All are oriented so that the mirror planes of their symmetry bound
the spherical triangles of `SYMMETRY_DOMAINS`.
"""

from itertools import permutations, product

import numpy as np
from jaxtyping import Float, Real

from jaxstruc.small_angle import polyhedra
from jaxstruc.small_angle.polyhedra import GOLDEN_RATIO, Polyhedron

MARKS_GROOVE_DEPTH, MARKS_WALL_DEPTH = 0.5, 0.25
"""Depths of the re-entrant grooves and of the (100) faces of the Marks decahedron.

Both are measured along edges of its five tetrahedra, in units of the edge length. The first is the distance from a
corner of the equator to a face of the groove. The second is the distance from the equator to an edge of the (100) face.
The values are the limit for large clusters of Marks's series (m, n, p) with m = n = p, to which the cluster of 75 atoms
belongs.
"""


def _spherical_triangle(*corners) -> Float[np.ndarray, "1 3 3"]:
    """Return the spherical triangle with given corners, as unit vectors."""
    return np.array([corners], float) / np.linalg.norm(corners, axis=1)[:, None]


def _prism_domain(rotation_order: int):
    """Return the spherical triangle that represents all directions for a body with a rotation axis along z.

    The body also has mirror planes that contain the axis, and the mirror plane z = 0.
    """
    angle = np.pi / rotation_order
    return _spherical_triangle((0, 0, 1), (1, 0, 0), (np.cos(angle), np.sin(angle), 0))


SYMMETRY_DOMAINS = {
    "cubic": _spherical_triangle((0, 0, 1), (1, 0, 1), (1, 1, 1)),
    "icosahedral": _spherical_triangle((0, 1, GOLDEN_RATIO), (0, 0, 1), (GOLDEN_RATIO, 0, 1 + 2 * GOLDEN_RATIO)),
    "fivefold": _prism_domain(10),
    "sixfold": _prism_domain(6),
}
"""Spherical triangles that represent all directions, for each symmetry.

They are bounded by mirror planes. The inversion counts as a symmetry, because |F(q)|² is always symmetric under it.
"""


def cube() -> Polyhedron:
    """Return the cube."""
    return polyhedra.centred_convex_hull(_signed_corners(0.5, 0.5, 0.5))


def octahedron() -> Polyhedron:
    """Return the octahedron."""
    return polyhedra.centred_convex_hull(_permuted_corners(np.sqrt(0.5), 0, 0))


def truncated_octahedron() -> Polyhedron:
    """Return the octahedron truncated so that all edges are equal."""
    return polyhedra.centred_convex_hull(_permuted_corners(0, np.sqrt(0.5), np.sqrt(2)))


def cuboctahedron() -> Polyhedron:
    """Return the cuboctahedron: the cube truncated to the middles of its edges."""
    return polyhedra.centred_convex_hull(_permuted_corners(np.sqrt(0.5), np.sqrt(0.5), 0))


def tetrahedron() -> Polyhedron:
    """Return the tetrahedron."""
    return polyhedra.centred_convex_hull(_even_corners(np.sqrt(1 / 8), np.sqrt(1 / 8), np.sqrt(1 / 8)))


def truncated_tetrahedron() -> Polyhedron:
    """Return the tetrahedron truncated so that all edges are equal."""
    return polyhedra.centred_convex_hull(_even_corners(np.sqrt(1 / 8), np.sqrt(1 / 8), 3 * np.sqrt(1 / 8)))


def decahedron() -> Polyhedron:
    """Return the decahedron: the pentagonal bipyramid with equal edges."""
    ring, apex = _regular_polygon(5) / (2 * np.sin(np.pi / 5)), np.sqrt((5 - np.sqrt(5)) / 10)
    return polyhedra.centred_convex_hull(np.concatenate([ring, [[0, 0, apex], [0, 0, -apex]]]))


def marks_decahedron() -> Polyhedron:
    """Return the Marks decahedron, joined from five convex pieces.

    It is the decahedron with (100) faces along the equator and with re-entrant grooves at the corners of the equator.
    L. D. Marks, Philos. Mag. A 49, 81 (1984), doi 10.1080/01418618408233431.
    """
    ring, apex = _regular_polygon(5) / (2 * np.sin(np.pi / 5)), np.sqrt((5 - np.sqrt(5)) / 10)
    apexes = np.array([[0, 0, apex], [0, 0, -apex]])
    small_share, large_share = 1 - MARKS_WALL_DEPTH - (1 - MARKS_GROOVE_DEPTH), 1 - MARKS_GROOVE_DEPTH
    barycentric_rows = [
        (MARKS_WALL_DEPTH, 0, small_share, large_share),
        (MARKS_WALL_DEPTH, 0, large_share, small_share),
        (MARKS_GROOVE_DEPTH, 0, large_share, 0),
        (MARKS_GROOVE_DEPTH, 0, 0, large_share),
        (1, 0, 0, 0),
    ]
    mirrored_rows = np.array(
        barycentric_rows
        + [(bottom_share, top_share, *ring_shares) for top_share, bottom_share, *ring_shares in barycentric_rows]
    )
    pieces = [mirrored_rows @ np.concatenate([apexes, ring[[k, (k + 1) % 5]]]) for k in range(5)]
    return polyhedra.join_polyhedra([polyhedra.convex_hull(piece) for piece in pieces])


def icosahedron() -> Polyhedron:
    """Return the icosahedron."""
    return polyhedra.centred_convex_hull(_cyclic_corners(0, 0.5, GOLDEN_RATIO / 2))


def dodecahedron() -> Polyhedron:
    """Return the pentagonal dodecahedron."""
    return polyhedra.centred_convex_hull(
        np.concatenate([_signed_corners(*[GOLDEN_RATIO / 2] * 3), _cyclic_corners(0, GOLDEN_RATIO**2 / 2, 0.5)])
    )


def rhombic_dodecahedron() -> Polyhedron:
    """Return the rhombic dodecahedron."""
    return polyhedra.centred_convex_hull(
        np.concatenate([_signed_corners(1, 1, 1), _permuted_corners(2, 0, 0)]) / np.sqrt(3)
    )


def hexagonal_prism() -> Polyhedron:
    """Return the hexagonal prism whose height equals the distance of opposite corners of its base."""
    return polyhedra.centred_convex_hull(
        np.concatenate([_regular_polygon(6) + np.array([0, 0, height]) for height in (-1, 1)])
    )


NAMED_POLYHEDRA = {
    "cube": (cube, "cubic"),
    "octahedron": (octahedron, "cubic"),
    "truncated octahedron": (truncated_octahedron, "cubic"),
    "cuboctahedron": (cuboctahedron, "cubic"),
    "tetrahedron": (tetrahedron, "cubic"),
    "truncated tetrahedron": (truncated_tetrahedron, "cubic"),
    "decahedron": (decahedron, "fivefold"),
    "marks decahedron": (marks_decahedron, "fivefold"),
    "icosahedron": (icosahedron, "icosahedral"),
    "dodecahedron": (dodecahedron, "icosahedral"),
    "rhombic dodecahedron": (rhombic_dodecahedron, "cubic"),
    "hexagonal prism": (hexagonal_prism, "sixfold"),
}
"""Function that builds each polyhedron, and name of its symmetry, by the name of the polyhedron."""


def _signed_corners(*coordinates) -> Real[np.ndarray, "corner 3"]:
    """Return the points with all combinations of signs of the coordinates."""
    return np.unique([np.array(sign) * coordinates for sign in product((1, -1), repeat=3)], axis=0)


def _permuted_corners(*coordinates) -> Real[np.ndarray, "corner 3"]:
    """Return the points with all combinations of signs and all permutations of the coordinates."""
    return np.unique(
        np.concatenate([_signed_corners(*permutation) for permutation in permutations(coordinates)]), axis=0
    )


def _cyclic_corners(*coordinates) -> Real[np.ndarray, "corner 3"]:
    """Return the points with all combinations of signs and all cyclic permutations of the coordinates."""
    return np.concatenate([_signed_corners(*np.roll(coordinates, shift)) for shift in range(3)])


def _even_corners(*coordinates) -> Real[np.ndarray, "corner 3"]:
    """Return the points with all permutations of the coordinates, and with all signs whose product is positive."""
    signs = [sign for sign in product((1, -1), repeat=3) if np.prod(sign) > 0]
    return np.unique(
        [np.array(sign) * permutation for sign in signs for permutation in permutations(coordinates)], axis=0
    )


def _regular_polygon(n_corners: int) -> Float[np.ndarray, "corner 3"]:
    """Return the corners of a regular polygon with circumradius 1 in the plane z = 0."""
    angle = 2 * np.pi * np.arange(n_corners) / n_corners
    return np.stack([np.cos(angle), np.sin(angle), np.zeros(n_corners)], axis=1)
