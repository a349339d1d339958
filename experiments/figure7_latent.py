"""Claim: structures with equal numbers of atoms are close to each other in a latent space of 2 or 8 dimensions.

    pip install -e '.[figures]'                    (scikit-learn, for t-SNE)
    python experiments/figure7_latent.py           (about two minutes on 2 cores, from the finished trainings)
    python experiments/figure7_latent.py --quick   (under 50 s: a tiny training with 8 dimensions)

Figure 7 of KDD 2020 shows the latent vectors of 600 PDFs from the prior network, coloured by the number of atoms; t-SNE
reduces 8 dimensions to 2. Here they are at most 600 PDFs of seed 0 that are not in the training set. The measure of
order is a share for each PDF: the share of its five nearest neighbours in the whole latent space that have the same
number of atoms. Chance is this share among all other PDFs. The rows hold all seeds.
"""

import importlib.util
import sys
from typing import Any

import jax.numpy as jnp
import json_rows
import matplotlib
import matplotlib.cm
import matplotlib.colors
import matplotlib.figure
import network_figures
import numpy as np
import plots
import trainings
from matplotlib.axes import Axes
from trainings import SHARED_TRAININGS, TrainingSource

from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.model import CVAE

NAME = "figure7_latent"
MAX_PDFS, N_NEIGHBOURS = 600, 5


def held_out_pdfs(run: trainings.TrainedModels, seed_index: int) -> np.ndarray:
    """Return PDFs that are not in the training set of a seed."""
    held_out_indices = np.concatenate([run.splits[seed_index].validation, run.splits[seed_index].test])
    return np.sort(np.random.default_rng(run.seeds[seed_index]).permutation(held_out_indices)[:MAX_PDFS])


def prior_means(run: trainings.TrainedModels, seed_index: int, pdf: np.ndarray) -> np.ndarray:
    """Return the prior's mean of each PDF [pdf, latent]."""
    normalised_pdf = dataset.normalise(jnp.asarray(pdf))
    prior: Any = run.network.apply(run.params[seed_index], normalised_pdf, method=CVAE.prior)
    return np.asarray(prior.mean)


def neighbour_agreement(z: np.ndarray, labels: np.ndarray, *, neighbours: int = N_NEIGHBOURS) -> np.ndarray:
    """Return, for each point [point, latent], the share of its nearest neighbours with the same label."""
    distances = np.linalg.norm(z[:, None] - z[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :neighbours]
    return np.mean(labels[nearest] == labels[:, None], axis=1)


def chance_agreement(labels: np.ndarray) -> np.ndarray:
    """Return, for each point, the share of all others with the same label."""
    return (np.sum(labels[:, None] == labels[None], axis=1) - 1) / (len(labels) - 1)


def embed_in_plane(z: np.ndarray) -> np.ndarray:
    """Return latent vectors in the plane: unchanged if they have two dimensions, by t-SNE otherwise."""
    if z.shape[1] == 2:
        return z
    from sklearn.manifold import TSNE

    return TSNE(random_state=0, perplexity=min(30.0, (len(z) - 1) / 3)).fit_transform(z)


def plot_latents(axes: Axes, points: np.ndarray, ranks: np.ndarray, colours: matplotlib.cm.ScalarMappable) -> None:
    """Draw latent vectors in random order, coloured by the rank of the number of atoms."""
    order = np.random.default_rng(0).permutation(len(points))
    axes.scatter(*points[order].T, s=14, c=colours.to_rgba(ranks[order]), linewidths=0.2, edgecolors="0.3")
    axes.tick_params(labelsize=7)


def colour_scale(sizes: np.ndarray) -> matplotlib.cm.ScalarMappable:
    """Return a colour for each rank of the numbers of atoms."""
    norm = matplotlib.colors.Normalize(-0.5, len(sizes) - 0.5)
    return matplotlib.cm.ScalarMappable(norm, matplotlib.colormaps["turbo"].resampled(len(sizes)))


def main(arguments=None, *, source: TrainingSource = SHARED_TRAININGS) -> list[dict]:
    """Encode, print the rows, and write rows and picture."""
    parser = network_figures.parser(__doc__, NAME)
    parser.add_argument(
        "--models", nargs="+", choices=list(trainings.MODELS), help="models [dae, cvae, cvae+pdf; quick cvae]"
    )
    parser.add_argument("--latents", nargs="+", type=int, help="latent dimensions [2 and 8; quick 8]")
    options = parser.parse_args(arguments)
    models = options.models or (["cvae"] if options.quick else ["dae", "cvae", "cvae+pdf"])
    latents = options.latents or ([8] if options.quick else [2, 8])
    if max(latents) > 2 and importlib.util.find_spec("sklearn") is None:
        sys.exit("Expected scikit-learn for t-SNE, got none; pip install -e '.[figures]'")
    data = source.load_dataset(options.split)
    out = network_figures.destination(options, NAME)
    sizes = np.unique([len(shape.positions) for shape in data.shapes])
    colours = colour_scale(sizes)
    figure = matplotlib.figure.Figure(figsize=(4.2 * len(latents) + 1, 3.6 * len(models)), layout="constrained")
    grid = figure.subplots(len(models), len(latents), squeeze=False)
    result = []
    for axes_row, model in zip(grid, models, strict=True):
        for axes, latent in zip(axes_row, latents, strict=True):
            run = network_figures.load_training(data, model, options.split, latent, quick=options.quick, source=source)
            for seed_index, seed in enumerate(run.seeds):
                pdf_indices = held_out_pdfs(run, seed_index)
                atoms, z = (
                    network_figures.atom_counts(data, pdf_indices),
                    prior_means(run, seed_index, data.pdf[pdf_indices]),
                )
                values = {"agreement": neighbour_agreement(z, atoms), "chance": chance_agreement(atoms)}
                result += network_figures.measure_rows(
                    values, name=NAME, model=model, run=run, seed=seed, neighbours=N_NEIGHBOURS
                )
                if seed_index == 0:
                    plot_latents(axes, embed_in_plane(z), np.searchsorted(sizes, atoms), colours)
                    statistics_text = (
                        f"agreement {values['agreement'].mean():.3f}, chance {values['chance'].mean():.3f}"
                    )
                    title = f"{model}, H = {latent}{', t-SNE' if latent > 2 else ''}\n{statistics_text}"
                    axes.set_title(title, fontsize=9)
    ticks = np.unique(np.linspace(0, len(sizes) - 1, 12).round().astype(int))
    figure.colorbar(colours, ax=grid, label="atoms", shrink=0.8, aspect=30).set_ticks(ticks, labels=sizes[ticks])
    if out is not None:
        json_rows.write_lines(result, out)
        plots.save_figure(figure, out.with_suffix(".png"))
    return result


if __name__ == "__main__":
    main()
