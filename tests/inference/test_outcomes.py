import numpy as np
import pytest
import sized

from jaxstruc.inference import outcomes, pattern
from jaxstruc.options.small_angle import SizeOptions


def seen(*populations, **more):
    return pattern.pattern(sized.measurement(*populations, **more), SizeOptions())


def test_a_fit_alone_is_the_same_as_among_others_of_other_sizes():
    several = [seen(), seen((60.0, 0.05, 1.0), points=100), seen((25.0, 0.2, 1.0), seed=3)]
    together = outcomes.fit_all(several, ("sphere",), ("gaussian",))
    for one, among in zip(several, together, strict=True):
        (alone,) = outcomes.fit_all([one], ("sphere",), ("gaussian",))
        np.testing.assert_array_equal(alone.outcomes[0].place, among.outcomes[0].place)
        assert alone.outcomes[0].chi2 == among.outcomes[0].chi2
    mean = [float(np.exp(fits.outcomes[0].place[0, 0])) for fits in together]
    np.testing.assert_allclose(mean, [40.0, 60.0, 25.0], rtol=0.01)


def test_a_second_call_does_not_compile_again():
    outcomes.fit_all([seen()], ("sphere",), ("gaussian",))
    before = outcomes._single._cache_size()
    outcomes.fit_all([seen((33.0, 0.07, 1.0), seed=4)] * 2, ("sphere",), ("gaussian",))
    assert outcomes._single._cache_size() == before


@pytest.mark.slow
def test_two_populations_come_back_with_their_shares():
    (found,) = outcomes.fit_all([seen((30.0, 0.08, 0.6), (48.0, 0.08, 0.4), counts=1e6)], ("sphere",), ("two",))
    (one,) = found.outcomes
    order = np.argsort(one.place[:, 0])
    np.testing.assert_allclose(np.exp(one.place[order]), [[30.0, 0.08], [48.0, 0.08]], rtol=0.08)
    np.testing.assert_allclose((one.amplitude / one.amplitude.sum())[order], [0.6, 0.4], atol=0.03)
    assert one.parameters == 6 and one.converged
