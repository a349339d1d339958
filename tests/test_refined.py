"""`refine` end to end, on a simulated curve."""

import csv

import ase.io
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jaxstruc import cli, clusters, form_factors, refinement, scattering, structure
from jaxstruc.scattering import Instrument

LIMITS = ("--qmin", 1, "--qmax", 22, "--qdamp", 0.03, "--rmax", 16)
TRUE = {"scale": 0.7, "stretch": 1.01, "uiso": 0.008, "delta2": 2.0}


def run(*words):
    """Return the exit status of the command line."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(word) for word in words])
    return stopped.value.code


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The true cluster, another, the true one rattled, and a curve with noise."""
    folder = tmp_path_factory.mktemp("in")
    bond = form_factors.bond_length("Pt")
    true, other = (clusters.fcc(layers).atoms("Pt", bond) for layers in ((2, 3, 2), (2, 4, 2)))
    rattled = true.copy()
    rattled.positions += 0.06 * np.random.default_rng(0).normal(size=rattled.positions.shape)
    for name, atoms in {"true": true, "other": other, "rattled": rattled}.items():
        ase.io.write(folder / f"{name}.xyz", atoms)
    r, q = np.arange(0.0, 18.001, 0.02), jnp.linspace(1.0, 22.0, 600)
    pairs = scattering.pairs(structure.distances(jnp.asarray(true.positions, jnp.float32)), jnp.ones(len(true)))
    instrument = Instrument(**TRUE, qdamp=0.03)
    ones, count = jnp.ones((1, q.size)), jnp.full(1, 1.0 * len(true))
    f = scattering.reduced_structure_function(pairs, instrument, ones, count, q)
    f += 0.1 * jnp.sqrt(jnp.mean(f**2)) * np.random.default_rng(1).normal(size=q.size)
    g = scattering.sine_transform(f, q, scattering.q_weights(q, 1.0, 22.0), jnp.asarray(r, jnp.float32))
    g = scattering.envelope(instrument, jnp.asarray(r, jnp.float32)) * g
    np.savetxt(folder / "data.gr", np.stack([r, np.asarray(g)], axis=1), fmt="%.8g")
    return folder


@pytest.fixture(scope="module")
def refined(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "deep" / "results"
    status = run("refine", inputs / "true.xyz", inputs / "other.xyz", inputs / "data.gr", "-o", out, *LIMITS)
    return out, status


def test_true_values_lie_within_a_few_errors(refined):
    out, status = refined
    true, other = table(out / "summary.csv")
    assert status == 0 and true["converged"] == "yes" and true["remark"] == ""
    assert (true["n_atoms"], other["n_atoms"]) == ("43", "55")
    for name, value in TRUE.items():
        error = float(true[f"{name}_error"])
        assert 0 < error < 0.2 * value, name
        assert abs(float(true[name]) - value) < 4 * error, name
    assert float(true["rw"]) < 0.1 and float(other["rw"]) > 2 * float(true["rw"])
    assert float(true["qdamp"]) == 0.03 and true["qdamp_error"] == ""


def test_the_files_are_written_and_agree_with_the_summary(refined, inputs):
    out, _ = refined
    for row, name in zip(table(out / "summary.csv"), ("true", "other"), strict=True):
        fit = np.genfromtxt(out / "fits" / f"{name}.csv", delimiter=",", names=True)
        assert fit["r"][0] == 1.5 and fit["r"][-1] == 16
        rw = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
        assert rw == pytest.approx(float(row["rw"]), rel=2e-3)
        assert (out / "fits" / f"{name}.png").stat().st_size > 10_000
        atoms, given = ase.io.read(out / "structures" / f"{name}.xyz"), ase.io.read(inputs / f"{name}.xyz")
        np.testing.assert_allclose(
            clusters.pair_distances(atoms.positions),
            clusters.pair_distances(given.positions) * float(row["stretch"]),
            atol=1e-4,
        )
        assert set(atoms.get_chemical_symbols()) == {"Pt"}
    assert not list(out.rglob("*.part"))


def test_the_correlation_matrix_is_symmetric_with_unit_diagonal(refined):
    out, _ = refined
    rows = table(out / "correlations" / "true.csv")
    assert [row[""] for row in rows] == list(refinement.USUAL) == list(rows[0])[1:]
    matrix = np.array([[float(row[name]) for name in refinement.USUAL] for row in rows])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-4)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-3)
    apart = matrix[~np.eye(4, dtype=bool)]
    assert np.abs(apart).max() <= 1 and matrix[0, 2] > 0.2


def test_moved_coordinates_fit_better_and_keep_apart(inputs, tmp_path, capsys):
    words = (inputs / "rattled.xyz", inputs / "data.gr", "-o", tmp_path, *LIMITS, "--coordinates")
    assert run("refine", *words) == 0
    row = table(tmp_path / "summary.csv")[0]
    assert float(row["rw_coordinates"]) < 0.8 * float(row["rw"])
    assert 0.01 < float(row["moved"]) < 0.3
    fit = np.genfromtxt(tmp_path / "fits" / "rattled.csv", delimiter=",", names=True)
    rw = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
    assert rw == pytest.approx(float(row["rw_coordinates"]), rel=5e-3)
    atoms = ase.io.read(tmp_path / "structures" / "rattled.xyz")
    assert clusters.pair_distances(atoms.positions).min() >= 0.8 * form_factors.bond_length("Pt")
    assert "with atoms moved" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("alloy.xyz", "data.gr", *LIMITS), r"Expected one element, got Au, Pt in"),
        (("true.xyz", "data.gr", *LIMITS, "--free", "stretch", "uiso"), "Expected scale among --free"),
        (("true.xyz", "data.gr", *LIMITS, "--free", "scale", "delta1", "delta2"), "got both"),
        (("true.xyz", "data.gr", *LIMITS[:-1], 2.5), "Expected more than 7 independent points"),
        (("data.gr", *LIMITS), "Expected structure files and then the measured PDF"),
        (("missing.xyz", "data.gr", *LIMITS), "missing.xyz, which does not exist"),
        (("true.xyz", "data.gr"), "Expected qmin in the header or the command"),
    ],
)
def test_mistakes_are_refused_in_one_line(inputs, tmp_path, capsys, words, said):
    ase.io.write(inputs / "alloy.xyz", Atoms("AuPt", positions=[[0, 0, 0], [0, 0, 2.8]]))
    files = [inputs / word if str(word).endswith((".xyz", ".gr")) else word for word in words]
    assert run("refine", *files, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
