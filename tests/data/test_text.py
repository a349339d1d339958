import pytest

from jaxstruc.data import text


def test_numbers_are_read_in_many_spellings():
    assert text.numbers("1.0, 2;-3e2\t4D-3,") == [1.0, 2.0, -300.0, 0.004]
    assert text.numbers("5") is None and text.numbers("1 x") is None
    assert text.number("nan") != text.number("nan")


def test_the_longest_run_of_one_width_is_the_block(tmp_path):
    lines = ["1 2 3"] * 3 + [""] + ["4 5"] * 12 + ["end"] + ["6 7"] * 2
    places, rows, others = text.block(lines, tmp_path)
    assert places == list(range(4, 16)) and rows == [[4.0, 5.0]] * 12 and others == 5


def test_what_is_expected_is_said():
    text.expect(True, "nothing")
    with pytest.raises(text.ReadError, match=r"^Expected r, got s; check\.$"):
        text.expect(False, "r, got s; check")
