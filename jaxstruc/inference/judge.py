"""Whether a sample is one kind of cluster or a distribution of particles, by what fits say of a range not fitted."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxstruc import statistics
from jaxstruc.inference import candidates, ensemble, screening, unseen
from jaxstruc.inference import target as targets
from jaxstruc.inference.candidates import Candidates, Pool
from jaxstruc.inference.ensemble import Found
from jaxstruc.inference.fit import Fit
from jaxstruc.inference.mixture import Mixture
from jaxstruc.inference.screening import Bins
from jaxstruc.inference.target import Target
from jaxstruc.inference.unseen import Cut, Prediction
from jaxstruc.inference.values import Values

Search = Callable[[Target, Pool, Fit], Candidates | None]
"""What finds further clusters that fit a target, given some and their fits, best first."""
STRENGTHS = (0.5, 1.0, 2.0)
"""Of free distributions' departures from lognormal; that which predicts best is taken."""
TRIED = 48
"""Clusters that are fitted to each cut, beside those that are passed."""
MORE = 8
"""Clusters found by a search that are fitted to each cut."""
THIN = 0.4
"""Step in r of what is judged, in parts of that which the Q range can tell."""
PADDED = 32
"""Clusters whose prediction is made at once."""


class Compared(NamedTuple):
    """What the models say beyond one cut."""

    cut: Cut
    points: float
    """Independent, beyond the cut."""
    single: Prediction
    ensembles: tuple[Prediction, ...]
    """One a strength."""
    rivals: np.ndarray
    """[rival] sums of squares of the clusters passed, NaN for those whose fit failed."""
    r: np.ndarray
    """[point] Å, to the end of what is predicted."""
    g: np.ndarray
    """[point] the data there, in 1/Å²."""
    curves: tuple[np.ndarray, ...]
    """[point] G(r) of the single one and of the ensembles, in 1/Å²."""


class Judged(NamedTuple):
    """A judgement, and the ensemble that describes the sample best."""

    verdict: str
    """single, distribution or undecided."""
    compared: tuple[Compared, ...]
    strengths: tuple[float, ...]
    strength: float
    """Of the ensemble: 0 for a lognormal."""
    found: Found
    goal: Target
    """What it was fitted to: all of the signal."""


class Sample(NamedTuple):
    """A measured G(r), as a judge sees it."""

    r: Float[np.ndarray, " r"]
    """Å. All data from rmin on."""
    g: Float[np.ndarray, " r"]
    """1/Å²"""
    goal: Target
    """Of the fits: settings, bond and background."""
    end: float
    """Å. Of the signal."""
    span: targets.Span
    """What templates must cover, to the end of the signal."""
    size: int
    """Points of Q, and functions of the basis, to which all targets are padded."""
    least: int

    @property
    def thin(self) -> "Sample":
        """The same with hardly more points than tell something."""
        step = (self.r[-1] - self.r[0]) / (len(self.r) - 1)
        every = max(1, int(THIN * np.pi / self.goal.qmax / step))
        return self._replace(r=self.r[::every], g=self.g[::every])

    def up_to(self, rmax: float) -> Target:
        """Return the target of the data up to an r."""
        kept = self.r <= rmax + 1e-9
        goal = self.goal
        return targets.target(
            self.r[kept], self.g[kept], qmin=goal.qmin, qmax=goal.qmax, qdamp=goal.qdamp, qbroad=goal.qbroad,
            bond=goal.bond, span=self.span, background=goal.background, size=self.size, least=self.least,
        )  # fmt: skip


def judge(
    sample: Sample,
    mixture: Mixture,
    *,
    values: Values,
    size: float,
    listed: Sequence[tuple[Candidates, Bins]],
    rivals: Pool,
    free: tuple[str, ...],
    strengths: tuple[float, ...] = (0.0, *STRENGTHS),
    searched: Search | None = None,
) -> Judged:
    """Return the judgement of a sample.

    Args:
        sample: the data.
        mixture: classes of clusters.
        values: of the best cluster's fit.
        size: of the best cluster, in Å.
        listed: libraries that are tried at each cut.
        rivals: further clusters that are fitted to each cut, one at least; the best few of each type and source.
        free: what is fitted.
        strengths: of ensembles that are tried.
        searched: what finds clusters that are not listed, at each cut anew.
    """
    names, sample = tuple(name for name in free if name != "scale"), sample.thin
    whole = sample.up_to(max(sample.end, float(sample.goal.r[-1])))
    begin = ensemble.first(mixture, whole.basis, values, names, size)
    lognormal = ensemble.fit(mixture, whole.basis, begin, names=names, strength=0.0)
    residual = whole.g - unseen.of_ensemble(lognormal, mixture, unseen.points_of(whole, whole.r))
    counted = statistics.effective_points(residual, whole.independent) / whole.independent
    compared = tuple(
        _compared(sample, mixture, cut, listed, rivals, free, strengths, values, size, counted, searched)
        for cut in unseen.cuts(sample.r, sample.end)
    )
    best = int(np.argmin([_mean_rw(compared, k) for k in range(len(strengths))]))
    found = ensemble.fit(mixture, whole.basis, lognormal.guess, names=names, strength=strengths[best], counted=counted)
    gains = [unseen.gain(one.single, one.ensembles[best], one.points) for one in compared]
    return Judged(unseen.verdict(gains), compared, strengths, strengths[best], found, whole)


def _mean_rw(compared: Sequence[Compared], which: int) -> float:
    mean = float(np.mean([one.ensembles[which].rw for one in compared])) if compared else 0.0
    return mean if np.isfinite(mean) else np.inf


def _compared(
    sample: Sample,
    mixture: Mixture,
    cut: Cut,
    listed: Sequence[tuple[Candidates, Bins]],
    rivals: Pool,
    free: tuple[str, ...],
    strengths: tuple[float, ...],
    values: Values,
    size: float,
    counted: float,
    searched: Search | None,
) -> Compared:
    """Return what single clusters and ensembles say beyond a cut."""
    goal = sample.up_to(cut.cut)
    kept = sample.r <= cut.end + 1e-9
    r, g = sample.r[kept], sample.g[kept]
    beyond = r > cut.cut
    pool, count = _with(rivals, listed, goal, values), len(rivals.place)
    tables = candidates.tables(pool, goal)
    fits = candidates.rows(candidates.fit_tables(tables, goal, free=free), slice(0, len(pool.place)))
    rw = np.where(np.isfinite(fits.rw) & ~pool.faulty, fits.rw, np.inf)
    singles = [int(np.argmin(rw))]
    if searched is not None:
        order = np.argsort(rw, kind="stable")
        if (more := searched(goal, pool.chosen(order), candidates.rows(fits, order))) is not None:
            own = len(rw)
            tables, fits, rw = _with_more(more, goal, free, tables, fits, rw)
            singles.append(own + int(np.argmin(rw[own:])))
    shown = np.array([*singles, *range(count)])
    padded = np.pad(shown, (0, max(0, PADDED - len(shown))), mode="edge")
    some = candidates.rows(tables, padded), candidates.rows(fits.values, padded)
    points = unseen.points_of(goal, r)
    curves = unseen.of_clusters(*some, points)[: len(shown)]
    names = tuple(name for name in free if name != "scale")
    begin = ensemble.first(mixture, goal.basis, values, names, size)
    fitted = partial(ensemble.fit, mixture, goal.basis, names=names, counted=counted)
    found = [fitted(begin, strength=0.0)]
    found += [fitted(found[0].guess, strength=one) for one in strengths if one]
    mixtures = [unseen.of_ensemble(one, mixture, points) for one in found[0 if 0.0 in strengths else 1 :]]
    said = [
        unseen.prediction(r[beyond], g[beyond], curve[beyond], background=goal.background)
        for curve in (*curves, *mixtures)
    ]
    # As of the ensembles' strengths, that which predicts best is taken: of the best listed and the best searched one.
    best = int(np.argmin([one.squares for one in said[: len(singles)]]))
    squares = np.array([one.squares for one in said[len(singles) : len(shown)]])
    return Compared(
        cut, unseen.independent(goal, cut), said[best], tuple(said[len(shown) :]),
        np.where(np.isfinite(rw[:count]), squares, np.nan), r, g, (curves[best], *mixtures),
    )  # fmt: skip


def _with(rivals: Pool, listed: Sequence[tuple[Candidates, Bins]], goal: Target, values: Values) -> Pool:
    """Return the rivals, and after them the listed clusters that fit a target best."""
    groups = list(rivals.groups)
    group, place = [rivals.group], [rivals.place]
    for own, bins in listed:
        rows = screening.chosen(bins, screening.misfits_about(bins, goal.basis, values), most=TRIED // len(listed))
        groups.append(own._replace(rows=rows))
        group.append(np.full(len(rows), len(groups) - 1))
        place.append(np.arange(len(rows)))
    return Pool(tuple(groups), np.concatenate(group), np.concatenate(place))


def _with_more(more: Candidates, goal: Target, free: tuple[str, ...], tables, fits: Fit, rw: np.ndarray):
    """Return tables, fits and Rw with those of a few more candidates at their ends."""
    few = candidates.pool([more._replace(rows=more.rows[:MORE])])
    own = candidates.tables(few, goal)
    found = candidates.rows(candidates.fit_tables(own, goal, free=free), slice(0, len(few.place)))
    joined = candidates.joined(
        candidates.rows(tables, slice(0, len(rw))), candidates.rows(own, slice(0, len(few.place)))
    )
    return joined, candidates.joined(fits, found), np.append(rw, np.where(np.isfinite(found.rw), found.rw, np.inf))


def drawn(judged: Judged, mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of classes, and such drawn from their posterior [draw, class]; each sum to 1."""
    best = np.asarray(judged.found.share, float)
    every = np.asarray(jax.device_get(ensemble.drawn(judged.found, mixture, strength=judged.strength)), float)
    return best / best.sum(), every / every.sum(axis=1, keepdims=True)
