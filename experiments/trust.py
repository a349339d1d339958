"""Claim: what is answered does not hang on a header's qmin, on the choice of what is fitted, or on the user's eye.

    python experiments/trust.py screening          (about an hour on 2 cores; resumes)
    python experiments/trust.py qmin               (about half an hour on 2 cores; resumes)
    python experiments/trust.py verdict            (some minutes on 2 cores; resumes)
    python experiments/trust.py --quick            (a case of each, a minute)

Particles of gold of 13 to 1000 atoms, evenly in the logarithm, a family at a time, are simulated with instruments and
vibrations drawn at random and 5 % of white noise on F(Q), for each point of a 0.02 1/Å grid; a third are mixtures of
particles of their family whose diameters spread by 10 %.

screening: all clusters of the library are fitted; a row says where the best of them stood in the order of the
screening, and what the best of those is that it would have chosen.
qmin: curves whose Q range begins between 0.4 and 1.6 1/Å are mined with that value and under a header that says 0.1.
verdict: the true cluster alone is fitted; a row says how much the residual exceeds the noise, and the size read.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import measured_pdfs
import numpy as np
import rows
from scipy.spatial.distance import pdist

import jaxstruc
from jaxstruc.data import measurement as measurements
from jaxstruc.data.measurement import Measurement
from jaxstruc.inference import candidates, fit, screening, target, verdict
from jaxstruc.inference.candidates import Candidates
from jaxstruc.inference.target import Target
from jaxstruc.options.pdf import DataOptions, MineOptions
from jaxstruc.scattering import form_factors
from jaxstruc.scattering.templates import Span
from jaxstruc.structures import families, library
from jaxstruc.structures.library import Library

RESULTS = Path(__file__).parent / "results"
BOND = form_factors.bond_length("Au")
R = np.arange(1.5, 45.001, 0.05)
NOISE = 0.05
SPREAD, MEMBERS = 0.1, 8
"""Standard deviation over mean of the diameters in a mixture, and particles drawn for it."""
COUNT = {"screening": 300, "qmin": 200, "verdict": 300}
SPAN = Span(28.0, 32.0)
"""One for all cases, so that the tables of the library are made once."""


class Case(NamedTuple):
    """A simulated sample."""

    row: int
    """Of the library."""
    mixed: bool
    values: dict[str, float]
    """Instrument and vibrations."""
    g: np.ndarray


def case(own: Library, seed: int, *, part: str) -> Case:
    """Return a sample drawn with a seed."""
    rng = np.random.default_rng([sorted(COUNT).index(part), seed])
    names = tuple(families.FAMILIES)
    family = np.flatnonzero((own.families == names[seed % len(names)]) & (own.atoms >= 13))
    size = np.exp(rng.uniform(np.log(13), np.log(own.atoms.max())))
    row = int(family[np.argmin(abs(np.log(own.atoms[family] / size)))])
    values = {
        "qmin": rng.uniform(0.4, 1.6), "qmax": rng.uniform(15, 28), "qdamp": rng.uniform(0.01, 0.05),
        "uiso": rng.uniform(0.004, 0.02), "delta2": rng.uniform(0.0, 4.0), "stretch": rng.uniform(0.98, 1.02),
    }  # fmt: skip
    mixed = seed % 3 == 2
    members = _mixture(own, family, row, rng) if mixed else [row]
    q = np.linspace(values["qmin"], values["qmax"], round((values["qmax"] - values["qmin"]) / measured_pdfs.QSTEP) + 1)
    f = np.zeros(q.size)
    for member in members:  # F of a mixture: each particle counts by its atoms
        positions = library.cluster(own, member).positions * BOND * values["stretch"]
        vibrations = {"uiso": values["uiso"], "delta2": values["delta2"]}
        f += own.atoms[member] * measured_pdfs.structure_function(positions, q, **vibrations)
    f /= own.atoms[members].sum()
    noise = NOISE * np.sqrt(np.mean(f**2)) * rng.normal(size=q.size)
    g = measured_pdfs.transform(q, R, qdamp=values["qdamp"]) @ f + measured_pdfs.transform(q, R, qdamp=0.0) @ noise
    return Case(row, mixed, values, g)


def _mixture(own: Library, family: np.ndarray, row: int, rng: np.random.Generator) -> list[int]:
    """Return particles of a family whose diameters spread about one's."""
    wanted = own.diameter[row] * (1 + SPREAD * rng.normal(size=MEMBERS))
    return [int(family[np.argmin(abs(own.diameter[family] - size))]) for size in wanted]


def measured(one: Case, *, header: dict[str, float]) -> Measurement:
    """Return a case as a file would give it."""
    return Measurement("simulated.gr", R, one.g, dict(header))


def goal_of(one: Case, *, span: Span = SPAN) -> Target:
    """Return the target of a case with its true settings."""
    asked = {name: one.values[name] for name in ("qmin", "qmax", "qdamp")}
    complete = measurements.resolved(measured(one, header=asked), DataOptions(), bond=BOND)
    size = target.points(20.0, 0.4, 28.0, span)
    return target.target(*complete.curve, **asked, qbroad=0.0, bond=BOND, span=span, size=size, lowest=0.3)


def screened(own: Library, seeds: list[int], path: Path | None, told: dict[str, Any]) -> None:
    """Add the rows of `screening`."""
    every = candidates.pool([Candidates("library", own, np.arange(len(own.atoms)))])
    bins = screening.bins(own, np.arange(len(own.atoms)), bond=BOND, span=SPAN)
    tables: list = []
    for seed in seeds:
        one = case(own, seed, part="screening")
        goal = goal_of(one)
        if not tables:
            tables = [
                candidates.tables(every.chosen(np.arange(start, min(start + 64, len(own.atoms)))), goal)
                for start in range(0, len(own.atoms), 64)
            ]
        rw = np.concatenate([candidates.fit_tables(table, goal).rw for table in tables])[: len(own.atoms)]
        rw = np.where(np.isfinite(rw), rw, np.inf)
        misfit = screening.misfits(bins, goal.basis)
        best, order = int(rw.argmin()), np.argsort(misfit, kind="stable")
        _add(path, {
            "part": "screening", "seed": seed, "family": str(own.families[one.row]), "atoms": int(own.atoms[one.row]),
            "mixed": one.mixed, "rw": float(rw[best]), "place": int(np.flatnonzero(order == best)[0]),
            "chosen": screening.SCREENED, "rw_chosen": float(rw[order[: screening.SCREENED]].min()), **told,
        })  # fmt: skip


def inferred(own_atoms: int, seeds: list[int], own: Library, path: Path | None, told: dict[str, Any]) -> None:
    """Add the rows of `qmin`."""
    for seed in seeds:
        one = case(own, seed, part="qmin")
        known = {"qmax": one.values["qmax"], "qdamp": one.values["qdamp"]}
        true, wrong = (
            jaxstruc.mine(
                measured(one, header=known | {"qmin": qmin}),
                element="Au",
                qmin=held,
                max_atoms=own_atoms,
                options=MineOptions(ensemble="none"),
            )
            for qmin, held in ((one.values["qmin"], one.values["qmin"]), (0.1, None))
        )
        _add(path, {
            "part": "qmin", "seed": seed, "family": str(own.families[one.row]), "atoms": int(own.atoms[one.row]),
            "mixed": one.mixed, "qmin": one.values["qmin"], "inferred": wrong.given["qmin"],
            "error": wrong.facts.get("qmin_error"), "rw": true.best.rw, "rw_inferred": wrong.best.rw,
            "type": true.best.type, "type_inferred": wrong.best.type, "status": true.status,
            "status_inferred": wrong.status, **told,
        })  # fmt: skip


def judged(own: Library, seeds: list[int], path: Path | None, told: dict[str, Any]) -> None:
    """Add the rows of `verdict`."""
    for seed in seeds:
        one = case(own, seed, part="verdict")
        goal = goal_of(one)
        pool = candidates.pool([Candidates("library", own, np.array([one.row]))])
        fits, tables = candidates.fit_all(pool, goal), candidates.tables(pool, goal)
        curve, _ = fit.curves(fits, candidates.rows(tables, slice(0, 1)), goal)
        positions = library.cluster(own, one.row).positions * BOND * one.values["stretch"]
        diameter = float(pdist(positions).max())
        left = verdict.structure(
            goal.g - curve[0], R, one.g, diameter=diameter, independent=goal.independent, parameters=4
        )
        size, reached, _ = screening.seen(R, one.g, bond=BOND, qdamp=one.values["qdamp"])
        _add(path, {
            "part": "verdict", "seed": seed, "family": str(own.families[one.row]), "atoms": int(own.atoms[one.row]),
            "mixed": one.mixed, "rw": float(fits.rw[0]), "structure": left, "diameter": diameter, "size_seen": size,
            "reached": reached, **told,
        })  # fmt: skip


def _add(path: Path | None, row: dict[str, Any]) -> None:
    rows.show(row)
    if path is None:
        return
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def _done(path: Path | None, part: str) -> set[int]:
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path and path.exists() else []
    return {row["seed"] for row in found if row["part"] == part}


def main(words: Sequence[str] | None = None) -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=", ".join(COUNT) + "; all by default")
    parser.add_argument("--count", type=int, help="cases a part")
    parser.add_argument("--max-atoms", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="rows are added here [results/trust.jsonl; quick: nowhere]")
    parser.add_argument("--quick", action="store_true", help="a case a part and a small library")
    asked = parser.parse_args(words)
    if unknown := set(asked.parts) - set(COUNT):
        parser.error(f"expected parts of {', '.join(COUNT)}, got {', '.join(sorted(unknown))}")
    atoms = 60 if asked.quick else asked.max_atoms
    out = asked.out or (None if asked.quick else RESULTS / "trust.jsonl")
    own = library.cached(tuple(families.FAMILIES), max_atoms=atoms)
    told = {"device": jax.default_backend(), "library": len(own.atoms), "commit": rows.commit()}
    for part in asked.parts or list(COUNT):
        count = 1 if asked.quick else asked.count or COUNT[part]
        seeds = [seed for seed in range(count) if seed not in _done(out, part)]
        if part == "screening":
            screened(own, seeds, out, told)
        elif part == "qmin":
            inferred(atoms, seeds, own, out, told)
        else:
            judged(own, seeds, out, told)


if __name__ == "__main__":
    main()
