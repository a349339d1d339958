import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.scattering import curved, sizes, smallangle

NAMES = tuple(sizes.DISTRIBUTIONS)
NODES = {name: jax.jit(make) for name, make in sizes.DISTRIBUTIONS.items()}
averaged = jax.jit(lambda q, several: smallangle.averaged(curved.sphere(q[:, None] * several.radius), several))
GAUSS = np.polynomial.legendre.leggauss(600)
Q = np.array([1e-3, 0.05, 0.1, 0.3])


def density(name, ratio, pd):
    """Return a density over R / centre, not normalised."""
    if name == "gaussian":
        return np.exp(-((ratio - 1) ** 2) / (2 * pd**2))
    if name == "lognormal":
        return np.exp(-(np.log(ratio) ** 2) / (2 * pd**2)) / ratio
    if name == "schulz":
        return np.exp((1 / pd**2 - 1) * np.log(ratio) - (ratio - 1) / pd**2)
    return 1.0 * (np.abs(ratio - 1) < np.sqrt(3) * pd)


def fine(name, centre, pd):
    """Return a distribution by very many points."""
    low, high = max(1e-6, 1 - 10 * pd), 1 + 10 * pd
    low, high = {
        "lognormal": (np.exp(-8 * pd), np.exp(6 * pd**2 + 8 * pd)),
        "uniform": (max(0.0, 1 - np.sqrt(3) * pd), 1 + np.sqrt(3) * pd),
        "schulz": (1e-6, 1 + 25 * pd) if pd > 0.09 else (low, high),
    }.get(name, (low, high))
    node, weight = GAUSS
    ratio = low + (high - low) * (node + 1) / 2
    weight = weight * density(name, ratio, pd)
    return sizes.Sizes(centre * ratio, weight / weight.sum())


@pytest.mark.parametrize("name", NAMES)
def test_nodes_give_the_curve_of_a_fine_integral(name, x64):
    for pd in (0.005, 0.02, 0.1, 0.3):
        expected = averaged(jnp.asarray(Q), fine(name, 60.0, pd))
        np.testing.assert_allclose(averaged(jnp.asarray(Q), NODES[name](60.0, pd)), expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("name", "pd", "moment"),
    [
        ("gaussian", 0.1, lambda n: 1 + n * (n - 1) / 2 * 0.01 + (n > 3) * 3e-4),
        ("lognormal", 0.4, lambda n: np.exp(n**2 * 0.08)),
        ("schulz", 0.5, lambda n: np.prod(1 + 0.25 * np.arange(n))),
        ("uniform", 0.3, lambda n: np.ptp((1 + np.array([-0.3, 0.3]) * 3**0.5) ** (n + 1)) / (n + 1) / 0.6 / 3**0.5),
    ],
)  # fmt: skip
def test_moments_are_the_known_ones(name, pd, moment, x64):
    """Means by number and by volume, and their widths, from the moments of R."""
    found = sizes.moments(NODES[name](20.0, pd))
    number, volume = np.array([moment(n) for n in (0, 1, 2)]), np.array([moment(n) for n in (3, 4, 5)]) / moment(3)
    if name == "gaussian":
        volume[2] = (1 + 10 * 0.01 + 15 * 1e-4) / moment(3)
        volume[1] = (1 + 6 * 0.01 + 3 * 1e-4) / moment(3)
    for mean, width, (_, first, second) in [(found[0], found[1], number), (found[2], found[3], volume)]:
        assert mean == pytest.approx(20 * first, rel=1e-6)
        assert width == pytest.approx(np.sqrt(second / first**2 - 1), rel=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "uniform"])
def test_slopes_in_centre_and_width_are_right_and_not_zero(name, x64):
    q = jnp.asarray(Q)

    def curve(values):
        return averaged(q, NODES[name](values[0], values[1]))

    slopes, step = jax.jit(jax.jacfwd(curve)), 1e-5
    for pd in (0.01, 0.3):
        at = np.array([60.0, pd])
        found = slopes(at)
        for n in (0, 1):
            change = step * at[n] * np.eye(2)[n]
            expected = (curve(at + change) - curve(at - change)) / (2 * step * at[n])
            np.testing.assert_allclose(found[:, n], expected, rtol=2e-5)
            assert np.all(np.abs(found[:, n]) > 1e-5 * np.abs(curve(at)))


@pytest.mark.parametrize("name", ["lognormal", "schulz"])
def test_no_width_is_one_size_and_curves_bend_with_its_square(name):
    """In single precision, at small angles too; the bend is that of R: p² R²/2 (V² P)'' over V."""
    q = jnp.asarray([1e-4, 0.05, 0.2], jnp.float32)

    def curve(pd):
        return averaged(q, NODES[name](jnp.float32(40.0), pd))

    none = jnp.float32(0)
    np.testing.assert_allclose(curve(none), averaged(q, sizes.single(jnp.float32(40.0))), rtol=2e-6)
    slopes = jax.jit(jax.jacfwd(curve))
    assert np.all(np.isfinite(slopes(none)))
    with jax.enable_x64(True):
        small = 1e-3
        one = np.asarray(averaged(jnp.asarray(q, float), sizes.single(40.0)))
        bend = (np.asarray(averaged(jnp.asarray(q, float), fine(name, 40.0, small))) - one) / small**2
    np.testing.assert_allclose(slopes(jnp.float32(0.002)) / (2 * 0.002), bend, rtol=5e-3)
    assert np.all(np.abs(bend) > 0)


def test_the_referees_preset_loses_what_it_is_known_to_lose(x64):
    q = jnp.asarray([1e-6])
    for name, pd, lost in [("gaussian", 0.2, -0.009), ("lognormal", 0.5, -0.38)]:
        ratio = averaged(q, sizes.referee(name, 50.0, pd)) / averaged(q, NODES[name](50.0, pd))
        assert float(ratio[0]) - 1 == pytest.approx(lost, abs=1e-3)
    assert len(sizes.referee("gaussian", 50.0, 0.1).radius) == 35
    assert len(sizes.referee("schulz", 50.0, 0.1).radius) == 80
    assert sizes.referee("lognormal", 50.0, 0.5).radius.min() > 0


def test_two_populations_mix_by_volume(x64):
    small, large = NODES["gaussian"](20.0, 0.1), NODES["schulz"](50.0, 0.2)
    both = sizes.two(small, large, 0.3)
    q = jnp.asarray(Q)
    np.testing.assert_allclose(averaged(q, both), 0.7 * averaged(q, small) + 0.3 * averaged(q, large), rtol=1e-12)
    assert both.weight.sum() == pytest.approx(1)


def test_a_histogram_is_the_distribution_it_was_made_of(x64):
    several = NODES["lognormal"](30.0, 0.2)
    found = sizes.free(several.radius, 7.0 * several.weight * several.radius**3)
    np.testing.assert_allclose(found.weight, several.weight, atol=1e-15)


def test_a_smooth_histogram_is_less_rough():
    smooth = jnp.exp(-(jnp.linspace(-3, 3, 30) ** 2))
    assert sizes.roughness(smooth) < sizes.roughness(smooth * (1 + 0.1 * (-1.0) ** jnp.arange(30)))
    assert sizes.roughness(jnp.asarray([0.0, 1.0, 0.0])) == 6
