"""Claim: PDF results do not depend on the qmin of a header or on the screening, and `weak` needs no user's decision.

    python experiments/pdf_validation.py screening          (about an hour on 2 cores; resumes)
    python experiments/pdf_validation.py qmin               (about half an hour on 2 cores; resumes)
    python experiments/pdf_validation.py verdict            (some minutes on 2 cores; resumes)
    python experiments/pdf_validation.py --quick            (a case of each part, a minute)

Gold particles of 13 to 1000 atoms are simulated with random instruments and vibrations, and with white noise of 5 % on
F(Q) for each point of a 0.02 1/Å grid. Sizes are uniform in the logarithm, and all families are used in turn. A third
of the samples are mixtures of particles of one family whose diameters have a standard deviation of 10 %.

The parts are:

- screening: all clusters of the library are fitted. A row holds the rank of the best cluster in the order of the
  screening, and the best Rw among the clusters that the screening selects.
- qmin: curves with qmin between 0.4 and 1.6 1/Å are mined with the true qmin, and with a header that states 0.1.
- verdict: only the true cluster is fitted. A row holds the ratio of the residual to the noise, and the diameter
  estimated from the data. These numbers decide whether the status is `weak`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import json_rows
import measured_pdfs
import numpy as np
from scipy.spatial.distance import pdist

import jaxstruc
from jaxstruc.clusters import families, library
from jaxstruc.clusters.library import Library
from jaxstruc.io import measurement
from jaxstruc.io.measurement import Measurement
from jaxstruc.options.pdf import DataOptions, MineOptions
from jaxstruc.pdf import candidates, fit, fit_quality, screening, target
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.target import Target
from jaxstruc.scattering import form_factors
from jaxstruc.scattering.cluster_tables import TableRange

RESULTS = Path(__file__).parent / "results"
BOND = form_factors.bond_length("Au")
R_GRID = np.arange(1.5, 45.001, 0.05)
NOISE = 0.05
MIXTURE_SPREAD, MIXTURE_MEMBERS = 0.1, 8
"""Standard deviation over mean of the diameters in a mixture, and number of its particles."""
CASE_COUNTS = {"screening": 300, "qmin": 200, "verdict": 300}
TABLE_RANGE = TableRange(28.0, 32.0)
"""Range of the cluster tables, which all cases share, so that the tables of the library are computed once."""


class LibraryCase(NamedTuple):
    """A simulated sample of one cluster of the library, or of a mixture of clusters of about its size."""

    row: int
    """Row of the cluster in the library."""
    is_mixture: bool
    values: dict[str, float]
    """Parameters of the instrument and the vibrations."""
    g: np.ndarray


def simulate_case(cluster_library: Library, seed: int, *, part: str) -> LibraryCase:
    """Return a sample drawn with a seed."""
    rng = np.random.default_rng([sorted(CASE_COUNTS).index(part), seed])
    family_names = tuple(families.FAMILIES)
    family_rows = np.flatnonzero(
        (cluster_library.families == family_names[seed % len(family_names)]) & (cluster_library.atoms >= 13)
    )
    size = np.exp(rng.uniform(np.log(13), np.log(cluster_library.atoms.max())))
    row = int(family_rows[np.argmin(abs(np.log(cluster_library.atoms[family_rows] / size)))])
    values = {
        "qmin": rng.uniform(0.4, 1.6), "qmax": rng.uniform(15, 28), "qdamp": rng.uniform(0.01, 0.05),
        "uiso": rng.uniform(0.004, 0.02), "delta2": rng.uniform(0.0, 4.0), "stretch": rng.uniform(0.98, 1.02),
    }  # fmt: skip
    is_mixture = seed % 3 == 2
    members = _mixture_rows(cluster_library, family_rows, row, rng) if is_mixture else [row]
    q = np.linspace(values["qmin"], values["qmax"], round((values["qmax"] - values["qmin"]) / measured_pdfs.QSTEP) + 1)
    f = np.zeros(q.size)
    for member in members:  # Each particle contributes to F(Q) of the mixture in proportion to its number of atoms.
        positions = library.candidate_cluster(cluster_library, member).positions * BOND * values["stretch"]
        vibrations = {"uiso": values["uiso"], "delta2": values["delta2"]}
        f += cluster_library.atoms[member] * measured_pdfs.structure_function(positions, q, **vibrations)
    f /= cluster_library.atoms[members].sum()
    noise = NOISE * np.sqrt(np.mean(f**2)) * rng.normal(size=q.size)
    g = (
        measured_pdfs.transform(q, R_GRID, qdamp=values["qdamp"]) @ f
        + measured_pdfs.transform(q, R_GRID, qdamp=0.0) @ noise
    )
    return LibraryCase(row, is_mixture, values, g)


def _mixture_rows(cluster_library: Library, family_rows: np.ndarray, row: int, rng: np.random.Generator) -> list[int]:
    """Return the rows of clusters of a family whose diameters scatter about that of one cluster."""
    diameters = cluster_library.diameter[row] * (1 + MIXTURE_SPREAD * rng.normal(size=MIXTURE_MEMBERS))
    return [
        int(family_rows[np.argmin(abs(cluster_library.diameter[family_rows] - diameter))]) for diameter in diameters
    ]


def case_measurement(case: LibraryCase, *, header: dict[str, float]) -> Measurement:
    """Return the measurement of a case, as if it were read from a file with this header."""
    return Measurement("simulated.gr", R_GRID, case.g, dict(header))


def case_target(case: LibraryCase, *, span: TableRange = TABLE_RANGE) -> Target:
    """Return the target of a case with its true settings."""
    q_settings = {name: case.values[name] for name in ("qmin", "qmax", "qdamp")}
    resolved_measurement = measurement.resolve_settings(
        case_measurement(case, header=q_settings), DataOptions(), bond=BOND
    )
    n_q_points = target.n_q_nodes(20.0, 0.4, 28.0, span)
    return target.make_target(
        *resolved_measurement.curve,
        target.TargetSettings(**q_settings, qbroad=0.0, bond=BOND, span=span, min_q_nodes=n_q_points, lowest_qmin=0.3),
    )


def add_screening_rows(
    cluster_library: Library, seeds: list[int], path: Path | None, provenance: dict[str, Any]
) -> None:
    """Solve the cases of part `screening` and add their rows."""
    pool = candidates.candidate_pool(
        [CandidateGroup("library", cluster_library, np.arange(len(cluster_library.atoms)))]
    )
    binned_distances = screening.binned_distances(
        cluster_library, np.arange(len(cluster_library.atoms)), bond=BOND, span=TABLE_RANGE
    )
    cluster_tables: list = []
    for seed in seeds:
        case = simulate_case(cluster_library, seed, part="screening")
        target = case_target(case)
        if not cluster_tables:
            cluster_tables = [
                candidates.cluster_tables(
                    pool.select(np.arange(start, min(start + 64, len(cluster_library.atoms)))), target
                )
                for start in range(0, len(cluster_library.atoms), 64)
            ]
        rw = np.concatenate([candidates.fit_cluster_tables(table, target).rw for table in cluster_tables])[
            : len(cluster_library.atoms)
        ]
        rw = np.where(np.isfinite(rw), rw, np.inf)
        misfit = screening.approximate_rw(binned_distances, target.basis)
        best_row, order = int(rw.argmin()), np.argsort(misfit, kind="stable")
        _append_row(
            path,
            {
                "part": "screening",
                "seed": seed,
                "family": str(cluster_library.families[case.row]),
                "atoms": int(cluster_library.atoms[case.row]),
                "mixed": case.is_mixture,
                "rw": float(rw[best_row]),
                "place": int(np.flatnonzero(order == best_row)[0]),
                "chosen": screening.MAX_FITTED,
                "rw_chosen": float(rw[order[: screening.MAX_FITTED]].min()),
                **provenance,
            },
        )


def add_qmin_rows(
    max_atoms: int, seeds: list[int], cluster_library: Library, path: Path | None, provenance: dict[str, Any]
) -> None:
    """Solve the cases of part `qmin` and add their rows."""
    for seed in seeds:
        case = simulate_case(cluster_library, seed, part="qmin")
        known_settings = {"qmax": case.values["qmax"], "qdamp": case.values["qdamp"]}
        true_result, wrong_result = (
            jaxstruc.mine(
                case_measurement(case, header=known_settings | {"qmin": qmin}),
                element="Au",
                qmin=fixed_settings,
                max_atoms=max_atoms,
                options=MineOptions(ensemble="none", types="all"),
            )
            for qmin, fixed_settings in ((case.values["qmin"], case.values["qmin"]), (0.1, None))
        )
        _append_row(
            path,
            {
                "part": "qmin",
                "seed": seed,
                "family": str(cluster_library.families[case.row]),
                "atoms": int(cluster_library.atoms[case.row]),
                "mixed": case.is_mixture,
                "qmin": case.values["qmin"],
                "inferred": wrong_result.settings_by_name["qmin"],
                "error": wrong_result.facts.get("qmin_error"),
                "rw": true_result.best.rw,
                "rw_inferred": wrong_result.best.rw,
                "type": true_result.best.type,
                "type_inferred": wrong_result.best.type,
                "status": true_result.status,
                "status_inferred": wrong_result.status,
                **provenance,
            },
        )


def add_fit_quality_rows(
    cluster_library: Library, seeds: list[int], path: Path | None, provenance: dict[str, Any]
) -> None:
    """Solve the cases of part `verdict` and add their rows."""
    for seed in seeds:
        case = simulate_case(cluster_library, seed, part="verdict")
        target = case_target(case)
        pool = candidates.candidate_pool([CandidateGroup("library", cluster_library, np.array([case.row]))])
        fits, cluster_tables = candidates.fit_all(pool, target), candidates.cluster_tables(pool, target)
        curve, _ = fit.fitted_curves(fits, candidates.select_rows(cluster_tables, slice(0, 1)), target)
        positions = library.candidate_cluster(cluster_library, case.row).positions * BOND * case.values["stretch"]
        diameter = float(pdist(positions).max())
        residual_structure = fit_quality.residual_structure(
            target.g - curve[0], R_GRID, case.g, diameter=diameter, n_independent=target.n_independent, n_parameters=4
        )
        diameter_estimate, is_whole, _ = screening.diameter_estimate(
            R_GRID, case.g, bond=BOND, qdamp=case.values["qdamp"]
        )
        _append_row(
            path,
            {
                "part": "verdict",
                "seed": seed,
                "family": str(cluster_library.families[case.row]),
                "atoms": int(cluster_library.atoms[case.row]),
                "mixed": case.is_mixture,
                "rw": float(fits.rw[0]),
                "structure": residual_structure,
                "diameter": diameter,
                "size_seen": diameter_estimate,
                "reached": is_whole,
                **provenance,
            },
        )


def _append_row(path: Path | None, row: dict[str, Any]) -> None:
    json_rows.print_row(row)
    json_rows.append_line(row, path)


def _finished_seeds(path: Path | None, part: str) -> set[int]:
    return {row["seed"] for row in json_rows.read_lines(path) if row["part"] == part}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=", ".join(CASE_COUNTS) + "; by default all")
    parser.add_argument("--count", type=int, help="number of cases of each part")
    parser.add_argument("--max-atoms", type=int, default=1000)
    parser.add_argument(
        "--out", type=Path, help="file to which rows are added [results/pdf_validation.jsonl; with --quick none]"
    )
    parser.add_argument("--quick", action="store_true", help="run one case of each part with a small library")
    options = parser.parse_args(arguments)
    if unknown_parts := set(options.parts) - set(CASE_COUNTS):
        parser.error(f"expected parts of {', '.join(CASE_COUNTS)}, got {', '.join(sorted(unknown_parts))}")
    atoms = 60 if options.quick else options.max_atoms
    out = options.out or (None if options.quick else RESULTS / "pdf_validation.jsonl")
    cluster_library = library.load_or_build(tuple(families.FAMILIES), max_atoms=atoms)
    provenance = {"device": jax.default_backend(), "library": len(cluster_library.atoms), "commit": json_rows.commit()}
    for part in options.parts or list(CASE_COUNTS):
        n_cases = 1 if options.quick else options.count or CASE_COUNTS[part]
        seeds = [seed for seed in range(n_cases) if seed not in _finished_seeds(out, part)]
        if part == "screening":
            add_screening_rows(cluster_library, seeds, out, provenance)
        elif part == "qmin":
            add_qmin_rows(atoms, seeds, cluster_library, out, provenance)
        else:
            add_fit_quality_rows(cluster_library, seeds, out, provenance)


if __name__ == "__main__":
    main()
