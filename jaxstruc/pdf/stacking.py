r"""Comparison of all stacking sequences of a particle's close-packed layers with a measured G(r).

Each close-packed layer has one of three lateral positions (0, 1 or 2, usually called A, B and C). A stacking sequence
is the list of these positions $s_a$ from the lowest layer a = 0 on. Its letters state for each inner layer whether the
stacking is cubic (c) or hexagonal (h).

The curve of a pair of layers depends only on their two positions. The curve of a sequence is therefore a sum over pairs
of layers, $y = \sum_{a \le b} y_{ab}(s_a, s_b)$, and the terms $y_{ab}$ are computed once for all sequences.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from jaxstruc.clusters import lattices

MAX_ENUMERATED_LAYERS = 14
"""Number of layers for which all sequences are compared. If there are more layers, the lowest ones are cubic."""
STACKING_POSITIONS = np.array(
    [[0.0, 0.0, 0.0], [0.0, lattices.HOLLOW_DISTANCE, 0.0], [0.0, -lattices.HOLLOW_DISTANCE, 0.0]]
)
"""Displacement of a layer at each of the three lateral positions, in units of the bond length."""


class StackingSequence(NamedTuple):
    """A stacking sequence with its misfit."""

    layer_positions: np.ndarray
    """[layer] Lateral position of each layer (0, 1 or 2), from the lowest layer on."""
    misfit: float
    """Sum of squared residuals."""

    @property
    def letters(self) -> str:
        """Letters of the inner layers (h or c), from the lowest layer on."""
        steps = np.diff(self.layer_positions) % 3
        return "".join(np.where(steps[1:] == steps[:-1], "c", "h"))


def layers(positions: Float[np.ndarray, "atom 3"]) -> list[np.ndarray]:
    """Return the positions [atom, 3] of the atoms in each layer of a stack along z, from the lowest layer on.

    Args:
        positions: Positions of the atoms of a stack from `lattices.stack`, in units of the bond length. The whole stack
            may be displaced.
    """
    layer_index = np.round((positions[:, 2] - positions[:, 2].min()) / lattices.LAYER_SPACING).astype(int)
    return [positions[layer_index == index] for index in range(layer_index.max() + 1)]


def ball_layers(layer: np.ndarray, heights: Sequence[float], radius: float) -> list[list[np.ndarray]]:
    """Return the atoms inside a sphere, for each layer and each of its lateral positions [layer][position].

    All lengths are in units of the bond length.

    Args:
        layer: Atoms [atom, 3] of an extended layer at height 0 and position 0.
        heights: Heights of the layers.
        radius: Radius of the sphere, whose centre is the origin.
    """
    ball_atoms = []
    for height in heights:
        layers_at_height = [layer + position + np.array([0, 0, height]) for position in STACKING_POSITIONS]
        ball_atoms.append([atoms[np.linalg.norm(atoms, axis=1) <= radius] for atoms in layers_at_height])
    return ball_atoms


def shifted_layers(positions: np.ndarray) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Return the atoms of each layer at each lateral position [layer][position], and the actual positions [layer].

    The lateral position of the lowest layer is called 0. Both results are empty if the particle has an empty layer.
    """
    layer_atoms = layers(positions)
    layer_positions = np.zeros(len(layer_atoms), int)
    if not all(len(atoms) for atoms in layer_atoms):
        return [], layer_positions[:0]
    for index in range(1, len(layer_atoms)):
        offset = (layer_atoms[index][0] - layer_atoms[0][0])[:2] - STACKING_POSITIONS[:, :2]
        # lattice vectors of a layer are integer combinations of (1, 0) and (1/2, sqrt(3)/2)
        second_coordinate = offset[:, 1] / np.sqrt(0.75)
        first_coordinate = offset[:, 0] - second_coordinate / 2
        rounding_error = abs(first_coordinate - np.round(first_coordinate)) + abs(
            second_coordinate - np.round(second_coordinate)
        )
        layer_positions[index] = int(np.argmin(rounding_error))
    return [
        [atoms + STACKING_POSITIONS[position] - STACKING_POSITIONS[layer_position] for position in range(3)]
        for atoms, layer_position in zip(layer_atoms, layer_positions, strict=True)
    ], layer_positions


def rank_sequences(
    layer_atoms: Sequence[Sequence[np.ndarray]],
    pair_curves: Float[np.ndarray, "third basis"],
    data: Float[np.ndarray, " basis"],
    *,
    absolute: bool,
    max_sequences: int,
) -> list[StackingSequence]:
    """Return the sequences that fit best. Of a sequence and its reverse, only one is returned.

    Args:
        layer_atoms: Atoms [atom, 3] of each layer at each lateral position, in units of the bond length.
        pair_curves: Curve of a pair of atoms, times the number of atoms, at each of `close_packed_distances`.
        data: Measured data in their compact basis (`pdf.target`).
        absolute: Whether the scale is fixed at 1. Otherwise each sequence has its least-squares scale.
        max_sequences: Largest number of returned sequences.
    """
    n_layers = len(layer_atoms)
    pair_sums = _layer_pair_sums(layer_atoms, pair_curves)
    atom_counts = np.array([[len(position_atoms) for position_atoms in layer] for layer in layer_atoms])
    sequences = np.arange(3, dtype=np.int8)[:, None]
    curve_sums, n_atoms = pair_sums[0, :, 0, :].diagonal().T.copy(), atom_counts[0].astype(float)
    for b in range(1, n_layers):
        position_shifts = [1, 2] if n_layers - b <= MAX_ENUMERATED_LAYERS or b == 1 else [0]
        extensions = []
        for position_shift in position_shifts:
            new_position = (
                (sequences[:, -1] + position_shift) % 3
                if position_shift
                else (2 * sequences[:, -1] - sequences[:, -2]) % 3
            )
            added_curves = pair_sums[b, new_position, b, new_position]
            for a in range(b):
                added_curves += pair_sums[a, sequences[:, a], b, new_position]
            extensions.append(
                (
                    np.concatenate([sequences, new_position[:, None]], 1),
                    curve_sums + added_curves,
                    n_atoms + atom_counts[b, new_position],
                )
            )
        sequences, curve_sums, n_atoms = (np.concatenate(columns) for columns in zip(*extensions, strict=True))
    model = curve_sums / n_atoms[:, None]
    projection, squared_norm = model @ data, np.einsum("ij,ij->i", model, model)
    misfit = data @ data - (
        2 * projection - squared_norm if absolute else np.maximum(projection, 0) ** 2 / squared_norm
    )
    best_sequences: dict[str, StackingSequence] = {}
    for row in np.argsort(misfit, kind="stable"):
        sequence = StackingSequence(sequences[row], float(misfit[row]))
        best_sequences.setdefault(min(sequence.letters, sequence.letters[::-1]), sequence)
        if len(best_sequences) == max_sequences:
            break
    return list(best_sequences.values())


def close_packed_distances(longest: float) -> Float[np.ndarray, " third"]:
    """Return the possible distances between atoms of close-packed layers, in units of the bond length.

    The squared distances are multiples of 1/3. The first and the last distance are placeholders whose curves are not
    used.

    Args:
        longest: Longest distance, in units of the bond length.
    """
    return np.sqrt(np.maximum(np.arange(int(3 * longest**2) + 2), 1) / 3)


def _layer_pair_sums(layer_atoms, pair_curves) -> Float[np.ndarray, "layer place layer place basis"]:
    """Return the sums of pair curves within each layer and between all layers, for all lateral positions."""
    n_layers, n_bins = len(layer_atoms), len(pair_curves)
    pair_curves = np.concatenate([np.zeros_like(pair_curves[:1]), pair_curves[1:-1], np.zeros_like(pair_curves[:1])])
    all_atoms = [group_atoms for layer in layer_atoms for group_atoms in layer]
    group_index = np.repeat(np.arange(3 * n_layers), [len(group_atoms) for group_atoms in all_atoms])
    positions = np.concatenate(all_atoms)
    pair_sums = np.zeros((3 * n_layers, 3 * n_layers, pair_curves.shape[1]), np.float32)
    starts = np.searchsorted(group_index, np.arange(3 * n_layers + 1))
    for group in range(3 * n_layers):  # pairs within a layer are counted twice, so their numbers are halved below
        group_rows, lower_rows = slice(starts[group], starts[group + 1]), slice(starts[3 * (group // 3) + 3])
        squared_distances = cdist(positions[group_rows], positions[lower_rows], "sqeuclidean")
        distance_bins = np.minimum(np.rint(3 * squared_distances), n_bins - 1).astype(np.int64)
        n_lower_groups = 3 * (group // 3) + 3
        histograms = np.bincount(
            (group_index[lower_rows] * n_bins + distance_bins).ravel(), minlength=n_lower_groups * n_bins
        )
        histograms = histograms.reshape(n_lower_groups, n_bins).astype(np.float32)
        histograms[group] /= 2
        pair_sums[:n_lower_groups, group] = histograms @ pair_curves
    return pair_sums.reshape(n_layers, 3, n_layers, 3, -1)


def stacking_letters(sequence: StackingSequence, *, reference_layer: int, alternate_outer: bool = False) -> str:
    """Return the letters (c or h) of one period of a stack for `lattices.stack`, beginning at a reference layer.

    Args:
        sequence: Stacking sequence of the particle.
        reference_layer: Index of the layer that becomes layer 0 of the stack.
        alternate_outer: Whether the layers outside the particle have the less frequent letter of the inner layers
            instead of the more frequent one.
    """
    mostly_hexagonal = 2 * sequence.letters.count("h") > len(sequence.letters)
    outer_letter = "h" if mostly_hexagonal != alternate_outer else "c"
    letters = outer_letter + sequence.letters + outer_letter
    return letters[reference_layer:] + outer_letter * (64 - len(letters)) + letters[:reference_layer]
