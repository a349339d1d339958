"""The trained autoencoder for seven structure types proposes particles for PDFs."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.clusters.deepstruc_shapes import ATOM_RANGE
from jaxstruc.clusters.particle_codes import (
    CUT_STEP,
    FAR_DEPTH,
    LATTICE_TYPES,
    PARTICLE_TYPES,
    ParticleCode,
    depth_excess,
    site_table,
)
from jaxstruc.network.deepstruc.model import DecodedParticle, ParticleCVAE
from jaxstruc.network.deepstruc.scaled_pdf import ScaledPdf

MIN_ATOMS, MAX_ATOMS = ATOM_RANGE
"""Smallest and largest number of atoms of a proposal."""


class ParticleProposals(NamedTuple):
    """Particles proposed for PDFs."""

    positions: Float[Array, "*batch atom 3"]
    """Positions of the atoms, in Å."""
    mask: Bool[Array, "*batch atom"]
    """True for atoms, False for padding."""
    structure_type: Int[Array, "*batch"]
    """Index of the type in `particle_codes.PARTICLE_TYPES`."""
    latent: Float[Array, "*batch latent"]
    """Latent vectors."""
    code: ParticleCode
    """Codes of the particles."""
    bond: Float[Array, "*batch"]
    """Bond lengths of the codes, in Å."""
    direction: Float[Array, "*batch 3"]
    """Directions in which caps are cut away."""


@partial(jax.jit, static_argnames=("network", "draw", "max_atoms"))
def propose_particles(
    params: Any,
    pdf: ScaledPdf,
    key: Array,
    *,
    network: ParticleCVAE,
    draw: bool = True,
    max_atoms: int = MAX_ATOMS,
) -> ParticleProposals:
    """Return one particle for each PDF of a batch.

    A particle has at least `MIN_ATOMS` atoms, on the sites that its code has first if its levels rise.

    Args:
        params: Parameters of the network.
        pdf: Scaled PDFs, see `scaled_pdf.scale_pdfs`.
        key: Random key.
        network: Autoencoder.
        draw: Whether latent vectors and codes are drawn from their densities. Otherwise they are the mean of the prior
            and the most probable code. The direction of a cut is random in any case.
        max_atoms: Largest number of atoms. The outermost atoms of larger particles are left out.
    """
    latent_key, code_key, cut_key = jax.random.split(key, 3)
    prior: Any = network.apply(params, pdf, method=ParticleCVAE.prior)
    noise = jax.random.normal(latent_key, prior.mean.shape, prior.mean.dtype)
    z = prior.mean + (jnp.exp(0.5 * prior.log_variance) * noise if draw else 0.0)
    decoded: Any = network.apply(params, z, pdf, method=ParticleCVAE.decode)
    code = draw_codes(decoded, code_key) if draw else most_probable_codes(decoded)
    directions = jax.random.normal(cut_key, (len(z), 3), z.dtype)
    positions, mask = jax.vmap(partial(particle_atoms, max_atoms=max_atoms))(code, directions)
    bond = jnp.exp(decoded.log_relative_bond) * pdf.neighbour
    type_of_lattice = jnp.asarray([PARTICLE_TYPES.index(name) for name in LATTICE_TYPES.values()])
    return ParticleProposals(
        positions * bond[:, None, None], mask, type_of_lattice[code.lattice], z, code, bond, directions
    )


def most_probable_codes(decoded: DecodedParticle) -> ParticleCode:
    """Return the most probable lattice, and the most probable levels, cut and letters of this lattice."""
    lattice = jnp.argmax(decoded.lattice, axis=-1)
    level = jnp.take_along_axis(decoded.level, lattice[:, None, None], axis=1)[:, 0]
    return _code(lattice, level, jnp.argmax(decoded.cut, axis=-1), decoded.is_hexagonal > 0)


def draw_codes(decoded: DecodedParticle, key: Array) -> ParticleCode:
    """Return codes drawn from their densities."""
    lattice_key, level_key, cut_key, letter_key = jax.random.split(key, 4)
    lattice = jax.random.categorical(lattice_key, decoded.lattice)
    level, log_width = (
        jnp.take_along_axis(column, lattice[:, None, None], axis=1)[:, 0]
        for column in (decoded.level, decoded.log_width)
    )
    level += jnp.exp(log_width) * jax.random.logistic(level_key, level.shape, level.dtype)
    is_hexagonal = jax.random.bernoulli(letter_key, jax.nn.sigmoid(decoded.is_hexagonal))
    return _code(lattice, level, jax.random.categorical(cut_key, decoded.cut), is_hexagonal)


def particle_atoms(
    code: ParticleCode, direction: Float[Array, "3"], *, max_atoms: int
) -> tuple[Float[Array, "atom 3"], Bool[Array, " atom"]]:
    """Return the positions in bond lengths and the mask of the atoms of a particle.

    Args:
        code: Code of the particle.
        direction: Direction in which its cap is cut away, of any length.
        max_atoms: Number of rows.
    """
    positions = jnp.asarray(site_table().positions, direction.dtype)[code.lattice]
    excess = depth_excess(code, jnp)
    centre = jnp.sum(jnp.where(excess[:, None] <= 0, positions, 0.0), axis=0) / jnp.maximum(jnp.sum(excess <= 0), 1)
    radius = jnp.linalg.norm(positions - centre, axis=1)
    order = jnp.argsort(jnp.where(excess <= 0, 0, excess) + radius / FAR_DEPTH)[:max_atoms]
    positions, mask = positions[order], (excess[order] <= 0) | (jnp.arange(max_atoms) < MIN_ATOMS)
    n_remaining = jnp.maximum(jnp.round(jnp.sum(mask) * (1 - CUT_STEP * code.cut)), MIN_ATOMS)
    rank = jnp.argsort(jnp.argsort(jnp.where(mask, positions @ direction, jnp.inf)))
    return positions, mask & (rank < n_remaining)


def _code(lattice: Array, level: Array, cut: Array, is_hexagonal: Array) -> ParticleCode:
    """Return codes whose levels are rounded to whole numbers."""
    return ParticleCode(lattice, jnp.round(level).astype(jnp.int32), cut, is_hexagonal)
