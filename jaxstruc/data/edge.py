r"""Where the waves of a measured PDF end: the qmax that its data have, whatever is said of them.

G(r) is a sine transform that ends at qmax, and so does its power over Q, in noise as in signal:
$P(Q) = |\int w(r)\, G(r)\, e^{iQr} dr|^2$ with w a window that falls to 0 at the ends.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

RANGE = (0.6, 1.45)
"""Of qmax, in which its edge is looked for."""
STEP, AROUND, GAP = 0.05, 1.2, 0.1
"""1/Å. Steps of Q; what is averaged on either side of an edge; and what is left out about it."""
NEAR = 0.07
"""Of qmax, about it: there an edge is where it is told to be."""
FLOOR = 1e-7
"""Of the largest power, below which all is alike: there the window's own waves and rounding begin."""
SIDELOBES = 9.0
"""Of the window, a Kaiser one: its own waves are 10⁻⁷ of the power."""


class Edge(NamedTuple):
    """The sharpest fall of the power."""

    q: float
    """1/Å"""
    missed: float
    """By how much it is sharper than the sharpest fall about the qmax that was told, in the logarithm of the power."""


def edge(r: Float[np.ndarray, " r"], g: Float[np.ndarray, " r"], *, qmax: float) -> Edge:
    """Return the edge of a PDF's power, some 2 % too high at most times.

    Sharp is what falls by more than its surroundings do: scattering that dies away falls everywhere.

    Args:
        r: in Å.
        g: G(r), in 1/Å².
        qmax: as it is said to be, in 1/Å; the edge is looked for within `RANGE` of it.
    """
    step = (r[-1] - r[0]) / (len(r) - 1)
    even = r[0] + step * np.arange(len(r))
    window = np.kaiser(len(even), SIDELOBES)
    size = 1 << int(np.ceil(np.log2(max(2 * np.pi / (STEP * step), len(r)))))
    power = abs(np.fft.rfft(np.interp(even, r, g) * window, size)) ** 2
    power = np.log(power + FLOOR * max(power.max(), 1e-300))
    q = 2 * np.pi / (size * step) * np.arange(len(power))
    around, gap = round(AROUND / q[1]), max(1, round(GAP / q[1]))
    above = np.concatenate([[0.0], np.cumsum(power)])
    place = np.arange(around, len(power) - around)
    place = place[(q[place] > RANGE[0] * qmax) & (q[place] < RANGE[1] * qmax)]
    if not len(place):
        return Edge(qmax, 0.0)
    before = (above[place - gap] - above[place - around]) / (around - gap)
    after = (above[place + around] - above[place + gap]) / (around - gap)
    fall = before - after
    away = 2 * around
    ends = np.pad(fall, away, constant_values=np.nan)
    sharp = fall - np.nanmax([ends[: -2 * away], ends[2 * away :], np.zeros(len(fall))], axis=0)
    told = abs(q[place] - qmax) < NEAR * qmax
    best = int(np.argmax(sharp))
    missed = sharp[best] - sharp[told].max() if told.any() else 0.0
    return Edge(float(q[place[best]]), float(missed))
