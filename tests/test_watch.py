"""A folder that is watched, with a workflow that needs no fit."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from command_line import read_table

from jaxstruc import watch
from jaxstruc.batch import BatchRun, Workflow
from jaxstruc.io import gr
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import summary

R = np.arange(0, 20, 0.02)


class SimplePlan:
    """Plan without options."""

    element = "Pt"

    @property
    def provenance(self):
        """Options of the run."""
        return {"element": self.element}


def solve_simply(measurements, plan, *, run_measurements, progress):
    """Yield a result without candidates for each measurement."""
    for measurement in measurements:
        yield PdfResult(measurement.name, measurement.sha256, plan.element, "solved", "")


WORKFLOW = Workflow(
    lambda path, plan: [gr.read(path)], solve_simply, PdfResult, summary.CLASSIFY_SUMMARY_COLUMNS, "", "",
    saves_results=False,
)  # fmt: skip


def write_pdf(path, frequency=9.0):
    rows = "\n".join(f"{x:.2f} {y:.6f}" for x, y in zip(R, np.sin(frequency * R) * np.exp(-R / 9), strict=True))
    path.write_text(rows)


def watch_files(tmp_path, *, until, lines=None):
    """Watch the folder `in` and return the seconds from each file to its row, by the name of the file."""
    (tmp_path / "in").mkdir(exist_ok=True)
    run = BatchRun(tmp_path / "out", SimplePlan(), WORKFLOW, keeps_results=False)
    seconds_by_name = {}
    watch.watch(
        watch.WatchedFolder(tmp_path / "in", ("*.gr",)),
        run,
        until=until,
        report=lambda path, result, seconds: seconds_by_name.setdefault(path.name, []).append(seconds),
        remark=(lines if lines is not None else []).append,
    )
    return seconds_by_name


def rows_of(tmp_path):
    return {os.path.basename(row["file"]): row["status"] for row in read_table(tmp_path / "out" / "summary.csv")}


def in_background(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_files_are_taken_once_they_are_whole_and_in_natural_order(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "scan10.gr")
    write_pdf(folder / "scan2.gr", 8.0)
    (folder / "bad.gr").write_text("nothing\n")
    (folder / ".hidden.gr").write_text("nothing\n")

    def write_slowly():
        with (folder / "slow.gr").open("w") as stream:
            for x in np.array_split(R, 6):
                stream.write("".join(f"{value:.2f} {np.sin(7 * value):.6f}\n" for value in x))
                stream.flush()
                time.sleep(0.4)

    thread = in_background(write_slowly)
    seconds_by_name = watch_files(tmp_path, until=4)
    thread.join()
    assert list(rows_of(tmp_path)) == ["bad.gr", "scan2.gr", "scan10.gr", "slow.gr"]
    assert rows_of(tmp_path) == dict.fromkeys(["scan2.gr", "scan10.gr", "slow.gr"], "solved") | {"bad.gr": "failed"}
    assert all(len(seconds) == 1 and 0.9 < seconds[0] < 3 for seconds in seconds_by_name.values())
    assert (tmp_path / "out" / "index.html").stat().st_size > 10_000


def test_a_file_that_changes_later_replaces_its_row(tmp_path):
    (tmp_path / "in").mkdir()
    write_pdf(tmp_path / "in" / "a.gr")
    first_checksum = []

    def change():
        while not (tmp_path / "out" / "index.html").exists():
            time.sleep(0.05)
        first_checksum.append(read_table(tmp_path / "out" / "summary.csv")[0]["sha256"])
        write_pdf(tmp_path / "in" / "a.gr", 8.0)
        time.sleep(2)
        write_pdf(tmp_path / "in" / "b.gr", 8.5)

    thread = in_background(change)
    seconds_by_name = watch_files(tmp_path, until=2)
    thread.join()
    rows = read_table(tmp_path / "out" / "summary.csv")
    assert len(seconds_by_name["a.gr"]) == 2 and [os.path.basename(row["file"]) for row in rows] == ["a.gr", "b.gr"]
    assert rows[0]["sha256"] != first_checksum[0]


def test_a_run_that_cannot_write_waits_and_goes_on(tmp_path):
    obstacle = tmp_path / "out" / "summary.csv"
    (obstacle / "file").mkdir(parents=True)
    (tmp_path / "in").mkdir()
    write_pdf(tmp_path / "in" / "a.gr")
    lines = []

    def make_room():
        while not lines:
            time.sleep(0.05)
        (obstacle / "file").rmdir()
        obstacle.rmdir()

    thread = in_background(make_room)
    watch_files(tmp_path, until=1, lines=lines)
    thread.join()
    assert rows_of(tmp_path) == {"a.gr": "solved"}
    assert len(lines) == 1 and lines[0].startswith("The results cannot be written (") and "next attempt" in lines[0]


def test_an_interruption_ends_the_run_with_its_rows_and_page(tmp_path):
    (tmp_path / "in").mkdir()
    write_pdf(tmp_path / "in" / "a.gr")

    def interrupt():
        while not (tmp_path / "out" / "index.html").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    # A process in the background of a shell ignores interrupts.
    previous_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread, lines = in_background(interrupt), []
    watch_files(tmp_path, until=None, lines=lines)
    thread.join()
    signal.signal(signal.SIGINT, previous_handler)
    assert rows_of(tmp_path) == {"a.gr": "solved"} and lines[-1].startswith("Ended by ctrl-c.")
    assert not list((tmp_path / "out").glob(".*.part"))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Expected a folder of measured files"):
        watch.WatchedFolder(tmp_path / "none", ("*.gr",))
