"""The autoencoders of KDD 2020, variational and deterministic, in flax.linen: arrays in, arrays out, no physics.

Section 4.1 of A. S. Anker, E. T. S. Kjaer et al., KDD workshop on mining and learning with graphs (2020). What the
paper leaves open is decided here: the PDF is a sequence of one point with as many channels as r values, so the prior's
convolutions of width 1 are gated dense layers; the encoder's features are averaged over the atoms present before its
last layer; the decoder sees the latent vector alone (section 4.1) and gives presence and radius besides.
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
"""Centre of the decoded log radius: an untrained network says exp(2) = 7.4 Å."""


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of the network. The defaults are the KDD 2020 paper's."""

    latent: int = 2
    """Latent dimension H."""
    atoms: int = 100
    """Most atoms in a structure; smaller ones are padded."""
    satellites: int = 11
    """Anchor points on the unit sphere."""
    points: int = 301
    """Points of the PDF, r = 0 to 30 Å in steps of 0.1 Å."""
    stochastic: bool = True
    """True: the variational autoencoder, which draws latent vectors. False: the deterministic one (DAE)."""


class Gaussian(NamedTuple):
    """A diagonal Gaussian density over the latent space."""

    mean: Float[Array, "*batch latent"]
    log_variance: Float[Array, "*batch latent"]


class DecodedStructure(NamedTuple):
    """What the decoder says of a structure."""

    pair: Float[Array, "*batch atom atom"]
    """Distances between atoms, in radii; symmetric, zero on the diagonal."""
    satellite: Float[Array, "*batch atom satellite"]
    """Distances from atoms to satellites, in radii."""
    presence: Float[Array, "*batch atom"]
    """Logit of each atom's presence."""
    log_radius: Float[Array, "*batch"]
    """Logarithm of the particle's radius in Å."""


class GatedDense(nn.Module):
    """A dense layer times a sigmoid gate: a gated convolution of width 1."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch input"]) -> Float[Array, "*batch features"]:
        """Return (W x + b) sigmoid(V x + c)."""
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
    """p(z | PDF): gated layers D-48-24-2H."""

    latent: int

    @nn.compact
    def __call__(self, pdf: Float[Array, "*batch r"]) -> Gaussian:
        """Return the latent density of a normalised PDF."""
        hidden = nn.relu(GatedDense(48)(pdf))
        hidden = nn.relu(GatedDense(24)(hidden))
        return _split_gaussian(nn.Dense(2 * self.latent)(hidden))


class Encoder(nn.Module):
    """q(z | structure, PDF): layers F-384-256-128-2H on the nodes."""

    latent: int

    @nn.compact
    def __call__(self, features: Features, pdf: Float[Array, "*batch r"]) -> Gaussian:
        """Return the latent density of a structure and its normalised PDF."""
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
    """p(structure | z): layers H-128-256-384-512-out."""

    atoms: int
    satellites: int

    @nn.compact
    def __call__(self, z: Float[Array, "*batch latent"]) -> DecodedStructure:
        """Return the structure of a latent vector."""
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
    """Encoder, prior and decoder. `init` and training go through `__call__`, solving through `prior` and `decode`."""

    sizes: ModelSizes

    def setup(self):
        """Name the three networks."""
        self.encoder = Encoder(self.sizes.latent)
        self.prior_network = Prior(self.sizes.latent)
        self.decoder = Decoder(self.sizes.atoms, self.sizes.satellites)

    def __call__(
        self, features: Features, pdf: Float[Array, "*batch r"], key: Array
    ) -> tuple[DecodedStructure, Gaussian, Gaussian]:
        """Return the structure decoded from a posterior draw (the mean, if deterministic), posterior and prior."""
        posterior = self.encoder(features, pdf)
        z = sample_latent(posterior, key) if self.sizes.stochastic else posterior.mean
        return self.decoder(z), posterior, self.prior_network(pdf)

    def encode(self, features: Features, pdf: Float[Array, "*batch r"]) -> Gaussian:
        """Return the latent density of structures and their normalised PDFs."""
        return self.encoder(features, pdf)

    def prior(self, pdf: Float[Array, "*batch r"]) -> Gaussian:
        """Return the latent density of normalised PDFs."""
        return self.prior_network(pdf)

    def decode(self, z: Float[Array, "*batch latent"]) -> DecodedStructure:
        """Return the structures of latent vectors."""
        return self.decoder(z)


def model_sizes_from_options(options: TrainOptions) -> ModelSizes:
    """Return the sizes of the network of a training."""
    return ModelSizes(latent=options.latent, stochastic=options.model == "cvae")


def sample_latent(density: Gaussian, key: Array) -> Float[Array, "*batch latent"]:
    """Return one draw from each density."""
    noise = jax.random.normal(key, density.mean.shape, density.mean.dtype)
    return density.mean + jnp.exp(0.5 * density.log_variance) * noise


def kl_divergence(a: Gaussian, b: Gaussian) -> Float[Array, "*batch"]:
    r"""Return KL(a || b) in nats, $\frac12 \sum [\sigma_a^2/\sigma_b^2 + (\mu_a-\mu_b)^2/\sigma_b^2 - 1 - \ln ...]$."""
    difference = a.log_variance - b.log_variance
    distance = (a.mean - b.mean) ** 2 * jnp.exp(-b.log_variance)
    return 0.5 * jnp.sum(jnp.exp(difference) + distance - 1 - difference, axis=-1)


def squared_mean_distance(a: Gaussian, b: Gaussian) -> Float[Array, "*batch"]:
    """Return the squared distance of the means: the deterministic autoencoder's penalty in place of the divergence."""
    return jnp.sum((a.mean - b.mean) ** 2, axis=-1)


def _split_gaussian(output):
    mean, log_variance = jnp.split(output, 2, axis=-1)
    return Gaussian(mean, jnp.clip(log_variance, -10.0, 4.0))
