"""Families of candidate clusters, each listed by a rule: what a library for cluster mining is made of.

Lengths in bonds: the mean distance of nearest neighbours is 1. Families list a shape more than once where their
parameters do; `library.build` merges equal ones.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from ase.cluster import Decahedron, Icosahedron, Octahedron

from jaxstruc.structures.atoms import Cluster
from jaxstruc.structures.lattices import (
    CENTRES,
    GROWTH,
    LAYER,
    LESS,
    SITES,
    SLENDER,
    centred,
    depths,
    fcc_lattice,
    folded_depths,
    prism_depths,
    scaled,
    solids,
    spheres,
    stack,
    within,
)

VERSION = 2
"""Of the rules below; a library in the cache that another version made is not used."""
BLOCK = 20
"""Most cells along a side of a block; as many as DeepStruc's grids have, twice over."""
HCP_CELL = np.array([[1, 0, 0], [-0.5, math.sqrt(0.75), 0], [0, 0, 2 * LAYER]])
HCP_BASIS = np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.5]])


def icosahedra(least: int, most: int) -> Iterator[Cluster]:
    """Yield the Mackay icosahedra, and spheres cut from a large one about places near its centre."""
    shells = 1
    while (size := _mackay(shells)) <= most:
        if size >= least:
            yield scaled("icosahedron", f"{shells} shells", Icosahedron("Au", shells + 1).positions)
        shells += 1
    points = Icosahedron("Au", shells + 4, latticeconstant=math.sqrt(2)).positions
    vertex, edge, face = np.array([[0, 1, (1 + 5**0.5) / 2], [0, 0, 1], [1, 1, 1]])
    for name, way in (("a vertex", vertex), ("an edge", edge), ("a face", face)):
        for off in np.arange(0.5, 3.1, 0.5):
            where = f"{off:.1f} from the centre towards {name}"
            for label, x in spheres(points, off * way / np.linalg.norm(way), where, least, most):
                yield scaled("icosahedron", label, x)


def decahedra(least: int, most: int) -> Iterator[Cluster]:
    """Yield the Ino (r = 0) and Marks decahedra (p, q, r), and spheres cut from a large one about places near its axis.

    Those much higher than wide or wider than high are left out (`SLENDER`).
    """
    for label, x in _decahedra_pqr(least, most):
        yield scaled("decahedron", label, x)
    reach = round(2.2 * most ** (1 / 3) / 2)
    points = Decahedron("Au", reach + 4, reach, 0, latticeconstant=math.sqrt(2)).positions
    for name, angle, nearest in (("a twin plane", math.pi / 2, 0.0), ("a grain", 3 * math.pi / 2, 0.5)):
        for off, height in itertools.product(np.arange(nearest, 3.1, 0.5), (0.0, 0.5)):
            centre = np.array([off * math.cos(angle), off * math.sin(angle), height])
            where = f"{off:.1f} from the axis towards {name}, height {height:.1f}"
            for label, x in spheres(points, centre, where, least, most):
                yield scaled("decahedron", label, x)


def octahedra(least: int, most: int) -> Iterator[Cluster]:
    """Yield octahedra, truncated octahedra and cuboctahedra."""
    for length in itertools.count(2):
        sizes = []
        for cutoff in range((length - 1) // 2 + 1):
            name = "truncated octahedron" if cutoff else "octahedron"
            name = "cuboctahedron" if length == 2 * cutoff + 1 else name
            x = Octahedron("Au", length, cutoff, latticeconstant=math.sqrt(2)).positions
            sizes.append(len(x))
            if least <= len(x) <= most:
                yield centred("octahedron", f"{name} length {length} cutoff {cutoff}", x)
        if min(sizes) > most:
            return


def fcc(least: int, most: int) -> Iterator[Cluster]:
    """Yield fcc polyhedra of {100}, {110} and {111} planes about many centres, tetrahedra, rods, plates and spheres."""
    points = within(fcc_lattice(math.ceil(2.3 * _radius(most))) * math.sqrt(0.5), 1.6 * _radius(most))
    for name, centre in CENTRES.items():
        offsets = points - np.array(centre) * math.sqrt(0.5)
        depth = depths(offsets)
        cubes = {"(111)": depth["(111)"], "(100)": depth["(100)"], "less (110)": depth["(110)"]}
        yield from solids("fcc", points, cubes, f"about {name}", least, most, ratio=(0.5, 1.8))
        rods = {"[001]": abs(offsets[:, 2]), "(100) (010)": abs(offsets[:, :2]).max(axis=1)}
        rods["less (111)"] = depth["(111)"]
        yield from solids("fcc", points, rods, f"about {name}", least, most)
        normals = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) / math.sqrt(3)
        faces = {"(111)": (offsets @ normals.T).max(axis=1), "(-1-1-1)": (offsets @ -normals.T).max(axis=1)}
        faces["less (100)"] = depth["(100)"]
        yield from solids("fcc", points, faces, f"about {name}", least, most, ratio=(1.0, 3.01))
    sixths = itertools.product(range(7), range(4), range(4))
    centres = [(x, y, z) for x, y, z in sixths if z <= y <= min(x, 6 - x)]
    for centre in np.array(centres) / 6 * math.sqrt(0.5):
        for label, x in spheres(points, centre, _place(centre), least, most):
            yield centred("fcc", label, x)


def bcc(least: int, most: int) -> Iterator[Cluster]:
    """Yield bcc polyhedra of {110}, {100} and {111} planes about many centres, rods, plates and spheres."""
    yield from _cubic("bcc", np.array([(0, 0, 0), (0.5, 0.5, 0.5)]), 2 / math.sqrt(3), least, most)


def sc(least: int, most: int) -> Iterator[Cluster]:
    """Yield simple cubic polyhedra of {100}, {110} and {111} planes about many centres, rods, plates and spheres."""
    yield from _cubic("sc", np.zeros((1, 3)), 1.0, least, most)


def hcp(least: int, most: int) -> Iterator[Cluster]:
    """Yield hcp prisms and bipyramids, truncated in all ways, and spheres, about many centres; blocks of cells."""
    places = [(site, height) for site in SITES for height in (0, 0.25, 0.5)]
    yield from _stack_cuts("hcp", "hcp", "h", places, least, most, growth=1.12)
    for size in itertools.combinations_with_replacement(range(2, BLOCK + 1), 3):
        if least <= 2 * math.prod(size) <= most:
            cells = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1).reshape(-1, 1, 3)
            label = f"block of {' x '.join(map(str, size))} cells"
            yield centred("hcp", label, (cells + HCP_BASIS).reshape(-1, 3) @ HCP_CELL)


def twin(least: int, most: int) -> Iterator[Cluster]:
    """Yield fcc with one twin plane: mirrored truncated octahedra, prisms and spheres, the plane 0 to 3 layers off."""
    points = within(stack(_placed("h", "c")), 1.6 * _radius(most))
    for site, (x, y) in SITES.items():
        depth = folded_depths(points - np.array([x, y, 0]))
        yield from solids("twin", points, depth, f"mirrored at the twin plane about {site}", least, most)
    places = [(site, height) for site in ("atom", "bridge", "hollow") for height in (0, 0.5, 1, 2, 3)]
    yield from _stack_cuts("twin", "one twin plane", _placed("h", "c"), places, least, most, growth=1.12)


def faults(least: int, most: int) -> Iterator[Cluster]:
    """Yield close-packed stacks with faults, as prisms, bipyramids and spheres.

    A stack is a word with a letter a layer: h where the layers beside it are alike, c where they are not. Here fcc with
    a fault, a twin lamella or a few more, hcp with a fault, stacks of short period, and stacks drawn at random.
    """
    named = {f"{word} in fcc": _placed(word, "c") for word in ("hh", "hch", "hcch", "hccch", "hhh", "hhhh", "hhch")}
    named |= {f"{word} in hcp": _placed(word, "h") for word in ("c", "cc", "chc", "ccc", "cccc")}
    named |= {f"period {word}": word for word in ("hc", "hcc", "hhc", "hhcc", "hccc", "hhhc")}
    for seed, share in itertools.product(range(3), (0.25, 0.5, 0.75)):
        drawn = np.random.default_rng([seed, round(100 * share)]).random(64) < share
        named[f"random {seed} with {share} h"] = "".join(np.where(drawn, "h", "c"))
    for name, word in named.items():
        middle = (len(name.split()[0]) - 1) / 2 if " in " in name else 0
        places = [("atom", middle), ("bridge", middle + 1.5)]
        yield from _stack_cuts("fault", name, word, places, least, most, growth=1.16)


FAMILIES: dict[str, Callable[[int, int], Iterator[Cluster]]] = {
    "icosahedron": icosahedra,
    "decahedron": decahedra,
    "octahedron": octahedra,
    "fcc": fcc,
    "bcc": bcc,
    "sc": sc,
    "hcp": hcp,
    "twin": twin,
    "fault": faults,
}
"""Each a function of the least and most atoms. A shape that several share is called after the first."""

TYPES = {
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
"""What kind of structure a family's clusters are."""


def _placed(word: str, host: str) -> str:
    """Return a stack's word with a few letters at layer 0 and above in a host of one letter."""
    return word + host * (64 - len(word))


def _mackay(shells: int) -> int:
    """Return the atoms of an icosahedron, or cuboctahedron, with that many shells about an atom."""
    return (10 * shells**3 + 15 * shells**2 + 11 * shells + 3) // 3


def _radius(atoms: int) -> float:
    """Return the radius of a sphere of that many atoms of the loosest structure, sc."""
    return (3 / (4 * math.pi) * atoms) ** (1 / 3) + 0.5


def _place(centre: np.ndarray) -> str:
    return f"about ({', '.join(f'{x:.3f}' for x in centre)})"


def _decahedra_pqr(least: int, most: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield labels and positions of the decahedra within the limits of size and `SLENDER`, all that have (p, q, r)."""
    for r in itertools.count():
        for p in itertools.count(2 if r == 0 else 1):
            for q in itertools.count(1):
                x = Decahedron("Au", p, q, r).positions
                width = 1.6 * (p + 2 * r)
                if len(x) > most or p + q + 2 * r - 1 > SLENDER * width:
                    break
                if len(x) >= least:
                    yield f"({p},{q},{r})", x
            if q == 1:
                break
        if p == 1:
            return


def _cubic(family: str, basis: np.ndarray, constant: float, least: int, most: int) -> Iterator[Cluster]:
    """Yield polyhedra, rods, plates and spheres cut from a cubic lattice about places in an eighth of its cell."""
    steps = np.arange(-math.ceil(1.6 * _radius(most)), math.ceil(1.6 * _radius(most)) + 1)
    cells = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    points = within((cells + basis).reshape(-1, 3) * constant, 1.6 * _radius(most))
    for centre in np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]) / 2 * constant:
        depth = depths(points - centre)
        cubes = {"(110)": depth["(110)"], "(100)": depth["(100)"], "less (111)": depth["(111)"]}
        yield from solids(family, points, cubes, _place(centre), least, most, ratio=(0.6, 1.6))
        offsets = abs(points - centre)
        rods = {"[001]": offsets[:, 2], "(100) (010)": offsets[:, :2].max(axis=1), "less (110)": depth["(110)"]}
        yield from solids(family, points, rods, _place(centre), least, most)
    quarters = [(x, y, z) for x, y, z in itertools.product(range(3), repeat=3) if z <= y <= x]
    for centre in np.array(quarters) / 4 * constant:
        for label, x in spheres(points, centre, _place(centre), least, most):
            yield centred(family, label, x)


def _stack_cuts(
    family: str,
    name: str,
    word: str,
    places: Iterable[tuple[str, float]],
    least: int,
    most: int,
    *,
    growth: float = GROWTH,
) -> Iterator[Cluster]:
    """Yield hexagonal prisms and bipyramids, and spheres, cut from a stack about sites at heights in layers."""
    points = within(stack(word), 1.6 * _radius(most) + 2)
    for site, height in places:
        centre = np.array([*SITES[site], height * LAYER])
        where = f"of {name} about {site} at layer {height:g}"
        depth = prism_depths(points - centre)
        yield from solids(family, points, depth, where, least, most, growth=growth, less=LESS[::2])
        for label, x in spheres(points, centre, where, least, most, growth=growth):
            yield centred(family, label, x)
