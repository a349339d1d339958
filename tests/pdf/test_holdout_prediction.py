"""Cuts of the signal, predictions beyond them, and the decision between a single cluster and a distribution."""

import math

import numpy as np
import particle_mixtures
import pytest

from jaxstruc.pdf import candidates, cross_validation
from jaxstruc.pdf.cross_validation import HoldoutComparison, HoldoutCut, PredictionMisfit
from jaxstruc.pdf.target import background_terms

R = np.arange(1.5, 30.0, 0.05)


def test_cuts_lie_below_the_signals_end_and_predict_to_it():
    holdout_cuts = cross_validation.holdout_cuts(R, 20.0)
    np.testing.assert_allclose([cut.fit_end for cut in holdout_cuts], [12.0, 14.0, 16.0])
    np.testing.assert_allclose([cut.holdout_end for cut in holdout_cuts], [18.0, 20.0, 20.0])


def test_a_small_particle_has_fewer_cuts_or_none():
    assert cross_validation.holdout_cuts(R, 11.0) == [HoldoutCut(8.0, 11.0), HoldoutCut(0.8 * 11.0, 11.0)]
    assert cross_validation.holdout_cuts(R, 9.0) == []
    assert cross_validation.holdout_cuts(R[R < 9.5], 20.0) == []
    assert cross_validation.holdout_cuts(R, 90.0)[-1].holdout_end <= R[-1]


def test_a_prediction_is_that_of_the_cluster_itself():
    """The fit covers r up to 12 Å. Its prediction up to 25 Å is compared with the sum over all pairs."""
    rows = particle_mixtures.draw_rows(np.random.default_rng(0), mean=18.0, width=0.01, count=1)
    g = particle_mixtures.ensemble_pdf(rows)
    pool, fits = particle_mixtures.rank_single_clusters(g, rmax=12.0)
    assert pool.entry(0)[1] == rows[0]
    target = particle_mixtures.make_target(g, rmax=12.0)
    best_values = candidates.select_rows(fits.values, slice(0, 1))
    (predicted_pdf,) = cross_validation.cluster_curves(
        candidates.select_rows(candidates.cluster_tables(pool.select(np.arange(1)), target), slice(0, 1)),
        best_values,
        cross_validation.make_holdout_points(target, particle_mixtures.R),
    )
    in_holdout = particle_mixtures.R > 12.0
    assert np.linalg.norm(predicted_pdf[in_holdout] - g[in_holdout]) < 0.02 * np.linalg.norm(g[in_holdout])


def test_prediction_and_gain_are_those_of_sums_of_squares():
    g, no_terms = np.array([1.0, -2.0, 2.0]), np.zeros((3, 0))
    prediction, exact_prediction = (
        cross_validation.prediction_misfit(g, g + 1.0, terms=no_terms),
        cross_validation.prediction_misfit(g, g, terms=no_terms),
    )
    assert (
        prediction == PredictionMisfit(pytest.approx(3.0), pytest.approx(np.sqrt(3) / 3)) and exact_prediction.rw == 0
    )
    assert exact_prediction.squares == pytest.approx(9 * cross_validation.MIN_PREDICTION_RW**2)
    assert cross_validation.log_likelihood_gain(prediction, PredictionMisfit(1.5, 0.0), 10.0) == pytest.approx(
        5 * np.log(2)
    )
    assert cross_validation.log_likelihood_gain(exact_prediction, exact_prediction, 10.0) == 0


def test_a_background_is_no_part_of_a_prediction():
    r = np.linspace(12, 18, 200)
    g = np.sin(9 * r)
    assert cross_validation.prediction_misfit(
        g + 3 + np.cos(np.pi * (r - 12) / 6), g, terms=background_terms(r, 2)
    ).rw == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("gains", "sample"), [
    ([], "undecided"), ([9.0, -1.0, 1.0], "distribution"), ([-3.0, -2.5], "single"), ([1.0, -1.0, 4.0], "undecided"),
    ([1.0, 3.0], "undecided"), ([1.0, 3.2], "distribution"), ([-1.0, -3.0], "undecided"), ([-1.0, -3.2], "single"),
])  # fmt: skip
def test_the_sample_follows_from_the_mean_gain(gains, sample):
    assert cross_validation.decide_sample_kind(gains) == sample


@pytest.mark.parametrize(
    ("gains", "searched_cuts", "sample"),
    [
        ((-1.0, -4.0, -2.0), [], "single"),
        ((1.0, -1.0, 3.0), [2], "single"),
        ((9.0, 2.0, 4.0), [0, 2, 1], "single"),
        ((13.0, 9.0, 11.0), [0, 2, 1], "undecided"),
        ((30.0, 40.0, 50.0), [2, 1, 0], "distribution"),
    ],
)
def test_a_search_runs_only_at_the_cuts_that_the_decision_needs(gains, searched_cuts, sample):
    def comparison(gain):
        misfits = PredictionMisfit(math.exp(2 * gain / 10), 0.1), PredictionMisfit(1.0, 0.1)
        no_curve = np.zeros(0)
        return HoldoutComparison(
            HoldoutCut(10.0, 15.0), 10.0, misfits[0], misfits[1:], no_curve, no_curve, no_curve, ()
        )

    seen_cuts = []

    def search_at_cut(index):
        seen_cuts.append(index)
        return comparison(gains[index] - 10)

    comparisons = cross_validation._search_where_needed([comparison(gain) for gain in gains], search_at_cut, 0)
    assert seen_cuts == searched_cuts
    searched_gains = [cross_validation._ensemble_gain(entry, 0) for entry in comparisons]
    assert cross_validation.decide_sample_kind(searched_gains) == sample
    expected_gains = [gain - 10 * (index in searched_cuts) for index, gain in enumerate(gains)]
    np.testing.assert_allclose(searched_gains, expected_gains)
