"""Preparation of a measured I(Q) for the fits.

The data are "whitened": they are divided by their noise, so that every point has the standard deviation 1. The part
that a background can explain is projected out, so that the fits need no parameters for the background. The arrays are
padded to one of a few fixed lengths, so that JAX compiles few programs.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.io.columns import expect
from jaxstruc.io.measurement import Measurement
from jaxstruc.options.small_angle import SizeOptions

PADDED_SIZES = (64, 128, 256, 512)
"""Numbers of points to which a measured I(Q) is padded. If it has more points, neighbouring points are averaged."""
MIN_POINTS = 12
"""Smallest number of points that can be fitted."""
MIN_RELATIVE_NOISE = 2e-4
"""Lower limit of the relative noise. The calculated curves themselves are not more accurate than this."""
MIN_INFERRED_NOISE = 1e-3
"""Lower limit of the relative noise if the file states no errors."""
N_NOISE_NEIGHBOURS = 12
"""Number of neighbours on each side of a point. Their scatter gives the noise of the point."""


class WhitenedData(NamedTuple):
    """Padded data in units of their noise, without the part that a background can explain."""

    q: Float[Array, " q"]
    """Q in 1/Å. The padding repeats the last value."""
    inverse_sigma: Float[Array, " q"]
    """Largest intensity divided by the noise of each point, 0 in the padding."""
    data: Float[Array, " q"]
    """Intensities divided by their noise, with the background projected out."""
    background_basis: Float[Array, "q term"]
    """Orthonormal basis of the background terms after their division by the noise."""
    dq: Float[Array, " q"] | None
    """Standard deviation of the resolution in 1/Å, or None."""


class SaxsData(NamedTuple):
    """A measured I(Q) in the range of the fit.

    All arrays have the shape [point] and double precision. There are at most `PADDED_SIZES[-1]` points.
    """

    q: np.ndarray
    """Q in 1/Å."""
    intensity: np.ndarray
    sigma: np.ndarray
    """Standard error of the intensity, stated by the file or inferred."""
    dq: np.ndarray | None
    """Standard deviation of the resolution in 1/Å, or None."""
    background_powers: tuple[float, ...]
    """Powers of 1/Q of the background terms, e.g. 0 for a constant."""
    max_intensity: float
    """Largest intensity, which is the unit of intensity in `whitened_data.inverse_sigma`."""
    noise_is_inferred: bool
    """Whether `sigma` is inferred from the scatter of the points."""
    n_measured: int
    """Number of points of the file in the range of the fit, before neighbours are averaged."""
    whitened_data: WhitenedData

    @property
    def n_points(self) -> int:
        """Number of points that are fitted."""
        return int(np.count_nonzero(self.whitened_data.inverse_sigma))


def prepare_saxs_data(measurement: Measurement, options: SizeOptions) -> SaxsData:
    """Return the points of a measured I(Q) that are fitted, with their noise and in whitened form.

    Raises:
        ReadError: If the measurement is not an I(Q), has too few points, or has too few positive intensities.
    """
    path = measurement.name
    expect(
        measurement.kind == "iq" and measurement.q is not None and measurement.intensity is not None,
        f"I(Q), got {measurement.kind} in {path}; pass a file with the intensity at each Q, or use `solve` for a PDF",
    )
    q, intensity = np.asarray(measurement.q, float), np.asarray(measurement.intensity, float)
    valid_points = np.isfinite(intensity) & (q > 0)
    expect(
        np.count_nonzero(valid_points) >= MIN_POINTS,
        f"at least {MIN_POINTS} points of I(Q) in the range of the fit, got {np.count_nonzero(valid_points)} in "
        f"{path}; widen the range with --qmin and --qmax",
    )
    positive_fraction = np.mean(intensity[valid_points] > 0)
    expect(
        positive_fraction > 0.5,
        f"positive intensities, but {1 - positive_fraction:.0%} of the points in {path} are zero or negative; if a "
        "background was subtracted, check its scale",
    )
    q, intensity = q[valid_points], intensity[valid_points]
    sigma = None if measurement.sigma is None else np.asarray(measurement.sigma, float)[valid_points]
    dq = None if measurement.dq is None else np.asarray(measurement.dq, float)[valid_points]
    noise_is_inferred = sigma is None or not np.all(np.isfinite(sigma) & (sigma > 0))
    if sigma is None or noise_is_inferred:
        sigma = np.maximum(infer_noise(intensity), MIN_INFERRED_NOISE * np.abs(intensity))
    sigma = np.maximum(sigma, MIN_RELATIVE_NOISE * np.abs(intensity))
    background_powers = (0.0, *((options.power_law,) if options.power_law else ()))
    background_powers = background_powers if options.flat else background_powers[1:]
    n_measured = len(q)
    q, intensity, sigma, dq = merge_neighbours(q, intensity, sigma, dq, PADDED_SIZES[-1])
    max_intensity = float(intensity.max())
    return SaxsData(
        q,
        intensity,
        sigma,
        dq,
        background_powers,
        max_intensity,
        noise_is_inferred,
        n_measured,
        _whiten(q, intensity, sigma, dq, background_powers, max_intensity),
    )


def infer_noise(intensity: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    """Return the standard deviation of the noise of each point, from the scatter of its neighbours.

    A smooth curve is locally a cubic polynomial, whose fourth differences vanish. The fourth differences of white noise
    have 70 times the variance of the noise. Their standard deviation is the median of their absolute values divided by
    0.6745. The median is taken over `N_NOISE_NEIGHBOURS` neighbours on each side.
    """
    fourth_differences = np.abs(np.convolve(intensity, [1, -4, 6, -4, 1], "valid")) / math.sqrt(70)
    fourth_differences = np.pad(fourth_differences, (2, 2), mode="edge")
    padded_differences = np.pad(
        fourth_differences,
        N_NOISE_NEIGHBOURS,
        mode="reflect" if len(fourth_differences) > N_NOISE_NEIGHBOURS else "edge",
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded_differences, 2 * N_NOISE_NEIGHBOURS + 1)
    return np.median(windows, axis=1) / 0.6745


def background_terms(
    q: Float[np.ndarray, " point"], background_powers: tuple[float, ...]
) -> Float[np.ndarray, "point term"]:
    """Return the background terms. Each is a power of 1/Q that is scaled to 1 at the first Q."""
    return (
        np.stack([(q / q[0]) ** -power for power in background_powers], axis=1)
        if background_powers
        else np.zeros((len(q), 0))
    )


def merge_neighbours(
    q: np.ndarray, intensity: np.ndarray, sigma: np.ndarray, dq: np.ndarray | None, max_points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return at most `max_points` points. Each is the mean of neighbouring points, weighted by inverse variance."""
    group_size = -(-len(q) // max_points)
    if group_size == 1:
        return q, intensity, sigma, dq
    starts = np.arange(0, len(q), group_size)
    weight = sigma**-2.0
    total_weight = np.add.reduceat(weight, starts)
    means = [
        None if column is None else np.add.reduceat(weight * column, starts) / total_weight
        for column in (q, intensity, dq)
    ]
    return means[0], means[1], total_weight**-0.5, means[2]  # type: ignore[return-value]


def _whiten(q, intensity, sigma, dq, background_powers: tuple[float, ...], max_intensity: float) -> WhitenedData:
    """Return the padded data, divided by their noise and with the background projected out."""
    padded_size = next(padded_size for padded_size in PADDED_SIZES if padded_size >= len(q))
    padding = (0, padded_size - len(q))
    inverse_sigma = np.pad(max_intensity / sigma, padding)
    q = np.pad(q, padding, mode="edge")
    background_basis = np.linalg.qr(background_terms(q, background_powers) * inverse_sigma[:, None])[0]
    data = np.pad(intensity / max_intensity, padding) * inverse_sigma
    data = data - background_basis @ (background_basis.T @ data)
    padded_dq = None if dq is None else np.pad(dq, padding, mode="edge")
    columns = (q, inverse_sigma, data, background_basis, padded_dq)
    return WhitenedData(*(None if column is None else jnp.asarray(column, jnp.float32) for column in columns))  # type: ignore[arg-type]
