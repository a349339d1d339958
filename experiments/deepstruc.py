"""Claim: an autoencoder solves particles of DeepStruc's seven types from their PDFs, if it has seen similar shapes.

    python experiments/deepstruc.py                       (trains missing models: about an hour each on one core)
    python experiments/deepstruc.py --trained-only        (minutes; leaves out missing models)
    python experiments/deepstruc.py --splits range        (one split)
    python experiments/deepstruc.py --data DIR            (measured files too)
    python experiments/deepstruc.py --quick               (under 50 s: a tiny training; writes nothing)

DeepStruc (Digital Discovery 2, 69 (2023), doi 10.1039/D2DD00086E) is a conditional variational autoencoder for 3743
structures of seven types: 197 shapes with 19 bond lengths. It reports a mean error of coordinates of 0.093 ± 0.058 Å
after a fit of contraction, vibrations and scale. `jaxstruc.network.deepstruc` is the system measured here.

There are two splits:

- random: the published one, 60/20/20 over the 3743 structures. Every shape of the test is in the training, with another
  bond length.
- range: shapes in whole ranges of their parameters are the test (`deepstruc_shapes.HELD_OUT_RANGES`), and bond lengths
  are drawn continuously on both sides.

The variant `no-type-head` of the network lacks the head that predicts the type from the latent vector alone.

Each row has the measures of one model for one type, or for all types. The models are one draw of the network (`draw`),
the decoded mean of its prior (`mean`) and, as the control, the structure of the nearest training PDF (`template`),
which is scaled by the neighbour distance as the network's input is. The error is the mean distance of the atoms from
their true positions after the best rotation, mirror and pairing (see `evaluation.coordinate_error`). It is reported as
decoded (`error`), and after a fit of stretch, Uiso and scale to the PDF (`fitted_error`). Atoms without a partner are
left out, so that the error means little if the number of atoms is wrong. A structure is solved if its number of atoms
is exact and its error after the fit is below 0.1 Å.

Rows of the part `latent` state how many of all PDFs have another type than most of their five nearest neighbours in the
plane of the prior's means. Rows of the part `draws` compare several draws for one PDF. Rows of the part `measured` need
the folder of the measured files (`--data DIR`). They have the best of 200 draws, fitted from 1.5 to 20 Å with scale,
stretch and Uiso. The authors' released network reaches Rw 0.245 and 0.198 with the same fit.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import evaluation
import jax
import jax.numpy as jnp
import json_rows
import matplotlib
import matplotlib.figure
import numpy as np
import plots
import trainings
from jaxtyping import Array, Float

from jaxstruc.cli import progress
from jaxstruc.clusters.deepstruc_shapes import STRUCTURE_TYPES, deepstruc_family
from jaxstruc.clusters.distances import distances
from jaxstruc.io.read import read_curve
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.dataset import Dataset, Split
from jaxstruc.network.cvae.propose import model_input
from jaxstruc.network.deepstruc import scaled_pdf
from jaxstruc.network.deepstruc.model import ParticleCVAE
from jaxstruc.network.deepstruc.propose import propose_particles
from jaxstruc.network.deepstruc.training import fit_particles, sizes_from_options
from jaxstruc.options.training import Preset, TrainOptions
from jaxstruc.pdf import fit, target
from jaxstruc.pdf.target import FitBasis
from jaxstruc.scattering import cluster_tables
from jaxstruc.scattering.cluster_tables import TableRange

NAME = "deepstruc"
RESULTS = Path(__file__).parent / "results" / f"{NAME}.jsonl"
SPLITS: dict[str, Preset] = {"random": "deepstruc", "range": "deepstruc-continuous"}
EPOCHS = {"random": 12, "range": 8}
VARIANTS: dict[str, dict[str, bool]] = {
    "plain": {},
    "no-type-head": {"type_head": False},
}
"""Variants of the network, with the sizes that differ from their defaults (see `ParticleModelSizes`)."""
SPLIT_VARIANTS = {"random": ("plain", "no-type-head"), "range": ("plain",)}
"""Variants that are trained for each split."""
MODELS = {"draw": True, "mean": False}
"""Models of the network, and whether each draws its latent vector."""
FREE_PARAMETERS = ("scale", "stretch", "uiso")
TABLE_RANGE = TableRange(36.0, 34.0)
"""Longest distance in Å, and largest product of Q and stretch in 1/Å, of the fits. The PDFs end at 30 Å."""
BATCH_SIZE = 32
N_DRAWS, N_DRAWN_PDFS = 16, 24
"""Number of draws for each PDF, and number of PDFs, in the part `draws`."""
MAX_TEST_PDFS = {"random": 748, "range": 400}
"""Largest number of test PDFs of each split. They are drawn at random."""
N_NEIGHBOURS = 5
"""Number of neighbours in the latent plane."""
MEASURED_FILES, MEASURED_DRAWS = ("Pt_1.8nm_S3.gr", "Au144_pMBA.gr"), 200
"""Measured files, and number of draws for each."""
MIN_SEPARATION = 0.1
"""Error in Å above which two draws for one PDF count as different structures."""


class Structures(NamedTuple):
    """Structures of some PDFs, with the positions of the atoms in Å."""

    positions: Float[np.ndarray, "pdf atom 3"]
    mask: np.ndarray
    """True for atoms [pdf, atom]."""

    @property
    def atoms(self) -> list[np.ndarray]:
        """Positions of the atoms of each structure."""
        return [positions[mask] for positions, mask in zip(self.positions, self.mask, strict=True)]


class FitSettings(NamedTuple):
    """The r range in Å, the Q range in 1/Å and qdamp in 1/Å of a fit."""

    rmin: float = 1.5
    rmax: float = dataset.PDF_GRID.rmax
    qmin: float = dataset.PDF_GRID.qmin
    qmax: float = dataset.PDF_GRID.qmax
    qdamp: float = 0.0

    @property
    def r_mask(self) -> np.ndarray:
        """True for the points of `PDF_GRID` in the r range."""
        r = dataset.PDF_GRID.r
        return (r >= self.rmin - 1e-6) & (r <= self.rmax + 1e-6)


IDEAL_FIT = FitSettings()
"""Settings of the fits to simulated PDFs."""


class StructureFits(NamedTuple):
    """Fits of structures to their PDFs."""

    stretch: Float[Array, " pdf"]
    rw: Float[Array, " pdf"]


def make_options(split: str, *, quick: bool = False) -> TrainOptions:
    """Return the options of the training of a split. They were chosen with validation sets only."""
    epochs = 1 if quick else EPOCHS[split]
    return TrainOptions(
        preset=SPLITS[split], split=split, draws=32, batch=128, rate=2e-3, cosine=True, epochs=epochs, patience=epochs,
        warmup=min(1, epochs / 2), radius=1000.0, presence=1.0, beta=0.03,
    )  # fmt: skip


def load_dataset(split: str, *, quick: bool = False) -> Dataset:
    """Return the data set of a split, or a few of its shapes with a few bond lengths."""
    if not quick:
        return dataset.generate(SPLITS[split], seed=0, draws=make_options(split).draws)
    shapes = [shape for shape in deepstruc_family() if len(shape.positions) < 40]
    return dataset.generate(SPLITS[split], seed=0, draws=4, shapes=shapes, elements=("Ti", "Pt", "Au"))


def train_or_read(
    data: Dataset, split: str, seed: int, *, variant: str, runs: Path, quick: bool = False
) -> tuple[Any, ParticleCVAE, Split]:
    """Return the parameters of a training, which is read if it is finished, its network and its split."""
    options = dataclasses.replace(make_options(split, quick=quick), seed=seed)
    network = ParticleCVAE(dataclasses.replace(sizes_from_options(options), **VARIANTS[variant]))
    data_split = dataset.split(data, strategy=split, seed=seed)
    folder = training_folder(split, seed, variant=variant, runs=runs)
    with progress.progress_bar(folder.name) as advance_bar:

        def report(epoch, metrics):
            advance_bar(epoch, options.epochs, f"validation loss {metrics['validation_loss']:.3f}")

        params, _ = fit_particles(data, [data_split], options, folder=folder, report_progress=report, network=network)
    if quick:
        data_split = data_split._replace(test=data_split.test[::8])
    return params[0], network, data_split


def training_folder(split: str, seed: int, *, variant: str, runs: Path) -> Path:
    """Return the folder of a training."""
    return runs / f"{NAME}-{split}-{variant}-seed{seed}"


def is_finished(folder: Path, split: str) -> bool:
    """Return whether a training has made all its epochs."""
    lines = json_rows.read_lines(folder / "metrics.jsonl")
    return bool(lines) and lines[-1]["epoch"] == EPOCHS[split]


def true_structures(data: Dataset, rows: np.ndarray) -> Structures:
    """Return the true structures of some PDFs."""
    max_atoms = max(len(shape.positions) for shape in data.shapes)
    positions = np.zeros((len(rows), max_atoms, 3), np.float32)
    mask = np.zeros((len(rows), max_atoms), bool)
    for row, index in enumerate(rows):
        shape_positions = data.shapes[data.shape_index[index]].positions * data.bond[index]
        positions[row, : len(shape_positions)] = shape_positions
        mask[row, : len(shape_positions)] = True
    return Structures(positions, mask)


def propose(params, network: ParticleCVAE, pdf: np.ndarray, key: Array, *, draw: bool) -> tuple[Structures, np.ndarray]:
    """Return the structure that a network proposes for each PDF, and its type."""
    proposals = propose_particles(params, scaled_pdf.scale_pdfs(pdf), key, network=network, draw=draw)
    return Structures(np.asarray(proposals.positions), np.asarray(proposals.mask)), np.asarray(proposals.structure_type)


def nearest_structures(data: Dataset, train: np.ndarray, rows: np.ndarray) -> tuple[Structures, np.ndarray]:
    """Return the structure of the training PDF with the most similar scaled PDF, and its type, for each PDF.

    It is stretched by the ratio of the neighbour distances of both PDFs. This control has the input of the network.
    """
    training_pdfs, pdfs = (scaled_pdf.scale_pdfs(data.pdf[part]) for part in (train, rows))
    nearest = np.asarray(jnp.argmax(pdfs.values @ training_pdfs.values.T, axis=1))
    ratio = np.asarray(pdfs.neighbour / training_pdfs.neighbour[nearest])
    structures = true_structures(data, train[nearest])
    scaled_structures = structures._replace(positions=structures.positions * ratio[:, None, None])
    return scaled_structures, shape_types(data)[data.shape_index[train[nearest]]]


def fit_structures(structures: Structures, pdf: np.ndarray, settings: FitSettings = IDEAL_FIT) -> StructureFits:
    """Return the fits of scale, stretch and Uiso of each structure to its PDF."""
    r_mask, batches = settings.r_mask, []
    for start in range(0, len(pdf), BATCH_SIZE):
        rows = np.arange(start, start + BATCH_SIZE).clip(max=len(pdf) - 1)
        batch = (structures.positions[rows], structures.mask[rows], pdf[rows][:, r_mask])
        batches.append(_fit_batch(*(jnp.asarray(column, jnp.float32) for column in batch), settings=settings))
    return jax.tree.map(lambda *columns: np.concatenate(columns)[: len(pdf)], *batches)


@partial(jax.jit, static_argnames="settings")
def _fit_batch(
    positions: Float[Array, "pdf atom 3"],
    mask: Float[Array, "pdf atom"],
    pdf: Float[Array, "pdf r"],
    *,
    settings: FitSettings,
) -> StructureFits:
    def fit_structure(positions, mask, curve):
        bond = jnp.asarray(2.7, curve.dtype)
        table = cluster_tables.tabulate_distances(distances(positions), mask, bond, span=TABLE_RANGE)
        return fit.refine(table, point_basis(curve, settings), free=FREE_PARAMETERS)

    fits = jax.vmap(fit_structure)(positions, mask, pdf)
    return StructureFits(fits.values.stretch, fits.rw)


def point_basis(curve: Float[Array, " r"], settings: FitSettings) -> FitBasis:
    """Return the data of a fit whose basis is the points of `PDF_GRID` in the range of a PDF."""
    r, (qmin, qmax) = dataset.PDF_GRID.r[settings.r_mask], settings[2:4]
    nodes, weights = np.polynomial.legendre.leggauss(target.n_q_nodes(settings.rmax, qmin, qmax, TABLE_RANGE))
    q = qmin + (qmax - qmin) * (nodes + 1) / 2
    transform = (qmax - qmin) / np.pi * weights[:, None] * np.sin(q[:, None] * r)
    zero, unit = jnp.zeros((), curve.dtype), jnp.ones((), curve.dtype)
    return FitBasis(
        q=jnp.asarray(q, curve.dtype),
        transform=jnp.asarray(transform, curve.dtype),
        radius=jnp.asarray(r, curve.dtype),
        background_basis=jnp.zeros((len(r), 0), curve.dtype),
        data=curve,
        norm=curve @ curve,
        unmodelled_squares=zero,
        n_independent=(r[-1] - r[0]) * (qmax - qmin) / np.pi * unit,
        stretch=unit,
        bond=2.7 * unit,
        qdamp=settings.qdamp * unit,
        qbroad=zero,
        scale_bounds=jnp.asarray((target.MIN_SCALE, jnp.inf), curve.dtype),
        span=TABLE_RANGE,
    )


def structure_measures(
    data: Dataset, rows: np.ndarray, structures: Structures, structure_types: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the measures of the structures of some PDFs, by the names of the columns."""
    true_atoms = true_structures(data, rows).atoms
    fits = fit_structures(structures, data.pdf[rows])
    true_types = shape_types(data)[data.shape_index[rows]]
    error = evaluation.coordinate_error
    count_exact = np.array([len(a) == len(b) for a, b in zip(true_atoms, structures.atoms, strict=True)])
    fitted_error = np.array(
        [error(a, b * s) for a, b, s in zip(true_atoms, structures.atoms, fits.stretch, strict=True)]
    )
    return {
        "type_right": structure_types == true_types,
        "count_exact": count_exact,
        "solved": count_exact & (fitted_error < evaluation.MAX_SOLVED_ERROR),
        "error": np.array([error(a, b) for a, b in zip(true_atoms, structures.atoms, strict=True)]),
        "fitted_error": fitted_error,
        "fitted_rw": np.asarray(fits.rw),
    }


def shape_types(data: Dataset) -> np.ndarray:
    """Return the index of the type of each shape of a data set."""
    return np.array([STRUCTURE_TYPES.index(shape.family) for shape in data.shapes])


def measure_rows(measures: dict[str, np.ndarray], true_types: np.ndarray, shared: dict) -> list[dict]:
    """Return one row for all types and one for each type, with means and standard deviations over structures."""
    result = []
    for name in ("all", *STRUCTURE_TYPES):
        selection = np.ones(len(true_types), bool) if name == "all" else true_types == STRUCTURE_TYPES.index(name)
        if selection.any():
            columns = dict(item for key, values in measures.items() for item in _summary(key, values[selection]))
            result.append({**shared, "part": "structures", "type": name, "n": int(selection.sum()), **columns})
    return result


def _summary(key: str, values: np.ndarray) -> list[tuple[str, float]]:
    """Return the mean of a measure, and the standard deviation and the median if it is not a flag."""
    if values.dtype == bool:
        return [(key, round(float(values.mean()), 5))]
    return [
        (key, round(float(values.mean()), 5)),
        (f"{key}_sd", round(float(values.std(ddof=1)), 5) if len(values) > 1 else 0.0),
        (f"{key}_median", round(float(np.median(values)), 5)),
    ]


def latent_row(data: Dataset, z: np.ndarray, shared: dict) -> dict:
    """Return the row of the purity of types among nearest neighbours in the latent plane."""
    types = shape_types(data)[data.shape_index]
    separations = np.linalg.norm(z[:, None] - z[None], axis=-1)
    np.fill_diagonal(separations, np.inf)
    neighbours = types[np.argpartition(separations, N_NEIGHBOURS, axis=1)[:, :N_NEIGHBOURS]]
    votes = (neighbours[:, :, None] == np.arange(len(STRUCTURE_TYPES))).sum(axis=1)
    return {
        **shared, "part": "latent", "n": len(types), "wrong": int((votes.argmax(axis=1) != types).sum()),
        "same_type": round(float(np.mean(neighbours == types[:, None])), 5),
    }  # fmt: skip


def prior_means(params, network: ParticleCVAE, pdf: np.ndarray) -> np.ndarray:
    """Return the prior's mean of each PDF [pdf, latent]."""
    prior: Any = jax.jit(partial(network.apply, method=ParticleCVAE.prior))(params, scaled_pdf.scale_pdfs(pdf))
    return np.asarray(prior.mean)


def draws_row(data: Dataset, rows: np.ndarray, params, network: ParticleCVAE, seed: int, shared: dict) -> dict:
    """Return the row that compares several draws for each of some PDFs."""
    rows = np.random.default_rng(seed).permutation(rows)[:N_DRAWN_PDFS]
    true_atoms, counts, errors, n_distinct = true_structures(data, rows).atoms, [], [], []
    pdf = np.repeat(data.pdf[rows], N_DRAWS, axis=0)
    structures, _ = propose(params, network, pdf, jax.random.key(seed + 1), draw=True)
    for row, true_positions in enumerate(true_atoms):
        draws = structures.atoms[row * N_DRAWS : (row + 1) * N_DRAWS]
        counts.append([len(draw) == len(true_positions) for draw in draws])
        errors.append([evaluation.coordinate_error(true_positions, draw) for draw in draws])
        distinct: list[np.ndarray] = []
        for draw in draws:
            if not any(
                len(draw) == len(other) and evaluation.coordinate_error(draw, other) < MIN_SEPARATION
                for other in distinct
            ):
                distinct.append(draw)
        n_distinct.append(len(distinct))
    return {
        **shared, "part": "draws", "n": len(rows), "draws": N_DRAWS, "count_exact": round(float(np.mean(counts)), 4),
        "any_count_exact": round(float(np.mean(np.any(counts, axis=1))), 4),
        "error": round(float(np.mean(errors)), 4), "lowest_error": round(float(np.min(errors, axis=1).mean()), 4),
        "distinct": round(float(np.mean(n_distinct)), 2),
    }  # fmt: skip


def evaluate_training(
    data: Dataset, params, network: ParticleCVAE, data_split: Split, seed: int, shared: dict
) -> list[dict]:
    """Return the rows of one training."""
    rows, types = test_rows(data_split, shared), shape_types(data)
    true_types, result = types[data.shape_index[rows]], []
    for model, draw in MODELS.items():
        start = time.perf_counter()
        structures, structure_types = propose(params, network, data.pdf[rows], jax.random.key(seed), draw=draw)
        seconds = time.perf_counter() - start
        measures = structure_measures(data, rows, structures, structure_types)
        result += measure_rows(measures, true_types, {**shared, "model": model, "seconds": round(seconds, 2)})
    result.append(draws_row(data, rows, params, network, seed, shared))
    return result


def test_rows(data_split: Split, shared: dict) -> np.ndarray:
    """Return the test PDFs of a split and a seed."""
    rows = np.random.default_rng(shared["seed"]).permutation(data_split.test)
    return np.sort(rows[: MAX_TEST_PDFS[shared["split"]]])


def template_rows(data: Dataset, data_split: Split, shared: dict) -> list[dict]:
    """Return the rows of the structures of the nearest training PDFs."""
    rows, types = test_rows(data_split, shared), shape_types(data)
    measures = structure_measures(data, rows, *nearest_structures(data, data_split.train, rows))
    return measure_rows(measures, types[data.shape_index[rows]], {**shared, "model": "template"})


def measured_rows(folder: Path, params, network: ParticleCVAE, shared: dict) -> list[dict]:
    """Return the rows of the best of many draws for each measured file. No row holds measured data."""
    result = []
    for name in MEASURED_FILES:
        measurement = read_curve(folder / name)
        pdf = model_input(measurement, rmin=IDEAL_FIT.rmin)[None].astype(np.float32)
        repeated = np.repeat(pdf, MEASURED_DRAWS, axis=0)
        structures, structure_types = propose(params, network, repeated, jax.random.key(0), draw=True)
        qmin, qmax = (float(measurement.header[key]) for key in ("qmin", "qmax"))
        fits = fit_structures(structures, repeated, FitSettings(1.5, 20.0, qmin, qmax, 0.03))
        best = int(np.argmin(fits.rw))
        result.append({
            **shared, "part": "measured", "file": name, "draws": MEASURED_DRAWS, "rw": round(float(fits.rw[best]), 4),
            "rw_median": round(float(np.median(fits.rw)), 4), "atoms": int(structures.mask[best].sum()),
            "type": STRUCTURE_TYPES[structure_types[best]], "stretch": round(float(fits.stretch[best]), 4),
        })  # fmt: skip
    return result


def draw_latent_map(data: Dataset, z: np.ndarray, test: np.ndarray, path: Path) -> None:
    """Draw the latent plane coloured by type. Rings are PDFs of the test."""
    figure = matplotlib.figure.Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.subplots()
    types = shape_types(data)[data.shape_index]
    for index, name in enumerate(STRUCTURE_TYPES):
        axes.scatter(*z[types == index].T, s=6, color=f"C{index}", label=name, linewidths=0)
    axes.scatter(*z[test].T, s=14, facecolors="none", edgecolors="0.2", linewidths=0.3)
    axes.set(xlabel="first latent dimension", ylabel="second latent dimension")
    axes.legend(markerscale=2, fontsize=8)
    plots.save_figure(figure, path)


def training_rows(split: str, seed: int, options: argparse.Namespace, runs: Path) -> list[dict]:
    """Train or read the model of a split and a seed, and return its rows."""
    data = load_dataset(split, quick=options.quick)
    result = []
    for variant in SPLIT_VARIANTS[split][: 1 if options.quick else None]:
        folder = training_folder(split, seed, variant=variant, runs=runs)
        if options.trained_only and not is_finished(folder, split):
            print(f"Left out: {folder.name} is not trained.", file=sys.stderr)
            continue
        params, network, data_split = train_or_read(data, split, seed, variant=variant, runs=runs, quick=options.quick)
        shared = {"split": split, "seed": seed, "variant": variant}
        z = prior_means(params, network, data.pdf)
        result.append(latent_row(data, z, shared))
        if variant != "no-type-head":
            result += evaluate_training(data, params, network, data_split, seed, shared)
        if options.data is not None and split == "random":
            result += measured_rows(options.data, params, network, shared)
        if options.out is not None and seed == 0:
            draw_latent_map(data, z, data_split.test, options.out.with_name(f"{NAME}_{split}_{variant}.png"))
    if result:
        result += template_rows(data, data_split, {"split": split, "seed": seed, "variant": "template"})
    config = make_options(split, quick=options.quick).recorded_values
    return [{**row, "config": config, **json_rows.provenance()} for row in result]


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Train or read the models, write their rows and return them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--trained-only", action="store_true", help="leave out models whose training is not finished")
    parser.add_argument("--data", type=Path, help="folder of the measured files; rows of the random split only")
    parser.add_argument("--quick", action="store_true", help="run a tiny training, and write nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.splits, options.out = options.splits[:1], None
    result = []
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch) if options.quick else trainings.RUNS
        for split in options.splits:
            for seed in options.seeds:
                rows = training_rows(split, seed, options, runs)
                result += rows
                for row in rows:
                    json_rows.print_row(row)
                if options.out is not None and rows:
                    old_rows = json_rows.read_lines(options.out)
                    retained_rows = [row for row in old_rows if (row["split"], row["seed"]) != (split, seed)]
                    json_rows.write_lines(retained_rows + rows, options.out)
    return result


if __name__ == "__main__":
    main()
