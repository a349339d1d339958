import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from simulated import BOND, curve, sphere

from jaxstruc import statistics
from jaxstruc.inference import candidates, posterior
from jaxstruc.inference import fit as fits
from jaxstruc.inference import target as targets
from jaxstruc.inference.candidates import Candidates
from jaxstruc.inference.values import misfit
from jaxstruc.scattering import templates
from jaxstruc.structures import families, library
from jaxstruc.structures.atoms import Cluster
from jaxstruc.structures.distances import distances

R = np.arange(1.5, 14.001, 0.05)
LIMITS = {"qmin": 1.0, "qmax": 18.0}
SPAN = targets.span(rmax=14.0, qmax=18.0, diameter=20.0)


def pool(found, rows=None):
    return candidates.pool([Candidates("library", found, np.arange(len(found.atoms)) if rows is None else rows)])


def target(g):
    return targets.target(R, g, **LIMITS, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN)


@pytest.fixture(scope="module", autouse=True)
def _small_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "BATCH", 8)
        patch.setattr(candidates, "FEW", 8)
        yield


@pytest.fixture(scope="module")
def small():
    """Octahedra, icosahedra and decahedra of 38 to 120 atoms."""
    several = (families.octahedra(38, 120), families.icosahedra(55, 56), families.decahedra(50, 104))
    return library.collect(itertools.chain(*(itertools.islice(some, 7) for some in several)))


def decahedron(found):
    """Return the place of a decahedron of middle size in a library."""
    own = np.flatnonzero(found.families == "decahedron")
    return own[len(own) // 2]


def test_the_true_cluster_is_ranked_first_and_files_share_a_compilation(small):
    true = decahedron(small)
    atoms = small.positions[small.starts[true] : small.starts[true + 1]] * BOND * 1.02
    g = 0.6 * curve(atoms, R, noise=0.1, rng=np.random.default_rng(0))
    every, told = np.arange(len(small.atoms)), []
    fit = candidates.fit_all(pool(small), target(g), progress=lambda *x: told.append(x))
    assert len(every) > 16 and told == [(8, len(every)), (16, len(every)), (len(every), len(every))]
    assert fit.rw.shape == every.shape and np.argmin(fit.rw) == true and fit.converged[true]
    assert fit.rw[true] < 0.15 and np.median(fit.rw) > 2 * fit.rw[true]
    assert fit.values.stretch[true] == pytest.approx(1.02, abs=2e-3)
    assert fit.values.scale[true] == pytest.approx(0.6, rel=0.05)
    compiled = candidates._fits._cache_size()
    other = candidates.fit_all(pool(small, every[:3]), target(2 * g))
    assert candidates._fits._cache_size() == compiled
    np.testing.assert_allclose(other.rw, fit.rw[:3], rtol=1e-3)
    np.testing.assert_allclose(other.values.scale, 2 * fit.values.scale[:3], rtol=5e-3)


def test_a_candidate_of_the_library_fits_as_its_distance_matrix_does(small):
    """Bins of 0.02 bonds with their means and variances, beside bins of 0.05 Å from the matrix."""
    index = decahedron(small)
    goal = target(curve(sphere(13.0), R))
    fit = candidates.fit_all(pool(small, np.array([index])), goal)
    atoms = jnp.asarray(library.cluster(small, index).positions * BOND, jnp.float32)
    table = templates.of_distances(distances(atoms), jnp.ones(len(atoms)), BOND, span=SPAN)
    values = jax.tree.map(lambda column: jnp.asarray(column[0]), fit.values)
    other = jnp.sqrt(misfit(table, values, goal.basis) / goal.basis.norm)
    assert float(fit.rw[0]) > 0.05
    assert float(other) == pytest.approx(float(fit.rw[0]), abs=2e-3)


def test_no_pair_within_the_span_is_lost(small):
    every = np.arange(len(small.atoms))
    entries = [(small, int(index)) for index in every]
    found = library.tables(entries, bond=BOND, longest=SPAN.longest)
    assert SPAN.longest > small.diameter.max() * BOND
    np.testing.assert_allclose(found.weight.sum(axis=1), small.atoms * (small.atoms - 1.0), rtol=1e-6)
    short = targets.span(rmax=4.0, qmax=18.0, diameter=20.0)
    near = library.tables(entries, bond=BOND, longest=short.longest)
    inside = [np.sum(pdist(library.cluster(small, index).positions) * BOND < short.longest) for index in every]
    np.testing.assert_allclose(near.weight.sum(axis=1), 2 * np.array(inside), rtol=0.02)


def test_no_pair_of_a_disordered_cluster_is_lost():
    """Its distances fill every bin; the element has a short bond and the data go far."""
    rng = np.random.default_rng(0)
    positions = 12 * rng.uniform(size=(300, 3))
    one = library.collect([Cluster("user", "drawn", positions)])
    span = targets.span(rmax=50.0, qmax=18.0, diameter=100.0)
    found = library.tables([(one, 0)], bond=2.5, longest=span.longest)
    assert float(found.weight.sum()) == pytest.approx(300 * 299)


def test_the_truth_lies_in_the_90_percent_set_about_as_often_as_it_says():
    """Near decahedra, 40 draws of noise so strong that the fits nearly tie."""
    found = list(families.decahedra(70, 100))
    true = found[0].positions * BOND
    ideal = curve(true, R)
    misfits = [np.linalg.norm(curve(one.positions * BOND, R) - ideal) / np.linalg.norm(ideal) for one in found]
    near = library.collect(found[index] for index in np.argsort(misfits, kind="stable")[:6])
    at = int(np.flatnonzero(near.labels == found[0].label)[0])
    rng = np.random.default_rng(1)
    inside, sizes = [], []
    for _ in range(40):
        g = curve(true, R, noise=0.8, rng=rng)
        goal = target(g)
        fit = candidates.fit_all(pool(near), goal)
        best = int(np.argmin(fit.rw))
        tables = candidates.tables(pool(near, np.array([best])), goal)
        first = jax.tree.map(lambda column, best=best: column[best : best + 1], fit)
        fitted, _ = fits.curves(first, tables, goal)
        independent = statistics.effective_points(g - fitted[0], goal.independent)
        chosen = statistics.credible_set(posterior.weights(fit.rw, independent, 4))
        inside.append(chosen[at])
        sizes.append(chosen.sum())
    assert 0.75 <= np.mean(inside) <= 1.0
    assert 1 < np.mean(sizes) < 6


def test_candidates_of_several_sources_are_one_list_and_fitted_as_alone(small):
    """Two libraries with unlike clusters, out of order."""
    goal = target(curve(sphere(13.0), R))
    both = candidates.pool(
        [Candidates("library", small, np.arange(4, 7)), Candidates("file", small, np.array([1]), {0: "odd"})]
    )
    turned = both.chosen(np.array([3, 1]))
    assert turned.faulty.tolist() == [True, False]
    np.testing.assert_array_equal(turned.families, small.families[[1, 5]])
    np.testing.assert_array_equal(turned.diameter, small.diameter[[1, 5]])
    assert turned.entry(1)[1] == 5 and turned.groups[turned.group[0]].source == "file"
    together, alone = candidates.fit_all(turned, goal), candidates.fit_all(pool(small, np.array([1, 5])), goal)
    np.testing.assert_array_equal(together.rw, alone.rw)
