"""Shares of atoms over classes of clusters, against mixtures whose truth is known."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import mixtures
import numpy as np
import pytest

from jaxstruc.inference import candidates, ensemble, values
from jaxstruc.inference.mixture import Guess, curves, shares
from jaxstruc.scattering import templates


@pytest.fixture(scope="module")
def lognormal():
    """A mixture of fcc spheres, mean 17 Å and width 20 %, with 2 % of noise: rows, curve, fit's start."""
    rows = mixtures.drawn(np.random.default_rng(0), mean=17.0, width=0.2)
    return rows, mixtures.curve(rows, noise=0.02)


def fitted(g, strength=0.0, **more):
    pool, fits = mixtures.best(g)
    to = mixtures.goal(g)
    size = float(mixtures.sizes()[pool.entry(0)[1]])
    begin = ensemble.first(mixtures.mixed(), to.basis, candidates.rows(fits.values, 0), mixtures.NAMES, size)
    found = ensemble.fit(mixtures.mixed(), to.basis, begin, names=mixtures.NAMES, strength=0.0, **more)
    if strength:
        found = ensemble.fit(mixtures.mixed(), to.basis, found.guess, names=mixtures.NAMES, strength=strength, **more)
    return found, float(fits.rw[0])


def told(share):
    size, share = np.asarray(mixtures.mixed().size, float), np.asarray(share, float)
    share = share / share.sum()
    mean = share @ size
    return mean, np.sqrt(share @ (size - mean) ** 2) / mean


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_mean_and_width_of_a_lognormal_are_found(lognormal, strength):
    rows, g = lognormal
    found, single = fitted(g, strength)
    size = mixtures.sizes()[rows]
    mean, width = told(found.share)
    assert mean == pytest.approx(size.mean(), rel=0.02) and width == pytest.approx(size.std() / size.mean(), rel=0.12)
    assert float(found.rw) < 0.6 * single
    assert float(found.values.uiso) == pytest.approx(0.008, rel=0.03)
    assert float(found.values.stretch) == pytest.approx(1.0, abs=2e-3)
    fcc = np.asarray(mixtures.mixed().packing) == mixtures.classed().packings.index("fcc")
    assert np.asarray(found.share)[fcc].sum() / np.asarray(found.share).sum() > 0.95


def test_shares_of_two_packings_are_found():
    rng = np.random.default_rng(1)
    both = [
        mixtures.drawn(rng, mean=17.0, width=0.15, families=(name,), count=n)
        for name, n in (("fcc", 20), ("icosahedron", 40))
    ]
    found, _ = fitted(mixtures.curve(np.concatenate(both), noise=0.02))
    fcc = np.asarray(mixtures.mixed().packing) == mixtures.classed().packings.index("fcc")
    assert np.asarray(found.share)[fcc].sum() / np.asarray(found.share).sum() == pytest.approx(1 / 3, abs=0.03)


def test_a_free_distribution_shows_two_sizes_that_a_lognormal_cannot():
    rng = np.random.default_rng(2)
    rows = np.concatenate([mixtures.drawn(rng, mean=mean, width=0.04, count=30) for mean in (12.0, 20.0)])
    g = mixtures.curve(rows, noise=0.005)
    flat, free = fitted(g)[0], fitted(g, 2.0)[0]
    assert float(free.rw) < 0.9 * float(flat.rw)
    size, share = np.asarray(mixtures.mixed().size), np.asarray(free.share)
    near = [share[abs(size / mean - 1) < 0.1].sum() for mean in (12.0, 15.6, 20.0)]
    assert near[1] < 0.5 * min(near[0], near[2])


def test_the_contraction_of_small_particles_is_found():
    rows = mixtures.drawn(np.random.default_rng(3), mean=15.0, width=0.25)
    found, _ = fitted(mixtures.curve(rows, noise=0.005, contraction=0.2))
    assert float(found.guess.contraction[0]) == pytest.approx(0.2, abs=0.05)
    plain, _ = fitted(mixtures.curve(rows, noise=0.005))
    assert abs(float(plain.guess.contraction[0])) < 0.05


def test_the_curve_is_the_sum_of_the_classes(lognormal):
    """Each class by itself through `values.curve`, weighed by its share."""
    found, _ = fitted(lognormal[1])
    to, mixture = mixtures.goal(lognormal[1]), mixtures.mixed()
    stretch = np.asarray(found.values.stretch) * (1 - float(found.guess.contraction[0]) / np.asarray(mixture.size))
    total = np.zeros(len(to.basis.data))
    for at in np.flatnonzero(np.asarray(found.share) > 1e-6):
        one = templates.Template(mixture.tables.waves[at], mixture.tables.bond[at], mixture.tables.span)
        own = found.values._replace(stretch=jnp.float32(stretch[at]), scale=jnp.float32(1))
        total += float(found.share[at]) * np.asarray(values.curve(one, own, to.basis))
    left = np.asarray(to.basis.data) - total
    assert float(found.squares) == pytest.approx(left @ left + float(to.basis.rest), rel=1e-3)


def test_draws_of_the_posterior_are_about_the_best_and_wider_with_fewer_points(lognormal):
    wide = []
    for counted in (1.0, 0.25):
        found, _ = fitted(lognormal[1], counted=counted)
        every = np.asarray(ensemble.drawn(found, mixtures.mixed(), strength=0.0))
        means = np.array([told(one)[0] for one in every])
        assert np.isfinite(every).all() and (every >= 0).all() and len(every) == ensemble.DRAWS
        assert np.median(means) == pytest.approx(told(found.share)[0], rel=0.02)
        wide.append(np.ptp(np.quantile(means, [0.05, 0.95])))
    assert 1.4 < wide[1] / wide[0] < 3.5 and wide[0] > 0.01


def test_the_same_seed_gives_the_same_draws(lognormal):
    found, _ = fitted(lognormal[1])
    one, two, other = (
        np.asarray(ensemble.drawn(found, mixtures.mixed(), strength=0.0, seed=seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, other)


def test_a_second_fit_does_not_compile(lognormal):
    fitted(lognormal[1])
    chex.clear_trace_counter()
    fit = jax.jit(chex.assert_max_traces(ensemble._fit.__wrapped__, n=1), static_argnames="names")
    for seed, strength in ((1, 0.0), (2, 1.0)):
        to = mixtures.goal(mixtures.curve(lognormal[0], noise=0.05, seed=seed))
        begin = fitted(lognormal[1])[0].guess
        own, steps, part = jnp.float32(strength), jnp.asarray(2 + seed), jnp.float32(0.5 * seed)
        assert np.isfinite(fit(mixtures.mixed(), to.basis, begin, own, steps, part, names=mixtures.NAMES).rw)


def test_a_series_is_fitted_like_each_curve_alone():
    rng = np.random.default_rng(4)
    rows = [mixtures.drawn(rng, mean=mean, width=0.2) for mean in (15.0, 16.0, 17.0)]
    curves = [mixtures.curve(one, noise=0.01, seed=k, stretch=1 + 0.001 * k) for k, one in enumerate(rows)]
    begin = fitted(curves[1])[0].guess
    bases = [mixtures.goal(g).basis for g in curves]
    found = ensemble.fit_series(mixtures.mixed(), bases, begin, names=mixtures.NAMES)
    for k, g in enumerate(curves):
        alone, _ = fitted(g)
        assert float(found.rw[k]) == pytest.approx(float(alone.rw), rel=0.1)
        np.testing.assert_allclose(told(found.share[k]), told(alone.share), rtol=0.03)
        assert told(found.share[k])[0] == pytest.approx(mixtures.sizes()[rows[k]].mean() * (1 + 0.001 * k), rel=0.03)


def exact(curve_of):
    """Return the basis of data that a guess's own curves are, the guess, and the prior that belongs to it."""
    to, mixture = mixtures.goal(mixtures.curve(np.arange(20))), mixtures.mixed()
    count, waves = mixture.packings, mixture.waves.shape[1]
    own = Guess(
        jnp.linspace(0.9, 0.3, count), jnp.full(count, np.log(17.0)), jnp.full(count, np.log(0.2)),
        jnp.zeros((count, waves)), jnp.log(jnp.array([17.0, 0.2])), jnp.array([0.5, 0.3, 0.5]), jnp.zeros(1),
    )  # fmt: skip
    every = curves(mixture, own.places, own.contraction[0], mixtures.NAMES, to.basis)
    data = curve_of(shares(own, mixture, 0.0) @ every)
    return dataclasses.replace(to.basis, data=data, norm=jnp.sum(data**2), rest=jnp.zeros(())), own


def cost(guess, basis, begin):
    """Return the cost of a guess, written out, and its rounding: of a sum over classes, relative to the data's."""
    mixture, prior = mixtures.mixed(), ensemble._prior(begin, mixtures.mixed())
    every = curves(mixture, guess.places, guess.contraction[0], mixtures.NAMES, basis)
    left = np.asarray(basis.data - shares(guess, mixture, 0.0) @ every, float)
    epsilon, norm, points = float(np.finfo(np.float32).eps), float(basis.norm), float(basis.independent)
    squares = max(left @ left + float(basis.rest), epsilon**2 * norm)
    off = np.asarray(ensemble._departures(guess, prior.total, prior.size), float)
    rounding = 2 * points * np.log1p(len(mixture.size) * epsilon * np.sqrt(norm / squares))
    return points * np.log(squares) + off @ off, rounding


@pytest.mark.parametrize("seed", range(3))
def test_the_truth_of_exact_data_stays_if_their_last_bits_change(seed):
    """What the prior gains by a move is less than what the misfit loses: noise is of the size of the rounding."""
    bits = lambda x: x * (1 + np.finfo(np.float32).eps * np.random.default_rng(seed).integers(-4, 5, x.shape))  # noqa: E731
    basis, truth = exact(lambda data: jnp.asarray(bits(np.asarray(data)), jnp.float32))
    found = ensemble.fit(mixtures.mixed(), basis, truth, names=mixtures.NAMES, strength=0.0)
    assert all(np.isfinite(column).all() for column in found.guess) and np.isfinite(found.precision).all()
    (end, _), (begin, rounding) = cost(found.guess, basis, truth), cost(truth, basis, truth)
    assert end <= begin + rounding and float(found.rw) < 1e-4
    np.testing.assert_allclose(found.share, shares(truth, mixtures.mixed(), 0.0), atol=1e-3 * float(found.values.scale))
    assert np.abs(found.guess.places - truth.places).max() < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_no_ensemble_is_worse_than_its_start(seed):
    rng = np.random.default_rng(seed)
    basis, truth = exact(
        lambda data: data + 0.05 * jnp.std(data) * jnp.asarray(rng.normal(size=data.shape), jnp.float32)
    )
    begin = truth._replace(
        root=jnp.asarray(rng.uniform(0.1, 2.0, truth.root.shape), jnp.float32), mean=truth.mean + 0.5 * (-1) ** seed,
        places=jnp.asarray(rng.uniform(0.02, 0.98, truth.places.shape), jnp.float32),
    )  # fmt: skip
    found = ensemble.fit(mixtures.mixed(), basis, begin, names=mixtures.NAMES, strength=0.0)
    assert cost(found.guess, basis, begin)[0] <= sum(cost(begin, basis, begin))
