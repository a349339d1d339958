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
N_POINTS = 50
USED_SETTINGS = ("qstep", "nq", "extendedrmin", "extendedrmax")


def main(folder: Path) -> None:
    """Write one small archive a structure."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as archive:
            np.savez_compressed(GOLDEN / path.name, **thinned_archive(archive))


def thinned_archive(archive) -> dict:
    """Return what is kept of one archive."""
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
    """Return about POINTS values, evenly spread, the first left out."""
    stride = max(1, curve.size // N_POINTS)
    return curve[stride // 2 + 1 :: stride]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
