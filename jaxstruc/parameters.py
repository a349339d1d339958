"""The table of all parameters of a curve: names, units, meanings, defaults and bounds.

Options, headers, fits, tables and figures read it. The module imports neither JAX nor NumPy, so that `--help` is quick.
"""

import math
from typing import NamedTuple


class Parameter(NamedTuple):
    """One parameter of a curve."""

    name: str
    unit: str
    description: str
    """Noun phrase for the parameter, without its unit."""
    default: float | None = None
    """Value that is used if neither the user nor the file gives one."""
    minimum: float = 0.0
    """Smallest value in a fit. `minimum`, `maximum` and `start` are in units of the bond length (in Å) to the power
    `bond_power`."""
    maximum: float = math.inf
    start: float = 0.0
    """Value that a fit starts from. If uiso is not fitted, it is kept at this value. A fit of qdamp or qbroad starts
    from the value of the settings instead."""
    bond_power: int = 0
    """Power of the bond length in `minimum`, `maximum` and `start`."""
    prior: tuple[float, float] | None = None
    """Mean and standard deviation of the normal prior on the fitted value; None for no prior."""
    fitted_as_square: bool = False
    """Whether the fit varies the square of the parameter. The model depends on the square, so that its derivative with
    respect to the parameter itself vanishes at 0."""

    def bounds(self, bond: float) -> tuple[float, float]:
        """Return the smallest and the largest value of a fit, for a bond length in Å."""
        return self.minimum * bond**self.bond_power, self.maximum * bond**self.bond_power


_TABLE = (
    Parameter("qmin", "1/Å", "Start of the Q range"),
    Parameter("qmax", "1/Å", "End of the Q range"),
    Parameter("qstep", "1/Å", "Step in Q"),
    Parameter("wavelength", "Å", "Wavelength of the radiation"),
    Parameter("background_scale", "", "Factor on the intensity of the background file", default=1.0),
    Parameter("rmin", "Å", "Start of the r range", default=1.5),
    Parameter("rmax", "Å", "End of the r range", default=20.0),
    Parameter("rstep", "Å", "Step in r"),
    Parameter("scale", "", "Factor on G(r)"),
    Parameter("stretch", "", "Factor on all distances", minimum=0.88, maximum=1.12),
    Parameter(
        "uiso",
        "Å²",
        "Isotropic mean square displacement of all atoms",
        default=0.005,
        minimum=5e-4,
        maximum=0.06,
        start=0.012,
    ),
    Parameter("biso", "Å²", "Displacement parameter of all atoms, B = 8 pi² U"),
    Parameter(
        "delta1",
        "Å",
        "Strength of the correlated motion of neighbours that falls as 1/r",
        default=0.0,
        maximum=0.85,
        start=0.25,
        bond_power=1,
    ),
    Parameter(
        "delta2",
        "Å²",
        "Strength of the correlated motion of neighbours that falls as 1/r²",
        default=0.0,
        maximum=0.85,
        start=0.25,
        bond_power=2,
    ),
    Parameter(
        "qdamp",
        "1/Å",
        "Damping of G(r) by the resolution in Q",
        default=0.03,
        minimum=1e-4,
        maximum=0.1,
        fitted_as_square=True,
    ),
    Parameter(
        "qbroad",
        "1/Å",
        "Broadening of the peaks of G(r) by the resolution in Q",
        default=0.0,
        minimum=1e-4,
        maximum=0.1,
        bond_power=-1,
        fitted_as_square=True,
    ),
    Parameter(
        "relaxation",
        "",
        "Displacement of the atoms from their ideal positions: 0 for a rigid cluster, 1 for one relaxed in vacuum",
        minimum=-1.0,
        maximum=2.0,
        start=0.5,
        prior=(0.5, 0.5),
    ),
)
PARAMETERS = {parameter.name: parameter for parameter in _TABLE}
"""Parameters by name. The smallest qdamp and qbroad of a fit are so small that no data distinguish them from 0."""
FIT_PARAMETERS = ("scale", "stretch", "uiso", "delta1", "delta2", "qdamp", "qbroad", "relaxation")
"""Names of the parameters that a fit can vary."""
DEFAULT_FREE_PARAMETERS = ("scale", "stretch", "uiso", "delta2", "relaxation")
"""Names of the parameters that are fitted by default."""
UNITS = {name: parameter.unit for name, parameter in PARAMETERS.items()} | {"sigma_g": "1/Å²"}


def option_help(name: str, supplement: str = "") -> str:
    """Return the help of an option: the description of the parameter, its unit, and the supplement."""
    parameter = PARAMETERS[name]
    unit = f", in {parameter.unit}" if parameter.unit else ""
    return f"{parameter.description}{unit}. {supplement}".strip()
