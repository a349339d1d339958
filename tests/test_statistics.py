import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc import statistics


def test_quantiles_of_a_large_sample_are_those_of_its_distribution():
    """The draws are uniform, with equal weights and with weights that turn their density into 2x."""
    x = (np.arange(20_000) + 0.5) / 20_000
    shuffled_values = np.random.default_rng(0).permutation(x)
    np.testing.assert_allclose(statistics.quantiles(shuffled_values, (0.05, 0.5, 0.95)), [0.05, 0.5, 0.95], atol=1e-4)
    weighted_quantiles = statistics.quantiles(shuffled_values, (0.05, 0.5, 0.95), weight=3.0 * shuffled_values)
    np.testing.assert_allclose(weighted_quantiles, np.sqrt([0.05, 0.5, 0.95]), atol=1e-4)


def test_draws_of_equal_weight_are_within_half_a_rank_of_draws_without_weights():
    draws = np.random.default_rng(1).standard_normal((200, 3))
    sorted_draws = np.sort(draws, axis=0)
    plain_quantiles = statistics.quantiles(draws, statistics.CENTRAL_90)
    weighted_quantiles = statistics.quantiles(draws, statistics.CENTRAL_90, weight=np.full(200, 0.2))
    np.testing.assert_allclose(plain_quantiles, np.quantile(draws, [0.05, 0.95], axis=0))
    assert plain_quantiles.shape == weighted_quantiles.shape == (2, 3)
    assert np.all(sorted_draws[9] <= weighted_quantiles[0]) and np.all(weighted_quantiles[0] <= sorted_draws[10])
    np.testing.assert_allclose(weighted_quantiles[0], (sorted_draws[9] + sorted_draws[10]) / 2)


def test_an_integer_weight_stands_for_draws_repeated():
    values, weight = np.array([3.0, 1.0, 2.0]), np.array([250, 500, 250])
    repeated_values = np.repeat(values, weight)
    levels = (0.2, 0.6, 0.9)
    np.testing.assert_array_equal(
        statistics.discrete_quantiles(values, levels, weight=weight / 1000.0),
        np.quantile(repeated_values, levels, method="inverted_cdf"),
    )


def test_an_interval_contains_its_value():
    draws, weight = np.linspace(0, 1, 101), np.ones(101)
    interval = statistics.credible_interval(0.5, draws, weight=weight)
    assert (interval.low, interval.value, interval.high) == pytest.approx((4.55 / 100, 0.5, 95.45 / 100))
    assert statistics.credible_interval(-2.0, draws, weight=weight).low == -2.0
    assert statistics.credible_interval(3.0, draws, weight=weight).high == 3.0


def test_an_interval_of_counts_has_counts_at_its_ends_and_widens_about_its_middle():
    n_atoms, weight = np.array([100.0, 104.0, 110.0]), np.array([0.5, 0.3, 0.2])
    interval = statistics.discrete_interval(103.0, n_atoms, weight=weight)
    wider_interval = statistics.discrete_interval(103.0, n_atoms, weight=weight, width_factor=1.5)
    assert (interval.low, interval.value, interval.high) == (100, 103, 110) and (
        wider_interval.low,
        wider_interval.high,
    ) == (98, 112)


def test_an_interval_about_a_value_has_the_spread_of_the_draws_and_is_not_below_zero():
    draws = np.linspace(0, 1, 1001)
    wide_interval = statistics.interval_about(0.6, draws, width_factor=2.0)
    assert (wide_interval.value, wide_interval.low, wide_interval.high) == pytest.approx((0.6, 0.0, 1.5))
    assert statistics.interval_about(2.0, draws, width_factor=1.0).low == pytest.approx(1.55)


def test_the_credible_set_is_the_smallest_with_its_share():
    weight = np.array([0.05, 0.5, 0.15, 0.3])
    assert statistics.credible_set(weight).tolist() == [False, True, True, True]
    assert statistics.credible_set(weight, 0.5).tolist() == [False, True, False, False]
    assert statistics.credible_set(weight / 2, 0.7).tolist() == [False, True, False, True]


def test_the_effective_fraction_is_that_of_drawn_importance_weights():
    """Draws from the proposal, weighted by target over proposal: Kong's formula, by counting."""
    rng = np.random.default_rng(0)
    proposal = rng.dirichlet(np.ones(12))
    target = proposal * rng.uniform(0.2, 3, 12)
    target /= target.sum()
    weight = (target / proposal)[rng.choice(12, 400_000, p=proposal)]
    counted_fraction = weight.sum() ** 2 / (weight**2).sum() / len(weight)
    assert statistics.effective_fraction(target, proposal) == pytest.approx(counted_fraction, rel=0.02)
    assert statistics.effective_fraction(proposal, proposal) == pytest.approx(1.0)
    assert statistics.effective_fraction(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 0.0


def test_noise_within_the_band_has_as_many_independent_points_as_the_data():
    """The residual is white noise on F(Q) up to qmax. A finer grid in r has no more independent points."""
    rng = np.random.default_rng(0)
    q = np.linspace(0, 22.0, 900)
    for step in (0.01, 0.04):
        r = np.arange(1.5, 20, step)
        max_points = (r[-1] - r[0]) * 22.0 / np.pi
        noise = rng.normal(size=(20, q.size)) @ np.sin(r[:, None] * q).T
        effective_points = [statistics.effective_points(noise_curve, max_points) for noise_curve in noise]
        assert np.mean(effective_points) == pytest.approx(max_points, rel=0.25)
        assert max(effective_points) <= max_points


def test_a_slow_misfit_counts_for_few_points():
    rng = np.random.default_rng(0)
    r = np.arange(1.5, 20, 0.02)
    slow_misfit = np.sin(2 * np.pi * r / 9) + 0.1 * rng.normal(size=r.size)
    assert statistics.effective_points(slow_misfit, 130.0) < 30
    assert np.isfinite(statistics.effective_points(np.zeros(100), 30.0))


def test_a_level_of_one_is_the_largest_value_however_the_weights_are_rounded():
    """The cumulative sum of these weights is smaller than their sum by a rounding error."""
    weight = np.random.default_rng(0).random(1000)
    weight = next(weight[:n] for n in range(2, 1000) if np.cumsum(weight[:n])[-1] / weight[:n].sum() < 1)
    values = np.arange(len(weight)) + 5.0
    assert statistics.discrete_quantiles(values, (0.0, 1.0), weight=weight).tolist() == [values[0], values[-1]]


@pytest.mark.parametrize("accuracy", [0.0, 0.3])
def test_effective_points_are_those_of_the_written_out_correlations(accuracy):
    """The correlation of lag k is the sum over all pairs of points that are k apart."""
    residual = np.convolve(np.random.default_rng(4).normal(size=61), [1, 2, 3, 2, 1], mode="same")
    deviation = residual - residual.mean()
    size = len(residual)
    sums = np.array([np.sum(deviation[: size - lag] * deviation[lag:]) for lag in range(size // 2)])
    rho = sums / (sums[0] + size * accuracy**2)
    expected_points = 1.75 * size / (1 + 2 * np.sum(rho[1:] ** 2))
    assert statistics.effective_points(residual, 1e6, accuracy=accuracy) == pytest.approx(expected_points)
    assert statistics.effective_points(residual, 3.0, accuracy=accuracy) == 3.0


def test_weighted_quantiles_of_columns_are_those_of_each_column():
    """A draw stands at the middle of its step of the cumulative weight."""
    draws = np.array([[3.0, 10.0], [1.0, 30.0], [2.0, 20.0]])
    weight = np.array([0.5, 0.25, 0.25])
    middle_levels = [0.125, 0.375, 0.75]
    np.testing.assert_allclose(statistics.quantiles(draws, middle_levels, weight=4 * weight)[:, 0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(statistics.quantiles(draws, [0.25, 0.625, 0.875], weight=weight)[:, 1], [10, 20, 30])


def test_a_count_at_the_exact_share_is_the_quantile():
    values, weight = np.array([5.0, 6.0, 7.0]), np.array([0.25, 0.5, 0.25])
    assert statistics.discrete_quantiles(values, (0.25, 0.26, 0.75, 0.76), weight=weight).tolist() == [5, 6, 6, 7]
    assert statistics.discrete_interval(6.0, values, weight=weight).high == 7.0
    assert statistics.discrete_interval(9.5, values, weight=weight).high == 9.5
    unchanged_interval = statistics.discrete_interval(6.0, values + 0.4, weight=weight, width_factor=1.0)
    assert (unchanged_interval.low, unchanged_interval.high) == (5.4, 7.4)
    narrow_interval = statistics.discrete_interval(6.0, np.array([0.0, 6.0, 12.0]), weight=weight, width_factor=0.5)
    assert (narrow_interval.low, narrow_interval.high) == (3, 9)


def test_the_credible_set_ends_at_the_candidate_that_reaches_the_share():
    weight = np.array([0.25, 0.5, 0.25])
    assert statistics.credible_set(weight, 0.75).sum() == 2 and statistics.credible_set(weight, 0.76).sum() == 3
    assert statistics.credible_set(np.array([9.0, 1.0])).tolist() == [True, False]


def test_a_possible_candidate_that_is_never_drawn_leaves_no_effective_draws():
    target, proposal = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.2, 0.3, 0.1, 0.4])
    expected_fraction = 1 / (0.25 / 0.2 + 0.09 / 0.3 + 0.04 / 0.1)
    assert statistics.effective_fraction(target, proposal) == pytest.approx(expected_fraction)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert statistics.effective_fraction(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == 0.0


def test_rounding_errors_of_squares_are_those_of_the_cauchy_schwarz_inequality():
    epsilon = float(np.finfo(np.float32).eps)
    squares, data_squares = np.float32(4.0), np.float32(9.0)
    expected_error = 2 * epsilon * np.sqrt(4.0 * 9.0) + epsilon**2 * 9.0
    assert float(statistics.rounding_of_squares(jnp.array(squares), jnp.array(data_squares))) == pytest.approx(
        expected_error, rel=1e-6
    )
    zero_error = float(statistics.rounding_of_squares(jnp.zeros(()), jnp.array(data_squares)))
    assert zero_error == pytest.approx(9 * epsilon**2, rel=1e-6, abs=0)
    assert float(statistics.squares_floor(jnp.array(data_squares))) == pytest.approx(9 * epsilon**2, rel=1e-6, abs=0)
