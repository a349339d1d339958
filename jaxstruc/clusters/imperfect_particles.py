"""Particles with the imperfections of real ones: size distributions, relaxed atoms, and shells around the metal.

The simulated PDFs of `scattering.imperfect_pdf` are those of these particles. A shell is a layer around a particle that
the models of a metal core do not have. It consists of light atoms that are bonded to the surface (a ligand) or of metal
atoms at diffuse distances (an amorphous layer). Lengths are in units of the bond length, but those of shells are in Å.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree
from scipy.special import ndtri

from jaxstruc.clusters import displacement_fields, random_particles, size_classes
from jaxstruc.clusters.displacement_fields import DisplacementField
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import Library, candidate_cluster
from jaxstruc.clusters.potential import Potential

LIGAND_ELEMENT, LIGAND_BOND, LIGAND_CONTACT = "S", 2.35, 3.2
"""Element of the light atoms of a shell, their distance from the metal (Au-S in thiolates) and the smallest distance
between them, in Å."""
AMORPHOUS_BONDS, AMORPHOUS_CONTACT = (0.95, 1.2), 0.9
"""Range of the distances of an amorphous layer from the metal and smallest distance between its atoms, in bonds."""
N_SHELL_TRIALS = 3000
"""Number of random places of a shell, of which those that keep the distances are used."""
N_MEMBERS = 16
"""Number of particles of a size distribution. All have the same share of the atoms."""
SIZE_TOLERANCE = 0.03
"""Largest difference between the logarithms of a size and of a library cluster that represents it."""


class Particles(NamedTuple):
    """The particles of a sample."""

    positions: tuple[np.ndarray, ...]
    """Positions [atom, 3] of each particle, in units of the bond length."""
    atom_fractions: Float[np.ndarray, " particle"]
    """Fraction of the atoms of the sample in each particle; the sum is 1."""
    rows: tuple[int, ...] = ()
    """Library rows of the particles; empty if they come from no library."""


def size_distribution(library: Library, row: int, width: float, rng: np.random.Generator) -> Particles:
    """Return clusters of a library of the same type as one of them, whose sizes follow a lognormal distribution.

    The mean size is that of the cluster, and the sizes are equally probable quantiles. A size is represented by a
    random compact cluster within `SIZE_TOLERANCE`, otherwise by the compact cluster of the nearest size.

    Args:
        library: Library of the clusters.
        row: Row of the cluster.
        width: Standard deviation of the sizes divided by their mean, weighted by volume. With 0 the sample is one
            cluster.
        rng: Random generator.
    """
    if width == 0:
        return Particles((candidate_cluster(library, row).positions,), np.ones(1), (int(row),))
    all_rows = np.arange(len(library.atoms))
    types = np.array([FAMILY_TYPES.get(family, "") for family in library.families])
    sizes = size_classes.candidate_sizes(library, all_rows)
    is_compact = (library.diameter + 1) / sizes <= size_classes.MAX_COMPACT_ELONGATION
    type_rows = all_rows[(types == types[row]) & (is_compact | (all_rows == row))]
    log_spread = math.sqrt(math.log1p(width**2))
    quantiles = (np.arange(N_MEMBERS) + 0.5) / N_MEMBERS
    member_rows = []
    for size in sizes[row] * np.exp(log_spread * ndtri(quantiles) - log_spread**2 / 2):
        deviation = np.abs(np.log(sizes[type_rows] / size))
        similar_rows = type_rows[deviation < SIZE_TOLERANCE]
        member_rows.append(int(rng.choice(similar_rows) if len(similar_rows) else type_rows[deviation.argmin()]))
    positions = tuple(candidate_cluster(library, member).positions for member in member_rows)
    return Particles(positions, np.full(N_MEMBERS, 1 / N_MEMBERS), tuple(member_rows))


def relaxed_particles(particles: Particles, amplitude: float, rng: np.random.Generator) -> Particles:
    """Return the particles with displaced atoms. A particle without a displacement field stays rigid.

    Args:
        particles: Particles with ideal positions.
        amplitude: Share of the displacements from the ideal positions to those of least energy.
        rng: Random generator that selects the potential (`random_particles.random_potential`).
    """
    if amplitude == 0:
        return particles
    metal = Potential(*map(float, jax.jit(random_particles.random_potential)(*jnp.asarray(rng.random(3)))))
    fields = displacement_fields.displacement_fields(particles.positions, metal)
    positions = tuple(
        ideal + amplitude * field.displacements.astype(float) if isinstance(field, DisplacementField) else ideal
        for ideal, field in zip(particles.positions, fields, strict=True)
    )
    return particles._replace(positions=positions)


def shell_positions(
    positions: Float[np.ndarray, "atom 3"], kind: str, coverage: float, bond: float, rng: np.random.Generator
) -> Float[np.ndarray, "place 3"]:
    """Return the positions of the atoms of a shell, in Å.

    Random places at the bond length of the shell from an atom of the metal are accepted one after the other if they are
    not too close to the metal and to places that were accepted before (random sequential adsorption).

    Args:
        positions: Positions of the atoms of the metal, in Å.
        kind: Kind of the shell: ligand, amorphous, or empty for none.
        coverage: Share of the accepted places that are occupied.
        bond: Bond length of the metal, in Å.
        rng: Random generator.
    """
    if not kind or coverage == 0:
        return np.zeros((0, 3))
    is_ligand = kind == "ligand"
    directions = rng.normal(size=(N_SHELL_TRIALS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = (
        np.full(N_SHELL_TRIALS, LIGAND_BOND) if is_ligand else bond * rng.uniform(*AMORPHOUS_BONDS, N_SHELL_TRIALS)
    )
    places = positions[rng.integers(len(positions), size=N_SHELL_TRIALS)] + lengths[:, None] * directions
    nearest_distance = KDTree(positions).query(places)[0]
    places = places[nearest_distance > lengths - 1e-6]
    min_contact = LIGAND_CONTACT if is_ligand else AMORPHOUS_CONTACT * bond
    accepted_places: list[np.ndarray] = []
    for place in places:
        if not accepted_places or np.linalg.norm(np.array(accepted_places) - place, axis=1).min() > min_contact:
            accepted_places.append(place)
    n_occupied = math.ceil(coverage * len(accepted_places))
    return np.array(accepted_places[:n_occupied]).reshape(-1, 3)
