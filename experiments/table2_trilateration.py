"""Claim: trilateration takes well under 1 ms a structure, is as accurate as the noise allows, and beats L-BFGS-B.

    python experiments/table2_trilateration.py            (about 15 minutes on 2 cores)
    python experiments/table2_trilateration.py --quick    (under 50 s)

Table 2 of KDD 2020: seconds a structure with 4 / 11 / 100 satellites, 8.6 / 9.6 / 23.5 there. Fcc clusters of 19 to 93
atoms, turned at random, on the unit sphere; errors are Gaussian, of the given part of the radius. Beside it two uses of
SciPy's L-BFGS-B with squared residuals and analytic gradient on one core: `scipy-l-bfgs-b` places atom after atom as
the paper did, `scipy-l-bfgs-b-together` all at once, from the same closed-form start as jaxstruc. Times are medians
(SciPy's: means over the structures), compilation apart. `rmse_crb` is the Cramér-Rao bound of these structures and
weights. A last group of rows has one structure size each, 200 and 500 atoms; `peak_memory_mb` is that of the process so
far. Missing: 10 % of the distances, of weight 0. Outliers: 5 % of the distances, uniform between 0 and 2 radii, robust
loss; the bound is that without outliers.
"""

import argparse
import os
import resource
import sys
import time
from pathlib import Path

if "--all-cores" not in sys.argv:
    # One thread for NumPy; JAX has its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import placing
import rows

from jaxstruc.network import trilateration

NAME = "table2_trilateration"
RESULTS = Path(__file__).parent / "results"
COUNTS, NOISES, CASES = (4, 11, 100), (0.0, 0.01, 0.03), ("clean", "missing", "outliers")
QUICK = [(11, 0.01, "clean"), (11, 0.01, "outliers")]
PEERS = {"scipy-l-bfgs-b": placing.one_by_one, "scipy-l-bfgs-b-together": placing.together}


def ours(given: placing.Drawn, *, repeats: int) -> tuple[dict, np.ndarray]:
    """Return times and convergence of jaxstruc on a batch, and the positions."""
    cast = lambda x: None if x is None else jnp.asarray(x, jnp.float32)  # noqa: E731
    arguments = [cast(x) for x in (given.pair, given.satellite, given.presence, given.anchors)]
    weights = {"pair_weight": cast(given.pair_weight), "satellite_weight": cast(given.satellite_weight)}
    solve = jax.jit(lambda given, weights: trilateration.batched(*given, **weights, robust=given_scale))
    given_scale = given.scale
    begin = time.perf_counter()
    compiled = solve.lower(arguments, weights).compile()
    compiling = time.perf_counter() - begin
    found = jax.block_until_ready(compiled(arguments, weights))
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(arguments, weights))
        times.append(time.perf_counter() - begin)
    size = len(given.pair)
    row = {
        "seconds_per_structure": float(np.median(times)) / size,
        "converged": float(np.mean(found.converged)),
        "seconds_compiling": compiling,
        "steps": int(np.median(found.iterations)),
    }
    return row, np.asarray(found.positions)


def scipys(peer, given: placing.Drawn) -> tuple[dict, np.ndarray]:
    """Return the times of SciPy, structure by structure, and the positions."""
    found, times = np.zeros_like(given.positions), []
    for k, arguments in enumerate(placing.each(given)):
        begin = time.perf_counter()
        positions = peer(*arguments)
        times.append(time.perf_counter() - begin)
        found[k, : len(positions)] = positions
    return {"seconds_per_structure": float(np.mean(times)), "converged": None}, found


def measure(shapes, *, satellites, noise, case, batch, peers, repeats) -> list[dict]:
    """Return the rows of one case: ours, then SciPy on the first structures of the same batch."""
    rng = np.random.default_rng([satellites, round(1000 * noise), CASES.index(case)])
    given = placing.drawn(shapes, rng, count=batch, satellites=satellites, noise=noise, case=case)
    common = {"experiment": NAME, "satellites": satellites, "noise": noise, "case": case}
    common |= {"atoms": sorted({len(shape) for shape in shapes})}
    crb = placing.least_error(given, noise, count=min(batch, len(shapes)))
    row, found = ours(given, repeats=repeats)
    found_rows = [_row(common, "jaxstruc", batch, batch, row, placing.rmse(found, given), crb)]
    first = placing.Drawn(*(x[:peers] if i < 4 else x for i, x in enumerate(given)))
    for name, peer in PEERS.items() if peers else ():
        row, found = scipys(peer, first)
        found_rows.append(_row(common, name, peers, 1, row, placing.rmse(found, first), crb))
    return found_rows


def _row(common, method, n, batch, row, error, crb):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = {"peak_memory_mb": round(memory / (2**20 if sys.platform == "darwin" else 2**10))}
    given = {"method": method, "n": n, "batch": batch, "rmse": error, "rmse_crb": crb}
    return common | given | row | memory | rows.environment()


def main(arguments=None) -> list[dict]:
    """Run, show and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="11 satellites, fewer structures; writes nothing by itself"
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--peers", type=int, help="structures that SciPy solves [50; quick 8]")
    parser.add_argument("--out", type=Path, help=f"[results/{NAME}.json, but not with --quick]")
    parser.add_argument("--all-cores", action="store_true", help="no limit on NumPy's threads")
    options = parser.parse_args(arguments)
    peers = options.peers if options.peers is not None else (8 if options.quick else 50)
    family = placing.family()
    cases = [(s, noise, case) for s in COUNTS for noise in NOISES for case in CASES]
    if options.quick:
        cases = QUICK
    plans = [
        (family, {"satellites": s, "noise": noise, "case": case, "batch": options.batch, "peers": peers, "repeats": 7})
        for s, noise, case in cases
    ]
    for atoms, batch in () if options.quick else ((200, 64), (500, 16)):
        more = {"satellites": 11, "noise": 0.01, "case": "clean", "batch": batch, "peers": 2, "repeats": 3}
        plans.append(([placing.shape(atoms)], more))
    results = []
    for shapes, plan in plans:
        for row in measure(shapes, **plan):
            rows.show(row)
            results.append(row)
    out = options.out or (None if options.quick else RESULTS / f"{NAME}.json")
    if out is not None:
        rows.write(results, out)
    return results


if __name__ == "__main__":
    main()
