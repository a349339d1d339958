import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import library, size_classes
from jaxstruc.network.classifier import relaxed_clusters


@pytest.fixture(scope="module")
def small_library():
    """Return a library of clusters of 40 to 90 atoms."""
    cluster_library = library.load_or_build(("fcc", "hcp", "icosahedron", "decahedron"), max_atoms=90)
    rows = np.flatnonzero(cluster_library.atoms >= 40)[::7]
    return library.from_clusters([library.candidate_cluster(cluster_library, row) for row in rows])


@pytest.fixture(scope="module")
def relaxed(small_library, tmp_path_factory):
    """Return every third cluster of the library, relaxed."""
    rows = np.arange(0, len(small_library.atoms), 3)
    return relaxed_clusters.relax_clusters(small_library, rows, folder=tmp_path_factory.mktemp("cache"))


def test_histograms_hold_all_pairs_up_to_the_diameter(small_library, relaxed):
    is_within_bins = relaxed.diameter.max(axis=1) < (relaxed_clusters.N_BINS - 3) * relaxed_clusters.BIN_WIDTH
    histograms = relaxed.histograms[is_within_bins].astype(float)
    n_pairs = np.repeat(
        small_library.atoms[relaxed.rows[is_within_bins], None] - 1.0, relaxed_clusters.N_LEVELS, axis=1
    )
    assert is_within_bins.mean() > 0.9
    np.testing.assert_allclose(histograms.sum(axis=2), n_pairs, rtol=2e-3)
    last_bin = relaxed_clusters.N_BINS - 1 - np.argmax(histograms[:, :, ::-1] > 0, axis=2)
    np.testing.assert_allclose(
        last_bin * relaxed_clusters.BIN_WIDTH, relaxed.diameter[is_within_bins], atol=1.1 * relaxed_clusters.BIN_WIDTH
    )


def test_clusters_differ_more_from_the_ideal_ones_at_higher_amplitudes(small_library, relaxed):
    """Differences of cumulative histograms show the relaxation. The amplitudes of level 0 lie on both sides of 0."""
    bins = np.arange(relaxed_clusters.N_BINS) * relaxed_clusters.BIN_WIDTH
    changes = []
    for row, histograms in zip(relaxed.rows, relaxed.histograms.astype(float), strict=True):
        ideal = pdist(library.candidate_cluster(small_library, row).positions)
        ideal_histogram = relaxed_clusters.bin_distances(np.full(len(ideal), 2 / small_library.atoms[row]), ideal)
        spread = [np.cumsum(histogram - ideal_histogram) for histogram in histograms]
        changes.append([np.abs(entry).sum() * (bins[1] - bins[0]) for entry in spread])
    mean_change = np.mean(changes, axis=0)
    assert mean_change[4] > mean_change[3] > mean_change[2] > mean_change[1] > 0


def test_relaxed_clusters_are_computed_once(small_library, tmp_path):
    rows = np.array([0, 4])
    first = relaxed_clusters.relax_clusters(small_library, rows, folder=tmp_path)
    (path,) = tmp_path.glob("relaxed-*.npz")
    time = path.stat().st_mtime_ns
    again = relaxed_clusters.relax_clusters(small_library, rows, folder=tmp_path)
    assert path.stat().st_mtime_ns == time
    path.write_bytes(path.read_bytes()[:100])
    repaired = relaxed_clusters.relax_clusters(small_library, rows, folder=tmp_path)
    for other in (again, repaired):
        np.testing.assert_array_equal(first.histograms, other.histograms)
        np.testing.assert_array_equal(first.diameter, other.diameter)
    assert len(relaxed_clusters.relax_clusters(small_library, rows, seed=1, folder=tmp_path).rows) == 2
    assert len(list(tmp_path.glob("relaxed-*.npz"))) == 2


def test_selected_clusters_span_all_sizes_of_each_type():
    rng = np.random.default_rng(0)
    n_atoms, type_index = rng.integers(10, 1000, 5000), np.repeat([0, 3], [4800, 200])
    rows = relaxed_clusters.balanced_rows(type_index, n_atoms)
    assert (np.diff(rows) > 0).all()
    for index in (0, 3):
        selected = rows[type_index[rows] == index]
        assert 100 <= len(selected) <= relaxed_clusters.N_CLUSTERS_PER_TYPE
        assert n_atoms[selected].min() == n_atoms[type_index == index].min()
        assert n_atoms[selected].max() == n_atoms[type_index == index].max()
    assert np.mean(n_atoms[rows[type_index[rows] == 0]] < 100) > 2 * np.mean(n_atoms < 100)


def test_members_of_a_class_have_its_packing_and_size(small_library):
    rows = np.arange(len(small_library.atoms))
    packings = size_classes.candidate_packings(small_library, rows)
    classes = size_classes.build_size_classes(small_library, rows, packings)
    members = relaxed_clusters.class_members(small_library, packings, classes)
    size = size_classes.candidate_sizes(small_library, rows)
    assert len(members) == len(classes.mean_size) and sum(map(len, members)) > 5
    for index, entry in enumerate(members):
        assert len(entry) <= relaxed_clusters.N_CLASS_MEMBERS and (len(entry) == 0 or classes.n_members[index] > 0)
        assert (packings[entry] == classes.packing_names[classes.packing_index[index]]).all()
        np.testing.assert_allclose(size[entry], classes.mean_size[index], rtol=0.07)


def test_a_distance_is_shared_by_its_two_nearest_bins():
    histogram = relaxed_clusters.bin_distances(np.array([2.0]), np.array([1.2525]))
    assert np.flatnonzero(histogram).tolist() == [125, 126]
    np.testing.assert_allclose(histogram[[125, 126]], [1.5, 0.5], rtol=1e-5)
    assert jnp.isfinite(histogram).all()
