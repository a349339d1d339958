import numpy as np
import pytest
from curves import SIGMA, I, Q, assert_curve, columns, nxcansas, xml
from written import HEADERS, LABELS, assert_one_sentence, rows, wave

from jaxstruc.data import apart, formats, gr
from jaxstruc.data.text import ReadError

WAVES = np.sin(np.linspace(0.3, 40, 400))


@pytest.fixture(scope="module", autouse=True)
def _ended():
    yield
    apart._end()


@pytest.mark.parametrize("name", ["x.gr", "x.dat", "x.txt", "x"])
@pytest.mark.parametrize("program", HEADERS)
@pytest.mark.parametrize("wanted", [formats.PDFS, ("gr", "iq", "sq", "fq")])
def test_a_pdf_is_read_as_ever(write, name, program, wanted):
    path = write(HEADERS[program] + LABELS * (program != "bare") + rows(), name)
    found, expected = formats.read(path, wanted=wanted), gr.read(path)
    assert found.kind == "gr" and found[3:] == expected[3:]
    np.testing.assert_array_equal([found.r, found.g], [expected.r, expected.g])


def test_one_curve_in_four_formats_has_the_same_numbers(write, tmp_path):
    """Whatever the ending, but for columns, which have no other sign than what they hold."""
    told = columns(Q, I, SIGMA, head="Q(1/A) I(1/cm) sigma\n")
    for name in ("x.dat", "x.csv", "x.iq", "x.txt", "x.chi"):
        assert_curve(formats.read(write(told, name)), dq=None)
    for name in ("x.xml", "x.dat"):
        assert_curve(formats.read(write(xml(), name)))
    for name in ("x.h5", "x.nxs", "x.dat"):
        assert_curve(formats.read(nxcansas(tmp_path / name)))


def test_bare_columns_are_what_they_look_like_unless_somebody_says(write):
    over_q = write(columns(Q, I), "i.dat")
    with pytest.raises(ReadError, match="the unit of Q in the file or the command"):
        formats.read(over_q)
    assert formats.read(over_q, q_unit="1/A").kind == formats.read(over_q, q_unit="1/A", kind="iq").kind == "iq"
    noisy = np.where(Q > 0.1, 0.2 * np.sin(1e4 * Q), I)
    with pytest.raises(ReadError, match="the unit of Q in the file or the command"):
        formats.read(write(columns(Q, noisy), "n.dat"))
    swinging = write(columns(np.linspace(0.1, 20, 400), WAVES), "g.dat")
    assert formats.read(swinging).kind == formats.read(swinging, wanted=formats.PDFS).kind == "gr"
    assert formats.read(swinging, q_unit="1/A", kind="fq").kind == "fq"
    assert formats.read(write(columns(Q, WAVES[:80]), "x.sq"), q_unit="1/nm").kind == "sq"


@pytest.mark.parametrize(
    ("name", "text", "given", "message"),
    [
        ("x.gr", LABELS + rows(), {"wanted": ("iq",)}, r"I\(Q\), got G\(r\) in .*x.gr; pass it to jaxstruc solve"),
        ("x.dat", LABELS + rows(), {"wanted": ("iq",)}, r"I\(Q\), got G\(r\) in .*x.dat; pass it to jaxstruc solve"),
        ("x.sq", columns(Q, I), {"wanted": ("iq",)}, r"I\(Q\), got S\(Q\) in .*x.sq; pass it to jaxstruc solve"),
        ("x.iq", columns(Q, I), {"wanted": formats.PDFS}, r"got I\(Q\) in .*x.iq; pass it to jaxstruc saxs"),
        ("x.dat", columns(Q, I, head="Q(1/A) I\n"), {"wanted": formats.PDFS}, r"I\(Q\) in .*; pass it to jaxstruc"),
        ("x.dat", columns(Q, I, head="Q(1/A) x\n"), {"wanted": formats.PDFS}, "does not say which; pass --kind sq"),
        ("x.xml", xml(), {"wanted": formats.PDFS}, r"got I\(Q\) in .*x.xml; pass it to jaxstruc saxs"),
        ("x.xml", xml(), {"kind": "sq"}, r"S\(Q\), got I\(Q\) in .*x.xml"),
        ("x.dat", columns(Q, I), {"wanted": formats.PDFS}, r"G\(r\), which swings about 0, got a curve like"),
        ("x.gr", "", {"wanted": formats.PDFS}, "a PDF file, got .*x.gr, which is empty"),
        ("x.gr", columns(Q, I, head="# Q S\n"), {}, r"G\(r\) over r, got .*x.gr, whose axis is Q"),
        ("x.h5", "text", {}, "Expected HDF5, got .*x.h5, which is broken or none"),
        ("x.xml", "text", {}, "Expected CanSAS1d XML, got .*x.xml, which is broken"),
        ("x.dat", b"\0\1", {}, "a text file, got .*x.dat, which is binary"),
    ],
)  # fmt: skip
def test_what_another_command_takes_is_told_with_it(write, name, text, given, message):
    with pytest.raises(ReadError, match=message) as error:
        formats.read(write(text, name), **given)
    assert_one_sentence(error)


def test_missing_files_and_folders_are_refused(tmp_path):
    for name in ("none.dat", "none.gr", "none.h5", "none.xml"):
        with pytest.raises(ReadError, match="which does not exist; check the path"):
            formats.read(tmp_path / name)
    with pytest.raises(ReadError, match="which is a folder"):
        formats.read(tmp_path)


def test_the_curves_that_bare_columns_hold_are_those_of_their_reader(write):
    path = write(rows(), "x.dat")
    np.testing.assert_array_equal(formats.read(path).g, wave())
