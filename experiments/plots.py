"""Functions that draw structures and PDFs."""

from pathlib import Path

import matplotlib.collections
import matplotlib.colors
import matplotlib.figure
import matplotlib.patches
import numpy as np
from matplotlib.axes import Axes

from jaxstruc import files

VIEW_TURN, VIEW_TILT = np.radians(18.0), np.radians(-70.0)
"""Rotation angles of the view about z, then about x. With them no row of atoms is hidden behind another."""
TRUE_COLOUR, REBUILT_COLOUR, DIFFERENCE_COLOUR = "0.45", "C3", "C2"
"""Colours of all pictures."""


def draw_spheres(axes: Axes, positions: np.ndarray, *, bond: float, reach: float, colour: str | np.ndarray) -> None:
    """Draw atoms [atom, 3] as touching circles, the nearest last and darkest.

    Args:
        axes: Axes in which to draw.
        positions: Positions of the atoms, in Å. Positions that are not finite are left out.
        bond: Diameter of the circles, in Å.
        reach: Half of the picture's width, in Å.
        colour: Colour of the nearest atoms, or the colour [atom, 3] of each atom if it were the nearest.
    """
    is_finite = np.isfinite(positions).all(axis=1)
    view_positions = (positions[is_finite] - _mean_position(positions)) @ view_rotation().T
    order = np.argsort(view_positions[:, 2])
    view_positions = view_positions[order]
    nearness = (view_positions[:, 2:] - view_positions[:1, 2]) / max(
        float(np.ptp(view_positions[:, 2])) if len(view_positions) else 0.0, 1e-6
    )
    nearest_colours = (
        np.array(matplotlib.colors.to_rgb(colour)) if isinstance(colour, str) else colour[is_finite][order]
    )
    shades = 1 - (0.2 + 0.8 * nearness) * (1 - nearest_colours)
    circles = [matplotlib.patches.Circle(centre, bond / 2) for centre in view_positions[:, :2]]
    axes.add_collection(
        matplotlib.collections.PatchCollection(circles, facecolors=shades, edgecolors=shades * 0.45, linewidths=0.4)
    )
    axes.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_overlay(axes: Axes, true_positions: np.ndarray, found_positions: np.ndarray) -> None:
    """Draw found positions as dots and true ones as rings, both in units of the particle's radius."""
    axes.scatter(true_positions[:, 0], true_positions[:, 1], s=40, facecolors="none", edgecolors="0.6", linewidths=0.8)
    axes.scatter(found_positions[:, 0], found_positions[:, 1], s=6, c=found_positions[:, 2], cmap="viridis")
    axes.set(aspect="equal", xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xticks=[], yticks=[])


def draw_pdfs(axes: Axes, r: np.ndarray, true_pdf: np.ndarray, rebuilt_pdfs: np.ndarray) -> None:
    """Draw a PDF [r], reconstructed PDFs [curve, r], and below them their differences about a dashed zero line.

    The axis ends at the multiple of 5 Å after the last visible point.
    """
    difference = true_pdf - rebuilt_pdfs
    lowest, highest = min(true_pdf.min(), rebuilt_pdfs.min()), max(true_pdf.max(), rebuilt_pdfs.max())
    offset = lowest - 0.08 * (highest - lowest) - difference.max()
    line_style = {"color": REBUILT_COLOUR, "lw": 1.1 if len(rebuilt_pdfs) == 1 else 0.6}
    axes.plot(r, true_pdf, color=TRUE_COLOUR, lw=2.4, label="true")
    axes.plot(r, rebuilt_pdfs[0], **line_style, label="reconstructed")
    axes.plot(r, difference[0] + offset, color=DIFFERENCE_COLOUR, lw=0.8, label="difference")
    axes.axhline(offset, color="0.5", lw=0.8, ls="--")
    if len(rebuilt_pdfs) > 1:
        axes.plot(r, rebuilt_pdfs[1:].T, **line_style)
        axes.plot(r, difference[1:].T + offset, color=DIFFERENCE_COLOUR, lw=0.5)
    visible_r = r[np.any(np.abs([true_pdf, *rebuilt_pdfs]) > 0.02 * np.abs(true_pdf).max(), axis=0)]
    axes.set(xlim=(r[0], min(r[-1], 5 * np.ceil(visible_r.max(initial=r[0] + 1) / 5))), ylabel="G (Å$^{-2}$)")


def half_width(structures: list[np.ndarray], *, bond: float) -> float:
    """Return half of the width of a picture that shows any of these structures on the same scale, in Å."""
    centred_positions = [
        positions[np.isfinite(positions).all(axis=1)] - _mean_position(positions) for positions in structures
    ]
    return (
        max(float(np.linalg.norm(positions, axis=1).max(initial=0.0)) for positions in centred_positions) + 0.6 * bond
    )


def save_figure(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a picture to a file, which appears only when it is complete."""
    with files.atomic_replacement(path) as temporary_path:
        figure.savefig(temporary_path, dpi=150, format="png")


def view_rotation() -> np.ndarray:
    """Return the rotation matrix of the view [3, 3]. Its third row points towards the viewer."""
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(VIEW_TILT), -np.sin(VIEW_TILT)], [0, np.sin(VIEW_TILT), np.cos(VIEW_TILT)]]
    )
    about_z = np.array(
        [[np.cos(VIEW_TURN), -np.sin(VIEW_TURN), 0], [np.sin(VIEW_TURN), np.cos(VIEW_TURN), 0], [0, 0, 1]]
    )
    return about_x @ about_z


def _mean_position(positions):
    finite_positions = positions[np.isfinite(positions).all(axis=1)]
    return finite_positions.mean(axis=0) if len(finite_positions) else np.zeros(3)
