"""Reproduces table 1 of the KDD 2020 paper: PDFs of reconstructed structures against the true ones, DAE and CVAE.

    python experiments/table1_reconstruction.py                  (trains what is not trained: hours on 2 cores)
    python experiments/table1_reconstruction.py --trained-only   (minutes; leaves out what is not trained)
    python experiments/table1_reconstruction.py --quick          (under 50 s: two epochs, nothing to learn from)

Claim: the paper's CVAE and DAE reach Pearson 0.73 and 0.75; with the PDF-consistency term that the paper only proposes,
and with radius and presence among the decoder's outputs, the CVAE reaches R_p < 0.10 and Pearson > 0.97 on the paper's
random split, with no refinement: for each seed with 8 latent dimensions, for two of five with the paper's 2. Each shape
of that split's test set is in its training set; `kdd-shapes` split by shape says what a model does with shapes that it
has not seen, beside the nearest training PDF's structure as control.

One JSON line a row: mean and standard deviation of one measure over the test structures of one seed; `n` of them gave
a number, `failed` did not. Differences of `model` and `against` are rows too (`t_test_...`): one a seed, and with seed
null a paired t-test over the means of the seeds. The paper's is over structures; but those of a test set are stretched
copies of a few shapes, all of one training, and not independent. Rows of other trainings stay in the file.
"""

import argparse
import itertools
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import rows
import scipy.stats
import trainings
from trainings import MODELS, SPLITS, Planned, Trained

from jaxstruc.network import dataset, evaluation
from jaxstruc.network.dataset import Dataset, Split
from jaxstruc.network.evaluation import Structures

NAME = "table1_reconstruction"
RESULTS = Path(__file__).parent / "results" / f"{NAME}.jsonl"
TEMPLATE = "nearest-template"
ATOMS = 100
"""Most atoms in a structure."""
DRAWS = {"sample": True, "mean": False}
PAIRS = (("cvae", "dae"), ("cvae+pdf", "cvae"), ("cvae+pdf-coordinates", "cvae"), ("cvae+pdf", TEMPLATE))
"""Compared by t-tests."""
TESTED = ("r_p", "pearson")

Values = dict[int, dict[str, np.ndarray]]
"""Of each seed, the measures of each test structure; NaN where one failed."""


def tested(parts: Split, seed: int) -> np.ndarray:
    """Return as many test PDFs as the paper had, drawn from a split's."""
    return parts.test[np.random.default_rng(seed).permutation(len(parts.test))[: dataset.TEST]]


def reconstructed(found: Trained, pdfs: dict[int, np.ndarray], *, draw: bool) -> dict[int, Structures]:
    """Return what each seed's network makes of its PDFs."""
    return {
        seed: evaluation.reconstruct(
            params, jnp.asarray(pdfs[seed]), jax.random.key(seed), network=found.network, draw=draw
        )
        for seed, params in zip(found.seeds, found.params, strict=True)
    }


def measures(data: Dataset, test: np.ndarray, found: Structures) -> dict[str, np.ndarray]:
    """Return each measure of each structure, all of them NaN where it is not finite."""
    there = np.asarray(jnp.all(jnp.isfinite(found.positions) | ~found.mask[..., None], axis=(1, 2)))
    shown = Structures(jnp.where(there[:, None, None], found.positions, 0.0), found.mask)
    rebuilt = np.asarray(evaluation.simulate(shown, jax.tree.map(lambda column: column[test], data.conditions)))
    true = evaluation.truth(data, test, atoms=found.mask.shape[1])
    values = evaluation.measures(data.pdf[test], rebuilt, true, shown)
    return {name: np.where(there, np.asarray(each, float), np.nan) for name, each in values.items()}


def rows_of(values: dict[str, np.ndarray], shared: dict) -> list[dict]:
    """Return a row a measure."""
    return [{**shared, "metric": name, **spread(each)} for name, each in values.items()]


def spread(values: np.ndarray) -> dict:
    """Return mean, standard deviation and number of the finite values, and the number of the others."""
    finite = values[np.isfinite(values)]
    mean, sd = (finite.mean() if finite.size else np.nan), (finite.std(ddof=1) if finite.size > 1 else np.nan)
    return {"mean": number(mean), "sd": number(sd), "n": finite.size, "failed": values.size - finite.size}


def t_tests(one: Values, other: Values, shared: dict) -> list[dict]:
    """Return the rows of the differences of each seed that both have, and of the paired t-tests over these seeds."""
    result = []
    for metric in TESTED:
        names = {**shared, "metric": f"t_test_{metric}"}
        pairs = {seed: np.stack([one[seed][metric], other[seed][metric]]) for seed in sorted(one.keys() & other.keys())}
        result += [{**names, "seed": seed, **spread(pair[0] - pair[1])} for seed, pair in pairs.items()]
        if len(pairs) > 1:
            means = np.stack([pair[:, np.isfinite(pair).all(axis=0)].mean(axis=1) for pair in pairs.values()], axis=1)
            result.append({**names, "seed": None, **t_test(means)})
    return result


def t_test(pair: np.ndarray) -> dict:
    """Return the spread of the differences of [2, case] values, with Student's t and the two-sided p."""
    difference = pair[0] - pair[1]
    both = np.isfinite(difference)
    found = {"t": None, "p": None}
    if both.sum() > 1 and difference[both].std() > 0:
        test = scipy.stats.ttest_rel(*pair[:, both])
        found = {"t": number(test.statistic), "p": number(test.pvalue)}
    return spread(difference) | found


def number(value: float) -> float | None:
    """Return a number as JSON has it: none where it is not finite."""
    return float(value) if math.isfinite(value) else None


def combination(row: dict) -> tuple:
    """Return what is evaluated in one go."""
    return row["dataset"], row["split"], row["latent"], row["model"]


def replaced(old: list[dict], new: list[dict], *, measures: Sequence[str] | None = None) -> list[dict]:
    """Return the new rows and those old ones of combinations that are not among them, in an order of their own.

    A comparison with a model that has new rows is dropped too. Where only some measures are new, the others are kept.
    """
    seen = {combination(row) for row in new}

    def stale(row):
        if measures is not None and row["metric"] not in measures:
            return False
        against = row.get("against")
        other = {**row, "model": against, "latent": None if against == TEMPLATE else row["latent"]}
        return combination(row) in seen or (against is not None and combination(other) in seen)

    models = [*MODELS, TEMPLATE]
    kept = [row for row in old if not stale(row)] + new
    return sorted(kept, key=lambda row: (row["split"], row["latent"] or 0, models.index(row["model"])))


def read(path: Path) -> list[dict]:
    """Return the rows of a file, none where it is not there."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def asked(plans: dict[tuple[str, int], Planned], *, trained_only: bool) -> dict[tuple[str, int], Planned]:
    """Return the trainings to evaluate; where only some seeds are trained, of those; what is left out is named."""
    if not trained_only:
        return plans
    kept = {names: trainings.finished(plan) for names, plan in plans.items()}
    for names, plan in kept.items():
        if plan is None:
            print(f"Left out: {plans[names].folder.name} is not trained.", file=sys.stderr)
    return {names: plan for names, plan in kept.items() if plan is not None}


def evaluate(
    data: Dataset, split: str, plans: dict[tuple[str, int], Planned], *, template: bool, quick: bool
) -> list[dict]:
    """Return the rows of the trainings of a split, of the nearest template where asked, and of their comparisons."""
    shared = {"experiment": NAME, "dataset": SPLITS[split], "split": split}
    made_with = {**rows.environment(), "commit": rows.commit()}
    parts: dict[int, Split] = {}
    values: dict[tuple[str, int | None, str | None], Values] = {}
    kept: dict[str, dict | None] = {TEMPLATE: None}
    for (model, latent), plan in plans.items():
        found = trainings.trained(data, plan, quick=quick)
        parts |= dict(zip(found.seeds, found.splits, strict=True))
        kept[f"{model} {latent}"] = plan.config.recorded
        pdfs = {seed: data.pdf[tested(parts[seed], seed)] for seed in found.seeds}
        for draw, drawn in list(DRAWS.items())[: 1 if quick else None]:
            made = reconstructed(found, pdfs, draw=drawn)
            values[model, latent, draw] = {s: measures(data, tested(parts[s], s), each) for s, each in made.items()}
    if template:
        count = max(len(trainings.planned(model, split, 2, quick=quick).config.all_seeds) for model in MODELS)
        parts |= {seed: dataset.split(data, by=split, seed=seed) for seed in range(count) if seed not in parts}
        values[TEMPLATE, None, None] = {s: measures(data, t, nearest(data, parts[s], t)) for s, t in tests(parts)}
    result = []
    for (model, latent, draw), seeds in values.items():
        names = {**shared, "latent": latent, "draw": draw, "model": model}
        config = kept[TEMPLATE if model == TEMPLATE else f"{model} {latent}"]
        for seed, each in seeds.items():
            result += rows_of(each, {**names, "seed": seed, "config": config, **made_with})
        for _, against in (pair for pair in PAIRS if pair[0] == model):
            other = values.get((TEMPLATE, None, None) if against == TEMPLATE else (against, latent, draw))
            if other is not None:
                result += t_tests(seeds, other, {**names, "against": against, "config": config, **made_with})
    return result


def tests(parts: dict[int, Split]) -> list[tuple[int, np.ndarray]]:
    """Return each seed with its test PDFs."""
    return [(seed, tested(each, seed)) for seed, each in parts.items()]


def nearest(data: Dataset, parts: Split, test: np.ndarray) -> Structures:
    """Return the structures of the training PDFs most like the test PDFs."""
    return evaluation.nearest_template(data, parts.train, test, atoms=ATOMS)


def main(arguments=None) -> list[dict]:
    """Evaluate what is asked for, trained first where it is not; show and write the rows."""
    choices = [*MODELS, TEMPLATE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny trainings, under 50 s; nothing is kept")
    parser.add_argument("--trained-only", action="store_true", help="leave out what is not trained to its end")
    parser.add_argument("--models", nargs="+", default=choices, choices=choices)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--latents", nargs="+", type=int, default=[2, 8])
    parser.add_argument("--measures", nargs="+", help="write these alone, and keep the rows of the others")
    parser.add_argument("--out", type=Path, help=f"[experiments/results/{NAME}.jsonl; none with --quick]")
    options = parser.parse_args(arguments)
    if options.quick:
        options.models = [model for model in options.models if model in ("cvae", TEMPLATE)]
        options.splits, options.latents = options.splits[:1], options.latents[:1]
    result = []
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch) if options.quick else trainings.RUNS
        for split in options.splits:
            names = itertools.product([model for model in options.models if model != TEMPLATE], options.latents)
            plans = {(m, h): trainings.planned(m, split, h, quick=options.quick, runs=runs) for m, h in names}
            plans = asked(plans, trained_only=options.trained_only)
            template = TEMPLATE in options.models
            if plans or template:
                data = trainings.data_of(split)
                result += evaluate(data, split, plans, template=template, quick=options.quick)
    if options.measures:
        result = [row for row in result if row["metric"] in options.measures]
    for row in result:
        rows.show(row)
    out = options.out or (None if options.quick else RESULTS)
    if out is not None:
        rows.write_lines(replaced(read(out), result, measures=options.measures), out)
    return result


if __name__ == "__main__":
    main()
