import numpy as np
import pytest

from jaxstruc.clusters import lattice_sites, lattices, random_particles
from jaxstruc.clusters.random_particles import PACKINGS

FAMILY_SIZES = {"bcc": (6, 12, 8), "sc": (6, 12, 8), "fcc": (8, 6, 12), "hcp": (2, 6, 6, 12), "icosahedron": (20, 12)}


@pytest.mark.parametrize("packing", PACKINGS)
def test_directions_have_length_one_and_differ(packing):
    face_families = random_particles.face_families(packing)
    assert tuple(map(len, face_families)) == FAMILY_SIZES.get(packing, tuple(map(len, face_families)))
    directions = np.concatenate(face_families)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    assert (directions @ directions.T - 2 * np.eye(len(directions))).max() < 0.999


@pytest.mark.parametrize(("packing", "family", "spacing"), [
    ("sc", 0, 1.0), ("bcc", 1, np.sqrt(2 / 3)), ("fcc", 0, lattices.LAYER_SPACING), ("fcc", 1, np.sqrt(0.5)),
    ("hcp", 0, lattices.LAYER_SPACING),
])  # fmt: skip
def test_atoms_lie_in_layers_along_the_densest_faces(packing, family, spacing):
    """The layer spacings of a lattice along its faces are those of crystallography. Other directions have no layers."""
    sequence = {"fcc": "c", "hcp": "h"}.get(packing, packing)
    positions = lattice_sites.packing_sites(sequence, 5)
    for direction in random_particles.face_families(packing)[family]:
        layer_heights = np.unique(np.round(positions @ direction, 4))
        np.testing.assert_allclose(np.diff(layer_heights)[2:-2], spacing, atol=2e-4)


def test_an_icosahedron_ends_in_its_faces():
    """The outermost atoms of a closed Mackay icosahedron along each face form a complete triangle."""
    positions = lattice_sites.packing_sites("icosahedron", 4)
    cluster_positions = positions[np.linalg.norm(positions, axis=1) < 2.2]
    for direction in random_particles.face_families("icosahedron")[0]:
        depths = np.round(cluster_positions @ direction, 2)
        assert (depths == depths.max()).sum() == 6
