"""Decimal commas are named, and other encodings of text are read."""

import numpy as np
import pytest
from measurement_files import assert_one_sentence, example_pdf, rows
from q_curve_files import SIGMA, I, Q, assert_curve, text_columns

from jaxstruc.io import gr, read
from jaxstruc.io.columns import ReadError

COUNTS = np.round(1e4 * I).astype(int)


def comma_columns(*columns, separator="\t", header="q [1/nm];I\n"):
    """Return text with decimal commas."""
    return text_columns(*columns, separator=separator).replace(".", ",").join([header, ""])


@pytest.mark.parametrize(("name", "n_lines"), [("Au_counts_de.dat", 350), ("whole_angle_de.xye", 40)])
def test_the_given_files_with_decimal_commas_are_refused(case, name, n_lines):
    with pytest.raises(
        ReadError, match=f"decimal points, got decimal commas in {n_lines} lines of .*; replace"
    ) as error:
        read.read_curve(case(name), wavelength=1.0)
    assert_one_sentence(error)


@pytest.mark.parametrize(
    "text",
    [
        comma_columns(Q, COUNTS), comma_columns(Q, COUNTS, separator=";"), comma_columns(Q, COUNTS, separator=" ; "),
        comma_columns(np.arange(1, 81), I, separator="  "), comma_columns(Q, COUNTS, COUNTS, separator=", "),
        comma_columns(Q, COUNTS, COUNTS, separator=","), comma_columns(Q, I, separator=";", header=""),
        comma_columns(10 * Q, 1e-9 * I, COUNTS, separator=" "),
    ],
)  # fmt: skip
def test_decimal_commas_are_named_whatever_the_separator(write, text):
    for options in ({"q_unit": "1/A"}, {"accepted_kinds": read.PDF_KINDS}, {"kind": "gr"}):
        with pytest.raises(ReadError, match=r"decimal points, got decimal commas in (80|55) lines") as error:
            read.read_curve(write(text, "x.dat"), **options)
        assert_one_sentence(error)


def test_commas_between_thousands_are_named(write):
    text = "".join(
        f"{q!r} {count:,} {count // 9}\n" for q, count in zip(Q.tolist(), (10_000 + COUNTS).tolist(), strict=True)
    )
    with pytest.raises(ReadError, match="numbers without commas, got commas between thousands in 80 lines") as error:
        read.read_curve(write(text, "x.dat"), q_unit="1/A")
    assert_one_sentence(error)


def test_commas_between_columns_are_no_decimal_commas(write):
    for separator in (",", ", ", " , ", ",\t"):
        text = text_columns(np.arange(1, 81), COUNTS, COUNTS // 9 + 1, separator=separator, header="q(1/nm),I,sigma\n")
        np.testing.assert_array_equal(read.read_curve(write(text, "x.dat")).intensity, COUNTS)


def test_the_given_file_in_utf_16_is_read(case):
    curve = read.read_curve(case("Au_utf16.dat"))
    assert len(curve.q) == 350 and curve.q[0] == pytest.approx(0.005) and curve.intensity[0] == 499699
    assert curve.sigma is not None and not curve.warnings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1"])
def test_text_in_any_encoding_is_read(write, encoding):
    text = text_columns(Q, I, SIGMA, header="# Grüße\nQ(1/A) I(1/cm) sigma\n")
    assert_curve(read.read_curve(write(text.encode(encoding), "x.dat")), dq=None)
    np.testing.assert_array_equal(gr.read(write(rows().encode(encoding))).g, example_pdf())


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe\x00\xd8" * 50, b"\xff\xfe" + b"\x00\x01" * 40, "1 2\n".encode("utf-32") * 3]
)
def test_broken_wide_text_is_refused(write, raw):
    with pytest.raises(ReadError) as error:
        read.read_curve(write(raw, "x.dat"), q_unit="1/A")
    assert_one_sentence(error)
