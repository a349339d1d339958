"""Sites of packings, and how probable it is that they are occupied."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxstruc.clusters import lattice_sites

COORDINATION_NUMBERS = {
    "c" * 64: 12,
    "h" * 64: 12,
    "hcchhc" + "c" * 58: 12,
    "bcc": 8,
    "sc": 6,
    "icosahedron": 12,
    "decahedron": 12,
}


@pytest.mark.parametrize("packing", COORDINATION_NUMBERS)
def test_a_site_inside_has_the_neighbours_of_its_packing_at_one_bond(packing):
    nearest_sites = lattice_sites.nearest_sites(packing, np.array([0.3, -0.2, 0.4]), 300)
    distance_matrix = cdist(nearest_sites.positions[:20], nearest_sites.positions)
    is_neighbour = (distance_matrix > 0) & (distance_matrix < lattice_sites.NEIGHBOUR_DISTANCE)
    assert len(nearest_sites.positions) == 300
    assert np.median(is_neighbour.sum(axis=1)) == COORDINATION_NUMBERS[packing]
    assert distance_matrix[is_neighbour].mean() == pytest.approx(1.0, abs=0.03)


def test_sites_are_those_nearest_to_the_origin():
    origin = np.array([0.1, 0.2, 0.3])
    nearest_sites = lattice_sites.nearest_sites("sc", origin, 100)
    all_radii = np.linalg.norm(lattice_sites.packing_sites("sc", 8) - origin, axis=1)
    assert np.allclose(np.linalg.norm(nearest_sites.positions, axis=1), np.sort(all_radii)[:100])
    assert np.allclose((nearest_sites.positions + origin) % 1.0 % 0.999999, 0.0, atol=1e-5)


def test_origins_lie_about_the_axis_and_the_first_is_on_it():
    origins = lattice_sites.random_origins("decahedron", 8.0, 50, np.random.default_rng(0))
    assert (
        not origins[0].any() and np.linalg.norm(origins[:, :2], axis=1).max() > 1.0 and abs(origins[:, 2]).max() <= 0.5
    )


def test_probabilities_of_empty_and_occupied_sites_sum_to_one():
    for packing in ("c", "bcc", "icosahedron"):
        assert np.allclose(np.exp(-lattice_sites.occupancy_prior(packing).cost).sum(axis=0), 1.0)


def test_neighbours_of_sites_are_counted_as_written_out():
    nearest_sites = lattice_sites.nearest_sites("bcc", np.zeros(3), 120)
    occupancy = np.random.default_rng(1).random(120) < 0.5
    distance_matrix = cdist(nearest_sites.positions, nearest_sites.positions)
    neighbour_counts = (
        (distance_matrix > 0) & (distance_matrix < lattice_sites.NEIGHBOUR_DISTANCE)
    ) @ occupancy.astype(int)
    next_neighbour_counts = (
        (distance_matrix >= lattice_sites.NEIGHBOUR_DISTANCE)
        & (distance_matrix < lattice_sites.NEXT_NEIGHBOUR_DISTANCE)
    ) @ occupancy.astype(int)
    is_relevant = occupancy | (neighbour_counts > 0)
    surroundings = lattice_sites.site_surroundings(nearest_sites, occupancy)
    assert all(
        np.array_equal(column, expected_column[is_relevant])
        for column, expected_column in zip(
            surroundings, (occupancy, neighbour_counts, next_neighbour_counts), strict=True
        )
    )


def test_a_vacancy_and_an_adatom_are_unusual():
    nearest_sites = lattice_sites.nearest_sites("c" * 64, np.zeros(3), 400)
    radii = np.linalg.norm(nearest_sites.positions, axis=1)
    ball_occupancy = radii < np.sort(radii)[141] - 1e-6
    vacancy_occupancy, adatom_occupancy = ball_occupancy.copy(), ball_occupancy.copy()
    vacancy_occupancy[0] = False
    outer_sites = np.flatnonzero(~ball_occupancy & (radii < radii[ball_occupancy].max() + 0.8))
    adatom_occupancy[outer_sites[-1]] = True
    ball_cost = lattice_sites.excess_occupancy_cost(nearest_sites, ball_occupancy)
    assert (
        lattice_sites.excess_occupancy_cost(nearest_sites, vacancy_occupancy) > ball_cost + 2
        and lattice_sites.excess_occupancy_cost(nearest_sites, adatom_occupancy) > ball_cost + 2
    )


@pytest.mark.parametrize("packing", COORDINATION_NUMBERS)
@pytest.mark.parametrize("n_sites", [13, 80, 300])
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (0.4, -0.3, 1.2), (2.0, 1.5, -2.5)])
def test_no_site_near_the_origin_is_beyond_the_reach_of_the_packing(packing, n_sites, origin):
    """The sites are the nearest ones of a packing that is cut much farther away."""
    origin = np.array(origin)
    nearest_sites = lattice_sites.nearest_sites(packing, origin, n_sites)
    far_radii = np.sort(np.linalg.norm(lattice_sites.packing_sites(packing, 14) - origin, axis=1))[:n_sites]
    scale = 1.0 if packing in ("icosahedron", "decahedron") else 1e-9  # the mean bond depends on the size of a grain
    np.testing.assert_allclose(
        np.linalg.norm(nearest_sites.positions, axis=1), far_radii, rtol=0.02 * scale, atol=1e-6 * scale
    )
    np.testing.assert_array_equal(nearest_sites.origin, origin)


@pytest.mark.parametrize("packing", ["c" * 64, "bcc"])
def test_sites_near_a_long_particle_are_the_nearest_to_its_atoms(packing):
    rod = np.column_stack([np.zeros(15), np.zeros(15), np.linspace(-7, 7, 15)])
    nearest_sites = lattice_sites.nearest_sites(packing, np.zeros(3), 150, atom_positions=rod)
    far_sites = lattice_sites.packing_sites(packing, 16)
    far_distance = cdist(far_sites, rod).min(axis=1)
    distance = cdist(nearest_sites.positions, rod).min(axis=1)
    np.testing.assert_allclose(distance, np.sort(far_distance)[:150], atol=1e-6)
    assert abs(nearest_sites.positions[:, 2]).max() > 7


@pytest.mark.parametrize("packing", COORDINATION_NUMBERS)
def test_a_packing_fills_the_whole_sphere_of_its_reach(packing):
    """Each shell has the atoms of a larger packing, and the density is one atom per volume of an atom."""
    packing_sites = lattice_sites.packing_sites(packing, 7)
    far_sites = lattice_sites.packing_sites(packing, 11)
    radii, far_radii = (np.linalg.norm(positions, axis=1) for positions in (packing_sites, far_sites))
    assert radii.max() <= 7 and np.sum(radii < 6.5) == pytest.approx(np.sum(far_radii < 6.5), rel=0.04)
    if packing not in ("icosahedron", "decahedron"):
        np.testing.assert_allclose(np.sort(radii), np.sort(far_radii[far_radii <= 7]), atol=1e-9)
