"""Which body small angles can tell from which, by q_max R_eq, noise and width; and whether p_body can be believed.

    python experiments/saxs_shapes.py            # 12 minutes on 2 CPU cores
    python experiments/saxs_shapes.py --quick    # under 50 s

Each body of the list with Gaussian sizes about R_eq = 40 Å, width 0.05 or 0.12, measured to q_max R_eq of 3 to 24
(100 points, even in the logarithm, from q R_eq = 0.3), with 1e4 or 1e6 counts in the first point, fitted by all bodies
with all distributions but the free one. Expected: "not determined" where q_max R_eq is small; where the fit of a sphere
is within the noise, a body told and wrong in under 5 %; where the best wrong body's chi-squared is 20 above the right
one's, the right one first in 95 % and more. The figure: how sure the right body is.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np
import rows
import small_angle

import jaxstruc
from jaxstruc import files
from jaxstruc.options.small_angle import BODIES

RESULTS = Path(__file__).parent / "results"
MEAN = 40.0
REACH, WIDTHS, COUNTS = (3.0, 6.0, 12.0, 24.0), (0.05, 0.12), (1e4, 1e6)
DISTRIBUTIONS = ("none", "gaussian", "lognormal", "schulz", "uniform", "two")
DRAWS = 2
WITHIN, CLEAR = 9.0, 20.0
"""Chi-squared of the best sphere above the least, within the noise; of the best wrong body above the right one."""


def cases(draws: Sequence[int], bodies: Sequence[str], reach: Sequence[float]) -> list[dict]:
    """Return what is to be simulated."""
    return [
        {"truth": body, "reach": far, "width": width, "counts": counts, "draw": draw}
        for draw in draws
        for body in bodies
        for far in reach
        for width in WIDTHS
        for counts in COUNTS
    ]


def data(one: dict):
    """Return the measured curve of a case."""
    places = [BODIES.index(one["truth"]), int(one["reach"]), int(1000 * one["width"]), int(np.log10(one["counts"]))]
    random = np.random.default_rng([13, one["draw"], *places])
    mean = MEAN * random.uniform(0.97, 1.03)
    q = np.geomspace(0.3, one["reach"], 100) / MEAN
    curve = small_angle.body(one["truth"], q, mean, one["width"])
    return small_angle.counted("-".join(map(str, one.values())), q, curve, random, counts=one["counts"])


def row(one: dict, result) -> dict:
    """Return what was told of a case."""
    least: dict[str, float] = {}
    for fit in result.candidates:
        chi2 = fit.rw**2  # in parts of the data's squares
        least[fit.type] = min(least.get(fit.type, np.inf), chi2)
    unit = float(np.sum((result.intensity / result.sigma) ** 2))
    right = least[one["truth"]] * unit
    wrong = min(value for name, value in least.items() if name != one["truth"]) * unit
    return one | {
        "told": result.body, "first": result.best.type, "p_truth": result.types[one["truth"]],
        "p_first": next(iter(result.types.values())),
        "sphere_above": (least["sphere"] - min(least.values())) * unit,
        "wrong_above": wrong - right, "chi2": result.best.notes["chi2"], "status": result.status,
    }  # fmt: skip


def main(words: Sequence[str] | None = None) -> list[dict]:
    """Simulate, fit, show, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cases; writes nothing by itself")
    parser.add_argument("--draws", type=int, help=f"[{DRAWS}]")
    parser.add_argument("--first", type=int, default=0, help="first draw [0]; others to tune on")
    parser.add_argument("--out", type=Path, help="[results/saxs_shapes.jsonl; quick: nowhere]; a .png beside it")
    asked = parser.parse_args(words)
    draws = range(asked.first, asked.first + (asked.draws or (1 if asked.quick else DRAWS)))
    every = cases(draws, BODIES[:2] if asked.quick else BODIES, REACH[1:3] if asked.quick else REACH)
    results = jaxstruc.saxs([data(one) for one in every], distribution=DISTRIBUTIONS)
    found = [row(one, result) for one, result in zip(every, results, strict=True)]
    found = [one | rows.environment() | {"commit": rows.commit()} for one in found]
    print(summary(found))
    if out := asked.out or (None if asked.quick else RESULTS / "saxs_shapes.jsonl"):
        rows.write_lines(found, out)
        with files.replacing(out.with_suffix(".png")) as part:
            figure(found).savefig(part, format="png", dpi=150)
    return found


def summary(found: list[dict]) -> str:
    """Return false certainty, what can be told, and calibration, a line each."""
    within = [one for one in found if one["sphere_above"] < WITHIN]
    false = [one for one in within if one["told"] not in (one["truth"], "not determined")]
    clear = [one for one in found if one["wrong_above"] > CLEAR]
    first = [one for one in clear if one["first"] == one["truth"]]
    told = [one for one in found if one["told"] != "not determined"]
    right = [one for one in told if one["told"] == one["truth"]]
    lines = [
        f"sphere within the noise: {len(within)} cases, a wrong body told in {len(false) / max(len(within), 1):.1%}",
        f"clear: {len(clear)} cases, the right body first in {len(first) / max(len(clear), 1):.1%}",
        f"told: {len(told)} of {len(found)}, right in {len(right) / max(len(told), 1):.1%}",
    ]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        some = [one for one in found if low <= one["p_first"] < high]
        if some:
            hit = np.mean([one["first"] == one["truth"] for one in some])
            lines.append(f"p_body {low} to {min(high, 1.0)}: {len(some)} cases, right in {hit:.0%}")
    return "\n".join(lines)


def figure(found: list[dict]) -> matplotlib.figure.Figure:
    """Return how sure the right body is, by body and q_max R_eq, for each width and noise."""
    result = matplotlib.figure.Figure(figsize=(11, 7), layout="constrained")
    axes = result.subplots(len(WIDTHS), len(COUNTS), sharex=True, sharey=True)
    reach = sorted({one["reach"] for one in found})
    bodies = [body for body in BODIES if any(one["truth"] == body for one in found)]
    image = None
    for line, width in zip(axes, WIDTHS, strict=True):
        for panel, counts in zip(line, COUNTS, strict=True):
            mean = np.full((len(bodies), len(reach)), np.nan)
            for y, body in enumerate(bodies):
                for x, far in enumerate(reach):
                    wanted = {"truth": body, "reach": far, "width": width, "counts": counts}
                    some = [one["p_truth"] for one in found if wanted.items() <= one.items()]
                    mean[y, x] = np.mean(some) if some else np.nan
            image = panel.imshow(mean, vmin=0, vmax=1, aspect="auto", cmap="viridis")
            panel.set_xticks(range(len(reach)), [f"{far:g}" for far in reach])
            panel.set_yticks(range(len(bodies)), bodies, fontsize=8)
            panel.set_title(f"width {width:g}, {counts:.0e} counts", fontsize=10)
    for panel in axes[-1]:
        panel.set_xlabel("$q_{max} R_{eq}$")
    result.colorbar(image, ax=axes, label="probability of the right body")
    return result


if __name__ == "__main__":
    main()
