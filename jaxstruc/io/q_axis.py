r"""The axis of a curve over Q: its unit, by words, and how it becomes Q in 1/Å.

What neither file nor user says is asked for. $Q = (4\pi/\lambda) \sin\theta$ for a scattering angle $2\theta$.
"""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc.io.columns import ReadError, expect

Q_UNITS = {"1/Å": 1.0, "1/nm": 0.1, "1/m": 1e-10}
"""1/Å of each unit of Q."""
ANGLE_UNIT = "2theta"
"""In degrees."""
WAVELENGTH_RANGE = 0.01, 50.0
"""Å. Beyond, no wavelength of X-rays or neutrons."""
PLACEHOLDER_WAVELENGTH = 0.1
"""Å. What headers of PDF programs say where nobody gave a wavelength."""

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
    """What the numbers of an axis are."""

    unit: str
    """A key of `Q_UNITS`, or `ANGLE_UNIT`."""
    origin: str
    """ "header" or "command line"; so for the next."""
    wavelength: float | None = None
    """Å, for an angle."""
    wavelength_origin: str = ""

    @property
    def description(self) -> str:
        """The unit, and who said it."""
        return f"{'Q in ' if self.unit != ANGLE_UNIT else ''}{self.unit} by the {self.origin}"


def inverse_length(text: str) -> str:
    """Return the unit that words like A^-1, 1/nm or nm⁻¹ stand for, as 1/Å; "" where they stand for none."""
    normalised_text = re.sub(
        r"[\s${}()\[\]_\\]", "", text.lower().replace("\\aa", "å").replace("\N{ANGSTROM SIGN}", "å")
    )
    match = _INVERSE_LENGTH.fullmatch(normalised_text)
    name = _LENGTH_BY_WORD.get(next(filter(None, match.groups()))) if match else None
    return f"1/{name}" if name else ""


def angle_unit(name: str, unit: str) -> str:
    """Return "2theta" where a label's name and unit say a scattering angle in degrees, else ""."""
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
    """Return what an axis is, and warnings.

    Args:
        stated_unit: the unit as the file says it, "" where it does not.
        q_unit: as the user says it; it overrides the file.
        wavelength: as the user says it, in Å.
        stated_wavelength: as the file says it, in Å.
        x: the numbers of the axis, for the refusal.
        path: for the same.

    Raises:
        ReadError: where nobody said the unit, or the wavelength of an angle.
    """
    user_unit = {"1/A": "1/Å", None: ""}.get(q_unit, q_unit) or ""
    expect(
        user_unit in ("", ANGLE_UNIT, *Q_UNITS), f"--q-unit 1/Å, 1/nm or 2theta, got {user_unit} for {path}; correct it"
    )
    x_range = f"{np.nanmin(x):g} to {np.nanmax(x):g}"
    expect(
        bool(user_unit or stated_unit),
        f"the unit of Q in the file or the command, got neither for {path}, {x_range}; pass --q-unit 1/A, "
        "--q-unit 1/nm, "
        "or --q-unit 2theta with --wavelength",
    )
    unit, origin = (user_unit, "command line") if user_unit else (stated_unit, "header")
    warnings = (
        [f"the file says Q in {stated_unit}, --q-unit {user_unit} is used"]
        if user_unit and stated_unit not in ("", user_unit)
        else []
    )
    if unit != ANGLE_UNIT:
        return Axis(unit, origin), warnings
    used_wavelength, wavelength_origin = (
        (wavelength, "command line") if wavelength is not None else (stated_wavelength, "header")
    )
    if used_wavelength is None or (wavelength_origin == "header" and used_wavelength == PLACEHOLDER_WAVELENGTH):
        problem = "none" if used_wavelength is None else f"the header's {used_wavelength:g} Å, which stands for none,"
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
    """Return Q in 1/Å, and dQ/dx, which takes a width on the axis to one in Q.

    Raises:
        ReadError: where an angle is none.
    """
    if axis.unit != ANGLE_UNIT:
        return x * Q_UNITS[axis.unit], np.full_like(x, Q_UNITS[axis.unit])
    expect(
        (np.abs(x) < 180).all(), f"2theta below 180°, got {np.abs(x).max():g} in {path}; check the unit, --q-unit 1/nm"
    )
    half_angle, wave_number = np.deg2rad(x / 2), 2 * np.pi / (axis.wavelength or np.nan)
    return 2 * wave_number * np.sin(half_angle), wave_number * np.cos(half_angle) * np.pi / 180
