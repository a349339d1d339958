import ase
import ase.io
import numpy as np
import pytest

from jaxstruc import report
from jaxstruc.measured import Setting


def test_tables_have_the_named_columns_and_six_digits(tmp_path):
    path = tmp_path / "t.csv"
    report.write_table(path, ["a", "b", "c"], [{"a": 1 / 3, "b": "two\nlines, and a comma"}, {"a": None, "c": 4}])
    assert path.read_text() == 'a,b,c\n0.333333,"two lines, and a comma",\n,,4\n'
    assert report.read_table(path)[0]["b"] == "two lines, and a comma"
    assert report.read_table(tmp_path / "none.csv") == []


def test_a_structure_comes_back_with_its_comment(tmp_path):
    atoms = ase.Atoms("Pt2", positions=[[0, 0, 0], [2.78, 0, 0]])
    report.write_structure(tmp_path / "x.xyz", atoms, {"rw": 0.2158081, "source": "a b.gr"})
    back = ase.io.read(tmp_path / "x.xyz")
    assert back.get_chemical_formula() == "Pt2" and back.get_distance(0, 1) == pytest.approx(2.78)
    assert back.info == {"rw": 0.215808, "source": "a b.gr"}


def test_a_fit_is_written_as_numbers_and_as_a_picture(tmp_path):
    r = np.linspace(1.5, 20, 400)
    report.write_fit(tmp_path / "x.y", r, np.sin(r), np.sin(r + 0.1), title="x: Pt19", rmin=1.5, rmax=20)
    table = np.genfromtxt(tmp_path / "x.y.csv", delimiter=",", names=True)
    assert table.dtype.names == ("r", "G_obs", "G_calc", "G_diff")
    np.testing.assert_allclose(table["G_diff"], table["G_obs"] - table["G_calc"], atol=1e-5)
    assert (tmp_path / "x.y.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_shows_data_fit_and_the_difference_below_both():
    r = np.linspace(1.5, 20, 400)
    figure = report.fit_figure(r, np.sin(r), np.sin(r + 0.2), title="T", rmin=1.5, rmax=20)
    axes = figure.axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert lines["difference"].max() < lines["fit"].min()
    assert axes.get_xlabel() == "r (Å)" and "G (Å" in axes.get_ylabel() and axes.get_title() == "T"


def test_settings_are_shown_with_unit_and_origin(capsys):
    report.print_settings("x.gr", [Setting("qmax", 22.0, "header"), Setting("rmax", 20.0, "default")])
    shown = capsys.readouterr().out
    assert "qmax" in shown and "22" in shown and "1/Å" in shown and "header" in shown
