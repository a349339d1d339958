r"""Search over the occupancies of lattice sites for a particle that explains a measured G(r).

A lattice is a finite set of sites that the atoms of a particle may occupy, e.g. the positions of a bcc crystal about an
origin. Site i has the occupancy $n_i$, which is 1 if an atom occupies it and 0 otherwise. A move fills a site, empties
a site, or exchanges an occupied site with an empty one. A Markov chain over the same occupancies samples the posterior.

G(r) of one element is a sum over pairs of atoms. Let $k_{ij} / N$ be the contribution of an atom pair at the sites i
and j to the G(r) of a particle with N atoms. All curves are expressed in the compact basis of the data (`pdf.target`).
The field of site i is $h_i = \sum_j n_j k_{ij}$, and the sum over all pairs is $y = \frac12 \sum_i n_i h_i$. If site i
is filled or emptied, y changes by $+h_i$ or $-h_i$. If the atom at site i moves to site j, y becomes
$y - h_i + h_j - k_{ij}$. The fields therefore give the effect of every move exactly.

The cost of a particle is the negative logarithm of its posterior. It has three terms. The first is the misfit for noise
of unknown size, $\frac{m}{2} \ln |d - s y / N|^2$, with the data d, the scale s and the effective number of points m.
The second is a prior that keeps s near 1. The third is the shape cost, which is a prior on the shape of the particle.

The shape cost is a sum over sites. The cost of a site is the negative logarithm of the probability of its occupancy,
given its surroundings (`lattice_sites.OccupancyPrior`). The surroundings of a site are its number of occupied
neighbours and its number of occupied next neighbours.

Each step makes the move with the lowest cost, even if the cost rises. A site that was changed may not be changed again
for some steps, because the search would otherwise return to the state it came from (tabu search; F. Glover, ORSA J.
Comput. 1, 190 (1989), doi 10.1287/ijoc.1.3.190).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree

from jaxstruc.clusters import lattice_sites
from jaxstruc.clusters.distances import distances
from jaxstruc.clusters.lattice_sites import LatticeSites
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.target import FitBasis
from jaxstruc.scattering import debye

N_DISTANCE_BINS = 2816
"""Number of bins of the distances between sites. The last bin contains pairs that are too far apart, and the pairs of
each site with itself."""
MIN_BIN_WIDTH = 0.0045
"""Smallest width of a distance bin, in units of the bond length."""
MIN_BOND_LENGTH = 2.2
"""Smallest nearest-neighbour distance in Å for which the bins cover all distances in the range of the data."""
N_EXCHANGE_SITES, N_EXCHANGES = 48, 16
"""Number of best sites to empty, and also number of best sites to fill, between which all exchanges are compared
approximately; number of best exchanges whose cost is then computed exactly."""
VALUE_SIGMAS = (0.005, 0.3, 0.06)
"""Prior standard deviations of stretch, Uiso (relative) and delta2 (in squared bond lengths) about the values of the
last fit."""
TABU_STEPS = (3, 10)
"""Range of the random number of steps for which a changed site may not be changed again. The upper end is excluded."""
MIN_SEARCH_RW = 3e-4
"""Rw that the rounding of distances to bins causes. It is added in quadrature to the Rw of each particle."""
MIN_ATOMS = 6
"""Smallest number of atoms of a particle."""
MAX_NEIGHBOURS = 14
"""Largest number of neighbours, and of next neighbours, that are stored for a site."""
N_COORDINATION_NUMBERS = 15
"""Number of values (0 to 14) that are distinguished for the number of occupied neighbours and of occupied next
neighbours of a site. Larger numbers are treated as 14."""


class SiteGraph(NamedTuple):
    """Sites of a lattice and their neighbours, as arrays for a search. Several lattices have a leading axis."""

    positions: Float[Array | np.ndarray, "*batch site 3"]
    """Positions of the sites, in units of the bond length."""
    neighbours: Int[Array | np.ndarray, "*batch site neighbour"]
    """Indices of the neighbours of each site. Unused entries contain the number of sites."""
    next_neighbours: Int[Array | np.ndarray, "*batch site neighbour"]
    """Indices of the next neighbours of each site. Unused entries contain the number of sites."""
    surroundings_cost: Float[Array | np.ndarray, "*batch surroundings"]
    """Cost of a site for each occupancy and surroundings, flattened from [occupancy, number of occupied neighbours,
    number of occupied next neighbours]."""
    typical_cost: Float[Array | np.ndarray, "*batch 2"]
    """Factor a and exponent b in $a N^b$, which is the typical sum of the site costs of a library cluster with N
    atoms."""


class _PairCurves(NamedTuple):
    """Curves of all pairs of sites, and the data.

    The effects of small changes of stretch, Uiso and delta2 are projected out of the curves and of the data.
    """

    curve_index: Int[Array, "site site"]
    """Index of the distance bin of each pair of sites."""
    is_neighbour: Bool[Array, " bin"]
    """Whether the distance of the bin is that of neighbours or next neighbours."""
    pair_curve: Float[Array, "bin basis"]
    """Curve of a pair of atoms at the distance of each bin, times the number of atoms."""
    data: Float[Array, " basis"]
    """Coefficients of the data in the basis."""


class CostWeights(NamedTuple):
    """Weights of the terms of the cost function."""

    n_effective: Float[Array, ""]
    """Effective number of data points, minus the number of fitted parameters."""
    shape_weight: Float[Array, ""]
    """Factor on the shape cost."""
    log_scale_sigma: Float[Array, ""]
    """Prior standard deviation of the logarithm of the scale; 0 if the data are on an absolute scale."""


class BestSearchState(NamedTuple):
    """Best state (particle) that a search visited. Several searches have a leading axis."""

    occupancy: Bool[Array, "*batch site"]
    """Whether each site is occupied."""
    cost: Float[Array, "*batch"]
    """Cost of the state."""
    scale: Float[Array, "*batch"]
    """Scale of the state."""


class OccupancyDraws(NamedTuple):
    """States of a Markov chain that samples the posterior."""

    occupancy: Float[Array, "*batch site"]
    """Posterior probability that each site is occupied."""
    atom_counts: Float[Array, "*batch step"]
    """Number of atoms of each state."""
    time_fractions: Float[Array, "*batch step"]
    """Posterior weight of each state. The weights of a chain sum to 1."""


class _SearchState(NamedTuple):
    """A particle during a search, with its fields and its cost."""

    occupancy: Float[Array, " site"]
    """Occupancy of each site, 1 or 0."""
    site_field: Float[Array, "site basis"]
    """Field $h_i$ of each site."""
    pair_sum: Float[Array, " basis"]
    """Sum y over all pairs of atoms."""
    neighbour_counts: Float[Array, " site"]
    """Number of occupied neighbours of each site."""
    next_neighbour_counts: Float[Array, " site"]
    """Number of occupied next neighbours of each site."""
    cost: Float[Array, ""]
    scale: Float[Array, ""]


def site_graphs(lattices: Sequence[LatticeSites]) -> SiteGraph:
    """Return the sites and neighbours of lattices as arrays, with a leading axis of lattices.

    Args:
        lattices: One or more lattices with equal numbers of sites.
    """
    return jax.tree.map(lambda *arrays: np.stack(arrays), *map(_site_graph, lattices))


def _site_graph(lattice: LatticeSites) -> SiteGraph:
    pairs = KDTree(lattice.positions).query_pairs(lattice_sites.NEXT_NEIGHBOUR_DISTANCE, output_type="ndarray")
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    separations = np.linalg.norm(lattice.positions[pairs[:, 0]] - lattice.positions[pairs[:, 1]], axis=1)
    neighbours, next_neighbours = (
        _neighbour_lists(pairs[pair_mask], len(lattice.positions))
        for pair_mask in (
            separations < lattice_sites.NEIGHBOUR_DISTANCE,
            separations >= lattice_sites.NEIGHBOUR_DISTANCE,
        )
    )
    occupancy_prior = lattice_sites.occupancy_prior(lattice.packing)
    return SiteGraph(
        lattice.positions.astype(np.float32), neighbours, next_neighbours,
        occupancy_prior.cost.astype(np.float32).ravel(), np.array(occupancy_prior.typical_cost_law, np.float32),
    )  # fmt: skip


def _neighbour_lists(pairs: np.ndarray, n_sites: int) -> np.ndarray:
    """Return the neighbours [site, neighbour] of each site, padded with the number of sites.

    Args:
        pairs: Pairs of neighbouring sites [pair, 2], each in both orders.
        n_sites: Number of sites.
    """
    site_column, partners = pairs[np.lexsort(pairs.T[::-1])].T
    columns = np.arange(len(site_column)) - np.searchsorted(site_column, site_column)
    neighbours = np.full((n_sites, MAX_NEIGHBOURS), n_sites, np.int32)
    neighbours[site_column[columns < MAX_NEIGHBOURS], columns[columns < MAX_NEIGHBOURS]] = partners[
        columns < MAX_NEIGHBOURS
    ]
    return neighbours


def _initial_state(
    graph: SiteGraph, start_occupancy, values: FitValues, basis: FitBasis, weights: CostWeights
) -> tuple[_PairCurves, _SearchState]:
    """Return the curves of all pairs of sites of a lattice, and the particle at the start with the fields of all sites.

    All pairs in a distance bin have the curve of their mean distance. The changes of the particle's curve with stretch,
    Uiso and delta2 are projected out of the data and the curves. The misfit of a particle is therefore close to the
    misfit after a fit of these three values.
    """
    bin_width = max(MIN_BIN_WIDTH, basis.span.max_distance / (MIN_BOND_LENGTH * (N_DISTANCE_BINS - 2)))
    separations = distances(jnp.asarray(graph.positions))
    curve_index = jnp.minimum(jnp.rint(separations / bin_width), N_DISTANCE_BINS - 1).astype(jnp.int32)
    curve_index = jnp.where(jnp.eye(len(separations), dtype=bool), N_DISTANCE_BINS - 1, curve_index)
    offsets = separations - curve_index * bin_width  # sums of offsets have smaller rounding errors
    bin_counts, offset_sums = (
        jnp.zeros(N_DISTANCE_BINS).at[curve_index.ravel()].add(summand) for summand in (1.0, offsets.ravel())
    )
    mean_distances = (
        (jnp.arange(N_DISTANCE_BINS) * bin_width + offset_sums / jnp.maximum(bin_counts, 1.0)).at[-1].set(1.0)
    )
    mean_distances = jnp.where(bin_counts > 0, mean_distances, 1.0)
    site_histograms = jax.lax.map(
        lambda row: jnp.zeros(N_DISTANCE_BINS).at[row].add(start_occupancy), curve_index, batch_size=64
    )
    pair_curve = pair_curves(mean_distances * basis.bond, values, basis)
    directions, removed_fractions = _marginalized_directions(
        mean_distances * basis.bond, start_occupancy @ site_histograms, jnp.sum(start_occupancy), values, basis, weights
    )
    pair_curve -= ((pair_curve @ directions) * removed_fractions) @ directions.T
    data = basis.data - directions @ (removed_fractions * (directions.T @ basis.data))
    curve_table = _PairCurves(
        curve_index, (mean_distances < lattice_sites.NEXT_NEIGHBOUR_DISTANCE).at[-1].set(False), pair_curve, data
    )
    field = jnp.matmul(site_histograms, pair_curve, precision="highest")
    return curve_table, _state_with_cost(graph, curve_table, start_occupancy, field, basis, weights)


def _marginalized_directions(
    distance, pair_histogram, n_atoms, values: FitValues, basis: FitBasis, weights: CostWeights
):
    r"""Return directions that are projected out of all curves, and the fraction that is removed along each direction.

    These are the directions in which small changes of stretch, Uiso and delta2 change the curve of a particle. Let
    $\rho$ be the residual, D the derivatives of the curve, $\delta$ the changes of the three values, and $\tau$ their
    prior standard deviations. The noise has the standard deviation $\sigma$. The minimum over $\delta$ of
    $|\rho - D\delta|^2 + \sigma^2 |\delta/\tau|^2$ is $|A \rho|^2$. The directions are the left singular vectors of
    $D\tau$. Along a direction with the singular value s, the matrix A removes the fraction
    $1 - \sigma / \sqrt{s^2 + \sigma^2}$.
    """

    def model(value_vector):
        trial_values = values._replace(stretch=value_vector[0], uiso=value_vector[1], delta2=value_vector[2])
        structure_function = pair_histogram.at[-1].set(0.0) @ _pair_structure_functions(distance, trial_values, basis)
        return 0.5 * _project_to_basis(structure_function, trial_values, basis) / n_atoms

    current_values = jnp.stack([values.stretch, values.uiso, values.delta2])
    sigmas = jnp.asarray(VALUE_SIGMAS) * jnp.stack([jnp.ones(()), values.uiso, basis.bond**2])
    slopes = values.scale * jax.jacfwd(model)(current_values) * sigmas
    directions, singular_values, _ = jnp.linalg.svd(slopes, full_matrices=False)
    residual = basis.data - values.scale * model(current_values)
    noise_variance = (jnp.sum(residual**2) + basis.unmodelled_squares) / weights.n_effective
    return directions, 1 - jnp.sqrt(noise_variance / (singular_values**2 + noise_variance))


def pair_curves(distance: Float[Array, " bin"], values: FitValues, basis: FitBasis) -> Float[Array, "bin basis"]:
    """Return the curve of a pair of atoms at each distance in Å, times the number of atoms. The last curve is zero."""
    return _project_to_basis(_pair_structure_functions(distance, values, basis), values, basis).at[-1].set(0.0)


def _pair_structure_functions(distance, values: FitValues, basis: FitBasis) -> Float[Array, "bin q"]:
    """Return F(Q) of a pair of atoms at each distance, times the number of atoms."""
    separations = distance * values.stretch
    variance_factor = jnp.maximum(debye.variance_factor(values.instrument, separations), 0.0)
    debye_waller = jnp.exp(-values.uiso * basis.q**2 * variance_factor[:, None])
    return 2 * debye_waller * jnp.sin(basis.q * separations[:, None]) / separations[:, None]


def _project_to_basis(f, values: FitValues, basis: FitBasis):
    """Return the curve of F(Q) in the compact basis of the data."""
    projection = jnp.matmul(f, basis.transform, precision="highest") * jnp.exp(
        -0.5 * (basis.radius * values.qdamp) ** 2
    )
    return projection - (projection @ basis.background_basis) @ basis.background_basis.T


@jax.jit
def search_sites(
    graph: SiteGraph,
    start_occupancy: Float[Array, "start site"],
    values: FitValues,
    basis: FitBasis,
    weights: CostWeights,
    key: Array,
    n_steps: Int[Array, ""] | int,
    data: Float[Array, "start basis"] | None = None,
) -> BestSearchState:
    """Return the best states that tabu searches visit. One search begins at each given particle (start).

    Args:
        graph: Lattices, with a leading axis of starts.
        start_occupancy: Occupancy of each site at the start, 1 or 0.
        values: Values of the fit parameters, with a leading axis of starts.
        basis: Measured data in their compact basis.
        weights: Weights of the terms of the cost function.
        key: Random key. It determines for how many steps a changed site may not be changed again.
        n_steps: Number of steps of each search.
        data: Data of each start in the basis, e.g. corrected for the relaxation of the start. The default is the
            measured data.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(start_occupancy)))
    search = partial(_search_from_start, basis=basis, weights=weights, n_steps=n_steps)
    return _map_rows(search, graph, start_occupancy, values, keys, _start_data(data, start_occupancy, basis))


@partial(jax.jit, static_argnames="n_steps")
def sample_occupancies(
    graph: SiteGraph,
    start_occupancy: Float[Array, "start site"],
    values: FitValues,
    basis: FitBasis,
    weights: CostWeights,
    key: Array,
    data: Float[Array, "start basis"] | None = None,
    *,
    n_steps: int,
) -> OccupancyDraws:
    """Return the states of Markov chains that fill and empty sites to sample the posterior.

    One chain begins at each given particle (start). A chain is a jump process that rejects no step. The rate of a move
    is the square root of the ratio of the posteriors after and before the move, so the process is reversible with
    respect to the posterior. The weight of a state is its mean duration (G. Zanella, J. Am. Stat. Assoc. 115, 852
    (2020), doi 10.1080/01621459.2019.1585255).

    Args:
        graph: Lattices, with a leading axis of starts.
        start_occupancy: Occupancy of each site at the start, 1 or 0.
        values: Values of the fit parameters, with a leading axis of starts.
        basis: Measured data in their compact basis.
        weights: Weights of the terms of the cost function.
        key: Random key.
        data: Data of each start in the basis, as for `search_sites`.
        n_steps: Number of steps of each chain.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(start_occupancy)))
    sample = partial(_sample_from_start, basis=basis, weights=weights, n_steps=n_steps)
    return _map_rows(sample, graph, start_occupancy, values, keys, _start_data(data, start_occupancy, basis))


@jax.jit
def single_move_costs(
    graph: SiteGraph,
    occupancy: Float[Array, " site"],
    values: FitValues,
    basis: FitBasis,
    weights: CostWeights,
    data: Float[Array, " basis"],
) -> Float[Array, " site"]:
    """Return the cost of a particle after each site is filled or emptied; infinity if the move is not possible.

    Args:
        graph: Lattice of the particle.
        occupancy: Occupancy of each site, 1 or 0.
        values: Values of the fit parameters.
        basis: Measured data in their compact basis.
        weights: Weights of the terms of the cost function.
        data: Data in the basis, e.g. corrected for the relaxation of the particle.
    """
    basis = replace(basis, data=data)
    curve_table, state = _initial_state(graph, occupancy, values, basis, weights)
    return _flip_costs(graph, curve_table, state, _flip_cost_changes(graph, state), basis, weights)[0]


def _start_data(data, start_occupancy, basis: FitBasis) -> Float[Array, "start basis"]:
    """Return the data of each start. The default is the measured data for all starts."""
    return jnp.broadcast_to(basis.data if data is None else data, (len(start_occupancy), len(basis.data)))


def _map_rows(function, *arguments):
    """Return the results of a function for all rows: one row at a time on a CPU, all at once on accelerators."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda row: function(*row), arguments)
    return jax.vmap(function)(*arguments)


def _search_from_start(
    graph: SiteGraph, start_occupancy, values: FitValues, key, data, *, basis: FitBasis, weights: CostWeights, n_steps
):
    basis = replace(basis, data=data)
    curve_table, initial_state = _initial_state(graph, start_occupancy, values, basis, weights)

    def step(step_number, carry: tuple[_SearchState, BestSearchState, Array]):
        state, best_end, tabu_until = carry
        new_state, emptied_site, filled_site = _best_move(
            graph, curve_table, state, tabu_until <= step_number, basis, weights
        )
        tabu_steps = step_number + jax.random.randint(jax.random.fold_in(key, step_number), (2,), *TABU_STEPS)
        tabu_until = (
            tabu_until.at[emptied_site].set(tabu_steps[0], mode="drop").at[filled_site].set(tabu_steps[1], mode="drop")
        )
        return new_state, _lower_cost_end(new_state, best_end), tabu_until

    best_end = BestSearchState(initial_state.occupancy, initial_state.cost, initial_state.scale)
    _, best_end, _ = jax.lax.fori_loop(
        0, n_steps, step, (initial_state, best_end, jnp.zeros(len(start_occupancy), jnp.int32))
    )
    return best_end._replace(occupancy=best_end.occupancy > 0.5)


def _lower_cost_end(state: _SearchState, best_end: BestSearchState) -> BestSearchState:
    """Return the present state if it has a lower cost than the best state so far; otherwise the best state so far."""
    is_better = state.cost < best_end.cost - 1e-4
    return jax.tree.map(
        lambda new_value, old_value: jnp.where(is_better, new_value, old_value),
        BestSearchState(state.occupancy, state.cost, state.scale),
        best_end,
    )


def _sample_from_start(
    graph: SiteGraph, start_occupancy, values: FitValues, key, data, *, basis: FitBasis, weights: CostWeights, n_steps
):
    basis = replace(basis, data=data)
    curve_table, initial_state = _initial_state(graph, start_occupancy, values, basis, weights)

    def step(state: _SearchState, key):
        cost, scale = _flip_costs(graph, curve_table, state, _flip_cost_changes(graph, state), basis, weights)
        log_rates = jnp.where(jnp.isfinite(cost), 0.5 * (state.cost - cost), -jnp.inf)
        log_duration = -jax.nn.logsumexp(log_rates)
        site = jax.random.categorical(key, log_rates)
        no_site = len(start_occupancy)
        is_occupied = state.occupancy[site] > 0.5
        emptied_site, filled_site = jnp.where(is_occupied, site, no_site), jnp.where(is_occupied, no_site, site)
        new_state = _apply_move(graph, curve_table, state, emptied_site, filled_site)._replace(
            cost=cost[site], scale=scale[site]
        )
        return new_state, (state.occupancy, jnp.sum(state.occupancy), log_duration)

    _, (occupancies, atom_counts, log_durations) = jax.lax.scan(step, initial_state, jax.random.split(key, n_steps))
    time_fractions = jax.nn.softmax(log_durations)
    return OccupancyDraws(time_fractions @ occupancies, atom_counts, time_fractions)


def _state_with_cost(
    graph: SiteGraph, curve_table: _PairCurves, occupancy, field, basis: FitBasis, weights: CostWeights
) -> _SearchState:
    """Return the state of a particle with its cost, from the fields of all sites."""
    pair_sum = 0.5 * (occupancy @ field)
    neighbour_counts, next_neighbour_counts = (
        jnp.sum(_neighbour_values(occupancy, neighbours), axis=1)
        for neighbours in (graph.neighbours, graph.next_neighbours)
    )
    model = pair_sum / jnp.sum(occupancy)
    best_scale = _clip_scale(jnp.sum(curve_table.data * model) / jnp.maximum(jnp.sum(model**2), 1e-20))
    scale = jnp.where(weights.log_scale_sigma > 0, best_scale, 1.0)
    squares = jnp.sum((curve_table.data - scale * model) ** 2)
    surroundings_cost = _surroundings_cost(graph, occupancy, neighbour_counts, next_neighbour_counts)
    cost = _cost(graph, squares, scale, jnp.sum(occupancy), surroundings_cost, basis, weights)
    return _SearchState(occupancy, field, pair_sum, neighbour_counts, next_neighbour_counts, cost, scale)


def _neighbour_values(
    site_values: Float[Array, " site"], neighbours: Int[Array | np.ndarray, "site neighbour"]
) -> Float[Array, "site neighbour"]:
    """Return the values of the neighbours of each site; 0 for unused entries."""
    return jnp.concatenate([site_values, jnp.zeros(1, site_values.dtype)])[neighbours]


def _clip_scale(scale):
    return jnp.maximum(scale, 0.02)


def _cost(graph: SiteGraph, squares, scale, n_atoms, surroundings_cost, basis: FitBasis, weights: CostWeights):
    """Return the negative logarithm of the posterior, up to a constant."""
    residual_squares = jnp.maximum(squares, 0.0) + basis.unmodelled_squares + MIN_SEARCH_RW**2 * basis.norm
    sigma = jnp.where(weights.log_scale_sigma > 0, weights.log_scale_sigma, 1.0)
    scale_cost = 0.5 * (jnp.log(_clip_scale(scale)) / sigma) ** 2
    typical_cost = graph.typical_cost[0] * jnp.maximum(n_atoms, 1.0) ** graph.typical_cost[1]
    shape_cost = weights.shape_weight * (surroundings_cost - typical_cost)
    return (
        0.5 * weights.n_effective * jnp.log(residual_squares / basis.norm)
        + jnp.where(weights.log_scale_sigma > 0, scale_cost, 0.0)
        + shape_cost
    )


def _lookup_costs(graph: SiteGraph, occupancy, neighbour_counts, next_neighbour_counts):
    """Return the cost of sites with given occupancies and surroundings."""
    index = (
        occupancy * N_COORDINATION_NUMBERS + jnp.clip(neighbour_counts, 0, N_COORDINATION_NUMBERS - 1)
    ) * N_COORDINATION_NUMBERS + jnp.clip(next_neighbour_counts, 0, N_COORDINATION_NUMBERS - 1)
    return graph.surroundings_cost[index.astype(jnp.int32)]


def _site_costs(graph: SiteGraph, occupancy, neighbour_counts, next_neighbour_counts):
    """Return the shape cost of each site; 0 for an empty site without occupied neighbours."""
    return jnp.where(
        (occupancy > 0.5) | (neighbour_counts > 0.5),
        _lookup_costs(graph, occupancy, neighbour_counts, next_neighbour_counts),
        0.0,
    )


def _surroundings_cost(graph: SiteGraph, occupancy, neighbour_counts, next_neighbour_counts):
    """Return the sum of the shape costs of all sites."""
    return jnp.sum(_site_costs(graph, occupancy, neighbour_counts, next_neighbour_counts))


def _flip_cost_changes(graph: SiteGraph, state: _SearchState):
    """Return, for each site, the change of the sum of shape costs if the site is filled or emptied."""
    current_costs = _site_costs(graph, state.occupancy, state.neighbour_counts, state.next_neighbour_counts)
    cost_changes = (
        _site_costs(graph, 1 - state.occupancy, state.neighbour_counts, state.next_neighbour_counts) - current_costs
    )
    n_sites = len(current_costs)
    for neighbours, (neighbour_step, next_neighbour_step) in (
        (graph.neighbours, (1, 0)),
        (graph.next_neighbours, (0, 1)),
    ):
        gain_changes, loss_changes = (
            jnp.pad(
                _site_costs(
                    graph,
                    state.occupancy,
                    state.neighbour_counts + sign * neighbour_step,
                    state.next_neighbour_counts + sign * next_neighbour_step,
                )
                - current_costs,
                (0, 1),
            )
            for sign in (1, -1)
        )
        changes = jnp.concatenate([gain_changes, loss_changes])
        cost_changes += jnp.sum(changes[neighbours + (state.occupancy[:, None] > 0.5) * (n_sites + 1)], axis=1)
    return cost_changes


def _flip_costs(
    graph: SiteGraph, curve_table: _PairCurves, state: _SearchState, flip_changes, basis: FitBasis, weights: CostWeights
):
    """Return, for each site, the cost and the scale of the particle after the site is filled or emptied.

    The cost is infinite if the move is not possible.

    An atom can only be added next to another atom, and a particle keeps at least `MIN_ATOMS` atoms.
    """
    n_atoms, sign = jnp.sum(state.occupancy), 1 - 2 * state.occupancy
    new_n_atoms = n_atoms + sign
    inverse_n_atoms = 1 / new_n_atoms
    filled_residual, emptied_residual = (
        curve_table.data - state.scale * state.pair_sum / (n_atoms + count_change) for count_change in (1, -1)
    )
    projections = jnp.matmul(state.site_field, jnp.stack([filled_residual, emptied_residual, state.pair_sum], axis=1))
    field_squares = jnp.sum(state.site_field**2, axis=1)
    is_occupied = state.occupancy > 0.5
    projection = jnp.where(is_occupied, projections[:, 1], projections[:, 0])
    squares = jnp.where(is_occupied, jnp.sum(emptied_residual**2), jnp.sum(filled_residual**2))
    squares += (
        -2 * state.scale * inverse_n_atoms * sign * projection + (state.scale * inverse_n_atoms) ** 2 * field_squares
    )
    residual_overlap = jnp.where(
        is_occupied, jnp.sum(emptied_residual * state.pair_sum), jnp.sum(filled_residual * state.pair_sum)
    )
    model_overlap = inverse_n_atoms * (
        residual_overlap
        + sign * projection
        - state.scale * inverse_n_atoms * (sign * projections[:, 2] + field_squares)
    )
    model_squares = jnp.maximum(
        inverse_n_atoms**2 * (jnp.sum(state.pair_sum**2) + 2 * sign * projections[:, 2] + field_squares), 1e-20
    )
    scale_is_free = weights.log_scale_sigma > 0
    squares = squares - jnp.where(scale_is_free, model_overlap**2 / model_squares, 0.0)
    scale = _clip_scale(state.scale + jnp.where(scale_is_free, model_overlap / model_squares, 0.0))
    surroundings_cost = (
        _surroundings_cost(graph, state.occupancy, state.neighbour_counts, state.next_neighbour_counts) + flip_changes
    )
    cost = _cost(graph, squares, scale, new_n_atoms, surroundings_cost, basis, weights)
    is_possible = (is_occupied & (n_atoms > MIN_ATOMS)) | (~is_occupied & (state.neighbour_counts > 0.5))
    return jnp.where(is_possible, cost, jnp.inf), scale


def _best_move(
    graph: SiteGraph, curve_table: _PairCurves, state: _SearchState, is_movable, basis: FitBasis, weights: CostWeights
):
    """Return the particle after the best move, with the indices of the emptied and the filled site.

    Only sites in `is_movable` are changed. An index equal to the number of sites means that there is no such site.
    """
    no_site = len(state.occupancy)
    # The barriers prevent the compiler from computing these arrays again for each use.
    flip_changes = jax.lax.optimization_barrier(_flip_cost_changes(graph, state))
    cost, scale = jax.lax.optimization_barrier(_flip_costs(graph, curve_table, state, flip_changes, basis, weights))
    cost = jnp.where(is_movable, cost, jnp.inf)
    is_occupied = state.occupancy > 0.5
    emptied_sites, filled_sites, exchange_costs, exchange_scales = _best_exchanges(
        graph, curve_table, state, cost, flip_changes, basis, weights
    )
    best_exchange, best_flip = jnp.argmin(exchange_costs), jnp.argmin(cost)
    exchange_is_best = exchange_costs[best_exchange] < cost[best_flip]
    flip_empties = is_occupied[best_flip]
    emptied_site = jnp.where(
        exchange_is_best, emptied_sites[best_exchange], jnp.where(flip_empties, best_flip, no_site)
    )
    filled_site = jnp.where(exchange_is_best, filled_sites[best_exchange], jnp.where(flip_empties, no_site, best_flip))
    new_cost, new_scale = (
        jnp.where(exchange_is_best, exchange_costs[best_exchange], cost[best_flip]),
        jnp.where(exchange_is_best, exchange_scales[best_exchange], scale[best_flip]),
    )
    new_state = _apply_move(graph, curve_table, state, emptied_site, filled_site)
    return new_state._replace(cost=new_cost, scale=new_scale), emptied_site, filled_site


def _best_exchanges(
    graph: SiteGraph,
    curve_table: _PairCurves,
    state: _SearchState,
    cost,
    flip_changes,
    basis: FitBasis,
    weights: CostWeights,
):
    """Return the best exchanges: the emptied sites, the filled sites, the costs and the scales."""
    is_occupied = state.occupancy > 0.5
    (fill_scores, filled_sites), (empty_scores, emptied_sites) = (
        jax.lax.top_k(-jnp.where(site_mask, cost, jnp.inf), N_EXCHANGE_SITES)
        for site_mask in (~is_occupied, is_occupied)
    )
    n_atoms = jnp.sum(state.occupancy)
    factor = state.scale / n_atoms
    residual = curve_table.data - factor * state.pair_sum
    filled_fields, emptied_fields = state.site_field[filled_sites], state.site_field[emptied_sites]
    curve_index = curve_table.curve_index[emptied_sites[:, None], filled_sites[None, :]]
    change = emptied_fields[:, None] - filled_fields[None] + curve_table.pair_curve[curve_index]
    squares = jnp.sum((residual + factor * change) ** 2, axis=-1)
    # For distant sites, the shape cost changes as if one site is emptied and the other is filled independently. The
    # change is left out for neighbours and next neighbours, and computed exactly for the best exchanges below.
    shape_change = jnp.where(
        ~curve_table.is_neighbour[curve_index],
        flip_changes[emptied_sites][:, None] + flip_changes[filled_sites][None],
        0.0,
    )
    can_exchange = jnp.isfinite(fill_scores)[None] & jnp.isfinite(empty_scores)[:, None]
    approximate_costs = _approximate_exchange_costs(squares, shape_change, can_exchange, basis, weights)
    partner = jnp.argmin(approximate_costs, axis=1)
    lowest_costs = jnp.take_along_axis(approximate_costs, partner[:, None], axis=1)[:, 0]
    best_rows = jax.lax.top_k(-lowest_costs, N_EXCHANGES)[1]
    emptied_sites, filled_sites, curve_index = (
        emptied_sites[best_rows],
        filled_sites[partner[best_rows]],
        curve_index[best_rows, partner[best_rows]],
    )
    model = (
        state.pair_sum
        - state.site_field[emptied_sites]
        + state.site_field[filled_sites]
        - curve_table.pair_curve[curve_index]
    ) / n_atoms
    residual = curve_table.data - state.scale * model
    squares, overlap, model_squares = jnp.sum(residual**2, -1), jnp.sum(residual * model, -1), jnp.sum(model**2, -1)
    scale_is_free = weights.log_scale_sigma > 0
    squares -= jnp.where(scale_is_free, overlap**2 / model_squares, 0.0)
    scale = _clip_scale(state.scale + jnp.where(scale_is_free, overlap / model_squares, 0.0))
    change = jax.vmap(
        lambda emptied_sites, filled_sites: _exchange_cost_change(graph, state, emptied_sites, filled_sites)
    )(emptied_sites, filled_sites)
    surroundings_cost = (
        _surroundings_cost(graph, state.occupancy, state.neighbour_counts, state.next_neighbour_counts) + change
    )
    exchange_costs = _cost(graph, squares, scale, n_atoms, surroundings_cost, basis, weights)
    return emptied_sites, filled_sites, jnp.where(jnp.isfinite(lowest_costs[best_rows]), exchange_costs, jnp.inf), scale


def _approximate_exchange_costs(squares, shape_change, can_exchange, basis: FitBasis, weights: CostWeights):
    """Return the costs of exchanges at an unchanged scale, up to a constant; infinite if not possible."""
    approximate_costs = (
        0.5 * weights.n_effective * jnp.log(squares + basis.unmodelled_squares + MIN_SEARCH_RW**2 * basis.norm)
        + weights.shape_weight * shape_change
    )
    return jnp.where(can_exchange, approximate_costs, jnp.inf)


def _exchange_cost_change(graph: SiteGraph, state: _SearchState, emptied_site, filled_site):
    """Return the change of the sum of shape costs if one site is emptied and another is filled."""
    neighbours, next_neighbours = (
        (neighbour_lists[emptied_site], neighbour_lists[filled_site])
        for neighbour_lists in (graph.neighbours, graph.next_neighbours)
    )
    affected_sites = jnp.concatenate([jnp.stack([emptied_site, filled_site]), *neighbours, *next_neighbours])
    is_repeated = jnp.any(jnp.tril(affected_sites[:, None] == affected_sites[None], -1), axis=1)
    is_counted = (affected_sites < len(state.occupancy)) & ~is_repeated
    site_index = jnp.minimum(affected_sites, len(state.occupancy) - 1)

    def count_changes(losing_sites, gaining_sites):  # change of a site's number of occupied neighbours
        return jnp.any(affected_sites[:, None] == gaining_sites, axis=1) * 1.0 - jnp.any(
            affected_sites[:, None] == losing_sites, axis=1
        )

    occupancy = jnp.where(
        affected_sites == emptied_site, 0.0, jnp.where(affected_sites == filled_site, 1.0, state.occupancy[site_index])
    )
    old_costs = _site_costs(
        graph, state.occupancy[site_index], state.neighbour_counts[site_index], state.next_neighbour_counts[site_index]
    )
    new_costs = _site_costs(
        graph,
        occupancy,
        state.neighbour_counts[site_index] + count_changes(*neighbours),
        state.next_neighbour_counts[site_index] + count_changes(*next_neighbours),
    )
    return jnp.sum(jnp.where(is_counted, new_costs - old_costs, 0.0))


def _updated_counts(graph: SiteGraph, state: _SearchState, emptied_site, filled_site):
    """Return the occupancies and the numbers of occupied neighbours and next neighbours after a move.

    An index equal to the number of sites means that no site is emptied or filled.
    """
    n_sites = len(state.occupancy)
    occupancy = state.occupancy.at[emptied_site].set(0.0, mode="drop").at[filled_site].set(1.0, mode="drop")
    neighbour_counts, next_neighbour_counts = state.neighbour_counts, state.next_neighbour_counts
    for site, sign in ((emptied_site, -1.0), (filled_site, 1.0)):
        site_index = jnp.minimum(site, n_sites - 1)
        change = jnp.where(site < n_sites, sign, 0.0)
        neighbour_counts = neighbour_counts.at[graph.neighbours[site_index]].add(change, mode="drop")
        next_neighbour_counts = next_neighbour_counts.at[graph.next_neighbours[site_index]].add(change, mode="drop")
    return occupancy, neighbour_counts, next_neighbour_counts


def _apply_move(
    graph: SiteGraph, curve_table: _PairCurves, state: _SearchState, emptied_site, filled_site
) -> _SearchState:
    """Return the particle after one site is emptied and another is filled. The cost and the scale are not updated."""
    n_sites = len(state.occupancy)
    occupancy, neighbour_counts, next_neighbour_counts = _updated_counts(graph, state, emptied_site, filled_site)
    field, pair_sum = state.site_field, state.pair_sum
    for site, sign in ((emptied_site, -1.0), (filled_site, 1.0)):
        site_index = jnp.minimum(site, n_sites - 1)
        is_valid = site < n_sites
        pair_sum = pair_sum + jnp.where(is_valid, sign, 0.0) * field[site_index]
        field = (
            field
            + sign
            * curve_table.pair_curve[jnp.where(is_valid, curve_table.curve_index[site_index], N_DISTANCE_BINS - 1)]
        )
    return state._replace(
        occupancy=occupancy,
        site_field=field,
        pair_sum=pair_sum,
        neighbour_counts=neighbour_counts,
        next_neighbour_counts=next_neighbour_counts,
    )
