import hashlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.network import dataset
from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.debye import Instrument
from jaxstruc.structures import shapes


def test_kdd_structures_are_distinct_in_shape_and_bond(kdd):
    """20 distinct radii among 30 metals, 10 lattice constants, 8 shapes."""
    assert len(kdd.pdf) == len(set(zip(kdd.shape, kdd.bond, strict=True))) == 1600
    assert sum(len(names.split()) for names in kdd.element) == 8 * 30 * 10


@pytest.mark.parametrize("row", [0, 700, 1599])
def test_kdd_pdfs_are_the_exact_sum_with_the_papers_settings(kdd, row, x64):
    positions = kdd.shapes[kdd.shape[row]].positions * kdd.bond[row]
    coefficients = form_factors.coefficients([kdd.element[row].split()[0]])
    instrument = Instrument(uiso=1 / (8 * np.pi**2), delta2=2.0, qdamp=0.04)

    @jax.jit
    def exact(positions):
        pairs = debye.pairs_of(positions, np.ones(len(positions)))
        return curves.pdf(pairs, coefficients, np.array([float(len(positions))]), instrument, dataset.GRID)

    np.testing.assert_allclose(kdd.pdf[row], exact(positions), atol=2e-5 * kdd.pdf[row].max())


def test_kdd_pdfs_have_the_published_spread(kdd):
    """R_p of the paper needs a variance near 1; normalised PDFs would have 0.015."""
    assert 0.8 < kdd.pdf.var() < 1.5


def test_real_bonds_are_real_and_instruments_differ(real):
    platinum = ["Pt" in names.split() for names in real.element]
    assert abs(np.mean(real.bond[platinum]) - 2.78) < 0.01
    assert np.ptp(real.conditions.qmax) > 15 and np.ptp(real.conditions.rmax) > 10
    r = dataset.GRID.r
    for row in (0, 500):
        beyond = (r > real.conditions.rmax[row]) | (r < real.conditions.rmin[row])
        assert not real.pdf[row][beyond].any() and real.pdf[row][~beyond].any()


def test_the_same_seed_gives_the_same_bytes(real, tmp_path):
    again = dataset.generate("real", seed=0, draws=1)
    for name, data in (("a", real), ("b", again)):
        dataset.write(data, tmp_path / name)
    one, two = (hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in "ab")
    assert one == two
    assert not np.array_equal(dataset.generate("real", seed=4, draws=1).pdf, real.pdf)


def test_a_data_set_comes_back_from_disk(real, tmp_path):
    dataset.write(real, tmp_path / "real.h5")
    back = dataset.read(tmp_path / "real.h5")
    chex.assert_trees_all_equal(back.conditions, real.conditions)
    np.testing.assert_array_equal(back.pdf, real.pdf)
    assert [shape.label for shape in back.shapes] == [shape.label for shape in real.shapes]
    assert list(tmp_path.iterdir()) == [tmp_path / "real.h5"]


def test_another_file_is_no_data_set(tmp_path):
    (tmp_path / "x.h5").write_text("no")
    with pytest.raises(ValueError, match="Expected a data set"):
        dataset.read(tmp_path / "x.h5")


def test_the_random_split_is_the_papers(kdd):
    parts = dataset.split(kdd, by="random", seed=0)
    assert [len(rows) for rows in parts] == [1170, 293, 137]
    assert len(np.unique(np.concatenate(parts))) == 1600
    assert set(kdd.shape[parts.test]) <= set(kdd.shape[parts.train])


def test_the_split_by_shape_keeps_shapes_apart(kdd):
    parts = dataset.split(kdd, by="shape", seed=0)
    shapes = [set(kdd.shape[rows]) for rows in parts]
    assert not shapes[0] & shapes[2] and not shapes[0] & shapes[1] and shapes[1] and shapes[2]


def test_all_draws_of_a_structure_are_on_one_side():
    data = dataset.generate("real", seed=0, draws=2)
    parts = dataset.split(data, by="random", seed=0)
    sides = [set(zip(data.shape[rows], data.bond[rows], strict=True)) for rows in parts]
    assert not sides[0] & sides[1] and not sides[0] & sides[2]


def test_normalised_pdfs_forget_their_scale():
    curve = jnp.asarray([0.0, 1.0, -2.0, 3.0, 0.0])
    one, two = dataset.normalised(curve), dataset.normalised(7 * curve)
    np.testing.assert_allclose(one, two, rtol=1e-6)
    assert float(jnp.sum(one**2)) == pytest.approx(3.0)
    assert not dataset.normalised(jnp.zeros(5)).any()


def test_the_distance_table_counts_all_pairs():
    table = dataset.distance_table(shapes.fcc_family())
    np.testing.assert_array_equal(table.weight.sum(axis=1), table.atoms * (table.atoms - 1))
    np.testing.assert_array_equal(table.weight.sum(axis=1), [n * (n - 1) for n in (19, 43, 55, 63, 79, 85, 87, 93)])
    assert not table.variance.any() and (table.mean[table.weight == 0] == 1).all()


def test_twice_the_signal_has_twice_the_noise(real):
    """Half the number of atoms, and the same pairs, make all of F(Q) twice as large."""
    rows = np.array([3, 4])
    table = jax.tree.map(lambda column: column[real.shape[rows]], dataset.distance_table(real.shapes))
    conditions = jax.tree.map(lambda column: column[rows], real.conditions)._replace(noise=jnp.full(2, 0.1))
    given = real.bond[rows].astype(np.float32), conditions, jax.random.split(jax.random.key(5), 2)
    one, two = (dataset.simulate(table._replace(atoms=table.atoms / part), *given) for part in (1, 2))
    np.testing.assert_allclose(two, 2 * one, atol=1e-4 * np.abs(two).max())


def test_noise_is_relative_to_f_and_its_own_in_each_pdf(real):
    """White noise on F(Q) with no signal lost: twice as much noise is twice the difference."""
    rows = np.array([3, 4])
    table = jax.tree.map(lambda column: column[real.shape[rows]], dataset.distance_table(real.shapes))
    conditions = jax.tree.map(lambda column: column[rows], real.conditions)._replace(qdamp=jnp.full(2, 0.01))
    keys = jax.random.split(jax.random.key(5), 2)

    def curve(noise):
        given = conditions._replace(noise=jnp.full(2, noise))
        return np.asarray(dataset.simulate(table, real.bond[rows].astype(np.float32), given, keys))

    clean, one, two = (curve(noise) for noise in (0.0, 0.05, 0.1))
    assert np.abs(one - clean).max() > 1e-2
    np.testing.assert_allclose(two - clean, 2 * (one - clean), atol=1e-4 * np.abs(clean).max())
    assert np.abs(np.corrcoef(one[0] - clean[0], one[1] - clean[1])[0, 1]) < 0.5
