"""Structure types that are known for the particles of each metal, and the prior weights that follow from them.

The crystal phases are those of the elements at ambient pressure below the melting point (D. A. Young, Phase Diagrams of
the Elements, University of California Press (1991)). The double hexagonal phase of lanthanides is a stack with
hexagonal and cubic layers, so its type is faulted. Particles of fcc metals are also icosahedra, decahedra, and fcc with
twins or stacking faults (F. Baletto, R. Ferrando, Rev. Mod. Phys. 77, 371 (2005), doi 10.1103/RevModPhys.77.371; L. D.
Marks, L. Peng, J. Phys. Condens. Matter 28, 053001 (2016), doi 10.1088/0953-8984/28/5/053001). In particles of hcp
metals, the order of the layers often has faults down to fcc.
"""

from collections.abc import Mapping

from jaxstruc.clusters.random_particles import STRUCTURE_TYPES

FCC_METAL_TYPES = ("fcc", "faulted", "icosahedron", "decahedron")
"""Structure types that are known for particles of metals with an fcc crystal."""
HCP_METAL_TYPES = ("hcp", "faulted", "fcc")
"""Structure types that are known for particles of metals with an hcp crystal."""
KNOWN_TYPES: Mapping[str, tuple[str, ...]] = (
    dict.fromkeys("Al Ni Cu Rh Pd Ag Ir Pt Au Pb Th".split(), FCC_METAL_TYPES)
    | dict.fromkeys("Ca Sr Ce Yb".split(), (*FCC_METAL_TYPES, "bcc"))
    | dict.fromkeys("Mg Zn Tc Ru Cd Re Os Co Er Tm Lu".split(), HCP_METAL_TYPES)
    | dict.fromkeys("Be Sc Ti Y Zr Hf La Pr Nd Gd Tb Dy Ho".split(), (*HCP_METAL_TYPES, "bcc"))
    | dict.fromkeys("Li Na K Rb Cs Ba Eu V Cr Nb Mo Ta W".split(), ("bcc",))
    | {"Fe": ("bcc", "fcc"), "Po": ("sc",)}
)
"""Structure types that are known for particles of each metal. All types of other elements have equal weights."""
UNKNOWN_TYPE_WEIGHT = 0.01
"""Prior weight of a structure type that is not known for the metal."""


def type_weights(element: str = "") -> dict[str, float]:
    """Return the prior weight of each structure type for particles of an element; the sum is 1.

    The known types have equal weights. An element without an entry in the table has equal weights of all types.

    Args:
        element: Symbol of the element, e.g. Pt. By default the weights are equal.
    """
    known_types = KNOWN_TYPES.get(element, STRUCTURE_TYPES)
    known_weight = (1 - UNKNOWN_TYPE_WEIGHT * (len(STRUCTURE_TYPES) - len(known_types))) / len(known_types)
    return {name: known_weight if name in known_types else UNKNOWN_TYPE_WEIGHT for name in STRUCTURE_TYPES}
