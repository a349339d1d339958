import json

import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.long
def test_table_2_has_a_row_for_each_method(experiments, tmp_path, capsys, monkeypatch):
    import placing
    import table2_trilateration

    monkeypatch.setattr(placing, "family", lambda: [placing.shape(19)])
    monkeypatch.setattr(table2_trilateration, "QUICK", [(11, 0.01, "clean")])
    out = tmp_path / "table.json"
    table2_trilateration.main(["--quick", "--batch", "8", "--peers", "2", "--out", str(out)])
    rows = json.loads(out.read_text())
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    wanted = "experiment method satellites noise case n batch seconds_per_structure rmse rmse_crb converged"
    assert all(set(wanted.split()) <= set(row) for row in rows)
    assert [row["method"] for row in rows] == ["jaxstruc", "scipy-l-bfgs-b", "scipy-l-bfgs-b-together"]
    assert [row["n"] for row in rows] == [8, 2, 2]
    assert rows[0]["converged"] == 1.0 and 0.7 < rows[0]["rmse"] / rows[0]["rmse_crb"] < 1.4


@pytest.mark.slow
@pytest.mark.long
def test_figure_6_gets_better_with_satellites_and_has_a_picture(experiments, tmp_path, capsys, monkeypatch):
    import figure6_satellites

    monkeypatch.setattr(figure6_satellites, "SIZES", (19,))
    monkeypatch.setattr(figure6_satellites, "COUNTS", (4, 11))
    figure6_satellites.main(["--quick", "--count", "16", "--out", str(tmp_path / "figure.json")])
    rows = json.loads((tmp_path / "figure.json").read_text())
    assert len(capsys.readouterr().out.splitlines()) == len(rows) == 8
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    alone = [row["rmse"] for row in rows if row["distances"] == "satellites alone"]
    assert alone[0] > 1.2 * alone[1]


def test_scipy_beside_ours_solves_exact_distances(experiments):
    import placing

    shape = placing.shape(30)
    given = placing.drawn([shape], np.random.default_rng(0), count=1, satellites=11, noise=0.0, case="clean")
    arguments = next(placing.each(given))
    for peer in (placing.one_by_one, placing.together):
        np.testing.assert_allclose(peer(*arguments), given.positions[0], atol=1e-4)


def test_the_bound_is_0_0043_at_55_atoms_11_satellites_and_1_percent(experiments):
    import placing

    shape = next(shape for shape in placing.family() if len(shape) == 55)
    given = placing.drawn([shape], np.random.default_rng(0), count=1, satellites=11, noise=0.01, case="clean")
    assert placing.least_error(given, 0.01, count=1) == pytest.approx(0.0043, abs=5e-5)
