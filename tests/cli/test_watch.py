"""`watch` as a command: files that arrive one after another, in a process that is killed and started again."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import read_table, run_command

MAX_SECONDS = 3.0
"""Longest time from a whole file to its row, beside the time of the answer itself."""


def write_pdf(path, number):
    """Write a G(r) with damped oscillations, which differ between files."""
    r = np.arange(0, 25, 0.02)
    g = np.sin(2 * np.pi * r / (2.3 + 0.002 * number)) * np.exp(-r / 8)
    path.write_text("\n".join(f"{x:.2f} {y:.6f}" for x, y in zip(r, g, strict=True)))


def start_watch(folder, out, until):
    arguments = ["watch", folder, "--element", "Pt", "-o", out, "--until", until, "--qmin", 1, "--qmax", 22]
    command = [sys.executable, "-m", "jaxstruc", *map(str, arguments), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_rows(out, n_rows):
    """Wait until a folder of results has a number of rows."""
    path = out / "summary.csv"
    while not path.exists() or len(read_table(path)) < n_rows:
        time.sleep(0.05)


@pytest.mark.parametrize(("n_files", "n_kills"), [(4, 1), pytest.param(200, 5, marks=pytest.mark.long)])
def test_each_file_has_one_row_although_the_process_is_killed(tmp_path, n_files, n_kills):
    folder, out = tmp_path / "with space", tmp_path / "out"
    folder.mkdir()
    process = start_watch(folder, out, n_files)
    for number in range(n_files):
        if number == n_files - 1:
            wait_for_rows(out, number)  # the programs are compiled when the last file comes
        write_pdf(folder / f"scan{number}.gr", number)
        if number % (n_files // (n_kills + 1)) == 0 and number and n_kills:
            wait_for_rows(out, 1)
            process.kill()
            process.communicate()
            n_kills -= 1
            process = start_watch(folder, out, n_files)
        time.sleep(0.1)
    printed_rows, lines = process.communicate(timeout=300)
    assert process.returncode == 0, lines
    rows = read_table(out / "summary.csv")
    assert [row["file"] for row in rows] == [str(folder / f"scan{number}.gr") for number in range(n_files)]
    assert {row["status"] for row in rows} <= {"solved", "weak"}
    checksums = [json.loads(line)["sha256"] for line in printed_rows.splitlines()]
    assert len(set(checksums)) == len(checksums) and set(checksums) <= {row["sha256"] for row in rows}
    seconds = [float(text) for text in re.findall(r"\[([0-9.]+) s after the last change", lines)]
    assert seconds[-1] < MAX_SECONDS + float(rows[-1]["seconds"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--qmin", 1), "Expected a folder of measured files"),
        (("more", "--qmin", 1), "drop it"),
        (("--until", 0), "--until of at least 1"),
        (("--with", "mine", "--shard", "1/2"), "--shard"),
        (("--with", "refine"), "--with"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, message):
    assert run_command("watch", tmp_path / "none", *arguments, "--element", "Pt", "-o", tmp_path / "out") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("jaxstruc: ") and message in lines[0]
    assert not (tmp_path / "out").exists()
