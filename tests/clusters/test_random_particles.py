import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import random_particles, structure_type
from jaxstruc.clusters.random_particles import STRUCTURE_TYPES

MAX_ATOMS, N_PARTICLES = 120, 140


@pytest.fixture(scope="module")
def drawn_particles():
    """Return twenty particles of each packing with 60 to 120 atoms."""
    geometry = random_particles.packing_geometry(MAX_ATOMS)
    draw_numbers = jax.jit(
        lambda key: random_particles.draw_random_numbers(key, geometry, n_particles=N_PARTICLES, capacity=MAX_ATOMS)
    )
    atoms = jax.random.randint(jax.random.key(1), (N_PARTICLES,), 60, MAX_ATOMS + 1)
    cut_all = jax.jit(
        lambda *inputs: jax.lax.map(
            lambda particle_inputs: random_particles.cut_particle(*particle_inputs, geometry, capacity=MAX_ATOMS),
            inputs,
        )
    )
    particles = cut_all(
        draw_numbers(jax.random.key(0)), jnp.arange(N_PARTICLES) % len(random_particles.PACKINGS), atoms
    )
    return jax.tree.map(np.asarray, particles), np.asarray(atoms)


def test_atoms_show_the_type_of_their_particle(drawn_particles):
    """`structure_type` identifies type and share of hexagonal layers from the atoms of nearly all particles."""
    particles, _ = drawn_particles
    n_wrong = 0
    rows = np.flatnonzero(particles.is_complete & particles.shows_type)
    for row in rows:
        observed_type = structure_type.identify_structure_type(particles.positions[row][particles.mask[row]])
        hexagonal_shares = (
            np.nan_to_num(observed_type.hexagonal_share, nan=-1),
            np.nan_to_num(particles.hexagonal_share[row], nan=-1),
        )
        n_wrong += (
            observed_type.name != STRUCTURE_TYPES[particles.type_index[row]]
            or abs(hexagonal_shares[0] - hexagonal_shares[1]) > 1e-3
        )
    assert len(rows) > 0.9 * N_PARTICLES and n_wrong <= 3


def test_a_particle_has_at_most_the_requested_atoms_and_no_coincident_ones(drawn_particles):
    particles, requested_atoms = drawn_particles
    atom_counts = particles.mask.sum(axis=1)
    assert (atom_counts <= requested_atoms).all() and np.median(atom_counts / requested_atoms) > 0.85
    for row in np.flatnonzero(particles.is_complete):
        positions = particles.positions[row][particles.mask[row]]
        assert 0.7 < pdist(positions).min() < 1.1
        np.testing.assert_allclose(particles.positions[row][~particles.mask[row]], 0)


def test_particles_differ_and_all_types_occur(drawn_particles):
    particles, _ = drawn_particles
    positions_and_masks = zip(particles.positions, particles.mask, strict=True)
    assert (
        len({round(float(pdist(positions[mask]).sum()), 2) for positions, mask in positions_and_masks})
        > 0.9 * N_PARTICLES
    )
    assert set(particles.type_index[particles.shows_type]) == set(range(len(STRUCTURE_TYPES)))
    assert (
        particles.aspect_ratio[particles.is_complete].min() >= 1
        and np.percentile(particles.aspect_ratio[particles.is_complete], 90) > 1.25
    )
