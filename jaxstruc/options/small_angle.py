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
    Cache,
    Folder,
    Inline,
    Options,
    check_axis,
    check_order,
    flag,
    parameter_help,
)
from jaxstruc.parameters import option_help

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
"""Bodies that are fitted."""
SimulatedBodyName = Literal[BodyName, "core-shell", "spheroid", "cylinder"]
SimulatedDistributionName = Literal["none", "gaussian", "lognormal", "schulz", "uniform"]
DistributionName = Literal[SimulatedDistributionName, "two", "free"]
InteractionName = Literal["effective", "decoupling", "local"]
BODIES: tuple[BodyName, ...] = get_args(BodyName)
DISTRIBUTIONS: tuple[DistributionName, ...] = get_args(DistributionName)
"""Distributions of sizes that are fitted: one size, one population, two Gaussian ones, or a smooth histogram."""
SIMULATED_BODIES: tuple[SimulatedBodyName, ...] = get_args(SimulatedBodyName)
SIMULATED_DISTRIBUTIONS: tuple[SimulatedDistributionName, ...] = get_args(SimulatedDistributionName)
SAXS_QMIN, SAXS_QMAX = 0.005, 0.5
"""1/Å. Range of Q of a simulated curve at small angles."""
N_SAXS_Q_STEPS = 200
"""Number of steps in Q of such a curve."""
MAX_SIMULATED_QR = 1e4
"""Largest Q times radius that is simulated."""
BACKGROUND_POWER = Bounds(0, 6, exclusive=True)
"""Range of the power of 1/Q of a background."""


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
            help="Which curve of a file with several, counted from 1.",
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
    background_scale: Annotated[float, tyro.conf.arg(help=option_help("background_scale")), POSITIVE] = 1.0

    def check_together(self) -> None:
        """Check that the range starts before it ends."""
        check_order("q", self.qmin, self.qmax)


@dataclass(frozen=True)
class SizeOptions(Options):
    """What sizes and shapes are fitted to small angles, and how."""

    body: tuple[BodyName, ...] = ()
    """Bodies that the particles may be; all if none is given. One name fixes the body."""
    distribution: tuple[DistributionName, ...] = ()
    """Distributions of sizes; all if none is given."""
    flat: bool = True
    """Whether a constant background is fitted."""
    power_law: Annotated[float | None, BACKGROUND_POWER] = None
    """Power of 1/Q of a falling background that is fitted too, e.g. 4."""
    absolute: bool = False
    """Whether the data are on an absolute scale, in 1/cm if the file states no unit. `scale` is then the volume
    fraction of the particles, by the scattering length densities of --element or --sld and of --solvent."""
    sld: float | None = None
    """[10⁻⁶/Å²] Scattering length density of the particles [of --element, for X-rays]."""
    solvent: str = "vacuum"
    """Solvent of the particles: vacuum water methanol ethanol acetone chloroform hexane cyclohexane toluene, or a
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


@dataclass(frozen=True)
class SimulateSaxsOptions(Options):
    """Options of simulated small-angle scattering of a body."""

    scale: Annotated[float, NOT_NEGATIVE] = 1.0
    """Factor on the particles' intensity. It is their volume fraction if the contrast is given."""
    contrast: float = 1.0
    """[10⁻⁶/Å²] Scattering length density of the particle, or of its core, less that of the solvent."""
    background: Annotated[float, NOT_NEGATIVE] = 0.0
    """[1/cm] Constant background."""
    power_scale: Annotated[float, NOT_NEGATIVE] = 0.0
    """[1/cm] Value at 1 1/Å of a background that falls with a power of Q."""
    power_law: Annotated[float, BACKGROUND_POWER] = 4.0
    """Power of 1/Q of that background."""
    dq: Annotated[float, NOT_NEGATIVE] = 0.0
    """[1/Å] Standard deviation of the resolution in Q, by which the curve is smeared."""
    volume_fraction: Annotated[float, Bounds(0, 0.6)] = 0.0
    """Volume fraction of hard spheres of radius R_eq that keep the particles apart; 0 if they do not interact. Beyond
    0.6 hard spheres freeze, and the theory of their liquid fails."""
    interaction: InteractionName = "decoupling"
    """Approximation for hard spheres of many sizes: spheres of the mean radius (effective), sizes independent of
    positions (decoupling), or each particle among others of its size (local)."""
    aspect: Annotated[float, Bounds(0.05, 20)] = 1.0
    """Half axis of revolution over the other one (spheroid), or length over diameter (cylinder)."""
    shell: Annotated[float, NOT_NEGATIVE] = 0.0
    """[Å] Thickness of the shell (core-shell); the radius is the outer one."""
    shell_contrast: float = 0.0
    """[10⁻⁶/Å²] Scattering length density of the shell less that of the solvent (core-shell)."""


@dataclass(frozen=True)
class BodyOptions(Options):
    """Particles of one shape and of one density."""

    body: SimulatedBodyName | None = None
    """In place of files: particles of this shape and of one density, whose small-angle scattering I(Q) is simulated."""
    radius: Annotated[float | None, POSITIVE] = None
    """[Å] Mean radius of the body by number: R of a sphere, else the radius of the sphere of equal volume."""
    pd: Annotated[float | None, NOT_NEGATIVE] = None
    """Standard deviation of the radius over its mean, by number [0]."""
    particles: SimulateSaxsOptions = field(default_factory=SimulateSaxsOptions)

    def check_together(self) -> None:
        """Check that a body has a radius, and that each option has an effect on it."""
        if self.body is None:
            given_names = [name for name in ("radius", "pd") if vars(self)[name] is not None]
            if given_names or self.particles != SimulateSaxsOptions():
                name = flag(given_names[0]) if given_names else "options of small-angle scattering"
                raise ValueError(f"Expected --body with {name}, got none; name a body, e.g. --body sphere.")
            return
        if self.radius is None:
            raise ValueError("Expected --radius with --body, got none.")
        if self.particles.aspect != 1 and self.body not in ("spheroid", "cylinder"):
            raise ValueError(
                f"Expected --aspect with --body spheroid or cylinder alone, got --body {self.body}; drop it."
            )
        if (self.particles.shell or self.particles.shell_contrast) and self.body != "core-shell":
            raise ValueError(
                f"Expected --shell and --shell-contrast with --body core-shell alone, got {self.body}; drop them."
            )


@dataclass(frozen=True)
class SaxsRangeOptions(Options):
    """Distribution of sizes and range of Q of simulated small-angle scattering."""

    distribution: SimulatedDistributionName = "gaussian"
    """Distribution of the radius, by number."""
    qmin: Annotated[float, NOT_NEGATIVE] = SAXS_QMIN
    """[1/Å] Start of the range of Q."""
    qmax: float = SAXS_QMAX
    """[1/Å] End of the range of Q."""
    qstep: float | None = None
    """[1/Å] Step in Q [a 200th of the range]."""

    def check_together(self) -> None:
        """Check that the range starts before it ends, and that its steps fit into it."""
        check_axis("q", self.qmin, self.qmax, self.qstep)


@dataclass(frozen=True)
class SaxsCommand:
    """Find sizes, their distribution and the shape of particles from measured small-angle scattering.

    Example: jaxstruc saxs sample.dat --element Au -o out/

    Example: jaxstruc saxs sample.dat --q-unit 1/nm --background solvent.dat --body sphere cube -o out/
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Measured I(Q): columns (.dat .chi .iq .csv .xye .txt), CanSAS1d XML, NXcanSAS."""
    out: Folder
    element: str = ""
    """Element of the particles, e.g. Au. It is needed for --absolute and is kept in the result."""
    options: Annotated[SaxsOptions, Inline] = field(default_factory=SaxsOptions)
    cache: Cache = True
