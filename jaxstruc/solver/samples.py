"""A sample as one cluster or a distribution of particles: the judge, given what the sources list."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxstruc import statistics
from jaxstruc.data.measurement import Measurement
from jaxstruc.inference import candidates, distribution, judge, screening, target, unseen
from jaxstruc.inference.candidates import Candidates, Pool
from jaxstruc.inference.distribution import Distribution
from jaxstruc.inference.fit import Fit
from jaxstruc.inference.judge import Judged
from jaxstruc.inference.mixture import Mixture, mixture
from jaxstruc.inference.screening import Bins
from jaxstruc.inference.target import Target
from jaxstruc.scattering.templates import Span
from jaxstruc.structures import classes, kinds, library
from jaxstruc.structures.classes import Classes
from jaxstruc.structures.families import TYPES

FEWEST = 10
"""Compact clusters of which a distribution can be made."""
RIVALS = 2
"""Of each type, compared beyond the fit."""
SOURCES = 4
"""Best candidates of each source, compared beyond the fit."""
STRENGTHS = {"auto": (0.0, *judge.STRENGTHS), "parametric": (0.0,), "free": judge.STRENGTHS}
"""Strengths tried for each way to ask for an ensemble."""
STEP, MORE = 10.0, 20.0
"""Å, in which the reach of the data is rounded up; functions of a basis beyond its independent points."""
WAVES, SIZES = 8.0, 128.0
"""Steps in which Q of the templates, and points of Q, are rounded up."""
EDGE, MUCH = 0.85, 0.2
"""Part of the largest size, and share of the atoms beyond it, from which a distribution reaches the edge."""


class Listed(NamedTuple):
    """A library as a judge needs it."""

    group: Candidates
    classes: Classes
    mixture: Mixture
    bins: Bins


class Judging(NamedTuple):
    """What files of a run share, by the library's identity and the span of a file."""

    listed: dict[tuple[int, Span], Listed | None]


class CrossValidatedSample(NamedTuple):
    """The comparison of one cluster with many, beyond the fit."""

    judged: Judged
    listed: Listed
    types: dict[str, float]
    """Gain of each type in the logarithm of the likelihood, by what its best say beyond the fit; the best has 0."""
    end: float
    """Å. Of the signal."""


def judged(
    measurement: Measurement,
    goal: Target,
    groups: Sequence[Candidates],
    pool: Pool,
    fits: Fit,
    *,
    end: float,
    free: tuple[str, ...],
    tried: np.ndarray,
    kept: Judging,
    how: str,
    searched: judge.Search | None = None,
) -> CrossValidatedSample | str:
    """Return the judgement of a sample, or why there is none.

    Args:
        measurement: the data.
        goal: the target of the fits.
        groups: candidates of each source, as listed.
        pool: those fitted, best first.
        fits: of these.
        end: of the signal, in Å.
        free: what was fitted.
        tried: rows of the library that are tried at each cut.
        kept: of the run.
        how: auto, parametric or free.
        searched: what finds clusters that are not listed, at each cut anew.
    """
    sample = _sample(measurement, goal, min(end, unseen.REACH))
    lists = [group for group in groups if group.source != "network"]
    if not lists:
        return "no distribution: it takes a library"
    listed = _listed(lists[0], sample, kept)
    if listed is None:
        return f"no distribution: the library has fewer than {FEWEST} clusters"
    rivals, names = _rivals(pool, fits)
    best, index = pool.entry(0)
    try:
        found = judge.judge(
            sample, listed.mixture, values=candidates.rows(fits.values, 0),
            size=float(classes.size(best, np.array([index]))[0]) * goal.bond,
            listed=[(listed.group, screening.some(listed.bins, tried))],
            rivals=rivals, free=free, strengths=STRENGTHS[how], searched=searched,
        )  # fmt: skip
    except ValueError as error:  # data too short to be cut
        return f"no distribution: {error}"
    return CrossValidatedSample(found, listed, _types(found, names), sample.end)


def told(sample: CrossValidatedSample, goal: Target, fitted: np.ndarray) -> Distribution:
    """Return what a result says of a judged sample.

    Args:
        sample: of `judged`.
        goal: the target of the single fits.
        fitted: [point] G(r) of the ensemble there.
    """
    found, own = sample.judged, sample.listed
    share, drawn = judge.drawn(found, own.mixture)
    size = np.asarray(own.mixture.size, float) * float(found.found.values.stretch)
    mean, width = distribution.sizes(share, drawn, size)
    types = tuple(dict.fromkeys(own.classes.types.tolist()))
    volume, number = distribution.on_grid(share, own.classes, types)
    every = distribution.on_grid(drawn, own.classes, types)
    bands = [statistics.quantiles(one.sum(axis=1), statistics.CENTRAL_90) for one in every]
    which = found.strengths.index(found.strength)
    middle = found.compared[len(found.compared) // 2] if found.compared else None
    none = np.zeros(0)
    return Distribution(
        sample=found.verdict,
        method="free" if found.strength else "parametric",
        rw=unseen.prediction(goal.r, goal.g, fitted, background=goal.background).rw,
        mean_diameter=mean,
        width=width,
        shares=distribution.shares(share, drawn, own.classes.types),
        holdouts=tuple(
            distribution.Holdout(
                one.cut.cut, one.cut.end, one.points, one.single.rw, one.ensembles[which].rw,
                unseen.gain(one.single, one.ensembles[which], one.points),
            )
            for one in found.compared
        ),
        types=types,
        size=own.classes.sizes * goal.bond * float(found.found.values.stretch),
        volume=volume, volume_low=bands[0][0], volume_high=bands[0][1],
        number=number, number_low=bands[1][0], number_high=bands[1][1],
        r=middle.r if middle else none,
        observed=middle.g if middle else none,
        predicted=middle.curves[1 + which] if middle else none,
        predicted_single=middle.curves[0] if middle else none,
    )  # fmt: skip


def at_the_edge(ensemble: Distribution) -> str:
    """Return in words that a distribution reaches the largest sizes known; empty where it does not."""
    far = ensemble.size > EDGE * ensemble.size[-1]
    if (share := float(ensemble.volume[:, far].sum())) < MUCH:
        return ""
    return f"{share:.0%} of the atoms lie in particles as large as any known, {ensemble.size[-1]:.0f} Å"


def _sample(measurement: Measurement, goal: Target, end: float) -> judge.Sample:
    """Return the data, and sizes padded by the end of their signal in steps, so that few compilations do."""
    rows = measurement.r >= goal.r[0] - 1e-9
    r, g = measurement.r[rows], measurement.g[rows]
    reach = _up(max(end, float(goal.r[-1])), STEP)
    whole = target.span(rmax=reach, qmax=goal.qmax, diameter=classes.LARGEST * goal.bond)
    span = Span(whole.longest, _up(whole.qmax, WAVES))
    size = target.points(reach, goal.qmin, goal.qmax, span)
    count = (reach - r[0]) * (goal.qmax - goal.qmin) / math.pi + MORE
    return judge.Sample(r, g, goal, end, span, int(_up(size, SIZES)), int(_up(count, SIZES / 2)))


def _up(value: float, step: float) -> float:
    return step * math.ceil(value / step - 1e-9)


def _listed(group: Candidates, sample: judge.Sample, kept: Judging) -> Listed | None:
    """Return a library's classes, made once a run and span; None where it has too few clusters."""
    key = id(group.library), sample.span
    if key not in kept.listed:
        kept.listed[key] = None
        if len(group.rows) >= FEWEST:
            others = (one.classes for (own, _), one in kept.listed.items() if own == key[0] and one)
            found = next(others, None) or classes.classes(group.library, group.rows, _packings(group))
            bond, span = sample.goal.bond, sample.span
            kept.listed[key] = Listed(
                group, found, mixture(found, bond=bond, span=span),
                screening.bins(group.library, group.rows, bond=bond, span=span),
            )  # fmt: skip
    return kept.listed[key]


def _packings(group: Candidates) -> np.ndarray:
    """Return the packing of each candidate: by its rule, or by its atoms where the user lists it."""
    if group.source == "library":
        return classes.packings(group.library, group.rows)
    return np.array(
        [kinds.kind(library.cluster(group.library, int(row)).positions).type or "other" for row in group.rows], object
    )


def _rivals(pool: Pool, fits: Fit) -> tuple[Pool, list[str]]:
    """Return the best few candidates of each type and source, and their types."""
    names = np.array([TYPES.get(family, "") for family in pool.families], object)
    sound = np.flatnonzero(np.isfinite(fits.rw) & ~pool.faulty)
    picked = [sound[names[sound] == name][:RIVALS] for name in dict.fromkeys(names.tolist()) if name]
    picked += [sound[pool.group[sound] == number][:SOURCES] for number in range(len(pool.groups))]
    rows = np.unique(np.concatenate(picked))
    return pool.chosen(rows), names[rows].tolist()


def _types(found: Judged, names: Sequence[str]) -> dict[str, float]:
    """Return the mean gain of each type over the best one; only where there are cuts."""
    gains: dict[str, list[float]] = {}
    for one in found.compared:
        best = {name: np.nanmin(one.rivals[[other == name for other in names]], initial=np.inf) for name in set(names)}
        least = min(best.values(), default=np.inf)
        if not np.isfinite(least):  # no rival could be fitted there
            continue
        for name, squares in best.items():
            gains.setdefault(name, []).append(0.5 * one.points * float(np.log(least / squares)))
    return {name: float(np.mean(each)) for name, each in gains.items()}
