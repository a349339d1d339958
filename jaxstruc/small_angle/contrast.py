r"""Scattering length densities for X-rays: of elements as solids, and of solvents.

$\rho = r_e Z N_A d / M$: electrons in a volume times the length of one. Anomalous terms are left out: with them gold
at Cu Kα has 5 % less.
"""

import functools
import json
import re
from importlib.resources import files

from ase.data import atomic_masses, atomic_numbers

CLASSICAL_ELECTRON_RADIUS = 2.8179403205e-5
"""Å. Classical radius of the electron; CODATA 2022."""
AVOGADRO = 0.602214076
"""Molecules in a cm³ of 1 mol/cm³, per Å³."""
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
"""Density in g/cm³ at 25 °C and formula: CRC Handbook of Chemistry and Physics, 97th edition (2016), section 3."""
SOLVENTS = ("vacuum", *_LIQUID_DENSITIES)
"""Those with a name."""


def element_sld(symbol: str) -> float:
    """Return the scattering length density of a solid element, in 10⁻⁶/Å².

    Raises:
        ValueError: where its density is not in the table.
    """
    if symbol not in _element_densities():
        raise ValueError(f"Expected the symbol of an element with a density, e.g. Au, got {symbol!r}; check --element.")
    return _substance_sld(_element_densities()[symbol], {symbol: 1})


def solvent_sld(name: str) -> float:
    """Return the scattering length density of a solvent, in 10⁻⁶/Å².

    Raises:
        ValueError: where it is not among `SOLVENTS`.
    """
    if name not in SOLVENTS:
        raise ValueError(f"Expected a solvent among {', '.join(SOLVENTS)}, got {name!r}; check --solvent.")
    if name == "vacuum":
        return 0.0
    density, formula = _LIQUID_DENSITIES[name]
    return _substance_sld(density, _formula_composition(formula))


def _substance_sld(density: float, composition: dict[str, int]) -> float:
    """Return the scattering length density of a substance of so many g/cm³."""
    electrons = sum(count * atomic_numbers[symbol] for symbol, count in composition.items())
    mass = sum(count * float(atomic_masses[atomic_numbers[symbol]]) for symbol, count in composition.items())
    return 1e6 * CLASSICAL_ELECTRON_RADIUS * AVOGADRO * density * electrons / mass


def _formula_composition(formula: str) -> dict[str, int]:
    """Return the atoms of a formula as C2H6O."""
    return {symbol: int(count or 1) for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula)}


@functools.cache
def _element_densities() -> dict[str, float]:
    return json.loads(files("jaxstruc.scattering.tables").joinpath("densities.json").read_text("utf-8"))["entries"]
