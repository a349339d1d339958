import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.small_angle import smearing

OFFSETS = np.linspace(*smearing.NODE_RANGE, 20_001)
WEIGHTS = np.exp(-(OFFSETS**2) / 2)


@pytest.mark.parametrize("wave", [1.0, 4.0, 8.0])
def test_waves_are_damped_as_by_the_cut_gaussian(wave, x64):
    """Compare with a fine sum. The whole Gaussian would damp the waves by exp(-wave²/2)."""
    q, dq = jnp.linspace(1.0, 2.0, 50), jnp.full(50, 0.02)
    smeared_wave = smearing.smear(lambda q: jnp.cos(wave / 0.02 * q), q, dq)
    expected_wave = np.cos(wave / 0.02 * (np.asarray(q)[:, None] + 0.02 * OFFSETS)) @ WEIGHTS / WEIGHTS.sum()
    np.testing.assert_allclose(smeared_wave, expected_wave, atol=2e-3)
    if wave == 1:
        np.testing.assert_allclose(smeared_wave, np.exp(-0.5) * np.cos(50 * q), atol=0.03)


def test_several_curves_are_smeared_at_once(x64):
    q = jnp.linspace(0.1, 1.0, 20)
    smeared_curves = smearing.smear(lambda q: jnp.stack([q, q**2], axis=-1), q, 0.05 * q)
    for column, power in enumerate((1, 2)):
        np.testing.assert_array_equal(
            smeared_curves[:, column], smearing.smear(lambda q, exponent=power: q**exponent, q, 0.05 * q)
        )


def test_a_resolution_without_width_changes_nothing():
    q = jnp.linspace(0.01, 1.0, 20)
    np.testing.assert_allclose(smearing.smear(lambda q: q**-4, q, 0 * q), q**-4.0, rtol=1e-5)


def test_the_resolution_is_as_sharp_as_that_of_sasmodels(x64):
    """The truncated Gaussian is 3 % narrower than the whole one."""
    q = jnp.ones(1)
    mean, mean_square = (smearing.smear(lambda q, exponent=power: q**exponent, q, 0.1 * q)[0] for power in (1, 2))
    assert np.sqrt(mean_square - mean**2) / 0.1 == pytest.approx(0.97, abs=0.005)
