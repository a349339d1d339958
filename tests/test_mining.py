import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc import clusters, families, library, mining, observed, refinement, structure, templates

BOND = 2.8
R = np.arange(1.5, 14.001, 0.05)
LIMITS = {"qmin": 1.0, "qmax": 18.0}
SPAN = observed.span(rmax=14.0, qmax=18.0, diameter=20.0)


def curve(positions, r, *, noise=0.0, rng=None, qmin=1.0, qmax=18.0, uiso=0.008, delta2=2.0, qdamp=0.03):
    """Return G(r) of atoms in Å by NumPy in double precision; `noise` on F(Q), relative to its root mean square."""
    bins = library.histogram(positions)
    weight, mean, spread = (column.astype(float) for column in bins)
    variance = 2 * uiso * (1 - delta2 / mean**2) + spread
    q = np.linspace(qmin, qmax, 600)
    f = np.sin(q[:, None] * mean) * np.exp(-0.5 * variance * q[:, None] ** 2) @ (weight / mean) / len(positions)
    if noise:
        f = f + noise * np.sqrt(np.mean(f**2)) * rng.normal(size=q.size)
    share = np.full(q.size, q[1] - q[0])
    share[[0, -1]] /= 2
    return 2 / np.pi * np.sin(r[:, None] * q) @ (share * f) * np.exp(-0.5 * (r * qdamp) ** 2)


def sphere(diameter):
    """Return the atoms of an fcc sphere, in Å."""
    points = clusters.fcc_lattice(12) * np.sqrt(0.5) * BOND
    return points[np.linalg.norm(points - [0.3, 0.2, 0.1], axis=1) < diameter / 2]


def target(g):
    return observed.target(R, g, **LIMITS, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN)


@pytest.fixture(scope="module", autouse=True)
def _small_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mining, "BATCH", 8)
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


@pytest.mark.parametrize("size", [15.0, 20.0, 26.0])
def test_the_diameter_of_spheres_is_seen(size):
    atoms = sphere(size)
    r = np.arange(0, 40, 0.02)
    g = curve(atoms, r, noise=0.05, rng=np.random.default_rng(0))
    found, reached = mining.diameter(r, g, bond=BOND, qdamp=0.03)
    assert found == pytest.approx(pdist(atoms).max(), rel=0.15)
    assert reached


def test_data_that_end_before_the_particle_are_said_to():
    r = np.arange(0, 20, 0.02)
    g = curve(sphere(30.0), r, noise=0.05, rng=np.random.default_rng(0))
    found, reached = mining.diameter(r, g, bond=BOND, qdamp=0.03)
    assert found > 18 and not reached


def test_those_nearest_in_size_are_chosen(small):
    every = np.arange(len(small.atoms))
    for index in every[::4]:
        size = 2.5 * small.diameter[index]
        chosen = mining.choose(small, size, bond=2.5, allowed=every, most=5)
        away = np.abs(np.log(small.diameter / small.diameter[index]))
        assert len(chosen) == 5 and np.all(np.diff(chosen) > 0)
        assert away[chosen].max() <= np.delete(away, chosen).min() + 1e-6
    odd = every[1::2]
    assert set(mining.choose(small, size, bond=2.5, allowed=odd, most=5)) <= set(odd)


def test_the_true_cluster_is_ranked_first_and_files_share_a_compilation(small):
    true = decahedron(small)
    atoms = small.positions[small.starts[true] : small.starts[true + 1]] * BOND * 1.02
    g = 0.6 * curve(atoms, R, noise=0.1, rng=np.random.default_rng(0))
    every, told = np.arange(len(small.atoms)), []
    fit = mining.fit_all(small, every, target(g), bond=BOND, span=SPAN, progress=lambda *x: told.append(x))
    assert len(every) > 16 and told == [(8, len(every)), (16, len(every)), (len(every), len(every))]
    assert fit.rw.shape == every.shape and np.argmin(fit.rw) == true and fit.converged[true]
    assert fit.rw[true] < 0.15 and np.median(fit.rw) > 2 * fit.rw[true]
    assert fit.values.stretch[true] == pytest.approx(1.02, abs=2e-3)
    assert fit.values.scale[true] == pytest.approx(0.6, rel=0.05)
    compiled = mining._fit_batch._cache_size()
    other = mining.fit_all(small, every[:3], target(2 * g), bond=BOND, span=SPAN)
    assert mining._fit_batch._cache_size() == compiled
    np.testing.assert_allclose(other.rw, fit.rw[:3], rtol=1e-3)
    np.testing.assert_allclose(other.values.scale, 2 * fit.values.scale[:3], rtol=5e-3)


def test_a_candidate_of_the_library_fits_as_its_distance_matrix_does(small):
    """Bins of 0.02 bonds with their means and variances, beside bins of 0.05 Å from the matrix."""
    index = decahedron(small)
    goal = target(curve(sphere(13.0), R))
    fit = mining.fit_all(small, np.array([index]), goal, bond=BOND, span=SPAN)
    atoms = jnp.asarray(library.cluster(small, index).positions * BOND, jnp.float32)
    table = templates.of_distances(structure.distances(atoms), jnp.ones(len(atoms)), BOND, span=SPAN)
    values = jax.tree.map(lambda column: jnp.asarray(column[0]), fit.values)
    other = jnp.sqrt(refinement.misfit(table, values, goal, span=SPAN) / goal.norm)
    assert float(fit.rw[0]) > 0.05
    assert float(other) == pytest.approx(float(fit.rw[0]), abs=2e-3)


def test_no_pair_within_the_span_is_lost(small):
    every = np.arange(len(small.atoms))
    found = mining.histograms(small, every, bond=BOND, span=SPAN)
    assert SPAN.longest > small.diameter.max() * BOND
    np.testing.assert_allclose(found.weight.sum(axis=1), small.atoms * (small.atoms - 1.0), rtol=1e-6)
    short = observed.span(rmax=4.0, qmax=18.0, diameter=20.0)
    near = mining.histograms(small, every, bond=BOND, span=short)
    inside = [np.sum(pdist(library.cluster(small, index).positions) * BOND < short.longest) for index in every]
    np.testing.assert_allclose(near.weight.sum(axis=1), 2 * np.array(inside), rtol=0.02)


def test_no_pair_of_a_disordered_cluster_is_lost():
    """Its distances fill every bin; the element has a short bond and the data go far."""
    rng = np.random.default_rng(0)
    positions = 12 * rng.uniform(size=(300, 3))
    one = library.collect([clusters.Cluster("user", "drawn", positions)])
    span = observed.span(rmax=50.0, qmax=18.0, diameter=100.0)
    found = mining.histograms(one, np.array([0]), bond=2.5, span=span)
    assert float(found.weight.sum()) == pytest.approx(300 * 299)


def test_weights_are_relative_likelihoods():
    found = mining.weights(np.array([0.11, 0.10, np.nan, 0.2]), 54.0, 4)
    assert found.sum() == pytest.approx(1) and found[2] == 0 and np.argmax(found) == 1
    assert found[0] / found[1] == pytest.approx(1.1**-50)
    np.testing.assert_allclose(mining.weights(np.array([0.0, 0.3]), 50.0, 4), [1, 0], atol=1e-12)


def test_the_credible_set_is_the_smallest_with_its_share():
    weight = np.array([0.05, 0.5, 0.15, 0.3])
    assert mining.credible(weight).tolist() == [False, True, True, True]
    assert mining.credible(weight, 0.5).tolist() == [False, True, False, False]
    assert mining.credible(weight / 2, 0.7).tolist() == [False, True, False, True]


def test_noise_within_the_band_has_as_many_independent_points_as_the_data():
    """White noise on F(Q) up to qmax; on grids of two steps, since a finer one tells nothing more."""
    rng = np.random.default_rng(0)
    q = np.linspace(0, 22.0, 900)
    for step in (0.01, 0.04):
        r = np.arange(1.5, 20, step)
        most = (r[-1] - r[0]) * 22.0 / np.pi
        noise = rng.normal(size=(20, q.size)) @ np.sin(r[:, None] * q).T
        found = [mining.independent_points(one, most) for one in noise]
        assert np.mean(found) == pytest.approx(most, rel=0.25)
        assert max(found) <= most


def test_a_slow_misfit_counts_for_few_points():
    rng = np.random.default_rng(0)
    r = np.arange(1.5, 20, 0.02)
    slow = np.sin(2 * np.pi * r / 9) + 0.1 * rng.normal(size=r.size)
    assert mining.independent_points(slow, 130.0) < 30
    assert np.isfinite(mining.independent_points(np.zeros(100), 30.0))


def test_the_truth_lies_in_the_90_percent_set_about_as_often_as_it_says():
    """Near decahedra, 40 draws of noise so strong that the fits nearly tie."""
    found = list(families.decahedra(70, 100))
    true = found[0].positions * BOND
    ideal = curve(true, R)
    misfits = [np.linalg.norm(curve(one.positions * BOND, R) - ideal) / np.linalg.norm(ideal) for one in found]
    near = library.collect(found[index] for index in np.argsort(misfits, kind="stable")[:6])
    at = int(np.flatnonzero(near.labels == found[0].label)[0])
    every, rng = np.arange(6), np.random.default_rng(1)
    inside, sizes = [], []
    for _ in range(40):
        g = curve(true, R, noise=0.8, rng=rng)
        goal = target(g)
        fit = mining.fit_all(near, every, goal, bond=BOND, span=SPAN)
        best = int(np.argmin(fit.rw))
        tables = mining.template(near, best, bond=BOND, span=SPAN)
        first = jax.tree.map(lambda column, best=best: column[best : best + 1], fit)
        fitted, _ = refinement.curves(first, tables, goal, R, g, span=SPAN, **LIMITS)
        independent = mining.independent_points(g - fitted[0], float(goal.independent))
        chosen = mining.credible(mining.weights(fit.rw, independent, 4))
        inside.append(chosen[at])
        sizes.append(chosen.sum())
    assert 0.75 <= np.mean(inside) <= 1.0
    assert 1 < np.mean(sizes) < 6
