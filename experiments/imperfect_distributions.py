"""Claim: the mean size and the width of a distribution are right on data with the imperfections of measured ones.

    python experiments/imperfect_distributions.py               (10 to 20 s a file on a core; resumes)
    python experiments/imperfect_distributions.py --quick       (two files and a small library; writes nothing)

Each file is the PDF of gold particles of one type, whose sizes follow a lognormal distribution of volume with a mean of
14 to 22 Å and a width of 10 to 30 %. In the part "all" the data have all imperfections of `scattering.imperfect_pdf`.
Each other part has noise and one more imperfection, so that its effect can be told from the others. The files are mined
with the default options of `mine` and the element gold.

The true size of a particle is the diameter of a sphere of equal volume. A relaxed particle has the volume per atom that
belongs to its mean distance of neighbours.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import imperfect_tables
import json_rows
import numpy as np
from imperfect_pdfs import ELEMENT, QSTEP, shows_type
from scipy.spatial import KDTree

from jaxstruc import Measurement
from jaxstruc.api import make_solve_plan
from jaxstruc.clusters import families, library, size_classes
from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.library import Library
from jaxstruc.options.pdf import FitOptions, LibraryOptions, MineOptions
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import prepare_measurement, solve_measurements
from jaxstruc.scattering import form_factors, imperfect_pdf
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.imperfect_pdf import IMPERFECTIONS, ImperfectPdf
from jaxstruc.scattering.pair_distribution import Grid

RESULTS = Path(__file__).parent / "results" / "imperfect_distributions.jsonl"
SINGLE_IMPERFECTIONS = ("background", "shell", "normalisation", "qmin", "qdamp", "relaxation")
PARTS = {
    "all": IMPERFECTIONS,
    "noise": ("noise", "distribution"),
    **{name: ("noise", "distribution", name) for name in SINGLE_IMPERFECTIONS},
}
"""Imperfections of the files of each part."""
CASE_COUNTS = {name: 100 if name == "all" else 20 for name in PARTS}
"""Number of files of each part."""
FIRST_SEED = 15000
"""First seed of the reported files. Files of smaller seeds were used for tuning."""
TYPE_NAMES = ("fcc", "faulted", "icosahedron", "decahedron")
"""Structure types of the particles, which are those of gold particles."""
MEAN_RANGE, WIDTH_RANGE = (14.0, 22.0), (0.1, 0.3)
"""Ranges of the mean diameter in Å, and of the width."""
RMAX = 40.0
"""End of the data, in Å."""
NEIGHBOUR_CUTOFF = 1.25
"""Largest distance of neighbours, in units of the bond length."""


class DistributionCase(NamedTuple):
    """A simulated file and its true values."""

    measurement: Measurement
    truth: dict[str, Any]


def simulate_case(cluster_library: Library, part: str, seed: int) -> DistributionCase:
    """Return the file of a part and a seed. The files of a seed have the same particles in all parts."""
    rng = np.random.default_rng(seed)
    type_name = TYPE_NAMES[seed % len(TYPE_NAMES)]
    types = np.array([FAMILY_TYPES[family] for family in cluster_library.families])
    bond = form_factors.bond_length(ELEMENT)
    sizes = bond * size_classes.candidate_sizes(cluster_library, np.arange(len(types)))
    mean_range = np.minimum(MEAN_RANGE, sizes.max() / np.array([2.0, 1.5]))
    row = _central_row(cluster_library, sizes, types == type_name, rng.uniform(*mean_range), type_name)
    imperfections = imperfect_pdf.draw_imperfections(seed, names=PARTS[part])
    imperfections = imperfections._replace(width=rng.uniform(*WIDTH_RANGE))
    instrument = Instrument(
        uiso=rng.uniform(0.005, 0.015), delta2=rng.uniform(1.0, 4.0), qdamp=rng.uniform(0.01, 0.05),
        scale=rng.uniform(0.6, 1.6), stretch=rng.uniform(0.985, 1.015),
    )  # fmt: skip
    qmin, qmax = QSTEP * rng.integers(30, 70), QSTEP * rng.integers(700, 1250)
    grid = Grid(qmin=qmin, qmax=qmax, qstep=QSTEP, rmin=1.5, rmax=RMAX, rstep=0.05)
    pdf = imperfect_pdf.imperfect_pdf(
        cluster_library, row, element=ELEMENT, instrument=instrument, grid=grid, imperfections=imperfections, seed=seed
    )
    truth = {
        "part": part, "seed": seed, "true_type": type_name, **_true_moments(cluster_library, pdf, instrument),
        "imperfections": imperfections._asdict(),
    }  # fmt: skip
    return DistributionCase(Measurement(f"{part}-{seed}.gr", pdf.r, pdf.g, pdf.header), truth)


def _central_row(cluster_library: Library, sizes: np.ndarray, is_type: np.ndarray, size: float, type_name: str) -> int:
    """Return the row of the cluster of a type whose size is nearest, and whose atoms show the type."""
    rows = np.flatnonzero(is_type)
    nearest = rows[np.argsort(np.abs(np.log(sizes[rows] / size)), kind="stable")]
    return next(int(row) for row in nearest if shows_type(cluster_library, int(row), type_name))


def _true_moments(cluster_library: Library, pdf: ImperfectPdf, instrument: Instrument) -> dict[str, float]:
    """Return the mean diameter in Å and the relative width, weighted by volume."""
    particles = pdf.particles
    sizes = size_classes.candidate_sizes(cluster_library, np.array(particles.rows))
    sizes = sizes * np.array([_neighbour_distance(positions) for positions in particles.positions])
    sizes *= form_factors.bond_length(ELEMENT) * float(instrument.stretch)
    mean = float(particles.atom_fractions @ sizes)
    return {"mean": mean, "width": float(np.sqrt(particles.atom_fractions @ (sizes - mean) ** 2)) / mean}


def _neighbour_distance(positions: np.ndarray) -> float:
    """Return the mean distance of neighbours, in bond lengths."""
    pairs = KDTree(positions).query_pairs(NEIGHBOUR_CUTOFF, output_type="ndarray")
    return float(np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1).mean())


def result_row(case: DistributionCase, result: PdfResult) -> dict[str, Any]:
    """Return the row of a file."""
    row = {**case.truth, "status": result.status, "seconds": result.facts.get("seconds")}
    if result.ensemble is None:
        return row | {"sample": "", "message": result.message}
    ensemble = result.ensemble
    return row | {
        "sample": ensemble.sample, "method": ensemble.method, "rw": result.best.rw, "rw_ensemble": ensemble.rw,
        "mean_found": [ensemble.mean_diameter.value, ensemble.mean_diameter.low, ensemble.mean_diameter.high],
        "width_found": [ensemble.width.value, ensemble.width.low, ensemble.width.high],
        "shares": {name: interval.value for name, interval in ensemble.type_shares.items()},
        "type": result.type, "type_probability": result.type_probability,
    }  # fmt: skip


def solve_cases(
    cases: Sequence[DistributionCase], *, max_atoms: int, background: int = 0
) -> Iterable[tuple[DistributionCase, PdfResult]]:
    """Return each case with its result."""
    options = MineOptions(candidates=LibraryOptions((), max_atoms), fit=FitOptions(background=background))
    plan = make_solve_plan(ELEMENT, options)
    measurements = [prepare_measurement(case.measurement, plan) for case in cases]
    yield from zip(cases, solve_measurements(measurements, plan), strict=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Mine the files, print and write the rows, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts [all]")
    parser.add_argument("--count", type=int, help="number of files of each part [100 of all, 20 of the others]")
    parser.add_argument("--tuning", action="store_true", help="use the files that were used for tuning")
    parser.add_argument("--background", type=int, default=0, help="number of background terms of all fits [0]")
    parser.add_argument("--out", type=Path, help="file to which rows are added")
    parser.add_argument("--quick", action="store_true", help="mine two files, and write nothing")
    options = parser.parse_args(arguments)
    out = options.out or (None if options.tuning or options.quick else RESULTS)
    max_atoms = 200 if options.quick else 1000
    cluster_library = library.load_or_build(tuple(families.FAMILIES), max_atoms=max_atoms)
    rows, provenance = json_rows.read_lines(out), json_rows.provenance()
    finished_files = {(row["part"], row["seed"]) for row in rows}
    first_seed = 0 if options.tuning else FIRST_SEED
    for part in ("all", "noise") if options.quick else options.parts:
        count = 1 if options.quick else options.count or CASE_COUNTS[part]
        seeds = [seed for seed in range(first_seed, first_seed + count) if (part, seed) not in finished_files]
        cases = [simulate_case(cluster_library, part, seed) for seed in seeds]
        for case, result in solve_cases(cases, max_atoms=max_atoms, background=options.background):
            rows.append(result_row(case, result) | provenance)
            json_rows.print_row({name: entry for name, entry in rows[-1].items() if name not in provenance})
            json_rows.append_line(rows[-1], out)
    print(imperfect_tables.distributions_table(rows))


if __name__ == "__main__":
    main()
