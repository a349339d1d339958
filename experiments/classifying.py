"""Claim: one look of a network names type, size and stacking of a particle from its PDF, and says how sure it is.

    python experiments/classifying.py                      (some ten minutes on 2 cores: all parts)
    python experiments/classifying.py offrule --draws 2    (a part)
    python experiments/classifying.py measured --data DIR  (files that are not in the repository)
    python experiments/classifying.py --quick              (few cases of two parts, nothing is written)

own: steps of the training's stream that no training has (coverage, calibration of types). held: likewise, listed
clusters of sizes held out alone. sbc: ranks of the truths of 1000 such PDFs among draws, in 20 bins, against a
simultaneous 99 % band (S. Talts et al., arXiv 1804.06788; T. Säilynoja et al., Stat. Comput. 32, 32 (2022)). offrule,
rules: the particles and instruments of `solving.py`, without noise, with 3 and with 10 %; their code cuts otherwise
than the training's. outside: what is no particle of one metal, against offrule: AUROC of `naming.Named.oddness`.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import particles
import rows
import solving
from matplotlib.figure import Figure
from scipy import stats

import jaxstruc
from jaxstruc.data import measurement as measurements
from jaxstruc.data.measurement import Measurement
from jaxstruc.network import classifier, endless, naming, stock, weights
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.options.pdf import CLASSIFIER, DataOptions
from jaxstruc.report import figures
from jaxstruc.scattering import form_factors
from jaxstruc.structures import library
from jaxstruc.structures.cuts import TYPES

RESULTS = Path(__file__).parent / "results" / "classifying.jsonl"
PARTS = ("own", "held", "sbc", "offrule", "rules", "outside")
STEPS, SEED = 40, 10**5
"""Of the stream, none of a training's or a calibration's."""
RANKS, BINS = 1000, 20
SOURCES = {stock.CUT: "cut", stock.LIST: "listed", stock.MANY: "distribution"}
NOISES = (0.0, 0.03, 0.1)
FILES = {"Pt_1.8nm_S3.gr": "Pt", "Au144_pMBA.gr": "Au", "Pt_nanoparticles_pdfttp.gr": "Pt", "Au_ScattBO.gr": "Au"}


def stream(part: str, network: TrainedClassifier, steps: int) -> list[dict[str, Any]]:
    """Return rows of steps of the stream, or of its held-out clusters: a row a source."""
    listed = library.cached()
    own = stock.stock(listed, stock.shown(listed), held=part == "held")
    found: dict[str, list] = {name: [] for name in ("source", "types", "true", "ranks", "known")}
    for batch, mixture, _ in naming.fresh(network.params, own, seed=SEED, steps=steps, module=network.module):
        ranks, known = naming.ranks_of(batch.truths, mixture, len(found["true"]))
        types = naming.tempered(classifier.types(mixture), network.card["temperature"])
        found["source"].append(np.asarray(batch.source))
        found["types"].append(np.asarray(types))
        found["true"].append(np.asarray(batch.truths.type))
        found["known"].append(known)
        found["ranks"].append(naming.ranked(ranks, network.card))
    column = {name: np.concatenate(each) for name, each in found.items()}
    if part == "sbc":
        return calibrated(column)
    kept = [{"part": part, "source": "all"} | _whole(column)] if part == "own" else []
    for place, name in SOURCES.items():
        if part == "held" and place != stock.LIST:
            continue
        rows_ = (column["source"] == place) & (column["true"] >= 0)
        kept.append({"part": part, "source": name} | _types(column["types"][rows_], column["true"][rows_]))
        for at, value in enumerate(endless.VALUES):
            some = (column["source"] == place) & column["known"][:, at]
            if some.any():
                kept[-1] |= _ranks(value, column["ranks"][some, at])
    return kept


def _whole(column: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return types and coverage over all sources."""
    shown = column["true"] >= 0
    found = _types(column["types"][shown], column["true"][shown])
    for at, value in enumerate(endless.VALUES):
        found |= _ranks(value, column["ranks"][column["known"][:, at], at])
    return found


def calibrated(column: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the ranks of 1000 truths in `BINS` bins, a row an output, with the simultaneous 99 % band.

    The rank of a type is that of a draw even in its share of the cumulative probability, types in order.
    """
    rng = np.random.default_rng(3)
    even = rng.multinomial(RANKS, np.full(BINS, 1 / BINS), 20000)
    # the band within which all bins of even ranks lie in 99 %
    far = np.quantile(abs(even - RANKS / BINS).max(axis=1), 0.99)
    ranks = {value: column["ranks"][column["known"][:, at], at] for at, value in enumerate(endless.VALUES)}
    shown = column["true"] >= 0
    types, true = column["types"][shown], column["true"][shown]
    before = np.cumsum(types, axis=1) - types
    own = np.arange(len(true))
    ranks["type"] = before[own, true] + rng.random(len(true)) * types[own, true]
    kept = []
    for name, each in ranks.items():
        counts = np.histogram(rng.choice(each, RANKS, replace=False), BINS, (0, 1))[0]
        inside = bool((abs(counts - RANKS / BINS) <= far).all())
        kept.append({"part": "sbc", "value": name, "counts": counts.tolist(), "band": float(far), "inside": inside})
    return kept


def drawn(found: Sequence[dict[str, Any]]) -> Figure:
    """Return a picture of the ranks' bins, a panel an output, with the band."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axes, row in zip(figure.subplots(2, 4, sharex=True, sharey=True).flat, [*found, None], strict=False):
        if row is None:
            axes.set_axis_off()
            continue
        middle, edges = RANKS / BINS, np.linspace(0, 1, BINS + 1)
        axes.axhspan(middle - row["band"], middle + row["band"], color="0.9")
        axes.stairs(row["counts"], edges, color="C0" if row["inside"] else "C3")
        axes.set(title=row["value"], xlim=(0, 1), ylim=(0, None))
    figure.supxlabel("rank of the truth among draws; grey: all bins of even ranks lie here in 99 %")
    figure.supylabel(f"of {RANKS} PDFs")
    return figure


def _types(shares: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Return how often the likeliest type is right, and the expected calibration error of its probability."""
    top, right = shares.max(axis=1), shares.argmax(axis=1) == true
    tenth = np.minimum((top * 10).astype(int), 9)
    error = sum(abs(top[tenth == k].mean() - right[tenth == k].mean()) * (tenth == k).mean() for k in set(tenth))
    each = {TYPES[k]: float(right[true == k].mean()) for k in sorted(set(true.tolist()))}
    return {"cases": len(true), "right": float(right.mean()), "calibration": float(error), "by_type": each}


def _ranks(name: str, ranks: np.ndarray) -> dict[str, float]:
    """Return the coverage of central intervals, and how far ranks are from even (Kolmogorov's statistic)."""
    off = abs(ranks - 0.5)
    return {
        f"{name}_50": float((off <= 0.25).mean()), f"{name}_90": float((off <= 0.45).mean()),
        f"{name}_uneven": float(stats.kstest(ranks, "uniform").statistic),
    }  # fmt: skip


def cases(part: str, draws: int, seeds: int) -> list[solving.Case]:
    """Return simulated particles that a part asks for."""
    kinds = particles.RULES if part == "rules" else particles.OFFRULE
    asked = solving.Part(kinds=kinds, noises=NOISES, seeds=seeds)
    return [solving.case(name | {"part": part}, asked) for name in solving.names(part, asked, draws)]


def simulated(part: str, network: TrainedClassifier, draws: int, seeds: int) -> list[dict[str, Any]]:
    """Return rows of simulated particles, a row a case."""
    every = cases(part, draws, seeds)
    named = naming.named([one.measurement for one in every], network, bond=solving.BOND)
    kept = []
    for one, own in zip(every, named, strict=True):
        atoms, share = len(one.particle.positions), own.intervals["hexagonal"]
        n = own.intervals["n_atoms"]
        kept.append(one.name | {
            "atoms": atoms, "type": one.particle.type, "found_type": next(iter(own.types)),
            "p_type": own.types[one.particle.type], "n_atoms": n.value, "n_low": n.low, "n_high": n.high,
            "hexagonal": one.particle.hexagonal, "found_hexagonal": share.value, "distance": own.oddness,
            "n_rank": _rank_of(own, network.card, atoms),
        })  # fmt: skip
    return kept


def _rank_of(own: naming.Named, card: dict[str, Any], atoms: int) -> float:
    """Return the calibrated rank of a number of atoms."""
    at = (math.log(atoms) - classifier.CENTRE[0]) / classifier.SPREAD[0]
    below = stats.norm.cdf((at - own.mixture.mean[:, 0]) / own.mixture.deviation[:, 0])
    rank = float(np.exp(own.mixture.weight) @ below)
    return float(np.interp(rank, card["levels"]["n_atoms"], naming.EVEN))


def outside(network: TrainedClassifier, draws: int) -> list[dict[str, Any]]:
    """Return the AUROC of `oddness` for curves that are no particle of one metal, or told wrongly."""
    rng = np.random.default_rng(solving.FIRST)
    own = [one for one in cases("offrule", draws, 1) if one.name["noise"] == 0.03]
    usual = [one.measurement for one in own]
    changed: dict[str, list[Measurement]] = {
        "amorphous": [_curve(_amorphous(rng, len(one.particle.positions)), one, rng) for one in own],
        "two sizes of atoms": [_curve(_two_sizes(one.particle.positions, rng), one, rng) for one in own],
        "oxide": [_curve(_oxide(one.particle.positions), one, rng) for one in own],
        "two types": [_mixed(one, other) for one, other in zip(own, own[1:] + own[:1], strict=True)],
        "qmax told 20 % too high": [_told(one, qmax=1.2 * one.given["qmax"]) for one in usual],
        "r in other units": [one._replace(r=one.r * 0.7) for one in usual],
    }
    inside = np.array([one.oddness for one in naming.named(usual, network, bond=solving.BOND)])
    kept = [{"part": "outside", "what": "false alarms", "share": float((inside > 1).mean()), "cases": len(inside)}]
    for name, curves in changed.items():
        far = np.array([one.oddness for one in naming.named(curves, network, bond=solving.BOND)])
        auroc = stats.mannwhitneyu(far, inside).statistic / len(far) / len(inside)
        kept.append(
            {
                "part": "outside",
                "what": name,
                "auroc": float(auroc),
                "alarms": float((far > 1).mean()),
                "cases": len(far),
            }
        )
    return kept


def _curve(positions: np.ndarray, like: solving.Case, rng: np.random.Generator) -> Measurement:
    """Return the curve of other atoms, with the instrument and the noise of a case; positions in bonds."""
    given = like.measurement.given
    values = {"qmin": 0.8, "qmax": given["qmax"], "qdamp": given["qdamp"], "uiso": 0.008, "delta2": 2.0, "stretch": 1.0}
    r, g = solving.curve(positions, values, 0.03, 30.0, rng)
    return like.measurement._replace(r=r, g=g)


def _amorphous(rng: np.random.Generator, atoms: int) -> np.ndarray:
    """Return atoms packed at random in a ball, none nearer than 0.9 bonds, by pushing apart those that are."""
    radius = 0.5 * (atoms / 0.64) ** (1 / 3)
    way = rng.normal(size=(atoms, 3))
    x = way / np.linalg.norm(way, axis=1, keepdims=True) * radius * rng.random((atoms, 1)) ** (1 / 3)
    for _ in range(400):
        off = x[:, None] - x[None]
        far = np.linalg.norm(off, axis=-1) + np.eye(atoms) * 9
        push = np.where(far < 1.0, (1.0 - far) / far, 0.0)
        x = x + 0.3 * (push[..., None] * off).sum(axis=1)
        out = np.linalg.norm(x, axis=1, keepdims=True)
        x = np.where(out > radius, x * radius / out, x)
    return x


def _two_sizes(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return positions as two kinds of atoms 8 % apart in size leave them: each displaced by some 4 % of a bond."""
    return positions + rng.normal(scale=0.06, size=positions.shape)


def _oxide(positions: np.ndarray) -> np.ndarray:
    """Return a particle of rock salt's or fluorite's kind: its metal atoms farther apart, others between."""
    return np.concatenate([1.25 * positions, 1.25 * positions + 0.62])


def _mixed(one: solving.Case, other: solving.Case) -> Measurement:
    """Return half the curve of one and half that of another, on the first's instrument."""
    return one.measurement._replace(g=0.5 * (one.measurement.g + other.measurement.g))


def _told(one: Measurement, **changed: float) -> Measurement:
    """Return a measurement with other settings."""
    settings = [setting._replace(value=changed.get(setting.name, setting.value)) for setting in one.settings]
    return one._replace(settings=tuple(settings))


def measured(network: TrainedClassifier, folder: Path) -> list[dict[str, Any]]:
    """Return rows of measured files."""
    kept = []
    for name, element in FILES.items():
        bond = form_factors.bond_length(element)
        own = measurements.resolved(jaxstruc.read(folder / name), DataOptions(), bond=bond)
        (found,) = naming.named([own], network, bond=bond)
        intervals = {key: [one.value, one.low, one.high] for key, one in found.intervals.items()}
        kept.append({"part": "measured", "file": name, "types": found.types, "distance": found.oddness} | intervals)
    return kept


def main(words: Sequence[str] | None = None) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", default=[], help=", ".join((*PARTS, "measured")) + "; all but the last by default"
    )
    parser.add_argument("--draws", type=int, default=10, help="particles of each kind and seed [10]")
    parser.add_argument("--weights", type=Path, default=CLASSIFIER, help="of the classifier")
    parser.add_argument("--data", type=Path, help="folder of the measured files")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="few cases of two parts, nothing is written")
    asked = parser.parse_args(words)
    if unknown := set(asked.parts) - {*PARTS, "measured"}:
        parser.error(f"expected parts of {', '.join(PARTS)} and measured, got {', '.join(sorted(unknown))}")
    if "measured" in asked.parts and asked.data is None:
        parser.error("expected --data, the folder of the measured files")
    parts = asked.parts or (["offrule", "outside"] if asked.quick else list(PARTS))
    network, draws, seeds = (
        weights.load_classifier(asked.weights),
        1 if asked.quick else asked.draws,
        1 if asked.quick else 3,
    )
    told = {"commit": rows.commit(), "weights": network.card["sha256"][:12], **rows.environment()}
    kept = (
        []
        if asked.quick or not asked.out.exists()
        else [json.loads(one) for one in asked.out.read_text("utf-8").splitlines()]
    )
    for part in parts:
        if part in ("own", "held", "sbc"):
            found = stream(part, network, STEPS)
        elif part == "outside":
            found = outside(network, draws)
        else:
            found = measured(network, asked.data) if part == "measured" else simulated(part, network, draws, seeds)
        for row in found[:12]:
            rows.show(row)
        kept = [row for row in kept if row["part"] != part] + [row | told for row in found]
        if not asked.quick:
            rows.write_lines(kept, asked.out)
        if part == "sbc" and not asked.quick:
            figures.write(asked.out.with_name(asked.out.stem + "_sbc.png"), drawn(found))


if __name__ == "__main__":
    main()
