"""What `solve` shows and writes: tables, structures, fits and pictures. Every file appears whole or not at all."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import ase
import ase.io
import matplotlib.figure
import numpy as np
import rich.console
import rich.table

from jaxstruc import files
from jaxstruc.measured import Setting

SUMMARY = (
    "file sha256 status message n_atoms rw rw_second mined mined_atoms rw_mined scale stretch uiso delta2 "
    "qmin qmax qdamp qbroad rmin rmax seconds seed model version"
).split()
"""Columns of summary.csv."""

CANDIDATES = "rank draws n_atoms rw scale stretch uiso delta2 radius stress fit_converged remark".split()
"""Columns of candidates/<stem>.csv; `radius` is the network's own, in Å, `stress` in radii."""

UNITS = {
    "qmin": "1/Å",
    "qmax": "1/Å",
    "qdamp": "1/Å",
    "qbroad": "1/Å",
    "rmin": "Å",
    "rmax": "Å",
    "rstep": "Å",
}


def print_settings(title: str, settings: Iterable[Setting]) -> None:
    """Print each setting with its unit and where it came from."""
    table = rich.table.Table("setting", "value", "unit", "from", title=title, title_justify="left")
    for name, value, origin in settings:
        table.add_row(name, f"{value:g}", UNITS.get(name, ""), origin)
    rich.console.Console().print(table)


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Mapping]) -> None:
    """Write rows as CSV; numbers with six significant digits, missing ones empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    files.write_text(path, text.getvalue())


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_structure(path: Path, atoms: ase.Atoms, comment: Mapping) -> None:
    """Write a structure as extended XYZ, with the comment's values in its second line."""
    atoms = atoms.copy()
    atoms.info = {name: round(v, 6) if isinstance(v, float) else v for name, v in comment.items()}
    with files.replacing(path) as part:
        ase.io.write(part, atoms, format="extxyz")


def write_fit(
    stem: Path,
    r: np.ndarray,
    observed: np.ndarray,
    calculated: np.ndarray,
    *,
    title: str,
    rmin: float,
    rmax: float,
) -> None:
    """Write a fit as <stem>.csv and, as this field plots it, <stem>.png.

    Args:
        stem: path without its suffix.
        r: in Å.
        observed: measured G(r), in 1/Å².
        calculated: fitted G(r), in 1/Å².
        title: of the picture.
        rmin: start of the fit, in Å.
        rmax: end of the fit, in Å.
    """
    columns = ("r", "G_obs", "G_calc", "G_diff")
    rows = np.stack([r, observed, calculated, observed - calculated], axis=1)
    write_table(stem.with_name(stem.name + ".csv"), columns, (dict(zip(columns, row, strict=True)) for row in rows))
    figure = fit_figure(r, observed, calculated, title=title, rmin=rmin, rmax=rmax)
    with files.replacing(stem.with_name(stem.name + ".png")) as part:
        figure.savefig(part, format="png", dpi=150)


def fit_figure(
    r: np.ndarray, observed: np.ndarray, calculated: np.ndarray, *, title: str, rmin: float, rmax: float
) -> matplotlib.figure.Figure:
    """Return the field's usual plot: data as circles, the fit as a line, the difference below with a dashed zero."""
    figure = matplotlib.figure.Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    thin = max(1, len(r) // 400)
    low, high = min(observed.min(), calculated.min()), max(observed.max(), calculated.max())
    difference = observed - calculated
    offset = low - 0.1 * (high - low) - difference.max()
    axes.plot(r[::thin], observed[::thin], "o", ms=3.5, mfc="none", mec="C0", mew=0.8, label="data")
    axes.plot(r, calculated, "-", color="C3", lw=1.3, label="fit")
    axes.axhline(offset, color="0.5", lw=0.8, ls="--")
    axes.plot(r, difference + offset, "-", color="C2", lw=1.0, label="difference")
    axes.set(xlim=(rmin, rmax), xlabel="r (Å)", ylabel="G (Å$^{-2}$)")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, ncols=3, loc="upper right", fontsize=9)
    return figure


def _cell(value) -> str:
    """Return a value as text; a file's own text must not break the line."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return " ".join(str(value).split())


def write_families(
    path: Path, families: list[str], diameters: np.ndarray, rw: np.ndarray, credible: np.ndarray, *, title: str
) -> None:
    """Write a picture of Rw against size, by family; candidates in the 90 % set are ringed.

    Args:
        path: of the .png.
        families: of each candidate.
        diameters: in Å.
        rw: of each.
        credible: which lie in the 90 % set.
        title: of the picture.
    """
    figure = matplotlib.figure.Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    markers = "os^vDPX*<>"
    names = np.array(families)
    for number, name in enumerate(sorted(set(families))):
        of_it = names == name
        axes.plot(diameters[of_it], rw[of_it], markers[number % len(markers)], ms=4, alpha=0.7, label=name)
    axes.plot(diameters[credible], rw[credible], "o", ms=10, mfc="none", mec="k", mew=1, label="90 % set")
    axes.set(xlabel="largest distance (Å)", ylabel="Rw")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    with files.replacing(path) as part:
        figure.savefig(part, format="png", dpi=150)
