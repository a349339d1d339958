"""Series of results: order, tables, outliers, changes and the page."""

import dataclasses
import re

import numpy as np
import pytest
from command_line import read_table, run_command
from headless_browser import browser_path, headless_browser
from page_results import pdf_result, saxs_result, write_folder

from jaxstruc.statistics import Interval

N_FRAMES = 40
GROWTH_START, TRANSITION = 20, 26


@pytest.fixture(scope="module")
def series_folder(tmp_path_factory):
    """Return the results of simulated curves: a growth begins at a frame, and the type changes at another."""
    generator, base = np.random.default_rng(0), pdf_result(sample="single", n_candidates=4)
    results = {}
    for frame in range(N_FRAMES):
        diameter = 15 + 0.4 * max(0, frame - GROWTH_START) + 0.1 * generator.normal()
        calculated = np.sin(6 * base.r) * np.exp(-2 * base.r / diameter)
        best = dataclasses.replace(
            base.best,
            rw=0.1 + 0.004 * generator.normal() + 0.2 * (frame == 8),
            diameter=diameter,
            calculated=calculated,
        )
        fcc = 0.2 + 0.6 * (frame >= TRANSITION)
        results[f"s_{10 * frame}K"] = dataclasses.replace(
            base,
            name=f"in/<script>_{10 * frame}K.gr",
            ensemble=None,
            observed=calculated + 0.02 * generator.normal(size=len(base.r)),
            candidates=(best, *base.candidates[1:]),
            types={"fcc": fcc, "hcp": 1 - fcc},
            intervals={"diameter": Interval(diameter, diameter - 0.5, diameter + 0.5)},
        )
    names = list(results)
    np.random.default_rng(1).shuffle(names)
    return write_folder(tmp_path_factory.mktemp("a series"), {name: results[name] for name in names})


@pytest.fixture(scope="module")
def series_rows(series_folder):
    assert run_command("series", series_folder, "--x-from", "temperature", "--name-pattern", "_{}K") == 0
    return read_table(series_folder / "series.csv")


def test_the_curves_are_ordered_and_have_their_bands(series_rows):
    assert [float(row["temperature"]) for row in series_rows] == [10.0 * frame for frame in range(N_FRAMES)]
    row = series_rows[3]
    assert float(row["diameter_high"]) - float(row["diameter_low"]) == pytest.approx(1.0, abs=1e-3)
    assert float(row["p_fcc"]) == pytest.approx(0.2) and float(series_rows[-1]["p_fcc"]) == pytest.approx(0.8)


def test_outliers_and_changes_are_those_of_the_simulation(series_folder, series_rows):
    outliers = [frame for frame, row in enumerate(series_rows) if row["rw_outlier"] == "yes"]
    assert 8 in outliers and len(outliers) < 5
    changes = {row["quantity"]: int(row["frame"]) - 1 for row in read_table(series_folder / "series_changes.csv")}
    assert abs(changes["diameter"] - GROWTH_START) <= 3 and abs(changes["share of fcc"] - TRANSITION) <= 3
    assert "rw" not in changes and "measured curves" in changes
    with (series_folder / "series_curves.csv").open() as stream:
        assert len(next(stream).split(",")) == 1 + N_FRAMES


@pytest.mark.parametrize("source", ["header", "table", "order"])
def test_positions_come_from_headers_tables_or_the_order(tmp_path, source):
    results = {}
    for number, temperature in enumerate((300, 100, 200)):
        path = tmp_path / f"{number}.gr"
        path.write_text(f"[meta]\nTemperature (K) = {temperature}.0 K\n" if source == "header" else "none\n")
        results[path.stem] = dataclasses.replace(pdf_result(n_candidates=4), name=str(path))
    write_folder(tmp_path / "out", results)
    (tmp_path / "meta data.csv").write_text("file,temperature\n0.gr,300\n1.gr,100\n2.gr,200\n")
    options = {
        "header": ("--x-from", "temperature"),
        "table": ("--x-from", "temperature", "--metadata", tmp_path / "meta data.csv"),
        "order": (),
    }[source]
    assert run_command("series", tmp_path / "out", *options) == 0
    names = [row["file"].rpartition("/")[2] for row in read_table(tmp_path / "out" / "series.csv")]
    assert names == (["0.gr", "1.gr", "2.gr"] if source == "order" else ["1.gr", "2.gr", "0.gr"])


def test_small_angle_series_have_their_quantities(tmp_path):
    write_folder(tmp_path, {str(number): saxs_result(f"in/{number}.dat") for number in range(3)})
    assert run_command("series", tmp_path) == 0
    (row, *_) = read_table(tmp_path / "series.csv")
    assert float(row["mean_diameter_low"]) == 88.0 and float(row["p_sphere"]) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--x-from", "pressure"), "Expected pressure of each curve, got none for 40 of 40"),
        (("--x-from", "t", "--name-pattern", "K"), "Expected {} once in --name-pattern"),
        (("--x-from", "t", "--metadata", "none.csv"), "Expected a table in --metadata"),
        (("--name-pattern", "_{}K"), "pass e.g. temperature"),
    ],
)
def test_missing_positions_are_one_line(series_folder, capsys, options, message):
    assert run_command("series", series_folder, *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_one_curve_is_no_series(tmp_path, capsys):
    write_folder(tmp_path, {"a": pdf_result(n_candidates=4)})
    assert run_command("series", tmp_path) == 2 and "at least two curves" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_draws_the_map_and_the_slider_chooses_a_curve(series_folder, series_rows, tmp_path):
    page_path = series_folder / "series.html"
    assert page_path.stat().st_size < 10e6 and not re.search(r'(src|href)="https?:', page_path.read_text()[:20_000])
    with headless_browser(browser_path(), tmp_path) as browser:
        browser.open(page_path)
        browser.wait_for("document.querySelectorAll('.plot .main-svg').length >= 6")
        browser.evaluate("slider.value = 31; slider.dispatchEvent(new Event('input'))")
        label = browser.evaluate("document.getElementById('frame-label').textContent")
        assert label == "temperature 310, <script>_310K.gr"
        note = browser.evaluate("document.querySelector('#curve-figure .note').textContent")
        assert note.startswith("<script>_310K.gr: weak, fcc")
        assert browser.evaluate("document.querySelectorAll('#changes-section tbody tr').length") >= 3
        assert browser.errors == [] and browser.requests == []
