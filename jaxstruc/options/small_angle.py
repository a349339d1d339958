"""Options of `saxs`: sizes and shapes from measured small-angle scattering."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from jaxstruc.options.pdf import AxisUnit, Wavelength
from jaxstruc.options.validation import (
    NOT_NEGATIVE,
    POSITIVE,
    AverageCount,
    Bounds,
    Cache,
    Devices,
    Files,
    Folder,
    Frame,
    Inline,
    JsonOutput,
    Options,
    ShardText,
    Unset,
    check_axis,
    check_order,
    flag,
    parameter_help,
)
from jaxstruc.parameters import option_help

OneLengthBodyName = Literal[
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
"""Names of the bodies that are fitted by default. A body is the shape of a particle, and these have one length."""
ShapedBodyName = Literal["core-shell", "spheroid", "cylinder", "hard-sphere"]
"""Names of the bodies that are fitted with a parameter of their shape, or with the volume fraction of hard spheres."""
BodyName = Literal[OneLengthBodyName, ShapedBodyName]
SimulatedBodyName = Literal[OneLengthBodyName, "core-shell", "spheroid", "cylinder"]
SimulatedDistributionName = Literal["none", "gaussian", "lognormal", "schulz", "uniform"]
DistributionName = Literal[SimulatedDistributionName, "two", "three", "free"]
InteractionName = Literal["effective", "decoupling", "local"]
BODIES: tuple[OneLengthBodyName, ...] = get_args(OneLengthBodyName)
SHAPED_BODIES: tuple[ShapedBodyName, ...] = get_args(ShapedBodyName)
DEFAULT_SHAPED_BODIES: tuple[ShapedBodyName, ...] = ("spheroid", "cylinder", "hard-sphere")
"""Bodies that are fitted by default if no body with one length and one population explains the data."""
DISTRIBUTIONS: tuple[DistributionName, ...] = get_args(DistributionName)
"""Names of the distributions of sizes that are fitted: none is a single size, two is a sum of two Gaussian
distributions, three is a sum of three lognormal distributions, and free is a smooth histogram."""
SIMULATED_BODIES: tuple[SimulatedBodyName, ...] = get_args(SimulatedBodyName)
SIMULATED_DISTRIBUTIONS: tuple[SimulatedDistributionName, ...] = get_args(SimulatedDistributionName)
SAXS_QMIN, SAXS_QMAX = 0.005, 0.5
"""Default Q range of a simulated small-angle curve, in 1/Å."""
N_SAXS_Q_STEPS = 200
"""Default number of steps in Q of a simulated small-angle curve."""
MAX_SIMULATED_QR = 1e4
"""Largest product of Q and radius that is simulated."""
BACKGROUND_POWER = Bounds(0, 6, exclusive=True)
"""Range of the exponent of a background that falls as a power of 1/Q."""


@dataclass(frozen=True)
class QOptions(Options):
    """Settings of the measured I(Q)."""

    q_unit: AxisUnit = None
    wavelength: Wavelength = None
    qmin: Annotated[float | None, parameter_help("qmin", "The fit starts here.", default="all data"), NOT_NEGATIVE] = (
        None
    )
    qmax: Annotated[float | None, parameter_help("qmax", "The fit ends here.", default="all data"), POSITIVE] = None
    background: Annotated[
        Path | None,
        tyro.conf.arg(
            help="File with the measured I(Q) of the solvent and the sample cell. It is subtracted from the data, "
            "and the errors of both are combined.",
            help_behavior_hint="",
        ),
    ] = None
    frame: Frame = None
    background_scale: Annotated[float, tyro.conf.arg(help=option_help("background_scale")), POSITIVE] = 1.0

    def check_together(self) -> None:
        """Check that the range starts before it ends."""
        check_order("q", self.qmin, self.qmax)


@dataclass(frozen=True)
class SizeOptions(Options):
    """Shapes, distributions of sizes and backgrounds that are fitted."""

    body: Annotated[
        tuple[BodyName, ...],
        tyro.conf.arg(
            help="Shapes of the particles that are fitted and compared. By default these are the sphere and the twelve "
            "polyhedra. If none of them explains the data with one population, spheroid and cylinder with any aspect "
            "ratio and spheres that interact as hard spheres (hard-sphere) are compared too. core-shell has any "
            "thickness of the shell and needs --shell-sld.",
            help_behavior_hint="",
        ),
    ] = ()
    distribution: Annotated[
        tuple[DistributionName, ...],
        tyro.conf.arg(
            help="Distributions of sizes that are fitted and compared: a single size (none), one population "
            "(gaussian, lognormal, schulz, uniform), two Gaussian populations (two), three lognormal populations "
            "(three), or a smooth histogram (free). By default all are compared. The options `two` and `three` are "
            "fitted only for the three best shapes, and `three` only if it can explain the data better.",
            help_behavior_hint="",
        ),
    ] = ()
    flat: bool = True
    """Whether a constant background is fitted."""
    power_law: Annotated[float | None, Unset, BACKGROUND_POWER] = None
    """Exponent p of a background proportional to 1/Q^p that is fitted too, e.g. 4."""
    absolute: Annotated[
        bool,
        tyro.conf.arg(
            help="Whether the intensity is on an absolute scale, in 1/cm unless the file states another unit. With "
            "this option, the fitted scale is the volume fraction of the particles, and the contrast is computed from "
            "--element or --sld, and from --solvent."
        ),
    ] = False
    sld: Annotated[float | None, tyro.conf.arg(help_behavior_hint="(default: X-ray value of --element)")] = None
    """Scattering length density of the particles or of their cores, in 10⁻⁶/Å², for --absolute or core-shell."""
    shell_sld: Annotated[float | None, Unset] = None
    """Scattering length density of the shells, in 10⁻⁶/Å². It is needed for --body core-shell."""
    solvent: Annotated[
        str,
        tyro.conf.arg(
            help="Solvent of the particles, for --absolute or core-shell: vacuum, water, methanol, ethanol, acetone, "
            "chloroform, hexane, cyclohexane or toluene, or a scattering length density in 10⁻⁶/Å²."
        ),
    ] = "vacuum"

    def check_together(self) -> None:
        """Check that scattering length densities are given only if they are used, and that each body can be fitted."""
        has_shell = "core-shell" in self.body
        if not self.absolute and not has_shell and (self.sld is not None or self.solvent != "vacuum"):
            raise ValueError("Expected --absolute with --sld or --solvent, got none; add --absolute, or drop them.")
        if has_shell and self.shell_sld is None:
            raise ValueError(
                "Expected --shell-sld with --body core-shell, got none: the thickness of a shell is not determined "
                "without its contrast; pass the scattering length density of the shell in 10⁻⁶/Å²."
            )
        if not has_shell and self.shell_sld is not None:
            raise ValueError("Expected --body core-shell with --shell-sld, got none; add it, or drop --shell-sld.")
        single_populations = get_args(SimulatedDistributionName)
        shaped_bodies = [name for name in self.body if name in SHAPED_BODIES]
        if shaped_bodies and self.distribution and not set(self.distribution) & set(single_populations):
            raise ValueError(
                f"Expected --distribution {', '.join(single_populations[:-1])} or {single_populations[-1]} with --body "
                f"{shaped_bodies[0]}, got {' '.join(self.distribution)}; add one, or drop the body."
            )


@dataclass(frozen=True)
class SaxsOptions(Options):
    """Options of `saxs`."""

    data: QOptions = field(default_factory=QOptions)
    fit: SizeOptions = field(default_factory=SizeOptions)


@dataclass(frozen=True)
class SimulateSaxsOptions(Options):
    """Intensity, background, resolution and interaction of the particles given by --body."""

    scale: Annotated[float, NOT_NEGATIVE] = 1.0
    """Factor on the intensity of the particles. It is their volume fraction if --contrast is the true contrast."""
    contrast: float = 1.0
    """Contrast, in 10⁻⁶/Å²: scattering length density of the particle, or of its core, minus that of the solvent."""
    background: Annotated[float, NOT_NEGATIVE] = 0.0
    """Constant background, in 1/cm."""
    power_scale: Annotated[float, NOT_NEGATIVE] = 0.0
    """Intensity, in 1/cm and at Q = 1/Å, of a background that falls as a power of Q."""
    power_law: Annotated[float, BACKGROUND_POWER] = 4.0
    """Exponent p of the background proportional to 1/Q^p, whose intensity is --power-scale."""
    dq: Annotated[float, NOT_NEGATIVE] = 0.0
    """Standard deviation of the resolution in Q with which the curve is smeared, in 1/Å."""
    volume_fraction: Annotated[
        float,
        tyro.conf.arg(
            help="Volume fraction of the particles in a liquid of hard spheres, for the structure factor. With a "
            "value of 0 the particles do not interact. The theory fails above 0.6, because hard spheres "
            "freeze there."
        ),
        Bounds(0, 0.6),
    ] = 0.0
    interaction: Annotated[
        InteractionName,
        tyro.conf.arg(
            help="Approximation for hard spheres of many sizes: all spheres have the mean radius (effective), "
            "sizes do not depend on positions (decoupling), or each particle has neighbours of its own size "
            "(local)."
        ),
    ] = "decoupling"
    aspect: Annotated[float, Bounds(0.05, 20)] = 1.0
    """Ratio of the half axis of revolution to the other half axis (spheroid), or of length to diameter (cylinder)."""
    shell: Annotated[float, NOT_NEGATIVE] = 0.0
    """Thickness of the shell of a core-shell particle, in Å. The radius of the particle includes the shell."""
    shell_contrast: Annotated[
        float,
        tyro.conf.arg(
            help="Contrast of the shell of a core-shell particle, in 10⁻⁶/Å²: scattering length density of the "
            "shell minus that of the solvent."
        ),
    ] = 0.0


@dataclass(frozen=True)
class BodyOptions(Options):
    """Particles of one shape and of uniform density, whose small-angle scattering is simulated."""

    body: Annotated[
        SimulatedBodyName | None,
        tyro.conf.arg(
            help="Shape of particles of uniform density that take the place of structure files. Their small-angle "
            "scattering I(Q) is simulated.",
            help_behavior_hint="",
        ),
    ] = None
    radius: Annotated[float | None, Unset, POSITIVE] = None
    """Number-weighted mean radius of the particles, in Å. It is the radius of the sphere of equal volume."""
    pd: Annotated[float | None, tyro.conf.arg(help_behavior_hint="(default: 0)"), NOT_NEGATIVE] = None
    """Polydispersity: standard deviation of the radius divided by the mean radius, weighted by number."""
    particles: Annotated[SimulateSaxsOptions, Inline] = field(default_factory=SimulateSaxsOptions)

    def check_together(self) -> None:
        """Check that a body has a radius, and that no option without an effect is given."""
        if self.body is None:
            given_names = [name for name in ("radius", "pd") if vars(self)[name] is not None]
            if given_names or self.particles != SimulateSaxsOptions():
                name = flag(given_names[0]) if given_names else "options of small-angle scattering"
                raise ValueError(f"Expected --body with {name}, got none; add a body, e.g. --body sphere.")
            return
        if self.radius is None:
            raise ValueError("Expected --radius with --body, got none; pass the mean radius in Å.")
        if self.particles.aspect != 1 and self.body not in ("spheroid", "cylinder"):
            raise ValueError(
                f"Expected --aspect only with --body spheroid or cylinder, got --body {self.body}; drop it."
            )
        if (self.particles.shell or self.particles.shell_contrast) and self.body != "core-shell":
            raise ValueError(
                f"Expected --shell and --shell-contrast only with --body core-shell, got {self.body}; drop them."
            )


@dataclass(frozen=True)
class SaxsRangeOptions(Options):
    """Distribution of sizes and Q range of simulated small-angle scattering."""

    distribution: SimulatedDistributionName = "gaussian"
    """Number-weighted distribution of the radius."""
    qmin: Annotated[float, NOT_NEGATIVE] = SAXS_QMIN
    """Start of the Q range, in 1/Å."""
    qmax: float = SAXS_QMAX
    """End of the Q range, in 1/Å."""
    qstep: float | None = None
    """Step in Q, in 1/Å. The default is a 200th of the Q range."""

    def check_together(self) -> None:
        """Check that the Q range starts before it ends, and that its steps fit into it."""
        check_axis("q", self.qmin, self.qmax, self.qstep)


@dataclass(frozen=True)
class SaxsCommand:
    """Find size, distribution of sizes and shape of particles from small-angle scattering.

    Example: jaxstruc saxs sample.dat --element Au -o out/

    Example: jaxstruc saxs sample.dat --q-unit 1/nm --background solvent.dat --body sphere cube -o out/
    """

    files: Files
    """Measured I(Q): text columns (.dat, .chi, .iq, .csv, .xye, .txt, .ABS), CanSAS XML or NXcanSAS."""
    out: Folder
    element: Annotated[
        str,
        tyro.conf.arg(
            help="Element of the particles, e.g. Au. It is written into the results. With --absolute it "
            "gives the contrast, unless --sld is given.",
            help_behavior_hint="",
        ),
    ] = ""
    options: Annotated[SaxsOptions, Inline] = field(default_factory=SaxsOptions)
    average: AverageCount = 1
    shard: ShardText = "1/1"
    devices: Devices = None
    cache: Cache = True
    json: JsonOutput = False
