"""Populations of spherical particles: sizes, shells and types."""

import numpy as np
import pytest

from jaxstruc.clusters import polydisperse, structure_type

PACKING_TYPES = {"twin": "faulted", "fault": "faulted"}


@pytest.mark.parametrize("packing", polydisperse.PACKINGS)
def test_members_are_of_their_packing_and_have_bonds_of_one(packing):
    population = polydisperse.particle_population(packing, mean=7.0, width=0.1, n_particles=3)
    for cluster in population.clusters:
        distance_matrix = np.linalg.norm(cluster.positions[:, None] - cluster.positions, axis=2) + 9 * np.eye(
            len(cluster.positions)
        )
        assert np.median(distance_matrix.min(axis=1)) == pytest.approx(1.0, abs=0.04)
        np.testing.assert_allclose(cluster.positions.mean(axis=0), 0, atol=1e-9)
    assert structure_type.identify_structure_type(population.clusters[1].positions).name == PACKING_TYPES.get(
        packing, packing
    )


@pytest.mark.parametrize("shape", polydisperse.DISTRIBUTION_SHAPES)
def test_mean_and_width_are_those_asked_for(shape):
    population = polydisperse.particle_population("fcc", mean=8.0, width=0.25, shape=shape, n_particles=200)
    assert population.mean == pytest.approx(8.0, rel=0.01) and population.width == pytest.approx(0.25, rel=0.04)
    skew = float(np.mean((population.sizes - population.mean) ** 3) / population.sizes.std() ** 3)
    assert skew == pytest.approx({"lognormal": 0.72, "schulz": 0.47}[shape], abs=0.12)


def test_a_balls_shells_are_whole_but_for_the_last():
    (ball,) = polydisperse.particle_population("fcc", mean=6.0, width=0.01, n_particles=1, seed=3).clusters
    other_ball, *_ = polydisperse.particle_population("fcc", mean=6.0, width=0.01, n_particles=1, seed=4).clusters
    assert len(ball.positions) == len(other_ball.positions) == round(np.pi / 6 * 6.0**3 * np.sqrt(2))
    assert not np.allclose(ball.positions, other_ball.positions)
    repeated_ball, *_ = polydisperse.particle_population("fcc", mean=6.0, width=0.01, n_particles=1, seed=3).clusters
    np.testing.assert_array_equal(repeated_ball.positions, ball.positions)
    assert np.linalg.norm(ball.positions, axis=1).max() < 3.5


@pytest.mark.parametrize(("arguments", "message"), [
    ({"packing": "rock"}, "packing"), ({"shape": "normal"}, "lognormal or schulz"), ({"width": 0.0}, "width"),
    ({"mean": 0.5}, "mean"), ({"n_particles": 0}, "particle"), ({"mean": 80.0}, "atoms"),
])  # fmt: skip
def test_invalid_distributions_are_refused(arguments, message):
    all_arguments = {"packing": "fcc", "mean": 8.0, "width": 0.2} | arguments
    with pytest.raises(ValueError, match=message):
        polydisperse.particle_population(all_arguments.pop("packing"), **all_arguments)
