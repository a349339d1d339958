"""The slides' gold spheres, R = 34.907 Å with a Gaussian width of 0.062: bias and coverage of what fits say.

    python experiments/saxs_sphere.py            # 2 minutes on 2 CPU cores
    python experiments/saxs_sphere.py --quick    # under 50 s

The slides' fit says 34.907 ± 0.071 Å and 0.062 ± 0.004. Here 1000 data sets of it are counted (200 points of Q,
0.01 to 0.5 1/Å, as many counts as give their errors) and fitted by the matched model, and the first 40 of them by all
bodies and distributions. Expected: no bias beyond the error of the mean, and 90 % intervals that hold the truth in
87 to 93 % of cases.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rows
import small_angle

import jaxstruc

RESULTS = Path(__file__).parent / "results"
MEAN, WIDTH = 34.907, 0.062
COUNTS = 9000.0
SETS, OPEN = 1000, 40
"""Data sets, and those that all bodies and distributions are fitted to too."""


def data(seed: int):
    """Return a data set."""
    q = np.linspace(0.01, 0.5, 200)
    curve = small_angle.spheres(q, [(MEAN, WIDTH, 1.0)])
    return small_angle.counted(f"sphere {seed}", q, curve, np.random.default_rng([7, seed]), counts=COUNTS)


def row(result, model: str, seed: int) -> dict:
    """Return what a fit says."""
    best = result.best
    found = {"model": model, "seed": seed, "body": result.body, "p_body": next(iter(result.types.values()))}
    for name, truth in (("radius", MEAN), ("pd", WIDTH)):
        told = result.intervals[name]
        found |= {
            name: told.value,
            f"{name}_error": best.values[name].error,
            f"{name}_held": told.low <= truth <= told.high,
        }
    return found | {"chi2": best.notes["chi2"], "distribution": best.family, "status": result.status}


def main(words: Sequence[str] | None = None) -> list[dict]:
    """Simulate, fit, show and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few data sets; writes nothing by itself")
    parser.add_argument("--sets", type=int, help=f"[{SETS}]")
    parser.add_argument("--first", type=int, default=0, help="first data set [0]; others than 0 to tune on")
    parser.add_argument("--out", type=Path, help="[results/saxs_sphere.jsonl; quick: nowhere]")
    asked = parser.parse_args(words)
    sets = asked.sets or (16 if asked.quick else SETS)
    every = [data(seed) for seed in range(asked.first, asked.first + sets)]
    matched = jaxstruc.saxs(every, element="Au", body=["sphere"], distribution=["gaussian"])
    opened = jaxstruc.saxs(every[: 0 if asked.quick else OPEN], element="Au")
    found = [row(one, "matched", seed) for seed, one in enumerate(matched, asked.first)]
    found += [row(one, "all", seed) for seed, one in enumerate(opened, asked.first)]
    found = [one | rows.environment() | {"commit": rows.commit()} for one in found]
    print(summary(found))
    if out := asked.out or (None if asked.quick else RESULTS / "saxs_sphere.jsonl"):
        rows.write_lines(found, out)
    return found


def summary(found: list[dict]) -> str:
    """Return bias, spread, error bars and coverage of each model, a line each."""
    lines = []
    for model in dict.fromkeys(one["model"] for one in found):
        some = [one for one in found if one["model"] == model]
        words = [f"{model}: {len(some)} sets"]
        for name, truth in (("radius", MEAN), ("pd", WIDTH)):
            values = np.array([one[name] for one in some])
            errors = np.array([one[f"{name}_error"] or np.nan for one in some])
            held = np.mean([one[f"{name}_held"] for one in some])
            words.append(
                f"{name} {values.mean():.4f} ({values.mean() - truth:+.4f}), spread {values.std(ddof=1):.4f}, "
                f"error {np.nanmean(errors):.4f}, 90 % holds {held:.1%}"
            )
        words.append(f"sphere told in {np.mean([one['body'] == 'sphere' for one in some]):.0%}")
        lines.append("; ".join(words))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
