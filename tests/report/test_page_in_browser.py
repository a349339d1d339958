"""The page of results in a headless browser without WebGL and without a network."""

import dataclasses
import io
import json
import xml.etree.ElementTree as ET

import ase.io
import numpy as np
import page_results
import pytest
from headless_browser import browser_path, headless_browser
from page_results import MESSAGE, pdf_result, saxs_result, write_folder, write_page_of_many

from jaxstruc.report import folder, page, summary

pytestmark = pytest.mark.slow
MAX_TABLE_SECONDS = 5.0
"""Longest time until the table of 100 curves is drawn. It takes about 0.3 s on an idle machine."""
SHOWN_FILES = (
    "[...document.querySelectorAll('#curves tbody tr')].filter(row => !row.hidden).map(row => row.cells[0].textContent)"
)
PLOTS_ARE_DRAWN = "document.querySelectorAll('.plot .main-svg').length >= 2 && curve !== null"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Return a browser with an empty profile."""
    with headless_browser(browser_path(), tmp_path_factory.mktemp("profile")) as started_browser:
        yield started_browser


@pytest.fixture(scope="module")
def three_curves(tmp_path_factory):
    """Return the page of three curves, one of which has a name that is an element of HTML."""
    results = {
        "a": pdf_result(),
        "b": dataclasses.replace(
            pdf_result("in/<script>alert(1)<img src=x>.gr", status="solved", message="", sample="single"),
        ),
        "c": pdf_result("in/c.gr", status="solved"),
    }
    for stem, rw in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        best = dataclasses.replace(results[stem].best, rw=rw)
        results[stem] = dataclasses.replace(results[stem], candidates=(best, *results[stem].candidates[1:]))
    return page.write_pages(write_folder(tmp_path_factory.mktemp("three curves"), results))[0]


def centre(browser, selector):
    """Return the centre of the first element that a selector names, after it was scrolled into view."""
    quoted = json.dumps(selector)
    browser.evaluate(f"document.querySelector({quoted}).scrollIntoView({{block: 'center'}})")
    box = browser.evaluate(f"document.querySelector({quoted}).getBoundingClientRect().toJSON()")
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def click(browser, selector):
    x, y = centre(browser, selector)
    browser.mouse("mousePressed", x, y)
    browser.mouse("mouseReleased", x, y)


def canvas_picture(browser):
    """Return the picture of the structure, once it is drawn."""
    browser.evaluate("document.getElementById('structure-canvas').scrollIntoView()")
    browser.wait_for("viewer.view.structure && document.getElementById('structure-canvas').width > 300")
    return browser.evaluate("document.getElementById('structure-canvas').toDataURL()")


def assert_quiet(browser):
    assert browser.errors == [] and browser.requests == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_answer_fit_and_doubt_need_no_click(browser, three_curves, width, height):
    browser.open(three_curves, width=width, height=height)
    browser.wait_for(PLOTS_ARE_DRAWN)
    message = browser.evaluate("document.querySelector('#answer .message').getBoundingClientRect().toJSON()")
    text = browser.evaluate("document.querySelector('#answer').innerText")
    assert 0 < message["top"] and message["bottom"] < height and MESSAGE in text and "by volume of 18.4 Å" in text
    assert browser.evaluate("document.querySelector('#fit-figure').getBoundingClientRect().top") < 1.2 * height
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert_quiet(browser)


def test_a_click_on_a_title_sorts_the_table(browser, three_curves):
    browser.open(three_curves)
    browser.wait_for(PLOTS_ARE_DRAWN)
    titles = browser.evaluate("[...document.querySelectorAll('#curves th button')].map(node => node.textContent)")
    selector = f"#curves thead th:nth-child({titles.index('Rw') + 1}) button"
    names = {"a": "a.gr", "b": "<script>alert(1)<img src=x>.gr", "c": "c.gr"}
    for order, state in (("bca", "ascending"), ("acb", "descending")):
        click(browser, selector)
        assert browser.evaluate(SHOWN_FILES) == [names[stem] for stem in order]
        assert browser.evaluate(f"document.querySelector('{selector}').parentElement.ariaSort") == state
    assert_quiet(browser)


def test_filters_leave_the_rows_that_match(browser, three_curves):
    browser.open(three_curves)
    browser.wait_for(PLOTS_ARE_DRAWN)
    click(browser, "#filter-text")
    browser.call("Input.insertText", text="c.gr")
    assert browser.evaluate(SHOWN_FILES) == ["c.gr"]
    assert browser.evaluate("document.getElementById('row-count').textContent") == "1 of 3 shown"
    browser.evaluate("document.getElementById('filter-text').value = ''; filterTable(curvesTable)")
    browser.evaluate("document.getElementById('filter-status').value = 'weak'; filterTable(curvesTable)")
    assert browser.evaluate(SHOWN_FILES) == ["a.gr"]


def test_a_structure_turns_with_mouse_and_keys_and_near_ties_can_be_shown(browser, three_curves):
    browser.open(three_curves)
    browser.wait_for(PLOTS_ARE_DRAWN)
    pictures = [canvas_picture(browser)]
    assert pictures[0].startswith("data:image/png") and len(pictures[0]) > 20_000
    x, y = centre(browser, "#structure-canvas")
    browser.mouse("mousePressed", x, y)
    browser.mouse("mouseMoved", x + 60, y + 25)
    browser.mouse("mouseReleased", x + 60, y + 25)
    pictures.append(canvas_picture(browser))
    browser.key("ArrowLeft")
    pictures.append(canvas_picture(browser))
    browser.evaluate("document.getElementById('colour-choice').value = 'occupancy'")
    browser.evaluate("document.getElementById('colour-choice').dispatchEvent(new Event('change'))")
    pictures.append(canvas_picture(browser))
    browser.evaluate("document.getElementById('structure-choice').value = '1'")
    browser.evaluate("document.getElementById('structure-choice').dispatchEvent(new Event('change'))")
    pictures.append(canvas_picture(browser))
    assert len(set(pictures)) == 5
    browser.evaluate("setTheme('dark')")
    assert browser.evaluate("viewer.view.structure.rank") == 2  # a change of the theme keeps the structure
    rotation = np.array(browser.evaluate("viewer.view.rotation"))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert_quiet(browser)


def test_rows_are_opened_by_keyboard(browser, three_curves):
    browser.open(three_curves)
    browser.wait_for(PLOTS_ARE_DRAWN)
    browser.evaluate("document.querySelector('#curves tbody button').focus()")
    browser.key("ArrowDown")
    browser.key("Enter")
    assert browser.evaluate("document.querySelector('#answer h2').innerText").startswith("<script>alert(1)")
    assert browser.evaluate("document.querySelectorAll('#answer img, #curves img').length") == 0
    assert browser.evaluate("document.querySelector('tr[aria-current]').dataset.curve") == "1"
    assert "No doubts were noted" in browser.evaluate("document.querySelector('#answer').innerText")
    assert_quiet(browser)


def test_saved_structures_are_those_of_the_result(browser, three_curves):
    browser.open(three_curves)
    browser.wait_for(PLOTS_ARE_DRAWN)
    expected = page_results.STRUCTURES[0]
    for expression, form in (("xyzText(curve.structures[0])", "extxyz"), ("cifText(curve.structures[0], 'a')", "cif")):
        atoms = ase.io.read(io.StringIO(browser.evaluate(expression)), format=form)
        assert atoms.get_chemical_formula() == "Pt405"
        assert form == "cif" or (atoms.arrays["occupancy"].min(), atoms.arrays["occupancy"].max()) == (0, 1)
        np.testing.assert_allclose(atoms.get_all_distances()[0], expected.get_all_distances()[0], atol=5e-3)
    canvas_picture(browser)
    circles = ET.fromstring(browser.evaluate("viewer.svg()")).findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 405
    table = browser.evaluate("csvOfColumns(figureColumns('fit-figure'))").splitlines()
    assert table[0] == "r,G_obs,G_calc" and len(table) == 601
    for kind, head in (("svg", "data:image/svg+xml"), ("png", "data:image/png")):
        plot = "document.querySelector('#fit-figure .plot')"
        address = browser.evaluate(f"Plotly.toImage({plot}, {{format: '{kind}', width: 400, height: 300}})")
        assert address.startswith(head)
    assert_quiet(browser)


def test_the_range_that_was_not_fitted_and_undetermined_sizes_are_shaded(browser, tmp_path):
    path = page.write_pages(write_folder(tmp_path, {"a": saxs_result()}))[0]
    browser.open(path)
    browser.wait_for(PLOTS_ARE_DRAWN)
    browser.evaluate("document.getElementById('sizes-figure').scrollIntoView()")
    browser.wait_for("document.querySelector('#sizes-figure .main-svg') !== null")
    left, right = browser.evaluate(
        "document.querySelector('#fit-figure .plot').layout.shapes.map(({x0, x1}) => [x0, x1])"
    )
    assert left[1] == pytest.approx(0.01) and right[0] == pytest.approx(0.5)
    assert "from 6.28 to 314 Å" in browser.evaluate("document.querySelector('#sizes-figure .note').textContent")
    assert browser.evaluate("document.getElementById('structure-figure').hidden")
    assert_quiet(browser)


def test_the_page_follows_the_dark_theme_and_the_switch(browser, three_curves):
    backgrounds = []
    for dark in (False, True):
        browser.open(three_curves, dark=dark)
        browser.wait_for(PLOTS_ARE_DRAWN)
        backgrounds.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        click(browser, "#theme-switch")
        backgrounds.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert backgrounds[0] == backgrounds[3] != backgrounds[1] == backgrounds[2]
    assert_quiet(browser)


def test_the_table_of_100_curves_appears_at_once(browser, tmp_path):
    path = write_page_of_many(tmp_path, 100)
    browser.open(path)
    browser.wait_for(PLOTS_ARE_DRAWN)
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
    assert browser.evaluate(paint) < MAX_TABLE_SECONDS and len(browser.evaluate(SHOWN_FILES)) == 100
    assert_quiet(browser)


def test_a_curve_of_another_page_is_reached_by_its_row(browser, tmp_path):
    rows = [{"file": f"{n}.gr", "stem": str(n), "status": "solved", "type": "fcc", "p_fcc": "0.9"} for n in range(203)]
    folder.write_summary(tmp_path, rows, columns=summary.CLASSIFY_SUMMARY_COLUMNS)
    browser.open(page.write_pages(tmp_path)[0])
    browser.wait_for("curve !== null")
    browser.evaluate("setTimeout(() => document.querySelector('tr[data-curve=\"201\"]').click())")
    browser.wait_for("document.title && location.pathname.endsWith('index-2.html') && curve !== null")
    assert browser.evaluate("document.querySelector('#answer h2').innerText").startswith("201.gr")
    assert_quiet(browser)
