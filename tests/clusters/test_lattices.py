import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import lattices


@pytest.mark.parametrize(("sequence", "n_above"), [("c", 0), ("h", 2), ("hc", 0), ("ch", 2), ("h" + "c" * 63, 0)])
def test_layers_on_both_sides_of_an_h_lie_at_the_same_sites(sequence, n_above):
    squared_distances = (lattices.stack(sequence, reach=6) ** 2).sum(axis=1)
    assert np.isclose(squared_distances, 0).sum() == 1 and np.isclose(squared_distances, 1).sum() == 12
    assert np.isclose(squared_distances, 2).sum() == 6 and np.isclose(squared_distances, 8 / 3).sum() == n_above


def test_a_twin_plane_is_a_mirror_and_layers_without_one_are_fcc():
    points = lattices.stack("h" + "c" * 63, reach=5)
    mirrored_points = points * np.array([1, 1, -1])
    assert {tuple(point) for point in np.round(points, 5) + 0.0} == {
        tuple(point) for point in np.round(mirrored_points, 5) + 0.0
    }
    squared_distances = pdist(lattices.points_within(lattices.stack("c", reach=5), 2.99)) ** 2
    np.testing.assert_allclose(squared_distances, np.round(squared_distances), atol=1e-6)


def test_fcc_points_have_twelve_neighbours_in_their_half_constants():
    squared_distances = (lattices.fcc_lattice(3) ** 2).sum(axis=1)
    assert [np.sum(squared_distances == squared_distance) for squared_distance in (0, 1, 2, 3, 4, 6)] == [
        1,
        0,
        12,
        0,
        6,
        24,
    ]


def test_two_pieces_are_not_connected():
    pair = np.array([[0.0, 0, 0], [1, 0, 0]])
    assert lattices.is_connected(pair) and not lattices.is_connected(1.5 * pair)
    assert lattices.is_connected(1.5 * pair, bond=1.5)


def test_scaling_leaves_the_second_shell_of_bcc_out():
    cells = np.array([(x, y, z) for x in range(4) for y in range(4) for z in range(4)])
    crystal = 3.165 * np.concatenate([cells, cells + 0.5])
    scaled_positions = lattices.unit_bond_cluster("user", "tungsten", crystal).positions
    assert pdist(scaled_positions).min() == pytest.approx(1)
    np.testing.assert_allclose(scaled_positions.mean(axis=0), 0, atol=1e-12)


def test_depths_are_the_farthest_reach_along_any_direction_of_a_family():
    points = np.random.default_rng(0).normal(size=(40, 3))
    plane_depths = lattices.plane_depths(points)
    for name, indices in (("(100)", (1, 0, 0)), ("(110)", (1, 1, 0)), ("(111)", (1, 1, 1))):
        sign_choices = itertools.product(*({index, -index} for index in indices))
        directions = np.array(
            [permutation for signs in sign_choices for permutation in itertools.permutations(signs)]
        ) / np.linalg.norm(indices)
        np.testing.assert_allclose(plane_depths[name], (points @ directions.T).max(axis=1), rtol=1e-12)


def test_depths_of_a_prism_are_the_farthest_reach_along_its_faces():
    """The faces are those of hcp with c/a = √(8/3): the base, six sides and twelve {10-11} faces."""
    points = np.random.default_rng(2).normal(size=(40, 3))
    angles = np.radians(np.arange(30, 390, 60))
    sides = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    slopes = [2 / np.sqrt(3) * sides + [0, 0, sign / np.sqrt(8 / 3)] for sign in (1, -1)]
    slopes = np.concatenate(slopes) / np.sqrt(4 / 3 + 3 / 8)
    prism_depths = lattices.prism_depths(points)
    for name, directions in (("base", np.array([[0, 0, 1], [0, 0, -1]])), ("sides", sides), ("less slopes", slopes)):
        np.testing.assert_allclose(prism_depths[name], (points @ directions.T).max(axis=1), rtol=1e-12, err_msg=name)


def test_depths_of_a_folded_crystal_are_those_of_its_mirror_image():
    points = np.random.default_rng(1).normal(size=(40, 3))
    image = points * np.array([1, 1, -1])
    for name, depth in lattices.folded_depths(points).items():
        assert np.abs(depth).max() > 0.5
        np.testing.assert_allclose(lattices.folded_depths(image)[name], depth, rtol=1e-12)


def test_spheres_grow_shell_by_shell():
    points = lattices.fcc_lattice(4) * np.sqrt(0.5)
    spheres = list(lattices.spheres(points, np.zeros(3), "about atom", 5, 90, growth=1.0))
    assert [len(positions) for _, positions in spheres] == [13, 19, 43, 55, 79, 87]
    assert spheres[0][0] == "sphere 1.000 about atom"


def test_planes_cut_a_cube_and_each_set_of_atoms_once():
    """The clusters are boxes of a simple cubic lattice with aspect ratios up to 2.5. The third set cuts nothing."""
    points = np.array(list(itertools.product(range(-3, 4), repeat=3)), float)
    depths = {"top": abs(points[:, 2]), "sides": abs(points[:, :2]).max(axis=1), "none": np.zeros(len(points))}
    clusters = list(lattices.polyhedra("sc", points, depths, "about atom", 2, 200, truncations=(0.0, 0.5)))
    atom_counts = sorted(len(cluster.positions) for cluster in clusters)
    assert atom_counts == [27, 45, 75, 125, 175] and len(clusters) == len({cluster.label for cluster in clusters})
    for cluster in clusters:
        assert cluster.family == "sc"
        np.testing.assert_allclose(cluster.positions.mean(axis=0), 0, atol=1e-12)


def test_folded_depths_count_the_layers_of_a_twinned_crystal():
    """Layers of {111} planes are LAYER_SPACING apart and those of {100} planes 1/sqrt(2), above and below the twin."""
    points = lattices.stack("h" + "c" * 63, reach=6)
    depths = lattices.folded_depths(points)
    np.testing.assert_allclose(depths["less base"], abs(points[:, 2]), atol=1e-12)
    for name, spacing in (("(111)", lattices.LAYER_SPACING), ("(100)", np.sqrt(0.5))):
        layer = depths[name] / spacing
        np.testing.assert_allclose(layer, np.round(layer), atol=1e-6, err_msg=name)
        assert set(np.round(layer)) >= {0, 1, 2, 3}
