"""Fits of the fractions of atoms in size classes to simulated mixtures."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import particle_mixtures
import pytest

from jaxstruc.pdf import candidates, ensemble, fit
from jaxstruc.pdf.ensemble_model import EnsembleParameters, atom_fractions, class_curves, weight_packings


@pytest.fixture(scope="module")
def lognormal_sample():
    """Return the rows of a mixture of fcc spheres (mean 17 Å, width 20 %), and its curve with 2 % of noise."""
    rows = particle_mixtures.draw_rows(np.random.default_rng(0), mean=17.0, width=0.2)
    return rows, particle_mixtures.ensemble_pdf(rows, noise=0.02)


def fit_pdf(g, strength=0.0, **options):
    pool, fits = particle_mixtures.rank_single_clusters(g)
    target = particle_mixtures.make_target(g)
    diameter = float(particle_mixtures.equivalent_diameters()[pool.entry(0)[1]])
    start = ensemble.start_parameters(
        particle_mixtures.sphere_model(),
        target.basis,
        candidates.select_rows(fits.values, 0),
        particle_mixtures.NONLINEAR_PARAMETERS,
        diameter,
    )
    ensemble_fit = ensemble.fit_ensemble(
        particle_mixtures.sphere_model(),
        target.basis,
        start,
        names=particle_mixtures.NONLINEAR_PARAMETERS,
        strength=0.0,
        **options,
    )
    if strength:
        ensemble_fit = ensemble.fit_ensemble(
            particle_mixtures.sphere_model(),
            target.basis,
            ensemble_fit.parameters,
            names=particle_mixtures.NONLINEAR_PARAMETERS,
            strength=strength,
            **options,
        )
    return ensemble_fit, float(fits.rw[0])


def mean_and_width(fractions):
    diameters, fractions = np.asarray(particle_mixtures.sphere_model().size, float), np.asarray(fractions, float)
    fractions = fractions / fractions.sum()
    mean = fractions @ diameters
    return mean, np.sqrt(fractions @ (diameters - mean) ** 2) / mean


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_mean_and_width_of_a_lognormal_are_found(lognormal_sample, strength):
    rows, g = lognormal_sample
    ensemble_fit, single_rw = fit_pdf(g, strength)
    diameters = particle_mixtures.equivalent_diameters()[rows]
    mean, width = mean_and_width(ensemble_fit.atom_fractions)
    assert mean == pytest.approx(diameters.mean(), rel=0.02) and width == pytest.approx(
        diameters.std() / diameters.mean(), rel=0.12
    )
    assert float(ensemble_fit.rw) < 0.6 * single_rw
    assert float(ensemble_fit.values.uiso) == pytest.approx(0.008, rel=0.03)
    assert float(ensemble_fit.values.stretch) == pytest.approx(1.0, abs=2e-3)
    is_fcc = np.asarray(
        particle_mixtures.sphere_model().packing
    ) == particle_mixtures.sphere_classes().packing_names.index("fcc")
    assert np.asarray(ensemble_fit.atom_fractions)[is_fcc].sum() / np.asarray(ensemble_fit.atom_fractions).sum() > 0.95


def test_shares_of_two_packings_are_found():
    rng = np.random.default_rng(1)
    rows_by_packing = [
        particle_mixtures.draw_rows(rng, mean=17.0, width=0.15, families=(name,), count=count)
        for name, count in (("fcc", 20), ("icosahedron", 40))
    ]
    ensemble_fit, _ = fit_pdf(particle_mixtures.ensemble_pdf(np.concatenate(rows_by_packing), noise=0.02))
    is_fcc = np.asarray(
        particle_mixtures.sphere_model().packing
    ) == particle_mixtures.sphere_classes().packing_names.index("fcc")
    assert np.asarray(ensemble_fit.atom_fractions)[is_fcc].sum() / np.asarray(
        ensemble_fit.atom_fractions
    ).sum() == pytest.approx(1 / 3, abs=0.03)


def test_a_packing_with_a_small_prior_weight_gets_only_the_share_that_the_data_demand():
    """Icosahedra hold 10 % of the atoms. At 50 % of noise the prior decides, and at 1 % the data do."""
    rng = np.random.default_rng(1)
    rows = np.concatenate(
        [
            particle_mixtures.draw_rows(rng, mean=17.0, width=0.2, count=54),
            particle_mixtures.draw_rows(rng, mean=17.0, width=0.2, families=("icosahedron",), count=6),
        ]
    )
    model, classes = particle_mixtures.sphere_model(), particle_mixtures.sphere_classes()
    unlikely_model = weight_packings(model, classes, {"fcc": 0.99, "icosahedron": 0.01})
    is_icosahedron = classes.structure_types == "icosahedron"

    def icosahedron_share(noise, ensemble_model):
        g = particle_mixtures.ensemble_pdf(rows, noise=noise)
        target = particle_mixtures.make_target(g)
        values = candidates.select_rows(particle_mixtures.rank_single_clusters(g)[1].values, 0)
        names = particle_mixtures.NONLINEAR_PARAMETERS
        start = ensemble.start_parameters(ensemble_model, target.basis, values, names, 17.0)
        result = ensemble.fit_ensemble(ensemble_model, target.basis, start, names=names, strength=0.0)
        fractions = np.asarray(result.atom_fractions)
        return fractions[is_icosahedron].sum() / fractions.sum()

    noisy, weighted = (icosahedron_share(0.5, entry) for entry in (model, unlikely_model))
    assert weighted < 0.5 * noisy
    assert icosahedron_share(0.01, unlikely_model) == pytest.approx(0.1, abs=0.05)


def test_a_free_distribution_shows_two_sizes_that_a_lognormal_cannot():
    rng = np.random.default_rng(2)
    rows = np.concatenate([particle_mixtures.draw_rows(rng, mean=mean, width=0.04, count=30) for mean in (12.0, 20.0)])
    g = particle_mixtures.ensemble_pdf(rows, noise=0.005)
    lognormal_fit, free_fit = fit_pdf(g)[0], fit_pdf(g, 2.0)[0]
    assert float(free_fit.rw) < 0.9 * float(lognormal_fit.rw)
    diameters, fractions = np.asarray(particle_mixtures.sphere_model().size), np.asarray(free_fit.atom_fractions)
    nearby_fractions = [fractions[abs(diameters / mean - 1) < 0.1].sum() for mean in (12.0, 15.6, 20.0)]
    assert nearby_fractions[1] < 0.5 * min(nearby_fractions[0], nearby_fractions[2])


def fit_relaxed(g):
    """Return the fit of an ensemble whose relaxation is a free parameter."""
    model, names = particle_mixtures.relaxed_model(), (*particle_mixtures.NONLINEAR_PARAMETERS, "relaxation")
    basis = particle_mixtures.make_target(g).basis
    values = fit.FitValues(1.0, 0.99, 0.01, 0.0, 2.0, 0.03, 0.0, 0.5)
    start = ensemble.start_parameters(model, basis, values, names, 16.0)
    return ensemble.fit_ensemble(model, basis, start, names=names, strength=0.0)


@pytest.mark.parametrize("amplitude", [0.0, 0.5, 1.0])
def test_the_relaxation_of_a_sample_is_found_with_its_sizes(amplitude):
    """All particles have the displacements of their own field, and they contract with the same amplitude.

    The classes have the mean fields of a few clusters. Their curves differ from those of the particles by some percent.
    """
    rng = np.random.default_rng(3)
    rows = np.concatenate(
        [
            particle_mixtures.draw_rows(rng, mean=15.0, width=0.2, families=(name,), count=30)
            for name in ("fcc", "icosahedron")
        ]
    )
    ensemble_fit = fit_relaxed(particle_mixtures.ensemble_pdf(rows, noise=0.005, amplitude=amplitude))
    assert float(ensemble_fit.values.relaxation) == pytest.approx(amplitude, abs=0.12)
    assert float(ensemble_fit.values.stretch) == pytest.approx(1.0, abs=2e-3)
    diameters = particle_mixtures.equivalent_diameters()[rows]
    mean, width = mean_and_width(ensemble_fit.atom_fractions)
    assert mean == pytest.approx(diameters.mean(), rel=0.03)
    assert width == pytest.approx(diameters.std() / diameters.mean(), rel=0.2)


def test_the_prior_decides_on_the_relaxation_if_the_data_do_not():
    """The prior is normal with a mean of 0.5 and a standard deviation of 0.5. Other parameters have a flat prior."""
    names = ("stretch", "relaxation")
    guess, model = make_guess(2), particle_mixtures.sphere_model()
    prior = ensemble._prior(guess, model, names)
    residuals = [
        np.asarray(ensemble._prior_residuals(guess._replace(normalized_values=jnp.asarray(shared)), prior))[-2:]
        for shared in ((0.5, 0.5), (0.9, (1.5 + 1) / 3), (0.1, (-0.5 + 1) / 3))
    ]
    np.testing.assert_allclose(residuals, [(0, 0), (4e-3, 2), (-4e-3, -2)], atol=1e-6)


def test_curves_without_relaxation_are_rigid():
    """If the relaxation is 0, the tables with displacements give the curves of the rigid classes."""
    basis = particle_mixtures.make_target(particle_mixtures.ensemble_pdf(np.arange(20))).basis
    rigid_curves, relaxed_curves = (
        np.asarray(class_curves(model, jnp.asarray(shared), names, basis))
        for model, shared, names in (
            (particle_mixtures.sphere_model(), (0.5, 0.3), ("stretch", "uiso")),
            (particle_mixtures.relaxed_model(), (0.5, 0.3, 1 / 3), ("stretch", "uiso", "relaxation")),
        )
    )
    np.testing.assert_allclose(relaxed_curves, rigid_curves, atol=2e-5 * abs(rigid_curves).max())


def test_the_curve_is_the_sum_of_the_classes(lognormal_sample):
    """Each class is computed by `fit.model_curve` and weighted by its fraction."""
    ensemble_fit, _ = fit_pdf(lognormal_sample[1])
    target, model = particle_mixtures.make_target(lognormal_sample[1]), particle_mixtures.sphere_model()
    summed_pdf = np.zeros(len(target.basis.data))
    for index in np.flatnonzero(np.asarray(ensemble_fit.atom_fractions) > 1e-6):
        class_table = candidates.select_rows(model.cluster_tables, index)
        class_values = ensemble_fit.values._replace(scale=jnp.float32(1))
        summed_pdf += float(ensemble_fit.atom_fractions[index]) * np.asarray(
            fit.model_curve(class_table, class_values, target.basis)
        )
    residual = np.asarray(target.basis.data) - summed_pdf
    assert float(ensemble_fit.squares) == pytest.approx(
        residual @ residual + float(target.basis.unmodelled_squares), rel=1e-3
    )


def test_draws_of_the_posterior_are_about_the_best_and_wider_with_fewer_points(lognormal_sample):
    interval_widths = []
    for effective_fraction in (1.0, 0.25):
        ensemble_fit, _ = fit_pdf(lognormal_sample[1], effective_fraction=effective_fraction)
        fraction_draws = np.asarray(
            ensemble.posterior_fractions(ensemble_fit, particle_mixtures.sphere_model(), strength=0.0)
        )
        means = np.array([mean_and_width(fractions)[0] for fractions in fraction_draws])
        assert (
            np.isfinite(fraction_draws).all()
            and (fraction_draws >= 0).all()
            and len(fraction_draws) == ensemble.N_POSTERIOR_DRAWS
        )
        assert np.median(means) == pytest.approx(mean_and_width(ensemble_fit.atom_fractions)[0], rel=0.02)
        interval_widths.append(np.ptp(np.quantile(means, [0.05, 0.95])))
    assert 1.4 < interval_widths[1] / interval_widths[0] < 3.5 and interval_widths[0] > 0.01


def test_the_same_seed_gives_the_same_draws(lognormal_sample):
    ensemble_fit, _ = fit_pdf(lognormal_sample[1])
    first_draws, repeated_draws, other_draws = (
        np.asarray(
            ensemble.posterior_fractions(ensemble_fit, particle_mixtures.sphere_model(), strength=0.0, seed=seed)
        )
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first_draws, repeated_draws)
    assert not np.allclose(first_draws, other_draws)


def test_a_second_fit_does_not_compile(lognormal_sample):
    fit_pdf(lognormal_sample[1])
    chex.clear_trace_counter()
    fit = jax.jit(chex.assert_max_traces(ensemble._fit_ensemble.__wrapped__, n=1), static_argnames="names")
    for seed, strength in ((1, 0.0), (2, 1.0)):
        target = particle_mixtures.make_target(
            particle_mixtures.ensemble_pdf(lognormal_sample[0], noise=0.05, seed=seed)
        )
        start = fit_pdf(lognormal_sample[1])[0].parameters
        strength_array, n_linearizations, effective_fraction = (
            jnp.float32(strength),
            jnp.asarray(2 + seed),
            jnp.float32(0.5 * seed),
        )
        assert np.isfinite(
            fit(
                particle_mixtures.sphere_model(),
                target.basis,
                start,
                strength_array,
                n_linearizations,
                effective_fraction,
                names=particle_mixtures.NONLINEAR_PARAMETERS,
            ).rw
        )


def test_a_series_is_fitted_like_each_curve_alone():
    rng = np.random.default_rng(4)
    rows = [particle_mixtures.draw_rows(rng, mean=mean, width=0.2) for mean in (15.0, 16.0, 17.0)]
    pdfs = [
        particle_mixtures.ensemble_pdf(sample_rows, noise=0.01, seed=index, stretch=1 + 0.001 * index)
        for index, sample_rows in enumerate(rows)
    ]
    start = fit_pdf(pdfs[1])[0].parameters
    bases = [particle_mixtures.make_target(g).basis for g in pdfs]
    series_fit = ensemble.fit_series(
        particle_mixtures.sphere_model(), bases, start, names=particle_mixtures.NONLINEAR_PARAMETERS
    )
    for index, g in enumerate(pdfs):
        single_fit, _ = fit_pdf(g)
        assert float(series_fit.rw[index]) == pytest.approx(float(single_fit.rw), rel=0.1)
        np.testing.assert_allclose(
            mean_and_width(series_fit.atom_fractions[index]), mean_and_width(single_fit.atom_fractions), rtol=0.03
        )
        assert mean_and_width(series_fit.atom_fractions[index])[0] == pytest.approx(
            particle_mixtures.equivalent_diameters()[rows[index]].mean() * (1 + 0.001 * index), rel=0.03
        )


def make_guess(n_shared):
    """Return parameters of a lognormal ensemble, with shared parameters in the middle of their ranges."""
    model = particle_mixtures.sphere_model()
    n_packings, n_modes = model.n_packings, model.smooth_modes.shape[1]
    return EnsembleParameters(
        jnp.linspace(0.9, 0.3, n_packings), jnp.full(n_packings, np.log(17.0)), jnp.full(n_packings, np.log(0.2)),
        jnp.zeros((n_packings, n_modes)), jnp.log(jnp.array([17.0, 0.2])), jnp.full(n_shared, 0.5),
    )  # fmt: skip


def exact_problem(make_data):
    """Return data that equal the curve of some parameters exactly, these parameters, and their prior."""
    target, model = (
        particle_mixtures.make_target(particle_mixtures.ensemble_pdf(np.arange(20))),
        particle_mixtures.sphere_model(),
    )
    parameters = make_guess(3)._replace(normalized_values=jnp.array([0.5, 0.3, 0.5]))
    class_pdfs = class_curves(model, parameters.normalized_values, particle_mixtures.NONLINEAR_PARAMETERS, target.basis)
    data = make_data(atom_fractions(parameters, model, 0.0) @ class_pdfs)
    return dataclasses.replace(
        target.basis, data=data, norm=jnp.sum(data**2), unmodelled_squares=jnp.zeros(())
    ), parameters


def cost_and_rounding(parameters, basis, start):
    """Return the cost of parameters, written out again, and the rounding error of its sum over classes."""
    model, names = particle_mixtures.sphere_model(), particle_mixtures.NONLINEAR_PARAMETERS
    prior = ensemble._prior(start, model, names)
    class_pdfs = class_curves(model, parameters.normalized_values, names, basis)
    residual = np.asarray(basis.data - atom_fractions(parameters, model, 0.0) @ class_pdfs, float)
    epsilon, norm, n_points = float(np.finfo(np.float32).eps), float(basis.norm), float(basis.n_independent)
    squares = max(residual @ residual + float(basis.unmodelled_squares), epsilon**2 * norm)
    prior_residuals = np.asarray(ensemble._prior_residuals(parameters, prior), float)
    rounding = 2 * n_points * np.log1p(len(model.size) * epsilon * np.sqrt(norm / squares))
    return n_points * np.log(squares) + prior_residuals @ prior_residuals, rounding


@pytest.mark.parametrize("seed", range(3))
def test_the_truth_of_exact_data_stays_if_their_last_bits_change(seed):
    """The prior gains less by a displacement than the misfit loses, because the noise is only a rounding error."""

    def change_last_bits(values):
        rng = np.random.default_rng(seed)
        return values * (1 + np.finfo(np.float32).eps * rng.integers(-4, 5, values.shape))

    basis, truth = exact_problem(lambda data: jnp.asarray(change_last_bits(np.asarray(data)), jnp.float32))
    ensemble_fit = ensemble.fit_ensemble(
        particle_mixtures.sphere_model(), basis, truth, names=particle_mixtures.NONLINEAR_PARAMETERS, strength=0.0
    )
    assert (
        all(np.isfinite(column).all() for column in ensemble_fit.parameters)
        and np.isfinite(ensemble_fit.precision).all()
    )
    (final_cost, _), (start_cost, rounding) = (
        cost_and_rounding(ensemble_fit.parameters, basis, truth),
        cost_and_rounding(truth, basis, truth),
    )
    assert final_cost <= start_cost + rounding and float(ensemble_fit.rw) < 1e-4
    np.testing.assert_allclose(
        ensemble_fit.atom_fractions,
        atom_fractions(truth, particle_mixtures.sphere_model(), 0.0),
        atol=1e-3 * float(ensemble_fit.values.scale),
    )
    assert np.abs(ensemble_fit.parameters.normalized_values - truth.normalized_values).max() < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_no_ensemble_is_worse_than_its_start(seed):
    rng = np.random.default_rng(seed)
    basis, truth = exact_problem(
        lambda data: data + 0.05 * jnp.std(data) * jnp.asarray(rng.normal(size=data.shape), jnp.float32)
    )
    start = truth._replace(
        sqrt_fraction=jnp.asarray(rng.uniform(0.1, 2.0, truth.sqrt_fraction.shape), jnp.float32),
        log_mean=truth.log_mean + 0.5 * (-1) ** seed,
        normalized_values=jnp.asarray(rng.uniform(0.02, 0.98, truth.normalized_values.shape), jnp.float32),
    )
    ensemble_fit = ensemble.fit_ensemble(
        particle_mixtures.sphere_model(), basis, start, names=particle_mixtures.NONLINEAR_PARAMETERS, strength=0.0
    )
    assert cost_and_rounding(ensemble_fit.parameters, basis, start)[0] <= sum(cost_and_rounding(start, basis, start))
