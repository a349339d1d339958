"""`solve` end to end, on the example that lies in the repository."""

import csv
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest

from jaxstruc import cli, pipeline, report, solve

EXAMPLE = Path(__file__).parents[1] / "examples" / "Ag68_simulated.gr"


def run(*words):
    """Return the exit status of the command line."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(word) for word in words])
    return stopped.value.code


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The example, a copy of its own name and a bad file."""
    folder = tmp_path_factory.mktemp("in")
    (folder / "again").mkdir()
    good = shutil.copy(EXAMPLE, folder / "good.gr")
    same = shutil.copy(EXAMPLE, folder / "again" / "good.gr")
    (folder / "bad.gr").write_text("no numbers here\n")
    return Path(good), folder / "bad.gr", Path(same)


@pytest.fixture(scope="module")
def solved(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "deep" / "results"
    status = run("solve", *inputs, "--element", "Ag", "-o", out, "--samples", 8)
    return out, status


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_bad_file_gets_its_row_and_the_others_go_on(solved, inputs):
    out, status = solved
    rows = table(out / "summary.csv")
    assert status == 3
    assert [row["file"] for row in rows] == [str(path) for path in inputs]
    assert [row["status"] for row in rows] == ["solved", "failed", "solved"]
    assert "at least 10 rows" in rows[1]["message"] and rows[1]["rw"] == ""
    assert list(rows[0]) == report.SUMMARY


def test_the_example_is_solved(solved):
    """A shape that the network has not seen: the bound is what its nearest known shapes reach."""
    out, _ = solved
    row = table(out / "summary.csv")[0]
    assert float(row["rw"]) < 0.25
    assert abs(int(row["n_atoms"]) - 68) <= 25
    assert float(row["stretch"]) == pytest.approx(2.90 / 2.88, abs=0.01)
    assert float(row["uiso"]) == pytest.approx(0.009, abs=0.004)
    assert (row["qmin"], row["qmax"], row["qdamp"], row["rmin"], row["rmax"]) == ("1", "22", "0.03", "1.5", "20")
    assert len(row["sha256"]) == 64 and row["seed"] == "0" and row["version"]


def test_results_agree_with_each_other(solved):
    out, _ = solved
    row = table(out / "summary.csv")[0]
    fit = np.genfromtxt(out / "fits" / "good.csv", delimiter=",", names=True)
    rw = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
    assert rw == pytest.approx(float(row["rw"]), rel=1e-3)
    assert fit["r"][0] == 1.5 and fit["r"][-1] == 20 and len(fit) == 1851
    atoms = ase.io.read(out / "best" / "good.xyz")
    assert set(atoms.get_chemical_symbols()) == {"Ag"} and len(atoms) == int(row["n_atoms"])
    assert atoms.info["rw"] == pytest.approx(float(row["rw"]), rel=1e-4)
    candidates = table(out / "candidates" / "good.csv")
    assert sum(int(candidate["draws"]) for candidate in candidates) == 8
    assert float(candidates[0]["rw"]) == pytest.approx(float(row["rw"]))
    if len(candidates) > 1:
        assert float(candidates[1]["rw"]) == pytest.approx(float(row["rw_second"]))
    assert (out / "fits" / "good.png").stat().st_size > 10_000


def test_the_structure_and_the_fitted_values_give_the_fitted_curve(solved):
    """The exact Debye sum over the written coordinates, in double precision, is the written curve."""
    import jax

    from jaxstruc import scattering, structure
    from jaxstruc.scattering import Instrument

    out, _ = solved
    row = table(out / "summary.csv")[0]
    fit = np.genfromtxt(out / "fits" / "good.csv", delimiter=",", names=True)
    atoms = ase.io.read(out / "best" / "good.xyz")
    with jax.enable_x64(True):
        import jax.numpy as jnp

        count = len(atoms)
        q, r = jnp.linspace(1.0, 22.0, 800), jnp.asarray(fit["r"])
        instrument = Instrument(
            uiso=float(row["uiso"]), delta2=float(row["delta2"]), qdamp=0.03, scale=float(row["scale"])
        )
        pairs = scattering.pairs(structure.distances(jnp.asarray(atoms.positions)), jnp.ones(count))
        f = scattering.reduced_structure_function(pairs, instrument, jnp.ones((1, 800)), jnp.full(1, 1.0 * count), q)
        exact = scattering.envelope(instrument, r) * scattering.sine_transform(
            f, q, scattering.q_weights(q, 1.0, 22.0), r
        )
        assert np.abs(exact - fit["G_calc"]).max() < 5e-3 * np.abs(fit["G_calc"]).max()


def test_the_best_mined_cluster_stands_beside_the_networks(solved):
    """The example was cut from fcc with 68 atoms: a mined cluster fits it as well as the eight shapes known."""
    out, _ = solved
    row = table(out / "summary.csv")[0]
    assert 0 < float(row["rw_mined"]) < float(row["rw"]) + 0.02 and row["mined"].split()[0] in pipeline.MINED
    assert len(ase.io.read(out / "best" / "good-mined.xyz")) == int(row["mined_atoms"])


def test_files_of_one_name_do_not_overwrite_each_other(solved):
    out, _ = solved
    names = {path.name for path in (out / "best").iterdir()}
    assert names == {"good.xyz", "good-2.xyz", "good-mined.xyz", "good-2-mined.xyz"}
    assert not list(out.rglob("*.part"))


def test_running_again_skips_what_is_done_and_mends_what_is_missing(solved, inputs, monkeypatch, capsys):
    out, _ = solved
    before = (out / "summary.csv").read_bytes()
    searched = []
    search = solve.search
    monkeypatch.setattr(solve, "search", lambda *given, **names: searched.append(1) or search(*given, **names))
    assert run("solve", *inputs, "--element", "Ag", "-o", out, "--samples", 8) == 3
    assert not searched and (out / "summary.csv").read_bytes() == before
    assert "2 of 3 files solved, 2 of them before, 1 failed" in capsys.readouterr().out
    (out / "fits" / "good-2.png").unlink()
    run("solve", *inputs, "--element", "Ag", "-o", out, "--samples", 8)
    assert len(searched) == 1 and (out / "fits" / "good-2.png").exists()


def test_the_same_seed_gives_the_same_bytes(solved, inputs, tmp_path):
    out, _ = solved
    run("solve", *inputs, "--element", "Ag", "-o", tmp_path, "--samples", 8)
    for name in ("best/good.xyz", "candidates/good.csv", "fits/good.csv"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_an_interrupted_run_goes_on(inputs, tmp_path, monkeypatch, capsys):
    write, calls = pipeline._write, []

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(*given)

    monkeypatch.setattr(pipeline, "_write", interrupted)
    monkeypatch.setattr(pipeline, "BATCH", 1)
    assert run("solve", *inputs, "--element", "Ag", "-o", tmp_path, "--samples", 8) == 130
    assert "run again to continue" in capsys.readouterr().err
    assert [row["status"] for row in table(tmp_path / "summary.csv")] == ["solved", "failed"]
    assert run("solve", *inputs, "--element", "Ag", "-o", tmp_path, "--samples", 8) == 3
    assert len(calls) == 3
    assert [row["status"] for row in table(tmp_path / "summary.csv")] == ["solved", "failed", "solved"]
