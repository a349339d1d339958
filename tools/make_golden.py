"""Take the small part of the referee's curves that the tests need into `tests/golden`.

    python tools/make_golden.py FOLDER

FOLDER holds curves made with diffpy.srreal 1.4.0 on libdiffpy 1.4.0.post0, one NumPy archive a structure. Kept:
positions, every tenth point of the fine curves, and the Debye calculator's F(Q) and G(r) of three parameter sets on
its own Q grid.
"""

import json
import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
STRUCTURES = ("dimer_Au2", "random_Pd20", "dec_Au75", "l10_CuAu")
SETS = ("A", "D", "G")


def main(folder: Path) -> None:
    """Write one small archive a structure."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in STRUCTURES:
        with np.load(folder / f"{name}.npz") as whole:
            meta = json.loads(str(whole["meta"]))
            kept = {key: whole[key] for key in ("positions", "numbers", "U_G")}
            kept |= {key: whole[key][::10] for key in whole.files if key.startswith(("fine_", "f_"))}
            for key in SETS:
                kept[f"r_{key}"] = whole[f"r_{key}"]
                kept |= {f"{key}_{part}": whole[f"{key}_X_debyex_{part}"] for part in "QFG"}
        about = {
            "program": "diffpy.srreal",
            "versions": meta["versions"],
            "Uiso": meta["Uiso"],
            "sets": {key: meta["parameter_sets"][key] for key in SETS},
        }
        np.savez_compressed(GOLDEN / f"{name}.npz", meta=json.dumps(about), **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
