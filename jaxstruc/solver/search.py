"""The search for a particle that no list holds: hosts and starts from the candidates, rounds of searches and fits."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from jaxstruc import statistics
from jaxstruc.inference import candidates, fit, sites, stacking
from jaxstruc.inference.candidates import Candidates, Pool
from jaxstruc.inference.fit import Fit
from jaxstruc.inference.sites import Weights
from jaxstruc.inference.target import Target
from jaxstruc.inference.values import Values
from jaxstruc.structures import classes, hosts, kinds, lattices, library
from jaxstruc.structures.atoms import Cluster
from jaxstruc.structures.families import TYPES
from jaxstruc.structures.hosts import Host

SHAPE = 1.0
"""Weight of the prior on shape: 1 takes the library's cuts for a sample of what there is."""
FEW, MANY = 200, 5.0
"""Atoms below which more shapes are tried, up to so many times as many: they cost less."""
SLENDER = 0.2
"""Spread of the logarithms of their axes."""
SCALES = 0.3
"""Spread of the logarithm of the scale of data that are not absolute."""
ROOM, GROWN = 2.6, 2.0
"""Sites a host has for each atom of a start; and where they lie about its atoms."""
SIZES = (256, 512, 1024, 1536, 2560, 3584)
"""Sites of hosts, so that few compilations do."""
BATCH, BATCH_ON_ACCELERATORS = 4, 32
"""Searches in one call."""
RIVALS = 0.6, 2.0
"""Packings are searched whose best cluster's Rw is at most so much above the least, and so many times it."""
LISTED = 60
"""Candidates among which starts are looked for."""
SOFT = (1.0, 0.3)
"""What the prior on shape weighs in searches, round by round, times its weight: with less a search passes over."""
CUBE = np.array([[1, -1, 0], [1, 1, -2], [1, 1, 1]]) / np.sqrt([[2], [6], [3]])
"""Turns the axes of a cube to those of a stack."""
PACKINGS = {"fcc": "stack", "hcp": "stack", "faulted": "stack"}
"""What is searched of a type, where that is not its own name."""


@dataclass(frozen=True)
class Level:
    """How long to search."""

    starts: int
    """Of each packing, in the first round."""
    origins: int
    """Tried for these."""
    shapes: int
    """Tried for these, of particles of `FEW` atoms or more."""
    rounds: int
    """After the first, at least."""
    kept: int
    """Ends that a round goes on from."""
    steps: int = 120
    """Of each search."""
    most: int = 8
    """And at most, while they find a better one."""
    walk: int = 300
    """Steps of the walk that tells how sure the atoms are."""


AT_CUTS = Level(1, 12, 60, 1, 3)
"""Of searches on data to a cut."""
LEVELS = {"quick": Level(2, 24, 100, 3, 4, 100), "full": Level(8, 64, 400, 4, 12, 240)}


class Start(NamedTuple):
    """A particle on a host."""

    host: Host
    taken: np.ndarray
    """[site]"""
    values: Values | None
    """Of the model; None where it is not to be searched."""
    misfit: float = math.inf
    """Rough."""


class Found(NamedTuple):
    """Ends of searches, best first."""

    starts: list[Start]
    pool: Pool
    cost: np.ndarray
    """[end] negative logarithm of the posterior, but for a constant."""
    shape: np.ndarray
    """[end] its part by the shape."""
    fits: Fit


class Searched(NamedTuple):
    """What a search found."""

    group: Candidates
    """Distinct particles, best first."""
    shape: np.ndarray
    """[candidate] how much more unusual each is than listed ones, as a negative logarithm."""
    occupancy: list[np.ndarray]
    """[candidate][atom] how sure it is."""
    atoms: np.ndarray
    """[state] Numbers of atoms that the walks saw."""
    time: np.ndarray
    """[state] The posterior's share of each."""


def search(
    goal: Target,
    pool: Pool,
    fits: Fit,
    *,
    level: Level,
    seed: int,
    weight: float = SHAPE,
    begin: Mapping[str, tuple[int, Values]] | None = None,
    likely: Mapping[str, np.ndarray] | None = None,
    progress: Callable[[str], None] = lambda said: None,
) -> Searched | None:
    """Return the particles that searches over lattice sites find; None where no candidate is fit to begin from.

    Args:
        goal: the data.
        pool: fitted candidates, best first.
        fits: of these.
        level: how long to search.
        seed: of starts and rests.
        weight: of the prior on shape.
        begin: number of atoms and values to begin each packing from, in place of what candidates say.
        likely: of each packing that is likely before any fit, draws of the number of atoms.
        progress: called with what is being done.
    """
    rng = np.random.default_rng([seed, 16])
    leaders = _likely(_leaders(pool, fits), likely) if begin is None else begin
    if not leaders:
        return None
    points = _counted(goal, pool, fits)
    progress("places and stackings")
    drawn = likely or {}
    first = [
        start
        for name, leader in leaders.items()
        for start in _starts(goal, name, *leader, level, rng, drawn=drawn.get(name))
    ]
    first += _listed(pool, fits, leaders, level) if begin is None else []
    if not first:
        return None
    count = max(int(start.taken.sum()) for start in first)
    key = jax.random.key(seed)
    found: Found | None = None
    for number in range(level.most + 1):
        progress(f"sites, round {number + 1} of {level.rounds + 1} to {level.most + 1}")
        weights = _weights(goal, points, weight)
        soft = weights._replace(shape=weights.shape * SOFT[number % len(SOFT)])
        ended = _searched(goal, first, soft, count, jax.random.fold_in(key, number), level)
        before = _key(found) if found else None
        found = _ranked(goal, [*(found.starts if found else []), *ended], weights)
        if number == 0:
            found = _with_best_start(goal, found, _grown(first, count), ended, weights)
        if found is None:
            return None
        points = _counted(goal, found.pool, found.fits)
        first = found.starts[: level.kept]
        if number >= level.rounds and _key(found) == before:
            break
        if number < level.most:
            first = [*first[: max(level.kept - 2, 1)], *_restacked(goal, found, 2)][: level.kept] or first
    assert found is not None
    progress("how sure the sites are")
    return _told(goal, found, _weights(goal, points, weight), count, key, level)


def _key(found: Found) -> tuple[int, float]:
    """Return what tells the best end apart."""
    return int(found.starts[0].taken.sum()), float(found.shape[0])


def _weights(goal: Target, points: float, shape: float) -> Weights:
    free = 0.0 if goal.absolute else SCALES
    return Weights(*(jnp.asarray(x, jnp.float32) for x in (max(points - 4.0, 8.0), shape, free)))


def _leaders(pool: Pool, fits: Fit) -> dict[str, tuple[int, Values]]:
    """Return the number of atoms and the values of the best candidate of each packing that may be."""
    rw = np.where(np.isfinite(fits.rw) & ~pool.faulty, fits.rw, np.inf)
    order = np.argsort(rw, kind="stable")
    found: dict[str, tuple[int, Values]] = {}
    families = pool.families
    for place in order:
        name = TYPES.get(str(families[place]), "")
        name = PACKINGS.get(name, name)
        if not name or name in found or rw[place] > min(RIVALS[1] * rw[order[0]], rw[order[0]] + RIVALS[0]):
            continue
        if not np.isfinite(rw[place]):
            break
        found[name] = int(pool.atoms[place]), candidates.rows(fits.values, place)
        if len(found) == 3:
            break
    return found


def _likely(
    leaders: Mapping[str, tuple[int, Values]], likely: Mapping[str, np.ndarray] | None
) -> dict[str, tuple[int, Values]]:
    """Return leaders without improbable ones behind the first, and with what is likely though no candidate leads."""
    if not likely or not leaders:
        return dict(leaders)
    first, best = next(iter(leaders)), next(iter(leaders.values()))
    found = {name: one for name, one in leaders.items() if name == first or name in likely}
    return found | {name: (int(np.median(atoms)), best[1]) for name, atoms in likely.items() if name not in found}


def _listed(pool: Pool, fits: Fit, leaders: Mapping[str, tuple[int, Values]], level: Level) -> list[Start]:
    """Return the best listed clusters of each packing on their hosts."""
    found, count = [], dict.fromkeys(leaders, 0)
    families = pool.families
    for place in range(min(len(fits.rw), LISTED)):
        name = TYPES.get(str(families[place]), "")
        packing = PACKINGS.get(name, name)
        group = pool.groups[pool.group[place]]
        if group.source == "network" or pool.faulty[place] or count.get(packing, level.starts) >= level.starts:
            continue
        cluster = library.cluster(*pool.entry(place))
        if (start := hosted(cluster, packing, candidates.rows(fits.values, place))) is not None:
            found.append(start)
            count[packing] += 1
    return found


def hosted(cluster: Cluster, packing: str, values: Values | None) -> Start | None:
    """Return a listed cluster on its host; None where it lies on none."""
    x = cluster.positions
    if packing == "stack":
        x = x @ CUBE.T if cluster.family in ("fcc", "octahedron") else x
        groups, own = stacking.shifted(x)
        if len(groups) < 2:
            return None
        start = _placed(groups, stacking.Word(own, math.inf), values)
    elif packing in ("bcc", "sc"):
        middle = (x - x[0]).mean(axis=0)
        host = hosts.host(packing, middle, round(ROOM * len(x)))
        start = Start(host, _taken(host, x - x[0] - middle), values)
    else:
        inner = x[np.argmin(np.linalg.norm(x, axis=1))]
        every = hosts.points(packing, math.ceil(np.linalg.norm(x, axis=1).max()) + 4)
        tree, near = KDTree(every), lattices.within(every, 4.0)
        matched = [int((tree.query(x - inner + site, distance_upper_bound=0.3)[0] < 0.3).sum()) for site in near]
        middle = near[int(np.argmax(matched))] - inner
        host = hosts.host(packing, middle, round(ROOM * len(x)))
        start = Start(host, _taken(host, x), values)
    return start if start.taken.sum() > 0.9 * len(x) else None


def _starts(
    goal: Target, name: str, atoms: int, values: Values, level: Level, rng, *, drawn: np.ndarray | None = None
) -> list[Start]:
    """Return the starts of a packing that fit best, roughly; half of them with drawn numbers of atoms."""
    if name == "stack":
        return _stacks(goal, atoms, values, level, rng, drawn=drawn)
    size = float(classes.sphere(atoms, classes.volume(name)))
    most = atoms if drawn is None else max(atoms, float(np.quantile(drawn, 0.9)))
    room = round(ROOM * max(most, 8))
    some = [hosts.host(name, origin, room) for origin in hosts.origins(name, size, level.origins, rng)]
    return _shaped(goal, some, atoms, values, level, rng, drawn=drawn)


def _shaped(
    goal: Target,
    several: Sequence[Host],
    atoms: int,
    values: Values,
    level: Level,
    rng,
    *,
    drawn: np.ndarray | None = None,
) -> list[Start]:
    """Return the ellipsoids cut from hosts, of random axes and numbers of atoms, that fit best, roughly."""
    curves, width = _even_curves(goal, values)
    data, found = np.asarray(goal.basis.data), []
    for number in range(round(level.shapes * min(max(FEW / atoms, 1.0), MANY))):
        host = several[number % len(several)]
        turned = host.positions @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        away = np.linalg.norm(turned * np.exp(rng.normal(0, SLENDER, 3)) + rng.normal(0, 0.2, 3), axis=1)
        count = max(round(atoms * rng.uniform(0.9, 1.1)), 8)
        if drawn is not None and number % 2:
            count = min(int(rng.choice(drawn)), round(len(away) / 2))
        taken = away <= np.partition(away, count - 1)[count - 1]
        found.append(Start(host, taken, values, _misfit(host.positions[taken], curves, width, data, goal.absolute)))
    found.sort(key=lambda start: start.misfit)
    return found[: level.starts]


def _stacks(
    goal: Target, atoms: int, values: Values, level: Level, rng, *, drawn: np.ndarray | None = None
) -> list[Start]:
    """Return the stacks that fit best as balls, all words tried."""
    data, curves = np.asarray(goal.basis.data), _stack_curves(goal, values)
    radius = float(classes.sphere(atoms, classes.volume("c"))) / 2
    steps = np.arange(-math.ceil(radius) - 2, math.ceil(radius) + 3)
    i, j = np.meshgrid(steps, steps)
    layer = np.stack([i + j / 2, j * math.sqrt(0.75), 0 * i], axis=-1).reshape(-1, 3)
    found: list[Start] = []
    trials = max(4, level.origins // 6)
    for number in range(trials):
        off = np.array([*rng.uniform(-0.5, 0.5, 2), 0.0]) if number else np.zeros(3)
        lift = (0.0, 0.5, 0.25, 0.75)[number % 4] * lattices.LAYER
        own = radius * (1.0, 0.98, 1.02)[number % 3]
        heights = [h for h in np.arange(-15, 16) * lattices.LAYER + lift if abs(h) < own - 0.05]
        groups = stacking.ball(layer + off, heights, own)
        groups = [each for each in groups if all(len(one) for one in each)]
        if len(groups) < 2:
            continue
        for word in stacking.ranked(groups, curves, data, absolute=goal.absolute, most=level.starts):
            found.append(_placed(groups, word, values))
    found.sort(key=lambda start: start.misfit)
    words = {start.host.packing: start.host for start in reversed(found[: 4 * level.starts])}
    return _shaped(goal, list(words.values())[::-1], atoms, values, level, rng, drawn=drawn)


def _placed(groups, word: stacking.Word, values: Values | None, *, other: bool = False) -> Start:
    """Return the particle of a word on its host; `other` is that of `stacking.word_of`."""
    places, middle = word.places, (len(groups) - 1) // 2
    x = np.concatenate([groups[k][place] for k, place in enumerate(places)]) - groups[middle][places[middle]][0]
    if (places[middle + 1] - places[middle]) % 3 == 2:  # a stack's first step is to place 1: the mirror image
        x = x * np.array([1, -1, 1])
    host = hosts.host(stacking.word_of(word, layer=middle, other=other), x.mean(axis=0), round(ROOM * len(x)))
    return Start(host, _taken(host, x - host.origin), values, word.misfit)


def _taken(host: Host, positions: np.ndarray) -> np.ndarray:
    """Return which sites of a host a particle's atoms take."""
    apart, nearest = KDTree(host.positions).query(positions)
    taken = np.zeros(len(host.positions), bool)
    taken[nearest[apart < 0.3]] = True
    return taken


def _stack_curves(goal: Target, values: Values) -> np.ndarray:
    """Return the curves of pairs at the distances that stacks have."""
    distance = stacking.distances(goal.span.longest / goal.bond) * goal.bond
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), values)
    return np.asarray(_curves(jnp.asarray(distance, jnp.float32), single, goal.basis))


def _even_curves(goal: Target, values: Values) -> tuple[np.ndarray, float]:
    """Return the curves of pairs at even distances, and their step in bonds."""
    longest = goal.span.longest / goal.bond
    width = max(sites.WIDTH, longest / (sites.BINS - 2))
    distance = jnp.maximum(jnp.arange(sites.BINS) * width, 0.5) * goal.bond
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), values)
    return np.asarray(_curves(distance.astype(jnp.float32), single, goal.basis)), width


_curves = jax.jit(sites.pair_curves)


def _misfit(positions: np.ndarray, curves: np.ndarray, width: float, data: np.ndarray, absolute: bool) -> float:
    """Return the sum of squares of a particle's misfit."""
    at = np.minimum(np.rint(pdist(positions) / width), len(curves) - 1).astype(int)
    model = np.bincount(at, minlength=len(curves)).astype(np.float32) @ curves / len(positions)
    along, square = float(model @ data), float(model @ model)
    return float(data @ data) - (2 * along - square if absolute else max(along, 0) ** 2 / max(square, 1e-20))


def _searched(goal: Target, first: Sequence[Start], weights: Weights, count: int, key, level: Level) -> list[Start]:
    """Return where searches from starts end."""
    found: list[Start] = []
    batch = BATCH if jax.default_backend() == "cpu" else BATCH_ON_ACCELERATORS
    for begin in range(0, len(first), batch):
        grown = _grown(first[begin : begin + batch], count)
        where, taken, values = _packed(grown, batch)
        ended = jax.device_get(
            sites.searched(where, taken, values, goal.basis, weights, jax.random.fold_in(key, begin), level.steps)
        )
        found += [start._replace(taken=ended.taken[k]) for k, start in enumerate(grown)]
    return found


def _with_best_start(
    goal: Target, found: Found | None, first: Sequence[Start], ended: Sequence[Start], weights: Weights
) -> Found | None:
    """Return the ends of searches, with the best of their starts if it costs less than the best end.

    A search returns no particle that costs more than its start with curves made of bins; fits may see it otherwise.
    """
    begin = _ranked(goal, first, weights)
    if begin is None or (found is not None and not begin.cost[0] < found.cost[0]):
        return found
    return _ranked(goal, [begin.starts[0], *ended], weights)


def _grown(some: Sequence[Start], count: int) -> list[Start]:
    """Return the same particles, of so many atoms about, on hosts of one size, all about them."""
    size = next((size for size in SIZES if size >= GROWN * count), SIZES[-1])
    found = []
    for start in some:
        x = start.host.positions[start.taken]
        middle = x.mean(axis=0)
        host = hosts.host(start.host.packing, start.host.origin + middle, size, about=x - middle)
        found.append(start._replace(host=host, taken=_taken(host, x - middle)))
    return found


def _packed(some: Sequence[Start], batch: int) -> tuple[sites.Sites, np.ndarray, Values]:
    """Return hosts, taken sites and values of starts as a search takes them; the last is repeated to fill the batch."""
    padded = [*some, *[some[-1]] * (batch - len(some))]
    taken = np.stack([start.taken for start in padded]).astype(np.float32)
    values = jax.tree.map(lambda *x: jnp.asarray(x, jnp.float32), *(start.values for start in padded))
    return sites.sites([start.host for start in padded]), taken, values


def _ranked(goal: Target, ended: Sequence[Start], weights: Weights) -> Found | None:
    """Return distinct ends with their fits, best first; None where none is a particle."""
    clusters, kept, seen = [], [], set()
    for start in ended:
        x = start.host.positions[start.taken]
        if len(x) < sites.LEAST:
            continue
        cluster = lattices.centred(_family(x), _label(start.host.packing), x)
        if (key := library.moments(np.round(cluster.positions, 4))) not in seen:
            seen.add(key)
            clusters.append(cluster)
            kept.append(start)
    if not clusters:
        return None
    pool = candidates.pool([Candidates("search", library.of_clusters(clusters), np.arange(len(clusters)))])
    fits = candidates.fit_all(pool, goal)
    shape = np.array([hosts.unusual(start.host, start.taken) for start in kept])
    squares = np.asarray(fits.rw, float) ** 2 + sites.FLAW**2
    cost = 0.5 * float(weights.points) * np.log(squares) + float(weights.shape) * shape
    if not goal.absolute:
        cost += 0.5 * (np.log(np.maximum(fits.values.scale, 1e-3)) / SCALES) ** 2
    order = np.argsort(np.where(np.isfinite(cost), cost, np.inf), kind="stable")
    starts = [kept[k]._replace(values=candidates.rows(fits.values, k)) for k in order]
    return Found(starts, pool.chosen(order), cost[order], shape[order], candidates.rows(fits, order))


def _family(positions: np.ndarray) -> str:
    """Return the family that lists clusters of the same type."""
    name = kinds.kind(positions).type
    return {"faulted": "fault"}.get(name, name) or "fault"


def _label(packing: str) -> str:
    """Return a host in words."""
    return f"sites of {'a stack' if packing not in hosts.OTHER else packing}"


def _counted(goal: Target, pool: Pool, fits: Fit) -> float:
    """Return the points that the residual of the best fit counts for."""
    best = np.argsort(np.where(np.isfinite(fits.rw), fits.rw, np.inf), kind="stable")[:1]
    curves, _ = fit.curves(candidates.rows(fits, best), candidates.tables(pool.chosen(best), goal), goal)
    return statistics.effective_points(goal.g - curves[0], goal.independent, accuracy=goal.accuracy)


def _restacked(goal: Target, found: Found, most: int) -> list[Start]:
    """Return the best stack's shape with other words of its layers that fit, and with other layers beyond."""
    best = next((start for start in found.starts[:4] if start.host.packing not in hosts.OTHER), None)
    if best is None or best.values is None:
        return []
    groups, own = stacking.shifted(best.host.positions[best.taken])
    if len(groups) < 3:
        return []
    words = stacking.ranked(
        groups, _stack_curves(goal, best.values), np.asarray(goal.basis.data), absolute=goal.absolute, most=most + 1
    )
    now = stacking.Word(own, 0.0)
    same = now.letters, now.letters[::-1]
    others = [_placed(groups, word, best.values) for word in words if word.letters not in same]
    return [*others[: most - 1], _placed(groups, now, best.values, other=True)]


def _told(goal: Target, found: Found, weights: Weights, count: int, key, level: Level) -> Searched:
    """Return the distinct particles, with what walks from the best say."""
    few = _grown(found.starts[:BATCH], count)
    where, taken, values = _packed(few, BATCH)
    drawn = jax.device_get(
        sites.walked(where, taken, values, goal.basis, weights, jax.random.fold_in(key, 999), steps=level.walk)
    )
    share = np.exp(found.cost[0] - found.cost[: len(few)])
    share /= share.sum()
    occupancy = [drawn.occupancy[k][start.taken] for k, start in enumerate(few)]
    group = found.pool.groups[0]
    return Searched(
        group._replace(rows=group.rows[found.pool.place]), found.shape, occupancy,
        drawn.atoms[: len(few)].ravel(), (share[:, None] * drawn.time[: len(few)]).ravel(),
    )  # fmt: skip
