r"""The unit of the axis of a curve over Q, and the conversion of the axis to Q in 1/Å.

A scattering angle $2\theta$ becomes $Q = (4\pi/\lambda) \sin\theta$ with the wavelength $\lambda$. A unit or wavelength
that neither the file nor the user states is an error.
"""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc.io.columns import ReadError, expect

Q_UNITS = {"1/Å": 1.0, "1/nm": 0.1, "1/m": 1e-10}
"""Value of each unit of Q, in 1/Å."""
ANGLE_UNIT = "2theta"
"""Unit of an axis that is the scattering angle in degrees."""
WAVELENGTH_RANGE = 0.01, 50.0
"""Range of the wavelengths of X-rays and neutrons, in Å."""
PLACEHOLDER_WAVELENGTH = 0.1
"""Wavelength, in Å, that PDF programs write in a header if the user gave none."""

_INVERSE_LENGTH = re.compile(r"(?:1/(?P<over>[a-zåµ]+)|(?P<power>[a-zåµ]+)\^?[-⁻](?:1|¹)|inverse(?P<word>[a-zåµ]+))")
_LENGTH_SPELLINGS = {
    "Å": ("å", "a", "aa", "ang", "angstrom", "angstroms", "ångström", "ångstrom", "angström"),
    "nm": ("nm", "nanometre", "nanometres", "nanometer", "nanometers"),
    "m": ("m", "metre", "metres", "meter", "meters"),
}
_LENGTH_BY_WORD = {word: name for name, spellings in _LENGTH_SPELLINGS.items() for word in spellings}
_ANGLE_LABELS = ("2theta", "2thetaangle", "twotheta", "2th", "tth", "2θ", "angle", "scatteringangle")
_DEGREE_WORDS = {"deg", "degree", "degrees", "°"}


class Axis(NamedTuple):
    """Unit of an axis, and the wavelength if the axis is an angle."""

    unit: str
    """Unit: a key of `Q_UNITS`, or `ANGLE_UNIT`."""
    origin: str
    """Origin of the unit: "header" or "command line"."""
    wavelength: float | None = None
    """Wavelength in Å, None if the axis is not an angle."""
    wavelength_origin: str = ""
    """Origin of the wavelength: "header" or "command line"."""

    @property
    def description(self) -> str:
        """Unit and its origin, e.g. "Q in 1/nm by the header"."""
        return f"{'Q in ' if self.unit != ANGLE_UNIT else ''}{self.unit} by the {self.origin}"


def inverse_length(text: str) -> str:
    """Return the unit that a text such as A^-1, 1/nm or nm⁻¹ stands for, in the form 1/Å, or "" if it is unknown."""
    normalised_text = re.sub(
        r"[\s${}()\[\]_\\]", "", text.lower().replace("\\aa", "å").replace("\N{ANGSTROM SIGN}", "å")
    )
    match = _INVERSE_LENGTH.fullmatch(normalised_text)
    name = _LENGTH_BY_WORD.get(next(filter(None, match.groups()))) if match else None
    return f"1/{name}" if name else ""


def angle_unit(name: str, unit: str) -> str:
    """Return "2theta" if the name and the unit of a label stand for a scattering angle in degrees, otherwise ""."""
    is_angle = re.sub(r"[\s_-]", "", name.lower()) in _ANGLE_LABELS
    return ANGLE_UNIT if is_angle and unit.lower().strip(" ()[].") in _DEGREE_WORDS else ""


def choose_axis(
    stated_unit: str,
    *,
    q_unit: str | None,
    wavelength: float | None,
    stated_wavelength: float | None = None,
    x: Float[np.ndarray, " point"],
    path: str,
) -> tuple[Axis, list[str]]:
    """Return the unit and the wavelength of an axis, and warnings.

    Args:
        stated_unit: Unit that the file states, or "".
        q_unit: Unit that the user gives. It overrides the file.
        wavelength: Wavelength in Å that the user gives.
        stated_wavelength: Wavelength in Å that the file states.
        x: Values of the axis, for the message.
        path: Path of the file, for the message.

    Raises:
        ReadError: If the unit, or the wavelength of an angle, is not known.
    """
    user_unit = {"1/A": "1/Å", None: ""}.get(q_unit, q_unit) or ""
    expect(
        user_unit in ("", ANGLE_UNIT, *Q_UNITS),
        f"--q-unit 1/Å, 1/nm or 2theta, got {user_unit} for {path}; pass one of these",
    )
    x_range = f"{np.nanmin(x):g} to {np.nanmax(x):g}"
    expect(
        bool(user_unit or stated_unit),
        f"the unit of Q in the file or the command, got none for the values {x_range} in {path}; pass --q-unit 1/A, "
        "--q-unit 1/nm, or --q-unit 2theta with --wavelength",
    )
    unit, origin = (user_unit, "command line") if user_unit else (stated_unit, "header")
    warnings = (
        [f"the file states Q in {stated_unit}, but --q-unit {user_unit} is used"]
        if user_unit and stated_unit not in ("", user_unit)
        else []
    )
    if unit != ANGLE_UNIT:
        return Axis(unit, origin), warnings
    used_wavelength, wavelength_origin = (
        (wavelength, "command line") if wavelength is not None else (stated_wavelength, "header")
    )
    if used_wavelength is None or (wavelength_origin == "header" and used_wavelength == PLACEHOLDER_WAVELENGTH):
        problem = (
            "none"
            if used_wavelength is None
            else f"only {used_wavelength:g} Å, which PDF programs write for an unknown wavelength,"
        )
        raise ReadError(f"Expected a wavelength with 2theta, got {problem} for {path}; pass --wavelength in Å.")
    expect(
        WAVELENGTH_RANGE[0] <= used_wavelength <= WAVELENGTH_RANGE[1],
        f"a wavelength of {WAVELENGTH_RANGE[0]:g} to {WAVELENGTH_RANGE[1]:g} Å, got {used_wavelength:g} for "
        f"{path}; pass --wavelength",
    )
    return Axis(unit, origin, float(used_wavelength), wavelength_origin), warnings


def scattering_vector(
    x: Float[np.ndarray, " point"], axis: Axis, path: str
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Return Q in 1/Å and the derivative dQ/dx, which converts a width on the axis to a width in Q.

    Raises:
        ReadError: If an angle is 180° or more.
    """
    if axis.unit != ANGLE_UNIT:
        return x * Q_UNITS[axis.unit], np.full_like(x, Q_UNITS[axis.unit])
    expect(
        (np.abs(x) < 180).all(),
        f"2theta below 180°, got {np.abs(x).max():g} in {path}; check the unit, e.g. pass --q-unit 1/nm",
    )
    half_angle, wave_number = np.deg2rad(x / 2), 2 * np.pi / (axis.wavelength or np.nan)
    return 2 * wave_number * np.sin(half_angle), wave_number * np.cos(half_angle) * np.pi / 180
