"""The number of threads of the linear algebra of NumPy and SciPy."""

import pytest
import threadpoolctl

from jaxstruc import blas
from jaxstruc.pdf.plan import MeasurementCase
from jaxstruc.pdf.solve import solve_measurement


def thread_counts():
    """Return the numbers of threads of the loaded BLAS libraries. Some libraries, e.g. Accelerate, have none."""
    return [entry["num_threads"] for entry in threadpoolctl.threadpool_info() if entry["user_api"] == "blas"]


@pytest.mark.skipif(not thread_counts(), reason="the linear algebra has no number of threads")
def test_a_function_has_one_blas_thread_and_its_caller_keeps_the_others():
    with threadpoolctl.threadpool_limits(3, "blas"):
        counts = thread_counts()
        assert set(counts) == {3}
        assert set(blas.with_one_blas_thread(thread_counts)()) == {1}
        assert thread_counts() == counts


@pytest.mark.skipif(not thread_counts(), reason="the linear algebra has no number of threads")
def test_a_measurement_is_solved_with_one_blas_thread():
    seen_counts = []

    class RecordingCase(MeasurementCase):
        """A case that records the number of threads and ends the analysis."""

        @property
        def nonempty_groups(self):
            seen_counts.extend(thread_counts())
            raise InterruptedError

    with threadpoolctl.threadpool_limits(3, "blas"), pytest.raises(InterruptedError):
        solve_measurement(RecordingCase(*[None] * 5), None)
    assert seen_counts and set(seen_counts) == {1}
