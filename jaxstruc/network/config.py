"""Sizes of the network. Without JAX."""

from dataclasses import dataclass

from jaxstruc.options.training import TrainOptions


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


def model_sizes_from_options(options: TrainOptions) -> ModelSizes:
    """Return the sizes of the network of a training."""
    return ModelSizes(latent=options.latent, stochastic=options.model == "cvae")
