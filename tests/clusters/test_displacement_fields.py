"""Displacement fields of clusters: comparison with EMT, invariances, reasons for rigid clusters and the cache."""

from pathlib import Path

import numpy as np
import pytest
from ase.cluster import Icosahedron
from scipy.spatial.transform import Rotation

from jaxstruc.clusters import displacement_fields, families, library
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.clusters.lattices import unit_bond_cluster
from jaxstruc.clusters.potential import metal_potential

GOLDEN = Path(__file__).parents[1] / "golden" / "emt" / "Au.npz"
GOLD = metal_potential("Au")


def mackay_positions(shells):
    return unit_bond_cluster("icosahedron", f"{shells} shells", Icosahedron("Au", shells + 1).positions).positions


def fields_of(*clusters, element="Au"):
    fields = displacement_fields.displacement_fields(clusters, metal_potential(element))
    return [field if isinstance(field, str) else field.displacements for field in fields]


def family_clusters(family, min_atoms, max_atoms):
    return [cluster.positions for cluster in families.FAMILIES[family](min_atoms, max_atoms)]


@pytest.fixture(scope="module")
def clusters():
    """Return clusters with fields, one or more for each array size of the batch."""
    return [mackay_positions(2), *family_clusters("decahedron", 40, 56)[:3], *family_clusters("hcp", 60, 66)[:1]]


@pytest.fixture(scope="module")
def small_library():
    """Return a library of two icosahedra: 13 atoms, whose relaxation is a change of scale, and 55 atoms."""
    return library.collect(
        unit_bond_cluster("icosahedron", f"{shells} shells", Icosahedron("Au", shells + 1).positions)
        for shells in (1, 2)
    )


@pytest.mark.parametrize("name", ["cuboctahedron_55", "icosahedron_55", "cuboctahedron_147"])
def test_fields_agree_with_those_of_another_potential(name):
    """ASE 3.29.0 relaxed the gold clusters with EMT to 0.01 eV/Å (tools/make_relaxed.py).

    EMT and the second-moment potential differ, so that the fields agree in direction to 1 % and in length to 15 %.
    """
    with np.load(GOLDEN) as archive:
        ideal, relaxed = archive[f"{name}_ideal"], archive[f"{name}_relaxed"]
    bond = np.min(np.linalg.norm(ideal[1:] - ideal[0], axis=1))
    expected_field = displacement_fields.field_between(ideal / bond, relaxed / bond).displacements.astype(float).ravel()
    (field,) = fields_of(ideal / bond)
    field = field.astype(float).ravel()
    assert field @ expected_field > 0.99 * np.linalg.norm(field) * np.linalg.norm(expected_field)
    assert 0.85 < field @ expected_field / (field @ field) < 1.1


def test_fields_have_no_translation_no_rotation_and_no_scale(clusters):
    """Half precision rounds each displacement by up to 3e-5. The scale is removed up to the second order."""
    for positions, field in zip(clusters, fields_of(*clusters), strict=True):
        field, centred = field.astype(float), positions - positions.mean(axis=0)
        rms, radius = np.sqrt(np.mean(field**2)), np.sqrt(np.mean(centred**2))
        assert rms > 1e-3
        assert np.abs(field.mean(axis=0)).max() < 1e-2 * rms
        assert np.abs(np.cross(centred, field).mean(axis=0)).max() < 1e-2 * rms * radius
        assert abs(np.mean(field * centred)) < 3e-2 * rms * radius


def test_a_field_turns_with_its_cluster_and_shifts_do_not_matter():
    """The minimisation ends before the minimum, so that rounding errors change the field by about 1 %."""
    positions, rotation = mackay_positions(2), Rotation.from_rotvec([0.3, -0.7, 0.2]).as_matrix()
    field, turned_field = fields_of(positions, positions @ rotation.T + [3.0, -2.0, 1.0])
    turned_back = turned_field.astype(float) @ rotation
    assert np.linalg.norm(turned_back - field) < 0.03 * np.linalg.norm(field)


def test_a_field_does_not_depend_on_the_other_clusters(clusters):
    together = fields_of(*clusters)
    backwards = fields_of(*clusters[::-1])[::-1]
    for positions, field, other_field in zip(clusters, together, backwards, strict=True):
        np.testing.assert_array_equal(field, other_field)
        np.testing.assert_array_equal(field, fields_of(positions)[0])


def test_the_surface_of_a_cluster_contracts_and_vertices_most():
    """The uniform contraction is not in the field, so the atoms around the centre move outwards."""
    positions = mackay_positions(2)
    (field,) = fields_of(positions)
    radius = np.linalg.norm(positions, axis=1)
    outward = np.sum(field * positions, axis=1)[radius > 0.1] / radius[radius > 0.1]
    radius = radius[radius > 0.1]
    is_vertex, is_inside = radius > 0.99 * radius.max(), radius < 1.2
    assert is_vertex.sum() == is_inside.sum() == 12
    assert outward[is_vertex].max() < -0.005 and outward[is_inside].min() > 0.005
    assert outward[is_vertex].max() < outward[~is_vertex].min()


def dimer_of_clusters():
    positions = family_clusters("octahedron", 38, 38)[0]
    return np.concatenate([positions, positions + np.array([12.0, 0, 0])])


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        (np.zeros((1, 3)), displacement_fields.TOO_FEW_ATOMS),
        (np.array([[0.0, 0, 0], [1, 0, 0]]), displacement_fields.TOO_FEW_ATOMS),
        (np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), displacement_fields.TOO_FEW_ATOMS),
        (dimer_of_clusters(), displacement_fields.SEVERAL_PIECES),
        (mackay_positions(2) * 0.6, displacement_fields.ATOMS_TOO_CLOSE),
        (np.concatenate([mackay_positions(2), [[0.1, 0, 0]]]), displacement_fields.ATOMS_TOO_CLOSE),
        (mackay_positions(1), displacement_fields.NO_DISPLACEMENT),
        (np.zeros((2049, 3)), displacement_fields.TOO_MANY_ATOMS),
    ],
    ids=["one atom", "two", "three", "two pieces", "compressed", "two atoms close", "13 atoms", "too many"],
)
def test_clusters_that_cannot_be_relaxed_have_a_reason(positions, reason):
    assert fields_of(positions) == [reason]


def test_a_bcc_cluster_that_leaves_its_places_stays_rigid():
    """The 51 atoms about a hollow site collapse in gold, whose stable crystal is fcc."""
    positions = family_clusters("bcc", 51, 51)[0]
    assert fields_of(positions) == [displacement_fields.LEFT_PLACES]


def test_the_relaxed_positions_must_be_near_and_finite():
    ideal = mackay_positions(2)
    assert displacement_fields.field_between(ideal, ideal * 1.1) == displacement_fields.NO_DISPLACEMENT
    assert displacement_fields.field_between(ideal, np.full_like(ideal, np.nan)) == displacement_fields.LEFT_PLACES
    swapped = ideal.copy()
    swapped[[0, -1]] = swapped[[-1, 0]]
    assert displacement_fields.field_between(ideal, swapped) == displacement_fields.LEFT_PLACES
    rotation = Rotation.from_rotvec([0.3, -0.7, 0.2]).as_matrix()
    bent = ideal + 0.02 * np.cos(2 * ideal[:, ::-1])
    fields = [displacement_fields.field_between(ideal, x) for x in (bent, 0.9 * bent @ rotation.T + 5.0)]
    np.testing.assert_allclose(*(field.displacements.astype(float) for field in fields), atol=5e-5)
    assert (1 + fields[1].expansion) / (1 + fields[0].expansion) == pytest.approx(0.9, rel=1e-6)


def test_small_clusters_contract_most():
    """The bonds of a free surface are shorter, and small clusters have more surface."""
    fields = displacement_fields.displacement_fields([mackay_positions(n) for n in (2, 3, 4)], GOLD)
    expansions = [field.expansion for field in fields]
    assert -0.05 < expansions[0] < expansions[1] < expansions[2] < -0.002


def test_a_store_keeps_its_fields_in_the_cache(small_library, tmp_path):
    store = displacement_fields.cached_store(small_library, "Au", "two icosahedra", folder=tmp_path)
    assert store.field(0) is None and store.reason(0) == displacement_fields.NO_DISPLACEMENT
    field = store.field(1)
    assert field.shape == (55, 3) and field.dtype == np.float64 and store.reason(1) == ""
    store.compute_named({(3, "a ball"): family_clusters("fcc", 60, 70)[0]})
    store.save()
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    store.save()  # nothing new
    assert path.stat().st_mtime_ns == stamp
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(displacement_fields, "displacement_fields", None)  # no field is computed again
        cached = displacement_fields.cached_store(small_library, "Au", "two icosahedra", folder=tmp_path)
        np.testing.assert_array_equal(cached.field(1), field)
        for key in (1, "a ball"):
            np.testing.assert_equal(cached.displacement_field(key), store.displacement_field(key))
        assert cached.reason(0) == displacement_fields.NO_DISPLACEMENT
    np.testing.assert_array_equal(FieldStore(small_library, "Au").field(1), field)


@pytest.mark.parametrize("other", [("Ni", "two icosahedra"), ("Au", "another library")])
def test_fields_of_another_metal_or_library_are_not_used(small_library, tmp_path, other):
    store = displacement_fields.cached_store(small_library, "Au", "two icosahedra", folder=tmp_path)
    store.compute([0, 1])
    store.save()
    displacement_fields.cached_store(small_library, *other, folder=tmp_path).save()
    assert len(list(tmp_path.iterdir())) == 1
    other_store = displacement_fields.cached_store(small_library, *other, folder=tmp_path)
    other_store.compute([1])
    other_store.save()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other clusters"])
def test_a_damaged_cache_is_ignored_and_replaced(small_library, tmp_path, damage):
    store = displacement_fields.cached_store(small_library, "Au", "key", folder=tmp_path)
    field = store.field(1)
    store.save()
    (path,) = tmp_path.iterdir()
    if damage == "other clusters":
        arrays = {
            "keys": np.array(["7"]),
            "reasons": np.array([""]),
            "n_atoms": np.array([55]),
            "displacements": np.zeros((55, 3), np.float16),
            "expansions": np.zeros(1),
        }
        np.savez(path, **arrays)
    else:
        path.write_bytes({"cut": path.read_bytes()[:-300], "empty": b"", "text": b"no fields"}[damage])
    fresh_store = displacement_fields.cached_store(small_library, "Au", "key", folder=tmp_path)
    np.testing.assert_array_equal(fresh_store.field(1), field)
    fresh_store.save()
    with np.load(path) as archive:
        assert archive["keys"].tolist() == ["1"]


def test_a_folder_that_cannot_be_written_costs_nothing(small_library, tmp_path):
    (tmp_path / "file").write_text("not a folder", "utf-8")
    store = displacement_fields.cached_store(small_library, "Au", "key", folder=tmp_path / "file" / "cache")
    assert store.reason(0) == displacement_fields.NO_DISPLACEMENT
    store.save()
