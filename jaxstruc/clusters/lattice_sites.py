"""Hosts: the sites of a packing, about a place, that atoms of a particle may take, and how usual it is that they do.

Lengths in bonds. How usual is learnt from the cuts that the library lists: the share of sites that are taken, given how
many of the neighbours and of the next neighbours are (a pseudo-likelihood: J. Besag, The Statistician 24, 179 (1975)).
"""

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from jaxstruc.clusters import lattices, size_classes, structure_type

NEIGHBOUR_DISTANCE = 1.13
"""Bonds, within which sites are neighbours: with the strain of icosahedra, without the second shell of bcc."""
NEXT_NEIGHBOUR_DISTANCE = 1.52
"""Bonds, within which they are next neighbours."""
UNSTACKED_PACKINGS = ("bcc", "sc", "icosahedron", "decahedron")
"""Packings that are no stack of close-packed layers."""
OCCUPANCY_FILE = Path(__file__).with_name("occupied.json")
"""How often sites are taken; made by tools/make_occupied.py."""
UNKNOWN_SITE_SHARE = 0.05
"""Share of sites of which nothing is known: particles are less regular than what rules list."""
NEIGHBOUR_PSEUDOCOUNT = 2.0
"""Sites, by which a rare surrounding leans on the share of its number of neighbours alone."""


class LatticeSites(NamedTuple):
    """Sites, the nearest first."""

    packing: str
    """bcc, sc, icosahedron, decahedron, or the word of a stack of close-packed layers."""
    positions: np.ndarray
    """[site, 3] in bonds."""
    origin: np.ndarray
    """[3] Place of the origin in the packing."""


class OccupancyPrior(NamedTuple):
    """How usual surroundings of sites are."""

    cost: np.ndarray
    """[taken, neighbours, next neighbours] the negative logarithm of the share of sites that are so."""
    typical_cost_law: tuple[float, float]
    """Factor and power of the number of atoms that give the sum of these over a listed particle's sites."""


def nearest_sites(
    packing: str, origin: np.ndarray, n_sites: int, *, atom_positions: np.ndarray | None = None
) -> LatticeSites:
    """Return the sites of a packing nearest to a place, or to atoms.

    Args:
        packing: as in `LatticeSites`.
        origin: [3] in bonds, where a packing has an atom, an axis or a centre at 0.
        n_sites: their number.
        atom_positions: [atom, 3] in bonds from the origin, to which sites shall be near in place of that.
    """
    radius = (3 / (4 * math.pi) * n_sites * size_classes.atom_volume(packing)) ** (1 / 3)
    if atom_positions is not None:
        radius = max(radius, np.linalg.norm(atom_positions, axis=1).max() + 2)
    offsets = packing_sites(packing, math.ceil(radius + np.linalg.norm(origin) + 2.5)) - origin
    distance = np.linalg.norm(offsets, axis=1) if atom_positions is None else KDTree(atom_positions).query(offsets)[0]
    order = np.argsort(np.round(distance, 6), kind="stable")[:n_sites]
    return LatticeSites(packing, offsets[order], np.asarray(origin, float))


@lru_cache(maxsize=64)
def packing_sites(packing: str, reach: int) -> np.ndarray:
    """Return the sites of a packing within a sphere about its atom, axis or centre at 0; bonds of 1 in the mean."""
    if packing in ("icosahedron", "decahedron"):
        positions = size_classes.fivefold_positions(packing, reach + 3)
        inner_positions = positions[np.linalg.norm(positions, axis=1) < min(reach, 6)]
        positions = positions / structure_type.mean_bond(KDTree(inner_positions))
    elif packing in ("bcc", "sc"):
        steps = np.arange(-reach - 1, reach + 2)
        cells = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        basis = np.array([(0, 0, 0), (0.5, 0.5, 0.5)]) if packing == "bcc" else np.zeros((1, 3))
        positions = (cells + basis).reshape(-1, 3) * (2 / math.sqrt(3) if packing == "bcc" else 1.0)
    else:
        positions = lattices.stack(packing, reach=math.ceil(1.25 * reach) + 1)
    return lattices.points_within(positions, reach)


def random_origins(packing: str, size: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return places [count, 3] about which particles of a size may lie: all of a lattice's, not far from a centre.

    Args:
        packing: as in `LatticeSites`.
        size: diameter of the particle, in bonds.
        count: of places; the first is the atom, axis or centre itself.
        rng: that they are drawn from.
    """
    origins = rng.uniform(-0.5, 0.5, (count, 3))
    if packing in ("icosahedron", "decahedron"):
        direction = rng.normal(size=(count, 3)) * ((1, 1, 1) if packing == "icosahedron" else (1, 1, 0))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        offset = direction * rng.uniform(0, 0.35 * size, (count, 1))
        origins = offset + origins * ((0, 0, 0) if packing == "icosahedron" else (0, 0, 1))
    elif packing not in UNSTACKED_PACKINGS:
        origins[:, 2] *= 2 * lattices.LAYER_SPACING
    origins[0] = 0.0
    return origins


def site_surroundings(lattice: LatticeSites, is_occupied: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of a particle's sites, and of empty ones beside them: whether taken, and how many about each are.

    Args:
        lattice: the host.
        is_occupied: [site] whether an atom is there.
    """
    pairs = KDTree(lattice.positions).query_pairs(NEXT_NEIGHBOUR_DISTANCE, output_type="ndarray")
    distance = np.linalg.norm(lattice.positions[pairs[:, 0]] - lattice.positions[pairs[:, 1]], axis=1)
    n_neighbours, n_next_neighbours = np.zeros((2, len(is_occupied)), int)
    for shell_pairs, n_occupied in (
        (pairs[distance < NEIGHBOUR_DISTANCE], n_neighbours),
        (pairs[distance >= NEIGHBOUR_DISTANCE], n_next_neighbours),
    ):
        np.add.at(n_occupied, shell_pairs[:, 0], is_occupied[shell_pairs[:, 1]])
        np.add.at(n_occupied, shell_pairs[:, 1], is_occupied[shell_pairs[:, 0]])
    is_near_particle = is_occupied | (n_neighbours > 0)
    return tuple(column[is_near_particle] for column in (is_occupied.astype(int), n_neighbours, n_next_neighbours))  # type: ignore[return-value]


def excess_occupancy_cost(lattice: LatticeSites, is_occupied: np.ndarray) -> float:
    """Return how much more unusual a particle's shape is than a listed one's, as a negative logarithm."""
    prior = occupancy_prior(lattice.packing)
    surrounding_index = tuple(
        np.minimum(column, prior.cost.shape[1] - 1) for column in site_surroundings(lattice, is_occupied)
    )
    return float(
        prior.cost[surrounding_index].sum()
        - prior.typical_cost_law[0] * max(is_occupied.sum(), 1) ** prior.typical_cost_law[1]
    )


def occupancy_cost(site_counts: np.ndarray) -> np.ndarray:
    """Return the negative logarithms of the shares of sites that are empty and taken, of their numbers.

    Args:
        site_counts: [taken, neighbours, next neighbours] sites.
    """
    neighbour_counts = site_counts.sum(axis=2, keepdims=True)
    neighbour_share = (neighbour_counts + 0.5) / (neighbour_counts.sum(axis=0, keepdims=True) + 1)
    share = (site_counts + NEIGHBOUR_PSEUDOCOUNT * neighbour_share) / (site_counts.sum(axis=0) + NEIGHBOUR_PSEUDOCOUNT)
    return -np.log((1 - UNKNOWN_SITE_SHARE) * share + UNKNOWN_SITE_SHARE / 2)


@lru_cache
def occupancy_prior(packing: str) -> OccupancyPrior:
    """Return how usual surroundings are in a packing."""
    table = json.loads(OCCUPANCY_FILE.read_text("utf-8"))[packing if packing in UNSTACKED_PACKINGS else "stack"]
    return OccupancyPrior(occupancy_cost(np.array(table["count"], float)), (table["usual"][0], table["usual"][1]))
