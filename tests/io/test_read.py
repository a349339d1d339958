import numpy as np
import pytest
from measurement_files import HEADERS, LABELS, assert_one_sentence, example_pdf, rows
from q_curve_files import SIGMA, I, Q, assert_curve, cansas_xml, text_columns, write_nxcansas

from jaxstruc.io import gr, isolated_process, read
from jaxstruc.io.columns import ReadError

OSCILLATING_CURVE = np.sin(np.linspace(0.3, 40, 400))


@pytest.fixture(scope="module", autouse=True)
def _end_worker():
    yield
    isolated_process._end_process()


@pytest.mark.parametrize("name", ["x.gr", "x.dat", "x.txt", "x"])
@pytest.mark.parametrize("program", HEADERS)
@pytest.mark.parametrize("accepted_kinds", [read.PDF_KINDS, ("gr", "iq", "sq", "fq")])
def test_a_pdf_is_read_as_by_its_own_reader(write, name, program, accepted_kinds):
    path = write(HEADERS[program] + LABELS * (program != "bare") + rows(), name)
    measurement, expected = read.read_curve(path, accepted_kinds=accepted_kinds), gr.read(path)
    assert measurement.kind == "gr" and measurement[3:] == expected[3:]
    np.testing.assert_array_equal([measurement.r, measurement.g], [expected.r, expected.g])


def test_one_curve_in_four_formats_has_the_same_numbers(write, tmp_path):
    """HDF5 and XML files are read with any ending of the name; the kind of columns is found from their content."""
    labelled_text = text_columns(Q, I, SIGMA, header="Q(1/A) I(1/cm) sigma\n")
    for name in ("x.dat", "x.csv", "x.iq", "x.txt", "x.chi"):
        assert_curve(read.read_curve(write(labelled_text, name)), dq=None)
    for name in ("x.xml", "x.dat"):
        assert_curve(read.read_curve(write(cansas_xml(), name)))
    for name in ("x.h5", "x.nxs", "x.dat"):
        assert_curve(read.read_curve(write_nxcansas(tmp_path / name)))


def test_the_kind_of_bare_columns_is_recognised_unless_the_user_states_it(write):
    unlabelled_file = write(text_columns(Q, I), "i.dat")
    with pytest.raises(ReadError, match="the unit of Q in the file or the command"):
        read.read_curve(unlabelled_file)
    assert (
        read.read_curve(unlabelled_file, q_unit="1/A").kind
        == read.read_curve(unlabelled_file, q_unit="1/A", kind="iq").kind
        == "iq"
    )
    noisy_intensity = np.where(Q > 0.1, 0.2 * np.sin(1e4 * Q), I)
    with pytest.raises(ReadError, match="the unit of Q in the file or the command"):
        read.read_curve(write(text_columns(Q, noisy_intensity), "n.dat"))
    oscillating_file = write(text_columns(np.linspace(0.1, 20, 400), OSCILLATING_CURVE), "g.dat")
    assert (
        read.read_curve(oscillating_file).kind
        == read.read_curve(oscillating_file, accepted_kinds=read.PDF_KINDS).kind
        == "gr"
    )
    assert read.read_curve(oscillating_file, q_unit="1/A", kind="fq").kind == "fq"
    assert read.read_curve(write(text_columns(Q, OSCILLATING_CURVE[:80]), "x.sq"), q_unit="1/nm").kind == "sq"


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        (
            "x.gr",
            LABELS + rows(),
            {"accepted_kinds": ("iq",)},
            r"I\(Q\), got G\(r\) in .*x.gr; pass it to jaxstruc solve",
        ),
        (
            "x.dat",
            LABELS + rows(),
            {"accepted_kinds": ("iq",)},
            r"I\(Q\), got G\(r\) in .*x.dat; pass it to jaxstruc solve",
        ),
        (
            "x.sq",
            text_columns(Q, I),
            {"accepted_kinds": ("iq",)},
            r"I\(Q\), got S\(Q\) in .*x.sq; pass it to jaxstruc solve",
        ),
        (
            "x.iq",
            text_columns(Q, I),
            {"accepted_kinds": read.PDF_KINDS},
            r"got I\(Q\) in .*x.iq; pass it to jaxstruc saxs",
        ),
        (
            "x.dat",
            text_columns(Q, I, header="Q(1/A) I\n"),
            {"accepted_kinds": read.PDF_KINDS},
            r"I\(Q\) in .*; pass it to jaxstruc",
        ),
        (
            "x.dat",
            text_columns(Q, I, header="Q(1/A) x\n"),
            {"accepted_kinds": read.PDF_KINDS},
            "does not state its kind; pass --kind sq",
        ),
        ("x.xml", cansas_xml(), {"accepted_kinds": read.PDF_KINDS}, r"got I\(Q\) in .*x.xml; pass it to jaxstruc saxs"),
        ("x.xml", cansas_xml(), {"kind": "sq"}, r"S\(Q\), got I\(Q\) in .*x.xml"),
        (
            "x.dat",
            text_columns(Q, I),
            {"accepted_kinds": read.PDF_KINDS},
            r"G\(r\), which oscillates around 0, got a curve that resembles",
        ),
        ("x.gr", "", {"accepted_kinds": read.PDF_KINDS}, "a PDF file, got .*x.gr, which is empty"),
        ("x.gr", text_columns(Q, I, header="# Q S\n"), {}, r"G\(r\) over r, got .*x.gr, whose axis is Q"),
        ("x.h5", "text", {}, "Expected HDF5, got .*x.h5, which is damaged or not HDF5"),
        ("x.xml", "text", {}, "Expected CanSAS1d XML, got .*x.xml, which is broken"),
        ("x.dat", b"\0\1", {}, "a text file, got .*x.dat, which is binary"),
    ],
)
def test_a_curve_for_another_command_is_refused_with_the_name_of_that_command(write, name, text, options, message):
    with pytest.raises(ReadError, match=message) as error:
        read.read_curve(write(text, name), **options)
    assert_one_sentence(error)


def test_missing_files_and_folders_are_refused(tmp_path):
    for name in ("none.dat", "none.gr", "none.h5", "none.xml"):
        with pytest.raises(ReadError, match="which does not exist; check the path"):
            read.read_curve(tmp_path / name)
    with pytest.raises(ReadError, match="which is a folder"):
        read.read_curve(tmp_path)


def test_the_curves_that_bare_columns_hold_are_those_of_their_reader(write):
    path = write(rows(), "x.dat")
    np.testing.assert_array_equal(read.read_curve(path).g, example_pdf())
