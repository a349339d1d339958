"""Claim: beyond the range of a fit, data tell one cluster from many; sizes, widths and shares have intervals that hold.

    python experiments/ensembles.py single lognormal       (some 6 s a case on 2 cores; resumes; all parts by default)
    python experiments/ensembles.py --search offrule unlisted --count 28      (with searched particles; 40 s a case)
    python experiments/ensembles.py --measured DIR         (cuts by the definition, and at 14 Å; nothing is written)
    python experiments/ensembles.py --quick                (a case of three parts and a small library, under a minute)

Platinum is simulated: instruments and vibrations drawn at random, white noise on F(Q) of 3 % for each point of a 0.02
1/Å grid, r to 30 Å, where a part does not say else. Each case goes the way of `jaxstruc mine` with its qmin and qdamp.
Members are clusters whose atoms show their type.

single: one cluster of the library above 15 Å, as many of each type. offrule: the same, balls about random places.
lognormal, schulz: eighty clusters of one packing, of the library, mean 15 to 22 Å, width 5 to 40 %. large: balls about
random places, mean 22 to 40 Å. two: icosahedra and decahedra, or fcc and twins, 10 to 90 %. bimodal: two sizes of one
packing. displaced, contracted: single ones whose atoms are moved by 0.1 Å, lognormal ones contracted by 0.2 Å / D.
unlisted: balls about random places, mean 15 to 22 Å, width 12 to 40 %.
noise1, noise10, short, long: lognormal and single ones in turn, with 1 and 10 % of noise, and to 20 and 50 Å.
"""

import argparse
import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import measured_pdfs
import numpy as np
import rows

import jaxstruc
from jaxstruc import Measurement, Result
from jaxstruc.data import measurement as measurements
from jaxstruc.inference import unseen
from jaxstruc.inference.unseen import Cut
from jaxstruc.options.pdf import DataOptions, LibraryOptions, MineOptions, ScreenName, SearchName
from jaxstruc.scattering import form_factors
from jaxstruc.solver.answers import answers
from jaxstruc.solver.doors import solving
from jaxstruc.structures import classes, families, kinds, library, populations
from jaxstruc.structures.distances import histogram
from jaxstruc.structures.families import TYPES
from jaxstruc.structures.library import WIDTH, Library

RESULTS = Path(__file__).parent / "results"
BOND = form_factors.bond_length("Pt")
MEMBERS = 80
ALIKE = 0.03
"""In the logarithm of the size: members of the library that may stand for a size."""
COUNT = {
    **{"single": 56, "lognormal": 50, "schulz": 50, "two": 50, "offrule": 56, "large": 30, "bimodal": 20},
    **{"displaced": 20, "contracted": 20, "noise1": 16, "noise10": 16, "short": 16, "long": 16, "unlisted": 28},
}
FIRST = 3000
"""Seeds begin here; those below were tuned on."""
KINDS = ("fcc", "hcp", "faulted", "bcc", "sc", "icosahedron", "decahedron")
RULES = {
    "fcc": ("fcc", "octahedron"),
    "faulted": ("twin", "fault"),
    **{name: (name,) for name in ("hcp", "bcc", "sc", "icosahedron", "decahedron", "twin", "fault")},
}
"""Families of the library for what a part asks for."""
MIXED = ("icosahedron", "decahedron", "fcc", "twin", "hcp", "fault")
CUT, END = 14.0, 20.0
"""Å, of the measured files' bars."""


class Part(NamedTuple):
    """Pairs of a sample, an atom, and what it is."""

    weight: np.ndarray
    mean: np.ndarray
    """Bonds"""
    variance: np.ndarray
    size: float
    """Bonds"""
    type: str


class Case(NamedTuple):
    """A simulated sample."""

    measurement: Measurement
    asked: DataOptions
    truth: dict[str, Any]


def case(own: Library, part: str, seed: int) -> Case:
    """Return a sample drawn with a seed."""
    rng = np.random.default_rng([sorted(COUNT).index(part), seed])
    values = {
        "qmin": rng.uniform(0.6, 1.2), "qmax": float(rng.choice([14.0, 17.0, 20.0, 25.0])),
        "qdamp": rng.uniform(0.01, 0.04), "uiso": rng.uniform(0.004, 0.015), "delta2": rng.uniform(1.0, 4.0),
        "stretch": rng.uniform(0.985, 1.015),
    }  # fmt: skip
    parts, shares = _sample(own, part, seed, rng)
    shares = np.asarray(shares) / np.sum(shares)
    contraction = 0.2 if part == "contracted" else 0.0
    q = np.linspace(values["qmin"], values["qmax"], round((values["qmax"] - values["qmin"]) / measured_pdfs.QSTEP) + 1)
    f = _structure_function(parts, shares, q, values, contraction)
    r = np.arange(1.5, {"short": 20.0, "long": 50.0}.get(part, 30.0) + 0.001, 0.05)
    noise = {"noise1": 0.01, "noise10": 0.1}.get(part, 0.03) * np.sqrt(np.mean(f**2)) * rng.normal(size=q.size)
    g = measured_pdfs.transform(q, r, qdamp=values["qdamp"]) @ f + measured_pdfs.transform(q, r, qdamp=0.0) @ noise
    size = np.array([one.size for one in parts]) * BOND * values["stretch"]
    mean = float(shares @ size)
    truth = {
        "members": len(parts), "mean": mean, "width": float(np.sqrt(shares @ (size - mean) ** 2) / mean),
        "types": {
            kind: float(shares[[one.type == kind for one in parts]].sum()) for kind in sorted({x.type for x in parts})
        },
    }  # fmt: skip
    asked = DataOptions(qmin=values["qmin"], qmax=values["qmax"], qdamp=values["qdamp"])
    return Case(Measurement(f"{part}-{seed}.gr", r, g, {}), asked, truth)


def _sample(own: Library, part: str, seed: int, rng: np.random.Generator) -> tuple[list[Part], list[float]]:
    """Return particles and their shares of atoms."""
    if part in ("noise1", "noise10", "short", "long"):
        part = ("single", "lognormal")[seed % 2]
        seed //= 2
    if part in ("single", "displaced"):
        row = _listed(own, RULES[KINDS[seed % len(KINDS)]], rng.uniform(15.0, 29.0) / BOND, rng)
        return [_of_row(own, row) if part == "single" else _displaced(library.cluster(own, row), rng)], [1.0]
    if part == "offrule":
        kind = KINDS[seed % len(KINDS)]
        packing = ("twin", "fault")[seed // len(KINDS) % 2] if kind == "faulted" else kind
        ball = _balls(packing, rng.uniform(15.0, 29.0), 0.001, "lognormal", 1, rng)
        return ball, [1.0]
    packing = MIXED[seed % len(MIXED)]
    if part == "large":
        found = _balls(packing, rng.uniform(22.0, 40.0), rng.uniform(0.1, 0.3), "lognormal", 24, rng)
        return found, [1.0] * len(found)
    if part == "unlisted":
        found = _balls(packing, rng.uniform(15.0, 22.0), rng.uniform(0.12, 0.4), "lognormal", 24, rng)
        return found, [1.0] * len(found)
    if part == "two":
        pair = (("icosahedron", "decahedron"), ("fcc", "twin"))[seed % 2]
        share, mean, width = rng.uniform(0.1, 0.9), rng.uniform(14.0, 20.0), rng.uniform(0.08, 0.3)
        asked = [
            (kind, s, mean * rng.uniform(0.85, 1.15), width) for kind, s in zip(pair, (share, 1 - share), strict=True)
        ]
    elif part == "bimodal":
        share, mean = rng.uniform(0.3, 0.7), rng.uniform(13.0, 16.0)
        asked = [(packing, share, mean, 0.08), (packing, 1 - share, mean * rng.uniform(1.5, 1.8), 0.08)]
    else:
        asked = [(packing, 1.0, rng.uniform(15.0, 22.0), rng.uniform(0.05, 0.4))]
    parts, shares = [], []
    for kind, share, mean, width in asked:
        for size in _sizes(mean, width, "schulz" if part == "schulz" else "lognormal", rng):
            parts.append(_of_row(own, _listed(own, RULES[kind], size / BOND, rng)))
            shares.append(share / MEMBERS)
    return parts, shares


def _sizes(mean: float, width: float, shape: str, rng: np.random.Generator) -> np.ndarray:
    if shape == "schulz":
        return rng.gamma(1 / width**2, mean * width**2, size=MEMBERS)
    spread = math.sqrt(math.log1p(width**2))
    return mean * np.exp(spread * rng.normal(size=MEMBERS) - spread**2 / 2)


def _listed(own: Library, names: Sequence[str], size: float, rng: np.random.Generator) -> int:
    """Return a cluster of some families about as large as asked for, whose atoms show its type.

    Compact ones, as particles mostly are, where there are any.
    """
    every = np.flatnonzero(np.isin(own.families, names))
    off = abs(np.log(classes.size(own, every) / size))
    compact = (own.diameter[every] + 1) / classes.size(own, every) <= classes.COMPACT
    near = every[(off < ALIKE) & compact]
    order = [*rng.permutation(near), *every[np.argsort(off + ~compact)]]
    return next(int(row) for row in order if _shown(own, int(row)))


@cache
def _kind(positions: bytes) -> kinds.Kind:
    return kinds.kind(np.frombuffer(positions).reshape(-1, 3))


def _shown(own: Library, row: int) -> bool:
    """Return whether the atoms of a cluster have the type of its rule; one twin in a large particle is fcc."""
    kind = _kind(library.cluster(own, row).positions.tobytes()).type
    return kind == TYPES[str(own.families[row])] or (own.families[row] == "twin" and kind == "fcc")


def _of_row(own: Library, row: int) -> Part:
    table = library.table(own, row)
    kind = _kind(library.cluster(own, row).positions.tobytes()).type
    size = float(classes.size(own, np.array([row]))[0])
    return Part(table.weight / own.atoms[row], table.mean, table.variance, size, kind)


def _of_positions(positions: np.ndarray, packing: str) -> Part:
    bins = histogram(positions, width=WIDTH)
    size = classes.sphere(len(positions), classes.volume(packing))
    kind = kinds.kind(positions).type or TYPES.get(packing, packing)
    return Part(np.asarray(bins.weight) / len(positions), np.asarray(bins.mean), np.asarray(bins.variance), size, kind)


def _displaced(cluster, rng: np.random.Generator) -> Part:
    moved = _of_positions(
        cluster.positions + 0.1 / BOND / math.sqrt(3) * rng.normal(size=cluster.positions.shape), cluster.family
    )
    return moved._replace(type=kinds.kind(cluster.positions).type or TYPES[cluster.family])


def _balls(packing: str, mean: float, width: float, shape: str, members: int, rng: np.random.Generator) -> list[Part]:
    found = populations.population(
        packing, mean=mean / BOND, width=width, shape=shape, members=members, seed=int(rng.integers(2**31))
    )
    return [_of_positions(one.positions, packing) for one in found.clusters]


def _structure_function(
    parts: Sequence[Part], shares: np.ndarray, q: np.ndarray, values: dict[str, float], contraction: float
) -> np.ndarray:
    """Return F(Q) of a mixture: each particle counts by its atoms."""
    f, bins = np.zeros(q.size), round(30 / WIDTH)
    sums = np.zeros((3, bins))
    for one, share in zip(parts, shares, strict=True):
        stretch = 1 - contraction / (one.size * BOND)
        kept = one.mean < 29
        weight, mean = share * one.weight[kept].astype(float), one.mean[kept] * stretch
        at = np.rint(mean / WIDTH).astype(int)
        for power, column in enumerate((weight, weight * mean, weight * (mean**2 + one.variance[kept]))):
            sums[power] += np.bincount(at, column, bins)
    there = sums[0] > 0
    weight, mean = sums[0, there], sums[1, there] / sums[0, there]
    spread = np.maximum(sums[2, there] / weight - mean**2, 0.0)
    unit = BOND * values["stretch"]
    variance = 2 * values["uiso"] * np.maximum(1 - values["delta2"] / (mean * unit) ** 2, 0.0) + spread * unit**2
    for start in range(0, len(mean), 256):
        some = slice(start, start + 256)
        waves = np.sin(q[:, None] * mean[some] * unit) * np.exp(-0.5 * variance[some] * q[:, None] ** 2)
        f += waves @ (weight[some] / (mean[some] * unit))
    return f


def row_of(part: str, seed: int, one: Case, found: Result) -> dict[str, Any]:
    """Return what is kept of a case."""
    ensemble = found.ensemble
    row: dict[str, Any] = {
        "part": part,
        "seed": seed,
        **one.truth,
        "status": found.status,
        "seconds": found.facts.get("seconds"),
    }
    if found.candidates:
        row |= {"rw": found.best.rw, "type": found.best.type, "probabilities": found.types}
        row |= {"source": found.best.source, "found_atoms": found.best.n_atoms}
    if ensemble is None:
        return row
    spans = {name: [i.value, i.low, i.high] for name, i in ensemble.shares.items()}
    return row | {
        "verdict": ensemble.sample, "method": ensemble.method, "rw_ensemble": ensemble.rw, "shares": spans,
        "mean_found": [ensemble.mean_diameter.value, ensemble.mean_diameter.low, ensemble.mean_diameter.high],
        "width_found": [ensemble.width.value, ensemble.width.low, ensemble.width.high],
        "unseen": [ensemble.rw_holdout_single, ensemble.rw_holdout_ensemble],
        "gains": [holdout.gain for holdout in ensemble.holdouts],
    }  # fmt: skip


def run(
    own: Library,
    atoms: int,
    part: str,
    seeds: Sequence[int],
    path: Path | None,
    told: dict[str, Any],
    search: SearchName,
    screen: ScreenName,
) -> None:
    """Add the rows of a part."""
    cases = [case(own, part, FIRST + seed) for seed in seeds]
    options = MineOptions(candidates=LibraryOptions((), atoms), search=search, screen=screen)
    plan = solving("Pt", options)
    ready = [measurements.resolved(one.measurement, one.asked, bond=BOND) for one in cases]
    for seed, one, found in zip(seeds, cases, answers(ready, plan), strict=True):
        row = row_of(part, seed, one, found) | told
        rows.show(
            {name: row[name] for name in ("part", "seed", "mean", "width", "verdict", "mean_found") if name in row}
        )
        if path is not None:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")


def measured(folder: Path) -> None:
    """Print what is said of measured files, and how well fits to 14 Å predict 14 to 20 Å."""
    for path in sorted(folder.glob("*.gr")):
        data = jaxstruc.read(path)
        element = measured_pdfs.metal_of(data)
        usual = jaxstruc.mine(data, element=element)
        with mock.patch.object(unseen, "cuts", lambda r, end: [Cut(CUT, END)]):
            bars = jaxstruc.mine(data, element=element)
        print(usual)
        if bars.ensemble:
            rows.show(
                {
                    "file": path.name,
                    "cut": CUT,
                    "single": bars.ensemble.rw_holdout_single,
                    "ensemble": bars.ensemble.rw_holdout_ensemble,
                }
            )
        rows.show(
            {"types": usual.types, "gains": [one.gain for one in usual.ensemble.holdouts] if usual.ensemble else []}
        )


def load(path: Path) -> list[dict[str, Any]]:
    """Return the rows that there are."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def main(words: Sequence[str] | None = None) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=", ".join(COUNT) + "; all by default")
    parser.add_argument("--count", type=int, help="cases a part")
    parser.add_argument("--search", action="store_true", help="search sites too; rows in ensembles_searched.jsonl")
    parser.add_argument("--screen", action="store_true", help="by the classifier; rows in ensembles_screened.jsonl")
    parser.add_argument("--shard", default="1/1", help="which part of the cases, as 1/8")
    parser.add_argument("--out", type=Path, help="rows are added here [results/ensembles.jsonl; quick: nowhere]")
    parser.add_argument("--measured", type=Path, help="folder of measured .gr files")
    parser.add_argument("--quick", action="store_true", help="a case of three parts and a small library")
    asked = parser.parse_args(words)
    if unknown := set(asked.parts) - set(COUNT):
        parser.error(f"expected parts of {', '.join(COUNT)}, got {', '.join(sorted(unknown))}")
    out = asked.out or (
        None if asked.quick else RESULTS / f"ensembles{asked.search * '_searched'}{asked.screen * '_screened'}.jsonl"
    )
    shard, of = map(int, asked.shard.split("/"))
    if asked.measured:
        measured(asked.measured)
        return
    atoms = 100 if asked.quick else 1000
    own = library.cached(tuple(families.FAMILIES), max_atoms=atoms)
    told = {"device": jax.default_backend(), "library": len(own.atoms), "commit": rows.commit()}
    done = {(row["part"], row["seed"]) for row in (load(out) if out else [])}
    parts = asked.parts or (["single", "lognormal", "two"] if asked.quick else list(COUNT))
    for part in parts:
        count = 1 if asked.quick else asked.count or COUNT[part]
        seeds = [seed for seed in range(shard - 1, count, of) if (part, seed) not in done]
        run(
            own,
            atoms,
            part,
            seeds,
            out,
            told,
            "quick" if asked.search else "none",
            "classifier" if asked.screen else "none",
        )


if __name__ == "__main__":
    main()
