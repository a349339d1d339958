"""Claim of the paper, put to the test: structures made from PDFs, unrefined, are reasonable, and so are their PDFs.

    python experiments/figure5_examples.py            (a minute and a half on 2 cores, from the finished training)
    python experiments/figure5_examples.py --quick    (under 50 s: a tiny training that has learnt nothing)

Figure 5 of KDD 2020 shows two typical cases of the validation set. Here the test PDFs of seed 0 are ranked by Rw, and
those a tenth, half and nine tenths down the list are drawn. One draw from the prior each; the PDF is simulated anew
from the trilaterated structure; the difference is not scaled. The rows are of all test PDFs of all seeds.
"""

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

NAME = "figure5_examples"
RANKS = (0.1, 0.5, 0.9)
"""Places in the list from the best Rw to the worst."""


def picture(data: dataset.Dataset, which, true, found, values: dict[str, np.ndarray]) -> matplotlib.figure.Figure:
    """Draw PDFs, true and reconstructed structures of the test PDFs at `RANKS`."""
    order = np.argsort(values["rw"])
    chosen = [order[round(rank * (len(order) - 1))] for rank in RANKS]
    rebuilt = np.asarray(evaluation.simulate(found, figures.conditions(data, which)))
    figure = matplotlib.figure.Figure(figsize=(9.5, 2.9 * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), 3, width_ratios=(2.4, 1, 1), squeeze=False)
    for (curve, left, right), case, rank in zip(grid, chosen, RANKS, strict=True):
        pair = [np.asarray(each.positions[case])[np.asarray(each.mask[case])] for each in (true, found)]
        drawing.pdfs(curve, dataset.GRID.r, data.pdf[which[case]], rebuilt[case : case + 1])
        numbers = f"Rw {values['rw'][case]:.3f}, Pearson {values['pearson'][case]:.3f}"
        curve.set_title(f"{rank:.0%} down the list: {numbers}", fontsize=9)
        bond = data.bond[which[case]]
        shown = {"bond": bond, "reach": drawing.reach(pair, bond=bond)}
        drawing.spheres(left, pair[0], **shown, colour="C0")
        drawing.spheres(right, pair[1], **shown, colour="C3")
        left.set_title(f"true: {len(pair[0])} atoms", fontsize=9)
        right.set_title(f"reconstructed: {len(pair[1])} atoms", fontsize=9)
    grid[0, 0].legend(frameon=False, ncols=3, fontsize=8, loc="upper right")
    grid[-1, 0].set_xlabel("r (Å)")
    return figure


def main(arguments=None) -> list[dict]:
    """Reconstruct, show, write and draw."""
    parser = figures.parser(__doc__, NAME)
    parser.add_argument("--model", default="cvae+pdf", choices=list(trainings.MODELS), help="[cvae+pdf]")
    parser.add_argument("--latent", type=int, default=2, help="[2]")
    options = parser.parse_args(arguments)
    data = trainings.data_of(options.split)
    run = figures.trained(data, options.model, options.split, options.latent, quick=options.quick)
    out = figures.destination(options, NAME)
    result = []
    for at, seed in enumerate(run.seeds):
        which = figures.tested(run, at)
        pdf, key = jnp.asarray(data.pdf[which]), jax.random.key(seed)
        found = evaluation.reconstruct(run.params[at], pdf, key, network=run.network, draw=True)
        values = table1_reconstruction.measures(data, which, found)
        each = zip(*map(np.asarray, found), data.bond[which], strict=True)
        values["valid"] = np.array([evaluation.valid(*structure) for structure in each])
        result += figures.rows_of(values, name=NAME, model=options.model, run=run, seed=seed)
        if at == 0 and out is not None:
            true = evaluation.truth(data, which, atoms=run.network.sizes.atoms)
            drawing.save(picture(data, which, true, found, values), out.with_suffix(".png"))
    if out is not None:
        rows.write_lines(result, out)
    return result


if __name__ == "__main__":
    main()
