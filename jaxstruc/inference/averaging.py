r"""What the fits of bodies and distributions weigh, and credible intervals over all of them.

A fit's weight is its evidence by Laplace: $Z = e^{-\chi^2/2} \sqrt{\det 2\pi C}\, \pi(\hat\theta)$, C the covariance of
ln mean, ln width and ln amplitude. Before the fit each body weighs the same, and so does each of its distributions;
ln mean is even over what the range of Q can tell, the width from 0 to `WIDEST`, the logarithm of the amplitude over
`DECADES`, the share of a second population from 0 to 1. A wide prior is the penalty for a parameter: one known to 1 %
costs 3 in the logarithm. (D. J. C. MacKay, Neural Comput. 4, 415 (1992), doi 10.1162/neco.1992.4.3.415.)

Where the best fit's chi-squared is above what noise explains, all errors grow by its root, and the residual counts for
so many points as its autocorrelation leaves.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc import statistics
from jaxstruc.inference.outcomes import Outcome
from jaxstruc.scattering import size_distributions
from jaxstruc.scattering.size_distributions import FAMILIES, Moments

WIDEST = 0.5
"""Standard deviation over mean, of the prior."""
ALIKE = 0.02
"""Weight of a single size before the fit, that of another distribution 1: what their widths' prior has below 0.01."""
DECADES = math.log(1e4)
"""Of the amplitude, in its logarithm."""
LOOSEST = 1.0
"""Largest standard deviation of a logarithm that Laplace is trusted with; so counts a value at its bound."""
ROUNDING = 1e-6
"""Of a normal matrix with unit diagonal."""
DRAWS, PART = 512, 64
"""In all, and in one step: each fit has as many of these as its weight asks for, one at least."""
LEAST = 1e-3
"""Weight that counts."""
BEYOND = 3.0
"""Standard deviations of chi-squared above its mean from which noise alone does not explain a fit."""


class Noise(NamedTuple):
    """How the residual of the best fit compares with the noise."""

    scale: float
    """Of the noise's variance, at least 1 where the file says the noise."""
    share: float
    """Of the points that count."""
    beyond: bool
    """Whether the best fit does not explain the data."""

    @property
    def temper(self) -> float:
        """Factor on chi-squared."""
        return self.share / self.scale


def noise(chi2: float, residual: Callable[[], np.ndarray], freedom: int, *, inferred: bool) -> Noise:
    """Return by how much the noise is larger than said, as the best fit shows.

    Args:
        chi2: of the best fit.
        residual: gives that of it, over the noise, where it is needed.
        freedom: points less parameters.
        inferred: whether the noise is inferred, so that it may as well be less.
    """
    reduced = chi2 / max(freedom, 1)
    beyond = reduced > 1 + BEYOND * math.sqrt(2 / max(freedom, 1))
    if not beyond:
        return Noise(max(reduced, 0.1) if inferred else 1.0, 1.0, beyond)
    left = residual()
    points = statistics.effective_points(left, float(len(left)))
    return Noise(reduced, min(points / len(left), 1.0), beyond)


def covariance(outcome: Outcome, temper: float) -> tuple[Float[np.ndarray, "parameter parameter"], np.ndarray]:
    """Return the covariance of ln means, ln widths and ln amplitudes, and which of them are fitted and not at a bound.

    Values at a bound and those that the data do not tell have `LOOSEST` at most.
    """
    populations = len(outcome.amplitude)
    free = np.ones(3 * populations, bool)
    free[: 2 * populations] = ~outcome.bounded.reshape(-1)
    if FAMILIES[outcome.family].parameters == 1:
        free[1 : 2 * populations : 2] = False
    free[2 * populations :] &= outcome.amplitude > 0
    loose = np.full(3 * populations, LOOSEST**-2.0)
    inside = outcome.normal[np.ix_(free, free)] * temper + np.diag(loose[free])
    found = np.zeros((3 * populations, 3 * populations))
    found[np.ix_(free, free)] = inverse(inside)
    return found, free


def inverse(normal: Float[np.ndarray, "parameter parameter"]) -> Float[np.ndarray, "parameter parameter"]:
    """Return the covariance of a normal matrix in single precision: no direction counts as known better than that."""
    size = np.sqrt(np.maximum(np.diagonal(normal), 1e-30))
    value, vector = np.linalg.eigh(normal / (size[:, None] * size))
    root = vector / np.sqrt(np.maximum(value, ROUNDING))
    return (root @ root.T) / (size[:, None] * size)


def evidence(outcome: Outcome, temper: float, *, span: float) -> float:
    """Return the logarithm of a fit's evidence; -inf where the fit failed.

    Args:
        outcome: the fit.
        temper: factor on chi-squared.
        span: of ln R that the data can tell.
    """
    if not math.isfinite(outcome.chi2) or not np.all(np.isfinite(outcome.normal)) or not outcome.amplitude.any():
        return -math.inf
    matrix, free = covariance(outcome, temper)
    populations = len(outcome.amplitude)
    fitted = FAMILIES[outcome.family].parameters
    held = int((~free[: 2 * populations]).sum()) if fitted == 2 else int((~free[: 2 * populations : 2]).sum())
    volume = 0.5 * np.linalg.slogdet(2 * math.pi * matrix[np.ix_(free, free)])[1]
    volume += held * math.log(LOOSEST)
    before = -populations * math.log(span) - math.log(DECADES)
    if fitted == 1:
        before += math.log(ALIKE)
    else:
        before += float(np.sum(outcome.place[:, 1] - math.log(WIDEST)))
    if populations == 2:
        total = outcome.amplitude.sum()
        before += float(np.sum(np.log(np.maximum(outcome.amplitude / total, 1e-12)))) + math.log(2)
    return -0.5 * temper * outcome.chi2 + float(volume) + before


def weights(logarithm: np.ndarray) -> Float[np.ndarray, " outcome"]:
    """Return the weights of fits from their evidences, all the same before."""
    relative = np.exp(logarithm - logarithm.max())
    return relative / relative.sum()


class Drawn(NamedTuple):
    """Sizes drawn from all fits by their weights."""

    weight: Float[np.ndarray, " draw"]
    place: Float[np.ndarray, " draw"]
    """Which fit it comes from."""
    sizes: Moments
    """[draw] each."""
    share: Float[np.ndarray, "draw node"]
    """Of volume, on `radius`."""
    radius: Float[np.ndarray, " node"]
    """Å, even in the logarithm."""


def drawn(
    outcomes: Sequence[Outcome], weight: np.ndarray, u: Float[np.ndarray, " node"], temper: float, *, seed: int = 0
) -> Drawn:
    """Return sizes drawn from the fits that weigh anything.

    Args:
        outcomes: the fits.
        weight: theirs.
        u: ln R of the nodes, R in Å.
        temper: factor on chi-squared.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    chosen = [int(place) for place in np.argsort(-weight, kind="stable") if weight[place] >= LEAST]
    total, nodes = float(weight[chosen].sum()), jnp.asarray(u, jnp.float32)
    found, each, places = [], [], []
    for place in chosen:
        parts = max(round(DRAWS / PART * weight[place] / total), 1)
        matrix, _ = covariance(outcomes[place], temper)
        for _ in range(parts):
            at, amount = _draw(outcomes[place], matrix, u, random)
            found.append(_SHARES[outcomes[place].family](at, amount, nodes))
        each.append(np.full(parts * PART, weight[place] / total / (parts * PART)))
        places.append(np.full(parts * PART, place))
    share, radius = np.concatenate([np.asarray(one, float) for one in found]), np.exp(u)
    return Drawn(np.concatenate(each), np.concatenate(places), size_distributions.moments(share, radius), share, radius)


def _draw(one: Outcome, matrix: np.ndarray, u: Float[np.ndarray, " node"], random: np.random.Generator):
    """Return places and amounts of populations, as a fit's covariance has them, within what the nodes hold."""
    count = len(one.amplitude)
    normal = random.multivariate_normal(np.zeros(len(matrix)), matrix, PART, method="eigh")
    at = one.place + normal[:, : 2 * count].reshape(PART, count, 2)
    widest = math.log(max(FAMILIES[one.family].widest, 1e-3))
    at[..., 1] = np.minimum(np.maximum(at[..., 1], math.log(size_distributions.MIN_WIDTH * (u[1] - u[0]))), widest)
    at[..., 0] = np.clip(at[..., 0], u[4], u[-5])
    amount = one.amplitude * np.exp(normal[:, 2 * count :])
    return jnp.asarray(at, jnp.float32), jnp.asarray(amount, jnp.float32)


def shares_of(outcomes: Sequence[Outcome], u: Float[np.ndarray, " node"]) -> Float[np.ndarray, "outcome node"]:
    """Return the shares of volume of fits at nodes of ln R."""
    found = np.zeros((len(outcomes), len(u)))
    kinds: dict[tuple[str, int], list[int]] = {}
    for place, one in enumerate(outcomes):
        kinds.setdefault((one.family, len(one.amplitude)), []).append(place)
    nodes = jnp.asarray(u, jnp.float32)
    for (family, _), places in kinds.items():
        for first in range(0, len(places), PART):
            some = places[first : first + PART]
            full = [outcomes[place] for place in some + [some[-1]] * (PART - len(some))]
            at, amount = (np.array([getattr(one, name) for one in full], np.float32) for name in ("place", "amplitude"))
            found[some] = np.asarray(_SHARES[family](at, amount, nodes))[: len(some)]
    return found


def _mixed(family: str):
    """Return the function of places and amounts of populations to their shares together, jitted."""

    def of(at, amount, u):
        each = jax.vmap(lambda one: FAMILIES[family].volume_fractions(jnp.exp(one[0]), jnp.exp(one[1]), u))(at)
        return amount @ each / jnp.sum(amount)

    return jax.jit(jax.vmap(of, in_axes=(0, 0, None)))


_SHARES = {family: _mixed(family) for family in FAMILIES}
