import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.inference import target as targets
from jaxstruc.inference import values
from jaxstruc.inference.values import Values
from jaxstruc.scattering import templates
from jaxstruc.scattering.parameters import FITTED, PARAMETERS
from jaxstruc.structures import shapes
from jaxstruc.structures.distances import distances

BOND = 2.78
SPAN = targets.span(rmax=12.0, qmax=18.0, diameter=12.0)
INNER = FITTED[1:]


def basis_of(frequency):
    """Data that are a damped wave, for which all stretches are about as good."""
    r = np.arange(1.5, 12.001, 0.05)
    g = np.cos(frequency * r) * np.exp(-r / 6)
    return targets.target(r, g, qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.01, bond=BOND, span=SPAN).basis


@pytest.fixture(scope="module")
def basis():
    return basis_of(2.3)


@jax.jit
def misfit_at(template, x, basis):
    """Return the misfit at places of stretch and Uiso."""
    return values.misfit(template, values.values_at(x, ("stretch", "uiso"), basis), basis)


@pytest.fixture(scope="module")
def template():
    positions = jnp.asarray(shapes.fcc((2, 2, 2)).positions * BOND, jnp.float32)
    return templates.of_distances(distances(positions), jnp.ones(19), BOND, span=SPAN)


def test_places_between_bounds_stand_for_values_and_back(basis):
    x = jnp.linspace(0.05, 0.95, len(INNER))
    found = values.values_at(x, INNER, basis)
    now = jnp.stack([getattr(found, name) for name in INNER])
    np.testing.assert_allclose(values.places(now, INNER, basis), x, atol=1e-4)
    for name in INNER:
        low, high = PARAMETERS[name].bounds(BOND)
        assert low < float(getattr(found, name)) < high, name


def test_the_ends_are_the_bounds_and_what_is_held_stays(basis):
    low, high = (values.values_at(jnp.full(2, end), ("uiso", "delta2"), basis) for end in (0.0, 1.0))
    assert float(low.uiso) == pytest.approx(5e-4) and float(high.uiso) == pytest.approx(0.06)
    assert float(high.delta2) == pytest.approx(0.85 * BOND**2) and float(low.delta2) == 0
    assert float(low.qdamp) == pytest.approx(0.03) and float(low.qbroad) == pytest.approx(0.01)
    assert float(low.stretch) == 1 and float(low.delta1) == 0


def test_the_scale_is_that_of_least_squares_and_the_misfit_least_there(basis, template):
    held = Values(*(jnp.asarray(x) for x in (1.0, 1.0, 0.01, 0.0, 2.0, 0.03, 0.0)))
    curve = values.curve(template, held, basis)
    scale = values.scale_of(curve, basis)
    squares = lambda factor: float(jnp.sum((basis.data - factor * scale * curve) ** 2) + basis.rest)  # noqa: E731
    assert squares(1.0) < min(squares(0.99), squares(1.01))
    assert float(values.misfit(template, held, basis)) == pytest.approx(squares(1.0), rel=1e-5)
    assert float(values.scale_of(-curve, basis)) == pytest.approx(1e-6)  # never negative


@pytest.mark.parametrize("frequency", [1.9, 2.1, 2.3, 2.5, 2.7])
def test_the_start_is_the_best_of_the_stretches_tried(template, frequency):
    """Not the worst: its misfit is the least of those of all stretches tried."""
    basis = basis_of(frequency)
    x = values.start(template, ("stretch", "uiso"), basis)
    own = float(misfit_at(template, x, basis))
    for stretch in float(basis.stretch) * np.array(values.TRIED):
        place = (np.clip(stretch, 0.885, 1.115) - 0.88) / 0.24
        assert own <= float(misfit_at(template, x.at[0].set(place), basis)) * (1 + 1e-4)


def test_the_misfit_has_a_slope_in_every_value(basis, template):
    held = Values(*(jnp.asarray(x) for x in (1.0, 1.01, 0.01, 0.1, 2.0, 0.03, 0.02)))
    slopes = jax.grad(lambda one: values.misfit(template, one, basis))(held)
    for name in INNER:
        assert np.isfinite(getattr(slopes, name)) and abs(float(getattr(slopes, name))) > 1e-6, name
