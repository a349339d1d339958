"""The training loss of the autoencoder for seven structure types."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxstruc.clusters.particle_codes import LATTICES, N_LETTERS, ParticleCode
from jaxstruc.network.cvae.model import kl_divergence
from jaxstruc.network.deepstruc.model import DecodedParticle, ParticleCVAE, ParticleFeatures
from jaxstruc.network.deepstruc.scaled_pdf import ScaledPdf
from jaxstruc.options.training import TrainOptions

HEXAGONAL_ERROR = 0.1
"""Error of the share of hexagonal layers that costs as much as one nat."""


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

    - `code`: negative log-likelihood of the levels and the cut of the true lattice, and of the letters of a stack, in
      nats. Its weight is the option `presence`.
    - `type`: cross entropy of the lattice, in nats, with the same weight.
    - `latent_type`: cross entropy of the structure type from the latent vector alone, with the same weight. It is not
      part of the loss of a network without the type head.
    - `hexagonal`: squared error of the share of hexagonal layers of stacks from the latent vector alone, divided by
      `HEXAGONAL_ERROR` squared, likewise.
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
    total += config.presence * (loss_parts["code"] + loss_parts["type"])
    if network.sizes.type_head:
        total += config.presence * (loss_parts["latent_type"] + loss_parts["hexagonal"])
    return total, {"loss": total, **loss_parts}


def _decoder_terms(decoded: DecodedParticle, batch: ScaledBatch) -> dict[str, Array]:
    """Return the mean terms of decoded particles."""
    features, code = batch.features, batch.features.code
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    is_stack = code.lattice == LATTICES.index("stack")
    log_relative_bond = jnp.log(features.bond / batch.pdf.neighbour)
    hexagonal_error = (decoded.latent_hexagonal - features.hexagonal) / HEXAGONAL_ERROR
    terms = {
        "code": -level_log_likelihood(decoded, code)
        + cross_entropy(decoded.cut, code.cut)
        + _letter_terms(decoded, code),
        "type": cross_entropy(decoded.lattice, code.lattice),
        "latent_type": cross_entropy(decoded.latent_type, features.structure_type),
        "hexagonal": jnp.where(is_stack, hexagonal_error**2, 0.0),
        "radius": (decoded.log_relative_bond - log_relative_bond) ** 2,
    }
    return jax.tree.map(jnp.mean, terms)


def level_log_likelihood(decoded: DecodedParticle, code: ParticleCode) -> Float[Array, "*batch"]:
    r"""Return the logarithm of the probability of the levels of the true lattice.

    The probability of level n is the integral of a logistic density with mean m and width w from n - 1/2 to n + 1/2:
    $P(n) = \sigma(b) - \sigma(a)$ with $a, b = (n \mp 1/2 - m) / w$ and the logistic function $\sigma$. It is
    computed as $\sigma(b)\, \sigma(-a)\, (1 - e^{-1/w})$.
    """
    row = code.lattice[..., None, None]
    level, log_width = (
        jnp.take_along_axis(column, row, axis=-2)[..., 0, :] for column in (decoded.level, decoded.log_width)
    )
    width = jnp.exp(log_width)
    upper, lower = ((code.levels + half - level) / width for half in (0.5, -0.5))
    log_probability = jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower) + jnp.log(-jnp.expm1(-1 / width))
    return jnp.sum(log_probability, axis=-1)


def _letter_terms(decoded: DecodedParticle, code: ParticleCode) -> Float[Array, "*batch"]:
    """Return the cross entropy of the letters of stacks, summed over their inner layers, and 0 for other particles."""
    is_stack = code.lattice == LATTICES.index("stack")
    is_inner = is_stack[..., None] & (jnp.arange(N_LETTERS) < code.levels[..., 1:2] - 1)
    terms = optax.sigmoid_binary_cross_entropy(
        decoded.is_hexagonal, code.is_hexagonal.astype(decoded.is_hexagonal.dtype)
    )
    return jnp.sum(jnp.where(is_inner, terms, 0.0), axis=-1)
