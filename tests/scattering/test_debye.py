import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import real_space
from ase.data import chemical_symbols
from jax.test_util import check_grads
from scipy.spatial.distance import pdist

from jaxstruc.clusters import distances, fcc_shapes
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument, Pairs
from jaxstruc.scattering.fast_debye import SpreadingNodes
from jaxstruc.scattering.pair_distribution import Grid

GRID = Grid(qmin=0.5, qmax=15.0, qstep=0.1, rmin=0.5, rmax=12.0, rstep=0.1)
ALLOY_KINDS = np.array([0] * 10 + [1] * 9)
"""Kinds of 19 atoms of two elements."""


pdf = jax.jit(pair_distribution.pdf, static_argnames=("grid", "min_variance_factor"))
intensity = jax.jit(debye.intensity)
reduced_structure_function = jax.jit(debye.reduced_structure_function)
partials = jax.jit(debye.partials)
gaussian_peaks = jax.jit(real_space.peaks, static_argnames="max_widths")


def debye_double_sum(positions, f, q, uiso):
    """Return I(Q) from a double sum in NumPy."""
    total = np.sum(f**2, axis=0)
    for i in range(len(positions)):
        for j in range(len(positions)):
            if i != j:
                r = np.linalg.norm(positions[i] - positions[j])
                total = total + f[i] * f[j] * np.exp(-uiso * q**2) * np.sinc(q * r / np.pi)
    return total


def pairs_and_composition(positions, atom_kinds=None):
    """Return the pairs and the composition of atoms at these positions."""
    atom_kinds = np.zeros(len(positions), int) if atom_kinds is None else atom_kinds
    return debye.pairs_from_positions(jnp.asarray(positions), np.ones(len(positions)), atom_kinds), np.bincount(
        atom_kinds
    ).astype(float)


def exact_pdf(positions, instrument, *, symbols=("Au",), atom_kinds=None, grid=GRID):
    """Return G(r) of atoms at these positions, from the exact sum."""
    pairs, composition = pairs_and_composition(positions, atom_kinds)
    return pdf(pairs, form_factors.xray_coefficients(list(symbols)), composition, instrument, grid=grid)


def test_intensity_is_the_debye_sum_written_out(fcc19, x64):
    q = np.linspace(0.0, 25, 101)
    f = form_factors.xray_form_factors(form_factors.xray_coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = pairs_and_composition(fcc19, ALLOY_KINDS)
    intensities = intensity(pairs, Instrument(uiso=0.006), f, composition, jnp.asarray(q))
    np.testing.assert_allclose(intensities, debye_double_sum(fcc19, np.asarray(f)[ALLOY_KINDS], q, 0.006), rtol=1e-11)


def test_forward_scattering_is_the_square_of_all_electrons(fcc19, x64):
    f = form_factors.xray_form_factors(form_factors.xray_coefficients(["Au", "Cu"]), jnp.zeros(1))
    pairs, composition = pairs_and_composition(fcc19, ALLOY_KINDS)
    total = intensity(pairs, Instrument(uiso=0.01), f, composition, jnp.zeros(1))
    assert float(total[0]) == pytest.approx(float(composition @ f[:, 0]) ** 2)


@pytest.mark.parametrize("use_nodes", [False, True])
def test_partials_sum_to_the_total(fcc19, use_nodes, x64):
    q = np.linspace(0.0, 20, 81)
    f = form_factors.xray_form_factors(form_factors.xray_coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = pairs_and_composition(fcc19, ALLOY_KINDS)
    if use_nodes:
        pairs = debye.spread_pairs(pairs, SpreadingNodes(9.0, 20.0), n_kinds=2)
    instrument = Instrument(uiso=jnp.array([0.005, 0.01]), delta2=1.0)
    partial_curves = partials(pairs, instrument, f, composition, q)
    total_curve = reduced_structure_function(pairs, instrument, f, composition, q)
    assert partial_curves.shape == (3, 81) and all(np.abs(part).max() > 0.05 for part in partial_curves)
    np.testing.assert_allclose(partial_curves.sum(0), total_curve, atol=1e-12)


@pytest.mark.parametrize(
    "instrument",
    [Instrument(uiso=0.01), Instrument(uiso=0.01, delta2=1.5), Instrument(uiso=np.array([0.005, 0.02]), delta1=0.2)],
)
def test_nodes_give_the_partials_of_the_pairs(fcc19, instrument, x64):
    """The variances are one number, an array [node], or an array [channel, node]."""
    q = np.linspace(0.0, 20, 81)
    f = form_factors.xray_form_factors(form_factors.xray_coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = pairs_and_composition(fcc19, ALLOY_KINDS)
    pair_partials = partials(pairs, instrument, f, composition, q)
    node_partials = partials(
        debye.spread_pairs(pairs, SpreadingNodes(9.0, 20.0), n_kinds=2), instrument, f, composition, q
    )
    assert np.abs(pair_partials).max(axis=1).min() > 0.05
    np.testing.assert_allclose(node_partials, pair_partials, atol=1e-5 * np.abs(pair_partials).max())


def test_a_partial_is_the_curve_of_its_pairs_alone(fcc19, x64):
    """The gold-gold contribution, multiplied by N <f>^2 / (n_Au f_Au^2), is F of the gold atoms alone."""
    q = np.linspace(0.5, 20, 79)
    f = form_factors.xray_form_factors(form_factors.xray_coefficients(["Au", "Cu"]), jnp.asarray(q))
    pairs, composition = pairs_and_composition(fcc19, ALLOY_KINDS)
    gold_partial = partials(pairs, Instrument(uiso=0.01), f, composition, q)[0]
    gold_pairs, gold_composition = pairs_and_composition(fcc19[:10])
    gold_curve = reduced_structure_function(gold_pairs, Instrument(uiso=0.01), f[:1], gold_composition, q)
    np.testing.assert_allclose(gold_partial * (composition @ f) ** 2 / 19 / (10 * f[0] ** 2), gold_curve, atol=1e-12)


def reference_pairs(golden):
    """Return the pairs and scatterers of a reference structure. Equal distances are merged."""
    scatterers = pair_distribution.scatterers([chemical_symbols[atomic_number] for atomic_number in golden["numbers"]])
    table, first_kind, second_kind = debye.kind_channels(len(scatterers.elements))
    first_atom, second_atom = np.triu_indices(len(golden["numbers"]), 1)
    channel = table[scatterers.atom_kinds[first_atom], scatterers.atom_kinds[second_atom]]
    distance = pdist(golden["positions"])
    keys = np.stack([channel, np.round(distance, 11)], axis=1)
    _, unique_indices, inverse_indices = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    weight = 2.0 * np.bincount(inverse_indices.ravel())
    # The padding to a power of four lets several structures share a compiled function.
    padding = (0, 4 ** int(np.ceil(np.log(len(unique_indices)) / np.log(4))) - len(unique_indices))
    columns = (
        distance[unique_indices],
        weight,
        first_kind[channel[unique_indices]],
        second_kind[channel[unique_indices]],
    )
    return Pairs(*(np.pad(column, padding) for column in columns)), scatterers


def reference_settings(golden, key, scatterers):
    """Return the instrument, coefficients, Q grid and Q weights of a curve of diffpy."""
    name, probe, _ = key.split("_")
    settings, used_settings = golden["meta"]["sets"][name], golden["meta"]["used"][key]
    first_atoms = [list(scatterers.atom_kinds).index(kind) for kind in range(len(scatterers.elements))]
    uiso = golden["U_G"][first_atoms] if name == "G" else golden["meta"]["Uiso"][name]
    instrument_values = {
        parameter: settings[parameter]
        for parameter in ("delta1", "delta2", "qdamp", "qbroad", "scale")
        if parameter in settings
    }
    coefficients = scatterers.coefficients
    if probe == "N":
        coefficients = pair_distribution.scatterers(scatterers.elements, probe="neutron").coefficients
    step, count = used_settings.get("qstep", 1.0), used_settings.get("nq", 1)
    indices = np.arange(256 * math.ceil(count / 256))
    q = np.where(indices < count, step * indices, 0.0)  # padding has weight 0
    in_range = (indices >= np.ceil(settings["qmin"] / step - 1e-9)) & (indices < count)
    return Instrument(uiso=uiso, **instrument_values), coefficients, q, np.where(in_range, step, 0.0)


def curve_names(golden, suffix):
    """Return the names of the curves of one calculator of diffpy."""
    return [key.removesuffix("_G") for key in golden if key.endswith(f"{suffix}_G")]


def assert_near(values, golden, key, bound):
    assert np.abs(np.asarray(values) - golden[key]).max() < bound * golden["meta"]["max"][key], key


def thin_curve(curve):
    """Return the points that `tools/make_golden.py` selects."""
    stride = max(1, curve.size // 50)
    return curve[stride // 2 + 1 :: stride]


@jax.jit
def scattering_functions(*arguments):
    """Return I, S and F."""
    functions = {"I": debye.intensity, "S": debye.structure_function, "F": debye.reduced_structure_function}
    return {name: function(*arguments) for name, function in functions.items()}


def test_fine_curves_agree_with_diffpy(golden, x64):
    """The test compares I, S, F and f with and without Uiso. The bound is the rounding of the reference values."""
    pairs, scatterers = reference_pairs(golden)
    q = jnp.asarray(golden["fine_Q"])
    f = form_factors.xray_form_factors(scatterers.coefficients, q)
    for row, name in zip(f, scatterers.elements, strict=True):
        np.testing.assert_allclose(row, golden[f"f_{name}"], rtol=1e-9)
    for suffix, uiso in (("U0", 0.0), ("U005", 0.005)):
        for curve, values in scattering_functions(pairs, Instrument(uiso=uiso), f, scatterers.composition, q).items():
            assert_near(values, golden, f"fine_{curve}_{suffix}", 1e-9)


@jax.jit
def f_and_g(pairs, instrument, coefficients, composition, q, weights, r):
    """Return F(Q), and G(r) with the Q weights of diffpy."""
    f = form_factors.xray_form_factors(coefficients, q)
    reduced_function = debye.reduced_structure_function(pairs, instrument, f, composition, q)
    return reduced_function, pair_distribution.envelope(instrument, r) * pair_distribution.sine_transform(
        reduced_function, q, weights, r
    )


def test_the_debye_route_agrees_with_diffpy(golden, x64):
    """F and G have the Q grid, the limits, the rectangle rule and the range of distances of diffpy."""
    pairs, scatterers = reference_pairs(golden)
    for key in curve_names(golden, "debyex"):
        instrument, coefficients, q, weights = reference_settings(golden, key, scatterers)
        used_settings = golden["meta"]["used"][key]
        in_window = (pairs.distance >= used_settings["extendedrmin"]) & (
            pairs.distance <= used_settings["extendedrmax"]
        )
        windowed_pairs = pairs._replace(weight=pairs.weight * in_window)
        r = golden["r_" + key.split("_")[0]]
        reduced_function, g = f_and_g(windowed_pairs, instrument, coefficients, scatterers.composition, q, weights, r)
        assert_near(thin_curve(reduced_function[: used_settings["nq"]]), golden, f"{key}_F", 1e-9)
        assert_near(g, golden, f"{key}_G", 1e-9)


def test_the_real_space_route_agrees_with_diffpy(golden, x64):
    """The r grid and the cut of the Gaussians are those of diffpy. Set A is also tested without this cut.

    Set E has no limits of Q.
    """
    pairs, scatterers = reference_pairs(golden)
    for key in curve_names(golden, "rss"):
        instrument, coefficients, q, weights = reference_settings(golden, key, scatterers)
        used_settings, settings = golden["meta"]["used"][key], golden["meta"]["sets"][key.split("_")[0]]
        amplitudes = form_factors.xray_form_factors(coefficients, jnp.zeros(1))[:, 0]
        variance = debye.pair_variance(
            pairs, instrument
        )  # the variance of padding is 0, so that it contributes nothing
        r = jnp.asarray(golden["r_" + key.split("_")[0]])
        for cut, bound in ((np.sqrt(-2 * np.log(3.33e-6)), 5e-6), (np.inf, 2e-5))[: 2 if key[0] == "A" else 1]:

            def gaussian_sum(r_points, variance=variance, amplitudes=amplitudes, cut=cut):
                return gaussian_peaks(pairs, variance, amplitudes, scatterers.composition, r_points, max_widths=cut)

            if key.startswith("E"):
                g = gaussian_sum(r)
            else:
                step = settings["rstep"]
                fine_r = step * np.arange(
                    round(used_settings["extendedrmin"] / step), round(used_settings["extendedrmax"] / step)
                )
                g = real_space.band_pass(r, fine_r, q, weights) @ gaussian_sum(jnp.asarray(fine_r))
            assert_near(pair_distribution.envelope(instrument, r) * g, golden, f"{key}_G", bound)


def test_the_two_routes_are_one_for_one_element_and_differ_for_two(golden_loader, x64):
    """For several elements, the real-space route uses f at Q = 0, which is an approximation."""
    grid = Grid(qmin=0.8, qmax=24.0, qstep=0.02, rmin=0.5, rmax=15.0, rstep=0.02)
    instrument = Instrument(uiso=0.006, delta2=1.5, qdamp=0.03)
    relative_differences = {}
    for name in ("dec_Au75", "l10_CuAu"):
        pairs, scatterers = reference_pairs(golden_loader(name))
        arguments = (pairs, scatterers.coefficients, scatterers.composition, instrument)
        debye_curve = pdf(*arguments, grid=grid)
        relative_differences[name] = (
            np.abs(real_space.real_space_pdf(*arguments, grid) - debye_curve).max() / np.abs(debye_curve).max()
        )
    assert relative_differences["dec_Au75"] < 1e-9
    assert 3e-3 < relative_differences["l10_CuAu"] < 0.2


def test_diffpy_itself_agrees(golden_loader, x64):
    calculators = pytest.importorskip("diffpy.srreal.pdfcalculator", reason="diffpy.srreal needs conda's libdiffpy")
    from diffpy.structure import Atom, Structure

    golden = golden_loader("l10_CuAu")
    pairs, scatterers = reference_pairs(golden)
    symbols = [chemical_symbols[atomic_number] for atomic_number in golden["numbers"]]
    positions = golden["positions"]
    diffpy_structure = Structure(
        [Atom(symbol, xyz=position, Uisoequiv=0.006) for symbol, position in zip(symbols, positions, strict=True)]
    )
    calculator = calculators.DebyePDFCalculator(qmin=0.8, qmax=24, rmin=0, rmax=30, rstep=0.02, qdamp=0.03)
    calculator.qstep = np.pi / (2048 * 0.02)
    r, g = calculator(diffpy_structure)
    q = calculator.qgrid
    f = form_factors.xray_form_factors(scatterers.coefficients, jnp.asarray(q))
    instrument = Instrument(uiso=0.006, qdamp=0.03)
    reduced_function = reduced_structure_function(pairs, instrument, f, scatterers.composition, jnp.asarray(q))
    np.testing.assert_allclose(reduced_function, calculator.fq, atol=1e-9 * np.abs(calculator.fq).max())
    weights = jnp.where(np.arange(q.size) >= np.ceil(0.8 / calculator.qstep - 1e-9), calculator.qstep, 0.0)
    jaxstruc_curve = pair_distribution.envelope(instrument, jnp.asarray(r)) * pair_distribution.sine_transform(
        reduced_function, q, weights, r
    )
    np.testing.assert_allclose(jaxstruc_curve, g, atol=1e-9 * np.abs(g).max())


def test_ase_agrees_on_the_plain_debye_sum(x64):
    """XrDebye of ASE without damping uses the atomic number as f (method "Z")."""
    from ase.cluster import Icosahedron
    from ase.utils.xrdebye import XrDebye

    atoms = Icosahedron("Au", 3)
    q = np.linspace(0.5, 20, 50)
    ase_intensities = XrDebye(atoms, wavelength=0.5, damping=0.0, method="Z").calc_pattern(x=q, mode="SAXS")
    pairs, composition = pairs_and_composition(atoms.positions)
    intensities = intensity(pairs, Instrument(), jnp.full((1, 50), 79.0), composition, jnp.asarray(q))
    np.testing.assert_allclose(intensities, ase_intensities, rtol=1e-9)


def test_single_precision_follows_double(fcc19):
    """The test covers both routes, two elements and all parameters."""
    instrument = Instrument(uiso=0.01, delta1=0.1, delta2=2.0, qdamp=0.04, qbroad=0.01)

    def curve(route, dtype):
        pairs, composition = pairs_and_composition(jnp.asarray(fcc19, dtype), ALLOY_KINDS)
        arguments = (form_factors.xray_coefficients(["Au", "Cu"]), composition, instrument, GRID)
        return jax.jit(lambda pairs: route(pairs, *arguments))(pairs)

    for route in (pair_distribution.pdf, real_space.real_space_pdf):
        single_curve = curve(route, jnp.float32)
        assert single_curve.dtype == jnp.float32
        with jax.enable_x64(True):
            double_curve = np.asarray(curve(route, jnp.float64))
        assert np.abs(single_curve - double_curve).max() < 2e-5 * np.abs(double_curve).max()


def test_padding_adds_nothing(fcc19, x64):
    instrument = Instrument(uiso=0.01, delta1=0.1, qdamp=0.04)
    unpadded_curve = exact_pdf(fcc19, instrument)
    pairs = debye.pairs_from_positions(jnp.pad(jnp.asarray(fcc19), ((0, 6), (0, 0))), jnp.arange(25) < 19)
    padded_curve = pdf(pairs, form_factors.UNIT_COEFFICIENTS, np.array([19.0]), instrument, grid=GRID)
    np.testing.assert_allclose(padded_curve, unpadded_curve, atol=1e-12)


def test_the_order_of_atoms_and_rotations_change_nothing(fcc19, x64):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    order = np.random.default_rng(1).permutation(19)
    curve = exact_pdf(fcc19, Instrument(0.01), symbols=("Au", "Cu"), atom_kinds=ALLOY_KINDS)
    rotated_curve = exact_pdf(
        (fcc19 @ rotation)[order], Instrument(0.01), symbols=("Au", "Cu"), atom_kinds=ALLOY_KINDS[order]
    )
    np.testing.assert_allclose(curve, rotated_curve, atol=1e-10)


def test_stretch_is_a_scaling_of_the_positions(fcc19, x64):
    instrument = Instrument(uiso=0.01, delta2=2.0, qbroad=0.02)
    scaled_curve = exact_pdf(1.02 * fcc19, instrument)
    np.testing.assert_allclose(exact_pdf(fcc19, instrument._replace(stretch=1.02)), scaled_curve, atol=1e-12)


def test_each_atom_may_have_its_own_uiso(fcc19, x64):
    """If each atom is a kind, the Debye-Waller factor of a pair is the product of those of its atoms."""
    uiso = np.random.default_rng(0).uniform(0.002, 0.02, 19)
    q = np.linspace(0.5, 20, 40)
    pairs, composition = pairs_and_composition(fcc19, np.arange(19))
    intensities = intensity(pairs, Instrument(uiso=jnp.asarray(uiso)), jnp.ones((19, 40)), composition, q)
    distance_matrix = np.linalg.norm(fcc19[:, None] - fcc19[None], axis=-1)
    debye_terms = np.exp(-0.5 * (uiso[:, None] + uiso)[..., None] * q**2) * np.sinc(
        distance_matrix[..., None] * q / np.pi
    )
    debye_terms[np.arange(19), np.arange(19)] = 1.0
    np.testing.assert_allclose(intensities, debye_terms.sum((0, 1)), rtol=1e-11)


@pytest.mark.slow
def test_gradients_through_positions_are_right_and_not_zero(x64):
    positions = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)) * 3)
    target = jnp.sin(jnp.asarray(GRID.r))
    atom_kinds = np.array([0, 0, 1, 1, 1, 1])

    @jax.jit
    def misfit(positions, uiso, delta1, delta2, qdamp, qbroad, scale, stretch):
        instrument = Instrument(uiso, delta1, delta2, qdamp, qbroad, scale, stretch)
        return jnp.sum((exact_pdf(positions, instrument, symbols=("Au", "Cu"), atom_kinds=atom_kinds) - target) ** 2)

    arguments = (positions, jnp.array([0.01, 0.02]), 0.1, 0.2, 0.04, 0.02, 0.8, 1.01)
    check_grads(misfit, arguments, order=1, modes=["rev", "fwd"], rtol=1e-5)
    for gradient in jax.jit(jax.grad(misfit, argnums=tuple(range(8))))(*arguments):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4


def test_coincident_atoms_give_finite_curves_and_gradients():
    @jax.jit
    @jax.value_and_grad
    def squared_sum(positions):
        pairs = debye.pairs_from_distances(distances.distances(positions), np.ones(3))
        grid = Grid(**{**GRID.__dict__, "rmin": 0.0})
        g = pair_distribution.pdf(
            pairs,
            form_factors.UNIT_COEFFICIENTS,
            np.array([3.0]),
            Instrument(0.01, delta2=2.0),
            grid,
            min_variance_factor=0.1,
        )
        return jnp.sum(g**2)

    value, gradient = squared_sum(jnp.array([[0.0, 0, 0], [0, 0, 0], [2.5, 0, 0]]))
    assert np.isfinite(value) and np.isfinite(gradient).all() and np.abs(gradient[2]).max() > 0


def test_chunks_of_the_exact_sum_agree_with_one_piece(fcc19, x64, monkeypatch):
    pairs, composition = pairs_and_composition(fcc19)
    q = jnp.asarray(GRID.q)

    def sum_and_peaks():
        unit_factors = jnp.ones((1, q.size))
        intensities = debye.intensity(pairs, Instrument(0.01), unit_factors, composition, q)
        return intensities, real_space.peaks(pairs, jnp.full(171, 0.02), unit_factors[:, 0], composition, q)

    unchunked_sums = jax.jit(sum_and_peaks)()
    monkeypatch.setattr(debye, "MAX_TERMS_PER_CHUNK", 1000)
    chunked_sums = jax.jit(lambda: sum_and_peaks())()
    np.testing.assert_allclose(chunked_sums[0], unchunked_sums[0], rtol=1e-12)
    np.testing.assert_allclose(chunked_sums[1], unchunked_sums[1])


def test_gathered_pairs_and_the_sum_of_gaussians_follow_the_exact_sum(x64):
    """The distances have errors, so that the bins are filled unevenly. Their skewness causes an error of 1e-3."""
    rng = np.random.default_rng(0)
    positions = fcc_shapes.fcc_cluster((3, 4, 3)).positions * 2.78 + 0.03 * rng.normal(size=(87, 3))
    instrument = Instrument(uiso=0.008, delta2=2.0)
    q, r, fine_r = jnp.linspace(1.0, 25.0, 600), jnp.arange(1.5, 20, 0.05), jnp.arange(0, 27, 0.06)
    weights = pair_distribution.q_weights(q, 1.0, 25.0)

    @jax.jit
    def curves_and_weight():
        pairs, composition = pairs_and_composition(positions)
        variance = debye.pair_variance(pairs, instrument)
        exact_function = q * debye.debye_sum(pairs, variance, jnp.ones((1, q.size)), q) / 87
        histogram = distances.traced_histogram(
            pairs.distance, pairs.weight, jnp.array(87.0), width=0.06, max_distance=24.0
        )
        binned_pairs = Pairs(histogram.mean, histogram.weight, *np.zeros((2, histogram.mean.size), int))
        variance = debye.pair_variance(binned_pairs, instrument) + histogram.variance + 0.0064
        gaussian_sum = real_space.peaks(binned_pairs, variance, jnp.ones(1), composition, fine_r)
        gaussian_curve = real_space.band_pass(r, fine_r, q, weights, added_variance=0.0064) @ gaussian_sum
        return pair_distribution.sine_transform(exact_function, q, weights, r), gaussian_curve, histogram.weight.sum()

    exact_curve, gaussian_curve, weight = curves_and_weight()
    assert float(weight) == 87 * 86
    assert np.abs(gaussian_curve - exact_curve).max() < 1.5e-3 * np.abs(exact_curve).max()


def test_a_distance_that_is_no_number_is_not_cleaned_away(fcc19):
    nodes = SpreadingNodes(9.0, 20.0)

    @jax.jit
    def method_sums(displacement):
        pairs, composition = pairs_and_composition(fcc19)
        broken_pairs = pairs._replace(distance=pairs.distance + jnp.where(jnp.arange(171) == 3, displacement, 0.0))
        shifted_positions = jnp.asarray(fcc19, jnp.float32).at[3].add(displacement)
        variance = debye.pair_variance(broken_pairs, Instrument(0.01, delta2=1.0))
        block_pairs = debye.spread_positions(shifted_positions, np.ones(19, bool), np.zeros(19, int), nodes, n_kinds=1)
        return {
            "peaks": real_space.peaks(broken_pairs, variance, jnp.ones(1), composition, jnp.asarray(GRID.r)),
            "sum": debye.debye_sum(broken_pairs, variance, jnp.ones((1, 3)), jnp.ones(3)),
            "spread": debye.spread_pairs(broken_pairs, nodes).weight,
            "blocks": block_pairs.weight,
        }

    assert all(np.isfinite(value).all() for value in method_sums(0.0).values())
    broken_sums = method_sums(jnp.nan)
    assert np.isnan(broken_sums["peaks"]).all() and np.isnan(broken_sums["sum"]).all()
    assert np.isnan(broken_sums["spread"]).any() and np.isnan(broken_sums["blocks"]).any()
