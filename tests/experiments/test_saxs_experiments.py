"""Small-angle experiments: simulated curves, statistics, and one run."""

import json

import numpy as np
import pytest
import small_angle_data


def test_simulated_spheres_are_those_of_another_sum(experiments):
    import simulated_saxs

    q = np.linspace(0.01, 0.4, 50)
    intensity = simulated_saxs.sphere_intensity(q, [(30.0, 0.08, 0.4), (45.0, 0.1, 0.6)])
    np.testing.assert_allclose(
        intensity, small_angle_data.sphere_intensity(q, (30.0, 0.08, 0.4), (45.0, 0.1, 0.6)), rtol=1e-6
    )
    tabulated_intensity = simulated_saxs.body_intensity("sphere", q, 45.0, 0.1)
    np.testing.assert_allclose(
        tabulated_intensity / tabulated_intensity[0],
        simulated_saxs.sphere_intensity(q, [(45.0, 0.1, 1.0)])
        / simulated_saxs.sphere_intensity(q[:1], [(45.0, 0.1, 1.0)]),
        rtol=1e-3,
    )


def test_simulated_bodies_with_two_lengths_are_those_of_the_package(experiments):
    import simulated_saxs

    from jaxstruc import SimulateSaxsOptions, simulate_saxs

    grid = {"radius": 40.0, "pd": 0.1, "qmin": 0.01, "qmax": 0.31, "qstep": 0.02}
    for body, simulated_body, shape, ratio, options in (
        ("spheroid", "spheroid", 0.4, 1.0, {"aspect": 0.4}),
        ("cylinder", "cylinder", 3.0, 1.0, {"aspect": 3.0}),
        ("core-shell", "core-shell", 8.0, -0.5, {"shell": 8.0, "contrast": 1.0, "shell_contrast": -0.5}),
        ("hard-sphere", "sphere", 0.3, 1.0, {"volume_fraction": 0.3, "interaction": "local"}),
    ):
        q, expected, _ = simulate_saxs(simulated_body, **grid, options=SimulateSaxsOptions(**options))
        intensity = simulated_saxs.shaped_intensity(body, q, 40.0, 0.1, shape, ratio)
        np.testing.assert_allclose(intensity / intensity[0], expected / expected[0], rtol=2e-3, err_msg=body)


def test_a_sample_with_two_lengths_is_the_same_each_time_and_its_intervals_are_counted(experiments):
    import saxs_tables
    import saxs_two_lengths

    (truth, sample), (_, repeated_sample) = (saxs_two_lengths.simulate_case("cylinder", 3, seed=0) for _ in range(2))
    np.testing.assert_array_equal(sample.intensity, repeated_sample.intensity)
    fitted = {f"{name}_fit": 1.01 * truth[name] for name in ("radius", "pd", "shape")}
    fitted |= {"radius_held": True, "pd_held": True, "shape_held": False, "body": "cylinder", "model": "right body"}
    sphere = {"truth": "cube", "body": "spheroid", "model": "all bodies"}
    rows = [truth | fitted, truth | fitted | {"model": "all bodies"}, sphere, sphere | {"body": "not determined"}]
    assert "| cylinder | 1 | 100.0 % | 100.0 % | 0.0 % | 66.7 % | 1 % | 1 % |" in saxs_tables.two_lengths_block(rows)
    assert "claimed for 1 of 2 samples of bodies with one" in saxs_tables.two_lengths_block(rows)
    assert "one length: 2 samples, right body 0.0%, wrong body 50.0%" in saxs_two_lengths.summary_text(rows)


def test_a_sample_of_the_round_robin_is_the_same_each_time_and_has_means_a_factor_apart(experiments):
    import saxs_round_robin

    (truth, sample), (_, repeated_sample) = saxs_round_robin.simulate_sample(3), saxs_round_robin.simulate_sample(3)
    np.testing.assert_array_equal(sample.intensity, repeated_sample.intensity)
    assert len(truth) == 2 and truth[1][0] / truth[0][0] == pytest.approx(1.5)
    mean, width = saxs_round_robin.overall_size(truth)
    assert truth[0][0] < mean < truth[1][0] and width > 0.04


def test_a_sample_of_populations_is_the_same_each_time_and_its_answers_are_counted(experiments):
    import saxs_populations
    import saxs_tables

    (truth, sample), (_, repeated_sample) = (saxs_populations.simulate_sample(3) for _ in range(2))
    np.testing.assert_array_equal(sample.intensity, repeated_sample.intensity)
    means = np.array(truth["means"])
    assert truth["populations"] == len(means) == 4 and np.all(means[1:] > 2 * means[:-1])
    answer = {"counted": 4, "body": "not determined", "chi2": 1.0}
    rows = [truth | answer, truth | answer | {"counted": 3, "body": "none of these"}]
    assert "| all | 2 | 50.0 % | 0.0 % | 50.0 % | 50.0 % |" in saxs_tables.populations_block(rows)
    assert "4 populations: 2 samples, counted right 50.0%" in saxs_populations.summary_text(rows)


def test_distributions_of_the_experiments_have_their_mean_and_width(experiments):
    import simulated_saxs

    for name, width in (("gaussian", 0.1), ("lognormal", 0.1), ("schulz", 0.1), ("lsw", 0.215)):
        radius, weight = simulated_saxs.number_distribution(name, 50.0, 0.1)
        mean = weight @ radius
        assert mean == pytest.approx(50.0, rel=2e-3), name
        assert np.sqrt(weight @ (radius - mean) ** 2) / mean == pytest.approx(width, rel=0.01), name


def test_false_certainty_is_counted_if_a_sphere_fits(experiments):
    import saxs_shapes
    import saxs_tables

    row = {
        "truth": "cube",
        "told": "sphere",
        "first": "sphere",
        "p_first": 0.97,
        "sphere_above": 0.0,
        "wrong_above": -3.0,
    }
    clear_row = row | {"told": "cube", "first": "cube", "sphere_above": 90.0, "wrong_above": 80.0}
    assert "1 cases, a wrong body in 100.0%" in saxs_shapes.summary_text([row, clear_row])
    assert "1 cases, the right body first in 100.0%" in saxs_shapes.summary_text([row, clear_row])
    table = saxs_tables.shapes_table([row, clear_row])
    assert "| a sphere fits within the noise: a wrong body is named | 1 | 100.0 % |" in table
    assert "| chi-squared of the best wrong body is 20 higher: right body first | 1 | 100.0 % |" in table


@pytest.mark.long
def test_the_slides_sphere_is_fitted_and_tabled(experiments, tmp_path):
    import saxs_sphere
    import saxs_tables

    rows_path = tmp_path / "saxs_sphere.jsonl"
    rows = saxs_sphere.main(["--sets", "3", "--out", str(rows_path)], n_open_sets=0)
    assert [json.loads(line) for line in rows_path.read_text().splitlines()] == rows
    assert all(abs(row["radius"] - 34.907) < 0.4 and row["body"] == "sphere" for row in rows)
    assert "| sphere, Gaussian sizes | 3 | mean radius, Å |" in saxs_tables.sphere_block(rows)


@pytest.mark.long
def test_bodies_with_two_lengths_are_fitted_and_tabled(experiments, tmp_path):
    import saxs_tables
    import saxs_two_lengths

    rows_path = tmp_path / "saxs_two_lengths.jsonl"
    rows = saxs_two_lengths.main(["--sets", "1", "--compared", "0", "--out", str(rows_path)])
    assert [json.loads(line) for line in rows_path.read_text().splitlines()] == rows
    assert all(row["body"] == row["truth"] and abs(row["radius_fit"] / row["radius"] - 1) < 0.1 for row in rows)
    assert "| all | 4 |" in saxs_tables.two_lengths_block(rows)
