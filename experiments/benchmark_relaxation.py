"""Claim: relaxed clusters are fitted at more than half the rate of rigid ones, and their fields take milliseconds.

    python experiments/benchmark_relaxation.py            (about two minutes on 2 cores, once the library is made)
    python experiments/benchmark_relaxation.py --quick    (under a minute)

- fields: the displacement fields of 300 clusters of 290 to 310 atoms of the library, for gold.
- fits: 1024 clusters of 190 to 210 atoms are fitted to a simulated G(r) with noise on F(Q), and with r from 1 to 20 Å.
  Rigid clusters have four parameters (scale, stretch, Uiso, delta2), and relaxed clusters also have the relaxation. The
  rates are given for the fits alone, and together with the tables of the distances. The fields are made before.

Times are medians of several calls on two cores without compilation. The time of the first call is given apart.
"""

import argparse
import os
from pathlib import Path
from typing import Any

THREADS = 2
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json_rows
import numpy as np
import timing
from measured_pdfs import simulate_noisy_pdfs

from jaxstruc.clusters import library
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.clusters.library import Library
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import candidates
from jaxstruc.pdf import target as targets
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool, candidate_pool
from jaxstruc.pdf.target import Target
from jaxstruc.scattering import form_factors

NAME = "benchmark_relaxation"
RESULTS = Path(__file__).parent / "results"
ELEMENT = "Au"
BOND = form_factors.bond_length(ELEMENT)
R_GRID = np.arange(1.0, 20.005, 0.01)
Q_LIMITS = {"qmin": 1.0, "qmax": 22.0}
"""Limits of Q, in 1/Å."""
RIGID = tuple(name for name in DEFAULT_FREE_PARAMETERS if name != "relaxation")
FIELD_ATOMS, FIT_ATOMS = (290, 310), (190, 210)
"""Range of the numbers of atoms of the clusters whose fields are timed, and of the clusters that are fitted."""


def rows_of_size(clusters: Library, atoms: tuple[int, int], count: int) -> np.ndarray:
    """Return the indices of clusters with numbers of atoms in a range, drawn at random and repeated if necessary."""
    rows = np.flatnonzero((clusters.atoms >= atoms[0]) & (clusters.atoms <= atoms[1]))
    return np.resize(np.random.default_rng(0).permutation(rows), count)


def time_fields(clusters: Library, count: int, *, runs: int) -> dict[str, Any]:
    """Return the row of the displacement fields."""
    rows = np.unique(rows_of_size(clusters, FIELD_ATOMS, count))

    def compute() -> FieldStore:
        store = FieldStore(clusters, ELEMENT)
        store.compute(rows)
        return store

    store, first_seconds, seconds = timing.time_calls(compute, n_repeats=runs)
    reasons = [store.reason(row) for row in rows]
    return {
        "what": "fields",
        "clusters": len(rows),
        "mean_atoms": float(clusters.atoms[rows].mean()),
        "rigid": sum(map(bool, reasons)),
        "first_call_seconds": first_seconds,
        "seconds": seconds,
        "runs": runs,
    }


def time_fits(pool: CandidatePool, target: Target, free: tuple[str, ...], *, runs: int) -> dict[str, Any]:
    """Return the row of the fits of a pool."""
    size = len(pool.group_row)
    tables, *table_times = timing.time_calls(lambda: candidates.cluster_tables(pool, target, free=free), n_repeats=runs)
    fits, first_seconds, seconds = timing.time_calls(
        lambda: candidates.fit_cluster_tables(tables, target, free=free), n_repeats=runs
    )
    return {
        "what": "relaxed fits" if "relaxation" in free else "rigid fits",
        "batch": size,
        "mean_atoms": float(pool.n_atoms.mean()),
        "with_field": float(np.mean(np.asarray(tables.has_field)[:size])),
        "converged": float(np.mean(fits.converged)),
        "first_call_seconds": first_seconds + table_times[0],
        "seconds": seconds,
        "table_seconds": table_times[1],
        "fits_per_second": size / seconds,
        "fits_per_second_with_tables": size / (seconds + table_times[1]),
        "runs": runs,
    }


def main() -> None:
    """Run the benchmark and write its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer clusters and calls")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the rows")
    args = parser.parse_args()
    n_fields, batch, runs = (30, 64, 1) if args.quick else (300, 1024, 5)
    clusters = library.load_or_build()
    rows = rows_of_size(clusters, FIT_ATOMS, batch)
    store = FieldStore(clusters, ELEMENT)
    pool = candidate_pool([CandidateGroup("library", clusters, rows, fields=store)])
    pool.compute_fields()
    positions = pool.positions(0, 1.0) * BOND
    g = simulate_noisy_pdfs(
        positions, R_GRID, np.random.default_rng(1), noise=0.03, draws=1, uiso=0.008, delta2=2.0, qdamp=0.03, **Q_LIMITS
    )[0]
    span = targets.table_range(rmax=R_GRID[-1], qmax=Q_LIMITS["qmax"], diameter=float(pool.diameter.max()) * BOND)
    target = targets.make_target(
        R_GRID, g, targets.TargetSettings(**Q_LIMITS, qdamp=0.03, qbroad=0.0, bond=BOND, span=span, element=ELEMENT)
    )
    results = [time_fields(clusters, n_fields, runs=runs)]
    results += [time_fits(pool, target, free, runs=runs) for free in (RIGID, DEFAULT_FREE_PARAMETERS)]
    shared_columns = {"experiment": NAME, "commit": json_rows.commit(), **json_rows.environment()}
    results = [row | shared_columns for row in results]
    for row in results:
        json_rows.print_row(row)
    if not args.quick:
        json_rows.write_list(results, args.out / f"{NAME}.json")


if __name__ == "__main__":
    main()
