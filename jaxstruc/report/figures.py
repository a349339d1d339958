"""Figures of results: data with fit, Rw of the candidates, distributions of sizes, and probabilities of types."""

from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path

import matplotlib.figure
import matplotlib.ticker
import numpy as np

from jaxstruc import files
from jaxstruc.pdf.distribution import Distribution
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report.summary import MIN_SHARE, shape_text
from jaxstruc.result import Result
from jaxstruc.small_angle.result import SaxsResult

FAST_COMPRESSION = 1
"""Level of the compression of PNG files. A file is a tenth larger than with the default level and is written faster."""
MARKERS = "os^vDPX*<>"
MAX_NAMED_FILES = 40
"""Largest number of curves whose names are shown in a figure."""
MAX_LINEAR_RATIO = 8.0
"""Largest ratio of two radii that are drawn on a linear axis."""
MIN_DRAWN_SHARE, MIN_DRAWN_DENSITY = 2e-3, 5e-3
"""Smallest share of a size, and smallest density relative to the largest one, that the axis of sizes includes."""


@singledispatch
def fit(result: Result, *, rank: int = 1) -> matplotlib.figure.Figure:
    """Return a figure of the data (circles), the fit (line) and the difference.

    Args:
        result: Result of one measurement.
        rank: Rank of the candidate; 1 is the best.

    Raises:
        ValueError: If this candidate has no curve.
    """
    raise TypeError(f"Expected a PdfResult or SaxsResult, got {type(result).__name__}; load it again.")


@singledispatch
def distribution(result: Result) -> matplotlib.figure.Figure:
    """Return a figure of the distribution of sizes, by volume and by number.

    Raises:
        ValueError: If the result has no distribution.
    """
    raise TypeError(f"Expected a PdfResult or SaxsResult, got {type(result).__name__}; load it again.")


@fit.register
def _(result: PdfResult, *, rank: int = 1) -> matplotlib.figure.Figure:
    """Return a figure of G(r) with the fit, and of the difference below them. A dashed line shows its zero.

    An I(Q) is drawn as Q I(Q), because its intensities differ by orders of magnitude.
    """
    r, observed, calculated, _ = result.curve(rank)
    if result.kind == "iq":
        observed, calculated = r * observed, r * calculated
    candidate = result.candidates[rank - 1]
    figure = matplotlib.figure.Figure(figsize=(7.5, 4.5))
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.11, top=0.88)
    axes = figure.add_subplot()
    stride = max(1, len(r) // 400)
    low, high = min(observed.min(), calculated.min()), max(observed.max(), calculated.max())
    difference = observed - calculated
    offset = low - 0.1 * (high - low) - difference.max()
    axes.plot(r[::stride], observed[::stride], "o", ms=3.5, mfc="none", mec="C0", mew=0.8, label="data")
    axes.plot(r, calculated, "-", color="C3", lw=1.3, label="fit")
    axes.axhline(offset, color="0.5", lw=0.8, ls="--")
    axes.plot(r, difference + offset, "-", color="C2", lw=1.0, label="difference")
    axes.set(xlim=(r[0], r[-1]), **_axis_labels(result.kind))
    title = f"{candidate.label}\n{Path(result.label).name} ({result.element}), Rw = {candidate.rw:.3f}"
    axes.set_title(title, fontsize=10, wrap=True)
    axes.legend(frameon=False, ncols=3, loc="upper right", fontsize=9)
    return figure


def _axis_labels(kind: str) -> dict[str, str]:
    """Return the labels of the axes of a figure of G(r), or of Q I(Q)."""
    if kind == "iq":
        return {"xlabel": "Q (1/Å)", "ylabel": "Q I(Q)"}
    return {"xlabel": "r (Å)", "ylabel": "G (Å$^{-2}$)"}


@fit.register
def _(result: SaxsResult, *, rank: int = 1) -> matplotlib.figure.Figure:
    """Return a figure of I(Q) with the fit, of the residual divided by the noise, and of the distribution of sizes."""
    q, observed, calculated, background = result.curve(rank)
    sigma = np.asarray(result.sigma)
    figure = matplotlib.figure.Figure(figsize=(11, 5))
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.1, top=0.87, wspace=0.2, hspace=0.06)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1), width_ratios=(1.6, 1))
    axes, residual_axes = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    stride = max(1, len(q) // 300)
    is_positive = observed[::stride] > 0
    axes.errorbar(
        q[::stride][is_positive],
        observed[::stride][is_positive],
        sigma[::stride][is_positive],
        fmt="o",
        ms=3.5,
        mfc="none",
        mec="C0",
        ecolor="C0",
        elinewidth=0.6,
        mew=0.8,
        label="data",
        zorder=1,
    )
    axes.plot(q, calculated, "-", color="C3", lw=1.4, label="fit", zorder=2)
    if np.any(background > 0):
        axes.plot(q, np.where(background > 0, background, np.nan), "--", color="0.5", lw=0.9, label="background")
    low, high = observed[observed > 0].min(), max(observed.max(), calculated.max())
    axes.set(xscale="log", yscale="log", ylim=(low / 2, high * 2), xlim=(q[0] / 1.05, q[-1] * 1.05))
    axes.set_ylabel("I(Q)")
    axes.tick_params(labelbottom=False)
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    residual = (observed - calculated) / sigma
    residual_axes.axhline(0, color="0.5", lw=0.8, ls="--")
    residual_axes.plot(q, residual, ".", color="C2", ms=3)
    max_residual = max(4.0, 1.1 * float(np.abs(residual).max()))
    residual_axes.set(xscale="log", xlim=axes.get_xlim(), ylim=(-max_residual, max_residual))
    residual_axes.set(xlabel="Q (1/Å)", ylabel="residual / σ")
    _draw_densities(figure.add_subplot(grid[:, 1]), result, "volume")
    figure.suptitle(_saxs_title(result, rank), fontsize=10, wrap=True)
    return figure


@distribution.register
def _(result: PdfResult) -> matplotlib.figure.Figure:
    """Return a figure of the sizes by volume and by number, stacked by type, and of predictions beyond a cut in r."""
    ensemble = result.ensemble
    if ensemble is None:
        raise ValueError(f"Expected a distribution for {result.name}, got none; solve it with --ensemble auto.")
    figure = matplotlib.figure.Figure(figsize=(12, 4))
    figure.subplots_adjust(left=0.05, right=0.985, bottom=0.13, top=0.84, wspace=0.2)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.5))
    size = ensemble.size
    rows = np.flatnonzero((ensemble.volume_high > MIN_DRAWN_SHARE) | (ensemble.number_high > MIN_DRAWN_SHARE))
    size_range = (size[rows[0]] / 1.1, size[rows[-1]] * 1.1) if len(rows) else (size[0], size[-1])
    type_rows = [row for row, name in enumerate(ensemble.types) if ensemble.type_shares[name].value >= MIN_SHARE]
    for axes, name, unit in zip(panels[:2], ("volume", "number"), ("atoms", "particles"), strict=True):
        share, low, high = (getattr(ensemble, f"{name}{end}") for end in ("", "_low", "_high"))
        labels = [f"{ensemble.types[row]} {ensemble.type_shares[ensemble.types[row]].value:.0%}" for row in type_rows]
        colors = [f"C{row}" for row in type_rows]
        axes.stackplot(size, 100 * share[type_rows], labels=labels, colors=colors, alpha=0.8)
        axes.plot(size, 100 * low, "k--", lw=0.9, label="90 % band")
        axes.plot(size, 100 * high, "k--", lw=0.9)
        axes.set(xlim=size_range, ylim=(0, None), xlabel="diameter (Å)", ylabel=f"% of the {unit}")
        axes.set_title(f"by {name}", fontsize=10)
    panels[0].legend(frameon=False, fontsize=8, loc="upper right")
    _draw_prediction(panels[2], ensemble, result.kind)
    figure.suptitle(f"{Path(result.label).name}: {ensemble.sample}; {_size_summary(ensemble)}", fontsize=10)
    return figure


@distribution.register
def _(result: SaxsResult) -> matplotlib.figure.Figure:
    """Return a figure of the densities of sizes by volume and by number, with their 90 % bands."""
    if result.sizes is None:
        raise ValueError(f"Expected sizes for {result.name}, got none: {result.message}")
    figure = matplotlib.figure.Figure(figsize=(11, 4))
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.13, top=0.84, wspace=0.2)
    for axes, name in zip(figure.subplots(1, 2), ("volume", "number"), strict=True):
        _draw_densities(axes, result, name)
    figure.suptitle(_saxs_title(result, 1), fontsize=10, wrap=True)
    return figure


def families(result: PdfResult) -> matplotlib.figure.Figure:
    """Return a figure of Rw against diameter, by family.

    Circles mark the 90 % set, which is the smallest set of candidates with 90 % of the weight.
    """
    figure = matplotlib.figure.Figure(figsize=(7.5, 4.5))
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.11, top=0.92)
    axes = figure.add_subplot()
    names = np.array([candidate.family for candidate in result.candidates])
    size = np.array([candidate.diameter for candidate in result.candidates])
    rw = np.array([candidate.rw for candidate in result.candidates])
    credible = np.array([candidate.in_90 for candidate in result.candidates])
    for number, name in enumerate(sorted(set(names.tolist()))):
        in_family = names == name
        axes.plot(size[in_family], rw[in_family], MARKERS[number % len(MARKERS)], ms=4, alpha=0.7, label=name)
    axes.plot(size[credible], rw[credible], "o", ms=10, mfc="none", mec="k", mew=1, label="90 % set")
    axes.set(xlabel="diameter (Å)", ylabel="Rw")
    axes.set_title(f"{Path(result.label).name}: the best {len(names)} of {result.n_fitted} candidates", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def types(results: Sequence[PdfResult]) -> matplotlib.figure.Figure:
    """Return a figure of the probabilities of types, as a stacked bar for each curve, or as areas for many curves."""
    typed_results = [result for result in results if result.types]
    names = sorted(typed_results[0].types) if typed_results else []
    n_files = len(typed_results)
    figure = matplotlib.figure.Figure(figsize=(max(5.0, min(16.0, 2 + 0.3 * n_files)), 4), layout="constrained")
    axes = figure.add_subplot()
    positions, bottom = np.arange(n_files), np.zeros(n_files)
    shows_file_names = n_files <= MAX_NAMED_FILES
    for name in names:
        top = bottom + [result.types[name] for result in typed_results]
        if shows_file_names:
            axes.bar(positions, top - bottom, 0.85, bottom, label=name)
        else:
            low, high = (np.append(height, height[-1]) for height in (bottom, top))
            axes.fill_between(np.arange(n_files + 1) - 0.5, low, high, step="post", linewidth=0, label=name)
        bottom = top
    file_names = [Path(result.label).name for result in typed_results]
    axes.set_xticks(positions if shows_file_names else [], file_names if shows_file_names else [])
    axes.tick_params(axis="x", labelrotation=90, labelsize=7)
    axes.set(ylim=(0, 1), xlim=(-0.6, n_files - 0.4), ylabel="probability")
    axes.set_xlabel("" if shows_file_names else f"{n_files} curves in their order")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def write(path: Path, figure: matplotlib.figure.Figure) -> None:
    """Write a figure as PNG, completely or not at all."""
    with files.atomic_replacement(path) as temporary_path:
        figure.savefig(temporary_path, format="png", dpi=150, pil_kwargs={"compress_level": FAST_COMPRESSION})


def _size_summary(ensemble: Distribution) -> str:
    """Return the mean diameter and the relative width of a distribution, with their 90 % intervals, as text."""
    mean, width = ensemble.mean_diameter, ensemble.width
    return (
        f"mean {mean.value:.1f} Å ({mean.low:.1f} to {mean.high:.1f}), "
        f"width {width.value:.0%} ({width.low:.0%} to {width.high:.0%})"
    )


def _draw_prediction(axes, ensemble: Distribution, kind: str) -> None:
    """Draw the data with the curves of the best cluster and of the distribution.

    Both models are fitted up to a cut in r, or to all points of an I(Q) but those of a range. The range in which they
    are predictions is shaded.
    """
    if not ensemble.holdouts or not len(ensemble.r):
        axes.text(
            0.5, 0.5, "no data beyond the fitted range to predict", ha="center", va="center", transform=axes.transAxes
        )
        axes.set_axis_off()
        return
    middle_holdout = ensemble.holdouts[len(ensemble.holdouts) // 2]
    in_view = ensemble.r > 0.45 * middle_holdout.cut
    r = ensemble.r[in_view]
    factor = r if kind == "iq" else 1.0
    axes.axvspan(middle_holdout.cut, middle_holdout.end, color="0.92", zorder=0)
    axes.plot(r, factor * ensemble.observed[in_view], "o", ms=3, mfc="none", mec="C0", mew=0.7, label="data")
    single_label, ensemble_label = (
        f"one cluster, Rw {middle_holdout.single:.2f}",
        f"distribution, Rw {middle_holdout.ensemble:.2f}",
    )
    axes.plot(r, factor * ensemble.predicted_single[in_view], "-", color="C1", lw=1.1, label=single_label)
    axes.plot(r, factor * ensemble.predicted[in_view], "-", color="C3", lw=1.3, label=ensemble_label)
    is_intensity = kind == "iq"
    right = 1.5 * middle_holdout.end if is_intensity else middle_holdout.end
    axes.set(xlim=(r[0], min(right, r[-1])), **_axis_labels(kind))
    ranges = f"fitted up to {middle_holdout.cut:.1f} Å, predicted beyond (shaded)"
    axes.set_title("fitted outside the shaded range, predicted in it" if is_intensity else ranges, fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper right")


def _draw_densities(axes, result: SaxsResult, name: str) -> None:
    """Draw the density of sizes, by volume or by number, against the radius.

    Sizes that differ by a large factor are drawn on a logarithmic axis, with the density in ln R. Sizes that the range
    of Q does not determine are shaded.
    """
    sizes = result.sizes
    if sizes is None:
        axes.set_axis_off()
        return
    line, low, high = (getattr(sizes, f"{name}{end}") for end in ("", "_low", "_high"))
    radius = sizes.radius[np.maximum(line, high) / sizes.radius > MIN_DRAWN_DENSITY * (line / sizes.radius).max()]
    unit = "1/Å"
    if radius[-1] > MAX_LINEAR_RATIO * radius[0]:
        axes.set_xscale("log")
        radius, unit = sizes.radius[np.maximum(line, high) > MIN_DRAWN_DENSITY * line.max()], "in ln R"
    else:
        line, low, high = (column / sizes.radius for column in (line, low, high))
    axes.fill_between(sizes.radius, low, high, color="C0", alpha=0.25, lw=0, label="90 % band")
    axes.plot(sizes.radius, line, "-", color="C0", lw=1.5, label=sizes.method)
    limits = radius[0] / 1.05, radius[-1] * 1.05
    undetermined_ranges = (limits[0], sizes.min_determined_radius), (sizes.max_determined_radius, limits[1])
    visible_ranges = [(start, end) for start, end in undetermined_ranges if start < end]
    for index, (start, end) in enumerate(visible_ranges):
        label = None if index else "not determined by Q"
        axes.axvspan(max(start, limits[0]), min(end, limits[1]), color="0.9", zorder=0, label=label)
    if axes.get_xscale() == "log":
        axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes.set(xlim=limits, ylim=(0, None), xlabel="radius (Å)", ylabel=f"density by {name} ({unit})")
    axes.legend(frameon=False, fontsize=9)


def _saxs_title(result: SaxsResult, rank: int) -> str:
    best = result.candidates[rank - 1]
    radius, pd, mean_diameter, width = (
        f"{interval.value:.3g} ({interval.low:.3g} to {interval.high:.3g})"
        for interval in (result.intervals[name] for name in ("radius", "pd", "mean_diameter", "width"))
    )
    return (
        f"{Path(result.label).name}: {best.type}, {best.family}, $\\chi^2$ {best.notes['chi2']:.3g}; "
        f"body: {result.body}{shape_text(result)}\nby number: radius {radius} Å, pd {pd}; "
        f"by volume: mean diameter {mean_diameter} Å, width {width}"
    )
