r"""Change points of a series: frames at which a quantity jumps or begins, ends or changes a trend.

A series is divided into segments, in each of which every quantity is a straight line in the frame number plus noise.
Optimal partitioning finds the division with the smallest $\sum_s S_s / \sigma^2 + \beta (m - 1)$ exactly. Here $S_s$ is
the sum of the squared residuals of segment s, m is the number of segments and $\beta$ is the penalty of a change (B.
Jackson et al., IEEE Signal Process. Lett. 12, 105 (2005), doi 10.1109/LSP.2001.838216; with pruning it is PELT, R.
Killick, P. Fearnhead, I. A. Eckley, J. Am. Stat. Assoc. 107, 1590 (2012), doi 10.1080/01621459.2012.737745).

The variance $\sigma^2$ of the noise comes from second differences, which neither a jump nor a trend changes much (T.
Gasser, L. Sroka, C. Jennen-Steinmetz, Biometrika 73, 625 (1986), doi 10.1093/biomet/73.3.625). The penalty is
calibrated on simulated series without a change: a small share of them gets a false alarm.
"""

import itertools
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

MIN_SEGMENT = 4
"""Smallest number of frames of a segment. A line through fewer frames would follow single outliers."""
MAX_FRAMES = 2000
"""Largest number of frames of a series. The memory grows with its square."""
FALSE_ALARM_RATE, CALIBRATION_RATE = 0.05, 0.035
"""Largest share of series without a change that get a change point; share of the simulated series that get one. It is
smaller, because the penalty has the error of a quantile of few simulated series."""
N_CALIBRATION_SERIES = 400
"""Number of simulated series from which a penalty is calibrated."""
MAX_CALIBRATION_FRAMES = 200
"""Number of frames above which the penalty is extrapolated with the logarithm of the number of frames."""
OUTLIER_WINDOW, MAX_OUTLIER_NOISE = 5, 5.0
"""Number of frames of the running median with which a frame is compared, and largest difference from it, in standard
deviations of the noise, at which the frame is not left out."""
MAX_OUTLIER_DIFFERENCE = 4.0
"""Largest second difference that counts fully, relative to their robust standard deviation. Larger ones are cut."""

MAX_JUMP_GAIN = 4.0
"""Gain of a jump over a change of slope alone, in units of the variance of the noise and for each quantity, up to which
a change has no jump. It is two standard deviations."""


def change_points(values: Float[np.ndarray, "frame quantity"], *, n_tests: int = 1) -> list[int]:
    """Return the first frames of all segments but the first, counted from 0; an empty list if nothing changes.

    Args:
        values: Quantities that change together, e.g. principal components of G(r). There must be no NaN.
        n_tests: Number of series that are tested together. Their common rate of false alarms is `FALSE_ALARM_RATE`.

    Raises:
        ValueError: If there are more than `MAX_FRAMES` frames.
    """
    n_frames = len(values)
    if n_frames > MAX_FRAMES:
        raise ValueError(f"Expected at most {MAX_FRAMES} frames, got {n_frames}; merge frames with --average.")
    if n_frames < 2 * MIN_SEGMENT:
        return []
    noise = noise_deviation(values)
    values = values[:, noise > 0] / noise[noise > 0]
    frames = np.flatnonzero(~is_isolated_outlier(values))
    values, n_frames = values[frames], len(frames)
    if n_frames < 2 * MIN_SEGMENT or not values.shape[1]:
        return []
    costs = segment_costs(values)
    division = _best_division(costs, change_penalty(n_frames, values.shape[1], n_tests))
    bounds = [0, *division, n_frames]
    changes = [
        _continuous_change(values[start:end], middle - start, costs[start, middle] + costs[middle, end]) + start
        for start, middle, end in zip(bounds, bounds[1:], bounds[2:], strict=False)
    ]
    return [int(frames[change]) for change in changes]


def noise_deviation(values: Float[np.ndarray, "frame quantity"]) -> Float[np.ndarray, " quantity"]:
    """Return the standard deviation of the noise of each quantity, from second differences without outliers."""
    differences = np.diff(values, n=2, axis=0) / np.sqrt(6)
    robust_deviation = 1.4826 * np.median(np.abs(differences), axis=0)
    limit = np.where(robust_deviation > 0, MAX_OUTLIER_DIFFERENCE * robust_deviation, np.inf)
    return np.sqrt(np.mean(np.clip(differences, -limit, limit) ** 2, axis=0))


def is_isolated_outlier(values: Float[np.ndarray, "frame quantity"]) -> Bool[np.ndarray, " frame"]:
    """Return which frames differ from the median of five frames by more than `MAX_OUTLIER_NOISE`.

    This is the filter of F. R. Hampel. A jump that lasts for three frames is no outlier.

    Args:
        values: Quantities in units of their noise.
    """
    if len(values) < OUTLIER_WINDOW or not values.shape[1]:
        return np.zeros(len(values), bool)
    padded_values = np.pad(values, ((OUTLIER_WINDOW // 2,) * 2, (0, 0)), mode="reflect", reflect_type="odd")
    windows = np.lib.stride_tricks.sliding_window_view(padded_values, OUTLIER_WINDOW, axis=0)
    return (np.abs(values - np.median(windows, axis=-1)) > MAX_OUTLIER_NOISE).any(axis=1)


def segment_costs(values: Float[np.ndarray, "frame quantity"]) -> Float[np.ndarray, "start end"]:
    """Return the sum of squared residuals of straight lines from frame `start` up to `end`, which is left out.

    Segments with fewer than `MIN_SEGMENT` frames cost infinity.
    """
    n_frames, position = len(values), np.arange(len(values), dtype=float)
    values = values - values.mean(axis=0)

    def sums(terms: np.ndarray) -> np.ndarray:
        total = np.concatenate([np.zeros((1, *terms.shape[1:])), np.cumsum(terms, axis=0)])
        return total[None, :] - total[:, None]

    counts, sum_x, sum_xx = (sums(position**power) for power in (0, 1, 2))
    safe_counts = np.maximum(counts, 1)
    spread = np.maximum(sum_xx - sum_x**2 / safe_counts, 1e-9)
    costs = np.zeros((n_frames + 1, n_frames + 1))
    for column in values.T:
        sum_y, sum_xy, sum_yy = sums(column), sums(column * position), sums(column**2)
        slope_term = (sum_xy - sum_x * sum_y / safe_counts) ** 2 / spread
        costs += np.maximum(sum_yy - sum_y**2 / safe_counts - slope_term, 0.0)
    return np.where(counts >= MIN_SEGMENT, costs, np.inf)


def _continuous_change(values: Float[np.ndarray, "frame quantity"], change: int, cost: float) -> int:
    """Return the frame of the best change of slope without a jump if it explains two segments as well as a jump.

    Two lines that need not meet determine the place of a change of slope less well than lines that meet.

    Args:
        values: Quantities in two segments, in units of the noise.
        change: First frame of the second segment.
        cost: Sum of the squared residuals of two lines that need not meet.
    """
    position = np.arange(len(values), dtype=float)
    places = np.arange(MIN_SEGMENT, len(values) - MIN_SEGMENT + 1)
    line = np.stack([np.ones_like(position), position], axis=1)
    residual = values - line @ np.linalg.lstsq(line, values, rcond=None)[0]
    hinges = np.maximum(position[:, None] - places, 0.0)
    hinges -= line @ np.linalg.lstsq(line, hinges, rcond=None)[0]
    explained = np.sum((hinges.T @ residual) ** 2, axis=1) / np.sum(hinges**2, axis=0)
    best_cost = np.sum(residual**2) - explained.max()
    is_continuous = best_cost <= cost + MAX_JUMP_GAIN * values.shape[1]
    return int(places[np.argmax(explained)]) if is_continuous else change


@lru_cache(maxsize=64)
def change_penalty(n_frames: int, n_quantities: int, n_tests: int = 1) -> float:
    """Return the penalty of a change at which `CALIBRATION_RATE` of the series of white noise get a change point.

    Args:
        n_frames: Number of frames.
        n_quantities: Number of quantities that change together.
        n_tests: Number of series that are tested together.
    """
    if n_frames > MAX_CALIBRATION_FRAMES:
        sizes = MAX_CALIBRATION_FRAMES // 4, MAX_CALIBRATION_FRAMES
        low, high = (change_penalty(size, n_quantities, n_tests) for size in sizes)
        return high + (high - low) / np.log(4) * np.log(n_frames / MAX_CALIBRATION_FRAMES)
    generator = np.random.default_rng(n_frames)
    gains = [_largest_gain(generator.normal(size=(n_frames, n_quantities))) for _ in range(N_CALIBRATION_SERIES)]
    # The tail of a maximum of many chi-squared gains is exponential, so that the rate for several tests extrapolates.
    quantile = float(np.quantile(gains, 1 - CALIBRATION_RATE))
    return quantile + 2 * np.log(n_tests)


def _largest_gain(values: np.ndarray) -> float:
    """Return the penalty above which a series has no change point: the largest mean gain of its changes."""
    noise = noise_deviation(values)
    costs = segment_costs(values / noise)
    n_frames = len(values)
    single_gain = costs[0, n_frames] - np.min(costs[0, :] + costs[:, n_frames])
    penalty = float(single_gain)
    while division := _best_division(costs, penalty * (1 + 1e-9)):
        bounds = [0, *division, n_frames]
        cost = sum(costs[start, end] for start, end in itertools.pairwise(bounds))
        penalty = float((costs[0, n_frames] - cost) / len(division))
    return penalty


def _best_division(costs: np.ndarray, penalty: float) -> list[int]:
    """Return the first frames of all segments but the first of the division with the smallest penalized cost."""
    n_frames = len(costs) - 1
    best_costs, previous = np.full(n_frames + 1, np.inf), np.zeros(n_frames + 1, int)
    best_costs[0] = -penalty
    for end in range(MIN_SEGMENT, n_frames + 1):
        totals = best_costs[:end] + costs[:end, end] + penalty
        previous[end] = int(np.argmin(totals))
        best_costs[end] = totals[previous[end]]
    division, end = [], n_frames
    while previous[end] > 0:
        end = int(previous[end])
        division.append(end)
    return division[::-1]
