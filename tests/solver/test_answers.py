import dataclasses

import numpy as np
import pytest

from jaxstruc.data import gr
from jaxstruc.inference import candidates, target
from jaxstruc.inference.candidates import Candidates
from jaxstruc.inference.profile import Profiled
from jaxstruc.options.pdf import DataOptions, FitOptions
from jaxstruc.scattering.parameters import USUAL
from jaxstruc.solver import answers
from jaxstruc.solver.answers import Plan
from jaxstruc.solver.sources import Source
from jaxstruc.structures import library, shapes
from jaxstruc.structures.atoms import Cluster

KNOWN = library.of_clusters([shapes.fcc(layers) for layers in ((2, 4, 2), (2, 3, 2), (3, 4, 2))])


def source(*groups):
    """Return a source that gives these candidates in turn."""
    return Source(12.0, lambda measurements: iter(groups), {"kind": "given"}, {"seed": 5})


def plan(*groups, screened=True, **options):
    plain = Plan("Ag", ()).options  # without an ensemble, a search or a screen
    return Plan("Ag", (source(*groups),), dataclasses.replace(plain, **options), screened=screened)


@pytest.fixture(scope="module")
def example(repository):
    return gr.read(repository / "examples" / "Ag68_simulated.gr")


def answered(example, *groups, **options):
    asked = plan(*groups, **options)
    return list(answers.answers([answers.prepared(example, asked)] * len(groups), asked))


def test_faulty_candidates_come_last_and_weigh_nothing(example):
    every = Candidates("network", KNOWN, np.arange(3), {0: "atoms 1.20 Å apart"}, {"draws": np.ones(3, int)})
    (result,) = answered(example, every)
    assert [one.n_atoms for one in result.candidates][-1] == 55 and result.candidates[-1].weight == 0
    assert result.candidates[-1].rw < result.best.rw and result.candidates[-1].remark == "atoms 1.20 Å apart"
    assert sum(one.weight for one in result.candidates) == pytest.approx(1)
    assert result.facts["seed"] == 5 and result.status == "weak"  # none of them is the truth


def test_alike_draws_are_one_and_alike_clusters_of_a_list_are_not(example):
    drawn = Candidates("network", KNOWN, np.array([0, 0, 1]), {}, {"draws": np.ones(3, int)})
    listed = Candidates("library", KNOWN, np.array([0, 0, 1]))
    (one,), (two,) = answered(example, drawn), answered(example, listed)
    assert sorted(each.notes["draws"] for each in one.candidates) == [1, 2] and one.fitted == 2
    assert two.fitted == 3


def test_more_than_the_usual_is_freed_for_the_best_alone(example, monkeypatch):
    monkeypatch.setattr(answers, "REFINED", 2)
    every = Candidates("library", KNOWN, np.arange(3))
    free = FitOptions(("scale", "stretch", "uiso", "delta2", "qdamp"))
    (screened,), (all_,) = answered(example, every, fit=free), answered(example, every, fit=free, screened=False)
    assert (screened.fitted, all_.fitted) == (2, 3)
    assert screened.best.rw == pytest.approx(all_.best.rw, rel=1e-4)
    assert screened.best.values["qdamp"].error is not None


def test_a_measurement_without_a_candidate_fails_and_the_others_go_on(example):
    nothing, every = Candidates("library", KNOWN, np.array([], int)), Candidates("library", KNOWN, np.arange(3))
    one, two = answered(example, nothing, every)
    assert one.status == "failed" and one.message.startswith("Expected a candidate, got none")
    assert two.candidates and two.status != "failed" and not one.candidates


def test_a_fit_that_is_nowhere_finite_is_a_failure(example):
    broken = library.of_clusters([Cluster("x", "y", np.array([[0.0, 0, 0], [0, 0, 1]]))])
    broken = broken._replace(weight=broken.weight * np.nan)
    (result,) = answered(example, Candidates("library", broken, np.array([0])))
    assert result.status == "failed" and "Expected a finite fit" in result.message


def test_what_decides_a_result_is_recorded():
    one = plan(Candidates("library", KNOWN, np.arange(3)))
    assert one.recorded["element"] == "Ag" and one.recorded["kind"] == "given" and one.recorded["qmin"] is None
    other = one._replace(options=dataclasses.replace(one.options, data=DataOptions(qmin=0.5)))
    assert other.recorded != one.recorded


def test_an_inferred_setting_adds_to_the_errors(example):
    """By how much it moves what is fitted, times its own error; nothing where nothing was inferred."""
    asked = plan(Candidates("library", KNOWN, np.arange(3)))
    (goal,) = answers.targets([answers.prepared(example, asked)], asked, [answers.prepared(example, asked)])
    pool = candidates.pool([Candidates("library", KNOWN, np.arange(3))])
    fits = candidates.fit_all(pool, goal)
    assert answers._uncertain(pool, fits, goal, USUAL, {}) is fits
    wider = answers._uncertain(pool, fits, goal, USUAL, {"qdamp": Profiled(0.03, 0.01, ())})
    low, high = (candidates.fit_all(pool, target.changed(goal, qdamp=qdamp)).values for qdamp in (0.027, 0.033))
    for column, name in enumerate(USUAL):
        slope = (getattr(high, name) - getattr(low, name)) / 0.006
        expected = np.hypot(fits.errors[:, column], 0.01 * slope)
        np.testing.assert_allclose(wider.errors[:, column], expected, rtol=1e-4)
    assert np.all(wider.errors[:, 0] > 1.02 * fits.errors[:, 0])


def test_data_too_short_for_a_large_qmin_are_answered(example):
    """At 1.8 1/Å they would have fewer independent points than can be fitted."""
    short = example._replace(header=example.header | {"qmin": 0.1, "qmax": 10.0})
    every = Candidates("library", KNOWN, np.arange(3))
    (result,) = answered(short, every, data=DataOptions(rmax=4.0))
    assert result.candidates and result.given["qmin"] < 1.8
