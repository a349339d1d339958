"""The training loss of the autoencoder, with the optional PDF term.

The PDF term compares the PDF of the decoded structure with the input PDF. Section 6 of the KDD 2020 paper (see `model`)
proposes this term.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxstruc.clusters.distances import distances
from jaxstruc.network.cvae import dataset, model, propose
from jaxstruc.network.cvae.model import CVAE, DecodedStructure
from jaxstruc.network.cvae.representation import Features
from jaxstruc.options.training import TrainOptions
from jaxstruc.scattering import form_factors, pair_distribution
from jaxstruc.scattering.pair_distribution import Grid

MIN_VARIANCE_FACTOR = 0.1
"""Smallest factor by which correlated motion (delta2) reduces the variance of a pair in the PDF term. Without
this limit, wrong short distances could have no gradient."""
MAX_DISTANCE = 36.0
"""Longest distance in the PDF term, in Å. It exceeds the largest r and the largest particles of the data."""
LOSS_GRID = Grid(**{**vars(dataset.PDF_GRID), "max_distance": MAX_DISTANCE, "accuracy": 1e-5})
MAX_TRILATERATION_STEPS, TRILATERATION_TOLERANCE = 20, 1e-3
"""Largest number of L-BFGS steps of the trilateration in the loss, and its tolerance."""


class TrainingBatch(NamedTuple):
    """A batch of PDFs with their structures."""

    features: Features
    pdf: Float[Array, "batch r"]
    conditions: dataset.Conditions


def loss(
    params,
    batch: TrainingBatch,
    key: Array,
    *,
    network: CVAE,
    config: TrainOptions,
    beta: Float[Array, ""] | float,
    pdf: Float[Array, ""] | float,
) -> tuple[Array, dict[str, Array]]:
    """Return the loss, which is minimised, and a dictionary of the loss and its unweighted terms.

    The terms are:

    - `pair` and `satellite`: mean squared errors of the distances between present atoms, and from present atoms to
      satellites (fixed reference points), in units of the particle's radius (KDD 2020, eq. 5).
    - `radius`: mean squared error of the logarithm of the radius.
    - `presence`: cross entropy of the presence of atoms.
    - `kl`: KL divergence of posterior and prior in nats. For the deterministic autoencoder, it is the squared distance
      of their means.
    - `pdf`: mean squared difference of the input PDF and the PDF of a structure, both normalised. The structure is
      decoded from a random draw of the prior, as in the analysis of a measured PDF. This term exists only if its final
      weight is above 0.

    Args:
        params: Parameters of the network.
        batch: PDFs with their structures.
        key: Random key of the latent draws.
        network: Autoencoder.
        config: Options of the training, including the weights of the terms.
        beta: Weight of the `kl` term at this point of its schedule.
        pdf: Weight of the `pdf` term at this point of its schedule.
    """
    penalty = model.kl_divergence if network.sizes.stochastic else model.squared_mean_distance
    key_posterior, key_prior = jax.random.split(key)
    outputs: Any = network.apply(params, batch.features, dataset.normalise(batch.pdf), key_posterior)
    decoded, posterior, prior = outputs
    presence = batch.features.presence.astype(batch.pdf.dtype)
    loss_parts = {
        "pair": _masked_error(decoded.pair, batch.features.pair, _pair_mask(presence)),
        "satellite": _masked_error(decoded.satellite, batch.features.satellite, presence[..., None]),
        "radius": jnp.mean((decoded.log_radius - jnp.log(batch.features.radius)) ** 2),
        "presence": jnp.mean(optax.sigmoid_binary_cross_entropy(decoded.presence, presence)),
        "kl": jnp.mean(penalty(posterior, prior)),
    }
    total = config.reconstruction * (loss_parts["pair"] + loss_parts["satellite"])
    total += config.radius * loss_parts["radius"] + config.presence * loss_parts["presence"] + beta * loss_parts["kl"]
    if config.pdf > 0:
        keys = jax.random.split(key_prior, len(batch.pdf))
        latent_sampler = partial(propose.draw_latents, network=network, n_draws=1)
        z = jax.vmap(latent_sampler, (None, 0, 0))(params, batch.pdf, keys)[:, 0]
        decoded_draws: Any = network.apply(params, z, method=CVAE.decode)
        pdf_term = PDF_TERMS[config.pdf_through]
        loss_parts["pdf"] = jnp.mean(jax.vmap(pdf_term)(decoded_draws, batch.pdf, batch.conditions))
        total += pdf * loss_parts["pdf"]
    return total, {"loss": total, **loss_parts}


def distance_pdf_difference(
    decoded: DecodedStructure, pdf: Float[Array, " r"], conditions: dataset.Conditions
) -> Float[Array, ""]:
    """Return the mean squared difference of the input PDF and the PDF of the decoded distances, both normalised.

    The PDF is computed directly from the decoded distances, multiplied by the decoded radius. The weight of a pair is
    the product of the presences of both atoms.
    """
    distance_matrix = jnp.abs(decoded.pair) * jnp.exp(decoded.log_radius)
    return _normalised_pdf_difference(distance_matrix, jax.nn.sigmoid(decoded.presence), pdf, conditions)


def coordinate_pdf_difference(
    decoded: DecodedStructure,
    pdf: Float[Array, " r"],
    conditions: dataset.Conditions,
    *,
    iterations: int = MAX_TRILATERATION_STEPS,
    tolerance: float = TRILATERATION_TOLERANCE,
) -> Float[Array, ""]:
    """Return the mean squared difference of the input PDF and the PDF of the trilaterated coordinates, both normalised.

    Decoded distances may contradict each other. The coordinates give distances that do not.
    """
    proposal = propose.trilaterate_decoded(decoded, iterations=iterations, tolerance=tolerance)
    return _normalised_pdf_difference(distances(proposal.positions), proposal.weights, pdf, conditions)


PDF_TERMS = {"distances": distance_pdf_difference, "coordinates": coordinate_pdf_difference}
"""Function that computes the PDF term for each value of the option `pdf_through`."""


def _normalised_pdf_difference(distance_matrix, presence, pdf, conditions: dataset.Conditions) -> Float[Array, ""]:
    """Return the mean squared difference of two normalised PDFs. Distances above `MAX_DISTANCE` are replaced by it."""
    pair_distances = pair_distribution.pair_distances_from_matrix(
        jnp.minimum(distance_matrix, MAX_DISTANCE), presence, LOSS_GRID
    )
    curve = pair_distribution.pdf(
        pair_distances,
        form_factors.UNIT_COEFFICIENTS,
        jnp.sum(presence)[None],
        dataset.instrument_from_conditions(conditions),
        LOSS_GRID,
        q_limits=(conditions.qmin, conditions.qmax),
        min_variance_factor=MIN_VARIANCE_FACTOR,
    )
    return jnp.mean((dataset.normalise(dataset.mask_r_range(curve, conditions)) - dataset.normalise(pdf)) ** 2)


def _pair_mask(presence):
    return presence[..., :, None] * presence[..., None, :] * (1 - jnp.eye(presence.shape[-1], dtype=presence.dtype))


def _masked_error(predicted, target, mask):
    mask = jnp.broadcast_to(mask, target.shape)
    return jnp.sum(mask * (predicted - target) ** 2) / jnp.maximum(jnp.sum(mask), 1)
