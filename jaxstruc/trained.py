"""Trained weights as safetensors, and the card beside them that says what they are."""

import json
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import safetensors.numpy

import jaxstruc
from jaxstruc import clusters, dataset, files, settings, training
from jaxstruc.dataset import Dataset, Split
from jaxstruc.training import Progress


def save(path: Path, params, card: dict) -> None:
    """Write parameters as safetensors in half precision, and the card, with their checksum, as JSON beside them."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    with files.replacing(path) as part:
        halves = {name: np.asarray(value, np.float16) for name, value in flat.items()}
        part.write_bytes(safetensors.numpy.save(halves))
    text = json.dumps(card | {"sha256": files.sha256(path)}, indent=1, ensure_ascii=False)
    files.write_text(path.with_suffix(".json"), text + "\n")


def load(path: Path) -> tuple[Any, dict]:
    """Return parameters in single precision, and the card.

    Raises:
        ValueError: where either file is missing or is not one of `save`'s.
    """
    try:
        flat = safetensors.numpy.load_file(path)
        card = json.loads(path.with_suffix(".json").read_text("utf-8"))
        settings.Model(**card["sizes"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Expected weights and their .json card at {path}, got: {reason}; make them with `jaxstruc train`."
        ) from error
    flat = {name: value.astype(np.float32) for name, value in flat.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/"), card


def card(data: Dataset, parts: Split, config: settings.Train, progress: Progress, *, at: int = 0) -> dict:
    """Return what a reader, and `solve`, must know of trained weights: their making and the limits of their data.

    Args:
        data: what they were trained on.
        parts: of it.
        config: of the training.
        progress: where it ended.
        at: which of its seeds.
    """
    diameters = np.array([clusters.pair_distances(shape.positions).max() for shape in data.shapes])
    return {
        "name": f"{data.preset}-H{config.latent}-seed{training.seeds(config)[at]}",
        "command": command(config),
        "versions": {module.__name__: module.__version__ for module in (jaxstruc, jax, np)},
        "config": training.recorded(config),
        "sizes": asdict(training.sizes(config)),
        "data": {
            "preset": data.preset,
            "pdfs": {name: len(rows) for name, rows in parts._asdict().items()},
            "shapes": [f"{shape.family} {len(shape.positions)} atoms: {shape.label}" for shape in data.shapes],
        },
        "limits": {
            "diameter": [0.0, round(float((diameters[data.shape] * data.bond).max()), 2)],
            "relative_diameter": round(float(diameters.max()), 4),
            "bond": _span(data.bond),
            **dataset.conditions_span(data),
        },
        "fit": {
            "epochs": progress.epoch,
            "best_epoch": int(progress.best_epoch[at]),
            "validation_loss": float(progress.best[at]),
        },
    }


def command(config: settings.Train) -> str:
    """Return the command that trains these settings: the options that differ from their defaults."""
    words = ["jaxstruc train"]
    for field in fields(config):
        value = getattr(config, field.name)
        if field.default is MISSING or value == field.default:
            continue
        name = "--" + field.name.replace("_", "-")
        text = " ".join(map(str, value)) if isinstance(value, tuple) else value
        words.append(name if value is True else f"{name} {text}")
    return " ".join([*words, f"-o {config.out}"])


def _span(values) -> list[float]:
    return [round(float(np.min(values)), 4), round(float(np.max(values)), 4)]
