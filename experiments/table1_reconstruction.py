"""Reproduces table 1 of the KDD 2020 paper: PDFs of reconstructed structures against the true ones, DAE and CVAE.

    python experiments/table1_reconstruction.py             (hours on 2 cores; trained runs are kept and resumed)
    python experiments/table1_reconstruction.py --quick     (under 50 s: one model, two epochs: nothing to learn from)

Claim: the paper's CVAE and DAE reach Pearson 0.73 and 0.75; with the PDF-consistency term that the paper only proposes,
and with radius and presence among the decoder's outputs, the CVAE reaches R_p < 0.10 and Pearson > 0.97 on the paper's
random split, with no refinement. Each shape of that split's test set is in its training set; `kdd-shapes` split by
shape says what a model does with shapes that it has not seen, beside the nearest training PDF's structure as control.

One JSON line a row: the mean and standard deviation of one measure over the test structures of one run.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
import rows

from jaxstruc import dataset, evaluation, settings, training
from jaxstruc.model import CVAE

RESULTS = Path(__file__).parent / "results" / "table1_reconstruction.jsonl"
RUNS = Path(__file__).parents[1] / "runs" / "table1"
MODELS = {
    "dae": {"model": "dae"},
    "cvae": {},
    "cvae+pdf": {"pdf": 3.0, "pdf_warmup": 10},
    "cvae+pdf-coordinates": {"pdf": 3.0, "pdf_warmup": 10, "pdf_through": "coordinates"},
}
SPLITS = {"random": "kdd", "shape": "kdd-shapes"}
EPOCHS = {"kdd": 80, "kdd-shapes": 12}
"""kdd-shapes has eighteen times as many PDFs."""


def config_of(model: str, split: str, latent: int, seed: int, folder: Path, quick: bool) -> settings.Train:
    """Return the settings of one training."""
    data = SPLITS[split]
    return settings.Train(
        out=folder / f"{data}-{split}-{model}-H{latent}-seed{seed}",
        preset=data, split=split, latent=latent, seed=seed, batch=20, rate=1e-3, cosine=True, warmup=5,
        epochs=2 if quick else EPOCHS[data], **MODELS[model],
    )  # fmt: skip


def rows_of(values: dict[str, np.ndarray], shared: dict) -> list[dict]:
    """Return a row a measure."""
    finite = {name: np.asarray(each, float)[np.isfinite(np.asarray(each, float))] for name, each in values.items()}
    return [
        {**shared, "metric": name, "mean": float(each.mean()), "sd": float(each.std(ddof=1)), "n": len(each)}
        for name, each in finite.items()
    ]


def evaluate(params, network: CVAE, data, test: np.ndarray, *, draw: bool) -> dict[str, np.ndarray]:
    """Return the measures of each test structure."""
    pdf = data.pdf[test]
    conditions = jax.tree.map(lambda column: column[test], data.conditions)
    found = evaluation.reconstruct(params, pdf, jax.random.key(0), network=network, draw=draw)
    true = evaluation.truth(data, test, atoms=network.sizes.atoms)
    return evaluation.measures(pdf, np.asarray(evaluation.simulate(found, conditions)), true, found)


def control(data, parts: dataset.Split, test: np.ndarray, shared: dict) -> list[dict]:
    """Return the rows of the nearest template."""
    true = evaluation.truth(data, test, atoms=100)
    nearest = evaluation.nearest_template(data, parts.train, test, atoms=100)
    conditions = jax.tree.map(lambda column: column[test], data.conditions)
    values = evaluation.measures(data.pdf[test], np.asarray(evaluation.simulate(nearest, conditions)), true, nearest)
    return rows_of(values, {**shared, "latent": None, "draw": None, "model": "nearest-template", "config": None})


def main() -> None:
    """Train what is not trained yet, evaluate all, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny runs, under 50 s; nothing is kept")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--latents", nargs="+", type=int, default=[2, 8])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the trained runs")
    parser.add_argument("--out", type=Path, help="[experiments/results/table1_reconstruction.jsonl; none with --quick]")
    options = parser.parse_args()
    result = []
    for split in options.splits[: 1 if options.quick else None]:
        data = dataset.generate(SPLITS[split], seed=0)
        for seed in options.seeds[: 1 if options.quick else None]:
            parts = dataset.split(data, by=split, seed=seed)
            if options.quick:
                parts = dataset.Split(parts.train[:40], parts.validation[:20], parts.test[:20])
            test = parts.test[np.random.default_rng(seed).permutation(len(parts.test))[: dataset.TEST]]
            shared = {"experiment": "table1_reconstruction", "dataset": SPLITS[split], "split": split, "seed": seed}
            shared |= rows.environment() | {"commit": rows.commit()}
            result += control(data, parts, test, shared)
            for latent in options.latents[: 1 if options.quick else None]:
                for model in (options.models[-2:-1] or options.models) if options.quick else options.models:
                    config = config_of(model, split, latent, seed, options.runs, options.quick)
                    params, _ = training.fit(data, parts, config)
                    network = CVAE(training.sizes(config))
                    kept = {name: value for name, value in asdict(config).items() if name not in ("out", "data")}
                    for draw in (True, False):
                        values = evaluate(params, network, data, test, draw=draw)
                        names = {"latent": latent, "draw": "sample" if draw else "mean", "model": model, "config": kept}
                        result += rows_of(values, {**shared, **names})
    for row in result:
        rows.show(row)
    out = options.out or (None if options.quick else RESULTS)
    if out is not None:
        rows.write_lines(result, out)


if __name__ == "__main__":
    main()
