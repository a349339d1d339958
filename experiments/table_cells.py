"""Cells and lines of the tables of results: rounding, shares, groups of rows, Markdown."""

from collections import Counter
from collections.abc import Callable

import numpy as np

Rows = list[dict]
Table = list[list[str]]
"""Lines of a table. The first line holds the headings."""
Columns = dict[str, str | Callable[[dict], object]]
"""Headings of a table, each with the name of a column of the rows or with a function that makes a cell from a row."""


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with some significant digits and, between 1e-4 and 1e7, without an exponent."""
    if value is None or not np.isfinite(value):
        return "–"
    if value and not 1e-4 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
    return np.format_float_positional(float(f"{value:.{digits}g}"), trim="-")


def mean_and_spread(mean: float, spread: float) -> str:
    """Return "mean ± spread", the spread with two significant digits and the mean with as many decimals."""
    if not np.isfinite(spread) or spread <= 1e-12 * abs(mean):
        return f"{number(mean)} ± 0" if np.isfinite(spread) else number(mean)
    n_decimals = max(1 - int(f"{spread:.1e}".split("e")[1]), 0)
    return f"{mean:.{n_decimals}f} ± {spread:.{n_decimals}f}"


def percent(flags: list, digits: int = 0) -> str:
    """Return the share of true flags in per cent, or a dash if there are no flags."""
    return f"{100 * np.mean(flags):.{digits}f} %" if len(flags) else "–"


def percent_and_spread(flags: list[bool], seed_shares: list[float]) -> str:
    """Return the share of true flags ± the standard deviation of the shares of the seeds, both in per cent."""
    mean = 100 * np.mean(flags)
    return f"{mean:.0f} ± {100 * np.std(seed_shares, ddof=1):.0f} %" if len(seed_shares) > 1 else f"{mean:.0f} %"


def cell_text(value: object) -> str:
    """Return the text of a value: three significant digits, yes or no, a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def share_line(claim: str, flags: list[bool]) -> list[str]:
    """Return a line: a claim, the number of cases, and the share of cases in which it holds."""
    return [claim, str(len(flags)), percent(flags, 1)]


def quantile_line(quantity: str, values: list[float], level: float) -> list[str]:
    """Return a line: a quantity, the number of values, their median and a quantile."""
    level_text = "largest" if level == 1.0 else f"{100 * level:g} % are below"
    text = (
        f"median {number(np.median(values), 2)}, {level_text} {number(np.quantile(values, level), 2)}"
        if values
        else "–"
    )
    return [quantity, str(len(values)), text]


def group_rows(rows: Rows, names: tuple[str, ...]) -> dict[tuple, Rows]:
    """Return the rows grouped by the values of these columns, in order of appearance."""
    groups: dict[tuple, Rows] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return groups


def seeds(rows: Rows) -> list[int]:
    """Return the seeds of the rows."""
    return sorted({row["seed"] for row in rows})


def columns_table(rows: Rows, columns: Columns) -> str:
    """Return a Markdown table with one line for each row."""
    lines = [list(columns)]
    for row in rows:
        cells = (row.get(source) if isinstance(source, str) else source(row) for source in columns.values())
        lines.append([cell_text(cell) for cell in cells])
    return markdown_table(lines)


def markdown_table(lines: Table) -> str:
    """Return a Markdown table. The first line is its head."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def origin_text(rows: Rows) -> str:
    """Return the devices, versions and commits that the rows name, with the number of rows of each."""
    origins = Counter(_row_origin(row) for row in rows if row.get("device"))
    return "; ".join(f"{count} rows: {origin}" for origin, count in origins.items())


def _row_origin(row: dict) -> str:
    version = row.get("jax") or row.get("versions", {}).get("jax")
    parts = [row["device"], version and f"jax {version}", row.get("commit") and f"commit {row['commit']}"]
    return ", ".join(part for part in parts if part)
