import itertools

import numpy as np
import pytest
from ase.cluster.cubic import FaceCenteredCubic
from scipy.spatial.distance import pdist

from jaxstruc.structures import lattices, shapes


def test_the_kdd_grid_of_layers_has_eight_shapes():
    sizes = [len(cluster.positions) for cluster in shapes.fcc_family()]
    assert sizes == [19, 43, 55, 63, 79, 85, 87, 93]


def test_layers_passed_over_as_too_many_would_add_nothing():
    layers = list(itertools.product(range(1, 6), repeat=3))
    all_ = shapes.distinct([cluster for cluster in map(shapes.fcc, layers) if 1 < len(cluster.positions) <= 60])
    found = shapes.fcc_family(layers=range(1, 6), max_atoms=60)
    assert [cluster.label for cluster in found] == [cluster.label for cluster in all_]


def test_the_wide_rule_has_hundreds_of_connected_fcc_shapes():
    found = shapes.fcc_shapes()
    assert len(found) >= 300
    assert len({shapes.fingerprint(shape.positions) for shape in found}) == len(found)
    assert all(13 <= len(shape.positions) <= 100 for shape in found)
    assert all(lattices.connected(shape.positions) for shape in found[::50])
    for kind in ("planes", "sphere", "about atom", "about triangle", "one atom missing"):
        assert any(kind in shape.label for shape in found), kind
    for shape in found[::100]:
        squares = pdist(shape.positions) ** 2
        np.testing.assert_allclose(squares, np.round(squares), atol=1e-9)


@pytest.mark.parametrize("cluster", shapes.fcc_family(), ids=lambda cluster: cluster.label)
def test_neighbours_lie_one_bond_apart_and_all_is_centred(cluster):
    assert pdist(cluster.positions).min() == pytest.approx(1.0)
    np.testing.assert_allclose(cluster.positions.mean(axis=0), 0, atol=1e-12)


def test_a_label_names_its_cluster():
    cluster = shapes.fcc((3, 4, 3))
    assert cluster.label == "layers 3-4-3 of (100)(110)(111)"
    theirs = FaceCenteredCubic("Pt", [(1, 0, 0), (1, 1, 0), (1, 1, 1)], [3, 4, 3], latticeconstant=3.92)
    ours = cluster.atoms("Pt", 3.92 / np.sqrt(2))
    np.testing.assert_allclose(ours.get_all_distances(), theirs.get_all_distances(), atol=1e-9)


def test_turned_mirrored_and_shuffled_clusters_are_one():
    positions = shapes.fcc((2, 3, 2)).positions
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    other = -(positions @ turn)[::-1]
    assert shapes.fingerprint(other) == shapes.fingerprint(positions)
    other[0] += 0.01
    assert shapes.fingerprint(other) != shapes.fingerprint(positions)
