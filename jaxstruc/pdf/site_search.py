"""The search for a particle that no list holds: hosts and starts from the candidates, rounds of searches and fits."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from jaxstruc import statistics
from jaxstruc.clusters import lattice_sites, lattices, library, size_classes, structure_type
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.lattice_sites import LatticeSites
from jaxstruc.pdf import candidates, fit, site_moves, stacking
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool
from jaxstruc.pdf.fit import Fit, FitValues
from jaxstruc.pdf.site_moves import SiteWeights
from jaxstruc.pdf.target import Target

SHAPE_PRIOR_WEIGHT = 1.0
"""Weight of the prior on shape: 1 takes the library's cuts for a sample of what there is."""
SMALL_PARTICLE_ATOMS, MAX_SHAPE_FACTOR = 200, 5.0
"""Atoms below which more shapes are tried, up to so many times as many: they cost less."""
LOG_AXIS_SPREAD = 0.2
"""Spread of the logarithms of their axes."""
LOG_SCALE_SPREAD = 0.3
"""Spread of the logarithm of the scale of data that are not absolute."""
START_SITES_PER_ATOM, SEARCH_SITES_PER_ATOM = 2.6, 2.0
"""Sites a host has for each atom of a start; and where they lie about its atoms."""
SITE_COUNTS = (256, 512, 1024, 1536, 2560, 3584)
"""Sites of hosts, so that few compilations do."""
SEARCH_BATCH, SEARCH_BATCH_ON_ACCELERATORS = 4, 32
"""Searches in one call."""
MAX_LEADER_RW = 0.6, 2.0
"""Packings are searched whose best cluster's Rw is at most so much above the least, and so many times it."""
MAX_START_CANDIDATES = 60
"""Candidates among which starts are looked for."""
SHAPE_WEIGHT_FACTORS = (1.0, 0.3)
"""What the prior on shape weighs in searches, round by round, times its weight: with less a search passes over."""
CUBE_TO_STACK = np.array([[1, -1, 0], [1, 1, -2], [1, 1, 1]]) / np.sqrt([[2], [6], [3]])
"""Turns the axes of a cube to those of a stack."""
PACKING_BY_TYPE = {"fcc": "stack", "hcp": "stack", "faulted": "stack"}
"""What is searched of a type, where that is not its own name."""


@dataclass(frozen=True)
class SearchLevel:
    """How long to search."""

    starts: int
    """Of each packing, in the first round."""
    origins: int
    """Tried for these."""
    shapes: int
    """Tried for these, of particles of `FEW` atoms or more."""
    min_rounds: int
    """After the first, at least."""
    max_continued: int
    """Ends that a round goes on from."""
    steps: int = 120
    """Of each search."""
    max_rounds: int = 8
    """And at most, while they find a better one."""
    walk_steps: int = 300
    """Steps of the walk that tells how sure the atoms are."""


HOLDOUT_LEVEL = SearchLevel(1, 12, 60, 1, 3)
"""Of searches on data to a cut."""
SEARCH_LEVELS = {"quick": SearchLevel(2, 24, 100, 3, 4, 100), "full": SearchLevel(8, 64, 400, 4, 12, 240)}


class SearchStart(NamedTuple):
    """A particle on a host."""

    lattice: LatticeSites
    occupied_sites: np.ndarray
    """[site]"""
    values: FitValues | None
    """Of the model; None where it is not to be searched."""
    misfit: float = math.inf
    """Rough."""


class SearchMinima(NamedTuple):
    """Ends of searches, best first."""

    starts: list[SearchStart]
    pool: CandidatePool
    cost: np.ndarray
    """[end] negative logarithm of the posterior, but for a constant."""
    shape_cost: np.ndarray
    """[end] its part by the shape."""
    fits: Fit


class SearchResult(NamedTuple):
    """What a search found."""

    group: CandidateGroup
    """Distinct particles, best first."""
    shape_cost: np.ndarray
    """[candidate] how much more unusual each is than listed ones, as a negative logarithm."""
    occupancy: list[np.ndarray]
    """[candidate][atom] how sure it is."""
    atom_counts: np.ndarray
    """[state] Numbers of atoms that the walks saw."""
    atom_count_weights: np.ndarray
    """[state] The posterior's share of each."""


def search_sites(
    target: Target,
    pool: CandidatePool,
    fits: Fit,
    *,
    level: SearchLevel,
    seed: int,
    shape_weight: float = SHAPE_PRIOR_WEIGHT,
    initial_leaders: Mapping[str, tuple[int, FitValues]] | None = None,
    draws_by_packing: Mapping[str, np.ndarray] | None = None,
    progress: Callable[[str], None] = lambda said: None,
) -> SearchResult | None:
    """Return the particles that searches over lattice sites find; None where no candidate is fit to begin from.

    Args:
        target: the data.
        pool: fitted candidates, best first.
        fits: of these.
        level: how long to search.
        seed: of starts and rests.
        shape_weight: of the prior on shape.
        initial_leaders: number of atoms and values to begin each packing from, in place of what candidates say.
        draws_by_packing: of each packing that is likely before any fit, draws of the number of atoms.
        progress: called with what is being done.
    """
    rng = np.random.default_rng([seed, 16])
    leaders = (
        _with_probable_packings(_packing_leaders(pool, fits), draws_by_packing)
        if initial_leaders is None
        else initial_leaders
    )
    if not leaders:
        return None
    effective_points = _effective_points(target, pool, fits)
    progress("places and stackings")
    packing_draws = draws_by_packing or {}
    starts = [
        start
        for packing, leader in leaders.items()
        for start in _packing_starts(target, packing, *leader, level, rng, atom_count_draws=packing_draws.get(packing))
    ]
    starts += _library_starts(pool, fits, leaders, level) if initial_leaders is None else []
    if not starts:
        return None
    n_atoms = max(int(start.occupied_sites.sum()) for start in starts)
    key = jax.random.key(seed)
    minima: SearchMinima | None = None
    for round_index in range(level.max_rounds + 1):
        progress(f"sites, round {round_index + 1} of {level.min_rounds + 1} to {level.max_rounds + 1}")
        weights = _site_weights(target, effective_points, shape_weight)
        softened_weights = weights._replace(
            shape_weight=weights.shape_weight * SHAPE_WEIGHT_FACTORS[round_index % len(SHAPE_WEIGHT_FACTORS)]
        )
        search_ends = _run_searches(
            target, starts, softened_weights, n_atoms, jax.random.fold_in(key, round_index), level
        )
        previous_identity = _best_identity(minima) if minima else None
        minima = _rank_minima(target, [*(minima.starts if minima else []), *search_ends], weights)
        if round_index == 0:
            minima = _with_best_start(target, minima, _recentre_lattices(starts, n_atoms), search_ends, weights)
        if minima is None:
            return None
        effective_points = _effective_points(target, minima.pool, minima.fits)
        starts = minima.starts[: level.max_continued]
        if round_index >= level.min_rounds and _best_identity(minima) == previous_identity:
            break
        if round_index < level.max_rounds:
            starts = [*starts[: max(level.max_continued - 2, 1)], *_restack(target, minima, 2)][
                : level.max_continued
            ] or starts
    assert minima is not None
    progress("how sure the sites are")
    return _summarize_search(target, minima, _site_weights(target, effective_points, shape_weight), n_atoms, key, level)


def _best_identity(minima: SearchMinima) -> tuple[int, float]:
    """Return what tells the best end apart."""
    return int(minima.starts[0].occupied_sites.sum()), float(minima.shape_cost[0])


def _site_weights(target: Target, effective_points: float, shape_weight: float) -> SiteWeights:
    scale_spread = 0.0 if target.absolute else LOG_SCALE_SPREAD
    return SiteWeights(
        *(jnp.asarray(value, jnp.float32) for value in (max(effective_points - 4.0, 8.0), shape_weight, scale_spread))
    )


def _packing_leaders(pool: CandidatePool, fits: Fit) -> dict[str, tuple[int, FitValues]]:
    """Return the number of atoms and the values of the best candidate of each packing that may be."""
    rw = np.where(np.isfinite(fits.rw) & ~pool.has_fault, fits.rw, np.inf)
    order = np.argsort(rw, kind="stable")
    leaders: dict[str, tuple[int, FitValues]] = {}
    families = pool.families
    for row in order:
        packing = FAMILY_TYPES.get(str(families[row]), "")
        packing = PACKING_BY_TYPE.get(packing, packing)
        if (
            not packing
            or packing in leaders
            or rw[row] > min(MAX_LEADER_RW[1] * rw[order[0]], rw[order[0]] + MAX_LEADER_RW[0])
        ):
            continue
        if not np.isfinite(rw[row]):
            break
        leaders[packing] = int(pool.atoms[row]), candidates.select_rows(fits.values, row)
        if len(leaders) == 3:
            break
    return leaders


def _with_probable_packings(
    leaders: Mapping[str, tuple[int, FitValues]], draws_by_packing: Mapping[str, np.ndarray] | None
) -> dict[str, tuple[int, FitValues]]:
    """Return leaders without improbable ones behind the first, and with what is likely though no candidate leads."""
    if not draws_by_packing or not leaders:
        return dict(leaders)
    first_packing, first_leader = next(iter(leaders)), next(iter(leaders.values()))
    selected_leaders = {
        packing: leader
        for packing, leader in leaders.items()
        if packing == first_packing or packing in draws_by_packing
    }
    return selected_leaders | {
        packing: (int(np.median(atom_draws)), first_leader[1])
        for packing, atom_draws in draws_by_packing.items()
        if packing not in selected_leaders
    }


def _library_starts(
    pool: CandidatePool, fits: Fit, leaders: Mapping[str, tuple[int, FitValues]], level: SearchLevel
) -> list[SearchStart]:
    """Return the best listed clusters of each packing on their hosts."""
    starts, start_counts = [], dict.fromkeys(leaders, 0)
    families = pool.families
    for row in range(min(len(fits.rw), MAX_START_CANDIDATES)):
        type_name = FAMILY_TYPES.get(str(families[row]), "")
        packing = PACKING_BY_TYPE.get(type_name, type_name)
        group = pool.groups[pool.group[row]]
        if group.source == "network" or pool.has_fault[row] or start_counts.get(packing, level.starts) >= level.starts:
            continue
        cluster = library.candidate_cluster(*pool.entry(row))
        if (start := start_from_cluster(cluster, packing, candidates.select_rows(fits.values, row))) is not None:
            starts.append(start)
            start_counts[packing] += 1
    return starts


def start_from_cluster(cluster: Cluster, packing: str, values: FitValues | None) -> SearchStart | None:
    """Return a listed cluster on its host; None where it lies on none."""
    positions = cluster.positions
    if packing == "stack":
        positions = positions @ CUBE_TO_STACK.T if cluster.family in ("fcc", "octahedron") else positions
        layers, layer_places = stacking.shifted_layers(positions)
        if len(layers) < 2:
            return None
        start = _start_from_sequence(layers, stacking.StackingSequence(layer_places, math.inf), values)
    elif packing in ("bcc", "sc"):
        centre = (positions - positions[0]).mean(axis=0)
        lattice = lattice_sites.nearest_sites(packing, centre, round(START_SITES_PER_ATOM * len(positions)))
        start = SearchStart(lattice, _occupied_sites(lattice, positions - positions[0] - centre), values)
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
        start = SearchStart(lattice, _occupied_sites(lattice, positions), values)
    return start if start.occupied_sites.sum() > 0.9 * len(positions) else None


def _packing_starts(
    target: Target,
    packing: str,
    atoms: int,
    values: FitValues,
    level: SearchLevel,
    rng,
    *,
    atom_count_draws: np.ndarray | None = None,
) -> list[SearchStart]:
    """Return the starts of a packing that fit best, roughly; half of them with drawn numbers of atoms."""
    if packing == "stack":
        return _stack_starts(target, atoms, values, level, rng, atom_count_draws=atom_count_draws)
    size = float(size_classes.equivalent_sphere_diameter(atoms, size_classes.atom_volume(packing)))
    max_atoms = atoms if atom_count_draws is None else max(atoms, float(np.quantile(atom_count_draws, 0.9)))
    n_sites = round(START_SITES_PER_ATOM * max(max_atoms, 8))
    packing_lattices = [
        lattice_sites.nearest_sites(packing, origin, n_sites)
        for origin in lattice_sites.random_origins(packing, size, level.origins, rng)
    ]
    return _ellipsoid_starts(target, packing_lattices, atoms, values, level, rng, atom_count_draws=atom_count_draws)


def _ellipsoid_starts(
    target: Target,
    candidate_lattices: Sequence[LatticeSites],
    atoms: int,
    values: FitValues,
    level: SearchLevel,
    rng,
    *,
    atom_count_draws: np.ndarray | None = None,
) -> list[SearchStart]:
    """Return the ellipsoids cut from hosts, of random axes and numbers of atoms, that fit best, roughly."""
    curves, width = _grid_pair_curves(target, values)
    data, starts = np.asarray(target.basis.data), []
    for trial in range(round(level.shapes * min(max(SMALL_PARTICLE_ATOMS / atoms, 1.0), MAX_SHAPE_FACTOR))):
        lattice = candidate_lattices[trial % len(candidate_lattices)]
        rotated_positions = lattice.positions @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        scaled_radii = np.linalg.norm(
            rotated_positions * np.exp(rng.normal(0, LOG_AXIS_SPREAD, 3)) + rng.normal(0, 0.2, 3), axis=1
        )
        n_atoms = max(round(atoms * rng.uniform(0.9, 1.1)), 8)
        if atom_count_draws is not None and trial % 2:
            n_atoms = min(int(rng.choice(atom_count_draws)), round(len(scaled_radii) / 2))
        occupied_sites = scaled_radii <= np.partition(scaled_radii, n_atoms - 1)[n_atoms - 1]
        starts.append(
            SearchStart(
                lattice,
                occupied_sites,
                values,
                _particle_misfit(lattice.positions[occupied_sites], curves, width, data, target.absolute),
            )
        )
    starts.sort(key=lambda start: start.misfit)
    return starts[: level.starts]


def _stack_starts(
    target: Target,
    atoms: int,
    values: FitValues,
    level: SearchLevel,
    rng,
    *,
    atom_count_draws: np.ndarray | None = None,
) -> list[SearchStart]:
    """Return the stacks that fit best as balls, all words tried."""
    data, curves = np.asarray(target.basis.data), _stack_pair_curves(target, values)
    radius = float(size_classes.equivalent_sphere_diameter(atoms, size_classes.atom_volume("c"))) / 2
    steps = np.arange(-math.ceil(radius) - 2, math.ceil(radius) + 3)
    i, j = np.meshgrid(steps, steps)
    layer = np.stack([i + j / 2, j * math.sqrt(0.75), 0 * i], axis=-1).reshape(-1, 3)
    starts: list[SearchStart] = []
    n_trials = max(4, level.origins // 6)
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
            layer_groups, curves, data, absolute=target.absolute, max_sequences=level.starts
        ):
            starts.append(_start_from_sequence(layer_groups, sequence, values))
    starts.sort(key=lambda start: start.misfit)
    stack_lattices = {start.lattice.packing: start.lattice for start in reversed(starts[: 4 * level.starts])}
    return _ellipsoid_starts(
        target, list(stack_lattices.values())[::-1], atoms, values, level, rng, atom_count_draws=atom_count_draws
    )


def _start_from_sequence(
    layers, sequence: stacking.StackingSequence, values: FitValues | None, *, other_packing_outside: bool = False
) -> SearchStart:
    """Return the particle of a word on its host; `other_packing_outside` is that of `stacking.word_of`."""
    layer_places, middle_layer = sequence.layer_positions, (len(layers) - 1) // 2
    positions = (
        np.concatenate([layers[layer][layer_place] for layer, layer_place in enumerate(layer_places)])
        - layers[middle_layer][layer_places[middle_layer]][0]
    )
    if (
        layer_places[middle_layer + 1] - layer_places[middle_layer]
    ) % 3 == 2:  # a stack's first step is to place 1: the mirror image
        positions = positions * np.array([1, -1, 1])
    lattice = lattice_sites.nearest_sites(
        stacking.stacking_letters(sequence, reference_layer=middle_layer, alternate_outer=other_packing_outside),
        positions.mean(axis=0),
        round(START_SITES_PER_ATOM * len(positions)),
    )
    return SearchStart(lattice, _occupied_sites(lattice, positions - lattice.origin), values, sequence.misfit)


def _occupied_sites(lattice: LatticeSites, positions: np.ndarray) -> np.ndarray:
    """Return which sites of a host a particle's atoms take."""
    distance, nearest = KDTree(lattice.positions).query(positions)
    is_occupied = np.zeros(len(lattice.positions), bool)
    is_occupied[nearest[distance < 0.3]] = True
    return is_occupied


def _stack_pair_curves(target: Target, values: FitValues) -> np.ndarray:
    """Return the curves of pairs at the distances that stacks have."""
    distance = stacking.close_packed_distances(target.span.max_distance / target.bond) * target.bond
    float32_values = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), values)
    return np.asarray(_pair_curves(jnp.asarray(distance, jnp.float32), float32_values, target.basis))


def _grid_pair_curves(target: Target, values: FitValues) -> tuple[np.ndarray, float]:
    """Return the curves of pairs at even distances, and their step in bonds."""
    longest = target.span.max_distance / target.bond
    width = max(site_moves.MIN_BIN_WIDTH, longest / (site_moves.N_DISTANCE_BINS - 2))
    distance = jnp.maximum(jnp.arange(site_moves.N_DISTANCE_BINS) * width, 0.5) * target.bond
    float32_values = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), values)
    return np.asarray(_pair_curves(distance.astype(jnp.float32), float32_values, target.basis)), width


_pair_curves = jax.jit(site_moves.pair_curves)


def _particle_misfit(
    positions: np.ndarray, curves: np.ndarray, width: float, data: np.ndarray, absolute: bool
) -> float:
    """Return the sum of squares of a particle's misfit."""
    bin_indices = np.minimum(np.rint(pdist(positions) / width), len(curves) - 1).astype(int)
    model = np.bincount(bin_indices, minlength=len(curves)).astype(np.float32) @ curves / len(positions)
    overlap, model_norm = float(model @ data), float(model @ model)
    return float(data @ data) - (
        2 * overlap - model_norm if absolute else max(overlap, 0) ** 2 / max(model_norm, 1e-20)
    )


def _run_searches(
    target: Target, starts: Sequence[SearchStart], weights: SiteWeights, n_atoms: int, key, level: SearchLevel
) -> list[SearchStart]:
    """Return where searches from starts end."""
    search_ends: list[SearchStart] = []
    batch = SEARCH_BATCH if jax.default_backend() == "cpu" else SEARCH_BATCH_ON_ACCELERATORS
    for batch_start in range(0, len(starts), batch):
        batch_starts = _recentre_lattices(starts[batch_start : batch_start + batch], n_atoms)
        site_arrays, occupation, values = _batch_starts(batch_starts, batch)
        final_state = jax.device_get(
            site_moves.search_sites(
                site_arrays,
                occupation,
                values,
                target.basis,
                weights,
                jax.random.fold_in(key, batch_start),
                level.steps,
            )
        )
        search_ends += [
            start._replace(occupied_sites=final_state.occupancy[row]) for row, start in enumerate(batch_starts)
        ]
    return search_ends


def _with_best_start(
    goal: Target,
    found: SearchMinima | None,
    first: Sequence[SearchStart],
    ended: Sequence[SearchStart],
    weights: SiteWeights,
) -> SearchMinima | None:
    """Return the ends of searches, with the best of their starts if it costs less than the best end.

    A search returns no particle that costs more than its start with curves made of bins; fits may see it otherwise.
    """
    begin = _rank_minima(goal, first, weights)
    if begin is None or (found is not None and not begin.cost[0] < found.cost[0]):
        return found
    return _rank_minima(goal, [begin.starts[0], *ended], weights)


def _recentre_lattices(starts: Sequence[SearchStart], n_atoms: int) -> list[SearchStart]:
    """Return the same particles, of so many atoms about, on hosts of one size, all about them."""
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


def _batch_starts(starts: Sequence[SearchStart], batch: int) -> tuple[site_moves.SiteGraph, np.ndarray, FitValues]:
    """Return hosts, taken sites and values of starts as a search takes them; the last is repeated to fill the batch."""
    padded_starts = [*starts, *[starts[-1]] * (batch - len(starts))]
    occupation = np.stack([start.occupied_sites for start in padded_starts]).astype(np.float32)
    values = jax.tree.map(
        lambda *columns: jnp.asarray(columns, jnp.float32), *(start.values for start in padded_starts)
    )
    return site_moves.site_graphs([start.lattice for start in padded_starts]), occupation, values


def _rank_minima(target: Target, search_ends: Sequence[SearchStart], weights: SiteWeights) -> SearchMinima | None:
    """Return distinct ends with their fits, best first; None where none is a particle."""
    clusters, distinct_starts, known_moments = [], [], set()
    for start in search_ends:
        positions = start.lattice.positions[start.occupied_sites]
        if len(positions) < site_moves.MIN_ATOMS:
            continue
        cluster = lattices.centred_cluster(
            _observed_family(positions), _lattice_label(start.lattice.packing), positions
        )
        if (moments := library.moments(np.round(cluster.positions, 4))) not in known_moments:
            known_moments.add(moments)
            clusters.append(cluster)
            distinct_starts.append(start)
    if not clusters:
        return None
    pool = candidates.candidate_pool(
        [CandidateGroup("search", library.from_clusters(clusters), np.arange(len(clusters)))]
    )
    fits = candidates.fit_all(pool, target)
    shape_cost = np.array(
        [lattice_sites.excess_occupancy_cost(start.lattice, start.occupied_sites) for start in distinct_starts]
    )
    squares = np.asarray(fits.rw, float) ** 2 + site_moves.CURVE_ACCURACY**2
    cost = 0.5 * float(weights.n_effective) * np.log(squares) + float(weights.shape_weight) * shape_cost
    if not target.absolute:
        cost += 0.5 * (np.log(np.maximum(fits.values.scale, 1e-3)) / LOG_SCALE_SPREAD) ** 2
    order = np.argsort(np.where(np.isfinite(cost), cost, np.inf), kind="stable")
    starts = [distinct_starts[row]._replace(values=candidates.select_rows(fits.values, row)) for row in order]
    return SearchMinima(starts, pool.select(order), cost[order], shape_cost[order], candidates.select_rows(fits, order))


def _observed_family(positions: np.ndarray) -> str:
    """Return the family that lists clusters of the same type."""
    type_name = structure_type.identify_structure_type(positions).name
    return {"faulted": "fault"}.get(type_name, type_name) or "fault"


def _lattice_label(packing: str) -> str:
    """Return a host in words."""
    return f"sites of {'a stack' if packing not in lattice_sites.UNSTACKED_PACKINGS else packing}"


def _effective_points(target: Target, pool: CandidatePool, fits: Fit) -> float:
    """Return the points that the residual of the best fit counts for."""
    best_row = np.argsort(np.where(np.isfinite(fits.rw), fits.rw, np.inf), kind="stable")[:1]
    curves, _ = fit.curves(
        candidates.select_rows(fits, best_row), candidates.cluster_tables(pool.select(best_row), target), target
    )
    return statistics.effective_points(target.g - curves[0], target.n_independent, accuracy=target.accuracy)


def _restack(target: Target, minima: SearchMinima, max_starts: int) -> list[SearchStart]:
    """Return the best stack's shape with other words of its layers that fit, and with other layers beyond."""
    best = next(
        (start for start in minima.starts[:4] if start.lattice.packing not in lattice_sites.UNSTACKED_PACKINGS), None
    )
    if best is None or best.values is None:
        return []
    layers, layer_places = stacking.shifted_layers(best.lattice.positions[best.occupied_sites])
    if len(layers) < 3:
        return []
    sequences = stacking.rank_sequences(
        layers,
        _stack_pair_curves(target, best.values),
        np.asarray(target.basis.data),
        absolute=target.absolute,
        max_sequences=max_starts + 1,
    )
    present_sequence = stacking.StackingSequence(layer_places, 0.0)
    present_letters = present_sequence.letters, present_sequence.letters[::-1]
    new_starts = [
        _start_from_sequence(layers, sequence, best.values)
        for sequence in sequences
        if sequence.letters not in present_letters
    ]
    return [
        *new_starts[: max_starts - 1],
        _start_from_sequence(layers, present_sequence, best.values, other_packing_outside=True),
    ]


def _summarize_search(
    target: Target, minima: SearchMinima, weights: SiteWeights, n_atoms: int, key, level: SearchLevel
) -> SearchResult:
    """Return the distinct particles, with what walks from the best say."""
    walk_starts = _recentre_lattices(minima.starts[:SEARCH_BATCH], n_atoms)
    site_arrays, occupation, values = _batch_starts(walk_starts, SEARCH_BATCH)
    walk_draws = jax.device_get(
        site_moves.sample_occupancies(
            site_arrays,
            occupation,
            values,
            target.basis,
            weights,
            jax.random.fold_in(key, 999),
            n_steps=level.walk_steps,
        )
    )
    minimum_weights = np.exp(minima.cost[0] - minima.cost[: len(walk_starts)])
    minimum_weights /= minimum_weights.sum()
    occupancy = [walk_draws.occupancy[row][start.occupied_sites] for row, start in enumerate(walk_starts)]
    group = minima.pool.groups[0]
    return SearchResult(
        group._replace(rows=group.rows[minima.pool.group_row]),
        minima.shape_cost,
        occupancy,
        walk_draws.atoms[: len(walk_starts)].ravel(),
        (minimum_weights[:, None] * walk_draws.time[: len(walk_starts)]).ravel(),
    )
