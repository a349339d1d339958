import jax.numpy as jnp
import numpy as np
import pytest
import sized

from jaxstruc.inference import kernels, outcomes, pattern
from jaxstruc.inference.kernels import Window
from jaxstruc.options.small_angle import SimulateSaxsOptions, SizeOptions
from jaxstruc.scattering import particle, size_distributions
from jaxstruc.scattering.smallangle import simulate_saxs

SPHERE = particle.Table(*(jnp.asarray(part, jnp.float32) for part in particle.table("sphere")))


@pytest.fixture(scope="module")
def seen():
    return pattern.pattern(sized.measurement(), SizeOptions())


@pytest.mark.parametrize("dq", [0.0, 0.004])
@pytest.mark.parametrize("name", ["gaussian", "lognormal", "schulz", "uniform", "none"])
def test_the_design_matrix_of_fits_gives_the_simulated_curve(name, dq):
    """The same radius and pd, on the same scale: volumes of the matrix are in units of the middle node's."""
    pd = 0.0 if name == "none" else 0.1
    q, curve, _ = simulate_saxs(
        "octahedron", radius=40.0, pd=pd, distribution=name, qmin=0.01, qmax=0.35, qstep=0.005,
        options=SimulateSaxsOptions(dq=dq),
    )  # fmt: skip
    u = kernels.nodes(Window(jnp.log(41.0), jnp.asarray(0.01), jnp.asarray(0.1)))
    table = particle.Table(*(jnp.asarray(part, jnp.float32) for part in particle.table("octahedron")))
    share = np.asarray(size_distributions.FAMILIES[name].volume_fractions(40.0, 0.1, u), float)
    width = jnp.full(len(q), dq, jnp.float32) if dq else None
    matrix = np.asarray(kernels.sizes(table, jnp.asarray(q, jnp.float32), width, u), float)
    middle = 4 / 3 * np.pi * np.exp(3 * float(u[len(u) // 2]))
    np.testing.assert_allclose(1e-4 * middle * matrix @ share, curve, rtol=5e-4, atol=2e-6 * curve[0])


def test_the_resolution_smears_as_that_of_sasmodels():
    """Its matrix sums bins of a fine grid, of Q, cut at the same ends."""
    resolution = pytest.importorskip("sasmodels.resolution")
    q, u = np.linspace(0.02, 0.2, 40), np.log([20.0, 40.0])
    dq, fine = 0.1 * q, np.linspace(0.005, 0.3, 6000)
    own = np.asarray(kernels.sizes(SPHERE, *(jnp.asarray(one, jnp.float32) for one in (q, dq, u))), float)
    other = resolution.Pinhole1D(q, dq, q_calc=fine).apply(sized.form(fine * 40.0))
    plain = sized.form(q * 40.0)
    np.testing.assert_allclose(own[:, 1], other, rtol=2e-3)
    assert np.abs(plain / other - 1).max() > 0.1


@pytest.mark.parametrize(("mean", "width"), [(25.0, 0.01), (60.0, 0.05), (40.0, 0.3)])
def test_fits_begin_near_the_truth_though_a_curve_of_one_size_has_many_minima(mean, width):
    seen = pattern.pattern(sized.measurement((mean, width, 1.0)), SizeOptions())
    begin = kernels.start(outcomes.tried(outcomes.tables(("sphere",)), seen.weighted.q), seen.weighted)
    assert float(jnp.exp(begin.middle)) == pytest.approx(mean, rel=0.15 if width > 0.2 else 0.03)


def test_pairs_hold_the_two_populations():
    seen = pattern.pattern(sized.measurement((30.0, 0.08, 0.5), (48.0, 0.08, 0.5)), SizeOptions())
    window = Window(jnp.log(40.0), jnp.asarray(kernels.STEP_TWO), jnp.asarray(0.2))
    own = kernels.kernel(SPHERE, seen.weighted, window)
    first = np.exp(np.asarray(kernels.pairs(own, seen.weighted, window, 2))[0, :, 0])
    np.testing.assert_allclose(first, [30.0, 48.0], rtol=0.05)
