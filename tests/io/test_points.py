import numpy as np
import pytest
from measurement_files import assert_one_sentence
from q_curve_files import DQ, SIGMA, I, Q

from jaxstruc.io import points
from jaxstruc.io.columns import ReadError
from jaxstruc.io.points import Columns, SourceFile


def replace_values(values, index, value):
    values = np.array(values, float)
    values[index] = value
    return values


def make_measurement(x=Q, y=I, sigma=SIGMA, dx=DQ, axis_unit="1/Å", intensity_unit="1/cm", curve_kind="iq", **options):
    columns = Columns(
        np.asarray(x, float), np.asarray(y, float), sigma, dx, axis_unit=axis_unit, intensity_unit=intensity_unit
    )
    return points.measurement_from_columns(columns, SourceFile("x.dat", "columns", ""), kind=curve_kind, **options)


def test_points_come_back_in_inverse_angstroms_with_what_belongs_to_them():
    measurement = make_measurement(10 * Q, axis_unit="1/nm", dx=10 * DQ)
    for name, expected in (("q", Q), ("intensity", I), ("sigma", SIGMA), ("dq", DQ)):
        np.testing.assert_allclose(getattr(measurement, name), expected, rtol=1e-14)
    assert (
        measurement.kind == "iq"
        and measurement.intensity_unit == "1/cm"
        and measurement.settings == ()
        and measurement.r.size == measurement.g.size == 0
    )
    assert measurement.format == "columns, Q in 1/nm from the header"


def test_the_width_of_the_resolution_follows_an_angle():
    """The error of Q is dQ/d(2theta) times that of the angle. The wavelength is a setting with its origin."""
    measurement = make_measurement(np.linspace(1, 20, 80), axis_unit="2theta", dx=np.full(80, 0.1), wavelength=1.54)
    half_angle = np.deg2rad(np.linspace(1, 20, 80) / 2)
    np.testing.assert_allclose(measurement.dq, 2 * np.pi / 1.54 * np.cos(half_angle) * np.deg2rad(0.1), rtol=1e-12)
    assert measurement.settings == (("wavelength", 1.54, "command line"),)


def test_zeros_alone_stand_for_no_errors_and_no_resolution():
    measurement = make_measurement(sigma=0 * Q, dx=0 * Q)
    assert measurement.sigma is None and measurement.dq is None


@pytest.mark.parametrize(("unit", "factor"), [("1/cm", 1.0), ("mm-1", 10.0), ("m^-1 sr^-1", 0.01)])
def test_absolute_intensities_become_those_in_1_per_cm(unit, factor):
    measurement = make_measurement(intensity_unit=unit)
    np.testing.assert_allclose(measurement.intensity, factor * I, rtol=1e-15)
    np.testing.assert_allclose(measurement.sigma, factor * SIGMA, rtol=1e-15)
    assert measurement.intensity_unit == "1/cm"
    with pytest.raises(ReadError, match=r"I in 1/cm, .* got the unit 'furlong' in x.dat; convert I") as error:
        make_measurement(intensity_unit="furlong")
    assert_one_sentence(error)


def test_points_without_a_measurement_are_dropped_and_counted():
    q, y, sigma = np.append(0.0, Q), np.append(7.0, I), np.append(1.0, SIGMA)
    y[5], y[9], sigma[9] = np.nan, 0.0, 0.0
    measurement = make_measurement(q, y, sigma, None)
    assert len(measurement.q) == len(Q) - 2 and measurement.q[0] == Q[0]
    assert measurement.warnings == (
        "points without a finite value dropped: 1", "points with the value 0 ± 0 dropped: 1",
        "points at Q = 0 dropped: 1",
    )  # fmt: skip


def test_repeated_q_are_dropped_with_a_warning():
    measurement = make_measurement(np.insert(Q, 7, Q[7]), np.insert(I, 7, I[7]), None, None)
    np.testing.assert_array_equal(measurement.q, Q)
    assert measurement.warnings == ("points with repeated Q dropped: 1",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis_unit": ""}, "the unit of Q in the file or the command, got none for the values 0.005 to 0.4 in x.dat"),
        ({"x": replace_values(Q, 3, np.nan)}, "finite Q, got nan at point 4 of x.dat"),
        ({"x": replace_values(Q, 0, -0.1)}, "Q above 0, got -0.1 at point 1"),
        ({"x": -Q}, "Q above 0, got -0.005 at point 1 of x.dat, the first of 80"),
        ({"x": Q[::-1]}, "increasing Q, got .* after 0.4 at point 2 of x.dat; sort the points"),
        ({"x": np.append(Q[40:], Q[:40])}, "increasing Q, got 0.005 after 0.4 at point 41"),
        ({"x": np.repeat(Q[::2], 2)}, "each Q once, got 40 of 80 repeated"),
        ({"x": np.append(np.repeat(Q[0], 75), Q[1:6])}, "at least 10 points, got 6"),
        ({"x": 1e5 * Q}, "Q of 1e-07 to 100 1/Å, got 500 to 40000"),
        ({"x": 1e-320 * Q}, "Q of 1e-07 to 100 1/Å"),
        ({"y": np.full(80, 3.0)}, "got the same value at all Q"),
        ({"y": -I}, r"I\(Q\) above 0, got no value above 0 in x.dat"),
        ({"y": 1e40 * I}, r"I\(Q\), got values up to 9.9.*e\+41"),
        (
            {"y": replace_values(I, slice(0, 60), np.nan)},
            r"a measured I\(Q\) at half of the points, got no value at 60 of 80",
        ),
        (
            {"sigma": replace_values(SIGMA, [4, 8], 0.0)},
            "sigma above 0 .* got 0 at point 5 of x.dat, the first of 2; remove",
        ),
        ({"sigma": replace_values(SIGMA, 4, -1.0)}, "sigma above 0 .* got -1 at point 5 of x.dat; remove"),
        ({"sigma": replace_values(SIGMA, 4, np.nan)}, "sigma above 0 .* got nan at point 5"),
        ({"sigma": replace_values(SIGMA, 4, 1e300)}, r"sigma above 0 .* got 1e\+300 at point 5"),
        (
            {"dx": np.full(80, -0.117)},
            "without slit smearing, got a negative dQ, which marks a slit, in x.dat; desmear",
        ),
        ({"dx": replace_values(DQ, 4, -0.1)}, "dQ from 0 to the largest Q, got -0.1 at point 5"),
        ({"dx": replace_values(DQ, 4, np.inf)}, "dQ from 0 to the largest Q, got inf at point 5"),
        ({"dx": 2 * Q}, "dQ below Q, got 2 times Q"),
        ({"dx": np.full(80, 0.2)}, "dQ below Q, got 4.* times Q in x.dat; name the columns"),
    ],
)
def test_invalid_points_are_refused_in_one_line(options, message):
    with pytest.raises(ReadError, match=message) as error:
        make_measurement(**options)
    assert_one_sentence(error)


def test_a_range_holds_both_its_ends_and_records_its_origin():
    measurement = points.resolve_q_range(make_measurement(), qmin=Q[10])
    np.testing.assert_array_equal(measurement.q, Q[10:])
    np.testing.assert_array_equal(measurement.dq, DQ[10:])
    assert measurement.settings == (("qmin", Q[10], "command line"), ("qmax", 0.4, "data"))
    narrower_range = points.resolve_q_range(measurement, qmax=0.1)
    assert (
        narrower_range.settings == (("qmin", Q[10], "data"), ("qmax", 0.1, "command line"))
        and narrower_range.q[-1] <= 0.1
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"qmin": 0.2, "qmax": 0.1},
            "0 <= qmin < qmax, got 0.2 and 0.1 for x.dat; pass --qmin and --qmax in 1/Å, within 0.005 to 0.4",
        ),
        ({"qmin": np.nan}, "got nan and 0.4"),
        ({"qmax": np.inf}, "got 0.005 and inf"),
        ({"qmin": 0.39}, "at least 10 points from qmin to qmax, got 1 for"),
    ],
)  # fmt: skip
def test_an_invalid_range_is_refused(options, message):
    with pytest.raises(ReadError, match=message) as error:
        points.resolve_q_range(make_measurement(), **options)
    assert_one_sentence(error)


@pytest.mark.parametrize("sigma", [None, np.full(80, 0.01)])
def test_intensities_below_zero_over_a_wide_range_are_refused_and_noise_about_zero_is_not(sigma):
    noise = 0.01 * np.random.default_rng(0).normal(size=80)
    subtracted_intensity = np.where(Q > 0.15, 0.0, I)
    assert points.resolve_q_range(make_measurement(y=subtracted_intensity + noise, sigma=sigma)).intensity.min() < 0
    with pytest.raises(ReadError, match=r"got values below 0 from 0\.1.* to 0\.4 1/Å in x.dat; subtract less") as error:
        points.resolve_q_range(make_measurement(y=subtracted_intensity + noise - 0.1, sigma=sigma))
    assert_one_sentence(error)
    assert (
        points.resolve_q_range(make_measurement(y=subtracted_intensity + noise - 0.1, sigma=sigma), qmax=0.09).q[-1]
        < 0.09
    )


def test_a_curve_that_swings_about_zero_is_no_intensity():
    with pytest.raises(ReadError, match=r"got values below 0 .* or pass a G\(r\) to jaxstruc solve"):
        points.resolve_q_range(make_measurement(np.linspace(0.1, 20, 400), np.sin(np.linspace(0, 60, 400)), None, None))


def test_of_several_curves_one_is_asked_for_by_its_number():
    assert points.frame_index(None, 1, str, "x") == 0 and points.frame_index(3, 4, str, "x") == 2
    with pytest.raises(
        ReadError, match=r"one curve, got 9 in x \(1 a0, 2 a1, \.\.\., 9 a8\); pass --frame with the number"
    ) as error:
        points.frame_index(None, 9, lambda index: f"a{index}", "x")
    assert_one_sentence(error)
    for frame in (0, 10, -1):
        with pytest.raises(ReadError, match=f"--frame from 1 to 9, got {frame} for the curves in x"):
            points.frame_index(frame, 9, lambda index: f"a{index}", "x")


def test_the_only_curve_needs_no_number():
    assert points.frame_index(None, 1, str, "x") == points.frame_index(1, 1, str, "x") == 0
    with pytest.raises(ReadError, match="no --frame, got 2 for the only curve in x; leave out --frame") as error:
        points.frame_index(2, 1, str, "x")
    assert_one_sentence(error)
