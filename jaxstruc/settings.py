"""Settings of the commands: frozen dataclasses whose field names are the names on the command line.

This module imports neither JAX nor NumPy, so that `jaxstruc --help` is quick.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

SHIPPED = Path(__file__).parent / "weights" / "fcc.safetensors"

Preset = Literal["kdd", "real"]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Maybe = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
"""A value that the header or a default gives where the user does not."""


@dataclass(frozen=True)
class Generate:
    """Simulate a data set.

    Example: jaxstruc generate real -o real.h5 --seed 0
    """

    preset: tyro.conf.Positional[Preset]
    """kdd: the KDD 2020 paper's set. real: the same shapes, real bond lengths, a random instrument for each PDF."""
    out: Out
    """HDF5 file to write."""
    seed: int = 0
    """Seed of the instruments, the noise and the splits."""
    draws: int = 16
    """Instruments drawn for each structure (real only)."""


@dataclass(frozen=True)
class Model:
    """Sizes of the network. The defaults are the KDD 2020 paper's."""

    latent: int = 2
    """Latent dimension H."""
    atoms: int = 100
    """Most atoms in a structure; smaller ones are padded."""
    satellites: int = 11
    """Anchor points on the unit sphere."""
    points: int = 301
    """Points of the PDF, r = 0 to 30 Å in steps of 0.1 Å."""


@dataclass(frozen=True)
class Train:
    """Train the network on a data set.

    Example: jaxstruc train --preset real --latent 8 -o runs/real
    """

    out: Out
    """Folder for checkpoints, metrics and weights. A run found there is resumed."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """HDF5 file written by `generate`. Without it the preset is simulated in memory."""
    preset: Preset = "real"
    """Data to simulate where no file is given."""
    draws: int = 16
    """Instruments drawn for each structure (real only)."""
    seed: int = 0
    """Seed of the data, the split, the parameters, the batches and the latent draws."""
    latent: int = 2
    """Latent dimension H."""
    split: Literal["random", "shape"] = "random"
    """random: as the paper, every shape is seen in training. shape: validation and test shapes are not."""
    epochs: int = 1000
    """Most epochs."""
    patience: int = 50
    """Epochs without a better validation loss before the training stops."""
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
    warmup: int = 10
    """Epochs over which beta rises from 0."""
    pdf: float = 0.0
    """Weight of the PDF-consistency term."""


@dataclass(frozen=True)
class Solve:
    """Find atomic structures for measured PDFs.

    Example: jaxstruc solve sample.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr)."""
    element: str
    """Element of the sample, as Pt. It gives the bond length that sets the scale."""
    out: Out
    """Folder for the results. Files solved there before with the same settings are skipped."""
    qmin: Maybe = None
    """[1/Å] Lower end of the data's Q range. Overrides the header."""
    qmax: Maybe = None
    """[1/Å] Upper end of the data's Q range. Overrides the header."""
    qdamp: Maybe = None
    """[1/Å] Damping by the instrument's resolution. Overrides the header. [0.03]"""
    qbroad: Maybe = None
    """[1/Å] Broadening by the instrument's resolution. [0]"""
    rmin: Maybe = None
    """[Å] Start of the fit and of Rw. [1.5]"""
    rmax: Maybe = None
    """[Å] End of the fit and of Rw. [20, or the data's end]"""
    samples: int = 64
    """Structures drawn for each PDF."""
    seed: int = 0
    """Seed of the draws."""
    weights: Annotated[Path, tyro.conf.arg(help_behavior_hint="[those that ship]")] = SHIPPED
    """Trained weights (.safetensors, with their .json card beside them)."""
