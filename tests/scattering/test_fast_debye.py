import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.scattering import fast_debye
from jaxstruc.scattering.fast_debye import SpreadingNodes

spread_distances = jax.jit(fast_debye.spread_distances, static_argnames=("nodes", "n_channels"), static_argnums=3)


def spread_positions(positions, *arguments):
    return jax.jit(lambda x: fast_debye.spread_positions(x, *arguments))(positions)


def sinc_matrix(distance, q):
    return np.sinc(np.multiply.outer(q, distance) / np.pi)


@pytest.mark.parametrize("accuracy", [1e-5, 1e-6, 1e-8, 1e-11])
def test_nodes_stand_for_the_pairs_to_the_accuracy_asked_for(accuracy, x64):
    rng = np.random.default_rng(0)
    distance, weight = rng.uniform(0, 24.9, 500), rng.normal(size=500)
    nodes = SpreadingNodes(25.0, 30.0, accuracy)
    node_weights = np.asarray(spread_distances(jnp.asarray(distance), jnp.asarray(weight), 0, nodes))[0]
    q = np.linspace(0, 30, 201)
    error = np.abs(sinc_matrix(nodes.distances, q) @ node_weights - sinc_matrix(distance, q) @ weight).max()
    assert error < accuracy * np.abs(weight).sum()
    assert error > 0


def test_the_nodes_are_as_few_as_the_accuracy_allows():
    """Numbers of nodes per Å at Q = 30 1/Å with windows of 8, 8 and 12 nodes. Twice the Q needs twice as many."""
    for accuracy, nodes_per_angstrom in ((1e-5, 35.5), (1e-6, 47.1), (1e-8, 37.2)):
        assert 1 / SpreadingNodes(25.0, 30.0, accuracy).spacing == pytest.approx(nodes_per_angstrom, rel=0.02), accuracy
        assert SpreadingNodes(25.0, 60.0, accuracy).spacing == pytest.approx(
            SpreadingNodes(25.0, 30.0, accuracy).spacing / 2, rel=1e-3
        )


def test_the_weights_sum_to_the_pairs(x64):
    distance = jnp.asarray(np.random.default_rng(0).uniform(0, 10, 50))
    node_weights = spread_distances(distance, jnp.full(50, 2.0), 0, SpreadingNodes(10.0, 20.0))
    assert float(node_weights.sum()) == pytest.approx(100, rel=1e-6)


def test_channels_stay_apart(x64):
    distance, channel = jnp.array([2.0, 3.0, 4.0]), jnp.array([0, 2, 2])
    node_weights = spread_distances(
        distance, jnp.array([1.0, 2.0, 3.0]), channel, SpreadingNodes(5.0, 20.0), n_channels=3
    )
    np.testing.assert_allclose(node_weights.sum(axis=1), [1, 0, 5], atol=1e-6)


def test_a_pair_beyond_the_nodes_gives_nan_and_not_a_wrong_curve():
    nodes = SpreadingNodes(5.0, 20.0)
    assert np.isnan(spread_distances(jnp.array([2.0, 5.1]), jnp.ones(2), 0, nodes)).all()
    assert np.isfinite(spread_distances(jnp.array([2.0, 5.1]), jnp.array([1.0, 0.0]), 0, nodes)).all()
    far_positions = jnp.array([[0.0, 0, 0], [5.2, 0, 0]])
    channel_table = np.zeros((1, 1), np.int32)
    assert np.isnan(spread_positions(far_positions, np.ones(2, bool), jnp.zeros(2, int), channel_table, nodes)).all()


@pytest.mark.parametrize("atoms", [30, 129, 300])
def test_blocks_of_positions_are_all_pairs(atoms, x64):
    """The test covers one, two and three blocks, two kinds, padding, and two atoms at one position."""
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(atoms, 3)) * 3
    positions[1] = positions[0]
    atom_kinds, mask = rng.integers(0, 2, atoms), np.arange(atoms) < atoms - 5
    channel_table = np.array([[0, 1], [1, 2]], np.int32)
    nodes = SpreadingNodes(30.0, 20.0)
    block_weights = spread_positions(jnp.asarray(positions), mask, jnp.asarray(atom_kinds), channel_table, nodes)
    first_atom, second_atom = np.triu_indices(atoms - 5, 1)
    distance = np.linalg.norm(positions[first_atom] - positions[second_atom], axis=1)
    channel = jnp.asarray(channel_table[atom_kinds[first_atom], atom_kinds[second_atom]])
    pair_weights = spread_distances(jnp.asarray(distance), jnp.full(first_atom.size, 2.0), channel, nodes, n_channels=3)
    np.testing.assert_allclose(block_weights, pair_weights, atol=1e-9)


def test_pairs_and_blocks_have_the_same_gradient_and_pushforward(x64):
    rng = np.random.default_rng(0)
    positions, position_change = jnp.asarray(rng.normal(size=(2, 140, 3)) * 3)
    nodes = SpreadingNodes(30.0, 20.0)
    node_factors = jnp.asarray(rng.normal(size=nodes.distances.size))
    first_atom, second_atom = np.triu_indices(140, 1)

    def pair_sum(x):
        distance = jnp.linalg.norm(x[first_atom] - x[second_atom], axis=1)
        return node_factors @ spread_distances(distance, jnp.full(first_atom.size, 2.0), 0, nodes)[0]

    def block_sum(x):
        channel_table = np.zeros((1, 1), np.int32)
        return node_factors @ spread_positions(x, np.ones(140, bool), jnp.zeros(140, int), channel_table, nodes)[0]

    pair_gradient, block_gradient = (
        jax.jit(jax.grad(sum_function))(positions) for sum_function in (pair_sum, block_sum)
    )
    np.testing.assert_allclose(block_gradient, pair_gradient, atol=1e-8 * np.abs(pair_gradient).max())
    assert np.abs(pair_gradient).max() > 1
    pushforward = jax.jit(lambda x, tangent: jax.jvp(block_sum, (x,), (tangent,))[1])(positions, position_change)
    assert float(pushforward) == pytest.approx(float(jnp.vdot(pair_gradient, position_change)), rel=1e-8)
