"""The training loss and its parts, and the PDF term that the KDD 2020 paper proposes."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxstruc.network import dataset, model, propose
from jaxstruc.network.model import CVAE, Decoded
from jaxstruc.network.representation import Features
from jaxstruc.options.training import TrainOptions
from jaxstruc.scattering import curves, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.structures.distances import distances

FLOOR = 0.1
"""Least bracket of the pair width in the PDF term, so that a wrong short distance still has a gradient."""
LONGEST = 36.0
"""Å. Longest distance in the PDF term: beyond the r range and the data's largest particles."""
GRID = Grid(**{**vars(dataset.GRID), "longest": LONGEST, "accuracy": 1e-5})
STEPS, TOLERANCE = 20, 1e-3
"""Most iterations of the trilateration within the loss, and the gradient at which it ends."""


class Batch(NamedTuple):
    """PDFs with their structures."""

    features: Features
    pdf: Float[Array, "batch r"]
    conditions: dataset.Conditions


def loss(
    params,
    batch: Batch,
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
    penalty = model.divergence if network.sizes.stochastic else model.squared_distance
    key_posterior, key_prior = jax.random.split(key)
    answer: Any = network.apply(params, batch.features, dataset.normalised(batch.pdf), key_posterior)
    decoded, posterior, prior = answer
    present = batch.features.presence.astype(batch.pdf.dtype)
    parts = {
        "pair": _masked_error(decoded.pair, batch.features.pair, _pair_mask(present)),
        "satellite": _masked_error(decoded.satellite, batch.features.satellite, present[..., None]),
        "radius": jnp.mean((decoded.log_radius - jnp.log(batch.features.radius)) ** 2),
        "presence": jnp.mean(optax.sigmoid_binary_cross_entropy(decoded.presence, present)),
        "kl": jnp.mean(penalty(posterior, prior)),
    }
    total = config.reconstruction * (parts["pair"] + parts["satellite"])
    total += config.radius * parts["radius"] + config.presence * parts["presence"] + beta * parts["kl"]
    if config.pdf > 0:
        keys = jax.random.split(key_prior, len(batch.pdf))
        draw = partial(propose.latents, network=network, samples=1)
        z = jax.vmap(draw, (None, 0, 0))(params, batch.pdf, keys)[:, 0]
        rebuilt: Any = network.apply(params, z, method=CVAE.decode)
        term = PDF_TERMS[config.pdf_through]
        parts["pdf"] = jnp.mean(jax.vmap(term)(rebuilt, batch.pdf, batch.conditions))
        total += pdf * parts["pdf"]
    return total, {"loss": total, **parts}


def pdf_difference(decoded: Decoded, pdf: Float[Array, " r"], conditions: dataset.Conditions) -> Float[Array, ""]:
    """Return the mean squared difference of a decoded structure's normalised PDF and the input's.

    The decoded distances times the decoded radius go straight to G(r), each pair weighted by both presences.
    """
    apart = jnp.abs(decoded.pair) * jnp.exp(decoded.log_radius)
    return _difference(apart, jax.nn.sigmoid(decoded.presence), pdf, conditions)


def pdf_difference_of_coordinates(
    decoded: Decoded, pdf: Float[Array, " r"], conditions: dataset.Conditions
) -> Float[Array, ""]:
    """Return the same for the trilaterated coordinates: distances that no structure has count as that structure's."""
    found = propose.placed(decoded, iterations=STEPS, tolerance=TOLERANCE)
    return _difference(distances(found.positions), found.weights, pdf, conditions)


PDF_TERMS = {"distances": pdf_difference, "coordinates": pdf_difference_of_coordinates}


def _difference(apart, presence, pdf, conditions: dataset.Conditions) -> Float[Array, ""]:
    """Return the mean squared difference of the normalised PDFs; distances beyond `LONGEST` count as that."""
    gathered = curves.gather_distances(jnp.minimum(apart, LONGEST), presence, GRID)
    curve = curves.pdf(
        gathered, form_factors.UNIT, jnp.sum(presence)[None], dataset.instrument_of(conditions), GRID,
        limits=(conditions.qmin, conditions.qmax), floor=FLOOR,
    )  # fmt: skip
    return jnp.mean((dataset.normalised(dataset.seen(curve, conditions)) - dataset.normalised(pdf)) ** 2)


def _pair_mask(present):
    return present[..., :, None] * present[..., None, :] * (1 - jnp.eye(present.shape[-1], dtype=present.dtype))


def _masked_error(predicted, target, mask):
    mask = jnp.broadcast_to(mask, target.shape)
    return jnp.sum(mask * (predicted - target) ** 2) / jnp.maximum(jnp.sum(mask), 1)
