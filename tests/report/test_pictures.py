import numpy as np
import pytest

from jaxstruc.inference.result import Candidate, Result
from jaxstruc.report import pictures


@pytest.fixture
def result():
    r = np.linspace(1.5, 20, 400)
    shared = {"source": "library", "type": "fcc", "n_atoms": 55, "converged": True, "remark": "", "values": {}}
    found = tuple(
        Candidate(
            family=family, cluster="x", diameter=10.0 + rw, rw=rw, weight=0.5, in_90=rw < 0.15, **shared,
            calculated=np.sin(r + rw), background=0 * r,
        )
        for family, rw in (("fcc", 0.1), ("icosahedron", 0.2), ("fcc", 0.3))
    )  # fmt: skip
    return Result("d/T.gr", "", "Ag", "solved", "", found, fitted=30, ties=1, r=r, observed=np.sin(r))


def test_the_picture_shows_data_fit_and_the_difference_below_both(result):
    axes = pictures.fit(result, rank=2).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["fit"], np.sin(result.r + 0.2))
    assert lines["difference"].max() < lines["fit"].min()
    assert axes.get_xlabel() == "r (Å)" and "G (Å" in axes.get_ylabel()
    assert axes.get_title() == "T.gr: Ag55, icosahedron x, Rw = 0.200"


def test_the_picture_of_families_rings_the_credible(result):
    axes = pictures.families(result).axes[0]
    lines = {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in axes.lines}
    assert set(lines) == {"fcc", "icosahedron", "90 % set"}
    assert lines["fcc"][1].tolist() == [0.1, 0.3] and lines["90 % set"][1].tolist() == [0.1]
    assert "best 3 of 30" in axes.get_title()


def test_a_picture_is_written_whole(result, tmp_path):
    pictures.write(tmp_path / "deep" / "x.png", pictures.fit(result))
    assert (tmp_path / "deep" / "x.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_a_result_plots_itself(result):
    assert result.plot(rank=3).axes[0].get_title().endswith("Rw = 0.300")
