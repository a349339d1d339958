"""How many files a second small angles are fitted: a sphere with a distribution, and all bodies and distributions.

    python experiments/benchmark_saxs_fits.py            # 3 minutes on 2 CPU cores
    python experiments/benchmark_saxs_fits.py --quick    # under 50 s

Spheres of 25 to 60 Å with Gaussian sizes, 200 points of Q, all of one grid of Q ("series") or each of its own, fitted
warm in the batches that the command has. "fits": from the measured arrays to values and errors; "results": to whole
`Result`s with intervals, distribution and curves. Expected: 200 files a second and more for the sphere, 5 for all.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rows
import small_angle

from jaxstruc.inference import outcomes, pattern
from jaxstruc.options.small_angle import BODIES, DISTRIBUTIONS, SaxsOptions, SizeOptions
from jaxstruc.solver import small_angles
from jaxstruc.solver.small_angles import Plan

RESULTS = Path(__file__).parent / "results"
PARTS = {
    "sphere, gaussian": (("sphere",), ("gaussian",), 128),
    "sphere, all distributions": (("sphere",), DISTRIBUTIONS, 64),
    "all bodies, gaussian": (BODIES, ("gaussian",), 32),
    "all bodies, all distributions": (BODIES, DISTRIBUTIONS, 16),
}
"""Bodies, distributions and files."""
REPEATS = 3


def files(count: int, *, series: bool) -> list:
    """Return measured curves."""
    found = []
    for seed in range(count):
        random = np.random.default_rng([17, seed])
        q = np.linspace(0.01, 0.5 if series else random.uniform(0.3, 0.5), 200)
        curve = small_angle.spheres(q, [(random.uniform(25, 60), random.uniform(0.05, 0.2), 1.0)])
        found.append(small_angle.counted(f"file {seed}", q, curve, random, counts=1e5))
    return found


def measure(part: str, *, series: bool, quick: bool) -> dict:
    """Return the row of a part."""
    bodies, distributions, count = PARTS[part]
    count = min(count, 16) if quick else count
    plan = Plan(options=SaxsOptions(fit=SizeOptions(body=bodies, distribution=distributions)))
    every = [small_angles.prepared(one, plan) for one in files(count, series=series)]

    def fits() -> None:
        outcomes.fit_all([pattern.pattern(one, plan.fit) for one in every], bodies, distributions)

    def results() -> None:
        list(small_angles.answers(every, plan))

    found = {"part": part, "series": series, "files": count}
    for name, work in (("fits", fits), ("results", results)):
        seconds = []
        for _ in range(1 + (1 if quick else REPEATS)):
            begun = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begun)
        found |= {f"{name}_a_second": count / float(np.median(seconds[1:])), f"{name}_first": seconds[0]}
    return found | rows.environment() | {"commit": rows.commit()}


def main(words: Sequence[str] | None = None) -> list[dict]:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few files of spheres; writes nothing by itself")
    parser.add_argument("--out", type=Path, help="[results/benchmark_saxs_fits.jsonl; quick: nowhere]")
    asked = parser.parse_args(words)
    parts = list(PARTS)[:1] if asked.quick else list(PARTS)
    found = []
    for part in parts:
        for series in (True,) if asked.quick else (True, False):
            found.append(measure(part, series=series, quick=asked.quick))
            rows.show(found[-1])
    if out := asked.out or (None if asked.quick else RESULTS / "benchmark_saxs_fits.jsonl"):
        rows.write_lines(found, out)
    return found


if __name__ == "__main__":
    main()
