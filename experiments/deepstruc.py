"""Claim: an autoencoder solves particles of DeepStruc's seven types from their PDFs, if it has seen similar shapes.

    python experiments/deepstruc.py                       (trains missing models: about an hour each on one core)
    python experiments/deepstruc.py --trained-only        (minutes; leaves out missing models)
    python experiments/deepstruc.py --splits range        (one split)
    python experiments/deepstruc.py --data DIR            (measured files too)
    python experiments/deepstruc.py --quick               (under 50 s: a tiny training; writes nothing)

DeepStruc (Digital Discovery 2, 69 (2023), doi 10.1039/D2DD00086E) is a conditional variational autoencoder for 3743
structures of seven types: 197 shapes with 19 bond lengths. It reports a mean error of coordinates of 0.093 ± 0.058 Å
after a fit of contraction, vibrations and scale. `jaxstruc.network.deepstruc` is the system measured here.

There are four splits:

- random: the published one, 60/20/20 over the 3743 structures. Every shape of the test is in the training, with another
  bond length.
- range: shapes in whole ranges of their parameters are the test (`deepstruc_shapes.HELD_OUT_RANGES`). The training has
  polyhedra with and without a cut (`particle_codes`), with random bond lengths, instruments and noise. None of them is
  similar to a test shape (`particle_codes.is_near`). The test PDFs have the ideal instrument of the list and other bond
  lengths. The templates are ideal PDFs of all shapes of the training.
- stacks: all stacks of 3 to 10 close-packed layers with 19 bond lengths, 60/20/20. The rule of the published set of
  stacking faults is unknown.
- words: the same stacks, with a quarter of the words as the test.

The variant `no-type-head` of the network lacks the head that predicts the type from the latent vector alone.

Each row has the measures of one model for one type, or for all types. The models are one draw of the network (`draw`),
the decoded mean of its prior (`mean`) and, as the control, the structure of the nearest training PDF (`template`),
which is scaled by the neighbour distance as the network's input is. On the split `range`, one draw and the template are
also refined by layers of atoms with the same number of fits (`deepstruc_refinement`). The error is the mean distance of
the atoms from their true positions after the best rotation, mirror and pairing (see `evaluation.coordinate_error`). It
is reported as decoded (`error`), and after a fit of stretch, Uiso and scale to the PDF (`fitted_error`). Atoms without
a partner are left out, so that the error means little if the number of atoms is wrong. A structure is solved if its
number of atoms is exact and its error after the fit is below 0.1 Å.

Rows of the part `latent` state how many of all PDFs have another type than most of their five nearest neighbours in the
plane of the prior's means. Rows of the part `draws` compare several draws for one PDF. Rows of the part `measured` need
the folder of the measured files (`--data DIR`), and have the models of the split `range`. They have the best of 200
draws, fitted from 1.5 to 20 Å with scale, stretch and Uiso. The authors' released network reaches Rw 0.245 and 0.198
with the same fit. Rows of the part `larger` have particles of 200 to 400 atoms, which are larger than all of the
training. Rows of the part `paired` compare Rw after the fit of one draw and of the nearest template for each PDF
(Wilcoxon's signed-rank test). Rows of the part `stacking` have the correlation of the share of hexagonal layers with
the best direction of the latent plane, which is that of least squares in the training.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import evaluation
import jax
import jax.numpy as jnp
import json_rows
import matplotlib
import matplotlib.figure
import numpy as np
import plots
import scipy.stats
import trainings
from deepstruc_refinement import CodedParticles, coded_particles, particle_positions, refine_particles
from jaxtyping import Array, Float

from jaxstruc.cli import progress
from jaxstruc.clusters import particle_codes
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.deepstruc_shapes import STRUCTURE_TYPES, deepstruc_family
from jaxstruc.clusters.distances import distances
from jaxstruc.clusters.particle_codes import PARTICLE_TYPES
from jaxstruc.io.read import read_curve
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.dataset import Dataset, Split
from jaxstruc.network.cvae.propose import model_input
from jaxstruc.network.deepstruc import scaled_pdf
from jaxstruc.network.deepstruc.model import ParticleCVAE
from jaxstruc.network.deepstruc.propose import MAX_ATOMS, propose_particles
from jaxstruc.network.deepstruc.training import fit_particles, sizes_from_options
from jaxstruc.options.training import Preset, TrainOptions
from jaxstruc.pdf import fit, target
from jaxstruc.pdf.target import FitBasis
from jaxstruc.scattering import cluster_tables
from jaxstruc.scattering.cluster_tables import TableRange

NAME = "deepstruc"
RESULTS = Path(__file__).parent / "results" / f"{NAME}.jsonl"


class SplitPlan(NamedTuple):
    """The training of a split."""

    preset: Preset
    strategy: Literal["random", "shape", "range"]
    epochs: int
    draws: int = 1
    variants: tuple[str, ...] = ("plain",)


SPLITS = {
    "random": SplitPlan("deepstruc", "random", 12, variants=("plain", "no-type-head")),
    "range": SplitPlan("deepstruc-varied", "range", 8, draws=12),
    "stacks": SplitPlan("deepstruc-stacks", "random", 30),
    "words": SplitPlan("deepstruc-stacks", "shape", 30),
}
VARIANTS: dict[str, dict[str, bool]] = {
    "plain": {},
    "no-type-head": {"type_head": False},
}
"""Variants of the network, with the sizes that differ from their defaults (see `ParticleModelSizes`)."""
MODELS = {"draw": True, "mean": False}
"""Models of the network, and whether each draws its latent vector."""
FREE_PARAMETERS = ("scale", "stretch", "uiso")
TABLE_RANGE = TableRange(36.0, 34.0)
"""Longest distance in Å, and largest product of Q and stretch in 1/Å, of the fits. The PDFs end at 30 Å."""
BATCH_SIZE = 32
N_DRAWS, N_DRAWN_PDFS = 16, 24
"""Number of draws for each PDF, and number of PDFs, in the part `draws`."""
MAX_TEST_PDFS, TEST_DRAWS, N_LARGER_SHAPES = 400, 16, 8
"""Largest number of test PDFs, number of bond lengths of each held-out shape, and number of larger shapes of each type.
All of them are drawn at random."""
LARGER_ATOMS = (201, 400)
"""Smallest and largest number of atoms of the particles that are larger than those of the training."""
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


class Test(NamedTuple):
    """The PDFs that test the models of a training, and those of the templates."""

    data: Dataset
    rows: np.ndarray
    template_data: Dataset
    template_rows: np.ndarray


def make_options(split: str, *, quick: bool = False) -> TrainOptions:
    """Return the options of the training of a split. See the README on how they were chosen."""
    plan = SPLITS[split]
    epochs = 1 if quick else plan.epochs
    return TrainOptions(
        preset=plan.preset, split=plan.strategy, draws=plan.draws, batch=128 if split == "random" else 256, rate=2e-3,
        cosine=True, epochs=epochs, patience=epochs, warmup=min(1, epochs / 2), radius=1000.0, presence=1.0, beta=0.03,
    )  # fmt: skip


def load_dataset(split: str, *, quick: bool = False) -> Dataset:
    """Return the data set of a split, or a few of its shapes with a few bond lengths."""
    plan = SPLITS[split]
    if not quick:
        return dataset.generate(plan.preset, seed=0, draws=plan.draws)
    shapes = [shape for shape in deepstruc_family() if len(shape.positions) < 40]
    return dataset.generate(plan.preset, seed=0, draws=4, shapes=shapes, elements=("Ti", "Pt", "Au"))


def load_test(data: Dataset, data_split: Split, split: str, seed: int) -> Test:
    """Return the test of a split and a seed."""
    rng = np.random.default_rng(seed)
    if split != "range":
        return Test(data, np.sort(rng.permutation(data_split.test)[:MAX_TEST_PDFS]), data, data_split.train)
    shapes = [data.shapes[index] for index in np.unique(data.shape_index[data_split.train])]
    template_data = ideal_dataset(shapes, draws=1)
    test_data = ideal_dataset(dataset.held_out_shapes(), draws=TEST_DRAWS)
    rows = np.sort(rng.permutation(len(test_data.pdf))[:MAX_TEST_PDFS])
    return Test(test_data, rows, template_data, np.arange(len(shapes)))


def load_larger_test(test: Test, seed: int) -> Test:
    """Return the test with larger particles, and the same templates."""
    rng = np.random.default_rng(seed)
    larger = particle_codes.polyhedra(LARGER_ATOMS)
    shapes = []
    for structure_type in STRUCTURE_TYPES:
        candidates = [cluster for cluster in larger if cluster.family == structure_type]
        shapes += [candidates[index] for index in rng.permutation(len(candidates))[:N_LARGER_SHAPES]]
    data = ideal_dataset(shapes, draws=2)
    return test._replace(data=data, rows=np.arange(len(data.pdf)))


def ideal_dataset(shapes: Sequence[Cluster], *, draws: int) -> Dataset:
    """Return PDFs of shapes with the ideal instrument of the list of DeepStruc and random bond lengths."""
    return dataset.generate("deepstruc-continuous", seed=1, draws=draws, shapes=shapes)


def train_or_read(
    data: Dataset, split: str, seed: int, *, variant: str, runs: Path, quick: bool = False
) -> tuple[Any, ParticleCVAE, Split]:
    """Return the parameters of a training, which is read if it is finished, its network and its split."""
    options = dataclasses.replace(make_options(split, quick=quick), seed=seed)
    network = ParticleCVAE(dataclasses.replace(sizes_from_options(options), **VARIANTS[variant]))
    data_split = dataset.split(data, strategy=options.split, seed=seed)
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
    return bool(lines) and lines[-1]["epoch"] == SPLITS[split].epochs


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


class Proposed(NamedTuple):
    """Structures that a model proposes, their types and their codes."""

    structures: Structures
    structure_type: np.ndarray
    particles: CodedParticles


def propose(
    params, network: ParticleCVAE, pdf: np.ndarray, key: Array, *, draw: bool, max_atoms: int = MAX_ATOMS
) -> Proposed:
    """Return the structure that a network proposes for each PDF."""
    scaled = scaled_pdf.scale_pdfs(pdf)
    proposals = jax.tree.map(
        np.asarray, propose_particles(params, scaled, key, network=network, draw=draw, max_atoms=max_atoms)
    )
    particles = CodedParticles(proposals.code, proposals.bond, proposals.direction)
    return Proposed(Structures(proposals.positions, proposals.mask), proposals.structure_type, particles)


def nearest_structures(test: Test) -> Proposed:
    """Return the structure of the template with the most similar scaled PDF for each test PDF.

    It is stretched by the ratio of the neighbour distances of both PDFs. This control has the input of the network.
    """
    templates = scaled_pdf.scale_pdfs(test.template_data.pdf[test.template_rows])
    pdfs = scaled_pdf.scale_pdfs(test.data.pdf[test.rows])
    nearest = np.asarray(jnp.argmax(pdfs.values @ templates.values.T, axis=1))
    ratio = np.asarray(pdfs.neighbour / templates.neighbour[nearest])
    rows = test.template_rows[nearest]
    structures = true_structures(test.template_data, rows)
    structures = structures._replace(positions=structures.positions * ratio[:, None, None])
    shape_index = test.template_data.shape_index[rows]
    clusters = [test.template_data.shapes[index] for index in shape_index]
    particles = coded_particles(clusters, (test.template_data.bond[rows] * ratio).astype(np.float32))
    return Proposed(structures, shape_types(test.template_data)[shape_index], particles)


def refine(proposed: Proposed, pdf: np.ndarray, *, max_atoms: int) -> Proposed:
    """Return proposals refined by layers (see `deepstruc_refinement`)."""

    def structures_of(particles: CodedParticles) -> Structures:
        return Structures(*map(np.asarray, particle_positions(particles, max_atoms=max_atoms)))

    particles = refine_particles(
        proposed.particles, lambda particles: np.asarray(fit_structures(structures_of(particles), pdf).rw)
    )
    return proposed._replace(structures=structures_of(particles), particles=particles)


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
        self_scattering=jnp.zeros_like(curve),
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
    return np.array([PARTICLE_TYPES.index(shape.family) for shape in data.shapes])


def measure_rows(measures: dict[str, np.ndarray], true_types: np.ndarray, shared: dict) -> list[dict]:
    """Return one row for all types and one for each type, with means and standard deviations over structures."""
    result = []
    for name in ("all", *PARTICLE_TYPES):
        selection = np.ones(len(true_types), bool) if name == "all" else true_types == PARTICLE_TYPES.index(name)
        if selection.any():
            columns = dict(item for key, values in measures.items() for item in _summary(key, values[selection]))
            result.append({**shared, "type": name, "n": int(selection.sum()), **columns})
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
    votes = (neighbours[:, :, None] == np.arange(len(PARTICLE_TYPES))).sum(axis=1)
    return {
        **shared, "part": "latent", "n": len(types), "wrong": int((votes.argmax(axis=1) != types).sum()),
        "same_type": round(float(np.mean(neighbours == types[:, None])), 5),
    }  # fmt: skip


def prior_means(params, network: ParticleCVAE, pdf: np.ndarray) -> np.ndarray:
    """Return the prior's mean of each PDF [pdf, latent]."""
    prior: Any = jax.jit(partial(network.apply, method=ParticleCVAE.prior))(params, scaled_pdf.scale_pdfs(pdf))
    return np.asarray(prior.mean)


def stacking_row(data: Dataset, data_split: Split, z: np.ndarray, shared: dict) -> dict:
    """Return the row of the correlation of the share of hexagonal layers with a direction of the latent plane."""
    share = np.array([particle_codes.hexagonal_share(shape) for shape in data.shapes])[data.shape_index]
    columns = np.column_stack([z, np.ones(len(z))])
    direction = np.linalg.lstsq(columns[data_split.train], share[data_split.train], rcond=None)[0]
    correlation = scipy.stats.spearmanr(columns[data_split.test] @ direction, share[data_split.test]).statistic
    return {**shared, "part": "stacking", "n": len(data_split.test), "spearman": round(float(correlation), 4)}


def paired_row(measures: dict[str, np.ndarray], template_measures: dict[str, np.ndarray], shared: dict) -> dict:
    """Return the row that compares one draw with the nearest template, for the same PDFs."""
    rw, template_rw = (values["fitted_rw"] for values in (measures, template_measures))
    test = scipy.stats.wilcoxon(rw, template_rw, alternative="less")
    return {
        **shared, "part": "paired", "n": len(rw), "better": round(float(np.mean(rw < template_rw)), 4),
        "worse": round(float(np.mean(rw > template_rw)), 4), "p": float(f"{test.pvalue:.2g}"),
    }  # fmt: skip


def draws_row(data: Dataset, rows: np.ndarray, params, network: ParticleCVAE, seed: int, shared: dict) -> dict:
    """Return the row that compares several draws for each of some PDFs."""
    rows = np.random.default_rng(seed).permutation(rows)[:N_DRAWN_PDFS]
    true_atoms, counts, errors, n_distinct = true_structures(data, rows).atoms, [], [], []
    pdf = np.repeat(data.pdf[rows], N_DRAWS, axis=0)
    structures = propose(params, network, pdf, jax.random.key(seed + 1), draw=True).structures
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
    test: Test, params, network: ParticleCVAE, seed: int, shared: dict, *, max_atoms: int = MAX_ATOMS
) -> list[dict]:
    """Return the rows of one training and of its templates for the PDFs of a test.

    On the split `range`, the draw and the template are also refined by layers, with the same number of fits.
    """
    pdf, types = test.data.pdf[test.rows], shape_types(test.data)[test.data.shape_index[test.rows]]
    proposed = {
        model: propose(params, network, pdf, jax.random.key(seed), draw=draw, max_atoms=max_atoms)
        for model, draw in MODELS.items()
    } | {"template": nearest_structures(test)}
    pairs = [("draw", "template")]
    if shared["split"] == "range":
        proposed |= {f"{model}_refined": refine(proposed[model], pdf, max_atoms=max_atoms) for model in pairs[0]}
        pairs.append(("draw_refined", "template_refined"))
    measures = {
        model: structure_measures(test.data, test.rows, entry.structures, entry.structure_type)
        for model, entry in proposed.items()
    }
    rows = [
        row
        for model, columns in measures.items()
        for row in measure_rows(columns, types, {"part": "structures", **shared, "model": model})
    ]
    test_name = shared.get("part", "structures")
    return rows + [
        paired_row(measures[model], measures[template], {**shared, "test": test_name, "model": model})
        for model, template in pairs
    ]


def measured_rows(folder: Path, params, network: ParticleCVAE, shared: dict) -> list[dict]:
    """Return the rows of the best of many draws for each measured file. No row holds measured data."""
    result = []
    for name in MEASURED_FILES:
        measurement = read_curve(folder / name)
        pdf = model_input(measurement, rmin=IDEAL_FIT.rmin)[None].astype(np.float32)
        repeated = np.repeat(pdf, MEASURED_DRAWS, axis=0)
        structures, structure_types, _ = propose(params, network, repeated, jax.random.key(0), draw=True)
        qmin, qmax = (float(measurement.header[key]) for key in ("qmin", "qmax"))
        fits = fit_structures(structures, repeated, FitSettings(1.5, 20.0, qmin, qmax, 0.03))
        best = int(np.argmin(fits.rw))
        result.append({
            **shared, "part": "measured", "file": name, "draws": MEASURED_DRAWS, "rw": round(float(fits.rw[best]), 4),
            "rw_median": round(float(np.median(fits.rw)), 4), "atoms": int(structures.mask[best].sum()),
            "type": PARTICLE_TYPES[structure_types[best]], "stretch": round(float(fits.stretch[best]), 4),
        })  # fmt: skip
    return result


def draw_latent_map(data: Dataset, z: np.ndarray, test: np.ndarray, path: Path) -> None:
    """Draw the latent plane coloured by type, or by the share of hexagonal layers of stacks. Rings are test PDFs."""
    figure = matplotlib.figure.Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.subplots()
    types = shape_types(data)[data.shape_index]
    if data.preset == "deepstruc-stacks":
        share = np.array([particle_codes.hexagonal_share(shape) for shape in data.shapes])[data.shape_index]
        points = axes.scatter(*z.T, s=6, c=share, cmap="viridis", linewidths=0)
        figure.colorbar(points, label="share of hexagonal layers")
    else:
        for index in np.unique(types):
            axes.scatter(*z[types == index].T, s=6, color=f"C{index}", label=PARTICLE_TYPES[index], linewidths=0)
        axes.legend(markerscale=2, fontsize=8)
    axes.scatter(*z[test].T, s=14, facecolors="none", edgecolors="0.2", linewidths=0.3)
    axes.set(xlabel="first latent dimension", ylabel="second latent dimension")
    plots.save_figure(figure, path)


def training_rows(data: Dataset, split: str, seed: int, options: argparse.Namespace, runs: Path) -> list[dict]:
    """Train or read the models of a split and a seed, and return their rows."""
    result = []
    for variant in SPLITS[split].variants[: 1 if options.quick else None]:
        folder = training_folder(split, seed, variant=variant, runs=runs)
        if options.trained_only and not is_finished(folder, split):
            print(f"Left out: {folder.name} is not trained.", file=sys.stderr)
            continue
        params, network, data_split = train_or_read(data, split, seed, variant=variant, runs=runs, quick=options.quick)
        shared = {"split": split, "seed": seed, "variant": variant}
        result += variant_rows(data, data_split, params, network, shared, options)
    config = make_options(split, quick=options.quick).recorded_values
    return [{**row, "config": config, **json_rows.provenance()} for row in result]


def variant_rows(
    data: Dataset, data_split: Split, params, network: ParticleCVAE, shared: dict, options: argparse.Namespace
) -> list[dict]:
    """Return the rows of one model."""
    split, seed, variant = shared["split"], shared["seed"], shared["variant"]
    map_data, map_test = data, data_split.test
    if split == "range":
        map_data, map_test = dataset.generate("deepstruc", seed=0), np.zeros(0, int)
    z = prior_means(params, network, map_data.pdf)
    result = [
        stacking_row(data, data_split, z, shared) if split in ("stacks", "words") else latent_row(map_data, z, shared)
    ]
    if variant == "plain":
        test = load_test(data, data_split, split, seed)
        result += evaluate_training(test, params, network, seed, shared)
        result.append(draws_row(test.data, test.rows, params, network, seed, shared))
        if split == "range":
            larger = load_larger_test(test, seed)
            part = {**shared, "part": "larger"}
            result += evaluate_training(larger, params, network, seed, part, max_atoms=LARGER_ATOMS[1])
    if options.data is not None and split == "range":
        result += measured_rows(options.data, params, network, shared)
    if options.out is not None and seed == 0:
        draw_latent_map(map_data, z, map_test, options.out.with_name(f"{NAME}_{split}_{variant}.png"))
    return result


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Train or read the models, write their rows and return them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--trained-only", action="store_true", help="leave out models whose training is not finished")
    parser.add_argument("--data", type=Path, help="folder of the measured files; rows of the split range only")
    parser.add_argument("--quick", action="store_true", help="run a tiny training, and write nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.splits, options.out = options.splits[:1], None
    result = []
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch) if options.quick else trainings.RUNS
        for split in options.splits:
            data = load_dataset(split, quick=options.quick)
            for seed in options.seeds:
                rows = training_rows(data, split, seed, options, runs)
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
