"""A PDF to structures: the one way from a network to atoms, which solving, experiments and the loss take.

Pure functions, for `jit`, `vmap` and `grad`; of one PDF each.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstruc.data.measurement import Measurement
from jaxstruc.network import representation, trilateration
from jaxstruc.network.dataset import GRID, normalised
from jaxstruc.network.model import CVAE, Decoded
from jaxstruc.structures.distances import distances

NEIGHBOURS = 1.25
"""Atoms count as neighbours up to this many times their nearest distance; fcc's second shell lies at 1.41."""
PRESENT = 0.5
"""An atom is there from this probability on."""


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


def propose(
    params: Any,
    pdf: Float[Array, " r"],
    key: Array,
    *,
    network: CVAE,
    samples: int = 1,
    bond: Float[Array, ""] | float | None = None,
    draw: bool = True,
) -> Proposals:
    """Return structures that a network makes of a PDF.

    The prior network's density is sampled, the draws are decoded and trilaterated. Under `vmap` with one key
    all PDFs see the same noise, so that a result does not depend on its batch.

    Args:
        params: of the network.
        pdf: G(r) on `dataset.GRID`, 0 where there are no data; any scale.
        key: random key.
        network: the autoencoder.
        samples: number of structures.
        bond: nearest-neighbour distance that sets the scale, in Å; without it the decoded radius does.
        draw: whether to draw from the prior's density; else its mean is taken, as of a deterministic network always.
    """
    z = latents(params, pdf, key, network=network, samples=samples, draw=draw)
    return structures(params, z, network=network, bond=bond)


def latents(
    params: Any, pdf: Float[Array, " r"], key: Array, *, network: CVAE, samples: int, draw: bool = True
) -> Float[Array, "sample latent"]:
    """Return latent vectors drawn from the prior of a PDF. Arguments as in `propose`."""
    prior: Any = network.apply(params, normalised(pdf), method=CVAE.prior)
    noise = jax.random.normal(key, (samples, network.sizes.latent), prior.mean.dtype)
    spread = jnp.exp(0.5 * prior.log_variance) if draw and network.sizes.stochastic else 0.0
    return prior.mean + spread * noise


def structures(
    params: Any, z: Float[Array, "sample latent"], *, network: CVAE, bond: Float[Array, ""] | float | None = None
) -> Proposals:
    """Return the structures of latent vectors. Arguments as in `propose`."""
    decoded: Any = network.apply(params, z, method=CVAE.decode)
    return jax.vmap(lambda one: placed(one, bond=bond))(decoded)


def placed(
    decoded: Decoded, *, bond: Float[Array, ""] | float | None = None, iterations: int = 100, tolerance: float = 1e-5
) -> Proposals:
    """Return the one structure of decoded distances.

    Args:
        decoded: distances, presence and radius. A negative distance counts as its size, so that it has a gradient.
        bond: as in `propose`.
        iterations: most steps of the trilateration.
        tolerance: at which it ends.
    """
    weights = jax.nn.sigmoid(decoded.presence)
    anchors = jnp.asarray(representation.satellites(decoded.satellite.shape[-1]), weights.dtype)
    found = trilateration.trilaterate(
        jnp.abs(decoded.pair), jnp.abs(decoded.satellite), weights, anchors, iterations=iterations, tolerance=tolerance
    )
    radius = jnp.exp(decoded.log_radius)
    scale = radius if bond is None else bond / neighbour_distance(found.positions, weights)
    return Proposals(found.positions * scale, weights, radius, found.stress, found.converged)


def neighbour_distance(positions: Float[Array, "atom 3"], weights: Float[Array, " atom"]) -> Float[Array, ""]:
    """Return the mean distance of neighbours, in the positions' unit; 1 where there are none.

    Neighbours are pairs of present atoms up to `NEIGHBOURS` times the median nearest distance apart: unlike the nearest
    distance alone, their mean is not shortened by errors of the coordinates.
    """
    between = distances(positions)
    there = weights > PRESENT
    pair = there[:, None] & there[None, :] & ~np.eye(weights.size, dtype=bool)
    nearest = jnp.min(jnp.where(pair, between, jnp.inf), axis=1)
    median = jnp.nanmedian(jnp.where(jnp.isfinite(nearest), nearest, jnp.nan))
    close = pair & (between < NEIGHBOURS * jax.lax.stop_gradient(median))
    share = jnp.where(close, weights[:, None] * weights[None, :], 0.0)
    total = jnp.sum(share)
    mean = jnp.sum(share * between) / jnp.where(total > 0, total, 1.0)
    return jnp.where(mean > 0, mean, 1.0)


def model_input(measurement: Measurement, *, rmin: float) -> Float[np.ndarray, " r"]:
    """Return a measured G(r) on the model's grid, 0 below rmin and beyond the data.

    Whittaker-Shannon interpolation: G(r) holds no frequency above qmax, and the data's step is below pi / qmax.
    """
    grid = GRID.r
    step = (measurement.r[-1] - measurement.r[0]) / (len(measurement.r) - 1)
    kernel = np.sinc((grid[:, None] - measurement.r) / step)
    inside = (grid >= max(rmin, measurement.r[0]) - step / 2) & (grid <= measurement.r[-1] + step / 2)
    return np.where(inside, kernel @ measurement.g, 0.0)
