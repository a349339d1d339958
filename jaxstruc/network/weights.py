"""Trained weights as safetensors, and the card beside them: how they were made and the limits of their data."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import numpy as np
import safetensors.numpy
from scipy.spatial.distance import pdist

import jaxstruc
from jaxstruc import files
from jaxstruc.network.classifier.model import Classifier
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.dataset import Dataset, Split
from jaxstruc.network.cvae.model import CVAE, ModelSizes, model_sizes_from_options
from jaxstruc.network.cvae.training import TrainingProgress
from jaxstruc.options.training import TrainOptions

CLASSIFIER_VERSION = 2
"""Of a classifier's weights and of what they are told."""


class TrainedAutoencoder(NamedTuple):
    """A trained network."""

    params: Any
    module: CVAE
    card: dict[str, Any]


class FeatureDistribution(NamedTuple):
    """What tells PDFs unlike those of the training: the distance of a classifier's features from their mean."""

    mean: np.ndarray
    """[feature]"""
    whitening: np.ndarray
    """[feature, feature] makes features of the training independent, of size 1."""


class TrainedClassifier(NamedTuple):
    """A trained classifier."""

    params: Any
    module: Classifier
    feature_distribution: FeatureDistribution
    card: dict[str, Any]


def save_weights(path: Path, params, card: dict) -> None:
    """Write parameters as safetensors in half precision, and the card, with their checksum, as JSON beside them."""
    flat_params = flax.traverse_util.flatten_dict(params, sep="/")
    with files.atomic_replacement(path) as temporary_path:
        half_params = {name: np.asarray(value, np.float16) for name, value in flat_params.items()}
        temporary_path.write_bytes(safetensors.numpy.save(half_params))
    text = json.dumps(card | {"sha256": files.sha256(path)}, indent=1, ensure_ascii=False)
    files.write_text(path.with_suffix(".json"), text + "\n")


def save_classifier(path: Path, trained_classifier: TrainedClassifier) -> None:
    """Write a classifier as `save_weights` does."""
    sizes = {name: getattr(trained_classifier.module, name) for name in ("channels", "blocks", "width", "components")}
    save_weights(
        path,
        {**trained_classifier.params, "outside": trained_classifier.feature_distribution._asdict()},
        trained_classifier.card | {"version": CLASSIFIER_VERSION, "network": sizes},
    )


def load_autoencoder(path: Path) -> TrainedAutoencoder:
    """Return a trained autoencoder, its parameters in single precision.

    Raises:
        ValueError: where either file is missing or was not written by `save_weights`, or the card is of other weights.
    """
    params, card = _read_weights(path, "sizes", training_command="jaxstruc train")
    return TrainedAutoencoder(params, CVAE(ModelSizes(**card["sizes"])), card)


def load_classifier(path: Path) -> TrainedClassifier:
    """Return a trained classifier, its parameters in single precision.

    Raises:
        ValueError: as `load_autoencoder`; or if the card is of another version.
    """
    params, card = _read_weights(path, "network", training_command="jaxstruc train-classifier")
    if card["version"] != CLASSIFIER_VERSION:
        raise ValueError(
            f"Expected a classifier of version {CLASSIFIER_VERSION} at {path}, got {card['version']}; use the "
            "weights that ship."
        )
    feature_statistics = params.pop("outside")
    sizes: dict[str, Any] = card["network"]
    channels, blocks = (tuple(sizes[name]) for name in ("channels", "blocks"))
    module = Classifier(channels, blocks, sizes["width"], sizes["components"])
    return TrainedClassifier(
        params, module, FeatureDistribution(feature_statistics["mean"], feature_statistics["whitening"]), card
    )


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
        "config": config.recorded_values,
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


def _read_weights(path: Path, key: str, *, training_command: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and card, which has the key."""
    try:
        flat_params = safetensors.numpy.load_file(path)
        card = json.loads(path.with_suffix(".json").read_text("utf-8"))
        expected_sha256, _ = card["sha256"], card[key]
        if key == "sizes":
            ModelSizes(**card["sizes"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Expected weights and their .json card at {path}, got: {reason}; make them with `{training_command}`."
        ) from error
    if (actual_sha256 := files.sha256(path)) != expected_sha256:
        raise ValueError(
            f"Expected weights of sha256 {expected_sha256} at {path}, as their card says, got {actual_sha256}; "
            f"copy both files again, or make them with `{training_command}`."
        )
    flat_params = {name: value.astype(np.float32) for name, value in flat_params.items()}
    return flax.traverse_util.unflatten_dict(flat_params, sep="/"), card


def _value_range(values) -> list[float]:
    return [round(float(np.min(values)), 4), round(float(np.max(values)), 4)]
