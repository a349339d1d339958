r"""The energy of metal clusters by a many-body potential, and the displacements of their atoms when they relax.

Clusters of the library are rigid cuts of a perfect lattice or packing. In a real particle the atoms relax: surfaces
contract, and the shells of icosahedra are strained. `displacement_fields` gives the direction of this relaxation for
each atom. How far the atoms of a sample moved along it is a parameter of the fits.

The potential is the second-moment approximation of tight binding (Gupta form),

$$E = \sum_i \Big[ \sum_j A e^{-p(r_{ij} - 1)} c(r_{ij})
      - \big( \sum_j \xi^2 e^{-2q(r_{ij} - 1)} c(r_{ij}) \big)^{1/2} \Big],$$

with distances r in units of the bond length of the bulk metal, and a smooth cut-off c (F. Cleri, V. Rosato,
Phys. Rev. B 48, 22 (1993), doi 10.1103/PhysRevB.48.22). The first term repels, and the second is the energy of the d
band, which grows with the root of the number of neighbours. Surface atoms therefore have shorter bonds.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree

from jaxstruc.clusters.distances import safe_sqrt

CUTOFF_START, CUTOFF_END = 1.75, 2.2
"""Distances between which the potential is switched off, in bond lengths. The neighbours of an fcc crystal at 1.73 still
contribute fully, and those at 2.24 not at all."""
MAX_BOND = 1.2
"""Longest distance between nearest neighbours, in bond lengths."""
MAX_BOND_CHANGE = 0.15
"""Largest change of the length of a bond, in bond lengths, for which the atoms still have the same neighbours."""
MAX_STEP = 0.1
"""Largest step of a minimisation, as the root mean square displacement of the atoms in bond lengths."""
N_STEPS = 40
"""Number of steps of a minimisation."""
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


class Neighbours(NamedTuple):
    """Neighbours of each atom within the cut-off. Padding has mask False."""

    index: Int[Array | np.ndarray, "*batch atom neighbour"]
    """Indices of the neighbours."""
    mask: Bool[Array | np.ndarray, "*batch atom neighbour"]
    """True for neighbours, False for padding."""


def find_neighbours(positions: Float[np.ndarray, "atom 3"], *, margin: float = 0.1) -> list[np.ndarray]:
    """Return the neighbours of each atom within the cut-off and a margin, in which the atoms may move.

    Args:
        positions: Positions in bond lengths.
        margin: Distance beyond the cut-off, in bond lengths.
    """
    tree = KDTree(positions)
    return [
        np.array([neighbour for neighbour in row if neighbour != atom], int)
        for atom, row in enumerate(tree.query_ball_point(positions, CUTOFF_END + margin))
    ]


def cutoff(distance: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Return the weight of pairs, which falls from 1 to 0 and has two continuous derivatives."""
    x = jnp.clip((CUTOFF_END - distance) / (CUTOFF_END - CUTOFF_START), 0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x**2)


def energy(
    positions: Float[Array, "atom 3"], neighbours: Neighbours, potential: Potential
) -> Float[Array, ""]:
    """Return the energy of a cluster in eV.

    Args:
        positions: Positions in bond lengths of the bulk metal. Padding may have any.
        neighbours: Neighbours of each atom. Padding has none.
        potential: Potential of the metal.
    """
    vectors = [positions[:, None, k] - positions[:, k][neighbours.index] for k in range(3)]
    distance = safe_sqrt(sum(vector**2 for vector in vectors))
    distance = jnp.where(neighbours.mask, distance, CUTOFF_END)
    weight = cutoff(distance)
    repulsion = jnp.sum(weight * jnp.exp(-potential.repulsion_decay * (distance - 1)), axis=1)
    band_width = jnp.sum(weight * jnp.exp(-2 * potential.hopping_decay * (distance - 1)), axis=1)
    return jnp.sum(potential.repulsion_energy * repulsion - potential.hopping_energy * safe_sqrt(band_width))


@jax.jit
def relax(
    positions: Float[Array, "batch atom 3"], neighbours: Neighbours, potential: Potential
) -> tuple[Float[Array, "batch atom 3"], Float[Array, " batch"]]:
    """Return the positions of least energy of a minimisation, and their energy in eV. The start is among them."""
    stiffness = potential.repulsion_energy * potential.repulsion_decay**2
    optimizer = optax.scale_by_lbfgs(memory_size=N_CORRECTIONS)

    def relax_one(start, neighbours):
        mask = jnp.any(neighbours.mask, axis=1)
        n_atoms = jnp.maximum(mask.sum(), 1)
        value_and_gradient = jax.value_and_grad(lambda x: energy(x, neighbours, potential) / stiffness)

        def step(state, _):
            x, optimizer_state, best, best_value = state
            value, gradient = value_and_gradient(x)
            is_better = value < best_value
            best, best_value = jnp.where(is_better, x, best), jnp.where(is_better, value, best_value)
            update, optimizer_state = optimizer.update(gradient, optimizer_state, x)
            length = jnp.sqrt(jnp.sum(update**2) / n_atoms + 1e-30)
            return (x - update * jnp.minimum(1.0, MAX_STEP / length), optimizer_state, best, best_value), value

        state = (start, optimizer.init(start), start, jnp.asarray(jnp.inf, start.dtype))
        (_, _, best, best_value), values = jax.lax.scan(step, state, length=N_STEPS)
        return best, best_value * stiffness, values * stiffness

    return jax.vmap(relax_one)(positions, neighbours)
