"""Pictures of structures and PDFs."""

from pathlib import Path

import matplotlib.collections
import matplotlib.colors
import matplotlib.figure
import matplotlib.patches
import numpy as np
from matplotlib.axes import Axes

from jaxstruc import files

TURN, TILT = np.radians(18.0), np.radians(-70.0)
"""About z, then about x: the view, along no direction that hides rows of atoms behind one another."""
TRUE, REBUILT, DIFFERENCE = "0.45", "C3", "C2"
"""Colours, the same in all pictures."""


def spheres(axes: Axes, positions: np.ndarray, *, bond: float, reach: float, colour: str | np.ndarray) -> None:
    """Draw atoms [atom, 3] as touching circles, the nearest last and darkest.

    Args:
        axes: to draw in.
        positions: in Å; those that are not finite are left out.
        bond: diameter of the circles, in Å.
        reach: half of the picture's width, in Å.
        colour: of the nearest atoms; or of each atom [atom, 3], were it the nearest.
    """
    there = np.isfinite(positions).all(axis=1)
    seen = (positions[there] - _middle(positions)) @ view().T
    order = np.argsort(seen[:, 2])
    seen = seen[order]
    near = (seen[:, 2:] - seen[:1, 2]) / max(float(np.ptp(seen[:, 2])) if len(seen) else 0.0, 1e-6)
    full = np.array(matplotlib.colors.to_rgb(colour)) if isinstance(colour, str) else colour[there][order]
    shades = 1 - (0.2 + 0.8 * near) * (1 - full)
    circles = [matplotlib.patches.Circle(place, bond / 2) for place in seen[:, :2]]
    axes.add_collection(
        matplotlib.collections.PatchCollection(circles, facecolors=shades, edgecolors=shades * 0.45, linewidths=0.4)
    )
    axes.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def overlay(axes: Axes, true: np.ndarray, found: np.ndarray) -> None:
    """Draw found positions as dots within rings at the true ones, both in radii."""
    axes.scatter(true[:, 0], true[:, 1], s=40, facecolors="none", edgecolors="0.6", linewidths=0.8)
    axes.scatter(found[:, 0], found[:, 1], s=6, c=found[:, 2], cmap="viridis")
    axes.set(aspect="equal", xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xticks=[], yticks=[])


def pdfs(axes: Axes, r: np.ndarray, true: np.ndarray, rebuilt: np.ndarray) -> None:
    """Draw a PDF [r] and the reconstructed ones [curve, r], and their differences below about a dashed zero.

    The axis ends at the multiple of 5 Å after the last point that can be seen.
    """
    difference = true - rebuilt
    low, high = min(true.min(), rebuilt.min()), max(true.max(), rebuilt.max())
    offset = low - 0.08 * (high - low) - difference.max()
    thin = {"color": REBUILT, "lw": 1.1 if len(rebuilt) == 1 else 0.6}
    axes.plot(r, true, color=TRUE, lw=2.4, label="true")
    axes.plot(r, rebuilt[0], **thin, label="reconstructed")
    axes.plot(r, difference[0] + offset, color=DIFFERENCE, lw=0.8, label="difference")
    axes.axhline(offset, color="0.5", lw=0.8, ls="--")
    if len(rebuilt) > 1:
        axes.plot(r, rebuilt[1:].T, **thin)
        axes.plot(r, difference[1:].T + offset, color=DIFFERENCE, lw=0.5)
    some = r[np.any(np.abs([true, *rebuilt]) > 0.02 * np.abs(true).max(), axis=0)]
    axes.set(xlim=(r[0], min(r[-1], 5 * np.ceil(some.max(initial=r[0] + 1) / 5))), ylabel="G (Å$^{-2}$)")


def reach(structures: list[np.ndarray], *, bond: float) -> float:
    """Return half of the width, in Å, that shows all of some structures at one scale."""
    inside = [each[np.isfinite(each).all(axis=1)] - _middle(each) for each in structures]
    return max(float(np.linalg.norm(each, axis=1).max(initial=0.0)) for each in inside) + 0.6 * bond


def save(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a picture, whole or not at all."""
    with files.replacing(path) as part:
        figure.savefig(part, dpi=150, format="png")


def view() -> np.ndarray:
    """Return the rotation of the view [3, 3]: its third row points at the reader."""
    about_x = np.array([[1, 0, 0], [0, np.cos(TILT), -np.sin(TILT)], [0, np.sin(TILT), np.cos(TILT)]])
    about_z = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]])
    return about_x @ about_z


def _middle(positions):
    finite = positions[np.isfinite(positions).all(axis=1)]
    return finite.mean(axis=0) if len(finite) else np.zeros(3)
