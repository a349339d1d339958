"""Comparison of all stacking sequences of close-packed layers with data."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import lattices
from jaxstruc.pdf import stacking

RNG = np.random.default_rng(3)
PAIR_CURVES = RNG.normal(size=(len(stacking.close_packed_distances(9.0)), 60)).astype(np.float32)


def layer_groups(radius=3.0):
    layer = lattices.stack("c", reach=6)
    layer = layer[abs(layer[:, 2]) < 1e-6] + np.array([0.1, 0.2, 0])
    return stacking.ball_layers(layer, [index * lattices.LAYER_SPACING for index in range(-3, 4)], radius)


def stacked_atoms(layers, layer_positions):
    return np.concatenate([layers[index][position] for index, position in enumerate(layer_positions)])


def are_same_sequence(letters, other_letters):
    """Return whether two sequences are equal or reversed."""
    return letters in (other_letters, other_letters[::-1])


def pair_sum(positions):
    """Return F(Q) from the sum over all pairs."""
    distance_index = np.rint(3 * pdist(positions) ** 2).astype(int)
    return PAIR_CURVES[distance_index].astype(float).sum(axis=0) / len(positions)


def test_the_sequence_behind_a_curve_comes_first_with_no_misfit():
    layers, layer_positions = layer_groups(), np.array([0, 1, 0, 2, 1, 2, 0])
    data = pair_sum(stacked_atoms(layers, layer_positions))
    sequences = stacking.rank_sequences(layers, PAIR_CURVES, data, absolute=True, max_sequences=3)
    assert are_same_sequence(sequences[0].letters, stacking.StackingSequence(layer_positions, 0.0).letters)
    assert sequences[0].misfit == pytest.approx(0, abs=1e-4 * (data @ data))
    assert sequences[1].misfit > 10 * abs(sequences[0].misfit)


def test_without_an_absolute_scale_the_best_one_counts():
    layers, layer_positions = layer_groups(), np.array([1, 2, 0, 1, 0, 1, 2])
    sequences = stacking.rank_sequences(
        layers, PAIR_CURVES, 0.7 * pair_sum(stacked_atoms(layers, layer_positions)), absolute=False, max_sequences=1
    )
    assert are_same_sequence(sequences[0].letters, stacking.StackingSequence(layer_positions, 0.0).letters)


def test_each_sequence_is_listed_once_whichever_end_is_up():
    sequences = stacking.rank_sequences(
        layer_groups(), PAIR_CURVES, RNG.normal(size=60), absolute=True, max_sequences=10**6
    )
    letters = {min(sequence.letters, sequence.letters[::-1]) for sequence in sequences}
    assert len(sequences) == len(letters) == 20  # 32 sequences: 12 pairs and 8 palindromes


def test_a_particle_is_taken_apart_into_its_layers_and_put_together_again():
    positions = stacked_atoms(layer_groups(), [2, 0, 1, 0, 2, 0, 1])
    layers, layer_positions = stacking.shifted_layers(positions[np.random.default_rng(0).permutation(len(positions))])
    assert stacking.StackingSequence(layer_positions, 0.0).letters == "chchc"
    assert np.allclose(np.sort(pdist(stacked_atoms(layers, layer_positions))), np.sort(pdist(positions)))


def test_a_sequence_becomes_that_of_a_stack_with_the_same_layers():
    sequence = stacking.StackingSequence(np.array([0, 1, 0, 2, 1, 2, 0]), 0.0)
    letters = stacking.stacking_letters(sequence, reference_layer=3)
    positions = lattices.stack(letters, reach=4)
    heights = positions[:, 2] / lattices.LAYER_SPACING
    layer_positions = stacking.shifted_layers(positions[(abs(heights) < 3.5)])[1]
    assert stacking.StackingSequence(layer_positions, 0.0).letters == sequence.letters


def test_layers_beyond_a_particle_continue_its_stacking_or_change_it():
    hexagonal_sequence, cubic_sequence = (
        stacking.StackingSequence(np.array(layer_positions), 0.0)
        for layer_positions in ([0, 1, 0, 1, 0, 2], [0, 1, 2, 0, 1, 0])
    )
    assert stacking.stacking_letters(hexagonal_sequence, reference_layer=0).startswith("hhhhchhh")
    assert stacking.stacking_letters(hexagonal_sequence, reference_layer=0, alternate_outer=True).startswith("chhhcccc")
    assert stacking.stacking_letters(cubic_sequence, reference_layer=0).startswith("cccchccc")
