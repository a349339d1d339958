"""Measured PDFs: readers of `.gr` files, and the settings that go with the data.

Headers of PDFgetX3, xPDFsuite and PDFgetXgui are read, and bare columns. They give qmin and qmax but never qdamp;
rmin and rmax here are the range of the fit. Lengths in Å, Q in 1/Å, G in 1/Å².
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

LARGEST = 64 * 2**20
"""Bytes; a longer file is no PDF."""
ROWS = 10
"""Least numeric rows of a data block."""
NUMBERS = ("qmin", "qmax", "qmaxinst", "qdamp", "qbroad", "rmin", "rmax", "rstep", "wavelength")
WORDS = ("composition", "mode", "outputtype")
DEFAULTS = {"qdamp": 0.03, "qbroad": 0.0, "rmin": 1.5, "rmax": 20.0}
FAST = 0.2
"""Share of the curve's power beyond 1.5 qmax from which its r cannot be in Å."""


class ReadError(ValueError):
    """A file that cannot be used; the message says what was expected, what was found and what to do."""


class Measurement(NamedTuple):
    """A measured PDF."""

    r: np.ndarray
    """[point] Å, increasing."""
    g: np.ndarray
    """[point] 1/Å²"""
    header: dict[str, float | str]
    """What the header says, of `NUMBERS` and `WORDS`; never its paths."""
    format: str
    """Program that wrote the file, or "bare"."""
    warnings: tuple[str, ...]
    sha256: str


class Setting(NamedTuple):
    """A setting, and where it came from."""

    name: str
    value: float
    origin: str
    """ "command line", "header", "data" or "default"."""


def read(path: Path | str) -> Measurement:
    """Return a measured PDF.

    Raises:
        ReadError: where the file is missing, empty, no text, no PDF in Å, or has NaN or decreasing r.
    """
    path = Path(path)
    raw = _bytes(path)
    lines = _text(raw, path).splitlines()
    first, rows = _block(lines, path)
    header, warnings = _header(lines[:first])
    _refuse_other_kinds(path, lines[:first], header)
    r, g = _columns(rows, first, path)
    duplicates = np.flatnonzero(np.diff(r) == 0) + 1
    if len(duplicates):
        r, g = np.delete(r, duplicates), np.delete(g, duplicates)
        warnings.append(f"{len(duplicates)} repeated r dropped")
    _refuse_structure_functions(r, g, path)
    stated = header.get("rmax")
    if isinstance(stated, float) and abs(stated - r[-1]) > max(0.05, 2 * (r[1] - r[0])):
        warnings.append(f"the header says rmax {stated:g}, the data end at {r[-1]:g} Å")
    return Measurement(r, g, header, _program(lines[:first]), tuple(warnings), hashlib.sha256(raw).hexdigest())


def resolve(measurement: Measurement, *, given: Mapping[str, float | None], bond: float) -> tuple[Setting, ...]:
    """Return qmin, qmax, qdamp, qbroad, rmin, rmax and rstep with their origins.

    Args:
        measurement: the data.
        given: the user's values, None where there is none. They override the header.
        bond: nearest-neighbour distance of the sample, in Å.

    Raises:
        ReadError: where Q limits are missing, or settings and data contradict each other.
    """
    found = {}
    for name in ("qmin", "qmax", "qdamp", "qbroad"):
        found[name] = _setting(name, given.get(name), measurement.header.get(name))
    for name in ("rmin", "rmax"):
        found[name] = _setting(name, given.get(name), None)
    end = float(measurement.r[-1])
    if found["rmax"].origin == "default" and found["rmax"].value > end:
        found["rmax"] = Setting("rmax", end, "default, cut to the data")
    if found["rmin"].origin == "default" and found["rmin"].value < measurement.r[0]:
        found["rmin"] = Setting("rmin", float(measurement.r[0]), "default, cut to the data")
    found["rstep"] = Setting("rstep", float(np.median(np.diff(measurement.r))), "data")
    _refuse_contradictions(measurement, {name: setting.value for name, setting in found.items()}, bond)
    return tuple(found.values())


def fast_share(r: np.ndarray, g: np.ndarray, q: float) -> float:
    """Return the share of the power of G(r) at frequencies above q, in 1/Å."""
    step = (r[-1] - r[0]) / (len(r) - 1)
    power = np.abs(np.fft.rfft((g - g.mean()) * np.hanning(len(g)))) ** 2
    frequency = 2 * np.pi * np.fft.rfftfreq(len(g), step)
    return float(power[frequency > q].sum() / max(power.sum(), 1e-300))


def _bytes(path: Path) -> bytes:
    if not path.exists():
        raise ReadError(f"Expected a PDF file, got {path}, which does not exist; check the path.")
    if not path.is_file():
        raise ReadError(f"Expected a PDF file, got {path}, which is a folder; pass the files in it.")
    if path.stat().st_size > LARGEST:
        raise ReadError(f"Expected a PDF of at most {LARGEST >> 20} MB, got {path}; pass a .gr file.")
    raw = path.read_bytes()
    if not raw.strip():
        raise ReadError(f"Expected a PDF file, got {path}, which is empty; export it again.")
    return raw


def _text(raw: bytes, path: Path) -> str:
    odd = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in raw[:4096])
    if b"\0" in raw or odd > 8:
        raise ReadError(f"Expected a text file, got {path}, which is binary; export G(r) as text (.gr).")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _numbers(line: str) -> list[float] | None:
    """Return the numbers of a row, or None where it is not one. Fortran's 1.0D-3 is a number, nan too."""
    words = re.split(r"[\s,;]+", line.strip().rstrip(",;"))
    try:
        return [float(re.sub(r"(?<=[\d.])[dD](?=[+-]?\d)", "e", word)) for word in words]
    except ValueError:
        return None


def _block(lines: list[str], path: Path) -> tuple[int, list[list[float]]]:
    """Return where the longest run of numeric rows of one width begins, and its rows."""
    best: tuple[int, list[list[float]]] = (0, [])
    start, run = 0, list[list[float]]()
    for index, line in enumerate(lines):
        row = None if line.lstrip()[:1] in ("#", "!", ";", "") else _numbers(line)
        if row is not None and len(row) < 2:
            row = None
        if row is None or (run and len(row) != len(run[0])):
            if run and not line.strip():
                continue
            run = []
        if row is not None:
            if not run:
                start = index
            run.append(row)
            if len(run) > len(best[1]):
                best = (start, run)
    if len(best[1]) < ROWS:
        raise ReadError(f"Expected at least {ROWS} rows of r and G(r), got {len(best[1])} in {path}; is it a PDF?")
    return best


def _header(lines: list[str]) -> tuple[dict[str, float | str], list[str]]:
    """Return what is known of the header, and warnings. [Misc] holds private paths and is not read."""
    found: dict[str, float | str] = {}
    warnings = []
    section = ""
    for line in lines:
        text = line.strip().lstrip("#!; ").strip()
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
        name, equals, value = (part.strip() for part in text.partition("="))
        name = name.lower()
        if not equals or section == "Misc":
            continue
        if name in WORDS:
            found[name] = value
        elif name in NUMBERS and value:
            number = _numbers(value)
            if number is None or not np.isfinite(number[0]):
                warnings.append(f"the header's {name} is no number and is not used")
            else:
                found[name] = number[0]
    return found, warnings


def _program(lines: list[str]) -> str:
    text = "\n".join(lines)
    for mark, name in (
        ("xPDFsuite Configuration", "xPDFsuite"),
        ("PDFgetXgui Configuration", "PDFgetXgui"),
        ("pdfgetx3", "PDFgetX3"),
        ("diffpy.pdfgetx", "PDFgetX3"),
        ("Get_XPDF", "PDFgetX2"),
        ("PDFgetN", "PDFgetN"),
    ):
        if mark in text:
            return name
    return "bare"


def _refuse_other_kinds(path: Path, lines: list[str], header: Mapping) -> None:
    """Refuse what the labels or the name say is no G(r) in Å."""
    labels = " ".join(line for line in lines if "=" not in line and line.lstrip()[:1] in ("#", "!", ";"))
    kind = str(header.get("outputtype", "gr")).lower()
    on_q = re.search(r"\bQ\s*[(\[_]|\bq_(A|nm)|2th_(deg|rad)|2-?theta\s*[(\[]|2-theta angle", labels, re.IGNORECASE)
    if on_q or kind in ("sq", "fq", "iq") or path.suffix.lower() in (".sq", ".fq", ".iq", ".chi"):
        raise ReadError(f"Expected G(r) over r, got {path}, whose axis is Q or an angle; pass the .gr file.")
    if re.search(r"\br\s*[(\[_]?\s*(nm|nanomet)", labels, re.IGNORECASE):
        raise ReadError(f"Expected r in Å, got {path}, labelled in nm; multiply r by 10 and divide G by 100.")


def _columns(rows: list[list[float]], first: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(rows)[:, :2]
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise ReadError(
            f"Expected finite numbers, got {len(bad)} rows with NaN or infinity in {path}, the first at data row "
            f"{bad[0] + 1}; remove them."
        )
    r, g = table.T
    back = np.flatnonzero(np.diff(r) < 0)
    if len(back):
        raise ReadError(f"Expected increasing r, got {r[back[0] + 1]:g} after {r[back[0]]:g} in {path}; sort the rows.")
    if r[0] < 0:
        raise ReadError(f"Expected r of at least 0, got {r[0]:g} in {path}; is it a PDF?")
    return r.copy(), g.copy()


def _refuse_structure_functions(r: np.ndarray, g: np.ndarray, path: Path) -> None:
    """Refuse curves that do not swing about zero: S(Q) goes to 1, I(Q) stays above 0."""
    tail = g[len(g) // 2 :]
    if np.ptp(g) == 0:
        raise ReadError(f"Expected a PDF, got a constant curve in {path}; export it again.")
    if (g[1:] > 0).all() or abs(tail.mean()) > 3 * tail.std() > 0:
        raise ReadError(
            f"Expected G(r), which swings about 0, got a curve like S(Q) or I(Q) in {path}; pass the .gr file."
        )


def _setting(name: str, given: float | None, header: float | str | None) -> Setting:
    if given is not None:
        return Setting(name, float(given), "command line")
    if isinstance(header, float):
        return Setting(name, header, "header")
    if name in DEFAULTS:
        return Setting(name, DEFAULTS[name], "default")
    raise ReadError(
        f"Expected {name} in the header or on the command line, got neither; pass --qmin and --qmax in 1/Å."
    )


def _refuse_contradictions(measurement: Measurement, value: dict[str, float], bond: float) -> None:
    r, end = measurement.r, float(measurement.r[-1])
    step, half = value["rstep"], value["rstep"] / 2
    steps = np.diff(r)
    inside = np.count_nonzero((r >= value["rmin"] - half) & (r <= value["rmax"] + half))
    for wrong, message in (
        (
            not all(np.isfinite(list(value.values()))),
            f"Expected finite settings, got {value}; check the command line.",
        ),
        (
            not 0 <= value["qmin"] < value["qmax"],
            f"Expected 0 <= qmin < qmax, got {value['qmin']:g} and {value['qmax']:g} 1/Å; pass --qmin and --qmax.",
        ),
        (
            min(value["qdamp"], value["qbroad"]) < 0,
            f"Expected qdamp and qbroad of at least 0, got {value['qdamp']:g} and {value['qbroad']:g}; pass --qdamp.",
        ),
        (
            end < 1.2 * bond,
            f"Expected data beyond one bond of {bond:.2f} Å, got r up to {end:g}: "
            "too short, or in nm; if in nm, multiply r by 10.",
        ),
        (
            not value["rmin"] < value["rmax"],
            f"Expected rmin < rmax, got {value['rmin']:g} and {value['rmax']:g} Å; pass --rmin and --rmax.",
        ),
        (
            value["rmax"] > end + half or value["rmin"] < r[0] - half,
            f"Expected rmin and rmax within the data, {r[0]:g} to {end:g} Å, got {value['rmin']:g} and "
            f"{value['rmax']:g}; pass --rmin and --rmax.",
        ),
        (
            step > np.pi / value["qmax"],
            f"Expected a step in r of at most pi/qmax = {np.pi / value['qmax']:.3g} Å, got {step:.3g}; "
            "export a finer grid, or correct --qmax.",
        ),
        (
            np.abs(steps - step).max() > 0.2 * step,
            f"Expected evenly spaced r, got steps of {steps.min():.3g} to {steps.max():.3g} Å; export an even grid.",
        ),
        (inside < ROWS, f"Expected at least {ROWS} points from rmin to rmax, got {inside}; widen the range."),
        (
            fast_share(r, measurement.g, 1.5 * value["qmax"]) > FAST,
            f"Expected r in Å, got a curve that varies faster than qmax = {value['qmax']:g} 1/Å allows: r is in nm "
            "(multiply it by 10), or qmax is wrong (correct --qmax).",
        ),
    ):
        if wrong:
            raise ReadError(message)
