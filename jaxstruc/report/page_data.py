"""Data that the page of results shows for each curve: texts, thinned curves, sizes, candidates and structures, as JSON.

All texts are composed here, so that the scripts of the page only place and draw them. Numbers are rounded to the
precision of a picture. The tables and structures in the folder of results have all digits.
"""

import math
from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxstruc.clusters.structure_type import layer_types
from jaxstruc.parameters import UNITS
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import methods_text, tables
from jaxstruc.report.summary import MIN_SHARE, Row
from jaxstruc.result import Candidate, Result
from jaxstruc.small_angle.result import SaxsResult
from jaxstruc.statistics import Interval

JsonData = dict[str, Any]
POSITION_STEP = 0.001
"""Step of the positions of atoms on the page, in Å. They are written as whole numbers of steps."""
CURVE_DIGITS = 3
"""Digits of a curve, beyond those of its largest value."""
MIN_LOG_RANGE = 30.0
"""Smallest ratio of the largest to the smallest radius that is drawn on a logarithmic axis."""
MIN_DRAWN_DENSITY = 1e-2
"""Smallest density, relative to the largest one, of the sizes that are drawn."""


class Thinning(NamedTuple):
    """Largest amounts of data of one curve on the page."""

    points: int
    candidates: int
    labels: int
    """Number of the best candidates whose descriptions are written."""
    structures: int
    atoms: int
    """Number of atoms of all structures together. The best structure is always written."""


DETAILED = Thinning(points=600, candidates=200, labels=200, structures=5, atoms=5000)
"""Thinning of a page with few curves."""
COMPACT = Thinning(points=300, candidates=80, labels=20, structures=3, atoms=900)
"""Thinning of a page with up to 200 curves, which keeps it below 10 MB for 100 curves."""
MAX_DETAILED_CURVES = 20
"""Largest number of curves on a page that are shown in detail."""


MAX_NEIGHBOUR_GAIN = 0.02
"""Largest relative decrease of Rw with the structures of the curve before that is not mentioned."""


class PageEntry(NamedTuple):
    """One curve of the page."""

    row: Row
    """Cells of the summary by column."""
    result: Result
    """Saved result. Without a saved result it only has what the row states."""
    remark: str = ""
    """Reason why details are missing."""


def curve_data(entry: PageEntry, thinning: Thinning) -> JsonData:
    """Return the data of one curve."""
    result = entry.result
    return {
        "stem": str(entry.row.get("stem", "")),
        "file": file_label(entry),
        "status": result.status,
        "message": result.message,
        "remark": " ".join(filter(None, (entry.remark, neighbour_remark(entry)))),
        "answer": answer(result) or str(next(filter(None, map(entry.row.get, ("description", "type", "body"))), "")),
        "facts": key_numbers(result),
        "fit": fit_data(result, thinning),
        "prediction": prediction_data(result, thinning),
        "sizes": size_data(result),
        "structures": structure_data(result, thinning),
        "candidates": candidate_data(result, thinning),
        "types": type_data(result),
        "values": value_rows(result),
        "settings": setting_rows(result),
        "methods": "" if result.status == "failed" else methods_text.methods_paragraph(result),
        "sha256": result.sha256,
    }


def neighbour_remark(entry: PageEntry) -> str:
    """Return a remark if the structure of the curve before fits better, or has another type; otherwise ""."""
    rw, neighbour_rw = (entry.row.get(name) for name in ("rw", "neighbour_rw"))
    if not rw or not neighbour_rw:
        return ""
    type_name, neighbour_type = entry.row.get("type", ""), entry.row.get("neighbour_type", "")
    is_better = float(neighbour_rw) < (1 - MAX_NEIGHBOUR_GAIN) * float(rw)
    if not is_better and (type_name == neighbour_type or entry.row.get("sample") == "distribution"):
        return ""
    comparison = "fits better" if is_better else "has another type"
    return (
        f"The best structure of the curve before {comparison}: {neighbour_type or 'no type'} with Rw "
        f"{float(neighbour_rw):.3f} instead of {type_name or 'no type'} with Rw {float(rw):.3f} from scratch."
    )


def file_label(entry: PageEntry) -> str:
    """Return the name of the file, with the number of the curve in a file with several curves."""
    name = Path(str(entry.row.get("file", ""))).name
    frame = entry.result.frame
    return name if frame is None else f"{name}, curve {frame}"


@singledispatch
def answer(result: Result) -> str:
    """Return the answer in words; empty if there is none."""
    return ""


@answer.register
def _(result: PdfResult) -> str:
    if result.ensemble and result.sample == "distribution":
        sizes = tables.distribution_summary(result.ensemble).removeprefix("mean ")
        return f"A distribution of particles with a mean diameter by volume of {sizes}"
    if result.candidates:
        return _label(result.best)
    return f"{result.type}, probability {result.type_probability:.2f}" if result.types else ""


@answer.register
def _(result: SaxsResult) -> str:
    if not result.candidates:
        return ""
    best = result.best
    shape = result.body if result.body == best.type else f"shape {result.body}; best fit: {best.type}"
    return f"{shape}, {best.family} distribution of sizes"


def _label(candidate: Candidate) -> str:
    """Return the description of a candidate, with the name of its file for a structure of the user."""
    if candidate.source == "body":
        return f"{candidate.type}, {candidate.family}"
    return f"{candidate.label} ({Path(candidate.recipe).name})" if candidate.source == "file" else candidate.label


@singledispatch
def key_numbers(result: Result) -> list[tuple[str, str]]:
    """Return the most important numbers as pairs of name and text."""
    return []


@key_numbers.register
def _(result: PdfResult) -> list[tuple[str, str]]:
    numbers = [("Rw", f"{result.best.rw:.3f}")] if result.candidates else []
    if result.ensemble and result.sample == "distribution" and result.candidates:
        numbers[0] = ("Rw of the distribution with a background", f"{result.ensemble.rw:.3f}")
        numbers.append(("best single structure", f"{result.best.label}, Rw {result.best.rw:.3f}"))
    if result.ensemble:
        numbers.append(("sample", result.sample))
    labels = {
        "n_atoms": ("atoms", "", ".0f"),
        "diameter": ("longest diameter", " Å", ".1f"),
        "width": ("width of the distribution", "", ".0%"),
        "hexagonal": ("hexagonal layers", "", ".0%"),
    }
    numbers += _interval_texts(result.intervals, labels)
    if result.n_fitted > 1:
        numbers.append(("90 % set", f"{result.ties} of {result.n_fitted} candidates"))
    return numbers


@key_numbers.register
def _(result: SaxsResult) -> list[tuple[str, str]]:
    if not result.candidates:
        return []
    labels = {
        "mean_diameter": ("mean diameter by volume", " Å", ".4g"),
        "width": ("width by volume", "", ".0%"),
        "radius": ("mean radius by number", " Å", ".4g"),
        "pd": ("polydispersity by number", "", ".0%"),
        "aspect_ratio": ("aspect ratio", "", ".3g"),
        "shell_thickness": ("thickness of the shell", " Å", ".3g"),
        "volume_fraction": ("volume fraction of hard spheres", "", ".3g"),
    }
    chi2 = ("reduced χ²", f"{result.best.notes['chi2']:.3g}")
    populations = result.facts.get("n_populations")
    counts = [("populations", str(populations))] if populations is not None else []
    return [chi2, *_interval_texts(result.intervals, labels), *counts]


def _interval_texts(
    intervals: Mapping[str, Interval], labels: Mapping[str, tuple[str, str, str]]
) -> list[tuple[str, str]]:
    """Return intervals as pairs of name and text; the labels hold name, unit and format."""
    texts = []
    for name, (label, unit, form) in labels.items():
        if (interval := intervals.get(name)) is None:
            continue
        if math.isinf(interval.high):
            texts.append((label, f"at least {interval.low:{form}}{unit}"))
        else:
            texts.append((label, f"{interval.value:{form}}{unit} ({interval.low:{form}} to {interval.high:{form}})"))
    return texts


@singledispatch
def fit_data(result: Result, thinning: Thinning) -> JsonData | None:
    """Return data, fit and background of the best candidate, thinned; None if there is no curve.

    The key `range` has the ends of the fitted range.
    """
    return None


def _axis_names(kind: str) -> JsonData:
    """Return the names of the axes of a figure of G(r) or Q I(Q)."""
    if kind == "iq":
        return {"axes": ["Q (1/Å)", "Q I(Q)"]}
    return {"axes": ["r (Å)", "G (1/Å²)"]}


@fit_data.register
def _(result: PdfResult, thinning: Thinning) -> JsonData | None:
    if not _has_curve(result):
        return None
    curve = result.curve()
    rows = _evenly(len(curve.x), thinning.points)
    if result.kind == "iq":
        curve = curve._replace(**{name: curve.x * column for name, column in curve._asdict().items() if name != "x"})
    scale = float(np.abs(curve.observed).max())
    data = _axis_names(result.kind) | {
        "kind": "pdf",
        "label": "fit of the best structure" if result.n_fitted > 1 else "fit",
        "x": rounded(curve.x[rows], largest=1.0),
        "data": rounded(curve.observed[rows], largest=scale),
        "fit": rounded(curve.calculated[rows], largest=scale),
        "range": [float(curve.x[0]), float(curve.x[-1])],
    }
    ensemble = result.ensemble
    if ensemble is not None and ensemble.calculated is not None and ensemble.sample != "single":
        calculated = curve.x * ensemble.calculated if result.kind == "iq" else ensemble.calculated
        data["ensemble"] = rounded(calculated[rows], largest=scale)
        data["ensemble_label"] = f"distribution with a background, Rw {ensemble.rw:.3f}"
    if np.any(curve.background):
        data["background"] = rounded(curve.background[rows], largest=scale)
    return data


@fit_data.register
def _(result: SaxsResult, thinning: Thinning) -> JsonData | None:
    if not _has_curve(result) or result.sigma is None:
        return None
    curve, sigma = result.curve(), np.asarray(result.sigma)
    rows = _log_evenly(curve.x, thinning.points)
    data = {
        "kind": "saxs",
        "x": significant(curve.x[rows]),
        "data": significant(curve.observed[rows]),
        "fit": significant(curve.calculated[rows]),
        "residual": significant((curve.observed[rows] - curve.calculated[rows]) / sigma[rows], digits=3),
        "sigma": significant(sigma[rows], digits=2),
        "range": [float(curve.x[0]), float(curve.x[-1])],
    }
    return data | ({"background": significant(curve.background[rows])} if np.any(curve.background > 0) else {})


def _has_curve(result: Result) -> bool:
    return bool(result.candidates) and result.candidates[0].calculated is not None and result.data[0] is not None


def prediction_data(result: Result, thinning: Thinning) -> JsonData | None:
    """Return the data and the predictions of both models beyond the middle cut; None if nothing was predicted."""
    ensemble = result.ensemble if isinstance(result, PdfResult) else None
    if not isinstance(result, PdfResult) or ensemble is None or not ensemble.holdouts or not len(ensemble.r):
        return None
    holdout = ensemble.holdouts[len(ensemble.holdouts) // 2]
    rows = np.flatnonzero(ensemble.r > 0.45 * holdout.cut)
    rows = rows[_evenly(len(rows), thinning.points // 2)]
    columns = {"data": ensemble.observed, "distribution": ensemble.predicted, "single": ensemble.predicted_single}
    if result.kind == "iq":
        columns = {name: ensemble.r * column for name, column in columns.items()}
    scale = float(np.abs(columns["data"]).max())
    return _axis_names(result.kind) | {
        "x": rounded(ensemble.r[rows], largest=1.0),
        **{name: rounded(column[rows], largest=scale) for name, column in columns.items()},
        "cut": round(holdout.cut, 2),
        "end": round(holdout.end, 2),
        "rw": {"distribution": round(holdout.ensemble, 3), "single": round(holdout.single, 3)},
    }


@singledispatch
def size_data(result: Result) -> JsonData | None:
    """Return the distribution of sizes by volume and by number, with bands and limits; None if there is none.

    The key `limits` has the smallest and the largest size that the data can determine.
    """
    return None


@size_data.register
def _(result: PdfResult) -> JsonData | None:
    ensemble = result.ensemble
    if ensemble is None:
        return None
    rows = _drawn_sizes(ensemble.volume_high, ensemble.number_high)
    parts = [row for row, name in enumerate(ensemble.types) if ensemble.type_shares[name].value >= MIN_SHARE]
    end_points = (r[-1] for r in (result.r, ensemble.r) if r is not None and len(r) and result.kind != "iq")
    data_end = max(map(float, end_points), default=0.0)
    limits_text = (
        f"The data that were used end at r = {data_end:.3g} Å. Shares of larger diameters depend on the model."
    )
    data: JsonData = {
        "axis": "diameter (Å)",
        "x": rounded(ensemble.size[rows], largest=10.0),
        "log": False,
        "unit": "%",
        "limits": [None, round(data_end, 2) or None],
        "limits_text": limits_text if data_end else "",
        "shade_text": "These diameters are shaded.",
        "types": [ensemble.types[row] for row in parts],
        "note": "Diameter of the sphere of equal volume. " + _preferred_model(result),
    }
    for name in ("volume", "number"):
        percentages = 100 * getattr(ensemble, name)
        band = {end: 100 * getattr(ensemble, f"{name}_{end}") for end in ("low", "high")}
        data[name] = {
            "line": rounded(percentages.sum(axis=0)[rows], largest=10.0),
            "parts": [rounded(percentages[row][rows], largest=10.0) for row in parts],
            **{end: rounded(column[rows], largest=10.0) for end, column in band.items()},
        }
    return data


@size_data.register
def _(result: SaxsResult) -> JsonData | None:
    sizes = result.sizes
    if sizes is None:
        return None
    rows = _drawn_sizes(np.maximum(sizes.volume, sizes.volume_high), np.maximum(sizes.number, sizes.number_high))
    limits = [sizes.min_determined_radius, sizes.max_determined_radius]
    data: JsonData = {
        "axis": "radius (Å)",
        "x": significant(sizes.radius[rows]),
        "log": bool(sizes.radius[rows[-1]] > MIN_LOG_RANGE * sizes.radius[rows[0]]),
        "unit": "density in ln R",
        "limits": [float(f"{limit:.4g}") if math.isfinite(limit) and limit > 0 else None for limit in limits],
        "limits_text": f"The range of Q determines radii from {limits[0]:.3g} to {limits[1]:.3g} Å.",
        "shade_text": "Other radii are shaded.",
        "types": [],
        "note": f"Radius of the sphere of equal volume; best fit: {sizes.method}.",
    }
    for name in ("volume", "number"):
        columns = {"line": getattr(sizes, name)} | {end: getattr(sizes, f"{name}_{end}") for end in ("low", "high")}
        largest = float(columns["line"].max())
        data[name] = {key: rounded(column[rows], largest=largest) for key, column in columns.items()} | {"parts": []}
    return data


def _drawn_sizes(*columns: np.ndarray) -> np.ndarray:
    """Return the numbers of the sizes from the first to the last one with a density that can be seen."""
    is_visible = np.any([column > MIN_DRAWN_DENSITY * column.max() for column in columns if column.any()], axis=0)
    rows = np.flatnonzero(is_visible)
    last = len(columns[0]) - 1
    return np.arange(max(rows[0] - 1, 0), min(rows[-1] + 1, last) + 1) if len(rows) else np.arange(last + 1)


def _preferred_model(result: PdfResult) -> str:
    return {
        "single": "A single structure predicts the data better than this distribution.",
        "distribution": "This distribution predicts the data better than a single structure.",
    }.get(result.sample, "It is undecided whether this distribution or a single structure predicts the data better.")


def structure_data(result: Result, thinning: Thinning) -> list[JsonData]:
    """Return the best structure and its near ties, with the type of the layer and the occupancy of each atom."""
    structures: list[JsonData] = []
    n_atoms = 0
    for rank, candidate in enumerate(result.candidates, start=1):
        if candidate.atoms is None or len(structures) >= thinning.structures:
            break
        n_atoms += len(candidate.atoms)
        if not structures or n_atoms <= thinning.atoms:
            structures.append(_structure(rank, candidate))
    return structures


def _structure(rank: int, candidate: Candidate) -> JsonData:
    """Return a structure with its positions about their centre, in steps of `POSITION_STEP`.

    Whole numbers keep the page small: each atom has one digit for its layer, and its occupancy in percent.
    """
    atoms = candidate.atoms
    assert atoms is not None
    positions = atoms.positions - atoms.positions.mean(axis=0)
    types = layer_types(positions)
    type_names = sorted(set(types), key=types.index)
    codes = "".join(str(type_names.index(name)) for name in types)
    colours: JsonData = {"layers": {"names": type_names, "codes": codes}}
    if candidate.occupancy is not None:
        colours["occupancy"] = np.round(100 * candidate.occupancy).astype(int).tolist()
    return {
        "rank": rank,
        "label": _label(candidate),
        "rw": round(candidate.rw, 4),
        "weight": float(f"{candidate.weight:.3g}"),
        "tie": candidate.in_90,
        "symbols": sorted(set(atoms.get_chemical_symbols())),
        "positions": np.round(positions / POSITION_STEP).astype(int).ravel().tolist(),
        "colours": colours,
    }


def candidate_data(result: Result, thinning: Thinning) -> JsonData | None:
    """Return diameter, Rw, weight and family of the candidates; None if there are none.

    The best candidates and every member of the 90 % set come first. The others are thinned evenly.
    """
    if not result.candidates:
        return None
    n_best = thinning.candidates // 2
    rows = [row for row, candidate in enumerate(result.candidates) if row < n_best or candidate.in_90]
    rows = rows[: thinning.candidates]
    remaining_rows = sorted(set(range(len(result.candidates))) - set(rows))
    rows += [remaining_rows[index] for index in _evenly(len(remaining_rows), thinning.candidates - len(rows))]
    drawn_candidates = [result.candidates[row] for row in rows]
    families = sorted({candidate.family for candidate in drawn_candidates})
    return {
        "fitted": result.n_fitted,
        "rank": [row + 1 for row in rows],
        "size": [round(candidate.diameter, 2) for candidate in drawn_candidates],
        "rw": [round(candidate.rw, 4) for candidate in drawn_candidates],
        "weight": [float(f"{candidate.weight:.2g}") for candidate in drawn_candidates],
        "in90": [int(candidate.in_90) for candidate in drawn_candidates],
        "families": families,
        "family": [families.index(candidate.family) for candidate in drawn_candidates],
        "labels": [_label(candidate) for candidate in drawn_candidates[: thinning.labels]],
        "size_axis": "2 x mean radius by number (Å)" if isinstance(result, SaxsResult) else "longest diameter (Å)",
    }


def type_data(result: Result) -> JsonData | None:
    """Return the types or bodies with their probabilities, or with their shares of a distribution; None if none."""
    if isinstance(result, PdfResult) and result.ensemble and result.sample == "distribution":
        intervals = result.ensemble.type_shares.items()
        rows = [[name, *_rounded_interval(share)] for name, share in intervals if share.high >= MIN_SHARE]
        return {"title": "Shares of the atoms, with 90 % intervals", "rows": rows}
    if not result.types:
        return None
    title = "Probabilities of the shapes" if isinstance(result, SaxsResult) else "Probabilities of the types"
    return {"title": title, "rows": [[name, round(value, 4), None, None] for name, value in result.types.items()]}


def _rounded_interval(interval: Interval) -> list[float]:
    return [round(float(value), 4) for value in (interval.value, max(interval.low, 0), interval.high)]


def value_rows(result: Result) -> list[list[str]]:
    """Return name, value, error, unit and state of each value of the best fit.

    A state is fitted, fixed, at its bound, or derived from fitted values. A free distribution of SAXS has no fitted
    parameters: its values are computed from the distribution.
    """
    if not result.candidates:
        return []
    best, is_free_distribution = result.best, result.best.source == "body" and result.best.family == "free"
    rows = []
    for name, value in best.values.items():
        state = "fitted" if name in result.free else "fixed" if value.error is None else "derived"
        if name.split("_")[0] in best.remark and value.error is None:
            state = "at its bound"
        if is_free_distribution and value.error is None:
            state = "from the distribution"
        error = "" if value.error is None else f"{value.error:.2g}"
        rows.append([name, f"{value.value:.5g}", error, value.unit, state])
    return rows


def setting_rows(result: Result) -> list[list[str]]:
    """Return name, value, error, unit and origin of each setting of the data."""
    errors = {name: result.facts.get(f"{name}_error") for name in ("qmin", "qdamp")}
    return [
        [
            name,
            f"{value:g}",
            "" if (error := errors.get(name)) is None else f"{error:.2g}",
            UNITS.get(name, ""),
            origin,
        ]
        for name, value, origin in result.settings
    ]


def rounded(values: np.ndarray, *, largest: float) -> list[float | None]:
    """Return values with `CURVE_DIGITS` digits beyond those of the largest value. NaN and infinity become None."""
    exponent = math.floor(math.log10(largest)) if largest > 0 and math.isfinite(largest) else 0
    return _finite(np.round(np.asarray(values, float), CURVE_DIGITS - exponent))


def significant(values: np.ndarray, *, digits: int = 4) -> list[float | None]:
    """Return values with this number of significant digits. NaN and infinity become None."""
    return _finite(np.array([float(f"{value:.{digits}g}") for value in np.asarray(values, float)]))


def _finite(values: np.ndarray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _evenly(length: int, count: int) -> np.ndarray:
    """Return at most `count` numbers from 0 to length - 1 at even steps, both ends included."""
    if count < 1 or not length:
        return np.zeros(0, int)
    return np.unique(np.linspace(0, length - 1, min(length, count)).round().astype(int))


def _log_evenly(x: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of at most `count` points, half of them at even steps in log x and half at even steps."""
    if len(x) <= count:
        return np.arange(len(x))
    log_steps = np.geomspace(max(x[0], 1e-6 * x[-1]), x[-1], count // 2)
    log_rows = np.clip(np.searchsorted(x, log_steps), 0, len(x) - 1)
    return np.unique(np.concatenate([log_rows, _evenly(len(x), count - count // 2)]))
