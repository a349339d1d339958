import numpy as np
import pytest
import sized

from jaxstruc.inference import pattern
from jaxstruc.options.small_angle import SizeOptions


def test_a_constant_under_the_data_changes_nothing_that_a_fit_sees():
    one = sized.measurement()
    plain, lifted = (
        pattern.pattern(each, SizeOptions()) for each in (one, one._replace(intensity=one.intensity + 500.0))
    )
    scale = lifted.top / plain.top
    np.testing.assert_allclose(np.asarray(plain.weighted.data), np.asarray(lifted.weighted.data), atol=2e-3)
    assert scale > 1 and plain.points == 60 and len(plain.weighted.q) == 64


def test_without_a_background_the_data_are_left_whole():
    found = pattern.pattern(sized.measurement(), SizeOptions(flat=False))
    assert found.weighted.terms.shape == (64, 0)
    np.testing.assert_allclose(np.asarray(found.weighted.data)[:60], found.intensity / found.sigma, rtol=1e-5)


def test_noise_is_inferred_from_the_scatter_of_the_points():
    one = sized.measurement(points=240)
    found = pattern.pattern(one._replace(sigma=None), SizeOptions())
    assert found.inferred and np.median(found.sigma / one.sigma) == pytest.approx(1, abs=0.15)


def test_many_points_are_gathered_to_the_largest_size():
    found = pattern.pattern(sized.measurement(points=1200), SizeOptions())
    assert found.points == len(found.q) == 400 and found.read == 1200


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "sq"}, "Expected I"),
        ({"q": np.linspace(0.01, 0.1, 8), "intensity": np.ones(8), "sigma": None}, "at least 12 points"),
        ({"intensity": -np.ones(60)}, "intensities above 0"),
        ({"intensity": np.full(60, np.nan)}, "at least 12 points"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(changed, message):
    with pytest.raises(ValueError, match=message) as error:
        pattern.pattern(sized.measurement()._replace(**changed), SizeOptions())
    assert "\n" not in str(error.value)
