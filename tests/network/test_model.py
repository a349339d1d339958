from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.network import model
from jaxstruc.network.config import Sizes
from jaxstruc.network.model import CVAE, Gaussian
from jaxstruc.network.representation import Features

SIZES = Sizes(latent=2, atoms=20, satellites=4, points=301)


@pytest.fixture(scope="module")
def batch():
    key = jax.random.split(jax.random.key(0), 4)
    features = Features(
        pair=jax.random.uniform(key[0], (3, 20, 20)),
        satellite=jax.random.uniform(key[1], (3, 20, 4)),
        presence=jnp.arange(20) < jnp.array([[20], [12], [5]]),
        radius=jnp.ones(3),
    )
    return features, jax.random.normal(key[2], (3, 301)), key[3]


@pytest.fixture(scope="module")
def network(drawn_params):
    module = CVAE(SIZES)
    return module, drawn_params(module, seed=1)


apply = jax.jit(lambda module, *given: module.apply(*given), static_argnums=0)


def test_layers_are_the_papers(network):
    _, params = network
    shapes = {name: jax.tree.map(jnp.shape, tree) for name, tree in params["params"].items()}
    prior = shapes["prior_network"]
    assert prior["GatedDense_0"]["Dense_0"]["kernel"] == (301, 2 * 48)
    assert prior["GatedDense_1"]["Dense_0"]["kernel"] == (48, 2 * 24)
    assert prior["Dense_0"]["kernel"] == (24, 4)
    assert [shapes["encoder"][f"Dense_{i}"]["kernel"][1] for i in range(4)] == [384, 256, 128, 4]
    assert [shapes["decoder"][f"Dense_{i}"]["kernel"][1] for i in range(4)] == [128, 256, 384, 512]
    assert shapes["decoder"]["Dense_4"]["kernel"][1] == 20 * 19 // 2 + 20 * 4 + 20 + 1


def test_decoded_distances_are_symmetric_with_a_zero_diagonal(network, batch):
    module, params = network
    decoded, _, _ = apply(module, params, *batch)
    np.testing.assert_array_equal(decoded.pair, jnp.swapaxes(decoded.pair, 1, 2))
    assert not jnp.diagonal(decoded.pair, axis1=1, axis2=2).any()
    assert decoded.satellite.shape == (3, 20, 4) and decoded.presence.shape == (3, 20)
    assert decoded.log_radius.shape == (3,)


def test_the_deterministic_model_has_the_same_layers_and_no_draws(network, batch):
    module, params = network
    plain = CVAE(replace(SIZES, stochastic=False))
    features, pdf, key = batch
    one, two = (apply(plain, params, features, pdf, k)[0].pair for k in (key, jax.random.key(9)))
    np.testing.assert_array_equal(one, two)
    drawn = apply(module, params, features, pdf, jax.random.key(9))[0].pair
    assert np.abs(drawn - one).max() > 1e-3


def test_the_penalty_is_the_squared_distance_of_the_means():
    one, two = (Gaussian(jnp.array(mean), jnp.zeros(2)) for mean in ([1.0, 2.0], [4.0, -2.0]))
    assert float(model.squared_distance(one, two)) == pytest.approx(25.0)


def test_padding_does_not_reach_the_latent_density(network, batch):
    module, params = network
    features, pdf, key = batch
    absent = ~features.presence
    changed = features._replace(satellite=features.satellite + 9.0 * absent[..., None])
    one, two = (apply(module, params, given, pdf, key)[1].mean for given in (features, changed))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_the_latent_density_is_of_the_mean_atom_not_of_their_number(network):
    """Atoms that are all alike, under a PDF of nothing: five of them say what twenty say."""
    module, params = network
    presence = jnp.arange(20) < jnp.array([[20], [5], [1]])
    alike = Features(jnp.full((3, 20, 20), 0.5), jnp.full((3, 20, 4), 0.7), presence, jnp.full(3, 9.0))
    mean = apply(module, params, alike, jnp.zeros((3, 301)), jax.random.key(0))[1].mean
    assert np.abs(mean).max() > 1e-2
    np.testing.assert_allclose(mean, np.tile(mean[:1], (3, 1)), rtol=1e-4)


def test_the_prior_does_not_see_the_structure(network, batch):
    module, params = network
    features, pdf, key = batch
    other = features._replace(pair=features.pair + 1.0, radius=2 * features.radius, presence=~features.presence)
    (_, seen, prior), (_, unlike, again) = (apply(module, params, given, pdf, key) for given in (features, other))
    chex.assert_trees_all_equal(prior, again)
    assert np.abs(seen.mean - unlike.mean).max() > 1e-3
    alone = jax.jit(lambda params, pdf: module.apply(params, pdf, method=CVAE.prior))(params, pdf)
    chex.assert_trees_all_close(prior, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("atoms", [7, 100])
def test_a_structure_of_any_size_gets_the_pdf_at_each_node(atoms, drawn_params):
    module = CVAE(Sizes(latent=2, atoms=atoms, satellites=4))
    params = drawn_params(module)
    features = Features(jnp.zeros((1, atoms, atoms)), jnp.zeros((1, atoms, 4)), jnp.ones((1, atoms), bool), jnp.ones(1))
    own = jax.jit(lambda x, seen: module.apply(
        params, features._replace(presence=seen[None]), x, method=CVAE.encode).mean.sum())  # fmt: skip
    nodes = jnp.eye(atoms, dtype=bool)[jnp.array([0, atoms // 2, atoms - 1])]
    slopes = jax.jit(jax.vmap(jax.grad(own), (None, 0)))(jnp.ones((1, 301)), nodes)
    assert (jnp.abs(slopes).max(axis=(1, 2)) > 0).all()


def test_the_divergence_is_that_of_a_sampled_estimate():
    a = Gaussian(jnp.array([0.3, -1.0]), jnp.array([0.2, -0.5]))
    b = Gaussian(jnp.array([0.0, -0.5]), jnp.array([-0.3, 0.4]))
    draws = jax.vmap(lambda key: model.sample(a, key))(jax.random.split(jax.random.key(0), 200_000))

    def log_density(density):
        return -0.5 * jnp.sum((draws - density.mean) ** 2 / jnp.exp(density.log_variance) + density.log_variance, -1)

    estimate = jnp.mean(log_density(a) - log_density(b))
    assert float(model.divergence(a, b)) == pytest.approx(float(estimate), abs=0.02)
    assert float(model.divergence(a, a)) == pytest.approx(0.0, abs=1e-6)
