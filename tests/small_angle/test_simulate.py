import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sasmodels_parity

from jaxstruc.small_angle import contrast, form_factors, simulate, size_distributions
from jaxstruc.small_angle.simulate import CurveScale
from jaxstruc.small_angle.size_distributions import SizeFractions

SASMODELS_CURVES = sasmodels_parity.golden_curves()
Q = SASMODELS_CURVES.pop("q")
EXACT_NAMES = [name for name in SASMODELS_CURVES if name == "hard spheres" or name.startswith(("sphere", "core_shell"))]
EXACT_NAMES = [name for name in EXACT_NAMES if name not in ("sphere crowded", "sphere decoupled", "sphere smeared")]
curve = jax.jit(sasmodels_parity.case_intensity, static_argnums=0)
SINGLE_SIZE = SizeFractions(np.array([35.0]), np.ones(1))


def intensity(q, body, sample, dq=None):
    """Return I(Q) of bodies with R_eq = 35 Å."""
    return jax.jit(
        lambda q: simulate.intensity(
            q, form_factors.of_table(form_factors.named_table(body)), SINGLE_SIZE, sample, dq=dq
        )
    )(q)


@pytest.mark.parametrize("name", EXACT_NAMES)
def test_exact_curves_are_those_of_sasmodels(name, x64):
    """Both programs use formulas. sasmodels computes hard spheres at small Q by a series with an error of 1e-10."""
    np.testing.assert_allclose(curve(name, jnp.asarray(Q)), SASMODELS_CURVES[name], rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in SASMODELS_CURVES if name not in EXACT_NAMES])
def test_other_curves_are_those_of_sasmodels_within_its_quadrature(name, x64):
    """A prism of sasmodels has only 20 000 directions, and its resolution is interpolated between points."""
    tolerance = {"hexagonal prism": 1e-4, "sphere smeared": 1e-3}.get(name, 3e-6)
    np.testing.assert_allclose(curve(name, jnp.asarray(Q)), SASMODELS_CURVES[name], rtol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sphere schulz 0.3", "core_shell", "hard spheres"])
def test_sasmodels_still_gives_the_stored_curves(name, repository, monkeypatch):
    pytest.importorskip("sasmodels")
    if not shutil.which("cc"):
        pytest.skip("sasmodels compiles its models")
    monkeypatch.syspath_prepend(repository / "tools")
    import make_parity

    np.testing.assert_allclose(make_parity.sasmodels_curve(name), SASMODELS_CURVES[name], rtol=1e-9)


def test_absolute_units_are_those_of_a_dilute_sphere(x64):
    """Compare with I(0) = 1e-4 phi V (Δρ)² of gold spheres of 35 Å in water."""
    sld_difference = contrast.element_sld("Au") - contrast.solvent_sld("water")
    intensities = intensity(jnp.asarray([1e-5]), "sphere", CurveScale(scale=0.01, contrast=sld_difference))
    assert intensities[0] == pytest.approx(1e-4 * 0.01 * 4 / 3 * np.pi * 35**3 * sld_difference**2, rel=1e-6)


def test_backgrounds_add_and_the_resolution_smears_the_particles_alone(x64):
    q = jnp.asarray(Q)
    plain_intensities = intensity(q, "cube", CurveScale(scale=2.0))
    intensities = intensity(q, "cube", CurveScale(scale=2.0, background=0.3, power_scale=1e-6, power=3.5))
    np.testing.assert_allclose(intensities - plain_intensities, 0.3 + 1e-6 * Q**-3.5, rtol=1e-9)
    smeared_intensities = intensity(q, "cube", CurveScale(scale=2.0, background=0.3, power_scale=1e-6), dq=0.05 * q)
    smeared_particles = intensity(q, "cube", CurveScale(scale=2.0), dq=0.05 * q)
    np.testing.assert_allclose(smeared_intensities - smeared_particles, 0.3 + 1e-6 * Q**-4, rtol=1e-9)
    assert np.abs(smeared_particles / plain_intensities - 1).max() > 0.1


def test_slopes_in_everything_are_finite_and_not_zero():
    """Differentiate a smeared narrow distribution in float32 by R, width, scale, contrast and both backgrounds."""
    q, body = jnp.asarray(Q, jnp.float32), form_factors.of_table(form_factors.named_table("icosahedron"))
    log_radius = jnp.log(35.0) + jnp.linspace(-0.3, 0.3, 200)

    def curve(values):
        radius, pd, scale, background, power_scale, power, sld_difference = values
        sample = CurveScale(scale, background, power_scale, power, sld_difference)
        log_radius_nodes = jnp.asarray(log_radius, values.dtype)
        sizes = SizeFractions(jnp.exp(log_radius_nodes), size_distributions.lognormal(radius, pd, log_radius_nodes))
        return simulate.intensity(jnp.asarray(q, values.dtype), body, sizes, sample, dq=0.03 * q)

    parameters = jnp.asarray([35.0, 0.02, 0.01, 0.1, 1e-6, 3.8, 120.0], jnp.float32)
    slopes = jax.jit(jax.jacfwd(curve))(parameters)
    assert np.all(np.isfinite(slopes)) and np.all(np.abs(slopes).max(axis=0) > 0)
    assert slopes[0, 0] != 0 and slopes[0, 1] != 0
    with jax.enable_x64(True):
        exact_slopes = jax.jit(jax.jacfwd(curve))(jnp.asarray(parameters, float))
    np.testing.assert_allclose(slopes, exact_slopes, rtol=2e-3, atol=2e-4 * np.abs(exact_slopes).max(axis=0).min())
