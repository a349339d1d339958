r"""Subtraction of a background from I(Q), e.g. the scattering of the solvent and of the cell, with standard errors.

The difference is $I = I_s - c\,I_b$ and its standard error is $\sigma = \sqrt{\sigma_s^2 + c^2 \sigma_b^2}$. Here $I_s$
and $\sigma_s$ are the intensity of the sample and its standard error, $I_b$ and $\sigma_b$ are those of the background,
and $c$ is the scale of the background. If the two files have different Q, the background is interpolated linearly
between its two neighbouring points. Its standard error is then that of the weighted mean of these points. The
interpolation also correlates the errors of neighbouring points. This correlation is neglected.
"""

import numpy as np
from jaxtyping import Float

from jaxstruc.io import points
from jaxstruc.io.columns import MIN_ROWS, ReadError, expect
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.io.points import KIND_NAMES
from jaxstruc.parameters import PARAMETERS

EDGE_TOLERANCE = 1e-3
"""Distance, in steps of Q, by which a point may lie beyond the ends of the background because of rounding."""


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


def _q_intensity_sigma(measurement: Measurement) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return Q, I(Q) and its standard error."""
    if measurement.kind != "iq" or measurement.q is None or measurement.intensity is None:
        raise ReadError(f"Expected I(Q), got {KIND_NAMES[measurement.kind]} in {measurement.name}; pass another file.")
    return measurement.q, measurement.intensity, measurement.sigma
