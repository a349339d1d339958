"""Claim: pair distances replace most of the missing satellites for 87 atoms, and half of them for 19 atoms.

    python experiments/figure6_satellites.py            (about two minutes on 2 cores)
    python experiments/figure6_satellites.py --quick    (under 50 s)

This is figure 6 of KDD 2020. Structures of 19 and 87 atoms are reconstructed from distances to 4, 11 and 100
satellites, with pair distances and without them (with weight 0). The distances have Gaussian errors of 0.0045 radii,
as those of the shipped decoder for its validation set, or of 0.05 radii, which are large enough to be visible. The
picture shows one structure of each case over the true one. The rows hold the errors over all draws and the Cramér-Rao
bound.
"""

import argparse
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import json_rows
import matplotlib.figure
import numpy as np
import plots
import trilateration_baselines

from jaxstruc.network.cvae import trilateration

NAME = "figure6_satellites"
RESULTS = Path(__file__).parent / "results"
NOISES = (0.0045, 0.05)
"""Standard deviations of the errors of distances, in units of the particle's radius. The first is the root mean square
error of a pair distance in the validation of the shipped model."""
ATOM_COUNTS, SATELLITE_COUNTS = (19, 87), (4, 11, 100)
WEIGHTS = {"pairs and satellites": 1.0, "satellites alone": 0.0}
SOLVE = jax.jit(trilateration.trilaterate_batch)


def measure(shape, *, satellites, noise, count) -> list[tuple[dict, np.ndarray, np.ndarray]]:
    """Return a row and the true and found positions of the first structure, for each weight of the pair distances."""
    rng = np.random.default_rng([len(shape), satellites])
    distances = trilateration_baselines.draw_distances(
        [shape], rng, count=count, satellites=satellites, noise=noise, case="clean", atoms=max(ATOM_COUNTS)
    )
    solver_inputs = [jnp.asarray(array, jnp.float32) for array in distances[:5]][1:]
    results = []
    for name, weight in WEIGHTS.items():
        weighted_distances = distances._replace(pair_weight=np.full_like(distances.pair, weight))
        weights = {"pair_weight": jnp.asarray(weighted_distances.pair_weight, jnp.float32)}
        jax.block_until_ready(SOLVE(*solver_inputs, **weights))
        start = time.perf_counter()
        solution = jax.block_until_ready(SOLVE(*solver_inputs, **weights))
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
            "seconds_per_structure": (time.perf_counter() - start) / count,
            "rmse": trilateration_baselines.rmse(solution.positions, distances),
            "rmse_crb": trilateration_baselines.cramer_rao_rmse(weighted_distances, noise, count=1),
            "converged": float(np.mean(solution.converged)),
        }
        is_atom = distances.presence[0] > 0
        results.append(
            (row | json_rows.environment(), distances.positions[0][is_atom], np.asarray(solution.positions[0])[is_atom])
        )
    return results


def plot_structures(cells: list[list[tuple[dict, np.ndarray, np.ndarray]]], path: Path) -> None:
    """Draw one structure for each size, number of satellites and choice of distances."""
    figure = matplotlib.figure.Figure(figsize=(2.4 * len(cells), 5.2), layout="constrained")
    for column, cell in enumerate(cells):
        for line_index, (row, true_positions, found_positions) in enumerate(cell):
            axes = figure.add_subplot(len(cell), len(cells), line_index * len(cells) + column + 1)
            plots.draw_overlay(axes, true_positions, found_positions)
            axes.set_title(f"{row['atoms']} atoms, {row['satellites']} satellites\nRMSE {row['rmse']:.3f}", fontsize=8)
            if not column:
                axes.set_ylabel(row["distances"], fontsize=8)
    plots.save_figure(figure, path)


def main(
    arguments=None,
    *,
    atom_counts: Sequence[int] = ATOM_COUNTS,
    satellite_counts: Sequence[int] = SATELLITE_COUNTS,
) -> list[dict]:
    """Run all cases, print the rows, and write rows and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use 16 draws, and write nothing without --out")
    parser.add_argument("--count", type=int, help="number of draws of each structure [256; quick 16]")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"file of the rows [results/{NAME}.json; with --quick none]; a .png is written next to it",
    )
    options = parser.parse_args(arguments)
    count = options.count or (16 if options.quick else 256)
    shapes = [shape for shape in trilateration_baselines.fcc_positions() if len(shape) in atom_counts]
    cells = []
    for noise, shape, satellites in itertools.product(NOISES, shapes, satellite_counts):
        cells.append(measure(shape, satellites=satellites, noise=noise, count=count))
        for row, *_ in cells[-1]:
            json_rows.print_row(row)
    results = [row for cell in cells for row, *_ in cell]
    out = options.out or (None if options.quick else RESULTS / f"{NAME}.json")
    if out is not None:
        json_rows.write_list(results, out)
        plot_structures(cells[-len(shapes) * len(satellite_counts) :], out.with_suffix(".png"))
    return results


if __name__ == "__main__":
    main()
