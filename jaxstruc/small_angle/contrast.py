r"""X-ray scattering length densities of elements and of solvents.

The scattering length density is $\rho = r_e Z N_A d / M$, with the classical electron radius $r_e$, the number of
electrons Z of a formula unit, Avogadro's number $N_A$, the mass density d and the molar mass M. The mass density of an
element is that of the solid or liquid at 20 °C, or that of the liquid at the boiling point if the element is a gas.
Anomalous scattering is neglected. For gold at Cu Kα, for example, it would lower $\rho$ by 5 %.
"""

import functools
import json
import re
from importlib.resources import files

from ase.data import atomic_masses, atomic_numbers

CLASSICAL_ELECTRON_RADIUS = 2.8179403205e-5
"""Classical radius of the electron in Å (CODATA 2022)."""
AVOGADRO = 0.602214076
"""Avogadro's number times 10⁻²⁴: number of molecules in 1 Å³ of a substance of 1 mol/cm³."""
_LIQUID_DENSITIES = {
    "water": (0.9970, "H2O"),
    "methanol": (0.7866, "CH4O"),
    "ethanol": (0.7850, "C2H6O"),
    "acetone": (0.7845, "C3H6O"),
    "chloroform": (1.4788, "CHCl3"),
    "hexane": (0.6548, "C6H14"),
    "cyclohexane": (0.7739, "C6H12"),
    "toluene": (0.8622, "C7H8"),
}
"""Mass density in g/cm³ at 25 °C, and chemical formula, of each solvent.

Source: CRC Handbook of Chemistry and Physics, 97th edition (2016), section 3.
"""
SOLVENTS = ("vacuum", *_LIQUID_DENSITIES)
"""Names of the solvents that can be chosen."""


def element_sld(symbol: str) -> float:
    """Return the scattering length density of a solid or liquid element, in 10⁻⁶/Å².

    Raises:
        ValueError: If the table of mass densities does not contain the symbol.
    """
    if symbol not in _element_densities():
        raise ValueError(
            f"Expected an element with a known density in --element, e.g. Au, got {symbol}; correct --element, or "
            "pass --sld with --absolute."
        )
    return _substance_sld(_element_densities()[symbol], {symbol: 1})


def solvent_sld(name: str) -> float:
    """Return the scattering length density of a solvent, in 10⁻⁶/Å².

    Raises:
        ValueError: If the name is not among `SOLVENTS`.
    """
    if name not in SOLVENTS:
        raise ValueError(
            f"Unknown solvent {name!r}. --solvent takes a number in 10⁻⁶/Å² or one of: {', '.join(SOLVENTS)}."
        )
    if name == "vacuum":
        return 0.0
    density, formula = _LIQUID_DENSITIES[name]
    return _substance_sld(density, _formula_composition(formula))


def _substance_sld(density: float, composition: dict[str, int]) -> float:
    """Return the scattering length density of a substance, in 10⁻⁶/Å², from its mass density in g/cm³."""
    electrons = sum(count * atomic_numbers[symbol] for symbol, count in composition.items())
    mass = sum(count * float(atomic_masses[atomic_numbers[symbol]]) for symbol, count in composition.items())
    return 1e6 * CLASSICAL_ELECTRON_RADIUS * AVOGADRO * density * electrons / mass


def _formula_composition(formula: str) -> dict[str, int]:
    """Return the number of atoms of each element in a chemical formula, e.g. C2H6O."""
    return {symbol: int(count or 1) for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula)}


@functools.cache
def _element_densities() -> dict[str, float]:
    """Return the mass density of each element in g/cm³, by symbol."""
    return json.loads(files("jaxstruc.scattering.tables").joinpath("densities.json").read_text("utf-8"))["entries"]
