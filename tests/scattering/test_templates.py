from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.scattering import debye, templates
from jaxstruc.scattering.debye import Instrument
from jaxstruc.structures import shapes
from jaxstruc.structures.distances import distances, distinct

BOND = 2.78
SPAN = templates.Span(longest=20.0, qmax=30.0)
Q = np.linspace(0.8, 26.0, 300)


@pytest.fixture(scope="module")
def between():
    """Distances of 55 atoms in disorder."""
    positions = shapes.fcc((2, 4, 2)).positions * BOND
    rattled = positions + np.random.default_rng(0).normal(size=positions.shape) * 0.05
    return distances(jnp.asarray(rattled, jnp.float32))


of_distances = jax.jit(partial(templates.of_distances, span=SPAN))
reduced = jax.jit(templates.reduced_structure_function)


@pytest.mark.parametrize(
    "values",
    [
        {"uiso": 0.01},
        {"uiso": 0.01, "delta2": 4.0, "stretch": 1.04},
        {"uiso": 0.03, "delta2": 5.0, "stretch": 0.93, "qbroad": 0.03},
        {"uiso": 0.008, "delta1": 1.5, "stretch": 1.1},
    ],
)
def test_a_template_gives_the_exact_structure_function(between, values):
    """To 2e-3 of the maximum: the interpolation of widths, and bins of 0.05 Å."""
    instrument = Instrument(**values)
    exact = jax.jit(debye.reduced_structure_function)(
        debye.pairs(between, jnp.ones(55)), instrument, jnp.ones((1, Q.size)), jnp.full(1, 55.0), Q
    )
    found = reduced(of_distances(between, jnp.ones(55), BOND), instrument, jnp.asarray(Q))
    assert float(jnp.abs(found - exact).max()) < 2e-3 * float(jnp.abs(exact).max())


def test_a_template_of_a_histogram_is_that_of_its_distances(x64):
    """Of a perfect cluster, whose distances bins keep exactly."""
    positions = shapes.fcc((2, 4, 2)).positions * BOND
    table = templates.template(distinct(positions), BOND, span=SPAN)
    other = of_distances(distances(jnp.asarray(positions)), jnp.ones(55), BOND)
    given = Instrument(uiso=0.01, delta2=4.0, stretch=1.02)
    one, two = (reduced(each, given, jnp.asarray(Q)) for each in (table, other))
    np.testing.assert_allclose(one, two, atol=2e-3 * float(jnp.abs(one).max()))
    assert table.span == SPAN and float(table.bond) == BOND


def test_derivatives_are_those_of_finite_differences(between, x64):
    table = of_distances(jnp.asarray(between, jnp.float64), jnp.ones(55), BOND)
    q = jnp.asarray(Q)

    @jax.jit
    def f(stretch, uiso, delta2, qbroad):
        instrument = Instrument(uiso=uiso, delta2=delta2, stretch=stretch, qbroad=qbroad)
        return templates.reduced_structure_function(table, instrument, q)

    at = (1.01, 0.01, 2.0, 0.02)
    pushed = jax.jit(lambda tangent: jax.jvp(f, at, tangent)[1])
    for place, step in enumerate((1e-5, 1e-6, 1e-4, 1e-5)):
        tangent = [float(place == n) for n in range(4)]
        slope = pushed(tuple(tangent))
        ends = [f(*(a + s * step * t for a, t in zip(at, tangent, strict=True))) for s in (1, -1)]
        difference = (ends[0] - ends[1]) / (2 * step)
        assert float(jnp.abs(slope).max()) > 1e-3
        np.testing.assert_allclose(slope, difference, atol=1e-4 * float(jnp.abs(slope).max()))
    by_q = jax.jit(jax.grad(lambda q: jnp.sum(reduced(table, Instrument(uiso=0.01), q))))(q)
    ends = [reduced(table, Instrument(uiso=0.01), q + s * 1e-5) for s in (1, -1)]
    np.testing.assert_allclose(by_q, (ends[0] - ends[1]) / 2e-5, atol=1e-4 * float(jnp.abs(by_q).max()))


def test_distances_beyond_the_span_are_left_out_and_nan_is_kept():
    far = jnp.zeros((3, 3)).at[0, 1].set(3.0).at[1, 0].set(3.0).at[:2, 2].set(50.0).at[2, :2].set(50.0)
    near = of_distances(far, jnp.array([1.0, 1.0, 0.0]), BOND)
    all_three = of_distances(far, jnp.ones(3), BOND)
    np.testing.assert_allclose(all_three.waves * 3, near.waves * 2, atol=1e-5)
    broken = of_distances(far.at[0, 1].set(jnp.nan), jnp.ones(3), BOND)
    assert np.isnan(broken.waves).all()
