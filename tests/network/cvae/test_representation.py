import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import fcc_shapes
from jaxstruc.clusters.cluster import Structure, from_ase
from jaxstruc.clusters.distances import distances
from jaxstruc.network.cvae import representation

order_atoms = jax.jit(representation.order_atoms)
sphere_features = jax.jit(representation.unit_sphere_features)


@pytest.fixture
def cluster():
    return from_ase(fcc_shapes.fcc_cluster((3, 4, 2)).to_ase("Pt", 2.78), n_rows=100)


def test_one_atom_is_at_the_origin_and_the_farthest_on_the_sphere(cluster):
    features = sphere_features(cluster, jnp.asarray(representation.satellites(11)))
    assert float(features.pair[0].max()) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(features.satellite[0], 1.0, atol=1e-6)
    assert float(features.radius) == pytest.approx(2.236 * 2.78, abs=1e-3)
    assert int(features.presence.sum()) == 79


def test_padding_is_zero(cluster):
    features = sphere_features(cluster, jnp.asarray(representation.satellites(11)))
    assert not np.any(features.pair[79:]) and not np.any(features.pair[:, 79:]) and not np.any(features.satellite[79:])


def test_the_order_of_the_input_does_not_matter(cluster):
    order = np.concatenate([np.random.default_rng(0).permutation(79), np.arange(79, 100)])
    shuffled_cluster = Structure(*(column[order] for column in cluster))
    ordered_cluster, ordered_shuffled = order_atoms(cluster), order_atoms(shuffled_cluster)
    np.testing.assert_allclose(ordered_cluster.positions, ordered_shuffled.positions, atol=1e-5)
    radii = np.linalg.norm(ordered_cluster.positions[:79], axis=1)
    assert (np.diff(radii) > -1e-3).all()


def test_the_position_of_the_cluster_does_not_matter(cluster):
    moved_cluster = cluster._replace(positions=cluster.positions + cluster.mask[:, None] * jnp.array([3.0, -8.0, 2.0]))
    ordered_cluster, ordered_moved = order_atoms(cluster), order_atoms(moved_cluster)
    np.testing.assert_allclose(ordered_moved.positions, ordered_cluster.positions, atol=1e-5)
    assert not ordered_moved.positions[0].any()


def test_distances_on_the_sphere_times_the_radius_are_those_of_the_structure(cluster):
    features = sphere_features(cluster, jnp.asarray(representation.satellites(11)))
    scaled_distances = np.sort(np.asarray(features.pair[:79, :79] * features.radius).ravel())
    cluster_distances = np.sort(np.asarray(jax.jit(distances)(cluster.positions[:79])).ravel())
    np.testing.assert_allclose(scaled_distances, cluster_distances, atol=1e-4)


@pytest.mark.parametrize("count", [4, 11, 100])
def test_satellites_lie_spread_on_the_unit_sphere(count):
    anchors = representation.satellites(count)
    np.testing.assert_allclose(np.linalg.norm(anchors, axis=1), 1)
    assert np.linalg.norm(anchors.mean(axis=0)) < 0.05
    assert pdist(anchors).min() > 2.8 / np.sqrt(count)
    assert np.linalg.matrix_rank(anchors - anchors[0]) == 3


def test_three_satellites_are_refused():
    with pytest.raises(ValueError, match="at least 4 satellites, got 3"):
        representation.satellites(3)


def test_the_upper_triangle_holds_a_symmetric_matrix():
    matrix = jax.jit(distances)(jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 3))[0]))
    upper_triangle = jax.jit(representation.upper_triangle)(matrix)
    assert upper_triangle.shape == (21,)
    symmetric_matrix = jax.jit(representation.symmetric_matrix, static_argnums=1)(upper_triangle, 7)
    np.testing.assert_array_equal(symmetric_matrix, matrix)


def test_satellites_follow_a_golden_spiral_from_pole_to_pole():
    """Neighbours on the spiral differ by a constant height and by the golden angle."""
    anchors = representation.satellites(11)
    np.testing.assert_allclose(anchors[:, 2], np.linspace(10, -10, 11) / 11, atol=1e-12)
    azimuth = np.arctan2(anchors[:, 1], anchors[:, 0])
    golden_ratio = (1 + np.sqrt(5)) / 2
    np.testing.assert_allclose(np.exp(1j * np.diff(azimuth)), np.exp(2j * np.pi * golden_ratio), atol=1e-9)
    assert azimuth[0] == pytest.approx(0.0)
    np.testing.assert_allclose(pdist(representation.satellites(4)), np.sqrt(8 / 3))


def test_atoms_of_equal_distance_are_sorted_by_z_then_y_then_x():
    """The order is that of Python's sorting of tuples. Padding comes last."""
    rng = np.random.default_rng(0)
    positions = np.array([[x, y, z] for x in (-1.0, 0, 1) for y in (-1.0, 0, 1) for z in (-1.0, 0, 1)])
    positions = rng.permutation(positions) * 2.5 + np.array([4.0, -3.0, 2.0])
    mask = np.arange(30) < 27
    padded_positions = np.concatenate([positions, np.zeros((3, 3))])
    order = rng.permutation(30)
    structure = Structure(
        jnp.asarray(padded_positions[order], jnp.float32), jnp.asarray(np.arange(30)[order]), jnp.asarray(mask[order])
    )
    ordered_structure = representation.order_atoms(structure)
    relative_positions = positions - np.array([4.0, -3.0, 2.0])
    keys = [(round(float(np.linalg.norm(row)), 3), *row[::-1].round(3)) for row in relative_positions]
    expected_order = sorted(range(27), key=keys.__getitem__)
    np.testing.assert_allclose(ordered_structure.positions[:27], relative_positions[expected_order], atol=1e-5)
    assert ordered_structure.numbers[:27].tolist() == expected_order
    assert ordered_structure.mask.tolist() == mask.tolist() and not ordered_structure.positions[27:].any()
