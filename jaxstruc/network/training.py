"""The step, the fit, and the data on the device."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxstruc.network import checkpoints, dataset
from jaxstruc.network.checkpoints import Progress, State
from jaxstruc.network.config import Sizes, sizes
from jaxstruc.network.dataset import Dataset, Split
from jaxstruc.network.loss import Batch, loss
from jaxstruc.network.model import CVAE
from jaxstruc.options.training import TrainOptions


def optimiser(config: TrainOptions, steps_per_epoch: int) -> optax.GradientTransformation:
    """Return Adam, with the learning rate's schedule."""
    steps = config.epochs * steps_per_epoch
    return optax.adam(optax.cosine_decay_schedule(config.rate, steps) if config.cosine else config.rate)


WAITING = 1e-3
"""Part of the validation loss by which it has to fall to count as better: less is no reason to go on."""
VALIDATED = 500
"""Most PDFs of each seed that are validated at once."""


class Weights(NamedTuple):
    """The weights that follow a schedule."""

    beta: np.float32
    pdf: np.float32


def scheduled(config: TrainOptions, epochs: float) -> Weights:
    """Return the weights after so many epochs and parts of one: each rises evenly over its warm-up."""
    rising = ((config.beta, config.warmup), (config.pdf, config.pdf_warmup))
    return Weights(*(np.float32(full * (min(1.0, epochs / span) if span > 0 else 1.0)) for full, span in rising))


def improved(loss, best):
    """Return whether a validation loss is better than the best before it by enough to count."""
    return loss < (1 - WAITING) * best


@partial(jax.jit, static_argnames=("network", "config", "steps"), donate_argnames="state")
def train_step(
    state: State, batch: Batch, key: Array, weights: Weights, *, network: CVAE, config: TrainOptions, steps: int
) -> tuple[State, dict[str, Array]]:
    """Return the states after one step and the loss's parts, with the gradient's norm; all with an axis of seeds.

    `steps` is their number in an epoch, for the learning rate's schedule.
    """
    optimise = optimiser(config, steps)

    def step(state, batch, key):
        gradient_of = jax.grad(partial(loss, network=network, config=config, **weights._asdict()), has_aux=True)
        gradient, parts = gradient_of(state.params, batch, jax.random.fold_in(key, state.step))
        updates, optimiser_state = optimise.update(gradient, state.optimiser, state.params)
        parts["gradient"] = optax.tree.norm(gradient)
        return State(optax.apply_updates(state.params, updates), optimiser_state, state.step + 1), parts

    return jax.vmap(step)(state, batch, key)


def fit(
    data: Dataset,
    splits: Sequence[Split],
    config: TrainOptions,
    *,
    folder: Path,
    report: Callable[[int, dict[str, float]], None] | None = None,
    stop_after: int | None = None,
) -> tuple[list[Any], Progress]:
    """Return each seed's parameters with the least validation loss (see `improved`), and where the fits ended.

    All seeds are trained together, as one more axis of every array. After each epoch a checkpoint of the last states
    and the best parameters replaces the one before in `folder/checkpoints`. A fit found there goes on where it
    stopped, to the same parameters as an unbroken one. Metrics are in `folder/metrics.jsonl`, a line an epoch and
    seed. Each batch is shared out over all devices, where their number divides it.

    Args:
        data: the data set.
        splits: for each of the seeds, indices to train on and to validate with.
        config: settings, the seeds among them.
        folder: of the run.
        report: called after each epoch with its number and metrics, means over the seeds.
        stop_after: epochs after which to return early, as an interruption would.

    Raises:
        FloatingPointError: where the loss is not finite.
        ValueError: where `folder` holds a fit with other settings, or a batch is larger than the data.
    """
    network = CVAE(sizes(config))
    gather = _gatherer(data, network.sizes)
    fewest = min(len(parts.train) for parts in splits)
    steps = fewest // config.batch
    if steps == 0:
        raise ValueError(f"Expected at least {config.batch} PDFs to train on, got {fewest}; lower --batch.")
    checkpoints.claim(folder, config)
    keys = jnp.stack([jax.random.split(jax.random.key(seed), 3) for seed in config.all_seeds])
    example = gather(splits[0].train[:1])
    state = _begun(keys[:, 0], example, network=network, config=config, steps=steps)
    progress = Progress(0, np.full(len(splits), np.inf), np.zeros(len(splits), int))
    with checkpoints.manager(folder) as manager:
        state, best, progress = checkpoints.restore(manager, state, _copy(state.params), progress)
        state = jax.device_put(state, _shardings()[0])
        checkpoints.cut_metrics(folder, progress.epoch * len(splits))
        while progress.epoch < config.epochs and _running(progress, config).any() and progress.epoch != stop_after:
            epoch, logged = progress.epoch + 1, []
            for done, rows in enumerate(_batches(splits, config, epoch, steps), start=1):
                weights = scheduled(config, progress.epoch + done / steps)
                state, metrics = train_step(
                    state, gather(rows), keys[:, 1], weights, network=network, config=config, steps=steps
                )
                logged.append(metrics)
            metrics = {name: np.mean([one[name] for one in logged], axis=0) for name in logged[0]}
            checked = validate(state.params, gather, splits, keys[:, 2], network=network, config=config)
            metrics |= {f"validation_{name}": value for name, value in checked.items()}
            _refuse_nan(metrics, epoch, config)
            better = _running(progress, config) & improved(metrics["validation_loss"], progress.best)
            best = _chosen(better, state.params, best)
            progress = Progress(
                epoch,
                np.where(better, metrics["validation_loss"], progress.best),
                np.where(better, epoch, progress.best_epoch),
            )
            checkpoints.log(folder, config, epoch, metrics)
            checkpoints.save(manager, state, best, progress)
            if report:
                report(epoch, {name: float(np.mean(values)) for name, values in metrics.items()})
    best = jax.device_get(best)
    return [jax.tree.map(lambda leaf, at=at: leaf[at], best) for at in range(len(splits))], progress


def validate(
    params, gather: Callable, splits: Sequence[Split], keys: Array, *, network: CVAE, config: TrainOptions
) -> dict[str, np.ndarray]:
    """Return the mean loss parts over all PDFs [seed], with full beta and the same latent draws each time.

    Seeds with more PDFs than the fewest leave some out, evenly: a list is sorted by shape.
    """
    count = min(len(parts.validation) for parts in splits)
    rows = np.stack([parts.validation[np.arange(count) * len(parts.validation) // count] for parts in splits])
    batches = [rows[:, start : start + VALIDATED] for start in range(0, count, VALIDATED)]
    each = [_evaluate(params, gather(batch), keys, network=network, config=config) for batch in batches]
    shares = [batch.shape[1] for batch in batches]
    return {name: np.average([one[name] for one in each], axis=0, weights=shares) for name in each[0]}


@partial(jax.jit, static_argnames=("network", "config", "steps"))
def _begun(keys: Array, example: Batch, *, network: CVAE, config: TrainOptions, steps: int) -> State:
    """Return the states that seeds begin with."""
    params = jax.vmap(lambda key: network.init(key, example.features, example.pdf, key))(keys)
    return State(params, jax.vmap(optimiser(config, steps).init)(params), jnp.zeros(len(keys), jnp.int32))


@partial(jax.jit, static_argnames=("network", "config"))
def _evaluate(params, batch, keys, *, network, config):
    parts = partial(loss, network=network, config=config, beta=config.beta, pdf=config.pdf)
    return jax.vmap(parts)(params, batch, keys)[1]


def _batches(splits: Sequence[Split], config: TrainOptions, epoch: int, steps: int) -> np.ndarray:
    """Return the rows of an epoch's batches [step, seed, row], shuffled anew for each seed and epoch."""
    shuffled = [
        np.random.default_rng([seed, epoch]).permutation(parts.train)[: steps * config.batch]
        for seed, parts in zip(config.all_seeds, splits, strict=True)
    ]
    return np.stack(shuffled).reshape(len(splits), steps, config.batch).swapaxes(0, 1)


def _running(progress: Progress, config: TrainOptions) -> np.ndarray:
    """Return which seeds have improved within the patience; the others keep what they have."""
    return progress.epoch - progress.best_epoch < config.patience


@jax.jit
def _chosen(better, new, old):
    """Return the new parameters of the seeds that got better, the old ones of the others."""
    return jax.tree.map(lambda a, b: jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)


def _gatherer(data: Dataset, model_sizes: Sizes) -> Callable[[np.ndarray], Batch]:
    """Return a function from row numbers to a batch; the data lie on the device."""
    shapes = dataset.shape_features(data.shapes, atoms=model_sizes.atoms, satellites=model_sizes.satellites)
    columns = (data.shape, data.bond.astype(np.float32), data.pdf, data.conditions)
    everywhere, shared_out = _shardings()
    held = jax.device_put((shapes, columns), everywhere)

    def place(rows):
        even = rows.ndim == 2 and rows.shape[-1] % shared_out.num_devices == 0
        return _gathered(held, jax.device_put(jnp.asarray(rows), shared_out if even else everywhere))

    return place


@jax.jit
def _gathered(held, rows) -> Batch:
    """Return the batch of some rows, of shapes and columns on the device."""
    shapes, columns = held
    shape, bond, pdf, conditions = jax.tree.map(lambda column: column[rows], columns)
    features = jax.tree.map(lambda column: column[shape], shapes)
    return Batch(features._replace(radius=features.radius * bond), pdf, conditions)


def _shardings() -> tuple[NamedSharding, NamedSharding]:
    """Return how arrays lie on all devices: whole on each, and [seed, row, ...] shared out by rows."""
    mesh = jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, "rows"))


def _refuse_nan(metrics: dict[str, np.ndarray], epoch: int, config: TrainOptions) -> None:
    for name, values in metrics.items():
        for seed, value in zip(config.all_seeds, values, strict=True):
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"Expected finite losses, got {name} = {value} in epoch {epoch} of seed {seed}; "
                    f"the checkpoint of epoch {epoch - 1} is kept: lower --rate and start in another folder."
                )


def _copy(params):
    """Return a copy that outlives the step, which takes its input's memory."""
    return jax.tree.map(jnp.copy, params)
