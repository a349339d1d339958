"""Runs of many files with a workflow that only copies the first word of a file into the status of its result."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command_line import read_table

from jaxstruc import batch, files, shards
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import folder


class Plan(NamedTuple):
    """Plan of a run with one setting."""

    seed: int = 0
    element: str = "Ag"

    @property
    def provenance(self):
        """Settings that determine a result."""
        return {"command": "copy", "seed": self.seed}


class CopyWorkflow:
    """Workflow that records which measurements are solved."""

    def __init__(self) -> None:
        """Begin with empty records."""
        self.solved_names, self.measured_names, self.shown_settings, self.progress_calls = [], [], [], []

    def read(self, path, plan):
        """Return one empty measurement, unless the file begins with `unusable`."""
        if path.read_text().startswith("unusable"):
            raise ValueError(f"Expected numbers, got {path.read_text()}.")
        empty = np.zeros(0)
        settings = (Setting("qmin", 1.0, "header"),)
        return [Measurement(str(path), empty, empty, {}, sha256=files.sha256(path), settings=settings)]

    def solve(self, measurements, plan, *, run_measurements, progress):
        """Yield results whose status is the first word of the file."""
        self.measured_names = [Path(measurement.name).name for measurement in run_measurements]
        for index, measurement in enumerate(measurements):
            progress(index, len(measurements), measurement.name)
            self.solved_names.append(Path(measurement.name).name)
            status = Path(measurement.name).read_text().split()[0]
            yield PdfResult(measurement.name, measurement.sha256, plan.element, status, f"seed {plan.seed}")

    def run(self, paths, out, plan=Plan(), shard="1/1"):  # noqa: B008
        """Return the outcome of a run and the names of the files that it solved."""
        self.__init__()
        batch_outcome = batch.run_batch(
            paths, out, plan, progress=lambda *args: self.progress_calls.append(args),
            show=lambda title, settings: self.shown_settings.append((title, settings)),
            workflow=batch.PDF_WORKFLOW._replace(read=self.read, solve=self.solve), shard=shards.parse_shard(shard),
        )  # fmt: skip
        return batch_outcome, self.solved_names


@pytest.fixture
def run_files(tmp_path):
    """Return files whose first words are the states of their results."""
    paths = []
    for name, text in (("a", "solved"), ("b", "unusable"), ("c", "weak"), ("d", "failed")):
        paths.append(tmp_path / "in" / f"{name}.gr")
        files.write_text(paths[-1], f"{text} {name}")
    return paths


def test_each_file_gets_its_result_in_the_order_of_the_arguments(run_files, tmp_path):
    workflow, out = CopyWorkflow(), tmp_path / "out"
    batch_outcome, solved = workflow.run(run_files, out)
    assert [result.status for result in batch_outcome.results] == ["solved", "failed", "weak", "failed"]
    assert [result.name for result in batch_outcome.results] == [str(path) for path in run_files]
    assert (batch_outcome.status, batch_outcome.skipped, solved) == (3, 0, ["a.gr", "c.gr", "d.gr"])
    unusable_result = batch_outcome.results[1]
    assert unusable_result.message == "Expected numbers, got unusable b." and unusable_result.element == "Ag"
    assert unusable_result.sha256 == files.sha256(run_files[1])
    assert json.loads((out / "settings.json").read_text()) == {"command": "copy", "seed": 0}
    rows = read_table(out / "summary.csv")
    assert [(row["file"], row["status"]) for row in rows] == [
        (result.name, result.status) for result in batch_outcome.results
    ]
    assert sorted(path.stem for path in (out / "results").iterdir()) == ["a", "c", "d"]
    assert [title for title, _ in workflow.shown_settings] == ["a.gr (bare)", "c.gr (bare)", "d.gr (bare)"]
    assert workflow.shown_settings[0][1] == (Setting("qmin", 1.0, "header"),)
    assert workflow.progress_calls[0] == (0, 3, str(run_files[0])) and workflow.progress_calls[-1] == (3, 3, "")


def test_only_a_usable_result_of_the_same_file_and_settings_is_skipped(run_files, tmp_path):
    workflow, out = CopyWorkflow(), tmp_path / "out"
    workflow.run(run_files, out)
    batch_outcome, solved = workflow.run(run_files, out)
    assert (solved, batch_outcome.skipped, workflow.measured_names) == (["d.gr"], 2, ["a.gr", "c.gr", "d.gr"])
    assert [result.status for result in batch_outcome.results] == ["solved", "failed", "weak", "failed"]
    assert [row["status"] for row in read_table(out / "summary.csv")] == ["solved", "failed", "weak", "failed"]
    run_files[0].write_text("weak changed")
    batch_outcome, solved = workflow.run(run_files, out)
    assert (solved, batch_outcome.skipped, batch_outcome.results[0].status) == (["a.gr", "d.gr"], 1, "weak")
    (out / "results" / "c.npz").write_bytes(b"half a file")
    assert workflow.run(run_files, out)[1] == ["c.gr", "d.gr"]
    (out / "results" / "a.npz").unlink()
    assert workflow.run(run_files, out)[1] == ["a.gr", "d.gr"]
    other_file = tmp_path / "other" / "a.gr"
    files.write_text(other_file, run_files[0].read_text())
    assert workflow.run([other_file, run_files[2]], out)[1] == []  # results belong to the content of a file
    batch_outcome, solved = workflow.run(run_files[2:], out, Plan(seed=1))
    assert solved == ["c.gr", "d.gr"] and batch_outcome.results[0].message == "seed 1"
    (out / "settings.json").write_text("no JSON")
    assert workflow.run(run_files[2:], out, Plan(seed=1))[1] == ["c.gr", "d.gr"]
    assert folder.load(out / "results" / "c.npz").message == "seed 1"


def test_a_run_without_failures_ends_with_status_0(run_files, tmp_path):
    for paths in ([run_files[0], run_files[2]], [run_files[2]]):
        batch_outcome, _ = CopyWorkflow().run(paths, tmp_path / "out")
        assert batch_outcome.status == 0 and len(batch_outcome.results) == len(paths)


def test_several_unusable_files_are_rows_and_no_error(run_files, tmp_path):
    batch_outcome, solved = CopyWorkflow().run([run_files[1]] * 2, tmp_path / "out")
    assert [result.status for result in batch_outcome.results] == ["failed"] * 2 and solved == []
    assert len(read_table(tmp_path / "out" / "summary.csv")) == 2


def test_a_single_unusable_file_is_an_error(run_files, tmp_path):
    workflow = CopyWorkflow()
    with pytest.raises(ValueError, match=r"^Expected numbers, got unusable b\.$"):
        workflow.run(run_files[1:2], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    check = batch.PDF_WORKFLOW._replace(read=workflow.read)
    with pytest.raises(ValueError, match="Expected numbers"):
        batch.check_inputs(run_files[1:2], tmp_path / "out", Plan(), workflow=check)
    batch.check_inputs(run_files[:2], tmp_path / "out", Plan(), workflow=check)
    batch.check_inputs(run_files[:1], tmp_path, Plan(), workflow=check)
    with pytest.raises(ValueError, match=r"at least one file, got none; name measured \.gr files"):
        batch.check_inputs([], tmp_path, Plan(), workflow=check)
    with pytest.raises(ValueError, match=f"Expected a folder for the results, got the file {run_files[0]}"):
        batch.check_inputs(run_files, run_files[0], Plan(), workflow=check)


def test_a_missing_file_has_no_checksum_and_settings_of_eight_files_are_shown(tmp_path):
    paths = [tmp_path / f"n{number}.gr" for number in range(10)]
    for path in paths[:-1]:
        path.write_text("solved")
    workflow = CopyWorkflow()
    batch_outcome, _ = workflow.run(paths, tmp_path / "out")
    assert batch_outcome.results[-1].status == "failed" and batch_outcome.results[-1].sha256 == ""
    expected_titles = [f"n{number}.gr (bare)" for number in range(batch.MAX_SHOWN_FILES)]
    assert [title for title, _ in workflow.shown_settings] == expected_titles


def results(**counts):
    """Return results without candidates, as many of each status as requested."""
    return [
        PdfResult(f"{status}{number}.gr", "", "Ag", status, "m") for status, n in counts.items() for number in range(n)
    ]


@pytest.mark.parametrize(
    ("counts", "skipped", "ending", "n_lines"),
    [
        ({"solved": 2}, 0, "2 of 2 files solved", 3),
        ({"solved": 3, "weak": 1, "failed": 2}, 2, "3 of 6 files solved, 1 weak (the message states why), 2 failed "
         "(2 of these results are from an earlier run)", 7),
        ({"weak": 20}, 0, "0 of 20 files solved, 20 weak (the message states why)", 21),
        ({"solved": 22, "failed": 1}, 22, "22 of 23 files solved, 1 failed (22 of these results are from an earlier "
         "run)", 23),
        ({"failed": 1}, 0, "0 of 1 files solved, 1 failed", 2),
    ],
)  # fmt: skip
def test_the_last_lines_count_the_files_of_each_status(counts, skipped, ending, n_lines):
    lines = list(batch.closing_lines(batch.BatchOutcome(results(**counts), skipped), Path("out")))
    places = "Open out/index.html in a browser. See out/summary.csv, and best/, candidates/ and fits/ next to it."
    assert lines[-1] == f"{ending}. {places}"
    assert len(lines) == n_lines
    n_failed = counts.get("failed", 0)
    assert all("failed" in line for line in lines[:n_failed])
    if sum(counts.values()) - n_failed > 20:
        assert lines[-2] == "... and 2 more"
    else:
        assert not any("more" in line for line in lines)


def test_a_single_file_gets_its_short_table_and_the_workflow_names_its_folders():
    (result,) = results(weak=1)
    workflow = batch.PDF_WORKFLOW._replace(output_folders="only/")
    first_line, last_line = batch.closing_lines(batch.BatchOutcome([result], 0), Path("out"), workflow=workflow)
    assert first_line == str(result) and last_line.endswith("See out/summary.csv, and only/ next to it.")


@pytest.mark.parametrize(("n_shards", "statuses"), [(2, [0, 3]), (3, [3, 3, 0]), (6, [0, 3, 0, 3, 0, 0])])
def test_merged_shards_are_the_summary_of_one_run(n_shards, statuses, run_files, tmp_path):
    paths = [*run_files, run_files[0]]  # a file that is named twice is solved once
    workflow, whole, out = CopyWorkflow(), tmp_path / "whole", tmp_path / "out"
    workflow.run(paths, whole)
    solved_names, expected_rows = [], read_table(whole / "summary.csv")
    for number, status in enumerate(statuses, start=1):
        assert not (out / "summary.csv").exists()
        batch_outcome, solved = workflow.run(paths, out, shard=f"{number}/{n_shards}")
        solved_names += solved
        assert workflow.measured_names == ["a.gr", "c.gr", "d.gr"]  # arrays have the sizes of the whole run
        assert batch_outcome.status == status
    assert sorted(solved_names) == ["a.gr", "c.gr", "d.gr"]
    assert shards.merge(out) == (5, 2, 0, ()) and shards.merge(out).status == 3
    assert read_table(out / "summary.csv") == expected_rows
    assert (out / "summary.csv").read_text() == (whole / "summary.csv").read_text()
    batch_outcome, solved = workflow.run(paths, out, shard=f"1/{n_shards}")
    assert solved == (["d.gr"] if n_shards == 3 else []) and batch_outcome.skipped == (3 if n_shards == 2 else 2)
    workflow.run(paths, out)
    assert not (out / "shards").exists() and read_table(out / "summary.csv") == expected_rows


def test_a_merge_of_unfinished_shards_names_them(run_files, tmp_path):
    workflow, out = CopyWorkflow(), tmp_path / "out"
    workflow.run(run_files, out, shard="1/6")
    assert shards.merge(out) == (4, 0, 3, ("2/6", "3/6", "4/6"))  # 5/6 and 6/6 have no curve
    workflow.run(run_files, out, shard="1/3")
    (out / "shards" / "notes-of-today.csv").write_text("a,b\n")
    assert shards.merge(out) == (4, 1, 2, ("2/3", "3/3"))
    assert [Path(row["file"]).stem for row in read_table(out / "summary.csv")] == ["a", "d"]
    table = out / "shards" / "1-of-3.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    assert shards.merge(out) == (4, 0, 3, ("1/3", "2/3", "3/3"))


def test_a_shard_removes_the_tables_of_other_runs_and_keeps_those_of_its_own(run_files, tmp_path):
    workflow, out = CopyWorkflow(), tmp_path / "out"
    tables = out / "shards"
    for shard in ("1/2", "2/2"):
        workflow.run(run_files, out, shard=shard)
    assert shards.merge(out).n_missing == 0
    for paths, plan in ((run_files[::-1], Plan()), (run_files[:3], Plan()), (run_files, Plan(seed=1))):
        workflow.run(paths, out, plan, shard="1/2")
        assert [path.name for path in tables.iterdir()] == ["1-of-2.csv"]
        workflow.run(paths, out, plan, shard="2/2")
        assert len(list(tables.iterdir())) == 2
    (tables / "2-of-2.csv").write_text("damaged")
    workflow.run(run_files, out, Plan(seed=1), shard="1/2")
    assert [path.name for path in tables.iterdir()] == ["1-of-2.csv"]


def test_tables_that_are_no_shards_of_one_run_are_refused(run_files, tmp_path):
    workflow, out, other = CopyWorkflow(), tmp_path / "out", tmp_path / "other"
    with pytest.raises(ValueError, match=r"^Expected tables with the results of shards in .*shards, got none; run "):
        shards.merge(out)
    for paths, shard in ((run_files[:3], "2/2"), (run_files[::-1], "2/2"), (run_files, "2/3")):
        workflow.run(run_files, out, shard="1/2")
        workflow.run(paths, other, shard=shard)
        table = other / "shards" / f"{shard.replace('/', '-of-')}.csv"
        table.rename(out / "shards" / table.name)
        with pytest.raises(ValueError, match="got those of several; run all shards with the same files"):
            shards.merge(out)
    header = "order,run,n_curves,n_results,n_shard_curves"
    for text in ("file,status\na.gr,solved\n", f"{header}\n1,f,x,3,1\n", f"{header}\n1,f\n", f"{header}\n1,,4,4,2\n"):
        (out / "shards" / "2-of-2.csv").write_text(text)
        with pytest.raises(ValueError, match=r"^Expected the table of a shard, got .*2-of-2\.csv; remove it"):
            shards.merge(out)
    assert not (out / "summary.csv").exists()


def test_results_of_other_settings_are_not_taken_although_a_shard_has_written_the_settings(run_files, tmp_path):
    workflow, out = CopyWorkflow(), tmp_path / "out"
    workflow.run(run_files, out)
    assert workflow.run(run_files, out, Plan(seed=1), shard="1/2")[1] == ["a.gr", "c.gr"]
    batch_outcome, solved = workflow.run(run_files, out, Plan(seed=1), shard="2/2")
    assert solved == ["d.gr"] and batch_outcome.skipped == 0
    copy = tmp_path / "in" / "b.gr"
    copy.write_text(run_files[2].read_text())  # c.gr of another shard has the same content
    batch_outcome, solved = workflow.run(run_files, out, Plan(seed=1), shard="2/2")
    assert solved == ["d.gr"] and batch_outcome.skipped == 1
    assert {path.stem for path in (out / "results").iterdir()} == {"a", "b", "c", "d"}


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "1/-2", "a/b", "1/2/3", "1 / 2", "1.0/2", "1/1000000"])
def test_a_shard_is_a_number_and_a_count(text):
    with pytest.raises(ValueError, match=r"^Expected --shard as a number from 1 to .* pass e\.g\. --shard 3/16\.$"):
        shards.parse_shard(text)
    assert shards.parse_shard("3/16") == (3, 16)


def test_the_last_line_of_a_shard_names_the_merge():
    batch_outcome = batch.BatchOutcome(results(solved=2), 0)
    last_line = list(batch.closing_lines(batch_outcome, Path("out"), shard=shards.Shard(2, 4)))[-1]
    assert last_line == "2 of 2 files solved. When all 4 shards are done, run jaxstruc merge out."
