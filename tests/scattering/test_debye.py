import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import real_space
from ase.data import chemical_symbols
from jax.test_util import check_grads
from scipy.spatial.distance import pdist

from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.scattering.debye import Instrument, Pairs
from jaxstruc.scattering.spreading import Nodes
from jaxstruc.structures import distances, shapes

GRID = Grid(qmin=0.5, qmax=15.0, qstep=0.1, rmin=0.5, rmax=12.0, rstep=0.1)
MIXED = np.array([0] * 10 + [1] * 9)
"""Kinds of 19 atoms of two elements."""


pdf = jax.jit(curves.pdf, static_argnames=("grid", "floor"))
intensity = jax.jit(debye.intensity)
reduced_of = jax.jit(debye.reduced_structure_function)
partials = jax.jit(debye.partials)
peaks_of = jax.jit(real_space.peaks, static_argnames="cut")


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
    return debye.pairs_of(jnp.asarray(positions), np.ones(len(positions)), kinds), np.bincount(kinds).astype(float)


def pdf_of(positions, instrument, *, symbols=("Au",), kinds=None, grid=GRID):
    """Return G(r) of positions by the exact sum."""
    pairs, composition = of(positions, kinds)
    return pdf(pairs, form_factors.coefficients(list(symbols)), composition, instrument, grid=grid)


def test_intensity_is_the_debye_sum_written_out(fcc19, x64):
    q = np.linspace(0.0, 25, 101)
    f = form_factors.xray(form_factors.coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = of(fcc19, MIXED)
    ours = intensity(pairs, Instrument(uiso=0.006), f, composition, jnp.asarray(q))
    np.testing.assert_allclose(ours, slow_debye(fcc19, np.asarray(f)[MIXED], q, 0.006), rtol=1e-11)


def test_forward_scattering_is_the_square_of_all_electrons(fcc19, x64):
    f = form_factors.xray(form_factors.coefficients(["Au", "Cu"]), jnp.zeros(1))
    pairs, composition = of(fcc19, MIXED)
    total = intensity(pairs, Instrument(uiso=0.01), f, composition, jnp.zeros(1))
    assert float(total[0]) == pytest.approx(float(composition @ f[:, 0]) ** 2)


@pytest.mark.parametrize("spread", [False, True])
def test_partials_sum_to_the_total(fcc19, spread, x64):
    q = np.linspace(0.0, 20, 81)
    f = form_factors.xray(form_factors.coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = of(fcc19, MIXED)
    if spread:
        pairs = debye.spread(pairs, Nodes(9.0, 20.0), kinds=2)
    instrument = Instrument(uiso=jnp.array([0.005, 0.01]), delta2=1.0)
    parts = partials(pairs, instrument, f, composition, q)
    whole = reduced_of(pairs, instrument, f, composition, q)
    assert parts.shape == (3, 81) and all(np.abs(part).max() > 0.05 for part in parts)
    np.testing.assert_allclose(parts.sum(0), whole, atol=1e-12)


@pytest.mark.parametrize(
    "instrument",
    [Instrument(uiso=0.01), Instrument(uiso=0.01, delta2=1.5), Instrument(uiso=np.array([0.005, 0.02]), delta1=0.2)],
)
def test_nodes_give_the_partials_of_the_pairs(fcc19, instrument, x64):
    """Widths that are one number, one a node, and one a channel and node."""
    q = np.linspace(0.0, 20, 81)
    f = form_factors.xray(form_factors.coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = of(fcc19, MIXED)
    exact = partials(pairs, instrument, f, composition, q)
    nodes = partials(debye.spread(pairs, Nodes(9.0, 20.0), kinds=2), instrument, f, composition, q)
    assert np.abs(exact).max(axis=1).min() > 0.05
    np.testing.assert_allclose(nodes, exact, atol=1e-5 * np.abs(exact).max())


def test_a_partial_is_the_curve_of_its_pairs_alone(fcc19, x64):
    """The gold-gold part times N <f>^2 / (n_Au f_Au^2) is F of the gold atoms alone."""
    q = np.linspace(0.5, 20, 79)
    f = form_factors.xray(form_factors.coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = of(fcc19, MIXED)
    part = partials(pairs, Instrument(uiso=0.01), f, composition, q)[0]
    alone, ten = of(fcc19[:10])
    gold = reduced_of(alone, Instrument(uiso=0.01), f[:1], ten, q)
    np.testing.assert_allclose(part * (composition @ f) ** 2 / 19 / (10 * f[0] ** 2), gold, atol=1e-12)


def sample(golden):
    """Return the pairs and scatterers of a reference structure, its equal distances merged."""
    scatterers = curves.scatterers([chemical_symbols[number] for number in golden["numbers"]])
    table, one, two = debye.channels(len(scatterers.names))
    first, second = np.triu_indices(len(golden["numbers"]), 1)
    channel = table[scatterers.kinds[first], scatterers.kinds[second]]
    distance = pdist(golden["positions"])
    keys = np.stack([channel, np.round(distance, 11)], axis=1)
    _, kept, places = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    weight = 2.0 * np.bincount(places.ravel())
    # Padded to a power of four, so that a compiled function serves several structures.
    padding = (0, 4 ** int(np.ceil(np.log(len(kept)) / np.log(4))) - len(kept))
    columns = (distance[kept], weight, one[channel[kept]], two[channel[kept]])
    return Pairs(*(np.pad(column, padding) for column in columns)), scatterers


def settings_of(golden, key, scatterers):
    """Return the instrument, coefficients, Q grid and Q weights of one of the referee's curves."""
    name, probe, _ = key.split("_")
    given, used = golden["meta"]["sets"][name], golden["meta"]["used"][key]
    first = [list(scatterers.kinds).index(kind) for kind in range(len(scatterers.names))]
    uiso = golden["U_G"][first] if name == "G" else golden["meta"]["Uiso"][name]
    named = {k: given[k] for k in ("delta1", "delta2", "qdamp", "qbroad", "scale") if k in given}
    coefficients = scatterers.coefficients
    if probe == "N":
        coefficients = curves.scatterers(scatterers.names, probe="neutron").coefficients
    step, count = used.get("qstep", 1.0), used.get("nq", 1)
    order = np.arange(256 * math.ceil(count / 256))
    q = np.where(order < count, step * order, 0.0)  # padded for the same reason, with weight 0
    kept = (order >= np.ceil(given["qmin"] / step - 1e-9)) & (order < count)
    return Instrument(uiso=uiso, **named), coefficients, q, np.where(kept, step, 0.0)


def keys_of(golden, ending):
    """Return the names of the referee's curves of one calculator."""
    return [key.removesuffix("_G") for key in golden if key.endswith(f"{ending}_G")]


def assert_near(ours, golden, key, bound):
    assert np.abs(np.asarray(ours) - golden[key]).max() < bound * golden["meta"]["max"][key], key


def thinned(curve):
    """Return the points that `tools/make_golden.py` keeps."""
    stride = max(1, curve.size // 50)
    return curve[stride // 2 + 1 :: stride]


@jax.jit
def three_curves(*given):
    """Return I, S and F."""
    functions = {"I": debye.intensity, "S": debye.structure_function, "F": debye.reduced_structure_function}
    return {name: function(*given) for name, function in functions.items()}


def test_fine_curves_agree_with_diffpy(golden, x64):
    """All of I, S, F and f, with and without Uiso; the bound is the referee's rounding."""
    pairs, scatterers = sample(golden)
    q = jnp.asarray(golden["fine_Q"])
    f = form_factors.xray(scatterers.coefficients, q)
    for row, name in zip(f, scatterers.names, strict=True):
        np.testing.assert_allclose(row, golden[f"f_{name}"], rtol=1e-9)
    for ending, uiso in (("U0", 0.0), ("U005", 0.005)):
        for curve, ours in three_curves(pairs, Instrument(uiso=uiso), f, scatterers.composition, q).items():
            assert_near(ours, golden, f"fine_{curve}_{ending}", 1e-9)


@jax.jit
def f_and_g(pairs, instrument, coefficients, composition, q, weights, r):
    """Return F(Q), and G(r) with the referee's weights of Q."""
    f = form_factors.xray(coefficients, q)
    reduced = debye.reduced_structure_function(pairs, instrument, f, composition, q)
    return reduced, curves.envelope(instrument, r) * curves.sine_transform(reduced, q, weights, r)


def test_the_debye_route_agrees_with_diffpy(golden, x64):
    """F and G on the referee's Q grid, limits, rectangle rule and window of pairs; X-rays and neutrons; all sets."""
    pairs, scatterers = sample(golden)
    for key in keys_of(golden, "debyex"):
        instrument, coefficients, q, weights = settings_of(golden, key, scatterers)
        used = golden["meta"]["used"][key]
        seen = (pairs.distance >= used["extendedrmin"]) & (pairs.distance <= used["extendedrmax"])
        within = pairs._replace(weight=pairs.weight * seen)
        r = golden["r_" + key.split("_")[0]]
        reduced, g = f_and_g(within, instrument, coefficients, scatterers.composition, q, weights, r)
        assert_near(thinned(reduced[: used["nq"]]), golden, f"{key}_F", 1e-9)
        assert_near(g, golden, f"{key}_G", 1e-9)


def test_the_real_space_route_agrees_with_diffpy(golden, x64):
    """On its extended r grid and its cut of the Gaussians; set E has no limits of Q. Uncut Gaussians: set A."""
    pairs, scatterers = sample(golden)
    for key in keys_of(golden, "rss"):
        instrument, coefficients, q, weights = settings_of(golden, key, scatterers)
        used, given = golden["meta"]["used"][key], golden["meta"]["sets"][key.split("_")[0]]
        amplitudes = form_factors.xray(coefficients, jnp.zeros(1))[:, 0]
        variance = debye.pair_variance(pairs, instrument)  # that of the padding is 0: it is left out
        r = jnp.asarray(golden["r_" + key.split("_")[0]])
        for cut, bound in ((np.sqrt(-2 * np.log(3.33e-6)), 5e-6), (np.inf, 2e-5))[: 2 if key[0] == "A" else 1]:

            def summed(places, variance=variance, amplitudes=amplitudes, cut=cut):
                return peaks_of(pairs, variance, amplitudes, scatterers.composition, places, cut=cut)

            if key.startswith("E"):
                g = summed(r)
            else:
                step = given["rstep"]
                fine = step * np.arange(round(used["extendedrmin"] / step), round(used["extendedrmax"] / step))
                g = real_space.band_pass(r, fine, q, weights) @ summed(jnp.asarray(fine))
            assert_near(curves.envelope(instrument, r) * g, golden, f"{key}_G", bound)


def test_the_two_routes_are_one_for_one_element_and_differ_for_two(golden_of, x64):
    """For several elements the real-space route takes f at Q = 0."""
    grid = Grid(qmin=0.8, qmax=24.0, qstep=0.02, rmin=0.5, rmax=15.0, rstep=0.02)
    instrument = Instrument(uiso=0.006, delta2=1.5, qdamp=0.03)
    apart = {}
    for name in ("dec_Au75", "l10_CuAu"):
        pairs, scatterers = sample(golden_of(name))
        given = (pairs, scatterers.coefficients, scatterers.composition, instrument)
        summed = pdf(*given, grid=grid)
        apart[name] = np.abs(real_space.real_space_pdf(*given, grid) - summed).max() / np.abs(summed).max()
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
    reduced = reduced_of(pairs, instrument, f, scatterers.composition, jnp.asarray(q))
    np.testing.assert_allclose(reduced, calculator.fq, atol=1e-9 * np.abs(calculator.fq).max())
    weights = jnp.where(np.arange(q.size) >= np.ceil(0.8 / calculator.qstep - 1e-9), calculator.qstep, 0.0)
    ours = curves.envelope(instrument, jnp.asarray(r)) * curves.sine_transform(reduced, q, weights, r)
    np.testing.assert_allclose(ours, g, atol=1e-9 * np.abs(g).max())


def test_ase_agrees_on_the_plain_debye_sum(x64):
    """XrDebye with method Z and no damping: f is the atomic number."""
    from ase.cluster import Icosahedron
    from ase.utils.xrdebye import XrDebye

    atoms = Icosahedron("Au", 3)
    q = np.linspace(0.5, 20, 50)
    theirs = XrDebye(atoms, wavelength=0.5, damping=0.0, method="Z").calc_pattern(x=q, mode="SAXS")
    pairs, composition = of(atoms.positions)
    ours = intensity(pairs, Instrument(), jnp.full((1, 50), 79.0), composition, jnp.asarray(q))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_single_precision_follows_double(fcc19):
    """Both routes; two elements, all parameters."""
    instrument = Instrument(uiso=0.01, delta1=0.1, delta2=2.0, qdamp=0.04, qbroad=0.01)

    def curve(route, dtype):
        pairs, composition = of(jnp.asarray(fcc19, dtype), MIXED)
        given = (form_factors.coefficients(["Au", "Cu"]), composition, instrument, GRID)
        return jax.jit(lambda pairs: route(pairs, *given))(pairs)

    for route in (curves.pdf, real_space.real_space_pdf):
        single = curve(route, jnp.float32)
        assert single.dtype == jnp.float32
        with jax.enable_x64(True):
            double = np.asarray(curve(route, jnp.float64))
        assert np.abs(single - double).max() < 2e-5 * np.abs(double).max()


def test_padding_adds_nothing(fcc19, x64):
    instrument = Instrument(uiso=0.01, delta1=0.1, qdamp=0.04)
    alone = pdf_of(fcc19, instrument)
    pairs = debye.pairs_of(jnp.pad(jnp.asarray(fcc19), ((0, 6), (0, 0))), jnp.arange(25) < 19)
    padded = pdf(pairs, form_factors.UNIT, np.array([19.0]), instrument, grid=GRID)
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
    ours = intensity(pairs, Instrument(uiso=jnp.asarray(uiso)), jnp.ones((19, 40)), composition, q)
    apart = np.linalg.norm(fcc19[:, None] - fcc19[None], axis=-1)
    waves = np.exp(-0.5 * (uiso[:, None] + uiso)[..., None] * q**2) * np.sinc(apart[..., None] * q / np.pi)
    waves[np.arange(19), np.arange(19)] = 1.0
    np.testing.assert_allclose(ours, waves.sum((0, 1)), rtol=1e-11)


@pytest.mark.slow
def test_gradients_through_positions_are_right_and_not_zero(x64):
    positions = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)) * 3)
    target = jnp.sin(jnp.asarray(GRID.r))
    kinds = np.array([0, 0, 1, 1, 1, 1])

    @jax.jit
    def misfit(positions, uiso, delta1, delta2, qdamp, qbroad, scale, stretch):
        instrument = Instrument(uiso, delta1, delta2, qdamp, qbroad, scale, stretch)
        return jnp.sum((pdf_of(positions, instrument, symbols=("Au", "Cu"), kinds=kinds) - target) ** 2)

    at = (positions, jnp.array([0.01, 0.02]), 0.1, 0.2, 0.04, 0.02, 0.8, 1.01)
    check_grads(misfit, at, order=1, modes=["rev", "fwd"], rtol=1e-5)
    for gradient in jax.jit(jax.grad(misfit, argnums=tuple(range(8))))(*at):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4


def test_coincident_atoms_give_finite_curves_and_gradients():
    @jax.jit
    @jax.value_and_grad
    def total(positions):
        pairs = debye.pairs(distances.distances(positions), np.ones(3))
        grid = Grid(**{**GRID.__dict__, "rmin": 0.0})
        g = curves.pdf(pairs, form_factors.UNIT, np.array([3.0]), Instrument(0.01, delta2=2.0), grid, floor=0.1)
        return jnp.sum(g**2)

    value, gradient = total(jnp.array([[0.0, 0, 0], [0, 0, 0], [2.5, 0, 0]]))
    assert np.isfinite(value) and np.isfinite(gradient).all() and np.abs(gradient[2]).max() > 0


def test_chunks_of_the_exact_sum_agree_with_one_piece(fcc19, x64, monkeypatch):
    pairs, composition = of(fcc19)
    q = jnp.asarray(GRID.q)

    def both():
        own = jnp.ones((1, q.size))
        total = debye.intensity(pairs, Instrument(0.01), own, composition, q)
        return total, real_space.peaks(pairs, jnp.full(171, 0.02), own[:, 0], composition, q)

    whole = jax.jit(both)()
    monkeypatch.setattr(debye, "CHUNK", 1000)
    parts = jax.jit(lambda: both())()
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-12)
    np.testing.assert_allclose(parts[1], whole[1])


def test_gathered_pairs_and_the_sum_of_gaussians_follow_the_exact_sum(x64):
    """Distances with errors, so that bins are filled unevenly: what is left is their skewness, 1e-3 of the maximum."""
    rng = np.random.default_rng(0)
    positions = shapes.fcc((3, 4, 3)).positions * 2.78 + 0.03 * rng.normal(size=(87, 3))
    instrument = Instrument(uiso=0.008, delta2=2.0)
    q, r, fine = jnp.linspace(1.0, 25.0, 600), jnp.arange(1.5, 20, 0.05), jnp.arange(0, 27, 0.06)
    weights = curves.q_weights(q, 1.0, 25.0)

    @jax.jit
    def both():
        pairs, composition = of(positions)
        variance = debye.pair_variance(pairs, instrument)
        exact = q * debye.debye_sum(pairs, variance, jnp.ones((1, q.size)), q) / 87
        bins = distances.gathered(pairs.distance, pairs.weight, jnp.array(87.0), width=0.06, longest=24.0)
        gathered = Pairs(bins.mean, bins.weight, *np.zeros((2, bins.mean.size), int))
        variance = debye.pair_variance(gathered, instrument) + bins.variance + 0.0064
        summed = real_space.peaks(gathered, variance, jnp.ones(1), composition, fine)
        ours = real_space.band_pass(r, fine, q, weights, blur=0.0064) @ summed
        return curves.sine_transform(exact, q, weights, r), ours, bins.weight.sum()

    exact, ours, weight = both()
    assert float(weight) == 87 * 86
    assert np.abs(ours - exact).max() < 1.5e-3 * np.abs(exact).max()


def test_a_distance_that_is_no_number_is_not_cleaned_away(fcc19):
    nodes = Nodes(9.0, 20.0)

    @jax.jit
    def found(moved):
        pairs, composition = of(fcc19)
        broken = pairs._replace(distance=pairs.distance + jnp.where(jnp.arange(171) == 3, moved, 0.0))
        shifted = jnp.asarray(fcc19, jnp.float32).at[3].add(moved)
        variance = debye.pair_variance(broken, Instrument(0.01, delta2=1.0))
        blocks = debye.spread_positions(shifted, np.ones(19, bool), np.zeros(19, int), nodes, count=1)
        return {
            "peaks": real_space.peaks(broken, variance, jnp.ones(1), composition, jnp.asarray(GRID.r)),
            "sum": debye.debye_sum(broken, variance, jnp.ones((1, 3)), jnp.ones(3)),
            "spread": debye.spread(broken, nodes).weight,
            "blocks": blocks.weight,
        }

    assert all(np.isfinite(value).all() for value in found(0.0).values())
    broken = found(jnp.nan)
    assert np.isnan(broken["peaks"]).all() and np.isnan(broken["sum"]).all()
    assert np.isnan(broken["spread"]).any() and np.isnan(broken["blocks"]).any()
