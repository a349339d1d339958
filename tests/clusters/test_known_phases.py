import pytest
from ase.data import atomic_numbers, reference_states

from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.clusters.known_phases import KNOWN_TYPES, UNKNOWN_TYPE_WEIGHT, type_weights


@pytest.mark.parametrize("element", list(KNOWN_TYPES))
def test_the_first_known_type_is_the_crystal_of_the_element(element):
    """The crystal is that of the table of ASE. In a double hexagonal crystal, half of the layers are hexagonal."""
    crystal = (reference_states[atomic_numbers[element]] or {"symmetry": "hcp"})["symmetry"]
    assert KNOWN_TYPES[element][0] == {"dhcp": "hcp"}.get(crystal, crystal)


def test_platinum_is_close_packed_or_five_fold_and_other_types_keep_one_percent():
    weights = type_weights("Pt")
    assert sum(weights.values()) == pytest.approx(1) and set(weights) == set(FAMILY_TYPES.values())
    assert weights["bcc"] == weights["sc"] == weights["hcp"] == UNKNOWN_TYPE_WEIGHT
    assert weights["fcc"] == weights["faulted"] == weights["icosahedron"] == weights["decahedron"] > 0.2
    assert type_weights("Fe")["bcc"] > 0.4 > 0.01 >= type_weights("Fe")["icosahedron"]


@pytest.mark.parametrize("element", ["", "Se", "Mn"])
def test_types_have_equal_weights_without_an_entry(element):
    assert list(type_weights(element).values()) == pytest.approx([1 / 7] * 7)
