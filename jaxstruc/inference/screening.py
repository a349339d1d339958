"""Which of thousands of candidates are worth fitting: those of the size seen in the data."""

import math

import numpy as np

from jaxstruc.structures.library import Library

NEAREST = 5000
"""Candidates screened: those whose size is nearest to the data's."""
SMOOTHED = 1.0
"""Å, over which the power of G(r) is averaged for the particle's size."""


def diameter(r: np.ndarray, g: np.ndarray, *, bond: float, qdamp: float) -> tuple[float, bool]:
    r"""Return the particle's diameter in Å, where the signal sinks into noise, and whether the data reach beyond it.

    The power of G(r) in a sphere falls as the square of $\gamma(r) = 1 - 3r/2D + r^3/2D^3$, the share of points whose
    neighbour at r is in the sphere too, and of the resolution's envelope; below it lies even noise. The D with the
    least squares of the logarithm is taken. (For gamma: A. Guinier, G. Fournet, Small-angle scattering, 1955.)

    Args:
        r: in Å.
        g: G(r), in 1/Å².
        bond: nearest-neighbour distance, in Å.
        qdamp: in 1/Å.
    """
    seen = r > 0.8 * bond
    step = (r[-1] - r[0]) / (len(r) - 1)
    window = np.hanning(2 * max(1, round(SMOOTHED * bond / 2.8 / step)) + 1)
    power = np.convolve(g[seen] ** 2, window / window.sum(), "same")
    place = r[seen]
    power = np.maximum(power, 1e-6 * power.max())
    best = (math.inf, 0.0)
    for size in np.arange(2 * bond, 1.5 * place[-1], 0.25):
        within = np.clip(1 - 1.5 * place / size + 0.5 * (place / size) ** 3, 0, None) * (place < size)
        shape = (within * np.exp(-0.5 * (place * qdamp) ** 2)) ** 2
        for share in (0.0, *np.geomspace(1e-4, 0.3, 12)):
            logarithm = np.log(shape + share + 1e-6)
            misfit = float(np.var(np.log(power) - logarithm))
            best = min(best, (misfit, float(size)))
    return best[1], bool(best[1] < place[-1] - 2.0)


def choose(library: Library, diameter_: float, *, bond: float, allowed: np.ndarray, most: int = NEAREST) -> np.ndarray:
    """Return the candidates whose largest distance is nearest to a diameter, as a ratio, by size.

    Args:
        library: the candidates.
        diameter_: in Å.
        bond: in Å.
        allowed: indices to choose from.
        most: their number.
    """
    away = np.abs(np.log(library.diameter[allowed] * bond / diameter_))
    return np.sort(allowed[np.argsort(away, kind="stable")[:most]])
