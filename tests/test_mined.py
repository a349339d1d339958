"""`mine` end to end, through the command line."""

import csv
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.cluster import Icosahedron, Octahedron

from jaxstruc import cli, mined, mining

EXAMPLE = Path(__file__).parents[1] / "examples" / "Ag68_simulated.gr"
FEW = ("--element", "Ag", "--families", "octahedron", "icosahedron", "--max-atoms", 150)


def run(*words):
    """Return the exit status of the command line."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(word) for word in words])
    return stopped.value.code


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """A cache of its own, batches of the few candidates there are, and tables of fewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXSTRUC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(mining, "BATCH", 64)
        patch.setattr(mined, "LISTED", 10)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The example and a bad file."""
    folder = tmp_path_factory.mktemp("in")
    good = shutil.copy(EXAMPLE, folder / "good.gr")
    (folder / "bad.gr").write_text("no numbers here\n")
    return Path(good), folder / "bad.gr"


@pytest.fixture(scope="module")
def done(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "deep" / "results"
    return out, run("mine", *inputs, *FEW, "-o", out)


def test_a_bad_file_gets_its_row_and_the_other_goes_on(done, inputs):
    out, status = done
    rows = table(out / "summary.csv")
    assert status == 3
    assert [row["file"] for row in rows] == [str(path) for path in inputs]
    assert [row["status"] for row in rows] == ["mined", "failed"]
    assert "at least 10 rows" in rows[1]["message"] and rows[1]["rw"] == ""
    assert tuple(rows[0]) == mined.SUMMARY


def test_the_size_and_values_of_the_example_are_found(done):
    """Ag68, bonds of 2.90 Å, whose own shape is not among the families asked for."""
    row = table(done[0] / "summary.csv")[0]
    assert row["family"] == "octahedron" and 40 <= int(row["n_atoms"]) <= 100
    assert 0.02 < float(row["rw"]) < 0.35
    assert float(row["size_seen"]) == pytest.approx(13.0, rel=0.25)
    assert float(row["stretch"]) == pytest.approx(2.90 / 2.88, abs=0.015)
    assert 0 < float(row["stretch_error"]) < 0.01
    assert (row["qmin"], row["qmax"], row["rmin"], row["rmax"]) == ("1", "22", "1.5", "20")
    assert len(row["sha256"]) == 64 and row["version"]


def test_results_are_there_and_agree_with_each_other(done):
    out, _ = done
    row, rows = table(out / "summary.csv")[0], table(out / "candidates" / "good.csv")
    assert tuple(rows[0]) == mined.CANDIDATES
    rw, weight = (np.array([float(one[name]) for one in rows]) for name in ("rw", "weight"))
    assert np.all(np.diff(rw) >= 0) and np.all(np.diff(weight) <= 0)
    assert 0 < weight[0] and weight.sum() <= 1 + 1e-5
    assert [one["rank"] for one in rows] == [str(place + 1) for place in range(len(rows))]
    assert float(row["rw_second"]) == pytest.approx(rw[1]) and float(row["weight"]) == pytest.approx(weight[0])
    assert len(rows) == 10
    assert int(row["ties"]) >= sum(one["in_90"] == "yes" for one in rows) >= 1
    shares = [float(each.split()[1]) for each in row["families"].split(", ")]
    assert sum(shares) == pytest.approx(1, abs=0.02)  # of all candidates, not of those listed alone
    assert {one["family"] for one in rows} <= {"octahedron", "icosahedron"}
    for place in range(5):
        atoms = ase.io.read(out / "best" / ("good.xyz" if place == 0 else f"good-rank{place + 1}.xyz"))
        assert len(atoms) == int(rows[place]["n_atoms"]) and set(atoms.get_chemical_symbols()) == {"Ag"}
        assert atoms.info["rw"] == pytest.approx(rw[place], rel=1e-4)
        assert atoms.get_all_distances().max() == pytest.approx(float(rows[place]["diameter"]), rel=5e-3)
    fit = np.genfromtxt(out / "fits" / "good.csv", delimiter=",", names=True)
    misfit = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
    assert misfit == pytest.approx(rw[0], rel=1e-3)
    assert (out / "fits" / "good.png").stat().st_size > 10_000
    assert (out / "families" / "good.png").stat().st_size > 5_000
    assert not list(out.rglob("*.part"))


def test_running_again_skips_what_is_done_and_a_changed_setting_does_not(done, inputs, tmp_path, monkeypatch, capsys):
    out = shutil.copytree(done[0], tmp_path / "out")
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    fitted, fit_all = [], mining.fit_all
    monkeypatch.setattr(mining, "fit_all", lambda *given, **names: fitted.append(1) or fit_all(*given, **names))
    assert run("mine", *inputs, *FEW, "-o", out) == 3
    assert not fitted and {path: path.read_bytes() for path in before} == before
    assert "2 files, 1 of them done before" in capsys.readouterr().out
    assert run("mine", *inputs, *FEW, "-o", out, "--qdamp", 0.035) == 3
    assert len(fitted) == 1
    assert float(table(out / "summary.csv")[0]["qdamp"]) == pytest.approx(0.035)


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
    data.write_text("composition = Au\nqmin = 1\nqmax = 22\nqdamp = 0.03\n" + _rows(curve))
    assert run("mine", data, "--element", "Ag", "--library", own, "-o", tmp_path / "out") == 0
    row = table(tmp_path / "out" / "summary.csv")[0]
    assert (row["family"], row["label"], row["n_atoms"]) == ("user", "true.xyz", str(len(true)))
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--free", "stretch", "uiso"), "Expected scale among --free"),
        (("--free", "scale", "delta1", "delta2"), "got both"),
        (("--families", "cubes"), "got cubes"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(inputs, tmp_path, capsys, words, said):
    assert run("mine", inputs[0], "--element", "Ag", *words, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert said in error and "\n" not in error.strip()


def _rows(path):
    """Return the lines of numbers of a file."""
    return "".join(f"{line}\n" for line in path.read_text().splitlines() if line[:1].isdigit())
