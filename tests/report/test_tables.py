import csv
import dataclasses

import numpy as np
import pytest
import told

from jaxstruc.data.measurement import Setting
from jaxstruc.inference.glance import Glance
from jaxstruc.inference.result import Candidate, Result, Value
from jaxstruc.report import tables


def candidate(rw=0.1, weight=0.75, **changed):
    values = {"scale": Value(1.0, 0.01, ""), "uiso": Value(0.008, None, "Å²"), "qdamp": Value(0.03, None, "1/Å")}
    given = {
        "source": "library", "type": "fcc", "family": "octahedron", "cluster": "length 6", "n_atoms": 146,
        "diameter": 19.5, "rw": rw, "weight": weight, "in_90": True, "converged": True, "remark": "", "values": values,
        "correlation": np.array([[1, 0.5], [0.5, 1]]),
    }  # fmt: skip
    return Candidate(**given | changed)


@pytest.fixture
def result():
    return Result(
        "in/a.gr", "ff", "Pt", "solved", "say <this>", (candidate(), candidate(0.2, 0.25, notes={"draws": 3})),
        fitted=40, ties=2, types={"fcc": 0.75, "hcp": 0.25, "bcc": 0.001}, free=("scale", "uiso"),
        settings=(Setting("qmin", 0.8, "header"), Setting("rmin", 1.5, "default")),
        facts={"seconds": 1.5, "seed": 0, "size_seen": 20.0}, versions={"jaxstruc": "0.1.0"},
    )  # fmt: skip


def test_tables_have_the_named_columns_and_six_digits(tmp_path):
    path = tmp_path / "t.csv"
    tables.write(path, ["a", "b", "c"], [{"a": 1 / 3, "b": "two\nlines, and a comma"}, {"a": None, "c": 4}])
    assert path.read_text() == 'a,b,c\n0.333333,"two lines, and a comma",\n,,4\n'


def test_a_row_is_typed_and_has_the_summarys_columns(result):
    row = tables.row(result)
    assert list(row) == [name for name in tables.SUMMARY if name in row]
    assert (row["file"], row["status"], row["source"], row["type"], row["cluster"]) == (
        "in/a.gr", "solved", "library", "fcc", "length 6",
    )  # fmt: skip
    assert row["n_atoms"] == 146 and row["rw"] == 0.1 and row["rw_second"] == 0.2 and row["qmin"] == 0.8
    assert row["qmin_origin"] == "header" and "qdamp_origin" not in row
    assert row["types"] == "fcc 0.75, hcp 0.25" and row["ties"] == 2 and row["scale_error"] == 0.01
    assert "uiso_error" not in row and "moved" not in row and row["seed"] == 0
    failed = tables.row(Result("b.gr", "", "Pt", "failed", "no"))
    assert failed == {"file": "b.gr", "status": "failed", "message": "no", "version": "", "sha256": ""}


def test_candidates_are_listed_with_their_gaps_and_notes(result):
    one, two = tables.candidates(result)
    assert (one["rank"], two["rank"]) == (1, 2) and two["gap"] == pytest.approx(0.1)
    assert two["draws"] == 3 and "draws" not in one and set(one) <= set(tables.CANDIDATES)
    assert one["in_90"] == one["converged"] == "yes"


def test_correlations_are_named(result):
    rows = tables.correlation(result, result.best)
    assert rows == [{"": "scale", "scale": 1.0, "uiso": 0.5}, {"": "uiso", "scale": 0.5, "uiso": 1.0}]


def test_a_result_shows_itself_as_a_short_table(result):
    lines = str(result).splitlines()
    assert lines[0] == "in/a.gr: Pt146, octahedron length 6, Rw 0.100, 2 in the 90 % set (say <this>)"
    assert "Rw 0.1000" in lines[1] and "Pt146" in lines[1] and "library" in lines[1]
    assert "scale 1 ± 0.01" in lines[-1] and "uiso 0.008 (at its bound) Å²" in lines[-1]
    page = result._repr_html_()
    assert "<table>" in page and "0.1000" in page and "say &lt;this&gt;" in page
    assert str(Result("b.gr", "", "Pt", "failed", "no luck")) == "b.gr: failed: no luck"


def test_settings_are_shown_with_unit_and_origin(capsys):
    tables.settings("x.gr", [Setting("qmax", 22.0, "header"), Setting("rmax", 20.0, "default")])
    shown = capsys.readouterr().out
    assert "qmax" in shown and "22" in shown and "1/Å" in shown and "header" in shown


def test_the_columns_are_in_the_order_that_people_read(tmp_path):
    tables.write(tmp_path / "s.csv", tables.SUMMARY, [])
    head = next(csv.reader((tmp_path / "s.csv").open()))
    assert head[:8] == ["file", "status", "source", "type", "cluster", "n_atoms", "n_low", "n_high"]
    assert len(set(head)) == len(head)


def test_a_weak_answer_is_called_so_and_the_best_is_told_in_words(result):
    told = dataclasses.replace(result.best, description="truncated octahedron, fcc, 146 atoms")
    weak = dataclasses.replace(result, status="weak", candidates=(told,))
    assert tables.headline(weak).startswith("in/a.gr: weak: Pt146, ") and "weak" not in tables.headline(result)
    assert "     truncated octahedron, fcc, 146 atoms" in tables.short(weak).splitlines()
    assert tables.row(weak)["description"] == tables.candidates(weak)[0]["description"] == told.description


def test_a_files_own_name_does_not_break_the_line():
    failed = Result("two\nlines.gr", "", "Pt", "failed", "Expected this\nand that.")
    assert tables.headline(failed) == "two lines.gr: failed: Expected this and that."


def test_a_distribution_has_its_columns_and_a_line(result):
    many = dataclasses.replace(result, ensemble=told.distribution())
    row = tables.row(many)
    assert list(row) == [name for name in tables.SUMMARY if name in row]
    assert (row["verdict"], row["rw_ensemble"]) == ("distribution", 0.16)
    assert row["rw_unseen"] == pytest.approx(0.425) and row["rw_unseen_single"] == pytest.approx(0.55)
    assert (row["mean_diameter"], row["mean_low"], row["mean_high"]) == (18.4, 17.0, 20.1)
    assert (row["width"], row["width_low"], row["width_high"]) == (0.2, 0.1, 0.33)
    assert (row["share_decahedron"], row["share_decahedron_low"], row["share_fcc_high"]) == (0.3, 0.1, 0.9)
    line = tables.short(many).splitlines()[-1]
    assert "sample: distribution; as a distribution mean 18.4 Å (17.0 to 20.1), width 20% (10% to 33%)" in line
    assert "fcc 70% (50% to 90%), decahedron 30% (10% to 50%)" in line


def test_an_undecided_sample_with_nothing_to_predict_has_no_unseen_rw(result):
    row = tables.row(dataclasses.replace(result, ensemble=told.distribution("undecided", compared=False)))
    assert row["verdict"] == "undecided" and row["rw_unseen"] is None and row["mean_diameter"] == 18.4


def test_the_table_of_a_distribution_has_a_row_a_size(tmp_path):
    own = told.distribution()
    rows = tables.distribution(own)
    assert len(rows) == 30 and rows[3]["volume"] == pytest.approx(own.volume[:, 3].sum())
    assert {"diameter", "number_high", "volume_decahedron"} <= set(rows[0])


def test_what_was_seen_at_a_glance_has_its_columns_and_a_line(result):
    assert "glance" not in tables.row(result) and "at a glance" not in tables.short(result)
    own = Glance({"fcc": 0.9, "hcp": 0.09, "sc": 0.01}, {}, 0.5, 17828, 900, 123.25)
    seen = dataclasses.replace(result, glance=own)
    row = tables.row(seen)
    assert (row["glance"], row["kept"], row["effective"]) == ("fcc 0.90, hcp 0.09", 900, 123.25)
    line = tables.short(seen).splitlines()[-1].strip()
    assert line.startswith("at a glance: fcc 0.90, hcp 0.09; 900 of 17828 clusters tried; 123 of 1000 draws count")
