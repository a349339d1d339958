"""Claim: a search makes half a million exact single moves a second a core, and how far that is from the floor.

    taskset -c 0 python experiments/benchmark_sites.py     (on one core; about a minute)
    python experiments/benchmark_sites.py --quick          (small hosts, few steps; writes nothing)

Balls of fcc of 100, 300 and 600 atoms, r to 30 Å, on hosts of twice the sites. A step knows the exact cost of all
single moves, one a site, and of 48 x 48 exchanges, and makes the best. Floor: the time to read the fields of all sites,
once for what they are along the data and once for their own squares, by NumPy; any exact step does at least that.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import rows
import solving

from jaxstruc.inference import sites, target
from jaxstruc.inference.sites import Weights
from jaxstruc.inference.values import Values
from jaxstruc.structures import hosts

RESULTS = Path(__file__).parent / "results"
ATOMS, STARTS, STEPS, REPEATS = (100, 300, 600), 4, 200, 5


def measure(atoms: int, steps: int) -> dict:
    """Return the row of a size."""
    places = np.random.default_rng(atoms).uniform(-0.5, 0.5, (STARTS + 1, 3))
    count = 256 * -(-2 * atoms // 256)
    several = [hosts.host("c" * 64, place, count) for place in places]
    values = {"qmin": 0.8, "qmax": 20.0, "qdamp": 0.02, "uiso": 0.008, "delta2": 2.0, "stretch": 1.0}
    r, g = solving.curve(several[-1].positions[:atoms], values, 0.03, 30.0, np.random.default_rng(0))
    known = {name: values[name] for name in ("qmin", "qmax", "qdamp")}
    span = target.span(rmax=30.0, qmax=20.0, diameter=60.0)
    basis = target.target(r, g, **known, qbroad=0.0, bond=solving.BOND, span=span, absolute=True).basis
    one = jnp.ones(STARTS, jnp.float32)
    every = Values(one, one, 0.008 * one, 0 * one, 2.0 * one, 0.02 * one, 0 * one)
    begin = jnp.asarray(np.tile(np.arange(count) < atoms, (STARTS, 1)), jnp.float32)
    weights = Weights(*(jnp.float32(x) for x in (150.0, 1.0, 0.0)))
    where = sites.sites(several[:STARTS])

    def seconds(number: int) -> float:
        begun = time.perf_counter()
        jax.block_until_ready(sites.searched(where, begin, every, basis, weights, jax.random.key(0), number))
        return time.perf_counter() - begun

    first = seconds(steps)
    long, short = (np.median([seconds(number) for _ in range(REPEATS)]) for number in (steps, 1))
    step = (long - short) / (steps - 1) / STARTS
    field = np.ones((count, len(basis.data)), np.float32)
    begun = time.perf_counter()
    for _ in range(100):
        field @ field[0]
        np.einsum("ij,ij->i", field, field)
    floor = (time.perf_counter() - begun) / 100
    return {
        "atoms": atoms, "sites": count, "functions": len(basis.data), "starts": STARTS, "first_call": first,
        "ms_a_step": 1e3 * step, "single_moves_a_second": count / step,
        "exchanges_a_second": sites.FRONTIER**2 / step, "floor_ms": 1e3 * floor, "times_the_floor": step / floor,
    } | rows.environment() | {"commit": rows.commit()}  # fmt: skip


def main(words: Sequence[str] | None = None) -> list[dict]:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small hosts, few steps; writes nothing by itself")
    parser.add_argument("--out", type=Path, help="[results/benchmark_sites.jsonl; quick: nowhere]")
    asked = parser.parse_args(words)
    found = [measure(atoms, 20 if asked.quick else STEPS) for atoms in (ATOMS[:1] if asked.quick else ATOMS)]
    for row in found:
        rows.show(row)
    if out := asked.out or (None if asked.quick else RESULTS / "benchmark_sites.jsonl"):
        rows.write_lines(found, out)
    return found


if __name__ == "__main__":
    main()
