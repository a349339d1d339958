import numpy as np
import pytest
from measurement_files import assert_one_sentence

from jaxstruc.io import q_axis
from jaxstruc.io.columns import ReadError

X = np.array([0.1, 1.0, 10.0])


@pytest.mark.parametrize(
    ("spelling", "unit"),
    [
        *((text, "1/Å") for text in ("1/A", "1/Å", "A^-1", "Å⁻¹", "$\\AA^{-1}$", "1/angstrom", "A^{-1}", "Å-1")),
        *((text, "1/Å") for text in ("Inverse Angstroms", "1/ANGSTROM", "1/\N{ANGSTROM SIGN}")),
        *((text, "1/nm") for text in ("1/nm", "nm^-1", "nm-1", "nm⁻¹", "Inverse Nanometres", "1/nanometer")),
        ("1/m", "1/m"), ("m^-1", "1/m"),
        *((text, "") for text in ("", "A", "nm", "a.u.", "1/cm", "1/s", "degrees", "rad", "1/", "1/A 1/nm")),
    ],
)  # fmt: skip
def test_units_of_q_are_recognised_in_many_spellings(spelling, unit):
    assert q_axis.inverse_length(spelling) == unit


def test_a_nanometre_is_ten_angstroms():
    for unit, factor in (("1/Å", 1.0), ("1/nm", 0.1), ("1/m", 1e-10)):
        q, slope = q_axis.scattering_vector(X, q_axis.Axis(unit, "header"), "x")
        np.testing.assert_allclose(q, factor * X, rtol=1e-15)
        np.testing.assert_allclose(slope, factor, rtol=1e-15)


def test_an_angle_becomes_q_by_braggs_law_and_its_slope_is_the_derivative():
    """Q is 4 pi/lambda in backscattering and 2 pi/lambda at a scattering angle of 60 degrees."""
    angle_axis = q_axis.Axis("2theta", "header", 1.5406, "header")
    angles = np.array([1e-3, 60.0, 179.999])
    q, slope = q_axis.scattering_vector(angles, angle_axis, "x")
    np.testing.assert_allclose(q[1:] * 1.5406 / np.pi, [2.0, 4.0], rtol=1e-9)
    step = 1e-4
    shifted_q = [q_axis.scattering_vector(angles[:2] + sign * step, angle_axis, "x")[0] for sign in (-1, 1)]
    np.testing.assert_allclose(slope[:2], (shifted_q[1] - shifted_q[0]) / (2 * step), rtol=1e-8)


@pytest.mark.parametrize(
    ("unit", "spellings"),
    [
        ("1/cm", "1/cm|cm^-1|[cm-1]|cm^{-1}|$cm^{-1}$|$\\mathrm{cm}^{-1}$|cm⁻¹|cm**-1|cm^(-1)|per cm|1/cm/sr"),
        ("1/cm", "cm-1 sr-1|cm^-1/sr|(cm sr)^-1|1/(cm*sr)|inverse centimetres|1/cm/ster|cm⁻¹ sr⁻¹|1/cm·sr|1 / cm"),
        ("1/m", "1/m|m^-1|m-1|1/(m sr)|m^-1 sr^-1|m-1.sr-1|1/m/sr|(m·sr)⁻¹|1/meter"),
        ("1/mm", "1/mm|mm-1|mm^-1|1/(mm sr)|mm⁻¹ sr⁻¹|MM-1"),
        ("m2/g", "m2/g|m^2 g^-1|m²/g"),
        ("cm2/g", "cm^2/g|cm2g-1|cm² g⁻¹"),
        ("arbitrary", "a.u.|arb. units|Counts|counts/s|arbitrary|1|relative|None|dimensionless"),
        ("", "|1/sr|1/A|1/furlong|barn|cm|m|1/s|cm^-2|1/cm/sr^2|1/msr|1/(cm|cm)|sr|1/kg|g/m2|m-1 1/"),
    ],
)  # fmt: skip
def test_units_of_intensity_are_known_in_all_spellings_and_never_guessed(unit, spellings):
    assert {spelling: q_axis.intensity_unit(spelling) for spelling in spellings.split("|")} == dict.fromkeys(
        spellings.split("|"), unit
    )


def test_angles_are_in_degrees_or_radians():
    assert q_axis.angle_unit("2-Theta Angle", "Degrees") == q_axis.angle_unit("2-Theta", "Degrees") == "2theta"
    assert (
        q_axis.angle_unit("2th", "deg")
        == q_axis.angle_unit("TwoTheta", "(deg)")
        == q_axis.angle_unit("2θ", "°")
        == "2theta"
    )
    assert q_axis.angle_unit("2th", "rad") == q_axis.angle_unit("2θ", "Radians") == "2theta-rad"
    assert q_axis.angle_unit("2th", "mrad") == "" and q_axis.angle_unit("theta", "deg") == ""
    angles = np.array([1e-3, 60.0, 179.999])
    expected = q_axis.scattering_vector(angles, q_axis.Axis("2theta", "header", 1.5406, "header"), "x")
    q, slope = q_axis.scattering_vector(np.deg2rad(angles), q_axis.Axis("2theta-rad", "header", 1.5406, "header"), "x")
    np.testing.assert_allclose([q, slope * np.pi / 180], expected, rtol=1e-12)
    with pytest.raises(ReadError, match=r"2theta below pi rad, got 3\.2 in x; check the unit"):
        q_axis.scattering_vector(np.array([1.0, 3.2]), q_axis.Axis("2theta-rad", "header", 1.0), "x")


def test_a_stated_unit_that_is_not_known_is_refused_unless_the_user_states_another():
    with pytest.raises(ReadError, match=r"known unit of Q, got '1/furlong' for the values 0\.1 to 10 in x") as error:
        q_axis.choose_axis("1/furlong", q_unit=None, wavelength=None, x=X, path="x")
    assert_one_sentence(error)
    axis, messages = q_axis.choose_axis("1/furlong", q_unit="1/nm", wavelength=None, x=X, path="x")
    assert axis.unit == "1/nm" and messages == ["the file states the axis in 1/furlong, but --q-unit 1/nm is used"]


@pytest.mark.parametrize(
    ("stated_unit", "options", "unit", "origin", "n_warnings"),
    [
        ("1/nm", {}, "1/nm", "header", 0),
        ("", {"q_unit": "1/A"}, "1/Å", "command line", 0),
        ("1/Å", {"q_unit": "1/A"}, "1/Å", "command line", 0),
        ("1/nm", {"q_unit": "1/Å"}, "1/Å", "command line", 1),
        ("2theta", {"stated_wavelength": 0.7107}, "2theta", "header", 0),
        ("", {"q_unit": "2theta", "wavelength": 1.0, "stated_wavelength": 2.0}, "2theta", "command line", 0),
    ],
)
def test_the_origin_of_the_unit_is_recorded(stated_unit, options, unit, origin, n_warnings):
    chosen_axis, messages = q_axis.choose_axis(
        stated_unit, **{"q_unit": None, "wavelength": None, **options}, x=X, path="x"
    )
    assert (chosen_axis.unit, chosen_axis.origin, len(messages)) == (unit, origin, n_warnings)
    if unit == "2theta":
        assert (chosen_axis.wavelength, chosen_axis.wavelength_origin) == (
            (0.7107, "header")
            if "stated_wavelength" in options and "wavelength" not in options
            else (1.0, "command line")
        )


@pytest.mark.parametrize(
    ("stated_unit", "options", "message"),
    [
        (
            "",
            {},
            r"none for the values 0.1 to 10 in x.dat; pass --q-unit 1/A, --q-unit 1/nm, or",
        ),
        ("", {"q_unit": "furlongs"}, "--q-unit 1/Å, 1/nm, 2theta or 2theta-rad, got furlongs"),
        ("2theta", {}, "a wavelength with 2theta, got none"),
        ("2theta", {"stated_wavelength": 0.1}, "got only 0.1 Å, which PDF programs write for an unknown"),
        ("2theta", {"wavelength": 1e-10}, "a wavelength of 0.01 to 50 Å, got 1e-10"),
        ("2theta", {"wavelength": np.nan}, "got nan"),
    ],
)
def test_a_missing_unit_or_wavelength_is_asked_for(stated_unit, options, message):
    with pytest.raises(ReadError, match=message) as error:
        q_axis.choose_axis(stated_unit, **{"q_unit": None, "wavelength": None, **options}, x=X, path="x.dat")
    assert_one_sentence(error)


def test_angles_of_180_degrees_and_more_are_refused():
    with pytest.raises(ReadError, match="2theta below 180°, got 180 in x; check the unit"):
        q_axis.scattering_vector(np.array([1.0, 180.0]), q_axis.Axis("2theta", "header", 1.0), "x")
