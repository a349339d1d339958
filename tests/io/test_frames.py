"""Files with several curves over one axis: one is chosen by its number, or all are read."""

import numpy as np
import pytest
from measurement_files import R, assert_one_sentence, example_pdf
from q_curve_files import DQ, SIGMA, I, Q, cansas_xml, text_columns, write_nxcansas

from jaxstruc.io import read
from jaxstruc.io.columns import ReadError
from jaxstruc.io.read import PDF_KINDS

G = example_pdf()
LONG_Q = np.linspace(0.5, 20, 400)
F = np.sin(2.5 * LONG_Q) * np.exp(-LONG_Q / 10)
S = 1 + F / LONG_Q
G_ERRORS = np.full(len(R), 0.01)


def assert_frames(path, curve_list, **options):
    """Assert that a file holds these curves, and that none of them is read unless it is chosen."""
    with pytest.raises(
        ReadError, match=f"one curve, got {len(curve_list)} in .*; pass --frame with the number"
    ) as error:
        read.read_curve(path, **options)
    assert_one_sentence(error)
    assert "--frame all" in str(error.value)
    assert read.count_frames(path, **options) == len(curve_list)
    measurements = read.read_all(path, **options)
    assert len(measurements) == len(curve_list)
    for frame, (measurement, curve) in enumerate(zip(measurements, curve_list, strict=True), 1):
        values = measurement.g if measurement.kind == "gr" else measurement.intensity
        np.testing.assert_array_equal(values, curve)
        assert measurement.settings[-1] == ("frame", frame, "command line")
        single = read.read_curve(path, frame=frame, **options)
        np.testing.assert_array_equal(single.g if single.kind == "gr" else single.intensity, curve)
        assert single.settings == measurement.settings and single.header == measurement.header
    return measurements


def test_the_given_series_has_five_curves(case):
    rows = np.loadtxt(case("growth.gr"))
    measurements = assert_frames(case("growth.gr"), rows[:, 1:].T)
    assert [measurement.header["title"] for measurement in measurements] == [
        f"G_t={time}s" for time in (0, 60, 120, 180, 240)
    ]
    assert all(measurement.header["qmax"] == 20.0 for measurement in measurements)
    with pytest.raises(ReadError, match="--frame from 1 to 5, got 6 for") as error:
        read.read_curve(case("growth.gr"), frame=6)
    assert_one_sentence(error)


@pytest.mark.parametrize(
    ("header", "columns", "curve_indices"),
    [
        ("# r 300K 400K 500K\n", (G, 2 * G, 3 * G), (0, 1, 2)),
        ("#L r(A)  G(r)  dr  dG(r)  G(r)  dr  dG(r)\n", (G, 0 * G, G_ERRORS, 2 * G, 0 * G, G_ERRORS), (0, 3)),
        ("r\tG (300 K)\tG (400 K)\tdG (300 K)\tdG (400 K)\n", (G, 2 * G, G_ERRORS, G_ERRORS), (0, 1)),
        ("", (G, 2 * G, 3 * G), (0, 1, 2)),
        ("", (G, G_ERRORS, 3 * G, G_ERRORS), (0, 2)),
        ("r,G.1,G.2,Gdiff\n", (G, 2 * G, 0.1 * G), (0, 1)),
        ("# r G_k(r)_1 G_k(r)_2\n", (G / np.maximum(R, 0.005), 2 * G / np.maximum(R, 0.005)), None),
        ("# r G r G\n", (G, R, 2 * G), (0, 2)),
        ("# x y1 y2\n", (G, 2 * G), (0, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["x.gr", "x.dat"])
def test_pdfs_over_one_r_are_frames_and_errors_are_not(write, header, columns, curve_indices, name):
    path = write(text_columns(R, *columns, header=header), name)
    expected = (
        [R * column for column in columns] if curve_indices is None else [columns[index] for index in curve_indices]
    )
    assert_frames(path, expected, accepted_kinds=PDF_KINDS)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("#L r(A) G(r) d_r d_Gr\n", (0 * G, G_ERRORS)), ("", (0 * G, G_ERRORS)), ("", (G_ERRORS,)),
        ("# r G ±\n", (G_ERRORS,)), ("r,G(r),sigma\n", (G_ERRORS,)), ("# r Gobs Gcalc Gdiff\n", (0.9 * G, 0.1 * G)),
    ],
)  # fmt: skip
def test_errors_and_fits_of_one_pdf_are_no_frames(write, header, columns):
    path = write(text_columns(R, G, *columns, header=header), "x.gr")
    measurement = read.read_curve(path)
    np.testing.assert_array_equal(measurement.g, G)
    assert read.count_frames(path) == 1 == len(read.read_all(path)) and measurement.settings == ()


@pytest.mark.parametrize(
    ("name", "header", "columns"),
    [
        ("x.dat", "# Q(1/A) S(Q)_1 S(Q)_2\n", (S, 2 - S)), ("x.sq", "# Q(1/A) Pt Au\n", (S, 2 - S)),
        ("x.sq", "", (S, 2 - S)), ("x.fq", "", (F, 5 * F)),
        ("x.dat", "Q (1/A),F(Q) 1,F(Q) 2,F(Q) 3\n", (F, 2 * F, 3 * F)),
    ],
)  # fmt: skip
def test_structure_functions_over_one_q_are_frames(write, name, header, columns):
    path = write(text_columns(LONG_Q, *columns, header=header), name)
    assert_frames(path, columns, accepted_kinds=PDF_KINDS, q_unit=None if header else "1/A")


@pytest.mark.parametrize(
    ("header", "columns", "curve_indices", "errors"),
    [
        ("# q(1/A) I_1 I_2 I_3\n", (I, 2 * I, 9 * I), (0, 1, 2), (None, None, None)),
        ("q(1/A) I sigma I sigma\n", (I, SIGMA, 2 * I, 2 * SIGMA), (0, 2), (1, 3)),
        ("q [1/A];A;B;err A;err B\n", (I, 2 * I, SIGMA, 2 * SIGMA), (0, 1), (2, 3)),
        ("q [1/A];sample 1 [1/cm];sample 2 [1/cm]\n", (I, 2 * I), (0, 1), (None, None)),
        ("q (1/A)\tI(t=0 s)\tdI(t=0 s)\tI(t=9 s)\tdI(t=9 s)\n", (I, SIGMA, 2 * I, 2 * SIGMA), (0, 2), (1, 3)),
        ("", (I, 0.9 * I, 1.2 * I, 1.1 * I, I), (0, 1, 2, 3, 4), (None,) * 5),
    ],
)  # fmt: skip
def test_intensities_over_one_q_are_frames_with_their_errors(write, header, columns, curve_indices, errors):
    path = write(text_columns(Q, *columns, header=header, separator=";" if ";" in header else " "), "x.dat")
    measurements = assert_frames(path, [columns[index] for index in curve_indices], q_unit=None if header else "1/A")
    for measurement, error in zip(measurements, errors, strict=True):
        if error is None:
            assert measurement.sigma is None
        else:
            np.testing.assert_array_equal(measurement.sigma, columns[error])


def test_the_resolution_is_shared_and_a_background_is_no_frame(write):
    path = write(text_columns(Q, I, 2 * I, SIGMA, DQ, header="q(1/A) I_1 I_2 I_buffer dQ\n"), "x.dat")
    for measurement in read.read_all(path):
        np.testing.assert_array_equal(measurement.dq, DQ)
        assert measurement.warnings == ("columns not read: I_buffer",)


def test_columns_without_labels_that_may_be_curves_or_errors_are_refused(write):
    for columns in ((I, 0.9 * I, SIGMA), (I, SIGMA, 2 * I, 2 * SIGMA)):
        with pytest.raises(ReadError, match=r"only Q, I\(Q\), sigma and dQ in columns without labels") as error:
            read.read_curve(write(text_columns(Q, *columns), "x.dat"), q_unit="1/A")
        assert_one_sentence(error)


def test_a_curve_that_cannot_be_used_does_not_hide_the_others(write):
    text = text_columns(R, G, np.where(R > 5, np.nan, G), 3 * G, header="# r A B C\n")
    first, second, third = read.read_all(write(text, "x.gr"))
    assert isinstance(second, ReadError) and "NaN" in str(second)
    np.testing.assert_array_equal([first.g, third.g], [G, 3 * G])


def test_the_kind_that_is_wanted_is_chosen_among_several(write):
    path = write(text_columns(LONG_Q, 5 * S, S, F, header="Q(1/A) I(Q) S(Q) F(Q)\n"), "x.dat")
    assert read.read_curve(path).kind == "iq"
    for kind, curve in (("sq", S), ("fq", F)):
        np.testing.assert_array_equal(read.read_curve(path, kind=kind).intensity, curve)
    assert read.read_curve(path, accepted_kinds=PDF_KINDS).kind == "sq"


def test_curves_in_xml_and_hdf5_are_counted_alike(write, tmp_path):
    path = write(cansas_xml(n_curves=3), "x.xml")
    assert read.count_frames(path) == len(read.read_all(path)) == 3
    assert read.read_all(path)[1].settings[-1] == ("frame", 2.0, "command line")
    path = write_nxcansas(tmp_path / "x.h5", intensity=np.array([I, 2 * I]), axes="Time,Q")
    assert read.count_frames(path) == len(read.read_all(path)) == 2
