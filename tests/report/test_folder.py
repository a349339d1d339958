import csv
import dataclasses

import ase
import ase.io
import example_distributions
import numpy as np
import pytest

import jaxstruc
from jaxstruc.io.measurement import Setting
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import folder, summary
from jaxstruc.result import Candidate, Value
from jaxstruc.small_angle.result import SaxsResult


def result(name="d/a.gr", source="library", rw=0.1):
    r = np.linspace(1.5, 20, 60)
    atoms = ase.Atoms("Pt2", positions=[[0, 0, 0], [2.78, 0, 0]])
    fields = {"type": "fcc", "family": "fcc", "n_atoms": 2, "diameter": 2.78, "in_90": True, "converged": True}
    fields |= {"source": source, "remark": "", "values": {"scale": Value(0.5, 0.1, "")}, "weight": 0.5, "atoms": atoms}
    fields |= {"description": "dimer, 2 atoms", "background": 0 * r, "correlation": np.eye(1)}
    candidates = tuple(
        Candidate(recipe=f"c{index}", rw=rw + index, calculated=np.sin(r + index), **fields) for index in range(3)
    )
    return PdfResult(
        name, "00", "Pt", "solved", "", candidates, n_fitted=3, ties=1, free=("scale",), r=r, observed=np.sin(r)
    )


def read_table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_result_is_written_whole_and_read_back(tmp_path):
    folder.write_result(result(), tmp_path, "a")
    assert all(path.exists() for path in folder.candidate_paths(result(), tmp_path, "a")) and not list(
        tmp_path.rglob("*.part")
    )
    loaded_result = jaxstruc.load(tmp_path / "results" / "a.npz")
    assert loaded_result.best.recipe == "c0" and loaded_result.best.values["scale"] == Value(0.5, 0.1, "")
    curve = np.genfromtxt(tmp_path / "fits" / "a.csv", delimiter=",", names=True)
    assert curve.dtype.names == folder.PDF_COLUMNS
    np.testing.assert_allclose(curve["G_calc"], np.sin(result().r), atol=1e-5)
    atoms = ase.io.read(tmp_path / "best" / "a.xyz")
    assert atoms.get_distance(0, 1) == pytest.approx(2.78) and atoms.info["rw"] == 0.1
    assert atoms.info["recipe"] == "fcc c0" and atoms.info["scale"] == 0.5
    comment = (tmp_path / "best" / "a.xyz").read_text("utf-8").splitlines()[1].partition("pos:R:3 ")[2]
    assert comment.startswith('description="dimer, 2 atoms" file=a.gr')


def test_a_structure_names_the_curve_of_its_file(tmp_path):
    settings = (Setting("frame", 3.0, "command line"),)
    folder.write_result(dataclasses.replace(result(), settings=settings), tmp_path, "a-3")
    assert ase.io.read(tmp_path / "best" / "a-3.xyz").info["frame"] == 3


def test_of_further_candidates_the_structures_are_kept_and_all_of_the_users_own(tmp_path):
    folder.write_result(result(), tmp_path, "a")
    assert sorted(path.name for path in (tmp_path / "structures" / "a").iterdir()) == ["rank2.xyz", "rank3.xyz"]
    assert not (tmp_path / "fits" / "a").exists()
    folder.write_result(result(source="file"), tmp_path, "b")
    assert sorted(path.name for path in (tmp_path / "fits" / "b").iterdir()) == [
        "rank2.csv", "rank2.png", "rank3.csv", "rank3.png",
    ]  # fmt: skip
    assert read_table(tmp_path / "correlations" / "b" / "rank3.csv") == [{"": "scale", "scale": "1"}]


def test_candidates_of_an_earlier_run_do_not_stay(tmp_path):
    folder.write_result(result(), tmp_path, "a")
    folder.write_result(dataclasses.replace(result(), candidates=result().candidates[:2]), tmp_path, "a")
    assert [path.name for path in (tmp_path / "structures" / "a").iterdir()] == ["rank2.xyz"]


def test_results_save_themselves_beside_others(tmp_path):
    result("x/one.gr").save(tmp_path)
    result("x/two.gr", rw=0.4).save(tmp_path)
    rows = read_table(tmp_path / "summary.csv")
    assert [(row["file"], row["rw"]) for row in rows] == [("x/one.gr", "0.1"), ("x/two.gr", "0.4")]


@pytest.mark.parametrize("damage", ["missing", "broken", "cut", "foreign"])
def test_a_file_without_a_result_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "x.npz"
    if damage == "broken":
        path.write_bytes(b"nothing")
    elif damage == "foreign":
        np.savez(path, a=np.zeros(3))
    elif damage == "cut":
        folder.write_result(result(), tmp_path, "a")
        path.write_bytes((tmp_path / "results" / "a.npz").read_bytes()[:900])
    with pytest.raises(ValueError, match="Expected a result that jaxstruc saved, got") as error:
        jaxstruc.load(path)
    assert "\n" not in str(error.value)


def test_a_structure_comes_back_with_its_comment(tmp_path):
    atoms = ase.Atoms("Pt2", positions=[[0, 0, 0], [2.78, 0, 0]])
    folder.write_structure(tmp_path / "x.xyz", atoms, {"rw": 0.2158081, "file": "a b.gr"})
    loaded_atoms = ase.io.read(tmp_path / "x.xyz")
    assert loaded_atoms.get_chemical_formula() == "Pt2" and loaded_atoms.info == {"rw": 0.215808, "file": "a b.gr"}


def test_a_distribution_is_written_and_cleared_and_its_best_cluster_labelled_as_a_member(tmp_path):
    distribution_result = dataclasses.replace(result(), ensemble=example_distributions.distribution())
    folder.write_result(distribution_result, tmp_path, "a")
    rows = read_table(tmp_path / "distribution" / "a.csv")
    assert len(rows) == 30 and float(rows[0]["diameter"]) == 10
    assert (tmp_path / "distribution" / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert all(path.exists() for path in folder.candidate_paths(distribution_result, tmp_path, "a"))
    assert ase.io.read(tmp_path / "best" / "a.xyz").info["role"] == "most likely member of a distribution"
    folder.write_result(result(), tmp_path, "a")
    assert not list((tmp_path / "distribution").iterdir())
    assert "role" not in ase.io.read(tmp_path / "best" / "a.xyz").info


def test_folders_of_version_1_are_still_read(repository, tmp_path):
    """The results were written by version 1, with fewer candidates and points."""
    pdf_result = jaxstruc.load(repository / "tests" / "version_1" / "solve.npz")
    assert isinstance(pdf_result, PdfResult) and pdf_result.extra == {} and pdf_result.best.extra == {}
    assert pdf_result.best.recipe.startswith("sphere 2.121 about") and pdf_result.facts["diameter_estimate"] == 15.26
    assert (pdf_result.sample, pdf_result.type, round(pdf_result.type_probability, 3)) == ("single", "fcc", 1.0)
    assert pdf_result.ensemble.holdouts[0].cut < pdf_result.ensemble.holdouts[0].end
    assert pdf_result.classifier_prior.n_screened < pdf_result.classifier_prior.n_listed
    assert len(pdf_result.curve(5).calculated) == len(pdf_result.r) and pdf_result.candidates[3].occupancy is not None
    saxs_result = jaxstruc.load(repository / "tests" / "version_1" / "saxs.npz")
    assert isinstance(saxs_result, SaxsResult) and saxs_result.extra == {} and saxs_result.body == "sphere"
    assert saxs_result.sizes.radius.shape == saxs_result.sizes.number_high.shape
    for old_result, columns in ((pdf_result, summary.SUMMARY_COLUMNS), (saxs_result, summary.SAXS_SUMMARY_COLUMNS)):
        old_result.save(tmp_path / old_result.technique)
        (row,) = read_table(tmp_path / old_result.technique / "summary.csv")
        assert tuple(row) == columns and row["status"] == "solved"
