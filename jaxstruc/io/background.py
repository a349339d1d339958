r"""The scattering of the solvent and the cell taken out of I(Q), with its errors.

$I = I_s - c\,I_b$ and $\sigma^2 = \sigma_s^2 + c^2 \sigma_b^2$. Where grids differ the background is interpolated
between its two neighbours, and its error is that of their weighted mean; that neighbouring points then share a part of
their error is left out.
"""

import numpy as np
from jaxtyping import Float

from jaxstruc.io import points
from jaxstruc.io.columns import MIN_ROWS, ReadError, expect
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.io.points import KIND_NAMES
from jaxstruc.parameters import PARAMETERS

EDGE_TOLERANCE = 1e-3
"""Of a step: points so far beyond the background's ends are at them, but for rounding."""


def subtract_background(sample: Measurement, background: Measurement, *, scale: float = 1.0) -> Measurement:
    """Return I(Q) of a sample without that of its background, where the background was measured.

    Args:
        sample: I(Q) of the particles in their solvent.
        background: I(Q) of the solvent.
        scale: factor on the background.

    Raises:
        ReadError: where either is no I(Q), the units differ, the ranges do not overlap, or the scale is none.
    """
    file_names = f"{sample.name} and {background.name}"
    expect(
        0 < scale < np.inf,
        f"a background scale above 0, got {scale:g} for {file_names}; pass another --background-scale",
    )
    units = sample.intensity_unit, background.intensity_unit
    is_same_unit = units[0] == units[1] or "" in units
    expect(
        is_same_unit,
        f"a background in the unit of the sample, got {units[0]} and {units[1]} in {file_names}; mend one of them",
    )
    q, (x, y, error) = _q_intensity_sigma(sample)[0], _q_intensity_sigma(background)
    tolerance = EDGE_TOLERANCE * float(np.min(np.diff(x)))
    is_inside = (q >= x[0] - tolerance) & (q <= x[-1] + tolerance)
    ranges = f"{q[0]:.4g} to {q[-1]:.4g} and {x[0]:.4g} to {x[-1]:.4g} 1/Å in {file_names}"
    advice = "measure the background over the range of the sample"
    expect(
        is_inside.sum() >= MIN_ROWS,
        f"at least {MIN_ROWS} points of the sample in the background's range, got {ranges}; {advice}",
    )
    cut_sample = points.select_points(sample, is_inside)
    q, intensity, sigma = _q_intensity_sigma(cut_sample)
    background_intensity, background_sigma = interpolate_with_errors(q, x, y, error)
    warnings = [f"points beyond the background dropped: {np.count_nonzero(~is_inside)}"] if not is_inside.all() else []
    if sigma is not None and background_sigma is None:
        warnings.append("the background has no errors: those of the sample alone count")
    if sigma is None and background_sigma is not None:
        warnings.append("the sample has no errors: those of the background are not used")
    if units[0] != units[1]:
        warnings.append(
            f"the unit of I is said of one alone, as {''.join(units)}; the background is taken to have it too"
        )
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
    """Return a curve, and its standard error, on another grid within its range, by straight lines."""
    right_index = np.clip(np.searchsorted(x, q), 1, len(x) - 1)
    right_weight = np.clip((q - x[right_index - 1]) / (x[right_index] - x[right_index - 1]), 0, 1)
    value = (1 - right_weight) * y[right_index - 1] + right_weight * y[right_index]
    if sigma is None:
        return value, None
    return value, np.hypot((1 - right_weight) * sigma[right_index - 1], right_weight * sigma[right_index])


def _q_intensity_sigma(measurement: Measurement) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return Q, I and its error."""
    if measurement.kind != "iq" or measurement.q is None or measurement.intensity is None:
        raise ReadError(f"Expected I(Q), got {KIND_NAMES[measurement.kind]} in {measurement.name}; pass an I(Q).")
    return measurement.q, measurement.intensity, measurement.sigma
