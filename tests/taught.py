"""A stream of easy curves, in place of simulated PDFs, for tests of what is trained on it."""

import jax
import jax.numpy as jnp

from jaxstruc.network.classifier import Classifier
from jaxstruc.network.endless import POINTS, TOLD, Batch, Truths
from jaxstruc.structures.cuts import TYPES

SMALL = Classifier(channels=(8,), blocks=(0,), width=16, components=2)


def easy(key, own):
    """Return 64 noisy waves, of a length for each type and a height for each size."""
    which, noise, size = jax.random.split(key, 3)
    kind = jax.random.randint(which, (64,), 0, len(TYPES))
    x = jnp.arange(POINTS) / POINTS
    atoms = jnp.exp(jax.random.uniform(size, (64,), minval=3.0, maxval=6.0))
    wave = jnp.sin(6 * (kind[:, None] + 1) * x) + jnp.log(atoms)[:, None] * x
    pdf = wave + 0.1 * jax.random.normal(noise, (64, POINTS))
    column = jnp.full(64, jnp.nan)
    truths = Truths(kind, jnp.stack([atoms, *[column] * 5], axis=1))
    return Batch(pdf, jnp.ones_like(pdf, bool), jnp.zeros((64, len(TOLD))), truths, jnp.ones(64, int), jnp.zeros(64))
