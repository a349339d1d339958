import numpy as np
import pytest
import small_angle_data

import jaxstruc
from jaxstruc.result import from_arrays, to_arrays
from jaxstruc.small_angle.result import SaxsResult


def fit_populations(*populations, body=("sphere",), distribution=("gaussian",), **options):
    return jaxstruc.saxs(small_angle_data.measurement(*populations, **options), body=body, distribution=distribution)


def test_a_sphere_comes_back_with_errors_intervals_and_its_curve():
    result = small_angle_data.result()
    assert (result.status, result.body, result.best.family) == ("solved", "sphere", "gaussian")
    radius, pd = result.best.values["radius"], result.best.values["pd"]
    assert abs(radius.value - 40.0) < 4 * radius.error and radius.error < 0.5 and radius.unit == "Å"
    assert abs(pd.value - 0.1) < 4 * pd.error and pd.error < 0.02
    interval = result.intervals["radius"]
    assert interval.high - interval.low == pytest.approx(3.29 * radius.error, rel=0.25)
    assert result.best.notes["chi2"] == pytest.approx(1, abs=0.4)
    np.testing.assert_allclose(result.curve().calculated, result.intensity, atol=6 * result.sigma.max())
    assert result.intervals["mean_diameter"].value == pytest.approx(2 * 40 * (1 + 6 * 0.01 / 2), rel=0.03)


def test_a_result_of_small_angles_is_written_and_read_without_loss():
    result = small_angle_data.result()
    loaded_result = from_arrays(to_arrays(result), (SaxsResult,))
    assert (
        loaded_result.sizes.method == result.sizes.method
        and loaded_result.types == result.types
        and loaded_result.body == result.body
    )
    np.testing.assert_array_equal(loaded_result.sizes.volume_high, result.sizes.volume_high)
    np.testing.assert_array_equal(loaded_result.curve().calculated, result.curve().calculated)
    assert isinstance(loaded_result, SaxsResult) and loaded_result.intervals == result.intervals


def test_a_shape_that_the_range_does_not_determine_is_not_stated():
    result = fit_populations(body=("sphere", "cube"), q_range=(0.01, 0.05), counts=1e4)
    assert result.body == "not determined" and "shape not determined" in result.message
    assert sum(result.types.values()) == pytest.approx(1) and max(result.types.values()) < 0.95


def test_a_shape_that_the_range_determines_is_stated():
    result = fit_populations((40.0, 0.05, 1.0), body=("sphere", "cube"), counts=1e6)
    assert result.body == "sphere" and result.types["sphere"] > 0.99


def test_a_flat_curve_has_no_particles():
    flat_measurement = small_angle_data.measurement()
    rng = np.random.default_rng(0)
    flat_measurement = flat_measurement._replace(intensity=100 + rng.standard_normal(60), sigma=np.ones(60))
    result = jaxstruc.saxs(flat_measurement, body=("sphere",), distribution=("gaussian",))
    assert result.status == "failed" and "background alone" in result.message and not result.candidates


def test_a_range_too_short_for_a_size_is_reported():
    result = fit_populations((3.0, 0.1, 1.0), q_range=(0.01, 0.06), counts=3e3)
    assert result.status != "solved" and ("too short" in result.message or "background alone" in result.message)


def test_a_size_beyond_the_least_q_is_weak():
    measurement = small_angle_data.measurement()
    porod_measurement = measurement._replace(intensity=0.01 * measurement.q**-4, sigma=1e-4 * measurement.q**-4)
    assert jaxstruc.saxs(porod_measurement, body=("sphere",), distribution=("gaussian",)).status == "weak"
    result = fit_populations((60.0, 0.1, 1.0), q_range=(0.07, 0.35), counts=1e5)
    assert result.status == "weak" and "too high to determine the size" in result.message


def test_a_misfit_is_weak_and_its_errors_are_wider():
    noisy_result, precise_result = (
        fit_populations((30.0, 0.05, 0.5), (60.0, 0.05, 0.5), counts=counts) for counts in (1e3, 1e6)
    )
    assert (
        precise_result.status == "weak"
        and "no body explains" in precise_result.message
        and precise_result.facts["noise_scale"] > 4
    )
    assert noisy_result.facts["noise_scale"] < precise_result.facts["noise_scale"]


@pytest.mark.long
def test_many_points_are_rated_as_few_are():
    """Fit a curve of three populations, which no parametric distribution explains, at 120 and at 1200 points."""
    populations = (20.0, 0.06, 0.3), (38.0, 0.06, 0.4), (70.0, 0.06, 0.3)
    fit_options = {"body": ("sphere",), "distribution": ("gaussian", "free")}
    few_points_result, many_points_result = (
        fit_populations(*populations, n_points=points, counts=1e5, **fit_options) for points in (120, 1200)
    )
    for result in (few_points_result, many_points_result):
        assert result.best.family == "free" and result.status == "solved"
        assert result.best.notes["chi2"] == pytest.approx(1, abs=0.5)
    assert len(many_points_result.q) == len(many_points_result.intensity) == 1200


def test_a_body_is_named_from_95_percent_on():
    for probability, body in ((0.95, "cube"), (0.94, "not determined")):
        types = {"sphere": 1 - probability, "cube": probability}
        assert SaxsResult("a.dat", "", "", "solved", "", types=types).body == body
    failed_result = SaxsResult("a.dat", "", "", "failed", "no fit")
    assert failed_result.body == "" and failed_result.distribution == {}


def test_a_misfit_beyond_the_range_of_bodies_is_weak_and_says_why():
    """A curve that follows a sphere up to 0.4 1/Å and differs from it beyond, as that of a small cluster of atoms."""
    measurement = small_angle_data.measurement((9.0, 0.03, 1.0), n_points=100, q_range=(0.01, 1.0), with_noise=False)
    atoms = 1 + 0.5 * np.maximum(measurement.q - 0.4, 0) ** 2
    measurement = measurement._replace(intensity=measurement.intensity * atoms, sigma=None)
    result = jaxstruc.saxs(measurement, body=("sphere",), distribution=("gaussian",))
    assert result.status == "weak" and "beyond about 0.4 1/Å the atoms matter" in result.message


def test_sizes_that_the_range_of_q_does_not_determine_are_marked():
    result = small_angle_data.result()
    table = result.distribution
    is_outside = (table["radius"] < np.pi / 0.35) | (table["radius"] > np.pi / 0.01)
    assert is_outside.any() and np.array_equal(table["determined"] == "no", is_outside)
    assert result.facts["n_populations"] == 1
