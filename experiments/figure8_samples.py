"""Claim of the paper, put to the test: draws from a PDF's prior have the right number of atoms.

    python experiments/figure8_samples.py            (about two minutes on 2 cores, from the finished training)
    python experiments/figure8_samples.py --quick    (under 50 s: a tiny training that has learnt nothing)

Figure 8 of KDD 2020 shows ten reconstructions from the test set. Here four test PDFs of seed 0, from the smallest to
the largest structure, are drawn with the first five draws of each. The rows are of ten draws for each test PDF of all
seeds: means over the draws, the best draw by Rw, how much Pearson differs between draws, and how many different
numbers of atoms there are.
"""

import argparse
from typing import NamedTuple

import drawing
import figures
import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import rows
import table1_reconstruction
import trainings

from jaxstruc.network import dataset, evaluation
from jaxstruc.network.evaluation import Structures

NAME = "figure8_samples"
DRAWS, SHOWN, CASES = 10, 5, 4
"""Draws of a PDF, those of them in the picture, PDFs in the picture."""


class Drawn(NamedTuple):
    """Draws for some PDFs."""

    found: list[Structures]
    """One of each draw, for all PDFs."""
    measures: dict[str, np.ndarray]
    """[draw, pdf], by the names of the results' rows."""


def drawn(data: dataset.Dataset, run: trainings.Trained, at: int, which: np.ndarray) -> Drawn:
    """Return the draws for test PDFs, of one seed's network."""
    pdf = jnp.asarray(data.pdf[which])
    keys = jax.random.split(jax.random.key(run.seeds[at]), DRAWS)
    found = [evaluation.reconstruct(run.params[at], pdf, key, network=run.network, draw=True) for key in keys]
    each = [table1_reconstruction.measures(data, which, one) for one in found]
    measures = {name: np.array([one[name] for one in each]) for name in ("rw", "pearson", "count_exact")}
    measures["valid"] = np.array(
        [
            [evaluation.valid(*structure) for structure in zip(*map(np.asarray, one), data.bond[which], strict=True)]
            for one in found
        ]
    )
    return Drawn(found, measures)


def over_draws(draws: Drawn) -> dict[str, np.ndarray]:
    """Return the measures of each PDF over its draws."""
    rw, pearson = draws.measures["rw"], draws.measures["pearson"]
    best = np.argmin(np.where(np.isfinite(rw), rw, np.inf), axis=0)[None]
    atoms = np.sort([np.asarray(one.mask).sum(axis=1) for one in draws.found], axis=0)
    return {
        **{name: each.mean(axis=0) for name, each in draws.measures.items()},
        "rw_best": np.take_along_axis(rw, best, axis=0)[0],
        "pearson_best": np.take_along_axis(pearson, best, axis=0)[0],
        "pearson_sd": pearson.std(axis=0, ddof=1),
        "counts": 1 + (np.diff(atoms, axis=0) > 0).sum(axis=0),
    }


def picture(data: dataset.Dataset, which: np.ndarray, true: Structures, draws: Drawn) -> matplotlib.figure.Figure:
    """Draw PDFs, the true structure and the first draws of each, from the smallest structure to the largest."""
    sizes, first = np.unique(figures.counts(data, which), return_index=True)
    chosen = first[np.unique(np.linspace(0, len(sizes) - 1, CASES).round().astype(int))]
    conditions = figures.conditions(data, which)
    rebuilt = np.stack([np.asarray(evaluation.simulate(one, conditions)) for one in draws.found[:SHOWN]])
    figure = matplotlib.figure.Figure(figsize=(14, 2.3 * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), SHOWN + 2, width_ratios=(2.6, *[1] * (SHOWN + 1)), squeeze=False)
    for line, case in zip(grid, chosen, strict=True):
        each = [np.asarray(one.positions[case])[np.asarray(one.mask[case])] for one in (true, *draws.found[:SHOWN])]
        bond = data.bond[which[case]]
        shown = {"bond": bond, "reach": drawing.reach(each, bond=bond)}
        rw, pearson = (draws.measures[name][:SHOWN, case] for name in ("rw", "pearson"))
        drawing.pdfs(line[0], dataset.GRID.r, data.pdf[which[case]], rebuilt[:, case])
        line[0].set_title(
            f"Rw {rw.min():.3f} to {rw.max():.3f}, Pearson {pearson.min():.3f} to {pearson.max():.3f}", fontsize=9
        )
        drawing.spheres(line[1], each[0], **shown, colour="C0")
        line[1].set_title(f"true: {len(each[0])} atoms", fontsize=9)
        for at, axes in enumerate(line[2:]):
            drawing.spheres(axes, each[1 + at], **shown, colour="C3")
            axes.set_title(f"{len(each[1 + at])} atoms\nRw {rw[at]:.3f}, Pearson {pearson[at]:.3f}", fontsize=8)
    grid[0, 0].legend(frameon=False, ncols=3, fontsize=7, loc="upper right")
    grid[-1, 0].set_xlabel("r (Å)")
    return figure


def options_of(arguments) -> argparse.Namespace:
    """Return the options; the deterministic model has no draws."""
    parser = figures.parser(__doc__, NAME)
    models = [name for name, chosen in trainings.MODELS.items() if chosen.get("model") != "dae"]
    parser.add_argument("--model", default="cvae+pdf", choices=models, help="[cvae+pdf]")
    parser.add_argument("--latent", type=int, default=2, help="[2]")
    return parser.parse_args(arguments)


def main(arguments=None) -> list[dict]:
    """Draw from the prior, show, write and draw the picture."""
    options = options_of(arguments)
    data = trainings.data_of(options.split)
    run = figures.trained(data, options.model, options.split, options.latent, quick=options.quick)
    out = figures.destination(options, NAME)
    result = []
    for at, seed in enumerate(run.seeds):
        which = figures.tested(run, at)
        draws = drawn(data, run, at, which)
        result += figures.rows_of(over_draws(draws), name=NAME, model=options.model, run=run, seed=seed, draws=DRAWS)
        if at == 0 and out is not None:
            true = evaluation.truth(data, which, atoms=run.network.sizes.atoms)
            drawing.save(picture(data, which, true, draws), out.with_suffix(".png"))
    if out is not None:
        rows.write_lines(result, out)
    return result


if __name__ == "__main__":
    main()
