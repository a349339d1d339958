"""A training's folder: its settings, checkpoints and metrics."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array

from jaxstruc import files
from jaxstruc.options.training import TrainOptions


class State(NamedTuple):
    """All that a step changes."""

    params: Any
    optimiser: Any
    step: Array


class Progress(NamedTuple):
    """Where the fits stand; resumed with the state."""

    epoch: int
    best: np.ndarray
    """[seed] Least validation loss, as `training.improved` counts."""
    best_epoch: np.ndarray
    """[seed]"""


def claim(folder: Path, config: TrainOptions) -> None:
    """Write the settings to the run's folder, or check that those there are the same."""
    path = folder / "config.json"
    kept = config.recorded
    if not path.exists():
        files.write_text(path, json.dumps(kept, indent=1) + "\n")
    elif (found := json.loads(path.read_text("utf-8"))) != kept:
        name = next(n for n in kept | found if n not in kept or n not in found or found[n] != kept[n])
        raise ValueError(
            f"Expected the run in {folder} to have {name} {kept.get(name)}, got {found.get(name)}; "
            "pass the same settings to resume, or another --out."
        )


def manager(folder: Path) -> ocp.CheckpointManager:
    """Return what keeps the last checkpoint of a run."""
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    return ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options)


def save(manager: ocp.CheckpointManager, state: State, best, progress: Progress) -> None:
    """Write a checkpoint in place of the one before."""
    kept = {"state": state, "best": best, "progress": jax.tree.map(np.asarray, progress)}
    manager.save(progress.epoch, args=ocp.args.StandardSave(kept))


def restore(manager: ocp.CheckpointManager, state: State, best, progress: Progress) -> tuple[State, Any, Progress]:
    """Return the last checkpoint, or what was given where there is none."""
    if manager.latest_step() is None:
        return state, best, progress
    like = {"state": state, "best": best, "progress": jax.tree.map(np.asarray, progress)}
    kept = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(like))
    epoch, least, best_epoch = kept["progress"]
    return kept["state"], kept["best"], Progress(int(epoch), np.asarray(least), np.asarray(best_epoch))


def log(folder: Path, config: TrainOptions, epoch: int, metrics: dict[str, np.ndarray]) -> None:
    """Append a line for each seed to the run's metrics."""
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for at, seed in enumerate(config.all_seeds):
            values = {name: float(column[at]) for name, column in metrics.items()}
            file.write(json.dumps({"epoch": epoch, "seed": seed, **values}) + "\n")


def cut_metrics(folder: Path, lines: int) -> None:
    """Drop lines of epochs after the checkpoint: they run again."""
    path = folder / "metrics.jsonl"
    if path.exists():
        files.write_text(path, "".join(path.read_text("utf-8").splitlines(keepends=True)[:lines]))
