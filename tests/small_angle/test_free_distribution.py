import math

import numpy as np
import pytest
import small_angle_data

from jaxstruc.small_angle import free_distribution

Q = np.linspace(0.01, 0.4, 80)


def bin_curves(q, bins, dq=None):
    return free_distribution.bin_curves("sphere", bins, free_distribution.curve_interpolation(bins, q, dq))


def fit_spheres(*populations, q=Q, relative_sigma=1 / 300, seed=0, **options):
    """Return the bins, the problem and the fit of a free distribution to spheres with noise."""
    bins = free_distribution.size_bins(q[0], q[-1])
    intensity = small_angle_data.sphere_intensity(q, *populations)
    sigma = np.sqrt(intensity.max() * intensity) * relative_sigma
    noise = np.random.default_rng(seed).standard_normal(len(q))
    problem = free_distribution.free_problem(bin_curves(q, bins) / sigma[:, None], intensity / sigma + noise)
    return bins, problem, free_distribution.fit_free_distribution(problem, **options)


@pytest.fixture(scope="module")
def two_peaks():
    bins, _, free_fit = fit_spheres((30.0, 0.08, 0.5), (55.0, 0.08, 0.5), n_draws=40)
    return np.exp(bins.centers), free_fit


def test_the_bins_cover_all_radii_that_the_range_of_q_determines():
    bins = free_distribution.size_bins(0.005, 0.5)
    assert np.exp(bins.centers[0]) <= np.pi / 0.5 and np.exp(bins.centers[-1]) >= np.pi / 0.005
    u = np.linspace(bins.centers[0] - 1, bins.centers[-1] + 1, 20001)
    np.testing.assert_allclose(bins.densities(u).sum(axis=0) * (u[1] - u[0]), 1, rtol=1e-6)


@pytest.mark.parametrize("smeared", [False, True])
def test_the_curve_of_a_bin_is_the_mean_over_its_sizes(smeared):
    """Compare with a slow sum over the spline, and over the resolution at nodes from -2.5 to 3 standard deviations."""
    q = np.geomspace(0.005, 0.5, 60)
    bins = free_distribution.size_bins(q[0], q[-1])
    dq = 0.05 * q if smeared else None
    computed_curves = bin_curves(q, bins, dq)
    v = np.linspace(-2, 2, 2001)
    spline = np.where(np.abs(v) < 1, 2 / 3 - v**2 + np.abs(v) ** 3 / 2, (2 - np.abs(v)) ** 3 / 6)
    offset = np.linspace(-2.5, 3.0, 61) if smeared else np.zeros(1)
    weight = np.exp(-(offset**2) / 2) * (np.r_[0.5, np.ones(59), 0.5] if smeared else 1)
    for index in (0, 40, 80, bins.n_bins - 10):
        radius = np.exp(bins.centers[index] + bins.step * v)
        means = np.stack(
            [
                small_angle_data.sphere_form_factor(np.abs(q + shift * (dq if smeared else 0))[:, None] * radius)
                @ (spline * radius**3)
                for shift in offset
            ]
        )
        reference = weight @ means / weight.sum() / spline.sum()
        np.testing.assert_allclose(computed_curves[:, index], reference, rtol=3e-3 if smeared else 1e-3)


def test_the_minimum_ends_where_a_slope_or_a_share_is_zero():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=(20, 12))
    matrix, right_sides = factor.T @ factor, rng.normal(size=(3, 12))
    solution = free_distribution.nonnegative_minimum(matrix, right_sides)
    gradient = solution @ matrix - right_sides
    assert np.all(solution >= 0) and np.all(gradient > -1e-8) and np.abs(solution * gradient).max() < 1e-8
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
    in_range = radius > 20
    fraction_draws = free_fit.amplitude_draws / free_fit.amplitude_draws[:, in_range].sum(axis=1, keepdims=True)
    lower_bound, upper_bound = np.quantile(fraction_draws[:, in_range & (radius < 42)].sum(axis=1), [0.01, 0.99])
    assert lower_bound < 0.5 < upper_bound and upper_bound - lower_bound < 0.1


def test_noisier_data_choose_a_smoother_distribution():
    n_determined = [
        fit_spheres((40.0, 0.25, 1.0), relative_sigma=sigma, seed=2)[2].n_determined for sigma in (1e-3, 0.05)
    ]
    assert n_determined[0] > n_determined[1] + 1


@pytest.mark.parametrize(
    "populations",
    [
        ((40.0, 0.25, 1.0),),
        ((30.0, 0.08, 0.5), (70.0, 0.08, 0.5)),
        ((15.0, 0.08, 0.2), (40.0, 0.08, 0.3), (110.0, 0.08, 0.3), (280.0, 0.08, 0.2)),
    ],
)
def test_populations_are_counted_as_maxima_that_the_data_separate(populations):
    q = np.geomspace(0.005, 0.5, 200)
    _, problem, free_fit = fit_spheres(*populations, q=q, relative_sigma=1e-3)
    assert free_distribution.count_populations(problem, free_fit, 1.0) == len(populations)


def test_the_distribution_of_lifshitz_slyozov_and_wagner_is_one_population():
    """The density falls steeply at 1.5 times the mean, which no parametric distribution of the fits describes."""
    q = np.geomspace(0.005, 0.5, 200)
    ratio = np.linspace(1e-3, 1.5, 600)[:-1]
    number = np.exp(
        2 * np.log(ratio) - 7 / 3 * np.log(3 + ratio) - 11 / 3 * np.log(1.5 - ratio) - ratio / (1.5 - ratio)
    )
    radius = 60.0 * ratio
    intensity = small_angle_data.sphere_form_factor(q[:, None] * radius) @ (number * radius**6)
    sigma = 0.01 * intensity
    bins = free_distribution.size_bins(q[0], q[-1])
    noise = np.random.default_rng(3).standard_normal(len(q))
    problem = free_distribution.free_problem(bin_curves(q, bins) / sigma[:, None], intensity / sigma + noise)
    free_fit = free_distribution.fit_free_distribution(problem)
    assert free_fit.chi2 == pytest.approx(190, abs=60)
    assert free_distribution.count_populations(problem, free_fit, 1.0) == 1
    volumes = free_fit.amplitudes / free_fit.amplitudes.sum()
    mean_radius = (number * radius**4).sum() / (number * radius**3).sum()
    assert volumes @ np.exp(bins.centers) == pytest.approx(mean_radius, rel=0.02)


def test_maxima_are_divided_at_the_minima_between_them():
    regions = free_distribution.population_regions(np.array([0.0, 1, 3, 2, 2, 4, 0, 0, 0, 1, 0]))
    assert [region.tolist() for region in regions] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9, 10]]


def test_the_priors_of_all_sets_of_intervals_sum_to_one():
    """Nine bins have ten gaps for the two ends of each interval."""
    probabilities = [
        math.comb(10, 2 * count) * math.exp(free_distribution.log_support_prior(9, count)) for count in range(1, 6)
    ]
    assert sum(probabilities) == pytest.approx(1)


def quadratic_problem(seed):
    """Return matrix, right side and minimum of a quadratic problem whose minimum is positive."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(40, 12))
    matrix, minimum = factor.T @ factor, rng.uniform(0.5, 1.5, size=12)
    return matrix, matrix @ minimum, minimum


@pytest.mark.parametrize("seed", range(3))
def test_the_minimum_stays_if_the_last_bits_of_the_side_change(seed):
    matrix, linear_term, minimum = quadratic_problem(seed)
    bit_changes = np.random.default_rng(seed).integers(-4, 5, linear_term.shape)
    solution = free_distribution.nonnegative_minimum(matrix, linear_term * (1 + np.finfo(float).eps * bit_changes))
    np.testing.assert_allclose(solution, minimum, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_minimum_of_a_singular_matrix_costs_no_more_than_a_start(scale):
    rng = np.random.default_rng(5)
    factor = rng.normal(size=(4, 12))  # The minimum is not unique, because there are fewer rows than columns.
    matrix, linear_term = factor.T @ factor, scale * factor.T @ np.ones(4)
    solution = free_distribution.nonnegative_minimum(matrix, linear_term)

    def cost(point):
        return 0.5 * point @ matrix @ point - linear_term @ point

    assert np.isfinite(solution).all() and (solution >= 0).all() and cost(solution) <= cost(scale * np.ones(12))


def test_a_minimum_alone_equals_the_one_in_a_batch():
    matrix, _, _ = quadratic_problem(0)
    right_sides = np.random.default_rng(1).normal(size=(3, 12))
    batch_solution = free_distribution.nonnegative_minimum(matrix, right_sides)
    for index in range(3):
        np.testing.assert_allclose(
            batch_solution[index], free_distribution.nonnegative_minimum(matrix, right_sides[index]), rtol=1e-9
        )
