"""Make tests/golden/emt/Au.npz: positions of gold clusters before and after their relaxation with EMT.

    python tools/make_relaxed.py

The file was made with ASE 3.29.0. It takes half a minute.
"""

from pathlib import Path

import ase
import numpy as np
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron, Octahedron
from ase.optimize import BFGS

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "emt" / "Au.npz"
MAX_FORCE = 0.01
"""Largest force at which the relaxation stops, in eV/Å."""
CLUSTERS = {
    "cuboctahedron_55": Octahedron("Au", 5, 2),
    "icosahedron_55": Icosahedron("Au", 3),
    "cuboctahedron_147": Octahedron("Au", 7, 3),
}


def main() -> None:
    """Write the positions of all clusters, in Å."""
    arrays = {"program": np.array(f"ASE {ase.__version__}, EMT, BFGS to {MAX_FORCE} eV/Å")}
    for name, atoms in CLUSTERS.items():
        arrays[f"{name}_ideal"] = atoms.positions.copy()
        atoms.calc = EMT()
        if not BFGS(atoms, logfile=None).run(fmax=MAX_FORCE, steps=300):
            raise RuntimeError(f"The relaxation of {name} did not converge.")
        arrays[f"{name}_relaxed"] = atoms.positions
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
