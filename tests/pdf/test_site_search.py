"""Search for a particle that no source lists, from candidates to results."""

import dataclasses

import numpy as np
import pytest
import simulated_pdfs_numpy
from scipy.spatial.distance import pdist

from jaxstruc import Measurement
from jaxstruc.clusters import families, lattice_sites, lattices, library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.io.measurement import resolve_settings
from jaxstruc.options.pdf import DataOptions, FitOptions, SolveOptions
from jaxstruc.pdf import candidates as pdf_candidates
from jaxstruc.pdf import search_minima, search_starts, site_search, stacking, target
from jaxstruc.pdf.candidates import CandidateGroup, FittedCandidates
from jaxstruc.pdf.fit import Fit, FitValues
from jaxstruc.pdf.search_starts import PackingStart, SearchLevel
from jaxstruc.pdf.solve import PdfPlan, solve_measurements
from jaxstruc.pdf.sources import CandidateSource
from jaxstruc.scattering import form_factors

BOND = form_factors.bond_length("Pt")
BRIEF_LEVEL = SearchLevel(1, 4, 20, 1, 2, 60, max_rounds=2, n_walk_steps=40)
VALUES = FitValues(1.0, 1.0, 0.008, 0.0, 2.0, 0.03, 0.0)
R = np.arange(1.5, 16.001, 0.05)


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
        packing = search_starts.PACKING_BY_TYPE.get(FAMILY_TYPES[family], FAMILY_TYPES[family])
        start = search_starts.start_from_cluster(cluster, packing, None)
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
    curve = np.ones(3)
    leaders = {
        "stack": PackingStart(90, VALUES, curve),
        "bcc": PackingStart(80, VALUES),
        "decahedron": PackingStart(85, VALUES),
    }
    atom_counts = {"decahedron": np.array([100, 102]), "icosahedron": np.array([140, 147, 150])}
    selected_leaders = search_starts.with_probable_packings(leaders, atom_counts)
    assert list(selected_leaders) == ["stack", "decahedron", "icosahedron"]
    assert all(selected_leaders[name] is leaders[name] for name in ("stack", "decahedron"))
    added_start = selected_leaders["icosahedron"]
    assert added_start.n_atoms == 147 and added_start.values is VALUES and added_start.relaxation_curve is curve
    assert (
        search_starts.with_probable_packings(leaders, None) == leaders
        and search_starts.with_probable_packings({}, atom_counts) == {}
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
    right_sites = search_starts.occupied_sites_of(lattice, particle)
    wrong_sites = right_sites.copy()
    wrong_sites[np.flatnonzero(right_sites)[[20, 30, 40]]] = False
    right_starts, wrong_starts = (
        [search_starts.LatticeParticle(lattice, occupied_sites, None)] for occupied_sites in (right_sites, wrong_sites)
    )
    weights = site_search._site_weights(fit_target, 60.0, 1.0)
    wrong_minima = search_minima.rank_minima(fit_target, wrong_starts, weights)
    joint_minima = search_minima.with_best_start(fit_target, wrong_minima, right_starts, weights)
    assert (
        len(joint_minima.starts) == 2
        and np.array_equal(joint_minima.starts[0].occupied_sites, right_sites)
        and joint_minima.cost[0] < wrong_minima.cost[0]
    )
    right_minima = search_minima.rank_minima(fit_target, right_starts, weights)
    assert search_minima.with_best_start(fit_target, right_minima, wrong_starts, weights) is right_minima


def simulated_target(positions, **options):
    """Return the target of the curve of a particle without noise."""
    g = simulated_pdfs_numpy.cluster_pdf(positions * simulated_pdfs_numpy.BOND, R, qmin=0.8)
    span = target.table_range(rmax=16.0, qmax=18.0, diameter=20.0)
    settings = {"qmin": 0.8, "qmax": 18.0, "qdamp": 0.03, "qbroad": 0.0, "bond": simulated_pdfs_numpy.BOND}
    return target.make_target(R, g, target.TargetSettings(**settings, span=span, **options))


def fitted_clusters(family_names, rw, *, source="library", invalid_rows=()):
    """Return random clusters of given families with given Rw, in this order. The stretch of each is its row."""
    rng = np.random.default_rng(0)
    clusters = [Cluster(name, "random", rng.normal(size=(6 + row, 3))) for row, name in enumerate(family_names)]
    group = CandidateGroup(
        source, library.from_clusters(clusters), np.arange(len(clusters)), dict.fromkeys(invalid_rows, "broken")
    )
    n_fits = len(clusters)
    ones = np.ones(n_fits)
    values = FitValues(ones, np.arange(n_fits) + 0.0, ones, ones, ones, ones, ones, 0 * ones)
    fits = Fit(values, np.ones((n_fits, 1)), np.ones((n_fits, 1, 1)), np.array(rw), ones > 0, np.ones((n_fits, 1)) < 0)
    return FittedCandidates(pdf_candidates.candidate_pool([group]), fits)


@pytest.mark.parametrize(
    ("rw", "invalid_rows", "expected_rows"),
    [
        ((0.2, 0.3, 0.25, 0.4, 0.39, np.nan), (), {"stack": 0, "bcc": 1, "icosahedron": 4}),
        ((0.2, 0.41, 0.25, 0.4, np.nan, 0.39), (), {"stack": 0, "decahedron": 5, "sc": 3}),
        ((0.2, 0.41, 0.25, 0.401, np.nan, np.nan), (), {"stack": 0}),
        ((0.1, 0.3, 0.25, 0.49, 0.51, np.nan), (0,), {"stack": 2, "bcc": 1, "sc": 3}),
        ((0.7, 1.29, 0.8, 1.31, np.nan, np.nan), (), {"stack": 0, "bcc": 1}),
    ],
)
def test_the_packings_of_the_best_candidates_are_searched(rw, invalid_rows, expected_rows):
    """Up to three packings are searched, whose best Rw is at most twice the smallest and at most 0.6 larger."""
    fitted = fitted_clusters(("fcc", "bcc", "hcp", "sc", "icosahedron", "decahedron"), rw, invalid_rows=invalid_rows)
    best_by_packing = search_starts.best_by_packing(fitted, None)  # without a relaxation, the data are not used
    assert {packing: int(start.values.stretch) for packing, start in best_by_packing.items()} == expected_rows
    assert all(start.relaxation_curve is None for start in best_by_packing.values())
    assert list(best_by_packing) == list(expected_rows)
    assert [start.n_atoms for start in best_by_packing.values()] == [6 + row for row in expected_rows.values()]


def test_the_misfit_of_a_particle_is_that_of_its_pairs_in_bins():
    rng = np.random.default_rng(1)
    positions, curves_of_pairs, data = rng.normal(size=(9, 3)), rng.normal(size=(40, 7)), rng.normal(size=7)
    model = np.zeros(7)
    for i in range(9):
        for j in range(i):
            distance_bin = min(round(np.linalg.norm(positions[i] - positions[j]) / 0.1), 39)
            model += curves_of_pairs[distance_bin] / 9
    for sign in (1, -1):
        free_misfit, absolute_misfit = (
            search_starts._particle_misfit(positions, curves_of_pairs.astype(np.float32), 0.1, sign * data, absolute)
            for absolute in (False, True)
        )
        scale = max(sign * model @ data, 0) / (model @ model)
        assert free_misfit == pytest.approx(np.sum((sign * data - scale * model) ** 2), rel=1e-4)
        assert absolute_misfit == pytest.approx(np.sum((sign * data - model) ** 2), rel=1e-4)


def test_the_curves_of_pairs_give_the_curve_of_a_particle(particle):
    fit_target = simulated_target(particle)
    data = np.asarray(fit_target.basis.data, float)
    pair_curves, bin_width = search_starts._grid_pair_curves(fit_target, VALUES)
    assert bin_width * (len(pair_curves) - 2) >= fit_target.span.max_distance / simulated_pdfs_numpy.BOND - 1e-6
    misfit = search_starts._particle_misfit(particle, pair_curves, bin_width, data, True)
    assert misfit < 1e-3 * (data @ data)
    stack_curves = search_starts._stack_pair_curves(fit_target, VALUES)
    distance_index = np.rint(3 * pdist(particle) ** 2).astype(int)
    model = stack_curves[distance_index].astype(float).sum(axis=0) / len(particle)
    assert np.sum((data - model) ** 2) < 1e-3 * (data @ data)


def test_a_particle_keeps_its_atoms_in_the_middle_of_a_larger_lattice(particle):
    lattice = lattice_sites.nearest_sites("c" * 64, np.array([0.13, 0.21, 0.37]), 200)
    start = search_starts.LatticeParticle(lattice, search_starts.occupied_sites_of(lattice, particle), VALUES)
    for n_atoms, n_sites in ((128, 256), (129, 512), (5000, 3584)):
        (recentred_start,) = site_search._recentre_lattices([start], n_atoms)
        assert len(recentred_start.lattice.positions) == n_sites
        positions = recentred_start.lattice.positions[recentred_start.occupied_sites]
        np.testing.assert_allclose(positions.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(np.sort(pdist(positions)), np.sort(pdist(particle)), atol=1e-6)
    graphs, occupation, values = site_search._batch_starts([recentred_start], 3)
    assert occupation.shape == (3, 3584) and values.uiso.tolist() == [np.float32(0.008)] * 3
    assert len(graphs.positions) == 3 and (occupation.sum(axis=1) == len(particle)).all()


def test_random_starts_have_their_numbers_of_atoms_and_are_sorted_by_misfit(particle):
    """Half of the starts have a number of atoms from the classifier, and the others one near the given number."""
    fit_target = simulated_target(particle)
    level = SearchLevel(100, 4, 6, 1, 1)  # 20 shapes for 60 atoms
    starts = search_starts.packing_starts(
        fit_target, "bcc", PackingStart(60, VALUES), level, np.random.default_rng(0), atom_count_draws=np.full(5, 90)
    )
    atom_counts = [int(start.occupied_sites.sum()) for start in starts]
    assert len(starts) == 20 and atom_counts.count(90) == 10
    assert all(54 <= n_atoms <= 66 for n_atoms in atom_counts if n_atoms != 90) and len(set(atom_counts)) > 4
    misfits = [start.misfit for start in starts]
    assert misfits == sorted(misfits) and {len(start.occupied_sites) for start in starts} == {234}
    pair_curves, bin_width = search_starts._grid_pair_curves(fit_target, VALUES)
    positions = starts[3].lattice.positions[starts[3].occupied_sites]
    assert misfits[3] == pytest.approx(
        search_starts._particle_misfit(positions, pair_curves, bin_width, np.asarray(fit_target.basis.data), False)
    )
    few_starts = search_starts.packing_starts(
        fit_target, "sc", PackingStart(500, VALUES), SearchLevel(2, 4, 6, 1, 1), np.random.default_rng(0)
    )
    assert len(few_starts) == 2 and all(450 <= start.occupied_sites.sum() <= 550 for start in few_starts)


@pytest.mark.parametrize(("letter", "sequence"), [("h", "h" * 64), ("c", "c" * 64)])
def test_starts_on_stacks_have_the_stacking_of_the_data(letter, sequence):
    """The particle is a sphere about a point between atoms, and its layers are compared in all sequences."""
    sphere = lattices.points_within(lattices.stack(sequence, reach=5) - np.array([0.2, 0.1, 0.15]), 2.3)
    fit_target = simulated_target(sphere)
    starts = search_starts.packing_starts(
        fit_target, "stack", PackingStart(len(sphere), VALUES), SearchLevel(3, 24, 30, 1, 1), np.random.default_rng(0)
    )
    assert len(starts) == 3
    best_start = starts[0]
    positions = best_start.lattice.positions[best_start.occupied_sites]
    _, layer_positions = stacking.shifted_layers(positions + best_start.lattice.origin)
    assert set(stacking.StackingSequence(layer_positions, 0.0).letters) == {letter}
    data = np.asarray(fit_target.basis.data, float)
    assert best_start.misfit < 0.15 * (data @ data)


@pytest.mark.parametrize(
    ("effective_points", "absolute", "expected"),
    [(60.0, False, (56.0, 0.3)), (11.9, True, (8.0, 0.0)), (12.1, True, (8.1, 0.0))],
)
def test_four_points_are_used_up_by_the_fitted_values(particle, effective_points, absolute, expected):
    weights = site_search._site_weights(simulated_target(particle, absolute=absolute), effective_points, 0.5)
    assert float(weights.n_effective) == pytest.approx(expected[0]) and float(weights.shape_weight) == 0.5
    assert float(weights.log_scale_sigma) == pytest.approx(expected[1])


def test_the_best_listed_clusters_of_each_packing_are_starts(fcc_library):
    """Draws of a network and faulty clusters are left out."""
    n_clusters = len(fcc_library.atoms)
    fits = fitted_clusters(["fcc"] * n_clusters, np.linspace(0.1, 0.5, n_clusters)).fits
    level = SearchLevel(3, 4, 6, 1, 1)
    for source, invalid_rows, first_stretches in (
        ("library", {}, [0, 1, 2]),
        ("file", {1: "x"}, [0, 2, 3]),
        ("network", {}, []),
    ):
        group = CandidateGroup(source, fcc_library, np.arange(n_clusters), invalid_rows)
        fitted = FittedCandidates(pdf_candidates.candidate_pool([group]), fits)
        best_by_packing = {name: PackingStart(50, VALUES) for name in ("stack", "bcc")}
        starts = search_starts.library_starts(fitted, None, best_by_packing, level)
        assert [start.values.stretch for start in starts] == first_stretches
    assert search_starts.library_starts(fitted, None, {"bcc": PackingStart(50, VALUES)}, level) == []
