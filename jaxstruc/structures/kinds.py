"""The type of a cluster by its atoms, however it was made and in whatever unit. Lengths inside in mean bonds."""

import math
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

NEAR = 1.25
"""Bonds, within which atoms are neighbours: beyond the second shell of bcc, short of that of fcc, hcp and sc."""
SECOND = 1.48
"""Bonds, within which the second shells of fcc, hcp and sc lie, but not the third of bcc."""
LAYER = math.sqrt(2 / 3)
"""Bonds between close-packed layers, and between {110} layers of bcc."""
FLAT = 0.2
"""Bonds, by which a bond's height along an axis may differ from that of one within a layer or between two."""
ALIKE = math.cos(math.radians(14))
"""Cosine of the angle of triangles that count as parallel."""
PARALLEL = math.cos(math.radians(25))
"""Cosine of the angle of five-fold bonds that count as parallel: displaced atoms tilt single bonds."""
FIVEFOLD = math.acos(1 / math.sqrt(5))
"""Angle of two five-fold axes of an icosahedron, 63.4 degrees."""
AXIS = 0.45
"""Least length of five-fold bonds, end to end, of the particle's along them."""
ORDERED = 0.85
"""Share of bonds that lie within layers or between two: 1 in a crystal, less where it has grains, 0.6 at random."""
SAMPLE = 60
"""Bonds, at least, whose directions, or triangles, show which axes there are."""
WHOLE = 0.97
"""Share of such bonds above which all of a particle is one stack, but for a few atoms."""
LEAST, LAYERS = 30, 4
"""Atoms, and layers, of a cluster whose type can stand as a truth."""
CUBIC, HEXAGONAL = 0.1, 0.9
"""Share of hexagonal layers below which a stack is fcc, and above which it is hcp."""


class Kind(NamedTuple):
    """What the atoms of a cluster show."""

    type: str
    """fcc, hcp, faulted, bcc, sc, icosahedron or decahedron; empty where they show none of these."""
    hexagonal: float
    """Share of hexagonal layers among the inner layers, all but the outermost two; nan but for close-packed layers."""
    shown: bool
    """Whether the type can stand as a truth: at least 30 atoms, and four layers or a five-fold centre or axis."""


NONE = Kind("", math.nan, False)


class _Bonds(NamedTuple):
    """A cluster in units of its mean bond, and which of its atoms are neighbours."""

    positions: np.ndarray
    """[atom, 3]."""
    pairs: np.ndarray
    """[2, bond] the atoms of each bond."""
    vectors: np.ndarray
    """[bond, 3] from the first atom to the second."""
    near: np.ndarray
    """[atom, atom] whether two are neighbours."""
    common: np.ndarray
    """[bond, place] whether the first atom's neighbour of that place is one of the second's too."""
    neighbours: np.ndarray
    """[bond, place] the first atom's neighbours."""
    second: float
    """Pairs of the second shells of fcc and sc, a bond."""


def kind(positions: np.ndarray) -> Kind:
    """Return the type of a cluster, by the neighbours of its atoms.

    Five-fold bonds, whose atoms have five common neighbours in a ring, make an icosahedron, or a decahedron where all
    are parallel. The pairs a bond in the second shell tell sc (about 2), close-packed (0.3 to 0.5) and bcc (none)
    apart, and the turns from layer to layer tell fcc from hcp.

    Args:
        positions: [atom, 3] in any unit.
    """
    if len(positions) < 5 or not np.isfinite(positions).all():
        return NONE
    bonds = _bonds(np.asarray(positions, np.float64))
    if bonds is None:
        return NONE
    many = len(positions) >= LEAST
    if found := _fivefold(bonds):
        return Kind(found[0], math.nan, many and found[1])
    if bonds.second > 1:
        return Kind("sc", math.nan, many and _layers(bonds, 1.0) >= LAYERS) if _square(bonds) else NONE
    order, turns = _stack(bonds)
    if bonds.second < 0.15:
        centred = order > 0.9 and bonds.near.sum(axis=0).max() >= 8
        return Kind("bcc", math.nan, many and _layers(bonds, LAYER) >= LAYERS) if centred else NONE
    if order < ORDERED or not len(turns):
        return NONE
    hexagonal = float(turns.mean())
    name = "fcc" if hexagonal < CUBIC else "hcp" if hexagonal > HEXAGONAL else "faulted"
    return Kind(name, hexagonal, many and len(turns) + 2 >= LAYERS and order > WHOLE)


def word(positions: np.ndarray) -> str:
    """Return the letters, h or c, of the inner layers of a close-packed cluster; empty where there are none."""
    bonds = _bonds(np.asarray(positions, np.float64))
    order, turns = (0.0, np.zeros(0, bool)) if bonds is None else _stack(bonds)
    return "".join(np.where(turns, "h", "c")) if order >= ORDERED else ""


def bond(tree: KDTree) -> float:
    """Return the mean distance of nearest neighbours, in the unit of the positions; 0 where atoms lie in one place."""
    nearest = tree.query(tree.data, k=2)[0][:, 1]
    typical = float(np.median(nearest))
    if nearest.min() <= 0.1 * typical:
        return 0.0
    first, second = tree.query_pairs(1.2 * typical, output_type="ndarray").T
    return float(np.linalg.norm(tree.data[first] - tree.data[second], axis=1).mean())


def _bonds(positions: np.ndarray) -> _Bonds | None:
    """Return the bonds of a cluster, pairs within `NEAR` of its mean bonds; None where atoms lie in one place."""
    tree = KDTree(positions)
    if not (unit := bond(tree)):
        return None
    pairs = tree.query_pairs(SECOND * unit, output_type="ndarray").T
    vectors = positions[pairs[1]] - positions[pairs[0]]
    distances = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    inside = distances < NEAR * unit
    second = len(distances) / int(inside.sum()) - 1
    pairs, vectors = pairs[:, inside], vectors[inside] / unit
    near = np.zeros((len(positions), len(positions)), bool)
    near[pairs[0], pairs[1]] = near[pairs[1], pairs[0]] = True
    neighbours = _table(pairs, len(positions))[pairs[0]]
    common = near[pairs[1][:, None], neighbours] & (neighbours != pairs[0][:, None])
    return _Bonds(positions / unit, pairs, vectors, near, common, neighbours, second)


def _table(pairs: np.ndarray, atoms: int) -> np.ndarray:
    """Return the neighbours of each atom [atom, place], padded with the atom itself."""
    first, second = np.concatenate([pairs, pairs[::-1]], axis=1)
    order = np.argsort(first, kind="stable")
    first, second = first[order], second[order]
    count = np.bincount(first, minlength=atoms)
    place = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    table = np.repeat(np.arange(atoms)[:, None], count.max(), axis=1)
    table[first, place] = second
    return table


def _fivefold(bonds: _Bonds) -> tuple[str, bool] | None:
    """Return what five-fold bonds make, and whether a centre, or an axis, lies inside; None where they make nothing.

    An axis that runs along less than half of the particle is a chance piece at its surface. A centre is an atom with
    ten five-fold bonds or more; without one the axes are those of an icosahedron's part.
    """
    five = np.flatnonzero(bonds.common.sum(axis=1) == 5)
    ring = bonds.neighbours[five][bonds.common[five]].reshape(-1, 5)
    five = five[(bonds.near[ring[:, :, None], ring[:, None, :]].sum(axis=2) == 2).all(axis=1)]
    if not len(five):
        return None
    ways = bonds.vectors[five] / np.linalg.norm(bonds.vectors[five], axis=1, keepdims=True)
    cosines = abs(ways @ ways.T)
    parallel = cosines > PARALLEL
    axis = ways[parallel.sum(axis=1).argmax()]
    along = len(five) > AXIS * np.ptp(bonds.positions @ axis)
    if parallel.all():
        return ("decahedron", True) if along else None
    angled = abs(np.arccos(np.minimum(cosines, 1)) - FIVEFOLD) < math.radians(12)
    if (parallel | angled).mean() < 0.8:
        return None
    centre = bool(np.bincount(bonds.pairs[:, five].ravel()).max() >= 10)
    return ("icosahedron", centre) if along or centre else None


def _square(bonds: _Bonds) -> bool:
    """Return whether most bonds are parallel or perpendicular to each other."""
    ways = bonds.vectors[:: max(1, len(bonds.vectors) // SAMPLE)]
    ways = ways / np.linalg.norm(ways, axis=1, keepdims=True)
    cosines = abs(ways @ ways.T)
    return bool(((cosines < 0.3) | (cosines > 0.95)).mean() > 0.8)


def _layers(bonds: _Bonds, spacing: float) -> int:
    """Return how many layers of a spacing fit into the least extent along the principal axes."""
    x = bonds.positions - bonds.positions.mean(axis=0)
    return round(float(np.ptp(x @ np.linalg.eigh(x.T @ x)[1], axis=0).min()) / spacing) + 1


def _stack(bonds: _Bonds) -> tuple[float, np.ndarray]:
    """Return the share of bonds in order along the best axis of layers, and which inner layers are hexagonal.

    In order is a bond within a layer or from one to the next. Of several axes as good, as in fcc, that of the fewest
    layers counts.
    """
    axes = _axes(bonds)
    if not len(axes):
        return 0.0, np.zeros(0, bool)
    heights = bonds.vectors @ axes.T
    between = abs(abs(heights) - LAYER) < FLAT
    order = (between | (abs(heights) < FLAT)).mean(axis=0)
    best = np.flatnonzero(order > order.max() - 0.003)
    turns = [_turns(bonds, axes[k], heights[:, k], between[:, k]) for k in best]
    return float(order.max()), min(turns, key=lambda each: (len(each), -each.sum()))


def _axes(bonds: _Bonds) -> np.ndarray:
    """Return the directions [axis, 3] that many triangles of neighbours stand on, made exact by the bonds across."""
    chosen = np.arange(0, len(bonds.vectors), max(1, len(bonds.vectors) // SAMPLE))
    row, place = np.nonzero(bonds.common[chosen])
    row = chosen[row]
    third = bonds.positions[bonds.neighbours[row, place]] - bonds.positions[bonds.pairs[0, row]]
    normals = np.cross(bonds.vectors[row], third)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    alike = (abs(normals @ normals.T) > ALIKE).astype(np.float32)
    left, axes = np.ones(len(normals), np.float32), np.zeros((0, 3))
    while len(axes) < 8:
        count = (alike @ left) * left
        if count.max(initial=0) < max(1, 0.04 * len(normals)):
            break
        group = alike[count.argmax()] > 0
        left[group] = 0
        axis = np.linalg.eigh(normals[group].T @ normals[group])[1][:, 2]
        flat = bonds.vectors[abs(bonds.vectors @ axis) < FLAT]
        axis = np.linalg.eigh(flat.T @ flat)[1][:, 0] if len(flat) > 5 else axis
        if not (abs(axes @ axis) > ALIKE).any():
            axes = np.concatenate([axes, axis[None]])
    return axes


def _turns(bonds: _Bonds, axis: np.ndarray, heights: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Return for each inner layer along an axis whether it is hexagonal: whether the layers beside it are alike.

    Bonds from a layer up to the next point three ways, so that exp(3iφ) of their azimuths φ is one number, and -1 times
    it where the next but one goes back instead of on.
    """
    if not between.any():
        return np.zeros(0, bool)
    spacing = abs(heights[between]).mean()
    level = bonds.positions @ axis / spacing
    level -= np.angle(np.exp(2j * np.pi * level).mean()) / (2 * np.pi)
    layer = np.round(level).astype(int)
    layer -= layer.min()
    up = np.sign(heights[between])
    lower = np.where(up > 0, *layer[bonds.pairs[:, between]])
    across = np.linalg.svd(axis[None])[2][1:] @ (bonds.vectors[between] * up[:, None]).T
    ways = np.exp(3j * np.arctan2(across[1], across[0]))
    step = np.bincount(lower, ways.real) + 1j * np.bincount(lower, ways.imag)
    turn = (step[1:] * step[:-1].conj()).real
    return turn[turn != 0] < 0
