"""The experiments' own paths, on the smallest of cases, and their committed results."""

import json
import subprocess
import sys


def run(repository, *words):
    result = subprocess.run(
        [sys.executable, *map(str, words)], cwd=repository, capture_output=True, text=True, check=True, timeout=300
    )
    return result.stdout


def test_the_scattering_table_in_the_readme_is_that_of_its_results(repository):
    text = (repository / "experiments" / "README.md").read_text()
    shown = text.split("<!-- benchmark_scattering --summary -->\n")[1].split("<!-- end -->")[0]
    assert shown == run(repository, "experiments/benchmark_scattering.py", "--summary")


def test_the_scattering_results_keep_their_errors_and_names(repository):
    rows = json.loads((repository / "experiments" / "results" / "benchmark_scattering.json").read_text())
    names = (
        "engine grid atoms batch quantity gradient seconds structures_per_second error ratio device versions".split()
    )
    assert all(set(names) <= set(row) for row in rows)
    values = [row for row in rows if row["engine"] == "jaxstruc" and row["error"] is not None and not row["gradient"]]
    assert len(values) > 15 and max(row["error"] for row in values) < 1e-5
    peaks = [row["peak_gigabytes"] for row in rows if row["atoms"] == 20000]
    assert peaks and max(peaks) < 2


def test_a_case_of_the_scattering_benchmark_runs(repository):
    """The engines that are always there, on 13 atoms, with errors as they should be."""
    code = (
        "import sys; sys.path.insert(0, 'experiments'); import benchmark_scattering as b\n"
        "b.ENGINES = {name: b.ENGINES[name] for name in ('jaxstruc', 'NumPy')}\n"
        "found = b.case('kdd', 13, 1, 'gr', False, 0.0) + b.case('kdd', 13, 1, 'iq', True, 0.0)\n"
        "assert [row['engine'] for row in found] == ['jaxstruc', 'NumPy', 'jaxstruc'], found\n"
        "assert found[0]['error'] < 1e-5 and found[1]['error'] < 1e-12 and found[2]['error'] < 1e-4\n"
    )
    assert run(repository, "-c", code).count("\n") == 3
