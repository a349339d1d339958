import numpy as np
import pytest

from jaxstruc.inference import target as targets

R = np.arange(1.5, 15.001, 0.05)
SPAN = targets.span(rmax=15.0, qmax=22.0, diameter=16.0)


def target(g, *, r=R, background=0, qmin=1.0, qmax=22.0, size=0):
    return targets.target(
        r, g, qmin=qmin, qmax=qmax, qdamp=0.03, qbroad=0.0, bond=2.78, span=SPAN, background=background, size=size
    )


def band_limited(r, *, qmin=1.0, qmax=22.0, reach=14.0, seed=0):
    """Return a curve that clusters up to a diameter could give, and F(Q) behind it."""
    rng = np.random.default_rng(seed)
    distance, weight = rng.uniform(2.5, reach, 40), rng.normal(size=40)
    q, transform = targets.transform(r, qmin, qmax, SPAN)
    f = np.exp(-0.004 * q**2) * (np.sin(q[:, None] * distance) @ weight)
    return transform @ f, f


def test_a_target_knows_what_it_was_made_of():
    g, _ = band_limited(R)
    goal = target(g, background=2)
    np.testing.assert_array_equal(goal.r, R)
    np.testing.assert_array_equal(goal.g, g)
    assert (goal.qmin, goal.qmax, goal.qdamp, goal.qbroad, goal.bond, goal.background) == (1, 22, 0.03, 0, 2.78, 2)
    assert goal.span == goal.basis.span == SPAN
    assert goal.independent == pytest.approx((R[-1] - R[0]) * 21 / np.pi - 2)


def test_the_basis_keeps_the_misfit_of_any_two_curves():
    """The squares in the basis and the rest are those over all points, in double precision."""
    g, _ = band_limited(R)
    g = g + 0.1 * np.random.default_rng(1).normal(size=R.size)
    model, f = band_limited(R, seed=2)
    basis = target(g).basis
    damped = np.exp(-0.5 * (R * 0.03) ** 2) * model
    ours = np.asarray(f, np.float32) @ np.asarray(basis.design)
    ours = ours * np.exp(-0.5 * (np.asarray(basis.radius) * 0.03) ** 2)
    squares = float(np.sum((np.asarray(basis.data) - ours) ** 2) + basis.rest)
    assert squares == pytest.approx(np.sum((g - damped) ** 2), rel=2e-3)
    assert float(basis.norm) == pytest.approx(np.sum(g**2), rel=1e-5)


def test_a_background_costs_nothing():
    g, _ = band_limited(R)
    place = (R - R[0]) / (R[-1] - R[0])
    under = 0.3 - 0.7 * np.cos(np.pi * place)
    plain, lifted = (target(curve, background=2).basis for curve in (g, g + under))
    np.testing.assert_allclose(plain.data, lifted.data, atol=2e-4 * np.abs(g).max())


def test_a_larger_size_adds_zeros_alone():
    g, _ = band_limited(R)
    plain, wide = target(g).basis, target(g, size=800).basis
    assert wide.q.size == 800 > plain.q.size and plain.data.size % targets.MULTIPLE == 0
    np.testing.assert_array_equal(wide.design[: plain.q.size], plain.design)
    assert not np.any(wide.design[plain.q.size :]) and not np.any(wide.q[plain.q.size :])
    np.testing.assert_array_equal(wide.data, plain.data)


def test_too_few_points_are_refused():
    r = R[:20]
    with pytest.raises(ValueError, match=r"Expected more than 7 independent points, got 6\.4"):
        target(np.sin(r), r=r)
