"""The curves of a folder of results, as the page shows them: rows of the summary with their saved results.

A row without a usable saved result still has what it states: its status, message, types, sizes and settings. This is
the case for the predictions of `classify`, for files that failed, and for results that are missing or damaged.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.io.measurement import Setting
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import folder, summary
from jaxstruc.report.page_data import PageEntry
from jaxstruc.report.summary import Row
from jaxstruc.result import Result
from jaxstruc.small_angle.result import SaxsResult
from jaxstruc.statistics import Interval


def read_rows(out: Path) -> list[Row]:
    """Return the rows of the summary of a folder, or of its saved results if the summary is missing.

    Raises:
        ValueError: If there is no folder, no row, or a table that is not a summary.
    """
    path = out / "summary.csv"
    if not out.is_dir():
        raise ValueError(f"Expected a folder of results, got {out}; name the --out of an earlier run.")
    if not path.exists():
        rows = [_saved_row(saved_path) for saved_path in sorted((out / "results").glob("*.npz"))]
        if not rows:
            raise ValueError(f"Expected results in {out}, got none; run e.g. jaxstruc solve with this --out first.")
        return rows
    try:
        with path.open(newline="", encoding="utf-8", errors="backslashreplace") as stream:
            reader = csv.DictReader(stream)
            rows = [{name: cell for name, cell in row.items() if name and cell} for row in reader]
        names = set(reader.fieldnames or ())
    except csv.Error as error:
        raise ValueError(f"Expected a table in {path}, got {error}; run the command again to make it.") from error
    if not {"file", "status"} <= names:
        raise ValueError(f"Expected the columns file and status in {path}; run the command again to make it.")
    if not rows:
        raise ValueError(f"Expected at least one curve in {path}, got a table without rows; run the command again.")
    return rows


def _saved_row(path: Path) -> Row:
    """Return the row of a saved result, or a failed row if the result is damaged."""
    try:
        result = folder.load(path)
        return summary.row(result, _columns_of(result)) | {"stem": path.stem}
    except ValueError as error:
        return {"file": path.name, "stem": path.stem, "status": "failed", "message": str(error)}


def _columns_of(result: Result) -> Sequence[str]:
    return summary.SAXS_SUMMARY_COLUMNS if isinstance(result, SaxsResult) else summary.SUMMARY_COLUMNS


def read_options(out: Path) -> dict[str, Any]:
    """Return the recorded options of the run; empty if there are none."""
    try:
        options = json.loads((out / "settings.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return options if isinstance(options, dict) else {}


def is_classification(rows: Sequence[Row]) -> bool:
    """Return whether rows are those of `classify`, which saves no results."""
    return any("p_fcc" in row for row in rows)


def read_entry(row: Row, out: Path | None, options: Mapping[str, Any], results: Mapping[str, Result]) -> PageEntry:
    """Return a curve of the page with its saved result, or with what its row states.

    Args:
        row: Row of the summary.
        out: Folder of the results; None if the command saves none.
        options: Recorded options of the run.
        results: Results by stem that need not be read.
    """
    stem = str(row.get("stem") or Path(str(row["file"])).stem)
    row = row | {"stem": stem}
    stated_result = _stated_result(row, options)
    if out is None or row["status"] == "failed":
        return PageEntry(row, stated_result)
    path = folder.result_file(out, stem)
    if stem not in results and not path.exists():
        return PageEntry(row, stated_result, f"The saved result {path} is missing, so there are no figures.")
    try:
        result = results[stem] if stem in results else folder.load(path)
    except ValueError as error:
        return PageEntry(row, stated_result, str(error))
    if row.get("sha256") and result.sha256 != row["sha256"]:
        remark = f"The saved result {path} belongs to other data than the summary, so there are no figures."
        return PageEntry(row, stated_result, remark)
    return PageEntry(row | summary.row(result, _columns_of(result)) | {"file": row["file"], "stem": stem}, result)


def _stated_result(row: Row, options: Mapping[str, Any]) -> PdfResult:
    """Return a result that only has what a row of the summary states: status, message, types, sizes and settings."""
    probabilities = {name: number for name in set(FAMILY_TYPES.values()) if (number := cell_number(row, f"p_{name}"))}
    sizes = {"n_atoms": "n", "diameter": "diameter", "width": "width", "hexagonal": "hexagonal"}
    intervals = {name: _interval(row, name, ends) for name, ends in sizes.items()}
    settings = [
        Setting(name, number, str(row.get(f"{name}_origin") or _origin(name, options)))
        for name in ("qmin", "qmax", "qdamp", "rmin", "rmax", "frame")
        if (number := cell_number(row, name)) is not None
    ]
    return PdfResult(
        str(row["file"]), str(row.get("sha256", "")), str(options.get("element", "")), str(row["status"]),
        str(row.get("message", "")),
        types=dict(sorted(probabilities.items(), key=lambda item: -item[1])),
        intervals={name: interval for name, interval in intervals.items() if interval is not None},
        settings=tuple(settings),
        facts={"model": row["model"]} if "model" in row else {},
        versions={"jaxstruc": str(row.get("version", ""))},
    )  # fmt: skip


def _origin(name: str, options: Mapping[str, Any]) -> str:
    """Return the origin of a setting whose origin the summary does not state."""
    return "command line" if options.get(name) is not None else "file or default"


def _interval(row: Row, name: str, ends: str) -> Interval | None:
    """Return a value with its interval; None if it is missing. Without an upper end the interval is open."""
    value, low, high = (cell_number(row, column) for column in (name, f"{ends}_low", f"{ends}_high"))
    return None if value is None or low is None else Interval(value, low, math.inf if high is None else high)


def cell_number(row: Row, name: str) -> float | None:
    """Return the number in a cell; None if the cell is missing or has no finite number."""
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
