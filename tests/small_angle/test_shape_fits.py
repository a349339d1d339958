"""Fits of bodies with a shape parameter, from the placing of its values to the result."""

import numpy as np
import pytest
import small_angle_data

import jaxstruc
from jaxstruc import SimulateSaxsOptions
from jaxstruc.options.small_angle import BODIES, SaxsOptions, SizeOptions
from jaxstruc.report import summary, tables
from jaxstruc.small_angle import shape_fits


def refine(u, misfit, rounds=8):
    """Return all values of u after several rounds, for misfits that are functions of u."""
    for _ in range(rounds):
        rows = np.array([function(u) for function in misfit])
        new_values = shape_fits.new_coordinates(u, rows)
        if not new_values:
            break
        u = np.sort(np.append(u, new_values))
    return u


@pytest.mark.parametrize("deviation", [1e-3, 0.02, 0.5])
def test_a_gaussian_posterior_is_integrated_with_its_mean_and_width(deviation):
    """Compare sums by the trapezoidal rule with the integral, the mean and the width of the posterior."""
    center = 0.3137
    u = refine(np.linspace(-3, 3, 37), [lambda u: 0.5 * ((u - center) / deviation) ** 2])
    density = np.exp(-0.5 * ((u - center) / deviation) ** 2)
    integral = np.trapezoid(density, u)
    mean = np.trapezoid(density * u, u) / integral
    assert integral == pytest.approx(np.sqrt(2 * np.pi) * deviation, rel=0.03)
    assert mean == pytest.approx(center, abs=0.05 * deviation)
    assert np.trapezoid(density * (u - mean) ** 2, u) / integral == pytest.approx(deviation**2, rel=0.15)
    assert len(u) < 80


def test_two_minima_of_two_distributions_are_both_resolved():
    positions = -0.52, 0.48
    u = refine(np.linspace(-3, 3, 37), [lambda u, x=x: 0.5 * ((u - x) * (u + 0.04 + x) / 0.01) ** 2 for x in positions])
    for position in positions:
        assert np.count_nonzero(np.abs(u - position) < 0.03) >= 8


def test_a_hopeless_distribution_and_a_flat_misfit_need_no_further_values():
    u = np.linspace(0, 1, 11)
    assert shape_fits.new_coordinates(u, np.zeros((1, 11))) == []
    excluded = 500 + 100 * (u - 0.43) ** 2
    assert shape_fits.new_coordinates(u, np.array([0.01 * u, excluded])) == []


def simulated_measurement(body, *, seed=1, counts=1e5, **options):
    q, intensity, _ = jaxstruc.simulate_saxs(
        body, radius=40.0, pd=0.1, qmin=0.01, qmax=0.35, qstep=0.34 / 59, options=SimulateSaxsOptions(**options)
    )
    expected = counts * (intensity / intensity.max() + 1e-3)
    noise = np.sqrt(expected) * np.random.default_rng(seed).standard_normal(len(q))
    return small_angle_data.measurement(q=q, intensity=expected + noise, sigma=np.sqrt(expected))


CASES = {
    "spheroid": ("spheroid", {"aspect": 2.0}, {}, ("aspect_ratio", 2.0)),
    "cylinder": ("cylinder", {"aspect": 0.3}, {}, ("aspect_ratio", 0.3)),
    "hard-sphere": ("sphere", {"volume_fraction": 0.2, "interaction": "local"}, {}, ("volume_fraction", 0.2)),
    "core-shell": (
        "core-shell", {"shell": 8.0, "contrast": 1.0, "shell_contrast": 2.0}, {"sld": 1.0, "shell_sld": 2.0},
        ("shell_thickness", 8.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "body", [pytest.param(body, marks=[] if body in ("cylinder", "core-shell") else pytest.mark.long) for body in CASES]
)
def test_size_width_and_shape_come_back_within_four_standard_errors(body):
    simulated_body, simulation, options, (name, truth) = CASES[body]
    result = jaxstruc.saxs(
        simulated_measurement(simulated_body, **simulation),
        options=SaxsOptions(fit=SizeOptions(body=(body,), distribution=("gaussian",), **options)),
    )
    assert result.status == "solved" and result.body == body
    for column, value in ((name, truth), ("radius", 40.0), ("pd", 0.1)):
        fitted, interval = result.best.values[column], result.intervals[column]
        assert abs(fitted.value - value) < 4 * fitted.error
        assert interval.low < fitted.value < interval.high
        half_width = (interval.high - interval.low) / 2
        assert half_width == pytest.approx(1.645 * fitted.error, rel=0.4)
    assert result.free[:3] == ("radius", "pd", "scale") and result.free[3] == name
    row = summary.row(result)
    assert row[name] == result.best.values[name].value and row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    assert f", {name} " in tables.headline(result) and f"{name}_error" in tables.candidates(result)[0]


def test_a_sphere_has_an_undetermined_aspect_ratio_about_one():
    result = jaxstruc.saxs(small_angle_data.measurement(), body=["sphere", "spheroid"], distribution=["gaussian"])
    assert result.best.type == "sphere" and result.types["spheroid"] < 0.3
    spheroid_result = jaxstruc.saxs(small_angle_data.measurement(), body=["spheroid"], distribution=["gaussian"])
    interval = spheroid_result.intervals["aspect_ratio"]
    assert interval.low < 1 < interval.high
    assert "aspect ratio is not determined" in spheroid_result.message


def test_rods_are_compared_by_default_only_if_no_body_with_one_length_explains_the_data():
    measurements = [simulated_measurement("cylinder", aspect=4.0), small_angle_data.measurement()]
    results = jaxstruc.saxs(measurements, distribution=["gaussian"])
    assert results[0].body == "cylinder" and {"spheroid", "hard-sphere"} < set(results[0].types)
    assert set(results[1].types) == set(BODIES)


def test_a_file_alone_has_the_shape_that_it_has_among_others():
    measurements = [simulated_measurement("spheroid", aspect=2.0, seed=seed) for seed in (1, 2)]
    results = jaxstruc.saxs(measurements, body=["spheroid"], distribution=["gaussian"])
    single_result = jaxstruc.saxs(measurements[1], body=["spheroid"], distribution=["gaussian"])
    assert results[1].best.values == single_result.best.values and results[1].intervals == single_result.intervals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"body": ("core-shell",), "sld": 1.0}, "--shell-sld with --body core-shell, got none"),
        ({"body": ("core-shell",), "shell_sld": 1.0}, "--element or --sld with --body core-shell"),
        ({"body": ("core-shell",), "shell_sld": 1.0, "sld": 1.0}, "the shell is not visible"),
        ({"body": ("core-shell",), "shell_sld": 1.0, "sld": 9.0, "solvent": "9"}, "no contrast"),
        ({"body": ("sphere",), "shell_sld": 1.0}, "--body core-shell with --shell-sld"),
        (
            {"body": ("sphere", "cylinder"), "distribution": ("free",)},
            "--distribution none, .* with --body cylinder, got free",
        ),
    ],
)
def test_incomplete_options_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        jaxstruc.saxs(small_angle_data.measurement(), options=SaxsOptions(fit=SizeOptions(**options)))
    assert "\n" not in str(error.value)
