"""A refinement of particles that adds or removes whole layers of atoms, for the experiment `deepstruc`.

In each round, every level of the code of a particle is raised and lowered by one, and the cut is filled, also together
with a lower level. The particle with the smallest Rw after a fit replaces the old one. All particles have the same
number of fits.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstruc.clusters import particle_codes
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.particle_codes import ParticleCode
from jaxstruc.network.deepstruc.propose import particle_atoms

N_ROUNDS = 4
"""Number of rounds."""


class CodedParticles(NamedTuple):
    """Particles that codes describe."""

    code: ParticleCode
    bond: np.ndarray
    """Bond length of each particle [particle], in Å."""
    direction: np.ndarray
    """Direction in which the cap of each particle is cut away [particle, 3]."""


def coded_particles(clusters: list[Cluster], bond: np.ndarray) -> CodedParticles:
    """Return the codes of clusters. The direction of a cut leads from the rest to the centre of the whole."""
    codes = [particle_codes.particle_code(cluster) for cluster in clusters]
    site_positions, directions = particle_codes.site_table().positions, []
    for code, cluster in zip(codes, clusters, strict=True):
        whole = site_positions[code.lattice, particle_codes.depth_excess(code, np) <= 0]
        is_cut = code.cut > 0
        directions.append(whole.mean(axis=0) - cluster.positions.mean(axis=0) if is_cut else np.ones(3))
    return CodedParticles(jax.tree.map(lambda *rows: np.stack(rows), *codes), bond, np.array(directions))


@partial(jax.jit, static_argnames="max_atoms")
def particle_positions(particles: CodedParticles, *, max_atoms: int):
    """Return the positions in Å and the masks of the atoms of particles."""
    direction = jnp.asarray(particles.direction, jnp.float32)
    positions, mask = jax.vmap(partial(particle_atoms, max_atoms=max_atoms))(particles.code, direction)
    return positions * particles.bond[:, None, None], mask


def refine_particles(
    particles: CodedParticles, misfit: Callable[[CodedParticles], np.ndarray], *, n_rounds: int = N_ROUNDS
) -> CodedParticles:
    """Return particles refined by layers.

    Args:
        particles: Starts.
        misfit: Function that returns the Rw of each particle.
        n_rounds: Number of rounds.
    """
    best = misfit(particles)
    for _ in range(n_rounds):
        candidates = [particles, *neighbours(particles)]
        misfits = np.stack([best, *map(misfit, candidates[1:])])
        choice = np.argmin(misfits, axis=0)
        code = jax.tree.map(
            lambda *rows, choice=choice: np.stack(rows)[choice, np.arange(len(choice))],
            *(jax.tree.map(np.asarray, candidate.code) for candidate in candidates),
        )
        particles, best = particles._replace(code=code), misfits.min(axis=0)
    return particles


def neighbours(particles: CodedParticles) -> list[CodedParticles]:
    """Return the particles with one level more or less in a family, and whole particles with one level less or none."""
    code, units = particles.code, np.eye(3, dtype=int)
    codes = [code._replace(levels=code.levels + step * unit) for unit in units for step in (1, -1)]
    codes += [code._replace(levels=code.levels - unit, cut=0 * code.cut) for unit in (*units, 0 * units[0])]
    return [particles._replace(code=other) for other in codes]
