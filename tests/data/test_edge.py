import numpy as np
import pytest

from jaxstruc.data.edge import edge

R = np.arange(1.5, 30.0, 0.02)


def pdf(qmax, *, noise=0.0, seed=0):
    """Return G(r) of a few distances, and of white noise on F(Q), both to a qmax."""
    rng = np.random.default_rng(seed)
    q = np.arange(0.8, qmax, 0.02)
    distance = np.array([2.8, 3.96, 4.85, 5.6, 7.4, 8.4])
    f = (np.sin(q[:, None] * distance) / distance * np.exp(-0.008 * q[:, None] ** 2)).sum(axis=1)
    f = f + noise * np.sqrt((f**2).mean()) * rng.normal(size=q.size)
    return np.sin(R[:, None] * q) @ f


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("told", [0.8, 1.0, 1.25])
def test_waves_end_where_the_transform_ended_whatever_is_told(noise, told):
    found = edge(R, pdf(22.0, noise=noise), qmax=told * 22.0)
    assert found.q == pytest.approx(22.0, rel=0.03)
    assert found.missed == 0.0 if told == 1 else found.missed > 1


def test_uneven_points_serve_and_noise_without_an_edge_accuses_no_one():
    uneven = np.sort(np.random.default_rng(0).choice(R, len(R) - 100, replace=False))
    g = np.interp(uneven, R, pdf(22.0))
    assert edge(uneven, g, qmax=22.0).q == pytest.approx(22.0, rel=0.03)
    white = np.random.default_rng(1).normal(size=(40, len(R)))
    assert np.median([edge(R, one, qmax=20.0).missed for one in white]) < 1.5


def test_steps_too_coarse_for_the_edge_tell_nothing():
    assert edge(R[::20], pdf(22.0)[::20], qmax=22.0).missed == 0.0
