r"""Where the waves of a measured PDF end: the qmax that its data have, whatever is said of them.

G(r) is a sine transform that ends at qmax, and so does its power over Q, in noise as in signal:
$P(Q) = |\int w(r)\, G(r)\, e^{iQr} dr|^2$ with w a window that falls to 0 at the ends.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

QMAX_SEARCH_RANGE = (0.6, 1.45)
"""Of qmax, in which its edge is looked for."""
Q_STEP, AVERAGING_WIDTH, EDGE_GAP = 0.05, 1.2, 0.1
"""1/Å. Steps of Q; what is averaged on either side of an edge; and what is left out about it."""
QMAX_TOLERANCE = 0.07
"""Of qmax, about it: there an edge is where it is told to be."""
POWER_FLOOR = 1e-7
"""Of the largest power, below which all is alike: there the window's own waves and rounding begin."""
KAISER_BETA = 9.0
"""Of the window, a Kaiser one: its own waves are 10⁻⁷ of the power."""


class QmaxEstimate(NamedTuple):
    """The sharpest fall of the power."""

    qmax: float
    """1/Å"""
    excess_sharpness: float
    """By how much it is sharper than the sharpest fall about the qmax that was told, in the logarithm of the power."""


def estimate_qmax(r: Float[np.ndarray, " r"], g: Float[np.ndarray, " r"], *, qmax: float) -> QmaxEstimate:
    """Return the edge of a PDF's power, some 2 % too high at most times.

    Sharp is what falls by more than its surroundings do: scattering that dies away falls everywhere.

    Args:
        r: in Å.
        g: G(r), in 1/Å².
        qmax: as it is said to be, in 1/Å; the edge is looked for within `QMAX_SEARCH_RANGE` of it.
    """
    step = (r[-1] - r[0]) / (len(r) - 1)
    even_r = r[0] + step * np.arange(len(r))
    window = np.kaiser(len(even_r), KAISER_BETA)
    n_points = 1 << int(np.ceil(np.log2(max(2 * np.pi / (Q_STEP * step), len(r)))))
    power = abs(np.fft.rfft(np.interp(even_r, r, g) * window, n_points)) ** 2
    power = np.log(power + POWER_FLOOR * max(power.max(), 1e-300))
    q = 2 * np.pi / (n_points * step) * np.arange(len(power))
    n_averaged, n_gap = round(AVERAGING_WIDTH / q[1]), max(1, round(EDGE_GAP / q[1]))
    cumulative_power = np.concatenate([[0.0], np.cumsum(power)])
    index = np.arange(n_averaged, len(power) - n_averaged)
    index = index[(q[index] > QMAX_SEARCH_RANGE[0] * qmax) & (q[index] < QMAX_SEARCH_RANGE[1] * qmax)]
    if not len(index):
        return QmaxEstimate(qmax, 0.0)
    mean_below = (cumulative_power[index - n_gap] - cumulative_power[index - n_averaged]) / (n_averaged - n_gap)
    mean_above = (cumulative_power[index + n_averaged] - cumulative_power[index + n_gap]) / (n_averaged - n_gap)
    fall = mean_below - mean_above
    n_apart = 2 * n_averaged
    padded_fall = np.pad(fall, n_apart, constant_values=np.nan)
    sharpness = fall - np.nanmax([padded_fall[: -2 * n_apart], padded_fall[2 * n_apart :], np.zeros(len(fall))], axis=0)
    is_near_stated = abs(q[index] - qmax) < QMAX_TOLERANCE * qmax
    best_index = int(np.argmax(sharpness))
    excess_sharpness = sharpness[best_index] - sharpness[is_near_stated].max() if is_near_stated.any() else 0.0
    return QmaxEstimate(float(q[index[best_index]]), float(excess_sharpness))
