"""Test the claim of KDD 2020 that latent interpolation between structures is valid for the CVAE, not for the DAE.

    python experiments/figure1_interpolation.py            (a few minutes on 2 cores, from the finished trainings)
    python experiments/figure1_interpolation.py --quick    (under 50 s: a tiny training of one model)

This is figure 1 of KDD 2020. A and B are test structures with different numbers of atoms. The latent vector moves along
a straight line in 21 points from A to B. The ends of the line are means of the posterior (the encoder, given structure
and PDF) or of the prior (given the PDF only). Each point is decoded, trilaterated and scaled by its decoded radius. The
shares refer to all interior points of 20 paths. The expected results for the CVAE are at least 90 % valid structures, a
Pearson correlation above 0.95 between the PDFs of the end points and those of A and B, and small steps between
neighbouring points with equal numbers of atoms. The picture shows the path of seed 0 whose ends differ most in their
number of atoms.

A structure is valid if it is connected and has no distance below 0.85 bond lengths. Between A and B the bond length is
that of the structure: the median distance to a nearest neighbour, limited to the range of bond lengths in the data.
"""

import itertools
from functools import partial
from typing import Any, NamedTuple

import evaluation
import jax
import jax.numpy as jnp
import json_rows
import matplotlib.figure
import network_figures
import numpy as np
import plots
import trainings
from jaxtyping import Array
from trainings import SHARED_TRAININGS, TrainingSource

from jaxstruc.network.cvae import dataset, propose, representation
from jaxstruc.network.cvae.dataset import Dataset
from jaxstruc.network.cvae.model import CVAE

NAME = "figure1_interpolation"
N_PATHS, N_POINTS, N_SHOWN = 20, 21, 7
END_SOURCES = ("posterior", "prior")
"""Distributions whose means are the ends of a path."""
DECODE = jax.jit(propose.decode_structures, static_argnames="network")


class LatentPaths(NamedTuple):
    """The structures along paths. All arrays are [path, point, ...]."""

    positions: np.ndarray
    """Positions of the atoms, in Å."""
    mask: np.ndarray
    converged: np.ndarray
    """Whether the trilateration converged."""


def select_pairs(data: Dataset, test: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Return pairs of test PDFs [pair, 2] whose structures have different numbers of atoms."""
    endpoints = test[np.random.default_rng(seed).integers(len(test), size=(50 * count, 2))]
    atoms = network_figures.atom_counts(data, endpoints)
    return endpoints[atoms[:, 0] != atoms[:, 1]][:count]


def structure_features(
    data: Dataset, pdf_indices: np.ndarray, *, atoms: int, satellites: int
) -> representation.Features:
    """Return the unit-sphere features of the structures of the PDFs with these indices."""
    all_features = dataset.shape_features(data.shapes, atoms=atoms, satellites=satellites)
    selected_features = jax.tree.map(lambda column: column[data.shape_index[pdf_indices]], all_features)
    return selected_features._replace(
        radius=selected_features.radius * jnp.asarray(data.bond[pdf_indices], jnp.float32)
    )


def latent_ends(
    data: Dataset, run: trainings.TrainedModels, seed_index: int, endpoints: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the latent vectors of the ends of paths [path, 2, latent], for posterior and prior."""
    pdf_indices = endpoints.ravel()
    sizes, pdf = run.network.sizes, dataset.normalise(jnp.asarray(data.pdf[pdf_indices]))
    features = structure_features(data, pdf_indices, atoms=sizes.atoms, satellites=sizes.satellites)
    means = latent_means(run.params[seed_index], features, pdf, network=run.network)
    return {name: np.asarray(mean).reshape(*endpoints.shape, -1) for name, mean in zip(END_SOURCES, means, strict=True)}


@partial(jax.jit, static_argnames="network")
def latent_means(params: Any, features: representation.Features, pdf: Array, *, network: CVAE) -> tuple[Array, Array]:
    """Return the posterior and the prior mean of structures with their normalised PDFs [pdf, latent]."""
    posterior: Any = network.apply(params, features, pdf, method=CVAE.encode)
    prior: Any = network.apply(params, pdf, method=CVAE.prior)
    return posterior.mean, prior.mean


def interpolate(params: Any, endpoints: np.ndarray, *, network: CVAE, points: int) -> LatentPaths:
    """Return the structures on the straight lines between latent vectors [path, 2, latent]."""
    fraction = np.linspace(0, 1, points)[:, None]
    z = (1 - fraction) * endpoints[:, :1] + fraction * endpoints[:, 1:]
    structures = DECODE(params, jnp.asarray(z.reshape(-1, z.shape[-1]), jnp.float32), network=network)
    flat_arrays = (*evaluation.structures_from_proposals(structures), structures.converged)
    return LatentPaths(*(np.asarray(array).reshape(*z.shape[:2], *array.shape[1:]) for array in flat_arrays))


def median_bond(positions: np.ndarray, bonds: tuple[float, float]) -> float:
    """Return the median distance to a nearest neighbour, limited to the range of bond lengths in the data."""
    if len(positions) < 2 or not np.isfinite(positions).all():
        return bonds[0]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float(np.clip(np.median(distances.min(axis=1)), *bonds))


def largest_step(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest displacement of an atom between two structures after the best rotation, in their unit."""
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    left_vectors, _, right_vectors = np.linalg.svd(second.T @ first)
    return float(np.linalg.norm(second @ (left_vectors @ right_vectors) - first, axis=1).max())


def validity(paths: LatentPaths, bonds: tuple[float, float]) -> np.ndarray:
    """Return whether each structure on the paths is valid [path, point]."""
    path_points = np.ndindex(paths.mask.shape[:2])
    is_valid = [
        evaluation.is_valid_structure(
            paths.positions[path_point],
            paths.mask[path_point],
            median_bond(paths.positions[path_point][paths.mask[path_point]], bonds),
        )
        for path_point in path_points
    ]
    return np.reshape(is_valid, paths.mask.shape[:2])


def largest_steps(paths: LatentPaths, bonds: tuple[float, float]) -> np.ndarray:
    """Return the largest displacement to the next point [path, point - 1], in units of the bond length.

    The displacement is NaN if the number of atoms changes.
    """
    step_lengths = np.full((paths.mask.shape[0], paths.mask.shape[1] - 1), np.nan)
    atoms = paths.mask.sum(axis=2)
    for path, point in np.argwhere((atoms[:, 1:] == atoms[:, :-1]) & (atoms[:, 1:] > 1)):
        first, second = (
            paths.positions[path, point_index][paths.mask[path, point_index]] for point_index in (point, point + 1)
        )
        step_lengths[path, point] = largest_step(first, second) / median_bond(first, bonds)
    return step_lengths


def end_pearsons(data: Dataset, endpoints: np.ndarray, paths: LatentPaths) -> np.ndarray:
    """Return the Pearson correlations of the PDFs of the end points with those of A and B [path, 2]."""
    pdf_indices = endpoints.ravel()
    positions, mask = (np.concatenate(list(array[:, [0, -1]])) for array in (paths.positions, paths.mask))
    structures = evaluation.StructureBatch(jnp.asarray(positions), jnp.asarray(mask))
    reconstructed_pdfs = evaluation.simulate_structures(structures, evaluation.select_conditions(data, pdf_indices))
    return np.asarray(
        jax.vmap(evaluation.pearson_correlation)(jnp.asarray(data.pdf[pdf_indices]), reconstructed_pdfs)
    ).reshape(endpoints.shape)


def path_measures(data: Dataset, endpoints: np.ndarray, paths: LatentPaths) -> dict[str, np.ndarray]:
    """Return the measures of the paths by their names in the rows.

    For interior points they are the shares of each path that are valid and that converged. For the ends they are the
    Pearson correlation, and whether the number of atoms is right. For neighbouring points with equal numbers of atoms
    they are each step and the largest step of each path, in units of the bond length.
    """
    bonds = float(data.bond.min()), float(data.bond.max())
    step = largest_steps(paths, bonds)
    has_step = np.isfinite(step).any(axis=1)
    atoms = paths.mask[:, [0, -1]].sum(axis=2)
    return {
        "valid": validity(paths, bonds)[:, 1:-1].mean(axis=1),
        "converged": paths.converged[:, 1:-1].mean(axis=1),
        "pearson_ends": end_pearsons(data, endpoints, paths).ravel(),
        "count_exact_ends": (atoms == network_figures.atom_counts(data, endpoints)).ravel(),
        "step": step.ravel(),
        "largest_step": np.where(has_step, np.nanmax(np.where(has_step[:, None], step, 0.0), axis=1), np.nan),
        "count_changes": (np.diff(paths.mask.sum(axis=2), axis=1) != 0).sum(axis=1),
    }


def plot_paths(data: Dataset, paths_by_model: dict[str, tuple[np.ndarray, LatentPaths]]) -> matplotlib.figure.Figure:
    """Draw for each model the true structures at the ends, some points of one path, and the number of atoms on it."""
    bonds = float(data.bond.min()), float(data.bond.max())
    figure = matplotlib.figure.Figure(figsize=(14, 2.1 * len(paths_by_model)), layout="constrained")
    grid = figure.subplots(len(paths_by_model), N_SHOWN + 3, width_ratios=(*[1] * (N_SHOWN + 2), 1.9), squeeze=False)
    for (model, (endpoints, paths)), axes_row in zip(paths_by_model.items(), grid, strict=True):
        is_valid = validity(paths, bonds)[0]
        atoms = paths.mask[0].sum(axis=1)
        points = np.linspace(0, len(atoms) - 1, N_SHOWN).round().astype(int)
        true_positions = evaluation.true_structures(data, endpoints, max_atoms=paths.mask.shape[2])
        true_positions = [np.asarray(array)[np.asarray(mask)] for array, mask in zip(*true_positions, strict=True)]
        path_positions = [paths.positions[0, point][paths.mask[0, point]] for point in points]
        half_width = plots.half_width([*true_positions, *path_positions], bond=data.bond[endpoints].max())
        for axes, positions, name, bond in zip(
            axes_row[[0, -2]], true_positions, "AB", data.bond[endpoints], strict=True
        ):
            plots.draw_spheres(axes, positions, bond=bond, reach=half_width, colour="C0")
            axes.set_title(f"{name}: {len(positions)} atoms", fontsize=9)
        for axes, positions, point in zip(axes_row[1:-2], path_positions, points, strict=True):
            colour = "C2" if is_valid[point] else "C3"
            plots.draw_spheres(axes, positions, bond=median_bond(positions, bonds), reach=half_width, colour=colour)
            axes.set_title(f"{point / (len(atoms) - 1):.2f}: {len(positions)} atoms", fontsize=9)
        axes_row[0].set_ylabel(model, fontsize=11)
        fraction = np.linspace(0, 1, len(atoms))
        axes_row[-1].step(fraction, atoms, where="mid", color="0.6", lw=1)
        for selected_points, colour, name in ((is_valid, "C2", "valid"), (~is_valid, "C3", "not valid")):
            axes_row[-1].plot(fraction[selected_points], atoms[selected_points], "o", ms=3.5, color=colour, label=name)
        axes_row[-1].set(ylabel="atoms", ylim=(0, None), xticks=(0, 0.5, 1), xticklabels=("A", "", "B"))
        axes_row[-1].legend(frameon=False, fontsize=7)
    return figure


def main(
    arguments=None, *, source: TrainingSource = SHARED_TRAININGS, n_paths: int = N_PATHS, n_points: int = N_POINTS
) -> list[dict]:
    """Interpolate, print the rows, and write rows and picture."""
    parser = network_figures.parser(__doc__, NAME)
    parser.add_argument(
        "--models", nargs="+", choices=list(trainings.MODELS), help="models [dae, cvae, cvae+pdf; quick cvae]"
    )
    parser.add_argument(
        "--latents", type=int, nargs="+", help="latent dimensions [2 8; quick 2]; the picture shows the first"
    )
    options = parser.parse_args(arguments)
    data = source.load_dataset(options.split)
    paths_by_model, result = {}, []
    models = options.models or (["cvae"] if options.quick else ["dae", "cvae", "cvae+pdf"])
    latents = options.latents or ([2] if options.quick else [2, 8])
    for latent, model in itertools.product(latents, models):
        run = network_figures.load_training(data, model, options.split, latent, quick=options.quick, source=source)
        for seed_index, seed in enumerate(run.seeds):
            endpoints = select_pairs(data, network_figures.select_test_pdfs(run, seed_index), count=n_paths, seed=seed)
            for end_source, z in latent_ends(data, run, seed_index, endpoints).items():
                paths = interpolate(run.params[seed_index], z, network=run.network, points=n_points)
                columns = {"name": NAME, "model": model, "run": run, "seed": seed, "ends": end_source}
                result += network_figures.measure_rows(path_measures(data, endpoints, paths), **columns)
                if latent == latents[0] and seed_index == 0 and end_source == END_SOURCES[0]:
                    largest_pair = int(np.argmax(np.abs(np.diff(network_figures.atom_counts(data, endpoints), axis=1))))
                    paths_by_model[model] = (
                        endpoints[largest_pair],
                        LatentPaths(*(array[largest_pair : largest_pair + 1] for array in paths)),
                    )
    out = network_figures.destination(options, NAME)
    if out is not None:
        json_rows.write_lines(result, out)
        plots.save_figure(plot_paths(data, paths_by_model), out.with_suffix(".png"))
    return result


if __name__ == "__main__":
    main()
