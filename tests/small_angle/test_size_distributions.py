from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.small_angle import size_distributions

LOG_RADIUS = np.linspace(np.log(5.0), np.log(120.0), 400)


@partial(jax.jit, static_argnums=0)
def volume_shares(name, mean, width):
    return size_distributions.DISTRIBUTION_SHAPES[name].volume_shares(mean, width, jnp.asarray(LOG_RADIUS))


def volume_fractions(name, mean=35.0, width=0.15):
    with jax.enable_x64(True):
        return np.asarray(volume_shares(name, mean, width))


@pytest.mark.parametrize("name", ["gaussian", "lognormal", "schulz", "uniform"])
def test_mean_and_width_by_number_are_those_asked_for(name):
    moments = size_distributions.moments(volume_fractions(name), np.exp(LOG_RADIUS))
    assert moments.mean == pytest.approx(35.0, rel=1e-6) and moments.width == pytest.approx(0.15, rel=2e-5)


DISTRIBUTION_NAMES = ("gaussian", "lognormal", "schulz", "uniform")


def density(name, ratio, pd):
    """Return the number density over R / mean from its definition, not normalised."""
    if name == "gaussian":
        return np.exp(-((ratio - 1) ** 2) / (2 * pd**2))
    if name == "lognormal":
        log_variance = np.log(1 + pd**2)
        return np.exp(-((np.log(ratio) + log_variance / 2) ** 2) / (2 * log_variance)) / ratio
    if name == "schulz":
        return np.exp((1 / pd**2 - 1) * np.log(ratio) - (ratio - 1) / pd**2)
    return 1.0 * (np.abs(ratio - 1) < np.sqrt(3) * pd)


def fine_number_distribution(name, pd, points=200_001):
    """Return R / mean and number weights of many points that are equally spaced in R."""
    half_range = {"uniform": np.sqrt(3)}.get(name, 40.0) * pd
    low, high = max(1e-9, 1 - half_range), 1 + half_range
    ratio = low + (high - low) * (np.arange(points) + 0.5) / points
    weight = density(name, ratio, pd)
    return ratio, weight / weight.sum()


@pytest.mark.parametrize(
    ("name", "pd"),
    [
        (name, pd)
        for name in DISTRIBUTION_NAMES
        for pd in (0.01, 0.06, 0.2, 0.34, 0.5)
        if (name, pd) != ("gaussian", 0.5)
    ],
)
def test_mean_and_pd_are_by_number_for_every_distribution(name, pd, x64):
    """Check the nodes of simulations. The Gaussian is truncated at R = 0, which raises its mean by up to 0.2 %."""
    sizes = size_distributions.size_distribution(name, 35.0, pd, qmax=0.5)
    moments = size_distributions.moments(sizes.volume_fraction, sizes.radius)
    ratio, weight = fine_number_distribution(name, pd)
    mean = weight @ ratio
    assert moments.mean == pytest.approx(35.0 * mean, rel=1e-5)
    assert moments.width == pytest.approx(np.sqrt(weight @ (ratio - mean) ** 2) / mean, rel=1e-4)
    cut_tolerance = 5e-3 if name == "gaussian" and pd > 0.2 else 2e-5
    assert moments.mean == pytest.approx(35.0, rel=cut_tolerance) and moments.width == pytest.approx(
        pd, rel=4 * cut_tolerance
    )


@pytest.mark.parametrize("name", DISTRIBUTION_NAMES)
def test_means_by_volume_are_those_of_a_fine_sum(name, x64):
    ratio, weight = fine_number_distribution(name, 0.15)
    moments = size_distributions.moments(volume_fractions(name), np.exp(LOG_RADIUS))
    weight = weight * ratio**3 / (weight @ ratio**3)
    mean = weight @ ratio
    assert moments.volume_weighted_mean == pytest.approx(35.0 * mean, rel=1e-5)
    assert moments.volume_weighted_width == pytest.approx(np.sqrt(weight @ (ratio - mean) ** 2) / mean, rel=1e-4)


def test_a_distribution_without_width_is_one_size():
    sizes = size_distributions.size_distribution("schulz", 35.0, 0.0, qmax=0.5)
    assert sizes.radius.tolist() == [35.0] and sizes.volume_fraction.tolist() == [1.0]


def test_numbers_become_volume_fractions_and_back():
    sizes = size_distributions.distribution_by_number(np.array([10.0, 20.0]), np.array([8.0, 1.0]))
    np.testing.assert_allclose(sizes.volume_fraction, [0.5, 0.5])
    np.testing.assert_allclose(sizes.number_fraction, [8 / 9, 1 / 9], rtol=1e-6)


def test_sasmodels_lognormal_is_given_by_its_median():
    """Fine nodes of the lognormal with this median have its moments, except for the truncation in sasmodels."""
    mean, pd = 50.0, 0.1
    median, sigma = size_distributions.median_and_sigma(mean, pd)
    assert median == pytest.approx(mean / np.sqrt(1 + pd**2)) and sigma == pytest.approx(np.sqrt(np.log(1 + pd**2)))
    sizes = size_distributions.sasmodels_distribution("lognormal", median, sigma)
    moments = size_distributions.moments(sizes.volume_fraction, sizes.radius)
    assert moments.mean == pytest.approx(mean, rel=1e-5) and moments.width == pytest.approx(pd, rel=1e-3)
    shifted_sizes = size_distributions.sasmodels_distribution("lognormal", mean, pd)
    assert size_distributions.moments(shifted_sizes.volume_fraction, shifted_sizes.radius).mean > mean * (
        1 + 0.4 * pd**2
    )


def test_sasmodels_nodes_lose_what_they_are_known_to_lose(x64):
    """Compare I(0), which is the sixth moment of R over the third."""
    for name, pd, intensity_loss in [("gaussian", 0.2, -0.009), ("lognormal", 0.5, -0.38)]:
        sizes = size_distributions.sasmodels_distribution(name, 50.0, pd)
        mean = 50.0 if name == "gaussian" else 50.0 * np.exp(pd**2 / 2)
        width = pd if name == "gaussian" else np.sqrt(np.expm1(pd**2))
        full_sizes = size_distributions.size_distribution(name, mean, width, qmax=0.5)
        ratio = (sizes.volume_fraction @ sizes.radius**3) / (full_sizes.volume_fraction @ full_sizes.radius**3)
        assert ratio - 1 == pytest.approx(intensity_loss, abs=1e-3)
    assert len(size_distributions.sasmodels_distribution("gaussian", 50.0, 0.1).radius) == 35
    assert len(size_distributions.sasmodels_distribution("schulz", 50.0, 0.1).radius) == 80
    assert size_distributions.sasmodels_distribution("lognormal", 50.0, 0.5).radius.min() > 0


def test_a_narrow_gaussian_stays_right_down_to_the_minimum_width():
    min_width = size_distributions.MIN_WIDTH * (LOG_RADIUS[1] - LOG_RADIUS[0])
    moments = size_distributions.moments(volume_fractions("gaussian", width=min_width), np.exp(LOG_RADIUS))
    assert moments.width == pytest.approx(min_width, rel=1e-3)


def test_one_size_is_interpolated_between_nodes():
    fractions = volume_fractions("none", mean=33.3)
    assert size_distributions.moments(fractions, np.exp(LOG_RADIUS)).mean == pytest.approx(33.3, rel=1e-5)
    assert np.count_nonzero(fractions) == 4 and fractions.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["gaussian", "lognormal", "schulz", "uniform"])
def test_slopes_are_finite_right_and_not_zero(name):
    with jax.enable_x64(True):
        sine = jnp.sin(jnp.exp(jnp.asarray(LOG_RADIUS)) / 3)

        def weighted_sum(mean, width):
            return volume_shares(name, mean, width) @ sine

        slopes = jax.jit(jax.grad(weighted_sum, argnums=(0, 1)))(35.0, 0.15)
        step = 1e-5
        shifted_sums = [
            (weighted_sum(35.0 + step, 0.15), weighted_sum(35.0 - step, 0.15)),
            (weighted_sum(35.0, 0.15 + step), weighted_sum(35.0, 0.15 - step)),
        ]
    for slope, (sum_above, sum_below) in zip(slopes, shifted_sums, strict=True):
        assert abs(float(slope)) > 1e-4 and float(slope) == pytest.approx(
            float(sum_above - sum_below) / 2 / step, rel=1e-3
        )
