"""Many files, one folder of results: what all commands on measured files share.

Reads and checks each file, skips what an earlier run did with the same settings, keeps a summary that is whole at any
time, and lets no bad file end a run.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

import jaxstruc
from jaxstruc import files, measured, observed, report
from jaxstruc.measured import Measurement, Setting
from jaxstruc.observed import Target
from jaxstruc.templates import Span

SHOWN = 8
"""Most files whose settings are printed."""
GIVEN = ("qmin", "qmax", "qdamp", "qbroad", "rmin", "rmax")
"""Settings that the user or the header gives for each file."""
Row = dict[str, Any]


class Config(Protocol):
    """What the commands' settings have in common."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Measured files."""

    @property
    def out(self) -> Path:
        """Folder of the results."""


class Job(NamedTuple):
    """One file."""

    path: Path
    stem: str
    """Name of its results, unlike any other's in the run."""
    measurement: Measurement
    settings: tuple[Setting, ...]

    @property
    def given(self) -> dict[str, float]:
        """The settings' values by name."""
        return {setting.name: setting.value for setting in self.settings}

    @property
    def inside(self) -> np.ndarray:
        """Which points of the data lie in the fit's range, both ends included."""
        given, r = self.given, self.measurement.r
        slack = 1e-6 * given["rstep"]
        return (r >= given["rmin"] - slack) & (r <= given["rmax"] + slack)

    @property
    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Measured r in Å and G(r) in the fit's range."""
        return self.measurement.r[self.inside], self.measurement.g[self.inside]


class Outcome(NamedTuple):
    """How a run ended, for the ending line."""

    rows: list[Row]
    skipped: int
    status: int
    """Exit status: 0, or 3 where some files failed."""


class Kind(NamedTuple):
    """What a command makes of files."""

    done: str
    """Status of a file that went well, as "solved"."""
    columns: tuple[str, ...]
    """Of summary.csv."""
    common: dict[str, Any]
    """What, beside a file's own settings, decides its result; JSON."""
    results: Callable[[Path, str], tuple[Path, ...]]
    """Files that a result has, of folder and stem; the last is written last."""
    background: int = 0
    """Terms of the background."""


def run(
    config: Config,
    kind: Kind,
    *,
    bond: float,
    begin: Callable[[list[Job]], tuple[int, Callable[[list[Job]], list[Row]]]],
    progress: Callable[[int, int, str], None],
    show: Callable[[str, Any], None],
) -> Outcome:
    """Do what is to be done for each file and write `config.out`, file by file.

    Args:
        config: files and folder, and the settings that override the headers.
        kind: what is made of them.
        bond: nearest-neighbour distance, in Å.
        begin: given the files to do, returns how many at once, and what gives rows of so many.
        progress: called with files done, files in all and a remark.
        show: called with a title and the settings of a file.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    if not config.files:
        raise ValueError("Expected at least one file, got none; name the measured .gr files.")
    if config.out.exists() and not config.out.is_dir():
        raise ValueError(f"Expected a folder for the results, got the file {config.out}; pass another --out.")
    jobs, failed = _read_all(config, kind, bond)
    if len(config.files) == 1 and failed:
        raise ValueError(failed[0]["message"])
    kept = _rows_to_keep(config, kind, jobs)
    todo = [job for job in jobs if job.stem not in kept]
    for job in todo[:SHOWN]:
        show(f"{job.path.name} ({job.measurement.format})", job.settings)
    rows = {job.stem: kept[job.stem] for job in jobs if job.stem in kept}
    rows |= {f"failed {index}": row for index, row in enumerate(failed)}
    files.write_text(config.out / "settings.json", json.dumps(_settings(config, kind), indent=1) + "\n")
    _summarise(config, kind, rows)
    if todo:
        size, work = begin(todo)
        for start in range(0, len(todo), size):
            batch = todo[start : start + size]
            progress(start, len(todo), batch[0].path.name)
            rows |= dict(zip((job.stem for job in batch), work(batch), strict=True))
            _summarise(config, kind, rows)
    progress(len(todo), len(todo), "")
    ordered = _in_order(config, rows)
    return Outcome(ordered, len(kept), 3 if any(row["status"] == "failed" for row in ordered) else 0)


def check_free(free: Sequence[str]) -> None:
    """Check that what is to be fitted can be.

    Raises:
        ValueError: where it cannot.
    """
    if "scale" not in free:
        raise ValueError("Expected scale among --free, got none; a measured G(r) has an unknown scale.")
    if {"delta1", "delta2"} <= set(free):
        raise ValueError("Expected delta1 or delta2 in --free, got both; they stand for the same motion, drop one.")


def row(path: Path, **values) -> Row:
    """Return a row of the summary."""
    return {"file": str(path), "version": jaxstruc.__version__, **values}


def span(jobs: list[Job], *, diameter: float) -> Span:
    """Return what templates of clusters up to a diameter must cover for all files, so that one compilation serves."""
    most = {name: max(job.given[name] for job in jobs) for name in ("rmax", "qmax")}
    return observed.span(rmax=most["rmax"], qmax=most["qmax"], diameter=diameter)


def target(job: Job, *, bond: float, span: Span, background: int = 0) -> Target:
    """Return what is fitted to one file."""
    instrument = {name: job.given[name] for name in ("qmin", "qmax", "qdamp", "qbroad")}
    return observed.target(*job.curve, **instrument, bond=bond, span=span, background=background)  # type: ignore[arg-type]


def contradicted(job: Job, element: str) -> list[str]:
    """Return a warning where the header's composition does not hold the element."""
    composition = str(job.measurement.header.get("composition", ""))
    named = re.findall("[A-Z][a-z]?", composition)
    return [f"the header says {composition}, --element {element}"] if named and element not in named else []


def stems(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path's results: its stem, numbered where another has it."""
    found: list[str] = []
    for path in paths:
        stem, count = path.stem, 2
        while stem in found:
            stem, count = f"{path.stem}-{count}", count + 1
        found.append(stem)
    return found


def _read_all(config: Config, kind: Kind, bond: float) -> tuple[list[Job], list[Row]]:
    """Return the files that can be worked on, and rows of those that cannot."""
    given = {name: getattr(config, name) for name in GIVEN}
    jobs: list[Job] = []
    failed: list[Row] = []
    for path, stem in zip(config.files, stems(config.files), strict=True):
        try:
            measurement = measured.read(path)
            job = Job(path, stem, measurement, measured.resolve(measurement, given=given, bond=bond))
            limits = {name: job.given[name] for name in ("qmin", "qmax")}
            observed.independent_points(job.curve[0], **limits, background=kind.background)
        except (ValueError, OSError) as error:
            checksum = files.sha256(path) if path.is_file() else ""
            failed.append(row(path, status="failed", message=str(error), sha256=checksum))
            continue
        jobs.append(job)
    return jobs, failed


def _settings(config: Config, kind: Kind) -> dict[str, Any]:
    """Return what, beside the files themselves, decides the results."""
    return kind.common | {name: getattr(config, name) for name in GIVEN}


def _rows_to_keep(config: Config, kind: Kind, jobs: list[Job]) -> dict[str, Row]:
    """Return the rows of files that an earlier run did with the same settings, by stem."""
    path = config.out / "settings.json"
    try:
        if not path.exists() or json.loads(path.read_text("utf-8")) != _settings(config, kind):
            return {}
        before = {(row["file"], row["sha256"]): row for row in report.read_table(config.out / "summary.csv")}
    except (ValueError, KeyError):
        return {}
    kept = {}
    for job in jobs:
        row = before.get((str(job.path), job.measurement.sha256))
        if row and row["status"] == kind.done and kind.results(config.out, job.stem)[-1].exists():
            kept[job.stem] = row
    return kept


def _summarise(config: Config, kind: Kind, rows: dict[str, Row]) -> None:
    report.write_table(config.out / "summary.csv", kind.columns, _in_order(config, rows))


def _in_order(config: Config, rows: dict[str, Row]) -> list[Row]:
    """Return the rows that there are so far, in the order of the files given."""
    place = {str(path): index for index, path in enumerate(config.files)}
    return sorted(rows.values(), key=lambda row: place[row["file"]])
