import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxstruc.network import classifier
from jaxstruc.network.classifier import Classifier, Mixture
from jaxstruc.network.endless import POINTS, TOLD, VALUES, Truths
from jaxstruc.structures.cuts import TYPES

RNG = np.random.default_rng(0)
SMALL = Classifier(channels=(4, 4), blocks=(0, 1), width=8, components=3)
TRUE = np.array([[120.0, 6.0, 0.1, 0.4, 1.2, 1.01]])


def mixture(count=1, components=3):
    """One drawn at random."""
    shape = count, components
    return Mixture(
        jax.nn.log_softmax(jnp.asarray(RNG.normal(size=shape))),
        jax.nn.log_softmax(jnp.asarray(RNG.normal(size=(*shape, len(TYPES))))),
        jnp.asarray(RNG.normal(size=(*shape, len(VALUES)))),
        jnp.asarray(RNG.uniform(0.2, 1.0, size=(*shape, len(VALUES)))),
        jnp.asarray(RNG.normal(size=count)),
    )


def test_coordinates_are_turned_back():
    np.testing.assert_allclose(classifier.values(classifier.coordinates(jnp.asarray(TRUE))), TRUE, rtol=1e-5)


def test_the_density_is_the_sum_written_out(x64):
    own, values = mixture(), classifier.coordinates(jnp.asarray(TRUE))
    slow = 0.0
    for k in range(3):
        each = stats.norm.pdf(values[0], own.mean[0, k], own.deviation[0, k]).prod()
        slow += np.exp(own.weight[0, k] + own.type[0, k, 4]) * each
    found = classifier.log_density(own, Truths(jnp.array([4]), jnp.asarray(TRUE)))
    np.testing.assert_allclose(found[0], np.log(slow), rtol=1e-9)


def test_what_is_not_known_is_left_out_with_finite_gradients(x64):
    """Without type and aspect the density is that of the other numbers; its slope in what is left out is 0, not NaN."""
    own = mixture()
    some = jnp.asarray(TRUE).at[0, 4].set(jnp.nan)

    def density(mean):
        return classifier.log_density(own._replace(mean=mean), Truths(jnp.array([-1]), some))[0]

    slope = jax.grad(density)(own.mean)
    assert bool(jnp.isfinite(slope).all()) and float(jnp.abs(slope[..., 4]).max()) == 0
    assert float(jnp.abs(slope[..., :4]).min()) > 0
    whole = classifier.log_density(own, Truths(jnp.array([0]), jnp.asarray(TRUE)))[0]
    assert density(own.mean) != pytest.approx(float(whole))


def test_draws_follow_the_mixture():
    own = mixture(count=2)
    types, values = classifier.drawn(jax.random.key(0), own, 20_000)
    for row in range(2):
        share = np.bincount(types[:, row], minlength=len(TYPES)) / 20_000
        np.testing.assert_allclose(share, classifier.types(own)[row], atol=0.015)
        drawn = np.asarray(classifier.coordinates(values[:, row]))
        mean = (np.exp(own.weight[row])[:, None] * own.mean[row]).sum(axis=0)
        np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.04)


def test_probabilities_sum_to_one_whatever_the_input():
    empty = jnp.zeros((2, POINTS)), jnp.zeros((2, POINTS), bool), jnp.zeros((2, len(TOLD)))
    params = SMALL.init(jax.random.key(0), *empty)
    found = SMALL.apply(params, empty[0] + 1e3, *empty[1:])
    np.testing.assert_allclose(classifier.types(found).sum(axis=1), 1, rtol=1e-5)
    assert bool(jnp.isfinite(found.mean).all()) and float(found.deviation.min()) > 0


def test_the_one_that_is_trained_has_at_most_two_million_parameters():
    empty = jnp.zeros((1, POINTS)), jnp.zeros((1, POINTS), bool), jnp.zeros((1, len(TOLD)))
    params = jax.eval_shape(Classifier().init, jax.random.key(0), *empty)
    assert 3e5 < sum(leaf.size for leaf in jax.tree.leaves(params)) <= 2e6
