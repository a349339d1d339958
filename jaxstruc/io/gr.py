"""Reader of G(r) files, and of the headers that PDFgetX3, xPDFsuite, PDFgetXgui and other programs write."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxstruc.io import q_axis
from jaxstruc.io.columns import MIN_ROWS, ReadError, decode_text, expect, parse_number, raw_bytes, read_table
from jaxstruc.io.labels import (
    ColumnLabels,
    CurveColumns,
    assign_columns,
    curve_names,
    describe_columns,
    printable_name,
)
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.io.points import KIND_NAMES, CurveFile

LABEL_PREFIX = r"(?i)[#!;\s]*(?:L\s+)?[\"']?"
Q_LABEL = re.compile(
    LABEL_PREFIX + r"(Q\s*([(\[_,/]|\s([SFI]|Intensity)\b|$)|2-?(th|θ)|two-?theta|tth\b|angle\s*[(\[])"
)
NM_LABEL = re.compile(LABEL_PREFIX + r"(r|distance)[\s,/(\[_]*(in\s+)?(nm|nanomet)")

NUMBER_SETTINGS = ("qmin", "qmax", "qmaxinst", "qdamp", "qbroad", "rmin", "rmax", "rstep", "wavelength")
WORD_SETTINGS = ("composition", "mode", "outputtype")
PROGRAM_MARKS = (
    ("xPDFsuite Configuration", "xPDFsuite"),
    ("PDFgetXgui Configuration", "PDFgetXgui"),
    (r"(?im)^[ \t#;!]*version[ \t]*=[ \t]*(diffpy\.)?pdfget(x|x3)\b", "PDFgetX3"),
    (r"(?im)^[ \t#;!]*version[ \t]*=[ \t]*pdfgetn3\b", "PDFgetN3"),
    (r"(?im)^[ \t#;!]*version[ \t]*=[ \t]*pdfgets3\b", "PDFgetS3"),
    (r"(?i)Get_XPDF|\bPDFgetX2\b", "PDFgetX2"),
    (r"(?i)\bPDFgetN\b", "PDFgetN"),
    (r"(?i)pdfgetx", "PDFgetX3"),
)
"""Pairs of a regular expression and the name of a program. A header that matches was written by this program."""
MAX_UNREAD_NAMES = 4
"""Largest number of columns that a warning names."""
MAX_RELATIVE_START = 0.01
"""Largest |G(0)| that gives no warning, relative to the largest |G(r)|. The sine transform of F(Q) is 0 at r = 0."""
KEEN_TAIL_TOLERANCE = 0.3
"""Largest deviation from 1 of the mean over the half of the points with the largest r, at which a curve is a g(r)."""
CONVERSIONS = {
    "G_k(r)": "the column is Keen's G_k(r); it was multiplied by r, which gives G(r) times an unknown factor",
    "g(r)": "the column is g(r); it was converted to r (g(r) - 1), which is G(r) times an unknown factor",
    "D(r)": "the column is Keen's D(r), which is G(r) times an unknown factor",
}
"""Functions of r that become proportional to G(r) by a conversion, and the warning that states the conversion."""
FORMULAS = {
    "T(r)": "G(r) = T(r) - 4 pi rho0 r, where rho0 is the number density in 1/Å³",
    "RDF(r)": "G(r) = RDF(r)/r - 4 pi rho0 r, where rho0 is the number density in 1/Å³",
    "n(r)": "G(r) = (dn/dr)/r - 4 pi rho0 r, where rho0 is the number density in 1/Å³",
    "another function of r": "",
}
"""Functions of r that are refused, and the formula that converts each of them to G(r), or "" if it is unknown."""
MAX_WORD_CHARACTERS = 100
"""Largest number of characters of a text that is taken from a header, e.g. of the composition."""

N_COLUMNS_WITH_ERRORS = 4
"""Number of columns without labels that PDFgui reads as r, G(r), the error of r and the error of G(r)."""
ERROR_SETTING = "sigma_g"
"""Name of the setting that has the root mean square of the standard errors of G(r), and their column as its origin."""
MIN_ERROR_SPREAD = 1e-6
"""Smallest range of the standard errors, relative to the largest, at which they are not constant."""
G_SCALE_RANGE = 1e-9, 1e9
"""Range in which the largest |G(r)| must lie, in 1/Å². Outside it, sums of squares exceed single precision."""


def read(path: Path | str, *, frame: int | None = None, kind: str | None = None) -> Measurement:
    """Read a measured G(r).

    Args:
        path: Path of the file.
        frame: Number of the curve, counted from 1, if the file holds several curves over the same r.
        kind: "gr" if the user states that the curve is a G(r), although its label is g(r) or an unknown function of r.

    Raises:
        ReadError: If the file is missing or not text, if it does not hold a G(r) over r in Å, if it contains NaN, if r
            decreases, or if the file holds several curves and no frame is given.
    """
    return open_file(path, kind=kind).read(frame)


def open_file(path: Path | str, *, kind: str | None = None) -> CurveFile:
    """Return a file whose G(r) can be read one by one. See `read` for the arguments and errors."""
    path = Path(path)
    raw = raw_bytes(path)
    lines = decode_text(raw, path).splitlines()
    line_indices, rows, n_outside = read_table(lines, path)
    header_lines = lines[: line_indices[0]]
    settings, warnings = header_settings(header_lines)
    _refuse_other_kinds(path, header_lines, str(settings.pop("outputtype", "gr")))
    labels = describe_columns(header_lines, path, n_columns=rows.shape[1])
    curve_columns, function, unread_names = _find_curves(labels, rows, path, kind=kind)
    if unread_names:
        warnings.append(f"columns not read: {', '.join(unread_names[:MAX_UNREAD_NAMES])}")
    if n_outside >= MIN_ROWS:
        warnings.append(f"{n_outside} rows of numbers outside the data from line {line_indices[0] + 1} on are not read")
    program, checksum = header_program(header_lines), hashlib.sha256(raw).hexdigest()

    def read_index(index: int) -> Measurement:
        columns = curve_columns[index]
        r, g, is_increasing = _r_and_g_columns(rows[:, [columns.axis, columns.curve]], line_indices, path)
        sigma = _standard_errors(rows, columns.sigma, line_indices, path)
        g, conversion = _convert_to_g(function, r, g, path, kind=kind)
        if sigma is not None:
            is_multiplied = bool(conversion) and function != "D(r)"
            sigma = _usable_errors(r, sigma[is_increasing] * (r if is_multiplied else 1.0))
        _refuse_structure_functions(g, path)
        curve_warnings = [*warnings, *conversion]
        if r[0] == 0 and abs(g[0]) > MAX_RELATIVE_START * np.abs(g).max():
            curve_warnings.append(
                f"G(r) is {g[0]:.3g} and not 0 at r = 0: if the column is Keen's G_k(r), change its label to G_k(r)"
            )
        if n_repeated := len(rows) - len(r):
            curve_warnings.append(f"points with repeated r dropped: {n_repeated}")
        stated_rmax = settings.get("rmax")
        if isinstance(stated_rmax, float) and abs(stated_rmax - r[-1]) > max(0.05, 2 * (r[1] - r[0])):
            curve_warnings.append(f"the header states rmax = {stated_rmax:g} Å, but the data end at {r[-1]:g} Å")
        header = settings | ({"converted_from": function} if conversion else {})
        error_settings = () if sigma is None else (_error_setting(sigma, columns, labels),)
        return Measurement(
            str(path), r, g, header, program, tuple(curve_warnings), checksum, error_settings, sigma=sigma
        )

    return CurveFile(str(path), curve_names(labels, curve_columns), read_index)


def header_program(lines: list[str]) -> str:
    """Return the name of the program that wrote a header, or "bare" if it is unknown."""
    header = "\n".join(lines)
    return next((name for mark, name in PROGRAM_MARKS if re.search(mark, header)), "bare")


def header_settings(lines: list[str]) -> tuple[dict[str, float | str], list[str]]:
    """Return the known settings of a header by name, and warnings.

    The section [Misc] of a header holds private paths and is not read.
    """
    settings: dict[str, float | str] = {}
    warnings = []
    section = ""
    for line in lines:
        text = line.strip().lstrip("#!; ")
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1].lower()
        _, *parts = [""] if section == "misc" else re.split(r"(?<!\S)(\w+)\s*=\s*", text)
        for name, value in zip(map(str.lower, parts[::2]), map(str.strip, parts[1::2]), strict=True):
            if not value:
                continue
            if name in WORD_SETTINGS:
                if len(value) <= MAX_WORD_CHARACTERS and value.isprintable():
                    settings[name] = value
                else:
                    warnings.append(f"the header's {name} is not a short text and is not used")
            elif name in NUMBER_SETTINGS:
                try:
                    number_value = parse_number(re.split(r"[\s;]|,(?!\d)", value)[0])
                except ValueError:
                    number_value = np.nan
                if np.isfinite(number_value):
                    settings[name] = number_value
                else:
                    warnings.append(f"the header's {name} is not a number and is not used")
    return settings, list(dict.fromkeys(warnings))


def is_over_q(path: Path, lines: list[str], kind: str) -> bool:
    """Return whether the labels, the file name or the stated kind show that the axis is Q or an angle."""
    is_other_kind = kind.lower() in ("sq", "fq", "iq") or path.suffix.lower() in (".sq", ".fq", ".iq", ".chi")
    return is_other_kind or any(map(Q_LABEL.match, _label_lines(lines)))


def swings_about_zero(g: np.ndarray) -> bool:
    """Return whether a curve oscillates around 0, as G(r) does. S(Q) tends to 1, and I(Q) stays above 0."""
    tail = g[len(g) // 2 :]
    return bool((g < 0).any() and not abs(tail.mean()) > 3 * tail.std() > 0)


def _label_lines(lines: list[str]) -> list[str]:
    return [line for line in lines if "=" not in line]


def _refuse_other_kinds(path: Path, lines: list[str], kind: str) -> None:
    """Raise `ReadError` if the labels, the file name or the stated kind show that the curve is not G(r) over r in Å."""
    is_other_curve = is_over_q(path, lines, kind)
    expect(not is_other_curve, f"G(r) over r, got {path}, whose axis is Q or an angle; pass the .gr file")
    is_in_nm = any(map(NM_LABEL.match, _label_lines(lines)))
    expect(not is_in_nm, f"r in Å, got {path}, whose label states nm; multiply r by 10 and divide G by 100")


def _find_curves(
    labels: ColumnLabels, rows: np.ndarray, path: Path, *, kind: str | None
) -> tuple[list[CurveColumns], str, list[str]]:
    """Return the columns of each curve, the function of r that they hold, and the names of columns that are not read.

    The function is "gr" for G(r), or a key of `CONVERSIONS`. In a file without labels, the second column is a curve.
    Each further column is a curve if it oscillates around 0, because standard errors are never below 0. Four columns
    with one curve are r, G(r) and the errors of both, as PDFgui reads them.
    """
    if labels.axis is not None and labels.axis.role == "r" and (unit := labels.axis.unit):
        expect(q_axis.length_unit(unit) == "Å", f"r in Å, got {path}, whose label states {unit[:20]!a}; convert r to Å")
    axis_role = labels.axis.role if labels.axis is not None else "x"
    expect(axis_role in ("r", "x"), f"G(r) over r, got {path}, whose axis is Q or an angle; pass the .gr file")
    if not labels.columns:
        extra_columns = [column for column in range(2, rows.shape[1]) if swings_about_zero(rows[:, column])]
        if rows.shape[1] == N_COLUMNS_WITH_ERRORS and not extra_columns:
            return [CurveColumns(0, 1, 3)], "gr", []
        return [CurveColumns(0, column) for column in (1, *extra_columns)], "gr", []
    labelled_roles = {label.role for label in labels.columns}
    function = next((name for name in ("gr", *CONVERSIONS) if name in labelled_roles), "")
    other_function = next((name for name in FORMULAS if name in labelled_roles), "")
    if not function and other_function and not (kind == "gr" and "another" in other_function):
        label = next(label.name for label in labels.columns if label.role == other_function)
        advice = "convert it to " + FORMULAS[other_function] if "another" not in other_function else "pass --kind gr"
        raise ReadError(f"Expected G(r), got {label[:20]!a} in {path}; {advice}, or correct the label.")
    role = function or other_function or next((name for name in KIND_NAMES if name in labelled_roles), "gr")
    curve_columns, unread_names = assign_columns(labels.columns, [role])
    expect(len(curve_columns) > 0, f"a column labelled as G(r), got none in {path}; correct the labels")
    return curve_columns, function or "gr", unread_names


def _convert_to_g(
    function: str, r: np.ndarray, g: np.ndarray, path: Path, *, kind: str | None
) -> tuple[np.ndarray, list[str]]:
    """Convert a function of r to G(r) times an unknown factor, and return a warning that states the conversion.

    A G(r) is returned unchanged and without a warning.
    """
    if function == "G_k(r)":
        g = r * g + 0.0  # not -0
    if function == "g(r)":
        tends_to_one = abs(g[len(g) // 2 :].mean() - 1) <= KEEN_TAIL_TOLERANCE
        expect(
            tends_to_one or kind == "gr",
            f"g(r), which tends to 1, got another curve with the label g(r) in {path}; if it is a G(r), pass --kind gr",
        )
        if not tends_to_one:
            return g, []
        g = r * (g - 1)
    return g, [f"{CONVERSIONS[function]}, so do not use --absolute"] if function in CONVERSIONS else []


def _standard_errors(
    rows: np.ndarray, column: int | None, line_indices: Sequence[int], path: Path
) -> np.ndarray | None:
    """Return the standard errors of G(r) in a column; None if there is none.

    Raises:
        ReadError: If an error is negative, infinite or missing.
    """
    if column is None:
        return None
    sigma = rows[:, column]
    bad_rows = np.flatnonzero(~(np.isfinite(sigma) & (sigma >= 0)))
    if len(bad_rows):
        raise ReadError(
            f"Expected standard errors of G(r) of at least 0, got {sigma[bad_rows[0]]:g} in line "
            f"{line_indices[bad_rows[0]] + 1} of {path} ({len(bad_rows)} of {len(rows)} rows); correct column "
            f"{column + 1}, or remove it."
        )
    return sigma


def _usable_errors(r: np.ndarray, sigma: np.ndarray) -> np.ndarray | None:
    """Return the standard errors of G(r); None if they do not differ between points, e.g. if all are 0.

    The error at r = 0 becomes that of the next point, because both G(r) and its error are 0 there.
    """
    if r[0] == 0 and sigma[0] == 0:
        sigma[0] = sigma[1]
    return sigma if np.ptp(sigma) > MIN_ERROR_SPREAD * sigma.max() else None


def _error_setting(sigma: np.ndarray, columns: CurveColumns, labels: ColumnLabels) -> Setting:
    """Return the setting that states the root mean square of the standard errors, and their column as its origin."""
    assert columns.sigma is not None
    name = printable_name(labels.columns[columns.sigma].name) if labels.columns else ""
    origin = f"column {name or columns.sigma + 1}"
    return Setting(ERROR_SETTING, float(np.sqrt(np.mean(sigma**2))), origin)


def _r_and_g_columns(
    r_and_g: np.ndarray, line_indices: Sequence[int], path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return r and G(r) without the points whose r repeats that of the point before, and which points remain."""
    bad_rows = np.flatnonzero(~np.isfinite(r_and_g).all(axis=1))
    if len(bad_rows):
        raise ReadError(
            f"Expected finite numbers, got NaN or infinity in {len(bad_rows)} of {len(r_and_g)} rows of {path}, "
            f"first in line {line_indices[bad_rows[0]] + 1}; remove these rows."
        )
    r, g = r_and_g.T
    for row in np.flatnonzero(r[1:] < r[:-1])[:1] + 1:
        location = f"{r[row]:g} after {r[row - 1]:g} in line {line_indices[row] + 1} of {path}"
        raise ReadError(f"Expected increasing r, got {location}; sort the rows.")
    expect(r[0] >= 0, f"r of at least 0, got {r[0]:g} in {path}; check that the file holds a PDF")
    is_increasing = np.append(True, r[1:] > r[:-1])
    expect(
        is_increasing.sum() >= MIN_ROWS,
        f"at least {MIN_ROWS} different r, got {is_increasing.sum()} in {path}; check that the file holds a PDF",
    )
    repeats = f"{np.count_nonzero(~is_increasing)} of {len(r)} repeated in {path}"
    expect(is_increasing.mean() >= 0.9, f"each r once, got {repeats}; export r with more digits")
    return r[is_increasing], g[is_increasing], is_increasing


def _refuse_structure_functions(g: np.ndarray, path: Path) -> None:
    """Raise `ReadError` if a curve does not oscillate around 0, is constant, or is too large or small to be fitted."""
    max_magnitude = np.abs(g).max()
    has_usable_scale = max_magnitude == 0 or G_SCALE_RANGE[0] <= max_magnitude <= G_SCALE_RANGE[1]
    expect(has_usable_scale, f"G(r) in 1/Å², got values up to {max_magnitude:g} in {path}; check its unit and scale")
    expect(np.ptp(g) > 0, f"a PDF, got a constant curve in {path}; export it again")
    expect(
        swings_about_zero(g),
        f"G(r), which oscillates around 0, got a curve that resembles S(Q) or I(Q) in {path}; pass the .gr file",
    )
