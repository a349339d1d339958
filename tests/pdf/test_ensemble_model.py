"""Fractions and curves of size classes: sums, the lognormal written out again, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import particle_mixtures
import pytest
from jax.flatten_util import ravel_pytree

from jaxstruc.pdf import candidates, ensemble, ensemble_model
from jaxstruc.pdf.ensemble_model import EnsembleParameters


def make_parameters(model, *, root=(0.6, 0.8), mean=17.0, width=0.2):
    n_packings, n_modes = model.n_packings, model.smooth_modes.shape[1]
    return EnsembleParameters(
        jnp.asarray(root),
        jnp.full(n_packings, np.log(mean)),
        jnp.full(n_packings, np.log(width)),
        jnp.zeros((n_packings, n_modes)),
        jnp.asarray([np.log(mean), np.log(width)]),
        jnp.full(3, 0.5),
        jnp.zeros(1),
    )


def test_fractions_are_a_lognormal_of_each_packing_and_sum_to_its_root_squared():
    model = particle_mixtures.sphere_model()
    fractions = np.asarray(ensemble_model.atom_fractions(make_parameters(model), model, 0.0))
    packing, diameters = np.asarray(model.packing), np.asarray(model.size, float)
    for packing_index, total in enumerate((0.36, 0.64)):
        lognormal = np.exp(-0.5 * (np.log(diameters / 17.0) / 0.2) ** 2) * (packing == packing_index)
        np.testing.assert_allclose(
            fractions * (packing == packing_index), total * lognormal / lognormal.sum(), atol=1e-6
        )


def test_smooth_modes_change_a_distribution_by_their_strength_alone():
    model = particle_mixtures.sphere_model()
    parameters = make_parameters(model)
    parameters = parameters._replace(mode_weights=parameters.mode_weights.at[0, -2].set(1.5))
    lognormal_fractions, free_fractions = (
        np.asarray(ensemble_model.atom_fractions(parameters, model, strength)) for strength in (0.0, 1.0)
    )
    in_packing = np.asarray(model.packing) == 0
    np.testing.assert_allclose(
        lognormal_fractions, np.asarray(ensemble_model.atom_fractions(make_parameters(model), model, 1.0)), atol=1e-7
    )
    assert abs(free_fractions - lognormal_fractions)[in_packing].max() > 0.1 * lognormal_fractions[in_packing].max()
    np.testing.assert_allclose(free_fractions[~in_packing], lognormal_fractions[~in_packing], atol=1e-7)
    assert free_fractions[in_packing].sum() == pytest.approx(0.36, rel=1e-5)


def test_smooth_modes_have_unit_variance_at_every_size():
    np.testing.assert_allclose(
        np.sum(np.asarray(particle_mixtures.sphere_model().smooth_modes) ** 2, axis=1), 1.0, atol=0.02
    )


def test_small_particles_contract_by_their_size():
    stretches = np.asarray(ensemble_model.class_stretches(1.01, 0.2, particle_mixtures.sphere_model()))
    np.testing.assert_allclose(
        stretches, 1.01 * (1 - 0.2 / np.asarray(particle_mixtures.sphere_model().size)), rtol=1e-6
    )


def test_gradients_by_all_that_is_fitted_are_those_of_differences():
    rows = particle_mixtures.draw_rows(np.random.default_rng(0), mean=17.0, width=0.2)
    model, target = (
        particle_mixtures.sphere_model(),
        particle_mixtures.make_target(particle_mixtures.ensemble_pdf(rows, noise=0.02)),
    )
    pool, fits = particle_mixtures.rank_single_clusters(particle_mixtures.ensemble_pdf(rows, noise=0.02))
    diameter = float(particle_mixtures.equivalent_diameters()[pool.entry(0)[1]])
    start = ensemble.start_parameters(
        model, target.basis, candidates.select_rows(fits.values, 0), particle_mixtures.NONLINEAR_PARAMETERS, diameter
    )
    parameters = ensemble.fit_ensemble(
        model, target.basis, start, names=particle_mixtures.NONLINEAR_PARAMETERS, strength=0.0
    ).parameters
    flat_parameters, unravel = ravel_pytree(parameters)

    def misfit(x):
        trial = unravel(x)
        class_pdfs = ensemble_model.class_curves(
            model, trial.normalized_values, trial.contraction[0], particle_mixtures.NONLINEAR_PARAMETERS, target.basis
        )
        return jnp.sum((0.9 * target.basis.data - ensemble_model.atom_fractions(trial, model, 1.0) @ class_pdfs) ** 2)

    gradient = np.asarray(jax.jit(jax.grad(misfit))(flat_parameters))
    gradient_by_field = jax.tree.map(np.asarray, unravel(gradient))
    fcc_index = particle_mixtures.sphere_classes().packing_names.index("fcc")
    assert (
        np.isfinite(gradient).all()
        and abs(gradient_by_field.sqrt_fraction[fcc_index]) > 0
        and (abs(gradient_by_field.normalized_values) > 0).all()
    )
    misfit_value = jax.jit(misfit)
    for index in (
        fcc_index,
        len(parameters.sqrt_fraction) + fcc_index,
        len(flat_parameters) - 4,
        len(flat_parameters) - 1,
    ):  # root, mean, stretch, contraction
        step = np.zeros_like(gradient)
        step[index] = 2e-3
        difference_quotient = (
            float(misfit_value(flat_parameters + step)) - float(misfit_value(flat_parameters - step))
        ) / 4e-3
        assert gradient[index] == pytest.approx(difference_quotient, rel=0.03, abs=1e-3 * float(abs(gradient).max()))
