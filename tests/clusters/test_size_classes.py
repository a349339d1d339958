"""Classes of clusters by packing and size, and balls that are larger than the clusters of the library."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import families, lattices, library, size_classes, structure_type
from jaxstruc.clusters.library import BIN_WIDTH


@pytest.fixture(scope="module")
def small_library():
    generators = (families.fcc_clusters(30, 200), families.icosahedra(13, 200), families.twinned_clusters(60, 120))
    return library.collect(itertools.chain(*(itertools.islice(generator, 150) for generator in generators)))


def library_packings(small_library):
    return np.array([size_classes.FAMILY_PACKINGS[family] for family in small_library.families], object)


@pytest.fixture(scope="module")
def built_classes(small_library):
    return size_classes.build_size_classes(
        small_library, np.arange(len(small_library.atoms)), library_packings(small_library)
    )


def test_a_class_is_the_mean_of_its_compact_members(small_library, built_classes):
    all_rows = np.arange(len(small_library.atoms))
    sizes = size_classes.candidate_sizes(small_library, all_rows)
    is_compact = (small_library.diameter + 1) / sizes <= size_classes.MAX_COMPACT_ELONGATION
    class_index = int(np.argmax(built_classes.n_members))
    has_same_size = np.rint(np.log(sizes) / size_classes.LOG_SIZE_STEP) == np.rint(
        np.log(built_classes.size_grid[built_classes.size_index[class_index]]) / size_classes.LOG_SIZE_STEP
    )
    rows = np.flatnonzero(
        is_compact
        & has_same_size
        & (library_packings(small_library) == built_classes.packing_names[built_classes.packing_index[class_index]])
    )
    assert len(rows) == built_classes.n_members[class_index] > 3
    assert built_classes.mean_size[class_index] == pytest.approx(sizes[rows].mean(), rel=1e-6)
    pairs = np.mean(
        [
            small_library.weight[small_library.bin_starts[row] : small_library.bin_starts[row + 1]].sum()
            / small_library.atoms[row]
            for row in rows
        ]
    )
    weight, mean, variance, _ = built_classes.histogram
    assert (
        weight[class_index].sum()
        == pytest.approx(pairs, rel=1e-5)
        == pytest.approx(np.mean(small_library.atoms[rows] - 1), rel=1e-5)
    )
    mean_squares = np.mean(
        [
            (pdist(library.candidate_cluster(small_library, int(row)).positions) ** 2).sum()
            * 2
            / small_library.atoms[row]
            for row in rows
        ]
    )
    assert (weight[class_index] * (mean[class_index] ** 2 + variance[class_index])).sum() == pytest.approx(
        mean_squares, rel=1e-4
    )


def test_balls_beyond_the_library_are_means_over_centres(built_classes):
    """The share of pairs that lie within a ball agrees with the mean over balls about many centres."""
    fcc_balls = np.flatnonzero(
        (built_classes.packing_index == built_classes.packing_names.index("fcc")) & (built_classes.n_members == 0)
    )
    class_index = fcc_balls[0]
    points, rng = lattices.stack("c", reach=12), np.random.default_rng(0)
    ball_counts = np.zeros(8)
    n_atoms = 0
    for centre in rng.uniform(-1, 1, (60, 3)):
        ball = points[np.linalg.norm(points - centre, axis=1) < built_classes.mean_size[class_index] / 2]
        ball_counts += np.histogram(pdist(ball), bins=np.arange(0.5, 9, 1))[0] * 2
        n_atoms += len(ball)
    weight, mean = built_classes.histogram.weight[class_index], built_classes.histogram.mean[class_index]
    class_counts = np.histogram(mean, bins=np.arange(0.5, 9, 1), weights=weight)[0]
    np.testing.assert_allclose(class_counts, ball_counts / n_atoms, rtol=0.03, atol=0.05)


def test_sizes_are_even_in_the_logarithm_and_reach_far_beyond_the_library(built_classes):
    np.testing.assert_allclose(np.diff(np.log(built_classes.size_grid)), size_classes.LOG_SIZE_STEP)
    assert built_classes.size_grid[-1] == pytest.approx(size_classes.MAX_CLASS_SIZE, rel=0.03)
    np.testing.assert_allclose(built_classes.mean_size, built_classes.size_grid[built_classes.size_index], rtol=0.04)
    assert {"fcc", "icosahedron", "twin"} == set(built_classes.packing_names)
    assert built_classes.histogram.weight.shape[1] == round(size_classes.MAX_CLASS_DISTANCE / BIN_WIDTH)


@pytest.mark.parametrize(("packing", "size", "type_name"), [
    ("twin", 6.0, "faulted"), ("twin", 12.0, "fcc"), ("fault", 12.0, "faulted"), ("fcc", 6.0, "fcc"), ("sc", 5.0, "sc"),
    ("other", 5.0, ""), ("faulted", 5.0, "faulted"),
])  # fmt: skip
def test_one_twin_plane_in_a_large_particle_is_no_fault(packing, size, type_name):
    assert size_classes._class_structure_type(packing, size) == type_name


def test_a_size_without_a_compact_cluster_has_its_most_compact_one():
    rod_library = library.from_clusters(
        [
            lattices.centred_cluster("fcc", f"rod {n_atoms}", np.arange(n_atoms)[:, None] * np.eye(3)[0])
            for n_atoms in (20, 30)
        ]
    )
    rod_classes = size_classes.build_size_classes(rod_library, np.arange(2), np.array(["fcc", "fcc"], object))
    assert rod_classes.n_members.sum() == 2


@pytest.mark.parametrize("packing", ["icosahedron", "decahedron"])
def test_five_fold_balls_have_the_neighbours_of_a_close_packing(packing):
    moments = size_classes._ball_moments(packing, 15.0)
    n_neighbours = moments[0][: round(1.2 / BIN_WIDTH)].sum()
    assert 10 < n_neighbours < 12 and size_classes._ball_moments("bcc", 15.0) is None


def test_a_ball_far_from_the_five_fold_axis_has_no_packing():
    large_library = library.collect(
        itertools.chain(families.icosahedra(60, 300), itertools.islice(families.decahedra(60, 300), 200))
    )
    ball_packings = size_classes.candidate_packings(large_library, np.arange(len(large_library.atoms)))
    observed_types = [
        structure_type.identify_structure_type(library.candidate_cluster(large_library, row).positions).name
        for row in range(len(ball_packings))
    ]
    has_packing = ball_packings != ""
    agreement = np.mean(ball_packings[has_packing] == np.array(observed_types, object)[has_packing])
    excluded_agreement = np.mean(np.array(observed_types, object)[~has_packing] == large_library.families[~has_packing])
    assert 0.8 < has_packing.mean() < 0.98 and agreement > 0.98 and excluded_agreement < 0.6
    fivefold_classes = size_classes.build_size_classes(large_library, np.arange(len(ball_packings)), ball_packings)
    assert set(fivefold_classes.packing_names) == {"icosahedron", "decahedron"}
