import numpy as np
import pytest

from jaxstruc.data.edge import edge

R = np.arange(1.5, 30.0, 0.02)
SAID = 3.0
"""From here on a qmax is called wrong (`naming.SHARP`)."""


def pdf(qmax, *, noise=0.0, seed=0, uiso=0.008, damped=False):
    """Return G(r) of a few distances, and of white noise on F(Q), both to a qmax, or damped to nothing there."""
    rng = np.random.default_rng(seed)
    q = np.arange(0.8, qmax, 0.02)
    distance = np.array([2.8, 3.96, 4.85, 5.6, 7.4, 8.4, 11.2, 13.7])
    f = (np.sin(q[:, None] * distance) / distance * np.exp(-uiso * q[:, None] ** 2)).sum(axis=1)
    f = f + noise * np.sqrt((f**2).mean()) * rng.normal(size=q.size)
    return np.sin(R[:, None] * q) @ (f * (np.sinc(q / qmax) if damped else 1.0))


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("told", [0.8, 1.0, 1.25])
def test_waves_end_where_the_transform_ended_whatever_is_told(noise, told):
    found = edge(R, pdf(22.0, noise=noise), qmax=told * 22.0)
    assert found.q == pytest.approx(22.0, rel=0.03)
    assert found.missed < 0.5 if told == 1 else found.missed > SAID


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("uiso", [0.003, 0.015, 0.03])
@pytest.mark.parametrize("damped", [False, True])
def test_a_right_qmax_is_seldom_accused(uiso, noise, damped):
    """Where scattering dies before it, or a window damps it, there is no edge to miss."""
    missed = [edge(R, pdf(qmax, noise=noise, uiso=uiso, damped=damped), qmax=qmax).missed for qmax in range(16, 28)]
    assert np.mean(np.array(missed) > SAID) == 0


def test_uneven_points_serve():
    uneven = np.sort(np.random.default_rng(0).choice(R, len(R) - 100, replace=False))
    g = np.interp(uneven, R, pdf(22.0))
    assert edge(uneven, g, qmax=22.0).q == pytest.approx(22.0, rel=0.03)


@pytest.mark.parametrize("every", [8, 20])
def test_steps_too_coarse_for_the_edge_tell_nothing(every):
    assert edge(R[::every], pdf(22.0)[::every], qmax=22.0).missed < SAID
