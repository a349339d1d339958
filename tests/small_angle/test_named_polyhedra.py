import numpy as np
import pytest

from jaxstruc.small_angle import named_polyhedra, polyhedra

KNOWN_GEOMETRY = {
    "cube": (6, 1, 6),
    "octahedron": (8, np.sqrt(2) / 3, 2 * np.sqrt(3)),
    "truncated octahedron": (14, 8 * np.sqrt(2), 6 + 12 * np.sqrt(3)),
    "cuboctahedron": (14, 5 * np.sqrt(2) / 3, 6 + 2 * np.sqrt(3)),
    "tetrahedron": (4, 1 / np.sqrt(72), np.sqrt(3)),
    "truncated tetrahedron": (8, 23 * np.sqrt(2) / 12, 7 * np.sqrt(3)),
    "decahedron": (10, (5 + np.sqrt(5)) / 12, 5 * np.sqrt(3) / 2),
    "marks decahedron": (25, None, None),
    "icosahedron": (20, 5 * (3 + np.sqrt(5)) / 12, 5 * np.sqrt(3)),
    "dodecahedron": (12, (15 + 7 * np.sqrt(5)) / 4, 3 * np.sqrt(25 + 10 * np.sqrt(5))),
    "rhombic dodecahedron": (12, 16 * np.sqrt(3) / 9, 8 * np.sqrt(2)),
    "hexagonal prism": (8, 3 * np.sqrt(3), 12 + 3 * np.sqrt(3)),
}
"""Number of faces, volume and surface area of each polyhedron with edge length 1."""


@pytest.mark.parametrize("name", named_polyhedra.NAMED_POLYHEDRA)
def test_solids_have_the_faces_volumes_and_surfaces_of_the_books(name):
    body = named_polyhedra.NAMED_POLYHEDRA[name][0]()
    faces, volume, surface = KNOWN_GEOMETRY[name]
    assert len(body.normals) == faces
    if volume is not None:
        edges = np.linalg.norm(body.edge_ends - body.edge_starts, axis=1)
        np.testing.assert_allclose(edges.min(), 1, rtol=1e-9)
        assert body.volume == pytest.approx(volume) and body.face_areas.sum() == pytest.approx(surface)


def test_a_marks_decahedron_is_a_decahedron_less_its_cuts():
    """Compare with random points in one of its tetrahedra, in barycentric coordinates."""
    barycentric = np.random.default_rng(0).dirichlet(np.ones(4), 400_000)[:, 2:]
    is_inside = (barycentric.sum(axis=1) < 1 - named_polyhedra.MARKS_WALL_DEPTH) & (
        barycentric.max(axis=1) < 1 - named_polyhedra.MARKS_GROOVE_DEPTH
    )
    volume_ratio = named_polyhedra.marks_decahedron().volume / named_polyhedra.decahedron().volume
    assert volume_ratio == pytest.approx(is_inside.mean(), abs=3e-3)


@pytest.mark.parametrize(("name", "order"), [("cubic", 48), ("icosahedral", 120), ("fivefold", 40), ("sixfold", 24)])
def test_a_domain_is_the_sphere_divided_by_the_order_of_its_group(name, order):
    a, b, c = named_polyhedra.SYMMETRY_DOMAINS[name][0]
    solid_angle = 2 * np.arctan2(abs(np.linalg.det([a, b, c])), 1 + a @ b + b @ c + c @ a)
    assert 4 * np.pi / solid_angle == pytest.approx(order)


@pytest.mark.parametrize("name", named_polyhedra.NAMED_POLYHEDRA)
def test_a_domain_stands_for_all_directions(name):
    make_body, domain = named_polyhedra.NAMED_POLYHEDRA[name]
    body = make_body()
    q = np.array([2.0, 12.0]) / body.volume ** (1 / 3)
    full_averages = polyhedra.orientation_averages(body, q)
    np.testing.assert_allclose(
        polyhedra.orientation_averages(body, q, named_polyhedra.SYMMETRY_DOMAINS[domain]),
        full_averages,
        rtol=1e-6,
        atol=1e-8,
    )
