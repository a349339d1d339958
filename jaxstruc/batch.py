"""Many measured files and one folder of results, for `solve`, `mine`, `refine` and `saxs`.

A run reads and checks each file, and skips the files whose results an earlier run wrote with the same settings. The
summary (or the table of a shard) is complete at any time. A file that cannot be used gets a row with the reason and
does not end the run.
"""

import dataclasses
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from jaxstruc import files, shards
from jaxstruc.io import columns, read, repeated_curves
from jaxstruc.io.columns import ReadError
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.options.pdf import CurveOptions, Kind
from jaxstruc.pdf.neighbour import NEIGHBOUR_KEY, neighbour_facts, neighbour_key
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import PdfPlan, prepare_measurement, solve_measurements
from jaxstruc.report import folder, page, summary, tables
from jaxstruc.report.summary import Row
from jaxstruc.result import Result
from jaxstruc.shards import WHOLE_RUN, RunPart, Shard

AnyResult = TypeVar("AnyResult", bound=Result)
ProgressCallback = Callable[[int, int, str], None]
"""Function that is called with the number of finished items, the number of all items, and a text."""
MAX_SHOWN_FILES = 8
"""Largest number of curves whose settings are printed."""
MAX_LISTED_FILES = 20
"""Largest number of curves for which a line is printed at the end."""
SETTINGS_KEY = "settings_key"
"""Name of the fact of a result that identifies the settings of its run."""
MAX_STEM_LEVEL = 8
"""Largest number of groups of eight digits of a checksum in the name of a result. A checksum has eight groups."""


class WorkflowPlan(Protocol):
    """Properties that a plan must have. A plan has the element, the sources of candidates and the options of a run."""

    @property
    def element(self) -> str:
        """Element of the sample."""

    @property
    def provenance(self) -> dict[str, Any]:
        """Settings that determine the result of a file, as JSON."""


class Workflow(NamedTuple):
    """Functions that compute the results of files, and names for tables and messages."""

    read: Callable[[Path, Any], Sequence[Measurement | ValueError]]
    """Function that takes a file and a plan, and returns each curve of the file with all settings, or its error."""
    solve: Callable[..., Iterator[Result]]
    """Function that takes measurements and a plan, and yields the result of each measurement."""
    result: type[Result]
    """Class of the results."""
    columns: Sequence[str]
    """Columns of the summary."""
    expected_files: str
    """Noun phrase for the input files, for messages."""
    output_folders: str
    """Names of the most important folders of results, for messages."""
    saves_results: bool = True
    """Whether results are saved with their structures and figures. The others only have a row."""


class CurveEntry(NamedTuple):
    """One curve of a measured file, or the reason why it cannot be used."""

    path: Path
    frame: int | None
    """Number of the curve in a file with several curves, counted from 1."""
    sha256: str
    """Checksum of the content of the file; "" if the file cannot be read."""
    content: Measurement | str
    """Measurement with all settings, or the message of the error."""

    @property
    def identity(self) -> tuple:
        """Name of the file, its checksum and the number of the curve. Curves with equal identities share a result."""
        return self.path.name.casefold(), self.sha256 or self.path, self.frame


class Job(NamedTuple):
    """A curve that is to be solved."""

    stem: str
    """Name of the results, which is unique in the run."""
    measurement: Measurement

    @property
    def key(self) -> tuple[str, int | None]:
        """Checksum of the file, and number of the curve. Together they identify the results of earlier runs."""
        frame = self.measurement.settings_by_name.get("frame")
        return self.measurement.sha256, None if frame is None else int(frame)

    @property
    def title(self) -> str:
        """Name of the file, number of the curve and format, for a printed table."""
        frame = "" if self.key[1] is None else f", frame {self.key[1]}"
        return f"{Path(self.measurement.name).name}{frame} ({self.measurement.format})"


class BatchOutcome(NamedTuple):
    """Results of a run."""

    results: Sequence[Result]
    """Results of all curves, in the order of the files. A file or curve that cannot be used has a failed result."""
    skipped: int
    """Number of curves whose results an earlier run had written. They are among `results`."""
    rows: Sequence[Row] = ()
    """Rows of the summary, in the order of `results`."""

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
    shard: Shard = WHOLE_RUN,
    n_averaged: int = 1,
    from_neighbour: bool = False,
) -> BatchOutcome:
    """Solve the curves of the files, and write the folder of results after each curve.

    Args:
        paths: Measured files.
        out: Folder of the results.
        plan: Plan of the run.
        progress: Function of the number of finished curves, the number of all curves, and a text.
        show: Function that prints a title and the settings of a curve.
        workflow: Workflow of the command. The default is that of PDFs.
        shard: Part of the curves that are solved. The default is all.
        n_averaged: Number of consecutive curves that are averaged.
        from_neighbour: Whether the structures of each curve are also fitted to the next one.

    Raises:
        ValueError: If a mistake concerns all files, or if the only file cannot be used.
    """
    run = BatchRun(out, plan, workflow or PDF_WORKFLOW, shard, n_averaged)
    run.read(paths)
    if len(paths) == 1 and not any(isinstance(entry.content, Measurement) for entry in run.entries):
        raise ValueError(run.entries[0].content)
    page.remove_pages(out)
    run.solve_pending(progress=progress, show=show)
    if from_neighbour:
        run.fit_neighbours(progress)
    if shard.n_shards == 1:
        page.write_pages(out, results=run.result_by_stem)
    return run.batch_outcome


@dataclasses.dataclass
class BatchRun:
    """A run, to which more files can be added in the same process, e.g. those of a watched folder."""

    out: Path
    """Folder of the results."""
    plan: WorkflowPlan
    workflow: Workflow
    shard: Shard = WHOLE_RUN
    n_averaged: int = 1
    """Number of consecutive curves that are averaged."""
    keeps_results: bool = True
    """Whether results stay in memory. Without them there is no `batch_outcome`."""
    entries: list[CurveEntry] = dataclasses.field(default_factory=list)
    """Curves of all files, in the order of the files."""
    stems: list[str] = dataclasses.field(default_factory=list)
    """Names of the results of the curves."""
    result_by_stem: dict[str, Result] = dataclasses.field(default_factory=dict)
    row_by_stem: dict[str, Row] = dataclasses.field(default_factory=dict)
    skipped_stems: set[str] = dataclasses.field(default_factory=set)
    """Names of the results that an earlier run had written."""
    _read_files: dict[Path, tuple[tuple | None, list[CurveEntry]]] = dataclasses.field(default_factory=dict)
    """State and curves of each file that was read."""
    _has_saved_results: bool = True
    """Whether the folder may have results of curves without a row."""

    def read(self, paths: Sequence[Path]) -> None:
        """Set the files of the run. A file that was read before is only read again if it has changed.

        Rows of curves that have changed or have another name are removed.
        """
        earlier_curves = dict(zip(self.stems, self.entries, strict=True))
        self._read_files = {path: self._read_file(path) for path in paths}
        entries = [entry for path in paths for entry in self._read_files[path][1]]
        self.entries = average_entries(entries, self.n_averaged)
        self.stems = unique_stems(self.entries)
        curve_by_stem = dict(zip(self.stems, self.entries, strict=True))
        self._has_saved_results = not earlier_curves or not earlier_curves.keys() <= curve_by_stem.keys()
        self.row_by_stem = {
            stem: row
            for stem, row in self.row_by_stem.items()
            if stem in curve_by_stem and curve_by_stem[stem].identity == earlier_curves[stem].identity
        }

    def solve_pending(
        self,
        *,
        progress: ProgressCallback,
        show: Callable[[str, Sequence[Setting]], None] = lambda title, settings: None,
        report: Callable[[Path, Result], None] = lambda path, result: None,
    ) -> None:
        """Solve the curves that have no row, and write results and summary after each of them.

        Args:
            progress: Function of the number of finished curves, the number of all curves, and a text.
            show: Function that prints a title and the settings of a curve.
            report: Function that is called with the file and the result of each new row after it is written.
        """
        jobs, failed_results = _jobs_and_failures(self.entries, self.stems, self.plan, self.workflow)
        run_measurements = [job.measurement for job in jobs]
        shard_stems = self.shard.select(self.stems)
        jobs = [job for job in jobs if job.stem in shard_stems and job.stem not in self.row_by_stem]
        earlier_results: dict[str, Result] = {}
        if self._has_saved_results and self.workflow.saves_results:
            earlier_results = _earlier_results(self.out, self.plan, jobs, self.stems)
        finished_results = {
            stem: result
            for stem, result in (failed_results | earlier_results).items()
            if stem in shard_stems and stem not in self.row_by_stem
        }
        self.skipped_stems |= earlier_results.keys()
        jobs = [job for job in jobs if job.stem not in earlier_results]
        for job in jobs[:MAX_SHOWN_FILES]:
            show(job.title, job.measurement.settings)
        _begin_folder(self.out, self.plan, self.shard, self._part)
        self._add_rows(finished_results)
        path_by_stem = {stem: entry.path for stem, entry in zip(self.stems, self.entries, strict=True)}
        for stem in failed_results.keys() & finished_results.keys():
            report(path_by_stem[stem], failed_results[stem])
        measurements = [job.measurement for job in jobs]
        new_results = self.workflow.solve(measurements, self.plan, run_measurements=run_measurements, progress=progress)
        for job, new_result in zip(jobs, new_results, strict=True):
            result = dataclasses.replace(new_result, facts=new_result.facts | {SETTINGS_KEY: _settings_key(self.plan)})
            if self.workflow.saves_results:
                folder.write_result(result, self.out, job.stem)
            self._add_rows({job.stem: result})
            report(path_by_stem[job.stem], result)
        progress(len(jobs), len(jobs), "")

    def fit_neighbours(self, progress: ProgressCallback) -> None:
        """Fit the structures of each curve to the next one, and add Rw and type to the row of the next one.

        All other columns stay as they are.
        """
        assert isinstance(self.plan, PdfPlan)
        curve_by_stem = dict(zip(self.stems, self.entries, strict=True))
        previous: PdfResult | None = None
        for n_done, (stem, entry) in enumerate(curve_by_stem.items()):
            result = self.result_by_stem[stem]
            if not isinstance(result, PdfResult) or not result.candidates or not isinstance(entry.content, Measurement):
                continue
            if previous is not None and result.facts.get(NEIGHBOUR_KEY) != neighbour_key(previous):
                progress(n_done, len(curve_by_stem), f"{result.name}: structures of the curve before")
                facts = result.facts | neighbour_facts(entry.content, previous, self.plan)
                result = dataclasses.replace(result, facts=facts)
                folder.write_result(result, self.out, stem)
                self._add_rows({stem: result})
            previous = result

    @property
    def has_pending(self) -> bool:
        """Whether a curve has no row."""
        return any(stem not in self.row_by_stem for stem in self.stems)

    @property
    def batch_outcome(self) -> BatchOutcome:
        """Results and rows of the curves of the shard, in the order of the files."""
        shard_entries = self._shard_entries
        results = [
            dataclasses.replace(self.result_by_stem[stem], name=str(entry.path)) for _, entry, stem in shard_entries
        ]
        rows = [row for _, row in _summary_rows(shard_entries, self.row_by_stem)]
        return BatchOutcome(results, sum(stem in self.skipped_stems for _, _, stem in shard_entries), rows)

    @property
    def _shard_entries(self) -> list[tuple[int, CurveEntry, str]]:
        return _shard_entries(self.entries, self.stems, self.shard.select(self.stems))

    @property
    def _part(self) -> RunPart:
        n_shard_curves = len(self._shard_entries)
        return RunPart(_run_key(self.plan, self.entries), len(self.entries), len(set(self.stems)), n_shard_curves)

    def _read_file(self, path: Path) -> tuple[tuple | None, list[CurveEntry]]:
        """Return the state of a file and its curves. A file that has not changed or is missing keeps its curves."""
        state = file_state(path)
        if path in self._read_files and state in (None, self._read_files[path][0]):
            return self._read_files[path]
        return state, read_entries([path], lambda file: self.workflow.read(file, self.plan))

    def _add_rows(self, results: Mapping[str, Result]) -> None:
        """Write the summary with the rows of further results."""
        rows = {stem: summary.row(result, self.workflow.columns) for stem, result in results.items()}
        _write_summary(
            self.out, self.shard, self._part, self._shard_entries, self.row_by_stem | rows,
            columns=self.workflow.columns,
        )  # fmt: skip
        self.row_by_stem |= rows
        self.result_by_stem |= results if self.keeps_results else {}


def file_state(path: Path) -> tuple[int, int] | None:
    """Return the size of a file in bytes and the time of its last change in ns; None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _begin_folder(out: Path, plan: WorkflowPlan, shard: Shard, part: RunPart) -> None:
    """Write the settings of a run, and remove the tables of shards of earlier runs.

    Args:
        out: Folder of the results.
        plan: Plan of the run.
        shard: Part of the run. A whole run removes the tables of all shards.
        part: Facts about the shard and its run.
    """
    shards.remove_other_tables(shard, out, part.run)
    files.write_text(out / "settings.json", json.dumps(plan.provenance, indent=1) + "\n")


def _shard_entries(
    entries: Sequence[CurveEntry], stems: Sequence[str], shard_stems: set[str]
) -> list[tuple[int, CurveEntry, str]]:
    """Return the curves of a shard: place among all curves, curve, and name of the results."""
    ordered_entries = zip(range(len(entries)), entries, stems, strict=True)
    return [(order, entry, stem) for order, entry, stem in ordered_entries if stem in shard_stems]


def _summary_rows(
    shard_entries: Sequence[tuple[int, CurveEntry, str]], row_by_stem: Mapping[str, Row]
) -> list[tuple[int, Row]]:
    """Return places and rows of the curves that have a result, with the paths of the files as the user gave them."""
    return [
        (order, row_by_stem[stem] | {"file": str(entry.path), "stem": stem})
        for order, entry, stem in shard_entries
        if stem in row_by_stem
    ]


def _write_summary(
    out: Path,
    shard: Shard,
    part: RunPart,
    shard_entries: Sequence[tuple[int, CurveEntry, str]],
    row_by_stem: Mapping[str, Row],
    *,
    columns: Sequence[str],
) -> None:
    """Write the summary of the curves that have a result.

    Args:
        out: Folder of the results.
        shard: Part of the run. A shard of several has a table of its own.
        part: Facts about the shard and its run.
        shard_entries: Curves of the shard, see `_shard_entries`.
        row_by_stem: Rows of the summary by the names of the results.
        columns: Columns of the summary.
    """
    rows = _summary_rows(shard_entries, row_by_stem)
    if shard.n_shards == 1:
        folder.write_summary(out, [row for _, row in rows], columns=columns)
    else:
        shards.write_table(shard, out, part, rows, columns)


def check_inputs(paths: Sequence[Path], out: Path, plan: WorkflowPlan, *, workflow: Workflow | None = None) -> None:
    """Check the arguments before the sources of candidates are built, which takes time.

    Raises:
        ValueError: If there is no file, if the only file cannot be used, or if the folder of results is a file.
    """
    workflow = workflow or PDF_WORKFLOW
    check_paths(paths, out, expected_files=workflow.expected_files)
    file_curves = workflow.read(paths[0], plan) if len(paths) == 1 else []
    errors = [curve for curve in file_curves if not isinstance(curve, Measurement)]
    if errors and len(errors) == len(file_curves):
        raise errors[0]


def check_paths(paths: Sequence[Path], out: Path, *, expected_files: str) -> None:
    """Check that there are files, and that the folder of results is not a file.

    Raises:
        ValueError: If there is no file, or if the folder of results is a file.
    """
    if not paths:
        raise ValueError(f"Expected at least one file, got none; name {expected_files}.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder for the results, got the file {out}; pass another --out.")


def closing_lines(
    batch_outcome: BatchOutcome, out: Path, *, workflow: Workflow | None = None, shard: Shard = WHOLE_RUN
) -> Iterator[str]:
    """Yield the lines that are printed after a run.

    They are the short table of a single curve, or one line for each curve, and then a line with the number of curves of
    each status.
    """
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
    noun = "files" if all(result.frame is None for result in batch_outcome.results) else "curves"
    yield (
        f"{len(usable_results) - n_weak} of {len(batch_outcome.results)} {noun} solved"
        + (f", {n_weak} weak (the message states why)" if n_weak else "")
        + (f", {len(failed_results)} failed" if failed_results else "")
        + (f" ({batch_outcome.skipped} of these results are from an earlier run)" if batch_outcome.skipped else "")
        + (
            f". Open {out / page.page_name(0)} in a browser. "
            f"See {out / 'summary.csv'}, and {(workflow or PDF_WORKFLOW).output_folders} next to it."
            if shard.n_shards == 1
            else f". When all {shard.n_shards} shards are done, run jaxstruc merge {out}."
        )
    )


def read_entries(
    paths: Sequence[Path], read_file: Callable[[Path], Sequence[Measurement | ValueError]]
) -> list[CurveEntry]:
    """Return the curves of all files, and the reasons why files or curves cannot be used.

    Args:
        paths: Measured files.
        read_file: Function that returns the curves of a file, with an error in place of a curve that cannot be used.
    """
    entries: list[CurveEntry] = []
    for path in paths:
        try:
            file_curves = read_file(path)
        except (ValueError, OSError) as error:
            entries.append(CurveEntry(path, None, _file_checksum(path), " ".join(str(error).split())))
            continue
        for number, curve in enumerate(file_curves, start=1):
            if isinstance(curve, Measurement):
                stated_frame = curve.settings_by_name.get("frame")
                frame = None if stated_frame is None else int(stated_frame)
                entries.append(CurveEntry(path, frame, curve.sha256, curve))
            else:
                frame = number if len(file_curves) > 1 else None
                entries.append(CurveEntry(path, frame, _file_checksum(path), " ".join(str(curve).split())))
    return entries


def average_entries(entries: Sequence[CurveEntry], n_averaged: int) -> list[CurveEntry]:
    """Return the curves with each group of consecutive ones replaced by their mean.

    The curves of a file form groups of their own if there are several, and so do consecutive files with one curve. The
    last group may be smaller. Curves that cannot be used stay.

    Args:
        entries: Curves of all files.
        n_averaged: Number of curves of a group.
    """
    if n_averaged == 1:
        return list(entries)
    merged_entries: list[CurveEntry] = []
    n_curves = Counter(entry.path for entry in entries)
    for _, neighbours in itertools.groupby(entries, key=lambda entry: entry.path if n_curves[entry.path] > 1 else None):
        file_entries = list(neighbours)
        for start in range(0, len(file_entries), n_averaged):
            group = file_entries[start : start + n_averaged]
            usable_entries = [entry for entry in group if isinstance(entry.content, Measurement)]
            merged_entries += [_mean_entry(usable_entries)] if usable_entries else []
            merged_entries += [entry for entry in group if not isinstance(entry.content, Measurement)]
    return merged_entries


def _mean_entry(entries: Sequence[CurveEntry]) -> CurveEntry:
    """Return the mean of curves that can be used, or the reason why they cannot be averaged."""
    try:
        mean = repeated_curves.average([entry.content for entry in entries if isinstance(entry.content, Measurement)])
    except ReadError as error:
        return entries[0]._replace(content=str(error))
    return entries[0]._replace(sha256=mean.sha256, content=mean)


def prepare_curves(
    file_curves: Sequence[Measurement | ReadError], prepare: Callable[[Measurement], Measurement]
) -> list[Measurement | ValueError]:
    """Return the prepared curves of a file, with an error in place of a curve that cannot be used."""
    prepared_curves: list[Measurement | ValueError] = []
    for curve in file_curves:
        try:
            prepared_curves.append(prepare(curve) if isinstance(curve, Measurement) else curve)
        except ValueError as error:
            prepared_curves.append(error)
    return prepared_curves


def unique_stems(entries: Sequence[CurveEntry]) -> list[str]:
    """Return a name for the results of each curve, which does not depend on the order of the curves.

    The name is the stem of the file, with the number of the curve in a file with several curves. Different files with
    the same stem get eight digits of their checksum, e.g. pdf-3fa91c07. Equal files have the same name.
    """
    identities = {entry.identity: entry for entry in entries}
    level_by_identity = dict.fromkeys(identities, 0)
    for _ in range(MAX_STEM_LEVEL):
        identities_by_stem: dict[str, list[tuple]] = {}
        for identity, entry in identities.items():
            stem = _stem(entry, level_by_identity[identity]).casefold()
            identities_by_stem.setdefault(stem, []).append(identity)
        clashes = [identity for group in identities_by_stem.values() if len(group) > 1 for identity in group]
        for identity in clashes:
            level_by_identity[identity] += 1
    return [_stem(entry, level_by_identity[entry.identity]) for entry in entries]


def _stem(entry: CurveEntry, level: int) -> str:
    """Return the name of the results of a curve.

    Args:
        entry: Curve of a file.
        level: Number of groups of eight digits of the checksum in the name. From 2 groups on, the name also has the
            ending of the file.
    """
    checksum = entry.sha256 or hashlib.sha256(os.fsencode(entry.path)).hexdigest()
    stem = entry.path.stem if level == 0 else f"{entry.path.stem}-{checksum[: 8 * level]}"
    stem += entry.path.suffix.replace(".", "-") if level > 1 else ""
    return stem if entry.frame is None else f"{stem}-{entry.frame}"


def _jobs_and_failures(
    entries: Sequence[CurveEntry], stems: Sequence[str], plan: WorkflowPlan, workflow: Workflow
) -> tuple[list[Job], dict[str, Result]]:
    """Return the curves that can be solved, and failed results of the others by stem. Equal files are solved once."""
    jobs: dict[str, Job] = {}
    failed_results: dict[str, Result] = {}
    for entry, stem in sorted(zip(entries, stems, strict=True), key=lambda pair: str(pair[0].path), reverse=True):
        if isinstance(entry.content, Measurement):
            jobs[stem] = Job(stem, entry.content)
        else:
            failed_results[stem] = failed_result(entry, workflow.result, plan.element)
    return [jobs[stem] for stem in dict.fromkeys(stems) if stem in jobs], failed_results


def failed_result(entry: CurveEntry, result: type[AnyResult], element: str) -> AnyResult:
    """Return the result of a curve that cannot be used."""
    settings = () if entry.frame is None else (Setting("frame", float(entry.frame), "command line"),)
    return result(str(entry.path), entry.sha256, element, "failed", str(entry.content), settings=settings)


def read_pdf_curves(path: Path, options: CurveOptions) -> Sequence[Measurement | ReadError]:
    """Return one or all curves of a file. If all are read, an error replaces each unusable curve.

    They are G(r), S(Q) or F(Q), or I(Q) if the options say so.
    """
    q_unit, wavelength, kind, frame = options.q_unit, options.wavelength, options.kind, options.frame
    accepted_kinds: tuple[Kind, ...] = ("iq",) if kind == "iq" else read.PDF_KINDS
    if frame == "all":
        return read.read_all(path, q_unit=q_unit, wavelength=wavelength, kind=kind, accepted_kinds=accepted_kinds)
    return [
        read.read_curve(
            path, q_unit=q_unit, wavelength=wavelength, kind=kind, frame=frame, accepted_kinds=accepted_kinds
        )
    ]


def _read_pdfs(path: Path, plan: PdfPlan) -> list[Measurement | ValueError]:
    """Return the curves of a file with all settings. S(Q) and F(Q) are transformed to G(r)."""
    return prepare_curves(read_pdf_curves(path, plan.curve), lambda curve: prepare_measurement(curve, plan))


def _file_checksum(path: Path) -> str:
    """Return the checksum of the content of a file; "" if it cannot be read or is too large."""
    try:
        return files.sha256(path) if path.is_file() and path.stat().st_size <= columns.MAX_FILE_BYTES else ""
    except OSError:
        return ""


def _earlier_results(out: Path, plan: WorkflowPlan, jobs: Sequence[Job], run_stems: Sequence[str]) -> dict[str, Result]:
    """Return the results that an earlier run wrote with the same settings, by stem.

    A result belongs to the content of a file and the number of the curve. If the file or the stem has another name than
    in the earlier run, the files of the result are moved. Missing files are written again.

    Args:
        out: Folder of the results.
        plan: Plan of the run.
        jobs: Curves that can be solved.
        run_stems: Names of the results of the whole run, which stay.
    """
    if not _has_equal_settings(out, plan):
        return {}
    settings_key = _settings_key(plan)
    earlier_results: dict[str, Result] = {}
    moved_results: list[tuple[str, str, Result]] = []
    other_stems: dict[tuple[str, int | None], str] | None = None
    for job in jobs:
        old_stem, result = job.stem, _load_result(out, job.stem, settings_key)
        if result is None or (result.sha256, result.frame) != job.key:
            if other_stems is None:
                other_stems = _stems_by_key(out, settings_key)
            old_stem = other_stems.get(job.key, "")
            result = _load_result(out, old_stem, settings_key) if old_stem else None
        if result is None:
            continue
        if (old_stem, result.name) != (job.stem, job.measurement.name):
            result = dataclasses.replace(result, name=job.measurement.name)
            moved_results.append((old_stem, job.stem, result))
        elif not all(path.exists() for path in folder.candidate_paths(result, out, job.stem)):
            folder.write_result(result, out, job.stem)
        earlier_results[job.stem] = result
    for old_stem, stem, result in moved_results:
        folder.write_result(result, out, stem)
        if old_stem not in run_stems:
            folder.remove_result(result, out, old_stem)
    return earlier_results


def _has_equal_settings(out: Path, plan: WorkflowPlan) -> bool:
    """Return whether an earlier run had the same settings. The numbers of the curves may differ."""
    try:
        earlier_settings = json.loads((out / "settings.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    any_frame = {"frame": None}
    return isinstance(earlier_settings, dict) and earlier_settings | any_frame == plan.provenance | any_frame


def _settings_key(plan: WorkflowPlan) -> str:
    """Return a key of the settings of a run. The numbers of the curves are left out."""
    settings = json.dumps(plan.provenance | {"frame": None}, sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _run_key(plan: WorkflowPlan, entries: Sequence[CurveEntry]) -> str:
    """Return a key of the settings and the curves of a run, in their order."""
    identities = [(str(entry.path), entry.sha256, entry.frame) for entry in entries]
    return hashlib.sha256(json.dumps([_settings_key(plan), identities]).encode()).hexdigest()[:16]


def _load_result(out: Path, stem: str, settings_key: str) -> Result | None:
    """Return the result of an earlier run with this name and these settings.

    The result is None if there is none, if it failed, or if it is damaged.
    """
    path = folder.result_file(out, stem)
    try:
        result = folder.load(path) if path.exists() else None
    except ValueError:
        return None
    is_usable = result is not None and result.status != "failed" and result.facts.get(SETTINGS_KEY) == settings_key
    return result if is_usable else None


def _stems_by_key(out: Path, settings_key: str) -> dict[tuple[str, int | None], str]:
    """Return the names of all earlier results by the checksums of their files and the numbers of their curves."""
    stems: dict[tuple[str, int | None], str] = {}
    for path in sorted((out / "results").glob("*.npz")):
        if (result := _load_result(out, path.stem, settings_key)) is not None:
            stems[result.sha256, result.frame] = path.stem
    return stems


PDF_WORKFLOW = Workflow(
    _read_pdfs,
    solve_measurements,
    PdfResult,
    summary.SUMMARY_COLUMNS,
    "measured .gr files",
    "best/, candidates/ and fits/",
)
"""Workflow of `solve` and `mine`."""
REFINE_WORKFLOW = PDF_WORKFLOW._replace(columns=summary.REFINE_SUMMARY_COLUMNS)
"""Workflow of `refine`, which does not compare a single cluster with a distribution."""
