"""Options of simulated small-angle scattering. Without JAX or NumPy, so that `--help` is quick."""

from dataclasses import dataclass
from typing import Literal, get_args

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
InteractionName = Literal["effective", "decoupling", "local"]
SIMULATED_BODIES: tuple[SimulatedBodyName, ...] = get_args(SimulatedBodyName)
SIMULATED_DISTRIBUTIONS: tuple[SimulatedDistributionName, ...] = get_args(SimulatedDistributionName)
INTERACTIONS: tuple[InteractionName, ...] = get_args(InteractionName)
SAXS_QMIN, SAXS_QMAX = 0.005, 0.5
"""1/Å. Range of Q of a simulated curve at small angles."""
SAXS_STEPS = 200
"""Number of steps in Q of such a curve."""


@dataclass(frozen=True)
class SimulateSaxsOptions:
    """Options of simulated small-angle scattering of a body."""

    scale: float = 1.0
    """Factor on the particles' intensity. It is their volume fraction if the contrast is given."""
    contrast: float = 1.0
    """[10⁻⁶/Å²] Scattering length density of the particle, or of its core, less that of the solvent."""
    background: float = 0.0
    """[1/cm] Constant background."""
    power_scale: float = 0.0
    """[1/cm] Value at 1 1/Å of a background that falls with a power of Q."""
    power_law: float = 4.0
    """Power of 1/Q of that background."""
    dq: float = 0.0
    """[1/Å] Standard deviation of the resolution in Q, by which the curve is smeared."""
    volume_fraction: float = 0.0
    """Volume fraction of hard spheres of radius R_eq that keep the particles apart; 0 if they do not interact."""
    interaction: InteractionName = "decoupling"
    """Approximation for hard spheres of many sizes: spheres of the mean radius (effective), sizes independent of
    positions (decoupling), or each particle among others of its size (local)."""
    aspect: float = 1.0
    """Half axis of revolution over the other one (spheroid), or length over diameter (cylinder)."""
    shell: float = 0.0
    """[Å] Thickness of the shell (core-shell); the radius is the outer one."""
    shell_contrast: float = 0.0
    """[10⁻⁶/Å²] Scattering length density of the shell less that of the solvent (core-shell)."""
