"""Test the claim of KDD 2020 that draws from the prior of a PDF have the right number of atoms.

    python experiments/figure8_samples.py            (about two minutes on 2 cores, from the finished training)
    python experiments/figure8_samples.py --quick    (under 50 s: a tiny training that has learnt nothing)

Figure 8 of KDD 2020 shows ten reconstructions from the test set. Here the picture has the first five draws for each of
four test PDFs of seed 0, from the smallest to the largest structure. The rows summarise ten draws for each test PDF of
all seeds. They hold means over the draws, the draw with the lowest Rw, the spread of the Pearson correlation between
draws, and the number of distinct numbers of atoms.
"""

import argparse
from typing import NamedTuple

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
from evaluation import StructureBatch
from trainings import SHARED_TRAININGS, TrainingSource

from jaxstruc.network.cvae import dataset

NAME = "figure8_samples"
N_DRAWS, N_SHOWN_DRAWS, N_SHOWN_PDFS = 10, 5, 4
"""Number of draws for each PDF, number of draws in the picture, and number of PDFs in the picture."""


class PdfDraws(NamedTuple):
    """The structures drawn for PDFs, and their measures."""

    structures: list[StructureBatch]
    """List of the draws, each with the structures of all PDFs."""
    measures: dict[str, np.ndarray]
    """Measures [draw, pdf] by their names in the rows."""


def draw_structures(
    data: dataset.Dataset, run: trainings.TrainedModels, seed_index: int, pdf_indices: np.ndarray, *, n_draws: int
) -> PdfDraws:
    """Return the draws of the network of one seed for test PDFs."""
    pdf = jnp.asarray(data.pdf[pdf_indices])
    keys = jax.random.split(jax.random.key(run.seeds[seed_index]), n_draws)
    structures = [
        evaluation.reconstruct(run.params[seed_index], pdf, key, network=run.network, draw=True) for key in keys
    ]
    draw_measures = [table1_reconstruction.structure_measures(data, pdf_indices, entry) for entry in structures]
    measures = {name: np.array([entry[name] for entry in draw_measures]) for name in ("rw", "pearson", "count_exact")}
    measures["valid"] = np.array(
        [
            [
                evaluation.is_valid_structure(*structure)
                for structure in zip(*map(np.asarray, entry), data.bond[pdf_indices], strict=True)
            ]
            for entry in structures
        ]
    )
    return PdfDraws(structures, measures)


def measures_over_draws(draws: PdfDraws) -> dict[str, np.ndarray]:
    """Return means, best values and spreads of the measures over the draws of each PDF."""
    rw, pearson = draws.measures["rw"], draws.measures["pearson"]
    best_draw = np.argmin(np.where(np.isfinite(rw), rw, np.inf), axis=0)[None]
    atoms = np.sort([np.asarray(structures.mask).sum(axis=1) for structures in draws.structures], axis=0)
    return {
        **{name: values.mean(axis=0) for name, values in draws.measures.items()},
        "rw_best": np.take_along_axis(rw, best_draw, axis=0)[0],
        "pearson_best": np.take_along_axis(pearson, best_draw, axis=0)[0],
        "pearson_sd": pearson.std(axis=0, ddof=1),
        "counts": 1 + (np.diff(atoms, axis=0) > 0).sum(axis=0),
    }


def plot_draws(
    data: dataset.Dataset, pdf_indices: np.ndarray, true_structures: StructureBatch, draws: PdfDraws
) -> matplotlib.figure.Figure:
    """Draw PDFs with the true structure and the first draws of each, from the smallest structure to the largest."""
    n_shown = min(N_SHOWN_DRAWS, len(draws.structures))
    atom_counts, first_rows = np.unique(network_figures.atom_counts(data, pdf_indices), return_index=True)
    case_rows = first_rows[np.unique(np.linspace(0, len(atom_counts) - 1, N_SHOWN_PDFS).round().astype(int))]
    conditions = evaluation.select_conditions(data, pdf_indices)
    reconstructed_pdfs = np.stack(
        [
            np.asarray(evaluation.simulate_structures(structures, conditions))
            for structures in draws.structures[:n_shown]
        ]
    )
    figure = matplotlib.figure.Figure(figsize=(14, 2.3 * len(case_rows)), layout="constrained")
    grid = figure.subplots(len(case_rows), n_shown + 2, width_ratios=(2.6, *[1] * (n_shown + 1)), squeeze=False)
    for axes_row, case_row in zip(grid, case_rows, strict=True):
        case_positions = [
            np.asarray(structures.positions[case_row])[np.asarray(structures.mask[case_row])]
            for structures in (true_structures, *draws.structures[:n_shown])
        ]
        bond = data.bond[pdf_indices[case_row]]
        view_options = {"bond": bond, "reach": plots.half_width(case_positions, bond=bond)}
        rw, pearson = (draws.measures[name][:n_shown, case_row] for name in ("rw", "pearson"))
        plots.draw_pdfs(
            axes_row[0], dataset.PDF_GRID.r, data.pdf[pdf_indices[case_row]], reconstructed_pdfs[:, case_row]
        )
        axes_row[0].set_title(
            f"Rw {rw.min():.3f} to {rw.max():.3f}, Pearson {pearson.min():.3f} to {pearson.max():.3f}", fontsize=9
        )
        plots.draw_spheres(axes_row[1], case_positions[0], **view_options, colour="C0")
        axes_row[1].set_title(f"true: {len(case_positions[0])} atoms", fontsize=9)
        for draw_index, axes in enumerate(axes_row[2:]):
            plots.draw_spheres(axes, case_positions[1 + draw_index], **view_options, colour="C3")
            atoms = len(case_positions[1 + draw_index])
            agreement = f"Rw {rw[draw_index]:.3f}, Pearson {pearson[draw_index]:.3f}"
            axes.set_title(f"{atoms} atoms\n{agreement}", fontsize=8)
    grid[0, 0].legend(frameon=False, ncols=3, fontsize=7, loc="upper right")
    grid[-1, 0].set_xlabel("r (Å)")
    return figure


def parse_options(arguments) -> argparse.Namespace:
    """Return the options, and refuse the deterministic model, because it has no draws."""
    parser = network_figures.parser(__doc__, NAME)
    models = [name for name, model_options in trainings.MODELS.items() if model_options.get("model") != "dae"]
    parser.add_argument("--model", default="cvae+pdf", choices=models, help="model [cvae+pdf]")
    parser.add_argument("--latent", type=int, default=2, help="number of latent dimensions [2]")
    return parser.parse_args(arguments)


def main(arguments=None, *, source: TrainingSource = SHARED_TRAININGS, n_draws: int = N_DRAWS) -> list[dict]:
    """Draw from the prior, print the rows, and write rows and picture."""
    options = parse_options(arguments)
    data = source.load_dataset(options.split)
    run = network_figures.load_training(
        data, options.model, options.split, options.latent, quick=options.quick, source=source
    )
    out = network_figures.destination(options, NAME)
    result = []
    for seed_index, seed in enumerate(run.seeds):
        pdf_indices = network_figures.select_test_pdfs(run, seed_index)
        draws = draw_structures(data, run, seed_index, pdf_indices, n_draws=n_draws)
        result += network_figures.measure_rows(
            measures_over_draws(draws), name=NAME, model=options.model, run=run, seed=seed, draws=n_draws
        )
        if seed_index == 0 and out is not None:
            true_structures = evaluation.true_structures(data, pdf_indices, max_atoms=run.network.sizes.atoms)
            plots.save_figure(plot_draws(data, pdf_indices, true_structures, draws), out.with_suffix(".png"))
    if out is not None:
        json_rows.write_lines(result, out)
    return result


if __name__ == "__main__":
    main()
