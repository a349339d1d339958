r"""The axis of a curve over Q: its unit, by words, and how it becomes Q in 1/Å.

What neither file nor user says is asked for. $Q = (4\pi/\lambda) \sin\theta$ for a scattering angle $2\theta$.
"""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc.data.text import ReadError, expect

UNITS = {"1/Å": 1.0, "1/nm": 0.1, "1/m": 1e-10}
"""1/Å of each unit of Q."""
ANGLE = "2theta"
"""In degrees."""
WAVELENGTHS = 0.01, 50.0
"""Å. Beyond, no wavelength of X-rays or neutrons."""
PLACEHOLDER = 0.1
"""Å. What headers of PDF programs say where nobody gave a wavelength."""

_INVERSE = re.compile(r"(?:1/(?P<over>[a-zåµ]+)|(?P<power>[a-zåµ]+)\^?[-⁻](?:1|¹)|inverse(?P<word>[a-zåµ]+))")
_LENGTHS = {
    "Å": ("å", "a", "aa", "ang", "angstrom", "angstroms", "ångström", "ångstrom", "angström"),
    "nm": ("nm", "nanometre", "nanometres", "nanometer", "nanometers"),
    "m": ("m", "metre", "metres", "meter", "meters"),
}
_NAMES = {word: name for name, words in _LENGTHS.items() for word in words}
_ANGLES = ("2theta", "2thetaangle", "twotheta", "2th", "tth", "2θ", "angle", "scatteringangle")
_PARTS = {"deg", "degree", "degrees", "°"}


class Axis(NamedTuple):
    """What the numbers of an axis are."""

    unit: str
    """A key of `UNITS`, or `ANGLE`."""
    origin: str
    """ "header" or "command line"; so for the next."""
    wavelength: float | None = None
    """Å, for an angle."""
    wavelength_origin: str = ""

    @property
    def told(self) -> str:
        """The unit, and who said it."""
        return f"{'Q in ' if self.unit != ANGLE else ''}{self.unit} by the {self.origin}"


def inverse_length(words: str) -> str:
    """Return the unit that words like A^-1, 1/nm or nm⁻¹ stand for, as 1/Å; "" where they stand for none."""
    plain = re.sub(r"[\s${}()\[\]_\\]", "", words.lower().replace("\\aa", "å").replace("\N{ANGSTROM SIGN}", "å"))
    match = _INVERSE.fullmatch(plain)
    name = _NAMES.get(next(filter(None, match.groups()))) if match else None
    return f"1/{name}" if name else ""


def angle(name: str, unit: str) -> str:
    """Return "2theta" where a label's name and unit say a scattering angle in degrees, else ""."""
    known = re.sub(r"[\s_-]", "", name.lower()) in _ANGLES
    return ANGLE if known and unit.lower().strip(" ()[].") in _PARTS else ""


def chosen(
    stated: str,
    *,
    q_unit: str | None,
    wavelength: float | None,
    known: float | None = None,
    x: Float[np.ndarray, " point"],
    path: str,
) -> tuple[Axis, list[str]]:
    """Return what an axis is, and warnings.

    Args:
        stated: the unit as the file says it, "" where it does not.
        q_unit: as the user says it; it overrides the file.
        wavelength: as the user says it, in Å.
        known: as the file says it, in Å.
        x: the numbers of the axis, for the refusal.
        path: for the same.

    Raises:
        ReadError: where nobody said the unit, or the wavelength of an angle.
    """
    own = {"1/A": "1/Å", None: ""}.get(q_unit, q_unit) or ""
    expect(own in ("", ANGLE, *UNITS), f"--q-unit 1/Å, 1/nm or 2theta, got {own} for {path}; correct it")
    ends = f"{np.nanmin(x):g} to {np.nanmax(x):g}"
    expect(
        bool(own or stated),
        f"the unit of Q in the file or the command, got neither for {path}, {ends}; pass --q-unit 1/A, --q-unit 1/nm, "
        "or --q-unit 2theta with --wavelength",
    )
    unit, origin = (own, "command line") if own else (stated, "header")
    warnings = [f"the file says Q in {stated}, --q-unit {own} is used"] if own and stated not in ("", own) else []
    if unit != ANGLE:
        return Axis(unit, origin), warnings
    length, whose = (wavelength, "command line") if wavelength is not None else (known, "header")
    if length is None or (whose == "header" and length == PLACEHOLDER):
        got = "none" if length is None else f"the header's {length:g} Å, which stands for none,"
        raise ReadError(f"Expected a wavelength with 2theta, got {got} for {path}; pass --wavelength in Å.")
    expect(
        WAVELENGTHS[0] <= length <= WAVELENGTHS[1],
        f"a wavelength of {WAVELENGTHS[0]:g} to {WAVELENGTHS[1]:g} Å, got {length:g} for {path}; pass --wavelength",
    )
    return Axis(unit, origin, float(length), whose), warnings


def scattering_vector(
    x: Float[np.ndarray, " point"], axis: Axis, path: str
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Return Q in 1/Å, and dQ/dx, which takes a width on the axis to one in Q.

    Raises:
        ReadError: where an angle is none.
    """
    if axis.unit != ANGLE:
        return x * UNITS[axis.unit], np.full_like(x, UNITS[axis.unit])
    expect(
        (np.abs(x) < 180).all(), f"2theta below 180°, got {np.abs(x).max():g} in {path}; check the unit, --q-unit 1/nm"
    )
    half, wave_number = np.deg2rad(x / 2), 2 * np.pi / (axis.wavelength or np.nan)
    return 2 * wave_number * np.sin(half), wave_number * np.cos(half) * np.pi / 180
