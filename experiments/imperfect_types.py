"""Claim: type probabilities of single clusters are calibrated on data with the imperfections of measured ones.

    python experiments/imperfect_types.py --count 60    (15 to 60 s a file on a core; resumes)
    python experiments/imperfect_types.py --quick       (one file of each part and a small library; writes nothing)

The files are those of `imperfect_pdfs.py`, but each sample is a single cluster. In the part "imperfect" they have all
other imperfections, and in the part "clean" only noise and relaxed atoms. They are mined with equal weights of all
seven types and without a comparison with distributions. The exponents of `pdf.posterior` were chosen on other files.

A row holds the probability of each type. The summary has the fraction of files whose most probable type has at least
0.9, the fraction of these whose type is right, and the mean of -ln(probability of the true type).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imperfect_pdfs
import imperfect_tables
import json_rows
import numpy as np

from jaxstruc.api import make_solve_plan
from jaxstruc.clusters import families, library
from jaxstruc.clusters.library import Library
from jaxstruc.options.pdf import LibraryOptions, MineOptions
from jaxstruc.pdf.solve import prepare_measurement, solve_measurements
from jaxstruc.scattering import imperfect_pdf

RESULTS = Path(__file__).parent / "results" / "imperfect_types.jsonl"
PARTS = {
    "imperfect": tuple(name for name in imperfect_pdf.IMPERFECTIONS if name != "distribution"),
    "clean": ("noise", "relaxation"),
}
"""Imperfections of the files of each part."""
FIRST_SEED = 12000
"""First seed of the files."""


def type_row(cluster_library: Library, part: str, seed: int, max_atoms: int) -> dict[str, Any]:
    """Return the row of a file, with the probability of each type."""
    imperfections = imperfect_pdf.draw_imperfections(seed, names=PARTS[part])
    case = imperfect_pdfs.simulate_case(cluster_library, seed, imperfections=imperfections)
    options = MineOptions(candidates=LibraryOptions((), max_atoms), ensemble="none", types="all")
    plan = make_solve_plan(imperfect_pdfs.ELEMENT, options)
    (result,) = solve_measurements([prepare_measurement(case.measurement, plan)], plan)
    prior = result.classifier_prior
    return {
        "part": part, "seed": seed, **case.truth, "status": result.status, "found_type": result.type,
        "type_probability": result.type_probability, "types": result.types, "rw": result.best.rw,
        "classifier_types": prior.types if prior else None, "independent": result.facts.get("independent"),
    }  # fmt: skip


def summary_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return a line for each part with the calibration of the type probabilities."""
    lines = []
    for part in PARTS:
        part_rows = [row for row in rows if row["part"] == part]
        if not part_rows:
            continue
        is_sure = np.array([max(row["types"].values()) >= imperfect_tables.SURE_PROBABILITY for row in part_rows])
        is_right = np.array([imperfect_tables.most_probable_type(row) == row["type"] for row in part_rows])
        right_of_sure = is_right[is_sure].mean() if is_sure.any() else float("nan")
        lines.append(
            f"{part}: {len(part_rows)} files, right {is_right.mean():.0%}, sure {is_sure.mean():.0%}, "
            f"right of these {right_of_sure:.0%}, log loss {imperfect_tables.log_loss(part_rows):.3f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Mine the files, print and write the rows, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="number of files of each part [60]")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts [all]")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="mine few files, and write nothing")
    options = parser.parse_args(arguments)
    max_atoms = 100 if options.quick else imperfect_pdfs.ATOM_RANGE[1]
    cluster_library = library.load_or_build(tuple(families.FAMILIES), max_atoms=max_atoms)
    out = None if options.quick else options.out
    rows, provenance = json_rows.read_lines(out), json_rows.provenance()
    finished_files = {(row["part"], row["seed"]) for row in rows}
    for seed in range(FIRST_SEED, FIRST_SEED + (1 if options.quick else options.count)):
        for part in options.parts:
            if (part, seed) not in finished_files:
                rows.append(type_row(cluster_library, part, seed, max_atoms) | provenance)
                json_rows.print_row(rows[-1])
                json_rows.append_line(rows[-1], out)
    print(summary_text(rows))


if __name__ == "__main__":
    main()
