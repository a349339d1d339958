"""A measurement: what was measured, and the settings that go with it, each with where it came from.

Headers give qmin and qmax but seldom qdamp; rmin and rmax here are the range of the fit. Lengths in Å, Q in 1/Å, G in
1/Å².
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from jaxstruc.data.text import ROWS, ReadError, expect
from jaxstruc.options.pdf import DataOptions
from jaxstruc.scattering.parameters import PARAMETERS

FAST = 0.3
"""Share of power beyond 1.5 qmax from which r is not in Å. Four measured PDFs: below 0.001; in nm above 0.59."""
FARTHEST = 500.0
"""Å. End of the longest data; with the next, it bounds a fit's work and memory."""
SHARPEST = 100.0
"""1/Å. Largest qmax."""
WIDEST = 1.0
"""1/Å. Largest qdamp and qbroad: G(r) has no second peak then."""
NEAR = 20.0
"""Å of data, from their start, for that share: farther out a nanoparticle's PDF is noise alone."""


class Setting(NamedTuple):
    """A setting, and where it came from."""

    name: str
    value: float
    origin: str
    """ "command line", "header", "data", "default" or "default, cut to the data"."""


class Measurement(NamedTuple):
    """A measured curve: a PDF, or a curve over Q, whose r and g are then empty."""

    name: str
    """Of the file, as it was given."""
    r: np.ndarray
    """[point] Å, strictly increasing."""
    g: np.ndarray
    """[point] 1/Å²"""
    header: dict[str, float | str]
    """What the header says that is known here; never its paths."""
    format: str = "bare"
    """Program that wrote the file, or "bare"."""
    warnings: tuple[str, ...] = ()
    sha256: str = ""
    """Of the file's bytes."""
    settings: tuple[Setting, ...] = ()
    """With their origins; complete once `resolved`."""
    kind: str = "gr"
    """ "gr": G(r); "iq", "sq", "fq": I(Q), S(Q) or F(Q) = Q(S-1)."""
    q: np.ndarray | None = None
    """[point] 1/Å, strictly increasing, above 0; None for G(r), as are the next three."""
    intensity: np.ndarray | None = None
    """[point] I, S or F (1/Å) by kind."""
    sigma: np.ndarray | None = None
    """[point] Its standard error, above 0; None where the file has none."""
    dq: np.ndarray | None = None
    """[point] 1/Å, standard deviation of the pinhole resolution; None where the file has none."""
    units: str = ""
    """Of the intensity, as the file says: "1/cm", "1/m", "m2/g", "cm2/g", "arbitrary"; "" where it does not say."""

    @property
    def given(self) -> dict[str, float]:
        """The settings' values by name."""
        return {setting.name: setting.value for setting in self.settings}

    @property
    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """R in Å and G(r) in the range of the fit, both ends included."""
        given = self.given
        slack = 1e-6 * given["rstep"]
        inside = (self.r >= given["rmin"] - slack) & (self.r <= given["rmax"] + slack)
        return self.r[inside], self.g[inside]


def resolved(measurement: Measurement, options: DataOptions, *, bond: float) -> Measurement:
    """Return a measurement with qmin, qmax, qdamp, qbroad, rmin, rmax and rstep among its settings.

    Args:
        measurement: the data.
        options: the user's values. They override the header.
        bond: nearest-neighbour distance of the sample, in Å.

    Raises:
        ReadError: where Q limits are missing, or settings and data contradict each other.
    """
    header = measurement.header
    given = asdict(options)
    path = measurement.name
    ends = {one.name: one for one in measurement.settings if one.origin == "data" and given.get(one.name) is None}
    found = {
        name: ends.get(name) or _setting(name, given[name], header.get(name), path)
        for name in ("qmin", "qmax", "qdamp", "qbroad")
    }
    found |= {name: _setting(name, given[name], None, path) for name in ("rmin", "rmax")}
    start, end = float(measurement.r[0]), float(measurement.r[-1])
    if found["rmax"].origin == "default" and found["rmax"].value > end:
        found["rmax"] = Setting("rmax", end, "default, cut to the data")
    if found["rmin"].origin == "default" and found["rmin"].value < start:
        found["rmin"] = Setting("rmin", start, "default, cut to the data")
    found["rstep"] = Setting("rstep", float(np.median(np.diff(measurement.r))), "data")
    value = {name: setting.value for name, setting in found.items()}
    _refuse_settings(value, path)
    _refuse_range(measurement.r, value, bond, path)
    _refuse_grid(measurement.r, measurement.g, value, path)
    more = (setting for setting in measurement.settings if setting.name not in found)
    return measurement._replace(settings=(*found.values(), *more))


def contradicted(measurement: Measurement, element: str) -> list[str]:
    """Return a warning where the header's composition does not hold the element."""
    composition = str(measurement.header.get("composition", ""))
    named = re.findall("[A-Z][a-z]?", composition)
    return [f"the header says {composition}, --element {element}"] if named and element not in named else []


def fast_share(r: np.ndarray, g: np.ndarray, q: float) -> float:
    """Return the share of the power of the near part of G(r) at frequencies above q, in 1/Å."""
    g = g[r - r[0] <= NEAR]
    power = np.abs(np.fft.rfft(g - g.mean())) ** 2
    frequency = 2 * np.pi * np.fft.rfftfreq(len(g), (r[-1] - r[0]) / (len(r) - 1))
    return float(power[frequency > q].sum() / max(power.sum(), 1e-300))


def _setting(name: str, given: float | None, header: float | str | None, path: str) -> Setting:
    if given is not None:
        return Setting(name, float(given), "command line")
    if isinstance(header, float):
        return Setting(name, header, "header")
    if (default := PARAMETERS[name].default) is not None:
        return Setting(name, default, "default")
    raise ReadError(
        f"Expected {name} in the header or the command, got neither for {path}; pass --qmin and --qmax in 1/Å."
    )


def _refuse_settings(value: Mapping[str, float], path: str) -> None:
    for name in value:
        expect(np.isfinite(value[name]), f"a finite {name}, got {value[name]}; correct --{name} for {path}")
    qmin, qmax, qdamp, qbroad = (value[name] for name in ("qmin", "qmax", "qdamp", "qbroad"))
    expect(0 <= qmin < qmax, f"0 <= qmin < qmax, got {qmin:g} and {qmax:g} 1/Å for {path}; pass --qmin and --qmax")
    got = f"{qdamp:g} and {qbroad:g} for {path}; correct them"
    expect(min(qdamp, qbroad) >= 0, f"qdamp and qbroad of at least 0, got {got}")
    expect(max(qdamp, qbroad) <= WIDEST, f"qdamp and qbroad of at most {WIDEST:g} 1/Å, got {got}")


def _refuse_range(r: np.ndarray, value: Mapping[str, float], bond: float, path: str) -> None:
    rmin, rmax, half = value["rmin"], value["rmax"], value["rstep"] / 2
    expect(
        r[-1] >= 1.2 * bond,
        f"data beyond one bond of {bond:.2f} Å, got r up to {r[-1]:g} in {path}: shorter than one bond, or in nm; "
        "if in nm, multiply r by 10",
    )
    expect(r[-1] <= FARTHEST, f"r in Å, up to {FARTHEST:g}, got {r[-1]:g} in {path}; check its unit, or cut it")
    expect(rmin < rmax, f"rmin < rmax, got {rmin:g} and {rmax:g} Å for {path}; pass --rmin and --rmax")
    expect(
        r[0] - half <= rmin and rmax <= r[-1] + half,
        f"rmin and rmax within the data, {r[0]:g} to {r[-1]:g} Å, got {rmin:g} and {rmax:g} for {path}; "
        "pass --rmin and --rmax",
    )
    inside = np.count_nonzero((r >= rmin - half) & (r <= rmax + half))
    expect(inside >= ROWS, f"at least {ROWS} points from rmin to rmax, got {inside} in {path}; widen the range")


def _refuse_grid(r: np.ndarray, g: np.ndarray, value: Mapping[str, float], path: str) -> None:
    qmax, step, steps = value["qmax"], value["rstep"], np.diff(r)
    expect(
        step <= np.pi / qmax,
        f"a step in r of at most pi/qmax = {np.pi / qmax:.3g} Å, got {step:.3g} in {path}; export a finer grid, "
        "or correct --qmax",
    )
    expect(qmax <= SHARPEST, f"qmax of at most {SHARPEST:g} 1/Å, got {qmax:g} for {path}; correct --qmax")
    expect(
        np.abs(steps - step).max() <= 0.2 * step,
        f"evenly spaced r, got steps of {steps.min():.3g} to {steps.max():.3g} Å in {path}; export an even grid",
    )
    expect(
        fast_share(r, g, 1.5 * qmax) <= FAST,
        f"r in Å, got a curve in {path} that varies faster than qmax = {qmax:g} 1/Å allows: r looks like nanometres; "
        "multiply r by 10, or correct --qmax",
    )
