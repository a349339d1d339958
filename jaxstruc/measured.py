"""Measured PDFs: readers of `.gr` files, and the settings that go with the data.

Headers of PDFgetX3, xPDFsuite and PDFgetXgui are read, and bare columns. They give qmin and qmax but seldom qdamp;
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
FAST = 0.3
"""Share of power beyond 1.5 qmax from which r is not in Å. Four measured PDFs: below 0.001; in nm above 0.59."""
NEAR = 20.0
"""Å of data, from their start, for that share: farther out a nanoparticle's PDF is noise alone."""
PROGRAMS = (
    ("xPDFsuite Configuration", "xPDFsuite"),
    ("PDFgetXgui Configuration", "PDFgetXgui"),
    ("pdfgetx", "PDFgetX3"),
    ("Get_XPDF", "PDFgetX2"),
    ("PDFgetN", "PDFgetN"),
)
LABEL = r"(?im)^[#!;\s]*(?:L\s+)?[\"']?"
ON_Q = re.compile(LABEL + r"(Q\s*([(\[_,]|\s[SFI]\b|$)|2-?th)")
IN_NM = re.compile(LABEL + r"(r|distance)[\s,/(\[_]*(in\s+)?(nm|nanomet)")


class ReadError(ValueError):
    """A file that cannot be used; the message says what was expected, what was found and what to do."""


class Measurement(NamedTuple):
    """A measured PDF."""

    r: np.ndarray
    """[point] Å, strictly increasing."""
    g: np.ndarray
    """[point] 1/Å²"""
    header: dict[str, float | str]
    """What the header says, of `NUMBERS`, composition and mode; never its paths."""
    format: str
    """Program that wrote the file, or "bare"."""
    warnings: tuple[str, ...]
    sha256: str


class Setting(NamedTuple):
    """A setting, and where it came from."""

    name: str
    value: float
    origin: str
    """ "command line", "header", "data", "default" or "default, cut to the data"."""


def read(path: Path | str) -> Measurement:
    """Return a measured PDF.

    Raises:
        ReadError: where the file is missing, empty, no text, no PDF in Å, or has NaN or decreasing r.
    """
    path = Path(path)
    raw = _bytes(path)
    lines = _text(raw, path).splitlines()
    numbers, rows, others = _block(lines, path)
    top = lines[: numbers[0]]
    header, warnings = _header(top)
    _refuse_other_kinds(path, top, str(header.pop("outputtype", "gr")))
    r, g = _columns(rows, numbers, path)
    if others >= ROWS:
        warnings.append(f"{others} rows of numbers outside the block at line {numbers[0] + 1} not read")
    if repeated := len(rows) - len(r):
        warnings.append(f"{repeated} repeated r dropped")
    _refuse_structure_functions(g, path)
    stated = header.get("rmax")
    if isinstance(stated, float) and abs(stated - r[-1]) > max(0.05, 2 * (r[1] - r[0])):
        warnings.append(f"the header says rmax {stated:g}, the data end at {r[-1]:g} Å")
    program = next((name for mark, name in PROGRAMS if mark in "\n".join(top)), "bare")
    return Measurement(r, g, header, program, tuple(warnings), hashlib.sha256(raw).hexdigest())


def resolve(measurement: Measurement, *, given: Mapping[str, float | None], bond: float) -> tuple[Setting, ...]:
    """Return qmin, qmax, qdamp, qbroad, rmin, rmax and rstep with their origins.

    Args:
        measurement: the data.
        given: the user's values, None where there is none. They override the header.
        bond: nearest-neighbour distance of the sample, in Å.

    Raises:
        ReadError: where Q limits are missing, or settings and data contradict each other.
    """
    header = measurement.header
    found = {name: _setting(name, given.get(name), header.get(name)) for name in ("qmin", "qmax", "qdamp", "qbroad")}
    found |= {name: _setting(name, given.get(name), None) for name in ("rmin", "rmax")}
    start, end = float(measurement.r[0]), float(measurement.r[-1])
    if found["rmax"].origin == "default" and found["rmax"].value > end:
        found["rmax"] = Setting("rmax", end, "default, cut to the data")
    if found["rmin"].origin == "default" and found["rmin"].value < start:
        found["rmin"] = Setting("rmin", start, "default, cut to the data")
    found["rstep"] = Setting("rstep", float(np.median(np.diff(measurement.r))), "data")
    value = {name: setting.value for name, setting in found.items()}
    _refuse_settings(value)
    _refuse_range(measurement.r, value, bond)
    _refuse_grid(measurement.r, measurement.g, value)
    return tuple(found.values())


def fast_share(r: np.ndarray, g: np.ndarray, q: float) -> float:
    """Return the share of the power of the near part of G(r) at frequencies above q, in 1/Å."""
    g = g[r - r[0] <= NEAR]
    power = np.abs(np.fft.rfft(g - g.mean())) ** 2
    frequency = 2 * np.pi * np.fft.rfftfreq(len(g), (r[-1] - r[0]) / (len(r) - 1))
    return float(power[frequency > q].sum() / max(power.sum(), 1e-300))


def _bytes(path: Path) -> bytes:
    try:
        _expect(path.exists(), f"a PDF file, got {path}, which does not exist; check the path")
        _expect(not path.is_dir(), f"a PDF file, got {path}, which is a folder; pass the files in it")
        _expect(path.is_file(), f"a PDF file, got {path}, which is a device or a pipe; pass a .gr file")
        size = path.stat().st_size
        _expect(size <= LARGEST, f"a PDF of at most {LARGEST >> 20} MB, got {path}; pass a .gr file")
        raw = path.read_bytes()
    except OSError as error:
        raise ReadError(f"Expected a readable file, got {path}: {error.strerror}; check it.") from error
    _expect(bool(raw.strip()), f"a PDF file, got {path}, which is empty; export it again")
    return raw


def _text(raw: bytes, path: Path) -> str:
    odd = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in raw[:4096])
    text = b"\0" not in raw and odd <= 8
    _expect(text, f"a text file, got {path}, which is binary; export G(r) as text (.gr)")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _number(word: str) -> float:
    """Return a number, nan and Fortran's 1.0D-3 too."""
    return float(re.sub(r"(?<=[\d.])[dD](?=[+-]?\d)", "e", word))


def _numbers(line: str) -> list[float] | None:
    """Return the numbers of a row of at least two, or None where it is not one."""
    words = re.split(r"[\s,;]+", line.strip().rstrip(",;"))
    try:
        return [_number(word) for word in words] if len(words) > 1 else None
    except ValueError:
        return None


def _block(lines: list[str], path: Path) -> tuple[list[int], list[list[float]], int]:
    """Return line indices and rows of the longest run of one width, and how many rows are outside of it."""
    runs: list[list[tuple[int, list[float]]]] = [[]]
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        row = _numbers(line)
        if runs[-1] and (row is None or len(row) != len(runs[-1][0][1])):
            runs.append([])
        if row is not None:
            runs[-1].append((index, row))
    best = max(runs, key=len)
    _expect(len(best) >= ROWS, f"at least {ROWS} rows of r and G(r), got {len(best)} in {path}; check that it is a PDF")
    return [index for index, _ in best], [row for _, row in best], sum(map(len, runs)) - len(best)


def _header(lines: list[str]) -> tuple[dict[str, float | str], list[str]]:
    """Return what is known of the header, and warnings. [Misc] holds private paths and is not read."""
    found: dict[str, float | str] = {}
    warnings = []
    section = ""
    for line in lines:
        text = line.strip().lstrip("#!; ")
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1].lower()
        pairs = [] if section == "misc" else re.findall(r"\b(\w+)\s*=\s*(.*?)(?=\s+\w+\s*=|$)", text)
        for name, value in ((name.lower(), value) for name, value in pairs if value):
            if name in WORDS:
                found[name] = value
            elif name in NUMBERS:
                try:
                    number = _number(re.split(r"[\s,;]", value)[0])
                except ValueError:
                    number = np.nan
                if np.isfinite(number):
                    found[name] = number
                else:
                    warnings.append(f"the header's {name} is no number and is not used")
    return found, warnings


def _refuse_other_kinds(path: Path, lines: list[str], kind: str) -> None:
    """Refuse what the labels or the name say is no G(r) in Å."""
    labels = "\n".join(line for line in lines if "=" not in line)
    other = kind.lower() in ("sq", "fq", "iq") or path.suffix.lower() in (".sq", ".fq", ".iq", ".chi")
    other = other or ON_Q.search(labels) is not None
    _expect(not other, f"G(r) over r, got {path}, whose axis is Q or an angle; pass the .gr file")
    nm = IN_NM.search(labels) is not None
    _expect(not nm, f"r in Å, got {path}, labelled in nm; multiply r by 10 and divide G by 100")


def _columns(rows: list[list[float]], numbers: list[int], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return r and G(r), each r once."""
    table = np.array(rows)[:, :2]
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise ReadError(
            f"Expected finite numbers, got NaN or infinity in {len(bad)} of {len(table)} rows of {path}, "
            f"first in line {numbers[bad[0]] + 1}; remove them."
        )
    r, g = table.T
    for back in np.flatnonzero(np.diff(r) < 0)[:1] + 1:
        where = f"{r[back]:g} after {r[back - 1]:g} in line {numbers[back] + 1} of {path}"
        raise ReadError(f"Expected increasing r, got {where}; sort the rows.")
    _expect(r[0] >= 0, f"r of at least 0, got {r[0]:g} in {path}; check that it is a PDF")
    kept = np.diff(r, prepend=-1.0) > 0
    _expect(kept.sum() >= ROWS, f"at least {ROWS} different r, got {kept.sum()} in {path}; check that it is a PDF")
    return r[kept], g[kept]


def _refuse_structure_functions(g: np.ndarray, path: Path) -> None:
    """Refuse curves that do not swing about zero: S(Q) goes to 1, I(Q) stays above 0."""
    tail = g[len(g) // 2 :]
    _expect(np.ptp(g) > 0, f"a PDF, got a constant curve in {path}; export it again")
    swings = (g[1:] <= 0).any() and not abs(tail.mean()) > 3 * tail.std() > 0
    _expect(swings, f"G(r), which swings about 0, got a curve like S(Q) or I(Q) in {path}; pass the .gr file")


def _setting(name: str, given: float | None, header: float | str | None) -> Setting:
    if given is not None:
        return Setting(name, float(given), "command line")
    if isinstance(header, float):
        return Setting(name, header, "header")
    if name in DEFAULTS:
        return Setting(name, DEFAULTS[name], "default")
    raise ReadError(f"Expected {name} in the header or the command, got neither; pass --qmin and --qmax in 1/Å.")


def _expect(condition: bool | np.bool_, expected: str) -> None:
    if not condition:
        raise ReadError(f"Expected {expected}.")


def _refuse_settings(value: Mapping[str, float]) -> None:
    for name in value:
        _expect(np.isfinite(value[name]), f"a finite {name}, got {value[name]}; correct --{name}")
    qmin, qmax, qdamp, qbroad = (value[name] for name in ("qmin", "qmax", "qdamp", "qbroad"))
    _expect(0 <= qmin < qmax, f"0 <= qmin < qmax, got {qmin:g} and {qmax:g} 1/Å; pass --qmin and --qmax")
    _expect(min(qdamp, qbroad) >= 0, f"qdamp and qbroad of at least 0, got {qdamp:g} and {qbroad:g}; correct them")


def _refuse_range(r: np.ndarray, value: Mapping[str, float], bond: float) -> None:
    rmin, rmax, half = value["rmin"], value["rmax"], value["rstep"] / 2
    _expect(
        r[-1] >= 1.2 * bond,
        f"data beyond one bond of {bond:.2f} Å, got r up to {r[-1]:g}: shorter than one bond, or in nm; "
        "if in nm, multiply r by 10",
    )
    _expect(rmin < rmax, f"rmin < rmax, got {rmin:g} and {rmax:g} Å; pass --rmin and --rmax")
    _expect(
        r[0] - half <= rmin and rmax <= r[-1] + half,
        f"rmin and rmax within the data, {r[0]:g} to {r[-1]:g} Å, got {rmin:g} and {rmax:g}; pass --rmin and --rmax",
    )
    inside = np.count_nonzero((r >= rmin - half) & (r <= rmax + half))
    _expect(inside >= ROWS, f"at least {ROWS} points from rmin to rmax, got {inside}; widen the range")


def _refuse_grid(r: np.ndarray, g: np.ndarray, value: Mapping[str, float]) -> None:
    qmax, step, steps = value["qmax"], value["rstep"], np.diff(r)
    _expect(
        step <= np.pi / qmax,
        f"a step in r of at most pi/qmax = {np.pi / qmax:.3g} Å, got {step:.3g}; export a finer grid, "
        "or correct --qmax",
    )
    _expect(
        np.abs(steps - step).max() <= 0.2 * step,
        f"evenly spaced r, got steps of {steps.min():.3g} to {steps.max():.3g} Å; export an even grid",
    )
    _expect(
        fast_share(r, g, 1.5 * qmax) <= FAST,
        f"r in Å, got a curve that varies faster than qmax = {qmax:g} 1/Å allows: r looks like nanometres; "
        "multiply r by 10, or correct --qmax",
    )
