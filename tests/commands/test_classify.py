import csv

import jax
import numpy as np
import pytest
from taught import CALIBRATION, SMALL
from written import rows, wave

from jaxstruc.commands import cli
from jaxstruc.network import endless, weights
from jaxstruc.network.endless import POINTS, TOLD
from jaxstruc.network.weights import Outside, TrainedClassifier
from jaxstruc.structures.cuts import TYPES

ASKED = ["--element", "Pt", "--qmin", "0.8", "--qmax", "20", "--no-cache"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Weights drawn at random: what they say means nothing."""
    path = tmp_path_factory.mktemp("own") / "own.safetensors"
    empty = np.zeros((1, POINTS)), np.zeros((1, POINTS), bool), np.zeros((1, len(TOLD)))
    params = jax.jit(SMALL.init)(jax.random.key(0), *empty)
    outside = Outside(np.zeros(SMALL.width), np.eye(SMALL.width))
    weights.save_classifier(
        path,
        TrainedClassifier(
            {"params": params["params"]}, SMALL, outside, {"name": "own", "outside": 9.0, "strange": 1.0} | CALIBRATION
        ),
    )
    return path


def test_files_get_a_row_each_and_a_picture(own, tmp_path, capsys):
    """Bad files among good ones: status 3, a row with the reason, and the others are named."""
    for name, text in {
        "a.gr": rows(),
        "b.gr": "no numbers",
        "c.gr": rows(g=wave(1.03 * np.arange(0, 30.005, 0.01))),
    }.items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in ("a.gr", "b.gr", "c.gr")]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["classify", *files, *ASKED, "--weights", str(own), "-o", str(tmp_path / "out")])
    assert stopped.value.code == 3
    found = list(csv.DictReader((tmp_path / "out" / "summary.csv").open()))
    assert [row["status"] == "failed" for row in found] == [False, True, False] and "rows of r" in found[1]["message"]
    for row in (found[0], found[2]):
        assert sum(float(row[f"p_{name}"]) for name in TYPES) == pytest.approx(1, abs=1e-4)
        assert float(row["type_probability"]) == max(float(row[f"p_{name}"]) for name in TYPES)
        assert float(row["n_low"]) <= float(row["n_atoms"]) <= float(row["n_high"])
    assert (tmp_path / "out" / "types.png").stat().st_size > 5000
    assert "atoms (" in capsys.readouterr().out


@pytest.mark.parametrize(("change", "said"), [
    (["--weights", "none.safetensors"], "make them with `jaxstruc train-classifier`"),
    (["--element", "Xx"], "Xx"),
    (["--qmax", "0.5"], "qmin < qmax"),
])  # fmt: skip
def test_mistakes_are_one_line(own, tmp_path, capsys, change, said):
    (tmp_path / "a.gr").write_text(rows())
    words = ["classify", str(tmp_path / "a.gr"), *ASKED, "--weights", str(own), "-o", str(tmp_path / "out"), *change]
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    lines = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and len(lines) == 1 and said in lines[0]


def test_points_of_the_network_are_those_of_the_stream():
    assert endless.R[0] == pytest.approx(endless.NEAR) and endless.R[-1] == pytest.approx(endless.FAR)
