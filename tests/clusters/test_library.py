from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.cluster import Icosahedron, Octahedron
from scipy.spatial.distance import pdist

from jaxstruc.clusters import families, lattices, library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.distances import histogram

CASES = Path(__file__).parents[1] / "cases"


@pytest.fixture(scope="module")
def small_library():
    """Return a library of all families up to 60 atoms."""
    return library.build(max_atoms=60)


def test_a_small_library_has_all_families_each_distance_list_once(small_library):
    assert set(small_library.families) == set(families.FAMILIES)
    assert len(small_library.atoms) > 1500 and small_library.atoms.min() == 5 and small_library.atoms.max() == 60
    clusters = [library.candidate_cluster(small_library, index) for index in range(len(small_library.atoms))]
    distance_lists = {np.round(np.sort(pdist(cluster.positions)), 3).tobytes() for cluster in clusters}
    assert len(distance_lists) >= len(clusters) - 2  # the tolerance is larger than that of the library
    assert all(lattices.is_connected(cluster.positions) for cluster in clusters)
    assert all(np.diff(small_library.atoms) >= 0)


def test_candidates_and_their_tables_belong_together(small_library):
    for index in range(0, len(small_library.atoms), 97):
        cluster = library.candidate_cluster(small_library, index)
        assert len(cluster.positions) == small_library.atoms[index] and cluster.positions.dtype == np.float64
        expected_histogram = histogram(cluster.positions, width=library.BIN_WIDTH)
        for column, expected_column in zip(
            library.candidate_histogram(small_library, index), expected_histogram, strict=True
        ):
            np.testing.assert_allclose(column, expected_column, atol=2e-6)
        assert small_library.diameter[index] == pytest.approx(pdist(cluster.positions).max(), abs=library.BIN_WIDTH)


def test_rotated_mirrored_and_shuffled_clusters_are_merged_under_the_first():
    positions = next(cluster for cluster in families.faulted_clusters(50, 60) if "random" in cluster.label).positions
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    mirrored_positions = (-(positions @ rotation) + 3)[::-1]
    moved_positions = mirrored_positions.copy()
    moved_positions[0] += 0.01
    merged_library = library.collect(
        [
            Cluster("one", "a", positions),
            Cluster("two", "b", mirrored_positions),
            Cluster("three", "c", moved_positions),
        ]
    )
    assert merged_library.families.tolist() == ["one", "three"]


def test_lists_of_equal_moments_but_unlike_distances_are_kept_apart(monkeypatch):
    monkeypatch.setattr(library, "moments", lambda positions: (0, 0, 0))
    clusters = [
        lattices.unit_bond_cluster("fcc", str(length), Octahedron("Au", length).positions) for length in (2, 3, 4, 3)
    ]
    assert library.collect(clusters).labels.tolist() == ["2", "3", "4"]


def test_lists_that_differ_in_one_distance_or_its_spread_are_kept_apart(monkeypatch):
    """The histograms have equal numbers of pairs in the same bins and differ by more than the tolerance."""
    monkeypatch.setattr(library, "moments", lambda positions: (0, 0, 0))

    def row_cluster(*coordinates):
        return Cluster("user", str(coordinates[-1]), np.array([(x, 0.0, 0.0) for x in coordinates]))

    merged_library = library.collect([row_cluster(0, 1, 3), row_cluster(0, 1, 3.001), row_cluster(0, 1, 3.00001)])
    assert merged_library.labels.tolist() == ["3", "3.001"]
    narrow_cluster, wide_cluster = (row_cluster(0, 1 - offset, 2, 7, 20) for offset in (0.001, 0.004))
    assert len(library.collect([narrow_cluster, wide_cluster]).atoms) == 2


def test_clusters_in_two_pieces_are_left_out(monkeypatch):
    pair = np.array([[0.0, 0, 0], [1, 0, 0]])
    clusters = [Cluster("sc", "apart", np.concatenate([pair, pair + np.array([0, 3, 0])])), Cluster("sc", "pair", pair)]
    monkeypatch.setitem(families.FAMILIES, "sc", lambda min_atoms, max_atoms: iter(clusters))
    assert library.build(["sc"]).labels.tolist() == ["pair"]


def test_moments_are_those_of_the_pairs():
    positions = np.random.default_rng(1).normal(size=(30, 3)) + 5
    squared_distances = pdist(positions) ** 2
    second_moment, fourth_moment = 2 * squared_distances.sum() / 900, 2 * (squared_distances**2).sum() / 900
    expected_moments = (
        30,
        second_moment * library.MOMENT_RESOLUTION,
        fourth_moment / second_moment * library.MOMENT_RESOLUTION,
    )
    np.testing.assert_allclose(library.moments(positions), expected_moments, atol=0.51)


def test_selection_is_by_family_diameter_and_atoms(small_library):
    all_rows = library.select(small_library)
    np.testing.assert_array_equal(all_rows, np.arange(len(small_library.atoms)))
    selected_rows = library.select(small_library, names=["bcc", "sc"], diameter=(2.0, 3.0), max_atoms=30)
    assert 0 < len(selected_rows) < len(all_rows)
    assert (
        set(small_library.families[selected_rows]) == {"bcc", "sc"} and small_library.atoms[selected_rows].max() <= 30
    )
    assert small_library.diameter[selected_rows].min() >= 2.0 and small_library.diameter[selected_rows].max() <= 3.0


def test_the_cache_is_used_and_a_broken_file_is_made_again(tmp_path, monkeypatch):
    calls = []
    build = library.build
    monkeypatch.setattr(library, "build", lambda *args, **kwargs: calls.append(args) or build(*args, **kwargs))

    def load(**limits):
        return library.load_or_build(["octahedron", "sc"], folder=tmp_path / "new", **({"max_atoms": 40} | limits))

    built_library, cached_library = load(), load()
    assert len(calls) == 1
    for column, cached_column in zip(built_library, cached_library, strict=True):
        np.testing.assert_array_equal(column, cached_column)
    (path,) = (tmp_path / "new").iterdir()
    file_bytes = path.read_bytes()
    for broken_bytes in (
        b"",
        b"nonsense",
        file_bytes[: len(file_bytes) // 2],
        file_bytes[:3000] + b"\0" * 500 + file_bytes[3500:],
    ):
        path.write_bytes(broken_bytes)
        np.testing.assert_array_equal(load().positions, built_library.positions)
        assert path.read_bytes() == file_bytes
    np.savez(path, **built_library._replace(positions=built_library.positions[1:])._asdict())
    np.testing.assert_array_equal(load().positions, built_library.positions)
    assert len(calls) == 6
    load(max_atoms=41)
    monkeypatch.setattr(families, "VERSION", -1)
    load()
    assert len(calls) == 8 and len(list((tmp_path / "new").iterdir())) == 3


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert len(library.load_or_build(["octahedron"], max_atoms=40, folder=tmp_path / "file").atoms) == 4


def test_progress_counts_families():
    states = []
    library.build(["sc", "octahedron"], max_atoms=30, progress=lambda *state: states.append(state))
    assert states == [(0, 2, "octahedron"), (1, 2, "sc"), (2, 2, "")]


def test_tables_in_angstrom_lose_no_pair_within_their_range(small_library):
    entries = [(small_library, index) for index in range(len(small_library.atoms))]
    histograms = library.scaled_histograms(entries, bond=2.5, max_distance=2.5 * small_library.diameter.max() + 1.0)
    np.testing.assert_allclose(
        histograms.weight.sum(axis=1), small_library.atoms * (small_library.atoms - 1.0), rtol=1e-6
    )
    np.testing.assert_array_equal(histograms.atoms, small_library.atoms)
    short_histograms = library.scaled_histograms(entries[::50], bond=2.5, max_distance=7.7)
    pair_counts = [np.sum(pdist(library.candidate_cluster(*entry).positions) * 2.5 < 7.7) for entry in entries[::50]]
    np.testing.assert_allclose(short_histograms.weight.sum(axis=1), 2 * np.array(pair_counts), rtol=0.02)
    histogram = library.candidate_histogram(small_library, 50)
    is_filled = short_histograms.weight[1] > 0
    np.testing.assert_allclose(short_histograms.mean[1][is_filled], 2.5 * histogram.mean[: is_filled.sum()], rtol=1e-6)
    np.testing.assert_allclose(
        short_histograms.variance[1][is_filled], 2.5**2 * histogram.variance[: is_filled.sum()], rtol=1e-6
    )


def test_no_pair_of_a_disordered_cluster_is_lost():
    """The distances fill every bin, the bond length is short, and the data extend to large r."""
    positions = 12 * np.random.default_rng(0).uniform(size=(300, 3))
    disordered_library = library.collect([Cluster("user", "drawn", positions)])
    histograms = library.scaled_histograms([(disordered_library, 0)], bond=2.5, max_distance=60.0)
    assert float(histograms.weight.sum()) == pytest.approx(300 * 299)


def test_a_library_of_given_clusters_keeps_equal_ones_and_their_order():
    large_cluster, small_cluster = (
        lattices.unit_bond_cluster("own", str(length), Octahedron("Au", length).positions) for length in (3, 2)
    )
    built_library = library.from_clusters([large_cluster, small_cluster, large_cluster])
    assert built_library.labels.tolist() == ["3", "2", "3"] and built_library.atoms.tolist() == [19, 6, 19]
    np.testing.assert_allclose(
        library.candidate_cluster(built_library, 2).positions, large_cluster.positions, atol=1e-6
    )
    assert len(library.from_clusters([]).atoms) == 0


@pytest.mark.parametrize(
    ("names", "limits", "message"),
    [
        (["fcc", "glass"], {}, "Expected families among .*, got glass; remove these"),
        ([], {}, "at least one family, got none"),
        (["fcc"], {"min_atoms": 50, "max_atoms": 20}, "got 50 and 20"),
        (
            ["octahedron"],
            {"min_atoms": 7, "max_atoms": 8},
            "No candidates: no cluster of 7 to 8 atoms is in the families octahedron",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(names, limits, message):
    with pytest.raises(ValueError, match=message):
        library.build(names, **limits)


def test_the_users_structures_are_scaled_to_bonds_of_one(tmp_path):
    ase.io.write(tmp_path / "b.xyz", Octahedron("Pt", 3, latticeconstant=3.92))
    ase.io.write(tmp_path / "a.xyz", Icosahedron("Au", 3, latticeconstant=4.08))
    ase.io.write(tmp_path / "c.xyz", Octahedron("Au", 3, latticeconstant=4.08))  # equal to b
    user_library, remarks = library.from_files([tmp_path])
    assert user_library.labels.tolist() == ["b.xyz", "a.xyz"] and set(user_library.families) == {"user"}
    assert remarks == []
    assert user_library.atoms.tolist() == [19, 55]
    assert pdist(library.candidate_cluster(user_library, 0).positions).min() == pytest.approx(1, abs=1e-5)
    single_library, _ = library.from_files([tmp_path / "a.xyz"])
    np.testing.assert_allclose(
        library.candidate_histogram(single_library, 0).mean, library.candidate_histogram(user_library, 1).mean
    )


def test_all_structures_of_a_file_are_candidates(tmp_path):
    (tmp_path / "one.xyz").write_bytes((CASES / "library_in_one.xyz").read_bytes())
    for paths, labels, atom_counts in (
        ([tmp_path], ["one.xyz@2", "one.xyz@1", "one.xyz@0"], [38, 79, 201]),
        ([tmp_path / "one.xyz@:2"], ["one.xyz@1", "one.xyz@0"], [79, 201]),
    ):
        user_library, _ = library.from_files(paths)
        assert user_library.labels.tolist() == labels and user_library.atoms.tolist() == atom_counts


def test_files_that_are_no_cluster_are_refused_by_name(tmp_path):
    oxide_path = tmp_path / "oxide.xyz"
    ase.io.write(oxide_path, ase.Atoms("PtO", [[0, 0, 0], [2, 0, 0]]))
    (tmp_path / "empty").mkdir()
    messages_by_path = {
        oxide_path: "Expected one element, got O, Pt in .*oxide.xyz; keep",
        tmp_path / "empty": "got the empty folder .*empty; choose",
        tmp_path / "none.xyz": "none.xyz, which does not exist; check",
    }
    for path, message in messages_by_path.items():
        with pytest.raises(ValueError, match=message):
            library.from_files([path])
