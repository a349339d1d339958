import dataclasses

import numpy as np
import pytest
import small_angle_data

import jaxstruc
from jaxstruc.options.small_angle import BODIES, QOptions, SaxsOptions, SizeOptions
from jaxstruc.small_angle import contrast, form_factors, solve
from jaxstruc.small_angle.solve import SaxsPlan

FIT_OPTIONS = {"body": ("sphere",), "distribution": ("gaussian",)}


def test_all_named_bodies_can_be_asked_for():
    assert {body.replace("-", " ") for body in BODIES} == set(form_factors.named_bodies())


def test_a_file_alone_has_the_numbers_that_it_has_among_others():
    measurements = [small_angle_data.measurement(), small_angle_data.measurement((55.0, 0.2, 1.0), n_points=40, seed=2)]
    results = jaxstruc.saxs(measurements, element="Au", **FIT_OPTIONS)
    assert results[0].best.values == small_angle_data.result().best.values
    assert results[0].intervals == small_angle_data.result().intervals


def test_on_an_absolute_scale_the_scale_is_the_volume_fraction():
    """Compare with I(0) = 1e-4 phi <V²>/<V> contrast² in 1/cm, for data in 1/cm and in 1/m."""
    element, solvent = contrast.element_sld("Au"), contrast.solvent_sld("water")
    q = np.linspace(0.01, 0.35, 60)
    volume_share, volume = 2e-4, 4 / 3 * np.pi
    intensity = (
        1e-4 * volume_share * (element - solvent) ** 2 * volume * small_angle_data.sphere_intensity(q, (40.0, 0.1, 1.0))
    )
    for units, factor in (("1/cm", 1.0), ("1/m", 100.0), ("", 1.0)):
        measurement = small_angle_data.measurement(
            intensity=factor * intensity, sigma=0.01 * factor * intensity, intensity_unit=units
        )
        absolute_options = SaxsOptions(fit=SizeOptions(absolute=True, solvent="water"))
        result = jaxstruc.saxs(measurement, element="Au", options=absolute_options, **FIT_OPTIONS)
        assert result.best.values["scale"].value == pytest.approx(volume_share, rel=5e-3)
    absolute_options = SaxsOptions(fit=SizeOptions(absolute=True, sld=element, solvent=str(solvent)))
    named_result = jaxstruc.saxs(measurement, options=absolute_options, **FIT_OPTIONS)
    assert named_result.best.values["scale"].value == pytest.approx(volume_share, rel=5e-3)


def test_a_background_may_be_a_measurement_with_a_scale():
    measurement = small_angle_data.measurement()
    background = measurement._replace(intensity=2000.0 + 1e4 * measurement.q, sigma=np.full(60, 1.0))
    raw_measurement = measurement._replace(intensity=measurement.intensity + 0.5 * background.intensity)
    result = jaxstruc.saxs(
        raw_measurement, options=SaxsOptions(data=QOptions(background_scale=0.5)), background=background, **FIT_OPTIONS
    )
    assert result.settings_by_name["background_scale"] == 0.5 and result.intensity[0] < raw_measurement.intensity[0]


@pytest.mark.parametrize(
    ("element", "options", "units", "message"),
    [
        ("Au", SizeOptions(absolute=True), "arbitrary", "1/cm or 1/m for --absolute, got arbitrary"),
        ("", SizeOptions(absolute=True), "1/cm", "--element or --sld"),
        ("", SizeOptions(absolute=True, sld=9.0, solvent="9"), "1/cm", "no contrast"),
        ("", SizeOptions(solvent="water"), "", "--absolute with"),
        ("", SizeOptions(power_law=-3.0), "", "--power-law above 0"),
        ("", QOptions(background_scale=2.0), "", "--background with --background-scale"),
        ("Xx", SizeOptions(), "", "the symbol of an element in --element, e.g. Au, got Xx"),
        ("At", SizeOptions(absolute=True), "1/cm", "an element with a known density in --element, e.g. Au, got At"),
        ("", SizeOptions(body=("ball",)), "", "one or more of sphere"),
        ("", SizeOptions(distribution=("wide",)), "", "one or more of none"),
        ("", QOptions(qmin=0.3, qmax=0.2), "", "qmin < qmax"),
        ("", QOptions(qmin=0.32), "", "points"),
    ],
)
def test_invalid_options_are_refused_in_one_line(element, options, units, message):
    options = SaxsOptions(data=options) if isinstance(options, QOptions) else SaxsOptions(fit=options)
    with pytest.raises(ValueError, match=message) as error:
        jaxstruc.saxs(small_angle_data.measurement(intensity_unit=units), element=element, options=options)
    assert "\n" not in str(error.value)


def test_the_provenance_holds_all_that_decides_a_result():
    plan = SaxsPlan("Au", SaxsOptions(QOptions(qmin=0.02), SizeOptions(body=("sphere",))))
    provenance = plan.provenance
    assert provenance["qmin"] == 0.02 and provenance["body"] == ["sphere"] and provenance["element"] == "Au"
    changed_plan = plan._replace(options=SaxsOptions(plan.data, dataclasses.replace(plan.fit, power_law=4.0)))
    assert changed_plan.provenance != provenance


def test_settings_of_a_measurement_are_its_range():
    measurement = solve.prepare_saxs_measurement(
        small_angle_data.measurement(), SaxsPlan(options=SaxsOptions(QOptions(qmin=0.02)))
    )
    origins = {setting.name: (setting.value, setting.origin) for setting in measurement.settings}
    assert origins["qmin"] == (0.02, "command line") and origins["qmax"][1] == "data"


def test_an_element_without_a_density_is_refused_only_if_its_density_is_needed():
    solve.check_saxs_plan(SaxsPlan("At"))
    solve.check_saxs_plan(SaxsPlan("At", SaxsOptions(fit=SizeOptions(absolute=True, sld=9.0))))
    with pytest.raises(ValueError, match="got At; correct --element, or pass --sld"):
        solve.check_saxs_plan(SaxsPlan("At", SaxsOptions(fit=SizeOptions(absolute=True))))
