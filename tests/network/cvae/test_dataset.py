import hashlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.clusters import fcc_shapes
from jaxstruc.network.cvae import dataset
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument


def test_kdd_structures_are_distinct_in_shape_and_bond(kdd_dataset):
    """30 metals have 20 distinct radii, each with 10 lattice constants and 8 shapes."""
    assert len(kdd_dataset.pdf) == len(set(zip(kdd_dataset.shape_index, kdd_dataset.bond, strict=True))) == 1600
    assert sum(len(element_names.split()) for element_names in kdd_dataset.element) == 8 * 30 * 10


@pytest.mark.parametrize("row", [0, 700, 1599])
def test_kdd_pdfs_are_the_exact_sum_with_the_papers_settings(kdd_dataset, row, x64):
    positions = kdd_dataset.shapes[kdd_dataset.shape_index[row]].positions * kdd_dataset.bond[row]
    coefficients = form_factors.xray_coefficients([kdd_dataset.element[row].split()[0]])
    instrument = Instrument(uiso=1 / (8 * np.pi**2), delta2=2.0, qdamp=0.04)

    @jax.jit
    def exact_pdf(positions):
        pairs = debye.pairs_from_positions(positions, np.ones(len(positions)))
        return pair_distribution.pdf(
            pairs, coefficients, np.array([float(len(positions))]), instrument, dataset.PDF_GRID
        )

    np.testing.assert_allclose(kdd_dataset.pdf[row], exact_pdf(positions), atol=2e-5 * kdd_dataset.pdf[row].max())


def test_kdd_pdfs_have_the_published_spread(kdd_dataset):
    """The R_p of the paper needs a variance near 1, but normalised PDFs would have 0.015."""
    assert 0.8 < kdd_dataset.pdf.var() < 1.5


def test_real_bonds_are_real_and_instruments_differ(real_dataset):
    is_platinum = ["Pt" in element_names.split() for element_names in real_dataset.element]
    assert abs(np.mean(real_dataset.bond[is_platinum]) - 2.78) < 0.01
    assert np.ptp(real_dataset.conditions.qmax) > 15 and np.ptp(real_dataset.conditions.rmax) > 10
    r = dataset.PDF_GRID.r
    for row in (0, 500):
        is_outside = (r > real_dataset.conditions.rmax[row]) | (r < real_dataset.conditions.rmin[row])
        assert not real_dataset.pdf[row][is_outside].any() and real_dataset.pdf[row][~is_outside].any()


def test_the_same_seed_gives_the_same_bytes(real_dataset, tmp_path):
    repeated_dataset = dataset.generate("real", seed=0, draws=1)
    for name, data in (("a", real_dataset), ("b", repeated_dataset)):
        dataset.write(data, tmp_path / name)
    checksum, repeated_checksum = (hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in "ab")
    assert checksum == repeated_checksum
    assert not np.array_equal(dataset.generate("real", seed=4, draws=1).pdf, real_dataset.pdf)


def test_a_data_set_comes_back_from_disk(real_dataset, tmp_path):
    dataset.write(real_dataset, tmp_path / "real.h5")
    restored_dataset = dataset.read(tmp_path / "real.h5")
    chex.assert_trees_all_equal(restored_dataset.conditions, real_dataset.conditions)
    np.testing.assert_array_equal(restored_dataset.pdf, real_dataset.pdf)
    assert [shape.label for shape in restored_dataset.shapes] == [shape.label for shape in real_dataset.shapes]
    assert list(tmp_path.iterdir()) == [tmp_path / "real.h5"]


def test_another_file_is_no_data_set(tmp_path):
    (tmp_path / "x.h5").write_text("no")
    with pytest.raises(ValueError, match="Expected a data set"):
        dataset.read(tmp_path / "x.h5")


def test_the_random_split_is_the_papers(kdd_dataset):
    split = dataset.split(kdd_dataset, strategy="random", seed=0)
    assert [len(rows) for rows in split] == [1170, 293, 137]
    assert len(np.unique(np.concatenate(split))) == 1600
    assert set(kdd_dataset.shape_index[split.test]) <= set(kdd_dataset.shape_index[split.train])


def test_the_split_by_shape_keeps_shapes_apart(kdd_dataset):
    split = dataset.split(kdd_dataset, strategy="shape", seed=0)
    shape_sets = [set(kdd_dataset.shape_index[rows]) for rows in split]
    assert not shape_sets[0] & shape_sets[2] and not shape_sets[0] & shape_sets[1] and shape_sets[1] and shape_sets[2]


def test_all_draws_of_a_structure_are_on_one_side():
    data = dataset.generate("real", seed=0, draws=2)
    split = dataset.split(data, strategy="random", seed=0)
    structure_sets = [set(zip(data.shape_index[rows], data.bond[rows], strict=True)) for rows in split]
    assert not structure_sets[0] & structure_sets[1] and not structure_sets[0] & structure_sets[2]


def test_normalised_pdfs_do_not_depend_on_their_scale():
    curve = jnp.asarray([0.0, 1.0, -2.0, 3.0, 0.0])
    normalised_curve, normalised_multiple = dataset.normalise(curve), dataset.normalise(7 * curve)
    np.testing.assert_allclose(normalised_curve, normalised_multiple, rtol=1e-6)
    assert float(jnp.sum(normalised_curve**2)) == pytest.approx(3.0)
    assert not dataset.normalise(jnp.zeros(5)).any()


def test_the_distance_table_counts_all_pairs():
    table = dataset.distance_table(fcc_shapes.fcc_family())
    np.testing.assert_array_equal(table.weight.sum(axis=1), table.atoms * (table.atoms - 1))
    np.testing.assert_array_equal(
        table.weight.sum(axis=1), [n_atoms * (n_atoms - 1) for n_atoms in (19, 43, 55, 63, 79, 85, 87, 93)]
    )
    assert not table.variance.any() and (table.mean[table.weight == 0] == 1).all()


def test_twice_the_signal_has_twice_the_noise(real_dataset):
    """F(Q) and its noise are twice as large if the same pairs belong to half the number of atoms."""
    rows = np.array([3, 4])
    table = jax.tree.map(
        lambda column: column[real_dataset.shape_index[rows]], dataset.distance_table(real_dataset.shapes)
    )
    conditions = jax.tree.map(lambda column: column[rows], real_dataset.conditions)._replace(noise=jnp.full(2, 0.1))
    settings = real_dataset.bond[rows].astype(np.float32), conditions, jax.random.split(jax.random.key(5), 2)
    pdfs, doubled_pdfs = (
        dataset.simulate_pdfs(table._replace(atoms=table.atoms / divisor), *settings) for divisor in (1, 2)
    )
    np.testing.assert_allclose(doubled_pdfs, 2 * pdfs, atol=1e-4 * np.abs(doubled_pdfs).max())


def test_noise_is_relative_to_f_and_differs_between_pdfs(real_dataset):
    """The signal stays the same, so that twice as much noise gives twice the difference."""
    rows = np.array([3, 4])
    table = jax.tree.map(
        lambda column: column[real_dataset.shape_index[rows]], dataset.distance_table(real_dataset.shapes)
    )
    conditions = jax.tree.map(lambda column: column[rows], real_dataset.conditions)._replace(qdamp=jnp.full(2, 0.01))
    keys = jax.random.split(jax.random.key(5), 2)

    def simulated_curves(noise):
        noisy_conditions = conditions._replace(noise=jnp.full(2, noise))
        return np.asarray(
            dataset.simulate_pdfs(table, real_dataset.bond[rows].astype(np.float32), noisy_conditions, keys)
        )

    clean_curves, noisy_curves, noisier_curves = (simulated_curves(noise) for noise in (0.0, 0.05, 0.1))
    assert np.abs(noisy_curves - clean_curves).max() > 1e-2
    np.testing.assert_allclose(
        noisier_curves - clean_curves, 2 * (noisy_curves - clean_curves), atol=1e-4 * np.abs(clean_curves).max()
    )
    assert np.abs(np.corrcoef(noisy_curves[0] - clean_curves[0], noisy_curves[1] - clean_curves[1])[0, 1]) < 0.5
    for row in range(2):  # the noise is that of the key, transformed to G(r)
        row_conditions = jax.tree.map(lambda column, row=row: column[row], conditions)
        noise = jax.random.normal(keys[row], (dataset.PDF_GRID.q.size,), jnp.float32)
        noise_pdf = pair_distribution.pdf_from_f(
            noise, dataset.instrument_from_conditions(row_conditions), dataset.PDF_GRID,
            q_limits=(row_conditions.qmin, row_conditions.qmax),
        )  # fmt: skip
        difference = (noisy_curves - clean_curves)[row]
        is_inside = difference != 0
        assert np.corrcoef(difference[is_inside], np.asarray(noise_pdf)[is_inside])[0, 1] > 0.999


def empty_dataset(n_shapes, bonds):
    """Return a data set without PDFs, with each shape at each bond length."""
    shape_index, bond = (column.ravel() for column in np.meshgrid(np.arange(n_shapes), bonds, indexing="ij"))
    shapes = [fcc_shapes.fcc_cluster((2, 2, 2))] * n_shapes
    no_conditions = dataset.Conditions(*(jnp.arange(3.0) + index for index in range(8)))
    return dataset.Dataset(
        shapes, shape_index, bond, np.array(["Pt"] * len(bond)), no_conditions, np.zeros((0, 1)), "kdd", 0
    )


@pytest.mark.parametrize(
    ("strategy", "n_shapes", "n_bonds", "n_groups"),
    [
        ("shape", 8, 2, (5, 1, 2)), ("shape", 16, 1, (10, 2, 4)), ("shape", 5, 3, (3, 1, 1)),
        ("random", 5, 5, (16, 4, 5)), ("random", 40, 20, (530, 133, 137)),
    ],
)  # fmt: skip
def test_the_parts_of_a_split_have_their_shares_of_the_groups(strategy, n_shapes, n_bonds, n_groups):
    """A quarter and an eighth of the shapes, or at most 137 structures and a fifth of the others."""
    data = empty_dataset(n_shapes, np.linspace(2.5, 3.0, n_bonds))
    split = dataset.split(data, strategy=strategy, seed=3)
    rows_of_a_group = n_bonds if strategy == "shape" else 1
    assert [len(rows) / rows_of_a_group for rows in split] == list(n_groups)
    assert sorted(np.concatenate(split).tolist()) == list(range(n_shapes * n_bonds))


def test_the_ranges_of_conditions_are_those_of_the_preset_or_of_the_data():
    data = empty_dataset(2, [2.8])
    assert dataset.condition_ranges(data)["uiso"] == [0.0, 2.0] and dataset.condition_ranges(data)["noise"] == [7, 9]
    real_ranges = dataset.condition_ranges(data._replace(preset="real"))
    assert real_ranges == {name: list(bounds) for name, bounds in dataset.CONDITION_RANGES.items()}


def test_the_points_that_are_not_zero_have_a_mean_square_of_one():
    pdfs = jnp.array([[0.0, 3.0, -4.0, 0.0], [2.0, 2.0, -2.0, 2.0], [0.0, 0.0, 0.0, 1e-3]])
    expected = [[0, 3 / np.sqrt(12.5), -4 / np.sqrt(12.5), 0], [1, 1, -1, 1], [0, 0, 0, 1]]
    np.testing.assert_allclose(dataset.normalise(pdfs), expected, rtol=1e-6)
