from pathlib import Path

import numpy as np
import pytest
from measurement_files import HEADERS, LABELS, example_pdf, rows

from jaxstruc.io import columns

EXAMPLE = Path(__file__).parents[2] / "examples" / "Ag68_simulated.gr"
PLAIN_FILES = {name: header + LABELS + rows() for name, header in HEADERS.items()} | {
    "example": EXAMPLE.read_text(),
    "no header": rows(),
    "three columns": LABELS + rows().replace("\n", " 0.01\n"),
    "tabs and ends of lines": LABELS + rows(separator="\t").replace("\n", "  \r\n"),
    "few": LABELS + "1 2\n" * columns.MIN_ROWS,
    "infinite": LABELS + "1 2\n" * 20 + "3 1e999\n",
}
IRREGULAR_FILES = {
    "comment within": LABELS + rows().replace("\n10.0 ", "\n# 10.0 "),
    "comment at the end": LABELS + rows() + "# end\n",
    "blank line within": LABELS + rows().replace("\n10.0 ", "\n\n10.0 "),
    "blank line at the end": LABELS + rows() + "\n",
    "blank line before": LABELS + "\n" + rows(),
    "decimal commas": rows().replace(".", ","),
    "decimal commas in the header": "1,5 2,5\n" * 10 + LABELS + rows(),
    "commas between": LABELS + rows(separator=", "),
    "ragged": LABELS + rows().replace("\n10.0 ", "\n10.0 1.0 "),
    "one column": "1\n" * 50,
    "a count before": "3001\n" + rows(),
    "numbers in the header": "1 2\n" * 3 + LABELS + rows(),
    "nan": LABELS + rows(g=np.where(np.arange(3001) == 500, np.nan, example_pdf())),
    "Fortran": LABELS + rows().replace("e-", "D-"),
    "no number": LABELS + rows().replace("\n10.0 ", "\n1.0.0 "),
    "underscore": LABELS + rows().replace("\n10.0 ", "\n1_0.0 "),
    "two exponents": LABELS + rows().replace("\n10.0 ", "\n1e0e1 "),
    "hexadecimal": LABELS + rows().replace("\n10.0 ", "\n0x10 "),
    "digits of another script": LABELS + rows().replace("\n10.0 ", "\n١٠ "),
    "a narrow blank": LABELS + rows().replace("\n10.0 ", "\n10.0\u2009"),
    "a long row": LABELS + rows() + "31 " + " " * columns.MAX_LINE_CHARACTERS + "1\n",
    "too few": LABELS + "1 2\n" * (columns.MIN_ROWS - 1),
    "many lines": "1 2\n" * (columns.MAX_LINES + 1),
    "nothing": "#\n",
}
"""Text that the fast reader cannot read, so that the general reader does."""
REFUSED_FILES = ("too few", "many lines", "nothing", "one column", "decimal commas", "decimal commas in the header")


def test_numbers_are_read_in_many_spellings():
    assert columns.parse_row("1.0, 2;-3e2\t4D-3,") == [1.0, 2.0, -300.0, 0.004]
    assert columns.parse_row("5") is None and columns.parse_row("1 x") is None
    assert columns.parse_number("nan") != columns.parse_number("nan")


def test_text_of_many_lines_and_tabs_is_no_binary_file_and_control_characters_are(tmp_path):
    plain_bytes = b"1\t2\r\n" * 400
    assert columns.decode_text(plain_bytes, tmp_path) == plain_bytes.decode()
    assert columns.decode_text(plain_bytes + b"\x01" * 8, tmp_path)
    assert columns.decode_text("Å".encode("latin-1"), tmp_path) == columns.decode_text("Å".encode(), tmp_path) == "Å"
    for binary_bytes in (plain_bytes + b"\0", b"\x01" * 9 + plain_bytes):
        with pytest.raises(columns.ReadError, match="which is binary"):
            columns.decode_text(binary_bytes, tmp_path)


def test_the_longest_run_of_one_width_is_the_block(tmp_path):
    lines = ["1 2 3"] * 3 + [""] + ["4 5"] * 12 + ["end"] + ["6 7"] * 2
    line_indices, rows, n_outside = columns.find_block(lines, tmp_path)
    assert line_indices == list(range(4, 16)) and rows == [[4.0, 5.0]] * 12 and n_outside == 5


def test_half_of_the_rows_make_a_block_and_fewer_do_not(tmp_path):
    lines = ["1 2"] * 10 + ["1 2 3"] * 5 + ["1 2"] * 5
    line_indices, _, n_outside = columns.find_block(lines, tmp_path)
    assert line_indices == list(range(10)) and n_outside == 10
    with pytest.raises(columns.ReadError, match="got a longest block of 10 of 21 rows"):
        columns.find_block([*lines, "1 2"], tmp_path)


def test_an_unmet_expectation_is_the_message():
    columns.expect(True, "nothing")
    with pytest.raises(columns.ReadError, match=r"^Expected r, got s; check\.$"):
        columns.expect(False, "r, got s; check")


@pytest.mark.parametrize("name", PLAIN_FILES | IRREGULAR_FILES)
def test_quick_and_careful_reading_agree_to_the_bit(name):
    lines = (PLAIN_FILES | IRREGULAR_FILES)[name].splitlines()
    assert table_and_block_agree(lines) == (name not in REFUSED_FILES)


@pytest.mark.parametrize("name", PLAIN_FILES | IRREGULAR_FILES)
def test_only_a_header_and_plain_rows_are_read_quickly(name):
    table = columns.read_plain_table((PLAIN_FILES | IRREGULAR_FILES)[name].splitlines())
    if name in PLAIN_FILES:
        assert len(table[1]) >= columns.MIN_ROWS
    else:
        assert table is None


@pytest.mark.parametrize("seed", range(3))
def test_any_spelling_of_a_number_is_read_alike(seed):
    """Draw words from the characters of numbers. Both readers end a block at a row that is not numbers."""
    rng = np.random.default_rng(seed)
    number_formats = ("{!r}", "{:.6g}", "{:.3f}", "{:+.20e}", "{:.40f}", "{:E}", "{:.0f}", "{:.0f}.")
    n_read = 0
    for damage_rate in (0.0, 0.0, 0.0, 0.001, 0.01):
        values = rng.normal(size=(400, 3)) * 10.0 ** rng.integers(-330, 308, (400, 3))
        number_texts = [[str(rng.choice(number_formats)).format(value) for value in row] for row in values.tolist()]
        damaged_text = "".join(rng.choice(list("0123456789+-.eE ")) if rng.random() < damage_rate / 20 else character
                          for character in "\n".join(map(" ".join, number_texts)))  # fmt: skip
        n_read += table_and_block_agree([*LABELS.splitlines(), *damaged_text.splitlines()])
    assert n_read >= 3


def table_and_block_agree(lines):
    """Check that both readers return the same or raise the same error; return whether they could read the text."""
    try:
        line_indices, block_rows, n_outside = columns.find_block(lines, EXAMPLE)
    except columns.ReadError as block_error:
        with pytest.raises(columns.ReadError) as table_error:
            columns.read_table(lines, EXAMPLE)
        assert str(table_error.value) == str(block_error)
        return False
    quick_table = columns.read_table(lines, EXAMPLE)
    assert list(quick_table[0]) == line_indices and quick_table[2] == n_outside and quick_table[1].dtype == np.float64
    assert quick_table[1].tobytes() == np.array(block_rows).tobytes()
    return True
