"""Reader of curves over Q in text files with columns, e.g. `.dat .chi .iq .sq .fq .csv .xye .txt .ABS`.

A line of labels states the quantity in each column and the unit of the axis. Columns without labels are read in the
usual order: Q, the curve, the standard error of the curve, and the standard deviation of the resolution in Q.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxstruc.io import gr, points
from jaxstruc.io.columns import CURVE_RULES, MAX_LINE_CHARACTERS, ReadError, decode_text, expect, raw_bytes, read_table
from jaxstruc.io.labels import ColumnLabels, CurveColumns, assign_columns, curve_names, describe_columns
from jaxstruc.io.measurement import Measurement
from jaxstruc.io.points import KIND_NAMES, NO_SLIT_SMEARING, WIDE_ANGLE_ADVICE, Columns, CurveFile, SourceFile

_WAVELENGTH_LINE = re.compile(r"(?i)[#!;\s]*wavelength\s*[:=]\s*([\d.eE+-]+)\s*(m|nm|Å|A)?\s*$")
_MAX_WAVELENGTH_IN_METRES = 1e-8
"""Largest number that is read as a wavelength in metres, the unit of pyFAI. Larger numbers are in Å."""
MAX_UNLABELLED_COLUMNS = 4
"""Largest number of columns of a file without labels, unless all of them are curves."""
MIN_CURVE_RATIO = 0.5
"""Smallest ratio of the values of a column to those of the column before it, at which the column is read as a curve.

The ratio is that of the points at which the column before it is large. It may be at most the inverse of this number.
Standard errors usually have a smaller ratio.
"""


def read(
    path: Path | str,
    *,
    q_unit: str | None = None,
    wavelength: float | None = None,
    kind: str | None = None,
    frame: int | None = None,
    accepted_kinds: Sequence[str] = ("iq", "sq", "fq"),
) -> Measurement:
    """Read a measured curve over Q.

    Args:
        path: Path of the file.
        q_unit: Unit of the axis (1/Å, 1/nm, 2theta or 2theta-rad). It overrides the unit that the file states.
        wavelength: Wavelength in Å, needed if the axis is an angle.
        kind: Kind of the curve (iq, sq or fq) if the file states none. The default is iq if iq is accepted.
        frame: Number of the curve, counted from 1, if the file holds several curves over the same Q.
        accepted_kinds: Kinds that the caller can use. The error for another kind names the command that accepts it.

    Raises:
        ReadError: If the file is missing or not text, if the curve has another kind, if its kind or the unit of Q is
            unknown, or if the file holds several curves and no frame is given.
    """
    curve_file = open_file(path, q_unit=q_unit, wavelength=wavelength, kind=kind, accepted_kinds=accepted_kinds)
    return curve_file.read(frame)


def open_file(
    path: Path | str,
    *,
    q_unit: str | None = None,
    wavelength: float | None = None,
    kind: str | None = None,
    accepted_kinds: Sequence[str] = ("iq", "sq", "fq"),
) -> CurveFile:
    """Return a file whose curves over Q can be read one by one. See `read` for the arguments and errors."""
    path = Path(path)
    raw = raw_bytes(path, CURVE_RULES)
    lines = decode_text(raw, path, CURVE_RULES).splitlines()
    line_indices, rows, n_outside = read_table(lines, path, CURVE_RULES)
    header_lines = lines[: line_indices[0]]
    settings, warnings = gr.header_settings(header_lines)
    labels = describe_columns(header_lines, path, str(settings.pop("outputtype", "")), n_columns=rows.shape[1])
    curve_kind = _curve_kind(_preferred_kind(labels, kind, accepted_kinds), kind, accepted_kinds, path)
    curve_columns, column_warnings = _find_curves(labels, rows, curve_kind, path)
    if n_outside >= len(rows) // 10 + 1:
        warnings.append(f"{n_outside} rows of numbers outside the data from line {line_indices[0] + 1} on are not read")
    stated_wavelength = settings.pop("wavelength", None)
    header_wavelength = _header_wavelength(
        header_lines, stated_wavelength if isinstance(stated_wavelength, float) else None
    )
    program = gr.header_program(header_lines)
    source = SourceFile(
        str(path),
        "columns" if program == "bare" else program,
        hashlib.sha256(raw).hexdigest(),
        settings,
        (*warnings, *column_warnings),
    )
    point_labels = tuple(f"line {line_index + 1}" for line_index in line_indices)

    def read_index(index: int) -> Measurement:
        columns = _select_columns(labels, rows, curve_columns[index], path)
        columns = columns._replace(point_labels=point_labels, wavelength=header_wavelength)
        return points.measurement_from_columns(columns, source, kind=curve_kind, q_unit=q_unit, wavelength=wavelength)

    return CurveFile(str(path), curve_names(labels, curve_columns), read_index)


def _preferred_kind(labels: ColumnLabels, requested_kind: str | None, accepted_kinds: Sequence[str]) -> str:
    """Return the kind of the curves to read, or "" if the file states no kind.

    If a file holds curves of several kinds, the kind that the user requests is preferred, then an accepted kind.
    """
    labelled_kinds = [label.role for label in labels.columns if label.role in KIND_NAMES]
    if requested_kind in labelled_kinds:
        return requested_kind or ""
    if labels.kind in accepted_kinds:
        return labels.kind
    return next((kind for kind in labelled_kinds if kind in accepted_kinds and not requested_kind), labels.kind)


def _curve_kind(stated_kind: str, requested_kind: str | None, accepted_kinds: Sequence[str], path: Path) -> str:
    """Return the kind of a curve over Q, from the kind that the file states and the kind that the user requests.

    Raises:
        ReadError: If the kind is unknown or not accepted. The message names the command that accepts it.
    """
    expected = " or ".join(KIND_NAMES[kind] for kind in ([requested_kind] if requested_kind else accepted_kinds))
    if not stated_kind and not requested_kind and "iq" not in accepted_kinds:
        raise ReadError(
            f"Expected {expected}, got a curve over Q in {path} that does not state its kind; pass --kind sq or "
            f"--kind fq, or pass an I(Q) to jaxstruc saxs{WIDE_ANGLE_ADVICE}."
        )
    curve_kind = stated_kind or requested_kind or "iq"
    if curve_kind not in accepted_kinds or (requested_kind and curve_kind != requested_kind):
        current_command = "saxs" if requested_kind == "iq" or "gr" not in accepted_kinds else "solve"
        right_command = "saxs" if curve_kind == "iq" else "solve"
        advice = (
            f"leave out --kind {requested_kind}"
            if requested_kind and current_command == right_command
            else f"pass it to jaxstruc {right_command}{WIDE_ANGLE_ADVICE if curve_kind == 'iq' else ''}"
        )
        raise ReadError(f"Expected {expected}, got {KIND_NAMES[curve_kind]} in {path}; {advice}.")
    return curve_kind


def _find_curves(labels: ColumnLabels, rows: np.ndarray, kind: str, path: Path) -> tuple[list[CurveColumns], list[str]]:
    """Return the columns of each curve, and warnings.

    The labels identify the columns. In a file without labels, their order identifies them.
    """
    if not labels.columns:
        return _unlabelled_curves(rows, kind, path)
    labelled_roles = {label.role for label in labels.columns}
    roles = [kind] if kind in labelled_roles else [role for role in KIND_NAMES if role in labelled_roles]
    curve_columns, unread_names = assign_columns(labels.columns, roles)
    expect(
        len(curve_columns) > 0,
        f"a column labelled as a curve, got none in {path}; label the column of {KIND_NAMES[kind]}",
    )
    slit_widths = [rows[:, index] for index, label in enumerate(labels.columns) if label.role == "slit"]
    has_slit = any((width != 0).any() for width in slit_widths)
    expect(not has_slit, f"{NO_SLIT_SMEARING}, got slit widths in {path}; desmear the curve first")
    shown_names = ", ".join(unread_names[: gr.MAX_UNREAD_NAMES])
    return curve_columns, [f"columns not read: {shown_names}"] if shown_names else []


def _unlabelled_curves(rows: np.ndarray, kind: str, path: Path) -> tuple[list[CurveColumns], list[str]]:
    """Return the columns of each curve of a file without labels, and warnings.

    All columns after the first are curves if each column from the third on resembles a curve. A column resembles a
    curve if its values are similar in size to those of the column before it (see `MIN_CURVE_RATIO`). If the kind is
    F(Q), a column that oscillates around 0 also resembles a curve. Otherwise the columns are Q, the curve, its standard
    error and the resolution in Q.
    """
    n_columns = rows.shape[1]
    resembles_curve = [
        _resembles_curve(rows[:, column], rows[:, column - 1])
        or (kind == "fq" and gr.swings_about_zero(rows[:, column]))
        for column in range(2, n_columns)
    ]
    if resembles_curve and all(resembles_curve):
        return [CurveColumns(0, column) for column in range(1, n_columns)], []
    expect(
        n_columns <= MAX_UNLABELLED_COLUMNS and not any(resembles_curve[:1]),
        f"only Q, {KIND_NAMES[kind]}, sigma and dQ in columns without labels, got {n_columns} columns in {path}; add a "
        "line of labels",
    )
    indices = [index if index < n_columns else None for index in (2, 3)]
    names = (("sigma", "dQ")[index] for index in range(n_columns - 2))
    return (
        [CurveColumns(0, 1, *indices)],
        [f"column {index} has no label and is read as {name}" for index, name in enumerate(names, 3)],
    )


def _resembles_curve(column: np.ndarray, previous_column: np.ndarray) -> bool:
    """Return whether the values of a column are similar in size to those of the column before it.

    Only the points at which the absolute value of the column before it is at least its median are compared.
    """
    magnitude, previous_magnitude = np.abs(column), np.abs(previous_column)
    is_finite = np.isfinite(magnitude) & np.isfinite(previous_magnitude) & (previous_magnitude > 0)
    if not is_finite.any():
        return False
    magnitude, previous_magnitude = magnitude[is_finite], previous_magnitude[is_finite]
    is_large = previous_magnitude >= np.median(previous_magnitude)
    with np.errstate(over="ignore"):  # the numbers of a damaged file may overflow
        ratio = float(np.median(magnitude[is_large] / previous_magnitude[is_large]))
    return MIN_CURVE_RATIO <= ratio <= 1 / MIN_CURVE_RATIO


def _select_columns(labels: ColumnLabels, rows: np.ndarray, curve: CurveColumns, path: Path) -> Columns:
    """Return the columns of a curve with the units that the labels state."""
    units = [label.unit for label in labels.columns] if labels.columns else [""] * rows.shape[1]
    for index, name, quantity, quantity_index in (
        (curve.dq, "dQ", "Q", curve.axis),
        (curve.sigma, "sigma", "I", curve.curve),
    ):
        unit = "" if index is None else units[index]
        points.refuse_other_unit(name, unit, quantity, units[quantity_index], path)
    sigma, dq = (None if index is None else rows[:, index] for index in (curve.sigma, curve.dq))
    return Columns(
        rows[:, curve.axis], rows[:, curve.curve], sigma, dq,
        axis_unit=labels.axis_unit, intensity_unit=units[curve.curve],
    )  # fmt: skip


def _header_wavelength(header_lines: list[str], stated_wavelength: float | None) -> float | None:
    """Return the wavelength that a header states, in Å, or None. pyFAI writes the wavelength in metres.

    Args:
        header_lines: Lines above the numbers. A line may state the wavelength with its unit.
        stated_wavelength: Wavelength among the settings of the header. It is used if no such line exists.
    """
    for line in header_lines:
        if len(line) <= MAX_LINE_CHARACTERS and (match := _WAVELENGTH_LINE.match(line)):
            try:
                stated_wavelength = float(match[1]) * {"m": 1e10, "nm": 10.0}.get(match[2] or "", 1.0)
            except ValueError:
                continue
    return (
        stated_wavelength * 1e10
        if stated_wavelength is not None and 0 < stated_wavelength < _MAX_WAVELENGTH_IN_METRES
        else stated_wavelength
    )
