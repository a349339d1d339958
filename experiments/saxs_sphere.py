"""Claim: fits to gold spheres of R = 34.907 Å with a Gaussian width of 0.062 are unbiased, and intervals hold.

    python experiments/saxs_sphere.py            # 2 minutes on 2 CPU cores
    python experiments/saxs_sphere.py --quick    # under 50 s

The slides of a course on small- and wide-angle scattering (SWAXS) fit such a sample with 34.907 ± 0.071 Å and
0.062 ± 0.004. Here 1000 data sets of this sample are simulated, with 200 points of Q from 0.01 to 0.5 1/Å and the
counts that lead to these errors. They are fitted with the right model, and the first 40 of them with all bodies and
distributions. The bias is expected to be within the error of the mean. The 90 % intervals are expected to contain the
true values in 87 to 93 % of cases.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import json_rows
import numpy as np
import simulated_saxs

import jaxstruc

RESULTS = Path(__file__).parent / "results"
MEAN_RADIUS, RADIUS_WIDTH = 34.907, 0.062
COUNTS = 9000.0
N_SETS, N_OPEN_SETS = 1000, 40
"""Number of data sets, and number of data sets to which all bodies and distributions are fitted."""


def simulate_data(seed: int):
    """Return the simulated measurement of a seed."""
    q = np.linspace(0.01, 0.5, 200)
    curve = simulated_saxs.sphere_intensity(q, [(MEAN_RADIUS, RADIUS_WIDTH, 1.0)])
    return simulated_saxs.simulate_measurement(
        f"sphere {seed}", q, curve, np.random.default_rng([7, seed]), counts=COUNTS
    )


def result_row(result, model: str, seed: int) -> dict:
    """Return the row of a fit: values, errors, and whether the intervals contain the true values."""
    best = result.best
    columns = {"model": model, "seed": seed, "body": result.body, "p_body": next(iter(result.types.values()))}
    for name, truth in (("radius", MEAN_RADIUS), ("pd", RADIUS_WIDTH)):
        interval = result.intervals[name]
        columns |= {
            name: interval.value,
            f"{name}_error": best.values[name].error,
            f"{name}_held": interval.low <= truth <= interval.high,
        }
    return columns | {"chi2": best.notes["chi2"], "distribution": best.family, "status": result.status}


def main(arguments: Sequence[str] | None = None, *, n_open_sets: int = N_OPEN_SETS) -> list[dict]:
    """Simulate and fit the data sets, print a summary, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use few data sets, and write nothing without --out")
    parser.add_argument("--sets", type=int, help=f"number of data sets [{N_SETS}]")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first data set [0]; other numbers are for tuning"
    )
    parser.add_argument("--out", type=Path, help="file of the rows [results/saxs_sphere.jsonl; with --quick none]")
    options = parser.parse_args(arguments)
    n_sets = options.sets or (16 if options.quick else N_SETS)
    measurements = [simulate_data(seed) for seed in range(options.first, options.first + n_sets)]
    matched_results = jaxstruc.saxs(measurements, element="Au", body=["sphere"], distribution=["gaussian"])
    open_measurements = measurements[: 0 if options.quick else n_open_sets]
    open_results = jaxstruc.saxs(open_measurements, element="Au") if open_measurements else []
    result_rows = [result_row(entry, "matched", seed) for seed, entry in enumerate(matched_results, options.first)]
    result_rows += [result_row(entry, "all", seed) for seed, entry in enumerate(open_results, options.first)]
    result_rows = [entry | json_rows.provenance() for entry in result_rows]
    print(summary_text(result_rows))
    if out := options.out or (None if options.quick else RESULTS / "saxs_sphere.jsonl"):
        json_rows.write_lines(result_rows, out)
    return result_rows


def summary_text(result_rows: list[dict]) -> str:
    """Return one line with bias, spread, errors and coverage for each model."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in result_rows):
        model_rows = [row for row in result_rows if row["model"] == model]
        texts = [f"{model}: {len(model_rows)} sets"]
        for name, truth in (("radius", MEAN_RADIUS), ("pd", RADIUS_WIDTH)):
            values = np.array([row[name] for row in model_rows])
            errors = np.array([row[f"{name}_error"] or np.nan for row in model_rows])
            coverage = np.mean([row[f"{name}_held"] for row in model_rows])
            texts.append(
                f"{name} {values.mean():.4f} ({values.mean() - truth:+.4f}), spread {values.std(ddof=1):.4f}, "
                f"error {np.nanmean(errors):.4f}, 90 % holds {coverage:.1%}"
            )
        texts.append(f"sphere told in {np.mean([row['body'] == 'sphere' for row in model_rows]):.0%}")
        lines.append("; ".join(texts))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
