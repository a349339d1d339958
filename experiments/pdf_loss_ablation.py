"""Claim: trained with the PDF term, at like compute, the CVAE's reconstructions agree better with their PDFs.

    python experiments/pdf_loss_ablation.py                  (trains what is not trained: hours on 2 cores)
    python experiments/pdf_loss_ablation.py --trained-only   (15 minutes on 2 cores; leaves out what is not trained)
    python experiments/pdf_loss_ablation.py --quick          (under 50 s: two epochs, nothing to learn from)

The term is the one that section 6 of the KDD 2020 paper proposes. Weight 0 against the weight in `trainings`, the seeds
that are there, on the paper's random split and on held-out shapes. The model with the term had 1.1 times the compute of
the other, or more (see the README). Control: the same reconstructions, their coordinates and radius then refined
against the input PDF by gradient descent (`STEPS` of Adam), which needs no PDF term in training; the other model's
output is refined beside it. White noise on F(Q) of the input, which no model here was trained with, says what either
way makes of it; all measures are against the PDF without noise.

One JSON line a row as in `table1_reconstruction`, with `weight`, `noise` (relative to the root mean square of F),
`refined`, `steps` and `seconds_per_structure` of the refinement. Rows of t-tests compare with `against`, which is
refined where `against_refined` says so.
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import optax
import rows
import table1_reconstruction as table1
import trainings
from jaxtyping import Array, Float
from trainings import SPLITS, Planned

from jaxstruc import files
from jaxstruc.network import dataset, evaluation
from jaxstruc.network.dataset import Conditions, Dataset
from jaxstruc.network.evaluation import Structures

NAME = "pdf_loss_ablation"
RESULTS = Path(__file__).parent / "results" / f"{NAME}.jsonl"
MODELS = ("cvae", "cvae+pdf")
LATENTS = {"random": 2, "shape": 8}
NOISES = (0.0, 0.1)
"""White noise on F(Q), relative to the root mean square of F."""
STEPS, RATE = 100, 0.05
"""Of Adam. The rate, in Å, falls to zero as a cosine."""
RADIUS = 10.0
"""Å. A step changes the radius of a particle of this size as much as one coordinate."""
COMPARED = (
    (("cvae+pdf", False), ("cvae", False)),
    (("cvae+pdf", False), ("cvae", True)),
    (("cvae+pdf", True), ("cvae", True)),
)
"""Model and whether it is refined, against another."""


class Refined(NamedTuple):
    """Structures after a descent, and their mean squared differences from the PDF."""

    structures: Structures
    before: Float[Array, " batch"]
    after: Float[Array, " batch"]


@partial(jax.jit, static_argnames="steps")
def refine(found: Structures, pdf: Float[Array, "batch r"], conditions: Conditions, *, steps: int) -> Refined:
    """Return each structure with the coordinates and radius that fitted its PDF best on the way of a descent.

    Args:
        found: where to start.
        pdf: G(r) on `dataset.GRID`, in 1/Å².
        conditions: of each PDF; they are known.
        steps: of Adam.
    """

    def moved(free):
        return Structures(free[0] * jnp.exp(free[1] / RADIUS)[:, None, None], found.mask)

    def misfits(free):
        each = jnp.mean((evaluation.simulate(moved(free), conditions) - pdf) ** 2, axis=1)
        return jnp.sum(each), each

    optimise = optax.adam(optax.cosine_decay_schedule(RATE, steps))
    slope = jax.grad(misfits, has_aux=True)

    def step(carry, _):
        free, state, best, least = carry
        gradient, each = slope(free)
        best, least = better(free, each, best, least)
        updates, state = optimise.update(gradient, state, free)
        return (optax.apply_updates(free, updates), state, best, least), each

    start = found.positions, jnp.zeros(pdf.shape[0], pdf.dtype)
    carry = start, optimise.init(start), start, jnp.full(pdf.shape[0], jnp.inf, pdf.dtype)
    (last, _, best, least), course = jax.lax.scan(step, carry, None, length=steps)
    best, least = better(last, misfits(last)[1], best, least)
    return Refined(moved(best), course[0], least)


def better(new, new_misfit, old, old_misfit):
    """Return, for each structure, the one with the smaller misfit, and that."""
    less = new_misfit < old_misfit
    chosen = jax.tree.map(lambda a, b: jnp.where(less.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)
    return chosen, jnp.where(less, new_misfit, old_misfit)


def noisy(data: Dataset, chosen: np.ndarray, noise: float, key: Array) -> Float[np.ndarray, "pdf r"]:
    """Return PDFs with white noise on F(Q), the same draws for each size of it.

    Args:
        data: the data set.
        chosen: the PDFs.
        noise: relative to the root mean square of F.
        key: of the noise.
    """
    table = dataset.distance_table(data.shapes)
    columns = jax.tree.map(lambda column: jnp.asarray(column)[data.shape[chosen]], table)
    conditions = conditions_of(data, chosen)
    conditions = conditions._replace(noise=jnp.full_like(conditions.noise, noise))
    keys = jax.random.split(key, len(chosen))
    return np.asarray(dataset.simulate(columns, jnp.asarray(data.bond[chosen], jnp.float32), conditions, keys))


def conditions_of(data: Dataset, chosen: np.ndarray) -> Conditions:
    """Return the conditions of some PDFs."""
    return jax.tree.map(lambda column: column[chosen], data.conditions)


def evaluate(data: Dataset, split: str, plans: dict[str, Planned], *, quick: bool, noises, steps: int) -> list[dict]:
    """Return the rows of a split."""
    shared = {"experiment": NAME, "dataset": SPLITS[split], "split": split, "latent": LATENTS[split], "draw": "sample"}
    shared |= {**rows.environment(), "commit": rows.commit()}
    values: dict[tuple[str, bool, float], table1.Values] = {}
    names, result, descend = {}, [], None
    for model, plan in plans.items():
        found = trainings.trained(data, plan, quick=quick)
        tests = {s: table1.tested(parts, s) for s, parts in zip(found.seeds, found.splits, strict=True)}
        names[model] = {**shared, "model": model, "config": plan.config.recorded, "weight": plan.config.pdf}
        for noise in noises:
            pdfs = {seed: noisy(data, test, noise, jax.random.key(seed)) for seed, test in tests.items()}
            for seed, made in table1.reconstructed(found, pdfs, draw=True).items():
                given = made, jnp.asarray(pdfs[seed]), conditions_of(data, tests[seed])
                descend = descend or refine.lower(*given, steps=steps).compile()  # all batches are of one size
                refined, seconds = timed(descend, *given)
                for flag, each in ((False, made), (True, refined.structures)):
                    measured = table1.measures(data, tests[seed], each)
                    values.setdefault((model, flag, noise), {})[seed] = measured
                    extra = {"seed": seed, "noise": noise, "refined": flag, "steps": steps if flag else 0}
                    extra["seconds_per_structure"] = seconds / len(tests[seed]) if flag else 0.0
                    result += table1.rows_of(measured, {**names[model], **extra})
    for noise in noises:
        for (model, flag), (against, other) in COMPARED:
            if model in plans and against in plans:
                extra = {"noise": noise, "refined": flag, "against": against, "against_refined": other}
                one, two = values[model, flag, noise], values[against, other, noise]
                result += table1.t_tests(one, two, {**names[model], **extra})
    return result


def timed(call, *given) -> tuple[Refined, float]:
    """Return what a call gives, and its seconds."""
    begin = time.perf_counter()
    found = jax.block_until_ready(call(*given))
    return found, time.perf_counter() - begin


def picture(result: list[dict], path: Path) -> None:
    """Draw Pearson and R_p against noise: a point a seed, and a line through their means."""
    splits = [split for split in SPLITS if any(row["split"] == split for row in result)]
    figure = matplotlib.figure.Figure(figsize=(9, 3.4 * len(splits)), layout="constrained")
    panels = figure.subplots(len(splits), 2, squeeze=False)
    for line, split in zip(panels, splits, strict=True):
        for axes, (metric, label) in zip(line, (("pearson", "Pearson"), ("r_p", "$R_p$, 1/Å$^4$")), strict=True):
            for place, (model, refined) in enumerate((m, flag) for m in MODELS for flag in (False, True)):
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
                filled = {"facecolors": "none" if refined else style["color"], "edgecolors": style["color"]}
                axes.scatter(noise + 0.002 * (place - 1.5), value, s=14, **filled)
                means = [value[noise == level].mean() for level in levels]
                axes.plot(levels, means, label=f"{model}{', refined' if refined else ''}", **style)
            axes.set(xlabel="noise on F(Q), relative", ylabel=label, title=f"{split} split")
            axes.grid(alpha=0.3)
    panels[0][0].legend(fontsize=8)
    with files.replacing(path) as part:
        figure.savefig(part, format="png", dpi=150)


def main(arguments=None) -> list[dict]:
    """Evaluate, trained first where it is not; show, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny trainings, under 50 s; nothing is kept")
    parser.add_argument("--trained-only", action="store_true", help="leave out splits that are not trained to the end")
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--out", type=Path, help=f"[experiments/results/{NAME}.jsonl; none with --quick]")
    options = parser.parse_args(arguments)
    result = []
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch) if options.quick else trainings.RUNS
        for split in options.splits[: 1 if options.quick else None]:
            models = MODELS[1:] if options.quick else MODELS
            plans = {m: trainings.planned(m, split, LATENTS[split], quick=options.quick, runs=runs) for m in models}
            if options.trained_only:
                done = {model: trainings.finished(plan) for model, plan in plans.items()}
                unfinished = [model for model, plan in done.items() if plan is None]
                if unfinished:
                    print(f"Left out: the {split} split; {', '.join(unfinished)} not trained.", file=sys.stderr)
                    continue
                plans = done
            few = {"noises": NOISES[:1], "steps": 10} if options.quick else {"noises": NOISES, "steps": STEPS}
            result += evaluate(trainings.data_of(split), split, plans, quick=options.quick, **few)
    for row in result:
        rows.show(row)
    out = options.out or (None if options.quick else RESULTS)
    if out is not None and result:
        kept = table1.replaced(table1.read(out), result)
        rows.write_lines(kept, out)
        picture(kept, out.with_suffix(".png"))
    return result


if __name__ == "__main__":
    main()
