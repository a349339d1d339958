import numpy as np
import pytest

from jaxstruc.inference import verdict

R = np.arange(1.5, 40.001, 0.05)
GOOD = {"rw": 0.1, "structure": 1.0, "atoms": 100, "largest": 1000, "at_bound": []}


def ratio(residual, noise, *, diameter=20.0, end=40.0, parameters=4):
    r = R[R <= end]
    rng = np.random.default_rng(0)
    g = np.where(r < diameter, 5.0, 0.0) + noise * rng.normal(size=r.size)
    return verdict.structure(
        residual * rng.normal(size=300), r, g, diameter=diameter, independent=100.0, parameters=parameters
    )


def test_a_residual_like_the_noise_holds_no_structure():
    """The parameters that were fitted have taken their part of the noise."""
    assert ratio(0.1, 0.1) == pytest.approx(1 / 0.96, rel=0.25)
    assert ratio(0.3, 0.1) == pytest.approx(9 / 0.96, rel=0.25)
    assert ratio(0.1, 0.1, parameters=50) == pytest.approx(2 * 0.96 * ratio(0.1, 0.1), rel=1e-6)


def test_the_noise_is_read_beyond_the_particle():
    assert ratio(0.1, 0.1, diameter=31.9) is not None
    assert ratio(0.1, 0.1, diameter=32.2) is None  # three Å to fade, five to read
    assert ratio(0.1, 0.1, diameter=39.9) is None
    assert ratio(0.1, 0.1, diameter=20.0, end=27.0) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rw": 0.36}, "Rw 0.36: no candidate explains the data"),
        ({"structure": 2.5}, "the residual holds structure, 2.5 times the noise"),
        ({"atoms": 900}, "900 atoms, the library ends at 1000: raise --max-atoms"),
        ({"atoms": 1400, "largest": 1500}, "1400 atoms, the library ends at 1500: the particle may well be larger"),
        ({"at_bound": ["stretch"]}, "stretch at its bound"),
    ],
)
def test_why_an_answer_is_weak_is_said(changed, said):
    (reason,) = verdict.reasons(**GOOD | changed)
    assert said in reason


@pytest.mark.parametrize(
    "changed",
    [{}, {"rw": 0.35}, {"structure": 1.7}, {"structure": None}, {"atoms": 899}, {"largest": 0, "atoms": 5000},
     {"structure": 50.0, "rw": 0.009}, {"structure": 50.0, "rw": verdict.FINE}, {"structure": verdict.STRUCTURE}],
)  # fmt: skip
def test_a_good_answer_has_no_such_reason(changed):
    assert verdict.reasons(**GOOD | changed) == []


def test_a_large_misfit_is_said_once():
    (reason,) = verdict.reasons(**GOOD | {"rw": 0.6, "structure": 100.0})
    assert reason.startswith("Rw 0.60")
