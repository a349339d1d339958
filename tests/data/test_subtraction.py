import numpy as np
import pytest
from curves import DQ, SIGMA, I, Q
from written import assert_one_sentence

from jaxstruc.data import subtraction
from jaxstruc.data.measurement import Measurement
from jaxstruc.data.text import ReadError

GRID = np.geomspace(0.003, 0.5, 300)


def solvent(q):
    return 0.04 + 0.2 * q


def iq(q, y, sigma=None, *, name="sample.dat", units="1/cm", **more):
    return Measurement(
        name, np.zeros(0), np.zeros(0), {}, kind="iq", q=q, intensity=y, sigma=sigma, units=units, **more
    )


def under(q=GRID, *, sigma=1e-3, scale=1.0, units="1/cm"):
    error = None if sigma is None else np.full(len(q), sigma)
    return iq(q, solvent(q) / scale, error, name="solvent.dat", units=units)


def test_what_was_added_is_taken_off_again_on_any_grid():
    """A straight line is interpolated without an error."""
    sample = iq(Q, I + solvent(Q), SIGMA, dq=DQ)
    for grid, scale in ((Q, 1.0), (GRID, 1.0), (GRID, 0.8)):
        found = subtraction.subtracted(sample, under(grid, scale=scale), scale=scale)
        np.testing.assert_allclose(found.intensity, I, rtol=1e-12)
        np.testing.assert_array_equal([found.q, found.dq], [Q, DQ])
        assert found.settings == (("background_scale", scale, "default" if scale == 1 else "command line"),)


def test_errors_add_in_squares_with_the_scale():
    found = subtraction.subtracted(iq(Q, I, SIGMA), under(Q, sigma=1e-3), scale=2.0)
    np.testing.assert_allclose(found.sigma, np.sqrt(SIGMA**2 + (2e-3) ** 2), rtol=1e-12)


def test_the_error_between_two_points_is_that_of_their_weighted_mean():
    """Drawn a hundred thousand times; half-way between two points it is smaller by the root of two."""
    x, sigma = np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 3.0])
    q = np.array([0.0, 0.5, 1.0, 1.25, 2.0])
    value, error = subtraction.interpolated(q, x, np.array([1.0, 3.0, 7.0]), sigma)
    np.testing.assert_allclose(value, [1, 2, 3, 4, 7])
    draws = np.random.default_rng(0).normal(size=(100_000, 3)) * sigma
    spread = np.std([np.interp(q, x, one) for one in draws], axis=0)
    np.testing.assert_allclose(error, spread, rtol=0.01)
    assert error[1] == pytest.approx(np.sqrt(0.5))


def test_points_beyond_the_background_are_dropped_and_counted():
    found = subtraction.subtracted(iq(Q, I, SIGMA, dq=DQ), under(GRID[GRID < 0.1]))
    assert 0.09 < found.q[-1] < 0.1 and len(found.q) == len(found.sigma) == len(found.dq) == len(found.intensity)
    assert found.warnings == (f"points beyond the background dropped: {len(Q) - len(found.q)}",)


@pytest.mark.parametrize(
    ("sample", "background", "said"),
    [
        (iq(Q, I, SIGMA), under(sigma=None), "the background has no errors"),
        (iq(Q, I), under(), "the sample has no errors"),
        (iq(Q, I, units=""), under(sigma=None), "the unit of I is said of one alone, as 1/cm"),
    ],
)
def test_what_one_of_the_two_does_not_say_is_told(sample, background, said):
    found = subtraction.subtracted(sample, background)
    assert len(found.warnings) == 1 and said in found.warnings[0] and found.units == "1/cm"
    assert (found.sigma is None) == (sample.sigma is None)


@pytest.mark.parametrize(
    ("sample", "background", "scale", "message"),
    [
        (iq(Q, I), under(GRID * 1e3), 1.0, "range, got 0.005 to 0.4 and 3 to 500 1/Å in sample.dat and"),
        (iq(Q, I), under(units="arbitrary"), 1.0, "in the unit of the sample, got 1/cm and arbitrary in sample"),
        (iq(Q, I), under(), 0.0, "a background scale above 0, got 0 for"),
        (iq(Q, I), under(), np.nan, "above 0, got nan"),
        (iq(Q, I), under()._replace(kind="sq"), 1.0, r"I\(Q\), got S\(Q\) in solvent.dat; pass an I\(Q\)"),
        (iq(Q, I)._replace(kind="fq"), under(), 1.0, r"I\(Q\), got F\(Q\) in sample.dat"),
    ],
)  # fmt: skip
def test_what_cannot_be_subtracted_is_refused_in_one_line(sample, background, scale, message):
    with pytest.raises(ReadError, match=message) as error:
        subtraction.subtracted(sample, background, scale=scale)
    assert_one_sentence(error)
