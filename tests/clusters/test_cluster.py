import ase
import ase.io
import numpy as np
import pytest
from ase.cluster import Icosahedron

from jaxstruc.clusters import cluster
from jaxstruc.clusters.cluster import Cluster


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
    gold_cluster = cluster.read_cluster(tmp_path / "gold.xyz")
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
            cluster.read_cluster(path)
