"""The training of the autoencoder for seven structure types, with the loop and the checkpoints of `cvae.training`."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxstruc.clusters import particle_codes
from jaxstruc.clusters.particle_codes import PARTICLE_TYPES
from jaxstruc.network.cvae import dataset, training
from jaxstruc.network.cvae.dataset import Dataset, Split
from jaxstruc.network.cvae.training import TrainingProgress
from jaxstruc.network.deepstruc.loss import ScaledBatch, particle_loss
from jaxstruc.network.deepstruc.model import ParticleCVAE, ParticleFeatures, ParticleModelSizes
from jaxstruc.network.deepstruc.scaled_pdf import scale_pdfs
from jaxstruc.options.training import TrainOptions

EPOCH_PASSES = 4
"""Number of passes over the training data in an epoch, so that validation and checkpoints take little of the time."""


def fit_particles(
    data: Dataset,
    splits: Sequence[Split],
    config: TrainOptions,
    *,
    folder: Path,
    report_progress: Callable[[int, dict[str, float]], None] | None = None,
    stop_after: int | None = None,
    network: ParticleCVAE | None = None,
) -> tuple[list[Any], TrainingProgress]:
    """Train the autoencoder, and return the best parameters of each seed and the final progress.

    All structure types have the same weight, in training and validation, because rows of rare types are repeated. The
    arguments are those of `cvae.training.fit`.

    Raises:
        FloatingPointError: If the loss is not finite.
        ValueError: If the folder holds a training with other options, the options are those of another network, or a
            batch is larger than the training data.
    """
    check_options(config)
    network = network or ParticleCVAE(sizes_from_options(config))
    balanced_splits = [
        Split(
            np.tile(dataset.balance_types(data, part.train), EPOCH_PASSES),
            dataset.balance_types(data, part.validation),
            part.test,
        )
        for part in splits
    ]
    return training.fit(
        batch_gatherer(data),
        balanced_splits,
        config,
        folder=folder,
        report_progress=report_progress,
        stop_after=stop_after,
        take_step=partial(training.train_step, loss_function=particle_loss),
        validate=partial(training.validate, evaluate=partial(training.evaluate_batch, loss_function=particle_loss)),
        network=network,
    )


def check_options(config: TrainOptions) -> None:
    """Refuse options that this network does not have.

    Raises:
        ValueError: If the model is deterministic, or the loss has a PDF term.
    """
    if config.model != "cvae" or config.pdf > 0:
        raise ValueError(
            f"Expected --model cvae and --pdf 0 with the presets {' and '.join(dataset.DEEPSTRUC_PRESETS)}, got "
            f"{config.model} and {config.pdf:g}; drop both options."
        )


def sizes_from_options(config: TrainOptions) -> ParticleModelSizes:
    """Return the sizes of the network that the options of a training describe."""
    return ParticleModelSizes(latent=config.latent)


def batch_gatherer(data: Dataset) -> Callable[[np.ndarray], ScaledBatch]:
    """Return a function that returns the batch of some rows of the data set."""
    codes = [particle_codes.particle_code(shape) for shape in data.shapes]
    shapes = (
        jax.tree.map(lambda *rows: np.stack(rows), *codes),
        np.array([PARTICLE_TYPES.index(shape.family) for shape in data.shapes], np.int32),
        np.array([particle_codes.hexagonal_share(shape) for shape in data.shapes], np.float32),
    )
    columns = (data.shape_index, data.bond.astype(np.float32), scale_pdfs(data.pdf))
    device_data = jax.device_put((shapes, columns))
    return lambda rows: _gather_batch(device_data, jnp.asarray(rows))


@jax.jit
def _gather_batch(device_data, rows) -> ScaledBatch:
    """Return the batch of some rows of the data on the device."""
    shapes, columns = device_data
    shape_index, bond, pdf = jax.tree.map(lambda column: column[rows], columns)
    code, structure_type, hexagonal = jax.tree.map(lambda column: column[shape_index], shapes)
    return ScaledBatch(ParticleFeatures(code, bond, structure_type, hexagonal), pdf)
