"""The trained autoencoder for seven structure types proposes particles for PDFs."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxstruc.clusters.deepstruc_shapes import ATOM_RANGE
from jaxstruc.network.deepstruc.model import ParticleCVAE
from jaxstruc.network.deepstruc.scaled_pdf import ScaledPdf
from jaxstruc.network.deepstruc.type_sites import site_table

MIN_OCCUPANCY = 0.5
"""Smallest probability at which a site has an atom."""


class ParticleProposals(NamedTuple):
    """Particles proposed for PDFs. Atoms are sorted by the probability of their sites."""

    positions: Float[Array, "*batch atom 3"]
    """Positions of the atoms, in Å."""
    mask: Bool[Array, "*batch atom"]
    """True for atoms, False for padding."""
    structure_type: Int[Array, "*batch"]
    """Index of the most probable type in `deepstruc_shapes.STRUCTURE_TYPES`."""
    latent: Float[Array, "*batch latent"]
    """Latent vectors."""


@partial(jax.jit, static_argnames=("network", "draw"))
def propose_particles(
    params: Any, pdf: ScaledPdf, key: Array, *, network: ParticleCVAE, draw: bool = True
) -> ParticleProposals:
    """Return one particle for each PDF of a batch.

    It has the most probable structure type. Its atoms are on the sites of this type whose probability is at least
    `MIN_OCCUPANCY`. The most probable sites have an atom in any case, up to the smallest number of atoms of the list.

    Args:
        params: Parameters of the network.
        pdf: Scaled PDFs, see `scaled_pdf.scale_pdfs`.
        key: Random key.
        network: Autoencoder.
        draw: Whether latent vectors are drawn from the prior. Otherwise they are its mean.
    """
    prior: Any = network.apply(params, pdf, method=ParticleCVAE.prior)
    noise = jax.random.normal(key, prior.mean.shape, prior.mean.dtype)
    z = prior.mean + (jnp.exp(0.5 * prior.log_variance) * noise if draw else 0.0)
    decoded: Any = network.apply(params, z, pdf, method=ParticleCVAE.decode)
    table, structure_type = site_table(), jnp.argmax(decoded.structure_type, axis=-1)
    is_type_site = structure_type[:, None] == jnp.asarray(table.structure_type)
    min_atoms, max_atoms = ATOM_RANGE
    probability, site_rows = jax.lax.top_k(jnp.where(is_type_site, jax.nn.sigmoid(decoded.occupancy), 0.0), max_atoms)
    bond = jnp.exp(decoded.log_relative_bond) * pdf.neighbour
    return ParticleProposals(
        jnp.asarray(table.positions, bond.dtype)[site_rows] * bond[:, None, None],
        (probability >= MIN_OCCUPANCY) | (jnp.arange(max_atoms) < min_atoms),
        structure_type,
        z,
    )
