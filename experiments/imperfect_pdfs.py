"""Claim: on data with all imperfections of measured ones, the classifier's screen does not lose the best candidate.

    python experiments/imperfect_pdfs.py --count 60     (about 15 s a file on a core; resumes)
    python experiments/imperfect_pdfs.py --tuning       (other files; rows are written only with --out)
    python experiments/imperfect_pdfs.py --quick        (two files and a small library; writes nothing)

Each file is the PDF of a gold cluster of the library with 35 to 300 atoms and all imperfections of
`scattering.imperfect_pdf`: noise, background, a shell of ligands or amorphous gold, a wrong normalisation, qmin and
qdamp, a size distribution, and relaxed atoms. The types are equally frequent. A file is mined without and with the
classifier. It is "held" if the candidate with the lowest Rw of the first run is among the candidates of the second run.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import json_rows
import numpy as np

from jaxstruc import Measurement
from jaxstruc.api import make_solve_plan
from jaxstruc.clusters import families, library
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import Library
from jaxstruc.options.pdf import LibraryOptions, MineOptions, ScreenName
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import prepare_measurement, solve_measurements
from jaxstruc.scattering import imperfect_pdf
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.imperfect_pdf import IMPERFECTIONS, Imperfections, ImperfectPdf
from jaxstruc.scattering.pair_distribution import Grid

RESULTS = Path(__file__).parent / "results" / "imperfect_pdfs.jsonl"
ELEMENT = "Au"
TYPE_NAMES = ("fcc", "hcp", "faulted", "bcc", "sc", "icosahedron", "decahedron")
FIRST_SEED, N_FILES = 9000, 300
"""First seed of the reported files, and their number. Files of smaller seeds were used for tuning."""
ATOM_RANGE = (35, 300)
"""Smallest and largest number of atoms of a particle."""
QSTEP = 0.02
"""Step of Q in 1/Å, for which the noise is stated."""
RMAX = 30.0
"""End of the data, in Å."""


class ImperfectCase(NamedTuple):
    """A simulated file and what is known about it."""

    measurement: Measurement
    pdf: ImperfectPdf
    truth: dict[str, Any]
    """Type, family, recipe, row and number of atoms of the cluster, and values of the imperfections."""


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
    nearest = rows[np.argsort(np.abs(np.log(sizes[rows]) - log_size), kind="stable")[:20]]
    row = int(rng.choice(nearest))
    instrument = Instrument(
        uiso=rng.uniform(0.005, 0.015), delta2=rng.uniform(1.0, 4.0), qdamp=rng.uniform(0.01, 0.06),
        scale=rng.uniform(0.6, 1.6), stretch=rng.uniform(0.985, 1.015),
    )  # fmt: skip
    qmin, qmax = QSTEP * rng.integers(30, 70), QSTEP * rng.integers(700, 1250)
    grid = Grid(qmin=qmin, qmax=qmax, qstep=QSTEP, rmin=1.5, rmax=RMAX, rstep=0.05)
    imperfections = imperfections or imperfect_pdf.draw_imperfections(seed)
    pdf = imperfect_pdf.imperfect_pdf(
        cluster_library, row, element=ELEMENT, instrument=instrument, grid=grid, imperfections=imperfections, seed=seed
    )
    truth = {
        "type": type_name, "family": str(cluster_library.families[row]), "recipe": str(cluster_library.labels[row]),
        "row": row, "atoms": int(sizes[row]), "imperfections": imperfections._asdict(),
    }  # fmt: skip
    return ImperfectCase(Measurement(f"imperfect-{seed}.gr", pdf.r, pdf.g, pdf.header), pdf, truth)


def mine(measurements: Sequence[Measurement], screen: ScreenName, max_atoms: int) -> Iterable[PdfResult]:
    """Return the results of files, without a search and without a comparison with distributions."""
    options = MineOptions(
        candidates=LibraryOptions((), max_atoms), search="none", ensemble="none", screen=screen, types="all"
    )
    plan = make_solve_plan(ELEMENT, options)
    prepared = [prepare_measurement(entry, plan) for entry in measurements]
    return solve_measurements(prepared, plan)


def lowest_rw(result: PdfResult):
    """Return the candidate with the lowest Rw."""
    return min(result.candidates, key=lambda candidate: candidate.rw)


def result_row(seed: int, case: ImperfectCase, unscreened: PdfResult, screened: PdfResult) -> dict[str, Any]:
    """Return the row of a file."""
    best, screened_best = lowest_rw(unscreened), lowest_rw(screened)
    candidates = {(candidate.family, candidate.recipe) for candidate in screened.candidates}
    return {
        "seed": seed,
        **case.truth,
        "held": (best.family, best.recipe) in candidates,
        "rw": best.rw,
        "rw_screened": screened_best.rw,
        "best": [best.family, best.recipe, best.n_atoms],
        "best_screened": [screened_best.family, screened_best.recipe, screened_best.n_atoms],
        "status": unscreened.status,
        "status_screened": screened.status,
        "message": screened.message,
        "fitted": [unscreened.n_fitted, screened.n_fitted],
        "screened": screened.classifier_prior.n_screened if screened.classifier_prior else None,
        "seconds": [result.facts.get("seconds") for result in (unscreened, screened)],
    }


def summary_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return a line with the share of held files and the median times."""
    if not rows:
        return "no files"
    seconds = np.median([row["seconds"] for row in rows], axis=0)
    is_solved = np.array([row["status_screened"] == "solved" for row in rows])
    is_held = np.array([row["held"] for row in rows])
    return (
        f"held {is_held.sum()} of {len(rows)} ({is_held.mean():.1%}), of those with a weak answer "
        f"{is_held[~is_solved].sum()} of {(~is_solved).sum()}; {seconds[0]:.1f} s a file, screened {seconds[1]:.1f} s"
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
    max_atoms = 100 if options.quick else 1000
    cluster_library = library.load_or_build(tuple(families.FAMILIES), max_atoms=max_atoms)
    first_seed = 0 if options.tuning else FIRST_SEED
    finished_rows = json_rows.read_lines(out)
    finished_seeds = {row["seed"] for row in finished_rows}
    count = 2 if options.quick else options.count
    seeds = [seed for seed in range(first_seed, first_seed + count) if seed not in finished_seeds]
    cases = [
        simulate_case(
            cluster_library, seed, imperfections=imperfect_pdf.draw_imperfections(seed, names=options.imperfections)
        )
        for seed in seeds
    ]
    provenance = json_rows.provenance()
    measurements = [case.measurement for case in cases]
    results = [mine(measurements, screen, max_atoms) for screen in ("none", "classifier")]
    rows = list(finished_rows)
    for seed, case, unscreened, screened in zip(seeds, cases, *results, strict=True):
        rows.append(result_row(seed, case, unscreened, screened) | provenance)
        json_rows.append_line(rows[-1], out)
        print(
            json.dumps(
                {
                    name: rows[-1][name]
                    for name in (
                        "seed",
                        "type",
                        "atoms",
                        "held",
                        "rw",
                        "rw_screened",
                        "best",
                        "best_screened",
                        "status_screened",
                        "seconds",
                    )
                }
            ),
            flush=True,
        )
    print(summary_text(rows))


if __name__ == "__main__":
    main()
