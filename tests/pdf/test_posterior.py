import numpy as np
import pytest

from jaxstruc.pdf import posterior


def test_weights_are_relative_likelihoods():
    weights = posterior.weights(np.array([0.11, 0.10, np.nan, 0.2]), 54.0, 4)
    assert weights.sum() == pytest.approx(1) and weights[2] == 0 and np.argmax(weights) == 1
    assert weights[0] / weights[1] == pytest.approx(1.1**-50)
    np.testing.assert_allclose(posterior.weights(np.array([0.0, 0.3]), 50.0, 4), [1, 0], atol=1e-12)


def test_types_have_equal_weight_at_each_size_however_many_members_they_list():
    types = np.array(["fcc"] * 6 + ["hcp"] * 2 + ["fcc"], object)
    n_atoms = np.array([100, 101, 102, 103, 104, 105, 100, 103, 500])
    diameter = np.arange(9) + 5.0
    prior_weights = posterior.prior_weights(types, n_atoms, diameter, listed_candidates=(types, n_atoms, diameter))
    assert prior_weights[:6].sum() == pytest.approx(prior_weights[6:8].sum()) == pytest.approx(prior_weights[8])


def test_types_have_their_prior_weights_and_other_names_the_mean_weight():
    types, n_atoms = np.array(["fcc", "fcc", "bcc", ""], object), np.full(4, 100)
    diameter = np.array([5.0, 6.0, 5.0, 5.0])
    prior_weights = posterior.prior_weights(
        types, n_atoms, diameter, listed_candidates=(types, n_atoms, diameter), type_weights={"fcc": 0.9, "bcc": 0.1}
    )
    np.testing.assert_allclose(prior_weights, [0.9, 0.9, 0.2, 1.0])


def test_near_copies_share_one_prior_weight():
    types, n_atoms = np.array(["fcc"] * 4, object), np.array([100, 100, 100, 101])
    diameter = np.array([5.0, 5.01, 6.0, 5.0])
    prior_weights = posterior.prior_weights(types, n_atoms, diameter, listed_candidates=(types, n_atoms, diameter))
    np.testing.assert_allclose(prior_weights, [1 / 6, 1 / 6, 1 / 3, 1 / 3])


def test_a_candidate_outside_the_list_counts_as_one_more_member():
    listed_features = (np.array(["fcc"], object), np.array([100]), np.array([5.0]))
    assert posterior.prior_weights(
        np.array(["sc"], object), np.array([40]), np.array([4.0]), listed_candidates=listed_features
    ) == [1.0]


def test_prior_weights_enter_the_posterior():
    equal_weights = posterior.weights(np.array([0.1, 0.1]), 50, 4)
    unequal_weights = posterior.weights(np.array([0.1, 0.1]), 50, 4, prior_weight=np.array([1.0, 3.0]))
    np.testing.assert_allclose(equal_weights, 0.5)
    np.testing.assert_allclose(unequal_weights, [0.25, 0.75])


def test_the_likelihood_has_the_power_of_the_degrees_of_freedom_at_any_scale():
    rw, prior_weight = np.array([0.2, 0.25, 0.4]), np.array([0.5, 1.5, 2.0])
    expected = prior_weight * rw ** -(30.0 - 5)
    weights = posterior.weights(rw, 30.0, 5, prior_weight=prior_weight)
    np.testing.assert_allclose(weights, expected / expected.sum())


def test_prior_weights_are_those_of_loops_over_types_sizes_and_copies():
    """Size classes are 0.18 wide in the logarithm of the number of atoms; diameters are rounded to 0.05."""
    rng = np.random.default_rng(1)
    listed_columns = (
        rng.choice(["fcc", "hcp", "bcc"], 60).astype(object), rng.integers(80, 140, 60), rng.integers(80, 90, 60) / 20
    )  # fmt: skip
    candidate_columns = tuple(column[:20] for column in listed_columns)
    weights = posterior.prior_weights(*candidate_columns, listed_candidates=listed_columns)
    size_class = [round(np.log(n) / 0.18) for n in listed_columns[1]]
    labels = [(name, n, round(d / 0.05)) for name, n, d in zip(*listed_columns, strict=True)]
    for index in range(20):
        members = {label for label, entry in zip(labels, size_class, strict=True)
                   if label[0] == listed_columns[0][index] and entry == size_class[index]}  # fmt: skip
        assert weights[index] == pytest.approx(1 / len(members) / labels.count(labels[index]))


def test_a_residual_like_noise_leaves_the_likelihood_as_it_is_and_gives_no_type_evidence():
    for structure_ratio in (None, 0.8, 1.0):
        misfit = posterior.Misfit(1.0, structure_ratio)
        assert (misfit.likelihood_exponent, misfit.model_error) == (1.0, 0.0)
        assert posterior.type_evidence({"fcc": 0.9, "hcp": 0.1}, {"fcc": 0.5, "hcp": 0.5}, misfit) == {
            "fcc": 1.0,
            "hcp": 1.0,
        }


def test_a_residual_above_the_noise_tempers_the_likelihood_like_an_error_of_the_model():
    """The squares are those of noise and of an error of the model, and the likelihood is that of their sum."""
    for noise, model_error in ((1.0, 1.0), (1.0, 5.0), (2.0, 0.5)):
        misfit = posterior.Misfit(1.0, (noise + model_error) / noise)
        expected = (noise + model_error) / (noise + 2 * model_error)
        assert misfit.likelihood_exponent == pytest.approx(expected)
    assert posterior.Misfit(1.0, 1e9).likelihood_exponent == pytest.approx(0.5)


def test_the_evidence_of_the_classifier_grows_with_the_misfit_and_is_limited():
    """The prior weights are divided out, and a type is at most ten times less probable than the first."""
    probabilities, weights = (
        {"fcc": 0.9, "icosahedron": 0.08, "bcc": 0.02},
        {"fcc": 0.4, "icosahedron": 0.4, "bcc": 0.01},
    )
    evidence = [
        posterior.type_evidence(probabilities, weights, posterior.Misfit(fraction, ratio))
        for fraction, ratio in ((1.0, 1.5), (0.5, 1.5), (0.2, 10.0))
    ]
    ratios = [entry["icosahedron"] / entry["fcc"] for entry in evidence]
    assert 1 > ratios[0] > ratios[1] > ratios[2] > 0.1
    assert evidence[2]["icosahedron"] / evidence[2]["fcc"] == pytest.approx((0.08 / 0.9) ** (0.5 * (1 - 0.2 / 10)))
    sure = posterior.type_evidence({"fcc": 1.0, "hcp": 0.0}, {"fcc": 0.5, "hcp": 0.5}, posterior.Misfit(0.0, None))
    assert sure["hcp"] == pytest.approx(0.1)
