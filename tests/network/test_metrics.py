import jax.numpy as jnp
import pytest

from jaxstruc import metrics


def test_rw_is_zero_for_a_perfect_fit_and_one_for_none():
    g, w = jnp.array([1.0, -2.0, 3.0]), jnp.ones(3)
    assert float(metrics.rw(g, g, w)) == 0.0
    assert float(metrics.rw(g, 0 * g, w)) == pytest.approx(1.0)
    assert float(metrics.rw(g, 0.5 * g, w)) == pytest.approx(0.5)


def test_points_without_weight_do_not_count():
    observed, calculated = jnp.array([1.0, 2.0, 100.0]), jnp.array([1.0, 1.0, 0.0])
    assert float(metrics.rw(observed, calculated, jnp.array([1.0, 1.0, 0.0]))) == pytest.approx((1 / 5) ** 0.5)
