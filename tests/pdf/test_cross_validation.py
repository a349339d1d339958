"""Cross-validation of a single cluster against distributions, for simulated samples of both kinds."""

import numpy as np
import particle_mixtures
import pytest

from jaxstruc import statistics
from jaxstruc.pdf import cross_validation, ensemble
from jaxstruc.pdf.target import background_terms


@pytest.fixture(scope="module")
def ensemble_validation():
    rows = particle_mixtures.draw_rows(np.random.default_rng(5), mean=17.0, width=0.2)
    return particle_mixtures.cross_validate_curve(particle_mixtures.ensemble_pdf(rows, noise=0.02))


def test_a_mixture_is_a_distribution(ensemble_validation):
    assert ensemble_validation.sample == "distribution" and len(ensemble_validation.comparisons) == 3
    for comparison in ensemble_validation.comparisons:
        assert min(prediction.rw for prediction in comparison.ensemble_predictions) < comparison.single_prediction.rw
        cut, end = comparison.cut
        n_terms = 1 + int((end - cut) / 4)  # a background has at least 4 Å for each half-wave
        assert comparison.n_independent == pytest.approx((end - cut) * 17 / np.pi - n_terms, rel=1e-6)
        assert (
            len(comparison.rival_squares) == 4
            and np.isfinite(comparison.rival_squares).all()
            and comparison.rival_squares.min() >= comparison.single_prediction.squares * 0.1
        )


def test_a_mixture_of_relaxed_particles_is_a_distribution():
    """The single clusters and the ensembles are relaxed up to each cut, and the whole signal gives the amplitude."""
    rows = particle_mixtures.draw_rows(np.random.default_rng(5), mean=16.0, width=0.2)
    g = particle_mixtures.ensemble_pdf(rows, noise=0.01, amplitude=1.0)
    validation = particle_mixtures.cross_validate_curve(g, is_relaxed=True, departure_strengths=(0.0,))
    assert validation.sample == "distribution" and float(validation.ensemble_fit.rw) < 0.03
    assert float(validation.ensemble_fit.values.relaxation) == pytest.approx(1.0, abs=0.15)
    for comparison in validation.comparisons:
        assert len(comparison.rival_squares) == 4 and np.isfinite(comparison.rival_squares).all()
        assert comparison.ensemble_predictions[0].rw < comparison.single_prediction.rw


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
    assert_precision_of_effective_points(validation)


def assert_precision_of_effective_points(validation):
    """Assert that the ensemble is as certain as the effective number of points in its residual allows."""
    fit_target, model = validation.target, particle_mixtures.sphere_model()
    points = cross_validation.make_holdout_points(fit_target, fit_target.r)
    residual = fit_target.g - cross_validation.ensemble_curve(validation.ensemble_fit, model, points)
    n_independent = fit_target.n_independent
    effective_fraction = statistics.effective_points(residual, n_independent) / n_independent
    expected_fit = ensemble.fit_ensemble(
        model, fit_target.basis, validation.ensemble_fit.parameters, names=particle_mixtures.NONLINEAR_PARAMETERS,
        strength=0.0, effective_fraction=effective_fraction,
    )  # fmt: skip
    precision, expected_precision = (
        np.diagonal(entry.precision)[-4:-1] for entry in (validation.ensemble_fit, expected_fit)
    )
    np.testing.assert_allclose(precision, expected_precision, rtol=0.05)
    assert 0.05 < effective_fraction < 0.95, effective_fraction


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


@pytest.mark.parametrize(
    ("rmax", "signal_end", "expected_cuts"),
    [
        (30.0, 20.0, [(12.0, 18.0), (14.0, 20.0), (16.0, 20.0)]),
        (30.0, 11.0, [(8.0, 11.0), (8.8, 11.0)]),
        (30.0, 10.0, [(8.0, 10.0)]),
        (30.0, 9.9, []),
        (12.0, 20.0, [(8.0, 12.0), (8.4, 12.0), (9.6, 12.0)]),
        (80.0, 90.0, [(30.0, 45.0), (35.0, 50.0), (40.0, 50.0)]),
    ],
)
def test_cuts_are_shares_of_the_signal_and_leave_two_angstrom_to_predict(rmax, signal_end, expected_cuts):
    found_cuts = cross_validation.holdout_cuts(np.array([1.5, rmax]), signal_end)
    assert [tuple(cut) for cut in found_cuts] == [pytest.approx(cut) for cut in expected_cuts]


def test_each_half_wave_of_the_q_range_is_an_independent_point_beyond_the_cut_but_for_the_background():
    target = particle_mixtures.make_target(np.sin(particle_mixtures.R))
    cut = cross_validation.HoldoutCut(12.0, 18.0)
    n_independent = cross_validation.n_independent_beyond_cut(target, cut, particle_mixtures.R)
    n_background_terms = 2  # a constant, and a half-wave of 6 Å
    assert n_independent == pytest.approx((18.0 - 12.0) / (np.pi / (18.0 - 1.0)) - n_background_terms)


def test_the_misfit_of_a_prediction_leaves_the_background_out():
    r = np.linspace(10.0, 14.0, 81)
    rng = np.random.default_rng(2)
    observed, calculated = rng.normal(size=81), rng.normal(size=81)
    terms = np.cos(np.pi * np.linspace(0, 1, 81)[:, None] * np.arange(2))
    for design, n_terms in ((terms, 2), (terms[:, :1], 1)):
        residual, signal = (
            curve - design @ np.linalg.lstsq(design, curve, rcond=None)[0]
            for curve in (observed - calculated, observed)
        )
        misfit = cross_validation.prediction_misfit(observed, calculated, terms=background_terms(r, n_terms))
        assert misfit.squares == pytest.approx(np.sum(residual**2))
        assert misfit.rw == pytest.approx(np.sqrt(np.sum(residual**2) / np.sum(signal**2)))
    perfect_misfit = cross_validation.prediction_misfit(observed, 1.001 * observed, terms=np.zeros((81, 0)))
    assert perfect_misfit.squares == pytest.approx(0.01**2 * np.sum(observed**2))
    assert perfect_misfit.rw == pytest.approx(0.001)


def test_data_of_a_fine_grid_are_thinned_to_less_than_half_the_resolution():
    """The resolution is pi / qmax, which is 0.1745 Å; 0.4 times this value is 6.98 steps of 0.01 Å."""
    r = np.arange(1.5, 20.0, 0.01)
    coarse_target = particle_mixtures.make_target(np.sin(particle_mixtures.R))
    holdout_data = cross_validation.HoldoutData(
        r, np.sin(r), coarse_target, 20.0, particle_mixtures.SPAN,
        particle_mixtures.MIN_Q_NODES, particle_mixtures.MIN_BASIS_SIZE,
    )  # fmt: skip
    thinned_data = holdout_data.thinned_data
    np.testing.assert_array_equal(thinned_data.r, r[::6])
    np.testing.assert_array_equal(thinned_data.g, np.sin(r[::6]))
    target = holdout_data.target_up_to(float(r[1000]))
    assert target.r[-1] == r[1000] and len(target.r) == 1001


def test_a_smooth_background_changes_neither_the_decision_nor_the_sizes(ensemble_validation):
    """Two waves of 9 and 25 Å with a tenth of the signal's power hardly change the ensemble."""
    rows = particle_mixtures.draw_rows(np.random.default_rng(5), mean=17.0, width=0.2)
    g, r = particle_mixtures.ensemble_pdf(rows, noise=0.02), particle_mixtures.R
    two_waves = np.cos(2 * np.pi * r / 9 + 1) + np.cos(2 * np.pi * r / 25 + 2)
    background = np.sqrt(0.1 * np.mean(g**2) / np.mean(two_waves**2)) * two_waves
    validation = particle_mixtures.cross_validate_curve(g + background)
    assert validation.sample == "distribution"
    mean_sizes, rws = zip(
        *(
            (float(fit.atom_fractions @ sizes / fit.atom_fractions.sum()), float(fit.rw))
            for fit, sizes in (
                (entry.ensemble_fit, particle_mixtures.sphere_model().size)
                for entry in (ensemble_validation, validation)
            )
        ),
        strict=True,
    )
    assert mean_sizes[1] == pytest.approx(mean_sizes[0], rel=0.02) and rws[1] < 0.1
