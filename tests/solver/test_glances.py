import numpy as np
import pytest
from looks import looked

from jaxstruc.inference import glance
from jaxstruc.inference.candidates import Candidates
from jaxstruc.network.classifier import CENTRE, SPREAD
from jaxstruc.solver import glances
from jaxstruc.solver.glances import Screen
from jaxstruc.structures import library
from jaxstruc.structures.atoms import Cluster


@pytest.fixture(scope="module")
def listed():
    """Some hundred clusters of three types."""
    return Candidates("library", *every(library.cached(("icosahedron", "decahedron", "octahedron"), max_atoms=400)))


def every(own):
    return own, np.arange(len(own.atoms))


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
    assert right.effective_samples == pytest.approx(glance.DRAWS) and (right.n_screened, right.n_listed) == (
        9,
        len(listed.rows),
    )
    weight = np.where(listed.library.families == "icosahedron", 1.0, 0.0)
    assert glances.told(look, listed, 9, listed.rows, weight).effective_samples < 1


def test_searches_are_begun_from_draws_of_likely_packings():
    every = [Candidates("library", library.of_clusters([*map(one, ("hcp", "bcc", "sc"))]), np.arange(3))]
    found = glances.likely(looked({"hcp": 0.5, "faulted": 0.3, "bcc": 0.2}, 200), every)
    assert set(found) == {"stack", "bcc"} and abs(np.median(found["stack"]) - 200) < 10
    assert np.ptp(found["bcc"]) > 5
    assert glances.likely(None, every) is None
    assert glances.likely(looked({"fcc": 1.0}, 90, outside=("far",)), every) is None
    assert glances.likely(looked({"fcc": 1.0}, 90), [every[0]._replace(source="file")]) is None
    few = [every[0]._replace(library=library.of_clusters([one("bcc")]), rows=np.arange(1))]
    assert set(glances.likely(looked({"hcp": 0.5, "bcc": 0.5}, 200), few)) == {"bcc"}  # --families bcc


def one(family):
    """Return a cluster of a family, whatever its atoms."""
    return Cluster(family, "some", np.random.default_rng(0).normal(size=(6, 3)) * 3)


def test_a_cut_of_twins_that_shows_fcc_alone_is_kept_for_fcc(listed):
    """By rule it is faulted, by its atoms fcc, as the classifier names it."""
    own = library.cached(("twin",), max_atoms=200)
    group = Candidates("library", own, np.arange(len(own.atoms)))
    both = glances.density(
        looked({"fcc": 1.0}, 100).named.mixture,
        own,
        group.rows,
        np.array(["faulted"] * len(own.atoms), object),
        glances.WIDE,
    )
    not_ = glances.density(
        looked({"sc": 1.0}, 100).named.mixture,
        own,
        group.rows,
        np.array(["faulted"] * len(own.atoms), object),
        glances.WIDE,
    )
    assert (both - not_ > 20).all()


def test_data_that_are_no_numbers_to_the_network_are_outside(monkeypatch):
    named = looked({"fcc": 1.0}, 90).named
    monkeypatch.setattr(glances.naming, "named", lambda *_, **__: [named._replace(distance=float("nan"))])
    (found,) = glances.looks([None], Screen("any"), bond=2.8)
    assert found.outside == ("unreadable",)
