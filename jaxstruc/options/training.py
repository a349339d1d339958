"""Options of the trainings: all that decides the result of a training, but not where it is written."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

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
)

Preset = Literal["kdd", "kdd-shapes", "real"]


@dataclass(frozen=True)
class TrainOptions(Options):
    """Options of `train`, the training of the network that proposes structures."""

    preset: Preset = "real"
    """Data set that is simulated if no file is given."""
    draws: Annotated[int, COUNT] = 16
    """Number of instruments drawn for each structure (real only)."""
    seed: Annotated[int, SEED] = 0
    """Seed of the data, the split, the parameters, the batches and the latent draws."""
    seeds: Annotated[tuple[int, ...], SEED] = ()
    """Several seeds for all of these but the data, trained together; the weights go to OUT/seed-N."""
    latent: Annotated[int, COUNT] = 2
    """Number of latent dimensions, H."""
    model: Literal["cvae", "dae"] = "cvae"
    """cvae: latent densities and their KL divergence. dae: the same layers, no draws, and in its place an L2 penalty
    between the encoder's and the prior's latent vectors (weight `beta`)."""
    split: Literal["random", "shape"] = "random"
    """random: as the paper, every shape is seen in training. shape: validation and test shapes are not."""
    epochs: Annotated[int, COUNT] = 1000
    """Largest number of epochs."""
    patience: Annotated[int, COUNT] = 50
    """Epochs in which the validation loss falls by less than a thousandth in all, before the training stops; it acts
    where there are more `epochs` than that."""
    batch: Annotated[int, COUNT] = 20
    """Number of PDFs in each step."""
    rate: Annotated[float, POSITIVE] = 5e-5
    """Adam's learning rate; it falls to zero over `epochs` as a cosine if `cosine` is set."""
    cosine: bool = False
    """Whether the learning rate falls to zero over `epochs`."""
    reconstruction: Annotated[float, NOT_NEGATIVE] = 100.0
    """Weight of the squared error of the distances, in unit-sphere radii."""
    radius: Annotated[float, NOT_NEGATIVE] = 10.0
    """Weight of the squared error of the logarithm of the radius."""
    presence: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the cross entropy of the atoms' presence."""
    beta: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight of the KL divergence, in nats."""
    warmup: Annotated[float, NOT_NEGATIVE] = 10
    """Epochs over which beta rises from 0, step by step; with 0 it does not rise."""
    pdf: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of the PDF-consistency term."""
    pdf_warmup: Annotated[float, NOT_NEGATIVE] = 0
    """Epochs over which that weight rises from 0, step by step; with 0 it does not rise."""
    pdf_through: Literal["distances", "coordinates"] = "distances"
    """distances: the decoded ones go straight to G(r). coordinates: through the trilateration first."""

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds that are trained together."""
        return self.seeds or (self.seed,)


@dataclass(frozen=True)
class TrainClassifierOptions(Options):
    """Options of `train-classifier`."""

    steps: Annotated[int, COUNT] = 6500
    """Number of steps; each has 512 PDFs that no other step has."""
    seed: Annotated[int, SEED] = 0
    """Seed of the parameters and of all PDFs."""
    rate: Annotated[float, POSITIVE] = 0.0015
    """Learning rate at its highest; it rises over a twentieth of the steps and falls to 0 by a cosine."""
    decay: Annotated[float, NOT_NEGATIVE] = 0.01
    """Decay of the weights (AdamW)."""
    averaged: Annotated[float, Bounds(0, 1)] = 0.998
    """Weight of the earlier mean in the running mean of the parameters, which is kept in the end."""


@dataclass(frozen=True)
class TrainClassifierCommand:
    """Train the classifier on PDFs that are simulated during the training, never the same twice.

    Example: jaxstruc train-classifier -o runs/classifier
    """

    out: Out
    """Folder for checkpoints, metrics and weights. A run found there is resumed."""
    options: Annotated[TrainClassifierOptions, Inline] = field(default_factory=TrainClassifierOptions)
    cache: Cache = True


@dataclass(frozen=True)
class TrainCommand:
    """Train the network on a data set.

    Example: jaxstruc train --preset real --latent 8 -o runs/real
    """

    out: Out
    """Folder for checkpoints, metrics and weights. A run found there is resumed."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """HDF5 file written by `generate`. Without it the preset is simulated in memory."""
    options: Annotated[TrainOptions, Inline] = field(default_factory=TrainOptions)
