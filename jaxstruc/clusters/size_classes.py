r"""Size classes: groups of clusters of a library with the same packing and about the same size.

The PDF of a sample with many particles is a weighted sum over size classes. A packing is an arrangement of atoms such
as fcc, fcc with a twin plane, or an icosahedron. The size of a cluster is the diameter of a sphere of equal volume. The
histogram of a class is the mean over its compact clusters. Lengths are in units of the bond length.

Some packings have classes above the largest size in the library. For icosahedra and decahedra, such a class is a ball
about the centre. For fcc, hcp and faulted stacks, it is a ball of diameter D about a random point. This ball holds the
share

$$\gamma(r) = 1 - \frac{3r}{2D} + \frac{r^3}{2D^3}$$

of the pairs of the infinite packing at the distance r (A. Guinier, G. Fournet, Small-angle scattering of X-rays, 1955).
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
"""Width of a class in the natural logarithm of the size."""
MAX_COMPACT_ELONGATION = 1.3
"""Largest ratio of the longest extent of a compact cluster to its size."""
MAX_CLASS_SIZE = 27.0
"""Size of the largest class, in units of the bond length (about 75 Å)."""
MAX_CLASS_DISTANCE = 30.0
"""Longest distance in the histograms, in units of the bond length."""
ATOM_VOLUMES = {"bcc": 4 / (3 * math.sqrt(3)), "sc": 1.0}
"""Volume per atom, in units of the cubed bond length. Packings that are not listed have that of close-packed layers."""
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
"""Packing of the clusters of each family."""
BALL_STACKING_SEQUENCES: Mapping[str, tuple[str, ...]] = {
    "fcc": ("c",),
    "hcp": ("h",),
    "fault": ("hc", "hcc", "hhc", "hccc", "hhhc"),
}
"""Stacking sequences of the balls that are larger than the clusters of the library (h or c for each layer)."""
MIN_FIVEFOLD_DEPTH: Mapping[str, float] = {"icosahedron": 0.4, "decahedron": 1.0}
"""Smallest depth of a five-fold centre or axis below the surface of a ball, in units of the bond length. At smaller
depths, the atoms of the ball do not show the five-fold packing."""
MAX_REPRESENTATIVES: Mapping[str, int] = {"icosahedron": 12, "decahedron": 4}
"""Largest number of candidates that represent a class, by packing. Members of a five-fold class differ most in their
displacements, because the centre or axis lies at different depths."""
DEFAULT_REPRESENTATIVES = 2
"""Largest number of representatives of a class of another packing."""
BALL_CENTRE = (0.31, 0.17, 0.23)
"""Centre of the balls of stacked layers for which positions are made, in units of the bond length."""
MAX_SAMPLED_ATOMS = 150
"""Largest number of atoms in a ball of an icosahedron or decahedron whose distances to all other atoms are computed."""


class SizeClasses(NamedTuple):
    """Size classes of clusters, sorted by packing and then by size."""

    packing_names: tuple[str, ...]
    """Names of the packings."""
    packing_index: np.ndarray
    """Index of the packing of each class in `packing_names` [class]."""
    size_index: np.ndarray
    """Index of the size of each class in `size_grid` [class]."""
    mean_size: np.ndarray
    """Mean size of the members of each class [class], in units of the bond length."""
    structure_types: np.ndarray
    """Structure type of each class: fcc, hcp, faulted, bcc, sc, icosahedron, decahedron, or empty [class]."""
    n_members: np.ndarray
    """Number of compact clusters of the library in each class [class]. It is 0 for the balls above the library's sizes.
    """
    histogram: Histogram
    """Mean histogram of each class, divided by the number of atoms [class, bin]."""
    size_grid: np.ndarray
    """Sizes of the classes, in units of the bond length. Their logarithms are equally spaced."""


def candidate_sizes(library: Library, rows: np.ndarray) -> np.ndarray:
    """Return the sizes of some candidates [row], in units of the bond length."""
    return equivalent_sphere_diameter(
        library.atoms[rows], np.array([atom_volume(family) for family in library.families[rows]])
    )


def atom_volume(packing: str) -> float:
    """Return the volume per atom of a packing, in units of the cubed bond length."""
    return ATOM_VOLUMES.get(packing, math.sqrt(0.5))


def equivalent_sphere_diameter(n_atoms, volume):
    """Return the diameter of a sphere with the volume of `n_atoms` atoms, given the volume of one atom."""
    return (6 / math.pi * n_atoms * volume) ** (1 / 3)


def candidate_packings(library: Library, rows: np.ndarray) -> np.ndarray:
    """Return the packing of candidates of a library [row]. It is empty if the atoms do not show the packing.

    The family of a candidate determines its packing. A ball of an icosahedron or decahedron does not show its packing
    if the five-fold centre or axis lies too close to the surface (see `MIN_FIVEFOLD_DEPTH`).
    """
    packings = np.array([FAMILY_PACKINGS[family] for family in library.families[rows]], object)
    radii = candidate_sizes(library, rows) / 2
    for index in np.flatnonzero(np.isin(packings, list(MIN_FIVEFOLD_DEPTH))):
        match = re.search(r"([\d.]+) from the", str(library.labels[rows[index]]))
        if match and float(match[1]) > radii[index] - MIN_FIVEFOLD_DEPTH[packings[index]]:
            packings[index] = ""
    return packings


def fivefold_positions(packing: str, shells: int) -> np.ndarray:
    """Return the positions of the atoms of a large icosahedron or decahedron [atom, 3] relative to its centre.

    The unit is the bond length of the fcc crystal of which the grains consist before they are strained.

    Args:
        packing: Packing, icosahedron or decahedron.
        shells: Number of shells of an icosahedron, or number of atoms along an edge of a decahedron.
    """
    if packing == "icosahedron":
        positions = Icosahedron("Au", shells, latticeconstant=math.sqrt(2)).positions
    else:
        positions = Decahedron("Au", shells, shells, 0, latticeconstant=math.sqrt(2)).positions
    return positions - positions.mean(axis=0)


def build_size_classes(library: Library, rows: np.ndarray, packings: np.ndarray) -> SizeClasses:
    """Return the size classes of some candidates, and of balls that are larger than the candidates of their packing.

    Args:
        library: Library of the candidates.
        rows: Indices of the candidates [row].
        packings: Packing of each candidate [row]. Candidates with an empty packing are left out.
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
        histogram_from_moments(moments[:, filled_classes]),
        size_grid,
    )


def class_representatives(
    library: Library, rows: np.ndarray, packings: np.ndarray, classes: SizeClasses
) -> list[np.ndarray]:
    """Return the library rows of a few candidates of each class. Classes of balls have none.

    The candidates are compact, and they are evenly spaced in the order of their elongation.

    Args:
        library: Library of the candidates.
        rows: Indices of the candidates [row].
        packings: Packing of each candidate [row]. Candidates with an empty packing are left out.
        classes: Size classes of these candidates.
    """
    rows, packings = rows[packings != ""], packings[packings != ""]
    size, n_sizes = candidate_sizes(library, rows), len(classes.size_grid)
    size_index = np.rint(np.log(size / classes.size_grid[0]) / LOG_SIZE_STEP).astype(int)
    class_index = np.array([classes.packing_names.index(name) for name in packings]) * n_sizes + size_index
    is_compact = _compact_candidates(library.diameter[rows], size, class_index)
    elongation = library.diameter[rows] / size
    representatives = []
    for packing, place in zip(classes.packing_index, classes.size_index, strict=True):
        count = MAX_REPRESENTATIVES.get(classes.packing_names[packing], DEFAULT_REPRESENTATIVES)
        members = np.flatnonzero(is_compact & (class_index == packing * n_sizes + place))
        members = members[np.argsort(elongation[members], kind="stable")]
        places = (np.arange(count) + 0.5) / count * len(members)
        representatives.append(rows[members[np.unique(places.astype(int))]] if len(members) else rows[:0])
    return representatives


def ball_positions(packing: str, diameter: float) -> np.ndarray:
    """Return the positions of a ball [atom, 3], for the packings that have classes of balls.

    Args:
        packing: Packing of the ball. If it has several stacking sequences, the size determines the sequence.
        diameter: Diameter of the ball, in units of the bond length.
    """
    if packing in BALL_STACKING_SEQUENCES:
        sequences = BALL_STACKING_SEQUENCES[packing]
        sequence = sequences[round(math.log(diameter) / LOG_SIZE_STEP) % len(sequences)]
        reach = math.ceil(diameter / 2 / lattices.LAYER_SPACING) + 2
        points = lattices.stack(sequence, reach=reach) - np.array(BALL_CENTRE)
    else:
        points = _unit_bond_positions(packing)
    return points[np.linalg.norm(points, axis=1) < diameter / 2]


def _compact_candidates(diameter: np.ndarray, size: np.ndarray, class_index: np.ndarray) -> np.ndarray:
    """Return a mask of the compact candidates. If a class has none, its most compact candidate is selected."""
    is_compact = (diameter + 1) / size <= MAX_COMPACT_ELONGATION
    for empty_class in np.setdiff1d(class_index, class_index[is_compact]):
        class_members = np.flatnonzero(class_index == empty_class)
        is_compact[class_members[np.argmin(diameter[class_members] / size[class_members])]] = True
    return is_compact


def _candidate_classes(
    library: Library, rows: np.ndarray, size: np.ndarray, class_index: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of candidates in each class, their mean size, and their mean moments [3, class, bin]."""
    n_members = np.bincount(class_index, minlength=n_classes)
    divisor = np.maximum(n_members, 1)
    mean_size = np.bincount(class_index, size, n_classes) / divisor
    return n_members, mean_size, _class_moments(library, rows, class_index, n_classes) / divisor[:, None]


def _class_structure_type(packing: str, size: float) -> str:
    """Return the structure type of a class. Large particles with one twin plane still have the type fcc."""
    n_layers = size / lattices.LAYER_SPACING + 1
    if packing == "twin" and 1 / max(n_layers - 2, 1) < structure_type.MAX_FCC_HEXAGONAL_SHARE:
        return "fcc"
    return FAMILY_TYPES.get(packing, packing if packing in FAMILY_TYPES.values() else "")


def _class_moments(library: Library, rows: np.ndarray, candidate_class: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the moments of each class [3, class, bin], summed over its candidates.

    The first moment is the number of ordered pairs per atom. The other two are the sums of the distance and of the
    squared distance over these pairs, per atom.
    """
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


def histogram_from_moments(moments: np.ndarray) -> Histogram:
    """Return the histogram with given moments [3, class, bin]."""
    safe_weight = np.where(moments[0] > 0, moments[0], 1.0)
    mean = np.where(moments[0] > 0, moments[1] / safe_weight, np.arange(moments.shape[2]) * BIN_WIDTH)
    variance = np.where(moments[0] > 0, np.maximum(moments[2] / safe_weight - mean**2, 0.0), 0.0)
    weight, mean, variance = (column.astype(np.float32) for column in (moments[0], mean, variance))
    return Histogram(weight, mean, variance, np.ones(moments.shape[1], np.float32))


def _ball_moments(packing: str, diameter: float) -> np.ndarray | None:
    """Return the moments of a ball [3, bin], as in `_class_moments`, or None if the packing has no balls."""
    if packing in BALL_STACKING_SEQUENCES:
        distance, pair_counts = _packing_distances(packing)
        relative_distance = distance / diameter
        pair_counts = pair_counts * np.where(
            relative_distance < 1, 1 - 1.5 * relative_distance + 0.5 * relative_distance**3, 0.0
        )
    elif packing in ("icosahedron", "decahedron"):
        positions = _unit_bond_positions(packing)
        positions = positions[np.linalg.norm(positions, axis=1) < diameter / 2]
        sampled_positions = positions[
            np.random.default_rng(0).choice(len(positions), min(MAX_SAMPLED_ATOMS, len(positions)), replace=False)
        ]
        distance = np.sqrt(np.maximum(((sampled_positions[:, None] - positions) ** 2).sum(axis=2), 0.0)).ravel()
        distance = distance[(distance > 0.5) & (distance < MAX_CLASS_DISTANCE - BIN_WIDTH)]
        pair_counts = np.full(len(distance), 1 / len(sampled_positions))
    else:
        return None
    bin_index, n_bins = np.rint(distance / BIN_WIDTH).astype(np.intp), round(MAX_CLASS_DISTANCE / BIN_WIDTH)
    return np.stack([np.bincount(bin_index, pair_counts * distance**power, n_bins) for power in range(3)])


@lru_cache(maxsize=8)
def _packing_distances(packing: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances from an atom in an infinite packing, and the mean number of atoms at each distance.

    The mean is taken over the layers of all stacking sequences of the packing.
    """
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
    """Return the positions of `fivefold_positions` for the largest class, scaled to a mean bond length of 1."""
    positions = fivefold_positions(packing, math.ceil(MAX_CLASS_SIZE / 2) + 3)
    return positions / structure_type.mean_bond(KDTree(positions[np.linalg.norm(positions, axis=1) < 6]))
