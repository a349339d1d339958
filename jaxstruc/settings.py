"""Settings of the commands: frozen dataclasses whose field names are the names on the command line.

This module imports neither JAX nor NumPy, so that `jaxstruc --help` is quick.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

SHIPPED = Path(__file__).parent / "weights" / "fcc.safetensors"

Preset = Literal["kdd", "kdd-shapes", "real"]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Maybe = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
"""A value that the header or a default gives where the user does not."""


@dataclass(frozen=True)
class Simulate:
    """Simulate the scattering of clusters, in double precision.

    Example: jaxstruc simulate Au55.xyz --signal gr --qmax 25 --uiso 0.005 -o Au55.gr --plot
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Structure files that ASE reads (.xyz, .cif, .pdb, ...)."""
    signal: Literal["iq", "sq", "fq", "gr"] = "gr"
    """I(Q) of the whole cluster, S(Q), F(Q) = Q(S-1), or G(r)."""
    qmin: float = 0.0
    """[1/Å] Start of the Q range."""
    qmax: float = 25.0
    """[1/Å] End of the Q range."""
    qstep: Maybe = None
    """[1/Å] Step in Q. [so fine that no alias enters the r range]"""
    rmin: float = 0.0
    """[Å] Start of G(r)."""
    rmax: float = 30.0
    """[Å] End of G(r)."""
    rstep: float = 0.01
    """[Å] Step in r."""
    qdamp: float = 0.0
    """[1/Å] Damping of G(r) by the instrument's resolution."""
    qbroad: float = 0.0
    """[1/Å] Broadening of peaks by the instrument's resolution."""
    uiso: float = 0.005
    """[Å²] Isotropic displacement of all atoms."""
    biso: Maybe = None
    """[Å²] The same as B = 8 pi² U, in place of --uiso."""
    delta1: float = 0.0
    """[Å] Correlated motion, falling with r."""
    delta2: float = 0.0
    """[Å²] Correlated motion, falling with r²."""
    probe: Literal["xray", "neutron"] = "xray"
    """Form factors, or neutron scattering lengths (in fm)."""
    ions: tuple[str, ...] = ()
    """Ions whose form factors stand for their elements', as Cu2+ O2-."""
    window: Literal["sharp", "lorch"] = "sharp"
    """How G(r) is cut at qmax."""
    cluster: bool = False
    """Take the atoms of a periodic file as a cluster; its cell is ignored."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="PATH", help_behavior_hint="")] = None
    """File to write, or a folder for several clusters. Without it the curve is printed."""
    plot: bool = False
    """Draw the curve into a .png beside it."""


@dataclass(frozen=True)
class Generate:
    """Simulate a data set.

    Example: jaxstruc generate real -o real.h5 --seed 0
    """

    preset: tyro.conf.Positional[Preset]
    """kdd: the KDD 2020 paper's set. kdd-shapes: the same with hundreds of fcc shapes. real: the paper's shapes with
    real bond lengths and a random instrument for each PDF."""
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
    stochastic: bool = True
    """True: the variational autoencoder, which draws latent vectors. False: the deterministic one (DAE)."""


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
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(help_behavior_hint="")] = ()
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
    pdf_warmup: int = 0
    """Epochs over which that weight rises from 0."""
    pdf_through: Literal["distances", "coordinates"] = "distances"
    """distances: the decoded ones go straight to G(r). coordinates: through the trilateration first."""


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
    mine: bool = True
    """Show the best cluster of common families, fitted alike, beside the network's best."""
    weights: Annotated[Path, tyro.conf.arg(help_behavior_hint="[those that ship]")] = SHIPPED
    """Trained weights (.safetensors, with their .json card beside them)."""


Parameter = Literal["scale", "stretch", "uiso", "delta1", "delta2", "qdamp", "qbroad"]


@dataclass(frozen=True)
class Mine:
    """Fit thousands of candidate clusters to measured PDFs and rank them.

    Example: jaxstruc mine sample.gr --element Pt -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured PDFs (.gr)."""
    element: str
    """Element of the sample, as Pt. It gives the bond length of the candidates."""
    out: Out
    """Folder for the results. Files done there before with the same settings are skipped."""
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
    free: tuple[Parameter, ...] = ("scale", "stretch", "uiso", "delta2")
    """What is fitted for the best candidates; the first four for all."""
    background: int = 0
    """Smooth terms of a background under G(r)."""
    families: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="[all]")] = ()
    """Families of candidates: icosahedron decahedron octahedron fcc bcc sc hcp twin fault."""
    max_atoms: int = 1000
    """Most atoms of a candidate; up to 1500."""
    library: Annotated[tuple[Path, ...], tyro.conf.arg(help_behavior_hint="")] = ()
    """Your own structures in place of the families: files that ASE reads, or folders of them."""


@dataclass(frozen=True)
class Refine:
    """Fit clusters to a measured PDF, with errors.

    Example: jaxstruc refine Pt93.xyz sample.gr --free scale stretch uiso delta2 qdamp -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Structure files that ASE reads, each of one element, and at last the measured PDF (.gr)."""
    out: Out
    """Folder for the results."""
    qmin: Maybe = None
    """[1/Å] Lower end of the data's Q range. Overrides the header."""
    qmax: Maybe = None
    """[1/Å] Upper end of the data's Q range. Overrides the header."""
    qdamp: Maybe = None
    """[1/Å] Damping by the instrument's resolution, held or to start from. Overrides the header. [0.03]"""
    qbroad: Maybe = None
    """[1/Å] Broadening by the instrument's resolution, held or to start from. [0]"""
    rmin: Maybe = None
    """[Å] Start of the fit and of Rw. [1.5]"""
    rmax: Maybe = None
    """[Å] End of the fit and of Rw. [20, or the data's end]"""
    free: tuple[Parameter, ...] = ("scale", "stretch", "uiso", "delta2")
    """What is fitted; the rest is held."""
    background: int = 0
    """Smooth terms of a background under G(r)."""
    coordinates: bool = False
    """Then move the atoms too, held back to where they are by `restraint`."""
    restraint: float = 0.1
    """[Å] How far an atom may move before it costs as much as the noise."""


def words(config) -> list[str]:
    """Return the command-line words of the settings that compute: all but files, `out` and `plot`."""
    result = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in ("files", "out", "plot") or value is None or value is False or value == ():
            continue
        result.append(f"--{field.name}")
        if value is not True:
            result += [str(part) for part in value] if isinstance(value, tuple) else [str(value)]
    return result
