import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.small_angle import form_factors, named_polyhedra, polyhedra

BODY_NAMES = tuple(form_factors.named_bodies())
form_factor = jax.jit(form_factors.form_factor)
amplitude = jax.jit(form_factors.mean_amplitude)


def deviation_scale(squared_amplitude, x):
    """Return P or its envelope, whichever is larger, as the unit of deviations."""
    return np.maximum(squared_amplitude, 4.5 / np.maximum(x, 1.3) ** 4)


def test_the_spheres_table_is_its_formula(x64):
    x = jnp.linspace(0, 199.9, 20011)
    exact_values = np.asarray(form_factors.sphere(x))
    table_values = form_factor(form_factors.named_table("sphere"), x)
    np.testing.assert_array_less(np.abs(table_values - exact_values) / deviation_scale(exact_values, x), 1e-6)
    mean_amplitudes = amplitude(form_factors.named_table("sphere"), x)
    np.testing.assert_allclose(mean_amplitudes, form_factors.sphere_amplitude(x), atol=1e-7)


@pytest.mark.parametrize("name", named_polyhedra.NAMED_POLYHEDRA)
def test_tables_follow_the_face_and_edge_formula_between_their_points(name, x64):
    """Compare between the stored x, and at one large x, with the accuracy that the module states."""
    x = np.array([0.013, 0.577, 1.618, 2.236, 3.317, 5.744, 9.381, 17.17, 37.37])
    make_body, domain = named_polyhedra.NAMED_POLYHEDRA[name]
    body = make_body()
    radius = (3 * body.volume / (4 * np.pi)) ** (1 / 3)
    squared_amplitudes, mean_amplitudes = polyhedra.orientation_averages(
        body, x / radius, named_polyhedra.SYMMETRY_DOMAINS[domain]
    )
    table_values = form_factor(form_factors.named_table(name), jnp.asarray(x))
    np.testing.assert_array_less(
        np.abs(table_values - squared_amplitudes) / deviation_scale(squared_amplitudes, x), 4e-6
    )
    np.testing.assert_allclose(amplitude(form_factors.named_table(name), jnp.asarray(x)), mean_amplitudes, atol=1e-6)


@pytest.mark.parametrize("name", BODY_NAMES)
def test_small_and_large_angles_are_guiniers_and_porods(name, x64):
    body, table = form_factors.named_bodies()[name], form_factors.named_table(name)
    x = jnp.asarray([0.0, 0.01])
    value_at_zero, value_near_zero = form_factor(table, x)
    assert value_at_zero == pytest.approx(1, abs=1e-12)
    assert (1 - value_near_zero) * 3e4 == pytest.approx(body.radius_of_gyration**2, rel=5e-4)
    for large_x in (jnp.linspace(120, 200, 4001), jnp.linspace(200, 280, 4001)):
        assert np.mean(form_factor(table, large_x) * large_x**4) == pytest.approx(4.5 * body.relative_surface, rel=2e-2)


@pytest.mark.parametrize("name", BODY_NAMES)
def test_tables_continue_smoothly_into_their_tails(name, x64):
    value_before, value_after = form_factor(form_factors.named_table(name), jnp.asarray([199.999, 200.001]))
    assert abs(value_before - value_after) * 200**4 < 0.09 * 4.5 * form_factors.named_bodies()[name].relative_surface


def test_radii_of_gyration_are_the_known_ones():
    """Compare with known values in units of R_eq."""
    known_radii = {"sphere": 0.775, "icosahedron": 0.780, "truncated octahedron": 0.783, "cuboctahedron": 0.786}
    known_radii |= {"octahedron": 0.803, "cube": 0.807, "decahedron": 0.842, "tetrahedron": 0.901}
    for name, value in known_radii.items():
        assert form_factors.named_bodies()[name].radius_of_gyration == pytest.approx(value, abs=1.5e-3)


@pytest.mark.parametrize("name", ["sphere", "cube", "tetrahedron"])
def test_slopes_are_right_also_at_small_angles(name, x64):
    table = form_factors.named_table(name)
    x = jnp.asarray([1e-3, 0.3, 2.2, 7.7, 40.4, 199.0, 230.0])
    step = 1e-5 * x
    values_above, values_below = (np.asarray(form_factor(table, x + shift)) for shift in (step, -step))
    slope = jax.jit(jax.vmap(jax.grad(form_factors.form_factor, argnums=1), (None, 0)))(table, x)
    np.testing.assert_allclose(slope, (values_above - values_below) / (2 * step), rtol=1e-4)
    assert slope[0] / x[0] == pytest.approx(
        -2 / 3 * form_factors.named_bodies()[name].radius_of_gyration ** 2, rel=1e-3
    )


def test_bodies_stack_into_one_batch_in_single_precision():
    x = np.float32(np.linspace(0, 60, 501))
    batch = jax.jit(jax.vmap(form_factors.form_factor, (0, None)))(
        form_factors.stack_tables(BODY_NAMES), jnp.asarray(x)
    )
    assert batch.dtype == jnp.float32 and batch.shape == (len(BODY_NAMES), len(x))
    with jax.enable_x64(True):
        exact_values = np.stack(
            [form_factor(form_factors.named_table(name), jnp.asarray(x, float)) for name in BODY_NAMES]
        )
    np.testing.assert_array_less(np.abs(batch - exact_values) / deviation_scale(exact_values, x), 2e-5)


@pytest.mark.parametrize("aspect", [0.4, 3.0])
def test_tables_of_one_aspect_are_their_bodies(aspect, x64):
    x = jnp.linspace(0, 30, 307)
    for table, body in [
        (form_factors.spheroid_table, form_factors.spheroid),
        (form_factors.cylinder_table, form_factors.cylinder),
    ]:
        exact_values = np.asarray(body(x, aspect))
        table_values = form_factor(table(aspect), x)
        np.testing.assert_array_less(np.abs(table_values - exact_values) / deviation_scale(exact_values, x), 4e-6)
        value_before, value_after = form_factor(table(aspect), jnp.asarray([199.999, 200.001]))
        assert abs(value_before - value_after) < 0.05 * 4.5 / 200**4


def test_a_users_own_body_is_tabulated(x64):
    """Tabulate a rotated cube over a short range of x."""
    corners = named_polyhedra.cube().edge_starts @ np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]])
    cube_table = form_factors.polyhedron_table(polyhedra.centred_convex_hull(3.0 * corners), max_x=6.0)
    x = jnp.linspace(0, 5.9, 60)
    np.testing.assert_allclose(form_factor(cube_table, x), form_factor(form_factors.named_table("cube"), x), atol=2e-6)


def test_an_unknown_body_is_refused():
    with pytest.raises(ValueError, match=r"Unknown body 'ball'.*sphere, cube"):
        form_factors.named_table("ball")


@pytest.mark.slow
def test_the_committed_tables_are_those_of_the_formula():
    """Compare all stored values of one body, and the values at large x of every body."""
    for name, (make_body, domain) in named_polyhedra.NAMED_POLYHEDRA.items():
        body = make_body()
        radius = (3 * body.volume / (4 * np.pi)) ** (1 / 3)
        stored_arrays = form_factors._read_table_file()
        squared_amplitudes, mean_amplitudes = polyhedra.orientation_averages(
            body, np.array([80.0, 150.0]) / radius, named_polyhedra.SYMMETRY_DOMAINS[domain]
        )
        np.testing.assert_allclose(stored_arrays[f"{name}/square"][[400, 750]], squared_amplitudes, rtol=1e-6)
        np.testing.assert_allclose(stored_arrays[f"{name}/mean"][[400, 750]], mean_amplitudes, rtol=1e-4, atol=1e-10)
