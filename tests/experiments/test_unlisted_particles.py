"""Particles that no library lists, their curves, and the criterion for solved ones."""

import numpy as np
import pytest

from jaxstruc.io import qmax_check

CASE_NAME = {"part": "offrule", "kind": "fcc", "seed": 0, "draw": 0, "noise": 0.03}


def test_a_case_is_the_same_each_time_and_its_curve_ends_at_qmax(experiments):
    """The curve has no frequency above its qmax, so that its power falls there."""
    import unlisted_particles

    simulated_case, repeated_case = (
        unlisted_particles.simulate_case(CASE_NAME, unlisted_particles.CASE_SETS["offrule"]) for _ in range(2)
    )
    np.testing.assert_array_equal(simulated_case.measurement.g, repeated_case.measurement.g)
    measurement, settings = simulated_case.measurement, simulated_case.measurement.settings_by_name
    estimate = qmax_check.estimate_qmax(measurement.r, measurement.g, qmax=settings["qmax"])
    assert estimate.excess_sharpness == 0 and estimate.qmax == pytest.approx(settings["qmax"], rel=0.04)
    values = {"qmin": 0.8, "qmax": settings["qmax"], "uiso": 0.008, "delta2": 2.0, "stretch": 1.0}
    q, _ = unlisted_particles.structure_function(simulated_case.particle.positions, values)
    assert q[0] == settings["qmin"] == 0.8 and q[-1] == pytest.approx(settings["qmax"], abs=1e-9)
    assert simulated_case.particle.type == "fcc" and 35 <= len(simulated_case.particle.positions) <= 320


def test_parts_share_particles_and_move_their_atoms(experiments):
    import unlisted_particles

    plain_particle, displaced_particle = (
        unlisted_particles.simulate_case(CASE_NAME, unlisted_particles.CASE_SETS[part]).particle
        for part in ("offrule", "displaced5")
    )
    displacements = (
        np.linalg.norm(displaced_particle.positions - plain_particle.positions, axis=1) * unlisted_particles.BOND
    )
    assert np.sqrt(np.mean(displacements**2)) == pytest.approx(0.05)


def test_turned_and_mirrored_atoms_have_no_error_and_a_missing_one_is_not_solved(experiments):
    import unlisted_particles

    positions = (
        unlisted_particles.simulate_case(CASE_NAME, unlisted_particles.CASE_SETS["offrule"]).particle.positions
        * unlisted_particles.BOND
    )
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    assert unlisted_particles.coordinate_error(positions, (positions @ rotation)[::-1] + 3.0) < 1e-6
    assert (
        unlisted_particles.is_solved({"error": 0.05})
        and not unlisted_particles.is_solved({"error": 0.2})
        and not unlisted_particles.is_solved({"error": None})
    )


def test_tables_give_solved_counts_and_intervals(experiments):
    import pdf_tables

    row = CASE_NAME | {
        "atoms": 100, "type": "fcc", "word": "", "seconds": 2.0, "truth_rw": 0.01, "rw": 0.011, "found_type": "fcc",
        "found_atoms": 100, "n_low": 99.0, "n_high": 101.0, "w1": 0.01, "error": 0.01,
    }  # fmt: skip
    other_row = row | {"seed": 1, "found_atoms": 97, "error": None, "n_low": 96.0, "n_high": 98.0, "rw": 0.02}
    stack_row = row | {"kind": "stack", "word": "hhc", "found_word": "chh", "hexagonal": 0.67, "found_hexagonal": 0.67}
    table = pdf_tables.site_search_table([row, other_row]).splitlines()[-1]
    assert "| offrule | 3 % | 2 | 100 % | 50 % | 50 ± 71 % | 0.01 | 50 % | 2 % | 1.5 % | 1.55 | 50 % | 2 |" in table
    rows = [row, other_row, stack_row]
    assert "| offrule | fcc | – | 1 of 2 | – |" in pdf_tables.site_search_kinds_table(rows)
    assert "| all inner layers right | – | 100 % | – |" in pdf_tables.stacking_table(rows)


@pytest.mark.long
@pytest.mark.parametrize("name", ["benchmark_sites", "figure_unlisted_particles"])
def test_quick_runs_finish(experiments, name, capsys):
    module = __import__(name)
    assert module.main(["--quick"])
    assert "{" in capsys.readouterr().out
