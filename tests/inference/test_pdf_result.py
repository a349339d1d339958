import dataclasses

import told

from jaxstruc.inference.pdf_result import PdfResult
from jaxstruc.result import Candidate


def candidate(type_):
    """Return a candidate of a type."""
    return Candidate("library", type_, type_, "x", 55, 10.0, 0.1, 1.0, True, True, "", {})


def test_the_type_of_a_single_cluster_is_that_of_the_most_probable_structure():
    one = PdfResult("a.gr", "", "Pt", "solved", "", (candidate("hcp"),), types={"fcc": 0.6, "hcp": 0.4})
    assert (one.type, one.type_probability, one.sample) == ("hcp", 0.4, "")
    for sample in ("single", "undecided"):
        judged = dataclasses.replace(one, ensemble=told.distribution(sample))
        assert (judged.type, judged.type_probability, judged.sample) == ("hcp", 0.4, sample)


def test_the_type_of_a_distribution_is_that_of_the_largest_share_and_has_no_probability():
    one = PdfResult("a.gr", "", "Pt", "solved", "", (candidate("hcp"),), types={"hcp": 1.0})
    many = dataclasses.replace(one, ensemble=told.distribution("distribution"))
    assert (many.type, many.type_probability) == ("fcc", None)
    assert many.distribution.keys() == many.ensemble.table.keys() and one.distribution == {}


def test_the_type_of_a_classified_pdf_is_the_most_probable():
    one = PdfResult("a.gr", "", "Pt", "solved", "", types={"fcc": 0.6, "hcp": 0.4})
    assert (one.type, one.type_probability) == ("fcc", 0.6)
    assert PdfResult("a.gr", "", "Pt", "failed", "no").type == ""
