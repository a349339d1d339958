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

from jaxstruc.structures import classes, kinds, lattices

BONDS = 1.13
"""Bonds, within which sites are neighbours: with the strain of icosahedra, without the second shell of bcc."""
NEXT = 1.52
"""Bonds, within which they are next neighbours."""
OTHER = ("bcc", "sc", "icosahedron", "decahedron")
"""Packings that are no stack of close-packed layers."""
TABLE = Path(__file__).with_name("occupied.json")
"""How often sites are taken; made by tools/make_occupied.py."""
ODD = 0.05
"""Share of sites of which nothing is known: particles are less regular than what rules list."""
FLOOR = 2.0
"""Sites, by which a rare surrounding leans on the share of its number of neighbours alone."""


class Host(NamedTuple):
    """Sites, the nearest first."""

    packing: str
    """bcc, sc, icosahedron, decahedron, or the word of a stack of close-packed layers."""
    positions: np.ndarray
    """[site, 3] in bonds."""
    origin: np.ndarray
    """[3] Place of the origin in the packing."""


class Habit(NamedTuple):
    """How usual surroundings of sites are."""

    cost: np.ndarray
    """[taken, neighbours, next neighbours] the negative logarithm of the share of sites that are so."""
    usual: tuple[float, float]
    """Factor and power of the number of atoms that give the sum of these over a listed particle's sites."""


def host(packing: str, origin: np.ndarray, sites: int, *, about: np.ndarray | None = None) -> Host:
    """Return the sites of a packing nearest to a place, or to atoms.

    Args:
        packing: as in `Host`.
        origin: [3] in bonds, where a packing has an atom, an axis or a centre at 0.
        sites: their number.
        about: [atom, 3] in bonds from the origin, to which sites shall be near in place of that.
    """
    radius = (3 / (4 * math.pi) * sites * classes.volume(packing)) ** (1 / 3)
    if about is not None:
        radius = max(radius, np.linalg.norm(about, axis=1).max() + 2)
    away = points(packing, math.ceil(radius + np.linalg.norm(origin) + 2.5)) - origin
    far = np.linalg.norm(away, axis=1) if about is None else KDTree(about).query(away)[0]
    order = np.argsort(np.round(far, 6), kind="stable")[:sites]
    return Host(packing, away[order], np.asarray(origin, float))


@lru_cache(maxsize=64)
def points(packing: str, reach: int) -> np.ndarray:
    """Return the sites of a packing within a sphere about its atom, axis or centre at 0; bonds of 1 in the mean."""
    if packing in ("icosahedron", "decahedron"):
        found = classes.fivefold(packing, reach + 3)
        near = found[np.linalg.norm(found, axis=1) < min(reach, 6)]
        found = found / kinds.bond(KDTree(near))
    elif packing in ("bcc", "sc"):
        steps = np.arange(-reach - 1, reach + 2)
        cells = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        basis = np.array([(0, 0, 0), (0.5, 0.5, 0.5)]) if packing == "bcc" else np.zeros((1, 3))
        found = (cells + basis).reshape(-1, 3) * (2 / math.sqrt(3) if packing == "bcc" else 1.0)
    else:
        found = lattices.stack(packing, reach=math.ceil(1.25 * reach) + 1)
    return lattices.within(found, reach)


def origins(packing: str, size: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return places [count, 3] about which particles of a size may lie: all of a lattice's, not far from a centre.

    Args:
        packing: as in `Host`.
        size: diameter of the particle, in bonds.
        count: of places; the first is the atom, axis or centre itself.
        rng: that they are drawn from.
    """
    found = rng.uniform(-0.5, 0.5, (count, 3))
    if packing in ("icosahedron", "decahedron"):
        way = rng.normal(size=(count, 3)) * ((1, 1, 1) if packing == "icosahedron" else (1, 1, 0))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        away = way * rng.uniform(0, 0.35 * size, (count, 1))
        found = away + found * ((0, 0, 0) if packing == "icosahedron" else (0, 0, 1))
    elif packing not in OTHER:
        found[:, 2] *= 2 * lattices.LAYER
    found[0] = 0.0
    return found


def surroundings(one: Host, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of a particle's sites, and of empty ones beside them: whether taken, and how many about each are.

    Args:
        one: the host.
        taken: [site] whether an atom is there.
    """
    pairs = KDTree(one.positions).query_pairs(NEXT, output_type="ndarray")
    apart = np.linalg.norm(one.positions[pairs[:, 0]] - one.positions[pairs[:, 1]], axis=1)
    near, following = np.zeros((2, len(taken)), int)
    for some, count in ((pairs[apart < BONDS], near), (pairs[apart >= BONDS], following)):
        np.add.at(count, some[:, 0], taken[some[:, 1]])
        np.add.at(count, some[:, 1], taken[some[:, 0]])
    beside = taken | (near > 0)
    return tuple(column[beside] for column in (taken.astype(int), near, following))  # type: ignore[return-value]


def unusual(one: Host, taken: np.ndarray) -> float:
    """Return how much more unusual a particle's shape is than a listed one's, as a negative logarithm."""
    own = habit(one.packing)
    where = tuple(np.minimum(column, own.cost.shape[1] - 1) for column in surroundings(one, taken))
    return float(own.cost[where].sum() - own.usual[0] * max(taken.sum(), 1) ** own.usual[1])


def cost(count: np.ndarray) -> np.ndarray:
    """Return the negative logarithms of the shares of sites that are empty and taken, of their numbers.

    Args:
        count: [taken, neighbours, next neighbours] sites.
    """
    every = count.sum(axis=2, keepdims=True)
    by_neighbours = (every + 0.5) / (every.sum(axis=0, keepdims=True) + 1)
    share = (count + FLOOR * by_neighbours) / (count.sum(axis=0) + FLOOR)
    return -np.log((1 - ODD) * share + ODD / 2)


@lru_cache
def habit(packing: str) -> Habit:
    """Return how usual surroundings are in a packing."""
    told = json.loads(TABLE.read_text("utf-8"))[packing if packing in OTHER else "stack"]
    return Habit(cost(np.array(told["count"], float)), (told["usual"][0], told["usual"][1]))
