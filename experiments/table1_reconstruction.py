"""Reproduce table 1 of KDD 2020: PDFs of structures reconstructed by DAE and CVAE are compared with the true PDFs.

    python experiments/table1_reconstruction.py                  (trains missing models: hours on 2 cores)
    python experiments/table1_reconstruction.py --trained-only   (minutes; leaves out missing models)
    python experiments/table1_reconstruction.py --quick          (under 50 s: two epochs; the results mean nothing)

Claim: the CVAE and the DAE of the paper reach Pearson correlations of 0.73 and 0.75. The CVAE reaches R_p < 0.10 and
Pearson > 0.97 without refinement if the loss has the PDF term that the paper only proposes, and if the decoder also
gives radius and presence. This holds on the paper's random split for each seed with 8 latent dimensions, and for two of
five seeds with the paper's 2 dimensions. Every shape of this test set is also in its training set. The data set
`kdd-shapes`, split by shape, has test shapes that are not in the training set. The structure of the nearest training
PDF is the control.

Each JSON line holds the mean and the standard deviation of one measure over the test structures of one seed. The
measure is a number for `n` structures and not finite for `failed` structures. Differences between `model` and `against`
are rows too (`t_test_...`): one for each seed, and one with seed null for a paired t-test over the means of the seeds.
The paper tests over structures. These are not independent, because those of a test set are stretched copies of a few
shapes from one training. Rows of other trainings stay in the file.
"""

import argparse
import itertools
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import evaluation
import jax
import jax.numpy as jnp
import json_rows
import numpy as np
import scipy.stats
import trainings
from evaluation import StructureBatch
from trainings import MODELS, SHARED_TRAININGS, SPLITS, TrainedModels, TrainingPlan, TrainingSource

from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.dataset import Dataset, Split

NAME = "table1_reconstruction"
RESULTS = Path(__file__).parent / "results" / f"{NAME}.jsonl"
TEMPLATE = "nearest-template"
MAX_ATOMS = 100
"""Maximum number of atoms in a structure."""
DRAWS = {"sample": True, "mean": False}
PAIRS = (("cvae", "dae"), ("cvae+pdf", "cvae"), ("cvae+pdf-coordinates", "cvae"), ("cvae+pdf", TEMPLATE))
"""Pairs of models that t-tests compare."""
TESTED_MEASURES = ("r_p", "pearson")

SeedMeasures = dict[int, dict[str, np.ndarray]]
"""Measures of each test structure, by seed and by name. A measure is NaN for a structure that failed."""


def select_test_pdfs(seed_split: Split, seed: int) -> np.ndarray:
    """Return random test PDFs of a split, as many as in KDD 2020."""
    return seed_split.test[np.random.default_rng(seed).permutation(len(seed_split.test))[: dataset.N_TEST_STRUCTURES]]


def reconstruct_pdfs(
    trained_models: TrainedModels, pdfs: dict[int, np.ndarray], *, draw: bool
) -> dict[int, StructureBatch]:
    """Return the structures that the network of each seed reconstructs from its PDFs."""
    return {
        seed: evaluation.reconstruct(
            params, jnp.asarray(pdfs[seed]), jax.random.key(seed), network=trained_models.network, draw=draw
        )
        for seed, params in zip(trained_models.seeds, trained_models.params, strict=True)
    }


def structure_measures(data: Dataset, test: np.ndarray, structures: StructureBatch) -> dict[str, np.ndarray]:
    """Return the measures of each structure by name. All are NaN for a structure that is not finite."""
    is_finite = np.asarray(jnp.all(jnp.isfinite(structures.positions) | ~structures.mask[..., None], axis=(1, 2)))
    finite_structures = StructureBatch(jnp.where(is_finite[:, None, None], structures.positions, 0.0), structures.mask)
    reconstructed_pdfs = np.asarray(
        evaluation.simulate_structures(finite_structures, evaluation.select_conditions(data, test))
    )
    true_structures = evaluation.true_structures(data, test, max_atoms=structures.mask.shape[1])
    values = evaluation.agreement_measures(data.pdf[test], reconstructed_pdfs, true_structures, finite_structures)
    return {
        name: np.where(is_finite, np.asarray(measure_values, float), np.nan) for name, measure_values in values.items()
    }


def measure_rows(values: dict[str, np.ndarray], shared: dict) -> list[dict]:
    """Return one row for each measure."""
    return [{**shared, "metric": name, **summary_statistics(measure_values)} for name, measure_values in values.items()]


def summary_statistics(values: np.ndarray) -> dict:
    """Return mean, standard deviation and number of the finite values, and the number of the others."""
    finite_values = values[np.isfinite(values)]
    mean, sd = (
        (finite_values.mean() if finite_values.size else np.nan),
        (finite_values.std(ddof=1) if finite_values.size > 1 else np.nan),
    )
    return {
        "mean": finite_or_none(mean),
        "sd": finite_or_none(sd),
        "n": finite_values.size,
        "failed": values.size - finite_values.size,
    }


def t_test_rows(model_values: SeedMeasures, reference_values: SeedMeasures, shared: dict) -> list[dict]:
    """Return the rows of the differences for each seed of both models, and of the paired t-tests over these seeds."""
    result = []
    for metric in TESTED_MEASURES:
        columns = {**shared, "metric": f"t_test_{metric}"}
        pairs = {
            seed: np.stack([model_values[seed][metric], reference_values[seed][metric]])
            for seed in sorted(model_values.keys() & reference_values.keys())
        }
        result += [{**columns, "seed": seed, **summary_statistics(pair[0] - pair[1])} for seed, pair in pairs.items()]
        if len(pairs) > 1:
            means = np.stack([pair[:, np.isfinite(pair).all(axis=0)].mean(axis=1) for pair in pairs.values()], axis=1)
            result.append({**columns, "seed": None, **paired_t_test(means)})
    return result


def paired_t_test(pair: np.ndarray) -> dict:
    """Return statistics of the differences of paired values [2, case], with Student's t and the two-sided p."""
    difference = pair[0] - pair[1]
    is_finite = np.isfinite(difference)
    statistics = {"t": None, "p": None}
    if is_finite.sum() > 1 and difference[is_finite].std() > 0:
        t_result = scipy.stats.ttest_rel(*pair[:, is_finite])
        statistics = {"t": finite_or_none(t_result.statistic), "p": finite_or_none(t_result.pvalue)}
    return summary_statistics(difference) | statistics


def finite_or_none(value: float) -> float | None:
    """Return a number for JSON, or None if it is not finite."""
    return float(value) if math.isfinite(value) else None


def evaluation_key(row: dict) -> tuple:
    """Return the combination of data set, split, latent dimension and model of a row."""
    return row["dataset"], row["split"], row["latent"], row["model"]


def replace_rows(old_rows: list[dict], new_rows: list[dict], *, measures: Sequence[str] | None = None) -> list[dict]:
    """Return the new rows and the old rows of other combinations, sorted by split, latent dimension and model.

    Old comparisons with a model that has new rows are dropped. If only these measures are new, others are retained.
    """
    new_keys = {evaluation_key(row) for row in new_rows}

    def is_stale(row):
        if measures is not None and row["metric"] not in measures:
            return False
        reference = row.get("against")
        reference_row = {**row, "model": reference, "latent": None if reference == TEMPLATE else row["latent"]}
        return evaluation_key(row) in new_keys or (reference is not None and evaluation_key(reference_row) in new_keys)

    models = [*MODELS, TEMPLATE]
    merged_rows = [row for row in old_rows if not is_stale(row)] + new_rows
    return sorted(merged_rows, key=lambda row: (row["split"], row["latent"] or 0, models.index(row["model"])))


def select_plans(
    plans: dict[tuple[str, int], TrainingPlan], *, trained_only: bool
) -> dict[tuple[str, int], TrainingPlan]:
    """Return the trainings that are evaluated, restricted to trained seeds, and print those that are left out."""
    if not trained_only:
        return plans
    finished_plans = {plan_key: trainings.finished_plan(plan) for plan_key, plan in plans.items()}
    for plan_key, plan in finished_plans.items():
        if plan is None:
            print(f"Left out: {plans[plan_key].folder.name} is not trained.", file=sys.stderr)
    return {plan_key: plan for plan_key, plan in finished_plans.items() if plan is not None}


def evaluate_split(
    data: Dataset,
    split: str,
    plans: dict[tuple[str, int], TrainingPlan],
    *,
    template: bool,
    quick: bool,
    source: TrainingSource,
    pairs: Sequence[tuple[str, str]],
) -> list[dict]:
    """Return the rows of the trainings of a split, of the nearest templates if requested, and of their comparisons."""
    shared = {"experiment": NAME, "dataset": SPLITS[split], "split": split}
    provenance = json_rows.provenance()
    splits: dict[int, Split] = {}
    values: dict[tuple[str, int | None, str | None], SeedMeasures] = {}
    configs: dict[str, dict | None] = {TEMPLATE: None}
    for (model, latent), plan in plans.items():
        trained_models = source.train_or_read(data, plan, quick=quick)
        splits |= dict(zip(trained_models.seeds, trained_models.splits, strict=True))
        configs[f"{model} {latent}"] = plan.config.recorded_values
        pdfs = {seed: data.pdf[select_test_pdfs(splits[seed], seed)] for seed in trained_models.seeds}
        for draw, is_drawn in list(DRAWS.items())[: 1 if quick else None]:
            structures = reconstruct_pdfs(trained_models, pdfs, draw=is_drawn)
            values[model, latent, draw] = {
                seed_number: structure_measures(data, select_test_pdfs(splits[seed_number], seed_number), entry)
                for seed_number, entry in structures.items()
            }
    if template:
        n_seeds = max(len(source.make_plan(model, split, 2, quick=quick).config.all_seeds) for model in MODELS)
        splits |= {
            seed: dataset.split(data, strategy=split, seed=seed) for seed in range(n_seeds) if seed not in splits
        }
        values[TEMPLATE, None, None] = {
            seed_number: structure_measures(
                data, seed_indices, nearest_templates(data, splits[seed_number], seed_indices)
            )
            for seed_number, seed_indices in test_sets(splits)
        }
    result = []
    for (model, latent, draw), values_by_seed in values.items():
        columns = {**shared, "latent": latent, "draw": draw, "model": model}
        config = configs[TEMPLATE if model == TEMPLATE else f"{model} {latent}"]
        for seed, entry in values_by_seed.items():
            result += measure_rows(entry, {**columns, "seed": seed, "config": config, **provenance})
        for _, reference in (pair for pair in pairs if pair[0] == model):
            reference_values = values.get(
                (TEMPLATE, None, None) if reference == TEMPLATE else (reference, latent, draw)
            )
            if reference_values is not None:
                result += t_test_rows(
                    values_by_seed, reference_values, {**columns, "against": reference, "config": config, **provenance}
                )
    return result


def test_sets(splits: dict[int, Split]) -> list[tuple[int, np.ndarray]]:
    """Return each seed with its test PDFs."""
    return [(seed, select_test_pdfs(seed_split, seed)) for seed, seed_split in splits.items()]


def nearest_templates(data: Dataset, seed_split: Split, test: np.ndarray) -> StructureBatch:
    """Return the structures of the training PDFs that are most similar to the test PDFs."""
    return evaluation.nearest_training_structures(data, seed_split.train, test, max_atoms=MAX_ATOMS)


def main(
    arguments=None, *, source: TrainingSource = SHARED_TRAININGS, pairs: Sequence[tuple[str, str]] = PAIRS
) -> list[dict]:
    """Train missing models, evaluate the selected models, and print and write the rows.

    Args:
        arguments: Arguments of the command line.
        source: Functions that return plans, data sets and trained models.
        pairs: Pairs of models that t-tests compare.
    """
    choices = [*MODELS, TEMPLATE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run tiny trainings in under 50 s, and keep nothing")
    parser.add_argument("--trained-only", action="store_true", help="leave out models whose training is not finished")
    parser.add_argument("--models", nargs="+", default=choices, choices=choices)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--latents", nargs="+", type=int, default=[2, 8])
    parser.add_argument("--measures", nargs="+", help="names of the measures to write; rows of other measures are kept")
    parser.add_argument("--out", type=Path, help=f"file of the rows [results/{NAME}.jsonl; with --quick none]")
    options = parser.parse_args(arguments)
    if options.quick:
        options.models = [model for model in options.models if model in ("cvae", TEMPLATE)]
        options.splits, options.latents = options.splits[:1], options.latents[:1]
    result = []
    with tempfile.TemporaryDirectory() as scratch:
        folder_options = {"runs": Path(scratch)} if options.quick else {}
        for split in options.splits:
            combinations = itertools.product([model for model in options.models if model != TEMPLATE], options.latents)
            plans = {
                (model, latent): source.make_plan(model, split, latent, quick=options.quick, **folder_options)
                for model, latent in combinations
            }
            plans = select_plans(plans, trained_only=options.trained_only)
            template = TEMPLATE in options.models
            if plans or template:
                data = source.load_dataset(split)
                result += evaluate_split(
                    data, split, plans, template=template, quick=options.quick, source=source, pairs=pairs
                )
    if options.measures:
        result = [row for row in result if row["metric"] in options.measures]
    for row in result:
        json_rows.print_row(row)
    out = options.out or (None if options.quick else RESULTS)
    if out is not None:
        json_rows.write_lines(replace_rows(json_rows.read_lines(out), result, measures=options.measures), out)
    return result


if __name__ == "__main__":
    main()
