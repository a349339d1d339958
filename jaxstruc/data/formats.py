"""Which reader a file is for: by its first bytes, its ending, and what its header says."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from jaxstruc.data import cansas, gr, hdf5, header, iq, nxcansas
from jaxstruc.data.measurement import Measurement
from jaxstruc.data.points import KINDS, NAMES
from jaxstruc.data.text import CURVE, PDF, ReadError, decoded, raw_bytes, table
from jaxstruc.options.pdf import Kind, QUnit

XML = (b"<?xml", b"<SAS", b"\xef\xbb\xbf<", b"\xff\xfe<\0", b"\xfe\xff\0<")
"""Those of an XML file, with and without a mark of its encoding."""
DEEP = 0.1
"""Of its highest peak, how deep a G(r) goes at least; I(Q) with its background off goes below 0 by noise alone."""
PDFS: tuple[Kind, ...] = ("gr", "sq", "fq")
"""Kinds of curves that lead to a G(r)."""


def read(
    path: Path | str,
    *,
    q_unit: QUnit | None = None,
    wavelength: float | None = None,
    kind: Kind | None = None,
    frame: int | None = None,
    wanted: Sequence[Kind] = KINDS,
) -> Measurement:
    """Return a measured curve. A file whose name ends in .gr is read as G(r) whatever else it looks like.

    Args:
        path: of the file.
        q_unit: 1/Å, 1/nm or 2theta, where a file over Q does not say it.
        wavelength: of an angle, in Å.
        kind: gr, iq, sq or fq, where the file does not say it.
        frame: which curve, counted from 1, where the file has several.
        wanted: kinds that can be used; others are refused with the command that takes them.

    Raises:
        ReadError: where the file cannot be used.
    """
    path, pdf = Path(path), "iq" not in wanted
    if "gr" in wanted and (kind == "gr" or (kind is None and path.suffix.lower() == ".gr")):
        return gr.read(path)
    raw = raw_bytes(path, PDF if pdf else CURVE, largest=hdf5.LARGEST)
    if reader := _structured(raw, path):
        if pdf or kind not in (None, "iq"):
            expected = " or ".join(NAMES[one] for one in ([kind] if kind else wanted))
            raise ReadError(f"Expected {expected}, got I(Q) in {path}; pass it to jaxstruc saxs.")
        return reader.read(path, q_unit=q_unit, wavelength=wavelength, frame=frame)
    if kind is None and q_unit is None and "gr" in wanted and _over_r(raw, path, pdf=pdf):
        return gr.read(path)
    return iq.read(path, q_unit=q_unit, wavelength=wavelength, kind=kind, wanted=wanted)


def _structured(raw: bytes, path: Path) -> ModuleType | None:
    """Return the reader of a file that is no columns, None for columns."""
    suffix = path.suffix.lower()
    if raw.startswith(hdf5.SIGNATURE) or suffix in hdf5.SUFFIXES:
        return nxcansas
    return cansas if raw.startswith(XML) or suffix == ".xml" else None


def _over_r(raw: bytes, path: Path, *, pdf: bool) -> bool:
    """Return whether columns are over r, or broken in a way that the reader of G(r) tells.

    A file without labels is, where a G(r) is wanted, and else where its curve swings about 0.
    """
    try:
        lines = decoded(raw, path).splitlines()
        numbers, rows, _ = table(lines, path)
    except ReadError:
        return pdf
    top = lines[: numbers[0]]
    outputtype = str(header.stated(top)[0].get("outputtype", ""))
    if gr.over_q(path, top, outputtype):
        return False
    told = iq.described(top, path, outputtype, width=rows.shape[1])
    if pdf or told.kind:
        return pdf or told.kind == "gr"
    curve = rows[:, 1]
    if told.names or told.unit or not np.isfinite(curve).all():
        return False
    with np.errstate(all="ignore"):  # numbers may be as large as they can
        return gr.swings(curve) and -curve.min() > DEEP * curve.max()
