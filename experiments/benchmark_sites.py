"""Claim: a site search evaluates half a million single moves exactly per second and core.

    taskset -c 0 python experiments/benchmark_sites.py     (on one core; about a minute)
    python experiments/benchmark_sites.py --quick          (small lattices, few steps; writes nothing)

The search reconstructs fcc spheres of 100, 300 and 600 atoms from data up to r = 30 Å, on lattices with twice as many
sites. A step computes the exact costs of all single moves, one for each site, and of 48 x 48 exchanges, and makes the
best move. The lower bound of its time ("floor") is the time that NumPy needs to read the fields of all sites twice,
once for their projection on the data and once for their squares. Any exact step reads at least these numbers.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import json_rows
import numpy as np
import timing
import unlisted_particles

from jaxstruc.clusters import lattice_sites
from jaxstruc.pdf import site_moves, target
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.site_moves import CostWeights

RESULTS = Path(__file__).parent / "results"
ATOM_COUNTS, N_STARTS, N_STEPS, N_REPEATS = (100, 300, 600), 4, 200, 5


def measure(atoms: int, steps: int) -> dict:
    """Return the row for a number of atoms: the time of a step, moves per second and the lower bound."""
    origins = np.random.default_rng(atoms).uniform(-0.5, 0.5, (N_STARTS + 1, 3))
    n_sites = 256 * -(-2 * atoms // 256)
    balls = [lattice_sites.nearest_sites("c" * 64, origin, n_sites) for origin in origins]
    values = {"qmin": 0.8, "qmax": 20.0, "qdamp": 0.02, "uiso": 0.008, "delta2": 2.0, "stretch": 1.0}
    r, g = unlisted_particles.simulate_pdf(balls[-1].positions[:atoms], values, 0.03, 30.0, np.random.default_rng(0))
    q_settings = {name: values[name] for name in ("qmin", "qmax", "qdamp")}
    span = target.table_range(rmax=30.0, qmax=20.0, diameter=60.0)
    basis = target.make_target(
        r, g, target.TargetSettings(**q_settings, qbroad=0.0, bond=unlisted_particles.BOND, span=span, absolute=True)
    ).basis
    ones = jnp.ones(N_STARTS, jnp.float32)
    fit_values = FitValues(ones, ones, 0.008 * ones, 0 * ones, 2.0 * ones, 0.02 * ones, 0 * ones, 0 * ones)
    occupation = jnp.asarray(np.tile(np.arange(n_sites) < atoms, (N_STARTS, 1)), jnp.float32)
    weights = CostWeights(*(jnp.float32(value) for value in (150.0, 1.0, 0.0)))
    site_arrays = site_moves.site_graphs(balls[:N_STARTS])

    def time_searches(n_steps: int) -> tuple[float, float]:
        arguments = site_arrays, occupation, fit_values, basis, weights, jax.random.key(0), n_steps
        return timing.time_calls(lambda: site_moves.search_sites(*arguments), n_repeats=N_REPEATS)[1:]

    first_seconds, long_seconds = time_searches(steps)
    _, short_seconds = time_searches(1)
    step_seconds = (long_seconds - short_seconds) / (steps - 1) / N_STARTS
    field = np.ones((n_sites, len(basis.data)), np.float32)
    start = time.perf_counter()
    for _ in range(100):
        field @ field[0]
        np.einsum("ij,ij->i", field, field)
    floor_seconds = (time.perf_counter() - start) / 100
    return {
        "atoms": atoms,
        "sites": n_sites,
        "functions": len(basis.data),
        "starts": N_STARTS,
        "first_call": first_seconds,
        "ms_a_step": 1e3 * step_seconds,
        "single_moves_a_second": n_sites / step_seconds,
        "exchanges_a_second": site_moves.N_EXCHANGE_SITES**2 / step_seconds,
        "floor_ms": 1e3 * floor_seconds,
        "times_the_floor": step_seconds / floor_seconds,
    } | json_rows.provenance()


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Measure all sizes, print the rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="use small lattices and few steps, and write nothing without --out"
    )
    parser.add_argument("--out", type=Path, help="file of the rows [results/benchmark_sites.jsonl; with --quick none]")
    options = parser.parse_args(arguments)
    result_rows = [
        measure(atoms, 20 if options.quick else N_STEPS)
        for atoms in (ATOM_COUNTS[:1] if options.quick else ATOM_COUNTS)
    ]
    for row in result_rows:
        json_rows.print_row(row)
    if out := options.out or (None if options.quick else RESULTS / "benchmark_sites.jsonl"):
        json_rows.write_lines(result_rows, out)
    return result_rows


if __name__ == "__main__":
    main()
