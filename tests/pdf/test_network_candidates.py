import numpy as np
import pytest

from jaxstruc.clusters import fcc_shapes
from jaxstruc.network.cvae.propose import Proposals
from jaxstruc.pdf import sources
from jaxstruc.pdf.candidates import CandidateGroup

BOND = 2.78
CLUSTER_POSITIONS = fcc_shapes.fcc_cluster((2, 2, 2)).positions * BOND
ROTATED_POSITIONS = CLUSTER_POSITIONS[::-1] @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
PRESENT_WEIGHTS, ABSENT_WEIGHTS = np.ones(19), np.zeros(19)


def overlapping_positions():
    """Return the cluster with two atoms much too close to each other."""
    positions = CLUSTER_POSITIONS.copy()
    positions[3] = positions[4] + 0.2
    return positions


def proposals(positions, weights, converged=True):
    """Return draws of a network for one PDF."""
    n_proposals = len(positions)
    indices = np.arange(n_proposals, dtype=float)
    return Proposals(np.asarray(positions), np.asarray(weights), indices, indices / 10, np.full(n_proposals, converged))


def test_draws_of_two_atoms_or_more_become_candidates():
    nan_positions = np.where(np.arange(19)[:, None] == 5, np.nan, CLUSTER_POSITIONS)
    single_weights = (np.arange(19) == 7) * 1.0
    pair_weights = (np.arange(19) < 2) * 1.0
    network_proposals = proposals(
        [
            CLUSTER_POSITIONS,
            CLUSTER_POSITIONS,
            CLUSTER_POSITIONS,
            nan_positions,
            CLUSTER_POSITIONS,
            1.1 * CLUSTER_POSITIONS,
        ],
        [PRESENT_WEIGHTS, ABSENT_WEIGHTS, single_weights, PRESENT_WEIGHTS, pair_weights, PRESENT_WEIGHTS],
    )
    group = sources.network_candidates(network_proposals, bond=BOND, family="fcc")
    assert isinstance(group, CandidateGroup) and group.source == "network"
    assert group.library.labels.tolist() == [f"drawn, sample {sample}" for sample in (0, 4, 5)]
    assert group.library.atoms.tolist() == [19, 2, 19] and set(group.library.families) == {"fcc"}
    np.testing.assert_array_equal(group.notes["radius"], [0, 4, 5])
    np.testing.assert_allclose(group.notes["stress"], [0, 0.4, 0.5])
    np.testing.assert_allclose(
        group.cluster(0).positions * BOND, CLUSTER_POSITIONS - CLUSTER_POSITIONS.mean(axis=0), atol=1e-5
    )
    assert not group.invalid_reasons


def test_absent_atoms_are_left_out():
    weights = np.where(np.arange(19) < 13, 0.9, 0.1)
    group = sources.network_candidates(proposals([CLUSTER_POSITIONS], [weights]), bond=BOND, family="fcc")
    inner_positions = CLUSTER_POSITIONS[:13] - CLUSTER_POSITIONS[:13].mean(axis=0)
    np.testing.assert_allclose(group.cluster(0).positions * BOND, inner_positions, atol=1e-5)


def test_faults_of_a_draw_are_reported():
    group = sources.network_candidates(
        proposals([CLUSTER_POSITIONS, overlapping_positions()], [PRESENT_WEIGHTS, PRESENT_WEIGHTS]),
        bond=BOND,
        family="fcc",
    )
    assert group.invalid_reasons == {1: f"{sources.FAULT}: two atoms are only 0.35 Å apart"}
    group = sources.network_candidates(
        proposals([CLUSTER_POSITIONS], [PRESENT_WEIGHTS], converged=False), bond=BOND, family="fcc"
    )
    assert group.invalid_reasons == {
        0: f"{sources.FAULT}: the placement of the atoms by their distances did not converge"
    }


def test_no_draw_gives_no_candidate():
    group = sources.network_candidates(proposals([CLUSTER_POSITIONS], [ABSENT_WEIGHTS]), bond=BOND, family="fcc")
    assert len(group.rows) == 0
    unique_rows, merged_group = sources.merge_duplicates(group, np.array([]), np.array([]))
    assert len(unique_rows) == 0 and len(merged_group.rows) == 0


def test_duplicate_draws_are_merged_under_the_best_and_faulty_ones_come_last():
    """Rotated and reordered copies are one structure, and a misfit of NaN is the worst."""
    network_proposals = proposals(
        [CLUSTER_POSITIONS, overlapping_positions(), 1.1 * CLUSTER_POSITIONS, ROTATED_POSITIONS, CLUSTER_POSITIONS],
        [PRESENT_WEIGHTS] * 5,
    )
    group = sources.network_candidates(network_proposals, bond=BOND, family="fcc")
    unique_rows, merged_group = sources.merge_duplicates(group, np.array([0.3, 0.1, 0.4, 0.2, np.nan]), np.ones(5))
    assert unique_rows.tolist() == [3, 2, 1]
    assert merged_group.notes["draws"][unique_rows].tolist() == [3, 1, 1]
    assert "apart" in merged_group.invalid_reasons[1] and merged_group.invalid_reasons.keys() == {1}


def test_draws_that_differ_only_by_the_stretch_of_their_fits_are_merged():
    group = sources.network_candidates(
        proposals([CLUSTER_POSITIONS, 1.1 * CLUSTER_POSITIONS], [PRESENT_WEIGHTS] * 2), bond=BOND, family="fcc"
    )
    unique_rows, merged_group = sources.merge_duplicates(group, np.array([0.2, 0.1]), np.array([1.0, 1 / 1.1]))
    assert unique_rows.tolist() == [1] and merged_group.notes["draws"].tolist() == [0, 2]


@pytest.mark.parametrize(("displacement", "n_structures"), [(0.02, 1), (1.0, 2)])
def test_small_errors_of_coordinates_do_not_make_another_structure(displacement, n_structures):
    displaced_positions = (
        CLUSTER_POSITIONS + displacement * np.random.default_rng(0).normal(size=CLUSTER_POSITIONS.shape) / 3
    )
    group = sources.network_candidates(
        proposals([CLUSTER_POSITIONS, displaced_positions], [PRESENT_WEIGHTS] * 2), bond=BOND, family="fcc"
    )
    assert len(sources.merge_duplicates(group, np.array([0.1, 0.2]), np.ones(2))[0]) == n_structures


def test_atoms_closer_than_six_tenths_of_the_bond_are_a_fault():
    for distance, is_faulty in ((0.59, True), (0.61, False)):
        pair = np.zeros((19, 3))
        pair[1, 0] = distance * BOND
        group = sources.network_candidates(proposals([pair], [(np.arange(19) < 2) * 1.0]), bond=BOND, family="fcc")
        assert bool(group.invalid_reasons) == is_faulty and len(group.rows) == 1


@pytest.mark.parametrize(("stretch", "n_structures"), [(1.02, 1), (1.04, 2)])
def test_draws_are_duplicates_below_a_difference_of_3_5_percent_of_the_bond(stretch, n_structures):
    """A pair that is longer by 2 % of the bond is a duplicate, by 4 % it is not."""
    pairs = [np.array([[0.0, 0, 0], [length * BOND, 0, 0]]) for length in (1.0, stretch)]
    group = sources.network_candidates(proposals(pairs, [np.ones(2)] * 2), bond=BOND, family="fcc")
    unique_rows, merged_group = sources.merge_duplicates(group, np.array([0.1, 0.2]), np.ones(2))
    assert len(unique_rows) == n_structures and merged_group.notes["draws"].sum() == 2
