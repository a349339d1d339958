"""Write the table of the form factor P(x) and the mean amplitude <F>(x) of the named polyhedra.

    python tools/make_bodies.py            (takes some minutes)

The values are computed with the face and edge formula and written to jaxstruc/scattering/tables/bodies.npz.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxstruc import files
from jaxstruc.small_angle import form_factors
from jaxstruc.small_angle.named_polyhedra import NAMED_POLYHEDRA, SYMMETRY_DOMAINS

TABLE = Path(__file__).parents[1] / "jaxstruc" / "scattering" / "tables" / "bodies.npz"


def main() -> None:
    """Average over the orientations of each polyhedron and write the table."""
    arrays: dict[str, Any] = {}
    for name, (make_solid, domain) in NAMED_POLYHEDRA.items():
        start = time.perf_counter()
        measured_table = form_factors.polyhedron_arrays(make_solid(), SYMMETRY_DOMAINS[domain])
        arrays |= {f"{name}/{part}": value for part, value in measured_table.items()}
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    with files.atomic_replacement(TABLE) as path, path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


if __name__ == "__main__":
    main()
