import numpy as np
import pytest
import sized

from jaxstruc.inference import freeform


@pytest.fixture(scope="module")
def two_peaks():
    q = np.linspace(0.01, 0.4, 80)
    curve = sized.spheres(q, (30.0, 0.08, 0.5), (55.0, 0.08, 0.5))
    u = np.linspace(np.log(12), np.log(120), 400)
    at, hats = freeform.bins(u)
    curves = (sized.form(q[:, None] * np.exp(u)) * np.exp(3 * u)) @ hats
    sigma = np.sqrt(curve.max() * curve) / 300
    noise = np.random.default_rng(0).standard_normal(80)
    found = freeform.fitted(curves / sigma[:, None], curve / sigma + noise, draws=40)
    return np.exp(at), found


def test_the_interior_point_ends_where_a_slope_or_a_share_is_zero():
    random = np.random.default_rng(1)
    root = random.normal(size=(3, 20, 12))
    matrix, side = np.einsum("bij,bik->bjk", root, root), random.normal(size=(3, 12))
    found = freeform.nonnegative(matrix, side)
    slope = np.einsum("bij,bj->bi", matrix, found) - side
    assert np.all(found >= 0) and np.all(slope > -1e-4) and np.abs(found * slope).max() < 1e-5
    assert (found == 0).any() and (found > 0).any()


def test_two_peaks_are_seen_within_the_noise(two_peaks):
    radius, found = two_peaks
    share = found.share / found.share.sum()
    assert found.chi2 == pytest.approx(75, abs=30) and np.all(share >= 0)
    assert share[(radius > 25) & (radius < 36)].sum() == pytest.approx(0.5, abs=0.06)
    assert share[(radius > 38) & (radius < 43)].sum() < 0.1
    assert 3 < found.determined < 30


def test_the_band_holds_the_truth(two_peaks):
    radius, found = two_peaks
    drawn = found.drawn / found.drawn.sum(axis=1, keepdims=True)
    low, high = np.quantile(drawn[:, radius < 42].sum(axis=1), [0.01, 0.99])
    assert low < 0.5 < high and high - low < 0.1


def test_the_data_choose_more_smoothness_where_they_say_less():
    u = np.linspace(np.log(12), np.log(120), 400)
    q = np.linspace(0.01, 0.3, 60)
    _, hats = freeform.bins(u)
    curves = (sized.form(q[:, None] * np.exp(u)) * np.exp(3 * u)) @ hats
    curve = sized.spheres(q, (40.0, 0.25, 1.0))
    noise = np.random.default_rng(2).standard_normal(60)
    known = [
        freeform.fitted(curves / sigma, curve / sigma + noise).determined
        for sigma in (curve.max() / 1e4, curve.max() / 30)
    ]
    assert known[0] > known[1] + 1


def quadratic(seed):
    """Return matrix, side and minimum of a quadratic whose minimum has no zero share; its start is not far off."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(3, 40, 12))
    matrix, truth = np.einsum("bij,bik->bjk", root, root), random.uniform(0.5, 1.5, size=(3, 12))
    return matrix, np.einsum("bij,bj->bi", matrix, truth), truth


@pytest.mark.parametrize("seed", range(3))
def test_the_minimum_stays_if_the_last_bits_of_the_side_change(seed):
    matrix, side, truth = quadratic(seed)
    bits = np.random.default_rng(seed).integers(-4, 5, side.shape)
    found = freeform.nonnegative(matrix, side * (1 + np.finfo(float).eps * bits))
    np.testing.assert_allclose(found, truth, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_minimum_costs_no_more_than_the_start(scale):
    """The start has every share 1 in the unit of its own curvature."""
    random = np.random.default_rng(5)
    root = random.normal(size=(6, 4, 12))  # fewer rows than columns: the minimum is not unique
    matrix, side = np.einsum("bij,bik->bjk", root, root), scale * np.einsum("bij,bi->bj", root, np.ones((6, 4)))
    found = freeform.nonnegative(matrix, side)
    size = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
    start = np.abs(side / size).max(axis=1, keepdims=True) / size

    def cost(x):
        return 0.5 * np.einsum("bi,bij,bj->b", x, matrix, x) - np.sum(side * x, axis=1)

    assert np.isfinite(found).all() and (found >= 0).all() and np.all(cost(found) <= cost(start))


def test_a_minimum_alone_is_the_one_among_others():
    matrix, side, _ = quadratic(0)
    matrix[1] += 1e3 * np.ones((12, 12))
    side[2, :6] *= -1
    among = freeform.nonnegative(matrix, side)
    for item in range(3):
        alone = freeform.nonnegative(matrix[item : item + 1], side[item : item + 1])[0]
        np.testing.assert_allclose(among[item], alone, rtol=1e-9, atol=1e-12)
