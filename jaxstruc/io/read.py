"""Which reader a file is for: by its first bytes, its ending, and what its header says."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from jaxstruc.io import cansas, gr, iq, isolated_process, nxcansas
from jaxstruc.io.columns import CURVE_RULES, PDF_RULES, ReadError, decode_text, raw_bytes, read_table
from jaxstruc.io.measurement import Measurement
from jaxstruc.io.points import CURVE_KINDS, KIND_NAMES
from jaxstruc.options.pdf import Kind, QUnit

XML_SIGNATURES = (b"<?xml", b"<SAS", b"\xef\xbb\xbf<", b"\xff\xfe<\0", b"\xfe\xff\0<")
"""Those of an XML file, with and without a mark of its encoding."""
MIN_RELATIVE_DEPTH = 0.1
"""Of its highest peak, how deep a G(r) goes at least; I(Q) with its background off goes below 0 by noise alone."""
PDF_KINDS: tuple[Kind, ...] = ("gr", "sq", "fq")
"""Kinds of curves that lead to a G(r)."""


def read_curve(
    path: Path | str,
    *,
    q_unit: QUnit | None = None,
    wavelength: float | None = None,
    kind: Kind | None = None,
    frame: int | None = None,
    accepted_kinds: Sequence[Kind] = CURVE_KINDS,
) -> Measurement:
    """Return a measured curve. A file whose name ends in .gr is read as G(r) whatever else it looks like.

    Args:
        path: of the file.
        q_unit: 1/Å, 1/nm or 2theta, where a file over Q does not say it.
        wavelength: of an angle, in Å.
        kind: gr, iq, sq or fq, where the file does not say it.
        frame: which curve, counted from 1, where the file has several.
        accepted_kinds: kinds that can be used; others are refused with the command that takes them.

    Raises:
        ReadError: where the file cannot be used.
    """
    path, expects_pdf = Path(path), "iq" not in accepted_kinds
    if "gr" in accepted_kinds and (kind == "gr" or (kind is None and path.suffix.lower() == ".gr")):
        return gr.read(path)
    raw = raw_bytes(path, PDF_RULES if expects_pdf else CURVE_RULES, max_bytes=isolated_process.MAX_FILE_BYTES)
    if reader := _structured_reader(raw, path):
        if expects_pdf or kind not in (None, "iq"):
            expected = " or ".join(KIND_NAMES[accepted_kind] for accepted_kind in ([kind] if kind else accepted_kinds))
            raise ReadError(f"Expected {expected}, got I(Q) in {path}; pass it to jaxstruc saxs.")
        return reader.read(path, q_unit=q_unit, wavelength=wavelength, frame=frame)
    if kind is None and q_unit is None and "gr" in accepted_kinds and _is_over_r(raw, path, expects_pdf=expects_pdf):
        return gr.read(path)
    return iq.read(path, q_unit=q_unit, wavelength=wavelength, kind=kind, accepted_kinds=accepted_kinds)


def _structured_reader(raw: bytes, path: Path) -> ModuleType | None:
    """Return the reader of a file that is no columns, None for columns."""
    suffix = path.suffix.lower()
    if raw.startswith(isolated_process.SIGNATURE) or suffix in isolated_process.SUFFIXES:
        return nxcansas
    return cansas if raw.startswith(XML_SIGNATURES) or suffix == ".xml" else None


def _is_over_r(raw: bytes, path: Path, *, expects_pdf: bool) -> bool:
    """Return whether columns are over r, or broken in a way that the reader of G(r) tells.

    A file without labels is, where a G(r) is wanted, and else where its curve swings about 0.
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
    labels = iq.describe_columns(header_lines, path, outputtype, n_columns=rows.shape[1])
    if expects_pdf or labels.kind:
        return expects_pdf or labels.kind == "gr"
    curve = rows[:, 1]
    if labels.names or labels.axis_unit or not np.isfinite(curve).all():
        return False
    with np.errstate(all="ignore"):  # numbers may be as large as they can
        return gr.swings_about_zero(curve) and -curve.min() > MIN_RELATIVE_DEPTH * curve.max()
