"""Results of many curves as a series: values with bands, types, outliers and change points, as tables.

The curves are ordered by a quantity such as temperature. Everything is made from a folder of results.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxstruc import change_points
from jaxstruc.options.series import SeriesOptions
from jaxstruc.report import page_entries, series_positions, summary, tables
from jaxstruc.report.page_data import PageEntry
from jaxstruc.small_angle.result import SaxsResult

NORMAL_90 = 1.645
"""Half-width of the central 90 % interval of a normal distribution, in standard deviations."""
OUTLIER_WINDOW, MAX_OUTLIER_SCORE = 7, 3.5
"""Number of frames of the running median with which Rw is compared, and largest modified z-score of an Rw that is no
outlier (B. Iglewicz, D. C. Hoaglin, How to detect and handle outliers, ASQC, 1993)."""
N_COMPONENTS = 3
"""Number of principal components of the measured curves that are searched for changes."""
MIN_CHANGE_FRAMES = 2 * change_points.MIN_SEGMENT
"""Smallest number of frames in which changes are searched."""
MAX_MAP_POINTS = 10_000
"""Largest number of points of a measured curve."""
MEASURED_CURVES = "measured curves"
"""Name of the measured curves in the table of changes."""


class SeriesQuantity(NamedTuple):
    """One quantity of all frames, with its 90 % band."""

    name: str
    """Name of the column of the summary."""
    title: str
    value: np.ndarray
    """[frame] Value; NaN if there is none."""
    low: np.ndarray
    high: np.ndarray

    @property
    def unit(self) -> str:
        """Unit of the quantity; empty if it has none."""
        return summary.unit(self.name)


class CurveMap(NamedTuple):
    """Measured and calculated curves of all frames on one axis."""

    axis: np.ndarray
    """[point] r in Å, or Q in 1/Å."""
    observed: np.ndarray
    """[frame, point] Measured curve; NaN outside its range."""
    calculated: np.ndarray
    """[frame, point] Calculated curve of the best structure or body; NaN if there is none."""
    is_small_angle: bool


class Change(NamedTuple):
    """A change point of one quantity."""

    quantity: str
    frame: int
    """First frame after the change, counted from 0."""


class Series(NamedTuple):
    """Results of many curves, ordered by their positions."""

    x_name: str
    x: np.ndarray
    """[frame] Position, e.g. temperature."""
    entries: Sequence[PageEntry]
    quantities: Sequence[SeriesQuantity]
    types: Mapping[str, np.ndarray]
    """[frame] Probability or share of each type; NaN for a failed frame."""
    curve_map: CurveMap | None
    """Measured curves; None if no result has one."""
    is_outlier: np.ndarray
    """[frame] Whether Rw differs clearly from that of the neighbours."""
    changes: Sequence[Change]


QUANTITIES = {
    "n_atoms": "Number of atoms", "diameter": "Longest diameter", "mean_diameter": "Mean diameter by volume",
    "width": "Width of the distribution by volume", "radius": "Mean radius by number",
    "pd": "Polydispersity by number", "rw": "Rw", "neighbour_rw": "Rw of the structure of the curve before",
    "chi2": "Reduced χ²", "stretch": "Stretch", "uiso": "Uiso", "delta1": "delta1", "delta2": "delta2",
    "relaxation": "Relaxation", "hexagonal": "Share of hexagonal layers", "scale": "Scale",
    "background": "Background", "qdamp": "qdamp", "volume_fraction": "Volume fraction of hard spheres",
    "aspect_ratio": "Aspect ratio", "shell_thickness": "Thickness of the shell",
}  # fmt: skip
"""Titles of the quantities that a series shows, by the names of their columns."""


def read_series(out: Path, options: SeriesOptions) -> Series:
    """Return the series of a folder of results.

    Args:
        out: Folder of the results.
        options: Quantity by which the curves are ordered.

    Raises:
        ValueError: If there are fewer than two curves, or if a curve has no position.
    """
    rows = page_entries.read_rows(out)
    if len(rows) < 2:
        raise ValueError(f"Expected at least two curves in {out}, got {len(rows)}; a series has several.")
    x = np.array(series_positions.positions(rows, options))
    order = np.argsort(x, kind="stable")
    saved_folder = None if page_entries.is_classification(rows) else out
    run_options = page_entries.read_options(out)
    entries = [page_entries.read_entry(rows[index], saved_folder, run_options, {}) for index in order]
    quantities = _quantities(entries)
    curve_map, types = _curve_map(entries), _types(entries)
    return Series(
        options.x_from,
        x[order],
        entries,
        quantities,
        types,
        curve_map,
        _outliers(quantities, len(entries)),
        _changes(quantities, types, curve_map),
    )


def write_tables(series: Series, out: Path) -> list[Path]:
    """Write the tables of a series: series.csv, series_changes.csv and series_curves.csv, and return their paths."""
    paths = [out / "series.csv", out / "series_changes.csv"]
    rows = [_row(series, frame) for frame in range(len(series.x))]
    tables.write(paths[0], list(dict.fromkeys(name for row in rows for name in row)), rows)
    tables.write(paths[1], ("quantity", "frame", f"{series.x_name}_before", series.x_name, "file"), change_rows(series))
    if series.curve_map is not None:
        paths.append(out / "series_curves.csv")
        names = [f"{position:g}" for position in series.x]
        axis_name = "Q" if series.curve_map.is_small_angle else "r"
        columns = [axis_name, *(f"{number}: {name}" for number, name in enumerate(names, start=1))]
        map_rows = zip(series.curve_map.axis, series.curve_map.observed.T, strict=True)
        tables.write(paths[-1], columns, [dict(zip(columns, [point, *row], strict=True)) for point, row in map_rows])
    return paths


def change_rows(series: Series) -> list[dict[str, Any]]:
    """Return the rows of the table of changes."""
    return [
        {
            "quantity": change.quantity,
            "frame": change.frame + 1,
            f"{series.x_name}_before": series.x[change.frame - 1],
            series.x_name: series.x[change.frame],
            "file": series.entries[change.frame].row["file"],
        }
        for change in series.changes
    ]


def _row(series: Series, frame: int) -> dict[str, Any]:
    """Return the row of a frame in series.csv."""
    row = series.entries[frame].row
    cells = {name: row.get(name, "") for name in ("file", "frame", "status", "type")}
    cells = {series.x_name: series.x[frame]} | cells
    for quantity in series.quantities:
        columns = {"": quantity.value, "_low": quantity.low, "_high": quantity.high}
        cells |= {f"{quantity.name}{end}": float(column[frame]) for end, column in columns.items()}
    cells |= {f"p_{name}": float(column[frame]) for name, column in series.types.items()}
    changed = [change.quantity for change in series.changes if change.frame == frame]
    return cells | {"rw_outlier": "yes" if series.is_outlier[frame] else "no", "changes": ", ".join(changed)}


def _quantities(entries: Sequence[PageEntry]) -> list[SeriesQuantity]:
    """Return the quantities that at least two frames have, with 90 % bands from intervals or standard errors.

    Fixed quantities are left out: those with one value and no band.
    """
    quantities = []
    for name, title in QUANTITIES.items():
        ends = {"n_atoms": "n"}.get(name, name)
        value, low, high, error = (
            np.array([_number(entry, column) for entry in entries])
            for column in (name, f"{ends}_low", f"{ends}_high", f"{name}_error")
        )
        half_width = np.where(np.isfinite(error), NORMAL_90 * error, 0.0)
        low, high = (np.where(np.isfinite(end), end, value + sign * half_width) for end, sign in ((low, -1), (high, 1)))
        is_constant = np.nanmin(low, initial=np.inf) == np.nanmax(high, initial=-np.inf)
        if np.isfinite(value).sum() >= 2 and not is_constant:
            quantities.append(SeriesQuantity(name, title, value, low, high))
    return quantities


def _number(entry: PageEntry, column: str) -> float:
    number = page_entries.cell_number(entry.row, column)
    return np.nan if number is None or entry.row["status"] == "failed" else number


def _types(entries: Sequence[PageEntry]) -> dict[str, np.ndarray]:
    """Return the probability or share of each type or body in all frames, in the order of the largest ones."""
    names = {name for entry in entries for name in entry.result.types if name}
    columns = {
        name: np.array([entry.result.types.get(name, 0.0) if entry.result.types else np.nan for entry in entries])
        for name in sorted(names)
    }
    order = sorted(columns, key=lambda name: -np.nansum(columns[name]))
    return {name: columns[name] for name in order if np.nanmax(columns[name]) >= summary.MIN_TYPE_WEIGHT}


def _curve_map(entries: Sequence[PageEntry]) -> CurveMap | None:
    """Return the measured and calculated curves, interpolated on the finest axis; None if there are none."""
    data = [entry.result.data for entry in entries]
    axes = [np.asarray(axis) for axis, _ in data if axis is not None]
    if not axes:
        return None
    axis = max(axes, key=len)[:MAX_MAP_POINTS]
    observed, calculated = (np.full((len(entries), len(axis)), np.nan) for _ in range(2))
    for frame, (entry, (frame_axis, values)) in enumerate(zip(entries, data, strict=True)):
        if frame_axis is None or values is None:
            continue
        observed[frame] = _interpolate(axis, frame_axis, values)
        if entry.result.candidates and entry.result.candidates[0].calculated is not None:
            calculated[frame] = _interpolate(axis, frame_axis, entry.result.candidates[0].calculated)
    is_small_angle = any(isinstance(entry.result, SaxsResult) for entry in entries)
    return CurveMap(axis, observed, calculated, is_small_angle)


def _interpolate(axis: np.ndarray, frame_axis: np.ndarray, values: np.ndarray) -> np.ndarray:
    if len(frame_axis) == len(axis) and np.array_equal(frame_axis, axis):
        return np.asarray(values, float)
    return np.interp(axis, frame_axis, values, left=np.nan, right=np.nan)


def _outliers(quantities: Sequence[SeriesQuantity], n_frames: int) -> np.ndarray:
    """Return which frames have an Rw (or χ²) that differs from the running median by more than the others do."""
    quantity = next((quantity for quantity in quantities if quantity.name in ("rw", "chi2")), None)
    is_outlier = np.zeros(n_frames, bool)
    if quantity is None:
        return is_outlier
    frames = np.flatnonzero(np.isfinite(quantity.value))
    if len(frames) < OUTLIER_WINDOW:
        return is_outlier
    values = quantity.value[frames]
    padded_values = np.pad(values, OUTLIER_WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded_values, OUTLIER_WINDOW)
    difference = values - np.median(windows, axis=1)
    deviation = 1.4826 * np.median(np.abs(difference))
    is_outlier[frames] = np.abs(difference) > MAX_OUTLIER_SCORE * max(deviation, 1e-12)
    return is_outlier


def _changes(
    quantities: Sequence[SeriesQuantity], types: Mapping[str, np.ndarray], curve_map: CurveMap | None
) -> list[Change]:
    """Return the change points of all quantities, types and of the measured curves, in the order of the frames."""
    columns = {quantity.name: quantity.value[:, None] for quantity in quantities}
    columns |= {f"share of {name}": share[:, None] for name, share in types.items()}
    if curve_map is not None:
        columns[MEASURED_CURVES] = _components(curve_map)
    changes = []
    for name, values in columns.items():
        frames = np.flatnonzero(np.isfinite(values).all(axis=1))
        if len(frames) >= MIN_CHANGE_FRAMES:
            first_frames = change_points.change_points(values[frames], n_tests=len(columns))
            changes += [Change(name, int(frames[frame])) for frame in first_frames]
    return sorted(changes, key=lambda change: change.frame)


def _components(curve_map: CurveMap) -> np.ndarray:
    """Return the largest principal components of the measured curves [frame, component]; NaN for a missing curve.

    The logarithm of I(Q) is taken. Points that some curves lack are left out.
    """
    values = curve_map.observed
    if curve_map.is_small_angle:
        values = np.log(np.where(values > 0, values, np.nan))
    has_curve = np.isfinite(values).any(axis=1)
    is_common = np.isfinite(values[has_curve]).all(axis=0)
    components = np.full((len(values), min(N_COMPONENTS, int(has_curve.sum()), int(is_common.sum()))), np.nan)
    centred_values = values[has_curve][:, is_common]
    centred_values = centred_values - centred_values.mean(axis=0)
    left_vectors, singular_values, _ = np.linalg.svd(centred_values, full_matrices=False)
    n_components = components.shape[1]
    components[has_curve] = left_vectors[:, :n_components] * singular_values[:n_components]
    return components
