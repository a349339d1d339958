import json
from dataclasses import replace

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.network.cvae import training
from jaxstruc.network.cvae.training import TrainingProgress, TrainingState
from jaxstruc.options.training import TrainOptions

CONFIG = TrainOptions(seeds=(3, 0), rate=3e-4)


def constant_state(value):
    """Return the state of a training with two seeds."""
    params = {"kernel": jnp.full((2, 3), value, jnp.float32)}
    return TrainingState(params, {"mean": params, "count": jnp.array([1, 2])}, jnp.array([5, 5], jnp.int32))


def test_the_last_checkpoint_comes_back_as_it_was(tmp_path):
    progress = TrainingProgress(2, np.array([0.25, np.inf]), np.array([1, 0]))
    with training.checkpoint_manager(tmp_path) as manager:
        training.save(manager, constant_state(1.0), constant_state(0.5).params, progress._replace(epoch=1))
        training.save(manager, constant_state(2.0), constant_state(0.7).params, progress)
    initial_progress = TrainingProgress(0, np.full(2, np.inf), np.zeros(2, int))
    with training.checkpoint_manager(tmp_path) as manager:
        restored_state, restored_best, restored_progress = training.restore(
            manager, constant_state(0.0), constant_state(0.0).params, initial_progress
        )
    chex.assert_trees_all_equal(
        (restored_state, restored_best, restored_progress), (constant_state(2.0), constant_state(0.7).params, progress)
    )
    assert (
        isinstance(restored_state, TrainingState)
        and isinstance(restored_progress, TrainingProgress)
        and restored_progress.epoch == 2
    )
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]


def test_a_new_run_starts_with_the_given_state(tmp_path):
    initial_progress = TrainingProgress(0, np.full(2, np.inf), np.zeros(2, int))
    with training.checkpoint_manager(tmp_path) as manager:
        restored_run = training.restore(manager, constant_state(0.0), constant_state(0.0).params, initial_progress)
    chex.assert_trees_all_equal(restored_run, (constant_state(0.0), constant_state(0.0).params, initial_progress))


def test_a_run_with_other_settings_is_not_overwritten(tmp_path):
    training.claim_folder(tmp_path, CONFIG)
    config_text = (tmp_path / "config.json").read_text()
    training.claim_folder(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"has rate 0\.0003, but the options have 0\.1"):
        training.claim_folder(tmp_path, replace(CONFIG, rate=0.1))
    assert (tmp_path / "config.json").read_text() == config_text and json.loads(config_text)["seeds"] == [3, 0]


def test_metrics_have_one_line_for_each_epoch_and_seed_and_end_at_the_checkpoint(tmp_path):
    for epoch in (1, 2, 3):
        training.log_metrics(tmp_path, CONFIG, epoch, {"loss": np.array([0.5, 0.25]) / epoch})
    training.cut_metrics(tmp_path, 4)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"epoch": epoch, "seed": seed, "loss": loss / epoch} for epoch in (1, 2) for seed, loss in ((3, 0.5), (0, 0.25))
    ]


def test_a_run_without_metrics_has_none_to_cut(tmp_path):
    training.cut_metrics(tmp_path, 0)
    assert not list(tmp_path.iterdir())
