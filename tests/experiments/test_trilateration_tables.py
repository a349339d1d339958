import json

import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.long
def test_table_2_has_a_row_for_each_method(experiments, tmp_path, capsys):
    import table2_trilateration
    import trilateration_baselines

    rows_path = tmp_path / "table.json"
    table2_trilateration.main(
        ["--quick", "--batch", "8", "--peers", "2", "--out", str(rows_path)],
        fcc_shapes=[trilateration_baselines.ball_positions(19)],
        quick_cases=[(11, 0.01, "clean")],
    )
    rows = json.loads(rows_path.read_text())
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    column_names = "experiment method satellites noise case n batch seconds_per_structure rmse rmse_crb converged"
    assert all(set(column_names.split()) <= set(row) for row in rows)
    assert [row["method"] for row in rows] == ["jaxstruc", "scipy-l-bfgs-b", "scipy-l-bfgs-b-together"]
    assert [row["n"] for row in rows] == [8, 2, 2]
    assert rows[0]["converged"] == 1.0 and 0.7 < rows[0]["rmse"] / rows[0]["rmse_crb"] < 1.4


@pytest.mark.slow
@pytest.mark.long
def test_figure_6_gets_better_with_satellites_and_has_a_picture(experiments, tmp_path, capsys):
    import figure6_satellites

    figure6_satellites.main(
        ["--quick", "--count", "16", "--out", str(tmp_path / "figure.json")],
        atom_counts=(19,),
        satellite_counts=(4, 11),
    )
    rows = json.loads((tmp_path / "figure.json").read_text())
    assert len(capsys.readouterr().out.splitlines()) == len(rows) == 8
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    satellite_rmse = [row["rmse"] for row in rows if row["distances"] == "satellites alone"]
    assert satellite_rmse[0] > 1.2 * satellite_rmse[1]


def test_scipy_solves_exact_distances(experiments):
    import trilateration_baselines

    positions = trilateration_baselines.ball_positions(30)
    distance_batch = trilateration_baselines.draw_distances(
        [positions], np.random.default_rng(0), count=1, satellites=11, noise=0.0, case="clean"
    )
    arguments = next(trilateration_baselines.unpadded_inputs(distance_batch))
    for solver in (trilateration_baselines.solve_sequentially, trilateration_baselines.solve_jointly):
        np.testing.assert_allclose(solver(*arguments), distance_batch.positions[0], atol=1e-4)


def test_the_bound_is_0_0043_at_55_atoms_11_satellites_and_1_percent(experiments):
    import trilateration_baselines

    positions = next(positions for positions in trilateration_baselines.fcc_positions() if len(positions) == 55)
    distance_batch = trilateration_baselines.draw_distances(
        [positions], np.random.default_rng(0), count=1, satellites=11, noise=0.01, case="clean"
    )
    assert trilateration_baselines.cramer_rao_rmse(distance_batch, 0.01, count=1) == pytest.approx(0.0043, abs=5e-5)
