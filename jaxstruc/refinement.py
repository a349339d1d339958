"""Scale, stretch, Uiso and delta2 of a cluster of one element, fitted to a measured G(r).

Levenberg-Marquardt (optimistix) on stretch, Uiso and delta2 inside their bounds; the scale follows by projection at
each step. The pair distances are gathered once into narrow bins; they only stretch. Each evaluation is a sum of
Gaussians on an r grid and one product with the data's band-pass matrix, which all clusters share. `jax.vmap` makes
a batch of it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jaxtyping import Array, Bool, Float

from jaxstruc import metrics, scattering
from jaxstruc.scattering import Instrument, Pairs

STRETCH = (0.88, 1.12)
UISO = (5e-4, 0.1)
"""Å²"""
DELTA2 = 0.9
"""Largest delta2, in squared bond lengths: the nearest neighbours keep a tenth of their variance."""
STARTS = np.linspace(0.9, 1.1, 21)
"""Stretches tried for the start."""
START_UISO = 0.01
START_DELTA2 = 0.25
"""In squared bond lengths."""
BIN = 0.06
BINS = 400
"""Distances are gathered in bins of 0.06 Å up to 24 Å."""
GRID = BIN * np.arange(440)
"""Where the Gaussians are summed, in Å; to 26.3 Å, so that the last bin's peak fits even when stretched."""
BLUR = 0.08**2
"""Å², added to every peak so that the grid resolves it, and taken out by the band pass."""
Q_POINTS = 512
STEPS = 12
"""Levenberg-Marquardt steps, failed ones among them; more lower Rw by less than 1e-5."""
PERCENT = 100.0
"""The residual's length is Rw in per cent: of a size at which the first damping is light."""
ORTHOGONAL = 0.02
"""At a minimum the residual is orthogonal to each derivative; largest cosine that counts as that."""


class Target(NamedTuple):
    """A measured G(r) and what it was measured with."""

    r: Float[Array, " r"]
    """Å"""
    g: Float[Array, " r"]
    """1/Å²"""
    weights: Float[Array, " r"]
    """1 where the fit looks, 0 elsewhere and on padding."""
    band: Float[Array, "r grid"]
    """Takes a curve on `GRID` to the data's points and Q range, see `scattering.band_pass`."""
    qdamp: Float[Array, ""] | float
    qbroad: Float[Array, ""] | float
    bond: Float[Array, ""] | float
    """Nearest-neighbour distance, in Å; it bounds delta2."""


def target(
    r: Float[Array, " r"],
    g: Float[Array, " r"],
    weights: Float[Array, " r"],
    *,
    qmin: Float[Array, ""] | float,
    qmax: Float[Array, ""] | float,
    qdamp: Float[Array, ""] | float,
    qbroad: Float[Array, ""] | float,
    bond: Float[Array, ""] | float,
) -> Target:
    """Return what `refine` fits: the data, and the operator that cuts a model to the data's Q range."""
    q = qmin + (qmax - qmin) * jnp.linspace(0.0, 1.0, Q_POINTS, dtype=g.dtype)
    band = scattering.band_pass(r, jnp.asarray(GRID, g.dtype), q, scattering.q_weights(q, qmin, qmax), blur=BLUR)
    return Target(r, g, weights, band, qdamp, qbroad, bond)


class Fit(NamedTuple):
    """Fitted values. Units as in `scattering.Instrument`."""

    scale: Float[Array, ""]
    stretch: Float[Array, ""]
    uiso: Float[Array, ""]
    delta2: Float[Array, ""]
    rw: Float[Array, ""]
    curve: Float[Array, " r"]
    """G(r) of the fit, in 1/Å²."""
    converged: Bool[Array, ""]
    """True where the residual is orthogonal to the derivatives and the result is finite."""


def refine(distances: Float[Array, "atom atom"], presence: Float[Array, " atom"], target: Target) -> Fit:
    """Return the fit of one cluster to one measured PDF.

    Args:
        distances: pair distances, in Å.
        presence: 1 for atoms, 0 for padding.
        target: the data.
    """
    gathered = scattering.binned(scattering.pairs(distances, presence), width=BIN, bins=BINS)
    atoms = jnp.maximum(jnp.sum(presence), 1)
    norm = jnp.sqrt(jnp.sum(target.weights * target.g**2))
    norm = jnp.where(norm > 0, norm, 1.0)

    def residual(free, _):
        curve = _curve(gathered, atoms, _instrument(free, target), target)
        return PERCENT * jnp.sqrt(target.weights) * (target.g - _projection(curve, target) * curve) / norm

    solution: Any = optimistix.least_squares(
        residual,
        optimistix.LevenbergMarquardt(rtol=1e-3, atol=1e-4),
        _start(gathered, atoms, target),
        options={"jac": "fwd"},
        max_steps=STEPS,
        throw=False,
    )
    instrument = _instrument(solution.value, target)
    curve = _curve(gathered, atoms, instrument, target)
    scale = _projection(curve, target)
    fitted = scale * curve
    misfit = metrics.rw(target.g, fitted, target.weights)
    done = _stationary(residual, solution.value) & jnp.isfinite(misfit)
    return Fit(
        scale=scale,
        stretch=jnp.asarray(instrument.stretch),
        uiso=jnp.asarray(instrument.uiso),
        delta2=jnp.asarray(instrument.delta2),
        rw=misfit,
        curve=fitted,
        converged=done,
    )


def _stationary(residual, free) -> Bool[Array, ""]:
    """Return whether no parameter can lower the misfit by much.

    A parameter at its bound has no derivative and does not count; below an Rw of 1 % rounding is all that is left.
    """
    derivatives = jax.jacfwd(residual)(free, None)
    now = residual(free, None)
    lengths = jnp.sqrt(jnp.sum(derivatives**2, axis=0))
    product = jnp.abs(now @ derivatives)
    length = jnp.maximum(jnp.sqrt(jnp.sum(now**2)), 1.0)
    return jnp.all(product <= ORTHOGONAL * lengths * length + 1e-5)


def _curve(pairs: Pairs, atoms, instrument: Instrument, target: Target):
    """Return G(r) with scale 1."""
    stretched = scattering.stretched(pairs, instrument.stretch)
    variance = scattering.pair_variance(stretched, instrument) + BLUR
    one, count = jnp.ones(1, target.g.dtype), jnp.asarray(atoms, target.g.dtype)[None]
    summed = scattering.peaks(stretched, variance, one, count, jnp.asarray(GRID, target.g.dtype))
    return scattering.envelope(instrument, target.r) * (target.band @ summed)


def _projection(curve, target: Target):
    """Return the scale of least squares, at least a little above 0."""
    square = jnp.sum(target.weights * curve**2)
    product = jnp.sum(target.weights * curve * target.g)
    return jnp.maximum(product / jnp.where(square > 0, square, 1.0), 1e-6)


def _start(gathered: Pairs, atoms, target: Target):
    """Return the free parameters of the stretch that fits best with usual vibrations."""
    usual = [_free(START_UISO, jnp.log(UISO[0]), jnp.log(UISO[1]), jnp.log), _free(START_DELTA2, 0.0, DELTA2)]

    def misfit(stretch):
        free = jnp.stack([_free(stretch, *STRETCH), *usual]).astype(target.g.dtype)
        curve = _curve(gathered, atoms, _instrument(free, target), target)
        return metrics.rw(target.g, _projection(curve, target) * curve, target.weights), free

    misfits, starts = jax.lax.map(misfit, jnp.asarray(STARTS, target.g.dtype))
    return starts[jnp.argmin(jnp.where(jnp.isfinite(misfits), misfits, jnp.inf))]


def _instrument(free, target: Target) -> Instrument:
    """Return the physical values of the free parameters, which are logits of the place between the bounds."""
    stretch, uiso, delta2 = jax.nn.sigmoid(free)
    low, high = np.log(UISO)
    return Instrument(
        uiso=jnp.exp(low + (high - low) * uiso),
        delta2=DELTA2 * target.bond**2 * delta2,
        qdamp=target.qdamp,
        qbroad=target.qbroad,
        stretch=STRETCH[0] + (STRETCH[1] - STRETCH[0]) * stretch,
    )


def _free(value, low, high, scale=jnp.asarray):
    """Return the logit of a value's place between its bounds."""
    place = (scale(value) - low) / (high - low)
    return jnp.log(place / (1 - place))
