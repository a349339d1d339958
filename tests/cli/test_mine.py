"""`mine` with small libraries."""

import ase.io
import pytest
from ase.cluster import Icosahedron, Octahedron
from command_line import read_table, run_command


@pytest.fixture
def result_folder(run_once):
    """Return the results for the example and two other files."""
    return run_once("mine")[0]


def test_the_size_and_values_of_the_example_are_found(result_folder):
    """The example is Ag68 with bonds of 2.90 Å, whose shape is not in the requested families."""
    row = read_table(result_folder / "summary.csv")[0]
    assert row["type"] == "fcc" and row["source"] == "library" and 40 <= int(row["n_atoms"]) <= 100
    assert 0.02 < float(row["rw"]) < 0.35
    assert float(row["diameter_estimate"]) == pytest.approx(13.0, rel=0.25)
    assert float(row["stretch"]) == pytest.approx(2.90 / 2.88, abs=0.015)
    assert 0 < float(row["stretch_error"]) < 0.01


def test_further_candidates_are_written_and_the_table_is_cut(result_folder):
    row, rows = read_table(result_folder / "summary.csv")[0], read_table(result_folder / "candidates" / "good.csv")
    assert len(rows) == 10 and [candidate["rank"] for candidate in rows] == [str(index + 1) for index in range(10)]
    assert int(row["ties"]) >= sum(candidate["in_90"] == "yes" for candidate in rows) >= 1
    assert {candidate["family"] for candidate in rows} <= {"octahedron", "icosahedron"}
    for index in range(1, 5):
        atoms = ase.io.read(result_folder / "structures" / "good" / f"rank{index + 1}.xyz")
        assert len(atoms) == int(rows[index]["n_atoms"])
        assert atoms.info["rw"] == pytest.approx(float(rows[index]["rw"]), rel=1e-4)


def test_structures_of_the_user_are_searched_and_a_contradicting_header_is_reported(tmp_path):
    library_folder = tmp_path / "own"
    library_folder.mkdir()
    true_cluster = Octahedron("Au", 6, 2)
    ase.io.write(library_folder / "true.xyz", true_cluster)
    ase.io.write(library_folder / "other.xyz", Octahedron("Au", 6, 0))
    ase.io.write(library_folder / "third.xyz", Icosahedron("Au", 3))
    curve_file = tmp_path / "curve.gr"
    simulation_options = ("--qmin", 1, "--qmax", 22, "--qdamp", 0.03, "--uiso", 0.008, "--delta2", 2, "--rmax", 25)
    assert run_command("simulate", library_folder / "true.xyz", *simulation_options, "-o", curve_file) == 0
    data_file = tmp_path / "data.gr"
    data_rows = "".join(f"{line}\n" for line in curve_file.read_text().splitlines() if line[:1].isdigit())
    data_file.write_text("composition = Au\nqmin = 1\nqmax = 22\nqdamp = 0.03\n" + data_rows)
    assert run_command("mine", data_file, "--element", "Ag", "--library", library_folder, "-o", tmp_path / "out") == 0
    row = read_table(tmp_path / "out" / "summary.csv")[0]
    assert (row["source"], row["recipe"], row["n_atoms"]) == ("file", "true.xyz", str(len(true_cluster)))
    assert float(row["rw"]) < 0.01 and float(row["rw_second"]) > 0.05
    assert float(row["uiso"]) == pytest.approx(0.008, rel=0.02)
    assert "the header states the composition Au, but the model has Ag" in row["message"]
    assert len(read_table(tmp_path / "out" / "candidates" / "data.csv")) == 3


def test_an_unreadable_structure_is_refused_in_one_line(input_files, tmp_path, capsys):
    broken_file = tmp_path / "broken.xyz"
    broken_file.write_text("3\n\nAu 0 0\n")
    assert run_command("mine", input_files[0], "--element", "Ag", "--library", broken_file, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "broken.xyz" in error and "\n" not in error.strip()
    assert not (tmp_path / "out").exists()
