"""Claim: a thousand clusters are fitted in the time in which SciPy fits a handful, to the same misfit.

    pip install -e '.[test]'                              (optimistix)
    python experiments/benchmark_refinement.py            (about six minutes on 2 cores, once the library is made)
    python experiments/benchmark_refinement.py --quick    (under 50 s)

Five parameters (scale, stretch, Uiso, delta2, qdamp) of clusters of 50 to 200 atoms, fitted to a simulated G(r), r 1 to
20 Å in steps of 0.01 Å, with noise on F(Q); batches of 256 and 1024 unlike clusters, one of them the right one. Medians
of several runs, on two cores; compilation apart; templates within the time and apart.

Beside it, on one core, `scipy.optimize.least_squares` with a plain NumPy model: Gaussians at the same binned distances,
cut to the Q range by one matrix; same data, bounds and starts. Its best Rw is the lower of that and of a second run,
not timed, from where ours ended: ours may exceed it by what the templates leave out, and where a fit is not converged.

And `optimistix.LevenbergMarquardt`, the reason for a descent of our own: the same model, data, starts and tables, also
jitted and vmapped. It ends where a step's change of the residual, squared, is below the fall of the sum of squares at
which ours ends at Rw = 0.1, about the least here. It knows no bounds, so that places between them are sigmoids of what
it moves. Its `largest_excess` is how far our Rw lies above its own.

Mining: all candidates of at most 1000 atoms screened, 1500 of them fitted and the best 200 refined, for one file with
its compilation, again without, and for a second file of the same element. An accelerator, where there is one, is used
by jaxstruc alone.
"""

import argparse
import os
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

THREADS = 2
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import drawing
import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import optimistix
import rows
from measured_pdfs import draws_of
from scipy.optimize import least_squares

from jaxstruc.inference import fit, screening, values
from jaxstruc.inference import target as targets
from jaxstruc.inference.candidates import Candidates, fit_all, pool
from jaxstruc.inference.target import BEYOND, Basis, Target
from jaxstruc.scattering import form_factors, templates
from jaxstruc.scattering.parameters import PARAMETERS, USUAL
from jaxstruc.scattering.templates import Span, Template
from jaxstruc.solver.answers import REFINED
from jaxstruc.structures import library
from jaxstruc.structures.distances import Histogram
from jaxstruc.structures.library import Library

NAME = "benchmark_refinement"
RESULTS = Path(__file__).parent / "results"
FREE = (*USUAL, "qdamp")
BOND = form_factors.bond_length("Au")
R = np.arange(1.0, 20.005, 0.01)
LIMITS = {"qmin": 1.0, "qmax": 22.0}
"""1/Å"""
TRUE = {"uiso": 0.008, "delta2": 2.0, "qdamp": 0.04}
STRETCH = 1.01
NOISE = 0.3
"""Of a point of F(Q), relative to its root mean square; points are 0.02 1/Å apart."""
START_QDAMP = 0.03
NAMES = ("icosahedron", "decahedron", "octahedron", "fcc")
STEP = 0.02
"""Å, of the plain model's Gaussians."""
MOST_STEPS, FITS_WELL = 100, 0.1
"""Of optimistix, and the Rw to which its tolerance is relative."""


def data(candidates: Library, index: int, *, seed: int) -> np.ndarray:
    """Return the simulated G(r) of a candidate."""
    positions = library.cluster(candidates, index).positions * BOND * STRETCH
    return draws_of(positions, R, np.random.default_rng(seed), noise=NOISE, draws=1, **LIMITS, **TRUE)[0]


def target(g: np.ndarray, span: Span) -> Target:
    """Return the data as the fits need them."""
    return targets.target(R, g, **LIMITS, qdamp=START_QDAMP, qbroad=0.0, bond=BOND, span=span)


def timed(call, *, runs: int):
    """Return what a call gives, the seconds of the first, and the median of `runs` more."""
    seconds = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        result = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - begin)
    return result, seconds[0], float(np.median(seconds[1:]))


def binned(candidates: Library, chosen: np.ndarray, goal: Target) -> Histogram:
    """Return the distances of some candidates, on the device."""
    return jax.device_put(
        library.tables([(candidates, index) for index in chosen], bond=BOND, longest=goal.span.longest)
    )


def batches(candidates: Library, size: int, goal: Target, *, runs: int):
    """Return the chosen candidates, their fits, and rows with the time of a batch."""
    chosen = np.linspace(0, len(candidates.atoms) - 1, size).round().astype(int)
    bins, basis = binned(candidates, chosen, goal), goal.basis
    make = jax.vmap(lambda histogram: templates.template(histogram, BOND, span=basis.span))
    refine = partial(fit.refine_all, free=FREE)
    one, other, both = jax.jit(make), jax.jit(refine), jax.jit(lambda bins, basis: refine(make(bins), basis))
    tables, *of_templates = timed(lambda: one(bins), runs=runs)
    fits, *of_fits = timed(lambda: other(tables, basis), runs=runs)
    fits, *of_both = timed(lambda: both(bins, basis), runs=runs)
    found = [
        {
            "what": what,
            "engine": "jaxstruc",
            "batch": size,
            "clusters": len(np.unique(chosen)),
            "most_atoms": int(candidates.atoms[chosen].max()),
            "runs": runs,
            "first_call_seconds": first,
            "seconds": seconds,
            "fits_per_second": size / seconds,
            "ms_per_fit": 1e3 * seconds / size,
            "converged": float(np.mean(fits.converged)),
        }
        for what, (first, seconds) in {
            "templates and fits": of_both, "templates": of_templates, "fits": of_fits
        }.items()
    ]  # fmt: skip
    return chosen, jax.tree.map(np.asarray, fits), found


@jax.jit
def theirs(tables: Template, basis: Basis):
    """Return the Rw of a batch of clusters fitted by optimistix, which fits ended well, and their steps."""
    names = values.inner(FREE)

    def length(change):  # of the residual's alone: at a bound what the sigmoid takes goes on for ever
        return jnp.linalg.norm(change) if change.shape != (len(names),) else jnp.zeros(())

    solver = optimistix.LevenbergMarquardt(rtol=0.0, atol=fit.ENOUGH**0.5 * FITS_WELL, norm=length)

    def residual(y, table):
        model = values.curve(table, values.values_at(jax.nn.sigmoid(y), names, basis), basis)
        return (basis.data - values.scale_of(model, basis) * model) / jnp.sqrt(basis.norm)

    def one(table):
        start = jax.scipy.special.logit(values.start(table, names, basis))
        found = optimistix.least_squares(residual, solver, start, args=table, max_steps=MOST_STEPS, throw=False)
        rw = jnp.sqrt(jnp.sum(residual(found.value, table) ** 2) + basis.rest / basis.norm)
        return rw, found.result == optimistix.RESULTS.successful, found.stats["num_steps"]

    return jax.vmap(one)(tables)


def library_peer(candidates: Library, chosen: np.ndarray, fits, goal: Target, *, runs: int) -> dict:
    """Return the row of optimistix on the same batch, beside our misfits of it; the templates are not timed."""
    make = jax.vmap(lambda histogram: templates.template(histogram, BOND, span=goal.span))
    tables = jax.jit(make)(binned(candidates, chosen, goal))
    (rw, ended, steps), first, seconds = timed(lambda: theirs(tables, goal.basis), runs=runs)
    excess = np.asarray(fits.rw) - np.asarray(rw)
    return {
        "what": "fits",
        "engine": "optimistix",
        "version": version("optimistix"),
        "batch": len(chosen),
        "clusters": len(np.unique(chosen)),
        "most_atoms": int(candidates.atoms[chosen].max()),
        "runs": runs,
        "first_call_seconds": first,
        "seconds": seconds,
        "fits_per_second": len(chosen) / seconds,
        "ms_per_fit": 1e3 * seconds / len(chosen),
        "converged": float(np.mean(ended)),
        "steps": float(np.mean(steps)),
        "most_steps": int(np.max(steps)),
        "largest_excess": float(np.max(excess)),
        "least_excess": float(np.min(excess)),
    }


class Plain:
    """G(r) of one cluster in NumPy, in real space: Gaussians, cut to the data's Q range, damped."""

    def __init__(self, table: Histogram):
        """Keep the cluster's distances, in bins, as far as they reach the data."""
        near = table.mean * BOND < R[-1] + BEYOND
        self.weight = table.weight[near].astype(float) / table.atoms
        self.mean = table.mean[near].astype(float) * BOND
        self.variance = table.variance[near].astype(float) * BOND**2

    def curve(self, x: np.ndarray) -> np.ndarray:
        """Return G(r) for values in the order of `FREE`."""
        scale, stretch, uiso, delta2, qdamp = x
        d = self.mean * stretch
        variance = np.maximum(2 * uiso * (1 - delta2 / d**2) + self.variance * stretch**2, 1e-4)
        peaks = np.exp(-0.5 * (FINE - d[:, None]) ** 2 / variance[:, None])
        height = self.weight / (d * np.sqrt(2 * np.pi * variance))
        return scale * np.exp(-0.5 * (R * qdamp) ** 2) * (CUT @ (height @ peaks))

    def start(self, g: np.ndarray, first_peak: float) -> np.ndarray:
        """Return the values from which `fit.refine` starts: the best of some stretches, with the best scale."""
        usual = [PARAMETERS["uiso"].start, PARAMETERS["delta2"].start * BOND**2, START_QDAMP]
        tried = []
        low, high = targets.STRETCH
        for stretch in np.clip(first_peak * np.array(values.TRIED), low + 0.005, high - 0.005):
            curve = self.curve(np.array([1.0, stretch, *usual]))
            scale = max(curve @ g / (curve @ curve), 1e-6)
            tried.append((np.sum((g - scale * curve) ** 2), [scale, stretch, *usual]))
        return np.array(min(tried)[1])

    def fit(self, g: np.ndarray, start: np.ndarray, *, enough: float) -> float:
        """Return the Rw of SciPy's fit from a start.

        Args:
            g: the data.
            start: values in the order of `FREE`.
            enough: relative fall of the sum of squares at which it is done.
        """
        low, high = np.transpose([PARAMETERS[name].bounds(BOND) for name in FREE])
        inside = np.clip(start, low + 1e-6, high - 1e-6)
        found = least_squares(
            lambda x: self.curve(x) - g, inside, bounds=(low, high), x_scale=[1, 0.01, 0.01, 1, 0.01], ftol=enough
        )
        return float(np.sqrt(2 * found.cost / (g @ g)))


def cut() -> np.ndarray:
    """Return the matrix that takes a curve on `FINE` to F(Q) over the data's range, and that to `R`."""
    x, share = np.polynomial.legendre.leggauss(320)
    q = LIMITS["qmin"] + (LIMITS["qmax"] - LIMITS["qmin"]) * (x + 1) / 2
    share *= (LIMITS["qmax"] - LIMITS["qmin"]) / 2
    return (2 / np.pi * STEP) * (np.sin(R[:, None] * q) * share) @ np.sin(q[:, None] * FINE)


def peer(candidates: Library, chosen: np.ndarray, fits, goal: Target, g: np.ndarray, *, count: int) -> dict:
    """Return the row of SciPy on some of the clusters, beside our misfits of the same."""
    seconds, differences, same, theirs, ended_well = [], [], [], [], []
    for place in np.linspace(0, len(chosen) - 1, count).round().astype(int):
        model = Plain(library.table(candidates, chosen[place]))
        begin = time.perf_counter()
        rw = model.fit(g, model.start(g, float(goal.basis.stretch)), enough=fit.ENOUGH)
        seconds.append(time.perf_counter() - begin)
        ended = np.array([getattr(fits.values, name)[place] for name in FREE], float)
        best = min(rw, model.fit(g, ended, enough=1e-8))
        theirs.append(rw)
        ended_well.append(bool(fits.converged[place]))
        same.append(float(fits.rw[place]) - rw)
        differences.append(float(fits.rw[place]) - best)
    return {
        "what": "fits",
        "engine": "SciPy",
        "batch": 1,
        "clusters": count,
        "most_atoms": int(candidates.atoms[chosen].max()),
        "runs": 1,
        "seconds": float(np.median(seconds)),
        "fits_per_second": 1 / float(np.median(seconds)),
        "ms_per_fit": 1e3 * float(np.median(seconds)),
        "rw": theirs,
        "largest_excess_same_start": max(same),
        "largest_excess": max(differences),
        "largest_excess_converged": max(
            (x for x, done in zip(differences, ended_well, strict=True) if done), default=None
        ),
    }


def mine(candidates: Library, curves: list[np.ndarray], *, fitted: int, refined: int, most_atoms: int) -> list[dict]:
    """Return rows with the time of mining each curve, the first of them twice."""
    found = []
    allowed = library.select(candidates, max_atoms=most_atoms)
    span = targets.span(rmax=R[-1], qmax=LIMITS["qmax"], diameter=float(candidates.diameter[allowed].max()) * BOND)
    names = ["first file, with compilation", *(f"file {index + 1}" for index in range(len(curves)))]
    for name, g in zip(names, [curves[0], *curves], strict=True):
        begin = time.perf_counter()
        goal = target(g, span)
        bins = screening.bins(candidates, allowed, bond=BOND, span=span)
        chosen = screening.chosen(bins, screening.misfits(bins, goal.basis), most=fitted)
        tried = pool([Candidates("library", candidates, chosen)])
        seconds_screening = time.perf_counter() - begin
        rw = fit_all(tried, goal).rw
        best = tried.chosen(np.argsort(np.where(np.isfinite(rw), rw, np.inf), kind="stable")[:refined])
        fits = fit_all(best, goal, free=FREE)
        found.append(
            {
                "what": "mining",
                "engine": "jaxstruc",
                "file": name,
                "screened": len(allowed),
                "fitted": len(chosen),
                "refined": len(best.place),
                "most_atoms": int(candidates.atoms[chosen].max()),
                "seconds_screening": seconds_screening,
                "seconds": time.perf_counter() - begin,
                "rw_best": float(np.nanmin(fits.rw)),
            }
        )
    return found


def picture(results: list[dict], path: Path) -> None:
    """Draw fits a second."""
    shown = [row for row in results if "fits_per_second" in row and row["what"] != "templates"]
    names = [f"{row['engine']}, {row['what']}" + (f", {row['batch']} at once") * (row["batch"] > 1) for row in shown]
    figure = matplotlib.figure.Figure(figsize=(7, 0.8 + 0.4 * len(shown)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(names, [row["fits_per_second"] for row in shown], log=True)
    axes.bar_label(bars, fmt="{:.0f}", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set(xlabel="fits a second")
    drawing.save(figure, path)


def main(arguments=None) -> list[dict]:
    """Run, show, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one batch of 32, and little mining; writes nothing")
    parser.add_argument("--batches", type=int, nargs="+", help="clusters at once [256 1024; quick 32]")
    parser.add_argument("--peers", type=int, help="clusters that SciPy fits too [10; quick 2]")
    parser.add_argument("--fitted", type=int, help="candidates fitted in mining [1500; quick 128]")
    parser.add_argument("--runs", type=int, help="whose median is taken [5; quick 2]")
    parser.add_argument("--out", type=Path, help=f"[results/{NAME}.jsonl, but not with --quick]; a .png beside it")
    options = parser.parse_args(arguments)
    quick = options.quick
    candidates = library.build(NAMES[: 3 if quick else 4], min_atoms=50, max_atoms=120 if quick else 200)
    span = targets.span(rmax=R[-1], qmax=LIMITS["qmax"], diameter=float(candidates.diameter.max()) * BOND)
    right = len(candidates.atoms) - 1
    g = data(candidates, right, seed=0)
    goal = target(g, span)
    common = {"experiment": NAME, "free": FREE, "noise": NOISE, "commit": rows.commit(), **rows.environment()}
    results: list[dict] = []

    def keep(found: list[dict]) -> None:
        for row in found:
            results.append({**row, **common})
            rows.show(results[-1])

    for size in options.batches or ([32] if quick else [64, 256, 1024]):
        chosen, fits, found = batches(candidates, size, goal, runs=options.runs or (2 if quick else 5))
        keep([*found, library_peer(candidates, chosen, fits, goal, runs=options.runs or (2 if quick else 5))])
    keep([peer(candidates, chosen, fits, goal, g, count=options.peers or (2 if quick else 10))])
    most_atoms = 120 if quick else 1000
    whole = candidates if quick else library.cached(max_atoms=most_atoms)
    curves = [data(whole, index, seed=index) for index in (len(whole.atoms) - 1, len(whole.atoms) // 2)]
    fitted, refined = options.fitted or (128 if quick else screening.SCREENED), 64 if quick else REFINED
    keep(mine(whole, curves, fitted=fitted, refined=refined, most_atoms=most_atoms))
    out = options.out or (None if quick else RESULTS / f"{NAME}.jsonl")
    if out is not None:
        rows.write_lines(results, out)
        picture(results, out.with_suffix(".png"))
    return results


FINE = np.arange(0.0, R[-1] + BEYOND + 2.0, STEP)
CUT = cut()

if __name__ == "__main__":
    main()
