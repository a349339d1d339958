"""Many measured files and one folder of results, for `solve`, `mine`, `refine` and `saxs`.

A run reads and checks each file, and skips the files whose results an earlier run wrote with the same settings. The
summary is complete at any time. A file that cannot be used gets a row with the reason and does not end the run.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jaxstruc import files
from jaxstruc.io import columns, read
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import PdfPlan, prepare_measurement, solve_measurements
from jaxstruc.report import folder, summary, tables
from jaxstruc.report.summary import Row
from jaxstruc.result import Result

ProgressCallback = Callable[[int, int, str], None]
"""Function of the number of finished items, the number of all items, and a text."""
MAX_SHOWN_FILES = 8
"""Largest number of files whose settings are printed."""
MAX_LISTED_FILES = 20
"""Largest number of files for which a line is printed at the end."""


class WorkflowPlan(Protocol):
    """Properties of a plan that a run needs."""

    @property
    def element(self) -> str:
        """Element of the sample."""

    @property
    def provenance(self) -> dict[str, Any]:
        """Settings that determine the result of a file, as JSON."""


class Workflow(NamedTuple):
    """Functions and names with which files become results."""

    read: Callable[[Path, Any], Measurement]
    """Function of a file and a plan that returns the measurement with all settings."""
    solve: Callable[..., Iterator[Result]]
    """Function of measurements and a plan that yields their results."""
    result: type[Result]
    """Class of the results."""
    columns: Sequence[str]
    """Columns of the summary."""
    expected_files: str
    """Noun phrase for the input files, for messages."""
    output_folders: str
    """Names of the most important folders of results, for messages."""


class Job(NamedTuple):
    """A measured file that is to be solved."""

    stem: str
    """Name of the results, which is unique in the run."""
    measurement: Measurement


class BatchOutcome(NamedTuple):
    """Results of a run."""

    results: Sequence[Result]
    """Results of all files, in the order of the arguments. A file that cannot be used has a failed result."""
    skipped: int
    """Number of files whose results an earlier run had written."""

    @property
    def status(self) -> int:
        """Exit status: 3 if some files failed, otherwise 0."""
        return 3 if any(result.status == "failed" for result in self.results) else 0


def run_batch(
    paths: Sequence[Path],
    out: Path,
    plan: WorkflowPlan,
    *,
    progress: ProgressCallback,
    show: Callable[[str, Sequence[Setting]], None],
    workflow: Workflow | None = None,
) -> BatchOutcome:
    """Solve all files and write the folder of results, file by file.

    Args:
        paths: Measured files.
        out: Folder of the results.
        plan: Plan of the run.
        progress: Function of the number of finished files, the number of all files, and a text.
        show: Function of a title and the settings of a file, which prints them.
        workflow: Workflow of the command. The default is that of PDFs.

    Raises:
        ValueError: If a mistake concerns all files, or if the only file cannot be used.
    """
    workflow = workflow or PDF_WORKFLOW
    jobs, result_by_stem = _read_jobs(paths, plan, workflow)
    if len(paths) == 1 and not jobs:
        raise ValueError(next(iter(result_by_stem.values())).message)
    earlier_results = _earlier_results(out, plan, jobs)
    result_by_stem |= earlier_results
    pending_jobs = [job for job in jobs if job.stem not in earlier_results]
    for job in pending_jobs[:MAX_SHOWN_FILES]:
        show(f"{Path(job.measurement.name).name} ({job.measurement.format})", job.measurement.settings)
    file_stems = unique_stems(paths)
    row_by_stem: dict[str, Row] = {
        stem: summary.row(result, workflow.columns) for stem, result in result_by_stem.items()
    }

    def update_summary() -> None:
        folder.write_summary(
            out, [row_by_stem[stem] for stem in file_stems if stem in row_by_stem], columns=workflow.columns
        )

    files.write_text(out / "settings.json", json.dumps(plan.provenance, indent=1) + "\n")
    update_summary()
    pending_measurements, all_measurements = (
        [job.measurement for job in job_group] for job_group in (pending_jobs, jobs)
    )
    for job, result in zip(
        pending_jobs,
        workflow.solve(pending_measurements, plan, run_measurements=all_measurements, progress=progress),
        strict=True,
    ):
        folder.write_result(result, out, job.stem)
        result_by_stem[job.stem], row_by_stem[job.stem] = result, summary.row(result, workflow.columns)
        update_summary()
    progress(len(pending_jobs), len(pending_jobs), "")
    return BatchOutcome([result_by_stem[stem] for stem in file_stems], len(earlier_results))


def check_inputs(paths: Sequence[Path], out: Path, plan: WorkflowPlan, *, workflow: Workflow | None = None) -> None:
    """Check the arguments before the sources of candidates are built, which takes time.

    Raises:
        ValueError: If there is no file, if the only file cannot be used, or if the folder of results is a file.
    """
    workflow = workflow or PDF_WORKFLOW
    check_paths(paths, out, expected_files=workflow.expected_files)
    if len(paths) == 1:
        workflow.read(paths[0], plan)


def check_paths(paths: Sequence[Path], out: Path, *, expected_files: str) -> None:
    """Check that there are files, and that the folder of results is not a file.

    Raises:
        ValueError: If there is no file, or if the folder of results is a file.
    """
    if not paths:
        raise ValueError(f"Expected at least one file, got none; name {expected_files}.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder for the results, got the file {out}; pass another --out.")


def closing_lines(batch_outcome: BatchOutcome, out: Path, *, workflow: Workflow | None = None) -> Iterator[str]:
    """Yield the lines that are printed after a run: one for each file, or the short table of a single file."""
    failed_results = [result for result in batch_outcome.results if result.status == "failed"]
    usable_results = [result for result in batch_outcome.results if result.status != "failed"]
    yield from (tables.headline(result) for result in failed_results)
    if len(batch_outcome.results) == 1 and usable_results:
        yield str(usable_results[0])
    else:
        yield from (tables.headline(result) for result in usable_results[:MAX_LISTED_FILES])
        if len(usable_results) > MAX_LISTED_FILES:
            yield f"... and {len(usable_results) - MAX_LISTED_FILES} more"
    n_weak = sum(result.status == "weak" for result in usable_results)
    yield (
        f"{len(usable_results) - n_weak} of {len(batch_outcome.results)} files solved"
        + (f", {n_weak} weak (their messages say why)" if n_weak else "")
        + (f", {len(failed_results)} failed" if failed_results else "")
        + (f", {batch_outcome.skipped} skipped because an earlier run solved them" if batch_outcome.skipped else "")
        + f". See {out / 'summary.csv'}, and {(workflow or PDF_WORKFLOW).output_folders} next to it."
    )


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Return a name for the results of each path: its stem, with a number if another path has the same stem."""
    stems: list[str] = []
    for path in paths:
        stem, count = path.stem, 2
        while stem in stems:
            stem, count = f"{path.stem}-{count}", count + 1
        stems.append(stem)
    return stems


def _read_jobs(paths: Sequence[Path], plan: WorkflowPlan, workflow: Workflow) -> tuple[list[Job], dict[str, Result]]:
    """Return the files that can be used, and failed results of the other files by stem."""
    jobs: list[Job] = []
    failed_results: dict[str, Result] = {}
    for path, stem in zip(paths, unique_stems(paths), strict=True):
        try:
            jobs.append(Job(stem, workflow.read(path, plan)))
        except (ValueError, OSError) as error:
            failed_results[stem] = workflow.result(str(path), _file_checksum(path), plan.element, "failed", str(error))
    return jobs, failed_results


def _read_pdf(path: Path, plan: PdfPlan) -> Measurement:
    """Return the G(r) of a file with all settings. S(Q) and F(Q) are transformed to G(r)."""
    curve = plan.curve
    measurement = read.read_curve(
        path, q_unit=curve.q_unit, wavelength=curve.wavelength, kind=curve.kind, accepted_kinds=read.PDF_KINDS
    )
    return prepare_measurement(measurement, plan)


def _file_checksum(path: Path) -> str:
    """Return the checksum of a file that could not be used; "" if it cannot be read or is too large."""
    try:
        return files.sha256(path) if path.is_file() and path.stat().st_size <= columns.MAX_FILE_BYTES else ""
    except OSError:
        return ""


def _earlier_results(out: Path, plan: WorkflowPlan, jobs: Sequence[Job]) -> dict[str, Result]:
    """Return the results that an earlier run wrote with the same settings, by stem. Missing files are written again."""
    try:
        if json.loads((out / "settings.json").read_text("utf-8")) != plan.provenance:
            return {}
    except (OSError, ValueError):
        return {}
    results = {}
    for stem, measurement in jobs:
        result_path = folder.result_file(out, stem)
        if not result_path.exists():
            continue
        try:
            result = folder.load(result_path)
        except ValueError:
            continue
        if (result.name, result.sha256) == (measurement.name, measurement.sha256) and result.status != "failed":
            if not all(path.exists() for path in folder.candidate_paths(result, out, stem)):
                folder.write_result(result, out, stem)
            results[stem] = result
    return results


PDF_WORKFLOW = Workflow(
    _read_pdf,
    solve_measurements,
    PdfResult,
    summary.SUMMARY_COLUMNS,
    "measured .gr files",
    "best/, candidates/ and fits/",
)
"""Workflow of `solve` and `mine`."""
REFINE_WORKFLOW = PDF_WORKFLOW._replace(columns=summary.REFINE_SUMMARY_COLUMNS)
"""Workflow of `refine`, which does not compare a single cluster with a distribution."""
