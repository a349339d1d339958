from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.spatial.distance import cdist

from jaxstruc.network import dataset, representation, stress, trilateration
from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.scattering.debye import Instrument
from jaxstruc.structures import shapes
from jaxstruc.structures.atoms import from_ase
from jaxstruc.structures.distances import distances

trilaterate = jax.jit(trilateration.trilaterate, static_argnames=("iterations", "tolerance"))
batched = jax.jit(trilateration.batched, static_argnames=("iterations", "tolerance"))
from_pairs = jax.jit(trilateration.from_pairs, static_argnames=("iterations", "tolerance"))


linear_start = jax.jit(trilateration.linear_start)
ordered = jax.jit(representation.ordered)
between = jax.jit(distances)
stress_of = jax.jit(stress.value_and_gradient)


@cache
def unit_structure(layers=(2, 2, 2), size=20, count=11, dtype=jnp.float32):
    """Return true positions, pair and satellite distances, presence and satellites of a padded cluster."""
    cluster = shapes.fcc(layers)
    atoms = len(cluster.positions)
    arranged = ordered(from_ase(cluster.atoms("Au", 1.0), size=size))
    positions = np.array(arranged.positions, float)
    positions /= np.linalg.norm(positions, axis=1).max()
    anchors = representation.satellites(count)
    given = (positions, cdist(positions, positions), cdist(positions, anchors), np.arange(size) < atoms, anchors)
    return tuple(jnp.asarray(array, dtype) for array in given)


def exact(count, dtype, tolerance):
    """Check that exact distances give exact coordinates."""
    true, *given = unit_structure(dtype=dtype, count=count)
    found = trilaterate(*given)
    assert bool(found.converged) and found.positions.dtype == dtype
    np.testing.assert_allclose(found.positions[:19], true[:19], atol=tolerance)


@pytest.mark.parametrize("count", [4, 11])
def test_exact_distances_give_exact_coordinates(count):
    exact(count, jnp.float32, 1e-5)


@pytest.mark.parametrize("count", [11, pytest.param(100, marks=pytest.mark.long)])
def test_exact_distances_give_exact_coordinates_in_double_precision(x64, count):
    exact(count, jnp.float64, 1e-9)


def noisy(sigma, seed=0, **options):
    true, pair, satellite, presence, anchors = unit_structure(**options)
    rng = np.random.default_rng(seed)
    error = np.triu(rng.normal(size=pair.shape), 1)
    pair = pair + jnp.asarray(sigma * (error + error.T), pair.dtype)
    satellite = satellite + jnp.asarray(sigma * rng.normal(size=satellite.shape), satellite.dtype)
    return true, pair, satellite, presence, anchors


def problem_of(pair, satellite, presence, anchors, scale=None):
    """Return the arguments of the stress, all distances of weight 1."""
    there = presence[:, None] * presence[None, :] * (1 - jnp.eye(presence.size))
    held = linear_start(satellite * presence[:, None], anchors)
    seen = jnp.broadcast_to(presence[:, None], satellite.shape)
    return stress.Problem(pair, satellite, there, seen, 1 - presence, held, anchors, scale)


@pytest.mark.parametrize("scale", [None, 0.05])
def test_the_stress_is_its_formula_and_the_gradient_its_derivative(x64, scale):
    true, pair, satellite, presence, anchors = noisy(0.03, dtype=jnp.float64)
    problem = problem_of(pair, satellite, presence, anchors, scale)
    rng = np.random.default_rng(5)
    positions = np.asarray(true) + 0.02 * rng.normal(size=true.shape)
    pair, satellite, anchors = (np.asarray(given) for given in (pair, satellite, anchors))
    total = 0.0
    for i in range(20):
        others = [(positions[j], pair[i, j]) for j in range(i)] if i < 19 else []
        others += list(zip(anchors, satellite[i], strict=True)) if i < 19 else []
        for point, distance in others:
            error = np.linalg.norm(positions[i] - point) - distance
            left = 1 - (error / scale) ** 2 if scale else 0
            total += scale**2 / 3 * (1 - max(left, 0) ** 3) if scale else error**2
    total += float(jnp.sum((positions[19] - problem.held[19]) ** 2))
    value, gradient = stress_of(jnp.asarray(positions), problem)
    assert float(value) == pytest.approx(total / 40, rel=1e-12)
    derivative = jax.jit(jax.grad(lambda x: stress.value_and_gradient(x, problem)[0]))(jnp.asarray(positions))
    assert float(jnp.abs(gradient).max()) > 1e-3
    np.testing.assert_allclose(gradient, derivative, atol=1e-12)


def test_the_stress_has_a_gradient_where_atoms_coincide():
    _, *given = unit_structure()
    problem = problem_of(*given)
    gradient = jax.jit(jax.grad(lambda x: stress.value_and_gradient(x, problem)[0]))(jnp.zeros((20, 3)))
    assert bool(jnp.isfinite(gradient).all()) and float(jnp.abs(gradient).max()) > 0


def test_the_stress_is_not_above_that_of_scipy(x64):
    true, *given = noisy(0.03, dtype=jnp.float64)
    found = trilaterate(*given)
    problem = problem_of(*given)

    def value(x):
        total, gradient = stress_of(x.reshape(-1, 3), problem)
        return float(total), np.asarray(gradient).ravel()

    best = scipy.optimize.minimize(value, true.ravel(), jac=True, method="L-BFGS-B", options={"ftol": 1e-14})
    mine = value(np.asarray(found.positions).ravel())[0]
    assert mine <= best.fun * (1 + 1e-6)


def error(positions, true):
    """Return the root mean square displacement."""
    return float(np.sqrt(np.mean(np.sum((np.asarray(positions) - np.asarray(true)) ** 2, axis=-1))))


@pytest.fixture(scope="module")
def drawn55():
    """Ten noisy structures of 55 atoms at 1 % and at 3 % noise: truth, pair and satellite distances, and satellites."""
    draws = {
        sigma: [noisy(sigma, seed=seed, layers=(2, 4, 2), size=55) for seed in range(10)] for sigma in (0.01, 0.03)
    }
    return {
        sigma: (*(jnp.stack(column) for column in list(zip(*rows, strict=True))[:4]), rows[0][4])
        for sigma, rows in draws.items()
    }


@pytest.fixture(scope="module")
def solve55():
    """Distances of 55 atoms to coordinates, in a batch; traced once in this module."""
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def solve(pair, satellite, presence, anchors):
        return trilateration.batched(pair, satellite, presence, anchors)

    return solve


def test_a_second_call_does_not_compile_again(drawn55, solve55):
    first, second = (solve55(*drawn55[sigma][1:]).positions for sigma in (0.01, 0.03))
    assert error(first, second) > 1e-3


@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_noise_leaves_errors_near_the_cramer_rao_bound(drawn55, solve55, sigma):
    """0.0043 of the radius at 55 atoms, 11 satellites and 1 % noise is the bound; 10 % above it is allowed."""
    true, *given = drawn55[sigma]
    found = solve55(*given)
    assert bool(found.converged.all())
    assert error(found.positions, true) < 1.1 * 0.43 * sigma


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_missing_distances_and_outliers_cost_less_than_a_third(drawn55, solve55, sigma):
    true, pair, satellite, presence, anchors = drawn55[sigma]
    clean = error(solve55(pair, satellite, presence, anchors).positions, true)
    rng = np.random.default_rng(0)
    symmetric = lambda x: np.triu(x, 1) + np.swapaxes(np.triu(x, 1), 1, 2)  # noqa: E731
    chance, other = symmetric(rng.uniform(size=pair.shape)), rng.uniform(size=satellite.shape)
    kept, seen = jnp.asarray(chance > 0.1, pair.dtype), jnp.asarray(other > 0.1, pair.dtype)
    found = batched(
        jnp.where(kept > 0, pair, jnp.nan),
        jnp.where(seen > 0, satellite, jnp.nan),
        presence,
        anchors,
        pair_weight=kept,
        satellite_weight=seen,
    )
    assert bool(found.converged.all())
    assert error(found.positions, true) < 1.3 * clean
    wild = symmetric(rng.uniform(0, 2, size=pair.shape)), rng.uniform(0, 2, size=satellite.shape)
    gross = jnp.where(chance < 0.05, wild[0], pair), jnp.where(other < 0.05, wild[1], satellite)
    found = batched(*gross, presence, anchors, robust=5 * sigma)
    assert bool(found.converged.all())
    assert error(found.positions, true) < 1.3 * clean
    assert error(solve55(*gross, presence, anchors).positions, true) > 3 * clean


def test_a_weight_of_two_is_a_distance_given_twice():
    _, pair, satellite, presence, anchors = noisy(0.03)
    doubled = (pair, jnp.concatenate([satellite] * 2, axis=1), presence, jnp.concatenate([anchors] * 2))
    twice, weighted, plain = (
        trilaterate(*doubled, satellite_weight=jnp.repeat(jnp.array(each), 11) * jnp.ones((20, 1))).positions[:19]
        for each in ([1.0, 1.0], [2.0, 0.0], [1.0, 0.0])
    )
    np.testing.assert_allclose(weighted, twice, atol=1e-4)
    np.testing.assert_allclose(plain, trilaterate(pair, satellite, presence, anchors).positions[:19], atol=1e-4)
    assert error(plain, twice) > 1e-3


def test_satellites_alone_place_each_atom_by_itself():
    true, pair, satellite, presence, anchors = noisy(0.02)
    weights = {"pair_weight": jnp.zeros_like(pair), "satellite_weight": jnp.ones_like(satellite)}
    found = trilaterate(jnp.full_like(pair, jnp.nan), satellite, presence, anchors, **weights)
    assert bool(found.converged)

    def misfit(x, given):
        return np.linalg.norm(x - np.asarray(anchors, float), axis=1) - given

    for k in (0, 7, 18):
        alone = scipy.optimize.least_squares(
            misfit, np.asarray(true[k], float), args=(np.asarray(satellite[k], float),)
        )
        np.testing.assert_allclose(found.positions[k], alone.x, atol=2e-3)


def test_atoms_with_too_few_satellites_are_placed_by_the_others():
    """Three distances to satellites leave two places open, which the distances to other atoms decide."""
    true, pair, satellite, presence, anchors = unit_structure()
    seen = jnp.ones_like(satellite).at[jnp.array([4, 9]), 3:].set(0.0).at[12].set(0.0)
    weights = {"pair_weight": jnp.ones_like(pair), "satellite_weight": seen}
    found = trilaterate(pair, jnp.where(seen > 0, satellite, jnp.nan), presence, anchors, **weights)
    assert bool(found.converged)
    np.testing.assert_allclose(found.positions[:19], true[:19], atol=1e-4)


@pytest.mark.parametrize("case", [pytest.param("exact", marks=pytest.mark.long), "missing", "outliers"])
def test_pair_distances_alone_give_the_structure_up_to_rotation_and_mirror_image(case):
    _, pair, _, presence, _ = unit_structure(layers=(2, 4, 2), size=57)
    rng = np.random.default_rng(1)
    chance = np.triu(rng.uniform(size=pair.shape), 1)
    hit = jnp.asarray((chance + chance.T < 0.05) & ~np.eye(57, dtype=bool))
    options: dict = {}
    given = pair
    if case == "missing":
        options, given = {"pair_weight": 1.0 - hit}, jnp.where(hit, jnp.nan, pair)
    if case == "outliers":
        options, given = {"robust": 0.05}, jnp.where(hit, 1.0, pair)
    found = from_pairs(given, presence, **options)
    assert bool(found.converged) and found.positions.shape == (57, 3)
    np.testing.assert_allclose(between(found.positions[:55]), pair[:55, :55], atol=2e-4)
    np.testing.assert_allclose(found.positions[:55].mean(axis=0), 0.0, atol=1e-5)


@pytest.mark.slow
def test_derivatives_from_pairs_alone_are_those_of_finite_differences(x64):
    _, pair, _, presence, _ = noisy(0.02, size=19, dtype=jnp.float64)

    @jax.jit
    @jax.value_and_grad
    def size(pair):
        positions = trilateration.from_pairs(pair, presence, tolerance=1e-11).positions
        return jnp.sum(distances(positions) ** 3)

    rng = np.random.default_rng(2)
    direction = rng.normal(size=pair.shape)
    direction = direction + direction.T
    slope = float(np.sum(size(pair)[1] * direction))
    ends = [float(size(pair + sign * 1e-5 * direction)[0]) for sign in (1, -1)]
    assert abs(slope) > 1e-2
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_absent_atoms_change_nothing():
    _, pair, satellite, presence, anchors = noisy(0.02, size=20)
    wrong = jnp.where(presence[:, None] * presence[None, :] > 0, pair, 7.0)
    one = trilaterate(pair, satellite, presence, anchors)
    two = trilaterate(wrong, satellite, presence, anchors)
    np.testing.assert_allclose(one.positions[:19], two.positions[:19], atol=1e-4)


def test_one_hopeless_item_costs_the_others_nothing():
    """NaN and negative distances, and distances of no structure at all: flagged; the others as if alone."""
    _, pair, satellite, presence, anchors = noisy(0.02)
    wild = np.triu(np.random.default_rng(0).uniform(0, 2, size=pair.shape), 1)
    pairs = jnp.stack([pair, jnp.full_like(pair, jnp.nan), pair.at[2, 3].set(-0.1), jnp.asarray(wild + wild.T)])
    batch = batched(pairs, jnp.stack([satellite] * 4), jnp.stack([presence] * 4), anchors, iterations=2)
    alone = trilaterate(pair, satellite, presence, anchors)
    assert batch.converged.tolist() == [True, False, False, False]
    reasons = [trilateration.REASONS[code] for code in batch.reason]
    assert reasons[:3] == ["converged", "negative or NaN distances", "negative or NaN distances"]
    assert reasons[3] in ("out of iterations", "line search failed")
    assert bool(jnp.isnan(batch.positions[1:3]).all()) and bool(jnp.isnan(batch.stress[1:3]).all())
    assert float(batch.stress[3]) > 0.1 and int(batch.iterations[3]) <= stress.NEWTON + 2
    np.testing.assert_allclose(batch.positions[0], alone.positions, atol=1e-4)


def test_what_gauss_newton_leaves_lbfgs_finishes(monkeypatch):
    _, *given = noisy(0.02)
    best = trilaterate(*given)
    monkeypatch.setattr(stress, "NEWTON", 0)
    slow = jax.jit(partial(trilateration.batched))(*(x[None] for x in given[:3]), given[3])
    assert bool(slow.converged[0]) and int(slow.iterations[0]) > int(best.iterations)
    np.testing.assert_allclose(slow.positions[0], best.positions, atol=1e-3)


@pytest.mark.slow
def test_derivatives_in_the_distances_are_those_of_finite_differences(x64):
    """Implicit differentiation at the minimum, end to end: distances to coordinates to G(r)."""
    _, pair, satellite, presence, anchors = noisy(0.02, dtype=jnp.float64)
    grid = Grid(qmin=0.5, qmax=12.0, qstep=0.2, rmin=1.0, rmax=8.0, rstep=0.2)
    kept = presence[:, None] * presence[None, :]

    def misfit(pair, satellite):
        found = trilaterate(pair * kept, satellite, presence, anchors, tolerance=1e-11, iterations=500)
        pairs = debye.pairs(distances(found.positions * 4.0), presence)
        g = curves.pdf(pairs, form_factors.UNIT, presence.sum()[None], Instrument(uiso=0.02), grid)
        return jnp.sum(g**2)

    misfit = jax.jit(jax.value_and_grad(misfit, argnums=(0, 1)))
    gradients = misfit(pair, satellite)[1]
    rng = np.random.default_rng(0)
    step = 1e-5
    for index, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape) * np.asarray(presence)[:, None]
        if index == 0:
            direction = direction + direction.T
        ends = []
        for sign in (1, -1):
            moved = [pair, satellite]
            moved[index] = moved[index] + sign * step * direction
            ends.append(float(misfit(*moved)[0]))
        slope = float(np.sum(gradient * direction))
        assert abs(slope) > 1e-3
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, s, w, a: (p[:5], s, w, a), r"Expected pair distances \[20, 20\] for 20 atoms, got \[5, 20\]"),
        (lambda p, s, w, a: (p, s[:, :5], w, a), r"Expected satellite distances \[20, 11\].*got \[20, 5\]"),
        (lambda p, s, w, a: (p, s[:, :3], w, a[:3]), "at least 4 satellites"),
        (lambda p, s, w, a: (p, s, w, a * np.array([1, 1, 0])), "not coplanar"),
        (lambda p, s, w, a: (p.at[2, 3].set(-1.0), s, w, a), r"got -1.0 at \[2, 3\] and 0 more"),
        (
            lambda p, s, w, a: (p, s.at[4, :2].set(jnp.nan), w, a),
            r"satellite distances .*got nan at \[4, 0\] and 1 more",
        ),
        (lambda p, s, w, a: (p, s.at[4, 0].set(jnp.inf), w, a), r"satellite distances .*got inf"),
        (lambda p, s, w, a: (p.at[2, 3].add(0.1), s, w, a), r"Expected symmetric pair distances, .* at \[2, 3\] and"),
    ],
)
def test_bad_distances_are_refused(change, message):
    _, *given = unit_structure()
    trilateration.check(*given)
    with pytest.raises(ValueError, match=message):
        trilateration.check(*change(*given))


def test_bad_weights_are_refused_and_missing_distances_are_not_looked_at():
    _, pair, satellite, presence, anchors = unit_structure()
    weight = jnp.ones_like(pair).at[1, 2].set(0.0).at[2, 1].set(0.0)
    gone = jnp.where(weight > 0, pair, jnp.nan)
    trilateration.check(gone, satellite, presence, anchors, pair_weight=weight)
    trilateration.check_pairs(jnp.stack([gone] * 2), jnp.stack([presence] * 2), pair_weight=jnp.stack([weight] * 2))
    with pytest.raises(ValueError, match=r"got nan at \[1, 2\] and 1 more such; give missing distances the weight 0"):
        trilateration.check_pairs(gone, presence)
    with pytest.raises(ValueError, match=r"pair weights of at least 0, got -1.0 at \[0, 4\]"):
        trilateration.check_pairs(pair, presence, pair_weight=weight.at[0, 4].set(-1.0))
    with pytest.raises(ValueError, match=r"a weight for each of the satellite distances \[20, 11\], got \[20, 3\]"):
        trilateration.check(pair, satellite, presence, anchors, satellite_weight=satellite[:, :3])


@pytest.mark.slow
@pytest.mark.long
def test_all_shapes_of_the_family_come_back():
    features = dataset.shape_features(shapes.fcc_family(), atoms=100, satellites=11)
    anchors = jnp.asarray(representation.satellites(11), jnp.float32)
    found = batched(features.pair, features.satellite, features.presence * 1.0, anchors)
    mask = features.presence[:, :, None] & features.presence[:, None, :]
    apart = jax.jit(jax.vmap(distances))(found.positions)
    np.testing.assert_allclose(np.where(mask, apart, 0.0), features.pair, atol=1e-5)


def last_bits(x, seed):
    """Return values whose last bits are changed at random, symmetric if they were."""
    bits = np.random.default_rng(seed).integers(-4, 5, x.shape)
    bits = bits + bits.T if x.shape[0] == x.shape[1] else bits
    return jnp.asarray(np.asarray(x) * (1 + np.finfo(x.dtype).eps * bits), x.dtype)


def ended(start, problem, tolerance=0.0):
    """Return where the steps of both kinds end from a start; with a tolerance of 0 only rounding stops them."""
    near, *_ = stress.gauss_newton(start, problem, tolerance)
    return near, stress.lbfgs(near, problem, 60, tolerance)


ended_at_rounding = jax.jit(ended)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("scale", [None, 0.05])
@pytest.mark.parametrize("seed", range(2))
def test_the_truth_stays_if_the_last_bits_of_the_distances_change(dtype, scale, seed):
    """The stress is convex about the truth: what rounding leaves moves an atom by no more than a sum's rounding."""
    with jax.enable_x64(dtype == jnp.float64):
        true, pair, satellite, presence, anchors = unit_structure(dtype=dtype)
        pair, satellite = last_bits(pair, seed), last_bits(satellite, seed)
        scale = None if scale is None else jnp.asarray(scale, dtype)
        problem = problem_of(pair * presence * presence[:, None], satellite, presence, anchors, scale)
        begin = last_bits(jnp.where(presence[:, None] > 0, true, problem.held), seed)
        near, (positions, error, _, _) = ended_at_rounding(begin, problem)
        values = [float(stress_of(x, problem)[0]) for x in (begin, near.positions, positions)]
        rounding = len(true) * float(np.finfo(dtype).eps)  # of sums over atoms, distances of a unit particle about 1
        assert np.isfinite(positions).all() and np.isfinite(error)
        assert max(values[1:]) <= (np.sqrt(values[0]) + rounding) ** 2
        assert float(jnp.abs(positions - begin).max()) < 100 * rounding


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("scale", [None, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_no_descent_ends_at_a_higher_stress_than_its_start(dtype, scale, seed):
    """From places at random, with distances of no structure."""
    with jax.enable_x64(dtype == jnp.float64):
        true, pair, satellite, presence, anchors = noisy(0.3, seed=seed, dtype=dtype)
        scale = None if scale is None else jnp.asarray(scale, dtype)
        pair = jnp.abs(pair) * presence * presence[:, None]
        problem = problem_of(pair, jnp.abs(satellite), presence, anchors, scale)
        begin = jnp.asarray(np.random.default_rng(seed).normal(size=true.shape), dtype)
        near, (positions, _, _, _) = ended_at_rounding(begin, problem)
        values = [float(stress_of(x, problem)[0]) for x in (begin, near.positions, positions)]
        rounding = len(true) * float(np.finfo(dtype).eps)
        assert np.isfinite(positions).all()
        assert values[1] <= (np.sqrt(values[0]) + rounding) ** 2 and values[2] <= (np.sqrt(values[1]) + rounding) ** 2
