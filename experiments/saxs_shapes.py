"""Claim: small-angle curves distinguish bodies if q_max R_eq is large enough, and the probabilities are calibrated.

    python experiments/saxs_shapes.py            # 12 minutes on 2 CPU cores
    python experiments/saxs_shapes.py --quick    # under 50 s

A "body" is a particle shape such as a sphere or a cube, and R_eq is the radius of the sphere of equal volume. Each body
has Gaussian sizes about R_eq = 40 Å with a width of 0.05 or 0.12. It is measured at 100 points of Q, evenly spaced in
the logarithm from q R_eq = 0.3 to q_max R_eq = 3 to 24, with 1e4 or 1e6 counts in the first point. All bodies are
fitted with all distributions except the free one. The expected results are:

- The body is "not determined" if q_max R_eq is small.
- A wrong body is given in less than 5 % of the cases in which a sphere fits within the noise.
- The right body is first in at least 95 % of the cases in which the chi-squared of the best wrong body is 20 above that
  of the right one.

The figure shows the probability of the right body.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import json_rows
import matplotlib.figure
import numpy as np
import simulated_saxs

import jaxstruc
from jaxstruc import files
from jaxstruc.options.small_angle import BODIES

RESULTS = Path(__file__).parent / "results"
MEAN_RADIUS = 40.0
Q_RADIUS_LIMITS, WIDTHS, COUNTS = (3.0, 6.0, 12.0, 24.0), (0.05, 0.12), (1e4, 1e6)
DISTRIBUTIONS = ("none", "gaussian", "lognormal", "schulz", "uniform", "two")
N_DRAWS = 2
SPHERE_CHI2_LIMIT, CLEAR_CHI2_LIMIT = 9.0, 20.0
"""Excess in chi-squared below which a sphere fits within the noise, and excess of a clearly wrong body."""


def list_cases(draws: Sequence[int], bodies: Sequence[str], q_radius_limits: Sequence[float]) -> list[dict]:
    """Return all cases that are simulated."""
    return [
        {"truth": body, "reach": q_radius, "width": width, "counts": counts, "draw": draw}
        for draw in draws
        for body in bodies
        for q_radius in q_radius_limits
        for width in WIDTHS
        for counts in COUNTS
    ]


def simulate_data(case: dict):
    """Return the simulated measurement of a case."""
    seed_parts = [
        BODIES.index(case["truth"]),
        int(case["reach"]),
        int(1000 * case["width"]),
        int(np.log10(case["counts"])),
    ]
    rng = np.random.default_rng([13, case["draw"], *seed_parts])
    mean = MEAN_RADIUS * rng.uniform(0.97, 1.03)
    q = np.geomspace(0.3, case["reach"], 100) / MEAN_RADIUS
    curve = simulated_saxs.body_intensity(case["truth"], q, mean, case["width"])
    return simulated_saxs.simulate_measurement("-".join(map(str, case.values())), q, curve, rng, counts=case["counts"])


def result_row(case: dict, result) -> dict:
    """Return the row of a case: the body found, its probability, and the excess in chi-squared of other bodies."""
    lowest_chi2: dict[str, float] = {}
    for fit in result.candidates:
        chi2 = fit.rw**2  # This chi-squared is relative to the weighted squares of the data.
        lowest_chi2[fit.type] = min(lowest_chi2.get(fit.type, np.inf), chi2)
    squares = float(np.sum((result.intensity / result.sigma) ** 2))
    right_chi2 = lowest_chi2[case["truth"]] * squares
    wrong_chi2 = min(value for name, value in lowest_chi2.items() if name != case["truth"]) * squares
    return case | {
        "told": result.body, "first": result.best.type, "p_truth": result.types[case["truth"]],
        "p_first": next(iter(result.types.values())),
        "sphere_above": (lowest_chi2["sphere"] - min(lowest_chi2.values())) * squares,
        "wrong_above": wrong_chi2 - right_chi2, "chi2": result.best.notes["chi2"], "status": result.status,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Simulate and fit all cases, print a summary, and write rows and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use few cases, and write nothing without --out")
    parser.add_argument("--draws", type=int, help=f"number of draws of each case [{N_DRAWS}]")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first draw [0]; larger numbers are for tuning"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="file of the rows [results/saxs_shapes.jsonl; with --quick none]; a .png is written next to it",
    )
    options = parser.parse_args(arguments)
    draws = range(options.first, options.first + (options.draws or (1 if options.quick else N_DRAWS)))
    cases = list_cases(
        draws, BODIES[:2] if options.quick else BODIES, Q_RADIUS_LIMITS[1:3] if options.quick else Q_RADIUS_LIMITS
    )
    results = jaxstruc.saxs([simulate_data(case) for case in cases], distribution=DISTRIBUTIONS)
    result_rows = [result_row(case, result) for case, result in zip(cases, results, strict=True)]
    result_rows = [case | json_rows.provenance() for case in result_rows]
    print(summary_text(result_rows))
    if out := options.out or (None if options.quick else RESULTS / "saxs_shapes.jsonl"):
        json_rows.write_lines(result_rows, out)
        with files.atomic_replacement(out.with_suffix(".png")) as temporary_path:
            plot_probability(result_rows).savefig(temporary_path, format="png", dpi=150)
    return result_rows


def summary_text(result_rows: list[dict]) -> str:
    """Return one line each for wrong bodies, identified bodies and the calibration."""
    sphere_rows = [row for row in result_rows if row["sphere_above"] < SPHERE_CHI2_LIMIT]
    false_rows = [row for row in sphere_rows if row["told"] not in (row["truth"], "not determined")]
    clear_rows = [row for row in result_rows if row["wrong_above"] > CLEAR_CHI2_LIMIT]
    right_first_rows = [row for row in clear_rows if row["first"] == row["truth"]]
    determined_rows = [row for row in result_rows if row["told"] != "not determined"]
    correct_rows = [row for row in determined_rows if row["told"] == row["truth"]]
    false_share = len(false_rows) / max(len(sphere_rows), 1)
    right_first_share = len(right_first_rows) / max(len(clear_rows), 1)
    correct_share = len(correct_rows) / max(len(determined_rows), 1)
    lines = [
        f"sphere within the noise: {len(sphere_rows)} cases, a wrong body in {false_share:.1%}",
        f"clear: {len(clear_rows)} cases, the right body first in {right_first_share:.1%}",
        f"determined: {len(determined_rows)} of {len(result_rows)}, right in {correct_share:.1%}",
    ]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        bin_rows = [row for row in result_rows if low <= row["p_first"] < high]
        if bin_rows:
            right_share = np.mean([row["first"] == row["truth"] for row in bin_rows])
            lines.append(f"p_body {low} to {min(high, 1.0)}: {len(bin_rows)} cases, right in {right_share:.0%}")
    return "\n".join(lines)


def plot_probability(result_rows: list[dict]) -> matplotlib.figure.Figure:
    """Return a picture of the probability of the right body against q_max R_eq, for each body, width and noise."""
    result = matplotlib.figure.Figure(figsize=(11, 7), layout="constrained")
    axes = result.subplots(len(WIDTHS), len(COUNTS), sharex=True, sharey=True)
    q_radius_limits = sorted({row["reach"] for row in result_rows})
    bodies = [body for body in BODIES if any(row["truth"] == body for row in result_rows)]
    image = None
    for axes_row, width in zip(axes, WIDTHS, strict=True):
        for panel, counts in zip(axes_row, COUNTS, strict=True):
            mean = np.full((len(bodies), len(q_radius_limits)), np.nan)
            for body_index, body in enumerate(bodies):
                for q_radius_index, q_radius in enumerate(q_radius_limits):
                    conditions = {"truth": body, "reach": q_radius, "width": width, "counts": counts}
                    probabilities = [row["p_truth"] for row in result_rows if conditions.items() <= row.items()]
                    mean[body_index, q_radius_index] = np.mean(probabilities) if probabilities else np.nan
            image = panel.imshow(mean, vmin=0, vmax=1, aspect="auto", cmap="viridis")
            panel.set_xticks(range(len(q_radius_limits)), [f"{q_radius:g}" for q_radius in q_radius_limits])
            panel.set_yticks(range(len(bodies)), bodies, fontsize=8)
            panel.set_title(f"width {width:g}, {counts:.0e} counts", fontsize=10)
    for panel in axes[-1]:
        panel.set_xlabel("$q_{max} R_{eq}$")
    result.colorbar(image, ax=axes, label="probability of the right body")
    return result


if __name__ == "__main__":
    main()
