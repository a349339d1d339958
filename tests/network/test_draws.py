import numpy as np
import pytest

from jaxstruc.inference.candidates import Candidates
from jaxstruc.network import draws
from jaxstruc.network.propose import Proposals
from jaxstruc.structures import shapes

BOND = 2.78
GOOD = shapes.fcc((2, 2, 2)).positions * BOND
TURNED = GOOD[::-1] @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
ONES, NONE = np.ones(19), np.zeros(19)


def close():
    """Return the cluster with two atoms far too near each other."""
    positions = GOOD.copy()
    positions[3] = positions[4] + 0.2
    return positions


def found(positions, weights, converged=True):
    """Return what a network proposes for one PDF."""
    count = len(positions)
    numbers = np.arange(count, dtype=float)
    return Proposals(np.asarray(positions), np.asarray(weights), numbers, numbers / 10, np.full(count, converged))


def test_draws_of_two_atoms_or_more_become_candidates():
    nowhere = np.where(np.arange(19)[:, None] == 5, np.nan, GOOD)
    one = (np.arange(19) == 7) * 1.0
    pair = (np.arange(19) < 2) * 1.0
    given = found([GOOD, GOOD, GOOD, nowhere, GOOD, 1.1 * GOOD], [ONES, NONE, one, ONES, pair, ONES])
    own = draws.candidates(given, bond=BOND, family="fcc")
    assert isinstance(own, Candidates) and own.source == "network"
    assert own.library.labels.tolist() == [f"drawn, sample {sample}" for sample in (0, 4, 5)]
    assert own.library.atoms.tolist() == [19, 2, 19] and set(own.library.families) == {"fcc"}
    np.testing.assert_array_equal(own.notes["radius"], [0, 4, 5])
    np.testing.assert_allclose(own.notes["stress"], [0, 0.4, 0.5])
    np.testing.assert_allclose(own.cluster(0).positions * BOND, GOOD - GOOD.mean(axis=0), atol=1e-5)
    assert not own.faults


def test_atoms_that_are_not_there_are_left_out():
    weights = np.where(np.arange(19) < 13, 0.9, 0.1)
    own = draws.candidates(found([GOOD], [weights]), bond=BOND, family="fcc")
    inner = GOOD[:13] - GOOD[:13].mean(axis=0)
    np.testing.assert_allclose(own.cluster(0).positions * BOND, inner, atol=1e-5)


def test_what_is_wrong_with_a_draw_is_said():
    own = draws.candidates(found([GOOD, close()], [ONES, ONES]), bond=BOND, family="fcc")
    assert own.faults == {1: "atoms 0.35 Å apart"}
    own = draws.candidates(found([GOOD], [ONES], converged=False), bond=BOND, family="fcc")
    assert own.faults == {0: "trilateration not converged"}


def test_no_draw_gives_no_candidate():
    own = draws.candidates(found([GOOD], [NONE]), bond=BOND, family="fcc")
    assert len(own.rows) == 0
    kept, merged = draws.merged(own, np.array([]), np.array([]))
    assert len(kept) == 0 and len(merged.rows) == 0


def test_alike_draws_are_merged_under_the_best_and_faulty_ones_come_last():
    """Turned and reordered copies are one structure; a misfit that is no number is the worst."""
    given = found([GOOD, close(), 1.1 * GOOD, TURNED, GOOD], [ONES] * 5)
    drawn = draws.candidates(given, bond=BOND, family="fcc")
    kept, merged = draws.merged(drawn, np.array([0.3, 0.1, 0.4, 0.2, np.nan]), np.ones(5))
    assert kept.tolist() == [3, 2, 1]
    assert merged.notes["draws"][kept].tolist() == [3, 1, 1]
    assert "apart" in merged.faults[1] and merged.faults.keys() == {1}


def test_draws_alike_but_for_the_stretch_of_their_fits_are_one():
    drawn = draws.candidates(found([GOOD, 1.1 * GOOD], [ONES] * 2), bond=BOND, family="fcc")
    kept, merged = draws.merged(drawn, np.array([0.2, 0.1]), np.array([1.0, 1 / 1.1]))
    assert kept.tolist() == [1] and merged.notes["draws"].tolist() == [0, 2]


@pytest.mark.parametrize(("moved", "count"), [(0.02, 1), (1.0, 2)])
def test_small_errors_of_coordinates_make_no_other_structure(moved, count):
    other = GOOD + moved * np.random.default_rng(0).normal(size=GOOD.shape) / 3
    drawn = draws.candidates(found([GOOD, other], [ONES] * 2), bond=BOND, family="fcc")
    assert len(draws.merged(drawn, np.array([0.1, 0.2]), np.ones(2))[0]) == count
