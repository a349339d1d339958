import numpy as np
import pytest

from jaxstruc.pdf import target
from jaxstruc.scattering.cluster_tables import TableRange

R = np.arange(1.5, 15.001, 0.05)
SPAN = target.table_range(rmax=15.0, qmax=22.0, diameter=16.0)


def make_target(g, *, r=R, background=0, qmin=1.0, qmax=22.0, min_q_nodes=0):
    return target.make_target(
        r,
        g,
        target.TargetSettings(
            qmin=qmin,
            qmax=qmax,
            qdamp=0.03,
            qbroad=0.0,
            bond=2.78,
            span=SPAN,
            n_background_terms=background,
            min_q_nodes=min_q_nodes,
        ),
    )


def band_limited_pdf(r, *, qmin=1.0, qmax=22.0, max_distance=14.0, seed=0):
    """Return the G(r) of a cluster up to a diameter, and its F(Q)."""
    rng = np.random.default_rng(seed)
    distance, weight = rng.uniform(2.5, max_distance, 40), rng.normal(size=40)
    q, transform = target.sine_transform(r, qmin, qmax, SPAN)
    f = np.exp(-0.004 * q**2) * (np.sin(q[:, None] * distance) @ weight)
    return transform @ f, f


def test_a_target_knows_what_it_was_made_of():
    g, _ = band_limited_pdf(R)
    target = make_target(g, background=2)
    np.testing.assert_array_equal(target.r, R)
    np.testing.assert_array_equal(target.g, g)
    assert (target.qmin, target.qmax, target.qdamp, target.qbroad, target.bond, target.n_background_terms) == (
        1,
        22,
        0.03,
        0,
        2.78,
        2,
    )
    assert target.span == target.basis.span == SPAN
    assert target.n_independent == pytest.approx((R[-1] - R[0]) * 21 / np.pi - 2)


def test_the_basis_keeps_the_misfit_of_any_two_curves():
    """The squares in the basis plus the remainder equal the sum over all points, in double precision."""
    g, _ = band_limited_pdf(R)
    g = g + 0.1 * np.random.default_rng(1).normal(size=R.size)
    model, f = band_limited_pdf(R, seed=2)
    basis = make_target(g).basis
    damped_model = np.exp(-0.5 * (R * 0.03) ** 2) * model
    basis_model = np.asarray(f, np.float32) @ np.asarray(basis.transform)
    basis_model = basis_model * np.exp(-0.5 * (np.asarray(basis.radius) * 0.03) ** 2)
    squares = float(np.sum((np.asarray(basis.data) - basis_model) ** 2) + basis.unmodelled_squares)
    assert squares == pytest.approx(np.sum((g - damped_model) ** 2), rel=2e-3)
    assert float(basis.norm) == pytest.approx(np.sum(g**2), rel=1e-5)


def test_a_background_costs_nothing():
    g, _ = band_limited_pdf(R)
    relative_r = (R - R[0]) / (R[-1] - R[0])
    background = 0.3 - 0.7 * np.cos(np.pi * relative_r)
    plain_basis, lifted_basis = (make_target(pdf, background=2).basis for pdf in (g, g + background))
    np.testing.assert_allclose(plain_basis.data, lifted_basis.data, atol=2e-4 * np.abs(g).max())


def test_a_larger_size_adds_zeros_alone():
    g, _ = band_limited_pdf(R)
    plain_basis, padded_basis = make_target(g).basis, make_target(g, min_q_nodes=800).basis
    assert padded_basis.q.size == 800 > plain_basis.q.size and plain_basis.data.size % target.BASIS_SIZE_MULTIPLE == 0
    np.testing.assert_array_equal(padded_basis.transform[: plain_basis.q.size], plain_basis.transform)
    assert not np.any(padded_basis.transform[plain_basis.q.size :]) and not np.any(padded_basis.q[plain_basis.q.size :])
    np.testing.assert_array_equal(padded_basis.data, plain_basis.data)


def test_too_few_points_are_refused():
    r = R[:20]
    with pytest.raises(ValueError, match=r"Expected more than 7 independent points, got 6\.4"):
        make_target(np.sin(r), r=r)


def fit_target(g, **settings):
    """Return a target with the default settings, some of them replaced."""
    defaults = {"qmin": 1.0, "qmax": 22.0, "qdamp": 0.03, "qbroad": 0.0, "bond": 2.78, "span": SPAN}
    return target.make_target(R, g, target.TargetSettings(**defaults | settings))


def sine_integral(r, distance, qmin, qmax):
    """Return 2/pi times the integral of sin(Q d) sin(Q r) over Q."""

    def antiderivative(q):
        return q / 2 * (np.sinc(q * (r - distance) / np.pi) - np.sinc(q * (r + distance) / np.pi))

    return 2 / np.pi * (antiderivative(qmax) - antiderivative(qmin))


@pytest.mark.parametrize(("qmin", "qmax"), [(1.0, 22.0), (0.0, 9.0), (5.0, 6.5)])
def test_the_sine_transform_is_the_integral_over_q(qmin, qmax):
    """A wave of the longest distance of the span, with the largest stretch, is integrated exactly."""
    q, transform = target.sine_transform(R, qmin, qmax, SPAN)
    assert qmin < q.min() and q.max() < qmax and len(q) == target.n_q_nodes(R[-1], qmin, qmax, SPAN)
    constant_integral = 2 / np.pi * (np.cos(qmin * R) - np.cos(qmax * R)) / R
    np.testing.assert_allclose(transform @ np.ones(len(q)), constant_integral, atol=1e-10)
    for distance in (2.7, 1.12 * SPAN.max_distance):
        np.testing.assert_allclose(
            transform @ np.sin(q * distance), sine_integral(R, distance, qmin, qmax), atol=1e-9 * qmax
        )


def test_the_number_of_q_points_is_a_multiple_of_32_that_covers_the_phase():
    """The rule has half a point for each radian over half the range, plus 16."""
    for rmax, qmin, qmax in ((15.0, 1.0, 22.0), (30.0, 0.1, 12.0), (8.0, 2.0, 40.0), (0.0, 1.0, 1.0)):
        phase = (qmax - qmin) / 2 * (1.12 * SPAN.max_distance + rmax)
        n_nodes = target.n_q_nodes(rmax, qmin, qmax, SPAN)
        assert n_nodes % 32 == 0 and 0 <= n_nodes - (phase / 2 + 16) < 32


@pytest.mark.parametrize(
    ("rmax", "qmax", "diameter", "limits"),
    [
        (15.0, 22.0, 16.0, (20.0, 28.0)),
        (15.0, 20.0, 90.0, (24.0, 24.0)),
        (14.0, 25.0, 90.0, (20.0, 28.0)),
        (30.0, 25.1, 23.9, (24.0, 32.0)),
    ],
)
def test_tables_reach_six_angstrom_beyond_the_data_or_to_the_end_of_the_particle(rmax, qmax, diameter, limits):
    """The limits are multiples of 4. The largest Q is that of the largest stretch, 1.12."""
    assert target.table_range(rmax=rmax, qmax=qmax, diameter=diameter) == TableRange(*limits)


def test_independent_points_are_half_waves_and_at_most_the_points_of_the_grid():
    r = np.array([2.0, 10.0])
    fine_r = np.linspace(2.0, 10.0, 500)
    assert target.independent_points(fine_r, qmin=1.0, qmax=19.0, n_background_terms=3) == pytest.approx(
        8 * 18 / np.pi - 3
    )
    assert target.independent_points(np.linspace(2.0, 10.0, 12), qmin=1.0, qmax=19.0, n_background_terms=3) == 9
    for n_points in (10, 9):  # 8 and 7 points remain, and a fit has 7 parameters and the relaxation, which has a prior
        points = np.linspace(2.0, 10.0, n_points)
        if n_points == 10:
            assert target.independent_points(points, qmin=1.0, qmax=19.0, n_background_terms=2) == 8
        else:
            with pytest.raises(ValueError, match=r"got 7\.0 for r 2 to 10 Å and Q 1 to 19 1/Å; .*, or fit fewer"):
                target.independent_points(points, qmin=1.0, qmax=19.0, n_background_terms=2)
    with pytest.raises(ValueError, match=r"Expected more than 7.*; lower --rmin or raise --rmax\.$"):
        target.independent_points(r, qmin=1.0, qmax=19.0)


def test_background_terms_are_orthonormal_cosines_over_the_range():
    terms = target.background_terms(R, 3)
    np.testing.assert_allclose(terms.T @ terms, np.eye(3), atol=1e-12)
    for n_half_waves in range(3):
        cosine = np.cos(n_half_waves * np.pi * (R - R[0]) / (R[-1] - R[0]))
        np.testing.assert_allclose(terms @ (terms.T @ cosine), cosine, atol=1e-12)


@pytest.mark.parametrize("n_terms", [0, 1, 3])
def test_squares_in_the_basis_are_those_of_the_best_background(n_terms):
    """A model in the basis is subtracted from the data, and then the best background, which least squares find."""
    rng = np.random.default_rng(5)
    g = band_limited_pdf(R)[0] + 0.2 * rng.normal(size=R.size) + 0.4
    made_target = fit_target(g, n_background_terms=n_terms)
    basis = made_target.basis
    background_basis = np.asarray(basis.background_basis, float)
    cosines = np.cos(np.pi * np.linspace(0, 1, R.size)[:, None] * np.arange(n_terms))
    functions = made_target.basis_functions
    is_used = np.asarray(basis.radius) > 0
    np.testing.assert_allclose((functions.T @ functions)[np.ix_(is_used, is_used)], np.eye(is_used.sum()), atol=1e-6)
    for scale in (0.0, 1.0):
        coefficients = scale * (functions.T @ g + 0.1 * is_used * rng.normal(size=is_used.size))
        residual = g - functions @ coefficients
        if n_terms:
            residual = residual - cosines @ np.linalg.lstsq(cosines, residual, rcond=None)[0]
        model = coefficients - background_basis @ (background_basis.T @ coefficients)
        squares = np.sum((np.asarray(basis.data, float) - model) ** 2) + float(basis.unmodelled_squares)
        assert squares == pytest.approx(np.sum(residual**2), rel=1e-4)
    assert float(basis.norm) == pytest.approx(np.sum(g**2), rel=1e-6)


def test_the_basis_contains_all_waves_of_its_q_range_and_multiplies_by_r_in_its_centres():
    """The basis reaches down to the lowest qmin. Its size does not grow beyond that of independent points."""
    g = band_limited_pdf(R)[0]
    for lowest_qmin, first_q in ((None, 1.0), (0.3, 0.3), (1.7, 1.0)):
        made_target = fit_target(g, lowest_qmin=lowest_qmin)
        functions, radius = made_target.basis_functions, np.asarray(made_target.basis.radius, float)
        for q in (first_q + 0.05, 11.0, 21.9):
            curve = np.sin(q * R) * np.exp(-0.02 * (R - 8) ** 2)
            inside = functions @ (functions.T @ curve)
            assert np.linalg.norm(inside) > 0.9 * np.linalg.norm(curve), q
        outside = np.sin(30.0 * R) * np.exp(-0.1 * (R - 8) ** 2)
        assert np.linalg.norm(functions.T @ outside) < 0.01 * np.linalg.norm(outside)
        is_used = radius > 0
        n_waves = (R[-1] - R[0]) * (22.0 - first_q) / np.pi
        assert n_waves <= is_used.sum() < n_waves + 16 and len(radius) % target.BASIS_SIZE_MULTIPLE == 0
        np.testing.assert_allclose(
            np.diag(functions.T @ (R[:, None] ** 2 * functions))[is_used], radius[is_used] ** 2, rtol=1e-5
        )
        assert made_target.n_independent == pytest.approx((R[-1] - R[0]) * 21 / np.pi)


def test_sizes_absolute_scale_and_accuracy_are_those_of_the_settings():
    g = band_limited_pdf(R)[0]
    free_target = fit_target(g)
    absolute_target = fit_target(g, absolute=True, min_basis_size=256, min_q_nodes=640, qbroad=0.01)
    assert free_target.basis.scale_bounds.tolist() == [np.float32(target.MIN_SCALE), np.inf]
    assert absolute_target.basis.scale_bounds.tolist() == [1.0, 1.0]
    assert absolute_target.basis.data.size == 256 and absolute_target.basis.q.size == 640
    assert (free_target.absolute, absolute_target.absolute) == (False, True)
    assert float(absolute_target.basis.qbroad) == pytest.approx(0.01) and absolute_target.qbroad == 0.01
    assert free_target.accuracy == pytest.approx(3e-3 * np.sqrt(np.mean(g**2)))


@pytest.mark.parametrize(
    ("peaks", "stretch"),
    [({2.9: 1.0, 3.6: 5.0, 2.3: 5.0}, 2.9 / 2.78), ({2.5: 1.0, 2.75: 0.9}, 2.5 / 2.78), ({3.1: 1.0}, 3.1 / 2.78)],
)
def test_fits_start_from_the_highest_point_within_12_percent_of_the_bond(peaks, stretch):
    g = np.zeros_like(R)
    for position, height in peaks.items():
        g[np.argmin(abs(R - position))] = height
    assert float(fit_target(g).basis.stretch) == pytest.approx(stretch, rel=1e-6)
    far_r = R + 5
    settings = target.TargetSettings(qmin=1.0, qmax=22.0, qdamp=0.03, qbroad=0.0, bond=2.78, span=SPAN)
    assert float(target.make_target(far_r, g, settings).basis.stretch) == 1.0


def test_curves_of_low_q_are_those_of_all_waves_in_their_range():
    made_target = fit_target(band_limited_pdf(R)[0], lowest_qmin=0.2, n_background_terms=2)
    vectors = target.low_q_curves(made_target, q_start=0.3, q_end=1.8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(vectors.shape[1]), atol=1e-9)
    assert vectors.shape[1] == pytest.approx((R[-1] - R[0]) * 1.5 / np.pi, abs=3)
    background_basis = np.asarray(made_target.basis.background_basis, float)
    for q, is_inside in ((0.35, True), (0.9, True), (1.1, True), (1.75, True), (3.5, False)):
        curve = made_target.basis_functions.T @ np.sin(q * R)
        curve = curve - background_basis @ (background_basis.T @ curve)
        share = np.sum((vectors.T @ curve) ** 2) / np.sum(curve**2)
        assert (share > 0.97) if is_inside else (share < 0.2), q


def test_settings_that_are_not_replaced_stay():
    g = band_limited_pdf(R)[0]
    made_target = fit_target(g, lowest_qmin=0.3, qbroad=0.01)
    for changes in ({}, {"qmin": 0.4}, {"qdamp": 0.05}, {"qmin": 1.5, "qdamp": 0.0}):
        changed_target = target.replace_settings(made_target, **changes)
        qmin, qdamp = changes.get("qmin", 1.0), changes.get("qdamp", 0.03)
        assert (changed_target.qmin, changed_target.qdamp, changed_target.qbroad) == (qmin, qdamp, 0.01)
        assert float(changed_target.basis.qdamp) == pytest.approx(qdamp)
        assert changed_target.n_independent == pytest.approx((R[-1] - R[0]) * (22 - qmin) / np.pi)
        used_q = np.asarray(changed_target.basis.q)[np.asarray(changed_target.basis.q) > 0]
        assert qmin < used_q.min() < qmin + 0.05 and len(changed_target.basis.q) == len(made_target.basis.q)


def test_rounded_sizes_suffice_for_the_data_and_are_those_of_similar_files():
    limits = {"r_start": 1.5, "r_end": 18.3, "qmin": 0.3, "qmax": 21.0, "diameter": 100.0}
    sizes = target.array_sizes(**limits)
    assert sizes == target.array_sizes(**limits | {"r_end": 20.0, "qmax": 20.5})
    assert sizes.span.max_distance >= 18.3 + target.R_MARGIN and sizes.span.qmax >= target.STRETCH_BOUNDS[1] * 21.0
    assert sizes.n_q_nodes >= target.n_q_nodes(18.3, 0.3, 21.0, sizes.span) and sizes.n_q_nodes % 128 == 0
    assert sizes.basis_size >= (18.3 - 1.5) * (21.0 - 0.3) / np.pi and sizes.basis_size % 64 == 0
