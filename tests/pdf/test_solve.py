import dataclasses

import numpy as np
import pytest

from jaxstruc.clusters import fcc_shapes, library, size_classes
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.io import gr
from jaxstruc.options.pdf import DataOptions, FitOptions
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import candidate_fits, candidates, instrument, posterior, solve, target
from jaxstruc.pdf.candidates import CandidateGroup, FittedCandidates
from jaxstruc.pdf.distribution import SampleComparison
from jaxstruc.pdf.instrument import InferredSetting
from jaxstruc.pdf.plan import MAX_REFINED_CANDIDATES
from jaxstruc.pdf.site_search import SearchResult
from jaxstruc.pdf.solve import PdfPlan
from jaxstruc.pdf.sources import CandidateSource
from jaxstruc.report import summary

KNOWN_CLUSTERS = library.from_clusters([fcc_shapes.fcc_cluster(layers) for layers in ((2, 4, 2), (2, 3, 2), (3, 4, 2))])


def make_source(*groups):
    """Return a source that yields the given groups of candidates."""
    return CandidateSource(12.0, lambda measurements: iter(groups), {"kind": "given"}, {"seed": 5})


def make_plan(*groups, screen_candidates=True, max_refined=MAX_REFINED_CANDIDATES, **options):
    default_options = PdfPlan("Ag", ()).options  # without an ensemble, a search or a screen
    return PdfPlan(
        "Ag",
        (make_source(*groups),),
        dataclasses.replace(default_options, **options),
        screen_candidates=screen_candidates,
        max_refined=max_refined,
    )


@pytest.fixture(scope="module")
def example(repository):
    return gr.read(repository / "examples" / "Ag68_simulated.gr")


def solve_example(example, *groups, **options):
    plan = make_plan(*groups, **options)
    return list(solve.solve_measurements([solve.prepare_measurement(example, plan)] * len(groups), plan))


def test_faulty_candidates_come_last_and_weigh_nothing(example):
    group = CandidateGroup(
        "network", KNOWN_CLUSTERS, np.arange(3), {0: "atoms 1.20 Å apart"}, {"draws": np.ones(3, int)}
    )
    (result,) = solve_example(example, group)
    assert [candidate.n_atoms for candidate in result.candidates][-1] == 55 and result.candidates[-1].weight == 0
    assert result.candidates[-1].rw < result.best.rw and result.candidates[-1].remark == "atoms 1.20 Å apart"
    assert sum(candidate.weight for candidate in result.candidates) == pytest.approx(1)
    assert result.facts["seed"] == 5 and result.status == "weak"  # no candidate is the true structure


def test_equal_draws_are_merged_and_equal_clusters_of_a_list_are_not(example):
    network_group = CandidateGroup("network", KNOWN_CLUSTERS, np.array([0, 0, 1]), {}, {"draws": np.ones(3, int)})
    library_group = CandidateGroup("library", KNOWN_CLUSTERS, np.array([0, 0, 1]))
    (network_result,), (library_result,) = solve_example(example, network_group), solve_example(example, library_group)
    assert (
        sorted(candidate.notes["draws"] for candidate in network_result.candidates) == [1, 2]
        and network_result.n_fitted == 2
    )
    assert library_result.n_fitted == 3


def test_results_do_not_depend_on_the_number_of_devices(example):
    tables = candidates.TableStore()
    group = CandidateGroup("library", KNOWN_CLUSTERS, np.arange(3), tables=tables)
    plan = make_plan(*[group] * 5)
    measurements = [
        solve.prepare_measurement(example._replace(g=example.g * scale, name=str(scale)), plan)
        for scale in (1.0, 1.1, 0.9, 1.3, 0.7)
    ]

    def rows(n_devices, group):
        device_plan = make_plan(*[group] * 5)._replace(n_devices=n_devices)
        return [
            {name: value for name, value in summary.row(result).items() if name != "seconds"}
            for result in solve.solve_measurements(measurements, device_plan)
        ]

    expected_rows = rows(1, group._replace(tables=None))
    assert rows(2, group) == expected_rows and rows(4, group) == expected_rows
    assert tables.find(candidates.TableKey(0, plan.bond, solve.target_sizes(measurements, plan).span, False))


def test_additional_parameters_are_freed_for_the_best_candidates_alone(example):
    group = CandidateGroup("library", KNOWN_CLUSTERS, np.arange(3))
    fit_options = FitOptions(("scale", "stretch", "uiso", "delta2", "qdamp"))
    (screened_result,), (full_result,) = (
        solve_example(example, group, fit=fit_options, max_refined=2),
        solve_example(example, group, fit=fit_options, max_refined=2, screen_candidates=False),
    )
    assert (screened_result.n_fitted, full_result.n_fitted) == (2, 3)
    assert screened_result.best.rw == pytest.approx(full_result.best.rw, rel=1e-4)
    assert screened_result.best.values["qdamp"].error is not None


def test_a_measurement_without_a_candidate_fails_and_the_others_go_on(example):
    empty_group, group = (
        CandidateGroup("library", KNOWN_CLUSTERS, np.array([], int)),
        CandidateGroup("library", KNOWN_CLUSTERS, np.arange(3)),
    )
    failed_result, solved_result = solve_example(example, empty_group, group)
    assert failed_result.status == "failed" and failed_result.message.startswith("No candidates")
    assert solved_result.candidates and solved_result.status != "failed" and not failed_result.candidates


def test_a_fit_that_is_nowhere_finite_is_a_failure(example):
    broken_library = library.from_clusters([Cluster("x", "y", np.array([[0.0, 0, 0], [0, 0, 1]]))])
    broken_library = broken_library._replace(weight=broken_library.weight * np.nan)
    (result,) = solve_example(example, CandidateGroup("library", broken_library, np.array([0])))
    assert result.status == "failed" and "Expected a finite fit" in result.message


def test_the_provenance_holds_all_that_decides_a_result():
    original_plan = make_plan(CandidateGroup("library", KNOWN_CLUSTERS, np.arange(3)))
    assert (
        original_plan.provenance["element"] == "Ag"
        and original_plan.provenance["kind"] == "given"
        and original_plan.provenance["qmin"] is None
    )
    changed_plan = original_plan._replace(
        options=dataclasses.replace(original_plan.options, data=DataOptions(qmin=0.5))
    )
    assert changed_plan.provenance != original_plan.provenance


def test_an_inferred_setting_adds_to_the_errors(example):
    """The added error is the derivative of the value with respect to the setting, times the error of the setting."""
    group = CandidateGroup("library", KNOWN_CLUSTERS, np.arange(3))
    plan = make_plan(group)
    measurement = solve.prepare_measurement(example, plan)
    fit_target = solve.padded_target(measurement, plan, solve.target_sizes([measurement], plan))
    pool = candidates.candidate_pool([group])
    fits = candidates.fit_all(pool, fit_target)
    case = solve.MeasurementCase(measurement, fit_target, [group], plan, None)
    weighted = candidates.WeightedCandidates(pool, fits, np.full(3, 1 / 3), 50.0)
    assert solve.propagate_setting_errors(case, weighted, {}) is weighted
    wider_fits = solve.propagate_setting_errors(case, weighted, {"qdamp": InferredSetting(0.03, 0.01, ())}).fits
    lower_values, upper_values = (
        candidates.fit_all(pool, target.replace_settings(fit_target, qdamp=qdamp), start=fits.values).values
        for qdamp in (0.027, 0.033)
    )
    for column, name in enumerate(DEFAULT_FREE_PARAMETERS):
        slope = (getattr(upper_values, name) - getattr(lower_values, name)) / 0.006
        expected_errors = np.hypot(fits.errors[:, column], 0.01 * slope)
        np.testing.assert_allclose(wider_fits.errors[:, column], expected_errors, rtol=1e-4)
    assert np.all(wider_fits.errors[:, 0] > 1.02 * fits.errors[:, 0])


def test_data_too_short_for_a_large_qmin_have_a_result(example):
    """Data with qmin 1.8 1/Å would have fewer independent points than fit parameters."""
    short_measurement = example._replace(header=example.header | {"qmin": 0.1, "qmax": 10.0})
    group = CandidateGroup("library", KNOWN_CLUSTERS, np.arange(3))
    (result,) = solve_example(short_measurement, group, data=DataOptions(rmax=4.2))
    assert result.candidates and result.settings_by_name["qmin"] < 1.8


def prepared_case(example, *groups, **options):
    """Return a measurement with its target and groups of candidates."""
    plan = make_plan(*groups, **options)
    measurement = solve.prepare_measurement(example, plan)
    fit_target = solve.padded_target(measurement, plan, solve.target_sizes([measurement], plan))
    return solve.MeasurementCase(measurement, fit_target, groups, plan, None)


def make_search_result(clusters, shape_cost):
    group = CandidateGroup("search", library.from_clusters(clusters), np.arange(len(clusters)))
    return SearchResult(group, np.array(shape_cost), [], np.zeros(0), np.zeros(0))


def test_a_weight_is_likelihood_times_prior_times_holdout_times_shape(example):
    """All factors are written out for three listed and two searched candidates of two types.

    The relaxation has a prior with the mean 0.5 and the standard deviation 0.5. Its value 0 means a rigid cluster.
    """
    positions = [fcc_shapes.fcc_cluster(layers).positions for layers in ((2, 4, 2), (2, 3, 2), (3, 4, 2))]
    listed_clusters = [Cluster(name, "x", entry) for name, entry in zip(("fcc", "hcp", "fcc"), positions, strict=True)]
    group = CandidateGroup("library", library.from_clusters(listed_clusters), np.arange(3))
    search_result = make_search_result(
        [Cluster("fcc", "a", positions[0] * 1.01), Cluster("hcp", "b", positions[1])], (0.7, 2.0)
    )
    case = prepared_case(example, group)
    pool = candidates.candidate_pool([group, search_result.group])
    fits = candidates.fit_all(pool, case.target)
    relaxation = np.array([0.0, 0.5, 1.0, 2.0, -0.5], np.float32)
    fits = fits._replace(values=fits.values._replace(relaxation=relaxation))
    comparison = SampleComparison(None, None, {"fcc": 0.0, "hcp": -1.5}, 20.0)
    structure_ratio = candidate_fits.residual_structure(case, FittedCandidates(pool, fits))
    exponent = 1 / (2 - 1 / max(structure_ratio or 1.0, 1.0))
    for sample_comparison, searched_particles in (
        (comparison, search_result),
        ("", None),
        (comparison, None),
        ("", search_result),
    ):
        weighted = solve.weight_candidates(case, FittedCandidates(pool, fits), sample_comparison, searched_particles)
        n_effective = weighted.effective_points
        features = np.array([*("fcc", "hcp", "fcc"), *("fcc", "hcp")], object), pool.n_atoms, pool.diameter
        prior = posterior.prior_weights(*features, listed_candidates=tuple(column[:3] for column in features))
        prior = prior * np.where(features[0] == "hcp", 0.01, 0.97 / 4)
        prior = prior * np.exp([0.0, 0.0, -0.5, -4.5, -2.0])
        if sample_comparison:
            share = n_effective / case.target.n_independent
            prior = prior * np.exp(exponent * share * np.where(features[0] == "hcp", -1.5, 0.0))
        if searched_particles:
            prior = prior * np.exp(-np.array([0, 0, 0, 0.7, 2.0]))
        n_freedom = exponent * (n_effective - len(DEFAULT_FREE_PARAMETERS))
        log_weight = np.log(prior) - n_freedom * np.log(fits.rw.astype(float))
        expected = np.exp(log_weight - log_weight.max())
        expected = np.sort(expected / expected.sum())[::-1]
        np.testing.assert_allclose(weighted.weight, expected, rtol=1e-4, atol=1e-12)
        assert 8 < n_effective < case.target.n_independent


def test_a_searched_particle_that_is_listed_is_left_out(example):
    group = CandidateGroup("library", KNOWN_CLUSTERS, np.arange(2))
    case = prepared_case(example, group)
    pool = candidates.candidate_pool([group])
    fitted = FittedCandidates(pool, candidates.fit_all(pool, case.target))
    assert solve.add_searched_particles(case, fitted, None) is fitted
    searched_clusters = [library.candidate_cluster(KNOWN_CLUSTERS, row) for row in (1, 2)]
    merged = solve.add_searched_particles(case, fitted, make_search_result(searched_clusters, (0.0, 0.0)))
    names = [merged.pool.groups[index].source for index in merged.pool.group_index]
    assert sorted(names) == ["library", "library", "search"] and (np.diff(merged.fits.rw) >= 0).all()
    assert merged.pool.n_atoms[names.index("search")] == KNOWN_CLUSTERS.atoms[2]


@pytest.mark.parametrize(
    ("header", "free", "inferable", "minimum_qmin"),
    [
        ({"qmin": 1.0, "qmax": 18.0}, (), ("qmin", "qdamp"), instrument.MIN_TRIAL_QMIN),
        ({"qmin": 1.0, "qmax": 18.0}, ("qdamp",), ("qmin",), instrument.MIN_TRIAL_QMIN),
        ({"qmin": 1.0, "qmax": 18.0, "qdamp": 0.04}, (), ("qmin",), instrument.MIN_TRIAL_QMIN),
        ({"qmin": 0.05, "qmax": 18.0, "qdamp": 0.04}, (), ("qmin",), 0.05),
    ],
)
def test_settings_of_the_header_and_defaults_may_be_inferred(example, header, free, inferable, minimum_qmin):
    case = prepared_case(example._replace(header=header), CandidateGroup("library", KNOWN_CLUSTERS, np.arange(1)))
    assert candidate_fits.inferable_settings(case.measurement, free) == inferable
    assert solve._minimum_qmin(case.measurement) == minimum_qmin


def test_a_qmin_of_the_user_is_the_smallest_of_the_models(example):
    group = CandidateGroup("library", KNOWN_CLUSTERS, np.arange(1))
    case = prepared_case(example, group, data=DataOptions(qmin=1.7))
    assert solve._minimum_qmin(case.measurement) == 1.7 and "qmin" not in candidate_fits.inferable_settings(
        case.measurement, ()
    )


@pytest.mark.parametrize("search", ["none", "quick"])
def test_targets_of_a_run_share_the_sizes_of_its_largest_file(example, search):
    group = CandidateGroup("library", KNOWN_CLUSTERS, np.arange(1))
    plan = make_plan(group, search=search, fit=FitOptions(background=2, absolute=True))
    long_measurement = solve.prepare_measurement(example, plan)
    short_measurement = solve.prepare_measurement(
        example._replace(header=example.header | {"qmax": 15.0}),
        plan._replace(options=dataclasses.replace(plan.options, data=DataOptions(rmax=12.0, qdamp=0.05, qbroad=0.01))),
    )
    run = [short_measurement, long_measurement]
    run_sizes = solve.target_sizes(run, plan)
    short_target, long_target = (solve.padded_target(measurement, plan, run_sizes) for measurement in run)
    settings = long_measurement.settings_by_name
    sizes = target.array_sizes(
        r_start=float(long_measurement.curve[0][0]),
        r_end=settings["rmax"],
        qmin=instrument.MIN_TRIAL_QMIN,
        qmax=settings["qmax"],
        diameter=size_classes.MAX_CLASS_SIZE * plan.bond,
    )
    for entry in (short_target, long_target):
        assert (entry.span, *entry.basis.transform.shape) == sizes
    assert (short_target.qmax, short_target.qdamp, short_target.qbroad, short_target.r[-1]) == (15.0, 0.05, 0.01, 12.0)
    assert short_target.n_background_terms == 2 and short_target.absolute and short_target.bond == plan.bond


def test_draws_that_are_duplicates_of_better_draws_are_dropped_and_listed_clusters_stay(example):
    network_group = CandidateGroup("network", KNOWN_CLUSTERS, np.array([1, 1, 0]), {}, {"draws": np.ones(3, int)})
    library_group = CandidateGroup("library", KNOWN_CLUSTERS, np.array([2, 2]))
    pool = candidates.candidate_pool([library_group, network_group])
    case = prepared_case(example, library_group)
    fits = candidates.fit_all(pool, case.target)
    fits = fits._replace(rw=np.array([0.5, 0.4, 0.3, 0.2, 0.6]))
    distinct = candidate_fits.drop_duplicate_draws(FittedCandidates(pool, fits))
    assert sorted(distinct.fits.rw.tolist()) == [0.2, 0.4, 0.5, 0.6]
    assert distinct.pool.groups[1].notes["draws"].tolist() == [0, 2, 1]


def test_a_converted_curve_is_not_on_an_absolute_scale(repository):
    """Keen's G_k(r) gives G(r) only up to a factor, which --absolute would take as 1."""
    measurement = gr.read(repository / "tests" / "cases" / "Pt_Gk_mantid.gr")
    plan = make_plan(data=DataOptions(qmin=0.8, qmax=20.0), fit=FitOptions(absolute=True))
    with pytest.raises(ValueError, match=r"got G_k\(r\) in .*; drop --absolute, or export G\(r\)"):
        solve.prepare_measurement(measurement, plan)
    free_scale_plan = make_plan(data=DataOptions(qmin=0.8, qmax=20.0))
    assert solve.prepare_measurement(measurement, free_scale_plan).settings_by_name["qmax"] == 20.0
