r"""Intervals, quantiles of weighted draws, credible sets, effective numbers of points and draws, and rounding errors.

Levels are probabilities between 0 and 1. Weights need not sum to 1.

In floating-point arithmetic of precision $\epsilon$, the difference between data $d_i$ and a model $m_i$ near them has
an error of at most $\epsilon |d_i|$. By the Cauchy-Schwarz inequality, the rounding error of
$\chi^2 = \sum_i (d_i - m_i)^2$ is then at most $2 \epsilon \chi |d| + \epsilon^2 |d|^2$. An iterative
solver stops if $\chi^2$ changes by less than this error (N. J. Higham, Accuracy and Stability of Numerical Algorithms,
2nd ed., section 3.1 (2002), doi 10.1137/1.9780898718027).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

CENTRAL_90 = (0.05, 0.95)
"""Levels at the ends of a central 90 % interval."""


@dataclass(frozen=True)
class Interval:
    """A value with its central 90 % interval."""

    value: float
    low: float
    high: float


def quantiles(
    values: Float[np.ndarray, " draw *column"],
    levels: Sequence[float],
    *,
    weight: Float[np.ndarray, " draw"] | None = None,
) -> Float[np.ndarray, " level *column"]:
    r"""Return quantiles of draws along their first axis, with linear interpolation between neighbouring draws.

    Draws of equal weight follow definition 7 of R. J. Hyndman, Y. Fan, Am. Stat. 50, 361 (1996),
    doi 10.1080/00031305.1996.10473566. A weighted draw stands at the middle of its step of the cumulative weight,
    $\sum_{j<k} w_j + w_k / 2$, which is definition 5 if all weights are equal.

    Args:
        values: Draws of one quantity, or of one quantity in each column.
        levels: Probabilities of the quantiles.
        weight: Weights of the draws. With None all draws have the same weight.
    """
    if weight is None:
        return np.quantile(values, levels, axis=0)
    order = np.argsort(values, axis=0, kind="stable")
    cumulative = (np.cumsum(weight[order], axis=0) - 0.5 * weight[order]) / weight.sum()
    ordered = np.take_along_axis(values, order, axis=0)
    if values.ndim == 1:
        return np.interp(levels, cumulative, ordered)
    columns = range(values.shape[1])
    return np.stack([np.interp(levels, cumulative[:, k], ordered[:, k]) for k in columns], axis=1)


def discrete_quantiles(
    values: Float[np.ndarray, " draw"], levels: Sequence[float], *, weight: Float[np.ndarray, " draw"]
) -> Float[np.ndarray, " level"]:
    """Return for each level the smallest of the values (e.g. numbers of atoms) whose cumulative weight reaches it."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weight[order]) / weight.sum()
    index = np.minimum(np.searchsorted(cumulative, levels), len(order) - 1)
    return np.asarray(values, float)[order[index]]


def credible_interval(
    value: float, draws: Float[np.ndarray, " draw"], *, weight: Float[np.ndarray, " draw"]
) -> Interval:
    """Return the central 90 % interval of weighted draws. If necessary, it is extended to the value."""
    return _interval_with_value(value, *quantiles(draws, CENTRAL_90, weight=weight))


def discrete_interval(
    value: float, values: Float[np.ndarray, " draw"], *, weight: Float[np.ndarray, " draw"], width_factor: float = 1.0
) -> Interval:
    """Return the central 90 % interval of weighted values, e.g. numbers of atoms.

    Its ends are two of the values, unless the interval is widened or extended.

    Args:
        value: Value that the interval contains. If necessary, the interval is extended to it.
        values: Values of the candidates.
        weight: Weights of the candidates.
        width_factor: Factor on the width of the interval. The ends are rounded to integers if it is not 1.
    """
    low, high = map(float, discrete_quantiles(values, CENTRAL_90, weight=weight))
    margin = (width_factor - 1) * (high - low) / 2
    if margin:
        low, high = round(low - margin), round(high + margin)
    return _interval_with_value(value, low, high)


def interval_about(value: float, draws: Float[np.ndarray, " draw"], *, width_factor: float) -> Interval:
    """Return an interval about a value. Its lower end is at least 0.

    The distances of its ends from the value are the distances of the 5 % and 95 % quantiles of the draws from their
    median, multiplied by `width_factor`.
    """
    low, median, high = quantiles(draws, (CENTRAL_90[0], 0.5, CENTRAL_90[1]))
    return Interval(
        value, max(value + width_factor * float(low - median), 0.0), value + width_factor * float(high - median)
    )


def credible_set(weight: Float[np.ndarray, " candidate"], probability: float = 0.9) -> np.ndarray:
    """Return the smallest set of candidates that has at least this share of the total weight, as a mask."""
    order = np.argsort(-weight, kind="stable")
    cumulative = np.cumsum(weight[order]) - weight[order]
    mask = np.zeros(len(weight), bool)
    mask[order[cumulative < probability * weight.sum()]] = True
    return mask


def effective_points(residual: Float[np.ndarray, " r"], max_points: float, *, accuracy: float = 0.0) -> float:
    r"""Return the number of independent points in a residual, $N / \sum_k \rho_k^2$, but at most `max_points`.

    N is the number of points, and $\rho_k$ is the correlation of points that are k steps apart (k may be negative). A
    misfit that comes from a wrong structure varies slowly with r, in contrast to noise. The points of such a misfit
    are correlated, so that fewer of them are independent than the r range and the Q range of the data allow. If every
    point of the grid were taken as independent, the smallest difference in Rw would appear certain. The variance of a
    sum of squares of correlated values is from M. S. Bartlett, J. R. Stat. Soc. 98, 536 (1935).

    Args:
        residual: Residual of the fit.
        max_points: Largest number of points.
        accuracy: Root mean square of uncorrelated errors that do not come from the fit, e.g. of the simulated curves.
    """
    size = len(residual)
    power = np.abs(np.fft.rfft(residual - residual.mean(), 2 * size)) ** 2
    correlation = np.fft.irfft(power)[: size // 2]
    correlation = correlation / max(correlation[0] + size * accuracy**2, 1e-300)
    # The estimated correlation of white noise has the mean square (1 - k/N)/N, not 0. The sum over all k is 3/4.
    return min(max_points, 1.75 * size / (1 + 2 * float(np.sum(correlation[1:] ** 2))))


def effective_fraction(target: Float[np.ndarray, " candidate"], proposal: Float[np.ndarray, " candidate"]) -> float:
    r"""Return the effective fraction of reweighted draws, $1 / \sum_c \pi_c^2 / Q_c$.

    The effective sample size is this fraction times the number of draws. A. Kong, Technical Report 348, University of
    Chicago (1992).

    Args:
        target: Probabilities $\pi$ after the reweighting. Their sum is 1.
        proposal: Probabilities Q with which the draws were made. Their sum is 1.
    """
    is_possible = target > 0
    if np.any(proposal[is_possible] <= 0):
        return 0.0
    return float(1 / np.sum(target[is_possible] ** 2 / proposal[is_possible]))


def rounding_of_squares(
    squares: Float[Array, "*batch"], data_squares: Float[Array, "*#batch"]
) -> Float[Array, "*batch"]:
    """Return the rounding error of a sum of squared differences.

    Args:
        squares: Sum of squared differences, in the precision in which it was computed.
        data_squares: Sum of the squared data.
    """
    epsilon = jnp.finfo(squares.dtype).eps
    return 2 * epsilon * jnp.sqrt(squares * data_squares) + epsilon**2 * data_squares


def squares_floor(data_squares: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Return the sum of squared differences that rounding errors cause even if a model fits the data exactly.

    Args:
        data_squares: Sum of the squared data.
    """
    return jnp.finfo(data_squares.dtype).eps ** 2 * data_squares


def _interval_with_value(value: float, low: float, high: float) -> Interval:
    return Interval(float(value), min(float(low), float(value)), max(float(high), float(value)))
