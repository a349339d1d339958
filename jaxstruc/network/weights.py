"""Trained weights as safetensors, and the card beside them that says what they are."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import numpy as np
import safetensors.numpy

from jaxstruc import files
from jaxstruc.network.classifier import Classifier
from jaxstruc.network.config import Sizes
from jaxstruc.network.model import CVAE


class Network(NamedTuple):
    """A trained network."""

    params: Any
    module: CVAE
    card: dict[str, Any]


VERSION = 2
"""Of a classifier's weights and of what they are told."""


class Outside(NamedTuple):
    """What tells PDFs unlike those of the training: the distance of a classifier's features from their mean."""

    mean: np.ndarray
    """[feature]"""
    whitening: np.ndarray
    """[feature, feature] makes features of the training independent, of size 1."""


class TrainedClassifier(NamedTuple):
    """A trained classifier."""

    params: Any
    module: Classifier
    outside: Outside
    card: dict[str, Any]


def save(path: Path, params, card: dict) -> None:
    """Write parameters as safetensors in half precision, and the card, with their checksum, as JSON beside them."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    with files.replacing(path) as part:
        halves = {name: np.asarray(value, np.float16) for name, value in flat.items()}
        part.write_bytes(safetensors.numpy.save(halves))
    text = json.dumps(card | {"sha256": files.sha256(path)}, indent=1, ensure_ascii=False)
    files.write_text(path.with_suffix(".json"), text + "\n")


def save_classifier(path: Path, own: TrainedClassifier) -> None:
    """Write a classifier likewise."""
    sizes = {name: getattr(own.module, name) for name in ("channels", "blocks", "width", "components")}
    save(path, {**own.params, "outside": own.outside._asdict()}, own.card | {"version": VERSION, "network": sizes})


def load(path: Path) -> Network:
    """Return a trained autoencoder, its parameters in single precision.

    Raises:
        ValueError: where either file is missing or is not one of `save`'s, or the card is of other weights.
    """
    params, card = _read(path, "sizes", made="jaxstruc train")
    return Network(params, CVAE(Sizes(**card["sizes"])), card)


def load_classifier(path: Path) -> TrainedClassifier:
    """Return a trained classifier, its parameters in single precision.

    Raises:
        ValueError: as `load`; or where the card is of another version.
    """
    params, card = _read(path, "network", made="jaxstruc train-classifier")
    if card["version"] != VERSION:
        raise ValueError(
            f"Expected a classifier of version {VERSION} at {path}, got {card['version']}; use the weights that ship."
        )
    outside = params.pop("outside")
    sizes: dict[str, Any] = card["network"]
    channels, blocks = (tuple(sizes[name]) for name in ("channels", "blocks"))
    module = Classifier(channels, blocks, sizes["width"], sizes["components"])
    return TrainedClassifier(params, module, Outside(outside["mean"], outside["whitening"]), card)


def _read(path: Path, key: str, *, made: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and card, which has the key."""
    try:
        flat = safetensors.numpy.load_file(path)
        card = json.loads(path.with_suffix(".json").read_text("utf-8"))
        told, _ = card["sha256"], card[key]
        if key == "sizes":
            Sizes(**card["sizes"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Expected weights and their .json card at {path}, got: {reason}; make them with `{made}`."
        ) from error
    if (found := files.sha256(path)) != told:
        raise ValueError(
            f"Expected weights of sha256 {told} at {path}, as their card says, got {found}; "
            f"copy both files again, or make them with `{made}`."
        )
    flat = {name: value.astype(np.float32) for name, value in flat.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/"), card
