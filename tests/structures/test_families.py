import re

import numpy as np
import pytest
from ase.lattice.hexagonal import HexagonalClosedPacked
from scipy.spatial.distance import pdist, squareform

from jaxstruc.structures import families, lattices, library, shapes


def sizes(name, *words, least=5, most=1500):
    """Return the numbers of atoms of the family's clusters whose labels have the words."""
    found = families.FAMILIES[name](least, most)
    return sorted({len(cluster.positions) for cluster in found if all(word in cluster.label for word in words)})


def shell(positions):
    """Return the atoms' numbers of neighbours, and the mean distance of neighbours."""
    distances = squareform(pdist(positions)) + 9 * np.eye(len(positions))
    near = distances < lattices.SHELL * np.median(distances.min(axis=1))
    return near.sum(axis=1), distances[near].mean()


def decahedral_number(p, q, r):
    """Return the atoms of a decahedron: its axis, and five grains of rows parallel to it, less the re-entrant ones."""
    height, edge = p + q + 2 * r - 1, p + 2 * r
    rows = [(n, i) for n in range(1, min(edge, height)) for i in range(n) if n - i < edge - r and i < edge - r]
    return height + 5 * sum(height - n for n, _ in rows)


def test_icosahedra_and_cuboctahedra_have_the_magic_numbers():
    magic = [13, 55, 147, 309, 561, 923, 1415]
    assert sizes("icosahedron", "shells") == magic
    assert sizes("octahedron", "cuboctahedron") == magic


def test_truncated_octahedra_have_their_numbers():
    assert {38, 79, 116, 140, 201, 225, 314, 405, 586, 1289} <= set(sizes("octahedron", "truncated octahedron"))
    assert sizes("octahedron", "cutoff 0") == [6, 19, 44, 85, 146, 231, 344, 489, 670, 891, 1156, 1469]
    (label,) = {c.label for c in families.octahedra(586, 586)}
    assert label == "truncated octahedron length 10 cutoff 3"


def test_decahedra_are_those_of_p_q_r():
    found = {c.label: len(c.positions) for c in families.decahedra(5, 1000) if c.label.startswith("(")}
    assert found["(6,1,1)"] == 423 and found["(2,1,0)"] == 7 and found["(2,2,1)"] == 75
    assert [found[label] for label in ("(2,3,1)", "(3,2,1)", "(3,3,1)")] == [101, 146, 192]
    assert {"(3,1,0)", "(4,4,0)", "(1,1,1)", "(5,2,1)"} <= set(found) and "(2,40,0)" not in found
    triples = [(p, q, r) for r in range(12) for p in range(2 if r == 0 else 1, 30) for q in range(1, 50)]
    sizes = {triple: decahedral_number(*triple) for triple in triples}
    high = {(p, q, r) for p, q, r in triples if p + q + 2 * r - 1 > 4 * (p + 2 * r)}
    assert found == {f"({p},{q},{r})": sizes[p, q, r] for p, q, r in set(triples) - high if sizes[p, q, r] <= 1000}


@pytest.mark.parametrize("name", families.FAMILIES)
def test_neighbours_lie_one_bond_apart_and_the_innermost_have_all_of_theirs(name):
    expected = {"bcc": 8, "sc": 6}.get(name, 12)
    strained = name in ("icosahedron", "decahedron")
    for cluster in list(families.FAMILIES[name](90, 250))[::37]:
        assert cluster.family == name and 90 <= len(cluster.positions) <= 250
        neighbours, bond = shell(cluster.positions)
        assert bond == pytest.approx(1, abs=1e-6), cluster.label
        assert pdist(cluster.positions).min() > (0.93 if strained else 1 - 1e-6), cluster.label
        if "block of 2 x" not in cluster.label:  # these have no inside
            assert neighbours.max() == expected, cluster.label
        assert lattices.connected(cluster.positions), cluster.label
        np.testing.assert_allclose(cluster.positions.mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_family_is_the_same_each_time_and_names_its_clusters_apart(name):
    first, second = list(families.FAMILIES[name](5, 60)), list(families.FAMILIES[name](5, 60))
    assert len({cluster.label for cluster in first}) == len(first) > 0
    for one, other in zip(first, second, strict=True):
        assert one.label == other.label
        np.testing.assert_array_equal(one.positions, other.positions)


def test_the_fcc_rule_holds_all_shapes_of_layers():
    listed = [c for name in ("fcc", "octahedron") for c in families.FAMILIES[name](5, 200)]
    found = {library.moments(c.positions) for c in listed}
    asked = [c for c in shapes.fcc_family(layers=range(2, 6), max_atoms=200) if len(c.positions) >= 5]
    assert len(asked) > 8 and {library.moments(c.positions) for c in asked} <= found


def test_fcc_polyhedra_run_from_cubes_to_octahedra():
    """The depth of {100} over that of {111} planes: 1/√3 and √3."""
    planes = (re.match(r"planes \(111\) (\S+) \(100\) (\S+) less", c.label) for c in families.fcc(5, 120))
    ratios = [float(found[2]) / float(found[1]) for found in planes if found]
    assert len(ratios) > 50
    assert min(ratios) == pytest.approx(1 / 3**0.5, rel=0.1) and max(ratios) == pytest.approx(3**0.5, rel=0.1)


@pytest.mark.parametrize(("name", "growth"), [("fcc", 1.08), ("hcp", 1.12), ("twin", 1.12), ("fault", 1.16)])
def test_a_sphere_has_more_atoms_by_a_ratio_than_the_one_before(name, growth):
    sizes: dict[str, list[int]] = {}
    for cluster in families.FAMILIES[name](5, 150):
        if cluster.label.startswith("sphere"):
            sizes.setdefault(cluster.label.split(" ", 2)[2], []).append(len(cluster.positions))
    ratios = np.concatenate([np.divide(each[1:], each[:-1]) for each in sizes.values()])
    assert len(ratios) > 50 and growth <= ratios.min() < growth + 0.02


def test_blocks_are_those_that_ase_builds():
    asked = [(2, 3, 4), (3, 3, 3), (2, 2, 20)]
    listed = {c.label: c.positions for c in families.hcp(30, 200) if c.label.startswith("block")}
    assert all(2 * np.prod([int(n) for n in re.findall(r"\d+", label)]) == len(x) for label, x in listed.items())
    for size in asked:
        built = HexagonalClosedPacked("Au", size=size, latticeconstant={"a": 1.0, "c": np.sqrt(8 / 3)}).positions
        own = listed[f"block of {' x '.join(map(str, size))} cells"]
        np.testing.assert_allclose(np.sort(pdist(own)), np.sort(pdist(built)), atol=1e-9)


def test_a_fault_is_not_fcc():
    for kind in ("hh in fcc", "hch in fcc", "c in hcp", "period hc ", "random 0 with 0.5 h"):
        (one, *_) = (c for c in families.faults(60, 90) if kind in c.label)
        squares = pdist(one.positions) ** 2
        assert np.abs(squares - np.round(squares)).max() > 0.1, kind


def test_a_mirrored_octahedron_has_its_twin_plane_in_the_middle():
    found = [c for c in families.twin(60, 200) if "mirrored" in c.label]
    assert len(found) > 50
    for cluster in found[::20]:
        x = cluster.positions
        image = x * np.array([1, 1, -1])
        assert np.abs(x[:, None] - image[None]).sum(axis=-1).min(axis=1).max() < 1e-9
