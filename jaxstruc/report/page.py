"""The page of results `index.html`: one file without links to any host, made from a folder of results.

The page has the table of all curves, and figures, structures and values of each curve. Tables and texts of the first
curve are plain HTML. The data of each curve are a JSON text of their own, which the scripts of the page read when the
curve is opened. A folder with more than `MAX_CURVES` curves has several pages, which link to each other.

All texts from files are escaped: in HTML by `html.escape`, in JSON by `json_text`.
"""

import importlib.util
import json
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import jaxstruc
from jaxstruc import files
from jaxstruc.report import methods_text, page_data, page_entries
from jaxstruc.report.page_data import COMPACT, DETAILED, MAX_DETAILED_CURVES, JsonData
from jaxstruc.report.summary import Row
from jaxstruc.result import Result

TEMPLATE = Path(__file__).parent / "page_template"
"""Folder of the template, the style and the scripts of the page."""
SCRIPTS = ("saving.js", "figures.js", "viewer.js", "table.js", "page.js")
"""Scripts of the page, in the order in which they are run."""
SERIES_PAGE_NAME = "series.html"
"""Name of the page of a series."""
MAX_CURVES = 200
"""Largest number of curves with figures on one page."""
STATUS_SYMBOLS = {"solved": "✓", "weak": "!", "failed": "×"}
"""Symbols of the states, so that no state is shown by its colour alone."""


MAX_SHORT_TEXT = 20
"""Largest number of letters of a cell that may be broken into lines of single words."""


class Column(NamedTuple):
    """A column of the table of curves."""

    title: str
    name: str
    """Name of the column of the summary."""
    ends: tuple[str, str] | None = None
    """Names of the columns of the ends of its interval."""
    form: str = ""
    """Format of a number; empty for a text."""
    hint: str = ""
    """Explanation that a pointer on the title shows."""


PDF_TABLE = (
    Column("Best structure", "description"),
    Column("Type", "type"),
    Column("Atoms", "n_atoms", ("n_low", "n_high"), ".0f", "Number of atoms of the best structure (90 % interval)"),
    Column("Diameter (Å)", "diameter", ("diameter_low", "diameter_high"), ".1f", "Longest distance of two atoms"),
    Column("Rw", "rw", None, ".3f", "Misfit of the best structure"),
    Column("Sample", "sample", None, "", "Model that predicts the data better"),
    Column(
        "Mean diameter by volume (Å)", "mean_diameter", ("mean_diameter_low", "mean_diameter_high"), ".1f",
        "Mean diameter of the distribution, weighted by volume",
    ),
)  # fmt: skip
"""Columns of the table for `solve`, `mine` and `refine`."""
CLASSIFY_TABLE = (
    Column("Type", "type"),
    Column("Probability", "type_probability", None, ".2f", "Probability of the type"),
    Column("Atoms", "n_atoms", ("n_low", "n_high"), ".0f", "Number of atoms (90 % interval)"),
    Column("Diameter (Å)", "diameter", ("diameter_low", "diameter_high"), ".1f", "Longest distance of two atoms"),
    Column("Width", "width", ("width_low", "width_high"), ".0%", "Relative width of the distribution of sizes"),
)
"""Columns of the table for `classify`."""
SAXS_TABLE = (
    Column("Shape", "body"),
    Column("Probability", "p_body", None, ".2f", "Probability of the best shape"),
    Column("Mean diameter by volume (Å)", "mean_diameter", ("mean_diameter_low", "mean_diameter_high"), ".4g"),
    Column("Width by volume", "width", ("width_low", "width_high"), ".0%", "Standard deviation over mean"),
    Column("Mean radius by number (Å)", "radius", ("radius_low", "radius_high"), ".4g"),
    Column("Aspect ratio", "aspect_ratio", ("aspect_ratio_low", "aspect_ratio_high"), ".3g"),
    Column("Shell (Å)", "shell_thickness", ("shell_thickness_low", "shell_thickness_high"), ".3g", "Thickness"),
    Column(
        "Volume fraction",
        "volume_fraction",
        ("volume_fraction_low", "volume_fraction_high"),
        ".3g",
        "Volume fraction of hard spheres",
    ),
    Column("Reduced χ²", "chi2", None, ".4g"),
)
"""Columns of the table for `saxs`."""


class PageCurve(NamedTuple):
    """One curve of a page."""

    row: Row
    """Cells of the summary by column."""
    data_text: str
    """Data of the curve as JSON."""
    result: Result
    """Result without arrays, for the list of references."""


PageCache = dict[tuple, PageCurve]
"""Curves of a page by their rows and thinning."""


def write_pages(
    out: Path, *, results: Mapping[str, Result] | None = None, cache: PageCache | None = None
) -> list[Path]:
    """Write the pages of a folder of results, and return their paths. The first one is index.html.

    Args:
        out: Folder of the results.
        results: Saved results by stem that need not be read from the folder again.
        cache: Curves of the last pages of the folder, which are made again only if their rows have changed. The new
            curves replace them.

    Raises:
        ValueError: If the folder has no results.
    """
    rows = page_entries.read_rows(out)
    options = page_entries.read_options(out)
    has_results = not page_entries.is_classification(rows)
    groups = [range(start, min(start + MAX_CURVES, len(rows))) for start in range(0, len(rows), MAX_CURVES)]
    has_series = (out / SERIES_PAGE_NAME).exists()
    paths, new_cache = [], PageCache()
    for number, group in enumerate(groups):
        thinning = DETAILED if len(group) <= MAX_DETAILED_CURVES else COMPACT
        page_curves = []
        for row in map(rows.__getitem__, group):
            key = (*row.items(), thinning)
            page_curve = cache.get(key) if cache else None
            if page_curve is None:
                entry = page_entries.read_entry(row, out if has_results else None, options, results or {})
                data_text = json_text(page_data.curve_data(entry, thinning))
                page_curve = PageCurve(entry.row, data_text, _without_arrays(entry.result))
            page_curves.append(page_curve)
            new_cache[key] = page_curve
        text = _page_text(page_curves, rows, number=number, groups=groups, options=options, has_series=has_series)
        paths.append(out / page_name(number))
        files.write_text(paths[-1], text)
    for path in set(_written_pages(out)) - set(paths):
        path.unlink(missing_ok=True)
    if cache is not None:
        cache.clear()
        cache.update(new_cache)
    return paths


def remove_pages(out: Path) -> None:
    """Remove the pages of an earlier run, also that of a series."""
    for path in [*_written_pages(out), out / "series.html"]:
        path.unlink(missing_ok=True)


def _written_pages(out: Path) -> list[Path]:
    """Return the paths of all pages in a folder."""
    return [path for path in out.glob("index*.html") if re.fullmatch(r"index(-\d+)?\.html", path.name)]


def page_name(number: int) -> str:
    """Return the name of a page, counted from 0."""
    return "index.html" if number == 0 else f"index-{number + 1}.html"


def _page_text(
    page_curves: Sequence[PageCurve],
    rows: Sequence[Row],
    *,
    number: int,
    groups: Sequence[range],
    options: Mapping[str, Any],
    has_series: bool,
) -> str:
    """Return the HTML of a page.

    Args:
        page_curves: Curves of the page.
        rows: Rows of all curves. The first page has the table of all of them.
        number: Number of the page, counted from 0.
        groups: Numbers of the curves of each page.
        options: Recorded options of the run.
        has_series: Whether the folder has a page of the series.
    """
    group = groups[number]
    data_texts = [
        f'<script type="application/json" id="curve-{index}">{page_curve.data_text}</script>'
        for index, page_curve in zip(group, page_curves, strict=True)
    ]
    results = [page_curve.result for page_curve in page_curves]
    listed_rows = {index: page_curve.row for index, page_curve in zip(group, page_curves, strict=True)}
    if number == 0:
        listed_rows |= {index: rows[index] for index in range(len(group), len(rows))}
    needs_plotly = any('"fit":{' in text or '"sizes":{' in text or '"candidates":{' in text for text in data_texts)
    title = f"{len(rows)} {'curve' if len(rows) == 1 else 'curves'}{_element_text(options)}"
    page_facts = {
        "title": title,
        "version": jaxstruc.__version__,
        "bibtex": methods_text.bibtex(methods_text.reference_keys(results), version=jaxstruc.__version__),
        "first": group[0],
        "end": group[-1] + 1,
        "page_names": [page_name(page) for page in range(len(groups))],
        "curves_per_page": MAX_CURVES,
        "position_step": page_data.POSITION_STEP,
    }
    parts = {
        "title": escape(title),
        "style": (TEMPLATE / "page.css").read_text("utf-8"),
        "counts": escape(status_counts(rows)),
        "links": _page_links(number, groups, has_series=has_series),
        "table": _table(listed_rows),
        "first_answer": _answer_html(json.loads(page_curves[0].data_text)),
        "page_facts": json_text(page_facts),
        "data": "\n".join(data_texts),
        "plotly": plotly_source() if needs_plotly else "",
        "scripts": "\n".join((TEMPLATE / name).read_text("utf-8") for name in SCRIPTS),
        "version": escape(jaxstruc.__version__),
    }
    template = (TEMPLATE / "page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _without_arrays(result: Result) -> Result:
    """Return a result of the same class that only has what the list of references needs."""
    return type(result)("", "", "", result.status, "", candidates=result.candidates[:1], free=result.free)


def _element_text(options: Mapping[str, Any]) -> str:
    element = options.get("element")
    return f" of {element}" if isinstance(element, str) and element else ""


def status_counts(rows: Sequence[Row]) -> str:
    """Return the number of curves of each status in words."""
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUS_SYMBOLS}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def _page_links(number: int, groups: Sequence[range], *, has_series: bool) -> str:
    """Return the links between several pages, and to the series, as HTML; empty for one page without a series."""
    series_link = f'<nav aria-label="Series"><a href="{SERIES_PAGE_NAME}">Series</a></nav>' if has_series else ""
    if len(groups) == 1:
        return series_link
    links = [
        f'<a href="{page_name(page)}"{" aria-current=page" if page == number else ""}>{group[0] + 1} to '
        f"{group[-1] + 1}</a>"
        for page, group in enumerate(groups)
    ]
    return f'<nav aria-label="Pages"><span>Curves</span> {" ".join(links)}</nav>{series_link}'


def _table(rows: Mapping[int, Row]) -> str:
    """Return the table of the curves as HTML. A cell has the value by which its column is sorted."""
    columns = _columns(list(rows.values()))
    titles = [("File", ""), ("Status", ""), *((column.title, column.hint) for column in columns), ("Doubts", "")]
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" title="{escape(hint or "Sort")}">{escape(title)}'
        "</button></th>"
        for title, hint in titles
    )
    body = "\n".join(_table_row(index, row, columns) for index, row in rows.items())
    return f'<table id="curves"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'


def _columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of the table that have a value in some row."""
    if page_entries.is_classification(rows):
        columns: Sequence[Column] = CLASSIFY_TABLE
    else:
        columns = SAXS_TABLE if any("p_body" in row or "chi2" in row for row in rows) else PDF_TABLE
    return [column for column in columns if any(column.name in row for row in rows)]


def _table_row(index: int, row: Row, columns: Sequence[Column]) -> str:
    """Return the row of a curve as HTML."""
    name, frame = Path(str(row["file"])).name, page_entries.cell_number(row, "frame")
    label = name if frame is None else f"{name}, curve {frame:.0f}"
    status, message = str(row["status"]), str(row.get("message", ""))
    cells = [
        f'<th scope="row" title="{escape(str(row["file"]))}"><button type="button">{escape(label)}</button></th>',
        f"<td>{_badge(status)}</td>",
        *(_table_cell(row, column) for column in columns),
        f'<td class="doubts" title="{escape(message)}"><div>{escape(message)}</div></td>',
    ]
    return f'<tr data-curve="{index}" data-status="{escape(status)}">{"".join(cells)}</tr>'


def _table_cell(row: Row, column: Column) -> str:
    """Return a cell with its interval, and with the number by which it is sorted."""
    if not column.form:
        text = str(row.get(column.name, ""))
        return f"<td{' class=words' if len(text) > MAX_SHORT_TEXT else ''}>{escape(text)}</td>"
    value = page_entries.cell_number(row, column.name)
    if value is None:
        return '<td class="number"></td>'
    low, high = (page_entries.cell_number(row, end) for end in column.ends) if column.ends else (None, None)
    interval = "" if low is None or high is None else f" <small>({low:{column.form}} to {high:{column.form}})</small>"
    prefix = "at least " if low is not None and high is None else ""
    return f'<td class="number" data-value="{value!r}">{prefix}{value:{column.form}}{interval}</td>'


def _badge(status: str) -> str:
    """Return the status with its symbol as HTML."""
    symbol = STATUS_SYMBOLS.get(status, "")
    return f'<span class="badge {escape(status)}"><span aria-hidden="true">{symbol}</span> {escape(status)}</span>'


def _answer_html(data: JsonData) -> str:
    """Return the answer of a curve as HTML: file, status, answer, numbers and message. The scripts make the same."""
    numbers = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in data["facts"])
    message, heading = data["message"] or "No doubts were noted.", _message_heading(data["status"])
    remark = f'<p class="remark">{escape(data["remark"])}</p>' if data["remark"] else ""
    return (
        f"<h2>{escape(data['file'])} {_badge(data['status'])}</h2>"
        f'<p class="answer">{escape(data["answer"])}</p>'
        f'<p class="message{"" if data["message"] else " none"}"><strong>{heading}:</strong> {escape(message)}</p>'
        f'{remark}<dl class="numbers">{numbers}</dl>'
    )


def _message_heading(status: str) -> str:
    return "Reason" if status == "failed" else "Doubts"


def json_text(data: Any) -> str:
    """Return compact JSON that can stand in a script element: it has no "<", ">" or "&"."""
    try:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(data), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _without_nan(data: Any) -> Any:
    """Return data with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(data, Mapping):
        return {name: _without_nan(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def plotly_source() -> str:
    """Return the script of plotly. Its package is not imported, because that takes longer than to write a page.

    Raises:
        ValueError: If plotly is not installed.
    """
    spec = importlib.util.find_spec("plotly")
    path = Path(spec.origin or "").parent / "package_data" / "plotly.min.js" if spec else None
    if path is None or not path.is_file():
        raise ValueError("Expected the package plotly, which draws the figures of the page; pip install plotly.")
    return path.read_text("utf-8")
