"""Cuts, predictions beyond them, and the verdict of these."""

import mixtures
import numpy as np
import pytest

from jaxstruc.inference import candidates, unseen
from jaxstruc.inference.unseen import Cut, Prediction

R = np.arange(1.5, 30.0, 0.05)


def test_cuts_lie_below_the_signals_end_and_predict_to_it():
    found = unseen.cuts(R, 20.0)
    np.testing.assert_allclose([one.cut for one in found], [12.0, 14.0, 16.0])
    np.testing.assert_allclose([one.end for one in found], [18.0, 20.0, 20.0])


def test_a_small_particle_has_fewer_cuts_or_none():
    assert unseen.cuts(R, 11.0) == [Cut(8.0, 11.0), Cut(0.8 * 11.0, 11.0)]
    assert unseen.cuts(R, 9.0) == []
    assert unseen.cuts(R[R < 9.5], 20.0) == []
    assert unseen.cuts(R, 90.0)[-1].end <= R[-1]


def test_a_prediction_is_that_of_the_cluster_itself():
    """A fit to 12 Å, continued to 25, against the sum over its pairs."""
    rows = mixtures.drawn(np.random.default_rng(0), mean=18.0, width=0.01, count=1)
    g = mixtures.curve(rows)
    pool, fits = mixtures.best(g, rmax=12.0)
    assert pool.entry(0)[1] == rows[0]
    to = mixtures.goal(g, rmax=12.0)
    first = candidates.rows(fits.values, slice(0, 1))
    (said,) = unseen.of_clusters(candidates.rows(candidates.tables(pool.chosen(np.arange(1)), to), slice(0, 1)), first,
                                 unseen.points_of(to, mixtures.R))  # fmt: skip
    beyond = mixtures.R > 12.0
    assert np.linalg.norm(said[beyond] - g[beyond]) < 0.02 * np.linalg.norm(g[beyond])


def test_prediction_and_gain_are_those_of_sums_of_squares():
    r, g = np.arange(3.0), np.array([1.0, -2.0, 2.0])
    one, exact = unseen.prediction(r, g, g + 1.0), unseen.prediction(r, g, g)
    assert one == Prediction(pytest.approx(3.0), pytest.approx(np.sqrt(3) / 3)) and exact.rw == 0
    assert exact.squares == pytest.approx(9 * unseen.EXACT**2)
    assert unseen.gain(one, Prediction(1.5, 0.0), 10.0) == pytest.approx(5 * np.log(2))
    assert unseen.gain(exact, exact, 10.0) == 0


def test_a_background_is_no_part_of_a_prediction():
    r = np.linspace(12, 18, 200)
    g = np.sin(9 * r)
    assert unseen.prediction(r, g + 3 + np.cos(np.pi * (r - 12) / 6), g, background=2).rw == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("gains", "verdict"), [
    ([], "undecided"), ([9.0, -1.0, 1.0], "distribution"), ([-3.0, -2.5], "single"), ([1.0, -1.0, 4.0], "undecided"),
])  # fmt: skip
def test_the_verdict_is_of_the_mean_gain(gains, verdict):
    assert unseen.verdict(gains) == verdict
