import dataclasses

import example_distributions
import pdf_results
import pytest
import small_angle_data

from jaxstruc.pdf.classifier_prior import ClassifierPrior
from jaxstruc.pdf.distribution import Interval
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import summary
from jaxstruc.result import Result

FIRST_COLUMNS = (
    "file status type type_probability n_atoms n_low n_high diameter rw sample mean_diameter mean_diameter_low "
    "mean_diameter_high width width_low width_high message"
).split()


@pytest.fixture
def result():
    return pdf_results.result()


def test_the_first_columns_are_those_that_people_read_first():
    """`refine` and `classify` leave out the columns that they cannot fill."""
    assert list(summary.SUMMARY_COLUMNS[: len(FIRST_COLUMNS)]) == FIRST_COLUMNS
    columns_without_sample = [name for name in FIRST_COLUMNS if name not in {"sample", *summary.SIZE_COLUMNS}]
    assert list(summary.REFINE_SUMMARY_COLUMNS[: len(columns_without_sample)]) == columns_without_sample
    size_columns = [name for name in FIRST_COLUMNS if name not in {"rw", "sample"} and not name.startswith("mean_")]
    assert list(summary.CLASSIFY_SUMMARY_COLUMNS[: len(size_columns)]) == size_columns
    for columns in (
        summary.SUMMARY_COLUMNS,
        summary.REFINE_SUMMARY_COLUMNS,
        summary.CLASSIFY_SUMMARY_COLUMNS,
        summary.SAXS_SUMMARY_COLUMNS,
    ):
        assert len(set(columns)) == len(columns)


def test_a_row_is_typed_and_has_the_summarys_columns(result):
    row = summary.row(result)
    assert list(row) == [name for name in summary.SUMMARY_COLUMNS if name in row]
    assert (row["file"], row["status"], row["source"], row["type"], row["type_probability"]) == (
        "in/a.gr", "solved", "library", "fcc", 0.75,
    )  # fmt: skip
    assert (row["family"], row["recipe"]) == ("octahedron", "length 6")
    assert row["n_atoms"] == 146 and row["rw"] == 0.1 and row["rw_second"] == 0.2 and row["qmin"] == 0.8
    assert row["qmin_origin"] == "header" and "qdamp_origin" not in row and row["diameter_estimate"] == 20.0
    assert row["types"] == "fcc 0.75, hcp 0.25" and row["ties"] == 2 and row["scale_error"] == 0.01
    assert "uiso_error" not in row and "moved" not in row and row["seed"] == 0
    assert row["description"] == result.best.description
    failed_row = summary.row(PdfResult("b.gr", "", "Pt", "failed", "no"))
    assert failed_row == {"file": "b.gr", "status": "failed", "message": "no", "version": "", "sha256": ""}


def test_a_distribution_has_its_columns(result):
    distribution_result = dataclasses.replace(result, ensemble=example_distributions.distribution())
    row = summary.row(distribution_result)
    assert list(row) == [name for name in summary.SUMMARY_COLUMNS if name in row]
    assert (row["sample"], row["rw_ensemble"], row["type"]) == ("distribution", 0.16, "fcc")
    assert row["type_probability"] == distribution_result.ensemble.type_shares["fcc"].value
    assert row["rw_holdout"] == pytest.approx(0.425) and row["rw_holdout_single"] == pytest.approx(0.55)
    assert (row["mean_diameter"], row["mean_diameter_low"], row["mean_diameter_high"]) == (18.4, 17.0, 20.1)
    assert (row["width"], row["width_low"], row["width_high"]) == (0.2, 0.1, 0.33)
    assert (row["share_decahedron"], row["share_decahedron_low"], row["share_fcc_high"]) == (0.3, 0.1, 0.9)


def test_an_undecided_sample_with_nothing_held_out_has_no_rw_of_it(result):
    row = summary.row(
        dataclasses.replace(result, ensemble=example_distributions.distribution("undecided", holdouts=False))
    )
    assert row["sample"] == "undecided" and row["rw_holdout"] is None and row["mean_diameter"] == 18.4


def test_the_classifiers_prediction_has_its_columns(result):
    assert "classifier_types" not in summary.row(result)
    prior = ClassifierPrior({"fcc": 0.9, "hcp": 0.09, "sc": 0.01}, {}, 0.5, 17828, 900, 123.25)
    row = summary.row(dataclasses.replace(result, classifier_prior=prior))
    assert row["classifier_types"] == "fcc 0.90, hcp 0.09"
    assert (row["n_screened"], row["effective_samples"]) == (900, 123.25)


def test_a_classified_pdf_has_medians_intervals_and_a_probability_of_each_type():
    intervals = {"n_atoms": Interval(60.0, 50.0, 70.0), "width": Interval(0.1, 0.0, 0.3)}
    types = {"fcc": 0.6, "hcp": 0.4}
    classified_result = PdfResult(
        "a.gr", "", "Ag", "solved", "", types=types, intervals=intervals, facts={"distance": 0.5}
    )
    row = summary.row(classified_result, summary.CLASSIFY_SUMMARY_COLUMNS)
    assert (row["type"], row["type_probability"], row["p_hcp"], row["distance"]) == ("fcc", 0.6, 0.4, 0.5)
    assert (row["n_atoms"], row["n_low"], row["n_high"], row["width_high"]) == (60.0, 50.0, 70.0, 0.3)


def test_a_row_of_small_angles_has_the_columns_that_are_promised():
    row = summary.row(small_angle_data.result())
    expected_columns = (
        "file status body p_body n_populations distribution radius radius_low radius_high pd pd_low pd_high "
        "mean_diameter mean_diameter_low mean_diameter_high width width_low width_high chi2 message"
    ).split()
    assert summary.SAXS_SUMMARY_COLUMNS[: len(expected_columns)] == tuple(expected_columns)
    assert set(expected_columns) <= set(row) and row["body"] == "sphere" and row["p_body"] == 1.0
    assert row["radius"] == row["r_eq"] and row["r_eq_low"] < row["r_eq"] < row["r_eq_high"]
    assert row["mean_diameter_low"] < row["mean_diameter"] < row["mean_diameter_high"]


def test_a_result_of_no_technique_is_refused():
    with pytest.raises(TypeError, match="Expected a PdfResult or SaxsResult, got Result"):
        summary.row(Result("a", "", "", "failed", ""))
