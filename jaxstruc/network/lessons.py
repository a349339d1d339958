"""The training of the classifier on the endless stream: resumable at any step, to the same parameters."""

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
from jaxstruc.network import classifier, endless, stock
from jaxstruc.network.classifier import Classifier
from jaxstruc.network.stock import Stock
from jaxstruc.options.training import TrainClassifierOptions

KEPT = 100
"""Steps from one checkpoint to the next."""


class State(NamedTuple):
    """All that a step changes."""

    params: Any
    mean: Any
    """Of the parameters, with older ones fading: what is kept in the end."""
    optimiser: Any
    step: Array


def optimiser(config: TrainClassifierOptions) -> optax.GradientTransformation:
    """Return AdamW with clipped gradients."""
    rate = optax.warmup_cosine_decay_schedule(0.0, config.rate, max(1, config.steps // 20), config.steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=config.decay))


def begun(config: TrainClassifierOptions, module: Classifier) -> State:
    """Return the state before the first step."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31 - 1)
    params = module.init(key, *(jnp.zeros((1, size)) for size in (endless.POINTS, endless.POINTS, len(endless.TOLD))))
    return State(params, jax.tree.map(jnp.copy, params), optimiser(config).init(params), jnp.int32(0))


@partial(jax.jit, static_argnames=("module", "config"), donate_argnames="state")
def step(
    state: State, own: Stock, *, module: Classifier, config: TrainClassifierOptions
) -> tuple[State, dict[str, Array]]:
    """Return the state after a step on PDFs made from the seed and the step's number, and what the loss tells."""
    batch = endless.batch(jax.random.fold_in(jax.random.key(config.seed), state.step), own)
    gradient, told = jax.grad(classifier.loss, has_aux=True)(state.params, batch, module)
    updates, next_ = optimiser(config).update(gradient, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    kept = jnp.minimum(config.averaged, (1.0 + state.step) / (10.0 + state.step))
    mean = optax.incremental_update(params, state.mean, 1 - kept)
    return State(params, mean, next_, state.step + 1), told | {"gradient": optax.tree.norm(gradient)}


def taught(
    own: Stock,
    config: TrainClassifierOptions,
    *,
    folder: Path,
    module: Classifier | None = None,
    report: Callable[[int, dict[str, float]], None] | None = None,
    stop_after: int | None = None,
) -> tuple[Any, dict[str, float]]:
    """Return the parameters of a trained classifier, a mean over the last steps, and the last metrics.

    A checkpoint in `folder/checkpoints` is where a run goes on from; means of metrics are in `folder/metrics.jsonl`.

    Args:
        own: what samples are made from.
        config: settings.
        folder: of the run.
        module: the network.
        report: called with steps done and metrics.
        stop_after: step after which to return early, as an interruption would.

    Raises:
        ValueError: where the folder holds a run with other settings.
        FloatingPointError: where the loss is not finite.
    """
    module = module or Classifier()
    _claim(folder, config)
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    with ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options) as manager:
        state = begun(config, module)
        if manager.latest_step() is not None:
            state = State(*manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(tuple(state))))
        since: list[dict[str, Array]] = []
        metrics = _last(folder)
        while (at := int(state.step)) < min(config.steps, stop_after or config.steps):
            state, told = step(state, own, module=module, config=config)
            since.append(told)
            if (at + 1) % KEPT == 0 or at + 1 == config.steps:
                metrics = {name: float(jnp.stack([one[name] for one in since]).mean()) for name in told}
                _refuse_nan(metrics, at + 1)
                manager.save(at + 1, args=ocp.args.StandardSave(tuple(state)))
                _log(folder, at + 1, metrics)
                since = []
                if report:
                    report(at + 1, metrics)
    return state.mean, metrics


def card(config: TrainClassifierOptions, metrics: dict[str, float], *, command: str) -> dict[str, Any]:
    """Return what a reader must know of a trained classifier: its making, the limits of its data, how good it is."""
    return {
        "name": f"classifier-seed{config.seed}",
        "command": command,
        "versions": {module.__name__: module.__version__ for module in (jaxstruc, jax)},
        "config": asdict(config),
        "pdfs": config.steps * stock.COUNT,
        "data": {
            "atoms of cuts": [stock.FIRST, stock.ROOMS[-1]],
            "atoms of the mean of distributions": list(stock.MEANS),
            "width of distributions": list(stock.WIDTH),
            "atoms of listed clusters held out": [list(ends) for ends in stock.HELD],
            **{name: list(ends) for name, ends in endless.RANGES.items()},
        },
        "metrics": {name: round(value, 5) for name, value in metrics.items()},
    }


def _claim(folder: Path, config: TrainClassifierOptions) -> None:
    """Write the settings to the run's folder, or check that those there are the same."""
    path = folder / "config.json"
    if not path.exists():
        files.write_text(path, json.dumps(asdict(config), indent=1) + "\n")
    elif (found := json.loads(path.read_text("utf-8"))) != asdict(config):
        raise ValueError(f"Expected the run in {folder} to be of {asdict(config)}, got {found}; pass another --out.")


def _last(folder: Path) -> dict[str, float]:
    """Return the last metrics of a run, none of one that begins."""
    path = folder / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return json.loads(lines[-1]) if lines else {}


def _refuse_nan(metrics: dict[str, float], at: int) -> None:
    if any(value != value for value in metrics.values()):
        raise FloatingPointError(
            f"Expected finite losses, got {metrics} in step {at}; the last checkpoint is kept: lower --rate."
        )


def _log(folder: Path, at: int, metrics: dict[str, float]) -> None:
    """Append a line to the metrics; lines of steps after a checkpoint, which run again, are dropped."""
    path = folder / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] < at]
    files.write_text(path, "\n".join([*kept, json.dumps({"step": at, **metrics})]) + "\n")
