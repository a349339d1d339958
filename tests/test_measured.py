import numpy as np
import pytest

from jaxstruc import measured

R = np.arange(0, 30.005, 0.01)


def wave(r=R):
    """Return a curve like a PDF, band-limited to 20 1/Å."""
    return np.sin(2.5 * r) * np.exp(-r / 12) + 0.3 * np.sin(17 * r) * np.exp(-r / 5)


def rows(r=R, g=None, separator=" "):
    g = wave(r) if g is None else g
    return "".join(f"{x!r}{separator}{y!r}\n" for x, y in zip(r.tolist(), g.tolist(), strict=True))


LABELS = "#### start data\n#S 1\n#L r($\\AA$)  G($\\AA^{-2}$)\n"
BODY = "mode = xray\ncomposition = Pt\noutputtype = gr\nqmaxinst = 25.0\nqmin = 0.8\nqmax = 22.0\nrmax = 30.0\n"
XPDFSUITE = "# xPDFsuite Configuration #\n[PDF]\nwavelength = 0.1\n" + BODY + "\n[Misc]\ninputdir = /private/place\n\n"
HEADERS = {
    "xPDFsuite": XPDFSUITE,
    "PDFgetXgui": XPDFSUITE.replace("xPDFsuite", "PDFgetXgui"),
    "PDFgetX3": "[DEFAULT]\n\nversion = pdfgetx3-1.0\n# setup\ninputfile = /private/place/x.chi\n" + BODY + "\n",
    "bare": "",
}


@pytest.fixture
def write(tmp_path):
    def write(text, name="x.gr"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("program", HEADERS)
def test_data_come_back_exactly_whatever_program_wrote_them(write, program):
    labels = LABELS if program != "bare" else ""
    measurement = measured.read(write(HEADERS[program] + labels + rows().rstrip("\n")))
    np.testing.assert_array_equal(measurement.r, R)
    np.testing.assert_array_equal(measurement.g, wave())
    assert measurement.format == program and not measurement.warnings
    if program != "bare":
        assert measurement.header["qmin"] == 0.8 and measurement.header["qmax"] == 22.0
        assert measurement.header["composition"] == "Pt"
    assert "private" not in str(measurement.header)


@pytest.mark.parametrize("separator", ["\t", ", ", ";", "   "])
def test_columns_may_be_parted_in_many_ways(write, separator):
    np.testing.assert_array_equal(measured.read(write(rows(separator=separator))).g, wave())


def test_fortran_numbers_latin_and_a_lone_count_are_read(write):
    text = "# r in Ångström\n3001\n".encode("latin-1") + rows().replace(" 0.", " .").replace("e-", "D-").encode()
    np.testing.assert_array_equal(measured.read(write(text)).g, wave())


def test_a_third_column_is_no_part_of_the_curve(write):
    text = "# r, Gr\n" + rows().replace("\n", " 0.01\n")
    np.testing.assert_array_equal(measured.read(write(text)).g, wave())


def test_repeated_r_are_dropped_with_a_warning(write):
    measurement = measured.read(write(rows(np.insert(R, 100, R[100]))))
    np.testing.assert_array_equal(measurement.r, R)
    assert measurement.warnings == ("1 repeated r dropped",)


def test_a_header_that_disagrees_with_the_data_is_said(write):
    measurement = measured.read(write(HEADERS["PDFgetX3"].replace("rmax = 30", "rmax = 6") + rows()))
    assert "the header says rmax 6, the data end at 30" in measurement.warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "which is empty"),
        (b"\x89PNG\0\0\0\0", "which is binary"),
        ("hello\n" * 50, "at least 10 rows .* got 0"),
        ("1 2\n2 3\n", "got 2 in"),
        (rows(g=np.where(R == 5.0, np.nan, wave())), "1 rows with NaN"),
        (rows(g=np.where(R > 29.9, np.inf, wave())), "rows with NaN or infinity .* data row 2991"),
        (rows(R[::-1]), "increasing r, got 29.99 after 30"),
        (rows(R - 1), "r of at least 0, got -1"),
        ("#L Q($\\AA^{-1}$)  S(a.u.)\n" + rows(), "whose axis is Q"),
        ("#L r(nm)  G\n" + rows(), "labelled in nm"),
        (HEADERS["PDFgetX3"].replace("outputtype = gr", "outputtype = sq") + rows(), "whose axis is Q"),
        (rows(g=1 + 0.1 * wave()), r"like S\(Q\) or I\(Q\)"),
        (rows(g=0 * R), "constant curve"),
    ],
)
def test_what_is_no_pdf_is_refused_in_one_line(write, text, message):
    with pytest.raises(measured.ReadError, match=message) as error:
        measured.read(write(text))
    assert "\n" not in str(error.value)


def test_missing_files_folders_and_curves_over_q_are_refused(write, tmp_path):
    for path, message in (
        (tmp_path / "none.gr", "does not exist"),
        (tmp_path, "is a folder"),
        (write(rows(), "x.sq"), "whose axis is Q"),
    ):
        with pytest.raises(measured.ReadError, match=message):
            measured.read(path)


def resolve(write, header="", text=None, bond=2.78, **given):
    measurement = measured.read(write(header + (rows() if text is None else text)))
    return {s.name: (s.value, s.origin) for s in measured.resolve(measurement, given=given, bond=bond)}


def test_the_command_line_overrides_the_header_and_both_the_defaults(write):
    found = resolve(write, HEADERS["PDFgetX3"], qmax=21.0, rmax=None)
    assert found["qmin"] == (0.8, "header") and found["qmax"] == (21.0, "command line")
    assert found["qdamp"] == (0.03, "default") and found["qbroad"] == (0.0, "default")
    assert found["rmin"] == (1.5, "default") and found["rmax"] == (20.0, "default")
    assert found["rstep"] == (pytest.approx(0.01), "data")


def test_the_default_range_is_cut_to_the_data(write):
    short = R[(R > 2) & (R < 15.005)]
    found = resolve(write, text=rows(short), qmin=1, qmax=20)
    assert found["rmax"] == (15.0, "default, cut to the data")
    assert found["rmin"] == (pytest.approx(2.01), "default, cut to the data")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "pass --qmin and --qmax"),
        ({"qmin": 1.0}, "Expected qmax in the header"),
        ({"qmin": 5.0, "qmax": 4.0}, "0 <= qmin < qmax, got 5 and 4"),
        ({"qmin": -1.0, "qmax": 20.0}, "0 <= qmin < qmax"),
        ({"qmin": 1.0, "qmax": 20.0, "qdamp": -0.1}, "qdamp and qbroad of at least 0"),
        ({"qmin": 1.0, "qmax": np.nan}, "finite settings"),
        ({"qmin": 1.0, "qmax": 400.0}, "step in r of at most pi/qmax"),
        ({"qmin": 1.0, "qmax": 20.0, "rmin": 9.0, "rmax": 8.0}, "rmin < rmax, got 9 and 8"),
        ({"qmin": 1.0, "qmax": 20.0, "rmax": 31.0}, "within the data, 0 to 30"),
        ({"qmin": 1.0, "qmax": 20.0, "rmin": 5.0, "rmax": 5.05}, "at least 10 points"),
        ({"qmin": 1.0, "qmax": 20.0, "bond": 40.0}, "beyond one bond of 40.00 Å"),
        ({"qmin": 0.1, "qmax": 1.4}, "r is in nm .* or qmax is wrong"),
    ],
)
def test_contradictions_are_refused_in_one_line(write, given, message):
    with pytest.raises(measured.ReadError, match=message) as error:
        resolve(write, **given)
    assert "\n" not in str(error.value)


def test_r_in_nanometres_is_seen_without_a_label(write, repository):
    """A PDF holds no frequency above qmax; read in nm as Å, it holds ten times that. Noise alone does not show so."""
    example = measured.read(repository / "examples" / "Ag68_simulated.gr")
    noisy = example.g + 0.02 * np.abs(example.g).max() * np.random.default_rng(0).normal(size=example.g.size)
    assert resolve(write, text=rows(example.r, noisy), qmin=1.0, qmax=22.0, bond=2.88)
    with pytest.raises(measured.ReadError, match="r is in nm"):
        resolve(write, text=rows(example.r / 10, noisy), qmin=1.0, qmax=22.0, bond=1.0)
    with pytest.raises(measured.ReadError, match="or in nm; if in nm"):
        resolve(write, text=rows(example.r / 10, noisy), qmin=1.0, qmax=22.0, bond=2.88)


def test_an_uneven_grid_is_refused(write):
    with pytest.raises(measured.ReadError, match="evenly spaced"):
        resolve(write, text=rows(np.sort(R**1.05)), qmin=0.8, qmax=20.0)
