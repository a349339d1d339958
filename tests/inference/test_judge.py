"""One cluster or many: simulated samples of both."""

import mixtures
import numpy as np
import pytest

from jaxstruc.inference import judge


@pytest.fixture(scope="module")
def many():
    rows = mixtures.drawn(np.random.default_rng(5), mean=17.0, width=0.2)
    return mixtures.judged(mixtures.curve(rows, noise=0.02))


def test_a_mixture_is_a_distribution(many):
    assert many.verdict == "distribution" and len(many.compared) == 3
    for one in many.compared:
        assert min(said.rw for said in one.ensembles) < one.single.rw
        assert one.points == pytest.approx((one.cut.end - one.cut.cut) * 17 / np.pi, rel=1e-6)
        assert len(one.rivals) == 4 and np.isfinite(one.rivals).all() and one.rivals.min() >= one.single.squares * 0.1


def test_one_cluster_is_single():
    rows = mixtures.drawn(np.random.default_rng(6), mean=18.0, width=0.01, count=1)
    found = mixtures.judged(mixtures.curve(rows, noise=0.02), strengths=(0.0,))
    assert found.verdict == "single" and found.strength == 0 and found.strengths == (0.0,)
    assert all(one.single.rw < one.ensembles[0].rw for one in found.compared)


def test_a_signal_that_ends_soon_leaves_nothing_to_predict(many):
    rows = mixtures.drawn(np.random.default_rng(6), mean=18.0, width=0.01, count=1)
    found = mixtures.judged(mixtures.curve(rows, noise=0.02), end=9.0)
    assert found.verdict == "undecided" and found.compared == () and found.strength == 0
    assert np.isfinite(found.found.rw)


def test_the_curves_of_a_cut_go_through_the_data_it_was_fitted_to(many):
    one = many.compared[1]
    fitted = one.r <= one.cut.cut
    for curve in one.curves:
        assert np.linalg.norm((curve - one.g)[fitted]) < 0.05 * np.linalg.norm(one.g[fitted])
    assert one.r[-1] <= one.cut.end + 1e-6 and len(one.curves) == 1 + len(many.strengths)


def test_draws_are_shares(many):
    best, every = judge.drawn(many, mixtures.mixed())
    np.testing.assert_allclose(every.sum(axis=1), 1)
    assert best.sum() == pytest.approx(1) and (every >= 0).all()


def test_a_thinned_sample_is_judged_alike():
    sample = judge.Sample(
        mixtures.R,
        np.sin(mixtures.R),
        mixtures.goal(np.sin(mixtures.R)),
        20.0,
        mixtures.SPAN,
        mixtures.SIZE,
        mixtures.LEAST,
    )
    thin = sample.thin
    step = thin.r[1] - thin.r[0]
    assert step <= judge.THIN * np.pi / 18.0 + 1e-9 and thin.r[0] == sample.r[0]
