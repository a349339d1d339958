"""Write the tables of elements in `jaxstruc/scattering/tables` from `periodictable` and `mendeleev`.

    python tools/make_tables.py            (writes the tables)
    python tools/make_tables.py --check    (exits with status 1 if a table differs from its source)

The sources are:

- X-ray form factors: D. Waasmaier and A. Kirfel, Acta Cryst. A51, 416 (1995), from periodictable.
- Neutron bound coherent scattering lengths (real part): V. F. Sears, Neutron News 3, 26 (1992), from periodictable.
- Metallic radii (tabulated for coordination 8 to 12, and for coordination 12): mendeleev.
- Densities: CRC Handbook of Chemistry and Physics, from periodictable.
"""

import argparse
import json
import sys
from pathlib import Path

import mendeleev
import periodictable
from periodictable import cromermann

TABLES = Path(__file__).parents[1] / "jaxstruc" / "scattering" / "tables"


def form_factors() -> dict:
    """Return a1..a5, b1..b5 [Å²] and c of each Waasmaier-Kirfel entry, by symbol ("Au", "Au1+")."""
    cromermann.getCMformula("Au")  # This call makes periodictable read its table.
    entries = {
        symbol: [*map(float, entry.a), *map(float, entry.b), float(entry.c)]
        for symbol, entry in cromermann._cmformulas.items()
    }
    return {
        "source": "D. Waasmaier, A. Kirfel, Acta Cryst. A51, 416 (1995); f0 = sum a exp(-b s^2) + c, s = Q/4pi",
        "from": f"periodictable {periodictable.__version__}",
        "entries": dict(sorted(entries.items())),
    }


def neutron_lengths() -> dict:
    """Return the bound coherent scattering length b_c [fm] of each element, and of the hydrogen isotopes D and T."""
    entries = {
        element.symbol: float(element.neutron.b_c)
        for element in (*periodictable.elements, periodictable.D, periodictable.T)
        if element.number > 0 and element.neutron.has_sld() and element.neutron.b_c is not None
    }
    return {
        "source": "V. F. Sears, Neutron News 3, 26 (1992); bound coherent scattering length in fm",
        "from": f"periodictable {periodictable.__version__}",
        "entries": entries,
    }


def metallic_radii() -> dict:
    """Return the tabulated and the 12-coordinate metallic radius [Å] of each element that has both."""
    entries = {
        element.symbol: [element.metallic_radius / 100, element.metallic_radius_c12 / 100]
        for element in mendeleev.get_all_elements()
        if element.metallic_radius and element.metallic_radius_c12
    }
    return {
        "source": "metallic_radius and metallic_radius_c12 in Å",
        "from": f"mendeleev {mendeleev.__version__}",
        "entries": entries,
    }


def densities() -> dict:
    """Return the density [g/cm³] of each element at 20 °C, or of the liquid at its boiling point for gases."""
    return {
        "source": "D. R. Lide (ed.), CRC Handbook of Chemistry and Physics, 80th edition (1999); density in g/cm³",
        "from": f"periodictable {periodictable.__version__}",
        "entries": {
            element.symbol: float(element.density)
            for element in periodictable.elements
            if element.number > 0 and element.density is not None
        },
    }


def table_text(table: dict) -> str:
    """Return the table as JSON with one entry per line, so that differences between versions are easy to read."""
    rows = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in table["entries"].items())
    header = ",\n".join(f" {json.dumps(key)}: {json.dumps(table[key])}" for key in ("source", "from"))
    return f'{{\n{header},\n "entries": {{\n{rows}\n }}\n}}\n'


def main() -> None:
    """Write the tables, or check them with `--check`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare the tables with their sources")
    check = parser.parse_args().check
    for name, make_table in {
        "form_factors": form_factors,
        "neutron_lengths": neutron_lengths,
        "metallic_radii": metallic_radii,
        "densities": densities,
    }.items():
        path, new_text = TABLES / f"{name}.json", table_text(make_table())
        if not check:
            path.write_text(new_text)
        elif json.loads(path.read_text())["entries"] != json.loads(new_text)["entries"]:
            sys.exit(f"{path.name} differs from its source; run python tools/make_tables.py.")


if __name__ == "__main__":
    main()
