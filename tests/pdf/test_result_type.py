import dataclasses

import example_distributions

from jaxstruc.pdf.result import PdfResult
from jaxstruc.result import Candidate


def candidate(structure_type):
    """Return a candidate of a structure type."""
    return Candidate("library", structure_type, structure_type, "x", 55, 10.0, 0.1, 1.0, True, True, "", {})


def test_the_type_of_a_single_cluster_is_that_of_the_most_probable_structure():
    result = PdfResult("a.gr", "", "Pt", "solved", "", (candidate("hcp"),), types={"fcc": 0.6, "hcp": 0.4})
    assert (result.type, result.type_probability, result.sample) == ("hcp", 0.4, "")
    for sample in ("single", "undecided"):
        validated_result = dataclasses.replace(result, ensemble=example_distributions.distribution(sample))
        assert (validated_result.type, validated_result.type_probability, validated_result.sample) == (
            "hcp",
            0.4,
            sample,
        )


def test_the_type_of_a_distribution_is_that_of_the_largest_share_and_its_probability_is_this_share():
    result = PdfResult("a.gr", "", "Pt", "solved", "", (candidate("hcp"),), types={"hcp": 1.0})
    distribution_result = dataclasses.replace(result, ensemble=example_distributions.distribution("distribution"))
    assert (distribution_result.type, distribution_result.type_probability) == (
        "fcc",
        distribution_result.ensemble.type_shares["fcc"].value,
    )
    assert (
        distribution_result.distribution.keys() == distribution_result.ensemble.table.keys()
        and result.distribution == {}
    )


def test_the_type_of_a_classified_pdf_is_the_most_probable():
    result = PdfResult("a.gr", "", "Pt", "solved", "", types={"fcc": 0.6, "hcp": 0.4})
    assert (result.type, result.type_probability) == ("fcc", 0.6)
    assert PdfResult("a.gr", "", "Pt", "failed", "no").type == ""
