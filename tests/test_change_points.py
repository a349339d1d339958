"""Change points of simulated series."""

import itertools

import numpy as np
import pytest

from jaxstruc import change_points

FRAMES = np.arange(60)
NOISE = 0.2
MAX_SHIFT = 3
"""Largest distance of a change point from the true one, in frames."""


def noise(n_columns=1, seed=0):
    return NOISE * np.random.default_rng(seed).normal(size=(len(FRAMES), n_columns))


def test_a_transition_is_located():
    for seed in range(5):
        values = np.where(FRAMES < 37, 20.0, 21.5)[:, None] + noise(seed=seed)
        (change,) = change_points.change_points(values)
        assert abs(change - 37) <= MAX_SHIFT


def test_begin_and_end_of_a_growth_are_located():
    growth = np.interp(FRAMES, [0, 20, 40, 59], [15.0, 15.0, 25.0, 25.0])
    for seed in range(5):
        values = growth[:, None] + noise(seed=seed)
        first, second = change_points.change_points(values)
        assert abs(first - 20) <= MAX_SHIFT and abs(second - 40) <= MAX_SHIFT


def test_constant_series_seldom_have_change_points():
    n_alarms = sum(bool(change_points.change_points(noise(seed=seed))) for seed in range(120))
    assert n_alarms <= 14  # 6 are expected; more than 14 have a probability below 0.1 %


def test_a_steady_trend_and_a_single_outlier_are_no_changes():
    values = 0.1 * FRAMES[:, None] + noise()
    values[30] += 5
    assert change_points.change_points(values) == []


def test_quantities_that_change_together_are_found_where_one_alone_is_not():
    step = np.where(FRAMES < 30, 0.0, 0.9 * NOISE)[:, None]
    together = change_points.change_points(step + noise(8, seed=3))
    assert len(together) == 1 and abs(together[0] - 30) <= MAX_SHIFT
    assert sum(bool(change_points.change_points((step + noise(8, seed=3))[:, [k]], n_tests=8)) for k in range(8)) < 4


def test_the_division_is_that_of_an_exhaustive_search():
    values = np.random.default_rng(1).normal(size=(14, 1)) + 3 * (np.arange(14) > 8)[:, None]
    costs = change_points.segment_costs(values)

    def cost(bounds):
        residuals = [
            np.polyfit(range(end - start), values[start:end, 0], 1, full=True)[1].sum()
            for start, end in itertools.pairwise(bounds)
        ]
        assert sum(residuals) == pytest.approx(sum(costs[start, end] for start, end in itertools.pairwise(bounds)))
        return sum(residuals) + 2.0 * (len(bounds) - 2)

    divisions = [[0, *inner, 14] for n in range(3) for inner in itertools.combinations(range(4, 11), n)]
    divisions = [division for division in divisions if min(np.diff(division)) >= change_points.MIN_SEGMENT]
    best = min(divisions, key=cost)
    assert change_points._best_division(costs, 2.0) == best[1:-1]


@pytest.mark.parametrize("n_frames", [2, 7])
def test_few_frames_have_no_change_points(n_frames):
    assert change_points.change_points(np.arange(2.0 * n_frames).reshape(n_frames, 2)) == []


def test_values_without_noise_are_handled():
    assert change_points.change_points(np.ones((20, 1))) == []
    assert change_points.change_points(np.where(np.arange(20) < 10, 0.0, 1.0)[:, None]) == [10]


def test_a_series_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="Expected at most 2000 frames, got 2001"):
        change_points.change_points(np.zeros((2001, 1)))
