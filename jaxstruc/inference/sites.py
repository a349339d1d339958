r"""A search over the sites of a host for the particle that a measured G(r) shows.

G(r) of one element is linear in its pairs. In the basis of a target, with $k_{ij}$ the curve of a pair of sites and n
their occupancy, the field $h_i = \sum_j n_j k_{ij}$ of all sites makes every single move exact at once: with site i
filled or emptied the sum over pairs $y = \frac12 \sum_i n_i h_i$ becomes $y \pm h_i$, with i and j exchanged
$y - h_i + h_j - k_{ij}$, and the fields change by the pairs' curves.

The cost of a particle is the negative logarithm of its posterior: of the misfit with noise of unknown size,
$\frac{m}{2} \ln |d - s\,2y/N|^2$ with m the points that count, of the scale s about 1, and of its shape, how usual its
sites' surroundings are (`hosts.Habit`). Descents rest what they just moved, for they would go back else (F. Glover,
ORSA J. Comput. 1, 190 (1989)), and are kicked from minima by pushing atoms from one side of the particle to the other.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.inference.target import Basis
from jaxstruc.inference.values import Values
from jaxstruc.scattering import debye
from jaxstruc.structures import hosts
from jaxstruc.structures.hosts import Host

BINS = 2816
"""Of distances; the last stands for sites too far apart, and for a site and itself."""
WIDTH = 0.0045
"""Bonds, of a bin at least; its pairs share their mean distance."""
FRONTIER, EXCHANGED = 64, 16
"""Sites to empty and to fill whose exchanges are estimated; exchanges that are worked out."""
RESTING = (3, 10)
"""Steps that a moved site rests, at least and at most."""
FLAW = 1e-3
"""Rw of curves made of bins: a better fit is no better."""
LEAST = 6
"""Atoms of a particle."""
NEIGHBOURS = 14
"""Of a site that are listed, and next neighbours, at most."""
MOST = 15
"""Numbers of neighbours, and of next neighbours, that surroundings are told apart by."""
PUSHED = 12
"""Atoms that a kick pushes, at most."""


class Sites(NamedTuple):
    """A host as a search needs it, with a leading axis for several."""

    place: Int[Array | np.ndarray, "*batch site site"]
    """Which distance two sites have."""
    distance: Float[Array | np.ndarray, "*batch bin"]
    """Å"""
    shell: Int[Array | np.ndarray, "*batch bin"]
    """1 for neighbours, 2 for next neighbours, 0 for the others."""
    near: Int[Array | np.ndarray, "*batch site neighbour"]
    """Neighbours of each site; the number of sites where there are no more."""
    next: Int[Array | np.ndarray, "*batch site neighbour"]
    """The same of next neighbours."""
    positions: Float[Array | np.ndarray, "*batch site 3"]
    """Bonds"""
    cost: Float[Array | np.ndarray, "*batch surroundings"]
    """How unusual a site's surroundings are: [taken, neighbours, next neighbours], flat."""
    usual: Float[Array | np.ndarray, "*batch 2"]
    """Factor and power of the number of atoms: of the sum of these costs in a listed particle."""


class Weights(NamedTuple):
    """What the parts of the cost weigh."""

    points: Float[Array, ""]
    """That count."""
    shape: Float[Array, ""]
    """Times how unusual the surroundings are."""
    spread: Float[Array, ""]
    """Of the logarithm of the scale about 0; 0 where the data are absolute."""


class Ended(NamedTuple):
    """Where searches ended."""

    taken: Bool[Array, "*batch site"]
    """Of the least cost."""
    cost: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]


class Drawn(NamedTuple):
    """What a walk at the posterior's temperature saw."""

    occupancy: Float[Array, "*batch site"]
    """Share of the time that each site is taken."""
    atoms: Float[Array, "*batch step"]
    """Number of atoms of each state."""
    time: Float[Array, "*batch step"]
    """Share of the time in each."""


class _Here(NamedTuple):
    """A particle on its way."""

    taken: Float[Array, " site"]
    field: Float[Array, "site basis"]
    pairs: Float[Array, " basis"]
    near: Float[Array, " site"]
    """Neighbours that are taken."""
    next: Float[Array, " site"]
    cost: Float[Array, ""]
    scale: Float[Array, ""]


def sites(several: list[Host], *, bond: float, longest: float) -> Sites:
    """Return hosts with as many sites each as a search needs them, on the host.

    Args:
        several: hosts, one at least.
        bond: nearest-neighbour distance, in Å.
        longest: distance that the data see, in Å.
    """
    return jax.tree.map(lambda *columns: np.stack(columns), *(_sites(one, bond, longest) for one in several))


def _sites(one: Host, bond: float, longest: float) -> Sites:
    width = max(WIDTH, longest / bond / (BINS - 2))
    apart = hosts.distances(one)
    place = np.minimum(np.rint(apart / width), BINS - 1).astype(np.int16)
    np.fill_diagonal(place, BINS - 1)
    count = np.bincount(place.ravel(), minlength=BINS)
    mean = np.bincount(place.ravel(), apart.ravel(), BINS) / np.maximum(count, 1)
    mean = np.where(count > 0, mean, 1.0)
    mean[-1] = 1.0
    shell = np.where(mean < hosts.BONDS, 1, np.where(mean < hosts.NEXT, 2, 0)) * (count > 0)
    shell[-1] = 0
    own = hosts.habit(one.packing)
    near, next_ = (_listed(shell[place] == ring) for ring in (1, 2))
    return Sites(
        place, (mean * bond).astype(np.float32), shell.astype(np.int8), near, next_,
        one.positions.astype(np.float32), own.cost.astype(np.float32).ravel(), np.array(own.usual, np.float32),
    )  # fmt: skip


def _listed(near: np.ndarray) -> np.ndarray:
    """Return the sites [site, neighbour] that are marked in each row, padded with the number of sites."""
    first, second = np.nonzero(near)
    start = np.searchsorted(first, np.arange(len(near)))
    place = np.arange(len(first)) - start[first]
    found = np.full((len(near), NEIGHBOURS), len(near), np.int32)
    found[first[place < NEIGHBOURS], place[place < NEIGHBOURS]] = second[place < NEIGHBOURS]
    return found


def pair_curves(distance: Float[Array | np.ndarray, " bin"], values: Values, basis: Basis) -> Float[Array, "bin basis"]:
    """Return the curve of a pair of atoms at each distance in Å, times the number of atoms; the last is zero."""
    apart = jnp.asarray(distance) * values.stretch
    bracket = jnp.maximum(debye.width_bracket(values.instrument, apart), 0.0)
    damping = jnp.exp(-values.uiso * basis.q**2 * bracket[:, None])
    f = 2 * damping * jnp.sin(basis.q * apart[:, None]) / apart[:, None]
    found = jnp.matmul(f, basis.design, precision="highest") * jnp.exp(-0.5 * (basis.radius * values.qdamp) ** 2)
    found -= (found @ basis.smooth) @ basis.smooth.T
    return found.at[-1].set(0.0)


@partial(jax.jit, static_argnames=("cycles", "steps"))
def searched(
    where: Sites,
    begin: Float[Array, "start site"],
    values: Values,
    basis: Basis,
    weights: Weights,
    key: Array,
    *,
    cycles: int,
    steps: int,
) -> Ended:
    """Return where searches end, one for each start.

    Args:
        where: hosts [start].
        begin: 1 for sites that are taken at the start.
        values: of the model [start].
        basis: the data, of a target.
        weights: of the cost.
        key: of the kicks and the rests.
        cycles: kicks, and one.
        steps: of a cycle.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(begin)))
    one = partial(_searched, basis=basis, weights=weights, cycles=cycles, steps=steps)
    return jax.lax.map(lambda each: one(*each), (where, begin, values, keys))


@partial(jax.jit, static_argnames="steps")
def walked(
    where: Sites,
    begin: Float[Array, "start site"],
    values: Values,
    basis: Basis,
    weights: Weights,
    key: Array,
    *,
    steps: int,
) -> Drawn:
    """Return what walks see that fill and empty sites as the posterior has it, one for each start.

    A jump process whose rates are the square roots of the ratios of the posterior: reversible with respect to it, with
    no step refused; a state counts by the time that it lasts (G. Zanella, J. Am. Stat. Assoc. 115, 852 (2020)).
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(begin)))
    one = partial(_walked, basis=basis, weights=weights, steps=steps)
    return jax.lax.map(lambda each: one(*each), (where, begin, values, keys))


def _searched(where: Sites, begin, values: Values, keys, *, basis: Basis, weights: Weights, cycles: int, steps: int):
    curves = pair_curves(where.distance, values, basis)
    first = _started(where, curves, begin, basis, weights)

    def cycle(carry, each):
        here, best = carry
        key, number = each
        kick, push, rest = jax.random.split(key, 3)
        way = jax.random.normal(kick, (3,))
        side = where.positions @ (way / jnp.linalg.norm(way))
        pushed = jnp.where(number > 0, jax.random.randint(push, (), 1, PUSHED), 0)

        def step(carry, each):
            here, low, until, number = carry
            moved, out, into = _best_move(where, curves, here, until <= number, side, number < pushed, basis, weights)
            rests = number + jax.random.randint(each, (2,), *RESTING)
            until = until.at[out].set(rests[0], mode="drop").at[into].set(rests[1], mode="drop")
            return (moved, _lower(moved, low), until, number + 1), None

        until = jnp.zeros(len(begin), jnp.int32)
        (here, best, _, _), _ = jax.lax.scan(step, (here, best, until, 0), jax.random.split(rest, steps))
        return (_back(where, curves, here, best), best), None

    low = Ended(first.taken, first.cost, first.scale)
    (_, best), _ = jax.lax.scan(cycle, (first, low), (jax.random.split(keys, cycles), jnp.arange(cycles)))
    return best._replace(taken=best.taken > 0.5)


def _lower(here: _Here, low: Ended) -> Ended:
    """Return the one of less cost."""
    better = here.cost < low.cost - 1e-4
    return jax.tree.map(lambda new, old: jnp.where(better, new, old), Ended(here.taken, here.cost, here.scale), low)


def _back(where: Sites, curves, here: _Here, to: Ended) -> _Here:
    """Return the particle that was met before, site by site where it differs."""
    none = len(here.taken)

    def move(here):
        site = jnp.argmax(abs(here.taken - to.taken))
        full = here.taken[site] > 0.5
        return _moved(where, curves, here, jnp.where(full, site, none), jnp.where(full, none, site))

    here = jax.lax.while_loop(lambda here: jnp.any(here.taken != to.taken), move, here)
    return here._replace(cost=to.cost, scale=to.scale)


def _walked(where: Sites, begin, values: Values, key, *, basis: Basis, weights: Weights, steps: int):
    curves = pair_curves(where.distance, values, basis)

    def step(here, key):
        cost, scale = _single(where, here, _turned(where, here), basis, weights)
        rates = jnp.where(jnp.isfinite(cost), 0.5 * (here.cost - cost), -jnp.inf)
        lasts = -jax.nn.logsumexp(rates)
        chosen = jax.random.categorical(key, rates)
        none = len(begin)
        full = here.taken[chosen] > 0.5
        out, into = jnp.where(full, chosen, none), jnp.where(full, none, chosen)
        moved = _moved(where, curves, here, out, into)._replace(cost=cost[chosen], scale=scale[chosen])
        return moved, (here.taken, jnp.sum(here.taken), lasts)

    _, (taken, atoms, lasts) = jax.lax.scan(
        step, _started(where, curves, begin, basis, weights), jax.random.split(key, steps)
    )
    time = jax.nn.softmax(lasts)
    return Drawn(time @ taken, atoms, time)


def _started(where: Sites, curves, begin, basis: Basis, weights: Weights) -> _Here:
    """Return a particle with the fields of all sites."""

    def pairs_of(row):
        return jnp.zeros(len(curves)).at[row.astype(jnp.int32)].add(begin)

    field = jnp.matmul(jax.lax.map(pairs_of, where.place, batch_size=64), curves, precision="highest")
    pairs = 0.5 * (begin @ field)
    near, next_ = (jnp.sum(_around(begin, listed), axis=1) for listed in (where.near, where.next))
    here = _Here(begin, field, pairs, near, next_, jnp.zeros(()), jnp.ones(()))
    model = pairs / jnp.sum(begin)
    scale = jnp.where(weights.spread > 0, _positive(jnp.sum(basis.data * model) / jnp.sum(model**2)), 1.0)
    squares = jnp.sum((basis.data - scale * model) ** 2)
    unusual = _unusual(where, begin, near, next_)
    return here._replace(cost=_cost(where, squares, scale, jnp.sum(begin), unusual, basis, weights), scale=scale)


def _around(
    of: Float[Array, " site"], listed: Int[Array | np.ndarray, "site neighbour"]
) -> Float[Array, "site neighbour"]:
    """Return what the neighbours of each site have; 0 where there are no more."""
    return jnp.concatenate([of, jnp.zeros(1, of.dtype)])[listed]


def _positive(scale):
    return jnp.maximum(scale, 0.02)


def _cost(where: Sites, squares, scale, atoms, unusual, basis: Basis, weights: Weights):
    """Return the negative logarithm of the posterior, but for a constant."""
    left = jnp.maximum(squares, 0.0) + basis.rest + FLAW**2 * basis.norm
    spread = jnp.where(weights.spread > 0, weights.spread, 1.0)
    off = 0.5 * (jnp.log(_positive(scale)) / spread) ** 2
    usual = where.usual[0] * jnp.maximum(atoms, 1.0) ** where.usual[1]
    shape = weights.shape * (unusual - usual)
    return 0.5 * weights.points * jnp.log(left / basis.norm) + jnp.where(weights.spread > 0, off, 0.0) + shape


def _looked_up(where: Sites, taken, near, next_):
    """Return how unusual the surroundings of sites are."""
    place = (taken * MOST + jnp.clip(near, 0, MOST - 1)) * MOST + jnp.clip(next_, 0, MOST - 1)
    return where.cost[place.astype(jnp.int32)]


def _counted(where: Sites, taken, near, next_):
    """Return how unusual sites are: atoms, and empty sites beside one."""
    return jnp.where((taken > 0.5) | (near > 0.5), _looked_up(where, taken, near, next_), 0.0)


def _unusual(where: Sites, taken, near, next_):
    """Return how unusual a particle's sites are, all together."""
    return jnp.sum(_counted(where, taken, near, next_))


def _turned(where: Sites, here: _Here):
    """Return by how much the sum of the unusual changes as each site is filled or emptied."""
    now = _counted(where, here.taken, here.near, here.next)
    total = _counted(where, 1 - here.taken, here.near, here.next) - now
    none = len(now)
    for listed, (near, next_) in ((where.near, (1, 0)), (where.next, (0, 1))):
        one_more, one_less = (
            jnp.pad(_counted(where, here.taken, here.near + sign * near, here.next + sign * next_) - now, (0, 1))
            for sign in (1, -1)
        )
        both = jnp.concatenate([one_more, one_less])
        total += jnp.sum(both[listed + (here.taken[:, None] > 0.5) * (none + 1)], axis=1)
    return total


def _single(where: Sites, here: _Here, turned, basis: Basis, weights: Weights):
    """Return the cost, and the scale, with each site filled or emptied; infinite where that is no particle."""
    atoms, sign = jnp.sum(here.taken), 1 - 2 * here.taken
    counted = atoms + sign
    share = 1 / counted
    filled, emptied = (basis.data - here.scale * here.pairs / (atoms + one) for one in (1, -1))
    along = jnp.matmul(here.field, jnp.stack([filled, emptied, here.pairs], axis=1))
    own = jnp.sum(here.field**2, axis=1)
    full = here.taken > 0.5
    slope = jnp.where(full, along[:, 1], along[:, 0])
    squares = jnp.where(full, jnp.sum(emptied**2), jnp.sum(filled**2))
    squares += -2 * here.scale * share * sign * slope + (here.scale * share) ** 2 * own
    left = jnp.where(full, jnp.sum(emptied * here.pairs), jnp.sum(filled * here.pairs))
    across = share * (left + sign * slope - here.scale * share * (sign * along[:, 2] + own))
    model = jnp.maximum(share**2 * (jnp.sum(here.pairs**2) + 2 * sign * along[:, 2] + own), 1e-20)
    free = weights.spread > 0
    squares = squares - jnp.where(free, across**2 / model, 0.0)
    scale = _positive(here.scale + jnp.where(free, across / model, 0.0))
    unusual = _unusual(where, here.taken, here.near, here.next) + turned
    cost = _cost(where, squares, scale, counted, unusual, basis, weights)
    possible = (full & (atoms > LEAST)) | (~full & (here.near > 0.5))
    return jnp.where(possible, cost, jnp.inf), scale


def _best_move(where: Sites, curves, here: _Here, rested, side, pushing, basis: Basis, weights: Weights):
    """Return the particle after the best single move or exchange of rested sites, and which sites it changes."""
    none = len(here.taken)
    # Barriers: else the compiler works these out again for each use.
    turned = jax.lax.optimization_barrier(_turned(where, here))
    cost, scale = jax.lax.optimization_barrier(_single(where, here, turned, basis, weights))
    cost = jnp.where(rested, cost, jnp.inf)
    full = here.taken > 0.5
    out, into, exchanged, scales = _exchanges(where, curves, here, cost, turned, basis, weights)
    best, one = jnp.argmin(exchanged), jnp.argmin(cost)
    pair = exchanged[best] < cost[one]
    empties = full[one]
    chosen_out = jnp.where(pair, out[best], jnp.where(empties, one, none))
    chosen_into = jnp.where(pair, into[best], jnp.where(empties, none, one))
    now, now_scale = jnp.where(pair, exchanged[best], cost[one]), jnp.where(pair, scales[best], scale[one])
    # A kick takes the outermost atom of one side to the innermost empty place of the other.
    pushed_out = jnp.argmax(jnp.where(full & rested, side, -jnp.inf))
    pushed_into = jnp.argmin(jnp.where(~full & rested & (here.near >= 3) & (side < 0), -side, jnp.inf))
    chosen_out = jnp.where(pushing, pushed_out, chosen_out)
    chosen_into = jnp.where(pushing, pushed_into, chosen_into)
    moved = _moved(where, curves, here, chosen_out, chosen_into)
    now = jnp.where(pushing, jnp.inf, now)
    now_scale = jnp.where(pushing, here.scale, now_scale)
    return moved._replace(cost=now, scale=now_scale), chosen_out, chosen_into


def _exchanges(where: Sites, curves, here: _Here, cost, turned, basis: Basis, weights: Weights):
    """Return the best exchanges of a site to empty with one to fill: both sites, costs and scales."""
    full = here.taken > 0.5
    into, out = (jax.lax.top_k(-jnp.where(some, cost, jnp.inf), FRONTIER)[1] for some in (~full, full))
    atoms = jnp.sum(here.taken)
    factor = here.scale / atoms
    left = basis.data - factor * here.pairs
    filled, emptied = here.field[into], here.field[out]
    place = where.place[out[:, None], into[None, :]].astype(jnp.int32)
    own = jnp.sum(filled**2, axis=1)[None] + jnp.sum(emptied**2, axis=1)[:, None] - 2 * emptied @ filled.T
    rise = (emptied @ left)[:, None] - (filled @ left)[None]
    squares = jnp.maximum(jnp.sum(left**2) + 2 * factor * rise + factor**2 * own, 0.0)
    # The pair's own curve is left out, and surroundings change as in single moves: exact but for sites that are close.
    shape = jnp.where(where.shell[place] == 0, turned[out][:, None] + turned[into][None], 0.0)
    guess = 0.5 * weights.points * jnp.log(squares + basis.rest + FLAW**2 * basis.norm) + weights.shape * shape
    guess = jnp.where(jnp.isfinite(cost[into])[None] & jnp.isfinite(cost[out])[:, None], guess, jnp.inf)
    partner = jnp.argmin(guess, axis=1)
    low = jnp.take_along_axis(guess, partner[:, None], axis=1)[:, 0]
    picked = jax.lax.top_k(-low, EXCHANGED)[1]
    out, into, place = out[picked], into[partner[picked]], place[picked, partner[picked]]
    model = (here.pairs - here.field[out] + here.field[into] - curves[place]) / atoms
    left = basis.data - here.scale * model
    squares, across, length = jnp.sum(left**2, -1), jnp.sum(left * model, -1), jnp.sum(model**2, -1)
    free = weights.spread > 0
    squares -= jnp.where(free, across**2 / length, 0.0)
    scale = _positive(here.scale + jnp.where(free, across / length, 0.0))
    changed = jax.vmap(lambda out, into: _exchanged(where, here, out, into))(out, into)
    unusual = _unusual(where, here.taken, here.near, here.next) + changed
    found = _cost(where, squares, scale, atoms, unusual, basis, weights)
    return out, into, jnp.where(jnp.isfinite(low[picked]), found, jnp.inf), scale


def _exchanged(where: Sites, here: _Here, out, into):
    """Return by how much the sum of the unusual changes as one site is emptied and one filled."""
    near, next_ = ((listed[out], listed[into]) for listed in (where.near, where.next))
    sites_ = jnp.concatenate([jnp.stack([out, into]), *near, *next_])
    again = jnp.any(jnp.tril(sites_[:, None] == sites_[None], -1), axis=1)
    once = (sites_ < len(here.taken)) & ~again
    row = jnp.minimum(sites_, len(here.taken) - 1)

    def of(lost, won):  # how often a site's neighbours gain or lose one
        return jnp.any(sites_[:, None] == won, axis=1) * 1.0 - jnp.any(sites_[:, None] == lost, axis=1)

    taken = jnp.where(sites_ == out, 0.0, jnp.where(sites_ == into, 1.0, here.taken[row]))
    now = _counted(where, here.taken[row], here.near[row], here.next[row])
    then = _counted(where, taken, here.near[row] + of(*near), here.next[row] + of(*next_))
    return jnp.sum(jnp.where(once, then - now, 0.0))


def _surroundings(where: Sites, here: _Here, out, into):
    """Return which sites are taken, and how many about each are, after a move; the number of sites stands for none."""
    none = len(here.taken)
    taken = here.taken.at[out].set(0.0, mode="drop").at[into].set(1.0, mode="drop")
    near, next_ = here.near, here.next
    for site, sign in ((out, -1.0), (into, 1.0)):
        row = jnp.minimum(site, none - 1)
        change = jnp.where(site < none, sign, 0.0)
        near = near.at[where.near[row]].add(change, mode="drop")
        next_ = next_.at[where.next[row]].add(change, mode="drop")
    return taken, near, next_


def _moved(where: Sites, curves, here: _Here, out, into) -> _Here:
    """Return the particle with one site emptied and one filled; its cost is left as it was."""
    none = len(here.taken)
    taken, near, next_ = _surroundings(where, here, out, into)
    field, pairs = here.field, here.pairs
    for site, sign in ((out, -1.0), (into, 1.0)):
        row = jnp.minimum(site, none - 1)
        there = site < none
        pairs = pairs + jnp.where(there, sign, 0.0) * field[row]
        place = jnp.where(there, where.place[row].astype(jnp.int32), len(curves) - 1)
        field = field + sign * curves[place]
    return here._replace(taken=taken, field=field, pairs=pairs, near=near, next=next_)
