import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from simulated_pdfs_numpy import BOND, cluster_pdf, fcc_sphere

from jaxstruc.clusters import families, library
from jaxstruc.pdf import candidates, screening, target
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.fit import FitValues

R = np.arange(1.5, 20.001, 0.05)
SPAN = target.table_range(rmax=20.0, qmax=18.0, diameter=24.0)


@pytest.fixture(scope="module")
def small_library():
    """Return a library of octahedra, icosahedra, decahedra and cubes of 13 to 120 atoms."""
    cluster_iterators = (families.octahedra(38, 120), families.icosahedra(13, 120), families.decahedra(50, 104))
    cubic_iterators = (families.sc_clusters(20, 60), families.bcc_clusters(20, 60))
    return library.collect(
        itertools.chain(*(itertools.islice(iterator, 20) for iterator in (*cluster_iterators, *cubic_iterators)))
    )


def make_target(positions, *, background=0, **conditions):
    g = cluster_pdf(positions, R, rng=np.random.default_rng(0), **conditions)
    settings = {"qmin": conditions.get("qmin", 1.0), "qmax": 18.0, "qdamp": 0.03, "qbroad": 0.0}
    return target.make_target(
        R, g, target.TargetSettings(**settings, bond=BOND, span=SPAN, n_background_terms=background, lowest_qmin=0.3)
    )


def make_bins(cluster_library, rows=None):
    return screening.binned_distances(
        cluster_library, np.arange(len(cluster_library.atoms)) if rows is None else rows, bond=BOND, span=SPAN
    )


@pytest.mark.parametrize("sphere_diameter", [15.0, 20.0, 26.0])
def test_the_diameter_of_spheres_is_estimated(sphere_diameter):
    positions = fcc_sphere(sphere_diameter)
    r = np.arange(0, 40, 0.02)
    g = cluster_pdf(positions, r, noise=0.05, rng=np.random.default_rng(0))
    diameter, is_covered, _ = screening.diameter_estimate(r, g, bond=BOND, qdamp=0.03)
    assert diameter == pytest.approx(pdist(positions).max(), rel=0.15)
    assert is_covered


def test_data_that_end_before_the_particle_are_flagged():
    r = np.arange(0, 20, 0.02)
    g = cluster_pdf(fcc_sphere(30.0), r, noise=0.05, rng=np.random.default_rng(0))
    diameter, is_covered, _ = screening.diameter_estimate(r, g, bond=BOND, qdamp=0.03)
    assert diameter > 18 and not is_covered


def test_bins_keep_number_mean_and_spread_of_the_distances(small_library):
    """Distances are counted up to the end of the span. The last one may exceed it by half a bin."""
    rows = np.array([3, 0, 11])
    weights = np.asarray(make_bins(small_library, rows).pairs_per_atom, float)
    assert weights.shape[0] == screening.CHUNK_SIZE and not weights[3:].any()
    bin_distance = np.arange(weights.shape[1]) * library.BIN_WIDTH
    for bin_weights, row in zip(weights, rows, strict=False):
        pair_distances = pdist(
            small_library.positions[small_library.atom_starts[row] : small_library.atom_starts[row + 1]].astype(float)
        )
        assert bin_weights.sum() == pytest.approx(2 * len(pair_distances) / small_library.atoms[row], rel=1e-5)
        assert bin_weights @ bin_distance == pytest.approx(
            2 * pair_distances.sum() / small_library.atoms[row], rel=1e-5
        )
        assert bin_weights @ bin_distance**2 == pytest.approx(
            2 * (pair_distances**2).sum() / small_library.atoms[row], rel=1e-5
        )


@pytest.mark.parametrize(("uiso", "stretch", "delta2"), [(0.005, 1.0, 0.5), (0.012, 0.985, 2.0), (0.022, 1.02, 4.0)])
def test_the_rough_misfit_is_near_that_of_the_fits_and_orders_like_it(small_library, uiso, stretch, delta2):
    row = int(np.flatnonzero(small_library.families == "decahedron")[5])
    positions = library.candidate_cluster(small_library, row).positions * BOND * stretch
    fit_target = make_target(positions, noise=0.1, uiso=uiso, delta2=delta2)
    rough_rw = screening.approximate_rw(make_bins(small_library), fit_target.basis)
    pool = candidates.candidate_pool([CandidateGroup("library", small_library, np.arange(len(small_library.atoms)))])
    rw = candidates.fit_all(pool, fit_target).rw
    assert int(rw.argmin()) == row and np.argsort(rough_rw).tolist().index(row) < 3
    assert np.all(rough_rw > rw - 0.02) and np.median(rough_rw - rw) < 0.1
    is_among_best = rw < np.sort(rw)[8]
    assert np.corrcoef(rough_rw, rw)[0, 1] > 0.9 and np.all(np.argsort(np.argsort(rough_rw))[is_among_best] < 24)


def test_a_background_is_left_out_of_both(small_library):
    positions = library.candidate_cluster(small_library, 7).positions * BOND
    fit_target = make_target(positions, background=3)
    lifted_g = fit_target.g + 0.3 * np.cos(np.pi * (R - R[0]) / (R[-1] - R[0]))
    lifted_target = target.make_target(
        R,
        lifted_g,
        target.TargetSettings(
            qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN, n_background_terms=3, lowest_qmin=0.3
        ),
    )
    plain_misfits, lifted_misfits = (
        screening.approximate_rw(make_bins(small_library), tested_target.basis)
        for tested_target in (fit_target, lifted_target)
    )
    scale = np.sqrt(float(lifted_target.basis.norm) / float(fit_target.basis.norm))
    np.testing.assert_allclose(plain_misfits, lifted_misfits * scale, atol=0.01)


def test_excluded_low_q_curves_hide_an_unknown_qmin(small_library):
    """The data start at Q = 1.4 1/Å and the model at 0.3 1/Å. Without the curves of Q between, the misfit is small."""
    row = int(np.flatnonzero(small_library.families == "octahedron")[2])
    fit_target = make_target(library.candidate_cluster(small_library, row).positions * BOND, qmin=1.4)
    wrong_target = target.replace_settings(fit_target, qmin=0.3)
    low_q_curves = target.low_q_curves(wrong_target, q_start=0.3, q_end=1.8)
    np.testing.assert_allclose(low_q_curves.T @ low_q_curves, np.eye(low_q_curves.shape[1]), atol=1e-9)
    bins = make_bins(small_library)
    full_misfits, reduced_misfits = (
        screening.approximate_rw(bins, wrong_target.basis),
        screening.approximate_rw(bins, wrong_target.basis, excluded_curves=low_q_curves),
    )
    assert full_misfits[row] > 0.3 and reduced_misfits[row] < 0.08 and int(reduced_misfits.argmin()) == row


def test_the_smallest_misfits_are_selected_in_the_librarys_order(small_library):
    rows = np.arange(len(small_library.atoms))[::-2]
    misfits = np.random.default_rng(0).uniform(size=len(rows))
    selected_rows = screening.best_rows(make_bins(small_library, rows), misfits, count=5)
    assert selected_rows.tolist() == sorted(rows[np.argsort(misfits)[:5]].tolist())


def sphere_decay(r, diameter, qdamp):
    """Return the squared envelope of G(r) of a sphere."""
    gamma = np.where(r < diameter, 1 - 1.5 * r / diameter + 0.5 * (r / diameter) ** 3, 0.0)
    return (gamma * np.exp(-0.5 * (r * qdamp) ** 2)) ** 2


@pytest.mark.parametrize("qdamp", [0.0, 0.06])
@pytest.mark.parametrize(("noise_level", "tolerance"), [(0.0, 0.5), (0.003, 1.0)])
def test_the_diameter_of_an_exact_envelope_is_found_under_its_damping(qdamp, noise_level, tolerance):
    """The signal ends where the envelope falls below the noise."""
    r = np.arange(0.5, 30.0, 0.02)
    decay = sphere_decay(r, 19.0, qdamp)
    estimate = screening.diameter_estimate(r, 7 * np.sqrt(decay + noise_level), bond=2.8, qdamp=qdamp)
    assert estimate.diameter == pytest.approx(19.0, abs=tolerance) and estimate.data_cover_particle
    if noise_level:
        assert estimate.signal_end == pytest.approx(r[decay > noise_level][-1], abs=1.5)
    else:
        assert estimate.signal_end > 16


@pytest.mark.parametrize(("rmax", "is_covered"), [(22.5, True), (19.9, False)])
def test_data_that_end_two_angstrom_beyond_the_particle_cover_it(rmax, is_covered):
    r = np.arange(0.5, rmax, 0.02)
    estimate = screening.diameter_estimate(r, np.sqrt(sphere_decay(r, 19.0, 0.03)), bond=2.8, qdamp=0.03)
    assert estimate.diameter == pytest.approx(19.0, abs=0.8) and estimate.data_cover_particle == is_covered


def test_pairs_beyond_the_span_are_left_out(small_library):
    span = target.table_range(rmax=2.0, qmax=18.0, diameter=40.0)
    rows = np.array([5, 2])
    bins = screening.binned_distances(small_library, rows, bond=BOND, span=span)
    for bin_weights, row in zip(np.asarray(bins.pairs_per_atom, float), rows, strict=False):
        positions = library.candidate_cluster(small_library, int(row)).positions
        n_pairs = np.sum(pdist(positions) * BOND < span.max_distance)
        assert bin_weights.sum() == pytest.approx(2 * n_pairs / len(positions), rel=0.02)
    assert bins.rows.tolist() == [5, 2] and bins.pairs_per_atom.shape[1] % 16 == 0
    assert bins.pairs_per_atom.shape[1] * library.BIN_WIDTH * BOND > span.max_distance


def test_selected_candidates_keep_their_histograms(small_library):
    bins = make_bins(small_library, np.array([9, 4, 11, 2, 7]))
    selected_bins = screening.select_candidates(bins, np.array([2, 4, 7, 30]))
    assert selected_bins.rows.tolist() == [4, 2, 7]
    np.testing.assert_array_equal(selected_bins.pairs_per_atom[:3], bins.pairs_per_atom[np.array([1, 3, 4])])
    assert len(selected_bins.pairs_per_atom) == screening.CHUNK_SIZE


def model_values(**changes):
    values = {"scale": 1.0, "stretch": 1.01, "uiso": 0.008, "delta1": 0.0, "delta2": 2.0, "qdamp": 0.03, "qbroad": 0.0}
    return FitValues(**values | changes)


def test_one_step_from_values_near_the_truth_leaves_little_misfit(small_library):
    """Without noise the misfit after the step is of second order in the distance from the truth."""
    row = int(np.flatnonzero(small_library.families == "octahedron")[3])
    positions = library.candidate_cluster(small_library, row).positions * BOND * 1.01
    fit_target = make_target(positions, uiso=0.008, delta2=2.0)
    bins = make_bins(small_library, np.array([row, 0, 1]))
    for changes, limit in (
        ({}, 0.01), ({"stretch": 1.012}, 0.02), ({"uiso": 0.009}, 0.01), ({"delta2": 1.7}, 0.01),
        ({"scale": 0.2, "qdamp": 0.05}, 0.01),
    ):  # fmt: skip
        rw = screening.gauss_newton_rw(bins, fit_target.basis, model_values(**changes))
        assert rw.shape == (3,) and rw[0] < limit and rw[1:].min() > 0.2, changes
    far_rw = screening.gauss_newton_rw(bins, fit_target.basis, model_values(stretch=1.04))[0]
    assert far_rw > 0.2  # the step in stretch is at most 0.012
    noisy_target = make_target(positions, uiso=0.008, delta2=2.0, noise=0.3)
    noisy_rw = screening.gauss_newton_rw(bins, noisy_target.basis, model_values())[0]
    noise = noisy_target.g - fit_target.g
    assert noisy_rw == pytest.approx(np.linalg.norm(noise) / np.linalg.norm(noisy_target.g), rel=0.05)


def test_an_absolute_scale_is_not_fitted_in_the_approximate_misfit(small_library):
    """Data of half the height have half the model as their residual."""
    row = int(np.flatnonzero(small_library.families == "octahedron")[3])
    positions = library.candidate_cluster(small_library, row).positions * BOND
    free_target = make_target(positions, uiso=0.006, delta2=1.9)
    settings = target.TargetSettings(
        qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN, absolute=True, lowest_qmin=0.3
    )
    bins = make_bins(small_library, np.array([row]))
    for factor in (1.0, 0.5, 2.0):
        absolute_target = target.make_target(R, factor * free_target.g, settings)
        (rw,) = screening.gauss_newton_rw(
            bins, absolute_target.basis, model_values(stretch=1.0, uiso=0.006, delta2=1.9)
        )
        if factor == 1.0:
            assert rw < 0.02
        elif factor == 2.0:
            assert 0.3 < rw <= 0.51
        else:
            assert 0.4 < rw <= 1.02
