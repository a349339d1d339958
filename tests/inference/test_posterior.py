import numpy as np
import pytest

from jaxstruc.inference import posterior


def test_weights_are_relative_likelihoods():
    found = posterior.weights(np.array([0.11, 0.10, np.nan, 0.2]), 54.0, 4)
    assert found.sum() == pytest.approx(1) and found[2] == 0 and np.argmax(found) == 1
    assert found[0] / found[1] == pytest.approx(1.1**-50)
    np.testing.assert_allclose(posterior.weights(np.array([0.0, 0.3]), 50.0, 4), [1, 0], atol=1e-12)


def test_types_have_equal_weight_at_each_size_however_many_members_they_list():
    types = np.array(["fcc"] * 6 + ["hcp"] * 2 + ["fcc"], object)
    atoms = np.array([100, 101, 102, 103, 104, 105, 100, 103, 500])
    diameter = np.arange(9) + 5.0
    before = posterior.prior(types, atoms, diameter, listed=(types, atoms, diameter))
    assert before[:6].sum() == pytest.approx(before[6:8].sum()) == pytest.approx(before[8])


def test_near_copies_share_one_part():
    types, atoms = np.array(["fcc"] * 4, object), np.array([100, 100, 100, 101])
    diameter = np.array([5.0, 5.01, 6.0, 5.0])
    before = posterior.prior(types, atoms, diameter, listed=(types, atoms, diameter))
    np.testing.assert_allclose(before, [1 / 6, 1 / 6, 1 / 3, 1 / 3])


def test_what_was_not_listed_counts_as_one_more_member():
    listed = (np.array(["fcc"], object), np.array([100]), np.array([5.0]))
    assert posterior.prior(np.array(["sc"], object), np.array([40]), np.array([4.0]), listed=listed) == [1.0]


def test_weights_before_the_fit_enter():
    even = posterior.weights(np.array([0.1, 0.1]), 50, 4)
    uneven = posterior.weights(np.array([0.1, 0.1]), 50, 4, before=np.array([1.0, 3.0]))
    np.testing.assert_allclose(even, 0.5)
    np.testing.assert_allclose(uneven, [0.25, 0.75])
