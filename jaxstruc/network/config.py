"""Settings of the network and of its training: frozen dataclasses, without JAX, so that `--help` is quick."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SHIPPED = Path(__file__).parent / "shipped" / "fcc.safetensors"
CLASSIFIER = Path(__file__).parent / "shipped" / "classifier.safetensors"
Preset = Literal["kdd", "kdd-shapes", "real"]


@dataclass(frozen=True)
class Sizes:
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


@dataclass(frozen=True)
class NetworkOptions:
    """What is asked of a trained network."""

    samples: int = 64
    """Structures drawn for each PDF."""
    seed: int = 0
    """Seed of the draws."""
    weights: Path = SHIPPED
    """Trained weights (.safetensors), their card (.json) beside them."""


@dataclass(frozen=True)
class Training:
    """All that makes a training what it is. What is written where is no part of it."""

    preset: Preset = "real"
    """Data to simulate where no file is given."""
    draws: int = 16
    """Instruments drawn for each structure (real only)."""
    seed: int = 0
    """Seed of the data, the split, the parameters, the batches and the latent draws."""
    seeds: tuple[int, ...] = ()
    """Several seeds of all these but the data, trained together; weights go to OUT/seed-N."""
    latent: int = 2
    """Latent dimension H."""
    model: Literal["cvae", "dae"] = "cvae"
    """cvae: latent densities and their KL divergence. dae: the same layers, no draws, and in its place an L2 penalty
    between the encoder's and the prior's latent vectors (weight `beta`)."""
    split: Literal["random", "shape"] = "random"
    """random: as the paper, every shape is seen in training. shape: validation and test shapes are not."""
    epochs: int = 1000
    """Most epochs."""
    patience: int = 50
    """Epochs in which the validation loss falls by less than a thousandth in all, before the training stops; it acts
    where there are more `epochs` than that."""
    batch: int = 20
    """PDFs a step."""
    rate: float = 5e-5
    """Adam's learning rate; it falls to zero over `epochs` as a cosine where `cosine` is set."""
    cosine: bool = False
    """Let the learning rate fall to zero over `epochs`."""
    reconstruction: float = 100.0
    """Weight of the squared error of the distances, in unit-sphere radii."""
    radius: float = 10.0
    """Weight of the squared error of the logarithm of the radius."""
    presence: float = 1.0
    """Weight of the cross entropy of the atoms' presence."""
    beta: float = 0.01
    """Weight of the KL divergence, in nats."""
    warmup: float = 10
    """Epochs over which beta rises from 0, step by step; 0: none."""
    pdf: float = 0.0
    """Weight of the PDF-consistency term."""
    pdf_warmup: float = 0
    """Epochs over which that weight rises from 0, step by step; 0: none."""
    pdf_through: Literal["distances", "coordinates"] = "distances"
    """distances: the decoded ones go straight to G(r). coordinates: through the trilateration first."""

    @property
    def recorded(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self) | {"seeds": list(self.seeds)}

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds that are trained together."""
        return self.seeds or (self.seed,)

    @property
    def sizes(self) -> Sizes:
        """The network's sizes."""
        return Sizes(latent=self.latent, stochastic=self.model == "cvae")


@dataclass(frozen=True)
class Lessons:
    """All that makes the training of the classifier what it is."""

    steps: int = 6500
    """Each with 512 PDFs that no other step has."""
    seed: int = 0
    """Of the parameters and of all PDFs."""
    rate: float = 0.0015
    """Learning rate at its highest; it rises over a twentieth of the steps and falls to 0 by a cosine."""
    decay: float = 0.01
    """Of the weights (AdamW)."""
    averaged: float = 0.998
    """How slowly the mean of the parameters that is kept follows them."""
