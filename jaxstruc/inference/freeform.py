r"""A distribution of sizes of no given form: shares of volume on a grid of ln R, non-negative and smooth.

Minimised is $|d - K f|^2 + \lambda |D f|^2$, f >= 0, D second differences with zeros beyond the ends; by an interior
point (S. Mehrotra's, without the corrector), in double precision, for several $\lambda$ at once. The strength of the
smoothness is the data's choice, by the evidence (D. J. C. MacKay, Neural Comput. 4, 415 (1992)), and curves that it
allows are drawn by fits to data and prior with noise added (J. M. Bardsley, A. Solonen, H. Haario, M. Laine, SIAM J.
Sci. Comput. 36, A1895 (2014), doi 10.1137/140964023), so that they are non-negative too.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

BINS = 64
"""Of ln R."""
STRENGTHS = np.logspace(-9, 1, 11)
"""Of the smoothness that are tried, relative to the data's."""
ROUNDS = 40
"""Most steps of the interior point."""
CENTRED = 0.1
"""Part of the barrier that a step leaves."""
DONE = 1e-7
"""Of what is left of complementarity, relative."""
ALIKE = 1e-6
"""Part of the cost by which setting the smallest shares to zero may raise it."""
SEEN = 1e-4
"""Of the largest share, above which a share is free."""


class Freeform(NamedTuple):
    """A free distribution."""

    share: Float[np.ndarray, " bin"]
    """Amplitudes in the kernel's unit, of each bin."""
    chi2: float
    strength: float
    """Relative, of the smoothness."""
    determined: float
    """Parameters that the data determine."""
    evidence: float
    """Logarithm, over all strengths, even in their logarithm."""
    drawn: Float[np.ndarray, "draw bin"]
    """Amplitudes as the data allow them."""


def bins(u: Float[np.ndarray, " node"]) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, "node bin"]]:
    """Return ln R of bins over the nodes of a kernel, and what of a bin lies at each node: hats, sum 1."""
    at = np.linspace(u[0], u[-1], BINS + 2)[1:-1]
    hats = np.maximum(1 - np.abs(u[:, None] - at) / (at[1] - at[0]), 0.0)
    return at, hats / hats.sum(axis=0)


def fitted(
    curves: Float[np.ndarray, "q bin"],
    data: Float[np.ndarray, " q"],
    *,
    temper: float = 1.0,
    draws: int = 0,
    seed: int = 0,
) -> Freeform:
    """Return the free distribution of a pattern.

    Args:
        curves: of each bin, over the noise, the background projected out.
        data: likewise.
        temper: factor on chi-squared.
        draws: how many are drawn.
        seed: of the draws.
    """
    curves, data = np.sqrt(temper) * np.asarray(curves, float), np.sqrt(temper) * np.asarray(data, float)
    rough = differences(curves.shape[1])
    smooth, squares, along = rough.T @ rough, curves.T @ curves, curves.T @ data
    strengths = STRENGTHS * np.trace(squares) / np.trace(smooth)
    matrices = squares + strengths[:, None, None] * smooth
    found = nonnegative(matrices, np.broadcast_to(along, (len(strengths), len(along))))
    chi2 = np.sum((data - found @ curves.T) ** 2, axis=1)
    evidences, determined = np.array(
        [_evidence(*each, squares, smooth) for each in zip(found, chi2, strengths, strict=True)]
    ).T
    best = int(np.argmax(evidences))
    top = evidences[best]
    whole = float(top + np.log(np.mean(np.exp(evidences - top))))
    drawn = np.zeros((0, len(along)))
    if draws:
        random = np.random.default_rng(seed)
        noise = random.standard_normal((draws, len(data))) @ curves
        prior = random.standard_normal((draws, len(rough))) @ rough * np.sqrt(strengths[best])
        drawn = nonnegative(np.broadcast_to(matrices[best], (draws, *smooth.shape)), along + noise + prior)
    return Freeform(
        found[best], float(chi2[best]) / temper, float(STRENGTHS[best]), float(determined[best]), whole, drawn
    )


def differences(count: int) -> Float[np.ndarray, "row bin"]:
    """Return second differences with zeros beyond both ends."""
    return np.diff(np.pad(np.eye(count), ((2, 2), (0, 0))), n=2, axis=0)


def nonnegative(
    matrix: Float[np.ndarray, "batch bin bin"], side: Float[np.ndarray, "batch bin"]
) -> Float[np.ndarray, "batch bin"]:
    """Return the minima of $x^T A x / 2 - b^T x$, x >= 0, to a millionth of the largest share.

    Each item of a batch stops by itself, and is the best point evaluated: the start, where every share is 1 in the unit
    of its own curvature, if nothing better has been evaluated.
    """
    size = np.maximum(np.sqrt(np.diagonal(matrix, axis1=1, axis2=2)), 1e-300)
    matrix, side = matrix / (size[:, :, None] * size[:, None, :]), side / size
    unit = np.maximum(np.abs(side).max(axis=1, keepdims=True), 1e-300)
    side = side / unit
    x = np.ones_like(side)
    z = np.ones_like(side)
    best, least = x, np.full((len(x), 1), np.inf)
    count = side.shape[1]
    for _ in range(ROUNDS):
        product = np.einsum("bij,bj->bi", matrix, x)
        cost = _cost(x, product, side)
        best, least = np.where(cost < least, x, best), np.fmin(cost, least)
        gap = np.mean(x * z, axis=1, keepdims=True)
        unfinished = gap >= DONE
        if not unfinished.any():
            break
        aim = CENTRED * gap
        system = matrix + (z / x)[:, :, None] * np.eye(count)
        move = np.linalg.solve(system, (aim / x - product + side)[..., None])[..., 0]
        rise = (aim - z * move) / x - z
        x = np.where(unfinished, x + _step(x, move) * move, x)
        z = np.where(unfinished, z + _step(z, rise) * rise, z)
    last = np.where(x > z, x, 0.0)
    cost = _cost(last, np.einsum("bij,bj->bi", matrix, last), side)
    return np.where(cost <= least + ALIKE * np.abs(least), last, best) * unit / size


def _cost(x, product, side):
    """Return x A x / 2 - b x of each item, for a given product A x."""
    return np.sum(x * (0.5 * product - side), axis=1, keepdims=True)


def _step(x, move):
    """Return how far a move may go without leaving x > 0."""
    ratio = np.where(move < 0, -x / np.where(move < 0, move, -1.0), np.inf)
    return np.minimum(0.995 * ratio.min(axis=1, keepdims=True), 1.0)


def _evidence(share, chi2: float, strength: float, squares, smooth) -> tuple[float, float]:
    """Return the logarithm of the evidence of a strength, and how many parameters the data determine."""
    free = share > SEEN * share.max()
    if not free.any():
        return -np.inf, 0.0
    some = np.ix_(free, free)
    prior, both = strength * smooth[some], squares[some] + strength * smooth[some]
    occam = np.linalg.slogdet(prior)[1] - np.linalg.slogdet(both)[1]
    determined = np.trace(np.linalg.solve(both, squares[some]))
    return -0.5 * (chi2 + strength * share @ smooth @ share) + 0.5 * occam, determined
