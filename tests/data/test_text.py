import pytest

from jaxstruc.data import text


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
