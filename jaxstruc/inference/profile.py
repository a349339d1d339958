r"""Settings of the data that a fit knows better than a header: qmin and qdamp, by the profile of their likelihood.

A Debye sum contains the small-angle scattering of its particle; a reduced G(r) does not: programs continue S(Q) from
the first trusted point to zero. So a header's qmin, where the detector begins, may be no qmin of a model. qdamp stands
in few headers. Each value is given to the fits of a few candidates; with noise of unknown size the likelihood of its
best is proportional to $R_w^{-(n - p)}$, n the points that the residual counts for and p of fitted values.
"""

import math
from typing import NamedTuple

import numpy as np

from jaxstruc import statistics
from jaxstruc.inference import candidates, fit
from jaxstruc.inference import target as targets
from jaxstruc.inference.candidates import Pool
from jaxstruc.inference.target import Target
from jaxstruc.scattering.parameters import FITTED
from jaxstruc.scattering.templates import Template

TRIED = {
    "qmin": (0.3, 0.45, 0.6, 0.75, 0.9, 1.05, 1.2, 1.35, 1.5, 1.65, 1.8),
    "qdamp": (0.001, 0.015, 0.03, 0.045, 0.06, 0.08, 0.1),
}
"""1/Å. Values tried beside the given one."""
LOWEST = TRIED["qmin"][0]
"""1/Å"""
HALVED = 4
"""How often the distance between tried values is halved about the best."""
CLEAR, CLEARLY = 1.0, 0.001
"""Gain in the logarithm of the likelihood, what one more free value costs (H. Akaike, IEEE Trans. Autom. Control 19,
716 (1974)), and fall in Rw, below which rounding decides: from both on a value replaces the given one."""
USED = 64
"""Candidates that are fitted for it."""


class Profiled(NamedTuple):
    """A setting found by its profile."""

    value: float
    error: float
    """Standard error."""
    points: tuple[tuple[float, float], ...]
    """Values tried, rising, and the least Rw of each."""


def profiled(pool: Pool, goal: Target, name: str, *, free: tuple[str, ...]) -> Profiled | None:
    """Return the value of a setting that the data prefer, or None where the given one does as well.

    Args:
        pool: candidates, a few, good ones.
        goal: the data, its `lowest` at or below the values tried.
        name: qmin or qdamp.
        free: what is fitted.
    """
    tables = candidates.tables(pool, goal)
    given = float(getattr(goal, name))
    found: dict[float, float] = {}

    def rw(value: float) -> float:
        if value not in found:
            fits = candidates.fit_tables(tables, targets.changed(goal, **{name: value}), free=free)
            found[value] = max(float(np.min(np.where(np.isfinite(fits.rw), fits.rw, np.inf))), 1e-12)
        return found[value]

    tried = sorted({given, *(value for value in TRIED[name] if name != "qmin" or _enough(goal, value))})
    for value in tried:
        rw(value)
    step, low, high = max(np.diff(TRIED[name])), tried[0], tried[-1]
    for _ in range(HALVED):
        step /= 2
        best = min(found, key=found.__getitem__)
        for value in (best - step, best + step):
            if low <= value <= high:
                rw(round(float(value), 6))
    best = min(found, key=found.__getitem__)
    if not math.isfinite(found[best]):
        return None
    counted = _counted(tables, targets.changed(goal, **{name: best}), free) - len(free)
    gain = counted * math.log(found[given] / found[best])
    if gain < CLEAR or found[given] - found[best] < CLEARLY:
        return None
    return Profiled(best, _error(found, best, step, counted), tuple(sorted(found.items())))


def _enough(goal: Target, qmin: float) -> bool:
    """Return whether data from a qmin on have twice as many independent points as can be fitted."""
    return (goal.r[-1] - goal.r[0]) * (goal.qmax - qmin) / math.pi - goal.background > 2 * len(FITTED)


def _counted(tables: Template, goal: Target, free: tuple[str, ...]) -> float:
    """Return the points that the best fit's residual counts for."""
    fits = candidates.fit_tables(tables, goal, free=free)
    first = int(np.argmin(np.where(np.isfinite(fits.rw), fits.rw, np.inf)))
    best, own = (candidates.rows(columns, slice(first, first + 1)) for columns in (fits, tables))
    curve, _ = fit.curves(best, own, goal)
    return statistics.effective_points(goal.g - curve[0], goal.independent)


def _error(found: dict[float, float], best: float, step: float, counted: float) -> float:
    """Return how far off a value lowers the logarithm of the likelihood by a half, by a parabola through those near."""
    near = [value for value in found if 0 < abs(value - best) < 8.5 * step and math.isfinite(found[value])]
    drops = [counted * math.log(found[value] / found[best]) for value in near]
    square = sum((value - best) ** 4 for value in near)
    curvature = sum(drop * (value - best) ** 2 for value, drop in zip(near, drops, strict=True)) / max(square, 1e-30)
    return float(1 / math.sqrt(2 * curvature)) if curvature > 0 else math.inf
