"""The Python functions `solve`, `mine`, `refine`, `classify`, `saxs`, `simulate` and `load`."""

from dataclasses import replace

import ase
import numpy as np
import pytest
import small_angle_data

import jaxstruc
from jaxstruc import DataOptions, LibraryOptions, MineOptions, SolveOptions, api
from jaxstruc.clusters import fcc_shapes
from jaxstruc.pdf.solve import PdfPlan, prepare_measurement
from jaxstruc.scattering import form_factors

MINE_OPTIONS = MineOptions(candidates=LibraryOptions(("octahedron",), 100), ensemble="none")


@pytest.fixture(scope="module")
def data(repository):
    return jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")


@pytest.fixture(scope="module")
def mine_result(data):
    progress_calls = []
    result = jaxstruc.mine(data, element="Ag", options=MINE_OPTIONS, progress=lambda *args: progress_calls.append(args))
    assert progress_calls and progress_calls[-1][1] == 1 and "candidates" in progress_calls[-1][2]
    return result


def test_a_result_has_atoms_types_and_settings_with_their_origins(mine_result):
    assert isinstance(mine_result.best.atoms, ase.Atoms) and len(mine_result.best.atoms) == mine_result.best.n_atoms
    assert 0.02 < mine_result.best.rw < 0.1 and mine_result.types == pytest.approx({"fcc": 1.0})
    origins = {setting.name: setting.origin for setting in mine_result.settings}
    assert origins["qmax"] == "header" and origins["rmax"] == "default"
    assert mine_result.best.values["uiso"].unit == "Å²" and mine_result.best.values["uiso"].error > 0
    assert mine_result.facts["diameter_estimate"] > 10 and mine_result.facts["seconds"] > 0


def test_the_curve_has_the_stated_misfit(mine_result):
    r, observed, calculated, background = mine_result.curve()
    assert np.sqrt(np.sum((observed - calculated) ** 2) / np.sum(observed**2)) == pytest.approx(
        mine_result.best.rw, rel=2e-3
    )
    assert r[0] == 1.5 and not background.any()


def test_solving_from_the_library_alone_is_mining(data, mine_result):
    options = SolveOptions(("library",), candidates=MINE_OPTIONS.candidates, search="none", ensemble="none")
    solve_result = jaxstruc.solve(data, element="Ag", options=options)
    assert [candidate.rw for candidate in solve_result.candidates] == [
        candidate.rw for candidate in mine_result.candidates
    ]


def test_several_measurements_give_as_many_results_each_as_alone(data, mine_result):
    """The second measurement has the same content under another name."""
    first_result, second_result = jaxstruc.mine([data, data._replace(name="again")], element="Ag", options=MINE_OPTIONS)
    assert first_result.best.rw == pytest.approx(mine_result.best.rw, rel=1e-5) and second_result.name == "again"
    assert first_result.best.recipe == mine_result.best.recipe


def test_settings_override_the_header(data):
    options = replace(MINE_OPTIONS, data=DataOptions(qmin=1.4, rmax=12.0))
    result = jaxstruc.mine(data, element="Ag", qmin=1.5, options=options)
    assert result.settings_by_name["qmin"] == 1.5 and result.curve().x[-1] == 12.0


def test_a_refined_cluster_is_kept_as_it_is(data):
    """The bonds of the cluster are kept: the fitted stretch of a cluster that is 2 % larger is 2 % smaller."""
    bond = form_factors.bond_length("Ag")
    small_cluster, large_cluster = (
        fcc_shapes.fcc_cluster((2, 4, 2)).to_ase("Ag", factor * bond) for factor in (1.0, 1.02)
    )
    small_result, large_result = (jaxstruc.refine(data, atoms) for atoms in (small_cluster, large_cluster))
    assert (
        small_result.element == "Ag"
        and small_result.best.source == "file"
        and small_result.best.recipe == "Ag55, number 1"
    )
    ratio = small_result.best.values["stretch"].value / large_result.best.values["stretch"].value
    assert ratio == pytest.approx(1.02, abs=1e-3) and small_result.best.rw == pytest.approx(
        large_result.best.rw, abs=1e-3
    )
    joint_result = jaxstruc.refine(
        data, [small_cluster, large_cluster], free=("scale", "stretch", "uiso", "delta2", "qdamp")
    )
    assert len(joint_result.candidates) == 2 and joint_result.free[-1] == "qdamp"
    assert joint_result.candidates[1].atoms is not None


@pytest.mark.parametrize(
    ("composition", "text"),
    [("Ag3Sn", "its structure and size are not those of the sample"), ("Ag30S12", "distances to S are not described")],
)
def test_elements_of_the_header_that_are_not_in_the_model_are_mentioned(data, composition, text):
    atoms = fcc_shapes.fcc_cluster((2, 4, 2)).to_ase("Ag", form_factors.bond_length("Ag"))
    result = jaxstruc.refine(data._replace(header=data.header | {"composition": composition}), atoms)
    assert f"the header states the composition {composition}, but the model has only Ag: " in result.message
    assert text in result.message and (result.status == "weak" or composition == "Ag30S12")


def test_all_curves_of_a_file_are_read(repository):
    measurements = jaxstruc.read_all(repository / "tests" / "cases" / "growth.gr")
    assert [entry.settings_by_name["frame"] for entry in measurements] == [1, 2, 3, 4, 5]
    single_measurement = jaxstruc.read(repository / "tests" / "cases" / "growth.gr", frame=3)
    np.testing.assert_array_equal(measurements[2].g, single_measurement.g)
    (only_measurement,) = jaxstruc.read_all(repository / "examples" / "Ag68_simulated.gr")
    assert "frame" not in only_measurement.settings_by_name
    with pytest.raises(ValueError, match="does not exist"):
        jaxstruc.read_all("none.gr")


def test_an_s_of_q_is_prepared_as_the_pdf_it_leads_to(tmp_path):
    """The highest peak of G(r) is at the bond length, and qmin and qmax are the ends of the data."""
    atoms = fcc_shapes.fcc_cluster((2, 4, 2)).to_ase("Ag", form_factors.bond_length("Ag"))
    distance = atoms.get_all_distances()[np.triu_indices(len(atoms), 1)]
    q = np.arange(0.8, 20.0, 0.01)
    s = 1 + 2 / len(atoms) * np.exp(-0.006 * q**2) / q * (np.sin(np.outer(q, distance)) @ (1 / distance))
    path = tmp_path / "x.sq"
    rows = zip((10 * q).tolist(), s.tolist(), strict=True)
    path.write_text("#L Q(1/nm)  S\n" + "".join(f"{x!r} {y!r}\n" for x, y in rows))
    measurement = prepare_measurement(jaxstruc.read(path), PdfPlan("Ag", ()))
    r, g = measurement.curve
    assert r[g.argmax()] == pytest.approx(form_factors.bond_length("Ag"), abs=0.02) and r[-1] == pytest.approx(20)
    assert [(setting.name, setting.origin) for setting in measurement.settings[:3]] == [
        ("qmin", "data"), ("qmax", "data"), ("qdamp", "default"),
    ]  # fmt: skip
    assert measurement.kind == "gr" and measurement.settings_by_name["qmax"] == pytest.approx(19.99)


def test_the_message_for_an_intensity_names_the_right_command(tmp_path):
    path = tmp_path / "x.dat"
    path.write_text("# Q (1/A)  I (1/cm)\n" + "".join(f"{0.01 * index} {100 / index}\n" for index in range(1, 50)))
    measurement = jaxstruc.read(path)
    assert measurement.kind == "iq" and measurement.intensity_unit == "1/cm"
    with pytest.raises(ValueError, match=r"or F\(Q\), got I\(Q\) in .*x.dat; pass it to jaxstruc saxs"):
        jaxstruc.mine(measurement, element="Ag", options=MINE_OPTIONS)


def test_results_save_and_load(mine_result, tmp_path):
    mine_result.save(tmp_path)
    loaded_result = jaxstruc.load(tmp_path / "results" / "Ag68_simulated.npz")
    assert loaded_result.best.rw == mine_result.best.rw and str(loaded_result) == str(mine_result)
    assert (tmp_path / "summary.csv").exists() and (tmp_path / "fits" / "Ag68_simulated.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"element": "Xx"}, "Expected the symbol of an element"),
        ({"element": "Ag", "qmax": 0.1}, "0 <= qmin < qmax"),
        ({"element": "Ag", "qmin": 2.0, "qmax": 1.0}, "Expected qmin < qmax, got 2 and 1"),
        ({"element": "Ag", "max_atoms": -3}, "Expected --max-atoms of at least 5, got -3."),
        ({"element": "Ag", "search": "fast"}, "Expected --search none, quick or full, got 'fast'."),
    ],
)
def test_mistakes_are_refused_in_one_sentence(data, arguments, message):
    options = SolveOptions(("library",), candidates=MINE_OPTIONS.candidates)
    with pytest.raises(ValueError, match=message):
        jaxstruc.solve(data, options=options, **arguments)


PAIR_POSITIONS = [[0, 0, 0], [0, 0, 3]]


@pytest.mark.parametrize(
    ("atoms", "message"), [(ase.Atoms(), "Expected a structure with atoms"), (ase.Atoms("Ag"), "Expected 2 to 5000")]
)
def test_atoms_that_are_no_cluster_are_not_refined(data, atoms, message):
    with pytest.raises(ValueError, match=message):
        jaxstruc.refine(data, atoms)


def test_clusters_that_cannot_be_refined_together_are_refused(data):
    with pytest.raises(ValueError, match="Expected clusters of one element, got Au, Pt"):
        jaxstruc.refine(data, [ase.Atoms("Au2", positions=PAIR_POSITIONS), ase.Atoms("Pt2", positions=PAIR_POSITIONS)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxstruc.saxs("sample.dat"), "Expected a measurement, got str; read files with jaxstruc.read."),
        (lambda: jaxstruc.saxs([]), "Expected at least one measurement, got none."),
        (lambda: jaxstruc.saxs([1.0]), "Expected a measurement, got float; read files with jaxstruc.read."),
        (
            lambda: jaxstruc.solve([], element="Pt", options=jaxstruc.RefineOptions()),
            "Expected SolveOptions for options, got RefineOptions.",
        ),
        (
            lambda: jaxstruc.mine([], element="Pt", max_atoms=5000),
            "Expected --max-atoms of at most 1500, because the families end there, got 5000; add larger clusters",
        ),
        (
            lambda: jaxstruc.saxs([], body="ball"),
            "Expected one or more of .* for --body, got ball; pass only these names, e.g. --body sphere cube.",
        ),
    ],
)
def test_arguments_of_a_wrong_type_are_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("qmin", 50.0, "qmin < qmax, got 50 and 22"),
        ("qmax", 0.1, "0 <= qmin < qmax"),
        ("max_atoms", 4, "Expected --max-atoms of at least 5, got 4"),
        ("search", "fast", "Expected --search none, quick or full, got 'fast'"),
        ("element", "Xx", "Expected the symbol of an element"),
        ("options", jaxstruc.RefineOptions(), "Expected SolveOptions for options, got RefineOptions"),
    ],
)
def test_each_keyword_of_mine_and_solve_reaches_its_option(data, keyword, value, message):
    """A value that is not allowed is refused by the check of the option."""
    arguments = {"element": "Ag", "options": MINE_OPTIONS} | {keyword: value}
    for function in (jaxstruc.mine, jaxstruc.solve):
        with pytest.raises(ValueError, match=message):
            function(data, **arguments)


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("qmin", 50.0, "qmin < qmax, got 50 and 22"),
        ("qmax", 0.1, "0 <= qmin < qmax"),
        ("free", ("stretch", "uiso"), "Expected scale among --free"),
        ("free", "uiso", "Expected scale among --free"),
        ("options", MINE_OPTIONS, "Expected RefineOptions for options, got MineOptions"),
    ],
)
def test_each_keyword_of_refine_reaches_its_option(data, keyword, value, message):
    atoms = fcc_shapes.fcc_cluster((2, 4, 2)).to_ase("Ag", 2.9)
    with pytest.raises(ValueError, match=message):
        jaxstruc.refine(data, atoms, **{keyword: value})


def test_on_an_absolute_scale_the_scale_is_one_in_all_functions(data, mine_result):
    atoms, progress_calls = fcc_shapes.fcc_cluster((2, 4, 2)).to_ase("Ag", 2.9), []
    mined_result = jaxstruc.mine(data, element="Ag", options=MINE_OPTIONS, absolute=True)
    refined_result = jaxstruc.refine(
        data, [atoms], absolute=True, progress=lambda *arguments: progress_calls.append(arguments)
    )
    for result in (mined_result, refined_result):
        assert result.best.values["scale"].value == 1.0 and result.best.values["scale"].error is None
    assert mine_result.best.values["scale"].error > 0 and progress_calls
    fit_options = jaxstruc.FitOptions(absolute=True)
    assert jaxstruc.refine(data, atoms, options=jaxstruc.RefineOptions(fit=fit_options)).best.rw == pytest.approx(
        refined_result.best.rw
    )
    free_result = jaxstruc.refine(data, atoms, options=jaxstruc.RefineOptions(fit=fit_options), absolute=False)
    assert free_result.best.values["scale"].error > 0


def test_a_plan_follows_the_options_of_its_command():
    mine_plan = api.make_solve_plan("Ag", replace(MINE_OPTIONS, screen="none"))
    screened_plan = api.make_solve_plan("Ag", replace(MINE_OPTIONS, screen="classifier"))
    assert [plan.classifier.network is None for plan in (mine_plan, screened_plan)] == [True, False]
    assert len(mine_plan.sources) == 1 and mine_plan.screen_candidates
    clusters = [fcc_shapes.fcc_cluster(layers).to_ase("Ag", 2.9) for layers in ((2, 4, 2), (2, 3, 2))]
    refine_plan = api.make_refine_plan(clusters, jaxstruc.RefineOptions())
    assert (refine_plan.element, refine_plan.screen_candidates, refine_plan.max_written) == ("Ag", False, 2)
    for sources in (("library",), ("network", "library")):
        options = SolveOptions(sources, candidates=MINE_OPTIONS.candidates)
        assert len(api.make_solve_plan("Ag", options).sources) == len(sources)


def test_each_keyword_of_classify_overrides_its_option(data):
    default_result = jaxstruc.classify(data, element="Ag")
    for keyword, value in (("qmin", 1.3), ("qmax", 18.0), ("qdamp", 0.041)):
        result = jaxstruc.classify(data, element="Ag", **{keyword: value})
        assert result.settings_by_name[keyword] == value != default_result.settings_by_name[keyword]
    seed_result = jaxstruc.classify(data, element="Ag", seed=5)
    options_result = jaxstruc.classify([data], element="Ag", options=jaxstruc.ClassifyOptions(seed=5))[0]
    assert seed_result.intervals == options_result.intervals != default_result.intervals
    assert jaxstruc.classify(data, element="Ag", seed=0).intervals == default_result.intervals
    assert jaxstruc.classify(data, element="Au").element == "Au"
    with pytest.raises(ValueError, match="Expected ClassifyOptions for options, got SolveOptions"):
        jaxstruc.classify(data, element="Ag", options=SolveOptions())


SAXS_KEYWORDS = {
    "element": ("Pt", lambda result: result.element == "Pt"),
    "qmin": (0.02, lambda result: result.q[0] >= 0.02 and result.settings_by_name["qmin"] == 0.02),
    "qmax": (0.2, lambda result: result.q[-1] <= 0.2 and result.settings_by_name["qmax"] == 0.2),
    "distribution": (("lognormal",), lambda result: {entry.family for entry in result.candidates} == {"lognormal"}),
    "body": ("cube", lambda result: {entry.type for entry in result.candidates} == {"cube"}),
}


@pytest.mark.parametrize("keyword", SAXS_KEYWORDS)
def test_each_keyword_of_saxs_overrides_its_option(keyword):
    value, shows_value = SAXS_KEYWORDS[keyword]
    size_options = jaxstruc.SizeOptions(body=("sphere",), distribution=("gaussian",))
    options, progress_calls = jaxstruc.SaxsOptions(fit=size_options), []
    result = jaxstruc.saxs(
        small_angle_data.measurement(), options=options, progress=lambda *args: progress_calls.append(args),
        **{keyword: value},
    )  # fmt: skip
    assert shows_value(result) and not shows_value(small_angle_data.result()) and progress_calls


def test_the_background_of_saxs_is_subtracted_with_its_scale():
    measurement = small_angle_data.measurement()
    background = measurement._replace(intensity=2000.0 + 1e4 * measurement.q, sigma=np.full(60, 7.0))
    options = jaxstruc.SaxsOptions(data=jaxstruc.QOptions(background_scale=0.5))
    raw_measurement = measurement._replace(intensity=measurement.intensity + 0.5 * background.intensity)
    result, *_ = jaxstruc.saxs(
        [raw_measurement], options=options, background=background, body=("sphere",), distribution=("gaussian",)
    )
    np.testing.assert_allclose(result.intensity, measurement.intensity, rtol=1e-9)
    np.testing.assert_allclose(result.sigma, np.hypot(measurement.sigma, 0.5 * 7.0), rtol=1e-9)
    assert result.best.values["radius"].value == pytest.approx(40.0, rel=0.02)


def test_each_keyword_of_read_reaches_the_reader(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("".join(f"{0.1 * index:.3f} {100 / index} \n" for index in range(1, 60)))
    q = np.arange(1, 60) * 0.1
    curve = jaxstruc.read(str(path), q_unit="1/nm", kind="iq")
    assert curve.kind == "iq"
    np.testing.assert_allclose(curve.q, q / 10, atol=1e-9)
    angle_curve = jaxstruc.read(path, q_unit="2theta", wavelength=1.54, kind="iq")
    np.testing.assert_allclose(angle_curve.q, 4 * np.pi / 1.54 * np.sin(np.radians(q) / 2), rtol=1e-6)
    assert jaxstruc.read(path, q_unit="1/A", kind="fq").kind == "fq"
    curves_path = tmp_path / "two.xml"
    entries = ""
    for first_intensity in (3, 8):
        points = "".join(
            f"<Idata><Q unit='1/A'>{x:.2f}</Q><I unit='1/cm'>{first_intensity + index}</I></Idata>"
            for index, x in enumerate(q)
        )
        entries += f"<SASentry><Title>t</Title><Run>r</Run><SASdata>{points}</SASdata></SASentry>"
    curves_path.write_text(f'<?xml version="1.0"?><SASroot version="1.1" xmlns="urn:cansas1d:1.1">{entries}</SASroot>')
    for frame, first_intensity in ((1, 3), (2, 8)):
        assert jaxstruc.read(curves_path, frame=frame).intensity[0] == first_intensity
    with pytest.raises(ValueError, match="Expected one curve, got 2 in"):
        jaxstruc.read(curves_path)
