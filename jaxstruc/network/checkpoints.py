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


class TrainingState(NamedTuple):
    """All that a step changes."""

    params: Any
    optimiser_state: Any
    step: Array


class TrainingProgress(NamedTuple):
    """Where the fits stand; resumed with the state."""

    epoch: int
    best_loss: np.ndarray
    """[seed] Least validation loss, as `training.improved` counts."""
    best_epoch: np.ndarray
    """[seed]"""


def claim_folder(folder: Path, config: TrainOptions) -> None:
    """Write the settings to the run's folder, or check that those there are the same."""
    path = folder / "config.json"
    settings = config.recorded
    if not path.exists():
        files.write_text(path, json.dumps(settings, indent=1) + "\n")
    elif (stored_settings := json.loads(path.read_text("utf-8"))) != settings:
        name = next(
            key
            for key in settings | stored_settings
            if key not in settings or key not in stored_settings or stored_settings[key] != settings[key]
        )
        raise ValueError(
            f"Expected the run in {folder} to have {name} {settings.get(name)}, got {stored_settings.get(name)}; "
            "pass the same settings to resume, or another --out."
        )


def checkpoint_manager(folder: Path) -> ocp.CheckpointManager:
    """Return what keeps the last checkpoint of a run."""
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    return ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options)


def save(manager: ocp.CheckpointManager, state: TrainingState, best_params, progress: TrainingProgress) -> None:
    """Write a checkpoint in place of the one before."""
    checkpoint = {"state": state, "best": best_params, "progress": jax.tree.map(np.asarray, progress)}
    manager.save(progress.epoch, args=ocp.args.StandardSave(checkpoint))


def restore(
    manager: ocp.CheckpointManager, state: TrainingState, best_params, progress: TrainingProgress
) -> tuple[TrainingState, Any, TrainingProgress]:
    """Return the last checkpoint, or what was given where there is none."""
    if manager.latest_step() is None:
        return state, best_params, progress
    example = {"state": state, "best": best_params, "progress": jax.tree.map(np.asarray, progress)}
    checkpoint = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(example))
    epoch, best_loss, best_epoch = checkpoint["progress"]
    return (
        checkpoint["state"],
        checkpoint["best"],
        TrainingProgress(int(epoch), np.asarray(best_loss), np.asarray(best_epoch)),
    )


def log_metrics(folder: Path, config: TrainOptions, epoch: int, metrics: dict[str, np.ndarray]) -> None:
    """Append a line for each seed to the run's metrics."""
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for seed_index, seed in enumerate(config.all_seeds):
            values = {name: float(column[seed_index]) for name, column in metrics.items()}
            file.write(json.dumps({"epoch": epoch, "seed": seed, **values}) + "\n")


def cut_metrics(folder: Path, n_lines: int) -> None:
    """Drop lines of epochs after the checkpoint: they run again."""
    path = folder / "metrics.jsonl"
    if path.exists():
        files.write_text(path, "".join(path.read_text("utf-8").splitlines(keepends=True)[:n_lines]))
