import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.network.classifier import model as classifier
from jaxstruc.network.classifier.model import Classifier, MixtureDensity
from jaxstruc.network.classifier.simulated_pdfs import N_POINTS, SETTING_NAMES, VALUE_NAMES, TrueLabels

RNG = np.random.default_rng(0)
SMALL_CLASSIFIER = Classifier(channels=(4, 4), blocks=(0, 1), width=8, components=3)
draw_samples = jax.jit(classifier.draw_samples, static_argnums=2)
log_density = jax.jit(classifier.log_density)
TRUE_VALUES = np.array([[120.0, 6.0, 0.1, 0.4, 1.2, 1.01]])


def random_density(n_densities=1, components=3):
    """Return a random mixture density."""
    shape = n_densities, components
    return MixtureDensity(
        jax.nn.log_softmax(jnp.asarray(RNG.normal(size=shape))),
        jax.nn.log_softmax(jnp.asarray(RNG.normal(size=(*shape, len(STRUCTURE_TYPES))))),
        jnp.asarray(RNG.normal(size=(*shape, len(VALUE_NAMES)))),
        jnp.asarray(RNG.uniform(0.2, 1.0, size=(*shape, len(VALUE_NAMES)))),
        jnp.asarray(RNG.normal(size=n_densities)),
    )


def test_coordinates_give_their_values_back():
    np.testing.assert_allclose(
        classifier.values_from_coordinates(classifier.coordinates_from_values(jnp.asarray(TRUE_VALUES))),
        TRUE_VALUES,
        rtol=1e-5,
    )


def test_the_density_is_the_sum_written_out(x64):
    density, coordinates = random_density(), classifier.coordinates_from_values(jnp.asarray(TRUE_VALUES))
    density_sum = 0.0
    for component in range(3):
        component_density = stats.norm.pdf(
            coordinates[0], density.mean[0, component], density.standard_deviation[0, component]
        ).prod()
        density_sum += (
            np.exp(density.log_weight[0, component] + density.log_type_probability[0, component, 4]) * component_density
        )
    log_densities = log_density(density, TrueLabels(jnp.array([4]), jnp.asarray(TRUE_VALUES)))
    np.testing.assert_allclose(log_densities[0], np.log(density_sum), rtol=1e-9)


def test_unknown_values_are_left_out_with_finite_gradients(x64):
    """Without type and aspect the density is that of the other values. Its gradient in the others is 0, not NaN."""
    mixture_density = random_density()
    partial_values = jnp.asarray(TRUE_VALUES).at[0, 4].set(jnp.nan)

    def partial_log_density(mean):
        return log_density(mixture_density._replace(mean=mean), TrueLabels(jnp.array([-1]), partial_values))[0]

    gradient = jax.jit(jax.grad(partial_log_density))(mixture_density.mean)
    assert bool(jnp.isfinite(gradient).all()) and float(jnp.abs(gradient[..., 4]).max()) == 0
    assert float(jnp.abs(gradient[..., :4]).min()) > 0
    full_log_density = log_density(mixture_density, TrueLabels(jnp.array([0]), jnp.asarray(TRUE_VALUES)))[0]
    assert partial_log_density(mixture_density.mean) != pytest.approx(float(full_log_density))


def test_draws_follow_the_mixture():
    density = random_density(n_densities=2)
    type_indices, values = draw_samples(jax.random.key(0), density, 20_000)
    for row in range(2):
        type_fractions = np.bincount(type_indices[:, row], minlength=len(STRUCTURE_TYPES)) / 20_000
        np.testing.assert_allclose(type_fractions, classifier.type_probabilities(density)[row], atol=0.015)
        drawn_coordinates = np.asarray(classifier.coordinates_from_values(values[:, row]))
        mean = (np.exp(density.log_weight[row])[:, None] * density.mean[row]).sum(axis=0)
        np.testing.assert_allclose(drawn_coordinates.mean(axis=0), mean, atol=0.04)


def test_probabilities_sum_to_one_whatever_the_input():
    empty_input = jnp.zeros((2, N_POINTS)), jnp.zeros((2, N_POINTS), bool), jnp.zeros((2, len(SETTING_NAMES)))
    leaf_structs = jax.eval_shape(SMALL_CLASSIFIER.init, jax.random.key(0), *empty_input)
    params = jax.tree.map(lambda leaf: jnp.asarray(RNG.normal(scale=0.2, size=leaf.shape), leaf.dtype), leaf_structs)
    density = jax.jit(SMALL_CLASSIFIER.apply)(params, empty_input[0] + 1e3, *empty_input[1:])
    np.testing.assert_allclose(classifier.type_probabilities(density).sum(axis=1), 1, rtol=1e-5)
    assert bool(jnp.isfinite(density.mean).all()) and float(density.standard_deviation.min()) > 0


def test_the_trained_classifier_has_at_most_two_million_parameters():
    empty_input = jnp.zeros((1, N_POINTS)), jnp.zeros((1, N_POINTS), bool), jnp.zeros((1, len(SETTING_NAMES)))
    params = jax.eval_shape(Classifier().init, jax.random.key(0), *empty_input)
    assert 3e5 < sum(leaf.size for leaf in jax.tree.leaves(params)) <= 2e6
