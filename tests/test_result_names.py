"""Names of results, and results that are found again by the content of their files."""

import dataclasses
import itertools
import re
from pathlib import Path

import ase
import numpy as np
import pdf_results
import pytest
from command_line import read_table
from measurement_files import example_pdf, rows

import jaxstruc
from jaxstruc import batch
from jaxstruc.batch import CurveEntry, Workflow
from jaxstruc.io.measurement import Setting
from jaxstruc.options.pdf import CurveOptions, SolveOptions
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import PdfPlan
from jaxstruc.report import summary

PLAN = PdfPlan("Pt", ())


def entry(path, content, frame=None):
    """Return a curve of a file whose checksum begins with eight copies of a digit."""
    return CurveEntry(Path(path), frame, 8 * content + 56 * "0" if content else "", "")


@pytest.mark.parametrize(
    ("entries", "stems"),
    [
        ([entry("a/x.gr", "1"), entry("b/y.gr", "1")], ["x", "y"]),
        ([entry("a/x.gr", "1"), entry("b/x.gr", "2")], ["x-11111111", "x-22222222"]),
        ([entry("a/x.gr", "1"), entry("b/x.gr", "1")], ["x", "x"]),
        ([entry("a/x.gr", "1"), entry("b/X.gr", "2")], ["x-11111111", "X-22222222"]),
        ([entry("a/x.gr", "1"), entry("b/X.gr", "1")], ["x", "X"]),
        ([entry("x.h5", "1", 1), entry("x.h5", "1", 2), entry("y.gr", "2")], ["x-1", "x-2", "y"]),
        ([entry("x.gr", "1", 2), entry("x-2.gr", "2")], ["x-11111111-2", "x-2-22222222"]),
        ([entry("a/x.gr", "1", 2), entry("b/x.gr", "3", 2)], ["x-11111111-2", "x-33333333-2"]),
        (
            [entry("a/x.gr", "1"), entry("b/x.gr", "2"), entry("x-11111111.gr", "3")],
            ["x-1111111100000000-gr", "x-22222222", "x-11111111-33333333"],
        ),
        ([entry("x.gr", "1"), entry("x.dat", "1")], ["x-1111111100000000-gr", "x-1111111100000000-dat"]),
    ],
)
def test_names_depend_on_contents_and_not_on_the_order(entries, stems):
    for order in itertools.permutations(range(len(entries))):
        assert batch.unique_stems([entries[index] for index in order]) == [stems[index] for index in order]


def test_files_that_cannot_be_read_have_different_names():
    first_stem, second_stem = batch.unique_stems([entry("a/x.gr", ""), entry("b/x.gr", "")])
    assert first_stem != second_stem and re.fullmatch("x-[0-9a-f]{8}", first_stem)


@pytest.fixture
def run(tmp_path):
    """Return a function that runs files and returns the rows of the summary and the names of the solved files."""

    def run_files(*paths, options=None):
        solved_files = []

        def solve(measurements, plan, *, run_measurements, progress):
            for measurement in measurements:
                solved_files.append(Path(measurement.name).parent.name)
                r, g = measurement.curve
                curve = {"calculated": g, "background": 0 * g, "atoms": ase.Atoms("Pt2", [[0, 0, 0], [0, 0, 2.8]])}
                candidates = (dataclasses.replace(pdf_results.candidate(), **curve),)
                yield dataclasses.replace(
                    pdf_results.result(), name=measurement.name, sha256=measurement.sha256, candidates=candidates,
                    settings=measurement.settings, r=r, observed=g,
                )  # fmt: skip

        workflow = Workflow(batch.PDF_WORKFLOW.read, solve, PdfResult, summary.SUMMARY_COLUMNS, "", "")
        plan = PLAN if options is None else PLAN._replace(options=options)
        batch.run_batch(
            paths, tmp_path / "out", plan, progress=lambda *_: None, show=lambda *_: None, workflow=workflow
        )
        return read_table(tmp_path / "out" / "summary.csv"), solved_files

    return run_files


def write_pdfs(folder, *names):
    """Write files named pdf.gr in folders of these names. Their curves differ."""
    for number, name in enumerate(names):
        (folder / name).mkdir()
        (folder / name / "pdf.gr").write_text(f"qmin = 0.8\nqmax = 2{number}\n##### start data\n" + rows())
    return [folder / name / "pdf.gr" for name in names]


def test_a_second_run_in_another_order_solves_nothing_and_changes_no_file(run, tmp_path):
    paths = write_pdfs(tmp_path, "a", "b", "c")
    first_rows, solved_files = run(*paths)
    assert solved_files == ["a", "b", "c"]
    assert [row["stem"] for row in first_rows] == [f"pdf-{row['sha256'][:8]}" for row in first_rows]
    ordered_files = ("summary.csv", "index.html")
    contents = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*") if path.name not in ordered_files}
    second_rows, solved_files = run(*reversed(paths))
    assert not solved_files and second_rows == first_rows[::-1]
    assert {path: path.read_bytes() for path in contents} == contents


def test_a_result_follows_its_file_to_another_name(run, tmp_path):
    """A second file with the same stem, or a renamed file, leaves no files under the old name."""
    first_path, second_path = write_pdfs(tmp_path, "a", "b")
    ((first_row,), solved_files) = run(first_path)
    assert first_row["stem"] == "pdf" and solved_files == ["a"]
    both_rows, solved_files = run(second_path, first_path)
    assert solved_files == ["b"] and [row["file"] for row in both_rows] == [str(second_path), str(first_path)]
    assert all(row["stem"] == f"pdf-{row['sha256'][:8]}" for row in both_rows)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.stem == "pdf"]
    renamed_path = second_path.rename(tmp_path / "new.gr")
    ((renamed_row,), solved_files) = run(renamed_path)
    assert not solved_files and (renamed_row["stem"], renamed_row["file"]) == ("new", str(renamed_path))
    assert {**renamed_row, "stem": "", "file": ""} == {**both_rows[0], "stem": "", "file": ""}
    assert jaxstruc.load(tmp_path / "out" / "results" / "new.npz").name == str(renamed_path)
    assert {path.name for path in (tmp_path / "out" / "best").iterdir()} == {"new.xyz", f"{both_rows[1]['stem']}.xyz"}


def test_equal_files_are_solved_once_and_have_a_row_each(run, tmp_path):
    first_path, second_path = write_pdfs(tmp_path, "a", "b")
    second_path.write_bytes(first_path.read_bytes())
    table, solved_files = run(second_path, first_path)
    assert len(solved_files) == 1 and [row["file"] for row in table] == [str(second_path), str(first_path)]
    assert [row["stem"] for row in table] == ["pdf", "pdf"] and table[0]["rw"] == table[1]["rw"] != ""


def test_curves_of_a_file_are_found_again_by_their_numbers(run, tmp_path):
    """The second curve has been solved alone before all of them are."""
    path, options = tmp_path / "growth.gr", SolveOptions(curve=CurveOptions(frame=2))
    r = np.arange(0, 30.005, 0.01)
    lines = zip(r.tolist(), *(example_pdf(stretch * r).tolist() for stretch in (0.97, 1.0, 1.03)), strict=True)
    path.write_text(
        "#qmin=0.8\n#qmax=20\n#r G_a G_b G_c\n" + "".join(" ".join(map(repr, line)) + "\n" for line in lines)
    )
    ((row,), solved_files) = run(path, options=options)
    assert (row["stem"], row["frame"], len(solved_files)) == ("growth-2", "2", 1)
    table, solved_files = run(path, options=SolveOptions(curve=CurveOptions(frame="all")))
    assert [row["stem"] for row in table] == ["growth-1", "growth-2", "growth-3"] and len(solved_files) == 2
    assert table[1] == row


def test_a_curve_that_cannot_be_used_does_not_end_the_others(run, tmp_path):
    path, r = tmp_path / "growth.gr", np.arange(0, 30.005, 0.01)
    lines = zip(r.tolist(), example_pdf(r).tolist(), (1 + r**2).tolist(), strict=True)
    path.write_text("#qmin=0.8\n#qmax=20\n#r G_a G_b\n" + "".join(" ".join(map(repr, line)) + "\n" for line in lines))
    table, solved_files = run(path, options=SolveOptions(curve=CurveOptions(frame="all")))
    assert [(row["frame"], row["status"]) for row in table] == [("1", "solved"), ("2", "failed")]
    assert len(solved_files) == 1 and table[1]["message"].startswith("Expected G(r)")


def test_a_changed_content_is_solved_again(run, tmp_path):
    (path,) = write_pdfs(tmp_path, "a")
    run(path)
    path.write_text(path.read_text().replace("qmax = 20", "qmax = 21"))
    ((row,), solved_files) = run(path)
    assert solved_files == ["a"] and row["qmax"] == "21"


def test_results_that_save_themselves_do_not_replace_results_of_other_files(tmp_path):
    r = np.linspace(1.5, 20, 60)
    candidate = dataclasses.replace(pdf_results.candidate(), calculated=r, background=0 * r)
    result = dataclasses.replace(pdf_results.result(), candidates=(candidate,), r=r, observed=r)
    frame_result = dataclasses.replace(result, settings=(Setting("frame", 2.0, "command line"),))
    for saved_result in (
        dataclasses.replace(result, name="a/pdf.gr", sha256="1" * 64),
        dataclasses.replace(result, name="b/pdf.gr", sha256="2" * 64),
        dataclasses.replace(result, name="b/pdf.gr", sha256="2" * 64),
        dataclasses.replace(frame_result, name="c/pdf.gr", sha256="3" * 64),
    ):
        saved_result.save(tmp_path)
    table = {row["stem"]: (row["file"], row["frame"]) for row in read_table(tmp_path / "summary.csv")}
    assert table == {"pdf": ("a/pdf.gr", ""), "pdf-22222222": ("b/pdf.gr", ""), "pdf-2": ("c/pdf.gr", "2")}


def test_a_frame_is_named_in_the_printed_line():
    result = dataclasses.replace(pdf_results.result(), settings=(Setting("frame", 2.0, "command line"),))
    assert str(result).startswith("in/a.gr, frame 2 (Pt): ") and result.frame == 2
