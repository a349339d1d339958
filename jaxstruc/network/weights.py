"""Files of trained weights: each safetensors file has a card.

The card is a JSON file of the same name. It states how the weights were trained, and the ranges of the training data.
"""

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
from jaxstruc.network.classifier.shell_detector import ShellDetector
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.dataset import Dataset, Split
from jaxstruc.network.cvae.model import CVAE, ModelSizes, model_sizes_from_options
from jaxstruc.network.cvae.training import TrainingProgress
from jaxstruc.network.deepstruc.model import ParticleCVAE, ParticleModelSizes
from jaxstruc.network.deepstruc.training import sizes_from_options
from jaxstruc.options.training import TrainOptions

CLASSIFIER_VERSION = 2
"""Version of the classifier's layers and inputs. Weights of another version are refused."""

SHELL_DETECTOR_VERSION = 1
"""Version of the layers and inputs of the shell detector. Weights of another version are refused."""


class TrainedAutoencoder(NamedTuple):
    """The parameters and the network of a trained autoencoder, with the card that describes its training."""

    params: Any
    module: CVAE
    card: dict[str, Any]


class TrainedParticleNetwork(NamedTuple):
    """The parameters and the network of a trained autoencoder for seven structure types, with its card."""

    params: Any
    module: ParticleCVAE
    card: dict[str, Any]


class FeatureDistribution(NamedTuple):
    """The distribution of the classifier's features over simulated PDFs like those of its training.

    The features are the outputs of the last hidden layer. A PDF whose features are far from the mean does not resemble
    the training data.
    """

    mean: np.ndarray
    """Mean of the features [feature]."""
    whitening: np.ndarray
    """Matrix [feature, feature] that transforms the features into uncorrelated features of variance 1."""


class TrainedClassifier(NamedTuple):
    """The parameters and the network of a trained classifier, the distribution of its features, and its card."""

    params: Any
    module: Classifier
    feature_distribution: FeatureDistribution
    card: dict[str, Any]


class TrainedShellDetector(NamedTuple):
    """The parameters and the network of a trained detector of light-atom shells, with its card."""

    params: Any
    module: ShellDetector
    card: dict[str, Any]


def save_weights(path: Path, params, card: dict) -> None:
    """Write parameters to a safetensors file in half precision, and write the card next to it as JSON.

    The checksum of the safetensors file is added to the card.
    """
    flat_params = flax.traverse_util.flatten_dict(params, sep="/")
    with files.atomic_replacement(path) as temporary_path:
        half_params = {name: np.asarray(value, np.float16) for name, value in flat_params.items()}
        temporary_path.write_bytes(safetensors.numpy.save(half_params))
    text = json.dumps(card | {"sha256": files.sha256(path)}, indent=1, ensure_ascii=False)
    files.write_text(path.with_suffix(".json"), text + "\n")


def save_classifier(path: Path, trained_classifier: TrainedClassifier) -> None:
    """Write a classifier, the distribution of its features and its card with `save_weights`."""
    sizes = {name: getattr(trained_classifier.module, name) for name in ("channels", "blocks", "width", "components")}
    save_weights(
        path,
        {**trained_classifier.params, "outside": trained_classifier.feature_distribution._asdict()},
        trained_classifier.card | {"version": CLASSIFIER_VERSION, "network": sizes},
    )


def save_shell_detector(path: Path, detector: TrainedShellDetector) -> None:
    """Write a detector of light-atom shells and its card with `save_weights`."""
    sizes = {"channels": detector.module.channels, "width": detector.module.width}
    save_weights(path, detector.params, detector.card | {"version": SHELL_DETECTOR_VERSION, "network": sizes})


def load_autoencoder(path: Path) -> TrainedAutoencoder:
    """Return a trained autoencoder with its parameters in single precision.

    Raises:
        ValueError: If the weights or the card are missing or were not written by `save_weights`, or if the card belongs
            to other weights.
    """
    params, card = _read_weights(path, "sizes", training_command="jaxstruc train")
    return TrainedAutoencoder(params, CVAE(ModelSizes(**card["sizes"])), card)


def load_particle_network(path: Path) -> TrainedParticleNetwork:
    """Return a trained autoencoder for seven structure types with its parameters in single precision.

    Raises:
        ValueError: If the weights or the card are missing or were not written by `save_weights`, if the card belongs to
            other weights, or if they are those of another network.
    """
    params, card = _read_weights(path, "particle_sizes", training_command="jaxstruc train --preset deepstruc")
    return TrainedParticleNetwork(params, ParticleCVAE(ParticleModelSizes(**card["particle_sizes"])), card)


def load_classifier(path: Path) -> TrainedClassifier:
    """Return a trained classifier with its parameters in single precision.

    Raises:
        ValueError: If the weights or the card are missing or were not written by `save_classifier`, if the card belongs
            to other weights, or if their version is not `CLASSIFIER_VERSION`.
    """
    params, card = _read_weights(path, "network", training_command="jaxstruc train-classifier")
    if card["version"] != CLASSIFIER_VERSION:
        raise ValueError(
            f"Expected a classifier of version {CLASSIFIER_VERSION} at {path}, got version {card['version']}; use the "
            "weights that come with jaxstruc."
        )
    feature_statistics = params.pop("outside")
    sizes: dict[str, Any] = card["network"]
    channels, blocks = (tuple(sizes[name]) for name in ("channels", "blocks"))
    module = Classifier(channels, blocks, sizes["width"], sizes["components"])
    return TrainedClassifier(
        params, module, FeatureDistribution(feature_statistics["mean"], feature_statistics["whitening"]), card
    )


def load_shell_detector(path: Path) -> TrainedShellDetector:
    """Return a trained detector of light-atom shells with its parameters in single precision.

    Raises:
        ValueError: If the weights or the card are missing or were not written by `save_shell_detector`, if the card
            belongs to other weights, or if their version is not `SHELL_DETECTOR_VERSION`.
    """
    params, card = _read_weights(path, "network", training_command="tools/train_shell_detector.py")
    if card["version"] != SHELL_DETECTOR_VERSION:
        raise ValueError(
            f"Expected a shell detector of version {SHELL_DETECTOR_VERSION} at {path}, got version {card['version']}; "
            "use the weights that come with jaxstruc."
        )
    module = ShellDetector(tuple(card["network"]["channels"]), card["network"]["width"])
    return TrainedShellDetector(params, module, card)


def autoencoder_card(
    data: Dataset, split: Split, config: TrainOptions, progress: TrainingProgress, *, command: str, seed_index: int = 0
) -> dict[str, Any]:
    """Return the card of an autoencoder.

    The card states how the autoencoder was trained. It also states the ranges of the training data, with which the
    command `solve` compares a measured PDF.

    Args:
        data: Data set of the training.
        split: Split of the data set into training, validation and test data.
        config: Options of the training.
        progress: Progress at the end of the training.
        command: Shell command that repeats the training.
        seed_index: Index of the seed of this autoencoder among the seeds that were trained together.
    """
    diameters = np.array([pdist(shape.positions).max() for shape in data.shapes])
    if data.preset in dataset.DEEPSTRUC_PRESETS:
        sizes = {"particle_sizes": asdict(sizes_from_options(config))}
    else:
        sizes = {"sizes": asdict(model_sizes_from_options(config))}
    return {
        "name": f"{data.preset}-H{config.latent}-seed{config.all_seeds[seed_index]}",
        "command": command,
        "versions": {module.__name__: module.__version__ for module in (jaxstruc, jax, np)},
        "config": config.recorded_values,
        **sizes,
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
    """Return the parameters and the card of a network. The entry `key` of the card must state the network's sizes."""
    try:
        flat_params = safetensors.numpy.load_file(path)
        card = json.loads(path.with_suffix(".json").read_text("utf-8"))
        expected_sha256, _ = card["sha256"], card[key]
        if key == "sizes":
            ModelSizes(**card["sizes"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Expected weights and their .json card at {path}, got: {reason}; train them with `{training_command}`."
        ) from error
    if (actual_sha256 := files.sha256(path)) != expected_sha256:
        raise ValueError(
            f"Expected weights of sha256 {expected_sha256} at {path}, as stated in their card, got {actual_sha256}; "
            f"copy both files again, or train them with `{training_command}`."
        )
    flat_params = {name: value.astype(np.float32) for name, value in flat_params.items()}
    return flax.traverse_util.unflatten_dict(flat_params, sep="/"), card


def _value_range(values) -> list[float]:
    return [round(float(np.min(values)), 4), round(float(np.max(values)), 4)]
