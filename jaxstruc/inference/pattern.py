"""A measured I(Q) as fits of bodies see it: over its noise, the background projected out, padded to a few sizes."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.data.measurement import Measurement
from jaxstruc.data.text import expect
from jaxstruc.options.small_angle import SizeOptions

SIZES = (64, 128, 256, 512)
"""Points that a pattern is padded to; neighbours beyond the last are gathered."""
FEWEST = 12
"""Least points."""
ACCURACY = 2e-4
"""Relative, of the curves of bodies: no noise is less."""
UNSAID = 1e-3
"""Relative, least noise where the file says none."""
AROUND = 12
"""Neighbours on each side by whose scatter noise is inferred."""


class Weighted(NamedTuple):
    """Data in units of their noise, on the points of a padded size, without what a background can explain."""

    q: Float[Array, " q"]
    """1/Å; in the padding the last."""
    inverse: Float[Array, " q"]
    """One over the noise, which is in parts of the largest intensity; 0 in the padding."""
    data: Float[Array, " q"]
    """Intensities over their noise, the background projected out."""
    terms: Float[Array, "q term"]
    """Orthonormal, of the background over the noise."""
    dq: Float[Array, " q"] | None
    """1/Å, of the resolution."""


class Pattern(NamedTuple):
    """A measured I(Q), in the range of the fit; all [point], float64, at most as many as the last of `SIZES`."""

    q: np.ndarray
    """1/Å"""
    intensity: np.ndarray
    sigma: np.ndarray
    """As given, or inferred."""
    dq: np.ndarray | None
    powers: tuple[float, ...]
    """Of 1/Q, of the background's terms."""
    top: float
    """Largest intensity, the unit of `weighted`."""
    inferred: bool
    """Whether the noise is."""
    read: int
    """Points of the file in that range; where these are more, neighbours are gathered."""
    weighted: Weighted

    @property
    def points(self) -> int:
        """Their number, as fits see them."""
        return int(np.count_nonzero(self.weighted.inverse))


def pattern(measurement: Measurement, options: SizeOptions) -> Pattern:
    """Return a measured I(Q) as fits see it.

    Raises:
        ReadError: where it is none, or nothing can be fitted to it.
    """
    path = measurement.name
    expect(
        measurement.kind == "iq" and measurement.q is not None and measurement.intensity is not None,
        f"I(Q), got {measurement.kind} in {path}; pass a file of intensities over Q, or use solve for a PDF",
    )
    q, intensity = np.asarray(measurement.q, float), np.asarray(measurement.intensity, float)
    good = np.isfinite(intensity) & (q > 0)
    expect(
        np.count_nonzero(good) >= FEWEST,
        f"at least {FEWEST} points of I(Q) in the range of the fit, got {np.count_nonzero(good)} in {path}; "
        "widen --qmin and --qmax",
    )
    share = np.mean(intensity[good] > 0)
    expect(
        share > 0.5,
        f"intensities above 0, got {1 - share:.0%} at or below it in {path}; check the background and its scale",
    )
    q, intensity = q[good], intensity[good]
    sigma = None if measurement.sigma is None else np.asarray(measurement.sigma, float)[good]
    dq = None if measurement.dq is None else np.asarray(measurement.dq, float)[good]
    inferred = sigma is None or not np.all(np.isfinite(sigma) & (sigma > 0))
    if sigma is None or inferred:
        sigma = np.maximum(noise(intensity), UNSAID * np.abs(intensity))
    sigma = np.maximum(sigma, ACCURACY * np.abs(intensity))
    powers = (0.0, *((options.power_law,) if options.power_law else ()))
    powers = powers if options.flat else powers[1:]
    read = len(q)
    q, intensity, sigma, dq = gathered(q, intensity, sigma, dq, SIZES[-1])
    top = float(intensity.max())
    return Pattern(
        q, intensity, sigma, dq, powers, top, inferred, read, _weighted(q, intensity, sigma, dq, powers, top)
    )


def noise(intensity: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    """Return the noise of points by how they scatter about their neighbours' cubic, smoothed over `AROUND` neighbours.

    Fourth differences of white noise have 70 times its variance and see nothing of a cubic; the median of their sizes
    among neighbours is 0.6745 of their standard deviation.
    """
    fourth = np.abs(np.convolve(intensity, [1, -4, 6, -4, 1], "valid")) / math.sqrt(70)
    fourth = np.pad(fourth, (2, 2), mode="edge")
    padded = np.pad(fourth, AROUND, mode="reflect" if len(fourth) > AROUND else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    return np.median(windows, axis=1) / 0.6745


def background_terms(q: Float[np.ndarray, " point"], powers: tuple[float, ...]) -> Float[np.ndarray, "point term"]:
    """Return the background's terms, each 1 at the first Q."""
    return np.stack([(q / q[0]) ** -power for power in powers], axis=1) if powers else np.zeros((len(q), 0))


def gathered(
    q: np.ndarray, intensity: np.ndarray, sigma: np.ndarray, dq: np.ndarray | None, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return at most so many points, each the weighted mean of neighbours."""
    size = -(-len(q) // most)
    if size == 1:
        return q, intensity, sigma, dq
    starts = np.arange(0, len(q), size)
    weight = sigma**-2.0
    total = np.add.reduceat(weight, starts)
    mean = [None if of is None else np.add.reduceat(weight * of, starts) / total for of in (q, intensity, dq)]
    return mean[0], mean[1], total**-0.5, mean[2]  # type: ignore[return-value]


def _weighted(q, intensity, sigma, dq, powers: tuple[float, ...], top: float) -> Weighted:
    """Return data as fits have them."""
    size = next(size for size in SIZES if size >= len(q))
    more = (0, size - len(q))
    inverse = np.pad(top / sigma, more)
    q = np.pad(q, more, mode="edge")
    terms = np.linalg.qr(background_terms(q, powers) * inverse[:, None])[0]
    data = np.pad(intensity / top, more) * inverse
    data = data - terms @ (terms.T @ data)
    width = None if dq is None else np.pad(dq, more, mode="edge")
    every = (q, inverse, data, terms, width)
    return Weighted(*(None if of is None else jnp.asarray(of, jnp.float32) for of in every))  # type: ignore[arg-type]
