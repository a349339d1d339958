r"""Units of Q and I(Q): interpretation of the texts that state them, and conversion of an axis to Q in 1/Å.

A scattering angle $2\theta$ becomes $Q = (4\pi/\lambda) \sin\theta$ with the wavelength $\lambda$. A file is refused if
neither the file nor the user states the unit of the axis, or the wavelength of an angle. It is also refused if the
stated unit is not known.
"""

import math
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstruc.io.columns import ReadError, expect

Q_UNITS = {"1/Å": 1.0, "1/nm": 0.1, "1/pm": 100.0, "1/µm": 1e-4, "1/m": 1e-10}
"""Value of each unit of Q, in 1/Å."""
ANGLE_UNITS = {"2theta": math.pi / 180, "2theta-rad": 1.0}
"""Value of each unit of the scattering angle 2theta, in radians. `2theta` means degrees, `2theta-rad` means radians."""
USER_UNITS = ("1/Å", "1/nm", *ANGLE_UNITS)
"""Units of the axis that the user may give."""
INTENSITY_UNITS = {"1/cm": 1.0, "1/mm": 10.0, "1/m": 0.01}
"""Value of each unit of I(Q) per volume, in 1/cm. The steradian is dimensionless, so 1/(cm sr) is 1/cm."""
WAVELENGTH_RANGE = 0.01, 50.0
"""Range of the wavelengths of X-rays and neutrons, in Å."""
PLACEHOLDER_WAVELENGTH = 0.1
"""Wavelength, in Å, that PDF programs write in a header if the user gave none."""
MAX_UNIT_CHARACTERS = 60
"""Largest number of characters of a text that can be a unit."""

_SPELLINGS = {
    "Å": "å a aa ang angs angstrom angstroms ångström ångstrom angström ångströms ångstroem",
    "pm": "pm picometre picometres picometer picometers",
    "nm": "nm nanometre nanometres nanometer nanometers",
    "µm": "um µm μm micron microns micrometre micrometres micrometer micrometers",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "cm": "cm centimetre centimetres centimeter centimeters",
    "m": "m metre metres meter meters",
    "g": "g gram grams gramme grammes",
    "sr": "sr ster steradian steradians",
}
_UNIT_BY_WORD = {word: unit for unit, spellings in _SPELLINGS.items() for word in spellings.split()}
_ARBITRARY_WORDS = set(
    "1 - au arb arbu arbunit arbunits arbitrary arbitraryunit arbitraryunits counts count cts ct none unitless "
    "dimensionless relative rel relunits relativeunits counts/s counts/sec cts/s cps countspersecond counts/second "
    "count/s adu eu electronunits unknown n/a na normalised normalized photons photons/s ph/s intensity".split()
)
_PLAIN_CHARACTERS = str.maketrans("⁻−–⁺⁰¹²³·⋅×*.", "---+0123     ", "${}\\")
_UNIT_TOKEN = re.compile(r"\s*(?:([a-zåäöµμ]+)|\^?\s*([-+]?\d)(?!\d)|([()/]))")
_INVERSE_WORDS = ("inverse", "reciprocal", "per")
_ANGLE_LABELS = ("2theta", "2thetaangle", "twotheta", "2th", "tth", "2θ", "angle", "scatteringangle")
_ANGLE_WORDS = dict.fromkeys(("deg", "degree", "degrees", "°"), "2theta") | dict.fromkeys(
    ("rad", "radian", "radians"), "2theta-rad"
)


class Axis(NamedTuple):
    """Unit of an axis, and the wavelength if the axis is an angle."""

    unit: str
    """Unit: a key of `Q_UNITS` or `ANGLE_UNITS`."""
    origin: str
    """Origin of the unit: "header" or "command line"."""
    wavelength: float | None = None
    """Wavelength in Å, None if the axis is not an angle."""
    wavelength_origin: str = ""
    """Origin of the wavelength: "header" or "command line"."""

    @property
    def description(self) -> str:
        """Unit and its origin, e.g. "Q in 1/nm from the header"."""
        return f"{'' if self.unit in ANGLE_UNITS else 'Q in '}{self.unit} from the {self.origin}"


def inverse_length(text: str) -> str:
    """Return the key of `Q_UNITS` that a text such as A^-1, 1/nm or nm⁻¹ stands for, or "" if it stands for none."""
    powers = _unit_powers(text)
    if not powers or len(powers) > 1 or (name := f"1/{next(iter(powers))}") not in Q_UNITS:
        return ""
    return name if set(powers.values()) == {-1} else ""


def length_unit(text: str) -> str:
    """Return the unit of length that a text such as Angstrom or nm stands for, e.g. "Å", or "" if it is unknown."""
    powers = _unit_powers(text)
    name = next(iter(powers), "") if powers and set(powers.values()) == {1} else ""
    return name if powers and len(powers) == 1 and f"1/{name}" in Q_UNITS else ""


def intensity_unit(text: str) -> str:
    """Return the unit of I(Q) that a text stands for, or "" if it is unknown.

    The unit is a key of `INTENSITY_UNITS`, "m2/g", "cm2/g" or "arbitrary". Texts such as cm-1, cm^-1 sr^-1, 1/(m sr)
    and 1/m/sr are known.
    """
    normalised_text = re.sub(r"[\s.,_()\[\]]", "", text.lower())
    if normalised_text in _ARBITRARY_WORDS:
        return "arbitrary"
    powers = dict(_unit_powers(text) or {})
    if abs(powers.pop("sr", 0)) > 1 or not powers:
        return ""
    if len(powers) == 1:
        ((name, power),) = powers.items()
        return f"1/{name}" if power == -1 and f"1/{name}" in INTENSITY_UNITS else ""
    return next((f"{name}2/g" for name in ("m", "cm") if powers == {name: 2, "g": -1}), "")


def angle_unit(name: str, unit: str) -> str:
    """Return the key of `ANGLE_UNITS` that the name and the unit of a label stand for, or "" if they stand for none."""
    return _ANGLE_WORDS.get(unit.lower().strip(" ()[]."), "") if is_angle(name) else ""


def is_angle(name: str) -> bool:
    """Return whether the name of a column stands for the scattering angle 2theta."""
    return re.sub(r"[\s_-]", "", name.lower()) in _ANGLE_LABELS


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
        stated_unit: Unit that the file states: a key of `Q_UNITS` or `ANGLE_UNITS`, another text if the unit is not
            known, or "" if the file states none.
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
        user_unit in ("", *USER_UNITS),
        f"--q-unit 1/Å, 1/nm, 2theta or 2theta-rad, got {user_unit} for {path}; pass one of these",
    )
    x_range = f"{np.nanmin(x):g} to {np.nanmax(x):g}"
    advice = "pass --q-unit 1/A, --q-unit 1/nm, or --q-unit 2theta (or 2theta-rad) with --wavelength"
    expect(
        bool(user_unit or stated_unit),
        f"the unit of Q in the file or the command, got none for the values {x_range} in {path}; {advice}",
    )
    expect(
        bool(user_unit) or stated_unit in Q_UNITS or stated_unit in ANGLE_UNITS,
        f"a known unit of Q, got {stated_unit[:20]!r} for the values {x_range} in {path}; {advice}",
    )
    unit, origin = (user_unit, "command line") if user_unit else (stated_unit, "header")
    warnings = (
        [f"the file states the axis in {stated_unit[:20]}, but --q-unit {user_unit} is used"]
        if user_unit and stated_unit not in ("", user_unit)
        else []
    )
    if unit not in ANGLE_UNITS:
        return Axis(unit, origin), warnings
    return _angle_axis(unit, origin, wavelength, stated_wavelength, path), warnings


def scattering_vector(
    x: Float[np.ndarray, " point"], axis: Axis, path: str
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Return Q in 1/Å and the derivative dQ/dx, which converts a width on the axis to a width in Q.

    Raises:
        ReadError: If an angle is 180° or more.
    """
    if axis.unit not in ANGLE_UNITS:
        return x * Q_UNITS[axis.unit], np.full_like(x, Q_UNITS[axis.unit])
    radians_per_unit = ANGLE_UNITS[axis.unit]
    half_angle, wave_number = x * (radians_per_unit / 2), 2 * np.pi / (axis.wavelength or np.nan)
    limit, advice = ("180°", "1/nm") if axis.unit == "2theta" else ("pi rad", "2theta")
    expect(
        (np.abs(half_angle) < np.pi / 2).all(),
        f"2theta below {limit}, got {np.abs(x).max():g} in {path}; check the unit, e.g. pass --q-unit {advice}",
    )
    return 2 * wave_number * np.sin(half_angle), wave_number * np.cos(half_angle) * radians_per_unit


def _angle_axis(unit: str, origin: str, wavelength: float | None, stated_wavelength: float | None, path: str) -> Axis:
    """Return an axis that is an angle, with the wavelength of the user or of the file."""
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
    return Axis(unit, origin, float(used_wavelength), wavelength_origin)


def _unit_powers(text: str) -> dict[str, int] | None:
    """Return the exponent of each unit in a product such as 1/(m sr), or None if the text is not such a product."""
    text = re.sub(r"\\(mathrm|rm|text|thinspace|cdot|,|;)", " ", text.replace("\\AA", "Å"))
    text = re.sub(r"[\[\]_]", " ", text.translate(_PLAIN_CHARACTERS).lower()).strip()
    text = re.sub(r"\(\s*([-+]?\d)\s*\)", r"\1", text)
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _UNIT_TOKEN.match(text, position)
        if match is None or len(text) > MAX_UNIT_CHARACTERS:
            return None
        tokens.append("/" if match[1] in _INVERSE_WORDS else next(filter(None, match.groups())))
        position = match.end()
    powers = _product_powers(tokens)
    return None if powers is None or tokens else {unit: power for unit, power in powers.items() if power}


def _product_powers(tokens: list[str]) -> dict[str, int] | None:
    """Return the exponent of each unit in a list of tokens up to a closing bracket, or None if it is not a product.

    The tokens before the closing bracket, or all tokens if there is none, are removed from the list.
    """
    powers: dict[str, int] = {}
    sign = 1
    while tokens and tokens[0] != ")":
        token = tokens.pop(0)
        if token == "/":
            if sign < 0:
                return None
            sign = -1
            continue
        if token == "(":
            factor = _product_powers(tokens)
            if factor is None or not tokens:
                return None
            tokens.pop(0)
        elif token == "1":
            factor = {}
        elif token in _UNIT_BY_WORD:
            factor = {_UNIT_BY_WORD[token]: 1}
        else:
            return None
        power = int(tokens.pop(0)) if factor and tokens and re.fullmatch(r"[-+]?\d", tokens[0]) else 1
        for unit, unit_power in factor.items():
            powers[unit] = powers.get(unit, 0) + sign * power * unit_power
        sign = 1
    return powers if sign == 1 else None
