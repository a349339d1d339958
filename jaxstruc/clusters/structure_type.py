"""The structure type of a cluster, determined from the positions of its atoms only.

A bond is a pair of neighbours. The lengths in this module are in units of the mean bond length of the cluster. The
positions may therefore have any unit. An inner layer of a stack of close-packed layers is hexagonal (h) if the two
adjacent layers lie at the same lateral position, otherwise it is cubic (c). A five-fold bond is a bond whose two atoms
have five common neighbours in a ring.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

NEIGHBOUR_DISTANCE = 1.25
"""Largest distance between neighbours. It includes the second shell of bcc, but not those of fcc, hcp and sc."""
SECOND_SHELL_DISTANCE = 1.48
"""Largest distance in the second shell (second-nearest atoms). It includes the second shells of fcc, hcp and sc, but
not the third shell of bcc."""
LAYER_SPACING = math.sqrt(2 / 3)
"""Distance between close-packed layers, and between {110} layers of bcc."""
HEIGHT_TOLERANCE = 0.2
"""Largest error of the height of a bond along an axis. The height is 0 within a layer, otherwise the layer spacing."""
MIN_PARALLEL_TRIANGLE_COSINE = math.cos(math.radians(14))
"""Cosine of the largest angle between triangles of neighbours that are considered parallel."""
MIN_PARALLEL_BOND_COSINE = math.cos(math.radians(25))
"""Cosine of the largest angle between five-fold bonds that are considered parallel. The angle is large, because
displaced atoms tilt single bonds."""
FIVEFOLD_AXIS_ANGLE = math.acos(1 / math.sqrt(5))
"""Angle between two five-fold axes of an icosahedron, 63.4 degrees, in radians."""
MIN_AXIS_SHARE = 0.45
"""Smallest ratio of the number of five-fold bonds to the extent of the particle along the axis of these bonds."""
MIN_ORDERED_BOND_SHARE = 0.85
"""Smallest share of ordered bonds in a stack. An ordered bond lies within a layer or between adjacent layers. The share
is 1 in a crystal, lower in a particle of several grains, and 0.6 for random directions."""
N_SAMPLED_BONDS = 60
"""Smallest number of bonds that are sampled in large clusters to determine axes and angles."""
MIN_SINGLE_STACK_SHARE = 0.97
"""Smallest share of ordered bonds in a particle that is a single stack except for a few atoms."""
MIN_TYPE_ATOMS, MIN_TYPE_LAYERS = 30, 4
"""Smallest number of atoms and smallest number of layers of a cluster that shows its structure type."""
MAX_FCC_HEXAGONAL_SHARE, MIN_HCP_HEXAGONAL_SHARE = 0.1, 0.9
"""Share of hexagonal layers below which a stack is fcc, and share above which it is hcp. Other stacks are faulted."""


class StructureType(NamedTuple):
    """The structure type of a cluster."""

    name: str
    """Type: fcc, hcp, faulted, bcc, sc, icosahedron or decahedron. It is empty if the type is unknown."""
    hexagonal_share: float
    """Share of hexagonal layers among the inner layers (all except the outermost two). It is NaN if the cluster is not
    a stack of close-packed layers."""
    shows_type: bool
    """Whether the type may serve as a true value in a test or training. The cluster must have at least 30 atoms, and at
    least four layers or a five-fold centre or axis."""


UNKNOWN_TYPE = StructureType("", math.nan, False)


class _Bonds(NamedTuple):
    """The positions and bonds of a cluster, in units of its mean bond length."""

    positions: np.ndarray
    """Positions of the atoms [atom, 3]."""
    pairs: np.ndarray
    """First and second atom of each bond [2, bond]."""
    vectors: np.ndarray
    """Vector from the first atom to the second atom of each bond [bond, 3]."""
    is_neighbour: np.ndarray
    """Mask of the pairs of atoms that are neighbours [atom, atom]."""
    is_common_neighbour: np.ndarray
    """Mask of the entries of `neighbours` that are also neighbours of the second atom of the bond [bond, neighbour]."""
    neighbours: np.ndarray
    """Neighbours of the first atom of each bond [bond, neighbour], padded with the first atom itself."""
    second_shell_ratio: float
    """Number of pairs of second-nearest atoms (see `SECOND_SHELL_DISTANCE`), divided by the number of bonds."""


class _Layers(NamedTuple):
    """The layers of a stack along an axis, from one end to the other."""

    atom_layer: np.ndarray
    """Number of the layer of each atom, counted from 0 [atom]."""
    phase_product: np.ndarray
    """Product of the phases of the bonds below and above each inner layer [layer]; it is negative if the layer is
    hexagonal, and 0 if bonds are missing."""

    @property
    def is_hexagonal(self) -> np.ndarray:
        """Mask of the hexagonal layers among the inner layers with bonds on both sides."""
        return self.phase_product[self.phase_product != 0] < 0


_NO_LAYERS = _Layers(np.zeros(0, int), np.zeros(0))


def identify_structure_type(positions: np.ndarray) -> StructureType:
    """Return the structure type of a cluster from the neighbours of its atoms.

    A cluster with five-fold bonds is a decahedron if all these bonds are parallel, otherwise an icosahedron. The ratio
    of second-nearest pairs to bonds distinguishes sc (about 2), close-packed structures (0.3 to 0.5) and bcc (0). The
    stacking sequence distinguishes fcc, hcp and faulted structures.

    Args:
        positions: Positions of the atoms [atom, 3], in any unit.
    """
    if len(positions) < 5 or not np.isfinite(positions).all():
        return UNKNOWN_TYPE
    bonds = _find_bonds(np.asarray(positions, np.float64))
    if bonds is None:
        return UNKNOWN_TYPE
    is_large_enough = len(positions) >= MIN_TYPE_ATOMS
    if fivefold := _identify_fivefold(bonds):
        return StructureType(fivefold[0], math.nan, is_large_enough and fivefold[1])
    if bonds.second_shell_ratio > 1:
        return (
            StructureType("sc", math.nan, is_large_enough and _layer_count(bonds, 1.0) >= MIN_TYPE_LAYERS)
            if _is_simple_cubic(bonds)
            else UNKNOWN_TYPE
        )
    ordered_share, is_hexagonal = _best_stack(bonds)
    if bonds.second_shell_ratio < 0.15:
        is_bcc = ordered_share > 0.9 and bonds.is_neighbour.sum(axis=0).max() >= 8
        return (
            StructureType("bcc", math.nan, is_large_enough and _layer_count(bonds, LAYER_SPACING) >= MIN_TYPE_LAYERS)
            if is_bcc
            else UNKNOWN_TYPE
        )
    if ordered_share < MIN_ORDERED_BOND_SHARE or not len(is_hexagonal):
        return UNKNOWN_TYPE
    hexagonal_share = float(is_hexagonal.mean())
    name = (
        "fcc"
        if hexagonal_share < MAX_FCC_HEXAGONAL_SHARE
        else "hcp"
        if hexagonal_share > MIN_HCP_HEXAGONAL_SHARE
        else "faulted"
    )
    return StructureType(
        name,
        hexagonal_share,
        is_large_enough and len(is_hexagonal) + 2 >= MIN_TYPE_LAYERS and ordered_share > MIN_SINGLE_STACK_SHARE,
    )


def stacking_sequence(positions: np.ndarray) -> str:
    """Return the stacking sequence of a cluster: a letter h or c for each inner layer.

    The sequence is empty if the cluster is not a stack of close-packed layers.

    Args:
        positions: Positions of the atoms [atom, 3], in any unit.
    """
    bonds = _find_bonds(np.asarray(positions, np.float64))
    ordered_share, is_hexagonal = (0.0, np.zeros(0, bool)) if bonds is None else _best_stack(bonds)
    return "".join(np.where(is_hexagonal, "h", "c")) if ordered_share >= MIN_ORDERED_BOND_SHARE else ""


def layer_types(positions: np.ndarray) -> list[str]:
    """Return the type of the close-packed layer of each atom, or its environment if the cluster is not one stack.

    An atom of a stack lies in a layer that is "cubic", "hexagonal" or "outermost". In any other cluster, an atom of a
    five-fold bond is "five-fold", and another atom is "inner" if it has at least 12 neighbours, or 6 in sc, and
    otherwise "surface".

    Args:
        positions: Positions of the atoms [atom, 3], in any unit.
    """
    structure_type = identify_structure_type(positions)
    bonds = _find_bonds(np.asarray(positions, np.float64)) if structure_type.name else None
    if bonds is None:
        return ["unknown"] * len(positions)
    if math.isfinite(structure_type.hexagonal_share):
        return _stack_layer_types(bonds)
    full_shell = 6 if structure_type.name == "sc" else 12
    is_inner = bonds.is_neighbour.sum(axis=0) >= full_shell
    types = np.where(is_inner, "inner", "surface").astype(object)
    types[np.unique(bonds.pairs[:, _fivefold_bonds(bonds)])] = "five-fold"
    return types.tolist()


def mean_bond(tree: KDTree) -> float:
    """Return the mean nearest-neighbour distance, in the unit of the positions. It is 0 if two atoms coincide.

    Args:
        tree: KD-tree of the positions of the atoms.
    """
    nearest_distance = tree.query(tree.data, k=2)[0][:, 1]
    median_distance = float(np.median(nearest_distance))
    if nearest_distance.min() <= 0.1 * median_distance:
        return 0.0
    first_atom, second_atom = tree.query_pairs(1.2 * median_distance, output_type="ndarray").T
    return float(np.linalg.norm(tree.data[first_atom] - tree.data[second_atom], axis=1).mean())


def _find_bonds(positions: np.ndarray) -> _Bonds | None:
    """Return the bonds of a cluster, or None if two atoms coincide."""
    tree = KDTree(positions)
    if not (bond_length := mean_bond(tree)):
        return None
    pairs = tree.query_pairs(SECOND_SHELL_DISTANCE * bond_length, output_type="ndarray").T
    vectors = positions[pairs[1]] - positions[pairs[0]]
    distances = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    is_bond = distances < NEIGHBOUR_DISTANCE * bond_length
    second_shell_ratio = len(distances) / int(is_bond.sum()) - 1
    pairs, vectors = pairs[:, is_bond], vectors[is_bond] / bond_length
    is_neighbour = np.zeros((len(positions), len(positions)), bool)
    is_neighbour[pairs[0], pairs[1]] = is_neighbour[pairs[1], pairs[0]] = True
    neighbours = _neighbour_table(pairs, len(positions))[pairs[0]]
    is_common_neighbour = is_neighbour[pairs[1][:, None], neighbours] & (neighbours != pairs[0][:, None])
    return _Bonds(
        positions / bond_length, pairs, vectors, is_neighbour, is_common_neighbour, neighbours, second_shell_ratio
    )


def _neighbour_table(pairs: np.ndarray, n_atoms: int) -> np.ndarray:
    """Return the neighbours of each atom [atom, neighbour], padded with the atom itself."""
    first_atom, second_atom = np.concatenate([pairs, pairs[::-1]], axis=1)
    order = np.argsort(first_atom, kind="stable")
    first_atom, second_atom = first_atom[order], second_atom[order]
    neighbour_counts = np.bincount(first_atom, minlength=n_atoms)
    column = np.arange(len(first_atom)) - np.repeat(np.cumsum(neighbour_counts) - neighbour_counts, neighbour_counts)
    table = np.repeat(np.arange(n_atoms)[:, None], neighbour_counts.max(), axis=1)
    table[first_atom, column] = second_atom
    return table


def _identify_fivefold(bonds: _Bonds) -> tuple[str, bool] | None:
    """Return the five-fold type, and whether the particle contains its centre or axis, or None if it is not five-fold.

    A five-fold axis that extends over less than `MIN_AXIS_SHARE` of the particle occurs at surfaces by chance and does
    not define a type. The centre of an icosahedron is an atom with at least ten five-fold bonds. A particle without
    this centre may be a part of an icosahedron.
    """
    fivefold_bonds = _fivefold_bonds(bonds)
    if not len(fivefold_bonds):
        return None
    directions = bonds.vectors[fivefold_bonds] / np.linalg.norm(bonds.vectors[fivefold_bonds], axis=1, keepdims=True)
    cosines = abs(directions @ directions.T)
    is_parallel = cosines > MIN_PARALLEL_BOND_COSINE
    axis = directions[is_parallel.sum(axis=1).argmax()]
    has_long_axis = len(fivefold_bonds) > MIN_AXIS_SHARE * np.ptp(bonds.positions @ axis)
    if is_parallel.all():
        return ("decahedron", True) if has_long_axis else None
    is_icosahedral_angle = abs(np.arccos(np.minimum(cosines, 1)) - FIVEFOLD_AXIS_ANGLE) < math.radians(12)
    if (is_parallel | is_icosahedral_angle).mean() < 0.8:
        return None
    has_centre = bool(np.bincount(bonds.pairs[:, fivefold_bonds].ravel()).max() >= 10)
    return ("icosahedron", has_centre) if has_long_axis or has_centre else None


def _fivefold_bonds(bonds: _Bonds) -> np.ndarray:
    """Return the numbers of the bonds whose atoms have five common neighbours in a ring [bond]."""
    fivefold_bonds = np.flatnonzero(bonds.is_common_neighbour.sum(axis=1) == 5)
    ring = bonds.neighbours[fivefold_bonds][bonds.is_common_neighbour[fivefold_bonds]].reshape(-1, 5)
    return fivefold_bonds[(bonds.is_neighbour[ring[:, :, None], ring[:, None, :]].sum(axis=2) == 2).all(axis=1)]


def _is_simple_cubic(bonds: _Bonds) -> bool:
    """Return whether most pairs of bonds are parallel or perpendicular."""
    directions = bonds.vectors[:: max(1, len(bonds.vectors) // N_SAMPLED_BONDS)]
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    cosines = abs(directions @ directions.T)
    return bool(((cosines < 0.3) | (cosines > 0.95)).mean() > 0.8)


def _layer_count(bonds: _Bonds, spacing: float) -> int:
    """Return the number of layers with this spacing along the principal axis with the smallest extent."""
    offsets = bonds.positions - bonds.positions.mean(axis=0)
    return round(float(np.ptp(offsets @ np.linalg.eigh(offsets.T @ offsets)[1], axis=0).min()) / spacing) + 1


def _stack_layer_types(bonds: _Bonds) -> list[str]:
    """Return the type of the layer of each atom of a stack: cubic, hexagonal or outermost."""
    _, layers = _best_layers(bonds)
    types = np.full(layers.atom_layer.max() + 1, "outermost", object)
    types[1 : 1 + len(layers.phase_product)] = np.where(layers.phase_product < 0, "hexagonal", "cubic")
    return types[layers.atom_layer].tolist()


def _best_stack(bonds: _Bonds) -> tuple[float, np.ndarray]:
    """Return the share of ordered bonds along the best axis of layers, and a mask of its hexagonal inner layers."""
    ordered_share, layers = _best_layers(bonds)
    return ordered_share, layers.is_hexagonal


def _best_layers(bonds: _Bonds) -> tuple[float, _Layers]:
    """Return the share of ordered bonds along the best axis of layers, and the layers along it.

    An ordered bond lies within a layer or between adjacent layers. The best axis has the largest share. If several axes
    have the same share, e.g. the four {111} axes of fcc, the axis with the fewest layers is used.
    """
    axes = _layer_axes(bonds)
    if not len(axes):
        return 0.0, _NO_LAYERS
    heights = bonds.vectors @ axes.T
    is_between_layers = abs(abs(heights) - LAYER_SPACING) < HEIGHT_TOLERANCE
    ordered_share = (is_between_layers | (abs(heights) < HEIGHT_TOLERANCE)).mean(axis=0)
    best_axes = np.flatnonzero(ordered_share > ordered_share.max() - 0.003)
    layers_by_axis = [_layers(bonds, axes[k], heights[:, k], is_between_layers[:, k]) for k in best_axes]
    return float(ordered_share.max()), min(
        layers_by_axis, key=lambda layers: (len(layers.is_hexagonal), -layers.is_hexagonal.sum())
    )


def _layer_axes(bonds: _Bonds) -> np.ndarray:
    """Return the unit vectors that are perpendicular to many triangles of neighbours [axis, 3].

    Each vector is refined, so that it is perpendicular to the bonds within the layers.
    """
    sampled_bonds = np.arange(0, len(bonds.vectors), max(1, len(bonds.vectors) // N_SAMPLED_BONDS))
    bond_row, neighbour_column = np.nonzero(bonds.is_common_neighbour[sampled_bonds])
    bond_row = sampled_bonds[bond_row]
    third_atom_vectors = (
        bonds.positions[bonds.neighbours[bond_row, neighbour_column]] - bonds.positions[bonds.pairs[0, bond_row]]
    )
    normals = np.cross(bonds.vectors[bond_row], third_atom_vectors)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    is_parallel = (abs(normals @ normals.T) > MIN_PARALLEL_TRIANGLE_COSINE).astype(np.float32)
    is_unassigned, axes = np.ones(len(normals), np.float32), np.zeros((0, 3))
    while len(axes) < 8:
        parallel_counts = (is_parallel @ is_unassigned) * is_unassigned
        if parallel_counts.max(initial=0) < max(1, 0.04 * len(normals)):
            break
        group = is_parallel[parallel_counts.argmax()] > 0
        is_unassigned[group] = 0
        axis = np.linalg.eigh(normals[group].T @ normals[group])[1][:, 2]
        in_plane_vectors = bonds.vectors[abs(bonds.vectors @ axis) < HEIGHT_TOLERANCE]
        axis = np.linalg.eigh(in_plane_vectors.T @ in_plane_vectors)[1][:, 0] if len(in_plane_vectors) > 5 else axis
        if not (abs(axes @ axis) > MIN_PARALLEL_TRIANGLE_COSINE).any():
            axes = np.concatenate([axes, axis[None]])
    return axes


def _layers(bonds: _Bonds, axis: np.ndarray, heights: np.ndarray, is_between_layers: np.ndarray) -> _Layers:
    """Return the layers along an axis.

    The bonds from a layer to the next layer have three azimuths φ with the same exp(3iφ). This number is the same for
    the bonds below and above a cubic layer. It has the opposite sign for the bonds below and above a hexagonal layer.
    """
    if not is_between_layers.any():
        return _NO_LAYERS
    spacing = abs(heights[is_between_layers]).mean()
    layer_heights = bonds.positions @ axis / spacing
    layer_heights -= np.angle(np.exp(2j * np.pi * layer_heights).mean()) / (2 * np.pi)
    atom_layer = np.round(layer_heights).astype(int)
    atom_layer -= atom_layer.min()
    direction_sign = np.sign(heights[is_between_layers])
    lower_layer = np.where(direction_sign > 0, *atom_layer[bonds.pairs[:, is_between_layers]])
    in_plane_components = (
        np.linalg.svd(axis[None])[2][1:] @ (bonds.vectors[is_between_layers] * direction_sign[:, None]).T
    )
    azimuth_phases = np.exp(3j * np.arctan2(in_plane_components[1], in_plane_components[0]))
    layer_phases = np.bincount(lower_layer, azimuth_phases.real) + 1j * np.bincount(lower_layer, azimuth_phases.imag)
    return _Layers(atom_layer, (layer_phases[1:] * layer_phases[:-1].conj()).real)
