import numpy as np

from jaxstruc.pdf import classifier_prior


def test_the_fewest_candidates_with_a_probability_are_selected_in_their_order():
    weights = np.array([0.05, 0.6, 0.0, 0.3, 0.05])
    assert classifier_prior.probable_candidates(weights, probability=0.85).tolist() == [1, 3]
    assert classifier_prior.probable_candidates(weights, probability=0.9).tolist() in ([0, 1, 3], [1, 3])
    assert classifier_prior.probable_candidates(weights, probability=1.0).tolist() == [0, 1, 3, 4]
    assert classifier_prior.probable_candidates(weights, probability=0.5, min_candidates=2).tolist() == [1, 3]
    assert len(classifier_prior.probable_candidates(weights, probability=0.5, min_candidates=9)) == 5


def test_proposal_weights_are_densities_times_prior_weights():
    weights = classifier_prior.proposal_weights(np.log(np.array([1.0, 2.0, 4.0])) - 900.0, np.array([1.0, 0.5, 0.25]))
    np.testing.assert_allclose(weights, 1 / 3)
