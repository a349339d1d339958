"""Starts of the search over lattice sites: particles of one packing on a finite set of sites.

The best candidates of each packing give the number of atoms and the values of the fit. Starts are library clusters, and
ellipsoids with sizes close to those of the candidates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from jaxstruc.clusters import lattice_sites, lattices, library, size_classes
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.lattice_sites import LatticeSites
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import candidates, relaxed_screening, site_moves, stacking
from jaxstruc.pdf.candidates import FittedCandidates
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.target import Target

START_SITES_PER_ATOM = 2.6
"""Number of lattice sites for each atom of a start."""
MAX_SMALL_PARTICLE_ATOMS, MAX_SHAPE_FACTOR = 200, 5.0
"""Number of atoms below which more random shapes are compared, because small particles take less time; largest factor
by which the number of shapes is increased."""
LOG_AXIS_SPREAD = 0.2
"""Standard deviation of the logarithms of the axes of random ellipsoids."""
MAX_PACKING_RW = 0.6, 2.0
"""Largest difference between the Rw of a packing's best cluster and the smallest Rw of all clusters, and largest ratio
of the two. Packings above a limit are not searched, unless the classifier finds them probable."""
MAX_START_CANDIDATES = 60
"""Number of the best candidates that may become starts."""
CUBE_TO_STACK = np.array([[1, -1, 0], [1, 1, -2], [1, 1, 1]]) / np.sqrt([[2], [6], [3]])
"""Rotation matrix from the axes of a cubic cell to those of a stack, whose z axis is along [111]."""
PACKING_BY_TYPE = {"fcc": "stack", "hcp": "stack", "faulted": "stack"}
"""Packing of each structure type whose packing has another name than the type."""
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
        start = LatticeParticle(lattice, occupied_sites_of(lattice, positions - positions[0] - centre), values)
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
        start = LatticeParticle(lattice, occupied_sites_of(lattice, positions), values)
    return start if start.occupied_sites.sum() > 0.9 * len(positions) else None


def best_by_packing(fitted_candidates: FittedCandidates, target: Target) -> dict[str, PackingStart]:
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


def with_probable_packings(
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


def library_starts(
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


def packing_starts(
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


def restacked_starts(target: Target, minima: Sequence[LatticeParticle], max_starts: int) -> list[LatticeParticle]:
    """Return starts that contain the layers of the best stack in the other sequences that fit best.

    The last start keeps the sequence of the particle, but the empty layers outside it are stacked differently. The list
    is empty if no stack is among the given minima.

    Args:
        target: Measured data and settings of the fit.
        minima: Best particles of earlier searches, best first.
        max_starts: Largest number of starts.
    """
    best = next((start for start in minima if start.lattice.packing not in lattice_sites.UNSTACKED_PACKINGS), None)
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


def _relaxation_curve(fitted_candidates: FittedCandidates, row: int, target: Target) -> np.ndarray | None:
    """Return the change of G(r) by the relaxation of a fitted candidate; None if there is no change."""
    if not abs(fitted_candidates.fits.values.relaxation[row]) > relaxed_screening.MIN_RELAXATION:
        return None
    selected = candidates.select_fitted(fitted_candidates, np.array([row]))
    return relaxed_screening.relaxation_curves(selected, target, free=DEFAULT_FREE_PARAMETERS)[0]


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
    return LatticeParticle(lattice, occupied_sites_of(lattice, positions - lattice.origin), values, sequence.misfit)


def occupied_sites_of(lattice: LatticeSites, positions: np.ndarray) -> np.ndarray:
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
