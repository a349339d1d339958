"""Claim: one command names the clusters behind a measured PDF, and its weights reveal ties between candidates.

    python experiments/measured_pdfs.py --data DIR               (one or two minutes for each file on 2 cores)
    python experiments/measured_pdfs.py --data DIR --figures OUT (keeps ranking, structures and pictures of each file)
    python experiments/measured_pdfs.py --calibrate              (about five minutes on 2 cores)
    python experiments/measured_pdfs.py --quick                  (a small part of --calibrate, under 50 s)

Mining: each .gr file of a folder is mined with all families of clusters up to 1000 atoms, and with the metal in the
composition of its header. The range is r = 1.5 to 20 Å, qdamp is 0.03 1/Å, and delta2 is fitted. A row holds the best
cluster, its values with standard errors, its bond length and that of the bulk metal, and the best Rw of each family. No
row or picture in the results holds measured data.

Calibration: G(r) is simulated for the gold decahedron (6,1,1) of 423 atoms, with Q from 0.58 to 21 1/Å and white noise
on F(Q). The 16 decahedra (p,q,r) of a course on small- and wide-angle scattering (SWAXS) are fitted to it, for 100
draws of the noise. If the noise leaves more than one candidate, a set with 90 % of the weights should contain the true
one in 85 to 95 of 100 draws. A set has at least one member, so that all 100 sets contain it at little noise. The noise
is that of each point of a 0.02 1/Å grid, relative to the root mean square of F(Q).
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import ase
import json_rows
import matplotlib.figure
import numpy as np
import plots
from ase.cluster import Decahedron
from scipy.spatial.distance import pdist

import jaxstruc
from jaxstruc import DataOptions, LibraryOptions, Measurement, MineOptions, PdfResult, RefineOptions, statistics
from jaxstruc.clusters import families, lattices
from jaxstruc.pdf import posterior, target
from jaxstruc.report import summary
from jaxstruc.scattering import form_factors

NAME = "measured_pdfs"
RESULTS = Path(__file__).parent / "results"
QDAMP = 0.03
FCC_LIKE = ("fcc", "octahedron")
LEFT_OUT = ("file", "source", "family", "rw_unmoved", "moved", "seed", "model", "version")
"""Columns of `summary.csv` that are left out of the rows."""
KEYS = {name: name for name in summary.SUMMARY_COLUMNS if name not in LEFT_OUT} | {
    "recipe": "cluster",
    "sample": "verdict",
    "rw_holdout": "rw_unseen",
    "rw_holdout_single": "rw_unseen_single",
    "mean_diameter_low": "mean_low",
    "mean_diameter_high": "mean_high",
    "diameter_estimate": "size_seen",
    "classifier_types": "glance",
    "n_screened": "kept",
    "effective_samples": "effective",
}
"""Key in the rows for each column of `summary.csv`. Committed rows keep the old names of renamed columns."""
PQR = (
    *((3, 1, 2), (3, 1, 3), (4, 1, 0), (4, 1, 1), (4, 1, 2), (4, 1, 3), (5, 1, 0), (5, 1, 1)),
    *((5, 1, 2), (5, 1, 3), (6, 1, 0), (6, 1, 1), (6, 1, 2), (7, 1, 0), (7, 1, 1), (7, 1, 2)),
)
"""Decahedra (p, q, r) that the SWAXS course fits to gold."""
TRUE_PQR = (6, 1, 1)
NOISES = (0.05, 0.2, 0.5, 1.0, 2.0)
Q_LIMITS = {"qmin": 0.58, "qmax": 21.0}
"""Limits of Q in 1/Å for a laboratory source."""
BOND = form_factors.bond_length("Au")
QSTEP = 0.02
R_GRID = np.arange(1.5, 20.001, 0.05)
"""Distances r of the simulated curves, in Å."""
MODEL_VALUES = {"uiso": 0.008, "delta2": 2.0}


def structure_function(positions: np.ndarray, q: np.ndarray, *, uiso: float, delta2: float) -> np.ndarray:
    """Return F(Q) of a cluster of one element, summed in double precision.

    Args:
        positions: Positions of the atoms [atom, 3], in Å.
        q: Values of Q, in 1/Å.
        uiso: Mean square displacement of the atoms, in Å².
        delta2: Coefficient of correlated motion, in Å².
    """
    distance, count = np.unique(np.round(pdist(positions), 6), return_counts=True)
    variance = 2 * uiso * np.maximum(1 - delta2 / distance**2, 0.0)
    result = np.zeros(q.size)
    for start in range(0, len(distance), 1000):
        d, sigma_squared, pair_count = (column[start : start + 1000] for column in (distance, variance, count))
        result += (np.sin(np.outer(q, d)) * np.exp(-0.5 * np.outer(q**2, sigma_squared))) @ (2 * pair_count / d)
    return result / len(positions)


def transform(q: np.ndarray, r: np.ndarray, *, qdamp: float) -> np.ndarray:
    """Return the matrix [r, q] that transforms F(Q) on an even grid to damped G(r), by the trapezoid rule."""
    weights = np.full(q.size, q[1] - q[0])
    weights[[0, -1]] /= 2
    return 2 / np.pi * np.exp(-0.5 * (r[:, None] * qdamp) ** 2) * weights * np.sin(r[:, None] * q)


def simulate_noisy_pdfs(
    positions: np.ndarray,
    r: np.ndarray,
    rng: np.random.Generator,
    *,
    noise: float,
    draws: int,
    qmin: float,
    qmax: float,
    qdamp: float = QDAMP,
    **values: float,
) -> np.ndarray:
    """Return simulated curves G(r) [draw, r] with white noise on F(Q).

    Args:
        positions: Positions of the atoms [atom, 3], in Å.
        r: Distances at which G(r) is computed, in Å.
        rng: Random generator of the noise.
        noise: Standard deviation of a point of F(Q), relative to the root mean square of F(Q).
        draws: Number of curves.
        qmin: Lower limit of Q, in 1/Å.
        qmax: Upper limit of Q, in 1/Å.
        qdamp: Damping of G(r), in 1/Å.
        values: Values of uiso and delta2 in Å², see `structure_function`.
    """
    q = np.linspace(qmin, qmax, round((qmax - qmin) / QSTEP) + 1)
    f = structure_function(positions, q, **values)
    noisy_f = f + noise * np.sqrt(np.mean(f**2)) * rng.normal(size=(draws, q.size))
    return noisy_f @ transform(q, r, qdamp=qdamp).T


def header_metal(measurement: Measurement) -> str:
    """Return the first element of the composition in the header.

    Raises:
        ValueError: If the header contains no composition.
    """
    element_symbols = re.findall("[A-Z][a-z]?", str(measurement.header.get("composition", "")))
    if not element_symbols:
        name = Path(measurement.name).name
        raise ValueError(
            f"Expected a composition in the header, got none in {name}; add a line such as composition = Au."
        )
    return element_symbols[0]


def mine_measurement(
    measurement: Measurement, metal: str, *, names: tuple[str, ...] = (), max_atoms: int = 1000
) -> PdfResult:
    """Return the result of mining a measurement, or a failed result if it cannot be mined.

    Args:
        measurement: Measured PDF.
        metal: Element of the particles.
        names: Families of candidates, by default all.
        max_atoms: Largest number of atoms of a candidate.
    """
    try:
        options = MineOptions(
            data=DataOptions(qdamp=QDAMP), candidates=LibraryOptions(names, max_atoms), ensemble="none"
        )
        return jaxstruc.mine(measurement, element=metal, options=options)
    except ValueError as error:
        return PdfResult(measurement.name, measurement.sha256, metal, "failed", str(error))


def summary_row(result: PdfResult) -> dict:
    """Return the row of a result."""
    columns = summary.row(result)
    bond = form_factors.bond_length(result.element)
    best_rw: dict[str, float] = {}
    for candidate in result.candidates:
        best_rw.setdefault(candidate.family, candidate.rw)
    fcc_like = [best_rw[name] for name in FCC_LIKE if name in best_rw]
    in_angstrom = lambda relative_value: None if relative_value is None else bond * relative_value  # noqa: E731
    return {
        "experiment": NAME,
        "file": Path(result.name).name,
        "element": result.element,
        **{key: columns.get(name) for name, key in KEYS.items()},
        "family": next(iter(best_rw), None),
        "nearest_neighbour": in_angstrom(columns.get("stretch")),
        "nearest_neighbour_error": in_angstrom(columns.get("stretch_error")),
        "metal_bond": bond,
        "rw_decahedron": best_rw.get("decahedron"),
        "rw_fcc_like": min(fcc_like) if fcc_like else None,
        "rw_families": best_rw,
        "commit": json_rows.commit(),
        **json_rows.environment(),
    }


def decahedra(pqr_values=PQR) -> dict[tuple[int, int, int], ase.Atoms]:
    """Return gold decahedra (p,q,r) with the bond length of the metal, all with different numbers of atoms."""
    positions_by_pqr = {pqr: Decahedron("Au", *pqr).positions for pqr in pqr_values}
    return {
        pqr: lattices.unit_bond_cluster("decahedron", _label(pqr), positions).to_ase("Au", BOND)
        for pqr, positions in positions_by_pqr.items()
    }


def calibration(
    noise: float,
    *,
    draws: int,
    candidates: dict[tuple[int, int, int], ase.Atoms],
    truth: tuple[int, int, int],
    r: np.ndarray = R_GRID,
) -> dict:
    """Return the row of one noise, with the fraction of sets with 90 % of the weights that contain the true candidate.

    Args:
        noise: Standard deviation of a point of F(Q), relative to the root mean square of F(Q).
        draws: Number of draws of the noise.
        candidates: Clusters that are fitted.
        truth: Numbers (p, q, r) of the decahedron from which the data are simulated.
        r: Distances r of the simulated curves, in Å.
    """
    positions, rng = candidates[truth].positions, np.random.default_rng(round(1e3 * noise))
    noisy_pdfs = simulate_noisy_pdfs(positions, r, rng, noise=noise, draws=draws, **Q_LIMITS, **MODEL_VALUES)
    measurements = [Measurement(f"draw {index}", r, g, {}) for index, g in enumerate(noisy_pdfs)]
    options = RefineOptions(data=DataOptions(**Q_LIMITS, qdamp=QDAMP))
    results = jaxstruc.refine(measurements, list(candidates.values()), options=options)
    draw_rows = [_draw_row(result, len(candidates[truth])) for result in results]
    means = {name: float(np.mean([row[name] for row in draw_rows])) for name in draw_rows[0]}
    return {
        "experiment": f"{NAME} --calibrate",
        "truth": _label(truth),
        "atoms": len(candidates[truth]),
        "candidates": len(candidates),
        "noise": noise,
        "draws": draws,
        **means,
        "coverage_error": float(np.sqrt(means["coverage"] * (1 - means["coverage"]) / draws)),
        **Q_LIMITS,
        "commit": json_rows.commit(),
        **json_rows.environment(),
    }


def _draw_row(result: PdfResult, atoms: int) -> dict:
    """Return the row of one draw: whether the set contains the true candidate.

    The weights are computed with the effective and with the nominal number of points.
    """
    true_rank = next(rank for rank, candidate in enumerate(result.candidates) if candidate.n_atoms == atoms)
    rw = np.array([candidate.rw for candidate in result.candidates])
    all_points = target.independent_points(result.r, **Q_LIMITS)
    in_all_points_set = statistics.credible_set(posterior.weights(rw, all_points, len(result.free)))
    return {
        "coverage": result.candidates[true_rank].in_90,
        "size": result.ties,
        "coverage_all_points": in_all_points_set[true_rank],
        "size_all_points": in_all_points_set.sum(),
        "independent": result.facts["independent"],
        "all_points": all_points,
        "first": true_rank == 0,
        "rw_true": rw[true_rank],
        "rw_best": rw[0],
        "rw_second": rw[1],
        "converged": np.mean([candidate.converged for candidate in result.candidates]),
    }


def _label(pqr: tuple[int, ...]) -> str:
    return f"({','.join(map(str, pqr))})"


def plot_families(results: list[dict], path: Path) -> None:
    """Draw the best Rw of each family for each file."""
    figure = matplotlib.figure.Figure(figsize=(7, 0.9 + 0.6 * len(results)), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(families.FAMILIES):
        points = [(row["rw_families"][name], line) for line, row in enumerate(results) if name in row["rw_families"]]
        if points:
            axes.plot(*zip(*points, strict=True), "o", color=f"C{index}", label=name, markersize=5)
    axes.set_yticks(range(len(results)), [row["file"] for row in results], fontsize=8)
    axes.set(xlabel="Rw of the best cluster of each family", ylim=(len(results) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    plots.save_figure(figure, path)


def plot_calibration(results: list[dict], path: Path) -> None:
    """Draw the fraction of sets that contain the true candidate, and their size, against the noise."""
    figure = matplotlib.figure.Figure(figsize=(8, 3.2), layout="constrained")
    noise = [row["noise"] for row in results]
    for axes, column in zip(figure.subplots(1, 2), ("coverage", "size"), strict=True):
        axes.semilogx(noise, [row[column] for row in results], "o-", label="independent points of the residual")
        axes.semilogx(noise, [row[f"{column}_all_points"] for row in results], "s--", label="all independent points")
        axes.set(xlabel="noise of F(Q), relative to its rms")
        axes.grid(alpha=0.3)
    coverage, size = figure.axes
    coverage.axhspan(0.85, 0.95, color="0.9")
    coverage.set(ylabel="90 % sets with the true candidate", ylim=(0, 1.05))
    size.set(ylabel="mean number of candidates in the set")
    coverage.legend(fontsize=7)
    plots.save_figure(figure, path)


def main(arguments=None, *, mine: Callable[..., PdfResult] | None = None) -> list[dict]:
    """Mine or calibrate, print the rows, and write rows and picture.

    Args:
        arguments: Arguments of the command line.
        mine: Function of a measurement and its metal that returns a result, by default `mine_measurement`.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of measured .gr files")
    parser.add_argument("--figures", type=Path, help="folder for the ranking and the pictures of each file [none]")
    parser.add_argument(
        "--calibrate", action="store_true", help="simulate data, and count the sets that contain the true candidate"
    )
    parser.add_argument("--draws", type=int, help="number of draws of the noise for --calibrate [100; quick 20]")
    parser.add_argument("--noises", type=float, nargs="+", help=f"for --calibrate [{NOISES}; quick 0.5]")
    parser.add_argument("--quick", action="store_true", help="run a small part, and write nothing without --out")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"file of the rows [results/{NAME}.jsonl; with --quick none]; a .png is written next to it",
    )
    options = parser.parse_args(arguments)
    if not (options.data or options.calibrate or options.quick):
        parser.error("expected --data or --calibrate, got neither; name a folder of .gr files")
    if options.data and not options.calibrate:
        name, plot = NAME, plot_families
        paths = sorted(options.data.glob("*.gr"))
        if not paths:
            parser.error(f"expected .gr files, got none in {options.data}; name another folder")
        quick_options = (
            {"names": ("icosahedron", "decahedron", "octahedron"), "max_atoms": 250} if options.quick else {}
        )
        results = []
        measurements = [jaxstruc.read(path) for path in (paths[:1] if options.quick else paths)]
        metals = [header_metal(measurement) for measurement in measurements]
        for measurement, metal in zip(measurements, metals, strict=True):
            result = (mine or mine_measurement)(measurement, metal, **quick_options)
            if options.figures:
                result.save(options.figures)
            results.append(summary_row(result))
            json_rows.print_row(results[-1])
    else:
        name, plot = f"{NAME}_calibration", plot_calibration
        draws = options.draws or (20 if options.quick else 100)
        candidates, results = decahedra(), []
        for noise in options.noises or ((0.5,) if options.quick else NOISES):
            results.append(calibration(noise, draws=draws, candidates=candidates, truth=TRUE_PQR))
            json_rows.print_row(results[-1])
    out = options.out or (None if options.quick else RESULTS / f"{name}.jsonl")
    if out is not None:
        json_rows.write_lines(results, out)
        plot(results, out.with_suffix(".png"))
    return results


if __name__ == "__main__":
    main()
