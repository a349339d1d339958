import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.scattering import size_distributions

U = np.linspace(np.log(5.0), np.log(120.0), 400)


def of(name, mean=35.0, width=0.15):
    with jax.enable_x64(True):
        return np.asarray(size_distributions.FAMILIES[name].volume_fractions(mean, width, jnp.asarray(U)))


@pytest.mark.parametrize("name", ["gaussian", "lognormal", "schulz", "uniform"])
def test_mean_and_width_by_number_are_those_asked_for(name):
    own = size_distributions.moments(of(name), np.exp(U))
    assert own.mean == pytest.approx(35.0, rel=1e-6) and own.width == pytest.approx(0.15, rel=2e-5)


NAMES = ("gaussian", "lognormal", "schulz", "uniform")


def density(name, ratio, pd):
    """Return the density by number over R / mean, not normalised, written out from its definition."""
    if name == "gaussian":
        return np.exp(-((ratio - 1) ** 2) / (2 * pd**2))
    if name == "lognormal":
        square = np.log(1 + pd**2)
        return np.exp(-((np.log(ratio) + square / 2) ** 2) / (2 * square)) / ratio
    if name == "schulz":
        return np.exp((1 / pd**2 - 1) * np.log(ratio) - (ratio - 1) / pd**2)
    return 1.0 * (np.abs(ratio - 1) < np.sqrt(3) * pd)


def fine(name, pd, points=200_001):
    """Return R / mean and weights by number of very many points, even in R."""
    reach = {"uniform": np.sqrt(3)}.get(name, 40.0) * pd
    low, high = max(1e-9, 1 - reach), 1 + reach
    ratio = low + (high - low) * (np.arange(points) + 0.5) / points
    weight = density(name, ratio, pd)
    return ratio, weight / weight.sum()


@pytest.mark.parametrize(
    ("name", "pd"),
    [(name, pd) for name in NAMES for pd in (0.01, 0.06, 0.2, 0.34, 0.5) if (name, pd) != ("gaussian", 0.5)],
)
def test_mean_and_pd_are_by_number_for_every_distribution(name, pd, x64):
    """On the nodes that simulations take: the Gaussian is cut at R = 0, by which its mean is up to 0.2 % more."""
    sizes = size_distributions.size_distribution(name, 35.0, pd, qmax=0.5)
    own = size_distributions.moments(sizes.volume_fraction, sizes.radius)
    ratio, weight = fine(name, pd)
    mean = weight @ ratio
    assert own.mean == pytest.approx(35.0 * mean, rel=1e-5)
    assert own.width == pytest.approx(np.sqrt(weight @ (ratio - mean) ** 2) / mean, rel=1e-4)
    cut = 5e-3 if name == "gaussian" and pd > 0.2 else 2e-5
    assert own.mean == pytest.approx(35.0, rel=cut) and own.width == pytest.approx(pd, rel=4 * cut)


@pytest.mark.parametrize("name", NAMES)
def test_means_by_volume_are_those_of_a_fine_sum(name, x64):
    ratio, weight = fine(name, 0.15)
    own = size_distributions.moments(of(name), np.exp(U))
    weight = weight * ratio**3 / (weight @ ratio**3)
    mean = weight @ ratio
    assert own.mean_volume == pytest.approx(35.0 * mean, rel=1e-5)
    assert own.width_volume == pytest.approx(np.sqrt(weight @ (ratio - mean) ** 2) / mean, rel=1e-4)


def test_no_width_is_one_size():
    sizes = size_distributions.size_distribution("schulz", 35.0, 0.0, qmax=0.5)
    assert sizes.radius.tolist() == [35.0] and sizes.volume_fraction.tolist() == [1.0]


def test_numbers_become_volume_fractions_and_back():
    sizes = size_distributions.distribution_by_number(np.array([10.0, 20.0]), np.array([8.0, 1.0]))
    np.testing.assert_allclose(sizes.volume_fraction, [0.5, 0.5])
    np.testing.assert_allclose(sizes.number_fraction, [8 / 9, 1 / 9], rtol=1e-6)


def test_sasmodels_lognormal_is_given_by_its_median():
    """Fine nodes of the lognormal with that median have its moments, but for what sasmodels cuts off."""
    mean, pd = 50.0, 0.1
    median, sigma = size_distributions.median_and_sigma(mean, pd)
    assert median == pytest.approx(mean / np.sqrt(1 + pd**2)) and sigma == pytest.approx(np.sqrt(np.log(1 + pd**2)))
    sizes = size_distributions.sasmodels_distribution("lognormal", median, sigma)
    own = size_distributions.moments(sizes.volume_fraction, sizes.radius)
    assert own.mean == pytest.approx(mean, rel=1e-5) and own.width == pytest.approx(pd, rel=1e-3)
    other = size_distributions.sasmodels_distribution("lognormal", mean, pd)
    assert size_distributions.moments(other.volume_fraction, other.radius).mean > mean * (1 + 0.4 * pd**2)


def test_sasmodels_nodes_lose_what_they_are_known_to_lose(x64):
    """Of I(0), the sixth moment over the third."""
    for name, pd, lost in [("gaussian", 0.2, -0.009), ("lognormal", 0.5, -0.38)]:
        sizes = size_distributions.sasmodels_distribution(name, 50.0, pd)
        mean = 50.0 if name == "gaussian" else 50.0 * np.exp(pd**2 / 2)
        width = pd if name == "gaussian" else np.sqrt(np.expm1(pd**2))
        whole = size_distributions.size_distribution(name, mean, width, qmax=0.5)
        ratio = (sizes.volume_fraction @ sizes.radius**3) / (whole.volume_fraction @ whole.radius**3)
        assert ratio - 1 == pytest.approx(lost, abs=1e-3)
    assert len(size_distributions.sasmodels_distribution("gaussian", 50.0, 0.1).radius) == 35
    assert len(size_distributions.sasmodels_distribution("schulz", 50.0, 0.1).radius) == 80
    assert size_distributions.sasmodels_distribution("lognormal", 50.0, 0.5).radius.min() > 0


def test_a_narrow_gaussian_stays_right_down_to_the_least_width():
    least = size_distributions.MIN_WIDTH * (U[1] - U[0])
    own = size_distributions.moments(of("gaussian", width=least), np.exp(U))
    assert own.width == pytest.approx(least, rel=1e-3)


def test_one_size_is_interpolated_between_nodes():
    share = of("none", mean=33.3)
    assert size_distributions.moments(share, np.exp(U)).mean == pytest.approx(33.3, rel=1e-5)
    assert np.count_nonzero(share) == 4 and share.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["gaussian", "lognormal", "schulz", "uniform"])
def test_slopes_are_finite_right_and_not_zero(name):
    with jax.enable_x64(True):
        wave = jnp.sin(jnp.exp(jnp.asarray(U)) / 3)

        def value(mean, width):
            return size_distributions.FAMILIES[name].volume_fractions(mean, width, jnp.asarray(U)) @ wave

        slopes = jax.grad(value, argnums=(0, 1))(35.0, 0.15)
        step = 1e-5
        steps = [
            (value(35.0 + step, 0.15), value(35.0 - step, 0.15)),
            (value(35.0, 0.15 + step), value(35.0, 0.15 - step)),
        ]
    for slope, (up, down) in zip(slopes, steps, strict=True):
        assert abs(float(slope)) > 1e-4 and float(slope) == pytest.approx(float(up - down) / 2 / step, rel=1e-3)
