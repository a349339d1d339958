import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxstruc.small_angle import form_factors

X = np.concatenate([np.linspace(0, 3, 61), np.linspace(3.3, 60, 200)])


def test_the_sphere_is_its_bessel_function(x64):
    amplitudes = jax.jit(form_factors.sphere_amplitude)(jnp.asarray(X))
    np.testing.assert_allclose(amplitudes[1:], 3 * special.spherical_jn(1, X[1:]) / X[1:], atol=1e-15, rtol=1e-12)
    assert amplitudes[0] == 1


def test_single_precision_keeps_six_digits_at_small_angles():
    x = np.float32(np.geomspace(1e-4, 3, 300))
    exact_amplitudes = 3 * special.spherical_jn(1, x.astype(float)) / x
    np.testing.assert_allclose(form_factors.sphere_amplitude(jnp.asarray(x)), exact_amplitudes, rtol=1e-6)


def test_the_disc_is_its_bessel_function(x64):
    np.testing.assert_allclose(
        jax.jit(form_factors.disc_amplitude)(jnp.asarray(X))[1:], 2 * special.j1(X[1:]) / X[1:], atol=2e-7
    )


def test_a_spheroid_of_aspect_one_is_a_sphere(x64):
    x = jnp.asarray(X)
    np.testing.assert_allclose(jax.jit(form_factors.spheroid)(x, 1.0), form_factors.sphere(x), atol=1e-13)


@pytest.mark.parametrize("aspect", [0.3, 1.0, 2.5])
def test_bodies_of_revolution_have_their_radius_of_gyration(aspect, x64):
    """Compare with (2a² + c²)/5 of a spheroid, and r²/2 + L²/12 of a cylinder."""
    x = jnp.asarray([1e-3])
    equator = aspect ** (-1 / 3)
    radius = (2 / (3 * aspect)) ** (1 / 3)
    for form_factor, squared_radius in [
        (jax.jit(form_factors.spheroid)(x, aspect), equator**2 * (2 + aspect**2) / 5),
        (jax.jit(form_factors.cylinder)(x, aspect), radius**2 * (1 / 2 + aspect**2 / 3)),
    ]:
        assert (1 - form_factor[0]) * 3e6 == pytest.approx(squared_radius, rel=1e-4)


def test_a_shell_of_the_cores_density_makes_a_larger_sphere(x64):
    x = jnp.asarray(X)
    np.testing.assert_allclose(form_factors.core_shell(x, 0.3, 2.0, 2.0), 4 * form_factors.sphere(x), atol=1e-14)
    np.testing.assert_allclose(
        form_factors.core_shell(x, 0.3, 2.0, 0.0), 4 * 0.7**6 * form_factors.sphere(0.7 * x), atol=1e-14
    )


def slope_and_difference(function, *arguments):
    """Return the derivative of a function by its last argument, and its central difference."""
    *fixed_arguments, last_argument = arguments
    step = 1e-5
    value_above, value_below = (
        np.asarray(function(*fixed_arguments, last_argument + shift)) for shift in (step, -step)
    )
    return jax.jit(jax.jacfwd(function, argnums=len(fixed_arguments)))(*arguments), (value_above - value_below) / (
        2 * step
    )


@pytest.mark.parametrize("body", [form_factors.spheroid, form_factors.cylinder])
def test_slopes_in_size_and_shape_are_right_and_not_zero(body, x64):
    x, body = jnp.asarray([0.0, 0.7, 4.0, 11.0]), jax.jit(body)
    slope, difference = slope_and_difference(body, x, 1.7)
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-10)
    assert np.all(np.abs(slope[1:]) > 1e-6) and slope[0] == 0
    slope, difference = slope_and_difference(lambda scale: body(x * scale, 1.7), 1.0)
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-10)
    assert np.all(np.abs(slope[1:]) > 1e-6) and slope[0] == 0


def test_slopes_of_core_and_shell_are_right_and_not_zero(x64):
    x = jnp.asarray([0.01, 0.7, 4.0, 11.0])
    slope, difference = slope_and_difference(
        lambda parameters: form_factors.core_shell(x, *parameters), jnp.asarray([0.3, 2.0, -1.0]) + 0
    )
    parameter_slopes = np.stack([slope[:, index] for index in range(3)])
    assert np.all(np.abs(parameter_slopes) > 1e-7)
    np.testing.assert_allclose(parameter_slopes.sum(axis=0), difference, rtol=1e-5)
