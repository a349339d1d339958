"""Claim: a search over lattice sites solves particles that no list holds; it says how sure their number of atoms is.

    python experiments/solving.py offrule scale            (some 10 s a case on 2 cores; resumes; all parts by default)
    python experiments/solving.py --shard 1/8              (every eighth case, for eight processes; each has its --out)
    python experiments/solving.py --quick                  (a case of two parts and a small library, under a minute)

Platinum is simulated: Q 0.8 to 18-25 1/Å, qdamp known, Uiso, delta2 and stretch not, white noise on F(Q) for each point
of a 0.02 1/Å grid, r to 30 Å (large: 40 Å). The particles are those of `particles.py`, 35 to 320 atoms.

offrule: cuts of lattices, stacks, five-fold ones off their centre, incomplete shells, missing edges; without noise,
with 3 and with 10 %; absolute; --search quick. full: --search full. scale: 3 %, on scales of 0.6 to 1.6 that are not
known. large: 200 to 1000 atoms, 3 %. displaced5, displaced10: atoms moved by 0.05 and 0.1 Å. contracted: a nearer
surface. rules: DeepStruc's rules on larger grids, without noise, absolute.
Controls on offrule, one seed: library (no search), network (neither, with the network's draws), random (a search from
the size that the data show, all packings), unshaped, half, double (other weights of the prior on shape).
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import measured_pdfs
import numpy as np
import particles
import rows
from ase import Atoms
from scipy.spatial.distance import pdist

from jaxstruc import Measurement, Result
from jaxstruc.data import measurement as measurements
from jaxstruc.inference import screening
from jaxstruc.inference.target import Target
from jaxstruc.inference.values import Values
from jaxstruc.network import evaluation
from jaxstruc.options.pdf import (
    DataOptions,
    FitOptions,
    LibraryOptions,
    RefineOptions,
    ScreenName,
    SearchName,
    SolveOptions,
    SourceName,
)
from jaxstruc.scattering import form_factors
from jaxstruc.scattering.parameters import PARAMETERS
from jaxstruc.solver import search
from jaxstruc.solver.answers import Plan, answers
from jaxstruc.solver.doors import refining, solving
from jaxstruc.solver.search import SHAPE
from jaxstruc.structures import classes, kinds
from jaxstruc.structures.distances import histogram

RESULTS = Path(__file__).parent / "results"
BOND = form_factors.bond_length("Pt")
SEEDS, DRAWS = 3, 10
FIRST = 6000
"""Seeds begin here; those below were tuned on."""
SEARCH = search.search
SAME = 0.02
"""Å, by which all distances of congruent particles agree."""
ERROR = 0.1
"""Å, of the mean coordinate error of what is solved."""


@dataclass(frozen=True)
class Part:
    """Cases of one kind."""

    kinds: tuple[str, ...] = particles.OFFRULE
    noises: tuple[float, ...] = (0.03,)
    seeds: int = 1
    absolute: bool = True
    search: SearchName = "quick"
    weight: float = SHAPE
    atoms: tuple[int, int] = (35, 320)
    rmax: float = 30.0
    displaced: float = 0.0
    """Å"""
    contracted: float = 0.0
    sources: tuple[SourceName, ...] = ("library",)
    screen: ScreenName = "none"


PARTS = {
    "offrule": Part(noises=(0.0, 0.03, 0.1), seeds=SEEDS),
    "full": Part(noises=(0.0, 0.03), search="full"),
    "scale": Part(seeds=SEEDS, absolute=False),
    "large": Part(atoms=(200, 1000), rmax=40.0),
    "rules": Part(kinds=particles.RULES, noises=(0.0,), seeds=SEEDS),
    "displaced5": Part(displaced=0.05),
    "displaced10": Part(displaced=0.1),
    "contracted": Part(contracted=0.03),
    "library": Part(noises=(0.0, 0.03, 0.1), search="none"),
    "library rules": Part(kinds=particles.RULES, noises=(0.0,), search="none"),
    "network": Part(search="none", sources=("network", "library")),
    "screened": Part(noises=(0.0, 0.03, 0.1), seeds=SEEDS, screen="classifier"),
    "screened rules": Part(kinds=particles.RULES, noises=(0.0,), seeds=SEEDS, screen="classifier"),
    "random": Part(),
    "unshaped": Part(weight=0.0),
    "half": Part(weight=0.5 * SHAPE),
    "double": Part(weight=2 * SHAPE),
}


class Case(NamedTuple):
    """A simulated particle."""

    name: dict[str, Any]
    """Part, kind, seed, draw and noise."""
    particle: particles.Particle
    measurement: Measurement
    """With all settings."""


def names(part: str, asked: Part, draws: int) -> Iterator[dict[str, Any]]:
    """Yield what tells the cases of a part apart."""
    for seed in range(asked.seeds):
        for draw in range(draws):
            for kind in asked.kinds:
                for noise in asked.noises:
                    yield {"part": part, "kind": kind, "seed": seed, "draw": draw, "noise": noise}


def case(name: dict[str, Any], asked: Part) -> Case:
    """Return the case of a name; the parts share particles and instruments."""
    kind = name["kind"]
    place = (*particles.OFFRULE, *(f"rule {one}" for one in particles.RULES)).index(
        f"rule {kind}" if asked.kinds == particles.RULES else kind
    )
    rng = np.random.default_rng([FIRST + name["seed"], name["draw"], place])
    if asked.kinds == particles.RULES:
        found = particles.rule(kind, rng)
    else:
        found = particles.offrule(kind, rng, least=asked.atoms[0], most=asked.atoms[1])
    if asked.contracted:
        found = particles.contracted(found, asked.contracted)
    if asked.displaced:
        found = particles.displaced(found, rng, asked.displaced / BOND)
    values = {
        "qmin": 0.8, "qmax": rng.uniform(18.0, 25.0), "qdamp": rng.uniform(0.01, 0.04),
        "uiso": rng.uniform(0.004, 0.012), "delta2": rng.uniform(1.0, 4.0), "stretch": rng.uniform(0.985, 1.015),
    }  # fmt: skip
    scale = 1.0 if asked.absolute else math.exp(rng.uniform(math.log(0.6), math.log(1.6)))
    r, g = curve(found.positions, values, name["noise"], asked.rmax, rng)
    settings = DataOptions(qmin=0.8, qmax=values["qmax"], qdamp=values["qdamp"], rmax=asked.rmax)
    told = Measurement("-".join(map(str, name.values())) + ".gr", r, scale * g, {})
    return Case(name, found, measurements.resolved(told, settings, bond=BOND))


def curve(positions: np.ndarray, values: dict[str, float], noise: float, rmax: float, rng: np.random.Generator):
    """Return r and G(r) of a particle, with white noise on F(Q)."""
    return seen(*waves(positions, values), values["qdamp"], noise, rmax, rng)


def waves(positions: np.ndarray, values: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return Q and F(Q) of a particle."""
    q = np.linspace(values["qmin"], values["qmax"], round((values["qmax"] - values["qmin"]) / measured_pdfs.QSTEP) + 1)
    bins = histogram(positions, width=5e-4)
    distance = np.asarray(bins.mean, float) * BOND * values["stretch"]
    variance = 2 * values["uiso"] * np.maximum(1 - values["delta2"] / distance**2, 0.0)
    f = np.zeros(q.size)
    for start in range(0, len(distance), 256):
        some = slice(start, start + 256)
        sines = np.sin(q[:, None] * distance[some]) * np.exp(-0.5 * variance[some] * q[:, None] ** 2)
        f += sines @ (np.asarray(bins.weight[some], float) / len(positions) / distance[some])
    return q, f


def seen(q: np.ndarray, f: np.ndarray, qdamp: float, noise: float, rmax: float, rng: np.random.Generator):
    """Return r and G(r) of F(Q), with white noise on it that the resolution does not damp."""
    r = np.arange(1.5, rmax + 1e-6, 0.05)
    added = noise * np.sqrt(np.mean(f**2)) * rng.normal(size=q.size)
    to_g = measured_pdfs.transform(q, r, qdamp=0.0)
    return r, np.exp(-0.5 * (r * qdamp) ** 2) * (to_g @ f) + to_g @ added


def plan(asked: Part, atoms: int) -> Plan:
    """Return how a part is solved."""
    options = SolveOptions(
        asked.sources, fit=FitOptions(absolute=asked.absolute), candidates=LibraryOptions((), atoms),
        search=asked.search, ensemble="none", screen=asked.screen,
    )  # fmt: skip
    return solving("Pt", options)._replace(shape=asked.weight)


def row_of(one: Case, found: Result, truth_rw: float) -> dict[str, Any]:
    """Return what is kept of a case."""
    true = one.particle
    row = {
        **one.name, "atoms": len(true.positions), "type": true.type, "word": true.word, "hexagonal": true.hexagonal,
        "status": found.status, "seconds": found.facts.get("seconds"), "truth_rw": truth_rw,
    }  # fmt: skip
    if not found.candidates or found.best.atoms is None:
        return row
    best, x = found.best, found.best.atoms.positions
    stretch = float(np.mean(np.sort(pdist(x))[: len(x)]) / np.mean(np.sort(pdist(true.positions))[: len(x)]))
    goal = true.positions * stretch
    levels = np.linspace(0, 1, 2001)
    far = float(np.mean(abs(np.quantile(pdist(x), levels) - np.quantile(pdist(goal), levels))))
    exact = len(x) == len(goal)
    n = found.intervals["n_atoms"]
    layered = "hexagonal" in found.intervals
    return row | {
        "source": best.source, "found_type": best.type, "found_atoms": best.n_atoms, "rw": best.rw,
        "n_low": n.low, "n_high": n.high, "w1": far, "found_hexagonal": best.hexagonal if layered else None,
        "error": error(goal, x) if exact and far < ERROR else None,
        "p_type": found.types.get(true.type, 0.0), "found_word": kinds.word(x) if true.word else "",
    }  # fmt: skip


def error(true: np.ndarray, found: np.ndarray) -> float:
    """Return the mean coordinate error, in Å; of congruent particles the largest error of a distance."""
    apart = float(abs(np.sort(pdist(true)) - np.sort(pdist(found))).max())
    return apart if apart < SAME else evaluation.coordinate_error(true, found)


def solved(row: dict[str, Any]) -> bool:
    """Return whether count and coordinates are right."""
    return row.get("error") is not None and row["error"] < ERROR


def unlisted(goal, pool, fits, **asked):
    """Return what a search finds that begins from the size that the data show alone, with all packings."""
    return SEARCH(goal, pool, fits, begin=all_packings(goal), **asked)


def all_packings(goal: Target) -> dict[str, tuple[int, Values]]:
    """Return number of atoms and values to begin each packing from."""
    seen = screening.seen(goal.r, goal.g, bond=goal.bond, qdamp=goal.qdamp).diameter / goal.bond
    one = jnp.ones((), jnp.float32)
    values = Values(
        one, goal.basis.stretch, one * PARAMETERS["uiso"].start, one * 0,
        one * PARAMETERS["delta2"].start * goal.bond**2, one * goal.qdamp, one * goal.qbroad,
    )  # fmt: skip
    packings = ("stack", "bcc", "sc", "icosahedron", "decahedron")
    return {name: (max(20, round(math.pi / 6 * seen**3 / classes.volume(name))), values) for name in packings}


def run(asked: Part, cases: Sequence[Case], atoms: int, path: Path | None, told: dict[str, Any]) -> None:
    """Add the rows of cases of one part."""
    own = plan(asked, atoms)
    ready = [one.measurement for one in cases]
    true = [float("nan")] * len(cases)
    for number, one in enumerate(cases):
        cluster = Atoms(["Pt"] * len(one.particle.positions), one.particle.positions * BOND)
        fitted = refining([cluster], RefineOptions(fit=own.fit))
        true[number] = next(answers([one.measurement], fitted, among=ready)).best.rw
    for one, rw, found in zip(cases, true, answers(ready, own), strict=True):
        row = row_of(one, found, rw) | told
        rows.show({k: row.get(k) for k in ("part", "kind", "noise", "atoms", "found_atoms", "w1", "error", "seconds")})
        if path is not None:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")


def load(path: Path) -> list[dict[str, Any]]:
    """Return the rows that there are."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def key(row: dict[str, Any]) -> tuple:
    """Return what tells rows apart."""
    return tuple(row[name] for name in ("part", "kind", "seed", "draw", "noise"))


def main(words: Sequence[str] | None = None) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=", ".join(PARTS) + "; all by default")
    parser.add_argument("--draws", type=int, default=DRAWS, help="particles of each kind and seed [10]")
    parser.add_argument("--out", type=Path, help="rows are added here [results/solving.jsonl; quick: nowhere]")
    parser.add_argument("--shard", default="1/1", help="which part of the cases, as 1/8")
    parser.add_argument("--quick", action="store_true", help="a case of two parts and a small library")
    asked = parser.parse_args(words)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"expected parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    out = asked.out or (None if asked.quick else RESULTS / "solving.jsonl")
    atoms = 100 if asked.quick else 1000
    shard, of = map(int, asked.shard.split("/"))
    told = {"device": rows.environment()["device"], "commit": rows.commit(), "jax": jax.__version__}
    done = {key(row) for row in (load(out) if out else [])}
    for part in asked.parts or (["offrule", "library"] if asked.quick else list(PARTS)):
        own = PARTS[part]
        every = list(names(part, own, 1 if asked.quick else asked.draws))
        every = every[:1] if asked.quick else every[shard - 1 :: of]
        cases = [case(name, own) for name in every if key(name) not in done]
        if not cases:
            continue
        if part == "random":
            with mock.patch.object(search, "search", unlisted):
                run(own, cases, atoms, out, told)
        else:
            run(own, cases, atoms, out, told)


if __name__ == "__main__":
    main()
