"""Take the part of the referee's curves that the tests need into `tests/golden`.

    python tools/make_golden.py FOLDER

FOLDER holds curves made with diffpy.srreal 1.4.0 on libdiffpy 1.4.0.post0, one NumPy archive a structure. Kept of
each curve are about fifty points, spread evenly over it, and its largest absolute value; of the settings those used.
"""

import json
import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
POINTS = 50
USED = ("qstep", "nq", "extendedrmin", "extendedrmax")


def main(folder: Path) -> None:
    """Write one small archive a structure."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as whole:
            np.savez_compressed(GOLDEN / path.name, **kept(whole))


def kept(whole) -> dict:
    """Return what is kept of one archive."""
    meta = json.loads(str(whole["meta"]))
    curves = [key for key in whole.files if key.startswith(("fine_", "f_"))]
    curves += [key for key in whole.files if key.endswith(("debyex_G", "debyex_F", "rss_G"))]
    axes = [key for key in whole.files if key.startswith("r_")]
    about = {
        "program": "diffpy.srreal",
        "versions": meta["versions"],
        "Uiso": meta["Uiso"],
        "sets": meta["parameter_sets"],
        "used": {key: {part: used[part] for part in USED if part in used} for key, used in meta["used"].items()},
        "max": {key: float(np.abs(whole[key]).max()) for key in curves},
    }
    result = {key: whole[key] for key in ("positions", "numbers", "U_G")}
    result |= {key: thinned(whole[key]) for key in curves + axes}
    return result | {"meta": json.dumps(about)}


def thinned(curve):
    """Return about POINTS values, evenly spread, the first left out."""
    stride = max(1, curve.size // POINTS)
    return curve[stride // 2 + 1 :: stride]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
