"""The data sets of DeepStruc's shapes: numbers, splits, and the sites of the particles."""

from collections import Counter

import numpy as np
import pytest

from jaxstruc.clusters import deepstruc_shapes, fcc_shapes
from jaxstruc.network.cvae import dataset
from jaxstruc.network.deepstruc import type_sites

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


def test_each_shape_is_the_set_of_its_sites():
    """The sites give back the pair distances of all shapes, within the rounding of the sites."""
    table, occupancy = type_sites.site_table(), type_sites.site_occupancy(FAMILY)
    for shape, row in zip(FAMILY, occupancy, strict=True):
        positions = table.positions[row]
        assert len(positions) == len(shape.positions)
        assert {deepstruc_shapes.STRUCTURE_TYPES[index] for index in table.structure_type[row]} == {shape.family}
        distances, true_distances = (
            np.sort(np.linalg.norm(points[:, None] - points[None], axis=-1), axis=None)
            for points in (positions, shape.positions)
        )
        np.testing.assert_allclose(distances, true_distances, atol=3e-3)
    assert occupancy.any(axis=0).all()


def test_no_held_out_shape_is_nearly_a_training_shape():
    """Held-out shapes differ from all training shapes by more than a tenth of their sites."""
    occupancy = type_sites.site_occupancy(FAMILY)
    is_held_out = np.array([deepstruc_shapes.is_held_out(shape) for shape in FAMILY])
    differences = (occupancy[is_held_out][:, None] != occupancy[~is_held_out][None]).sum(axis=-1).min(axis=1)
    assert (differences > 0.1 * occupancy[is_held_out].sum(axis=1)).all()


def test_larger_shapes_of_a_family_contain_the_smaller_ones():
    """The shells of an icosahedron, and the blocks of hcp cells, occupy the sites of larger ones."""
    occupancy = {
        (shape.family, shape.label): row for shape, row in zip(FAMILY, type_sites.site_occupancy(FAMILY), strict=True)
    }
    for family, small, large in (("icosahedron", "2", "3"), ("icosahedron", "3", "4"), ("hcp", "1 4 4", "2 5 5")):
        assert not (occupancy[family, small] & ~occupancy[family, large]).any()


def test_shapes_without_sites_are_refused():
    with pytest.raises(ValueError, match="Expected the atoms of fcc"):
        type_sites.site_occupancy(
            [fcc_shapes.fcc_cluster((2, 3, 2))._replace(positions=np.array([[0, 0, 0], [0, 0, 0.8]]))]
        )
    with pytest.raises(ValueError, match="Expected shapes of the types sc"):
        type_sites.site_occupancy([fcc_shapes.fcc_cluster((2, 2, 2))._replace(family="faulted")])
