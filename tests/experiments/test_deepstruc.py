"""Fits, controls and tables of the experiment with DeepStruc's seven types."""

import numpy as np
import pytest

from jaxstruc.clusters import particle_codes
from jaxstruc.clusters.deepstruc_shapes import deepstruc_family
from jaxstruc.network.cvae import dataset


@pytest.fixture(scope="module")
def data():
    """Return the PDFs of four small shapes of different types with three bond lengths."""
    shapes = [next(shape for shape in deepstruc_family()[40:] if shape.family == name) for name in ("sc", "bcc", "hcp")]
    return dataset.generate("deepstruc", seed=0, shapes=shapes, elements=("Fe", "Pt", "Hf"))


def test_the_true_structure_fits_with_its_stretch(experiments, data):
    """The fit of structures that are too small by 2 % gives the stretch, and the error of the coordinates vanishes."""
    import deepstruc

    rows = np.arange(len(data.pdf))
    structures = deepstruc.true_structures(data, rows)
    types = deepstruc.shape_types(data)[data.shape_index]
    measures = deepstruc.structure_measures(
        data, rows, structures._replace(positions=structures.positions / 1.02), types
    )
    assert measures["solved"].all() and measures["type_right"].all() and measures["count_exact"].all()
    assert measures["fitted_error"].max() < 0.01 < measures["error"].min() and measures["fitted_rw"].max() < 0.01
    without_atom = structures._replace(mask=structures.mask & (np.arange(structures.mask.shape[1]) > 0))
    measures = deepstruc.structure_measures(data, rows, without_atom, types)
    assert not measures["count_exact"].any() and not measures["solved"].any() and measures["error"].max() < 0.05


def test_the_nearest_training_pdf_is_that_of_the_same_shape_and_is_scaled(experiments, data):
    import deepstruc

    rows = np.arange(len(data.pdf))
    middle = rows[data.bond == np.median(data.bond)]
    test = deepstruc.Test(data, middle, data, np.setdiff1d(rows, middle))
    structures, types, particles = deepstruc.nearest_structures(test)
    true_structures = deepstruc.true_structures(data, middle)
    np.testing.assert_array_equal(types, deepstruc.shape_types(data)[data.shape_index[middle]])
    np.testing.assert_allclose(structures.positions, true_structures.positions, atol=0.02)
    np.testing.assert_allclose(particles.bond, data.bond[middle], rtol=5e-3)


def test_the_refinement_by_layers_finds_the_levels_of_the_lowest_misfit(experiments):
    """The misfit is the distance from the levels of an uncut particle. A cut polyhedron keeps its direction."""
    import deepstruc_refinement

    cut = particle_codes.cut_polyhedra(0, n_each=1)
    start = deepstruc_refinement.coded_particles(cut, np.ones(len(cut), np.float32))
    np.testing.assert_array_equal(start.code.cut > 0, True)
    target = start.code.levels + np.array([1, -1, 0])

    def misfit(particles):
        return np.abs(particles.code.levels - target).sum(axis=1) + (particles.code.cut > 0)

    refined = deepstruc_refinement.refine_particles(start, misfit, n_rounds=3)
    np.testing.assert_array_equal(refined.code.levels, target)
    assert not refined.code.cut.any()
    positions, mask = deepstruc_refinement.particle_positions(start, max_atoms=200)
    for cluster, row, is_atom, direction in zip(cut, positions, mask, start.direction, strict=True):
        assert is_atom.sum() == len(cluster.positions)
        assert (row[is_atom] @ direction).mean() < 0


def test_the_hexagonal_share_along_a_direction_of_the_plane_is_a_perfect_correlation(experiments):
    import deepstruc

    stacks = particle_codes.stacks()[:40]
    share = np.array([particle_codes.hexagonal_share(stack) for stack in stacks])
    rows = np.arange(len(stacks))
    columns = rows, np.full(len(rows), 2.7), np.full(len(rows), "")
    stack_data = dataset.Dataset(stacks, *columns, None, None, "deepstruc-stacks", 0)
    split = dataset.Split(rows[::2], rows[:0], rows[1::2])
    z = np.column_stack([3 - 2 * share, np.random.default_rng(0).normal(size=len(rows))])
    assert deepstruc.stacking_row(stack_data, split, z, {})["spearman"] == pytest.approx(1, abs=1e-3)
    assert abs(deepstruc.stacking_row(stack_data, split, z[::-1], {})["spearman"]) < 0.9


def test_the_purity_counts_points_among_other_types(experiments, data):
    """The types lie in separate groups, and two points of the first type lie in the group of the second one."""
    import deepstruc

    shape_index = np.repeat([0, 1, 2], 12)
    z = 100.0 * np.eye(3)[shape_index][:, :2] + np.random.default_rng(0).normal(size=(36, 2))
    row = deepstruc.latent_row(data._replace(shape_index=shape_index), z, {})
    assert (row["wrong"], row["same_type"], row["n"]) == (0, 1.0, 36)
    z[:2] = z[12:14] + 0.1
    row = deepstruc.latent_row(data._replace(shape_index=shape_index), z, {})
    assert row["wrong"] == 2 and row["same_type"] < 1


def test_the_tables_name_all_parts(experiments):
    import deepstruc_tables

    shared = {"seed": 0, "split": "random", "n": 5, "variant": "plain"}
    values = {"type_right": 1.0, "count_exact": 0.9, "solved": 0.8, "error": 0.02, "error_sd": 0.01}
    values |= {"fitted_error": 0.01, "fitted_error_sd": 0.01, "fitted_error_median": 0.01, "fitted_rw": 0.02}
    types = [
        {**shared, "part": "structures", "model": "draw", "type": name, **values, "fitted_error": error}
        for name, error in (("all", 0.01), ("hcp", 0.03), ("sc", 0.02))
    ]
    latent = {**shared, "part": "latent", "wrong": 2, "same_type": 0.999}
    draws = {**shared, "part": "draws", "draws": 16, "distinct": 1.5, "count_exact": 0.9, "any_count_exact": 1.0}
    draws |= {"error": 0.02, "lowest_error": 0.01}
    measured = {**shared, "part": "measured", "file": "Pt_1.8nm_S3.gr", "draws": 200, "rw": 0.24, "rw_median": 0.3}
    measured |= {"type": "fcc", "atoms": 93, "stretch": 1.05}
    paired = {**shared, "part": "paired", "test": "structures", "model": "draw", "better": 0.7, "worse": 0.3, "p": 1e-3}
    stacking = {**shared, "part": "stacking", "spearman": 0.98}
    rows = [*types, latent, draws, measured, paired, stacking]
    assert "| one draw | 5 | 70.0 % | 30.0 % | 0.001 |" in deepstruc_tables.deepstruc_paired_table(rows)
    assert "| 0.9800 | ≥ 0.95 |" in deepstruc_tables.deepstruc_stacking_table(rows)
    block = deepstruc_tables.deepstruc_block(rows)
    assert (
        "mean error of 0.01 Å" in block
        and "0.03 Å (hcp)" in block
        and "of 5 PDFs, one for each seed: 2 with the type head (target 3)" in block
    )
    assert "| random | one draw | 100.0 % | 90.0 % | 80.0 % | 0.02 | 0.01 | 0.02 |" in block
    assert deepstruc_tables.deepstruc_types_table(rows).count("| random |") == 3
    assert "| 2 | 99.90 % |" in deepstruc_tables.deepstruc_latent_table(rows)
    assert "| 16 | 1.5 | 90.0 % | 100.0 % |" in deepstruc_tables.deepstruc_draws_table(rows)
    assert "| 0.24 | 0.3 | fcc | 93 | 1.05 | < 0.245 |" in deepstruc_tables.deepstruc_measured_table(rows)
