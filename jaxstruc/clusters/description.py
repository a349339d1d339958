"""Description of a cluster in words: the name of its shape, its structure type, its extent and its facets."""

import math
import re
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, KDTree, QhullError
from scipy.spatial.distance import pdist, squareform

from jaxstruc.clusters.structure_type import NEIGHBOUR_DISTANCE, identify_structure_type, mean_bond

MIN_FACET_COSINE = math.cos(math.radians(12))
"""Cosine of the largest angle between two triangles of the convex hull that belong to one facet. Angles between
different facets of low indices are larger."""
FACET_PLANE_TOLERANCE = 0.15
"""Largest distance between an atom of a facet and the plane of the facet, in units of the bond length."""
SQUARE_DIAGONAL_RANGE = (1.3, 1.55)
"""Range of the diagonal of a square of four neighbouring atoms, in units of the bond length."""
MAX_EDGE_DIRECTIONS = 50
"""Largest number of directions of edges in the search for the least width of a cluster."""
REGULAR_BODIES = {
    ("fcc", 4, 4): "tetrahedron",
    ("fcc", 6, 8): "cube",
    ("fcc", 8, 6): "octahedron",
    ("sc", 6, 8): "cube",
    ("bcc", 6, 8): "cube",
    ("bcc", 12, 14): "rhombic dodecahedron",
}
"""Names of shapes with equal facets, by structure type, number of facets and number of vertices."""


class Description(NamedTuple):
    """Name, structure type and extent of a cluster. Lengths are in the unit of the positions."""

    name: str
    """Name of the shape, e.g. truncated octahedron. It is empty if the shape has no name."""
    type: str
    """Structure type, as in `structure_type.StructureType`."""
    atoms: int
    """Number of atoms."""
    longest_diameter: float
    """Largest distance between two atoms."""
    least_width: float
    """Smallest distance between two parallel planes that enclose all atoms. It is 0 if the atoms lie in one plane."""
    hexagonal_share: float
    """Share of hexagonal layers in a stack of close-packed layers, as in `structure_type.StructureType`."""
    facets_111: float
    """Area of close-packed facets, divided by the area of the convex hull. These are the {111} facets, or the {0001}
    facets of hcp. The share is NaN for bcc, sc and unknown types."""
    facets_100: float
    """Area of {100} facets, whose atoms form squares, divided by the area of the convex hull. The share is NaN for hcp,
    bcc, sc and unknown types."""


class _Facets(NamedTuple):
    """The facets of a convex hull."""

    areas: np.ndarray
    """Area of each facet [facet]."""
    is_on_facet: np.ndarray
    """Mask of the atoms that lie on each facet [facet, atom]."""


def describe_cluster(positions: np.ndarray, *, family: str = "", label: str = "") -> Description:
    """Return the description of a cluster.

    The facets belong to the convex hull of the centres of the atoms. If a particle has a groove, e.g. a Marks
    decahedron, the plane across the groove is one facet.

    Args:
        positions: Positions [atom, 3] of at least two atoms, finite, in any unit.
        family: Family in `families.FAMILIES` that made the cluster, or an empty string.
        label: Label of the cluster within its family.
    """
    structure_type = identify_structure_type(positions)
    label_name = _name_from_label(family, label)
    bond_length = mean_bond(KDTree(positions)) or 1.0
    x = np.asarray(positions, np.float64) / bond_length
    try:
        hull = ConvexHull(x)
    except QhullError:  # fewer than four atoms, or all atoms in one plane
        longest_diameter = float(pdist(x).max())
        return Description(
            label_name,
            structure_type.name,
            len(x),
            bond_length * longest_diameter,
            0.0,
            structure_type.hexagonal_share,
            math.nan,
            math.nan,
        )
    facets = _find_facets(x, hull)
    longest_diameter, least_width = float(pdist(x[hull.vertices]).max()), _least_width(x, hull)
    close_packed_share, square_share = (
        (math.nan, math.nan) if structure_type.name in ("", "bcc", "sc") else _facet_shares(x, facets)
    )
    square_share = math.nan if structure_type.name == "hcp" else square_share
    name = label_name or _regular_body_name(x, facets, structure_type.name)
    return Description(
        name,
        structure_type.name,
        len(x),
        bond_length * longest_diameter,
        bond_length * least_width,
        structure_type.hexagonal_share,
        close_packed_share,
        square_share,
    )


def rescale(description: Description, unit: float) -> Description:
    """Return the description with its lengths multiplied by `unit`."""
    return description._replace(
        longest_diameter=unit * description.longest_diameter, least_width=unit * description.least_width
    )


def sentence(description: Description) -> str:
    """Return a description as one line of text. The lengths of the description must be in Å.

    Example: "truncated octahedron, 201 atoms, 17.6 x 13.6 Å, 78 % {111}, 22 % {100}".
    """
    parts = [description.name, *_packing(description.name, description.type)]
    if 0 < description.hexagonal_share < 1:
        parts.append(f"{100 * description.hexagonal_share:.0f} % hexagonal layers")
    parts += [f"{description.atoms} atoms", f"{description.longest_diameter:.1f} x {description.least_width:.1f} Å"]
    close_packed_plane = "{0001}" if description.type == "hcp" else "{111}"
    for share, plane in ((description.facets_111, close_packed_plane), (description.facets_100, "{100}")):
        if share >= 0.005:
            parts.append(f"{100 * share:.0f} % {plane}")
    return ", ".join(filter(None, parts))


def outline(family: str, label: str, *, type: str, atoms: int, longest: float) -> str:
    """Return one line of text on a cluster whose positions are not known.

    Example: "truncated octahedron, 201 atoms, 17.6 Å".

    Args:
        family: Family in `families.FAMILIES` that made the cluster, or an empty string.
        label: Label of the cluster within its family.
        type: Structure type, as in `structure_type.StructureType`.
        atoms: Number of atoms.
        longest: Largest distance between two atoms, in Å.
    """
    name = _name_from_label(family, label)
    return ", ".join(filter(None, [name, *_packing(name, type), f"{atoms} atoms", f"{longest:.1f} Å"]))


def _packing(name: str, type: str) -> list[str]:
    """Return a list with the structure type in words. It is empty if the name of the shape implies the type."""
    if name and (type in ("", "icosahedron", "decahedron") or (type == "fcc" and name.endswith("octahedron"))):
        return []
    return [{"faulted": "faulted close-packed", "": "of no known type"}.get(type, type)]


def _name_from_label(family: str, label: str) -> str:
    """Return the name of the shape that a label describes, or "" if the shape has no name."""
    if family == "octahedron" and (match := re.fullmatch(r"(.+) length \d+ cutoff \d+", label)):
        return match[1]
    if family == "icosahedron" and (match := re.fullmatch(r"(\d+) shells", label)):
        return f"Mackay icosahedron of {match[1]} shell{'s' if int(match[1]) > 1 else ''}"
    if family == "decahedron" and (match := re.fullmatch(r"\((\d+),(\d+),(\d+)\)", label)):
        _, height, groove = map(int, match.groups())
        return "Marks decahedron" if groove else "Ino decahedron" if height > 1 else "pentagonal bipyramid"
    return ""


def _find_facets(x: np.ndarray, hull: ConvexHull) -> _Facets:
    """Return the facets of a convex hull. A facet is a group of triangles of the hull that lie in one plane.

    Each group begins with the largest triangle that belongs to no other group.
    """
    corners = x[hull.simplices]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    planes, is_unassigned = hull.equations, np.ones(len(areas), bool)
    plane_cosines, plane_distances = planes[:, :3] @ planes[:, :3].T, abs(x @ planes[:, :3].T + planes[:, 3]).T
    facet_areas, is_on_facet = [], []
    for seed in np.argsort(-areas, kind="stable"):
        if not is_unassigned[seed] or areas[seed] < 1e-3:
            continue
        is_in_plane = plane_distances[seed] < FACET_PLANE_TOLERANCE
        is_facet_triangle = (
            is_unassigned
            & is_in_plane[hull.simplices].all(axis=1)
            & ((plane_cosines[seed] > MIN_FACET_COSINE) | (areas < 1e-3))
        )
        is_unassigned &= ~is_facet_triangle
        facet_areas.append(areas[is_facet_triangle].sum())
        is_on_facet.append(is_in_plane)
    return _Facets(np.array(facet_areas), np.array(is_on_facet))


def _facet_shares(x: np.ndarray, facets: _Facets) -> tuple[float, float]:
    """Return the area shares of {111} facets (atoms form triangles) and of {100} facets (atoms form squares)."""
    is_surface = facets.is_on_facet.any(axis=0)
    distances = squareform(pdist(x[is_surface]))
    is_neighbour = (distances < NEIGHBOUR_DISTANCE) & (distances > 0)
    is_diagonal = (distances > SQUARE_DIAGONAL_RANGE[0]) & (distances < SQUARE_DIAGONAL_RANGE[1])
    triangle_counts = _count_common_neighbours(is_neighbour, is_neighbour, facets.is_on_facet[:, is_surface]) / 3
    square_counts = _count_common_neighbours(is_diagonal, is_neighbour, facets.is_on_facet[:, is_surface])
    area_shares = facets.areas / facets.areas.sum()
    return float(area_shares[triangle_counts > square_counts].sum()), float(
        area_shares[square_counts > triangle_counts].sum()
    )


def _count_common_neighbours(is_pair: np.ndarray, is_neighbour: np.ndarray, is_on_facet: np.ndarray) -> np.ndarray:
    """Return the number of triples on each facet [facet]. A triple is a pair of atoms with a common neighbour."""
    first_atom, second_atom = np.nonzero(np.triu(is_pair))
    pair, third_atom = np.nonzero(is_neighbour[first_atom] & is_neighbour[second_atom])
    return (is_on_facet[:, first_atom[pair]] & is_on_facet[:, second_atom[pair]] & is_on_facet[:, third_atom]).sum(
        axis=1
    )


def _least_width(x: np.ndarray, hull: ConvexHull) -> float:
    """Return the least width of a convex hull.

    The direction of the least width is the normal of a facet, or it is perpendicular to two edges.
    """
    edges = np.concatenate([x[hull.simplices[:, [a, b]]] for a, b in ((0, 1), (1, 2), (2, 0))])
    directions = edges[:, 1] - edges[:, 0]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions *= np.sign(directions @ np.array([1.0, 0.62, 0.34]))[:, None]
    directions = directions[np.unique(np.round(directions, 2), axis=0, return_index=True)[1]]
    directions = directions[:: math.ceil(len(directions) / MAX_EDGE_DIRECTIONS)]
    first_edge, second_edge = np.triu_indices(len(directions), 1)
    normals = np.cross(directions[first_edge], directions[second_edge])
    normal_lengths = np.linalg.norm(normals, axis=1)
    normals = normals[normal_lengths > 0.05] / normal_lengths[normal_lengths > 0.05, None]
    return float(np.ptp(np.concatenate([hull.equations[:, :3], normals]) @ x[hull.vertices].T, axis=1).min())


def _regular_body_name(x: np.ndarray, facets: _Facets, structure_type: str) -> str:
    """Return the name of a shape whose facets are all equal, or "" for other shapes."""
    vertices = x[facets.is_on_facet.sum(axis=0) >= 3]
    name = REGULAR_BODIES.get((structure_type, len(facets.areas), len(vertices)), "")
    radii = np.linalg.norm(vertices - vertices.mean(axis=0), axis=1) if name else np.ones(1)
    is_round = np.ptp(radii) < 0.05 or name == "rhombic dodecahedron"
    return name if np.ptp(facets.areas) < 0.05 * facets.areas.mean() and is_round else ""
