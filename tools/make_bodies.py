"""Write jaxstruc/scattering/tables/bodies.npz: P(x) and <F>(x) of the named polyhedra, by the face and edge formula.

python tools/make_bodies.py            writes the table; some minutes
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxstruc import files
from jaxstruc.scattering import particle
from jaxstruc.scattering.solids import DOMAINS, SOLIDS

TABLE = Path(__file__).parents[1] / "jaxstruc" / "scattering" / "tables" / "bodies.npz"


def main() -> None:
    """Average, and write."""
    arrays: dict[str, Any] = {}
    for name, (make, domain) in SOLIDS.items():
        begun = time.perf_counter()
        made = particle.measured(make(), DOMAINS[domain])
        arrays |= {f"{name}/{part}": value for part, value in made.items()}
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)
    with files.replacing(TABLE) as path, path.open("wb") as opened:
        np.savez_compressed(opened, **arrays)


if __name__ == "__main__":
    main()
