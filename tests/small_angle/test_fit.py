import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import small_angle_data

from jaxstruc.options.small_angle import SizeOptions
from jaxstruc.small_angle import data, design_matrix, fit
from jaxstruc.small_angle.design_matrix import RadiusWindow

evaluate_point = jax.jit(fit._evaluate_point, static_argnames="names")


@jax.jit
def fit_gaussian(table, data, start):
    window = RadiusWindow(jnp.log(40.0), jnp.asarray(0.015), jnp.asarray(0.1))
    design = design_matrix.design_matrix(table, data, window)
    return fit.fit_distributions(design, data.data, start, ("gaussian",)), design


@pytest.fixture(scope="module")
def fit_measurement():
    table = jax.tree.map(lambda part: part[0], fit.form_factor_tables(("sphere",)))

    def fit_from(measurement, *start_sizes):
        saxs_data = data.prepare_saxs_data(measurement, SizeOptions())
        start = jnp.log(jnp.asarray(start_sizes or ((42.0, 0.15), (38.0, 0.05)), jnp.float32))[:, None]
        return saxs_data, *fit_gaussian(table, saxs_data.whitened_data, start)

    return fit_from


def test_a_noiseless_curve_gives_back_mean_and_width_from_any_start(fit_measurement):
    _, size_fit, _ = fit_measurement(small_angle_data.measurement(with_noise=False))
    np.testing.assert_allclose(np.exp(np.asarray(size_fit.log_parameters)[:, 0]), [[40.0, 0.1]] * 2, rtol=5e-4)
    assert size_fit.converged.all() and np.all(np.asarray(size_fit.chi2) < 0.01) and not size_fit.at_bound.any()


def test_chi_squared_is_that_of_the_noise_and_the_errors_that_of_the_spread(fit_measurement):
    size_fits = [fit_measurement(small_angle_data.measurement(seed=seed))[1] for seed in range(24)]
    log_means = np.array([float(size_fit.log_parameters[0, 0, 0]) for size_fit in size_fits])
    errors = np.array(
        [np.sqrt(np.linalg.inv(np.asarray(size_fit.normal_matrix[0], float))[0, 0]) for size_fit in size_fits]
    )
    assert np.mean([float(size_fit.chi2[0]) for size_fit in size_fits]) == pytest.approx(56, abs=8)
    assert log_means.std(ddof=1) / errors.mean() == pytest.approx(1, abs=0.4)
    assert abs(log_means.mean() - np.log(40.0)) < 3 * errors.mean() / np.sqrt(24)


def test_the_normal_matrix_is_the_curvature_of_chi_squared(fit_measurement):
    """Compare with differences of chi-squared along ln mean, after the amplitude is projected out."""
    saxs_data, size_fit, design = fit_measurement(small_angle_data.measurement(with_noise=False))
    normal_matrix = np.asarray(size_fit.normal_matrix[0], float)
    projected_curvature = normal_matrix[0, 0] - normal_matrix[0, 2] ** 2 / normal_matrix[2, 2]
    step = 2e-3
    log_parameters = size_fit.log_parameters + jnp.asarray([[[step, 0.0]]])
    shifted_fit = evaluate_point(design, saxs_data.whitened_data.data, log_parameters, names=("gaussian",))
    assert float(shifted_fit.chi2[0]) == pytest.approx(projected_curvature * step**2, rel=0.05)


def test_a_width_at_its_bound_is_flagged(fit_measurement):
    _, size_fit, _ = fit_measurement(small_angle_data.measurement((40.0, 0.002, 1.0)))
    assert bool(size_fit.at_bound[0, 0, 1]) and not bool(size_fit.at_bound[0, 0, 0])


def test_a_curve_that_is_no_number_is_flagged_not_converged(fit_measurement):
    measurement = small_angle_data.measurement()
    saxs_data = data.prepare_saxs_data(measurement, SizeOptions())
    table = jax.tree.map(lambda part: part[0], fit.form_factor_tables(("sphere",)))
    nan_data = saxs_data.whitened_data._replace(data=saxs_data.whitened_data.data * jnp.nan)
    size_fit, _ = fit_gaussian(table, nan_data, jnp.log(jnp.asarray([[[42.0, 0.15]], [[38.0, 0.05]]], jnp.float32)))
    assert not size_fit.converged.any() and not np.isfinite(size_fit.chi2).any()


def test_amounts_of_two_columns_are_never_negative():
    projections = jnp.asarray([[1.0, 0.5], [1.0, -0.2], [-1.0, -1.0], [0.3, 1.0]])
    cosines = jnp.asarray([0.2, 0.2, 0.2, 0.9])
    amounts = np.asarray(design_matrix.nonnegative_pair(projections, cosines))
    for amount, product, cosine in zip(amounts, np.asarray(projections), np.asarray(cosines), strict=True):
        gradient = np.array([[1, cosine], [cosine, 1]]) @ amount - product  # Karush-Kuhn-Tucker conditions follow.
        assert np.all(amount >= 0) and np.all(gradient > -1e-6) and abs(gradient @ amount) < 1e-6


def max_start_chi2(design, data, log_parameters):
    """Return chi-squared at given parameters plus its rounding error, from sums over the nodes in float32."""
    chi2 = np.asarray(evaluate_point(design, data, log_parameters, names=("gaussian",)).chi2, float)
    rounding = design_matrix.N_NODES * np.finfo(np.float32).eps * float(jnp.sqrt(jnp.sum(data**2)))
    return (np.sqrt(chi2) + rounding) ** 2


@pytest.mark.parametrize("seed", range(4))
def test_a_fit_that_starts_at_the_truth_stays_if_the_last_bits_of_the_data_change(fit_measurement, seed):
    exact_measurement = small_angle_data.measurement(with_noise=False)
    bit_changes = np.random.default_rng(seed).integers(-4, 5, exact_measurement.intensity.shape)
    changed_measurement = small_angle_data.measurement(
        with_noise=False, intensity=exact_measurement.intensity * (1 + np.finfo(np.float32).eps * bit_changes)
    )
    saxs_data, size_fit, design = fit_measurement(changed_measurement, (40.0, 0.1), (40.0 * (1 + 1e-7 * seed), 0.1))
    start = jnp.log(jnp.asarray(((40.0, 0.1), (40.0 * (1 + 1e-7 * seed), 0.1)), jnp.float32))[:, None]
    assert (
        np.all(np.asarray(size_fit.chi2) <= max_start_chi2(design, saxs_data.whitened_data.data, start))
        and size_fit.converged.all()
    )
    np.testing.assert_allclose(np.exp(np.asarray(size_fit.log_parameters)[:, 0]), [[40.0, 0.1]] * 2, rtol=5e-4)


def test_no_fit_is_worse_than_its_start(fit_measurement):
    """The fits start from sizes that are far from those of the data."""
    start_sizes = ((90.0, 0.02), (12.0, 0.3))
    saxs_data, size_fit, design = fit_measurement(small_angle_data.measurement(), *start_sizes)
    start = jnp.log(jnp.asarray(start_sizes, jnp.float32))[:, None]
    assert (
        np.all(np.asarray(size_fit.chi2) <= max_start_chi2(design, saxs_data.whitened_data.data, start))
        and np.isfinite(size_fit.log_parameters).all()
    )


@pytest.mark.parametrize("n_points", [2000, pytest.param(5000, marks=pytest.mark.long)])
def test_a_curve_of_many_points_has_the_values_of_the_sum_over_all_points(n_points):
    """Fit narrow spheres of 450 Å, whose curve has sharp minima, with and without the projection of the points."""
    measurement = small_angle_data.measurement(
        (450.0, 0.03, 1.0), n_points=n_points, q_range=(0.002, 0.3), counts=1e6, seed=3
    )
    sigma = np.hypot(measurement.sigma, 0.01 * np.abs(measurement.intensity))
    fits = [
        fit.fit_all([saxs_data], ("sphere",), ("gaussian",))[0].body_fits[0]
        for max_points in (512, 8192)
        for saxs_data in [
            data.prepare_saxs_data(
                measurement._replace(sigma=sigma), SizeOptions(), max_direct_points=max_points
            )
        ]
    ]  # fmt: skip
    errors = np.sqrt(np.diagonal(np.linalg.inv(fits[1].normal_matrix)))
    shifts = (fits[0].log_parameters - fits[1].log_parameters)[0]
    assert np.all(np.abs(shifts) < 0.05 * errors[:2])
    np.testing.assert_allclose(np.sqrt(np.diagonal(np.linalg.inv(fits[0].normal_matrix))), errors, rtol=0.01)
    assert fits[0].chi2 == pytest.approx(fits[1].chi2, abs=1.0)


def test_three_populations_over_a_factor_of_forty_are_found():
    q = np.geomspace(0.003, 0.3, 150)
    populations = (20.0, 0.1, 0.2), (120.0, 0.1, 0.4), (800.0, 0.1, 0.4)
    intensity = small_angle_data.sphere_intensity(q, *populations)
    sigma = 0.01 * intensity
    noisy_intensity = intensity + sigma * np.random.default_rng(1).standard_normal(150)
    saxs_data = data.prepare_saxs_data(
        small_angle_data.measurement(q=q, intensity=noisy_intensity, sigma=sigma), SizeOptions()
    )
    (body_fit,) = fit.fit_all([saxs_data], ("sphere",), ("three",))[0].body_fits
    means, widths = np.exp(body_fit.log_parameters).T
    np.testing.assert_allclose(means, [20.0, 120.0, 800.0], rtol=0.02)
    np.testing.assert_allclose(widths, 0.1, atol=0.02)
    np.testing.assert_allclose(body_fit.amplitude / body_fit.amplitude.sum(), [0.2, 0.4, 0.4], atol=0.02)
    assert body_fit.converged and body_fit.chi2 < 200


def test_amplitudes_of_three_curves_are_those_of_nonnegative_least_squares():
    rng = np.random.default_rng(0)
    unit_curves, observed = rng.uniform(size=(20, 3, 40)), rng.normal(size=(20, 40)) + 0.2
    unit_curves /= np.linalg.norm(unit_curves, axis=2, keepdims=True)
    cosines, projections = unit_curves @ unit_curves.transpose(0, 2, 1), np.einsum("fpq,fq->fp", unit_curves, observed)
    amplitudes = np.asarray(fit._nonnegative_amplitudes(*(jnp.asarray(x, jnp.float32) for x in (projections, cosines))))
    expected = np.array(
        [scipy.optimize.nnls(curve.T, values)[0] for curve, values in zip(unit_curves, observed, strict=True)]
    )
    np.testing.assert_allclose(amplitudes, expected, atol=1e-3)
    assert (expected == 0).any() and (expected > 0).all(axis=1).any()
