"""Tables of a result: candidates, correlations, sizes and settings; and how rows are written as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping
from functools import singledispatch
from pathlib import Path

import numpy as np

from jaxstruc import files
from jaxstruc.data.measurement import Setting
from jaxstruc.inference.pdf_result import PdfResult
from jaxstruc.inference.saxs_result import SaxsResult
from jaxstruc.report.summary import NOTES, VALUES, Row, candidate_cells, fit_cells
from jaxstruc.result import Candidate, Result
from jaxstruc.scattering.parameters import UNITS

CANDIDATES = (
    *"rank description type n_atoms diameter rw gap weight in_90 source family recipe converged remark".split(),
    *VALUES,
    *NOTES,
)
"""Columns of candidates/STEM.csv, by weight. `gap` is the difference to the first's Rw; `weight` and `in_90` are
relative to all candidates that were fitted."""
SAXS_CANDIDATES = (
    *"rank body distribution weight in_90 chi2 rw radius radius_error pd pd_error r_eq mean_diameter width".split(),
    *"scale scale_error background background_error power_scale power_scale_error median sigma".split(),
    *(f"{name}_{k}{end}" for k in (1, 2) for name in ("radius", "pd", "share") for end in ("", "_error")),
    *"converged remark".split(),
)
"""Columns of candidates/STEM.csv of small angles, by weight."""


@singledispatch
def candidates(result: Result) -> list[Row]:
    """Return a row for each candidate, best first."""
    raise TypeError(f"Expected a PdfResult or SaxsResult, got {type(result).__name__}; load it again.")


@candidates.register
def _(result: PdfResult) -> list[Row]:
    return [
        candidate_cells(candidate) | _ranking(rank, candidate) | {"gap": candidate.rw - result.best.rw}
        for rank, candidate in enumerate(result.candidates, start=1)
    ]


@candidates.register
def _(result: SaxsResult) -> list[Row]:
    rows = [
        fit_cells(candidate) | _ranking(rank, candidate) | {"body": candidate.type, "distribution": candidate.family}
        for rank, candidate in enumerate(result.candidates, start=1)
    ]
    return [{name: row[name] for name in SAXS_CANDIDATES if name in row} for row in rows]


def correlation(result: Result, candidate: Candidate) -> list[Row]:
    """Return the correlation matrix of a candidate's fitted values; its first column, "", names them."""
    matrix = np.zeros((0, 0)) if candidate.correlation is None else candidate.correlation
    return [
        {"": name, **dict(zip(result.free, line, strict=True))}
        for name, line in zip(result.free, matrix.tolist(), strict=False)
    ]


def distribution(result: Result) -> list[Row]:
    """Return a row for each size of a distribution."""
    columns = {name: column.tolist() for name, column in result.distribution.items()}
    return [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)]


def settings(title: str, given: Iterable[Setting]) -> None:
    """Print each setting with its unit and where it came from."""
    import rich.console
    import rich.table

    table = rich.table.Table("setting", "value", "unit", "from", title=title, title_justify="left")
    for name, value, origin in given:
        table.add_row(name, f"{value:g}", UNITS.get(name, ""), origin)
    rich.console.Console().print(table)


def write(path: Path, columns: Iterable[str], rows: Iterable[Mapping]) -> None:
    """Write rows as CSV; numbers with six significant digits, missing ones empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    files.write_text(path, text.getvalue())


def _ranking(rank: int, candidate: Candidate) -> Row:
    """Return the cells on a candidate's rank and fit that all techniques share."""
    flags = {name: "yes" if getattr(candidate, name) else "no" for name in ("in_90", "converged")}
    return {"rank": rank, "remark": candidate.remark, **flags}


def _cell(value) -> str:
    """Return a value as text; a file's own text must not break the line."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return " ".join(str(value).split())
