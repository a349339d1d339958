"""`jaxstruc.simulate_saxs` compared with sums over sizes and orientations in NumPy in double precision."""

import numpy as np
import pytest
from scipy import special

import jaxstruc
from jaxstruc import SimulateSaxsOptions
from jaxstruc.options.small_angle import SIMULATED_BODIES, SIMULATED_DISTRIBUTIONS
from jaxstruc.small_angle import named_polyhedra, polyhedra

RADIUS, PD = 35.0, 0.12
GRID = {"qmin": 0.02, "qmax": 0.2, "qstep": 0.06}
Q = np.array([0.02, 0.08, 0.14, 0.2])
ASPECTS = {"spheroid": 2.5, "cylinder": 0.4}
GAUSS_POINTS = np.polynomial.legendre.leggauss(400)


def sphere_amplitude(x):
    return 3 * (np.sin(x) - x * np.cos(x)) / x**3


def form_factor(body, x):
    """Return P(q R_eq) at each x, averaged over orientations."""
    mu, weight = (GAUSS_POINTS[0] + 1) / 2, GAUSS_POINTS[1] / 2
    if body == "sphere":
        return sphere_amplitude(x) ** 2
    if body == "spheroid":
        aspect = ASPECTS[body]
        equatorial_radius, polar_radius = aspect ** (-1 / 3), aspect ** (2 / 3)
        return (
            sphere_amplitude(x[:, None] * np.sqrt((equatorial_radius**2) * (1 - mu**2) + (polar_radius * mu) ** 2)) ** 2
            @ weight
        )
    if body == "cylinder":
        aspect = ASPECTS[body]
        radius = (2 / (3 * aspect)) ** (1 / 3)
        transverse_phase, axial_phase = x[:, None] * radius * np.sqrt(1 - mu**2), x[:, None] * radius * aspect * mu
        return (2 * special.j1(transverse_phase) / transverse_phase * np.sinc(axial_phase / np.pi)) ** 2 @ weight
    make_solid, domain = named_polyhedra.NAMED_POLYHEDRA[body.replace("-", " ")]
    solid = make_solid()
    radius = (3 * solid.volume / (4 * np.pi)) ** (1 / 3)
    return polyhedra.orientation_averages(solid, x / radius, named_polyhedra.SYMMETRY_DOMAINS[domain])[0]


def number_distribution(name, points):
    """Return radii and number weights of a distribution with given mean and pd, at Gauss points."""
    if name == "none":
        return np.array([RADIUS]), np.ones(1)
    nodes, weight = np.polynomial.legendre.leggauss(points)
    half_range = np.sqrt(3) if name == "uniform" else 8.0
    ratio = 1 + PD * half_range * nodes
    log_variance = np.log(1 + PD**2)
    density = {
        "gaussian": -((ratio - 1) ** 2) / (2 * PD**2),
        "lognormal": -((np.log(ratio) + log_variance / 2) ** 2) / (2 * log_variance) - np.log(ratio),
        "schulz": (1 / PD**2 - 1) * np.log(ratio) - ratio / PD**2,
        "uniform": 0 * ratio,
    }[name]
    weight = weight * np.exp(density - density.max())
    weight /= weight.sum()
    mean = weight @ ratio
    assert mean == pytest.approx(1, abs=1e-6) and np.sqrt(weight @ (ratio - mean) ** 2) == pytest.approx(PD, rel=1e-5)
    return RADIUS * ratio, weight


def expected_intensity(body, name, points):
    """Return the sum of V² P over the sum of V, in 1/cm for a contrast of 1."""
    radius, weight = number_distribution(name, points)
    volume = 4 / 3 * np.pi * radius**3
    form_factors = form_factor(body, (Q[:, None] * radius).reshape(-1)).reshape(len(Q), -1)
    return 1e-4 * (form_factors @ (weight * volume**2)) / (weight @ volume)


def simulate_intensity(body, name, **options):
    q, intensity, step = jaxstruc.simulate_saxs(
        body, radius=RADIUS, pd=PD if name != "none" else 0.0, distribution=name, **GRID,
        options=SimulateSaxsOptions(aspect=ASPECTS.get(body, 1.0), **options),
    )  # fmt: skip
    np.testing.assert_allclose(q, Q)
    assert step == GRID["qstep"] and intensity.dtype == np.float64
    return intensity


@pytest.mark.parametrize("name", SIMULATED_DISTRIBUTIONS)
@pytest.mark.parametrize("body", ["sphere", "spheroid", "cylinder", "octahedron"])
def test_curves_are_slow_sums_over_sizes_by_number(body, name):
    np.testing.assert_allclose(simulate_intensity(body, name), expected_intensity(body, name, 120), rtol=2e-5)


@pytest.mark.parametrize(
    "body", [body for body in SIMULATED_BODIES if body.replace("-", " ") in named_polyhedra.NAMED_POLYHEDRA]
)
def test_every_polyhedron_is_its_face_and_edge_formula(body):
    np.testing.assert_allclose(
        simulate_intensity(body, "gaussian"), expected_intensity(body, "gaussian", 40), rtol=2e-5
    )


def test_a_shell_of_one_thickness_is_on_all_sizes():
    radius, weight = number_distribution("schulz", 200)
    core_volume, core_phase = 4 / 3 * np.pi * (radius - 8) ** 3, Q[:, None] * (radius - 8)
    total_volume = 4 / 3 * np.pi * radius**3
    amplitude = 30 * total_volume * sphere_amplitude(Q[:, None] * radius) + 90 * core_volume * sphere_amplitude(
        core_phase
    )
    intensity = simulate_intensity("core-shell", "schulz", contrast=120.0, shell=8.0, shell_contrast=30.0, scale=0.01)
    np.testing.assert_allclose(intensity, 1e-6 * amplitude**2 @ weight / (total_volume @ weight), rtol=1e-6)
    np.testing.assert_allclose(
        simulate_intensity("core-shell", "schulz", contrast=3.0), 9 * simulate_intensity("sphere", "schulz"), rtol=1e-12
    )


def test_scale_contrast_and_backgrounds_are_as_in_the_formula():
    plain_intensity = simulate_intensity("cube", "lognormal")
    scaled_intensity = simulate_intensity(
        "cube", "lognormal", scale=0.02, contrast=110.0, background=0.3, power_scale=1e-6, power_law=3.5
    )
    np.testing.assert_allclose(scaled_intensity, 0.02 * 110.0**2 * plain_intensity + 0.3 + 1e-6 * Q**-3.5, rtol=1e-12)


def test_the_resolution_is_the_cut_gaussians_mean():
    offset = np.linspace(-2.5, 3.0, 81)
    weight = np.exp(-(offset**2) / 2)
    weight[[0, -1]] /= 2
    radius, number = number_distribution("gaussian", 200)
    volume = 4 / 3 * np.pi * radius**3
    x = (Q[:, None] + 0.006 * offset)[..., None] * radius
    shifted_intensities = 1e-4 * sphere_amplitude(x) ** 2 @ (number * volume**2) / (number @ volume)
    smeared_intensity = simulate_intensity("sphere", "gaussian", dq=0.006)
    np.testing.assert_allclose(smeared_intensity, shifted_intensities @ weight / weight.sum(), rtol=1e-3)
    assert np.abs(smeared_intensity / simulate_intensity("sphere", "gaussian") - 1).max() > 0.02


@pytest.mark.parametrize("interaction", ["effective", "decoupling", "local"])
def test_hard_spheres_push_scattering_out_of_small_angles(interaction):
    """Compare with S(0) = (1 - f)⁴ / (1 + 2f)² of one size, and with S = 1 at large Q."""
    options = SimulateSaxsOptions(volume_fraction=0.2, interaction=interaction)
    arguments = {"radius": RADIUS, "distribution": "none", "qmin": 1e-4, "qmax": 1.0001, "qstep": 0.5}
    dilute_intensity, crowded_intensity = (
        jaxstruc.simulate_saxs("sphere", **arguments, options=interaction_options).y
        for interaction_options in (None, options)
    )
    assert crowded_intensity[0] / dilute_intensity[0] == pytest.approx(0.8**4 / 1.4**2, rel=1e-3)
    assert crowded_intensity[-1] / dilute_intensity[-1] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", ["lognormal", "uniform"])
def test_large_particles_have_enough_nodes(name):
    """Compare with Porod's law without oscillations, 6 π <R²> / (<R³> Q⁴), at Q R of about 1000."""
    q, intensity, _ = jaxstruc.simulate_saxs(
        "sphere", radius=3000.0, pd=0.2, distribution=name, qmin=0.3, qmax=0.5, qstep=0.02
    )
    ratio = {"lognormal": 1.04**1 / 1.04**3, "uniform": 1.04 / (1 + 3 * 0.04)}[name]
    np.testing.assert_allclose(intensity * q**4, 1e-4 * 6 * np.pi / 3000.0 * ratio, rtol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"body": "ball"}, "--body sphere, .*got 'ball'"),
        ({"distribution": "boltzmann"}, "--distribution none, .*got 'boltzmann'"),
        ({"radius": -1.0}, "--radius above 0, got -1"),
        ({"radius": float("nan")}, "a finite --radius, got nan"),
        ({"pd": -0.1}, "--pd of at least 0, got -0.1"),
        ({"pd": 0.4}, "--pd of at most 0.35 with --distribution gaussian, got 0.4"),
        ({"pd": 0.1, "distribution": "none"}, "--pd 0 with --distribution none"),
        ({"qmin": 0.6}, "qmin < qmax, got 0.6 and 0.5"),
        ({"qmin": -0.1}, "--qmin of at least 0"),
        ({"qstep": 0.0}, "--qstep above 0"),
        ({"qstep": 1e-9}, "at most 1000000 points"),
        ({"radius": 1e5}, "--qmax times --radius of at most 10000"),
    ],
)
def test_invalid_arguments_are_refused_in_the_words_of_the_command(arguments, message):
    with pytest.raises(ValueError, match=message):
        jaxstruc.simulate_saxs(**({"body": "sphere", "radius": 35.0} | arguments))


@pytest.mark.parametrize(
    ("body", "options", "message"),
    [
        ("sphere", {"scale": -1.0}, "--scale of at least 0"),
        ("sphere", {"background": float("nan")}, "a finite --background"),
        ("sphere", {"dq": -0.1}, "--dq of at least 0"),
        ("sphere", {"volume_fraction": 0.7}, "--volume-fraction of at least 0 and at most 0.6"),
        ("sphere", {"interaction": "none"}, "--interaction effective, decoupling or local"),
        ("sphere", {"aspect": 2.0}, "--body spheroid or cylinder"),
        ("cylinder", {"aspect": 100.0}, "--aspect of at least 0.05 and at most 20"),
        ("cube", {"shell": 5.0}, "--body core-shell"),
        ("sphere", {"power_law": 7.0}, "--power-law above 0 and at most 6"),
    ],
)
def test_invalid_options_are_refused(body, options, message):
    with pytest.raises(ValueError, match=message):
        jaxstruc.simulate_saxs(body, radius=35.0, options=SimulateSaxsOptions(**options))
    with pytest.raises(ValueError, match="--qmin above 0 with --power-scale"):
        jaxstruc.simulate_saxs("sphere", radius=35.0, qmin=0.0, options=SimulateSaxsOptions(power_scale=1.0))
