from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.spatial.distance import cdist

from jaxstruc.clusters import fcc_shapes
from jaxstruc.clusters.cluster import from_ase
from jaxstruc.clusters.distances import distances
from jaxstruc.network.cvae import dataset, representation, stress, trilateration
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.pair_distribution import Grid

trilaterate = jax.jit(trilateration.trilaterate, static_argnames=("iterations", "tolerance"))
trilaterate_batch = jax.jit(trilateration.trilaterate_batch, static_argnames=("iterations", "tolerance"))
trilaterate_pairs = jax.jit(trilateration.trilaterate_pairs, static_argnames=("iterations", "tolerance"))


linear_start = jax.jit(trilateration.linear_start)
order_atoms = jax.jit(representation.order_atoms)
distance_matrix = jax.jit(distances)
stress_and_gradient = jax.jit(stress.value_and_gradient)


@cache
def unit_structure(layers=(2, 2, 2), size=20, count=11, dtype=jnp.float32):
    """Return true positions, pair and satellite distances, presence and satellites of a padded cluster."""
    cluster = fcc_shapes.fcc_cluster(layers)
    atoms = len(cluster.positions)
    ordered_cluster = order_atoms(from_ase(cluster.to_ase("Au", 1.0), n_rows=size))
    positions = np.array(ordered_cluster.positions, float)
    positions /= np.linalg.norm(positions, axis=1).max()
    anchors = representation.satellites(count)
    arrays = (positions, cdist(positions, positions), cdist(positions, anchors), np.arange(size) < atoms, anchors)
    return tuple(jnp.asarray(array, dtype) for array in arrays)


def check_exact_distances(count, dtype, tolerance):
    """Check that exact distances give exact coordinates."""
    true_positions, *inputs = unit_structure(dtype=dtype, count=count)
    solution = trilaterate(*inputs)
    assert bool(solution.converged) and solution.positions.dtype == dtype
    np.testing.assert_allclose(solution.positions[:19], true_positions[:19], atol=tolerance)


@pytest.mark.parametrize("count", [4, 11])
def test_exact_distances_give_exact_coordinates(count):
    check_exact_distances(count, jnp.float32, 1e-5)


@pytest.mark.parametrize("count", [11, pytest.param(100, marks=pytest.mark.long)])
def test_exact_distances_give_exact_coordinates_in_double_precision(x64, count):
    check_exact_distances(count, jnp.float64, 1e-9)


def noisy_structure(sigma, seed=0, **options):
    true_positions, pair, satellite, presence, anchors = unit_structure(**options)
    rng = np.random.default_rng(seed)
    error = np.triu(rng.normal(size=pair.shape), 1)
    pair = pair + jnp.asarray(sigma * (error + error.T), pair.dtype)
    satellite = satellite + jnp.asarray(sigma * rng.normal(size=satellite.shape), satellite.dtype)
    return true_positions, pair, satellite, presence, anchors


def stress_problem(pair, satellite, presence, anchors, scale=None):
    """Return the arguments of the stress with weight 1 for all distances."""
    pair_weights = presence[:, None] * presence[None, :] * (1 - jnp.eye(presence.size))
    start_positions = linear_start(satellite * presence[:, None], anchors)
    satellite_weights = jnp.broadcast_to(presence[:, None], satellite.shape)
    return stress.StressProblem(
        pair, satellite, pair_weights, satellite_weights, 1 - presence, start_positions, anchors, scale
    )


@pytest.mark.parametrize("scale", [None, 0.05])
def test_the_stress_is_its_formula_and_the_gradient_its_derivative(x64, scale):
    true_positions, pair, satellite, presence, anchors = noisy_structure(0.03, dtype=jnp.float64)
    problem = stress_problem(pair, satellite, presence, anchors, scale)
    rng = np.random.default_rng(5)
    positions = np.asarray(true_positions) + 0.02 * rng.normal(size=true_positions.shape)
    pair, satellite, anchors = (np.asarray(array) for array in (pair, satellite, anchors))
    total = 0.0
    for i in range(20):
        neighbours = [(positions[j], pair[i, j]) for j in range(i)] if i < 19 else []
        neighbours += list(zip(anchors, satellite[i], strict=True)) if i < 19 else []
        for point, distance in neighbours:
            error = np.linalg.norm(positions[i] - point) - distance
            biweight = 1 - (error / scale) ** 2 if scale else 0
            total += scale**2 / 3 * (1 - max(biweight, 0) ** 3) if scale else error**2
    total += float(jnp.sum((positions[19] - problem.absent_positions[19]) ** 2))
    value, gradient = stress_and_gradient(jnp.asarray(positions), problem)
    assert float(value) == pytest.approx(total / 40, rel=1e-12)
    derivative = jax.jit(jax.grad(lambda x: stress.value_and_gradient(x, problem)[0]))(jnp.asarray(positions))
    assert float(jnp.abs(gradient).max()) > 1e-3
    np.testing.assert_allclose(gradient, derivative, atol=1e-12)


def test_the_stress_has_a_gradient_where_atoms_coincide():
    _, *inputs = unit_structure()
    problem = stress_problem(*inputs)
    gradient = jax.jit(jax.grad(lambda x: stress.value_and_gradient(x, problem)[0]))(jnp.zeros((20, 3)))
    assert bool(jnp.isfinite(gradient).all()) and float(jnp.abs(gradient).max()) > 0


def test_the_stress_is_not_above_that_of_scipy(x64):
    true_positions, *inputs = noisy_structure(0.03, dtype=jnp.float64)
    solution = trilaterate(*inputs)
    problem = stress_problem(*inputs)

    def objective(x):
        total, gradient = stress_and_gradient(x.reshape(-1, 3), problem)
        return float(total), np.asarray(gradient).ravel()

    scipy_result = scipy.optimize.minimize(
        objective, true_positions.ravel(), jac=True, method="L-BFGS-B", options={"ftol": 1e-14}
    )
    stress_value = objective(np.asarray(solution.positions).ravel())[0]
    assert stress_value <= scipy_result.fun * (1 + 1e-6)


def rms_displacement(positions, true_positions):
    """Return the root mean square displacement."""
    return float(np.sqrt(np.mean(np.sum((np.asarray(positions) - np.asarray(true_positions)) ** 2, axis=-1))))


@pytest.fixture(scope="module")
def noisy_structures():
    """Return true positions, pair and satellite distances, and satellites of ten structures of 55 atoms.

    The noise of the distances is 1 % and 3 %.
    """
    structures_by_noise = {
        sigma: [noisy_structure(sigma, seed=seed, layers=(2, 4, 2), size=55) for seed in range(10)]
        for sigma in (0.01, 0.03)
    }
    return {
        sigma: (*(jnp.stack(column) for column in list(zip(*rows, strict=True))[:4]), rows[0][4])
        for sigma, rows in structures_by_noise.items()
    }


@pytest.fixture(scope="module")
def trilaterate_noisy():
    """Return the coordinates of a batch of structures of 55 atoms. The function is traced once in this module."""
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def trilaterate_structures(pair, satellite, presence, anchors):
        return trilateration.trilaterate_batch(pair, satellite, presence, anchors)

    return trilaterate_structures


def test_a_second_call_does_not_compile_again(noisy_structures, trilaterate_noisy):
    first_positions, second_positions = (
        trilaterate_noisy(*noisy_structures[sigma][1:]).positions for sigma in (0.01, 0.03)
    )
    assert rms_displacement(first_positions, second_positions) > 1e-3


@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_noise_leaves_errors_near_the_cramer_rao_bound(noisy_structures, trilaterate_noisy, sigma):
    """The bound is 0.0043 radii for 55 atoms, 11 satellites and 1 % noise. Errors may exceed it by 10 %."""
    true_positions, *inputs = noisy_structures[sigma]
    solution = trilaterate_noisy(*inputs)
    assert bool(solution.converged.all())
    assert rms_displacement(solution.positions, true_positions) < 1.1 * 0.43 * sigma


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_missing_distances_and_outliers_raise_the_error_by_less_than_a_third(
    noisy_structures, trilaterate_noisy, sigma
):
    true_positions, pair, satellite, presence, anchors = noisy_structures[sigma]
    clean_error = rms_displacement(trilaterate_noisy(pair, satellite, presence, anchors).positions, true_positions)
    rng = np.random.default_rng(0)
    symmetrise = lambda matrix: np.triu(matrix, 1) + np.swapaxes(np.triu(matrix, 1), 1, 2)  # noqa: E731
    pair_draws, satellite_draws = symmetrise(rng.uniform(size=pair.shape)), rng.uniform(size=satellite.shape)
    pair_weight, satellite_weight = (
        jnp.asarray(pair_draws > 0.1, pair.dtype),
        jnp.asarray(satellite_draws > 0.1, pair.dtype),
    )
    solution = trilaterate_batch(
        jnp.where(pair_weight > 0, pair, jnp.nan),
        jnp.where(satellite_weight > 0, satellite, jnp.nan),
        presence,
        anchors,
        pair_weight=pair_weight,
        satellite_weight=satellite_weight,
    )
    assert bool(solution.converged.all())
    assert rms_displacement(solution.positions, true_positions) < 1.3 * clean_error
    random_distances = symmetrise(rng.uniform(0, 2, size=pair.shape)), rng.uniform(0, 2, size=satellite.shape)
    outlier_distances = (
        jnp.where(pair_draws < 0.05, random_distances[0], pair),
        jnp.where(satellite_draws < 0.05, random_distances[1], satellite),
    )
    solution = trilaterate_batch(*outlier_distances, presence, anchors, outlier_scale=5 * sigma)
    assert bool(solution.converged.all())
    assert rms_displacement(solution.positions, true_positions) < 1.3 * clean_error
    assert (
        rms_displacement(trilaterate_noisy(*outlier_distances, presence, anchors).positions, true_positions)
        > 3 * clean_error
    )


def test_a_weight_of_two_is_a_distance_given_twice():
    _, pair, satellite, presence, anchors = noisy_structure(0.03)
    doubled_inputs = (pair, jnp.concatenate([satellite] * 2, axis=1), presence, jnp.concatenate([anchors] * 2))
    doubled_positions, weighted_positions, single_positions = (
        trilaterate(
            *doubled_inputs, satellite_weight=jnp.repeat(jnp.array(copy_weights), 11) * jnp.ones((20, 1))
        ).positions[:19]
        for copy_weights in ([1.0, 1.0], [2.0, 0.0], [1.0, 0.0])
    )
    np.testing.assert_allclose(weighted_positions, doubled_positions, atol=1e-4)
    np.testing.assert_allclose(
        single_positions, trilaterate(pair, satellite, presence, anchors).positions[:19], atol=1e-4
    )
    assert rms_displacement(single_positions, doubled_positions) > 1e-3


def test_satellites_alone_place_each_atom_by_itself():
    true_positions, pair, satellite, presence, anchors = noisy_structure(0.02)
    weights = {"pair_weight": jnp.zeros_like(pair), "satellite_weight": jnp.ones_like(satellite)}
    solution = trilaterate(jnp.full_like(pair, jnp.nan), satellite, presence, anchors, **weights)
    assert bool(solution.converged)

    def misfit(position, distances_to_satellites):
        return np.linalg.norm(position - np.asarray(anchors, float), axis=1) - distances_to_satellites

    for atom in (0, 7, 18):
        scipy_result = scipy.optimize.least_squares(
            misfit, np.asarray(true_positions[atom], float), args=(np.asarray(satellite[atom], float),)
        )
        np.testing.assert_allclose(solution.positions[atom], scipy_result.x, atol=2e-3)


def test_atoms_with_too_few_satellites_are_placed_by_the_others():
    """Three distances to satellites allow two positions. The distances to other atoms decide between them."""
    true_positions, pair, satellite, presence, anchors = unit_structure()
    satellite_weight = jnp.ones_like(satellite).at[jnp.array([4, 9]), 3:].set(0.0).at[12].set(0.0)
    weights = {"pair_weight": jnp.ones_like(pair), "satellite_weight": satellite_weight}
    solution = trilaterate(pair, jnp.where(satellite_weight > 0, satellite, jnp.nan), presence, anchors, **weights)
    assert bool(solution.converged)
    np.testing.assert_allclose(solution.positions[:19], true_positions[:19], atol=1e-4)


@pytest.mark.parametrize("case", [pytest.param("exact", marks=pytest.mark.long), "missing", "outliers"])
def test_pair_distances_alone_give_the_structure_up_to_rotation_and_mirror_image(case):
    _, pair, _, presence, _ = unit_structure(layers=(2, 4, 2), size=57)
    rng = np.random.default_rng(1)
    pair_draws = np.triu(rng.uniform(size=pair.shape), 1)
    is_changed = jnp.asarray((pair_draws + pair_draws.T < 0.05) & ~np.eye(57, dtype=bool))
    options: dict = {}
    pair_distances = pair
    if case == "missing":
        options, pair_distances = {"pair_weight": 1.0 - is_changed}, jnp.where(is_changed, jnp.nan, pair)
    if case == "outliers":
        options, pair_distances = {"outlier_scale": 0.05}, jnp.where(is_changed, 1.0, pair)
    solution = trilaterate_pairs(pair_distances, presence, **options)
    assert bool(solution.converged) and solution.positions.shape == (57, 3)
    np.testing.assert_allclose(distance_matrix(solution.positions[:55]), pair[:55, :55], atol=2e-4)
    np.testing.assert_allclose(solution.positions[:55].mean(axis=0), 0.0, atol=1e-5)


@pytest.mark.slow
def test_derivatives_from_pairs_alone_are_those_of_finite_differences(x64):
    _, pair, _, presence, _ = noisy_structure(0.02, size=19, dtype=jnp.float64)

    @jax.jit
    @jax.value_and_grad
    def cubic_sum(pair):
        positions = trilateration.trilaterate_pairs(pair, presence, tolerance=1e-11).positions
        return jnp.sum(distances(positions) ** 3)

    rng = np.random.default_rng(2)
    direction = rng.normal(size=pair.shape)
    direction = direction + direction.T
    slope = float(np.sum(cubic_sum(pair)[1] * direction))
    shifted_sums = [float(cubic_sum(pair + sign * 1e-5 * direction)[0]) for sign in (1, -1)]
    assert abs(slope) > 1e-2
    assert slope == pytest.approx((shifted_sums[0] - shifted_sums[1]) / 2e-5, rel=1e-4)


def test_absent_atoms_change_nothing():
    _, pair, satellite, presence, anchors = noisy_structure(0.02, size=20)
    wrong_pair = jnp.where(presence[:, None] * presence[None, :] > 0, pair, 7.0)
    solution = trilaterate(pair, satellite, presence, anchors)
    wrong_solution = trilaterate(wrong_pair, satellite, presence, anchors)
    np.testing.assert_allclose(solution.positions[:19], wrong_solution.positions[:19], atol=1e-4)


def test_invalid_items_of_a_batch_do_not_change_the_others():
    """Items with NaN, negative or impossible distances are flagged. The others are the same as if alone."""
    _, pair, satellite, presence, anchors = noisy_structure(0.02)
    random_distances = np.triu(np.random.default_rng(0).uniform(0, 2, size=pair.shape), 1)
    pair_batch = jnp.stack(
        [
            pair,
            jnp.full_like(pair, jnp.nan),
            pair.at[2, 3].set(-0.1),
            jnp.asarray(random_distances + random_distances.T),
        ]
    )
    solutions = trilaterate_batch(
        pair_batch, jnp.stack([satellite] * 4), jnp.stack([presence] * 4), anchors, iterations=2
    )
    single_solution = trilaterate(pair, satellite, presence, anchors)
    assert solutions.converged.tolist() == [True, False, False, False]
    reasons = [trilateration.REASONS[code] for code in solutions.reason]
    assert reasons[:3] == ["converged", "negative or NaN distances", "negative or NaN distances"]
    assert reasons[3] in ("out of iterations", "line search failed")
    assert bool(jnp.isnan(solutions.positions[1:3]).all()) and bool(jnp.isnan(solutions.stress[1:3]).all())
    assert float(solutions.stress[3]) > 0.1 and int(solutions.iterations[3]) <= stress.MAX_GAUSS_NEWTON_STEPS + 2
    np.testing.assert_allclose(solutions.positions[0], single_solution.positions, atol=1e-4)


def test_lbfgs_converges_what_gauss_newton_does_not(x64):
    """The Gauss-Newton steps converge slowly if the errors of the distances are large.

    In single precision, the gradients after these steps are close to their rounding errors.
    """
    _, *inputs = noisy_structure(0.2, seed=3, dtype=jnp.float64)
    batch = [*(array[None] for array in inputs[:3]), inputs[3]]
    unfinished_solution, solution = trilaterate_batch(*batch, iterations=0), trilaterate_batch(*batch)
    assert trilateration.REASONS[int(unfinished_solution.reason[0])] == "out of iterations"
    assert bool(solution.converged[0]) and int(solution.iterations[0]) > int(unfinished_solution.iterations[0])
    problem = stress_problem(*inputs)
    gradient_norms = [
        float(jnp.linalg.norm(stress_and_gradient(positions[0], problem)[1]))
        for positions in (unfinished_solution.positions, solution.positions)
    ]
    assert gradient_norms[1] < 2e-5 < gradient_norms[0]


def test_lbfgs_and_gauss_newton_find_the_same_minimum():
    _, *inputs = noisy_structure(0.02)
    solution, problem = trilaterate(*inputs), stress_problem(*inputs)

    @jax.jit
    def minimise_by_lbfgs(problem):
        start_point = stress.evaluate_point(problem.absent_positions, problem)
        return jax.vmap(lambda _: stress.lbfgs_minimum(start_point, problem, 100, 1e-5))(jnp.arange(1))

    positions, error, steps, has_failed = minimise_by_lbfgs(problem)
    assert float(error[0]) <= 1e-5 and not bool(has_failed[0]) and int(steps[0]) > int(solution.iterations)
    np.testing.assert_allclose(positions[0], solution.positions, atol=1e-3)


@pytest.mark.slow
def test_derivatives_in_the_distances_are_those_of_finite_differences(x64):
    """The derivatives go from distances through the minimum of the stress and the coordinates to G(r)."""
    _, pair, satellite, presence, anchors = noisy_structure(0.02, dtype=jnp.float64)
    grid = Grid(qmin=0.5, qmax=12.0, qstep=0.2, rmin=1.0, rmax=8.0, rstep=0.2)
    pair_mask = presence[:, None] * presence[None, :]

    def misfit(pair, satellite):
        solution = trilaterate(pair * pair_mask, satellite, presence, anchors, tolerance=1e-11, iterations=500)
        pairs = debye.pairs_from_distances(distances(solution.positions * 4.0), presence)
        g = pair_distribution.pdf(
            pairs, form_factors.UNIT_COEFFICIENTS, presence.sum()[None], Instrument(uiso=0.02), grid
        )
        return jnp.sum(g**2)

    misfit = jax.jit(jax.value_and_grad(misfit, argnums=(0, 1)))
    gradients = misfit(pair, satellite)[1]
    rng = np.random.default_rng(0)
    step = 1e-5
    for index, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape) * np.asarray(presence)[:, None]
        if index == 0:
            direction = direction + direction.T
        shifted_misfits = []
        for sign in (1, -1):
            shifted_distances = [pair, satellite]
            shifted_distances[index] = shifted_distances[index] + sign * step * direction
            shifted_misfits.append(float(misfit(*shifted_distances)[0]))
        slope = float(np.sum(gradient * direction))
        assert abs(slope) > 1e-3
        assert slope == pytest.approx((shifted_misfits[0] - shifted_misfits[1]) / (2 * step), rel=1e-3)


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
    _, *inputs = unit_structure()
    trilateration.check_distances(*inputs)
    with pytest.raises(ValueError, match=message):
        trilateration.check_distances(*change(*inputs))


def test_bad_weights_are_refused_and_missing_distances_are_not_checked():
    _, pair, satellite, presence, anchors = unit_structure()
    weight = jnp.ones_like(pair).at[1, 2].set(0.0).at[2, 1].set(0.0)
    incomplete_pair = jnp.where(weight > 0, pair, jnp.nan)
    trilateration.check_distances(incomplete_pair, satellite, presence, anchors, pair_weight=weight)
    trilateration.check_pair_distances(
        jnp.stack([incomplete_pair] * 2), jnp.stack([presence] * 2), pair_weight=jnp.stack([weight] * 2)
    )
    with pytest.raises(
        ValueError, match=r"got nan at \[1, 2\] and 1 more such entries; give missing distances the weight 0"
    ):
        trilateration.check_pair_distances(incomplete_pair, presence)
    with pytest.raises(ValueError, match=r"pair weights of at least 0, got -1.0 at \[0, 4\]"):
        trilateration.check_pair_distances(pair, presence, pair_weight=weight.at[0, 4].set(-1.0))
    with pytest.raises(ValueError, match=r"a weight for each of the satellite distances \[20, 11\], got \[20, 3\]"):
        trilateration.check_distances(pair, satellite, presence, anchors, satellite_weight=satellite[:, :3])


@pytest.mark.slow
@pytest.mark.long
def test_all_shapes_of_the_family_come_back():
    features = dataset.shape_features(fcc_shapes.fcc_family(), atoms=100, satellites=11)
    anchors = jnp.asarray(representation.satellites(11), jnp.float32)
    solution = trilaterate_batch(features.pair, features.satellite, features.presence * 1.0, anchors)
    pair_mask = features.presence[:, :, None] & features.presence[:, None, :]
    solved_distances = jax.jit(jax.vmap(distances))(solution.positions)
    np.testing.assert_allclose(np.where(pair_mask, solved_distances, 0.0), features.pair, atol=1e-5)


def perturb_last_bits(values, seed):
    """Return values whose last bits are changed at random. Symmetric matrices stay symmetric."""
    perturbation = np.random.default_rng(seed).integers(-4, 5, values.shape)
    perturbation = perturbation + perturbation.T if values.shape[0] == values.shape[1] else perturbation
    return jnp.asarray(np.asarray(values) * (1 + np.finfo(values.dtype).eps * perturbation), values.dtype)


def minimise_stress(start, problem, tolerance=0.0):
    """Return the points that Gauss-Newton steps and then L-BFGS reach. Only rounding stops them at a tolerance of 0."""
    newton_result, *_ = stress.gauss_newton_minimum(start, problem, tolerance)
    return newton_result, stress.lbfgs_minimum(newton_result, problem, 60, tolerance)


minimise_to_rounding = jax.jit(minimise_stress)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("scale", [None, 0.05])
@pytest.mark.parametrize("seed", range(2))
def test_the_truth_stays_if_the_last_bits_of_the_distances_change(dtype, scale, seed):
    """The stress is convex about the true positions, so that an atom moves by no more than the rounding of a sum."""
    with jax.enable_x64(dtype == jnp.float64):
        true_positions, pair, satellite, presence, anchors = unit_structure(dtype=dtype)
        pair, satellite = perturb_last_bits(pair, seed), perturb_last_bits(satellite, seed)
        scale = None if scale is None else jnp.asarray(scale, dtype)
        problem = stress_problem(pair * presence * presence[:, None], satellite, presence, anchors, scale)
        start = perturb_last_bits(jnp.where(presence[:, None] > 0, true_positions, problem.absent_positions), seed)
        newton_result, (positions, error, _, _) = minimise_to_rounding(start, problem)
        stress_values = [float(stress_and_gradient(x, problem)[0]) for x in (start, newton_result.positions, positions)]
        rounding = len(true_positions) * float(
            np.finfo(dtype).eps
        )  # rounding of sums over atoms, for distances of about 1
        assert np.isfinite(positions).all() and np.isfinite(error)
        assert max(stress_values[1:]) <= (np.sqrt(stress_values[0]) + rounding) ** 2
        assert float(jnp.abs(positions - start).max()) < 100 * rounding


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("scale", [None, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_no_descent_ends_at_a_higher_stress_than_its_start(dtype, scale, seed):
    """The starts are random positions, and the distances belong to no structure."""
    with jax.enable_x64(dtype == jnp.float64):
        true_positions, pair, satellite, presence, anchors = noisy_structure(0.3, seed=seed, dtype=dtype)
        scale = None if scale is None else jnp.asarray(scale, dtype)
        pair = jnp.abs(pair) * presence * presence[:, None]
        problem = stress_problem(pair, jnp.abs(satellite), presence, anchors, scale)
        start = jnp.asarray(np.random.default_rng(seed).normal(size=true_positions.shape), dtype)
        newton_result, (positions, _, _, _) = minimise_to_rounding(start, problem)
        stress_values = [float(stress_and_gradient(x, problem)[0]) for x in (start, newton_result.positions, positions)]
        rounding = len(true_positions) * float(np.finfo(dtype).eps)
        assert np.isfinite(positions).all()
        assert (
            stress_values[1] <= (np.sqrt(stress_values[0]) + rounding) ** 2
            and stress_values[2] <= (np.sqrt(stress_values[1]) + rounding) ** 2
        )
