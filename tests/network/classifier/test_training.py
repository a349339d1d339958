import json

import jax
import numpy as np
import pytest
from simple_training_stream import SMALL_CLASSIFIER, simulate_simple_batch

from jaxstruc.network.classifier import simulated_pdfs, training
from jaxstruc.options.training import TrainClassifierOptions

CONFIG = TrainClassifierOptions(steps=30, rate=0.02)


@pytest.fixture
def easy_stream(monkeypatch):
    monkeypatch.setattr(simulated_pdfs, "simulate_batch", simulate_simple_batch)
    monkeypatch.setattr(training, "CHECKPOINT_INTERVAL", 10)


def test_an_interrupted_training_ends_like_an_uninterrupted_one(easy_stream, tmp_path):
    """The weights agree to the last bit, and the loss decreases."""
    uninterrupted_params, metrics = training.train_classifier(
        None, CONFIG, folder=tmp_path / "a", module=SMALL_CLASSIFIER
    )
    training.train_classifier(
        None, CONFIG, folder=tmp_path / "b", module=SMALL_CLASSIFIER, stop_after=14
    )  # four steps after the checkpoint
    reported_steps = []
    resumed_params, _ = training.train_classifier(
        None,
        CONFIG,
        folder=tmp_path / "b",
        module=SMALL_CLASSIFIER,
        report_progress=lambda step, metrics: reported_steps.append(step),
    )
    assert reported_steps == [20, 30] and metrics["right"] > 0.2
    for leaf, resumed_leaf in zip(jax.tree.leaves(uninterrupted_params), jax.tree.leaves(resumed_params), strict=True):
        np.testing.assert_array_equal(leaf, resumed_leaf)
    lines = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30] and lines[-1]["loss"] < lines[0]["loss"]
    with pytest.raises(ValueError, match="or another --out"):
        training.train_classifier(
            None, TrainClassifierOptions(steps=31, rate=0.02), folder=tmp_path / "b", module=SMALL_CLASSIFIER
        )


def test_a_nan_loss_stops_the_training(easy_stream, tmp_path, monkeypatch):
    monkeypatch.setattr(
        simulated_pdfs,
        "simulate_batch",
        lambda key, easy_stream: simulate_simple_batch(key, easy_stream)._replace(
            pdf=simulate_simple_batch(key, easy_stream).pdf * np.nan
        ),
    )
    with pytest.raises(FloatingPointError, match="lower --rate"):
        training.train_classifier(None, TrainClassifierOptions(steps=31), folder=tmp_path, module=SMALL_CLASSIFIER)
