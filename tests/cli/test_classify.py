import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import read_table, run_command
from measurement_files import example_pdf, rows
from simple_training_stream import CALIBRATION, SMALL_CLASSIFIER

from jaxstruc.cli import main
from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.network import weights
from jaxstruc.network.classifier import simulated_pdfs
from jaxstruc.network.classifier.simulated_pdfs import N_POINTS, SETTING_NAMES
from jaxstruc.network.weights import FeatureDistribution, TrainedClassifier

DATA_OPTIONS = ["--element", "Pt", "--qmin", "0.8", "--qmax", "20", "--no-cache"]


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Return a file of random weights, whose predictions have no meaning."""
    path = tmp_path_factory.mktemp("own") / "own.safetensors"
    network_input = np.zeros((1, N_POINTS)), np.zeros((1, N_POINTS), bool), np.zeros((1, len(SETTING_NAMES)))
    params = jax.jit(SMALL_CLASSIFIER.init)(jax.random.key(0), *network_input)
    feature_distribution = FeatureDistribution(np.zeros(SMALL_CLASSIFIER.width), np.eye(SMALL_CLASSIFIER.width))
    weights.save_classifier(
        path,
        TrainedClassifier(
            {"params": params["params"]},
            SMALL_CLASSIFIER,
            feature_distribution,
            {"name": "own", "outside": 9.0, "strange": 1.0} | CALIBRATION,
        ),
    )
    return path


def test_files_get_a_row_each_and_a_picture(weights_file, tmp_path, capsys):
    """Bad files among good ones give status 3 and a row with the reason."""
    for name, text in {
        "a.gr": rows(),
        "b.gr": "no numbers",
        "c.gr": rows(g=example_pdf(1.03 * np.arange(0, 30.005, 0.01))),
    }.items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in ("a.gr", "b.gr", "c.gr")]
    with pytest.raises(SystemExit) as exit_info:
        main.main(["classify", *files, *DATA_OPTIONS, "--weights", str(weights_file), "-o", str(tmp_path / "out")])
    assert exit_info.value.code == 3
    summary_rows = list(csv.DictReader((tmp_path / "out" / "summary.csv").open()))
    assert [row["status"] == "failed" for row in summary_rows] == [False, True, False] and "rows of r" in summary_rows[
        1
    ]["message"]
    for row in (summary_rows[0], summary_rows[2]):
        assert sum(float(row[f"p_{name}"]) for name in STRUCTURE_TYPES) == pytest.approx(1, abs=1e-4)
        assert float(row["type_probability"]) == max(float(row[f"p_{name}"]) for name in STRUCTURE_TYPES)
        assert float(row["n_low"]) <= float(row["n_atoms"]) <= float(row["n_high"])
    assert (tmp_path / "out" / "types.png").stat().st_size > 5000
    output = capsys.readouterr().out
    assert "atoms (" in output and "types.png" in output
    assert run_command("classify", files[1], files[1], *DATA_OPTIONS, "--weights", weights_file, "-o", tmp_path) == 3
    assert capsys.readouterr().out.endswith("summary.csv.\n")


def test_json_has_the_cells_of_the_table_and_nothing_else(weights_file, tmp_path, capsys):
    for name, text in (("a.gr", rows()), ("b.gr", "no numbers")):
        (tmp_path / name).write_text(text)
    arguments = (tmp_path / "a.gr", tmp_path / "b.gr", *DATA_OPTIONS, "--weights", weights_file, "-o", tmp_path / "out")
    assert run_command("classify", *arguments, "--json") == 3
    captured = capsys.readouterr()
    objects = [json.loads(line) for line in captured.out.splitlines()]
    assert "summary.csv" in captured.err and len(objects) == 2
    for entry, row in zip(objects, read_table(tmp_path / "out" / "summary.csv"), strict=True):
        cells = {name: cell for name, cell in row.items() if cell}
        assert set(entry) == {*cells, "units"}
        assert all(entry[name] == (float(cell) if isinstance(entry[name], float) else type(entry[name])(cell))
                   for name, cell in cells.items())  # fmt: skip
    assert objects[0]["units"]["diameter_low"] == "Å" and objects[0]["units"]["qmax"] == "1/Å"
    assert isinstance(objects[0]["diameter"], float) and "p_fcc" not in objects[0]["units"]
    options = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert options["element"] == "Pt" and options["qmin"] == 0.8
    assert 'id="curve-1"' in (tmp_path / "out" / "index.html").read_text("utf-8")


@pytest.mark.parametrize(("options", "message"), [
    (["--weights", "none.safetensors"], "train them with `jaxstruc train-classifier`"),
    (["--element", "Xx"], "Xx"),
    (["--qmax", "0.5"], "qmin < qmax"),
])  # fmt: skip
def test_mistakes_are_reported_in_one_line(weights_file, tmp_path, capsys, options, message):
    (tmp_path / "a.gr").write_text(rows())
    arguments = [
        "classify",
        str(tmp_path / "a.gr"),
        *DATA_OPTIONS,
        "--weights",
        str(weights_file),
        "-o",
        str(tmp_path / "out"),
        *options,
    ]
    with pytest.raises(SystemExit) as exit_info:
        main.main(arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    assert exit_info.value.code == 2 and len(lines) == 1 and message in lines[0]


def test_one_or_all_curves_of_a_file_are_classified_and_without_a_number_the_command_asks(tmp_path, capsys):
    """The file has the G(r) of growing octahedra, over one r."""
    path, out = Path(__file__).parents[1] / "cases" / "growth.gr", tmp_path / "out"
    assert run_command("classify", path, "--element", "Pt", "-o", out) == 2
    error = capsys.readouterr().err
    assert "Expected one curve, got 5" in error and "--frame all" in error and not out.exists()
    assert run_command("classify", path, "--element", "Pt", "--frame", 6, "-o", out) == 2
    assert run_command("classify", path, "--element", "Pt", "--frame", "all", "-o", out) == 0
    table = read_table(out / "summary.csv")
    assert [(row["frame"], row["stem"]) for row in table] == [(f"{n}", f"growth-{n}") for n in range(1, 6)]
    n_atoms = [float(row["n_atoms"]) for row in table]
    assert n_atoms == pytest.approx([19, 38, 79, 116, 201], rel=0.15) and all(row["type"] == "fcc" for row in table)
    capsys.readouterr()
    assert run_command("classify", path, "--element", "Pt", "--frame", 3, "-o", out) == 0
    (single_row,) = read_table(out / "summary.csv")
    assert single_row["frame"] == "3" and float(single_row["n_atoms"]) == pytest.approx(n_atoms[2], rel=1e-3)
    assert "growth.gr, frame 3: fcc" in capsys.readouterr().out


def test_the_network_and_the_simulated_pdfs_have_the_same_range():
    assert simulated_pdfs.R_BONDS[0] == pytest.approx(simulated_pdfs.MIN_R_BONDS) and simulated_pdfs.R_BONDS[
        -1
    ] == pytest.approx(simulated_pdfs.MAX_R_BONDS)


def test_a_file_in_place_of_the_folder_is_refused_in_one_line(tmp_path, capsys):
    occupied_path = tmp_path / "out"
    occupied_path.touch()
    assert run_command("classify", tmp_path / "a.gr", "--element", "Pt", "-o", occupied_path) == 2
    assert "Expected a folder for the results, got the file" in capsys.readouterr().err
