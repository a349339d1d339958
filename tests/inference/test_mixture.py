"""Shares and curves of classes: sums, the lognormal written out, gradients."""

import jax
import jax.numpy as jnp
import mixtures
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxstruc.inference import candidates, ensemble, mixture
from jaxstruc.inference.mixture import Guess


def guess_of(mixed, *, root=(0.6, 0.8), mean=17.0, width=0.2):
    count, waves = mixed.packings, mixed.waves.shape[1]
    return Guess(
        jnp.asarray(root), jnp.full(count, np.log(mean)), jnp.full(count, np.log(width)), jnp.zeros((count, waves)),
        jnp.asarray([np.log(mean), np.log(width)]), jnp.full(3, 0.5), jnp.zeros(1),
    )  # fmt: skip


def test_shares_are_a_lognormal_of_each_packing_and_sum_to_its_root_squared():
    mixed = mixtures.mixed()
    found = np.asarray(mixture.shares(guess_of(mixed), mixed, 0.0))
    packing, size = np.asarray(mixed.packing), np.asarray(mixed.size, float)
    for number, total in enumerate((0.36, 0.64)):
        bell = np.exp(-0.5 * (np.log(size / 17.0) / 0.2) ** 2) * (packing == number)
        np.testing.assert_allclose(found * (packing == number), total * bell / bell.sum(), atol=1e-6)


def test_waves_change_a_distribution_by_their_strength_alone():
    mixed = mixtures.mixed()
    guess = guess_of(mixed)
    guess = guess._replace(waves=guess.waves.at[0, -2].set(1.5))
    flat, free = (np.asarray(mixture.shares(guess, mixed, strength)) for strength in (0.0, 1.0))
    own = np.asarray(mixed.packing) == 0
    np.testing.assert_allclose(flat, np.asarray(mixture.shares(guess_of(mixed), mixed, 1.0)), atol=1e-7)
    assert abs(free - flat)[own].max() > 0.1 * flat[own].max()
    np.testing.assert_allclose(free[~own], flat[~own], atol=1e-7)
    assert free[own].sum() == pytest.approx(0.36, rel=1e-5)


def test_waves_have_unit_variance_at_every_size():
    np.testing.assert_allclose(np.sum(np.asarray(mixtures.mixed().waves) ** 2, axis=1), 1.0, atol=0.02)


def test_small_particles_contract_by_their_size():
    found = np.asarray(mixture.stretches(1.01, 0.2, mixtures.mixed()))
    np.testing.assert_allclose(found, 1.01 * (1 - 0.2 / np.asarray(mixtures.mixed().size)), rtol=1e-6)


def test_gradients_by_all_that_is_fitted_are_those_of_differences():
    rows = mixtures.drawn(np.random.default_rng(0), mean=17.0, width=0.2)
    mixed, to = mixtures.mixed(), mixtures.goal(mixtures.curve(rows, noise=0.02))
    pool, fits = mixtures.best(mixtures.curve(rows, noise=0.02))
    size = float(mixtures.sizes()[pool.entry(0)[1]])
    begin = ensemble.first(mixed, to.basis, candidates.rows(fits.values, 0), mixtures.NAMES, size)
    guess = ensemble.fit(mixed, to.basis, begin, names=mixtures.NAMES, strength=0.0).guess
    flat, unravel = ravel_pytree(guess)

    def misfit(x):
        own = unravel(x)
        every = mixture.curves(mixed, own.places, own.contraction[0], mixtures.NAMES, to.basis)
        return jnp.sum((0.9 * to.basis.data - mixture.shares(own, mixed, 1.0) @ every) ** 2)

    slope = np.asarray(jax.jit(jax.grad(misfit))(flat))
    own = jax.tree.map(np.asarray, unravel(slope))
    fcc = mixtures.classed().packings.index("fcc")
    assert np.isfinite(slope).all() and abs(own.root[fcc]) > 0 and (abs(own.places) > 0).all()
    value = jax.jit(misfit)
    for at in (fcc, len(guess.root) + fcc, len(flat) - 4, len(flat) - 1):  # root, mean, stretch, contraction
        step = np.zeros_like(slope)
        step[at] = 2e-3
        numeric = (float(value(flat + step)) - float(value(flat - step))) / 4e-3
        assert slope[at] == pytest.approx(numeric, rel=0.03, abs=1e-3 * float(abs(slope).max()))
