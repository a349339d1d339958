import dataclasses

import numpy as np
import pytest

from jaxstruc.clusters import fcc_shapes, library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.io import gr
from jaxstruc.options.pdf import DataOptions, FitOptions
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import candidates, solve, target
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.instrument import InferredSetting
from jaxstruc.pdf.solve import PdfPlan
from jaxstruc.pdf.sources import CandidateSource

KNOWN_CLUSTERS = library.from_clusters([fcc_shapes.fcc_cluster(layers) for layers in ((2, 4, 2), (2, 3, 2), (3, 4, 2))])


def make_source(*groups):
    """Return a source that yields the given groups of candidates."""
    return CandidateSource(12.0, lambda measurements: iter(groups), {"kind": "given"}, {"seed": 5})


def make_plan(*groups, screen_candidates=True, max_refined=solve.MAX_REFINED_CANDIDATES, **options):
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
    (fit_target,) = solve.padded_targets([measurement], plan, [measurement])
    pool = candidates.candidate_pool([group])
    fits = candidates.fit_all(pool, fit_target)
    case = solve.MeasurementCase(measurement, fit_target, [group], plan, None)
    weighted = candidates.WeightedCandidates(pool, fits, np.full(3, 1 / 3), 50.0)
    assert solve.propagate_setting_errors(case, weighted, {}) is weighted
    wider_fits = solve.propagate_setting_errors(case, weighted, {"qdamp": InferredSetting(0.03, 0.01, ())}).fits
    lower_values, upper_values = (
        candidates.fit_all(pool, target.replace_settings(fit_target, qdamp=qdamp)).values for qdamp in (0.027, 0.033)
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
    (result,) = solve_example(short_measurement, group, data=DataOptions(rmax=4.0))
    assert result.candidates and result.settings_by_name["qmin"] < 1.8
