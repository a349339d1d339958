import numpy as np
import pytest
import sized

from jaxstruc.inference import evaluated, outcomes, pattern
from jaxstruc.options.small_angle import SizeOptions


@pytest.fixture(scope="module")
def fits():
    seen = pattern.pattern(sized.measurement(), SizeOptions())
    (found,) = outcomes.fit_all([seen], ("sphere",), ("gaussian",))
    u = float(found.window.middle) + np.linspace(-1.2, 1.2, 512)
    return seen, found.outcomes[0], u, evaluated.curves(seen, found.outcomes, u, 1.0)[0]


def test_a_curve_at_all_points_has_the_chi_squared_of_the_fit(fits):
    seen, one, _, found = fits
    assert np.sum(found.residual**2) == pytest.approx(one.chi2, rel=1e-3)
    np.testing.assert_allclose(found.calculated + found.residual * seen.sigma, seen.intensity)


def test_the_background_comes_back_with_its_error(fits):
    _, _, _, found = fits
    error = found.errors[found.names.index("background")]
    assert abs(found.terms[0] - 100.0) < 4 * error < 40.0 and np.allclose(found.background, found.terms[0])


def test_errors_of_mean_and_width_are_those_of_the_fit_and_correlations_have_unit_diagonal(fits):
    _, one, _, found = fits
    own = np.sqrt(np.diagonal(np.linalg.inv(one.normal)))
    np.testing.assert_allclose(found.errors[:2], own[:2], rtol=0.05)
    assert found.names == ("radius", "pd", "scale", "background")
    np.testing.assert_allclose(np.diagonal(found.correlation), 1.0)
    assert found.correlation[0, 1] < -0.1


def test_shares_give_the_same_curve_and_scale(fits):
    seen, one, u, found = fits
    from jaxstruc.inference import averaging

    share = averaging.shares_of([one], u)[0]
    curve, under, scale, _ = evaluated.of_shares(seen, evaluated.volumes_of(seen, "sphere", u), share)
    np.testing.assert_allclose(curve, found.calculated, rtol=1e-3)
    assert scale == pytest.approx(found.scale, rel=1e-3) and under[0] == pytest.approx(found.terms[0], rel=0.02)
