import dataclasses

import example_distributions
import pdf_results
import pytest
import small_angle_data

from jaxstruc.pdf.classifier_prior import ClassifierPrior
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import tables
from jaxstruc.result import Value
from jaxstruc.small_angle.result import SaxsResult


@pytest.fixture
def result():
    return pdf_results.result()


def test_a_result_shows_itself_as_a_short_table_that_leads_with_descriptions(result):
    lines = str(result).splitlines()
    description = "octahedron, 146 atoms, 19.5 x 11.3 Å"
    assert lines[0] == f"in/a.gr (Pt): {description}, Rw 0.100, 2 in the 90 % set (say <this>)"
    assert lines[1] == f"  1  {description}  Rw 0.1000  weight  0.750  (library)"
    assert "scale 1 ± 0.01" in lines[-1] and "uiso 0.008 Å² (at its bound)" in lines[-1]
    page = result._repr_html_()
    assert "<table>" in page and "0.1000" in page and "say &lt;this&gt;" in page
    assert f"<td>{description}</td>" in page and "<td>length 6</td>" in page
    assert str(PdfResult("b.gr", "", "Pt", "failed", "no luck")) == "b.gr: failed: no luck"
    assert str(SaxsResult("b.dat", "", "Pt", "failed", "no luck")) == "b.dat: failed: no luck"


@pytest.mark.parametrize(
    ("value", "error", "remark", "text"),
    [
        (0.87654, 0.0321, "", "relaxation 0.88 ± 0.03"),
        (0.0, None, "", "relaxation 0.00 (rigid)"),
        (2.0, None, "relaxation at its bound", "relaxation 2.00 (at its bound)"),
    ],
)
def test_the_relaxation_is_shown_with_its_error_or_the_reason_why_it_has_none(value, error, remark, text):
    values = pdf_results.candidate().values | {"relaxation": Value(value, error, "")}
    best = pdf_results.candidate(values=values, remark=remark)
    relaxed_result = dataclasses.replace(pdf_results.result(), candidates=(best,), free=("scale", "relaxation"))
    assert str(relaxed_result).splitlines()[-1].endswith(text)


def test_a_users_own_structure_is_shown_with_its_file():
    user_candidate = pdf_results.candidate(source="file", recipe="x/my.xyz", description="")
    user_result = dataclasses.replace(pdf_results.result(), candidates=(user_candidate,))
    assert tables.headline(user_result).startswith("in/a.gr (Pt): fcc, 146 atoms, 19.5 Å (my.xyz), Rw 0.100, ")
    assert str(user_result).splitlines()[1] == "  1  fcc, 146 atoms, 19.5 Å  Rw 0.1000  weight  0.750  (file my.xyz)"


def test_a_weak_result_is_shown_as_weak(result):
    weak_result = dataclasses.replace(result, status="weak")
    assert tables.headline(weak_result).startswith("in/a.gr (Pt): weak: octahedron, ")
    assert "weak" not in tables.headline(result)


def test_a_files_own_name_does_not_break_the_line():
    failed_result = PdfResult("two\nlines.gr", "", "Pt", "failed", "Expected this\nand that.")
    assert tables.headline(failed_result) == "two lines.gr: failed: Expected this and that."


def test_a_distribution_is_shown_in_a_line(result):
    line = tables.short_table(dataclasses.replace(result, ensemble=example_distributions.distribution())).splitlines()[
        -1
    ]
    assert "sample: distribution; as a distribution mean 18.4 Å (17.0 to 20.1), width 20% (10% to 33%)" in line
    assert "fcc 70% (50% to 90%), decahedron 30% (10% to 50%)" in line


def test_the_classifiers_prediction_is_shown_in_a_line(result):
    assert "classifier" not in tables.short_table(result)
    prior = ClassifierPrior({"fcc": 0.9, "hcp": 0.09, "sc": 0.01}, {}, 0.5, 17828, 900, 123.25)
    line = tables.short_table(dataclasses.replace(result, classifier_prior=prior)).splitlines()[-1].strip()
    assert line.startswith("classifier: fcc 0.90, hcp 0.09; 900 of 17828 clusters selected; ")
    assert line.endswith("effective draws after the fits: 123 of 1000")


def test_the_report_of_small_angles_has_what_sasview_reports():
    text = str(small_angle_data.result())
    for expected_text in (
        "a.dat",
        "jaxstruc",
        "sphere, gaussian",
        "Q range",
        "60 points",
        "smearing",
        "chi2",
        "±",
        "correlations",
    ):
        assert expected_text in text
    assert "Å" in text and "<pre>" in small_angle_data.result()._repr_html_()
