import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sized

from jaxstruc.inference import kernels, outcomes, pattern, sizing
from jaxstruc.inference.kernels import Window
from jaxstruc.options.small_angle import SizeOptions


@jax.jit
def fit(table, data, begin):
    window = Window(jnp.log(40.0), jnp.asarray(0.015), jnp.asarray(0.1))
    own = kernels.kernel(table, data, window)
    return sizing.fitted(own, data.data, begin, ("gaussian",)), own


@pytest.fixture(scope="module")
def fitted():
    table = jax.tree.map(lambda part: part[0], outcomes.tables(("sphere",)))

    def of(measurement, *begin):
        seen = pattern.pattern(measurement, SizeOptions())
        start = jnp.log(jnp.asarray(begin or ((42.0, 0.15), (38.0, 0.05)), jnp.float32))[:, None]
        return seen, *fit(table, seen.weighted, start)

    return of


def test_a_noiseless_curve_gives_back_mean_and_width_from_any_start(fitted):
    _, found, _ = fitted(sized.measurement(noisy=False))
    np.testing.assert_allclose(np.exp(np.asarray(found.place)[:, 0]), [[40.0, 0.1]] * 2, rtol=5e-4)
    assert found.converged.all() and np.all(np.asarray(found.chi2) < 0.01) and not found.bounded.any()


def test_chi_squared_is_that_of_the_noise_and_the_errors_that_of_the_spread(fitted):
    every = [fitted(sized.measurement(seed=seed))[1] for seed in range(24)]
    mean = np.array([float(one.place[0, 0, 0]) for one in every])
    error = np.array([np.sqrt(np.linalg.inv(np.asarray(one.normal[0], float))[0, 0]) for one in every])
    assert np.mean([float(one.chi2[0]) for one in every]) == pytest.approx(56, abs=8)
    assert mean.std(ddof=1) / error.mean() == pytest.approx(1, abs=0.4)
    assert abs(mean.mean() - np.log(40.0)) < 3 * error.mean() / np.sqrt(24)


def test_the_normal_matrix_is_the_curvature_of_chi_squared(fitted):
    """Of the shape that a projected scale leaves: by differences of chi-squared along ln mean."""
    seen, found, own = fitted(sized.measurement(noisy=False))
    normal = np.asarray(found.normal[0], float)
    left = normal[0, 0] - normal[0, 2] ** 2 / normal[2, 2]
    step = 2e-3
    place = found.place[:1] + jnp.asarray([[[step, 0.0]]])
    moved = sizing._point(own, seen.weighted.data, place, names=("gaussian",))
    assert float(moved.chi2[0]) == pytest.approx(left * step**2, rel=0.05)


def test_a_width_at_its_bound_is_flagged(fitted):
    _, found, _ = fitted(sized.measurement((40.0, 0.002, 1.0)))
    assert bool(found.bounded[0, 0, 1]) and not bool(found.bounded[0, 0, 0])


def test_a_curve_that_is_no_number_is_flagged_not_converged(fitted):
    one = sized.measurement()
    seen = pattern.pattern(one, SizeOptions())
    table = jax.tree.map(lambda part: part[0], outcomes.tables(("sphere",)))
    bad = seen.weighted._replace(data=seen.weighted.data * jnp.nan)
    found, _ = fit(table, bad, jnp.log(jnp.asarray([[[42.0, 0.15]], [[38.0, 0.05]]], jnp.float32)))
    assert not found.converged.any() and not np.isfinite(found.chi2).any()


def test_amounts_of_two_columns_are_never_negative():
    along = jnp.asarray([[1.0, 0.5], [1.0, -0.2], [-1.0, -1.0], [0.3, 1.0]])
    cosine = jnp.asarray([0.2, 0.2, 0.2, 0.9])
    found = np.asarray(kernels.two(along, cosine))
    for amount, product, c in zip(found, np.asarray(along), np.asarray(cosine), strict=True):
        slope = np.array([[1, c], [c, 1]]) @ amount - product  # Karush, Kuhn, Tucker
        assert np.all(amount >= 0) and np.all(slope > -1e-6) and abs(slope @ amount) < 1e-6


def most_of_start(own, data, place):
    """Return the most that chi-squared at a place may be: model and data are sums over the nodes, each term rounded."""
    chi2 = np.asarray(sizing._point(own, data, place, names=("gaussian",)).chi2, float)
    rounding = kernels.NODES * np.finfo(np.float32).eps * float(jnp.sqrt(jnp.sum(data**2)))
    return (np.sqrt(chi2) + rounding) ** 2


@pytest.mark.parametrize("seed", range(4))
def test_a_fit_that_starts_at_the_truth_stays_if_the_last_bits_of_the_data_change(fitted, seed):
    exact = sized.measurement(noisy=False)
    bits = np.random.default_rng(seed).integers(-4, 5, exact.intensity.shape)
    changed = sized.measurement(noisy=False, intensity=exact.intensity * (1 + np.finfo(np.float32).eps * bits))
    seen, found, own = fitted(changed, (40.0, 0.1), (40.0 * (1 + 1e-7 * seed), 0.1))
    begin = jnp.log(jnp.asarray(((40.0, 0.1), (40.0 * (1 + 1e-7 * seed), 0.1)), jnp.float32))[:, None]
    assert np.all(np.asarray(found.chi2) <= most_of_start(own, seen.weighted.data, begin)) and found.converged.all()
    np.testing.assert_allclose(np.exp(np.asarray(found.place)[:, 0]), [[40.0, 0.1]] * 2, rtol=5e-4)


def test_no_fit_is_worse_than_its_start(fitted):
    """From sizes far from those of the data."""
    places = ((90.0, 0.02), (12.0, 0.3))
    seen, found, own = fitted(sized.measurement(), *places)
    begin = jnp.log(jnp.asarray(places, jnp.float32))[:, None]
    assert (
        np.all(np.asarray(found.chi2) <= most_of_start(own, seen.weighted.data, begin))
        and np.isfinite(found.place).all()
    )
