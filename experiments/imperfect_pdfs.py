"""Claim: on data with all imperfections of measured ones, the classifier's screen does not lose the best candidate.

    python experiments/imperfect_pdfs.py --count 60     (resumes; no rows are committed yet)
    python experiments/imperfect_pdfs.py --tuning       (other files; rows are written only with --out)
    python experiments/imperfect_pdfs.py --quick        (two files and a small library; writes nothing)

Each file is the PDF of a gold cluster of the library with 35 to 130 atoms and all imperfections of
`scattering.imperfect_pdf`: noise, background, a shell of ligands or amorphous gold, a wrong normalisation, qmin and
qdamp, a size distribution, and relaxed atoms. The types are equally frequent, and the atoms show them. A file is mined
without and with the classifier. It is "held" if the candidate with the lowest Rw of the first run is among the
candidates of the second run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import json_rows
import numpy as np

from jaxstruc import Measurement
from jaxstruc.api import make_solve_plan
from jaxstruc.clusters import families, library, structure_type
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import Library
from jaxstruc.options.pdf import LibraryOptions, MineOptions, ScreenName
from jaxstruc.pdf import candidate_fits
from jaxstruc.pdf.plan import PdfPlan
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import prepare_measurement, solve_measurements
from jaxstruc.scattering import imperfect_pdf
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.imperfect_pdf import IMPERFECTIONS, Imperfections, ImperfectPdf, draw_imperfections
from jaxstruc.scattering.pair_distribution import Grid

RESULTS = Path(__file__).parent / "results" / "imperfect_pdfs.jsonl"
ELEMENT = "Au"
TYPE_NAMES = ("fcc", "hcp", "faulted", "bcc", "sc", "icosahedron", "decahedron")
FIRST_SEED, N_FILES = 9000, 300
"""First seed of the reported files, and their number. Files of smaller seeds were used for tuning."""
ATOM_RANGE, MAX_ATOMS = (35, 130), 300
"""Smallest and largest number of atoms of a particle, and largest number of atoms of a candidate."""
QSTEP = 0.02
"""Step of Q in 1/Å, for which the noise is stated."""
RMAX = 30.0
"""End of the data, in Å."""
PRINTED_COLUMNS = (
    *("seed", "type", "atoms", "held_strict", "held_classifier", "rw_none", "rw_strict", "rw_classifier"),
    *("status_strict", "seconds_none", "seconds_strict", "seconds_classifier"),
)


class ImperfectCase(NamedTuple):
    """A simulated file and what is known about it."""

    measurement: Measurement
    pdf: ImperfectPdf
    truth: dict[str, Any]
    """Seed, type, family, recipe, row and number of atoms of the cluster, and values of the imperfections."""


def simulate_case(cluster_library: Library, seed: int, *, imperfections: Imperfections | None = None) -> ImperfectCase:
    """Return a file with a random cluster, random vibrations and a random instrument.

    Args:
        cluster_library: Library of the clusters.
        seed: Seed of the file.
        imperfections: Imperfections of the file, by default random values of all of them.
    """
    rng = np.random.default_rng(seed)
    type_name = TYPE_NAMES[seed % len(TYPE_NAMES)]
    types = np.array([FAMILY_TYPES[family] for family in cluster_library.families])
    sizes = cluster_library.atoms
    max_atoms = min(ATOM_RANGE[1], int(sizes.max()))
    rows = np.flatnonzero((types == type_name) & (sizes >= ATOM_RANGE[0]) & (sizes <= max_atoms))
    log_size = rng.uniform(*np.log([ATOM_RANGE[0], max_atoms]))
    nearest = rows[np.argsort(np.abs(np.log(sizes[rows]) - log_size), kind="stable")]
    similar = [*rng.permutation(nearest[:20]), *nearest[20:]]
    row = next(int(row) for row in similar if shows_type(cluster_library, int(row), type_name))
    instrument = Instrument(
        uiso=rng.uniform(0.005, 0.015), delta2=rng.uniform(1.0, 4.0), qdamp=rng.uniform(0.01, 0.06),
        scale=rng.uniform(0.6, 1.6), stretch=rng.uniform(0.985, 1.015),
    )  # fmt: skip
    qmin, qmax = QSTEP * rng.integers(30, 70), QSTEP * rng.integers(700, 1250)
    grid = Grid(qmin=qmin, qmax=qmax, qstep=QSTEP, rmin=1.5, rmax=RMAX, rstep=0.05)
    imperfections = imperfections or draw_imperfections(seed)
    pdf = imperfect_pdf.imperfect_pdf(
        cluster_library, row, element=ELEMENT, instrument=instrument, grid=grid, imperfections=imperfections, seed=seed
    )
    truth = {
        "seed": seed, "type": type_name, "family": str(cluster_library.families[row]),
        "recipe": str(cluster_library.labels[row]),
        "row": row, "atoms": int(sizes[row]), "imperfections": imperfections._asdict(),
    }  # fmt: skip
    return ImperfectCase(Measurement(f"imperfect-{seed}.gr", pdf.r, pdf.g, pdf.header), pdf, truth)


def shows_type(cluster_library: Library, row: int, type_name: str) -> bool:
    """Return whether the atoms show the type of a cluster, e.g. the axis of a decahedron."""
    observed_type = structure_type.identify_structure_type(library.candidate_cluster(cluster_library, row).positions)
    return observed_type.shows_type and observed_type.name == type_name


def mining_plan(screen: ScreenName, max_atoms: int) -> PdfPlan:
    """Return the plan that files are mined by, without a search and without a comparison with distributions."""
    options = MineOptions(
        candidates=LibraryOptions((), max_atoms), search="none", ensemble="none", screen=screen, types="all"
    )
    return make_solve_plan(ELEMENT, options)


def mine(measurement: Measurement, plan: PdfPlan, run_measurements: Sequence[Measurement], *, drops: bool = True):
    """Return the result of a file.

    Args:
        measurement: File with all settings.
        plan: Plan of the run.
        run_measurements: All files of the run, which share compilations.
        drops: Whether the classifier's selection is dropped if its best fit is weak.
    """
    if drops:
        return next(iter(solve_measurements([measurement], plan, run_measurements=run_measurements)))
    with mock.patch.object(candidate_fits, "is_weak", lambda case, fitted_candidates: False):
        return next(iter(solve_measurements([measurement], plan, run_measurements=run_measurements)))


def lowest_rw(result: PdfResult):
    """Return the candidate with the lowest Rw."""
    return min(result.candidates, key=lambda candidate: candidate.rw)


def result_row(case: ImperfectCase, results: dict[str, PdfResult]) -> dict[str, Any]:
    """Return the row of a file.

    Args:
        case: The file.
        results: Results by the name of the screen: none, classifier, and strict for a classifier whose selection is
            never dropped.
    """
    best = lowest_rw(results["none"])
    row = {**case.truth, "best": [best.family, best.recipe, best.n_atoms]}
    for name, result in results.items():
        screened_best = lowest_rw(result)
        row |= {
            f"rw_{name}": screened_best.rw,
            f"best_{name}": [screened_best.family, screened_best.recipe, screened_best.n_atoms],
            f"held_{name}": (best.family, best.recipe) in {(entry.family, entry.recipe) for entry in result.candidates},
            f"status_{name}": result.status,
            f"fitted_{name}": result.n_fitted,
            f"seconds_{name}": result.facts.get("seconds"),
        }
    return row


def summary_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return a line with the numbers of held files, and the median times in seconds."""
    if not rows:
        return "no files"
    n_held = {name: sum(row[f"held_{name}"] for row in rows) for name in ("strict", "classifier")}
    seconds = {name: np.median([row[f"seconds_{name}"] for row in rows]) for name in ("none", "strict", "classifier")}
    n_weak = sum(row["status_strict"] == "weak" for row in rows)
    return (
        f"{len(rows)} files, {n_weak} with a weak answer; held {n_held['classifier']}, and {n_held['strict']} if the "
        f"selection is never dropped; {seconds['none']:.1f} s a file without the classifier, "
        f"{seconds['classifier']:.1f} s with it, {seconds['strict']:.1f} s if the selection is never dropped"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Mine the files with and without the classifier, print the rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=N_FILES, help=f"number of files [{N_FILES}]")
    parser.add_argument("--imperfections", nargs="+", default=IMPERFECTIONS, help="by default all")
    parser.add_argument("--out", type=Path, help="file to which rows are added")
    parser.add_argument("--tuning", action="store_true", help="use the files that were used for tuning")
    parser.add_argument("--quick", action="store_true", help="mine two files with a small library, and write nothing")
    options = parser.parse_args(arguments)
    out = options.out or (None if options.tuning or options.quick else RESULTS)
    max_atoms = 100 if options.quick else MAX_ATOMS
    cluster_library = library.load_or_build(tuple(families.FAMILIES), max_atoms=max_atoms)
    first_seed = 0 if options.tuning else FIRST_SEED
    rows = json_rows.read_lines(out)
    finished_seeds = {row["seed"] for row in rows}
    seeds = range(first_seed, first_seed + (2 if options.quick else options.count))
    cases = [
        simulate_case(cluster_library, seed, imperfections=draw_imperfections(seed, names=options.imperfections))
        for seed in seeds
        if seed not in finished_seeds
    ]
    plans = {name: mining_plan(name, max_atoms) for name in ("none", "classifier")}
    measurements = [prepare_measurement(case.measurement, plans["none"]) for case in cases]
    for case, measurement in zip(cases, measurements, strict=True):
        results = {
            "none": mine(measurement, plans["none"], measurements),
            "strict": mine(measurement, plans["classifier"], measurements, drops=False),
            "classifier": mine(measurement, plans["classifier"], measurements),
        }
        rows.append(result_row(case, results) | json_rows.provenance())
        json_rows.append_line(rows[-1], out)
        json_rows.print_row({name: rows[-1][name] for name in PRINTED_COLUMNS})
    print(summary_text(rows))


if __name__ == "__main__":
    main()
