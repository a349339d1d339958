import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from measurement_files import HEADERS, LABELS, R, assert_one_sentence, example_pdf, rows

from jaxstruc.io import gr
from jaxstruc.io.columns import MAX_FILE_BYTES, MAX_LINES, ReadError


@pytest.mark.parametrize("program", HEADERS)
def test_data_come_back_exactly_whatever_program_wrote_them(write, program):
    labels = LABELS if program != "bare" else ""
    path = write(HEADERS[program] + labels + rows().rstrip("\n"))
    measurement = gr.read(path)
    assert measurement.name == str(path) and measurement.settings == ()
    np.testing.assert_array_equal(measurement.r, R)
    np.testing.assert_array_equal(measurement.g, example_pdf())
    assert measurement.format == program and not measurement.warnings
    expected = {"mode": "xray", "composition": "Pt", "qmaxinst": 25.0, "qmin": 0.8, "qmax": 22.0, "rmax": 30.0}
    if program == "bare":
        expected = {}
    elif program != "PDFgetX3":
        expected["wavelength"] = 0.1
    assert measurement.header == expected


@pytest.mark.parametrize(
    ("mark", "program"),
    [
        ("version = diffpy.pdfgetx-2.2.1", "PDFgetX3"),
        ("version = pdfgetx3-2.1\ninputfile = C:/pdfgetx2/Pt.chi", "PDFgetX3"),
        ("####### Get_XPDF #######", "PDFgetX2"),
        ("####### Get_XPDF #######\n# Sample from C:\\programs\\pdfgetx2\\data", "PDFgetX2"),
        ("# G(r) by PDFgetX2 version 1.0", "PDFgetX2"),
        ("## written by pdfgetx2", "PDFgetX2"),
        ("#S 1 - PDF from PDFgetN", "PDFgetN"),
        ("version = pdfgetn3-1.2", "PDFgetN3"),
        ("version = pdfgets3-1.0", "PDFgetS3"),
    ],
)
def test_programs_are_recognised_by_their_marks_and_may_put_two_settings_in_a_line(write, mark, program):
    measurement = gr.read(write(f"{mark}\n# Qmin= 1.00 Qmax = 35.0 1/A\n#L r(A) G(r) d_r d_Gr\n" + rows()))
    assert measurement.format == program and measurement.header == {"qmin": 1.0, "qmax": 35.0}


@pytest.mark.parametrize("section", ["[Misc]", "[misc]", "# [MISC]"])
def test_the_private_section_is_not_read_and_the_next_one_is(write, section):
    header = f"{section}\nqmax = 5\ncomposition = /private/place\n[PDF]\nqmin = 0.8\n"
    assert gr.read(write(header + rows())).header == {"qmin": 0.8}


@pytest.mark.parametrize("value", ["none", "nan", "22x", "22,5", "2_2"])
def test_a_setting_that_is_no_number_is_reported_and_not_used(write, value):
    measurement = gr.read(write(f"qmin = 0.8\nqmax = {value}\nqdamp =\n" + rows()))
    assert measurement.header == {"qmin": 0.8}
    assert measurement.warnings == ("the header's qmax is not a number and is not used",)


@pytest.mark.parametrize("value", ["x" * 101, "Pt\x1b[2J"])
def test_a_text_that_is_long_or_not_printable_is_reported_and_not_used(write, value):
    measurement = gr.read(write(f"composition = {value}\n" * 3 + rows()))
    assert measurement.header == {}
    assert measurement.warnings == ("the header's composition is not a short text and is not used",)


@pytest.mark.parametrize(
    "header", ["\n" * 50_000, "#\n" * 50_000, "a = b" + " " * 200_000 + "c\n", "Q" + " " * 200_000 + "x\n"]
)
def test_the_time_of_a_long_header_does_not_grow_with_its_square(write, header):
    start_time = time.process_time()
    np.testing.assert_array_equal(gr.read(write(header + rows())).r, R)
    assert time.process_time() - start_time < 20  # less than 1 s, but minutes with a regular expression that backtracks


@pytest.mark.parametrize("seed", range(5))
def test_any_curve_survives_writing_and_reading_to_the_last_bit(write, seed):
    rng = np.random.default_rng(seed)
    r = np.sort(rng.uniform(0, 100, 200))
    g = rng.normal(size=200) * 10.0 ** rng.integers(-12, 3, 200)
    path = write(HEADERS["PDFgetX3"] + LABELS + rows(r, g))
    measurement = gr.read(str(path))
    np.testing.assert_array_equal(measurement.r, r)
    np.testing.assert_array_equal(measurement.g, g)
    assert measurement.r.dtype == measurement.g.dtype == np.float64
    assert measurement.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("separator", ["\t", ", ", ";", "   "])
def test_columns_may_be_separated_in_many_ways(write, separator):
    np.testing.assert_array_equal(gr.read(write(rows(separator=separator))).g, example_pdf())


def test_fortran_numbers_latin_and_a_lone_count_are_read(write):
    text = "# r in Ångström\n3001\n".encode("latin-1") + rows().replace(" 0.", " .").replace("e-", "D-").encode()
    np.testing.assert_array_equal(gr.read(write(text)).g, example_pdf())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_text_is_read_in_either_encoding(write, encoding):
    text = "composition = Pt·Ni\n" + rows()
    assert gr.read(write(text.encode(encoding))).header == {"composition": "Pt·Ni"}


@pytest.mark.parametrize("mark", "#!;")
def test_comments_and_blank_lines_are_no_data(write, mark):
    text = f"{mark} 1 2\n" * 20 + "\n" + rows().replace("\n", "\n\n", 5) + f"{mark} 99 1\n"
    np.testing.assert_array_equal(gr.read(write(text)).r, R)


def test_titles_that_mention_nanometres_or_q_are_no_labels(write):
    text = "# Pt 1.8 nm particles\n# F(Q) was cut, for Q (0.8 to 22)\n# S(Q)\n"
    np.testing.assert_array_equal(gr.read(write(text + rows())).r, R)


def test_the_longest_block_is_read_and_the_others_are_reported(write):
    broken_rows = rows().replace("\n17.0 ", "\n17.0 ****", 1)
    measurement = gr.read(write("0 1\n1 1\nsecond\n" + broken_rows))
    np.testing.assert_array_equal(measurement.r, R[R < 16.995])
    assert measurement.warnings == ("1302 rows of numbers outside the data from line 4 on are not read",)


def test_a_third_column_is_no_part_of_the_curve(write):
    text = "# r, Gr\n" + rows().replace("\n", " 0.01\n")
    np.testing.assert_array_equal(gr.read(write(text)).g, example_pdf())


def test_repeated_r_are_dropped_with_a_warning(write):
    r = np.insert(R, [100, 100, 200], [R[100], R[100], R[200]])
    measurement = gr.read(write(rows(r)))
    np.testing.assert_array_equal(measurement.r, R)
    np.testing.assert_array_equal(measurement.g, example_pdf())
    assert measurement.warnings == ("points with repeated r dropped: 3",)


def test_a_header_that_disagrees_with_the_data_is_reported(write):
    measurement = gr.read(write(HEADERS["PDFgetX3"].replace("rmax = 30", "rmax = 6") + rows()))
    assert "the header states rmax = 6 Å, but the data end at 30" in measurement.warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "which is empty"),
        (b"\x89PNG\0\0\0\0", "which is binary"),
        ("hello\n" * 50, "at least 10 rows .* got 0"),
        ("1 2\n2 3\n", "got 2 in"),
        (LABELS + rows(g=np.where(R == 5.0, np.nan, example_pdf())), "NaN or infinity in 1 of 3001 rows .* line 504;"),
        (LABELS + rows(g=np.where(R > 29.905, np.inf, example_pdf())), "in 10 of 3001 rows .* line 2995;"),
        (LABELS + rows(np.where(R == 5.0, np.nan, R)), "in 1 of 3001 rows .* line 504;"),
        (LABELS + rows(R[::-1]), "increasing r, got 29.99 after 30 in line 5 of"),
        ("1 0\n1 -1\n" * 20 + "2 -2\n", "at least 10 different r, got 2"),
        (rows(R - 1), "r of at least 0, got -1"),
        ("#L Q($\\AA^{-1}$)  S(a.u.)\n" + rows(), "whose axis is Q"),
        ("# Q S(Q)\n" + rows(), "whose axis is Q"),
        ("#  q_nm^-1  I\n" + rows(), "whose axis is Q"),
        ("/place\nQ (Inverse Nanometres)\nIntensity\n 3001\n" + rows(), "whose axis is Q"),
        ("2-Theta Angle (Degrees)\n" + rows(), "whose axis is Q or an angle"),
        ("#L r(nm)  G\n" + rows(), "whose label states nm"),
        ("# r (nm), G\n" + rows(), "whose label states nm"),
        ("r / nm,G\n" + rows(), "whose label states nm"),
        ("# r in nanometres\n" + rows(), "whose label states nm"),
        (HEADERS["PDFgetX3"].replace("outputtype = gr", "outputtype = sq") + rows(), "whose axis is Q"),
        (rows(g=1 + 0.1 * example_pdf()), r"resembles S\(Q\) or I\(Q\)"),
        (rows(g=np.where(R < 2, -1, 1) + 0.3 * example_pdf()), r"resembles S\(Q\) or I\(Q\)"),
        (rows(g=np.exp(-R)), r"resembles S\(Q\) or I\(Q\)"),
        (rows(g=np.exp(-(R**2))), r"resembles S\(Q\) or I\(Q\)"),
        (rows(g=0 * R), "constant curve"),
        (rows(g=1e20 * example_pdf()), "values up to .*e\\+20 in"),
        (rows(g=1e-20 * example_pdf()), "check its unit and scale"),
        (rows(np.round(R, 1)), "each r once, got 2700 of 3001 repeated"),
        (
            rows().replace("\n10.0 ", "\n* ").replace("\n20.0 ", "\n* "),
            "got a longest block of 1000 of 2999 rows from line 1 on in .*;",
        ),
        (rows().replace(".", ","), "decimal commas in 3001 lines"),
        (rows(separator=";").replace(".", ","), "decimal commas in 3001 lines"),
        ("Q/A^-1 F\n" + rows(), "whose axis is Q"),
        ("# TwoTheta Intensity\n" + rows(), "whose axis is Q or an angle"),
        ("tth,I\n" + rows(), "whose axis is Q or an angle"),
        ("1 1\n" * (MAX_LINES + 1), "at most 60000 lines, got 60001"),
        (("1 " * 1001 + "\n") * 20, "at least 10 rows .* got 0"),
    ],
)
def test_what_is_no_pdf_is_refused_in_one_line(write, text, message):
    with pytest.raises(ReadError, match=message) as error:
        gr.read(write(text))
    assert_one_sentence(error)


@pytest.mark.parametrize("suffix", [".sq", ".fq", ".iq", ".chi", ".SQ"])
def test_curves_over_q_are_refused_by_their_suffix(write, suffix):
    with pytest.raises(ReadError, match="whose axis is Q") as error:
        gr.read(write(rows(), "x" + suffix))
    assert_one_sentence(error)


def test_missing_files_folders_and_huge_files_are_refused(write, tmp_path):
    large_file = write(rows(), "huge.gr")
    with large_file.open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    for path, message in (
        (tmp_path / "none.gr", "does not exist"),
        (tmp_path, "is a folder"),
        (large_file, "at most 8 MB"),
    ):
        with pytest.raises(ReadError, match=message) as error:
            gr.read(path)
        assert_one_sentence(error)


def test_a_file_that_the_system_withholds_is_refused(write, monkeypatch):
    def raise_permission_error(path):
        raise PermissionError(13, "Permission denied")

    path = write(rows())
    monkeypatch.setattr(Path, "read_bytes", raise_permission_error)
    with pytest.raises(ReadError, match=r"readable file, got .*: Permission denied") as error:
        gr.read(path)
    assert_one_sentence(error)


def test_reading_needs_neither_jax_nor_matplotlib():
    code = "import sys, jaxstruc.io.gr; sys.exit(bool({'jax', 'matplotlib', 'ase'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
