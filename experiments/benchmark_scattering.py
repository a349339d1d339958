"""Claim: jaxstruc's scattering is the quickest there is, with gradients, at an error below 1e-5.

    python experiments/benchmark_scattering.py            (about 6 minutes on 2 cores)
    python experiments/benchmark_scattering.py --quick    (under 50 s, not committed)

Times whatever peers are installed (`pip install -e '.[peers]'`): DebyeCalculator, ASE's XrDebye (method Z, so its own
sum), diffpy.srreal, and a plain NumPy sum; fcc gold of 13 to 5083 atoms and a batch of 100 unlike clusters of 80 to 100
atoms, on two grids. All run in one process on two cores, case by case one engine after the other; medians; compilation
apart. Each error is against the sum in double precision on the same Q grid, by the engine's own rule at the grid's
ends, relative to the largest value; those of gradients relative to the largest component. The ratio is
DebyeCalculator's time over the engine's. An accelerator, where there is one, is used by jaxstruc alone.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

THREADS = 2
if hasattr(os, "sched_setaffinity") and "--all-cores" not in sys.argv:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

import ase
import ase.utils.xrdebye
import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import rich.console
import rich.table
import rows

from jaxstruc import files
from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.scattering.debye import Instrument

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
LATTICE = 4.08
"""Å"""
UISO, QDAMP = 0.005, 0.04
SIZES = (13, 55, 147, 561, 1415, 5083)
GRIDS = {
    "kdd": {"qmin": 0.0, "qmax": 30.0, "qstep": 0.1, "rmin": 0.0, "rmax": 30.0, "rstep": 0.1},
    "fine": {"qmin": 1.0, "qmax": 22.0, "qstep": 0.01, "rmin": 0.0, "rmax": 50.0, "rstep": 0.01},
}
CENTRES = np.random.default_rng(0).uniform(0, 1, (4096, 3))
PLAIN = 600
"""Most atoms for the plain NumPy sum and for ASE: beyond, they take minutes."""


def cluster(atoms: int, centre=(0, 0, 0)):
    """Return the positions of the fcc atoms nearest to a centre, in half lattice constants, as integers."""
    reach = range(-16, 18)
    lattice = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1).reshape(-1, 3)
    lattice = lattice[lattice.sum(axis=1) % 2 == 0]
    return lattice[np.argsort(((lattice - np.array(centre)) ** 2).sum(axis=1), kind="stable")[:atoms]]


def diameter(sites) -> float:
    """Return a bound on the longest distance in any of the clusters, in Å."""
    radii = [np.linalg.norm(each - each.mean(axis=0), axis=1).max() for each in sites]
    return float(np.ceil(LATTICE * max(radii) + 0.01))


class Truth:
    """The sum in double precision: on a lattice, squared distances are integers, so that each counts once."""

    def __init__(self, sites, grid: Grid, rule: str):
        """Keep the counts of squared distances. `rule`: of the sine sum's ends, "trapezoid" or "rectangle"."""
        self.sites, self.q, self.r = sites, grid.q, grid.r
        self.f = np.asarray(form_factors.xray(form_factors.coefficients(["Au"]), jnp.asarray(grid.q)), float)[0]
        counts = np.zeros(1, np.int64)
        for row in sites:
            squares = ((sites - row) ** 2).sum(axis=1)
            found = np.bincount(squares)
            counts = np.pad(counts, (0, max(0, len(found) - len(counts))))
            counts[: len(found)] += found
        self.squares = np.flatnonzero(counts)[1:]
        self.counts = counts[self.squares]
        self.distance = np.sqrt(self.squares) * LATTICE / 2
        weights = np.full(self.q.size, grid.qstep)
        if rule == "trapezoid":
            weights[[0, -1]] /= 2
        self.damping = np.exp(-UISO * self.q**2)
        envelope = np.exp(-0.5 * (QDAMP * self.r) ** 2)
        self.to_r = (2 / np.pi) * envelope[:, None] * np.sin(np.outer(self.r, self.q)) * weights

    def curve(self, quantity: str):
        """Return I(Q) or G(r)."""
        waves = np.sinc(np.outer(self.q, self.distance) / np.pi) @ self.counts * self.damping
        if quantity == "iq":
            return self.f**2 * (len(self.sites) + waves)
        return self.to_r @ (self.q * waves / len(self.sites))

    def gradient(self, quantity: str, wanted):
        """Return the gradient of `wanted` times the curve in the positions."""
        per_wave = self.f**2 * wanted if quantity == "iq" else self.q / len(self.sites) * (wanted @ self.to_r)
        x = np.outer(self.distance, self.q)
        slope = ((np.cos(x) - np.sinc(x / np.pi)) * self.damping) @ per_wave / self.distance
        table = np.zeros(self.squares[-1] + 1)
        table[self.squares] = 2 * slope / self.distance
        result = np.zeros(self.sites.shape)
        for i, row in enumerate(self.sites):
            apart = row - self.sites
            result[i] = table[(apart**2).sum(axis=1)] @ apart * (LATTICE / 2)
        return result


def jaxstruc_engine(sites, grid: Grid, quantity: str, gradient: bool, wanted):
    """Return a call that computes, the time of its compilation, and the rule of its sine sum."""
    batch, size = len(sites), max(len(each) for each in sites)
    padded = np.zeros((batch, size, 3), np.float32)
    masks = np.arange(size) < np.array([len(each) for each in sites])[:, None]
    for row, own in zip(padded, sites, strict=True):
        row[: len(own)] = own * LATTICE / 2
    q = grid.q
    gold = form_factors.coefficients(["Au"])

    def one(x, mask, instrument):
        count = jnp.sum(mask, keepdims=True).astype(x.dtype)
        gathered = curves.gather(x, mask, grid)
        if quantity == "gr":
            return curves.pdf(gathered, gold, count, instrument, grid)
        return debye.intensity(gathered, instrument, form_factors.xray(gold, jnp.asarray(q, x.dtype)), count, q)

    def each(x, masks, instrument):
        if batch == 1:
            return one(x[0], masks[0], instrument)[None]
        return jax.vmap(one, in_axes=(0, 0, None))(x, masks, instrument)

    target = jnp.asarray(wanted, jnp.float32)

    def both(x, masks, instrument):
        def total(x):
            found = each(x, masks, instrument)
            return jnp.sum(found @ target), found

        (_, found), slope = jax.value_and_grad(total, has_aux=True)(x)
        return found, slope

    compiled = jax.jit(both if gradient else each)
    given = jnp.asarray(padded), jnp.asarray(masks), Instrument(uiso=jnp.float32(UISO), qdamp=jnp.float32(QDAMP))
    before = time.perf_counter()
    jax.block_until_ready(compiled(*given))
    return lambda: jax.block_until_ready(compiled(*given)), time.perf_counter() - before, "trapezoid"


def debyecalculator_engine(sites, grid: Grid, quantity: str, gradient: bool, wanted):
    """The same for DebyeCalculator; its Q and r end before the limits, so half a step is added.

    It counts each pair once and half of each atom, so its curves are half of the sum, and are compared doubled.
    """
    torch.set_num_threads(THREADS)
    calculator = debyecalculator.DebyeCalculator(
        qmin=grid.qmin, qmax=grid.qmax + grid.qstep / 2, qstep=grid.qstep, rmin=grid.rmin,
        rmax=grid.rmax + grid.rstep / 2, rstep=grid.rstep, biso=8 * np.pi**2 * UISO, qdamp=QDAMP, device="cpu",
    )  # fmt: skip
    function = calculator.gr if quantity == "gr" else calculator.iq
    target = torch.tensor(wanted, dtype=torch.float32)
    tensors = [torch.tensor(each * LATTICE / 2, dtype=torch.float32, requires_grad=gradient) for each in sites]
    structures = [(["Au"] * len(each), each) for each in tensors]
    before = time.perf_counter()

    def call():
        found = function(structures, keep_on_device=gradient)
        found = [each[1] for each in (found if isinstance(found, list) else [found])]
        if not gradient:
            return found
        for each in tensors:
            each.grad = None
        sum((each * target).sum() for each in found).backward()
        return [each.detach().numpy() for each in found], [each.grad.numpy() for each in tensors]

    call()
    return call, time.perf_counter() - before, "rectangle"


def numpy_engine(sites, grid: Grid, quantity: str, gradient: bool, wanted):
    """The plain sum over pairs in NumPy, in double precision."""
    q, r = grid.q, grid.r
    f = np.asarray(form_factors.xray(form_factors.coefficients(["Au"]), jnp.asarray(q)), float)[0]

    def call():
        result = []
        for each in sites:
            x = each * LATTICE / 2
            first, second = np.triu_indices(len(x), 1)
            distance = np.linalg.norm(x[first] - x[second], axis=1)
            waves = np.array([2 * np.sum(np.sinc(value * distance / np.pi)) for value in q]) * np.exp(-UISO * q**2)
            if quantity == "iq":
                result.append(f**2 * (len(x) + waves))
                continue
            weights = np.full(q.size, grid.qstep)
            weights[[0, -1]] /= 2
            g = (2 / np.pi) * (np.sin(np.outer(r, q)) @ (weights * q * waves / len(x)))
            result.append(g * np.exp(-0.5 * (QDAMP * r) ** 2))
        return result

    return call, 0.0, "trapezoid"


def ase_engine(sites, grid: Grid, quantity: str, gradient: bool, wanted):
    """ASE's XrDebye: I(Q) with f = Z and a Debye-Waller factor on all terms. Its own physics, so no error is given."""
    built = [ase.Atoms(f"Au{len(each)}", each * LATTICE / 2) for each in sites]
    engines = [ase.utils.xrdebye.XrDebye(each, wavelength=0.5, damping=0.04, method="Z") for each in built]
    return lambda: [each.calc_pattern(x=grid.q, mode="SAXS") for each in engines], 0.0, None


def diffpy_engine(sites, grid: Grid, quantity: str, gradient: bool, wanted):
    """diffpy.srreal's DebyePDFCalculator, G(r) alone; its Q grid is its own, so no error is given."""
    built = [Structure([Atom("Au", xyz=x, Uisoequiv=UISO) for x in each * LATTICE / 2]) for each in sites]
    calculator = pdfcalculator.DebyePDFCalculator(
        qmin=grid.qmin, qmax=grid.qmax, rmin=grid.rmin, rmax=grid.rmax, rstep=grid.rstep, qdamp=QDAMP
    )
    return lambda: [calculator(each)[1] for each in built], 0.0, None


ENGINES = {
    "jaxstruc": jaxstruc_engine,
    "DebyeCalculator": debyecalculator_engine if debyecalculator else None,
    "ASE": ase_engine,
    "diffpy.srreal": diffpy_engine if pdfcalculator else None,
    "NumPy": numpy_engine,
}


FACTORS = {"DebyeCalculator": 2}


def runs(engine: str, atoms: int, batch: int, quantity: str, gradient: bool) -> bool:
    """Return whether an engine can do a case in reasonable time."""
    if ENGINES[engine] is None:
        return False
    if engine in ("ASE", "diffpy.srreal", "NumPy"):
        able = {"ASE": quantity == "iq", "diffpy.srreal": quantity == "gr", "NumPy": True}[engine]
        return able and not gradient and atoms <= PLAIN and batch == 1
    return batch <= 100 or engine == "jaxstruc"


def error_of(found, sites, grid, quantity, gradient, wanted, rule, factor):
    """Return the largest relative error over a few structures of the batch; None where the rule is unknown."""
    if rule is None:
        return None
    worst = 0.0
    for place in sorted({0, len(sites) // 2, len(sites) - 1}):
        truth = Truth(sites[place], grid, rule)
        if gradient:
            true = truth.gradient(quantity, wanted)
            ours = np.asarray(found[1][place])[: len(true)]
        else:
            true, ours = truth.curve(quantity), np.asarray(found[place])
        ours = ours * factor
        worst = max(worst, float(np.abs(ours - true).max() / np.abs(true).max()))
    return worst


def median_seconds(call, budget: float) -> float:
    """Return the median of at least three calls, more while the budget in seconds lasts."""
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begun < budget and len(times) < 50):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return float(np.median(times))


def case(name: str, atoms: int, batch: int, quantity: str, gradient: bool, budget: float) -> list[dict]:
    """Return a row for each engine that can do the case."""
    counts = np.random.default_rng(1).integers(80, 101, batch)
    sites = [cluster(atoms)] if batch == 1 else [cluster(n, c) for n, c in zip(counts, CENTRES[:batch], strict=True)]
    grid = Grid(**GRIDS[name], longest=diameter(sites))
    wanted = np.random.default_rng(2).normal(size=(grid.r if quantity == "gr" else grid.q).size)
    result = []
    for engine in ENGINES:
        if not runs(engine, atoms, batch, quantity, gradient):
            continue
        call, compile_seconds, rule = ENGINES[engine](sites, grid, quantity, gradient, wanted)
        seconds = median_seconds(call, budget)
        result.append(
            {
                "engine": engine,
                "grid": name,
                "atoms": atoms,
                "batch": batch,
                "quantity": quantity,
                "gradient": gradient,
                "seconds": seconds,
                "structures_per_second": batch / seconds,
                "error": error_of(call(), sites, grid, quantity, gradient, wanted, rule, FACTORS.get(engine, 1)),
                "ratio": None,
                "first_call_seconds": compile_seconds if engine == "jaxstruc" else None,
                **ENVIRONMENT,
            }
        )
    peer = [row["seconds"] for row in result if row["engine"] == "DebyeCalculator"]
    for row in result:
        row["ratio"] = peer[0] / row["seconds"] if peer else None
        rows.show(row)
    return result


def memory(atoms: int) -> dict:
    """Return the row of one large cluster, with the most memory its own process took."""
    words = [sys.executable, __file__, "--memory", str(atoms)]
    seconds, peak = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-2:]
    row = {
        "engine": "jaxstruc", "grid": "fine", "atoms": atoms, "batch": 1, "quantity": "gr", "gradient": False,
        "seconds": float(seconds), "structures_per_second": 1 / float(seconds), "error": None, "ratio": None,
        "peak_gigabytes": float(peak), **ENVIRONMENT,
    }  # fmt: skip
    rows.show(row)
    return row


def measure_memory(atoms: int) -> None:
    """Print the seconds and the peak memory in GB of one cluster on the fine grid."""
    sites = [cluster(atoms)]
    call = jaxstruc_engine(sites, Grid(**GRIDS["fine"], longest=diameter(sites)), "gr", False, np.zeros(5001))[0]
    print(median_seconds(call, 1.0), rows.peak_gigabytes())


def table(result: list[dict]) -> None:
    """Print the rows."""
    names = "engine grid atoms batch quantity gradient seconds structures_per_second error ratio".split()
    shown = rich.table.Table(*names)
    for row in result:
        shown.add_row(*(f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in names))
    rich.console.Console(width=140).print(shown)


def summary(result: list[dict]) -> str:
    """Return a Markdown table of jaxstruc's rows beside DebyeCalculator's times."""
    lines = ["| grid | atoms | what | jaxstruc | error | DebyeCalculator | ratio |", "|---|---|---|---|---|---|---|"]
    for row in result:
        if row["engine"] != "jaxstruc" or row["ratio"] is None:
            continue
        what = ("G(r)" if row["quantity"] == "gr" else "I(Q)") + (", gradient" if row["gradient"] else "")
        atoms = row["atoms"] if row["batch"] == 1 else f"{row['batch']} x 80-100"
        times = f"{1e3 * row['seconds']:.3g} ms | {row['error']:.0e} | {1e3 * row['seconds'] * row['ratio']:.3g} ms"
        lines.append(f"| {row['grid']} | {atoms} | {what} | {times} | {row['ratio']:.3g} |")
    return "\n".join(lines)


def draw(result: list[dict], path: Path) -> None:
    """Write a picture: seconds against atoms."""
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
    figure.axes[0].set_ylabel("seconds a cluster, Q 0-30 step 0.1")
    figure.axes[1].legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, loc="upper left")
    with files.replacing(path) as part:
        figure.savefig(part, format="png", dpi=150)


def main() -> None:
    """Run the cases, print rows and a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a part of the cases, under 50 s")
    parser.add_argument("--all-cores", action="store_true", help="do not keep to two cores")
    parser.add_argument("--summary", action="store_true", help="print the table of the results that are there")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="[experiments/results/benchmark_scattering.json; none with --quick]")
    options = parser.parse_args()
    if options.memory:
        measure_memory(options.memory)
        return
    if options.summary:
        print(summary(json.loads((RESULTS / "benchmark_scattering.json").read_text("utf-8"))))
        return
    budget = 0.2 if options.quick else 1.0
    cases = [(name, n, 1, "gr", False) for name in GRIDS for n in SIZES]
    cases += [(name, 90, 100, "gr", False) for name in GRIDS]
    if options.quick:
        cases = [case for case in cases if case[1] in (55, 90, 561, 1415) and case[0] == "kdd"]
        cases += [("kdd", n, 1, "iq", True) for n in (55, 561)]
    else:
        cases += [(name, n, 1, quantity, True) for name in GRIDS for quantity in ("iq", "gr") for n in SIZES]
        cases += [("kdd", n, 1, "iq", False) for n in SIZES]
        cases += [(name, 90, 100, "gr", True) for name in GRIDS]
        if jax.default_backend() != "cpu":
            cases += [(name, 90, 4096, "gr", gradient) for name in GRIDS for gradient in (False, True)]
    result = [row for each in cases for row in case(*each, budget)]
    if not options.quick:
        result += [memory(atoms) for atoms in (5083, 20000)]
    table(result)
    out = options.out or (None if options.quick else RESULTS / "benchmark_scattering.json")
    if out is not None:
        rows.write(result, out)
        draw(result, out.with_suffix(".png"))


ENVIRONMENT = rows.environment()

if __name__ == "__main__":
    main()
