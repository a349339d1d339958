import numpy as np
import pytest
import small_angle_data

from jaxstruc.options.small_angle import SizeOptions
from jaxstruc.small_angle import data, fit, fitted_curves


@pytest.fixture(scope="module")
def sphere_fit():
    saxs_data = data.prepare_saxs_data(small_angle_data.measurement(), SizeOptions())
    (saxs_fits,) = fit.fit_all([saxs_data], ("sphere",), ("gaussian",))
    log_radius = float(saxs_fits.window.center) + np.linspace(-1.2, 1.2, 512)
    return (
        saxs_data,
        saxs_fits.body_fits[0],
        log_radius,
        fitted_curves.fitted_curves(saxs_data, saxs_fits.body_fits, log_radius, 1.0)[0],
    )


def test_a_curve_at_all_points_has_the_chi_squared_of_the_fit(sphere_fit):
    saxs_data, body_fit, _, fitted_curve = sphere_fit
    assert np.sum(fitted_curve.residual**2) == pytest.approx(body_fit.chi2, rel=1e-3)
    np.testing.assert_allclose(fitted_curve.calculated + fitted_curve.residual * saxs_data.sigma, saxs_data.intensity)


def test_the_background_comes_back_with_its_error(sphere_fit):
    _, _, _, fitted_curve = sphere_fit
    error = fitted_curve.errors[fitted_curve.parameter_names.index("background")]
    assert abs(fitted_curve.background_coefficients[0] - 100.0) < 4 * error < 40.0 and np.allclose(
        fitted_curve.background, fitted_curve.background_coefficients[0]
    )


def test_errors_of_mean_and_width_are_those_of_the_fit_and_correlations_have_unit_diagonal(sphere_fit):
    _, body_fit, _, fitted_curve = sphere_fit
    fit_errors = np.sqrt(np.diagonal(np.linalg.inv(body_fit.normal_matrix)))
    np.testing.assert_allclose(fitted_curve.errors[:2], fit_errors[:2], rtol=0.05)
    assert fitted_curve.parameter_names == ("radius", "pd", "scale", "background")
    np.testing.assert_allclose(np.diagonal(fitted_curve.correlation), 1.0)
    assert fitted_curve.correlation[0, 1] < -0.1


def test_shares_give_the_same_curve_and_scale(sphere_fit):
    saxs_data, body_fit, log_radius, fitted_curve = sphere_fit
    from jaxstruc.small_angle import evidence

    volume_fractions = evidence.volume_shares([body_fit], log_radius)[0]
    curve, background, scale, _ = fitted_curves.distribution_curve(
        saxs_data,
        fitted_curves.size_curves(saxs_data, fitted_curves.body_table(body_fit, None), log_radius),
        volume_fractions,
    )
    np.testing.assert_allclose(curve, fitted_curve.calculated, rtol=1e-3)
    assert scale == pytest.approx(fitted_curve.scale, rel=1e-3) and background[0] == pytest.approx(
        fitted_curve.background_coefficients[0], rel=0.02
    )
