"""Readers of curves over Q in columns: `.dat .chi .iq .sq .fq .csv .xye .txt .ABS`.

A line of labels says what the columns are and the unit of the first; without one they are Q, the curve, its standard
error, and the width of the resolution, as all programs write them.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxstruc.data import axis, header, points
from jaxstruc.data.measurement import Measurement
from jaxstruc.data.points import NAMES, SLITS, Columns
from jaxstruc.data.text import CURVE, LONGEST, ReadError, decoded, expect, raw_bytes, table

ROLES = {
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
"""Names of columns by what they hold, without spaces, marks and brackets."""
AMBIGUOUS = ("sigma(q)", "err(q)", "error(q)")
"""An error of the curve, or the width of the resolution: read as neither."""
_ROLES = {name: role for role, names in ROLES.items() for name in names.split()}
_SUFFIXES = {".sq": "sq", ".fq": "fq", ".iq": "iq", ".gr": "gr", ".chi": "iq", ".xye": "iq", ".abs": "iq"}
_WAVELENGTH = re.compile(r"(?i)[#!;\s]*wavelength\s*[:=]\s*([\d.eE+-]+)\s*(m|nm|Å|A)?\s*$")
_METRES = 1e-8
"""A wavelength below is in metres, as pyFAI writes it."""
LABEL = 80
"""Most characters of a label."""
MOST = 4
"""Columns without labels."""


class Described(NamedTuple):
    """What a file says of its columns."""

    roles: tuple[str, ...]
    """Of each column, "" where it is none that is known."""
    names: tuple[str, ...]
    """As the labels have them; empty where there are none."""
    units: tuple[str, ...]
    """As the labels have them, "" where they do not."""
    unit: str
    """Of the axis, as `axis` knows it; "" where it is not said."""
    kind: str
    """gr, iq, sq, fq; "" where it is not said."""


def read(
    path: Path | str,
    *,
    q_unit: str | None = None,
    wavelength: float | None = None,
    kind: str | None = None,
    wanted: Sequence[str] = ("iq", "sq", "fq"),
) -> Measurement:
    """Return a measured curve over Q.

    Args:
        path: of the file.
        q_unit: 1/Å, 1/nm or 2theta, where the file does not say it.
        wavelength: of an angle, in Å.
        kind: iq, sq or fq, where the file does not say it [iq, where that is wanted].
        wanted: kinds that can be used; others are refused with the command that takes them.

    Raises:
        ReadError: where the file is missing, no text, no such curve, or does not say what it holds.
    """
    path = Path(path)
    raw = raw_bytes(path, CURVE)
    lines = decoded(raw, path, CURVE).splitlines()
    numbers, rows, others = table(lines, path, CURVE)
    top = lines[: numbers[0]]
    known, warnings = header.stated(top)
    told = described(top, path, str(known.pop("outputtype", "")), width=rows.shape[1])
    found = _kind(told.kind, kind, wanted, path)
    columns, more = _columns(told, rows, numbers, path)
    if others >= len(rows) // 10 + 1:
        warnings.append(f"{others} rows of numbers outside the block at line {numbers[0] + 1} not read")
    length = known.pop("wavelength", None)
    columns = columns._replace(wavelength=_wavelength(top, length if isinstance(length, float) else None))
    form = header.program(top)
    return points.measured(
        columns, path=str(path), kind=found, q_unit=q_unit, wavelength=wavelength, header=known,
        form="columns" if form == "bare" else form, sha256=hashlib.sha256(raw).hexdigest(), warnings=[*warnings, *more],
    )  # fmt: skip


def described(top: list[str], path: Path, outputtype: str = "", *, width: int) -> Described:
    """Return what the lines above the numbers, and the file's name, say of its columns.

    Args:
        top: those lines.
        path: of the file.
        outputtype: as a header of a PDF program says it.
        width: number of columns.
    """
    best: Described | None = None
    for line in top:
        if len(line) <= LONGEST and (found := _labelled(line, width)):
            best = found
    kinds = (outputtype.lower(), best.kind if best else "", _SUFFIXES.get(path.suffix.lower(), ""))
    kind = next((kind for kind in kinds if kind in NAMES), "")
    return best._replace(kind=kind) if best else Described((), (), (), "", kind)


def _labelled(line: str, width: int) -> Described | None:
    """Return what a line of labels says, None where it is none."""
    parts = _parted(line)
    if len(parts) not in (1, width) or max(map(len, parts)) > LABEL:
        return None
    found = [_label(part) for part in parts]
    if found[0][0] not in ("q", "r", axis.ANGLE):
        return None
    (role, _, unit), *rest = found
    if len(found) == 1 and not unit:
        return None
    roles = ("q" if role == axis.ANGLE else role, *(role for role, _, _ in rest))
    curve = next((role for role in roles[1:] if role in NAMES), "")
    stated = axis.ANGLE if role == axis.ANGLE and unit else axis.inverse_length(unit)
    names = tuple(name for _, name, _ in found)
    units = tuple(unit for _, _, unit in found)
    return Described(roles, names if rest else (), units, stated, "gr" if role == "r" else curve)


def _parted(line: str) -> list[str]:
    """Return the labels of a line: between bars, tabs, commas or semicolons, else words with their units."""
    text = re.sub(r"^(L\s|The \d+ columns are\b)", "", line.strip().lstrip("#!;/ ").rstrip("|,; "))
    for mark in ("|", "\t", ",", ";"):
        if mark in text:
            return [part.strip(" \"'") for part in text.strip(mark + " ").split(mark)]
    text = re.sub(r"\s+(?=[(\[])|\s*/\s*(?=[\w(\[])", lambda found: "/" if "/" in found.group() else "", text)
    if re.match(r"(?i)(scattering|momentum|2-theta|two-theta)\b", text):
        return [text]
    return [part.strip("\"'") for part in re.findall(r"(?:\([^)]*\)|\[[^\]]*\]|[^\s(\[])+", text)]


def _label(text: str) -> tuple[str, str, str]:
    """Return the role, the name and the unit of a label."""
    match = re.fullmatch(r"(.*?)\s*(?:[(\[]([^()\[\]]*|\S*)[)\]]|/\s*(\S+)|_(\S*(?:\^?-1|deg|rad)))", text)
    forms = [(text, "")]
    if re.sub(r"\s", "", text.lower()) in AMBIGUOUS:
        return "", text, ""
    if match:
        forms.append((match[1], next(filter(None, match.groups()[1:]), "")))
    for name, unit in forms:
        if axis.angle(name, unit or "deg"):
            return axis.ANGLE, text, axis.angle(name, unit)
        if role := _ROLES.get(re.sub(r"[\s<>._()]", "", name.lower()), ""):
            return role, text, unit
    return "", text, ""


def _kind(stated: str, asked: str | None, wanted: Sequence[str], path: Path) -> str:
    """Return the kind of a curve over Q; refuse what is another, and say which command takes it."""
    expected = " or ".join(NAMES[kind] for kind in ([asked] if asked else wanted))
    if not stated and not asked and "iq" not in wanted:
        raise ReadError(
            f"Expected {expected}, got a curve over Q in {path} that does not say which; pass --kind sq or --kind fq, "
            "or an I(Q) to jaxstruc saxs."
        )
    found = stated or asked or "iq"
    if found not in wanted or (asked and found != asked):
        own = "saxs" if asked == "iq" or "gr" not in wanted else "solve"
        other = "saxs" if found == "iq" else "solve"
        step = f"drop --kind {asked}" if asked and own == other else f"pass it to jaxstruc {other}"
        raise ReadError(f"Expected {expected}, got {NAMES[found]} in {path}; {step}.")
    return found


def _columns(told: Described, rows: np.ndarray, numbers: Sequence[int], path: Path) -> tuple[Columns, list[str]]:
    """Return the columns by their labels, or by their order where they have none; and warnings."""
    width = rows.shape[1]
    if told.names:
        roles, units = told.roles, told.units
    else:
        expect(width <= MOST, f"at most {MOST} columns without labels, got {width} in {path}; name them in a line")
        roles, units = ("q", "iq", "sigma", "dq")[:width], ("",) * width
    curve = next((place for place, role in enumerate(roles) if role in NAMES), 1)
    expect(
        roles[curve] not in ("sigma", "dq", "slit"), f"a column of I(Q), got none by the labels of {path}; name it I"
    )
    places = {role: place for place, role in reversed(list(enumerate(roles)))}
    slit = rows[:, places["slit"]] if "slit" in places else np.zeros(1)
    expect(not (slit != 0).any(), f"{SLITS}, got widths of slits in {path}; desmear it first")
    errors, widths = (rows[:, places[role]] if role in places else None for role in ("sigma", "dq"))
    points.refuse_other_unit("dQ", units[places["dq"]] if "dq" in places else "", "Q", units[0], path)
    lines = tuple(f"line {number + 1}" for number in numbers)
    columns = Columns(rows[:, 0], rows[:, curve], errors, widths, lines, told.unit, units[curve])
    if not told.names:
        names = (("sigma", "dQ")[place] for place in range(width - 2))
        return columns, [f"column {place}, without a label, read as {name}" for place, name in enumerate(names, 3)]
    left = [told.names[place] for place, role in enumerate(roles) if not role and place != curve]
    shown = [name[:20] for name in left if name.isprintable()][:MOST]
    return columns, [f"columns not read: {', '.join(shown)}"] if shown else []


def _wavelength(top: list[str], stated: float | None) -> float | None:
    """Return the wavelength of a header in Å; pyFAI writes metres."""
    for line in top:
        if len(line) <= LONGEST and (match := _WAVELENGTH.match(line)):
            try:
                stated = float(match[1]) * {"m": 1e10, "nm": 10.0}.get(match[2] or "", 1.0)
            except ValueError:
                continue
    return stated * 1e10 if stated is not None and 0 < stated < _METRES else stated
