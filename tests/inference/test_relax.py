import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.inference import relax
from jaxstruc.inference import target as targets
from jaxstruc.inference.values import Values
from jaxstruc.scattering import curves, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.scattering.debye import Instrument
from jaxstruc.structures import shapes
from jaxstruc.structures.atoms import CLOSEST

BOND = 2.78
SPAN = targets.span(rmax=15.0, qmax=22.0, diameter=14.0)
VALUES = Values(*(jnp.asarray(x) for x in (1.0, 1.01, 0.006, 0.0, 2.0, 0.03, 0.0)))


@pytest.fixture(scope="module")
def truth():
    """Atoms of an fcc cluster, in Å."""
    return shapes.fcc((2, 3, 2)).positions * BOND


def target_of(positions, *, noise=0.0):
    """A curve of positions in Å, by the exact sum, with noise relative to its size."""
    grid = Grid(qmin=1.0, qmax=22.0, qstep=0.035, rmin=1.5, rmax=15.0, rstep=0.05)
    pairs = curves.gather(jnp.asarray(positions, jnp.float32), np.ones(len(positions), bool), grid)
    instrument = Instrument(uiso=0.006, delta2=2.0, stretch=1.01, qdamp=0.03)
    g = np.asarray(curves.pdf(pairs, form_factors.UNIT, np.array([len(positions)]), instrument, grid), float)
    g = g + noise * g.std() * np.random.default_rng(1).normal(size=g.shape)
    return targets.target(grid.r, g, qmin=1.0, qmax=22.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN)


@pytest.fixture(scope="module")
def target(truth):
    """A noise-free curve of the truth."""
    return target_of(truth)


@pytest.fixture(scope="module")
def start(truth):
    """The truth, each coordinate displaced by 0.05 Å at random."""
    rng = np.random.default_rng(0)
    return jnp.asarray(truth + 0.05 * rng.normal(size=truth.shape), jnp.float32)


def off(positions, truth):
    """Return the root mean square error of the distances, in Å."""
    wrong = pdist(np.asarray(positions, float)) - pdist(truth)
    return np.sqrt(np.mean(wrong**2))


def test_displaced_atoms_come_nearer_to_the_truth(truth, target, start):
    free = relax.relax(start, VALUES, target.basis, restraint=0.1)
    held = relax.relax(start, VALUES, target.basis, restraint=1e-3)
    assert off(start, truth) > 0.05
    assert off(free.positions, truth) < 0.8 * off(start, truth)
    assert float(free.rw) < 0.5 * float(held.rw)
    moved = np.sqrt(np.mean(np.sum((np.asarray(free.positions) - np.asarray(start)) ** 2, axis=1)))
    assert float(free.moved) == pytest.approx(moved, rel=1e-4) and 0.02 < moved < 0.2


def test_a_tiny_restraint_keeps_the_atoms(target, start):
    held = relax.relax(start, VALUES, target.basis, restraint=1e-3)
    assert 0 < float(held.moved) < 0.01
    assert float(jnp.abs(held.positions - start).max()) < 0.02


def test_the_truth_stays_where_it_is(truth, target):
    """The span's accuracy and rounding are all that is left to fit."""
    held = relax.relax(jnp.asarray(truth, jnp.float32), VALUES, target.basis, restraint=0.1)
    assert float(held.rw) < 5e-3
    assert off(held.positions, truth) < 0.01


def test_atoms_too_close_are_pushed_apart(truth):
    """The data, of the same atoms and mostly noise, would leave them where they are."""
    first, second = 0, int(np.argmin(np.linalg.norm(truth[1:] - truth[0], axis=1))) + 1
    close = truth.copy()
    close[second] = close[first] + 1.9 / BOND * (truth[second] - truth[first])
    found = relax.relax(
        jnp.asarray(close, jnp.float32), VALUES, target_of(close, noise=3.0).basis, restraint=0.3
    ).positions
    apart = np.linalg.norm(np.asarray(found[first] - found[second]))
    assert np.linalg.norm(close[first] - close[second]) == pytest.approx(1.9)
    assert 2.2 < apart < CLOSEST * BOND + 0.05


def test_two_close_atoms_meet_the_penalty_half_way(target, monkeypatch):
    """With data that say nothing: x² / ρ² + 100 (s - 2x)² of moves x in Å is least at x = s / 4 where 400 ρ² = 1."""
    monkeypatch.setattr(relax, "misfit", lambda table, values, basis: jnp.ones(()))
    least = CLOSEST * BOND
    close = jnp.array([[0.0, 0, 0], [least - 0.4, 0, 0]])
    found = relax.relax(close, VALUES, target.basis, restraint=0.05)
    assert float(pdist(found.positions)[0]) == pytest.approx(least - 0.2, abs=0.01)
    assert float(found.moved) == pytest.approx(0.1, abs=0.005)


def test_the_descent_ends_at_the_minimum():
    """A bowl of curvatures 1 to 1000: what is left to gain is as little as is said."""
    curvature = jnp.logspace(0, 3, 30).reshape(10, 3)
    bottom = jnp.asarray(np.random.default_rng(0).normal(size=(10, 3)), jnp.float32)

    def cost(moves):
        return 0.5 * jnp.sum(curvature * (moves - bottom) ** 2)

    assert float(cost(jnp.zeros((10, 3)))) > 100
    assert float(cost(relax._minimum(cost, jnp.zeros((10, 3))))) < relax.ENOUGH
