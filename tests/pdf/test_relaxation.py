"""Fits of the relaxation: tables of displaced atoms, recovered amplitudes, the prior and rigid clusters."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from simulated_pdfs_numpy import BOND, cluster_pdf

from jaxstruc.clusters import families, library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.clusters.distances import distances
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS, PARAMETERS
from jaxstruc.pdf import candidates, fit, target
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.scattering import cluster_tables, debye
from jaxstruc.scattering.debye import Instrument

R = np.arange(1.5, 16.001, 0.05)
SPAN = target.table_range(rmax=16.0, qmax=18.0, diameter=18.0)
RIGID_PARAMETERS = tuple(name for name in DEFAULT_FREE_PARAMETERS if name != "relaxation")
RELAXATION = DEFAULT_FREE_PARAMETERS.index("relaxation")
ICOSAHEDRON, DECAHEDRON, OCTAHEDRON, TETRAHEDRON_PAIR = range(4)


@pytest.fixture(scope="module", autouse=True)
def _small_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "BATCH_SIZE", 4)
        patch.setattr(candidates, "TABLE_BATCH_SIZE", 4)
        yield


def first_cluster(family, n_atoms):
    return next(entry for entry in families.FAMILIES[family](n_atoms, n_atoms) if len(entry.positions) == n_atoms)


@pytest.fixture(scope="module")
def small_library():
    """Return a library of three clusters with displacements, and of a cluster of two pieces, which stays rigid."""
    octahedron = first_cluster("octahedron", 38)
    pieces = np.concatenate([octahedron.positions, octahedron.positions + np.array([5.5, 0, 0])])
    return library.from_clusters(
        [
            first_cluster("icosahedron", 55),
            first_cluster("decahedron", 75),
            octahedron,
            Cluster("user", "two pieces", pieces - pieces.mean(axis=0)),
        ]
    )


@pytest.fixture(scope="module")
def store(small_library):
    return FieldStore(small_library, "Au")


def make_pool(store, rows, *, has_fields=True):
    fields = store if has_fields else None
    return candidates.candidate_pool([CandidateGroup("library", store.library, np.array(rows), fields=fields)])


def make_target(g, *, r=R):
    settings = target.TargetSettings(qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN)
    return target.make_target(r, g, settings)


def displaced_positions(store, row, amplitude):
    """Return the positions of a cluster with displacements, in Å."""
    field = store.field(row)
    positions = library.candidate_cluster(store.library, row).positions
    return BOND * (positions if field is None else positions + amplitude * field)


def simulated_pdf(store, row, amplitude, *, noise=0.0, seed=0):
    return cluster_pdf(
        displaced_positions(store, row, amplitude), R, noise=noise, rng=np.random.default_rng(seed), uiso=0.008
    )


def fit_twice(pool, data, **options):
    """Return accurate fits, which start from first fits."""
    first_fits = candidates.fit_all(pool, data, **options)
    return candidates.fit_all(pool, data, start=first_fits.values, **options)


@jax.jit
def exact_curves(positions, q):
    """Return F(Q) of clusters from the Debye equation, with Uiso 0.008 Å² and delta2 2 Å²."""

    def curve(positions):
        pairs = debye.pairs_from_distances(distances(positions), jnp.ones(len(positions)))
        instrument = Instrument(uiso=0.008, delta2=2.0)
        ones, composition = jnp.ones((1, q.size)), jnp.full(1, 1.0 * len(positions))
        return debye.reduced_structure_function(pairs, instrument, ones, composition, q)

    return jax.vmap(curve)(positions)


@jax.jit
def table_curves(cluster_table, relaxations, q):
    instrument = Instrument(uiso=0.008, delta2=2.0)
    return jax.vmap(
        lambda relaxation: cluster_tables.reduced_structure_function(cluster_table, instrument, q, relaxation)
    )(relaxations)


def table_of(pool, data, **options):
    tables = candidates.cluster_tables(pool, data, **options)
    return jax.tree.map(lambda column: jnp.asarray(column[0]), tables)


def start_values(relaxation):
    column = np.ones(1, np.float32)
    return fit.FitValues(*[column] * 7, relaxation=relaxation * column)


@pytest.mark.parametrize(
    ("row", "is_narrow", "tolerance"),
    [(ICOSAHEDRON, True, 1e-3), (DECAHEDRON, True, 1e-3), (ICOSAHEDRON, False, 3e-2), (DECAHEDRON, False, 3e-2)],
)
def test_tables_give_the_debye_sum_of_displaced_atoms(store, row, is_narrow, tolerance):
    """Narrow tables lie near the relaxation of a first fit. Wide tables cover the whole range of the fit.

    The tolerance is relative to the largest value of F(Q). At the tabulated amplitudes, only the errors of the
    interpolations of rigid clusters remain.
    """
    data, q = make_target(simulated_pdf(store, row, 1.0)), jnp.asarray(np.linspace(1.0, 18.0, 200), jnp.float32)
    options = {"start": start_values(0.8)} if is_narrow else {}
    table = table_of(make_pool(store, [row]), data, **options)
    nodes = np.asarray(table.amplitudes, float)
    low, high = (0.5, 1.1) if is_narrow else (-1.0, 2.0)
    assert nodes.min() == pytest.approx(low, abs=0.08) and nodes.max() == pytest.approx(high, abs=0.08)
    amplitudes = np.concatenate([nodes, np.linspace(low, high, 13)])
    positions = np.stack([displaced_positions(store, row, amplitude) for amplitude in amplitudes])
    expected = exact_curves(jnp.asarray(positions, jnp.float32), q)
    curves_of_table = table_curves(table, jnp.asarray(amplitudes, jnp.float32), q)
    deviation = np.abs(curves_of_table - expected).max(axis=1) / np.abs(expected).max()
    assert deviation.max() < tolerance
    assert deviation[: len(nodes)].max() < 1e-3


def test_the_derivative_of_a_curve_is_that_of_finite_differences(store):
    data, q = make_target(simulated_pdf(store, ICOSAHEDRON, 1.0)), jnp.asarray(np.linspace(1.0, 18.0, 200), jnp.float32)
    with jax.enable_x64(True):
        table = table_of(make_pool(store, [ICOSAHEDRON]), data, start=start_values(0.8))
        table = jax.tree.map(lambda column: jnp.asarray(column, jnp.float64), table)
        q = jnp.asarray(q, jnp.float64)

        def curve(relaxation, stretch, uiso):
            instrument = Instrument(uiso=uiso, delta2=2.0, stretch=stretch)
            return cluster_tables.reduced_structure_function(table, instrument, q, relaxation)

        curve = jax.jit(curve)
        arguments = (0.73, 1.01, 0.009)
        for index, step in enumerate((1e-4, 1e-5, 1e-6)):
            tangents = tuple(float(index == other) for other in range(3))
            slope = jax.jvp(curve, arguments, tangents)[1]
            ends = [
                curve(*(value + sign * step * tangent for value, tangent in zip(arguments, tangents, strict=True)))
                for sign in (1, -1)
            ]
            difference = (ends[0] - ends[1]) / (2 * step)
            assert float(jnp.abs(slope).max()) > 1e-2
            np.testing.assert_allclose(slope, difference, atol=1e-4 * float(jnp.abs(slope).max()))
        gradient = jax.grad(lambda *x: jnp.sum(curve(*x) ** 2), argnums=(0, 1, 2))(*arguments)
        assert all(np.isfinite(entry) and abs(float(entry)) > 1e-3 for entry in gradient)


def test_the_table_of_a_rigid_cluster_does_not_depend_on_the_relaxation(store):
    data, q = make_target(simulated_pdf(store, ICOSAHEDRON, 0.0)), jnp.asarray(np.linspace(1.0, 18.0, 200), jnp.float32)
    rigid_table = table_of(make_pool(store, [ICOSAHEDRON]), data, free=RIGID_PARAMETERS)
    assert rigid_table.amplitudes.tolist() == [0] and float(rigid_table.has_field) == 0
    first_curve, second_curve = table_curves(rigid_table, jnp.asarray([0.0, 1.5]), q)
    np.testing.assert_array_equal(first_curve, second_curve)
    relaxed_table = table_of(make_pool(store, [ICOSAHEDRON]), data)
    assert float(relaxed_table.has_field) == 1 and len(relaxed_table.amplitudes) == len(candidates.WIDE_AMPLITUDES)


@pytest.mark.parametrize("row", [ICOSAHEDRON, DECAHEDRON])
@pytest.mark.parametrize("amplitude", [1.0, 0.0, -0.5])
def test_the_amplitude_of_a_simulated_particle_is_recovered(store, row, amplitude):
    """Nearly all of eight amplitudes from noisy data lie within 2.5 standard errors, and the curves fit to the noise.

    The prior moves a value by its deviation from 0.5 times the squared ratio of the error to the width of the prior,
    which is less than a tenth of an error here.
    """
    deviations, errors, pool = [], [], make_pool(store, [row])
    for seed in range(8):
        data = make_target(simulated_pdf(store, row, amplitude, noise=0.1, seed=seed))
        fits = fit_twice(pool, data)
        deviations.append(float(fits.values.relaxation[0]) - amplitude)
        errors.append(float(fits.errors[0, RELAXATION]))
        assert fits.converged[0] and not fits.at_bound[0].any() and fits.rw[0] < 0.12
    deviations, errors = np.array(deviations), np.array(errors)
    assert np.all(errors > 0.005) and np.all(errors < 0.12)
    assert np.sum(np.abs(deviations) < 2.5 * errors) >= 7 and np.sqrt(np.mean((deviations / errors) ** 2)) < 2
    exact_fits = fit_twice(pool, make_target(simulated_pdf(store, row, amplitude)))
    assert float(exact_fits.values.relaxation[0]) == pytest.approx(amplitude, abs=0.01) and exact_fits.rw[0] < 5e-3


def test_errors_include_the_prior(store):
    """The covariance is the inverse of the sum of the data's and the prior's information, in NumPy."""
    data = make_target(simulated_pdf(store, DECAHEDRON, 0.3, noise=0.3))
    pool = make_pool(store, [DECAHEDRON])
    fits = fit_twice(pool, data)
    tables = candidates.cluster_tables(pool, data, start=fits.values)
    values = {name: float(column[0]) for name, column in fits.values._asdict().items()}
    steps = {"scale": 1e-2, "stretch": 1e-3, "uiso": 1e-4, "delta2": 1e-1, "relaxation": 1e-2}
    columns = []
    for name in DEFAULT_FREE_PARAMETERS:
        ends = []
        for sign in (1, -1):
            changed = values | {name: values[name] + sign * steps[name]}
            changed_values = fit.FitValues(*(jnp.asarray(value, jnp.float32) for value in changed.values()))
            table = jax.tree.map(lambda column: jnp.asarray(column[0]), tables)
            ends.append(changed["scale"] * np.asarray(fit.model_curve(table, changed_values, data.basis), float))
        columns.append((ends[0] - ends[1]) / (2 * steps[name]))
    jacobian = np.stack(columns, axis=1)
    n_fitted = len(DEFAULT_FREE_PARAMETERS)
    variance = float(fits.rw[0]) ** 2 * float(data.basis.norm) / (float(data.basis.n_independent) - n_fitted)
    information = jacobian.T @ jacobian / variance
    information[RELAXATION, RELAXATION] += 1 / PARAMETERS["relaxation"].prior[1] ** 2
    covariance = np.linalg.inv(information)
    errors = np.sqrt(np.diagonal(covariance))
    np.testing.assert_allclose(fits.errors[0], errors, rtol=0.03)
    np.testing.assert_allclose(fits.correlation[0], covariance / np.outer(errors, errors), atol=0.03)


def test_without_information_the_relaxation_is_that_of_the_prior(store):
    """The curves of all amplitudes are equal, so that the data state nothing."""
    mean, width = PARAMETERS["relaxation"].prior
    data = make_target(simulated_pdf(store, ICOSAHEDRON, 0.0, noise=0.1))
    rigid_table = table_of(make_pool(store, [ICOSAHEDRON]), data, free=RIGID_PARAMETERS)
    joined = cluster_tables.join_amplitudes(
        jax.tree.map(lambda column: jnp.stack([column, column]), rigid_table), jnp.asarray([0.0, 1.0]), jnp.ones(())
    )
    tables = jax.tree.map(lambda column: jnp.stack([column] * 4), joined)
    fits = candidates.fit_cluster_tables(tables, data)
    rigid_fits = candidates.fit_cluster_tables(
        jax.tree.map(lambda column: jnp.stack([column] * 4), rigid_table), data, free=RIGID_PARAMETERS
    )
    assert float(fits.values.relaxation[0]) == pytest.approx(mean, abs=1e-3)
    assert float(fits.errors[0, RELAXATION]) == pytest.approx(width, rel=1e-3)
    np.testing.assert_allclose(fits.values.uiso, rigid_fits.values.uiso, rtol=1e-2)
    np.testing.assert_allclose(fits.rw, rigid_fits.rw, rtol=1e-3)
    assert fits.converged.all()


def test_data_of_one_bond_leave_the_relaxation_to_the_prior(store):
    """The range contains only the first peak, whose width Uiso explains too.

    The prior pulls the value to its mean, so that the values of several data differ by less than the prior's width.
    """
    mean, width = PARAMETERS["relaxation"].prior
    r = np.arange(1.5, 3.501, 0.05)
    g = simulated_pdf(store, OCTAHEDRON, 0.0, noise=0.5)[: len(r)]
    fits = fit_twice(make_pool(store, [OCTAHEDRON]), make_target(g, r=r))
    value, error = float(fits.values.relaxation[0]), float(fits.errors[0, RELAXATION])
    assert 0.5 * width < error <= 1.01 * width
    assert abs(value - mean) < 2.5 * np.sqrt(max(width**2 - error**2, 0.01 * width**2))


def test_a_cluster_without_displacements_is_fitted_as_a_rigid_one(store):
    data = make_target(simulated_pdf(store, TETRAHEDRON_PAIR, 0.0, noise=0.1))
    pool = make_pool(store, [TETRAHEDRON_PAIR, DECAHEDRON])
    assert pool.rigid_reason(0) and not pool.rigid_reason(1)
    fits = fit_twice(pool, data)
    rigid_fits = candidates.fit_all(pool, data, free=RIGID_PARAMETERS)
    assert float(fits.values.relaxation[0]) == 0 and np.isnan(fits.errors[0, RELAXATION])
    assert not fits.at_bound[0, RELAXATION] and fits.converged[0]
    assert float(fits.rw[0]) == pytest.approx(float(rigid_fits.rw[0]), rel=1e-4)
    for name, value in fits.values._asdict().items():
        assert float(value[0]) == pytest.approx(float(getattr(rigid_fits.values, name)[0]), rel=5e-3), name
    is_rigid_name = np.arange(len(DEFAULT_FREE_PARAMETERS)) != RELAXATION
    np.testing.assert_allclose(fits.errors[0, is_rigid_name], rigid_fits.errors[0], rtol=2e-2)


def test_without_the_relaxation_all_clusters_are_rigid(store):
    """The numbers are exactly those of clusters without displacements, and no displacements are computed."""
    data = make_target(simulated_pdf(store, ICOSAHEDRON, 1.0, noise=0.1))
    fresh_store = FieldStore(store.library, "Au")
    pools = [make_pool(fresh_store, [0, 1, 2, 3], has_fields=has_fields) for has_fields in (True, False)]
    fits = [candidates.fit_all(pool, data, free=RIGID_PARAMETERS) for pool in pools]
    for first, second in zip(*map(jax.tree.leaves, fits), strict=True):
        np.testing.assert_array_equal(first, second)
    assert not fresh_store._fields and not fits[0].values.relaxation.any()
    relaxed_fits = fit_twice(make_pool(store, [ICOSAHEDRON]), data)
    assert relaxed_fits.rw[0] < 0.9 * fits[0].rw[0]


def test_a_candidate_alone_is_fitted_as_among_others_and_later_calls_compile_nothing(store):
    data = make_target(simulated_pdf(store, DECAHEDRON, 0.7, noise=0.1))
    together = fit_twice(make_pool(store, [0, 1, 2, 3]), data)
    n_compiled = candidates._refine_all._cache_size(), candidates._cluster_tables_with_fields._cache_size()
    for row, other in itertools.product((ICOSAHEDRON, DECAHEDRON), (None, OCTAHEDRON)):
        alone = fit_twice(make_pool(store, [row] if other is None else [other, row]), data)
        for first, second in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_array_equal(first[-1], second[row])
    candidates.fit_all(make_pool(store, [0, 1, 2]), make_target(2 * simulated_pdf(store, ICOSAHEDRON, 0.2)))
    assert n_compiled == (
        candidates._refine_all._cache_size(),
        candidates._cluster_tables_with_fields._cache_size(),
    )


def test_accurate_fits_are_ranked_again(store):
    """The first fits have errors in their curves. The best fits are repeated, and the order follows from their Rw."""
    data = make_target(simulated_pdf(store, ICOSAHEDRON, 1.0))
    pool = make_pool(store, [3, 2, 1, 0])
    first_fits = candidates.fit_all(pool, data)
    order = np.argsort(first_fits.rw)
    first = candidates.select_fitted(candidates.FittedCandidates(pool, first_fits), order)
    accurate = candidates.refit_accurately(first, data, free=DEFAULT_FREE_PARAMETERS, count=2)
    assert accurate.pool.entry(0)[1] == ICOSAHEDRON and len(accurate.fits.rw) == 4
    assert accurate.fits.rw[0] < 5e-3 and accurate.fits.rw[1] <= 1.05 * first.fits.rw[1]
    np.testing.assert_array_equal(accurate.fits.rw[2:], first.fits.rw[2:])
    rigid = candidates.refit_accurately(first, data, free=RIGID_PARAMETERS)
    assert rigid is first
