"""Trained weights as safetensors, and the card beside them that says what they are."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import numpy as np
import safetensors.numpy

from jaxstruc import files
from jaxstruc.network.config import Sizes
from jaxstruc.network.model import CVAE


class Network(NamedTuple):
    """A trained network."""

    params: Any
    module: CVAE
    card: dict[str, Any]


def save(path: Path, params, card: dict) -> None:
    """Write parameters as safetensors in half precision, and the card, with their checksum, as JSON beside them."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    with files.replacing(path) as part:
        halves = {name: np.asarray(value, np.float16) for name, value in flat.items()}
        part.write_bytes(safetensors.numpy.save(halves))
    text = json.dumps(card | {"sha256": files.sha256(path)}, indent=1, ensure_ascii=False)
    files.write_text(path.with_suffix(".json"), text + "\n")


def load(path: Path) -> Network:
    """Return a trained network, its parameters in single precision.

    Raises:
        ValueError: where either file is missing or is not one of `save`'s, or the card is of other weights.
    """
    try:
        flat = safetensors.numpy.load_file(path)
        card = json.loads(path.with_suffix(".json").read_text("utf-8"))
        sizes, told = Sizes(**card["sizes"]), card["sha256"]
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Expected weights and their .json card at {path}, got: {reason}; make them with `jaxstruc train`."
        ) from error
    if (found := files.sha256(path)) != told:
        raise ValueError(
            f"Expected weights of sha256 {told} at {path}, as their card says, got {found}; "
            "copy both files again, or make them with `jaxstruc train`."
        )
    flat = {name: value.astype(np.float32) for name, value in flat.items()}
    return Network(flax.traverse_util.unflatten_dict(flat, sep="/"), CVAE(sizes), card)
