"""Sizes, widths and shares with intervals, and the tables of them."""

import numpy as np
import pytest

from jaxstruc.inference import distribution
from jaxstruc.inference.distribution import Distribution, Holdout
from jaxstruc.statistics import Interval
from jaxstruc.structures.classes import Classes
from jaxstruc.structures.distances import Histogram

NONE = np.zeros(0)
CLASSES = Classes(
    ("fcc", "twin"), np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([4.0, 8.0, 8.0]),
    np.array(["fcc", "fcc", "faulted"], object), np.ones(3, int), Histogram(NONE, NONE, NONE, NONE),
    np.array([4.0, 8.0]),
)  # fmt: skip


def told(sample="distribution", holdouts=((12.0, 18.0, 30.0, 0.5, 0.3, 9.0), (14.0, 20.0, 30.0, 0.7, 0.4, 9.0))):
    volume = np.array([[0.2, 0.3], [0.0, 0.5]])
    band = np.array([0.1, 0.9])
    return Distribution(
        sample, "free", 0.1, Interval(7.2, 7.0, 7.5), Interval(0.2, 0.1, 0.3), {"fcc": Interval(0.5, 0.4, 0.6)},
        tuple(Holdout(*one) for one in holdouts), ("fcc", "faulted"), np.array([4.0, 8.0]), volume, band, band, volume,
        band, band, NONE, NONE, NONE, NONE,
    )  # fmt: skip


def test_mean_and_width_are_weighted_by_volume():
    share, size = np.array([0.25, 0.75]), np.array([10.0, 20.0])
    mean, width = distribution.sizes(share, np.tile(share, (50, 1)), size)
    assert (mean.value, mean.low, mean.high) == pytest.approx((17.5, 17.5, 17.5))
    assert width.value == pytest.approx(np.sqrt(0.25 * 7.5**2 + 0.75 * 2.5**2) / 17.5)


def test_shares_of_types_are_sums_over_classes_the_largest_first_and_at_most_one():
    share = np.array([0.2, 0.3, 0.5])
    drawn = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.4, 0.5, 0.1]])
    found = distribution.shares(share, drawn, np.array(["fcc", "hcp", "hcp"], object))
    assert list(found) == ["hcp", "fcc"] and found["hcp"].value == pytest.approx(0.8)
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found.values())


def test_shares_by_number_weigh_small_particles_more():
    volume, number = distribution.on_grid(np.array([0.5, 0.25, 0.25]), CLASSES, ("fcc", "faulted"))
    np.testing.assert_allclose(volume, [[0.5, 0.25], [0.0, 0.25]])
    np.testing.assert_allclose(number, np.array([[8 * 0.5, 0.25], [0.0, 0.25]]) / 4.5)
    many = distribution.on_grid(np.tile([0.5, 0.25, 0.25], (3, 1)), CLASSES, ("fcc", "faulted"))
    np.testing.assert_allclose(many[1][2], number)


def test_rw_of_the_holdout_is_that_of_the_reported_model():
    assert told().rw_holdout == pytest.approx(0.35) == told().rw_holdout_ensemble
    assert told("single").rw_holdout == pytest.approx(0.6) == told().rw_holdout_single
    assert told("undecided").rw_holdout == pytest.approx(0.35)
    assert told("undecided", holdouts=()).rw_holdout is None


def test_the_table_has_a_column_for_all_and_for_each_type():
    columns = told().table
    assert list(columns)[:4] == ["diameter", "volume", "volume_low", "volume_high"]
    np.testing.assert_allclose(columns["volume"], columns["volume_fcc"] + columns["volume_faulted"])
    assert {len(column) for column in columns.values()} == {2}
