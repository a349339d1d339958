import numpy as np
import pytest
from measurement_files import assert_one_sentence
from q_curve_files import DQ, SIGMA, I, Q

from jaxstruc.io import reduction
from jaxstruc.io.columns import ReadError
from jaxstruc.io.measurement import Measurement

BACKGROUND_Q = np.geomspace(0.003, 0.5, 300)


def solvent_intensity(q):
    return 0.04 + 0.2 * q


def make_measurement(q, intensity, sigma=None, *, name="sample.dat", intensity_unit="1/cm", **fields):
    return Measurement(
        name,
        np.zeros(0),
        np.zeros(0),
        {},
        kind="iq",
        q=q,
        intensity=intensity,
        sigma=sigma,
        intensity_unit=intensity_unit,
        **fields,
    )


def make_background(q=BACKGROUND_Q, *, sigma=1e-3, scale=1.0, intensity_unit="1/cm"):
    sigma_column = None if sigma is None else np.full(len(q), sigma)
    return make_measurement(
        q, solvent_intensity(q) / scale, sigma_column, name="solvent.dat", intensity_unit=intensity_unit
    )


def test_an_added_background_is_subtracted_again_on_any_grid():
    """A straight line is interpolated without an error."""
    sample = make_measurement(Q, I + solvent_intensity(Q), SIGMA, dq=DQ)
    for grid, scale in ((Q, 1.0), (BACKGROUND_Q, 1.0), (BACKGROUND_Q, 0.8)):
        difference = reduction.subtract_background(sample, make_background(grid, scale=scale), scale=scale)
        np.testing.assert_allclose(difference.intensity, I, rtol=1e-12)
        np.testing.assert_array_equal([difference.q, difference.dq], [Q, DQ])
        assert difference.settings == (("background_scale", scale, "default" if scale == 1 else "command line"),)


def test_errors_add_in_squares_with_the_scale():
    difference = reduction.subtract_background(make_measurement(Q, I, SIGMA), make_background(Q, sigma=1e-3), scale=2.0)
    np.testing.assert_allclose(difference.sigma, np.sqrt(SIGMA**2 + (2e-3) ** 2), rtol=1e-12)


def test_the_error_between_two_points_is_that_of_their_weighted_mean():
    """Compare with 100 000 random draws. Half-way between two points the error is smaller by the root of 2."""
    x, sigma = np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 3.0])
    q = np.array([0.0, 0.5, 1.0, 1.25, 2.0])
    value, error = reduction.interpolate_with_errors(q, x, np.array([1.0, 3.0, 7.0]), sigma)
    np.testing.assert_allclose(value, [1, 2, 3, 4, 7])
    draws = np.random.default_rng(0).normal(size=(100_000, 3)) * sigma
    standard_deviation = np.std([np.interp(q, x, draw) for draw in draws], axis=0)
    np.testing.assert_allclose(error, standard_deviation, rtol=0.01)
    assert error[1] == pytest.approx(np.sqrt(0.5))


def test_points_beyond_the_background_are_dropped_and_counted():
    difference = reduction.subtract_background(
        make_measurement(Q, I, SIGMA, dq=DQ), make_background(BACKGROUND_Q[BACKGROUND_Q < 0.1])
    )
    assert 0.09 < difference.q[-1] < 0.1 and len(difference.q) == len(difference.sigma) == len(difference.dq) == len(
        difference.intensity
    )
    assert difference.warnings == (
        f"points outside the Q range of the background dropped: {len(Q) - len(difference.q)}",
    )


@pytest.mark.parametrize(
    ("sample", "background", "message"),
    [
        (make_measurement(Q, I, SIGMA), make_background(sigma=None), "the background has no standard errors"),
        (make_measurement(Q, I), make_background(), "the sample has no standard errors"),
        (
            make_measurement(Q, I, intensity_unit=""),
            make_background(sigma=None),
            "only one of sample and background states its unit of I; 1/cm is assumed",
        ),
    ],
)
def test_what_one_of_the_two_does_not_state_is_reported(sample, background, message):
    difference = reduction.subtract_background(sample, background)
    assert len(difference.warnings) == 1 and message in difference.warnings[0] and difference.intensity_unit == "1/cm"
    assert (difference.sigma is None) == (sample.sigma is None)


@pytest.mark.parametrize(
    ("sample", "background", "scale", "message"),
    [
        (
            make_measurement(Q, I),
            make_background(BACKGROUND_Q * 1e3),
            1.0,
            "range of the background, got Q of 0.005 to 0.4 and 3 to 500 1/Å in sample.dat and",
        ),
        (
            make_measurement(Q, I),
            make_background(intensity_unit="arbitrary"),
            1.0,
            "the same unit of I in sample and background, got 1/cm and arbitrary in sample",
        ),
        (make_measurement(Q, I), make_background(), 0.0, "--background-scale above 0, got 0 for"),
        (make_measurement(Q, I), make_background(), np.nan, "above 0, got nan"),
        (
            make_measurement(Q, I),
            make_background()._replace(kind="sq"),
            1.0,
            r"I\(Q\), got S\(Q\) in solvent.dat; pass another file",
        ),
        (make_measurement(Q, I)._replace(kind="fq"), make_background(), 1.0, r"I\(Q\), got F\(Q\) in sample.dat"),
    ],
)
def test_what_cannot_be_subtracted_is_refused_in_one_line(sample, background, scale, message):
    with pytest.raises(ReadError, match=message) as error:
        reduction.subtract_background(sample, background, scale=scale)
    assert_one_sentence(error)
