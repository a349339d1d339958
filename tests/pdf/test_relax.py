import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import fcc_shapes
from jaxstruc.clusters.cluster import MIN_ATOM_DISTANCE
from jaxstruc.clusters.distances import distances
from jaxstruc.pdf import relax
from jaxstruc.pdf import target as targets
from jaxstruc.pdf.fit import FitValues, misfit
from jaxstruc.scattering import cluster_tables, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.pair_distribution import Grid

BOND = 2.78
SPAN = targets.table_range(rmax=15.0, qmax=22.0, diameter=14.0)
VALUES = FitValues(*(jnp.asarray(x) for x in (1.0, 1.01, 0.006, 0.0, 2.0, 0.03, 0.0)))


@pytest.fixture(scope="module")
def truth():
    """Return the positions of an fcc cluster, in Å."""
    return fcc_shapes.fcc_cluster((2, 3, 2)).positions * BOND


def make_target(positions, *, noise=0.0):
    """Return the target of positions in Å, computed with the Debye equation and relative noise."""
    grid = Grid(qmin=1.0, qmax=22.0, qstep=0.035, rmin=1.5, rmax=15.0, rstep=0.05)
    pairs = pair_distribution.pair_distances_from_positions(
        jnp.asarray(positions, jnp.float32), np.ones(len(positions), bool), grid
    )
    instrument = Instrument(uiso=0.006, delta2=2.0, stretch=1.01, qdamp=0.03)
    g = np.asarray(
        pair_distribution.pdf(pairs, form_factors.UNIT_COEFFICIENTS, np.array([len(positions)]), instrument, grid),
        float,
    )
    g = g + noise * g.std() * np.random.default_rng(1).normal(size=g.shape)
    return targets.make_target(
        grid.r, g, targets.TargetSettings(qmin=1.0, qmax=22.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN)
    )


@pytest.fixture(scope="module")
def target(truth):
    """Return the target of the truth without noise."""
    return make_target(truth)


@pytest.fixture(scope="module")
def start(truth):
    """Return the truth with random displacements of 0.05 Å in each coordinate."""
    rng = np.random.default_rng(0)
    return jnp.asarray(truth + 0.05 * rng.normal(size=truth.shape), jnp.float32)


def rms_distance_error(positions, truth):
    """Return the root mean square error of the distances, in Å."""
    deviation = pdist(np.asarray(positions, float)) - pdist(truth)
    return np.sqrt(np.mean(deviation**2))


def test_displaced_atoms_come_nearer_to_the_truth(truth, target, start):
    loose_relaxation = relax.relax(start, VALUES, target.basis, restraint=0.1)
    tight_relaxation = relax.relax(start, VALUES, target.basis, restraint=1e-3)
    assert rms_distance_error(start, truth) > 0.05
    assert rms_distance_error(loose_relaxation.positions, truth) < 0.8 * rms_distance_error(start, truth)
    assert float(loose_relaxation.rw) < 0.5 * float(tight_relaxation.rw)
    rms_displacement = np.sqrt(
        np.mean(np.sum((np.asarray(loose_relaxation.positions) - np.asarray(start)) ** 2, axis=1))
    )
    assert (
        float(loose_relaxation.rms_displacement) == pytest.approx(rms_displacement, rel=1e-4)
        and 0.02 < rms_displacement < 0.2
    )


def test_a_tiny_restraint_keeps_the_atoms(target, start):
    relaxation = relax.relax(start, VALUES, target.basis, restraint=1e-3)
    assert 0 < float(relaxation.rms_displacement) < 0.01
    assert float(jnp.abs(relaxation.positions - start).max()) < 0.02


def test_the_truth_stays_where_it_is(truth, target):
    """Only the error of the tables and rounding errors remain to be fitted."""
    relaxation = relax.relax(jnp.asarray(truth, jnp.float32), VALUES, target.basis, restraint=0.1)
    assert float(relaxation.rw) < 5e-3
    assert rms_distance_error(relaxation.positions, truth) < 0.01


def test_atoms_too_close_are_pushed_apart(truth):
    """The data are those of the same atoms with strong noise, so they would not move the atoms."""
    first_atom, second_atom = 0, int(np.argmin(np.linalg.norm(truth[1:] - truth[0], axis=1))) + 1
    close_positions = truth.copy()
    close_positions[second_atom] = close_positions[first_atom] + 1.9 / BOND * (truth[second_atom] - truth[first_atom])
    relaxed_positions = relax.relax(
        jnp.asarray(close_positions, jnp.float32), VALUES, make_target(close_positions, noise=3.0).basis, restraint=0.3
    ).positions
    distance = np.linalg.norm(np.asarray(relaxed_positions[first_atom] - relaxed_positions[second_atom]))
    assert np.linalg.norm(close_positions[first_atom] - close_positions[second_atom]) == pytest.approx(1.9)
    assert 2.2 < distance < MIN_ATOM_DISTANCE * BOND + 0.05


def test_two_close_atoms_meet_the_penalty_half_way(target):
    """Data that no model explains have no influence: x² / ρ² + 100 (s - 2x)² is least at x = s / 4 for ρ = 0.05 Å."""
    basis = dataclasses.replace(target.basis, unmodelled_squares=1e6 * target.basis.norm)
    minimum_distance = MIN_ATOM_DISTANCE * BOND
    close_positions = jnp.array([[0.0, 0, 0], [minimum_distance - 0.4, 0, 0]])
    relaxation = relax.relax(close_positions, VALUES, basis, restraint=0.05)
    assert float(pdist(relaxation.positions)[0]) == pytest.approx(minimum_distance - 0.2, abs=0.01)
    assert float(relaxation.rms_displacement) == pytest.approx(0.1, abs=0.005)


def test_the_descent_ends_at_the_minimum():
    """The cost is quadratic with curvatures from 1 to 1000. The remaining decrease is below the tolerance."""
    curvature = jnp.logspace(0, 3, 30).reshape(10, 3)
    minimum = jnp.asarray(np.random.default_rng(0).normal(size=(10, 3)), jnp.float32)

    def cost(moves):
        return 0.5 * jnp.sum(curvature * (moves - minimum) ** 2)

    assert float(cost(jnp.zeros((10, 3)))) > 100
    assert float(cost(relax._minimize(cost, jnp.zeros((10, 3))))) < relax.COST_TOLERANCE


def change_last_bits(x, dtype, seed):
    """Return values with random changes of their last bits."""
    x = np.asarray(x, dtype)
    return x * (1 + np.finfo(dtype).eps * np.random.default_rng(seed).integers(-4, 5, x.shape)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(4))
def test_the_truth_stays_if_the_last_bits_of_its_coordinates_change(truth, target, dtype, seed):
    """Displacements can only reduce the misfit of the start, which is at most the error of the tables."""
    with jax.enable_x64(dtype == np.float64):
        start_positions = jnp.asarray(change_last_bits(truth, dtype, seed))
        relaxation = relax.relax(start_positions, VALUES, target.basis, restraint=0.1)
        assert relaxation.positions.dtype == dtype and np.isfinite(relaxation.positions).all()
        start_rw = rw_without_moves(start_positions, target)
        rounding = target.basis.q.size * np.finfo(np.float32).eps  # rounding error of the model's sum over Q
        assert float(relaxation.rw) <= start_rw + rounding < 5e-3
        assert rms_distance_error(relaxation.positions, truth) < 0.01


def rw_without_moves(positions, target):
    """Return the Rw of the coordinates without displacements."""
    cluster_table = cluster_tables.tabulate_distances(
        distances(positions), jnp.ones(len(positions), positions.dtype), target.basis.bond, span=SPAN
    )
    return float(jnp.sqrt(misfit(cluster_table, VALUES, target.basis) / target.basis.norm))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
def test_a_cost_whose_falls_are_rounding_moves_nothing_far(dtype, seed):
    """The cost is a quadratic plus 1e6, so differences below the rounding error of 1e6 cannot guide the descent."""
    epsilon = float(np.finfo(dtype).eps)
    with jax.enable_x64(dtype == np.float64):
        start_moves = jnp.asarray(epsilon * np.random.default_rng(seed).normal(size=(10, 3)), dtype)

        def cost(moves):
            return 1e6 + 0.5 * jnp.sum(moves**2)

        final_moves = relax._minimize(cost, start_moves)
        assert np.isfinite(final_moves).all() and float(cost(final_moves)) <= float(cost(start_moves)) * (1 + epsilon)
        assert 0.5 * float(jnp.sum(final_moves**2)) <= 4 * epsilon * 1e6


@pytest.mark.parametrize("seed", range(4))
def test_no_point_is_returned_that_costs_more_than_the_start(seed):
    """The cost has regions without curvature, and it is NaN beyond a wall."""
    start_moves = jnp.asarray(3 * np.random.default_rng(seed).normal(size=(10, 3)), jnp.float32)

    def cost(moves):
        oscillation = jnp.sum(jnp.cos(3 * moves)) + 0.01 * jnp.sum(moves**2)
        return jnp.where(jnp.max(jnp.abs(moves)) < 12.0, oscillation, jnp.nan)

    final_moves = relax._minimize(cost, start_moves)
    assert np.isfinite(final_moves).all() and float(cost(final_moves)) < float(cost(start_moves))


def test_a_start_without_a_number_is_returned_as_it_is():
    start_moves = jnp.ones((10, 3))
    assert np.array_equal(relax._minimize(lambda moves: jnp.sum(moves) * jnp.nan, start_moves), start_moves)


def test_pairs_without_curvature_leave_the_step_to_the_other_pairs():
    """A pair of a quadratic gives Newton's step along the pair. Pairs without positive curvature have no effect."""
    memory = relax._without_flat_pairs(optax.scale_by_lbfgs())
    first_point, curvature = jnp.zeros((1, 2)), jnp.array([[4.0, 1.0]])
    state = memory.init(first_point)
    _, state = memory.update(jnp.array([[-4.0, 0.0]]), state, first_point)
    second_point = jnp.array([[0.5, 0.0]])
    newton_step, state = memory.update(curvature * (second_point - 1.0) * jnp.array([[1.0, 0.0]]), state, second_point)
    assert float(newton_step[0, 0]) == pytest.approx(-0.5, rel=1e-5)
    for gradient in ([[-2.0 - 1e-9, 0.0]], [[-3.0, 0.0]], [[-2.0, 0.0]]):
        repeated_step, _ = memory.update(jnp.array(gradient), state, second_point + jnp.array([[0.1, 0.0]]))
        assert float(repeated_step[0, 0]) == pytest.approx(gradient[0][0] / 4, rel=1e-5)
