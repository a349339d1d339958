"""The training of the classifier and of the shell detector on simulated PDFs, none of which is used twice.

The folder of a training contains its options (`config.json`), the last checkpoint (`checkpoints`) and the metrics
(`metrics.jsonl`). A training can be resumed from its last checkpoint.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from jaxtyping import Array

import jaxstruc
from jaxstruc import files
from jaxstruc.clusters import random_particles
from jaxstruc.network.classifier import particles, simulated_pdfs
from jaxstruc.network.classifier.model import Classifier, classifier_loss
from jaxstruc.network.classifier.particles import DEFAULT_COMPOSITION
from jaxstruc.options.training import TrainClassifierOptions

CHECKPOINT_INTERVAL = 100
"""Number of steps from one checkpoint to the next."""


class TrainingTask(NamedTuple):
    """What a network is trained for."""

    module: nn.Module
    """Network."""
    simulate: Callable[[Array, Any], Any] = simulated_pdfs.simulate_batch
    """Function from the random key of a step and the store of particles to the batch of PDFs of this step."""
    loss: Callable[..., tuple[Array, dict[str, Array]]] = classifier_loss
    """Function from the parameters, a batch and the network to the loss and its metrics."""


CLASSIFIER_TASK = TrainingTask(Classifier())
"""Training of a classifier with its default sizes."""


class ClassifierTrainingState(NamedTuple):
    """The state that a training step changes."""

    params: Any
    mean_params: Any
    """Exponential moving average of the parameters, which is the result of the training."""
    optimiser_state: Any
    step: Array


def optimiser(config: TrainClassifierOptions) -> optax.GradientTransformation:
    """Return the AdamW optimiser with clipped gradients."""
    rate = optax.warmup_cosine_decay_schedule(0.0, config.rate, max(1, config.steps // 20), config.steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=config.decay))


def initial_state(
    config: TrainClassifierOptions, module: nn.Module, start_params: Any = None
) -> ClassifierTrainingState:
    """Return the state before the first step.

    Args:
        config: Options of the training.
        module: Network of the classifier.
        start_params: Parameters before the first step. By default they are random.
    """
    if start_params is None:
        key = jax.random.fold_in(jax.random.key(config.seed), 2**31 - 1)
        sizes = (simulated_pdfs.N_POINTS, simulated_pdfs.N_POINTS, len(simulated_pdfs.SETTING_NAMES))
        params = module.init(key, *(jnp.zeros((1, size)) for size in sizes))
    else:
        params = jax.tree.map(jnp.array, start_params)
    return ClassifierTrainingState(params, jax.tree.map(jnp.copy, params), optimiser(config).init(params), jnp.int32(0))


@partial(jax.jit, static_argnames=("task", "config"), donate_argnames="state")
def train_step(
    state: ClassifierTrainingState,
    store: Any,
    *,
    task: TrainingTask,
    config: TrainClassifierOptions,
) -> tuple[ClassifierTrainingState, dict[str, Array]]:
    """Return the state after one step, and the metrics of the loss.

    The seed and the number of the step determine the PDFs.
    """
    batch = task.simulate(jax.random.fold_in(jax.random.key(config.seed), state.step), store)
    gradient, metrics = jax.grad(task.loss, has_aux=True)(state.params, batch, task.module)
    updates, optimiser_state = optimiser(config).update(gradient, state.optimiser_state, state.params)
    params = optax.apply_updates(state.params, updates)
    averaging_weight = jnp.minimum(config.averaged, (1.0 + state.step) / (10.0 + state.step))
    mean_params = optax.incremental_update(params, state.mean_params, 1 - averaging_weight)
    return ClassifierTrainingState(params, mean_params, optimiser_state, state.step + 1), metrics | {
        "gradient": optax.tree.norm(gradient)
    }


def train_classifier(
    store: Any,
    config: TrainClassifierOptions,
    *,
    folder: Path,
    task: TrainingTask = CLASSIFIER_TASK,
    start_params: Any = None,
    report_progress: Callable[[int, dict[str, float]], None] | None = None,
    stop_after: int | None = None,
    checkpoint_interval: int = CHECKPOINT_INTERVAL,
) -> tuple[Any, dict[str, float]]:
    """Train a network, and return its parameters and the last metrics.

    The parameters are an exponential moving average over the steps. A training with a checkpoint in
    `folder/checkpoints` is resumed from it. The metrics in `folder/metrics.jsonl` are means over the steps from one
    checkpoint to the next.

    Args:
        store: Arrays from which the task draws the samples, for a classifier a `ParticleStore`.
        config: Options of the training.
        folder: Folder of the training.
        task: Network, stream of PDFs and loss, by default those of a classifier.
        start_params: Parameters before the first step. By default they are random. A training that is resumed does not
            use them.
        report_progress: Function that is called at each checkpoint with the number of steps done and the metrics.
        stop_after: Number of steps after which the training returns early, as if it were interrupted.
        checkpoint_interval: Number of steps from one checkpoint to the next.

    Raises:
        ValueError: If the folder holds a training with other options.
        FloatingPointError: If the loss is not finite.
    """
    _claim_folder(folder, config)
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    with ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options) as manager:
        state = initial_state(config, task.module, start_params)
        if manager.latest_step() is not None:
            state = ClassifierTrainingState(
                *manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(tuple(state)))
            )
        recent_metrics: list[dict[str, Array]] = []
        metrics = _last_metrics(folder)
        while (step := int(state.step)) < min(config.steps, stop_after or config.steps):
            state, step_metrics = train_step(state, store, task=task, config=config)
            recent_metrics.append(step_metrics)
            if (step + 1) % checkpoint_interval == 0 or step + 1 == config.steps:
                metrics = {
                    name: float(jnp.stack([entry[name] for entry in recent_metrics]).mean()) for name in step_metrics
                }
                _refuse_nan(metrics, step + 1)
                manager.save(step + 1, args=ocp.args.StandardSave(tuple(state)))
                _log_metrics(folder, step + 1, metrics)
                recent_metrics = []
                if report_progress:
                    report_progress(step + 1, metrics)
    return state.mean_params, metrics


def classifier_card(config: TrainClassifierOptions, metrics: dict[str, float], *, command: str) -> dict[str, Any]:
    """Return the card of a classifier.

    The card states how the classifier was trained, the ranges of the training data, and the metrics.
    """
    return {
        "name": f"classifier-seed{config.seed}",
        "command": command,
        "versions": {module.__name__: module.__version__ for module in (jaxstruc, jax)},
        "config": asdict(config),
        "pdfs": config.steps * DEFAULT_COMPOSITION.n_samples,
        "data": {
            "atoms of cuts": [particles.MIN_ATOMS, DEFAULT_COMPOSITION.atom_capacities[-1]],
            "atoms of the mean of distributions": list(particles.MEAN_ATOMS_RANGE),
            "width of distributions": list(particles.WIDTH_RANGE),
            "share of rigid particles": random_particles.RIGID_PROBABILITY,
            "amplitude of the relaxation": list(random_particles.RELAXATION_RANGE),
            "atoms of listed clusters held out": [list(bounds) for bounds in particles.HOLDOUT_ATOM_RANGES],
            **{name: list(bounds) for name, bounds in simulated_pdfs.SIMULATION_RANGES.items()},
        },
        "metrics": {name: round(value, 5) for name, value in metrics.items()},
    }


def _claim_folder(folder: Path, config: TrainClassifierOptions) -> None:
    """Write the options to the folder of the training. If the folder has options, check that they are the same."""
    path = folder / "config.json"
    if not path.exists():
        files.write_text(path, json.dumps(asdict(config), indent=1) + "\n")
    elif (stored_settings := json.loads(path.read_text("utf-8"))) != asdict(config):
        raise ValueError(
            f"The training in {folder} has the options {stored_settings}, but this one has {asdict(config)}; "
            "pass the same options to resume it, or another --out."
        )


def _last_metrics(folder: Path) -> dict[str, float]:
    """Return the last metrics in the folder, or an empty dictionary if there are none."""
    path = folder / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return json.loads(lines[-1]) if lines else {}


def _refuse_nan(metrics: dict[str, float], step: int) -> None:
    if any(value != value for value in metrics.values()):
        raise FloatingPointError(
            f"Expected finite losses, got {metrics} in step {step}; lower --rate and pass another --out."
        )


def _log_metrics(folder: Path, step: int, metrics: dict[str, float]) -> None:
    """Append the metrics of a step to the file of the metrics.

    Older lines of this step and of later steps are removed, because a resumed training repeats these steps.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    earlier_lines = [line for line in lines if json.loads(line)["step"] < step]
    files.write_text(path, "\n".join([*earlier_lines, json.dumps({"step": step, **metrics})]) + "\n")
