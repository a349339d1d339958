"""The points of a curve over Q: checked once, whatever the format they came in, and cut to a range."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc.data import axis
from jaxstruc.data.measurement import SHARPEST, Measurement, Setting
from jaxstruc.data.text import ROWS, ReadError, expect
from jaxstruc.options.pdf import Kind

SCALES = 1e-30, 1e30
"""Of the largest intensity, whatever its unit; beyond lies damage."""
LEAST = 1e-7
"""1/Å. Least Q: no instrument reaches it."""
LOST = 0.5
"""Largest share of points that may be empty."""
REPEATED = 0.1
"""Largest share of repeated Q."""
NEGATIVE = 5.0
"""Standard errors of its mean by which a tenth of the points is below 0, from which intensities are no noise."""
NAMES = {"gr": "G(r)", "iq": "I(Q)", "sq": "S(Q)", "fq": "F(Q)"}
"""Kinds in words."""
KINDS: tuple[Kind, ...] = ("gr", "iq", "sq", "fq")
TITLE = 50
"""Most characters of a curve's title."""
LISTED = 3
"""Most curves of a file that a refusal names."""
SLITS = "data without slit smearing"
"""What is supported."""


class Columns(NamedTuple):
    """What a file has, as it says it."""

    x: Float[np.ndarray, " point"]
    """The axis in its own unit."""
    intensity: Float[np.ndarray, " point"]
    sigma: Float[np.ndarray, " point"] | None = None
    """Standard error of the intensity; all zero stands for none."""
    dx: Float[np.ndarray, " point"] | None = None
    """Standard deviation of the resolution, in the unit of the axis; all zero stands for none."""
    places: tuple[str, ...] = ()
    """Where each point stands in the file, as "line 5"."""
    unit: str = ""
    """Of the axis, as the file says it."""
    units: str = ""
    """Of the intensity, as the file says them."""
    wavelength: float | None = None
    """Å, as the file says it."""


def intensity_units(words: str) -> str:
    """Return 1/cm, 1/m, m2/g, cm2/g, arbitrary, or "" where words say none of them."""
    plain = words.lower().replace(" ", "").strip("()[]$.")
    plain = plain.translate(str.maketrans("", "", "{}^$")).replace("⁻¹", "-1").replace("²", "2")
    inverse = {"1/cm": "1/cm", "cm-1": "1/cm", "1/m": "1/m", "m-1": "1/m"}
    mass = {"m2/g": "m2/g", "cm2/g": "cm2/g", "m2g-1": "m2/g", "cm2g-1": "cm2/g"}
    none = ("a.u", "au", "arb", "arb.u", "arb.units", "arbitrary", "arbitraryunits", "counts", "count", "none")
    return (inverse | mass | dict.fromkeys(none, "arbitrary")).get(plain, "")


def measured(
    columns: Columns,
    *,
    path: str,
    kind: str = "iq",
    q_unit: str | None = None,
    wavelength: float | None = None,
    header: dict[str, float | str] | None = None,
    form: str,
    sha256: str,
    warnings: Sequence[str] = (),
) -> Measurement:
    """Return the measurement that columns are.

    Args:
        columns: of the file.
        path: of the file, for refusals.
        kind: iq, sq or fq.
        q_unit: as the user says it.
        wavelength: as the user says it, in Å.
        header: what else the file says.
        form: format of the file.
        sha256: of the file.
        warnings: so far.

    Raises:
        ReadError: where the unit of Q is not said, or points are not what they must be.
    """
    _refuse(~np.isfinite(columns.x), "finite Q", columns.x, columns, path)
    scale, said = axis.chosen(
        columns.unit, q_unit=q_unit, wavelength=wavelength, known=columns.wavelength, x=columns.x, path=path
    )
    columns, lost = _without_empty(columns, path, kind)
    _refuse_order(columns, path)
    kept = np.append(True, np.diff(columns.x) > 0)
    expect(kept.sum() >= ROWS, f"at least {ROWS} points, got {kept.sum()} in {path}; check that it is a curve")
    repeats = f"{np.count_nonzero(~kept)} of {len(kept)} repeated in {path}"
    expect(kept.mean() >= 1 - REPEATED, f"each Q once, got {repeats}; merge them, or export Q with more digits")
    said += [f"{np.count_nonzero(~kept)} repeated Q dropped"] if not kept.all() else []
    columns = _chosen(columns, kept)
    _refuse_values(columns.intensity, path, kind)
    q, slope = axis.scattering_vector(columns.x, scale, path)
    within = LEAST <= q[0] and q[-1] <= SHARPEST
    expect(within, f"Q of {LEAST:g} to {SHARPEST:g} 1/Å, got {q[0]:g} to {q[-1]:g} in {path}; check its unit, --q-unit")
    sigma = _errors(columns, path)
    width = _widths(columns, path)
    settings = (Setting("wavelength", scale.wavelength, scale.wavelength_origin),) if scale.wavelength else ()
    units = intensity_units(columns.units) if kind == "iq" else ""
    return Measurement(
        path, np.zeros(0), np.zeros(0), header or {}, f"{form}, {scale.told}", (*warnings, *said, *lost), sha256,
        settings, kind, q, columns.intensity, sigma, None if width is None else width * slope, units,
    )  # fmt: skip


def resolved(measurement: Measurement, *, qmin: float | None = None, qmax: float | None = None) -> Measurement:
    """Return I(Q) from qmin to qmax, both ends included, with both among its settings: the data's where not given.

    Raises:
        ReadError: where it is no I(Q), few points are left, or many of them are below 0 beyond their noise.
    """
    path, kind, q = measurement.name, measurement.kind, measurement.q
    if kind != "iq" or q is None or measurement.intensity is None:
        raise ReadError(f"Expected I(Q), got {NAMES[kind]} in {path}; pass it to jaxstruc solve.")
    given = {"qmin": qmin, "qmax": qmax}
    ends = {"qmin": float(q[0]), "qmax": float(q[-1])}
    found = [
        Setting(name, ends[name], "data") if value is None else Setting(name, float(value), "command line")
        for name, value in given.items()
    ]
    low, high = (setting.value for setting in found)
    said = f"for {path}; pass --qmin and --qmax in 1/Å, within {q[0]:.4g} to {q[-1]:.4g}"
    expect(0 <= low < high < np.inf, f"0 <= qmin < qmax, got {low:g} and {high:g} {said}")
    slack = 1e-9 * high
    inside = (q >= low - slack) & (q <= high + slack)
    expect(inside.sum() >= ROWS, f"at least {ROWS} points from qmin to qmax, got {inside.sum()} {said}")
    cut = chosen(measurement, inside)
    _refuse_negative(cut)
    before = tuple(one for one in measurement.settings if one.name not in given)
    return cut._replace(settings=(*found, *before))


def chosen(measurement: Measurement, which: np.ndarray) -> Measurement:
    """Return a measurement over Q with some of its points."""
    columns = ("q", "intensity", "sigma", "dq")
    some = {name: column[which] for name in columns if (column := getattr(measurement, name)) is not None}
    return measurement._replace(**some)


def chosen_frame(frame: int | None, count: int, name: Callable[[int], str], path: Path) -> int:
    """Return the place of the curve that is asked for among a file's, which are counted from 1.

    Raises:
        ReadError: where there are several and none is asked for, or another than there are.
    """
    if frame is None and count == 1:
        return 0
    places = range(count) if count <= LISTED else (*range(LISTED - 1), count - 1)
    listed = ", ".join(f"{place + 1} {name(place)[:TITLE]}".strip() for place in places)
    if frame is None:
        raise ReadError(f"Expected one curve, got {count} in {path} ({listed}); choose with --frame, as --frame 1.")
    expect(1 <= frame <= count, f"--frame from 1 to {count}, got {frame} for {path} ({listed}); pass another")
    return frame - 1


def refuse_other_unit(name: str, unit: str, of: str, other: str, path: Path) -> None:
    """Refuse an error that is not in the unit of its quantity, where both are said."""
    same = not unit or not other or _plain(unit) == _plain(other)
    expect(same, f"{name} in the unit of {of}, got {unit[:20]} and {other[:20]} in {path}; mend the file")


def _plain(unit: str) -> str:
    return axis.inverse_length(unit) or intensity_units(unit) or unit


def _refuse_negative(measurement: Measurement) -> None:
    """Refuse a curve of which a tenth lies below 0 by more than noise: too much was subtracted, or it is a G(r)."""
    intensity, sigma = np.asarray(measurement.intensity), measurement.sigma
    width = max(len(intensity) // 10, ROWS)
    variance = np.pad(np.diff(intensity, 2), 1, "edge") ** 2 / 6 if sigma is None else sigma**2
    mean, error = (np.convolve(y, np.ones(width), "valid") / width for y in (intensity, variance))
    low = mean < -NEGATIVE * np.sqrt(error / width)
    q = np.asarray(measurement.q)
    for start in np.flatnonzero(low)[:1]:
        stop = start + int(np.argmin(np.append(low[start:], False))) + width - 2
        raise ReadError(
            f"Expected I(Q) above 0 but for noise, got values below 0 from {q[start]:.4g} to {q[stop]:.4g} 1/Å in "
            f"{measurement.name}; subtract less, cut it by --qmin and --qmax, or pass a G(r) to jaxstruc solve."
        )


def _without_empty(columns: Columns, path: str, kind: str) -> tuple[Columns, list[str]]:
    """Return the columns without points that hold no measurement, and warnings that say how many went."""
    x, y, sigma = columns.x, columns.intensity, columns.sigma
    nan, origin = ~np.isfinite(y), x == 0
    empty = np.zeros(len(x), bool)
    if sigma is not None and np.nansum(np.abs(sigma)) > 0:
        empty = (y == 0) & (sigma == 0) & ~origin
    lost = nan | empty | origin
    where = f"{np.count_nonzero(lost)} of {len(lost)} in {path}"
    expect(lost.mean() <= LOST, f"{NAMES[kind]} at most points, got none at {where}; check the file")
    reasons = ((nan, "without a finite value"), (empty & ~nan, "with 0 ± 0"), (origin & ~nan, "at Q = 0"))
    said = [f"points {why} dropped: {np.count_nonzero(which)}" for which, why in reasons if which.any()]
    return _chosen(columns, ~lost), said


def _refuse_order(columns: Columns, path: str) -> None:
    x = columns.x
    _refuse(x < 0, "Q above 0", x, columns, path)
    back = np.append(False, x[1:] < x[:-1])
    for place in np.flatnonzero(back)[:1]:
        where = f"{x[place]:g} after {x[place - 1]:g} {_at(place, columns)} of {path}"
        raise ReadError(f"Expected increasing Q, got {where}; sort the points, or merge the detectors' curves.")


def _refuse_values(y: Float[np.ndarray, " point"], path: str, kind: str) -> None:
    largest = np.abs(y).max()
    low, high = SCALES
    expect(largest == 0 or low <= largest <= high, f"{NAMES[kind]}, got values up to {largest:g} in {path}; check them")
    expect(np.ptp(y) > 0, f"a curve, got the same value at all Q in {path}; export it again")
    expect(kind != "iq" or (y > 0).any(), f"I(Q) above 0, got none in {path}; check which column it is")


def _errors(columns: Columns, path: str) -> Float[np.ndarray, " point"] | None:
    """Return the standard errors, None where all are zero."""
    sigma = columns.sigma
    if sigma is None or not (sigma != 0).any():
        return None
    bad = ~((sigma >= SCALES[0]) & (sigma <= SCALES[1]))
    _refuse(bad, f"sigma above 0, and below {SCALES[1]:g}", sigma, columns, path, "remove these points, or the column")
    return sigma


def _widths(columns: Columns, path: str) -> Float[np.ndarray, " point"] | None:
    """Return the widths of the resolution, None where all are zero; refuse those of slits."""
    width = columns.dx
    if width is None or not (width != 0).any():
        return None
    expect((width < 0).mean() <= LOST, f"{SLITS}, got a negative dQ, a slit's, in {path}; desmear it first")
    ratio = np.median(np.where(np.isfinite(width), width, 0.0) / columns.x)
    expect(ratio < 1, f"dQ below Q, got {ratio:.3g} times Q in {path}; name the columns in a header, as Q I sigma")
    bad = ~((width >= 0) & (width <= columns.x[-1]))
    _refuse(bad, "dQ from 0 to the largest Q", width, columns, path, "mend these points, or remove them")
    return width


def _chosen(columns: Columns, which: np.ndarray) -> Columns:
    """Return some of the points."""
    x, y, sigma, dx, places = columns[:5]
    some = [None if column is None else column[which] for column in (sigma, dx)]
    return columns._replace(
        x=x[which], intensity=y[which], sigma=some[0], dx=some[1],
        places=tuple(places[place] for place in np.flatnonzero(which)) if places else (),
    )  # fmt: skip


def _refuse(
    bad: np.ndarray, expected: str, values: np.ndarray, columns: Columns, path: str, step: str = "remove these points"
) -> None:
    """Refuse bad points: say the first, and how many there are."""
    for place in np.flatnonzero(bad)[:1]:
        count = f", the first of {bad.sum()}" if bad.sum() > 1 else ""
        raise ReadError(f"Expected {expected}, got {values[place]:g} {_at(place, columns)} of {path}{count}; {step}.")


def _at(place: int, columns: Columns) -> str:
    return f"in {columns.places[place]}" if columns.places else f"at point {place + 1}"
