import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from jaxstruc.clusters import size_classes
from jaxstruc.pdf import light_atoms

BOND, QMIN, QMAX = 2.88, 0.8, 20.0
R = np.arange(1.5, 25.001, 0.05)
Q = np.arange(QMIN, QMAX, 0.02)


def shell_pdf(n_light, *, weight=0.25, noise=0.01):
    """Return G(r) of an fcc ball with light atoms at 2.35 Å from its surface; a pair with one of them has a weight."""
    rng = np.random.default_rng(3)
    core = size_classes.ball_positions("fcc", 5.0) * BOND
    directions = rng.normal(size=(4000, 3))
    places = core[rng.integers(len(core), size=4000)] + 2.35 * directions / np.linalg.norm(directions, axis=1)[:, None]
    light = places[cdist(places, core).min(axis=1) > 2.349][:n_light]
    distances = np.concatenate([pdist(core), cdist(core, light).ravel()])
    weights = np.concatenate([np.ones(len(core) * (len(core) - 1) // 2), np.full(len(core) * len(light), weight)])
    f = np.zeros(len(Q))
    for start in range(0, len(distances), 2000):
        block = slice(start, start + 2000)
        f += np.sin(Q[:, None] * distances[block]) @ (2 * weights[block] / distances[block])
    f *= np.exp(-0.008 * Q**2) / len(core)
    f += noise * np.sqrt(np.mean(f**2)) * rng.normal(size=len(Q))
    return 2 / np.pi * 0.02 * np.sin(R[:, None] * Q) @ f


@pytest.mark.parametrize(("n_light", "is_found"), [(0, False), (20, True)])
def test_light_atoms_on_the_surface_are_found(n_light, is_found):
    gain = light_atoms.light_atom_gain(R, shell_pdf(n_light), qmin=QMIN, qmax=QMAX, qdamp=0.0, bond=BOND)
    assert (gain > light_atoms.MIN_LIGHT_ATOM_GAIN) == is_found


def test_the_gain_does_not_depend_on_the_unit_of_the_data():
    g = shell_pdf(20)
    gains = [
        light_atoms.light_atom_gain(R, factor * g, qmin=QMIN, qmax=QMAX, qdamp=0.0, bond=BOND) for factor in (1.0, 1e3)
    ]
    assert gains[0] == pytest.approx(gains[1], rel=0.05) and gains[0] > 0
