"""Particles of a test set, each from a seed: some that no rule of the library lists, and those of DeepStruc's rules.

    python experiments/particles.py        (ten of each kind, in a table; a few seconds)

`offrule` draws particles whose atoms show their type (`kinds`), in one piece, hardly longer than wide, without loose
atoms. Lengths in bonds: the mean distance of nearest neighbours is 1, in bcc √3/2 of the lattice constant.
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

from jaxstruc.structures import classes, faces, kinds, lattices
from jaxstruc.structures.shapes import distinct

OFFRULE = ("fcc", "hcp", "bcc", "sc", "stack", "decahedron", "icosahedron", "shell", "missing")
RULES = ("sc", "bcc", "fcc", "hcp", "decahedron", "icosahedron", "octahedron")
TRIES = 1000
"""Draws, of which one is a particle as it should be."""
NEAR = 1.2
"""Bonds, within which atoms are neighbours: with the second shell of bcc, as in `lattices.connected`."""
NEIGHBOURS = 3
"""Least neighbours of an atom; one less where atoms of sc are missing."""
SLENDER = 1.8
"""Largest ratio of the extents along two principal axes."""
FAMILY, FACE = 0.12, 0.15
"""Spread of the logarithm of the distances of families of faces, and of the faces of one."""
TIE = 1e-6
"""Bonds, by which sites on one face may differ in depth: a face is whole."""
OFF = (0.1, 0.55)
"""Radii, between which a cut of a five-fold particle lies off its centre or axis."""
GONE = (0.1, 0.5)
"""Share of the vertices and edges that are missing, at least and at most, in the mean."""
WEAK = {"fcc": 7, "hcp": 7, "bcc": 8, "sc": 4}
"""Neighbours of an atom at most on an edge, or on a vertex."""
BULK = {"sc": 6, "bcc": 14}
"""Neighbours of an atom inside, where not 12."""
LAYERS = {"sc": (1.0, 0.5, 1 / 3), "bcc": (0.5, 0.5, 1 / 6), "fcc": (0.5, 0.25, 1 / 3)}
"""Distances of the (100), (110) and (111) layers, in lattice constants over the length of the Miller indices."""
GRID = 20
"""Most layers, and cells, in DeepStruc's rules, twice as many as there; of decahedra half as many."""


class Particle(NamedTuple):
    """A particle with bond length 1, and what its atoms show."""

    kind: str
    """How it was made, one of `OFFRULE` or `RULES`."""
    type: str
    """By the atoms, as in `kinds.Kind`."""
    hexagonal: float
    """Share of hexagonal layers among the inner layers, as in `kinds.Kind`."""
    word: str
    """Of a stack: the letters h and c of its inner layers from bottom to top; empty for the others."""
    positions: np.ndarray
    """[atom, 3], nearest-neighbour distance 1, about their mean."""


class _Host(NamedTuple):
    """Sites that particles are cut from."""

    sites: np.ndarray
    """[site, 3], one of them at the origin."""
    faces: tuple[np.ndarray, ...]
    """Families of directions [face, 3] of length 1."""


def offrule(kind: str, rng: np.random.Generator, *, least: int = 35, most: int = 320) -> Particle:
    """Return a particle that no rule of the library lists; its number of atoms is drawn evenly in the logarithm.

    Args:
        kind: one of `OFFRULE`. Cuts by planes, each at a distance of its own from a random place: of a lattice, of a
            random stack of close-packed layers, of a five-fold particle off its centre (also spheres); a closed shell
            with part of the next; a cut of a lattice without some edges and vertices.
        rng: that all is drawn from.
        least: atoms.
        most: atoms.

    Raises:
        ValueError: for a kind that there is not, or where no draw is a particle as it should be.
    """
    if kind not in OFFRULE:
        raise ValueError(f"Expected a kind of {', '.join(OFFRULE)}, got {kind!r}.")
    atoms = round(math.exp(rng.uniform(math.log(least), math.log(most))))
    make, packings = MAKERS.get(kind, (_crystal, (kind,)))
    packing = str(rng.choice(packings))
    for _ in range(TRIES):
        x, word = make(packing, atoms, rng)
        if least <= len(x) <= most and (found := _checked(kind, packing, word, x)) is not None:
            return found
    raise ValueError(f"Expected a {kind} of {atoms} atoms in {TRIES} draws, got none; change least and most.")


def rule(kind: str, rng: np.random.Generator, *, most: int = 256) -> Particle:
    """Return one of the distinct shapes of a type of DeepStruc, at least 30 atoms that show what they are.

    Args:
        kind: one of `RULES`.
        rng: that it is drawn from, each shape alike.
        most: atoms.

    Raises:
        ValueError: for a kind that there is not, or without a shape of so few atoms.
    """
    if kind not in RULES:
        raise ValueError(f"Expected a kind of {', '.join(RULES)}, got {kind!r}.")
    if not (found := shapes(kind, most)):
        raise ValueError(f"Expected a {kind} of at most {most} atoms, got none; raise most.")
    return found[rng.integers(len(found))]


@cache
def shapes(kind: str, most: int) -> tuple[Particle, ...]:
    """Return the distinct shapes of a type of DeepStruc, by size. Made once a process: copy before changing."""
    if kind in LAYERS:
        listed = _layered(kind, most)
    elif kind == "hcp":
        listed = _blocks(most)
    elif kind == "octahedron":
        listed = (Octahedron("Au", length, 0).positions for length in range(2, 15))
    else:
        listed = _icosahedra(most) if kind == "icosahedron" else iter(_decahedra(most))
    sized = [lattices.scaled(kind, "", x) for x in listed if kinds.LEAST <= len(x) <= most]
    found = [(cluster.positions, kinds.kind(cluster.positions)) for cluster in distinct(sized)]
    return tuple(Particle(kind, is_a.type, is_a.hexagonal, "", x) for x, is_a in found if is_a.shown)


def displaced(particle: Particle, rng: np.random.Generator, amount: float) -> Particle:
    """Return the particle with atoms displaced at random, alike in all directions.

    Type and layers stay what they were, and the positions are not scaled again.

    Args:
        particle: to displace.
        rng: that displacements are drawn from.
        amount: root mean square length of the displacements, in bonds.
    """
    moves = rng.normal(size=particle.positions.shape)
    moves -= moves.mean(axis=0)
    moves *= amount / math.sqrt((moves**2).sum(axis=1).mean())
    return _about_mean(particle, particle.positions + moves)


def contracted(particle: Particle, amount: float) -> Particle:
    """Return the particle with its surface pulled inwards, and by 1/e of it each layer below.

    An atom is on the surface where it has fewer neighbours than in the bulk; so contract before displacing. Type and
    layers stay what they were, and the positions are not scaled again.

    Args:
        particle: to contract.
        amount: way of the surface's atoms towards the centre, in bonds.
    """
    x = particle.positions
    near = _near(x)
    outer = np.flatnonzero(near.sum(axis=0) < BULK.get(particle.type, 12))
    below = dijkstra(near, directed=False, unweighted=True, indices=outer, min_only=True)
    inwards = -x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1.0)
    return _about_mean(particle, x + amount * np.exp(-below)[:, None] * inwards)


def _about_mean(particle: Particle, positions: np.ndarray) -> Particle:
    return particle._replace(positions=positions - positions.mean(axis=0))


def _checked(kind: str, packing: str, word: str, positions: np.ndarray) -> Particle | None:
    """Return the particle of these atoms; None where it is loose, slender, in pieces, or does not show its packing."""
    if len(positions) < kinds.LEAST:
        return None
    x = lattices.scaled(kind, "", positions).positions
    if _slender(x):
        return None
    near = _near(x)
    least = NEIGHBOURS - (kind == "missing" and packing == "sc")
    if near.sum(axis=0).min() < least or connected_components(near, directed=False)[0] > 1:
        return None
    found = kinds.kind(x)
    if not found.shown or (not word and found.type != packing):
        return None
    if word and not math.isclose(found.hexagonal, word.count("h") / len(word)):
        return None
    return Particle(kind, found.type, found.hexagonal, word, x)


def _slender(positions: np.ndarray) -> bool:
    """Return whether some extent along the principal axes is too large beside another."""
    extents = np.ptp(positions @ np.linalg.eigh(positions.T @ positions)[1], axis=0)
    return bool(extents.max() > SLENDER * extents.min())


def _near(positions: np.ndarray) -> coo_array:
    """Return which atoms are neighbours [atom, atom], as ones."""
    first, second = KDTree(positions).query_pairs(NEAR, output_type="ndarray").T
    pairs = np.concatenate([first, second]), np.concatenate([second, first])
    return coo_array((np.ones(2 * len(first)), pairs), shape=(len(positions), len(positions)))


def _reach(atoms: int) -> int:
    """Return how far out sites are needed, in bonds: for the loosest packing, sc, and a cut that lies off."""
    return math.ceil(1.1 * classes.sphere(atoms, 1.0) + 2)


@cache
def _host(kind: str, reach: int) -> _Host:
    """Return the sites within `reach` bonds, and the faces, of a packing."""
    if kind == "hcp":
        return _stack_host("h", reach)
    if kind in ("decahedron", "icosahedron"):
        size = reach + 3
        make = Icosahedron("Au", size) if kind == "icosahedron" else Decahedron("Au", size, size, 0)
        points = make.positions - make.positions.mean(axis=0)
        points /= kinds.bond(KDTree(lattices.within(points, 12.0)))
        directions = faces.icosahedral() if kind == "icosahedron" else faces.decahedral(points)
    elif kind == "fcc":
        points, directions = lattices.fcc_lattice(math.ceil(reach * math.sqrt(2))) * math.sqrt(0.5), faces.cubic()
    else:
        basis = [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)] if kind == "bcc" else [(0.0, 0.0, 0.0)]
        cells = np.array(list(itertools.product(range(-reach - 1, reach + 2), repeat=3)))
        points = (cells[:, None] + np.array(basis)).reshape(-1, 3) * (2 / math.sqrt(3) if kind == "bcc" else 1.0)
        directions = faces.cubic()
    return _Host(lattices.within(points, reach), directions)


def _stack_host(word: str, reach: int) -> _Host:
    """Return the sites of a stack, and the basal, prismatic and pyramidal faces of hcp."""
    points = lattices.stack(word, reach=math.ceil(reach / lattices.LAYER))
    return _Host(lattices.within(points, reach), faces.hexagonal())


def _cut(host: _Host, atoms: int, centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return so many sites cut out by faces, each at a distance of its own from a centre; none beyond the host."""
    directions = np.concatenate(host.faces)
    away = np.concatenate([rng.normal(0, FAMILY) + rng.normal(0, FACE, len(ways)) for ways in host.faces])
    depth = ((host.sites - centre) @ (directions / np.exp(away)[:, None]).T).max(axis=1)
    return _innermost(host, depth, atoms)


def _innermost(host: _Host, depth: np.ndarray, atoms: int) -> np.ndarray:
    """Return the sites of the least depths; none where some lie at the host's end."""
    sites = host.sites[depth <= np.partition(depth, atoms - 1)[atoms - 1] + TIE]
    radius = np.linalg.norm(host.sites, axis=1).max()
    return sites if np.linalg.norm(sites, axis=1).max() < radius - 1 else sites[:0]


def _crystal(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a cut of a lattice, and no word."""
    return _cut(_host(packing, _reach(atoms)), atoms, rng.uniform(-1, 1, 3), rng), ""


def _stack(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a cut through a stack of layers that are hexagonal with a probability drawn first, and its word."""
    reach = _reach(atoms)
    word = "".join(np.where(rng.random(4 * reach) < rng.random(), "h", "c"))
    sites = _cut(_stack_host(word, reach), atoms, rng.uniform(-0.5, 0.5, 3), rng)
    layers = np.unique(np.round(sites[:, 2] / lattices.LAYER)).astype(int)
    inner = "".join(word[layer % len(word)] for layer in layers[1:-1])
    return sites if len(layers) >= kinds.LAYERS else sites[:0], inner


def _fivefold(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a cut, or a sphere, off the centre of an icosahedron, or off the axis of a decahedron, and no word."""
    host = _host(packing, _reach(atoms))
    way = rng.normal(size=3) * (1, 1, packing == "icosahedron")
    centre = rng.uniform(*OFF) * classes.sphere(atoms, classes.volume(packing)) / 2 * way / np.linalg.norm(way)
    centre[2] += rng.uniform(-0.5, 0.5) * (packing == "decahedron")
    if rng.random() < 0.5:
        return _cut(host, atoms, centre, rng), ""
    return _innermost(host, np.linalg.norm(host.sites - centre, axis=1), atoms), ""


def _missing(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a cut without some vertices and edges, which are runs of weak atoms of as many neighbours; no word."""
    sites = _cut(_host(packing, _reach(atoms)), round(1.1 * atoms), rng.uniform(-1, 1, 3), rng)
    if not len(sites):
        return sites, ""
    near = _near(sites)
    count = near.sum(axis=0)
    alike = (count[near.row] == count[near.col]) & (count[near.row] <= WEAK[packing])
    runs = coo_array((near.data[alike], (near.row[alike], near.col[alike])), shape=near.shape)
    number, run = connected_components(runs, directed=False)
    gone = (rng.random(number) < rng.uniform(*GONE))[run] & (count <= WEAK[packing])
    return sites[~gone] if gone.any() else sites[:0], ""


def _shell(packing: str, atoms: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return a closed shell and part of the next, a cap about a direction or face by face; no word."""
    cores = [x for x in _closed(packing, 1 << atoms.bit_length()) if 0.2 * atoms < len(x) <= atoms - NEIGHBOURS]
    if not cores:
        return np.zeros((0, 3)), ""
    core = cores[rng.integers(len(cores))]
    host = _host(packing, _reach(atoms))
    sites = host.sites + core[np.linalg.norm(core, axis=1).argmin()]
    apart = KDTree(core).query(sites)[0]
    sites = sites[(apart > 0.5) & (apart < NEAR)]
    way = rng.normal(size=3)
    order = sites @ way / np.linalg.norm(sites, axis=1) / np.linalg.norm(way)
    if rng.random() < 0.5:
        ways = np.concatenate(host.faces[:2])
        order -= 2.0 * rng.permutation(len(ways))[(sites @ ways.T / (core @ ways.T).max(axis=0)).argmax(axis=1)]
    wanted, last = atoms - len(core), len(sites) - 1
    if wanted > last + NEIGHBOURS:
        return sites[:0], ""
    added = sites[np.argsort(-order)[: min(wanted, last)]]
    while len(added) and (few := _near(np.concatenate([core, added])).sum(axis=0)[len(core) :] < NEIGHBOURS).any():
        added = added[~few]
    return np.concatenate([core, added]) if len(added) else added, ""


MAKERS: dict[str, tuple[Callable[[str, int, np.random.Generator], tuple[np.ndarray, str]], tuple[str, ...]]] = {
    "stack": (_stack, ("",)),
    "decahedron": (_fivefold, ("decahedron",)),
    "icosahedron": (_fivefold, ("icosahedron",)),
    "shell": (_shell, ("icosahedron", "decahedron", "fcc", "bcc")),
    "missing": (_missing, tuple(WEAK)),
}
"""How each kind but the lattices is made, and of which packings."""


@cache
def _closed(kind: str, most: int) -> tuple[np.ndarray, ...]:
    """Return closed shells: icosahedra, decahedra, and polyhedra of fcc and of bcc of two sets of faces."""
    if kind in ("icosahedron", "decahedron"):
        listed = _icosahedra(most) if kind == "icosahedron" else iter(_decahedra(most))
        return tuple(lattices.scaled(kind, "", x).positions for x in listed if len(x) > 6 and not _slender(x))
    host = _host(kind, _reach(most))
    found: dict[bytes, np.ndarray] = {}
    for centre in np.array([(0, 0, 0), (math.sqrt(0.5), 0, 0)][: 2 if kind == "fcc" else 1]):
        depth = lattices.depths(host.sites - centre)
        cut, cap = depth["(111)" if kind == "fcc" else "(110)"], depth["(100)"]
        for far, off in itertools.product(np.unique(cut.round(6)), np.unique(cap.round(6))):
            kept = np.flatnonzero((cut < far + 1e-5) & (cap < off + 1e-5))
            if len(kept) > most:
                break
            if len(kept) > 6:
                found.setdefault(kept.tobytes(), host.sites[kept] - centre)
    return tuple(found.values())


def _layered(kind: str, most: int) -> Iterator[np.ndarray]:
    """Yield the cubic clusters of ASE of 1 <= h <= k <= l layers of (100), (110) and (111) about an atom."""
    host = _host(kind, _reach(most))
    constant = {"sc": 1.0, "bcc": 2 / math.sqrt(3), "fcc": math.sqrt(2)}[kind]
    away = lattices.depths(host.sites).values()
    index = [
        np.ceil(depth / (constant * step * math.sqrt(squared)) - 0.1)
        for depth, step, squared in zip(away, LAYERS[kind], (1, 2, 3), strict=True)
    ]
    seen = set()
    for layers in itertools.combinations_with_replacement(range(1, GRID + 1), 3):
        kept = np.all([depth <= each for depth, each in zip(index, layers, strict=True)], axis=0)
        if kept.sum() <= most and (key := kept.tobytes()) not in seen:
            seen.add(key)
            yield host.sites[kept]


def _blocks(most: int) -> Iterator[np.ndarray]:
    """Yield the hcp blocks of s1 <= s2 <= s3 cells."""
    for size in itertools.combinations_with_replacement(range(1, GRID + 1), 3):
        if 2 * math.prod(size) <= most:
            yield HexagonalClosedPacked("Au", size=size, latticeconstant={"a": 1.0, "c": math.sqrt(8 / 3)}).positions


def _icosahedra(most: int) -> Iterator[np.ndarray]:
    """Yield the Mackay icosahedra."""
    for shells in itertools.count(2):
        if len(x := Icosahedron("Au", shells).positions) > most:
            return
        yield x


@cache
def _decahedra(most: int) -> tuple[np.ndarray, ...]:
    """Return the Ino and Marks decahedra of p, q <= 10 and r <= 10."""
    found = []
    too_large: list[tuple[int, ...]] = []
    for pqr in itertools.product(range(1, GRID // 2 + 1), range(1, GRID // 2 + 1), range(GRID // 2 + 1)):
        if any(all(more >= less for more, less in zip(pqr, known, strict=True)) for known in too_large):
            continue  # a decahedron of more layers holds those of fewer
        if len(x := Decahedron("Au", *pqr).positions) > most:
            too_large.append(pqr)
        else:
            found.append(x)
    return tuple(found)


def main() -> None:
    """Print ten particles of each kind."""
    print(f"{'':9}{'kind':14}{'atoms':>6}  {'type':13}{'hexagonal':10} word")
    for name, names in (("off rule", OFFRULE), ("rule", RULES)):
        for kind, seed in itertools.product(names, range(10)):
            rng = np.random.default_rng([seed, names.index(kind)])
            one = offrule(kind, rng) if names is OFFRULE else rule(kind, rng)
            print(f"{name:9}{kind:14}{len(one.positions):6}  {one.type:13}{one.hexagonal:9.2f}  {one.word}")


if __name__ == "__main__":
    main()
