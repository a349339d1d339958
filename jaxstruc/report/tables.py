"""Results as tables: a row a file, a row a candidate, and a few lines for a person."""

import csv
import html as html_
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxstruc import files
from jaxstruc.data.measurement import Setting
from jaxstruc.inference import glance
from jaxstruc.inference.distribution import Distribution
from jaxstruc.inference.result import Candidate, Result
from jaxstruc.report import sized_tables
from jaxstruc.scattering.parameters import FITTED, UNITS
from jaxstruc.structures.families import TYPES

Row = dict[str, Any]

VALUES = tuple(word for name in FITTED for word in (name, f"{name}_error"))
NOTES = ("draws", "radius", "stress", "rw_unmoved", "moved")
"""What some sources know of a candidate: draws merged into it, the network's own radius in Å, the stress in radii;
and, where atoms were moved, Rw before and how far they moved, in Å."""
SUMMARY = (
    *"file status source type cluster n_atoms n_low n_high diameter rw verdict rw_unseen rw_unseen_single".split(),
    *"rw_ensemble mean_diameter mean_low mean_high width width_low width_high qmin qmin_error qmin_origin".split(),
    *"message description rw_second weight ties types".split(),
    *"diameter_low diameter_high hexagonal hexagonal_low hexagonal_high".split(),
    *VALUES,
    *"qdamp_origin qmax rmin rmax size_seen independent rw_unmoved moved".split(),
    *(f"share_{name}{end}" for name in sorted(set(TYPES.values())) for end in ("", "_low", "_high")),
    *"glance kept effective seed model seconds version sha256".split(),
)
"""Columns of summary.csv, of all commands. Origins say where qmin and qdamp came from, "inferred" from the data among
them; their errors are there where they were inferred or fitted. `diameter` and `size_seen` (read from the data) in Å;
`types`: their sums of weights; `ties`: candidates in the 90 % set; `independent`: points that the residual counts.
`n_low`, `n_high`, those of the diameter and of `hexagonal`, the best's share of such layers: 90 % intervals over all
candidates.
`verdict` to `width_high` and the shares of atoms by type are of the sample as a distribution of particles, with 90 %
intervals; sizes in Å. `glance`: the types that the classifier finds likely before any fit; `kept`: candidates that were
tried; `effective`: of 1000 draws of it, how many count once the fits of listed clusters reweight them."""
CANDIDATES = (
    *"rank source type family cluster description n_atoms diameter rw gap weight in_90 converged remark".split(),
    *VALUES,
    *NOTES,
)
"""Columns of candidates/STEM.csv, by weight. `gap` to the first's Rw; `weight` and `in_90` are of all candidates that
were fitted."""
CLASSIFIED = (
    *"file status type p_type n_atoms n_low n_high diameter diameter_low diameter_high".split(),
    *(f"{name}{end}" for name in ("width", "hexagonal", "aspect", "stretch") for end in ("", "_low", "_high")),
    *"message distance".split(),
    *(f"p_{name}" for name in sorted(set(TYPES.values()))),
    *"qmin qmax qdamp model seconds version sha256".split(),
)
"""Columns of `classify`: medians and 90 % intervals, a probability a type; `distance` from the training's PDFs, of
which some 95 % lie within 1: by the network's features, as two types of particles, or by where the data's waves end."""
SHOWN = 5
"""Candidates in the short table."""
LEAST = 0.02
"""Share of a type from which it is told."""


def row(result: Result) -> Row:
    """Return a result's row of the summary, typed: numbers are numbers, what is missing is not there."""
    if result.q is not None:
        return sized_tables.row(result)
    found: Row = {"file": result.name, "status": result.status, "message": result.message, "sha256": result.sha256}
    found |= {f"{setting.name}_origin": setting.origin for setting in result.settings}
    found |= result.given | result.facts | {"version": result.versions.get("jaxstruc", "")}
    if result.candidates:
        best = result.candidates[0]
        found |= _columns(best) | {"ties": result.ties}
        found["types"] = ", ".join(f"{name} {share:.2f}" for name, share in result.types.items() if share >= 0.005)
        if len(result.candidates) > 1:
            found["rw_second"] = result.candidates[1].rw
    for name, one in result.intervals.items():
        ends = {"n_atoms": "n"}.get(name, name)
        found |= {f"{ends}_low": one.low, f"{ends}_high": one.high} | ({name: one.value} if name == "hexagonal" else {})
    found |= _ensemble(result.ensemble) if result.ensemble else {}
    if own := result.glance:
        found |= {"glance": _likely(own.types), "kept": own.kept, "effective": own.effective}
    return {name: found[name] for name in SUMMARY if name in found}


def classified(result: Result) -> Row:
    """Return the row of a result without candidates, of the classifier."""
    found: Row = {"file": result.name, "status": result.status, "message": result.message, "sha256": result.sha256}
    found |= result.given | result.facts | {"version": result.versions.get("jaxstruc", "")}
    found |= {f"p_{name}": share for name, share in result.types.items()}
    if result.types:
        found["type"], found["p_type"] = next(iter(result.types.items()))
    for name, one in result.intervals.items():
        ends = {"n_atoms": "n"}.get(name, name)
        found |= {name: one.value, f"{ends}_low": one.low, f"{ends}_high": one.high}
    return {name: found[name] for name in CLASSIFIED if name in found}


def named(result: Result) -> str:
    """Return a result without candidates in a line: types and sizes of the classifier, or why there is nothing."""
    if not result.types:
        return " ".join(f"{result.name}: {result.status}: {result.message}".split())
    types = ", ".join(f"{name} {share:.0%}" for name, share in list(result.types.items())[:2] if share >= 0.01)
    atoms, diameter = result.intervals["n_atoms"], result.intervals["diameter"]
    text = f"{result.name}: {types}; {atoms.value:.0f} atoms ({atoms.low:.0f} to {atoms.high:.0f}), "
    text += f"{diameter.value:.1f} Å ({diameter.low:.1f} to {diameter.high:.1f})"
    return text + (f" ({result.message})" if result.message else "")


def _likely(types: Mapping[str, float]) -> str:
    """Return types with their shares, the largest first."""
    return ", ".join(f"{name} {share:.2f}" for name, share in types.items() if share >= LEAST)


def _ensemble(ensemble: Distribution) -> Row:
    """Return the columns of a sample as a distribution of particles."""
    found: Row = {"verdict": ensemble.verdict, "rw_ensemble": ensemble.rw}
    found |= {"rw_unseen": ensemble.unseen, "rw_unseen_single": ensemble.unseen_single}
    for column, ends, one in (
        ("mean_diameter", "mean", ensemble.mean_diameter),
        ("width", "width", ensemble.width),
        *((f"share_{name}", f"share_{name}", one) for name, one in ensemble.shares.items()),
    ):
        found |= {column: one.value, f"{ends}_low": one.low, f"{ends}_high": one.high}
    return found


def distribution(ensemble: Distribution) -> list[Row]:
    """Return a row for each size of a distribution."""
    columns = {name: column.tolist() for name, column in ensemble.table.items()}
    return [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)]


def said(ensemble: Distribution) -> str:
    """Return a distribution's mean, width and largest shares, in a line."""
    mean, width = ensemble.mean_diameter, ensemble.width
    shares = [
        f"{name} {one.value:.0%} ({max(one.low, 0):.0%} to {one.high:.0%})"
        for name, one in ensemble.shares.items()
        if one.value >= LEAST
    ]
    return (
        f"mean {mean.value:.1f} Å ({mean.low:.1f} to {mean.high:.1f}), "
        f"width {width.value:.0%} ({width.low:.0%} to {width.high:.0%}), {', '.join(shares)}"
    )


def candidates(result: Result) -> list[Row]:
    """Return a row for each candidate, best first."""
    return [
        _columns(candidate)
        | {
            "rank": place,
            "family": candidate.family,
            "gap": candidate.rw - result.candidates[0].rw,
            "in_90": "yes" if candidate.in_90 else "no",
            "converged": "yes" if candidate.converged else "no",
            "remark": candidate.remark,
        }
        for place, candidate in enumerate(result.candidates, start=1)
    ]


def correlation(result: Result, candidate: Candidate) -> list[Row]:
    """Return the correlation matrix of a candidate's fitted values; its first column, "", names them."""
    matrix = np.zeros((0, 0)) if candidate.correlation is None else candidate.correlation
    return [
        {"": name, **dict(zip(result.free, line, strict=True))}
        for name, line in zip(result.free, matrix.tolist(), strict=False)
    ]


def short(result: Result) -> str:
    """Return a few lines of text: what was found, and the best candidates."""
    if result.q is not None and result.candidates:
        return sized_tables.short(result)
    lines = [headline(result)]
    for place, one in enumerate(result.candidates[:SHOWN], start=1):
        lines.append(
            f"{place:3d}  Rw {one.rw:.4f}  weight {one.weight:6.3f}  {result.element}{one.n_atoms}  {name(one)}"
            f"  ({one.source})"
        )
    if len(result.candidates) > SHOWN:
        lines.append(f"     ... {result.fitted} fitted, {result.ties} in the 90 % set")
    if result.candidates:
        lines += ["     " + one for one in (result.candidates[0].description, told(result)) if one]
    if result.ensemble:
        lines.append(
            f"     sample: {result.verdict}; as a distribution {said(result.ensemble)}, Rw {result.ensemble.rw:.4f}"
        )
    if own := result.glance:
        lines.append(
            f"     at a glance: {_likely(own.types)}; {own.kept} of {own.listed} clusters tried; "
            f"{own.effective:.0f} of {glance.DRAWS} draws count after the fits"
        )
    return "\n".join(lines)


def html(result: Result) -> str:
    """Return the same as HTML."""
    if result.q is not None:
        return f"<pre>{html_.escape(short(result))}</pre>"
    head = "".join(f"<th>{name}</th>" for name in ("", "Rw", "weight", "atoms", "type", "cluster", "source"))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{html_.escape(str(cell))}</td>"
            for cell in (
                place, f"{one.rw:.4f}", f"{one.weight:.3f}", f"{result.element}{one.n_atoms}", one.type, one.cluster,
                one.source,
            )
        )
        + "</tr>"
        for place, one in enumerate(result.candidates[:SHOWN], start=1)
    )  # fmt: skip
    return f"<p>{html_.escape(headline(result))}</p><table><tr>{head}</tr>{body}</table>"


def headline(result: Result) -> str:
    """Return one line: the file, what it is, and what a person should know."""
    if not result.candidates:
        return named(result)
    if result.q is not None:
        return sized_tables.headline(result)
    best = result.candidates[0]
    text = f"{result.name}: {'weak: ' if result.status == 'weak' else ''}{result.element}{best.n_atoms}, {name(best)}, "
    text += f"Rw {best.rw:.3f}"
    text += f", {result.ties} in the 90 % set" if result.fitted > 1 else ""
    return text + (f" ({result.message})" if result.message else "")


def told(result: Result) -> str:
    """Return the best candidate's fitted values with their errors, in a line."""
    words = []
    for name in result.free:
        value = result.candidates[0].values[name]
        error = f" ± {value.error:.1g}" if value.error is not None else " (at its bound)"
        words.append(f"{name} {value.value:.4g}{error}{' ' + value.unit if value.unit else ''}")
    return ", ".join(words)


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


def _columns(candidate: Candidate) -> Row:
    """Return what summary and table of candidates share."""
    found = {
        name: getattr(candidate, name)
        for name in ("source", "type", "cluster", "description", "n_atoms", "diameter", "rw", "weight")
    }
    for name, value in candidate.values.items():
        found[name] = value.value
        if value.error is not None:
            found[f"{name}_error"] = value.error
    return found | {name: candidate.notes[name] for name in NOTES if name in candidate.notes}


def name(candidate: Candidate) -> str:
    """Return a candidate's family and its parameters."""
    return candidate.cluster if candidate.source == "file" else f"{candidate.family} {candidate.cluster}"


def _cell(value) -> str:
    """Return a value as text; a file's own text must not break the line."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return " ".join(str(value).split())
