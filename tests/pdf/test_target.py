import numpy as np
import pytest

from jaxstruc.pdf import target

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
