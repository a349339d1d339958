"""From a PDF to structures by a trained autoencoder, and how a measurement lies outside its training.

Solving, experiments and the loss all take this way. Its functions are pure, for `jit`, `vmap` and `grad`, and take one
PDF each.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstruc.clusters.distances import distances
from jaxstruc.io.measurement import Measurement
from jaxstruc.network.cvae import representation, trilateration
from jaxstruc.network.cvae.dataset import PDF_GRID, normalise
from jaxstruc.network.cvae.model import CVAE, DecodedStructure

NEIGHBOUR_CUTOFF = 1.25
"""Atoms count as neighbours up to this many times their nearest distance; fcc's second shell lies at 1.41."""
MIN_PRESENCE = 0.5
"""An atom is there from this probability on."""
MAX_SIZE_RATIO = 1.1
"""A particle so much larger than the largest of the training is called larger."""


class Proposals(NamedTuple):
    """Structures made for one PDF."""

    positions: Float[Array, "*sample atom 3"]
    """Å"""
    weights: Float[Array, "*sample atom"]
    """Probability that the atom is there."""
    radius: Float[Array, "*sample"]
    """The network's own radius of the particle, in Å."""
    stress: Float[Array, "*sample"]
    """Disagreement of the decoded distances, in radii."""
    converged: Bool[Array, "*sample"]
    """Of the trilateration."""


def propose_structures(
    params: Any,
    pdf: Float[Array, " r"],
    key: Array,
    *,
    network: CVAE,
    n_draws: int = 1,
    bond: Float[Array, ""] | float | None = None,
    draw: bool = True,
) -> Proposals:
    """Return structures that a network makes of a PDF.

    The prior network's density is sampled, the draws are decoded and trilaterated. Under `vmap` with one key
    all PDFs see the same noise, so that a result does not depend on its batch.

    Args:
        params: of the network.
        pdf: G(r) on `dataset.PDF_GRID`, 0 where there are no data; any scale.
        key: random key.
        network: the autoencoder.
        n_draws: number of structures.
        bond: nearest-neighbour distance that sets the scale, in Å; without it the decoded radius does.
        draw: whether to draw from the prior's density; else its mean is taken, as of a deterministic network always.
    """
    z = draw_latents(params, pdf, key, network=network, n_draws=n_draws, draw=draw)
    return decode_structures(params, z, network=network, bond=bond)


def draw_latents(
    params: Any, pdf: Float[Array, " r"], key: Array, *, network: CVAE, n_draws: int, draw: bool = True
) -> Float[Array, "sample latent"]:
    """Return latent vectors drawn from the prior of a PDF. Arguments as in `propose_structures`."""
    prior: Any = network.apply(params, normalise(pdf), method=CVAE.prior)
    noise = jax.random.normal(key, (n_draws, network.sizes.latent), prior.mean.dtype)
    deviation = jnp.exp(0.5 * prior.log_variance) if draw and network.sizes.stochastic else 0.0
    return prior.mean + deviation * noise


def decode_structures(
    params: Any, z: Float[Array, "sample latent"], *, network: CVAE, bond: Float[Array, ""] | float | None = None
) -> Proposals:
    """Return the structures of latent vectors. Arguments as in `propose_structures`."""
    decoded: Any = network.apply(params, z, method=CVAE.decode)
    return jax.vmap(lambda decoded_sample: trilaterate_decoded(decoded_sample, bond=bond))(decoded)


def trilaterate_decoded(
    decoded: DecodedStructure,
    *,
    bond: Float[Array, ""] | float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Proposals:
    """Return the one structure of decoded distances.

    Args:
        decoded: distances, presence and radius. A negative distance counts as its size, so that it has a gradient.
        bond: as in `propose_structures`.
        iterations: most steps of the trilateration.
        tolerance: at which it ends.
    """
    weights = jax.nn.sigmoid(decoded.presence)
    anchors = jnp.asarray(representation.satellites(decoded.satellite.shape[-1]), weights.dtype)
    solution = trilateration.trilaterate(
        jnp.abs(decoded.pair), jnp.abs(decoded.satellite), weights, anchors, iterations=iterations, tolerance=tolerance
    )
    radius = jnp.exp(decoded.log_radius)
    scale = radius if bond is None else bond / neighbour_distance(solution.positions, weights)
    return Proposals(solution.positions * scale, weights, radius, solution.stress, solution.converged)


def neighbour_distance(positions: Float[Array, "atom 3"], weights: Float[Array, " atom"]) -> Float[Array, ""]:
    """Return the mean distance of neighbours, in the positions' unit; 1 where there are none.

    Neighbours are pairs of present atoms up to `NEIGHBOUR_CUTOFF` times the median nearest distance apart: unlike the
    nearest distance alone, their mean is not shortened by errors of the coordinates.
    """
    separations = distances(positions)
    is_present = weights > MIN_PRESENCE
    is_pair = is_present[:, None] & is_present[None, :] & ~np.eye(weights.size, dtype=bool)
    nearest_distances = jnp.min(jnp.where(is_pair, separations, jnp.inf), axis=1)
    median = jnp.nanmedian(jnp.where(jnp.isfinite(nearest_distances), nearest_distances, jnp.nan))
    is_neighbour = is_pair & (separations < NEIGHBOUR_CUTOFF * jax.lax.stop_gradient(median))
    pair_weights = jnp.where(is_neighbour, weights[:, None] * weights[None, :], 0.0)
    total_weight = jnp.sum(pair_weights)
    mean_distance = jnp.sum(pair_weights * separations) / jnp.where(total_weight > 0, total_weight, 1.0)
    return jnp.where(mean_distance > 0, mean_distance, 1.0)


def model_input(measurement: Measurement, *, rmin: float) -> Float[np.ndarray, " r"]:
    """Return a measured G(r) on the model's grid, 0 below rmin and beyond the data.

    Whittaker-Shannon interpolation: G(r) holds no frequency above qmax, and the data's step is below pi / qmax.
    """
    grid = PDF_GRID.r
    step = (measurement.r[-1] - measurement.r[0]) / (len(measurement.r) - 1)
    kernel = np.sinc((grid[:, None] - measurement.r) / step)
    in_range = (grid >= max(rmin, measurement.r[0]) - step / 2) & (grid <= measurement.r[-1] + step / 2)
    return np.where(in_range, kernel @ measurement.g, 0.0)


def range_warnings(
    training_limits: dict[str, Any], measurement: Measurement, bond: float, diameter: float
) -> tuple[str, ...]:
    """Return how the data lie outside what the model was trained on, in words.

    Args:
        training_limits: of the model's card.
        measurement: the data, its settings complete.
        bond: nearest-neighbour distance, in Å.
        diameter: diameter of the particle, in Å, as the data or a better candidate show it.
    """
    warnings = []
    max_diameter = training_limits["relative_diameter"] * bond
    if diameter > MAX_SIZE_RATIO * max_diameter:
        warnings.append(f"a particle of {diameter:.0f} Å, larger than the model's largest ({max_diameter:.1f} Å)")
    settings = measurement.settings_by_name | {"bond": bond}
    for name in ("qmin", "qmax", "qdamp", "bond"):
        value, (low, high) = settings[name], training_limits[name]
        if not low <= value <= high:
            warnings.append(f"{name} {value:.4g} (trained on {low:g} to {high:g})")
    low = training_limits["rmax"][0]
    if measurement.r[-1] < low - 0.05:
        warnings.append(f"data only to r = {measurement.r[-1]:g} Å (trained on {low:g} Å and more)")
    return tuple(warnings)
