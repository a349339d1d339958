"""The data sets of DeepStruc's shapes: numbers, bond lengths, conditions and splits."""

from collections import Counter

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxstruc.clusters import deepstruc_shapes, particle_codes
from jaxstruc.network.cvae import dataset

FAMILY = deepstruc_shapes.deepstruc_family()


def list_dataset(preset, n_bonds):
    """Return a data set without PDFs, with each of the 197 shapes at some bond lengths."""
    shape_index, bond = (column.ravel() for column in np.indices((197, n_bonds)))
    conditions = dataset._deepstruc_conditions(None, len(bond))
    element = np.full(len(bond), "")
    return dataset.Dataset(list(FAMILY), shape_index, 2.3 + 0.05 * bond, element, conditions, None, preset, 0)


def test_the_list_has_3743_structures():
    shape_index, bond, element = dataset._distinct_structures("deepstruc", 197, deepstruc_shapes.METALS)
    assert len(bond) == len(set(zip(shape_index, bond, strict=True))) == 197 * 19 == 3743
    assert sum(len(names.split()) for names in element) == 197 * 28


def test_the_pdfs_have_the_conditions_and_bonds_of_the_preset(particle_dataset):
    assert len(particle_dataset.pdf) == 3 * len(particle_dataset.shapes) and np.isfinite(particle_dataset.pdf).all()
    assert len(set(particle_dataset.bond)) == 3
    np.testing.assert_allclose(particle_dataset.conditions.uiso, 0.3 / (8 * np.pi**2), rtol=1e-6)
    assert not np.any(particle_dataset.conditions.delta2) and not np.any(particle_dataset.conditions.qdamp)


def test_continuous_bond_lengths_lie_in_the_range_of_the_list_and_never_repeat():
    data = dataset.generate("deepstruc-continuous", seed=1, draws=5, shapes=FAMILY[:4])
    assert len(data.bond) == len(set(data.bond)) == 20
    assert data.bond.min() >= 2.3 and data.bond.max() <= 3.24
    np.testing.assert_array_equal(data.shape_index, np.repeat(np.arange(4), 5))


def test_the_random_split_is_three_fifths_one_fifth_one_fifth():
    parts = dataset.split(list_dataset("deepstruc", 19), strategy="random", seed=0)
    assert [len(rows) for rows in parts] == [2247, 748, 748]
    assert len(np.unique(np.concatenate(parts))) == 3743


def test_the_split_by_ranges_tests_the_held_out_shapes_and_no_others():
    data = list_dataset("deepstruc-continuous", 4)
    parts = dataset.split(data, strategy="range", seed=0)
    is_held_out = np.array([deepstruc_shapes.is_held_out(shape) for shape in FAMILY])
    assert is_held_out[data.shape_index[parts.test]].all() and len(parts.test) == 4 * is_held_out.sum()
    assert not is_held_out[data.shape_index[np.concatenate(parts[:2])]].any()
    assert len(np.unique(np.concatenate(parts))) == 197 * 4
    assert not np.array_equal(parts.train, dataset.split(data, strategy="range", seed=1).train)


def test_other_data_sets_have_no_ranges():
    with pytest.raises(ValueError, match="Expected a data set of the presets deepstruc"):
        dataset.split(list_dataset("kdd", 2), strategy="range", seed=0)


def test_all_types_have_equal_weight_in_the_training():
    data = list_dataset("deepstruc", 19)
    train = dataset.split(data, strategy="random", seed=0).train
    rows = dataset.balance_types(data, train)
    counts = Counter(FAMILY[index].family for index in data.shape_index[rows])
    assert len(counts) == 7 and len(set(counts.values())) == 1
    assert set(rows) == set(train)


def test_varied_particles_keep_clear_of_the_held_out_shapes():
    """Training particles differ from held-out shapes by more than a tenth of the atoms of these shapes."""
    shapes = [*particle_codes.polyhedra()[::6], *dataset.held_out_shapes()]
    conditions = dataset._deepstruc_conditions(None, len(shapes))
    columns = np.arange(len(shapes)), np.full(len(shapes), 2.7), np.full(len(shapes), "")
    data = dataset.Dataset(shapes, *columns, conditions, None, "deepstruc-varied", 0)
    parts = dataset.split(data, strategy="range", seed=0)
    held_out = dataset.held_out_shapes()
    assert set(range(len(shapes) - len(held_out), len(shapes))) <= set(parts.test)
    for shape in (shapes[row] for row in np.concatenate(parts[:2])):
        for other in (other for other in held_out if other.family == shape.family):
            assert len(other.positions) != len(shape.positions) or shared_distances(shape, other) < 0.999


def shared_distances(first, second):
    """Return the share of equal values among the sorted pair distances of two shapes with as many atoms."""
    return np.mean(np.abs(np.sort(pdist(first.positions)) - np.sort(pdist(second.positions))) < 1e-3)


def test_varied_pdfs_have_equal_shares_of_types_and_random_conditions():
    shapes = [*particle_codes.polyhedra()[:300:30], *particle_codes.cut_polyhedra(0, n_each=1)]
    data = dataset.generate("deepstruc-varied", seed=0, draws=4, shapes=shapes)
    counts = Counter((shapes[index].family, shapes[index].label.endswith(" 0")) for index in data.shape_index)
    assert max(counts.values()) - min(counts.values()) <= len(counts)
    assert len(set(data.bond)) == len(data.bond) and np.std(data.conditions.qmax) > 3
    noise = np.asarray(data.conditions.noise)
    assert noise.max() <= 0.15 and np.median(noise) < 0.06


def test_stacks_have_the_bonds_of_the_list():
    data = dataset.generate("deepstruc-stacks", seed=0, shapes=particle_codes.stacks()[:2], elements=("Fe", "Pt"))
    assert len(data.pdf) == 4 and not np.any(data.conditions.qdamp)
