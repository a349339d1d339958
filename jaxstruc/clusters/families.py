"""Families of candidate clusters for cluster mining. A rule lists the clusters of each family.

Lengths are in units of the bond length, i.e. the mean nearest-neighbour distance of each cluster is 1. A rule may list
the same cluster several times with different parameters. `library.build` keeps one of these entries.

A stack of close-packed layers is described by its stacking sequence, a string with one letter for each layer. The
letter is h (hexagonal) if the two adjacent layers lie at the same lateral position, and c (cubic) otherwise.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from ase.cluster import Decahedron, Icosahedron, Octahedron

from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.lattices import (
    FCC_CENTRES,
    LAYER_SITES,
    LAYER_SPACING,
    MAX_ASPECT_RATIO,
    MIN_GROWTH_RATIO,
    TRUNCATION_DEPTHS,
    centred_cluster,
    fcc_lattice,
    folded_depths,
    plane_depths,
    points_within,
    polyhedra,
    prism_depths,
    spheres,
    stack,
    unit_bond_cluster,
)

VERSION = 2
"""Version of the rules in this module. A library in the cache is used only if the same version made it."""
MAX_BLOCK_CELLS = 20
"""Largest number of unit cells along a side of an hcp block. It is twice the number in the data sets of DeepStruc."""
HCP_CELL = np.array([[1, 0, 0], [-0.5, math.sqrt(0.75), 0], [0, 0, 2 * LAYER_SPACING]])
HCP_BASIS = np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.5]])


def icosahedra(min_atoms: int, max_atoms: int) -> Iterator[Cluster]:
    """Yield Mackay icosahedra, and spheres that are cut from a large icosahedron about points near its centre."""
    shells = 1
    while (n_atoms := _mackay_number(shells)) <= max_atoms:
        if n_atoms >= min_atoms:
            yield unit_bond_cluster("icosahedron", f"{shells} shells", Icosahedron("Au", shells + 1).positions)
        shells += 1
    points = Icosahedron("Au", shells + 4, latticeconstant=math.sqrt(2)).positions
    vertex_direction, edge_direction, face_direction = np.array([[0, 1, (1 + 5**0.5) / 2], [0, 0, 1], [1, 1, 1]])
    for name, direction in (("a vertex", vertex_direction), ("an edge", edge_direction), ("a face", face_direction)):
        for offset in np.arange(0.5, 3.1, 0.5):
            centre_label = f"{offset:.1f} from the centre towards {name}"
            for label, positions in spheres(
                points, offset * direction / np.linalg.norm(direction), centre_label, min_atoms, max_atoms
            ):
                yield unit_bond_cluster("icosahedron", label, positions)


def decahedra(min_atoms: int, max_atoms: int) -> Iterator[Cluster]:
    """Yield decahedra, and spheres that are cut from a large decahedron about points near its axis.

    Ino decahedra (r = 0) and Marks decahedra have the parameters (p, q, r) of `ase.cluster.Decahedron`. Decahedra whose
    height exceeds `MAX_ASPECT_RATIO` times their width are left out.
    """
    for label, positions in _decahedra_pqr(min_atoms, max_atoms):
        yield unit_bond_cluster("decahedron", label, positions)
    reach = round(2.2 * max_atoms ** (1 / 3) / 2)
    points = Decahedron("Au", reach + 4, reach, 0, latticeconstant=math.sqrt(2)).positions
    for name, angle, min_offset in (("a twin plane", math.pi / 2, 0.0), ("a grain", 3 * math.pi / 2, 0.5)):
        for offset, height in itertools.product(np.arange(min_offset, 3.1, 0.5), (0.0, 0.5)):
            centre = np.array([offset * math.cos(angle), offset * math.sin(angle), height])
            centre_label = f"{offset:.1f} from the axis towards {name}, height {height:.1f}"
            for label, positions in spheres(points, centre, centre_label, min_atoms, max_atoms):
                yield unit_bond_cluster("decahedron", label, positions)


def octahedra(min_atoms: int, max_atoms: int) -> Iterator[Cluster]:
    """Yield octahedra, truncated octahedra and cuboctahedra."""
    for length in itertools.count(2):
        atom_counts = []
        for cutoff in range((length - 1) // 2 + 1):
            name = "truncated octahedron" if cutoff else "octahedron"
            name = "cuboctahedron" if length == 2 * cutoff + 1 else name
            positions = Octahedron("Au", length, cutoff, latticeconstant=math.sqrt(2)).positions
            atom_counts.append(len(positions))
            if min_atoms <= len(positions) <= max_atoms:
                yield centred_cluster("octahedron", f"{name} length {length} cutoff {cutoff}", positions)
        if min(atom_counts) > max_atoms:
            return


def fcc_clusters(min_atoms: int, max_atoms: int) -> Iterator[Cluster]:
    """Yield fcc polyhedra with {100}, {110} and {111} planes, tetrahedra, rods, plates and spheres.

    The clusters are cut about many centres in the unit cell.
    """
    points = points_within(
        fcc_lattice(math.ceil(2.3 * _bounding_radius(max_atoms))) * math.sqrt(0.5), 1.6 * _bounding_radius(max_atoms)
    )
    for name, centre in FCC_CENTRES.items():
        offsets = points - np.array(centre) * math.sqrt(0.5)
        depth = plane_depths(offsets)
        cuboid_depths = {"(111)": depth["(111)"], "(100)": depth["(100)"], "less (110)": depth["(110)"]}
        yield from polyhedra(
            "fcc", points, cuboid_depths, f"about {name}", min_atoms, max_atoms, depth_ratio=(0.5, 1.8)
        )
        rod_depths = {"[001]": abs(offsets[:, 2]), "(100) (010)": abs(offsets[:, :2]).max(axis=1)}
        rod_depths["less (111)"] = depth["(111)"]
        yield from polyhedra("fcc", points, rod_depths, f"about {name}", min_atoms, max_atoms)
        normals = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) / math.sqrt(3)
        tetrahedron_depths = {
            "(111)": (offsets @ normals.T).max(axis=1),
            "(-1-1-1)": (offsets @ -normals.T).max(axis=1),
        }
        tetrahedron_depths["less (100)"] = depth["(100)"]
        yield from polyhedra(
            "fcc", points, tetrahedron_depths, f"about {name}", min_atoms, max_atoms, depth_ratio=(1.0, 3.01)
        )
    sixths = itertools.product(range(7), range(4), range(4))
    centres = [(x, y, z) for x, y, z in sixths if z <= y <= min(x, 6 - x)]
    for centre in np.array(centres) / 6 * math.sqrt(0.5):
        for label, x in spheres(points, centre, _centre_label(centre), min_atoms, max_atoms):
            yield centred_cluster("fcc", label, x)


def bcc_clusters(min_atoms: int, max_atoms: int) -> Iterator[Cluster]:
    """Yield bcc polyhedra with {110}, {100} and {111} planes, rods, plates and spheres.

    The clusters are cut about many centres in the unit cell.
    """
    yield from _cubic_clusters("bcc", np.array([(0, 0, 0), (0.5, 0.5, 0.5)]), 2 / math.sqrt(3), min_atoms, max_atoms)


def sc_clusters(min_atoms: int, max_atoms: int) -> Iterator[Cluster]:
    """Yield simple cubic polyhedra with {110}, {100} and {111} planes, rods, plates and spheres.

    The clusters are cut about many centres in the unit cell.
    """
    yield from _cubic_clusters("sc", np.zeros((1, 3)), 1.0, min_atoms, max_atoms)


def hcp_clusters(min_atoms: int, max_atoms: int) -> Iterator[Cluster]:
    """Yield hcp clusters: truncated prisms, bipyramids and spheres about many centres, and blocks of unit cells."""
    centres = [(site, height) for site in LAYER_SITES for height in (0, 0.25, 0.5)]
    yield from _stack_clusters("hcp", "hcp", "h", centres, min_atoms, max_atoms, growth=1.12)
    for block_size in itertools.combinations_with_replacement(range(2, MAX_BLOCK_CELLS + 1), 3):
        if min_atoms <= 2 * math.prod(block_size) <= max_atoms:
            cells = np.stack(np.meshgrid(*map(np.arange, block_size), indexing="ij"), axis=-1).reshape(-1, 1, 3)
            label = f"block of {' x '.join(map(str, block_size))} cells"
            yield centred_cluster("hcp", label, (cells + HCP_BASIS).reshape(-1, 3) @ HCP_CELL)


def twinned_clusters(min_atoms: int, max_atoms: int) -> Iterator[Cluster]:
    """Yield fcc clusters with one twin plane: mirrored truncated octahedra, prisms, bipyramids and spheres.

    The twin plane lies 0 to 3 layers away from the centre of the cluster.
    """
    points = points_within(stack(_embed_sequence("h", "c")), 1.6 * _bounding_radius(max_atoms))
    for site, (x, y) in LAYER_SITES.items():
        depth = folded_depths(points - np.array([x, y, 0]))
        yield from polyhedra("twin", points, depth, f"mirrored at the twin plane about {site}", min_atoms, max_atoms)
    centres = [(site, height) for site in ("atom", "bridge", "hollow") for height in (0, 0.5, 1, 2, 3)]
    yield from _stack_clusters(
        "twin", "one twin plane", _embed_sequence("h", "c"), centres, min_atoms, max_atoms, growth=1.12
    )


def faulted_clusters(min_atoms: int, max_atoms: int) -> Iterator[Cluster]:
    """Yield prisms, bipyramids and spheres of close-packed layers with stacking faults.

    There are four groups of stacking sequences: fcc with a few hexagonal layers (a fault or a twin lamella), hcp with a
    few cubic layers, sequences with a short period, and random sequences.
    """
    sequences = {
        f"{sequence} in fcc": _embed_sequence(sequence, "c")
        for sequence in ("hh", "hch", "hcch", "hccch", "hhh", "hhhh", "hhch")
    }
    sequences |= {
        f"{sequence} in hcp": _embed_sequence(sequence, "h") for sequence in ("c", "cc", "chc", "ccc", "cccc")
    }
    sequences |= {f"period {sequence}": sequence for sequence in ("hc", "hcc", "hhc", "hhcc", "hccc", "hhhc")}
    for seed, share in itertools.product(range(3), (0.25, 0.5, 0.75)):
        is_hexagonal = np.random.default_rng([seed, round(100 * share)]).random(64) < share
        sequences[f"random {seed} with {share} h"] = "".join(np.where(is_hexagonal, "h", "c"))
    for name, sequence in sequences.items():
        middle_layer = (len(name.split()[0]) - 1) / 2 if " in " in name else 0
        centres = [("atom", middle_layer), ("bridge", middle_layer + 1.5)]
        yield from _stack_clusters("fault", name, sequence, centres, min_atoms, max_atoms, growth=1.16)


FAMILIES: dict[str, Callable[[int, int], Iterator[Cluster]]] = {
    "icosahedron": icosahedra,
    "decahedron": decahedra,
    "octahedron": octahedra,
    "fcc": fcc_clusters,
    "bcc": bcc_clusters,
    "sc": sc_clusters,
    "hcp": hcp_clusters,
    "twin": twinned_clusters,
    "fault": faulted_clusters,
}
"""Rules of the families. A rule yields the clusters between a smallest and a largest number of atoms.

If several families list the same cluster, it belongs to the first of these families.
"""

FAMILY_TYPES = {
    "icosahedron": "icosahedron",
    "decahedron": "decahedron",
    "octahedron": "fcc",
    "fcc": "fcc",
    "bcc": "bcc",
    "sc": "sc",
    "hcp": "hcp",
    "twin": "faulted",
    "fault": "faulted",
}
"""Structure type of the clusters of each family."""


def _embed_sequence(sequence: str, host_letter: str) -> str:
    """Return a stacking sequence of 64 layers: the given letters, followed by one repeated letter."""
    return sequence + host_letter * (64 - len(sequence))


def _mackay_number(shells: int) -> int:
    """Return the number of atoms of an icosahedron or cuboctahedron with `shells` shells about the central atom."""
    return (10 * shells**3 + 15 * shells**2 + 11 * shells + 3) // 3


def _bounding_radius(n_atoms: int) -> float:
    """Return a radius within which a sphere of `n_atoms` atoms lies, even in the least dense structure (sc)."""
    return (3 / (4 * math.pi) * n_atoms) ** (1 / 3) + 0.5


def _centre_label(centre: np.ndarray) -> str:
    return f"about ({', '.join(f'{x:.3f}' for x in centre)})"


def _decahedra_pqr(min_atoms: int, max_atoms: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the labels and positions of all decahedra (p, q, r) within the limits of size and aspect ratio."""
    for r in itertools.count():
        for p in itertools.count(2 if r == 0 else 1):
            for q in itertools.count(1):
                positions = Decahedron("Au", p, q, r).positions
                width = 1.6 * (p + 2 * r)
                if len(positions) > max_atoms or p + q + 2 * r - 1 > MAX_ASPECT_RATIO * width:
                    break
                if len(positions) >= min_atoms:
                    yield f"({p},{q},{r})", positions
            if q == 1:
                break
        if p == 1:
            return


def _cubic_clusters(
    family: str, basis: np.ndarray, lattice_constant: float, min_atoms: int, max_atoms: int
) -> Iterator[Cluster]:
    """Yield polyhedra, rods, plates and spheres that are cut from a cubic lattice about points in its unit cell."""
    steps = np.arange(-math.ceil(1.6 * _bounding_radius(max_atoms)), math.ceil(1.6 * _bounding_radius(max_atoms)) + 1)
    cells = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    points = points_within((cells + basis).reshape(-1, 3) * lattice_constant, 1.6 * _bounding_radius(max_atoms))
    for centre in np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]) / 2 * lattice_constant:
        depth = plane_depths(points - centre)
        cuboid_depths = {"(110)": depth["(110)"], "(100)": depth["(100)"], "less (111)": depth["(111)"]}
        yield from polyhedra(
            family, points, cuboid_depths, _centre_label(centre), min_atoms, max_atoms, depth_ratio=(0.6, 1.6)
        )
        offsets = abs(points - centre)
        rod_depths = {"[001]": offsets[:, 2], "(100) (010)": offsets[:, :2].max(axis=1), "less (110)": depth["(110)"]}
        yield from polyhedra(family, points, rod_depths, _centre_label(centre), min_atoms, max_atoms)
    quarters = [(x, y, z) for x, y, z in itertools.product(range(3), repeat=3) if z <= y <= x]
    for centre in np.array(quarters) / 4 * lattice_constant:
        for label, x in spheres(points, centre, _centre_label(centre), min_atoms, max_atoms):
            yield centred_cluster(family, label, x)


def _stack_clusters(
    family: str,
    name: str,
    sequence: str,
    centres: Iterable[tuple[str, float]],
    min_atoms: int,
    max_atoms: int,
    *,
    growth: float = MIN_GROWTH_RATIO,
) -> Iterator[Cluster]:
    """Yield hexagonal prisms, bipyramids and spheres that are cut from a stack of close-packed layers.

    Each centre is a site in `LAYER_SITES` and a height in layers.
    """
    points = points_within(stack(sequence), 1.6 * _bounding_radius(max_atoms) + 2)
    for site, height in centres:
        centre = np.array([*LAYER_SITES[site], height * LAYER_SPACING])
        centre_label = f"of {name} about {site} at layer {height:g}"
        depth = prism_depths(points - centre)
        yield from polyhedra(
            family, points, depth, centre_label, min_atoms, max_atoms, growth=growth, truncations=TRUNCATION_DEPTHS[::2]
        )
        for label, positions in spheres(points, centre, centre_label, min_atoms, max_atoms, growth=growth):
            yield centred_cluster(family, label, positions)
