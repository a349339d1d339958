"""Number of small-angle files fitted per second: a sphere with one distribution, and all bodies and distributions.

    python experiments/benchmark_saxs_fits.py            # 3 minutes on 2 CPU cores
    python experiments/benchmark_saxs_fits.py --quick    # under 50 s

A "body" is a particle shape such as a sphere or a cube. The files are simulated for spheres of 25 to 60 Å with Gaussian
sizes and 200 points of Q. They share one grid of Q ("series"), or each has its own grid. Times contain no compilation,
and batches are those of the command. "fits" is the time from the measured arrays to values and errors. "results" also
contains intervals, distributions and curves, as in a `Result`. At least 200 files per second are expected for the
sphere, and 5 for all bodies and distributions.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import json_rows
import numpy as np
import simulated_saxs
import timing

from jaxstruc.options.small_angle import BODIES, DISTRIBUTIONS, SaxsOptions, SizeOptions
from jaxstruc.small_angle import data, fit, solve
from jaxstruc.small_angle.solve import SaxsPlan

RESULTS = Path(__file__).parent / "results"
PARTS = {
    "sphere, gaussian": (("sphere",), ("gaussian",), 128),
    "sphere, all distributions": (("sphere",), DISTRIBUTIONS, 64),
    "all bodies, gaussian": (BODIES, ("gaussian",), 32),
    "all bodies, all distributions": (BODIES, DISTRIBUTIONS, 16),
}
"""Bodies, distributions and number of files of each part."""
N_REPEATS = 3


def simulate_files(count: int, *, series: bool) -> list:
    """Return simulated measurements of spheres. The files of a series share one grid of Q."""
    measurements = []
    for seed in range(count):
        rng = np.random.default_rng([17, seed])
        q = np.linspace(0.01, 0.5 if series else rng.uniform(0.3, 0.5), 200)
        curve = simulated_saxs.sphere_intensity(q, [(rng.uniform(25, 60), rng.uniform(0.05, 0.2), 1.0)])
        measurements.append(simulated_saxs.simulate_measurement(f"file {seed}", q, curve, rng, counts=1e5))
    return measurements


def measure(part: str, *, series: bool, quick: bool) -> dict:
    """Return the row of a part: files per second for fits and for whole results."""
    bodies, distributions, count = PARTS[part]
    count = min(count, 16) if quick else count
    plan = SaxsPlan(options=SaxsOptions(fit=SizeOptions(body=bodies, distribution=distributions)))
    measurements = [
        solve.prepare_saxs_measurement(measurement, plan) for measurement in simulate_files(count, series=series)
    ]

    def fit_files() -> None:
        fit.fit_all(
            [data.prepare_saxs_data(measurement, plan.fit) for measurement in measurements], bodies, distributions
        )

    def solve_files() -> None:
        list(solve.solve_saxs_measurements(measurements, plan))

    row = {"part": part, "series": series, "files": count}
    for name, function in (("fits", fit_files), ("results", solve_files)):
        _, first_seconds, median_seconds = timing.time_calls(function, n_repeats=1 if quick else N_REPEATS)
        row |= {f"{name}_a_second": count / median_seconds, f"{name}_first": first_seconds}
    return row | json_rows.provenance()


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Measure all parts, print the rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="use few files of spheres, and write nothing without --out"
    )
    parser.add_argument(
        "--out", type=Path, help="file of the rows [results/benchmark_saxs_fits.jsonl; with --quick none]"
    )
    options = parser.parse_args(arguments)
    parts = list(PARTS)[:1] if options.quick else list(PARTS)
    result_rows = []
    for part in parts:
        for series in (True,) if options.quick else (True, False):
            result_rows.append(measure(part, series=series, quick=options.quick))
            json_rows.print_row(result_rows[-1])
    if out := options.out or (None if options.quick else RESULTS / "benchmark_saxs_fits.jsonl"):
        json_rows.write_lines(result_rows, out)
    return result_rows


if __name__ == "__main__":
    main()
