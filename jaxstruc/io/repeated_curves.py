"""Mean of repeated curves, e.g. of the frames of one measurement, with a standard error from their spread."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxstruc.io.columns import expect
from jaxstruc.io.measurement import Measurement, Setting

AXIS_TOLERANCE = 1e-6
"""Largest relative difference between the axes of curves that are averaged."""
SPREAD_WINDOW = 11
"""Number of neighbouring points over which the variance of I(Q) between few curves is averaged."""
AVERAGED = "averaged"
"""Name of the setting that has the number of averaged curves."""


def average(measurements: Sequence[Measurement]) -> Measurement:
    """Return the mean of repeated curves with equal settings, under the name of the first.

    If all curves have standard errors, those of the mean follow from them. Otherwise the spread of the curves gives
    them: one value for a G(r), whose noise has the same size at all r, and the mean over neighbouring points for I(Q).

    Raises:
        ReadError: If the curves have different kinds, axes or settings.
    """
    first, n_curves = measurements[0], len(measurements)
    if n_curves == 1:
        return first
    axes = [_axis(measurement) for measurement in measurements]
    settings = [_comparable_settings(measurement) for measurement in measurements]
    for measurement, axis, other_settings in zip(measurements, axes, settings, strict=True):
        is_equal = len(axis) == len(axes[0]) and np.allclose(axis, axes[0], rtol=AXIS_TOLERANCE, atol=AXIS_TOLERANCE)
        problem = f"other ones in {measurement.name} than in {first.name}; leave out --average, or sort the files"
        expect(is_equal and measurement.kind == first.kind, f"curves over equal points to average, got {problem}")
        expect(other_settings == settings[0], f"curves with equal settings to average, got {problem}")
    values = np.stack([_values(measurement) for measurement in measurements])
    spread = np.sqrt(values.var(axis=0, ddof=1) / n_curves)
    has_errors = all(measurement.sigma is not None for measurement in measurements)
    sigma = np.sqrt(sum(np.asarray(entry.sigma) ** 2 for entry in measurements)) / n_curves if has_errors else None
    names = f"{Path(first.name).name} to {Path(measurements[-1].name).name}"
    frames = [measurement.settings_by_name.get("frame") for measurement in measurements]
    if frames[0] is not None:
        names = f"curves {frames[0]:.0f} to {frames[-1]:.0f} of {Path(first.name).name}"
    remark = f"mean of {n_curves} curves ({names}), whose spread gives a standard error of {_rms(spread):.3g}"
    warnings = dict.fromkeys(text for measurement in measurements for text in measurement.warnings)
    averaged = first._replace(
        sha256=hashlib.sha256(" ".join(measurement.sha256 for measurement in measurements).encode()).hexdigest(),
        settings=(*first.settings, Setting(AVERAGED, float(n_curves), "command line")),
        warnings=(remark, *warnings),
    )
    if first.kind != "gr":
        return averaged._replace(intensity=values.mean(axis=0), sigma=_smoothed(spread) if sigma is None else sigma)
    return _with_error(averaged._replace(g=values.mean(axis=0), sigma=sigma), _rms(spread), n_curves)


def _with_error(averaged: Measurement, spread: float, n_curves: int) -> Measurement:
    """Return a mean G(r) with the setting that states the root mean square of its standard errors and their origin."""
    origins = {setting.name: setting.origin for setting in averaged.settings}
    value, origin = (
        (spread, f"spread of {n_curves} curves")
        if averaged.sigma is None
        else (_rms(averaged.sigma), origins["sigma_g"])
    )
    settings = [setting for setting in averaged.settings if setting.name != "sigma_g"]
    return averaged._replace(settings=(*settings, Setting("sigma_g", value, origin)))


def _axis(measurement: Measurement) -> np.ndarray:
    return measurement.r if measurement.q is None else measurement.q


def _values(measurement: Measurement) -> np.ndarray:
    return measurement.g if measurement.intensity is None else measurement.intensity


def _comparable_settings(measurement: Measurement) -> dict[str, float]:
    """Return the settings that averaged curves must share."""
    return {
        name: value for name, value in measurement.settings_by_name.items() if name not in ("frame", "sigma_g", "rstep")
    }


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _smoothed(spread: np.ndarray) -> np.ndarray:
    """Return standard errors whose variances are means over neighbouring points."""
    half_width = SPREAD_WINDOW // 2
    padded_variance = np.pad(spread**2, half_width, mode="reflect")
    return np.sqrt(np.convolve(padded_variance, np.full(SPREAD_WINDOW, 1 / SPREAD_WINDOW), mode="valid"))
