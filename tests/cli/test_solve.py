"""`solve` on the example of the repository."""

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import read_table, run_command

import jaxstruc
from jaxstruc.scattering import form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.pair_distribution import Grid


@pytest.fixture
def result_folder(run_once):
    """Return the results for the example and two other files."""
    return run_once("solve")[0]


def test_the_example_is_solved(result_folder):
    """Neither the network nor these families contain the shape; the bound is what the nearest shapes reach."""
    row = read_table(result_folder / "summary.csv")[0]
    assert float(row["rw"]) < 0.1 and abs(int(row["n_atoms"]) - 68) <= 25
    assert float(row["stretch"]) == pytest.approx(2.90 / 2.88, abs=0.01)
    assert float(row["uiso"]) == pytest.approx(0.009, abs=0.004)
    assert (row["qmin"], row["qmax"], row["qdamp"], row["rmin"], row["rmax"]) == ("1", "22", "0.03", "1.5", "20")
    assert len(row["sha256"]) == 64 and row["seed"] == "0" and row["version"] and row["model"] == "real-H8-seed0"


def test_network_and_library_stand_in_one_ranking(result_folder):
    """The network was trained on up to 55 atoms; the families are octahedra and icosahedra."""
    ranking = read_table(result_folder / "candidates" / "good.csv")
    assert {row["source"] for row in ranking} == {"network", "library"}
    assert read_table(result_folder / "summary.csv")[0]["source"] == ranking[0]["source"]
    loaded_result = jaxstruc.load(result_folder / "results" / "good.npz")
    network_candidates = [candidate for candidate in loaded_result.candidates if candidate.source == "network"]
    assert all({"draws", "radius", "stress"} <= set(candidate.notes) for candidate in network_candidates)
    assert sum(float(row["weight"]) for row in ranking) <= 1 + 1e-5


def test_the_structure_and_the_fitted_values_give_the_fitted_curve(result_folder):
    """The written curve equals the Debye sum over the written coordinates in double precision."""
    row = read_table(result_folder / "summary.csv")[0]
    fit = np.genfromtxt(result_folder / "fits" / "good.csv", delimiter=",", names=True)
    atoms = ase.io.read(result_folder / "best" / "good.xyz")
    with jax.enable_x64(True):
        grid = Grid(qmin=1.0, qmax=22.0, qstep=0.02625, rmin=1.5, rmax=20.0, rstep=0.01)
        instrument = Instrument(
            uiso=float(row["uiso"]), delta2=float(row["delta2"]), qdamp=0.03, scale=float(row["scale"])
        )
        pairs = pair_distribution.pair_distances_from_positions(
            jnp.asarray(atoms.positions), np.ones(len(atoms), bool), grid
        )
        exact_pdf = pair_distribution.pdf(
            pairs, form_factors.UNIT_COEFFICIENTS, np.array([len(atoms)]), instrument, grid
        )
        assert np.abs(exact_pdf - fit["G_calc"]).max() < 5e-3 * np.abs(fit["G_calc"]).max()


def test_the_user_selects_the_sources(input_files, command_arguments, tmp_path, capsys):
    leading_arguments, trailing_arguments = command_arguments["solve"]
    assert (
        run_command(
            *leading_arguments,
            input_files[0],
            *trailing_arguments,
            "--sources",
            "library",
            "--draws",
            64,
            "-o",
            tmp_path,
        )
        == 0
    )
    row = read_table(tmp_path / "summary.csv")[0]
    assert row["source"] == "library" and row["model"] == "" and row["diameter_estimate"]
    assert "Ag" in capsys.readouterr().out
    assert run_command(*leading_arguments, input_files[0], *trailing_arguments, "--sources", "-o", tmp_path) == 2
    assert (
        "Expected at least one source, got none; pass --sources network, library, or network library."
        in capsys.readouterr().err
    )
