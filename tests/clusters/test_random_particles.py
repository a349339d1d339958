import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Icosahedron
from scipy import stats
from scipy.spatial.distance import pdist

from jaxstruc.clusters import displacement_fields, potential, random_particles, structure_type
from jaxstruc.clusters.lattices import unit_bond_cluster
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


def test_a_quarter_of_the_amplitudes_is_zero_and_the_others_are_normal_within_limits():
    rigid_numbers, numbers = np.random.default_rng(0).random((2, 4000))
    amplitudes = np.asarray(random_particles.random_amplitude(jnp.asarray(rigid_numbers), jnp.asarray(numbers)))
    assert np.mean(amplitudes == 0) == pytest.approx(0.25, abs=0.03)
    expected = stats.truncnorm(-1.6, 2, loc=0.5, scale=0.5).ppf(numbers)
    np.testing.assert_allclose(amplitudes[amplitudes != 0], expected[rigid_numbers >= 0.25], atol=1e-4)
    assert amplitudes.min() >= -0.3 and amplitudes.max() <= 1.5


def test_a_random_potential_lies_between_two_metals_and_has_no_pressure():
    """The energy of an fcc crystal is least at the bond length 1. A share of 1 gives the decays of the first metal."""
    n_metals = len(potential.POTENTIALS)
    numbers = [(place + 0.5) / n_metals for place in (list(potential.POTENTIALS).index(name) for name in ("Au", "Cu"))]
    gold = random_particles.random_potential(*map(jnp.float32, (*numbers, 1.0)))
    assert float(gold.repulsion_decay) == pytest.approx(10.229) and float(gold.hopping_decay) == pytest.approx(4.036)
    mixture = random_particles.random_potential(*map(jnp.float32, (*numbers, 0.25)))
    assert float(mixture.repulsion_decay) == pytest.approx(0.25 * 10.229 + 0.75 * 10.96, rel=1e-5)

    def crystal_energy(scale):
        repulsion = band = 0.0
        for distance, count in ((1, 12), (2**0.5, 6), (3**0.5, 24), (2, 12), (5**0.5, 24)):
            x = np.clip((2.3 - scale * distance) / 0.4, 0, 1)
            weight = count * (10 * x**3 - 15 * x**4 + 6 * x**5)
            repulsion += weight * np.exp(-float(mixture.repulsion_decay) * (scale * distance - 1))
            band += weight * np.exp(-2 * float(mixture.hopping_decay) * (scale * distance - 1))
        return float(mixture.repulsion_energy) * repulsion - float(mixture.hopping_energy) * band**0.5

    scales = np.linspace(0.99, 1.01, 201)
    assert scales[np.argmin([crystal_energy(scale) for scale in scales])] == pytest.approx(1.0, abs=2e-4)


def test_atoms_move_along_the_displacement_field_by_the_amplitude():
    """`displacement_fields` gives the field of an icosahedron. Rows without atoms do not move."""
    ideal = unit_bond_cluster("", "", Icosahedron("Au", 4).positions).positions
    ideal -= ideal.mean(axis=0)
    gold = potential.metal_potential("Au")
    field = displacement_fields.displacement_fields([ideal], gold)[0].displacements
    positions, mask = jnp.asarray(np.pad(ideal, ((0, 13), (0, 0)))), np.arange(160) < 147
    relax = jax.jit(random_particles.relax_particle)
    final_positions = np.asarray(relax(positions, jnp.asarray(mask), jnp.float32(0.5), gold))
    assert np.sqrt(np.mean(np.sum(field.astype(float) ** 2, axis=1))) > 0.01
    np.testing.assert_allclose(final_positions[:147] - ideal, 0.5 * field.astype(float), atol=1e-3)
    assert (final_positions[147:] == 0).all()
    np.testing.assert_array_equal(relax(positions, jnp.asarray(mask), jnp.float32(0.0), gold), positions)


def test_atoms_that_would_leave_their_places_move_little():
    """A simple cubic cube is not stable in a potential for close-packed metals."""
    cube = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3) - 1.5
    cube += np.random.default_rng(0).normal(scale=0.01, size=cube.shape)
    cube -= cube.mean(axis=0)
    gold = potential.metal_potential("Au")
    index = np.argsort(np.linalg.norm(cube[:, None] - cube, axis=-1), axis=1, kind="stable")[:, 1:]
    mask = np.linalg.norm(cube[:, None] - cube[index], axis=-1) < potential.CUTOFF_END
    neighbours = potential.Neighbours(jnp.asarray(index[None], jnp.int32), jnp.asarray(mask[None]))
    relaxed = potential.relax(jnp.asarray(cube[None], jnp.float32), neighbours, gold).positions[0]
    final_positions = jax.jit(random_particles.relax_particle)(
        jnp.asarray(cube, jnp.float32), jnp.ones(64, bool), jnp.float32(1.0), gold
    )
    distances = pdist(cube)
    is_nearby = distances < random_particles.NEARBY_DISTANCE
    relaxed_change, change = (
        np.abs(pdist(np.asarray(points)) / distances - 1)[is_nearby].max() for points in (relaxed, final_positions)
    )
    assert relaxed_change > 0.15 and 0.03 < change < 0.09
