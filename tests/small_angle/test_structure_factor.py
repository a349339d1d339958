import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.small_angle import form_factors, structure_factor
from jaxstruc.small_angle.size_distributions import SizeFractions, size_distribution

Q = np.geomspace(1e-4, 3, 200)
hard_spheres = jax.jit(structure_factor.hard_spheres)


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5])
def test_hard_spheres_follow_their_integral_and_compressibility(fraction, x64):
    """Compare with a quadrature of the integral, and with S(0) = (1 - f)⁴ / (1 + 2f)²."""
    factors = hard_spheres(jnp.asarray(Q), 35.0, fraction)
    nodes, weight = np.polynomial.legendre.leggauss(400)
    s = (nodes + 1) / 2
    alpha = (1 + 2 * fraction) ** 2 / (1 - fraction) ** 4
    beta = -6 * fraction * (1 + fraction / 2) ** 2 / (1 - fraction) ** 4
    direct_correlation = weight / 2 * s**2 * (alpha + beta * s + fraction * alpha / 2 * s**3)
    expected_factors = 1 / (1 + 24 * fraction * np.sinc(70 / np.pi * Q[:, None] * s) @ direct_correlation)
    np.testing.assert_allclose(factors, expected_factors, rtol=1e-11)
    assert factors[0] == pytest.approx(1 / alpha, rel=1e-4)


def test_single_precision_is_enough():
    with jax.enable_x64(True):
        exact_factors = np.asarray(hard_spheres(jnp.asarray(Q), 35.0, 0.4))
    np.testing.assert_allclose(hard_spheres(jnp.asarray(Q, jnp.float32), 35.0, 0.4), exact_factors, rtol=3e-5)


@pytest.mark.parametrize("argument", [1, 2])
def test_slopes_are_right_and_not_zero(argument, x64):
    arguments = [jnp.asarray(Q), 35.0, 0.3]
    slope = jax.jacfwd(hard_spheres, argnums=argument)(*arguments)
    shifted_arguments = [
        [*arguments[:argument], arguments[argument] * (1 + step), *arguments[argument + 1 :]] for step in (1e-6, -1e-6)
    ]
    difference = (hard_spheres(*shifted_arguments[0]) - hard_spheres(*shifted_arguments[1])) / (
        2e-6 * arguments[argument]
    )
    np.testing.assert_allclose(slope, difference, rtol=1e-4, atol=1e-7)
    assert np.all(np.abs(slope) > 0)


def structure_factor_function(approximation, body, sizes, fraction):
    """Return the structure factor as a jitted function of Q."""
    return jax.jit(lambda q: approximation(q, form_factors.of_table(form_factors.named_table(body)), sizes, fraction))


def test_all_approximations_agree_for_spheres_of_one_size(x64):
    single_size = SizeFractions(np.array([35.0]), np.ones(1))
    q = jnp.asarray(np.linspace(0.005, 0.11, 40))  # These Q are below the first zero of P.
    expected_factors = hard_spheres(q, 35.0, 0.2)
    for approximation in (
        structure_factor.effective_radius, structure_factor.decoupling, structure_factor.local_monodisperse,
    ):  # fmt: skip
        np.testing.assert_allclose(
            structure_factor_function(approximation, "sphere", single_size, 0.2)(q), expected_factors, rtol=1e-4
        )


def test_without_a_volume_fraction_the_factor_is_one(x64):
    sizes = size_distribution("gaussian", 35.0, 0.2, qmax=0.5)
    for approximation in (structure_factor.decoupling, structure_factor.local_monodisperse):
        np.testing.assert_allclose(
            structure_factor_function(approximation, "cube", sizes, 0.0)(jnp.asarray(Q[:40])), 1, rtol=1e-12
        )


@pytest.mark.parametrize("approximation_name", ["decoupling", "local_monodisperse"])
def test_many_sizes_are_the_sums_over_them(approximation_name, x64):
    """Compare with sums over two sizes of spheres."""
    radius, number, q = np.array([30.0, 45.0]), np.array([0.7, 0.3]), Q[:120]
    volume = number * radius**3
    sizes = SizeFractions(radius, volume / volume.sum())
    factors = structure_factor_function(getattr(structure_factor, approximation_name), "sphere", sizes, 0.2)(
        jnp.asarray(q)
    )
    x = q[:, None] * radius
    amplitude = radius**3 * 3 * (np.sin(x) - x * np.cos(x)) / x**3
    if approximation_name == "decoupling":
        hard_sphere_factors = np.asarray(hard_spheres(jnp.asarray(q), float(number @ radius), 0.2))
        expected_factors = 1 + (amplitude @ number) ** 2 / (amplitude**2 @ number) * (hard_sphere_factors - 1)
    else:
        hard_sphere_factors = np.stack([hard_spheres(jnp.asarray(q), size, 0.2) for size in radius], axis=1)
        expected_factors = (amplitude**2 * hard_sphere_factors) @ number / (amplitude**2 @ number)
    np.testing.assert_allclose(factors, expected_factors, rtol=2e-5)
