r"""A network that names the type and the sizes of a sample from its PDF at once, and how sure it is.

A residual network along ln r, where a stretch is a shift, gives the parameters of a mixture: each component has a
weight, a probability of each type and a normal distribution of each coordinate. So types and sizes are known together,
and draws are cheap: $p(t, y) = \sum_k w_k\, p_k(t) \prod_j \mathcal{N}(y_j; \mu_{kj}, \sigma_{kj})$.
(C. M. Bishop, Mixture density networks, 1994.)
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxstruc.network.endless import VALUES, Batch, Truths
from jaxstruc.structures.cuts import TYPES

CENTRE = np.array([math.log(120.0), 0.4, 0.1, 0.5, 0.2, 1.0], np.float32)
SPREAD = np.array([1.3, 0.15, 0.12, 0.4, 0.2, 0.023], np.float32)
"""Of log n_atoms, log diameter - log n_atoms / 3, width, hexagonal, log aspect and stretch: less and over these,
they are about 1."""
FLOOR = np.array([0.005, 0.03, 0.06, 0.04, 0.06, 0.01], np.float32)
"""Least standard deviation of a coordinate: numbers like a width of 0 are exact in truths."""


class Mixture(NamedTuple):
    """What is known of a sample."""

    weight: Float[Array, "*batch component"]
    """Logarithm."""
    type: Float[Array, "*batch component type"]
    """Logarithm of the probability."""
    mean: Float[Array, "*batch component coordinate"]
    deviation: Float[Array, "*batch component coordinate"]
    strange: Float[Array, "*batch"]
    """Log odds that it is not what it is told to be: two types of particles, or a qmax so wrong that it is seen."""


class Classifier(nn.Module):
    """From a PDF and its instrument to a `Mixture`."""

    channels: tuple[int, ...] = (32, 48, 64)
    """Along the PDF, at every fourth, eighth and sixteenth of its points."""
    blocks: tuple[int, ...] = (1, 2, 2)
    width: int = 384
    components: int = 12

    @nn.compact
    def __call__(self, pdf, seen, told) -> Mixture:
        """Return the mixtures of a batch of PDFs.

        Args:
            pdf: [pdf, r] as in `endless.Batch`; so are the next two.
            seen: [pdf, r]
            told: [pdf, told]
        """
        x = jnp.stack([pdf, seen.astype(pdf.dtype)], axis=-1)
        for place, (channels, blocks) in enumerate(zip(self.channels, self.blocks, strict=True)):
            stride = 4 if place == 0 else 2
            x = nn.Conv(channels, (2 * stride,), stride)(x)
            if place == 0:
                x = x + nn.Dense(channels)(told)[:, None]
            for _ in range(blocks):
                x = x + self._block(x, channels)
        x = nn.LayerNorm()(nn.gelu(x)).reshape(len(x), -1)
        x = nn.Dense(self.width)(jnp.concatenate([x, told], axis=-1))
        for _ in range(2):
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(self.width)(nn.LayerNorm()(x))))
        x = nn.gelu(nn.LayerNorm()(x))
        self.sow("intermediates", "features", x)
        return self._mixture(x)

    def _block(self, x, channels: int):
        x = nn.Conv(channels, (3,))(nn.gelu(nn.LayerNorm()(x)))
        return nn.Conv(channels, (3,), kernel_init=nn.initializers.variance_scaling(0.1, "fan_in", "normal"))(
            nn.gelu(x)
        )

    def _mixture(self, x) -> Mixture:
        many, types, values = self.components, len(TYPES), len(VALUES)
        own = nn.Dense(many * (1 + types + 2 * values))(x).reshape(len(x), many, -1)
        strange = nn.Dense(1)(x)[:, 0]
        weight, type_, mean, deviation = jnp.split(own, (1, 1 + types, 1 + types + values), axis=-1)
        return Mixture(
            jax.nn.log_softmax(weight[..., 0]),
            jax.nn.log_softmax(type_),
            1.5 * mean,
            jnp.asarray(FLOOR) + nn.softplus(deviation),
            strange,
        )


def coordinates(values: Float[Array, "*batch value"]) -> Float[Array, "*batch value"]:
    """Return values as the network's coordinates; NaN stays."""
    n_atoms, diameter, width, hexagonal, aspect, stretch = jnp.moveaxis(values, -1, 0)
    log_n = jnp.log(n_atoms)
    columns = (log_n, jnp.log(diameter) - log_n / 3, width, hexagonal, jnp.log(aspect), stretch)
    return (jnp.stack(columns, axis=-1) - CENTRE) / SPREAD


def values(coordinates: Float[Array, "*batch value"]) -> Float[Array, "*batch value"]:
    """Return what coordinates stand for: the inverse of `coordinates`."""
    log_n, slimness, width, hexagonal, aspect, stretch = jnp.moveaxis(coordinates * SPREAD + CENTRE, -1, 0)
    columns = (jnp.exp(log_n), jnp.exp(slimness + log_n / 3), width, hexagonal, jnp.exp(aspect), stretch)
    return jnp.stack(columns, axis=-1)


def log_density(mixture: Mixture, truths: Truths) -> Float[Array, " pdf"]:
    """Return the logarithm of the density at truths; what is not known of one is left out."""
    own = coordinates(truths.values)[:, None]
    known = jnp.isfinite(own)
    off = (jnp.where(known, own, 0.0) - mixture.mean) / mixture.deviation
    normal = -0.5 * off**2 - jnp.log(mixture.deviation) - 0.5 * math.log(2 * math.pi)
    each = mixture.weight + jnp.where(known, normal, 0.0).sum(axis=-1)
    place = jnp.broadcast_to(jnp.maximum(truths.type, 0)[:, None, None], (*mixture.weight.shape, 1))
    of_type = jnp.take_along_axis(mixture.type, place, axis=-1)[..., 0]
    return jax.nn.logsumexp(each + jnp.where(truths.type[:, None] >= 0, of_type, 0.0), axis=-1)


def types(mixture: Mixture) -> Float[Array, "*batch type"]:
    """Return the probability of each type."""
    return jnp.exp(jax.nn.logsumexp(mixture.weight[..., None] + mixture.type, axis=-2))


def drawn(key: Array, mixture: Mixture, count: int) -> tuple[Array, Array]:
    """Return samples of each mixture of a batch: types [draw, pdf] and values [draw, pdf, value] as `VALUES`."""
    which, kind, normal = jax.random.split(key, 3)
    component = jax.random.categorical(which, mixture.weight, shape=(count, len(mixture.weight)))
    rows = jnp.arange(len(mixture.weight))
    mean, deviation, type_ = (column[rows, component] for column in (mixture.mean, mixture.deviation, mixture.type))
    noise = jax.random.normal(normal, mean.shape)
    return jax.random.categorical(kind, type_), values(mean + deviation * noise)


def loss(params, batch: Batch, module: Classifier) -> tuple[Array, dict[str, Array]]:
    """Return the negative log density of truths and the cross entropy of strangeness, mean, and how good they are."""
    mixture: Mixture = module.apply(params, batch.pdf, batch.seen, batch.told)  # type: ignore[assignment]
    shown = batch.truths.type >= 0
    density = log_density(mixture, batch.truths)
    right = (types(mixture).argmax(axis=-1) == batch.truths.type) & shown
    whole = jnp.isfinite(batch.truths.values[:, 0])
    off = jnp.abs(mixture.mean[..., 0] - coordinates(batch.truths.values)[:, None, 0])
    off = jnp.take_along_axis(off, mixture.weight.argmax(axis=-1)[:, None], axis=-1)[:, 0] * SPREAD[0]
    odd = optax.sigmoid_binary_cross_entropy(mixture.strange, batch.strange)
    lost = (odd - density).mean()
    return lost, {
        "loss": lost,
        "strange": odd.mean(),
        "right": right.sum() / shown.sum(),
        "n_atoms": jnp.median(jnp.where(whole, off, 0.0)),
    }
