"""`jaxstruc saxs` end to end: one folder, a bad file, resuming, refusals."""

import numpy as np
import pytest
import sized
from shell import run, table

import jaxstruc
from jaxstruc.report import summary

HELD = ("--element", "Au", "--body", "sphere", "--distribution", "gaussian")


def write(path, one, header="# Q(1/Å) I sigma"):
    rows = np.stack([one.q, one.intensity, one.sigma], axis=1)
    path.write_text(header + "\n" + "\n".join(" ".join(f"{x:.9g}" for x in row) for row in rows) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saxs")
    files = [write(folder / "a.dat", sized.measurement()), folder / "bad.dat"]
    files[1].write_text("no numbers here\n")
    files.append(write(folder / "b.dat", sized.measurement((55.0, 0.2, 1.0), seed=2)))
    out = folder / "out"
    return files, out, run("saxs", *files, *HELD, "-o", out)


def test_a_bad_file_gets_its_row_and_the_others_go_on(done):
    _, out, status = done
    rows = table(out / "summary.csv")
    assert status == 3 and tuple(rows[0]) == summary.SAXS_SUMMARY
    assert [row["status"] for row in rows] == ["solved", "failed", "solved"]
    assert "at least 10 rows" in rows[1]["message"] and rows[1]["radius"] == ""
    assert float(rows[0]["radius"]) == pytest.approx(40.0, rel=0.02)
    assert float(rows[2]["radius"]) == pytest.approx(55.0, rel=0.05)


def test_the_folder_has_what_is_promised(done):
    _, out, _ = done
    for kind in ("candidates/a.csv", "fits/a.csv", "fits/a.png", "distribution/a.csv", "distribution/a.png"):
        assert (out / kind).stat().st_size > 100
    curve = np.genfromtxt(out / "fits" / "a.csv", delimiter=",", names=True)
    assert curve.dtype.names == ("Q", "I_obs", "sigma", "I_calc", "residual", "I_background") and len(curve) == 60
    matrix = table(out / "correlations" / "a.csv")
    assert [row[""] for row in matrix] == ["radius", "pd", "scale", "background"]
    back = jaxstruc.load(out / "results" / "a.npz")
    assert back.body == "sphere" and back.sizes is not None and not list(out.rglob("*.part"))


def test_a_second_run_does_nothing_again_and_writes_what_is_lost(done):
    files, out, _ = done
    before, text = (out / "results" / "a.npz").stat().st_mtime_ns, (out / "summary.csv").read_text()
    (out / "fits" / "a.png").unlink()
    assert run("saxs", *files, *HELD, "-o", out) == 3
    assert (out / "summary.csv").read_text() == text and (out / "fits" / "a.png").exists()
    assert (out / "results" / "b.npz").exists() and before <= (out / "results" / "a.npz").stat().st_mtime_ns


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("# no unit", (), "--q-unit"),
        ("# Q(1/Å) I sigma", ("--qmin", 0.5), "qmin < qmax"),
        ("# Q(1/Å) I sigma", ("--absolute", "--solvent", "soup"), "soup"),
        ("# Q(1/Å) I sigma", ("--background", "nothing.dat"), "does not exist"),
        ("# Q(1/Å) I sigma", ("--body", "ball"), "ball"),
    ],
)
def test_a_mistake_is_one_line_and_status_2_and_writes_nothing(tmp_path, capsys, header, options, message):
    path = write(tmp_path / "a.dat", sized.measurement(), header)
    assert run("saxs", path, "--element", "Au", *options, "-o", tmp_path / "out") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_background_is_taken_off(tmp_path):
    one = sized.measurement()
    under = one._replace(intensity=2000.0 + 1e4 * one.q, sigma=np.full(60, 1.0))
    whole = write(tmp_path / "whole.dat", one._replace(intensity=one.intensity + 0.5 * under.intensity))
    solvent = write(tmp_path / "solvent.dat", under)
    words = ("--background", solvent, "--background-scale", 0.5)
    assert run("saxs", whole, *HELD, *words, "-o", tmp_path / "out") == 0
    (row,) = table(tmp_path / "out" / "summary.csv")
    assert float(row["background"]) == pytest.approx(100.0, abs=30) and row["background_scale"] == "0.5"
