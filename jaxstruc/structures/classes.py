r"""Clusters of a library gathered by kind of packing and size: the mean distances of each class, larger balls beyond.

A sample of many particles is a sum over such classes. Compact members of a class count alike, so that a rule that lists
more of them does not count more. Beyond the library's largest, a class is a ball cut about a random place: at a
distance r it keeps the share $\gamma(r) = 1 - 3r/2D + r^3/2D^3$ of the pairs of its packing (A. Guinier, G. Fournet,
Small-angle scattering of X-rays, 1955). Lengths in bonds; sizes are diameters of spheres of equal volume.
"""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from ase.cluster import Decahedron, Icosahedron
from scipy.spatial import KDTree

from jaxstruc.structures import kinds, lattices
from jaxstruc.structures.distances import Histogram
from jaxstruc.structures.families import TYPES
from jaxstruc.structures.library import WIDTH, Library

STEP = 0.06
"""Of a class, in the logarithm of the size."""
COMPACT = 1.3
"""Longest extent over size up to which a cluster is compact."""
LARGEST = 27.0
"""Bonds. Size of the largest class beyond the library's, some 75 Å."""
BEYOND = 30.0
"""Bonds. Longest distance that is kept."""
VOLUMES = {"bcc": 4 / (3 * math.sqrt(3)), "sc": 1.0}
"""Cubed bonds an atom; that of a close packing for the others."""
PACKINGS: Mapping[str, str] = {
    "icosahedron": "icosahedron",
    "decahedron": "decahedron",
    "octahedron": "fcc",
    "fcc": "fcc",
    "twin": "twin",
    "fault": "fault",
    "hcp": "hcp",
    "bcc": "bcc",
    "sc": "sc",
}
"""Kind of packing of each family."""
STACKS: Mapping[str, tuple[str, ...]] = {
    "fcc": ("c",),
    "hcp": ("h",),
    "fault": ("hc", "hcc", "hhc", "hccc", "hhhc"),
}
"""Words of layers of the balls beyond the library."""
INSIDE: Mapping[str, float] = {"icosahedron": 0.4, "decahedron": 1.0}
"""Bonds, by which the centre, or the axis, lies inside a ball at least whose atoms show it."""
SAMPLED = 150
"""Atoms from which the distances in a five-fold ball are counted."""


class Classes(NamedTuple):
    """Classes of clusters, by packing and then by size."""

    packings: tuple[str, ...]
    """Their names."""
    packing: np.ndarray
    """[class] which of the names."""
    place: np.ndarray
    """[class] of the size, in `sizes`."""
    size: np.ndarray
    """[class] mean size of the members, in bonds."""
    types: np.ndarray
    """[class] fcc, hcp, faulted, bcc, sc, icosahedron, decahedron, or empty."""
    members: np.ndarray
    """[class] compact clusters of the library in it; 0 for balls beyond."""
    histogram: Histogram
    """[class, bin] of the distances, for one atom."""
    sizes: np.ndarray
    """Bonds. Even in the logarithm."""


def size(library: Library, rows: np.ndarray) -> np.ndarray:
    """Return the diameters [row] of spheres of the volumes of some candidates, in bonds."""
    return sphere(library.atoms[rows], np.array([volume(family) for family in library.families[rows]]))


def volume(packing: str) -> float:
    """Return the volume an atom takes, in cubed bonds."""
    return VOLUMES.get(packing, math.sqrt(0.5))


def sphere(atoms, volume):
    """Return the diameter of a sphere of so many atoms of a volume."""
    return (6 / math.pi * atoms * volume) ** (1 / 3)


def packings(library: Library, rows: np.ndarray) -> np.ndarray:
    """Return the kind of packing [row] of a library's candidates by their rule, or "" where their atoms do not show it.

    A ball that is cut far off the middle of a five-fold particle has hardly five grains.
    """
    found = np.array([PACKINGS[family] for family in library.families[rows]], object)
    radius = size(library, rows) / 2
    for at in np.flatnonzero(np.isin(found, list(INSIDE))):
        off = re.search(r"([\d.]+) from the", str(library.labels[rows[at]]))
        if off and float(off[1]) > radius[at] - INSIDE[found[at]]:
            found[at] = ""
    return found


def fivefold(packing: str, shells: int) -> np.ndarray:
    """Return the atoms [atom, 3] of a large icosahedron or decahedron about its middle, in bonds of fcc."""
    if packing == "icosahedron":
        points = Icosahedron("Au", shells, latticeconstant=math.sqrt(2)).positions
    else:
        points = Decahedron("Au", shells, shells, 0, latticeconstant=math.sqrt(2)).positions
    return points - points.mean(axis=0)


def classes(library: Library, rows: np.ndarray, packings: np.ndarray) -> Classes:
    """Return the classes of some candidates.

    Args:
        library: of the candidates.
        rows: their indices.
        packings: [row] the kind of packing of each; those without one are left out.
    """
    rows, packings = rows[packings != ""], packings[packings != ""]
    names = tuple(dict.fromkeys([*(name for name in PACKINGS.values() if name in packings), *packings.tolist()]))
    own = size(library, rows)
    place = np.rint(np.log(own) / STEP).astype(int)
    first, last = int(place.min()), round(math.log(LARGEST) / STEP)
    count = max(last, int(place.max())) - first + 1
    key = np.array([names.index(name) for name in packings]) * count + place - first
    compact = (library.diameter[rows] + 1) / own <= COMPACT
    for lonely in np.setdiff1d(key, key[compact]):  # no compact one: the most compact
        where = np.flatnonzero(key == lonely)
        compact[where[np.argmin(library.diameter[rows][where] / own[where])]] = True
    members = np.bincount(key[compact], minlength=len(names) * count)
    mean = np.bincount(key[compact], own[compact], len(members)) / np.maximum(members, 1)
    sizes = np.exp((first + np.arange(count)) * STEP)
    sums = _sums(library, rows[compact], key[compact], len(members)) / np.maximum(members, 1)[:, None]
    for number, name in enumerate(names):
        for at in range(int(place[packings == name].max()) - first + 1, count):
            ball = _ball(name, float(sizes[at]))
            if ball is not None:
                row = number * count + at
                sums[:, row], mean[row], members[row] = ball, sizes[at], 0
    kept = np.flatnonzero(mean > 0)
    return Classes(
        names, kept // count, kept % count, mean[kept],
        np.array([_type(names[row // count], float(mean[row])) for row in kept], object),
        members[kept], _histogram(sums[:, kept]), sizes,
    )  # fmt: skip


def _type(packing: str, size: float) -> str:
    """Return the type of a class. One twin plane among so many layers is no fault."""
    layers = size / lattices.LAYER + 1
    if packing == "twin" and 1 / max(layers - 2, 1) < kinds.CUBIC:
        return "fcc"
    return TYPES.get(packing, packing if packing in TYPES.values() else "")


def _sums(library: Library, rows: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    """Return [3, class, bin] sums over candidates of pairs an atom, these times distance, and times its square."""
    bins = round(BEYOND / WIDTH)
    found = np.zeros((3, count * bins))
    where = np.full(len(library.atoms), -1)
    where[rows] = key
    owner = np.repeat(np.arange(len(library.atoms)), np.diff(library.bins))
    kept = np.flatnonzero((where[owner] >= 0) & (library.mean < BEYOND - WIDTH))
    owner, mean = owner[kept], library.mean[kept].astype(float)
    at = where[owner] * bins + np.rint(mean / WIDTH).astype(np.intp)
    weight = library.weight[kept] / library.atoms[owner]
    for power, column in enumerate((weight, weight * mean, weight * (mean**2 + library.variance[kept]))):
        found[power] = np.bincount(at, column, count * bins)
    return found.reshape(3, count, bins)


def _histogram(sums: np.ndarray) -> Histogram:
    """Return the distances of sums."""
    filled = np.where(sums[0] > 0, sums[0], 1.0)
    mean = np.where(sums[0] > 0, sums[1] / filled, np.arange(sums.shape[2]) * WIDTH)
    variance = np.where(sums[0] > 0, np.maximum(sums[2] / filled - mean**2, 0.0), 0.0)
    weight, mean, variance = (column.astype(np.float32) for column in (sums[0], mean, variance))
    return Histogram(weight, mean, variance, np.ones(sums.shape[1], np.float32))


def _ball(packing: str, diameter: float) -> np.ndarray | None:
    """Return [3, bin] as `_sums`, of balls of a packing; None where there are none."""
    if packing in STACKS:
        distance, pairs = _neighbours(packing)
        part = distance / diameter
        pairs = pairs * np.where(part < 1, 1 - 1.5 * part + 0.5 * part**3, 0.0)
    elif packing in ("icosahedron", "decahedron"):
        points = _fivefold(packing)
        inside = points[np.linalg.norm(points, axis=1) < diameter / 2]
        some = inside[np.random.default_rng(0).choice(len(inside), min(SAMPLED, len(inside)), replace=False)]
        distance = np.sqrt(np.maximum(((some[:, None] - inside) ** 2).sum(axis=2), 0.0)).ravel()
        distance = distance[(distance > 0.5) & (distance < BEYOND - WIDTH)]
        pairs = np.full(len(distance), 1 / len(some))
    else:
        return None
    at, bins = np.rint(distance / WIDTH).astype(np.intp), round(BEYOND / WIDTH)
    return np.stack([np.bincount(at, pairs * distance**power, bins) for power in range(3)])


@lru_cache(maxsize=8)
def _neighbours(packing: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances from an atom of an endless packing, and how many atoms are at each, mean over layers."""
    found, words = [], STACKS[packing]
    for word in words:
        points = lattices.stack(word, reach=math.ceil(BEYOND / lattices.LAYER) + len(word))
        for layer in range(len(word)):
            level = points[abs(points[:, 2] - layer * lattices.LAYER) < 1e-6]
            origin = level[np.argmin(np.linalg.norm(level, axis=1))]
            apart = np.round(np.linalg.norm(points - origin, axis=1), 5)
            distance, count = np.unique(apart[(apart > 0.5) & (apart < BEYOND - WIDTH)], return_counts=True)
            found.append((distance, count / len(word) / len(words)))
    distances, counts = zip(*found, strict=True)
    return np.concatenate(distances), np.concatenate(counts)


@lru_cache(maxsize=2)
def _fivefold(packing: str) -> np.ndarray:
    """Return the atoms of a large icosahedron, or of a large decahedron, about its middle, bonds of 1 in the mean."""
    points = fivefold(packing, math.ceil(LARGEST / 2) + 3)
    return points / kinds.bond(KDTree(points[np.linalg.norm(points, axis=1) < 6]))
