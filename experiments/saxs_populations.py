"""Claim: one to four populations are counted right, and no wrong body is named, for radii over a factor of 100.

    python experiments/saxs_populations.py            # 3 minutes on 2 CPU cores; it resumes
    python experiments/saxs_populations.py --quick    # under 50 s

A "body" is a particle shape such as a sphere or a cube. 200 samples have one to four populations with mean radii from
12 to 1200 Å. The means differ by a factor of at least 2. All populations of a sample have the same body (a sphere in
half of the samples) and the same kind of distribution: Gaussian, lognormal or Schulz with widths of 0.04 to 0.15, or
the distribution of I. M. Lifshitz, V. V. Slyozov, J. Phys. Chem. Solids 19, 35 (1961), doi
10.1016/0022-3697(61)90054-3, and C. Wagner, Z. Elektrochem. 65, 581 (1961) (LSW). Each population contributes at least
10 % of the intensity at some Q. Curves have 250 points of Q from 0.002 to 0.3 1/Å, evenly spaced in the logarithm, with
noise of 0.5 to 2 % and a background of half of the smallest intensity. All bodies and distributions are fitted. The
expected results are the right number of populations in at least 90 % of samples, and the right body or "not determined"
in at least 95 %.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import json_rows
import numpy as np
import simulated_saxs

import jaxstruc
from jaxstruc.options.small_angle import BODIES

RESULTS = Path(__file__).parent / "results"
N_SAMPLES = 200
SAMPLES_PER_CALL = 4
"""Number of samples that are fitted before their rows are written."""
RADIUS_RANGE, MIN_RATIO = (12.0, 1200.0), 2.0
"""Range of the mean radii in Å, and smallest ratio of two means."""
MIN_VISIBLE_SHARE = 0.1
"""Smallest share of each population in the intensity, at the Q where this share is largest."""
DISTRIBUTIONS = ("gaussian", "lognormal", "schulz", "lsw")


def simulate_sample(seed: int) -> tuple[dict, object]:
    """Return the true values of a sample and its simulated measurement."""
    rng = np.random.default_rng([19, seed])
    n_populations = 1 + seed % 4
    body = "sphere" if rng.uniform() < 0.5 else str(rng.choice(BODIES[1:]))
    distribution = str(rng.choice(DISTRIBUTIONS))
    log_range = np.log(RADIUS_RANGE)
    while True:
        means = np.exp(np.sort(rng.uniform(*log_range, n_populations)))
        if np.all(means[1:] > MIN_RATIO * means[:-1]):
            break
    widths = rng.uniform(0.04, 0.15, n_populations)
    q = np.geomspace(0.002, 0.3, 250)
    unit_curves = [
        simulated_saxs.sizes_intensity(body, q, *simulated_saxs.number_distribution(distribution, mean, width))
        for mean, width in zip(means, widths, strict=True)
    ]
    while True:
        volume_shares = rng.dirichlet(np.ones(n_populations))
        contributions = np.array([share * curve for share, curve in zip(volume_shares, unit_curves, strict=True)])
        if np.all((contributions / contributions.sum(axis=0)).max(axis=1) > MIN_VISIBLE_SHARE):
            break
    curve = contributions.sum(axis=0)
    relative_noise = float(np.exp(rng.uniform(np.log(0.005), np.log(0.02))))
    expected = curve + 0.5 * curve.min()
    measurement = simulated_saxs.measurement_with_noise(
        f"populations {seed}", q, expected, relative_noise * expected, rng
    )
    truth = {
        "seed": seed, "populations": n_populations, "truth": body, "sizes": distribution, "means": means.tolist(),
        "widths": widths.tolist(), "shares": volume_shares.tolist(), "noise": relative_noise,
    }  # fmt: skip
    return truth, measurement


def result_row(result, truth: dict) -> dict:
    """Return the row of a sample: number of populations, body and volume-weighted size of the answer."""
    mean_diameter = result.intervals["mean_diameter"]
    return truth | {
        "counted": result.facts["n_populations"], "body": result.body, "first": result.best.type,
        "p_first": next(iter(result.types.values())), "distribution": result.best.family,
        "chi2": result.best.notes["chi2"], "status": result.status, "seconds": result.facts["seconds"],
        "mean_diameter": [mean_diameter.value, mean_diameter.low, mean_diameter.high],
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Simulate and fit the samples, append the rows to the file, and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use few samples, and write nothing without --out")
    parser.add_argument("--samples", type=int, help=f"number of samples [{N_SAMPLES}]")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first sample [0]; samples above 999 are for tuning"
    )
    parser.add_argument("--out", type=Path, help="file of the rows [results/saxs_populations.jsonl; with --quick none]")
    options = parser.parse_args(arguments)
    out = options.out or (None if options.quick else RESULTS / "saxs_populations.jsonl")
    seeds = range(options.first, options.first + (options.samples or (4 if options.quick else N_SAMPLES)))
    rows = [row for row in json_rows.read_lines(out) if row["seed"] in seeds]
    missing_seeds = [seed for seed in seeds if seed not in {row["seed"] for row in rows}]
    for start in range(0, len(missing_seeds), SAMPLES_PER_CALL):
        cases = [simulate_sample(seed) for seed in missing_seeds[start : start + SAMPLES_PER_CALL]]
        results = jaxstruc.saxs([measurement for _, measurement in cases])
        for result, (truth, _) in zip(results, cases, strict=True):
            rows.append(result_row(result, truth) | json_rows.provenance())
            json_rows.append_line(rows[-1], out)
    print(summary_text(rows))
    return rows


def summary_text(rows: list[dict]) -> str:
    """Return one line for each number of populations, and one for all."""
    lines = []
    for name, group in [
        *((str(count), [row for row in rows if row["populations"] == count]) for count in range(1, 5)),
        ("all", rows),
    ]:
        if group:
            n_counted = sum(row["counted"] == row["populations"] for row in group)
            n_right = sum(row["body"] == row["truth"] for row in group)
            n_open = sum(row["body"] == "not determined" for row in group)
            lines.append(
                f"{name} populations: {len(group)} samples, counted right {n_counted / len(group):.1%}; body right "
                f"{n_right / len(group):.1%}, not determined {n_open / len(group):.1%}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
