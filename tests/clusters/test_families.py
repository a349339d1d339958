import re

import numpy as np
import pytest
from ase.cluster import Decahedron
from ase.lattice.hexagonal import HexagonalClosedPacked
from scipy.spatial.distance import pdist, squareform

from jaxstruc.clusters import families, fcc_shapes, lattices, library


def atom_counts(name, *label_parts, min_atoms=5, max_atoms=1500):
    """Return the numbers of atoms of the clusters of a family whose labels contain all given parts."""
    clusters = families.FAMILIES[name](min_atoms, max_atoms)
    return sorted(
        {len(cluster.positions) for cluster in clusters if all(part in cluster.label for part in label_parts)}
    )


def neighbour_statistics(positions):
    """Return the number of neighbours of each atom, and the mean distance between neighbours."""
    distances = squareform(pdist(positions)) + 9 * np.eye(len(positions))
    is_neighbour = distances < lattices.NEIGHBOUR_SHELL_RATIO * np.median(distances.min(axis=1))
    return is_neighbour.sum(axis=1), distances[is_neighbour].mean()


def decahedral_number(p, q, r):
    """Return the number of atoms of a decahedron: its axis and five grains of rows without the re-entrant edges."""
    height, edge_atoms = p + q + 2 * r - 1, p + 2 * r
    rows = [
        (n, i)
        for n in range(1, min(edge_atoms, height))
        for i in range(n)
        if n - i < edge_atoms - r and i < edge_atoms - r
    ]
    return height + 5 * sum(height - n for n, _ in rows)


def test_icosahedra_and_cuboctahedra_have_the_magic_numbers():
    magic = [13, 55, 147, 309, 561, 923, 1415]
    assert atom_counts("icosahedron", "shells") == magic
    assert atom_counts("octahedron", "cuboctahedron") == magic


def test_truncated_octahedra_have_their_numbers():
    assert {38, 79, 116, 140, 201, 225, 314, 405, 586, 1289} <= set(atom_counts("octahedron", "truncated octahedron"))
    assert atom_counts("octahedron", "cutoff 0") == [6, 19, 44, 85, 146, 231, 344, 489, 670, 891, 1156, 1469]
    (label,) = {cluster.label for cluster in families.octahedra(586, 586)}
    assert label == "truncated octahedron length 10 cutoff 3"


@pytest.mark.slow
def test_decahedra_are_those_of_p_q_r():
    counts_by_label = {
        cluster.label: len(cluster.positions)
        for cluster in families.decahedra(5, 1000)
        if cluster.label.startswith("(")
    }
    assert counts_by_label["(6,1,1)"] == 423 and counts_by_label["(2,1,0)"] == 7 and counts_by_label["(2,2,1)"] == 75
    assert [counts_by_label[label] for label in ("(2,3,1)", "(3,2,1)", "(3,3,1)")] == [101, 146, 192]
    assert {"(3,1,0)", "(4,4,0)", "(1,1,1)", "(5,2,1)"} <= set(counts_by_label) and "(2,40,0)" not in counts_by_label
    triples = [(p, q, r) for r in range(12) for p in range(2 if r == 0 else 1, 30) for q in range(1, 50)]
    counts_by_triple = {triple: decahedral_number(*triple) for triple in triples}
    tall_triples = {(p, q, r) for p, q, r in triples if p + q + 2 * r - 1 > 4 * (p + 2 * r)}
    assert counts_by_label == {
        f"({p},{q},{r})": counts_by_triple[p, q, r]
        for p, q, r in set(triples) - tall_triples
        if counts_by_triple[p, q, r] <= 1000
    }


@pytest.mark.parametrize("name", families.FAMILIES)
def test_neighbours_lie_one_bond_apart_and_the_innermost_have_all_of_theirs(name):
    coordination = {"bcc": 8, "sc": 6}.get(name, 12)
    is_strained = name in ("icosahedron", "decahedron")
    for cluster in list(families.FAMILIES[name](90, 250))[::37]:
        assert cluster.family == name and 90 <= len(cluster.positions) <= 250
        neighbour_counts, bond = neighbour_statistics(cluster.positions)
        assert bond == pytest.approx(1, abs=1e-6), cluster.label
        assert pdist(cluster.positions).min() > (0.93 if is_strained else 1 - 1e-6), cluster.label
        if "block of 2 x" not in cluster.label:  # all atoms of these blocks lie at the surface
            assert neighbour_counts.max() == coordination, cluster.label
        assert lattices.is_connected(cluster.positions), cluster.label
        np.testing.assert_allclose(cluster.positions.mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_family_is_the_same_each_time_and_names_its_clusters_apart(name):
    clusters, repeated_clusters = list(families.FAMILIES[name](5, 60)), list(families.FAMILIES[name](5, 60))
    assert len({cluster.label for cluster in clusters}) == len(clusters) > 0
    for first_cluster, repeated_cluster in zip(clusters, repeated_clusters, strict=True):
        assert first_cluster.label == repeated_cluster.label
        np.testing.assert_array_equal(first_cluster.positions, repeated_cluster.positions)


def test_the_fcc_rule_contains_all_shapes_of_layers():
    clusters = [cluster for name in ("fcc", "octahedron") for cluster in families.FAMILIES[name](5, 200)]
    known_moments = {library.moments(cluster.positions) for cluster in clusters}
    layer_clusters = [
        cluster for cluster in fcc_shapes.fcc_family(layers=range(2, 6), max_atoms=200) if len(cluster.positions) >= 5
    ]
    assert (
        len(layer_clusters) > 8 and {library.moments(cluster.positions) for cluster in layer_clusters} <= known_moments
    )


def test_fcc_polyhedra_run_from_cubes_to_octahedra():
    """The ratio of the levels of {100} and {111} planes is 1/√3 for a cube and √3 for an octahedron."""
    matches = (
        re.match(r"planes \(111\) (\S+) \(100\) (\S+) less", cluster.label) for cluster in families.fcc_clusters(5, 120)
    )
    ratios = [float(match[2]) / float(match[1]) for match in matches if match]
    assert len(ratios) > 50
    assert min(ratios) == pytest.approx(1 / 3**0.5, rel=0.1) and max(ratios) == pytest.approx(3**0.5, rel=0.1)


@pytest.mark.parametrize(("name", "growth"), [("fcc", 1.08), ("hcp", 1.12), ("twin", 1.12), ("fault", 1.16)])
def test_successive_spheres_grow_by_a_minimum_ratio(name, growth):
    counts_by_centre: dict[str, list[int]] = {}
    for cluster in families.FAMILIES[name](5, 150):
        if cluster.label.startswith("sphere"):
            counts_by_centre.setdefault(cluster.label.split(" ", 2)[2], []).append(len(cluster.positions))
    ratios = np.concatenate([np.divide(counts[1:], counts[:-1]) for counts in counts_by_centre.values()])
    assert len(ratios) > 50 and growth <= ratios.min() < growth + 0.02


def test_blocks_are_those_that_ase_builds():
    block_sizes = [(2, 3, 4), (3, 3, 3), (2, 2, 20)]
    positions_by_label = {
        cluster.label: cluster.positions
        for cluster in families.hcp_clusters(30, 200)
        if cluster.label.startswith("block")
    }
    assert all(
        2 * np.prod([int(number) for number in re.findall(r"\d+", label)]) == len(positions)
        for label, positions in positions_by_label.items()
    )
    for size in block_sizes:
        ase_positions = HexagonalClosedPacked(
            "Au", size=size, latticeconstant={"a": 1.0, "c": np.sqrt(8 / 3)}
        ).positions
        block_positions = positions_by_label[f"block of {' x '.join(map(str, size))} cells"]
        np.testing.assert_allclose(np.sort(pdist(block_positions)), np.sort(pdist(ase_positions)), atol=1e-9)


def test_a_fault_is_not_fcc():
    for label_part in ("hh in fcc", "hch in fcc", "c in hcp", "period hc ", "random 0 with 0.5 h"):
        (faulted_cluster, *_) = (
            cluster for cluster in families.faulted_clusters(60, 90) if label_part in cluster.label
        )
        squared_distances = pdist(faulted_cluster.positions) ** 2
        assert np.abs(squared_distances - np.round(squared_distances)).max() > 0.1, label_part


def test_a_mirrored_octahedron_has_its_twin_plane_in_the_middle():
    clusters = [candidate for candidate in families.twinned_clusters(60, 200) if "mirrored" in candidate.label]
    assert len(clusters) > 50
    for cluster in clusters[::20]:
        positions = cluster.positions
        image = positions * np.array([1, 1, -1])
        assert np.abs(positions[:, None] - image[None]).sum(axis=-1).min(axis=1).max() < 1e-9


@pytest.mark.parametrize(("name", "angle"), [("a twin plane", 90), ("a grain", 270)])
def test_spheres_near_the_axis_of_a_decahedron_are_those_of_any_of_its_five_twin_planes_and_grains(name, angle):
    """Their radii are those about the centre that is turned by 72 degrees."""
    points = Decahedron("Au", 11, 7, 0, latticeconstant=np.sqrt(2)).positions
    radii_by_centre: dict[tuple[float, float], list[float]] = {}
    for cluster in families.decahedra(5, 60):
        if match := re.match(rf"sphere (\S+) (\S+) from the axis towards {name}, height (\S+)", cluster.label):
            radii_by_centre.setdefault((float(match[2]), float(match[3])), []).append(float(match[1]))
    assert len(radii_by_centre) == (14 if angle == 90 else 12)
    turned_angle = np.radians(angle + 72)
    for (offset, height), radii in radii_by_centre.items():
        centre = np.array([offset * np.cos(turned_angle), offset * np.sin(turned_angle), height])
        distance = np.linalg.norm(points - centre, axis=1)
        for radius in radii:
            assert abs(distance - radius).min() < 1e-3, (offset, height)
