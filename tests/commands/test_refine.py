"""`refine` on a simulated curve."""

import ase.io
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.distance import pdist
from shell import run, table

from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.parameters import USUAL
from jaxstruc.structures import shapes

LIMITS = ("--qmin", 1, "--qmax", 22, "--qdamp", 0.03, "--rmax", 16)
TRUE = {"scale": 0.7, "stretch": 1.01, "uiso": 0.008, "delta2": 2.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The true cluster, another, the true one rattled, and a curve with noise."""
    folder = tmp_path_factory.mktemp("in")
    bond = form_factors.bond_length("Pt")
    true, other = (shapes.fcc(layers).atoms("Pt", bond) for layers in ((2, 3, 2), (2, 4, 2)))
    rattled = true.copy()
    rattled.positions += 0.06 * np.random.default_rng(0).normal(size=rattled.positions.shape)
    for name, atoms in {"true": true, "other": other, "rattled": rattled}.items():
        ase.io.write(folder / f"{name}.xyz", atoms)
    ase.io.write(folder / "alloy.xyz", Atoms("AuPt", positions=[[0, 0, 0], [0, 0, 2.8]]))
    ase.io.write(folder / "gold.xyz", Atoms("Au2", positions=[[0, 0, 0], [0, 0, 2.8]]))
    grid = Grid(qmin=1.0, qmax=22.0, qstep=0.035, rmin=0.0, rmax=18.0, rstep=0.02)
    pairs = debye.pairs_of(jnp.asarray(true.positions, jnp.float32), jnp.ones(len(true)))
    ones, count = jnp.ones((1, grid.q.size)), jnp.full(1, 1.0 * len(true))
    f = debye.reduced_structure_function(pairs, Instrument(**TRUE), ones, count, jnp.asarray(grid.q, jnp.float32))
    f += 0.1 * jnp.sqrt(jnp.mean(f**2)) * np.random.default_rng(1).normal(size=f.size)
    g = curves.transformed(f, Instrument(**TRUE, qdamp=0.03), grid)
    np.savetxt(folder / "data.gr", np.stack([grid.r, np.asarray(g)], axis=1), fmt="%.8g")
    return folder


@pytest.fixture(scope="module")
def refined(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "deep" / "results"
    status = run("refine", files / "other.xyz", files / "true.xyz", files / "data.gr", "-o", out, *LIMITS)
    return out, status


def test_true_values_lie_within_a_few_errors(refined, files):
    out, status = refined
    (row,), (true, other) = table(out / "summary.csv"), table(out / "candidates" / "data.csv")
    assert status == 0 and row["source"] == "file" and row["recipe"] == str(files / "true.xyz")
    assert true["converged"] == "yes" and true["remark"] == ""
    assert (true["n_atoms"], other["n_atoms"]) == ("43", "55")
    for name, value in TRUE.items():
        error = float(row[f"{name}_error"])
        assert 0 < error < 0.2 * value, name
        assert abs(float(row[name]) - value) < 4 * error, name
    assert float(true["rw"]) < 0.1 and float(other["rw"]) > 2 * float(true["rw"])
    assert float(true["qdamp"]) == 0.03 and true["qdamp_error"] == ""


def test_each_of_the_users_clusters_has_its_fit_and_structure(refined, files):
    out, _ = refined
    rows = table(out / "candidates" / "data.csv")
    places = ((out / "fits" / "data", out / "best" / "data.xyz", "true"),)
    places += ((out / "fits" / "data" / "rank2", out / "structures" / "data" / "rank2.xyz", "other"),)
    for row, (stem, structure, name) in zip(rows, places, strict=True):
        fit = np.genfromtxt(stem.with_name(f"{stem.name}.csv"), delimiter=",", names=True)
        assert fit["r"][0] == 1.5 and fit["r"][-1] == 16
        rw = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
        assert rw == pytest.approx(float(row["rw"]), rel=2e-3)
        assert stem.with_name(f"{stem.name}.png").stat().st_size > 10_000
        atoms, given = ase.io.read(structure), ase.io.read(files / f"{name}.xyz")
        np.testing.assert_allclose(pdist(atoms.positions), pdist(given.positions) * float(row["stretch"]), atol=1e-4)
        assert set(atoms.get_chemical_symbols()) == {"Pt"}


def test_the_correlation_matrix_is_symmetric_with_unit_diagonal(refined):
    out, _ = refined
    rows = table(out / "correlations" / "data.csv")
    assert [row[""] for row in rows] == list(USUAL) == list(rows[0])[1:]
    matrix = np.array([[float(row[name]) for name in USUAL] for row in rows])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-4)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-3)
    apart = matrix[~np.eye(4, dtype=bool)]
    assert np.abs(apart).max() <= 1 and matrix[0, 2] > 0.2


def test_moved_coordinates_fit_better_and_keep_apart(files, tmp_path, capsys):
    given = (files / "rattled.xyz", files / "data.gr", "-o", tmp_path, *LIMITS, "--coordinates")
    assert run("refine", *given) == 0
    row = table(tmp_path / "summary.csv")[0]
    assert float(row["rw"]) < 0.8 * float(row["rw_unmoved"])
    assert 0.01 < float(row["moved"]) < 0.3
    fit = np.genfromtxt(tmp_path / "fits" / "data.csv", delimiter=",", names=True)
    rw = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
    assert rw == pytest.approx(float(row["rw"]), rel=5e-3)
    atoms = ase.io.read(tmp_path / "best" / "data.xyz")
    assert pdist(atoms.positions).min() >= 0.8 * form_factors.bond_length("Pt")
    assert "stretch" in capsys.readouterr().out


def test_several_files_are_refined_in_one_run(files, tmp_path):
    second = tmp_path / "second.gr"
    second.write_bytes((files / "data.gr").read_bytes())
    assert run("refine", files / "true.xyz", files / "data.gr", second, "-o", tmp_path / "out", *LIMITS) == 0
    one, two = table(tmp_path / "out" / "summary.csv")
    assert one["rw"] == two["rw"] and two["file"] == str(second)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("alloy.xyz", "data.gr", *LIMITS), r"Expected one element, got Au, Pt in"),
        (("true.xyz", "gold.xyz", "data.gr", *LIMITS), "Expected clusters of one element, got Au, Pt"),
        (("data.gr", *LIMITS), "Expected structure files and then measured PDFs"),
        (("missing.xyz", "data.gr", *LIMITS), "missing.xyz, which does not exist"),
        (("true.xyz", "data.gr"), "Expected qmin in the header or the command"),
        (("true.xyz", "data.gr", *LIMITS, "--coordinates", "--restraint", 0), "Expected --restraint above 0, got 0."),
    ],
)
def test_mistakes_are_refused_in_one_line(files, tmp_path, capsys, words, said):
    given = [files / word if str(word).endswith((".xyz", ".gr")) else word for word in words]
    assert run("refine", *given, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
