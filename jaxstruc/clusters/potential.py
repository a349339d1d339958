r"""The energy of a metal cluster by a many-body potential, and the positions of least energy.

The potential is the second-moment approximation of tight binding (Gupta form),

$$E = \sum_i \Big[ \sum_j A e^{-p(r_{ij} - 1)} c(r_{ij})
      - \big( \sum_j \xi^2 e^{-2q(r_{ij} - 1)} c(r_{ij}) \big)^{1/2} \Big],$$

with distances r in units of the bond length of the bulk metal, and a smooth cut-off c (F. Cleri, V. Rosato,
Phys. Rev. B 48, 22 (1993), doi 10.1103/PhysRevB.48.22). The first term is the repulsion of the cores. The second term
is the energy of the d band, which grows with the square root of the number of neighbours. Surface atoms therefore have
shorter bonds.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree

from jaxstruc.clusters.distances import safe_sqrt

CUTOFF_START, CUTOFF_END = 1.9, 2.3
"""Distances between which the potential is switched off, in bond lengths. The neighbours of an fcc crystal at 1.73
contribute fully, and those at 2.24 little. A shorter range changes the relaxation of metals whose hopping integral
decays slowly, e.g. Ni."""
MAX_STEP = 0.1
"""Largest step of a minimisation, as the root mean square displacement of the atoms in bond lengths."""
N_STEPS = 25
"""Number of steps of a minimisation. The displacements then differ from those of the minimum by about 1 %."""
N_CORRECTIONS = 8
"""Number of previous steps that L-BFGS uses."""


class Potential(NamedTuple):
    """Parameters of the second-moment potential of a metal."""

    repulsion_energy: float
    """Energy A of a pair of neighbours, in eV."""
    hopping_energy: float
    """Hopping integral ξ between neighbours, in eV."""
    repulsion_decay: float
    """Decay p of the repulsion with the distance, per bond length."""
    hopping_decay: float
    """Decay q of the hopping integral with the distance, per bond length."""


POTENTIALS = {
    "Al": Potential(0.1221, 1.316, 8.612, 2.516),
    "Ni": Potential(0.0376, 1.070, 16.999, 1.189),
    "Cu": Potential(0.0855, 1.224, 10.960, 2.278),
    "Rh": Potential(0.0629, 1.660, 18.450, 1.867),
    "Pd": Potential(0.1746, 1.718, 10.867, 3.742),
    "Ag": Potential(0.1028, 1.178, 10.928, 3.139),
    "Ir": Potential(0.1156, 2.289, 16.980, 2.691),
    "Pt": Potential(0.2975, 2.695, 10.612, 4.004),
    "Au": Potential(0.2061, 1.790, 10.229, 4.036),
    "Pb": Potential(0.0980, 0.914, 9.576, 3.648),
    "Ti": Potential(0.1519, 1.811, 8.620, 2.390),
    "Co": Potential(0.0950, 1.488, 11.604, 2.286),
}
"""Potentials of metals from table II of Cleri and Rosato (1993)."""
COHESIVE_ENERGIES = {
    "Al": 3.39, "Ni": 4.44, "Cu": 3.49, "Rh": 5.75, "Pd": 3.89, "Ag": 2.95, "Ir": 6.94, "Pt": 5.84, "Au": 3.81,
    "Pb": 2.03, "Ti": 4.85, "Co": 4.39, "Fe": 4.28, "Cr": 4.10, "V": 5.31, "Mo": 6.82, "W": 8.90, "Nb": 7.57,
    "Ta": 8.10, "Ru": 6.74, "Os": 8.17, "Re": 8.03, "Mn": 2.92, "Zn": 1.35, "Cd": 1.16, "Mg": 1.51, "Zr": 6.25,
    "Hf": 6.44, "Sc": 3.90, "Y": 4.37,
}  # fmt: skip
"""Cohesive energies of metals in eV for each atom (C. Kittel, Introduction to Solid State Physics, 8th edition, Wiley,
2005, chapter 3, table 1)."""
SHELLS = ((1.0, 12), (math.sqrt(2), 6), (math.sqrt(3), 24), (2.0, 12), (math.sqrt(5), 24))
"""Distances of the neighbours in an fcc crystal in bond lengths, and their numbers, up to the cut-off."""


def metal_potential(element: str) -> Potential:
    """Return the potential of a metal.

    A metal that the table does not contain gets the mean p and q of the table. Its A and ξ then follow from the
    cohesive energy and from zero pressure at the bond length of an fcc crystal. An unknown cohesive energy is taken as
    1 eV, because the energy scale does not change the positions of least energy.

    Args:
        element: Symbol of the element.
    """
    if element in POTENTIALS:
        return POTENTIALS[element]
    repulsion_decay = float(np.mean([entry.repulsion_decay for entry in POTENTIALS.values()]))
    hopping_decay = float(np.mean([entry.hopping_decay for entry in POTENTIALS.values()]))
    distances, counts = np.array(SHELLS).T
    (repulsion, attraction), slopes = jax.jvp(
        lambda distance: _pair_terms(distance, Potential(1.0, 1.0, repulsion_decay, hopping_decay)),
        (jnp.asarray(distances),),
        (jnp.asarray(distances),),
    )
    repulsion, band_width, repulsion_slope, band_slope = (
        float(jnp.sum(counts * term)) for term in (repulsion, attraction, *slopes)
    )
    # The energy is A a - ξ b, and its derivative with respect to a common factor on all distances is A a' - ξ b'.
    root = math.sqrt(band_width)
    equations = [[repulsion, -root], [repulsion_slope, -0.5 * band_slope / root]]
    energies = np.linalg.solve(equations, [-COHESIVE_ENERGIES.get(element, 1.0), 0.0])
    return Potential(float(energies[0]), float(energies[1]), repulsion_decay, hopping_decay)


def bulk_expansion(potential: Potential) -> float:
    """Return the relative change of the bond length of an fcc crystal at the minimum of its energy.

    The change is small, because the parameters belong to the bond length 1. It is not 0, because they were fitted
    without the cut-off of this module.
    """
    return float(_lowest_energy_factor(potential)) - 1


@jax.jit
def _lowest_energy_factor(potential: Potential) -> Float[Array, ""]:
    """Return the factor on all distances of an fcc crystal at which its energy is lowest."""
    distances, counts = np.array(SHELLS).T
    factors = jnp.linspace(0.97, 1.03, 601)
    repulsion, attraction = _pair_terms(factors[:, None] * distances, potential)
    energies = potential.repulsion_energy * repulsion @ counts - potential.hopping_energy * jnp.sqrt(
        attraction @ counts
    )
    return factors[jnp.argmin(energies)]


class Neighbours(NamedTuple):
    """Neighbours of each atom within the cut-off. Padding has mask False."""

    indices: Int[Array | np.ndarray, "*batch atom neighbour"]
    """Indices of the neighbours."""
    mask: Bool[Array | np.ndarray, "*batch atom neighbour"]
    """True for neighbours, False for padding."""


def find_neighbours(positions: Float[np.ndarray, "atom 3"], *, margin: float = 0.03) -> list[np.ndarray]:
    """Return the indices of the neighbours of each atom within the cut-off and a margin, in which the atoms may move.

    Args:
        positions: Positions in bond lengths.
        margin: Distance beyond the cut-off, in bond lengths.
    """
    pairs = KDTree(positions).query_pairs(CUTOFF_END + margin, output_type="ndarray")
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    counts = np.bincount(pairs[:, 0], minlength=len(positions))
    return np.split(pairs[:, 1], np.cumsum(counts)[:-1])


def cutoff(distance: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Return the weight of pairs, which falls from 1 to 0 and has two continuous derivatives."""
    x = jnp.clip((CUTOFF_END - distance) / (CUTOFF_END - CUTOFF_START), 0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x**2)


def energy(positions: Float[Array, "atom 3"], neighbours: Neighbours, potential: Potential) -> Float[Array, ""]:
    """Return the energy of a cluster in eV, differentiable in all arguments.

    Args:
        positions: Positions in bond lengths of the bulk metal. Padding may have any.
        neighbours: Neighbours of each atom. Padding has none.
        potential: Potential of the metal.
    """
    distance, _ = _neighbour_vectors(positions, neighbours)
    repulsion, attraction = _pair_terms(distance, potential)
    pair_energy = potential.repulsion_energy * jnp.sum(repulsion)
    return pair_energy - potential.hopping_energy * jnp.sum(safe_sqrt(jnp.sum(attraction, axis=1)))


def energy_and_gradient(
    positions: Float[Array, "atom 3"], neighbours: Neighbours, potential: Potential
) -> tuple[Float[Array, ""], Float[Array, "atom 3"]]:
    """Return the energy in eV and its gradient in eV per bond length. Lists of neighbours must be symmetric."""
    energies, gradient = atom_energies_and_gradient(positions, neighbours, potential)
    return jnp.sum(energies), gradient


def atom_energies_and_gradient(
    positions: Float[Array, "atom 3"], neighbours: Neighbours, potential: Potential
) -> tuple[Float[Array, " atom"], Float[Array, "atom 3"]]:
    """Return the energy of each atom in eV, and the gradient of their sum in eV per bond length.

    The gradient is written out, because the derivative of a gather is a slow scatter. It requires symmetric lists of
    neighbours.
    """
    distance, directions = _neighbour_vectors(positions, neighbours)
    repulsion, attraction, repulsion_slope, attraction_slope = _pair_terms_and_slopes(distance, potential)
    band_width = jnp.sum(attraction, axis=1)
    has_neighbours = band_width > 0
    inverse_root = jnp.where(has_neighbours, jax.lax.rsqrt(jnp.where(has_neighbours, band_width, 1.0)), 0.0)
    energies = potential.repulsion_energy * jnp.sum(repulsion, axis=1)
    energies -= potential.hopping_energy * band_width * inverse_root
    root_sum = inverse_root[:, None] + _gather(inverse_root, neighbours.indices)
    slope = (
        2 * potential.repulsion_energy * repulsion_slope - potential.hopping_energy / 2 * attraction_slope * root_sum
    )
    slope = slope / jnp.maximum(distance, 1e-6)
    return energies, jnp.stack([jnp.sum(slope * direction, axis=1) for direction in directions], axis=-1)


def _neighbour_vectors(positions, neighbours):
    """Return the distances to the neighbours, and the x, y and z components of the vectors from the neighbours."""
    vectors = [positions[:, k, None] - _gather(positions[:, k], neighbours.indices) for k in range(3)]
    distance = safe_sqrt(sum(vector**2 for vector in vectors))
    return jnp.where(neighbours.mask, distance, CUTOFF_END), vectors


def _pair_terms(distance, potential: Potential):
    """Return the repulsion and the squared hopping integral of pairs, relative to A and to the square of ξ."""
    weight = cutoff(distance)
    return (
        weight * jnp.exp(-potential.repulsion_decay * (distance - 1)),
        weight * jnp.exp(-2 * potential.hopping_decay * (distance - 1)),
    )


def _pair_terms_and_slopes(distance, potential: Potential):
    """Return the terms of `_pair_terms` and their derivatives with respect to the distance."""
    x = jnp.clip((CUTOFF_END - distance) / (CUTOFF_END - CUTOFF_START), 0.0, 1.0)
    weight = x**3 * (10 - 15 * x + 6 * x**2)
    weight_slope = -30 / (CUTOFF_END - CUTOFF_START) * (x * (1 - x)) ** 2
    repulsion_decay, hopping_decay = potential.repulsion_decay, 2 * potential.hopping_decay
    repulsion, attraction = jnp.exp(-repulsion_decay * (distance - 1)), jnp.exp(-hopping_decay * (distance - 1))
    return (
        weight * repulsion,
        weight * attraction,
        (weight_slope - repulsion_decay * weight) * repulsion,
        (weight_slope - hopping_decay * weight) * attraction,
    )


def _gather(values, indices):
    """Return the values at indices that are known to be valid, without the checks of an ordinary index."""
    return values.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)


class Relaxation(NamedTuple):
    """Relaxed clusters."""

    positions: Float[Array, "*batch atom 3"]
    """Positions of the atoms, in bond lengths."""
    start_energy: Float[Array, " cluster"]
    """Energy of the initial positions of each cluster, in eV."""
    energy: Float[Array, " cluster"]
    """Energy of the relaxed positions, in eV. It does not exceed the energy of the initial positions."""


class _Corrections(NamedTuple):
    """Previous steps of L-BFGS, newest first."""

    steps: Float[Array, "correction atom 3"]
    gradient_changes: Float[Array, "correction atom 3"]
    inverse_curvatures: Float[Array, "correction cluster"]
    """Inverse of the product of step and change of the gradient; 0 if a step is not used."""


class _Minimisation(NamedTuple):
    """State of a minimisation."""

    positions: Float[Array, "atom 3"]
    step: Float[Array, "atom 3"]
    """Step that led to the positions."""
    gradient: Float[Array, "atom 3"]
    """Gradient at the previous positions, relative to the stiffness of a bond."""
    corrections: _Corrections
    best: Float[Array, "atom 3"]
    best_energy: Float[Array, " cluster"]


@jax.jit
def relax(positions: Float[Array, "batch atom 3"], neighbours: Neighbours, potential: Potential) -> Relaxation:
    """Return the clusters with the least energy that L-BFGS visits. The initial positions are one of its points.

    Args:
        positions: Initial positions in bond lengths of the bulk metal.
        neighbours: Neighbours of each atom, with a leading axis of clusters.
        potential: Potential of the metal.
    """
    n_clusters, n_atoms, _ = positions.shape
    cluster_index = jnp.repeat(jnp.arange(n_clusters), n_atoms)
    first_atoms = (n_atoms * jnp.arange(n_clusters))[:, None, None]
    joined_neighbours = jax.tree.map(
        lambda column: column.reshape(n_clusters * n_atoms, -1),
        Neighbours(neighbours.indices + first_atoms, neighbours.mask),
    )
    relaxation = relax_joined(
        positions.reshape(-1, 3), joined_neighbours, cluster_index, potential, n_clusters=n_clusters
    )
    return relaxation._replace(positions=relaxation.positions.reshape(positions.shape))


@partial(jax.jit, static_argnames="n_clusters")
def relax_joined(
    positions: Float[Array, "atom 3"],
    neighbours: Neighbours,
    cluster_index: Int[Array, " atom"],
    potential: Potential,
    *,
    n_clusters: int,
) -> Relaxation:
    """Return relaxed clusters of different sizes, whose atoms follow each other in one array.

    Each cluster is minimised by its own L-BFGS (J. Nocedal, Math. Comput. 35, 773 (1980), doi 10.2307/2006193), whose
    inner products are sums over its atoms. No step is longer than `MAX_STEP`.

    Args:
        positions: Initial positions in bond lengths of the bulk metal. Padding may have any.
        neighbours: Neighbours of each atom, as indices in the array of all atoms. Padding has none.
        cluster_index: Index of the cluster of each atom.
        potential: Potential of the metal.
        n_clusters: Number of clusters.
    """
    stiffness = potential.repulsion_energy * potential.repulsion_decay**2

    def cluster_sum(values):
        return jax.ops.segment_sum(values, cluster_index, n_clusters)

    def dot(first, second):
        return cluster_sum(jnp.sum(first * second, axis=-1))

    def spread(values):
        return values[cluster_index][:, None]

    n_atoms = jnp.maximum(cluster_sum(jnp.any(neighbours.mask, axis=1).astype(positions.dtype)), 1.0)

    def take_step(state: _Minimisation, _):
        energies, gradient = atom_energies_and_gradient(state.positions, neighbours, potential)
        value, gradient = cluster_sum(energies), gradient / stiffness
        is_better = value < state.best_energy
        best = jnp.where(spread(is_better), state.positions, state.best)
        corrections = _add_correction(state.corrections, state.step, gradient - state.gradient, dot)
        direction = _preconditioned_gradient(gradient, corrections, dot, spread)
        length = jnp.sqrt(dot(direction, direction) / n_atoms + 1e-30)
        step = -direction * spread(jnp.minimum(1.0, MAX_STEP / length))
        best_energy = jnp.where(is_better, value, state.best_energy)
        return _Minimisation(state.positions + step, step, gradient, corrections, best, best_energy), value

    zeros = jnp.zeros_like(positions)
    history = jnp.zeros((N_CORRECTIONS, *positions.shape), positions.dtype)
    corrections = _Corrections(history, history, jnp.zeros((N_CORRECTIONS, n_clusters), positions.dtype))
    no_energy = jnp.full(n_clusters, jnp.inf, positions.dtype)
    state = _Minimisation(positions, zeros, zeros, corrections, positions, no_energy)
    state, values = jax.lax.scan(take_step, state, length=N_STEPS)
    return Relaxation(state.best, values[0], state.best_energy)


def _add_correction(corrections: _Corrections, step, gradient_change, dot) -> _Corrections:
    """Return the corrections with a new one in front. A step without positive curvature is not used."""
    curvature = dot(step, gradient_change)
    is_usable = curvature > 1e-10
    inverse_curvature = jnp.where(is_usable, 1 / jnp.where(is_usable, curvature, 1.0), 0.0)
    newest = _Corrections(step, gradient_change, inverse_curvature)
    return jax.tree.map(lambda column, new: jnp.concatenate([new[None], column[:-1]]), corrections, newest)


def _preconditioned_gradient(gradient, corrections: _Corrections, dot, spread):
    """Return the product of the inverse Hessian that L-BFGS estimates with the gradient."""

    def subtract(direction, correction: _Corrections):
        weight = correction.inverse_curvatures * dot(correction.steps, direction)
        return direction - spread(weight) * correction.gradient_changes, weight

    def add(direction, weighted):
        correction, weight = weighted
        weight -= correction.inverse_curvatures * dot(correction.gradient_changes, direction)
        return direction + spread(weight) * correction.steps, None

    direction, weights = jax.lax.scan(subtract, gradient, corrections)
    newest = jax.tree.map(lambda column: column[0], corrections)
    stiffness = newest.inverse_curvatures * dot(newest.gradient_changes, newest.gradient_changes)
    direction *= spread(jnp.where(stiffness > 0, 1 / jnp.where(stiffness > 0, stiffness, 1.0), 1.0))
    return jax.lax.scan(add, direction, (corrections, weights), reverse=True)[0]
