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


@pytest.mark.parametrize("n_points", [600, 2000])
def test_a_smooth_curve_is_projected_without_loss(n_points):
    """Compare scalar products of two curves over the components with those over all points."""
    measurement = small_angle_data.measurement((80.0, 0.1, 1.0), n_points=n_points)
    saxs_data = data.prepare_saxs_data(measurement, SizeOptions(flat=False))
    assert saxs_data.n_points == n_points and len(saxs_data.whitened_data.data) == 512
    intensities = np.stack(
        [small_angle_data.sphere_intensity(measurement.q, (mean, 0.1, 1.0)) for mean in (80.0, 90.0)], axis=1
    )
    intensities *= measurement.intensity.max() / intensities.max()
    scaled_curves = intensities / saxs_data.sigma[:, None]
    components = saxs_data.groups.components(scaled_curves)
    np.testing.assert_allclose(components.T @ components, scaled_curves.T @ scaled_curves, rtol=1e-6)
    n_discarded = n_points - 512
    assert abs(saxs_data.discarded_chi2 - n_discarded) < 5 * np.sqrt(2 * n_discarded)


def test_a_curve_that_bends_within_the_groups_of_points_gets_more_groups():
    sizes = [
        len(
            data.prepare_saxs_data(
                small_angle_data.measurement(
                    (radius, 0.01, 1.0), q_range=(0.002, 0.3), n_points=1500, counts=1e7
                ), SizeOptions()
            ).whitened_data.data
        )
        for radius in (200.0, 3000.0)
    ]  # fmt: skip
    assert sizes[0] == 512 and sizes[1] > 1000


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
