"""`mine` with small libraries."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.cluster import Icosahedron, Octahedron
from command_line import read_table, run_command
from scipy.spatial.distance import pdist

EMT_POSITIONS = Path(__file__).parents[1] / "golden" / "emt" / "Au.npz"


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


def write_gold_curve(folder, atoms):
    """Write the simulated G(r) of gold atoms as a file with a header."""
    ase.io.write(folder / "particle.xyz", atoms)
    curve_file = folder / "curve.gr"
    simulation_options = ("--qmin", 1, "--qmax", 22, "--qdamp", 0.03, "--uiso", 0.008, "--delta2", 2, "--rmax", 25)
    assert run_command("simulate", folder / "particle.xyz", *simulation_options, "-o", curve_file) == 0
    data_rows = "".join(f"{line}\n" for line in curve_file.read_text().splitlines() if line[:1].isdigit())
    (folder / "data.gr").write_text("composition = Au\nqmin = 1\nqmax = 22\nqdamp = 0.03\n" + data_rows)
    return folder / "data.gr"


@pytest.mark.parametrize("name", ["icosahedron_55", "cuboctahedron_55"])
def test_a_particle_relaxed_by_another_potential_is_found_with_its_atoms(name, tmp_path):
    """ASE relaxed the particle with EMT (tools/make_relaxed.py). The distances agree within 0.02 Å."""
    with np.load(EMT_POSITIONS) as archive:
        particle = Atoms("Au55", positions=archive[f"{name}_relaxed"])
    data_file = write_gold_curve(tmp_path, particle)
    options = ("--element", "Au", "--ensemble", "none", "--families", "octahedron", "icosahedron", "--max-atoms", 150)
    assert run_command("mine", data_file, *options, "-o", tmp_path / "out") == 0
    (row,) = read_table(tmp_path / "out" / "summary.csv")
    assert row["n_atoms"] == "55" and row["source"] == "library" and row["status"] == "solved"
    assert row["type"] == ("icosahedron" if name.startswith("icosahedron") else "fcc")
    assert float(row["rw"]) < 0.02 and "rigid" not in row["message"] and "potential" not in row["message"]
    assert float(row["relaxation"]) == pytest.approx(1.0, abs=0.1) and 0 < float(row["relaxation_error"]) < 0.1
    best_atoms = ase.io.read(tmp_path / "out" / "best" / "data.xyz")
    distances = np.sort(pdist(best_atoms.positions))
    np.testing.assert_allclose(distances, np.sort(pdist(particle.positions)), atol=0.02)
    assert float(row["diameter"]) == pytest.approx(distances[-1], rel=1e-4)
    rows = read_table(tmp_path / "out" / "candidates" / "data.csv")
    assert rows[0]["relaxation"] == row["relaxation"] and float(rows[1]["rw"]) > 2 * float(rows[0]["rw"])


def test_without_the_relaxation_the_ideal_cluster_is_fitted_rigidly(tmp_path):
    """The written atoms are the ideal ones, and fit worse than the relaxed ones."""
    with np.load(EMT_POSITIONS) as archive:
        particle, ideal = (Atoms("Au55", positions=archive[f"icosahedron_55_{name}"]) for name in ("relaxed", "ideal"))
    data_file = write_gold_curve(tmp_path, particle)
    ase.io.write(tmp_path / "ideal.xyz", ideal)
    rows = {}
    for name, options in {"rigid": ("--free", "scale", "stretch", "uiso", "delta2"), "relaxed": ()}.items():
        assert run_command("refine", tmp_path / "ideal.xyz", data_file, *options, "-o", tmp_path / name) == 0
        (rows[name],) = read_table(tmp_path / name / "summary.csv")
    assert float(rows["rigid"]["relaxation"]) == 0 and rows["rigid"]["relaxation_error"] == ""
    assert float(rows["rigid"]["rw"]) > 5 * float(rows["relaxed"]["rw"])
    assert float(rows["relaxed"]["relaxation"]) == pytest.approx(1.0, abs=0.1)
    rigid_distances, ideal_distances = (
        np.sort(pdist(atoms.positions)) for atoms in (ase.io.read(tmp_path / "rigid" / "best" / "data.xyz"), ideal)
    )
    ratio = rigid_distances / ideal_distances
    np.testing.assert_allclose(ratio, np.mean(ratio), rtol=1e-3)  # the shape is unchanged
    assert ideal_distances[-1] * np.mean(ratio) == pytest.approx(float(rows["rigid"]["diameter"]), rel=1e-3)


def test_an_unreadable_structure_is_refused_in_one_line(input_files, tmp_path, capsys):
    broken_file = tmp_path / "broken.xyz"
    broken_file.write_text("3\n\nAu 0 0\n")
    assert run_command("mine", input_files[0], "--element", "Ag", "--library", broken_file, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "broken.xyz" in error and "\n" not in error.strip()
    assert not (tmp_path / "out").exists()
