"""The card beside trained weights: what they are, and the limits of the data behind them."""

from dataclasses import asdict
from typing import Any

import jax
import numpy as np
from scipy.spatial.distance import pdist

import jaxstruc
from jaxstruc.network import dataset
from jaxstruc.network.checkpoints import TrainingProgress
from jaxstruc.network.config import model_sizes_from_options
from jaxstruc.network.dataset import Dataset, Split
from jaxstruc.options.training import TrainOptions


def autoencoder_card(
    data: Dataset, split: Split, config: TrainOptions, progress: TrainingProgress, *, command: str, seed_index: int = 0
) -> dict[str, Any]:
    """Return what a reader, and `solve`, must know of trained weights: their making and the limits of their data.

    Args:
        data: what they were trained on.
        split: of it.
        config: of the training.
        progress: where it ended.
        command: that trains them again.
        seed_index: which of its seeds.
    """
    diameters = np.array([pdist(shape.positions).max() for shape in data.shapes])
    return {
        "name": f"{data.preset}-H{config.latent}-seed{config.all_seeds[seed_index]}",
        "command": command,
        "versions": {module.__name__: module.__version__ for module in (jaxstruc, jax, np)},
        "config": config.recorded,
        "sizes": asdict(model_sizes_from_options(config)),
        "data": {
            "preset": data.preset,
            "pdfs": {name: len(rows) for name, rows in split._asdict().items()},
            "shapes": [f"{shape.family} {len(shape.positions)} atoms: {shape.label}" for shape in data.shapes],
        },
        "limits": {
            "diameter": [0.0, round(float((diameters[data.shape_index] * data.bond).max()), 2)],
            "relative_diameter": round(float(diameters.max()), 4),
            "bond": _value_range(data.bond),
            **dataset.condition_ranges(data),
        },
        "fit": {
            "epochs": progress.epoch,
            "best_epoch": int(progress.best_epoch[seed_index]),
            "validation_loss": float(progress.best_loss[seed_index]),
        },
    }


def _value_range(values) -> list[float]:
    return [round(float(np.min(values)), 4), round(float(np.max(values)), 4)]
