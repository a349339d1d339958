"""The training loss and its parts, and the PDF term that the KDD 2020 paper proposes."""

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
"""Least bracket of the pair width in the PDF term, so that a wrong short distance still has a gradient."""
MAX_DISTANCE = 36.0
"""Å. Longest distance in the PDF term: beyond the r range and the data's largest particles."""
LOSS_GRID = Grid(**{**vars(dataset.PDF_GRID), "max_distance": MAX_DISTANCE, "accuracy": 1e-5})
MAX_TRILATERATION_STEPS, TRILATERATION_TOLERANCE = 20, 1e-3
"""Most iterations of the trilateration within the loss, and the gradient at which it ends."""


class TrainingBatch(NamedTuple):
    """PDFs with their structures."""

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
    """Return the loss and its parts: what is minimised is what is reported.

    Reconstruction is the mean squared error of the distances between atoms present, and of their satellite distances
    (KDD 2020 eq. 5), in radii; radius that of the log radius; presence a cross entropy; kl in nats, for the DAE the
    squared distance of the latent vectors; pdf the mean squared difference of normalised PDFs, the term that section 6
    of the paper proposes, of the structure that a draw from the prior gives: PDF in, PDF out, as in use.

    Args:
        params: of the network.
        batch: PDFs with their structures.
        key: of the latent draws.
        network: the autoencoder.
        config: settings.
        beta: weight of the penalty at this point of its schedule.
        pdf: weight of the PDF term at this point of its schedule.
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
    """Return the mean squared difference of a decoded structure's normalised PDF and the input's.

    The decoded distances times the decoded radius go straight to G(r), each pair weighted by both presences.
    """
    distance_matrix = jnp.abs(decoded.pair) * jnp.exp(decoded.log_radius)
    return _normalised_pdf_difference(distance_matrix, jax.nn.sigmoid(decoded.presence), pdf, conditions)


def coordinate_pdf_difference(
    decoded: DecodedStructure, pdf: Float[Array, " r"], conditions: dataset.Conditions
) -> Float[Array, ""]:
    """Return the same for the trilaterated coordinates: distances that no structure has count as that structure's."""
    proposal = propose.trilaterate_decoded(
        decoded, iterations=MAX_TRILATERATION_STEPS, tolerance=TRILATERATION_TOLERANCE
    )
    return _normalised_pdf_difference(distances(proposal.positions), proposal.weights, pdf, conditions)


PDF_TERMS = {"distances": distance_pdf_difference, "coordinates": coordinate_pdf_difference}


def _normalised_pdf_difference(distance_matrix, presence, pdf, conditions: dataset.Conditions) -> Float[Array, ""]:
    """Return the mean squared difference of the normalised PDFs; distances beyond `MAX_DISTANCE` count as that."""
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
