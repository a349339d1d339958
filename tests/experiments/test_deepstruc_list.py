"""DeepStruc's list and its numbers in the paper, and the rank of the true structure in the list."""

from collections import Counter

import numpy as np
import pytest


def test_the_list_is_as_its_paper_counts_it(experiments):
    import deepstruc_list

    shapes = deepstruc_list.deepstruc_family()
    atoms = {
        name: [len(cluster.positions) for cluster in shapes if cluster.family == name]
        for name in {shape.family for shape in shapes}
    }
    assert {name: (len(counts), min(counts), max(counts)) for name, counts in atoms.items()} == {
        "sc": (19, 7, 195), "bcc": (19, 9, 181), "fcc": (8, 13, 171), "hcp": (106, 6, 200),
        "decahedron": (37, 5, 192), "icosahedron": (3, 13, 147), "octahedron": (5, 6, 146),
    }  # fmt: skip
    assert len(shapes) == 197 and len(deepstruc_list.bond_lengths()) == 19


def test_a_tie_is_half_of_a_first_place_and_names_count_once(experiments):
    import deepstruc_list

    misfit, names = np.array([0.2, 0.1, 0.1, 0.3, 0.1, np.inf]), np.array([0, 1, 2, 3, 1, 4])
    ranks = [deepstruc_list.rank_name(misfit, names == name, names) for name in range(5)]
    assert ranks == [(2, 0), (0, 1), (0, 1), (3, 0), (4, 0)]
    probabilities = [
        [deepstruc_list.probability_within({"before": n_before, "tied": n_tied}, n_first) for n_before, n_tied in ranks]
        for n_first in (1, 3)
    ]
    assert probabilities == [[0, 0.5, 0.5, 0, 0], [1, 1, 1, 0, 0]]


@pytest.mark.parametrize("drawn_bonds", [False, True])
def test_few_structures_are_identified_by_lookup_and_fits(experiments, drawn_bonds):
    """The list has twelve shapes and two bond lengths. The second case has a bond length between the two."""
    import deepstruc_list

    structures = deepstruc_list.StructureList(deepstruc_list.deepstruc_family()[60:72], (2.5, 2.54))
    structure_table = deepstruc_list.build_structure_table(*structures)
    pdf_set = deepstruc_list.PdfSet((0.0, 0.05), drawn_bonds=drawn_bonds, n_fitted=8)
    pdfs = [deepstruc_list.simulate_structure(index, pdf_set, structures) for index in (3, 10, 20)]
    for noise in pdf_set.noises:
        rows, costs = deepstruc_list.name_pdfs(pdfs, noise, structure_table, pdf_set, structures.shapes)
        assert Counter(row["before"] + row["tied"] for row in rows) == {0: 3}
        assert all(row["rw"] < 0.005 + 0.6 * noise < row["rw_other"] + 0.6 * noise for row in rows)
    assert costs["fits"] == 8


def test_the_table_gives_shares_of_parts_and_of_types(experiments):
    import pdf_tables

    part_row = {"part": "listed", "noise": 0.0, "pdfs": 2, "top1": 0.75, "top3": 1.0, "top5": 1.0, "ms_look": 2.0}
    row = {"part": "listed", "type": "hcp", "shape": "1 1 3", "noise": [0.0, 0.1], "before": [0, 1], "tied": [0, 0]}
    row |= {"type_before": [0, 0], "looked": [0, 3]}
    other_row = row | {"shape": "1 1 4", "tied": [1, 0], "looked": [40, 3]}
    rows = [part_row | {"ms_fits": 10.0}, row, other_row]
    line = "| listed | 0 % | 2 | 75.00 % | 100.00 % | 100.00 % | 100.00 % | 12 |"
    assert line in pdf_tables.deepstruc_block(rows) and f"{line} 50.00 % |" in pdf_tables.deepstruc_table(rows)
    assert "| hcp | 2 | 75.00 % | 0.00 % |" in pdf_tables.deepstruc_types_table(rows)


@pytest.mark.long
def test_the_quick_run_writes_nothing(experiments, tmp_path):
    import deepstruc_list

    rows = deepstruc_list.main(["--quick", "--out", str(tmp_path / "rows.jsonl")])
    assert [row["top1"] for row in rows if "pdfs" in row] == [1, 1, 1]
    assert len(rows) == 12 and not list(tmp_path.iterdir())
