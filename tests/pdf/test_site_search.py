"""Search for a particle that no source lists, from candidates to results."""

import dataclasses

import numpy as np
import pytest
import simulated_pdfs_numpy
from scipy.spatial.distance import pdist

from jaxstruc import Measurement
from jaxstruc.clusters import families, lattice_sites, library
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.io.measurement import resolve_settings
from jaxstruc.options.pdf import DataOptions, FitOptions, SolveOptions
from jaxstruc.pdf import site_search, stacking, target
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.site_search import SearchLevel
from jaxstruc.pdf.solve import PdfPlan, solve_measurements
from jaxstruc.pdf.sources import CandidateSource
from jaxstruc.scattering import form_factors

BOND = form_factors.bond_length("Pt")
BRIEF_LEVEL = SearchLevel(1, 4, 20, 1, 2, 60, max_rounds=2, n_walk_steps=40)


@pytest.fixture(scope="module")
def particle():
    """Return an fcc ellipsoid of 50 atoms about a point without symmetry."""
    lattice = lattice_sites.nearest_sites("c" * 64, np.array([0.13, 0.21, 0.37]), 200)
    scaled_radius = np.linalg.norm(lattice.positions * np.array([1.15, 1.0, 0.9]), axis=1)
    return lattice.positions[scaled_radius <= np.sort(scaled_radius)[49]]


@pytest.fixture(scope="module")
def fcc_library():
    return library.build(("fcc",), min_atoms=40, max_atoms=60)


@pytest.fixture(scope="module")
def results(particle, fcc_library):
    r = np.arange(1.5, 16.001, 0.05)
    g = simulated_pdfs_numpy.cluster_pdf(particle * BOND, r, noise=0.01, rng=np.random.default_rng(0), qmin=0.8)
    data = DataOptions(qmin=0.8, qmax=18.0, qdamp=0.03, rmax=16.0)
    measurement = resolve_settings(Measurement("own.gr", r, g, {}), data, bond=BOND)
    rows = np.arange(len(fcc_library.atoms))
    source = CandidateSource(8.0, lambda files: (CandidateGroup("library", fcc_library, rows) for _ in files), {}, {})
    plan = PdfPlan(
        "Pt", (source,), SolveOptions(data=data, fit=FitOptions(absolute=True), search="quick", ensemble="none")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(site_search.SEARCH_LEVELS, "quick", BRIEF_LEVEL)
        patch.setattr(site_search, "SITE_COUNTS", (160,))
        messages: list[str] = []
        search_result = next(
            solve_measurements([measurement], plan, progress=lambda n_done, total, text: messages.append(text))
        )
        repeated_result = next(solve_measurements([measurement], plan))
        library_result = next(
            solve_measurements([measurement], plan._replace(options=dataclasses.replace(plan.options, search="none")))
        )
        noise_pdf = np.random.default_rng(1).normal(size=len(r))
        noise_result = next(solve_measurements([measurement._replace(g=noise_pdf, name="noise.gr")], plan))
    return search_result, repeated_result, library_result, messages, noise_result


def test_a_searched_particle_fits_better_than_any_that_is_listed(results, particle):
    search_result, _, library_result, _, _ = results
    assert search_result.best.source == "search" and library_result.best.source == "library"
    assert search_result.best.rw < 0.6 * library_result.best.rw and search_result.best.type == "fcc"
    assert abs(search_result.best.n_atoms - len(particle)) <= 1
    assert search_result.best.values["scale"].value == 1.0


def test_each_atom_has_an_occupancy(results):
    best_candidate = results[0].best
    assert best_candidate.occupancy.shape == (best_candidate.n_atoms,) and best_candidate.occupancy.max() > 0.99
    inner_atoms = np.argsort(
        np.linalg.norm(best_candidate.atoms.positions - best_candidate.atoms.positions.mean(axis=0), axis=1)
    )[:10]
    assert (best_candidate.occupancy[inner_atoms] > 0.9).all() and (best_candidate.occupancy >= 0).all()


def test_the_number_of_atoms_comes_with_an_interval(results):
    interval = results[0].intervals["n_atoms"]
    assert (
        interval.low <= interval.value <= interval.high
        and interval.value == results[0].best.n_atoms
        and interval.high < interval.value + 10
    )


def test_the_same_seed_gives_the_same_bytes(results):
    search_result, repeated_result = results[:2]
    assert np.array_equal(search_result.best.atoms.positions, repeated_result.best.atoms.positions)
    assert [candidate.weight for candidate in search_result.candidates] == [
        candidate.weight for candidate in repeated_result.candidates
    ]


def test_progress_reports_the_search(results):
    assert any("sites, round 1 (at least 2, at most" in text for text in results[3])


def test_noise_is_no_particle(results):
    assert results[4].status == "weak" and "Rw" in results[4].message


def test_a_particle_with_a_gap_has_no_layers():
    gapped_positions = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 3.3], [1, 0, 3.3]], float)
    assert stacking.shifted_layers(gapped_positions)[0] == []


@pytest.mark.parametrize("family", ["fcc", "hcp", "twin", "bcc", "sc", "decahedron", "icosahedron"])
def test_listed_clusters_lie_on_their_lattices(family):
    for cluster in list(families.FAMILIES[family](50, 70))[:6]:
        packing = site_search.PACKING_BY_TYPE.get(FAMILY_TYPES[family], FAMILY_TYPES[family])
        start = site_search.start_from_cluster(cluster, packing, None)
        positions = start.lattice.positions[start.occupied_sites]
        if len(positions) == len(cluster.positions):
            assert np.allclose(np.sort(pdist(positions)), np.sort(pdist(cluster.positions)), rtol=0.03)
        else:  # an elongated particle that extends beyond the lattice
            assert len(positions) > 0.9 * len(cluster.positions)


def test_levels_differ_in_the_length_of_the_search():
    quick_settings, full_settings = (dataclasses.astuple(site_search.SEARCH_LEVELS[name]) for name in ("quick", "full"))
    assert (
        all(quick_value <= full_value for quick_value, full_value in zip(quick_settings, full_settings, strict=True))
        and quick_settings != full_settings
    )


def test_packings_that_the_classifier_finds_improbable_are_not_searched_and_likely_ones_are():
    """The packing of the best candidate is always searched. Without a classifier, all packings are searched."""
    values = object()
    leaders = {"stack": (90, values), "bcc": (80, 2), "decahedron": (85, 3)}
    atom_counts = {"decahedron": np.array([100, 102]), "icosahedron": np.array([140, 147, 150])}
    selected_leaders = site_search._with_probable_packings(leaders, atom_counts)
    assert selected_leaders == {"stack": (90, values), "decahedron": (85, 3), "icosahedron": (147, values)}
    assert (
        site_search._with_probable_packings(leaders, None) == leaders
        and site_search._with_probable_packings({}, atom_counts) == {}
    )


def test_the_best_start_stays_among_ends_that_are_worse(particle):
    """The particle without three atoms fits worse. A start that is worse than the minima is left out."""
    r = np.arange(1.5, 16.001, 0.05)
    g = simulated_pdfs_numpy.cluster_pdf(particle * simulated_pdfs_numpy.BOND, r, qmin=0.8)
    span = target.table_range(rmax=16.0, qmax=18.0, diameter=20.0)
    fit_target = target.make_target(
        r,
        g,
        target.TargetSettings(qmin=0.8, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=simulated_pdfs_numpy.BOND, span=span),
    )
    lattice = lattice_sites.nearest_sites("c" * 64, np.array([0.13, 0.21, 0.37]), 160)
    right_sites = site_search._occupied_sites(lattice, particle)
    wrong_sites = right_sites.copy()
    wrong_sites[np.flatnonzero(right_sites)[[20, 30, 40]]] = False
    right_starts, wrong_starts = (
        [site_search.LatticeParticle(lattice, occupied_sites, None)] for occupied_sites in (right_sites, wrong_sites)
    )
    weights = site_search._site_weights(fit_target, 60.0, 1.0)
    wrong_minima = site_search._rank_minima(fit_target, wrong_starts, weights)
    joint_minima = site_search._with_best_start(fit_target, wrong_minima, right_starts, wrong_starts, weights)
    assert (
        len(joint_minima.starts) == 2
        and np.array_equal(joint_minima.starts[0].occupied_sites, right_sites)
        and joint_minima.cost[0] < wrong_minima.cost[0]
    )
    right_minima = site_search._rank_minima(fit_target, right_starts, weights)
    assert site_search._with_best_start(fit_target, right_minima, wrong_starts, right_starts, weights) is right_minima
