"""Fits of bodies with a shape parameter to I(Q), at as many values of the parameter as its posterior needs.

The shape parameter, e.g. the aspect ratio of a spheroid, is a grid axis (`shape_parameters`). The size distributions
are fitted at each trial value of its coordinate u. New values are then placed around each minimum of chi-squared, and
where chi-squared changes too much between neighbours, until the posterior of u is resolved. Each value of u is one fit
of the model average, and its prior is the interval of u that it represents. The evidence is therefore summed over u by
the trapezoidal rule, without a Gaussian approximation.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxstruc.blas import with_one_blas_thread
from jaxstruc.small_angle import design_matrix, fit
from jaxstruc.small_angle.data import SaxsData
from jaxstruc.small_angle.design_matrix import MAX_NODE_STEP, MIN_NODE_STEP, STEPS_PER_WIDTH, RadiusWindow
from jaxstruc.small_angle.evidence import MAX_CHI2_SIGMAS
from jaxstruc.small_angle.fit import BATCH_SIZE, BodyFit, SaxsFits, SizeFit
from jaxstruc.small_angle.shape_parameters import SHAPE_PARAMETERS, shape_table
from jaxstruc.small_angle.size_distributions import DISTRIBUTION_SHAPES

MAX_ROUNDS = 8
"""Largest number of times that new values of the shape parameter are placed."""
PEAK_OFFSETS = np.array([0.0, 0.7, -0.7, 1.4, -1.4, 2.1, -2.1, 2.9, -2.9, 3.8, -3.8, 5.0, -5.0])
"""Distances of new values from a minimum of chi-squared, in standard deviations of the shape parameter."""
N_SEARCH_OFFSETS, MAX_TRUSTED_DISTANCE = 3, 6.0
"""Number of these distances that are used if the next trial value is further away than this distance."""
MIN_PEAK_SPACING = 0.4
"""Smallest distance of a new value from other values, in standard deviations."""
MAX_EXCESS, MAX_DROP, MAX_STEP = 8.0, 12.0, 3.5
"""Largest excess of chi-squared / 2 of a minimum that is resolved, and of a value that belongs to the result, and
largest change between neighbours. Chi-squared is in units of the variance of the residual."""
N_MINIMA = 4
"""Largest number of minima of chi-squared that are resolved for one size distribution."""
MIN_SPACING = 1e-5
"""Smallest distance of two values, relative to the range of u."""
N_SIZE_PARAMETERS = 3
"""Number of parameters of a size distribution and its amplitude."""
N_FIRST_ROUNDS, HOPELESS_EXCESS = 3, 60.0
"""Number of rounds after which a body that fits much worse than another one is no longer refined, and the excess of its
chi-squared, in units of the variance of the residual."""
START_WIDTHS = 0.02, 0.35
"""Smallest and largest width of a size distribution from which a fit at a new value starts."""


class ShapeFit(NamedTuple):
    """Fits of all size distributions at one value of the shape parameter."""

    window: RadiusWindow
    """Range of sizes in which the fits started."""
    sizes: SizeFit
    """Fits, one for each distribution."""


@jax.jit
def _start_windows(tables, start_data) -> RadiusWindow:
    """Return the window of sizes of each body and pattern in a batch."""

    def window(arguments):
        table, data = arguments
        return design_matrix.start_window(design_matrix.start_grid(table, data.q), data)

    return jax.lax.map(window, (tables, start_data))


@with_one_blas_thread
def with_shape_fits(
    all_fits: Sequence[SaxsFits],
    patterns: Sequence[SaxsData],
    bodies: tuple[str, ...],
    distributions: tuple[str, ...],
    *,
    contrast_ratio: float = 1.0,
) -> list[SaxsFits]:
    """Return the fits of each pattern together with those of bodies that have a shape parameter.

    Args:
        all_fits: Fits of the bodies with one length (`fit.fit_all`).
        patterns: Patterns that were fitted.
        bodies: Names of the bodies, keys of `SHAPE_PARAMETERS`.
        distributions: Names of the distributions. Only those with one population are fitted.
        contrast_ratio: Contrast of the shell of a core-shell sphere divided by that of the core.
    """
    names = tuple(name for name in distributions if name in DISTRIBUTION_SHAPES)
    windows, all_fits = [fits.window for fits in all_fits], list(all_fits)
    for body in bodies if names else ():
        for batch in fit.pattern_batches(patterns):
            new_fits = fit_shapes(
                [patterns[index] for index in batch],
                [windows[index] for index in batch],
                body,
                names,
                contrast_ratio=contrast_ratio,
                reference_chi2=[_lowest_chi2(all_fits[index], patterns[index]) for index in batch],
            )
            for index, body_fits in zip(batch, new_fits, strict=True):
                all_fits[index] = _with_body_fits(all_fits[index], body_fits)
    return all_fits


def _lowest_chi2(fits: SaxsFits, saxs_data: SaxsData) -> float:
    """Return the lowest chi-squared of all fits of a pattern so far, including free distributions."""
    chi2 = [entry.chi2 for entry in fits.body_fits if math.isfinite(entry.chi2)]
    chi2 += [problem.lowest_chi2 + saxs_data.discarded_chi2 for problem in fits.free_problems.values()]
    return min(chi2, default=math.inf)


def is_explained(fits: SaxsFits, saxs_data: SaxsData) -> bool:
    """Return whether the noise explains the misfit of the best fit with one population."""
    chi2 = [entry.chi2 for entry in fits.body_fits if entry.distribution in DISTRIBUTION_SHAPES]
    degrees_of_freedom = max(saxs_data.n_points - N_SIZE_PARAMETERS - len(saxs_data.background_powers), 1)
    limit = degrees_of_freedom + MAX_CHI2_SIGMAS * math.sqrt(2 * degrees_of_freedom)
    return min((value for value in chi2 if math.isfinite(value)), default=math.inf) <= limit


def fit_shapes(
    patterns: Sequence[SaxsData],
    windows: Sequence[RadiusWindow],
    body: str,
    names: tuple[str, ...],
    *,
    contrast_ratio: float,
    reference_chi2: Sequence[float],
) -> list[list[BodyFit]]:
    """Return the fits of one body to each pattern, at all values of the shape parameter that matter.

    Args:
        patterns: Patterns whose arrays have equal shapes.
        windows: Range of sizes around the spheres that fit best, for each pattern.
        body: Name of the body.
        names: Names of the size distributions.
        contrast_ratio: Contrast of the shell of a core-shell sphere divided by that of the core.
        reference_chi2: Lowest chi-squared of all other bodies, for each pattern.
    """
    parameter = SHAPE_PARAMETERS[body]
    radii = [math.exp(float(window.center)) for window in windows]
    shape_fits: list[dict[float, ShapeFit]] = [{} for _ in patterns]
    requests = [(index, float(u)) for index in range(len(patterns)) for u in parameter.trial_coordinates]
    for n_rounds in range(1 + MAX_ROUNDS):
        tables = [
            shape_table(body, parameter.value(u, radii[index]), contrast_ratio=contrast_ratio) for index, u in requests
        ]
        new_windows = [_nearest_window(shape_fits[index], u) for index, u in requests]
        new_fits = _fit_requests([patterns[index] for index, _ in requests], tables, new_windows, names)
        for (index, u), shape_fit in zip(requests, new_fits, strict=True):
            shape_fits[index][u] = shape_fit
        limits = list(reference_chi2) if n_rounds >= N_FIRST_ROUNDS else [math.inf] * len(patterns)
        requests = [
            (index, u)
            for index, saxs_data in enumerate(patterns)
            for u in _next_coordinates(shape_fits[index], saxs_data, limit=limits[index])
        ]
        if not requests:
            break
    return [
        _body_fits(entry, saxs_data, body, names, radius=radius, contrast_ratio=contrast_ratio)
        for entry, saxs_data, radius in zip(shape_fits, patterns, radii, strict=True)
    ]


def new_coordinates(
    u: Float[np.ndarray, " value"], misfit: Float[np.ndarray, "distribution value"], *, max_excess: float = MAX_EXCESS
) -> list[float]:
    """Return the values of u at which further fits are needed, inside the range of u.

    Args:
        u: Values that were fitted, in ascending order.
        misfit: Chi-squared / 2 of each distribution at each value, in units of the variance of the residual.
        max_excess: Largest excess of the misfit that matters.
    """
    proposals: list[tuple[float, float]] = []
    lowest = misfit.min()
    for row in misfit:
        minima = [
            index
            for index in np.argsort(row, kind="stable")
            if row[index] <= row[max(index - 1, 0)] and row[index] <= row[min(index + 1, len(u) - 1)]
        ]
        for index in minima[:N_MINIMA]:
            proposals += _peak_proposals(u, row, int(index), lowest + max_excess)
        is_unresolved = (np.minimum(row[1:], row[:-1]) < lowest + max_excess) & (np.abs(np.diff(row)) > MAX_STEP)
        proposals += [
            (float(u[index] + u[index + 1]) / 2, float(u[index + 1] - u[index]) / 2.5)
            for index in np.flatnonzero(is_unresolved)
        ]
    coordinates = list(u)
    min_spacing = MIN_SPACING * (u[-1] - u[0])
    for value, spacing in proposals:
        is_new = np.min(np.abs(np.array(coordinates) - value)) > max(spacing, min_spacing)
        if is_new and u[0] < value < u[-1]:
            coordinates.append(value)
    return sorted(coordinates[len(u) :])


def _peak_proposals(u: np.ndarray, row: np.ndarray, index: int, limit: float) -> list[tuple[float, float]]:
    """Return values around a minimum of the misfit, each with its smallest distance from other values.

    A parabola through the minimum and its two neighbours gives the position of the minimum and the standard deviation.
    """
    first = min(max(index - 1, 0), len(u) - 3)
    selected = slice(first, first + 3)
    curvature, slope, _ = np.polyfit(u[selected] - u[index], row[selected], 2)
    if curvature <= 0:
        return []
    deviation = math.sqrt(0.5 / curvature)
    shift = float(np.clip(-0.5 * slope / curvature, u[first] - u[index], u[first + 2] - u[index]))
    if min(row[index], row[index] - 0.5 * (shift / deviation) ** 2) > limit:
        return []
    distance = max(abs(u[first + 2] - u[index] - shift), abs(u[first] - u[index] - shift)) / deviation
    offsets = PEAK_OFFSETS if distance < MAX_TRUSTED_DISTANCE else 1.5 * PEAK_OFFSETS[:N_SEARCH_OFFSETS]
    return [(float(u[index] + shift + deviation * offset), MIN_PEAK_SPACING * deviation) for offset in offsets]


def _next_coordinates(shape_fits: dict[float, ShapeFit], saxs_data: SaxsData, *, limit: float) -> list[float]:
    """Return the values of u at which one pattern needs further fits.

    Args:
        shape_fits: Fits at all values so far.
        saxs_data: Pattern that is fitted.
        limit: Chi-squared of another body. A body that fits much worse gets no further values.
    """
    u, chi2 = _chi2_by_coordinate(shape_fits, saxs_data)
    variance = _variance(chi2.min(), saxs_data)
    if chi2.min() > limit + HOPELESS_EXCESS * _variance(min(limit, chi2.min()), saxs_data):
        return []
    return new_coordinates(u, 0.5 * chi2 / variance)


def _chi2_by_coordinate(shape_fits: dict[float, ShapeFit], saxs_data: SaxsData) -> tuple[np.ndarray, np.ndarray]:
    """Return all values of u in ascending order, and chi-squared as an array [distribution, value]."""
    u = np.array(sorted(shape_fits))
    chi2 = np.array([shape_fits[value].sizes.chi2 for value in u], float).T + saxs_data.discarded_chi2
    return u, np.where(np.isfinite(chi2), chi2, np.nanmax(np.where(np.isfinite(chi2), chi2, 0.0)) + 1e6)


def _variance(chi2: float, saxs_data: SaxsData) -> float:
    """Return the variance of the residual of a fit, in units of the stated variance."""
    n_parameters = N_SIZE_PARAMETERS + 1 + len(saxs_data.background_powers)
    reduced_chi2 = float(chi2) / max(saxs_data.n_points - n_parameters, 1)
    return max(reduced_chi2, 0.1 if saxs_data.noise_is_inferred else 1.0)


def _nearest_window(shape_fits: dict[float, ShapeFit], coordinate: float) -> RadiusWindow | None:
    """Return a window of sizes around the best fit at the nearest value of u, or None before the first fits."""
    if not shape_fits:
        return None
    nearest = shape_fits[min(shape_fits, key=lambda u: abs(u - coordinate))]
    best = int(np.argmin(np.where(np.isfinite(nearest.sizes.chi2), nearest.sizes.chi2, np.inf)))
    log_mean, log_width = nearest.sizes.log_parameters[best, 0]
    width = float(np.clip(math.exp(log_width), *START_WIDTHS))
    step = float(np.clip(width / STEPS_PER_WIDTH, MIN_NODE_STEP, MAX_NODE_STEP))
    return RadiusWindow(*(jnp.asarray(value, jnp.float32) for value in (log_mean, step, width)))


def _fit_requests(
    patterns: Sequence[SaxsData], tables: list, windows: Sequence[RadiusWindow | None], names: tuple[str, ...]
) -> list[ShapeFit]:
    """Return the fits of each pattern with the form factor at the same position, computed in batches."""
    shape_fits = []
    for start in range(0, len(patterns), BATCH_SIZE):
        batch = list(range(start, min(start + BATCH_SIZE, len(patterns))))
        padded_batch = batch + [batch[-1]] * (BATCH_SIZE - len(batch))
        stacked_tables = jax.tree.map(
            lambda *leaves: np.stack(leaves).astype(np.float32), *[tables[index] for index in padded_batch]
        )
        data, start_data = (
            jax.tree.map(lambda *leaves: np.stack(leaves), *[getattr(patterns[index], name) for index in padded_batch])
            for name in ("whitened_data", "start_data")
        )
        batch_windows = [windows[index] for index in padded_batch]
        stacked_windows = (
            jax.tree.map(np.asarray, _start_windows(stacked_tables, start_data))
            if batch_windows[0] is None
            else jax.tree.map(lambda *leaves: np.stack(leaves), *batch_windows)
        )
        size_fits = jax.tree.map(
            np.asarray,
            fit.fit_single_populations(stacked_tables, np.arange(BATCH_SIZE), data, stacked_windows, names=names),
        )
        shape_fits += [
            ShapeFit(*jax.tree.map(lambda leaf, row=row: leaf[row], (stacked_windows, size_fits)))
            for row in range(len(batch))
        ]
    return shape_fits


def _body_fits(
    shape_fits: dict[float, ShapeFit],
    saxs_data: SaxsData,
    body: str,
    names: tuple[str, ...],
    *,
    radius: float,
    contrast_ratio: float,
) -> list[BodyFit]:
    """Return the fits at all values of u whose weight may be relevant, and the best fit of each distribution."""
    u, chi2 = _chi2_by_coordinate(shape_fits, saxs_data)
    ends = np.concatenate([u[:1], (u[1:] + u[:-1]) / 2, u[-1:]])
    limit = chi2.min() + 2 * MAX_DROP * _variance(chi2.min(), saxs_data)
    body_fits = []
    for row, name in enumerate(names):
        for index in np.flatnonzero((chi2[row] < limit) | (np.arange(len(u)) == chi2[row].argmin())):
            value, low, high = (
                SHAPE_PARAMETERS[body].value(float(coordinate), radius)
                for coordinate in (u[index], ends[index], ends[index + 1])
            )
            body_fit = fit.select_body_fit(shape_fits[float(u[index])].sizes, row, body, name, saxs_data.discarded_chi2)
            body_fits.append(
                body_fit._replace(
                    shape_value=value,
                    shape_limits=(low, high),
                    shape_prior=float((ends[index + 1] - ends[index]) / (u[-1] - u[0])),
                    contrast_ratio=contrast_ratio,
                )
            )
    return body_fits


def _with_body_fits(fits: SaxsFits, body_fits: Sequence[BodyFit]) -> SaxsFits:
    """Return the fits with further ones. The window of sizes moves to the best of all fits."""
    all_body_fits = (*fits.body_fits, *body_fits)
    best = min(all_body_fits, key=lambda entry: entry.chi2 if math.isfinite(entry.chi2) else math.inf)
    if best.shape_value is None:
        return fits._replace(body_fits=all_body_fits)
    center = jnp.asarray(best.log_parameters[0, 0], jnp.float32)
    return fits._replace(body_fits=all_body_fits, window=fits.window._replace(center=center))
