import math

import numpy as np
import pytest

from jaxstruc import statistics
from jaxstruc.inference import averaging
from jaxstruc.inference.outcomes import Outcome

U = np.linspace(np.log(10), np.log(160), 256)


def outcome(chi2=50.0, distribution="gaussian", body="sphere", error=0.01, width=0.1, amplitude=(1.0,)):
    count = len(amplitude)
    place = np.array([[math.log(40.0 + 20 * k), math.log(width)] for k in range(count)])
    normal = np.eye(3 * count) / error**2
    return Outcome(
        body, distribution, place, np.array(amplitude), chi2, normal, np.zeros((count, 2), bool), True
    )  # fmt: skip


def test_a_parameter_that_gains_nothing_costs():
    one, wide = outcome(distribution="none"), outcome()
    gains = [averaging.evidence(each, 1.0, span=4.0) for each in (one, wide)]
    cost = -math.log(math.sqrt(2 * math.pi) * 0.01 * 0.1 / 0.5)
    assert gains[0] - gains[1] == pytest.approx(cost + math.log(averaging.ALIKE), abs=0.01) and cost > 5


def test_a_second_population_has_to_earn_three_parameters():
    one, two = outcome(), outcome(distribution="two", amplitude=(0.5, 0.5))
    cost = averaging.evidence(one, 1.0, span=4.0) - averaging.evidence(two, 1.0, span=4.0)
    assert 10 < cost < 25


def test_a_failed_fit_weighs_nothing():
    gains = np.array([averaging.evidence(one, 1.0, span=4.0) for one in (outcome(), outcome(chi2=math.nan))])
    np.testing.assert_array_equal(averaging.weights(gains), [1.0, 0.0])


def test_errors_grow_where_noise_does_not_explain_the_best_fit():
    residual = 3 * np.random.default_rng(0).standard_normal(100)
    found = averaging.noise(float(residual @ residual), lambda: residual, 96, inferred=False)
    assert found.beyond and found.scale == pytest.approx(9, rel=0.3) and found.share > 0.7
    slow = 3 * np.sin(np.arange(100) / 8)
    assert averaging.noise(float(slow @ slow), lambda: slow, 96, inferred=False).share < 0.3
    fine = averaging.noise(90.0, lambda: residual, 96, inferred=False)
    assert not fine.beyond and fine.temper == 1.0


def test_draws_have_the_spread_of_the_errors_and_the_weights_of_the_fits():
    some = (outcome(), outcome(body="cube", width=0.2))
    found = averaging.drawn(some, np.array([0.75, 0.25]), U, 1.0)
    assert found.weight.sum() == pytest.approx(1) and found.weight[found.place == 1].sum() == pytest.approx(0.25)
    first = found.sizes.mean[found.place == 0]
    assert first.std() == pytest.approx(0.4, rel=0.25) and first.mean() == pytest.approx(40.0, abs=0.1)
    low, high = statistics.quantiles(found.sizes.width, statistics.CENTRAL_90, weight=found.weight)
    assert low == pytest.approx(0.1, abs=0.004) and high == pytest.approx(0.2, abs=0.006)
