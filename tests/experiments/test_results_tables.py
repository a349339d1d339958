"""Tables of the documents: rounding, statistics over seeds, and agreement with the committed rows."""

import re

import pytest


def result_row(**values):
    names = {"dataset": "kdd", "split": "random", "latent": 2, "draw": "sample", "model": "cvae", "seed": 0}
    return {**names, "metric": "r_p", "mean": 0.5, "sd": 0.1, "n": 137, "failed": 0, **values}


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (0.13612, 0.01234, "0.136 ± 0.012"),
        (0.9996, 5.1e-05, "0.999600 ± 0.000051"),
        (0.4411, 0.0996, "0.44 ± 0.10"),
        (123.4, 56.0, "123 ± 56"),
        (0.98888, 1e-17, "0.989 ± 0"),
    ],
)
def test_a_spread_has_two_significant_digits_and_its_mean_as_many_decimals(experiments, mean, spread, text):
    import table_cells

    assert table_cells.mean_and_spread(mean, spread) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.445e3, "1440"), (0.000154, "0.000154"), (2.98e-7, "2.98e-7"), (5.502e9, "5.5e9"), (0.0, "0"), (None, "–")],
)
def test_numbers_have_three_significant_digits_and_rarely_an_exponent(experiments, value, text):
    import table_cells

    assert table_cells.number(value) == text


def test_tables_of_reconstructions_give_means_and_spreads_over_seeds(experiments):
    import network_tables

    rows = [
        result_row(mean=0.4, sd=0.2),
        result_row(seed=1, mean=0.6, sd=0.4, failed=3),
        result_row(metric="pearson", mean=0.9, sd=None),
    ]
    rows.append(result_row(metric="t_test_r_p", against="dae", mean=-0.1, t=-2.0, p=0.03))
    rows.append(result_row(metric="t_test_r_p", against="dae", seed=None, mean=-0.1, t=-2.0, p=0.2))
    table = network_tables.reconstruction_table(rows)
    assert "| random | CVAE | 2 | sample | 2 | 0.50 ± 0.14 (0.3), 3 failed | 0.9 | – | – | – | † | – | † |" in table
    assert "| random | DAE, the paper | 2 | sample | 1 | 0.4548 | 0.7482 | – | – | – | – | – | – |" in table
    tests = network_tables.reconstruction_tests_table(rows)
    assert "| random | 2 | sample | cvae | dae | R_p | -0.1 (0.1) | 0.2 |\n" in tests
    assert "Of 1 paired t-tests over seeds, 0 have p < 0.05" in tests
    ablation_columns = {"noise": 0.1, "weight": 0.0, "refined": True, "seconds_per_structure": 0.25}
    ablation_rows = [result_row(**ablation_columns), result_row(**ablation_columns, metric="pearson", mean=0.9)]
    table = network_tables.ablation_table(ablation_rows)
    assert "| random | 0.1 | cvae | 0 | yes | 1 | 0.9 (0.1) | 0.5 (0.1) | † | – | † | 0.25 |" in table
    valid_rows = [
        result_row(metric="share_valid", mean=mean, sd=None, seed=seed) for seed, mean in enumerate((0.7, 0.9))
    ]
    table = network_tables.model_table(valid_rows)
    assert table.splitlines()[0] == "| split | model | latent dimensions | seeds | share valid |"
    assert table.splitlines()[-1] == "| random | CVAE | 2 | 2 | 0.80 ± 0.14 |"


def test_small_p_values_are_counted_singly_and_all_together(experiments):
    import network_tables

    assert network_tables.comparison_remark([0.001, 0.01, 0.04, 0.5, 0.9]) == (
        "Of 5 paired t-tests over seeds, 3 have p < 0.05; chance alone gives about 0.25. With Bonferroni's correction "
        "(p < 0.01) 1 remain."
    )


def test_only_text_between_markers_is_written(experiments, tmp_path):
    import results_tables

    markers = [marker for page in results_tables.PAGES.values() for marker in page.blocks]
    text = "before\n" + "".join(f"<!-- {marker} -->\nold\n<!-- end -->\nafter\n" for marker in markers)
    updated_text = results_tables.update_tables(text, tmp_path)
    assert results_tables.update_tables(updated_text, tmp_path) == updated_text and "old" not in updated_text
    n_notes = updated_text.count("There are no results yet.")
    assert n_notes == updated_text.count("after") == len(markers)
    with pytest.raises(ValueError, match="has no <!-- scattering -->"):
        results_tables.update_tables("nothing", tmp_path)


def test_the_tables_in_the_documents_are_those_of_the_rows(experiments):
    import results_tables

    results = experiments / "results"
    text = results_tables.README.read_text("utf-8")
    assert results_tables.update_tables(text, results) == text
    pages = {path.stem for path in results.glob("*.md")}
    assert pages == set(results_tables.PAGES)
    for experiment in pages:
        expected_text = results_tables.page_text(experiment, results_tables.read_rows(experiment, results), results)
        assert (results / f"{experiment}.md").read_text("utf-8") == expected_text, experiment


def test_every_file_of_rows_has_a_page_that_the_readme_links(experiments):
    import results_tables

    results, text = experiments / "results", results_tables.README.read_text("utf-8")
    assert {path.stem for path in results.glob("*.json*")} == set(results_tables.PAGES)
    linked_paths = re.findall(r"\]\((results/[^)]+)\)", text)
    assert all((experiments / path).exists() for path in linked_paths)
    assert {f"results/{experiment}.md" for experiment in results_tables.PAGES} <= set(linked_paths)
