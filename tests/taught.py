"""A stream of easy curves, in place of simulated PDFs, for tests of what is trained on it."""

import jax
import jax.numpy as jnp

from jaxstruc.network.classifier import Classifier
from jaxstruc.network.endless import POINTS, TOLD, VALUES, Batch, Truths
from jaxstruc.network.naming import EVEN
from jaxstruc.structures.cuts import TYPES

CALIBRATION = {"temperature": 1.0, "levels": {name: EVEN.tolist() for name in VALUES}}
"""Of a card: nothing is changed."""
SMALL = Classifier(channels=(8,), blocks=(0,), width=16, components=2)


def easy(key, own, *, strange=0.05):
    """Return 64 noisy waves, of a length for each type and a height for each size; strange ones are the sum of two."""
    which, noise, size = jax.random.split(key, 3)
    kind = jax.random.randint(which, (64,), 0, len(TYPES))
    x = jnp.arange(POINTS) / POINTS
    atoms = jnp.exp(jax.random.uniform(size, (64,), minval=3.0, maxval=6.0))
    wave = jnp.sin(6 * (kind[:, None] + 1) * x) + jnp.log(atoms)[:, None] * x
    odd = jax.random.uniform(jax.random.fold_in(which, 1), (64,)) < strange
    wave = jnp.where(odd[:, None], wave + jnp.roll(wave, 1, axis=0), wave)
    pdf = wave + 0.1 * jax.random.normal(noise, (64, POINTS))
    column = jnp.full(64, jnp.nan)
    truths = Truths(kind, jnp.stack([atoms, *[column] * 5], axis=1))
    truths = Truths(jnp.where(odd, -1, kind), jnp.where(odd[:, None], jnp.nan, truths.values))
    seen, told = jnp.ones_like(pdf, bool), jnp.zeros((64, len(TOLD)))
    return Batch(pdf, seen, told, truths, jnp.ones(64, int), jnp.zeros(64), odd)
