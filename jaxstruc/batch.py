"""Many files, one folder of results: what `solve`, `mine`, `refine` and `saxs` share.

Reads and checks each file, skips what an earlier run did with the same settings, keeps a summary that is whole at any
time, and lets no bad file end a run.
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
"""Called with the number of items done, the number of items in all, and a remark."""
MAX_SHOWN_FILES = 8
"""Most files whose settings are printed."""
MAX_LISTED_FILES = 20
"""Most files that have a line in the end."""


class WorkflowPlan(Protocol):
    """What a run needs to know of a plan."""

    @property
    def element(self) -> str:
        """Of the sample."""

    @property
    def provenance(self) -> dict[str, Any]:
        """What, beside a file, decides its result."""


class Workflow(NamedTuple):
    """How files become results."""

    read: Callable[[Path, Any], Measurement]
    """A file, by a plan, as a measurement with all settings."""
    solve: Callable[..., Iterator[Result]]
    result: type[Result]
    """Class of the results."""
    columns: Sequence[str]
    """Of the summary."""
    expected_files: str
    """What is to be named where no file is."""
    output_folders: str
    """Where a person finds more."""


class Job(NamedTuple):
    """One file."""

    stem: str
    """Name of its results, unlike any other's in the run."""
    measurement: Measurement


class BatchOutcome(NamedTuple):
    """How a run ended."""

    results: Sequence[Result]
    """Of all files, in the order given; of those that cannot be read, what was wrong."""
    skipped: int
    """Files done before."""

    @property
    def status(self) -> int:
        """Exit status: 0, or 3 where some files failed."""
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
    """Do what is to be done for each file and write the folder, file by file.

    Args:
        paths: measured files.
        out: folder of the results.
        plan: what is to be done.
        progress: called with files done, files in all and a remark.
        show: called with a title and the settings of a file.
        workflow: how [that of PDFs].

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
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
    """Check what can be checked before sources are made, which takes time; the plan needs none yet.

    Raises:
        ValueError: if there is no file, if the only one is bad, or if the folder of results is a file.
    """
    workflow = workflow or PDF_WORKFLOW
    check_paths(paths, out, expected_files=workflow.expected_files)
    if len(paths) == 1:
        workflow.read(paths[0], plan)


def check_paths(paths: Sequence[Path], out: Path, *, expected_files: str) -> None:
    """Check that there are files, and that the folder of results is no file.

    Raises:
        ValueError: if there is no file, or if the folder of results is a file.
    """
    if not paths:
        raise ValueError(f"Expected at least one file, got none; name {expected_files}.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder for the results, got the file {out}; pass another --out.")


def closing_lines(batch_outcome: BatchOutcome, out: Path, *, workflow: Workflow | None = None) -> Iterator[str]:
    """Yield what a person wants to know of a run, a line a finding; of a single file its short table."""
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
        + (f", {n_weak} weakly: their messages say why" if n_weak else "")
        + (f", {batch_outcome.skipped} of them before" if batch_outcome.skipped else "")
        + (f", {len(failed_results)} failed" if failed_results else "")
        + f"; see {out / 'summary.csv'}, {(workflow or PDF_WORKFLOW).output_folders} beside it."
    )


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path's results: its stem, numbered where another has it."""
    stems: list[str] = []
    for path in paths:
        stem, count = path.stem, 2
        while stem in stems:
            stem, count = f"{path.stem}-{count}", count + 1
        stems.append(stem)
    return stems


def _read_jobs(paths: Sequence[Path], plan: WorkflowPlan, workflow: Workflow) -> tuple[list[Job], dict[str, Result]]:
    """Return the files that can be worked on, and failed results of those that cannot, by stem."""
    jobs: list[Job] = []
    failed_results: dict[str, Result] = {}
    for path, stem in zip(paths, unique_stems(paths), strict=True):
        try:
            jobs.append(Job(stem, workflow.read(path, plan)))
        except (ValueError, OSError) as error:
            failed_results[stem] = workflow.result(str(path), _file_checksum(path), plan.element, "failed", str(error))
    return jobs, failed_results


def _read_pdf(path: Path, plan: PdfPlan) -> Measurement:
    """Return the G(r) that a file holds or leads to, with all settings."""
    curve = plan.curve
    measurement = read.read_curve(
        path, q_unit=curve.q_unit, wavelength=curve.wavelength, kind=curve.kind, accepted_kinds=read.PDF_KINDS
    )
    return prepare_measurement(measurement, plan)


def _file_checksum(path: Path) -> str:
    """Return the checksum of a file that could not be used, "" where it cannot be read or is too large to be one."""
    try:
        return files.sha256(path) if path.is_file() and path.stat().st_size <= columns.MAX_FILE_BYTES else ""
    except OSError:
        return ""


def _earlier_results(out: Path, plan: WorkflowPlan, jobs: Sequence[Job]) -> dict[str, Result]:
    """Return the results of files that an earlier run did with the same settings; what they lack is written again."""
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
    "the measured .gr files",
    "best/, candidates/ and fits/",
)
"""The way of `solve` and `mine`."""
REFINE_WORKFLOW = PDF_WORKFLOW._replace(columns=summary.REFINE_SUMMARY_COLUMNS)
"""The way of `refine`, which judges no sample."""
