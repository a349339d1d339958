"""Families of candidate clusters, each listed by a rule: what a library for cluster mining is made of.

Lengths in bonds: the mean distance of nearest neighbours is 1. Families list a shape more than once where their
parameters do; `library.build` merges equal ones.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from ase.cluster import Decahedron, Icosahedron, Octahedron
from scipy.spatial import KDTree

from jaxstruc import clusters
from jaxstruc.clusters import Cluster

VERSION = 1
"""Of the rules below; a library in the cache that another version made is not used."""
SHELL = 1.1
"""Nearest neighbours lie within this multiple of the median nearest distance: icosahedra have 5 % of strain, while the
second shell of bcc lies at 1.155."""
GROWTH = 1.08
"""Least ratio of the atoms of a sphere, or of a plane's distance, to that of the next smaller: thins out large ones."""
SLENDER = 2.5
"""Largest ratio of height to width, and of width to height, of decahedra and prisms."""
LESS = (0.0, 0.3, 0.8, 1.3, 1.8, 2.3)
"""How far from the outermost atoms planes cut off corners and edges."""
LAYER = math.sqrt(2 / 3)
"""Distance of close-packed layers."""
HOLLOW = 1 / math.sqrt(3)
"""Distance, in the layer, of an atom and the hollow beside it."""
SITES = {"atom": (0.0, 0.0), "bridge": (0.5, 0.0), "hollow": (0.0, HOLLOW), "other hollow": (0.0, -HOLLOW)}
"""Places in a close-packed layer."""


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
            for label, x in _spheres(points, off * way / np.linalg.norm(way), where, least, most):
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
            for label, x in _spheres(points, centre, where, least, most):
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
                yield _centred("octahedron", f"{name} length {length} cutoff {cutoff}", x)
        if min(sizes) > most:
            return


def fcc(least: int, most: int) -> Iterator[Cluster]:
    """Yield fcc polyhedra of {100}, {110} and {111} planes about many centres, tetrahedra, rods, plates and spheres."""
    points = _within(clusters.fcc_lattice(math.ceil(2.3 * _radius(most))) * math.sqrt(0.5), 1.6 * _radius(most))
    for name, centre in clusters.CENTRES.items():
        offsets = points - np.array(centre) * math.sqrt(0.5)
        depth = clusters.depths(offsets)
        cubes = {"(111)": depth["(111)"], "(100)": depth["(100)"], "less (110)": depth["(110)"]}
        yield from _solids("fcc", points, cubes, f"about {name}", least, most, ratio=(0.5, 1.8))
        rods = {"[001]": abs(offsets[:, 2]), "(100) (010)": abs(offsets[:, :2]).max(axis=1)}
        rods["less (111)"] = depth["(111)"]
        yield from _solids("fcc", points, rods, f"about {name}", least, most)
        normals = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) / math.sqrt(3)
        faces = {"(111)": (offsets @ normals.T).max(axis=1), "(-1-1-1)": (offsets @ -normals.T).max(axis=1)}
        faces["less (100)"] = depth["(100)"]
        yield from _solids("fcc", points, faces, f"about {name}", least, most, ratio=(1.0, 3.01))
    sixths = itertools.product(range(7), range(4), range(4))
    centres = [(x, y, z) for x, y, z in sixths if z <= y <= min(x, 6 - x)]
    for centre in np.array(centres) / 6 * math.sqrt(0.5):
        for label, x in _spheres(points, centre, _place(centre), least, most):
            yield _centred("fcc", label, x)


def bcc(least: int, most: int) -> Iterator[Cluster]:
    """Yield bcc polyhedra of {110}, {100} and {111} planes about many centres, rods, plates and spheres."""
    yield from _cubic("bcc", np.array([(0, 0, 0), (0.5, 0.5, 0.5)]), 2 / math.sqrt(3), least, most)


def sc(least: int, most: int) -> Iterator[Cluster]:
    """Yield simple cubic polyhedra of {100}, {110} and {111} planes about many centres, rods, plates and spheres."""
    yield from _cubic("sc", np.zeros((1, 3)), 1.0, least, most)


def hcp(least: int, most: int) -> Iterator[Cluster]:
    """Yield hcp prisms and bipyramids, truncated in all ways, and spheres, about many centres."""
    places = [(site, height) for site in SITES for height in (0, 0.25, 0.5)]
    yield from _stack_cuts("hcp", "hcp", "h", places, least, most, growth=1.12)


def twin(least: int, most: int) -> Iterator[Cluster]:
    """Yield fcc with one twin plane: mirrored truncated octahedra, prisms and spheres, the plane 0 to 3 layers off."""
    points = _within(stack(_placed("h", "c")), 1.6 * _radius(most))
    for site, (x, y) in SITES.items():
        depth = _folded_depths(points - np.array([x, y, 0]))
        yield from _solids("twin", points, depth, f"mirrored at the twin plane about {site}", least, most)
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


def scaled(family: str, label: str, positions: np.ndarray) -> Cluster:
    """Return the cluster with its mean nearest-neighbour distance made 1; atoms in one place make it infinite."""
    tree = KDTree(positions)
    nearest = np.median(tree.query(positions, k=2)[0][:, 1])
    first, second = tree.query_pairs(SHELL * nearest, output_type="ndarray").T
    bond = np.linalg.norm(positions[first] - positions[second], axis=1).mean()
    return _centred(family, label, positions / bond)


def stack(word: str, *, reach: int = 18) -> np.ndarray:
    """Return a stack of close-packed layers [point, 3], `reach` on each side of layer 0, which has an atom at 0.

    Args:
        word: a letter a layer, h or c, repeated; the first is layer 0's.
        reach: layers, and atoms in the layer, on each side.
    """
    i, j = np.meshgrid(np.arange(-2 * reach, 2 * reach + 1), np.arange(-2 * reach, 2 * reach + 1))
    layer = np.stack([i + j / 2, j * math.sqrt(0.75), 0 * i], axis=-1).reshape(-1, 3)
    layer = layer[np.linalg.norm(layer, axis=1) <= reach]
    shift, step = {0: 0}, 1
    for k in range(reach):
        step = -step if k and word[k % len(word)] == "h" else step
        shift[k + 1] = (shift[k] + step) % 3
    step = 1 if word[0] == "h" else -1
    for k in range(0, -reach, -1):
        step = -step if k and word[k % len(word)] == "h" else step
        shift[k - 1] = (shift[k] + step) % 3
    return np.concatenate([layer + np.array([0, HOLLOW * at, LAYER * k]) for k, at in shift.items()])


def _placed(word: str, host: str) -> str:
    """Return a stack's word with a few letters at layer 0 and above in a host of one letter."""
    return word + host * (64 - len(word))


def _mackay(shells: int) -> int:
    """Return the atoms of an icosahedron, or cuboctahedron, with that many shells about an atom."""
    return (10 * shells**3 + 15 * shells**2 + 11 * shells + 3) // 3


def _radius(atoms: int) -> float:
    """Return the radius of a sphere of that many atoms of the loosest structure, sc."""
    return (3 / (4 * math.pi) * atoms) ** (1 / 3) + 0.5


def _within(points: np.ndarray, radius: float) -> np.ndarray:
    return points[np.linalg.norm(points, axis=1) <= radius]


def _place(centre: np.ndarray) -> str:
    return f"about ({', '.join(f'{x:.3f}' for x in centre)})"


def _centred(family: str, label: str, positions: np.ndarray) -> Cluster:
    return Cluster(family, label, positions - positions.mean(axis=0))


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
    points = _within((cells + basis).reshape(-1, 3) * constant, 1.6 * _radius(most))
    for centre in np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]) / 2 * constant:
        depth = clusters.depths(points - centre)
        cubes = {"(110)": depth["(110)"], "(100)": depth["(100)"], "less (111)": depth["(111)"]}
        yield from _solids(family, points, cubes, _place(centre), least, most, ratio=(0.6, 1.6))
        offsets = abs(points - centre)
        rods = {"[001]": offsets[:, 2], "(100) (010)": offsets[:, :2].max(axis=1), "less (110)": depth["(110)"]}
        yield from _solids(family, points, rods, _place(centre), least, most)
    quarters = [(x, y, z) for x, y, z in itertools.product(range(3), repeat=3) if z <= y <= x]
    for centre in np.array(quarters) / 4 * constant:
        for label, x in _spheres(points, centre, _place(centre), least, most):
            yield _centred(family, label, x)


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
    points = _within(stack(word), 1.6 * _radius(most) + 2)
    for site, height in places:
        centre = np.array([*SITES[site], height * LAYER])
        where = f"of {name} about {site} at layer {height:g}"
        depth = _prism_depths(points - centre)
        yield from _solids(family, points, depth, where, least, most, growth=growth, less=LESS[::2])
        for label, x in _spheres(points, centre, where, least, most, growth=growth):
            yield _centred(family, label, x)


def _prism_depths(offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far out points lie along the stack, along its six sides, and along the slopes between."""
    angles = math.pi / 2 + np.arange(3) * math.pi / 3
    side = abs(offsets[:, :2] @ np.array([np.cos(angles), np.sin(angles)])).max(axis=1)
    height = abs(offsets[:, 2])
    slope = math.atan(2 * math.sqrt(8 / 3) / math.sqrt(3))
    return {"base": height, "sides": side, "less slopes": side * math.sin(slope) + height * math.cos(slope)}


def _folded_depths(offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far out points lie along the (111), (100) and base planes of a crystal and of its mirror image."""
    folded = offsets * np.array([1, 1, 0]) + abs(offsets) * np.array([0, 0, 1])
    angles = math.pi / 2 + np.arange(3) * 2 * math.pi / 3
    around = np.array([np.cos(angles), np.sin(angles)])
    octahedron = np.array([*around * math.sqrt(8 / 9), np.full(3, 1 / 3)])
    cube = np.array([*around * math.sqrt(2 / 3), np.full(3, -math.sqrt(1 / 3))])
    depth = {"(111)": abs(folded @ octahedron).max(axis=1), "(100)": abs(folded @ cube).max(axis=1)}
    return depth | {"less base": folded[:, 2]}


def _spheres(
    points: np.ndarray, centre: np.ndarray, where: str, least: int, most: int, *, growth: float = GROWTH
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield labels and points of spheres about a centre, each larger than the one before by `growth`."""
    radius = np.linalg.norm(points - centre, axis=1)
    order = np.argsort(radius, kind="stable")
    sizes = np.flatnonzero(np.diff(radius[order]) > 1e-3) + 1
    last = 0.0
    for size in sizes[(sizes >= least) & (sizes <= most)]:
        if size >= growth * last:
            last = float(size)
            yield f"sphere {radius[order[size - 1]]:.3f} {where}", points[order[:size]]


def _solids(
    family: str,
    points: np.ndarray,
    depth: dict[str, np.ndarray],
    where: str,
    least: int,
    most: int,
    *,
    ratio: tuple[float, float] = (1 / SLENDER, SLENDER),
    growth: float = GROWTH,
    less: tuple[float, ...] = LESS,
) -> Iterator[Cluster]:
    """Yield the clusters cut by two sets of planes, and of these those with layers of a third set cut off.

    Args:
        family: of the clusters.
        points: [point, 3].
        depth: two sets of planes and a third, and how far out each point lies along them.
        where: what the label says after the planes.
        least: atoms.
        most: atoms.
        ratio: least and largest ratio of the second set's depth to the first's.
        growth: least ratio of a depth to the one before it.
        less: how far from the outermost atoms the third set cuts.
    """
    (first, a), (second, b), (third, c) = depth.items()
    seen = set()
    for low, high in itertools.product(_levels(a, growth), _levels(b, growth)):
        if not ratio[0] * low <= high <= ratio[1] * low:
            continue
        whole = np.flatnonzero((a <= low) & (b <= high))
        if len(whole) < least:
            continue
        for off in less:
            kept = whole[c[whole] <= c[whole].max() - off + 1e-5]
            if least <= len(kept) <= most and (key := kept.tobytes()) not in seen:
                seen.add(key)
                planes = f"planes {first} {low:.2f} {second} {high:.2f} {third} {off:.1f}"
                yield _centred(family, f"{planes} {where}", points[kept])


def _levels(depth: np.ndarray, growth: float) -> list[float]:
    """Return depths that planes can have, at least 0.2 and by `growth` beyond the last, with room to round."""
    levels: list[float] = []
    for level in np.unique(np.round(depth, 6)):
        if not levels or level >= max(levels[-1] + 0.2, levels[-1] * growth) - 1e-5:
            levels.append(float(level) + 1e-5)
    return levels
