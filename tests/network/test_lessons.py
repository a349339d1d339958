import json

import jax
import numpy as np
import pytest
from taught import SMALL, easy

from jaxstruc.network import endless, lessons
from jaxstruc.options.training import TrainClassifierOptions

CONFIG = TrainClassifierOptions(steps=30, rate=0.02)


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr(endless, "batch", easy)
    monkeypatch.setattr(lessons, "KEPT", 10)


def test_a_broken_off_training_ends_as_an_unbroken_one(own, tmp_path):
    """Bit for bit; and it learns what is easy."""
    whole, metrics = lessons.taught(None, CONFIG, folder=tmp_path / "a", module=SMALL)
    lessons.taught(None, CONFIG, folder=tmp_path / "b", module=SMALL, stop_after=14)  # four steps after the checkpoint
    said = []
    again, _ = lessons.taught(
        None, CONFIG, folder=tmp_path / "b", module=SMALL, report=lambda step, metrics: said.append(step)
    )
    assert said == [20, 30] and metrics["right"] > 0.2
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    lines = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30] and lines[-1]["loss"] < lines[0]["loss"]
    with pytest.raises(ValueError, match="pass another --out"):
        lessons.taught(None, TrainClassifierOptions(steps=31, rate=0.02), folder=tmp_path / "b", module=SMALL)


def test_a_loss_that_is_no_number_ends_it(own, tmp_path, monkeypatch):
    monkeypatch.setattr(endless, "batch", lambda key, own: easy(key, own)._replace(pdf=easy(key, own).pdf * np.nan))
    with pytest.raises(FloatingPointError, match="lower --rate"):
        lessons.taught(None, TrainClassifierOptions(steps=31), folder=tmp_path, module=SMALL)
