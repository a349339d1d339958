"""Samples drawn at random, with what they are: the distances that any PDF of theirs is made of.

A sample is a particle cut at random (`cuts`), a cluster that a rule lists, or many particles of one packing whose sizes
follow a lognormal distribution. Lengths in bonds; distances lie in bins of `BIN`.
"""

import contextlib
import hashlib
import math
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial.distance import pdist

from jaxstruc import files
from jaxstruc.structures import classes as classes_
from jaxstruc.structures import cuts, kinds
from jaxstruc.structures import library as library_
from jaxstruc.structures.cuts import TYPES
from jaxstruc.structures.distances import pairs
from jaxstruc.structures.kinds import Kind
from jaxstruc.structures.library import Library

BIN, BINS = 0.01, 1300
"""Bonds, of a bin of distances; their number."""
ROOMS = (22, 46, 100, 215, 464, 1000)
"""Atoms of the cuts, each up to the next: as many of each, so that numbers of atoms are even in the logarithm."""
FIRST = 10
"""Atoms of the smallest cuts, and of the smallest listed clusters."""
COUNT = 512
"""Samples of a draw."""
NEW, USED = 6, 7
"""Particles cut for each room in a draw, and the samples that each is."""
LISTED = 150
"""Samples of listed clusters in a draw; the rest is of distributions."""
HELD = ((120, 135), (300, 340), (620, 700))
"""Numbers of atoms of listed clusters that no sample is made of: the ranges held out for tests."""
MEANS = (25, 1200)
"""Atoms of a ball of the mean size of a distribution."""
WIDTH = (0.03, 0.4)
"""Of distributions: standard deviation over mean of the sizes, by volume."""
VALUES = ("n_atoms", "diameter", "width", "hexagonal", "aspect")
"""Numbers to be found. Diameter: the longest distance, of a distribution that of its mean size; so is n_atoms."""
CUT, LIST, MANY = range(3)
"""Where a sample is from."""


class Samples(NamedTuple):
    """Samples before they are measured."""

    histogram: Float[Array, "sample bin"]
    """Ordered pairs an atom."""
    type: Int[Array, " sample"]
    """Place in `TYPES`; -1 where the atoms do not show it."""
    values: Float[Array, "sample value"]
    """As `VALUES`; NaN where one does not hold or is not known."""
    source: Int[Array, " sample"]
    """`CUT`, `LIST` or `MANY`."""


class Stock(NamedTuple):
    """What samples are made from, on the device: listed clusters, classes of them, sites."""

    weight: Float[Array, " bin"]
    """Of all clusters end to end, ordered pairs an atom; so is `mean`, in bonds."""
    mean: Float[Array, " bin"]
    start: Int[Array, " cluster"]
    bins: Int[Array, " cluster"]
    type: Int[Array, " cluster"]
    values: Float[Array, "cluster value"]
    order: Int[Array, "type place"]
    """Clusters of each type by size, repeated to one length."""
    classes: Float[Array, "class bin"]
    """Ordered pairs an atom of classes."""
    size: Float[Array, " class"]
    """Bonds."""
    packing: Int[Array, " class"]
    """Place in `packings`."""
    of_class: Int[Array, " class"]
    """Type."""
    longest: Float[Array, " packing"]
    """Longest distance over size, of a packing's compact clusters."""
    volume: Float[Array, " packing"]
    """Of an atom, in bonds³."""
    rooms: tuple[cuts.Packings, ...]
    """For the cuts of each room."""


def shown(library: Library, *, folder: Path | None = None, progress: Callable[..., None] | None = None) -> list[Kind]:
    """Return what the atoms of each candidate show; found once, a minute or two, and kept in the cache.

    Args:
        library: of candidates.
        folder: of the cache, `files.cache_folder()` by default; where it cannot be written, nothing is kept.
        progress: called as progress(candidates done, candidates in all, "").
    """
    rule = hashlib.sha256(library.positions.tobytes() + library.starts.tobytes()).hexdigest()[:16]
    path = (folder or files.cache_folder()) / f"kinds-{rule}.npz"
    try:
        with np.load(path, allow_pickle=False) as kept:
            columns = [kept[name].tolist() for name in Kind._fields]
        return [Kind(*one) for one in zip(*columns, strict=True)]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        pass
    found = []
    for row in range(len(library.atoms)):
        found.append(kinds.kind(library_.cluster(library, row).positions))
        if progress and row % 100 == 0:
            progress(row, len(library.atoms), "types of clusters")
    with contextlib.suppress(OSError), files.replacing(path) as part, part.open("wb") as stream:
        types, hexagonal, whole = zip(*found, strict=True)
        np.savez(stream, type=np.array(types), hexagonal=np.array(hexagonal), shown=np.array(whole))
    return found


def stock(library: Library, shown: list[Kind], *, held: bool = False) -> Stock:
    """Return a library's clusters as samples are drawn from them.

    Args:
        library: of candidates.
        shown: what the atoms of each show, as `shown`.
        held: those held out for tests in place of the others.
    """
    atoms = library.atoms
    out = np.any([(atoms >= low) & (atoms <= high) for low, high in HELD], axis=0)
    names = np.array([one.type if one.shown else "" for one in shown], object)
    rows = np.flatnonzero((out == held) & (names != "") & (atoms >= FIRST))
    type_ = np.array([TYPES.index(name) for name in names[rows]])
    values = np.full((len(rows), len(VALUES)), np.nan, np.float32)
    values[:, 0], values[:, 1], values[:, 2] = atoms[rows], library.diameter[rows], 0.0
    values[:, 3] = [shown[row].hexagonal for row in rows]
    every = np.arange(len(rows))
    each = [
        own if len(own := every[type_ == place]) else every for place in range(len(TYPES))
    ]  # of a type not listed: any
    longest = max(map(len, each))
    order = np.stack([one[np.arange(longest) * len(one) // longest] for one in each])
    packings = classes_.packings(library, np.arange(len(atoms)))
    found = classes_.classes(library, np.arange(len(atoms)), packings)
    kept = np.flatnonzero(found.types != "")
    size = classes_.size(library, np.arange(len(atoms)))
    compact = (library.diameter + 1) / size <= classes_.COMPACT
    return Stock(
        jnp.asarray(library.weight / np.repeat(atoms, np.diff(library.bins))),
        jnp.asarray(library.mean),
        jnp.asarray(library.bins[rows], jnp.int32),
        jnp.asarray(np.diff(library.bins)[rows], jnp.int32),
        jnp.asarray(type_, jnp.int32),
        jnp.asarray(values),
        jnp.asarray(order, jnp.int32),
        jnp.asarray(
            np.stack(
                [
                    _binned(np.asarray(found.histogram.weight[row]), np.asarray(found.histogram.mean[row]))
                    for row in kept
                ]
            )
        ),
        jnp.asarray(found.size[kept], jnp.float32),
        jnp.asarray(found.packing[kept], jnp.int32),
        jnp.asarray([TYPES.index(name) for name in found.types[kept]], jnp.int32),
        jnp.asarray([np.mean((library.diameter / size)[compact & (packings == name)]) for name in found.packings]),
        jnp.asarray([classes_.volume(name) for name in found.packings], jnp.float32),
        tuple(jax.tree.map(jnp.asarray, cuts.packings(room)) for room in ROOMS),
    )


def samples(key: Array, own: Stock) -> Samples:
    """Return `COUNT` samples, in random order.

    Args:
        key: that all is drawn from.
        own: what they are made from.
    """
    cut, list_, many, mix = jax.random.split(key, 4)
    new = len(ROOMS) * NEW * USED
    found = [_cuts(cut, own.rooms), _of_list(list_, own, LISTED), _distributions(many, own, COUNT - new - LISTED)]
    order = jax.random.permutation(mix, COUNT)
    return jax.tree.map(lambda *columns: jnp.concatenate(columns)[order], *found)


def binned(positions: np.ndarray) -> Float[np.ndarray, " bin"]:
    """Return the ordered pairs an atom of given atoms [atom, 3], in the bins of `Samples`; on the host."""
    distance = pdist(positions)
    return _binned(np.full(len(distance), 2 / len(positions)), distance)


def _binned(weight: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the bins [BINS] of distances, each shared by the two nearest."""
    place = mean / BIN
    low = np.minimum(place.astype(int), BINS - 1)
    part = place - low
    found = np.bincount(low, weight * (1 - part), BINS + 1) + np.bincount(low + 1, weight * part, BINS + 1)
    found[-2:] = 0.0
    return found[:BINS].astype(np.float32)


def _spread(distance: Array, weight: Array) -> Float[Array, " bin"]:
    """Return the same, traced: both shares of a distance are one update."""
    place = jnp.minimum(distance.ravel() / BIN, BINS - 1.0)
    low = place.astype(jnp.int32)
    part, weight = place - low, weight.ravel()
    shares = jnp.stack([(1 - part) * weight, part * weight], axis=-1)
    one = jax.lax.ScatterDimensionNumbers((1,), (), (0,))
    found = jax.lax.scatter_add(jnp.zeros(BINS + 2), low[:, None], shares, one)[:BINS]
    return found.at[-2:].set(0.0)


def _cuts(key: Array, rooms: tuple[cuts.Packings, ...]) -> Samples:
    """Return `NEW` particles of each room, each `USED` times."""
    found = []
    for place, room in enumerate(ROOMS):
        which, much, each = jax.random.split(jax.random.fold_in(key, place), 3)
        low = FIRST if place == 0 else ROOMS[place - 1]
        atoms = jnp.exp(jax.random.uniform(much, (NEW,), minval=math.log(low), maxval=math.log(room + 0.99)))
        packing = jax.random.randint(which, (NEW,), 0, len(cuts.PACKINGS))
        drawn = cuts.chances(each, rooms[place], count=NEW, room=room), packing, atoms.astype(jnp.int32)
        made = jax.lax.map(partial(_cut, own=rooms[place], room=room), drawn)
        # apart from the particles: else each pair makes its atoms again
        made = jax.lax.map(_of_cut, made)
        found.append(made)
    joined = jax.tree.map(lambda *columns: jnp.concatenate(columns), *found)
    return jax.tree.map(lambda column: jnp.repeat(column, USED, axis=0), joined)


def _cut(drawn, *, own: cuts.Packings, room: int) -> cuts.Cut:
    chance, packing, atoms = drawn
    return cuts.cut(chance, packing, atoms, own, room=room)


def _of_cut(one: cuts.Cut) -> Samples:
    """Return the distances of a particle, and what it is."""
    distance, weight = pairs(one.positions, one.mask)
    atoms = one.mask.sum()
    diameter = jnp.where(weight > 0, distance, 0.0).max()
    values = jnp.stack([atoms.astype(jnp.float32), diameter, 0.0, one.hexagonal, one.aspect])
    histogram = _spread(distance, weight * 2 / jnp.maximum(atoms, 1))
    shown = jnp.where(one.whole & one.shown, one.type, -1)
    return Samples(histogram, shown, jnp.where(one.whole, values, jnp.nan), jnp.int32(CUT))


def _of_list(key: Array, own: Stock, count: int) -> Samples:
    """Return listed clusters: types alike, sizes about even in the logarithm."""
    which, where = jax.random.split(key)
    kind = jax.random.randint(which, (count,), 0, len(TYPES))
    aim = jnp.exp(jax.random.uniform(where, (count,), minval=math.log(FIRST), maxval=math.log(1000.0)))
    shift = jax.random.uniform(jax.random.fold_in(where, 1), (count,), minval=-0.01, maxval=0.01)
    atoms = own.values[:, 0][own.order]
    place = jax.vmap(lambda of, at: jnp.searchsorted(atoms[of], at))(kind, aim)
    length = own.order.shape[1]
    row = own.order[kind, jnp.clip(place + (shift * length).astype(jnp.int32), 0, length - 1)]
    most = round(BINS * BIN / 0.02) + 2

    def one(row):
        weight = jax.lax.dynamic_slice(own.weight, (own.start[row],), (most,))
        mean = jax.lax.dynamic_slice(own.mean, (own.start[row],), (most,))
        # a slice near the end of all is moved back
        place = jnp.minimum(own.start[row], own.weight.size - most) + jnp.arange(most) - own.start[row]
        return _spread(mean, jnp.where((place >= 0) & (place < own.bins[row]), weight, 0.0))

    histogram = jax.lax.map(one, row)
    return Samples(histogram, own.type[row], own.values[row], jnp.full(count, LIST))


def _distributions(key: Array, own: Stock, count: int) -> Samples:
    """Return distributions of sizes of one packing each."""
    which, how, wide = jax.random.split(key, 3)
    packing = jax.random.randint(which, (count,), 0, len(own.longest))
    volume = own.volume[packing]
    atoms = jnp.exp(jax.random.uniform(how, (count,), minval=math.log(MEANS[0]), maxval=math.log(MEANS[1])))
    mean = (6 / math.pi * atoms * volume) ** (1 / 3)
    width = jax.random.uniform(wide, (count,), minval=WIDTH[0], maxval=WIDTH[1])
    spread = jnp.sqrt(jnp.log1p(width**2))[:, None]
    off = (jnp.log(own.size) - jnp.log(mean)[:, None] + spread**2 / 2) / spread
    share = jnp.where(own.packing == packing[:, None], jnp.exp(-0.5 * off**2), 0.0)
    share /= jnp.maximum(share.sum(axis=1, keepdims=True), 1e-20)
    mean = share @ own.size
    width = jnp.sqrt(jnp.maximum(share @ own.size**2 - mean**2, 0.0)) / mean
    type_ = (share @ jax.nn.one_hot(own.of_class, len(TYPES))).argmax(axis=1)
    hexagonal = jnp.where(type_ == cuts.FCC, 0.0, jnp.where(type_ == cuts.HCP, 1.0, jnp.nan))
    twin = (own.of_class == cuts.STACK) & (own.packing == packing[:, None])
    hexagonal = jnp.where(twin.any(axis=1), jnp.nan, hexagonal)
    none = jnp.full(count, jnp.nan)
    columns = (math.pi / 6 * mean**3 / volume, mean * own.longest[packing], width, hexagonal, none)
    return Samples(share @ own.classes, type_.astype(jnp.int32), jnp.stack(columns, axis=1), jnp.full(count, MANY))
