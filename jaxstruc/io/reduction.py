r"""Reduction of measured curves: subtraction of a background from I(Q), and conversion of S(Q) and F(Q) to G(r).

The difference of a sample and its background, e.g. of the solvent and the cell, is $I = I_s - c\,I_b$. Its standard
error is $\sigma = \sqrt{\sigma_s^2 + c^2 \sigma_b^2}$. Here $I_s$ and $\sigma_s$ are the intensity of the sample and
its standard error, $I_b$ and $\sigma_b$ are those of the background, and $c$ is the scale of the background. If the two
files have different Q, the background is interpolated linearly between its two neighbouring points. The standard error
of the interpolated background is then that of the weighted mean of the two points. The interpolation also correlates
the errors of neighbouring points of the result. This correlation is neglected.

The reduced structure function is $F(Q) = Q\,(S(Q) - 1)$, and
$G(r) = \frac{2}{\pi} \int_{Q_\mathrm{min}}^{Q_\mathrm{max}} F(Q) \sin(Qr)\,dQ$
(C. L. Farrow, S. J. L. Billinge, Acta Cryst. A 65, 232 (2009), doi 10.1107/S0108767309009714). The integral is computed
by the trapezoidal rule over the measured points. The values of F at the two limits are interpolated linearly.
"""

import math

import numpy as np
from jaxtyping import Float

from jaxstruc.io import points
from jaxstruc.io.columns import MIN_ROWS, ReadError, expect
from jaxstruc.io.gr import G_SCALE_RANGE
from jaxstruc.io.measurement import MAX_R, Measurement, Setting
from jaxstruc.io.points import KIND_NAMES
from jaxstruc.options.pdf import DataOptions
from jaxstruc.parameters import PARAMETERS

EDGE_TOLERANCE = 1e-3
"""Largest distance of a point beyond the ends of the background that is considered a rounding error.

The distance is in units of the smallest step in Q of the background.
"""
DEFAULT_MAX_R = 60.0
"""Largest r of the computed G(r) in Å, unless the fit extends farther."""
MIN_OVERSAMPLING = 4
"""Smallest ratio of pi/qmax to the step in r that is used. pi/qmax is the largest step that resolves G(r)."""
R_BLOCK_SIZE = 64
"""Number of points of r that are transformed at once. It limits the memory."""
MEAN_TOLERANCE = 0.3
"""Largest deviation of the mean of S(Q) from 1, or from 0 if the file holds S(Q) - 1.

The mean is that of the half of the points with the largest Q.
"""
MIN_OFFSET = 0.02
"""Smallest deviation from 1 of the limit of S(Q) at large Q that is reported."""
MIN_RELATIVE_OFFSET = 0.5
"""Smallest deviation of this limit from 1 that is reported, in units of the standard deviation of S(Q) at large Q.

The limit is estimated by a mean. A mean over few oscillations deviates from 1, even if S(Q) is correct.
"""


def subtract_background(sample: Measurement, background: Measurement, *, scale: float = 1.0) -> Measurement:
    """Subtract the I(Q) of a background from the I(Q) of a sample.

    Points of the sample outside the Q range of the background are dropped.

    Args:
        sample: I(Q) of the particles in their solvent.
        background: I(Q) of the solvent.
        scale: Factor by which the background is multiplied.

    Raises:
        ReadError: If a curve is not an I(Q), the units of the intensities differ, the ranges of Q do not overlap, or
            the scale is not a number above 0.
    """
    file_names = f"{sample.name} and {background.name}"
    expect(
        0 < scale < np.inf,
        f"--background-scale above 0, got {scale:g} for {file_names}; pass another value",
    )
    units = sample.intensity_unit, background.intensity_unit
    is_same_unit = units[0] == units[1] or "" in units
    expect(
        is_same_unit,
        f"the same unit of I in sample and background, got {units[0]} and {units[1]} in {file_names}; convert one file",
    )
    q, (x, y, error) = _q_intensity_sigma(sample)[0], _q_intensity_sigma(background)
    tolerance = EDGE_TOLERANCE * float(np.min(np.diff(x)))
    is_inside = (q >= x[0] - tolerance) & (q <= x[-1] + tolerance)
    ranges = f"{q[0]:.4g} to {q[-1]:.4g} and {x[0]:.4g} to {x[-1]:.4g} 1/Å in {file_names}"
    advice = "measure the background over the range of the sample"
    expect(
        is_inside.sum() >= MIN_ROWS,
        f"at least {MIN_ROWS} points of the sample in the Q range of the background, got Q of {ranges}; {advice}",
    )
    cut_sample = points.select_points(sample, is_inside)
    q, intensity, sigma = _q_intensity_sigma(cut_sample)
    background_intensity, background_sigma = interpolate_with_errors(q, x, y, error)
    n_outside = np.count_nonzero(~is_inside)
    warnings = [f"points outside the Q range of the background dropped: {n_outside}"] if n_outside else []
    if sigma is not None and background_sigma is None:
        warnings.append("the background has no standard errors, so only those of the sample are used")
    if sigma is None and background_sigma is not None:
        warnings.append("the sample has no standard errors, so those of the background are not used")
    if units[0] != units[1]:
        warnings.append(f"only one of sample and background states its unit of I; {''.join(units)} is assumed for both")
    origin = "default" if scale == PARAMETERS["background_scale"].default else "command line"
    return cut_sample._replace(
        intensity=intensity - scale * background_intensity,
        sigma=sigma
        if sigma is None or background_sigma is None
        else np.sqrt(sigma**2 + (scale * background_sigma) ** 2),
        intensity_unit=units[0] or units[1],
        settings=(*sample.settings, Setting("background_scale", float(scale), origin)),
        warnings=(*sample.warnings, *background.warnings, *warnings),
    )


def interpolate_with_errors(
    q: Float[np.ndarray, " point"],
    x: Float[np.ndarray, " other"],
    y: Float[np.ndarray, " other"],
    sigma: Float[np.ndarray, " other"] | None,
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"] | None]:
    """Interpolate a curve linearly to other points, with the standard errors of the interpolated values.

    Args:
        q: Points to interpolate to, within the range of `x`.
        x: Points of the curve, in increasing order.
        y: Values of the curve.
        sigma: Standard errors of the values, None if they are unknown.
    """
    right_index = np.clip(np.searchsorted(x, q), 1, len(x) - 1)
    right_weight = np.clip((q - x[right_index - 1]) / (x[right_index] - x[right_index - 1]), 0, 1)
    value = (1 - right_weight) * y[right_index - 1] + right_weight * y[right_index]
    if sigma is None:
        return value, None
    return value, np.hypot((1 - right_weight) * sigma[right_index - 1], right_weight * sigma[right_index])


def reduce_to_pdf(measurement: Measurement, options: DataOptions) -> Measurement:
    """Convert an S(Q) or F(Q) to G(r). A G(r) is returned unchanged.

    Args:
        measurement: Measured curve.
        options: Settings of the user. Their qmin and qmax override the header, which overrides the ends of the data.

    Raises:
        ReadError: If the curve is an I(Q), the limits are not within the data, or S(Q) does not tend to 1.
    """
    if measurement.kind == "gr":
        return measurement
    path, q, curve = measurement.name, measurement.q, measurement.intensity
    if q is None or curve is None or measurement.kind == "iq":
        raise ReadError(
            f"Expected G(r), S(Q) or F(Q), got {KIND_NAMES[measurement.kind]} in {path}; pass it to jaxstruc saxs."
        )
    limits = q_limits(measurement, options)
    qmin, qmax = (setting.value for setting in limits)
    if measurement.kind == "fq":
        f = _check_swings(curve, path)
        warnings = _offset_warnings(q, f)
    else:
        f, warnings = _reduced_structure_function(q, curve, path)
    r_end = min(max(DEFAULT_MAX_R, options.rmax or 0.0), MAX_R, 0.9 * np.pi / float(np.median(np.diff(q))))
    step = rounded_step(np.pi / qmax / MIN_OVERSAMPLING)
    r = step * np.arange(math.floor(r_end / step) + 1)
    g = sine_transform(q, f, r, qmin=qmin, qmax=qmax)
    max_magnitude = np.abs(g).max()
    expect(
        G_SCALE_RANGE[0] <= max_magnitude <= G_SCALE_RANGE[1],
        f"{KIND_NAMES[measurement.kind]} that gives a G(r) in 1/Å², got a G(r) of up to {max_magnitude:g} from {path}; "
        "check the scale of the curve",
    )
    return measurement._replace(
        r=r, g=g, kind="gr", q=None, intensity=None, sigma=None, dq=None,
        settings=(*measurement.settings, *limits), warnings=(*measurement.warnings, *warnings),
    )  # fmt: skip


def sine_transform(
    q: Float[np.ndarray, " q"], f: Float[np.ndarray, " q"], r: Float[np.ndarray, " r"], *, qmin: float, qmax: float
) -> Float[np.ndarray, " r"]:
    """Return G(r) in 1/Å², the sine transform of F(Q) between qmin and qmax.

    Args:
        q: Points of F(Q), in 1/Å and in increasing order.
        f: Values of F(Q), in 1/Å.
        r: Distances, in Å.
        qmin: Lower limit of the integral, in 1/Å.
        qmax: Upper limit of the integral, in 1/Å.
    """
    is_inside = (q > qmin) & (q < qmax)
    x = np.concatenate([[qmin], q[is_inside], [qmax]])
    y = np.interp(x, q, f)
    weighted_f = 2 / np.pi * np.convolve(np.diff(x), [0.5, 0.5]) * y
    r_blocks = np.array_split(r, math.ceil(len(r) / R_BLOCK_SIZE))
    return np.concatenate([np.sin(np.outer(r_block, x)) @ weighted_f for r_block in r_blocks])


def rounded_step(max_step: float) -> float:
    """Return the largest number of the form 1, 2 or 5 times a power of ten that is at most `max_step`."""
    power_of_ten = 10.0 ** math.floor(math.log10(max_step))
    return max(factor * power_of_ten for factor in (1, 2, 5) if factor * power_of_ten <= max_step * (1 + 1e-12))


def q_limits(measurement: Measurement, options: DataOptions) -> tuple[Setting, Setting]:
    """Return qmin and qmax as settings, which record their origins."""
    q, path = np.asarray(measurement.q), measurement.name
    limits = []
    for name, user_value, data_limit in (("qmin", options.qmin, q[0]), ("qmax", options.qmax, q[-1])):
        header = measurement.header.get(name)
        if user_value is not None:
            limits.append(Setting(name, float(user_value), "command line"))
        elif isinstance(header, float):
            limits.append(Setting(name, header, "header"))
        else:
            limits.append(Setting(name, float(data_limit), "data"))
    low, high = (setting.value for setting in limits)
    problem = f"{low:g} and {high:g} for Q of {q[0]:.5g} to {q[-1]:.5g} 1/Å in {path}; pass --qmin and --qmax"
    tolerance = 2 * float(np.max(np.diff(q)[[0, -1]]))
    is_within = q[0] - tolerance <= low < high <= q[-1] + tolerance
    expect(is_within, f"qmin < qmax within the data, got {problem}")
    count = np.count_nonzero((q >= low) & (q <= high))
    expect(count >= MIN_ROWS, f"at least {MIN_ROWS} points from qmin to qmax, got {count} between {problem}")
    return limits[0], limits[1]


def _check_swings(f: Float[np.ndarray, " q"], path: str) -> np.ndarray:
    """Return an F(Q) unchanged. Raise `ReadError` if the curve does not oscillate around 0, as F(Q) does."""
    tail = f[len(f) // 2 :]
    is_about_zero = (f < 0).any() and abs(tail.mean()) <= 3 * tail.std()
    expect(
        is_about_zero,
        f"F(Q), which oscillates around 0, got a curve that resembles S(Q) or I(Q) in {path}; pass another --kind",
    )
    return f


def _reduced_structure_function(
    q: Float[np.ndarray, " q"], s: Float[np.ndarray, " q"], path: str
) -> tuple[np.ndarray, list[str]]:
    """Convert an S(Q) to F(Q), and return F(Q) and warnings.

    Some programs write S(Q) - 1 under the name S(Q). Its mean at large Q is close to 0 and not to 1.
    """
    mean = float(s[len(s) // 2 :].mean())
    s_limit = round(mean)
    is_near_limit = s_limit in (0, 1) and abs(mean - s_limit) <= MEAN_TOLERANCE
    expect(
        is_near_limit,
        f"S(Q), which tends to 1, got a mean of {mean:.3g} at large Q in {path}; normalise S(Q), or pass F(Q) as .fq",
    )
    f = q * (s - s_limit)
    return f, ([] if s_limit else ["S(Q) tends to 0 and is read as S(Q) - 1"]) + _offset_warnings(q, f)


def _offset_warnings(q: Float[np.ndarray, " q"], f: Float[np.ndarray, " q"]) -> list[str]:
    """Return a warning if S(Q) = 1 + F(Q)/Q does not tend to 1 in the half of the points with the largest Q."""
    tail = (f / q)[len(f) // 2 :]
    offset = float(tail.mean())
    if abs(offset) <= max(MIN_OFFSET, MIN_RELATIVE_OFFSET * float(tail.std())):
        return []
    return [
        f"S(Q) tends to {1 + offset:.2f} and not to 1: its offset of {offset:.2f} adds ripples to G(r) at small r, so "
        "normalise S(Q) again"
    ]


def _q_intensity_sigma(measurement: Measurement) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return Q, I(Q) and the standard error of I(Q). The standard error is None if it is unknown."""
    if measurement.kind != "iq" or measurement.q is None or measurement.intensity is None:
        raise ReadError(f"Expected I(Q), got {KIND_NAMES[measurement.kind]} in {measurement.name}; pass another file.")
    return measurement.q, measurement.intensity, measurement.sigma
