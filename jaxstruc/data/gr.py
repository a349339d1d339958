"""Readers of `.gr` files: headers of PDFgetX3, xPDFsuite and PDFgetXgui, and bare columns."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxstruc.data import header
from jaxstruc.data.measurement import Measurement
from jaxstruc.data.text import ROWS, ReadError, decoded, expect, raw_bytes, table

LABEL = r"(?i)[#!;\s]*(?:L\s+)?[\"']?"
ON_Q = re.compile(LABEL + r"(Q\s*([(\[_,/]|\s([SFI]|Intensity)\b|$)|2-?(th|θ)|two-?theta|tth\b|angle\s*[(\[])")
IN_NM = re.compile(LABEL + r"(r|distance)[\s,/(\[_]*(in\s+)?(nm|nanomet)")

SCALES = 1e-9, 1e9
"""1/Å². Of the largest |G|; beyond, sums of squares leave single precision."""


def read(path: Path | str) -> Measurement:
    """Return a measured PDF.

    Raises:
        ReadError: where the file is missing, empty, no text, no PDF in Å, broken, or has NaN or decreasing r.
    """
    path = Path(path)
    raw = raw_bytes(path)
    lines = decoded(raw, path).splitlines()
    numbers, rows, others = table(lines, path)
    top = lines[: numbers[0]]
    known, warnings = header.stated(top)
    _refuse_other_kinds(path, top, str(known.pop("outputtype", "gr")))
    r, g = _columns(rows, numbers, path)
    if others >= ROWS:
        warnings.append(f"{others} rows of numbers outside the block at line {numbers[0] + 1} not read")
    if repeated := len(rows) - len(r):
        warnings.append(f"{repeated} repeated r dropped")
    _refuse_structure_functions(g, path)
    stated = known.get("rmax")
    if isinstance(stated, float) and abs(stated - r[-1]) > max(0.05, 2 * (r[1] - r[0])):
        warnings.append(f"the header says rmax {stated:g}, the data end at {r[-1]:g} Å")
    program = header.program(top)
    return Measurement(str(path), r, g, known, program, tuple(warnings), hashlib.sha256(raw).hexdigest())


def over_q(path: Path, lines: list[str], kind: str) -> bool:
    """Return whether labels, the name, or the kind that a header says, tell a curve over Q or an angle."""
    other = kind.lower() in ("sq", "fq", "iq") or path.suffix.lower() in (".sq", ".fq", ".iq", ".chi")
    return other or any(map(ON_Q.match, _labels(lines)))


def swings(g: np.ndarray) -> bool:
    """Return whether a curve swings about 0, as G(r) does: S(Q) goes to 1, I(Q) stays above 0."""
    tail = g[len(g) // 2 :]
    return bool((g < 0).any() and not abs(tail.mean()) > 3 * tail.std() > 0)


def _labels(lines: list[str]) -> list[str]:
    return [line for line in lines if "=" not in line]


def _refuse_other_kinds(path: Path, lines: list[str], kind: str) -> None:
    """Refuse what the labels or the name say is no G(r) in Å."""
    other = over_q(path, lines, kind)
    expect(not other, f"G(r) over r, got {path}, whose axis is Q or an angle; pass the .gr file")
    nm = any(map(IN_NM.match, _labels(lines)))
    expect(not nm, f"r in Å, got {path}, labelled in nm; multiply r by 10 and divide G by 100")


def _columns(rows: np.ndarray, numbers: Sequence[int], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return r and G(r), each r once."""
    both = rows[:, :2]
    bad = np.flatnonzero(~np.isfinite(both).all(axis=1))
    if len(bad):
        raise ReadError(
            f"Expected finite numbers, got NaN or infinity in {len(bad)} of {len(both)} rows of {path}, "
            f"first in line {numbers[bad[0]] + 1}; remove them."
        )
    r, g = both.T
    for back in np.flatnonzero(r[1:] < r[:-1])[:1] + 1:
        where = f"{r[back]:g} after {r[back - 1]:g} in line {numbers[back] + 1} of {path}"
        raise ReadError(f"Expected increasing r, got {where}; sort the rows.")
    expect(r[0] >= 0, f"r of at least 0, got {r[0]:g} in {path}; check that it is a PDF")
    kept = np.append(True, r[1:] > r[:-1])
    expect(kept.sum() >= ROWS, f"at least {ROWS} different r, got {kept.sum()} in {path}; check that it is a PDF")
    repeats = f"{np.count_nonzero(~kept)} of {len(r)} repeated in {path}"
    expect(kept.mean() >= 0.9, f"each r once, got {repeats}; export r with more digits")
    return r[kept], g[kept]


def _refuse_structure_functions(g: np.ndarray, path: Path) -> None:
    """Refuse curves that do not swing about zero, S(Q) goes to 1, I(Q) stays above 0; or that no fit can scale."""
    largest = np.abs(g).max()
    scaled = largest == 0 or SCALES[0] <= largest <= SCALES[1]
    expect(scaled, f"G(r) in 1/Å², got values up to {largest:g} in {path}; check its unit and scale")
    expect(np.ptp(g) > 0, f"a PDF, got a constant curve in {path}; export it again")
    expect(swings(g), f"G(r), which swings about 0, got a curve like S(Q) or I(Q) in {path}; pass the .gr file")
