"""Random shells of other atoms around particles: light atoms of ligands or oxides, and disordered metal.

A shell atom lies at a random bond length from its nearest metal atom, on top of a surface atom or on a bridge between
two of them, and keeps a smallest distance from the other shell atoms. All lengths are in units of the bond length of
the metal.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

LIGHT_BOND_RANGE, METAL_BOND_RANGE = (0.70, 0.87), (0.95, 1.2)
"""Ranges of the distance of a shell atom from its nearest metal atom. Light atoms: O on Ni 0.80, on Pt 0.72; S on Ag
0.85, on Au 0.81, on Pt 0.83."""
CONTACT_RANGE = (0.9, 1.3)
"""Range of the smallest distance between shell atoms."""
MAX_DISPLACEMENT = 0.05
"""Largest standard deviation of the random displacements of shell atoms along each axis."""
COVERAGE_RANGE = (0.3, 1.0)
"""Range of the share of the places of a shell that are occupied."""
BRIDGE_PROBABILITY = 0.6
"""Probability that all atoms of a shell lie on bridges. Otherwise they lie at random places on the surface."""
N_TRIALS = 2000
"""Number of random places, of which those that keep the smallest distances are used."""
NEIGHBOUR_CUTOFF = 1.2
"""Largest distance of neighbours."""
OUTWARD_PREFERENCE = 1.5
"""Strength with which the directions of atoms on bridges point away from the centre, relative to random directions."""


class Shell(NamedTuple):
    """A shell around a particle."""

    positions: Float[np.ndarray, "atom 3"]
    is_metal: bool
    """Whether the shell consists of disordered metal, and not of light atoms."""


def random_shell(positions: Float[np.ndarray, "atom 3"], *, is_metal: bool, rng: np.random.Generator) -> Shell:
    """Return a random shell of a particle. It has no atoms if the particle has no place for them.

    Args:
        positions: Positions of the atoms of the particle.
        is_metal: Whether the shell consists of disordered metal.
        rng: Random generator.
    """
    bond_length = rng.uniform(*(METAL_BOND_RANGE if is_metal else LIGHT_BOND_RANGE))
    is_bridged = not is_metal and rng.random() < BRIDGE_PROBABILITY
    places = _bridge_places(positions, bond_length, rng) if is_bridged else _top_places(positions, bond_length, rng)
    accepted = _separated_places(places, rng.uniform(*CONTACT_RANGE))
    n_occupied = int(np.ceil(rng.uniform(*COVERAGE_RANGE) * len(accepted)))
    occupied = accepted[rng.permutation(len(accepted))[:n_occupied]]
    displacements = rng.uniform(0.0, MAX_DISPLACEMENT) * rng.normal(size=occupied.shape)
    return Shell(occupied + displacements, is_metal)


def _top_places(positions: np.ndarray, bond_length: float, rng: np.random.Generator) -> np.ndarray:
    """Return random places at the bond length from one atom and not closer to any other atom."""
    directions = rng.normal(size=(N_TRIALS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    places = positions[rng.integers(len(positions), size=N_TRIALS)] + bond_length * directions
    return places[KDTree(positions).query(places)[0] > bond_length - 1e-6]


def _bridge_places(positions: np.ndarray, bond_length: float, rng: np.random.Generator) -> np.ndarray:
    """Return random places at the bond length from two neighbours and not closer to any other atom."""
    tree = KDTree(positions)
    neighbours = tree.query_pairs(NEIGHBOUR_CUTOFF, output_type="ndarray")
    if not len(neighbours):
        return np.zeros((0, 3))
    first, second = positions[neighbours[rng.integers(len(neighbours), size=N_TRIALS)]].swapaxes(0, 1)
    middle, half_length = (first + second) / 2, np.linalg.norm(second - first, axis=1, keepdims=True) / 2
    axis = (second - first) / (2 * half_length)
    outward = middle - positions.mean(axis=0)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)
    direction = rng.normal(size=(N_TRIALS, 3)) + OUTWARD_PREFERENCE * outward
    direction -= np.sum(direction * axis, axis=1, keepdims=True) * axis
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    places = middle + np.sqrt(np.maximum(bond_length**2 - half_length**2, 0.0)) * direction
    return places[tree.query(places)[0] > bond_length - 1e-6]


def _separated_places(places: np.ndarray, contact: float) -> np.ndarray:
    """Return the places that are at least `contact` from all places before them (random sequential adsorption)."""
    accepted = np.zeros((len(places), 3))
    n_accepted = 0
    for place in places:
        squares = np.sum((accepted[:n_accepted] - place) ** 2, axis=1)
        if not n_accepted or squares.min() > contact**2:
            accepted[n_accepted] = place
            n_accepted += 1
    return accepted[:n_accepted]
