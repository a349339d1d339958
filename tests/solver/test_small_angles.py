import dataclasses

import numpy as np
import pytest
import sized

import jaxstruc
from jaxstruc.options.small_angle import BODIES, QOptions, SaxsOptions, SizeOptions
from jaxstruc.scattering import contrast, particle
from jaxstruc.solver import small_angles
from jaxstruc.solver.small_angles import Plan

HELD = {"body": ("sphere",), "distribution": ("gaussian",)}


def test_all_named_bodies_can_be_asked_for():
    assert {body.replace("-", " ") for body in BODIES} == set(particle.bodies())


def test_a_file_alone_has_the_numbers_that_it_has_among_others():
    several = [sized.measurement(), sized.measurement((55.0, 0.2, 1.0), points=40, seed=2)]
    together = jaxstruc.saxs(several, element="Au", **HELD)
    assert together[0].best.values == sized.result().best.values
    assert together[0].intervals == sized.result().intervals


def test_on_an_absolute_scale_the_scale_is_the_share_of_volume():
    """I(0) = 1e-4 share <V²>/<V> contrast², in 1/cm; the same in 1/m."""
    element, solvent = contrast.element("Au"), contrast.solvent("water")
    q = np.linspace(0.01, 0.35, 60)
    share, volume = 2e-4, 4 / 3 * np.pi
    curve = 1e-4 * share * (element - solvent) ** 2 * volume * sized.spheres(q, (40.0, 0.1, 1.0))
    for units, factor in (("1/cm", 1.0), ("1/m", 100.0), ("", 1.0)):
        one = sized.measurement(intensity=factor * curve, sigma=0.01 * factor * curve, units=units)
        absolute = SaxsOptions(fit=SizeOptions(absolute=True, solvent="water"))
        found = jaxstruc.saxs(one, element="Au", options=absolute, **HELD)
        assert found.best.values["scale"].value == pytest.approx(share, rel=5e-3)
    absolute = SaxsOptions(fit=SizeOptions(absolute=True, sld=element, solvent=str(solvent)))
    named = jaxstruc.saxs(one, options=absolute, **HELD)
    assert named.best.values["scale"].value == pytest.approx(share, rel=5e-3)


def test_a_background_may_be_a_measurement_with_a_scale():
    one = sized.measurement()
    under = one._replace(intensity=2000.0 + 1e4 * one.q, sigma=np.full(60, 1.0))
    whole = one._replace(intensity=one.intensity + 0.5 * under.intensity)
    found = jaxstruc.saxs(whole, options=SaxsOptions(data=QOptions(background_scale=0.5)), background=under, **HELD)
    assert found.given["background_scale"] == 0.5 and found.intensity[0] < whole.intensity[0]


@pytest.mark.parametrize(
    ("element", "options", "units", "message"),
    [
        ("Au", SizeOptions(absolute=True), "arbitrary", "1/cm or 1/m for --absolute, got arbitrary"),
        ("", SizeOptions(absolute=True), "1/cm", "--element or --sld"),
        ("", SizeOptions(absolute=True, sld=9.0, solvent="9"), "1/cm", "no contrast"),
        ("", SizeOptions(solvent="water"), "", "--absolute beside"),
        ("", SizeOptions(power_law=-3.0), "", "--power-law above 0"),
        ("", QOptions(background_scale=2.0), "", "--background for --background-scale"),
        ("Xx", SizeOptions(), "", "symbol of an element"),
        ("", SizeOptions(body=("ball",)), "", "--body among sphere"),
        ("", SizeOptions(distribution=("wide",)), "", "--distribution among none"),
        ("", QOptions(qmin=0.3, qmax=0.2), "", "qmin < qmax"),
        ("", QOptions(qmin=0.32), "", "points"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(element, options, units, message):
    options = SaxsOptions(data=options) if isinstance(options, QOptions) else SaxsOptions(fit=options)
    with pytest.raises(ValueError, match=message) as error:
        jaxstruc.saxs(sized.measurement(units=units), element=element, options=options)
    assert "\n" not in str(error.value)


def test_what_decides_a_result_is_recorded():
    plan = Plan("Au", SaxsOptions(QOptions(qmin=0.02), SizeOptions(body=("sphere",))))
    recorded = plan.recorded
    assert recorded["qmin"] == 0.02 and recorded["body"] == ["sphere"] and recorded["element"] == "Au"
    other = plan._replace(options=SaxsOptions(plan.data, dataclasses.replace(plan.fit, power_law=4.0)))
    assert other.recorded != recorded


def test_settings_of_a_measurement_are_its_range():
    found = small_angles.prepared(sized.measurement(), Plan(options=SaxsOptions(QOptions(qmin=0.02))))
    origins = {one.name: (one.value, one.origin) for one in found.settings}
    assert origins["qmin"] == (0.02, "command line") and origins["qmax"][1] == "data"
