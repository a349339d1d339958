import sized

from jaxstruc.report import sized_tables, tables


def test_a_row_has_the_columns_that_are_promised():
    row = tables.row(sized.result())
    wanted = "file status body p_body distribution radius radius_error pd pd_error r_eq r_eq_low r_eq_high chi2 message"
    assert sized_tables.SUMMARY[:14] == tuple(wanted.split())
    assert set(wanted.split()) <= set(row) and row["body"] == "sphere" and row["p_body"] == 1.0
    assert row["radius"] == row["r_eq"] and row["r_eq_low"] < row["r_eq"] < row["r_eq_high"]
    assert row["mean_low"] < row["mean_diameter"] < row["mean_high"]


def test_the_report_has_what_sasview_reports():
    text = str(sized.result())
    for word in (
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
        assert word in text
    assert "Å" in text and "<pre>" in sized.result()._repr_html_()


def test_each_fit_has_its_row():
    (row,) = sized_tables.candidates(sized.result())
    assert row["body"] == "sphere" and row["rank"] == 1 and row["in_90"] == "yes"
    assert set(row) <= set(sized_tables.CANDIDATES)
