"""Text files of numbers: their bytes, their text, their block of rows."""

import re
from pathlib import Path

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


class ReadError(ValueError):
    """A file that cannot be used; the message says what was expected, what was found and what to do."""


def expect(condition: bool | np.bool_, expected: str) -> None:
    """Raise `ReadError` of what was expected, where the condition does not hold."""
    if not condition:
        raise ReadError(f"Expected {expected}.")


def raw_bytes(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        ReadError: where it is missing, no file, too large, empty or not to be read.
    """
    try:
        expect(path.exists(), f"a PDF file, got {path}, which does not exist; check the path")
        expect(not path.is_dir(), f"a PDF file, got {path}, which is a folder; pass the files in it")
        expect(path.is_file(), f"a PDF file, got {path}, which is a device or a pipe; pass a .gr file")
        size = path.stat().st_size
        expect(size <= LARGEST, f"a PDF of at most {LARGEST >> 20} MB, got {path}; pass a .gr file")
        raw = path.read_bytes()
    except OSError as error:
        raise ReadError(f"Expected a readable file, got {path}: {error.strerror}; check it.") from error
    expect(bool(raw.strip()), f"a PDF file, got {path}, which is empty; export it again")
    return raw


def decoded(raw: bytes, path: Path) -> str:
    """Return the text of bytes, UTF-8 or Latin-1.

    Raises:
        ReadError: where they are binary.
    """
    odd = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in raw[:4096])
    text = b"\0" not in raw and odd <= 8
    expect(text, f"a text file, got {path}, which is binary; export G(r) as text (.gr)")
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


def block(lines: list[str], path: Path) -> tuple[list[int], list[list[float]], int]:
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
    expect(len(best) >= ROWS, f"at least {ROWS} rows of r and G(r), got {len(best)} in {path}; check that it is a PDF")
    where = f"{len(best)} of {every} in {path}, from line {best[0][0] + 1}"
    expect(2 * len(best) >= every, f"most rows in one block, got at most {where}; mend the lines between")
    return [index for index, _ in best], [row for _, row in best], every - len(best)
