import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.network.cvae import dataset, training
from jaxstruc.network.cvae.model import CVAE, model_sizes_from_options
from jaxstruc.options.training import TrainOptions


@pytest.fixture(scope="module")
def dataset_path(small_dataset, tmp_path_factory):
    """Return the path of a file with the data, for other processes."""
    path = tmp_path_factory.mktemp("data") / "few.h5"
    dataset.write(small_dataset, path)
    return path


@pytest.fixture(scope="module")
def split(small_dataset):
    return dataset.split(small_dataset, strategy="random", seed=0)


CONFIG = TrainOptions(batch=16, rate=3e-4, warmup=2, epochs=4)
TRAINING_SCRIPT = """
import sys
from pathlib import Path
from jaxstruc.network.cvae import dataset, training
from jaxstruc.options.training import TrainOptions
data = dataset.read(Path(sys.argv[1])); parts = dataset.split(data, strategy="random", seed=0)
training.fit(data, [parts], TrainOptions(batch=16, rate=3e-4, warmup=2, epochs=4), folder=Path(sys.argv[2]), {})
"""
"""Script of the same training in another process. Its arguments are the data and the folder."""


def stacked_params(params):
    return jax.tree.map(lambda leaf: leaf[None], params)


@pytest.fixture(scope="module")
def uninterrupted_run(small_dataset, split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    (params,), progress = training.fit(small_dataset, [split], CONFIG, folder=folder)
    return params, progress, folder


def read_metrics(folder):
    """Return the rows of the metrics in a training's folder."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_validation_loss_falls(uninterrupted_run):
    _, _, folder = uninterrupted_run
    lines = read_metrics(folder)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["validation_loss"] < 0.8 * lines[0]["validation_loss"]
    assert {"pair", "satellite", "radius", "presence", "kl", "gradient"} <= set(lines[0])


@pytest.mark.slow
def test_resuming_gives_the_parameters_of_an_uninterrupted_run(uninterrupted_run, small_dataset, split, tmp_path):
    params, progress, folder = uninterrupted_run
    training.fit(small_dataset, [split], CONFIG, folder=tmp_path, stop_after=2)
    (resumed_params,), resumed_progress = training.fit(small_dataset, [split], CONFIG, folder=tmp_path)
    chex.assert_trees_all_equal(resumed_params, params)
    chex.assert_trees_all_equal(resumed_progress, progress)
    assert (tmp_path / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


def train_until_killed(dataset_path, folder, pattern):
    """Train in another process, kill it as soon as such a file exists, and return whether the file existed."""
    script = TRAINING_SCRIPT.format("stop_after=None")
    process = subprocess.Popen([sys.executable, "-c", script, dataset_path, folder])
    while process.poll() is None and not (is_written := any(folder.glob(pattern))):
        time.sleep(0.0005)
    process.kill()
    process.wait()
    return is_written


@pytest.mark.slow
@pytest.mark.long
def test_a_run_killed_while_it_writes_ends_like_an_uninterrupted_one(
    uninterrupted_run, small_dataset, dataset_path, split, tmp_path
):
    params, progress, folder = uninterrupted_run
    assert train_until_killed(dataset_path, tmp_path, "checkpoints/2.*tmp*")  # the second checkpoint is being written
    assert not (tmp_path / "checkpoints" / "2").exists()
    assert train_until_killed(dataset_path, tmp_path, "checkpoints/3*")  # the third, or the second is being deleted
    (resumed_params,), resumed_progress = training.fit(small_dataset, [split], CONFIG, folder=tmp_path)
    chex.assert_trees_all_equal(resumed_params, params)
    chex.assert_trees_all_equal(resumed_progress, progress)
    assert (tmp_path / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.long
def test_seeds_trained_together_are_those_trained_alone(uninterrupted_run, small_dataset, tmp_path):
    _, _, folder = uninterrupted_run
    two_seed_options = replace(CONFIG, seeds=(3, 0))
    splits = [dataset.split(small_dataset, strategy="random", seed=seed) for seed in (3, 0)]
    params, progress = training.fit(small_dataset, splits, two_seed_options, folder=tmp_path, stop_after=2)
    lines, single_lines = read_metrics(tmp_path), read_metrics(folder)
    assert [(line["epoch"], line["seed"]) for line in lines] == [(1, 3), (1, 0), (2, 3), (2, 0)]
    for name in ("loss", "validation_loss", "gradient"):
        np.testing.assert_allclose(
            [line[name] for line in lines[1::2]], [line[name] for line in single_lines[:2]], rtol=1e-4
        )
        assert lines[0][name] != lines[1][name]
    assert len(params) == 2 and list(progress.best_epoch) == [2, 2]


def test_a_run_with_other_settings_is_not_overwritten(small_dataset, split, tmp_path):
    training.claim_folder(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"has rate 0\.0003, but the options have 0\.1"):
        training.fit(small_dataset, [split], replace(CONFIG, rate=0.1), folder=tmp_path)


@pytest.mark.slow
def test_epochs_without_improvement_end_the_training_and_keep_the_best(
    uninterrupted_run, small_dataset, split, tmp_path
):
    """The validation loss is made to rise after the second epoch. The parameters of this epoch are kept."""
    validation_losses = iter([3.0, 1.0, 2.0, 1.5])

    def validate_with_rising_loss(*arguments, **keywords):
        return training.validate(*arguments, **keywords) | {"loss": np.array([next(validation_losses)])}

    patient_options = replace(CONFIG, epochs=30, patience=2)
    (params,), progress = training.fit(
        small_dataset, [split], patient_options, folder=tmp_path, validate=validate_with_rising_loss
    )
    assert progress.epoch == 4 and progress.best_epoch[0] == 2 and progress.best_loss[0] == 1.0
    network = CVAE(model_sizes_from_options(patient_options))
    key = jax.random.split(jax.random.key(0), 3)[2]
    gather = training._batch_gatherer(small_dataset, network.sizes)
    validation = training.validate(
        stacked_params(params), gather, [split], key[None], network=network, config=patient_options
    )
    lines = read_metrics(uninterrupted_run[2])
    assert validation["loss"][0] == pytest.approx(lines[1]["validation_loss"], rel=1e-5)
    assert lines[1]["validation_loss"] != pytest.approx(lines[3]["validation_loss"], rel=1e-3)


@pytest.mark.slow
def test_a_loss_that_all_but_stops_falling_ends_the_training(small_dataset, split, tmp_path):
    """Each epoch improves the loss by only one part in a million."""
    validation_losses = iter(1 - 1e-6 * np.arange(30))
    progress = training.fit(
        small_dataset,
        [split],
        replace(CONFIG, epochs=30, patience=2),
        folder=tmp_path,
        validate=lambda *_, **__: {"loss": np.array([next(validation_losses)])},
    )[1]
    assert progress.epoch == 3 and progress.best_epoch[0] == 1


def test_small_gains_count_once_they_add_up_to_a_thousandth():
    assert training.is_improved(0.9989, 1.0) and not training.is_improved(0.9991, 1.0)
    np.testing.assert_array_equal(training.is_improved(np.array([1.0, 2.0]), np.array([np.inf, 2.0])), [True, False])


def test_each_pdf_is_validated_as_often_as_any_other():
    """Rows that do not fill a batch are validated too. A longer list is thinned out at even intervals."""
    evaluated_batches = []

    def evaluate_batch(params, batch, keys, **_):
        evaluated_batches.append(batch)
        return {"loss": batch.mean(axis=1)}

    validate = partial(training.validate, network=None, config=CONFIG, evaluate=evaluate_batch)
    no_rows = np.arange(0)
    splits = [dataset.Split(no_rows, np.arange(count), no_rows) for count in (1207, 1207)]
    validation = validate(None, lambda rows: rows, splits, None)
    assert validation["loss"] == pytest.approx([603, 603])
    assert [len(set(evaluated_rows)) for evaluated_rows in np.concatenate(evaluated_batches, axis=1)] == [1207, 1207]
    splits[1] = dataset.Split(no_rows, np.arange(2414), no_rows)
    assert validate(None, lambda rows: rows, splits, None)["loss"][1] == 1206


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_training(small_dataset, split, tmp_path):
    broken_dataset = small_dataset._replace(
        pdf=np.where(np.arange(len(small_dataset.pdf))[:, None] == split.train[0], np.nan, small_dataset.pdf)
    )
    with pytest.raises(FloatingPointError, match=r"Expected finite losses, got .* in epoch 1"):
        training.fit(broken_dataset, [split], CONFIG, folder=tmp_path)


@pytest.mark.slow
def test_four_devices_train_as_one(uninterrupted_run, dataset_path, tmp_path):
    """The losses agree to single precision with four simulated devices."""
    _, _, folder = uninterrupted_run
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    script = "import jax; assert jax.device_count() == 4\n" + TRAINING_SCRIPT.format("stop_after=2")
    subprocess.run([sys.executable, "-c", script, dataset_path, tmp_path], check=True, env=environment)
    lines = [read_metrics(run_folder)[:2] for run_folder in (folder, tmp_path)]
    losses = [[line[name] for line in run_lines for name in ("loss", "validation_loss")] for run_lines in lines]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[0][2] < losses[0][0]


def test_a_weight_rises_evenly_over_its_warm_up():
    rising_options = TrainOptions(beta=0.01, warmup=4, pdf=0.5, pdf_warmup=2)
    weights = [training.scheduled_weights(rising_options, epoch) for epoch in (1, 2, 4, 9)]
    np.testing.assert_allclose([epoch_weights.beta for epoch_weights in weights], [0.0025, 0.005, 0.01, 0.01])
    np.testing.assert_allclose([epoch_weights.pdf for epoch_weights in weights], [0.25, 0.5, 0.5, 0.5])
    assert training.scheduled_weights(TrainOptions(warmup=0), 0.1).beta == pytest.approx(0.01)
    assert training.scheduled_weights(TrainOptions(warmup=0.5, beta=0.3), 0.25).beta == pytest.approx(0.15)


@pytest.mark.slow
def test_a_weight_rises_within_the_only_epoch(small_dataset, split, tmp_path):
    betas = []

    def record_step(state, batch, key, weights, **keywords):
        betas.append(float(weights.beta))
        return training.train_step(state, batch, key, weights, **keywords)

    training.fit(small_dataset, [split], CONFIG, folder=tmp_path, stop_after=1, take_step=record_step)
    steps = len(split.train) // CONFIG.batch
    np.testing.assert_allclose(betas, CONFIG.beta * np.arange(1, steps + 1) / steps / CONFIG.warmup, rtol=1e-5)


def test_the_learning_rate_falls_to_zero_as_a_cosine_if_asked():
    params = jnp.ones(1)
    for use_cosine, last_rate in ((False, 1e-3), (True, 0.0)):
        optimiser = training.optimiser(TrainOptions(rate=1e-3, epochs=2, cosine=use_cosine), steps_per_epoch=5)
        state, step_sizes = optimiser.init(params), []
        for _ in range(11):
            update, state = optimiser.update(params, state, params)
            step_sizes.append(-float(update[0]))
        assert step_sizes[0] == pytest.approx(1e-3, rel=1e-4) and step_sizes[-1] == pytest.approx(last_rate, abs=1e-8)


def test_a_batch_larger_than_the_data_is_refused(small_dataset, tmp_path):
    split = dataset.Split(np.arange(8), np.arange(8, 10), np.arange(0))
    with pytest.raises(ValueError, match="Expected at least 16 PDFs to train on, got 8; lower --batch"):
        training.fit(small_dataset, [split], CONFIG, folder=tmp_path)
