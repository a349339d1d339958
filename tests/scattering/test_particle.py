import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstruc.scattering import curved, particle, polyhedra, solids

NAMES = tuple(particle.bodies())
form_factor = jax.jit(particle.form_factor)
amplitude = jax.jit(particle.amplitude)


def envelope(square, x):
    """Return the larger of P and what it tends to, which deviations are judged by."""
    return np.maximum(square, 4.5 / np.maximum(x, 1.3) ** 4)


def test_the_spheres_table_is_its_formula(x64):
    x = jnp.linspace(0, 199.9, 20011)
    exact = np.asarray(curved.sphere(x))
    found = form_factor(particle.table("sphere"), x)
    np.testing.assert_array_less(np.abs(found - exact) / envelope(exact, x), 1e-6)
    mean = amplitude(particle.table("sphere"), x)
    np.testing.assert_allclose(mean, curved.sphere_amplitude(x), atol=1e-7)


@pytest.mark.parametrize("name", solids.SOLIDS)
def test_tables_are_the_face_and_edge_formula_between_their_places(name, x64):
    """At places that are no multiple of anything, one of them far out; as accurate as the module says."""
    x = np.array([0.013, 0.577, 1.618, 2.236, 3.317, 5.744, 9.381, 17.17, 37.37])
    make, domain = solids.SOLIDS[name]
    body = make()
    radius = (3 * body.volume / (4 * np.pi)) ** (1 / 3)
    square, mean = polyhedra.averages(body, x / radius, solids.DOMAINS[domain])
    found = form_factor(particle.table(name), jnp.asarray(x))
    np.testing.assert_array_less(np.abs(found - square) / envelope(square, x), 4e-6)
    np.testing.assert_allclose(amplitude(particle.table(name), jnp.asarray(x)), mean, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_small_and_large_angles_are_guiniers_and_porods(name, x64):
    body, table = particle.bodies()[name], particle.table(name)
    x = jnp.asarray([0.0, 0.01])
    first, second = form_factor(table, x)
    assert first == pytest.approx(1, abs=1e-12)
    assert (1 - second) * 3e4 == pytest.approx(body.gyration**2, rel=5e-4)
    for far in (jnp.linspace(120, 200, 4001), jnp.linspace(200, 280, 4001)):
        assert np.mean(form_factor(table, far) * far**4) == pytest.approx(4.5 * body.surface, rel=2e-2)


@pytest.mark.parametrize("name", NAMES)
def test_tables_go_on_into_their_tails(name, x64):
    before, after = form_factor(particle.table(name), jnp.asarray([199.999, 200.001]))
    assert abs(before - after) * 200**4 < 0.09 * 4.5 * particle.bodies()[name].surface


def test_radii_of_gyration_are_the_known_ones():
    """Over R_eq; the bipyramid's and others' as prototypes with atoms had them."""
    known = {"sphere": 0.775, "icosahedron": 0.780, "truncated octahedron": 0.783, "cuboctahedron": 0.786}
    known |= {"octahedron": 0.803, "cube": 0.807, "decahedron": 0.842, "tetrahedron": 0.901}
    for name, value in known.items():
        assert particle.bodies()[name].gyration == pytest.approx(value, abs=1.5e-3)


@pytest.mark.parametrize("name", ["sphere", "cube", "tetrahedron"])
def test_slopes_are_right_also_at_small_angles(name, x64):
    table = particle.table(name)
    x = jnp.asarray([1e-3, 0.3, 2.2, 7.7, 40.4, 199.0, 230.0])
    step = 1e-5 * x
    ahead, behind = (np.asarray(form_factor(table, x + s)) for s in (step, -step))
    slope = jax.jit(jax.vmap(jax.grad(particle.form_factor, argnums=1), (None, 0)))(table, x)
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-4)
    assert slope[0] / x[0] == pytest.approx(-2 / 3 * particle.bodies()[name].gyration ** 2, rel=1e-3)


def test_bodies_stack_into_one_batch_in_single_precision():
    x = np.float32(np.linspace(0, 60, 501))
    batch = jax.jit(jax.vmap(particle.form_factor, (0, None)))(particle.stacked(NAMES), jnp.asarray(x))
    assert batch.dtype == jnp.float32 and batch.shape == (len(NAMES), len(x))
    with jax.enable_x64(True):
        exact = np.stack([form_factor(particle.table(name), jnp.asarray(x, float)) for name in NAMES])
    np.testing.assert_array_less(np.abs(batch - exact) / envelope(exact, x), 2e-5)


@pytest.mark.parametrize("aspect", [0.4, 3.0])
def test_tables_of_one_aspect_are_their_bodies(aspect, x64):
    x = jnp.linspace(0, 30, 307)
    for table, body in [(particle.spheroid_table, curved.spheroid), (particle.cylinder_table, curved.cylinder)]:
        exact = np.asarray(body(x, aspect))
        found = form_factor(table(aspect), x)
        np.testing.assert_array_less(np.abs(found - exact) / envelope(exact, x), 4e-6)
        before, after = form_factor(table(aspect), jnp.asarray([199.999, 200.001]))
        assert abs(before - after) < 0.05 * 4.5 / 200**4


def test_a_users_own_body_is_tabulated(monkeypatch, x64):
    """A cube not on its axes, over a short range."""
    monkeypatch.setattr(particle, "LAST", 6.0)
    corners = solids.cube().starts @ np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]])
    own = particle.polyhedron_table(polyhedra.convex(3.0 * corners))
    x = jnp.linspace(0, 5.9, 60)
    np.testing.assert_allclose(form_factor(own, x), form_factor(particle.table("cube"), x), atol=2e-6)


def test_an_unknown_body_is_refused():
    with pytest.raises(ValueError, match=r"Expected a body among sphere, cube.*got 'ball'"):
        particle.table("ball")


@pytest.mark.slow
def test_the_committed_tables_are_those_of_the_formula():
    """All of what is stored of one body, and each body's far end."""
    for name, (make, domain) in solids.SOLIDS.items():
        body = make()
        radius = (3 * body.volume / (4 * np.pi)) ** (1 / 3)
        stored = particle._stored()
        square, mean = polyhedra.averages(body, np.array([80.0, 150.0]) / radius, solids.DOMAINS[domain])
        np.testing.assert_allclose(stored[f"{name}/square"][[400, 750]], square, rtol=1e-6)
        np.testing.assert_allclose(stored[f"{name}/mean"][[400, 750]], mean, rtol=1e-4, atol=1e-10)
