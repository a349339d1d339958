r"""S(Q) and F(Q) to G(r), by the sine transform.

$F(Q) = Q\,(S(Q) - 1)$ and $G(r) = \frac{2}{\pi} \int_{Q_\mathrm{min}}^{Q_\mathrm{max}} F(Q) \sin(Qr)\,dQ$
(C. L. Farrow, S. J. L. Billinge, Acta Cryst. A 65, 232 (2009), doi 10.1107/S0108767309009714). The integral is a
trapezoid sum over the measured points, with the curve at the limits put in between them by straight lines.
"""

import math

import numpy as np
from jaxtyping import Float

from jaxstruc.data.gr import SCALES
from jaxstruc.data.measurement import FARTHEST, Measurement, Setting
from jaxstruc.data.points import NAMES
from jaxstruc.data.text import ROWS, ReadError, expect
from jaxstruc.options.pdf import DataOptions

END = 60.0
"""Å. G(r) is made so far, or farther where the fit is to go farther."""
FINER = 4
"""Points of G(r) for each that its qmax asks for, at least."""
BLOCK = 64
"""Points of r at once, which bounds the memory."""
ABOUT = 0.3
"""By which the mean of S(Q) beyond the middle of its range may be off 1, or off 0 where the file holds S - 1."""


def pdf(measurement: Measurement, options: DataOptions) -> Measurement:
    """Return the G(r) of an S(Q) or F(Q); a G(r) as it is.

    Args:
        measurement: the data.
        options: qmin and qmax override the header, which overrides the data's ends.

    Raises:
        ReadError: where it is an I(Q), the limits are not within the data, or S(Q) does not go to 1.
    """
    if measurement.kind == "gr":
        return measurement
    path, q, curve = measurement.name, measurement.q, measurement.intensity
    if q is None or curve is None or measurement.kind == "iq":
        raise ReadError(
            f"Expected G(r), S(Q) or F(Q), got {NAMES[measurement.kind]} in {path}; pass it to jaxstruc saxs."
        )
    limits = _limits(measurement, options)
    qmin, qmax = (setting.value for setting in limits)
    f, said = (_swinging(curve, path), []) if measurement.kind == "fq" else _reduced(q, curve, path)
    end = min(max(END, options.rmax or 0.0), FARTHEST, 0.9 * np.pi / float(np.median(np.diff(q))))
    step = even_step(np.pi / qmax / FINER)
    r = step * np.arange(math.floor(end / step) + 1)
    g = transformed(q, f, r, qmin=qmin, qmax=qmax)
    largest = np.abs(g).max()
    expect(
        SCALES[0] <= largest <= SCALES[1],
        f"{NAMES[measurement.kind]}, got a G(r) up to {largest:g} of {path}; check it",
    )
    return measurement._replace(
        r=r, g=g, kind="gr", q=None, intensity=None, sigma=None, dq=None,
        settings=(*measurement.settings, *limits), warnings=(*measurement.warnings, *said),
    )  # fmt: skip


def transformed(
    q: Float[np.ndarray, " q"], f: Float[np.ndarray, " q"], r: Float[np.ndarray, " r"], *, qmin: float, qmax: float
) -> Float[np.ndarray, " r"]:
    """Return G(r) in 1/Å², of F(Q) in 1/Å at rising Q, between the limits."""
    inside = (q > qmin) & (q < qmax)
    x = np.concatenate([[qmin], q[inside], [qmax]])
    y = np.interp(x, q, f)
    weighted = 2 / np.pi * np.convolve(np.diff(x), [0.5, 0.5]) * y
    parts = np.array_split(r, math.ceil(len(r) / BLOCK))
    return np.concatenate([np.sin(np.outer(part, x)) @ weighted for part in parts])


def even_step(most: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above a step."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= most * (1 + 1e-12))


def _limits(measurement: Measurement, options: DataOptions) -> tuple[Setting, Setting]:
    """Return qmin and qmax, and where they come from."""
    q, path = np.asarray(measurement.q), measurement.name
    found = []
    for name, own, end in (("qmin", options.qmin, q[0]), ("qmax", options.qmax, q[-1])):
        header = measurement.header.get(name)
        if own is not None:
            found.append(Setting(name, float(own), "command line"))
        elif isinstance(header, float):
            found.append(Setting(name, header, "header"))
        else:
            found.append(Setting(name, float(end), "data"))
    low, high = (setting.value for setting in found)
    got = f"{low:g} and {high:g} for {path}, {q[0]:.5g} to {q[-1]:.5g}; pass --qmin and --qmax"
    slack = 2 * float(np.max(np.diff(q)[[0, -1]]))
    within = q[0] - slack <= low < high <= q[-1] + slack
    expect(within, f"qmin < qmax within the data, got {got}")
    count = np.count_nonzero((q >= low) & (q <= high))
    expect(count >= ROWS, f"at least {ROWS} points from qmin to qmax, got {count} with {got}")
    return found[0], found[1]


def _swinging(f: Float[np.ndarray, " q"], path: str) -> np.ndarray:
    """Return F(Q), which swings about 0; refuse what does not."""
    tail = f[len(f) // 2 :]
    swings = (f < 0).any() and abs(tail.mean()) <= 3 * tail.std()
    expect(swings, f"F(Q), which swings about 0, got a curve like S(Q) or I(Q) in {path}; pass another --kind")
    return f


def _reduced(q: Float[np.ndarray, " q"], s: Float[np.ndarray, " q"], path: str) -> tuple[np.ndarray, list[str]]:
    """Return F(Q) of S(Q); some programs write S - 1 and call it S, which the end of the curve shows."""
    mean = float(s[len(s) // 2 :].mean())
    about = round(mean)
    good = about in (0, 1) and abs(mean - about) <= ABOUT
    expect(good, f"S(Q), which goes to 1, got a mean of {mean:.3g} at large Q in {path}; pass S(Q), or F(Q) as .fq")
    return q * (s - about), [] if about else ["S(Q) goes to 0: read as S(Q) - 1"]
