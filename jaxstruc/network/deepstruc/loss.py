"""The training loss of the autoencoder for seven structure types."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxstruc.network.cvae.model import kl_divergence
from jaxstruc.network.deepstruc.model import DecodedParticle, ParticleCVAE, ParticleFeatures
from jaxstruc.network.deepstruc.scaled_pdf import ScaledPdf
from jaxstruc.network.deepstruc.type_sites import site_table
from jaxstruc.options.training import TrainOptions


class ScaledBatch(NamedTuple):
    """A batch of scaled PDFs with their particles."""

    features: ParticleFeatures
    pdf: ScaledPdf


def particle_loss(
    params,
    batch: ScaledBatch,
    key: Array,
    *,
    network: ParticleCVAE,
    config: TrainOptions,
    beta: Float[Array, ""] | float,
    pdf: Float[Array, ""] | float,
) -> tuple[Array, dict[str, Array]]:
    """Return the loss, which is minimised, and a dictionary of the loss and its unweighted terms.

    Half of the particles are decoded from draws of the posterior, and half from draws of the prior. The terms are:

    - `occupancy`: cross entropy of the occupancy of the sites of the true type, summed over these sites, in nats. Its
      weight is the option `presence`.
    - `type`: cross entropy of the structure type, in nats, with the same weight.
    - `latent_type`: cross entropy of the structure type from the latent vector alone, with the same weight. It is not
      part of the loss of a network without the type head.
    - `radius`: squared error of the logarithm of the bond length.
    - `kl`: KL divergence of posterior and prior in nats.

    Args:
        params: Parameters of the network.
        batch: PDFs with their particles.
        key: Random key of the latent draws.
        network: Autoencoder.
        config: Options of the training, including the weights of the terms.
        beta: Weight of the `kl` term at this point of its schedule.
        pdf: Weight of a PDF term. This loss has no such term, and the weight has no effect.
    """
    outputs: Any = network.apply(params, batch.features, batch.pdf, key)
    decoded, posterior, prior = outputs
    loss_parts = _decoder_terms(decoded, batch) | {"kl": jnp.mean(kl_divergence(posterior, prior))}
    total = config.radius * loss_parts["radius"] + beta * loss_parts["kl"]
    total += config.presence * (loss_parts["occupancy"] + loss_parts["type"])
    if network.sizes.type_head:
        total += config.presence * loss_parts["latent_type"]
    return total, {"loss": total, **loss_parts}


def _decoder_terms(decoded: DecodedParticle, batch: ScaledBatch) -> dict[str, Array]:
    """Return the mean terms of decoded particles."""
    features, structure_type = batch.features, batch.features.structure_type
    is_type_site = structure_type[..., None] == jnp.asarray(site_table().structure_type)
    occupancy = features.occupancy.astype(decoded.occupancy.dtype)
    occupancy_terms = optax.sigmoid_binary_cross_entropy(decoded.occupancy, occupancy)
    log_relative_bond = jnp.log(features.bond / batch.pdf.neighbour)
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    return {
        "occupancy": jnp.mean(jnp.sum(jnp.where(is_type_site, occupancy_terms, 0.0), axis=-1)),
        "type": jnp.mean(cross_entropy(decoded.structure_type, structure_type)),
        "latent_type": jnp.mean(cross_entropy(decoded.latent_type, structure_type)),
        "radius": jnp.mean((decoded.log_relative_bond - log_relative_bond) ** 2),
    }
