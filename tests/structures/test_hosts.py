"""Hosts: sites of packings, and how usual it is that they are taken."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxstruc.structures import hosts

PACKINGS = {"c" * 64: 12, "h" * 64: 12, "hcchhc" + "c" * 58: 12, "bcc": 8, "sc": 6, "icosahedron": 12, "decahedron": 12}


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_site_inside_has_the_neighbours_of_its_packing_at_one_bond(packing):
    one = hosts.host(packing, np.array([0.3, -0.2, 0.4]), 300)
    apart = cdist(one.positions[:20], one.positions)
    near = (apart > 0) & (apart < hosts.BONDS)
    assert len(one.positions) == 300
    assert np.median(near.sum(axis=1)) == PACKINGS[packing]
    assert apart[near].mean() == pytest.approx(1.0, abs=0.03)


def test_sites_are_those_nearest_to_the_origin():
    origin = np.array([0.1, 0.2, 0.3])
    one = hosts.host("sc", origin, 100)
    every = np.linalg.norm(hosts.points("sc", 8) - origin, axis=1)
    assert np.allclose(np.linalg.norm(one.positions, axis=1), np.sort(every)[:100])
    assert np.allclose((one.positions + origin) % 1.0 % 0.999999, 0.0, atol=1e-5)


def test_places_are_drawn_about_the_axis_and_the_first_is_it():
    found = hosts.origins("decahedron", 8.0, 50, np.random.default_rng(0))
    assert not found[0].any() and np.linalg.norm(found[:, :2], axis=1).max() > 1.0 and abs(found[:, 2]).max() <= 0.5


def test_shares_of_empty_and_taken_sites_sum_to_one():
    for packing in ("c", "bcc", "icosahedron"):
        assert np.allclose(np.exp(-hosts.habit(packing).cost).sum(axis=0), 1.0)


def test_surroundings_are_counted_as_written_out():
    one = hosts.host("bcc", np.zeros(3), 120)
    taken = np.random.default_rng(1).random(120) < 0.5
    apart = cdist(one.positions, one.positions)
    near = ((apart > 0) & (apart < hosts.BONDS)) @ taken.astype(int)
    following = ((apart >= hosts.BONDS) & (apart < hosts.NEXT)) @ taken.astype(int)
    beside = taken | (near > 0)
    found = hosts.surroundings(one, taken)
    assert all(np.array_equal(a, b[beside]) for a, b in zip(found, (taken, near, following), strict=True))


def test_a_hole_and_an_adatom_are_unusual():
    one = hosts.host("c" * 64, np.zeros(3), 400)
    radius = np.linalg.norm(one.positions, axis=1)
    whole = radius < np.sort(radius)[141] - 1e-6
    hollow, adatom = whole.copy(), whole.copy()
    hollow[0] = False
    outer = np.flatnonzero(~whole & (radius < radius[whole].max() + 0.8))
    adatom[outer[-1]] = True
    usual = hosts.unusual(one, whole)
    assert hosts.unusual(one, hollow) > usual + 2 and hosts.unusual(one, adatom) > usual + 2
