"""The fcc shapes for the training of networks: the eight shapes of the KDD 2020 paper, and a larger set.

The paper is A. S. Anker, E. T. S. Kjaer et al., KDD workshop on mining and learning with graphs (2020). Positions are
in units of the bond length.
"""

import functools
import itertools
import math

import numpy as np
from ase.cluster.cubic import FaceCenteredCubic
from scipy.spatial.distance import pdist

from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.lattices import FCC_CENTRES, fcc_lattice, is_connected, plane_depths

FCC_SURFACES = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
"""Miller indices of the surfaces of the fcc family (KDD 2020, section 4.3)."""


def fcc_cluster(layers: tuple[int, int, int]) -> Cluster:
    """Return the fcc cluster with the given numbers of layers from the centre along (100), (110) and (111)."""
    atoms = FaceCenteredCubic("Au", FCC_SURFACES, layers, latticeconstant=math.sqrt(2))
    label = f"layers {'-'.join(map(str, layers))} of (100)(110)(111)"
    return Cluster("fcc", label, atoms.positions - atoms.positions.mean(axis=0))


@functools.cache
def fcc_family(*, layers: range = range(2, 9), max_atoms: int = 99) -> tuple[Cluster, ...]:
    """Return the distinct fcc clusters with given numbers of layers, sorted by the number of atoms.

    All combinations of the numbers of layers along (100), (110) and (111) are tried. The numbers of the KDD 2020 paper
    (2 to 8 layers, fewer than 100 atoms) give 8 clusters, because many combinations give the same shape. The result is
    cached. Copy it before you change it.

    Args:
        layers: Numbers of layers along each of the three directions.
        max_atoms: Largest number of atoms in a cluster.
    """
    clusters: list[Cluster] = []
    oversized_triples: list[tuple[int, ...]] = []
    for a, b, c in itertools.product(layers, repeat=3):
        layer_triple = (a, b, c)
        if any(
            all(
                n_layers >= n_oversized_layers
                for n_layers, n_oversized_layers in zip(layer_triple, oversized_triple, strict=True)
            )
            for oversized_triple in oversized_triples
        ):
            continue  # a cluster with more layers contains the cluster with fewer layers
        cluster = fcc_cluster(layer_triple)
        if len(cluster.positions) > max_atoms:
            oversized_triples.append(layer_triple)
        elif len(cluster.positions) > 1:
            clusters.append(cluster)
    return tuple(distinct_clusters(clusters))


@functools.cache
def wide_fcc_family(*, min_atoms: int = 13, max_atoms: int = 100) -> tuple[Cluster, ...]:
    """Return the distinct fcc clusters of a larger set, sorted by the number of atoms.

    The set holds polyhedra cut by (100), (110) and (111) planes at all distances from each of `FCC_CENTRES`, and
    spheres about these centres. It also holds each of these clusters without one of its least-coordinated atoms.
    Clusters that are not connected are left out. The result is cached. Copy it before you change it.

    Args:
        min_atoms: Smallest number of atoms in a cluster.
        max_atoms: Largest number of atoms in a cluster.
    """
    lattice = fcc_lattice(7)
    cut_clusters = [
        cluster for name, centre in FCC_CENTRES.items() for cluster in _cut_clusters(lattice, name, np.array(centre))
    ]
    complete_clusters = [cluster for cluster in cut_clusters if min_atoms <= len(cluster.positions) <= max_atoms]
    vacancy_clusters = [
        _cluster_with_vacancy(cluster)
        for cluster in distinct_clusters(complete_clusters)
        if len(cluster.positions) > min_atoms
    ]
    return tuple(
        cluster
        for cluster in distinct_clusters(complete_clusters + vacancy_clusters)
        if is_connected(cluster.positions)
    )


def distinct_clusters(clusters: list[Cluster]) -> list[Cluster]:
    """Return the clusters without repetitions, sorted by the number of atoms.

    If several clusters have equal pair distances, the first one is kept. The distances are rounded to 1e-5 of the bond
    length for this comparison.
    """
    cluster_by_fingerprint: dict[bytes, Cluster] = {}
    for cluster in clusters:
        cluster_by_fingerprint.setdefault(fingerprint(cluster.positions), cluster)
    return sorted(cluster_by_fingerprint.values(), key=lambda cluster: len(cluster.positions))


def fingerprint(positions: np.ndarray) -> bytes:
    """Return the sorted pair distances, rounded to 1e-5, as bytes.

    Congruent clusters and mirror images give the same result.
    """
    return np.round(np.sort(pdist(positions)) * 1e5).astype(np.int64).tobytes()


def _cut_clusters(lattice: np.ndarray, name: str, centre: np.ndarray) -> list[Cluster]:
    """Return the clusters that planes and spheres about a centre cut from the lattice, without repetitions."""
    depth_by_plane = plane_depths(lattice - centre)
    levels = [[level for level in np.unique(np.round(depth, 6)) if level < 5.5] for depth in depth_by_plane.values()]
    label_by_rows: dict[bytes, str] = {}
    for plane_levels in itertools.product(*levels):
        is_inside = np.all(
            [depth <= level + 1e-5 for depth, level in zip(depth_by_plane.values(), plane_levels, strict=True)], axis=0
        )
        planes_label = " ".join(
            f"{plane} {level:.2f}" for plane, level in zip(depth_by_plane, plane_levels, strict=True)
        )
        label_by_rows.setdefault(is_inside.tobytes(), f"planes {planes_label} about {name}")
    radius = np.linalg.norm(lattice - centre, axis=1)
    for level in np.unique(np.round(radius[radius < 6], 6)):
        label_by_rows.setdefault((radius <= level + 1e-5).tobytes(), f"sphere {level:.2f} about {name}")
    cut_positions = ((lattice[np.frombuffer(is_inside, bool)], label) for is_inside, label in label_by_rows.items())
    return [
        Cluster("fcc", label, (positions - positions.mean(axis=0)) * math.sqrt(0.5))
        for positions, label in cut_positions
        if len(positions) > 1
    ]


def _cluster_with_vacancy(cluster: Cluster) -> Cluster:
    """Return the cluster without the first of its least-coordinated atoms."""
    positions = cluster.positions
    is_neighbour = np.linalg.norm(positions[:, None] - positions[None], axis=-1) < 1.2
    remaining_positions = np.delete(positions, np.argmin(is_neighbour.sum(axis=1)), axis=0)
    return Cluster(
        cluster.family, f"{cluster.label}, one atom missing", remaining_positions - remaining_positions.mean(axis=0)
    )
