"""`mine` with libraries of its own."""

import ase.io
import pytest
from ase.cluster import Icosahedron, Octahedron
from shell import run, table


@pytest.fixture(scope="module")
def mined(inputs, words, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert run("mine", inputs[0], *words["mine"][1], "-o", out) == 0
    return out


def test_the_size_and_values_of_the_example_are_found(mined):
    """Ag68, bonds of 2.90 Å, whose own shape is not among the families asked for."""
    row = table(mined / "summary.csv")[0]
    assert row["type"] == "fcc" and row["source"] == "library" and 40 <= int(row["n_atoms"]) <= 100
    assert 0.02 < float(row["rw"]) < 0.35
    assert float(row["diameter_estimate"]) == pytest.approx(13.0, rel=0.25)
    assert float(row["stretch"]) == pytest.approx(2.90 / 2.88, abs=0.015)
    assert 0 < float(row["stretch_error"]) < 0.01


def test_further_candidates_are_written_and_the_table_is_cut(mined):
    row, rows = table(mined / "summary.csv")[0], table(mined / "candidates" / "good.csv")
    assert len(rows) == 10 and [one["rank"] for one in rows] == [str(place + 1) for place in range(10)]
    assert int(row["ties"]) >= sum(one["in_90"] == "yes" for one in rows) >= 1
    assert {one["family"] for one in rows} <= {"octahedron", "icosahedron"}
    for place in range(1, 5):
        atoms = ase.io.read(mined / "structures" / "good" / f"rank{place + 1}.xyz")
        assert len(atoms) == int(rows[place]["n_atoms"])
        assert atoms.info["rw"] == pytest.approx(float(rows[place]["rw"]), rel=1e-4)


def test_own_structures_are_searched_and_a_contradicting_header_is_warned_of(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    true = Octahedron("Au", 6, 2)
    ase.io.write(own / "true.xyz", true)
    ase.io.write(own / "other.xyz", Octahedron("Au", 6, 0))
    ase.io.write(own / "third.xyz", Icosahedron("Au", 3))
    curve = tmp_path / "curve.gr"
    simulated = ("--qmin", 1, "--qmax", 22, "--qdamp", 0.03, "--uiso", 0.008, "--delta2", 2, "--rmax", 25)
    assert run("simulate", own / "true.xyz", *simulated, "-o", curve) == 0
    data = tmp_path / "data.gr"
    numbers = "".join(f"{line}\n" for line in curve.read_text().splitlines() if line[:1].isdigit())
    data.write_text("composition = Au\nqmin = 1\nqmax = 22\nqdamp = 0.03\n" + numbers)
    assert run("mine", data, "--element", "Ag", "--library", own, "-o", tmp_path / "out") == 0
    row = table(tmp_path / "out" / "summary.csv")[0]
    assert (row["source"], row["recipe"], row["n_atoms"]) == ("file", "true.xyz", str(len(true)))
    assert float(row["rw"]) < 0.01 and float(row["rw_second"]) > 0.05
    assert float(row["uiso"]) == pytest.approx(0.008, rel=0.02)
    assert "the header says Au, --element Ag" in row["message"]
    assert len(table(tmp_path / "out" / "candidates" / "data.csv")) == 3


def test_an_unreadable_structure_is_refused_in_one_line(inputs, tmp_path, capsys):
    broken = tmp_path / "broken.xyz"
    broken.write_text("3\n\nAu 0 0\n")
    assert run("mine", inputs[0], "--element", "Ag", "--library", broken, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "broken.xyz" in error and "\n" not in error.strip()
    assert not (tmp_path / "out").exists()
