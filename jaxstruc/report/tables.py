"""Tables of a result: the printed lines, their HTML for a notebook, and the rows of the CSV files."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from functools import singledispatch
from html import escape
from pathlib import Path
from typing import TextIO

import numpy as np

from jaxstruc import files
from jaxstruc.io.measurement import Setting
from jaxstruc.parameters import UNITS
from jaxstruc.pdf import classifier_prior
from jaxstruc.pdf.distribution import Distribution
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import summary
from jaxstruc.report.summary import (
    MIN_SHARE,
    NOTE_COLUMNS,
    SHAPE_COLUMNS,
    VALUE_COLUMNS,
    Row,
    candidate_cells,
    fit_cells,
    likely_types,
    shape_text,
)
from jaxstruc.result import Candidate, Result
from jaxstruc.small_angle.result import SaxsResult

MAX_CANDIDATES_SHOWN = 5
"""Largest number of candidates in the short table."""
MIN_STRONG_CORRELATION = 0.5
"""Smallest absolute value of a correlation that the short table shows."""
CANDIDATE_COLUMNS = (
    *"rank description type n_atoms diameter rw gap weight in_90 source family recipe converged remark".split(),
    *VALUE_COLUMNS,
    *NOTE_COLUMNS,
)
"""Columns of candidates/STEM.csv for PDFs. `gap` is the difference to the Rw of the first candidate. `weight` and
`in_90` refer to all candidates that were fitted."""
SAXS_CANDIDATE_COLUMNS = (
    *"rank body distribution weight in_90 chi2 rw radius radius_error pd pd_error r_eq mean_diameter width".split(),
    *"scale scale_error background background_error power_scale power_scale_error median sigma".split(),
    *(f"{name}_{k}{end}" for k in (1, 2, 3) for name in ("radius", "pd", "share") for end in ("", "_error")),
    *(f"{name}{end}" for name in SHAPE_COLUMNS for end in ("", "_error")),
    *"converged remark".split(),
)
"""Columns of candidates/STEM.csv for SAXS."""


@singledispatch
def headline(result: Result) -> str:
    """Return one line with the file, its answer, and the message."""
    return " ".join(f"{result.label}: {result.status}: {result.message}".split())


@headline.register
def _(result: PdfResult) -> str:
    if not result.candidates:
        return _classifier_headline(result)
    best = result.best
    file = f" ({Path(best.recipe).name})" if best.source == "file" else ""
    text = f"{result.label} ({result.element}): {_weak_prefix(result)}{best.label}{file}, Rw {best.rw:.3f}"
    text += f", {result.ties} in the 90 % set" if result.n_fitted > 1 else ""
    return text + _message(result)


@headline.register
def _(result: SaxsResult) -> str:
    if not result.candidates:
        return headline.dispatch(Result)(result)
    best = result.best
    radius, pd, mean_diameter, width = (result.intervals[name] for name in ("radius", "pd", "mean_diameter", "width"))
    text = f"{result.label}: {_weak_prefix(result)}{result.body}, {best.family}, "
    text += f"radius {radius.value:.4g} Å ({radius.low:.4g} to {radius.high:.4g}), "
    text += f"pd {pd.value:.3g} ({pd.low:.3g} to {pd.high:.3g}) by number, "
    text += f"mean diameter {mean_diameter.value:.4g} Å ({mean_diameter.low:.4g} to {mean_diameter.high:.4g}), "
    text += f"width {width.value:.3g} ({width.low:.3g} to {width.high:.3g}) by volume, chi2 {best.notes['chi2']:.3g}"
    return text + shape_text(result) + _message(result)


@singledispatch
def short_table(result: Result) -> str:
    """Return the answer and the best candidates, as a few lines of text."""
    return headline(result)


@short_table.register
def _(result: PdfResult) -> str:
    lines = [headline(result)]
    candidates = result.candidates[:MAX_CANDIDATES_SHOWN]
    width = max((len(candidate.label) for candidate in candidates), default=0)
    for rank, candidate in enumerate(candidates, start=1):
        lines.append(
            f"{rank:3d}  {candidate.label:{width}s}  Rw {candidate.rw:.4f}  weight {candidate.weight:6.3f}"
            f"  ({_source(candidate)})"
        )
    if len(result.candidates) > MAX_CANDIDATES_SHOWN:
        lines.append(f"     ... {result.n_fitted} candidates fitted, {result.ties} in the 90 % set")
    if result.candidates and (values := fitted_values(result)):
        lines.append("     " + values)
    if result.ensemble:
        sizes = distribution_summary(result.ensemble)
        lines.append(f"     sample: {result.sample}; as a distribution {sizes}, Rw {result.ensemble.rw:.4f}")
    if prior := result.classifier_prior:
        lines.append(
            f"     classifier: {likely_types(prior.types)}; {prior.n_screened} of {prior.n_listed} clusters selected; "
            f"effective draws after the fits: {prior.effective_samples:.0f} of {classifier_prior.N_PROPOSAL_DRAWS}"
        )
    return "\n".join(lines)


@short_table.register
def _(result: SaxsResult) -> str:
    if not result.candidates:
        return headline(result)
    best = result.best
    lines = [headline(result), "", *(f"  {name:27s} {text}" for name, text in _conditions(result).items())]
    for name, value in best.values.items():
        unit = f" {value.unit}" if value.unit else ""
        error = f" ± {value.error:.2g}{unit}" if value.error is not None else unit + _without_error(name, best)
        label = f"{name} (by number)" if name in ("radius", "pd") else name
        lines.append(f"  {label:27s} {value.value:.5g}{error}")
        if name == "pd":
            lines += _volume_lines(result)
    for name in ("median", "sigma"):
        if name in best.notes:
            lines.append(f"  {name:27s} {best.notes[name]:.5g} (lognormal, as in sasmodels)")
    strong = _strong_correlations(result)
    lines += [f"  {'correlations':27s} {', '.join(strong)}"] if strong else []
    lines.append("")
    for rank, candidate in enumerate(result.candidates[:MAX_CANDIDATES_SHOWN], start=1):
        radius, pd = candidate.values["radius"].value, candidate.values["pd"].value
        lines.append(
            f"{rank:3d}  {candidate.type}, {candidate.family}  chi2 {candidate.notes['chi2']:.4g}  "
            f"weight {candidate.weight:6.3f}  radius {radius:.4g} Å  pd {pd:.3g}"
        )
    if len(result.candidates) > MAX_CANDIDATES_SHOWN:
        lines.append(f"     ... {result.n_fitted} fits, {result.ties} in the 90 % set")
    return "\n".join(lines)


@singledispatch
def html(result: Result) -> str:
    """Return the short table of a result as HTML."""
    return f"<pre>{escape(short_table(result))}</pre>"


@html.register
def _(result: PdfResult) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", "structure", "Rw", "weight", "type", "source", "recipe"))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in _html_cells(rank, candidate)) + "</tr>"
        for rank, candidate in enumerate(result.candidates[:MAX_CANDIDATES_SHOWN], start=1)
    )
    return f"<p>{escape(headline(result))}</p><table><tr>{head}</tr>{body}</table>"


def distribution_summary(ensemble: Distribution) -> str:
    """Return mean, width and largest shares of a distribution in one line."""
    mean, width = ensemble.mean_diameter, ensemble.width
    share_texts = [
        f"{name} {share.value:.0%} ({max(share.low, 0):.0%} to {share.high:.0%})"
        for name, share in ensemble.type_shares.items()
        if share.value >= MIN_SHARE
    ]
    return (
        f"mean {mean.value:.1f} Å ({mean.low:.1f} to {mean.high:.1f}), "
        f"width {width.value:.0%} ({width.low:.0%} to {width.high:.0%}), {', '.join(share_texts)}"
    )


def fitted_values(result: Result) -> str:
    """Return the fitted values of the best candidate, with their errors, in one line."""
    value_texts = []
    for name in result.free:
        value = result.best.values[name]
        unit = f" {value.unit}" if value.unit else ""
        is_rigid = name == "relaxation" and f"{name} at its bound" not in result.best.remark
        without_error = f"{unit} ({'rigid' if is_rigid else 'at its bound'})"
        error = f" ± {value.error:.1g}{unit}" if value.error is not None else without_error
        number = f"{value.value:.2f}" if name == "relaxation" else f"{value.value:.4g}"
        value_texts.append(f"{name} {number}{error}")
    return ", ".join(value_texts)


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
    return [{name: row[name] for name in SAXS_CANDIDATE_COLUMNS if name in row} for row in rows]


def correlation(result: Result, candidate: Candidate) -> list[Row]:
    """Return the rows of the correlation matrix of the fitted values. The names are in the column ""."""
    matrix = np.zeros((0, 0)) if candidate.correlation is None else candidate.correlation
    return [
        {"": name, **dict(zip(result.free, line, strict=True))}
        for name, line in zip(result.free, matrix.tolist(), strict=False)
    ]


def distribution(result: Result) -> list[Row]:
    """Return a row for each size of the distribution."""
    columns = {name: column.tolist() for name, column in result.distribution.items()}
    return [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)]


def print_settings(title: str, rows: Iterable[Setting], *, stream: TextIO | None = None) -> None:
    """Print each setting with its unit and its origin. The default of the stream is stdout."""
    import rich.console
    import rich.table

    table = rich.table.Table("setting", "value", "unit", "origin", title=title, title_justify="left")
    for name, value, origin in rows:
        table.add_row(name, f"{value:g}", UNITS.get(name, ""), origin)
    console = rich.console.Console()
    with console.capture() as captured_table:
        console.print(table)
    print(
        captured_table.get(), end="", file=stream
    )  # rich itself would exit with status 1 if the reader of the output has ended


def write(path: Path, columns: Iterable[str], rows: Iterable[Mapping]) -> None:
    """Write rows as CSV. Numbers have six significant digits, and missing cells are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    files.write_text(path, text.getvalue())


def json_line(row: Mapping) -> str:
    """Return the cells of a row as one line of JSON, with numbers as in the CSV file and the units of the columns.

    Missing cells and cells without a finite number are left out.
    """
    cells = {name: value for name, cell in row.items() if (value := _json_value(cell)) is not None}
    units = {name: text for name in cells if (text := summary.unit(name))}
    return json.dumps(cells | {"units": units}, allow_nan=False)


def _json_value(value) -> str | float | int | bool | None:
    """Return a cell as a value of JSON; None if it is empty or not finite."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return float(_cell(value)) if math.isfinite(value) else None
    return value if isinstance(value, bool | int | None) else _cell(value) or None


def _classifier_headline(result: PdfResult) -> str:
    """Return the types and sizes that the classifier predicts, or the reason of a failure, in one line."""
    if not result.types:
        return headline.dispatch(Result)(result)
    types = ", ".join(f"{name} {share:.0%}" for name, share in list(result.types.items())[:2] if share >= 0.01)
    atoms, diameter = result.intervals["n_atoms"], result.intervals["diameter"]
    if math.isinf(atoms.high):
        return f"{result.label}: {types}; at least {atoms.low:.0f} atoms, at least {diameter.low:.1f} Å" + _message(
            result
        )
    text = f"{result.label}: {types}; {atoms.value:.0f} atoms ({atoms.low:.0f} to {atoms.high:.0f}), "
    return text + f"{diameter.value:.1f} Å ({diameter.low:.1f} to {diameter.high:.1f})" + _message(result)


def _weak_prefix(result: Result) -> str:
    return "weak: " if result.status == "weak" else ""


def _message(result: Result) -> str:
    return f" ({result.message})" if result.message else ""


def _source(candidate: Candidate) -> str:
    """Return the source of a candidate. For a structure of the user it is the name of the file."""
    return f"file {Path(candidate.recipe).name}" if candidate.source == "file" else candidate.source


def _html_cells(rank: int, candidate: Candidate) -> tuple:
    rw, weight = f"{candidate.rw:.4f}", f"{candidate.weight:.3f}"
    return rank, candidate.label, rw, weight, candidate.type, candidate.source, candidate.recipe


def _conditions(result: SaxsResult) -> dict[str, str]:
    """Return program, model, range, smearing, noise, misfit and units of a SAXS fit as texts by name."""
    best, q, facts = result.best, np.asarray(result.q), result.facts
    lines = {
        "program": f"jaxstruc {result.versions.get('jaxstruc', '')}",
        "model": f"{best.type}, distribution of sizes: {best.family}, weight {best.weight:.3g}",
        "Q range": f"{q[0]:.4g} to {q[-1]:.4g} 1/Å, {len(q)} points",
        "smearing": "pinhole, with dQ from the file" if facts.get("smeared") else "none",
        "noise": "inferred from the data" if facts.get("noise_inferred") else "errors from the file",
        "chi2/(points - parameters)": f"{best.notes['chi2']:.4g}",
    }
    if sizes := result.sizes:
        lines["radii that Q determines"] = f"{sizes.min_determined_radius:.4g} to {sizes.max_determined_radius:.4g} Å"
    if "n_populations" in facts:
        lines["populations"] = f"{facts['n_populations']}"
    if "contrast" in facts:
        lines["contrast"] = f"{facts['contrast']:.4g} 10⁻⁶/Å² in {facts['solvent']}; the scale is the volume fraction"
    return lines | {"unit of I": facts.get("intensity_unit") or "not stated"}


def _volume_lines(result: SaxsResult) -> list[str]:
    """Return the lines of the volume-weighted mean diameter and width, with their 90 % intervals."""
    lines = []
    for name, unit in (("mean_diameter", " Å"), ("width", "")):
        interval = result.intervals[name]
        label = f"{name} (by volume)"
        lines.append(f"  {label:27s} {interval.value:.5g}{unit} ({interval.low:.4g} to {interval.high:.4g})")
    return lines


def _without_error(name: str, best: Candidate) -> str:
    """Return the reason why a value has no error, or "" for a free distribution, whose values are not fitted."""
    if best.family == "free":
        return ""
    return " (at its bound)" if name.split("_")[0] in best.remark else " (fixed)"


def _strong_correlations(result: SaxsResult) -> list[str]:
    """Return texts of the strong correlations between fitted values of the best fit, e.g. "scale radius -0.92"."""
    matrix = result.best.correlation
    if matrix is None:
        return []
    pairs = [(a, b) for a in range(len(matrix)) for b in range(a) if abs(matrix[a, b]) > MIN_STRONG_CORRELATION]
    return [f"{result.free[b]} {result.free[a]} {matrix[a, b]:.2f}" for a, b in pairs]


def _ranking(rank: int, candidate: Candidate) -> Row:
    """Return rank, remark, membership in the 90 % set and convergence of a candidate, as cells."""
    flags = {name: "yes" if getattr(candidate, name) else "no" for name in ("in_90", "converged")}
    return {"rank": rank, "remark": candidate.remark, **flags}


def _cell(value) -> str:
    """Return a value as text without line breaks."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return " ".join(str(value).split())
