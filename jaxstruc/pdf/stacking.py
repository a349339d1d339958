r"""Which words of close-packed layers a measured G(r) shows: all words of a particle's layers at once.

Each layer may sit over three places; the pairs of two layers depend on theirs alone, so that the sum over pairs of a
word is one over pairs of layers, $y = \sum_{a \le b} y_{ab}(s_a, s_b)$, and thousands of words cost no more than one
particle.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from jaxstruc.clusters import lattices

MAX_ENUMERATED_LAYERS = 14
"""Layers whose words are all tried; of more layers the lowest are cubic."""
STACKING_POSITIONS = np.array(
    [[0.0, 0.0, 0.0], [0.0, lattices.HOLLOW_DISTANCE, 0.0], [0.0, -lattices.HOLLOW_DISTANCE, 0.0]]
)
"""Of a layer, in bonds."""


class StackingSequence(NamedTuple):
    """A stack of layers."""

    layer_positions: np.ndarray
    """[layer] 0, 1 or 2, from the lowest on."""
    misfit: float
    """Sum of squares."""

    @property
    def letters(self) -> str:
        """The letters of the inner layers, h or c, from the lowest on."""
        steps = np.diff(self.layer_positions) % 3
        return "".join(np.where(steps[1:] == steps[:-1], "c", "h"))


def layers(positions: Float[np.ndarray, "atom 3"]) -> list[np.ndarray]:
    """Return the atoms of each layer [atom, 3] of a stack along z, from the lowest on.

    Args:
        positions: sites of a stack as `lattices.stack` makes it, in bonds, moved as a whole or not.
    """
    layer_index = np.round((positions[:, 2] - positions[:, 2].min()) / lattices.LAYER_SPACING).astype(int)
    return [positions[layer_index == index] for index in range(layer_index.max() + 1)]


def ball_layers(layer: np.ndarray, heights: Sequence[float], radius: float) -> list[list[np.ndarray]]:
    """Return the atoms of layers of a ball about the origin, over each of three places [layer][place].

    Args:
        layer: atoms [atom, 3] of a layer at height 0 over place 0.
        heights: of the layers.
        radius: of the ball.
    """
    ball_atoms = []
    for height in heights:
        layers_at_height = [layer + position + np.array([0, 0, height]) for position in STACKING_POSITIONS]
        ball_atoms.append([atoms[np.linalg.norm(atoms, axis=1) <= radius] for atoms in layers_at_height])
    return ball_atoms


def shifted_layers(positions: np.ndarray) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Return the atoms of a particle's layers over each of three places, its own moved to the others; and its own.

    Nothing where it has a gap.
    """
    layer_atoms = layers(positions)
    layer_positions = np.zeros(len(layer_atoms), int)
    if not all(len(atoms) for atoms in layer_atoms):
        return [], layer_positions[:0]
    for index in range(1, len(layer_atoms)):
        offset = (layer_atoms[index][0] - layer_atoms[0][0])[:2] - STACKING_POSITIONS[:, :2]
        # a layer's vectors are whole numbers of (1, 0) and (1/2, sqrt(3)/2)
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
    """Return the words that fit best, each once whichever end is up.

    Args:
        layer_atoms: atoms [atom, 3] of each layer over each place, in bonds.
        pair_curves: of a pair, times the number of atoms, at each of `distances`.
        data: in the basis.
        absolute: whether the scale is 1; else the best counts.
        max_sequences: words.
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
    """Return the distances that atoms of close-packed layers can have, up to the longest; squares are thirds of bonds².

    The first and the last stand for none.
    """
    return np.sqrt(np.maximum(np.arange(int(3 * longest**2) + 2), 1) / 3)


def _layer_pair_sums(layer_atoms, pair_curves) -> Float[np.ndarray, "layer place layer place basis"]:
    """Return the sums over pairs within and between layers."""
    n_layers, n_bins = len(layer_atoms), len(pair_curves)
    pair_curves = np.concatenate([np.zeros_like(pair_curves[:1]), pair_curves[1:-1], np.zeros_like(pair_curves[:1])])
    all_atoms = [group_atoms for layer in layer_atoms for group_atoms in layer]
    group_index = np.repeat(np.arange(3 * n_layers), [len(group_atoms) for group_atoms in all_atoms])
    positions = np.concatenate(all_atoms)
    pair_sums = np.zeros((3 * n_layers, 3 * n_layers, pair_curves.shape[1]), np.float32)
    starts = np.searchsorted(group_index, np.arange(3 * n_layers + 1))
    for group in range(3 * n_layers):  # with the layers below, and the layer itself, whose pairs are met twice
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
    """Return a stack's word for `lattices.stack`, with one of the layers as its layer 0.

    Args:
        sequence: of the layers that there are.
        reference_layer: its layer 0.
        alternate_outer: whether the layers beyond are not of the letter that most inner layers have, but of the other.
    """
    mostly_hexagonal = 2 * sequence.letters.count("h") > len(sequence.letters)
    outer_letter = "h" if mostly_hexagonal != alternate_outer else "c"
    letters = outer_letter + sequence.letters + outer_letter
    return letters[reference_layer:] + outer_letter * (64 - len(letters)) + letters[:reference_layer]
