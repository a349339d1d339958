import math

import numpy as np
import pytest

from jaxstruc import statistics
from jaxstruc.small_angle import evidence
from jaxstruc.small_angle.fit import BodyFit

LOG_RADIUS = np.linspace(np.log(10), np.log(160), 256)


def make_body_fit(chi2=50.0, distribution="gaussian", body="sphere", relative_error=0.01, width=0.1, amplitude=(1.0,)):
    n_populations = len(amplitude)
    log_parameters = np.array([[math.log(40.0 + 20 * index), math.log(width)] for index in range(n_populations)])
    normal_matrix = np.eye(3 * n_populations) / relative_error**2
    return BodyFit(
        body,
        distribution,
        log_parameters,
        np.array(amplitude),
        chi2,
        normal_matrix,
        np.zeros((n_populations, 2), bool),
        True,
    )


def test_a_parameter_that_gains_nothing_costs():
    single_size_fit, gaussian_fit = make_body_fit(distribution="none"), make_body_fit()
    log_evidences = [
        evidence.log_evidence(body_fit, 1.0, log_radius_range=4.0) for body_fit in (single_size_fit, gaussian_fit)
    ]
    cost = -math.log(math.sqrt(2 * math.pi) * 0.01 * 0.1 / 0.5)
    assert (
        log_evidences[0] - log_evidences[1] == pytest.approx(cost + math.log(evidence.SINGLE_SIZE_PRIOR), abs=0.01)
        and cost > 5
    )


def test_a_second_population_has_to_earn_three_parameters():
    one_population, two_populations = make_body_fit(), make_body_fit(distribution="two", amplitude=(0.5, 0.5))
    cost = evidence.log_evidence(one_population, 1.0, log_radius_range=4.0) - evidence.log_evidence(
        two_populations, 1.0, log_radius_range=4.0
    )
    assert 10 < cost < 25


def test_a_failed_fit_weighs_nothing():
    log_evidences = np.array(
        [
            evidence.log_evidence(body_fit, 1.0, log_radius_range=4.0)
            for body_fit in (make_body_fit(), make_body_fit(chi2=math.nan))
        ]
    )
    np.testing.assert_array_equal(evidence.weights(log_evidences), [1.0, 0.0])


def test_errors_grow_where_noise_does_not_explain_the_best_fit():
    residual = 3 * np.random.default_rng(0).standard_normal(100)
    estimate = evidence.noise_estimate(float(residual @ residual), lambda: residual, 96, noise_is_inferred=False)
    assert (
        estimate.exceeds_noise
        and estimate.variance_scale == pytest.approx(9, rel=0.3)
        and estimate.effective_fraction > 0.7
    )
    slow_residual = 3 * np.sin(np.arange(100) / 8)
    assert (
        evidence.noise_estimate(
            float(slow_residual @ slow_residual), lambda: slow_residual, 96, noise_is_inferred=False
        ).effective_fraction
        < 0.3
    )
    explained_estimate = evidence.noise_estimate(90.0, lambda: residual, 96, noise_is_inferred=False)
    assert not explained_estimate.exceeds_noise and explained_estimate.chi2_factor == 1.0


def test_draws_have_the_spread_of_the_errors_and_the_weights_of_the_fits():
    body_fits = (make_body_fit(), make_body_fit(body="cube", width=0.2))
    draws = evidence.draw_sizes(body_fits, np.array([0.75, 0.25]), LOG_RADIUS, 1.0)
    assert draws.weight.sum() == pytest.approx(1) and draws.weight[draws.fit_index == 1].sum() == pytest.approx(0.25)
    first_means = draws.sizes.mean[draws.fit_index == 0]
    assert first_means.std() == pytest.approx(0.4, rel=0.25) and first_means.mean() == pytest.approx(40.0, abs=0.1)
    lower_bound, upper_bound = statistics.quantiles(draws.sizes.width, statistics.CENTRAL_90, weight=draws.weight)
    assert lower_bound == pytest.approx(0.1, abs=0.004) and upper_bound == pytest.approx(0.2, abs=0.006)
