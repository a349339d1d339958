import numpy as np
import pytest
import small_angle_data

from jaxstruc.options.small_angle import SizeOptions
from jaxstruc.small_angle import data


def test_a_constant_under_the_data_changes_nothing_that_is_fitted():
    measurement = small_angle_data.measurement()
    plain_data, lifted_data = (
        data.prepare_saxs_data(variant, SizeOptions())
        for variant in (measurement, measurement._replace(intensity=measurement.intensity + 500.0))
    )
    scale = lifted_data.max_intensity / plain_data.max_intensity
    np.testing.assert_allclose(
        np.asarray(plain_data.whitened_data.data), np.asarray(lifted_data.whitened_data.data), atol=2e-3
    )
    assert scale > 1 and plain_data.n_points == 60 and len(plain_data.whitened_data.q) == 64


def test_without_a_background_the_data_are_left_whole():
    saxs_data = data.prepare_saxs_data(small_angle_data.measurement(), SizeOptions(flat=False))
    assert saxs_data.whitened_data.background_basis.shape == (64, 0)
    np.testing.assert_allclose(
        np.asarray(saxs_data.whitened_data.data)[:60], saxs_data.intensity / saxs_data.sigma, rtol=1e-5
    )


def test_noise_is_inferred_from_the_scatter_of_the_points():
    measurement = small_angle_data.measurement(n_points=240)
    saxs_data = data.prepare_saxs_data(measurement._replace(sigma=None), SizeOptions())
    assert saxs_data.noise_is_inferred and np.median(saxs_data.sigma / measurement.sigma) == pytest.approx(1, abs=0.15)


def test_many_points_are_merged_to_the_largest_size():
    saxs_data = data.prepare_saxs_data(small_angle_data.measurement(n_points=1200), SizeOptions())
    assert saxs_data.n_points == len(saxs_data.q) == 400 and saxs_data.n_measured == 1200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "sq"}, "Expected I"),
        ({"q": np.linspace(0.01, 0.1, 8), "intensity": np.ones(8), "sigma": None}, "at least 12 points"),
        ({"intensity": -np.ones(60)}, "positive intensities, but 100% of the points"),
        ({"intensity": np.full(60, np.nan)}, "at least 12 points"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        data.prepare_saxs_data(small_angle_data.measurement()._replace(**changes), SizeOptions())
    assert "\n" not in str(error.value)
