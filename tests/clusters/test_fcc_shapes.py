import itertools

import numpy as np
import pytest
from ase.cluster.cubic import FaceCenteredCubic
from scipy.spatial.distance import pdist

from jaxstruc.clusters import fcc_shapes, lattices


def test_the_kdd_grid_of_layers_has_eight_shapes():
    atom_counts = [len(cluster.positions) for cluster in fcc_shapes.fcc_family()]
    assert atom_counts == [19, 43, 55, 63, 79, 85, 87, 93]


@pytest.mark.slow
def test_layers_left_out_as_too_many_would_add_nothing():
    layers = list(itertools.product(range(1, 6), repeat=3))
    all_clusters = fcc_shapes.distinct_clusters(
        [cluster for cluster in map(fcc_shapes.fcc_cluster, layers) if 1 < len(cluster.positions) <= 60]
    )
    clusters = fcc_shapes.fcc_family(layers=range(1, 6), max_atoms=60)
    assert [cluster.label for cluster in clusters] == [cluster.label for cluster in all_clusters]


def test_the_wide_rule_has_hundreds_of_connected_fcc_shapes():
    clusters = fcc_shapes.wide_fcc_family()
    assert len(clusters) >= 300
    assert len({fcc_shapes.fingerprint(shape.positions) for shape in clusters}) == len(clusters)
    assert all(13 <= len(shape.positions) <= 100 for shape in clusters)
    assert all(lattices.is_connected(shape.positions) for shape in clusters[::50])
    for label_part in ("planes", "sphere", "about atom", "about triangle", "one atom missing"):
        assert any(label_part in shape.label for shape in clusters), label_part
    for shape in clusters[::100]:
        squared_distances = pdist(shape.positions) ** 2
        np.testing.assert_allclose(squared_distances, np.round(squared_distances), atol=1e-9)


@pytest.mark.parametrize("cluster", fcc_shapes.fcc_family(), ids=lambda cluster: cluster.label)
def test_neighbours_lie_one_bond_apart_and_all_is_centred(cluster):
    assert pdist(cluster.positions).min() == pytest.approx(1.0)
    np.testing.assert_allclose(cluster.positions.mean(axis=0), 0, atol=1e-12)


def test_a_label_names_its_cluster():
    cluster = fcc_shapes.fcc_cluster((3, 4, 3))
    assert cluster.label == "layers 3-4-3 of (100)(110)(111)"
    ase_atoms = FaceCenteredCubic("Pt", [(1, 0, 0), (1, 1, 0), (1, 1, 1)], [3, 4, 3], latticeconstant=3.92)
    cluster_atoms = cluster.to_ase("Pt", 3.92 / np.sqrt(2))
    np.testing.assert_allclose(cluster_atoms.get_all_distances(), ase_atoms.get_all_distances(), atol=1e-9)


def test_rotated_mirrored_and_shuffled_clusters_are_recognised_as_one():
    positions = fcc_shapes.fcc_cluster((2, 3, 2)).positions
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    transformed_positions = -(positions @ rotation)[::-1]
    assert fcc_shapes.fingerprint(transformed_positions) == fcc_shapes.fingerprint(positions)
    transformed_positions[0] += 0.01
    assert fcc_shapes.fingerprint(transformed_positions) != fcc_shapes.fingerprint(positions)
