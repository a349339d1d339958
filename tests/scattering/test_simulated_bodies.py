"""`jaxstruc.simulate_saxs` against slow sums over sizes and orientations, in NumPy, in double precision."""

import numpy as np
import pytest
from scipy import special

import jaxstruc
from jaxstruc import SimulateSaxsOptions
from jaxstruc.options.small_angle import SIMULATED_BODIES, SIMULATED_DISTRIBUTIONS
from jaxstruc.scattering import polyhedra, solids

RADIUS, PD = 35.0, 0.12
GRID = {"qmin": 0.02, "qmax": 0.2, "qstep": 0.06}
Q = np.array([0.02, 0.08, 0.14, 0.2])
ASPECTS = {"spheroid": 2.5, "cylinder": 0.4}
GAUSS = np.polynomial.legendre.leggauss(400)


def sphere_amplitude(x):
    return 3 * (np.sin(x) - x * np.cos(x)) / x**3


def squares(body, x):
    """Return P(q R_eq) at each x, averaged over orientations."""
    mu, weight = (GAUSS[0] + 1) / 2, GAUSS[1] / 2
    if body == "sphere":
        return sphere_amplitude(x) ** 2
    if body == "spheroid":
        aspect = ASPECTS[body]
        across, along = aspect ** (-1 / 3), aspect ** (2 / 3)
        return sphere_amplitude(x[:, None] * np.sqrt((across**2) * (1 - mu**2) + (along * mu) ** 2)) ** 2 @ weight
    if body == "cylinder":
        aspect = ASPECTS[body]
        radius = (2 / (3 * aspect)) ** (1 / 3)
        flat, length = x[:, None] * radius * np.sqrt(1 - mu**2), x[:, None] * radius * aspect * mu
        return (2 * special.j1(flat) / flat * np.sinc(length / np.pi)) ** 2 @ weight
    make, domain = solids.SOLIDS[body.replace("-", " ")]
    solid = make()
    radius = (3 * solid.volume / (4 * np.pi)) ** (1 / 3)
    return polyhedra.averages(solid, x / radius, solids.DOMAINS[domain])[0]


def by_number(name, points):
    """Return radii and weights by number of a distribution with the mean and pd asked for, by Gauss's points."""
    if name == "none":
        return np.array([RADIUS]), np.ones(1)
    node, weight = np.polynomial.legendre.leggauss(points)
    reach = np.sqrt(3) if name == "uniform" else 8.0
    ratio = 1 + PD * reach * node
    square = np.log(1 + PD**2)
    density = {
        "gaussian": -((ratio - 1) ** 2) / (2 * PD**2),
        "lognormal": -((np.log(ratio) + square / 2) ** 2) / (2 * square) - np.log(ratio),
        "schulz": (1 / PD**2 - 1) * np.log(ratio) - ratio / PD**2,
        "uniform": 0 * ratio,
    }[name]
    weight = weight * np.exp(density - density.max())
    weight /= weight.sum()
    mean = weight @ ratio
    assert mean == pytest.approx(1, abs=1e-6) and np.sqrt(weight @ (ratio - mean) ** 2) == pytest.approx(PD, rel=1e-5)
    return RADIUS * ratio, weight


def expected(body, name, points):
    """Return the sum of V² P over the sum of V, in 1/cm for a contrast of 1."""
    radius, weight = by_number(name, points)
    volume = 4 / 3 * np.pi * radius**3
    every = squares(body, (Q[:, None] * radius).reshape(-1)).reshape(len(Q), -1)
    return 1e-4 * (every @ (weight * volume**2)) / (weight @ volume)


def simulated(body, name, **options):
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
    np.testing.assert_allclose(simulated(body, name), expected(body, name, 120), rtol=2e-5)


@pytest.mark.parametrize("body", [body for body in SIMULATED_BODIES if body.replace("-", " ") in solids.SOLIDS])
def test_every_polyhedron_is_its_face_and_edge_formula(body):
    np.testing.assert_allclose(simulated(body, "gaussian"), expected(body, "gaussian", 40), rtol=2e-5)


def test_a_shell_of_one_thickness_is_on_all_sizes():
    radius, weight = by_number("schulz", 200)
    core, inner = 4 / 3 * np.pi * (radius - 8) ** 3, Q[:, None] * (radius - 8)
    whole = 4 / 3 * np.pi * radius**3
    amplitude = 30 * whole * sphere_amplitude(Q[:, None] * radius) + 90 * core * sphere_amplitude(inner)
    intensity = simulated("core-shell", "schulz", contrast=120.0, shell=8.0, shell_contrast=30.0, scale=0.01)
    np.testing.assert_allclose(intensity, 1e-6 * amplitude**2 @ weight / (whole @ weight), rtol=1e-6)
    np.testing.assert_allclose(
        simulated("core-shell", "schulz", contrast=3.0), 9 * simulated("sphere", "schulz"), rtol=1e-12
    )


def test_scale_contrast_and_backgrounds_are_as_in_the_formula():
    plain = simulated("cube", "lognormal")
    other = simulated("cube", "lognormal", scale=0.02, contrast=110.0, background=0.3, power_scale=1e-6, power_law=3.5)
    np.testing.assert_allclose(other, 0.02 * 110.0**2 * plain + 0.3 + 1e-6 * Q**-3.5, rtol=1e-12)


def test_the_resolution_is_the_cut_gaussians_mean():
    offset = np.linspace(-2.5, 3.0, 81)
    weight = np.exp(-(offset**2) / 2)
    weight[[0, -1]] /= 2
    radius, number = by_number("gaussian", 200)
    volume = 4 / 3 * np.pi * radius**3
    x = (Q[:, None] + 0.006 * offset)[..., None] * radius
    curves = 1e-4 * sphere_amplitude(x) ** 2 @ (number * volume**2) / (number @ volume)
    found = simulated("sphere", "gaussian", dq=0.006)
    np.testing.assert_allclose(found, curves @ weight / weight.sum(), rtol=1e-3)
    assert np.abs(found / simulated("sphere", "gaussian") - 1).max() > 0.02


@pytest.mark.parametrize("interaction", ["effective", "decoupling", "local"])
def test_hard_spheres_push_scattering_out_of_small_angles(interaction):
    """S(0) = (1 - f)⁴ / (1 + 2f)² of one size; nothing changes far out."""
    options = SimulateSaxsOptions(volume_fraction=0.2, interaction=interaction)
    given = {"radius": RADIUS, "distribution": "none", "qmin": 1e-4, "qmax": 1.0001, "qstep": 0.5}
    apart, together = (jaxstruc.simulate_saxs("sphere", **given, options=one).y for one in (None, options))
    assert together[0] / apart[0] == pytest.approx(0.8**4 / 1.4**2, rel=1e-3)
    assert together[-1] / apart[-1] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", ["lognormal", "uniform"])
def test_large_particles_have_enough_nodes(name):
    """At Q R of a thousand many sizes show Porod's law without waves: 6 π <R²> / (<R³> Q⁴)."""
    q, intensity, _ = jaxstruc.simulate_saxs(
        "sphere", radius=3000.0, pd=0.2, distribution=name, qmin=0.3, qmax=0.5, qstep=0.02
    )
    ratio = {"lognormal": 1.04**1 / 1.04**3, "uniform": 1.04 / (1 + 3 * 0.04)}[name]
    np.testing.assert_allclose(intensity * q**4, 1e-4 * 6 * np.pi / 3000.0 * ratio, rtol=2e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"body": "ball"}, "--body among sphere, .*got ball"),
        ({"distribution": "boltzmann"}, "--distribution among none, .*got boltzmann"),
        ({"radius": -1.0}, "--radius above 0, got -1"),
        ({"radius": float("nan")}, "--radius above 0, got nan"),
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
def test_what_cannot_be_is_refused_in_the_words_of_the_command(words, message):
    with pytest.raises(ValueError, match=message):
        jaxstruc.simulate_saxs(**({"body": "sphere", "radius": 35.0} | words))


@pytest.mark.parametrize(
    ("body", "options", "message"),
    [
        ("sphere", {"scale": -1.0}, "--scale of at least 0"),
        ("sphere", {"background": float("nan")}, "a number for --background"),
        ("sphere", {"dq": -0.1}, "--dq of at least 0"),
        ("sphere", {"volume_fraction": 0.7}, "--volume-fraction from 0 to 0.6"),
        ("sphere", {"interaction": "none"}, "--interaction among effective, decoupling, local"),
        ("sphere", {"aspect": 2.0}, "--body spheroid or cylinder"),
        ("cylinder", {"aspect": 100.0}, "--aspect from 0.05 to 20"),
        ("cube", {"shell": 5.0}, "--body core-shell"),
        ("sphere", {"power_law": 7.0}, "--power-law above 0 and at most 6"),
    ],
)
def test_options_that_cannot_be_are_refused(body, options, message):
    with pytest.raises(ValueError, match=message):
        jaxstruc.simulate_saxs(body, radius=35.0, options=SimulateSaxsOptions(**options))
    with pytest.raises(ValueError, match="--qmin above 0 with --power-scale"):
        jaxstruc.simulate_saxs("sphere", radius=35.0, qmin=0.0, options=SimulateSaxsOptions(power_scale=1.0))
