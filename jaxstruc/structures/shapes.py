"""The fcc shapes that networks are trained on: the KDD 2020 paper's eight, and those of a wide rule."""

import functools
import itertools
import math

import numpy as np
from ase.cluster.cubic import FaceCenteredCubic
from scipy.spatial.distance import pdist

from jaxstruc.structures.atoms import Cluster
from jaxstruc.structures.lattices import CENTRES, connected, depths, fcc_lattice

SURFACES = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
"""Surfaces of the fcc family, KDD 2020 section 4.3."""


def fcc(layers: tuple[int, int, int]) -> Cluster:
    """Return the fcc cluster bounded by that many layers of (100), (110) and (111) surfaces."""
    atoms = FaceCenteredCubic("Au", SURFACES, layers, latticeconstant=math.sqrt(2))
    label = f"layers {'-'.join(map(str, layers))} of (100)(110)(111)"
    return Cluster("fcc", label, atoms.positions - atoms.positions.mean(axis=0))


@functools.cache
def fcc_family(*, layers: range = range(2, 9), max_atoms: int = 99) -> tuple[Cluster, ...]:
    """Return the distinct fcc clusters over a grid of layers, by size.

    The KDD 2020 paper's grid (2 to 8 layers, fewer than 100 atoms) gives 8: most layer triples name the same shape.
    Made once a process: copy before changing.
    """
    kept: list[Cluster] = []
    too_large: list[tuple[int, ...]] = []
    for a, b, c in itertools.product(layers, repeat=3):
        asked = (a, b, c)
        if any(all(more >= less for more, less in zip(asked, known, strict=True)) for known in too_large):
            continue  # a cluster of more layers holds those of fewer
        cluster = fcc(asked)
        if len(cluster.positions) > max_atoms:
            too_large.append(asked)
        elif len(cluster.positions) > 1:
            kept.append(cluster)
    return tuple(distinct(kept))


@functools.cache
def fcc_shapes(*, min_atoms: int = 13, max_atoms: int = 100) -> tuple[Cluster, ...]:
    """Return the distinct fcc clusters of a wide rule, by size.

    Polyhedra cut by (100), (110) and (111) planes at all distances from each of `CENTRES`, spheres about them, and each
    of these with one of its least-coordinated atoms missing. Only connected ones.
    Made once a process: copy before changing.
    """
    lattice = fcc_lattice(7)
    found = [cluster for name, centre in CENTRES.items() for cluster in _cuts(lattice, name, np.array(centre))]
    whole = [cluster for cluster in found if min_atoms <= len(cluster.positions) <= max_atoms]
    dented = [_with_vacancy(cluster) for cluster in distinct(whole) if len(cluster.positions) > min_atoms]
    return tuple(cluster for cluster in distinct(whole + dented) if connected(cluster.positions))


def distinct(clusters: list[Cluster]) -> list[Cluster]:
    """Return the first cluster of each sorted distance list (to 1e-5 of a bond), by number of atoms."""
    first: dict[bytes, Cluster] = {}
    for cluster in clusters:
        first.setdefault(fingerprint(cluster.positions), cluster)
    return sorted(first.values(), key=lambda cluster: len(cluster.positions))


def fingerprint(positions: np.ndarray) -> bytes:
    """Return the sorted pair distances, rounded to 1e-5, as bytes: equal for congruent clusters and mirror images."""
    return np.round(np.sort(pdist(positions)) * 1e5).astype(np.int64).tobytes()


def _cuts(lattice: np.ndarray, name: str, centre: np.ndarray) -> list[Cluster]:
    """Return the clusters cut from the lattice by planes, and by spheres, about a centre; each set of atoms once."""
    outward = depths(lattice - centre)
    levels = [[level for level in np.unique(np.round(depth, 6)) if level < 5.5] for depth in outward.values()]
    sets: dict[bytes, str] = {}
    for cut in itertools.product(*levels):
        kept = np.all([depth <= level + 1e-5 for depth, level in zip(outward.values(), cut, strict=True)], axis=0)
        planes = " ".join(f"{plane} {level:.2f}" for plane, level in zip(outward, cut, strict=True))
        sets.setdefault(kept.tobytes(), f"planes {planes} about {name}")
    radius = np.linalg.norm(lattice - centre, axis=1)
    for level in np.unique(np.round(radius[radius < 6], 6)):
        sets.setdefault((radius <= level + 1e-5).tobytes(), f"sphere {level:.2f} about {name}")
    cut_out = ((lattice[np.frombuffer(kept, bool)], label) for kept, label in sets.items())
    return [Cluster("fcc", label, (x - x.mean(axis=0)) * math.sqrt(0.5)) for x, label in cut_out if len(x) > 1]


def _with_vacancy(cluster: Cluster) -> Cluster:
    """Return the cluster without one of its least-coordinated atoms, the first of them."""
    positions = cluster.positions
    near = np.linalg.norm(positions[:, None] - positions[None], axis=-1) < 1.2
    kept = np.delete(positions, np.argmin(near.sum(axis=1)), axis=0)
    return Cluster(cluster.family, f"{cluster.label}, one atom missing", kept - kept.mean(axis=0))
