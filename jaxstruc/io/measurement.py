"""A measured curve with its settings. Each setting records its origin, e.g. the header of the file.

The settings qmin and qmax are the limits of the Q range from which G(r) was computed, or of the range of I(Q) that is
fitted. The settings qdamp and qbroad describe the resolution of the instrument. The settings rmin and rmax are the
limits of the range of G(r) that is fitted. Headers often state qmin and qmax but seldom qdamp. Lengths are in Å, Q is
in 1/Å and G(r) is in 1/Å².
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from jaxstruc.io.columns import MIN_ROWS, ReadError, expect
from jaxstruc.options.pdf import DataOptions
from jaxstruc.parameters import PARAMETERS

MAX_FAST_POWER_SHARE = 0.3
"""Largest share of the power of G(r) at frequencies above 1.5 qmax. A larger share shows that r is not in Å.

For four measured PDFs, the share is below 0.001 if r is in Å, and above 0.59 if r is in nm.
"""
MAX_R = 500.0
"""Largest r of the data, in Å. Together with `MAX_QMAX`, it limits the time and memory of a fit."""
MAX_QMAX = 100.0
"""Largest qmax, in 1/Å."""
MAX_QDAMP = 1.0
"""Largest qdamp and qbroad, in 1/Å. At this value, the damping leaves no second peak in G(r)."""
NYQUIST_TOLERANCE = 2e-3
"""Largest excess of the step in r over pi/qmax, relative to pi/qmax. The stated qmax may be rounded."""
MAX_PRINTED_DIGITS = 5
"""Largest number of decimals of r at which r is considered to be rounded."""
MIN_ROUNDING = 0.01
"""Smallest deviation of rounded r from an evenly spaced grid, in units of its step, at which r is replaced by the grid.
"""
UNIT_CHECK_RANGE = 20.0
"""Length of the range of r, in Å from the first point, in which the power of G(r) is computed.

At larger r, a PDF may be only noise.
"""


LIGAND_ELEMENTS = frozenset({"H", "C", "N", "O", "S", "P"})
"""Elements of ligands, which scatter weakly compared with a metal core."""
NOBLE_METALS = frozenset({"Ru", "Rh", "Pd", "Ag", "Os", "Ir", "Pt", "Au"})
"""Metals that form no carbides or nitrides under usual conditions."""
MIN_COMPOUND_RATIO = 0.4
"""Smallest number of nonmetal atoms per metal atom in an oxide, sulphide, phosphide, nitride or carbide of a metal.

For example, the number is 0.5 in Cu2O.
"""
MIN_CLUSTER_FORMULA_ATOMS = 10
"""Smallest number of metal atoms at which a formula describes a cluster with ligands and not a compound."""
ORGANIC_GROUPS = {"D": ("H",), "R": ("C", "H"), "Ph": ("C", "H"), "Me": ("C", "H"), "Et": ("C", "H"), "Bu": ("C", "H")}
"""Symbols in formulas that are not elements, e.g. Ph for a phenyl group, and the elements that they stand for."""


class CompositionRemark(NamedTuple):
    """Remark on the composition that the header states."""

    text: str
    is_compound: bool
    """Whether a model of one element cannot describe the sample, e.g. an oxide or an alloy."""


class Setting(NamedTuple):
    """A setting and its origin."""

    name: str
    value: float
    origin: str
    """Origin: "command line", "header", "data", "default" or "default, cut to the data"."""


class Measurement(NamedTuple):
    """A measured curve: G(r), or a curve over Q. For a curve over Q, `r` and `g` are empty."""

    name: str
    """Path of the file, as the user gave it."""
    r: np.ndarray
    """Distances r in Å, strictly increasing [point]."""
    g: np.ndarray
    """Pair distribution function G(r) in 1/Å² [point]."""
    header: dict[str, float | str]
    """Known settings that the header states, without paths. `converted_from` names the function of r, e.g. G_k(r), from
    which G(r) was computed up to an unknown factor."""
    format: str = "bare"
    """Name of the program or format that wrote the file, or "bare" if it is unknown."""
    warnings: tuple[str, ...] = ()
    sha256: str = ""
    """Checksum of the content of the file."""
    settings: tuple[Setting, ...] = ()
    """Settings with their origins. `resolve_settings` completes them."""
    kind: str = "gr"
    """Kind of the curve: gr is G(r), iq is I(Q), sq is S(Q) and fq is F(Q) = Q(S-1)."""
    q: np.ndarray | None = None
    """Scattering vectors Q in 1/Å, strictly increasing and above 0 [point]. None for a G(r)."""
    intensity: np.ndarray | None = None
    """Values of the curve [point]: I(Q) in `intensity_unit`, S(Q), or F(Q) in 1/Å. None for a G(r)."""
    sigma: np.ndarray | None = None
    """Standard error of `intensity`, or of `g` for a G(r) [point]. None if the file has none, or if it is constant."""
    dq: np.ndarray | None = None
    """Standard deviation of the pinhole resolution in 1/Å [point]. None if the file has none, and for a G(r)."""
    intensity_unit: str = ""
    """Unit of I(Q): "1/cm", "m2/g", "cm2/g", "arbitrary", or "" if the file states none.

    The readers convert I(Q) in 1/mm or 1/m to 1/cm.
    """

    @property
    def settings_by_name(self) -> dict[str, float]:
        """Value of each setting by name."""
        return {setting.name: setting.value for setting in self.settings}

    @property
    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances r in Å, and G(r) in 1/Å², in the range of the fit including both ends."""
        return self.r[self._in_range], self.g[self._in_range]

    @property
    def _in_range(self) -> np.ndarray:
        """Whether each point is in the range of the fit."""
        settings = self.settings_by_name
        tolerance = 1e-6 * settings["rstep"]
        return (self.r >= settings["rmin"] - tolerance) & (self.r <= settings["rmax"] + tolerance)

    @property
    def errors(self) -> np.ndarray | None:
        """Standard errors of G(r) in the range of the fit, in 1/Å²; None if the file has none."""
        return None if self.sigma is None else self.sigma[self._in_range]

    def relative_to_errors(self, values: np.ndarray, *, in_range: bool = False) -> np.ndarray:
        """Return values in units of the standard errors of G(r); unchanged if the file has no errors.

        Args:
            values: Values at all points, or at the points of the fit.
            in_range: Whether the values are at the points of the fit.
        """
        errors = self.errors if in_range else self.sigma
        if errors is None:
            return values
        return np.divide(values, errors, out=np.zeros_like(values), where=errors > 0)


def resolve_settings(measurement: Measurement, options: DataOptions, *, bond: float) -> Measurement:
    """Return a G(r) with qmin, qmax, qdamp, qbroad, rmin, rmax and rstep among its settings.

    Values of r whose steps are uneven because of rounding are replaced by evenly spaced r.

    Args:
        measurement: Measured G(r).
        options: Settings of the user, which override the header.
        bond: Nearest-neighbour distance of the sample, in Å.

    Raises:
        ReadError: If qmin or qmax is not known, or if settings and data contradict each other.
    """
    header = measurement.header
    measurement = measurement._replace(r=_without_rounding(measurement.r))
    user_settings = asdict(options)
    path = measurement.name
    data_limits = {
        data_setting.name: data_setting
        for data_setting in measurement.settings
        if data_setting.origin == "data" and user_settings.get(data_setting.name) is None
    }
    settings = {
        name: data_limits.get(name) or _resolve_setting(name, user_settings[name], header.get(name), path)
        for name in ("qmin", "qmax", "qdamp", "qbroad")
    }
    settings |= {name: _resolve_setting(name, user_settings[name], None, path) for name in ("rmin", "rmax")}
    start, end = float(measurement.r[0]), float(measurement.r[-1])
    if settings["rmax"].origin == "default" and settings["rmax"].value > end:
        settings["rmax"] = Setting("rmax", end, "default, cut to the data")
    if settings["rmin"].origin == "default" and settings["rmin"].value < start:
        settings["rmin"] = Setting("rmin", start, "default, cut to the data")
    settings["rstep"] = Setting("rstep", float(np.median(np.diff(measurement.r))), "data")
    values = {name: setting.value for name, setting in settings.items()}
    _refuse_settings(values, path)
    _refuse_range(measurement.r, values, bond, path)
    _refuse_grid(measurement.r, measurement.g, values, path)
    _refuse_errors(measurement, values)
    other_settings = (setting for setting in measurement.settings if setting.name not in settings)
    return measurement._replace(settings=(*settings.values(), *other_settings))


def composition_remark(measurement: Measurement, element: str) -> CompositionRemark | None:
    """Return a remark if the composition in the header has elements that the model does not have, otherwise None.

    The model has only `element`.
    """
    composition = str(measurement.header.get("composition", ""))
    counts = _element_counts(composition)
    other_elements = [symbol for symbol in counts if symbol != element]
    if not other_elements:
        return None
    stated = f"the header states the composition {composition}"
    if element not in counts and len(counts) == 1:
        return CompositionRemark(
            f"{stated}, but the model has {element}: check the element (--element, or that of the structure files)",
            is_compound=False,
        )
    if element in counts and _are_ligands(counts, element):
        return CompositionRemark(
            f"{stated}, but the model has only {element}: n_atoms is the number of {element} atoms, and distances to "
            f"{', '.join(other_elements)} are not described",
            is_compound=False,
        )
    return CompositionRemark(
        f"{stated}, but the model has only {element}: its structure and size are not those of the sample (jaxstruc "
        "simulate computes PDFs of structures with several elements)",
        is_compound=True,
    )


def _element_counts(composition: str) -> dict[str, float]:
    """Return the number of atoms of each element in a formula, e.g. Au92S44 or Cd Se.

    Words and unknown symbols are left out. Organic groups are replaced by C and H. A group in brackets is counted once,
    even if a number follows it.
    """
    from ase.data import atomic_numbers

    counts: dict[str, float] = {}
    formula = re.sub(r"(?<=[A-Za-z)\d])x(?![a-z])", "", composition)  # a variable, e.g. x in TiOx
    for symbol, number in re.findall(r"([A-Z][a-z]?)(?![a-z])\s*(\d*\.?\d*)", formula):
        for name in ORGANIC_GROUPS.get(symbol, (symbol,)):
            if atomic_numbers.get(name, 0) > 0:
                counts[name] = counts.get(name, 0.0) + (float(number) if number not in ("", ".") else 1.0)
    return counts


def _are_ligands(counts: Mapping[str, float], element: str) -> bool:
    """Return whether a formula describes a metal core with ligands and not a compound, e.g. an oxide or an alloy.

    The formula of a cluster with ligands has many atoms of the metal, e.g. Au25S18, or it has an organic part. The
    formula of a compound has few atoms of the metal, e.g. Cu2O, or more atoms of the other element.

    Args:
        counts: Number of atoms of each element in the formula.
        element: Metal of the core.
    """
    other_elements = set(counts) - {element}
    if element in LIGAND_ELEMENTS or not other_elements <= LIGAND_ELEMENTS:
        return False
    if other_elements == {"H"} or {"C", "H"} <= other_elements:
        return True
    if element in NOBLE_METALS and other_elements <= {"C", "N", "H"}:
        return True
    ratio = max(counts[symbol] for symbol in other_elements - {"H"}) / max(counts[element], 1e-9)
    return ratio < MIN_COMPOUND_RATIO or (ratio <= 1 and counts[element] >= MIN_CLUSTER_FORMULA_ATOMS)


def fast_power_share(r: np.ndarray, g: np.ndarray, q: float) -> float:
    """Return the share of the power of G(r) at frequencies above q (in 1/Å).

    Only the points within `UNIT_CHECK_RANGE` from the first point are used.
    """
    g = g[r - r[0] <= UNIT_CHECK_RANGE]
    power = np.abs(np.fft.rfft(g - g.mean())) ** 2
    frequency = 2 * np.pi * np.fft.rfftfreq(len(g), (r[-1] - r[0]) / (len(r) - 1))
    return float(power[frequency > q].sum() / max(power.sum(), 1e-300))


def _printed_unit(r: np.ndarray) -> float:
    """Return the value of one unit in the last printed digit of r, e.g. 0.01 Å, or 0 if r has many digits."""
    for n_digits in range(MAX_PRINTED_DIGITS + 1):
        if np.abs(r - np.round(r, n_digits)).max() < 1e-9:
            return 10.0**-n_digits
    return 0.0


def _without_rounding(r: np.ndarray) -> np.ndarray:
    """Return evenly spaced r if rounding made the steps of r uneven, otherwise return r unchanged."""
    index = np.arange(len(r))
    step, start = np.polyfit(index, r, 1) if r[0] != 0 else (index @ r / (index @ index), 0.0)
    even_r = start + step * index
    deviation = np.abs(r - even_r).max()
    is_rounded = MIN_ROUNDING * step < deviation <= 0.6 * _printed_unit(r) < step
    return np.maximum(even_r, 0.0) if is_rounded else r


def _resolve_setting(name: str, user_value: float | None, header_value: float | str | None, path: str) -> Setting:
    if user_value is not None:
        return Setting(name, float(user_value), "command line")
    if isinstance(header_value, float):
        return Setting(name, header_value, "header")
    if (default := PARAMETERS[name].default) is not None:
        return Setting(name, default, "default")
    raise ReadError(
        f"Expected {name} in the header or the command, got none for {path}; pass --qmin and --qmax in 1/Å."
    )


def _refuse_settings(values: Mapping[str, float], path: str) -> None:
    for name in values:
        expect(np.isfinite(values[name]), f"a finite {name}, got {values[name]}; correct --{name} for {path}")
    qmin, qmax, qdamp, qbroad = (values[name] for name in ("qmin", "qmax", "qdamp", "qbroad"))
    expect(0 <= qmin < qmax, f"0 <= qmin < qmax, got {qmin:g} and {qmax:g} 1/Å for {path}; pass --qmin and --qmax")
    problem = f"{qdamp:g} and {qbroad:g} 1/Å for {path}; correct them"
    expect(min(qdamp, qbroad) >= 0, f"qdamp and qbroad of at least 0, got {problem}")
    expect(max(qdamp, qbroad) <= MAX_QDAMP, f"qdamp and qbroad of at most {MAX_QDAMP:g} 1/Å, got {problem}")


def _refuse_range(r: np.ndarray, values: Mapping[str, float], bond: float, path: str) -> None:
    rmin, rmax, half_step = values["rmin"], values["rmax"], values["rstep"] / 2
    expect(
        r[-1] >= 1.2 * bond,
        f"data that extend beyond the nearest-neighbour distance of {bond:.2f} Å, got r up to {r[-1]:g} in {path}; "
        "if r is in nm, multiply it by 10",
    )
    expect(r[-1] <= MAX_R, f"r in Å of at most {MAX_R:g}, got {r[-1]:g} in {path}; check the unit, or cut the data")
    expect(rmin < rmax, f"rmin < rmax, got {rmin:g} and {rmax:g} Å for {path}; pass --rmin and --rmax")
    expect(
        r[0] - half_step <= rmin and rmax <= r[-1] + half_step,
        f"rmin and rmax within the data, {r[0]:g} to {r[-1]:g} Å, got {rmin:g} and {rmax:g} for {path}; "
        "pass --rmin and --rmax",
    )
    n_inside = np.count_nonzero((r >= rmin - half_step) & (r <= rmax + half_step))
    expect(
        n_inside >= MIN_ROWS,
        f"at least {MIN_ROWS} points from rmin to rmax, got {n_inside} in {path}; decrease --rmin or increase --rmax",
    )


def _refuse_errors(measurement: Measurement, values: Mapping[str, float]) -> None:
    """Raise `ReadError` if a standard error that a fit may use is 0. At r = 0 both G(r) and its error are 0."""
    if measurement.sigma is None:
        return
    is_used = (measurement.r >= values["rmin"] - values["rstep"] / 2) & (measurement.r > 0)
    zeros = np.flatnonzero(is_used & ~(measurement.sigma > 0))
    expect(
        len(zeros) == 0,
        f"standard errors of G(r) above 0, got 0 at {len(zeros)} of {is_used.sum()} points of {measurement.name}, "
        f"first at r = {measurement.r[zeros[:1]].sum():g} Å; correct the column, or remove it",
    )


def _refuse_grid(r: np.ndarray, g: np.ndarray, values: Mapping[str, float], path: str) -> None:
    qmax, step, steps = values["qmax"], values["rstep"], np.diff(r)
    mean_step = float(r[-1] - r[0]) / len(steps)
    max_step = np.pi / qmax * (1 + NYQUIST_TOLERANCE) + _printed_unit(r) / len(steps)
    expect(
        mean_step <= max_step,
        f"a step in r of at most pi/qmax = {np.pi / qmax:.4g} Å, got {mean_step:.4g} in {path}; export a finer grid, "
        "or correct --qmax",
    )
    expect(qmax <= MAX_QMAX, f"qmax of at most {MAX_QMAX:g} 1/Å, got {qmax:g} for {path}; correct --qmax")
    expect(
        np.abs(steps - step).max() <= 0.2 * step,
        f"evenly spaced r, got steps of {steps.min():.3g} to {steps.max():.3g} Å in {path}; export an evenly spaced r",
    )
    expect(
        fast_power_share(r, g, 1.5 * qmax) <= MAX_FAST_POWER_SHARE,
        f"r in Å, got a curve in {path} that varies faster than qmax = {qmax:g} 1/Å allows, as if r were in nm; "
        "multiply r by 10, or correct --qmax",
    )
