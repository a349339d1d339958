import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from simulated import BOND, curve, sphere

from jaxstruc.inference import screening
from jaxstruc.structures import families, library


@pytest.fixture(scope="module")
def small():
    """Octahedra, icosahedra and decahedra of 38 to 120 atoms."""
    several = (families.octahedra(38, 120), families.icosahedra(55, 56), families.decahedra(50, 104))
    return library.collect(itertools.chain(*(itertools.islice(some, 7) for some in several)))


@pytest.mark.parametrize("size", [15.0, 20.0, 26.0])
def test_the_diameter_of_spheres_is_seen(size):
    atoms = sphere(size)
    r = np.arange(0, 40, 0.02)
    g = curve(atoms, r, noise=0.05, rng=np.random.default_rng(0))
    found, reached = screening.diameter(r, g, bond=BOND, qdamp=0.03)
    assert found == pytest.approx(pdist(atoms).max(), rel=0.15)
    assert reached


def test_data_that_end_before_the_particle_are_said_to():
    r = np.arange(0, 20, 0.02)
    g = curve(sphere(30.0), r, noise=0.05, rng=np.random.default_rng(0))
    found, reached = screening.diameter(r, g, bond=BOND, qdamp=0.03)
    assert found > 18 and not reached


def test_those_nearest_in_size_are_chosen(small):
    every = np.arange(len(small.atoms))
    for index in every[::4]:
        size = 2.5 * small.diameter[index]
        chosen = screening.choose(small, size, bond=2.5, allowed=every, most=5)
        away = np.abs(np.log(small.diameter / small.diameter[index]))
        assert len(chosen) == 5 and np.all(np.diff(chosen) > 0)
        assert away[chosen].max() <= np.delete(away, chosen).min() + 1e-6
    odd = every[1::2]
    assert set(screening.choose(small, size, bond=2.5, allowed=odd, most=5)) <= set(odd)
