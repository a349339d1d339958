"""Options of `simulate` and `generate`: curves and data sets of particles."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxstruc.options.small_angle import BodyOptions, SimulatedDistributionName
from jaxstruc.options.validation import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Bounds,
    Files,
    Inline,
    Options,
    Out,
    Unset,
    check_axis,
    flag,
    override,
    parameter_help,
)
from jaxstruc.parameters import option_help

PackingName = Literal["fcc", "hcp", "twin", "fault", "bcc", "sc", "icosahedron", "decahedron"]
Draws = Annotated[
    int,
    tyro.conf.arg(
        help="Number of PDFs of each structure of the data set real, with random Q range, resolution and vibrations, "
        "or of each shape of the data sets deepstruc-continuous and deepstruc-varied, with random bond lengths."
    ),
    COUNT,
]
"""Number of PDFs of each structure or shape."""
Signal = Literal["gr", "iq", "sq", "fq"]
Probe = Literal["xray", "neutron"]
DataSetName = Literal[
    "kdd", "kdd-shapes", "real", "deepstruc", "deepstruc-continuous", "deepstruc-varied", "deepstruc-stacks", "endless"
]
CLUSTER_QMIN, CLUSTER_QMAX = 0.0, 25.0
"""Default Q range of a simulated cluster, in 1/Å."""


@dataclass(frozen=True)
class PopulationOptions(Options):
    """A distribution of particles that takes the place of structure files."""

    family: Annotated[PackingName | None, Unset] = None
    """Packing of the atoms. Roughly spherical particles of many sizes take the place of structure files."""
    element: Annotated[str | None, Unset] = None
    """Element of the particles, e.g. Pt. --family needs it."""
    distribution: Annotated[
        SimulatedDistributionName | None,
        tyro.conf.arg(
            help="Distribution of the sizes. With --family it is lognormal or schulz and weighted by volume. With "
            "--body it is weighted by number.",
            help_behavior_hint="(default: lognormal, for --body gaussian)",
        ),
    ] = None
    mean: Annotated[float | None, Unset, POSITIVE] = None
    """Volume-weighted mean diameter in Å, of spheres that have the volumes of the particles. --family needs it."""
    width: Annotated[float | None, Unset, Bounds(0, 1, exclusive=True)] = None
    """Standard deviation of the diameters divided by their mean, weighted by volume. --family needs it."""
    members: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: 32)"), COUNT] = None
    """Number of particles in the distribution. All have the same share of the atoms."""
    seed: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: 0)"), SEED] = None
    """Seed of the random centres of the particles and of the random choice of atoms at their surfaces."""

    def check_together(self) -> None:
        """Check that a family has the options it needs, and that no other option is given without a family."""
        given_names = [name for name, value in vars(self).items() if value is not None]
        if self.family is None and given_names:
            raise ValueError(
                f"Expected --family with {flag(given_names[0])}, got none; add a packing, e.g. --family fcc."
            )
        if self.distribution not in (None, "lognormal", "schulz"):
            raise ValueError(f"Expected --distribution lognormal or schulz with --family, got {self.distribution}.")
        missing_flags = [flag(name) for name in ("element", "mean", "width") if name not in given_names]
        if self.family is not None and missing_flags:
            raise ValueError(f"Expected {', '.join(missing_flags)} with --family, got none.")


@dataclass(frozen=True)
class SimulateOptions(Options):
    """Kind, range and resolution of the curve, and the motion of the atoms."""

    signal: Annotated[Signal | None, tyro.conf.arg(help_behavior_hint="(default: gr, for --body iq)")] = None
    """Curve that is simulated: G(r) (gr), I(Q) of the whole cluster (iq), S(Q) (sq), or F(Q) = Q(S-1) (fq)."""
    qmin: Annotated[float | None, parameter_help("qmin", default="0, for --body 0.005"), NOT_NEGATIVE] = None
    qmax: Annotated[float | None, parameter_help("qmax", default="25, for --body 0.5")] = None
    qstep: Annotated[
        float | None,
        parameter_help(
            "qstep",
            "By default it is chosen so that G(r) has no aliases in the r range; for --body it is a 200th of the "
            "Q range.",
        ),
    ] = None
    rmin: Annotated[float, tyro.conf.arg(help=option_help("rmin")), NOT_NEGATIVE] = 0.0
    rmax: Annotated[float, tyro.conf.arg(help=option_help("rmax"))] = 30.0
    rstep: Annotated[float, tyro.conf.arg(help=option_help("rstep"))] = 0.01
    qdamp: Annotated[float, tyro.conf.arg(help=option_help("qdamp")), NOT_NEGATIVE] = 0.0
    qbroad: Annotated[float, tyro.conf.arg(help=option_help("qbroad")), NOT_NEGATIVE] = 0.0
    uiso: Annotated[float, tyro.conf.arg(help=option_help("uiso")), NOT_NEGATIVE] = 0.005
    biso: Annotated[float | None, parameter_help("biso"), NOT_NEGATIVE] = None
    delta1: Annotated[float, tyro.conf.arg(help=option_help("delta1")), NOT_NEGATIVE] = 0.0
    delta2: Annotated[float, tyro.conf.arg(help=option_help("delta2")), NOT_NEGATIVE] = 0.0
    probe: Probe = "xray"
    """Radiation: X-rays, which scatter by form factors, or neutrons, which scatter by scattering lengths (in fm)."""
    ions: Annotated[tuple[str, ...], Unset] = ()
    """Ions whose form factors replace those of the neutral atoms, e.g. Cu2+ O2-."""
    window: Annotated[
        Literal["sharp", "lorch"],
        tyro.conf.arg(
            help="Window function of the Fourier transform to G(r): none (sharp), or the Lorch function, which "
            "damps the ripples that the end of the data at qmax causes (lorch)."
        ),
    ] = "sharp"

    def check_together(self) -> None:
        """Check the axes, and that options do not contradict each other."""
        if self.biso is not None and self.uiso != SimulateOptions.uiso:
            raise ValueError("Expected --uiso or --biso, got both; drop one of them (B = 8 pi² U).")
        check_axis("q", *self.q_range, self.qstep)
        check_axis("r", self.rmin, self.rmax, self.rstep)
        if self.ions and self.probe == "neutron":
            raise ValueError(
                "Expected --ions only with --probe xray, got neutron: neutrons scatter from the nucleus; drop --ions."
            )

    @property
    def q_range(self) -> tuple[float, float]:
        """Q range of a cluster, in 1/Å."""
        return override(self.qmin, CLUSTER_QMIN), override(self.qmax, CLUSTER_QMAX)


@dataclass(frozen=True)
class GenerateOptions(Options):
    """Options of `generate`."""

    preset: Annotated[
        tyro.conf.Positional[DataSetName],
        tyro.conf.arg(
            help="Data set: that of the paper at KDD 2020 (kdd), a similar one with hundreds of fcc shapes "
            "(kdd-shapes), the shapes of the paper with real bond lengths and random conditions for each PDF (real), "
            "the 3743 structures of seven types of DeepStruc (deepstruc), the same shapes with random bond lengths "
            "(deepstruc-continuous), polyhedra of these types with random bond lengths and conditions "
            "(deepstruc-varied), stacks of close-packed layers (deepstruc-stacks), or the PDFs of the first training "
            "steps of the classifier (endless)."
        ),
    ]
    seed: Annotated[int, SEED] = 0
    """Seed of the random conditions and of the noise."""
    draws: Draws = 16
    steps: Annotated[int, COUNT] = 4
    """Number of training steps of the classifier whose PDFs are in the data set endless. Each step has 512 PDFs."""


@dataclass(frozen=True)
class SimulateCommand:
    """Simulate the scattering of clusters, or the small-angle scattering of particles of simple shapes.

    Example: jaxstruc simulate Au55.xyz --signal gr --qmax 25 --uiso 0.005 -o Au55.gr --plot

    Example: jaxstruc simulate --family fcc --element Pt --distribution lognormal --mean 25 --width 0.2 -o mix.gr

    Example: jaxstruc simulate --body sphere --radius 35 --pd 0.06 --qmin 0.01 --qmax 0.5 -o sphere.dat
    """

    files: Files = ()
    """Structure files that ASE can read (.xyz, .cif, ...). name.xyz@2 selects the third structure of a file."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], help_behavior_hint="")] = None
    """File for the curve, or folder for the curves of several structures. Without this option the curve is printed."""
    plot: bool = False
    """Draw the curve, as a .png file next to it."""
    cluster: bool = False
    """Ignore the cell of a periodic structure and take its atoms as a cluster."""
    options: Annotated[SimulateOptions, tyro.conf.arg(name="curve")] = field(default_factory=SimulateOptions)
    population: Annotated[PopulationOptions, tyro.conf.arg(name="distribution")] = field(
        default_factory=PopulationOptions
    )
    bodies: Annotated[BodyOptions, tyro.conf.arg(name="body")] = field(default_factory=BodyOptions)


@dataclass(frozen=True)
class GenerateCommand:
    """Simulate a data set of PDFs for training.

    Example: jaxstruc generate real -o real.h5 --seed 0
    """

    options: Annotated[GenerateOptions, Inline]
    out: Out
    """HDF5 file for the data set."""
