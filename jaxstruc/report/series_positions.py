"""Positions of the curves of a series, e.g. their temperatures, from headers, names or a table."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from jaxstruc.io import gr
from jaxstruc.io.columns import ReadError, decode_text, raw_bytes
from jaxstruc.options.series import SeriesOptions
from jaxstruc.report.page_entries import cell_number
from jaxstruc.report.summary import Row

NUMBER = r"((?:(?<![A-Za-z0-9])[-+])?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
"""Regular expression of a number in a name. A hyphen after a letter or a digit is no sign."""
MAX_HEADER_LINES = 1000
"""Largest number of lines of a file in which a header is searched."""
MAX_NAMED_FILES = 3
"""Largest number of files that a message names."""


def positions(rows: Sequence[Row], options: SeriesOptions) -> list[float]:
    """Return the position of each curve, e.g. its temperature.

    Args:
        rows: Rows of the summary.
        options: Name of the quantity, and where its values are.

    Raises:
        ValueError: If a curve has no position.
    """
    if options.x_from == "order":
        return [float(number) for number in range(1, len(rows) + 1)]
    if options.metadata is not None:
        value_by_name = _table_values(options.metadata, options.x_from)
        values = [value_by_name.get(Path(str(row["file"])).name) for row in rows]
        source = f"the column {options.x_from} of {options.metadata}"
    elif options.name_pattern is not None:
        values = [_number_in_name(row, options.name_pattern) for row in rows]
        source = f"{options.name_pattern!r} in the names"
    else:
        values = [_number_in_header(row, options.x_from) for row in rows]
        source = f"the headers; pass --metadata or --name-pattern, or check the name {options.x_from}"
    missing_names = [Path(str(row["file"])).name for row, value in zip(rows, values, strict=True) if value is None]
    if missing_names:
        raise ValueError(
            f"Expected {options.x_from} of each curve, got none for {len(missing_names)} of {len(rows)}, e.g. "
            f"{', '.join(missing_names[:MAX_NAMED_FILES])}, in {source}."
        )
    return [value for value in values if value is not None]


def _table_values(path: Path, column: str) -> dict[str, float]:
    """Return the values of a column of a table by the names of the files.

    Raises:
        ValueError: If the table cannot be read or has not the two columns.
    """
    try:
        text = decode_text(raw_bytes(path), path)
    except ReadError as error:
        raise ValueError(f"Expected a table in --metadata, got {path}: {error}") from error
    rows = list(csv.DictReader(text.splitlines()))
    names = list(rows[0]) if rows else []
    if not {"file", column} <= set(names):
        raise ValueError(
            f"Expected the columns file and {column} in {path}, got {', '.join(map(str, names)) or 'none'}."
        )
    return {
        Path(row["file"]).name: number
        for row in rows
        if row["file"] and (number := cell_number(row, column)) is not None
    }


def _number_in_name(row: Row, pattern: str) -> float | None:
    """Return the number in the name of a file or, in a file with several curves, in the label of the curve."""
    expression = NUMBER.join(re.escape(part) for part in pattern.split("{}"))
    path, frame = Path(str(row["file"])), cell_number(row, "frame")
    names = [path.name]
    if frame is not None:
        names.insert(0, _curve_label(path, int(frame)))
    matches = (re.search(expression, name) for name in names)
    return next((float(match[1]) for match in matches if match), None)


def _curve_label(path: Path, frame: int) -> str:
    """Return the label of a curve in a file with several curves; empty if the file cannot be read."""
    try:
        return gr.open_file(path).names[frame - 1]
    except (ReadError, IndexError):
        return ""


def _number_in_header(row: Row, name: str) -> float | None:
    """Return the number that the header of a measured file states under a name, e.g. temperature = 150 K."""
    path = Path(str(row["file"]))
    try:
        lines = decode_text(raw_bytes(path), path).splitlines()[:MAX_HEADER_LINES]
    except ReadError:
        return None
    expression = rf"(?i)(?<!\w){re.escape(name)}(?:\s*[(\[][^)\]]*[)\]])?\s*[=:]\s*{NUMBER}"
    return next((float(match[1]) for line in lines if (match := re.search(expression, line))), None)
