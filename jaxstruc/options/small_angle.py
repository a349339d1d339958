"""Options of `saxs`: sizes and shapes from measured small-angle scattering."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from jaxstruc.options.pdf import AxisUnit, Wavelength
from jaxstruc.options.validation import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    Bounds,
    Options,
    check_order,
    parameter_help,
)
from jaxstruc.scattering.parameters import said

BodyName = Literal[
    "sphere",
    "cube",
    "octahedron",
    "truncated-octahedron",
    "cuboctahedron",
    "tetrahedron",
    "truncated-tetrahedron",
    "decahedron",
    "marks-decahedron",
    "icosahedron",
    "dodecahedron",
    "rhombic-dodecahedron",
    "hexagonal-prism",
]
DistributionName = Literal["none", "gaussian", "lognormal", "schulz", "uniform", "two", "free"]
BODIES: tuple[BodyName, ...] = get_args(BodyName)
DISTRIBUTIONS: tuple[DistributionName, ...] = get_args(DistributionName)
"""Of sizes: one size, one population, two Gaussian ones, or a smooth histogram."""
BACKGROUND_POWER = Bounds(0, 6, exclusive=True)
"""Of 1/Q."""


@dataclass(frozen=True)
class QOptions(Options):
    """Settings of measured I(Q)."""

    q_unit: AxisUnit = None
    wavelength: Wavelength = None
    qmin: Annotated[float | None, parameter_help("qmin", "Of the fit [the data's]."), NOT_NEGATIVE] = None
    qmax: Annotated[float | None, parameter_help("qmax", "Of the fit [the data's]."), POSITIVE] = None
    frame: Annotated[
        int | None,
        tyro.conf.arg(
            help="Which of a file's curves, counted from 1, where it holds several.",
            metavar="INT",
            help_behavior_hint="",
        ),
        COUNT,
    ] = None
    background: Annotated[
        Path | None,
        tyro.conf.arg(
            help="Measured I(Q) of the solvent and the cell, subtracted with its errors.",
            metavar="PATH",
            help_behavior_hint="",
        ),
    ] = None
    background_scale: Annotated[float, tyro.conf.arg(help=said("background_scale")), POSITIVE] = 1.0

    def check_together(self) -> None:
        """Check that the range starts before it ends."""
        check_order("q", self.qmin, self.qmax)


@dataclass(frozen=True)
class SizeOptions(Options):
    """What sizes and shapes are fitted to small angles, and how."""

    body: tuple[BodyName, ...] = ()
    """Bodies that the particles may be; none: all. One holds it."""
    distribution: tuple[DistributionName, ...] = ()
    """Distributions of size; none: all."""
    flat: bool = True
    """A constant background is fitted."""
    power_law: Annotated[float | None, BACKGROUND_POWER] = None
    """A background that falls with this power of Q is fitted too, as 4."""
    absolute: bool = False
    """The data are on an absolute scale, in 1/cm where the file does not say: `scale` is the share of volume that the
    particles take, by the scattering length densities of --element or --sld and of --solvent."""
    sld: float | None = None
    """[10⁻⁶/Å²] Scattering length density of the particles [of --element, for X-rays]."""
    solvent: str = "vacuum"
    """What the particles are in: vacuum water methanol ethanol acetone chloroform hexane cyclohexane toluene, or a
    number in 10⁻⁶/Å²."""

    def check_together(self) -> None:
        """Check that scattering length densities are given for an absolute scale alone."""
        if not self.absolute and (self.sld is not None or self.solvent != "vacuum"):
            raise ValueError("Expected --absolute beside --sld and --solvent, got none; add it, or drop them.")


@dataclass(frozen=True)
class SaxsOptions(Options):
    """Options of `saxs`."""

    data: QOptions = field(default_factory=QOptions)
    fit: SizeOptions = field(default_factory=SizeOptions)
