import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.inference import shares
from jaxstruc.scattering import sizes

U = np.linspace(np.log(5.0), np.log(120.0), 400)


def of(name, mean=35.0, width=0.15):
    with jax.enable_x64(True):
        return np.asarray(shares.FAMILIES[name].shares(mean, width, jnp.asarray(U)))


@pytest.mark.parametrize("name", ["gaussian", "lognormal", "schulz", "uniform"])
def test_mean_and_width_by_number_are_those_asked_for(name):
    own = shares.sizes(of(name), np.exp(U))
    assert own.mean == pytest.approx(35.0, rel=1e-6) and own.width == pytest.approx(0.15, rel=2e-5)


@pytest.mark.parametrize("name", ["gaussian", "schulz", "uniform"])
def test_means_by_volume_are_those_of_the_nodes_of_sizes(name):
    with jax.enable_x64(True):
        other = sizes.moments(sizes.DISTRIBUTIONS[name](jnp.float64(35.0), jnp.float64(0.15)))
    own = shares.sizes(of(name), np.exp(U))
    assert own.mean_volume == pytest.approx(float(other.volume_mean), rel=1e-5)
    assert own.width_volume == pytest.approx(float(other.volume_pd), rel=1e-4)


def test_a_narrow_gaussian_stays_right_down_to_the_least_width():
    least = shares.NARROWEST * (U[1] - U[0])
    own = shares.sizes(of("gaussian", width=least), np.exp(U))
    assert own.width == pytest.approx(least, rel=1e-3)


def test_one_size_is_interpolated_between_nodes():
    share = of("none", mean=33.3)
    assert shares.sizes(share, np.exp(U)).mean == pytest.approx(33.3, rel=1e-5)
    assert np.count_nonzero(share) == 4 and share.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["gaussian", "lognormal", "schulz", "uniform"])
def test_slopes_are_finite_right_and_not_zero(name):
    with jax.enable_x64(True):
        wave = jnp.sin(jnp.exp(jnp.asarray(U)) / 3)

        def value(mean, width):
            return shares.FAMILIES[name].shares(mean, width, jnp.asarray(U)) @ wave

        slopes = jax.grad(value, argnums=(0, 1))(35.0, 0.15)
        step = 1e-5
        steps = [
            (value(35.0 + step, 0.15), value(35.0 - step, 0.15)),
            (value(35.0, 0.15 + step), value(35.0, 0.15 - step)),
        ]
    for slope, (up, down) in zip(slopes, steps, strict=True):
        assert abs(float(slope)) > 1e-4 and float(slope) == pytest.approx(float(up - down) / 2 / step, rel=1e-3)
