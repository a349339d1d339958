"""Checks of the points of a curve over Q, which all file formats share, and selection of a range of Q."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc.io import q_axis
from jaxstruc.io.columns import MIN_ROWS, ReadError, expect
from jaxstruc.io.measurement import MAX_QMAX, Measurement, Setting
from jaxstruc.options.pdf import Kind

INTENSITY_SCALE_RANGE = 1e-30, 1e30
"""Range in which the largest |I(Q)| must lie, in any unit. A value outside it shows that the file is damaged."""
MIN_Q = 1e-7
"""Smallest Q, in 1/Å. No instrument reaches it."""
MAX_EMPTY_SHARE = 0.5
"""Largest share of points without a measured value."""
MAX_REPEATED_SHARE = 0.1
"""Largest share of points with a repeated Q."""
NEGATIVE_MEAN_SIGNIFICANCE = 5.0
"""Smallest distance below 0 at which a mean of I(Q) cannot be noise around 0, in standard errors of the mean.

The mean is taken over a window of consecutive points, which contains a tenth of all points.
"""
KIND_NAMES = {"gr": "G(r)", "iq": "I(Q)", "sq": "S(Q)", "fq": "F(Q)"}
"""Symbol of each kind of curve."""
WIDE_ANGLE_ADVICE = ", or add --kind iq if it has wide angles"
"""Advice for an I(Q) that is passed to `solve`, `mine` or `refine`."""
CURVE_KINDS: tuple[Kind, ...] = ("gr", "iq", "sq", "fq")
MAX_TITLE_CHARACTERS = 50
"""Largest number of characters of the title of a curve."""
MAX_LISTED_CURVES = 3
"""Largest number of curves of a file that a message lists."""
NO_SLIT_SMEARING = "data without slit smearing"
"""Text in the messages that refuse slit-smeared data."""


class Columns(NamedTuple):
    """Columns of a curve, with the units that the file states."""

    x: Float[np.ndarray, " point"]
    """Values of the axis, in `axis_unit`."""
    intensity: Float[np.ndarray, " point"]
    sigma: Float[np.ndarray, " point"] | None = None
    """Standard error of the intensity. None or only zeros if the file states no standard error."""
    dx: Float[np.ndarray, " point"] | None = None
    """Standard deviation of the resolution, in `axis_unit`. None or only zeros if the file states no resolution."""
    point_labels: tuple[str, ...] = ()
    """Position of each point in the file, e.g. "line 5"."""
    axis_unit: str = ""
    """Unit of the axis that the file states: a key of `q_axis.Q_UNITS` or `ANGLE_UNITS`, an unknown text, or ""."""
    intensity_unit: str = ""
    """Unit of the intensity that the file states, or ""."""
    wavelength: float | None = None
    """Wavelength in Å that the file states."""


class CurveFile(NamedTuple):
    """A file with one or several curves, which can be read one by one."""

    path: str
    """Path of the file, as it was given."""
    names: tuple[str, ...]
    """Name of each curve, or "" for a curve without a name."""
    read_index: Callable[[int], Measurement]
    """Function that reads a curve. Its argument is the index of the curve, counted from 0."""

    def read(self, frame: int | None = None) -> Measurement:
        """Read one curve. If the file holds several curves, its setting `frame` is the number of the curve.

        Args:
            frame: Number of the curve, counted from 1. None selects the only curve.

        Raises:
            ReadError: If the file holds several curves and no frame is given, or the curve cannot be used.
        """
        n_curves = len(self.names)
        index = frame_index(frame, n_curves, self.names.__getitem__, Path(self.path))
        measurement = self.read_index(index)
        if n_curves == 1:
            return measurement
        title: dict[str, float | str] = {"title": self.names[index]} if self.names[index] else {}
        return measurement._replace(
            header=measurement.header | title,
            settings=(*measurement.settings, Setting("frame", index + 1.0, "command line")),
        )

    def read_all(self) -> list[Measurement | ReadError]:
        """Read all curves. For a curve that cannot be used, the list has the error in place of the measurement."""
        measurements: list[Measurement | ReadError] = []
        for frame in range(1, len(self.names) + 1):
            try:
                measurements.append(self.read(frame))
            except ReadError as error:
                measurements.append(error)
        return measurements


class SourceFile(NamedTuple):
    """Description of the file that columns come from."""

    path: str
    """Path of the file, as it was given."""
    format: str
    """Name of the format, e.g. CanSAS1d, or of the program that wrote the file."""
    sha256: str
    """Checksum of the content of the file."""
    header: dict[str, float | str] | None = None
    """Further settings that the file states, by name."""
    warnings: tuple[str, ...] = ()
    """Warnings that arose when the file was read."""


def measurement_from_columns(
    columns: Columns,
    source: SourceFile,
    *,
    kind: str = "iq",
    q_unit: str | None = None,
    wavelength: float | None = None,
) -> Measurement:
    """Check the columns of a file and return its measurement.

    Args:
        columns: Columns of the file.
        source: File that the columns come from.
        kind: Kind of the curve: iq, sq or fq.
        q_unit: Unit of the axis that the user gives.
        wavelength: Wavelength in Å that the user gives.

    Raises:
        ReadError: If the unit of the axis or of I(Q) is not known, or if the points of the curve cannot be used.
    """
    path = source.path
    _refuse_points(~np.isfinite(columns.x), "finite Q", columns.x, columns, path)
    axis, axis_warnings = q_axis.choose_axis(
        columns.axis_unit, q_unit=q_unit, wavelength=wavelength, stated_wavelength=columns.wavelength, x=columns.x,
        path=path,
    )  # fmt: skip
    columns, intensity_unit = _convert_intensity(columns, path) if kind == "iq" else (columns, "")
    columns, point_warnings = _drop_empty_points(columns, path, kind)
    _refuse_order(columns, path)
    columns, repeat_warnings = _drop_repeated_points(columns, path)
    _refuse_values(columns.intensity, path, kind)
    q, dq_dx = q_axis.scattering_vector(columns.x, axis, path)
    expect(
        MIN_Q <= q[0] and q[-1] <= MAX_QMAX,
        f"Q of {MIN_Q:g} to {MAX_QMAX:g} 1/Å, got {q[0]:g} to {q[-1]:g} in {path}; check the unit of Q (--q-unit)",
    )
    sigma = _standard_errors(columns, path)
    resolution_width = _resolution_widths(columns, path)
    settings = (Setting("wavelength", axis.wavelength, axis.wavelength_origin),) if axis.wavelength else ()
    return Measurement(
        path,
        np.zeros(0),
        np.zeros(0),
        dict(source.header or {}),
        f"{source.format}, {axis.description}",
        (*source.warnings, *axis_warnings, *repeat_warnings, *point_warnings),
        source.sha256,
        settings,
        kind,
        q,
        columns.intensity,
        sigma,
        None if resolution_width is None else resolution_width * dq_dx,
        intensity_unit,
    )


def resolve_q_range(measurement: Measurement, *, qmin: float | None = None, qmax: float | None = None) -> Measurement:
    """Cut an I(Q) to the range from qmin to qmax, including both ends, and add both limits to its settings.

    Args:
        measurement: Measured I(Q).
        qmin: Lower limit in 1/Å. The default is the smallest Q of the data.
        qmax: Upper limit in 1/Å. The default is the largest Q of the data.

    Raises:
        ReadError: If the curve is not an I(Q), if the limits are not valid, if too few points remain, or if I(Q) is
            below 0 by more than its noise.
    """
    path, kind, q = measurement.name, measurement.kind, measurement.q
    if kind != "iq" or q is None or measurement.intensity is None:
        raise ReadError(f"Expected I(Q), got {KIND_NAMES[kind]} in {path}; pass it to jaxstruc solve.")
    user_limits = {"qmin": qmin, "qmax": qmax}
    data_limits = {"qmin": float(q[0]), "qmax": float(q[-1])}
    limits = [
        Setting(name, data_limits[name], "data") if value is None else Setting(name, float(value), "command line")
        for name, value in user_limits.items()
    ]
    low, high = (setting.value for setting in limits)
    advice = f"for {path}; pass --qmin and --qmax in 1/Å, within {q[0]:.4g} to {q[-1]:.4g}"
    expect(0 <= low < high < np.inf, f"0 <= qmin < qmax, got {low:g} and {high:g} {advice}")
    tolerance = 1e-9 * high
    is_inside = (q >= low - tolerance) & (q <= high + tolerance)
    expect(is_inside.sum() >= MIN_ROWS, f"at least {MIN_ROWS} points from qmin to qmax, got {is_inside.sum()} {advice}")
    cut_measurement = select_points(measurement, is_inside)
    _refuse_negative(cut_measurement)
    other_settings = tuple(old_setting for old_setting in measurement.settings if old_setting.name not in user_limits)
    return cut_measurement._replace(settings=(*limits, *other_settings))


def select_points(measurement: Measurement, selection: np.ndarray) -> Measurement:
    """Return a measurement over Q with only the selected points."""
    columns = ("q", "intensity", "sigma", "dq")
    selected_columns = {
        name: column[selection] for name in columns if (column := getattr(measurement, name)) is not None
    }
    return measurement._replace(**selected_columns)


def frame_index(frame: int | None, count: int, curve_name: Callable[[int], str], path: Path) -> int:
    """Return the index of the requested curve of a file, counted from 0.

    Args:
        frame: Number of the curve, counted from 1. None selects the only curve.
        count: Number of curves of the file.
        curve_name: Function that returns the name of a curve from its index.
        path: Path of the file, for the message.

    Raises:
        ReadError: If the file holds several curves and no frame is given, or the frame does not exist.
    """
    if frame is None and count == 1:
        return 0
    shown_indices = range(count) if count <= MAX_LISTED_CURVES else (*range(MAX_LISTED_CURVES - 1), count - 1)
    labels = [f"{index + 1} {curve_name(index)[:MAX_TITLE_CHARACTERS]}".strip() for index in shown_indices]
    if count > MAX_LISTED_CURVES:
        labels.insert(-1, "...")
    location = f"in {path} ({', '.join(labels)})"
    if frame is None:
        raise ReadError(
            f"Expected one curve, got {count} {location}; pass --frame with the number of one curve, or --frame all."
        )
    expect(count > 1 or frame == 1, f"no --frame, got {frame} for the only curve in {path}; leave out --frame")
    expect(
        1 <= frame <= count, f"--frame from 1 to {count}, got {frame} for the curves {location}; pass another number"
    )
    return frame - 1


def refuse_other_unit(name: str, unit: str, quantity: str, quantity_unit: str, path: Path) -> None:
    """Raise `ReadError` if the file states different units for a quantity and for its standard error or resolution."""
    is_same = not unit or not quantity_unit or _normalise_unit(unit) == _normalise_unit(quantity_unit)
    expect(
        is_same,
        f"{name} in the unit of {quantity}, got {unit[:20]} and {quantity_unit[:20]} in {path}; correct the file",
    )


def _normalise_unit(unit: str) -> str:
    return q_axis.inverse_length(unit) or q_axis.intensity_unit(unit) or unit


def _refuse_negative(measurement: Measurement) -> None:
    """Raise `ReadError` if the mean over a window of consecutive points is below 0 by more than the noise.

    Such a curve is a G(r), or too much background was subtracted from it.
    """
    intensity, sigma = np.asarray(measurement.intensity), measurement.sigma
    window = max(len(intensity) // 10, MIN_ROWS)
    variance = np.pad(np.diff(intensity, 2), 1, "edge") ** 2 / 6 if sigma is None else sigma**2
    mean, mean_variance = (np.convolve(values, np.ones(window), "valid") / window for values in (intensity, variance))
    is_negative = mean < -NEGATIVE_MEAN_SIGNIFICANCE * np.sqrt(mean_variance / window)
    q = np.asarray(measurement.q)
    for start in np.flatnonzero(is_negative)[:1]:
        stop = start + int(np.argmin(np.append(is_negative[start:], False))) + window - 2
        raise ReadError(
            f"Expected I(Q) above 0 within its noise, got values below 0 from {q[start]:.4g} to {q[stop]:.4g} 1/Å in "
            f"{measurement.name}; subtract less background, exclude this range with --qmin or --qmax, or pass a G(r) "
            "to jaxstruc solve."
        )


def _convert_intensity(columns: Columns, path: str) -> tuple[Columns, str]:
    """Convert I(Q) and its standard error from 1/mm or 1/m to 1/cm, and return the columns and the unit of I(Q).

    I(Q) in another known unit is returned unchanged.

    Raises:
        ReadError: If the file states a unit that is not known.
    """
    text = columns.intensity_unit.strip()
    unit = q_axis.intensity_unit(text)
    expect(
        bool(unit) or not text,
        f"I in 1/cm, 1/mm, 1/m, cm2/g, m2/g or a.u., got the unit {text[:30]!a} in {path}; convert I, or state a.u. as "
        "its unit",
    )
    factor = q_axis.INTENSITY_UNITS.get(unit)
    if factor in (None, 1.0):
        return columns, unit
    sigma = None if columns.sigma is None else columns.sigma * factor
    return columns._replace(intensity=columns.intensity * factor, sigma=sigma), "1/cm"


def _drop_empty_points(columns: Columns, path: str, kind: str) -> tuple[Columns, list[str]]:
    """Return the columns without the points that hold no measured value, and warnings with the numbers of points."""
    x, intensity, sigma = columns.x, columns.intensity, columns.sigma
    is_nan, is_at_origin = ~np.isfinite(intensity), x == 0
    is_empty = np.zeros(len(x), bool)
    if sigma is not None and np.nansum(np.abs(sigma)) > 0:
        is_empty = (intensity == 0) & (sigma == 0) & ~is_at_origin
    is_masked = np.zeros(len(x), bool)
    if kind == "iq":
        is_masked = _masked_points(intensity, is_nan | is_empty | is_at_origin) & ~is_nan & ~is_empty & ~is_at_origin
    is_dropped = is_nan | is_empty | is_at_origin | is_masked
    location = f"{np.count_nonzero(is_dropped)} of {len(is_dropped)} in {path}"
    expect(
        is_dropped.mean() <= MAX_EMPTY_SHARE,
        f"a measured {KIND_NAMES[kind]} at half of the points, got no value at {location}; export the file again",
    )
    reasons = (
        (is_nan, "without a finite value"),
        (is_empty & ~is_nan, "with the value 0 ± 0"),
        (is_at_origin & ~is_nan, "at Q = 0"),
        (is_masked, "with I of at most 0 at the ends of the data"),
    )
    warnings = [f"points {reason} dropped: {np.count_nonzero(mask)}" for mask, reason in reasons if mask.any()]
    return _select_column_points(columns, ~is_dropped), warnings


def _masked_points(intensity: np.ndarray, is_dropped: np.ndarray) -> np.ndarray:
    """Return which points at the ends of an I(Q) are masked, e.g. by a beam stop.

    The points before the first value above 0 are masked. At the end of the curve, a measured value may be below 0
    because of noise. The last points are therefore masked only if they are 0 or repeat one value below 0.

    Args:
        intensity: Values of I(Q).
        is_dropped: Mask of the points that are dropped for another reason.
    """
    is_masked = np.zeros(len(intensity), bool)
    bright_points = np.flatnonzero(~is_dropped & (intensity > 0))
    if not len(bright_points):
        return is_masked
    is_masked[: bright_points[0]] = True
    end_points = np.flatnonzero(~is_dropped[bright_points[-1] + 1 :]) + bright_points[-1] + 1
    differing = np.flatnonzero(intensity[end_points] != intensity[end_points[-1]]) if len(end_points) else end_points
    run = end_points[differing[-1] + 1 :] if len(differing) else end_points
    if len(run) > 1 or (len(run) and intensity[run[0]] == 0):
        is_masked[run] = True
    return is_masked


def _drop_repeated_points(columns: Columns, path: str) -> tuple[Columns, list[str]]:
    """Return the columns without the points that repeat a Q, and a warning with the number of these points."""
    is_increasing = np.append(True, np.diff(columns.x) > 0)
    n_increasing, n_points = int(is_increasing.sum()), len(is_increasing)
    expect(
        n_increasing >= MIN_ROWS,
        f"at least {MIN_ROWS} points, got {n_increasing} in {path}; check that the file holds a curve",
    )
    expect(
        is_increasing.mean() >= 1 - MAX_REPEATED_SHARE,
        f"each Q once, got {n_points - n_increasing} of {n_points} repeated in {path}; average repeated points, or "
        "export Q with more digits",
    )
    warnings = [f"points with repeated Q dropped: {n_points - n_increasing}"] if n_increasing < n_points else []
    return _select_column_points(columns, is_increasing), warnings


def _refuse_order(columns: Columns, path: str) -> None:
    x = columns.x
    _refuse_points(x < 0, "Q above 0", x, columns, path)
    is_decreasing = np.append(False, x[1:] < x[:-1])
    for index in np.flatnonzero(is_decreasing)[:1]:
        location = f"{x[index]:g} after {x[index - 1]:g} {_point_location(index, columns)} of {path}"
        raise ReadError(f"Expected increasing Q, got {location}; sort the points, or merge the detectors' curves.")


def _refuse_values(intensity: Float[np.ndarray, " point"], path: str, kind: str) -> None:
    max_magnitude = np.abs(intensity).max()
    low, high = INTENSITY_SCALE_RANGE
    expect(
        max_magnitude == 0 or low <= max_magnitude <= high,
        f"{KIND_NAMES[kind]}, got values up to {max_magnitude:g} in {path}; check the column",
    )
    expect(np.ptp(intensity) > 0, f"a curve, got the same value at all Q in {path}; export the file again")
    expect(kind != "iq" or (intensity > 0).any(), f"I(Q) above 0, got no value above 0 in {path}; check the column")


def _standard_errors(columns: Columns, path: str) -> Float[np.ndarray, " point"] | None:
    """Return the standard errors, or None if there are none or all are zero."""
    sigma = columns.sigma
    if sigma is None or not (sigma != 0).any():
        return None
    is_bad = ~((sigma >= INTENSITY_SCALE_RANGE[0]) & (sigma <= INTENSITY_SCALE_RANGE[1]))
    _refuse_points(
        is_bad,
        f"sigma above 0 and below {INTENSITY_SCALE_RANGE[1]:g}",
        sigma,
        columns,
        path,
        "remove these points or the column",
    )
    return sigma


def _resolution_widths(columns: Columns, path: str) -> Float[np.ndarray, " point"] | None:
    """Return the standard deviations of the resolution, or None if there are none or all are zero.

    Raises:
        ReadError: If the widths are those of a slit, or are not valid.
    """
    width = columns.dx
    if width is None or not (width != 0).any():
        return None
    expect(
        (width < 0).mean() <= MAX_EMPTY_SHARE,
        f"{NO_SLIT_SMEARING}, got a negative dQ, which marks a slit, in {path}; desmear the curve first",
    )
    ratio = np.median(np.where(np.isfinite(width), width, 0.0) / columns.x)
    expect(ratio < 1, f"dQ below Q, got {ratio:.3g} times Q in {path}; name the columns in a header, e.g. Q I sigma")
    is_bad = ~((width >= 0) & (width <= columns.x[-1]))
    _refuse_points(is_bad, "dQ from 0 to the largest Q", width, columns, path)
    return width


def _select_column_points(columns: Columns, selection: np.ndarray) -> Columns:
    """Return the columns with only the selected points."""
    x, intensity, sigma, dx, point_labels = columns[:5]
    optional_columns = [None if column is None else column[selection] for column in (sigma, dx)]
    return columns._replace(
        x=x[selection], intensity=intensity[selection], sigma=optional_columns[0], dx=optional_columns[1],
        point_labels=tuple(point_labels[index] for index in np.flatnonzero(selection)) if point_labels else (),
    )  # fmt: skip


def _refuse_points(
    is_bad: np.ndarray,
    expected: str,
    values: np.ndarray,
    columns: Columns,
    path: str,
    advice: str = "remove these points",
) -> None:
    """Raise `ReadError` if a point is bad. The message shows the first bad point and the number of bad points."""
    for index in np.flatnonzero(is_bad)[:1]:
        count_text = f", the first of {is_bad.sum()}" if is_bad.sum() > 1 else ""
        raise ReadError(
            f"Expected {expected}, got {values[index]:g} {_point_location(index, columns)} of "
            f"{path}{count_text}; {advice}."
        )


def _point_location(index: int, columns: Columns) -> str:
    return f"in {columns.point_labels[index]}" if columns.point_labels else f"at point {index + 1}"
