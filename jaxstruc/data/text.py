"""Text files of numbers: their bytes, their text, their block of rows."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

LARGEST = 8 * 2**20
"""Bytes; a longer file is no measurement."""
LINES = 60_000
"""Most lines; 600 Å in steps of 0.01 Å."""
LONGEST = 2000
"""Most characters of a row of numbers."""
ROWS = 10
"""Least numeric rows of a data block."""

DECIMAL_COMMAS = re.compile(r"\s*[-+]?\d+,\d+(?:[eE][-+]?\d+)?[\s;]+[-+]?\d+,\d")
_TEXT = bytes(byte for byte in range(256) if byte >= 32 or byte in b"\t\n\r\f")
"""Bytes of which text is made."""
_PLAIN = b"0123456789+-.eE \t\n"
_MARKED = bytes(byte if byte in _PLAIN else ord("x") for byte in range(256))
"""Bytes as they are where they may be of a plain row, x for all others."""


class Wanted(NamedTuple):
    """What a file should hold, in the words of refusals."""

    name: str
    curve: str
    axis: str
    suffix: str


PDF = Wanted("PDF", "G(r)", "r", ".gr")
CURVE = Wanted("curve", "I(Q)", "Q", ".dat")


class ReadError(ValueError):
    """A file that cannot be used; the message says what was expected, what was found and what to do."""


def expect(condition: bool | np.bool_, expected: str) -> None:
    """Raise `ReadError` of what was expected, where the condition does not hold."""
    if not condition:
        raise ReadError(f"Expected {expected}.")


def raw_bytes(path: Path, wanted: Wanted = PDF, *, largest: int = LARGEST) -> bytes:
    """Return what a file holds.

    Raises:
        ReadError: where it is missing, no file, too large, empty or not to be read.
    """
    step = f"pass a {wanted.suffix} file"
    try:
        expect(path.exists(), f"a {wanted.name} file, got {path}, which does not exist; check the path")
        expect(not path.is_dir(), f"a {wanted.name} file, got {path}, which is a folder; pass the files in it")
        expect(path.is_file(), f"a {wanted.name} file, got {path}, which is a device or a pipe; {step}")
        size = path.stat().st_size
        expect(size <= largest, f"a {wanted.name} of at most {largest >> 20} MB, got {path}; {step}")
        raw = path.read_bytes()
    except OSError as error:
        raise ReadError(f"Expected a readable file, got {path}: {error.strerror}; check it.") from error
    expect(bool(raw.strip()), f"a {wanted.name} file, got {path}, which is empty; export it again")
    return raw


def decoded(raw: bytes, path: Path, wanted: Wanted = PDF) -> str:
    """Return the text of bytes, UTF-8 or Latin-1.

    Raises:
        ReadError: where they are binary.
    """
    odd = raw[:4096].translate(None, _TEXT)
    text = b"\0" not in raw and len(odd) <= 8
    expect(text, f"a text file, got {path}, which is binary; export {wanted.curve} as text ({wanted.suffix})")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def number(word: str) -> float:
    """Return a number, nan and Fortran's 1.0D-3 too, but not Python's 1_000."""
    if "_" in word:
        raise ValueError(f"Expected a number, got {word}.")
    return float(re.sub(r"(?<=[\d.])[dD](?=[+-]?\d)", "e", word))


def numbers(line: str) -> list[float] | None:
    """Return the numbers of a row of at least two, or None where it is not one."""
    if len(line) > LONGEST:
        return None
    words = re.split(r"[\s,;]+", line.strip().rstrip(",;"))
    try:
        return [number(word) for word in words] if len(words) > 1 else None
    except ValueError:
        return None


def table(lines: list[str], path: Path, wanted: Wanted = PDF) -> tuple[Sequence[int], np.ndarray, int]:
    """Return what `block` does, its rows as an array, quickly where the file is a header and then plain rows.

    All else is read by `block`, which refuses what is no block.
    """
    start, rows = plain_rows(lines if len(lines) <= LINES else [])
    if len(rows) >= ROWS and not any(numbers(line) or DECIMAL_COMMAS.match(line) for line in lines[:start]):
        return range(start, len(lines)), rows, 0
    places, found, others = block(lines, path, wanted)
    return places, np.array(found), others


def plain_rows(lines: list[str]) -> tuple[int, np.ndarray]:
    """Return where the plain rows that end a file begin, and their numbers [row, column], as `numbers` has them.

    Plain rows are of digits, signs, points, exponents and blanks alone, and of one width. There are none where the
    last line is anything else, or where one of those that could be plain is no row.
    """
    marked = "\n".join(lines).encode("ascii", "replace").translate(_MARKED)
    start = marked.count(b"\n", 0, marked.rfind(b"x")) + 1 if b"x" in marked else 0
    last, none = lines[start:], (len(lines), np.zeros((0, 0)))
    if not last or not last[0].strip() or max(map(len, last)) > LONGEST:
        return none
    try:
        found = np.loadtxt(last, comments=None, ndmin=2)
    except ValueError:
        return none
    return (start, found) if len(found) == len(last) and found.shape[1] > 1 else none


def block(lines: list[str], path: Path, wanted: Wanted = PDF) -> tuple[list[int], list[list[float]], int]:
    """Return line indices and rows of the longest run of one width, and how many rows are outside of it.

    Raises:
        ReadError: where there are too many lines, too few rows, or decimal commas, or most rows are outside of it.
    """
    expect(len(lines) <= LINES, f"at most {LINES} lines, got {len(lines)} in {path}; export a coarser grid")
    commas = sum(DECIMAL_COMMAS.match(line) is not None for line in lines)
    expect(commas < ROWS, f"decimal points, got decimal commas in {commas} lines of {path}; replace them")
    runs: list[list[tuple[int, list[float]]]] = [[]]
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        row = numbers(line)
        if runs[-1] and (row is None or len(row) != len(runs[-1][0][1])):
            runs.append([])
        if row is not None:
            runs[-1].append((index, row))
    best, every = max(runs, key=len), sum(map(len, runs))
    few = f"got {len(best)} in {path}; check that it is a {wanted.name}"
    expect(len(best) >= ROWS, f"at least {ROWS} rows of {wanted.axis} and {wanted.curve}, {few}")
    where = f"{len(best)} of {every} in {path}, from line {best[0][0] + 1}"
    expect(2 * len(best) >= every, f"most rows in one block, got at most {where}; mend the lines between")
    return [index for index, _ in best], [row for _, row in best], every - len(best)
