import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.data import chemical_symbols
from jax.test_util import check_grads

from jaxstruc import clusters, form_factors, scattering, structure
from jaxstruc.scattering import Grid, Instrument

GRID = Grid(qmin=0.5, qmax=15.0, qstep=0.1, rmin=0.5, rmax=12.0, rstep=0.1)


def slow_debye(positions, f, q, uiso):
    """Return I(Q), written out again in NumPy."""
    total = np.sum(f**2, axis=0)
    for i in range(len(positions)):
        for j in range(len(positions)):
            if i != j:
                r = np.linalg.norm(positions[i] - positions[j])
                total = total + f[i] * f[j] * np.exp(-uiso * q**2) * np.sinc(q * r / np.pi)
    return total


def of(positions, numbers=None, dtype=jnp.float64):
    """Return pairs and presence of positions."""
    distances = structure.distances(jnp.asarray(positions, dtype))
    presence = jnp.ones(len(positions), dtype)
    return scattering.pairs(distances, presence), presence


def amplitudes_of(numbers, q):
    symbols = [chemical_symbols[number] for number in numbers]
    return form_factors.xray(form_factors.coefficients(symbols), q)


def test_intensity_is_the_debye_sum_written_out(fcc19, x64):
    q = np.linspace(0.0, 25, 101)
    f = np.array(amplitudes_of([79] * 10 + [29] * 9, jnp.asarray(q)))
    pairs, presence = of(fcc19)
    ours = scattering.intensity(pairs, Instrument(uiso=0.006), jnp.asarray(f), presence, jnp.asarray(q))
    np.testing.assert_allclose(ours, slow_debye(fcc19, f, q, 0.006), rtol=1e-11)


def test_forward_scattering_is_the_square_of_all_electrons(fcc19, x64):
    q = jnp.zeros(1)
    f = amplitudes_of([79] * 19, q)
    pairs, presence = of(fcc19)
    total = scattering.intensity(pairs, Instrument(uiso=0.01), f, presence, q)
    assert float(total[0]) == pytest.approx(float(jnp.sum(f)) ** 2)


@pytest.mark.parametrize("uiso", [0.0, 0.005])
def test_fine_curves_agree_with_diffpy(golden, uiso, x64):
    """The bound is the referee's rounding: both are full sums in double precision."""
    q = jnp.asarray(golden["fine_Q"])
    f = amplitudes_of(golden["numbers"], q)
    pairs, presence = of(golden["positions"])
    name = "U0" if uiso == 0 else "U005"
    for curve, function in (
        ("I", scattering.intensity),
        ("S", scattering.structure_function),
        ("F", scattering.reduced_structure_function),
    ):
        ours = np.asarray(function(pairs, Instrument(uiso=uiso), f, presence, q))
        theirs = golden[f"fine_{curve}_{name}"]
        assert np.abs(ours - theirs)[1:].max() < 1e-9 * np.abs(theirs).max(), curve


@pytest.mark.parametrize("name", ["A", "D", "G"])
def test_pdfs_agree_with_diffpy(golden, name, x64):
    """On the referee's Q grid, limits and rectangle rule; set G has one Uiso an atom, D all other parameters."""
    given = golden["meta"]["sets"][name]
    q, r = jnp.asarray(golden[f"{name}_Q"]), jnp.asarray(golden[f"r_{name}"])
    uiso = golden["U_G"] if name == "G" else golden["meta"]["Uiso"][name]
    instrument = Instrument(
        uiso=jnp.asarray(uiso),
        **{k: given[k] for k in ("delta1", "delta2", "qdamp", "qbroad", "scale") if k in given},
    )
    f = amplitudes_of(golden["numbers"], q)
    pairs, presence = of(golden["positions"])
    reduced = scattering.reduced_structure_function(pairs, instrument, f, presence, q)
    np.testing.assert_allclose(reduced, golden[f"{name}_F"], atol=1e-9 * np.abs(golden[f"{name}_F"]).max())
    step = q[1] - q[0]
    weights = jnp.where(jnp.arange(q.size) >= jnp.ceil(given["qmin"] / step - 1e-9), step, 0.0)
    ours = scattering.envelope(instrument, r) * scattering.sine_transform(reduced, q, weights, r)
    np.testing.assert_allclose(ours, golden[f"{name}_G"], atol=1e-9 * np.abs(golden[f"{name}_G"]).max())


def test_single_precision_follows_double(fcc19):
    def curve(dtype):
        distances = structure.distances(jnp.asarray(fcc19, dtype))
        f = amplitudes_of([79] * 19, jnp.asarray(GRID.q, dtype))
        instrument = Instrument(uiso=0.01, delta2=2.0, qdamp=0.04)
        return scattering.pdf(distances, jnp.ones(19, dtype), f, instrument, GRID)

    single = curve(jnp.float32)
    assert single.dtype == jnp.float32
    with jax.enable_x64(True):
        double = np.asarray(curve(jnp.float64))
    assert np.abs(single - double).max() < 2e-5 * np.abs(double).max()


def test_padding_adds_nothing(fcc19, x64):
    f = amplitudes_of([79] * 19, jnp.asarray(GRID.q))
    instrument = Instrument(uiso=0.01, delta1=0.1, qdamp=0.04)
    alone = scattering.pdf(structure.distances(jnp.asarray(fcc19)), jnp.ones(19), f, instrument, GRID)
    positions = jnp.pad(jnp.asarray(fcc19), ((0, 6), (0, 0)))
    padded = scattering.pdf(
        structure.distances(positions),
        jnp.arange(25) < 19.0,
        jnp.pad(f, ((0, 6), (0, 0)), mode="edge"),
        instrument,
        GRID,
    )
    np.testing.assert_allclose(padded, alone, atol=1e-12)


def test_the_order_of_atoms_and_rotations_change_nothing(fcc19, x64):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    order = np.random.default_rng(1).permutation(19)
    f = amplitudes_of([79] * 9 + [29] * 10, jnp.asarray(GRID.q))
    one = scattering.pdf(structure.distances(jnp.asarray(fcc19)), jnp.ones(19), f, Instrument(0.01), GRID)
    two = scattering.pdf(
        structure.distances(jnp.asarray((fcc19 @ turn)[order])),
        jnp.ones(19),
        f[order],
        Instrument(0.01),
        GRID,
    )
    np.testing.assert_allclose(one, two, atol=1e-10)


def test_stretch_is_a_scaling_of_the_positions(fcc19, x64):
    f = amplitudes_of([79] * 19, jnp.asarray(GRID.q))
    given = Instrument(uiso=0.01, delta2=2.0, qbroad=0.02)
    longer = scattering.pdf(structure.distances(jnp.asarray(1.02 * fcc19)), jnp.ones(19), f, given, GRID)
    stretched = scattering.pdf(
        structure.distances(jnp.asarray(fcc19)), jnp.ones(19), f, given._replace(stretch=1.02), GRID
    )
    np.testing.assert_allclose(stretched, longer, atol=1e-12)


def test_the_weights_of_q_integrate_a_constant_between_any_limits(x64):
    q = jnp.arange(0, 10.01, 0.1)
    assert float(scattering.q_weights(q, 0.73, 8.21).sum()) == pytest.approx(8.21 - 0.73)
    inner = scattering.q_weights(q, 0.0, 10.0)
    np.testing.assert_allclose(inner[1:-1], 0.1)
    np.testing.assert_allclose(inner[jnp.array([0, -1])], 0.05)


def test_gradients_through_positions_are_right_and_not_zero(x64):
    positions = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)) * 3)
    f = amplitudes_of([79, 79, 29, 29, 29, 29], jnp.asarray(GRID.q))
    target = jnp.sin(jnp.asarray(GRID.r))

    def misfit(positions, uiso, delta1, delta2, qdamp, qbroad, scale, stretch):
        instrument = Instrument(uiso, delta1, delta2, qdamp, qbroad, scale, stretch)
        g = scattering.pdf(structure.distances(positions), jnp.ones(6), f, instrument, GRID)
        return jnp.sum((g - target) ** 2)

    at = (positions, 0.01, 0.1, 0.2, 0.04, 0.02, 0.8, 1.01)
    check_grads(misfit, at, order=1, modes=["rev", "fwd"], rtol=1e-5)
    for gradient in jax.grad(misfit, argnums=tuple(range(8)))(*at):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4


def test_coincident_atoms_give_finite_curves_and_gradients():
    f = jnp.ones((3, GRID.q.size))

    def total(positions):
        g = scattering.pdf(
            structure.distances(positions), jnp.ones(3), f, Instrument(0.01, delta2=2.0), GRID, floor=0.1
        )
        return jnp.sum(g**2)

    value, gradient = jax.value_and_grad(total)(jnp.array([[0.0, 0, 0], [0, 0, 0], [2.5, 0, 0]]))
    assert np.isfinite(value) and np.isfinite(gradient).all() and np.abs(gradient[2]).max() > 0


def test_chunks_of_the_exact_sum_agree_with_one_piece(fcc19, x64, monkeypatch):
    pairs, presence = of(fcc19)
    q = jnp.asarray(GRID.q)
    f = amplitudes_of([79] * 19, q)
    whole = scattering.intensity(pairs, Instrument(0.01), f, presence, q)
    monkeypatch.setattr(scattering, "CHUNK", 1000)
    np.testing.assert_allclose(scattering.intensity(pairs, Instrument(0.01), f, presence, q), whole, rtol=1e-12)


def test_binned_pairs_and_the_sum_of_gaussians_follow_the_exact_sum(x64):
    """Distances with errors, so that bins are filled unevenly: what is left is their skewness, 1e-3 of the maximum."""
    rng = np.random.default_rng(0)
    positions = clusters.fcc((3, 4, 3)).positions * 2.78 + 0.03 * rng.normal(size=(87, 3))
    pairs, _ = of(positions)
    instrument = Instrument(uiso=0.008, delta2=2.0)
    q, r, fine = jnp.linspace(1.0, 25.0, 600), jnp.arange(1.5, 20, 0.05), jnp.arange(0, 27, 0.06)
    weights = scattering.q_weights(q, 1.0, 25.0)
    variance = scattering.pair_variance(pairs, instrument)
    exact = scattering.sine_transform(
        q * scattering.debye_sum(pairs, variance, jnp.ones((87, q.size)), q) / 87, q, weights, r
    )
    gathered = scattering.binned(pairs, width=0.06, bins=400)
    assert float(gathered.weight.sum()) == 87 * 86
    summed = scattering.peaks(gathered, scattering.pair_variance(gathered, instrument) + 0.0064, 87, fine)
    ours = scattering.band_pass(r, fine, q, weights, blur=0.0064) @ summed
    assert np.abs(ours - exact).max() < 1.5e-3 * np.abs(exact).max()


def test_grids_include_both_ends():
    assert GRID.q[0] == 0.5 and GRID.q[-1] == pytest.approx(15.0)
    assert len(Grid().r) == 301 and Grid().r[-1] == pytest.approx(30.0)
