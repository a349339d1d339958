"""Search for a particle that no source lists, over the occupancies of lattice sites.

A lattice is a finite set of sites of one packing (bcc, sc, icosahedron, decahedron, or a stack of close-packed layers)
about an origin. A start is a particle on a lattice, from which a search of `site_moves` begins. The first starts are
library clusters, and ellipsoids with sizes close to those of the best candidates. Rounds of searches and fits follow.
Each round starts from the minima, which are the best particles so far. The rounds end if one of them finds no better
particle. Finally, Markov chains from the minima give the probability of each atom and of each number of atoms.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from jaxstruc import statistics
from jaxstruc.clusters import lattice_sites, lattices, library, size_classes, structure_type
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.lattice_sites import LatticeSites
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import candidates, fit, relaxed_screening, site_moves, stacking
from jaxstruc.pdf.candidates import CandidateGroup, FittedCandidates
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.site_moves import CostWeights
from jaxstruc.pdf.target import Target

SHAPE_PRIOR_WEIGHT = 1.0
"""Weight of the prior on the particle's shape. With weight 1, the library clusters from which the prior was made are
assumed to be representative of real particles."""
MAX_SMALL_PARTICLE_ATOMS, MAX_SHAPE_FACTOR = 200, 5.0
"""Number of atoms below which more random shapes are compared, because small particles take less time; largest factor
by which the number of shapes is increased."""
LOG_AXIS_SPREAD = 0.2
"""Standard deviation of the logarithms of the axes of random ellipsoids."""
LOG_SCALE_SPREAD = 0.3
"""Prior standard deviation of the logarithm of the scale, for data that are not on an absolute scale."""
START_SITES_PER_ATOM, SEARCH_SITES_PER_ATOM = 2.6, 2.0
"""Number of lattice sites for each atom of a start, and for each atom in a search. The sites of a search are those
closest to the atoms."""
SITE_COUNTS = (256, 512, 1024, 1536, 2560, 3584)
"""Possible numbers of lattice sites in a search. The list is short, so that there are few compilations."""
SEARCH_BATCH, SEARCH_BATCH_ON_ACCELERATORS = 4, 32
"""Number of searches in one compiled call, on a CPU and on an accelerator."""
MAX_PACKING_RW = 0.6, 2.0
"""Largest difference between the Rw of a packing's best cluster and the smallest Rw of all clusters, and largest ratio
of the two. Packings above a limit are not searched, unless the classifier finds them probable."""
MAX_START_CANDIDATES = 60
"""Number of the best candidates that may become starts."""
SHAPE_WEIGHT_FACTORS = (1.0, 0.3)
"""Factors on the weight of the shape prior, used in turn by successive rounds. With a smaller weight, a search can
cross barriers."""
CUBE_TO_STACK = np.array([[1, -1, 0], [1, 1, -2], [1, 1, 1]]) / np.sqrt([[2], [6], [3]])
"""Rotation matrix from the axes of a cubic cell to those of a stack, whose z axis is along [111]."""
PACKING_BY_TYPE = {"fcc": "stack", "hcp": "stack", "faulted": "stack"}
"""Packing of each structure type whose packing has another name than the type."""
MAX_CORRECTED = 16
"""Number of the best particles whose change of G(r) by the relaxation is computed. The others get that of the last of
them."""
N_POLISHED, N_POLISH_FLIPS, N_POLISH_EXCHANGES = 8, 24, 5
"""Number of minima that stay in a comparison of relaxed particles; number of particles with one atom more or less; and
numbers of removed and of added atoms that are combined to moves of one atom."""
_pair_curves = jax.jit(site_moves.pair_curves)


@dataclass(frozen=True)
class SearchLevel:
    """Numbers that determine the duration of a search."""

    n_starts: int
    """Number of starts of each packing in the first round."""
    n_origins: int
    """Number of random lattice origins from which the starts are chosen."""
    n_shapes: int
    """Number of random shapes from which the starts are chosen. It is larger for particles below
    `MAX_SMALL_PARTICLE_ATOMS` atoms."""
    min_rounds: int
    """Smallest number of rounds after the first round."""
    max_continued_minima: int
    """Largest number of minima from which a round continues."""
    n_steps: int = 120
    """Number of steps of each search."""
    max_rounds: int = 8
    """Largest number of rounds after the first round."""
    max_polish_rounds: int = 0
    """Largest number of rounds that compare the best particle with relaxed particles after one move."""
    n_walk_steps: int = 300
    """Number of steps of each Markov chain that gives the probability of each atom; 0 for no chains."""


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


class LatticeParticle(NamedTuple):
    """A particle on a lattice, from which a search may start."""

    lattice: LatticeSites
    occupied_sites: np.ndarray
    """[site] Whether an atom occupies the site."""
    values: FitValues | None
    """Values of the fit parameters; None if no search starts from the particle."""
    misfit: float = math.inf
    """Approximate sum of squared residuals."""
    relaxation_curve: np.ndarray | None = None
    """Change of G(r) by the relaxation in the basis of the data, which is subtracted from the data. None if there is no
    change."""


class PackingStart(NamedTuple):
    """The best candidate of a packing, from which the starts of the packing are made."""

    n_atoms: int
    values: FitValues
    relaxation_curve: np.ndarray | None = None
    """Change of G(r) by the relaxation of the candidate in the basis of the data; None if there is no change."""

    def corrected(self, target: Target) -> Target:
        """Return the data without the change by the relaxation."""
        if self.relaxation_curve is None:
            return target
        return target._replace(basis=relaxed_screening.corrected_basis(target.basis, self.relaxation_curve))


class SearchMinima(NamedTuple):
    """Distinct best particles of the searches so far, lowest cost first."""

    starts: list[LatticeParticle]
    """Particles on their lattices, from which further searches may start."""
    fitted_candidates: FittedCandidates
    """Particles as candidates, with their fits."""
    cost: np.ndarray
    """[particle] Negative logarithm of the posterior, up to a constant."""
    shape_cost: np.ndarray
    """[particle] Term of the cost from the prior on the shape, for weight 1."""
    identities: list[tuple[int, int, int]]
    """[particle] Numbers that distinguish the particles, see `library.moments`."""

    def best(self, count: int) -> "SearchMinima":
        """Return the best minima."""
        rows = np.arange(min(count, len(self.cost)))
        fitted_candidates = candidates.select_fitted(self.fitted_candidates, rows)
        return SearchMinima(
            self.starts[:count], fitted_candidates, self.cost[:count], self.shape_cost[:count], self.identities[:count]
        )


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
    best_by_packing = (
        _with_probable_packings(_best_by_packing(fitted_candidates, target), draws_by_packing)
        if initial_by_packing is None
        else initial_by_packing
    )
    if not best_by_packing:
        return None
    progress("choice of lattices for the search")
    packing_draws = draws_by_packing or {}
    starts = [
        start
        for packing, packing_start in best_by_packing.items()
        for start in _packing_starts(
            target, packing, packing_start, settings.level, rng, atom_count_draws=packing_draws.get(packing)
        )
    ]
    if initial_by_packing is None:
        starts += _library_starts(fitted_candidates, target, best_by_packing, settings.level)
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


def start_from_cluster(cluster: Cluster, packing: str, values: FitValues | None) -> LatticeParticle | None:
    """Return a cluster as a particle on a lattice; None if its atoms do not lie on a lattice of the packing."""
    positions = cluster.positions
    if packing == "stack":
        positions = positions @ CUBE_TO_STACK.T if cluster.family in ("fcc", "octahedron") else positions
        layers, layer_positions = stacking.shifted_layers(positions)
        if len(layers) < 2:
            return None
        start = _start_from_sequence(layers, stacking.StackingSequence(layer_positions, math.inf), values)
    elif packing in ("bcc", "sc"):
        centre = (positions - positions[0]).mean(axis=0)
        lattice = lattice_sites.nearest_sites(packing, centre, round(START_SITES_PER_ATOM * len(positions)))
        start = LatticeParticle(lattice, _occupied_sites(lattice, positions - positions[0] - centre), values)
    else:
        central_atom = positions[np.argmin(np.linalg.norm(positions, axis=1))]
        lattice_points = lattice_sites.packing_sites(packing, math.ceil(np.linalg.norm(positions, axis=1).max()) + 4)
        tree, nearby_points = KDTree(lattice_points), lattices.points_within(lattice_points, 4.0)
        match_counts = [
            int((tree.query(positions - central_atom + site, distance_upper_bound=0.3)[0] < 0.3).sum())
            for site in nearby_points
        ]
        centre = nearby_points[int(np.argmax(match_counts))] - central_atom
        lattice = lattice_sites.nearest_sites(packing, centre, round(START_SITES_PER_ATOM * len(positions)))
        start = LatticeParticle(lattice, _occupied_sites(lattice, positions), values)
    return start if start.occupied_sites.sum() > 0.9 * len(positions) else None


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
        polished = _rank_minima(
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
    minima = _rank_minima(problem.target, search_ends, weights, earlier_minima=minima)
    if round_index == 0:
        first_starts = _recentre_lattices(starts, problem.n_atoms)
        minima = _with_best_start(problem.target, minima, first_starts, weights)
    return minima


def _next_starts(problem: SearchProblem, minima: SearchMinima) -> list[LatticeParticle]:
    """Return the starts of the next round: the best minima, and the best stack of layers in other sequences."""
    max_continued = problem.settings.level.max_continued_minima
    starts = minima.starts[:max_continued]
    restacked_starts = _restack(problem.target, minima, 2)
    return [*starts[: max(max_continued - 2, 1)], *restacked_starts][:max_continued] or starts


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


def _best_by_packing(fitted_candidates: FittedCandidates, target: Target) -> dict[str, PackingStart]:
    """Return the best candidate of each packing, for the best three packings."""
    pool, fits = fitted_candidates
    rw = np.where(np.isfinite(fits.rw) & ~pool.is_invalid, fits.rw, np.inf)
    order = np.argsort(rw, kind="stable")
    best_by_packing: dict[str, PackingStart] = {}
    families = pool.families
    for row in order:
        packing = FAMILY_TYPES.get(str(families[row]), "")
        packing = PACKING_BY_TYPE.get(packing, packing)
        if (
            not packing
            or packing in best_by_packing
            or rw[row] > min(MAX_PACKING_RW[1] * rw[order[0]], rw[order[0]] + MAX_PACKING_RW[0])
        ):
            continue
        if not np.isfinite(rw[row]):
            break
        best_by_packing[packing] = PackingStart(
            int(pool.n_atoms[row]),
            candidates.select_rows(fits.values, row),
            _relaxation_curve(fitted_candidates, int(row), target),
        )
        if len(best_by_packing) == 3:
            break
    return best_by_packing


def _relaxation_curve(fitted_candidates: FittedCandidates, row: int, target: Target) -> np.ndarray | None:
    """Return the change of G(r) by the relaxation of a fitted candidate; None if there is no change."""
    if not abs(fitted_candidates.fits.values.relaxation[row]) > relaxed_screening.MIN_RELAXATION:
        return None
    selected = candidates.select_fitted(fitted_candidates, np.array([row]))
    return relaxed_screening.relaxation_curves(selected, target, free=DEFAULT_FREE_PARAMETERS)[0]


def _with_probable_packings(
    best_by_packing: Mapping[str, PackingStart], draws_by_packing: Mapping[str, np.ndarray] | None
) -> dict[str, PackingStart]:
    """Return the starting point of each packing, changed by the classifier's prediction.

    Packings that the classifier finds improbable are removed, except the packing of the best candidate. Probable
    packings without a candidate are added, with the median of their drawn numbers of atoms.
    """
    if not draws_by_packing or not best_by_packing:
        return dict(best_by_packing)
    first_packing, first_start = next(iter(best_by_packing)), next(iter(best_by_packing.values()))
    selected_packings = {
        packing: packing_start
        for packing, packing_start in best_by_packing.items()
        if packing == first_packing or packing in draws_by_packing
    }
    return selected_packings | {
        packing: PackingStart(int(np.median(atom_draws)), first_start.values, first_start.relaxation_curve)
        for packing, atom_draws in draws_by_packing.items()
        if packing not in selected_packings
    }


def _library_starts(
    fitted_candidates: FittedCandidates, target: Target, best_by_packing: Mapping[str, PackingStart], level: SearchLevel
) -> list[LatticeParticle]:
    """Return the best library clusters of each packing as starts."""
    pool, fits = fitted_candidates
    starts, start_counts = [], dict.fromkeys(best_by_packing, 0)
    families = pool.families
    for row in range(min(len(fits.rw), MAX_START_CANDIDATES)):
        type_name = FAMILY_TYPES.get(str(families[row]), "")
        packing = PACKING_BY_TYPE.get(type_name, type_name)
        group = pool.groups[pool.group_index[row]]
        if (
            group.source == "network"
            or pool.is_invalid[row]
            or start_counts.get(packing, level.n_starts) >= level.n_starts
        ):
            continue
        cluster = library.candidate_cluster(*pool.entry(row))
        if (start := start_from_cluster(cluster, packing, candidates.select_rows(fits.values, row))) is not None:
            starts.append(start._replace(relaxation_curve=_relaxation_curve(fitted_candidates, row, target)))
            start_counts[packing] += 1
    return starts


def _packing_starts(
    target: Target,
    packing: str,
    packing_start: PackingStart,
    level: SearchLevel,
    rng,
    *,
    atom_count_draws: np.ndarray | None = None,
) -> list[LatticeParticle]:
    """Return the random particles of a packing with the smallest approximate misfit, as starts.

    If `atom_count_draws` is given, half of the compared particles have numbers of atoms from these draws.
    """
    n_atoms, values, relaxation_curve = packing_start
    target = packing_start.corrected(target)
    if packing == "stack":
        starts = _stack_starts(target, n_atoms, values, level, rng, atom_count_draws=atom_count_draws)
        return [start._replace(relaxation_curve=relaxation_curve) for start in starts]
    size = float(size_classes.equivalent_sphere_diameter(n_atoms, size_classes.atom_volume(packing)))
    max_atoms = n_atoms if atom_count_draws is None else max(n_atoms, float(np.quantile(atom_count_draws, 0.9)))
    n_sites = round(START_SITES_PER_ATOM * max(max_atoms, 8))
    packing_lattices = [
        lattice_sites.nearest_sites(packing, origin, n_sites)
        for origin in lattice_sites.random_origins(packing, size, level.n_origins, rng)
    ]
    starts = _ellipsoid_starts(target, packing_lattices, n_atoms, values, level, rng, atom_count_draws=atom_count_draws)
    return [start._replace(relaxation_curve=relaxation_curve) for start in starts]


def _ellipsoid_starts(
    target: Target,
    candidate_lattices: Sequence[LatticeSites],
    mean_n_atoms: int,
    values: FitValues,
    level: SearchLevel,
    rng,
    *,
    atom_count_draws: np.ndarray | None = None,
) -> list[LatticeParticle]:
    """Return the random ellipsoids on lattices that have the smallest approximate misfit."""
    pair_curves, bin_width = _grid_pair_curves(target, values)
    data, starts = np.asarray(target.basis.data), []
    for trial in range(
        round(level.n_shapes * min(max(MAX_SMALL_PARTICLE_ATOMS / mean_n_atoms, 1.0), MAX_SHAPE_FACTOR))
    ):
        lattice = candidate_lattices[trial % len(candidate_lattices)]
        rotated_positions = lattice.positions @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        scaled_radii = np.linalg.norm(
            rotated_positions * np.exp(rng.normal(0, LOG_AXIS_SPREAD, 3)) + rng.normal(0, 0.2, 3), axis=1
        )
        n_atoms = max(round(mean_n_atoms * rng.uniform(0.9, 1.1)), 8)
        if atom_count_draws is not None and trial % 2:
            n_atoms = min(int(rng.choice(atom_count_draws)), round(len(scaled_radii) / 2))
        occupied_sites = scaled_radii <= np.partition(scaled_radii, n_atoms - 1)[n_atoms - 1]
        starts.append(
            LatticeParticle(
                lattice,
                occupied_sites,
                values,
                _particle_misfit(lattice.positions[occupied_sites], pair_curves, bin_width, data, target.absolute),
            )
        )
    starts.sort(key=lambda start: start.misfit)
    return starts[: level.n_starts]


def _stack_starts(
    target: Target,
    n_atoms: int,
    values: FitValues,
    level: SearchLevel,
    rng,
    *,
    atom_count_draws: np.ndarray | None = None,
) -> list[LatticeParticle]:
    """Return random ellipsoids on the best stacks. The stacking sequences of the stacks are compared for spheres."""
    data, pair_curves = np.asarray(target.basis.data), _stack_pair_curves(target, values)
    radius = float(size_classes.equivalent_sphere_diameter(n_atoms, size_classes.atom_volume("c"))) / 2
    steps = np.arange(-math.ceil(radius) - 2, math.ceil(radius) + 3)
    i, j = np.meshgrid(steps, steps)
    layer = np.stack([i + j / 2, j * math.sqrt(0.75), 0 * i], axis=-1).reshape(-1, 3)
    starts: list[LatticeParticle] = []
    n_trials = max(4, level.n_origins // 6)
    for trial in range(n_trials):
        layer_offset = np.array([*rng.uniform(-0.5, 0.5, 2), 0.0]) if trial else np.zeros(3)
        height_offset = (0.0, 0.5, 0.25, 0.75)[trial % 4] * lattices.LAYER_SPACING
        ball_radius = radius * (1.0, 0.98, 1.02)[trial % 3]
        heights = [
            height
            for height in np.arange(-15, 16) * lattices.LAYER_SPACING + height_offset
            if abs(height) < ball_radius - 0.05
        ]
        layer_groups = stacking.ball_layers(layer + layer_offset, heights, ball_radius)
        layer_groups = [
            layer_group for layer_group in layer_groups if all(len(layer_atoms) for layer_atoms in layer_group)
        ]
        if len(layer_groups) < 2:
            continue
        for sequence in stacking.rank_sequences(
            layer_groups, pair_curves, data, absolute=target.absolute, max_sequences=level.n_starts
        ):
            starts.append(_start_from_sequence(layer_groups, sequence, values))
    starts.sort(key=lambda start: start.misfit)
    stack_lattices = {start.lattice.packing: start.lattice for start in reversed(starts[: 4 * level.n_starts])}
    return _ellipsoid_starts(
        target, list(stack_lattices.values())[::-1], n_atoms, values, level, rng, atom_count_draws=atom_count_draws
    )


def _start_from_sequence(
    layers, sequence: stacking.StackingSequence, values: FitValues | None, *, alternate_outer_layers: bool = False
) -> LatticeParticle:
    """Return the particle with a given stacking sequence, on the lattice of this sequence.

    Args:
        layers: Atoms of each layer at each of its three lateral positions.
        sequence: Stacking sequence, with the position of each layer.
        values: Values of the fit parameters.
        alternate_outer_layers: Option `alternate_outer` of `stacking.stacking_letters` for layers outside the particle.
    """
    layer_positions, middle_layer = sequence.layer_positions, (len(layers) - 1) // 2
    positions = (
        np.concatenate([layers[layer][layer_position] for layer, layer_position in enumerate(layer_positions)])
        - layers[middle_layer][layer_positions[middle_layer]][0]
    )
    if (
        layer_positions[middle_layer + 1] - layer_positions[middle_layer]
    ) % 3 == 2:  # mirror it, because a stack of `lattices.stack` starts with a step to position 1
        positions = positions * np.array([1, -1, 1])
    lattice = lattice_sites.nearest_sites(
        stacking.stacking_letters(sequence, reference_layer=middle_layer, alternate_outer=alternate_outer_layers),
        positions.mean(axis=0),
        round(START_SITES_PER_ATOM * len(positions)),
    )
    return LatticeParticle(lattice, _occupied_sites(lattice, positions - lattice.origin), values, sequence.misfit)


def _occupied_sites(lattice: LatticeSites, positions: np.ndarray) -> np.ndarray:
    """Return, for each site of a lattice, whether an atom of a particle occupies the site."""
    distance, nearest = KDTree(lattice.positions).query(positions)
    is_occupied = np.zeros(len(lattice.positions), bool)
    is_occupied[nearest[distance < 0.3]] = True
    return is_occupied


def _stack_pair_curves(target: Target, values: FitValues) -> np.ndarray:
    """Return the curves of pairs of atoms at the distances that occur in a stack of close-packed layers."""
    distance = stacking.close_packed_distances(target.span.max_distance / target.bond) * target.bond
    float32_values = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), values)
    return np.asarray(_pair_curves(jnp.asarray(distance, jnp.float32), float32_values, target.basis))


def _grid_pair_curves(target: Target, values: FitValues) -> tuple[np.ndarray, float]:
    """Return the contribution of one pair of atoms to G(r) on a grid of distances, and the step of this grid.

    The step is in units of the bond length.
    """
    max_distance = target.span.max_distance / target.bond
    bin_width = max(site_moves.MIN_BIN_WIDTH, max_distance / (site_moves.N_DISTANCE_BINS - 2))
    distance = jnp.maximum(jnp.arange(site_moves.N_DISTANCE_BINS) * bin_width, 0.5) * target.bond
    float32_values = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), values)
    return np.asarray(_pair_curves(distance.astype(jnp.float32), float32_values, target.basis)), bin_width


def _particle_misfit(
    positions: np.ndarray, pair_curves: np.ndarray, bin_width: float, data: np.ndarray, absolute: bool
) -> float:
    """Return the approximate sum of squared residuals of a particle, with distances rounded to bins."""
    bin_indices = np.minimum(np.rint(pdist(positions) / bin_width), len(pair_curves) - 1).astype(int)
    model = np.bincount(bin_indices, minlength=len(pair_curves)).astype(np.float32) @ pair_curves / len(positions)
    overlap, model_norm = float(model @ data), float(model @ model)
    return float(data @ data) - (
        2 * overlap - model_norm if absolute else max(overlap, 0) ** 2 / max(model_norm, 1e-20)
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


def _with_best_start(
    target: Target, minima: SearchMinima | None, first_starts: Sequence[LatticeParticle], weights: CostWeights
) -> SearchMinima | None:
    """Return the minima, and in addition the best start if it has a lower cost than the best minimum.

    With binned distances, the result of a search never has a higher cost than the start. With the costs of exact fits,
    the order may be reversed.
    """
    start_minima = _rank_minima(target, first_starts, weights)
    if start_minima is None or (minima is not None and not start_minima.cost[0] < minima.cost[0]):
        return minima
    best_start = start_minima.best(1)
    return best_start if minima is None else _merge_minima(target, best_start, minima, weights)


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
            start._replace(lattice=lattice, occupied_sites=_occupied_sites(lattice, positions - centre))
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


def _rank_minima(
    target: Target,
    search_ends: Sequence[LatticeParticle],
    weights: CostWeights,
    *,
    earlier_minima: SearchMinima | None = None,
    initial_values: FitValues | None = None,
) -> SearchMinima | None:
    """Return the distinct particles with their fits, lowest cost first; None if no particle has enough atoms.

    Args:
        target: Measured data and settings of the fit.
        search_ends: Particles on their lattices.
        weights: Weights of the terms of the cost function.
        earlier_minima: Particles that are fitted already.
        initial_values: Fitted values of a similar particle, from which the fits start.
    """
    clusters, starts, identities = [], [], []
    known_identities = set(earlier_minima.identities if earlier_minima else ())
    for start in search_ends:
        positions = start.lattice.positions[start.occupied_sites]
        if len(positions) < site_moves.MIN_ATOMS:
            continue
        cluster = lattices.centred_cluster(
            _observed_family(positions), _lattice_label(start.lattice.packing), positions
        )
        identity = library.moments(np.round(cluster.positions, 4))
        if identity not in known_identities:
            known_identities.add(identity)
            clusters.append(cluster)
            starts.append(start)
            identities.append(identity)
    if not clusters:
        return earlier_minima
    fitted_candidates = _fit_particles(target, clusters, initial_values)
    starts = [
        start._replace(values=candidates.select_rows(fitted_candidates.fits.values, row), relaxation_curve=None)
        for row, start in enumerate(starts)
    ]
    shape_cost = np.array(
        [lattice_sites.excess_occupancy_cost(start.lattice, start.occupied_sites) for start in starts]
    )
    new_minima = SearchMinima(starts, fitted_candidates, np.zeros(len(starts)), shape_cost, identities)
    return _merge_minima(target, earlier_minima, new_minima, weights)


def _fit_particles(target: Target, clusters: Sequence[Cluster], initial_values: FitValues | None) -> FittedCandidates:
    """Return particles with their fits, which start from given values."""
    cluster_library = library.from_clusters(clusters)
    fields = FieldStore(cluster_library, target.element) if target.element else None
    pool = candidates.candidate_pool(
        [CandidateGroup("search", cluster_library, np.arange(len(clusters)), fields=fields)]
    )
    if initial_values is None:
        fits = candidates.fit_all(pool, target)
        first_values = fits.values
    else:
        first_values = jax.tree.map(lambda value: np.full(len(clusters), value, np.float32), initial_values)
    if fields or initial_values is not None:
        fits = candidates.fit_all(pool, target, start=first_values)
    return FittedCandidates(pool, fits)


def _merge_minima(
    target: Target, earlier_minima: SearchMinima | None, new_minima: SearchMinima, weights: CostWeights
) -> SearchMinima:
    """Return the particles of both lists, lowest cost first.

    The changes of G(r) by the relaxation are computed for the best particles that do not have them yet.
    """
    first = [earlier_minima] if earlier_minima else []
    starts = [start for minima in (*first, new_minima) for start in minima.starts]
    identities = [identity for minima in (*first, new_minima) for identity in minima.identities]
    shape_cost = np.concatenate([minima.shape_cost for minima in (*first, new_minima)])
    fitted_candidates = new_minima.fitted_candidates
    if earlier_minima:
        fitted_candidates = candidates.join(earlier_minima.fitted_candidates, fitted_candidates)
    fits = fitted_candidates.fits
    squares = np.asarray(fits.rw, float) ** 2 + site_moves.MIN_SEARCH_RW**2
    cost = 0.5 * float(weights.n_effective) * np.log(squares) + float(weights.shape_weight) * shape_cost
    if not target.absolute:
        cost += 0.5 * (np.log(np.maximum(fits.values.scale, 1e-3)) / LOG_SCALE_SPREAD) ** 2
    order = np.argsort(np.where(np.isfinite(cost), cost, np.inf), kind="stable")
    missing_rows = [row for row in order[:MAX_CORRECTED] if starts[row].relaxation_curve is None]
    if missing_rows:
        relaxation_curves = relaxed_screening.relaxation_curves(
            candidates.select_fitted(fitted_candidates, np.array(missing_rows)), target, free=DEFAULT_FREE_PARAMETERS
        )
        for row, curve in zip(missing_rows, relaxation_curves, strict=True):
            starts[row] = starts[row]._replace(relaxation_curve=curve)
    last_curve = starts[order[:MAX_CORRECTED][-1]].relaxation_curve
    ranked_starts = [
        starts[row] if place < MAX_CORRECTED else starts[row]._replace(relaxation_curve=last_curve)
        for place, row in enumerate(order)
    ]
    return SearchMinima(
        ranked_starts,
        candidates.select_fitted(fitted_candidates, order),
        cost[order],
        shape_cost[order],
        [identities[row] for row in order],
    )


def _observed_family(positions: np.ndarray) -> str:
    """Return the library family whose clusters have the same structure type as a particle."""
    type_name = structure_type.identify_structure_type(positions).name
    return {"faulted": "fault"}.get(type_name, type_name) or "fault"


def _lattice_label(packing: str) -> str:
    """Return the description of a lattice for the recipe of a particle."""
    return f"sites of {'a stack' if packing not in lattice_sites.UNSTACKED_PACKINGS else packing}"


def _effective_points(target: Target, fitted_candidates: FittedCandidates) -> float:
    """Return the effective number of independent points, estimated from the residual of the best fit."""
    pool, fits = fitted_candidates
    best_row = np.argsort(np.where(np.isfinite(fits.rw), fits.rw, np.inf), kind="stable")[:1]
    best_curves, _ = fit.fitted_curves(
        candidates.select_rows(fits, best_row),
        candidates.cluster_tables(pool.select(best_row), target, start=candidates.select_rows(fits.values, best_row)),
        target,
    )
    return statistics.effective_points(target.g - best_curves[0], target.n_independent, accuracy=target.accuracy)


def _restack(target: Target, minima: SearchMinima, max_starts: int) -> list[LatticeParticle]:
    """Return starts that contain the layers of the best stack in the other sequences that fit best.

    The last start keeps the sequence of the particle, but the empty layers outside it are stacked differently. The list
    is empty if no stack is among the best minima.
    """
    best = next(
        (start for start in minima.starts[:4] if start.lattice.packing not in lattice_sites.UNSTACKED_PACKINGS), None
    )
    if best is None or best.values is None:
        return []
    layers, layer_positions = stacking.shifted_layers(best.lattice.positions[best.occupied_sites])
    if len(layers) < 3:
        return []
    target = PackingStart(0, best.values, best.relaxation_curve).corrected(target)
    sequences = stacking.rank_sequences(
        layers,
        _stack_pair_curves(target, best.values),
        np.asarray(target.basis.data),
        absolute=target.absolute,
        max_sequences=max_starts + 1,
    )
    current_sequence = stacking.StackingSequence(layer_positions, 0.0)
    current_letters = current_sequence.letters, current_sequence.letters[::-1]
    new_starts = [
        _start_from_sequence(layers, sequence, best.values)
        for sequence in sequences
        if sequence.letters not in current_letters
    ][: max_starts - 1]
    new_starts.append(_start_from_sequence(layers, current_sequence, best.values, alternate_outer_layers=True))
    return [start._replace(relaxation_curve=best.relaxation_curve) for start in new_starts]


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
