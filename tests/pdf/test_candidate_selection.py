import dataclasses
import itertools
from functools import partial

import numpy as np
import pytest
from classifier_predictions import classifier_prediction

from jaxstruc.clusters import fcc_shapes, library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.io import gr
from jaxstruc.pdf import candidate_fits, classifier_prior, screening, solve
from jaxstruc.pdf.candidates import CandidateGroup
from jaxstruc.pdf.distribution import LibraryCache
from jaxstruc.pdf.screening import FitLimits
from jaxstruc.pdf.sources import CandidateSource

KNOWN_CLUSTERS = library.from_clusters([fcc_shapes.fcc_cluster(layers) for layers in ((2, 4, 2), (2, 3, 2), (3, 4, 2))])


@pytest.fixture(scope="module")
def library_group():
    """Return a group of some hundred clusters of three types."""
    return make_library_group("icosahedron", "decahedron", "octahedron", max_atoms=400)


def make_library_group(*families, max_atoms):
    cluster_library = library.load_or_build(families, max_atoms=max_atoms)
    return CandidateGroup("library", cluster_library, np.arange(len(cluster_library.atoms)))


@pytest.fixture(scope="module")
def complete_group(library_group):
    """Return the group with the cluster of the example, the 68 atoms of fcc nearest to an octahedral hole."""
    steps = np.arange(-6, 7)
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points[points.sum(axis=1) % 2 == 1]  # fcc sites around a hole at the origin
    ball = points[np.argsort(np.sum(points**2, axis=1), kind="stable")[:68]] / np.sqrt(2)
    clusters = [library.candidate_cluster(library_group.library, row) for row in library_group.rows]
    cluster_library = library.from_clusters([*clusters, Cluster("fcc", "about a hole", ball)])
    return CandidateGroup("library", cluster_library, np.arange(len(cluster_library.atoms)))


@pytest.fixture(scope="module")
def example(repository):
    return gr.read(repository / "examples" / "Ag68_simulated.gr")


def solve_with_prediction(data, groups, prediction, **options):
    """Return the result of a measurement for which the classifier gives a prediction."""
    sources = tuple(CandidateSource(12.0, None, {}, {}) for _ in groups)
    plan = solve.PdfPlan("Ag", sources, **options)
    measurement = solve.prepare_measurement(data, plan)
    target = solve.padded_target(measurement, plan, solve.target_sizes([measurement], plan))
    case = solve.MeasurementCase(measurement, target, groups, plan, prediction)
    return solve.solve_measurement(case, LibraryCache())


def solve_measurement(data, group, **options):
    plan = solve.PdfPlan("Ag", (CandidateSource(12.0, lambda measurements: iter([group]), {}, {}),), **options)
    return next(solve.solve_measurements([solve.prepare_measurement(data, plan)], plan))


def test_a_library_alone_is_screened(example):
    """Only candidates of a library are selected: draws of a network and clusters that a user refines are all fitted.

    Of each type, eight candidates of a library are fitted, although the limit is two.
    """
    limits = FitLimits(without_classifier=2)
    layer_counts = list(itertools.product((2, 3, 4), repeat=3))
    fcc_library = library.from_clusters([fcc_shapes.fcc_cluster(layers) for layers in layer_counts])
    n_clusters = len(layer_counts)
    network_group = CandidateGroup(
        "network", KNOWN_CLUSTERS, np.arange(3), {2: "atoms 1.20 Å apart"}, {"draws": np.ones(3, int)}
    )
    library_group, file_group = (
        CandidateGroup(source, fcc_library, np.arange(n_clusters)) for source in ("library", "file")
    )
    network_result, library_result, file_result = (
        solve_measurement(example, network_group, fit_limits=limits),
        solve_measurement(example, library_group, fit_limits=limits),
        solve_measurement(example, file_group, fit_limits=limits, screen_candidates=False),
    )
    assert (network_result.n_fitted, library_result.n_fitted, file_result.n_fitted) == (3, 8, n_clusters)
    assert network_result.candidates[-1].remark == "atoms 1.20 Å apart"
    assert library_result.best.rw == pytest.approx(file_result.best.rw, rel=1e-4)


def test_data_outside_the_training_are_not_screened(example, complete_group):
    """For data inside the training, fewer candidates are fitted. The result records how many, without a message.

    Of many candidates, only those with the best rigid fits are fitted with displacements, and some of each type.
    """
    predictions = {
        "outside": classifier_prediction({"fcc": 1.0}, 68, outside_training=("unlike all",)),
        "inside": classifier_prediction({"fcc": 1.0}, 68),
    }
    results = {
        name: solve_with_prediction(example, [complete_group], prediction, fit_limits=FitLimits(with_classifier=20))
        for name, prediction in predictions.items()
    }
    n_of_types = 3 * classifier_prior.MIN_FITTED_OF_TYPE
    assert candidate_fits.N_BEST_RIGID <= results["outside"].n_fitted <= candidate_fits.N_BEST_RIGID + n_of_types
    assert len(complete_group.rows) == results["outside"].classifier_prior.n_screened
    assert (
        "the classifier was not used to select candidates, " in results["outside"].message
        and "; reason: unlike all" in results["outside"].message
    )
    inside_result = results["inside"]
    assert (
        inside_result.n_fitted == 20
        and 20 <= inside_result.classifier_prior.n_screened < len(complete_group.rows)
        and "classifier" not in inside_result.message
    )
    assert inside_result.best.family == "fcc" and inside_result.best.n_atoms == 68
    assert solve.PdfPlan("Ag", ()).provenance["screen"] == "none"
    assert dataclasses.is_dataclass(inside_result.classifier_prior)


def test_a_selection_that_does_not_explain_the_data_is_dropped(example, library_group):
    """The best candidate is then the same as without a classifier."""
    wrong_prediction = classifier_prediction({"decahedron": 1.0}, 150)
    limits = FitLimits(with_classifier=20)
    result = solve_with_prediction(example, [library_group], wrong_prediction, fit_limits=limits)
    unscreened_result = solve_with_prediction(example, [library_group], None, fit_limits=limits)
    assert result.best.recipe == unscreened_result.best.recipe
    assert result.best.rw == pytest.approx(unscreened_result.best.rw, rel=1e-3)
    assert result.classifier_prior.n_screened == len(library_group.rows) and result.n_fitted > 20


def test_all_candidates_are_fitted_without_weights_and_the_row_states_the_reason(example, tmp_path):
    empty_screen = classifier_prior.load_optional_classifier(tmp_path / "none.safetensors")
    assert empty_screen.network is None and ": Expected weights" in empty_screen.missing_reason
    library_result = solve_measurement(
        example, make_library_group("icosahedron", max_atoms=200), classifier=empty_screen
    )
    assert (
        library_result.candidates
        and library_result.classifier_prior is None
        and empty_screen.missing_reason in library_result.message
    )
    network_result = solve_measurement(
        example, CandidateGroup("network", KNOWN_CLUSTERS, np.arange(3)), classifier=empty_screen
    )
    assert (
        network_result.classifier_prior is None and "classifier" not in network_result.message
    )  # the classifier selects candidates of a library only


def test_the_message_states_why_the_classifier_is_not_followed():
    assert classifier_prior.prior_remarks(None, "") == [] and classifier_prior.prior_remarks(None, "no weights") == [
        "no weights"
    ]
    assert classifier_prior.prior_remarks(classifier_prediction({"fcc": 1.0}, 90), "") == []
    assert classifier_prior.prior_remarks(classifier_prediction({"fcc": 1.0}, 90, outside_training=("a", "b")), "") == [
        f"{classifier_prior.CLASSIFIER_NOT_USED}: a, b"
    ]


def test_a_list_of_the_user_is_not_cut_and_an_empty_source_stops_nothing(example, complete_group):
    solve_octahedron = partial(
        solve_with_prediction,
        example,
        prediction=classifier_prediction({"fcc": 1.0}, 68),
        fit_limits=FitLimits(with_classifier=20),
    )
    file_result = solve_octahedron([complete_group._replace(source="file")])
    assert file_result.n_fitted == len(complete_group.rows) and file_result.classifier_prior is None
    result = solve_octahedron([CandidateGroup("network", KNOWN_CLUSTERS, np.zeros(0, int)), complete_group])
    assert result.n_fitted == 20 and result.classifier_prior.n_listed == len(complete_group.rows)


def test_settings_are_inferred_from_candidates_that_fit_however_few_are_probable(example, library_group):
    """The candidates with the smallest approximate Rw, not the first ones, are used for qmin and qdamp."""
    limits = FitLimits(with_classifier=600)
    prediction = classifier_prediction({"decahedron": 0.5, "icosahedron": 0.5}, 150)
    probable_groups = classifier_prior.select_probable(prediction, [library_group], limits)
    assert 64 < len(probable_groups[0].rows) <= limits.with_classifier
    plan = solve.PdfPlan("Ag", ())
    measurement = solve.prepare_measurement(example, plan)
    plan = plan._replace(sources=(CandidateSource(12.0, None, {}, {}),))
    target = solve.padded_target(measurement, plan, solve.target_sizes([measurement], plan))
    (binned_group,) = classifier_prior.bin_groups(
        [library_group],
        probable_groups,
        target,
        screening.BinnedLibraries(),
        classifier_prediction=prediction,
        limits=limits,
    )
    selected_group = classifier_prior.select_for_settings(probable_groups[0], binned_group, target)
    assert len(selected_group.rows) == 64 and not np.array_equal(selected_group.rows, probable_groups[0].rows[:64])
