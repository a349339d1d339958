import numpy as np
import pytest

from jaxstruc.structures import faces, hosts, lattices
from jaxstruc.structures.cuts import PACKINGS

SIZES = {"bcc": (6, 12, 8), "sc": (6, 12, 8), "fcc": (8, 6, 12), "hcp": (2, 6, 6, 12), "icosahedron": (20, 12)}


@pytest.mark.parametrize("packing", PACKINGS)
def test_directions_have_length_one_and_differ(packing):
    found = faces.faces(packing)
    assert tuple(map(len, found)) == SIZES.get(packing, tuple(map(len, found)))
    ways = np.concatenate(found)
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1, rtol=1e-6)
    assert (ways @ ways.T - 2 * np.eye(len(ways))).max() < 0.999


@pytest.mark.parametrize(("packing", "family", "apart"), [
    ("sc", 0, 1.0), ("bcc", 1, np.sqrt(2 / 3)), ("fcc", 0, lattices.LAYER), ("fcc", 1, np.sqrt(0.5)),
    ("hcp", 0, lattices.LAYER),
])  # fmt: skip
def test_atoms_lie_in_layers_along_the_densest_faces(packing, family, apart):
    """The layers of a lattice along a direction are as far apart as crystallography says; others are dense."""
    word = {"fcc": "c", "hcp": "h"}.get(packing, packing)
    points = hosts.points(word, 5)
    for way in faces.faces(packing)[family]:
        levels = np.unique(np.round(points @ way, 4))
        np.testing.assert_allclose(np.diff(levels)[2:-2], apart, atol=2e-4)


def test_an_icosahedron_ends_in_its_faces():
    """A closed Mackay icosahedron's outermost atoms along each face are those of a whole triangle."""
    points = hosts.points("icosahedron", 4)
    shells = points[np.linalg.norm(points, axis=1) < 2.2]
    for way in faces.faces("icosahedron")[0]:
        depth = np.round(shells @ way, 2)
        assert (depth == depth.max()).sum() == 6
