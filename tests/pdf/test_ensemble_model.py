"""Fractions and curves of size classes: sums, the lognormal written out again, and gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import particle_mixtures
import pytest
import simulated_pdfs_numpy
from jax.flatten_util import ravel_pytree
from simulated_pdfs_numpy import BOND

from jaxstruc.clusters import families, library, potential, size_classes
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.pdf import candidates, ensemble, ensemble_model, fit
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


def test_relaxed_particles_contract_and_the_small_ones_most():
    model = particle_mixtures.relaxed_model()
    expansion, packing = np.asarray(model.expansion), np.asarray(model.packing)
    stretches = np.asarray(ensemble_model.class_stretches(1.01, 0.5, model))
    np.testing.assert_allclose(stretches, 1.01 * (1 + 0.5 * expansion), rtol=1e-6)
    for index in range(model.n_packings):
        contractions = -expansion[packing == index]
        assert (contractions > 0).all() and contractions[0] > 2 * contractions[-1]
    assert not np.asarray(particle_mixtures.sphere_model().expansion).any()


def test_a_class_of_one_cluster_relaxes_as_this_cluster():
    """The cluster has fewer atoms than `MAX_SAMPLED_ATOMS`, so that all its pairs are used."""
    twin = next(families.FAMILIES["twin"](80, 120))
    twins, rows, packings = library.from_clusters([twin]), np.zeros(1, int), np.array(["twin"], object)
    store = FieldStore(twins, "Cu")
    classes = size_classes.build_size_classes(twins, rows, packings)
    relaxation = ensemble_model.relax_classes(classes, store, rows, packings)
    model = ensemble_model.ensemble_model(classes, bond=BOND, span=particle_mixtures.SPAN, relaxation=relaxation)
    field, names = store.displacement_field(0), ("stretch", "uiso", "delta2", "relaxation")
    expansion = field.expansion - potential.bulk_expansion(potential.metal_potential("Cu"))
    assert len(model.size) == 1 and float(model.expansion[0]) == pytest.approx(expansion, abs=1e-6)
    class_pdfs = []
    for amplitude in (0.0, 0.7, 1.0, 1.5):
        stretch = 1 + amplitude * expansion
        positions = (twin.positions + amplitude * field.displacements) * BOND * stretch
        pdf = simulated_pdfs_numpy.cluster_pdf(positions, particle_mixtures.R)
        basis = particle_mixtures.make_target(pdf).basis
        values = fit.FitValues(1.0, 1.0, 0.008, 0.0, 2.0, 0.03, 0.0, amplitude)
        shared_values = jnp.stack([jnp.float32(getattr(values, name)) for name in names])
        shared = fit.values_to_fractions(shared_values, names, basis)
        class_pdfs.append(np.asarray(ensemble_model.class_curves(model, shared, names, basis)[0]))
        assert np.linalg.norm(class_pdfs[-1] - basis.data) < 0.02 * np.linalg.norm(basis.data)
        assert float(ensemble_model.class_stretches(1.0, amplitude, model)[0]) == pytest.approx(stretch, abs=1e-6)
    assert np.linalg.norm(class_pdfs[2] - class_pdfs[0]) > 0.05 * np.linalg.norm(class_pdfs[0])


def test_a_library_without_fields_stays_rigid():
    """Packings that are not close-packed have no fields."""
    cubes = library.collect(itertools.islice(families.FAMILIES["sc"](20, 120), 12))
    rows, packings = np.arange(len(cubes.atoms)), np.full(len(cubes.atoms), "sc", object)
    classes = size_classes.build_size_classes(cubes, rows, packings)
    relaxation = ensemble_model.relax_classes(classes, FieldStore(cubes, "Cu"), rows, packings)
    assert not relaxation.pair_weight.any() and not relaxation.expansion.any()
    model = ensemble_model.ensemble_model(classes, bond=BOND, span=particle_mixtures.SPAN, relaxation=relaxation)
    assert not np.asarray(model.cluster_tables.has_field).any() and not np.asarray(model.expansion).any()


def test_classes_between_known_ones_are_interpolated():
    """The weights are linear in ln D, the expansions in 1/D, and the bulk does not expand."""
    classes = particle_mixtures.sphere_classes()
    is_fcc = classes.packing_index == classes.packing_names.index("fcc")
    expansion = np.full(len(classes.mean_size), np.nan)
    first, last = np.flatnonzero(is_fcc)[[2, 8]]
    expansion[[first, last]] = -0.2 / classes.mean_size[[first, last]]
    known_pair, pair_weight, filled = ensemble_model._interpolate_classes(expansion, classes)
    sizes = classes.mean_size
    is_between = is_fcc & (sizes >= sizes[first])
    np.testing.assert_allclose(filled[is_between], -0.2 / sizes[is_between], rtol=1e-9)
    assert not pair_weight[~is_fcc].any() and not filled[~is_fcc].any()
    np.testing.assert_allclose(pair_weight[is_fcc].sum(axis=1), 1.0)
    middle = np.flatnonzero(is_fcc)[5]
    upper_weight = np.log(sizes[middle] / sizes[first]) / np.log(sizes[last] / sizes[first])
    assert known_pair[middle].tolist() == [0, 1] and pair_weight[middle, 1] == pytest.approx(upper_weight)
    largest = np.flatnonzero(is_fcc)[-1]
    assert pair_weight[largest] @ (known_pair[largest] == 1) == pytest.approx(1.0)


def test_gradients_by_all_that_is_fitted_are_those_of_differences():
    rows = particle_mixtures.draw_rows(np.random.default_rng(0), mean=17.0, width=0.2)
    model, target = (
        particle_mixtures.relaxed_model(),
        particle_mixtures.make_target(particle_mixtures.ensemble_pdf(rows, noise=0.02)),
    )
    names = (*particle_mixtures.NONLINEAR_PARAMETERS, "relaxation")
    pool, fits = particle_mixtures.rank_single_clusters(particle_mixtures.ensemble_pdf(rows, noise=0.02))
    diameter = float(particle_mixtures.equivalent_diameters()[pool.entry(0)[1]])
    start = ensemble.start_parameters(model, target.basis, candidates.select_rows(fits.values, 0), names, diameter)
    parameters = ensemble.fit_ensemble(model, target.basis, start, names=names, strength=0.0).parameters
    flat_parameters, unravel = ravel_pytree(parameters)

    def misfit(x):
        trial = unravel(x)
        class_pdfs = ensemble_model.class_curves(model, trial.normalized_values, names, target.basis)
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
    ):  # root, mean, stretch, relaxation
        step = np.zeros_like(gradient)
        step[index] = 2e-3
        difference_quotient = (
            float(misfit_value(flat_parameters + step)) - float(misfit_value(flat_parameters - step))
        ) / 4e-3
        assert gradient[index] == pytest.approx(difference_quotient, rel=0.03, abs=1e-3 * float(abs(gradient).max()))
