"""Claim: jaxstruc is the fastest program for Debye scattering, gradients included, with errors below 1e-5.

    python experiments/benchmark_scattering.py            (about 6 minutes on 2 cores)
    python experiments/benchmark_scattering.py --quick    (under 50 s; writes nothing)

All other programs that are installed (`pip install -e '.[peers]'`) are timed too: DebyeCalculator, ASE's XrDebye,
diffpy.srreal, and a plain NumPy sum. XrDebye has f = Z, so that its sum differs. The structures are fcc gold clusters
of 13 to 5083 atoms and a batch of 100 different clusters of 80 to 100 atoms, on two grids. All programs run in one
process on two cores, one after the other for each case. Times are medians without compilation. The reference of the
errors is a sum in double precision on the same Q grid, with the program's own rule at the ends of the grid. Errors are
relative to the largest value of this sum, and errors of gradients to the largest component. The ratio is the time of
DebyeCalculator divided by the time of the program. Only jaxstruc uses an accelerator, if there is one.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

THREADS = 2
if hasattr(os, "sched_setaffinity") and "--all-cores" not in sys.argv:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

import ase
import ase.utils.xrdebye
import jax
import jax.numpy as jnp
import json_rows
import matplotlib.figure
import numpy as np
import rich.console
import rich.table

from jaxstruc import files
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.pair_distribution import Grid

try:
    import debyecalculator
    import torch
except ImportError:
    debyecalculator = None
try:
    from diffpy.srreal import pdfcalculator
    from diffpy.structure import Atom, Structure
except ImportError:
    pdfcalculator = None

RESULTS = Path(__file__).parent / "results"
LATTICE_CONSTANT = 4.08
"""Lattice constant of gold, in Å."""
UISO, QDAMP = 0.005, 0.04
ATOM_COUNTS = (13, 55, 147, 561, 1415, 5083)
GRIDS = {
    "kdd": {"qmin": 0.0, "qmax": 30.0, "qstep": 0.1, "rmin": 0.0, "rmax": 30.0, "rstep": 0.1},
    "fine": {"qmin": 1.0, "qmax": 22.0, "qstep": 0.01, "rmin": 0.0, "rmax": 50.0, "rstep": 0.01},
}
BATCH_CENTRES = np.random.default_rng(0).uniform(0, 1, (4096, 3))
MAX_PLAIN_ATOMS = 600
"""Largest number of atoms for the plain NumPy sum and for ASE, which take minutes for larger clusters."""


def fcc_sites(atoms: int, centre=(0, 0, 0)):
    """Return the positions of the fcc atoms nearest to a centre, in half lattice constants, as integers."""
    site_range = range(-16, 18)
    lattice = np.stack(np.meshgrid(site_range, site_range, site_range, indexing="ij"), axis=-1).reshape(-1, 3)
    lattice = lattice[lattice.sum(axis=1) % 2 == 0]
    return lattice[np.argsort(((lattice - np.array(centre)) ** 2).sum(axis=1), kind="stable")[:atoms]]


def max_diameter(site_arrays) -> float:
    """Return an upper bound of the longest distance in any of the clusters, in Å."""
    radii = [np.linalg.norm(cluster_sites - cluster_sites.mean(axis=0), axis=1).max() for cluster_sites in site_arrays]
    return float(np.ceil(LATTICE_CONSTANT * max(radii) + 0.01))


class ExactSum:
    """The Debye sum in double precision.

    Squared distances on a lattice are integers, so that each distinct distance is summed only once.
    """

    def __init__(self, lattice_sites, grid: Grid, rule: str):
        """Count the squared distances. `rule` ("trapezoid" or "rectangle") weights the ends of the sine sum."""
        self.lattice_sites, self.q, self.r = lattice_sites, grid.q, grid.r
        self.f = np.asarray(
            form_factors.xray_form_factors(form_factors.xray_coefficients(["Au"]), jnp.asarray(grid.q)), float
        )[0]
        counts = np.zeros(1, np.int64)
        for site in lattice_sites:
            squared_distances = ((lattice_sites - site) ** 2).sum(axis=1)
            bin_counts = np.bincount(squared_distances)
            counts = np.pad(counts, (0, max(0, len(bin_counts) - len(counts))))
            counts[: len(bin_counts)] += bin_counts
        self.squares = np.flatnonzero(counts)[1:]
        self.counts = counts[self.squares]
        self.distance = np.sqrt(self.squares) * LATTICE_CONSTANT / 2
        weights = np.full(self.q.size, grid.qstep)
        if rule == "trapezoid":
            weights[[0, -1]] /= 2
        self.damping = np.exp(-UISO * self.q**2)
        envelope = np.exp(-0.5 * (QDAMP * self.r) ** 2)
        self.to_r = (2 / np.pi) * envelope[:, None] * np.sin(np.outer(self.r, self.q)) * weights

    def curve(self, quantity: str):
        """Return I(Q) or G(r)."""
        sinc_sum = np.sinc(np.outer(self.q, self.distance) / np.pi) @ self.counts * self.damping
        if quantity == "iq":
            return self.f**2 * (len(self.lattice_sites) + sinc_sum)
        return self.to_r @ (self.q * sinc_sum / len(self.lattice_sites))

    def gradient(self, quantity: str, curve_weights):
        """Return the gradient of the sum of `curve_weights` times the curve with respect to the positions."""
        q_weights = (
            self.f**2 * curve_weights
            if quantity == "iq"
            else self.q / len(self.lattice_sites) * (curve_weights @ self.to_r)
        )
        phases = np.outer(self.distance, self.q)
        slope = ((np.cos(phases) - np.sinc(phases / np.pi)) * self.damping) @ q_weights / self.distance
        table = np.zeros(self.squares[-1] + 1)
        table[self.squares] = 2 * slope / self.distance
        result = np.zeros(self.lattice_sites.shape)
        for site_index, site in enumerate(self.lattice_sites):
            separations = site - self.lattice_sites
            result[site_index] = table[(separations**2).sum(axis=1)] @ separations * (LATTICE_CONSTANT / 2)
        return result


def jaxstruc_engine(site_arrays, grid: Grid, quantity: str, gradient: bool, curve_weights):
    """Return jaxstruc's function that computes the curves, its compilation time in s, and the rule of its sine sum."""
    batch, size = len(site_arrays), max(len(cluster_sites) for cluster_sites in site_arrays)
    padded_sites = np.zeros((batch, size, 3), np.float32)
    masks = np.arange(size) < np.array([len(cluster_sites) for cluster_sites in site_arrays])[:, None]
    for row_sites, cluster_sites in zip(padded_sites, site_arrays, strict=True):
        row_sites[: len(cluster_sites)] = cluster_sites * LATTICE_CONSTANT / 2
    q = grid.q
    gold_coefficients = form_factors.xray_coefficients(["Au"])

    def single_curve(positions, mask, instrument):
        count = jnp.sum(mask, keepdims=True).astype(positions.dtype)
        pair_distances = pair_distribution.pair_distances_from_positions(positions, mask, grid)
        if quantity == "gr":
            return pair_distribution.pdf(pair_distances, gold_coefficients, count, instrument, grid)
        return debye.intensity(
            pair_distances,
            instrument,
            form_factors.xray_form_factors(gold_coefficients, jnp.asarray(q, positions.dtype)),
            count,
            q,
        )

    def cluster_sites(positions, masks, instrument):
        if batch == 1:
            return single_curve(positions[0], masks[0], instrument)[None]
        return jax.vmap(single_curve, in_axes=(0, 0, None))(positions, masks, instrument)

    device_weights = jnp.asarray(curve_weights, jnp.float32)

    def curves_and_gradient(positions, masks, instrument):
        def total(positions):
            values = cluster_sites(positions, masks, instrument)
            return jnp.sum(values @ device_weights), values

        (_, values), position_gradient = jax.value_and_grad(total, has_aux=True)(positions)
        return values, position_gradient

    compiled_call = jax.jit(curves_and_gradient if gradient else cluster_sites)
    arguments = (
        jnp.asarray(padded_sites),
        jnp.asarray(masks),
        Instrument(uiso=jnp.float32(UISO), qdamp=jnp.float32(QDAMP)),
    )
    start = time.perf_counter()
    jax.block_until_ready(compiled_call(*arguments))
    return lambda: jax.block_until_ready(compiled_call(*arguments)), time.perf_counter() - start, "trapezoid"


def debyecalculator_engine(site_arrays, grid: Grid, quantity: str, gradient: bool, curve_weights):
    """Return the function, the compilation time and the rule for DebyeCalculator.

    Its Q and r end before the limits, so that half a step is added. It counts each pair once and half of each atom, so
    that its curves are half of the sum. They are doubled for the comparison.
    """
    torch.set_num_threads(THREADS)
    calculator = debyecalculator.DebyeCalculator(
        qmin=grid.qmin, qmax=grid.qmax + grid.qstep / 2, qstep=grid.qstep, rmin=grid.rmin,
        rmax=grid.rmax + grid.rstep / 2, rstep=grid.rstep, biso=8 * np.pi**2 * UISO, qdamp=QDAMP, device="cpu",
    )  # fmt: skip
    function = calculator.gr if quantity == "gr" else calculator.iq
    weight_tensor = torch.tensor(curve_weights, dtype=torch.float32)
    tensors = [
        torch.tensor(entry * LATTICE_CONSTANT / 2, dtype=torch.float32, requires_grad=gradient) for entry in site_arrays
    ]
    structures = [(["Au"] * len(entry), entry) for entry in tensors]
    start = time.perf_counter()

    def call():
        results = function(structures, keep_on_device=gradient)
        results = [entry[1] for entry in (results if isinstance(results, list) else [results])]
        if not gradient:
            return results
        for entry in tensors:
            entry.grad = None
        sum((entry * weight_tensor).sum() for entry in results).backward()
        return [entry.detach().numpy() for entry in results], [entry.grad.numpy() for entry in tensors]

    call()
    return call, time.perf_counter() - start, "rectangle"


def numpy_engine(site_arrays, grid: Grid, quantity: str, gradient: bool, curve_weights):
    """Return the function, the compilation time and the rule for the plain NumPy sum in double precision."""
    q, r = grid.q, grid.r
    f = np.asarray(form_factors.xray_form_factors(form_factors.xray_coefficients(["Au"]), jnp.asarray(q)), float)[0]

    def call():
        result = []
        for cluster_sites in site_arrays:
            positions = cluster_sites * LATTICE_CONSTANT / 2
            first, second = np.triu_indices(len(positions), 1)
            distance = np.linalg.norm(positions[first] - positions[second], axis=1)
            sinc_sum = np.array([2 * np.sum(np.sinc(q_value * distance / np.pi)) for q_value in q]) * np.exp(
                -UISO * q**2
            )
            if quantity == "iq":
                result.append(f**2 * (len(positions) + sinc_sum))
                continue
            weights = np.full(q.size, grid.qstep)
            weights[[0, -1]] /= 2
            g = (2 / np.pi) * (np.sin(np.outer(r, q)) @ (weights * q * sinc_sum / len(positions)))
            result.append(g * np.exp(-0.5 * (QDAMP * r) ** 2))
        return result

    return call, 0.0, "trapezoid"


def ase_engine(site_arrays, grid: Grid, quantity: str, gradient: bool, curve_weights):
    """Return the function for ASE's XrDebye. Its I(Q) has f = Z and damps all terms, so that it has no error."""
    atoms_list = [ase.Atoms(f"Au{len(entry)}", entry * LATTICE_CONSTANT / 2) for entry in site_arrays]
    engines = [ase.utils.xrdebye.XrDebye(entry, wavelength=0.5, damping=0.04, method="Z") for entry in atoms_list]
    return lambda: [entry.calc_pattern(x=grid.q, mode="SAXS") for entry in engines], 0.0, None


def diffpy_engine(site_arrays, grid: Grid, quantity: str, gradient: bool, curve_weights):
    """Return the function for diffpy.srreal's DebyePDFCalculator. It gives only G(r), and has its own Q grid.

    There is no error, because the Q grids differ.
    """
    structures = [
        Structure([Atom("Au", xyz=position, Uisoequiv=UISO) for position in entry * LATTICE_CONSTANT / 2])
        for entry in site_arrays
    ]
    calculator = pdfcalculator.DebyePDFCalculator(
        qmin=grid.qmin, qmax=grid.qmax, rmin=grid.rmin, rmax=grid.rmax, rstep=grid.rstep, qdamp=QDAMP
    )
    return lambda: [calculator(entry)[1] for entry in structures], 0.0, None


ENGINES = {
    "jaxstruc": jaxstruc_engine,
    "DebyeCalculator": debyecalculator_engine if debyecalculator else None,
    "ASE": ase_engine,
    "diffpy.srreal": diffpy_engine if pdfcalculator else None,
    "NumPy": numpy_engine,
}


CURVE_FACTORS = {"DebyeCalculator": 2}


def can_run(engine: str, atoms: int, batch: int, quantity: str, gradient: bool) -> bool:
    """Return whether an engine can compute a case in reasonable time."""
    if ENGINES[engine] is None:
        return False
    if engine in ("ASE", "diffpy.srreal", "NumPy"):
        is_supported = {"ASE": quantity == "iq", "diffpy.srreal": quantity == "gr", "NumPy": True}[engine]
        return is_supported and not gradient and atoms <= MAX_PLAIN_ATOMS and batch == 1
    return batch <= 100 or engine == "jaxstruc"


def max_relative_error(result, site_arrays, grid, quantity, gradient, curve_weights, rule, factor):
    """Return the largest relative error over a few structures of the batch; None if the rule is unknown."""
    if rule is None:
        return None
    max_error = 0.0
    for index in sorted({0, len(site_arrays) // 2, len(site_arrays) - 1}):
        exact_sum = ExactSum(site_arrays[index], grid, rule)
        if gradient:
            true_values = exact_sum.gradient(quantity, curve_weights)
            engine_values = np.asarray(result[1][index])[: len(true_values)]
        else:
            true_values, engine_values = exact_sum.curve(quantity), np.asarray(result[index])
        engine_values = engine_values * factor
        max_error = max(max_error, float(np.abs(engine_values - true_values).max() / np.abs(true_values).max()))
    return max_error


def median_seconds(call, budget: float) -> float:
    """Return the median time of at least three calls in seconds, and of more calls within a time budget."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - start < budget and len(times) < 50):
        call_start = time.perf_counter()
        call()
        times.append(time.perf_counter() - call_start)
    return float(np.median(times))


def run_case(
    grid_name: str,
    atoms: int,
    batch: int,
    quantity: str,
    gradient: bool,
    budget: float,
    *,
    engine_names: Sequence[str] = tuple(ENGINES),
) -> list[dict]:
    """Return a row for each engine that can compute the case."""
    counts = np.random.default_rng(1).integers(80, 101, batch)
    site_arrays = (
        [fcc_sites(atoms)]
        if batch == 1
        else [fcc_sites(n_atoms, centre) for n_atoms, centre in zip(counts, BATCH_CENTRES[:batch], strict=True)]
    )
    grid = Grid(**GRIDS[grid_name], max_distance=max_diameter(site_arrays))
    curve_weights = np.random.default_rng(2).normal(size=(grid.r if quantity == "gr" else grid.q).size)
    result = []
    for engine in engine_names:
        if not can_run(engine, atoms, batch, quantity, gradient):
            continue
        call, compile_seconds, rule = ENGINES[engine](site_arrays, grid, quantity, gradient, curve_weights)
        seconds = median_seconds(call, budget)
        result.append(
            {
                "engine": engine,
                "grid": grid_name,
                "atoms": atoms,
                "batch": batch,
                "quantity": quantity,
                "gradient": gradient,
                "seconds": seconds,
                "structures_per_second": batch / seconds,
                "error": max_relative_error(
                    call(), site_arrays, grid, quantity, gradient, curve_weights, rule, CURVE_FACTORS.get(engine, 1)
                ),
                "ratio": None,
                "first_call_seconds": compile_seconds if engine == "jaxstruc" else None,
                **ENVIRONMENT,
            }
        )
    peer_seconds = [row["seconds"] for row in result if row["engine"] == "DebyeCalculator"]
    for row in result:
        row["ratio"] = peer_seconds[0] / row["seconds"] if peer_seconds else None
        json_rows.print_row(row)
    return result


def memory_row(atoms: int) -> dict:
    """Return the row of one large cluster, with the peak memory of a separate process."""
    command = [sys.executable, __file__, "--memory", str(atoms)]
    seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:]
    row = {
        "engine": "jaxstruc", "grid": "fine", "atoms": atoms, "batch": 1, "quantity": "gr", "gradient": False,
        "seconds": float(seconds), "structures_per_second": 1 / float(seconds), "error": None, "ratio": None,
        "peak_gigabytes": float(peak), **ENVIRONMENT,
    }  # fmt: skip
    json_rows.print_row(row)
    return row


def measure_memory(atoms: int) -> None:
    """Print the seconds and the peak memory in GB of one cluster on the fine grid."""
    site_arrays = [fcc_sites(atoms)]
    call = jaxstruc_engine(
        site_arrays, Grid(**GRIDS["fine"], max_distance=max_diameter(site_arrays)), "gr", False, np.zeros(5001)
    )[0]
    print(median_seconds(call, 1.0), json_rows.peak_gigabytes())


def print_table(result: list[dict]) -> None:
    """Print the rows."""
    names = "engine grid atoms batch quantity gradient seconds structures_per_second error ratio".split()
    printed_table = rich.table.Table(*names)
    for row in result:
        printed_table.add_row(
            *(f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in names)
        )
    rich.console.Console(width=140).print(printed_table)


def plot_times(result: list[dict], path: Path) -> None:
    """Draw the seconds per cluster against the number of atoms."""
    figure = matplotlib.figure.Figure(figsize=(9, 4), layout="constrained")
    for axes, gradient in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
        for engine in ENGINES:
            for quantity, style in (("gr", "o-"), ("iq", "s--")):
                points = [
                    (row["atoms"], row["seconds"]) for row in result
                    if (row["engine"], row["quantity"], row["gradient"]) == (engine, quantity, gradient)
                    and row["batch"] == 1 and row["grid"] == "kdd"
                ]  # fmt: skip
                if points:
                    colour = f"C{list(ENGINES).index(engine)}"
                    label = f"{engine}, {'G(r)' if quantity == 'gr' else 'I(Q)'}"
                    axes.loglog(*zip(*points, strict=True), style, color=colour, label=label, markersize=4)
        axes.set(xlabel="atoms", title="value and gradient" if gradient else "value")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("seconds per cluster (Q 0 to 30 1/Å, step 0.1 1/Å)")
    figure.axes[1].legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, loc="upper left")
    with files.atomic_replacement(path) as temporary_path:
        figure.savefig(temporary_path, format="png", dpi=150)


def main() -> None:
    """Run the cases, print rows and table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run only some cases, in under 50 s")
    parser.add_argument("--all-cores", action="store_true", help="use all cores, not only two")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--out", type=Path, help="file of the rows [results/benchmark_scattering.json; with --quick none]"
    )
    options = parser.parse_args()
    if options.memory:
        measure_memory(options.memory)
        return
    budget = 0.2 if options.quick else 1.0
    cases = [(grid_name, n_atoms, 1, "gr", False) for grid_name in GRIDS for n_atoms in ATOM_COUNTS]
    cases += [(grid_name, 90, 100, "gr", False) for grid_name in GRIDS]
    if options.quick:
        cases = [case for case in cases if case[1] in (55, 90, 561, 1415) and case[0] == "kdd"]
        cases += [("kdd", n_atoms, 1, "iq", True) for n_atoms in (55, 561)]
    else:
        cases += [
            (grid_name, n_atoms, 1, quantity, True)
            for grid_name in GRIDS
            for quantity in ("iq", "gr")
            for n_atoms in ATOM_COUNTS
        ]
        cases += [("kdd", n_atoms, 1, "iq", False) for n_atoms in ATOM_COUNTS]
        cases += [(grid_name, 90, 100, "gr", True) for grid_name in GRIDS]
        if jax.default_backend() != "cpu":
            cases += [(grid_name, 90, 4096, "gr", gradient) for grid_name in GRIDS for gradient in (False, True)]
    result = [row for case_arguments in cases for row in run_case(*case_arguments, budget)]
    if not options.quick:
        result += [memory_row(atoms) for atoms in (5083, 20000)]
    print_table(result)
    out = options.out or (None if options.quick else RESULTS / "benchmark_scattering.json")
    if out is not None:
        json_rows.write_list(result, out)
        plot_times(result, out.with_suffix(".png"))


ENVIRONMENT = json_rows.environment()

if __name__ == "__main__":
    main()
