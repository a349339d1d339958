import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Icosahedron, Octahedron
from jax.test_util import check_grads
from scipy.spatial.distance import cdist, pdist

from jaxstruc.structures import distances
from jaxstruc.structures.library import WIDTH


def test_distances_are_those_of_ase(x64):
    atoms = Icosahedron("Au", 2)
    ours = distances.distances(jnp.asarray(atoms.positions))
    np.testing.assert_allclose(ours, atoms.get_all_distances(), atol=1e-12)


def test_distances_to_other_points_are_those_of_scipy(x64):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(4, 3))
    np.testing.assert_allclose(distances.distances(jnp.asarray(a), jnp.asarray(b)), cdist(a, b), rtol=1e-12)


def test_coincident_atoms_have_a_finite_gradient():
    positions = jnp.array([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    gradient = jax.grad(lambda x: distances.distances(x).sum())(positions)
    assert np.isfinite(gradient).all()
    assert gradient[2, 0] == pytest.approx(4.0)


def test_the_gradient_is_zero_where_points_coincide_and_right_elsewhere(x64):
    alone = jax.grad(lambda x: distances.distances(x).sum())(jnp.ones((3, 3)))
    np.testing.assert_array_equal(alone, 0.0)
    apart = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)))
    check_grads(lambda x: jnp.sum(distances.distances(x) ** 3), (apart,), order=1, modes=["rev", "fwd"])


def test_a_position_that_is_no_number_makes_its_distances_none():
    """And leaves those between the others alone."""
    positions = jnp.asarray(np.random.default_rng(2).normal(size=(4, 3)), jnp.float32).at[1, 2].set(jnp.nan)
    found = np.asarray(distances.distances(positions))
    hit = np.zeros((4, 4), bool)
    hit[1] = hit[:, 1] = True
    np.testing.assert_array_equal(np.isnan(found), hit)


def test_a_root_is_zero_of_what_is_not_positive_and_nan_of_nan():
    x = jnp.array([4.0, 0.0, -1e-9, jnp.nan])
    np.testing.assert_array_equal(distances.root(x), [2, 0, 0, np.nan])
    np.testing.assert_array_equal(jax.grad(lambda y: distances.root(y)[:3].sum())(x)[:3], [0.25, 0, 0])


@pytest.mark.parametrize("atoms", [2, 40, 300])
def test_a_histogram_keeps_pairs_distances_and_squares(atoms):
    positions = np.random.default_rng(atoms).normal(size=(atoms, 3)) * 2
    each = pdist(positions)
    found = distances.histogram(positions, width=WIDTH)
    weight, mean, variance = (x.astype(float) for x in found[:3])
    assert found.atoms == atoms and weight.sum() == atoms * (atoms - 1)
    assert (weight * mean).sum() == pytest.approx(2 * each.sum(), rel=1e-6)
    assert (weight * (variance + mean**2)).sum() == pytest.approx(2 * (each**2).sum(), rel=1e-6)
    assert mean[-1] == pytest.approx(each.max(), abs=WIDTH) and (np.diff(mean) > 0).all()
    assert variance.max() <= WIDTH**2 / 4 + 1e-9 and variance.min() >= 0


def test_a_histogram_gives_the_waves_of_the_exact_sum():
    positions = Icosahedron("Au", 4, latticeconstant=np.sqrt(2)).positions
    weight, mean, variance = (x.astype(float) for x in distances.histogram(positions, width=WIDTH)[:3])
    q = np.linspace(0.5, 55, 60)[:, None]  # 20 1/Å at bonds of 2.75 Å
    exact = 2 * (np.sin(q * pdist(positions)) / pdist(positions)).sum(axis=1)
    ours = (weight * np.exp(-(q**2) * variance / 2) * np.sin(q * mean) / mean).sum(axis=1)
    assert abs(ours - exact).max() < 2e-3 * abs(exact).max()


def test_whole_numbers_of_bonds_fall_into_one_bin():
    found = distances.histogram(Octahedron("Au", 5, latticeconstant=np.sqrt(2)).positions, width=WIDTH)
    for length in (1, 2, 3, 4):
        near = abs(found.mean - length) < WIDTH / 2
        assert near.sum() == 1 and found.variance[near] < 1e-9


def disordered():
    """Return the positions of 43 atoms in Å, and their distances and weights as pairs."""
    positions = np.random.default_rng(3).normal(size=(43, 3)) * 3
    return positions, jnp.asarray(pdist(positions)), jnp.full(43 * 21, 2.0)


def test_pairs_gathered_under_jit_are_the_histogram_of_the_host(x64):
    positions, distance, weight = disordered()
    gathered = jax.jit(distances.gathered, static_argnames=("width", "longest"))
    traced = gathered(distance, weight, 43.0, width=0.06, longest=30.0)
    filled = np.asarray(traced.weight) > 0
    some = distances.Histogram(*(column[filled] for column in traced[:3]), traced.atoms)
    assert some.variance.max() > 1e-5
    chex.assert_trees_all_close(some, distances.histogram(positions, width=0.06), rtol=1e-6, atol=1e-7)


def test_gathered_pairs_longer_than_asked_are_left_out_and_fractions_count_in_part(x64):
    _, distance, weight = disordered()
    short = distances.gathered(distance, 0.25 * weight, jnp.array(43.0), width=0.06, longest=6.0)
    expected = 0.5 * np.sum(np.asarray(distance) < 6.0)
    assert float(short.weight.sum()) == pytest.approx(expected)
    assert float(short.mean.max()) < 6.0


def test_gathered_means_move_with_their_distances(x64):
    """The sum of weighted means is that of the distances, so its gradient is each weight."""
    _, distance, weight = disordered()

    @jax.jit
    @jax.grad
    def slope(distance):
        bins = distances.gathered(distance, weight, jnp.array(43.0), width=0.06, longest=30.0)
        return jnp.sum(bins.weight * bins.mean)

    np.testing.assert_allclose(slope(distance), weight, rtol=1e-12)


def test_distinct_distances_count_all_pairs_and_have_no_spread():
    positions = Octahedron("Au", 3, latticeconstant=np.sqrt(2)).positions
    found = distances.distinct(positions)
    squares = np.round(pdist(positions) ** 2).astype(int)
    values, counts = np.unique(squares, return_counts=True)
    np.testing.assert_allclose(found.mean**2, values, atol=1e-5)
    np.testing.assert_array_equal(found.weight, 2 * counts)
    assert found.atoms == 19 and not found.variance.any() and found.mean.dtype == np.float64


@pytest.mark.parametrize("atoms", [7, 8])
def test_pairs_come_once_each(atoms):
    """Against SciPy's list, with an atom absent, for even and odd numbers."""
    x = np.random.default_rng(0).normal(size=(atoms, 3))
    mask = np.arange(atoms) != 2
    distance, weight = map(np.asarray, distances.pairs(jnp.asarray(x), jnp.asarray(mask)))
    assert weight.sum() == len(pdist(x[mask]))
    order = np.argsort(distance[weight > 0])
    listed = np.repeat(np.sort(pdist(x[mask])), 2)
    counted = np.repeat(distance[weight > 0][order], np.rint(2 * weight[weight > 0][order]).astype(int))
    np.testing.assert_allclose(counted, listed, rtol=1e-5)
