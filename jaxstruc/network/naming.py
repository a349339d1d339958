"""Types and sizes of measured PDFs by the classifier, with how sure it is, in batches."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special, stats
from scipy.interpolate import CubicSpline

from jaxstruc.data import edge
from jaxstruc.data.edge import Edge
from jaxstruc.data.measurement import Measurement
from jaxstruc.network import classifier, endless
from jaxstruc.network.classifier import Classifier, Mixture
from jaxstruc.network.endless import VALUES, Batch, R, Truths
from jaxstruc.network.stock import LIST, Stock
from jaxstruc.network.weights import Outside, TrainedClassifier
from jaxstruc.statistics import CENTRAL_90, Interval, quantiles
from jaxstruc.structures.cuts import TYPES

BATCH, DRAWS = 64, 1000
"""PDFs at a time, and draws from what is known of each."""
LONG = VALUES.index("diameter")
TESTED, APART = 16, 10**6
"""Steps of PDFs that tell how good a classifier is, and how far their seeds are from the training's."""
TINY = 1e-9
"""Least probability that is told apart from 0."""
LEAST = 1e-4
"""Of the largest variance of features: directions of less count for that."""
SHARP = 3.0
"""By how much an edge is sharper than that at the told qmax, in the logarithm, where qmax is called wrong."""
EVEN = np.linspace(0, 1, 41)
"""Levels at which ranks of truths among draws are kept."""
TEMPERATURES = np.geomspace(0.4, 2.5, 61)
"""Tried."""
USUAL = 0.95
"""Share of PDFs like those of the training that are called so."""


class Named(NamedTuple):
    """What the classifier knows of a PDF."""

    types: dict[str, float]
    """Probability of each type, the largest first."""
    intervals: dict[str, Interval]
    """Of `VALUES`, with the median; lengths in Å."""
    distance: float
    """Of its features from those of the training, of which 95 % lie within 1."""
    strange: float
    """Likewise, how much it is like two types of particles, or a wrong qmax."""
    edge: Edge
    """Where the data's waves end."""
    mixture: Mixture
    """Of one PDF, on the host; as the network gives it, not calibrated."""

    @property
    def oddness(self) -> float:
        """How far it is from the PDFs of the training in any of these ways; beyond 1 few of these lie."""
        return max(self.distance, self.strange, self.edge.missed / SHARP)


class Seen(NamedTuple):
    """Measured PDFs as the network sees them."""

    pdf: np.ndarray
    """[pdf, r]"""
    seen: np.ndarray
    told: np.ndarray


def seen(measurements: Sequence[Measurement], bond: float) -> Seen:
    """Return measured PDFs, their settings complete, as the network sees them; bond in Å."""
    r = R * bond
    curves, ends = [], []
    for one in measurements:
        rmin, rmax = float(one.r[0]), float(one.r[-1])
        inside = (r >= rmin) & (r <= rmax)
        curve = np.where(inside, CubicSpline(one.r, one.g)(np.clip(r, rmin, rmax)), 0.0)
        curves.append(curve / (abs(curve).max() or 1.0))  # any unit fits single precision
        given = one.given
        ends.append((given["qmin"], given["qmax"], given["qdamp"], rmin, rmax))
    whole = -(-len(curves) // BATCH) * BATCH  # compiled once, however many there are
    some = (np.resize(np.array(one, np.float32), (whole, len(one[0]))) for one in (curves, ends))
    return Seen(*(np.asarray(column)[: len(curves)] for column in _seen(*some, r, bond)))


def named(
    measurements: Sequence[Measurement], network: TrainedClassifier, *, bond: float, seed: int = 0
) -> list[Named]:
    """Return what the classifier knows of PDFs: each alone gives what it gives among others.

    Args:
        measurements: with all settings.
        network: trained.
        bond: nearest-neighbour distance of the element, in Å.
        seed: of the draws that intervals are read from.
    """
    found: list[Named] = []
    for start in range(0, len(measurements), BATCH):
        some = measurements[start : start + BATCH]
        padded = jax.tree.map(lambda column, some=some: np.resize(column, (BATCH, *column.shape[1:])), seen(some, bond))
        key = jax.random.key(seed)
        levels, temperature = levels_of(network.card), jnp.float32(network.card["temperature"])
        mixture, types, ends, features = jax.device_get(
            _asked(network.params, key, padded, levels, temperature, module=network.module)
        )
        distance = unlike(features, network.outside) / network.card["outside"]
        strange = special.expit(mixture.strange) / network.card["strange"]
        edges = [edge.edge(one.r, one.g, qmax=one.given["qmax"]) for one in some]
        told = zip(types, ends, distance, strange, edges, strict=False)
        found += [
            _named(*one, jax.tree.map(lambda column, place=place: column[place], mixture), bond)
            for place, one in enumerate(told)
        ]
    return found


def outside(measurement: Measurement, own: Named, *, bond: float) -> tuple[str, ...]:
    """Return how a PDF lies outside what the classifier was trained on, in words."""
    said = []
    known = measurement.given | {"bond": bond}
    for name in ("qmin", "qmax", "qdamp", "bond"):
        low, high = endless.RANGES[name]
        if not low <= known[name] <= high:
            said.append(f"{name} {known[name]:.4g} (trained on {low:g} to {high:g})")
    shortest = endless.RANGES["rmax"][0]
    if measurement.r[-1] < shortest - 0.05:
        said.append(f"data only to r = {measurement.r[-1]:g} Å (trained on {shortest:g} Å and more)")
    if own.edge.missed > SHARP:
        said.append(f"its waves end at Q = {own.edge.q:.3g} 1/Å, not at qmax {known['qmax']:g}")
    elif own.strange > 1:
        said.append("looks like two types of particles")
    if own.distance > 1:
        said.append(f"unlike all that it was trained on ({own.distance:.2f} times as far as 95 % of that)")
    return tuple(said)


def limits(params: Any, own: Stock, *, seed: int, module: Classifier) -> tuple[Outside, dict[str, Any]]:
    """Return what tells PDFs unlike those of the training, and the distance and strangeness within which 95 % lie.

    Mean and spread are of half of some steps that no training has, the distance is of the other half.

    Args:
        params: of the classifier.
        own: what samples are made from.
        seed: of the training.
        module: the network.
    """
    found = fresh(params, own, seed=seed, steps=TESTED, module=module)
    features = np.concatenate([one[2] for one in found])
    first, second = features[::2], features[1::2]
    mean = first.mean(axis=0)
    spread, ways = np.linalg.eigh(np.cov((first - mean).T))
    outside = Outside(mean, ways / np.sqrt(np.maximum(spread, LEAST * spread.max())))
    distance = unlike(second, outside)
    strange = special.expit(np.concatenate([one[1].strange for one in found])[1::2])
    # of the larger of the two ranks, so that 5 % lie beyond either
    end = np.quantile(np.maximum(stats.rankdata(distance), stats.rankdata(strange)) / len(distance), USUAL)
    ends = {"outside": float(np.quantile(distance, end)), "strange": float(np.quantile(strange, end))}
    return outside, ends | calibration(found)


def calibration(found: Sequence[tuple[Batch, Mixture, np.ndarray]]) -> dict[str, Any]:
    """Return what makes types and intervals calibrated on PDFs like those of the training.

    `temperature`: the logarithms of types' probabilities are divided by it (C. Guo et al., Proc. ICML 70, 1321 (2017)).
    `levels`: of each of `VALUES`, the ranks of truths among draws at `EVEN`: a level's quantile is read there
    (V. Kuleshov et al., Proc. ICML 80, 2796 (2018)).
    """
    ranked_ = [ranks_of(batch.truths, mixture, seed) for seed, (batch, mixture, _) in enumerate(found)]
    ranks, known = (np.concatenate(column) for column in zip(*ranked_, strict=True))
    types = np.concatenate([np.asarray(classifier.types(mixture)) for _, mixture, _ in found])
    true = np.concatenate([np.asarray(batch.truths.type) for batch, _, _ in found])
    own = [ranks[known[:, k], k] for k in range(len(VALUES))]
    levels = {
        name: (np.quantile(one, EVEN) if len(one) else EVEN).round(4).tolist()
        for name, one in zip(VALUES, own, strict=True)
    }
    shown = true >= 0
    right = np.take_along_axis(types[shown], true[shown, None], axis=1)[:, 0]
    lost = [
        -np.mean(
            np.log(np.maximum(right, TINY)) / one - np.log((np.maximum(types[shown], TINY) ** (1 / one)).sum(axis=1))
        )
        for one in TEMPERATURES
    ]
    return {"temperature": float(TEMPERATURES[int(np.argmin(lost))]), "levels": levels}


def ranks_of(truths: Truths, mixture: Mixture, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ranks [pdf, value] of truths among draws, not calibrated, and which truths are known.

    Exact truths, as a width of 0, are blurred by the least deviation that the network can give: their rank among draws
    about them would else be one half, however well it knows them. The diameter is that with its stretch.
    """
    blur, draw = jax.random.split(jax.random.key(seed))
    true = classifier.coordinates(jnp.asarray(truths.values))
    true = classifier.values(true + classifier.FLOOR * jax.random.normal(blur, true.shape))
    draws = classifier.drawn(draw, mixture, DRAWS)[1]
    true, draws = (each.at[..., LONG].multiply(each[..., -1]) for each in (true, draws))
    return np.asarray((draws < true).mean(axis=0)), np.isfinite(np.asarray(truths.values))


def levels_of(card: dict[str, Any]) -> Float[np.ndarray, "value end"]:
    """Return at which levels of draws the ends and the middle of intervals are read."""
    wanted = (CENTRAL_90[0], 0.5, CENTRAL_90[1])
    return np.array([np.interp(wanted, EVEN, card["levels"][name]) for name in VALUES], np.float32)


def ranked(ranks: Float[np.ndarray, "pdf value"], card: dict[str, Any]) -> Float[np.ndarray, "pdf value"]:
    """Return the calibrated ranks of truths of ranks among draws."""
    found = [np.interp(ranks[:, k], card["levels"][name], EVEN) for k, name in enumerate(VALUES)]
    return np.stack(found, axis=1)


def tempered(types: Float[Array, "*batch type"], temperature: float | Array) -> Float[Array, "*batch type"]:
    """Return calibrated probabilities of types."""
    raised = jnp.maximum(types, TINY) ** (1 / temperature)
    return raised / raised.sum(axis=-1, keepdims=True)


def tested(params: Any, own: Stock, *, seed: int, module: Classifier) -> dict[str, float]:
    """Return how well clusters of held-out sizes are named: types right, and N's 90 % interval.

    Args:
        params: of the classifier.
        own: stock of what is held out.
        seed: of the training.
        module: the network.
    """
    right, covered = [], []
    for batch, mixture, _ in fresh(params, own, seed=seed, steps=TESTED, module=module):
        listed = np.asarray(batch.source) == LIST
        types = np.asarray(classifier.types(mixture)).argmax(axis=1)
        right += (types == np.asarray(batch.truths.type))[listed].tolist()
        draws = np.asarray(classifier.drawn(jax.random.key(0), mixture, DRAWS)[1])[..., 0]
        low, high = quantiles(draws, CENTRAL_90)  # not calibrated
        atoms = np.asarray(batch.truths.values[:, 0])
        covered += ((low <= atoms) & (atoms <= high))[listed].tolist()
    return {"held_right": float(np.mean(right)), "held_covered": float(np.mean(covered)), "held": float(len(right))}


def fresh(
    params: Any, own: Stock, *, seed: int, steps: int, module: Classifier
) -> list[tuple[Batch, Mixture, np.ndarray]]:
    """Return some steps that no training has, and what the classifier makes of them."""

    @jax.jit
    def step_of(params, key, own):
        batch = endless.batch(key, own, strange=0.0)
        return batch, *module.apply(params, batch.pdf, batch.seen, batch.told, mutable=["intermediates"])

    found = []
    for step in range(steps):
        batch, mixture, kept = step_of(params, jax.random.fold_in(jax.random.key(seed + APART), step), own)
        found.append((batch, mixture, np.asarray(kept["intermediates"]["features"][0])))
    return found


def unlike(features: np.ndarray, of: Outside) -> np.ndarray:
    """Return the distance [pdf] of features from the mean of the training's, in units of their spread."""
    off = (features - of.mean) @ of.whitening
    return np.sqrt((off**2).mean(axis=1))


@jax.jit
def _seen(curves: Array, ends: Array, r: Array, bond: Array) -> tuple[Array, Array, Array]:
    """Return what `Seen` has, of G [pdf, r], and qmin, qmax, qdamp, rmin and rmax [pdf, 5]."""
    columns = ends.T
    return *endless.shown(curves, r, columns[3], columns[4]), endless.told(bond, *columns)


@partial(jax.jit, static_argnames="module")
def _asked(
    params: Any, key: Array, batch: Seen, levels: Array, temperature: Array, *, module: Classifier
) -> tuple[Mixture, Array, Array, Array]:
    """Return mixtures, probabilities of types, quantiles [pdf, value, 3] and features."""
    mixture, kept = module.apply(params, *batch, mutable=["intermediates"])
    draws = jax.vmap(lambda one: classifier.drawn(key, jax.tree.map(lambda column: column[None], one), DRAWS)[1][:, 0])(
        mixture
    )
    draws = draws.at[..., LONG].multiply(draws[..., VALUES.index("stretch")])
    ends = jax.vmap(lambda column, at: jnp.quantile(column, at, axis=1), (2, 0))(draws, levels)
    types = tempered(classifier.types(mixture), temperature)
    return mixture, types, jnp.moveaxis(ends, -1, 0), kept["intermediates"]["features"][0]


def _named(
    types: np.ndarray, ends: np.ndarray, distance: float, strange: float, of: Edge, mixture: Mixture, bond: float
) -> Named:
    order = np.argsort(-types, kind="stable")
    intervals = {}
    for name, (low, middle, high) in zip(VALUES, ends.tolist(), strict=True):
        if name == "aspect":
            low, middle, high = (max(one, 1.0) for one in (low, middle, high))
        if name in ("width", "hexagonal"):
            low, middle, high = (
                min(max(one, 0.0), 1.0 if name == "hexagonal" else math.inf) for one in (low, middle, high)
            )
        if name == "diameter":
            low, middle, high = low * bond, middle * bond, high * bond
        intervals[name] = Interval(middle, low, high)
    return Named(
        {TYPES[place]: float(types[place]) for place in order}, intervals, float(distance), float(strange), of, mixture
    )
