from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.cluster import Icosahedron, Octahedron

from jaxstruc.clusters import cluster, structure_files
from jaxstruc.clusters.cluster import Cluster

CASES = Path(__file__).parents[1] / "cases"


def test_atoms_come_back_from_a_padded_structure():
    icosahedron = Icosahedron("Au", 2)
    returned_atoms = cluster.to_ase(cluster.from_ase(icosahedron, n_rows=20))
    assert (returned_atoms.numbers == icosahedron.numbers).all()
    np.testing.assert_allclose(returned_atoms.positions, icosahedron.positions, atol=1e-5)


@pytest.mark.parametrize("invalid_atoms", [ase.Atoms(), ase.Atoms("Au5", positions=np.eye(5, 3))])
def test_no_or_too_many_atoms_are_refused(invalid_atoms):
    with pytest.raises(ValueError, match="Expected 1 to 4 atoms"):
        cluster.from_ase(invalid_atoms, n_rows=4)


def test_positions_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite positions"):
        cluster.from_ase(ase.Atoms("Au", positions=[[np.nan, 0, 0]]))


def test_a_cluster_becomes_an_element_with_its_bonds():
    dimer = Cluster("own", "dimer", np.array([[0.0, 0, 0], [1, 0, 0]]))
    platinum_atoms = dimer.to_ase("Pt", 2.78)
    assert platinum_atoms.get_chemical_symbols() == ["Pt", "Pt"] and platinum_atoms.get_distance(0, 1) == pytest.approx(
        2.78
    )


def test_a_file_gives_its_atoms_and_its_cell_is_ignored(tmp_path):
    icosahedron = Icosahedron("Au", 2)
    icosahedron.set_cell([9.0, 9, 9])
    icosahedron.pbc = True
    ase.io.write(tmp_path / "gold.xyz", icosahedron)
    (gold_cluster,) = structure_files.read_clusters(tmp_path / "gold.xyz").values()
    np.testing.assert_allclose(gold_cluster.positions, icosahedron.positions, atol=1e-6)


def test_files_that_are_no_cluster_are_refused_by_name(tmp_path):
    markdown_path = tmp_path / "notes.md"
    markdown_path.write_text("# no\n\nstructure\n")
    short_path = tmp_path / "short.xyz"
    short_path.write_text("5\n\nPt 0 0 0\n")
    nan_path = tmp_path / "nowhere.xyz"
    nan_path.write_text("2\n\nPt 0 0 0\nPt nan 0 0\n")
    oxide_path = tmp_path / "oxide.xyz"
    ase.io.write(oxide_path, ase.Atoms("PtO", [[0, 0, 0], [2, 0, 0]]))
    coincident_path = tmp_path / "twice.xyz"
    ase.io.write(coincident_path, ase.Atoms("Pt3", [[0, 0, 0], [0, 0, 0], [2.8, 0, 0]]))
    single_path = tmp_path / "single.xyz"
    ase.io.write(single_path, ase.Atoms("Pt"))
    messages_by_path = {
        markdown_path: "Expected a structure file that ASE reads, .*notes.md: \\w.*; convert it",
        short_path: "Expected a structure file that ASE reads, .*short.xyz",
        nan_path: "Expected finite positions, got NaN or infinity in .*nowhere.xyz",
        oxide_path: "Expected one element, got O, Pt in .*oxide.xyz; keep",
        coincident_path: "at least 0.5 Å between atoms, got 0 Å in .*twice.xyz",
        single_path: "Expected 2 to 5000 atoms .*single.xyz",
        tmp_path / "none.xyz": "none.xyz, which does not exist; check",
    }
    for path, message in messages_by_path.items():
        with pytest.raises(ValueError, match=message):
            structure_files.read_clusters(path)


@pytest.fixture(scope="module")
def frame_files(tmp_path_factory):
    """Return files of several structures in two formats, and the numbers of their atoms."""
    folder = tmp_path_factory.mktemp("frames")
    structures = [Icosahedron("Ag", 2), Octahedron("Ag", 3), Icosahedron("Ag", 3)]
    ase.io.write(folder / "models.extxyz", structures)
    ase.io.write(folder / "relaxation@home.traj", structures)
    return {
        CASES / "library_in_one.xyz": [201, 79, 38],
        folder / "models.extxyz": [13, 19, 55],
        folder / "relaxation@home.traj": [13, 19, 55],
    }


def test_all_structures_of_a_file_are_read_with_their_numbers(frame_files):
    for path, atom_counts in frame_files.items():
        frames = structure_files.read_clusters(path)
        assert [len(atoms) for atoms in frames.values()] == atom_counts
        assert list(frames) == [f"{path}@{number}" for number in range(3)]


def test_structures_are_selected_in_the_notation_of_ase(frame_files):
    for path, atom_counts in frame_files.items():
        for selection in ("0", "2", "-1", "-3", ":", "1:", ":-1", "::2", "-2:"):
            expected_atoms = ase.io.read(path, index=selection, do_not_split_by_at_sign=True)
            expected_frames = expected_atoms if isinstance(expected_atoms, list) else [expected_atoms]
            frames = structure_files.read_frames(Path(f"{path}@{selection}"))
            assert [len(atoms) for atoms in frames.values()] == [len(atoms) for atoms in expected_frames], selection
        assert list(structure_files.read_frames(Path(f"{path}@-1"))) == [f"{path}@2"]
        assert len(structure_files.read_atoms(Path(f"{path}@1"))) == atom_counts[1]


def test_one_structure_is_asked_for_and_a_missing_one_is_refused(frame_files):
    for path in frame_files:
        with pytest.raises(ValueError, match=f"Expected one structure, got 3 in {path}; choose one from {path}@0 to"):
            structure_files.read_atoms(path)
        for selection in ("3", "-4", "5:9"):
            with pytest.raises(ValueError, match=f"which has 3, got {path}@{selection}; the first one is {path}@0"):
                structure_files.read_frames(Path(f"{path}@{selection}"))


def test_a_damaged_structure_among_several_is_refused_by_its_number(tmp_path):
    lines = (CASES / "library_in_one.xyz").read_text().replace("Pt ", "Au ", 1).splitlines()
    lines[203 + 2] = "Pt nan 0 0"
    (tmp_path / "x.xyz").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"Expected finite positions, got NaN or infinity in .*x.xyz@1"):
        structure_files.read_frames(tmp_path / "x.xyz")
    with pytest.raises(ValueError, match=r"Expected one element, got Au, Pt in .*x.xyz@0"):
        structure_files.read_clusters(Path(f"{tmp_path / 'x.xyz'}@0"))
