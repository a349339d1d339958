import numpy as np
import pytest

from jaxstruc.clusters import library
from jaxstruc.scattering import form_factors


@pytest.fixture(scope="module")
def small_library():
    return library.load_or_build(("octahedron",), max_atoms=200)


def test_the_parts_of_a_seed_have_the_same_particles_and_other_data(experiments, small_library):
    """Seed 0 is fcc. Only the relaxation changes sizes, by less than 5 %."""
    import imperfect_distributions

    cases = {
        part: imperfect_distributions.simulate_case(small_library, part, 0) for part in ("noise", "shell", "relaxation")
    }
    truths = {part: case.truth for part, case in cases.items()}
    assert {truth["true_type"] for truth in truths.values()} == {"fcc"}
    assert truths["noise"]["mean"] == truths["shell"]["mean"] and truths["noise"]["width"] == truths["shell"]["width"]
    assert truths["relaxation"]["mean"] == pytest.approx(truths["noise"]["mean"], rel=0.05)
    diameters = form_factors.bond_length("Au") * np.cbrt(small_library.atoms * 6 / np.pi / np.sqrt(2))
    assert diameters.min() < truths["noise"]["mean"] < diameters.max()
    assert not np.allclose(cases["noise"].measurement.g, cases["shell"].measurement.g, atol=1e-3)


def test_the_table_counts_right_means_widths_and_intervals(experiments):
    import imperfect_tables

    row = {
        "part": "all",
        "sample": "distribution",
        "mean": 20.0,
        "width": 0.2,
        "true_type": "fcc",
        "shares": {"fcc": 1},
    }
    rows = [
        {**row, "mean_found": [20.5, 19.0, 22.0], "width_found": [0.21, 0.18, 0.24]},
        {**row, "mean_found": [22.0, 21.0, 23.0], "width_found": [0.3, 0.25, 0.35], "sample": "single"},
    ]
    line = imperfect_tables.distributions_table(rows).splitlines()[-1]
    assert line == "| all | 2 | 1 / 1 / 0 | 50 % | 50 % | 50 % | 50 % | 100 % |"
