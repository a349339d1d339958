import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc import dataset, files, settings, trained, training
from jaxstruc.model import CVAE, Decoded


@pytest.fixture(scope="module")
def data():
    """A few PDFs of the `real` preset."""
    whole = dataset.generate("real", seed=0, draws=1)
    some = slice(0, None, 20)
    return whole._replace(
        shape=whole.shape[some],
        bond=whole.bond[some],
        element=whole.element[some],
        conditions=jax.tree.map(lambda column: column[some], whole.conditions),
        pdf=whole.pdf[some],
    )


@pytest.fixture(scope="module")
def stored(data, tmp_path_factory):
    """The same in a file, for other processes."""
    path = tmp_path_factory.mktemp("data") / "few.h5"
    dataset.write(data, path)
    return path


@pytest.fixture(scope="module")
def parts(data):
    return dataset.split(data, by="random", seed=0)


def config(folder, **changes):
    return settings.Train(out=folder, batch=16, rate=3e-4, warmup=2, **{"epochs": 4, **changes})


def stacked(params):
    return jax.tree.map(lambda leaf: leaf[None], params)


@pytest.fixture(scope="module")
def unbroken(data, parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    (params,), progress = training.fit(data, [parts], config(folder))
    return params, progress, folder


def test_the_validation_loss_falls(unbroken):
    _, _, folder = unbroken
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["validation_loss"] < 0.8 * lines[0]["validation_loss"]
    assert {"pair", "satellite", "radius", "presence", "kl", "gradient"} <= set(lines[0])


def test_resuming_gives_the_parameters_of_an_unbroken_run(unbroken, data, parts, tmp_path):
    params, progress, folder = unbroken
    training.fit(data, [parts], config(tmp_path), stop_after=2)
    (resumed,), end = training.fit(data, [parts], config(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, resumed, params)
    jax.tree.map(np.testing.assert_array_equal, end, progress)
    assert (tmp_path / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


def killed(stored, folder, pattern):
    """Train in another process and kill it as soon as there is such a file in the folder; return whether there was."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_training as here\n"
        "data = here.dataset.read(Path(sys.argv[2])); parts = here.dataset.split(data, by='random', seed=0)\n"
        "here.training.fit(data, [parts], here.config(Path(sys.argv[3])))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, Path(__file__).parent, stored, folder])
    while process.poll() is None and not (seen := any(folder.glob(pattern))):
        time.sleep(0.0005)
    process.kill()
    process.wait()
    return seen


def test_a_run_killed_while_it_writes_ends_as_an_unbroken_one(unbroken, data, stored, parts, tmp_path):
    params, progress, folder = unbroken
    assert killed(stored, tmp_path, "checkpoints/2.*tmp*")  # the second checkpoint is being written
    assert not (tmp_path / "checkpoints" / "2").exists()
    assert killed(stored, tmp_path, "checkpoints/3*")  # the third, or the second is being deleted
    (resumed,), end = training.fit(data, [parts], config(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, resumed, params)
    jax.tree.map(np.testing.assert_array_equal, end, progress)
    assert (tmp_path / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


def test_seeds_trained_together_are_those_trained_alone(unbroken, data, tmp_path):
    _, _, folder = unbroken
    several = config(tmp_path, seeds=(3, 0), epochs=2)
    params, progress = training.fit(data, [dataset.split(data, by="random", seed=seed) for seed in (3, 0)], several)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["seed"]) for line in lines] == [(1, 3), (1, 0), (2, 3), (2, 0)]
    alone = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for name in ("loss", "validation_loss", "gradient"):
        np.testing.assert_allclose([line[name] for line in lines[1::2]], [line[name] for line in alone[:2]], rtol=1e-4)
        assert lines[0][name] != lines[1][name]
    assert len(params) == 2 and list(progress.best_epoch) == [2, 2]
    card = trained.card(data, dataset.split(data, by="random", seed=3), several, progress, at=0)
    assert card["name"] == "real-H2-seed3" and "--seeds 3 0" in card["command"]


def test_a_run_with_other_settings_is_not_overwritten(unbroken, data, parts):
    _, _, folder = unbroken
    with pytest.raises(ValueError, match=r"to have rate 0\.1, got 0\.0003"):
        training.fit(data, [parts], replace(config(folder), rate=0.1))


def test_epochs_without_improvement_end_the_training_and_keep_the_best(data, parts, tmp_path):
    """Far too high a rate: the loss rises after some epochs, and the best parameters outlive the steps after them."""
    settings_ = settings.Train(out=tmp_path, batch=16, rate=0.02, warmup=0, epochs=30, patience=2)
    (params,), progress = training.fit(data, [parts], settings_)
    assert progress.epoch == progress.best_epoch[0] + 2 < 30
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    network = CVAE(training.sizes(settings_))
    key = jax.random.split(jax.random.key(0), 3)[2]
    gather = training._gatherer(data, network.sizes)
    again = training.validate(stacked(params), gather, [parts], key[None], network=network, config=settings_)
    assert again["loss"][0] == pytest.approx(lines[progress.best_epoch[0] - 1]["validation_loss"], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_training(data, parts, tmp_path):
    broken = data._replace(pdf=np.where(np.arange(len(data.pdf))[:, None] == parts.train[0], np.nan, data.pdf))
    with pytest.raises(FloatingPointError, match=r"Expected finite losses, got .* in epoch 1"):
        training.fit(broken, [parts], config(tmp_path))


@pytest.mark.parametrize("through", ["distances", "coordinates"])
def test_the_pdf_term_is_zero_for_the_true_structure_and_has_a_right_gradient(data, through, x64, monkeypatch):
    term = training.PDF_TERMS[through]
    monkeypatch.setattr(training, "TOLERANCE", 1e-11)
    monkeypatch.setattr(training, "STEPS", 500)
    features = dataset.shape_features(data.shapes[:1], atoms=20, satellites=4)
    row = int(np.flatnonzero(data.shape == 0)[0])
    double = lambda x: jnp.asarray(x, jnp.float64)  # noqa: E731
    conditions = jax.tree.map(lambda column: double(column[row]), data.conditions)._replace(noise=double(0.0))
    table = jax.tree.map(lambda column: double(column[:1]), dataset.distance_table(data.shapes))
    pdf = dataset.simulate(
        table,
        double(data.bond[row])[None],
        jax.tree.map(lambda x: x[None], conditions),
        jax.random.split(jax.random.key(0), 1),
    )[0]
    true = Decoded(
        pair=double(features.pair[0]),
        satellite=double(features.satellite[0]),
        presence=jnp.where(features.presence[0], 30.0, -30.0),
        log_radius=jnp.log(double(features.radius[0] * data.bond[row])),
    )
    assert float(term(true, pdf, conditions)) < 1e-6
    wrong = true._replace(
        pair=true.pair * (1 + 0.05 * jnp.cos(jnp.arange(400.0)).reshape(20, 20)), presence=true.presence / 10
    )
    difference = jax.jit(lambda decoded: term(decoded, pdf, conditions))
    gradient = jax.jit(jax.grad(difference))(wrong)
    names = {
        "distances": ("pair", "presence", "log_radius"),
        "coordinates": ("pair", "satellite", "presence", "log_radius"),
    }[through]
    for name in names:
        slope = jnp.where(getattr(wrong, name) != 0, getattr(gradient, name), 0.0)  # padding: |d| has a kink at 0
        assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-6, name
        step = 1e-6 * jnp.sign(slope)
        ends = [difference(wrong._replace(**{name: getattr(wrong, name) + s * step})) for s in (1, -1)]
        assert float(jnp.sum(jnp.abs(slope))) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-4)


def test_the_pdf_term_enters_the_loss(data, parts):
    sizes = settings.Model(latent=2)
    network = CVAE(sizes)
    gather = training._gatherer(data, sizes)
    batch = gather(parts.train[:2])
    key = jax.random.key(0)
    params = network.init(key, batch.features, batch.pdf, key)
    with_term = config(None, pdf=0.5)
    whole = partial(training.loss, network=network, beta=0.01, pdf=0.5)
    (total, pieces), gradient = jax.jit(jax.value_and_grad(partial(whole, config=with_term), has_aux=True))(
        params, batch, key
    )
    without, _ = jax.jit(partial(whole, config=config(None)))(params, batch, key)
    assert float(total) == pytest.approx(float(without + 0.5 * pieces["pdf"]), rel=1e-4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_weights_come_back_with_their_card(unbroken, data, parts, tmp_path):
    params, progress, _ = unbroken
    card = trained.card(data, parts, config(tmp_path), progress)
    trained.save(tmp_path / "w.safetensors", params, card)
    back, read = trained.load(tmp_path / "w.safetensors")
    assert read == card | {"sha256": files.sha256(tmp_path / "w.safetensors")}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), back, params)
    assert "jaxstruc train" in card["command"] and "--batch 16" in card["command"]
    assert card["limits"]["relative_diameter"] == pytest.approx(5.657, abs=1e-3)


def test_weights_without_a_card_are_refused(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"Expected weights and their \.json card"):
        trained.load(tmp_path / "w.safetensors")


def test_four_devices_train_as_one(stored, tmp_path):
    """The same losses to single precision, with four simulated devices."""
    code = (
        "import sys; from pathlib import Path; import jax; from jaxstruc import dataset, settings, training\n"
        "assert jax.device_count() == int(sys.argv[1])\n"
        "data = dataset.read(Path(sys.argv[2])); parts = dataset.split(data, by='random', seed=0)\n"
        "parts = parts._replace(train=parts.train[:32], validation=parts.validation[:8])\n"
        "config = settings.Train(out=Path(sys.argv[3]), batch=16, epochs=2, rate=1e-3)\n"
        "training.fit(data, [parts], config)\n"
    )
    losses = []
    for devices in (1, 4):
        folder = tmp_path / str(devices)
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        subprocess.run([sys.executable, "-c", code, str(devices), stored, folder], check=True, env=environment)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines] + [line["validation_loss"] for line in lines])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[0][1] < losses[0][0]
