import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.scattering import sincos


@pytest.mark.parametrize("max_x", [3.0, 1e3, 1e4])
def test_fast_sine_and_cosine_are_those_of_numpy(max_x):
    x = np.random.default_rng(0).uniform(-max_x, max_x, 20000).astype(np.float32)
    sine, cosine = sincos.sine_and_cosine(jnp.asarray(x))
    np.testing.assert_allclose(sine, np.sin(x.astype(float)), atol=4e-7)
    np.testing.assert_allclose(cosine, np.cos(x.astype(float)), atol=4e-7)


def test_sine_and_cosine_are_the_derivatives_of_each_other():
    x = jnp.linspace(0.1, 40.0, 500)
    slopes = [
        jax.vmap(jax.grad(lambda x, component=component: sincos.sine_and_cosine(x)[component]))(x)
        for component in (0, 1)
    ]
    np.testing.assert_allclose(slopes[0], np.cos(np.asarray(x, float)), atol=1e-5)
    np.testing.assert_allclose(slopes[1], -np.sin(np.asarray(x, float)), atol=1e-5)


def test_double_precision_stays_double(x64):
    x = jnp.linspace(0.0, 500.0, 1000)
    np.testing.assert_allclose(sincos.sine_and_cosine(x), [np.sin(x), np.cos(x)], atol=1e-13)
