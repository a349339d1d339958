"""Lattices and stacks of close-packed layers, and the clusters that planes and spheres cut from them.

Lengths are in units of the bond length unless another unit is stated. The depth of a point with respect to a set of
equivalent planes is its largest distance from the centre along one of their normals. A cluster consists of the points
whose depths do not exceed given levels.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist, squareform

from jaxstruc.clusters.cluster import Cluster

NEIGHBOUR_SHELL_RATIO = 1.1
"""Largest distance between nearest neighbours, in units of the median nearest-neighbour distance. Bonds of icosahedra
differ by 5 %, and the second-nearest atoms of bcc are at 1.155."""
MIN_GROWTH_RATIO = 1.08
"""Smallest ratio of the numbers of atoms of two successive spheres, and of two successive levels of a set of planes. It
limits the number of large clusters."""
MAX_ASPECT_RATIO = 2.5
"""Largest ratio of height to width, and of width to height, of decahedra and prisms."""
TRUNCATION_DEPTHS = (0.0, 0.3, 0.8, 1.3, 1.8, 2.3)
"""Depths of the cuts that planes make at corners and edges, measured from the outermost atoms."""
LAYER_SPACING = math.sqrt(2 / 3)
"""Distance between close-packed layers."""
HOLLOW_DISTANCE = 1 / math.sqrt(3)
"""Distance within a close-packed layer between an atom and an adjacent hollow (centre of three atoms)."""
LAYER_SITES = {
    "atom": (0.0, 0.0),
    "bridge": (0.5, 0.0),
    "hollow": (0.0, HOLLOW_DISTANCE),
    "other hollow": (0.0, -HOLLOW_DISTANCE),
}
"""Positions of the sites in a close-packed layer [x, y]."""
FCC_CENTRES = {
    "atom": (0, 0, 0),
    "octahedral hole": (1, 0, 0),
    "tetrahedral hole": (0.5, 0.5, 0.5),
    "bond": (0.5, 0.5, 0),
    "triangle": (2 / 3, 2 / 3, 0),
    "square": (0.5, 0, 0.5),
    "beside": (0.3, 0.2, 0.1),
}
"""Centres of the clusters that are cut from the fcc lattice, in units of half the lattice constant."""


def fcc_lattice(reach: int) -> np.ndarray:
    """Return the points of the fcc lattice in a cube [point, 3], in units of half the lattice constant.

    The coordinates are integers from `-reach` to `reach` with an even sum.
    """
    steps = np.arange(-reach, reach + 1)
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return points[points.sum(axis=1) % 2 == 0]


def stack(sequence: str, *, reach: int = 18) -> np.ndarray:
    """Return the points of a stack of close-packed layers [point, 3]. Layer 0 has an atom at 0.

    Args:
        sequence: Stacking sequence with a letter h or c for each layer, beginning with layer 0. The sequence is
            repeated. A layer is h if the two adjacent layers lie at the same lateral position, otherwise c.
        reach: Number of layers on each side of layer 0, and radius of each layer in units of the bond length.
    """
    i, j = np.meshgrid(np.arange(-2 * reach, 2 * reach + 1), np.arange(-2 * reach, 2 * reach + 1))
    layer = np.stack([i + j / 2, j * math.sqrt(0.75), 0 * i], axis=-1).reshape(-1, 3)
    layer = layer[np.linalg.norm(layer, axis=1) <= reach]
    stacking_positions, step = {0: 0}, 1
    for k in range(reach):
        step = -step if k and sequence[k % len(sequence)] == "h" else step
        stacking_positions[k + 1] = (stacking_positions[k] + step) % 3
    step = 1 if sequence[0] == "h" else -1
    for k in range(0, -reach, -1):
        step = -step if k and sequence[k % len(sequence)] == "h" else step
        stacking_positions[k - 1] = (stacking_positions[k] + step) % 3
    return np.concatenate(
        [
            layer + np.array([0, HOLLOW_DISTANCE * stacking_position, LAYER_SPACING * k])
            for k, stacking_position in stacking_positions.items()
        ]
    )


def points_within(points: np.ndarray, radius: float) -> np.ndarray:
    """Return the points [point, 3] within the distance `radius` of the origin."""
    return points[np.linalg.norm(points, axis=1) <= radius]


def unit_bond_cluster(family: str, label: str, positions: np.ndarray) -> Cluster:
    """Return the cluster scaled to a mean nearest-neighbour distance of 1.

    Args:
        family: Family of the cluster.
        label: Label within the family.
        positions: Positions [atom, 3] in any unit. If half of the atoms coincide with others, the result is not finite.
    """
    tree = KDTree(positions)
    nearest_distance = np.median(tree.query(positions, k=2)[0][:, 1])
    first_atom, second_atom = tree.query_pairs(NEIGHBOUR_SHELL_RATIO * nearest_distance, output_type="ndarray").T
    bond = np.linalg.norm(positions[first_atom] - positions[second_atom], axis=1).mean()
    return centred_cluster(family, label, positions / bond)


def centred_cluster(family: str, label: str, positions: np.ndarray) -> Cluster:
    """Return the cluster with its mean position moved to 0."""
    return Cluster(family, label, positions - positions.mean(axis=0))


def is_connected(positions: np.ndarray, *, bond: float = 1.0) -> bool:
    """Return whether chains of neighbours connect all atoms. Neighbours are closer than 1.2 times `bond`."""
    is_neighbour = squareform(pdist(positions) < 1.2 * bond)
    return connected_components(is_neighbour, directed=False)[0] == 1


def plane_depths(offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Return the depths of points with respect to the {100}, {110} and {111} planes, by the name of the planes.

    Args:
        offsets: Points relative to the centre [point, 3].
    """
    sorted_coordinates = np.sort(np.abs(offsets), axis=1)[:, ::-1]
    return {
        "(100)": sorted_coordinates[:, 0],
        "(110)": sorted_coordinates[:, :2].sum(axis=1) / math.sqrt(2),
        "(111)": sorted_coordinates.sum(axis=1) / math.sqrt(3),
    }


def prism_depths(offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Return the depths of points with respect to the base, the six sides and the slopes of a hexagonal prism.

    The slopes are the planes between the base and the sides.

    Args:
        offsets: Points relative to the centre [point, 3]. The axis of the prism is z.
    """
    angles = math.pi / 2 + np.arange(3) * math.pi / 3
    side = abs(offsets[:, :2] @ np.array([np.cos(angles), np.sin(angles)])).max(axis=1)
    height = abs(offsets[:, 2])
    slope = math.atan(2 * math.sqrt(8 / 3) / math.sqrt(3))
    return {"base": height, "sides": side, "less slopes": side * math.sin(slope) + height * math.cos(slope)}


def folded_depths(offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Return the depths of points with respect to the {111}, {100} and base planes of a crystal and its mirror image.

    The mirror plane is z = 0.

    Args:
        offsets: Points relative to the centre [point, 3].
    """
    folded_offsets = offsets * np.array([1, 1, 0]) + abs(offsets) * np.array([0, 0, 1])
    angles = math.pi / 2 + np.arange(3) * 2 * math.pi / 3
    in_plane_directions = np.array([np.cos(angles), np.sin(angles)])
    octahedron = np.array([*in_plane_directions * math.sqrt(8 / 9), np.full(3, 1 / 3)])
    cube = np.array([*in_plane_directions * math.sqrt(2 / 3), np.full(3, -math.sqrt(1 / 3))])
    depth = {"(111)": abs(folded_offsets @ octahedron).max(axis=1), "(100)": abs(folded_offsets @ cube).max(axis=1)}
    return depth | {"less base": folded_offsets[:, 2]}


def spheres(
    points: np.ndarray,
    centre: np.ndarray,
    centre_label: str,
    min_atoms: int,
    max_atoms: int,
    *,
    growth: float = MIN_GROWTH_RATIO,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the labels of spheres about a centre, and the lattice points [point, 3] within each sphere.

    Args:
        points: Points of the lattice [point, 3].
        centre: Centre of the spheres [3].
        centre_label: Description of the centre in the label.
        min_atoms: Smallest number of atoms in a sphere.
        max_atoms: Largest number of atoms in a sphere.
        growth: Smallest ratio of the numbers of atoms of two successive spheres.
    """
    radius = np.linalg.norm(points - centre, axis=1)
    order = np.argsort(radius, kind="stable")
    sizes = np.flatnonzero(np.diff(radius[order]) > 1e-3) + 1
    last_size = 0.0
    for size in sizes[(sizes >= min_atoms) & (sizes <= max_atoms)]:
        if size >= growth * last_size:
            last_size = float(size)
            yield f"sphere {radius[order[size - 1]]:.3f} {centre_label}", points[order[:size]]


def polyhedra(
    family: str,
    points: np.ndarray,
    depth: dict[str, np.ndarray],
    centre_label: str,
    min_atoms: int,
    max_atoms: int,
    *,
    depth_ratio: tuple[float, float] = (1 / MAX_ASPECT_RATIO, MAX_ASPECT_RATIO),
    growth: float = MIN_GROWTH_RATIO,
    truncations: tuple[float, ...] = TRUNCATION_DEPTHS,
) -> Iterator[Cluster]:
    """Yield the clusters between two sets of planes whose corners or edges are cut off by a third set of planes.

    Args:
        family: Family of the clusters.
        points: Points of the lattice [point, 3].
        depth: Depths of the points with respect to the three sets of planes, by the names of the sets.
        centre_label: Description of the centre in the label.
        min_atoms: Smallest number of atoms in a cluster.
        max_atoms: Largest number of atoms in a cluster.
        depth_ratio: Smallest and largest ratio of the level of the second set to the level of the first set.
        growth: Smallest ratio of two successive levels of a set.
        truncations: Depths of the cuts of the third set, measured from the outermost atoms.
    """
    (first_planes, first_depth), (second_planes, second_depth), (third_planes, third_depth) = depth.items()
    known_atom_sets = set()
    for first_level, second_level in itertools.product(
        _plane_levels(first_depth, growth), _plane_levels(second_depth, growth)
    ):
        if not depth_ratio[0] * first_level <= second_level <= depth_ratio[1] * first_level:
            continue
        solid_rows = np.flatnonzero((first_depth <= first_level) & (second_depth <= second_level))
        if len(solid_rows) < min_atoms:
            continue
        for truncation in truncations:
            truncated_rows = solid_rows[third_depth[solid_rows] <= third_depth[solid_rows].max() - truncation + 1e-5]
            if (
                min_atoms <= len(truncated_rows) <= max_atoms
                and (row_bytes := truncated_rows.tobytes()) not in known_atom_sets
            ):
                known_atom_sets.add(row_bytes)
                planes_label = (
                    f"planes {first_planes} {first_level:.2f} {second_planes} {second_level:.2f} "
                    f"{third_planes} {truncation:.1f}"
                )
                yield centred_cluster(family, f"{planes_label} {centre_label}", points[truncated_rows])


def _plane_levels(depth: np.ndarray, growth: float) -> list[float]:
    """Return the levels of a set of planes. Each exceeds the previous level by at least 0.2 and the factor `growth`.

    A margin of 1e-5 is added to each level, so that rounding does not exclude points.
    """
    levels: list[float] = []
    for level in np.unique(np.round(depth, 6)):
        if not levels or level >= max(levels[-1] + 0.2, levels[-1] * growth) - 1e-5:
            levels.append(float(level) + 1e-5)
    return levels
