"""Lattices and stacks of layers, and what is cut from them by planes and spheres. Lengths in bonds unless said."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from jaxstruc.structures.atoms import Cluster

SHELL = 1.1
"""Nearest neighbours lie within this multiple of the median nearest distance: icosahedra have 5 % of strain, while the
second shell of bcc lies at 1.155."""
GROWTH = 1.08
"""Least ratio of the atoms of a sphere, or of a plane's distance, to that of the next smaller: thins out large ones."""
SLENDER = 2.5
"""Largest ratio of height to width, and of width to height, of decahedra and prisms."""
LESS = (0.0, 0.3, 0.8, 1.3, 1.8, 2.3)
"""How far from the outermost atoms planes cut off corners and edges."""
LAYER = math.sqrt(2 / 3)
"""Distance of close-packed layers."""
HOLLOW = 1 / math.sqrt(3)
"""Distance, in the layer, of an atom and the hollow beside it."""
SITES = {"atom": (0.0, 0.0), "bridge": (0.5, 0.0), "hollow": (0.0, HOLLOW), "other hollow": (0.0, -HOLLOW)}
"""Places in a close-packed layer."""
CENTRES = {
    "atom": (0, 0, 0),
    "octahedral hole": (1, 0, 0),
    "tetrahedral hole": (0.5, 0.5, 0.5),
    "bond": (0.5, 0.5, 0),
    "triangle": (2 / 3, 2 / 3, 0),
    "square": (0.5, 0, 0.5),
    "beside": (0.3, 0.2, 0.1),
}
"""Centres of cuts through the fcc lattice, in half lattice constants."""


def fcc_lattice(reach: int) -> np.ndarray:
    """Return the fcc lattice points of a cube, in half lattice constants: integers with an even sum."""
    steps = np.arange(-reach, reach + 1)
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return points[points.sum(axis=1) % 2 == 0]


def stack(word: str, *, reach: int = 18) -> np.ndarray:
    """Return a stack of close-packed layers [point, 3], `reach` on each side of layer 0, which has an atom at 0.

    Args:
        word: a letter a layer, h or c, repeated; the first is layer 0's.
        reach: layers, and atoms in the layer, on each side.
    """
    i, j = np.meshgrid(np.arange(-2 * reach, 2 * reach + 1), np.arange(-2 * reach, 2 * reach + 1))
    layer = np.stack([i + j / 2, j * math.sqrt(0.75), 0 * i], axis=-1).reshape(-1, 3)
    layer = layer[np.linalg.norm(layer, axis=1) <= reach]
    shift, step = {0: 0}, 1
    for k in range(reach):
        step = -step if k and word[k % len(word)] == "h" else step
        shift[k + 1] = (shift[k] + step) % 3
    step = 1 if word[0] == "h" else -1
    for k in range(0, -reach, -1):
        step = -step if k and word[k % len(word)] == "h" else step
        shift[k - 1] = (shift[k] + step) % 3
    return np.concatenate([layer + np.array([0, HOLLOW * at, LAYER * k]) for k, at in shift.items()])


def within(points: np.ndarray, radius: float) -> np.ndarray:
    """Return the points [point, 3] within a sphere about the origin."""
    return points[np.linalg.norm(points, axis=1) <= radius]


def scaled(family: str, label: str, positions: np.ndarray) -> Cluster:
    """Return the cluster with its mean nearest-neighbour distance made 1; atoms in one place make it infinite."""
    tree = KDTree(positions)
    nearest = np.median(tree.query(positions, k=2)[0][:, 1])
    first, second = tree.query_pairs(SHELL * nearest, output_type="ndarray").T
    bond = np.linalg.norm(positions[first] - positions[second], axis=1).mean()
    return centred(family, label, positions / bond)


def centred(family: str, label: str, positions: np.ndarray) -> Cluster:
    """Return the cluster of these positions, about their mean."""
    return Cluster(family, label, positions - positions.mean(axis=0))


def connected(positions: np.ndarray, *, bond: float = 1.0) -> bool:
    """Return whether atoms at most 1.2 bonds apart make one piece."""
    near = np.linalg.norm(positions[:, None] - positions[None], axis=-1) < 1.2 * bond
    return connected_components(near, directed=False)[0] == 1


def depths(offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far out points [point, 3] from a centre lie along the nearest (100), (110) and (111) directions."""
    largest = np.sort(np.abs(offsets), axis=1)[:, ::-1]
    return {
        "(100)": largest[:, 0],
        "(110)": largest[:, :2].sum(axis=1) / math.sqrt(2),
        "(111)": largest.sum(axis=1) / math.sqrt(3),
    }


def prism_depths(offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far out points lie along the stack, along its six sides, and along the slopes between."""
    angles = math.pi / 2 + np.arange(3) * math.pi / 3
    side = abs(offsets[:, :2] @ np.array([np.cos(angles), np.sin(angles)])).max(axis=1)
    height = abs(offsets[:, 2])
    slope = math.atan(2 * math.sqrt(8 / 3) / math.sqrt(3))
    return {"base": height, "sides": side, "less slopes": side * math.sin(slope) + height * math.cos(slope)}


def folded_depths(offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far out points lie along the (111), (100) and base planes of a crystal and of its mirror image."""
    folded = offsets * np.array([1, 1, 0]) + abs(offsets) * np.array([0, 0, 1])
    angles = math.pi / 2 + np.arange(3) * 2 * math.pi / 3
    around = np.array([np.cos(angles), np.sin(angles)])
    octahedron = np.array([*around * math.sqrt(8 / 9), np.full(3, 1 / 3)])
    cube = np.array([*around * math.sqrt(2 / 3), np.full(3, -math.sqrt(1 / 3))])
    depth = {"(111)": abs(folded @ octahedron).max(axis=1), "(100)": abs(folded @ cube).max(axis=1)}
    return depth | {"less base": folded[:, 2]}


def spheres(
    points: np.ndarray, centre: np.ndarray, where: str, least: int, most: int, *, growth: float = GROWTH
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield labels and points of spheres about a centre, each larger than the one before by `growth`."""
    radius = np.linalg.norm(points - centre, axis=1)
    order = np.argsort(radius, kind="stable")
    sizes = np.flatnonzero(np.diff(radius[order]) > 1e-3) + 1
    last = 0.0
    for size in sizes[(sizes >= least) & (sizes <= most)]:
        if size >= growth * last:
            last = float(size)
            yield f"sphere {radius[order[size - 1]]:.3f} {where}", points[order[:size]]


def solids(
    family: str,
    points: np.ndarray,
    depth: dict[str, np.ndarray],
    where: str,
    least: int,
    most: int,
    *,
    ratio: tuple[float, float] = (1 / SLENDER, SLENDER),
    growth: float = GROWTH,
    less: tuple[float, ...] = LESS,
) -> Iterator[Cluster]:
    """Yield the clusters cut by two sets of planes, and of these those with layers of a third set cut off.

    Args:
        family: of the clusters.
        points: [point, 3].
        depth: two sets of planes and a third, and how far out each point lies along them.
        where: what the label says after the planes.
        least: atoms.
        most: atoms.
        ratio: least and largest ratio of the second set's depth to the first's.
        growth: least ratio of a depth to the one before it.
        less: how far from the outermost atoms the third set cuts.
    """
    (first, a), (second, b), (third, c) = depth.items()
    seen = set()
    for low, high in itertools.product(_levels(a, growth), _levels(b, growth)):
        if not ratio[0] * low <= high <= ratio[1] * low:
            continue
        whole = np.flatnonzero((a <= low) & (b <= high))
        if len(whole) < least:
            continue
        for off in less:
            kept = whole[c[whole] <= c[whole].max() - off + 1e-5]
            if least <= len(kept) <= most and (key := kept.tobytes()) not in seen:
                seen.add(key)
                planes = f"planes {first} {low:.2f} {second} {high:.2f} {third} {off:.1f}"
                yield centred(family, f"{planes} {where}", points[kept])


def _levels(depth: np.ndarray, growth: float) -> list[float]:
    """Return depths that planes can have, at least 0.2 and by `growth` beyond the last, with room to round."""
    levels: list[float] = []
    for level in np.unique(np.round(depth, 6)):
        if not levels or level >= max(levels[-1] + 0.2, levels[-1] * growth) - 1e-5:
            levels.append(float(level) + 1e-5)
    return levels
