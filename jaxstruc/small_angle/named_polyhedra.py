"""Solids: the named bodies with flat faces that nanocrystals take, by their corners, with their symmetry.

Edges are 1 where all are alike. Bodies stand so that the mirrors of their symmetry bound `SYMMETRY_DOMAINS`. In NumPy.
"""

from itertools import permutations, product

import numpy as np
from jaxtyping import Float, Real

from jaxstruc.small_angle import polyhedra
from jaxstruc.small_angle.polyhedra import GOLDEN_RATIO, Polyhedron

MARKS_GROOVE_DEPTH, MARKS_WALL_DEPTH = 0.5, 0.25
"""Of the Marks decahedron, in edges of its tetrahedra: from a corner to the groove's face, and from the equator's edge
to the (100) face. Those of Marks's clusters (m, n, p) with m = n = p, as the one of 75 atoms, where they are large."""


def _spherical_triangle(*corners) -> Float[np.ndarray, "1 3 3"]:
    return np.array([corners], float) / np.linalg.norm(corners, axis=1)[:, None]


def _prism_domain(rotation_order: int):
    angle = np.pi / rotation_order
    return _spherical_triangle((0, 0, 1), (1, 0, 0), (np.cos(angle), np.sin(angle), 0))


SYMMETRY_DOMAINS = {
    "cubic": _spherical_triangle((0, 0, 1), (1, 0, 1), (1, 1, 1)),
    "icosahedral": _spherical_triangle((0, 1, GOLDEN_RATIO), (0, 0, 1), (GOLDEN_RATIO, 0, 1 + 2 * GOLDEN_RATIO)),
    "fivefold": _prism_domain(10),
    "sixfold": _prism_domain(6),
}
"""Spherical triangles between mirrors; the inversion counts as one of a body's own symmetries."""


def cube() -> Polyhedron:
    """Return the cube."""
    return polyhedra.centred_convex_hull(_signed_corners(0.5, 0.5, 0.5))


def octahedron() -> Polyhedron:
    """Return the octahedron."""
    return polyhedra.centred_convex_hull(_permuted_corners(np.sqrt(0.5), 0, 0))


def truncated_octahedron() -> Polyhedron:
    """Return the octahedron cut so that all edges are equal."""
    return polyhedra.centred_convex_hull(_permuted_corners(0, np.sqrt(0.5), np.sqrt(2)))


def cuboctahedron() -> Polyhedron:
    """Return the cube cut to the middles of its edges."""
    return polyhedra.centred_convex_hull(_permuted_corners(np.sqrt(0.5), np.sqrt(0.5), 0))


def tetrahedron() -> Polyhedron:
    """Return the tetrahedron."""
    return polyhedra.centred_convex_hull(_even_corners(np.sqrt(1 / 8), np.sqrt(1 / 8), np.sqrt(1 / 8)))


def truncated_tetrahedron() -> Polyhedron:
    """Return the tetrahedron cut so that all edges are equal."""
    return polyhedra.centred_convex_hull(_even_corners(np.sqrt(1 / 8), np.sqrt(1 / 8), 3 * np.sqrt(1 / 8)))


def decahedron() -> Polyhedron:
    """Return the pentagonal bipyramid whose edges are all equal."""
    ring, apex = _regular_polygon(5) / (2 * np.sin(np.pi / 5)), np.sqrt((5 - np.sqrt(5)) / 10)
    return polyhedra.centred_convex_hull(np.concatenate([ring, [[0, 0, apex], [0, 0, -apex]]]))


def marks_decahedron() -> Polyhedron:
    """Return that bipyramid with its equator's edges cut and grooves at its corners, of five convex pieces.

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
    """Return the dodecahedron with faces of five corners."""
    return polyhedra.centred_convex_hull(
        np.concatenate([_signed_corners(*[GOLDEN_RATIO / 2] * 3), _cyclic_corners(0, GOLDEN_RATIO**2 / 2, 0.5)])
    )


def rhombic_dodecahedron() -> Polyhedron:
    """Return the dodecahedron of twelve rhombi."""
    return polyhedra.centred_convex_hull(
        np.concatenate([_signed_corners(1, 1, 1), _permuted_corners(2, 0, 0)]) / np.sqrt(3)
    )


def hexagonal_prism() -> Polyhedron:
    """Return the prism on a hexagon, as high as it is wide from corner to corner."""
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
"""Each by its name: what makes it, and the domain of its directions."""


def _signed_corners(*coordinates) -> Real[np.ndarray, "corner 3"]:
    return np.unique([np.array(sign) * coordinates for sign in product((1, -1), repeat=3)], axis=0)


def _permuted_corners(*coordinates) -> Real[np.ndarray, "corner 3"]:
    return np.unique(
        np.concatenate([_signed_corners(*permutation) for permutation in permutations(coordinates)]), axis=0
    )


def _cyclic_corners(*coordinates) -> Real[np.ndarray, "corner 3"]:
    return np.concatenate([_signed_corners(*np.roll(coordinates, shift)) for shift in range(3)])


def _even_corners(*coordinates) -> Real[np.ndarray, "corner 3"]:
    """Return those of the permuted corners whose signs' product is 1."""
    signs = [sign for sign in product((1, -1), repeat=3) if np.prod(sign) > 0]
    return np.unique(
        [np.array(sign) * permutation for sign in signs for permutation in permutations(coordinates)], axis=0
    )


def _regular_polygon(n_corners: int) -> Float[np.ndarray, "corner 3"]:
    angle = 2 * np.pi * np.arange(n_corners) / n_corners
    return np.stack([np.cos(angle), np.sin(angle), np.zeros(n_corners)], axis=1)
