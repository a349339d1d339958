import numpy as np
import pytest
from measurement_files import HEADERS, LABELS, assert_one_sentence, rows
from q_curve_files import DQ, SIGMA, I, Q, assert_curve, text_columns

from jaxstruc.io import iq
from jaxstruc.io.columns import ReadError


@pytest.mark.parametrize(
    "header",
    [
        "# Q (1/A)  I (1/cm)  sigma  dQ\n",
        "Q[A^-1],I[cm^-1],dI[cm^-1],dQ[A^-1]\n",
        "#L q_A^-1 I(1/cm) error sigma_q\n",
        '"Q (1/Å)"\t"I(Q) (1/cm)"\t"std. dev. I(Q) (1/cm)"\t"sigmaQ"\n',
        "The 4 columns are | Q (1/A) | I(Q) (1/cm) | std. dev. I(Q) (1/cm) | sigmaQ |\n",
        "; Q / 1/A   Intensity / cm^-1   err   Qdev\n",
        "#L Q($\\AA^{-1}$)  I($cm^{-1}$)  Idev  resolution\n",
    ],
)
@pytest.mark.parametrize("separator", [" ", "\t", ", ", ";"])
def test_labels_name_columns_and_their_units(write, header, separator):
    measurement = iq.read(write(text_columns(Q, I, SIGMA, DQ, header=header, separator=separator), "x.dat"))
    assert_curve(measurement)
    assert (
        measurement.format == "columns, Q in 1/Å from the header"
        and measurement.warnings == ()
        and len(measurement.sha256) == 64
    )


def test_columns_may_stand_in_another_order(write):
    measurement = iq.read(write(text_columns(Q, I, DQ, I, SIGMA, header="Q(1/nm) I dQ meanI sigma\n"), "x.txt"))
    assert_curve(measurement, q=Q / 10, dq=DQ / 10, intensity_unit="")
    assert measurement.warnings == ("columns not read: meanI",)


def test_columns_without_labels_are_read_in_the_usual_order_with_a_warning(write):
    measurement = iq.read(write(text_columns(Q, I, SIGMA, DQ), "x.dat"), q_unit="1/A")
    assert_curve(measurement, intensity_unit="")
    assert measurement.warnings == (
        "column 3 has no label and is read as sigma",
        "column 4 has no label and is read as dQ",
    )
    assert iq.read(write(text_columns(Q, I), "y.iq"), q_unit="1/nm").sigma is None


def test_fit2ds_four_lines_state_the_unit(write):
    header = "/place/image.tif: Fri 1 Jan\nQ (Inverse Nanometres)\nIntensity\n   80\n"
    measurement = iq.read(write(text_columns(10 * Q, I, header=header), "x.chi"))
    assert_curve(measurement, sigma=None, dq=None, intensity_unit="", rtol=1e-14)
    assert "1/nm from the header" in measurement.format


def test_an_angle_needs_a_wavelength_which_pyfai_writes_in_metres(write):
    angles = np.linspace(0.5, 30, 80)
    header = "# == pyFAI calibration ==\n# Wavelength: 7.1e-11 m\n#  2th_deg  I\n"
    expected_q = 4 * np.pi / 0.71 * np.sin(np.deg2rad(angles / 2))
    measurement = iq.read(write(text_columns(angles, I, header=header), "x.dat"))
    np.testing.assert_allclose(measurement.q, expected_q, rtol=1e-12)
    assert measurement.settings == (("wavelength", pytest.approx(0.71), "header"),)
    measurement = iq.read(
        write(text_columns(angles, I, header="f.tif\n2-Theta Angle (Degrees)\nIntensity\n 80\n"), "x.chi"),
        wavelength=0.71,
    )
    np.testing.assert_allclose(measurement.q, expected_q, rtol=1e-12)
    with pytest.raises(ReadError, match="a wavelength with 2theta, got none"):
        iq.read(write(text_columns(angles, I, SIGMA), "x.xye"), q_unit="2theta")


def test_a_headers_other_numbers_and_a_first_row_of_zeros_are_no_points(write):
    header = " LOQ Wed 4-JUN-2003\n  80    0    0    0    1   80    0\n  0  0  0  0\n 3 (F12.5,2E16.6)\n0 0 0\n"
    measurement = iq.read(write(text_columns(Q, I, SIGMA, header=header), "x.txt"), q_unit="1/A")
    assert_curve(measurement, dq=None, intensity_unit="")
    assert "points at Q = 0 dropped: 1" in measurement.warnings


@pytest.mark.parametrize(
    ("name", "header", "curve_kind"),
    [
        ("x.sq", "# Q(1/A) x\n", "sq"), ("x.fq", "# Q(1/A) x\n", "fq"), ("x.iq", "# Q(1/A) x\n", "iq"),
        ("x.dat", "# Q(1/A) S(Q)\n", "sq"), ("x.dat", "Q(1/A),F(a.u.)\n", "fq"), ("x.sq", "# Q(1/A) F(Q)\n", "fq"),
        ("x.dat", "outputtype = sq\n#L Q($\\AA^{-1}$)  S(a.u.)\n", "sq"), ("x.dat", "# Q(1/A) x\n", "iq"),
    ],
)  # fmt: skip
def test_the_kind_comes_from_the_header_the_labels_and_the_ending(write, name, header, curve_kind):
    measurement = iq.read(write(text_columns(Q, I, header=header), name))
    assert measurement.kind == curve_kind and measurement.intensity_unit == ""
    np.testing.assert_array_equal(measurement.intensity, I)


def test_settings_of_a_header_are_kept(write):
    header = HEADERS["xPDFsuite"].replace("outputtype = gr", "outputtype = sq") + "#L Q($\\AA^{-1}$)  S(a.u.)\n"
    measurement = iq.read(write(text_columns(Q, I, header=header), "x.sq"))
    assert measurement.kind == "sq" and measurement.header["qmax"] == 22.0 and measurement.header["composition"] == "Pt"
    assert measurement.format == "xPDFsuite, Q in 1/Å from the header"


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        (
            "x.dat",
            text_columns(Q, I),
            {},
            "the unit of Q in the file or the command, got none for the values 0.005 to 0.4 in .*x.dat",
        ),
        ("x.dat", text_columns(Q, I, header="# Q  I(Q)\n"), {}, "the unit of Q"),
        ("x.xye", text_columns(60 * Q, I, SIGMA), {}, r"--q-unit 2theta \(or 2theta-rad\) with --wavelength"),
        ("x.chi", text_columns(Q, I, header="f\n2-Theta Angle (Radians)\nI\n 80\n"), {}, "a wavelength with 2theta"),
        (
            "x.chi",
            text_columns(Q, I, header="f\n2-Theta Angle (mrad)\nI\n 80\n"),
            {},
            "got '2theta in mrad'",
        ),
        (
            "x.dat",
            text_columns(Q, I, SIGMA, DQ, DQ),
            {},
            r"only Q, I\(Q\), sigma and dQ in columns without labels, got 5 columns in .*; add a line",
        ),
        (
            "x.ABS",
            text_columns(Q, I, SIGMA, 0 * Q - 0.117, header="Q(1/A) I dI sigmaQ\n"),
            {},
            "which marks a slit, in .*desmear",
        ),
        (
            "x.dat",
            text_columns(Q, I, SIGMA, 0 * Q + 0.1, header="Q(1/A) I dI dQl\n"),
            {},
            "got slit widths in .*desmear",
        ),
        (
            "x.dat",
            text_columns(Q, I, SIGMA, DQ, header="Q(1/A) I dI dQ(1/nm)\n"),
            {},
            "dQ in the unit of Q, got 1/nm and 1/A",
        ),
        (
            "x.dat",
            text_columns(Q, I, 0.1 - SIGMA, header="Q(1/A) I dI\n"),
            {},
            "sigma above 0 .* got -.* in line 2 of",
        ),
        ("x.dat", text_columns(Q[::-1], I, header="Q(1/A) I\n"), {}, "increasing Q, got .* in line 3 of"),
        ("x.gr", text_columns(Q, I), {"q_unit": "1/A"}, r"or F\(Q\), got G\(r\) in .*; pass it to jaxstruc solve"),
        ("x.dat", LABELS + rows(), {"kind": "iq"}, r"I\(Q\), got G\(r\) in .*x.dat; pass it to jaxstruc solve"),
        ("x.sq", text_columns(Q, I), {"kind": "iq"}, r"I\(Q\), got S\(Q\) in .*x.sq; pass it to jaxstruc solve"),
        (
            "x.sq",
            text_columns(Q, I),
            {"kind": "fq", "accepted_kinds": ("gr", "sq", "fq")},
            r"got S\(Q\) in .*; leave out --kind fq",
        ),
        (
            "x.iq",
            text_columns(Q, I),
            {"accepted_kinds": ("gr", "sq", "fq")},
            r"got I\(Q\) in .*x.iq; pass it to jaxstruc saxs",
        ),
        (
            "x.dat",
            text_columns(Q, I),
            {"accepted_kinds": ("gr", "sq", "fq")},
            "does not state its kind; pass --kind sq or --kind fq",
        ),
        ("x.dat", text_columns(Q, I).replace(".", ","), {}, "decimal points, got decimal commas"),
        ("x.dat", "Q I\n1 2\n", {}, r"at least 10 rows of Q and I\(Q\), got 1 in"),
        ("x.dat", b"\0\1\2", {}, r"a text file, got .*, which is binary; export I\(Q\) as text \(.dat\)"),
        ("x.dat", "", {}, "a curve file, got .*, which is empty"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(write, name, text, options, message):
    with pytest.raises(ReadError, match=message) as error:
        iq.read(write(text, name), **options)
    assert_one_sentence(error)


def test_a_slit_width_of_zero_is_no_slit(write):
    measurement = iq.read(write(text_columns(Q, I, SIGMA, 0 * Q, header="Q(1/A) I dI dQl\n"), "x.dat"))
    np.testing.assert_allclose(measurement.intensity, I)


def test_an_error_that_may_be_one_of_q_is_read_as_neither(write):
    measurement = iq.read(write(text_columns(Q, I, SIGMA, header="Q(1/A) I(Q) sigma(Q)\n"), "x.dat"))
    assert (
        measurement.sigma is None and measurement.dq is None and measurement.warnings == ("columns not read: sigma(Q)",)
    )
