from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.network.cvae import model
from jaxstruc.network.cvae.model import CVAE, Gaussian, ModelSizes
from jaxstruc.network.cvae.representation import Features

SIZES = ModelSizes(latent=2, atoms=20, satellites=4, points=301)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    features = Features(
        pair=jnp.asarray(rng.uniform(size=(3, 20, 20)), jnp.float32),
        satellite=jnp.asarray(rng.uniform(size=(3, 20, 4)), jnp.float32),
        presence=jnp.arange(20) < jnp.array([[20], [12], [5]]),
        radius=jnp.ones(3),
    )
    return features, jnp.asarray(rng.normal(size=(3, 301)), jnp.float32), jax.random.key(0)


@pytest.fixture(scope="module")
def network(random_params):
    module = CVAE(SIZES)
    return module, random_params(module, seed=1)


apply_model = jax.jit(lambda module, *arguments: module.apply(*arguments), static_argnums=0)


def test_layers_are_the_papers(network):
    _, params = network
    layer_shapes = {name: jax.tree.map(jnp.shape, tree) for name, tree in params["params"].items()}
    prior_shapes = layer_shapes["prior_network"]
    assert prior_shapes["GatedDense_0"]["Dense_0"]["kernel"] == (301, 2 * 48)
    assert prior_shapes["GatedDense_1"]["Dense_0"]["kernel"] == (48, 2 * 24)
    assert prior_shapes["Dense_0"]["kernel"] == (24, 4)
    assert [layer_shapes["encoder"][f"Dense_{layer}"]["kernel"][1] for layer in range(4)] == [384, 256, 128, 4]
    assert [layer_shapes["decoder"][f"Dense_{layer}"]["kernel"][1] for layer in range(4)] == [128, 256, 384, 512]
    assert layer_shapes["decoder"]["Dense_4"]["kernel"][1] == 20 * 19 // 2 + 20 * 4 + 20 + 1


def test_decoded_distances_are_symmetric_with_a_zero_diagonal(network, batch):
    module, params = network
    decoded, _, _ = apply_model(module, params, *batch)
    np.testing.assert_array_equal(decoded.pair, jnp.swapaxes(decoded.pair, 1, 2))
    assert not jnp.diagonal(decoded.pair, axis1=1, axis2=2).any()
    assert decoded.satellite.shape == (3, 20, 4) and decoded.presence.shape == (3, 20)
    assert decoded.log_radius.shape == (3,)


def test_the_deterministic_model_has_the_same_layers_and_no_draws(network, batch):
    module, params = network
    deterministic_network = CVAE(replace(SIZES, stochastic=False))
    features, pdf, key = batch
    distances, repeated_distances = (
        apply_model(deterministic_network, params, features, pdf, draw_key)[0].pair
        for draw_key in (key, jax.random.key(9))
    )
    np.testing.assert_array_equal(distances, repeated_distances)
    drawn_distances = apply_model(module, params, features, pdf, jax.random.key(9))[0].pair
    assert np.abs(drawn_distances - distances).max() > 1e-3


def test_the_penalty_is_the_squared_distance_of_the_means():
    posterior, prior = (Gaussian(jnp.array(mean), jnp.zeros(2)) for mean in ([1.0, 2.0], [4.0, -2.0]))
    assert float(model.squared_mean_distance(posterior, prior)) == pytest.approx(25.0)


def test_padding_does_not_reach_the_latent_density(network, batch):
    module, params = network
    features, pdf, key = batch
    is_absent = ~features.presence
    changed_features = features._replace(satellite=features.satellite + 9.0 * is_absent[..., None])
    latent_mean, changed_mean = (
        apply_model(module, params, input_features, pdf, key)[1].mean for input_features in (features, changed_features)
    )
    np.testing.assert_allclose(latent_mean, changed_mean, atol=1e-6)


def test_the_latent_density_depends_on_the_mean_atom_not_on_their_number(network):
    """Five identical atoms have the same latent density as twenty of them, given an empty PDF."""
    module, params = network
    presence = jnp.arange(20) < jnp.array([[20], [5], [1]])
    uniform_features = Features(jnp.full((3, 20, 20), 0.5), jnp.full((3, 20, 4), 0.7), presence, jnp.full(3, 9.0))
    latent_means = apply_model(module, params, uniform_features, jnp.zeros((3, 301)), jax.random.key(0))[1].mean
    assert np.abs(latent_means).max() > 1e-2
    np.testing.assert_allclose(latent_means, np.tile(latent_means[:1], (3, 1)), rtol=1e-4)


def test_the_prior_does_not_depend_on_the_structure(network, batch):
    module, params = network
    features, pdf, key = batch
    other_features = features._replace(
        pair=features.pair + 1.0, radius=2 * features.radius, presence=~features.presence
    )
    (_, posterior, prior), (_, other_posterior, other_prior) = (
        apply_model(module, params, input_features, pdf, key) for input_features in (features, other_features)
    )
    chex.assert_trees_all_equal(prior, other_prior)
    assert np.abs(posterior.mean - other_posterior.mean).max() > 1e-3
    separate_prior = jax.jit(lambda params, pdf: module.apply(params, pdf, method=CVAE.prior))(params, pdf)
    chex.assert_trees_all_close(prior, separate_prior, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("atoms", [7, 100])
def test_a_structure_of_any_size_gets_the_pdf_at_each_node(atoms, random_params):
    module = CVAE(ModelSizes(latent=2, atoms=atoms, satellites=4))
    params = random_params(module)
    features = Features(jnp.zeros((1, atoms, atoms)), jnp.zeros((1, atoms, 4)), jnp.ones((1, atoms), bool), jnp.ones(1))
    encoded_sum = jax.jit(lambda pdf, presence: module.apply(
        params, features._replace(presence=presence[None]), pdf, method=CVAE.encode).mean.sum())  # fmt: skip
    nodes = jnp.eye(atoms, dtype=bool)[jnp.array([0, atoms // 2, atoms - 1])]
    slopes = jax.jit(jax.vmap(jax.grad(encoded_sum), (None, 0)))(jnp.ones((1, 301)), nodes)
    assert (jnp.abs(slopes).max(axis=(1, 2)) > 0).all()


def test_the_divergence_is_that_of_a_sampled_estimate():
    posterior = Gaussian(jnp.array([0.3, -1.0]), jnp.array([0.2, -0.5]))
    prior = Gaussian(jnp.array([0.0, -0.5]), jnp.array([-0.3, 0.4]))
    draw_samples = jax.jit(jax.vmap(lambda key: model.sample_latent(posterior, key)))
    latent_samples = draw_samples(jax.random.split(jax.random.key(0), 200_000))

    def log_density(density):
        return -0.5 * jnp.sum(
            (latent_samples - density.mean) ** 2 / jnp.exp(density.log_variance) + density.log_variance, -1
        )

    estimate = jnp.mean(log_density(posterior) - log_density(prior))
    assert float(model.kl_divergence(posterior, prior)) == pytest.approx(float(estimate), abs=0.02)
    assert float(model.kl_divergence(posterior, posterior)) == pytest.approx(0.0, abs=1e-6)


def test_the_sizes_are_those_of_the_paper():
    assert ModelSizes() == ModelSizes(latent=2, atoms=100, satellites=11, points=301, stochastic=True)
