"""Pictures of results."""

from pathlib import Path

import matplotlib.figure
import numpy as np

from jaxstruc import files
from jaxstruc.inference.result import Result
from jaxstruc.report import tables

MARKERS = "os^vDPX*<>"


def fit(result: Result, *, rank: int = 1) -> matplotlib.figure.Figure:
    """Return the field's usual plot: data as circles, the fit as a line, the difference below with a dashed zero.

    Args:
        result: what was found.
        rank: of the candidate.

    Raises:
        ValueError: where that candidate has no curve.
    """
    r, observed, calculated, _ = result.curve(rank)
    candidate = result.candidates[rank - 1]
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
    axes.set(xlim=(r[0], r[-1]), xlabel="r (Å)", ylabel="G (Å$^{-2}$)")
    name = f"{Path(result.name).name}: {result.element}{candidate.n_atoms}, {tables.name(candidate)}"
    axes.set_title(f"{name}, Rw = {candidate.rw:.3f}", fontsize=10, wrap=True)
    axes.legend(frameon=False, ncols=3, loc="upper right", fontsize=9)
    return figure


def families(result: Result) -> matplotlib.figure.Figure:
    """Return a picture of Rw against size, by family; candidates in the 90 % set are ringed."""
    figure = matplotlib.figure.Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    names = np.array([one.family for one in result.candidates])
    size = np.array([one.diameter for one in result.candidates])
    rw = np.array([one.rw for one in result.candidates])
    credible = np.array([one.in_90 for one in result.candidates])
    for number, name in enumerate(sorted(set(names.tolist()))):
        of_it = names == name
        axes.plot(size[of_it], rw[of_it], MARKERS[number % len(MARKERS)], ms=4, alpha=0.7, label=name)
    axes.plot(size[credible], rw[credible], "o", ms=10, mfc="none", mec="k", mew=1, label="90 % set")
    axes.set(xlabel="largest distance (Å)", ylabel="Rw")
    axes.set_title(f"{Path(result.name).name}: the best {len(names)} of {result.fitted} candidates", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def write(path: Path, figure: matplotlib.figure.Figure) -> None:
    """Write a picture as PNG, whole or not at all."""
    with files.replacing(path) as part:
        figure.savefig(part, format="png", dpi=150)
