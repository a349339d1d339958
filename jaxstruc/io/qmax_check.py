r"""Estimate of qmax from a measured PDF alone, to check the qmax that the header or the user states.

G(r) is a sine transform of F(Q) up to qmax. The power of G(r) therefore ends at qmax, for its signal and for its noise.
The power is $P(Q) = |\int w(r)\, G(r)\, e^{iQr} dr|^2$ with a window $w(r)$ that falls to 0 at both ends of the
data. An edge is a Q at which $\log P$ falls. The estimate is the edge with the sharpest fall.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

QMAX_SEARCH_RANGE = (0.6, 1.45)
"""Range of Q in which the edge is searched, in units of the stated qmax."""
Q_STEP, AVERAGING_WIDTH, EDGE_GAP = 0.05, 1.2, 0.1
"""Step of Q, and largest and smallest distance from an edge of the points that are averaged on each side, in 1/Å."""
QMAX_TOLERANCE = 0.07
"""Largest distance between an edge and the stated qmax at which they agree, in units of the stated qmax."""
POWER_FLOOR = 1e-7
"""Constant that is added to the power, in units of the largest power. It hides the side lobes of the
window and rounding errors."""
KAISER_BETA = 9.0
"""Shape parameter of the Kaiser window. The power of its side lobes is about 10⁻⁷ of the power of its main lobe."""


class QmaxEstimate(NamedTuple):
    """Estimate of qmax from the sharpest edge of the power."""

    qmax: float
    """Position of the edge in 1/Å."""
    excess_sharpness: float
    """Sharpness of the edge minus that of the sharpest edge near the stated qmax.

    A sharpness is a difference of natural logarithms of the power.
    """


def estimate_qmax(r: Float[np.ndarray, " r"], g: Float[np.ndarray, " r"], *, qmax: float) -> QmaxEstimate:
    """Estimate qmax by the edge of the power of G(r). The estimate is usually about 2 % too high.

    The fall of the power at a Q is the mean of log P just below this Q minus the mean just above it. The sharpness of
    an edge is the fall at its Q minus the larger of the falls at some distance below and above it (at least 0). This
    difference excludes the slow decay of the scattering.

    Args:
        r: Distances in Å.
        g: G(r) in 1/Å².
        qmax: Stated qmax in 1/Å. The edge is searched in the range of `QMAX_SEARCH_RANGE` times this value.
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
