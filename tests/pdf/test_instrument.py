import numpy as np
import pytest
from simulated_pdfs_numpy import BOND, cluster_pdf

from jaxstruc.clusters import fcc_shapes, library
from jaxstruc.parameters import FIT_PARAMETERS
from jaxstruc.pdf import candidates, instrument, target
from jaxstruc.pdf.candidates import CandidateGroup

KNOWN_CLUSTERS = library.from_clusters([fcc_shapes.fcc_cluster(layers) for layers in ((2, 4, 2), (2, 3, 2), (3, 4, 2))])
POOL = candidates.candidate_pool([CandidateGroup("library", KNOWN_CLUSTERS, np.arange(3))])
R = np.arange(1.5, 20.001, 0.05)
SPAN = target.table_range(rmax=20.0, qmax=18.0, diameter=16.0)
FREE_PARAMETERS = ("scale", "stretch", "uiso", "delta2")


def make_target(*, qmin, stated_qmin, noise=0.05, qdamp=0.03, stated_qdamp=0.03, seed=0):
    """Return a target whose qmin differs from the true qmin of its data."""
    positions = library.candidate_cluster(KNOWN_CLUSTERS, 2).positions * BOND
    g = cluster_pdf(positions, R, noise=noise, rng=np.random.default_rng(seed), qmin=qmin, qdamp=qdamp)
    settings = {"qmin": stated_qmin, "qmax": 18.0, "qdamp": stated_qdamp, "qbroad": 0.0}
    return target.make_target(
        R,
        g,
        target.TargetSettings(
            **settings, bond=BOND, span=SPAN, lowest_qmin=min(stated_qmin, instrument.MIN_TRIAL_QMIN)
        ),
    )


@pytest.mark.parametrize("true_qmin", [0.5, 0.97, 1.43])
def test_the_qmin_of_the_data_is_found_under_a_wrong_header(true_qmin):
    inferred_setting = instrument.infer_setting(
        POOL, make_target(qmin=true_qmin, stated_qmin=0.1), "qmin", free=FREE_PARAMETERS
    )
    assert (
        inferred_setting.value == pytest.approx(true_qmin, abs=0.05)
        and abs(inferred_setting.value - true_qmin) < 4 * inferred_setting.error + 0.01
    )
    assert 0 < inferred_setting.error < 0.1
    values = [value for value, _ in inferred_setting.rw_by_value]
    assert values == sorted(values) and 0.1 in values and {0.3, 1.8} <= set(values)
    assert min(inferred_setting.rw_by_value, key=lambda point: point[1])[0] == inferred_setting.value


@pytest.mark.parametrize("seed", range(4))
def test_a_header_that_is_right_is_kept(seed):
    assert (
        instrument.infer_setting(POOL, make_target(qmin=1.0, stated_qmin=1.0, seed=seed), "qmin", free=FREE_PARAMETERS)
        is None
    )
    assert (
        instrument.infer_setting(POOL, make_target(qmin=1.0, stated_qmin=1.0, noise=0.0), "qmin", free=FREE_PARAMETERS)
        is None
    )


def test_more_noise_leaves_the_value_less_certain():
    quiet_setting, noisy_setting = (
        instrument.infer_setting(
            POOL, make_target(qmin=0.9, stated_qmin=0.1, noise=noise), "qmin", free=FREE_PARAMETERS
        )
        for noise in (0.05, 0.5)
    )
    assert noisy_setting.error > 2 * quiet_setting.error


@pytest.mark.parametrize("true_qdamp", [0.06, 0.095])
def test_the_qdamp_of_the_data_is_found_where_it_was_a_guess(true_qdamp):
    fit_target = make_target(qmin=1.0, stated_qmin=1.0, qdamp=true_qdamp, noise=0.0)
    inferred_setting = instrument.infer_setting(POOL, fit_target, "qdamp", free=FREE_PARAMETERS)
    assert inferred_setting.value == pytest.approx(true_qdamp, abs=0.002) and 0 < inferred_setting.error < 0.002
    assert (
        instrument.infer_setting(
            POOL, target.replace_settings(fit_target, qdamp=true_qdamp), "qdamp", free=FREE_PARAMETERS
        )
        is None
    )


def test_a_changed_target_is_the_one_made_with_the_value():
    """Basis, data and norm are unchanged. The model and the number of independent points are those of the new qmin."""
    fit_target = make_target(qmin=0.9, stated_qmin=0.1)
    changed_target = target.replace_settings(fit_target, qmin=0.9, qdamp=0.04)
    fresh_target = make_target(qmin=0.9, stated_qmin=0.9, stated_qdamp=0.04)
    assert (changed_target.qmin, changed_target.qdamp) == (0.9, 0.04)
    assert (
        changed_target.n_independent == pytest.approx(fresh_target.n_independent)
        and changed_target.n_independent < fit_target.n_independent
    )
    np.testing.assert_array_equal(changed_target.basis.data, fit_target.basis.data)
    changed_fit, fresh_fit = (
        candidates.fit_all(POOL, tested_target) for tested_target in (changed_target, fresh_target)
    )
    np.testing.assert_allclose(changed_fit.rw, fresh_fit.rw, atol=1e-4)
    np.testing.assert_allclose(changed_fit.values.uiso, fresh_fit.values.uiso, rtol=1e-2)


def test_a_standard_error_is_the_change_that_costs_half_a_unit_of_the_log_likelihood():
    """The Rw of the trial values is that of a normal likelihood with a standard deviation of 0.04 about 0.9."""
    n_effective, step = 50.0, 0.01
    values = [0.9, *(0.9 + step * np.array([-8, -4, -2, -1, 1, 2, 4, 8])), 0.9 + 9 * step, 0.2]
    rw_by_value = {value: 0.1 * np.exp(0.5 * ((value - 0.9) / 0.04) ** 2 / n_effective) for value in values}
    rw_by_value[0.2] = 0.1001  # far values are left out
    error = instrument._standard_error(rw_by_value, 0.9, step, n_effective)
    assert error == pytest.approx(0.04, rel=1e-6)
    assert instrument._standard_error(rw_by_value | {0.92: np.inf}, 0.9, step, n_effective) == pytest.approx(0.04)
    assert instrument._standard_error({0.9: 0.1, 0.91: 0.1}, 0.9, step, n_effective) == np.inf
    assert instrument._standard_error({0.9: 0.1}, 0.9, step, n_effective) == np.inf


@pytest.mark.parametrize("n_background_terms", [0, 3])
def test_a_qmin_is_tried_if_it_leaves_two_points_for_each_parameter(n_background_terms):
    settings = target.TargetSettings(
        qmin=0.5, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=BOND, span=SPAN, n_background_terms=n_background_terms
    )
    fit_target = target.make_target(R, np.sin(12 * R), settings)
    largest_qmin = 18.0 - (2 * len(FIT_PARAMETERS) + n_background_terms) * np.pi / (R[-1] - R[0])
    assert instrument._has_enough_points(fit_target, largest_qmin - 1e-6)
    assert not instrument._has_enough_points(fit_target, largest_qmin + 1e-6)


@pytest.mark.parametrize(("stated_qmin", "is_replaced"), [(1.0065, False), (1.012, True)])
def test_a_value_is_replaced_only_if_rw_falls_by_a_thousandth(stated_qmin, is_replaced):
    """Without noise, the likelihood prefers the true qmin of 1 clearly. The Rw falls by 0.0008 and by 0.0018."""
    fit_target = make_target(qmin=1.0, stated_qmin=stated_qmin, noise=0.0)
    inferred_setting = instrument.infer_setting(POOL, fit_target, "qmin", free=FREE_PARAMETERS)
    assert (inferred_setting is not None) == is_replaced
