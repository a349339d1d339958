import ase
import ase.io
import numpy as np
import pytest
from ase.cluster import Icosahedron

from jaxstruc.structures import atoms
from jaxstruc.structures.atoms import Cluster


def test_atoms_come_back_from_a_padded_structure():
    there = Icosahedron("Au", 2)
    back = atoms.to_ase(atoms.from_ase(there, size=20))
    assert (back.numbers == there.numbers).all()
    np.testing.assert_allclose(back.positions, there.positions, atol=1e-5)


@pytest.mark.parametrize("given", [ase.Atoms(), ase.Atoms("Au5", positions=np.eye(5, 3))])
def test_no_or_too_many_atoms_are_refused(given):
    with pytest.raises(ValueError, match="Expected 1 to 4 atoms"):
        atoms.from_ase(given, size=4)


def test_positions_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite positions"):
        atoms.from_ase(ase.Atoms("Au", positions=[[np.nan, 0, 0]]))


def test_a_cluster_becomes_an_element_with_its_bonds():
    pair = Cluster("own", "dimer", np.array([[0.0, 0, 0], [1, 0, 0]]))
    made = pair.atoms("Pt", 2.78)
    assert made.get_chemical_symbols() == ["Pt", "Pt"] and made.get_distance(0, 1) == pytest.approx(2.78)


def test_a_file_gives_its_atoms_and_its_cell_is_ignored(tmp_path):
    there = Icosahedron("Au", 2)
    there.set_cell([9.0, 9, 9])
    there.pbc = True
    ase.io.write(tmp_path / "gold.xyz", there)
    read = atoms.read_cluster(tmp_path / "gold.xyz")
    np.testing.assert_allclose(read.positions, there.positions, atol=1e-6)


def test_files_that_are_no_cluster_are_refused_by_name(tmp_path):
    bad = tmp_path / "notes.md"
    bad.write_text("# no\n\nstructure\n")
    short = tmp_path / "short.xyz"
    short.write_text("5\n\nPt 0 0 0\n")
    nowhere = tmp_path / "nowhere.xyz"
    nowhere.write_text("2\n\nPt 0 0 0\nPt nan 0 0\n")
    oxide = tmp_path / "oxide.xyz"
    ase.io.write(oxide, ase.Atoms("PtO", [[0, 0, 0], [2, 0, 0]]))
    twice = tmp_path / "twice.xyz"
    ase.io.write(twice, ase.Atoms("Pt3", [[0, 0, 0], [0, 0, 0], [2.8, 0, 0]]))
    single = tmp_path / "single.xyz"
    ase.io.write(single, ase.Atoms("Pt"))
    expected = {
        bad: "Expected a structure that ASE reads, .*notes.md: \\w.*; convert it",
        short: "Expected a structure that ASE reads, .*short.xyz",
        nowhere: "Expected finite positions, got NaN or infinity in .*nowhere.xyz",
        oxide: "Expected one element, got O, Pt in .*oxide.xyz; keep",
        twice: "at least 0.5 Å apart, got nearer ones in .*twice.xyz",
        single: "Expected 2 to 5000 atoms .*single.xyz",
        tmp_path / "none.xyz": "none.xyz, which does not exist; check",
    }
    for path, message in expected.items():
        with pytest.raises(ValueError, match=message):
            atoms.read_cluster(path)
