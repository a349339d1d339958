from pathlib import Path

import numpy as np
import pytest
from written import HEADERS, LABELS, rows, wave

from jaxstruc.data import text

EXAMPLE = Path(__file__).parents[2] / "examples" / "Ag68_simulated.gr"
USUAL = {name: header + LABELS + rows() for name, header in HEADERS.items()} | {
    "example": EXAMPLE.read_text(),
    "no header": rows(),
    "three columns": LABELS + rows().replace("\n", " 0.01\n"),
    "tabs and ends of lines": LABELS + rows(separator="\t").replace("\n", "  \r\n"),
    "few": LABELS + "1 2\n" * text.ROWS,
    "infinite": LABELS + "1 2\n" * 20 + "3 1e999\n",
}
ODD = {
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
    "nan": LABELS + rows(g=np.where(np.arange(3001) == 500, np.nan, wave())),
    "Fortran": LABELS + rows().replace("e-", "D-"),
    "no number": LABELS + rows().replace("\n10.0 ", "\n1.0.0 "),
    "underscore": LABELS + rows().replace("\n10.0 ", "\n1_0.0 "),
    "two exponents": LABELS + rows().replace("\n10.0 ", "\n1e0e1 "),
    "hexadecimal": LABELS + rows().replace("\n10.0 ", "\n0x10 "),
    "digits of another script": LABELS + rows().replace("\n10.0 ", "\n١٠ "),
    "a narrow blank": LABELS + rows().replace("\n10.0 ", "\n10.0\u2009"),
    "a long row": LABELS + rows() + "31 " + " " * text.LONGEST + "1\n",
    "too few": LABELS + "1 2\n" * (text.ROWS - 1),
    "many lines": "1 2\n" * (text.LINES + 1),
    "nothing": "#\n",
}
"""Files that the quick way leaves to the careful one."""
REFUSED = ("too few", "many lines", "nothing", "one column", "decimal commas", "decimal commas in the header")


def test_numbers_are_read_in_many_spellings():
    assert text.numbers("1.0, 2;-3e2\t4D-3,") == [1.0, 2.0, -300.0, 0.004]
    assert text.numbers("5") is None and text.numbers("1 x") is None
    assert text.number("nan") != text.number("nan")


def test_text_of_many_lines_and_tabs_is_no_binary_file_and_control_characters_are(tmp_path):
    plain = b"1\t2\r\n" * 400
    assert text.decoded(plain, tmp_path) == plain.decode()
    assert text.decoded(plain + b"\x01" * 8, tmp_path)
    assert text.decoded("Å".encode("latin-1"), tmp_path) == text.decoded("Å".encode(), tmp_path) == "Å"
    for binary in (plain + b"\0", b"\x01" * 9 + plain):
        with pytest.raises(text.ReadError, match="which is binary"):
            text.decoded(binary, tmp_path)


def test_the_longest_run_of_one_width_is_the_block(tmp_path):
    lines = ["1 2 3"] * 3 + [""] + ["4 5"] * 12 + ["end"] + ["6 7"] * 2
    places, rows, others = text.block(lines, tmp_path)
    assert places == list(range(4, 16)) and rows == [[4.0, 5.0]] * 12 and others == 5


def test_half_of_the_rows_make_a_block_and_fewer_do_not(tmp_path):
    lines = ["1 2"] * 10 + ["1 2 3"] * 5 + ["1 2"] * 5
    places, _, others = text.block(lines, tmp_path)
    assert places == list(range(10)) and others == 10
    with pytest.raises(text.ReadError, match="got at most 10 of 21"):
        text.block([*lines, "1 2"], tmp_path)


def test_what_is_expected_is_said():
    text.expect(True, "nothing")
    with pytest.raises(text.ReadError, match=r"^Expected r, got s; check\.$"):
        text.expect(False, "r, got s; check")


@pytest.mark.parametrize("name", USUAL | ODD)
def test_the_quick_way_and_the_careful_one_agree_to_the_bit(name):
    lines = (USUAL | ODD)[name].splitlines()
    assert table_and_block_agree(lines) == (name not in REFUSED)


@pytest.mark.parametrize("name", USUAL | ODD)
def test_only_a_header_and_plain_rows_are_read_quickly(monkeypatch, name):
    def careful(*_):
        raise text.ReadError("Expected nothing.")

    monkeypatch.setattr(text, "block", careful)
    lines = (USUAL | ODD)[name].splitlines()
    if name in USUAL:
        assert len(text.table(lines, EXAMPLE)[1]) >= text.ROWS
    else:
        with pytest.raises(text.ReadError, match="nothing"):
            text.table(lines, EXAMPLE)


@pytest.mark.parametrize("seed", range(3))
def test_any_spelling_of_a_number_is_read_alike(seed):
    """Words of the characters of numbers, most of them numbers: a row that is none ends a block either way."""
    rng = np.random.default_rng(seed)
    forms = ("{!r}", "{:.6g}", "{:.3f}", "{:+.20e}", "{:.40f}", "{:E}", "{:.0f}", "{:.0f}.")
    read = 0
    for odd in (0.0, 0.0, 0.0, 0.001, 0.01):
        values = rng.normal(size=(400, 3)) * 10.0 ** rng.integers(-330, 308, (400, 3))
        words = [[str(rng.choice(forms)).format(value) for value in row] for row in values.tolist()]
        spoiled = "".join(rng.choice(list("0123456789+-.eE ")) if rng.random() < odd / 20 else mark
                          for mark in "\n".join(map(" ".join, words)))  # fmt: skip
        read += table_and_block_agree([*LABELS.splitlines(), *spoiled.splitlines()])
    assert read >= 3


def table_and_block_agree(lines):
    """Check that both read the same or refuse in the same words; return whether they read."""
    try:
        places, found, others = text.block(lines, EXAMPLE)
    except text.ReadError as refused:
        with pytest.raises(text.ReadError) as other:
            text.table(lines, EXAMPLE)
        assert str(other.value) == str(refused)
        return False
    quick = text.table(lines, EXAMPLE)
    assert list(quick[0]) == places and quick[2] == others and quick[1].dtype == np.float64
    assert quick[1].tobytes() == np.array(found).tobytes()
    return True
