"""Write the part of the reference curves that the tests need into `tests/golden`.

    python tools/make_golden.py FOLDER

FOLDER holds curves computed with diffpy.srreal 1.4.0 and libdiffpy 1.4.0.post0, in one NumPy archive for each
structure. For each curve, this script writes about fifty evenly spaced points, the largest absolute value, and the
settings that the tests use.
"""

import json
import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
N_POINTS = 50
USED_SETTINGS = ("qstep", "nq", "extendedrmin", "extendedrmax")


def main(folder: Path) -> None:
    """Write a small archive for each structure in a folder."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as archive:
            np.savez_compressed(GOLDEN / path.name, **thinned_archive(archive))


def thinned_archive(archive) -> dict:
    """Return the arrays that are written for one archive of curves."""
    meta = json.loads(str(archive["meta"]))
    curve_names = [key for key in archive.files if key.startswith(("fine_", "f_"))]
    curve_names += [key for key in archive.files if key.endswith(("debyex_G", "debyex_F", "rss_G"))]
    axes = [key for key in archive.files if key.startswith("r_")]
    metadata = {
        "program": "diffpy.srreal",
        "versions": meta["versions"],
        "Uiso": meta["Uiso"],
        "sets": meta["parameter_sets"],
        "used": {
            key: {setting: settings[setting] for setting in USED_SETTINGS if setting in settings}
            for key, settings in meta["used"].items()
        },
        "max": {key: float(np.abs(archive[key]).max()) for key in curve_names},
    }
    result = {key: archive[key] for key in ("positions", "numbers", "U_G")}
    result |= {key: thin_curve(archive[key]) for key in curve_names + axes}
    return result | {"meta": json.dumps(metadata)}


def thin_curve(curve):
    """Return about `N_POINTS` evenly spaced values of a curve, without its first value."""
    stride = max(1, curve.size // N_POINTS)
    return curve[stride // 2 + 1 :: stride]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
