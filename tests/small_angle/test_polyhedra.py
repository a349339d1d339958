import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxstruc.small_angle import named_polyhedra, polyhedra

BOX = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 3)], float)


def box_amplitude(q):
    """Return the amplitude of a box of 1 x 2 x 3 with its centre at the origin."""
    return np.prod(np.sinc(q * [1, 2, 3] / (2 * np.pi)) * [1, 2, 3], axis=-1)


@pytest.mark.parametrize("length", [1e-6, 0.3, 0.6, 2.0, 30.0])
def test_a_boxs_amplitude_is_a_product_of_sincs(length):
    """The directions include those along edges and within faces, where terms of the formula are 0 / 0."""
    unit_vectors = np.random.default_rng(0).normal(size=(300, 3))
    unit_vectors[:60] *= np.arange(60)[:, None] % 2 * [1, 1, 0] + (np.arange(60)[:, None] % 2 == 0) * [0, 0, 1]
    unit_vectors[60:90, 0] = 0
    unit_vectors[90:120, 1] *= 1e-9
    q = length * unit_vectors / np.linalg.norm(unit_vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(polyhedra.amplitude(polyhedra.centred_convex_hull(BOX), q), box_amplitude(q), atol=2e-8)


def test_a_face_normal_to_q_has_its_amplitude_however_the_body_is_rotated():
    rotation = Rotation.random(random_state=0).as_matrix()
    body = polyhedra.centred_convex_hull(BOX @ rotation.T)
    q = rotation[:, 2] * np.linspace(0.5, 20, 40)[:, None]
    np.testing.assert_allclose(polyhedra.amplitude(body, q), box_amplitude(q @ rotation), atol=1e-7)


def test_averages_are_those_of_a_box_by_quadrature():
    q = np.array([0.01, 0.5, 3.0, 8.0])
    quadrature = polyhedra.directions(polyhedra.OCTANTS[:1], 80)
    expected_averages = [
        [quadrature.weight @ (box_amplitude(length * quadrature.unit_vectors) / 6) ** power for length in q]
        for power in (2, 1)
    ]
    np.testing.assert_allclose(
        polyhedra.orientation_averages(polyhedra.centred_convex_hull(BOX), q), expected_averages, rtol=1e-8, atol=1e-12
    )


def test_averages_do_not_depend_on_how_a_body_is_turned():
    rotation = Rotation.random(random_state=1).as_matrix()
    q = np.array([0.5, 4.0, 9.0, 15.0])
    body = named_polyhedra.truncated_tetrahedron()
    rotated_body = polyhedra.centred_convex_hull(body.edge_starts @ rotation.T)
    np.testing.assert_allclose(
        polyhedra.orientation_averages(rotated_body, q), polyhedra.orientation_averages(body, q), rtol=1e-6, atol=1e-9
    )


def test_small_angles_give_the_radius_of_gyration():
    body, q = named_polyhedra.icosahedron(), np.array([0.01])
    form_factor = polyhedra.orientation_averages(body, q)[0, 0]
    assert (1 - form_factor) * 3 / q[0] ** 2 == pytest.approx(polyhedra.squared_radius_of_gyration(body), rel=1e-4)
    assert polyhedra.squared_radius_of_gyration(polyhedra.centred_convex_hull(BOX)) == pytest.approx((1 + 4 + 9) / 12)


def test_large_angles_give_porods_law_with_the_waves_of_parallel_faces():
    body = named_polyhedra.cube()
    porod_waves = polyhedra.porod_waves(body)
    constant = porod_waves[0.0][0]
    assert constant == pytest.approx(2 * np.pi * 6) and porod_waves[1.0][0] == pytest.approx(-12 * np.pi)
    assert porod_waves[1.0][2:] == pytest.approx(np.array([1, -1]) * 24 * np.sqrt(np.pi))
    q = np.linspace(150, 150 + 4 * np.pi, 40, endpoint=False)
    scaled_form_factors = polyhedra.orientation_averages(body, q, named_polyhedra.SYMMETRY_DOMAINS["cubic"])[0] * q**4
    assert scaled_form_factors.mean() == pytest.approx(constant, rel=2e-3)
    even_amplitudes, odd_amplitudes = porod_waves[1.0][:2, None] + porod_waves[1.0][2:, None] / np.sqrt(q)
    np.testing.assert_allclose(
        scaled_form_factors, constant + even_amplitudes * np.cos(q) + odd_amplitudes * np.sin(q), atol=0.02 * constant
    )


def test_joined_pieces_are_the_whole():
    halves = [polyhedra.convex_hull(BOX * [1, 0.5, 1] + [0, shift, 0]) for shift in (0, 1)]
    body, q = polyhedra.join_polyhedra(halves), np.random.default_rng(0).normal(size=(50, 3)) * 3
    assert body.volume == pytest.approx(6) and body.face_areas.sum() == pytest.approx(2 * (2 + 3 + 6))
    np.testing.assert_allclose(polyhedra.amplitude(body, q), box_amplitude(q), atol=1e-9)


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        (BOX[:3], "at least four finite corners"),
        (BOX[:4], "span a volume"),
        (BOX * np.nan, "at least four finite corners"),
    ],
)
def test_corners_without_a_volume_are_refused(corners, message):
    with pytest.raises(ValueError, match=message):
        polyhedra.centred_convex_hull(corners)
