"""Mean sizes, widths and type shares with intervals, and their tables."""

import dataclasses

import numpy as np
import pytest

from jaxstruc.clusters import size_classes
from jaxstruc.clusters.distances import Histogram
from jaxstruc.clusters.size_classes import SizeClasses
from jaxstruc.io.measurement import Measurement
from jaxstruc.pdf import distribution, target
from jaxstruc.pdf.cross_validation import CrossValidation, HoldoutComparison, HoldoutCut, PredictionMisfit
from jaxstruc.pdf.distribution import Distribution, Holdout, SampleComparison
from jaxstruc.statistics import Interval

EMPTY = np.zeros(0)
SIZE_CLASSES = SizeClasses(
    ("fcc", "twin"), np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([4.0, 8.0, 8.0]),
    np.array(["fcc", "fcc", "faulted"], object), np.ones(3, int), Histogram(EMPTY, EMPTY, EMPTY, EMPTY),
    np.array([4.0, 8.0]),
)  # fmt: skip


def make_distribution(
    sample="distribution", holdouts=((12.0, 18.0, 30.0, 0.5, 0.3, 9.0), (14.0, 20.0, 30.0, 0.7, 0.4, 9.0))
):
    volume = np.array([[0.2, 0.3], [0.0, 0.5]])
    band = np.array([0.1, 0.9])
    return Distribution(
        sample,
        "free",
        0.1,
        Interval(7.2, 7.0, 7.5),
        Interval(0.2, 0.1, 0.3),
        {"fcc": Interval(0.5, 0.4, 0.6)},
        tuple(Holdout(*holdout) for holdout in holdouts),
        ("fcc", "faulted"),
        np.array([4.0, 8.0]),
        volume,
        band,
        band,
        volume,
        band,
        band,
        EMPTY,
        EMPTY,
        EMPTY,
        EMPTY,
    )


def test_mean_and_width_are_weighted_by_volume():
    fractions, diameters = np.array([0.25, 0.75]), np.array([10.0, 20.0])
    mean, width = distribution.size_intervals(fractions, np.tile(fractions, (50, 1)), diameters)
    assert (mean.value, mean.low, mean.high) == pytest.approx((17.5, 17.5, 17.5))
    assert width.value == pytest.approx(np.sqrt(0.25 * 7.5**2 + 0.75 * 2.5**2) / 17.5)


def test_shares_of_types_are_sums_over_classes_the_largest_first_and_at_most_one():
    fractions = np.array([0.2, 0.3, 0.5])
    fraction_draws = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.4, 0.5, 0.1]])
    intervals = distribution.type_intervals(fractions, fraction_draws, np.array(["fcc", "hcp", "hcp"], object))
    assert list(intervals) == ["hcp", "fcc"] and intervals["hcp"].value == pytest.approx(0.8)
    assert all(0 <= interval.low <= interval.value <= interval.high <= 1 for interval in intervals.values())


def test_shares_by_number_weigh_small_particles_more():
    volume, number = distribution.tabulate_fractions(np.array([0.5, 0.25, 0.25]), SIZE_CLASSES, ("fcc", "faulted"))
    np.testing.assert_allclose(volume, [[0.5, 0.25], [0.0, 0.25]])
    np.testing.assert_allclose(number, np.array([[8 * 0.5, 0.25], [0.0, 0.25]]) / 4.5)
    batch = distribution.tabulate_fractions(np.tile([0.5, 0.25, 0.25], (3, 1)), SIZE_CLASSES, ("fcc", "faulted"))
    np.testing.assert_allclose(batch[1][2], number)


def test_rw_of_the_holdout_is_that_of_the_reported_model():
    assert make_distribution().rw_holdout == pytest.approx(0.35) == make_distribution().rw_holdout_ensemble
    assert make_distribution("single").rw_holdout == pytest.approx(0.6) == make_distribution().rw_holdout_single
    assert make_distribution("undecided").rw_holdout == pytest.approx(0.35)
    assert make_distribution("undecided", holdouts=()).rw_holdout is None


def test_the_table_has_a_column_for_all_and_for_each_type():
    columns = make_distribution().table
    assert list(columns)[:4] == ["diameter", "volume", "volume_low", "volume_high"]
    np.testing.assert_allclose(columns["volume"], columns["volume_fcc"] + columns["volume_faulted"])
    assert {len(column) for column in columns.values()} == {2}


def test_intervals_of_sizes_and_shares_are_the_widened_quantiles_of_the_draws():
    rng = np.random.default_rng(0)
    sizes, fractions = np.array([10.0, 14.0, 20.0]), np.array([0.3, 0.5, 0.2])
    draws = rng.dirichlet(30 * fractions, 500)
    mean, width = distribution.size_intervals(fractions, draws, sizes)
    means = draws @ sizes
    widths = np.sqrt(draws @ sizes**2 - means**2) / means
    fcc_shares = draws[:, :2].sum(axis=1)
    share = distribution.type_intervals(fractions, draws, np.array(["fcc", "fcc", "hcp"], object))["fcc"]
    expected_values = (
        fractions @ sizes,
        np.sqrt(fractions @ sizes**2 - (fractions @ sizes) ** 2) / (fractions @ sizes),
    )
    for interval, value, entry, factor in (
        (mean, expected_values[0], means, 1.1), (width, expected_values[1], widths, 1.5), (share, 0.8, fcc_shares, 2.2),
    ):  # fmt: skip
        low, median, high = np.quantile(entry, (0.05, 0.5, 0.95))
        assert interval.value == pytest.approx(value)
        assert interval.low == pytest.approx(value + factor * (low - median))
        assert interval.high == pytest.approx(
            min(value + factor * (high - median), 1.0 if entry is fcc_shares else np.inf)
        )


@pytest.mark.parametrize(("large_share", "has_remark"), [(0.19, False), (0.2, True), (0.5, True)])
def test_a_fifth_of_the_atoms_at_the_largest_sizes_is_reported(large_share, has_remark):
    """Sizes above 85 % of the largest one are large."""
    volume = np.array([[0.6 - large_share, 0.1, large_share / 2], [0.2, 0.1, large_share / 2]])
    ensemble = dataclasses.replace(make_distribution(), size=np.array([10.0, 17.0, 20.0]), volume=volume)
    remark = distribution.size_limit_remark(ensemble)
    assert bool(remark) == has_remark
    if has_remark:
        assert remark.startswith(f"{large_share:.0%} of the atoms are in particles close to 20 Å")


def comparison(fit_end, single, ensembles, rival_squares, *, n_independent=30.0):
    """Return predictions beyond a cut with given misfits."""
    misfits = [PredictionMisfit(rw**2, rw) for rw in (single, *ensembles)]
    r = np.array([fit_end, fit_end + 1.0])
    predicted_curves = tuple(fit_end + np.full(2, float(index)) for index in range(1 + len(ensembles)))
    return HoldoutComparison(
        HoldoutCut(fit_end, fit_end + 6.0), n_independent, misfits[0], tuple(misfits[1:]), np.array(rival_squares),
        r, -r, predicted_curves,
    )  # fmt: skip


def make_validation(comparisons, strength=1.0):
    r = np.arange(1.5, 20.0, 0.05)
    span = target.table_range(rmax=20.0, qmax=18.0, diameter=24.0)
    settings = target.TargetSettings(qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=2.78, span=span)
    pdf_target = target.make_target(r, np.sin(12 * r), settings)
    return CrossValidation("undecided", tuple(comparisons), (0.0, 0.5, 1.0), strength, None, pdf_target)


def test_gains_of_types_are_means_over_cuts_relative_to_the_best_type():
    """Rivals whose fit failed are left out, and so are cuts at which all fits failed."""
    rival_types = ["fcc", "hcp", "fcc", "bcc"]
    comparisons = [
        comparison(12.0, 0.3, (0.2, 0.1, 0.4), [4.0, 2.0, 8.0, 6.0]),
        comparison(14.0, 0.3, (0.2, 0.1, 0.4), [1.0, 3.0, np.nan, 5.0], n_independent=20.0),
        comparison(16.0, 0.3, (0.2, 0.1, 0.4), [np.nan] * 4),
    ]
    gains = distribution._type_gains(make_validation(comparisons), rival_types)
    assert gains["fcc"] == pytest.approx(0.5 * (15 * np.log(2 / 4) + 0))
    assert gains["hcp"] == pytest.approx(0.5 * (0 + 10 * np.log(1 / 3)))
    assert gains["bcc"] == pytest.approx(0.5 * (15 * np.log(2 / 6) + 10 * np.log(1 / 5)))
    assert distribution._type_gains(make_validation([]), rival_types) == {}


def test_holdouts_are_those_of_the_best_departure_strength_and_the_middle_cut_is_drawn():
    comparisons = [comparison(fit_end, 0.4, (0.3, 0.2, 0.1), [1.0]) for fit_end in (12.0, 14.0, 16.0)]
    for strength, rw, index in ((0.0, 0.3, 1), (1.0, 0.1, 3)):
        validation = make_validation(comparisons, strength)
        holdouts = distribution._holdouts(validation)
        assert [(entry.cut, entry.end, entry.points) for entry in holdouts] == [
            (12.0, 18.0, 30.0), (14.0, 20.0, 30.0), (16.0, 22.0, 30.0),
        ]  # fmt: skip
        assert {(entry.single, entry.ensemble) for entry in holdouts} == {(0.4, rw)}
        assert holdouts[0].gain == pytest.approx(15 * np.log(0.4**2 / rw**2))
        r, g, single, ensemble = distribution._middle_prediction(validation)
        assert r.tolist() == [14.0, 15.0] and g.tolist() == [-14.0, -15.0]
        assert single.tolist() == [14.0, 14.0] and ensemble.tolist() == [14.0 + index] * 2
    assert [len(entry) for entry in distribution._middle_prediction(make_validation([]))] == [0] * 4


def test_the_holdout_data_begin_at_rmin_and_round_their_sizes_up():
    r = np.arange(0.0, 40.0, 0.05)
    g = np.sin(12 * r) / (1 + r)
    in_range = (r > 1.49) & (r < 20.01)
    span = target.table_range(rmax=20.0, qmax=18.0, diameter=24.0)
    settings = target.TargetSettings(qmin=1.0, qmax=18.0, qdamp=0.03, qbroad=0.0, bond=2.78, span=span)
    fit_target = target.make_target(r[in_range], g[in_range], settings)
    for signal_end, r_end in ((31.0, 40.0), (12.0, 20.0), (30.0, 30.0)):
        holdout_data = distribution._holdout_data(Measurement("a.gr", r, g, {}), fit_target, signal_end)
        assert holdout_data.r[0] == pytest.approx(1.5) and holdout_data.r[-1] == r[-1]
        np.testing.assert_array_equal(holdout_data.g, np.sin(12 * holdout_data.r) / (1 + holdout_data.r))
        assert holdout_data.signal_end == signal_end and holdout_data.span.qmax == 24.0
        full_span = target.table_range(rmax=r_end, qmax=18.0, diameter=size_classes.MAX_CLASS_SIZE * 2.78)
        assert holdout_data.span.max_distance == full_span.max_distance
        n_q_points = target.n_q_nodes(r_end, 1.0, 18.0, holdout_data.span)
        assert holdout_data.min_q_nodes % 128 == 0 and 0 <= holdout_data.min_q_nodes - n_q_points < 128
        n_functions = (r_end - 1.5) * 17 / np.pi + 20
        assert holdout_data.min_basis_size % 64 == 0 and 0 <= holdout_data.min_basis_size - n_functions < 64


@pytest.mark.parametrize("sample", ["single", "distribution", "undecided"])
def test_only_the_decision_for_a_distribution_is_one(sample):
    comparison_result = SampleComparison(make_validation([])._replace(sample=sample), None, {}, 20.0)
    assert comparison_result.is_distribution == (sample == "distribution")
