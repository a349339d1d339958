import numpy as np
import pytest
from ase.cluster.cubic import FaceCenteredCubic

from jaxstruc import clusters


def test_the_kdd_grid_of_layers_has_eight_shapes():
    sizes = [len(cluster.positions) for cluster in clusters.fcc_family()]
    assert sizes == [19, 43, 55, 63, 79, 85, 87, 93]


@pytest.mark.parametrize("cluster", clusters.fcc_family(), ids=lambda cluster: cluster.label)
def test_neighbours_lie_one_bond_apart_and_all_is_centred(cluster):
    assert clusters.pair_distances(cluster.positions).min() == pytest.approx(1.0)
    np.testing.assert_allclose(cluster.positions.mean(axis=0), 0, atol=1e-12)


def test_a_label_names_its_cluster():
    cluster = clusters.fcc((3, 4, 3))
    assert cluster.label == "layers 3-4-3 of (100)(110)(111)"
    theirs = FaceCenteredCubic("Pt", [(1, 0, 0), (1, 1, 0), (1, 1, 1)], [3, 4, 3], latticeconstant=3.92)
    ours = cluster.atoms("Pt", 3.92 / np.sqrt(2))
    np.testing.assert_allclose(ours.get_all_distances(), theirs.get_all_distances(), atol=1e-9)


def test_turned_mirrored_and_shuffled_clusters_are_one():
    positions = clusters.fcc((2, 3, 2)).positions
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    other = -(positions @ turn)[::-1]
    assert clusters.fingerprint(other) == clusters.fingerprint(positions)
    other[0] += 0.01
    assert clusters.fingerprint(other) != clusters.fingerprint(positions)
