import numpy as np
import pytest
import small_angle_data

import jaxstruc
from jaxstruc.options.small_angle import SizeOptions
from jaxstruc.small_angle import data, fit, model_averaging


def test_the_free_distribution_is_best_if_no_other_explains_the_data():
    peaks = (25.0, 0.05, 0.4), (40.0, 0.05, 0.3), (64.0, 0.05, 0.3)
    result = jaxstruc.saxs(small_angle_data.measurement(*peaks), body=("sphere",), distribution=("gaussian", "free"))
    assert result.best.family == "free" and result.best.notes["chi2"] < 2
    sizes = result.sizes
    in_band = (sizes.volume_low <= sizes.volume + 1e-9) & (sizes.volume <= sizes.volume_high + 1e-9)
    assert in_band.mean() > 0.8
    radius = sizes.radius[sizes.volume > 0.3 * sizes.volume.max()]
    assert radius.min() < 26 and radius.max() > 62


def test_the_free_distribution_has_no_weight_beside_one_that_explains_the_data_and_all_if_alone():
    saxs_data = data.prepare_saxs_data(small_angle_data.measurement(), SizeOptions())
    (fits,) = fit.fit_all([saxs_data], ("sphere",), ("gaussian",))
    joint_average, free_average = (
        model_averaging.average_models(
            saxs_data, fits, fits.body_fits, include_free_distribution=True, only_free_distribution=is_alone
        )
        for is_alone in (False, True)
    )
    assert joint_average.free_distribution_fit.weight == 0 and joint_average.weight.sum() == pytest.approx(1)
    assert free_average.free_distribution_fit.weight == pytest.approx(1) and free_average.weight.sum() == pytest.approx(
        0
    )
    assert model_averaging.body_probabilities(free_average) == {"sphere": pytest.approx(1)}
    mean_radius = np.average(free_average.draws.sizes.volume_weighted_mean, weights=free_average.draws.weight)
    assert mean_radius == pytest.approx(41.2, rel=0.02)  # The volume-weighted mean is about 40 (1 + 3 w²).
