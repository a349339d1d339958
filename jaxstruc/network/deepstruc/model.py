"""A conditional variational autoencoder for particles of seven structure types with up to 200 atoms, in flax.linen.

The system is DeepStruc's: A. S. Anker, E. T. S. Kjaer et al., Digital Discovery 2, 69 (2023), doi 10.1039/D2DD00086E.
The networks differ from it. Their input is the scaled PDF (see `scaled_pdf`), and the decoder reads the PDF as well as
the latent vector. It does not give coordinates, but densities of the codes of particles (see `particle_codes`) and the
bond length. A site has an atom if its depths are at most the levels of the code, so that the network need not have seen
a shape to propose it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxstruc.clusters.particle_codes import LATTICES, N_CUTS, N_LETTERS, PARTICLE_TYPES, ParticleCode
from jaxstruc.network.cvae.model import Gaussian, sample_latent
from jaxstruc.network.deepstruc.scaled_pdf import ScaledPdf

N_COMPONENTS, MIN_VARIANCE = 128, 1e-3
"""Number of principal components of a PDF, and number added to their variances. A PDF has a mean square of 1."""
CENTRE_LOG_NEIGHBOUR = 1.0
"""Logarithm of a typical nearest-neighbour distance in Å, which is subtracted from the network's input."""
LEVEL_UNIT, LOG_WIDTH_RANGE = 5.0, (-2.5, 1.5)
"""Unit of the levels in the network's input and output, and range of the logarithm of the width of their density."""


@dataclass(frozen=True)
class ParticleModelSizes:
    """Sizes of the network."""

    latent: int = 2
    """Number of latent dimensions."""
    width: int = 256
    """Number of features of the PDF and of the hidden layers of the decoder."""
    type_head: bool = True
    """Whether the loss contains what the latent vector alone predicts: the structure type, and the share of hexagonal
    layers of stacks."""


class ParticleFeatures(NamedTuple):
    """The particles of a batch."""

    code: ParticleCode
    """Codes of the particles."""
    bond: Float[Array, "*batch"]
    """Bond length of the shape, in Å."""
    structure_type: Int[Array, "*batch"]
    """Index into `PARTICLE_TYPES`."""
    hexagonal: Float[Array, "*batch"]
    """Share of hexagonal layers among the inner layers of a stack, and 0 for other particles."""


class DecodedParticle(NamedTuple):
    """The output of the decoder for particles."""

    lattice: Float[Array, "*batch lattice"]
    """Logits of the lattices."""
    level: Float[Array, "*batch lattice 3"]
    """Means of the logistic densities of the levels, for each lattice."""
    log_width: Float[Array, "*batch lattice 3"]
    """Logarithms of the widths of these densities."""
    cut: Float[Array, "*batch cut"]
    """Logits of the cuts."""
    is_hexagonal: Float[Array, "*batch letter"]
    """Logit of each inner layer of a stack being hexagonal."""
    log_relative_bond: Float[Array, "*batch"]
    """Logarithm of the bond length of the shape in units of the neighbour distance of the PDF."""
    latent_type: Float[Array, "*batch type"]
    """Logits of the structure types from the latent vector alone."""
    latent_hexagonal: Float[Array, "*batch"]
    """Share of hexagonal layers from the latent vector alone."""


class Whitening(nn.Module):
    """Principal components of PDFs, divided by their standard deviations.

    PDFs of similar shapes differ little, and the division enlarges these differences. Mean and components are those of
    the PDFs with which the parameters are initialised. They are not trained.
    """

    @nn.compact
    def __call__(self, values: Float[Array, "*batch point"]) -> Float[Array, "*batch component"]:
        """Return the components."""
        rows = values.reshape(-1, values.shape[-1])
        mean = self.param("mean", lambda key: jnp.mean(rows, axis=0))
        components = self.param("components", lambda key: scaled_components(rows))
        mean, components = jax.lax.stop_gradient((mean, components))
        return (values - mean) @ components


class PdfNetwork(nn.Module):
    """The network that makes features of a scaled PDF."""

    width: int

    @nn.compact
    def __call__(self, pdf: ScaledPdf) -> Float[Array, "*batch width"]:
        """Return the features."""
        log_neighbour = jnp.log(pdf.neighbour)[..., None] - CENTRE_LOG_NEIGHBOUR
        components = Whitening()(pdf.values)
        hidden = nn.relu(nn.Dense(2 * self.width)(jnp.concatenate([components, log_neighbour], axis=-1)))
        hidden = nn.relu(nn.Dense(self.width)(hidden))
        return hidden + nn.Dense(self.width)(nn.relu(nn.Dense(self.width)(hidden)))


class ParticleEncoder(nn.Module):
    """The encoder q(z | particle, PDF)."""

    latent: int

    @nn.compact
    def __call__(self, features: ParticleFeatures, pdf_features: Float[Array, "*batch width"]) -> Gaussian:
        """Return the posterior latent density."""
        code = features.code
        columns = [
            jax.nn.one_hot(code.lattice, len(LATTICES)),
            code.levels / LEVEL_UNIT,
            jax.nn.one_hot(code.cut, N_CUTS),
            code.is_hexagonal,
        ]
        hidden = nn.relu(nn.Dense(64)(jnp.concatenate(columns, axis=-1).astype(pdf_features.dtype)))
        hidden = nn.relu(nn.Dense(64)(jnp.concatenate([hidden, pdf_features], axis=-1)))
        return split_gaussian(nn.Dense(2 * self.latent)(hidden))


class ParticleDecoder(nn.Module):
    """The decoder p(particle | z, PDF) with the head that predicts the type from the latent vector."""

    sizes: ParticleModelSizes

    @nn.compact
    def __call__(self, z: Float[Array, "*batch latent"], pdf_features: Float[Array, "*batch width"]) -> DecodedParticle:
        """Return the decoded particles."""
        hidden = nn.relu(nn.Dense(self.sizes.width)(jnp.concatenate([z, pdf_features], axis=-1)))
        hidden = hidden + nn.Dense(self.sizes.width)(nn.relu(nn.Dense(self.sizes.width)(hidden)))
        densities = nn.Dense(len(LATTICES) * 6)(hidden).reshape(*hidden.shape[:-1], len(LATTICES), 6)
        latent_hidden = nn.relu(nn.Dense(32)(z))
        return DecodedParticle(
            lattice=nn.Dense(len(LATTICES))(hidden),
            level=LEVEL_UNIT * densities[..., :3],
            log_width=jnp.clip(densities[..., 3:], *LOG_WIDTH_RANGE),
            cut=nn.Dense(N_CUTS)(hidden),
            is_hexagonal=nn.Dense(N_LETTERS)(hidden),
            log_relative_bond=nn.Dense(1)(hidden)[..., 0],
            latent_type=nn.Dense(len(PARTICLE_TYPES))(latent_hidden),
            latent_hexagonal=nn.Dense(1)(latent_hidden)[..., 0],
        )


class ParticleCVAE(nn.Module):
    """The autoencoder of encoder, prior and decoder. The analysis of a PDF uses `prior` and `decode`."""

    sizes: ParticleModelSizes

    def setup(self):
        """Create the networks."""
        self.pdf_network = PdfNetwork(self.sizes.width)
        self.encoder = ParticleEncoder(self.sizes.latent)
        self.prior_layers = (nn.Dense(64), nn.Dense(2 * self.sizes.latent))
        self.decoder = ParticleDecoder(self.sizes)

    def __call__(
        self, features: ParticleFeatures, pdf: ScaledPdf, key: Array
    ) -> tuple[DecodedParticle, Gaussian, Gaussian]:
        """Return the decoded particles, the posterior and the prior.

        Rows of even number are decoded from draws of the posterior, and the others from draws of the prior, as in the
        analysis of a PDF.
        """
        pdf_features = self.pdf_network(pdf)
        posterior, prior = self.encoder(features, pdf_features), self._prior(pdf_features)
        is_even = jnp.arange(pdf.neighbour.size)[:, None] % 2 == 0
        z = jnp.where(is_even, sample_latent(posterior, key), sample_latent(prior, key))
        return self.decoder(z, pdf_features), posterior, prior

    def prior(self, pdf: ScaledPdf) -> Gaussian:
        """Return the prior latent density of PDFs."""
        return self._prior(self.pdf_network(pdf))

    def decode(self, z: Float[Array, "*batch latent"], pdf: ScaledPdf) -> DecodedParticle:
        """Return the particles decoded from latent vectors and PDFs."""
        return self.decoder(z, self.pdf_network(pdf))

    def _prior(self, pdf_features: Float[Array, "*batch width"]) -> Gaussian:
        return split_gaussian(self.prior_layers[1](nn.relu(self.prior_layers[0](pdf_features))))


def scaled_components(values: Float[Array, "pdf point"]) -> Float[Array, "point component"]:
    """Return the principal components of largest variance, divided by their standard deviations."""
    centred = values - jnp.mean(values, axis=0)
    variances, vectors = jnp.linalg.eigh(centred.T @ centred / len(values))
    return vectors[:, -N_COMPONENTS:] / jnp.sqrt(jnp.maximum(variances[-N_COMPONENTS:], 0.0) + MIN_VARIANCE)


def split_gaussian(output: Float[Array, "*batch output"]) -> Gaussian:
    """Return the density whose mean and logarithm of the variance are the two halves of an output."""
    mean, log_variance = jnp.split(output, 2, axis=-1)
    return Gaussian(mean, jnp.clip(log_variance, -10.0, 4.0))
