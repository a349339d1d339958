import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from simulated_pdfs_numpy import BOND, cluster_pdf, fcc_sphere

from jaxstruc import statistics
from jaxstruc.clusters import families, library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.distances import distances
from jaxstruc.pdf import candidates, posterior, target
from jaxstruc.pdf import fit as fits
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.fit import misfit
from jaxstruc.scattering import cluster_tables

R = np.arange(1.5, 14.001, 0.05)
LIMITS = {"qmin": 1.0, "qmax": 18.0}
SPAN = target.table_range(rmax=14.0, qmax=18.0, diameter=20.0)


def make_pool(cluster_library, rows=None):
    return candidates.candidate_pool(
        [CandidateGroup("library", cluster_library, np.arange(len(cluster_library.atoms)) if rows is None else rows)]
    )


def make_target(g):
    return target.make_target(R, g, target.TargetSettings(**LIMITS, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN))


@pytest.fixture(scope="module", autouse=True)
def _small_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "BATCH_SIZE", 8)
        patch.setattr(candidates, "TABLE_BATCH_SIZE", 8)
        yield


@pytest.fixture(scope="module")
def small_library():
    """Return a library of octahedra, icosahedra and decahedra of 38 to 120 atoms."""
    cluster_iterators = (families.octahedra(38, 120), families.icosahedra(55, 56), families.decahedra(50, 104))
    return library.collect(itertools.chain(*(itertools.islice(iterator, 7) for iterator in cluster_iterators)))


def middle_decahedron(cluster_library):
    """Return the row of a decahedron of middle size in a library."""
    rows = np.flatnonzero(cluster_library.families == "decahedron")
    return rows[len(rows) // 2]


def test_the_true_cluster_is_ranked_first_and_files_share_a_compilation(small_library):
    true_row = middle_decahedron(small_library)
    positions = (
        small_library.positions[small_library.atom_starts[true_row] : small_library.atom_starts[true_row + 1]]
        * BOND
        * 1.02
    )
    g = 0.6 * cluster_pdf(positions, R, noise=0.1, rng=np.random.default_rng(0))
    rows, progress_calls = np.arange(len(small_library.atoms)), []
    fit = candidates.fit_all(
        make_pool(small_library), make_target(g), progress=lambda *args: progress_calls.append(args)
    )
    assert len(rows) > 16 and progress_calls == [(8, len(rows)), (16, len(rows)), (len(rows), len(rows))]
    assert fit.rw.shape == rows.shape and np.argmin(fit.rw) == true_row and fit.converged[true_row]
    assert fit.rw[true_row] < 0.15 and np.median(fit.rw) > 2 * fit.rw[true_row]
    assert fit.values.stretch[true_row] == pytest.approx(1.02, abs=2e-3)
    assert fit.values.scale[true_row] == pytest.approx(0.6, rel=0.05)
    n_compiled = candidates._refine_all._cache_size()
    second_fit = candidates.fit_all(make_pool(small_library, rows[:3]), make_target(2 * g))
    assert candidates._refine_all._cache_size() == n_compiled
    np.testing.assert_allclose(second_fit.rw, fit.rw[:3], rtol=1e-3)
    np.testing.assert_allclose(second_fit.values.scale, 2 * fit.values.scale[:3], rtol=5e-3)


def test_a_candidate_of_the_library_fits_as_its_distance_matrix_does(small_library):
    """The library has bins of 0.02 bond lengths with means and variances; the matrix is counted in bins of 0.05 Å."""
    index = middle_decahedron(small_library)
    target = make_target(cluster_pdf(fcc_sphere(13.0), R))
    fit = candidates.fit_all(make_pool(small_library, np.array([index])), target)
    positions = jnp.asarray(library.candidate_cluster(small_library, index).positions * BOND, jnp.float32)
    values = jax.tree.map(lambda column: jnp.asarray(column[0]), fit.values)

    @jax.jit
    def rw_of_matrix(positions, values):
        presence = jnp.ones(len(positions))
        cluster_table = cluster_tables.tabulate_distances(distances(positions), presence, BOND, span=SPAN)
        return jnp.sqrt(misfit(cluster_table, values, target.basis) / target.basis.norm)

    assert float(fit.rw[0]) > 0.05
    assert float(rw_of_matrix(positions, values)) == pytest.approx(float(fit.rw[0]), abs=2e-3)


def test_no_pair_within_the_span_is_lost(small_library):
    rows = np.arange(len(small_library.atoms))
    entries = [(small_library, int(index)) for index in rows]
    histograms = library.scaled_histograms(entries, bond=BOND, max_distance=SPAN.max_distance)
    assert SPAN.max_distance > small_library.diameter.max() * BOND
    np.testing.assert_allclose(
        histograms.weight.sum(axis=1), small_library.atoms * (small_library.atoms - 1.0), rtol=1e-6
    )
    short_span = target.table_range(rmax=4.0, qmax=18.0, diameter=20.0)
    short_histograms = library.scaled_histograms(entries, bond=BOND, max_distance=short_span.max_distance)
    n_pairs = [
        np.sum(pdist(library.candidate_cluster(small_library, index).positions) * BOND < short_span.max_distance)
        for index in rows
    ]
    np.testing.assert_allclose(short_histograms.weight.sum(axis=1), 2 * np.array(n_pairs), rtol=0.02)


def test_no_pair_of_a_disordered_cluster_is_lost():
    """The distances of the cluster fill every bin; the element has a short bond length and the data extend far."""
    rng = np.random.default_rng(0)
    positions = 12 * rng.uniform(size=(300, 3))
    disordered_library = library.collect([Cluster("user", "drawn", positions)])
    span = target.table_range(rmax=50.0, qmax=18.0, diameter=100.0)
    histograms = library.scaled_histograms([(disordered_library, 0)], bond=2.5, max_distance=span.max_distance)
    assert float(histograms.weight.sum()) == pytest.approx(300 * 299)


def test_the_truth_lies_in_the_90_percent_set_about_as_often_as_it_says():
    """The candidates are similar decahedra. In 40 draws, strong noise makes their fits almost equally good."""
    decahedra = list(families.decahedra(70, 100))
    true_positions = decahedra[0].positions * BOND
    ideal_pdf = cluster_pdf(true_positions, R)
    misfits = [
        np.linalg.norm(cluster_pdf(cluster.positions * BOND, R) - ideal_pdf) / np.linalg.norm(ideal_pdf)
        for cluster in decahedra
    ]
    similar_library = library.collect(decahedra[index] for index in np.argsort(misfits, kind="stable")[:6])
    true_row = int(np.flatnonzero(similar_library.labels == decahedra[0].label)[0])
    rng = np.random.default_rng(1)
    contains_truth, set_sizes = [], []
    for _ in range(40):
        g = cluster_pdf(true_positions, R, noise=0.8, rng=rng)
        target = make_target(g)
        fit = candidates.fit_all(make_pool(similar_library), target)
        best_row = int(np.argmin(fit.rw))
        cluster_tables = candidates.cluster_tables(make_pool(similar_library, np.array([best_row])), target)
        best_fit = jax.tree.map(lambda column, best_row=best_row: column[best_row : best_row + 1], fit)
        fitted_pdf, _ = fits.fitted_curves(best_fit, cluster_tables, target)
        effective_points = statistics.effective_points(g - fitted_pdf[0], target.n_independent)
        in_set = statistics.credible_set(posterior.weights(fit.rw, effective_points, 4))
        contains_truth.append(in_set[true_row])
        set_sizes.append(in_set.sum())
    assert 0.75 <= np.mean(contains_truth) <= 1.0
    assert 1 < np.mean(set_sizes) < 6


def test_candidates_of_several_sources_are_one_list_and_fitted_as_alone(small_library):
    """The candidates come from two libraries with different clusters, in mixed order."""
    target = make_target(cluster_pdf(fcc_sphere(13.0), R))
    joint_pool = candidates.candidate_pool(
        [
            CandidateGroup("library", small_library, np.arange(4, 7)),
            CandidateGroup("file", small_library, np.array([1]), {0: "odd"}),
        ]
    )
    selected_pool = joint_pool.select(np.array([3, 1]))
    assert selected_pool.is_invalid.tolist() == [True, False]
    np.testing.assert_array_equal(selected_pool.families, small_library.families[[1, 5]])
    np.testing.assert_array_equal(selected_pool.diameter, small_library.diameter[[1, 5]])
    assert selected_pool.entry(1)[1] == 5 and selected_pool.groups[selected_pool.group_index[0]].source == "file"
    joint_fit, single_fit = (
        candidates.fit_all(selected_pool, target),
        candidates.fit_all(make_pool(small_library, np.array([1, 5])), target),
    )
    np.testing.assert_array_equal(joint_fit.rw, single_fit.rw)
