import dataclasses
import json
import math

import example_distributions
import numpy as np
import pdf_results
import pytest
import small_angle_data

from jaxstruc.io.measurement import Setting
from jaxstruc.report import tables


@pytest.fixture
def result():
    return pdf_results.result()


def test_a_line_of_json_has_the_digits_of_the_table_and_the_units_of_its_columns():
    row = {"file": "a\nb.gr", "rw": np.float64(0.123456789), "n_atoms": 146, "diameter": 19.5, "uiso_error": math.nan}
    row |= {"noise_inferred": True, "radius_2": 12.0, "qmin_error": 0.01, "message": "", "moved": None}
    assert json.loads(tables.json_line(row)) == {
        "file": "a b.gr", "rw": 0.123457, "n_atoms": 146, "diameter": 19.5, "noise_inferred": True, "radius_2": 12.0,
        "qmin_error": 0.01, "units": {"diameter": "Å", "radius_2": "Å", "qmin_error": "1/Å"},
    }  # fmt: skip


def test_tables_have_the_named_columns_and_six_digits(tmp_path):
    path = tmp_path / "t.csv"
    tables.write(path, ["a", "b", "c"], [{"a": 1 / 3, "b": "two\nlines, and a comma"}, {"a": None, "c": 4}])
    assert path.read_text() == 'a,b,c\n0.333333,"two lines, and a comma",\n,,4\n'


def test_candidates_are_listed_with_their_gaps_and_notes(result):
    first_row, second_row = tables.candidates(result)
    assert (first_row["rank"], second_row["rank"]) == (1, 2) and second_row["gap"] == pytest.approx(0.1)
    assert second_row["draws"] == 3 and "draws" not in first_row and set(first_row) <= set(tables.CANDIDATE_COLUMNS)
    assert first_row["in_90"] == first_row["converged"] == "yes"
    assert tables.CANDIDATE_COLUMNS[:2] == ("rank", "description") and first_row["description"].startswith(
        "octahedron, 146 atoms"
    )
    assert (first_row["family"], first_row["recipe"]) == ("octahedron", "length 6")


def test_each_fit_of_small_angles_has_its_row():
    (row,) = tables.candidates(small_angle_data.result())
    assert row["body"] == "sphere" and row["rank"] == 1 and row["in_90"] == "yes"
    assert set(row) <= set(tables.SAXS_CANDIDATE_COLUMNS)


def test_correlations_are_named(result):
    rows = tables.correlation(result, result.best)
    assert rows == [{"": "scale", "scale": 1.0, "uiso": 0.5}, {"": "uiso", "scale": 0.5, "uiso": 1.0}]


def test_settings_are_shown_with_unit_and_origin(capsys):
    tables.print_settings("x.gr", [Setting("qmax", 22.0, "header"), Setting("rmax", 20.0, "default")])
    output = capsys.readouterr().out
    assert "qmax" in output and "22" in output and "1/Å" in output and "header" in output


def test_the_table_of_a_distribution_has_a_row_a_size(result):
    distribution = example_distributions.distribution()
    rows = tables.distribution(dataclasses.replace(result, ensemble=distribution))
    assert len(rows) == 30 and rows[3]["volume"] == pytest.approx(distribution.volume[:, 3].sum())
    assert {"diameter", "number_high", "volume_decahedron"} <= set(rows[0])
    assert tables.distribution(result) == []
