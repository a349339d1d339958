import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc import clusters, coordinates, observed, refinement, scattering, structure
from jaxstruc.scattering import Instrument

BOND = 2.78
R = np.arange(1.5, 15.001, 0.05)
SPAN = observed.span(rmax=15.0, qmax=22.0, diameter=14.0)
VALUES = refinement.Values(*(jnp.asarray(x) for x in (1.0, 1.01, 0.006, 0.0, 2.0, 0.03, 0.0)))


@pytest.fixture(scope="module")
def truth():
    """Atoms of an fcc cluster, in Å."""
    return clusters.fcc((2, 3, 2)).positions * BOND


@pytest.fixture(scope="module")
def target(truth):
    """A noise-free curve of the truth, by the exact sum."""
    q = jnp.linspace(1.0, 22.0, 600)
    pairs = scattering.pairs(structure.distances(jnp.asarray(truth, jnp.float32)), jnp.ones(len(truth)))
    instrument = Instrument(uiso=0.006, delta2=2.0, stretch=1.01, qdamp=0.03)
    ones, atoms = jnp.ones((1, q.size)), jnp.full(1, 1.0 * len(truth))
    f = scattering.reduced_structure_function(pairs, instrument, ones, atoms, q)
    g = scattering.sine_transform(f, q, scattering.q_weights(q, 1.0, 22.0), jnp.asarray(R, jnp.float32))
    g = scattering.envelope(instrument, jnp.asarray(R, jnp.float32)) * g
    return observed.target(
        R, np.asarray(g, float), qmin=1.0, qmax=22.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN
    )  # fmt: skip


@pytest.fixture(scope="module")
def start(truth):
    """The truth, each coordinate displaced by 0.05 Å at random."""
    rng = np.random.default_rng(0)
    return jnp.asarray(truth + 0.05 * rng.normal(size=truth.shape), jnp.float32)


def off(positions, truth):
    """Return the root mean square error of the distances, in Å."""
    wrong = clusters.pair_distances(np.asarray(positions, float)) - clusters.pair_distances(truth)
    return np.sqrt(np.mean(wrong**2))


def test_displaced_atoms_come_nearer_to_the_truth(truth, target, start):
    free = coordinates.relax(start, VALUES, target, span=SPAN, restraint=0.1)
    held = coordinates.relax(start, VALUES, target, span=SPAN, restraint=1e-3)
    assert off(start, truth) > 0.05
    assert off(free.positions, truth) < 0.8 * off(start, truth)
    assert float(free.rw) < 0.5 * float(held.rw)
    moved = np.sqrt(np.mean(np.sum((np.asarray(free.positions) - np.asarray(start)) ** 2, axis=1)))
    assert float(free.moved) == pytest.approx(moved, rel=1e-4) and 0.02 < moved < 0.2


def test_a_tiny_restraint_keeps_the_atoms(target, start):
    held = coordinates.relax(start, VALUES, target, span=SPAN, restraint=1e-3)
    assert 0 < float(held.moved) < 0.01
    assert float(jnp.abs(held.positions - start).max()) < 0.02


def test_the_truth_stays_where_it_is(truth, target):
    """The span's accuracy and rounding are all that is left to fit."""
    held = coordinates.relax(jnp.asarray(truth, jnp.float32), VALUES, target, span=SPAN, restraint=0.1)
    assert float(held.rw) < 5e-3
    assert off(held.positions, truth) < 0.01
