"""Claim: trilateration takes far less than 1 ms per structure, is as accurate as the noise allows, and beats L-BFGS-B.

    python experiments/table2_trilateration.py            (about 15 minutes on 2 cores)
    python experiments/table2_trilateration.py --quick    (under 50 s)

Table 2 of KDD 2020 gives 8.6, 9.6 and 23.5 seconds per structure with 4, 11 and 100 satellites. Here fcc clusters of 19
to 93 atoms are rotated at random on the unit sphere. Errors are Gaussian and relative to the radius. SciPy's L-BFGS-B
with squared residuals and analytic gradients is timed on one core for two methods. `scipy-l-bfgs-b` places one atom
after another as in the paper. `scipy-l-bfgs-b-together` moves all atoms together, from the same closed-form start as
jaxstruc. Times are medians (for SciPy means over the structures) without compilation. `rmse_crb` is the Cramér-Rao
bound for these structures and weights. In the last rows all structures have 200 or 500 atoms. `peak_memory_mb` is the
peak memory of the process up to this row. In the case `missing`, 10 % of the distances have weight 0. In the case
`outliers`, 5 % of the distances are uniform between 0 and 2 radii, and the loss is robust. The bound is then that
without outliers.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if "--all-cores" not in sys.argv:
    # One thread for NumPy; JAX has its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import json_rows
import numpy as np
import trilateration_baselines

from jaxstruc.network.cvae import trilateration

NAME = "table2_trilateration"
RESULTS = Path(__file__).parent / "results"
SATELLITE_COUNTS, NOISES, CASES = (4, 11, 100), (0.0, 0.01, 0.03), ("clean", "missing", "outliers")
QUICK_CASES = [(11, 0.01, "clean"), (11, 0.01, "outliers")]
SCIPY_SOLVERS = {
    "scipy-l-bfgs-b": trilateration_baselines.solve_sequentially,
    "scipy-l-bfgs-b-together": trilateration_baselines.solve_jointly,
}


def time_jaxstruc(distances: trilateration_baselines.DistanceBatch, *, repeats: int) -> tuple[dict, np.ndarray]:
    """Return times, convergence and positions of jaxstruc for a batch."""
    cast = lambda array: None if array is None else jnp.asarray(array, jnp.float32)  # noqa: E731
    arguments = [cast(array) for array in (distances.pair, distances.satellite, distances.presence, distances.anchors)]
    weights = {"pair_weight": cast(distances.pair_weight), "satellite_weight": cast(distances.satellite_weight)}
    solve = jax.jit(
        lambda distances, weights: trilateration.trilaterate_batch(*distances, **weights, outlier_scale=robust_scale)
    )
    robust_scale = distances.scale
    start = time.perf_counter()
    compiled_solve = solve.lower(arguments, weights).compile()
    compile_seconds = time.perf_counter() - start
    solution = jax.block_until_ready(compiled_solve(arguments, weights))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled_solve(arguments, weights))
        times.append(time.perf_counter() - start)
    size = len(distances.pair)
    row = {
        "seconds_per_structure": float(np.median(times)) / size,
        "converged": float(np.mean(solution.converged)),
        "seconds_compiling": compile_seconds,
        "steps": int(np.median(solution.iterations)),
    }
    return row, np.asarray(solution.positions)


def time_scipy(solver, distances: trilateration_baselines.DistanceBatch) -> tuple[dict, np.ndarray]:
    """Return times and positions of SciPy, structure by structure."""
    solved_positions, times = np.zeros_like(distances.positions), []
    for index, arguments in enumerate(trilateration_baselines.unpadded_inputs(distances)):
        start = time.perf_counter()
        positions = solver(*arguments)
        times.append(time.perf_counter() - start)
        solved_positions[index, : len(positions)] = positions
    return {"seconds_per_structure": float(np.mean(times)), "converged": None}, solved_positions


def measure_case(shapes, *, satellites, noise, case, batch, peers, repeats) -> list[dict]:
    """Return the rows of one case: jaxstruc, then SciPy on the first structures of the same batch."""
    rng = np.random.default_rng([satellites, round(1000 * noise), CASES.index(case)])
    distances = trilateration_baselines.draw_distances(
        shapes, rng, count=batch, satellites=satellites, noise=noise, case=case
    )
    shared_columns = {"experiment": NAME, "satellites": satellites, "noise": noise, "case": case}
    shared_columns |= {"atoms": sorted({len(shape) for shape in shapes})}
    crb = trilateration_baselines.cramer_rao_rmse(distances, noise, count=min(batch, len(shapes)))
    row, positions = time_jaxstruc(distances, repeats=repeats)
    result_rows = [
        _result_row(
            shared_columns, "jaxstruc", batch, batch, row, trilateration_baselines.rmse(positions, distances), crb
        )
    ]
    first_distances = trilateration_baselines.DistanceBatch(
        *(array[:peers] if field_index < 4 else array for field_index, array in enumerate(distances))
    )
    for name, solver in SCIPY_SOLVERS.items() if peers else ():
        row, positions = time_scipy(solver, first_distances)
        result_rows.append(
            _result_row(
                shared_columns, name, peers, 1, row, trilateration_baselines.rmse(positions, first_distances), crb
            )
        )
    return result_rows


def _result_row(shared_columns, method, n_structures, batch, row, rmse, crb):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = {"peak_memory_mb": round(memory / (2**20 if sys.platform == "darwin" else 2**10))}
    columns = {"method": method, "n": n_structures, "batch": batch, "rmse": rmse, "rmse_crb": crb}
    return shared_columns | columns | row | memory | json_rows.environment()


def main(
    arguments=None,
    *,
    fcc_shapes: Sequence[np.ndarray] | None = None,
    quick_cases: Sequence[tuple[int, float, str]] = QUICK_CASES,
) -> list[dict]:
    """Run all cases, and print and write the rows.

    Args:
        arguments: Arguments of the command line.
        fcc_shapes: Positions of the structures, by default `trilateration_baselines.fcc_positions()`.
        quick_cases: Number of satellites, noise and case of the rows with --quick.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="use 11 satellites and fewer structures, and write nothing without --out"
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--peers", type=int, help="number of structures that SciPy solves [50; quick 8]")
    parser.add_argument("--out", type=Path, help=f"file of the rows [results/{NAME}.json; with --quick none]")
    parser.add_argument("--all-cores", action="store_true", help="do not limit the threads of NumPy")
    options = parser.parse_args(arguments)
    peers = options.peers if options.peers is not None else (8 if options.quick else 50)
    fcc_shapes = trilateration_baselines.fcc_positions() if fcc_shapes is None else fcc_shapes
    cases = [(n_satellites, noise, case) for n_satellites in SATELLITE_COUNTS for noise in NOISES for case in CASES]
    if options.quick:
        cases = list(quick_cases)
    plans = [
        (
            fcc_shapes,
            {
                "satellites": n_satellites,
                "noise": noise,
                "case": case,
                "batch": options.batch,
                "peers": peers,
                "repeats": 7,
            },
        )
        for n_satellites, noise, case in cases
    ]
    for atoms, batch in () if options.quick else ((200, 64), (500, 16)):
        large_case = {"satellites": 11, "noise": 0.01, "case": "clean", "batch": batch, "peers": 2, "repeats": 3}
        plans.append(([trilateration_baselines.ball_positions(atoms)], large_case))
    results = []
    for shapes, plan in plans:
        for row in measure_case(shapes, **plan):
            json_rows.print_row(row)
            results.append(row)
    out = options.out or (None if options.quick else RESULTS / f"{NAME}.json")
    if out is not None:
        json_rows.write_list(results, out)
    return results


if __name__ == "__main__":
    main()
