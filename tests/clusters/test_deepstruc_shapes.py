from collections import Counter

from jaxstruc.clusters import deepstruc_shapes, fcc_shapes
from jaxstruc.scattering import form_factors

FAMILY = deepstruc_shapes.deepstruc_family()


def test_the_list_has_197_shapes_of_seven_types():
    """The numbers of shapes of each type are those of the published rules."""
    assert Counter(shape.family for shape in FAMILY) == {
        "sc": 19, "bcc": 19, "fcc": 8, "hcp": 106, "decahedron": 37, "icosahedron": 3, "octahedron": 5,
    }  # fmt: skip
    assert len({fcc_shapes.fingerprint(shape.positions) for shape in FAMILY}) == 197
    assert {shape.family for shape in FAMILY} == set(deepstruc_shapes.STRUCTURE_TYPES)
    atoms = [len(shape.positions) for shape in FAMILY]
    assert (min(atoms), max(atoms)) == deepstruc_shapes.ATOM_RANGE


def test_28_metals_have_19_bond_lengths():
    bonds = {round(form_factors.tabulated_bond_length(metal), 6) for metal in deepstruc_shapes.METALS}
    assert len(deepstruc_shapes.METALS) == 28 and len(bonds) == 19
    assert (min(bonds), max(bonds)) == (2.3, 3.24)


def test_each_type_has_shapes_in_and_outside_its_held_out_range():
    held_out = Counter(shape.family for shape in FAMILY if deepstruc_shapes.is_held_out(shape))
    assert held_out == {
        "sc": 5, "bcc": 4, "fcc": 3, "hcp": 30, "decahedron": 6, "icosahedron": 1, "octahedron": 1,
    }  # fmt: skip
