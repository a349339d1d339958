"""The conversion of S(Q) and F(Q) to G(r), compared with the integrals of the terms of the Debye equation."""

import numpy as np
import pytest
from measurement_files import assert_one_sentence

from jaxstruc.clusters import fcc_shapes
from jaxstruc.io import reduction
from jaxstruc.io.columns import ReadError
from jaxstruc.io.measurement import Measurement, resolve_settings
from jaxstruc.options.pdf import DataOptions

Q_RANGE = {"qmin": 1.0, "qmax": 20.0}


@pytest.fixture(scope="module")
def exact_curves():
    """Return F and S of a cluster of 19 atoms at rest, and G(r) for the range `LIMITS`."""
    positions = fcc_shapes.fcc_cluster((2, 2, 2)).positions * 2.88
    distance = np.linalg.norm(positions[:, None] - positions, axis=-1)[np.triu_indices(len(positions), 1)]
    q, r = np.arange(0.5, 22.0, 0.01), 0.02 * np.arange(3001)
    f = 2 / len(positions) * np.sin(np.outer(q, distance)) @ (1 / distance)
    lower_integral, upper_integral = (
        q_limit
        * (np.sinc((distance - r[:, None]) * q_limit / np.pi) - np.sinc((distance + r[:, None]) * q_limit / np.pi))
        / 2
        for q_limit in Q_RANGE.values()
    )  # the integral of sin(Qd) sin(Qr) up to an end
    g = 2 / np.pi * 2 / len(positions) * (upper_integral - lower_integral) @ (1 / distance)
    return {"q": q, "sq": 1 + f / q, "fq": f, "gr": g}


def measurement_over_q(exact_curves, curve_kind, *, header=None, intensity=None):
    return Measurement(
        "x.sq",
        np.zeros(0),
        np.zeros(0),
        header or {},
        kind=curve_kind,
        q=exact_curves["q"],
        intensity=exact_curves[curve_kind] if intensity is None else intensity,
    )


@pytest.mark.parametrize("curve_kind", ["sq", "fq"])
def test_s_and_f_become_the_g_of_debyes_sum(exact_curves, curve_kind):
    pdf = reduction.reduce_to_pdf(measurement_over_q(exact_curves, curve_kind), DataOptions(**Q_RANGE))
    assert pdf.kind == "gr" and pdf.q is None and len(pdf.r) == 3001 and pdf.r[-1] == pytest.approx(60.0)
    np.testing.assert_allclose(pdf.g, exact_curves["gr"], atol=2e-4 * np.abs(exact_curves["gr"]).max())
    assert pdf.settings == (("qmin", 1.0, "command line"), ("qmax", 20.0, "command line")) and not pdf.warnings


def test_an_s_that_goes_to_zero_is_read_as_s_less_one_with_a_warning(exact_curves):
    """Some programs, e.g. xPDFsuite, write S(Q) - 1 under the name S(Q)."""
    pdf, shifted_pdf = (
        reduction.reduce_to_pdf(
            measurement_over_q(exact_curves, "sq", intensity=exact_curves["sq"] - offset), DataOptions(**Q_RANGE)
        )
        for offset in (0, 1)
    )
    np.testing.assert_allclose(shifted_pdf.g, pdf.g, atol=1e-12)
    assert shifted_pdf.warnings == ("S(Q) tends to 0 and is read as S(Q) - 1",)


@pytest.mark.parametrize("curve_kind", ["sq", "fq"])
@pytest.mark.parametrize(("offset", "text"), [(-0.07, "tends to 0.93 "), (0.12, "tends to 1.12 "), (-0.01, "")])
def test_an_s_that_does_not_tend_to_one_is_named_with_its_offset(exact_curves, curve_kind, offset, text):
    shift = offset if curve_kind == "sq" else offset * exact_curves["q"]
    measurement = measurement_over_q(exact_curves, curve_kind, intensity=exact_curves[curve_kind] + shift)
    warnings = reduction.reduce_to_pdf(measurement, DataOptions(**Q_RANGE)).warnings
    assert len(warnings) == bool(text) and text in "".join(warnings)
    if text:
        assert f"its offset of {offset:.2f} adds ripples" in warnings[0]


def test_a_single_sine_becomes_its_peak():
    """F = sin(5 Q) between 0 and q gives (2/pi) (q/2 - sin(10 q)/20) at r = 5, exactly."""
    q = np.linspace(0, 8, 4001)
    transform = reduction.sine_transform(q, np.sin(5 * q), np.array([0.0, 5.0]), qmin=0.0, qmax=7.0005)
    np.testing.assert_allclose(transform, [0.0, 2 / np.pi * (7.0005 / 2 - np.sin(10 * 7.0005) / 20)], rtol=2e-5)


def test_limits_between_points_are_exact():
    """F = 1 gives G(r) = (2/pi) (cos(qmin r) - cos(qmax r))/r for any spacing of the points."""
    r = np.array([0.5, 1.0, 2.0])
    for irregular_q in (np.linspace(0.9, 3.0, 2000), np.sort(np.random.default_rng(0).uniform(0.9, 3.0, 4000))):
        transform = reduction.sine_transform(irregular_q, np.ones(len(irregular_q)), r, qmin=1.00123, qmax=2.87654)
        exact_transform = 2 / np.pi * (np.cos(1.00123 * r) - np.cos(2.87654 * r)) / r
        np.testing.assert_allclose(transform, exact_transform, atol=1e-5)


@pytest.mark.parametrize(("max_step", "step"), [(0.1, 0.1), (0.0785, 0.05), (0.03, 0.02), (0.0199, 0.01), (1.0, 1.0)])
def test_steps_in_r_are_round_numbers(max_step, step):
    assert reduction.rounded_step(max_step) == pytest.approx(step)


def test_limits_come_from_the_user_then_the_header_then_the_data(exact_curves):
    header = {"qmin": 0.8, "qmax": 21.0}
    for options, expected in (
        (DataOptions(qmin=1.5), {"qmin": (1.5, "command line"), "qmax": (21.0, "header")}),
        (DataOptions(), {"qmin": (0.8, "header"), "qmax": (21.0, "header")}),
    ):
        measurement = resolve_settings(
            reduction.reduce_to_pdf(measurement_over_q(exact_curves, "sq", header=header), options), options, bond=2.88
        )
        assert {
            name: (measurement.settings_by_name[name], origin)
            for name, _, origin in measurement.settings
            if name in expected
        } == expected
    measurement_without_header = resolve_settings(
        reduction.reduce_to_pdf(measurement_over_q(exact_curves, "sq"), DataOptions()),
        DataOptions(rmax=12.0),
        bond=2.88,
    )
    origins = {name: (value, origin) for name, value, origin in measurement_without_header.settings}
    assert origins["qmin"] == (0.5, "data") and origins["qmax"] == (pytest.approx(21.99), "data")
    assert origins["rmax"] == (12.0, "command line") and measurement_without_header.curve[0][-1] == pytest.approx(12.0)


def test_few_points_in_q_reach_less_far_and_a_farther_fit_asks_for_more(exact_curves):
    coarse_measurement = measurement_over_q(exact_curves, "fq")._replace(
        q=exact_curves["q"][::10], intensity=exact_curves["fq"][::10]
    )
    assert reduction.reduce_to_pdf(coarse_measurement, DataOptions()).r[-1] == pytest.approx(
        0.9 * np.pi / 0.1, abs=0.05
    )
    assert reduction.reduce_to_pdf(measurement_over_q(exact_curves, "fq"), DataOptions(rmax=80.0)).r[
        -1
    ] == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("curve_kind", "change", "options", "message"),
    [
        ("iq", None, {}, r"G\(r\), S\(Q\) or F\(Q\), got I\(Q\) in x.sq; pass it to jaxstruc saxs"),
        ("sq", lambda y: 3 * y, {}, r"S\(Q\), which tends to 1, got a mean of 3"),
        ("fq", lambda y: y + 30, {}, r"F\(Q\), which oscillates around 0, got a curve that resembles"),
        ("fq", lambda y: 1e20 * y, {}, r"got a G\(r\) of up to .*e\+21"),
        (
            "sq",
            None,
            {"qmin": 0.1},
            "qmin < qmax within the data, got 0.1 and 21.99 for Q of 0.5 to 21.99 1/Å in x.sq; pass",
        ),
        ("sq", None, {"qmax": 30.0}, "within the data, got 0.5 and 30"),
        ("sq", None, {"qmin": 9.0, "qmax": 8.0}, "got 9 and 8"),
        ("sq", None, {"qmin": np.nan}, "got nan and 21.99"),
        ("sq", None, {"qmin": 9.0, "qmax": 9.05}, "at least 10 points from qmin to qmax, got"),
    ],
)
def test_what_leads_to_no_pdf_is_refused_in_one_line(exact_curves, curve_kind, change, options, message):
    y = exact_curves[{"iq": "sq"}.get(curve_kind, curve_kind)]
    with pytest.raises(ReadError, match=message) as error:
        reduction.reduce_to_pdf(
            measurement_over_q(exact_curves, curve_kind, intensity=change(y) if change else y), DataOptions(**options)
        )
    assert_one_sentence(error)


def test_a_pdf_stays_as_it_is():
    pdf = Measurement("x.gr", np.arange(3.0), np.arange(3.0), {})
    assert reduction.reduce_to_pdf(pdf, DataOptions()) is pdf
