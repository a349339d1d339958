import json
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from ase.cluster import Decahedron

from jaxstruc.clusters import lattices, library
from jaxstruc.clusters.fcc_shapes import fcc_cluster
from jaxstruc.pdf import target
from jaxstruc.scattering import debye
from jaxstruc.scattering.debye import Instrument

SMALL_DECAHEDRA = ((2, 1, 1), (3, 1, 0), (2, 2, 1), (3, 2, 0))
R_GRID, Q_LIMITS = np.arange(1.5, 10.001, 0.1).round(1), {"qmin": 0.58, "qmax": 21.0}
"""Ranges of r (Å) and Q (1/Å) of all fits, which share one compilation."""


def decahedron_library():
    positions_by_pqr = ((pqr, Decahedron("Au", *pqr).positions) for pqr in SMALL_DECAHEDRA)
    return library.collect(
        lattices.unit_bond_cluster("decahedron", f"({p},{q},{r})", positions)
        for (p, q, r), positions in positions_by_pqr
    )


def test_simulated_data_are_those_of_the_package(experiments):
    import measured_pdfs

    positions = fcc_cluster((2, 2, 2)).positions * 2.88
    q = np.linspace(1, 20, 191)
    pairs = debye.pairs_from_positions(jnp.asarray(positions, jnp.float32), np.ones(19, bool))
    instrument = Instrument(uiso=0.01, delta2=2.0)
    debye_curve = debye.reduced_structure_function(
        pairs, instrument, jnp.ones((1, q.size)), jnp.full(1, 19.0), jnp.asarray(q, jnp.float32)
    )
    numpy_curve = measured_pdfs.structure_function(positions, q, uiso=0.01, delta2=2.0)
    np.testing.assert_allclose(numpy_curve, debye_curve, atol=2e-4 * np.abs(numpy_curve).max())


def test_the_decahedra_of_the_course_are_16(experiments):
    import measured_pdfs

    decahedra = measured_pdfs.decahedra()
    assert len({len(atoms) for atoms in decahedra.values()}) == len(decahedra) == 16
    assert len(decahedra[6, 1, 1]) == 423


@pytest.mark.slow
@pytest.mark.long
def test_the_credible_set_contains_the_truth_if_noise_is_small(experiments):
    import measured_pdfs

    row = measured_pdfs.calibration(
        0.05, draws=4, candidates=measured_pdfs.decahedra(SMALL_DECAHEDRA), truth=(2, 1, 1), r=R_GRID
    )
    assert row["coverage"] == row["first"] == row["size"] == 1.0
    assert row["rw_true"] < row["rw_second"] and row["converged"] == 1.0
    assert 4 < row["independent"] <= row["all_points"]
    assert json.loads(json.dumps(row)) == row


@pytest.mark.slow
@pytest.mark.long
def test_a_measured_file_gives_a_row_without_its_data_or_its_folder(experiments, tmp_path, capsys):
    import measured_pdfs

    rows_path = tmp_path / "rows.jsonl"
    known_cluster = lattices.unit_bond_cluster("decahedron", "known", Decahedron("Au", 2, 1, 1).positions)
    rng = np.random.default_rng(0)
    [g] = measured_pdfs.simulate_noisy_pdfs(
        known_cluster.positions * 2.9, R_GRID, rng, noise=0.1, draws=1, **Q_LIMITS, uiso=0.01, delta2=2.0
    )
    lines = ["composition = Au", *(f"{name} = {value}" for name, value in Q_LIMITS.items())]
    lines += [f"{r:g} {value_of_g:g}" for r, value_of_g in zip(R_GRID, g, strict=True)]
    path = tmp_path / "private" / "sample.gr"
    path.parent.mkdir()
    path.write_text("\n".join(lines))
    library_limits = {"names": ("decahedron",), "max_atoms": 60}
    [row] = measured_pdfs.main(
        ["--data", str(path.parent), "--figures", str(tmp_path / "out"), "--out", str(rows_path)],
        mine=partial(measured_pdfs.mine_measurement, **library_limits),
    )
    assert (row["file"], row["element"], row["status"]) == ("sample.gr", "Au", "solved")
    assert row["type"] == row["family"] == "decahedron"
    assert row["cluster"] == "(2,1,1)" and row["n_atoms"] == 49 and row["rw"] < row["rw_second"]
    assert row["rw_decahedron"] == pytest.approx(row["rw"], abs=1e-6)
    assert row["nearest_neighbour"] == pytest.approx(2.9, abs=0.01) and row["nearest_neighbour_error"] > 0
    assert row["rw_fcc_like"] is None and set(row["rw_families"]) == {"decahedron"}
    assert str(tmp_path) not in json.dumps(row)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json.loads(rows_path.read_text()) == row
    assert (tmp_path / "out" / "fits" / "sample.png").exists()
    assert rows_path.with_suffix(".png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.long
def test_relaxing_helps_if_the_particle_is_relaxed_and_not_if_it_is_ideal(experiments, tmp_path, capsys):
    import relax_refit

    rows_path = tmp_path / "relaxed.jsonl"
    arguments = ["--quick", "--pqr", "2", "1", "1", "--noise", "0.05", "--draws", "1", "--steps", "6"]
    relax_refit.main([*arguments, "--out", str(rows_path)], fit_range=relax_refit.FitRange(R_GRID, **Q_LIMITS))
    ideal_row, relaxed_row = map(json.loads, rows_path.read_text().splitlines())
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [ideal_row, relaxed_row]
    assert ideal_row["difference"] > 0 > relaxed_row["difference"]
    assert ideal_row["weight_relaxed"] < 0.5 < relaxed_row["weight_relaxed"]
    assert (
        relaxed_row["nearest_neighbour_relaxed"] < relaxed_row["nearest_neighbour_ideal"]
        and relaxed_row["energy_fall"] > 0
    )
    assert len(ideal_row["rw_steps"]) == ideal_row["steps"] + 1 == 7
    assert 0 < relaxed_row["rw_coordinates"] < relaxed_row["rw_ideal"] and 0 < relaxed_row["moved"] < 0.5
    assert rows_path.with_suffix(".png").stat().st_size > 5000


def test_the_numpy_model_is_the_debye_sum(experiments, restore_cpu_affinity):
    import benchmark_refinement as benchmark
    from measured_pdfs import structure_function, transform

    clusters, q = decahedron_library(), np.linspace(1, 22, 1051)
    model = benchmark.NumpyModel(library.candidate_histogram(clusters, 0))
    positions = library.candidate_cluster(clusters, 0).positions * benchmark.BOND * 1.01
    f = structure_function(positions, q, uiso=0.008, delta2=2.0)
    g = transform(q, benchmark.R_GRID, qdamp=0.04) @ f
    curve = model.curve(np.array([1.0, 1.01, 0.008, 2.0, 0.04]))
    assert np.linalg.norm(curve - g) < 1e-3 * np.linalg.norm(g)
    assert model.fit(g, model.start(g, 1.0), cost_tolerance=1e-6) < 1e-3


@pytest.mark.slow
@pytest.mark.long
def test_the_fit_benchmark_has_rows_and_no_larger_misfit_than_its_peers(experiments, restore_cpu_affinity):
    import benchmark_refinement as benchmark

    clusters = decahedron_library()
    table_range = target.table_range(rmax=20.0, qmax=22.0, diameter=float(clusters.diameter.max()) * benchmark.BOND)
    g = benchmark.simulate_data(clusters, 1, seed=0)
    fit_target = benchmark.make_target(g, table_range)
    selected_rows, fits, rows = benchmark.time_batch(clusters, 4, fit_target, runs=1)
    assert [row["what"] for row in rows] == ["templates and fits", "templates", "fits"]
    assert all(row["batch"] == 4 and row["fits_per_second"] > 0 for row in rows)
    row = benchmark.scipy_row(clusters, selected_rows, fits, fit_target, g, count=2)
    assert row["largest_excess"] < 2e-3 and len(row["rw"]) == 2
    row = benchmark.optimistix_row(clusters, selected_rows, fits, fit_target, runs=1)
    assert row["engine"] == "optimistix" and row["batch"] == 4 and row["fits_per_second"] > 0
    assert row["converged"] == 1.0 and row["steps"] <= row["most_steps"] < benchmark.MAX_STEPS
    assert row["largest_excess"] < 1e-3 and row["least_excess"] > -0.02


@pytest.mark.slow
@pytest.mark.long
def test_validation_runs_on_simulated_particles(experiments, tmp_path, capsys):
    """One case of two parts runs. The best cluster passes the screening, and the residual of the true one is noise."""
    import pdf_tables
    import pdf_validation

    rows_path = tmp_path / "pdf_validation.jsonl"
    arguments = ["screening", "verdict", "--count", "1", "--max-atoms", "40", "--out", str(rows_path)]
    pdf_validation.main(arguments)
    screening_row, quality_row = rows = [json.loads(line) for line in rows_path.read_text().splitlines()]
    assert (
        screening_row["part"] == "screening"
        and screening_row["place"] < 20
        and screening_row["rw"] == screening_row["rw_chosen"] < 0.1
    )
    assert quality_row["part"] == "verdict" and 0.05 < quality_row["structure"] < 3 and quality_row["size_seen"] > 5
    capsys.readouterr()
    pdf_validation.main(arguments)
    assert not capsys.readouterr().out  # Finished cases are not repeated.
    text = pdf_tables.validation_table(rows)
    assert "| the best of all clusters passes the preselection | 1 | 100.0 % |" in text and "| 0 | – |" in text
