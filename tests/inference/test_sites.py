"""Moves of atoms among the sites of a host, and where searches and walks end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import simulated

from jaxstruc.inference import sites, target
from jaxstruc.inference.sites import Weights
from jaxstruc.inference.values import Values
from jaxstruc.structures import hosts

COUNT, SITES = 55, 160
KEY = jax.random.key(0)


def seen(positions, *, rmax, qmax, noise):
    """The target of a particle's curve, and the values that made it."""
    r = np.arange(1.5, rmax, 0.05)
    g = simulated.curve(positions * simulated.BOND, r, noise=noise, rng=np.random.default_rng(0), qmin=0.8, qmax=qmax)
    span = target.span(rmax=rmax, qmax=qmax, diameter=40.0)
    goal = target.target(r, g, qmin=0.8, qmax=qmax, qdamp=0.03, qbroad=0.0, bond=simulated.BOND, span=span)
    one = jnp.ones(1, jnp.float32)
    return goal, Values(one, one, 0.008 * one, 0 * one, 2.0 * one, 0.03 * one, 0 * one)


@pytest.fixture(scope="module")
def setting():
    """A particle of fcc that is no ball, its curve with a little noise, and its host."""
    host = hosts.host("c" * 64, np.array([0.1, 0.2, 0.1]), SITES)
    away = np.linalg.norm(host.positions * np.array([1.3, 1.0, 0.8]), axis=1)
    taken = away <= np.sort(away)[COUNT - 1]
    return host, taken, *seen(host.positions[taken], rmax=16.0, qmax=18.0, noise=0.01)


def weights(spread=0.0, shape=1.0):
    return Weights(*(jnp.asarray(x, jnp.float32) for x in (60.0, shape, spread)))


def begun(setting, taken, weights, leave=True):
    """The curves, and a particle with its fields; nothing left out of the curves unless asked."""
    host, _, goal, values = setting
    where = jax.tree.map(lambda column: jnp.asarray(column[0]), sites.sites([host]))
    single = jax.tree.map(lambda column: column[0], values)
    curves, here = sites._begun(where, jnp.asarray(taken, jnp.float32), single, goal.basis, weights)
    return where, curves, here


def started(where, curves, here, taken, basis, weights):
    """The same particle or another one, with its fields worked out anew."""
    near = np.zeros((SITES, sites.BINS), np.float32)
    for row, place in zip(near, np.asarray(curves.place), strict=True):
        np.add.at(row, place, taken.astype(np.float32))
    field = jnp.asarray(near) @ curves.curve
    return sites._started(where, curves, jnp.asarray(taken, jnp.float32), field, basis, weights)


def test_the_curves_of_a_large_hosts_pairs_are_as_exact_as_the_target():
    host = hosts.host("c" * 64, np.array([0.1, 0.2, 0.1]), 1024)
    taken = np.linalg.norm(host.positions, axis=1) < 3.2
    goal, values = seen(host.positions[taken], rmax=30.0, qmax=20.0, noise=0.0)
    _, curves, here = begun((host, taken, goal, values), taken, weights())
    left = curves.data - here.pairs / taken.sum()
    assert float(jnp.sum(left**2) / goal.basis.norm) < 5e-4**2


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_single_moves_cost_what_the_particle_after_them_does(setting, spread):
    _host, taken, goal, _ = setting
    weighed = weights(spread)
    where, curves, here = begun(setting, taken, weighed)
    cost, _ = sites._single(where, curves, here, sites._turned(where, here), goal.basis, weighed)
    possible = np.flatnonzero(np.isfinite(cost))
    assert taken[possible].any() and not taken[possible].all()
    for site in possible[:: len(possible) // 8]:
        changed = taken.copy()
        changed[site] = not changed[site]
        assert float(cost[site]) == pytest.approx(
            float(started(where, curves, here, changed, goal.basis, weighed).cost), abs=0.02
        )


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_exchanges_cost_what_the_particle_after_them_does(setting, spread):
    _host, taken, goal, _ = setting
    weighed = weights(spread)
    where, curves, here = begun(setting, taken, weighed)
    turned = sites._turned(where, here)
    single, _ = sites._single(where, curves, here, turned, goal.basis, weighed)
    out, into, cost, _ = sites._exchanges(where, curves, here, single, turned, goal.basis, weighed)
    assert np.isfinite(cost).all()
    for one, other, told in list(zip(out, into, cost, strict=True))[::4]:
        changed = taken.copy()
        changed[int(one)], changed[int(other)] = False, True
        after = started(where, curves, here, changed, goal.basis, weighed)
        assert float(told) == pytest.approx(float(after.cost), abs=0.02)


def test_fields_after_moves_are_those_worked_out_anew(setting):
    _, taken, goal, _ = setting
    where, curves, here = begun(setting, taken, weights())
    out, into = int(np.flatnonzero(taken)[-1]), int(np.flatnonzero(~taken)[0])
    moved = sites._moved(where, curves, here, out, into)
    changed = taken.copy()
    changed[out], changed[into] = False, True
    anew = started(where, curves, here, changed, goal.basis, weights())
    for name in ("field", "pairs", "near", "next"):
        assert np.allclose(getattr(moved, name), getattr(anew, name), atol=2e-4), name


def test_the_shape_costs_what_the_host_says(setting):
    host, taken, _goal, _ = setting
    costs = [float(begun(setting, taken, weights(shape=shape))[2].cost) for shape in (0.0, 1.0)]
    assert costs[1] - costs[0] == pytest.approx(hosts.unusual(host, taken), abs=0.01)


@pytest.fixture(scope="module")
def ended(setting):
    host, taken, goal, values = setting
    wrong = taken.copy()
    wrong[np.flatnonzero(taken)[-4:]], wrong[np.flatnonzero(~taken)[:3]] = False, True
    where, begin = sites.sites([host]), wrong[None].astype(np.float32)
    found, compiled = [], []
    for steps in (300, 0):
        found.append(sites.searched(where, begin, values, goal.basis, weights(), KEY, steps))
        compiled.append(sites.searched._cache_size())
    return wrong, found, compiled


def test_a_search_comes_most_of_the_way_from_a_wrong_particle_to_the_right_one(setting, ended):
    """One start seldom finds it; what searches of many do is told by `experiments/solving.py`."""
    _, taken, _, _ = setting
    found, none = ended[1]
    truth = float(begun(setting, taken, weights())[2].cost)
    assert found.cost[0] < none.cost[0] + 0.8 * (truth - none.cost[0])
    assert abs(int(found.taken[0].sum()) - COUNT) <= 2 and np.array_equal(none.taken[0], ended[0])


def test_more_steps_do_not_compile_again(ended):
    assert ended[2][0] == ended[2][1]


def test_a_walk_says_how_sure_sites_are(setting):
    host, taken, goal, values = setting
    drawn = sites.walked(
        sites.sites([host]), taken[None].astype(np.float32), values, goal.basis, weights(), KEY, steps=60
    )
    assert float(drawn.time.sum()) == pytest.approx(1.0, abs=1e-5)
    inner = np.linalg.norm(host.positions, axis=1) < 1.3
    assert (drawn.occupancy[0][inner] > 0.99).all() and drawn.occupancy[0][~taken].mean() < 0.1
    assert drawn.atoms.min() >= COUNT - 3 and drawn.atoms.max() <= COUNT + 3


def test_small_changes_of_values_cost_next_to_nothing(setting):
    """They are left out of the curves, as far as the last fit is not to be trusted."""
    host, taken, goal, values = setting
    costs = []
    for uiso in (0.008, 0.0084):
        changed = values._replace(uiso=jnp.full(1, uiso, jnp.float32))
        costs.append(float(begun((host, taken, goal, changed), taken, weights())[2].cost))
    held = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sites, "TRUSTED", (1e-9, 1e-9, 1e-9))
        for uiso in (0.008, 0.0084):
            changed = values._replace(uiso=jnp.full(1, uiso, jnp.float32))
            held.append(float(begun((host, taken, goal, changed), taken, weights())[2].cost))
    assert abs(costs[1] - costs[0]) < 0.3 * abs(held[1] - held[0])


@pytest.mark.parametrize("seed", range(2))
def test_the_truth_of_exact_data_stays_if_the_last_bits_of_the_start_change(exact_setting, seed):
    """Any other particle misses an atom's pairs, which are far above the rounding."""
    host, taken, goal, values = exact_setting
    bits = 1 - np.finfo(np.float32).eps * np.random.default_rng(seed).integers(0, 5, taken.shape)
    begin = (taken * bits).astype(np.float32)[None]
    end, start = (
        sites.searched(sites.sites([host]), begin, values, goal.basis, weights(shape=0.0), KEY, steps)
        for steps in (60, 0)
    )
    assert np.array_equal(end.taken[0], taken)
    assert np.isfinite(end.cost).all() and float(end.cost[0]) <= float(start.cost[0])


@pytest.fixture(scope="module")
def exact_setting(setting):
    host, taken, _, _ = setting
    return host, taken, *seen(host.positions[taken], rmax=16.0, qmax=18.0, noise=0.0)


def test_no_search_ends_at_a_higher_cost_than_its_start(setting):
    host, taken, goal, values = setting
    for seed in range(2):
        begin = taken ^ (np.random.default_rng(seed).uniform(size=taken.shape) < 0.1)
        ends = [
            sites.searched(
                sites.sites([host]), begin[None].astype(np.float32), values, goal.basis, weights(), KEY, steps
            )
            for steps in (20, 0)
        ]
        assert float(ends[0].cost[0]) <= float(ends[1].cost[0]) and np.isfinite(ends[0].cost).all()
