import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.network import checkpoints, dataset, training
from jaxstruc.network.config import sizes
from jaxstruc.network.model import CVAE
from jaxstruc.options.training import TrainOptions


@pytest.fixture(scope="module")
def stored(few, tmp_path_factory):
    """The data in a file, for other processes."""
    path = tmp_path_factory.mktemp("data") / "few.h5"
    dataset.write(few, path)
    return path


@pytest.fixture(scope="module")
def parts(few):
    return dataset.split(few, by="random", seed=0)


CONFIG = TrainOptions(batch=16, rate=3e-4, warmup=2, epochs=4)
ELSEWHERE = """
import sys
from pathlib import Path
from jaxstruc.network import dataset, training
from jaxstruc.options.training import TrainOptions
data = dataset.read(Path(sys.argv[1])); parts = dataset.split(data, by="random", seed=0)
training.fit(data, [parts], TrainOptions(batch=16, rate=3e-4, warmup=2, epochs=4), folder=Path(sys.argv[2]), {})
"""
"""The same fit in another process: the data and the folder, and what else is given to `fit`."""


def stacked(params):
    return jax.tree.map(lambda leaf: leaf[None], params)


@pytest.fixture(scope="module")
def unbroken(few, parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    (params,), progress = training.fit(few, [parts], CONFIG, folder=folder)
    return params, progress, folder


def metrics(folder):
    """Return the lines of a run's metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_validation_loss_falls(unbroken):
    _, _, folder = unbroken
    lines = metrics(folder)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["validation_loss"] < 0.8 * lines[0]["validation_loss"]
    assert {"pair", "satellite", "radius", "presence", "kl", "gradient"} <= set(lines[0])


@pytest.mark.slow
def test_resuming_gives_the_parameters_of_an_unbroken_run(unbroken, few, parts, tmp_path):
    params, progress, folder = unbroken
    training.fit(few, [parts], CONFIG, folder=tmp_path, stop_after=2)
    (resumed,), end = training.fit(few, [parts], CONFIG, folder=tmp_path)
    chex.assert_trees_all_equal(resumed, params)
    chex.assert_trees_all_equal(end, progress)
    assert (tmp_path / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


def killed(stored, folder, pattern):
    """Train in another process and kill it as soon as there is such a file in the folder; return whether there was."""
    code = ELSEWHERE.format("stop_after=None")
    process = subprocess.Popen([sys.executable, "-c", code, stored, folder])
    while process.poll() is None and not (seen := any(folder.glob(pattern))):
        time.sleep(0.0005)
    process.kill()
    process.wait()
    return seen


@pytest.mark.slow
@pytest.mark.long
def test_a_run_killed_while_it_writes_ends_as_an_unbroken_one(unbroken, few, stored, parts, tmp_path):
    params, progress, folder = unbroken
    assert killed(stored, tmp_path, "checkpoints/2.*tmp*")  # the second checkpoint is being written
    assert not (tmp_path / "checkpoints" / "2").exists()
    assert killed(stored, tmp_path, "checkpoints/3*")  # the third, or the second is being deleted
    (resumed,), end = training.fit(few, [parts], CONFIG, folder=tmp_path)
    chex.assert_trees_all_equal(resumed, params)
    chex.assert_trees_all_equal(end, progress)
    assert (tmp_path / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_seeds_trained_together_are_those_trained_alone(unbroken, few, tmp_path):
    _, _, folder = unbroken
    several = replace(CONFIG, seeds=(3, 0))
    splits = [dataset.split(few, by="random", seed=seed) for seed in (3, 0)]
    params, progress = training.fit(few, splits, several, folder=tmp_path, stop_after=2)
    lines, alone = metrics(tmp_path), metrics(folder)
    assert [(line["epoch"], line["seed"]) for line in lines] == [(1, 3), (1, 0), (2, 3), (2, 0)]
    for name in ("loss", "validation_loss", "gradient"):
        np.testing.assert_allclose([line[name] for line in lines[1::2]], [line[name] for line in alone[:2]], rtol=1e-4)
        assert lines[0][name] != lines[1][name]
    assert len(params) == 2 and list(progress.best_epoch) == [2, 2]


def test_a_run_with_other_settings_is_not_overwritten(few, parts, tmp_path):
    checkpoints.claim(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"to have rate 0\.1, got 0\.0003"):
        training.fit(few, [parts], replace(CONFIG, rate=0.1), folder=tmp_path)


@pytest.mark.slow
def test_epochs_without_improvement_end_the_training_and_keep_the_best(unbroken, few, parts, tmp_path, monkeypatch):
    """The validation is told to rise after the second epoch: its parameters outlive the steps after it."""
    told, validate = iter([3.0, 1.0, 2.0, 1.5]), training.validate
    monkeypatch.setattr(
        training, "validate", lambda *given, **named: validate(*given, **named) | {"loss": np.array([next(told)])}
    )
    patient = replace(CONFIG, epochs=30, patience=2)
    (params,), progress = training.fit(few, [parts], patient, folder=tmp_path)
    assert progress.epoch == 4 and progress.best_epoch[0] == 2 and progress.best[0] == 1.0
    network = CVAE(sizes(patient))
    key = jax.random.split(jax.random.key(0), 3)[2]
    gather = training._gatherer(few, network.sizes)
    again = validate(stacked(params), gather, [parts], key[None], network=network, config=patient)
    lines = metrics(unbroken[2])
    assert again["loss"][0] == pytest.approx(lines[1]["validation_loss"], rel=1e-5)
    assert lines[1]["validation_loss"] != pytest.approx(lines[3]["validation_loss"], rel=1e-3)


@pytest.mark.slow
def test_a_loss_that_all_but_stops_falling_ends_the_training(few, parts, tmp_path, monkeypatch):
    """Each epoch a part in a million better than the one before: no reason to go on."""
    told = iter(1 - 1e-6 * np.arange(30))
    monkeypatch.setattr(training, "validate", lambda *_, **__: {"loss": np.array([next(told)])})
    progress = training.fit(few, [parts], replace(CONFIG, epochs=30, patience=2), folder=tmp_path)[1]
    assert progress.epoch == 3 and progress.best_epoch[0] == 1


def test_small_gains_count_once_they_add_up_to_a_thousandth():
    assert training.improved(0.9989, 1.0) and not training.improved(0.9991, 1.0)
    np.testing.assert_array_equal(training.improved(np.array([1.0, 2.0]), np.array([np.inf, 2.0])), [True, False])


def test_each_pdf_is_validated_as_often_as_any_other(monkeypatch):
    """The rows that are left over from whole batches too; of a longer list, as many from either end."""
    seen = []

    def evaluated(params, batch, keys, **_):
        seen.append(batch)
        return {"loss": batch.mean(axis=1)}

    monkeypatch.setattr(training, "_evaluate", evaluated)
    nothing = np.arange(0)
    splits = [dataset.Split(nothing, np.arange(count), nothing) for count in (1207, 1207)]
    found = training.validate(None, lambda rows: rows, splits, None, network=None, config=CONFIG)
    assert found["loss"] == pytest.approx([603, 603])
    assert [len(set(each)) for each in np.concatenate(seen, axis=1)] == [1207, 1207]
    splits[1] = dataset.Split(nothing, np.arange(2414), nothing)
    assert training.validate(None, lambda rows: rows, splits, None, network=None, config=CONFIG)["loss"][1] == 1206


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_training(few, parts, tmp_path):
    broken = few._replace(pdf=np.where(np.arange(len(few.pdf))[:, None] == parts.train[0], np.nan, few.pdf))
    with pytest.raises(FloatingPointError, match=r"Expected finite losses, got .* in epoch 1"):
        training.fit(broken, [parts], CONFIG, folder=tmp_path)


@pytest.mark.slow
def test_four_devices_train_as_one(unbroken, stored, tmp_path):
    """The same losses to single precision, with four simulated devices."""
    _, _, folder = unbroken
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    code = "import jax; assert jax.device_count() == 4\n" + ELSEWHERE.format("stop_after=2")
    subprocess.run([sys.executable, "-c", code, stored, tmp_path], check=True, env=environment)
    lines = [metrics(where)[:2] for where in (folder, tmp_path)]
    losses = [[line[name] for line in each for name in ("loss", "validation_loss")] for each in lines]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[0][2] < losses[0][0]


def test_a_weight_rises_evenly_over_its_warm_up():
    rising = TrainOptions(beta=0.01, warmup=4, pdf=0.5, pdf_warmup=2)
    weights = [training.scheduled(rising, epoch) for epoch in (1, 2, 4, 9)]
    np.testing.assert_allclose([w.beta for w in weights], [0.0025, 0.005, 0.01, 0.01])
    np.testing.assert_allclose([w.pdf for w in weights], [0.25, 0.5, 0.5, 0.5])
    assert training.scheduled(TrainOptions(warmup=0), 0.1).beta == pytest.approx(0.01)
    assert training.scheduled(TrainOptions(warmup=0.5, beta=0.3), 0.25).beta == pytest.approx(0.15)


@pytest.mark.slow
def test_a_weight_rises_within_the_only_epoch(few, parts, tmp_path, monkeypatch):
    step, seen = training.train_step, []

    def recorded(state, batch, key, weights, **named):
        seen.append(float(weights.beta))
        return step(state, batch, key, weights, **named)

    monkeypatch.setattr(training, "train_step", recorded)
    training.fit(few, [parts], CONFIG, folder=tmp_path, stop_after=1)
    steps = len(parts.train) // CONFIG.batch
    np.testing.assert_allclose(seen, CONFIG.beta * np.arange(1, steps + 1) / steps / CONFIG.warmup, rtol=1e-5)


def test_the_learning_rate_falls_to_zero_as_a_cosine_where_asked():
    params = jnp.ones(1)
    for cosine, last in ((False, 1e-3), (True, 0.0)):
        adam = training.optimiser(TrainOptions(rate=1e-3, epochs=2, cosine=cosine), steps_per_epoch=5)
        state, moves = adam.init(params), []
        for _ in range(11):
            update, state = adam.update(params, state, params)
            moves.append(-float(update[0]))
        assert moves[0] == pytest.approx(1e-3, rel=1e-4) and moves[-1] == pytest.approx(last, abs=1e-8)


def test_a_batch_larger_than_the_data_is_refused(few, tmp_path):
    parts = dataset.Split(np.arange(8), np.arange(8, 10), np.arange(0))
    with pytest.raises(ValueError, match="Expected at least 16 PDFs to train on, got 8; lower --batch"):
        training.fit(few, [parts], CONFIG, folder=tmp_path)
