import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.data import chemical_symbols
from jax.test_util import check_grads

from jaxstruc import clusters, form_factors, scattering, simulation, structure
from jaxstruc.scattering import Grid, Instrument

GRID = Grid(qmin=0.5, qmax=15.0, qstep=0.1, rmin=0.5, rmax=12.0, rstep=0.1)
MIXED = np.array([0] * 10 + [1] * 9)
"""Kinds of 19 atoms of two elements."""


def slow_debye(positions, f, q, uiso):
    """Return I(Q), written out again in NumPy."""
    total = np.sum(f**2, axis=0)
    for i in range(len(positions)):
        for j in range(len(positions)):
            if i != j:
                r = np.linalg.norm(positions[i] - positions[j])
                total = total + f[i] * f[j] * np.exp(-uiso * q**2) * np.sinc(q * r / np.pi)
    return total


def of(positions, kinds=None):
    """Return pairs and composition of positions."""
    kinds = np.zeros(len(positions), int) if kinds is None else kinds
    return scattering.pairs_of(jnp.asarray(positions), np.ones(len(positions)), kinds), np.bincount(kinds).astype(float)


def pdf_of(positions, instrument, *, symbols=("Au",), kinds=None, grid=GRID):
    """Return G(r) of positions by the exact sum."""
    pairs, composition = of(positions, kinds)
    return simulation.pdf(pairs, form_factors.coefficients(list(symbols)), composition, instrument, grid)


def test_intensity_is_the_debye_sum_written_out(fcc19, x64):
    q = np.linspace(0.0, 25, 101)
    f = form_factors.xray(form_factors.coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = of(fcc19, MIXED)
    ours = scattering.intensity(pairs, Instrument(uiso=0.006), f, composition, jnp.asarray(q))
    np.testing.assert_allclose(ours, slow_debye(fcc19, np.asarray(f)[MIXED], q, 0.006), rtol=1e-11)


def test_forward_scattering_is_the_square_of_all_electrons(fcc19, x64):
    f = form_factors.xray(form_factors.coefficients(["Au", "Cu"]), jnp.zeros(1))
    pairs, composition = of(fcc19, MIXED)
    total = scattering.intensity(pairs, Instrument(uiso=0.01), f, composition, jnp.zeros(1))
    assert float(total[0]) == pytest.approx(float(composition @ f[:, 0]) ** 2)


@pytest.mark.parametrize("spread", [False, True])
def test_partials_sum_to_the_total(fcc19, spread, x64):
    q = np.linspace(0.0, 20, 81)
    f = form_factors.xray(form_factors.coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = of(fcc19, MIXED)
    if spread:
        pairs = scattering.spread(pairs, scattering.Nodes(9.0, 20.0), kinds=2)
    instrument = Instrument(uiso=jnp.array([0.005, 0.01]), delta2=1.0)
    parts = scattering.partials(pairs, instrument, f, composition, q)
    whole = scattering.reduced_structure_function(pairs, instrument, f, composition, q)
    assert parts.shape == (3, 81) and all(np.abs(part).max() > 0.05 for part in parts)
    np.testing.assert_allclose(parts.sum(0), whole, atol=1e-12)


def test_a_partial_is_the_curve_of_its_pairs_alone(fcc19, x64):
    """The gold-gold part times N <f>^2 / (n_Au f_Au^2) is F of the gold atoms alone."""
    q = np.linspace(0.5, 20, 79)
    f = form_factors.xray(form_factors.coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = of(fcc19, MIXED)
    part = scattering.partials(pairs, Instrument(uiso=0.01), f, composition, q)[0]
    alone, ten = of(fcc19[:10])
    gold = scattering.reduced_structure_function(alone, Instrument(uiso=0.01), f[:1], ten, q)
    np.testing.assert_allclose(part * (composition @ f) ** 2 / 19 / (10 * f[0] ** 2), gold, atol=1e-12)


def sample(golden):
    """Return the pairs, coefficients, composition and kinds of a reference structure, its equal distances merged."""
    scatterers = simulation.scatterers([chemical_symbols[number] for number in golden["numbers"]])
    pairs = scattering.pairs_of(jnp.asarray(golden["positions"]), np.ones(len(golden["numbers"])), scatterers.kinds)
    table = scattering.channels(len(scatterers.names))[0]
    keys = np.stack([table[pairs.first, pairs.second], np.round(np.asarray(pairs.distance), 11)], axis=1)
    _, first, places = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    weight = np.bincount(places.ravel(), np.asarray(pairs.weight))
    # Padded to a power of four, so that a compiled function serves several structures.
    padding = (0, 4 ** int(np.ceil(np.log(len(first)) / np.log(4))) - len(first))
    columns = (pairs.distance[first], weight, pairs.first[first], pairs.second[first])
    return scattering.Pairs(*(jnp.asarray(np.pad(column, padding)) for column in columns)), scatterers


def settings_of(golden, key, scatterers):
    """Return the instrument, coefficients, Q grid and Q weights of one of the referee's curves."""
    name, probe, _ = key.split("_")
    given, used = golden["meta"]["sets"][name], golden["meta"]["used"][key]
    first = [list(scatterers.kinds).index(kind) for kind in range(len(scatterers.names))]
    uiso = golden["U_G"][first] if name == "G" else golden["meta"]["Uiso"][name]
    named = {k: given[k] for k in ("delta1", "delta2", "qdamp", "qbroad", "scale") if k in given}
    coefficients = scatterers.coefficients
    if probe == "N":
        coefficients = simulation.scatterers(scatterers.names, probe="neutron").coefficients
    q = used.get("qstep", 1.0) * np.arange(used.get("nq", 1))
    kept = np.arange(q.size) >= np.ceil(given["qmin"] / used.get("qstep", 1.0) - 1e-9)
    return Instrument(uiso=jnp.asarray(uiso), **named), coefficients, q, jnp.where(kept, used.get("qstep", 1.0), 0.0)


def curves(golden, ending):
    """Return the names of the referee's curves of one calculator."""
    return [key.removesuffix("_G") for key in golden if key.endswith(f"{ending}_G")]


def assert_near(ours, golden, key, bound):
    assert np.abs(np.asarray(ours) - golden[key]).max() < bound * golden["meta"]["max"][key], key


reduced_of = jax.jit(scattering.reduced_structure_function)
peaks_of = jax.jit(scattering.peaks, static_argnames="cut")


def thinned(curve):
    """Return the points that `tools/make_golden.py` keeps."""
    stride = max(1, curve.size // 50)
    return curve[stride // 2 + 1 :: stride]


def test_fine_curves_agree_with_diffpy(golden, x64):
    """All of I, S, F and f, with and without Uiso; the bound is the referee's rounding."""
    pairs, scatterers = sample(golden)
    q = jnp.asarray(golden["fine_Q"])
    f = form_factors.xray(scatterers.coefficients, q)
    for row, name in zip(f, scatterers.names, strict=True):
        np.testing.assert_allclose(row, golden[f"f_{name}"], rtol=1e-9)
    for curve, function in (
        ("I", scattering.intensity),
        ("S", scattering.structure_function),
        ("F", scattering.reduced_structure_function),
    ):
        for ending, uiso in (("U0", 0.0), ("U005", 0.005)):
            ours = function(pairs, Instrument(uiso=uiso), f, scatterers.composition, q)
            assert_near(ours, golden, f"fine_{curve}_{ending}", 1e-9)


def test_the_debye_route_agrees_with_diffpy(golden, x64):
    """F and G on the referee's Q grid, limits, rectangle rule and window of pairs; X-rays and neutrons; all sets."""
    pairs, scatterers = sample(golden)
    for key in curves(golden, "debyex"):
        instrument, coefficients, q, weights = settings_of(golden, key, scatterers)
        used = golden["meta"]["used"][key]
        seen = (pairs.distance >= used["extendedrmin"]) & (pairs.distance <= used["extendedrmax"])
        f = form_factors.xray(coefficients, jnp.asarray(q))
        within = pairs._replace(weight=pairs.weight * seen)
        reduced = reduced_of(within, instrument, f, jnp.asarray(scatterers.composition), jnp.asarray(q))
        assert_near(thinned(reduced), golden, f"{key}_F", 1e-9)
        r = jnp.asarray(golden["r_" + key.split("_")[0]])
        g = scattering.envelope(instrument, r) * scattering.sine_transform(reduced, q, weights, r)
        assert_near(g, golden, f"{key}_G", 1e-9)


def test_the_real_space_route_agrees_with_diffpy(golden, x64):
    """On its extended r grid and its cut of the Gaussians; set E has no limits of Q. Uncut Gaussians: set A."""
    pairs, scatterers = sample(golden)
    for key in curves(golden, "rss"):
        instrument, coefficients, q, weights = settings_of(golden, key, scatterers)
        used, given = golden["meta"]["used"][key], golden["meta"]["sets"][key.split("_")[0]]
        amplitudes = form_factors.xray(coefficients, jnp.zeros(1))[:, 0]
        variance = scattering.pair_variance(pairs, instrument)  # that of the padding is 0: it is left out
        r = jnp.asarray(golden["r_" + key.split("_")[0]])
        for cut, bound in ((np.sqrt(-2 * np.log(3.33e-6)), 5e-6), (np.inf, 2e-5))[: 2 if key[0] == "A" else 1]:

            def summed(places, variance=variance, amplitudes=amplitudes, cut=cut):
                return peaks_of(pairs, variance, amplitudes, scatterers.composition, places, cut=cut)

            if key.startswith("E"):
                g = summed(r)
            else:
                step = given["rstep"]
                fine = step * np.arange(round(used["extendedrmin"] / step), round(used["extendedrmax"] / step))
                g = scattering.band_pass(r, fine, q, weights) @ summed(jnp.asarray(fine))
            assert_near(scattering.envelope(instrument, r) * g, golden, f"{key}_G", bound)


def test_the_two_routes_are_one_for_one_element_and_differ_for_two(golden_of, x64):
    """For several elements the real-space route takes f at Q = 0."""
    grid = Grid(qmin=0.8, qmax=24.0, qstep=0.02, rmin=0.5, rmax=15.0, rstep=0.02)
    instrument = Instrument(uiso=0.006, delta2=1.5, qdamp=0.03)
    apart = {}
    for name in ("dec_Au75", "l10_CuAu"):
        pairs, scatterers = sample(golden_of(name))
        given = (scatterers.coefficients, scatterers.composition, instrument, grid)
        debye = simulation.pdf(pairs, *given)
        apart[name] = np.abs(simulation.real_space_pdf(pairs, *given) - debye).max() / np.abs(debye).max()
    assert apart["dec_Au75"] < 1e-9
    assert 3e-3 < apart["l10_CuAu"] < 0.2


def test_diffpy_itself_agrees(golden_of, x64):
    calculators = pytest.importorskip("diffpy.srreal.pdfcalculator", reason="diffpy.srreal needs conda's libdiffpy")
    from diffpy.structure import Atom, Structure

    golden = golden_of("l10_CuAu")
    pairs, scatterers = sample(golden)
    symbols = [chemical_symbols[number] for number in golden["numbers"]]
    positions = golden["positions"]
    theirs = Structure([Atom(s, xyz=p, Uisoequiv=0.006) for s, p in zip(symbols, positions, strict=True)])
    calculator = calculators.DebyePDFCalculator(qmin=0.8, qmax=24, rmin=0, rmax=30, rstep=0.02, qdamp=0.03)
    calculator.qstep = np.pi / (2048 * 0.02)
    r, g = calculator(theirs)
    q = calculator.qgrid
    f = form_factors.xray(scatterers.coefficients, jnp.asarray(q))
    instrument = Instrument(uiso=0.006, qdamp=0.03)
    reduced = scattering.reduced_structure_function(pairs, instrument, f, scatterers.composition, jnp.asarray(q))
    np.testing.assert_allclose(reduced, calculator.fq, atol=1e-9 * np.abs(calculator.fq).max())
    weights = jnp.where(np.arange(q.size) >= np.ceil(0.8 / calculator.qstep - 1e-9), calculator.qstep, 0.0)
    ours = scattering.envelope(instrument, jnp.asarray(r)) * scattering.sine_transform(reduced, q, weights, r)
    np.testing.assert_allclose(ours, g, atol=1e-9 * np.abs(g).max())


def test_ase_agrees_on_the_plain_debye_sum(x64):
    """XrDebye with method Z and no damping: f is the atomic number."""
    from ase.cluster import Icosahedron
    from ase.utils.xrdebye import XrDebye

    atoms = Icosahedron("Au", 3)
    q = np.linspace(0.5, 20, 50)
    theirs = XrDebye(atoms, wavelength=0.5, damping=0.0, method="Z").calc_pattern(x=q, mode="SAXS")
    pairs, composition = of(atoms.positions)
    ours = scattering.intensity(pairs, Instrument(), jnp.full((1, 50), 79.0), composition, jnp.asarray(q))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_lorchs_window_is_the_sine_of_its_own_cut(fcc19, x64):
    q = jnp.linspace(0.0, 15.0, 151)
    np.testing.assert_allclose(scattering.lorch(q, 15.0)[1:-1], np.sin(np.pi * q / 15)[1:-1] / (np.pi * q / 15)[1:-1])
    assert float(scattering.lorch(q, 15.0)[-1]) == pytest.approx(0, abs=1e-15)
    sharp = pdf_of(fcc19, Instrument(uiso=0.004))
    smooth = pdf_of(fcc19, Instrument(uiso=0.004), grid=Grid(**{**GRID.__dict__, "lorch": True}))
    before = slice(0, 15)  # 0.5 to 1.9 Å: ripples alone
    ripple = lambda g: np.std(np.diff(np.asarray(g)[before], 2))  # noqa: E731
    assert ripple(smooth) < 0.1 * ripple(sharp)


def test_single_precision_follows_double(fcc19):
    """Both routes; two elements, all parameters."""
    instrument = Instrument(uiso=0.01, delta1=0.1, delta2=2.0, qdamp=0.04, qbroad=0.01)

    def curve(route, dtype):
        pairs = scattering.pairs_of(jnp.asarray(fcc19, dtype), np.ones(19), MIXED)
        composition = np.array([10.0, 9.0])
        return route(pairs, form_factors.coefficients(["Au", "Cu"]), composition, instrument, GRID)

    for route in (simulation.pdf, simulation.real_space_pdf):
        single = curve(route, jnp.float32)
        assert single.dtype == jnp.float32
        with jax.enable_x64(True):
            double = np.asarray(curve(route, jnp.float64))
        assert np.abs(single - double).max() < 2e-5 * np.abs(double).max()


def test_padding_adds_nothing(fcc19, x64):
    instrument = Instrument(uiso=0.01, delta1=0.1, qdamp=0.04)
    alone = pdf_of(fcc19, instrument)
    pairs = scattering.pairs_of(jnp.pad(jnp.asarray(fcc19), ((0, 6), (0, 0))), jnp.arange(25) < 19)
    padded = simulation.pdf(pairs, form_factors.UNIT, np.array([19.0]), instrument, GRID)
    np.testing.assert_allclose(padded, alone, atol=1e-12)


def test_the_order_of_atoms_and_rotations_change_nothing(fcc19, x64):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    order = np.random.default_rng(1).permutation(19)
    one = pdf_of(fcc19, Instrument(0.01), symbols=("Au", "Cu"), kinds=MIXED)
    two = pdf_of((fcc19 @ turn)[order], Instrument(0.01), symbols=("Au", "Cu"), kinds=MIXED[order])
    np.testing.assert_allclose(one, two, atol=1e-10)


def test_stretch_is_a_scaling_of_the_positions(fcc19, x64):
    given = Instrument(uiso=0.01, delta2=2.0, qbroad=0.02)
    longer = pdf_of(1.02 * fcc19, given)
    np.testing.assert_allclose(pdf_of(fcc19, given._replace(stretch=1.02)), longer, atol=1e-12)


def test_each_atom_may_have_its_own_uiso(fcc19, x64):
    """A kind an atom: the Debye-Waller factors of a pair multiply."""
    uiso = np.random.default_rng(0).uniform(0.002, 0.02, 19)
    q = np.linspace(0.5, 20, 40)
    pairs, composition = of(fcc19, np.arange(19))
    ours = scattering.intensity(pairs, Instrument(uiso=jnp.asarray(uiso)), jnp.ones((19, 40)), composition, q)
    apart = np.linalg.norm(fcc19[:, None] - fcc19[None], axis=-1)
    waves = np.exp(-0.5 * (uiso[:, None] + uiso)[..., None] * q**2) * np.sinc(apart[..., None] * q / np.pi)
    waves[np.arange(19), np.arange(19)] = 1.0
    np.testing.assert_allclose(ours, waves.sum((0, 1)), rtol=1e-11)


def test_the_weights_of_q_integrate_a_constant_between_any_limits(x64):
    q = jnp.arange(0, 10.01, 0.1)
    assert float(scattering.q_weights(q, 0.73, 8.21).sum()) == pytest.approx(8.21 - 0.73)
    inner = scattering.q_weights(q, 0.0, 10.0)
    np.testing.assert_allclose(inner[1:-1], 0.1)
    np.testing.assert_allclose(inner[jnp.array([0, -1])], 0.05)


def test_gradients_through_positions_are_right_and_not_zero(x64):
    positions = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)) * 3)
    target = jnp.sin(jnp.asarray(GRID.r))
    kinds = np.array([0, 0, 1, 1, 1, 1])

    def misfit(positions, uiso, delta1, delta2, qdamp, qbroad, scale, stretch):
        instrument = Instrument(uiso, delta1, delta2, qdamp, qbroad, scale, stretch)
        return jnp.sum((pdf_of(positions, instrument, symbols=("Au", "Cu"), kinds=kinds) - target) ** 2)

    at = (positions, jnp.array([0.01, 0.02]), 0.1, 0.2, 0.04, 0.02, 0.8, 1.01)
    check_grads(misfit, at, order=1, modes=["rev", "fwd"], rtol=1e-5)
    for gradient in jax.grad(misfit, argnums=tuple(range(8)))(*at):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4


def test_coincident_atoms_give_finite_curves_and_gradients():
    def total(positions):
        pairs = scattering.pairs(structure.distances(positions), np.ones(3))
        grid = Grid(**{**GRID.__dict__, "rmin": 0.0})
        g = simulation.pdf(pairs, form_factors.UNIT, np.array([3.0]), Instrument(0.01, delta2=2.0), grid, floor=0.1)
        return jnp.sum(g**2)

    value, gradient = jax.value_and_grad(total)(jnp.array([[0.0, 0, 0], [0, 0, 0], [2.5, 0, 0]]))
    assert np.isfinite(value) and np.isfinite(gradient).all() and np.abs(gradient[2]).max() > 0


def test_chunks_of_the_exact_sum_agree_with_one_piece(fcc19, x64, monkeypatch):
    pairs, composition = of(fcc19)
    q = jnp.asarray(GRID.q)
    whole = scattering.intensity(pairs, Instrument(0.01), jnp.ones((1, q.size)), composition, q)
    peaks = scattering.peaks(pairs, jnp.full(171, 0.02), jnp.ones(1), composition, q)
    monkeypatch.setattr(scattering, "CHUNK", 1000)
    parts = scattering.intensity(pairs, Instrument(0.01), jnp.ones((1, q.size)), composition, q)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)
    np.testing.assert_allclose(scattering.peaks(pairs, jnp.full(171, 0.02), jnp.ones(1), composition, q), peaks)


def test_binned_pairs_and_the_sum_of_gaussians_follow_the_exact_sum(x64):
    """Distances with errors, so that bins are filled unevenly: what is left is their skewness, 1e-3 of the maximum."""
    rng = np.random.default_rng(0)
    positions = clusters.fcc((3, 4, 3)).positions * 2.78 + 0.03 * rng.normal(size=(87, 3))
    pairs, composition = of(positions)
    instrument = Instrument(uiso=0.008, delta2=2.0)
    q, r, fine = jnp.linspace(1.0, 25.0, 600), jnp.arange(1.5, 20, 0.05), jnp.arange(0, 27, 0.06)
    weights = scattering.q_weights(q, 1.0, 25.0)
    variance = scattering.pair_variance(pairs, instrument)
    exact = scattering.sine_transform(
        q * scattering.debye_sum(pairs, variance, jnp.ones((1, q.size)), q) / 87, q, weights, r
    )
    gathered = scattering.binned(pairs, width=0.06, bins=400)
    assert float(gathered.weight.sum()) == 87 * 86
    summed = scattering.peaks(
        gathered, scattering.pair_variance(gathered, instrument) + 0.0064, jnp.ones(1), composition, fine
    )
    ours = scattering.band_pass(r, fine, q, weights, blur=0.0064) @ summed
    assert np.abs(ours - exact).max() < 1.5e-3 * np.abs(exact).max()


def test_grids_include_both_ends():
    assert GRID.q[0] == 0.5 and GRID.q[-1] == pytest.approx(15.0)
    assert len(Grid().r) == 301 and Grid().r[-1] == pytest.approx(30.0)
    assert Grid(qmin=0.0, qmax=1.0, qstep=0.35).q[-1] == pytest.approx(0.7)


def test_a_distance_that_is_no_number_is_not_cleaned_away(fcc19):
    pairs, composition = of(fcc19)
    broken = pairs._replace(distance=pairs.distance.at[3].set(jnp.nan))
    variance = scattering.pair_variance(broken, Instrument(0.01, delta2=1.0))
    assert np.isnan(scattering.peaks(broken, variance, jnp.ones(1), composition, jnp.asarray(GRID.r))).all()
    assert np.isnan(scattering.debye_sum(broken, variance, jnp.ones((1, 3)), jnp.ones(3))).all()
    spread = scattering.spread(broken, scattering.Nodes(9.0, 20.0))
    assert np.isnan(spread.weight).any()
    shifted = jnp.asarray(fcc19).at[3].set(jnp.nan)
    blocks = scattering.spread_positions(
        shifted, np.ones(19, bool), np.zeros(19, int), scattering.Nodes(9.0, 20.0), count=1
    )
    assert np.isnan(blocks.weight).any()
