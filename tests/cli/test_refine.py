"""`refine` on a simulated curve."""

import ase.build
import ase.io
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from command_line import read_table, run_command
from scipy.spatial.distance import pdist

import jaxstruc
from jaxstruc.clusters import displacement_fields, fcc_shapes, potential
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.pair_distribution import Grid

RANGE_OPTIONS = ("--qmin", 1, "--qmax", 22, "--qdamp", 0.03, "--rmax", 20)
TRUE_VALUES = {"scale": 0.7, "stretch": 1.01, "uiso": 0.008, "delta2": 2.0}  # the relaxation is 0
RIGID_PARAMETERS = tuple(TRUE_VALUES)


@pytest.fixture(scope="module")
def input_folder(tmp_path_factory):
    """Return a folder with the true cluster, another, the true one with displaced atoms, and a noisy curve."""
    folder = tmp_path_factory.mktemp("in")
    bond = form_factors.bond_length("Pt")
    true_cluster, other_cluster = (
        fcc_shapes.fcc_cluster(layers).to_ase("Pt", bond) for layers in ((2, 3, 2), (2, 4, 2))
    )
    rattled_cluster = true_cluster.copy()
    rattled_cluster.positions += 0.06 * np.random.default_rng(0).normal(size=rattled_cluster.positions.shape)
    for name, atoms in {"true": true_cluster, "other": other_cluster, "rattled": rattled_cluster}.items():
        ase.io.write(folder / f"{name}.xyz", atoms)
    ase.io.write(folder / "alloy.xyz", Atoms("AuPt", positions=[[0, 0, 0], [0, 0, 2.8]]))
    ase.io.write(folder / "crystal.xyz", ase.build.bulk("Pt", cubic=True))
    ase.io.write(folder / "gold.xyz", Atoms("Au2", positions=[[0, 0, 0], [0, 0, 2.8]]))
    grid = Grid(qmin=1.0, qmax=22.0, qstep=0.035, rmin=0.0, rmax=21.0, rstep=0.02)
    pairs = debye.pairs_from_positions(jnp.asarray(true_cluster.positions, jnp.float32), jnp.ones(len(true_cluster)))
    unit_factors, composition = jnp.ones((1, grid.q.size)), jnp.full(1, 1.0 * len(true_cluster))
    f = debye.reduced_structure_function(
        pairs, Instrument(**TRUE_VALUES), unit_factors, composition, jnp.asarray(grid.q, jnp.float32)
    )
    f += 0.1 * jnp.sqrt(jnp.mean(f**2)) * np.random.default_rng(1).normal(size=f.size)
    g = pair_distribution.pdf_from_f(f, Instrument(**TRUE_VALUES, qdamp=0.03), grid)
    np.savetxt(folder / "data.gr", np.stack([grid.r, np.asarray(g)], axis=1), fmt="%.8g")
    return folder


@pytest.fixture(scope="module")
def refinement(input_folder, tmp_path_factory):
    result_folder = tmp_path_factory.mktemp("out") / "deep" / "results"
    status = run_command(
        "refine",
        input_folder / "other.xyz",
        input_folder / "true.xyz",
        input_folder / "data.gr",
        "-o",
        result_folder,
        *RANGE_OPTIONS,
    )
    return result_folder, status


def test_true_values_lie_within_a_few_errors(refinement, input_folder):
    result_folder, status = refinement
    (row,), (true_row, other_row) = (
        read_table(result_folder / "summary.csv"),
        read_table(result_folder / "candidates" / "data.csv"),
    )
    assert status == 0 and row["source"] == "file" and row["recipe"] == str(input_folder / "true.xyz")
    assert true_row["converged"] == "yes" and true_row["remark"] == ""
    assert (true_row["n_atoms"], other_row["n_atoms"]) == ("43", "55")
    for name, value in TRUE_VALUES.items():
        error = float(row[f"{name}_error"])
        assert 0 < error < 0.2 * value, name
        assert abs(float(row[name]) - value) < 4 * error, name
    relaxation, error = float(row["relaxation"]), float(row["relaxation_error"])
    assert 0 < error < 0.3 and abs(relaxation) < 4 * error
    assert float(true_row["rw"]) < 0.1 and float(other_row["rw"]) > 2 * float(true_row["rw"])
    assert float(true_row["qdamp"]) == 0.03 and true_row["qdamp_error"] == ""


def test_each_of_the_users_clusters_has_its_fit_and_structure(refinement, input_folder):
    result_folder, _ = refinement
    rows = read_table(result_folder / "candidates" / "data.csv")
    expected_files = ((result_folder / "fits" / "data", result_folder / "best" / "data.xyz", "true"),)
    expected_files += (
        (result_folder / "fits" / "data" / "rank2", result_folder / "structures" / "data" / "rank2.xyz", "other"),
    )
    for row, (stem, structure, name) in zip(rows, expected_files, strict=True):
        fit = np.genfromtxt(stem.with_name(f"{stem.name}.csv"), delimiter=",", names=True)
        assert fit["r"][0] == 1.5 and fit["r"][-1] == 20
        rw = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
        assert rw == pytest.approx(float(row["rw"]), rel=2e-3)
        assert stem.with_name(f"{stem.name}.png").stat().st_size > 10_000
        atoms, input_cluster = ase.io.read(structure), ase.io.read(input_folder / f"{name}.xyz")
        bond = form_factors.bond_length("Pt")
        (field,) = displacement_fields.displacement_fields(
            [input_cluster.positions / bond], potential.metal_potential("Pt")
        )
        relaxed_positions = input_cluster.positions + float(row["relaxation"]) * bond * field.displacements.astype(
            float
        )
        np.testing.assert_allclose(pdist(atoms.positions), pdist(relaxed_positions) * float(row["stretch"]), atol=5e-3)
        assert set(atoms.get_chemical_symbols()) == {"Pt"}


def test_the_correlation_matrix_is_symmetric_with_unit_diagonal(refinement):
    result_folder, _ = refinement
    rows = read_table(result_folder / "correlations" / "data.csv")
    assert [row[""] for row in rows] == list(DEFAULT_FREE_PARAMETERS) == list(rows[0])[1:]
    matrix = np.array([[float(row[name]) for name in DEFAULT_FREE_PARAMETERS] for row in rows])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-4)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-3)
    off_diagonal = matrix[~np.eye(len(matrix), dtype=bool)]
    assert np.abs(off_diagonal).max() <= 1 and matrix[0, 2] > 0.2


def test_moved_coordinates_fit_better_and_keep_apart(input_folder, tmp_path, capsys):
    """The fits are rigid, because a relaxation would bring the displaced atoms back to their places."""
    arguments = (
        input_folder / "rattled.xyz",
        input_folder / "data.gr",
        "-o",
        tmp_path,
        *RANGE_OPTIONS,
        "--coordinates",
        "--free",
        *RIGID_PARAMETERS,
    )
    assert run_command("refine", *arguments) == 0
    row = read_table(tmp_path / "summary.csv")[0]
    assert float(row["rw"]) < 0.8 * float(row["rw_unmoved"])
    assert 0.01 < float(row["moved"]) < 0.3
    fit = np.genfromtxt(tmp_path / "fits" / "data.csv", delimiter=",", names=True)
    rw = np.sqrt(np.sum(fit["G_diff"] ** 2) / np.sum(fit["G_obs"] ** 2))
    assert rw == pytest.approx(float(row["rw"]), rel=5e-3)
    atoms = ase.io.read(tmp_path / "best" / "data.xyz")
    assert pdist(atoms.positions).min() >= 0.8 * form_factors.bond_length("Pt")
    assert "stretch" in capsys.readouterr().out


def test_all_structures_of_a_file_are_fitted(input_folder, refinement, tmp_path):
    structures = [ase.io.read(input_folder / f"{name}.xyz") for name in ("other", "true")]
    ase.io.write(tmp_path / "both.xyz", structures)
    assert run_command("refine", tmp_path / "both.xyz", input_folder / "data.gr", "-o", tmp_path, *RANGE_OPTIONS) == 0
    rows, separate_rows = (read_table(path / "candidates" / "data.csv") for path in (tmp_path, refinement[0]))
    assert [row["rw"] for row in rows] == [row["rw"] for row in separate_rows]
    assert [row["recipe"] for row in rows] == [f"{tmp_path / 'both.xyz'}@{number}" for number in (1, 0)]
    assert (tmp_path / "structures" / "data" / "rank2.xyz").exists()
    only_other = run_command(
        "refine", f"{tmp_path / 'both.xyz'}@0", input_folder / "data.gr", "-o", tmp_path / "one", *RANGE_OPTIONS
    )
    (row,) = read_table(tmp_path / "one" / "candidates" / "data.csv")
    assert only_other == 0 and row["rw"] == rows[1]["rw"]


def test_of_more_structures_than_a_result_lists_the_best_are_written(input_folder, tmp_path):
    """A result lists 10 candidates in the tests of the commands."""
    true_cluster, rng = ase.io.read(input_folder / "true.xyz"), np.random.default_rng(3)
    structures = [true_cluster.copy() for _ in range(12)]
    for atoms in structures[:-1]:
        atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
    ase.io.write(tmp_path / "many.xyz", structures)
    assert run_command("refine", tmp_path / "many.xyz", input_folder / "data.gr", "-o", tmp_path, *RANGE_OPTIONS) == 0
    table = read_table(tmp_path / "candidates" / "data.csv")
    assert len(table) == 10 and table[0]["recipe"] == f"{tmp_path / 'many.xyz'}@11"
    assert len(list((tmp_path / "structures" / "data").iterdir())) == 9


def test_the_curves_of_an_s_of_q_are_refined_in_one_run(input_folder, tmp_path):
    clusters = [ase.io.read(input_folder / f"{name}.xyz") for name in ("true", "other")]
    options = jaxstruc.SimulateOptions(signal="sq", qmin=0.8, qmax=22.0, qstep=0.02)
    data = [jaxstruc.simulate(atoms, options=options) for atoms in clusters]
    path = tmp_path / "two.sq"
    np.savetxt(path, np.stack([data[0].x, data[0].y, data[1].y], axis=1), header="Q(1/A) S_0 S_1")
    arguments = (input_folder / "other.xyz", input_folder / "true.xyz", path, "--rmax", 16)
    assert run_command("refine", *arguments, "--frame", "all", "-o", tmp_path / "out") == 0
    table = read_table(tmp_path / "out" / "summary.csv")
    assert [(row["stem"], row["frame"]) for row in table] == [("two-1", "1"), ("two-2", "2")]
    assert [int(row["n_atoms"]) for row in table] == [len(atoms) for atoms in clusters]
    assert all(float(row["rw"]) < 0.02 for row in table)


def test_several_files_are_refined_in_one_run(input_folder, tmp_path):
    second_file = tmp_path / "second.gr"
    second_file.write_bytes((input_folder / "data.gr").read_bytes())
    assert (
        run_command(
            "refine",
            input_folder / "true.xyz",
            input_folder / "data.gr",
            second_file,
            "-o",
            tmp_path / "out",
            *RANGE_OPTIONS,
        )
        == 0
    )
    first_row, second_row = read_table(tmp_path / "out" / "summary.csv")
    assert first_row["rw"] == second_row["rw"] and second_row["file"] == str(second_file)


def test_a_cluster_cut_by_its_cell_is_refined_as_a_whole_and_the_message_states_it(input_folder, tmp_path):
    torn_cluster = ase.io.read(input_folder / "true.xyz")
    torn_cluster.set_cell([25, 26, 27])
    torn_cluster.pbc = True
    torn_cluster.wrap()
    assert pdist(torn_cluster.positions).max() > 20
    ase.io.write(tmp_path / "torn.cif", torn_cluster)
    rows = []
    for structure in (tmp_path / "torn.cif", input_folder / "true.xyz"):
        out = tmp_path / structure.stem
        assert run_command("refine", structure, input_folder / "data.gr", "-o", out, *RANGE_OPTIONS) == 0
        rows += read_table(out / "summary.csv")
    assert float(rows[0]["rw"]) == pytest.approx(float(rows[1]["rw"]), rel=1e-3)
    assert "torn.cif: the faces of the unit cell cut through the cluster" in rows[0]["message"]
    assert "unit cell" not in rows[1]["message"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("crystal.xyz", "data.gr", *RANGE_OPTIONS), r"Expected a cluster, got a crystal in"),
        (("alloy.xyz", "data.gr", *RANGE_OPTIONS), r"Expected one element, got Au, Pt in"),
        (("true.xyz", "gold.xyz", "data.gr", *RANGE_OPTIONS), "Expected clusters of one element, got Au, Pt"),
        (("data.gr", *RANGE_OPTIONS), "Expected structure files and then measured PDFs"),
        (("missing.xyz", "data.gr", *RANGE_OPTIONS), "missing.xyz, which does not exist"),
        (("true.xyz", "data.gr"), "Expected qmin in the header or the command"),
        (
            ("true.xyz", "data.gr", *RANGE_OPTIONS, "--coordinates", "--restraint", 0),
            "Expected --restraint above 0, got 0.",
        ),
    ],
)
def test_mistakes_are_refused_in_one_line(input_folder, tmp_path, capsys, options, message):
    arguments = [input_folder / option if str(option).endswith((".xyz", ".gr")) else option for option in options]
    assert run_command("refine", *arguments, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_standard_errors_weight_the_fit_and_rw_stays_unweighted(refinement, input_folder, tmp_path):
    r, g = np.loadtxt(input_folder / "data.gr").T
    rows = "\n".join(f"{x:.8g} {y:.8g} 0 {0.05 + 0.02 * x:.8g}" for x, y in zip(r, g, strict=True))
    (tmp_path / "errors.gr").write_text(f"#L r G(r) d_r d_Gr\n{rows}\n")
    command = ("refine", input_folder / "other.xyz", input_folder / "true.xyz", tmp_path / "errors.gr")
    assert run_command(*command, "-o", tmp_path / "out", *RANGE_OPTIONS) == 0
    (row,), (plain_row,) = (read_table(folder / "summary.csv") for folder in (tmp_path / "out", refinement[0]))
    assert row["sigma_g_origin"] == "column d_Gr" and not plain_row["sigma_g_origin"]
    assert row["scale"] != plain_row["scale"]
    result = jaxstruc.load(tmp_path / "out" / "results" / "errors.npz")
    residual = result.observed - result.best.calculated
    assert float(row["rw"]) == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(result.observed), rel=1e-4)
    assert float(row["rw"]) > float(plain_row["rw"])  # the fit without weights has the smallest Rw
