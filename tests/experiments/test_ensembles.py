"""Simulated samples of known sizes and types, and their results with a small library."""

import json

import example_distributions
import numpy as np
import pytest

from jaxstruc.clusters import families, library
from jaxstruc.pdf.result import PdfResult
from jaxstruc.result import Candidate


@pytest.fixture(scope="module")
def small_library():
    return library.load_or_build(tuple(families.FAMILIES), max_atoms=60)


def test_a_case_is_what_its_part_requires(experiments, small_library):
    import ensembles

    for part in ensembles.CASE_COUNTS:
        sample_case = ensembles.simulate_case(small_library, part, 4)
        r, g = sample_case.measurement.r, sample_case.measurement.g
        assert np.isfinite(g).all() and r[-1] == pytest.approx({"short": 20.0, "long": 50.0}.get(part, 30.0))
        assert sum(sample_case.truth["types"].values()) == pytest.approx(1) and sample_case.truth["mean"] > 5
        repeated_case = ensembles.simulate_case(small_library, part, 4)
        np.testing.assert_array_equal(repeated_case.measurement.g, g)
    assert ensembles.simulate_case(small_library, "single", 3).truth["members"] == 1
    assert ensembles.simulate_case(small_library, "two", 3).truth["members"] == 2 * ensembles.N_MEMBERS
    large_truth = ensembles.simulate_case(small_library, "large", 0).truth
    assert 20 < large_truth["mean"] < 42 and 0.05 < large_truth["width"] < 0.35


def test_finished_rows_are_not_computed_again(experiments, small_library, tmp_path, capsys):
    """The results are prepared, because other tests cover `mine`."""
    import ensembles

    candidate = Candidate("library", "fcc", "fcc", "x", 55, 10.0, 0.1, 1.0, True, True, "", {})
    result = PdfResult(
        "x", "", "Pt", "solved", "", (candidate,), types={"fcc": 1.0}, ensemble=example_distributions.distribution()
    )
    solved_jobs, used_options = [], []

    def return_results(measurements, options):
        solved_jobs.extend(measurements)
        used_options.append(options)
        return [result] * len(measurements)

    out = tmp_path / "ensembles.jsonl"
    for count in (1, 2):
        ensembles.main(
            ["two", "--count", str(count), "--out", str(out)], cluster_library=small_library, solve=return_results
        )
    assert [(options.search, options.screen) for options in used_options] == [("none", "none")] * 2
    first_row, second_row = ensembles.json_rows.read_lines(out)
    assert (first_row["seed"], second_row["seed"]) == (0, 1) and len(solved_jobs) == 2 and first_row["commit"]
    assert first_row["mean_found"] == [18.4, 17.0, 20.1] and first_row["shares"]["fcc"] == [0.7, 0.5, 0.9]
    assert first_row["gains"] == [9.0, 11.5] and first_row["unseen"] == pytest.approx([0.55, 0.425])
    assert solved_jobs[0].settings_by_name["qmin"] == pytest.approx(
        ensembles.simulate_case(small_library, "two", ensembles.FIRST_SEED).data_options.qmin
    )


def test_the_tables_show_the_values_of_the_rows(experiments):
    import pdf_tables

    common_values = {"part": "two", "members": 9, "mean": 20.0, "width": 0.2, "verdict": "distribution"}
    rows = [
        {
            **common_values,
            "mean_found": [20.1, 19, 21],
            "width_found": [0.3, 0.25, 0.4],
            "types": {"fcc": 0.6, "hcp": 0.4},
            "shares": {"fcc": [0.55, 0.5, 0.7]},
        },
        {
            **common_values,
            "mean_found": [22.0, 21, 23],
            "width_found": [0.2, 0.1, 0.3],
            "types": {"fcc": 1.0},
            "shares": {"fcc": [0.95, 0.9, 1.0]},
        },
        {
            "part": "single",
            "members": 1,
            "verdict": "single",
            "type": "fcc",
            "types": {"fcc": 1.0},
            "probabilities": {"fcc": 0.9},
        },
    ]
    rows = json.loads(json.dumps(rows))
    sizes_table = pdf_tables.ensembles_table(rows)
    assert "| two types | two | 2 | 0 | 2 | 0 | 50 % | 50 % | 50 % | 50 % | – | – | 100 % |" in sizes_table
    assert "| single | 1 | 1 | 0 | 0 | – | – | – | – | 100 % | 90 % | – |" in sizes_table
    block = pdf_tables.ensembles_block(rows)
    assert "| two types | 2 | 0 / 2 / 0 | 50 % | 50 % | 50 % | 50 % | – |" in block
    assert "Of 1 samples of one cluster 1 are" in block and "of 2 distributions 2 are called" in block
    assert "67 % of 3 shares of atoms are within 0.1 of the truth, and 67 % of the 90 % intervals" in block
