"""Which of thousands of clusters explains a measured G(r): the size seen in the data, fits of all, weights of the best.

All candidates are fitted in batches of one size, with one compilation for files with the same `Span`.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc import refinement, templates
from jaxstruc.library import WIDTH, Library
from jaxstruc.observed import Target
from jaxstruc.refinement import Fit
from jaxstruc.templates import Histogram, Span, Template

BATCH = 256
NEAREST = 5000
"""Candidates screened: those whose size is nearest to the data's."""
REFINED = 200
"""Candidates refined with everything that is asked for: the best of the screening."""
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


def fit_all(
    library: Library,
    chosen: np.ndarray,
    target: Target,
    *,
    bond: float,
    span: Span,
    free: tuple[str, ...] = refinement.USUAL,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Return the fits of chosen candidates, on the host.

    Args:
        library: the candidates.
        chosen: indices.
        target: the data.
        bond: nearest-neighbour distance, in Å.
        span: what the target was made for.
        free: what is fitted.
        progress: called with candidates done and in all.
    """
    found = []
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        filled = np.concatenate([batch, np.full(BATCH - len(batch), batch[-1])])
        fits = _fit_batch(histograms(library, filled, bond=bond, span=span), target, span=span, free=free)
        found.append(jax.tree.map(lambda column, count=batch.size: np.asarray(column[:count]), fits))
        if progress:
            progress(start + len(batch), len(chosen))
    return jax.tree.map(lambda *columns: np.concatenate(columns), *found)


@partial(jax.jit, static_argnames=("span", "free"))
def _fit_batch(histograms_: Histogram, target: Target, *, span: Span, free: tuple[str, ...]) -> Fit:
    tables = jax.vmap(lambda histogram: templates.template(histogram, target.bond, span=span))(histograms_)
    return refinement.refine_all(tables, target, span=span, free=free)


def histograms(library: Library, chosen: np.ndarray, *, bond: float, span: Span) -> Histogram:
    """Return the candidates' distances in Å, as far as the span reaches, padded to one size."""
    size = max(512, 64 * math.ceil((span.longest / (WIDTH * bond) + 2) / 64))
    weight, mean, variance = (np.zeros((len(chosen), size), np.float32) for _ in range(3))
    mean[:] = bond
    for row, index in enumerate(chosen):
        start, end = library.bins[index], library.bins[index + 1]
        count = int(np.searchsorted(library.mean[start:end] * bond, span.longest))
        rows = slice(start, start + count)
        weight[row, :count] = library.weight[rows]
        mean[row, :count] = library.mean[rows] * bond
        variance[row, :count] = library.variance[rows] * bond**2
    return Histogram(*map(jnp.asarray, (weight, mean, variance, library.atoms[chosen].astype(np.float32))))


def template(library: Library, index: int, *, bond: float, span: Span) -> Template:
    """Return one candidate's tables, with a leading axis."""
    one = histograms(library, np.array([index]), bond=bond, span=span)
    return jax.vmap(lambda histogram: templates.template(histogram, bond, span=span))(one)


def weights(rw: np.ndarray, independent: float, parameters: int) -> np.ndarray:
    r"""Return the relative weights of candidates from their misfits; NaN counts as 0.

    With noise of unknown size the likelihood is proportional to $R_w^{-(n - p)}$, n the number of independent points
    and p of fitted values.
    """
    logarithm = -(independent - parameters) * np.log(np.maximum(rw, 1e-12))
    logarithm = np.where(np.isfinite(rw), logarithm, -np.inf)
    relative = np.exp(logarithm - logarithm.max())
    return relative / relative.sum()


def independent_points(residual: Float[np.ndarray, " r"], most: float) -> float:
    r"""Return the number of independent points of a residual, $N / \sum_k \rho_k^2$ over all lags, at most `most`.

    A misfit that is not noise, but wrong structure, varies slowly, and so counts for fewer points than the data's range
    in r and Q would give; counting every point of the grid would call the smallest gap in Rw certain. (M. S. Bartlett,
    J. R. Stat. Soc. 98, 536 (1935), for the variance of sums of squares of correlated values.)
    """
    size = len(residual)
    power = np.abs(np.fft.rfft(residual - residual.mean(), 2 * size)) ** 2
    correlation = np.fft.irfft(power)[: size // 2]
    correlation = correlation / max(correlation[0], 1e-300)
    # An estimated correlation of nothing has the square (1 - k/N)/n, not 0; over these lags that adds 3/4.
    return min(most, 1.75 * size / (1 + 2 * float(np.sum(correlation[1:] ** 2))))


def credible(weight: np.ndarray, share: float = 0.9) -> np.ndarray:
    """Return which candidates make up the smallest set with that share of the weight."""
    order = np.argsort(-weight, kind="stable")
    before = np.cumsum(weight[order]) - weight[order]
    result = np.zeros(len(weight), bool)
    result[order[before < share * weight.sum()]] = True
    return result
