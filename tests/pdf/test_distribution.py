"""Mean sizes, widths and type shares with intervals, and their tables."""

import numpy as np
import pytest

from jaxstruc.clusters.distances import Histogram
from jaxstruc.clusters.size_classes import SizeClasses
from jaxstruc.pdf import distribution
from jaxstruc.pdf.distribution import Distribution, Holdout
from jaxstruc.statistics import Interval

EMPTY = np.zeros(0)
SIZE_CLASSES = SizeClasses(
    ("fcc", "twin"), np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([4.0, 8.0, 8.0]),
    np.array(["fcc", "fcc", "faulted"], object), np.ones(3, int), Histogram(EMPTY, EMPTY, EMPTY, EMPTY),
    np.array([4.0, 8.0]),
)  # fmt: skip


def make_distribution(
    sample="distribution", holdouts=((12.0, 18.0, 30.0, 0.5, 0.3, 9.0), (14.0, 20.0, 30.0, 0.7, 0.4, 9.0))
):
    volume = np.array([[0.2, 0.3], [0.0, 0.5]])
    band = np.array([0.1, 0.9])
    return Distribution(
        sample,
        "free",
        0.1,
        Interval(7.2, 7.0, 7.5),
        Interval(0.2, 0.1, 0.3),
        {"fcc": Interval(0.5, 0.4, 0.6)},
        tuple(Holdout(*holdout) for holdout in holdouts),
        ("fcc", "faulted"),
        np.array([4.0, 8.0]),
        volume,
        band,
        band,
        volume,
        band,
        band,
        EMPTY,
        EMPTY,
        EMPTY,
        EMPTY,
    )


def test_mean_and_width_are_weighted_by_volume():
    fractions, diameters = np.array([0.25, 0.75]), np.array([10.0, 20.0])
    mean, width = distribution.size_intervals(fractions, np.tile(fractions, (50, 1)), diameters)
    assert (mean.value, mean.low, mean.high) == pytest.approx((17.5, 17.5, 17.5))
    assert width.value == pytest.approx(np.sqrt(0.25 * 7.5**2 + 0.75 * 2.5**2) / 17.5)


def test_shares_of_types_are_sums_over_classes_the_largest_first_and_at_most_one():
    fractions = np.array([0.2, 0.3, 0.5])
    fraction_draws = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.4, 0.5, 0.1]])
    intervals = distribution.type_intervals(fractions, fraction_draws, np.array(["fcc", "hcp", "hcp"], object))
    assert list(intervals) == ["hcp", "fcc"] and intervals["hcp"].value == pytest.approx(0.8)
    assert all(0 <= interval.low <= interval.value <= interval.high <= 1 for interval in intervals.values())


def test_shares_by_number_weigh_small_particles_more():
    volume, number = distribution.tabulate_fractions(np.array([0.5, 0.25, 0.25]), SIZE_CLASSES, ("fcc", "faulted"))
    np.testing.assert_allclose(volume, [[0.5, 0.25], [0.0, 0.25]])
    np.testing.assert_allclose(number, np.array([[8 * 0.5, 0.25], [0.0, 0.25]]) / 4.5)
    batch = distribution.tabulate_fractions(np.tile([0.5, 0.25, 0.25], (3, 1)), SIZE_CLASSES, ("fcc", "faulted"))
    np.testing.assert_allclose(batch[1][2], number)


def test_rw_of_the_holdout_is_that_of_the_reported_model():
    assert make_distribution().rw_holdout == pytest.approx(0.35) == make_distribution().rw_holdout_ensemble
    assert make_distribution("single").rw_holdout == pytest.approx(0.6) == make_distribution().rw_holdout_single
    assert make_distribution("undecided").rw_holdout == pytest.approx(0.35)
    assert make_distribution("undecided", holdouts=()).rw_holdout is None


def test_the_table_has_a_column_for_all_and_for_each_type():
    columns = make_distribution().table
    assert list(columns)[:4] == ["diameter", "volume", "volume_low", "volume_high"]
    np.testing.assert_allclose(columns["volume"], columns["volume_fcc"] + columns["volume_faulted"])
    assert {len(column) for column in columns.values()} == {2}
