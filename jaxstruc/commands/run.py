"""Many files, one folder of results: what `solve`, `mine`, `refine` and `saxs` share.

Reads and checks each file, skips what an earlier run did with the same settings, keeps a summary that is whole at any
time, and lets no bad file end a run.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jaxstruc import files
from jaxstruc.commands.progress import Advance
from jaxstruc.data import formats, text
from jaxstruc.data.measurement import Measurement, Setting
from jaxstruc.inference.pdf_result import PdfResult
from jaxstruc.report import folders, overview, summary
from jaxstruc.report.summary import Row
from jaxstruc.result import Result
from jaxstruc.solver.answers import Plan, answers, prepared

SHOWN = 8
"""Most files whose settings are printed."""
LINES = 20
"""Most files that have a line in the end."""


class Plans(Protocol):
    """What a run needs to know of a plan."""

    @property
    def element(self) -> str:
        """Of the sample."""

    @property
    def recorded(self) -> dict[str, Any]:
        """What, beside a file, decides its result."""


class Way(NamedTuple):
    """How files become results."""

    read: Callable[[Path, Any], Measurement]
    """A file, by a plan, as a measurement with all settings."""
    answers: Callable[..., Iterator[Result]]
    result: type[Result]
    """Class of the results."""
    columns: Sequence[str]
    """Of the summary."""
    wanted: str
    """What is to be named where no file is."""
    places: str
    """Where a person finds more."""


class Job(NamedTuple):
    """One file."""

    stem: str
    """Name of its results, unlike any other's in the run."""
    measurement: Measurement


class Outcome(NamedTuple):
    """How a run ended."""

    results: Sequence[Result]
    """Of all files, in the order given; of those that cannot be read, what was wrong."""
    skipped: int
    """Files done before."""

    @property
    def status(self) -> int:
        """Exit status: 0, or 3 where some files failed."""
        return 3 if any(result.status == "failed" for result in self.results) else 0


def run(
    paths: Sequence[Path],
    out: Path,
    plan: Plans,
    *,
    progress: Advance,
    show: Callable[[str, Sequence[Setting]], None],
    way: Way | None = None,
) -> Outcome:
    """Do what is to be done for each file and write the folder, file by file.

    Args:
        paths: measured files.
        out: folder of the results.
        plan: what is to be done.
        progress: called with files done, files in all and a remark.
        show: called with a title and the settings of a file.
        way: how [that of PDFs].

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    way = way or PDFS
    jobs, found = _read_all(paths, plan, way)
    if len(paths) == 1 and not jobs:
        raise ValueError(next(iter(found.values())).message)
    before = _kept(out, plan, jobs)
    found |= before
    todo = [job for job in jobs if job.stem not in before]
    for job in todo[:SHOWN]:
        show(f"{Path(job.measurement.name).name} ({job.measurement.format})", job.measurement.settings)
    names = stems(paths)
    rows: dict[str, Row] = {stem: summary.row(result, way.columns) for stem, result in found.items()}

    def summarise() -> None:
        folders.summarise(out, [rows[stem] for stem in names if stem in rows], columns=way.columns)

    files.write_text(out / "settings.json", json.dumps(plan.recorded, indent=1) + "\n")
    summarise()
    asked, among = ([job.measurement for job in some] for some in (todo, jobs))
    for job, result in zip(todo, way.answers(asked, plan, among=among, progress=progress), strict=True):
        folders.write(result, out, job.stem)
        found[job.stem], rows[job.stem] = result, summary.row(result, way.columns)
        summarise()
    progress(len(todo), len(todo), "")
    return Outcome([found[stem] for stem in names], len(before))


def check(paths: Sequence[Path], out: Path, plan: Plans, *, way: Way | None = None) -> None:
    """Check what can be checked before sources are made, which takes time; the plan needs none yet.

    Raises:
        ValueError: where there is no file, the only one is bad, or the folder of results is a file.
    """
    way = way or PDFS
    if not paths:
        raise ValueError(f"Expected at least one file, got none; name {way.wanted}.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder for the results, got the file {out}; pass another --out.")
    if len(paths) == 1:
        way.read(paths[0], plan)


def ending(outcome: Outcome, out: Path, *, way: Way | None = None) -> Iterator[str]:
    """Yield what a person wants to know of a run, a line a finding; of a single file its short table."""
    failed = [result for result in outcome.results if result.status == "failed"]
    good = [result for result in outcome.results if result.status != "failed"]
    yield from (overview.headline(result) for result in failed)
    if len(outcome.results) == 1 and good:
        yield str(good[0])
    else:
        yield from (overview.headline(result) for result in good[:LINES])
        if len(good) > LINES:
            yield f"... and {len(good) - LINES} more"
    weak = sum(result.status == "weak" for result in good)
    yield (
        f"{len(good) - weak} of {len(outcome.results)} files solved"
        + (f", {weak} weakly: their messages say why" if weak else "")
        + (f", {outcome.skipped} of them before" if outcome.skipped else "")
        + (f", {len(failed)} failed" if failed else "")
        + f"; see {out / 'summary.csv'}, {(way or PDFS).places} beside it."
    )


def stems(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path's results: its stem, numbered where another has it."""
    found: list[str] = []
    for path in paths:
        stem, count = path.stem, 2
        while stem in found:
            stem, count = f"{path.stem}-{count}", count + 1
        found.append(stem)
    return found


def _read_all(paths: Sequence[Path], plan: Plans, way: Way) -> tuple[list[Job], dict[str, Result]]:
    """Return the files that can be worked on, and failed results of those that cannot, by stem."""
    jobs: list[Job] = []
    failed: dict[str, Result] = {}
    for path, stem in zip(paths, stems(paths), strict=True):
        try:
            jobs.append(Job(stem, way.read(path, plan)))
        except (ValueError, OSError) as error:
            failed[stem] = way.result(str(path), _checksum(path), plan.element, "failed", str(error))
    return jobs, failed


def _measured(path: Path, plan: Plan) -> Measurement:
    """Return the G(r) that a file holds or leads to, with all settings."""
    curve = plan.curve
    found = formats.read(path, q_unit=curve.q_unit, wavelength=curve.wavelength, kind=curve.kind, wanted=formats.PDFS)
    return prepared(found, plan)


def _checksum(path: Path) -> str:
    """Return the checksum of a file that could not be used, "" where it cannot be read or is too large to be one."""
    try:
        return files.sha256(path) if path.is_file() and path.stat().st_size <= text.LARGEST else ""
    except OSError:
        return ""


def _kept(out: Path, plan: Plans, jobs: Sequence[Job]) -> dict[str, Result]:
    """Return the results of files that an earlier run did with the same settings; what they lack is written again."""
    try:
        if json.loads((out / "settings.json").read_text("utf-8")) != plan.recorded:
            return {}
    except (OSError, ValueError):
        return {}
    kept = {}
    for stem, measurement in jobs:
        whole = folders.result_file(out, stem)
        if not whole.exists():
            continue
        try:
            result = folders.load(whole)
        except ValueError:
            continue
        if (result.name, result.sha256) == (measurement.name, measurement.sha256) and result.status != "failed":
            if not all(path.exists() for path in folders.paths(result, out, stem)):
                folders.write(result, out, stem)
            kept[stem] = result
    return kept


PDFS = Way(_measured, answers, PdfResult, summary.SUMMARY, "the measured .gr files", "best/, candidates/ and fits/")
"""The way of `solve` and `mine`."""
REFINE = PDFS._replace(columns=summary.REFINE_SUMMARY)
"""The way of `refine`, which judges no sample."""
