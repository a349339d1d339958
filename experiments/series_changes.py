"""Claim: at most 5 % of constant series have a change point, and real changes are located within three frames.

    python experiments/series_changes.py            # 2 minutes on 2 CPU cores
    python experiments/series_changes.py --quick    # under 50 s

Each case has 500 simulated series of one quantity, or of three that change together, with white noise. A constant
series has only noise. In a transition the quantity jumps at a random frame. In a growth it is constant, rises over a
fifth to two fifths of the series, and is constant again. The heights are in units of the standard deviation of the
noise. A change is located if a change point lies within three frames of it. The expected results are false alarms of at
most 5 % (plus the error of the count), and more than 95 % of the changes located for a jump of 5 and a growth by 50.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import json_rows
import numpy as np

from jaxstruc import change_points

RESULTS = Path(__file__).parent / "results"
N_SERIES = 500
MAX_SHIFT = 3
"""Largest distance of a change point from the true change that counts as located, in frames."""


class Case(NamedTuple):
    """Kind of the simulated series."""

    course: str
    """Course of the quantity: constant, transition or growth."""
    n_frames: int
    height: float = 0.0
    """Change of the quantity, in standard deviations of the noise."""
    n_quantities: int = 1
    """Number of quantities that change together."""
    n_tests: int = 1
    """Number of series that are tested together."""


CASES = (
    *(Case("constant", n_frames, 0.0, n_quantities) for n_frames in (20, 60, 200) for n_quantities in (1, 3)),
    Case("constant", 200, n_tests=10),
    Case("constant", 400),
    *(Case("transition", n_frames, height) for n_frames in (60, 200) for height in (3.0, 5.0)),
    *(Case("growth", n_frames, height) for n_frames in (60, 200) for height in (20.0, 50.0, 100.0)),
)


def simulate_series(case: Case, generator: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """Return the values [frame, quantity] and the true first frames of the segments that follow a change."""
    frames = np.arange(case.n_frames)
    noise = generator.normal(size=(case.n_frames, case.n_quantities))
    if case.course == "constant":
        return noise, []
    if case.course == "transition":
        change = int(generator.integers(case.n_frames // 5, case.n_frames - case.n_frames // 5))
        return noise + case.height * (frames >= change)[:, None], [change]
    start = int(generator.integers(case.n_frames // 5, 2 * case.n_frames // 5))
    end = start + int(generator.integers(case.n_frames // 5, 2 * case.n_frames // 5))
    return noise + case.height * np.interp(frames, [start, end], [0, 1])[:, None], [start, end]


def case_row(case: Case, n_series: int) -> dict:
    """Return the row of a case: false alarms, located changes and their errors in frames."""
    n_alarms, n_additional, shifts = 0, 0, []
    for seed in range(n_series):
        values, true_changes = simulate_series(case, np.random.default_rng([seed, case.n_frames]))
        changes = change_points.change_points(values, n_tests=case.n_tests)
        n_alarms += not true_changes and bool(changes)
        n_additional += bool(true_changes) and len(changes) > len(true_changes)
        shifts += [min((abs(change - truth) for change in changes), default=case.n_frames) for truth in true_changes]
    row = {**case._asdict(), "n_series": n_series}
    if case.course == "constant":
        return row | {"false_alarms": n_alarms / n_series}
    return row | {
        "located": float(np.mean(np.array(shifts) <= MAX_SHIFT)),
        "median_shift": float(np.median(shifts)),
        "additional": n_additional / n_series,
    }


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Simulate all cases, write their rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use few series, and write nothing without --out")
    parser.add_argument("--out", type=Path, help="file of the rows [results/series_changes.jsonl; with --quick none]")
    options = parser.parse_args(arguments)
    out = options.out or (None if options.quick else RESULTS / "series_changes.jsonl")
    rows = []
    for case in CASES[::5] if options.quick else CASES:
        rows.append(case_row(case, 40 if options.quick else N_SERIES) | {"seed": 0} | json_rows.provenance())
        json_rows.print_row(rows[-1])
    if out is not None:
        json_rows.write_lines(rows, out)
    return rows


if __name__ == "__main__":
    main()
