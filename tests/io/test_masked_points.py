"""Columns of SAXS instruments: semicolons, long names, points behind a beam stop, zeros at the end and negative I."""

import numpy as np
import pytest
from measurement_files import assert_one_sentence
from q_curve_files import SIGMA, I, Q, text_columns

from jaxstruc.io import points, read
from jaxstruc.io.columns import ReadError

HEADER = "Scattering vector q [1/nm]; Intensity I(q) [1/cm]; Standard deviation [1/cm]\n"
NOISE = np.random.default_rng(0).normal(0, 0.05, len(Q))


def read_columns(write, intensity, sigma=SIGMA, header=HEADER):
    columns = (10 * Q, intensity) if sigma is None else (10 * Q, intensity, sigma)
    return read.read_curve(write(text_columns(*columns, header=header, separator="; "), "x.csv"))


def test_semicolons_and_names_with_spaces_are_read(write):
    curve = read_columns(write, I)
    np.testing.assert_allclose([curve.q, curve.intensity, curve.sigma], [Q, I, SIGMA], rtol=1e-12)
    assert curve.intensity_unit == "1/cm" and not curve.warnings


@pytest.mark.parametrize("value", [0.0, -1.0, -0.003, np.nan])
@pytest.mark.parametrize("sigma", [None, SIGMA])
def test_points_behind_the_beam_stop_are_dropped_and_counted(write, value, sigma):
    header = HEADER if sigma is not None else "q [1/nm]; I\n"
    curve = read_columns(write, np.where(np.arange(80) < 5, value, I), sigma, header)
    np.testing.assert_array_equal(curve.intensity, I[5:])
    reason = "without a finite value" if np.isnan(value) else "with I of at most 0 at the ends of the data"
    assert curve.warnings == (f"points {reason} dropped: 5",)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_padding_at_the_end_is_dropped_and_counted(write, value):
    curve = read_columns(write, np.where(np.arange(80) >= 70, value, I))
    np.testing.assert_array_equal(curve.intensity, I[:70])
    assert curve.warnings == ("points with I of at most 0 at the ends of the data dropped: 10",)


def test_zeros_with_errors_of_zero_are_counted_once(write):
    is_padding = (np.arange(80) < 3) | (np.arange(80) >= 75)
    curve = read_columns(write, np.where(is_padding, 0.0, I), np.where(is_padding, 0.0, SIGMA))
    assert len(curve.q) == 72 and curve.warnings == ("points with the value 0 ± 0 dropped: 8",)


def test_negative_noise_is_kept(write):
    noisy = np.where(Q > 0.1, NOISE, I)
    noisy[-2:] = -0.02, -0.01
    curve = read_columns(write, noisy, np.where(Q > 0.1, 0.05, SIGMA))
    np.testing.assert_array_equal(curve.intensity, noisy)
    assert (points.resolve_q_range(curve).intensity < 0).sum() > 5 and not curve.warnings


@pytest.mark.parametrize("missing", ["--", "NA", "", "nan", "***"])
def test_missing_values_are_dropped_and_counted(write, missing):
    lines = text_columns(10 * Q, I, SIGMA, separator=";").splitlines()
    lines[:4] = [f"{line.split(';')[0]};{missing};{missing}" for line in lines[:4]]
    curve = read.read_curve(write(HEADER + "\n".join(lines) + "\n", "x.dat"))
    np.testing.assert_array_equal(curve.intensity, I[4:])
    assert curve.warnings == ("points without a finite value dropped: 4",)


def test_a_curve_that_is_mostly_masked_is_refused(write):
    with pytest.raises(ReadError, match=r"a measured I\(Q\) at half of the points, got no value at 41 of 80") as error:
        read_columns(write, np.where(np.arange(80) < 41, 0.0, I))
    assert_one_sentence(error)


def test_curves_other_than_intensities_may_begin_or_end_at_zero(write):
    structure_function = np.where(np.arange(80) < 5, 0.0, 1 + 0.1 * np.sin(40 * Q))
    curve = read.read_curve(write(text_columns(Q, structure_function, header="Q(1/A) S(Q)\n"), "x.sq"))
    np.testing.assert_array_equal(curve.intensity, structure_function)
