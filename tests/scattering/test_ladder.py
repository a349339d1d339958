import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.scattering import ladder, particle, sizes, smallangle
from jaxstruc.scattering.ladder import Ladder
from jaxstruc.scattering.smallangle import Sample

RUNGS = Ladder(10.0, 250.0)
Q = np.geomspace(0.005, 0.6, 60)
NAMES = tuple(ladder.VOLUMES)
PDS = np.array([0.0, 0.002, 0.005, 0.00521, 0.02, 0.1, 0.2])
VOLUMES = {name: jax.jit(jax.vmap(make, (None, 0, None)), static_argnums=2) for name, make in ladder.VOLUMES.items()}
intensity = jax.jit(
    jax.vmap(
        lambda name, q, table, pd: smallangle.intensity(
            q, table, sizes.DISTRIBUTIONS[name](70.0, pd, count=400), Sample()
        ),
        (None, None, None, 0),
    ),
    static_argnums=0,
)


@pytest.fixture(scope="module")
def table():
    return particle.table("truncated octahedron")


def envelope(curves):
    """Return the larger of curves and what they tend to."""
    return np.maximum(curves, curves[:, :1] * 4.5 / np.maximum(Q * 70, 1.3) ** 4)


@pytest.mark.parametrize("name", NAMES)
def test_curves_are_those_of_many_nodes_whatever_the_width(name, table, x64):
    """Q R to 42. The ends of a uniform distribution are cubic, the rest better."""
    matrix = jax.jit(lambda q: ladder.matrix(q, table, RUNGS))(jnp.asarray(Q))
    pds = jnp.asarray(PDS)
    found = VOLUMES[name](70.0, pds, RUNGS) @ matrix
    expected = np.asarray(intensity(name, jnp.asarray(Q), table, pds))
    deviation = np.abs(found - expected) / envelope(expected)
    assert deviation.max() < (2e-4 if name == "uniform" else 1e-5)


@pytest.mark.parametrize("name", ["lognormal", "schulz"])
def test_single_precision_keeps_them(name, table):
    matrix = jax.jit(lambda q: ladder.matrix(q, table, RUNGS))(jnp.asarray(Q, jnp.float32))
    found = VOLUMES[name](70.0, jnp.asarray(PDS, jnp.float32), RUNGS) @ matrix
    with jax.enable_x64(True):
        expected = np.asarray(intensity(name, jnp.asarray(Q), table, jnp.asarray(PDS)))
    assert (np.abs(found - expected) / envelope(expected)).max() < 6e-5


@pytest.mark.parametrize("name", ["schulz", "uniform"])
def test_slopes_are_right_and_not_zero(name, x64):
    """Against those of the nodes, on a wave of its own for a body."""
    waves = np.cos(np.log(RUNGS.radius)[:, None] * np.array([0.5, 3.0, 20.0]))

    def of_ladder(values):
        return ladder.VOLUMES[name](values[0], values[1], RUNGS) @ waves

    def of_nodes(values):
        several = sizes.DISTRIBUTIONS[name](values[0], values[1], count=100)
        volume = several.weight * several.radius**3
        return volume / volume.sum() @ jnp.cos(jnp.log(several.radius)[:, None] * jnp.asarray([0.5, 3.0, 20.0]))

    at = jnp.asarray([[70.0, pd] for pd in (0.004, 0.08)])
    found, expected = (np.asarray(jax.jit(jax.vmap(jax.jacfwd(one)))(at)) for one in (of_ladder, of_nodes))
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert np.all(np.abs(found) > 1e-6)


def test_any_sizes_spread_over_rungs_and_keep_their_means(x64):

    @jax.jit
    def made():
        both = sizes.two(sizes.lognormal(40.0, 0.1), sizes.gaussian(90.0, 0.05), 0.4)
        return ladder.spread(both, RUNGS), sizes.moments(both)

    volumes, moments = made()
    np.testing.assert_allclose(volumes.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(volumes @ RUNGS.radius, moments.volume_mean, rtol=1e-9)


def test_smearing_is_in_the_matrix(table, x64):
    q = jnp.asarray(Q[::6])
    matrix = jax.jit(lambda q: ladder.matrix(q, table, RUNGS, dq=0.05 * q))(q)
    found = VOLUMES["gaussian"](70.0, jnp.asarray([0.06]), RUNGS)[0] @ matrix
    expected = jax.jit(smallangle.intensity)(q, table, sizes.gaussian(70.0, 0.06), Sample(), dq=0.05 * q)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_reaches_beyond_the_ladder_is_told():
    pds = jnp.asarray(PDS, jnp.float32)
    assert ladder.cut(VOLUMES["gaussian"](70.0, pds, RUNGS)).max() < 1e-6
    assert ladder.cut(VOLUMES["gaussian"](240.0, pds, RUNGS))[-2:].min() > 0.1
    for name in NAMES:
        for centre in (5.0, 400.0):
            assert np.isnan(VOLUMES[name](centre, pds, RUNGS)).any(axis=1).all()
