"""Common behaviour of `solve`, `mine` and `refine`: one folder, bad files, resuming and interruptions."""

import random
import shutil
import signal
import threading
import time

import ase.io
import numpy as np
import pytest
from command_line import read_table, run_command, start_process

import jaxstruc
from jaxstruc import result
from jaxstruc.report import folder, summary, tables

COMMANDS = ("solve", "mine", "refine")
REPRESENTATIVE_COMMANDS = [*(pytest.param(command, marks=pytest.mark.long) for command in COMMANDS[:2]), "refine"]
"""Commands for tests of shared behaviour: the fastest one, and the others in long runs."""


def run_again(command, command_arguments, input_files, result_folder, *options):
    leading_arguments, trailing_arguments = command_arguments[command]
    return run_command(*leading_arguments, *input_files, *trailing_arguments, *options, "-o", result_folder)


def modification_times(result_folder):
    """Return the modification time of the result of each file in ns. Every fit writes the result again."""
    return {path.stem: path.stat().st_mtime_ns for path in (result_folder / "results").glob("*.npz")}


def changed_results(times_before, result_folder):
    """Return the names of the results that were written again since."""
    times_after = modification_times(result_folder)
    return sorted(name for name in times_after if times_after[name] != times_before.get(name))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_file_gets_its_row_and_the_others_go_on(run_once, input_files, command):
    result_folder, status = run_once(command)
    rows = read_table(result_folder / "summary.csv")
    assert status == 3 and tuple(rows[0]) == (
        summary.REFINE_SUMMARY_COLUMNS if command == "refine" else summary.SUMMARY_COLUMNS
    )
    assert [row["file"] for row in rows] == [str(path) for path in input_files]
    assert [row["status"] for row in rows] == ["weak", "failed", "weak"]
    assert "at least 10 rows" in rows[1]["message"] and rows[1]["rw"] == ""
    assert (result_folder / "settings.json").exists() and not list(result_folder.rglob("*.part"))
    names = {path.name for path in (result_folder / "best").iterdir()}
    assert names == {"good.xyz", "again.xyz"} and [row["stem"] for row in rows] == ["good", "bad", "again"]


@pytest.mark.parametrize("command", COMMANDS)
def test_results_agree_with_each_other(run_once, command):
    result_folder, _ = run_once(command)
    row, ranking = read_table(result_folder / "summary.csv")[0], read_table(result_folder / "candidates" / "good.csv")
    fit = np.genfromtxt(result_folder / "fits" / "good.csv", delimiter=",", names=True)
    rw = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
    assert rw == pytest.approx(float(row["rw"]), rel=2e-3)
    assert fit["r"][0] == 1.5 and fit["r"][-1] == 20 and len(fit) == 1851
    atoms = ase.io.read(result_folder / "best" / "good.xyz")
    assert set(atoms.get_chemical_symbols()) == {"Ag"} and len(atoms) == int(row["n_atoms"])
    assert atoms.info["rw"] == pytest.approx(float(row["rw"]), rel=1e-4)
    assert atoms.get_all_distances().max() == pytest.approx(float(row["diameter"]), rel=5e-3)
    assert tuple(ranking[0]) == tables.CANDIDATE_COLUMNS
    assert float(ranking[0]["rw"]) == pytest.approx(float(row["rw"]))
    assert float(ranking[1]["rw"]) == pytest.approx(float(row["rw_second"]))
    assert np.all(np.diff([float(candidate["weight"]) for candidate in ranking if not candidate["remark"]]) <= 0)
    type_probabilities = [float(type_text.split()[-1]) for type_text in row["types"].split(", ")]
    assert sum(type_probabilities) == pytest.approx(1, abs=0.02)
    for subfolder in ("fits", "families"):
        assert (result_folder / subfolder / "good.png").stat().st_size > 5_000
    loaded_result = jaxstruc.load(result_folder / "results" / "good.npz")
    assert loaded_result.name == row["file"] and loaded_result.best.n_atoms == int(row["n_atoms"])
    assert loaded_result.versions["jaxstruc"] == row["version"] and len(loaded_result.sha256) == 64


@pytest.mark.parametrize("command", COMMANDS)
def test_running_again_skips_what_is_done_and_gives_the_same_rows(
    run_once, command_arguments, input_files, command, capsys
):
    """Rows are typed, so that rows read back equal the original ones."""
    result_folder, _ = run_once(command)
    contents = {path: path.read_bytes() for path in result_folder.rglob("*.*") if path.is_file()}
    times = modification_times(result_folder)
    assert run_again(command, command_arguments, input_files, result_folder) == 3
    assert len(times) == 2 and modification_times(result_folder) == times
    assert {path: path.read_bytes() for path in contents} == contents
    output = capsys.readouterr().out.replace("\n", " ")
    assert (
        "0 of 3 files solved, 2 weak (the message states why), 1 failed (2 of these results are from an earlier run)"
        in output
    )


def test_what_is_missing_is_written_again_without_a_fit(run_once, command_arguments, input_files, tmp_path):
    """The durations of the fits in the results stay the same to the last digit."""
    result_folder = shutil.copytree(run_once("mine")[0], tmp_path / "out")
    missing_files = (result_folder / "fits" / "again.png", result_folder / "candidates" / "good.csv")
    ranking_bytes = missing_files[1].read_bytes()
    for path in missing_files:
        path.unlink()
    result_paths = sorted((result_folder / "results").glob("*.npz"))
    seconds = [jaxstruc.load(path).facts["seconds"] for path in result_paths]
    assert run_again("mine", command_arguments, input_files, result_folder) == 3
    assert missing_files[0].exists() and missing_files[1].read_bytes() == ranking_bytes
    assert [jaxstruc.load(path).facts["seconds"] for path in result_paths] == seconds and len(seconds) == 2


@pytest.mark.parametrize("command", REPRESENTATIVE_COMMANDS[1:])
def test_a_changed_setting_file_or_result_is_done_anew(run_once, command_arguments, input_files, tmp_path, command):
    result_folder = shutil.copytree(run_once(command)[0], tmp_path / "out")
    times = modification_times(result_folder)
    assert run_again(command, command_arguments, input_files, result_folder, "--qdamp", 0.035) == 3
    assert changed_results(times, result_folder) == ["again", "good"]
    assert read_table(result_folder / "summary.csv")[0]["qdamp"] == "0.035"
    for stem in ("good", "again"):  # the files are equal, so that each could have the result of the other
        (result_folder / "results" / f"{stem}.npz").write_bytes(b"half a file")
    times = modification_times(result_folder)
    assert run_again(command, command_arguments, input_files, result_folder, "--qdamp", 0.035) == 3
    assert changed_results(times, result_folder) == ["again", "good"]
    changed_file = tmp_path / "good.gr"
    changed_file.write_text(input_files[0].read_text().replace("qdamp = 0.03", "qdamp = 0.035"))
    assert run_again(command, command_arguments, [changed_file], tmp_path / "one") == 0
    times = modification_times(tmp_path / "one")
    changed_file.write_text(input_files[0].read_text())
    assert run_again(command, command_arguments, [changed_file], tmp_path / "one") == 0
    assert changed_results(times, tmp_path / "one") == ["good"]


def test_a_row_read_back_is_the_row_that_was_found(run_once):
    result_folder, _ = run_once("solve")
    loaded_result = jaxstruc.load(result_folder / "results" / "good.npz")
    row = summary.row(loaded_result)
    restored_row = summary.row(result.from_arrays(result.to_arrays(loaded_result), folder.RESULT_CLASSES))
    assert row == restored_row and {name: type(value) for name, value in row.items()} == {
        name: type(value) for name, value in restored_row.items()
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_seed_gives_the_same_bytes(run_once, command_arguments, input_files, tmp_path, command):
    result_folder, _ = run_once(command)
    assert run_again(command, command_arguments, input_files[:1], tmp_path) == 0
    for name in ("best/good.xyz", "candidates/good.csv", "fits/good.csv", "correlations/good.csv"):
        assert (tmp_path / name).read_bytes() == (result_folder / name).read_bytes(), name


@pytest.mark.parametrize("command", ["mine", "refine"])
def test_merged_shards_are_the_table_of_one_run(run_once, command_arguments, input_files, tmp_path, command, capsys):
    result_folder, _ = run_once(command)
    leading_arguments, trailing_arguments = command_arguments[command]
    places = f"Open {tmp_path / 'index.html'} in a browser. See {tmp_path / 'summary.csv'}."
    for number, status in ((1, 0), (2, 3)):
        arguments = (*leading_arguments, *input_files, *trailing_arguments, "--shard", f"{number}/2", "-o", tmp_path)
        assert run_command(*arguments) == status
        assert f"When all 2 shards are done, run jaxstruc merge {tmp_path}." in capsys.readouterr().out
        if number == 1:
            assert run_command("merge", tmp_path) == 3
            assert capsys.readouterr().out.splitlines() == [f"2 of 3 curves. {places}", "Not finished: --shard 2/2."]
        assert not (tmp_path / "index.html").exists() or number == 1
    assert run_command("merge", tmp_path) == 3
    assert capsys.readouterr().out == f"3 of 3 curves, 1 of them failed. {places}\n"
    pages = [(folder / "index.html").read_text("utf-8") for folder in (tmp_path, result_folder)]
    assert "3 curves" in pages[0] and [text.count('id="curve-') for text in pages] == [3, 3]
    tables = [
        [{name: cell for name, cell in row.items() if name != "seconds"} for row in read_table(folder / "summary.csv")]
        for folder in (tmp_path, result_folder)
    ]
    assert tables[0] == tables[1] and len(tables[0]) == 3


@pytest.mark.parametrize("command", ["solve", "mine", "refine"])
def test_a_wrong_shard_or_number_of_devices_is_refused_in_one_line(
    command_arguments, input_files, tmp_path, command, capsys
):
    leading_arguments, trailing_arguments = command_arguments[command]
    out = tmp_path / "out"
    assert run_command(*leading_arguments, *input_files, *trailing_arguments, "--shard", "3/2", "-o", out) == 2
    error = capsys.readouterr().err
    assert error.startswith("jaxstruc: Expected --shard as a number from 1") and error.count("\n") == 1
    assert run_command(*leading_arguments, *input_files, *trailing_arguments, "--devices", "0", "-o", out) == 2
    assert capsys.readouterr().err == "jaxstruc: Expected --devices of at least 1, got 0.\n"
    assert not out.exists() and run_command("merge", out) == 2
    assert capsys.readouterr().err.startswith("jaxstruc: Expected tables with the results of shards")


@pytest.fixture
def interrupt_when():
    """Return a function that interrupts this process as soon as a condition holds. Interrupts act as by Ctrl-C."""
    previous_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    threads, is_over = [], threading.Event()

    def interrupt(condition):
        def wait_and_interrupt():
            while not is_over.is_set() and not condition():
                time.sleep(0.001)
            if not is_over.is_set():
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threads.append(threading.Thread(target=wait_and_interrupt))
        threads[-1].start()

    yield interrupt
    is_over.set()
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGINT, previous_handler)


def test_an_interrupted_run_goes_on(input_files, command_arguments, tmp_path, interrupt_when, capsys):
    """The run is interrupted after the first of four files, while the others are being fitted."""
    paths = [input_files[1]]
    for number in range(4):
        paths.append(tmp_path / f"n{number}.gr")
        shutil.copy(input_files[0], paths[-1])
    summary_path = tmp_path / "out" / "summary.csv"
    interrupt_when(lambda: summary_path.exists() and len(read_table(summary_path)) > 1)
    assert run_again("refine", command_arguments, paths, tmp_path / "out") == 130
    assert "run the command again to continue" in capsys.readouterr().err
    times = modification_times(tmp_path / "out")
    rows = read_table(summary_path)
    assert 1 <= len(times) < 4 and [row["status"] for row in rows] == ["failed", *["weak"] * (len(rows) - 1)]
    assert run_again("refine", command_arguments, paths, tmp_path / "out") == 3
    assert [row["status"] for row in read_table(summary_path)] == ["failed", *["weak"] * 4]
    assert len(changed_results(times, tmp_path / "out")) == 4 - len(times)


@pytest.mark.slow
@pytest.mark.parametrize("command", REPRESENTATIVE_COMMANDS)
def test_a_run_killed_at_random_ends_with_the_rows_of_an_unbroken_one(
    command_arguments, input_files, tmp_path, command
):
    """The process is killed at a random moment after the first file; all but the times are the same."""
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"n{number}.gr")
        shutil.copy(input_files[0], paths[-1])
    leading_arguments, trailing_arguments = command_arguments[command]
    arguments = (*leading_arguments, *paths, input_files[1], *trailing_arguments, "-o")
    assert start_process(*arguments, tmp_path / "whole").wait() == 3
    process, start_time = start_process(*arguments, tmp_path / "broken"), time.monotonic()
    while process.poll() is None and time.monotonic() - start_time < 240:
        if list((tmp_path / "broken").glob("results/*.npz")):
            time.sleep(random.Random(command).uniform(0, 1.0))
            break
        time.sleep(0.01)
    was_killed = process.poll() is None
    process.kill()
    process.wait()
    assert was_killed
    assert start_process(*arguments, tmp_path / "broken").wait() == 3
    complete_rows, resumed_rows = (
        read_table(tmp_path / result_folder / "summary.csv") for result_folder in ("whole", "broken")
    )
    for complete_row, resumed_row in zip(complete_rows, resumed_rows, strict=True):
        assert {**complete_row, "seconds": ""} == {**resumed_row, "seconds": ""}
    assert not list((tmp_path / "broken").rglob("*.part"))
    for path in (tmp_path / "whole" / "best").iterdir():
        assert (tmp_path / "broken" / "best" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("command", COMMANDS)
def test_mistakes_are_one_line_and_write_nothing(input_files, command_arguments, tmp_path, capsys, command):
    leading_arguments, trailing_arguments = command_arguments[command]
    (tmp_path / "file").write_text("")
    for options, message in (
        (("-o", tmp_path / "file"), "Expected a folder for the results"),
        (("-o", tmp_path / "out", "--free", "stretch"), "Expected scale among --free"),
        (("-o", tmp_path / "out", "--free", "scale", "delta1", "delta2"), "got both"),
        (("-o", tmp_path / "out", "--rmax", 2.5), "Expected more than 7 independent points"),
        (("-o", tmp_path / "out", "--qmin", 30), "0 <= qmin < qmax"),
    ):
        assert run_command(*leading_arguments, input_files[0], *trailing_arguments, *options) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert run_command(*leading_arguments, input_files[1], *trailing_arguments, "-o", tmp_path / "out") == 2
    assert "at least 10 rows" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
