"""Pictures of results of small angles."""

from pathlib import Path

import matplotlib.figure
import numpy as np

from jaxstruc.inference.result import Result


def fit(result: Result, *, rank: int = 1) -> matplotlib.figure.Figure:
    """Return I(Q) on logarithmic axes with the fit, residuals over the noise below, the sizes with their band beside.

    Args:
        result: what was found.
        rank: of the fit.

    Raises:
        ValueError: where that fit has no curve.
    """
    q, observed, calculated, background = result.curve(rank)
    sigma = np.asarray(result.sigma)
    figure = matplotlib.figure.Figure(figsize=(11, 5), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1), width_ratios=(1.6, 1))
    axes, below = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    thin = max(1, len(q) // 300)
    shown = observed[::thin] > 0
    axes.errorbar(
        q[::thin][shown], observed[::thin][shown], sigma[::thin][shown], fmt="o", ms=3.5, mfc="none", mec="C0",
        ecolor="C0", elinewidth=0.6, mew=0.8, label="data", zorder=1,
    )  # fmt: skip
    axes.plot(q, calculated, "-", color="C3", lw=1.4, label="fit", zorder=2)
    if np.any(background > 0):
        axes.plot(q, np.where(background > 0, background, np.nan), "--", color="0.5", lw=0.9, label="background")
    low, high = observed[observed > 0].min(), max(observed.max(), calculated.max())
    axes.set(xscale="log", yscale="log", ylim=(low / 2, high * 2), xlim=(q[0] / 1.05, q[-1] * 1.05))
    axes.set_ylabel("I(Q)")
    axes.tick_params(labelbottom=False)
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    residual = (observed - calculated) / sigma
    below.axhline(0, color="0.5", lw=0.8, ls="--")
    below.plot(q, residual, ".", color="C2", ms=3)
    reach = max(4.0, 1.1 * float(np.abs(residual).max()))
    below.set(xscale="log", xlim=axes.get_xlim(), ylim=(-reach, reach), xlabel="Q (1/Å)", ylabel="residual / σ")
    _sizes(figure.add_subplot(grid[:, 1]), result, "volume")
    figure.suptitle(_title(result, rank), fontsize=10, wrap=True)
    return figure


def distribution(result: Result) -> matplotlib.figure.Figure:
    """Return a picture of the sizes by volume and by number, with their bands.

    Raises:
        ValueError: where there are none.
    """
    if result.sizes is None:
        raise ValueError(f"Expected sizes for {result.name}, got none: {result.message}")
    figure = matplotlib.figure.Figure(figsize=(10, 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("volume", "number"), strict=True):
        _sizes(axes, result, name)
    figure.suptitle(_title(result, 1), fontsize=10, wrap=True)
    return figure


def _sizes(axes, result: Result, name: str) -> None:
    """Draw the density of sizes, by volume or by number, over the radius."""
    own = result.sizes
    if own is None:
        axes.set_axis_off()
        return
    line, low, high = (getattr(own, f"{name}{end}") / own.radius for end in ("", "_low", "_high"))
    axes.fill_between(own.radius, low, high, color="C0", alpha=0.25, lw=0, label="90 % band")
    axes.plot(own.radius, line, "-", color="C0", lw=1.5, label=own.method)
    seen = np.flatnonzero(np.maximum(line, high) > 0.005 * line.max())
    axes.set(xlim=(own.radius[seen[0]] / 1.05, own.radius[seen[-1]] * 1.05), ylim=(0, None))
    axes.set(xlabel="radius (Å)", ylabel=f"density by {name} (1/Å)")
    axes.legend(frameon=False, fontsize=9)


def _title(result: Result, rank: int) -> str:
    best, radius, pd = result.candidates[rank - 1], result.intervals["radius"], result.intervals["pd"]
    return (
        f"{Path(result.name).name}: {best.type}, {best.family}; radius {radius.value:.4g} Å "
        f"({radius.low:.4g} to {radius.high:.4g}), pd {pd.value:.3g} ({pd.low:.3g} to {pd.high:.3g}), "
        f"$\\chi^2$ {best.notes['chi2']:.3g}; body: {result.body}"
    )
