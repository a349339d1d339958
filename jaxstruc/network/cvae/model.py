"""The variational and the deterministic autoencoder of KDD 2020, in flax.linen. This module contains no physics.

Source: section 4.1 of A. S. Anker, E. T. S. Kjaer et al., KDD workshop on mining and learning with graphs (2020),
called "KDD 2020" in this package. The decoder's input is the latent vector only. The paper leaves some choices open:

- The prior network treats the PDF as a sequence of length 1, with one channel for each r. Its convolutions of width 1
  are therefore gated dense layers.
- The encoder averages its features over the present atoms before its last layer.
- The decoder also gives the presence of each atom and the radius of the particle.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstruc.network.cvae.representation import Features, symmetric_matrix
from jaxstruc.options.training import TrainOptions

CENTRE_LOG_RADIUS = 2.0
"""Number added to the decoded logarithm of the radius. An untrained network gives radii near exp(2) = 7.4 Å."""


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of the network. The defaults are those of KDD 2020."""

    latent: int = 2
    """Number of latent dimensions, H."""
    atoms: int = 100
    """Largest number of atoms in a structure. Smaller structures are padded."""
    satellites: int = 11
    """Number of satellites (fixed reference points on the unit sphere)."""
    points: int = 301
    """Number of points of the PDF, with r = 0 to 30 Å in steps of 0.1 Å."""
    stochastic: bool = True
    """Whether the autoencoder is variational (CVAE) and draws latent vectors. Otherwise it is deterministic (DAE)."""


class Gaussian(NamedTuple):
    """A diagonal Gaussian density over the latent space."""

    mean: Float[Array, "*batch latent"]
    log_variance: Float[Array, "*batch latent"]


class DecodedStructure(NamedTuple):
    """The output of the decoder for one structure. Satellites are fixed reference points on the unit sphere."""

    pair: Float[Array, "*batch atom atom"]
    """Distances between atoms in units of the particle's radius. The matrix is symmetric with a zero diagonal."""
    satellite: Float[Array, "*batch atom satellite"]
    """Distances from atoms to satellites in units of the particle's radius."""
    presence: Float[Array, "*batch atom"]
    """Logit of each atom's presence."""
    log_radius: Float[Array, "*batch"]
    """Logarithm of the particle's radius in Å."""


class GatedDense(nn.Module):
    """A gated convolution of width 1: a dense layer multiplied by a sigmoid gate."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch input"]) -> Float[Array, "*batch features"]:
        """Return (W x + b) sigmoid(V x + c) with the weight matrices W and V and the biases b and c."""
        value, gate = jnp.split(nn.Dense(2 * self.features)(x), 2, axis=-1)
        return value * nn.sigmoid(gate)


class GatedTranspose(nn.Module):
    """A gated 1-D transpose convolution that lengthens a sequence `stride` times."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch length input"]) -> Float[Array, "*batch longer features"]:
        """Return the lengthened sequence."""
        kernel_size = (self.stride,)
        value, gate = jnp.split(nn.ConvTranspose(2 * self.features, kernel_size, kernel_size)(x), 2, axis=-1)
        return value * nn.sigmoid(gate)


class Prior(nn.Module):
    """The prior network p(z | PDF).

    Its layers have the widths D-48-24-2H for D points of the PDF and H latent dimensions.
    """

    latent: int

    @nn.compact
    def __call__(self, pdf: Float[Array, "*batch r"]) -> Gaussian:
        """Return the latent density for a normalised PDF."""
        hidden = nn.relu(GatedDense(48)(pdf))
        hidden = nn.relu(GatedDense(24)(hidden))
        return _split_gaussian(nn.Dense(2 * self.latent)(hidden))


class Encoder(nn.Module):
    """The encoder q(z | structure, PDF).

    Its layers have the widths F-384-256-128-2H for F features of each atom and H latent dimensions.
    """

    latent: int

    @nn.compact
    def __call__(self, features: Features, pdf: Float[Array, "*batch r"]) -> Gaussian:
        """Return the latent density for a structure and its normalised PDF."""
        n_atoms = features.presence.shape[-1]
        presence = features.presence[..., None].astype(pdf.dtype)
        pdf_features = pdf[..., None, :]
        for width, stride in ((48, 4), (24, 5), (12, -(-n_atoms // 20))):
            pdf_features = GatedTranspose(width, stride)(pdf_features)
        radius_feature = (jnp.log(features.radius) - CENTRE_LOG_RADIUS)[..., None, None] * presence
        node_features = [presence, radius_feature, features.pair, features.satellite, pdf_features[..., :n_atoms, :]]
        hidden = jnp.concatenate(node_features, axis=-1)
        for width in (384, 256, 128):
            hidden = nn.relu(nn.Dense(width)(hidden))
        pooled_features = jnp.sum(hidden * presence, axis=-2) / jnp.maximum(jnp.sum(presence, axis=-2), 1)
        return _split_gaussian(nn.Dense(2 * self.latent)(pooled_features))


class Decoder(nn.Module):
    """The decoder p(structure | z).

    Its layers have the widths H-128-256-384-512 for H latent dimensions. The output layer follows them.
    """

    atoms: int
    satellites: int

    @nn.compact
    def __call__(self, z: Float[Array, "*batch latent"]) -> DecodedStructure:
        """Return the structure decoded from a latent vector."""
        hidden = z
        for width in (128, 256, 384, 512):
            hidden = nn.relu(nn.Dense(width)(hidden))
        n_pairs, n_satellite_distances = self.atoms * (self.atoms - 1) // 2, self.atoms * self.satellites
        outputs = nn.Dense(n_pairs + n_satellite_distances + self.atoms + 1)(hidden)
        pair, satellite, presence, radius = jnp.split(
            outputs, [n_pairs, n_pairs + n_satellite_distances, n_pairs + n_satellite_distances + self.atoms], axis=-1
        )
        return DecodedStructure(
            pair=symmetric_matrix(pair, self.atoms),
            satellite=satellite.reshape(*z.shape[:-1], self.atoms, self.satellites),
            presence=presence,
            log_radius=radius[..., 0] + CENTRE_LOG_RADIUS,
        )


class CVAE(nn.Module):
    """The autoencoder of encoder, prior and decoder.

    Initialisation and training use `__call__`. The analysis of a measured PDF uses `prior` and `decode`.
    """

    sizes: ModelSizes

    def setup(self):
        """Create the three networks."""
        self.encoder = Encoder(self.sizes.latent)
        self.prior_network = Prior(self.sizes.latent)
        self.decoder = Decoder(self.sizes.atoms, self.sizes.satellites)

    def __call__(
        self, features: Features, pdf: Float[Array, "*batch r"], key: Array
    ) -> tuple[DecodedStructure, Gaussian, Gaussian]:
        """Return the decoded structure, the posterior and the prior.

        The structure is decoded from a random draw of the posterior, or from its mean if the model is deterministic.
        """
        posterior = self.encoder(features, pdf)
        z = sample_latent(posterior, key) if self.sizes.stochastic else posterior.mean
        return self.decoder(z), posterior, self.prior_network(pdf)

    def encode(self, features: Features, pdf: Float[Array, "*batch r"]) -> Gaussian:
        """Return the posterior latent density for structures and their normalised PDFs."""
        return self.encoder(features, pdf)

    def prior(self, pdf: Float[Array, "*batch r"]) -> Gaussian:
        """Return the prior latent density for normalised PDFs."""
        return self.prior_network(pdf)

    def decode(self, z: Float[Array, "*batch latent"]) -> DecodedStructure:
        """Return the structures decoded from latent vectors."""
        return self.decoder(z)


def model_sizes_from_options(options: TrainOptions) -> ModelSizes:
    """Return the sizes of the network that the options of a training describe."""
    return ModelSizes(latent=options.latent, stochastic=options.model == "cvae")


def sample_latent(density: Gaussian, key: Array) -> Float[Array, "*batch latent"]:
    """Return one random draw from each density."""
    noise = jax.random.normal(key, density.mean.shape, density.mean.dtype)
    return density.mean + jnp.exp(0.5 * density.log_variance) * noise


def kl_divergence(a: Gaussian, b: Gaussian) -> Float[Array, "*batch"]:
    r"""Return the KL divergence of Gaussian a from Gaussian b in nats, summed over the latent dimensions.

    $\frac12 \sum [\sigma_a^2/\sigma_b^2 + (\mu_a-\mu_b)^2/\sigma_b^2 - 1 - \ln(\sigma_a^2/\sigma_b^2)]$
    with the means $\mu$ and the standard deviations $\sigma$.
    """
    difference = a.log_variance - b.log_variance
    distance = (a.mean - b.mean) ** 2 * jnp.exp(-b.log_variance)
    return 0.5 * jnp.sum(jnp.exp(difference) + distance - 1 - difference, axis=-1)


def squared_mean_distance(a: Gaussian, b: Gaussian) -> Float[Array, "*batch"]:
    """Return the squared distance of the means. It replaces the KL divergence in the deterministic autoencoder."""
    return jnp.sum((a.mean - b.mean) ** 2, axis=-1)


def _split_gaussian(output):
    mean, log_variance = jnp.split(output, 2, axis=-1)
    return Gaussian(mean, jnp.clip(log_variance, -10.0, 4.0))
