"""The number of threads of the linear algebra of NumPy and SciPy."""

import threadpoolctl

from jaxstruc import blas
from jaxstruc.pdf.solve import solve_measurement
from jaxstruc.pdf.target import make_target


def thread_counts():
    """Return the numbers of threads of the loaded BLAS libraries."""
    return [entry["num_threads"] for entry in threadpoolctl.threadpool_info() if entry["user_api"] == "blas"]


def test_a_function_has_one_blas_thread_and_its_caller_keeps_the_others():
    with threadpoolctl.threadpool_limits(3, "blas"):
        counts = thread_counts()
        assert counts and set(counts) == {3}
        assert set(blas.with_one_blas_thread(thread_counts)()) == {1}
        assert thread_counts() == counts


def test_the_stages_of_a_fit_keep_their_names_and_texts():
    assert (solve_measurement.__name__, make_target.__name__) == ("solve_measurement", "make_target")
    assert solve_measurement.__doc__.startswith("Return the result of one measurement.")
