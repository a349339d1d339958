r"""Sizes on a ladder even in ln R: a curve of a whole distribution as one product with a matrix.

$$I(Q) = \sum_k v_k M_k(Q), \qquad M_k(Q) = V_k P(Q R_k)$$

v are shares of the volume at the rungs. M depends on the body and the measured Q, smeared already, not on what is
fitted: it is made once a file and body, and serves all starts, distributions and steps of a fit, a free histogram too.
A step of 0.004 is right to 1e-5 for q R up to 60: the sum over even rungs of a smooth density is accurate beyond all
powers of the step as soon as the density is wider than a step, and narrower ones are spread from nodes by quintic
interpolation. A distribution whose centre is beyond the ladder is NaN; `cut` tells of one that reaches beyond.

What a curve costs is the product. In a batch, with the derivatives of v as more rows (`jax.linearize` of one of
`VOLUMES`), a curve of 1254 rungs and 200 Q with two derivatives takes some 50 µs of one core, half of it the product;
a ladder over a factor 20 in R takes 60 % of that. A matrix takes 3 ms, or 20 times that with smearing.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.scattering import particle, sizes, smallangle, smearing
from jaxstruc.scattering.particle import Table
from jaxstruc.scattering.sizes import Sizes

NARROW = 1.3
"""In steps: a density whose standard deviation in ln R is below is spread from nodes."""
FEW = 16
"""Those nodes."""
LOST = 1e-6
"""Share of the volume of a node that may lie beyond the ladder."""
ORDER = 6
"""Rungs that a node is spread over."""


@dataclass(frozen=True)
class Ladder:
    """Radii even in ln R; static."""

    low: float
    """Å. First rung."""
    high: float
    """Å. The last is there or just above."""
    step: float = 0.004
    """In ln R."""

    @property
    def radius(self) -> Float[np.ndarray, " rung"]:
        """Å. The rungs."""
        return self.low * np.exp(self.step * np.arange(1 + int(np.ceil(np.log(self.high / self.low) / self.step))))


def matrix(
    q: Float[Array, " q"], table: Table, ladder: Ladder, *, dq: Float[Array, " q"] | None = None
) -> Float[Array, "rung q"]:
    """Return the curves of the rungs, per volume, as `smallangle.averaged` has them: 1/cm for a contrast of 1.

    Args:
        q: in 1/Å.
        table: of the body.
        ladder: rungs.
        dq: in 1/Å, standard deviation of the pinhole's resolution [none].
    """
    radius = jnp.asarray(ladder.radius, q.dtype)
    at = q if dq is None else smearing.places(q, dq)

    def rung(radius):
        values = particle.form_factor(table, at * radius)
        return values if dq is None else smearing.smeared(values)

    curves = jax.lax.map(rung, radius, batch_size=64)
    return smallangle.UNIT * 4 / 3 * np.pi * radius[:, None] ** 3 * curves


def spread(several: Sizes, ladder: Ladder) -> Float[Array, " rung"]:
    """Return the shares of the volume at the rungs that stand for any sizes; NaN where some lie beyond it."""
    volume = several.weight * several.radius**3
    volume = volume / jnp.sum(volume)
    place = (jnp.log(several.radius) - np.log(ladder.low)) / ladder.step
    count = len(ladder.radius)
    first = jnp.clip(jnp.floor(place).astype(jnp.int32) - (ORDER // 2 - 1), 0, count - ORDER)
    rungs = np.arange(ORDER)
    away = (place - first)[:, None, None] - rungs  # of each node from each of its rungs
    others = np.array([[n for n in rungs if n != m] for m in rungs])
    shares = jnp.prod(away[:, 0, others] / jnp.asarray(rungs[:, None] - others, away.dtype), axis=-1)
    inside = (place > -0.5) & (place < count - 0.5) | (volume < LOST)
    shares = jnp.where(inside[:, None], volume[:, None] * shares, jnp.nan)
    return jnp.zeros(count, place.dtype).at[first[:, None] + rungs].add(shares)


def gaussian(mean: Float[Array, ""], pd: Float[Array, ""], ladder: Ladder) -> Float[Array, " rung"]:
    """Return the shares of the volume of a Gaussian at the rungs."""

    def log(width):
        ratio = _ratio(mean, ladder)
        return -((jnp.expm1(ratio) / width) ** 2) / 2 + 4 * ratio

    return _volumes(log, sizes.gaussian, mean, pd, ladder)


def lognormal(median: Float[Array, ""], pd: Float[Array, ""], ladder: Ladder) -> Float[Array, " rung"]:
    """Return those of a lognormal."""

    def log(width):
        ratio = _ratio(median, ladder)
        return -((ratio / width) ** 2) / 2 + 3 * ratio

    return _volumes(log, sizes.lognormal, median, pd, ladder)


def schulz(mean: Float[Array, ""], pd: Float[Array, ""], ladder: Ladder) -> Float[Array, " rung"]:
    """Return those of a Schulz distribution."""

    def log(width):
        ratio = _ratio(mean, ladder)
        return -(jnp.expm1(ratio) - ratio) / width**2 + 3 * ratio

    return _volumes(log, sizes.schulz, mean, pd, ladder)


def uniform(mean: Float[Array, ""], pd: Float[Array, ""], ladder: Ladder) -> Float[Array, " rung"]:
    """Return those of a uniform distribution: to the power 4 of R, between two ends of cubic interpolation."""
    ratio, half = _ratio(mean, ladder), np.sqrt(3) * pd
    ends = jnp.log1p(half), jnp.log(jnp.maximum(1 - half, ladder.low / mean))
    upper, lower = (_passed((end - ratio) / ladder.step) for end in ends)
    wide = _normalised((upper - lower) * jnp.exp(4 * ratio))
    narrow = spread(sizes.uniform(mean, jnp.minimum(pd, ladder.step), count=FEW), ladder)
    return _chosen(pd < ladder.step, narrow, wide, mean, ladder)


VOLUMES = {"gaussian": gaussian, "lognormal": lognormal, "schulz": schulz, "uniform": uniform}
"""Those of a centre and a width, in the order of `sizes.DISTRIBUTIONS`."""


def cut(volumes: Float[Array, "*batch rung"]) -> Float[Array, "*batch"]:
    """Return the larger share at an end of the ladder over the largest of all: what is lost where it is not small."""
    return jnp.maximum(jnp.abs(volumes[..., 0]), jnp.abs(volumes[..., -1])) / jnp.max(volumes, axis=-1)


def _volumes(log, nodes, mean, pd, ladder: Ladder):
    """Return shares from the logarithm of a density times R^4, or, where it is narrow, from nodes."""
    floor = NARROW * ladder.step
    wide = log(jnp.maximum(pd, floor))
    wide = _normalised(jnp.exp(wide - jnp.max(wide)))
    narrow = spread(nodes(mean, jnp.minimum(pd, floor), count=FEW), ladder)
    return _chosen(pd < floor, narrow, wide, mean, ladder)


def _chosen(is_narrow, narrow, wide, mean, ladder: Ladder):
    inside = (mean > ladder.low) & (mean < ladder.high)
    return jnp.where(is_narrow, narrow, jnp.where(inside, wide, jnp.nan))


def _ratio(mean, ladder: Ladder):
    """Return ln(R / mean) at the rungs."""
    return jnp.asarray(np.log(ladder.radius), jnp.result_type(mean)) - jnp.log(mean)


def _normalised(shares):
    return shares / jnp.sum(shares)


def _passed(place):
    """Return the integral up to a place of the kernel of cubic interpolation about 0."""
    s = jnp.clip(jnp.abs(place), 0.0, 2.0)
    near = s - s**2 / 4 - s**3 / 3 + s**4 / 8
    far = s - 11 * s**2 / 12 + s**3 / 3 - s**4 / 24 + 1 / 6
    half = jnp.where(s < 1, near, far)
    return 0.5 + jnp.sign(place) * half
