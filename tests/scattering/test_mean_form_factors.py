"""Curves of clusters with shared or partly occupied sites: means over all arrangements of the atoms."""

import itertools

import ase
import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Octahedron

import jaxstruc
from jaxstruc.options.simulation import SimulateOptions
from jaxstruc.scattering import form_factors

POSITIONS = np.array([[0, 0, 0], [2.7, 0, 0], [0, 2.8, 0.3], [1.3, 1.4, 2.1]])
ELEMENTS = ["Au", "Cu", "Au", "Pt"]
OCCUPANCIES = [{"Au": 0.3, "Cu": 0.5}, {"Cu": 1.0}, {"Au": 0.6}, {"Pt": 0.25, "Au": 0.75}]
OPTIONS = {"qmin": 0.5, "qmax": 20.0, "uiso": 0.006}


@pytest.fixture
def disordered_atoms():
    """Return four atoms with occupancies as ASE stores those of a CIF file."""
    atoms = ase.Atoms(ELEMENTS, positions=POSITIONS)
    atoms.set_array("spacegroup_kinds", np.arange(4))
    atoms.info["occupancy"] = {str(index): occupancy for index, occupancy in enumerate(OCCUPANCIES)}
    return atoms


def mean_over_arrangements(q, uiso):
    """Return the mean of I(Q), of the number of atoms, and of their summed form factors over all arrangements."""
    symbols = ["Au", "Cu", "Pt"]
    with jax.enable_x64(True):
        f = np.asarray(form_factors.xray_form_factors(form_factors.xray_coefficients(symbols), jnp.asarray(q)))
    amplitude = {symbol: row for symbol, row in zip(symbols, f, strict=True)} | {None: np.zeros_like(q)}
    choices = [[*site.items(), (None, 1 - sum(site.values()))] for site in OCCUPANCIES]
    mean_intensity = np.zeros_like(q)
    for arrangement in itertools.product(*choices):
        intensity = sum(amplitude[symbol] ** 2 for symbol, _ in arrangement)
        for i, j in itertools.permutations(range(4), 2):
            x = q * np.linalg.norm(POSITIONS[i] - POSITIONS[j])
            damping = np.exp(-uiso * q**2)
            intensity = (
                intensity + amplitude[arrangement[i][0]] * amplitude[arrangement[j][0]] * damping * np.sin(x) / x
            )
        mean_intensity += np.prod([probability for _, probability in arrangement]) * intensity
    return mean_intensity, amplitude


def test_the_intensity_is_the_mean_over_all_arrangements(disordered_atoms):
    q, intensity, _ = jaxstruc.simulate(disordered_atoms, signal="iq", **OPTIONS)
    np.testing.assert_allclose(intensity, mean_over_arrangements(q, OPTIONS["uiso"])[0], rtol=1e-6)


def test_structure_functions_are_normalised_to_the_number_of_atoms(disordered_atoms):
    q, s, _ = jaxstruc.simulate(disordered_atoms, signal="sq", **OPTIONS)
    intensity, amplitude = mean_over_arrangements(q, OPTIONS["uiso"])
    occupied = [(symbol, value) for site in OCCUPANCIES for symbol, value in site.items()]
    n_atoms = sum(value for _, value in occupied)
    self_scattering = sum(value * amplitude[symbol] ** 2 for symbol, value in occupied)
    norm = sum(value * amplitude[symbol] for symbol, value in occupied) ** 2 / n_atoms
    expected_s = 1 + (intensity - self_scattering) / norm
    np.testing.assert_allclose(s, expected_s, rtol=1e-6, atol=1e-9)
    f = jaxstruc.simulate(disordered_atoms, signal="fq", **OPTIONS).y
    np.testing.assert_allclose(f, q * (expected_s - 1), rtol=1e-6, atol=1e-8)
    r, g, qstep = jaxstruc.simulate(disordered_atoms, **OPTIONS, rmax=10.0)
    fine_q = np.arange(OPTIONS["qmin"], OPTIONS["qmax"] + qstep / 2, qstep)
    expected_g = 2 / np.pi * np.trapezoid(np.interp(fine_q, q, f) * np.sin(np.outer(r, fine_q)), fine_q)
    np.testing.assert_allclose(g, expected_g, atol=2e-3 * abs(g).max())


def test_half_of_all_atoms_at_random_scatter_by_their_number(disordered_atoms):
    """If all sites have the occupancy o, S - 1 is o times that of the full cluster, for few and for many atoms."""
    for length in (3, 7):
        atoms = Octahedron("Pt", length)
        full_curve = jaxstruc.simulate(atoms, signal="sq", qmax=12.0)
        atoms.set_array("occupancy", np.full(len(atoms), 0.5))
        half_curve = jaxstruc.simulate(atoms, signal="sq", qmax=12.0)
        np.testing.assert_allclose(half_curve.y - 1, 0.5 * (full_curve.y - 1), atol=1e-8 * abs(full_curve.y).max())


def test_deuterium_differs_from_hydrogen_for_neutrons_only():
    water = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    heavy_water = water.copy()
    heavy_water.set_masses([None, 2.014, 2.014])
    intensities = {
        (probe, name): jaxstruc.simulate(atoms, signal="iq", probe=probe).y
        for probe in ("xray", "neutron")
        for name, atoms in (("H", water), ("D", heavy_water))
    }
    np.testing.assert_array_equal(intensities["xray", "D"], intensities["xray", "H"])
    q0_intensity = {name: intensities["neutron", name][0] for name in "HD"}
    assert form_factors.neutron_lengths(["D"]) == pytest.approx(6.67, abs=0.01)
    q = jaxstruc.simulate(water, signal="iq", probe="neutron").x[0]
    for name, b in (("H", -3.7409), ("D", 6.6681)):
        lengths = np.array([5.8037, b, b])
        distances = np.linalg.norm(water.positions[:, None] - water.positions, axis=-1)
        sinc = np.sinc(q * distances / np.pi)
        damping = np.where(distances > 0, np.exp(-SimulateOptions().uiso * q**2), 1.0)
        assert q0_intensity[name] == pytest.approx((lengths[:, None] * lengths * sinc * damping).sum(), rel=1e-6)


def test_too_many_occupancies_and_partial_mixtures_are_refused():
    atoms = Octahedron("Pt", 5)
    atoms.set_array("occupancy", np.linspace(0.2, 1, len(atoms)))
    with pytest.raises(ValueError, match="Expected at most 30 different occupancies of sites, got 85"):
        jaxstruc.simulate(atoms)
    with pytest.raises(ValueError, match="Expected fully occupied sites in a mixture, got an occupancy"):
        jaxstruc.simulate([atoms, Octahedron("Pt", 3)])


def test_atoms_in_python_are_joined_with_a_warning_and_crystals_are_refused():
    whole_atoms = Octahedron("Pt", 3)
    torn_atoms = whole_atoms.copy()
    torn_atoms.set_cell([30, 30, 30])
    torn_atoms.pbc = True
    torn_atoms.wrap()
    with pytest.warns(UserWarning, match="joined along their bonds"):
        torn_curve = jaxstruc.simulate(torn_atoms)
    np.testing.assert_allclose(torn_curve.y, jaxstruc.simulate(whole_atoms).y, atol=1e-8)
    with pytest.raises(ValueError, match="got a crystal in Atoms"):
        jaxstruc.simulate(ase.build.bulk("Pt", cubic=True))
