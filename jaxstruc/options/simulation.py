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
    Inline,
    Options,
    Out,
    check_axis,
    flag,
    override,
    parameter_help,
)
from jaxstruc.parameters import option_help

PackingName = Literal["fcc", "hcp", "twin", "fault", "bcc", "sc", "icosahedron", "decahedron"]
Signal = Literal["iq", "sq", "fq", "gr"]
Probe = Literal["xray", "neutron"]
DataSetName = Literal["kdd", "kdd-shapes", "real", "endless"]
CLUSTER_QMIN, CLUSTER_QMAX = 0.0, 25.0
"""1/Å. Range of Q of a simulated cluster."""


@dataclass(frozen=True)
class PopulationOptions(Options):
    """A distribution of particles, in place of structure files."""

    family: PackingName | None = None
    """Packing of spherical particles in place of files, with whole shells and a part of the last."""
    element: str | None = None
    """Element of these particles, e.g. Pt."""
    distribution: SimulatedDistributionName | None = None
    """Distribution of sizes: of a packing lognormal or schulz, weighted by volume [lognormal]; of a body any of these,
    by number [gaussian]."""
    mean: Annotated[float | None, POSITIVE] = None
    """[Å] Mean diameter, of spheres of equal volume, weighted by volume."""
    width: Annotated[float | None, Bounds(0, 1, exclusive=True)] = None
    """Standard deviation of the diameters over their mean, weighted by volume."""
    members: Annotated[int | None, COUNT] = None
    """Number of particles, each with the same share of the atoms [32]."""
    seed: Annotated[int | None, SEED] = None
    """Seed of their centres and of the atoms of the last shells [0]."""

    def check_together(self) -> None:
        """Check that a family has what it needs, and that nothing is given without one."""
        given_names = [name for name, value in vars(self).items() if value is not None]
        if self.family is None and given_names:
            raise ValueError(
                f"Expected --family with {flag(given_names[0])}, got none; name a packing, e.g. --family fcc."
            )
        if self.distribution not in (None, "lognormal", "schulz"):
            raise ValueError(f"Expected --distribution lognormal or schulz with --family, got {self.distribution}.")
        missing_flags = [flag(name) for name in ("element", "mean", "width") if name not in given_names]
        if self.family is not None and missing_flags:
            raise ValueError(f"Expected {', '.join(missing_flags)} with --family, got none.")


@dataclass(frozen=True)
class SimulateOptions(Options):
    """Options of `simulate`: the curve of a cluster or of a mixture."""

    signal: Signal | None = None
    """I(Q) of the whole cluster, S(Q), F(Q) = Q(S-1), or G(r) [gr; of a body iq]."""
    qmin: Annotated[float | None, parameter_help("qmin", "[0; of a body 0.005]"), NOT_NEGATIVE] = None
    qmax: Annotated[float | None, parameter_help("qmax", "[25; of a body 0.5]")] = None
    qstep: Annotated[
        float | None,
        parameter_help("qstep", "[so fine that no alias enters the r range; of a body a 200th of the Q range]"),
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
    """Radiation: X-rays with form factors, or neutrons with scattering lengths (in fm)."""
    ions: tuple[str, ...] = ()
    """Ions whose form factors replace those of their elements, e.g. Cu2+ O2-."""
    window: Literal["sharp", "lorch"] = "sharp"
    """How G(r) is cut at qmax."""

    def check_together(self) -> None:
        """Check the axes, and that no option contradicts another."""
        if self.biso is not None and self.uiso != SimulateOptions.uiso:
            raise ValueError("Expected --uiso or --biso, got both; B = 8 pi^2 U.")
        check_axis("q", *self.q_range, self.qstep)
        check_axis("r", self.rmin, self.rmax, self.rstep)
        if self.ions and self.probe == "neutron":
            raise ValueError("Expected --ions with --probe xray, got neutron: neutrons see the nucleus alone.")

    @property
    def q_range(self) -> tuple[float, float]:
        """Range of Q of a cluster, in 1/Å."""
        return override(self.qmin, CLUSTER_QMIN), override(self.qmax, CLUSTER_QMAX)


@dataclass(frozen=True)
class GenerateOptions(Options):
    """Options of `generate`."""

    preset: tyro.conf.Positional[DataSetName]
    """kdd: the KDD 2020 paper's set. kdd-shapes: the same with hundreds of fcc shapes. real: the paper's shapes with
    real bond lengths and a random instrument for each PDF. endless: steps of what the classifier is trained on."""
    seed: Annotated[int, SEED] = 0
    """Seed of the instruments, the noise and the splits."""
    draws: Annotated[int, COUNT] = 16
    """Instruments drawn for each structure (real only)."""
    steps: Annotated[int, COUNT] = 4
    """Steps of 512 PDFs, the first of the seed (endless only)."""


@dataclass(frozen=True)
class SimulateCommand:
    """Simulate the scattering of clusters, or the small-angle scattering of bodies, in double precision.

    Example: jaxstruc simulate Au55.xyz --signal gr --qmax 25 --uiso 0.005 -o Au55.gr --plot

    Example: jaxstruc simulate --family fcc --element Pt --distribution lognormal --mean 25 --width 0.2 -o mix.gr

    Example: jaxstruc simulate --body sphere --radius 35 --pd 0.06 --qmin 0.01 --qmax 0.5 -o sphere.dat
    """

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Structure files that ASE reads (.xyz, .cif, .pdb, ...)."""
    population: Annotated[PopulationOptions, Inline] = field(default_factory=PopulationOptions)
    bodies: Annotated[BodyOptions, Inline] = field(default_factory=BodyOptions)
    options: Annotated[SimulateOptions, Inline] = field(default_factory=SimulateOptions)
    cluster: bool = False
    """Take the atoms of a periodic file as a cluster; its cell is ignored."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="PATH", help_behavior_hint="")] = None
    """File to write, or a folder for several clusters. Without it the curve is printed."""
    plot: bool = False
    """Draw the curve into a .png beside it."""


@dataclass(frozen=True)
class GenerateCommand:
    """Simulate a data set.

    Example: jaxstruc generate real -o real.h5 --seed 0
    """

    options: Annotated[GenerateOptions, Inline]
    out: Out
    """HDF5 file to write."""
