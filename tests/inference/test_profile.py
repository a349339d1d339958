import numpy as np
import pytest
from simulated import BOND, curve

from jaxstruc.inference import candidates, profile, target
from jaxstruc.inference.candidates import Candidates
from jaxstruc.structures import library, shapes

KNOWN = library.of_clusters([shapes.fcc(layers) for layers in ((2, 4, 2), (2, 3, 2), (3, 4, 2))])
POOL = candidates.pool([Candidates("library", KNOWN, np.arange(3))])
R = np.arange(1.5, 20.001, 0.05)
SPAN = target.span(rmax=20.0, qmax=18.0, diameter=16.0)
FREE = ("scale", "stretch", "uiso", "delta2")


def goal_of(*, qmin, said, noise=0.05, qdamp=0.03, said_qdamp=0.03, seed=0):
    """Return a target whose data begin at one qmin, and that says another."""
    positions = library.cluster(KNOWN, 2).positions * BOND
    g = curve(positions, R, noise=noise, rng=np.random.default_rng(seed), qmin=qmin, qdamp=qdamp)
    known = {"qmin": said, "qmax": 18.0, "qdamp": said_qdamp, "qbroad": 0.0}
    return target.target(R, g, **known, bond=BOND, span=SPAN, lowest=min(said, profile.LOWEST))


@pytest.mark.parametrize("true", [0.5, 0.97, 1.43])
def test_the_qmin_of_the_data_is_found_under_a_wrong_header(true):
    found = profile.profiled(POOL, goal_of(qmin=true, said=0.1), "qmin", free=FREE)
    assert found.value == pytest.approx(true, abs=0.05) and abs(found.value - true) < 4 * found.error + 0.01
    assert 0 < found.error < 0.1
    values = [value for value, _ in found.points]
    assert values == sorted(values) and 0.1 in values and {0.3, 1.8} <= set(values)
    assert min(found.points, key=lambda point: point[1])[0] == found.value


@pytest.mark.parametrize("seed", range(4))
def test_a_header_that_is_right_is_kept(seed):
    assert profile.profiled(POOL, goal_of(qmin=1.0, said=1.0, seed=seed), "qmin", free=FREE) is None
    assert profile.profiled(POOL, goal_of(qmin=1.0, said=1.0, noise=0.0), "qmin", free=FREE) is None


def test_more_noise_leaves_the_value_less_certain():
    fine, coarse = (
        profile.profiled(POOL, goal_of(qmin=0.9, said=0.1, noise=n), "qmin", free=FREE) for n in (0.05, 0.5)
    )
    assert coarse.error > 2 * fine.error


@pytest.mark.parametrize("true", [0.06, 0.095])
def test_the_qdamp_of_the_data_is_found_where_it_was_a_guess(true):
    goal = goal_of(qmin=1.0, said=1.0, qdamp=true, noise=0.0)
    found = profile.profiled(POOL, goal, "qdamp", free=FREE)
    assert found.value == pytest.approx(true, abs=0.002) and 0 < found.error < 0.002
    assert profile.profiled(POOL, target.changed(goal, qdamp=true), "qdamp", free=FREE) is None


def test_a_changed_target_is_the_one_made_with_the_value():
    """The basis stays, and with it data and norm; model and independent points are those of the new qmin."""
    goal = goal_of(qmin=0.9, said=0.1)
    changed = target.changed(goal, qmin=0.9, qdamp=0.04)
    fresh = goal_of(qmin=0.9, said=0.9, said_qdamp=0.04)
    assert (changed.qmin, changed.qdamp) == (0.9, 0.04)
    assert changed.independent == pytest.approx(fresh.independent) and changed.independent < goal.independent
    np.testing.assert_array_equal(changed.basis.data, goal.basis.data)
    one, two = (candidates.fit_all(POOL, each) for each in (changed, fresh))
    np.testing.assert_allclose(one.rw, two.rw, atol=1e-4)
    np.testing.assert_allclose(one.values.uiso, two.values.uiso, rtol=1e-2)
