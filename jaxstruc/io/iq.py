"""Reader of curves over Q in columns of text: `.dat .chi .iq .sq .fq .csv .xye .txt .ABS`.

A line of labels states what each column holds and the unit of the axis. Columns without labels are read in the usual
order: Q, the curve, its standard error, and the standard deviation of the resolution in Q.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxstruc.io import gr, points, q_axis
from jaxstruc.io.columns import CURVE_RULES, MAX_LINE_CHARACTERS, ReadError, decode_text, expect, raw_bytes, read_table
from jaxstruc.io.measurement import Measurement
from jaxstruc.io.points import KIND_NAMES, NO_SLIT_SMEARING, Columns, SourceFile

COLUMN_NAMES = {
    "q": "q x qvec qvector svec scatteringvector momentumtransfer",
    "r": "r distance",
    "iq": "i iq y intensity counts count",
    "sq": "s sq",
    "fq": "f fq",
    "gr": "g gr",
    "sigma": "sigma σ error errors err e di dy diq idev ierr ierror isigma sig sigi sigmai sigmaiq erri erriq errori "
    "esd std stdev stddev stddevi stddeviq uncertainty ds dsq df dfq",
    "dq": "dq dx sigmaq sigq dsigq dsigx qdev qerr qerror qsigma qres qresolution resolution",
    "slit": "dqw dql dxw dxl",
}
"""Names of columns for each role, without spaces, marks and brackets."""
AMBIGUOUS_LABELS = ("sigma(q)", "err(q)", "error(q)")
"""Labels that may name the error of the curve or the width of the resolution. Such a column is not read."""
_ROLE_BY_NAME = {name: role for role, names in COLUMN_NAMES.items() for name in names.split()}
_KIND_BY_SUFFIX = {".sq": "sq", ".fq": "fq", ".iq": "iq", ".gr": "gr", ".chi": "iq", ".xye": "iq", ".abs": "iq"}
_WAVELENGTH_LINE = re.compile(r"(?i)[#!;\s]*wavelength\s*[:=]\s*([\d.eE+-]+)\s*(m|nm|Å|A)?\s*$")
_MAX_WAVELENGTH_IN_METRES = 1e-8
"""Largest number that is read as a wavelength in metres, the unit of pyFAI. Larger numbers are in Å."""
MAX_LABEL_CHARACTERS = 80
"""Largest number of characters of a label."""
MAX_UNLABELLED_COLUMNS = 4
"""Largest number of columns of a file without labels."""


class ColumnLabels(NamedTuple):
    """Description of the columns by the labels and the name of a file."""

    roles: tuple[str, ...]
    """Role of each column: a key of `COLUMN_NAMES`, or "" if it is unknown."""
    names: tuple[str, ...]
    """Label of each column, empty if the file has no labels."""
    units: tuple[str, ...]
    """Unit of each column as its label states it, or ""."""
    axis_unit: str
    """Unit of the axis as `q_axis` names it, or "" if the file states none."""
    kind: str
    """Kind of the curve (gr, iq, sq or fq), or "" if the file states none."""


def read(
    path: Path | str,
    *,
    q_unit: str | None = None,
    wavelength: float | None = None,
    kind: str | None = None,
    accepted_kinds: Sequence[str] = ("iq", "sq", "fq"),
) -> Measurement:
    """Read a measured curve over Q.

    Args:
        path: Path of the file.
        q_unit: Unit of the axis (1/Å, 1/nm or 2theta). It overrides the unit that the file states.
        wavelength: Wavelength in Å, needed if the axis is an angle.
        kind: Kind of the curve (iq, sq or fq) if the file states none. The default is iq if iq is accepted.
        accepted_kinds: Kinds that the caller can use. The error for another kind names the command that takes it.

    Raises:
        ReadError: If the file is missing or not text, holds another curve, or does not state its kind or unit.
    """
    path = Path(path)
    raw = raw_bytes(path, CURVE_RULES)
    lines = decode_text(raw, path, CURVE_RULES).splitlines()
    line_indices, rows, n_outside = read_table(lines, path, CURVE_RULES)
    header_lines = lines[: line_indices[0]]
    settings, warnings = gr.header_settings(header_lines)
    labels = describe_columns(header_lines, path, str(settings.pop("outputtype", "")), n_columns=rows.shape[1])
    curve_kind = _curve_kind(labels.kind, kind, accepted_kinds, path)
    curve_columns, column_warnings = _select_columns(labels, rows, line_indices, path)
    if n_outside >= len(rows) // 10 + 1:
        warnings.append(f"{n_outside} rows of numbers outside the data block at line {line_indices[0] + 1} not read")
    stated_wavelength = settings.pop("wavelength", None)
    curve_columns = curve_columns._replace(
        wavelength=_header_wavelength(header_lines, stated_wavelength if isinstance(stated_wavelength, float) else None)
    )
    file_format = gr.header_program(header_lines)
    source = SourceFile(
        str(path),
        "columns" if file_format == "bare" else file_format,
        hashlib.sha256(raw).hexdigest(),
        settings,
        (*warnings, *column_warnings),
    )
    return points.measurement_from_columns(curve_columns, source, kind=curve_kind, q_unit=q_unit, wavelength=wavelength)


def describe_columns(header_lines: list[str], path: Path, outputtype: str = "", *, n_columns: int) -> ColumnLabels:
    """Describe the columns of a file by the lines above the numbers and by the file name.

    Args:
        header_lines: Lines above the numbers.
        path: Path of the file.
        outputtype: Setting of this name in the header of a PDF program, or "".
        n_columns: Number of columns.
    """
    labels: ColumnLabels | None = None
    for line in header_lines:
        if len(line) <= MAX_LINE_CHARACTERS and (line_labels := _parse_labels(line, n_columns)):
            labels = line_labels
    stated_kinds = (outputtype.lower(), labels.kind if labels else "", _KIND_BY_SUFFIX.get(path.suffix.lower(), ""))
    kind = next((kind for kind in stated_kinds if kind in KIND_NAMES), "")
    return labels._replace(kind=kind) if labels else ColumnLabels((), (), (), "", kind)


def _parse_labels(line: str, n_columns: int) -> ColumnLabels | None:
    """Return the description that a line of labels gives, or None if the line holds no labels."""
    label_texts = _split_labels(line)
    if len(label_texts) not in (1, n_columns) or max(map(len, label_texts)) > MAX_LABEL_CHARACTERS:
        return None
    parsed_labels = [_parse_label(part) for part in label_texts]
    if parsed_labels[0][0] not in ("q", "r", q_axis.ANGLE_UNIT):
        return None
    (role, _, unit), *other_labels = parsed_labels
    if len(parsed_labels) == 1 and not unit:
        return None
    roles = ("q" if role == q_axis.ANGLE_UNIT else role, *(role for role, _, _ in other_labels))
    curve_role = next((role for role in roles[1:] if role in KIND_NAMES), "")
    axis_unit = q_axis.ANGLE_UNIT if role == q_axis.ANGLE_UNIT and unit else q_axis.inverse_length(unit)
    names = tuple(name for _, name, _ in parsed_labels)
    units = tuple(unit for _, _, unit in parsed_labels)
    return ColumnLabels(roles, names if other_labels else (), units, axis_unit, "gr" if role == "r" else curve_role)


def _split_labels(line: str) -> list[str]:
    """Split a line into labels at bars, tabs, commas or semicolons, otherwise into words with their units."""
    text = re.sub(r"^(L\s|The \d+ columns are\b)", "", line.strip().lstrip("#!;/ ").rstrip("|,; "))
    for separator in ("|", "\t", ",", ";"):
        if separator in text:
            return [part.strip(" \"'") for part in text.strip(separator + " ").split(separator)]
    text = re.sub(r"\s+(?=[(\[])|\s*/\s*(?=[\w(\[])", lambda match: "/" if "/" in match.group() else "", text)
    if re.match(r"(?i)(scattering|momentum|2-theta|two-theta)\b", text):
        return [text]
    return [part.strip("\"'") for part in re.findall(r"(?:\([^)]*\)|\[[^\]]*\]|[^\s(\[])+", text)]


def _parse_label(text: str) -> tuple[str, str, str]:
    """Return the role, the name and the unit of a label."""
    match = re.fullmatch(r"(.*?)\s*(?:[(\[]([^()\[\]]*|\S*)[)\]]|/\s*(\S+)|_(\S*(?:\^?-1|deg|rad)))", text)
    name_unit_pairs = [(text, "")]
    if re.sub(r"\s", "", text.lower()) in AMBIGUOUS_LABELS:
        return "", text, ""
    if match:
        name_unit_pairs.append((match[1], next(filter(None, match.groups()[1:]), "")))
    for name, unit in name_unit_pairs:
        if q_axis.angle_unit(name, unit or "deg"):
            return q_axis.ANGLE_UNIT, text, q_axis.angle_unit(name, unit)
        if role := _ROLE_BY_NAME.get(re.sub(r"[\s<>._()]", "", name.lower()), ""):
            return role, text, unit
    return "", text, ""


def _curve_kind(stated_kind: str, requested_kind: str | None, accepted_kinds: Sequence[str], path: Path) -> str:
    """Return the kind of a curve over Q.

    Raises:
        ReadError: If the kind is unknown or not accepted. The message names the command that accepts it.
    """
    expected = " or ".join(KIND_NAMES[kind] for kind in ([requested_kind] if requested_kind else accepted_kinds))
    if not stated_kind and not requested_kind and "iq" not in accepted_kinds:
        raise ReadError(
            f"Expected {expected}, got a curve over Q in {path} that does not state its kind; pass --kind sq or "
            "--kind fq, or pass an I(Q) to jaxstruc saxs."
        )
    curve_kind = stated_kind or requested_kind or "iq"
    if curve_kind not in accepted_kinds or (requested_kind and curve_kind != requested_kind):
        current_command = "saxs" if requested_kind == "iq" or "gr" not in accepted_kinds else "solve"
        right_command = "saxs" if curve_kind == "iq" else "solve"
        advice = (
            f"leave out --kind {requested_kind}"
            if requested_kind and current_command == right_command
            else f"pass it to jaxstruc {right_command}"
        )
        raise ReadError(f"Expected {expected}, got {KIND_NAMES[curve_kind]} in {path}; {advice}.")
    return curve_kind


def _select_columns(
    labels: ColumnLabels, rows: np.ndarray, line_indices: Sequence[int], path: Path
) -> tuple[Columns, list[str]]:
    """Return the columns of a curve, chosen by their labels or, without labels, by their order; and warnings."""
    n_columns = rows.shape[1]
    if labels.names:
        roles, units = labels.roles, labels.units
    else:
        expect(
            n_columns <= MAX_UNLABELLED_COLUMNS,
            f"at most {MAX_UNLABELLED_COLUMNS} columns without labels, got {n_columns} in {path}; add a line of labels",
        )
        roles, units = ("q", "iq", "sigma", "dq")[:n_columns], ("",) * n_columns
    curve_column = next((index for index, role in enumerate(roles) if role in KIND_NAMES), 1)
    expect(
        roles[curve_column] not in ("sigma", "dq", "slit"),
        f"a column labelled as a curve, got none in {path}; label the column of I(Q) as I",
    )
    column_by_role = {role: index for index, role in reversed(list(enumerate(roles)))}
    slit_widths = rows[:, column_by_role["slit"]] if "slit" in column_by_role else np.zeros(1)
    expect(not (slit_widths != 0).any(), f"{NO_SLIT_SMEARING}, got slit widths in {path}; desmear the curve first")
    errors, widths = (rows[:, column_by_role[role]] if role in column_by_role else None for role in ("sigma", "dq"))
    points.refuse_other_unit("dQ", units[column_by_role["dq"]] if "dq" in column_by_role else "", "Q", units[0], path)
    point_labels = tuple(f"line {line_index + 1}" for line_index in line_indices)
    columns = Columns(
        rows[:, 0], rows[:, curve_column], errors, widths, point_labels, labels.axis_unit, units[curve_column]
    )
    if not labels.names:
        names = (("sigma", "dQ")[index] for index in range(n_columns - 2))
        return columns, [f"column {index} has no label and is read as {name}" for index, name in enumerate(names, 3)]
    unread_names = [labels.names[index] for index, role in enumerate(roles) if not role and index != curve_column]
    shown_names = [name[:20] for name in unread_names if name.isprintable()][:MAX_UNLABELLED_COLUMNS]
    return columns, [f"columns not read: {', '.join(shown_names)}"] if shown_names else []


def _header_wavelength(header_lines: list[str], stated_wavelength: float | None) -> float | None:
    """Return the wavelength of a header in Å. pyFAI writes it in metres."""
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
