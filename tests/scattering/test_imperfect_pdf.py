"""Simulated PDFs with the imperfections of measured ones."""

import ase
import numpy as np
import pytest
from scipy.spatial.distance import pdist

import jaxstruc
from jaxstruc import SimulateOptions
from jaxstruc.clusters import library
from jaxstruc.scattering import form_factors, imperfect_pdf
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.imperfect_pdf import IMPERFECTIONS, Imperfections
from jaxstruc.scattering.pair_distribution import Grid

PERFECT = Imperfections()
BOND = form_factors.bond_length("Au")
INSTRUMENT = Instrument(uiso=0.008, delta2=3.0, qdamp=0.03)
GRID = Grid(qmin=0.8, qmax=20.0, qstep=0.02, rmin=1.5, rmax=20.0, rstep=0.05)


@pytest.fixture(scope="module")
def clusters():
    return library.build(("icosahedron",), max_atoms=120)


@pytest.fixture(scope="module")
def icosahedron_row(clusters):
    (row,) = np.flatnonzero((clusters.families == "icosahedron") & (clusters.atoms == 55))[:1]
    return int(row)


@pytest.fixture
def simulate(clusters, icosahedron_row):
    def simulate_case(imperfections=PERFECT, *, instrument=INSTRUMENT, grid=GRID, seed=1):
        return imperfect_pdf.imperfect_pdf(
            clusters, icosahedron_row, element="Au", instrument=instrument, grid=grid, imperfections=imperfections,
            seed=seed,
        )  # fmt: skip

    return simulate_case


def clean_curve(atoms, instrument=INSTRUMENT):
    options = SimulateOptions(
        qmin=0.8, qmax=20.0, qstep=0.02, rmin=1.5, rmax=20.0, rstep=0.05, uiso=instrument.uiso,
        delta2=instrument.delta2, qdamp=instrument.qdamp,
    )  # fmt: skip
    return jaxstruc.simulate(atoms, options=options).y


def test_a_pdf_without_imperfections_is_the_clean_simulation(simulate, clusters, icosahedron_row):
    pdf = simulate()
    atoms = library.candidate_cluster(clusters, icosahedron_row).to_ase("Au", BOND)
    np.testing.assert_allclose(pdf.g, clean_curve(atoms), atol=1e-5 * np.abs(pdf.g).max())
    assert pdf.header == {"qmin": 0.8, "qmax": pytest.approx(20.0), "qdamp": 0.03}


def test_noise_is_white_on_the_structure_function(simulate):
    """The sine transform of white noise with the standard deviation s has the variance (2 s / pi)^2 step range / 2."""
    noise = simulate(Imperfections(noise=0.03)).g - simulate().g
    atoms_f = jaxstruc.simulate(
        ase.Atoms(["Au"] * 55, simulate().particles.positions[0] * BOND),
        options=SimulateOptions(signal="fq", qmin=0.8, qmax=20.0, qstep=0.02, uiso=0.008, delta2=3.0),
    ).y
    deviation = 0.03 * np.sqrt(np.mean(atoms_f**2))
    expected_variance = (2 / np.pi * deviation) ** 2 * 0.02 * (20.0 - 0.8) / 2
    assert noise.var() == pytest.approx(expected_variance, rel=0.3)  # about 115 independent points


def test_a_wrong_normalisation_adds_the_transform_of_a_line(simulate):
    r, clean, *_ = simulate()

    def transform_of_q(q):
        return np.sin(q * r) / r**2 - q * np.cos(q * r) / r

    line = 2 / np.pi * (transform_of_q(20.0) - transform_of_q(0.8)) * np.exp(-0.5 * (0.03 * r) ** 2)
    wrong = simulate(Imperfections(normalisation=1.04)).g
    np.testing.assert_allclose(wrong, 1.04 * clean + 0.04 * line, atol=1e-3 * np.abs(clean).max())


def test_a_background_is_smooth_and_as_large_as_stated(simulate):
    r, clean, *_ = simulate()
    background = simulate(Imperfections(background=0.1)).g - clean
    assert np.sqrt(np.mean(background**2)) == pytest.approx(0.1 * np.sqrt(np.mean(clean**2)))
    curvature = np.gradient(np.gradient(background, r), r)[2:-2]
    assert np.abs(curvature).max() < (2 * np.pi / 8) ** 2 * 3 * np.sqrt(np.mean(background**2))


def test_wrong_settings_change_the_header_and_not_the_data(simulate):
    pdf = simulate(Imperfections(qmin_error=-0.3, qdamp_ratio=None))
    np.testing.assert_array_equal(pdf.g, simulate().g)
    assert pdf.header == {"qmin": pytest.approx(0.5), "qmax": pytest.approx(20.0)}
    assert simulate(Imperfections(qdamp_ratio=0.5)).header["qdamp"] == pytest.approx(0.015)


def test_ligands_scatter_as_light_atoms_at_their_bond_length(simulate):
    still = INSTRUMENT._replace(uiso=0.0)
    pdf = simulate(Imperfections(shell="ligand", coverage=1.0), instrument=still)
    core = pdf.particles.positions[0] * BOND
    (shell,) = pdf.shells
    distance = np.linalg.norm(shell[:, None] - core, axis=2)
    np.testing.assert_allclose(distance.min(axis=1), 2.35, atol=1e-6)
    assert pdist(shell).min() > 3.2 and len(shell) > 30
    atoms = ase.Atoms(["Au"] * 55 + ["S"] * len(shell), np.concatenate([core, shell]))
    np.testing.assert_allclose(pdf.g, clean_curve(atoms, still), atol=1e-4 * np.abs(pdf.g).max())


def test_the_coverage_is_the_share_of_occupied_places():
    positions = np.array([(x, y, z) for x in range(3) for y in range(3) for z in range(3)]) * BOND
    counts = [
        len(imperfect_pdf.shell_positions(positions, "amorphous", coverage, BOND, np.random.default_rng(0)))
        for coverage in (0.0, 0.5, 1.0)
    ]
    assert counts[0] == 0 and counts[1] == pytest.approx(counts[2] / 2, abs=1) and counts[2] > 20


def test_sizes_of_a_distribution_have_the_width_and_the_type(simulate, clusters):
    pdf = simulate(Imperfections(width=0.2))
    rows = np.array(pdf.particles.rows)
    sizes = np.cbrt(clusters.atoms[rows])
    assert sizes.std() / sizes.mean() == pytest.approx(0.2, abs=0.06)
    assert sizes.mean() == pytest.approx(np.cbrt(55), rel=0.08)
    assert set(clusters.families[rows]) == {"icosahedron"}


def test_relaxation_moves_the_atoms_in_proportion_to_its_amplitude(simulate):
    ideal, half, full = (simulate(Imperfections(relaxation=value)).particles.positions[0] for value in (0, 0.5, 1))
    np.testing.assert_allclose(half - ideal, 0.5 * (full - ideal), atol=1e-9)
    displacement = np.sqrt(np.mean(np.sum((full - ideal) ** 2, axis=1)))
    assert 0.002 < displacement < 0.1
    assert not np.allclose(full, simulate(Imperfections(relaxation=1), seed=2).particles.positions[0])


def test_each_imperfection_has_random_numbers_of_its_own():
    all_values = imperfect_pdf.draw_imperfections(5)
    for name in IMPERFECTIONS:
        values = imperfect_pdf.draw_imperfections(5, names=(name,))
        for field, value, default in zip(Imperfections._fields, values, Imperfections(), strict=True):
            assert value in (default, getattr(all_values, field))
        assert values != Imperfections() or name == "relaxation"  # some particles are rigid
    assert imperfect_pdf.draw_imperfections(5, names=()) == Imperfections()
    assert imperfect_pdf.draw_imperfections(6) != all_values


def test_drawn_values_stay_within_the_stated_limits():
    values = [imperfect_pdf.draw_imperfections(seed) for seed in range(60)]
    assert all(abs(value.normalisation - 1) <= 0.05 and 0 <= value.width <= 0.3 for value in values)
    assert {value.shell for value in values} == {"ligand", "amorphous"}
    assert 10 < sum(value.qdamp_ratio is None for value in values) < 50


def test_an_unknown_imperfection_is_refused():
    with pytest.raises(ValueError, match=r"Expected imperfections among noise, .*, got dirt"):
        imperfect_pdf.draw_imperfections(0, names=("dirt",))
