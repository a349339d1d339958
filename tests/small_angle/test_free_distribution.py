import numpy as np
import pytest
import small_angle_data

from jaxstruc.small_angle import free_distribution


@pytest.fixture(scope="module")
def two_peaks():
    q = np.linspace(0.01, 0.4, 80)
    intensity = small_angle_data.sphere_intensity(q, (30.0, 0.08, 0.5), (55.0, 0.08, 0.5))
    log_radius = np.linspace(np.log(12), np.log(120), 400)
    bin_log_radius, hat_values = free_distribution.hat_functions(log_radius)
    size_curves = (
        small_angle_data.sphere_form_factor(q[:, None] * np.exp(log_radius)) * np.exp(3 * log_radius)
    ) @ hat_values
    sigma = np.sqrt(intensity.max() * intensity) / 300
    noise = np.random.default_rng(0).standard_normal(80)
    free_fit = free_distribution.fit_free_distribution(
        size_curves / sigma[:, None], intensity / sigma + noise, n_draws=40
    )
    return np.exp(bin_log_radius), free_fit


def test_the_interior_point_ends_where_a_slope_or_a_share_is_zero():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=(3, 20, 12))
    matrix, linear_term = np.einsum("bij,bik->bjk", factor, factor), rng.normal(size=(3, 12))
    solution = free_distribution.nonnegative_minimum(matrix, linear_term)
    gradient = np.einsum("bij,bj->bi", matrix, solution) - linear_term
    assert np.all(solution >= 0) and np.all(gradient > -1e-4) and np.abs(solution * gradient).max() < 1e-5
    assert (solution == 0).any() and (solution > 0).any()


def test_two_peaks_are_resolved_within_the_noise(two_peaks):
    radius, free_fit = two_peaks
    fractions = free_fit.amplitudes / free_fit.amplitudes.sum()
    assert free_fit.chi2 == pytest.approx(75, abs=30) and np.all(fractions >= 0)
    assert fractions[(radius > 25) & (radius < 36)].sum() == pytest.approx(0.5, abs=0.06)
    assert fractions[(radius > 38) & (radius < 43)].sum() < 0.1
    assert 3 < free_fit.n_determined < 30


def test_the_band_holds_the_truth(two_peaks):
    radius, free_fit = two_peaks
    fraction_draws = free_fit.amplitude_draws / free_fit.amplitude_draws.sum(axis=1, keepdims=True)
    lower_bound, upper_bound = np.quantile(fraction_draws[:, radius < 42].sum(axis=1), [0.01, 0.99])
    assert lower_bound < 0.5 < upper_bound and upper_bound - lower_bound < 0.1


def test_noisier_data_choose_a_smoother_distribution():
    log_radius = np.linspace(np.log(12), np.log(120), 400)
    q = np.linspace(0.01, 0.3, 60)
    _, hat_values = free_distribution.hat_functions(log_radius)
    size_curves = (
        small_angle_data.sphere_form_factor(q[:, None] * np.exp(log_radius)) * np.exp(3 * log_radius)
    ) @ hat_values
    intensity = small_angle_data.sphere_intensity(q, (40.0, 0.25, 1.0))
    noise = np.random.default_rng(2).standard_normal(60)
    n_determined = [
        free_distribution.fit_free_distribution(size_curves / sigma, intensity / sigma + noise).n_determined
        for sigma in (intensity.max() / 1e4, intensity.max() / 30)
    ]
    assert n_determined[0] > n_determined[1] + 1


def quadratic_problem(seed):
    """Return matrix, right side and minimum of quadratic problems whose minimum is positive and near the start."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(3, 40, 12))
    matrix, minimum = np.einsum("bij,bik->bjk", factor, factor), rng.uniform(0.5, 1.5, size=(3, 12))
    return matrix, np.einsum("bij,bj->bi", matrix, minimum), minimum


@pytest.mark.parametrize("seed", range(3))
def test_the_minimum_stays_if_the_last_bits_of_the_side_change(seed):
    matrix, linear_term, minimum = quadratic_problem(seed)
    bit_changes = np.random.default_rng(seed).integers(-4, 5, linear_term.shape)
    solution = free_distribution.nonnegative_minimum(matrix, linear_term * (1 + np.finfo(float).eps * bit_changes))
    np.testing.assert_allclose(solution, minimum, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_minimum_costs_no_more_than_the_start(scale):
    """The start is 1 for every element, in units in which the matrix has a unit diagonal."""
    rng = np.random.default_rng(5)
    factor = rng.normal(size=(6, 4, 12))  # The minimum is not unique, because there are fewer rows than columns.
    matrix, linear_term = (
        np.einsum("bij,bik->bjk", factor, factor),
        scale * np.einsum("bij,bi->bj", factor, np.ones((6, 4))),
    )
    solution = free_distribution.nonnegative_minimum(matrix, linear_term)
    root_curvature = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
    start = np.abs(linear_term / root_curvature).max(axis=1, keepdims=True) / root_curvature

    def cost(point):
        return 0.5 * np.einsum("bi,bij,bj->b", point, matrix, point) - np.sum(linear_term * point, axis=1)

    assert np.isfinite(solution).all() and (solution >= 0).all() and np.all(cost(solution) <= cost(start))


def test_a_minimum_alone_equals_the_one_in_a_batch():
    matrix, linear_term, _ = quadratic_problem(0)
    matrix[1] += 1e3 * np.ones((12, 12))
    linear_term[2, :6] *= -1
    batch_solution = free_distribution.nonnegative_minimum(matrix, linear_term)
    for index in range(3):
        single_solution = free_distribution.nonnegative_minimum(
            matrix[index : index + 1], linear_term[index : index + 1]
        )[0]
        np.testing.assert_allclose(batch_solution[index], single_solution, rtol=1e-9, atol=1e-12)
