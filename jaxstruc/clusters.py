"""Named families of clusters, with their labels. Bond lengths in Å."""

import itertools
import math
from typing import NamedTuple

import ase
import numpy as np
from ase.cluster.cubic import FaceCenteredCubic

SURFACES = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
"""Surfaces of the fcc family, KDD 2020 section 4.3."""


class Cluster(NamedTuple):
    """A cluster with bond length 1 and the labels that name it."""

    family: str
    label: str
    """Parameters within the family, as "layers 2-3-4 of (100)(110)(111)"."""
    positions: np.ndarray
    """[atom, 3], nearest-neighbour distance 1."""

    def atoms(self, symbol: str, bond: float) -> ase.Atoms:
        """Return the cluster made of an element, with nearest-neighbour distance `bond` in Å."""
        return ase.Atoms([symbol] * len(self.positions), positions=self.positions * bond)


def fcc(layers: tuple[int, int, int]) -> Cluster:
    """Return the fcc cluster bounded by that many layers of (100), (110) and (111) surfaces."""
    atoms = FaceCenteredCubic("Au", SURFACES, layers, latticeconstant=math.sqrt(2))
    label = f"layers {'-'.join(map(str, layers))} of (100)(110)(111)"
    return Cluster("fcc", label, atoms.positions - atoms.positions.mean(axis=0))


def fcc_family(*, layers: range = range(2, 9), max_atoms: int = 99) -> list[Cluster]:
    """Return the distinct fcc clusters over a grid of layers, by size.

    The KDD 2020 paper's grid (2 to 8 layers, fewer than 100 atoms) gives 8: most layer triples name the same shape.
    """
    grid = (fcc((a, b, c)) for a, b, c in itertools.product(layers, repeat=3))
    return distinct([cluster for cluster in grid if 1 < len(cluster.positions) <= max_atoms])


def distinct(clusters: list[Cluster]) -> list[Cluster]:
    """Return the first cluster of each sorted distance list (to 1e-5 of a bond), by number of atoms."""
    first: dict[bytes, Cluster] = {}
    for cluster in clusters:
        first.setdefault(fingerprint(cluster.positions), cluster)
    return sorted(first.values(), key=lambda cluster: len(cluster.positions))


def fingerprint(positions: np.ndarray) -> bytes:
    """Return the sorted pair distances, rounded to 1e-5, as bytes: equal for congruent clusters and mirror images."""
    return np.round(np.sort(pair_distances(positions)) * 1e5).astype(np.int64).tobytes()


def pair_distances(positions: np.ndarray) -> np.ndarray:
    """Return the distances of all pairs i < j."""
    first, second = np.triu_indices(len(positions), 1)
    return np.linalg.norm(positions[first] - positions[second], axis=1)
