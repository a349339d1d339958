"""The second-moment potential: its formula, its derivatives, the metals of its table and its minimisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Icosahedron
from scipy.spatial.distance import cdist

from jaxstruc.clusters import potential
from jaxstruc.clusters.lattices import unit_bond_cluster
from jaxstruc.clusters.potential import COHESIVE_ENERGIES, CUTOFF_END, CUTOFF_START, POTENTIALS, Neighbours

GENERIC_METALS = ("Fe", "W")
FCC_DIRECTIONS = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2)
GOLD = POTENTIALS["Au"]


def padded_neighbours(positions, n_atoms=None):
    """Return the lists of neighbours of a cluster as arrays, with padding."""
    neighbour_lists = potential.find_neighbours(positions)
    n_columns = max(map(len, neighbour_lists)) + 2
    indices = np.zeros((n_atoms or len(positions), n_columns), np.int32)
    mask = np.zeros(indices.shape, bool)
    for row, neighbours in enumerate(neighbour_lists):
        indices[row, : len(neighbours)] = neighbours
        mask[row, : len(neighbours)] = True
    return Neighbours(indices, mask)


@pytest.fixture(scope="module")
def rattled():
    """Return the positions of a rattled icosahedron of 55 atoms in bond lengths."""
    positions = unit_bond_cluster("icosahedron", "2 shells", Icosahedron("Au", 3).positions).positions
    return positions + 0.03 * np.random.default_rng(0).normal(size=positions.shape)


def crystal_atom(dtype):
    """Return an atom of an fcc crystal with all atoms around it, and neighbours of this atom alone."""
    indices = np.stack(np.meshgrid(*3 * [np.arange(-4, 5)], indexing="ij"), axis=-1).reshape(-1, 3)
    positions = indices @ FCC_DIRECTIONS
    positions = positions[np.argsort(np.linalg.norm(positions, axis=1), kind="stable")]
    positions = positions[np.linalg.norm(positions, axis=1) < CUTOFF_END + 0.3]
    mask = np.zeros((len(positions), len(positions)), bool)
    mask[0, 1:] = True
    neighbour_indices = np.tile(np.arange(len(positions), dtype=np.int32), (len(positions), 1))
    return jnp.asarray(positions, dtype), Neighbours(neighbour_indices, mask)


def cohesive_energy_and_equilibrium(element, dtype):
    """Return the energy of an atom in a crystal, and the relative change of its bonds at which the pressure is 0."""
    positions, neighbours = crystal_atom(dtype)
    metal = potential.metal_potential(element)

    def crystal_energy(scale):
        return potential.energy(positions * scale, neighbours, metal)

    unit = jnp.ones((), dtype)
    slope, curvature = jax.grad(crystal_energy)(unit), jax.grad(jax.grad(crystal_energy))(unit)
    return float(crystal_energy(unit)), float(-slope / curvature)


@pytest.mark.parametrize(("element", "dtype"), [*((element, np.float64) for element in POTENTIALS), ("Au", np.float32)])
def test_each_metal_has_its_cohesive_energy_and_no_pressure_at_its_bond_length(element, dtype):
    """The paper fits the parameters with neighbours up to the fifth shell, and Ti and Co as hcp crystals.

    The smooth cut-off leaves out a part of the fifth shell. It changes the energy of Ni, whose hopping integral decays
    slowly, by 4 %, and the bonds by less than 0.8 %. The bonds of Ti differ by 1.3 %, because its c/a is not ideal.
    """
    with jax.enable_x64(dtype == np.float64):
        energy, bond_change = cohesive_energy_and_equilibrium(element, dtype)
    assert energy == pytest.approx(-COHESIVE_ENERGIES[element], rel=0.045)
    assert abs(bond_change) < (0.014 if element == "Ti" else 0.008)


@pytest.mark.parametrize("element", GENERIC_METALS)
def test_a_metal_without_parameters_has_its_cohesive_energy_and_no_pressure(element, x64):
    assert element not in POTENTIALS
    energy, bond_change = cohesive_energy_and_equilibrium(element, np.float64)
    assert energy == pytest.approx(-COHESIVE_ENERGIES[element], rel=1e-5) and abs(bond_change) < 1e-5


def test_an_unknown_cohesive_energy_changes_only_the_scale_of_the_energy():
    assert "U" not in COHESIVE_ENERGIES
    unknown, iron = potential.metal_potential("U"), potential.metal_potential("Fe")
    assert unknown.repulsion_decay == iron.repulsion_decay and unknown.hopping_decay == iron.hopping_decay
    assert unknown.repulsion_energy / unknown.hopping_energy == pytest.approx(
        iron.repulsion_energy / iron.hopping_energy, rel=1e-5
    )


def test_the_energy_is_that_of_the_formula(rattled, x64):
    distance = cdist(rattled, rattled)
    np.fill_diagonal(distance, 9.0)
    x = np.clip((CUTOFF_END - distance) / (CUTOFF_END - CUTOFF_START), 0, 1)
    weight = 10 * x**3 - 15 * x**4 + 6 * x**5
    repulsion = GOLD.repulsion_energy * np.exp(-GOLD.repulsion_decay * (distance - 1)) * weight
    hopping = GOLD.hopping_energy**2 * np.exp(-2 * GOLD.hopping_decay * (distance - 1)) * weight
    expected_energy = repulsion.sum() - np.sqrt(hopping.sum(axis=1)).sum()
    neighbours = padded_neighbours(rattled)
    assert float(potential.energy(jnp.asarray(rattled), neighbours, GOLD)) == pytest.approx(expected_energy, rel=1e-9)


def test_gradients_are_those_of_autodiff_and_of_finite_differences(rattled, x64):
    positions, neighbours = jnp.asarray(rattled), padded_neighbours(rattled)
    energy = jax.jit(lambda x: potential.energy(x, neighbours, GOLD))
    value, gradient = jax.jit(lambda x: potential.energy_and_gradient(x, neighbours, GOLD))(positions)
    assert float(value) == pytest.approx(float(energy(positions)), rel=1e-12) and float(jnp.abs(gradient).max()) > 0.1
    np.testing.assert_allclose(gradient, jax.grad(energy)(positions), atol=1e-9)
    direction = np.random.default_rng(1).normal(size=rattled.shape)
    difference = (energy(positions + 1e-5 * direction) - energy(positions - 1e-5 * direction)) / 2e-5
    assert float(jnp.sum(gradient * direction)) == pytest.approx(float(difference), rel=1e-6)


def test_the_cutoff_is_smooth():
    """The weight falls from 1 to 0, and its first two derivatives vanish at both ends."""
    inside = np.linspace(CUTOFF_START, CUTOFF_END, 101)
    assert np.all(np.diff(potential.cutoff(jnp.asarray(inside))) < 0)
    slope = jax.grad(potential.cutoff)
    for distance, weight in ((CUTOFF_START, 1.0), (CUTOFF_END, 0.0), (1.0, 1.0), (3.0, 0.0)):
        assert float(potential.cutoff(jnp.asarray(distance))) == pytest.approx(weight, abs=1e-6)
        for side in (-1e-4, 1e-4):
            assert float(slope(distance + side)) == pytest.approx(0, abs=1e-3)
            assert float(jax.grad(slope)(distance + side)) == pytest.approx(0, abs=0.2)
    assert abs(float(jax.grad(slope)(0.75 * CUTOFF_START + 0.25 * CUTOFF_END))) > 10


def test_rotations_translations_and_padding_change_no_energy(rattled, x64):
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turned = np.concatenate([rattled @ rotation + [5.0, -3.0, 8.0], np.zeros((4, 3))])
    neighbours = padded_neighbours(turned[:-4], len(turned))
    expected_energy, expected_gradient = potential.energy_and_gradient(
        jnp.asarray(rattled), padded_neighbours(rattled), GOLD
    )
    energy, gradient = potential.energy_and_gradient(jnp.asarray(turned), neighbours, GOLD)
    assert float(energy) == pytest.approx(float(expected_energy), rel=1e-12)
    np.testing.assert_allclose(gradient[:-4], expected_gradient @ rotation, atol=1e-10)
    assert not np.any(gradient[-4:])


def test_gradients_are_finite_at_zero_distance_and_for_single_atoms():
    positions = jnp.asarray([[0.0, 0, 0], [0, 0, 0], [9, 0, 0]])
    neighbours = Neighbours(np.array([[1], [0], [0]], np.int32), np.array([[True], [True], [False]]))
    energy, gradient = potential.energy_and_gradient(positions, neighbours, GOLD)
    assert np.isfinite(energy) and np.isfinite(gradient).all()
    assert np.isfinite(jax.grad(potential.energy)(positions, neighbours, GOLD)).all()


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.3])
def test_a_relaxed_cluster_has_no_higher_energy_than_its_start(noise):
    """The strongest noise brings atoms so close that first steps of the minimisation are far from a minimum."""
    ideal = unit_bond_cluster("icosahedron", "2 shells", Icosahedron("Au", 3).positions).positions
    starts = ideal + noise * np.random.default_rng(3).normal(size=(4, *ideal.shape))
    neighbours = [padded_neighbours(start) for start in starts]
    n_columns = max(entry.mask.shape[1] for entry in neighbours)
    padding = [((0, 0), (0, n_columns - entry.mask.shape[1])) for entry in neighbours]
    batch = Neighbours(
        *(
            np.stack([np.pad(getattr(entry, name), pad) for entry, pad in zip(neighbours, padding, strict=True)])
            for name in ("indices", "mask")
        )
    )
    relaxation = potential.relax(jnp.asarray(starts, jnp.float32), batch, GOLD)
    assert np.isfinite(relaxation.positions).all() and np.all(relaxation.energy < relaxation.start_energy)
    for row, entry in enumerate(neighbours):
        energies = [
            float(potential.energy(jnp.asarray(x, jnp.float32), entry, GOLD))
            for x in (starts[row], relaxation.positions[row])
        ]
        np.testing.assert_allclose(energies, [relaxation.start_energy[row], relaxation.energy[row]], rtol=1e-5)


def test_a_relaxed_cluster_has_no_forces(rattled):
    """The gradient after 30 steps is below 1 % of that at the start, in eV per bond length."""
    neighbours = padded_neighbours(rattled)
    batch = Neighbours(neighbours.indices[None], neighbours.mask[None])
    relaxed = potential.relax(jnp.asarray(rattled[None], jnp.float32), batch, GOLD).positions[0]
    gradients = [
        np.asarray(potential.energy_and_gradient(jnp.asarray(x, jnp.float32), neighbours, GOLD)[1])
        for x in (rattled, relaxed)
    ]
    assert np.sqrt(np.mean(gradients[1] ** 2)) < 0.01 * np.sqrt(np.mean(gradients[0] ** 2))
