import numpy as np
import pytest
import sized

import jaxstruc
from jaxstruc.inference.saxs_result import SaxsResult
from jaxstruc.result import from_arrays, to_arrays


def fit(*populations, body=("sphere",), distribution=("gaussian",), **more):
    return jaxstruc.saxs(sized.measurement(*populations, **more), body=body, distribution=distribution)


def test_a_sphere_comes_back_with_errors_intervals_and_its_curve():
    found = sized.result()
    assert (found.status, found.body, found.best.family) == ("solved", "sphere", "gaussian")
    radius, pd = found.best.values["radius"], found.best.values["pd"]
    assert abs(radius.value - 40.0) < 4 * radius.error and radius.error < 0.5 and radius.unit == "Å"
    assert abs(pd.value - 0.1) < 4 * pd.error and pd.error < 0.02
    told = found.intervals["radius"]
    assert told.high - told.low == pytest.approx(3.29 * radius.error, rel=0.25)
    assert found.best.notes["chi2"] == pytest.approx(1, abs=0.4)
    np.testing.assert_allclose(found.curve().calculated, found.intensity, atol=6 * found.sigma.max())
    assert found.intervals["mean_diameter"].value == pytest.approx(2 * 40 * (1 + 6 * 0.01 / 2), rel=0.03)


def test_a_result_of_small_angles_is_written_and_read_without_loss():
    found = sized.result()
    back = from_arrays(to_arrays(found), (SaxsResult,))
    assert back.sizes.method == found.sizes.method and back.types == found.types and back.body == found.body
    np.testing.assert_array_equal(back.sizes.volume_high, found.sizes.volume_high)
    np.testing.assert_array_equal(back.curve().calculated, found.curve().calculated)
    assert isinstance(back, SaxsResult) and back.intervals == found.intervals


def test_a_shape_that_the_range_cannot_tell_is_not_told():
    found = fit(body=("sphere", "cube"), ends=(0.01, 0.05), counts=1e4)
    assert found.body == "not determined" and "shape not determined" in found.message
    assert sum(found.types.values()) == pytest.approx(1) and max(found.types.values()) < 0.95


def test_a_shape_that_it_can_tell_is_told():
    found = fit((40.0, 0.05, 1.0), body=("sphere", "cube"), counts=1e6)
    assert found.body == "sphere" and found.types["sphere"] > 0.99


def test_a_flat_curve_has_no_particles():
    flat = sized.measurement()
    random = np.random.default_rng(0)
    flat = flat._replace(intensity=100 + random.standard_normal(60), sigma=np.ones(60))
    found = jaxstruc.saxs(flat, body=("sphere",), distribution=("gaussian",))
    assert found.status == "failed" and "background alone" in found.message and not found.candidates


def test_a_range_too_short_to_see_a_size_is_said():
    found = fit((3.0, 0.1, 1.0), ends=(0.01, 0.06), counts=3e3)
    assert found.status != "solved" and ("too short" in found.message or "background alone" in found.message)


def test_a_size_beyond_the_least_q_is_weak():
    one = sized.measurement()
    porod = one._replace(intensity=0.01 * one.q**-4, sigma=1e-4 * one.q**-4)
    assert jaxstruc.saxs(porod, body=("sphere",), distribution=("gaussian",)).status == "weak"
    found = fit((60.0, 0.1, 1.0), ends=(0.07, 0.35), counts=1e5)
    assert found.status == "weak" and "too high to see how large" in found.message


def test_a_misfit_is_weak_and_its_errors_are_wider():
    good, bad = (fit((30.0, 0.05, 0.5), (60.0, 0.05, 0.5), counts=counts) for counts in (1e3, 1e6))
    assert bad.status == "weak" and "no body explains" in bad.message and bad.facts["noise_scale"] > 4
    assert good.facts["noise_scale"] < bad.facts["noise_scale"]


def test_gathered_points_are_judged_as_few_are():
    """A curve of three populations, which no distribution with parameters explains, at 200 points and at 1200."""
    populations = (20.0, 0.06, 0.3), (38.0, 0.06, 0.4), (70.0, 0.06, 0.3)
    asked = {"body": ("sphere",), "distribution": ("gaussian", "free")}
    few, many = (fit(*populations, points=points, counts=1e5, **asked) for points in (200, 1200))
    for found in (few, many):
        assert found.best.family == "free" and found.status == "solved"
        assert found.best.notes["chi2"] == pytest.approx(1, abs=0.5)
    assert "1200 points gathered to" in many.message and len(many.q) == len(many.intensity) <= 512
