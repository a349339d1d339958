"""DeepStruc's list as its paper counts it, and how the truth's place among its structures is counted."""

from collections import Counter

import numpy as np
import pytest


def test_the_list_is_as_its_paper_counts_it(experiments):
    import deepstruc_list

    found = deepstruc_list.every_shape()
    atoms = {name: [len(one.positions) for one in found if one.family == name] for name in {x.family for x in found}}
    assert {name: (len(each), min(each), max(each)) for name, each in atoms.items()} == {
        "sc": (19, 7, 195), "bcc": (19, 9, 181), "fcc": (8, 13, 171), "hcp": (106, 6, 200),
        "decahedron": (37, 5, 192), "icosahedron": (3, 13, 147), "octahedron": (5, 6, 146),
    }  # fmt: skip
    assert len(found) == 197 and len(deepstruc_list.lengths()) == 19


def test_a_tie_is_half_of_a_first_place_and_names_count_once(experiments):
    import deepstruc_list

    misfit, names = np.array([0.2, 0.1, 0.1, 0.3, 0.1, np.inf]), np.array([0, 1, 2, 3, 1, 4])
    each = [deepstruc_list.rank(misfit, names == name, names) for name in range(5)]
    assert each == [(2, 0), (0, 1), (0, 1), (3, 0), (4, 0)]
    shares = [[deepstruc_list.within({"before": b, "tied": t}, k) for b, t in each] for k in (1, 3)]
    assert shares == [[0, 0.5, 0.5, 0, 0], [1, 1, 1, 0, 0]]


@pytest.mark.parametrize("between", [False, True])
def test_few_structures_are_named_by_a_look_and_fits(experiments, monkeypatch, between):
    """Of twelve shapes and two lengths; and where the length lies between the two."""
    import deepstruc_list

    some = deepstruc_list.every_shape()[60:72]
    monkeypatch.setattr(deepstruc_list, "every_shape", lambda: some)
    monkeypatch.setattr(deepstruc_list, "lengths", lambda: (2.5, 2.54))
    among = deepstruc_list.structures(deepstruc_list.lengths())
    asked = deepstruc_list.Part((0.0, 0.05), between=between, fitted=8)
    pdfs = [deepstruc_list.simulated(number, asked) for number in (3, 10, 20)]
    for noise in asked.noises:
        rows, spent = deepstruc_list.found(pdfs, noise, among, asked)
        assert Counter(row["before"] + row["tied"] for row in rows) == {0: 3}
        assert all(row["rw"] < 0.005 + 0.6 * noise < row["rw_other"] + 0.6 * noise for row in rows)
    assert spent["fits"] == 8


def test_the_table_tells_shares_of_parts_and_of_types(experiments):
    import summary

    run = {"part": "listed", "noise": 0.0, "pdfs": 2, "top1": 0.75, "top3": 1.0, "top5": 1.0, "ms_look": 2.0}
    row = {"part": "listed", "type": "hcp", "shape": "1 1 3", "noise": [0.0, 0.1], "before": [0, 1], "tied": [0, 0]}
    row |= {"type_before": [0, 0], "looked": [0, 3]}
    other = row | {"shape": "1 1 4", "tied": [1, 0], "looked": [40, 3]}
    text = summary.deepstruc_list([run | {"ms_fits": 10.0}, row, other])
    assert "| listed | 0 % | 2 | 75.00 % | 100.00 % | 100.00 % | 100.00 % | 50.00 % | 12 |" in text
    assert "| hcp | 2 | 75.00 % | 0.00 % |" in text


@pytest.mark.long
def test_the_quick_way_writes_nothing(experiments, tmp_path):
    import deepstruc_list

    found = deepstruc_list.main(["--quick", "--out", str(tmp_path / "rows.jsonl")])
    assert [row["top1"] for row in found if "pdfs" in row] == [1, 1, 1]
    assert len(found) == 12 and not list(tmp_path.iterdir())
