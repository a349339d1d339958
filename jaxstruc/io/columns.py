"""Text files of columns: their bytes, their text and their rows of numbers."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAX_FILE_BYTES = 8 * 2**20
"""Bytes; a longer file is no measurement."""
MAX_LINES = 60_000
"""Most lines; 600 Å in steps of 0.01 Å."""
MAX_LINE_CHARACTERS = 2000
"""Most characters of a row of numbers."""
MIN_ROWS = 10
"""Least numeric rows of a data block."""
DECIMAL_COMMAS = re.compile(r"\s*[-+]?\d+,\d+(?:[eE][-+]?\d+)?[\s;]+[-+]?\d+,\d")
_TEXT_BYTES = bytes(byte for byte in range(256) if byte >= 32 or byte in b"\t\n\r\f")
"""Bytes of which text is made."""
_PLAIN_ROW_BYTES = b"0123456789+-.eE \t\n"
_MARKED_BYTES = bytes(byte if byte in _PLAIN_ROW_BYTES else ord("x") for byte in range(256))
"""Bytes as they are where they may be of a plain row, x for all others."""


class ColumnRules(NamedTuple):
    """What a file should hold, in the words of refusals."""

    name: str
    curve: str
    axis: str
    suffix: str


PDF_RULES = ColumnRules("PDF", "G(r)", "r", ".gr")
CURVE_RULES = ColumnRules("curve", "I(Q)", "Q", ".dat")


class ReadError(ValueError):
    """A file that cannot be used; the message says what was expected, what was found and what to do."""


def expect(condition: bool | np.bool_, expected: str) -> None:
    """Raise `ReadError` of what was expected, where the condition does not hold."""
    if not condition:
        raise ReadError(f"Expected {expected}.")


def raw_bytes(path: Path, rules: ColumnRules = PDF_RULES, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return what a file holds.

    Raises:
        ReadError: where it is missing, no file, too large, empty or not to be read.
    """
    advice = f"pass a {rules.suffix} file"
    try:
        expect(path.exists(), f"a {rules.name} file, got {path}, which does not exist; check the path")
        expect(not path.is_dir(), f"a {rules.name} file, got {path}, which is a folder; pass the files in it")
        expect(path.is_file(), f"a {rules.name} file, got {path}, which is a device or a pipe; {advice}")
        size = path.stat().st_size
        expect(size <= max_bytes, f"a {rules.name} of at most {max_bytes >> 20} MB, got {path}; {advice}")
        raw = path.read_bytes()
    except OSError as error:
        raise ReadError(f"Expected a readable file, got {path}: {error.strerror}; check it.") from error
    expect(bool(raw.strip()), f"a {rules.name} file, got {path}, which is empty; export it again")
    return raw


def decode_text(raw: bytes, path: Path, rules: ColumnRules = PDF_RULES) -> str:
    """Return the text of bytes, UTF-8 or Latin-1.

    Raises:
        ReadError: where they are binary.
    """
    odd_bytes = raw[:4096].translate(None, _TEXT_BYTES)
    is_text = b"\0" not in raw and len(odd_bytes) <= 8
    expect(is_text, f"a text file, got {path}, which is binary; export {rules.curve} as text ({rules.suffix})")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def parse_number(text: str) -> float:
    """Return a number, nan and Fortran's 1.0D-3 too, but not Python's 1_000."""
    if "_" in text:
        raise ValueError(f"Expected a number, got {text}.")
    return float(re.sub(r"(?<=[\d.])[dD](?=[+-]?\d)", "e", text))


def parse_row(line: str) -> list[float] | None:
    """Return the numbers of a row of at least two, or None where it is not one."""
    if len(line) > MAX_LINE_CHARACTERS:
        return None
    fields = re.split(r"[\s,;]+", line.strip().rstrip(",;"))
    try:
        return [parse_number(field) for field in fields] if len(fields) > 1 else None
    except ValueError:
        return None


def read_table(lines: list[str], path: Path, rules: ColumnRules = PDF_RULES) -> tuple[Sequence[int], np.ndarray, int]:
    """Return what `find_block` returns, its rows as an array; quickly if the file is a header and then plain rows.

    All other files are read by `find_block`, which refuses what is no block.
    """
    start, rows = plain_rows(lines if len(lines) <= MAX_LINES else [])
    if len(rows) >= MIN_ROWS and not any(parse_row(line) or DECIMAL_COMMAS.match(line) for line in lines[:start]):
        return range(start, len(lines)), rows, 0
    line_indices, block_rows, n_outside = find_block(lines, path, rules)
    return line_indices, np.array(block_rows), n_outside


def plain_rows(lines: list[str]) -> tuple[int, np.ndarray]:
    """Return where the plain rows that end a file begin, and their numbers [row, column].

    Plain rows are of digits, signs, points, exponents and blanks alone, and of one width. There are none where the
    last line is anything else, or where one of those that could be plain is no row.
    """
    marked_text = "\n".join(lines).encode("ascii", "replace").translate(_MARKED_BYTES)
    start = marked_text.count(b"\n", 0, marked_text.rfind(b"x")) + 1 if b"x" in marked_text else 0
    row_lines, no_rows = lines[start:], (len(lines), np.zeros((0, 0)))
    if not row_lines or not row_lines[0].strip() or max(map(len, row_lines)) > MAX_LINE_CHARACTERS:
        return no_rows
    try:
        rows = np.loadtxt(row_lines, comments=None, ndmin=2)
    except ValueError:
        return no_rows
    return (start, rows) if len(rows) == len(row_lines) and rows.shape[1] > 1 else no_rows


def find_block(
    lines: list[str], path: Path, rules: ColumnRules = PDF_RULES
) -> tuple[list[int], list[list[float]], int]:
    """Return line indices and rows of the longest run of one width, and how many rows are outside of it.

    Raises:
        ReadError: where there are too many lines, too few rows, or decimal commas, or most rows are outside of it.
    """
    expect(len(lines) <= MAX_LINES, f"at most {MAX_LINES} lines, got {len(lines)} in {path}; export a coarser grid")
    n_decimal_commas = sum(DECIMAL_COMMAS.match(line) is not None for line in lines)
    expect(
        n_decimal_commas < MIN_ROWS,
        f"decimal points, got decimal commas in {n_decimal_commas} lines of {path}; replace them",
    )
    runs: list[list[tuple[int, list[float]]]] = [[]]
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        row = parse_row(line)
        if runs[-1] and (row is None or len(row) != len(runs[-1][0][1])):
            runs.append([])
        if row is not None:
            runs[-1].append((index, row))
    longest_run, n_rows = max(runs, key=len), sum(map(len, runs))
    problem = f"got {len(longest_run)} in {path}; check that it is a {rules.name}"
    expect(len(longest_run) >= MIN_ROWS, f"at least {MIN_ROWS} rows of {rules.axis} and {rules.curve}, {problem}")
    location = f"{len(longest_run)} of {n_rows} in {path}, from line {longest_run[0][0] + 1}"
    expect(2 * len(longest_run) >= n_rows, f"most rows in one block, got at most {location}; mend the lines between")
    return [index for index, _ in longest_run], [row for _, row in longest_run], n_rows - len(longest_run)
