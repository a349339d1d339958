"""Folders of results made by hand, for tests of the page of results."""

import dataclasses
from pathlib import Path

import example_distributions
import numpy as np
from ase.cluster import Decahedron, Icosahedron, Octahedron
from pdf_results import candidate

from jaxstruc.io.measurement import Setting
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import folder, page, summary
from jaxstruc.result import Candidate, SizeDistribution, Value
from jaxstruc.small_angle.result import SaxsResult
from jaxstruc.statistics import Interval

STRUCTURES = (Octahedron("Pt", 9, 3), Icosahedron("Pt", 5), Decahedron("Pt", 4, 3, 0), Octahedron("Pt", 6))
MESSAGE = (
    "the best structure does not explain all of the data: its mean squared residual is 4.2 times that of the noise"
)


def pdf_result(name="in/a.gr", *, status="weak", message=MESSAGE, sample="distribution", n_candidates=200):
    """Return a result with a curve, four structures, a distribution and candidates."""
    r = np.arange(1.5, 20.005, 0.01)
    observed = np.sin(6 * r) * np.exp(-r / 8) + 0.01 * np.random.default_rng(0).normal(size=len(r))
    candidates = [
        candidate(
            0.1 + 0.002 * index, 0.5 ** (index + 1), in_90=index < 4, family=("octahedron", "twin", "fcc")[index % 3],
            diameter=15.0 + 0.1 * index, correlation=None,
            description=f"truncated octahedron, {146 + index} atoms, 19.5 x 11.3 Å",
        )
        for index in range(n_candidates)
    ]  # fmt: skip
    for index, atoms in enumerate(STRUCTURES):
        candidates[index] = dataclasses.replace(
            candidates[index], atoms=atoms, n_atoms=len(atoms), calculated=np.sin(6 * r) * np.exp(-r / 8),
            background=np.zeros(len(r)), occupancy=np.linspace(0, 1, len(atoms)) if index == 0 else None,
        )  # fmt: skip
    return PdfResult(
        name, "ff" * 32, "Pt", status, message, tuple(candidates), n_fitted=468, ties=4,
        types={"fcc": 0.75, "hcp": 0.25}, free=("scale",),
        intervals={"n_atoms": Interval(405, 300, 500), "diameter": Interval(24.0, 20.0, 30.0)},
        settings=(Setting("qmin", 0.8, "header"), Setting("rmin", 1.5, "default"), Setting("rmax", 20.0, "default")),
        versions={"jaxstruc": "0.1.0", "jax": "0.10.1"}, r=r, observed=observed,
        ensemble=example_distributions.distribution(sample),
    )  # fmt: skip


def saxs_result(name="in/a.dat"):
    """Return a result of spheres whose sizes extend beyond those that the range of Q determines."""
    q, radius = np.geomspace(0.01, 0.5, 900), np.geomspace(2, 500, 120)
    intensity = 1 / (1 + (30 * q) ** 4)
    density = np.exp(-0.5 * (np.log(radius / 40) / 0.3) ** 2)
    best = Candidate(
        "body", "sphere", "lognormal", "", 0, 80.0, 0.01, 0.9, True, True, "",
        {"radius": Value(40.0, 0.2, "Å"), "pd": Value(0.3, 0.01, ""), "r_eq": Value(40.0, 0.2, "Å")},
        notes={"chi2": 1.1, "mean_volume": 90.0, "width_volume": 0.3}, calculated=intensity, background=0 * q,
    )  # fmt: skip
    intervals = {
        "radius": Interval(40.0, 39.0, 41.0), "pd": Interval(0.3, 0.28, 0.32), "r_eq": Interval(40.0, 39.0, 41.0),
        "mean_diameter": Interval(90.0, 88.0, 92.0), "width": Interval(0.3, 0.28, 0.32),
    }  # fmt: skip
    sizes = SizeDistribution(
        "lognormal", radius, density, 0.8 * density, 1.2 * density, density, 0.8 * density, 1.2 * density, 6.28, 314.0
    )
    return SaxsResult(
        name, "ee" * 32, "Au", "solved", "", (best,), n_fitted=1, ties=1, types={"sphere": 1.0}, intervals=intervals,
        free=("radius", "pd"), settings=(Setting("qmin", 0.01, "data"), Setting("qmax", 0.5, "data")),
        facts={"n_populations": 1}, versions={"jaxstruc": "0.1.0"}, q=q, intensity=intensity, sigma=0.02 * intensity,
        sizes=sizes,
    )  # fmt: skip


def write_folder(out: Path, results: dict) -> Path:
    """Write a folder with results by stem, and return its path."""
    rows = []
    columns = summary.SUMMARY_COLUMNS
    for stem, result in results.items():
        columns = summary.SAXS_SUMMARY_COLUMNS if isinstance(result, SaxsResult) else columns
        folder.result_file(out, stem).parent.mkdir(parents=True, exist_ok=True)
        with folder.result_file(out, stem).open("wb") as stream:
            np.savez(stream, **folder.to_arrays(result))
        rows.append(summary.row(result, columns) | {"stem": stem})
    folder.write_summary(out, rows, columns=columns)
    return out


def write_page_of_many(out: Path, count: int) -> Path:
    """Write the page of many curves, and return its path."""
    result = pdf_result()
    results = {
        f"curve-{number}": dataclasses.replace(
            result, name=f"in/curve-{number}.gr", status=("weak", "solved")[number % 2]
        )
        for number in range(count)
    }
    folder.write_summary(out, [summary.row(result) | {"stem": stem} for stem, result in results.items()])
    (path,) = page.write_pages(out, results=results)
    return path
