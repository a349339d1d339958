import itertools
import math

import numpy as np
import pytest
from ase.cluster import Decahedron, Icosahedron, Octahedron
from scipy.spatial.distance import pdist

from jaxstruc.clusters import families, lattices
from jaxstruc.clusters.description import Description, describe_cluster, outline, rescale, sentence

LATTICE_CONSTANT = math.sqrt(2)
"""Lattice constant of fcc with a bond length of 1."""
SHAPES = {
    "octahedron": Octahedron("Au", 5, 0, latticeconstant=LATTICE_CONSTANT).positions,
    "truncated octahedron": Octahedron("Au", 7, 2, latticeconstant=LATTICE_CONSTANT).positions,
    "cuboctahedron": Octahedron("Au", 7, 3, latticeconstant=LATTICE_CONSTANT).positions,
    "Ino decahedron": Decahedron("Au", 4, 3, 0, latticeconstant=LATTICE_CONSTANT).positions,
    "icosahedron": Icosahedron("Au", 4, latticeconstant=LATTICE_CONSTANT).positions,
    "fcc sphere": next(x.positions for x in families.fcc_clusters(150, 200) if x.label.startswith("sphere")),
    "faulted": next(x.positions for x in families.faulted_clusters(150, 200)),
    "bcc": next(x.positions for x in families.bcc_clusters(150, 200)),
}


def tetrahedron(edge_atoms):
    """Return the fcc tetrahedron with `edge_atoms` atoms along an edge and a bond length of 1."""
    steps = itertools.product(range(edge_atoms), repeat=3)
    return np.array([(i + j, i + k, j + k) for i, j, k in steps if i + j + k < edge_atoms]) / math.sqrt(2)


def rotate_and_shuffle(positions, seed=5):
    """Return positions after a rotation by arbitrary angles, a shift and a permutation."""
    rng = np.random.default_rng(seed)
    return rng.permutation(positions @ np.linalg.qr(rng.normal(size=(3, 3)))[0].T + [3, -8, 2])


def names_by_label(family, min_atoms=5, max_atoms=300):
    """Return the descriptions of the clusters of a family by their labels."""
    return {
        cluster.label: describe_cluster(cluster.positions, family=family, label=cluster.label).name
        for cluster in families.FAMILIES[family](min_atoms, max_atoms)
    }


def test_octahedra_are_described_as_their_labels_say():
    names = names_by_label("octahedron")
    assert names["octahedron length 4 cutoff 0"] == "octahedron"
    assert names["cuboctahedron length 5 cutoff 2"] == "cuboctahedron"
    assert names["truncated octahedron length 7 cutoff 2"] == "truncated octahedron"
    assert set(names.values()) == {"octahedron", "cuboctahedron", "truncated octahedron"}


def test_decahedra_are_described_by_their_grooves_and_height():
    names = names_by_label("decahedron", 5, 40) | names_by_label("decahedron", 50, 80)
    assert names["(2,1,0)"] == names["(3,1,0)"] == "pentagonal bipyramid"
    assert names["(3,2,0)"] == "Ino decahedron" and names["(2,2,1)"] == "Marks decahedron"
    sphere_names = {name for label, name in names.items() if label.startswith("sphere")}
    assert sphere_names == {"", "cube"} and len(names) > 100  # a sphere of 14 atoms of one grain is an fcc cube


def test_icosahedra_are_described_by_their_shells():
    names = (
        names_by_label("icosahedron", 5, 20)
        | names_by_label("icosahedron", 50, 56)
        | names_by_label("icosahedron", 140, 150)
    )
    assert names["1 shells"] == "Mackay icosahedron of 1 shell"
    assert names["3 shells"] == "Mackay icosahedron of 3 shells"
    assert sum(name != "" for name in names.values()) == 3 and len(names) > 50


def test_other_bodies_are_described_by_their_facets_if_all_are_equal():
    cube = np.array(list(itertools.product(range(4), repeat=3)), float)
    box = np.array(list(itertools.product(range(4), range(4), range(5))), float)
    rhombohedron = cube @ np.array([(0, 1, 1), (1, 0, 1), (1, 1, 0)]) / math.sqrt(2)
    bcc = {body.label: body for body in families.bcc_clusters(60, 70)}
    dodecahedron = next(
        body for label, body in bcc.items() if label.startswith("planes (110) 1.63 (100) 2.31 less (111) 0.0")
    )
    for body, name in (
        (tetrahedron(5), "tetrahedron"),
        (cube, "cube"),
        (box, ""),
        (rhombohedron, ""),
        (dodecahedron.positions, "rhombic dodecahedron"),
        (SHAPES["octahedron"], "octahedron"),
        (SHAPES["truncated octahedron"], ""),
        (SHAPES["fcc sphere"], ""),
        (np.delete(tetrahedron(5), 0, axis=0), ""),
    ):
        assert describe_cluster(rotate_and_shuffle(body).astype(np.float32)).name == name
    tetrahedron_names = [name for label, name in names_by_label("fcc", 10, 30).items() if "(-1-1-1)" in label]
    assert {"", "tetrahedron"} <= set(tetrahedron_names) <= {"", "tetrahedron", "octahedron", "cube"}


def test_facets_of_fcc_bodies_are_those_of_geometry():
    """A triangle of edge 1 has the area √3/4, a hexagon 3√3/2, and a square 1."""
    triangle, hexagon = math.sqrt(3) / 4, 3 * math.sqrt(3) / 2
    for shape, close_packed_area, square_area in (
        ("octahedron", 8 * triangle, 0),
        ("cuboctahedron", 8 * triangle, 6),
        ("truncated octahedron", 8 * hexagon, 6),
    ):
        body_description = describe_cluster(rotate_and_shuffle(SHAPES[shape]))
        assert body_description.facets_111 == pytest.approx(
            close_packed_area / (close_packed_area + square_area), abs=1e-6
        )
        assert body_description.facets_100 == pytest.approx(square_area / (close_packed_area + square_area), abs=1e-6)


def test_facets_of_decahedra_and_icosahedra_are_those_of_geometry():
    """An Ino decahedron of edge a and height h has ten triangles and five rectangles. Its strain is 2 %."""
    for p, q in ((3, 2), (4, 3), (3, 5)):
        body_description = describe_cluster(rotate_and_shuffle(Decahedron("Au", p, q, 0).positions))
        triangle_area, square_area = 10 * math.sqrt(3) / 4 * (p - 1) ** 2, 5 * (p - 1) * (q - 1)
        assert body_description.facets_111 == pytest.approx(triangle_area / (triangle_area + square_area), abs=0.01)
        assert body_description.facets_100 == pytest.approx(1 - body_description.facets_111, abs=1e-6)
    for shells in (2, 4):
        body_description = describe_cluster(rotate_and_shuffle(Icosahedron("Au", shells).positions))
        assert body_description.facets_111 == pytest.approx(1) and body_description.facets_100 == 0


def test_tilted_facets_are_neither_100_nor_111_and_hcp_has_basal_ones_alone():
    rods = next(
        cluster
        for cluster in families.fcc_clusters(60, 300)
        if "[001]" in cluster.label and "less (111) 0.0" in cluster.label
    ).positions
    sphere_description = describe_cluster(SHAPES["fcc sphere"])
    assert 0.1 < sphere_description.facets_111 + sphere_description.facets_100 < 0.95
    assert describe_cluster(rods).facets_100 == pytest.approx(1) and describe_cluster(rods).facets_111 == 0
    stack = lattices.stack("h")
    prism = stack[(np.linalg.norm(stack[:, :2], axis=1) < 2.01) & (abs(stack[:, 2]) < 2)]
    body_description, height = describe_cluster(prism), np.ptp(prism[:, 2])
    base_area, side_area = 2 * 6 * math.sqrt(3) / 4 * 4, 6 * 2 * height
    assert body_description.type == "hcp" and body_description.facets_111 == pytest.approx(
        base_area / (base_area + side_area), abs=0.12
    )
    assert math.isnan(body_description.facets_100)
    assert "{0001}" in sentence(body_description) and "{1" not in sentence(body_description)
    for other_positions in (SHAPES["bcc"], np.array(list(itertools.product(range(4), repeat=3)), float)):
        assert math.isnan(describe_cluster(other_positions).facets_111) and math.isnan(
            describe_cluster(other_positions).facets_100
        )


def test_diameters_of_bodies_are_those_of_geometry():
    """A body of edge a has the width a √(2/3) (octahedron), a/√2 (tetrahedron), a √2 (cuboctahedron) or a (cube)."""
    cube = np.array(list(itertools.product(range(4), repeat=3)), float)
    for positions, longest_diameter, least_width in (
        (SHAPES["octahedron"], 4 * math.sqrt(2), 4 * math.sqrt(2 / 3)),
        (tetrahedron(5), 4, 4 / math.sqrt(2)),
        (SHAPES["cuboctahedron"], 6, 3 * math.sqrt(2)),
        (cube, 3 * math.sqrt(3), 3),
    ):
        body_description = describe_cluster(rotate_and_shuffle(positions) * 2.78)
        assert body_description.longest_diameter == pytest.approx(
            2.78 * longest_diameter
        ) and body_description.least_width == pytest.approx(2.78 * least_width)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_direction_is_narrower_and_no_pair_longer(shape):
    """The test tries many directions. For displaced atoms it is less strict, because not all edges are searched."""
    directions = np.random.default_rng(0).normal(size=(20000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for width, tolerance in ((0.0, 1e-3), (0.03, 0.02)):
        positions = rotate_and_shuffle(SHAPES[shape]) + width * np.random.default_rng(1).normal(
            size=SHAPES[shape].shape
        )
        body_description, least_width = describe_cluster(positions), np.ptp(directions @ positions.T, axis=1).min()
        assert least_width * 0.93 < body_description.least_width < least_width * (1 + tolerance)
        assert body_description.longest_diameter == pytest.approx(pdist(positions).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_changes_nothing_and_the_unit_changes_lengths_alone(shape):
    original_description = describe_cluster(SHAPES[shape])
    rotated_description = describe_cluster(rotate_and_shuffle(SHAPES[shape] * 2.5))
    assert rotated_description[:3] == original_description[:3]
    np.testing.assert_allclose(np.array(rotated_description[3:5]) / 2.5, original_description[3:5], rtol=1e-3)
    np.testing.assert_allclose(rotated_description[5:], original_description[5:], atol=1e-3)


@pytest.mark.parametrize("shape", ["truncated octahedron", "cuboctahedron", "Ino decahedron", "icosahedron"])
def test_displaced_atoms_keep_their_facets(shape):
    original_description = describe_cluster(SHAPES[shape])
    for seed in range(5):
        positions = SHAPES[shape] + 0.03 * np.random.default_rng(seed).normal(size=SHAPES[shape].shape)
        body_description = describe_cluster(rotate_and_shuffle(positions))
        np.testing.assert_allclose(body_description[6:], original_description[6:], atol=0.04)
        assert body_description.longest_diameter == pytest.approx(original_description.longest_diameter, rel=0.04)
        assert body_description.least_width == pytest.approx(original_description.least_width, rel=0.06)


def test_atoms_in_a_plane_or_a_row_have_no_facets():
    plane = np.array([*itertools.product(range(3), range(4), [0])], float)
    for positions, longest_diameter in (
        (plane, math.sqrt(13)),
        (np.arange(9.0).reshape(3, 3), math.sqrt(108)),
        (np.eye(3)[:2], math.sqrt(2)),
    ):
        body_description = describe_cluster(positions)
        assert (
            body_description.longest_diameter == pytest.approx(longest_diameter) and body_description.least_width == 0
        )
        assert math.isnan(body_description.facets_111) and body_description.type == body_description.name == ""


def test_a_sentence_states_all_that_is_known():
    bond = 2.78
    for family, label, text in (
        (
            "octahedron",
            "truncated octahedron length 7 cutoff 2",
            "truncated octahedron, 201 atoms, 17.6 x 13.6 Å, 78 % {111}, 22 % {100}",
        ),
        ("icosahedron", "3 shells", "Mackay icosahedron of 3 shells, 147 atoms, 16.2 x 12.9 Å, 100 % {111}"),
        ("bcc", "", "bcc, "),
        ("twin", "", "faulted close-packed, "),
    ):
        cluster = next(
            candidate for candidate in families.FAMILIES[family](140, 210) if not label or candidate.label == label
        )
        line = sentence(describe_cluster(cluster.positions * bond, family=family, label=label))
        assert line == text if label else line.startswith(text) and (family == "bcc") == ("%" not in line)
    twin_description = Description("", "faulted", 81, 18.8, 12.1, 0.32, 0.5, 0.004)
    assert (
        sentence(twin_description) == "faulted close-packed, 32 % hexagonal layers, 81 atoms, 18.8 x 12.1 Å, 50 % {111}"
    )
    assert sentence(twin_description._replace(type="fcc", hexagonal_share=0.08)).startswith(
        "fcc, 8 % hexagonal layers, 81 atoms"
    )
    assert sentence(twin_description._replace(type="hcp", hexagonal_share=1.0)).startswith("hcp, 81 atoms")
    unknown_description = Description("", "", 4, 3.0, 2.0, math.nan, math.nan, math.nan)
    assert sentence(unknown_description) == "of no known type, 4 atoms, 3.0 x 2.0 Å"
    assert sentence(unknown_description._replace(name="octahedron")) == "octahedron, 4 atoms, 3.0 x 2.0 Å"


def test_an_outline_has_the_name_of_the_rule_and_the_type_unless_the_name_implies_it():
    for family, label, structure_type, text in (
        ("octahedron", "truncated octahedron length 7 cutoff 2", "fcc", "truncated octahedron, 201 atoms, 17.6 Å"),
        ("decahedron", "(3,2,0)", "decahedron", "Ino decahedron, 201 atoms, 17.6 Å"),
        ("fcc", "planes (111) 2.04", "fcc", "fcc, 201 atoms, 17.6 Å"),
        ("twin", "", "faulted", "faulted close-packed, 201 atoms, 17.6 Å"),
        ("", "", "", "of no known type, 201 atoms, 17.6 Å"),
    ):
        assert outline(family, label, type=structure_type, atoms=201, longest=17.63) == text


def test_a_cube_keeps_its_type_and_lengths_scale():
    cube = describe_cluster(np.array(list(itertools.product(range(4), repeat=3)), float))
    assert sentence(rescale(cube, 2.0)) == "cube, sc, 64 atoms, 10.4 x 6.0 Å"
