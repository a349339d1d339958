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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree

from jaxstruc.clusters.distances import safe_sqrt

CUTOFF_START, CUTOFF_END = 1.9, 2.3
"""Distances between which the potential is switched off, in bond lengths. The neighbours of an fcc crystal at 1.73
contribute fully, and those at 2.24 little. A shorter range changes the relaxation of metals whose hopping integral
decays slowly, e.g. Ni."""
MAX_STEP = 0.1
"""Largest step of a minimisation, as the root mean square displacement of the atoms in bond lengths."""
N_STEPS = 30
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
    distances, counts = np.array(SHELLS).T
    factors = jnp.linspace(0.97, 1.03, 601)
    repulsion, attraction = _pair_terms(factors[:, None] * distances, potential)
    energies = potential.repulsion_energy * repulsion @ counts - potential.hopping_energy * jnp.sqrt(
        attraction @ counts
    )
    return float(factors[jnp.argmin(energies)]) - 1


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
    """Return the energy in eV and its gradient in eV per bond length.

    The gradient is written out, because the derivative of a gather is a slow scatter. It requires symmetric lists of
    neighbours.
    """
    distance, directions = _neighbour_vectors(positions, neighbours)
    (repulsion, attraction), (repulsion_slope, attraction_slope) = jax.jvp(
        lambda distance: _pair_terms(distance, potential), (distance,), (jnp.ones_like(distance),)
    )
    band_width = jnp.sum(attraction, axis=1)
    has_neighbours = band_width > 0
    inverse_root = jnp.where(has_neighbours, jax.lax.rsqrt(jnp.where(has_neighbours, band_width, 1.0)), 0.0)
    pair_energy = potential.repulsion_energy * jnp.sum(repulsion)
    value = pair_energy - potential.hopping_energy * jnp.sum(band_width * inverse_root)
    root_sum = inverse_root[:, None] + inverse_root[neighbours.indices]
    slope = (
        2 * potential.repulsion_energy * repulsion_slope - potential.hopping_energy / 2 * attraction_slope * root_sum
    )
    slope = slope / jnp.maximum(distance, 1e-6)
    return value, jnp.stack([jnp.sum(slope * direction, axis=1) for direction in directions], axis=-1)


def _neighbour_vectors(positions, neighbours):
    """Return the distances to the neighbours, and the x, y and z components of the vectors from the neighbours."""
    vectors = [positions[:, k, None] - positions[:, k][neighbours.indices] for k in range(3)]
    distance = safe_sqrt(sum(vector**2 for vector in vectors))
    return jnp.where(neighbours.mask, distance, CUTOFF_END), vectors


def _pair_terms(distance, potential: Potential):
    """Return the repulsion and the squared hopping integral of pairs, relative to A and to the square of ξ."""
    weight = cutoff(distance)
    return (
        weight * jnp.exp(-potential.repulsion_decay * (distance - 1)),
        weight * jnp.exp(-2 * potential.hopping_decay * (distance - 1)),
    )


class Relaxation(NamedTuple):
    """Relaxed clusters."""

    positions: Float[Array, "batch atom 3"]
    """Positions of the atoms, in bond lengths."""
    start_energy: Float[Array, " batch"]
    """Energy of the initial positions, in eV."""
    energy: Float[Array, " batch"]
    """Energy of the relaxed positions, in eV. It does not exceed the energy of the initial positions."""


@jax.jit
def relax(positions: Float[Array, "batch atom 3"], neighbours: Neighbours, potential: Potential) -> Relaxation:
    """Return the clusters with the least energy that L-BFGS visits. The initial positions are one of its points.

    Args:
        positions: Initial positions in bond lengths of the bulk metal.
        neighbours: Neighbours of each atom.
        potential: Potential of the metal.
    """
    stiffness = potential.repulsion_energy * potential.repulsion_decay**2
    optimizer = optax.scale_by_lbfgs(memory_size=N_CORRECTIONS)

    def relax_one(start, neighbours):
        n_atoms = jnp.maximum(jnp.any(neighbours.mask, axis=1).sum(), 1)

        def step(state, _):
            x, optimizer_state, best, best_value = state
            value, gradient = energy_and_gradient(x, neighbours, potential)
            is_better = value < best_value
            best, best_value = jnp.where(is_better, x, best), jnp.where(is_better, value, best_value)
            update, optimizer_state = optimizer.update(gradient / stiffness, optimizer_state, x)
            length = jnp.sqrt(jnp.sum(update**2) / n_atoms + 1e-30)
            return (x - update * jnp.minimum(1.0, MAX_STEP / length), optimizer_state, best, best_value), value

        state = (start, optimizer.init(start), start, jnp.asarray(jnp.inf, start.dtype))
        (_, _, best, best_value), values = jax.lax.scan(step, state, length=N_STEPS)
        return Relaxation(best, values[0], best_value)

    return jax.vmap(relax_one)(positions, neighbours)
