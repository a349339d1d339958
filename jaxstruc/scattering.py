r"""The Debye equation: pair distances to I(Q), S(Q), F(Q) and G(r).

Everything starts from distances, so that a decoder's distance matrix gives a PDF with no coordinates in between.

$I(Q) = \sum_i f_i^2 + \sum_{i \ne j} f_i f_j\, e^{-\sigma_{ij}^2 Q^2/2} \sin(Q r_{ij}) / (Q r_{ij})$, P. Debye,
Ann. Phys. 351, 809 (1915), doi 10.1002/andp.19153510606. The Debye-Waller factor acts on pair terms only. Conventions
are those of diffpy.srreal (P. Juhas et al., Acta Cryst. A71, 562 (2015), doi 10.1107/S2053273315014473).

Lengths in Å, Q in 1/Å, f in electrons (or fm), I in their square, F in 1/Å, G in 1/Å².
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

CHUNK = 4_000_000
"""Most pair-and-Q terms evaluated at once: bounds the memory of the exact sum."""


@dataclass(frozen=True)
class Grid:
    """The static Q and r grids of a simulation. Both ends are included."""

    qmin: float = 0.0
    qmax: float = 30.0
    qstep: float = 0.1
    rmin: float = 0.0
    rmax: float = 30.0
    rstep: float = 0.1

    @property
    def q(self) -> Float[np.ndarray, " q"]:
        """Q, in 1/Å."""
        return _axis(self.qmin, self.qmax, self.qstep)

    @property
    def r(self) -> Float[np.ndarray, " r"]:
        """The distances r of the PDF, in Å."""
        return _axis(self.rmin, self.rmax, self.rstep)


class Instrument(NamedTuple):
    """Vibrations and instrument, all differentiable. Defaults leave the curve untouched."""

    uiso: Float[Array, "..."] | float = 0.0
    """Isotropic displacement, in Å²: one for all sites, or one a site."""
    delta1: Float[Array, ""] | float = 0.0
    """Correlated motion that falls with r, in Å."""
    delta2: Float[Array, ""] | float = 0.0
    """Correlated motion that falls with r², in Å²."""
    qdamp: Float[Array, ""] | float = 0.0
    """Damping of G(r) by the resolution, in 1/Å."""
    qbroad: Float[Array, ""] | float = 0.0
    """Broadening of peaks by the resolution, in 1/Å."""
    scale: Float[Array, ""] | float = 1.0
    """Factor on G(r)."""
    stretch: Float[Array, ""] | float = 1.0
    """Factor on all distances."""


class Pairs(NamedTuple):
    """Unordered pairs of sites. `weight` counts ordered pairs: 2 for an ordinary pair, 0 for padding."""

    distance: Float[Array, " pair"]
    weight: Float[Array, " pair"]
    first: Int[Array | np.ndarray, " pair"]
    second: Int[Array | np.ndarray, " pair"]
    spread: Float[Array, " pair"] | float = 0.0
    """Variance of the distances that this entry stands for, in Å²; 0 for a single distance."""


def pairs(distances: Float[Array, "atom atom"], presence: Float[Array, " atom"]) -> Pairs:
    """Return the pairs i < j of a distance matrix, weighted by both atoms' presence (a mask, or probabilities)."""
    first, second = np.triu_indices(distances.shape[0], 1)
    present = jnp.asarray(presence, distances.dtype)
    return Pairs(distances[first, second], 2 * present[first] * present[second], first, second)


def binned(pairs: Pairs, *, width: float, bins: int) -> Pairs:
    """Return pairs of one element gathered by distance, each bin with its mean distance, weight and variance.

    The variance widens the peak as the gathered distances do, so the error is of third order in Q times `width`.

    Args:
        pairs: pairs of a single element.
        width: of a bin, in Å.
        bins: their number; longer distances than `width * bins` fall into the last.
    """
    index = jnp.clip((pairs.distance / width).astype(jnp.int32), 0, bins - 1)
    weight = jnp.zeros(bins, pairs.distance.dtype).at[index].add(pairs.weight)
    filled = jnp.where(weight > 0, weight, 1.0)
    mean = jnp.zeros_like(weight).at[index].add(pairs.weight * pairs.distance) / filled
    offset = pairs.distance - mean[index]
    spread = jnp.zeros_like(weight).at[index].add(pairs.weight * offset**2) / filled
    zero = np.zeros(bins, int)
    return Pairs(mean, weight, zero, zero, spread)


def stretched(pairs: Pairs, stretch: Float[Array, ""] | float) -> Pairs:
    """Return the pairs with their distances times `stretch`."""
    return pairs._replace(distance=pairs.distance * stretch, spread=pairs.spread * stretch**2)


def pair_variance(pairs: Pairs, instrument: Instrument, *, floor: float = 0.0) -> Float[Array, " pair"]:
    r"""Return the variance of each pair distance, in Å².

    $\sigma_{ij}^2 = (U_i + U_j)(1 - \delta_1/r - \delta_2/r^2 + q_\mathrm{broad}^2 r^2)$, at the pair's own
    distance; I.-K. Jeong et al., Phys. Rev. B 67, 104301 (2003), doi 10.1103/PhysRevB.67.104301. The bracket is kept
    at or above `floor` (0 as diffpy.srreal does; above 0 where a wrong short distance must keep a gradient).
    """
    uiso = jnp.asarray(instrument.uiso, pairs.distance.dtype)
    both = 2 * uiso if uiso.ndim == 0 else uiso[pairs.first] + uiso[pairs.second]
    r = jnp.where(pairs.distance > 0, pairs.distance, 1.0)
    bracket = 1 - instrument.delta1 / r - instrument.delta2 / r**2 + (instrument.qbroad * r) ** 2
    bracket = jnp.where(pairs.distance > 0, jnp.maximum(bracket, floor), floor)
    return both * bracket + pairs.spread


def debye_sum(
    pairs: Pairs,
    variance: Float[Array, " pair"],
    amplitudes: Float[Array, "site q"],
    q: Float[Array, " q"],
) -> Float[Array, " q"]:
    r"""Return $\sum_{i \ne j} f_i f_j e^{-\sigma_{ij}^2 Q^2/2} \sin(Q r_{ij})/(Q r_{ij})$, the exact pair sum.

    Args:
        pairs: from `pairs` or `binned`.
        variance: of each pair, from `pair_variance`, in Å².
        amplitudes: form factors of each site at each Q; one row of ones for a single element in units of f.
        q: in 1/Å.
    """

    def terms(column):
        q_value, amplitude = column
        weight = pairs.weight * amplitude[pairs.first] * amplitude[pairs.second]
        return jnp.sum(weight * jnp.exp(-0.5 * variance * q_value**2) * _sinc(q_value * pairs.distance))

    columns = (q, amplitudes.T)
    if pairs.distance.size * q.size <= CHUNK:
        return jax.vmap(terms)(columns)
    return jax.lax.map(jax.checkpoint(terms), columns, batch_size=max(1, CHUNK // pairs.distance.size))


def intensity(
    pairs: Pairs,
    instrument: Instrument,
    amplitudes: Float[Array, "site q"],
    presence: Float[Array, " site"],
    q: Float[Array, " q"],
) -> Float[Array, " q"]:
    """Return I(Q) of the whole cluster, in the amplitudes' unit squared."""
    own = jnp.sum(presence[:, None] * amplitudes**2, axis=0)
    return own + _damped_sum(pairs, instrument, amplitudes, q, 0.0)


def structure_function(
    pairs: Pairs,
    instrument: Instrument,
    amplitudes: Float[Array, "site q"],
    presence: Float[Array, " site"],
    q: Float[Array, " q"],
    *,
    floor: float = 0.0,
) -> Float[Array, " q"]:
    r"""Return $S(Q) = 1 + \sum_{i \ne j} \ldots / (N \langle f \rangle^2)$ (Faber-Ziman), dimensionless."""
    pair_sum = _damped_sum(pairs, instrument, amplitudes, q, floor)
    return 1 + pair_sum / _mean_square(amplitudes, presence)


def reduced_structure_function(
    pairs: Pairs,
    instrument: Instrument,
    amplitudes: Float[Array, "site q"],
    presence: Float[Array, " site"],
    q: Float[Array, " q"],
    *,
    floor: float = 0.0,
) -> Float[Array, " q"]:
    """Return F(Q) = Q [S(Q) - 1], in 1/Å. `floor`: see `pair_variance`."""
    pair_sum = _damped_sum(pairs, instrument, amplitudes, q, floor)
    return q * pair_sum / _mean_square(amplitudes, presence)


def q_weights(
    q: Float[Array, " q"], qmin: Float[Array, ""] | float, qmax: Float[Array, ""] | float
) -> Float[Array, " q"]:
    """Return each grid point's share of the integral from qmin to qmax, in 1/Å: the trapezoid rule.

    On an even grid, a point stands for the half step to either side of it, cut at the grid's and the
    range's ends, so the limits need not lie on the grid and may be traced.
    """
    step = q[1] - q[0]
    low = jnp.maximum(jnp.maximum(q - step / 2, q[0]), qmin)
    high = jnp.minimum(jnp.minimum(q + step / 2, q[-1]), qmax)
    return jnp.maximum(high - low, 0.0)


def sine_transform(
    f: Float[Array, " q"], q: Float[Array, " q"], weights: Float[Array, " q"], r: Float[Array, " r"]
) -> Float[Array, " r"]:
    r"""Return $\frac{2}{\pi} \int F(Q) \sin(Qr)\,dQ$ as a sum with the weights of `q_weights`, in 1/Å²."""
    return (2 / jnp.pi) * (jnp.sin(r[:, None] * q) @ (weights * f))


def peaks(
    pairs: Pairs, variance: Float[Array, " pair"], atoms: Float[Array, ""] | int, r: Float[Array, " r"]
) -> Float[Array, " r"]:
    r"""Return $\frac{1}{N} \sum_{i \ne j} N(r - r_{ij}; \sigma_{ij}^2) / r_{ij}$ for one element, in 1/Å².

    G(r) before any cut in Q: its sine integral over r is F(Q). Pairs with no distance count for nothing;
    `variance` must be above 0.
    """
    apart = pairs.distance > 0
    distance = jnp.where(apart, pairs.distance, 1.0)
    weight = jnp.where(apart, pairs.weight, 0.0) / (distance * jnp.sqrt(2 * jnp.pi * variance) * atoms)
    return jnp.sum(weight[:, None] * jnp.exp(-((r - distance[:, None]) ** 2) / (2 * variance[:, None])), axis=0)


def band_pass(
    r_out: Float[Array, " out"],
    r: Float[Array, " r"],
    q: Float[Array, " q"],
    weights: Float[Array, " q"],
    *,
    blur: float = 0.0,
) -> Float[Array, "out r"]:
    r"""Return the matrix that takes a curve on an even r grid to its part between qmin and qmax, on other r.

    $B = \frac{2}{\pi} \sum_Q \sin(Q r_\mathrm{out})\, w_Q\, e^{b Q^2/2} \sin(Q r)\, \Delta r$.

    Args:
        r_out: where the result is wanted, in Å.
        r: even grid, in Å, finer than pi / qmax.
        q: even grid, in 1/Å.
        weights: of `q_weights`.
        blur: variance that was added to all peaks so that the grid resolves them, in Å²; taken out again here.
    """
    kernel = weights * jnp.exp(0.5 * blur * q**2) * (2 / jnp.pi) * (r[1] - r[0])
    return jnp.sin(r_out[:, None] * q) @ (kernel[:, None] * jnp.sin(q[:, None] * r))


def envelope(instrument: Instrument, r: Float[Array, " r"]) -> Float[Array, " r"]:
    r"""Return the scale times the damping by the resolution, $s\,e^{-(r q_\mathrm{damp})^2/2}$."""
    return instrument.scale * jnp.exp(-0.5 * (r * instrument.qdamp) ** 2)


def pdf(
    distances: Float[Array, "atom atom"],
    presence: Float[Array, " atom"],
    amplitudes: Float[Array, "atom q"],
    instrument: Instrument,
    grid: Grid,
    *,
    floor: float = 0.0,
) -> Float[Array, " r"]:
    """Return G(r) of a cluster from its pair distances, in 1/Å².

    The curve follows the dtype of `distances`. The Q step must be finer than pi / (rmax + the cluster's diameter),
    else aliases of the sine transform enter the r range.

    Args:
        distances: pair distances, in Å.
        presence: 1 for atoms, 0 for padding; probabilities count in proportion.
        amplitudes: form factors on `grid.q`, in electrons or fm. For one element their size does not matter.
        instrument: vibrations and instrument.
        grid: static Q and r grids.
        floor: see `pair_variance`.
    """
    q, r = jnp.asarray(grid.q, distances.dtype), jnp.asarray(grid.r, distances.dtype)
    f = reduced_structure_function(pairs(distances, presence), instrument, amplitudes, presence, q, floor=floor)
    return envelope(instrument, r) * sine_transform(f, q, q_weights(q, grid.qmin, grid.qmax), r)


def _damped_sum(pairs, instrument, amplitudes, q, floor):
    """Return the pair sum of the stretched pairs with their widths."""
    longer = stretched(pairs, instrument.stretch)
    return debye_sum(longer, pair_variance(longer, instrument, floor=floor), amplitudes, q)


def _mean_square(amplitudes, presence):
    r"""Return $N \langle f \rangle^2$ at each Q, 1 where there is no atom."""
    count = jnp.sum(presence)
    present = jnp.where(count > 0, count, 1.0)
    total = jnp.sum(presence[:, None] * amplitudes, axis=0)
    return jnp.where(count > 0, total**2 / present, 1.0)


def _sinc(x):
    """Return sin(x)/x, 1 at 0, with a gradient that is 0 there."""
    apart = jnp.abs(x) > 1e-4
    safe = jnp.where(apart, x, 1.0)
    return jnp.where(apart, jnp.sin(safe) / safe, 1 - x**2 / 6)


def _axis(low: float, high: float, step: float) -> np.ndarray:
    return low + step * np.arange(round((high - low) / step) + 1)
