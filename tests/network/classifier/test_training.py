import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from simple_training_stream import SHORT_TRAINING, SMALL_CLASSIFIER, simulate_simple_batch

from jaxstruc.network.classifier import training
from jaxstruc.network.classifier.particles import DEFAULT_COMPOSITION, MIN_ATOMS
from jaxstruc.options.training import TrainClassifierOptions

train_small_classifier = partial(
    training.train_classifier,
    task=training.TrainingTask(SMALL_CLASSIFIER, simulate_simple_batch),
    checkpoint_interval=10,
)


def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path):
    """The weights agree to the last bit, and the loss decreases."""
    scale = jnp.float32(1.0)
    uninterrupted_params, metrics = train_small_classifier(scale, SHORT_TRAINING, folder=tmp_path / "a")
    train_small_classifier(
        scale, SHORT_TRAINING, folder=tmp_path / "b", stop_after=14
    )  # four steps after the checkpoint
    reported_steps = []
    resumed_params, _ = train_small_classifier(
        jnp.float32(1.0),
        SHORT_TRAINING,
        folder=tmp_path / "b",
        report_progress=lambda step, metrics: reported_steps.append(step),
    )
    assert reported_steps == [20, 30] and metrics["right"] > 0.2
    for leaf, resumed_leaf in zip(jax.tree.leaves(uninterrupted_params), jax.tree.leaves(resumed_params), strict=True):
        np.testing.assert_array_equal(leaf, resumed_leaf)
    lines = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30] and lines[-1]["loss"] < lines[0]["loss"]
    with pytest.raises(ValueError, match="or another --out"):
        train_small_classifier(scale, TrainClassifierOptions(steps=31, rate=0.02), folder=tmp_path / "b")


def test_a_training_starts_from_given_parameters(tmp_path):
    """The loss of the first steps is then lower than that of random parameters, and the given ones do not change."""
    scale = jnp.float32(1.0)
    params, metrics = train_small_classifier(scale, SHORT_TRAINING, folder=tmp_path / "a")
    first_leaf = np.array(jax.tree.leaves(params)[0])
    first_losses = [
        train_small_classifier(scale, SHORT_TRAINING, folder=tmp_path / name, start_params=start, stop_after=10)[1][
            "loss"
        ]
        for name, start in (("b", None), ("c", params))
    ]
    assert first_losses[1] < first_losses[0] and metrics["loss"] < first_losses[0]
    np.testing.assert_array_equal(jax.tree.leaves(params)[0], first_leaf)


def test_a_nan_loss_stops_the_training(tmp_path):
    with pytest.raises(FloatingPointError, match=r"\b10\b.*lower --rate"):
        train_small_classifier(jnp.float32(np.nan), SHORT_TRAINING, folder=tmp_path)


def test_the_card_states_how_many_pdfs_were_seen_and_rounds_the_metrics():
    card = training.classifier_card(SHORT_TRAINING, {"loss": 1 / 3}, command="jaxstruc train-classifier")
    assert card["pdfs"] == 30 * DEFAULT_COMPOSITION.n_samples and card["metrics"] == {"loss": 0.33333}
    assert card["name"] == "classifier-seed0" and card["config"]["steps"] == 30
    assert card["data"]["atoms of cuts"] == [MIN_ATOMS, max(DEFAULT_COMPOSITION.atom_capacities)]
    assert json.loads(json.dumps(card)) == card
