"""The loss, the step, the fit and its checkpoints."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from jaxstruc import dataset, files, model, representation, scattering, settings, structure, trilateration
from jaxstruc.dataset import Dataset, Split
from jaxstruc.model import CVAE, Decoded
from jaxstruc.representation import Features
from jaxstruc.scattering import Instrument, Nodes

FLOOR = 0.1
"""Least bracket of the pair width in the PDF term, so that a wrong short distance still has a gradient."""
LONGEST = 36.0
"""Å. Longest distance in the PDF term: beyond the r range and the data's largest particles."""
NODES = Nodes(LONGEST, dataset.GRID.qmax, 1e-5)
STEPS, TOLERANCE = 20, 1e-3
"""Most iterations of the trilateration within the loss, and the gradient at which it ends."""


class State(NamedTuple):
    """All that a step changes."""

    params: Any
    optimiser: Any
    step: Array


class Batch(NamedTuple):
    """PDFs with their structures."""

    features: Features
    pdf: Float[Array, "batch r"]
    conditions: dataset.Conditions


class Progress(NamedTuple):
    """Where the fits stand; resumed with the state."""

    epoch: int
    best: np.ndarray
    """[seed] Least validation loss."""
    best_epoch: np.ndarray
    """[seed]"""


def loss(
    params,
    batch: Batch,
    key: Array,
    *,
    network: CVAE,
    config: settings.Train,
    beta: Float[Array, ""] | float,
    pdf: Float[Array, ""] | float,
) -> tuple[Array, dict[str, Array]]:
    """Return the loss and its parts: what is minimised is what is reported.

    Reconstruction is the mean squared error of the distances between atoms present, and of their satellite distances
    (KDD 2020 eq. 5), in radii; radius that of the log radius; presence a cross entropy; kl in nats, for the DAE the
    squared distance of the latent vectors; pdf the mean squared difference of normalised PDFs, the term that section 6
    of the paper proposes, of the structure that a draw from the prior gives: PDF in, PDF out, as in use.

    Args:
        params: of the network.
        batch: PDFs with their structures.
        key: of the latent draws.
        network: the autoencoder.
        config: settings.
        beta: weight of the penalty at this point of its schedule.
        pdf: weight of the PDF term at this point of its schedule.
    """
    penalty = model.divergence if network.sizes.stochastic else model.separation
    key_posterior, key_prior = jax.random.split(key)
    answer: Any = network.apply(params, batch.features, dataset.normalised(batch.pdf), key_posterior)
    decoded, posterior, prior = answer
    present = batch.features.presence.astype(batch.pdf.dtype)
    parts = {
        "pair": _masked_error(decoded.pair, batch.features.pair, _pair_mask(present)),
        "satellite": _masked_error(decoded.satellite, batch.features.satellite, present[..., None]),
        "radius": jnp.mean((decoded.log_radius - jnp.log(batch.features.radius)) ** 2),
        "presence": jnp.mean(optax.sigmoid_binary_cross_entropy(decoded.presence, present)),
        "kl": jnp.mean(penalty(posterior, prior)),
    }
    total = config.reconstruction * (parts["pair"] + parts["satellite"])
    total += config.radius * parts["radius"] + config.presence * parts["presence"] + beta * parts["kl"]
    if config.pdf > 0:
        z = model.sample(prior, key_prior) if network.sizes.stochastic else prior.mean
        rebuilt: Any = network.apply(params, z, method=CVAE.decode)
        term = PDF_TERMS[config.pdf_through]
        parts["pdf"] = jnp.mean(jax.vmap(term)(rebuilt, batch.pdf, batch.conditions))
        total += pdf * parts["pdf"]
    return total, {"loss": total, **parts}


def pdf_difference(decoded: Decoded, pdf: Float[Array, " r"], conditions: dataset.Conditions) -> Float[Array, ""]:
    """Return the mean squared difference of a decoded structure's normalised PDF and the input's.

    The decoded distances times the decoded radius go straight to G(r), each pair weighted by both presences.
    """
    presence = jax.nn.sigmoid(decoded.presence)
    return _difference(jnp.abs(decoded.pair) * jnp.exp(decoded.log_radius), presence, pdf, conditions)


def pdf_difference_of_coordinates(
    decoded: Decoded, pdf: Float[Array, " r"], conditions: dataset.Conditions
) -> Float[Array, ""]:
    """Return the same for the trilaterated coordinates: distances that no structure has count as that structure's."""
    presence = jax.nn.sigmoid(decoded.presence)
    anchors = jnp.asarray(representation.satellites(decoded.satellite.shape[-1]), pdf.dtype)
    found = trilateration.trilaterate(
        jnp.abs(decoded.pair), jnp.abs(decoded.satellite), presence, anchors, iterations=STEPS, tolerance=TOLERANCE
    )
    distances = structure.distances(found.positions) * jnp.exp(decoded.log_radius)
    return _difference(distances, presence, pdf, conditions)


PDF_TERMS = {"distances": pdf_difference, "coordinates": pdf_difference_of_coordinates}


def _difference(distances, presence, pdf, conditions: dataset.Conditions) -> Float[Array, ""]:
    """Return the mean squared difference of the normalised PDFs; distances beyond `LONGEST` count as that."""
    instrument = Instrument(uiso=conditions.uiso, delta2=conditions.delta2, qdamp=conditions.qdamp)
    q, r = dataset.GRID.q, jnp.asarray(dataset.GRID.r, pdf.dtype)
    pairs = scattering.pairs(jnp.minimum(distances, LONGEST), presence)
    spread = scattering.spread(pairs, NODES)
    ones, atoms = jnp.ones((1, q.size), pdf.dtype), jnp.sum(presence)[None]
    f = scattering.reduced_structure_function(spread, instrument, ones, atoms, q, floor=FLOOR)
    weights = scattering.q_weights(jnp.asarray(q, pdf.dtype), conditions.qmin, conditions.qmax)
    curve = scattering.envelope(instrument, r) * scattering.sine_transform(f, q, weights, dataset.GRID.r)
    curve = jnp.where((r >= conditions.rmin) & (r <= conditions.rmax), curve, 0.0)
    return jnp.mean((dataset.normalised(curve) - dataset.normalised(pdf)) ** 2)


def optimiser(config: settings.Train, steps_per_epoch: int) -> optax.GradientTransformation:
    """Return Adam, with the learning rate's schedule."""
    steps = config.epochs * steps_per_epoch
    return optax.adam(optax.cosine_decay_schedule(config.rate, steps) if config.cosine else config.rate)


class Weights(NamedTuple):
    """The weights that follow a schedule."""

    beta: Array
    pdf: Array


def scheduled(config: settings.Train, epoch: int) -> Weights:
    """Return the weights in an epoch, counted from 1: each rises evenly over its warm-up."""
    rising = ((config.beta, config.warmup), (config.pdf, config.pdf_warmup))
    return Weights(*(jnp.asarray(full * min(1.0, epoch / max(1, span)), jnp.float32) for full, span in rising))


@partial(jax.jit, static_argnames=("network", "config", "optimise"), donate_argnames="state")
def train_step(
    state: State, batch: Batch, key: Array, weights: Weights, *, network: CVAE, config: settings.Train, optimise
) -> tuple[State, dict[str, Array]]:
    """Return the states after one step and the loss's parts, with the gradient's norm; all with an axis of seeds."""

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
    config: settings.Train,
    *,
    report: Callable[[int, dict[str, float]], None] | None = None,
    stop_after: int | None = None,
) -> tuple[list[Any], Progress]:
    """Return each seed's parameters with the least validation loss, and where the fits ended.

    All seeds are trained together, as one more axis of every array. After each epoch a checkpoint of the last states
    and the best parameters replaces the one before in `config.out/checkpoints`. A fit found there goes on where it
    stopped, to the same parameters as an unbroken one. Metrics are in `config.out/metrics.jsonl`, a line an epoch and
    seed. Each batch is shared out over all devices, where their number divides it.

    Args:
        data: the data set.
        splits: for each of `seeds(config)`, indices to train on and to validate with.
        config: settings; the seeds are among them.
        report: called after each epoch with its number and metrics, means over the seeds.
        stop_after: epochs after which to return early, as an interruption would.

    Raises:
        FloatingPointError: where the loss is not finite.
        ValueError: where `config.out` holds a fit with other settings, or a batch is larger than the data.
    """
    network = CVAE(sizes(config))
    gather = _gatherer(data, network.sizes)
    fewest = min(len(parts.train) for parts in splits)
    steps = fewest // config.batch
    if steps == 0:
        raise ValueError(f"Expected at least {config.batch} PDFs to train on, got {fewest}; lower --batch.")
    _claim(config)
    optimise = optimiser(config, steps)
    keys = jnp.stack([jax.random.split(jax.random.key(seed), 3) for seed in seeds(config)])
    example = gather(splits[0].train[:1])
    begin = jax.jit(jax.vmap(lambda key: network.init(key, example.features, example.pdf, key)))
    params = begin(keys[:, 0])
    state = State(params, jax.vmap(optimise.init)(params), jnp.zeros(len(splits), jnp.int32))
    progress = Progress(0, np.full(len(splits), np.inf), np.zeros(len(splits), int))
    with _checkpoints(config.out) as checkpoints:
        state, best, progress = _restore(checkpoints, state, _copy(params), progress)
        state = jax.device_put(state, _shardings()[0])
        _cut_metrics(config.out, progress.epoch * len(splits))
        while progress.epoch < config.epochs and _running(progress, config).any() and progress.epoch != stop_after:
            epoch, weights = progress.epoch + 1, scheduled(config, progress.epoch + 1)
            logged = []
            for rows in _batches(splits, config, epoch, steps):
                state, metrics = train_step(
                    state, gather(rows), keys[:, 1], weights, network=network, config=config, optimise=optimise
                )
                logged.append(metrics)
            metrics = {name: np.mean([one[name] for one in logged], axis=0) for name in logged[0]}
            checked = validate(state.params, gather, splits, keys[:, 2], network=network, config=config)
            metrics |= {f"validation_{name}": value for name, value in checked.items()}
            _refuse_nan(metrics, epoch, config)
            better = _running(progress, config) & (metrics["validation_loss"] < progress.best)
            best = _chosen(better, state.params, best)
            progress = Progress(
                epoch,
                np.where(better, metrics["validation_loss"], progress.best),
                np.where(better, epoch, progress.best_epoch),
            )
            _log(config, epoch, metrics)
            _save(checkpoints, state, best, progress)
            if report:
                report(epoch, {name: float(np.mean(values)) for name, values in metrics.items()})
    best = jax.device_get(best)
    return [jax.tree.map(lambda leaf, at=at: leaf[at], best) for at in range(len(splits))], progress


def validate(
    params, gather: Callable, splits: Sequence[Split], keys: Array, *, network: CVAE, config: settings.Train
) -> dict[str, np.ndarray]:
    """Return the mean loss parts over PDFs [seed], with full beta and the same latent draws each time."""
    count = min(len(parts.validation) for parts in splits)
    size = min(count, 500)
    rows = np.stack([parts.validation[: count // size * size] for parts in splits])
    batches = rows.reshape(len(splits), -1, size).swapaxes(0, 1)
    each = [_evaluate(params, gather(batch), keys, network=network, config=config) for batch in batches]
    return {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}


def seeds(config: settings.Train) -> tuple[int, ...]:
    """Return the seeds that are trained together."""
    return config.seeds or (config.seed,)


def sizes(config: settings.Train) -> settings.Model:
    """Return the network's sizes for a training."""
    return settings.Model(latent=config.latent, stochastic=config.model == "cvae")


def recorded(config: settings.Train) -> dict[str, Any]:
    """Return the settings that make a training what it is: all but paths."""
    kept = {name: value for name, value in asdict(config).items() if name not in ("out", "data")}
    return kept | {"seeds": list(config.seeds)}


@partial(jax.jit, static_argnames=("network", "config"))
def _evaluate(params, batch, keys, *, network, config):
    parts = partial(loss, network=network, config=config, beta=config.beta, pdf=config.pdf)
    return jax.vmap(parts)(params, batch, keys)[1]


def _batches(splits: Sequence[Split], config: settings.Train, epoch: int, steps: int) -> np.ndarray:
    """Return the rows of an epoch's batches [step, seed, row], shuffled anew for each seed and epoch."""
    shuffled = [
        np.random.default_rng([seed, epoch]).permutation(parts.train)[: steps * config.batch]
        for seed, parts in zip(seeds(config), splits, strict=True)
    ]
    return np.stack(shuffled).reshape(len(splits), steps, config.batch).swapaxes(0, 1)


def _running(progress: Progress, config: settings.Train) -> np.ndarray:
    """Return which seeds have improved within the patience; the others keep what they have."""
    return progress.epoch - progress.best_epoch < config.patience


@jax.jit
def _chosen(better, new, old):
    """Return the new parameters of the seeds that got better, the old ones of the others."""
    return jax.tree.map(lambda a, b: jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)


def _gatherer(data: Dataset, model_sizes: settings.Model) -> Callable[[np.ndarray], Batch]:
    """Return a function from row numbers to a batch; the data lie on the device."""
    shapes = dataset.shape_features(data.shapes, atoms=model_sizes.atoms, satellites=model_sizes.satellites)
    columns = (data.shape, data.bond.astype(np.float32), data.pdf, data.conditions)
    everywhere, shared_out = _shardings()
    held = jax.device_put((shapes, columns), everywhere)

    @jax.jit
    def gather(held, rows):
        shapes, columns = held
        shape, bond, pdf, conditions = jax.tree.map(lambda column: column[rows], columns)
        features = jax.tree.map(lambda column: column[shape], shapes)
        return Batch(features._replace(radius=features.radius * bond), pdf, conditions)

    def place(rows):
        even = rows.ndim == 2 and rows.shape[-1] % shared_out.num_devices == 0
        return gather(held, jax.device_put(jnp.asarray(rows), shared_out if even else everywhere))

    return place


def _shardings() -> tuple[NamedSharding, NamedSharding]:
    """Return how arrays lie on all devices: whole on each, and [seed, row, ...] shared out by rows."""
    mesh = jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, "rows"))


def _pair_mask(present):
    return present[..., :, None] * present[..., None, :] * (1 - jnp.eye(present.shape[-1], dtype=present.dtype))


def _masked_error(predicted, target, mask):
    mask = jnp.broadcast_to(mask, target.shape)
    return jnp.sum(mask * (predicted - target) ** 2) / jnp.maximum(jnp.sum(mask), 1)


def _refuse_nan(metrics: dict[str, np.ndarray], epoch: int, config: settings.Train) -> None:
    for name, values in metrics.items():
        for seed, value in zip(seeds(config), values, strict=True):
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"Expected finite losses, got {name} = {value} in epoch {epoch} of seed {seed}; "
                    f"the checkpoint of epoch {epoch - 1} is kept: lower --rate and start in another folder."
                )


def _claim(config: settings.Train) -> None:
    """Write the settings to the run's folder, or check that those there are the same."""
    path = config.out / "config.json"
    kept = recorded(config)
    if not path.exists():
        files.write_text(path, json.dumps(kept, indent=1) + "\n")
    elif (found := json.loads(path.read_text("utf-8"))) != kept:
        name = next(n for n in kept | found if n not in kept or n not in found or found[n] != kept[n])
        raise ValueError(
            f"Expected the run in {config.out} to have {name} {kept.get(name)}, got {found.get(name)}; "
            "pass the same settings to resume, or another --out."
        )


def _checkpoints(folder: Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    return ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options)


def _save(checkpoints, state: State, best, progress: Progress) -> None:
    kept = {"state": state, "best": best, "progress": jax.tree.map(np.asarray, progress)}
    checkpoints.save(progress.epoch, args=ocp.args.StandardSave(kept))


def _restore(checkpoints, state: State, best, progress: Progress) -> tuple[State, Any, Progress]:
    """Return the last checkpoint, or what was given where there is none."""
    if checkpoints.latest_step() is None:
        return state, best, progress
    like = {"state": state, "best": best, "progress": jax.tree.map(np.asarray, progress)}
    kept = checkpoints.restore(checkpoints.latest_step(), args=ocp.args.StandardRestore(like))
    epoch, least, best_epoch = kept["progress"]
    return kept["state"], kept["best"], Progress(int(epoch), np.asarray(least), np.asarray(best_epoch))


def _copy(params):
    """Return a copy that outlives the step, which takes its input's memory."""
    return jax.tree.map(jnp.copy, params)


def _log(config: settings.Train, epoch: int, metrics: dict[str, np.ndarray]) -> None:
    with (config.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for at, seed in enumerate(seeds(config)):
            values = {name: float(column[at]) for name, column in metrics.items()}
            file.write(json.dumps({"epoch": epoch, "seed": seed, **values}) + "\n")


def _cut_metrics(folder: Path, lines: int) -> None:
    """Drop lines of epochs after the checkpoint: they run again."""
    path = folder / "metrics.jsonl"
    if path.exists():
        files.write_text(path, "".join(path.read_text("utf-8").splitlines(keepends=True)[:lines]))
