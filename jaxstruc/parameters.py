"""What a curve depends on: the one table of names, units, bounds and meanings.

Options, headers, fits, tables and pictures take them from here. Without JAX or NumPy, so that `--help` is quick.
"""

import math
from typing import NamedTuple


class Parameter(NamedTuple):
    """One quantity."""

    name: str
    unit: str
    description: str
    """What it is or does."""
    default: float | None = None
    """Where neither the user nor the file says."""
    minimum: float = 0.0
    """Least value that is fitted, times the bond in Å to the power `bond_power`; so for the next two."""
    maximum: float = math.inf
    start: float = 0.0
    """Of a fit, where the data do not show it; qdamp and qbroad start from the default or what is given."""
    bond_power: int = 0
    """Power of the bond in the three above."""
    fitted_as_square: bool = False
    """Whether it enters the model as its square, and is descended in as that: at 0 it has a slope only so."""

    def bounds(self, bond: float) -> tuple[float, float]:
        """Return the least and the largest value that is fitted, for a nearest-neighbour distance in Å."""
        return self.minimum * bond**self.bond_power, self.maximum * bond**self.bond_power


_TABLE = (
    Parameter("qmin", "1/Å", "Start of the Q range."),
    Parameter("qmax", "1/Å", "End of the Q range."),
    Parameter("qstep", "1/Å", "Step in Q."),
    Parameter("wavelength", "Å", "Of the radiation."),
    Parameter("background_scale", "", "Factor on the background's file.", default=1.0),
    Parameter("rmin", "Å", "Start of the range in r.", default=1.5),
    Parameter("rmax", "Å", "End of the range in r.", default=20.0),
    Parameter("rstep", "Å", "Step in r."),
    Parameter("scale", "", "Factor on G(r)."),
    Parameter("stretch", "", "Factor on all distances.", minimum=0.88, maximum=1.12),
    Parameter(
        "uiso", "Å²", "Isotropic displacement of all atoms.", default=0.005, minimum=5e-4, maximum=0.06, start=0.012
    ),
    Parameter("biso", "Å²", "The same as B = 8 pi² U, in place of --uiso."),
    Parameter("delta1", "Å", "Correlated motion, falling with r.", default=0.0, maximum=0.85, start=0.25, bond_power=1),
    Parameter(
        "delta2", "Å²", "Correlated motion, falling with r².", default=0.0, maximum=0.85, start=0.25, bond_power=2
    ),
    Parameter(
        "qdamp",
        "1/Å",
        "Damping of G(r) by the resolution.",
        default=0.03,
        minimum=1e-4,
        maximum=0.1,
        fitted_as_square=True,
    ),
    Parameter(
        "qbroad",
        "1/Å",
        "Broadening of peaks by the resolution.",
        default=0.0,
        minimum=1e-4,
        maximum=0.1,
        bond_power=-1,
        fitted_as_square=True,
    ),
)
PARAMETERS = {parameter.name: parameter for parameter in _TABLE}
"""Each by its name. The least qdamp and qbroad are no different from 0 on any data."""
FIT_PARAMETERS = ("scale", "stretch", "uiso", "delta1", "delta2", "qdamp", "qbroad")
"""What a fit can vary."""
DEFAULT_FREE_PARAMETERS = ("scale", "stretch", "uiso", "delta2")
"""What is fitted where nothing is said."""
UNITS = {name: parameter.unit for name, parameter in PARAMETERS.items()}


def option_help(name: str, supplement: str = "") -> str:
    """Return the help of an option: its unit, what it is, and what else is to be said."""
    parameter = PARAMETERS[name]
    unit = f"[{parameter.unit}] " if parameter.unit else ""
    return f"{unit}{parameter.description} {supplement}".strip()
