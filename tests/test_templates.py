import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc import clusters, scattering, structure, templates
from jaxstruc.scattering import Instrument

BOND = 2.78
SPAN = templates.Span(longest=20.0, qmax=30.0)
Q = np.linspace(0.8, 26.0, 300)


@pytest.fixture(scope="module")
def distances():
    positions = clusters.fcc((2, 4, 2)).positions * BOND
    rattled = positions + np.random.default_rng(0).normal(size=positions.shape) * 0.05
    return structure.distances(jnp.asarray(rattled, jnp.float32))


@pytest.mark.parametrize(
    "values",
    [
        {"uiso": 0.01},
        {"uiso": 0.01, "delta2": 4.0, "stretch": 1.04},
        {"uiso": 0.03, "delta2": 5.0, "stretch": 0.93, "qbroad": 0.03},
        {"uiso": 0.008, "delta1": 1.5, "stretch": 1.1},
    ],
)
def test_a_template_gives_the_exact_structure_function(distances, values):
    """To 2e-3 of the maximum: the interpolation of widths, and bins of 0.05 Å."""
    atoms = distances.shape[0]
    pairs = scattering.pairs(distances.astype(jnp.float32), jnp.ones(atoms))
    exact = scattering.reduced_structure_function(
        pairs, Instrument(**values), jnp.ones((1, Q.size)), jnp.full(1, float(atoms)), Q
    )
    table = templates.of_distances(distances, jnp.ones(atoms), BOND, span=SPAN)
    found = templates.reduced_structure_function(table, Instrument(**values), BOND, jnp.asarray(Q), span=SPAN)
    assert float(jnp.abs(found - exact).max()) < 2e-3 * float(jnp.abs(exact).max())


def test_derivatives_are_those_of_finite_differences(distances, x64):
    table = templates.of_distances(jnp.asarray(distances, jnp.float64), jnp.ones(distances.shape[0]), BOND, span=SPAN)
    q = jnp.asarray(Q)

    def f(stretch, uiso, delta2, qbroad):
        instrument = Instrument(uiso=uiso, delta2=delta2, stretch=stretch, qbroad=qbroad)
        return templates.reduced_structure_function(table, instrument, BOND, q, span=SPAN)

    at = (1.01, 0.01, 2.0, 0.02)
    for place, step in enumerate((1e-5, 1e-6, 1e-4, 1e-5)):
        tangent = [float(place == n) for n in range(4)]
        slope = jax.jvp(f, at, tuple(tangent))[1]
        ends = [f(*(a + s * step * t for a, t in zip(at, tangent, strict=True))) for s in (1, -1)]
        difference = (ends[0] - ends[1]) / (2 * step)
        assert float(jnp.abs(slope).max()) > 1e-3
        np.testing.assert_allclose(slope, difference, atol=1e-4 * float(jnp.abs(slope).max()))
    by_q = jax.grad(lambda q_: jnp.sum(templates.reduced_structure_function(
        table, Instrument(uiso=0.01), BOND, q_, span=SPAN)))(q)  # fmt: skip
    step = 1e-5
    ends = [templates.reduced_structure_function(table, Instrument(uiso=0.01), BOND, q + s * step, span=SPAN)
            for s in (1, -1)]  # fmt: skip
    np.testing.assert_allclose(by_q, (ends[0] - ends[1]) / (2 * step), atol=1e-4 * float(jnp.abs(by_q).max()))


def test_distances_beyond_the_span_are_left_out_and_nan_is_kept(distances):
    far = jnp.zeros((3, 3)).at[0, 1].set(3.0).at[1, 0].set(3.0).at[:2, 2].set(50.0).at[2, :2].set(50.0)
    near = templates.of_distances(far, jnp.array([1.0, 1.0, 0.0]), BOND, span=SPAN)
    all_three = templates.of_distances(far, jnp.ones(3), BOND, span=SPAN)
    np.testing.assert_allclose(all_three.waves * 3, near.waves * 2, atol=1e-5)
    broken = templates.of_distances(far.at[0, 1].set(jnp.nan), jnp.ones(3), BOND, span=SPAN)
    assert np.isnan(broken.waves).all()
