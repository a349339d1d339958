"""`mine --from-neighbour`: fits that also start from the curve before."""

import shutil

import pytest
from command_line import read_table, run_command

import jaxstruc
from jaxstruc.report import page_data, summary
from jaxstruc.report.page_data import PageEntry


def neighbour_columns(row):
    return {name: row[name] for name in ("neighbour_rw", "neighbour_type")}


@pytest.mark.long
def test_only_the_columns_of_the_neighbour_change(run_once, input_files, command_arguments, tmp_path):
    result_folder = shutil.copytree(run_once("mine")[0], tmp_path / "out")
    rows_before = read_table(result_folder / "summary.csv")
    leading_arguments, trailing_arguments = command_arguments["mine"]
    arguments = (*leading_arguments, *input_files, *trailing_arguments, "--from-neighbour", "-o", result_folder)
    assert run_command(*arguments) == 3  # one of the files is bad
    rows = read_table(result_folder / "summary.csv")
    assert [row | neighbour_columns(rows_before[0]) for row in rows] == rows_before
    assert not any(neighbour_columns(rows[0]).values()) and not any(neighbour_columns(rows[1]).values())
    assert rows[2]["neighbour_type"] == rows[2]["type"]  # both files are equal
    assert float(rows[2]["neighbour_rw"]) == pytest.approx(float(rows[2]["rw"]), rel=0.05)
    result = jaxstruc.load(result_folder / "results" / "again.npz")
    times = [path.stat().st_mtime_ns for path in sorted((result_folder / "results").glob("*.npz"))]
    assert run_command(*arguments) == 3 and read_table(result_folder / "summary.csv") == rows
    assert times == [path.stat().st_mtime_ns for path in sorted((result_folder / "results").glob("*.npz"))]
    for change, remark in (
        ({}, ""),
        ({"neighbour_type": "bcc"}, "has another type: bcc"),
        ({"neighbour_rw": 0.5 * result.best.rw}, "fits better"),
    ):
        entry = PageEntry(summary.row(result) | change, result)
        text = page_data.neighbour_remark(entry)
        assert remark in text and bool(remark) == bool(text)


def test_a_part_of_a_run_has_no_neighbours(input_files, tmp_path, capsys):
    arguments = ("mine", *input_files, "--element", "Ag", "--from-neighbour", "--shard", "1/2", "-o", tmp_path / "out")
    assert run_command(*arguments) == 2 and "--from-neighbour" in capsys.readouterr().err
