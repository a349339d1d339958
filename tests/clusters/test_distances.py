import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Icosahedron, Octahedron
from jax.test_util import check_grads
from scipy.spatial.distance import cdist, pdist

from jaxstruc.clusters import distances
from jaxstruc.clusters.library import BIN_WIDTH

distance_sum_gradient = jax.jit(jax.grad(lambda x: distances.distances(x).sum()))


def test_distances_are_those_of_ase(x64):
    atoms = Icosahedron("Au", 2)
    distance_matrix = distances.distances(jnp.asarray(atoms.positions))
    np.testing.assert_allclose(distance_matrix, atoms.get_all_distances(), atol=1e-12)


def test_distances_to_other_points_are_those_of_scipy(x64):
    rng = np.random.default_rng(0)
    points, other_points = rng.normal(size=(7, 3)), rng.normal(size=(4, 3))
    np.testing.assert_allclose(
        distances.distances(jnp.asarray(points), jnp.asarray(other_points)), cdist(points, other_points), rtol=1e-12
    )


def test_coincident_atoms_have_a_finite_gradient():
    positions = jnp.array([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    gradient = distance_sum_gradient(positions)
    assert np.isfinite(gradient).all()
    assert gradient[2, 0] == pytest.approx(4.0)


def test_the_gradient_is_zero_where_points_coincide_and_right_elsewhere(x64):
    coincident_gradient = distance_sum_gradient(jnp.ones((3, 3)))
    np.testing.assert_array_equal(coincident_gradient, 0.0)
    positions = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)))
    check_grads(jax.jit(lambda x: jnp.sum(distances.distances(x) ** 3)), (positions,), order=1, modes=["rev", "fwd"])


def test_a_position_that_is_nan_makes_its_distances_nan():
    """The distances between the other points are unchanged."""
    positions = jnp.asarray(np.random.default_rng(2).normal(size=(4, 3)), jnp.float32).at[1, 2].set(jnp.nan)
    distance_matrix = np.asarray(distances.distances(positions))
    is_nan = np.zeros((4, 4), bool)
    is_nan[1] = is_nan[:, 1] = True
    np.testing.assert_array_equal(np.isnan(distance_matrix), is_nan)


def test_a_root_is_zero_of_what_is_not_positive_and_nan_of_nan():
    squares = jnp.array([4.0, 0.0, -1e-9, jnp.nan])
    np.testing.assert_array_equal(distances.safe_sqrt(squares), [2, 0, 0, np.nan])
    np.testing.assert_array_equal(
        jax.grad(lambda argument: distances.safe_sqrt(argument)[:3].sum())(squares)[:3], [0.25, 0, 0]
    )


@pytest.mark.parametrize("atoms", [2, 40, 300])
def test_a_histogram_keeps_pairs_distances_and_squares(atoms):
    positions = np.random.default_rng(atoms).normal(size=(atoms, 3)) * 2
    distance_list = pdist(positions)
    histogram = distances.histogram(positions, width=BIN_WIDTH)
    weight, mean, variance = (column.astype(float) for column in histogram[:3])
    assert histogram.atoms == atoms and weight.sum() == atoms * (atoms - 1)
    assert (weight * mean).sum() == pytest.approx(2 * distance_list.sum(), rel=1e-6)
    assert (weight * (variance + mean**2)).sum() == pytest.approx(2 * (distance_list**2).sum(), rel=1e-6)
    assert mean[-1] == pytest.approx(distance_list.max(), abs=BIN_WIDTH) and (np.diff(mean) > 0).all()
    assert variance.max() <= BIN_WIDTH**2 / 4 + 1e-9 and variance.min() >= 0


def test_a_histogram_gives_the_debye_sum_of_all_pairs():
    positions = Icosahedron("Au", 4, latticeconstant=np.sqrt(2)).positions
    weight, mean, variance = (column.astype(float) for column in distances.histogram(positions, width=BIN_WIDTH)[:3])
    q = np.linspace(0.5, 55, 60)[:, None]  # 20 1/Å at bonds of 2.75 Å
    exact_sum = 2 * (np.sin(q * pdist(positions)) / pdist(positions)).sum(axis=1)
    histogram_sum = (weight * np.exp(-(q**2) * variance / 2) * np.sin(q * mean) / mean).sum(axis=1)
    assert abs(histogram_sum - exact_sum).max() < 2e-3 * abs(exact_sum).max()


def test_whole_numbers_of_bonds_fall_into_one_bin():
    histogram = distances.histogram(Octahedron("Au", 5, latticeconstant=np.sqrt(2)).positions, width=BIN_WIDTH)
    for length in (1, 2, 3, 4):
        in_bin = abs(histogram.mean - length) < BIN_WIDTH / 2
        assert in_bin.sum() == 1 and histogram.variance[in_bin] < 1e-9


traced_histogram = jax.jit(distances.traced_histogram, static_argnames=("width", "max_distance"))


def disordered():
    """Return the positions of 43 atoms in Å, and their distances and weights as pairs."""
    positions = np.random.default_rng(3).normal(size=(43, 3)) * 3
    return positions, jnp.asarray(pdist(positions)), jnp.full(43 * 21, 2.0)


def test_a_histogram_under_jit_is_that_of_the_host(x64):
    positions, distance, weight = disordered()
    histogram = traced_histogram(distance, weight, 43.0, width=0.06, max_distance=30.0)
    is_filled = np.asarray(histogram.weight) > 0
    filled_histogram = distances.Histogram(
        *(np.asarray(column)[is_filled] for column in histogram[:3]), histogram.atoms
    )
    assert filled_histogram.variance.max() > 1e-5
    chex.assert_trees_all_close(filled_histogram, distances.histogram(positions, width=0.06), rtol=1e-6, atol=1e-7)


def test_pairs_longer_than_the_histogram_are_left_out_and_fractions_count_in_part(x64):
    _, distance, weight = disordered()
    short_histogram = traced_histogram(distance, 0.25 * weight, 43.0, width=0.06, max_distance=6.0)
    expected_weight = 0.5 * np.sum(np.asarray(distance) < 6.0)
    assert float(short_histogram.weight.sum()) == pytest.approx(expected_weight)
    assert float(short_histogram.mean.max()) < 6.0


def test_means_of_bins_move_with_their_distances(x64):
    """The sum of the weighted means is the weighted sum of the distances, so that its gradient is the weights."""
    _, distance, weight = disordered()

    @jax.jit
    @jax.grad
    def slope(distance):
        histogram = distances.traced_histogram(distance, weight, jnp.array(43.0), width=0.06, max_distance=30.0)
        return jnp.sum(histogram.weight * histogram.mean)

    np.testing.assert_allclose(slope(distance), weight, rtol=1e-12)


def test_distinct_distances_count_all_pairs_and_have_no_spread():
    positions = Octahedron("Au", 3, latticeconstant=np.sqrt(2)).positions
    histogram = distances.distinct_distances(positions)
    squared_distances = np.round(pdist(positions) ** 2).astype(int)
    distinct_squares, counts = np.unique(squared_distances, return_counts=True)
    np.testing.assert_allclose(histogram.mean**2, distinct_squares, atol=1e-5)
    np.testing.assert_array_equal(histogram.weight, 2 * counts)
    assert histogram.atoms == 19 and not histogram.variance.any() and histogram.mean.dtype == np.float64


@pytest.mark.parametrize("atoms", [7, 8])
def test_pairs_come_once_each(atoms):
    """The pairs equal SciPy's, with one atom absent, for even and odd numbers of atoms."""
    positions = np.random.default_rng(0).normal(size=(atoms, 3))
    mask = np.arange(atoms) != 2
    distance, weight = map(np.asarray, jax.jit(distances.pair_distances)(jnp.asarray(positions), jnp.asarray(mask)))
    assert weight.sum() == len(pdist(positions[mask]))
    order = np.argsort(distance[weight > 0])
    repeated_distances = np.repeat(np.sort(pdist(positions[mask])), 2)
    weighted_distances = np.repeat(distance[weight > 0][order], np.rint(2 * weight[weight > 0][order]).astype(int))
    np.testing.assert_allclose(weighted_distances, repeated_distances, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_longest_distance_is_that_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    cluster = Octahedron("Au", 6, cutoff=seed).positions + 0.1 * rng.normal(size=3)
    for positions in (cluster, cluster * [1.0, 0.4, 0.1], rng.normal(size=(3, 3)), rng.normal(size=(2, 3))):
        assert distances.longest_distance(np.asarray(positions)) == pytest.approx(pdist(positions).max(), rel=1e-12)
    assert distances.longest_distance(np.ones((1, 3))) == 0
