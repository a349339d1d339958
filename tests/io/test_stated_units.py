"""Units that files state, in columns, XML and HDF5: they are converted, or refused if they are not known."""

import numpy as np
import pytest
from measurement_files import assert_one_sentence
from q_curve_files import SIGMA, I, Q, assert_curve, cansas_xml, text_columns, write_nxcansas

from jaxstruc.io import read
from jaxstruc.io.columns import ReadError

UNIT_LABELS = [
    ("# q (1/A), I (1/m/sr), sigma (1/m/sr)\n", ", ", 0.01),
    ("q / 1/A\tI / m^-1 sr^-1\tsigma / m^-1 sr^-1\n", "\t", 0.01),
    ("# q(1/A) I(1/(m sr)) sigma(1/(m sr))\n", " ", 0.01),
    ("Q [Å⁻¹];I(Q) [(m·sr)⁻¹];σ [(m·sr)⁻¹]\n", ";", 0.01),
    ("# q (1/A) I (m^-1 sr^-1) sigma (m^-1 sr^-1)\n", " ", 0.01),
    ("# q_A^-1 I_mm^-1 sigma_mm^-1\n", " ", 10.0),
    ("# q(1/A) I(mm-1) sigma(mm-1)\n", " ", 10.0),
    ("#q [1/A], Intensity I(q) [1/(mm*sr)], Error of I(q) [1/(mm*sr)]\n", ", ", 10.0),
    ("# q in 1/A, I(q) in cm^-1 sr^-1, error in cm^-1 sr^-1\n", ", ", 1.0),
    ("#L Q($\\AA^{-1}$)  I($\\mathrm{cm}^{-1}$)  sigma($\\mathrm{cm}^{-1}$)\n", " ", 1.0),
]


@pytest.mark.parametrize("name", ["Au_m_sr.dat", "Au_mm.dat"])
def test_the_given_curves_per_m_sr_and_per_mm_are_the_same_curve_per_cm(case, name):
    curve = read.read_curve(case(name))
    expected = np.loadtxt(case(name), delimiter=",") * [1, *2 * [0.01 if name == "Au_m_sr.dat" else 10.0]]
    np.testing.assert_allclose([curve.q, curve.intensity, curve.sigma], expected.T, rtol=1e-12)
    assert curve.intensity_unit == "1/cm" and not curve.warnings
    assert curve.intensity[0] == pytest.approx(45.20261)


@pytest.mark.parametrize(("header", "separator", "factor"), UNIT_LABELS)
def test_labels_of_columns_state_the_unit_of_the_intensity(write, header, separator, factor):
    path = write(text_columns(Q, I / factor, SIGMA / factor, header=header, separator=separator), "x.dat")
    assert_curve(read.read_curve(path), dq=None, rtol=1e-13)


@pytest.mark.parametrize(("unit", "factor"), [("1/(m sr)", 0.01), ("mm-1", 10.0), ("cm⁻¹ sr⁻¹", 1.0)])
def test_xml_and_hdf5_state_the_unit_of_the_intensity(write, tmp_path, unit, factor):
    options = {"intensity": I / factor, "sigma": SIGMA / factor, "dq": None, "intensity_unit": unit}
    for path in (write(cansas_xml(**options), "x.xml"), write_nxcansas(tmp_path / "x.h5", **options)):
        assert_curve(read.read_curve(path), dq=None, rtol=1e-13)


@pytest.mark.parametrize("unit", ["1/furlong", "barn", "m^-2", "1/km/sr"])
def test_an_unknown_unit_of_the_intensity_is_refused(write, tmp_path, unit):
    options = {"dq": None, "intensity_unit": unit}
    for path in (
        write(text_columns(Q, I, header=f"Q (1/A), I ({unit})\n"), "x.dat"),
        write(cansas_xml(**options), "x.xml"),
        write_nxcansas(tmp_path / "x.h5", **options),
    ):
        with pytest.raises(
            ReadError, match=r"^Expected I in 1/cm, .* got the unit '.*'; convert I|; convert I"
        ) as error:
            read.read_curve(path)
        assert_one_sentence(error)


def test_an_error_in_another_unit_than_the_intensity_is_refused(write):
    path = write(text_columns(Q, I, SIGMA, header="Q (1/A), I (1/cm), sigma (1/m)\n"), "x.dat")
    with pytest.raises(ReadError, match="sigma in the unit of I, got 1/m and 1/cm in"):
        read.read_curve(path)


@pytest.mark.parametrize("unit", ["1/furlong", "1/cm"])
def test_an_unknown_unit_of_q_is_refused_and_named(write, tmp_path, unit):
    for path in (
        write(text_columns(Q, I, header=f"Q ({unit}), I\n"), "x.dat"),
        write(cansas_xml(q_unit=unit), "x.xml"),
        write_nxcansas(tmp_path / "x.h5", q_unit=unit),
    ):
        with pytest.raises(ReadError, match=f"a known unit of Q, got '{unit}' for the values") as error:
            read.read_curve(path)
        assert_one_sentence(error)


def test_a_remark_in_brackets_is_no_unit(write):
    path = write(text_columns(Q, I, header="Q(1/A) I(300K)\n"), "x.dat")
    assert_curve(read.read_curve(path), sigma=None, dq=None, intensity_unit="")


def test_the_given_curve_over_2theta_in_radians_is_read_by_its_label(case):
    curve = read.read_curve(case("Au_2thrad.dat"))
    angles = np.loadtxt(case("Au_2thrad.dat"), usecols=0)
    np.testing.assert_allclose(curve.q, 4 * np.pi * np.sin(angles / 2), rtol=1e-12)
    assert curve.settings == (("wavelength", pytest.approx(1.0), "header"),)


@pytest.mark.parametrize(
    ("header", "separator"),
    [("2theta (rad), I\n", ", "), ("2θ [radians]\tIntensity\n", "\t"), ("#L tth/rad I\n", " "), ("", " ")],
)
def test_angles_in_radians_are_read_by_a_label_or_the_option(write, header, separator):
    angles = np.deg2rad(np.linspace(0.5, 30, 80))
    path = write(text_columns(angles, I, header=header, separator=separator), "x.dat")
    q_unit = None if header else "2theta-rad"
    curve = read.read_curve(path, q_unit=q_unit, wavelength=0.71)
    np.testing.assert_allclose(curve.q, 4 * np.pi / 0.71 * np.sin(angles / 2), rtol=1e-12)


def test_angles_in_another_unit_are_refused(write):
    path = write(text_columns(1e3 * Q, I, header="2theta (mrad), I\n"), "x.dat")
    with pytest.raises(ReadError, match="a known unit of Q, got '2theta in mrad'") as error:
        read.read_curve(path, wavelength=1.0)
    assert_one_sentence(error)
