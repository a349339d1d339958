"""Preparation of a measured I(Q) for the fits.

The data are "whitened": they are divided by their noise, so that every point has the standard deviation 1. The part
that a background can explain is projected out, so that the fits need no parameters for the background. The arrays are
padded to one of a few fixed lengths, so that JAX compiles few programs.

A curve with many points is projected on piecewise polynomials. Neighbouring points form groups, and the data of each
group are replaced by their components along a few orthonormal polynomials in Q (in units of the noise). Calculated
curves are projected in the same way. A sum over the components then equals the sum over all points, except for the
part that no smooth curve can have. More components are used if the discarded part is larger than noise.
"""

import itertools
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.io.columns import expect
from jaxstruc.io.measurement import Measurement
from jaxstruc.options.small_angle import SizeOptions

MIN_PADDED_SIZE, MAX_DIRECT_POINTS = 64, 512
"""Smallest length of the padded arrays, and largest number of points that are fitted without a projection."""
N_POLYNOMIALS, N_GROUP_NODES = 8, 14
"""Number of polynomials of a group of points, and number of Q in a group at which curves are calculated."""
MAX_ROWS = 2048
"""Largest number of components of a projected curve."""
MAX_DISCARDED_SIGMAS = 1.0
"""Largest excess of the discarded part of the data over its expected value, in standard deviations."""
MIN_POINTS = 12
"""Smallest number of points that can be fitted."""
MIN_RELATIVE_NOISE = 2e-4
"""Lower limit of the relative noise. The calculated curves themselves are not more accurate than this."""
MIN_INFERRED_NOISE = 1e-3
"""Lower limit of the relative noise if the file states no errors."""
N_NOISE_NEIGHBOURS = 12
"""Number of neighbours on each side of a point. Their scatter gives the noise of the point."""


class WhitenedData(NamedTuple):
    """Padded data in units of their noise, without the part that a background can explain.

    The rows are the points, or the components of all groups of points if the curve is projected.
    """

    q: Float[Array, " q"]
    """Q in 1/Å at which curves are calculated. The padding repeats the last value."""
    inverse_sigma: Float[Array, " q"]
    """Largest intensity divided by the noise of each point, 0 in the padding. It is 1 if the curve is projected."""
    data: Float[Array, " row"]
    """Intensities divided by their noise, with the background projected out."""
    background_basis: Float[Array, "row term"]
    """Orthonormal basis of the background terms after their division by the noise."""
    dq: Float[Array, " q"] | None
    """Standard deviation of the resolution in 1/Å, or None."""
    projection: Float[Array, "group polynomial node"] | None = None
    """Matrix of each group that maps a curve at the nodes to its components, or None for a sum over the points."""

    def whiten(self, intensities: Float[Array | np.ndarray, "q column"]) -> Float[Array | np.ndarray, "row column"]:
        """Return curves divided by the noise and with the background projected out."""
        if self.projection is None:
            rows = intensities * self.inverse_sigma[:, None]
        else:
            n_groups, _, n_nodes = self.projection.shape
            grouped_curves = intensities.reshape(n_groups, n_nodes, -1)
            rows = (self.projection @ grouped_curves).reshape(-1, grouped_curves.shape[-1])
        return rows - self.background_basis @ (self.background_basis.T @ rows)


class PointGroups(NamedTuple):
    """Groups of neighbouring points, and nodes in Q from which a curve is interpolated to the points of each group."""

    starts: np.ndarray
    """Index of the first point of each group, and the number of points, [group + 1]."""
    q: Float[np.ndarray, "group node"]
    """Q of the nodes in 1/Å."""
    dq: Float[np.ndarray, "group node"] | None
    """Standard deviation of the resolution at the nodes in 1/Å, or None."""
    interpolation: tuple[Float[np.ndarray, "point node"], ...]
    """Matrix of each group that maps the values at the nodes to the values at the points."""
    bases: tuple[Float[np.ndarray, "point polynomial"], ...]
    """Orthonormal polynomials of each group after their division by the noise."""

    def at_points(self, node_values: Float[np.ndarray, "node column"]) -> Float[np.ndarray, "point column"]:
        """Return curves at all points from their values at the nodes."""
        return np.concatenate(
            [
                matrix @ values
                for matrix, values in zip(self.interpolation, np.split(node_values, len(self.q)), strict=True)
            ]
        )

    def components(self, values: Float[np.ndarray, "point column"]) -> Float[np.ndarray, "row column"]:
        """Return the components of columns that are divided by the noise."""
        parts = np.split(values, self.starts[1:-1])
        return np.concatenate([basis.T @ part for basis, part in zip(self.bases, parts, strict=True)])


class SaxsData(NamedTuple):
    """A measured I(Q) in the range of the fit. All arrays have the shape [point] and double precision."""

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
    whitened_data: WhitenedData
    start_data: WhitenedData
    """Data for the search of start values. Points of a curve that is projected are averaged with their neighbours."""
    groups: PointGroups | None
    """Groups of points of a curve that is projected, otherwise None."""
    discarded_chi2: float
    """Part of chi-squared that no smooth curve can explain, 0 without a projection."""

    @property
    def n_points(self) -> int:
        """Number of points that are fitted."""
        return len(self.q)


def prepare_saxs_data(
    measurement: Measurement, options: SizeOptions, *, max_direct_points: int = MAX_DIRECT_POINTS
) -> SaxsData:
    """Return the points of a measured I(Q) that are fitted, with their noise and in whitened form.

    Args:
        measurement: Measured I(Q).
        options: Backgrounds that are fitted.
        max_direct_points: Largest number of points that are fitted without a projection.

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
    max_intensity = float(intensity.max())
    start_data = _whiten(
        *merge_neighbours(q, intensity, sigma, dq, max_direct_points), background_powers, max_intensity
    )
    groups = None if len(q) <= max_direct_points else _sufficient_groups(q, intensity, sigma, dq)
    whitened_data, discarded_chi2 = start_data, 0.0
    if groups is not None:
        whitened_data, discarded_chi2 = _project(q, intensity, sigma, groups, background_powers, max_intensity)
    elif len(q) > max_direct_points:
        whitened_data = _whiten(q, intensity, sigma, dq, background_powers, max_intensity)
    return SaxsData(
        q, intensity, sigma, dq, background_powers, max_intensity, noise_is_inferred,
        whitened_data, start_data, groups, discarded_chi2,
    )  # fmt: skip


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


def group_points(
    q: Float[np.ndarray, " point"], sigma: Float[np.ndarray, " point"], dq: np.ndarray | None, n_groups: int
) -> PointGroups:
    """Return groups of neighbouring points of nearly equal number, each with its nodes and polynomials.

    The nodes are the Chebyshev points between the first and the last Q of a group.
    """
    starts = np.arange(n_groups + 1) * len(q) // n_groups
    node_positions = np.cos(np.pi * (np.arange(N_GROUP_NODES) + 0.5) / N_GROUP_NODES)
    to_coefficients = np.linalg.inv(np.polynomial.chebyshev.chebvander(node_positions, N_GROUP_NODES - 1))
    node_q, interpolation, bases = [], [], []
    for start, end in itertools.pairwise(starts):
        low, high = q[start], q[end - 1]
        position = np.clip((2 * q[start:end] - low - high) / max(high - low, 1e-12 * high), -1, 1)
        values = np.polynomial.chebyshev.chebvander(position, N_GROUP_NODES - 1)
        node_q.append((low + high + node_positions * (high - low)) / 2)
        interpolation.append(values @ to_coefficients)
        weight = sigma[start:end].min() / sigma[start:end]
        bases.append(np.linalg.qr(values[:, :N_POLYNOMIALS] * weight[:, None])[0])
    node_dq = None if dq is None else np.interp(np.array(node_q), q, dq)
    return PointGroups(starts, np.array(node_q), node_dq, tuple(interpolation), tuple(bases))


def _sufficient_groups(q, intensity, sigma, dq) -> PointGroups | None:
    """Return the groups of points of a curve, or None if the points are too few for the necessary groups.

    The number of groups is doubled as long as the part of the data that it discards exceeds the noise of the part that
    twice the number discards.
    """
    scaled_intensity = intensity / sigma

    def discarded_part(groups: PointGroups | None) -> float:
        if groups is None:
            return 0.0
        return float(scaled_intensity @ scaled_intensity - np.sum(groups.components(scaled_intensity[:, None]) ** 2))

    def groups_of_rows(n_rows: int) -> PointGroups | None:
        return None if n_rows >= len(q) else group_points(q, sigma, dq, n_rows // N_POLYNOMIALS)

    n_rows = MAX_DIRECT_POINTS
    groups = groups_of_rows(n_rows)
    while groups is not None and n_rows < MAX_ROWS:
        finer_groups = groups_of_rows(2 * n_rows)
        finer_discarded = discarded_part(finer_groups)
        n_finer = max(len(q) - 2 * n_rows, 0)
        n_extra = len(q) - n_rows - n_finer
        variance = max(finer_discarded / n_finer, 1.0) if n_finer else 1.0
        excess = (discarded_part(groups) - finer_discarded) / variance - n_extra
        if excess <= MAX_DISCARDED_SIGMAS * math.sqrt(2 * n_extra):
            break
        n_rows, groups = 2 * n_rows, finer_groups
    return groups


def _project(
    q, intensity, sigma, groups: PointGroups, background_powers: tuple[float, ...], max_intensity: float
) -> tuple[WhitenedData, float]:
    """Return the projected data, with the background projected out, and the part of chi-squared that is discarded."""
    scaled_intensity = intensity / sigma
    rows = groups.components(scaled_intensity[:, None])[:, 0]
    discarded_chi2 = float(scaled_intensity @ scaled_intensity - rows @ rows)
    terms = groups.components(background_terms(q, background_powers) / sigma[:, None])
    background_basis = np.linalg.qr(terms)[0]
    inverse_sigma = np.split(max_intensity / sigma, groups.starts[1:-1])
    projection = np.array(
        [
            (basis * scale[:, None]).T @ matrix
            for basis, scale, matrix in zip(groups.bases, inverse_sigma, groups.interpolation, strict=True)
        ]
    )
    columns = (
        groups.q.reshape(-1),
        np.ones(groups.q.size),
        rows - background_basis @ (background_basis.T @ rows),
        background_basis,
        None if groups.dq is None else groups.dq.reshape(-1),
        projection,
    )
    return _single_precision(columns), discarded_chi2


def _whiten(q, intensity, sigma, dq, background_powers: tuple[float, ...], max_intensity: float) -> WhitenedData:
    """Return the padded data, divided by their noise and with the background projected out."""
    padding = (0, max(MIN_PADDED_SIZE, 2 ** math.ceil(math.log2(len(q)))) - len(q))
    inverse_sigma = np.pad(max_intensity / sigma, padding)
    q = np.pad(q, padding, mode="edge")
    background_basis = np.linalg.qr(background_terms(q, background_powers) * inverse_sigma[:, None])[0]
    data = np.pad(intensity / max_intensity, padding) * inverse_sigma
    data = data - background_basis @ (background_basis.T @ data)
    padded_dq = None if dq is None else np.pad(dq, padding, mode="edge")
    return _single_precision((q, inverse_sigma, data, background_basis, padded_dq))


def _single_precision(columns) -> WhitenedData:
    """Return the columns as `WhitenedData`. Some of them may be None."""
    arrays: list[Any] = [None if column is None else jnp.asarray(column, jnp.float32) for column in columns]
    return WhitenedData(*arrays)
