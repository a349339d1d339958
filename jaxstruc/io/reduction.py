r"""Conversion of S(Q) and F(Q) to G(r) by the sine transform.

The reduced structure function is $F(Q) = Q\,(S(Q) - 1)$, and
$G(r) = \frac{2}{\pi} \int_{Q_\mathrm{min}}^{Q_\mathrm{max}} F(Q) \sin(Qr)\,dQ$
(C. L. Farrow, S. J. L. Billinge, Acta Cryst. A 65, 232 (2009), doi 10.1107/S0108767309009714). The integral is computed
by the trapezoidal rule over the measured points. The values of F at the two limits are interpolated linearly.
"""

import math

import numpy as np
from jaxtyping import Float

from jaxstruc.io.columns import MIN_ROWS, ReadError, expect
from jaxstruc.io.gr import G_SCALE_RANGE
from jaxstruc.io.measurement import MAX_R, Measurement, Setting
from jaxstruc.io.points import KIND_NAMES
from jaxstruc.options.pdf import DataOptions

DEFAULT_MAX_R = 60.0
"""Largest r of the computed G(r) in Å, unless the fit extends farther."""
MIN_OVERSAMPLING = 4
"""Smallest ratio of the largest possible step in r, pi/qmax, to the step that is used."""
R_BLOCK_SIZE = 64
"""Number of points of r that are transformed at once, which bounds the memory."""
MEAN_TOLERANCE = 0.3
"""Largest deviation of the mean of S(Q) from 1 (or from 0 if the file holds S - 1), in the upper half of the points."""


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
    limits = _q_limits(measurement, options)
    qmin, qmax = (setting.value for setting in limits)
    f, warnings = (
        (_check_swings(curve, path), []) if measurement.kind == "fq" else _reduced_structure_function(q, curve, path)
    )
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
    """Return the G(r) in 1/Å² of an F(Q) in 1/Å, given at increasing Q, between qmin and qmax."""
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


def _q_limits(measurement: Measurement, options: DataOptions) -> tuple[Setting, Setting]:
    """Return qmin and qmax with their origins."""
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
    """Return an F(Q). Raise `ReadError` if the curve does not oscillate around 0."""
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
    """Return the F(Q) of an S(Q), and warnings.

    Some programs write S - 1 under the name S. The mean of the upper half of the points shows this.
    """
    mean = float(s[len(s) // 2 :].mean())
    s_limit = round(mean)
    is_near_limit = s_limit in (0, 1) and abs(mean - s_limit) <= MEAN_TOLERANCE
    expect(
        is_near_limit,
        f"S(Q), which tends to 1, got a mean of {mean:.3g} at large Q in {path}; normalise S(Q), or pass F(Q) as .fq",
    )
    return q * (s - s_limit), [] if s_limit else ["S(Q) tends to 0 and is read as S(Q) - 1"]
