from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Icosahedron

from jaxstruc.network import endless, stock
from jaxstruc.scattering import curves
from jaxstruc.scattering.debye import Instrument
from jaxstruc.structures.atoms import from_ase
from jaxstruc.structures.lattices import scaled

SHARED = endless.Shared(
    **{name: jnp.float32(value) for name, value in {
        "bond": 2.88, "stretch": 1.02, "uiso": 0.006, "delta2": 0.3, "qmin": 0.8, "qmax": 22.0, "qdamp": 0.03,
        "qbroad": 0.0,
    }.items()}
)  # fmt: skip


@pytest.fixture(scope="module")
def gold():
    """An icosahedron of 309 atoms: bonds of 1, and its G(r) at the stream's points by the package's exact way."""
    atoms = Icosahedron("Au", 5)
    positions = scaled("", "", atoms.positions).positions
    length = float(SHARED.bond * SHARED.stretch)
    atoms.positions = positions * length
    cluster, kind = from_ase(atoms), curves.scatterers(atoms.symbols)
    grid = curves.Grid(qmin=0.8, qmax=22.0, qstep=0.02, rmin=0.0, rmax=38.0, rstep=0.01, longest=30.0)
    instrument = Instrument(uiso=0.006, delta2=0.3 * length**2, qdamp=0.03)
    pairs = curves.gather(cluster.positions, cluster.mask, grid)
    curve = curves.pdf(pairs, kind.coefficients, kind.composition, instrument, grid)
    return positions, np.interp(endless.R * 2.88, grid.r, curve)


@pytest.fixture(scope="module")
def same(gold):
    """A step's samples that are all this icosahedron."""
    rows = jnp.tile(jnp.asarray(stock.binned(gold[0])), (stock.COUNT, 1))
    zero = jnp.zeros(stock.COUNT, int)
    return stock.Samples(rows, zero + 5, jnp.full((stock.COUNT, len(stock.VALUES)), 309.0), zero)


def test_the_curve_is_that_of_the_simulator(gold):
    """Bins and few values of Q cost less than half a percent of the curve."""
    positions, curve = gold
    made = endless.transformed(endless.scattered(jnp.asarray(stock.binned(positions))[None], SHARED), SHARED)[0]
    assert np.sqrt(((made - curve) ** 2).sum() / (curve**2).sum()) < 0.005


def test_a_stretch_is_a_shift(gold):
    """Without vibrations that tell lengths apart, a curve stretched by some points' step is the curve moved by them."""
    steps = 4
    by = float(np.log(endless.R[1] / endless.R[0])) * steps
    rows = jnp.asarray(stock.binned(gold[0]))[None]
    free = SHARED._replace(qdamp=jnp.float32(0.0), delta2=jnp.float32(0.0))
    wide = free._replace(**{
        "stretch": free.stretch * np.exp(by), "uiso": free.uiso * np.exp(2 * by), "qmin": free.qmin * np.exp(-by),
        "qmax": free.qmax * np.exp(-by),
    })  # fmt: skip
    one, other = (endless.transformed(endless.scattered(rows, each), each)[0] for each in (free, wide))
    one, other = one / jnp.abs(one).max(), other / jnp.abs(other).max()
    np.testing.assert_allclose(other[steps:], one[:-steps], atol=5e-3)


def test_pdfs_are_seen_within_their_range_at_one_size(same):
    batch = jax.jit(partial(endless.measured, strange=0.0))(jax.random.key(0), same)
    assert not bool(batch.strange.any())
    assert bool(jnp.isfinite(batch.pdf).all()) and batch.pdf.shape == (stock.COUNT, endless.POINTS)
    assert (np.asarray(batch.pdf)[~np.asarray(batch.seen)] == 0).all()
    size = np.sqrt((batch.pdf**2).sum(axis=1) / batch.seen.sum(axis=1))
    np.testing.assert_allclose(size, 1, rtol=1e-3)
    assert set(np.asarray(batch.truths.type)) == {5}
    stretch = np.asarray(batch.truths.values[:, -1]).reshape(-1, endless.EACH)
    assert (np.ptp(stretch, axis=1) == 0).all() and np.ptp(stretch) > 0.03
    assert 0.1 < float((batch.noise == 0).mean()) < 0.2 and float(batch.noise.max()) <= 0.15


def test_the_same_key_gives_the_same_pdfs_and_another_others(same):
    measured = jax.jit(chex.assert_max_traces(lambda key, samples: endless.measured(key, samples, strange=0.0), n=1))
    one, again, other = (measured(jax.random.key(key), same).pdf for key in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert float(jnp.abs(one - other).max(axis=1).min()) > 0.01


def test_strange_pdfs_are_sums_of_two_types_or_told_a_wrong_qmax(same):
    """Their truths are left out; a qmax told wrong is off by 10 to 28 %, and stays within what is usual."""
    kind = jnp.arange(stock.COUNT) % 2 * 5
    two = same._replace(type=kind, histogram=same.histogram * jnp.where(kind == 5, 1.0, 0.5)[:, None])
    made = jax.jit(endless.measured, static_argnames="strange")
    usual, odd = (made(jax.random.key(0), two, strange=share) for share in (0.0, 0.4))
    strange = np.asarray(odd.strange)
    assert 0.3 < strange.mean() < 0.5 and (np.asarray(odd.truths.type) == -1)[strange].all()
    assert np.isnan(np.asarray(odd.truths.values)[strange]).all()
    np.testing.assert_array_equal(odd.truths.type[~strange], usual.truths.type[~strange])
    off = abs(np.log(np.asarray(odd.told[:, 1] / usual.told[:, 1])))
    wrong = off > 1e-5
    assert 0.15 < wrong.mean() < 0.25 and strange[wrong].all() and 0.099 < off[wrong].min() and off.max() < 0.26
    blended = strange & ~wrong
    assert 0.1 < blended.mean() < 0.3
    assert np.abs(np.asarray(odd.pdf - usual.pdf))[blended].max(axis=1).min() > 0  # noise alone stays
    np.testing.assert_allclose(odd.pdf[~strange], usual.pdf[~strange], atol=1e-5)


def test_the_share_of_two_types_is_the_share_of_their_atoms(same):
    """Sum of the two histograms, by the shares that are drawn."""
    blended, qmax = endless._strange(jax.random.key(1), jnp.arange(32) % 2, jnp.float32(20.0), 1.0)
    two = np.asarray(blended) < 1
    assert two.any() and (np.asarray(blended)[two] >= 0.3).all() and (np.asarray(blended)[two] <= 0.7).all()
    assert (np.asarray(qmax)[two] == 20.0).all() and (np.asarray(qmax)[~two] != 20.0).all()
    alike, _ = endless._strange(jax.random.key(1), jnp.zeros(32, int), jnp.float32(20.0), 1.0)
    assert (np.asarray(alike) == 1).all()
