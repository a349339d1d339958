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

from jaxstruc.clusters import lattices, structure_type
from jaxstruc.clusters.distances import Histogram
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import BIN_WIDTH, Library

LOG_SIZE_STEP = 0.06
"""Of a class, in the logarithm of the size."""
MAX_COMPACT_ELONGATION = 1.3
"""Longest extent over size up to which a cluster is compact."""
MAX_CLASS_SIZE = 27.0
"""Bonds. Size of the largest class beyond the library's, some 75 Å."""
MAX_CLASS_DISTANCE = 30.0
"""Bonds. Longest distance that is kept."""
ATOM_VOLUMES = {"bcc": 4 / (3 * math.sqrt(3)), "sc": 1.0}
"""Cubed bonds an atom; that of a close packing for the others."""
FAMILY_PACKINGS: Mapping[str, str] = {
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
BALL_STACKING_SEQUENCES: Mapping[str, tuple[str, ...]] = {
    "fcc": ("c",),
    "hcp": ("h",),
    "fault": ("hc", "hcc", "hhc", "hccc", "hhhc"),
}
"""Words of layers of the balls beyond the library."""
MIN_FIVEFOLD_DEPTH: Mapping[str, float] = {"icosahedron": 0.4, "decahedron": 1.0}
"""Bonds, by which the centre, or the axis, lies inside a ball at least whose atoms show it."""
MAX_SAMPLED_ATOMS = 150
"""Atoms from which the distances in a five-fold ball are counted."""


class SizeClasses(NamedTuple):
    """Classes of clusters, by packing and then by size."""

    packing_names: tuple[str, ...]
    """Their names."""
    packing_index: np.ndarray
    """[class] which of the names."""
    size_index: np.ndarray
    """[class] of the size, in `size_grid`."""
    mean_size: np.ndarray
    """[class] mean size of the members, in bonds."""
    structure_types: np.ndarray
    """[class] fcc, hcp, faulted, bcc, sc, icosahedron, decahedron, or empty."""
    n_members: np.ndarray
    """[class] compact clusters of the library in it; 0 for balls beyond."""
    histogram: Histogram
    """[class, bin] of the distances, for one atom."""
    size_grid: np.ndarray
    """Bonds. Even in the logarithm."""


def candidate_sizes(library: Library, rows: np.ndarray) -> np.ndarray:
    """Return the diameters [row] of spheres of the volumes of some candidates, in bonds."""
    return equivalent_sphere_diameter(
        library.atoms[rows], np.array([atom_volume(family) for family in library.families[rows]])
    )


def atom_volume(packing: str) -> float:
    """Return the volume an atom takes, in cubed bonds."""
    return ATOM_VOLUMES.get(packing, math.sqrt(0.5))


def equivalent_sphere_diameter(n_atoms, volume):
    """Return the diameter of a sphere of so many atoms of a volume."""
    return (6 / math.pi * n_atoms * volume) ** (1 / 3)


def candidate_packings(library: Library, rows: np.ndarray) -> np.ndarray:
    """Return the kind of packing [row] of a library's candidates by their rule, or "" where their atoms do not show it.

    A ball that is cut far off the middle of a five-fold particle has hardly five grains.
    """
    packings = np.array([FAMILY_PACKINGS[family] for family in library.families[rows]], object)
    radii = candidate_sizes(library, rows) / 2
    for index in np.flatnonzero(np.isin(packings, list(MIN_FIVEFOLD_DEPTH))):
        match = re.search(r"([\d.]+) from the", str(library.labels[rows[index]]))
        if match and float(match[1]) > radii[index] - MIN_FIVEFOLD_DEPTH[packings[index]]:
            packings[index] = ""
    return packings


def fivefold_positions(packing: str, shells: int) -> np.ndarray:
    """Return the atoms [atom, 3] of a large icosahedron or decahedron about its middle, in bonds of fcc."""
    if packing == "icosahedron":
        positions = Icosahedron("Au", shells, latticeconstant=math.sqrt(2)).positions
    else:
        positions = Decahedron("Au", shells, shells, 0, latticeconstant=math.sqrt(2)).positions
    return positions - positions.mean(axis=0)


def build_size_classes(library: Library, rows: np.ndarray, packings: np.ndarray) -> SizeClasses:
    """Return the size classes of some candidates; beyond the largest candidate of a packing, balls stand for them.

    Args:
        library: of the candidates.
        rows: indices of the candidates.
        packings: [row] packing of each candidate; candidates without one are left out.
    """
    rows, packings = rows[packings != ""], packings[packings != ""]
    packing_names = tuple(
        dict.fromkeys([*(name for name in FAMILY_PACKINGS.values() if name in packings), *packings.tolist()])
    )
    size = candidate_sizes(library, rows)
    log_size_index = np.rint(np.log(size) / LOG_SIZE_STEP).astype(int)
    first_index, last_index = int(log_size_index.min()), round(math.log(MAX_CLASS_SIZE) / LOG_SIZE_STEP)
    size_index = log_size_index - first_index
    n_sizes = max(last_index - first_index, int(size_index.max())) + 1
    size_grid = np.exp((first_index + np.arange(n_sizes)) * LOG_SIZE_STEP)
    class_index = np.array([packing_names.index(name) for name in packings]) * n_sizes + size_index
    is_compact = _compact_candidates(library.diameter[rows], size, class_index)
    n_members, mean_size, moments = _candidate_classes(
        library, rows[is_compact], size[is_compact], class_index[is_compact], len(packing_names) * n_sizes
    )
    for packing_index, name in enumerate(packing_names):
        for ball_index in range(int(size_index[packings == name].max()) + 1, n_sizes):
            ball_moments = _ball_moments(name, float(size_grid[ball_index]))
            if ball_moments is not None:
                row = packing_index * n_sizes + ball_index
                moments[:, row], mean_size[row], n_members[row] = ball_moments, size_grid[ball_index], 0
    filled_classes = np.flatnonzero(mean_size > 0)
    structure_types = [
        _class_structure_type(packing_names[row // n_sizes], float(mean_size[row])) for row in filled_classes
    ]
    return SizeClasses(
        packing_names,
        filled_classes // n_sizes,
        filled_classes % n_sizes,
        mean_size[filled_classes],
        np.array(structure_types, object),
        n_members[filled_classes],
        _histogram_from_moments(moments[:, filled_classes]),
        size_grid,
    )


def _compact_candidates(diameter: np.ndarray, size: np.ndarray, class_index: np.ndarray) -> np.ndarray:
    """Return which candidates are compact; of a class without a compact candidate, the most compact one."""
    is_compact = (diameter + 1) / size <= MAX_COMPACT_ELONGATION
    for empty_class in np.setdiff1d(class_index, class_index[is_compact]):
        class_members = np.flatnonzero(class_index == empty_class)
        is_compact[class_members[np.argmin(diameter[class_members] / size[class_members])]] = True
    return is_compact


def _candidate_classes(
    library: Library, rows: np.ndarray, size: np.ndarray, class_index: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of candidates in each class, their mean size, and the mean moments [3, class, bin] of each."""
    n_members = np.bincount(class_index, minlength=n_classes)
    divisor = np.maximum(n_members, 1)
    mean_size = np.bincount(class_index, size, n_classes) / divisor
    return n_members, mean_size, _class_moments(library, rows, class_index, n_classes) / divisor[:, None]


def _class_structure_type(packing: str, size: float) -> str:
    """Return the type of a class. One twin plane among so many layers is no fault."""
    n_layers = size / lattices.LAYER_SPACING + 1
    if packing == "twin" and 1 / max(n_layers - 2, 1) < structure_type.MAX_FCC_HEXAGONAL_SHARE:
        return "fcc"
    return FAMILY_TYPES.get(packing, packing if packing in FAMILY_TYPES.values() else "")


def _class_moments(library: Library, rows: np.ndarray, candidate_class: np.ndarray, n_classes: int) -> np.ndarray:
    """Return [3, class, bin] sums over candidates of pairs an atom, these times distance, and times its square."""
    n_bins = round(MAX_CLASS_DISTANCE / BIN_WIDTH)
    moments = np.zeros((3, n_classes * n_bins))
    class_of_candidate = np.full(len(library.atoms), -1)
    class_of_candidate[rows] = candidate_class
    bin_candidate = np.repeat(np.arange(len(library.atoms)), np.diff(library.bin_starts))
    bin_rows = np.flatnonzero(
        (class_of_candidate[bin_candidate] >= 0) & (library.mean < MAX_CLASS_DISTANCE - BIN_WIDTH)
    )
    bin_candidate, mean = bin_candidate[bin_rows], library.mean[bin_rows].astype(float)
    bin_index = class_of_candidate[bin_candidate] * n_bins + np.rint(mean / BIN_WIDTH).astype(np.intp)
    weight = library.weight[bin_rows] / library.atoms[bin_candidate]
    for power, values in enumerate((weight, weight * mean, weight * (mean**2 + library.variance[bin_rows]))):
        moments[power] = np.bincount(bin_index, values, n_classes * n_bins)
    return moments.reshape(3, n_classes, n_bins)


def _histogram_from_moments(moments: np.ndarray) -> Histogram:
    """Return the distances of sums."""
    safe_weight = np.where(moments[0] > 0, moments[0], 1.0)
    mean = np.where(moments[0] > 0, moments[1] / safe_weight, np.arange(moments.shape[2]) * BIN_WIDTH)
    variance = np.where(moments[0] > 0, np.maximum(moments[2] / safe_weight - mean**2, 0.0), 0.0)
    weight, mean, variance = (column.astype(np.float32) for column in (moments[0], mean, variance))
    return Histogram(weight, mean, variance, np.ones(moments.shape[1], np.float32))


def _ball_moments(packing: str, diameter: float) -> np.ndarray | None:
    """Return the moments [3, bin] of a ball of a packing, as `_class_moments`; None if the packing has no balls."""
    if packing in BALL_STACKING_SEQUENCES:
        distance, pair_counts = _packing_distances(packing)
        relative_distance = distance / diameter
        pair_counts = pair_counts * np.where(
            relative_distance < 1, 1 - 1.5 * relative_distance + 0.5 * relative_distance**3, 0.0
        )
    elif packing in ("icosahedron", "decahedron"):
        positions = _unit_bond_positions(packing)
        ball_positions = positions[np.linalg.norm(positions, axis=1) < diameter / 2]
        sampled_positions = ball_positions[
            np.random.default_rng(0).choice(
                len(ball_positions), min(MAX_SAMPLED_ATOMS, len(ball_positions)), replace=False
            )
        ]
        distance = np.sqrt(np.maximum(((sampled_positions[:, None] - ball_positions) ** 2).sum(axis=2), 0.0)).ravel()
        distance = distance[(distance > 0.5) & (distance < MAX_CLASS_DISTANCE - BIN_WIDTH)]
        pair_counts = np.full(len(distance), 1 / len(sampled_positions))
    else:
        return None
    bin_index, n_bins = np.rint(distance / BIN_WIDTH).astype(np.intp), round(MAX_CLASS_DISTANCE / BIN_WIDTH)
    return np.stack([np.bincount(bin_index, pair_counts * distance**power, n_bins) for power in range(3)])


@lru_cache(maxsize=8)
def _packing_distances(packing: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances from an atom of an endless packing, and how many atoms are at each, mean over layers."""
    layer_distances, sequences = [], BALL_STACKING_SEQUENCES[packing]
    for sequence in sequences:
        points = lattices.stack(sequence, reach=math.ceil(MAX_CLASS_DISTANCE / lattices.LAYER_SPACING) + len(sequence))
        for layer in range(len(sequence)):
            layer_points = points[abs(points[:, 2] - layer * lattices.LAYER_SPACING) < 1e-6]
            origin = layer_points[np.argmin(np.linalg.norm(layer_points, axis=1))]
            point_distances = np.round(np.linalg.norm(points - origin, axis=1), 5)
            distance, n_at_distance = np.unique(
                point_distances[(point_distances > 0.5) & (point_distances < MAX_CLASS_DISTANCE - BIN_WIDTH)],
                return_counts=True,
            )
            layer_distances.append((distance, n_at_distance / len(sequence) / len(sequences)))
    distances, counts = zip(*layer_distances, strict=True)
    return np.concatenate(distances), np.concatenate(counts)


@lru_cache(maxsize=2)
def _unit_bond_positions(packing: str) -> np.ndarray:
    """Return the atoms of a large icosahedron, or of a large decahedron, about its middle, bonds of 1 in the mean."""
    positions = fivefold_positions(packing, math.ceil(MAX_CLASS_SIZE / 2) + 3)
    return positions / structure_type.mean_bond(KDTree(positions[np.linalg.norm(positions, axis=1) < 6]))
