"""Claim: relaxing a decahedron with a potential does not by itself improve its fit to a measured PDF.

    python experiments/relax_refit.py --data Au144_pMBA.gr    (about two minutes on 2 cores)
    python experiments/relax_refit.py --quick                 (only controls with a smaller decahedron, under 50 s)

This is the last experiment of a course on small- and wide-angle scattering (SWAXS). The gold decahedron is relaxed with
ASE's EMT potential and BFGS. At each step scale, stretch, Uiso and delta2 are refined against the PDF. The stretch
absorbs the contraction, so that only the change of shape remains. Controls show whether the data could reveal it. They
are curves simulated from the ideal and from the relaxed particle, with the values of their fits, the Q range of the
data and white noise on F(Q). Each curve must prefer its own particle. The atoms of the ideal particle are also moved by
a fit to the PDF, with a restraint of 0.1 Å (`relax.relax`). Rows hold only misfits, no measured curve.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import json_rows
import matplotlib.figure
import numpy as np
import plots
from ase.calculators.emt import EMT
from ase.cluster import Decahedron
from ase.optimize import BFGS
from measured_pdfs import QDAMP, simulate_noisy_pdfs
from scipy.spatial.distance import pdist

import jaxstruc
from jaxstruc import statistics
from jaxstruc.clusters import library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.io.measurement import resolve_settings
from jaxstruc.options.pdf import DataOptions
from jaxstruc.pdf import candidates, fit, posterior, relax, target
from jaxstruc.pdf.candidates import CandidateGroup, CandidatePool
from jaxstruc.pdf.fit import Fit
from jaxstruc.pdf.target import Target
from jaxstruc.scattering import form_factors

NAME = "relax_refit"
RESULTS = Path(__file__).parent / "results"
BOND = form_factors.bond_length("Au")
PQR = (5, 1, 0)
MAX_FORCE = 0.01
"""Largest force at which the relaxation stops, in eV/Å."""
RIGID_PARAMETERS = ("scale", "stretch", "uiso", "delta2")
"""Fitted parameters. The coordinates are those of a relaxation, so that no further relaxation is fitted."""
RESTRAINT = 0.1
"""Restraint of the atoms that are moved by the fit, in Å."""
NOISE = 0.2
"""Standard deviation of F(Q) of the controls on a 0.02 1/Å grid, relative to the root mean square of F(Q)."""
CONTROL_VALUES = {"stretch": 1.0, "uiso": 0.008, "delta2": 2.0}
"""Parameter values of the controls if there are no data."""


class FitRange(NamedTuple):
    """The ranges of the fits. The defaults are those of `Au144_pMBA.gr`."""

    r: np.ndarray = np.arange(1.5, 20.001, 0.05)
    """Distances r of the points, in Å."""
    qmin: float = 1.33
    """Lower limit of Q, in 1/Å."""
    qmax: float = 28.0
    """Upper limit of Q, in 1/Å."""

    @property
    def q_limits(self) -> dict[str, float]:
        """Limits of Q by name."""
        return {"qmin": self.qmin, "qmax": self.qmax}


def relax_with_emt(pqr: tuple[int, int, int], *, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions [step, atom, 3] in Å of a gold decahedron along its relaxation, and its energies in eV."""
    atoms = Decahedron("Au", *pqr)
    atoms.calc = EMT()
    frames = [
        (atoms.positions - atoms.positions.mean(axis=0), atoms.get_potential_energy())
        for _ in BFGS(atoms, logfile=None).irun(fmax=MAX_FORCE, steps=steps)
    ]
    positions, energies = zip(*frames, strict=True)
    return np.array(positions), np.array(energies)


def nearest_neighbour_distance(positions: np.ndarray) -> float:
    """Return the mean distance of nearest neighbours, in Å."""
    distance = pdist(positions)
    return float(distance[distance < 1.2 * distance.min()].mean())


def read_measured(path: Path) -> tuple[FitRange, np.ndarray]:
    """Return the range of a measured PDF and its G(r) in that range."""
    measurement = resolve_settings(jaxstruc.read(path), DataOptions(qdamp=QDAMP), bond=BOND)
    r, g = measurement.curve
    return FitRange(r, measurement.settings_by_name["qmin"], measurement.settings_by_name["qmax"]), g


class RelaxationPath(NamedTuple):
    """The positions along a relaxation, and the candidates made from them."""

    frames: np.ndarray
    """Positions [step, atom, 3] in Å, from the ideal to the relaxed particle."""
    pool: CandidatePool
    """Candidates for the same structures, in the same order."""


def relaxation_path(frames: np.ndarray) -> RelaxationPath:
    """Return the path of a relaxation with positions in Å [step, atom, 3]."""
    steps = library.from_clusters(
        Cluster("decahedron", f"step {step}", positions / BOND) for step, positions in enumerate(frames)
    )
    return RelaxationPath(frames, candidates.candidate_pool([CandidateGroup("file", steps, np.arange(len(frames)))]))


def make_target(g: np.ndarray, fit_range: FitRange, pool: CandidatePool) -> Target:
    """Return the target of a curve for the fits of these candidates."""
    diameter = float(pool.diameter.max()) * BOND
    span = target.table_range(rmax=float(fit_range.r[-1]), qmax=fit_range.qmax, diameter=diameter)
    return target.make_target(
        fit_range.r, g, target.TargetSettings(**fit_range.q_limits, qdamp=QDAMP, qbroad=0.0, bond=BOND, span=span)
    )


def relaxed_weight(pool: CandidatePool, target: Target, fits: Fit) -> float:
    """Return the posterior weight of the relaxed particle against the ideal one."""
    end_rows = np.array([0, -1])
    end_fits = jax.tree.map(lambda column: column[end_rows], fits)
    models, _ = fit.fitted_curves(
        end_fits, candidates.cluster_tables(pool.select(end_rows), target, free=RIGID_PARAMETERS), target
    )
    effective_points = statistics.effective_points(target.g - models[np.argmin(end_fits.rw)], target.n_independent)
    return float(posterior.weights(end_fits.rw, effective_points, len(RIGID_PARAMETERS))[1])


def relax_by_data(ideal_positions: np.ndarray, target: Target, fits: Fit) -> dict[str, float]:
    """Return the Rw of the ideal particle after its atoms are fitted to the data, and their displacement in Å."""
    values = jax.tree.map(lambda column: jnp.asarray(column[0]), fits.values)
    relaxation = relax.relax(jnp.asarray(ideal_positions, jnp.float32), values, target.basis, restraint=RESTRAINT)
    return {"rw_coordinates": float(relaxation.rw), "moved": float(relaxation.rms_displacement)}


def result_row(curve: str, relaxation: RelaxationPath, fit_range: FitRange, pdfs: np.ndarray) -> dict:
    """Return the row of curves [draw, r] that differ only in noise: the Rw of the ideal and the relaxed particle."""
    frames, pool = relaxation
    targets = [make_target(g, fit_range, pool) for g in pdfs]
    fits = [candidates.fit_all(pool, target, free=RIGID_PARAMETERS) for target in targets]
    rw = np.array([entry.rw for entry in fits])
    rw_change = rw[:, -1] - rw[:, 0]
    end_rows = {"ideal": 0, "relaxed": -1}
    mean_values = {
        f"{name}_{end_name}": float(np.mean([getattr(entry.values, name)[row] for entry in fits]))
        for name in ("stretch", "uiso", "delta2") for end_name, row in end_rows.items()
    }  # fmt: skip
    return {
        "experiment": NAME,
        "curve": curve,
        "atoms": frames.shape[1],
        "draws": len(pdfs),
        "rw_ideal": float(rw[:, 0].mean()),
        "rw_relaxed": float(rw[:, -1].mean()),
        "difference": float(rw_change.mean()),
        "difference_spread": float(rw_change.std(ddof=1)) if len(rw_change) > 1 else None,
        "weight_relaxed": float(np.mean([relaxed_weight(pool, *entry) for entry in zip(targets, fits, strict=True)])),
        **relax_by_data(frames[0], targets[0], fits[0]),
        "converged": float(np.mean([entry.converged for entry in fits])),
        **mean_values,
        **fit_range.q_limits,
        "rw_steps": [round(float(entry), 6) for entry in rw.mean(axis=0)],
    }


def plot_steps(results: list[dict], path: Path) -> None:
    """Draw Rw against the step of the relaxation."""
    figure = matplotlib.figure.Figure(figsize=(2.6 * len(results) + 0.6, 3.0), layout="constrained")
    for axes, row in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        axes.plot(row["rw_steps"], "-", color="C0", label="relaxed by EMT")
        axes.axhline(row["rw_coordinates"], color="C3", ls="--", lw=1, label="moved by the PDF")
        axes.set(title=f"{row['curve']}", xlabel="step of BFGS", ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("Rw")
    figure.axes[0].legend(fontsize=7)
    plots.save_figure(figure, path)


def parse_arguments(arguments) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="measured .gr file of gold; without it only the controls are run")
    parser.add_argument(
        "--pqr", type=int, nargs=3, help=f"numbers p, q and r of the decahedron [{PQR}; quick (3, 1, 0)]"
    )
    parser.add_argument("--noise", type=float, default=NOISE, help=f"noise of the controls [{NOISE}]")
    parser.add_argument("--draws", type=int, help="number of draws of the controls' noise [20; quick 2]")
    parser.add_argument("--steps", type=int, help="maximum number of steps of the relaxation [200; quick 10]")
    parser.add_argument("--quick", action="store_true", help="run a small part, and write nothing without --out")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"file of the rows [results/{NAME}.jsonl; with --quick none]; a .png is written next to it",
    )
    options = parser.parse_args(arguments)
    if not (options.data or options.quick):
        parser.error("expected --data, got none; name a measured .gr file of gold")
    return options


def main(arguments=None, *, fit_range: FitRange | None = None) -> list[dict]:
    """Run data and controls, print the rows, and write rows and picture.

    Args:
        arguments: Arguments of the command line.
        fit_range: Range of the controls if there are no data.
    """
    options = parse_arguments(arguments)
    pqr = tuple(options.pqr or ((3, 1, 0) if options.quick else PQR))
    frames, energies = relax_with_emt(pqr, steps=options.steps or (10 if options.quick else 200))
    fit_range, g = read_measured(options.data) if options.data else (fit_range or FitRange(), None)
    relaxation = relaxation_path(frames)
    shared_columns = {
        "pqr": list(pqr),
        "steps": len(frames) - 1,
        "energy_fall": float(energies[0] - energies[-1]),
        "nearest_neighbour_ideal": nearest_neighbour_distance(frames[0]),
        "nearest_neighbour_relaxed": nearest_neighbour_distance(frames[-1]),
        "commit": json_rows.commit(),
        **json_rows.environment(),
    }
    results = []
    if g is not None:
        results.append(
            result_row("measured", relaxation, fit_range, g[None]) | {"file": options.data.name, **shared_columns}
        )
        json_rows.print_row(results[0])
    for index, (end_name, frame_index) in enumerate({"ideal": 0, "relaxed": -1}.items()):
        values = (
            {parameter: results[0][f"{parameter}_{end_name}"] for parameter in CONTROL_VALUES}
            if g is not None
            else dict(CONTROL_VALUES)
        )
        positions = frames[frame_index] * values.pop("stretch")
        noise_options = {"noise": options.noise, "draws": options.draws or (2 if options.quick else 20)}
        pdfs = simulate_noisy_pdfs(
            positions, fit_range.r, np.random.default_rng(index), **noise_options, **fit_range.q_limits, **values
        )
        row = result_row(f"simulated, {end_name}", relaxation, fit_range, pdfs) | {
            "noise": options.noise,
            **shared_columns,
        }
        results.append(row)
        json_rows.print_row(row)
    out = options.out or (None if options.quick else RESULTS / f"{NAME}.jsonl")
    if out is not None:
        json_rows.write_lines(results, out)
        plot_steps(results, out.with_suffix(".png"))
    return results


if __name__ == "__main__":
    main()
