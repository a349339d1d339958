"""The training of the classifier on simulated PDFs, never the same twice; it can be resumed at any step."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from jaxtyping import Array

import jaxstruc
from jaxstruc import files
from jaxstruc.network.classifier import particles, simulated_pdfs
from jaxstruc.network.classifier.model import Classifier, classifier_loss
from jaxstruc.network.classifier.particles import ParticleStore
from jaxstruc.options.training import TrainClassifierOptions

CHECKPOINT_INTERVAL = 100
"""Steps from one checkpoint to the next."""


class ClassifierTrainingState(NamedTuple):
    """All that a step changes."""

    params: Any
    mean_params: Any
    """Of the parameters, with older ones fading: what is kept in the end."""
    optimiser_state: Any
    step: Array


def optimiser(config: TrainClassifierOptions) -> optax.GradientTransformation:
    """Return AdamW with clipped gradients."""
    rate = optax.warmup_cosine_decay_schedule(0.0, config.rate, max(1, config.steps // 20), config.steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=config.decay))


def initial_state(config: TrainClassifierOptions, module: Classifier) -> ClassifierTrainingState:
    """Return the state before the first step."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31 - 1)
    params = module.init(
        key,
        *(
            jnp.zeros((1, size))
            for size in (simulated_pdfs.N_POINTS, simulated_pdfs.N_POINTS, len(simulated_pdfs.SETTING_NAMES))
        ),
    )
    return ClassifierTrainingState(params, jax.tree.map(jnp.copy, params), optimiser(config).init(params), jnp.int32(0))


@partial(jax.jit, static_argnames=("module", "config"), donate_argnames="state")
def train_step(
    state: ClassifierTrainingState, store: ParticleStore, *, module: Classifier, config: TrainClassifierOptions
) -> tuple[ClassifierTrainingState, dict[str, Array]]:
    """Return the state after a step on PDFs made from the seed and the step's number, and what the loss tells."""
    batch = simulated_pdfs.simulate_batch(jax.random.fold_in(jax.random.key(config.seed), state.step), store)
    gradient, metrics = jax.grad(classifier_loss, has_aux=True)(state.params, batch, module)
    updates, optimiser_state = optimiser(config).update(gradient, state.optimiser_state, state.params)
    params = optax.apply_updates(state.params, updates)
    averaging_weight = jnp.minimum(config.averaged, (1.0 + state.step) / (10.0 + state.step))
    mean_params = optax.incremental_update(params, state.mean_params, 1 - averaging_weight)
    return ClassifierTrainingState(params, mean_params, optimiser_state, state.step + 1), metrics | {
        "gradient": optax.tree.norm(gradient)
    }


def train_classifier(
    store: ParticleStore,
    config: TrainClassifierOptions,
    *,
    folder: Path,
    module: Classifier | None = None,
    report_progress: Callable[[int, dict[str, float]], None] | None = None,
    stop_after: int | None = None,
) -> tuple[Any, dict[str, float]]:
    """Return the parameters of a trained classifier, a mean over the last steps, and the last metrics.

    A checkpoint in `folder/checkpoints` is where a run goes on from; means of metrics are in `folder/metrics.jsonl`.

    Args:
        store: what samples are made from.
        config: settings.
        folder: of the run.
        module: the network.
        report_progress: called with steps done and metrics.
        stop_after: step after which to return early, as an interruption would.

    Raises:
        ValueError: where the folder holds a run with other settings.
        FloatingPointError: where the loss is not finite.
    """
    module = module or Classifier()
    _claim_folder(folder, config)
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    with ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options) as manager:
        state = initial_state(config, module)
        if manager.latest_step() is not None:
            state = ClassifierTrainingState(
                *manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(tuple(state)))
            )
        recent_metrics: list[dict[str, Array]] = []
        metrics = _last_metrics(folder)
        while (step := int(state.step)) < min(config.steps, stop_after or config.steps):
            state, step_metrics = train_step(state, store, module=module, config=config)
            recent_metrics.append(step_metrics)
            if (step + 1) % CHECKPOINT_INTERVAL == 0 or step + 1 == config.steps:
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
    """Return what a reader must know of a trained classifier: its making, the limits of its data, how good it is."""
    return {
        "name": f"classifier-seed{config.seed}",
        "command": command,
        "versions": {module.__name__: module.__version__ for module in (jaxstruc, jax)},
        "config": asdict(config),
        "pdfs": config.steps * particles.PARTICLES_PER_BATCH,
        "data": {
            "atoms of cuts": [particles.MIN_ATOMS, particles.ATOM_CAPACITIES[-1]],
            "atoms of the mean of distributions": list(particles.MEAN_ATOMS_RANGE),
            "width of distributions": list(particles.WIDTH_RANGE),
            "atoms of listed clusters held out": [list(bounds) for bounds in particles.HOLDOUT_ATOM_RANGES],
            **{name: list(bounds) for name, bounds in simulated_pdfs.SIMULATION_RANGES.items()},
        },
        "metrics": {name: round(value, 5) for name, value in metrics.items()},
    }


def _claim_folder(folder: Path, config: TrainClassifierOptions) -> None:
    """Write the settings to the run's folder, or check that those there are the same."""
    path = folder / "config.json"
    if not path.exists():
        files.write_text(path, json.dumps(asdict(config), indent=1) + "\n")
    elif (stored_settings := json.loads(path.read_text("utf-8"))) != asdict(config):
        raise ValueError(
            f"Expected the run in {folder} to be of {asdict(config)}, got {stored_settings}; pass another --out."
        )


def _last_metrics(folder: Path) -> dict[str, float]:
    """Return the last metrics of a run, none of one that begins."""
    path = folder / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return json.loads(lines[-1]) if lines else {}


def _refuse_nan(metrics: dict[str, float], step: int) -> None:
    if any(value != value for value in metrics.values()):
        raise FloatingPointError(
            f"Expected finite losses, got {metrics} in step {step}; the last checkpoint is kept: lower --rate."
        )


def _log_metrics(folder: Path, step: int, metrics: dict[str, float]) -> None:
    """Append a line to the metrics; lines of steps after a checkpoint, which run again, are dropped."""
    path = folder / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    earlier_lines = [line for line in lines if json.loads(line)["step"] < step]
    files.write_text(path, "\n".join([*earlier_lines, json.dumps({"step": step, **metrics})]) + "\n")
