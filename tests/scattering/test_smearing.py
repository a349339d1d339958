import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.scattering import smearing


@pytest.mark.parametrize("wave", [1.0, 4.0, 8.0])
def test_waves_are_damped_as_by_a_gaussian(wave, x64):
    q, dq = jnp.linspace(1.0, 2.0, 50), jnp.full(50, 0.02)
    found = smearing.smeared(jnp.cos(wave / 0.02 * smearing.places(q, dq)))
    np.testing.assert_allclose(found, np.exp(-(wave**2) / 2) * np.cos(wave / 0.02 * q), atol=2e-5)


def test_no_width_changes_nothing():
    q = jnp.linspace(0.01, 1.0, 20)
    np.testing.assert_allclose(smearing.smeared(smearing.places(q, 0 * q) ** -4), q**-4.0, rtol=1e-5)


def test_a_power_law_behind_the_beam_stop_has_an_end():
    q = jnp.asarray([0.005])
    found = smearing.places(q, 0.4 * q)
    assert found.min() == pytest.approx(1e-4) and found.max() == pytest.approx(0.014)


def test_the_referees_resolution_is_sharper(x64):
    q = jnp.ones(1)
    at = smearing.places(q, 0.1 * q, count=401, reach=smearing.REFEREE)
    mean, square = (smearing.smeared(at**n, reach=smearing.REFEREE)[0] for n in (1, 2))
    assert np.sqrt(square - mean**2) / 0.1 == pytest.approx(0.97, abs=0.005)
