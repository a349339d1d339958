"""Figures of `solving.py`: how often particles are solved, and how sure the atoms of one are.

    python experiments/figure_solving.py                   (a minute on 2 cores; from the rows of solving.py)
    python experiments/figure_solving.py --quick           (another particle and a small library; writes nothing)

Left: the share of particles that are solved, against the noise, of the search and its controls; bars are the standard
error. Right: the atoms of a particle at 10 % of noise, coloured by how sure they are, beside the true ones.
"""

import argparse
import itertools
from pathlib import Path

import matplotlib.figure
import numpy as np
import solving
from drawing import TRUE, save, spheres
from matplotlib import colormaps
from scipy.spatial import KDTree

from jaxstruc.solver.answers import answers

PICTURE = Path(__file__).parent / "results" / "solving.png"
SHOWN = {"offrule": "search", "library": "library alone", "full": "search, full"}
CASE = {"part": "offrule", "kind": "fcc", "seed": 1, "draw": 1, "noise": 0.1}


def rates(axes, rows: list[dict]) -> None:
    """Draw the share of solved particles against the noise."""
    for part, name in SHOWN.items():
        points = []
        for noise in sorted({row["noise"] for row in rows if row["part"] == part}):
            good = [solving.solved(row) for row in rows if (row["part"], row["noise"]) == (part, noise)]
            points.append((100 * noise, 100 * np.mean(good), 100 * np.std(good) / np.sqrt(len(good))))
        if points:
            axes.errorbar(*np.array(points).T, fmt="o-", ms=4, lw=1, capsize=2, label=name)
    axes.set(xlabel="noise on F(Q), %", ylabel="solved, %", ylim=(-2, 102))
    axes.legend(frameon=False, fontsize=8)


def laid(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the found atoms laid upon the true ones by their principal axes, mirrored or not."""
    frames = [np.linalg.eigh(np.cov(x.T))[1] for x in (found, true)]
    tree, centred = KDTree(true - true.mean(axis=0)), found - found.mean(axis=0)
    ways = [frames[0] * signs @ frames[1].T for signs in itertools.product((-1.0, 1.0), repeat=3)]
    best = min(ways, key=lambda way: tree.query(centred @ way)[0].mean())
    return centred @ best + true.mean(axis=0)


def particle(figure, *, quick: bool) -> dict[str, float]:
    """Draw a particle's atoms by how sure they are, and the true ones; return what was found."""
    asked = solving.PARTS[CASE["part"]]
    one = solving.case({**CASE, "seed": 0, "draw": 0} if quick else CASE, asked)
    best = next(answers([one.measurement], solving.plan(asked, 100 if quick else 1000))).best
    true = one.particle.positions * solving.BOND
    found = laid(best.atoms.positions, true)
    sure = np.ones(len(found)) if best.occupancy is None else np.asarray(best.occupancy, float)
    left, right = figure.subplots(1, 2)
    reach = float(np.linalg.norm(true - true.mean(axis=0), axis=1).max()) + solving.BOND
    tint = colormaps["RdYlBu"]
    spheres(left, true, bond=solving.BOND, reach=reach, colour=TRUE)
    spheres(right, found, bond=solving.BOND, reach=reach, colour=tint(sure)[:, :3])
    left.set_title(f"true, {len(true)} atoms", fontsize=9)
    right.set_title(f"found, {len(found)} atoms", fontsize=9)
    figure.colorbar(matplotlib.cm.ScalarMappable(cmap=tint), ax=[left, right], label="how sure an atom is", shrink=0.6)
    return {"atoms": len(true), "found": len(found), "rw": best.rw, "least_sure": float(sure.min())}


def main(words=None) -> dict[str, float]:
    """Draw, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="another particle and a small library; writes nothing")
    parser.add_argument("--out", type=Path, help="[results/solving.png, but not with --quick]")
    asked = parser.parse_args(words)
    figure = matplotlib.figure.Figure(figsize=(9.5, 3.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.8))
    rates(left.subplots(), solving.load(solving.RESULTS / "solving.jsonl"))
    said = particle(right, quick=asked.quick)
    print(said)
    if out := asked.out or (None if asked.quick else PICTURE):
        save(figure, out)
    return said


if __name__ == "__main__":
    main()
