"""Fits of bodies at all points of a measured I(Q), with background, errors and correlations; in double precision."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc.inference import averaging, kernels, outcomes, pattern, sizing
from jaxstruc.inference.outcomes import Outcome
from jaxstruc.inference.pattern import Pattern
from jaxstruc.scattering.size_distributions import FAMILIES
from jaxstruc.scattering.smallangle import UNIT

POINTS = 256
"""A curve's points are padded to a multiple of these."""
SPHERE = 4 / 3 * np.pi


class Evaluated(NamedTuple):
    """A fit at all points; intensities in the unit of the file."""

    calculated: Float[np.ndarray, " point"]
    """With the background."""
    background: Float[np.ndarray, " point"]
    residual: Float[np.ndarray, " point"]
    """Over the noise."""
    scale: float
    """Of the forward function, for a contrast of 1."""
    terms: Float[np.ndarray, " term"]
    """Of the background, each as intensity at the first Q."""
    names: tuple[str, ...]
    """What is fitted and at no bound: radius, pd (of each population), scale (of each), background, power_scale."""
    errors: Float[np.ndarray, " name"]
    """Of ln radius, ln pd, ln scale and the terms."""
    correlation: Float[np.ndarray, "name name"]


def curves(seen: Pattern, some: Sequence[Outcome], u: Float[np.ndarray, " node"], temper: float) -> list[Evaluated]:
    """Return fits at all points.

    Args:
        seen: what was fitted.
        some: the fits.
        u: ln R (Å) of nodes that hold their sizes.
        temper: factor on chi-squared.
    """
    volumes = {body: volumes_of(seen, body, u) for body in dict.fromkeys(one.body for one in some)}
    return [_evaluated(seen, one, volumes[one.body], u, temper) for one in some]


def volumes_of(seen: Pattern, body: str, u: Float[np.ndarray, " node"]) -> Float[np.ndarray, "point node"]:
    """Return V P(QR) of each size at all points, smeared, V in Å³."""
    count = len(seen.q)
    more = (0, -count % POINTS)
    q = np.pad(seen.q, more, mode="edge").astype(np.float32)
    dq = None if seen.dq is None else np.pad(seen.dq, more, mode="edge").astype(np.float32)
    middle = u[len(u) // 2]
    found = np.asarray(_sizes(outcomes.tables((body,)), q, dq, jnp.asarray(u, jnp.float32)), float)
    return found[:count] * SPHERE * np.exp(3 * middle)


def of_shares(
    seen: Pattern, volumes: np.ndarray, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Return curve, background, scale and the background's terms of shares of volume, as they fit best."""
    under = pattern.background_terms(seen.q, seen.powers)
    columns = np.concatenate([(volumes @ share)[:, None], under], axis=1)
    best = _least(columns / seen.sigma[:, None], seen.intensity / seen.sigma)
    return columns @ best, under @ best[1:], float(best[0]) / UNIT, best[1:]


def _evaluated(seen: Pattern, one: Outcome, volumes, u, temper: float) -> Evaluated:
    family, populations = FAMILIES[one.family], len(one.amplitude)
    place = jnp.asarray(one.place, jnp.float32)
    columns = np.asarray(_COLUMNS[one.family](place, jnp.asarray(u, jnp.float32)), float)
    made = np.einsum("pkn,qn->pkq", columns, volumes)
    under = pattern.background_terms(seen.q, seen.powers)
    present = one.amplitude > 0
    linear = np.concatenate([made[present, 0], under.T]).T
    best = _least(linear / seen.sigma[:, None], seen.intensity / seen.sigma)
    amounts, terms = np.zeros(populations), best[present.sum() :]
    amounts[present] = best[: present.sum()]
    names, slopes = [], []
    for k in np.flatnonzero(present):
        more = f"_{k + 1}" if populations > 1 else ""
        for name, column in (("radius", 1), ("pd", 2))[: family.parameters]:
            if not one.bounded[k, column - 1]:
                names.append(name + more)
                slopes.append(amounts[k] * made[k, column])
        names.append("scale" + more)
        slopes.append(amounts[k] * made[k, 0])
    logs = len(names)
    names += ["background" if power == 0 else "power_scale" for power in seen.powers]
    jacobian = np.concatenate([np.array(slopes).reshape(logs, -1), under.T]).T / seen.sigma[:, None]
    matrix = _inverse(jacobian, temper, logs)
    errors = np.sqrt(np.diagonal(matrix))
    calculated = linear @ best
    return Evaluated(
        calculated, under @ terms, (seen.intensity - calculated) / seen.sigma, float(amounts.sum()) / UNIT, terms,
        tuple(names), errors, matrix / (errors[:, None] * errors[None, :]),
    )  # fmt: skip


def _inverse(jacobian, temper: float, logs: int) -> np.ndarray:
    """Return the covariance; logarithms that the data do not tell have `averaging.LOOSEST`."""
    loose = np.where(np.arange(jacobian.shape[1]) < logs, averaging.LOOSEST**-2.0, 0.0)
    normal = temper * jacobian.T @ jacobian + np.diag(loose)
    size = np.sqrt(np.maximum(np.diagonal(normal), 1e-300))
    return np.linalg.pinv(normal / (size[:, None] * size[None, :])) / (size[:, None] * size[None, :])


def _least(columns, data):
    """Return the least-squares coefficients of columns of any size."""
    size = np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    return np.linalg.lstsq(columns / size, data, rcond=None)[0] / size


@jax.jit
def _sizes(table, q, dq, u):
    return kernels.sizes(jax.tree.map(lambda part: part[0], table), q, dq, u)


def _jitted(family: str):
    return jax.jit(lambda place, u: sizing.columns(FAMILIES[family].volume_fractions, place[None], u)[0])


_COLUMNS = {family: _jitted(family) for family in FAMILIES}
