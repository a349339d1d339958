"""X-ray form factors, neutron scattering lengths and metallic radii of the elements.

The script `tools/make_tables.py` generates the tables. Each table states its source.
"""

import functools
import json
from importlib.resources import files

import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Array, Float

UNIT_COEFFICIENTS = np.array([[0.0] * 10 + [1.0]])
"""Coefficients of the constant form factor 1.

They are used for clusters of one element, whose form factor cancels in S(Q), F(Q) and G(r).
"""
TABLE_QUANTITIES = {
    "form_factors": "X-ray form factors",
    "neutron_lengths": "neutron scattering lengths",
    "metallic_radii": "metallic radii",
}


def xray_coefficients(symbols: list[str]) -> Float[np.ndarray, "symbol 11"]:
    """Return the coefficients of the form factors of elements or ions.

    Args:
        symbols: Symbols of the elements or ions, e.g. "Pt" or "Cu2+".

    Returns:
        Coefficients a1 to a5 in electrons, b1 to b5 in Å², and c in electrons, with one row for each symbol.

    Raises:
        ValueError: If a symbol is not in the table of Waasmaier and Kirfel.
    """
    return np.array([_table_entry("form_factors", symbol) for symbol in symbols])


def xray_form_factors(
    coefficients: Float[Array | np.ndarray, "symbol coefficient"], q: Float[Array, " q"]
) -> Float[Array, "symbol q"]:
    r"""Return the form factors f0(Q), in electrons.

    $f_0(Q) = \sum_{k=1}^5 a_k e^{-b_k s^2} + c$ with $s = Q/4\pi$ (D. Waasmaier, A. Kirfel, Acta Cryst. A51, 416
    (1995), doi 10.1107/S0108767394013292). Anomalous terms are not included. The value f0(0) is not exactly the number
    of electrons.

    Args:
        coefficients: Coefficients a1 to a5, b1 to b5 and c, from `xray_coefficients`. If a and b are 0, the form
            factor is the constant c. The mean form factor of a site that n elements share has 5 n coefficients a and
            5 n coefficients b, see `mean_coefficients`.
        q: Grid of Q in 1/Å.
    """
    coefficient_array = jnp.asarray(coefficients, q.dtype)
    n_gaussians = coefficient_array.shape[1] // 2
    a, b = coefficient_array[:, :n_gaussians], coefficient_array[:, n_gaussians : 2 * n_gaussians]
    c = coefficient_array[:, 2 * n_gaussians :]
    s_squared = (q / (4 * jnp.pi)) ** 2
    return jnp.sum(a[:, :, None] * jnp.exp(-b[:, :, None] * s_squared), axis=1) + c


def mean_coefficients(
    coefficients: Float[np.ndarray, "symbol 11"], occupancy: Float[np.ndarray, "site symbol"]
) -> Float[np.ndarray, "site coefficient"]:
    """Return the coefficients of the mean form factors of sites that several elements share.

    Args:
        coefficients: Coefficients of each element, from `xray_coefficients`.
        occupancy: Occupancy of each site by each element.
    """
    a = (occupancy[:, :, None] * coefficients[:, :5]).reshape(len(occupancy), -1)
    b = np.broadcast_to(coefficients[:, 5:10].ravel(), a.shape)
    return np.concatenate([a, b, occupancy @ coefficients[:, 10:]], axis=1)


def neutron_lengths(symbols: list[str]) -> Float[np.ndarray, " symbol"]:
    """Return the bound coherent neutron scattering lengths, in fm.

    Args:
        symbols: Symbols of the elements or hydrogen isotopes, e.g. "Pt" or "D".

    Raises:
        ValueError: If the table has no scattering length of an element.
    """
    return np.array([_table_entry("neutron_lengths", symbol) for symbol in symbols])


def bond_length(symbol: str) -> float:
    """Return the nearest-neighbour distance of the close-packed metal, in Å.

    This is twice the metallic radius for 12 neighbours.

    Raises:
        ValueError: If the symbol is not an element, or if the table has no metallic radius of the element.
    """
    return 2 * _metallic_radii(symbol)[1]


def tabulated_bond_length(symbol: str) -> float:
    """Return twice the tabulated metallic radius, in Å.

    The published training sets use this bond length, which is about 7 % shorter than that of real metals.
    """
    return 2 * _metallic_radii(symbol)[0]


def _metallic_radii(symbol: str) -> list[float]:
    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"Expected the symbol of an element, e.g. Pt, got {symbol!r}; check --element.")
    return _table_entry("metallic_radii", symbol)


def _table_entry(table_name: str, symbol: str):
    entries = _read_table(table_name)
    if symbol not in entries:
        raise ValueError(
            f"Expected a symbol in the table of {TABLE_QUANTITIES[table_name]} (e.g. {', '.join(list(entries)[:3])}), "
            f"got {symbol!r}."
        )
    return entries[symbol]


@functools.cache
def _read_table(name: str) -> dict:
    return json.loads(files("jaxstruc.scattering.tables").joinpath(f"{name}.json").read_text("utf-8"))["entries"]
