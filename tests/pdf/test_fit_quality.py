import numpy as np
import pytest

from jaxstruc.pdf import fit_quality

R = np.arange(1.5, 40.001, 0.05)
GOOD_FIT = {"rw": 0.1, "structure_ratio": 1.0, "n_atoms": 100, "max_atoms": 1000, "at_bound": []}


def structure_ratio(residual, noise, *, diameter=20.0, max_r=40.0, parameters=4):
    r = R[R <= max_r]
    rng = np.random.default_rng(0)
    g = np.where(r < diameter, 5.0, 0.0) + noise * rng.normal(size=r.size)
    return fit_quality.residual_structure(
        residual * rng.normal(size=300), r, g, diameter=diameter, n_independent=100.0, n_parameters=parameters
    )


def test_a_residual_like_the_noise_holds_no_structure():
    """The fitted parameters have absorbed a part of the noise, which the number of degrees of freedom corrects."""
    assert structure_ratio(0.1, 0.1) == pytest.approx(1 / 0.96, rel=0.25)
    assert structure_ratio(0.3, 0.1) == pytest.approx(9 / 0.96, rel=0.25)
    assert structure_ratio(0.1, 0.1, parameters=50) == pytest.approx(2 * 0.96 * structure_ratio(0.1, 0.1), rel=1e-6)


def test_the_noise_is_estimated_beyond_the_particle():
    assert structure_ratio(0.1, 0.1, diameter=31.9) is not None
    assert structure_ratio(0.1, 0.1, diameter=32.2) is None  # 3 Å of margin and 5 Å of noise are needed
    assert structure_ratio(0.1, 0.1, diameter=39.9) is None
    assert structure_ratio(0.1, 0.1, diameter=20.0, max_r=27.0) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rw": 0.36}, "no candidate explains the data (Rw 0.36)"),
        ({"structure_ratio": 2.5}, "its mean squared residual is 2.5 times that of the noise"),
        ({"structure_ratio": 2275829906.5}, "its mean squared residual is over 1000 times that of the noise"),
        ({"n_atoms": 900}, "900 atoms, close to the limit of 1000: raise --max-atoms, up to 1500"),
        (
            {"n_atoms": 1400, "max_atoms": 1500},
            "1400 atoms, close to the limit of 1500: pass larger clusters with --library",
        ),
        ({"at_bound": ["stretch"]}, "the fit ended at a bound of stretch"),
    ],
)
def test_the_message_states_why_an_answer_is_weak(changes, message):
    (reason,) = fit_quality.weak_fit_reasons(**GOOD_FIT | changes)
    assert message in reason


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rw": 0.35},
        {"structure_ratio": 1.7},
        {"structure_ratio": None},
        {"n_atoms": 899},
        {"max_atoms": 0, "n_atoms": 5000},
        {"structure_ratio": 50.0, "rw": 0.009},
        {"structure_ratio": 50.0, "rw": fit_quality.NEGLIGIBLE_RW},
        {"structure_ratio": fit_quality.MAX_STRUCTURE_RATIO},
    ],
)
def test_a_good_answer_has_no_such_reason(changes):
    assert fit_quality.weak_fit_reasons(**GOOD_FIT | changes) == []


def test_a_large_misfit_is_stated_once():
    (reason,) = fit_quality.weak_fit_reasons(**GOOD_FIT | {"rw": 0.6, "structure_ratio": 100.0})
    assert "Rw 0.60" in reason


@pytest.mark.parametrize(("diameter", "is_measured"), [(31.5, True), (31.99, True), (32.0, False)])
def test_five_angstrom_of_noise_beyond_the_margin_are_just_enough(diameter, is_measured):
    """The points are 1 Å apart and end at 40 Å, so that the noise must start at 35 Å."""
    r = np.arange(0.0, 41.0)
    ratio = fit_quality.residual_structure(
        np.full(10, 0.2), r, np.where(r > 34, 0.1, 7.0), diameter=diameter, n_independent=40.0, n_parameters=4
    )
    assert (ratio is not None) == is_measured
    if ratio is not None:
        assert ratio == pytest.approx(4 / (1 - 4 / 40))


def test_at_least_a_tenth_of_the_points_counts_as_degrees_of_freedom():
    ratio = fit_quality.residual_structure(
        np.full(10, 0.2), np.arange(0.0, 41.0), np.full(41, 0.1), diameter=9.0, n_independent=8.0, n_parameters=7.9
    )
    assert ratio == pytest.approx(40.0)
    assert fit_quality.weak_fit_reasons(**GOOD_FIT | {"rw": 0.0101, "structure_ratio": 1.81})
    (reason,) = fit_quality.weak_fit_reasons(**GOOD_FIT | {"n_atoms": 1350, "max_atoms": 1500})
    assert reason.endswith("close to the limit of 1500: pass larger clusters with --library")
