"""I(Q) of wide angles as a linear function of F(Q): exact sums, resolution, background, and refusals."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Icosahedron
from scipy.spatial.distance import pdist, squareform

import jaxstruc
from jaxstruc.api import make_refine_plan
from jaxstruc.io.columns import ReadError
from jaxstruc.io.measurement import Measurement
from jaxstruc.options.pdf import DataOptions, FitOptions, RefineOptions
from jaxstruc.pdf import cross_validation, fit
from jaxstruc.pdf.intensity import IntensityCurve, intensity_curve
from jaxstruc.pdf.intensity_target import intensity_range, make_intensity_target
from jaxstruc.pdf.solve import prepare_measurement
from jaxstruc.report import methods_text, page_data
from jaxstruc.scattering import cluster_tables, form_factors

Q = np.linspace(0.5, 12.0, 240)
CLUSTER = Icosahedron("Pt", 2)
BOND = 2.85
SCALE, UISO, BACKGROUND = 3.0, 0.01, 500.0


def form_factor_squares(q):
    """Return the squared form factor of Pt."""
    coefficients = form_factors.xray_coefficients(["Pt"])
    return np.asarray(form_factors.xray_form_factors(coefficients, jnp.asarray(q, jnp.float32)), float)[0] ** 2


def exact_intensity(q, *, uiso=UISO):
    """Return I(Q) per atom as a sum over all pairs of atoms, with the scale 1 and no background."""
    d = pdist(CLUSTER.positions)
    pairs = np.exp(-uiso * q[:, None] ** 2) * np.sin(q[:, None] * d) / (q[:, None] * d)
    return form_factor_squares(q) * (1 + 2 / len(CLUSTER) * pairs.sum(axis=1))


def measured(intensity, **columns):
    """Return a measurement of I(Q) with errors of 1 %."""
    settings = {"kind": "iq", "q": Q, "intensity": intensity, "sigma": 0.01 * np.abs(intensity)} | columns
    return Measurement("pt.iq", np.zeros(0), np.zeros(0), {}, **settings)


def curve_of(measurement, **options) -> IntensityCurve:
    """Return the curve of a measurement, for clusters of up to 16 Å."""
    return intensity_curve(measurement, "Pt", **{"max_distance": 16.0, "n_background_terms": 1} | options)


@pytest.fixture(scope="module")
def fitted_cluster():
    """Fit of the cluster to its own exact I(Q) with a constant background."""
    span = intensity_range(qmax=Q[-1], diameter=12.0)
    curve = curve_of(measured(SCALE * exact_intensity(Q) + BACKGROUND))
    target = make_intensity_target(curve, bond=BOND, span=span, element="Pt")
    distances = jnp.asarray(squareform(pdist(CLUSTER.positions)), jnp.float32)
    table = cluster_tables.tabulate_distances(distances, jnp.ones(len(CLUSTER)), BOND, span=span)
    return target, table, fit.refine(table, target.basis, free=("scale", "stretch", "uiso"))


def test_a_fit_finds_the_values_of_an_exact_sum_over_all_pairs(fitted_cluster):
    _, _, cluster_fit = fitted_cluster
    assert float(cluster_fit.values.scale) == pytest.approx(SCALE, rel=2e-3)
    assert float(cluster_fit.values.stretch) == pytest.approx(1.0, abs=1e-4)
    assert float(cluster_fit.values.uiso) == pytest.approx(UISO, rel=0.02)  # tables have errors of 1e-3 in F(Q)
    assert float(cluster_fit.rw) < 3e-3


def test_the_calculated_curve_is_the_exact_one_with_its_background(fitted_cluster):
    target, table, cluster_fit = fitted_cluster
    row = jax.tree.map(lambda column: column[None], (cluster_fit, table))
    calculated, background = (curve[0] * target.unit for curve in fit.fitted_curves(*row, target))
    exact = SCALE * exact_intensity(Q) + BACKGROUND
    assert np.sqrt(np.mean((calculated / exact - 1) ** 2)) < 2e-3
    assert background == pytest.approx(background[0])
    assert background[0] == pytest.approx(BACKGROUND, rel=0.05)


def test_single_atoms_without_structure_have_an_rw_of_one(fitted_cluster):
    target, _, _ = fitted_cluster
    basis = target.basis
    atoms, data = np.asarray(basis.self_scattering, float), np.asarray(basis.data, float)
    residual = data - atoms * (atoms @ data) / (atoms @ atoms)
    squares = residual @ residual + float(basis.unmodelled_squares)
    assert squares == pytest.approx(float(basis.norm), rel=1e-4)


def test_the_resolution_is_a_gaussian_in_q():
    """The referee convolves the exact curve on a fine grid."""
    width = 0.05
    curve = curve_of(measured(exact_intensity(Q)), resolution=width)
    f_of_nodes = curve.nodes * (exact_intensity(curve.nodes) / form_factor_squares(curve.nodes) - 1)
    smeared = (curve.f_to_intensity @ f_of_nodes + curve.self_scattering) * curve.sigma
    offsets = np.linspace(-4, 4, 81)
    weights = np.exp(-0.5 * offsets**2) / np.sum(np.exp(-0.5 * offsets**2))
    referee = sum(weight * exact_intensity(Q + width * offset) for offset, weight in zip(offsets, weights, strict=True))
    inside = (Q > 0.8) & (Q < 11.7)  # the data contain nothing beyond their ends
    assert smeared[inside] == pytest.approx(referee[inside], rel=2e-3)


def test_a_measured_curve_without_errors_has_relative_ones():
    curve = curve_of(measured(exact_intensity(Q), sigma=None))
    assert not curve.has_errors
    assert curve.sigma == pytest.approx(0.01 * exact_intensity(Q), rel=1e-6)


def test_each_predicted_range_of_q_is_left_out_of_its_fit():
    target = make_intensity_target(
        curve_of(measured(exact_intensity(Q))), bond=BOND, span=intensity_range(qmax=Q[-1], diameter=12.0)
    )
    holdout_data = cross_validation.HoldoutData(
        target.r, target.g, target, 12.0, target.span, *target.basis.transform.shape
    )
    assert len(holdout_data.all_cuts) == 3
    for cut in holdout_data.all_cuts:
        fitted = holdout_data.target_at(cut)
        predicted = cross_validation.is_predicted(Q, cut)
        assert predicted.sum() >= 10
        assert np.array_equal(fitted.r, Q[~predicted])
        assert fitted.basis.data.shape == target.basis.data.shape
        n_independent = cross_validation.n_independent_beyond_cut(fitted, cut, Q)
        assert 1 < n_independent <= predicted.sum() - 1
        fine, finer = (
            cross_validation.n_independent_beyond_cut(fitted, cut, np.linspace(Q[0], Q[-1], factor * len(Q)))
            for factor in (20, 40)
        )
        assert n_independent <= fine == finer


def test_an_answer_for_an_intensity_is_written_with_its_points_of_q(tmp_path):
    options = RefineOptions(fit=FitOptions(free=("scale", "stretch", "uiso")))
    result = jaxstruc.refine(measured(SCALE * exact_intensity(Q) + BACKGROUND), [CLUSTER], options=options)
    assert result.status == "solved" and result.kind == "iq"
    assert result.best.values["scale"].value == pytest.approx(SCALE, rel=2e-3)
    result.save(tmp_path)
    with (tmp_path / "fits" / "pt.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["Q"]) for row in rows] == pytest.approx(Q, rel=1e-4)
    assert [float(row["I_obs"]) for row in rows] == pytest.approx(SCALE * exact_intensity(Q) + BACKGROUND, rel=1e-3)
    assert [float(row["I_calc"]) for row in rows] == pytest.approx(SCALE * exact_intensity(Q) + BACKGROUND, rel=0.02)
    assert jaxstruc.load(tmp_path / "results" / "pt.npz").kind == "iq"
    data = page_data.fit_data(result, page_data.DETAILED)
    assert data["axes"] == ["Q (1/Å)", "Q I(Q)"] and data["data"][0] == pytest.approx(
        Q[0] * result.observed[0], rel=1e-2
    )
    assert "to I(Q) without a Fourier transform" in methods_text.methods_paragraph(result)


@pytest.mark.parametrize(
    ("options", "columns", "message"),
    [
        (RefineOptions(fit=FitOptions(free=("scale", "qdamp"))), {}, "Expected --free without qdamp"),
        (RefineOptions(data=DataOptions(rmax=10.0)), {}, "Expected no --rmin and --rmax"),
        (RefineOptions(data=DataOptions(qmax=1.5)), {}, "got I.Q. in pt.iq; pass it to jaxstruc saxs"),
        (RefineOptions(data=DataOptions(qmin=11.9)), {}, "at least"),
        (RefineOptions(), {"intensity": -Q}, "Expected positive intensities"),
    ],
)
def test_what_an_intensity_cannot_answer_is_refused_in_one_sentence(options, columns, message):
    plan = make_refine_plan([CLUSTER], options)
    with pytest.raises((ValueError, ReadError), match=message):
        prepare_measurement(measured(exact_intensity(Q))._replace(**columns), plan)
