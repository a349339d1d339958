"""Words of close-packed layers, all tried at once."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.inference import stacking
from jaxstruc.structures import lattices

RNG = np.random.default_rng(3)
CURVES = RNG.normal(size=(len(stacking.distances(9.0)), 60)).astype(np.float32)


def groups(radius=3.0):
    layer = lattices.stack("c", reach=6)
    layer = layer[abs(layer[:, 2]) < 1e-6] + np.array([0.1, 0.2, 0])
    return stacking.ball(layer, [k * lattices.LAYER for k in range(-3, 4)], radius)


def atoms(every, places):
    return np.concatenate([every[k][place] for k, place in enumerate(places)])


def alike(one, other):
    """Whether words are the same, whichever end is up."""
    return one in (other, other[::-1])


def model(positions):
    """The sum over pairs, written out."""
    third = np.rint(3 * pdist(positions) ** 2).astype(int)
    return CURVES[third].astype(float).sum(axis=0) / len(positions)


def test_the_word_behind_a_curve_comes_first_with_no_misfit():
    every, places = groups(), np.array([0, 1, 0, 2, 1, 2, 0])
    data = model(atoms(every, places))
    found = stacking.ranked(every, CURVES, data, absolute=True, most=3)
    assert alike(found[0].letters, stacking.Word(places, 0.0).letters)
    assert found[0].misfit == pytest.approx(0, abs=1e-4 * (data @ data))
    assert found[1].misfit > 10 * abs(found[0].misfit)


def test_without_an_absolute_scale_the_best_one_counts():
    every, places = groups(), np.array([1, 2, 0, 1, 0, 1, 2])
    found = stacking.ranked(every, CURVES, 0.7 * model(atoms(every, places)), absolute=False, most=1)
    assert alike(found[0].letters, stacking.Word(places, 0.0).letters)


def test_each_word_is_there_once_whichever_end_is_up():
    words = stacking.ranked(groups(), CURVES, RNG.normal(size=60), absolute=True, most=10**6)
    letters = {min(word.letters, word.letters[::-1]) for word in words}
    assert len(words) == len(letters) == 20  # of 32, 12 pairs are the same upside down, and 8 words are their own


def test_a_particle_is_taken_apart_into_its_layers_and_put_together_again():
    x = atoms(groups(), [2, 0, 1, 0, 2, 0, 1])
    every, own = stacking.shifted(x[np.random.default_rng(0).permutation(len(x))])
    assert stacking.Word(own, 0.0).letters == "chchc"
    assert np.allclose(np.sort(pdist(atoms(every, own))), np.sort(pdist(x)))


def test_a_word_becomes_that_of_a_stack_with_the_same_layers():
    word = stacking.Word(np.array([0, 1, 0, 2, 1, 2, 0]), 0.0)
    text = stacking.word_of(word, layer=3)
    stack = lattices.stack(text, reach=4)
    heights = stack[:, 2] / lattices.LAYER
    own = stacking.shifted(stack[(abs(heights) < 3.5)])[1]
    assert stacking.Word(own, 0.0).letters == word.letters


def test_layers_beyond_a_particle_go_on_as_most_of_it_does_or_otherwise():
    hexagonal, cubic = (stacking.Word(np.array(places), 0.0) for places in ([0, 1, 0, 1, 0, 2], [0, 1, 2, 0, 1, 0]))
    assert stacking.word_of(hexagonal, layer=0).startswith("hhhhchhh")
    assert stacking.word_of(hexagonal, layer=0, other=True).startswith("chhhcccc")
    assert stacking.word_of(cubic, layer=0).startswith("cccchccc")
