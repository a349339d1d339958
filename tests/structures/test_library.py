import ase
import ase.io
import numpy as np
import pytest
from ase.cluster import Icosahedron, Octahedron
from scipy.spatial.distance import pdist

from jaxstruc.structures import families, lattices, library
from jaxstruc.structures.atoms import Cluster
from jaxstruc.structures.distances import histogram


@pytest.fixture(scope="module")
def small():
    """All families up to 60 atoms."""
    return library.build(max_atoms=60)


def test_a_small_library_has_all_families_each_distance_list_once(small):
    assert set(small.families) == set(families.FAMILIES)
    assert len(small.atoms) > 1500 and small.atoms.min() == 5 and small.atoms.max() == 60
    found = [library.cluster(small, index) for index in range(len(small.atoms))]
    rounded = {np.round(np.sort(pdist(one.positions)), 3).tobytes() for one in found}
    assert len(rounded) >= len(found) - 2  # to a looser bound than the library's
    assert all(lattices.connected(one.positions) for one in found)
    assert all(np.diff(small.atoms) >= 0)


def test_candidates_and_their_tables_belong_together(small):
    for index in range(0, len(small.atoms), 97):
        one = library.cluster(small, index)
        assert len(one.positions) == small.atoms[index] and one.positions.dtype == np.float64
        expected = histogram(one.positions, width=library.WIDTH)
        for mine, theirs in zip(library.table(small, index), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=2e-6)
        assert small.diameter[index] == pytest.approx(pdist(one.positions).max(), abs=library.WIDTH)


def test_turned_mirrored_and_shuffled_clusters_are_merged_under_the_first():
    positions = next(c for c in families.faults(50, 60) if "random" in c.label).positions
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    other = (-(positions @ turn) + 3)[::-1]
    moved = other.copy()
    moved[0] += 0.01
    found = library.collect([Cluster("one", "a", positions), Cluster("two", "b", other), Cluster("three", "c", moved)])
    assert found.families.tolist() == ["one", "three"]


def test_lists_of_equal_moments_but_unlike_distances_are_kept_apart(monkeypatch):
    monkeypatch.setattr(library, "moments", lambda positions: (0, 0, 0))
    found = [lattices.scaled("fcc", str(length), Octahedron("Au", length).positions) for length in (2, 3, 4, 3)]
    assert library.collect(found).labels.tolist() == ["2", "3", "4"]


def test_lists_that_differ_in_one_distance_or_its_spread_are_kept_apart(monkeypatch):
    """Beyond `SAME`; all have equally many pairs in the same bins."""
    monkeypatch.setattr(library, "moments", lambda positions: (0, 0, 0))

    def row(*places):
        return Cluster("user", str(places[-1]), np.array([(x, 0.0, 0.0) for x in places]))

    found = library.collect([row(0, 1, 3), row(0, 1, 3.001), row(0, 1, 3.00001)])
    assert found.labels.tolist() == ["3", "3.001"]
    narrow, wide = (row(0, 1 - off, 2, 7, 20) for off in (0.001, 0.004))
    assert len(library.collect([narrow, wide]).atoms) == 2


def test_cuts_in_two_pieces_are_left_out(monkeypatch):
    pair = np.array([[0.0, 0, 0], [1, 0, 0]])
    listed = [Cluster("sc", "apart", np.concatenate([pair, pair + np.array([0, 3, 0])])), Cluster("sc", "pair", pair)]
    monkeypatch.setitem(families.FAMILIES, "sc", lambda least, most: iter(listed))
    assert library.build(["sc"]).labels.tolist() == ["pair"]


def test_moments_are_those_of_the_pairs():
    positions = np.random.default_rng(1).normal(size=(30, 3)) + 5
    squares = pdist(positions) ** 2
    second, fourth = 2 * squares.sum() / 900, 2 * (squares**2).sum() / 900
    expected = 30, second * library.RULER, fourth / second * library.RULER
    np.testing.assert_allclose(library.moments(positions), expected, atol=0.51)


def test_selection_is_by_family_diameter_and_atoms(small):
    everything = library.select(small)
    np.testing.assert_array_equal(everything, np.arange(len(small.atoms)))
    chosen = library.select(small, names=["bcc", "sc"], diameter=(2.0, 3.0), max_atoms=30)
    assert 0 < len(chosen) < len(everything)
    assert set(small.families[chosen]) == {"bcc", "sc"} and small.atoms[chosen].max() <= 30
    assert small.diameter[chosen].min() >= 2.0 and small.diameter[chosen].max() <= 3.0


def test_the_cache_is_used_and_a_broken_file_is_made_again(tmp_path, monkeypatch):
    calls = []
    build = library.build
    monkeypatch.setattr(library, "build", lambda *args, **kwargs: calls.append(args) or build(*args, **kwargs))

    def load(**limits):
        return library.cached(["octahedron", "sc"], folder=tmp_path / "new", **({"max_atoms": 40} | limits))

    first, second = load(), load()
    assert len(calls) == 1
    for mine, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    (path,) = (tmp_path / "new").iterdir()
    whole = path.read_bytes()
    for broken in (b"", b"nonsense", whole[: len(whole) // 2], whole[:3000] + b"\0" * 500 + whole[3500:]):
        path.write_bytes(broken)
        np.testing.assert_array_equal(load().positions, first.positions)
        assert path.read_bytes() == whole
    np.savez(path, **first._replace(positions=first.positions[1:])._asdict())
    np.testing.assert_array_equal(load().positions, first.positions)
    assert len(calls) == 6
    load(max_atoms=41)
    monkeypatch.setattr(families, "VERSION", -1)
    load()
    assert len(calls) == 8 and len(list((tmp_path / "new").iterdir())) == 3


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert len(library.cached(["octahedron"], max_atoms=40, folder=tmp_path / "file").atoms) == 4


def test_progress_counts_families():
    seen = []
    library.build(["sc", "octahedron"], max_atoms=30, progress=lambda *state: seen.append(state))
    assert seen == [(0, 2, "octahedron"), (1, 2, "sc"), (2, 2, "")]


def test_tables_in_angstrom_lose_no_pair_within_their_range(small):
    every = [(small, index) for index in range(len(small.atoms))]
    found = library.tables(every, bond=2.5, longest=2.5 * small.diameter.max() + 1.0)
    np.testing.assert_allclose(found.weight.sum(axis=1), small.atoms * (small.atoms - 1.0), rtol=1e-6)
    np.testing.assert_array_equal(found.atoms, small.atoms)
    near = library.tables(every[::50], bond=2.5, longest=7.7)
    inside = [np.sum(pdist(library.cluster(*entry).positions) * 2.5 < 7.7) for entry in every[::50]]
    np.testing.assert_allclose(near.weight.sum(axis=1), 2 * np.array(inside), rtol=0.02)
    one = library.table(small, 50)
    bins = near.weight[1] > 0
    np.testing.assert_allclose(near.mean[1][bins], 2.5 * one.mean[: bins.sum()], rtol=1e-6)
    np.testing.assert_allclose(near.variance[1][bins], 2.5**2 * one.variance[: bins.sum()], rtol=1e-6)


def test_no_pair_of_a_disordered_cluster_is_lost():
    """Its distances fill every bin; the element has a short bond and the data go far."""
    positions = 12 * np.random.default_rng(0).uniform(size=(300, 3))
    one = library.collect([Cluster("user", "drawn", positions)])
    found = library.tables([(one, 0)], bond=2.5, longest=60.0)
    assert float(found.weight.sum()) == pytest.approx(300 * 299)


def test_a_library_of_given_clusters_keeps_equal_ones_and_their_order():
    large, dimer = (lattices.scaled("own", str(n), Octahedron("Au", n).positions) for n in (3, 2))
    found = library.of_clusters([large, dimer, large])
    assert found.labels.tolist() == ["3", "2", "3"] and found.atoms.tolist() == [19, 6, 19]
    np.testing.assert_allclose(library.cluster(found, 2).positions, large.positions, atol=1e-6)
    assert len(library.of_clusters([]).atoms) == 0


@pytest.mark.parametrize(
    ("names", "limits", "message"),
    [
        (["fcc", "glass"], {}, "Expected families of .*, got glass; drop"),
        ([], {}, "at least one family, got none"),
        (["fcc"], {"min_atoms": 50, "max_atoms": 20}, "got 50 and 20"),
        (["octahedron"], {"min_atoms": 7, "max_atoms": 8}, "Expected a cluster of 7 to 8 atoms in octahedron"),
    ],
)
def test_what_cannot_be_built_is_refused(names, limits, message):
    with pytest.raises(ValueError, match=message):
        library.build(names, **limits)


def test_the_users_structures_are_scaled_to_bonds_of_one(tmp_path):
    ase.io.write(tmp_path / "b.xyz", Octahedron("Pt", 3, latticeconstant=3.92))
    ase.io.write(tmp_path / "a.xyz", Icosahedron("Au", 3, latticeconstant=4.08))
    ase.io.write(tmp_path / "c.xyz", Octahedron("Au", 3, latticeconstant=4.08))  # b again
    found = library.from_files([tmp_path])
    assert found.labels.tolist() == ["b.xyz", "a.xyz"] and set(found.families) == {"user"}
    assert found.atoms.tolist() == [19, 55]
    assert pdist(library.cluster(found, 0).positions).min() == pytest.approx(1, abs=1e-5)
    one = library.from_files([tmp_path / "a.xyz"])
    np.testing.assert_allclose(library.table(one, 0).mean, library.table(found, 1).mean)


def test_files_that_are_no_cluster_are_refused_by_name(tmp_path):
    oxide = tmp_path / "oxide.xyz"
    ase.io.write(oxide, ase.Atoms("PtO", [[0, 0, 0], [2, 0, 0]]))
    (tmp_path / "empty").mkdir()
    expected = {
        oxide: "Expected one element, got O, Pt in .*oxide.xyz; keep",
        tmp_path / "empty": "got the empty folder .*empty; pass",
        tmp_path / "none.xyz": "none.xyz, which does not exist; check",
    }
    for path, message in expected.items():
        with pytest.raises(ValueError, match=message):
            library.from_files([path])
