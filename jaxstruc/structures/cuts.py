"""Particles cut at random from packings, on the device: convex cuts and balls, rough or partial shells, missing edges.

Lengths in bonds. What a particle is (type, hexagonal layers) follows from how it was made; `kinds` finds the same where
its atoms show it (tested). All shapes are static: a cut has room for so many atoms, and what is absent has mask False.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.structures import classes, hosts, kinds, lattices
from jaxstruc.structures.faces import faces

TYPES = ("fcc", "hcp", "faulted", "bcc", "sc", "icosahedron", "decahedron")
PACKINGS = ("fcc", "hcp", "stack", "bcc", "sc", "icosahedron", "decahedron")
"""What is cut, each of the type at its place; a stack is a word of h and c drawn at random, at times fcc or hcp."""
FCC, HCP, STACK, BCC, SC, ICOSAHEDRON, DECAHEDRON = range(7)
FEWEST = 8
"""Atoms."""
BEYOND, MARGIN = 1.7, 2.2
"""Reach of a host in radii of a ball of as many atoms, and bonds more."""
WEAK = np.array([7, 7, 7, 8, 4, 7, 7])
"""[packing] neighbours of an atom at most on an edge, or on a vertex."""
BULK = np.array([12, 12, 12, 14, 6, 12, 12])
"""[packing] neighbours inside."""
BONDED = 1.2
"""Bonds, within which atoms are neighbours: with the second shell of bcc."""
FAR = 20.0
"""Logarithm of the distance of a face that there is not."""
FAMILY, FACE, LONG, SLENDER = 0.25, 0.2, 0.3, 1.2
"""Largest spreads of the logarithms of faces' distances: of families, of the faces of one, along a direction, and of
needles and plates along the packing's axis."""
BALL, NEEDLE, EVEN, CENTRED, PARTIAL, ROUGH, MISSING, MOVED, NEARER = 0.2, 0.2, 0.35, 0.3, 0.3, 0.15, 0.25, 0.4, 0.25
"""Shares of particles that are balls, are needles or plates, have all faces of a family alike, are cut about a place of
symmetry, have a last shell in part, a rough surface, missing edges, displaced atoms, a surface pulled inwards."""
OFF = 0.65
"""Radii, by which a cut of a five-fold particle lies off its middle at most."""
ROUGHNESS, DISPLACED, INWARDS = 0.35, 0.045, 0.045
"""Bonds, at most: of a rough surface; of displacements, root mean square along an axis; of the surface inwards."""


CHOICES = tuple(
    "word share x y z off centred ball even family face long finish order rough missing gone".split()
    + "moved far nearer inwards needle slender".split()
)
"""What is drawn once a particle."""
FAMILIES = 8
"""Most families of faces."""


class Packings(NamedTuple):
    """Sites and faces of all packings."""

    sites: Float[Array | np.ndarray, "packing site 3"]
    """Padded far outside; those of stacks in layers that are not yet shifted."""
    layer: Int[Array | np.ndarray, " site"]
    """Of the stacks' sites, from 0."""
    faces: Float[Array | np.ndarray, "packing face 3"]
    family: Int[Array | np.ndarray, "packing face"]
    """-1 for padding."""
    reach: Float[Array | np.ndarray, " packing"]
    """Bonds, to which sites go."""


class Cut(NamedTuple):
    """A particle, about its mean."""

    positions: Float[Array, "atom 3"]
    mask: Bool[Array, " atom"]
    type: Int[Array, ""]
    """Place in `TYPES`."""
    hexagonal: Float[Array, ""]
    """Share of hexagonal layers among the inner ones; NaN but for stacks of three layers or more."""
    aspect: Float[Array, ""]
    """Longest over shortest extent along principal axes, as root mean squares."""
    shown: Bool[Array, ""]
    """Whether its atoms show the type: `kinds.LEAST` atoms, and four layers or a five-fold axis or centre inside."""
    whole: Bool[Array, ""]
    """Whether it has `FEWEST` atoms and does not end with its host."""


class Chances(NamedTuple):
    """Random numbers of a particle: even from 0 to 1, and normal ones."""

    one: Float[Array, " choice"]
    """Of `CHOICES`, by `of`."""
    word: Float[Array, " layer"]
    sites: Float[Array, " site"]
    atoms: Float[Array, " atom"]
    ways: Float[Array, "3 3"]
    """Normal, as are the next ones: three directions."""
    families: Float[Array, " family"]
    faces: Float[Array, " face"]
    moves: Float[Array, "atom 3"]

    def of(self, name: str) -> Array:
        """Return the number of a choice."""
        return self.one[CHOICES.index(name)]

    def happens(self, name: str, share: float) -> Array:
        """Return whether what happens so often does."""
        return self.of(name) < share


def reach(packing: str, atoms: int) -> float:
    """Return how far out sites are needed for cuts of so many atoms, in bonds."""
    return BEYOND * classes.sphere(atoms, classes.volume(packing)) / 2 + MARGIN


def levels(atoms: int) -> int:
    """Return how many layers the stacks for cuts of so many atoms have."""
    return 2 * math.ceil(reach("fcc", atoms) / lattices.LAYER) + 1


def packings(atoms: int) -> Packings:
    """Return what cuts of at most so many atoms are made from, on the host."""
    stack, layer = _layers(reach("fcc", atoms), levels(atoms))
    found = [stack] * 3 + [hosts.points(name, math.ceil(reach(name, atoms))) for name in PACKINGS[3:]]
    sites = np.full((len(PACKINGS), max(map(len, found)), 3), 1e3)
    for row, points in enumerate(found):
        sites[row, : len(points)] = points
    families = [faces(name) for name in PACKINGS]
    most = max(sum(map(len, each)) for each in families)
    ways, family = np.zeros((len(PACKINGS), most, 3)), np.full((len(PACKINGS), most), -1)
    for row, each in enumerate(families):
        count = sum(map(len, each))
        ways[row, :count] = np.concatenate(each)
        family[row, :count] = np.repeat(np.arange(len(each)), [len(one) for one in each])
    return Packings(
        sites.astype(np.float32),
        np.pad(layer, (0, sites.shape[1] - len(layer))).astype(np.int32),
        ways.astype(np.float32),
        family.astype(np.int32),
        np.array([reach(name, atoms) for name in PACKINGS], np.float32),
    )


def chances(key: Array, own: Packings, *, count: int, room: int) -> Chances:
    """Return all the random numbers of so many particles, with an axis of particles: three draws in all."""
    sites, faces_ = own.sites.shape[1], own.faces.shape[1]
    shapes = levels(room), sites, room
    one, many, normal = jax.random.split(key, 3)
    uniform = jax.random.uniform(many, (count, sum(shapes)))
    word, of_sites, atoms = jnp.split(uniform, np.cumsum(shapes)[:-1].tolist(), axis=1)
    ways, families, each, moves = jnp.split(
        jax.random.normal(normal, (count, 9 + FAMILIES + faces_ + 3 * room)),
        (9, 9 + FAMILIES, 9 + FAMILIES + faces_),
        axis=1,
    )
    return Chances(
        jax.random.uniform(one, (count, len(CHOICES))),
        word,
        of_sites,
        atoms,
        ways.reshape(count, 3, 3),
        families,
        each,
        moves.reshape(count, room, 3),
    )


def cut(chance: Chances, packing: Int[Array, ""], atoms: Int[Array, ""], own: Packings, *, room: int) -> Cut:
    """Return a particle of at most so many atoms, cut at random.

    Args:
        chance: random numbers of it.
        packing: place in `PACKINGS`.
        atoms: most; whole faces go, unless the last shell is a part.
        own: `packings(room)`.
        room: atoms that fit.
    """
    own = Packings(*map(jnp.asarray, own))
    hexagonal = _word(chance, packing)
    sites = own.sites[packing] + _shifts(hexagonal)[own.layer] * jnp.where(packing <= STACK, 1.0, 0.0)
    centre = _centre(chance, packing, atoms)
    depth = _depth(chance, packing, own, centre)
    far = depth(sites) + _finish(chance, sites)
    level = _level(far, jnp.minimum(atoms, room))
    x, mask, layer = _compacted(sites, far <= level, jnp.asarray(own.layer), room)
    ended = (jnp.linalg.norm(x, axis=1) * mask).max() > own.reach[packing] - 1.0
    near = _neighbours(x, mask)
    mask &= near >= jnp.where(atoms < 20, 0, jnp.where(packing == SC, 2, 3))
    mask &= ~_gone(chance, near <= jnp.asarray(WEAK)[packing])
    share, layers = _hexagonal(hexagonal, layer, mask)
    stacked = packing <= STACK
    axis = centre * jnp.where(packing == DECAHEDRON, jnp.array([0.0, 0, 1]), jnp.zeros(3))
    inside = depth(axis[None])[0] < level - 0.4
    x = _moved(chance, x - _mean(x, mask), near < jnp.asarray(BULK)[packing])
    count = mask.sum()
    of_share = jnp.where(share < kinds.CUBIC, FCC, jnp.where(share > kinds.HEXAGONAL, HCP, STACK))
    deep = jnp.where(stacked, layers >= kinds.LAYERS, jnp.where(packing >= ICOSAHEDRON, inside, True))
    return Cut(
        jnp.where(mask[:, None], x, 0.0),
        mask,
        jnp.where(stacked & (layers > 2), of_share, packing).astype(jnp.int32),
        jnp.where(stacked & (layers > 2), share, jnp.nan),
        _aspect(x, mask),
        (count >= kinds.LEAST) & deep,
        (count >= FEWEST) & ~ended,
    )


def _layers(radius: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return close-packed layers [site, 3], not shifted, within a radius and a bond, and the layer of each site."""
    flat = lattices.stack("c", reach=math.ceil(radius) + 2)
    flat = flat[abs(flat[:, 2]) < 1e-6] * (1, 1, 0)
    layer = np.repeat(np.arange(count), len(flat))
    sites = np.tile(flat, (count, 1)) + lattices.LAYER * (layer[:, None] - count // 2) * np.array([0, 0, 1])
    kept = np.linalg.norm(sites, axis=1) < radius + 1
    return sites[kept], layer[kept]


def _word(chance: Chances, packing: Array) -> Bool[Array, " layer"]:
    """Return which layers are hexagonal: none, all, by chance at a share drawn first, or few or nearly all."""
    share = chance.of("share") * jnp.where(chance.happens("word", 0.5), 1.0, 0.15)
    share = jnp.where(chance.happens("word", 0.75), share, 1 - share)
    return chance.word < jnp.where(packing == FCC, -1, jnp.where(packing == HCP, 2, share))


def _shifts(hexagonal: Bool[Array, " layer"]) -> Float[Array, "layer 3"]:
    """Return by how much each layer of a stack is shifted: on by a hollow, or back beyond a hexagonal one."""
    step = jnp.cumprod(jnp.where(hexagonal, -1, 1))
    place = jnp.mod(jnp.concatenate([jnp.zeros(1, int), jnp.cumsum(step)[:-1]]), 3)
    return lattices.HOLLOW * place[:, None] * jnp.array([0.0, 1, 0])


def _centre(chance: Chances, packing: Array, atoms: Array) -> Float[Array, " 3"]:
    """Return about which place is cut: anywhere in a cell, or at an atom, or off a five-fold middle."""
    cell = 1.5 * jnp.stack([chance.of(axis) for axis in "xyz"]) - 0.75
    five, up = packing == DECAHEDRON, jnp.array([0.0, 0, 1])
    along = chance.ways[0] * jnp.where(five, 1 - up, 1.0)
    away = OFF * chance.of("off") * 0.55 * atoms ** (1 / 3) * along / jnp.linalg.norm(along)
    away = away + jnp.where(five, cell * up, 0.0)
    whole = jnp.where(five, jnp.round(cell * 2) * up / 2, 0.0)
    return jnp.where(chance.happens("centred", CENTRED), whole, jnp.where(packing >= ICOSAHEDRON, away, cell))


def _depth(chance: Chances, packing: Array, own: Packings, centre: Array):
    """Return a function from points to how far out they lie: along faces at random distances, or from the centre."""
    alike, family = chance.happens("even", EVEN), own.family[packing]
    away = FAMILY * chance.of("family") * chance.families[family]
    away += jnp.where(alike, 0.0, FACE * chance.of("face")) * chance.faces
    along = chance.ways[1] / jnp.linalg.norm(chance.ways[1])
    longer = jnp.where(alike, 0.0, LONG * (2 * chance.of("long") - 1))
    away += longer * (own.faces[packing] @ along) ** 2
    slender = jnp.where(chance.happens("needle", NEEDLE), SLENDER * (2 * chance.of("slender") - 1), 0.0)
    away += slender * own.faces[packing][:, 2] ** 2
    ways = own.faces[packing] * jnp.exp(-jnp.where(family < 0, FAR, away))[:, None]

    def depth(points):
        offset = points - centre
        cut = jnp.round((offset @ ways.T).max(axis=1), 4)
        return jnp.where(chance.happens("ball", BALL), jnp.linalg.norm(offset, axis=1), cut)

    return depth


def _finish(chance: Chances, sites: Array) -> Float[Array, " site"]:
    """Return what is added to depths: nothing, so that faces are whole; an order within them; or a rough surface."""
    cap = sites @ chance.ways[2] / 100
    order = 1e-3 * jnp.where(chance.happens("order", 0.5), chance.sites, cap)
    rough = ROUGHNESS * chance.of("rough") * chance.sites
    finish = jnp.where(chance.happens("finish", PARTIAL), order, 0.0)
    return jnp.where(chance.of("finish") > 1 - ROUGH, rough, finish)


def _level(depth: Array, atoms: Array) -> Array:
    """Return the largest depth within which at most so many sites lie, by halving."""

    def halved(_, ends):
        low, high = ends
        middle = (low + high) / 2
        fits = (depth <= middle).sum() <= atoms
        return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

    return jax.lax.fori_loop(0, 24, halved, (jnp.float32(0.0), jnp.float32(32.0)))[0]


def _compacted(sites: Array, taken: Array, layer: Array, room: int) -> tuple[Array, Array, Array]:
    """Return the sites that are taken, in room for so many, whether each is one, and its layer."""
    place = jnp.where(taken, jnp.cumsum(taken) - 1, room)
    x = jnp.zeros((room, 3)).at[place].set(sites, mode="drop")
    return x, jnp.arange(room) < taken.sum(), jnp.zeros(room, jnp.int32).at[place].set(layer, mode="drop")


def _neighbours(x: Array, mask: Array) -> Array:
    """Return how many neighbours each atom has [atom]."""
    apart = sum((column[:, None] - column[None]) ** 2 for column in x.T)
    return ((apart < BONDED**2) & mask[None] & mask[:, None]).sum(axis=1) - mask


def _gone(chance: Chances, weak: Array) -> Array:
    """Return which of the weakly bound atoms are missing."""
    share = jnp.where(chance.happens("missing", MISSING), 0.6 * chance.of("gone"), 0.0)
    return weak & (chance.atoms < share)


def _hexagonal(hexagonal: Array, layer: Array, mask: Array) -> tuple[Array, Array]:
    """Return the share of hexagonal layers among the inner ones of a stack, and how many layers it has."""
    filled = jnp.zeros(len(hexagonal), bool).at[layer].max(mask)
    place = jnp.arange(len(hexagonal))
    first, last = jnp.where(filled, place, len(place)).min(), jnp.where(filled, place, -1).max()
    inner = (place > first) & (place < last)
    return (hexagonal & inner).sum() / jnp.maximum(inner.sum(), 1), filled.sum()


def _mean(x: Array, mask: Array) -> Array:
    return (x * mask[:, None]).sum(axis=0) / jnp.maximum(mask.sum(), 1)


def _moved(chance: Chances, x: Array, outer: Array) -> Array:
    """Return positions displaced at random, and those of the surface pulled inwards."""
    size = jnp.where(chance.happens("moved", MOVED), DISPLACED * chance.of("far"), 0.0)
    way = jnp.where(chance.happens("nearer", NEARER), INWARDS * chance.of("inwards"), 0.0)
    inwards = x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1.0)
    return x + size * chance.moves - way * jnp.where(outer, 1.0, 0.0)[:, None] * inwards


def _aspect(x: Array, mask: Array) -> Array:
    """Return the longest over the shortest root mean square extent along principal axes."""
    x = (x - _mean(x, mask)) * mask[:, None]
    extents = jnp.linalg.eigvalsh(x.T @ x / jnp.maximum(mask.sum(), 1))
    return jnp.sqrt(extents[2] / jnp.maximum(extents[0], 0.05))
