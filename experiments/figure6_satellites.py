"""Claim: more satellites help; pair distances make up for most of the missing ones at 87 atoms, for half at 19.

    python experiments/figure6_satellites.py            (about two minutes on 2 cores)
    python experiments/figure6_satellites.py --quick    (under 50 s)

Figure 6 of KDD 2020: structures of 19 and 87 atoms from 4, 11 and 100 satellites, from the satellites alone (pair
distances of weight 0) and with the pair distances. The distances have a Gaussian error: 0.0045 radii, that of the
shipped model's decoder on its validation set, and 0.05 radii, which the picture shows because it can be seen. It draws
one structure each over the true one; the rows have the errors over all draws, and the Cramér-Rao bound.
"""

import argparse
import itertools
import time
from pathlib import Path

import drawing
import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import placing
import rows

from jaxstruc.network import trilateration

NAME = "figure6_satellites"
RESULTS = Path(__file__).parent / "results"
NOISES = (0.0045, 0.05)
"""Radii; the first is the root of the shipped model's mean squared error of a pair distance in validation."""
SIZES, COUNTS = (19, 87), (4, 11, 100)
WEIGHTS = {"pairs and satellites": 1.0, "satellites alone": 0.0}
SOLVE = jax.jit(trilateration.batched)


def measure(shape, *, satellites, noise, count) -> list[tuple[dict, np.ndarray, np.ndarray]]:
    """Return a row, the true and the found positions of the first structure, for each of `WEIGHTS`."""
    rng = np.random.default_rng([len(shape), satellites])
    given = placing.drawn([shape], rng, count=count, satellites=satellites, noise=noise, case="clean", atoms=max(SIZES))
    data = [jnp.asarray(x, jnp.float32) for x in given[:5]][1:]
    results = []
    for name, weight in WEIGHTS.items():
        kept = given._replace(pair_weight=np.full_like(given.pair, weight))
        weights = {"pair_weight": jnp.asarray(kept.pair_weight, jnp.float32)}
        jax.block_until_ready(SOLVE(*data, **weights))
        begin = time.perf_counter()
        found = jax.block_until_ready(SOLVE(*data, **weights))
        row = {
            "experiment": NAME,
            "method": "jaxstruc",
            "satellites": satellites,
            "noise": noise,
            "case": "clean",
            "distances": name,
            "atoms": len(shape),
            "n": count,
            "batch": count,
            "seconds_per_structure": (time.perf_counter() - begin) / count,
            "rmse": placing.rmse(found.positions, given),
            "rmse_crb": placing.least_error(kept, noise, count=1),
            "converged": float(np.mean(found.converged)),
        }
        there = given.presence[0] > 0
        results.append((row | rows.environment(), given.positions[0][there], np.asarray(found.positions[0])[there]))
    return results


def picture(drawn: list[list[tuple[dict, np.ndarray, np.ndarray]]], path: Path) -> None:
    """Draw a structure for each size, number of satellites and choice of distances."""
    figure = matplotlib.figure.Figure(figsize=(2.4 * len(drawn), 5.2), layout="constrained")
    for column, cell in enumerate(drawn):
        for line, (row, true, found) in enumerate(cell):
            axes = figure.add_subplot(len(cell), len(drawn), line * len(drawn) + column + 1)
            drawing.overlay(axes, true, found)
            axes.set_title(f"{row['atoms']} atoms, {row['satellites']} satellites\nRMSE {row['rmse']:.3f}", fontsize=8)
            if not column:
                axes.set_ylabel(row["distances"], fontsize=8)
    drawing.save(figure, path)


def main(arguments=None) -> list[dict]:
    """Run, show, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 draws; writes nothing by itself")
    parser.add_argument("--count", type=int, help="draws of each structure [256; quick 16]")
    parser.add_argument("--out", type=Path, help=f"[results/{NAME}.json, but not with --quick]; a .png beside it")
    options = parser.parse_args(arguments)
    count = options.count or (16 if options.quick else 256)
    shapes = [shape for shape in placing.family() if len(shape) in SIZES]
    drawn = []
    for noise, shape, satellites in itertools.product(NOISES, shapes, COUNTS):
        drawn.append(measure(shape, satellites=satellites, noise=noise, count=count))
        for row, *_ in drawn[-1]:
            rows.show(row)
    results = [row for cell in drawn for row, *_ in cell]
    out = options.out or (None if options.quick else RESULTS / f"{NAME}.json")
    if out is not None:
        rows.write(results, out)
        picture(drawn[-len(shapes) * len(COUNTS) :], out.with_suffix(".png"))
    return results


if __name__ == "__main__":
    main()
