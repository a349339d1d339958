import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.scattering import spreading
from jaxstruc.scattering.spreading import Nodes

spread = jax.jit(spreading.spread, static_argnames=("nodes", "channels"), static_argnums=3)


def spread_positions(positions, *others):
    return jax.jit(lambda x: spreading.spread_positions(x, *others))(positions)


def waves(distance, q):
    return np.sinc(np.multiply.outer(q, distance) / np.pi)


@pytest.mark.parametrize("accuracy", [1e-5, 1e-6, 1e-8, 1e-11])
def test_nodes_stand_for_the_pairs_to_the_accuracy_asked_for(accuracy, x64):
    rng = np.random.default_rng(0)
    distance, weight = rng.uniform(0, 24.9, 500), rng.normal(size=500)
    nodes = Nodes(25.0, 30.0, accuracy)
    found = np.asarray(spread(jnp.asarray(distance), jnp.asarray(weight), 0, nodes))[0]
    q = np.linspace(0, 30, 201)
    error = np.abs(waves(nodes.distance, q) @ found - waves(distance, q) @ weight).max()
    assert error < accuracy * np.abs(weight).sum()
    assert error > 0


def test_the_nodes_are_as_few_as_the_accuracy_allows():
    """An Å, at Q = 30 1/Å, in windows of 8 nodes twice, and of 12; twice the Q asks for twice as many."""
    for accuracy, count in ((1e-5, 35.5), (1e-6, 47.1), (1e-8, 37.2)):
        assert 1 / Nodes(25.0, 30.0, accuracy).spacing == pytest.approx(count, rel=0.02), accuracy
        assert Nodes(25.0, 60.0, accuracy).spacing == pytest.approx(Nodes(25.0, 30.0, accuracy).spacing / 2, rel=1e-3)


def test_the_weights_sum_to_the_pairs(x64):
    distance = jnp.asarray(np.random.default_rng(0).uniform(0, 10, 50))
    found = spread(distance, jnp.full(50, 2.0), 0, Nodes(10.0, 20.0))
    assert float(found.sum()) == pytest.approx(100, rel=1e-6)


def test_channels_stay_apart(x64):
    distance, channel = jnp.array([2.0, 3.0, 4.0]), jnp.array([0, 2, 2])
    found = spread(distance, jnp.array([1.0, 2.0, 3.0]), channel, Nodes(5.0, 20.0), channels=3)
    np.testing.assert_allclose(found.sum(axis=1), [1, 0, 5], atol=1e-6)


def test_a_pair_beyond_the_nodes_gives_nan_and_not_a_wrong_curve():
    nodes = Nodes(5.0, 20.0)
    assert np.isnan(spread(jnp.array([2.0, 5.1]), jnp.ones(2), 0, nodes)).all()
    assert np.isfinite(spread(jnp.array([2.0, 5.1]), jnp.array([1.0, 0.0]), 0, nodes)).all()
    far = jnp.array([[0.0, 0, 0], [5.2, 0, 0]])
    table = np.zeros((1, 1), np.int32)
    assert np.isnan(spread_positions(far, np.ones(2, bool), jnp.zeros(2, int), table, nodes)).all()


@pytest.mark.parametrize("atoms", [30, 129, 300])
def test_blocks_of_positions_are_all_pairs(atoms, x64):
    """One block, two, and three; two kinds; padding; two atoms in one place."""
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(atoms, 3)) * 3
    positions[1] = positions[0]
    kinds, mask = rng.integers(0, 2, atoms), np.arange(atoms) < atoms - 5
    table = np.array([[0, 1], [1, 2]], np.int32)
    nodes = Nodes(30.0, 20.0)
    blocks = spread_positions(jnp.asarray(positions), mask, jnp.asarray(kinds), table, nodes)
    first, second = np.triu_indices(atoms - 5, 1)
    distance = np.linalg.norm(positions[first] - positions[second], axis=1)
    channel = jnp.asarray(table[kinds[first], kinds[second]])
    listed = spread(jnp.asarray(distance), jnp.full(first.size, 2.0), channel, nodes, channels=3)
    np.testing.assert_allclose(blocks, listed, atol=1e-9)


def test_both_ways_have_the_same_gradient_and_pushforward(x64):
    rng = np.random.default_rng(0)
    positions, change = jnp.asarray(rng.normal(size=(2, 140, 3)) * 3)
    nodes = Nodes(30.0, 20.0)
    wanted = jnp.asarray(rng.normal(size=nodes.distance.size))
    first, second = np.triu_indices(140, 1)

    def listed(x):
        distance = jnp.linalg.norm(x[first] - x[second], axis=1)
        return wanted @ spread(distance, jnp.full(first.size, 2.0), 0, nodes)[0]

    def blocks(x):
        table = np.zeros((1, 1), np.int32)
        return wanted @ spread_positions(x, np.ones(140, bool), jnp.zeros(140, int), table, nodes)[0]

    one, two = (jax.jit(jax.grad(way))(positions) for way in (listed, blocks))
    np.testing.assert_allclose(two, one, atol=1e-8 * np.abs(one).max())
    assert np.abs(one).max() > 1
    pushed = jax.jit(lambda x, move: jax.jvp(blocks, (x,), (move,))[1])(positions, change)
    assert float(pushed) == pytest.approx(float(jnp.vdot(one, change)), rel=1e-8)
