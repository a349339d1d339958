import dataclasses

import numpy as np
import pytest

from jaxstruc.data import gr
from jaxstruc.data.edge import Edge
from jaxstruc.inference import glance, screening
from jaxstruc.inference.candidates import Candidates
from jaxstruc.inference.distribution import Interval
from jaxstruc.network.classifier import CENTRE, SPREAD, Mixture
from jaxstruc.network.endless import VALUES
from jaxstruc.network.naming import Named
from jaxstruc.solver import answers, glances
from jaxstruc.solver.glances import Look, Screen
from jaxstruc.solver.sources import Source
from jaxstruc.structures import library
from jaxstruc.structures.cuts import TYPES


@pytest.fixture(scope="module")
def listed():
    """Some hundred clusters of three types."""
    return Candidates("library", *every(library.cached(("icosahedron", "decahedron", "octahedron"), max_atoms=400)))


@pytest.fixture(scope="module")
def example(repository):
    return gr.read(repository / "examples" / "Ag68_simulated.gr")


def answered(data, group, **options):
    asked = answers.Plan("Ag", (Source(12.0, lambda measurements: iter([group]), {}, {}),), **options)
    return next(answers.answers([answers.prepared(data, asked)], asked))


def every(own):
    return own, np.arange(len(own.atoms))


def looked(shares, atoms, *, slimness=0.4, outside=()):
    """Return what a classifier would say that is sure of types to their shares, and of the size to 3 %."""
    type_ = np.log(np.array([[shares.get(name, 1e-12) for name in TYPES]]))
    mean = np.zeros((1, len(VALUES)), np.float32)
    mean[0, :2] = (np.log(atoms) - CENTRE[0]) / SPREAD[0], (slimness - CENTRE[1]) / SPREAD[1]
    mixture = Mixture(np.zeros(1), type_, mean, np.full_like(mean, 0.03 / SPREAD[0]), np.zeros(()))
    intervals = {name: Interval(1.0, 0.5, 2.0) for name in VALUES}
    return Look(Named(shares, intervals, 0.5, 0.5, Edge(20.0, 0.0), mixture), outside)


def test_what_is_kept_is_of_the_likely_types_and_sizes(listed):
    kept = glances.kept(looked({"icosahedron": 0.9, "decahedron": 0.1}, 147), listed)
    families, atoms = listed.library.families[kept], listed.library.atoms[kept]
    assert {"icosahedron", "decahedron"} == set(families) and 147 in atoms[families == "icosahedron"]
    assert 60 < atoms.min() and atoms.max() < 360 and 0 < len(kept) < len(listed.rows) / 2
    assert (np.diff(kept) > 0).all()
    (only,) = {*listed.library.families[glances.kept(looked({"icosahedron": 1.0}, 147), listed)]}
    assert only == "icosahedron"


def test_a_density_is_that_of_the_mixture_written_out(listed):
    look = looked({"icosahedron": 1.0}, 130)
    row = int(np.flatnonzero((listed.library.families == "icosahedron") & (listed.library.atoms > 100))[0])
    types = np.array(["icosahedron"], object)
    found = glances.density(look.named.mixture, listed.library, listed.rows[[row]], types, (0.1, 0.1))
    atoms, diameter = listed.library.atoms[row], listed.library.diameter[row]
    own = 0.0
    for column, value in enumerate((np.log(atoms), np.log(diameter) - np.log(atoms) / 3)):
        wide = np.hypot(0.03 / SPREAD[0], 0.1 / SPREAD[column])
        off = (value - CENTRE[column]) / SPREAD[column] - look.named.mixture.mean[0, column]
        own += -0.5 * (off / wide) ** 2 - np.log(wide * np.sqrt(2 * np.pi))
    assert found[0] == pytest.approx(own, rel=1e-5)


def test_a_glance_that_agrees_with_the_fits_has_many_effective_draws(listed):
    look = looked({"decahedron": 1.0}, 147)
    share = glances._share(look, listed, glances.CLOSE)
    right = glances.told(look, listed, 9, listed.rows, share)
    assert right.effective == pytest.approx(glance.DRAWS) and (right.kept, right.listed) == (9, len(listed.rows))
    weight = np.where(listed.library.families == "icosahedron", 1.0, 0.0)
    assert glances.told(look, listed, 9, listed.rows, weight).effective < 1


def test_searches_are_begun_from_draws_of_likely_packings():
    found = glances.likely(looked({"hcp": 0.5, "faulted": 0.3, "bcc": 0.2}, 200))
    assert set(found) == {"stack", "bcc"} and abs(np.median(found["stack"]) - 200) < 10
    assert np.ptp(found["bcc"]) > 5
    assert glances.likely(None) is None and glances.likely(looked({"fcc": 1.0}, 90, outside=("far",))) is None


def test_without_weights_all_is_tried_and_the_reason_is_in_the_row(example, tmp_path):
    own = glances.screen(tmp_path / "none.safetensors")
    assert own.network is None and own.missing.startswith("not screened: Expected weights")
    group = Candidates("library", *every(library.cached(("icosahedron",), max_atoms=200)))
    found = answered(example, group, screen=own)
    assert found.candidates and found.glance is None and own.missing in found.message


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
    assert found["outside"].fitted == len(listed.rows) == found["outside"].glance.kept
    assert "not screened: unlike all" in found["outside"].message
    inside = found["inside"]
    assert inside.fitted == 20 and 20 < inside.glance.kept < len(listed.rows) and "screened" not in inside.message
    assert {one.family for one in inside.candidates} == {"decahedron"}
    assert answers.Plan("Ag", ()).recorded["screen"] == "none"
    assert dataclasses.is_dataclass(inside.glance)
