import numpy as np
import pytest

from jaxstruc.io.qmax_check import estimate_qmax

R = np.arange(1.5, 30.0, 0.02)
WARNING_SHARPNESS = 3.0
"""Excess sharpness above which the stated qmax is wrong."""


def simulated_pdf(qmax, *, noise=0.0, seed=0, uiso=0.008, with_window=False):
    """Return G(r) of a few distances with white noise on F(Q), cut at qmax or damped to zero there."""
    rng = np.random.default_rng(seed)
    q = np.arange(0.8, qmax, 0.02)
    distance = np.array([2.8, 3.96, 4.85, 5.6, 7.4, 8.4, 11.2, 13.7])
    f = (np.sin(q[:, None] * distance) / distance * np.exp(-uiso * q[:, None] ** 2)).sum(axis=1)
    f = f + noise * np.sqrt((f**2).mean()) * rng.normal(size=q.size)
    return np.sin(R[:, None] * q) @ (f * (np.sinc(q / qmax) if with_window else 1.0))


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("stated_ratio", [0.8, 1.0, 1.25])
def test_the_estimated_qmax_is_that_of_the_transform_whatever_is_stated(noise, stated_ratio):
    estimate = estimate_qmax(R, simulated_pdf(22.0, noise=noise), qmax=stated_ratio * 22.0)
    assert estimate.qmax == pytest.approx(22.0, rel=0.03)
    assert estimate.excess_sharpness < 0.5 if stated_ratio == 1 else estimate.excess_sharpness > WARNING_SHARPNESS


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("uiso", [0.003, 0.015, 0.03])
@pytest.mark.parametrize("with_window", [False, True])
def test_a_right_qmax_gives_no_warning(uiso, noise, with_window):
    """There is no edge if the scattering vanishes before qmax or a window damps it."""
    sharpness = [
        estimate_qmax(
            R, simulated_pdf(qmax, noise=noise, uiso=uiso, with_window=with_window), qmax=qmax
        ).excess_sharpness
        for qmax in range(16, 28)
    ]
    assert np.mean(np.array(sharpness) > WARNING_SHARPNESS) == 0


def test_uneven_points_give_the_same_qmax():
    uneven_r = np.sort(np.random.default_rng(0).choice(R, len(R) - 100, replace=False))
    g = np.interp(uneven_r, R, simulated_pdf(22.0))
    assert estimate_qmax(uneven_r, g, qmax=22.0).qmax == pytest.approx(22.0, rel=0.03)


@pytest.mark.parametrize("stride", [8, 20])
def test_steps_too_coarse_for_the_edge_give_no_warning(stride):
    assert estimate_qmax(R[::stride], simulated_pdf(22.0)[::stride], qmax=22.0).excess_sharpness < WARNING_SHARPNESS
