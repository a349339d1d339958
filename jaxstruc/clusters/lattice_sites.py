"""Sets of lattice sites that the atoms of a particle may occupy, and a prior on which sites are occupied.

A packing is an unlimited arrangement of atoms: bcc, sc, a stack of close-packed layers, an icosahedron or a decahedron.
A particle occupies sites of a packing near an origin.

The surroundings of a site are two numbers: how many neighbours and how many next neighbours of the site are occupied.
The prior is the share of occupied sites among all sites with given surroundings, determined from the clusters of the
library (a pseudo-likelihood: J. Besag, The Statistician 24, 179 (1975)). Lengths are in units of the bond length.
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
"""Largest distance between neighbours, in units of the bond length. It includes the strained bonds of icosahedra and
excludes the second-nearest atoms of bcc."""
NEXT_NEIGHBOUR_DISTANCE = 1.52
"""Largest distance between next neighbours, in units of the bond length."""
UNSTACKED_PACKINGS = ("bcc", "sc", "icosahedron", "decahedron")
"""Packings that are not a stack of close-packed layers."""
OCCUPANCY_FILE = Path(__file__).with_name("occupied.json")
"""File with the numbers of empty and of occupied sites for all surroundings. `tools/make_occupied.py` writes it."""
UNKNOWN_SITE_SHARE = 0.05
"""Share of sites whose occupation is assumed to be random. Real particles are less regular than library clusters."""
NEIGHBOUR_PSEUDOCOUNT = 2.0
"""Number of pseudo-observations that are added for all surroundings. Their share of occupied sites is the mean share
for the same number of neighbours. Rare surroundings then get about this mean share."""


class LatticeSites(NamedTuple):
    """Sites of a packing, sorted by distance from the origin or from given atoms."""

    packing: str
    """Packing: bcc, sc, icosahedron, decahedron, or the stacking sequence of close-packed layers, e.g. "hc" (see
    `lattices.stack`)."""
    positions: np.ndarray
    """Positions of the sites [site, 3] relative to the origin, in units of the bond length."""
    origin: np.ndarray
    """Position of the origin in the packing [3], in units of the bond length."""


class OccupancyPrior(NamedTuple):
    """Prior on the occupation of sites for given surroundings (numbers of occupied neighbours and next neighbours)."""

    cost: np.ndarray
    """Negative logarithm of the share of empty sites (index 0) and of occupied sites (index 1) [occupied, neighbours,
    next neighbours]."""
    typical_cost_law: tuple[float, float]
    """Factor and exponent of a power law in the number of atoms. It gives the summed cost of a typical cluster of the
    library."""


def nearest_sites(
    packing: str, origin: np.ndarray, n_sites: int, *, atom_positions: np.ndarray | None = None
) -> LatticeSites:
    """Return the sites of a packing that are nearest to an origin, or nearest to given atoms.

    Args:
        packing: Packing, as in `LatticeSites`.
        origin: Position of the origin in the packing [3], in units of the bond length. An atom, the axis or the centre
            of the packing is at 0.
        n_sites: Number of sites.
        atom_positions: Positions of atoms [atom, 3] relative to the origin, in units of the bond length. If they are
            given, the sites nearest to these atoms are returned.
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
    """Return the sites of a packing [site, 3] within the distance `reach` of 0, with a mean bond length of 1.

    An atom, the axis or the centre of the packing is at 0.
    """
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
    """Return random positions [count, 3] in a packing at which a particle may be centred.

    In a lattice, the positions cover the unit cell. In an icosahedron or a decahedron, they are at most 0.35 particle
    diameters away from its centre or axis. The first position is 0, i.e. an atom, the axis or the centre.

    Args:
        packing: Packing, as in `LatticeSites`.
        size: Diameter of the particle, in units of the bond length.
        count: Number of positions.
        rng: Generator of the random numbers.
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
    """Return the surroundings of the occupied sites of a particle and of their empty neighbours.

    Args:
        lattice: Sites of the particle.
        is_occupied: Mask of the occupied sites [site].

    Returns:
        Three arrays [site]: 1 if the site is occupied and 0 if it is empty, the number of occupied neighbours, and the
        number of occupied next neighbours.
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
    """Return the summed cost of the sites of a particle, minus the cost of a typical particle with as many atoms.

    A cost is the negative logarithm of a probability. A positive result means that the shape is unusual.

    Args:
        lattice: Sites of the particle.
        is_occupied: Mask of the occupied sites [site].
    """
    prior = occupancy_prior(lattice.packing)
    surrounding_index = tuple(
        np.minimum(column, prior.cost.shape[1] - 1) for column in site_surroundings(lattice, is_occupied)
    )
    return float(
        prior.cost[surrounding_index].sum()
        - prior.typical_cost_law[0] * max(is_occupied.sum(), 1) ** prior.typical_cost_law[1]
    )


def occupancy_cost(site_counts: np.ndarray) -> np.ndarray:
    """Return the negative logarithms of the shares of empty and of occupied sites, with the shape of `site_counts`.

    Args:
        site_counts: Numbers of empty sites (index 0) and of occupied sites (index 1) [occupied, neighbours, next
            neighbours].
    """
    neighbour_counts = site_counts.sum(axis=2, keepdims=True)
    neighbour_share = (neighbour_counts + 0.5) / (neighbour_counts.sum(axis=0, keepdims=True) + 1)
    share = (site_counts + NEIGHBOUR_PSEUDOCOUNT * neighbour_share) / (site_counts.sum(axis=0) + NEIGHBOUR_PSEUDOCOUNT)
    return -np.log((1 - UNKNOWN_SITE_SHARE) * share + UNKNOWN_SITE_SHARE / 2)


@lru_cache
def occupancy_prior(packing: str) -> OccupancyPrior:
    """Return the prior on the occupation of the sites of a packing."""
    table = json.loads(OCCUPANCY_FILE.read_text("utf-8"))[packing if packing in UNSTACKED_PACKINGS else "stack"]
    return OccupancyPrior(occupancy_cost(np.array(table["count"], float)), (table["usual"][0], table["usual"][1]))
