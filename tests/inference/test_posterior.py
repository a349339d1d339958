import numpy as np
import pytest

from jaxstruc.inference import posterior


def test_weights_are_relative_likelihoods():
    found = posterior.weights(np.array([0.11, 0.10, np.nan, 0.2]), 54.0, 4)
    assert found.sum() == pytest.approx(1) and found[2] == 0 and np.argmax(found) == 1
    assert found[0] / found[1] == pytest.approx(1.1**-50)
    np.testing.assert_allclose(posterior.weights(np.array([0.0, 0.3]), 50.0, 4), [1, 0], atol=1e-12)


def test_the_credible_set_is_the_smallest_with_its_share():
    weight = np.array([0.05, 0.5, 0.15, 0.3])
    assert posterior.credible(weight).tolist() == [False, True, True, True]
    assert posterior.credible(weight, 0.5).tolist() == [False, True, False, False]
    assert posterior.credible(weight / 2, 0.7).tolist() == [False, True, False, True]


def test_noise_within_the_band_has_as_many_independent_points_as_the_data():
    """White noise on F(Q) up to qmax; on grids of two steps, since a finer one tells nothing more."""
    rng = np.random.default_rng(0)
    q = np.linspace(0, 22.0, 900)
    for step in (0.01, 0.04):
        r = np.arange(1.5, 20, step)
        most = (r[-1] - r[0]) * 22.0 / np.pi
        noise = rng.normal(size=(20, q.size)) @ np.sin(r[:, None] * q).T
        found = [posterior.effective_points(one, most) for one in noise]
        assert np.mean(found) == pytest.approx(most, rel=0.25)
        assert max(found) <= most


def test_a_slow_misfit_counts_for_few_points():
    rng = np.random.default_rng(0)
    r = np.arange(1.5, 20, 0.02)
    slow = np.sin(2 * np.pi * r / 9) + 0.1 * rng.normal(size=r.size)
    assert posterior.effective_points(slow, 130.0) < 30
    assert np.isfinite(posterior.effective_points(np.zeros(100), 30.0))
