"""Solids: the named bodies with flat faces that nanocrystals take, by their corners, with their symmetry.

Edges are 1 where all are alike. Bodies stand so that the mirrors of their symmetry bound `DOMAINS`. In NumPy.
"""

from itertools import permutations, product

import numpy as np
from jaxtyping import Float

from jaxstruc.scattering import polyhedra
from jaxstruc.scattering.polyhedra import GOLDEN, Polyhedron

GROOVE, WALL = 0.5, 0.25
"""Of the Marks decahedron, in edges of its tetrahedra: from a corner to the groove's face, and from the equator's edge
to the (100) face. Those of Marks's clusters (m, n, p) with m = n = p, as the one of 75 atoms, where they are large."""


def _triangle(*corners) -> Float[np.ndarray, "1 3 3"]:
    return np.array([corners], float) / np.linalg.norm(corners, axis=1)[:, None]


def _prismatic(fold: int):
    angle = np.pi / fold
    return _triangle((0, 0, 1), (1, 0, 0), (np.cos(angle), np.sin(angle), 0))


DOMAINS = {
    "cubic": _triangle((0, 0, 1), (1, 0, 1), (1, 1, 1)),
    "icosahedral": _triangle((0, 1, GOLDEN), (0, 0, 1), (GOLDEN, 0, 1 + 2 * GOLDEN)),
    "fivefold": _prismatic(10),
    "sixfold": _prismatic(6),
}
"""Spherical triangles between mirrors; the inversion counts as one of a body's own symmetries."""


def cube() -> Polyhedron:
    """Return the cube."""
    return polyhedra.convex(_signed(0.5, 0.5, 0.5))


def octahedron() -> Polyhedron:
    """Return the octahedron."""
    return polyhedra.convex(_permuted(np.sqrt(0.5), 0, 0))


def truncated_octahedron() -> Polyhedron:
    """Return the octahedron cut so that all edges are equal."""
    return polyhedra.convex(_permuted(0, np.sqrt(0.5), np.sqrt(2)))


def cuboctahedron() -> Polyhedron:
    """Return the cube cut to the middles of its edges."""
    return polyhedra.convex(_permuted(np.sqrt(0.5), np.sqrt(0.5), 0))


def tetrahedron() -> Polyhedron:
    """Return the tetrahedron."""
    return polyhedra.convex(_even(np.sqrt(1 / 8), np.sqrt(1 / 8), np.sqrt(1 / 8)))


def truncated_tetrahedron() -> Polyhedron:
    """Return the tetrahedron cut so that all edges are equal."""
    return polyhedra.convex(_even(np.sqrt(1 / 8), np.sqrt(1 / 8), 3 * np.sqrt(1 / 8)))


def decahedron() -> Polyhedron:
    """Return the pentagonal bipyramid whose edges are all equal."""
    ring, apex = _ring(5) / (2 * np.sin(np.pi / 5)), np.sqrt((5 - np.sqrt(5)) / 10)
    return polyhedra.convex(np.concatenate([ring, [[0, 0, apex], [0, 0, -apex]]]))


def marks_decahedron() -> Polyhedron:
    """Return that bipyramid with its equator's edges cut and grooves at its corners, of five convex pieces.

    L. D. Marks, Philos. Mag. A 49, 81 (1984), doi 10.1080/01418618408233431.
    """
    ring, apex = _ring(5) / (2 * np.sin(np.pi / 5)), np.sqrt((5 - np.sqrt(5)) / 10)
    ends = np.array([[0, 0, apex], [0, 0, -apex]])
    near, far = 1 - WALL - (1 - GROOVE), 1 - GROOVE
    shares = [(WALL, 0, near, far), (WALL, 0, far, near), (GROOVE, 0, far, 0), (GROOVE, 0, 0, far), (1, 0, 0, 0)]
    turned = np.array(shares + [(b, a, *rest) for a, b, *rest in shares])
    pieces = [turned @ np.concatenate([ends, ring[[k, (k + 1) % 5]]]) for k in range(5)]
    return polyhedra.joined([polyhedra.hull(piece) for piece in pieces])


def icosahedron() -> Polyhedron:
    """Return the icosahedron."""
    return polyhedra.convex(_cyclic(0, 0.5, GOLDEN / 2))


def dodecahedron() -> Polyhedron:
    """Return the dodecahedron with faces of five corners."""
    return polyhedra.convex(np.concatenate([_signed(*[GOLDEN / 2] * 3), _cyclic(0, GOLDEN**2 / 2, 0.5)]))


def rhombic_dodecahedron() -> Polyhedron:
    """Return the dodecahedron of twelve rhombi."""
    return polyhedra.convex(np.concatenate([_signed(1, 1, 1), _permuted(2, 0, 0)]) / np.sqrt(3))


def hexagonal_prism() -> Polyhedron:
    """Return the prism on a hexagon, as high as it is wide from corner to corner."""
    return polyhedra.convex(np.concatenate([_ring(6) + np.array([0, 0, height]) for height in (-1, 1)]))


SOLIDS = {
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


def _signed(*place) -> Float[np.ndarray, "corner 3"]:
    return np.unique([np.array(sign) * place for sign in product((1, -1), repeat=3)], axis=0)


def _permuted(*place) -> Float[np.ndarray, "corner 3"]:
    return np.unique(np.concatenate([_signed(*order) for order in permutations(place)]), axis=0)


def _cyclic(*place) -> Float[np.ndarray, "corner 3"]:
    return np.concatenate([_signed(*np.roll(place, shift)) for shift in range(3)])


def _even(*place) -> Float[np.ndarray, "corner 3"]:
    """Return those of the permuted corners whose signs' product is 1."""
    signs = [sign for sign in product((1, -1), repeat=3) if np.prod(sign) > 0]
    return np.unique([np.array(sign) * order for sign in signs for order in permutations(place)], axis=0)


def _ring(fold: int) -> Float[np.ndarray, "corner 3"]:
    angle = 2 * np.pi * np.arange(fold) / fold
    return np.stack([np.cos(angle), np.sin(angle), np.zeros(fold)], axis=1)
