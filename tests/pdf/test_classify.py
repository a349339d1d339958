import time

import pytest

import jaxstruc
from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.io.qmax_check import QmaxEstimate
from jaxstruc.network.classifier.predict import ClassifierOutput
from jaxstruc.network.classifier.simulated_pdfs import VALUE_NAMES
from jaxstruc.network.weights import load_classifier
from jaxstruc.options.pdf import CLASSIFIER
from jaxstruc.pdf import classify
from jaxstruc.report import summary, tables
from jaxstruc.statistics import Interval


def test_the_shipped_classifier_finds_the_type_of_the_example(repository):
    """Ag68 has a high probability of fcc, and the interval of N contains 68, alone and among other files."""
    data = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    single_result = jaxstruc.classify(data, element="Ag")
    batch_results = jaxstruc.classify([data, data._replace(g=-data.g)], element="Ag")
    assert (
        single_result.status == "solved"
        and next(iter(single_result.types)) == "fcc"
        and single_result.types["fcc"] > 0.5
    )
    assert single_result.intervals["n_atoms"].low < 68 < single_result.intervals["n_atoms"].high
    assert single_result.types == batch_results[0].types and single_result.intervals == batch_results[0].intervals
    assert batch_results[1].status == "weak" and "does not resemble the training data" in batch_results[1].message
    assert "fcc" in str(single_result) and "atoms (" in str(single_result) and not single_result.candidates


def test_a_header_with_ligands_makes_the_answer_weak(repository):
    """The curve is that of Au92S44, and the prediction is some 60 atoms."""
    result = jaxstruc.classify(jaxstruc.read(repository / "tests" / "cases" / "Au92_44.gr"), element="Au")
    assert result.status == "weak"
    assert "states the composition Au92S44, but the model has only Au: n_atoms is the number of Au" in result.message


def test_an_answer_in_which_no_type_stands_out_is_weak(repository):
    data = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    settings = jaxstruc.classify(data, element="Ag").settings
    classifier_output = ClassifierOutput(
        dict.fromkeys(STRUCTURE_TYPES, 1 / 7),
        dict.fromkeys(VALUE_NAMES, Interval(1.0, 0.5, 2.0)),
        0.5,
        0.5,
        QmaxEstimate(20.0, 0.0),
        None,
    )
    result = classify.classification_result(
        data._replace(settings=settings), classifier_output, element="Ag", bond=2.89, facts={}
    )
    assert result.status == "weak" and result.message.startswith("type undecided between ")


def test_a_type_below_70_percent_is_undecided_and_one_below_50_weak(repository):
    data = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    measurement = data._replace(settings=jaxstruc.classify(data, element="Ag").settings)
    intervals = dict.fromkeys(VALUE_NAMES, Interval(1.0, 0.5, 2.0))
    for probability, status, message in (
        (0.71, "solved", ""),
        (0.69, "solved", "type undecided between hcp and fcc (probabilities 0.69 and 0.31)"),
    ):
        classifier_output = ClassifierOutput(
            {"hcp": probability, "fcc": 1 - probability}, intervals, 0.5, 0.5, QmaxEstimate(20.0, 0.0), None
        )
        result = classify.classification_result(measurement, classifier_output, element="Ag", bond=2.89, facts={})
        assert (result.status, result.type, result.type_probability) == (status, "hcp", probability)
        assert result.message == message


def test_a_size_near_the_largest_of_the_training_is_a_lower_bound(repository):
    """The training has up to 1000 atoms. An interval that ends at 890 atoms stays as it is."""
    data = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    measurement = data._replace(settings=jaxstruc.classify(data, element="Ag").settings)
    for n_high, is_bounded in ((890.0, False), (910.0, True)):
        intervals = dict.fromkeys(VALUE_NAMES, Interval(1.0, 0.5, 2.0)) | {
            "n_atoms": Interval(800.0, 700.0, n_high),
            "diameter": Interval(33.0, 30.4, 37.0),
        }
        output = ClassifierOutput({"fcc": 0.98, "hcp": 0.02}, intervals, 0.5, 0.5, QmaxEstimate(20.0, 0.0), None)
        result = classify.classification_result(measurement, output, element="Ag", bond=2.89, facts={})
        row = summary.row(result, summary.CLASSIFY_SUMMARY_COLUMNS)
        if is_bounded:
            assert result.status == "weak" and "its diameter is at least 30 Å" in result.message
            assert (row["n_atoms"], row["n_low"], row["n_high"]) == (700.0, 700.0, None)
            assert "at least 700 atoms, at least 30.4 Å" in tables.headline(result)
        else:
            assert result.status == "solved" and (row["n_atoms"], row["n_high"]) == (800.0, 890.0)


@pytest.mark.parametrize(
    ("probability", "status", "is_undecided"),
    [(0.7, "solved", False), (0.6999, "solved", True), (0.5, "solved", True), (0.4999, "weak", True)],
)
def test_a_probability_at_a_limit_is_enough(repository, probability, status, is_undecided):
    data = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    measurement = data._replace(settings=jaxstruc.classify(data, element="Ag").settings, warnings=("a warning",))
    types = {"hcp": probability, "fcc": (1 - probability) * 0.6, "sc": (1 - probability) * 0.4}
    output = ClassifierOutput(
        types, dict.fromkeys(VALUE_NAMES, Interval(1.0, 0.5, 2.0)), 0.5, 0.4, QmaxEstimate(20.0, 0.0), None
    )
    result = classify.classification_result(measurement, output, element="Ag", bond=2.89, facts={"model": "m"})
    assert result.status == status and ("undecided between hcp and fcc" in result.message) == is_undecided
    assert result.message.endswith("a warning") and result.facts == {"model": "m", "distance": 0.5}


def test_the_time_of_a_measurement_is_its_share_of_the_whole(repository):
    data = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    start_time = time.perf_counter()
    results = jaxstruc.classify([data] * 3, element="Ag")
    elapsed_seconds = time.perf_counter() - start_time
    seconds = [result.facts["seconds"] for result in results]
    assert 0 < seconds[0] == seconds[1] == seconds[2] <= elapsed_seconds / 3
    plain_results = classify.classify_measurements(
        [data._replace(settings=results[0].settings)], load_classifier(CLASSIFIER), element="Ag"
    )
    assert plain_results[0].intervals == results[0].intervals
    assert classify.classify_measurements([], load_classifier(CLASSIFIER), element="Ag") == []


def test_a_shell_of_light_atoms_makes_the_answer_weak_although_no_header_states_it(repository):
    """The curve is that of Au92S44 with 2 % of noise. Bare particles have no such remark."""
    shelled = jaxstruc.read(repository / "tests" / "cases" / "Au92_44.gr")
    header = {name: value for name, value in shelled.header.items() if name != "composition"}
    result = jaxstruc.classify(shelled._replace(header=header), element="Au")
    assert result.status == "weak" and classify.SHELL_REMARK in result.message
    bare = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    assert classify.SHELL_REMARK not in jaxstruc.classify(bare, element="Ag").message
