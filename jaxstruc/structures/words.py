"""A cluster in a chemist's words: its shape's name, its type, its two diameters, its facets."""

import math
import re
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, KDTree, QhullError
from scipy.spatial.distance import pdist, squareform

from jaxstruc.structures.kinds import NEAR, bond, kind

TILT = math.cos(math.radians(12))
"""Cosine of the angle by which triangles of one facet may differ: facets of low indices are farther apart."""
OFF = 0.15
"""Bonds, by which atoms of a facet may lie off its plane."""
DIAGONAL = (1.3, 1.55)
"""Bonds, between which the diagonal of a square of neighbours lies."""
DIRECTIONS = 50
"""Most directions of edges that the least width is looked for across."""
REGULAR = {
    ("fcc", 4, 4): "tetrahedron",
    ("fcc", 6, 8): "cube",
    ("fcc", 8, 6): "octahedron",
    ("sc", 6, 8): "cube",
    ("bcc", 6, 8): "cube",
    ("bcc", 12, 14): "rhombic dodecahedron",
}
"""Bodies of equal facets, by the type and the numbers of facets and vertices."""


class Description(NamedTuple):
    """What a cluster is called and looks like. Lengths in the unit of its positions."""

    name: str
    """Of its shape; empty where it has none."""
    type: str
    """As in `kinds.Kind`."""
    atoms: int
    longest: float
    """Largest distance of two atoms."""
    shortest: float
    """Least distance of two parallel planes that hold all atoms between them; 0 where they lie in one plane."""
    hexagonal: float
    """Share of hexagonal layers, as in `kinds.Kind`."""
    facets_111: float
    """Share of the hull's area whose facets are close-packed, {111} or hcp's {0001}; nan for bcc, sc and no type."""
    facets_100: float
    """Share of the hull's area whose facets are of squares, {100}; nan as above and for hcp."""


class _Facets(NamedTuple):
    """The facets of a convex hull."""

    areas: np.ndarray
    """[facet]."""
    on: np.ndarray
    """[facet, atom] whether an atom lies on it."""


def description(positions: np.ndarray, *, family: str = "", label: str = "") -> Description:
    """Return what a cluster is called and looks like.

    Facets are those of the convex hull of the atoms' centres: a re-entrant one, as of Marks decahedra, counts as the
    plane that bridges it.

    Args:
        positions: [atom, 3] in any unit, finite, of at least two atoms.
        family: of `families.FAMILIES`, where it is of one.
        label: within the family.
    """
    found = kind(positions)
    named = _named(family, label)
    unit = bond(KDTree(positions)) or 1.0
    x = np.asarray(positions, np.float64) / unit
    try:
        hull = ConvexHull(x)
    except QhullError:  # fewer than four atoms, or all in one plane
        longest = float(pdist(x).max())
        return Description(named, found.type, len(x), unit * longest, 0.0, found.hexagonal, math.nan, math.nan)
    facets = _facets(x, hull)
    longest, shortest = float(pdist(x[hull.vertices]).max()), _width(x, hull)
    close_packed, square = (math.nan, math.nan) if found.type in ("", "bcc", "sc") else _shares(x, facets)
    square = math.nan if found.type == "hcp" else square
    name = named or _regular(x, facets, found.type)
    return Description(name, found.type, len(x), unit * longest, unit * shortest, found.hexagonal, close_packed, square)


def rescale(description: Description, unit: float) -> Description:
    """Return the description of a cluster that is `unit` times as large."""
    return description._replace(longest=unit * description.longest, shortest=unit * description.shortest)


def sentence(description: Description) -> str:
    """Return a description, with lengths in Å, as one line.

    Example: "truncated octahedron, 201 atoms, 17.6 x 13.6 Å, 78 % {111}, 22 % {100}".
    """
    parts = [description.name, *_packing(description.name, description.type)]
    if 0 < description.hexagonal < 1:
        parts.append(f"{100 * description.hexagonal:.0f} % hexagonal layers")
    parts += [f"{description.atoms} atoms", f"{description.longest:.1f} x {description.shortest:.1f} Å"]
    close_packed = "{0001}" if description.type == "hcp" else "{111}"
    for share, plane in ((description.facets_111, close_packed), (description.facets_100, "{100}")):
        if share >= 0.005:
            parts.append(f"{100 * share:.0f} % {plane}")
    return ", ".join(filter(None, parts))


def outline(family: str, label: str, *, type: str, atoms: int, longest: float) -> str:
    """Return one line on a cluster from its rule alone, without a look at its atoms.

    Example: "truncated octahedron, 201 atoms, 17.6 Å".

    Args:
        family: of `families.FAMILIES`, if it is of one.
        label: within the family.
        type: as in `kinds.Kind`.
        atoms: their number.
        longest: Largest distance of two atoms in Å.
    """
    name = _named(family, label)
    return ", ".join(filter(None, [name, *_packing(name, type), f"{atoms} atoms", f"{longest:.1f} Å"]))


def _packing(name: str, type: str) -> list[str]:
    """Return the type in words, unless the shape's name implies it."""
    if name and (type in ("", "icosahedron", "decahedron") or (type == "fcc" and name.endswith("octahedron"))):
        return []
    return [{"faulted": "faulted close-packed", "": "of no known type"}.get(type, type)]


def _named(family: str, label: str) -> str:
    """Return the name that a family's label gives a shape; empty for spheres and other cuts."""
    if family == "octahedron" and (match := re.fullmatch(r"(.+) length \d+ cutoff \d+", label)):
        return match[1]
    if family == "icosahedron" and (match := re.fullmatch(r"(\d+) shells", label)):
        return f"Mackay icosahedron of {match[1]} shell{'s' if int(match[1]) > 1 else ''}"
    if family == "decahedron" and (match := re.fullmatch(r"\((\d+),(\d+),(\d+)\)", label)):
        _, height, groove = map(int, match.groups())
        return "Marks decahedron" if groove else "Ino decahedron" if height > 1 else "pentagonal bipyramid"
    return ""


def _facets(x: np.ndarray, hull: ConvexHull) -> _Facets:
    """Return the facets of a hull: its triangles by planes, the largest first."""
    corners = x[hull.simplices]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    planes, left = hull.equations, np.ones(len(areas), bool)
    tilts, off = planes[:, :3] @ planes[:, :3].T, abs(x @ planes[:, :3].T + planes[:, 3]).T
    total, on = [], []
    for seed in np.argsort(-areas, kind="stable"):
        if not left[seed] or areas[seed] < 1e-3:
            continue
        flat = off[seed] < OFF
        mine = left & flat[hull.simplices].all(axis=1) & ((tilts[seed] > TILT) | (areas < 1e-3))
        left &= ~mine
        total.append(areas[mine].sum())
        on.append(flat)
    return _Facets(np.array(total), np.array(on))


def _shares(x: np.ndarray, facets: _Facets) -> tuple[float, float]:
    """Return the shares of area of facets whose neighbours make triangles, {111}, and squares, {100}."""
    surface = facets.on.any(axis=0)
    distances = squareform(pdist(x[surface]))
    near = (distances < NEAR) & (distances > 0)
    diagonal = (distances > DIAGONAL[0]) & (distances < DIAGONAL[1])
    triangles = _beside(near, near, facets.on[:, surface]) / 3
    corners = _beside(diagonal, near, facets.on[:, surface])
    shares = facets.areas / facets.areas.sum()
    return float(shares[triangles > corners].sum()), float(shares[corners > triangles].sum())


def _beside(pairs: np.ndarray, near: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Return for each facet how many pairs on it have a common neighbour on it, times their common neighbours."""
    first, second = np.nonzero(np.triu(pairs))
    pair, third = np.nonzero(near[first] & near[second])
    return (on[:, first[pair]] & on[:, second[pair]] & on[:, third]).sum(axis=1)


def _width(x: np.ndarray, hull: ConvexHull) -> float:
    """Return the least width of a hull: across one of its facets, or across two of its edges."""
    edges = np.concatenate([x[hull.simplices[:, [a, b]]] for a, b in ((0, 1), (1, 2), (2, 0))])
    ways = edges[:, 1] - edges[:, 0]
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    ways *= np.sign(ways @ np.array([1.0, 0.62, 0.34]))[:, None]
    ways = ways[np.unique(np.round(ways, 2), axis=0, return_index=True)[1]]
    ways = ways[:: math.ceil(len(ways) / DIRECTIONS)]
    first, second = np.triu_indices(len(ways), 1)
    across = np.cross(ways[first], ways[second])
    size = np.linalg.norm(across, axis=1)
    across = across[size > 0.05] / size[size > 0.05, None]
    return float(np.ptp(np.concatenate([hull.equations[:, :3], across]) @ x[hull.vertices].T, axis=1).min())


def _regular(x: np.ndarray, facets: _Facets, type: str) -> str:
    """Return the name of a body whose facets are all equal; empty for other bodies."""
    vertices = x[facets.on.sum(axis=0) >= 3]
    name = REGULAR.get((type, len(facets.areas), len(vertices)), "")
    radii = np.linalg.norm(vertices - vertices.mean(axis=0), axis=1) if name else np.ones(1)
    round_enough = np.ptp(radii) < 0.05 or name == "rhombic dodecahedron"
    return name if np.ptp(facets.areas) < 0.05 * facets.areas.mean() and round_enough else ""
