import csv
import dataclasses
import json
import re

import numpy as np
import page_results
import pytest
from ase.cluster import Octahedron
from command_line import run_command
from page_results import MESSAGE, pdf_result, saxs_result, write_folder, write_page_of_many

from jaxstruc.clusters.structure_type import layer_types
from jaxstruc.io.measurement import Setting
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import folder, methods_text, page, page_data, summary
from jaxstruc.report.page_data import COMPACT, DETAILED, PageEntry
from jaxstruc.statistics import Interval

MAX_PAGE_BYTES = 10_000_000


def page_texts(path):
    """Return the HTML of a page without scripts, and its data by the identifiers of their elements."""
    text = path.read_text("utf-8")
    scripts = dict(re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', text, re.DOTALL))
    html = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    return html, {name: json.loads(script) for name, script in scripts.items()}


def data_of(result, thinning=DETAILED):
    return page_data.curve_data(PageEntry(summary.row(result), result), thinning)


def test_the_first_answer_is_plain_html_and_its_data_are_complete(tmp_path):
    out = write_folder(tmp_path / "a folder", {"a": pdf_result(), "b": pdf_result("in/b.gr", status="solved")})
    (path,) = page.write_pages(out)
    html, data = page_texts(path)
    assert path.name == "index.html" and html.count(MESSAGE) >= 3  # two cells of the table, and the answer
    assert "2 curves" in html and "1 solved, 1 weak" in html and "by volume of 18.4 Å (17.0 to 20.1)" in html
    curve = data["curve-0"]
    assert (curve["file"], curve["status"], curve["message"]) == ("a.gr", "weak", MESSAGE)
    assert [structure["rank"] for structure in curve["structures"]] == [1, 2, 3, 4]
    assert ["qmin", "0.8", "", "1/Å", "header"] in curve["settings"]
    assert ["scale", "1", "0.01", "", "fitted"] in curve["values"]
    assert ["qdamp", "0.03", "", "1/Å", "fixed"] in curve["values"]
    assert curve["types"]["rows"][0] == ["fcc", 0.7, 0.5, 0.9]
    assert "ff" * 32 == curve["sha256"] and "jaxstruc 0.1.0 (jax 0.10.1)" in curve["methods"]
    assert "10.1107/S0108767309009714" in data["page-facts"]["bibtex"]


def test_a_page_names_no_host_in_its_elements(tmp_path):
    (path,) = page.write_pages(write_folder(tmp_path, {"a": saxs_result()}))
    text = path.read_text("utf-8")
    html, _ = page_texts(path)
    assert "default-src 'none'" in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))


def test_texts_of_files_cannot_become_elements(tmp_path):
    name = "in/</script><script>alert(1)</script><img src=x onerror=alert(2)>'\".gr"
    result = dataclasses.replace(pdf_result(name), message="<b>bold</b> & {{data}} </script>")
    out = write_folder(tmp_path, {"a<script>": result})
    (path,) = page.write_pages(out)
    text = path.read_text("utf-8")
    assert "<script>alert" not in text and "<img" not in text and "<b>" not in text
    html, data = page_texts(path)
    assert "{{data}}" in html and "&lt;b&gt;bold" in html
    assert data["curve-0"]["message"] == "<b>bold</b> & {{data}} </script>"
    assert data["curve-0"]["file"] == "script><img src=x onerror=alert(2)>'\".gr"
    assert data["curve-0"]["stem"] == "a<script>"


def test_thinned_curves_keep_both_ends_and_the_shape_of_the_data():
    result = pdf_result()
    for thinning in (DETAILED, COMPACT):
        fit = data_of(result, thinning)["fit"]
        assert len(fit["x"]) == thinning.points and fit["range"] == [1.5, pytest.approx(20.0)]
        assert (fit["x"][0], fit["x"][-1]) == (1.5, 20.0)
        np.testing.assert_allclose(fit["data"], np.interp(fit["x"], result.r, result.observed), atol=2e-3)
    fit = page_data.fit_data(saxs_result(), COMPACT)
    q = saxs_result().q
    assert len(fit["x"]) <= COMPACT.points and fit["x"][0] == 0.01 and fit["x"][-1] == 0.5
    np.testing.assert_allclose(fit["data"], np.interp(fit["x"], q, saxs_result().intensity), rtol=2e-2)
    assert np.max(np.diff(np.log(fit["x"]))) < 0.05  # no gap on the logarithmic axis


def test_all_members_of_the_90_percent_set_are_drawn():
    candidates = list(pdf_result().candidates)
    candidates[150] = dataclasses.replace(candidates[150], in_90=True)
    data = page_data.candidate_data(dataclasses.replace(pdf_result(), candidates=tuple(candidates)), COMPACT)
    assert 151 in data["rank"] and sum(data["in90"]) == 5 and len(data["rank"]) <= COMPACT.candidates
    assert data["rank"][:40] == list(range(1, 41)) and len(data["labels"]) == COMPACT.labels


def test_structures_are_centred_and_their_distances_are_kept():
    best, *_ = data_of(pdf_result())["structures"]
    positions = page_data.POSITION_STEP * np.reshape(best["positions"], (-1, 3))
    expected = page_results.STRUCTURES[0].positions
    np.testing.assert_allclose(positions.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(positions, expected - expected.mean(axis=0), atol=1e-3)
    assert sorted(best["colours"]["layers"]["names"]) == ["cubic", "outermost"]
    assert best["colours"]["occupancy"][-1] == 100 and len(best["colours"]["layers"]["codes"]) == 405
    ranks = [structure["rank"] for structure in data_of(pdf_result(), COMPACT)["structures"]]
    assert ranks == [1, 2, 3]


def test_layer_types_follow_the_stacking_and_the_five_fold_axes():
    octahedron, icosahedron, decahedron, _ = (atoms.positions for atoms in page_results.STRUCTURES)
    assert set(layer_types(octahedron)) == {"cubic", "outermost"}
    decahedron_types = layer_types(decahedron)
    assert decahedron_types.count("five-fold") == 6  # the atoms of its axis
    axis = decahedron[np.array(decahedron_types) == "five-fold"]
    assert np.linalg.matrix_rank(axis - axis.mean(axis=0), tol=0.1) == 1
    assert layer_types(icosahedron).count("surface") == 150  # the vertices of the shell of 162 atoms lie on the axes
    hcp = [
        [a + b / 2 + shift / 2, b * np.sqrt(3) / 2 + shift * np.sqrt(3) / 6, layer * np.sqrt(2 / 3)]
        for layer, shift in enumerate([0, 1, 0, 1, 0])
        for a in range(4)
        for b in range(4)
    ]
    types = layer_types(np.array(hcp))
    assert types[:16] == ["outermost"] * 16 and types[16:64] == ["hexagonal"] * 48
    assert layer_types(np.eye(3)) == ["unknown"] * 3


def test_the_fit_of_a_distribution_is_drawn_unless_the_sample_is_single():
    for sample in ("distribution", "single"):
        result = pdf_result(sample=sample, n_candidates=4)
        calculated = 0.9 * result.observed
        result = dataclasses.replace(result, ensemble=dataclasses.replace(result.ensemble, calculated=calculated))
        data = page_data.fit_data(result, DETAILED)
        assert ("ensemble" in data) == (sample == "distribution")
        if sample == "distribution":
            np.testing.assert_allclose(data["ensemble"], 0.9 * np.array(data["data"]), atol=2e-3)
            assert data["ensemble_label"] == "distribution with a background, Rw 0.160"


def test_the_table_of_small_angles_has_the_shape_and_links_to_the_series(tmp_path):
    result = saxs_result()
    intervals = result.intervals | {"aspect_ratio": Interval(2.5, 2.3, 2.8)}
    write_folder(tmp_path, {"a": dataclasses.replace(result, intervals=intervals), "b": saxs_result("in/b.dat")})
    (path,) = page.write_pages(tmp_path)
    text = path.read_text()
    assert "Aspect ratio" in text and "2.5 <small>(2.3 to 2.8)</small>" in text and "series.html" not in text
    (tmp_path / "series.html").write_text("")
    (path,) = page.write_pages(tmp_path)
    assert '<a href="series.html">Series</a>' in path.read_text()


def test_sizes_that_the_data_do_not_determine_have_limits():
    saxs = page_data.size_data(saxs_result())
    assert saxs["limits"] == [6.28, 314.0] and not saxs["log"]
    assert "6.28 to 314 Å" in saxs["limits_text"]
    pdf = page_data.size_data(pdf_result())
    assert pdf["limits"] == [None, 20.0] and pdf["types"] == ["fcc", "decahedron"]
    np.testing.assert_allclose(np.sum(pdf["volume"]["parts"], axis=0), pdf["volume"]["line"], atol=0.02)
    assert all(low <= high for low, high in zip(pdf["volume"]["low"], pdf["volume"]["high"], strict=True))


def test_a_page_of_100_curves_is_small_and_further_pages_are_linked(tmp_path):
    path = write_page_of_many(tmp_path, 100)
    assert path.stat().st_size < MAX_PAGE_BYTES
    html, data = page_texts(path)
    assert html.count("<tr data-curve=") == 100 and len(data) == 101


def test_100_of_the_largest_structures_fit_on_a_page():
    largest = Octahedron("Pt", 13, 2)
    best = dataclasses.replace(pdf_result().best, atoms=largest, occupancy=np.full(len(largest), 0.97))
    result = dataclasses.replace(pdf_result(), candidates=(best, *pdf_result().candidates[1:]))
    data = data_of(result, COMPACT)
    assert len(largest) == 1439 and [structure["rank"] for structure in data["structures"]] == [1]
    assert len(page.plotly_source()) + 100 * (len(page.json_text(data)) + 1000) < MAX_PAGE_BYTES


def test_more_than_200_curves_have_linked_pages(tmp_path):
    rows = [
        {"file": f"{number}.gr", "stem": str(number), "status": "solved", "type": "fcc", "p_fcc": "0.9"}
        for number in range(401)
    ]
    folder.write_summary(tmp_path, rows, columns=summary.CLASSIFY_SUMMARY_COLUMNS)
    paths = page.write_pages(tmp_path)
    assert [path.name for path in paths] == ["index.html", "index-2.html", "index-3.html"]
    html, data = page_texts(paths[0])
    assert html.count("<tr data-curve=") == 401 and len(data) == 201
    assert 'href="index-3.html">401 to 401' in html and paths[0].stat().st_size < 1_000_000  # no script of plotly
    html, data = page_texts(paths[2])
    assert html.count("<tr data-curve=") == 1 and data["page-facts"]["first"] == 400
    folder.write_summary(tmp_path, rows[:2], columns=summary.CLASSIFY_SUMMARY_COLUMNS)
    page.write_pages(tmp_path)
    assert [path.name for path in tmp_path.glob("*.html")] == ["index.html"]


def test_predictions_of_the_classifier_are_shown_from_the_table_alone(tmp_path):
    row = {"file": "a.gr", "stem": "a", "status": "weak", "message": "far from the training", "type": "fcc"}
    row |= {"p_fcc": 0.8, "p_hcp": 0.2, "n_atoms": 900, "n_low": 900, "diameter": 30, "diameter_low": 30, "qmin": 1}
    folder.write_summary(tmp_path, [row], columns=summary.CLASSIFY_SUMMARY_COLUMNS)
    html, data = page_texts(page.write_pages(tmp_path)[0])
    assert data["curve-0"]["types"]["rows"][0][:2] == ["fcc", 0.8]
    assert ["atoms", "at least 900"] in data["curve-0"]["facts"] and "at least 900" in html
    assert data["curve-0"]["settings"] == [["qmin", "1", "", "1/Å", "file or default"]]
    assert data["curve-0"]["fit"] is None and "neural network" in data["curve-0"]["methods"]


def test_missing_damaged_and_foreign_results_are_named(tmp_path):
    out = write_folder(tmp_path, {name: pdf_result(f"in/{name}.gr") for name in "abcd"})
    (out / "results" / "b.npz").write_bytes(b"half a file")
    (out / "results" / "c.npz").unlink()
    other = dataclasses.replace(pdf_result("in/d.gr"), sha256="11" * 32)
    with (out / "results" / "d.npz").open("wb") as stream:
        np.savez(stream, **folder.to_arrays(other))
    _, data = page_texts(page.write_pages(out)[0])
    remarks = [data[f"curve-{number}"]["remark"] for number in range(4)]
    assert remarks[0] == "" and "run again" in remarks[1] and "is missing" in remarks[2] and "other data" in remarks[3]
    assert [data[f"curve-{number}"]["fit"] is None for number in range(4)] == [False, True, True, True]
    assert data["curve-2"]["message"] == MESSAGE and data["curve-2"]["answer"].startswith("truncated octahedron")


def test_a_folder_without_a_summary_or_of_version_1_is_shown(repository, tmp_path):
    (tmp_path / "results").mkdir()
    for path in (repository / "tests" / "version_1").glob("*.npz"):
        (tmp_path / "results" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "results" / "broken.npz").write_bytes(b"")
    html, data = page_texts(page.write_pages(tmp_path)[0])
    assert "1 failed" in html and len(data) == 4
    assert data["curve-2"]["fit"] and data["curve-1"]["fit"]


def test_a_curve_of_several_has_its_number(tmp_path):
    result = pdf_result()
    settings = (*result.settings, Setting("frame", 3.0, "command line"))
    out = write_folder(tmp_path, {"a-3": dataclasses.replace(result, settings=settings)})
    html, data = page_texts(page.write_pages(out)[0])
    assert data["curve-0"]["file"] == "a.gr, curve 3" and html.count("a.gr, curve 3") == 2


def test_a_failed_file_gives_its_reason(tmp_path):
    row = {"file": "in/x.gr", "stem": "x", "status": "failed", "message": "Expected numbers, got text."}
    folder.write_summary(tmp_path, [row])
    html, data = page_texts(page.write_pages(tmp_path)[0])
    assert "<strong>Reason:</strong> Expected numbers, got text." in html and data["curve-0"]["methods"] == ""


def test_a_page_has_no_nan_in_its_data(tmp_path):
    best = dataclasses.replace(pdf_result().best, rw=float("nan"), diameter=float("inf"))
    result = dataclasses.replace(pdf_result(), candidates=(best, *pdf_result().candidates[1:]))
    _, data = page_texts(page.write_pages(write_folder(tmp_path, {"a": result}))[0])
    assert data["curve-0"]["candidates"]["rw"][0] is None and data["curve-0"]["candidates"]["size"][0] is None


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda out: None, "Expected results in"),
        (lambda out: folder.write_summary(out, []), "got a table without rows"),
        (lambda out: (out / "summary.csv").write_text("a,b\n1,2\n"), "Expected the columns file and status"),
        (lambda out: (out / "summary.csv").write_text('file,status\n"a' + 200_000 * "b"), "Expected a table in"),
    ],
)
def test_folders_without_results_are_refused_in_one_line(tmp_path, capsys, write, reason):
    write(tmp_path)
    assert run_command("page", tmp_path) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"jaxstruc: {reason}") or reason in message
    assert message.count("\n") == 1 and not list(tmp_path.glob("*.html"))


def test_the_command_makes_the_page_anew(tmp_path, capsys):
    write_folder(tmp_path, {"a": pdf_result()})
    (tmp_path / "index.html").write_text("old")
    assert run_command("page", tmp_path) == 0
    assert capsys.readouterr().out == f"Open {tmp_path / 'index.html'} in a browser.\n"
    assert MESSAGE in (tmp_path / "index.html").read_text("utf-8")
    assert run_command("page", tmp_path / "nothing") == 2 and "Expected a folder of results" in capsys.readouterr().err


def test_the_methods_text_states_what_was_done():
    text = methods_text.methods_paragraph(pdf_result())
    assert (
        "qmin = 0.8 1/Å (from the header)" in text and "468 candidates from a library of clusters were fitted" in text
    )
    assert "fitted parameters were scale; uiso at 0.008 Å², qdamp at 0.03 1/Å stayed fixed" in text
    assert "A distribution of particles predicts G(r) better" in text and "mean Rw 0.425" in text
    assert "radii from 6.28 to 314 Å" in methods_text.methods_paragraph(saxs_result())
    keys = methods_text.reference_keys([pdf_result(), saxs_result(), PdfResult("a", "", "", "failed", "")])
    entries = methods_text.bibtex(keys, version="9.9")
    assert len(keys) == len(set(keys)) == entries.count("@") and "version = {9.9}" in entries
    with_relaxation = dataclasses.replace(pdf_result(), free=("scale", "relaxation"))
    text = methods_text.methods_paragraph(saxs_result())
    assert ("Wuttke (2021)" in text) is any(
        entry.type not in methods_text.ROUND_BODIES for entry in saxs_result().candidates
    )
    assert "cleri1993" in methods_text.reference_keys([with_relaxation])


def test_the_cells_of_the_table_sort_by_their_numbers(tmp_path):
    html, _ = page_texts(page.write_pages(write_folder(tmp_path, {"a": pdf_result()}))[0])
    assert '<td class="number" data-value="0.1">0.100</td>' in html
    assert "405 <small>(300 to 500)</small>" in html
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as stream:
        assert next(csv.DictReader(stream))["stem"] == "a"
