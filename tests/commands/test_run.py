"""What `solve`, `mine` and `refine` have in common, end to end: one folder, bad files, resuming, interruptions."""

import random
import shutil
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from shell import run, start, table

import jaxstruc
from jaxstruc import result as results
from jaxstruc.inference import candidates
from jaxstruc.report import folders, summary, tables

COMMANDS = ("solve", "mine", "refine")
ONE_WAY = [*(pytest.param(command, marks=pytest.mark.long) for command in COMMANDS[:2]), "refine"]
"""For what the commands have from one place, whatever their candidates: the quickest, and the others where time is."""


@pytest.fixture(scope="module")
def done(inputs, words, tmp_path_factory):
    """Each command's folder of results, and its exit status."""
    found = {}

    def do(command):
        if command not in found:
            before, after = words[command]
            out = tmp_path_factory.mktemp(command) / "deep" / "results"
            found[command] = out, run(*before, *inputs, *after, "-o", out)
        return found[command]

    return do


def again(command, words, inputs, out, *more):
    before, after = words[command]
    return run(*before, *inputs, *after, *more, "-o", out)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_file_gets_its_row_and_the_others_go_on(done, inputs, command):
    out, status = done(command)
    rows = table(out / "summary.csv")
    assert status == 3 and tuple(rows[0]) == (summary.REFINE_SUMMARY if command == "refine" else summary.SUMMARY)
    assert [row["file"] for row in rows] == [str(path) for path in inputs]
    assert [row["status"] for row in rows] == ["weak", "failed", "weak"]
    assert "at least 10 rows" in rows[1]["message"] and rows[1]["rw"] == ""
    assert (out / "settings.json").exists() and not list(out.rglob("*.part"))
    names = {path.name for path in (out / "best").iterdir()}
    assert names == {"good.xyz", "good-2.xyz"}  # files of one name do not overwrite each other


@pytest.mark.parametrize("command", COMMANDS)
def test_results_agree_with_each_other(done, command):
    out, _ = done(command)
    row, ranking = table(out / "summary.csv")[0], table(out / "candidates" / "good.csv")
    fit = np.genfromtxt(out / "fits" / "good.csv", delimiter=",", names=True)
    rw = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
    assert rw == pytest.approx(float(row["rw"]), rel=2e-3)
    assert fit["r"][0] == 1.5 and fit["r"][-1] == 20 and len(fit) == 1851
    atoms = ase.io.read(out / "best" / "good.xyz")
    assert set(atoms.get_chemical_symbols()) == {"Ag"} and len(atoms) == int(row["n_atoms"])
    assert atoms.info["rw"] == pytest.approx(float(row["rw"]), rel=1e-4)
    assert atoms.get_all_distances().max() == pytest.approx(float(row["diameter"]), rel=5e-3)
    assert tuple(ranking[0]) == tables.CANDIDATES
    assert float(ranking[0]["rw"]) == pytest.approx(float(row["rw"]))
    assert float(ranking[1]["rw"]) == pytest.approx(float(row["rw_second"]))
    assert np.all(np.diff([float(one["weight"]) for one in ranking if not one["remark"]]) <= 0)
    shares = [float(each.split()[-1]) for each in row["types"].split(", ")]
    assert sum(shares) == pytest.approx(1, abs=0.02)
    for folder in ("fits", "families"):
        assert (out / folder / "good.png").stat().st_size > 5_000
    whole = jaxstruc.load(out / "results" / "good.npz")
    assert whole.name == row["file"] and whole.best.n_atoms == int(row["n_atoms"])
    assert whole.versions["jaxstruc"] == row["version"] and len(whole.sha256) == 64


@pytest.mark.parametrize("command", COMMANDS)
def test_running_again_skips_what_is_done_and_gives_the_same_rows(done, words, inputs, command, monkeypatch, capsys):
    """Rows are typed: those read back are those that were found."""
    out, _ = done(command)
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    fitted = []
    monkeypatch.setattr(candidates, "fit_all", lambda *given, **names: fitted.append(1))
    assert again(command, words, inputs, out) == 3
    assert not fitted and {path: path.read_bytes() for path in before} == before
    printed = capsys.readouterr().out.replace("\n", " ")
    assert "0 of 3 files solved, 2 weakly: their messages say why, 2 of them before, 1 failed" in printed


def test_what_is_missing_is_written_again_without_a_fit(done, words, inputs, tmp_path, monkeypatch):
    out = shutil.copytree(done("mine")[0], tmp_path / "out")
    lost = (out / "fits" / "good-2.png", out / "candidates" / "good.csv")
    kept = lost[1].read_bytes()
    for path in lost:
        path.unlink()
    monkeypatch.setattr(candidates, "fit_all", None)
    assert again("mine", words, inputs, out) == 3
    assert lost[0].exists() and lost[1].read_bytes() == kept


@pytest.mark.parametrize("command", ONE_WAY[1:])
def test_a_changed_setting_file_or_result_is_done_anew(done, words, inputs, tmp_path, monkeypatch, command):
    out = shutil.copytree(done(command)[0], tmp_path / "out")
    fitted, fit_all = [], candidates.fit_all
    monkeypatch.setattr(candidates, "fit_all", lambda *given, **names: fitted.append(1) or fit_all(*given, **names))
    assert again(command, words, inputs, out, "--qdamp", 0.035) == 3
    assert len(fitted) == 2 and table(out / "summary.csv")[0]["qdamp"] == "0.035"
    (out / "results" / "good.npz").write_bytes(b"half a file")
    assert again(command, words, inputs, out, "--qdamp", 0.035) == 3
    assert len(fitted) == 3
    changed = tmp_path / "good.gr"
    changed.write_text(inputs[0].read_text().replace("qdamp = 0.03", "qdamp = 0.035"))
    assert again(command, words, [changed], tmp_path / "one") == 0
    changed.write_text(inputs[0].read_text())
    assert again(command, words, [changed], tmp_path / "one") == 0
    assert len(fitted) == 5


def test_a_row_read_back_is_the_row_that_was_found(done):
    out, _ = done("solve")
    one = jaxstruc.load(out / "results" / "good.npz")
    fresh = summary.row(one)
    back = summary.row(results.from_arrays(results.to_arrays(one), folders.CLASSES))
    assert fresh == back and {name: type(x) for name, x in fresh.items()} == {name: type(x) for name, x in back.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_seed_gives_the_same_bytes(done, words, inputs, tmp_path, command):
    out, _ = done(command)
    again(command, words, inputs[:1], tmp_path)
    for name in ("best/good.xyz", "candidates/good.csv", "fits/good.csv", "correlations/good.csv"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_an_interrupted_run_goes_on(inputs, words, tmp_path, monkeypatch, capsys):
    write, calls = folders.write, []

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(*given)

    monkeypatch.setattr(folders, "write", interrupted)
    assert again("refine", words, inputs, tmp_path) == 130
    assert "run again to continue" in capsys.readouterr().err
    assert [row["status"] for row in table(tmp_path / "summary.csv")] == ["weak", "failed"]
    assert again("refine", words, inputs, tmp_path) == 3
    assert len(calls) == 3
    assert [row["status"] for row in table(tmp_path / "summary.csv")] == ["weak", "failed", "weak"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ONE_WAY)
def test_a_run_killed_at_random_ends_with_the_rows_of_an_unbroken_one(words, inputs, tmp_path, command):
    """SIGKILL, a random moment after the first file was done; but for the times, all is the same."""
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"n{number}.gr")
        shutil.copy(inputs[0], paths[-1])
    before, after = words[command]
    call = (*before, *paths, inputs[1], *after, "-o")
    assert start(*call, tmp_path / "whole").wait() == 3
    process, begun = start(*call, tmp_path / "broken"), time.monotonic()
    while process.poll() is None and time.monotonic() - begun < 240:
        if list((tmp_path / "broken").glob("results/*.npz")):
            time.sleep(random.Random(command).uniform(0, 1.0))
            break
        time.sleep(0.01)
    killed = process.poll() is None
    process.kill()
    process.wait()
    assert killed
    assert start(*call, tmp_path / "broken").wait() == 3
    whole, broken = (table(tmp_path / out / "summary.csv") for out in ("whole", "broken"))
    for one, two in zip(whole, broken, strict=True):
        assert {**one, "seconds": ""} == {**two, "seconds": ""}
    assert not list((tmp_path / "broken").rglob("*.part"))
    for path in (tmp_path / "whole" / "best").iterdir():
        assert (tmp_path / "broken" / "best" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("command", COMMANDS)
def test_mistakes_are_one_line_and_write_nothing(inputs, words, tmp_path, capsys, command):
    before, after = words[command]
    (tmp_path / "file").write_text("")
    for more, said in (
        (("-o", tmp_path / "file"), "Expected a folder for the results"),
        (("-o", tmp_path / "out", "--free", "stretch"), "Expected scale among --free"),
        (("-o", tmp_path / "out", "--free", "scale", "delta1", "delta2"), "got both"),
        (("-o", tmp_path / "out", "--rmax", 2.5), "Expected more than 7 independent points"),
        (("-o", tmp_path / "out", "--qmin", 30), "0 <= qmin < qmax"),
    ):
        assert run(*before, inputs[0], *after, *more) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert run(*before, inputs[1], *after, "-o", tmp_path / "out") == 2
    assert "at least 10 rows" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_stems_are_numbered_where_they_meet():
    from jaxstruc.commands.run import stems

    assert stems([Path("a/x.gr"), Path("b/x.gr"), Path("x-2.gr")]) == ["x", "x-2", "x-2-2"]
