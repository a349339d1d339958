"""Reading of any measured curve. The reader is chosen by the first bytes, the name and the header of the file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxstruc.io import cansas, gr, iq, isolated_process, nxcansas
from jaxstruc.io.columns import CURVE_RULES, PDF_RULES, ReadError, decode_text, raw_bytes, read_table
from jaxstruc.io.labels import describe_columns
from jaxstruc.io.measurement import Measurement
from jaxstruc.io.points import CURVE_KINDS, KIND_NAMES, WIDE_ANGLE_ADVICE, CurveFile
from jaxstruc.options.pdf import Kind, QUnit

XML_SIGNATURES = (b"<?xml", b"<SAS", b"\xef\xbb\xbf<", b"\xff\xfe<\0", b"\xfe\xff\0<")
"""First bytes of an XML file, with and without a byte order mark."""
MIN_RELATIVE_DEPTH = 0.1
"""Smallest depth of the minimum of a G(r) below 0, relative to the highest peak of the G(r).

An I(Q) from which a background was subtracted is below 0 only because of noise, and less deeply.
"""
PDF_KINDS: tuple[Kind, ...] = ("gr", "sq", "fq")
"""Kinds of curves that can be converted to a G(r)."""


def read_curve(
    path: Path | str,
    *,
    q_unit: QUnit | None = None,
    wavelength: float | None = None,
    kind: Kind | None = None,
    frame: int | None = None,
    accepted_kinds: Sequence[Kind] = CURVE_KINDS,
) -> Measurement:
    """Read a measured curve of any kind from a file of any known format.

    A file whose name ends in .gr is read as G(r), unless `kind` states another kind or G(r) is not accepted.

    Args:
        path: Path of the file.
        q_unit: Unit of the axis of a curve over Q (1/Å, 1/nm, 2theta or 2theta-rad). It overrides the unit that the
            file states.
        wavelength: Wavelength in Å, needed if the axis is an angle.
        kind: Kind of the curve (gr, iq, sq or fq) if the file states none.
        frame: Number of the curve, counted from 1, if the file holds several curves.
        accepted_kinds: Kinds that the caller can use. The error for another kind names the command that accepts it.

    Raises:
        ReadError: If the file cannot be used, or holds several curves and no frame is given.
    """
    curve_file = _open_file(path, q_unit=q_unit, wavelength=wavelength, kind=kind, accepted_kinds=accepted_kinds)
    if curve_file is None:
        return nxcansas.read(path, q_unit=q_unit, wavelength=wavelength, frame=frame)
    return curve_file.read(frame)


def read_all(
    path: Path | str,
    *,
    q_unit: QUnit | None = None,
    wavelength: float | None = None,
    kind: Kind | None = None,
    accepted_kinds: Sequence[Kind] = CURVE_KINDS,
) -> list[Measurement | ReadError]:
    """Read all curves of a file in the order of their numbers (`frame`). See `read_curve` for the arguments.

    If the file holds several curves, each measurement has the number of its curve in `settings` under `frame`.

    Returns:
        Measurement of each curve, or the error if the curve cannot be used.

    Raises:
        ReadError: If the file as a whole cannot be used.
    """
    curve_file = _open_file(path, q_unit=q_unit, wavelength=wavelength, kind=kind, accepted_kinds=accepted_kinds)
    if curve_file is None:
        return nxcansas.read_all(path, q_unit=q_unit, wavelength=wavelength)
    return curve_file.read_all()


def count_frames(
    path: Path | str,
    *,
    q_unit: QUnit | None = None,
    wavelength: float | None = None,
    kind: Kind | None = None,
    accepted_kinds: Sequence[Kind] = CURVE_KINDS,
) -> int:
    """Return the number of curves of a file. See `read_curve` for the arguments and errors."""
    curve_file = _open_file(path, q_unit=q_unit, wavelength=wavelength, kind=kind, accepted_kinds=accepted_kinds)
    return nxcansas.count_curves(path) if curve_file is None else len(curve_file.names)


def _open_file(
    path: Path | str,
    *,
    q_unit: QUnit | None,
    wavelength: float | None,
    kind: Kind | None,
    accepted_kinds: Sequence[Kind],
) -> CurveFile | None:
    """Return a file of columns or XML whose curves can be read, or None for an HDF5 file.

    Raises:
        ReadError: If the file cannot be used, or if its kind of curve is not accepted.
    """
    path, expects_pdf = Path(path), "iq" not in accepted_kinds
    if "gr" in accepted_kinds and (kind == "gr" or (kind is None and path.suffix.lower() == ".gr")):
        return gr.open_file(path, kind=kind)
    raw = raw_bytes(path, PDF_RULES if expects_pdf else CURVE_RULES, max_bytes=isolated_process.MAX_FILE_BYTES)
    is_hdf5, is_xml = _is_hdf5(raw, path), _is_xml(raw, path)
    if (is_hdf5 or is_xml) and (expects_pdf or kind not in (None, "iq")):
        expected = " or ".join(KIND_NAMES[accepted_kind] for accepted_kind in ([kind] if kind else accepted_kinds))
        raise ReadError(f"Expected {expected}, got I(Q) in {path}; pass it to jaxstruc saxs{WIDE_ANGLE_ADVICE}.")
    if is_hdf5:
        return None
    if is_xml:
        return cansas.open_file(path, q_unit=q_unit, wavelength=wavelength)
    if kind is None and q_unit is None and "gr" in accepted_kinds and _is_over_r(raw, path, expects_pdf=expects_pdf):
        return gr.open_file(path)
    return iq.open_file(path, q_unit=q_unit, wavelength=wavelength, kind=kind, accepted_kinds=accepted_kinds)


def _is_hdf5(raw: bytes, path: Path) -> bool:
    return raw.startswith(isolated_process.SIGNATURE) or path.suffix.lower() in isolated_process.SUFFIXES


def _is_xml(raw: bytes, path: Path) -> bool:
    return raw.startswith(XML_SIGNATURES) or path.suffix.lower() == ".xml"


def _is_over_r(raw: bytes, path: Path, *, expects_pdf: bool) -> bool:
    """Return whether the reader of G(r) is to read a file of columns.

    A file without labels is a G(r) if the caller does not accept I(Q) (`expects_pdf`), or if its curve oscillates
    around 0. A file that cannot be read is passed to the reader of G(r) if the caller does not accept I(Q). The error
    then states that a G(r) was expected.
    """
    try:
        lines = decode_text(raw, path).splitlines()
        line_indices, rows, _ = read_table(lines, path)
    except ReadError:
        return expects_pdf
    header_lines = lines[: line_indices[0]]
    outputtype = str(gr.header_settings(header_lines)[0].get("outputtype", ""))
    if gr.is_over_q(path, header_lines, outputtype):
        return False
    labels = describe_columns(header_lines, path, outputtype, n_columns=rows.shape[1])
    if labels.axis is not None and labels.axis.role in ("q", "2theta"):
        return False
    if expects_pdf or labels.kind:
        return expects_pdf or labels.kind == "gr"
    curve = rows[:, 1]
    if labels.columns or labels.axis_unit or not np.isfinite(curve).all():
        return False
    with np.errstate(all="ignore"):  # the numbers of a damaged file may overflow
        return gr.swings_about_zero(curve) and -curve.min() > MIN_RELATIVE_DEPTH * curve.max()
