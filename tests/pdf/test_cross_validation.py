"""Cross-validation of a single cluster against distributions, for simulated samples of both kinds."""

import numpy as np
import particle_mixtures
import pytest

from jaxstruc.pdf import cross_validation


@pytest.fixture(scope="module")
def ensemble_validation():
    rows = particle_mixtures.draw_rows(np.random.default_rng(5), mean=17.0, width=0.2)
    return particle_mixtures.cross_validate_curve(particle_mixtures.ensemble_pdf(rows, noise=0.02))


def test_a_mixture_is_a_distribution(ensemble_validation):
    assert ensemble_validation.sample == "distribution" and len(ensemble_validation.comparisons) == 3
    for comparison in ensemble_validation.comparisons:
        assert min(prediction.rw for prediction in comparison.ensemble_predictions) < comparison.single_prediction.rw
        cut, end = comparison.cut
        assert comparison.n_independent == pytest.approx((end - cut) * 17 / np.pi, rel=1e-6)
        assert (
            len(comparison.rival_squares) == 4
            and np.isfinite(comparison.rival_squares).all()
            and comparison.rival_squares.min() >= comparison.single_prediction.squares * 0.1
        )


def test_one_cluster_is_single():
    rows = particle_mixtures.draw_rows(np.random.default_rng(6), mean=18.0, width=0.01, count=1)
    validation = particle_mixtures.cross_validate_curve(
        particle_mixtures.ensemble_pdf(rows, noise=0.02), departure_strengths=(0.0,)
    )
    assert (
        validation.sample == "single"
        and validation.departure_strength == 0
        and validation.departure_strengths == (0.0,)
    )
    assert all(
        comparison.single_prediction.rw < comparison.ensemble_predictions[0].rw for comparison in validation.comparisons
    )


def test_a_short_signal_leaves_nothing_to_predict(ensemble_validation):
    rows = particle_mixtures.draw_rows(np.random.default_rng(6), mean=18.0, width=0.01, count=1)
    validation = particle_mixtures.cross_validate_curve(
        particle_mixtures.ensemble_pdf(rows, noise=0.02), signal_end=9.0
    )
    assert validation.sample == "undecided" and validation.comparisons == () and validation.departure_strength == 0
    assert np.isfinite(validation.ensemble_fit.rw)


def test_the_curves_of_a_cut_go_through_the_data_it_was_fitted_to(ensemble_validation):
    comparison = ensemble_validation.comparisons[1]
    in_fit_range = comparison.r <= comparison.cut.fit_end
    for curve in comparison.predicted_curves:
        assert np.linalg.norm((curve - comparison.g)[in_fit_range]) < 0.05 * np.linalg.norm(comparison.g[in_fit_range])
    assert comparison.r[-1] <= comparison.cut.holdout_end + 1e-6 and len(comparison.predicted_curves) == 1 + len(
        ensemble_validation.departure_strengths
    )


def test_draws_are_fractions_that_sum_to_one(ensemble_validation):
    best_fractions, fraction_draws = cross_validation.posterior_fractions(
        ensemble_validation, particle_mixtures.sphere_model()
    )
    np.testing.assert_allclose(fraction_draws.sum(axis=1), 1)
    assert best_fractions.sum() == pytest.approx(1) and (fraction_draws >= 0).all()


def test_thinned_data_keep_the_steps_that_qmax_needs():
    holdout_data = cross_validation.HoldoutData(
        particle_mixtures.R,
        np.sin(particle_mixtures.R),
        particle_mixtures.make_target(np.sin(particle_mixtures.R)),
        20.0,
        particle_mixtures.SPAN,
        particle_mixtures.MIN_Q_NODES,
        particle_mixtures.MIN_BASIS_SIZE,
    )
    thinned_data = holdout_data.thinned_data
    step = thinned_data.r[1] - thinned_data.r[0]
    assert step <= cross_validation.R_STEP_FACTOR * np.pi / 18.0 + 1e-9 and thinned_data.r[0] == holdout_data.r[0]
