r"""A search over the sites of a host for the particle that a measured G(r) shows.

G(r) of one element is linear in its pairs. In the basis of a target, with $k_{ij}$ the curve of a pair of sites and n
their occupancy, the field $h_i = \sum_j n_j k_{ij}$ of all sites makes every single move exact at once: with site i
filled or emptied the sum over pairs $y = \frac12 \sum_i n_i h_i$ becomes $y \pm h_i$, with i and j exchanged
$y - h_i + h_j - k_{ij}$, and the fields change by the pairs' curves.

The cost of a particle is the negative logarithm of its posterior: of the misfit with noise of unknown size,
$\frac{m}{2} \ln |d - s\,2y/N|^2$ with m the points that count, of the scale s about 1, and of its shape, how usual its
sites' surroundings are (`hosts.Habit`). The best move is made, up or down; what was moved rests for some steps, for it
would go back else (F. Glover, ORSA J. Comput. 1, 190 (1989)).
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree

from jaxstruc.inference.target import Basis
from jaxstruc.inference.values import Values
from jaxstruc.scattering import debye
from jaxstruc.structures import hosts
from jaxstruc.structures.distances import distances
from jaxstruc.structures.hosts import Host

BINS = 2816
"""Of distances; the last stands for sites too far apart, and for a site and itself."""
WIDTH = 0.0045
"""Bonds, of a bin at least."""
LEAST_BOND = 2.2
"""Å. Nearest-neighbour distance down to which bins reach as far as the data see."""
FRONTIER, EXCHANGED = 48, 16
"""Sites to empty and to fill whose exchanges are compared by their misfit; exchanges whose shape is worked out."""
TRUSTED = (0.005, 0.3, 0.06)
"""Standard deviations of stretch, Uiso (in parts of it) and delta2 (in squared bonds) about those of the last fit."""
RESTING = (3, 10)
"""Steps that a moved site rests, at least and at most."""
FLAW = 3e-4
"""Rw of curves made of bins: a better fit is no better."""
LEAST = 6
"""Atoms of a particle."""
NEIGHBOURS = 14
"""Of a site that are listed, and next neighbours, at most."""
MOST = 15
"""Numbers of neighbours, and of next neighbours, that surroundings are told apart by."""


class Sites(NamedTuple):
    """Hosts as a search takes them, with a leading axis for several."""

    positions: Float[Array | np.ndarray, "*batch site 3"]
    """Bonds"""
    near: Int[Array | np.ndarray, "*batch site neighbour"]
    """Neighbours of each site; the number of sites where there are no more."""
    next: Int[Array | np.ndarray, "*batch site neighbour"]
    """The same of next neighbours."""
    cost: Float[Array | np.ndarray, "*batch surroundings"]
    """How unusual a site's surroundings are: [taken, neighbours, next neighbours], flat."""
    usual: Float[Array | np.ndarray, "*batch 2"]
    """Factor and power of the number of atoms: of the sum of these costs in a listed particle."""


class _Curves(NamedTuple):
    """The curves of all pairs of sites, and the data, both without what small changes of the values make."""

    place: Int[Array, "site site"]
    """Which curve two sites have."""
    close: Bool[Array, " bin"]
    """Whether it is that of neighbours or next neighbours."""
    curve: Float[Array, "bin basis"]
    """Of a pair, times the number of atoms."""
    data: Float[Array, " basis"]


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


def sites(several: Sequence[Host]) -> Sites:
    """Return hosts, all with as many sites, as a search takes them.

    Args:
        several: hosts, one at least.
    """
    return jax.tree.map(lambda *columns: np.stack(columns), *map(_sites, several))


def _sites(one: Host) -> Sites:
    pairs = KDTree(one.positions).query_pairs(hosts.NEXT, output_type="ndarray")
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    apart = np.linalg.norm(one.positions[pairs[:, 0]] - one.positions[pairs[:, 1]], axis=1)
    near, next_ = (_listed(pairs[some], len(one.positions)) for some in (apart < hosts.BONDS, apart >= hosts.BONDS))
    own = hosts.habit(one.packing)
    return Sites(
        one.positions.astype(np.float32), near, next_,
        own.cost.astype(np.float32).ravel(), np.array(own.usual, np.float32),
    )  # fmt: skip


def _listed(pairs: np.ndarray, count: int) -> np.ndarray:
    """Return the partners [site, neighbour] of each site, padded with the number of sites."""
    first, second = pairs[np.lexsort(pairs.T[::-1])].T
    place = np.arange(len(first)) - np.searchsorted(first, first)
    found = np.full((count, NEIGHBOURS), count, np.int32)
    found[first[place < NEIGHBOURS], place[place < NEIGHBOURS]] = second[place < NEIGHBOURS]
    return found


def _begun(where: Sites, begin, values: Values, basis: Basis, weights: Weights) -> tuple[_Curves, _Here]:
    """Return the curves of all pairs of a host's sites, and the particle with the fields of all sites.

    Pairs stand in bins and share their mean distance. What small changes of stretch, Uiso and delta2 make of the
    particle's curve is left out of data and curves: each particle on the way is as good as with its own values.
    """
    width = max(WIDTH, basis.span.longest / (LEAST_BOND * (BINS - 2)))
    apart = distances(jnp.asarray(where.positions))
    place = jnp.minimum(jnp.rint(apart / width), BINS - 1).astype(jnp.int32)
    place = jnp.where(jnp.eye(len(apart), dtype=bool), BINS - 1, place)
    off = apart - place * width  # summed in place of the distances, whose sums would round
    count, total = (jnp.zeros(BINS).at[place.ravel()].add(x) for x in (1.0, off.ravel()))
    mean = (jnp.arange(BINS) * width + total / jnp.maximum(count, 1.0)).at[-1].set(1.0)
    mean = jnp.where(count > 0, mean, 1.0)
    near = jax.lax.map(lambda row: jnp.zeros(BINS).at[row].add(begin), place, batch_size=64)
    curve = pair_curves(mean * basis.bond, values, basis)
    ways, share = _left_out(mean * basis.bond, begin @ near, jnp.sum(begin), values, basis, weights)
    curve -= ((curve @ ways) * share) @ ways.T
    data = basis.data - ways @ (share * (ways.T @ basis.data))
    curves = _Curves(place, (mean < hosts.NEXT).at[-1].set(False), curve, data)
    field = jnp.matmul(near, curve, precision="highest")
    return curves, _started(where, curves, begin, field, basis, weights)


def _left_out(distance, pairs, atoms, values: Values, basis: Basis, weights: Weights):
    r"""Return the ways in which small changes of values move a particle's curve, and which part of each is left out.

    With changes of $\tau$ as likely as noise $\sigma$, the least over $\delta$ of
    $|\rho - D\delta|^2 + \sigma^2 |\delta/\tau|^2$ is $|A \rho|^2$, where A takes the part
    $1 - \sigma / \sqrt{s^2 + \sigma^2}$ of each singular vector of $D\tau$ away.
    """

    def model(changed):
        moved = values._replace(stretch=changed[0], uiso=changed[1], delta2=changed[2])
        found = pairs.at[-1].set(0.0) @ _waves(distance, moved, basis)
        return 0.5 * _in_basis(found, moved, basis) / atoms

    now = jnp.stack([values.stretch, values.uiso, values.delta2])
    trusted = jnp.asarray(TRUSTED) * jnp.stack([jnp.ones(()), values.uiso, basis.bond**2])
    slopes = values.scale * jax.jacfwd(model)(now) * trusted
    ways, size, _ = jnp.linalg.svd(slopes, full_matrices=False)
    left = basis.data - values.scale * model(now)
    noise = (jnp.sum(left**2) + basis.rest) / weights.points
    return ways, 1 - jnp.sqrt(noise / (size**2 + noise))


def pair_curves(distance: Float[Array, " bin"], values: Values, basis: Basis) -> Float[Array, "bin basis"]:
    """Return the curve of a pair of atoms at each distance in Å, times the number of atoms; the last is zero."""
    return _in_basis(_waves(distance, values, basis), values, basis).at[-1].set(0.0)


def _waves(distance, values: Values, basis: Basis) -> Float[Array, "bin q"]:
    """Return F(Q) of a pair at each distance, times the number of atoms."""
    apart = distance * values.stretch
    bracket = jnp.maximum(debye.width_bracket(values.instrument, apart), 0.0)
    damping = jnp.exp(-values.uiso * basis.q**2 * bracket[:, None])
    return 2 * damping * jnp.sin(basis.q * apart[:, None]) / apart[:, None]


def _in_basis(f, values: Values, basis: Basis):
    """Return F(Q) in the basis of a target."""
    found = jnp.matmul(f, basis.design, precision="highest") * jnp.exp(-0.5 * (basis.radius * values.qdamp) ** 2)
    return found - (found @ basis.smooth) @ basis.smooth.T


@jax.jit
def searched(
    where: Sites,
    begin: Float[Array, "start site"],
    values: Values,
    basis: Basis,
    weights: Weights,
    key: Array,
    steps: Int[Array, ""] | int,
) -> Ended:
    """Return where searches end, one for each start.

    Args:
        where: hosts [start].
        begin: 1 for sites that are taken at the start.
        values: of the model [start].
        basis: the data, of a target.
        weights: of the cost.
        key: of the rests.
        steps: moves.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(begin)))
    one = partial(_searched, basis=basis, weights=weights, steps=steps)
    return _each(one, where, begin, values, keys)


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
    return _each(one, where, begin, values, keys)


def _each(one, *columns):
    """Return what a function gives for each row: one after another where caches count, all at once on accelerators."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda row: one(*row), columns)
    return jax.vmap(one)(*columns)


def _searched(where: Sites, begin, values: Values, key, *, basis: Basis, weights: Weights, steps):
    curves, first = _begun(where, begin, values, basis, weights)

    def step(number, carry):
        here, low, until = carry
        moved, out, into = _best_move(where, curves, here, until <= number, basis, weights)
        rests = number + jax.random.randint(jax.random.fold_in(key, number), (2,), *RESTING)
        until = until.at[out].set(rests[0], mode="drop").at[into].set(rests[1], mode="drop")
        return moved, _lower(moved, low), until

    low = Ended(first.taken, first.cost, first.scale)
    _, low, _ = jax.lax.fori_loop(0, steps, step, (first, low, jnp.zeros(len(begin), jnp.int32)))
    return low._replace(taken=low.taken > 0.5)


def _lower(here: _Here, low: Ended) -> Ended:
    """Return the one of less cost."""
    better = here.cost < low.cost - 1e-4
    return jax.tree.map(lambda new, old: jnp.where(better, new, old), Ended(here.taken, here.cost, here.scale), low)


def _walked(where: Sites, begin, values: Values, key, *, basis: Basis, weights: Weights, steps: int):
    curves, first = _begun(where, begin, values, basis, weights)

    def step(here, key):
        cost, scale = _single(where, curves, here, _turned(where, here), basis, weights)
        rates = jnp.where(jnp.isfinite(cost), 0.5 * (here.cost - cost), -jnp.inf)
        lasts = -jax.nn.logsumexp(rates)
        chosen = jax.random.categorical(key, rates)
        none = len(begin)
        full = here.taken[chosen] > 0.5
        out, into = jnp.where(full, chosen, none), jnp.where(full, none, chosen)
        moved = _moved(where, curves, here, out, into)._replace(cost=cost[chosen], scale=scale[chosen])
        return moved, (here.taken, jnp.sum(here.taken), lasts)

    _, (taken, atoms, lasts) = jax.lax.scan(step, first, jax.random.split(key, steps))
    time = jax.nn.softmax(lasts)
    return Drawn(time @ taken, atoms, time)


def _started(where: Sites, curves: _Curves, begin, field, basis: Basis, weights: Weights) -> _Here:
    """Return a particle with the fields of all sites."""
    pairs = 0.5 * (begin @ field)
    near, next_ = (jnp.sum(_around(begin, listed), axis=1) for listed in (where.near, where.next))
    model = pairs / jnp.sum(begin)
    best = _positive(jnp.sum(curves.data * model) / jnp.maximum(jnp.sum(model**2), 1e-20))
    scale = jnp.where(weights.spread > 0, best, 1.0)
    squares = jnp.sum((curves.data - scale * model) ** 2)
    unusual = _unusual(where, begin, near, next_)
    cost = _cost(where, squares, scale, jnp.sum(begin), unusual, basis, weights)
    return _Here(begin, field, pairs, near, next_, cost, scale)


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


def _single(where: Sites, curves: _Curves, here: _Here, turned, basis: Basis, weights: Weights):
    """Return the cost, and the scale, with each site filled or emptied; infinite where that is no particle."""
    atoms, sign = jnp.sum(here.taken), 1 - 2 * here.taken
    counted = atoms + sign
    share = 1 / counted
    filled, emptied = (curves.data - here.scale * here.pairs / (atoms + one) for one in (1, -1))
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


def _best_move(where: Sites, curves, here: _Here, rested, basis: Basis, weights: Weights):
    """Return the particle after the best single move or exchange of rested sites, and which sites it changes."""
    none = len(here.taken)
    # Barriers: else the compiler works these out again for each use.
    turned = jax.lax.optimization_barrier(_turned(where, here))
    cost, scale = jax.lax.optimization_barrier(_single(where, curves, here, turned, basis, weights))
    cost = jnp.where(rested, cost, jnp.inf)
    full = here.taken > 0.5
    out, into, exchanged, scales = _exchanges(where, curves, here, cost, turned, basis, weights)
    best, one = jnp.argmin(exchanged), jnp.argmin(cost)
    pair = exchanged[best] < cost[one]
    empties = full[one]
    chosen_out = jnp.where(pair, out[best], jnp.where(empties, one, none))
    chosen_into = jnp.where(pair, into[best], jnp.where(empties, none, one))
    now, now_scale = jnp.where(pair, exchanged[best], cost[one]), jnp.where(pair, scales[best], scale[one])
    moved = _moved(where, curves, here, chosen_out, chosen_into)
    return moved._replace(cost=now, scale=now_scale), chosen_out, chosen_into


def _exchanges(where: Sites, curves, here: _Here, cost, turned, basis: Basis, weights: Weights):
    """Return the best exchanges of a site to empty with one to fill: both sites, costs and scales."""
    full = here.taken > 0.5
    (filling, into), (emptying, out) = (
        jax.lax.top_k(-jnp.where(some, cost, jnp.inf), FRONTIER) for some in (~full, full)
    )
    atoms = jnp.sum(here.taken)
    factor = here.scale / atoms
    left = curves.data - factor * here.pairs
    filled, emptied = here.field[into], here.field[out]
    place = curves.place[out[:, None], into[None, :]]
    changed = emptied[:, None] - filled[None] + curves.curve[place]
    squares = jnp.sum((left + factor * changed) ** 2, axis=-1)
    # Surroundings change as in single moves: exact but for sites that are close.
    shape = jnp.where(~curves.close[place], turned[out][:, None] + turned[into][None], 0.0)
    guess = 0.5 * weights.points * jnp.log(squares + basis.rest + FLAW**2 * basis.norm) + weights.shape * shape
    guess = jnp.where(jnp.isfinite(filling)[None] & jnp.isfinite(emptying)[:, None], guess, jnp.inf)
    partner = jnp.argmin(guess, axis=1)
    low = jnp.take_along_axis(guess, partner[:, None], axis=1)[:, 0]
    picked = jax.lax.top_k(-low, EXCHANGED)[1]
    out, into, place = out[picked], into[partner[picked]], place[picked, partner[picked]]
    model = (here.pairs - here.field[out] + here.field[into] - curves.curve[place]) / atoms
    left = curves.data - here.scale * model
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
        field = field + sign * curves.curve[jnp.where(there, curves.place[row], BINS - 1)]
    return here._replace(taken=taken, field=field, pairs=pairs, near=near, next=next_)
