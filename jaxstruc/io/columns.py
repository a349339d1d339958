"""Reading of text files with columns of numbers, from the bytes of the file to an array.

A curve is read from the data block of its file. The data block is the longest sequence of consecutive rows that have
the same number of columns.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAX_FILE_BYTES = 8 * 2**20
"""Largest size of a text file, in bytes."""
MAX_LINES = 60_000
"""Largest number of lines of a file. A G(r) up to 600 Å in steps of 0.01 Å has so many points."""
MAX_LINE_CHARACTERS = 2000
"""Largest number of characters of a row of numbers."""
MIN_ROWS = 10
"""Smallest number of rows of a data block."""
WIDE_ENCODINGS = (
    (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
)  # fmt: skip
"""Byte order marks at the start of text files, and the encoding that each mark stands for."""
_COMMA_NUMBER = re.compile(r"[-+]?\d+(,\d+)+(\.\d*)?([eE][-+]?\d+)?")
_POINT_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?")
_MISSING_VALUE = re.compile(r"(?i)n/?a|null|none|masked|-{2,}|\*{2,}")
_TEXT_BYTES = bytes(byte for byte in range(256) if byte >= 32 or byte in b"\t\n\r\f")
"""Bytes that text may contain."""
_PLAIN_ROW_BYTES = b"0123456789+-.eE \t\n"
_MARKED_BYTES = bytes(byte if byte in _PLAIN_ROW_BYTES else ord("x") for byte in range(256))
"""Translation table that keeps the bytes of plain rows of numbers and replaces all other bytes by x."""


class ColumnRules(NamedTuple):
    """Words that error messages use for the expected content of a file."""

    name: str
    """Name of the content, e.g. "PDF"."""
    curve: str
    """Symbol of the curve, e.g. "G(r)"."""
    axis: str
    """Symbol of the axis, e.g. "r"."""
    suffix: str
    """Usual ending of the file name, e.g. ".gr"."""


PDF_RULES = ColumnRules("PDF", "G(r)", "r", ".gr")
CURVE_RULES = ColumnRules("curve", "I(Q)", "Q", ".dat")


class ReadError(ValueError):
    """Error for a file that cannot be used. Its message states what was expected, what was found and what to do."""


def expect(condition: bool | np.bool_, expected: str) -> None:
    """Raise `ReadError("Expected ...")` if a condition does not hold.

    Args:
        condition: Condition that must hold.
        expected: Rest of the message: what was expected, what was found and what to do.
    """
    if not condition:
        raise ReadError(f"Expected {expected}.")


def raw_bytes(path: Path, rules: ColumnRules = PDF_RULES, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the bytes of a file.

    Raises:
        ReadError: If the file is missing, too large or empty, cannot be read, or is a folder, device or pipe.
    """
    advice = f"pass a {rules.suffix} file"
    try:
        expect(path.exists(), f"a {rules.name} file, got {path}, which does not exist; check the path")
        expect(not path.is_dir(), f"a {rules.name} file, got {path}, which is a folder; pass the files in it")
        expect(path.is_file(), f"a {rules.name} file, got {path}, which is a device or a pipe; {advice}")
        size = path.stat().st_size
        expect(
            size <= max_bytes,
            f"a {rules.name} file of at most {max_bytes >> 20} MB, got {path}, which is larger; {advice}",
        )
        raw = path.read_bytes()
    except OSError as error:
        raise ReadError(f"Expected a readable file, got {path}: {error.strerror}; check its permissions.") from error
    expect(bool(raw.strip()), f"a {rules.name} file, got {path}, which is empty; export it again")
    return raw


def decode_text(raw: bytes, path: Path, rules: ColumnRules = PDF_RULES) -> str:
    """Return the text of a file from its bytes.

    The encoding is UTF-16 or UTF-32 if the bytes show this. Otherwise it is UTF-8, or Latin-1 if UTF-8 is not possible.

    Raises:
        ReadError: If the bytes are not text.
    """
    try:
        if encoding := _wide_encoding(raw):
            raw = raw[: len(raw) - len(raw) % 4] if encoding == "utf-32" else raw[: len(raw) - len(raw) % 2]
            raw = raw.decode(encoding).removeprefix("\ufeff").encode()
        is_text = b"\0" not in raw and len(raw[:4096].translate(None, _TEXT_BYTES)) <= 8
    except UnicodeError:
        is_text = False
    expect(is_text, f"a text file, got {path}, which is binary; export {rules.curve} as text ({rules.suffix})")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _wide_encoding(raw: bytes) -> str:
    """Return the encoding of a text if each character takes two or four bytes, otherwise ""."""
    for mark, encoding in WIDE_ENCODINGS:
        if raw.startswith(mark):
            return encoding
    start = raw[:4096]
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(start) >= MIN_ROWS and start[offset::2].count(0) > 0.9 * len(start[offset::2]) and start[1 - offset]:
            return encoding
    return ""


def parse_number(text: str) -> float:
    """Parse a number. NaN and Fortran's 1.0D-3 are accepted, Python's 1_000 is not."""
    if "_" in text:
        raise ValueError(f"Expected a number, got {text}.")
    return float(re.sub(r"(?<=[\d.])[dD](?=[+-]?\d)", "e", text))


def parse_row(line: str) -> list[float] | None:
    """Return the numbers of a row, or None if the line is not a row of at least two numbers.

    A missing value after the first number becomes NaN. In the file it is NA, null, -- or **, or nothing between two
    commas or semicolons.
    """
    if len(line) > MAX_LINE_CHARACTERS:
        return None
    text = line.strip()
    if ",," in text or ";" in text:
        text = re.sub(r"(?<=[,;])\s*(?=[,;])", "nan", text) if re.match(r"[-+.\d]", text) else text
        text = re.sub(r"(?<=[,;]nan[,;])$", "nan", text)
    fields = re.split(r"[\s,;]+", text.rstrip(",;"))
    try:
        first_number = parse_number(fields[0])
        other_numbers = [
            math.nan if not field[-1:].isdigit() and _MISSING_VALUE.fullmatch(field) else parse_number(field)
            for field in fields[1:]
        ]
    except ValueError:
        return None
    return [first_number, *other_numbers] if other_numbers else None


def decimal_commas(line: str) -> str:
    """Return whether the commas inside the numbers of a row mark decimals or thousands.

    The result is "decimal", "thousands", or "" if no number contains a comma. Commas between columns are not inside a
    number. If commas are the only separators of a row, they are decimal commas only if an integer after a comma begins
    with 0, e.g. 1,05,2,31.
    """
    if "," not in line or len(line) > MAX_LINE_CHARACTERS:
        return ""
    fields = [field.strip(",") for field in re.split(r"[\s;]+", line.strip().strip(";"))]
    if len(fields) == 1:
        digits = fields[0].split(",")
        is_decimal = len(digits) > 2 and all(text.lstrip("+-").isdigit() for text in digits)
        return "decimal" if is_decimal and any(re.fullmatch(r"0\d+", text) for text in digits[1:]) else ""
    comma_fields = [field for field in fields if _COMMA_NUMBER.fullmatch(field)]
    if not comma_fields or not all(field in comma_fields or _POINT_NUMBER.fullmatch(field) for field in fields):
        return ""
    return "thousands" if "." in "".join(fields) or any(field.count(",") > 1 for field in fields) else "decimal"


def read_table(lines: list[str], path: Path, rules: ColumnRules = PDF_RULES) -> tuple[Sequence[int], np.ndarray, int]:
    """Return the line indices and the numbers [row, column] of the data block, and the number of rows outside it.

    NumPy reads a file that consists of a header and plain rows (see `plain_rows`), because this is fast. `find_block`
    reads all other files. Only rows of numbers are counted.

    Raises:
        ReadError: If the file has no data block.
    """
    if (table := read_plain_table(lines)) is not None:
        return table
    line_indices, block_rows, n_outside = find_block(lines, path, rules)
    return line_indices, np.array(block_rows), n_outside


def read_plain_table(lines: list[str]) -> tuple[Sequence[int], np.ndarray, int] | None:
    """Return the result of `read_table` if a file consists of a header and plain rows, otherwise None."""
    start, rows = plain_rows(lines if len(lines) <= MAX_LINES else [])
    if len(rows) < MIN_ROWS or any(parse_row(line) or decimal_commas(line) for line in lines[:start]):
        return None
    return range(start, len(lines)), rows, 0


def plain_rows(lines: list[str]) -> tuple[int, np.ndarray]:
    """Return the line index at which the plain rows at the end of a file begin, and their numbers [row, column].

    A plain row consists only of digits, signs, points, exponents and blanks. The array has no rows if the last line is
    not a plain row, if a plain row does not consist of numbers, or if the plain rows differ in length.
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
    """Return the line indices and the rows of the data block, and the number of rows of numbers outside it.

    Raises:
        ReadError: If the file has too many lines or too few rows, if numbers contain commas, or if most rows of numbers
            are outside the data block.
    """
    expect(len(lines) <= MAX_LINES, f"at most {MAX_LINES} lines, got {len(lines)} in {path}; export a coarser grid")
    commas = [kind for line in lines if (kind := decimal_commas(line))]
    problem = f"in {len(commas)} lines of {path}"
    expect(
        len(commas) < MIN_ROWS or "decimal" not in commas,
        f"decimal points, got decimal commas {problem}; replace the commas by points",
    )
    expect(
        len(commas) < MIN_ROWS,
        f"numbers without commas, got commas between thousands {problem}; remove these commas",
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
    problem = f"got {len(longest_run)} in {path}; check that the file holds a {rules.name}"
    expect(len(longest_run) >= MIN_ROWS, f"at least {MIN_ROWS} rows of {rules.axis} and {rules.curve}, {problem}")
    location = f"{len(longest_run)} of {n_rows} rows from line {longest_run[0][0] + 1} on in {path}"
    expect(
        2 * len(longest_run) >= n_rows,
        f"one uninterrupted block of rows, got a longest block of {location}; correct the lines that interrupt it",
    )
    return [index for index, _ in longest_run], [row for _, row in longest_run], n_rows - len(longest_run)
