"""The door for Python."""

from dataclasses import replace

import ase
import numpy as np
import pytest

import jaxstruc
from jaxstruc import DataOptions, LibraryOptions, MineOptions, SolveOptions
from jaxstruc.scattering import form_factors
from jaxstruc.solver.answers import Plan, prepared
from jaxstruc.structures import shapes

FEW = MineOptions(candidates=LibraryOptions(("octahedron",), 100), ensemble="none")


@pytest.fixture(scope="module")
def data(repository):
    return jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")


@pytest.fixture(scope="module")
def mined(data):
    told = []
    result = jaxstruc.mine(data, element="Ag", options=FEW, progress=lambda *given: told.append(given))
    assert told and told[-1][1] == 1 and "candidates" in told[-1][2]
    return result


def test_a_result_has_atoms_types_and_settings_with_their_origins(mined):
    assert isinstance(mined.best.atoms, ase.Atoms) and len(mined.best.atoms) == mined.best.n_atoms
    assert 0.02 < mined.best.rw < 0.1 and mined.types == pytest.approx({"fcc": 1.0})
    origins = {setting.name: setting.origin for setting in mined.settings}
    assert origins["qmax"] == "header" and origins["rmax"] == "default"
    assert mined.best.values["uiso"].unit == "Å²" and mined.best.values["uiso"].error > 0
    assert mined.facts["diameter_estimate"] > 10 and mined.facts["seconds"] > 0


def test_the_curve_has_the_misfit_that_is_said(mined):
    r, observed, calculated, background = mined.curve()
    assert np.sqrt(np.sum((observed - calculated) ** 2) / np.sum(observed**2)) == pytest.approx(mined.best.rw, rel=2e-3)
    assert r[0] == 1.5 and not background.any()


def test_solving_from_the_library_alone_is_mining(data, mined):
    options = SolveOptions(("library",), candidates=FEW.candidates, search="none", ensemble="none")
    solved = jaxstruc.solve(data, element="Ag", options=options)
    assert [one.rw for one in solved.candidates] == [one.rw for one in mined.candidates]


def test_several_measurements_give_as_many_results_each_as_alone(data, mined):
    """Among others with another range, whose basis is larger."""
    first, second = jaxstruc.mine([data, data._replace(name="again")], element="Ag", options=FEW)
    assert first.best.rw == pytest.approx(mined.best.rw, rel=1e-5) and second.name == "again"
    assert first.best.recipe == mined.best.recipe


def test_settings_override_the_header(data):
    options = replace(FEW, data=DataOptions(qmin=1.4, rmax=12.0))
    result = jaxstruc.mine(data, element="Ag", qmin=1.5, options=options)
    assert result.given["qmin"] == 1.5 and result.curve().x[-1] == 12.0


def test_a_refined_cluster_is_kept_as_it_is(data):
    """Its own bonds count: of a cluster 2 % larger the stretch is 2 % smaller."""
    bond = form_factors.bond_length("Ag")
    small, large = (shapes.fcc((2, 4, 2)).atoms("Ag", factor * bond) for factor in (1.0, 1.02))
    one, two = (jaxstruc.refine(data, atoms) for atoms in (small, large))
    assert one.element == "Ag" and one.best.source == "file" and one.best.recipe == "Ag55, number 1"
    ratio = one.best.values["stretch"].value / two.best.values["stretch"].value
    assert ratio == pytest.approx(1.02, abs=1e-3) and one.best.rw == pytest.approx(two.best.rw, abs=1e-3)
    both = jaxstruc.refine(data, [small, large], free=("scale", "stretch", "uiso", "delta2", "qdamp"))
    assert len(both.candidates) == 2 and both.free[-1] == "qdamp"
    assert both.candidates[1].atoms is not None


def test_an_s_of_q_is_prepared_as_the_pdf_it_leads_to(tmp_path):
    """Its highest peak is at the bond; qmin and qmax are those of the data, and the rest as ever."""
    atoms = shapes.fcc((2, 4, 2)).atoms("Ag", form_factors.bond_length("Ag"))
    d = atoms.get_all_distances()[np.triu_indices(len(atoms), 1)]
    q = np.arange(0.8, 20.0, 0.01)
    s = 1 + 2 / len(atoms) * np.exp(-0.006 * q**2) / q * (np.sin(np.outer(q, d)) @ (1 / d))
    path = tmp_path / "x.sq"
    rows = zip((10 * q).tolist(), s.tolist(), strict=True)
    path.write_text("#L Q(1/nm)  S\n" + "".join(f"{x!r} {y!r}\n" for x, y in rows))
    found = prepared(jaxstruc.read(path), Plan("Ag", ()))
    r, g = found.curve
    assert r[g.argmax()] == pytest.approx(form_factors.bond_length("Ag"), abs=0.02) and r[-1] == pytest.approx(20)
    assert [(one.name, one.origin) for one in found.settings[:3]] == [
        ("qmin", "data"), ("qmax", "data"), ("qdamp", "default"),
    ]  # fmt: skip
    assert found.kind == "gr" and found.given["qmax"] == pytest.approx(19.99)


def test_an_intensity_is_sent_to_the_command_that_takes_it(tmp_path):
    path = tmp_path / "x.dat"
    path.write_text("# Q (1/A)  I (1/cm)\n" + "".join(f"{0.01 * place} {100 / place}\n" for place in range(1, 50)))
    measurement = jaxstruc.read(path)
    assert measurement.kind == "iq" and measurement.units == "1/cm"
    with pytest.raises(ValueError, match=r"or F\(Q\), got I\(Q\) in .*x.dat; pass it to jaxstruc saxs"):
        jaxstruc.mine(measurement, element="Ag", options=FEW)


def test_results_save_and_load(mined, tmp_path):
    mined.save(tmp_path)
    back = jaxstruc.load(tmp_path / "results" / "Ag68_simulated.npz")
    assert back.best.rw == mined.best.rw and str(back) == str(mined)
    assert (tmp_path / "summary.csv").exists() and (tmp_path / "fits" / "Ag68_simulated.png").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"element": "Xx"}, "Expected the symbol of an element"),
        ({"element": "Ag", "qmax": 0.1}, "0 <= qmin < qmax"),
        ({"element": "Ag", "qmin": 2.0, "qmax": 1.0}, "Expected qmin < qmax, got 2 and 1"),
        ({"element": "Ag", "max_atoms": -3}, "Expected --max-atoms of at least 5, got -3."),
        ({"element": "Ag", "search": "fast"}, "Expected --search none, quick or full, got 'fast'."),
    ],
)
def test_mistakes_are_refused_in_one_sentence(data, given, said):
    options = SolveOptions(("library",), candidates=FEW.candidates)
    with pytest.raises(ValueError, match=said):
        jaxstruc.solve(data, options=options, **given)


PAIR = [[0, 0, 0], [0, 0, 3]]


@pytest.mark.parametrize(
    ("atoms", "message"), [(ase.Atoms(), "Expected a structure with atoms"), (ase.Atoms("Ag"), "Expected 2 to 5000")]
)
def test_atoms_that_are_no_cluster_are_not_refined(data, atoms, message):
    with pytest.raises(ValueError, match=message):
        jaxstruc.refine(data, atoms)


def test_clusters_that_cannot_be_refined_together_are_refused(data):
    with pytest.raises(ValueError, match="Expected clusters of one element, got Au, Pt"):
        jaxstruc.refine(data, [ase.Atoms("Au2", positions=PAIR), ase.Atoms("Pt2", positions=PAIR)])
