"""X-ray form factors, neutron scattering lengths and metallic radii of the elements, as arrays.

The tables are generated (`tools/make_tables.py`) and say where they come from.
"""

import functools
import json
from importlib.resources import files

import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Array, Float

UNIT_COEFFICIENTS = np.array([[0.0] * 10 + [1.0]])
"""Coefficients of a form factor of 1: for one element, whose form factor cancels from S, F and G."""


def xray_coefficients(symbols: list[str]) -> Float[np.ndarray, "symbol 11"]:
    """Return a1..a5, b1..b5 [Å²] and c of elements or ions ("Pt", "Cu2+"), in electrons.

    Raises:
        ValueError: where a symbol is not in the Waasmaier-Kirfel table.
    """
    return np.array([_table_entry("form_factors", symbol) for symbol in symbols])


def xray_form_factors(
    coefficients: Float[Array | np.ndarray, "symbol 11"], q: Float[Array, " q"]
) -> Float[Array, "symbol q"]:
    r"""Return the form factors f0(Q), in electrons.

    $f_0(Q) = \sum_{k=1}^5 a_k e^{-b_k s^2} + c$ with $s = Q/4\pi$; D. Waasmaier, A. Kirfel, Acta Cryst. A51,
    416 (1995), doi 10.1107/S0108767394013292. No anomalous terms; f0(0) is not exactly Z.
    """
    coefficient_array = jnp.asarray(coefficients, q.dtype)
    a, b, c = coefficient_array[:, :5], coefficient_array[:, 5:10], coefficient_array[:, 10:]
    s_squared = (q / (4 * jnp.pi)) ** 2
    return jnp.sum(a[:, :, None] * jnp.exp(-b[:, :, None] * s_squared), axis=1) + c


def neutron_lengths(symbols: list[str]) -> Float[np.ndarray, " symbol"]:
    """Return the bound coherent neutron scattering lengths, in fm.

    Raises:
        ValueError: where an element has none in the table.
    """
    return np.array([_table_entry("neutron_lengths", symbol) for symbol in symbols])


def bond_length(symbol: str) -> float:
    """Return the nearest-neighbour distance of the close-packed metal, in Å: twice its 12-coordinate radius.

    Raises:
        ValueError: where the symbol is no element, or one with no metallic radius.
    """
    return 2 * _metallic_radii(symbol)[1]


def tabulated_bond_length(symbol: str) -> float:
    """Return twice the tabulated metallic radius, in Å: the published sets' rule, about 7 % shorter than real bonds."""
    return 2 * _metallic_radii(symbol)[0]


def _metallic_radii(symbol: str) -> list[float]:
    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"Expected the symbol of an element, e.g. Pt, got {symbol!r}; check --element.")
    return _table_entry("metallic_radii", symbol)


def _table_entry(table_name: str, symbol: str):
    entries = _read_table(table_name)
    if symbol not in entries:
        raise ValueError(
            f"Expected a symbol of the {table_name.replace('_', '-')} table, got {symbol!r}; "
            f"it has {len(entries)} entries, as {', '.join(list(entries)[:3])}."
        )
    return entries[symbol]


@functools.cache
def _read_table(name: str) -> dict:
    return json.loads(files("jaxstruc.scattering.tables").joinpath(f"{name}.json").read_text("utf-8"))["entries"]
