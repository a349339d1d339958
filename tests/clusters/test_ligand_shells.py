"""Random shells of other atoms around particles."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from jaxstruc.clusters.ligand_shells import (
    LIGHT_BOND_RANGE,
    MAX_DISPLACEMENT,
    METAL_BOND_RANGE,
    random_shell,
)


def particle(n_shells=3):
    """Return a ball cut from a simple cubic lattice with neighbours at distance 1."""
    axis = np.arange(-n_shells, n_shells + 1)
    lattice = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3).astype(float)
    return lattice[np.linalg.norm(lattice, axis=1) < n_shells - 0.4]


@pytest.mark.parametrize("is_metal", [False, True])
def test_shell_atoms_lie_at_the_bond_length_outside_the_particle(is_metal):
    positions, low, high = particle(), *(METAL_BOND_RANGE if is_metal else LIGHT_BOND_RANGE)
    for seed in range(8):
        shell = random_shell(positions, is_metal=is_metal, rng=np.random.default_rng(seed))
        assert shell.is_metal is is_metal and len(shell.positions) > 5
        nearest = cdist(shell.positions, positions).min(axis=1)
        margin = 6 * MAX_DISPLACEMENT
        assert low - margin < nearest.min() and nearest.max() < high + margin
        assert np.ptp(nearest) < 2 * margin  # one bond length for all atoms of a shell
        assert pdist(shell.positions).min() > 0.9 - 2 * margin


def test_a_seed_gives_one_shell_and_coverages_differ():
    positions = particle()
    shells = [random_shell(positions, is_metal=False, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(shells[0].positions, shells[1].positions)
    assert len({len(shell.positions) for shell in shells}) == 2


def test_two_atoms_have_a_bridge_and_one_atom_has_none():
    pair = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    n_atoms = [len(random_shell(pair, is_metal=False, rng=np.random.default_rng(seed)).positions) for seed in range(12)]
    assert min(n_atoms) >= 1
    lone_atom = [random_shell(pair[:1], is_metal=False, rng=np.random.default_rng(seed)) for seed in range(12)]
    assert {len(shell.positions) == 0 for shell in lone_atom} == {True, False}
