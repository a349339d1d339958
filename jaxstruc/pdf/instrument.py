r"""Estimates of qmin and qdamp from the data, by their profile likelihood.

The Debye equation includes the small-angle scattering of the particle, but a reduced G(r) does not. Programs for data
reduction extrapolate S(Q) from its first reliable point to Q = 0. The qmin in a file's header is often the edge of the
detector, which differs from the qmin that a model needs. Few headers state qdamp. Both are therefore estimated.

A few good candidates are fitted for each trial value of the setting. For noise of unknown size, the likelihood of the
best fit is proportional to $R_w^{-(n - p)}$. Here n is the effective number of independent points of the residual, and
p is the number of fitted values.
"""

import math
from typing import NamedTuple

import numpy as np

from jaxstruc import statistics
from jaxstruc.parameters import FIT_PARAMETERS
from jaxstruc.pdf import candidates, fit
from jaxstruc.pdf.candidates import CandidatePool
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.target import Target, replace_settings
from jaxstruc.scattering.cluster_tables import ClusterTable

TRIAL_VALUES = {
    "qmin": (0.3, 0.45, 0.6, 0.75, 0.9, 1.05, 1.2, 1.35, 1.5, 1.65, 1.8),
    "qdamp": (0.001, 0.015, 0.03, 0.045, 0.06, 0.08, 0.1),
}
"""Trial values of each setting, in 1/Å. The given value is tried in addition."""
MIN_TRIAL_QMIN = TRIAL_VALUES["qmin"][0]
"""Smallest trial value of qmin, in 1/Å."""
N_HALVINGS = 4
"""Number of refinements of the trial values. Each halves the step and adds two trial values next to the best one."""
MIN_LOG_LIKELIHOOD_GAIN, MIN_RW_DECREASE = 1.0, 0.001
"""Smallest gain in the logarithm of the likelihood and smallest decrease of Rw for which an estimate replaces the given
value. This gain is the penalty for one more free parameter in the Akaike criterion (H. Akaike, IEEE Trans. Autom.
Control 19, 716 (1974)). Smaller decreases of Rw may be rounding errors."""
N_PROFILE_CANDIDATES, N_TRIAL_CANDIDATES = 64, 16
"""Number of candidates that are fitted with the given value; number of the best of them that are fitted for each trial
value."""


class InferredSetting(NamedTuple):
    """Estimate of a setting (qmin or qdamp) from the data."""

    value: float
    """Estimated value, in 1/Å."""
    error: float
    """Standard error of the value, in 1/Å."""
    rw_by_value: tuple[tuple[float, float], ...]
    """Pairs of a trial value and the smallest Rw of the fits with it, in rising order of the trial values."""


def infer_setting(pool: CandidatePool, target: Target, name: str, *, free: tuple[str, ...]) -> InferredSetting | None:
    """Return the estimate of a setting from the data, or None if it is not clearly better than the given value.

    Args:
        pool: A few good candidates.
        target: Measured data and settings of the fit. Its `lowest_qmin` must not exceed the trial values.
        name: Name of the setting, "qmin" or "qdamp".
        free: Names of the fitted parameters.
    """
    first_fits = candidates.fit_all(pool, target, free=free)
    best_rows = np.argsort(np.where(np.isfinite(first_fits.rw), first_fits.rw, np.inf), kind="stable")
    best_rows = best_rows[:N_TRIAL_CANDIDATES]
    start = candidates.select_rows(first_fits.values, best_rows)
    cluster_tables = candidates.cluster_tables(pool.select(best_rows), target, free=free, start=start)
    given_value = float(getattr(target, name))
    rw_by_value: dict[float, float] = {}

    def rw(value: float) -> float:
        if value not in rw_by_value:
            trial_target = replace_settings(target, **{name: value})
            fits = candidates.fit_cluster_tables(cluster_tables, trial_target, free=free, start=start)
            rw_by_value[value] = max(float(np.min(np.where(np.isfinite(fits.rw), fits.rw, np.inf))), 1e-12)
        return rw_by_value[value]

    trial_values = sorted(
        {given_value, *(value for value in TRIAL_VALUES[name] if name != "qmin" or _has_enough_points(target, value))}
    )
    for value in trial_values:
        rw(value)
    step, min_value, max_value = max(np.diff(TRIAL_VALUES[name])), trial_values[0], trial_values[-1]
    for _ in range(N_HALVINGS):
        step /= 2
        best_value = min(rw_by_value, key=rw_by_value.__getitem__)
        for value in (best_value - step, best_value + step):
            if min_value <= value <= max_value:
                rw(round(float(value), 6))
    best_value = min(rw_by_value, key=rw_by_value.__getitem__)
    if not math.isfinite(rw_by_value[best_value]):
        return None
    best_target = replace_settings(target, **{name: best_value})
    n_effective = _effective_points(cluster_tables, best_target, free, start) - len(free)
    gain = n_effective * math.log(rw_by_value[given_value] / rw_by_value[best_value])
    if gain < MIN_LOG_LIKELIHOOD_GAIN or rw_by_value[given_value] - rw_by_value[best_value] < MIN_RW_DECREASE:
        return None
    return InferredSetting(
        best_value, _standard_error(rw_by_value, best_value, step, n_effective), tuple(sorted(rw_by_value.items()))
    )


def _has_enough_points(target: Target, qmin: float) -> bool:
    """Return whether data from `qmin` on have more than two independent points for each fit parameter."""
    return (target.r[-1] - target.r[0]) * (target.qmax - qmin) / math.pi - target.n_background_terms > 2 * len(
        FIT_PARAMETERS
    )


def _effective_points(cluster_tables: ClusterTable, target: Target, free: tuple[str, ...], start: FitValues) -> float:
    """Return the effective number of independent points of the residual of the best fit."""
    fits = candidates.fit_cluster_tables(cluster_tables, target, free=free, start=start)
    best_row = int(np.argmin(np.where(np.isfinite(fits.rw), fits.rw, np.inf)))
    best_fit, best_table = (
        candidates.select_rows(arrays, slice(best_row, best_row + 1)) for arrays in (fits, cluster_tables)
    )
    curve, _ = fit.fitted_curves(best_fit, best_table, target)
    return statistics.effective_points(target.weighted(target.g - curve[0]), target.n_independent)


def _standard_error(rw_by_value: dict[float, float], best_value: float, step: float, n_effective: float) -> float:
    """Return the change of the setting that lowers the logarithm of the likelihood by 1/2.

    The change is computed from a parabola that is fitted to the likelihoods of the trial values near the best value.
    """
    nearby_values = [
        value for value in rw_by_value if 0 < abs(value - best_value) < 8.5 * step and math.isfinite(rw_by_value[value])
    ]
    drops = [n_effective * math.log(rw_by_value[value] / rw_by_value[best_value]) for value in nearby_values]
    fourth_moment = sum((value - best_value) ** 4 for value in nearby_values)
    curvature = sum(drop * (value - best_value) ** 2 for value, drop in zip(nearby_values, drops, strict=True)) / max(
        fourth_moment, 1e-30
    )
    return float(1 / math.sqrt(2 * curvature)) if curvature > 0 else math.inf
