import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from simulated import BOND, curve, sphere

from jaxstruc.inference import candidates, screening, target
from jaxstruc.inference.candidates import Candidates
from jaxstruc.structures import families, library

R = np.arange(1.5, 20.001, 0.05)
SPAN = target.span(rmax=20.0, qmax=18.0, diameter=24.0)


@pytest.fixture(scope="module")
def small():
    """Octahedra, icosahedra, decahedra and cubes of 13 to 120 atoms."""
    several = (families.octahedra(38, 120), families.icosahedra(13, 120), families.decahedra(50, 104))
    rest = (families.sc(20, 60), families.bcc(20, 60))
    return library.collect(itertools.chain(*(itertools.islice(some, 20) for some in (*several, *rest))))


def goal_of(positions, *, background=0, **values):
    g = curve(positions, R, rng=np.random.default_rng(0), **values)
    known = {"qmin": values.get("qmin", 1.0), "qmax": 18.0, "qdamp": 0.03, "qbroad": 0.0}
    return target.target(R, g, **known, bond=BOND, span=SPAN, background=background, lowest=0.3)


def bins_of(own, rows=None):
    return screening.bins(own, np.arange(len(own.atoms)) if rows is None else rows, bond=BOND, span=SPAN)


@pytest.mark.parametrize("size", [15.0, 20.0, 26.0])
def test_the_diameter_of_spheres_is_seen(size):
    atoms = sphere(size)
    r = np.arange(0, 40, 0.02)
    g = curve(atoms, r, noise=0.05, rng=np.random.default_rng(0))
    found, reached, _ = screening.seen(r, g, bond=BOND, qdamp=0.03)
    assert found == pytest.approx(pdist(atoms).max(), rel=0.15)
    assert reached


def test_data_that_end_before_the_particle_are_said_to():
    r = np.arange(0, 20, 0.02)
    g = curve(sphere(30.0), r, noise=0.05, rng=np.random.default_rng(0))
    found, reached, _ = screening.seen(r, g, bond=BOND, qdamp=0.03)
    assert found > 18 and not reached


def test_bins_keep_number_mean_and_spread_of_the_distances(small):
    """Up to the span, where distances end; the last of them may stand beyond it by half a bin."""
    rows = np.array([3, 0, 11])
    found = np.asarray(bins_of(small, rows).weight, float)
    assert found.shape[0] == screening.CHUNK and not found[3:].any()
    place = np.arange(found.shape[1]) * library.WIDTH
    for own, index in zip(found, rows, strict=False):
        apart = pdist(small.positions[small.starts[index] : small.starts[index + 1]].astype(float))
        assert own.sum() == pytest.approx(2 * len(apart) / small.atoms[index], rel=1e-5)
        assert own @ place == pytest.approx(2 * apart.sum() / small.atoms[index], rel=1e-5)
        assert own @ place**2 == pytest.approx(2 * (apart**2).sum() / small.atoms[index], rel=1e-5)


@pytest.mark.parametrize(("uiso", "stretch", "delta2"), [(0.005, 1.0, 0.5), (0.012, 0.985, 2.0), (0.022, 1.02, 4.0)])
def test_the_rough_misfit_is_near_the_fits_and_the_order_its_own(small, uiso, stretch, delta2):
    index = int(np.flatnonzero(small.families == "decahedron")[5])
    positions = library.cluster(small, index).positions * BOND * stretch
    goal = goal_of(positions, noise=0.1, uiso=uiso, delta2=delta2)
    rough = screening.misfits(bins_of(small), goal.basis)
    pool = candidates.pool([Candidates("library", small, np.arange(len(small.atoms)))])
    rw = candidates.fit_all(pool, goal).rw
    assert int(rw.argmin()) == index and np.argsort(rough).tolist().index(index) < 3
    assert np.all(rough > rw - 0.02) and np.median(rough - rw) < 0.1
    near = rw < np.sort(rw)[8]
    assert np.corrcoef(rough, rw)[0, 1] > 0.9 and np.all(np.argsort(np.argsort(rough))[near] < 24)


def test_a_background_is_left_out_of_both(small):
    positions = library.cluster(small, 7).positions * BOND
    goal = goal_of(positions, background=3)
    lifted = goal.g + 0.3 * np.cos(np.pi * (R - R[0]) / (R[-1] - R[0]))
    other = target.target(
        R, lifted, qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN, background=3, lowest=0.3
    )
    one, two = (screening.misfits(bins_of(small), each.basis) for each in (goal, other))
    scale = np.sqrt(float(other.basis.norm) / float(goal.basis.norm))
    np.testing.assert_allclose(one, two * scale, atol=0.01)


def test_left_out_waves_hide_what_an_unknown_qmin_does(small):
    """Data that begin at 1.4 1/Å, a model that begins at 0.3: without the waves between, the misfit is small again."""
    index = int(np.flatnonzero(small.families == "octahedron")[2])
    goal = goal_of(library.cluster(small, index).positions * BOND, qmin=1.4)
    wrong = target.changed(goal, qmin=0.3)
    waves = target.low_waves(wrong, lowest=0.3, to=1.8)
    np.testing.assert_allclose(waves.T @ waves, np.eye(waves.shape[1]), atol=1e-9)
    bins = bins_of(small)
    with_, without = screening.misfits(bins, wrong.basis), screening.misfits(bins, wrong.basis, without=waves)
    assert with_[index] > 0.3 and without[index] < 0.08 and int(without.argmin()) == index


def test_the_least_misfits_are_chosen_in_the_librarys_order(small):
    rows = np.arange(len(small.atoms))[::-2]
    misfit = np.random.default_rng(0).uniform(size=len(rows))
    chosen = screening.chosen(bins_of(small, rows), misfit, most=5)
    assert chosen.tolist() == sorted(rows[np.argsort(misfit)[:5]].tolist())
