r"""A network that predicts the joint probability of the structure type and the sizes of a sample from its PDF.

The PDF is sampled at even steps of ln r. A stretch of all distances is then a shift along this axis. A residual
convolutional network gives the parameters of a mixture density (C. M. Bishop, Mixture density networks, 1994):

$p(t, y) = \sum_k w_k\, p_k(t) \prod_j \mathcal{N}(y_j; \mu_{kj}, \sigma_{kj})$

Component $k$ has the weight $w_k$, the probability $p_k(t)$ of each structure type $t$, and a normal distribution of
each coordinate $y_j$ with mean $\mu_{kj}$ and standard deviation $\sigma_{kj}$. A coordinate is a size or its
logarithm, shifted and scaled (see `coordinates_from_values`). Random types and sizes are cheap to draw from this
density.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.network.classifier.simulated_pdfs import VALUE_NAMES, SimulatedBatch, TrueLabels

COORDINATE_CENTRE = np.array([math.log(120.0), 0.4, 0.1, 0.5, 0.2, 1.0], np.float32)
COORDINATE_SCALE = np.array([1.3, 0.15, 0.12, 0.4, 0.2, 0.023], np.float32)
"""Centres and scales of log n_atoms, log diameter - log n_atoms / 3, width, hexagonal, log aspect and stretch (see
`VALUE_NAMES`). A coordinate is one of these quantities minus its centre, divided by its scale. Typical coordinates are
about 1 in magnitude."""
MIN_STANDARD_DEVIATION = np.array([0.005, 0.03, 0.06, 0.04, 0.06, 0.01], np.float32)
"""Smallest standard deviation of each coordinate. Some true values are exact, e.g. a width of 0. Without this limit,
the predicted density at these values could grow without bound."""


class MixtureDensity(NamedTuple):
    """The parameters of the mixture density. The docstring of the module gives its equation."""

    log_weight: Float[Array, "*batch component"]
    """Logarithm of the weight of each component."""
    log_type_probability: Float[Array, "*batch component type"]
    """Logarithm of the probability of each structure type in each component."""
    mean: Float[Array, "*batch component coordinate"]
    standard_deviation: Float[Array, "*batch component coordinate"]
    anomaly_log_odds: Float[Array, "*batch"]
    """Log odds that the PDF is anomalous: the sample has particles of two types, or the stated qmax is wrong."""


class Classifier(nn.Module):
    """The network that maps a PDF and its instrument settings to a `MixtureDensity`."""

    channels: tuple[int, ...] = (32, 48, 64)
    """Number of channels of each convolutional stage. One position of the three stages spans 4, 8 and 16 points."""
    blocks: tuple[int, ...] = (1, 2, 2)
    """Number of residual blocks of each stage."""
    width: int = 384
    """Number of outputs of each dense layer."""
    components: int = 12
    """Number of components of the mixture."""

    @nn.compact
    def __call__(self, pdf, mask, settings) -> MixtureDensity:
        """Return the mixture densities of a batch of PDFs.

        Args:
            pdf: Normalised G(r) [pdf, r], see `SimulatedBatch.pdf`.
            mask: Mask of the points with data [pdf, r].
            settings: Scaled instrument settings [pdf, setting], see `simulated_pdfs.scaled_settings`.
        """
        x = jnp.stack([pdf, mask.astype(pdf.dtype)], axis=-1)
        for stage, (channels, blocks) in enumerate(zip(self.channels, self.blocks, strict=True)):
            stride = 4 if stage == 0 else 2
            x = nn.Conv(channels, (2 * stride,), stride)(x)
            if stage == 0:
                x = x + nn.Dense(channels)(settings)[:, None]
            for _ in range(blocks):
                x = x + self._residual_block(x, channels)
        x = nn.LayerNorm()(nn.gelu(x)).reshape(len(x), -1)
        x = nn.Dense(self.width)(jnp.concatenate([x, settings], axis=-1))
        for _ in range(2):
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(self.width)(nn.LayerNorm()(x))))
        x = nn.gelu(nn.LayerNorm()(x))
        self.sow("intermediates", "features", x)
        return self._mixture_density(x)

    def _residual_block(self, x, channels: int):
        x = nn.Conv(channels, (3,))(nn.gelu(nn.LayerNorm()(x)))
        return nn.Conv(channels, (3,), kernel_init=nn.initializers.variance_scaling(0.1, "fan_in", "normal"))(
            nn.gelu(x)
        )

    def _mixture_density(self, x) -> MixtureDensity:
        n_components, n_types, n_values = self.components, len(STRUCTURE_TYPES), len(VALUE_NAMES)
        outputs = nn.Dense(n_components * (1 + n_types + 2 * n_values))(x).reshape(len(x), n_components, -1)
        anomaly_log_odds = nn.Dense(1)(x)[:, 0]
        weight_logits, type_logits, mean, raw_deviation = jnp.split(
            outputs, (1, 1 + n_types, 1 + n_types + n_values), axis=-1
        )
        return MixtureDensity(
            jax.nn.log_softmax(weight_logits[..., 0]),
            jax.nn.log_softmax(type_logits),
            1.5 * mean,
            jnp.asarray(MIN_STANDARD_DEVIATION) + nn.softplus(raw_deviation),
            anomaly_log_odds,
        )


def coordinates_from_values(values: Float[Array, "*batch value"]) -> Float[Array, "*batch value"]:
    """Return the coordinates that correspond to values, see `COORDINATE_CENTRE`. NaN stays NaN.

    The values are in the order of `VALUE_NAMES`, and the coordinates in the order of `COORDINATE_CENTRE`.
    """
    n_atoms, diameter, width, hexagonal, aspect, stretch = jnp.moveaxis(values, -1, 0)
    log_n = jnp.log(n_atoms)
    columns = (log_n, jnp.log(diameter) - log_n / 3, width, hexagonal, jnp.log(aspect), stretch)
    return (jnp.stack(columns, axis=-1) - COORDINATE_CENTRE) / COORDINATE_SCALE


def values_from_coordinates(coordinates: Float[Array, "*batch value"]) -> Float[Array, "*batch value"]:
    """Return the values that correspond to coordinates. This is the inverse of `coordinates_from_values`."""
    log_n, log_relative_diameter, width, hexagonal, aspect, stretch = jnp.moveaxis(
        coordinates * COORDINATE_SCALE + COORDINATE_CENTRE, -1, 0
    )
    columns = (jnp.exp(log_n), jnp.exp(log_relative_diameter + log_n / 3), width, hexagonal, jnp.exp(aspect), stretch)
    return jnp.stack(columns, axis=-1)


def log_density(mixture: MixtureDensity, labels: TrueLabels) -> Float[Array, " pdf"]:
    """Return the logarithm of the mixture density at the true labels. Unknown types and values do not contribute."""
    true_coordinates = coordinates_from_values(labels.values)[:, None]
    is_known = jnp.isfinite(true_coordinates)
    residual = (jnp.where(is_known, true_coordinates, 0.0) - mixture.mean) / mixture.standard_deviation
    log_normal = -0.5 * residual**2 - jnp.log(mixture.standard_deviation) - 0.5 * math.log(2 * math.pi)
    component_log_density = mixture.log_weight + jnp.where(is_known, log_normal, 0.0).sum(axis=-1)
    type_index = jnp.broadcast_to(jnp.maximum(labels.type_index, 0)[:, None, None], (*mixture.log_weight.shape, 1))
    log_type_probability = jnp.take_along_axis(mixture.log_type_probability, type_index, axis=-1)[..., 0]
    return jax.nn.logsumexp(
        component_log_density + jnp.where(labels.type_index[:, None] >= 0, log_type_probability, 0.0), axis=-1
    )


def type_probabilities(mixture: MixtureDensity) -> Float[Array, "*batch type"]:
    """Return the probability of each structure type."""
    return jnp.exp(jax.nn.logsumexp(mixture.log_weight[..., None] + mixture.log_type_probability, axis=-2))


def reweight_types(
    mixture: MixtureDensity, type_weights: Float[Array, " type"] | Float[np.ndarray, " type"]
) -> MixtureDensity:
    """Return a mixture density that is multiplied by the prior weight of each type and normalized.

    Args:
        mixture: Mixture density of a network whose training has equal numbers of all types.
        type_weights: Prior weight of each structure type, in the order of `STRUCTURE_TYPES`.
    """
    log_type_weight = mixture.log_type_probability + jnp.log(type_weights)
    component_sum = jax.nn.logsumexp(log_type_weight, axis=-1)
    log_weight = mixture.log_weight + component_sum
    return mixture._replace(
        log_weight=log_weight - jax.nn.logsumexp(log_weight, axis=-1, keepdims=True),
        log_type_probability=log_type_weight - component_sum[..., None],
    )


def draw_samples(key: Array, mixture: MixtureDensity, n_draws: int) -> tuple[Array, Array]:
    """Return random type indices [draw, pdf] and values [draw, pdf, value] from each mixture density.

    The values are in the order of `VALUE_NAMES`.
    """
    component_key, type_key, noise_key = jax.random.split(key, 3)
    component = jax.random.categorical(component_key, mixture.log_weight, shape=(n_draws, len(mixture.log_weight)))
    rows = jnp.arange(len(mixture.log_weight))
    mean, deviation, log_type_probability = (
        column[rows, component] for column in (mixture.mean, mixture.standard_deviation, mixture.log_type_probability)
    )
    noise = jax.random.normal(noise_key, mean.shape)
    return jax.random.categorical(type_key, log_type_probability), values_from_coordinates(mean + deviation * noise)


def classifier_loss(params, batch: SimulatedBatch, module: Classifier) -> tuple[Array, dict[str, Array]]:
    """Return the training loss and its metrics.

    The loss is the mean of the negative log density of the true labels plus the cross entropy of `is_anomalous`. The
    metrics are the loss, this cross entropy, the fraction of correct types, and the median error of log n_atoms. If the
    number of atoms is unknown, its error counts as 0.
    """
    mixture: MixtureDensity = module.apply(params, batch.pdf, batch.mask, batch.settings)  # type: ignore[assignment]
    has_type = batch.labels.type_index >= 0
    log_likelihood = log_density(mixture, batch.labels)
    is_correct = (type_probabilities(mixture).argmax(axis=-1) == batch.labels.type_index) & has_type
    has_n_atoms = jnp.isfinite(batch.labels.values[:, 0])
    log_n_error = jnp.abs(mixture.mean[..., 0] - coordinates_from_values(batch.labels.values)[:, None, 0])
    log_n_error = (
        jnp.take_along_axis(log_n_error, mixture.log_weight.argmax(axis=-1)[:, None], axis=-1)[:, 0]
        * COORDINATE_SCALE[0]
    )
    anomaly_loss = optax.sigmoid_binary_cross_entropy(mixture.anomaly_log_odds, batch.is_anomalous)
    total_loss = (anomaly_loss - log_likelihood).mean()
    return total_loss, {
        "loss": total_loss,
        "strange": anomaly_loss.mean(),
        "right": is_correct.sum() / has_type.sum(),
        "n_atoms": jnp.median(jnp.where(has_n_atoms, log_n_error, 0.0)),
    }
