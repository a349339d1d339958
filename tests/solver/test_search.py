"""The search for a particle that no list holds, from candidates to answers."""

import dataclasses

import numpy as np
import pytest
import simulated
from scipy.spatial.distance import pdist

from jaxstruc import Measurement
from jaxstruc.data import measurement as measurements
from jaxstruc.inference import stacking, target
from jaxstruc.inference.candidates import Candidates
from jaxstruc.options.pdf import DataOptions, FitOptions, SolveOptions
from jaxstruc.scattering import form_factors
from jaxstruc.solver import search
from jaxstruc.solver.answers import Plan, answers
from jaxstruc.solver.search import Level
from jaxstruc.solver.sources import Source
from jaxstruc.structures import families, hosts, library
from jaxstruc.structures.families import TYPES

BOND = form_factors.bond_length("Pt")
BRIEF = Level(1, 4, 20, 1, 2, 60, most=2, walk=40)


@pytest.fixture(scope="module")
def particle():
    """An ellipsoid of fcc about a place of no symmetry, 50 atoms."""
    host = hosts.host("c" * 64, np.array([0.13, 0.21, 0.37]), 200)
    away = np.linalg.norm(host.positions * np.array([1.15, 1.0, 0.9]), axis=1)
    return host.positions[away <= np.sort(away)[49]]


@pytest.fixture(scope="module")
def own():
    return library.build(("fcc",), min_atoms=40, max_atoms=60)


@pytest.fixture(scope="module")
def results(particle, own):
    r = np.arange(1.5, 16.001, 0.05)
    g = simulated.curve(particle * BOND, r, noise=0.01, rng=np.random.default_rng(0), qmin=0.8)
    data = DataOptions(qmin=0.8, qmax=18.0, qdamp=0.03, rmax=16.0)
    ready = measurements.resolved(Measurement("own.gr", r, g, {}), data, bond=BOND)
    rows = np.arange(len(own.atoms))
    source = Source(8.0, lambda some: (Candidates("library", own, rows) for _ in some), {}, {})
    plan = Plan(
        "Pt", (source,), SolveOptions(data=data, fit=FitOptions(absolute=True), search="quick", ensemble="none")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(search.LEVELS, "quick", BRIEF)
        patch.setattr(search, "SIZES", (160,))
        said: list[str] = []
        first = next(answers([ready], plan, progress=lambda done, count, text: said.append(text)))
        again = next(answers([ready], plan))
        listed = next(answers([ready], plan._replace(options=dataclasses.replace(plan.options, search="none"))))
        noise = np.random.default_rng(1).normal(size=len(r))
        nothing = next(answers([ready._replace(g=noise, name="noise.gr")], plan))
    return first, again, listed, said, nothing


def test_a_searched_particle_fits_better_than_any_that_is_listed(results, particle):
    found, _, listed, _, _ = results
    assert found.best.source == "search" and listed.best.source == "library"
    assert found.best.rw < 0.6 * listed.best.rw and found.best.type == "fcc"
    assert abs(found.best.n_atoms - len(particle)) <= 1
    assert found.best.values["scale"].value == 1.0


def test_each_atom_says_how_sure_it_is(results):
    best = results[0].best
    assert best.occupancy.shape == (best.n_atoms,) and best.occupancy.max() > 0.99
    inner = np.argsort(np.linalg.norm(best.atoms.positions - best.atoms.positions.mean(axis=0), axis=1))[:10]
    assert (best.occupancy[inner] > 0.9).all() and (best.occupancy >= 0).all()


def test_the_number_of_atoms_comes_with_an_interval(results):
    one = results[0].intervals["n_atoms"]
    assert one.low <= one.value <= one.high and one.value == results[0].best.n_atoms and one.high < one.value + 10


def test_the_same_seed_gives_the_same_bytes(results):
    first, again = results[:2]
    assert np.array_equal(first.best.atoms.positions, again.best.atoms.positions)
    assert [one.weight for one in first.candidates] == [one.weight for one in again.candidates]


def test_progress_says_what_is_done(results):
    assert any("sites, round 1 of 2" in text for text in results[3])


def test_noise_is_no_particle(results):
    assert results[4].status == "weak" and "Rw" in results[4].message


def test_a_particle_with_a_gap_has_no_layers():
    gapped = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 3.3], [1, 0, 3.3]], float)
    assert stacking.shifted(gapped)[0] == []


@pytest.mark.parametrize("family", ["fcc", "hcp", "twin", "bcc", "sc", "decahedron", "icosahedron"])
def test_listed_clusters_lie_on_their_hosts(family):
    for cluster in list(families.FAMILIES[family](50, 70))[:6]:
        packing = search.PACKINGS.get(TYPES[family], TYPES[family])
        start = search.hosted(cluster, packing, None)
        x = start.host.positions[start.taken]
        if len(x) == len(cluster.positions):
            assert np.allclose(np.sort(pdist(x)), np.sort(pdist(cluster.positions)), rtol=0.03)
        else:  # a slender one, whose ends lie beyond the host
            assert len(x) > 0.9 * len(cluster.positions)


def test_levels_differ_in_how_long_they_search():
    quick, full = (dataclasses.astuple(search.LEVELS[name]) for name in ("quick", "full"))
    assert all(a <= b for a, b in zip(quick, full, strict=True)) and quick != full


def test_packings_that_a_glance_finds_improbable_are_not_searched_and_likely_ones_are():
    """But the first always is; without a glance all stay."""
    values = object()
    leaders = {"stack": (90, values), "bcc": (80, 2), "decahedron": (85, 3)}
    likely = {"decahedron": np.array([100, 102]), "icosahedron": np.array([140, 147, 150])}
    found = search._likely(leaders, likely)
    assert found == {"stack": (90, values), "decahedron": (85, 3), "icosahedron": (147, values)}
    assert search._likely(leaders, None) == leaders and search._likely({}, likely) == {}


def test_the_best_start_stays_among_ends_that_are_worse(particle):
    """Three atoms too few are worse by the data; a start that is worse than the ends is left out."""
    r = np.arange(1.5, 16.001, 0.05)
    g = simulated.curve(particle * simulated.BOND, r, qmin=0.8)
    span = target.span(rmax=16.0, qmax=18.0, diameter=20.0)
    goal = target.target(r, g, qmin=0.8, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=simulated.BOND, span=span)
    host = hosts.host("c" * 64, np.array([0.13, 0.21, 0.37]), 160)
    right = search._taken(host, particle)
    wrong = right.copy()
    wrong[np.flatnonzero(right)[[20, 30, 40]]] = False
    first, end = ([search.Start(host, taken, None)] for taken in (right, wrong))
    weights = search._weights(goal, 60.0, 1.0)
    alone = search._ranked(goal, end, weights)
    both = search._with_best_start(goal, alone, first, end, weights)
    assert len(both.starts) == 2 and np.array_equal(both.starts[0].taken, right) and both.cost[0] < alone.cost[0]
    better = search._ranked(goal, first, weights)
    assert search._with_best_start(goal, better, end, first, weights) is better
