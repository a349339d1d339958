"""Claim of the paper, put to the test: from A to B in the latent space the CVAE makes valid structures, the DAE not.

    python experiments/figure1_interpolation.py            (a few minutes on 2 cores, from the finished trainings)
    python experiments/figure1_interpolation.py --quick    (under 50 s: a tiny training, of one model)

Figure 1 of KDD 2020. A and B are test structures with different numbers of atoms; z runs straight from A's to B's
posterior mean (what the encoder makes of structure and PDF), or prior mean (what the PDF alone gives), in 21 points.
Each is decoded, trilaterated and scaled by its own decoded radius; all interior points of 20 paths count. Asked for:
at least 90 % of the CVAE's valid, end points whose PDFs have Pearson > 0.95 with those of A and B, and small steps
between neighbouring points where the number of atoms stays. The picture has the path of seed 0 whose ends differ most
in their number of atoms.

A structure is valid where it is in one piece, with no distance under 0.85 bonds. Between A and B the bond is its own:
the median distance to a nearest neighbour, within the range of the data's bonds.
"""

import itertools
from functools import partial
from typing import Any, NamedTuple

import drawing
import figures
import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import rows
import trainings
from jaxtyping import Array

from jaxstruc.network import dataset, evaluation, propose, representation
from jaxstruc.network.dataset import Dataset
from jaxstruc.network.model import CVAE

NAME = "figure1_interpolation"
PATHS, POINTS, SHOWN = 20, 21, 7
ENDS = ("posterior", "prior")
"""Where the ends of a path come from."""
DECODE = jax.jit(propose.structures, static_argnames="network")


class Paths(NamedTuple):
    """Structures along paths, all [path, point, ...]."""

    positions: np.ndarray
    """Å"""
    mask: np.ndarray
    converged: np.ndarray
    """Whether the trilateration converged."""


def pairs(data: Dataset, test: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Return pairs of test PDFs [pair, 2] whose structures have different numbers of atoms."""
    ends = test[np.random.default_rng(seed).integers(len(test), size=(50 * count, 2))]
    atoms = figures.counts(data, ends)
    return ends[atoms[:, 0] != atoms[:, 1]][:count]


def features(data: Dataset, which: np.ndarray, *, atoms: int, satellites: int) -> representation.Features:
    """Return the unit-sphere features of the structures behind some PDFs."""
    found = dataset.shape_features(data.shapes, atoms=atoms, satellites=satellites)
    chosen = jax.tree.map(lambda column: column[data.shape[which]], found)
    return chosen._replace(radius=chosen.radius * jnp.asarray(data.bond[which], jnp.float32))


def latent_ends(data: Dataset, run: trainings.Trained, at: int, ends: np.ndarray) -> dict[str, np.ndarray]:
    """Return the latent vectors of the ends of paths [path, 2, latent], by each of `ENDS`."""
    which = ends.ravel()
    sizes, pdf = run.network.sizes, dataset.normalised(jnp.asarray(data.pdf[which]))
    seen = features(data, which, atoms=sizes.atoms, satellites=sizes.satellites)
    means = latent_means(run.params[at], seen, pdf, network=run.network)
    return {name: np.asarray(mean).reshape(*ends.shape, -1) for name, mean in zip(ENDS, means, strict=True)}


@partial(jax.jit, static_argnames="network")
def latent_means(params: Any, seen: representation.Features, pdf: Array, *, network: CVAE) -> tuple[Array, Array]:
    """Return the posterior's and the prior's mean of structures and their normalised PDFs [pdf, latent]."""
    posterior: Any = network.apply(params, seen, pdf, method=CVAE.encode)
    prior: Any = network.apply(params, pdf, method=CVAE.prior)
    return posterior.mean, prior.mean


def interpolated(params: Any, ends: np.ndarray, *, network: CVAE, points: int) -> Paths:
    """Return the structures on the straight lines between latent vectors [path, 2, latent]."""
    share = np.linspace(0, 1, points)[:, None]
    z = (1 - share) * ends[:, :1] + share * ends[:, 1:]
    found = DECODE(params, jnp.asarray(z.reshape(-1, z.shape[-1]), jnp.float32), network=network)
    flat = (*evaluation.shown(found), found.converged)
    return Paths(*(np.asarray(each).reshape(*z.shape[:2], *each.shape[1:]) for each in flat))


def own_bond(positions: np.ndarray, bonds: tuple[float, float]) -> float:
    """Return the median distance to a nearest neighbour, within the range of the data's bonds."""
    if len(positions) < 2 or not np.isfinite(positions).all():
        return bonds[0]
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    return float(np.clip(np.median(apart.min(axis=1)), *bonds))


def largest_step(one: np.ndarray, two: np.ndarray) -> float:
    """Return how far the atom that moves most goes between two structures, turned to fit best; in their unit."""
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        return float("nan")
    left, _, right = np.linalg.svd(two.T @ one)
    return float(np.linalg.norm(two @ (left @ right) - one, axis=1).max())


def validity(paths: Paths, bonds: tuple[float, float]) -> np.ndarray:
    """Return whether each structure on the paths is valid [path, point]."""
    places = np.ndindex(paths.mask.shape[:2])
    flat = [
        evaluation.valid(paths.positions[at], paths.mask[at], own_bond(paths.positions[at][paths.mask[at]], bonds))
        for at in places
    ]
    return np.reshape(flat, paths.mask.shape[:2])


def steps(paths: Paths, bonds: tuple[float, float]) -> np.ndarray:
    """Return the largest step of an atom to the next point, in bonds [path, point - 1]; NaN where the count changes."""
    found = np.full((paths.mask.shape[0], paths.mask.shape[1] - 1), np.nan)
    atoms = paths.mask.sum(axis=2)
    for path, point in np.argwhere((atoms[:, 1:] == atoms[:, :-1]) & (atoms[:, 1:] > 1)):
        one, two = (paths.positions[path, at][paths.mask[path, at]] for at in (point, point + 1))
        found[path, point] = largest_step(one, two) / own_bond(one, bonds)
    return found


def end_pearsons(data: Dataset, ends: np.ndarray, paths: Paths) -> np.ndarray:
    """Return the Pearson correlation of the end points' PDFs and those of A and B [path, 2]."""
    which = ends.ravel()
    positions, mask = (np.concatenate(list(each[:, [0, -1]])) for each in (paths.positions, paths.mask))
    found = evaluation.Structures(jnp.asarray(positions), jnp.asarray(mask))
    rebuilt = evaluation.simulate(found, figures.conditions(data, which))
    return np.asarray(jax.vmap(evaluation.pearson)(jnp.asarray(data.pdf[which]), rebuilt)).reshape(ends.shape)


def measures(data: Dataset, ends: np.ndarray, paths: Paths) -> dict[str, np.ndarray]:
    """Return the measures of the paths, by the names of the results' rows.

    Of interior points: the shares of each path that are valid and that converged. Of the ends: Pearson, and whether the
    number of atoms is right. Of neighbours with equally many atoms: each step, and the largest of each path, in bonds.
    """
    bonds = float(data.bond.min()), float(data.bond.max())
    step = steps(paths, bonds)
    some = np.isfinite(step).any(axis=1)
    atoms = paths.mask[:, [0, -1]].sum(axis=2)
    return {
        "valid": validity(paths, bonds)[:, 1:-1].mean(axis=1),
        "converged": paths.converged[:, 1:-1].mean(axis=1),
        "pearson_ends": end_pearsons(data, ends, paths).ravel(),
        "count_exact_ends": (atoms == figures.counts(data, ends)).ravel(),
        "step": step.ravel(),
        "largest_step": np.where(some, np.nanmax(np.where(some[:, None], step, 0.0), axis=1), np.nan),
        "count_changes": (np.diff(paths.mask.sum(axis=2), axis=1) != 0).sum(axis=1),
    }


def picture(data: Dataset, drawn: dict[str, tuple[np.ndarray, Paths]]) -> matplotlib.figure.Figure:
    """Draw for each model the true ends, points of its one path, and the number of atoms along it."""
    bonds = float(data.bond.min()), float(data.bond.max())
    figure = matplotlib.figure.Figure(figsize=(14, 2.1 * len(drawn)), layout="constrained")
    grid = figure.subplots(len(drawn), SHOWN + 3, width_ratios=(*[1] * (SHOWN + 2), 1.9), squeeze=False)
    for (model, (ends, paths)), line in zip(drawn.items(), grid, strict=True):
        good = validity(paths, bonds)[0]
        atoms = paths.mask[0].sum(axis=1)
        points = np.linspace(0, len(atoms) - 1, SHOWN).round().astype(int)
        true = evaluation.truth(data, ends, atoms=paths.mask.shape[2])
        true = [np.asarray(x)[np.asarray(mask)] for x, mask in zip(*true, strict=True)]
        between = [paths.positions[0, point][paths.mask[0, point]] for point in points]
        reach = drawing.reach([*true, *between], bond=data.bond[ends].max())
        for axes, positions, name, bond in zip(line[[0, -2]], true, "AB", data.bond[ends], strict=True):
            drawing.spheres(axes, positions, bond=bond, reach=reach, colour="C0")
            axes.set_title(f"{name}: {len(positions)} atoms", fontsize=9)
        for axes, positions, point in zip(line[1:-2], between, points, strict=True):
            colour = "C2" if good[point] else "C3"
            drawing.spheres(axes, positions, bond=own_bond(positions, bonds), reach=reach, colour=colour)
            axes.set_title(f"{point / (len(atoms) - 1):.2f}: {len(positions)} atoms", fontsize=9)
        line[0].set_ylabel(model, fontsize=11)
        share = np.linspace(0, 1, len(atoms))
        line[-1].step(share, atoms, where="mid", color="0.6", lw=1)
        for kind, colour, name in ((good, "C2", "valid"), (~good, "C3", "not valid")):
            line[-1].plot(share[kind], atoms[kind], "o", ms=3.5, color=colour, label=name)
        line[-1].set(ylabel="atoms", ylim=(0, None), xticks=(0, 0.5, 1), xticklabels=("A", "", "B"))
        line[-1].legend(frameon=False, fontsize=7)
    return figure


def main(arguments=None) -> list[dict]:
    """Interpolate, show, write and draw."""
    parser = figures.parser(__doc__, NAME)
    parser.add_argument("--models", nargs="+", choices=list(trainings.MODELS), help="[dae, cvae, cvae+pdf; quick cvae]")
    parser.add_argument("--latents", type=int, nargs="+", help="[2 8; quick 2]; the picture has the first")
    options = parser.parse_args(arguments)
    data = trainings.data_of(options.split)
    drawn, result = {}, []
    models = options.models or (["cvae"] if options.quick else ["dae", "cvae", "cvae+pdf"])
    latents = options.latents or ([2] if options.quick else [2, 8])
    for latent, model in itertools.product(latents, models):
        run = figures.trained(data, model, options.split, latent, quick=options.quick)
        for at, seed in enumerate(run.seeds):
            ends = pairs(data, figures.tested(run, at), count=PATHS, seed=seed)
            for source, z in latent_ends(data, run, at, ends).items():
                paths = interpolated(run.params[at], z, network=run.network, points=POINTS)
                named = {"name": NAME, "model": model, "run": run, "seed": seed, "ends": source}
                result += figures.rows_of(measures(data, ends, paths), **named)
                if latent == latents[0] and at == 0 and source == ENDS[0]:
                    most = int(np.argmax(np.abs(np.diff(figures.counts(data, ends), axis=1))))
                    drawn[model] = ends[most], Paths(*(each[most : most + 1] for each in paths))
    out = figures.destination(options, NAME)
    if out is not None:
        rows.write_lines(result, out)
        drawing.save(picture(data, drawn), out.with_suffix(".png"))
    return result


if __name__ == "__main__":
    main()
