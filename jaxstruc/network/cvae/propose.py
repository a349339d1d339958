"""A trained autoencoder proposes structures for a PDF. Warnings name the properties that its training does not cover.

The command `solve`, the experiments and the training loss all use these functions. The functions from
`propose_structures` to `neighbour_distance` are pure and suit `jit`, `vmap` and `grad`. They take one PDF each.
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
"""Largest distance between neighbours, relative to the median nearest distance. The second shell of fcc is at 1.41."""
MIN_PRESENCE = 0.5
"""Smallest probability at which an atom counts as present."""
MAX_SIZE_RATIO = 1.1
"""Largest ratio of a particle's diameter to the largest diameter in the training. A larger ratio gives a warning."""


class Proposals(NamedTuple):
    """Structures proposed for one PDF."""

    positions: Float[Array, "*sample atom 3"]
    """Positions of the atoms, in Å."""
    weights: Float[Array, "*sample atom"]
    """Probability that each atom is present."""
    radius: Float[Array, "*sample"]
    """Predicted radius of the particle (distance from its central atom to its farthest atom), in Å."""
    stress: Float[Array, "*sample"]
    """Root mean square difference between the decoded distances and those of the positions, in units of the radius."""
    converged: Bool[Array, "*sample"]
    """Whether the trilateration converged."""


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
    """Return structures that a network proposes for a PDF.

    Latent vectors are drawn from the prior density of the PDF. They are decoded to distances, from which trilateration
    computes positions. If all PDFs of a `vmap` share one key, they have the same random numbers. The result of a PDF
    then does not depend on the other PDFs.

    Args:
        params: Parameters of the network.
        pdf: G(r) on `dataset.PDF_GRID`, in any unit, and 0 at points without data.
        key: Random key.
        network: Autoencoder.
        n_draws: Number of structures.
        bond: Nearest-neighbour distance in Å, to which the positions are scaled. By default the decoded radius sets the
            scale.
        draw: Whether latent vectors are drawn at random. Otherwise, and always for a deterministic network, every
            latent vector is the mean of the prior.
    """
    z = draw_latents(params, pdf, key, network=network, n_draws=n_draws, draw=draw)
    return decode_structures(params, z, network=network, bond=bond)


def draw_latents(
    params: Any, pdf: Float[Array, " r"], key: Array, *, network: CVAE, n_draws: int, draw: bool = True
) -> Float[Array, "sample latent"]:
    """Return latent vectors from the prior of a PDF. The arguments are those of `propose_structures`."""
    prior: Any = network.apply(params, normalise(pdf), method=CVAE.prior)
    noise = jax.random.normal(key, (n_draws, network.sizes.latent), prior.mean.dtype)
    deviation = jnp.exp(0.5 * prior.log_variance) if draw and network.sizes.stochastic else 0.0
    return prior.mean + deviation * noise


def decode_structures(
    params: Any, z: Float[Array, "sample latent"], *, network: CVAE, bond: Float[Array, ""] | float | None = None
) -> Proposals:
    """Return the structures that latent vectors describe. The arguments are those of `propose_structures`."""
    decoded: Any = network.apply(params, z, method=CVAE.decode)
    return jax.vmap(lambda decoded_sample: trilaterate_decoded(decoded_sample, bond=bond))(decoded)


def trilaterate_decoded(
    decoded: DecodedStructure,
    *,
    bond: Float[Array, ""] | float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Proposals:
    """Return the structure whose distances agree best with one set of decoded distances.

    Args:
        decoded: Distances, presence and radius. A negative distance is replaced by its absolute value, so that it has a
            gradient.
        bond: Nearest-neighbour distance in Å, to which the positions are scaled. By default the decoded radius sets the
            scale.
        iterations: Largest number of L-BFGS steps of the trilateration.
        tolerance: Norm of the gradient of the stress below which the trilateration has converged.
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
    """Return the mean distance of neighbours in the unit of the positions, or 1 if there are no neighbours.

    Neighbours are pairs of present atoms whose distance is below `NEIGHBOUR_CUTOFF` times the median of the atoms'
    nearest distances. Errors of the coordinates shorten the nearest distance of each atom, but not this mean.
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
    """Return a measured G(r) on `PDF_GRID`, with 0 below rmin (in Å) and outside the data.

    Whittaker-Shannon interpolation is exact here, because G(r) has no frequency above qmax and the step of the data is
    below pi / qmax.
    """
    grid = PDF_GRID.r
    step = (measurement.r[-1] - measurement.r[0]) / (len(measurement.r) - 1)
    kernel = np.sinc((grid[:, None] - measurement.r) / step)
    in_range = (grid >= max(rmin, measurement.r[0]) - step / 2) & (grid <= measurement.r[-1] + step / 2)
    return np.where(in_range, kernel @ measurement.g, 0.0)


def range_warnings(
    training_limits: dict[str, Any], measurement: Measurement, bond: float, diameter: float
) -> tuple[str, ...]:
    """Return a phrase for each property of the data that lies outside the ranges of the network's training data.

    Args:
        training_limits: Entry "limits" of the card of the network.
        measurement: Measured PDF with all settings.
        bond: Nearest-neighbour distance, in Å.
        diameter: Diameter of the particle in Å, estimated from the data or taken from a candidate that fits better.
    """
    warnings = []
    max_diameter = training_limits["relative_diameter"] * bond
    if diameter > MAX_SIZE_RATIO * max_diameter:
        warnings.append(f"a particle of {diameter:.0f} Å, larger than any in the training ({max_diameter:.1f} Å)")
    settings = measurement.settings_by_name | {"bond": bond}
    for name in ("qmin", "qmax", "qdamp", "bond"):
        value, (low, high) = settings[name], training_limits[name]
        if not low <= value <= high:
            warnings.append(f"{name} {value:.4g} (trained on {low:g} to {high:g})")
    low = training_limits["rmax"][0]
    if measurement.r[-1] < low - 0.05:
        warnings.append(f"the data end at r = {measurement.r[-1]:g} Å (trained on {low:g} Å and more)")
    return tuple(warnings)
