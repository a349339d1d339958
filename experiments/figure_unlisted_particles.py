"""Figure of `unlisted_particles.py`: how often particles are solved, and how probable the atoms of one particle are.

    python experiments/figure_unlisted_particles.py            (a minute on 2 cores; from the rows of the experiment)
    python experiments/figure_unlisted_particles.py --quick    (another particle and a small library; writes nothing)

The left panel shows the share of solved particles against the noise, for the search and its controls. Bars are standard
errors. The right panels show the true atoms of a particle, and the atoms found with 10 % of noise, coloured by their
probability (occupancy).
"""

import argparse
import itertools
from pathlib import Path

import json_rows
import matplotlib.figure
import numpy as np
import unlisted_particles
from matplotlib import colormaps
from plots import TRUE_COLOUR, draw_spheres, save_figure
from scipy.spatial import KDTree

from jaxstruc.pdf.solve import solve_measurements

FIGURE_PATH = Path(__file__).parent / "results" / "unlisted_particles.png"
PART_LABELS = {"offrule": "search", "library": "only library", "full": "search, full"}
EXAMPLE_CASE = {"part": "offrule", "kind": "fcc", "seed": 1, "draw": 1, "noise": 0.1}


def plot_solved_share(axes, rows: list[dict]) -> None:
    """Draw the share of solved particles against the noise."""
    for part, label in PART_LABELS.items():
        points = []
        for noise in sorted({row["noise"] for row in rows if row["part"] == part}):
            is_solved = [
                unlisted_particles.is_solved(row) for row in rows if (row["part"], row["noise"]) == (part, noise)
            ]
            points.append((100 * noise, 100 * np.mean(is_solved), 100 * np.std(is_solved) / np.sqrt(len(is_solved))))
        if points:
            axes.errorbar(*np.array(points).T, fmt="o-", ms=4, lw=1, capsize=2, label=label)
    axes.set(xlabel="noise on F(Q), %", ylabel="solved, %", ylim=(-2, 102))
    axes.legend(frameon=False, fontsize=8)


def superpose(found_positions: np.ndarray, true_positions: np.ndarray) -> np.ndarray:
    """Return the found atoms superposed on the true ones by the principal axes, mirrored if this agrees better."""
    frames = [np.linalg.eigh(np.cov(positions.T))[1] for positions in (found_positions, true_positions)]
    tree, centred_positions = (
        KDTree(true_positions - true_positions.mean(axis=0)),
        found_positions - found_positions.mean(axis=0),
    )
    rotations = [frames[0] * signs @ frames[1].T for signs in itertools.product((-1.0, 1.0), repeat=3)]
    best_rotation = min(rotations, key=lambda rotation: tree.query(centred_positions @ rotation)[0].mean())
    return centred_positions @ best_rotation + true_positions.mean(axis=0)


def plot_particle(figure, *, quick: bool) -> dict[str, float]:
    """Draw the true atoms of a particle and the found ones with their occupancy, and return a summary."""
    case_set = unlisted_particles.CASE_SETS[EXAMPLE_CASE["part"]]
    case = unlisted_particles.simulate_case({**EXAMPLE_CASE, "seed": 0, "draw": 0} if quick else EXAMPLE_CASE, case_set)
    candidate = next(
        solve_measurements([case.measurement], unlisted_particles.solve_plan(case_set, 100 if quick else 1000))
    ).best
    true_positions = case.particle.positions * unlisted_particles.BOND
    found_positions = superpose(candidate.atoms.positions, true_positions)
    occupancy = np.ones(len(found_positions)) if candidate.occupancy is None else np.asarray(candidate.occupancy, float)
    true_axes, found_axes = figure.subplots(1, 2)
    half_width = (
        float(np.linalg.norm(true_positions - true_positions.mean(axis=0), axis=1).max()) + unlisted_particles.BOND
    )
    colour_map = colormaps["RdYlBu"]
    draw_spheres(true_axes, true_positions, bond=unlisted_particles.BOND, reach=half_width, colour=TRUE_COLOUR)
    draw_spheres(
        found_axes, found_positions, bond=unlisted_particles.BOND, reach=half_width, colour=colour_map(occupancy)[:, :3]
    )
    true_axes.set_title(f"true, {len(true_positions)} atoms", fontsize=9)
    found_axes.set_title(f"found, {len(found_positions)} atoms", fontsize=9)
    figure.colorbar(
        matplotlib.cm.ScalarMappable(cmap=colour_map),
        ax=[true_axes, found_axes],
        label="occupancy",
        shrink=0.6,
    )
    return {
        "atoms": len(true_positions),
        "found": len(found_positions),
        "rw": candidate.rw,
        "least_sure": float(occupancy.min()),
    }


def main(arguments=None) -> dict[str, float]:
    """Draw and write the figure, and print a summary of the particle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="use another particle and a small library, and write nothing"
    )
    parser.add_argument(
        "--out", type=Path, help="file of the picture [results/unlisted_particles.png; with --quick none]"
    )
    options = parser.parse_args(arguments)
    figure = matplotlib.figure.Figure(figsize=(9.5, 3.4), layout="constrained")
    share_figure, particle_figure = figure.subfigures(1, 2, width_ratios=(1, 1.8))
    plot_solved_share(
        share_figure.subplots(), json_rows.read_lines(unlisted_particles.RESULTS / "unlisted_particles.jsonl")
    )
    summary = plot_particle(particle_figure, quick=options.quick)
    print(summary)
    if out := options.out or (None if options.quick else FIGURE_PATH):
        save_figure(figure, out)
    return summary


if __name__ == "__main__":
    main()
