import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.statistics import rounding_of_squares, squares_floor


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("deviation", [1.0, 1e-3, 0.0])
def test_no_rounded_data_change_the_squares_by_more_than_the_bound(dtype, deviation):
    """Data whose last bit is wrong, in exact arithmetic: long doubles."""
    rng, epsilon = np.random.default_rng(0), np.finfo(dtype).eps
    data = rng.normal(size=200).astype(np.longdouble)
    model = data + deviation * rng.normal(size=200)
    squares = np.sum((data - model) ** 2)
    with jax.enable_x64(dtype == np.float64):
        bound = float(rounding_of_squares(jnp.asarray(squares, dtype), jnp.asarray(np.sum(data**2), dtype)))
    largest_change = np.sum((np.abs(data - model) + epsilon * np.abs(data)) ** 2) - squares
    assert 0 < largest_change <= bound * (1 + 1e-5)


def test_the_floor_is_what_rounded_data_leave():
    data = np.random.default_rng(0).normal(size=100)
    squares = np.sum((np.float64(np.float32(data)) - data) ** 2)
    assert 0 < squares <= float(squares_floor(jnp.asarray(np.sum(data**2), jnp.float32)))
