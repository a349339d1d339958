r"""The scattering of the solvent and the cell taken out of I(Q), with its errors.

$I = I_s - c\,I_b$ and $\sigma^2 = \sigma_s^2 + c^2 \sigma_b^2$. Where grids differ the background is interpolated
between its two neighbours, and its error is that of their weighted mean; that neighbouring points then share a part of
their error is left out.
"""

import numpy as np
from jaxtyping import Float

from jaxstruc.data import points
from jaxstruc.data.measurement import Measurement, Setting
from jaxstruc.data.points import NAMES
from jaxstruc.data.text import ROWS, ReadError, expect
from jaxstruc.scattering.parameters import PARAMETERS

EDGE = 1e-3
"""Of a step: points so far beyond the background's ends are at them, but for rounding."""


def subtracted(sample: Measurement, background: Measurement, *, scale: float = 1.0) -> Measurement:
    """Return I(Q) of a sample without that of its background, where the background was measured.

    Args:
        sample: I(Q) of the particles in their solvent.
        background: I(Q) of the solvent.
        scale: factor on the background.

    Raises:
        ReadError: where either is no I(Q), the units differ, the ranges do not overlap, or the scale is none.
    """
    both = f"{sample.name} and {background.name}"
    expect(0 < scale < np.inf, f"a background scale above 0, got {scale:g} for {both}; pass another --background-scale")
    units = sample.units, background.units
    same = units[0] == units[1] or "" in units
    expect(same, f"a background in the unit of the sample, got {units[0]} and {units[1]} in {both}; mend one of them")
    q, (x, y, error) = _columns(sample)[0], _columns(background)
    slack = EDGE * float(np.min(np.diff(x)))
    inside = (q >= x[0] - slack) & (q <= x[-1] + slack)
    ranges = f"{q[0]:.4g} to {q[-1]:.4g} and {x[0]:.4g} to {x[-1]:.4g} 1/Å in {both}"
    few = "measure the background over the range of the sample"
    expect(inside.sum() >= ROWS, f"at least {ROWS} points of the sample in the background's range, got {ranges}; {few}")
    cut = points.chosen(sample, inside)
    q, intensity, sigma = _columns(cut)
    under, spread = interpolated(q, x, y, error)
    said = [f"points beyond the background dropped: {np.count_nonzero(~inside)}"] if not inside.all() else []
    if sigma is not None and spread is None:
        said.append("the background has no errors: those of the sample alone count")
    if sigma is None and spread is not None:
        said.append("the sample has no errors: those of the background are not used")
    if units[0] != units[1]:
        said.append(f"the unit of I is said of one alone, as {''.join(units)}; the background is taken to have it too")
    origin = "default" if scale == PARAMETERS["background_scale"].default else "command line"
    return cut._replace(
        intensity=intensity - scale * under,
        sigma=sigma if sigma is None or spread is None else np.sqrt(sigma**2 + (scale * spread) ** 2),
        units=units[0] or units[1],
        settings=(*sample.settings, Setting("background_scale", float(scale), origin)),
        warnings=(*sample.warnings, *background.warnings, *said),
    )


def interpolated(
    q: Float[np.ndarray, " point"],
    x: Float[np.ndarray, " other"],
    y: Float[np.ndarray, " other"],
    sigma: Float[np.ndarray, " other"] | None,
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"] | None]:
    """Return a curve, and its standard error, on another grid within its range, by straight lines."""
    right = np.clip(np.searchsorted(x, q), 1, len(x) - 1)
    share = np.clip((q - x[right - 1]) / (x[right] - x[right - 1]), 0, 1)
    value = (1 - share) * y[right - 1] + share * y[right]
    if sigma is None:
        return value, None
    return value, np.hypot((1 - share) * sigma[right - 1], share * sigma[right])


def _columns(measurement: Measurement) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return Q, I and its error."""
    if measurement.kind != "iq" or measurement.q is None or measurement.intensity is None:
        raise ReadError(f"Expected I(Q), got {NAMES[measurement.kind]} in {measurement.name}; pass an I(Q).")
    return measurement.q, measurement.intensity, measurement.sigma
