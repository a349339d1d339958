"""Comparison of all stacking sequences of close-packed layers with data."""

import itertools

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


@pytest.mark.parametrize("absolute", [True, False])
def test_the_misfit_of_each_sequence_is_that_of_its_atoms(absolute):
    """Layers have different numbers of atoms at each position. The pairs are summed one by one, in double precision."""
    layer = lattices.stack("c", reach=6)
    layer = layer[abs(layer[:, 2]) < 1e-6] + np.array([0.3, 0.15, 0])
    heights = [(index + 0.3) * lattices.LAYER_SPACING for index in range(-2, 3)]
    layers = stacking.ball_layers(layer, heights, 2.2)
    assert len({len(atoms) for atoms in layers[0]}) > 1 and len(layers[0][0]) != len(layers[1][0])
    data = RNG.normal(size=60) + pair_sum(stacked_atoms(layers, [0, 1, 0, 2, 1]))
    sequences = stacking.rank_sequences(layers, PAIR_CURVES, data, absolute=absolute, max_sequences=1000)
    assert len(sequences) == 6  # 8 sequences of letters: 4 palindromes and 2 pairs
    best_misfits: dict[str, float] = {}
    for positions in itertools.product(range(3), repeat=5):
        if any(lower == upper for lower, upper in itertools.pairwise(positions)):
            continue
        letters = stacking.StackingSequence(np.array(positions), 0.0).letters
        curve = pair_sum(stacked_atoms(layers, positions))
        scale = 1.0 if absolute else max(curve @ data, 0) / (curve @ curve)
        misfit = np.sum((data - scale * curve) ** 2)
        for name in (letters, letters[::-1]):
            best_misfits[name] = min(misfit, best_misfits.get(name, np.inf))
    for sequence in sequences:
        assert sequence.misfit == pytest.approx(best_misfits[sequence.letters], rel=1e-4)
    misfits = [sequence.misfit for sequence in sequences]
    assert misfits == sorted(misfits)
    best_sequences = stacking.rank_sequences(layers, PAIR_CURVES, data, absolute=absolute, max_sequences=2)
    assert [sequence.letters for sequence in best_sequences] == [sequence.letters for sequence in sequences[:2]]


def test_the_lowest_letter_of_a_stack_of_seventeen_layers_is_cubic():
    """The letters of the 14 highest inner layers and the step from the lowest layer to the next one are varied."""
    layer = lattices.stack("c", reach=2)
    layer = layer[abs(layer[:, 2]) < 1e-6][:2]
    heights = [index * lattices.LAYER_SPACING for index in range(stacking.MAX_ENUMERATED_LAYERS + 3)]
    pair_curves = RNG.normal(size=(len(stacking.close_packed_distances(14.0)), 2)).astype(np.float32)
    sequences = stacking.rank_sequences(
        stacking.ball_layers(layer, heights, 20.0), pair_curves, np.ones(2), absolute=False, max_sequences=100
    )
    letters = [sequence.letters for sequence in sequences]
    assert len(letters) == 100 and {len(word) for word in letters} == {15}
    assert [{word[index] for word in letters} for index in (0, 1, -1)] == [{"c"}, {"h", "c"}, {"h", "c"}]


@pytest.mark.parametrize("longest", [1.0, 2.0, 2.5, 5.3])
def test_distances_of_close_packed_atoms_cover_the_longest_and_one_placeholder(longest):
    distances = stacking.close_packed_distances(longest)
    np.testing.assert_allclose(distances[1:] ** 2, np.arange(1, len(distances)) / 3)
    assert distances[0] == distances[1] and distances[-2] <= longest + 1e-9 < distances[-1]


def test_layers_are_sorted_from_the_lowest_and_an_empty_layer_is_no_stack():
    atoms = stacked_atoms(layer_groups(2.0), [0, 1, 2, 0, 1, 2, 0]) + np.array([0.0, 0.0, 7.3])
    layers = stacking.layers(atoms[::-1])
    mean_heights = [layer[:, 2].mean() for layer in layers]
    np.testing.assert_allclose(np.diff(mean_heights), lattices.LAYER_SPACING)
    gap = np.concatenate([layers[0], layers[2]])
    shifted_layers, layer_positions = stacking.shifted_layers(gap)
    assert shifted_layers == [] and len(layer_positions) == 0
    (single_layer,), single_position = stacking.shifted_layers(layers[0])
    assert single_position.tolist() == [0]
    for atoms_at_position, shift in zip(single_layer, stacking.STACKING_POSITIONS, strict=True):
        np.testing.assert_allclose(atoms_at_position, layers[0] + shift)


@pytest.mark.parametrize(
    ("layer_positions", "is_alternate", "outer"),
    [((0, 1, 0, 1, 2, 0), False, "c"), ((0, 1, 0, 1, 2, 0), True, "h"), ((0, 1, 0, 1, 0, 2), False, "h")],
)
def test_a_tie_of_letters_continues_cubic_outside(layer_positions, is_alternate, outer):
    sequence = stacking.StackingSequence(np.array(layer_positions), 0.0)
    letters = stacking.stacking_letters(sequence, reference_layer=2, alternate_outer=is_alternate)
    framed_letters = outer + sequence.letters + outer
    assert len(letters) == 64 and letters.startswith(framed_letters[2:]) and letters.endswith(framed_letters[:2])
    assert set(letters[4:-2]) == {outer}


def test_the_atoms_of_a_ball_are_those_of_its_displaced_layers():
    layer = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [-1.0, 0.1, 0.0]])
    heights, hollow = (-0.5, 0.4), 1 / np.sqrt(3)
    for layer_atoms, height in zip(stacking.ball_layers(layer, heights, 1.2), heights, strict=True):
        for atoms, y in zip(layer_atoms, (0.0, hollow, -hollow), strict=True):
            displaced_layer = layer + np.array([0.0, y, height])
            is_inside = (displaced_layer**2).sum(axis=1) <= 1.2**2
            np.testing.assert_allclose(atoms, displaced_layer[is_inside])
