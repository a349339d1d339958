"""Random particles of a test set: off-rule particles, which no rule of the library lists, and particles of DeepStruc.

    python experiments/synthetic_particles.py        (prints ten particles of each kind in a table; a few seconds)

Off-rule particles are connected and compact, have no loosely bound atoms, and their atoms show their type
(`structure_type`). Lengths are in units of the bond length: the mean distance of nearest neighbours is 1. In bcc this
is √3/2 of the lattice constant.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from ase.cluster import Decahedron, Icosahedron, Octahedron
from ase.lattice.hexagonal import HexagonalClosedPacked
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from jaxstruc.clusters import lattices, random_particles, size_classes, structure_type
from jaxstruc.clusters.fcc_shapes import distinct_clusters

OFF_RULE_KINDS = ("fcc", "hcp", "bcc", "sc", "stack", "decahedron", "icosahedron", "shell", "missing")
RULE_KINDS = ("sc", "bcc", "fcc", "hcp", "decahedron", "icosahedron", "octahedron")
MAX_DRAWS = 1000
"""Maximum number of draws of a particle, until one meets all conditions."""
NEIGHBOUR_DISTANCE = 1.2
"""Largest distance of neighbours, in units of the bond length. It includes the second shell of bcc, as in
`lattices.is_connected`."""
MIN_NEIGHBOURS = 3
"""Smallest number of neighbours of an atom. It is one less for sc with missing atoms."""
MAX_ASPECT_RATIO = 1.8
"""Largest ratio of the extents along two principal axes."""
FACE_FAMILY_SPREAD, FACE_SPREAD = 0.12, 0.15
"""Standard deviations of the logarithms of the distances of families of faces, and of faces within a family."""
DEPTH_TOLERANCE = 1e-6
"""Largest difference of depths of sites on the same face, in units of the bond length. Faces are complete."""
CENTRE_OFFSET_RANGE = (0.1, 0.55)
"""Range of the offset of a five-fold particle's cut from its centre or axis, in units of the particle's radius."""
MISSING_SHARE_RANGE = (0.1, 0.5)
"""Range of the mean share of missing vertices and edges."""
MAX_EDGE_NEIGHBOURS = {"fcc": 7, "hcp": 7, "bcc": 8, "sc": 4}
"""Maximum number of neighbours of an atom on an edge or a vertex."""
BULK_NEIGHBOURS = {"sc": 6, "bcc": 14}
"""Number of neighbours of an atom inside, if it is not 12."""
LAYER_SPACINGS = {"sc": (1.0, 0.5, 1 / 3), "bcc": (0.5, 0.5, 1 / 6), "fcc": (0.5, 0.25, 1 / 3)}
"""Distances of the (100), (110) and (111) layers, in lattice constants over the norm of the Miller indices."""
MAX_LAYERS = 20
"""Maximum number of layers and cells, twice as many as in DeepStruc, and half as many for decahedra."""


class Particle(NamedTuple):
    """A particle with bond length 1, and the type that its atoms show."""

    kind: str
    """Kind of the particle, one of `OFF_RULE_KINDS` or `RULE_KINDS`."""
    type: str
    """Structure type that the atoms show, see `structure_type.StructureType`."""
    hexagonal: float
    """Share of hexagonal layers among the inner layers, see `structure_type.StructureType`."""
    sequence: str
    """Stacking sequence of the inner layers from bottom to top, in letters h and c. It is empty for other kinds."""
    positions: np.ndarray
    """Positions [atom, 3] relative to their mean, with nearest-neighbour distance 1."""


class _Lattice(NamedTuple):
    """The lattice sites from which particles are cut."""

    positions: np.ndarray
    """Sites [site, 3], one of them at the origin."""
    faces: tuple[np.ndarray, ...]
    """Families of unit normals [face, 3]."""


def draw_off_rule_particle(
    kind: str, rng: np.random.Generator, *, min_atoms: int = 35, max_atoms: int = 320
) -> Particle:
    """Return a particle that no rule of the library lists. Its number of atoms is uniform in the logarithm.

    The kinds are:

    - cuts of a lattice or of a random stack of close-packed layers, by planes at different distances from a random
      centre,
    - cuts and spheres off the centre of a five-fold particle,
    - closed shells with a part of the next shell,
    - cuts of a lattice without some edges and vertices.

    Args:
        kind: Kind of the particle, one of `OFF_RULE_KINDS`.
        rng: Random generator.
        min_atoms: Smallest number of atoms.
        max_atoms: Largest number of atoms.

    Raises:
        ValueError: If the kind is unknown, or if no draw meets all conditions.
    """
    if kind not in OFF_RULE_KINDS:
        raise ValueError(f"Expected a kind of {', '.join(OFF_RULE_KINDS)}, got {kind!r}.")
    atoms = round(math.exp(rng.uniform(math.log(min_atoms), math.log(max_atoms))))
    make_sites, packings = MAKERS.get(kind, (_cut_crystal, (kind,)))
    packing = str(rng.choice(packings))
    for _ in range(MAX_DRAWS):
        positions, sequence = make_sites(packing, atoms, rng)
        if (
            min_atoms <= len(positions) <= max_atoms
            and (particle := _accept_particle(kind, packing, sequence, positions)) is not None
        ):
            return particle
    raise ValueError(
        f"Expected a {kind} of {atoms} atoms in {MAX_DRAWS} draws, got none; change min_atoms and max_atoms."
    )


def draw_rule_particle(kind: str, rng: np.random.Generator, *, max_atoms: int = 256) -> Particle:
    """Return a random distinct shape of a type of DeepStruc, with at least 30 atoms that show the type.

    Args:
        kind: Type of DeepStruc, one of `RULE_KINDS`.
        rng: Random generator. All shapes are equally probable.
        max_atoms: Largest number of atoms.

    Raises:
        ValueError: If the kind is unknown, or if it has no shape with so few atoms.
    """
    if kind not in RULE_KINDS:
        raise ValueError(f"Expected a kind of {', '.join(RULE_KINDS)}, got {kind!r}.")
    if not (particles := rule_particles(kind, max_atoms)):
        raise ValueError(f"Expected a {kind} of at most {max_atoms} atoms, got none; raise max_atoms.")
    return particles[rng.integers(len(particles))]


@cache
def rule_particles(kind: str, max_atoms: int) -> tuple[Particle, ...]:
    """Return the distinct shapes of a type of DeepStruc, sorted by size. They are cached and must not be changed."""
    if kind in LAYER_SPACINGS:
        position_arrays = _layered_clusters(kind, max_atoms)
    elif kind == "hcp":
        position_arrays = _hcp_blocks(max_atoms)
    elif kind == "octahedron":
        position_arrays = (Octahedron("Au", length, 0).positions for length in range(2, 15))
    else:
        position_arrays = _icosahedra(max_atoms) if kind == "icosahedron" else iter(_decahedra(max_atoms))
    clusters = [
        lattices.unit_bond_cluster(kind, "", positions)
        for positions in position_arrays
        if structure_type.MIN_TYPE_ATOMS <= len(positions) <= max_atoms
    ]
    typed_positions = [
        (cluster.positions, structure_type.identify_structure_type(cluster.positions))
        for cluster in distinct_clusters(clusters)
    ]
    return tuple(
        Particle(kind, observed_type.name, observed_type.hexagonal_share, "", positions)
        for positions, observed_type in typed_positions
        if observed_type.shows_type
    )


def displace_atoms(particle: Particle, rng: np.random.Generator, amount: float) -> Particle:
    """Return the particle with random isotropic displacements of its atoms.

    Type and layers stay unchanged, and the positions are not scaled again.

    Args:
        particle: Particle whose atoms are displaced.
        rng: Random generator of the displacements.
        amount: Root mean square length of the displacements, in units of the bond length.
    """
    displacements = rng.normal(size=particle.positions.shape)
    displacements -= displacements.mean(axis=0)
    displacements *= amount / math.sqrt((displacements**2).sum(axis=1).mean())
    return _centre_particle(particle, particle.positions + displacements)


def contract_surface(particle: Particle, amount: float) -> Particle:
    """Return the particle with its surface moved inwards. Each layer moves by 1/e of the layer above it.

    An atom is on the surface if it has fewer neighbours than in the bulk. A particle must therefore be contracted
    before its atoms are displaced. Type and layers stay unchanged, and the positions are not scaled again.

    Args:
        particle: Particle whose surface is contracted.
        amount: Displacement of the surface atoms towards the centre, in units of the bond length.
    """
    positions = particle.positions
    neighbours = _neighbour_matrix(positions)
    surface_atoms = np.flatnonzero(neighbours.sum(axis=0) < BULK_NEIGHBOURS.get(particle.type, 12))
    depth = dijkstra(neighbours, directed=False, unweighted=True, indices=surface_atoms, min_only=True)
    inward_directions = -positions / np.maximum(np.linalg.norm(positions, axis=1, keepdims=True), 1.0)
    return _centre_particle(particle, positions + amount * np.exp(-depth)[:, None] * inward_directions)


def _centre_particle(particle: Particle, positions: np.ndarray) -> Particle:
    return particle._replace(positions=positions - positions.mean(axis=0))


def _accept_particle(kind: str, packing: str, sequence: str, positions: np.ndarray) -> Particle | None:
    """Return the particle of these atoms, or None if it is slender, not connected or does not show its packing."""
    if len(positions) < structure_type.MIN_TYPE_ATOMS:
        return None
    scaled_positions = lattices.unit_bond_cluster(kind, "", positions).positions
    if _is_slender(scaled_positions):
        return None
    neighbours = _neighbour_matrix(scaled_positions)
    min_neighbours = MIN_NEIGHBOURS - (kind == "missing" and packing == "sc")
    if neighbours.sum(axis=0).min() < min_neighbours or connected_components(neighbours, directed=False)[0] > 1:
        return None
    observed_type = structure_type.identify_structure_type(scaled_positions)
    if not observed_type.shows_type or (not sequence and observed_type.name != packing):
        return None
    if sequence and not math.isclose(observed_type.hexagonal_share, sequence.count("h") / len(sequence)):
        return None
    return Particle(kind, observed_type.name, observed_type.hexagonal_share, sequence, scaled_positions)


def _is_slender(positions: np.ndarray) -> bool:
    """Return whether the ratio of two extents along the principal axes is too large."""
    extents = np.ptp(positions @ np.linalg.eigh(positions.T @ positions)[1], axis=0)
    return bool(extents.max() > MAX_ASPECT_RATIO * extents.min())


def _neighbour_matrix(positions: np.ndarray) -> coo_array:
    """Return a matrix [atom, atom] with 1 for neighbours and 0 otherwise."""
    first, second = KDTree(positions).query_pairs(NEIGHBOUR_DISTANCE, output_type="ndarray").T
    pairs = np.concatenate([first, second]), np.concatenate([second, first])
    return coo_array((np.ones(2 * len(first)), pairs), shape=(len(positions), len(positions)))


def _site_radius(atoms: int) -> int:
    """Return the radius of the sphere of sites that any cut needs, in units of the bond length.

    It is large enough for the least dense packing and an offset centre.
    """
    return math.ceil(1.1 * size_classes.equivalent_sphere_diameter(atoms, 1.0) + 2)


@cache
def _packing_lattice(kind: str, radius: int) -> _Lattice:
    """Return the faces of a packing, and its sites within `radius` (in units of the bond length)."""
    if kind == "hcp":
        return _stack_lattice("h", radius)
    if kind in ("decahedron", "icosahedron"):
        size = radius + 3
        cluster = Icosahedron("Au", size) if kind == "icosahedron" else Decahedron("Au", size, size, 0)
        points = cluster.positions - cluster.positions.mean(axis=0)
        points /= structure_type.mean_bond(KDTree(lattices.points_within(points, 12.0)))
        directions = (
            random_particles.icosahedron_faces() if kind == "icosahedron" else random_particles.decahedron_faces(points)
        )
    elif kind == "fcc":
        points, directions = (
            lattices.fcc_lattice(math.ceil(radius * math.sqrt(2))) * math.sqrt(0.5),
            random_particles.cubic_faces(),
        )
    else:
        basis = [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)] if kind == "bcc" else [(0.0, 0.0, 0.0)]
        cells = np.array(list(itertools.product(range(-radius - 1, radius + 2), repeat=3)))
        points = (cells[:, None] + np.array(basis)).reshape(-1, 3) * (2 / math.sqrt(3) if kind == "bcc" else 1.0)
        directions = random_particles.cubic_faces()
    return _Lattice(lattices.points_within(points, radius), directions)


def _stack_lattice(sequence: str, radius: int) -> _Lattice:
    """Return the sites of a stack, and the basal, prismatic and pyramidal faces of hcp."""
    points = lattices.stack(sequence, reach=math.ceil(radius / lattices.LAYER_SPACING))
    return _Lattice(lattices.points_within(points, radius), random_particles.hcp_faces())


def _cut_by_faces(lattice: _Lattice, atoms: int, centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return about `atoms` sites within faces at random distances from a centre, or none beyond the lattice."""
    directions = np.concatenate(lattice.faces)
    log_offsets = np.concatenate(
        [
            rng.normal(0, FACE_FAMILY_SPREAD) + rng.normal(0, FACE_SPREAD, len(family_directions))
            for family_directions in lattice.faces
        ]
    )
    depth = ((lattice.positions - centre) @ (directions / np.exp(log_offsets)[:, None]).T).max(axis=1)
    return _sites_of_least_depth(lattice, depth, atoms)


def _sites_of_least_depth(lattice: _Lattice, depth: np.ndarray, atoms: int) -> np.ndarray:
    """Return the `atoms` sites of least depth, or none if some of them are at the edge of the lattice."""
    cut_sites = lattice.positions[depth <= np.partition(depth, atoms - 1)[atoms - 1] + DEPTH_TOLERANCE]
    radius = np.linalg.norm(lattice.positions, axis=1).max()
    return cut_sites if np.linalg.norm(cut_sites, axis=1).max() < radius - 1 else cut_sites[:0]


def _cut_crystal(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a cut of a lattice, and an empty stacking sequence."""
    return _cut_by_faces(_packing_lattice(packing, _site_radius(atoms)), atoms, rng.uniform(-1, 1, 3), rng), ""


def _cut_stack(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a cut of a random stack of layers, and its stacking sequence."""
    radius = _site_radius(atoms)
    sequence = "".join(np.where(rng.random(4 * radius) < rng.random(), "h", "c"))
    cut_sites = _cut_by_faces(_stack_lattice(sequence, radius), atoms, rng.uniform(-0.5, 0.5, 3), rng)
    layers = np.unique(np.round(cut_sites[:, 2] / lattices.LAYER_SPACING)).astype(int)
    inner_sequence = "".join(sequence[layer % len(sequence)] for layer in layers[1:-1])
    return cut_sites if len(layers) >= structure_type.MIN_TYPE_LAYERS else cut_sites[:0], inner_sequence


def _cut_fivefold(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a cut or sphere off the centre of an icosahedron or the axis of a decahedron.

    The stacking sequence is empty.
    """
    lattice = _packing_lattice(packing, _site_radius(atoms))
    direction = rng.normal(size=3) * (1, 1, packing == "icosahedron")
    centre = (
        rng.uniform(*CENTRE_OFFSET_RANGE)
        * size_classes.equivalent_sphere_diameter(atoms, size_classes.atom_volume(packing))
        / 2
        * direction
        / np.linalg.norm(direction)
    )
    centre[2] += rng.uniform(-0.5, 0.5) * (packing == "decahedron")
    if rng.random() < 0.5:
        return _cut_by_faces(lattice, atoms, centre, rng), ""
    return _sites_of_least_depth(lattice, np.linalg.norm(lattice.positions - centre, axis=1), atoms), ""


def _cut_without_edges(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a cut without some of its vertices and edges, which are atoms with few neighbours."""
    cut_sites = _cut_by_faces(
        _packing_lattice(packing, _site_radius(atoms)), round(1.1 * atoms), rng.uniform(-1, 1, 3), rng
    )
    if not len(cut_sites):
        return cut_sites, ""
    neighbours = _neighbour_matrix(cut_sites)
    neighbour_counts = neighbours.sum(axis=0)
    has_equal_count = (neighbour_counts[neighbours.row] == neighbour_counts[neighbours.col]) & (
        neighbour_counts[neighbours.row] <= MAX_EDGE_NEIGHBOURS[packing]
    )
    run_matrix = coo_array(
        (neighbours.data[has_equal_count], (neighbours.row[has_equal_count], neighbours.col[has_equal_count])),
        shape=neighbours.shape,
    )
    n_runs, run = connected_components(run_matrix, directed=False)
    is_removed = (rng.random(n_runs) < rng.uniform(*MISSING_SHARE_RANGE))[run] & (
        neighbour_counts <= MAX_EDGE_NEIGHBOURS[packing]
    )
    return cut_sites[~is_removed] if is_removed.any() else cut_sites[:0], ""


def _partial_shell(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a closed shell and a part of the next shell, which is a cap about a direction, or some faces."""
    cores = [
        positions
        for positions in _closed_shells(packing, 1 << atoms.bit_length())
        if 0.2 * atoms < len(positions) <= atoms - MIN_NEIGHBOURS
    ]
    if not cores:
        return np.zeros((0, 3)), ""
    core = cores[rng.integers(len(cores))]
    lattice = _packing_lattice(packing, _site_radius(atoms))
    shell_sites = lattice.positions + core[np.linalg.norm(core, axis=1).argmin()]
    distance = KDTree(core).query(shell_sites)[0]
    shell_sites = shell_sites[(distance > 0.5) & (distance < NEIGHBOUR_DISTANCE)]
    direction = rng.normal(size=3)
    score = shell_sites @ direction / np.linalg.norm(shell_sites, axis=1) / np.linalg.norm(direction)
    if rng.random() < 0.5:
        face_directions = np.concatenate(lattice.faces[:2])
        score -= (
            2.0
            * rng.permutation(len(face_directions))[
                (shell_sites @ face_directions.T / (core @ face_directions.T).max(axis=0)).argmax(axis=1)
            ]
        )
    n_missing, max_added = atoms - len(core), len(shell_sites) - 1
    if n_missing > max_added + MIN_NEIGHBOURS:
        return shell_sites[:0], ""
    added_sites = shell_sites[np.argsort(-score)[: min(n_missing, max_added)]]
    while (
        len(added_sites)
        and (
            is_loose := _neighbour_matrix(np.concatenate([core, added_sites])).sum(axis=0)[len(core) :] < MIN_NEIGHBOURS
        ).any()
    ):
        added_sites = added_sites[~is_loose]
    return np.concatenate([core, added_sites]) if len(added_sites) else added_sites, ""


MAKERS: dict[str, tuple[Callable[[str, int, np.random.Generator], tuple[np.ndarray, str]], tuple[str, ...]]] = {
    "stack": (_cut_stack, ("",)),
    "decahedron": (_cut_fivefold, ("decahedron",)),
    "icosahedron": (_cut_fivefold, ("icosahedron",)),
    "shell": (_partial_shell, ("icosahedron", "decahedron", "fcc", "bcc")),
    "missing": (_cut_without_edges, tuple(MAX_EDGE_NEIGHBOURS)),
}
"""Function that makes each kind except plain lattices, and the packings from which it is made."""


@cache
def _closed_shells(kind: str, max_atoms: int) -> tuple[np.ndarray, ...]:
    """Return closed shells: icosahedra, decahedra, and polyhedra of fcc and bcc with two sets of faces."""
    if kind in ("icosahedron", "decahedron"):
        position_arrays = _icosahedra(max_atoms) if kind == "icosahedron" else iter(_decahedra(max_atoms))
        return tuple(
            lattices.unit_bond_cluster(kind, "", positions).positions
            for positions in position_arrays
            if len(positions) > 6 and not _is_slender(positions)
        )
    lattice = _packing_lattice(kind, _site_radius(max_atoms))
    shells: dict[bytes, np.ndarray] = {}
    for centre in np.array([(0, 0, 0), (math.sqrt(0.5), 0, 0)][: 2 if kind == "fcc" else 1]):
        depth = lattices.plane_depths(lattice.positions - centre)
        face_depths, cap_depths = depth["(111)" if kind == "fcc" else "(110)"], depth["(100)"]
        for max_face_depth, max_cap_depth in itertools.product(
            np.unique(face_depths.round(6)), np.unique(cap_depths.round(6))
        ):
            site_rows = np.flatnonzero((face_depths < max_face_depth + 1e-5) & (cap_depths < max_cap_depth + 1e-5))
            if len(site_rows) > max_atoms:
                break
            if len(site_rows) > 6:
                shells.setdefault(site_rows.tobytes(), lattice.positions[site_rows] - centre)
    return tuple(shells.values())


def _layered_clusters(kind: str, max_atoms: int) -> Iterator[np.ndarray]:
    """Yield ASE's cubic clusters of 1 <= h <= k <= l layers of (100), (110) and (111) about an atom."""
    lattice = _packing_lattice(kind, _site_radius(max_atoms))
    lattice_constant = {"sc": 1.0, "bcc": 2 / math.sqrt(3), "fcc": math.sqrt(2)}[kind]
    family_depths = lattices.plane_depths(lattice.positions).values()
    layer_indices = [
        np.ceil(depth / (lattice_constant * step * math.sqrt(squared)) - 0.1)
        for depth, step, squared in zip(family_depths, LAYER_SPACINGS[kind], (1, 2, 3), strict=True)
    ]
    known_keys = set()
    for layers in itertools.combinations_with_replacement(range(1, MAX_LAYERS + 1), 3):
        is_inside = np.all([depth <= max_layer for depth, max_layer in zip(layer_indices, layers, strict=True)], axis=0)
        if is_inside.sum() <= max_atoms and (key := is_inside.tobytes()) not in known_keys:
            known_keys.add(key)
            yield lattice.positions[is_inside]


def _hcp_blocks(max_atoms: int) -> Iterator[np.ndarray]:
    """Yield the hcp blocks of s1 <= s2 <= s3 cells."""
    for size in itertools.combinations_with_replacement(range(1, MAX_LAYERS + 1), 3):
        if 2 * math.prod(size) <= max_atoms:
            yield HexagonalClosedPacked("Au", size=size, latticeconstant={"a": 1.0, "c": math.sqrt(8 / 3)}).positions


def _icosahedra(max_atoms: int) -> Iterator[np.ndarray]:
    """Yield the Mackay icosahedra."""
    for shells in itertools.count(2):
        if len(positions := Icosahedron("Au", shells).positions) > max_atoms:
            return
        yield positions


@cache
def _decahedra(max_atoms: int) -> tuple[np.ndarray, ...]:
    """Return the Ino and Marks decahedra of p, q <= 10 and r <= 10."""
    decahedra = []
    too_large: list[tuple[int, ...]] = []
    for pqr in itertools.product(
        range(1, MAX_LAYERS // 2 + 1), range(1, MAX_LAYERS // 2 + 1), range(MAX_LAYERS // 2 + 1)
    ):
        if any(
            all(number >= large_number for number, large_number in zip(pqr, large_pqr, strict=True))
            for large_pqr in too_large
        ):
            continue  # A decahedron with more layers contains those with fewer layers.
        if len(positions := Decahedron("Au", *pqr).positions) > max_atoms:
            too_large.append(pqr)
        else:
            decahedra.append(positions)
    return tuple(decahedra)


def main() -> None:
    """Print ten particles of each kind."""
    print(f"{'':9}{'kind':14}{'atoms':>6}  {'type':13}{'hexagonal':10} sequence")
    for label, kind_names in (("off rule", OFF_RULE_KINDS), ("rule", RULE_KINDS)):
        for kind, seed in itertools.product(kind_names, range(10)):
            rng = np.random.default_rng([seed, kind_names.index(kind)])
            particle = (
                draw_off_rule_particle(kind, rng) if kind_names is OFF_RULE_KINDS else draw_rule_particle(kind, rng)
            )
            print(
                f"{label:9}{kind:14}{len(particle.positions):6}  {particle.type:13}{particle.hexagonal:9.2f}  "
                f"{particle.sequence}"
            )


if __name__ == "__main__":
    main()
