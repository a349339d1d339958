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


def test_a_free_distribution_has_little_weight_beside_one_that_explains_the_data_and_all_if_alone():
    saxs_data = data.prepare_saxs_data(small_angle_data.measurement(), SizeOptions())
    (fits,) = fit.fit_all([saxs_data], ("sphere",), ("gaussian", "free"))
    joint_average, free_average = (
        model_averaging.average_models(
            saxs_data, fits, fits.body_fits, include_free_distribution=True, only_free_distribution=is_alone
        )
        for is_alone in (False, True)
    )
    assert joint_average.free_fits[0].weight < 1e-3
    assert joint_average.weight.sum() + joint_average.free_fits[0].weight == pytest.approx(1)
    assert free_average.free_fits[0].weight == pytest.approx(1) and free_average.weight.sum() == 0
    assert model_averaging.body_probabilities(free_average) == {"sphere": pytest.approx(1)}
    mean_radius = np.average(free_average.draws.sizes.volume_weighted_mean, weights=free_average.draws.weight)
    assert mean_radius == pytest.approx(41.2, rel=0.03)  # The volume-weighted mean is about 40 (1 + 3 w²).


def test_the_free_distributions_of_all_bodies_compete():
    """The samples have four populations, which no parametric distribution explains."""
    q = np.geomspace(0.004, 0.4, 150)
    populations = (12.0, 0.1, 0.2), (35.0, 0.1, 0.3), (110.0, 0.1, 0.3), (330.0, 0.1, 0.2)
    intensity = small_angle_data.sphere_intensity(q, *populations)
    sigma = 0.01 * intensity
    noisy_intensity = intensity + sigma * np.random.default_rng(4).standard_normal(150)
    measurement = small_angle_data.measurement(q=q, intensity=noisy_intensity, sigma=sigma)
    result = jaxstruc.saxs(measurement, body=("cube", "octahedron", "sphere"), distribution=("gaussian", "free"))
    assert (result.status, result.body, result.best.family) == ("solved", "sphere", "free")
    assert result.facts["n_populations"] == 4 and "no body explains" not in result.message
