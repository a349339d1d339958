import dataclasses

import numpy as np
import pytest
from looks import looked

from jaxstruc.data import gr
from jaxstruc.inference import screening
from jaxstruc.inference.candidates import Candidates
from jaxstruc.solver import answers, glances, narrowing
from jaxstruc.solver.glances import Screen
from jaxstruc.solver.sources import Source
from jaxstruc.structures import library, shapes

KNOWN = library.of_clusters([shapes.fcc(layers) for layers in ((2, 4, 2), (2, 3, 2), (3, 4, 2))])


@pytest.fixture(scope="module")
def listed():
    """Some hundred clusters of three types."""
    return listing("icosahedron", "decahedron", "octahedron", most=400)


def listing(*families, most):
    own = library.cached(families, max_atoms=most)
    return Candidates("library", own, np.arange(len(own.atoms)))


@pytest.fixture(scope="module")
def example(repository):
    return gr.read(repository / "examples" / "Ag68_simulated.gr")


def answered(data, group, **options):
    asked = answers.Plan("Ag", (Source(12.0, lambda measurements: iter([group]), {}, {}),), **options)
    return next(answers.answers([answers.prepared(data, asked)], asked))


def test_a_library_alone_is_screened(example, monkeypatch):
    """Not the draws of a network, whose notes stand by their places, nor the clusters that a user refines."""
    monkeypatch.setattr(screening, "SCREENED", 2)
    drawn = Candidates("network", KNOWN, np.arange(3), {2: "atoms 1.20 Å apart"}, {"draws": np.ones(3, int)})
    listed, own = Candidates("library", KNOWN, np.arange(3)), Candidates("file", KNOWN, np.arange(3))
    draws_, some, all_ = (
        answered(example, drawn),
        answered(example, listed),
        answered(example, own, screened=False),
    )
    assert (draws_.fitted, some.fitted, all_.fitted) == (3, 2, 3)
    assert draws_.candidates[-1].remark == "atoms 1.20 Å apart"
    assert some.best.rw == pytest.approx(all_.best.rw, rel=1e-4)


def test_what_lies_outside_the_training_is_not_screened(example, listed, monkeypatch):
    """And what lies inside is: fewer are fitted, the result says how many, and the message is silent."""
    said = {
        "outside": looked({"fcc": 1.0}, 68, outside=("unlike all",)),
        "inside": looked({"decahedron": 1.0}, 150),
    }
    found = {}
    monkeypatch.setattr(screening, "AT_A_GLANCE", 20)
    for name, look in said.items():
        monkeypatch.setattr(glances, "looks", lambda *_, look=look, **__: [look])
        found[name] = answered(example, listed, screen=Screen(None))
    assert found["outside"].fitted == len(listed.rows) == found["outside"].classifier_prior.n_screened
    assert "not screened: unlike all" in found["outside"].message
    inside = found["inside"]
    assert (
        inside.fitted == 20
        and 20 < inside.classifier_prior.n_screened < len(listed.rows)
        and "screened" not in inside.message
    )
    assert {one.family for one in inside.candidates} == {"decahedron"}
    assert answers.Plan("Ag", ()).recorded["screen"] == "none"
    assert dataclasses.is_dataclass(inside.classifier_prior)


def test_without_weights_all_is_tried_and_the_reason_is_in_the_row(example, tmp_path):
    own = glances.screen(tmp_path / "none.safetensors")
    assert own.network is None and own.missing.startswith("not screened: Expected weights")
    found = answered(example, listing("icosahedron", most=200), screen=own)
    assert found.candidates and found.classifier_prior is None and own.missing in found.message
    drawn = answered(example, Candidates("network", KNOWN, np.arange(3)), screen=own)
    assert drawn.classifier_prior is None and "screened" not in drawn.message  # it is asked of a library alone


def test_why_the_classifier_is_not_followed_is_told():
    assert narrowing.unasked(None, "") == [] and narrowing.unasked(None, "no weights") == ["no weights"]
    assert narrowing.unasked(looked({"fcc": 1.0}, 90), "") == []
    assert narrowing.unasked(looked({"fcc": 1.0}, 90, outside=("a", "b")), "") == ["not screened: a, b"]


def test_a_users_own_list_is_not_cut_and_an_empty_source_stops_nothing(example, listed, monkeypatch):
    monkeypatch.setattr(screening, "AT_A_GLANCE", 20)
    monkeypatch.setattr(glances, "looks", lambda *_, **__: [looked({"decahedron": 1.0}, 150)])
    own = answered(example, listed._replace(source="file"))
    assert own.fitted == len(listed.rows) and own.classifier_prior is None
    empty = Source(12.0, lambda _: iter([Candidates("network", KNOWN, np.zeros(0, int))]), {}, {})
    asked = answers.Plan("Ag", (empty, Source(12.0, lambda _: iter([listed]), {}, {})))
    found = next(answers.answers([answers.prepared(example, asked)], asked))
    assert found.fitted == 20 and found.classifier_prior.n_listed == len(listed.rows)


def test_settings_are_tried_on_candidates_that_fit_however_few_are_probable(example, listed, monkeypatch):
    """Of those kept, all of which are fitted, the best of the rough fit serve for qmin and qdamp, not the first."""
    monkeypatch.setattr(screening, "AT_A_GLANCE", 600)
    look = looked({"decahedron": 0.5, "icosahedron": 0.5}, 150)
    few = narrowing.probable(look, [listed])
    assert 64 < len(few[0].rows) <= screening.AT_A_GLANCE
    asked = answers.Plan("Ag", ())
    ready = answers.prepared(example, asked)
    goal = next(answers.targets([ready], asked._replace(sources=(Source(12.0, None, {}, {}),)), [ready]))
    (screen,) = narrowing.screens([listed], few, goal, {}, look=look)
    chosen = narrowing.few(few[0], screen, goal)
    assert len(chosen.rows) == 64 and not np.array_equal(chosen.rows, few[0].rows[:64])
