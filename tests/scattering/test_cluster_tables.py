from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.clusters import fcc_shapes
from jaxstruc.clusters.distances import distances, distinct_distances
from jaxstruc.scattering import cluster_tables, debye
from jaxstruc.scattering.debye import Instrument

BOND = 2.78
TABLE_RANGE = cluster_tables.TableRange(max_distance=20.0, qmax=30.0)
Q = np.linspace(0.8, 26.0, 300)


@pytest.fixture(scope="module")
def distance_matrix():
    """Return the distance matrix of 55 displaced atoms."""
    positions = fcc_shapes.fcc_cluster((2, 4, 2)).positions * BOND
    rattled_positions = positions + np.random.default_rng(0).normal(size=positions.shape) * 0.05
    return distances(jnp.asarray(rattled_positions, jnp.float32))


tabulate_distances = jax.jit(partial(cluster_tables.tabulate_distances, span=TABLE_RANGE))
reduced_structure_function = jax.jit(cluster_tables.reduced_structure_function)


@pytest.mark.parametrize(
    "values",
    [
        {"uiso": 0.01},
        {"uiso": 0.01, "delta2": 4.0, "stretch": 1.04},
        {"uiso": 0.03, "delta2": 5.0, "stretch": 0.93, "qbroad": 0.03},
        {"uiso": 0.008, "delta1": 1.5, "stretch": 1.1},
    ],
)
def test_a_cluster_table_gives_the_exact_structure_function(distance_matrix, values):
    """The interpolation of the variances and the bins of 0.05 Å cause errors below 2e-3 of the maximum."""
    instrument = Instrument(**values)
    exact_curve = jax.jit(debye.reduced_structure_function)(
        debye.pairs_from_distances(distance_matrix, jnp.ones(55)),
        instrument,
        jnp.ones((1, Q.size)),
        jnp.full(1, 55.0),
        Q,
    )
    table_curve = reduced_structure_function(
        tabulate_distances(distance_matrix, jnp.ones(55), BOND), instrument, jnp.asarray(Q)
    )
    assert float(jnp.abs(table_curve - exact_curve).max()) < 2e-3 * float(jnp.abs(exact_curve).max())


def test_a_table_of_a_histogram_is_that_of_its_distances(x64):
    """The distances of a perfect cluster are equal within each bin, so that the histogram keeps them exactly."""
    positions = fcc_shapes.fcc_cluster((2, 4, 2)).positions * BOND
    histogram_table = cluster_tables.tabulate_cluster(distinct_distances(positions), BOND, span=TABLE_RANGE)
    distance_table = tabulate_distances(distances(jnp.asarray(positions)), jnp.ones(55), BOND)
    instrument = Instrument(uiso=0.01, delta2=4.0, stretch=1.02)
    histogram_curve, distance_curve = (
        reduced_structure_function(cluster_table, instrument, jnp.asarray(Q))
        for cluster_table in (histogram_table, distance_table)
    )
    np.testing.assert_allclose(histogram_curve, distance_curve, atol=2e-3 * float(jnp.abs(histogram_curve).max()))
    assert histogram_table.span == TABLE_RANGE and float(histogram_table.bond) == BOND


def test_derivatives_are_those_of_finite_differences(distance_matrix, x64):
    cluster_table = tabulate_distances(jnp.asarray(distance_matrix, jnp.float64), jnp.ones(55), BOND)
    q = jnp.asarray(Q)

    @jax.jit
    def f(stretch, uiso, delta2, qbroad):
        instrument = Instrument(uiso=uiso, delta2=delta2, stretch=stretch, qbroad=qbroad)
        return cluster_tables.reduced_structure_function(cluster_table, instrument, q)

    arguments = (1.01, 0.01, 2.0, 0.02)
    pushforward = jax.jit(lambda tangent: jax.jvp(f, arguments, tangent)[1])
    for argument_index, step in enumerate((1e-5, 1e-6, 1e-4, 1e-5)):
        tangent = [float(argument_index == index) for index in range(4)]
        slope = pushforward(tuple(tangent))
        shifted_curves = [
            f(*(argument + sign * step * component for argument, component in zip(arguments, tangent, strict=True)))
            for sign in (1, -1)
        ]
        difference = (shifted_curves[0] - shifted_curves[1]) / (2 * step)
        assert float(jnp.abs(slope).max()) > 1e-3
        np.testing.assert_allclose(slope, difference, atol=1e-4 * float(jnp.abs(slope).max()))
    q_gradient = jax.jit(
        jax.grad(lambda q: jnp.sum(reduced_structure_function(cluster_table, Instrument(uiso=0.01), q)))
    )(q)
    shifted_curves = [
        reduced_structure_function(cluster_table, Instrument(uiso=0.01), q + sign * 1e-5) for sign in (1, -1)
    ]
    np.testing.assert_allclose(
        q_gradient, (shifted_curves[0] - shifted_curves[1]) / 2e-5, atol=1e-4 * float(jnp.abs(q_gradient).max())
    )


def test_distances_beyond_the_table_range_are_left_out_and_nan_is_kept():
    far_distances = jnp.zeros((3, 3)).at[0, 1].set(3.0).at[1, 0].set(3.0).at[:2, 2].set(50.0).at[2, :2].set(50.0)
    near_table = tabulate_distances(far_distances, jnp.array([1.0, 1.0, 0.0]), BOND)
    full_table = tabulate_distances(far_distances, jnp.ones(3), BOND)
    np.testing.assert_allclose(full_table.shell_functions * 3, near_table.shell_functions * 2, atol=1e-5)
    broken_table = tabulate_distances(far_distances.at[0, 1].set(jnp.nan), jnp.ones(3), BOND)
    assert np.isnan(broken_table.shell_functions).all()
