"""Claim: relaxing a decahedron by a potential does not by itself make it fit a measured PDF better.

    python experiments/relax_refit.py --data Au144_pMBA.gr    (about two minutes on 2 cores)
    python experiments/relax_refit.py --quick                 (a smaller decahedron, the controls alone, under 50 s)

The last experiment of the SWAXS course: the gold decahedron is relaxed by ASE's EMT potential and BFGS, and scale,
stretch, Uiso and delta2 are refined against the PDF at each step. The stretch takes up the shrinking, so what is left
to see is the change of shape. Controls tell whether the data could see it: curves simulated from the ideal and from the
relaxed particle with the values of their fits, the data's Q range and white noise on F(Q), must prefer each its own.
Beside it the atoms are moved by the PDF itself, held back to the ideal particle by 0.1 Å (`coordinates.relax`). Rows
have misfits alone, no measured curve.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import drawing
import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import rows
from ase.calculators.emt import EMT
from ase.cluster import Decahedron
from ase.optimize import BFGS
from measured_pdfs import QDAMP, draws_of
from scipy.spatial.distance import pdist

from jaxstruc import coordinates, form_factors, measured, mining, observed, refinement, structure, templates
from jaxstruc.jobs import Job
from jaxstruc.observed import Target
from jaxstruc.refinement import Fit
from jaxstruc.templates import Span

NAME = "relax_refit"
RESULTS = Path(__file__).parent / "results"
PQR = (5, 1, 0)
FMAX = 0.01
"""eV/Å at which the relaxation ends."""
RESTRAINT = 0.1
"""Å"""
NOISE = 0.2
"""Of a point of the controls' F(Q), relative to its root mean square; points are 0.02 1/Å apart."""
USUAL = {"stretch": 1.0, "uiso": 0.008, "delta2": 2.0}
"""Values of the controls where there are no data."""


class Range(NamedTuple):
    """Where the fits are made; the defaults are those of `Au144_pMBA.gr`."""

    r: np.ndarray = np.arange(1.5, 20.001, 0.05)
    """Å"""
    qmin: float = 1.33
    """1/Å"""
    qmax: float = 28.0
    """1/Å"""

    @property
    def limits(self) -> dict[str, float]:
        """The Q range by its names."""
        return {"qmin": self.qmin, "qmax": self.qmax}


def relaxation(pqr: tuple[int, int, int], *, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a gold decahedron's positions in Å [step, atom, 3] along its relaxation, the ideal first, and energies."""
    atoms = Decahedron("Au", *pqr)
    atoms.calc = EMT()
    frames = [
        (atoms.positions - atoms.positions.mean(axis=0), atoms.get_potential_energy())
        for _ in BFGS(atoms, logfile=None).irun(fmax=FMAX, steps=steps)
    ]
    positions, energies = zip(*frames, strict=True)
    return np.array(positions), np.array(energies)


def nearest_neighbour(positions: np.ndarray) -> float:
    """Return the mean distance of nearest neighbours, in Å."""
    distance = pdist(positions)
    return float(distance[distance < 1.2 * distance.min()].mean())


def tables(positions: np.ndarray, *, bond: float, span: Span):
    """Return the templates of some frames of one particle."""
    presence = jnp.ones(positions.shape[1])

    def one(x):
        return templates.of_distances(structure.distances(x), presence, bond, span=span)

    return jax.jit(lambda frames: jax.lax.map(one, frames))(jnp.asarray(positions, jnp.float32))


def given(path: Path, bond: float) -> tuple[Range, np.ndarray]:
    """Return the range of a measured PDF and its G(r) there."""
    measurement = measured.read(path)
    found = measured.resolve(measurement, given={"qdamp": QDAMP}, bond=bond)
    job = Job(path, path.stem, measurement, found)
    r, g = job.curve
    return Range(r, job.given["qmin"], job.given["qmax"]), g


class Refit:
    """Fits of all frames to a curve."""

    def __init__(self, frames: np.ndarray, where: Range):
        """Make what all curves share: positions in Å [step, atom, 3], and the range of the fits."""
        self.frames, self.where, self.bond = frames, where, form_factors.bond_length("Au")
        diameter = max(float(pdist(frame).max()) for frame in frames)
        self.span = observed.span(rmax=float(where.r[-1]), qmax=where.qmax, diameter=diameter)
        self.tables = tables(frames, bond=self.bond, span=self.span)
        fit = lambda table, goal: refinement.refine(table, goal, span=self.span)  # noqa: E731
        self.fit = jax.jit(jax.vmap(fit, (0, None)))

    def target(self, g: np.ndarray) -> Target:
        """Return a curve as the fits need it."""
        instrument = {"qdamp": QDAMP, "qbroad": 0.0, "bond": self.bond, "span": self.span}
        return observed.target(self.where.r, g, **self.where.limits, **instrument)

    def __call__(self, g: np.ndarray) -> Fit:
        """Return the fits of all frames, on the host."""
        return jax.tree.map(np.asarray, self.fit(self.tables, self.target(g)))

    def weight(self, g: np.ndarray, fit: Fit) -> float:
        """Return the weight of the relaxed particle beside the ideal one."""
        ends = np.array([0, -1])
        both, own = jax.tree.map(lambda column: column[ends], (fit, self.tables))
        goal = self.target(g)
        models, _ = refinement.curves(both, own, goal, self.where.r, g, span=self.span, **self.where.limits)
        better = int(np.argmin(both.rw))
        independent = mining.independent_points(g - models[better], float(goal.independent))
        return float(mining.weights(both.rw, independent, len(refinement.USUAL))[1])

    def moved_by_data(self, g: np.ndarray, fit: Fit) -> dict[str, float]:
        """Return the misfit of the ideal particle after its atoms are moved by the data, and by how much they are."""
        values = jax.tree.map(lambda column: jnp.asarray(column[0]), fit.values)
        ideal = jnp.asarray(self.frames[0], jnp.float32)
        found = coordinates.relax(ideal, values, self.target(g), span=self.span, restraint=RESTRAINT)
        return {"rw_coordinates": float(found.rw), "moved": float(found.moved)}


def answer(curve: str, refit: Refit, curves: np.ndarray) -> dict:
    """Return a row: does relaxing improve the fit to these curves [draw, r], which differ in noise alone."""
    fits = [refit(g) for g in curves]
    rw = np.array([fit.rw for fit in fits])
    change = rw[:, -1] - rw[:, 0]
    ends = {"ideal": 0, "relaxed": -1}
    found = {
        f"{name}_{end}": float(np.mean([getattr(fit.values, name)[at] for fit in fits]))
        for name in ("stretch", "uiso", "delta2") for end, at in ends.items()
    }  # fmt: skip
    return {
        "experiment": NAME,
        "curve": curve,
        "atoms": refit.frames.shape[1],
        "draws": len(curves),
        "rw_ideal": float(rw[:, 0].mean()),
        "rw_relaxed": float(rw[:, -1].mean()),
        "difference": float(change.mean()),
        "difference_spread": float(change.std(ddof=1)) if len(change) > 1 else None,
        "weight_relaxed": float(np.mean([refit.weight(g, fit) for g, fit in zip(curves, fits, strict=True)])),
        **refit.moved_by_data(curves[0], fits[0]),
        "converged": float(np.mean([fit.converged for fit in fits])),
        **found,
        **refit.where.limits,
        "rw_steps": [round(float(each), 6) for each in rw.mean(axis=0)],
    }


def picture(results: list[dict], path: Path) -> None:
    """Draw Rw against the step of the relaxation."""
    figure = matplotlib.figure.Figure(figsize=(2.6 * len(results) + 0.6, 3.0), layout="constrained")
    for axes, row in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        axes.plot(row["rw_steps"], "-", color="C0", label="relaxed by EMT")
        axes.axhline(row["rw_coordinates"], color="C3", ls="--", lw=1, label="moved by the PDF")
        axes.set(title=f"{row['curve']}", xlabel="step of BFGS", ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("Rw")
    figure.axes[0].legend(fontsize=7)
    drawing.save(figure, path)


def main(arguments=None) -> list[dict]:
    """Run, show, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="measured .gr file of gold; without it the controls alone")
    parser.add_argument("--pqr", type=int, nargs=3, help=f"of the decahedron [{PQR}; quick (3, 1, 0)]")
    parser.add_argument("--noise", type=float, default=NOISE, help=f"of the controls [{NOISE}]")
    parser.add_argument("--draws", type=int, help="of the controls' noise [20; quick 2]")
    parser.add_argument("--steps", type=int, help="most of the relaxation [200; quick 10]")
    parser.add_argument("--quick", action="store_true", help="a small part; writes nothing by itself")
    parser.add_argument("--out", type=Path, help=f"[results/{NAME}.jsonl, but not with --quick]; a .png beside it")
    options = parser.parse_args(arguments)
    if not (options.data or options.quick):
        parser.error("expected --data, got none; name a measured .gr file of gold")
    pqr = tuple(options.pqr or ((3, 1, 0) if options.quick else PQR))
    frames, energies = relaxation(pqr, steps=options.steps or (10 if options.quick else 200))
    where, g = given(options.data, form_factors.bond_length("Au")) if options.data else (Range(), None)
    refit = Refit(frames, where)
    common = {
        "pqr": list(pqr),
        "steps": len(frames) - 1,
        "energy_fall": float(energies[0] - energies[-1]),
        "nearest_neighbour_ideal": nearest_neighbour(frames[0]),
        "nearest_neighbour_relaxed": nearest_neighbour(frames[-1]),
        "commit": rows.commit(),
        **rows.environment(),
    }
    results = []
    if g is not None:
        results.append(answer("measured", refit, g[None]) | {"file": options.data.name, **common})
        rows.show(results[0])
    for index, (name, at) in enumerate({"ideal": 0, "relaxed": -1}.items()):
        values = {word: results[0][f"{word}_{name}"] for word in USUAL} if g is not None else dict(USUAL)
        particle = frames[at] * values.pop("stretch")
        draws = {"noise": options.noise, "draws": options.draws or (2 if options.quick else 20)}
        curves = draws_of(particle, where.r, np.random.default_rng(index), **draws, **where.limits, **values)
        row = answer(f"simulated, {name}", refit, curves) | {"noise": options.noise, **common}
        results.append(row)
        rows.show(row)
    out = options.out or (None if options.quick else RESULTS / f"{NAME}.jsonl")
    if out is not None:
        rows.write_lines(results, out)
        picture(results, out.with_suffix(".png"))
    return results


if __name__ == "__main__":
    main()
