"""Trainings that the experiments share. Each runs once, is kept in `runs/`, and is resumed if it was interrupted.

    python experiments/trainings.py --models cvae+pdf --splits random --latents 2   (one training; by default all)

All models of a split were meant to have the same compute in seconds on two cores. A step with the PDF term of the
distances was assumed to cost 4/3 of a step without the term, and a step with the term of the coordinates five times as
much. Models with the term therefore have fewer epochs. In fact a step with the term of the distances costs 1.6 times
the processor time of a step without it, and more wall-clock time. On the random split this model has at least 1.2 times
the compute of the model without the term. Weights (see `TrainOptions`), learning rate and epochs were chosen with the
validation sets only. The seeds of a group are trained together. Another group adds seeds to those already trained.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import json_rows

from jaxstruc.cli import progress
from jaxstruc.network.cvae import dataset, training
from jaxstruc.network.cvae.dataset import Dataset, Split
from jaxstruc.network.cvae.model import CVAE, model_sizes_from_options
from jaxstruc.options.training import Preset, TrainOptions

RUNS = Path(__file__).parents[1] / "runs" / "experiments"
PDF_TERM = {"pdf": 3.0, "pdf_warmup": 10}
MODELS: dict[str, dict[str, Any]] = {
    "dae": {"model": "dae"},
    "cvae": {},
    "cvae+pdf": PDF_TERM,
    "cvae+pdf-coordinates": {**PDF_TERM, "pdf_through": "coordinates"},
}
SPLITS: dict[str, Preset] = {"random": "kdd", "shape": "kdd-shapes"}
EPOCHS = {
    "random": {"dae": 48, "cvae": 48, "cvae+pdf": 36, "cvae+pdf-coordinates": 8},
    "shape": {"dae": 3, "cvae": 3, "cvae+pdf": 2, "cvae+pdf-coordinates": 1},
}
"""Number of epochs of each split and model. The data set `kdd-shapes` has nineteen times as many training PDFs."""
SEED_GROUPS = ((0, 1, 2), (3, 4))
"""Groups of seeds that are trained together."""


class TrainingPlan(NamedTuple):
    """The plan of a training of several seeds, with its folder."""

    config: TrainOptions
    folder: Path

    def with_seeds(self, seeds: tuple[int, ...]) -> "TrainingPlan":
        """Return the same training with other seeds."""
        return self._replace(config=dataclasses.replace(self.config, seeds=seeds))


class TrainedModels(NamedTuple):
    """The trained models of several seeds, with their splits."""

    params: list[Any]
    """Parameters of the model of each seed."""
    splits: list[Split]
    network: CVAE
    plan: TrainingPlan

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the training."""
        return self.plan.config.all_seeds


def training_plan(model: str, split: str, latent: int, *, quick: bool = False, runs: Path = RUNS) -> TrainingPlan:
    """Return the plan of the training of all seeds.

    In short trainings the weight beta rises over half of the training and the PDF term over a third. A training stops
    early after a quarter of its epochs without improvement, and not sooner, because the learning rate falls until the
    end.
    """
    epochs = 2 if quick else EPOCHS[split][model]
    seeds = (0,) if quick else tuple(seed for group in SEED_GROUPS for seed in group)
    model_options = {**MODELS[model], "pdf_warmup": min(MODELS[model].get("pdf_warmup", 0), epochs / 3)}
    config = TrainOptions(
        preset=SPLITS[split], split=split, latent=latent, seeds=seeds, batch=20, rate=2e-3, cosine=True,
        warmup=min(5, epochs / 2), epochs=epochs, patience=max(2, epochs // 4), radius=100.0, presence=5.0, beta=0.3,
        **model_options,
    )  # fmt: skip
    return TrainingPlan(config, runs / f"{SPLITS[split]}-{split}-{model}-H{latent}")


def load_dataset(split: str) -> Dataset:
    """Return the data set of a split."""
    return dataset.generate(SPLITS[split], seed=0)


def seed_group_plans(plan: TrainingPlan) -> list[TrainingPlan]:
    """Return the plans of all groups of seeds, each with its own folder."""
    group_seeds = [tuple(seed for seed in group if seed in plan.config.all_seeds) for group in SEED_GROUPS]
    return [
        plan.with_seeds(seeds)._replace(folder=plan.folder / f"seeds-{'-'.join(map(str, seeds))}")
        for seeds in group_seeds
        if seeds
    ]


def train_or_read(
    data: Dataset,
    plan: TrainingPlan,
    *,
    quick: bool = False,
    split_data: Callable[..., Split] = dataset.split,
    network: CVAE | None = None,
) -> TrainedModels:
    """Return the models of a training, which are read if it is finished and trained otherwise.

    Args:
        data: Data set.
        plan: Plan of the training.
        quick: Whether only few PDFs are used.
        split_data: Function that splits the data set, see `dataset.split`.
        network: Network that is trained, by default that of the plan's options.
    """
    network = network or CVAE(model_sizes_from_options(plan.config))
    params, splits = [], []
    for config, folder in seed_group_plans(plan):
        seed_splits = [split_data(data, strategy=config.split, seed=seed) for seed in config.all_seeds]
        if quick:
            seed_splits = [
                Split(seed_split.train[:40], seed_split.validation[:20], seed_split.test[:20])
                for seed_split in seed_splits
            ]
        with progress.progress_bar(f"{plan.folder.name} {folder.name}") as advance_bar:

            def report(epoch, metrics, advance_bar=advance_bar, epochs=config.epochs):
                advance_bar(epoch, epochs, f"validation loss {metrics['validation_loss']:.3f}")

            params += training.fit(data, seed_splits, config, folder=folder, report_progress=report, network=network)[0]
        splits += seed_splits
    return TrainedModels(params, splits, network, plan)


class TrainingSource(NamedTuple):
    """The functions from which experiments get plans, data sets and trained models."""

    make_plan: Callable[..., TrainingPlan] = training_plan
    load_dataset: Callable[[str], Dataset] = load_dataset
    train_or_read: Callable[..., TrainedModels] = train_or_read


SHARED_TRAININGS = TrainingSource()
"""The trainings in `runs/`."""


def finished_plan(plan: TrainingPlan) -> TrainingPlan | None:
    """Return the plan restricted to seeds of finished groups, or None if no group is finished."""
    finished_seeds = tuple(
        seed for group in seed_group_plans(plan) if _is_finished(group) for seed in group.config.seeds
    )
    return plan.with_seeds(finished_seeds) if finished_seeds else None


def _is_finished(group: TrainingPlan) -> bool:
    """Return whether a group is finished: its metrics have ended, and the checkpoint of that epoch exists."""
    config, folder = group
    path = folder / "metrics.jsonl"
    lines = json_rows.read_lines(path)
    losses = [[line["validation_loss"] for line in lines if line["seed"] == seed] for seed in config.all_seeds]
    epoch = min(map(len, losses))
    if epoch == 0 or not (folder / "checkpoints" / str(epoch)).is_dir():
        return False
    return epoch >= config.epochs or all(
        _is_patience_exhausted(seed_losses[:epoch], config.patience) for seed_losses in losses
    )


def _is_patience_exhausted(losses: list[float], patience: int) -> bool:
    """Return whether the loss has not improved for `patience` epochs, by the rule of `training.fit`."""
    best_loss, epochs_waited = float("inf"), 0
    for loss in losses:
        best_loss, epochs_waited = (
            (loss, 0) if training.is_improved(loss, best_loss) else (best_loss, epochs_waited + 1)
        )
        if epochs_waited == patience:
            return True
    return False


def main() -> None:
    """Run all selected trainings that are not finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--latents", nargs="+", type=int, default=[2, 8])
    parser.add_argument(
        "--groups", nargs="+", type=int, default=[*range(len(SEED_GROUPS))], help="indices of the groups of seeds [0 1]"
    )
    options = parser.parse_args()
    for split in options.splits:
        data = load_dataset(split)
        for latent in options.latents:
            for model in options.models:
                seeds = tuple(seed for group in options.groups for seed in SEED_GROUPS[group])
                train_or_read(data, training_plan(model, split, latent).with_seeds(seeds))


if __name__ == "__main__":
    main()
