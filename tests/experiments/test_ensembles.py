"""Simulated samples of known sizes and types, and what is said of them, with a small library."""

import json

import numpy as np
import pytest
import told

from jaxstruc.inference.pdf_result import PdfResult
from jaxstruc.result import Candidate
from jaxstruc.structures import families, library


@pytest.fixture(scope="module")
def own():
    return library.cached(tuple(families.FAMILIES), max_atoms=60)


def test_a_case_is_what_its_part_says(experiments, own):
    import ensembles

    for part in ensembles.COUNT:
        one = ensembles.case(own, part, 4)
        r, g = one.measurement.r, one.measurement.g
        assert np.isfinite(g).all() and r[-1] == pytest.approx({"short": 20.0, "long": 50.0}.get(part, 30.0))
        assert sum(one.truth["types"].values()) == pytest.approx(1) and one.truth["mean"] > 5
        again = ensembles.case(own, part, 4)
        np.testing.assert_array_equal(again.measurement.g, g)
    assert ensembles.case(own, "single", 3).truth["members"] == 1
    assert ensembles.case(own, "two", 3).truth["members"] == 2 * ensembles.MEMBERS
    large = ensembles.case(own, "large", 0).truth
    assert 20 < large["mean"] < 42 and 0.05 < large["width"] < 0.35


def test_rows_of_cases_are_kept_and_not_made_again(experiments, own, tmp_path, monkeypatch, capsys):
    """The way of `mine` is tested elsewhere: here its answer stands ready."""
    import ensembles

    best = Candidate("library", "fcc", "fcc", "x", 55, 10.0, 0.1, 1.0, True, True, "", {})
    answer = PdfResult("x", "", "Pt", "solved", "", (best,), types={"fcc": 1.0}, ensemble=told.distribution())
    given = []
    monkeypatch.setattr(ensembles, "solving", lambda *words, **more: None)
    monkeypatch.setattr(ensembles, "answers", lambda ready, plan: given.extend(ready) or [answer] * len(ready))
    monkeypatch.setattr(ensembles.library, "cached", lambda *words, **more: own)
    out = tmp_path / "ensembles.jsonl"
    for count in (1, 2):
        ensembles.main(["two", "--count", str(count), "--out", str(out)])
    one, two = ensembles.load(out)
    assert (one["seed"], two["seed"]) == (0, 1) and len(given) == 2 and one["commit"]
    assert one["mean_found"] == [18.4, 17.0, 20.1] and one["shares"]["fcc"] == [0.7, 0.5, 0.9]
    assert one["gains"] == [9.0, 11.5] and one["unseen"] == pytest.approx([0.55, 0.425])
    assert given[0].given["qmin"] == pytest.approx(ensembles.case(own, "two", ensembles.FIRST).asked.qmin)


def test_the_tables_say_what_the_rows_say(experiments):
    import summary

    shared = {"part": "two", "members": 9, "mean": 20.0, "width": 0.2, "verdict": "distribution"}
    rows = [
        {**shared, "mean_found": [20.1, 19, 21], "width_found": [0.3, 0.25, 0.4], "types": {"fcc": 0.6, "hcp": 0.4},
         "shares": {"fcc": [0.55, 0.5, 0.7]}},
        {**shared, "mean_found": [22.0, 21, 23], "width_found": [0.2, 0.1, 0.3], "types": {"fcc": 1.0},
         "shares": {"fcc": [0.95, 0.9, 1.0]}},
        {"part": "single", "members": 1, "verdict": "single", "type": "fcc", "types": {"fcc": 1.0},
         "probabilities": {"fcc": 0.9}},
    ]  # fmt: skip
    rows = json.loads(json.dumps(rows))
    text = summary.ensembles(rows)
    assert "| two | 2 | 0 | 2 | 0 | 100 % | 50 % | 50 % | 50 % | 50 % | – | – |" in text
    assert "| single | 1 | 1 | 0 | 0 | – | – | – | – | – | 100 % | 90 % |" in text
    shares = summary.ensemble_shares(rows)
    assert (
        "| within 0.1 of the truth | 3 | 66.7 % |" in shares and "| within their 90 % interval | 3 | 66.7 % |" in shares
    )
