"""Codes of particles: the sites of their lattices, polyhedra, cuts and stacks."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import deepstruc_shapes, fcc_shapes, particle_codes
from jaxstruc.clusters.lattices import stack

FAMILY = deepstruc_shapes.deepstruc_family()


def site_positions(cluster):
    """Return the positions of the sites of the code of a particle."""
    code = particle_codes.particle_code(cluster)
    return particle_codes.site_table().positions[code.lattice, particle_codes.depth_excess(code, np) <= 0]


def test_all_shapes_of_the_list_are_the_polyhedra_of_their_codes():
    for shape in FAMILY:
        positions = site_positions(shape)
        assert len(positions) == len(shape.positions), (shape.family, shape.label)
        np.testing.assert_allclose(np.sort(pdist(positions)), np.sort(pdist(shape.positions)), atol=3e-3)


def test_no_two_shapes_of_the_list_have_the_same_code():
    codes = {(int(code.lattice), *code.levels) for code in map(particle_codes.particle_code, FAMILY)}
    polyhedra = {
        (int(code.lattice), *code.levels) for code in map(particle_codes.particle_code, particle_codes.polyhedra())
    }
    assert len(codes) == 197 and codes <= polyhedra and len(polyhedra) == len(particle_codes.polyhedra())


def test_particles_of_each_lattice_have_unit_bonds():
    """The unit of bcc is the lattice constant, as in the list of DeepStruc. Bonds of icosahedra differ by 5 %."""
    for polyhedron in particle_codes.polyhedra()[::40]:
        shortest = pdist(polyhedron.positions).min()
        expected = np.sqrt(0.75) if polyhedron.family == "bcc" else 1.0
        assert shortest == pytest.approx(expected, rel=0.06), polyhedron.label


def test_cut_polyhedra_lack_the_atoms_beyond_a_plane():
    polyhedra = {cluster.label.rsplit(" ", 1)[0]: cluster.positions for cluster in particle_codes.polyhedra()}
    for cluster in particle_codes.cut_polyhedra(0, n_each=2):
        code, whole = particle_codes.particle_code(cluster), polyhedra[cluster.label.rsplit(" ", 1)[0]]
        assert 1 <= code.cut < particle_codes.N_CUTS
        assert len(cluster.positions) == round(len(whole) * (1 - particle_codes.CUT_STEP * code.cut))
        assert set(map(tuple, cluster.positions)) < set(map(tuple, whole))


def test_all_words_of_3_to_10_layers_are_stacked_once():
    """A word and its reverse are one stack. Of the 2 ** n words of n inner layers, 2 ** ceil(n / 2) are palindromes."""
    expected = sum((2**n + 2 ** ((n + 1) // 2)) // 2 for n in range(1, 9))
    assert len(particle_codes.stacks()) == expected == 285


@pytest.mark.parametrize("word", ["c", "hh", "chhc", "cchchhcc"])
def test_a_stack_has_the_layers_of_its_word(word):
    """The distances are those of the stacks of the library, in a prism of the same width."""
    cluster = next(cluster for cluster in particle_codes.stacks() if cluster.label == word)
    points = stack("h" + word + "h" * 30, reach=11)
    is_inside = np.linalg.norm(points[:, :2], axis=1) < particle_codes.STACK_RADIUS
    layer = np.round(points[:, 2] / np.sqrt(2 / 3))
    reference = points[is_inside & (layer >= 0) & (layer < len(word) + 2)]
    np.testing.assert_allclose(np.sort(pdist(cluster.positions)), np.sort(pdist(reference)), atol=1e-6)
    assert particle_codes.hexagonal_share(cluster) == word.count("h") / len(word)


def test_shapes_that_are_no_polyhedra_are_refused():
    positions = np.array([[0, 0, 0], [0, 0, 0.8]])
    with pytest.raises(ValueError, match="Expected a polyhedron of the lattices of sc"):
        particle_codes.particle_code(fcc_shapes.fcc_cluster((2, 3, 2))._replace(positions=positions))
