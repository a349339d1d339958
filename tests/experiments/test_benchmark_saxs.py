import shutil

import pytest


@pytest.mark.slow
def test_jaxstruc_and_sasmodels_agree_and_are_timed(experiments, restore_cpu_affinity):
    pytest.importorskip("sasmodels")
    if not shutil.which("cc"):
        pytest.skip("sasmodels compiles its models")
    import benchmark_saxs as benchmark

    row = benchmark.measure("sphere", 4, 1)
    assert row["deviation"] < 3e-6
    assert row["times"] > 0 and row["us_a_curve"] > 0
