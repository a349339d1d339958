"""What the figures of trained models share: options, the trained model, its test PDFs, rows."""

import argparse
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import rows
import table1_reconstruction
import trainings
from table1_reconstruction import number
from trainings import Trained

from jaxstruc.network.dataset import Conditions, Dataset

RESULTS = Path(__file__).parent / "results"


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """Return the options that every figure has."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--quick", action="store_true", help="a tiny training, under 50 s; writes nothing by itself")
    result.add_argument("--split", default="random", choices=list(trainings.SPLITS), help="[random]")
    result.add_argument("--out", type=Path, help=f"[results/{name}.jsonl, but not with --quick]; a .png beside it")
    return result


def destination(options: argparse.Namespace, name: str) -> Path | None:
    """Return the file for the rows, none where nothing is to be written."""
    return options.out or (None if options.quick else RESULTS / f"{name}.jsonl")


def trained(data: Dataset, model: str, split: str, latent: int, *, quick: bool) -> Trained:
    """Return a shared training's outcome, which must be there; a quick one is made now and leaves no files."""
    if quick:
        with tempfile.TemporaryDirectory() as folder:
            return trainings.trained(
                data, trainings.planned(model, split, latent, quick=True, runs=Path(folder)), quick=True
            )
    plan = trainings.planned(model, split, latent)
    done = trainings.finished(plan)
    if done is None:
        command = f"python experiments/trainings.py --models {model} --splits {split} --latents {latent}"
        sys.exit(f"Expected a finished training in runs/experiments/{plan.folder.name}, got none; {command}")
    return trainings.trained(data, done)


def tested(run: Trained, at: int) -> np.ndarray:
    """Return the test PDFs of a training's seed number `at`, those of table 1."""
    return np.sort(table1_reconstruction.tested(run.splits[at], run.seeds[at]))


def conditions(data: Dataset, which: np.ndarray) -> Conditions:
    """Return the conditions of some PDFs."""
    return jax.tree.map(lambda column: column[which], data.conditions)


def counts(data: Dataset, which: np.ndarray) -> np.ndarray:
    """Return the number of atoms behind some PDFs."""
    return np.array([len(shape.positions) for shape in data.shapes])[data.shape[which]]


def rows_of(values: dict[str, np.ndarray], *, name: str, model: str, run: Trained, seed: int, **more) -> list[dict]:
    """Return a row a measure, with what it was made with, and print them."""
    config = run.plan.config
    shared = {"experiment": name, "dataset": config.preset, "latent": config.latent, "model": model}
    shared |= {"split": config.split, "seed": seed, **more}
    made_with = {"config": run.plan.config.recorded, "commit": rows.commit(), **rows.environment()}
    result = [{**shared, "metric": metric, **spread(each), **made_with} for metric, each in values.items()]
    for row in result:
        rows.show(row)
    return result


def spread(values: np.ndarray) -> dict[str, float | int | None]:
    """Return median and maximum of the finite values, beside what table 1 says of them."""
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    most = {"median": number(np.median(finite)), "max": number(finite.max())} if finite.size else {}
    return table1_reconstruction.spread(np.asarray(values, float)) | {"median": None, "max": None} | most
