"""The training of the autoencoder for several seeds at once, with checkpoints from which it can be resumed.

The folder of a training contains its options (`config.json`), the last checkpoint (`checkpoints`) and the metrics of
each epoch and seed (`metrics.jsonl`).
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxstruc import files
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.dataset import Dataset, Split
from jaxstruc.network.cvae.loss import TrainingBatch, loss
from jaxstruc.network.cvae.model import CVAE, ModelSizes, model_sizes_from_options
from jaxstruc.options.training import TrainOptions

MIN_RELATIVE_IMPROVEMENT = 1e-3
"""Smallest relative decrease of the validation loss that counts as an improvement."""
N_EXAMPLES = 1000
"""Approximate number of training PDFs from which a network may compute initial parameters."""
MAX_VALIDATION_PDFS = 500
"""Largest number of PDFs of each seed in one batch of the validation."""


class TrainingState(NamedTuple):
    """The state that a training step changes."""

    params: Any
    optimiser_state: Any
    step: Array


class TrainingProgress(NamedTuple):
    """The progress of the training, stored in the checkpoint with the state."""

    epoch: int
    """Number of epochs done."""
    best_loss: np.ndarray
    """Lowest validation loss of each seed so far [seed]. A new loss replaces it only if `is_improved` is true."""
    best_epoch: np.ndarray
    """Epoch of the lowest validation loss of each seed [seed]."""


class _TrainingRun(NamedTuple):
    """The network, the data and the keys that all epochs of a training share."""

    network: nn.Module
    config: TrainOptions
    splits: Sequence[Split]
    gather_batch: Callable[[np.ndarray], Any]
    """Function that returns the batch of some rows of the data set."""
    keys: Array
    """Random keys [seed, 3] of the parameters, the training and the validation."""
    steps_per_epoch: int
    take_step: Callable[..., tuple[TrainingState, dict[str, Array]]]
    """Function that takes one step, see `train_step`."""
    validate: Callable[..., dict[str, np.ndarray]]
    """Function that returns the mean terms of the validation loss, see `validate`."""


class LossWeights(NamedTuple):
    """Weights of the loss terms that follow a schedule."""

    beta: np.float32
    pdf: np.float32


def claim_folder(folder: Path, config: TrainOptions) -> None:
    """Write the options to the folder of the training. If the folder has options, check that they are the same.

    Raises:
        ValueError: If the folder holds a training with other options.
    """
    path = folder / "config.json"
    settings = config.recorded_values
    if not path.exists():
        files.write_text(path, json.dumps(settings, indent=1) + "\n")
    elif (stored_settings := json.loads(path.read_text("utf-8"))) != settings:
        name = next(
            key
            for key in settings | stored_settings
            if key not in settings or key not in stored_settings or stored_settings[key] != settings[key]
        )
        raise ValueError(
            f"The training in {folder} has {name} {stored_settings.get(name)}, but the options have "
            f"{settings.get(name)}; pass the same options to resume it, or another --out."
        )


def checkpoint_manager(folder: Path) -> ocp.CheckpointManager:
    """Return a manager that keeps the last checkpoint of a training."""
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    return ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options)


def save(manager: ocp.CheckpointManager, state: TrainingState, best_params, progress: TrainingProgress) -> None:
    """Write a checkpoint, which replaces the last one."""
    checkpoint = {"state": state, "best": best_params, "progress": jax.tree.map(np.asarray, progress)}
    manager.save(progress.epoch, args=ocp.args.StandardSave(checkpoint))


def restore(
    manager: ocp.CheckpointManager, state: TrainingState, best_params, progress: TrainingProgress
) -> tuple[TrainingState, Any, TrainingProgress]:
    """Return the last checkpoint, or the given state if there is none."""
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
    """Append the metrics of an epoch to `metrics.jsonl`, with one line for each seed."""
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for seed_index, seed in enumerate(config.all_seeds):
            values = {name: float(column[seed_index]) for name, column in metrics.items()}
            file.write(json.dumps({"epoch": epoch, "seed": seed, **values}) + "\n")


def cut_metrics(folder: Path, n_lines: int) -> None:
    """Keep only the first `n_lines` lines of `metrics.jsonl`.

    A resumed training repeats the epochs after its checkpoint and writes the lines of these epochs again.
    """
    path = folder / "metrics.jsonl"
    if path.exists():
        files.write_text(path, "".join(path.read_text("utf-8").splitlines(keepends=True)[:n_lines]))


def optimiser(config: TrainOptions, steps_per_epoch: int) -> optax.GradientTransformation:
    """Return the Adam optimiser with the schedule of its learning rate."""
    steps = config.epochs * steps_per_epoch
    return optax.adam(optax.cosine_decay_schedule(config.rate, steps) if config.cosine else config.rate)


def scheduled_weights(config: TrainOptions, epochs: float) -> LossWeights:
    """Return the weights of the loss terms after a number of epochs, which may be fractional.

    Each weight rises linearly to its final value during its warm-up.
    """
    schedules = ((config.beta, config.warmup), (config.pdf, config.pdf_warmup))
    return LossWeights(
        *(
            np.float32(final_weight * (min(1.0, epochs / warmup_epochs) if warmup_epochs > 0 else 1.0))
            for final_weight, warmup_epochs in schedules
        )
    )


def is_improved(loss, best_loss):
    """Return whether a validation loss is lower than the best one by at least `MIN_RELATIVE_IMPROVEMENT`."""
    return loss < (1 - MIN_RELATIVE_IMPROVEMENT) * best_loss


@partial(jax.jit, static_argnames=("network", "config", "steps", "loss_function"), donate_argnames="state")
def train_step(
    state: TrainingState,
    batch: Any,
    key: Array,
    weights: LossWeights,
    *,
    network: nn.Module,
    config: TrainOptions,
    steps: int,
    loss_function: Callable[..., tuple[Array, dict[str, Array]]] = loss,
) -> tuple[TrainingState, dict[str, Array]]:
    """Return the states of all seeds after one step, and the terms of the loss with the norm of the gradient.

    The first axis of all arrays is the seed. `steps` is the number of steps in an epoch, which determines the schedule
    of the learning rate. `loss_function` has the arguments and results of `loss`.
    """
    optimise = optimiser(config, steps)

    def step(state, batch, key):
        gradient_of = jax.grad(
            partial(loss_function, network=network, config=config, **weights._asdict()), has_aux=True
        )
        gradient, parts = gradient_of(state.params, batch, jax.random.fold_in(key, state.step))
        updates, optimiser_state = optimise.update(gradient, state.optimiser_state, state.params)
        parts["gradient"] = optax.tree.norm(gradient)
        return TrainingState(optax.apply_updates(state.params, updates), optimiser_state, state.step + 1), parts

    return jax.vmap(step)(state, batch, key)


@partial(jax.jit, static_argnames=("network", "config", "loss_function"))
def evaluate_batch(
    params: Any,
    batch: Any,
    keys: Array,
    *,
    network: nn.Module,
    config: TrainOptions,
    loss_function: Callable[..., tuple[Array, dict[str, Array]]] = loss,
) -> dict[str, Array]:
    """Return the terms of the loss of a batch [seed], with the final weights of the schedule."""
    final_loss = partial(loss_function, network=network, config=config, beta=config.beta, pdf=config.pdf)
    return jax.vmap(final_loss)(params, batch, keys)[1]


def validate(
    params: Any,
    gather_batch: Callable[[np.ndarray], Any],
    splits: Sequence[Split],
    keys: Array,
    *,
    network: nn.Module,
    config: TrainOptions,
    evaluate: Callable[..., dict[str, Array]] = evaluate_batch,
) -> dict[str, np.ndarray]:
    """Return the mean terms of the validation loss [seed], with the final weights of the schedule.

    The random latent vectors are the same in each epoch. All seeds use the same number of PDFs. If a seed has more
    PDFs, some are left out at even intervals, because the PDFs are sorted by shape.
    """
    n_rows = min(len(split.validation) for split in splits)
    rows = np.stack([split.validation[np.arange(n_rows) * len(split.validation) // n_rows] for split in splits])
    batches = [rows[:, start : start + MAX_VALIDATION_PDFS] for start in range(0, n_rows, MAX_VALIDATION_PDFS)]
    batch_losses = [evaluate(params, gather_batch(batch), keys, network=network, config=config) for batch in batches]
    batch_sizes = [batch.shape[1] for batch in batches]
    return {
        name: np.average([entry[name] for entry in batch_losses], axis=0, weights=batch_sizes)
        for name in batch_losses[0]
    }


def fit(
    data: Dataset | Callable[[np.ndarray], Any],
    splits: Sequence[Split],
    config: TrainOptions,
    *,
    folder: Path,
    report_progress: Callable[[int, dict[str, float]], None] | None = None,
    stop_after: int | None = None,
    take_step: Callable[..., tuple[TrainingState, dict[str, Array]]] = train_step,
    validate: Callable[..., dict[str, np.ndarray]] = validate,
    network: nn.Module | None = None,
) -> tuple[list[Any], TrainingProgress]:
    """Train the autoencoder, and return the best parameters of each seed and the final progress.

    The best parameters are those of the lowest validation loss (see `is_improved`). All seeds are trained together,
    along a first axis of every array. After each epoch, a checkpoint with the last states and the best parameters
    replaces the previous checkpoint in `folder/checkpoints`. A training that is resumed from a checkpoint gives the
    same parameters as an uninterrupted training. If the number of devices divides the batch size, each batch is divided
    among all devices.

    Args:
        data: Data set, or function that returns the batch of some rows for a network with another loss.
        splits: Indices of the training and validation data, one split for each seed.
        config: Options of the training, including the seeds.
        folder: Folder of the training.
        report_progress: Function that is called after each epoch with the number of the epoch and the metrics, averaged
            over the seeds.
        stop_after: Number of epochs after which the training returns early, as if it were interrupted.
        take_step: Function that takes one step, see `train_step`.
        validate: Function that returns the mean terms of the validation loss, see `validate`.
        network: Autoencoder, by default with the sizes that the options state.

    Raises:
        FloatingPointError: If the loss is not finite.
        ValueError: If the folder holds a training with other options, or a batch is larger than the training data.
    """
    network = network or CVAE(model_sizes_from_options(config))
    run = _training_run(data, splits, config, network)._replace(take_step=take_step, validate=validate)
    claim_folder(folder, config)
    example = run.gather_batch(splits[0].train[:: max(1, len(splits[0].train) // N_EXAMPLES)])
    state = _initial_state(run.keys[:, 0], example, network=run.network, config=config, steps=run.steps_per_epoch)
    progress = TrainingProgress(0, np.full(len(splits), np.inf), np.zeros(len(splits), int))
    with checkpoint_manager(folder) as manager:
        state, best_params, progress = restore(manager, state, _copy_params(state.params), progress)
        state = jax.device_put(state, _shardings()[0])
        cut_metrics(folder, progress.epoch * len(splits))
        while progress.epoch < config.epochs and _is_running(progress, config).any() and progress.epoch != stop_after:
            state, metrics = _train_epoch(run, state, progress.epoch + 1)
            best_params, progress = _update_best(state.params, best_params, metrics, progress, config)
            log_metrics(folder, config, progress.epoch, metrics)
            save(manager, state, best_params, progress)
            if report_progress:
                report_progress(progress.epoch, {name: float(np.mean(values)) for name, values in metrics.items()})
    return _params_by_seed(jax.device_get(best_params), len(splits)), progress


def _training_run(
    data: Dataset | Callable[[np.ndarray], Any], splits: Sequence[Split], config: TrainOptions, network: Any
) -> _TrainingRun:
    """Return the network, the data and the keys that all epochs of a training share."""
    min_train_size = min(len(split.train) for split in splits)
    steps = min_train_size // config.batch
    if steps == 0:
        raise ValueError(f"Expected at least {config.batch} PDFs to train on, got {min_train_size}; lower --batch.")
    keys = jnp.stack([jax.random.split(jax.random.key(seed), 3) for seed in config.all_seeds])
    gather_batch = data if callable(data) else _batch_gatherer(data, network.sizes)
    return _TrainingRun(network, config, splits, gather_batch, keys, steps, train_step, validate)


def _train_epoch(run: _TrainingRun, state: TrainingState, epoch: int) -> tuple[TrainingState, dict[str, np.ndarray]]:
    """Return the states after an epoch, and the metrics [seed] of training and validation.

    Raises:
        FloatingPointError: If a metric is not finite.
    """
    network, config, steps = run.network, run.config, run.steps_per_epoch
    step_metrics = []
    for completed_steps, rows in enumerate(_epoch_batches(run.splits, config, epoch, steps), start=1):
        weights = scheduled_weights(config, epoch - 1 + completed_steps / steps)
        state, loss_parts = run.take_step(
            state, run.gather_batch(rows), run.keys[:, 1], weights, network=network, config=config, steps=steps
        )
        step_metrics.append(loss_parts)
    metrics = {name: np.mean([entry[name] for entry in step_metrics], axis=0) for name in step_metrics[0]}
    validation_metrics = run.validate(
        state.params, run.gather_batch, run.splits, run.keys[:, 2], network=network, config=config
    )
    metrics |= {f"validation_{name}": value for name, value in validation_metrics.items()}
    _refuse_nan(metrics, epoch, config)
    return state, metrics


def _update_best(
    params, best_params, metrics: dict[str, np.ndarray], progress: TrainingProgress, config: TrainOptions
) -> tuple[Any, TrainingProgress]:
    """Return the best parameters of each seed and the progress after one more epoch."""
    epoch, loss = progress.epoch + 1, metrics["validation_loss"]
    is_better = _is_running(progress, config) & is_improved(loss, progress.best_loss)
    progress = TrainingProgress(
        epoch, np.where(is_better, loss, progress.best_loss), np.where(is_better, epoch, progress.best_epoch)
    )
    return _select_params(is_better, params, best_params), progress


def _params_by_seed(params, n_seeds: int) -> list[Any]:
    """Return the parameters of each seed."""
    return [jax.tree.map(lambda leaf, index=index: leaf[index], params) for index in range(n_seeds)]


@partial(jax.jit, static_argnames=("network", "config", "steps"))
def _initial_state(keys: Array, example: Any, *, network: nn.Module, config: TrainOptions, steps: int) -> TrainingState:
    """Return the initial states of all seeds."""
    params = jax.vmap(lambda key: network.init(key, example.features, example.pdf, key))(keys)
    return TrainingState(params, jax.vmap(optimiser(config, steps).init)(params), jnp.zeros(len(keys), jnp.int32))


def _epoch_batches(splits: Sequence[Split], config: TrainOptions, epoch: int, steps: int) -> np.ndarray:
    """Return the row numbers of an epoch's batches [step, seed, row], shuffled for each seed and epoch."""
    shuffled_rows = [
        np.random.default_rng([seed, epoch]).permutation(split.train)[: steps * config.batch]
        for seed, split in zip(config.all_seeds, splits, strict=True)
    ]
    return np.stack(shuffled_rows).reshape(len(splits), steps, config.batch).swapaxes(0, 1)


def _is_running(progress: TrainingProgress, config: TrainOptions) -> np.ndarray:
    """Return a mask of the seeds that have improved in the last `config.patience` epochs.

    The other seeds keep their best parameters.
    """
    return progress.epoch - progress.best_epoch < config.patience


@jax.jit
def _select_params(is_better, new_params, old_params):
    """Return the new parameters of the seeds that have improved, and the old ones of the others."""
    return jax.tree.map(
        lambda new_leaf, old_leaf: jnp.where(is_better.reshape(-1, *[1] * (new_leaf.ndim - 1)), new_leaf, old_leaf),
        new_params,
        old_params,
    )


def _batch_gatherer(data: Dataset, model_sizes: ModelSizes) -> Callable[[np.ndarray], TrainingBatch]:
    """Return a function that returns the batch of some rows of the data set. The data are stored on the device."""
    shapes = dataset.shape_features(data.shapes, atoms=model_sizes.atoms, satellites=model_sizes.satellites)
    columns = (data.shape_index, data.bond.astype(np.float32), data.pdf, data.conditions)
    replicated_sharding, row_sharding = _shardings()
    device_data = jax.device_put((shapes, columns), replicated_sharding)

    def gather_rows(rows):
        divides_evenly = rows.ndim == 2 and rows.shape[-1] % row_sharding.num_devices == 0
        return _gather_batch(
            device_data, jax.device_put(jnp.asarray(rows), row_sharding if divides_evenly else replicated_sharding)
        )

    return gather_rows


@jax.jit
def _gather_batch(device_data, rows) -> TrainingBatch:
    """Return the batch of some rows of the data on the device."""
    shapes, columns = device_data
    shape_index, bond, pdf, conditions = jax.tree.map(lambda column: column[rows], columns)
    features = jax.tree.map(lambda column: column[shape_index], shapes)
    return TrainingBatch(features._replace(radius=features.radius * bond), pdf, conditions)


def _shardings() -> tuple[NamedSharding, NamedSharding]:
    """Return two shardings over all devices: complete copies, and division of arrays [seed, row, ...] by rows."""
    mesh = jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, "rows"))


def _refuse_nan(metrics: dict[str, np.ndarray], epoch: int, config: TrainOptions) -> None:
    for name, values in metrics.items():
        for seed, value in zip(config.all_seeds, values, strict=True):
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"Expected finite losses, got {name} = {value} in epoch {epoch} of seed {seed}; "
                    f"lower --rate and pass another --out (the checkpoint of epoch {epoch - 1} is kept)."
                )


def _copy_params(params):
    """Return a copy of the parameters, because a training step reuses the memory of its input."""
    return jax.tree.map(jnp.copy, params)
