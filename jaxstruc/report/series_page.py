"""The page of a series `series.html`: one file without links to any host, made from a folder of results."""

import re
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

import jaxstruc
from jaxstruc import change_points, files
from jaxstruc.report import page, page_data, series
from jaxstruc.report.page_data import JsonData, significant
from jaxstruc.report.series import Series

SCRIPTS = ("saving.js", "figures.js", "series.js")
"""Scripts of the page, in the order in which they are run."""
MAX_POINTS = 300
"""Largest number of points of a curve on the page."""
MAX_NUMBERS = 300_000
"""Largest number of values of all curves on the page. The curves of longer series have fewer points."""
METHOD = (
    "Change points come from optimal partitioning into straight lines (Jackson et al. 2005; PELT). The penalty is "
    f"calibrated so that at most {change_points.FALSE_ALARM_RATE:.0%} of constant series of white noise have a "
    "false alarm in any quantity. A curved course is described by several straight lines."
)


def write_page(series_of_curves: Series, out: Path) -> Path:
    """Write the page of a series, and return its path."""
    data = series_data(series_of_curves)
    title = f"{len(series_of_curves.x)} curves by {series_of_curves.x_name}"
    parts = {
        "title": escape(title),
        "style": (page.TEMPLATE / "page.css").read_text("utf-8"),
        "summary": escape(data["summary"]),
        "data": page.json_text(data),
        "plotly": page.plotly_source(),
        "scripts": "\n".join((page.TEMPLATE / name).read_text("utf-8") for name in SCRIPTS),
        "version": escape(jaxstruc.__version__),
        "table": _change_table(series_of_curves),
        "pages": '<nav aria-label="Pages"><a href="index.html">Each curve</a></nav>',
    }
    template = (page.TEMPLATE / "series.html").read_text("utf-8")
    path = out / page.SERIES_PAGE_NAME
    files.write_text(path, re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template))
    return path


def series_data(series_of_curves: Series) -> JsonData:
    """Return the data that the page shows, with the digits of a picture."""
    return {
        "x_name": series_of_curves.x_name,
        "x": significant(series_of_curves.x, digits=8),
        "files": [page_data.file_label(entry) for entry in series_of_curves.entries],
        "status": [str(entry.row["status"]) for entry in series_of_curves.entries],
        "type": [str(entry.row.get("type", entry.row.get("body", ""))) for entry in series_of_curves.entries],
        "quantities": [
            {
                "name": quantity.name, "title": quantity.title, "unit": quantity.unit,
                "value": significant(quantity.value, digits=5),
                "low": significant(quantity.low, digits=5), "high": significant(quantity.high, digits=5),
            }
            for quantity in series_of_curves.quantities
        ],
        "types": {name: significant(column, digits=3) for name, column in series_of_curves.types.items()},
        "outlier": series_of_curves.is_outlier.tolist(),
        "changes": [[change.quantity, change.frame] for change in series_of_curves.changes],
        "map": _map_data(series_of_curves),
        "summary": change_summary(series_of_curves),
    }  # fmt: skip


def change_summary(series_of_curves: Series) -> str:
    """Return the number of curves of each status, and the change points, in words."""
    counts = page.status_counts([entry.row for entry in series_of_curves.entries])
    changes = series.change_rows(series_of_curves)
    n_outliers = int(series_of_curves.is_outlier.sum())
    texts = [counts, f"{len(changes)} change points" if changes else "no change points"]
    texts += [f"{n_outliers} outliers of Rw"] if n_outliers else []
    return ", ".join(texts)


def _map_data(series_of_curves: Series) -> JsonData | None:
    """Return the measured and calculated curves, thinned; None if there are none."""
    curve_map = series_of_curves.curve_map
    if curve_map is None:
        return None
    n_points = max(50, min(MAX_POINTS, MAX_NUMBERS // (2 * len(series_of_curves.x))))
    rows = np.unique(np.linspace(0, len(curve_map.axis) - 1, n_points).astype(int))
    if curve_map.is_small_angle:
        targets = np.geomspace(curve_map.axis[0], curve_map.axis[-1], n_points)
        rows = np.unique(np.clip(np.searchsorted(curve_map.axis, targets), 0, len(curve_map.axis) - 1))
    return {
        "axis": significant(curve_map.axis[rows], digits=5),
        "observed": [significant(values[rows], digits=3) for values in curve_map.observed],
        "calculated": [significant(values[rows], digits=3) for values in curve_map.calculated],
        "small_angle": curve_map.is_small_angle,
    }


def _change_table(series_of_curves: Series) -> str:
    """Return the table of changes as HTML; a sentence if there are none."""
    rows = series.change_rows(series_of_curves)
    if not rows:
        return f"<p>No quantity changes more than its noise explains.</p><p class=note>{escape(METHOD)}</p>"
    titles = {quantity.name: quantity.title for quantity in series_of_curves.quantities}
    head = "".join(
        f'<th scope="col">{escape(title)}</th>' for title in ("quantity", "between", "and", "file after the change")
    )

    def cells(row: dict[str, Any]) -> str:
        name, x_name = str(row["quantity"]), series_of_curves.x_name
        texts = (
            titles.get(name, name), f"{row[f'{x_name}_before']:g}", f"{row[x_name]:g}",
            Path(str(row["file"])).name,
        )  # fmt: skip
        return "".join(f"<td>{escape(text)}</td>" for text in texts)

    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows)
    table = f'<table class="values"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f"{table}<p class=note>{escape(METHOD)}</p>"
