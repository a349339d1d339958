"""Moves of atoms among lattice sites, searches, and Markov chains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import simulated_pdfs_numpy

from jaxstruc.clusters import lattice_sites
from jaxstruc.pdf import site_moves, target
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.site_moves import CostWeights

N_ATOMS, N_SITES = 55, 160
KEY = jax.random.key(0)
INITIAL_STATE, STATE_WITH_COST, FLIP_COST_CHANGES, FLIP_COSTS, BEST_EXCHANGES, APPLY_MOVE = map(
    jax.jit,
    (
        site_moves._initial_state,
        site_moves._state_with_cost,
        site_moves._flip_cost_changes,
        site_moves._flip_costs,
        site_moves._best_exchanges,
        site_moves._apply_move,
    ),
)
"""Compiled steps of a search. Each is one program for all tests, which is quicker than one for each operation."""


def make_target_and_values(positions, *, rmax, qmax, noise):
    """Return the target of a particle's simulated curve, and the values of the simulation."""
    r = np.arange(1.5, rmax, 0.05)
    g = simulated_pdfs_numpy.cluster_pdf(
        positions * simulated_pdfs_numpy.BOND, r, noise=noise, rng=np.random.default_rng(0), qmin=0.8, qmax=qmax
    )
    span = target.table_range(rmax=rmax, qmax=qmax, diameter=40.0)
    fit_target = target.make_target(
        r,
        g,
        target.TargetSettings(qmin=0.8, qmax=qmax, qdamp=0.03, qbroad=0.0, bond=simulated_pdfs_numpy.BOND, span=span),
    )
    ones = jnp.ones(1, jnp.float32)
    return fit_target, FitValues(ones, ones, 0.008 * ones, 0 * ones, 2.0 * ones, 0.03 * ones, 0 * ones, 0 * ones)


@pytest.fixture(scope="module")
def particle_case():
    """Return an fcc particle that is not spherical, its curve with weak noise, and its lattice."""
    lattice = lattice_sites.nearest_sites("c" * 64, np.array([0.1, 0.2, 0.1]), N_SITES)
    scaled_radius = np.linalg.norm(lattice.positions * np.array([1.3, 1.0, 0.8]), axis=1)
    occupied_sites = scaled_radius <= np.sort(scaled_radius)[N_ATOMS - 1]
    return (
        lattice,
        occupied_sites,
        *make_target_and_values(lattice.positions[occupied_sites], rmax=16.0, qmax=18.0, noise=0.01),
    )


def site_weights(spread=0.0, shape=1.0):
    return CostWeights(*(jnp.asarray(value, jnp.float32) for value in (60.0, shape, spread)))


def start_state(particle_case, occupied_sites, weights, *, initial_state=INITIAL_STATE):
    """Return the curves and the state of a particle; by default no parameter is projected out of the curves."""
    lattice, _, fit_target, values = particle_case
    site_graph = jax.tree.map(lambda column: jnp.asarray(column[0]), site_moves.site_graphs([lattice]))
    fit_values = jax.tree.map(lambda column: column[0], values)
    pair_curves, state = initial_state(
        site_graph, jnp.asarray(occupied_sites, jnp.float32), fit_values, fit_target.basis, weights
    )
    return site_graph, pair_curves, state


def recomputed_state(site_graph, pair_curves, state, occupied_sites, basis, weights):
    """Return the state of a particle with fields that are computed again."""
    bin_counts = np.zeros((N_SITES, site_moves.N_DISTANCE_BINS), np.float32)
    for row, bin_indices in zip(bin_counts, np.asarray(pair_curves.curve_index), strict=True):
        np.add.at(row, bin_indices, occupied_sites.astype(np.float32))
    field = jnp.asarray(bin_counts) @ pair_curves.pair_curve
    return STATE_WITH_COST(site_graph, pair_curves, jnp.asarray(occupied_sites, jnp.float32), field, basis, weights)


def test_the_pair_curves_of_a_large_lattice_are_as_exact_as_the_target():
    lattice = lattice_sites.nearest_sites("c" * 64, np.array([0.1, 0.2, 0.1]), 1024)
    occupied_sites = np.linalg.norm(lattice.positions, axis=1) < 3.2
    fit_target, values = make_target_and_values(lattice.positions[occupied_sites], rmax=30.0, qmax=20.0, noise=0.0)
    _, pair_curves, state = start_state((lattice, occupied_sites, fit_target, values), occupied_sites, site_weights())
    residual = pair_curves.data - state.pair_sum / occupied_sites.sum()
    assert float(jnp.sum(residual**2) / fit_target.basis.norm) < 5e-4**2


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_single_moves_cost_what_the_particle_after_them_does(particle_case, spread):
    _lattice, occupied_sites, fit_target, _ = particle_case
    search_weights = site_weights(spread)
    site_graph, pair_curves, state = start_state(particle_case, occupied_sites, search_weights)
    cost, _ = FLIP_COSTS(
        site_graph,
        pair_curves,
        state,
        FLIP_COST_CHANGES(site_graph, state),
        fit_target.basis,
        search_weights,
    )
    possible_sites = np.flatnonzero(np.isfinite(cost))
    assert occupied_sites[possible_sites].any() and not occupied_sites[possible_sites].all()
    for site in possible_sites[:: len(possible_sites) // 8]:
        changed_sites = occupied_sites.copy()
        changed_sites[site] = not changed_sites[site]
        assert float(cost[site]) == pytest.approx(
            float(
                recomputed_state(site_graph, pair_curves, state, changed_sites, fit_target.basis, search_weights).cost
            ),
            abs=0.02,
        )


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_exchanges_cost_what_the_particle_after_them_does(particle_case, spread):
    _lattice, occupied_sites, fit_target, _ = particle_case
    search_weights = site_weights(spread)
    site_graph, pair_curves, state = start_state(particle_case, occupied_sites, search_weights)
    flip_changes = FLIP_COST_CHANGES(site_graph, state)
    flip_costs, _ = FLIP_COSTS(site_graph, pair_curves, state, flip_changes, fit_target.basis, search_weights)
    emptied_sites, filled_sites, cost, _ = BEST_EXCHANGES(
        site_graph, pair_curves, state, flip_costs, flip_changes, fit_target.basis, search_weights
    )
    assert np.isfinite(cost).all()
    for emptied_site, filled_site, exchange_cost in list(zip(emptied_sites, filled_sites, cost, strict=True))[::4]:
        changed_sites = occupied_sites.copy()
        changed_sites[int(emptied_site)], changed_sites[int(filled_site)] = False, True
        state_after = recomputed_state(site_graph, pair_curves, state, changed_sites, fit_target.basis, search_weights)
        assert float(exchange_cost) == pytest.approx(float(state_after.cost), abs=0.02)


def test_fields_after_moves_are_those_computed_anew(particle_case):
    _, occupied_sites, fit_target, _ = particle_case
    site_graph, pair_curves, state = start_state(particle_case, occupied_sites, site_weights())
    emptied_site, filled_site = int(np.flatnonzero(occupied_sites)[-1]), int(np.flatnonzero(~occupied_sites)[0])
    moved_state = APPLY_MOVE(site_graph, pair_curves, state, emptied_site, filled_site)
    changed_sites = occupied_sites.copy()
    changed_sites[emptied_site], changed_sites[filled_site] = False, True
    expected_state = recomputed_state(site_graph, pair_curves, state, changed_sites, fit_target.basis, site_weights())
    for name in ("site_field", "pair_sum", "neighbour_counts", "next_neighbour_counts"):
        assert np.allclose(getattr(moved_state, name), getattr(expected_state, name), atol=2e-4), name


def test_the_shape_cost_is_that_of_the_lattice(particle_case):
    lattice, occupied_sites, _fit_target, _ = particle_case
    costs = [
        float(start_state(particle_case, occupied_sites, site_weights(shape=shape))[2].cost) for shape in (0.0, 1.0)
    ]
    assert costs[1] - costs[0] == pytest.approx(lattice_sites.excess_occupancy_cost(lattice, occupied_sites), abs=0.01)


@pytest.fixture(scope="module")
def search_ends(particle_case):
    lattice, occupied_sites, fit_target, values = particle_case
    wrong_sites = occupied_sites.copy()
    wrong_sites[np.flatnonzero(occupied_sites)[-4:]], wrong_sites[np.flatnonzero(~occupied_sites)[:3]] = False, True
    site_graph, start_occupancy = site_moves.site_graphs([lattice]), wrong_sites[None].astype(np.float32)
    final_states, cache_sizes = [], []
    for steps in (300, 0):
        final_states.append(
            site_moves.search_sites(site_graph, start_occupancy, values, fit_target.basis, site_weights(), KEY, steps)
        )
        cache_sizes.append(site_moves.search_sites._cache_size())
    return wrong_sites, final_states, cache_sizes


def test_a_search_comes_most_of_the_way_from_a_wrong_particle_to_the_right_one(particle_case, search_ends):
    """A search from one start seldom finds the true particle. `experiments/unlisted_particles.py` tests many starts."""
    _, occupied_sites, _, _ = particle_case
    search_end, start_end = search_ends[1]
    true_cost = float(start_state(particle_case, occupied_sites, site_weights())[2].cost)
    assert search_end.cost[0] < start_end.cost[0] + 0.8 * (true_cost - start_end.cost[0])
    assert abs(int(search_end.occupancy[0].sum()) - N_ATOMS) <= 2 and np.array_equal(
        start_end.occupancy[0], search_ends[0]
    )


def test_more_steps_do_not_compile_again(search_ends):
    assert search_ends[2][0] == search_ends[2][1]


def test_a_walk_gives_the_occupancies_of_sites(particle_case):
    lattice, occupied_sites, fit_target, values = particle_case
    draws = site_moves.sample_occupancies(
        site_moves.site_graphs([lattice]),
        occupied_sites[None].astype(np.float32),
        values,
        fit_target.basis,
        site_weights(),
        KEY,
        n_steps=60,
    )
    assert float(draws.time_fractions.sum()) == pytest.approx(1.0, abs=1e-5)
    is_inner = np.linalg.norm(lattice.positions, axis=1) < 1.3
    assert (draws.occupancy[0][is_inner] > 0.99).all() and draws.occupancy[0][~occupied_sites].mean() < 0.1
    assert draws.atom_counts.min() >= N_ATOMS - 3 and draws.atom_counts.max() <= N_ATOMS + 3


def test_small_changes_of_values_cost_next_to_nothing(particle_case):
    """Small changes of the values are projected out of the curves within the uncertainty of the last fit."""
    lattice, occupied_sites, fit_target, values = particle_case

    def cost(uiso, **options):
        changed_values = values._replace(uiso=jnp.full(1, uiso, jnp.float32))
        changed_case = (lattice, occupied_sites, fit_target, changed_values)
        return float(start_state(changed_case, occupied_sites, site_weights(), **options)[2].cost)

    change = cost(0.0084) - cost(0.008)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_moves, "VALUE_SIGMAS", (1e-9, 1e-9, 1e-9))
        certain_state = jax.jit(lambda *arguments: site_moves._initial_state(*arguments))  # traced with the patch
        change_of_certain_values = cost(0.0084, initial_state=certain_state) - cost(0.008, initial_state=certain_state)
    assert abs(change) < 0.3 * abs(change_of_certain_values)


@pytest.mark.parametrize("seed", range(2))
def test_the_truth_of_exact_data_stays_if_the_last_bits_of_the_start_change(exact_case, seed):
    """Any other particle lacks the pairs of an atom, whose contribution is far above the rounding error."""
    lattice, occupied_sites, fit_target, values = exact_case
    bit_changes = 1 - np.finfo(np.float32).eps * np.random.default_rng(seed).integers(0, 5, occupied_sites.shape)
    start_occupancy = (occupied_sites * bit_changes).astype(np.float32)[None]
    search_end, start_end = (
        site_moves.search_sites(
            site_moves.site_graphs([lattice]),
            start_occupancy,
            values,
            fit_target.basis,
            site_weights(shape=0.0),
            KEY,
            steps,
        )
        for steps in (60, 0)
    )
    assert np.array_equal(search_end.occupancy[0], occupied_sites)
    assert np.isfinite(search_end.cost).all() and float(search_end.cost[0]) <= float(start_end.cost[0])


@pytest.fixture(scope="module")
def exact_case(particle_case):
    lattice, occupied_sites, _, _ = particle_case
    return (
        lattice,
        occupied_sites,
        *make_target_and_values(lattice.positions[occupied_sites], rmax=16.0, qmax=18.0, noise=0.0),
    )


def test_no_search_ends_at_a_higher_cost_than_its_start(particle_case):
    lattice, occupied_sites, fit_target, values = particle_case
    for seed in range(2):
        start_sites = occupied_sites ^ (np.random.default_rng(seed).uniform(size=occupied_sites.shape) < 0.1)
        search_and_start = [
            site_moves.search_sites(
                site_moves.site_graphs([lattice]),
                start_sites[None].astype(np.float32),
                values,
                fit_target.basis,
                site_weights(),
                KEY,
                steps,
            )
            for steps in (20, 0)
        ]
        assert (
            float(search_and_start[0].cost[0]) <= float(search_and_start[1].cost[0])
            and np.isfinite(search_and_start[0].cost).all()
        )


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_the_cost_is_misfit_scale_and_shape_written_out(particle_case, spread):
    """The scale is 1 on an absolute scale. Otherwise it is the best one, with a lognormal prior about 1."""
    lattice, occupied_sites, fit_target, _ = particle_case
    n_effective, shape_weight, basis = 60.0, 0.7, fit_target.basis
    _, pair_curves, state = start_state(particle_case, occupied_sites, site_weights(spread, shape_weight))
    curve_index = np.asarray(pair_curves.curve_index)[np.ix_(occupied_sites, occupied_sites)]
    model = 0.5 * np.asarray(pair_curves.pair_curve, float)[curve_index].sum(axis=(0, 1)) / N_ATOMS
    data = np.asarray(pair_curves.data, float)
    scale = model @ data / (model @ model) if spread else 1.0
    squares = np.sum((data - scale * model) ** 2) + float(basis.unmodelled_squares)
    squares += site_moves.MIN_SEARCH_RW**2 * float(basis.norm)
    cost = 0.5 * n_effective * np.log(squares / float(basis.norm))
    cost += 0.5 * (np.log(scale) / spread) ** 2 if spread else 0.0
    cost += shape_weight * lattice_sites.excess_occupancy_cost(lattice, occupied_sites)
    assert float(state.scale) == pytest.approx(scale, rel=1e-4)
    assert float(state.cost) == pytest.approx(cost, abs=0.02)


@pytest.mark.parametrize("n_extra_atoms", [0, 1])
def test_an_atom_is_added_next_to_another_and_the_smallest_particle_loses_none(particle_case, n_extra_atoms):
    lattice, _, fit_target, _ = particle_case
    occupied_sites = np.arange(N_SITES) < site_moves.MIN_ATOMS + n_extra_atoms
    site_graph, pair_curves, state = start_state(particle_case, occupied_sites, site_weights())
    cost, _ = FLIP_COSTS(
        site_graph, pair_curves, state, FLIP_COST_CHANGES(site_graph, state), fit_target.basis, site_weights()
    )
    separations = np.linalg.norm(lattice.positions[:, None] - lattice.positions[occupied_sites], axis=-1)
    has_neighbour = ((separations > 0) & (separations < lattice_sites.NEIGHBOUR_DISTANCE)).any(axis=1)
    is_possible = np.where(occupied_sites, n_extra_atoms > 0, has_neighbour)
    np.testing.assert_array_equal(np.isfinite(cost), is_possible)


def test_the_first_step_of_a_search_is_the_best_of_moves_and_exchanges(particle_case):
    lattice, occupied_sites, fit_target, values = particle_case
    n_exchanges = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        wrong_sites = occupied_sites.copy()
        wrong_sites[rng.choice(np.flatnonzero(occupied_sites)[-20:], 2, replace=False)] = False
        wrong_sites[rng.choice(np.flatnonzero(~occupied_sites)[:20], seed % 3, replace=False)] = True
        site_graph, pair_curves, state = start_state(particle_case, wrong_sites, site_weights())
        flip_changes = FLIP_COST_CHANGES(site_graph, state)
        flip_costs, _ = FLIP_COSTS(site_graph, pair_curves, state, flip_changes, fit_target.basis, site_weights())
        *_, exchange_costs, _ = BEST_EXCHANGES(
            site_graph, pair_curves, state, flip_costs, flip_changes, fit_target.basis, site_weights()
        )
        lowest_costs = float(flip_costs.min()), float(exchange_costs.min())
        search_end = site_moves.search_sites(
            site_moves.site_graphs([lattice]), wrong_sites[None].astype(np.float32), values, fit_target.basis,
            site_weights(), KEY, 1,
        )  # fmt: skip
        assert min(lowest_costs) < float(state.cost)
        assert float(search_end.cost[0]) == pytest.approx(min(lowest_costs), abs=0.02)
        n_changed_sites = np.sum(np.asarray(search_end.occupancy[0]) != wrong_sites)
        assert n_changed_sites == (2 if lowest_costs[1] < lowest_costs[0] else 1)
        n_exchanges += n_changed_sites == 2
    assert 0 < n_exchanges
