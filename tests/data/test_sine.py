"""The referee is Debye's sum over pairs, of which each term has its integral in closed form."""

import numpy as np
import pytest
from written import assert_one_sentence

from jaxstruc.data import sine
from jaxstruc.data.measurement import Measurement, resolved
from jaxstruc.data.text import ReadError
from jaxstruc.options.pdf import DataOptions
from jaxstruc.structures import shapes

LIMITS = {"qmin": 1.0, "qmax": 20.0}


@pytest.fixture(scope="module")
def curves():
    """F and S of a cluster of 19 atoms at rest, and G(r) of the range `LIMITS`."""
    atoms = shapes.fcc((2, 2, 2)).positions * 2.88
    d = np.linalg.norm(atoms[:, None] - atoms, axis=-1)[np.triu_indices(len(atoms), 1)]
    q, r = np.arange(0.5, 22.0, 0.01), 0.02 * np.arange(3001)
    f = 2 / len(atoms) * np.sin(np.outer(q, d)) @ (1 / d)
    low, high = (
        end * (np.sinc((d - r[:, None]) * end / np.pi) - np.sinc((d + r[:, None]) * end / np.pi)) / 2
        for end in LIMITS.values()
    )  # the integral of sin(Qd) sin(Qr) up to an end
    g = 2 / np.pi * 2 / len(atoms) * (high - low) @ (1 / d)
    return {"q": q, "sq": 1 + f / q, "fq": f, "gr": g}


def over_q(curves, kind, *, header=None, y=None):
    return Measurement(
        "x.sq",
        np.zeros(0),
        np.zeros(0),
        header or {},
        kind=kind,
        q=curves["q"],
        intensity=curves[kind] if y is None else y,
    )


@pytest.mark.parametrize("kind", ["sq", "fq"])
def test_s_and_f_become_the_g_of_debyes_sum(curves, kind):
    found = sine.pdf(over_q(curves, kind), DataOptions(**LIMITS))
    assert found.kind == "gr" and found.q is None and len(found.r) == 3001 and found.r[-1] == pytest.approx(60.0)
    np.testing.assert_allclose(found.g, curves["gr"], atol=2e-4 * np.abs(curves["gr"]).max())
    assert found.settings == (("qmin", 1.0, "command line"), ("qmax", 20.0, "command line")) and not found.warnings


def test_an_s_that_goes_to_zero_is_s_less_one_and_that_is_said(curves):
    """As xPDFsuite writes it."""
    one, other = (sine.pdf(over_q(curves, "sq", y=curves["sq"] - less), DataOptions(**LIMITS)) for less in (0, 1))
    np.testing.assert_allclose(other.g, one.g, atol=1e-12)
    assert other.warnings == ("S(Q) goes to 0: read as S(Q) - 1",)


def test_a_single_wave_becomes_its_peak():
    """F = sin(5 Q) between 0 and q gives (2/pi) (q/2 - sin(10 q)/20) at r = 5, exactly."""
    q = np.linspace(0, 8, 4001)
    at = sine.transformed(q, np.sin(5 * q), np.array([0.0, 5.0]), qmin=0.0, qmax=7.0005)
    np.testing.assert_allclose(at, [0.0, 2 / np.pi * (7.0005 / 2 - np.sin(10 * 7.0005) / 20)], rtol=2e-5)


def test_limits_between_points_cut_there():
    """Of F = 1, G(r) is (2/pi) (cos(qmin r) - cos(qmax r))/r, wherever the points lie."""
    r = np.array([0.5, 1.0, 2.0])
    for points in (np.linspace(0.9, 3.0, 2000), np.sort(np.random.default_rng(0).uniform(0.9, 3.0, 4000))):
        found = sine.transformed(points, np.ones(len(points)), r, qmin=1.00123, qmax=2.87654)
        exact = 2 / np.pi * (np.cos(1.00123 * r) - np.cos(2.87654 * r)) / r
        np.testing.assert_allclose(found, exact, atol=1e-5)


@pytest.mark.parametrize(("most", "step"), [(0.1, 0.1), (0.0785, 0.05), (0.03, 0.02), (0.0199, 0.01), (1.0, 1.0)])
def test_steps_are_round(most, step):
    assert sine.even_step(most) == pytest.approx(step)


def test_limits_come_from_the_user_then_the_header_then_the_data(curves):
    header = {"qmin": 0.8, "qmax": 21.0}
    for options, expected in (
        (DataOptions(qmin=1.5), {"qmin": (1.5, "command line"), "qmax": (21.0, "header")}),
        (DataOptions(), {"qmin": (0.8, "header"), "qmax": (21.0, "header")}),
    ):
        found = resolved(sine.pdf(over_q(curves, "sq", header=header), options), options, bond=2.88)
        assert {name: (found.given[name], one) for name, _, one in found.settings if name in expected} == expected
    bare = resolved(sine.pdf(over_q(curves, "sq"), DataOptions()), DataOptions(rmax=12.0), bond=2.88)
    origins = {name: (value, origin) for name, value, origin in bare.settings}
    assert origins["qmin"] == (0.5, "data") and origins["qmax"] == (pytest.approx(21.99), "data")
    assert origins["rmax"] == (12.0, "command line") and bare.curve[0][-1] == pytest.approx(12.0)


def test_few_points_in_q_reach_less_far_and_a_farther_fit_asks_for_more(curves):
    rough = over_q(curves, "fq")._replace(q=curves["q"][::10], intensity=curves["fq"][::10])
    assert sine.pdf(rough, DataOptions()).r[-1] == pytest.approx(0.9 * np.pi / 0.1, abs=0.05)
    assert sine.pdf(over_q(curves, "fq"), DataOptions(rmax=80.0)).r[-1] == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("kind", "change", "options", "message"),
    [
        ("iq", None, {}, r"G\(r\), S\(Q\) or F\(Q\), got I\(Q\) in x.sq; pass it to jaxstruc saxs"),
        ("sq", lambda y: 3 * y, {}, r"S\(Q\), which goes to 1, got a mean of 3"),
        ("fq", lambda y: y + 30, {}, r"F\(Q\), which swings about 0, got a curve like"),
        ("fq", lambda y: 1e20 * y, {}, r"F\(Q\), got a G\(r\) up to .*e\+21"),
        ("sq", None, {"qmin": 0.1}, "qmin < qmax within the data, got 0.1 and 21.99 for x.sq, 0.5 to 21.99; pass"),
        ("sq", None, {"qmax": 30.0}, "within the data, got 0.5 and 30"),
        ("sq", None, {"qmin": 9.0, "qmax": 8.0}, "got 9 and 8"),
        ("sq", None, {"qmin": np.nan}, "got nan and 21.99"),
        ("sq", None, {"qmin": 9.0, "qmax": 9.05}, "at least 10 points from qmin to qmax, got"),
    ],
)
def test_what_leads_to_no_pdf_is_refused_in_one_line(curves, kind, change, options, message):
    y = curves[{"iq": "sq"}.get(kind, kind)]
    with pytest.raises(ReadError, match=message) as error:
        sine.pdf(over_q(curves, kind, y=change(y) if change else y), DataOptions(**options))
    assert_one_sentence(error)


def test_a_pdf_stays_as_it_is():
    pdf = Measurement("x.gr", np.arange(3.0), np.arange(3.0), {})
    assert sine.pdf(pdf, DataOptions()) is pdf
