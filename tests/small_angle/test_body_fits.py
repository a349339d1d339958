import numpy as np
import pytest
import small_angle_data

from jaxstruc.options.small_angle import SizeOptions
from jaxstruc.small_angle import data, fit, fitted_curves


def make_saxs_data(*populations, **options):
    return data.prepare_saxs_data(small_angle_data.measurement(*populations, **options), SizeOptions())


def test_a_fit_alone_is_the_same_as_among_others_of_other_sizes():
    data_sets = [
        make_saxs_data(),
        make_saxs_data((60.0, 0.05, 1.0), n_points=100),
        make_saxs_data((25.0, 0.2, 1.0), seed=3),
    ]
    batch_fits = fit.fit_all(data_sets, ("sphere",), ("gaussian",))
    for saxs_data, batch_fit in zip(data_sets, batch_fits, strict=True):
        (single_fit,) = fit.fit_all([saxs_data], ("sphere",), ("gaussian",))
        np.testing.assert_array_equal(single_fit.body_fits[0].log_parameters, batch_fit.body_fits[0].log_parameters)
        assert single_fit.body_fits[0].chi2 == batch_fit.body_fits[0].chi2
    mean_radii = [float(np.exp(file_fits.body_fits[0].log_parameters[0, 0])) for file_fits in batch_fits]
    np.testing.assert_allclose(mean_radii, [40.0, 60.0, 25.0], rtol=0.01)


def test_a_second_call_does_not_compile_again():
    fit.fit_all([make_saxs_data()], ("sphere",), ("gaussian",))
    n_compiled = fit.fit_single_populations._cache_size()
    fit.fit_all([make_saxs_data((33.0, 0.07, 1.0), seed=4)] * 2, ("sphere",), ("gaussian",))
    assert fit.fit_single_populations._cache_size() == n_compiled


@pytest.mark.slow
def test_two_populations_come_back_with_their_shares():
    saxs_data = make_saxs_data((30.0, 0.08, 0.6), (48.0, 0.08, 0.4), counts=1e6)
    (saxs_fits,) = fit.fit_all([saxs_data], ("sphere",), ("two",))
    (pair_fit,) = saxs_fits.body_fits
    order = np.argsort(pair_fit.log_parameters[:, 0])
    np.testing.assert_allclose(np.exp(pair_fit.log_parameters[order]), [[30.0, 0.08], [48.0, 0.08]], rtol=0.08)
    np.testing.assert_allclose((pair_fit.amplitude / pair_fit.amplitude.sum())[order], [0.6, 0.4], atol=0.03)
    assert pair_fit.n_parameters == 6 and pair_fit.converged
    log_radius = float(saxs_fits.window.center) + np.linspace(-1.2, 1.2, 512)
    (fitted_curve,) = fitted_curves.fitted_curves(saxs_data, saxs_fits.body_fits, log_radius, 1.0)
    assert set(fitted_curve.parameter_names) >= {"radius_1", "pd_1", "radius_2", "pd_2"}
