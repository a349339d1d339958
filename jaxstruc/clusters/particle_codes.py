"""Codes that describe the particles of the network for seven structure types: a lattice and a few whole numbers.

The sites of a lattice have three depths, which are whole numbers. For cubic lattices, they count the planes of the
families {100}, {110} and {111} from the centre. For hcp, they are two indices of the cell and the layer. For decahedra,
they are the ring about the axis, the larger of the two numbers of steps along its edges, and the height of the pyramid.
For icosahedra, they are the shell and the largest number of steps along a vertex. A polyhedron has the sites whose
depths are at most its levels. All shapes in the list of DeepStruc are such polyhedra. A plane may cut a cap from a
polyhedron, with a share of the atoms in steps of `CUT_STEP`.

In the lattice `stack`, close-packed layers of one width are stacked. The letters of its inner layers are h (hexagonal)
or c (cubic), as in `families`. Lengths are in units of the bond length.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.cluster import Icosahedron
from ase.lattice.hexagonal import HexagonalClosedPacked
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.deepstruc_shapes import ATOM_RANGE, HCP_CONSTANTS, STRUCTURE_TYPES
from jaxstruc.clusters.lattices import HOLLOW_DISTANCE, LAYER_SPACING, is_connected

LATTICE_TYPES = {
    "sc": "sc",
    "bcc": "bcc",
    "fcc": "fcc",
    "hcp": "hcp",
    "decahedron": "decahedron",
    "decahedron about a bond": "decahedron",
    "icosahedron": "icosahedron",
    "octahedron": "octahedron",
    "octahedron about a hole": "octahedron",
    "stack": "stack",
}
"""Structure type of each lattice. Two lattices of a type differ in the point at the origin."""
LATTICES = tuple(LATTICE_TYPES)
PARTICLE_TYPES = (*STRUCTURE_TYPES, "stack")
"""The seven types of DeepStruc, and the stack."""
CUT_STEP, N_CUTS = 0.05, 9
"""Step of the share of atoms that a plane removes, and number of shares, the first of which is 0."""
N_LAYERS, STACK_RADIUS = (3, 10), 1.6
"""Smallest and largest number of layers of a stack, and largest distance of its atoms from the axis."""
N_LETTERS = N_LAYERS[1] - 2
"""Number of inner layers of the largest stack."""
SITE_TOLERANCE = 0.01
"""Largest distance between an atom and its site, in bond lengths."""
MIN_DIFFERENCE = 0.1
"""Smallest share of its atoms by which a held-out shape differs from all particles of the training."""
MIN_CUT_ATOMS, N_CUT_POLYHEDRA = 13, 400
"""Smallest number of atoms of a polyhedron that is cut, and number of cut polyhedra of each type."""
CUBIC_RADIUS, HCP_CELLS, DECAHEDRAL_RINGS, DECAHEDRAL_HEIGHT, ICOSAHEDRAL_SHELLS = 5.6, (8, 10, 12), 6, 10, 5
"""Radius of cubic lattices, and numbers of cells, rings, atoms along half the axis, and shells of the others. They hold
compact particles of 400 atoms."""
HISTOGRAM_EDGES = np.arange(0.5, 30.0, 0.047)
"""Edges of the intervals of distances by which particles are compared, in bond lengths."""
FAR_DEPTH = 10_000
"""Depth of padding sites, which no particle has."""


class ParticleCode(NamedTuple):
    """Codes of particles."""

    lattice: Int[Array | np.ndarray, "*batch"]
    """Index into `LATTICES`."""
    levels: Int[Array | np.ndarray, "*batch 3"]
    """Largest depth of the atoms in each of the three families."""
    cut: Int[Array | np.ndarray, "*batch"]
    """Share of the atoms that a plane has removed, in units of `CUT_STEP`."""
    is_hexagonal: Bool[Array | np.ndarray, "*batch letter"]
    """True for the hexagonal ones of the inner layers of a stack, from the bottom."""


class SiteTable(NamedTuple):
    """The sites of all lattices, padded to the same number."""

    positions: Float[np.ndarray, "lattice site 3"]
    """Positions in bond lengths."""
    depth: Int[np.ndarray, "lattice site 3"]
    """Depths, and `FAR_DEPTH` for padding."""
    layer: Int[np.ndarray, " site"]
    """Layer of the sites of a stack."""
    shift: Int[np.ndarray, " site"]
    """Lateral position 0, 1 or 2 of the layer of the sites of a stack."""


@functools.cache
def site_table() -> SiteTable:
    """Return the sites of all lattices. The result is cached. Copy it before you change it."""
    stack_positions, layer, shift = _stack_sites()
    fcc = _cubic_sites(_integer_points(8, parity=0), math.sqrt(0.5), (1, 1, 2))
    lattices = {
        "sc": _cubic_sites(_integer_points(6), 1.0, (1, 1, 1)),
        "bcc": _cubic_sites(_bcc_points(10), 0.5, (1, 2, 1)),
        "fcc": fcc,
        "hcp": _hcp_sites(),
        "decahedron": _decahedral_sites(0),
        "decahedron about a bond": _decahedral_sites(1),
        "icosahedron": _icosahedral_sites(),
        "octahedron": fcc,
        "octahedron about a hole": _cubic_sites(_integer_points(8, parity=1), math.sqrt(0.5), (1, 1, 2)),
        "stack": (stack_positions, np.stack([0 * layer, layer, 0 * layer], axis=1)),
    }
    n_sites = max(len(positions) for positions, _ in lattices.values())

    def padded(column, value):
        return np.pad(column, [(0, n_sites - len(column)), (0, 0)], constant_values=value)

    return SiteTable(
        np.stack([padded(lattices[name][0], 0.0) for name in LATTICES]),
        np.stack([padded(lattices[name][1], FAR_DEPTH) for name in LATTICES]),
        *(padded(column[:, None], 0)[:, 0] for column in (layer, shift)),
    )


@functools.cache
def polyhedra(atom_range: tuple[int, int] = ATOM_RANGE) -> tuple[Cluster, ...]:
    """Return all polyhedra of the lattices of DeepStruc's seven types with numbers of atoms in a range.

    Octahedra without truncation belong to the lattices of octahedra, and not to fcc. The result is cached.
    """
    result = []
    for lattice, name in enumerate(LATTICES[:-1]):
        depth, earlier_levels = site_table().depth[lattice], set()
        for levels in _level_triples(name, depth):
            is_occupied = (depth <= levels).all(axis=1)
            if not atom_range[0] <= is_occupied.sum() <= atom_range[1]:
                continue
            tight_levels = tuple(depth[is_occupied].max(axis=0).tolist())
            is_octahedron = name == "fcc" and tight_levels[0] == tight_levels[1] == 2 * tight_levels[2]
            positions = site_table().positions[lattice, is_occupied]
            if tight_levels not in earlier_levels and not is_octahedron and is_connected(positions):
                result.append(_labelled_cluster(name, tight_levels, 0, positions))
            earlier_levels.add(tight_levels)
    return tuple(result)


def cut_polyhedra(seed: int, *, n_each: int = N_CUT_POLYHEDRA) -> list[Cluster]:
    """Return polyhedra from which a random cap has been cut, with the same number for each structure type."""
    rng, result = np.random.default_rng(seed), []
    for structure_type in STRUCTURE_TYPES:
        whole = [
            cluster
            for cluster in polyhedra()
            if cluster.family == structure_type and len(cluster.positions) >= MIN_CUT_ATOMS
        ]
        for cluster, cut in zip(itertools.cycle(whole), rng.integers(1, N_CUTS, n_each).tolist()):
            order = np.argsort(cluster.positions @ rng.normal(size=3), kind="stable")
            positions = cluster.positions[np.sort(order[: round(len(order) * (1 - CUT_STEP * cut))])]
            code = particle_code(cluster)
            result.append(_labelled_cluster(LATTICES[code.lattice], code.levels, cut, positions))
    return result


def stacks() -> list[Cluster]:
    """Return the stacks of all words of close-packed layers. A word and its reverse are one stack."""
    result = []
    for n_layers in range(N_LAYERS[0], N_LAYERS[1] + 1):
        for letters in itertools.product("ch", repeat=n_layers - 2):
            if letters <= letters[::-1]:
                word = "".join(letters)
                is_hexagonal = np.array([letter == "h" for letter in word.ljust(N_LETTERS, "c")])
                code = ParticleCode(
                    np.array(LATTICES.index("stack")), np.array([0, n_layers - 1, 0]), np.array(0), is_hexagonal
                )
                positions = site_table().positions[-1, depth_excess(code, np) <= 0]
                result.append(Cluster("stack", word, positions))
    return result


def depth_excess(code: ParticleCode, xp: Any) -> Int[Array | np.ndarray, " site"]:
    """Return by how much the depth of each site of the lattice of a particle exceeds the levels.

    Sites with an atom have a value of at most 0. The cut is not considered.

    Args:
        code: Code of one particle.
        xp: NumPy or `jax.numpy`.
    """
    table = site_table()
    excess = (xp.asarray(table.depth)[code.lattice] - code.levels).max(axis=-1)
    steps = xp.cumprod(xp.where(code.is_hexagonal, -1, 1))
    shifts = xp.cumsum(xp.concatenate([xp.asarray([0, 1]), steps])) % 3
    is_other_shift = (code.lattice == LATTICES.index("stack")) & (shifts[table.layer] != xp.asarray(table.shift))
    return xp.where(is_other_shift, FAR_DEPTH, excess)


@functools.cache
def _site_trees() -> list[KDTree]:
    """Return the search tree of the sites of each lattice."""
    table = site_table()
    return [KDTree(positions[depth[:, 0] < FAR_DEPTH]) for positions, depth in zip(*table[:2], strict=True)]


def particle_code(cluster: Cluster) -> ParticleCode:
    """Return the code of a particle of this module or of the list of DeepStruc.

    Raises:
        ValueError: If the particle is no polyhedron of the lattices of its type.
    """
    no_letters = np.zeros(N_LETTERS, bool)
    if cluster.family == "stack":
        is_hexagonal = np.array([letter == "h" for letter in cluster.label.ljust(N_LETTERS, "c")])
        levels = np.array([0, len(cluster.label) + 1, 0])
        return ParticleCode(np.array(LATTICES.index("stack")), levels, np.array(0), is_hexagonal)
    if ":" in cluster.label:
        name, numbers = cluster.label.split(": ")
        values = np.array([int(number) for number in numbers.split()])
        return ParticleCode(np.array(LATTICES.index(name)), values[:3], np.array(values[3]), no_letters)
    positions = cluster.positions - (
        cluster.positions[0] if cluster.family == "hcp" else cluster.positions.mean(axis=0)
    )
    for lattice, structure_type in enumerate(LATTICE_TYPES.values()):
        separation, nearest = _site_trees()[lattice].query(positions)
        if structure_type != cluster.family or separation.max() > SITE_TOLERANCE:
            continue
        depth = site_table().depth[lattice]
        levels = depth[nearest].max(axis=0)
        if len(set(nearest)) == (depth <= levels).all(axis=1).sum():
            return ParticleCode(np.array(lattice), levels, np.array(0), no_letters)
    raise ValueError(
        f"Expected a polyhedron of the lattices of {', '.join(PARTICLE_TYPES)}, got {cluster.family} {cluster.label}; "
        "use shapes of preset deepstruc."
    )


def hexagonal_share(cluster: Cluster) -> float:
    """Return the share of hexagonal layers among the inner layers of a stack, and 0 for other particles."""
    return cluster.label.count("h") / len(cluster.label) if cluster.family == "stack" else 0.0


def is_near(clusters: Sequence[Cluster], held_out: Sequence[Cluster]) -> Bool[np.ndarray, " cluster"]:
    """Return which particles are similar to a held-out shape.

    The whole polyhedron of a similar particle differs from the shape by at most `MIN_DIFFERENCE` of the atoms of the
    shape, or the pair distances of the particle differ from those of the shape by at most this share of the pairs.
    """
    masks = np.stack([_whole_mask(cluster) for cluster in held_out])
    limits = MIN_DIFFERENCE * masks.sum(axis=(1, 2))
    histograms = np.stack([_distance_histogram(cluster) for cluster in held_out])
    by_code: dict[tuple[int, ...], bool] = {}
    result = []
    for cluster in clusters:
        code = particle_code(cluster)
        key = (int(code.lattice), *code.levels.tolist())
        if key not in by_code:
            by_code[key] = bool(((masks != _whole_mask(cluster)).sum(axis=(1, 2)) <= limits).any())
        differences = np.abs(histograms - _distance_histogram(cluster)).sum(axis=1)
        result.append(by_code[key] or bool((differences <= MIN_DIFFERENCE * histograms.sum(axis=1)).any()))
    return np.array(result)


def _distance_histogram(cluster: Cluster) -> Int[np.ndarray, " bin"]:
    """Return the numbers of pairs in intervals of their distance."""
    return np.histogram(pdist(cluster.positions), bins=HISTOGRAM_EDGES)[0]


def _whole_mask(cluster: Cluster) -> Bool[np.ndarray, "lattice site"]:
    """Return the sites of all lattices that are occupied in the polyhedron of a particle before it is cut."""
    code = particle_code(cluster)
    mask = np.zeros(site_table().depth.shape[:2], bool)
    mask[code.lattice] = depth_excess(code, np) <= 0
    return mask


def _labelled_cluster(lattice: str, levels, cut: int, positions: np.ndarray) -> Cluster:
    return Cluster(LATTICE_TYPES[lattice], f"{lattice}: {levels[0]} {levels[1]} {levels[2]} {cut}", positions)


def _level_triples(name: str, depth: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield levels that contain those of all polyhedra of a lattice."""
    top = [range(int(column[column < FAR_DEPTH].max()) + 1) for column in depth.T]
    for levels in itertools.product(top[0], top[1], top[2]):
        if (name == "octahedron" and levels[:2] != (top[0][-1], top[1][-1])) or (
            name == "hcp" and levels[0] > levels[1]
        ):
            continue
        yield levels


def _integer_points(reach: int, *, parity: int | None = None) -> Int[np.ndarray, "point 3"]:
    """Return the points with whole coordinates up to `reach`, or those of them whose sum is even (0) or odd (1)."""
    steps = np.arange(-reach, reach + 1)
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return points if parity is None else points[points.sum(axis=1) % 2 == parity]


def _bcc_points(reach: int) -> Int[np.ndarray, "point 3"]:
    """Return the points of bcc in units of half the lattice constant. Their coordinates are all even or all odd."""
    points = _integer_points(reach)
    return points[(points % 2 == points[:, :1] % 2).all(axis=1)]


def _cubic_sites(points: np.ndarray, unit: float, divisors: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and depths of the points of a cubic lattice within `CUBIC_RADIUS`.

    Args:
        points: Points with whole coordinates.
        unit: Unit of the points, in bond lengths.
        divisors: Steps of the depths of the three families, in units of the points.
    """
    points = points[np.linalg.norm(points * unit, axis=1) < CUBIC_RADIUS]
    largest_first = -np.sort(-np.abs(points), axis=1)
    return points * unit, np.cumsum(largest_first, axis=1) // np.array(divisors)


def _hcp_sites() -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and depths (two cell indices and the layer) of a block of hcp cells."""
    cell = HexagonalClosedPacked("Au", size=(1, 1, 1), latticeconstant=HCP_CONSTANTS)
    index = np.stack(np.meshgrid(*map(np.arange, HCP_CELLS), indexing="ij"), axis=-1).reshape(-1, 3)
    basis = cell.positions - cell.positions[0]
    positions = (index @ np.asarray(cell.cell))[:, None] + basis
    depth = np.stack([index, index], axis=1)
    depth[:, :, 2] = 2 * depth[:, :, 2] + np.argsort(np.argsort(basis[:, 2]))
    return positions.reshape(-1, 3), depth.reshape(-1, 3)


def _decahedral_sites(parity: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and depths of the sites of decahedra with an atom (0) or a bond (1) at the centre."""
    angles = 2 * np.pi * np.arange(5) / 5 + np.pi / 2
    vertices = math.sqrt(0.75) * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    positions, depths = [], []
    for ring in range(DECAHEDRAL_RINGS + 1):
        height = np.arange(-DECAHEDRAL_HEIGHT, DECAHEDRAL_HEIGHT + 1) + 0.5 * ((ring + parity) % 2)
        columns = [(ring - step) * vertices[m - 1] + step * vertices[m] for m in range(5) for step in range(ring)]
        steps = [max(ring - step, step) for _ in range(5) for step in range(ring)]
        for column, step in zip(columns or [np.zeros(3)], steps or [0], strict=True):
            positions.append(column + height[:, None] * np.array([0.0, 0.0, 1.0]))
            pyramid = (np.round(ring + 2 * np.abs(height)).astype(int) - parity) // 2
            depths.append(np.stack([np.full(len(height), ring), np.full(len(height), step), pyramid], axis=1))
    return np.concatenate(positions), np.concatenate(depths)


def _icosahedral_sites() -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and depths of the sites of a Mackay icosahedron.

    The second depth of a site is the number of steps along the nearest vertex that lead to it.
    """
    largest = Icosahedron("Au", ICOSAHEDRAL_SHELLS + 1, latticeconstant=math.sqrt(2)).positions
    vertices = Icosahedron("Au", 2, latticeconstant=math.sqrt(2)).positions
    vertices = vertices[np.linalg.norm(vertices, axis=1) > 0.1]
    faces = [
        triple
        for triple in itertools.combinations(range(12), 3)
        if all(np.linalg.norm(vertices[a] - vertices[b]) < 1.2 for a, b in itertools.combinations(triple, 2))
    ]
    coordinates = np.stack([np.linalg.solve(vertices[list(face)].T, largest.T).T for face in faces])
    face = np.argmax(coordinates.min(axis=2), axis=0)
    steps = np.round(coordinates[face, np.arange(len(largest))]).astype(int)
    return largest, np.stack([steps.sum(axis=1), steps.max(axis=1), 0 * face], axis=1)


def _stack_sites() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the positions, layers and lateral positions of the sites of stacks."""
    i, j = np.meshgrid(np.arange(-4, 5), np.arange(-4, 5))
    lattice = np.stack([i + j / 2, j * math.sqrt(0.75)], axis=-1).reshape(-1, 2)
    positions, layers, shifts = [], [], []
    for layer, shift in itertools.product(range(N_LAYERS[1]), range(3)):
        lateral = lattice + np.array([0, HOLLOW_DISTANCE * shift])
        lateral = lateral[np.linalg.norm(lateral, axis=1) < STACK_RADIUS]
        positions.append(np.pad(lateral, ((0, 0), (0, 1)), constant_values=LAYER_SPACING * layer))
        layers.append(np.full(len(lateral), layer))
        shifts.append(np.full(len(lateral), shift))
    return np.concatenate(positions), np.concatenate(layers), np.concatenate(shifts)
