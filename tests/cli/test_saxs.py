"""`jaxstruc saxs` end to end: one folder, a bad file, resuming, refusals."""

import numpy as np
import pytest
import small_angle_data
from command_line import read_table, run_command

import jaxstruc
from jaxstruc.report import summary

FIT_OPTIONS = ("--element", "Au", "--body", "sphere", "--distribution", "gaussian")


def write_data(path, measurement, header="# Q(1/Å) I sigma"):
    rows = np.stack([measurement.q, measurement.intensity, measurement.sigma], axis=1)
    path.write_text(
        header + "\n" + "\n".join(" ".join(f"{value:.9g}" for value in row) for row in rows) + "\n", "utf-8"
    )
    return path


@pytest.fixture(scope="module")
def saxs_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saxs")
    files = [write_data(folder / "a.dat", small_angle_data.measurement()), folder / "bad.dat"]
    files[1].write_text("no numbers here\n")
    files.append(write_data(folder / "b.dat", small_angle_data.measurement((55.0, 0.2, 1.0), seed=2)))
    result_folder = folder / "out"
    return files, result_folder, run_command("saxs", *files, *FIT_OPTIONS, "-o", result_folder)


def test_a_bad_file_gets_its_row_and_the_others_go_on(saxs_run):
    _, result_folder, status = saxs_run
    rows = read_table(result_folder / "summary.csv")
    assert status == 3 and tuple(rows[0]) == summary.SAXS_SUMMARY_COLUMNS
    assert [row["status"] for row in rows] == ["solved", "failed", "solved"]
    assert "at least 10 rows" in rows[1]["message"] and rows[1]["radius"] == ""
    assert float(rows[0]["radius"]) == pytest.approx(40.0, rel=0.02)
    assert float(rows[2]["radius"]) == pytest.approx(55.0, rel=0.05)


def test_the_folder_has_what_is_promised(saxs_run):
    _, result_folder, _ = saxs_run
    for file_name in ("candidates/a.csv", "fits/a.csv", "fits/a.png", "distribution/a.csv", "distribution/a.png"):
        assert (result_folder / file_name).stat().st_size > 100
    curve = np.genfromtxt(result_folder / "fits" / "a.csv", delimiter=",", names=True)
    assert curve.dtype.names == ("Q", "I_obs", "sigma", "I_calc", "residual", "I_background") and len(curve) == 60
    matrix = read_table(result_folder / "correlations" / "a.csv")
    assert [row[""] for row in matrix] == ["radius", "pd", "scale", "background"]
    loaded_result = jaxstruc.load(result_folder / "results" / "a.npz")
    assert (
        loaded_result.body == "sphere" and loaded_result.sizes is not None and not list(result_folder.rglob("*.part"))
    )


def test_a_second_run_fits_nothing_again_and_writes_missing_files(saxs_run):
    files, result_folder, _ = saxs_run
    modified_time, summary_text = (
        (result_folder / "results" / "a.npz").stat().st_mtime_ns,
        (result_folder / "summary.csv").read_text(),
    )
    (result_folder / "fits" / "a.png").unlink()
    assert run_command("saxs", *files, *FIT_OPTIONS, "-o", result_folder) == 3
    assert (result_folder / "summary.csv").read_text() == summary_text and (result_folder / "fits" / "a.png").exists()
    assert (result_folder / "results" / "b.npz").exists() and modified_time <= (
        result_folder / "results" / "a.npz"
    ).stat().st_mtime_ns


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("# no unit", (), "--q-unit"),
        ("# Q(1/Å) I sigma", ("--qmin", 0.5), "qmin < qmax"),
        ("# Q(1/Å) I sigma", ("--absolute", "--solvent", "soup"), "soup"),
        ("# Q(1/Å) I sigma", ("--background", "nothing.dat"), "does not exist"),
        ("# Q(1/Å) I sigma", ("--body", "ball"), "ball"),
    ],
)
def test_a_mistake_is_one_line_and_status_2_and_writes_nothing(tmp_path, capsys, header, options, message):
    path = write_data(tmp_path / "a.dat", small_angle_data.measurement(), header)
    assert run_command("saxs", path, "--element", "Au", *options, "-o", tmp_path / "out") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_all_curves_of_a_file_have_a_row_each(tmp_path, capsys):
    data = [small_angle_data.measurement(), small_angle_data.measurement((55.0, 0.2, 1.0), seed=2)]
    columns = [data[0].q, *(column for entry in data for column in (entry.intensity, entry.sigma))]
    path = tmp_path / "two.dat"
    rows = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in zip(*columns, strict=True))
    path.write_text(f"# Q(1/Å) I sigma I sigma\n{rows}\n", "utf-8")
    assert run_command("saxs", path, *FIT_OPTIONS, "-o", tmp_path / "out") == 2
    assert "Expected one curve, got 2" in capsys.readouterr().err
    assert run_command("saxs", path, *FIT_OPTIONS, "--frame", "all", "-o", tmp_path / "out") == 0
    table = read_table(tmp_path / "out" / "summary.csv")
    assert [(row["stem"], row["frame"]) for row in table] == [("two-1", "1"), ("two-2", "2")]
    assert [float(row["radius"]) for row in table] == pytest.approx([40.0, 55.0], rel=0.05)
    assert "2 of 2 curves solved" in capsys.readouterr().out.replace("\n", " ")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").iterdir()}
    assert run_command("saxs", path, *FIT_OPTIONS, "--frame", 2, "-o", tmp_path / "out") == 0
    assert [row["frame"] for row in read_table(tmp_path / "out" / "summary.csv")] == ["2"]
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_background_is_subtracted(tmp_path):
    measurement = small_angle_data.measurement()
    background = measurement._replace(intensity=2000.0 + 1e4 * measurement.q, sigma=np.full(60, 1.0))
    sample_file = write_data(
        tmp_path / "whole.dat", measurement._replace(intensity=measurement.intensity + 0.5 * background.intensity)
    )
    solvent_file = write_data(tmp_path / "solvent.dat", background)
    background_options = ("--background", solvent_file, "--background-scale", 0.5)
    assert run_command("saxs", sample_file, *FIT_OPTIONS, *background_options, "-o", tmp_path / "out") == 0
    (row,) = read_table(tmp_path / "out" / "summary.csv")
    assert float(row["background"]) == pytest.approx(100.0, abs=30) and row["background_scale"] == "0.5"
