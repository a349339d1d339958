"""Claim: jaxstruc fits a thousand clusters in the time in which SciPy fits a handful, to the same misfit.

    pip install -e '.[test]'                              (optimistix)
    python experiments/benchmark_refinement.py            (about six minutes on 2 cores, once the library is made)
    python experiments/benchmark_refinement.py --quick    (under 50 s)

Five parameters (scale, stretch, Uiso, delta2, qdamp) of clusters of 50 to 200 atoms are fitted to a simulated G(r) with
noise on F(Q), and with r from 1 to 20 Å in steps of 0.01 Å. A batch has 256 or 1024 different clusters, one of which is
the true one. Times are medians of several runs on two cores without compilation. They are given with and without the
time in which the cluster tables are computed.

For comparison, `scipy.optimize.least_squares` fits a plain NumPy model on one core with the same data, bounds and
starts. The model is a sum of Gaussians at the same binned distances, cut to the Q range by one matrix. SciPy's best Rw
is the lower one of this fit and of a second fit, which starts from the result of jaxstruc and is not timed. The Rw of
jaxstruc may exceed it because the tables are approximate, or if a fit has not converged.

`optimistix.LevenbergMarquardt` fits the same model to the same data from the same starts and tables, also jitted and
vmapped. jaxstruc has its own Levenberg-Marquardt loop because of this comparison. optimistix stops when the squared
change of the residual in a step is below the decrease of the sum of squares at which jaxstruc stops for Rw = 0.1, about
the lowest Rw here. It has no bounds, so that bounded parameters are sigmoids of free ones. The key `largest_excess` is
the largest difference of the Rw of jaxstruc and that of the other program.

Mining screens all candidates of at most 1000 atoms, fits 1500 of them and refines the best 200. It is timed for one
file with compilation, for the same file again, and for a second file of the same element. Only jaxstruc uses an
accelerator, if there is one.
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

import jax
import jax.numpy as jnp
import json_rows
import matplotlib.figure
import numpy as np
import optimistix
import plots
import timing
from measured_pdfs import simulate_noisy_pdfs
from scipy.optimize import least_squares

from jaxstruc.clusters import library
from jaxstruc.clusters.distances import Histogram
from jaxstruc.clusters.library import Library
from jaxstruc.parameters import PARAMETERS
from jaxstruc.pdf import fit, screening
from jaxstruc.pdf import fit as pdf_fit
from jaxstruc.pdf import target as targets
from jaxstruc.pdf.candidates import CandidateGroup, candidate_pool, fit_all
from jaxstruc.pdf.plan import MAX_REFINED_CANDIDATES
from jaxstruc.pdf.target import R_MARGIN, FitBasis, Target
from jaxstruc.scattering import cluster_tables, form_factors
from jaxstruc.scattering.cluster_tables import ClusterTable, TableRange

NAME = "benchmark_refinement"
RESULTS = Path(__file__).parent / "results"
FREE = ("scale", "stretch", "uiso", "delta2", "qdamp")
BOND = form_factors.bond_length("Au")
R_GRID = np.arange(1.0, 20.005, 0.01)
Q_LIMITS = {"qmin": 1.0, "qmax": 22.0}
"""Limits of Q, in 1/Å."""
TRUE_VALUES = {"uiso": 0.008, "delta2": 2.0, "qdamp": 0.04}
TRUE_STRETCH = 1.01
NOISE = 0.3
"""Standard deviation of F(Q) on a 0.02 1/Å grid, relative to the root mean square of F(Q)."""
START_QDAMP = 0.03
FAMILY_NAMES = ("icosahedron", "decahedron", "octahedron", "fcc")
GRID_STEP = 0.02
"""Step of the r grid of the NumPy model, in Å."""
MAX_STEPS, REFERENCE_RW = 100, 0.1
"""Largest number of steps of optimistix, and the Rw to which its tolerance is relative."""


def simulate_data(candidates: Library, index: int, *, seed: int) -> np.ndarray:
    """Return the simulated G(r) of a candidate."""
    positions = library.candidate_cluster(candidates, index).positions * BOND * TRUE_STRETCH
    return simulate_noisy_pdfs(
        positions, R_GRID, np.random.default_rng(seed), noise=NOISE, draws=1, **Q_LIMITS, **TRUE_VALUES
    )[0]


def make_target(g: np.ndarray, span: TableRange) -> Target:
    """Return the target of a curve on `R_GRID`."""
    return targets.make_target(
        R_GRID, g, targets.TargetSettings(**Q_LIMITS, qdamp=START_QDAMP, qbroad=0.0, bond=BOND, span=span)
    )


def cluster_histograms(candidates: Library, indices: np.ndarray, target: Target) -> Histogram:
    """Return the binned distances of the candidates with these indices, on the device."""
    return jax.device_put(
        library.scaled_histograms(
            [(candidates, index) for index in indices], bond=BOND, max_distance=target.span.max_distance
        )
    )


def time_batch(candidates: Library, size: int, target: Target, *, runs: int):
    """Return the indices of the candidates of a batch, their fits, and rows with the times of the batch."""
    indices = np.linspace(0, len(candidates.atoms) - 1, size).round().astype(int)
    histograms, basis = cluster_histograms(candidates, indices, target), target.basis
    make_tables = jax.vmap(lambda histogram: cluster_tables.tabulate_cluster(histogram, BOND, span=basis.span))
    refine = partial(fit.refine_all, free=FREE)
    tables_call, fits_call, combined_call = (
        jax.jit(make_tables),
        jax.jit(refine),
        jax.jit(lambda histograms, basis: refine(make_tables(histograms), basis)),
    )
    tables, *table_times = timing.time_calls(lambda: tables_call(histograms), n_repeats=runs)
    fits, *fit_times = timing.time_calls(lambda: fits_call(tables, basis), n_repeats=runs)
    fits, *combined_times = timing.time_calls(lambda: combined_call(histograms, basis), n_repeats=runs)
    result_rows = [
        {
            "what": stage,
            "engine": "jaxstruc",
            "batch": size,
            "clusters": len(np.unique(indices)),
            "most_atoms": int(candidates.atoms[indices].max()),
            "runs": runs,
            "first_call_seconds": first_seconds,
            "seconds": seconds,
            "fits_per_second": size / seconds,
            "ms_per_fit": 1e3 * seconds / size,
            "converged": float(np.mean(fits.converged)),
        }
        for stage, (first_seconds, seconds) in {
            "templates and fits": combined_times, "templates": table_times, "fits": fit_times
        }.items()
    ]  # fmt: skip
    return indices, jax.tree.map(np.asarray, fits), result_rows


@jax.jit
def fit_with_optimistix(tables: ClusterTable, basis: FitBasis):
    """Return Rw, whether the fit has converged, and the number of steps of each cluster, fitted by optimistix."""
    names = pdf_fit.nonlinear_parameters(FREE)

    def length(change):
        # Only the residual is tested, because at a bound the argument of a sigmoid never stops changing.
        return jnp.linalg.norm(change) if change.shape != (len(names),) else jnp.zeros(())

    solver = optimistix.LevenbergMarquardt(rtol=0.0, atol=fit.COST_TOLERANCE**0.5 * REFERENCE_RW, norm=length)

    structure = jax.tree.structure(tables)

    def residual(y, leaves):  # Leaves are passed because optimistix puts flags in place of arrays.
        table = structure.unflatten(leaves)
        model = pdf_fit.model_curve(table, pdf_fit.fractions_to_values(jax.nn.sigmoid(y), names, basis), basis)
        return (basis.data - pdf_fit.best_scale(model, basis) * model) / jnp.sqrt(basis.norm)

    def fit_cluster(table):
        start = jax.scipy.special.logit(pdf_fit.starting_fractions(table, names, basis))
        leaves = jax.tree.leaves(table)
        solution = optimistix.least_squares(residual, solver, start, args=leaves, max_steps=MAX_STEPS, throw=False)
        rw = jnp.sqrt(jnp.sum(residual(solution.value, leaves) ** 2) + basis.unmodelled_squares / basis.norm)
        return rw, solution.result == optimistix.RESULTS.successful, solution.stats["num_steps"]

    return jax.vmap(fit_cluster)(tables)


def optimistix_row(candidates: Library, indices: np.ndarray, fits, target: Target, *, runs: int) -> dict:
    """Return the row of optimistix for the same batch, with the excess Rw of jaxstruc; tables are not timed."""
    make_tables = jax.vmap(lambda histogram: cluster_tables.tabulate_cluster(histogram, BOND, span=target.span))
    tables = jax.jit(make_tables)(cluster_histograms(candidates, indices, target))
    (rw, is_converged, steps), first_seconds, seconds = timing.time_calls(
        lambda: fit_with_optimistix(tables, target.basis), n_repeats=runs
    )
    excess = np.asarray(fits.rw) - np.asarray(rw)
    return {
        "what": "fits",
        "engine": "optimistix",
        "version": version("optimistix"),
        "batch": len(indices),
        "clusters": len(np.unique(indices)),
        "most_atoms": int(candidates.atoms[indices].max()),
        "runs": runs,
        "first_call_seconds": first_seconds,
        "seconds": seconds,
        "fits_per_second": len(indices) / seconds,
        "ms_per_fit": 1e3 * seconds / len(indices),
        "converged": float(np.mean(is_converged)),
        "steps": float(np.mean(steps)),
        "most_steps": int(np.max(steps)),
        "largest_excess": float(np.max(excess)),
        "least_excess": float(np.min(excess)),
    }


class NumpyModel:
    """G(r) of one cluster as a sum of Gaussians in NumPy, cut to the Q range of the data and damped."""

    def __init__(self, table: Histogram):
        """Keep the binned distances of a cluster that contribute to the data."""
        in_range = table.mean * BOND < R_GRID[-1] + R_MARGIN
        self.weight = table.weight[in_range].astype(float) / table.atoms
        self.mean = table.mean[in_range].astype(float) * BOND
        self.variance = table.variance[in_range].astype(float) * BOND**2

    def curve(self, parameters: np.ndarray) -> np.ndarray:
        """Return G(r) for values in the order of `FREE`."""
        scale, stretch, uiso, delta2, qdamp = parameters
        distance = self.mean * stretch
        variance = np.maximum(2 * uiso * (1 - delta2 / distance**2) + self.variance * stretch**2, 1e-4)
        peaks = np.exp(-0.5 * (FINE_R_GRID - distance[:, None]) ** 2 / variance[:, None])
        height = self.weight / (distance * np.sqrt(2 * np.pi * variance))
        return scale * np.exp(-0.5 * (R_GRID * qdamp) ** 2) * (Q_CUT @ (height @ peaks))

    def start(self, g: np.ndarray, first_peak: float) -> np.ndarray:
        """Return the start values of `fit.refine`: the best of a few stretches, with the best scale."""
        usual_values = [PARAMETERS["uiso"].start, PARAMETERS["delta2"].start * BOND**2, START_QDAMP]
        trials = []
        low, high = targets.STRETCH_BOUNDS
        for stretch in np.clip(first_peak * np.array(pdf_fit.START_STRETCH_FACTORS), low + 0.005, high - 0.005):
            curve = self.curve(np.array([1.0, stretch, *usual_values]))
            scale = max(curve @ g / (curve @ curve), 1e-6)
            trials.append((np.sum((g - scale * curve) ** 2), [scale, stretch, *usual_values]))
        return np.array(min(trials)[1])

    def fit(self, g: np.ndarray, start: np.ndarray, *, cost_tolerance: float) -> float:
        """Return the Rw of SciPy's fit from a start.

        Args:
            g: G(r) of the data.
            start: Start values in the order of `FREE`.
            cost_tolerance: Relative decrease of the sum of squares below which the fit stops.
        """
        low, high = np.transpose([PARAMETERS[name].bounds(BOND) for name in FREE])
        start_in_bounds = np.clip(start, low + 1e-6, high - 1e-6)
        solution = least_squares(
            lambda parameters: self.curve(parameters) - g,
            start_in_bounds,
            bounds=(low, high),
            x_scale=[1, 0.01, 0.01, 1, 0.01],
            ftol=cost_tolerance,
        )
        return float(np.sqrt(2 * solution.cost / (g @ g)))


def q_cut_matrix() -> np.ndarray:
    """Return the matrix that cuts a curve on `FINE_R_GRID` to the Q range of the data, on `R_GRID`."""
    nodes, weights = np.polynomial.legendre.leggauss(320)
    q = Q_LIMITS["qmin"] + (Q_LIMITS["qmax"] - Q_LIMITS["qmin"]) * (nodes + 1) / 2
    weights *= (Q_LIMITS["qmax"] - Q_LIMITS["qmin"]) / 2
    return (2 / np.pi * GRID_STEP) * (np.sin(R_GRID[:, None] * q) * weights) @ np.sin(q[:, None] * FINE_R_GRID)


def scipy_row(candidates: Library, indices: np.ndarray, fits, target: Target, g: np.ndarray, *, count: int) -> dict:
    """Return the row of SciPy for some of the clusters, with the excess Rw of jaxstruc."""
    seconds, excesses, same_start_excesses, scipy_rw, converged = [], [], [], [], []
    for row in np.linspace(0, len(indices) - 1, count).round().astype(int):
        model = NumpyModel(library.candidate_histogram(candidates, indices[row]))
        start = time.perf_counter()
        rw = model.fit(g, model.start(g, float(target.basis.stretch)), cost_tolerance=fit.COST_TOLERANCE)
        seconds.append(time.perf_counter() - start)
        end_values = np.array([getattr(fits.values, name)[row] for name in FREE], float)
        best_rw = min(rw, model.fit(g, end_values, cost_tolerance=1e-8))
        scipy_rw.append(rw)
        converged.append(bool(fits.converged[row]))
        same_start_excesses.append(float(fits.rw[row]) - rw)
        excesses.append(float(fits.rw[row]) - best_rw)
    return {
        "what": "fits",
        "engine": "SciPy",
        "batch": 1,
        "clusters": count,
        "most_atoms": int(candidates.atoms[indices].max()),
        "runs": 1,
        "seconds": float(np.median(seconds)),
        "fits_per_second": 1 / float(np.median(seconds)),
        "ms_per_fit": 1e3 * float(np.median(seconds)),
        "rw": scipy_rw,
        "largest_excess_same_start": max(same_start_excesses),
        "largest_excess": max(excesses),
        "largest_excess_converged": max(
            (excess for excess, is_converged in zip(excesses, converged, strict=True) if is_converged), default=None
        ),
    }


def mining_rows(
    candidates: Library, pdfs: list[np.ndarray], *, n_fitted: int, n_refined: int, most_atoms: int
) -> list[dict]:
    """Return rows with the times of mining; the first curve is mined twice."""
    result_rows = []
    allowed_rows = library.select(candidates, max_atoms=most_atoms)
    span = targets.table_range(
        rmax=R_GRID[-1], qmax=Q_LIMITS["qmax"], diameter=float(candidates.diameter[allowed_rows].max()) * BOND
    )
    names = ["first file, with compilation", *(f"file {index + 1}" for index in range(len(pdfs)))]
    for name, g in zip(names, [pdfs[0], *pdfs], strict=True):
        start = time.perf_counter()
        target = make_target(g, span)
        binned_distances = screening.binned_distances(candidates, allowed_rows, bond=BOND, span=span)
        screened_rows = screening.best_rows(
            binned_distances, screening.approximate_rw(binned_distances, target.basis), count=n_fitted
        )
        screened_pool = candidate_pool([CandidateGroup("library", candidates, screened_rows)])
        seconds_screening = time.perf_counter() - start
        rw = fit_all(screened_pool, target, free=FREE[:4]).rw
        best_pool = screened_pool.select(np.argsort(np.where(np.isfinite(rw), rw, np.inf), kind="stable")[:n_refined])
        fits = fit_all(best_pool, target, free=FREE)
        result_rows.append(
            {
                "what": "mining",
                "engine": "jaxstruc",
                "file": name,
                "screened": len(allowed_rows),
                "fitted": len(screened_rows),
                "refined": len(best_pool.group_row),
                "most_atoms": int(candidates.atoms[screened_rows].max()),
                "seconds_screening": seconds_screening,
                "seconds": time.perf_counter() - start,
                "rw_best": float(np.nanmin(fits.rw)),
            }
        )
    return result_rows


def plot_fit_rates(results: list[dict], path: Path) -> None:
    """Draw a bar chart of fits per second."""
    fit_rows = [row for row in results if "fits_per_second" in row and row["what"] != "templates"]
    names = [f"{row['engine']}, {row['what']}" + (f", {row['batch']} at once") * (row["batch"] > 1) for row in fit_rows]
    figure = matplotlib.figure.Figure(figsize=(7, 0.8 + 0.4 * len(fit_rows)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(names, [row["fits_per_second"] for row in fit_rows], log=True)
    axes.bar_label(bars, fmt="{:.0f}", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set(xlabel="fits a second")
    plots.save_figure(figure, path)


def main(arguments=None) -> list[dict]:
    """Run all benchmarks, print the rows, and write rows and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use one batch of 32 and little mining, and write nothing")
    parser.add_argument("--batches", type=int, nargs="+", help="numbers of clusters in a batch [256 1024; quick 32]")
    parser.add_argument("--peers", type=int, help="number of clusters that SciPy fits too [10; quick 2]")
    parser.add_argument("--fitted", type=int, help="number of candidates fitted in mining [1500; quick 128]")
    parser.add_argument("--runs", type=int, help="number of runs, of which the median is taken [5; quick 2]")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"file of the rows [results/{NAME}.jsonl; with --quick none]; a .png is written next to it",
    )
    options = parser.parse_args(arguments)
    quick = options.quick
    candidates = library.build(FAMILY_NAMES[: 3 if quick else 4], min_atoms=50, max_atoms=120 if quick else 200)
    span = targets.table_range(rmax=R_GRID[-1], qmax=Q_LIMITS["qmax"], diameter=float(candidates.diameter.max()) * BOND)
    true_index = len(candidates.atoms) - 1
    g = simulate_data(candidates, true_index, seed=0)
    target = make_target(g, span)
    shared_columns = {
        "experiment": NAME,
        "free": FREE,
        "noise": NOISE,
        "commit": json_rows.commit(),
        **json_rows.environment(),
    }
    results: list[dict] = []

    def record_rows(new_rows: list[dict]) -> None:
        for row in new_rows:
            results.append({**row, **shared_columns})
            json_rows.print_row(results[-1])

    for size in options.batches or ([32] if quick else [64, 256, 1024]):
        indices, fits, new_rows = time_batch(candidates, size, target, runs=options.runs or (2 if quick else 5))
        record_rows(
            [*new_rows, optimistix_row(candidates, indices, fits, target, runs=options.runs or (2 if quick else 5))]
        )
    record_rows([scipy_row(candidates, indices, fits, target, g, count=options.peers or (2 if quick else 10))])
    most_atoms = 120 if quick else 1000
    mining_library = candidates if quick else library.load_or_build(max_atoms=most_atoms)
    pdfs = [
        simulate_data(mining_library, index, seed=index)
        for index in (len(mining_library.atoms) - 1, len(mining_library.atoms) // 2)
    ]
    n_fitted, n_refined = (
        options.fitted or (128 if quick else screening.MAX_FITTED),
        64 if quick else MAX_REFINED_CANDIDATES,
    )
    record_rows(mining_rows(mining_library, pdfs, n_fitted=n_fitted, n_refined=n_refined, most_atoms=most_atoms))
    out = options.out or (None if quick else RESULTS / f"{NAME}.jsonl")
    if out is not None:
        json_rows.write_lines(results, out)
        plot_fit_rates(results, out.with_suffix(".png"))
    return results


FINE_R_GRID = np.arange(0.0, R_GRID[-1] + R_MARGIN + 2.0, GRID_STEP)
Q_CUT = q_cut_matrix()

if __name__ == "__main__":
    main()
