"""Claim: the CVAE's reconstructions fit their PDFs better if the training loss has a PDF term.

    python experiments/pdf_loss_ablation.py                  (trains missing models: hours on 2 cores)
    python experiments/pdf_loss_ablation.py --trained-only   (15 minutes on 2 cores; leaves out missing models)
    python experiments/pdf_loss_ablation.py --quick          (under 50 s: two epochs; the results mean nothing)

Section 6 of the KDD 2020 paper proposes the term. Models with weight 0 are compared with models with the weight in
`trainings`, for all trained seeds, on the paper's random split and on held-out shapes. The model with the term had at
least 1.1 times the compute of the other model (see the README). As a control, the coordinates and the radius of the
reconstructions of both models are refined against the input PDF by gradient descent (`N_STEPS` of Adam). This
refinement needs no PDF term in the training. White noise on F(Q) of the input tests the robustness of both methods. No
model was trained with noise. All measures refer to the PDF without noise.

The rows are as in `table1_reconstruction`, with `weight`, `noise` (relative to the root mean square of F), `refined`,
`steps` and `seconds_per_structure` of the refinement. Rows of t-tests compare with the model `against`, whose output is
refined if `against_refined` is true.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import evaluation
import jax
import jax.numpy as jnp
import json_rows
import matplotlib.figure
import numpy as np
import optax
import table1_reconstruction as table1
import timing
import trainings
from evaluation import StructureBatch
from jaxtyping import Array, Float
from trainings import SHARED_TRAININGS, SPLITS, TrainingPlan, TrainingSource

from jaxstruc import files
from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.dataset import Conditions, Dataset

NAME = "pdf_loss_ablation"
RESULTS = Path(__file__).parent / "results" / f"{NAME}.jsonl"
MODELS = ("cvae", "cvae+pdf")
LATENTS = {"random": 2, "shape": 8}
NOISES = (0.0, 0.1)
"""Standard deviations of the white noise on F(Q), relative to the root mean square of F(Q)."""
N_STEPS, LEARNING_RATE = 100, 0.05
"""Number of steps of Adam, and its learning rate in Å, which falls to zero as a cosine."""
RADIUS_SCALE = 10.0
"""Radius in Å of a particle whose radius a step changes as much as one coordinate."""
COMPARISONS = (
    (("cvae+pdf", False), ("cvae", False)),
    (("cvae+pdf", False), ("cvae", True)),
    (("cvae+pdf", True), ("cvae", True)),
)
"""Pairs of models that are compared, each with a flag that shows whether its output is refined."""


class RefinedStructures(NamedTuple):
    """The structures after a descent, and the mean squared differences of their PDFs from the data before and after."""

    structures: StructureBatch
    start_misfit: Float[Array, " batch"]
    end_misfit: Float[Array, " batch"]


@partial(jax.jit, static_argnames="steps")
def refine_structures(
    structures: StructureBatch, pdf: Float[Array, "batch r"], conditions: Conditions, *, steps: int
) -> RefinedStructures:
    """Return each structure with the coordinates and radius that fitted its PDF best during a descent.

    Args:
        structures: Structures at the start.
        pdf: G(r) on `dataset.PDF_GRID`, in 1/Å².
        conditions: Known conditions of each PDF.
        steps: Number of steps of Adam.
    """

    def make_structures(free):
        return StructureBatch(free[0] * jnp.exp(free[1] / RADIUS_SCALE)[:, None, None], structures.mask)

    def misfits(free):
        pdf_misfits = jnp.mean((evaluation.simulate_structures(make_structures(free), conditions) - pdf) ** 2, axis=1)
        return jnp.sum(pdf_misfits), pdf_misfits

    optimiser = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))
    gradient_function = jax.grad(misfits, has_aux=True)

    def step(carry, _):
        free, state, best_free, best_misfit = carry
        gradient, pdf_misfits = gradient_function(free)
        best_free, best_misfit = keep_better(free, pdf_misfits, best_free, best_misfit)
        updates, state = optimiser.update(gradient, state, free)
        return (optax.apply_updates(free, updates), state, best_free, best_misfit), pdf_misfits

    start = structures.positions, jnp.zeros(pdf.shape[0], pdf.dtype)
    carry = start, optimiser.init(start), start, jnp.full(pdf.shape[0], jnp.inf, pdf.dtype)
    (last_free, _, best_free, best_misfit), misfit_history = jax.lax.scan(step, carry, None, length=steps)
    best_free, best_misfit = keep_better(last_free, misfits(last_free)[1], best_free, best_misfit)
    return RefinedStructures(make_structures(best_free), misfit_history[0], best_misfit)


def keep_better(new, new_misfit, old, old_misfit):
    """Return, for each structure, the state with the smaller misfit, and its misfit."""
    is_better = new_misfit < old_misfit
    selection = jax.tree.map(
        lambda new_leaf, old_leaf: jnp.where(is_better.reshape(-1, *[1] * (new_leaf.ndim - 1)), new_leaf, old_leaf),
        new,
        old,
    )
    return selection, jnp.where(is_better, new_misfit, old_misfit)


def simulate_noisy_pdfs(data: Dataset, pdf_indices: np.ndarray, noise: float, key: Array) -> Float[np.ndarray, "pdf r"]:
    """Return PDFs with white noise on F(Q), whose draws are the same for each standard deviation.

    Args:
        data: Data set.
        pdf_indices: Indices of the PDFs.
        noise: Standard deviation of a point of F(Q), relative to the root mean square of F(Q).
        key: Random key of the noise.
    """
    distance_table = dataset.distance_table(data.shapes)
    columns = jax.tree.map(lambda column: jnp.asarray(column)[data.shape_index[pdf_indices]], distance_table)
    conditions = evaluation.select_conditions(data, pdf_indices)
    conditions = conditions._replace(noise=jnp.full_like(conditions.noise, noise))
    keys = jax.random.split(key, len(pdf_indices))
    return np.asarray(
        dataset.simulate_pdfs(columns, jnp.asarray(data.bond[pdf_indices], jnp.float32), conditions, keys)
    )


def evaluate_split(
    data: Dataset,
    split: str,
    plans: dict[str, TrainingPlan],
    *,
    quick: bool,
    noises: Sequence[float],
    steps: int,
    source: TrainingSource,
) -> list[dict]:
    """Return the rows of a split."""
    shared = {"experiment": NAME, "dataset": SPLITS[split], "split": split, "latent": LATENTS[split], "draw": "sample"}
    shared |= json_rows.provenance()
    values: dict[tuple[str, bool, float], table1.SeedMeasures] = {}
    columns_by_model, result, compiled_refine = {}, [], None
    for model, plan in plans.items():
        trained_models = source.train_or_read(data, plan, quick=quick)
        test_indices = {
            seed_number: table1.select_test_pdfs(seed_split, seed_number)
            for seed_number, seed_split in zip(trained_models.seeds, trained_models.splits, strict=True)
        }
        columns_by_model[model] = {
            **shared,
            "model": model,
            "config": plan.config.recorded_values,
            "weight": plan.config.pdf,
        }
        for noise in noises:
            pdfs = {
                seed: simulate_noisy_pdfs(data, seed_indices, noise, jax.random.key(seed))
                for seed, seed_indices in test_indices.items()
            }
            for seed, structures in table1.reconstruct_pdfs(trained_models, pdfs, draw=True).items():
                refine_inputs = (
                    structures,
                    jnp.asarray(pdfs[seed]),
                    evaluation.select_conditions(data, test_indices[seed]),
                )
                compiled_refine = (
                    compiled_refine or refine_structures.lower(*refine_inputs, steps=steps).compile()
                )  # All batches have the same size.
                refined, seconds = timing.time_call(partial(compiled_refine, *refine_inputs))
                for is_refined, model_structures in ((False, structures), (True, refined.structures)):
                    measure_values = table1.structure_measures(data, test_indices[seed], model_structures)
                    values.setdefault((model, is_refined, noise), {})[seed] = measure_values
                    extra = {"seed": seed, "noise": noise, "refined": is_refined, "steps": steps if is_refined else 0}
                    extra["seconds_per_structure"] = seconds / len(test_indices[seed]) if is_refined else 0.0
                    result += table1.measure_rows(measure_values, {**columns_by_model[model], **extra})
    return result + comparison_rows(values, columns_by_model, noises)


def comparison_rows(
    values: dict[tuple[str, bool, float], table1.SeedMeasures],
    columns_by_model: dict[str, dict],
    noises: Sequence[float],
) -> list[dict]:
    """Return the rows of t-tests between models."""
    result: list[dict] = []
    for noise in noises:
        for (model, is_refined), (reference, reference_refined) in COMPARISONS:
            if model in columns_by_model and reference in columns_by_model:
                extra = {
                    "noise": noise,
                    "refined": is_refined,
                    "against": reference,
                    "against_refined": reference_refined,
                }
                model_values = values[model, is_refined, noise]
                reference_values = values[reference, reference_refined, noise]
                result += table1.t_test_rows(model_values, reference_values, {**columns_by_model[model], **extra})
    return result


def plot_noise(result: list[dict], path: Path) -> None:
    """Draw the Pearson correlation and R_p against noise: a point for each seed, and a line through their means."""
    splits = [split for split in SPLITS if any(row["split"] == split for row in result)]
    figure = matplotlib.figure.Figure(figsize=(9, 3.4 * len(splits)), layout="constrained")
    panels = figure.subplots(len(splits), 2, squeeze=False)
    for axes_row, split in zip(panels, splits, strict=True):
        for axes, (metric, label) in zip(axes_row, (("pearson", "Pearson"), ("r_p", "$R_p$, 1/Å$^4$")), strict=True):
            for series_index, (model, refined) in enumerate(
                (model_name, is_refined) for model_name in MODELS for is_refined in (False, True)
            ):
                points = [
                    (row["noise"], row["mean"]) for row in result
                    if (row["split"], row["metric"], row["model"], row["refined"]) == (split, metric, model, refined)
                    and row["mean"] is not None
                ]  # fmt: skip
                if not points:
                    continue
                noise, value = np.array(points).T
                levels = np.unique(noise)
                style = {"color": f"C{MODELS.index(model)}", "linestyle": "--" if refined else "-"}
                marker_style = {"facecolors": "none" if refined else style["color"], "edgecolors": style["color"]}
                axes.scatter(noise + 0.002 * (series_index - 1.5), value, s=14, **marker_style)
                means = [value[noise == level].mean() for level in levels]
                axes.plot(levels, means, label=f"{model}{', refined' if refined else ''}", **style)
            axes.set(xlabel="noise on F(Q), relative", ylabel=label, title=f"{split} split")
            axes.grid(alpha=0.3)
    panels[0][0].legend(fontsize=8)
    with files.atomic_replacement(path) as part:
        figure.savefig(part, format="png", dpi=150)


def main(
    arguments=None,
    *,
    source: TrainingSource = SHARED_TRAININGS,
    models: Sequence[str] = MODELS,
    noises: Sequence[float] = NOISES,
    steps: int = N_STEPS,
) -> list[dict]:
    """Train missing models, evaluate all, print the rows, and write rows and picture.

    Args:
        arguments: Arguments of the command line.
        source: Functions that return plans, data sets and trained models.
        models: Models that are evaluated. With --quick only the last one is.
        noises: Standard deviations of the noise. With --quick only the first one is used.
        steps: Number of steps of Adam without --quick.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run tiny trainings in under 50 s, and keep nothing")
    parser.add_argument("--trained-only", action="store_true", help="leave out splits whose training is not finished")
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--out", type=Path, help=f"file of the rows [results/{NAME}.jsonl; with --quick none]")
    options = parser.parse_args(arguments)
    result = []
    with tempfile.TemporaryDirectory() as scratch:
        folder_options = {"runs": Path(scratch)} if options.quick else {}
        for split in options.splits[: 1 if options.quick else None]:
            plans = {
                model: source.make_plan(model, split, LATENTS[split], quick=options.quick, **folder_options)
                for model in models[-1 if options.quick else 0 :]
            }
            if options.trained_only:
                finished_plans = {model: trainings.finished_plan(plan) for model, plan in plans.items()}
                unfinished = [model for model, plan in finished_plans.items() if plan is None]
                if unfinished:
                    print(f"Left out: the {split} split; {', '.join(unfinished)} not trained.", file=sys.stderr)
                    continue
                plans = finished_plans
            noise_options = {"noises": noises[:1], "steps": 10} if options.quick else {"noises": noises, "steps": steps}
            result += evaluate_split(
                source.load_dataset(split), split, plans, quick=options.quick, source=source, **noise_options
            )
    for row in result:
        json_rows.print_row(row)
    out = options.out or (None if options.quick else RESULTS)
    if out is not None and result:
        all_rows = table1.replace_rows(json_rows.read_lines(out), result)
        json_rows.write_lines(all_rows, out)
        plot_noise(all_rows, out.with_suffix(".png"))
    return result


if __name__ == "__main__":
    main()
