"""Claim: bodies with two lengths are fitted with honest intervals, and bodies with one length are not taken for them.

    python experiments/saxs_two_lengths.py            # half an hour on 2 CPU cores
    python experiments/saxs_two_lengths.py --quick    # under 50 s

The bodies with two lengths are the spheroid, the cylinder and the core-shell sphere. Hard spheres that interact are
fitted in the same way, with their volume fraction. Each sample has Gaussian sizes about 40 Å, 120 points of Q from
0.008 to 0.3 1/Å, and 1e4 to 1e6 counts in the first point. Aspect ratios are 0.2 to 5, shells are 2 to 16 Å thick and
have -0.5 to 3 times the contrast of the core, and volume fractions are 0.02 to 0.4. The right body is fitted with all
distributions of one population. The 90 % intervals of radius, width and shape parameter are expected to contain the
true values in 85 to 95 % of cases.

Bodies with one length are then compared with spheroids, cylinders and hard spheres, and so are these bodies themselves.
A wrong body is expected in less than 5 % of the cases.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import json_rows
import numpy as np
import simulated_saxs

import jaxstruc
from jaxstruc.options.small_angle import BODIES, SHAPED_BODIES, SaxsOptions, SizeOptions
from jaxstruc.small_angle.shape_parameters import SHAPE_PARAMETERS

RESULTS = Path(__file__).parent / "results"
MEAN_RADIUS = 40.0
WIDTHS, LOG_COUNTS = (0.04, 0.2), (4.0, 6.0)
SHAPE_RANGES = {
    "core-shell": (2.0, 16.0),
    "spheroid": (0.2, 5.0),
    "cylinder": (0.2, 5.0),
    "hard-sphere": (0.02, 0.4),
}
"""Range of the shape parameter of each body. Aspect ratios are uniform in the logarithm."""
CONTRAST_RATIOS = -0.5, 0.5, 2.0, 3.0
"""Contrasts of the shell divided by that of the core."""
DISTRIBUTIONS = ("none", "gaussian", "lognormal", "schulz", "uniform")
COMPARED_BODIES = (*BODIES, "spheroid", "cylinder", "hard-sphere")
N_SETS, N_COMPARED_SETS = 85, 8
"""Number of samples of each body, and number of samples of each body that is compared with all others."""


def simulate_case(body: str, number: int, *, seed: int) -> tuple[dict, jaxstruc.Measurement]:
    """Return the truth of a sample and its simulated measurement."""
    rng = np.random.default_rng([seed, COMPARED_BODIES.index(body) if body in COMPARED_BODIES else 99, number])
    q = np.linspace(0.008, 0.3, 120)
    mean, width = MEAN_RADIUS * rng.uniform(0.8, 1.25), rng.uniform(*WIDTHS)
    counts, ratio = 10 ** rng.uniform(*LOG_COUNTS), float(rng.choice(CONTRAST_RATIOS))
    truth = {"truth": body, "number": number, "radius": mean, "pd": width, "counts": counts}
    if body in SHAPE_RANGES:
        low, high = SHAPE_RANGES[body]
        shape = np.exp(rng.uniform(np.log(low), np.log(high))) if low == 1 / high else rng.uniform(low, high)
        truth |= {"shape": float(shape), "ratio": ratio if body == "core-shell" else 1.0}
        curve = simulated_saxs.shaped_intensity(body, q, mean, width, truth["shape"], truth["ratio"])
    else:
        curve = simulated_saxs.body_intensity(body, q, mean, width)
    return truth, simulated_saxs.simulate_measurement(f"{body}-{number}", q, curve, rng, counts=counts)


def fit_rows(cases: Sequence[tuple[dict, jaxstruc.Measurement]], bodies: Sequence[str]) -> list[dict]:
    """Return a row for each case. Cases of core-shell spheres with one contrast are fitted together."""
    rows = []
    for ratio in dict.fromkeys(truth.get("ratio", 1.0) for truth, _ in cases):
        selected = [case for case in cases if case[0].get("ratio", 1.0) == ratio]
        options = SizeOptions(body=tuple(bodies), distribution=DISTRIBUTIONS)
        if "core-shell" in bodies:
            options = SizeOptions(body=tuple(bodies), distribution=DISTRIBUTIONS, sld=1.0, shell_sld=ratio)
        results = jaxstruc.saxs([measurement for _, measurement in selected], options=SaxsOptions(fit=options))
        rows += [result_row(truth, result) for (truth, _), result in zip(selected, results, strict=True)]
    return rows


def result_row(truth: dict, result) -> dict:
    """Return the row of a sample: the body, and for each parameter the value and whether the interval contains it."""
    row = truth | {"body": result.body, "first": result.best.type, "p_first": next(iter(result.types.values()))}
    row |= {"p_truth": result.types.get(truth["truth"], 0.0)}
    shape_name = SHAPE_PARAMETERS[result.best.type].name if result.best.type in SHAPE_PARAMETERS else ""
    for name, column in (("radius", "radius"), ("pd", "pd"), ("shape", shape_name)):
        if name in truth and column in result.intervals:
            interval = result.intervals[column]
            row |= {f"{name}_fit": interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            row |= {f"{name}_held": bool(interval.low <= truth[name] <= interval.high)}
    return row | {"chi2": result.best.notes["chi2"], "status": result.status, "seconds": result.facts["seconds"]}


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Simulate and fit all cases, print a summary, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use few cases, and write nothing without --out")
    parser.add_argument("--sets", type=int, help=f"number of samples of each body [{N_SETS}]")
    parser.add_argument("--compared", type=int, help=f"number of samples of each compared body [{N_COMPARED_SETS}]")
    parser.add_argument("--first", type=int, default=0, help="number of the first sample of each body [0]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples [0]; other seeds are for tuning")
    parser.add_argument("--out", type=Path, help="file of the rows [results/saxs_two_lengths.jsonl; with --quick none]")
    options = parser.parse_args(arguments)
    n_sets = (2 if options.quick else N_SETS) if options.sets is None else options.sets
    n_compared = (0 if options.quick else N_COMPARED_SETS) if options.compared is None else options.compared
    rows = []
    for body in SHAPED_BODIES:
        numbers = range(options.first, options.first + n_sets)
        cases = [simulate_case(body, number, seed=options.seed) for number in numbers]
        rows += [row | {"model": "right body"} for row in fit_rows(cases, [body])]
    numbers = range(options.first, options.first + n_compared)
    cases = [simulate_case(body, number, seed=options.seed + 1) for body in COMPARED_BODIES for number in numbers]
    rows += [row | {"model": "all bodies"} for row in fit_rows(cases, COMPARED_BODIES)]
    rows = [row | json_rows.provenance() for row in rows]
    print(summary_text(rows))
    if out := options.out or (None if options.quick else RESULTS / "saxs_two_lengths.jsonl"):
        json_rows.write_lines(rows, out)
    return rows


def summary_text(rows: list[dict]) -> str:
    """Return one line with the coverage of each body, and one with the bodies that are named."""
    lines = []
    right_rows = [row for row in rows if row["model"] == "right body"]
    for body in (*dict.fromkeys(row["truth"] for row in right_rows), "all") if right_rows else ():
        body_rows = [row for row in right_rows if body in (row["truth"], "all")]
        values = [row[f"{name}_held"] for row in body_rows for name in ("radius", "pd", "shape")]
        texts = [
            f"{name} {np.mean([row[f'{name}_held'] for row in body_rows]):.1%}" for name in ("radius", "pd", "shape")
        ]
        lines.append(f"{body}: 90 % intervals hold {np.mean(values):.1%} of {len(values)}; {', '.join(texts)}")
    compared_rows = [row for row in rows if row["model"] == "all bodies"]
    for label, bodies in (("one length", BODIES), ("two lengths", SHAPED_BODIES)):
        body_rows = [row for row in compared_rows if row["truth"] in bodies]
        if body_rows:
            wrong = np.mean([row["body"] not in (row["truth"], "not determined") for row in body_rows])
            right = np.mean([row["body"] == row["truth"] for row in body_rows])
            shaped = np.mean([row["body"] in SHAPED_BODIES for row in body_rows])
            lines.append(
                f"{label}: {len(body_rows)} samples, right body {right:.1%}, wrong body {wrong:.1%}, two lengths "
                f"claimed {shaped:.1%}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
