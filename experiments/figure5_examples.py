"""Test the claim of KDD 2020 that reconstructed structures and their PDFs are reasonable without refinement.

    python experiments/figure5_examples.py            (a minute and a half on 2 cores, from the finished training)
    python experiments/figure5_examples.py --quick    (under 50 s: a tiny training that has learnt nothing)

Figure 5 of KDD 2020 shows two typical cases of the validation set. Here the test PDFs of seed 0 are ranked by Rw, and
those at one tenth, half and nine tenths of the ranking are shown. Each structure is one draw from the prior, and its
PDF is simulated after the trilateration. The difference is not scaled. The rows hold all test PDFs of all seeds.
"""

import evaluation
import jax
import jax.numpy as jnp
import json_rows
import matplotlib.figure
import network_figures
import numpy as np
import plots
import table1_reconstruction
import trainings
from trainings import SHARED_TRAININGS, TrainingSource

from jaxstruc.network.cvae import dataset

NAME = "figure5_examples"
RANKS = (0.1, 0.5, 0.9)
"""Positions of the examples in the ranking from the best Rw to the worst."""


def plot_examples(
    data: dataset.Dataset, pdf_indices, true_structures, reconstructed_structures, values: dict[str, np.ndarray]
) -> matplotlib.figure.Figure:
    """Draw the PDFs and the true and reconstructed structures of the test PDFs at `RANKS`."""
    order = np.argsort(values["rw"])
    case_rows = [order[round(rank * (len(order) - 1))] for rank in RANKS]
    reconstructed_pdfs = np.asarray(
        evaluation.simulate_structures(reconstructed_structures, evaluation.select_conditions(data, pdf_indices))
    )
    figure = matplotlib.figure.Figure(figsize=(9.5, 2.9 * len(case_rows)), layout="constrained")
    grid = figure.subplots(len(case_rows), 3, width_ratios=(2.4, 1, 1), squeeze=False)
    for (curve_axes, true_axes, reconstructed_axes), case_row, rank in zip(grid, case_rows, RANKS, strict=True):
        case_positions = [
            np.asarray(structures.positions[case_row])[np.asarray(structures.mask[case_row])]
            for structures in (true_structures, reconstructed_structures)
        ]
        plots.draw_pdfs(
            curve_axes, dataset.PDF_GRID.r, data.pdf[pdf_indices[case_row]], reconstructed_pdfs[case_row : case_row + 1]
        )
        measures_text = f"Rw {values['rw'][case_row]:.3f}, Pearson {values['pearson'][case_row]:.3f}"
        curve_axes.set_title(f"{rank:.0%} down the list: {measures_text}", fontsize=9)
        bond = data.bond[pdf_indices[case_row]]
        view_options = {"bond": bond, "reach": plots.half_width(case_positions, bond=bond)}
        plots.draw_spheres(true_axes, case_positions[0], **view_options, colour="C0")
        plots.draw_spheres(reconstructed_axes, case_positions[1], **view_options, colour="C3")
        true_axes.set_title(f"true: {len(case_positions[0])} atoms", fontsize=9)
        reconstructed_axes.set_title(f"reconstructed: {len(case_positions[1])} atoms", fontsize=9)
    grid[0, 0].legend(frameon=False, ncols=3, fontsize=8, loc="upper right")
    grid[-1, 0].set_xlabel("r (Å)")
    return figure


def main(arguments=None, *, source: TrainingSource = SHARED_TRAININGS) -> list[dict]:
    """Reconstruct, print the rows, and write rows and picture."""
    parser = network_figures.parser(__doc__, NAME)
    parser.add_argument("--model", default="cvae+pdf", choices=list(trainings.MODELS), help="model [cvae+pdf]")
    parser.add_argument("--latent", type=int, default=2, help="number of latent dimensions [2]")
    options = parser.parse_args(arguments)
    data = source.load_dataset(options.split)
    run = network_figures.load_training(
        data, options.model, options.split, options.latent, quick=options.quick, source=source
    )
    out = network_figures.destination(options, NAME)
    result = []
    for seed_index, seed in enumerate(run.seeds):
        pdf_indices = network_figures.select_test_pdfs(run, seed_index)
        pdf, key = jnp.asarray(data.pdf[pdf_indices]), jax.random.key(seed)
        reconstructed_structures = evaluation.reconstruct(
            run.params[seed_index], pdf, key, network=run.network, draw=True
        )
        values = table1_reconstruction.structure_measures(data, pdf_indices, reconstructed_structures)
        structure_inputs = zip(*map(np.asarray, reconstructed_structures), data.bond[pdf_indices], strict=True)
        values["valid"] = np.array([evaluation.is_valid_structure(*structure) for structure in structure_inputs])
        result += network_figures.measure_rows(values, name=NAME, model=options.model, run=run, seed=seed)
        if seed_index == 0 and out is not None:
            true_structures = evaluation.true_structures(data, pdf_indices, max_atoms=run.network.sizes.atoms)
            plots.save_figure(
                plot_examples(data, pdf_indices, true_structures, reconstructed_structures, values),
                out.with_suffix(".png"),
            )
    if out is not None:
        json_rows.write_lines(result, out)
    return result


if __name__ == "__main__":
    main()
