"""The 197 shapes of seven structure types of DeepStruc, with 5 to 200 atoms.

The rules are those of A. S. Anker, E. T. S. Kjaer et al., Digital Discovery 2, 69 (2023), doi 10.1039/D2DD00086E,
called "DeepStruc" in this package. Positions are in units of the bond length. In bcc, the bond length of these rules is
the lattice constant, so that the nearest neighbours are closer by a factor of √3 / 2.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from ase import Atoms
from ase.cluster import Decahedron, Icosahedron, Octahedron
from ase.cluster.cubic import BodyCenteredCubic, FaceCenteredCubic, SimpleCubic
from ase.lattice.hexagonal import HexagonalClosedPacked

from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.fcc_shapes import FCC_SURFACES, distinct_clusters

STRUCTURE_TYPES = ("sc", "bcc", "fcc", "hcp", "decahedron", "icosahedron", "octahedron")
"""The seven types. They are the families of the clusters."""
METALS = tuple("Sc Ti V Cr Mn Fe Co Ni Cu Zn Y Zr Nb Tc Ru Rh Pd Ag Cd Hf Ta W Re Os Ir Pt Au Hg".split())
"""The 28 metals of the list. Their tabulated metallic radii give 19 distinct bond lengths."""
ATOM_RANGE = 5, 200
"""Smallest and largest number of atoms."""
FCC_CONSTANT, HCP_CONSTANTS = math.sqrt(2), (1.0, 1.633)
"""Lattice constants in bond lengths."""
HELD_OUT_RANGES: dict[str, tuple[int, range]] = {
    "sc": (2, range(4, 5)),
    "bcc": (2, range(6, 7)),
    "fcc": (1, range(4, 5)),
    "hcp": (2, range(6, 8)),
    "decahedron": (1, range(4, 5)),
    "icosahedron": (0, range(3, 4)),
    "octahedron": (0, range(4, 5)),
}
"""Parameter (its position in the label) and values of it that the split by ranges holds out, for each type.

The parameters are the layers along (111) of sc and bcc and along (110) of fcc, the largest size of hcp, the number q of
a decahedron, the shells of an icosahedron, and the atoms along an edge of an octahedron. The ranges were chosen so that
every held-out shape differs from all others of its type by more than a tenth of its atoms.
"""


def grid_clusters() -> Iterator[Cluster]:
    """Yield the clusters of DeepStruc's grids with bond length 1. Some of them are equal.

    Octahedra are before the cuts of fcc, and sc is before bcc, because the list assigns shared shapes in this order.
    """
    layers = list(itertools.combinations_with_replacement(range(1, 11), 3))
    pqr = list(itertools.product(range(1, 6), range(1, 6), range(6)))
    for edge_atoms in range(2, 8):
        yield Cluster(
            "octahedron", f"{edge_atoms}", Octahedron("Au", edge_atoms, latticeconstant=FCC_CONSTANT).positions
        )
    for name, make_cluster, lattice_constant in (
        ("sc", SimpleCubic, 1.0), ("bcc", BodyCenteredCubic, 1.0), ("fcc", FaceCenteredCubic, FCC_CONSTANT),
    ):  # fmt: skip
        yield from _clusters_within_size(
            name, functools.partial(_build_cluster, make_cluster, lattice_constant), layers
        )
    yield from _clusters_within_size(
        "hcp", lambda *size: HexagonalClosedPacked("Au", size=size, latticeconstant=HCP_CONSTANTS), layers
    )
    yield from _clusters_within_size(
        "decahedron", lambda p, q, r: Decahedron("Au", p, q, r, latticeconstant=FCC_CONSTANT), pqr
    )
    for n_shells in range(2, 5):
        yield Cluster("icosahedron", f"{n_shells}", Icosahedron("Au", n_shells, latticeconstant=FCC_CONSTANT).positions)


@functools.cache
def deepstruc_family() -> tuple[Cluster, ...]:
    """Return the 197 distinct shapes, sorted by number of atoms. The result is cached. Copy it before you change it."""
    return tuple(
        distinct_clusters(
            [cluster for cluster in grid_clusters() if ATOM_RANGE[0] <= len(cluster.positions) <= ATOM_RANGE[1]]
        )
    )


def is_held_out(cluster: Cluster) -> bool:
    """Return whether a shape of the list lies in one of `HELD_OUT_RANGES`."""
    position, values = HELD_OUT_RANGES[cluster.family]
    return int(cluster.label.split()[position]) in values


def _build_cluster(make_cluster: Callable[..., Atoms], lattice_constant: float, *layers: int) -> Atoms:
    return make_cluster("Au", FCC_SURFACES, layers, latticeconstant=lattice_constant)


def _clusters_within_size(
    name: str, make_cluster: Callable[..., Atoms], triples: Sequence[tuple[int, ...]]
) -> Iterator[Cluster]:
    """Yield the clusters that three numbers describe, up to the largest size. Clusters grow with each number."""
    large_triples: list[tuple[int, ...]] = []
    for triple in triples:
        if any(
            all(number >= large_number for number, large_number in zip(triple, large_triple, strict=True))
            for large_triple in large_triples
        ):
            continue
        positions = make_cluster(*triple).positions
        if len(positions) > ATOM_RANGE[1]:
            large_triples.append(triple)
        else:
            yield Cluster(name, " ".join(map(str, triple)), positions)
