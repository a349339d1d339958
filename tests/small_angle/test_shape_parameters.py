"""Bodies with a shape parameter: tables against sasmodels 1.1.0, limits, and gradients at the sphere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sasmodels_parity

from jaxstruc.small_angle import form_factors, shape_parameters, structure_factor
from jaxstruc.small_angle.shape_parameters import SHAPE_PARAMETERS, shape_table

SASMODELS_CURVES = sasmodels_parity.golden_curves()
Q = SASMODELS_CURVES["q"]
X = np.linspace(0.0, 79.0, 400)
squared_amplitude = jax.jit(form_factors.squared_amplitude)


def fit_curve(body, value, radius, *, contrast_ratio=1.0):
    """Return V P at Q for a volume in Å³, as the fits compute it."""
    table = shape_table(body, value, contrast_ratio=contrast_ratio)
    return np.asarray(squared_amplitude(table, jnp.asarray(Q), jnp.asarray(radius))) * 4 / 3 * np.pi * radius**3


@pytest.mark.parametrize(
    ("name", "body", "value", "volume"),
    [
        ("spheroid 0.5", "spheroid", 0.5, 4 / 3 * np.pi * 20 * 40**2),
        ("spheroid 3", "spheroid", 3.0, 4 / 3 * np.pi * 60 * 20**2),
        ("cylinder 0.25", "cylinder", 0.25, np.pi * 40**2 * 20),
        ("cylinder 2", "cylinder", 2.0, np.pi * 20**2 * 80),
    ],
)
def test_tables_of_fits_are_the_curves_of_sasmodels(name, body, value, volume, x64):
    radius = np.cbrt(volume / (4 / 3 * np.pi))
    expected = SASMODELS_CURVES[name] / (1e-4 * (130.0 - 9.5) ** 2)
    np.testing.assert_allclose(fit_curve(body, value, radius), expected, rtol=1e-4)


def test_shells_of_fits_are_those_of_sasmodels(x64):
    core = 130.0 - 9.5
    curve = fit_curve("core-shell", 8.0, 38.0, contrast_ratio=(20.0 - 9.5) / core)
    np.testing.assert_allclose(1e-4 * core**2 * curve, SASMODELS_CURVES["core_shell"], rtol=1e-6)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3, 0.5])
def test_hard_spheres_of_fits_are_form_factor_times_structure_factor(fraction, x64):
    """The tolerance is relative to P S or to the envelope of P, because P vanishes at its minima."""
    x = jnp.asarray(X)
    expected = form_factors.sphere(x) * structure_factor.hard_spheres(x, 1.0, fraction)
    table_values = squared_amplitude(shape_table("hard-sphere", fraction, contrast_ratio=1.0), x, jnp.asarray(1.0))
    scale = np.maximum(expected, 4.5 / np.maximum(X, 1) ** 4)
    np.testing.assert_array_less(np.abs(table_values - expected) / scale, 1e-4)


@pytest.mark.parametrize(("body", "value"), [("spheroid", 1.0), ("hard-sphere", 0.0), ("core-shell", 0.0)])
def test_the_neutral_value_makes_a_sphere(body, value, x64):
    x = jnp.asarray(X)
    table_values = squared_amplitude(shape_table(body, value, contrast_ratio=0.3), x, jnp.asarray(1.0))
    np.testing.assert_allclose(table_values, form_factors.sphere(x), atol=1e-6)


@pytest.mark.parametrize(
    ("function", "value", "is_even"),
    [
        (form_factors.spheroid, 1.0, True),
        (form_factors.cylinder, 1.0, False),
        (lambda x, share: form_factors.core_shell(x, share, 1.0, 0.4), 0.0, False),
        (lambda x, fraction: structure_factor.hard_spheres(x, 1.0, fraction), 0.0, False),
    ],
)
def test_slopes_are_finite_also_at_aspect_one_and_without_a_shell(function, value, is_even, x64):
    """To first order, a spheroid of constant volume scatters like a sphere."""
    x = jnp.asarray([0.0, 0.01, 0.7, 2.0, 6.0, 20.0])
    slope = np.asarray(jax.jit(jax.jacfwd(lambda value: function(x, value)))(value))
    assert np.all(np.isfinite(slope))
    assert np.all(np.abs(slope) < 1e-6) if is_even else np.all(np.abs(slope[2:]) > 1e-7)
    gradient = np.asarray(jax.jit(jax.grad(lambda x: jnp.sum(function(x, value))))(x))
    assert np.all(np.isfinite(gradient))


def test_trial_values_cover_the_prior_in_ascending_order():
    for name, parameter in SHAPE_PARAMETERS.items():
        values = [parameter.value(float(u), 40.0) for u in parameter.trial_coordinates]
        assert np.all(np.diff(values) > 0), name
    aspects = [SHAPE_PARAMETERS["cylinder"].value(float(u), 40.0) for u in (-np.log(20), np.log(20))]
    np.testing.assert_allclose(aspects, [1 / 20, shape_parameters.MAX_ASPECT])
    assert SHAPE_PARAMETERS["core-shell"].value(0.2, 40.0) == pytest.approx(8.0)


@pytest.mark.parametrize("value", [0.0, 0.3, 7.0])
def test_values_for_a_difference_lie_on_both_sides_and_are_not_negative(value):
    low, high = SHAPE_PARAMETERS["hard-sphere"].neighbours(value, 0.01)
    assert 0 <= low <= value < high and high - low < 0.03 * max(value, 0.1)
