import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Icosahedron

from jaxstruc import structure


def test_atoms_come_back_from_a_padded_structure():
    atoms = Icosahedron("Au", 2)
    back = structure.to_ase(structure.from_ase(atoms, size=20))
    assert (back.numbers == atoms.numbers).all()
    np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-5)


def test_distances_are_those_of_ase(x64):
    atoms = Icosahedron("Au", 2)
    ours = structure.distances(jnp.asarray(atoms.positions))
    np.testing.assert_allclose(ours, atoms.get_all_distances(), atol=1e-12)


def test_coincident_atoms_have_a_finite_gradient():
    positions = jnp.array([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    gradient = jax.grad(lambda x: structure.distances(x).sum())(positions)
    assert np.isfinite(gradient).all()
    assert gradient[2, 0] == pytest.approx(4.0)


@pytest.mark.parametrize("atoms", [ase.Atoms(), ase.Atoms("Au5", positions=np.eye(5, 3))])
def test_no_or_too_many_atoms_are_refused(atoms):
    with pytest.raises(ValueError, match="Expected 1 to 4 atoms"):
        structure.from_ase(atoms, size=4)


def test_positions_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite positions"):
        structure.from_ase(ase.Atoms("Au", positions=[[np.nan, 0, 0]]))
