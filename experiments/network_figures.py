"""Functions that the figures of trained models share: options, trained models, test PDFs and rows."""

import argparse
import sys
import tempfile
from pathlib import Path

import json_rows
import numpy as np
import table1_reconstruction
import trainings
from table1_reconstruction import finite_or_none
from trainings import TrainedModels, TrainingSource

from jaxstruc.network.cvae.dataset import Dataset

RESULTS = Path(__file__).parent / "results"


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """Return the parser of the options that every figure has."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--quick", action="store_true", help="run a tiny training in under 50 s, and write nothing without --out"
    )
    result.add_argument(
        "--split", default="random", choices=list(trainings.SPLITS), help="split of the data set [random]"
    )
    result.add_argument(
        "--out",
        type=Path,
        help=f"file of the rows [results/{name}.jsonl, but not with --quick], with a .png next to it",
    )
    return result


def destination(options: argparse.Namespace, name: str) -> Path | None:
    """Return the path of the rows, or None if nothing is written."""
    return options.out or (None if options.quick else RESULTS / f"{name}.jsonl")


def load_training(
    data: Dataset, model: str, split: str, latent: int, *, quick: bool, source: TrainingSource
) -> TrainedModels:
    """Return the models of a finished shared training, or with `quick` of a tiny training that leaves no files."""
    if quick:
        with tempfile.TemporaryDirectory() as folder:
            return source.train_or_read(
                data, source.make_plan(model, split, latent, quick=True, runs=Path(folder)), quick=True
            )
    plan = source.make_plan(model, split, latent)
    finished_plan = trainings.finished_plan(plan)
    if finished_plan is None:
        command = f"python experiments/trainings.py --models {model} --splits {split} --latents {latent}"
        sys.exit(f"Expected a finished training in runs/experiments/{plan.folder.name}, got none; run {command}")
    return source.train_or_read(data, finished_plan)


def select_test_pdfs(run: TrainedModels, seed_index: int) -> np.ndarray:
    """Return the test PDFs of table 1 for the seed with this index in a training."""
    return np.sort(table1_reconstruction.select_test_pdfs(run.splits[seed_index], run.seeds[seed_index]))


def atom_counts(data: Dataset, pdf_indices: np.ndarray) -> np.ndarray:
    """Return the number of atoms of the structures of these PDFs."""
    return np.array([len(shape.positions) for shape in data.shapes])[data.shape_index[pdf_indices]]


def measure_rows(
    values: dict[str, np.ndarray], *, name: str, model: str, run: TrainedModels, seed: int, **extra_columns
) -> list[dict]:
    """Print and return one row for each measure, with its provenance."""
    config = run.plan.config
    shared = {"experiment": name, "dataset": config.preset, "latent": config.latent, "model": model}
    shared |= {"split": config.split, "seed": seed, **extra_columns}
    provenance = {"config": run.plan.config.recorded_values, "commit": json_rows.commit(), **json_rows.environment()}
    result = [
        {**shared, "metric": metric, **extended_statistics(measure_values), **provenance}
        for metric, measure_values in values.items()
    ]
    for row in result:
        json_rows.print_row(row)
    return result


def extended_statistics(values: np.ndarray) -> dict[str, float | int | None]:
    """Return the summary statistics of table 1 with the median and maximum of the finite values."""
    finite_values = np.asarray(values, float)
    finite_values = finite_values[np.isfinite(finite_values)]
    median_and_max = (
        {"median": finite_or_none(np.median(finite_values)), "max": finite_or_none(finite_values.max())}
        if finite_values.size
        else {}
    )
    return (
        table1_reconstruction.summary_statistics(np.asarray(values, float))
        | {"median": None, "max": None}
        | median_and_max
    )
