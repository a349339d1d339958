import itertools
import math

import numpy as np
import pytest
from ase.cluster import Decahedron, Icosahedron, Octahedron
from scipy.spatial.distance import pdist

from jaxstruc.structures import families, lattices
from jaxstruc.structures.words import Description, description, outline, rescale, sentence

CONSTANT = math.sqrt(2)
"""Of an fcc lattice with bonds of 1."""
SHAPES = {
    "octahedron": Octahedron("Au", 5, 0, latticeconstant=CONSTANT).positions,
    "truncated octahedron": Octahedron("Au", 7, 2, latticeconstant=CONSTANT).positions,
    "cuboctahedron": Octahedron("Au", 7, 3, latticeconstant=CONSTANT).positions,
    "Ino decahedron": Decahedron("Au", 4, 3, 0, latticeconstant=CONSTANT).positions,
    "icosahedron": Icosahedron("Au", 4, latticeconstant=CONSTANT).positions,
    "fcc sphere": next(x.positions for x in families.fcc(150, 200) if x.label.startswith("sphere")),
    "faulted": next(x.positions for x in families.faults(150, 200)),
    "bcc": next(x.positions for x in families.bcc(150, 200)),
}


def tetrahedron(edge):
    """Return the fcc tetrahedron with that many atoms along an edge, bonds of 1."""
    steps = itertools.product(range(edge), repeat=3)
    return np.array([(i + j, i + k, j + k) for i, j, k in steps if i + j + k < edge]) / math.sqrt(2)


def turned(x, seed=5):
    """Return positions turned by odd angles, moved, in another order."""
    rng = np.random.default_rng(seed)
    return rng.permutation(x @ np.linalg.qr(rng.normal(size=(3, 3)))[0].T + [3, -8, 2])


def named(family, least=5, most=300):
    """Return the names of a family's clusters by their labels."""
    return {
        x.label: description(x.positions, family=family, label=x.label).name
        for x in families.FAMILIES[family](least, most)
    }


def test_octahedra_are_called_as_their_labels_say():
    names = named("octahedron")
    assert names["octahedron length 4 cutoff 0"] == "octahedron"
    assert names["cuboctahedron length 5 cutoff 2"] == "cuboctahedron"
    assert names["truncated octahedron length 7 cutoff 2"] == "truncated octahedron"
    assert set(names.values()) == {"octahedron", "cuboctahedron", "truncated octahedron"}


def test_decahedra_are_called_by_their_grooves_and_height():
    names = named("decahedron", 5, 40) | named("decahedron", 50, 80)
    assert names["(2,1,0)"] == names["(3,1,0)"] == "pentagonal bipyramid"
    assert names["(3,2,0)"] == "Ino decahedron" and names["(2,2,1)"] == "Marks decahedron"
    spheres = {name for label, name in names.items() if label.startswith("sphere")}
    assert spheres == {"", "cube"} and len(names) > 100  # 14 atoms of one grain are an fcc cube


def test_icosahedra_are_called_by_their_shells():
    names = named("icosahedron", 5, 20) | named("icosahedron", 50, 56) | named("icosahedron", 140, 150)
    assert names["1 shells"] == "Mackay icosahedron of 1 shell"
    assert names["3 shells"] == "Mackay icosahedron of 3 shells"
    assert sum(name != "" for name in names.values()) == 3 and len(names) > 50


def test_other_bodies_are_called_by_their_facets_where_all_are_equal():
    cube = np.array(list(itertools.product(range(4), repeat=3)), float)
    box = np.array(list(itertools.product(range(4), range(4), range(5))), float)
    rhombohedron = cube @ np.array([(0, 1, 1), (1, 0, 1), (1, 1, 0)]) / math.sqrt(2)
    bcc = {x.label: x for x in families.bcc(60, 70)}
    dodecahedron = next(
        x for label, x in bcc.items() if label.startswith("planes (110) 1.63 (100) 2.31 less (111) 0.0")
    )
    for x, name in (
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
        assert description(turned(x).astype(np.float32)).name == name
    tetrahedra = [name for label, name in named("fcc", 10, 30).items() if "(-1-1-1)" in label]
    assert {"", "tetrahedron"} <= set(tetrahedra) <= {"", "tetrahedron", "octahedron", "cube"}


def test_facets_of_fcc_bodies_are_those_of_geometry():
    """Areas for an edge of 1: triangle √3/4, hexagon 3√3/2, square 1."""
    triangle, hexagon = math.sqrt(3) / 4, 3 * math.sqrt(3) / 2
    for shape, close_packed, square in (
        ("octahedron", 8 * triangle, 0),
        ("cuboctahedron", 8 * triangle, 6),
        ("truncated octahedron", 8 * hexagon, 6),
    ):
        found = description(turned(SHAPES[shape]))
        assert found.facets_111 == pytest.approx(close_packed / (close_packed + square), abs=1e-6)
        assert found.facets_100 == pytest.approx(square / (close_packed + square), abs=1e-6)


def test_facets_of_decahedra_and_icosahedra_are_those_of_geometry():
    """An Ino decahedron of edges a and height h has ten triangles and five rectangles; its strain is 2 %."""
    for p, q in ((3, 2), (4, 3), (3, 5)):
        found = description(turned(Decahedron("Au", p, q, 0).positions))
        triangles, squares = 10 * math.sqrt(3) / 4 * (p - 1) ** 2, 5 * (p - 1) * (q - 1)
        assert found.facets_111 == pytest.approx(triangles / (triangles + squares), abs=0.01)
        assert found.facets_100 == pytest.approx(1 - found.facets_111, abs=1e-6)
    for shells in (2, 4):
        found = description(turned(Icosahedron("Au", shells).positions))
        assert found.facets_111 == pytest.approx(1) and found.facets_100 == 0


def test_facets_between_are_neither_and_hcp_has_a_base_alone():
    rods = next(x for x in families.fcc(60, 300) if "[001]" in x.label and "less (111) 0.0" in x.label).positions
    sphere = description(SHAPES["fcc sphere"])
    assert 0.1 < sphere.facets_111 + sphere.facets_100 < 0.95
    assert description(rods).facets_100 == pytest.approx(1) and description(rods).facets_111 == 0
    stack = lattices.stack("h")
    prism = stack[(np.linalg.norm(stack[:, :2], axis=1) < 2.01) & (abs(stack[:, 2]) < 2)]
    found, height = description(prism), np.ptp(prism[:, 2])
    base, sides = 2 * 6 * math.sqrt(3) / 4 * 4, 6 * 2 * height
    assert found.type == "hcp" and found.facets_111 == pytest.approx(base / (base + sides), abs=0.12)
    assert math.isnan(found.facets_100)
    assert "{0001}" in sentence(found) and "{1" not in sentence(found)
    for other in (SHAPES["bcc"], np.array(list(itertools.product(range(4), repeat=3)), float)):
        assert math.isnan(description(other).facets_111) and math.isnan(description(other).facets_100)


def test_diameters_of_bodies_are_those_of_geometry():
    """Widths for an edge a: octahedron a √(2/3), tetrahedron a / √2 across two edges, cuboctahedron a √2, cube a."""
    cube = np.array(list(itertools.product(range(4), repeat=3)), float)
    for x, longest, shortest in (
        (SHAPES["octahedron"], 4 * math.sqrt(2), 4 * math.sqrt(2 / 3)),
        (tetrahedron(5), 4, 4 / math.sqrt(2)),
        (SHAPES["cuboctahedron"], 6, 3 * math.sqrt(2)),
        (cube, 3 * math.sqrt(3), 3),
    ):
        found = description(turned(x) * 2.78)
        assert found.longest == pytest.approx(2.78 * longest) and found.shortest == pytest.approx(2.78 * shortest)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_direction_is_narrower_and_no_pair_longer(shape):
    """Among many directions; for displaced atoms, whose edges are too many to try all, nearly so."""
    ways = np.random.default_rng(0).normal(size=(20000, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    for width, room in ((0.0, 1e-3), (0.03, 0.02)):
        x = turned(SHAPES[shape]) + width * np.random.default_rng(1).normal(size=SHAPES[shape].shape)
        found, least = description(x), np.ptp(ways @ x.T, axis=1).min()
        assert least * 0.93 < found.shortest < least * (1 + room)
        assert found.longest == pytest.approx(pdist(x).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_turning_changes_nothing_and_the_unit_lengths_alone(shape):
    first = description(SHAPES[shape])
    other = description(turned(SHAPES[shape] * 2.5))
    assert other[:3] == first[:3]
    np.testing.assert_allclose(np.array(other[3:5]) / 2.5, first[3:5], rtol=1e-3)
    np.testing.assert_allclose(other[5:], first[5:], atol=1e-3)


@pytest.mark.parametrize("shape", ["truncated octahedron", "cuboctahedron", "Ino decahedron", "icosahedron"])
def test_displaced_atoms_keep_their_facets(shape):
    first = description(SHAPES[shape])
    for seed in range(5):
        x = SHAPES[shape] + 0.03 * np.random.default_rng(seed).normal(size=SHAPES[shape].shape)
        found = description(turned(x))
        np.testing.assert_allclose(found[6:], first[6:], atol=0.04)
        assert found.longest == pytest.approx(first.longest, rel=0.04)
        assert found.shortest == pytest.approx(first.shortest, rel=0.06)


def test_atoms_in_a_plane_or_a_row_have_no_facets():
    plane = np.array([*itertools.product(range(3), range(4), [0])], float)
    for x, longest in (
        (plane, math.sqrt(13)),
        (np.arange(9.0).reshape(3, 3), math.sqrt(108)),
        (np.eye(3)[:2], math.sqrt(2)),
    ):
        found = description(x)
        assert found.longest == pytest.approx(longest) and found.shortest == 0
        assert math.isnan(found.facets_111) and found.type == found.name == ""


def test_a_sentence_says_what_there_is():
    bond = 2.78
    for family, label, said in (
        (
            "octahedron",
            "truncated octahedron length 7 cutoff 2",
            "truncated octahedron, 201 atoms, 17.6 x 13.6 Å, 78 % {111}, 22 % {100}",
        ),
        ("icosahedron", "3 shells", "Mackay icosahedron of 3 shells, 147 atoms, 16.2 x 12.9 Å, 100 % {111}"),
        ("bcc", "", "bcc, "),
        ("twin", "", "faulted close-packed, "),
    ):
        cluster = next(x for x in families.FAMILIES[family](140, 210) if not label or x.label == label)
        line = sentence(description(cluster.positions * bond, family=family, label=label))
        assert line == said if label else line.startswith(said) and (family == "bcc") == ("%" not in line)
    twin = Description("", "faulted", 81, 18.8, 12.1, 0.32, 0.5, 0.004)
    assert sentence(twin) == "faulted close-packed, 32 % hexagonal layers, 81 atoms, 18.8 x 12.1 Å, 50 % {111}"
    assert sentence(twin._replace(type="fcc", hexagonal=0.08)).startswith("fcc, 8 % hexagonal layers, 81 atoms")
    assert sentence(twin._replace(type="hcp", hexagonal=1.0)).startswith("hcp, 81 atoms")
    nothing = Description("", "", 4, 3.0, 2.0, math.nan, math.nan, math.nan)
    assert sentence(nothing) == "of no known type, 4 atoms, 3.0 x 2.0 Å"
    assert sentence(nothing._replace(name="octahedron")) == "octahedron, 4 atoms, 3.0 x 2.0 Å"


def test_an_outline_has_the_name_of_the_rule_and_the_type_unless_the_name_implies_it():
    for family, label, type_, said in (
        ("octahedron", "truncated octahedron length 7 cutoff 2", "fcc", "truncated octahedron, 201 atoms, 17.6 Å"),
        ("decahedron", "(3,2,0)", "decahedron", "Ino decahedron, 201 atoms, 17.6 Å"),
        ("fcc", "planes (111) 2.04", "fcc", "fcc, 201 atoms, 17.6 Å"),
        ("twin", "", "faulted", "faulted close-packed, 201 atoms, 17.6 Å"),
        ("", "", "", "of no known type, 201 atoms, 17.6 Å"),
    ):
        assert outline(family, label, type=type_, atoms=201, longest=17.63) == said


def test_a_cube_keeps_its_type_and_lengths_scale():
    cube = description(np.array(list(itertools.product(range(4), repeat=3)), float))
    assert sentence(rescale(cube, 2.0)) == "cube, sc, 64 atoms, 10.4 x 6.0 Å"
