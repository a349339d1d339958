"""Search for a particle that no source lists, over the occupancies of lattice sites.

A lattice is a finite set of sites of one packing (bcc, sc, icosahedron, decahedron, or a stack of close-packed layers)
about an origin. A start is a particle on a lattice, from which a search of `site_moves` begins. The first starts are
library clusters, and ellipsoids with sizes close to those of the best candidates. Rounds of searches and fits follow.
Each round starts from the minima, which are the best particles so far. The rounds end if one of them finds no better
particle. Finally, Markov chains from the minima give the probability of each atom and of each number of atoms.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxstruc import statistics
from jaxstruc.clusters import lattice_sites
from jaxstruc.pdf import candidates, fit, site_moves
from jaxstruc.pdf.candidates import CandidateGroup, FittedCandidates
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.search_minima import LOG_SCALE_SPREAD, SearchMinima, rank_minima, with_best_start
from jaxstruc.pdf.search_starts import (
    LatticeParticle,
    PackingStart,
    SearchLevel,
    best_by_packing,
    library_starts,
    occupied_sites_of,
    packing_starts,
    restacked_starts,
    with_probable_packings,
)
from jaxstruc.pdf.site_moves import CostWeights
from jaxstruc.pdf.target import Target

SHAPE_PRIOR_WEIGHT = 1.0
"""Weight of the prior on the particle's shape. With weight 1, the library clusters from which the prior was made are
assumed to be representative of real particles."""
SEARCH_SITES_PER_ATOM = 2.0
"""Number of lattice sites for each atom in a search. The sites of a search are those closest to the atoms."""
SITE_COUNTS = (256, 512, 1024, 1536, 2560, 3584)
"""Possible numbers of lattice sites in a search. The list is short, so that there are few compilations."""
SEARCH_BATCH, SEARCH_BATCH_ON_ACCELERATORS = 4, 32
"""Number of searches in one compiled call, on a CPU and on an accelerator."""
SHAPE_WEIGHT_FACTORS = (1.0, 0.3)
"""Factors on the weight of the shape prior, used in turn by successive rounds. With a smaller weight, a search can
cross barriers."""
N_RESTACKED = 4
"""Number of the best minima among which a stack of layers is looked for, whose other sequences are tried."""
N_POLISHED, N_POLISH_FLIPS, N_POLISH_EXCHANGES = 8, 24, 5
"""Number of minima that stay in a comparison of relaxed particles; number of particles with one atom more or less; and
numbers of removed and of added atoms that are combined to moves of one atom."""


HOLDOUT_LEVEL = SearchLevel(1, 12, 60, 1, 3, n_walk_steps=0)
"""Level of the searches that use only the data up to a cut of the cross-validation."""


SEARCH_LEVELS = {
    "quick": SearchLevel(2, 24, 100, 3, 4, 100, max_polish_rounds=4),
    "full": SearchLevel(8, 64, 400, 4, 12, 240, max_polish_rounds=8),
}


class SearchSettings(NamedTuple):
    """Options of a search."""

    level: SearchLevel
    seed: int
    shape_weight: float = SHAPE_PRIOR_WEIGHT
    """Weight of the prior on the particle's shape."""


class SearchResult(NamedTuple):
    """Particles that a search found, and the draws of its Markov chains."""

    group: CandidateGroup
    """Distinct particles, lowest cost first."""
    shape_cost: np.ndarray
    """[candidate] Negative logarithm of the prior probability of the shape, minus its typical value for library
    clusters."""
    occupancy: list[np.ndarray]
    """[candidate][atom] Posterior probability that the site of each atom is occupied."""
    atom_counts: np.ndarray
    """[state] Number of atoms in each state of the Markov chains."""
    atom_count_weights: np.ndarray
    """[state] Posterior weight of each state."""


class SearchProblem(NamedTuple):
    """Data and options of one search."""

    target: Target
    settings: SearchSettings
    n_atoms: int
    """Largest number of atoms of a start, which determines the number of lattice sites."""
    key: Array


def search_lattice_sites(
    target: Target,
    fitted_candidates: FittedCandidates,
    settings: SearchSettings,
    *,
    initial_by_packing: Mapping[str, PackingStart] | None = None,
    draws_by_packing: Mapping[str, np.ndarray] | None = None,
    progress: Callable[[str], None] = lambda remark: None,
) -> SearchResult | None:
    """Return the particles that searches over lattice sites find; None if there is no start or no particle is found.

    Args:
        target: Measured data and settings of the fit.
        fitted_candidates: Fitted candidates, best first.
        settings: Level, seed and prior weight of the search.
        initial_by_packing: Number of atoms and values at the start for each packing. By default they are those of the
            best candidates.
        draws_by_packing: Draws of the number of atoms from the classifier's prediction, for each probable packing.
        progress: Function that is called with a text about the present step.
    """
    rng = np.random.default_rng([settings.seed, 16])
    initial_particles = (
        with_probable_packings(best_by_packing(fitted_candidates, target), draws_by_packing)
        if initial_by_packing is None
        else initial_by_packing
    )
    if not initial_particles:
        return None
    progress("choice of lattices for the search")
    packing_draws = draws_by_packing or {}
    starts = [
        start
        for packing, packing_start in initial_particles.items()
        for start in packing_starts(
            target, packing, packing_start, settings.level, rng, atom_count_draws=packing_draws.get(packing)
        )
    ]
    if initial_by_packing is None:
        starts += library_starts(fitted_candidates, target, initial_particles, settings.level)
    if not starts:
        return None
    n_atoms = max(int(start.occupied_sites.sum()) for start in starts)
    problem = SearchProblem(target, settings, n_atoms, jax.random.key(settings.seed))
    minima = _search_rounds(problem, starts, fitted_candidates, progress)
    if minima is None:
        return None
    if target.element:
        minima = _polish(problem, minima, progress)
    progress("occupancy probabilities of the lattice sites")
    return _summarize_search(problem, minima, _minima_weights(problem, minima.fitted_candidates))


def _search_rounds(
    problem: SearchProblem,
    starts: list[LatticeParticle],
    fitted_candidates: FittedCandidates,
    progress: Callable[[str], None],
) -> SearchMinima | None:
    """Return the minima after all rounds of searches; None if no search ends at a particle.

    After the smallest number of rounds, the search ends if a round does not change the best minimum.
    """
    level = problem.settings.level
    minima: SearchMinima | None = None
    for round_index in range(level.max_rounds + 1):
        progress(
            f"search over lattice sites, round {round_index + 1} (at least {level.min_rounds + 1}, at most "
            f"{level.max_rounds + 1})"
        )
        weights = _minima_weights(problem, minima.fitted_candidates if minima else fitted_candidates)
        previous_identity = _best_identity(minima) if minima else None
        minima = _search_round(problem, starts, minima, weights, round_index)
        if minima is None:
            return None
        if round_index >= level.min_rounds and _best_identity(minima) == previous_identity:
            break
        if round_index < level.max_rounds:
            starts = _next_starts(problem, minima)
    return minima


def _polish(problem: SearchProblem, minima: SearchMinima, progress: Callable[[str], None]) -> SearchMinima:
    """Return the minima after comparisons of the best particle with relaxed particles that differ by one move.

    The searches use data that are corrected for the relaxation of the particle from which they start. Here each
    particle has its own displacements.
    """
    for polish_round in range(problem.settings.level.max_polish_rounds):
        progress(f"comparison of relaxed particles, round {polish_round + 1}")
        weights = _minima_weights(problem, minima.fitted_candidates)
        best, identity = minima.starts[0], _best_identity(minima)
        if best.values is None:
            break
        neighbours = _particles_after_moves(problem, best, weights)
        polished = rank_minima(
            problem.target, neighbours, weights, earlier_minima=minima.best(N_POLISHED), initial_values=best.values
        )
        if polished is None or _best_identity(polished) == identity or not polished.cost[0] < minima.cost[0]:
            break
        minima = polished
    return minima


def _particles_after_moves(
    problem: SearchProblem, particle: LatticeParticle, weights: CostWeights
) -> list[LatticeParticle]:
    """Return the particles of lowest approximate cost after one atom is added, removed or moved."""
    (centred,) = _recentre_lattices([particle], problem.n_atoms)
    graphs, occupation, values = _batch_starts([centred], 1)
    graph, values = (jax.tree.map(lambda column: column[0], entry) for entry in (graphs, values))
    data = _corrected_data(problem.target, [centred], 1)[0]
    cost = np.asarray(
        site_moves.single_move_costs(graph, jnp.asarray(occupation[0]), values, problem.target.basis, weights, data)
    )
    is_occupied = centred.occupied_sites
    order = np.argsort(cost, kind="stable")
    order = order[np.isfinite(cost[order])]
    emptied, filled = order[is_occupied[order]], order[~is_occupied[order]]
    moves = [[site] for site in order[:N_POLISH_FLIPS]]
    moves += [[old, new] for old in emptied[:N_POLISH_EXCHANGES] for new in filled[:N_POLISH_EXCHANGES]]
    particles = []
    for changed_sites in moves:
        occupied_sites = is_occupied.copy()
        occupied_sites[changed_sites] = ~occupied_sites[changed_sites]
        particles.append(centred._replace(occupied_sites=occupied_sites))
    return particles


def _search_round(
    problem: SearchProblem,
    starts: Sequence[LatticeParticle],
    minima: SearchMinima | None,
    weights: CostWeights,
    round_index: int,
) -> SearchMinima | None:
    """Run one more round of searches and return the minima of all rounds; None if there is no particle."""
    softened_weights = weights._replace(
        shape_weight=weights.shape_weight * SHAPE_WEIGHT_FACTORS[round_index % len(SHAPE_WEIGHT_FACTORS)]
    )
    search_ends = _run_searches(problem, starts, softened_weights, jax.random.fold_in(problem.key, round_index))
    minima = rank_minima(problem.target, search_ends, weights, earlier_minima=minima)
    if round_index == 0:
        first_starts = _recentre_lattices(starts, problem.n_atoms)
        minima = with_best_start(problem.target, minima, first_starts, weights)
    return minima


def _next_starts(problem: SearchProblem, minima: SearchMinima) -> list[LatticeParticle]:
    """Return the starts of the next round: the best minima, and the best stack of layers in other sequences."""
    max_continued = problem.settings.level.max_continued_minima
    starts = minima.starts[:max_continued]
    restacked = restacked_starts(problem.target, minima.starts[:N_RESTACKED], 2)
    return [*starts[: max(max_continued - 2, 1)], *restacked][:max_continued] or starts


def _best_identity(minima: SearchMinima) -> tuple[int, float]:
    """Return two numbers that identify the best minimum: its number of atoms and its shape cost."""
    return int(minima.starts[0].occupied_sites.sum()), float(minima.shape_cost[0])


def _minima_weights(problem: SearchProblem, fitted_candidates: FittedCandidates) -> CostWeights:
    """Return the weights of the terms of the cost, computed from the residual of the best fit."""
    effective_points = _effective_points(problem.target, fitted_candidates)
    return _site_weights(problem.target, effective_points, problem.settings.shape_weight)


def _site_weights(target: Target, effective_points: float, shape_weight: float) -> CostWeights:
    """Return the weights of the data, the shape prior and the scale prior in the cost of a particle."""
    scale_spread = 0.0 if target.absolute else LOG_SCALE_SPREAD
    return CostWeights(
        *(jnp.asarray(value, jnp.float32) for value in (max(effective_points - 4.0, 8.0), shape_weight, scale_spread))
    )


def _run_searches(
    problem: SearchProblem, starts: Sequence[LatticeParticle], weights: CostWeights, key: Array
) -> list[LatticeParticle]:
    """Return the best particle of the search from each start."""
    search_ends: list[LatticeParticle] = []
    batch = SEARCH_BATCH if jax.default_backend() == "cpu" else SEARCH_BATCH_ON_ACCELERATORS
    for batch_start in range(0, len(starts), batch):
        batch_starts = _recentre_lattices(starts[batch_start : batch_start + batch], problem.n_atoms)
        site_arrays, occupation, values = _batch_starts(batch_starts, batch)
        data = _corrected_data(problem.target, batch_starts, batch)
        final_state = jax.device_get(
            site_moves.search_sites(
                site_arrays,
                occupation,
                values,
                problem.target.basis,
                weights,
                jax.random.fold_in(key, batch_start),
                problem.settings.level.n_steps,
                data,
            )
        )
        search_ends += [
            start._replace(occupied_sites=final_state.occupancy[row]) for row, start in enumerate(batch_starts)
        ]
    return search_ends


def _recentre_lattices(starts: Sequence[LatticeParticle], n_atoms: int) -> list[LatticeParticle]:
    """Return the particles, each in the middle of a new lattice. All these lattices have equal numbers of sites."""
    n_sites = next((n_sites for n_sites in SITE_COUNTS if n_sites >= SEARCH_SITES_PER_ATOM * n_atoms), SITE_COUNTS[-1])
    recentred_starts = []
    for start in starts:
        positions = start.lattice.positions[start.occupied_sites]
        centre = positions.mean(axis=0)
        lattice = lattice_sites.nearest_sites(
            start.lattice.packing, start.lattice.origin + centre, n_sites, atom_positions=positions - centre
        )
        recentred_starts.append(
            start._replace(lattice=lattice, occupied_sites=occupied_sites_of(lattice, positions - centre))
        )
    return recentred_starts


def _batch_starts(starts: Sequence[LatticeParticle], batch: int) -> tuple[site_moves.SiteGraph, np.ndarray, FitValues]:
    """Return lattices, occupancies and values of starts as arrays. The last start is repeated to fill the batch."""
    padded_starts = [*starts, *[starts[-1]] * (batch - len(starts))]
    occupation = np.stack([start.occupied_sites for start in padded_starts]).astype(np.float32)
    values = jax.tree.map(
        lambda *columns: jnp.asarray(columns, jnp.float32), *(start.values for start in padded_starts)
    )
    return site_moves.site_graphs([start.lattice for start in padded_starts]), occupation, values


def _corrected_data(target: Target, starts: Sequence[LatticeParticle], batch: int) -> Array:
    """Return the data of each start [start, basis] without the change by its relaxation, as `_batch_starts` pads."""
    padded_starts = [*starts, *[starts[-1]] * (batch - len(starts))]
    data = np.asarray(target.basis.data)
    return jnp.asarray(
        [data if start.relaxation_curve is None else data - start.relaxation_curve for start in padded_starts]
    )


def _effective_points(target: Target, fitted_candidates: FittedCandidates) -> float:
    """Return the effective number of independent points, estimated from the residual of the best fit."""
    pool, fits = fitted_candidates
    best_row = np.argsort(np.where(np.isfinite(fits.rw), fits.rw, np.inf), kind="stable")[:1]
    best_curves, _ = fit.fitted_curves(
        candidates.select_rows(fits, best_row),
        candidates.cluster_tables(pool.select(best_row), target, start=candidates.select_rows(fits.values, best_row)),
        target,
    )
    residual = target.weighted(target.g - best_curves[0])
    return statistics.effective_points(residual, target.n_independent, accuracy=target.accuracy)


def _summarize_search(problem: SearchProblem, minima: SearchMinima, weights: CostWeights) -> SearchResult:
    """Return the distinct particles, with the probabilities of atoms and of numbers of atoms from Markov chains.

    Without steps of the chains, there are no probabilities.
    """
    group = candidates.joined_group(minima.fitted_candidates.pool, "search")
    if not problem.settings.level.n_walk_steps:
        return SearchResult(group, minima.shape_cost, [], np.zeros(0, int), np.zeros(0))
    walk_starts = _recentre_lattices(minima.starts[:SEARCH_BATCH], problem.n_atoms)
    site_arrays, occupation, values = _batch_starts(walk_starts, SEARCH_BATCH)
    walk_draws = jax.device_get(
        site_moves.sample_occupancies(
            site_arrays,
            occupation,
            values,
            problem.target.basis,
            weights,
            jax.random.fold_in(problem.key, 999),
            _corrected_data(problem.target, walk_starts, SEARCH_BATCH),
            n_steps=problem.settings.level.n_walk_steps,
        )
    )
    minimum_weights = np.exp(minima.cost[0] - minima.cost[: len(walk_starts)])
    minimum_weights /= minimum_weights.sum()
    occupancy = [walk_draws.occupancy[row][start.occupied_sites] for row, start in enumerate(walk_starts)]
    return SearchResult(
        group,
        minima.shape_cost,
        occupancy,
        walk_draws.atom_counts[: len(walk_starts)].ravel(),
        (minimum_weights[:, None] * walk_draws.time_fractions[: len(walk_starts)]).ravel(),
    )
