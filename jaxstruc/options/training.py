"""Options of the commands `train` and `train-classifier`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxstruc.options.simulation import Draws
from jaxstruc.options.validation import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Bounds,
    Cache,
    Inline,
    Options,
    Out,
    Unset,
)

Preset = Literal[
    "kdd", "kdd-shapes", "real", "deepstruc", "deepstruc-continuous", "deepstruc-varied", "deepstruc-stacks"
]


@dataclass(frozen=True)
class TrainOptions(Options):
    """Options of `train`, the training of the network that proposes structures."""

    preset: Preset = "real"
    """Data set that is simulated in memory if --data is not given."""
    draws: Draws = 16
    seed: Annotated[int, SEED] = 0
    """Seed of all random numbers: data, split, initial parameters, batches and latent draws."""
    seeds: Annotated[
        tuple[int, ...],
        tyro.conf.arg(
            help="Several seeds, one for each network. All networks are trained at once, on the data of --seed, "
            "and the weights are written to OUT/seed-N.",
            help_behavior_hint="",
        ),
        SEED,
    ] = ()
    latent: Annotated[int, COUNT] = 2
    """Number of latent dimensions."""
    model: Annotated[
        Literal["cvae", "dae"],
        tyro.conf.arg(
            help="Kind of network: a conditional variational autoencoder, which has a latent density and a KL "
            "divergence (cvae), or a deterministic autoencoder of the same layers, which has an L2 penalty in "
            "place of the KL divergence (dae)."
        ),
    ] = "cvae"
    split: Annotated[
        Literal["random", "shape", "range"],
        tyro.conf.arg(
            help="Split into training, validation and test data: at random, so that every shape is in the training "
            "data, as in the paper (random), by shape, so that validation and test shapes are not in the "
            "training data (shape), or by ranges of the parameters of DeepStruc's shapes (range)."
        ),
    ] = "random"
    epochs: Annotated[int, COUNT] = 1000
    """Largest number of epochs."""
    patience: Annotated[
        int,
        tyro.conf.arg(
            help="Number of epochs without improvement after which the training stops. An improvement is a fall of "
            "the validation loss by at least a thousandth of its best value."
        ),
        COUNT,
    ] = 50
    batch: Annotated[int, COUNT] = 20
    """Number of PDFs in a batch."""
    rate: Annotated[float, POSITIVE] = 5e-5
    """Learning rate of Adam."""
    cosine: bool = False
    """Whether the learning rate falls to zero as a cosine over all epochs."""
    reconstruction: Annotated[float, NOT_NEGATIVE] = 100.0
    """Weight of the squared error of the distances, which are in units of the radius of the cluster."""
    radius: Annotated[float, NOT_NEGATIVE] = 10.0
    """Weight of the squared error of the logarithm of the radius."""
    presence: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the cross entropy of the presence of atoms."""
    beta: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight of the KL divergence (in nats), or of the L2 penalty of the model dae."""
    warmup: Annotated[float, NOT_NEGATIVE] = 10
    """Number of epochs in which beta rises from 0 to its value. With 0 it has its value from the start."""
    pdf: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of the misfit between the PDF of the decoded structure and the input PDF."""
    pdf_warmup: Annotated[float, NOT_NEGATIVE] = 0
    """Number of epochs in which the weight of the PDF misfit rises from 0. With 0 it has its value from the start."""
    pdf_through: Annotated[
        Literal["distances", "coordinates"],
        tyro.conf.arg(
            help="Distances from which the PDF is simulated: the decoded distances (distances), or the distances "
            "between the atoms after trilateration has placed the atoms (coordinates)."
        ),
    ] = "distances"

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Seeds of the networks that are trained at once."""
        return self.seeds or (self.seed,)


@dataclass(frozen=True)
class TrainClassifierOptions(Options):
    """Options of `train-classifier`."""

    steps: Annotated[int, COUNT] = 6500
    """Number of training steps. Each step has 512 new PDFs."""
    seed: Annotated[int, SEED] = 0
    """Seed of the initial parameters and of all PDFs."""
    rate: Annotated[float, POSITIVE] = 0.0015
    """Highest learning rate. The rate rises during the first twentieth of the steps and then falls to 0 as a cosine."""
    decay: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight decay of AdamW."""
    averaged: Annotated[float, Bounds(0, 1)] = 0.998
    """Decay of the running mean of the parameters at each step. The running mean gives the final weights."""


@dataclass(frozen=True)
class TrainClassifierCommand:
    """Train the classifier on PDFs that are simulated during the training.

    Example: jaxstruc train-classifier -o runs/classifier
    """

    out: Out
    """Folder for checkpoints, metrics and weights. An interrupted training in this folder is resumed."""
    start: Annotated[Path | None, Unset] = None
    """Weights of a classifier from which the training starts. By default the initial weights are random."""
    options: Annotated[TrainClassifierOptions, Inline] = field(default_factory=TrainClassifierOptions)
    cache: Cache = True


@dataclass(frozen=True)
class TrainCommand:
    """Train the network that proposes structures.

    Example: jaxstruc train --preset real --latent 8 -o runs/real
    """

    out: Out
    """Folder for checkpoints, metrics and weights. An interrupted training in this folder is resumed."""
    data: Annotated[Path | None, Unset] = None
    """Data set, an HDF5 file that `jaxstruc generate` has written. Without this option the preset is simulated."""
    options: Annotated[TrainOptions, Inline] = field(default_factory=TrainOptions)
