r"""Scattering length densities for X-rays, in 10⁻⁶/Å²: $r_e$ times the electrons of a volume, far from absorption edges."""

import math

from ase.data import atomic_numbers

from jaxstruc.scattering import form_factors

ELECTRON = 2.8179403e-5
"""Å. Classical electron radius, CODATA 2018."""
AVOGADRO = 0.60221408
"""Molecules of 1 g/mol in 1 Å³ of 1 g/cm³."""
SOLVENTS = {
    "vacuum": (0, 1.0, 0.0),
    "air": (0, 1.0, 0.0),
    "water": (10, 18.015, 0.9970),
    "heavy-water": (10, 20.028, 1.1044),
    "ethanol": (26, 46.068, 0.7849),
    "methanol": (18, 32.042, 0.7866),
    "acetone": (32, 58.079, 0.7844),
    "toluene": (50, 92.138, 0.8623),
    "hexane": (50, 86.175, 0.6548),
    "cyclohexane": (48, 84.159, 0.7739),
    "chloroform": (58, 119.378, 1.4788),
}
"""Electrons of a molecule, its mass in g/mol, and g/cm³ at 25 °C (CRC Handbook of Chemistry and Physics, 97th ed.)."""


def of_element(symbol: str) -> float:
    """Return that of a close-packed metal, d³/√2 an atom, d its nearest distance.

    Raises:
        ValueError: where the symbol is none of a metal.
    """
    return 1e6 * ELECTRON * atomic_numbers.get(symbol, 0) * math.sqrt(2) / form_factors.bond_length(symbol) ** 3


def of_solvent(name: str) -> float:
    """Return that of a solvent by its name, or the number itself.

    Raises:
        ValueError: where it is neither.
    """
    if name in SOLVENTS:
        electrons, mass, density = SOLVENTS[name]
        return 1e6 * ELECTRON * electrons * AVOGADRO * density / mass
    try:
        value = float(name)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"Expected --solvent {', '.join(SOLVENTS)} or a number in 10⁻⁶/Å², got {name!r}; pass one of them."
        )
    return value
